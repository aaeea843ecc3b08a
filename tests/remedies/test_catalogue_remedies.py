"""Every remedy of the catalogue: complete, runnable, and honest about what it risks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import yaml

from meshdiag import remedies
from meshdiag.catalogue import Catalogue
from meshdiag.catalogue.entries import Cause
from meshdiag.model import Kind
from meshdiag.remedies import PLACEHOLDERS
from meshdiag.remedies.versions import adapt

Raw = Mapping[str, Any]
CLIENT_SIDE = ("kind.x-k8s.io/",)
"""Files that a tool on the laptop reads: no objects of a cluster, so they have no metadata."""

_SLOT = re.compile(r"\{([a-z_]+)\}")
# a value that is set, not one that is looked for or named as what is there already
_OPENS = re.compile(
    r"""mode["']?[:=] *["']?(?:PERMISSIVE|ALLOW_ANY|DISABLE)\b|insecureSkipVerify["']?: *true"""
    r"""|\b[Ss]et [\w ]{0,40}(?:PERMISSIVE|ALLOW_ANY)\b"""
)


def all_remedies(book: Catalogue) -> Iterator[tuple[Cause, Raw]]:
    for cause in book.causes.values():
        for raw in cause.remedies:
            yield cause, raw


def failing(book: Catalogue, wrong: Callable[[Raw], object]) -> list[str]:
    return [f"{c.id}: {r['title']}: {why}" for c, r in all_remedies(book) if (why := wrong(r))]


def report(lines: list[str]) -> str:
    return f"{len(lines)} remedies:\n" + "\n".join(lines)


def commands(raw: Raw) -> list[str]:
    return [s["command"] for s in raw["steps"] if s.get("command")]


def manifests(raw: Raw) -> list[str]:
    return [s["manifest"] for s in raw["steps"] if s.get("manifest")]


def test_every_failure_has_a_remedy(catalogue: Catalogue) -> None:
    assert [c.id for c in catalogue.causes.values() if c.kind is Kind.FAILURE and not c.remedies] == []


@pytest.mark.parametrize("key", ["why", "risk", "verify", "undo"])
def test_every_remedy_has(key: str, catalogue: Catalogue) -> None:
    lost = failing(catalogue, lambda r: not str(r.get(key, "")).strip())
    assert not lost, report(lost)


def test_placeholders_are_known(catalogue: Catalogue) -> None:
    lost = failing(
        catalogue, lambda r: [n for t in remedies.texts(r) for n in _SLOT.findall(t) if n not in PLACEHOLDERS]
    )
    lost += [c.id for c in catalogue.causes.values() for n in _SLOT.findall(c.tell_apart) if n not in PLACEHOLDERS]
    assert not lost, report(lost)


def _unparsed(raw: Raw) -> object:
    for command in commands(raw):
        try:
            words = shlex.split(command)
        except ValueError as e:
            return f"{e}: {command}"
        if not words or not re.fullmatch(r"[a-z][a-z0-9-]*", words[0]):
            return f"begins with no tool: {command}"
    return ""


def test_commands_parse(catalogue: Catalogue) -> None:
    lost = failing(catalogue, _unparsed)
    assert not lost, report(lost)


def _in_a_script(raw: Raw) -> object:
    """In a substitution, or in a script for another shell, a <placeholder> would be a redirection again."""
    for command in commands(raw):
        for part in re.findall(r"\$\([^)]*\)|`[^`]*`|\b(?:ba)?sh -c +(?:'[^']*'|\"[^\"]*\")", command):
            if _SLOT.search(part) or re.search(r"<[a-z][a-z-]*>", part):
                return part
    return ""


def test_no_placeholder_stands_in_a_script(catalogue: Catalogue) -> None:
    lost = failing(catalogue, _in_a_script)
    assert not lost, report(lost)


@pytest.mark.parametrize("istio", ["", "1.20"])
def test_manifests_are_objects(istio: str, catalogue: Catalogue) -> None:
    lost = []
    for cause in catalogue.causes.values():
        for r in remedies.of(cause, {}, istio):
            for step in r.steps:
                for doc in yaml.safe_load_all(step.manifest) if step.manifest else ():
                    whole = isinstance(doc, dict) and doc.get("apiVersion") and doc.get("kind")
                    named = whole and (doc.get("metadata") or {}).get("name")
                    if not whole or not (named or doc["apiVersion"].startswith(CLIENT_SIDE)):
                        lost.append(f"{cause.id}: {r.title}: {str(doc)[:80]}")
    assert not lost, report(lost)


def _new_or_old(raw: Raw) -> object:
    """Written for the current version, with a kind whose history is known."""
    for text in manifests(raw):
        for doc in re.split(r"(?m)^---.*$", text):
            api = re.search(r"(?m)^apiVersion: *(\S*istio\.io/\S+)", doc)
            kind = re.search(r"(?m)^kind: *(\S+)", doc)
            if not api or not kind:
                continue
            fixed = {"EnvoyFilter": "v1alpha3", "ProxyConfig": "v1beta1", "WasmPlugin": "v1alpha1"}
            if kind[1] in fixed:
                if not api[1].endswith("/" + fixed[kind[1]]):
                    return f"{kind[1]} is {api[1]}"
            elif not api[1].endswith("/v1") or adapt(doc, "1.10") == doc:
                return f"{kind[1]} is {api[1]}"
    return ""


def test_api_versions_are_current_and_known(catalogue: Catalogue) -> None:
    lost = failing(catalogue, _new_or_old)
    assert not lost, report(lost)


# -- risk

_READS = {
    "get", "describe", "logs", "exec", "top", "explain", "auth", "api-resources", "version", "debug", "run", "diff", "wait", "events",
    "config", "port-forward", "cluster-info", "cp",
}  # fmt: skip
_CHANGES = {
    "apply", "create", "delete", "edit", "patch", "replace", "label", "annotate", "scale", "autoscale", "set", "rollout", "cordon",
    "uncordon", "drain", "taint", "expose",
}  # fmt: skip


def changes(command: str) -> bool | None:
    """Whether a command changes what runs in the cluster; None when that is not known.

    A probe from a pod of its own (`run`, `debug`), a call into a container (`exec`) and a log level change no traffic,
    unless the call is a POST that ends or drains something.
    """
    words = shlex.split(command)
    plain = [w for w in words if not w.startswith("-")]
    if words[0] == "kubectl":
        verb = next((w for w in plain[1:] if w in _READS | _CHANGES), None)
        if verb is None:
            return None
        if verb == "rollout":
            return not {"status", "history"} & set(words)
        if (verb == "set" and "--list" in words) or any(w.startswith("--dry-run") for w in words):
            return False
        if verb == "exec":
            return bool(re.search(r"POST (?:\S*/)?(?:quitquitquit|drain_listeners|healthcheck/fail)", command))
        return verb in _CHANGES
    if words[0] == "istioctl":
        return bool(
            re.search(r"\b(?:install|upgrade|uninstall|waypoint (?:apply|delete)|tag (?:set|remove))\b", command)
        )
    if words[0] == "helm":
        return bool({"install", "upgrade", "rollback", "uninstall"} & set(words))
    return False


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        ("kubectl -n a get pods", False), ("kubectl -n a delete pod b", True), ("kubectl rollout status deployment/a", False),
        ("kubectl rollout restart deployment/a", True), ("kubectl apply --dry-run=server", False), ("kubectl set env d/a --list", False),
        ("kubectl set env d/a A=b", True), ("kubectl get deployment set", False), ("istioctl waypoint list -n a", False),
        ("istioctl waypoint apply -n a", True), ("kubectl -n a exec b -- pilot-agent request GET stats", False),
        ("kubectl -n a exec b -- pilot-agent request POST quitquitquit", True), ("kubectl frobnicate", None),
    ],
)  # fmt: skip
def test_what_changes_something(command: str, wanted: bool | None) -> None:
    assert changes(command) is wanted


def test_every_verb_is_known(catalogue: Catalogue) -> None:
    lost = failing(catalogue, lambda r: [c for c in commands(r) if changes(c) is None])
    assert not lost, report(lost)


def test_what_changes_something_is_not_safe(catalogue: Catalogue) -> None:
    lost = failing(
        catalogue,
        lambda r: r.get("risk", "safe") == "safe" and (manifests(r)[:1] or [c for c in commands(r) if changes(c)][:1]),
    )
    assert not lost, report([line[:160] for line in lost])


def test_what_only_looks_is_safe(catalogue: Catalogue) -> None:
    lost = failing(
        catalogue,
        lambda r: (
            r.get("risk") not in (None, "safe")
            and re.search(r"[Tt]hese steps only look|[Tt]his step only looks", r.get("undo", ""))
            and "only looks, but its risk is " + r["risk"]
        ),
    )
    assert not lost, report(lost)


def test_what_opens_something_says_so(catalogue: Catalogue) -> None:
    def wrong(r: Raw) -> object:
        text = "\n".join(s.get(k, "") for s in r["steps"] for k in ("text", "command", "manifest"))
        return _OPENS.search(text) and r.get("risk") != "weakens security" and _OPENS.search(text)[0]  # type: ignore[index]

    lost = failing(catalogue, wrong)
    assert not lost, report(lost)


def test_what_weakens_security_names_the_alternative(catalogue: Catalogue) -> None:
    lost = failing(catalogue, lambda r: r.get("risk") == "weakens security" and not r.get("production"))
    assert not lost, report(lost)


def test_what_weakens_security_is_never_the_only_or_first_way(catalogue: Catalogue) -> None:
    for cause in catalogue.causes.values():
        risks = [r.risk for r in remedies.of(cause, {})]
        assert risks == sorted(risks, key=lambda r: r == "weakens security"), cause.id
        assert not risks or risks[0] != "weakens security", cause.id
