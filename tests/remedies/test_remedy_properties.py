"""Whatever a log says: no command leaves its quoting, every manifest loads with the same structure, nothing hidden gets through."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from meshdiag import remedies
from meshdiag.catalogue import Catalogue
from meshdiag.model import Remedy
from meshdiag.remedies import PLACEHOLDERS

BENIGN = {
    **dict.fromkeys(PLACEHOLDERS, "web"),
    "host": "web.prod.svc.cluster.local", "port": "8080", "source": "web",
}  # fmt: skip

ATTACKS = (
    "$(reboot)", "`reboot`", "x;reboot", "x&&reboot", "x\nreboot", "x\r\nreboot", "x reboot", "'; reboot; '", '"; reboot; "',
    "x\\", "\\'", "-rf", "--all", "-n", "../..", "~root", "x>/etc/passwd", "<x", "x #", "${IFS}", "%s", "!!", "*", "?", "[a]",
    "{}", "{a,b}", "{.items}", "{name}", "{{name}}", "x\x00y", "\x1b[2J", "\u202edorp", "prod\u200b", "рrod", "\u212a.com", "ns\u0000",
    "a: b", "a:", "- a", "]", "}", "&a x", "*a", "!!python/object/apply:os.system [id]", "|", ">", "%YAML 1.2", "---", "? a", "@x", "`x",
    "# x", "a #b", '"', "'", "true", "null", "~", "1e3", "0x1f", "1_000", "12:30", "2024-01-01", "1234", ".inf", "=", "<<", "No",
    "a/b", "a/$(id)", "ns[a]-policy[b]-rule[0]", "ns[$(id)]-policy[x]-rule[0]", "kubernetes://a", "*.example.com", "*.$(id)", "EXAMPLE.com",
    "x|reboot", "...", "a" * 64, "a" * 254, "0", "65536", "-1", "８０", "<namespace>", "'<pod>'", "\ud800", "port 8080",
)  # fmt: skip

_value = st.sampled_from(ATTACKS) | st.text(max_size=30) | st.text("ab01-._*/:;$'\"\\ \n{}[]<>&|#", max_size=12)
_facts = st.dictionaries(st.sampled_from(PLACEHOLDERS), _value, min_size=1)


@lru_cache(1)
def causes() -> tuple[Any, ...]:
    return tuple(c for c in Catalogue.load(user=False).causes.values() if c.remedies)


@lru_cache(1)
def benign() -> tuple[tuple[Remedy, ...], ...]:
    return tuple(remedies.of(c, BENIGN) for c in causes())


def pairs(facts: Mapping[str, str]) -> Iterator[tuple[Remedy, Remedy]]:
    """Every remedy with these facts, beside the same one with harmless facts."""
    for c, plain in zip(causes(), benign(), strict=True):
        yield from zip(remedies.of(c, facts), plain, strict=True)


def tokens(command: str) -> list[str]:
    """The words and operators that a POSIX shell sees."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    return list(lexer)


@lru_cache(4096)
def structure(command: str) -> tuple[str, ...]:
    """Operators as they are, words as what they are to the command: an option or not."""
    return tuple(t if set(t) <= set("();<>|&") else "-" if t.startswith("-") else "w" for t in tokens(command))


def shape(node: Any) -> Any:
    """A loaded manifest without its values."""
    if isinstance(node, dict):
        # the one key that is filled in is a port
        return {"<port>" if isinstance(k, int) else k: shape(v) for k, v in node.items()}
    if isinstance(node, list):
        return [shape(v) for v in node]
    return "port" if (isinstance(node, int) and not isinstance(node, bool)) or node == "<port>" else type(node).__name__


@lru_cache(4096)
def loaded(manifest: str) -> Any:
    return [shape(d) for d in yaml.load_all(manifest, getattr(yaml, "CSafeLoader", yaml.SafeLoader))]


def check(facts: Mapping[str, str]) -> None:
    for r, plain in pairs(facts):
        text = "\n".join([r.title, r.why, r.verify, r.undo, r.production, *r.notes, *(s.text for s in r.steps)])
        said = text + "".join(s.command + s.manifest for s in r.steps)
        assert said.replace("\n", "").isprintable(), said
        for step, same in zip(r.steps, plain.steps, strict=True):
            if step.command != same.command:
                assert structure(step.command) == structure(same.command), step.command
            if step.manifest != same.manifest:
                assert loaded(step.manifest) == loaded(same.manifest), step.manifest
        assert "reboot" not in said.replace("\n".join(r.notes), "")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(_facts)
@example({})
@example({"port": "80"})
@example(dict.fromkeys(PLACEHOLDERS, "*.example.com"))
@example(dict.fromkeys(PLACEHOLDERS, "1234"))
@example(dict.fromkeys(PLACEHOLDERS, "true"))
def test_no_value_changes_what_a_remedy_is(facts: dict[str, str]) -> None:
    check(facts)


@pytest.mark.parametrize("attack", ATTACKS, ids=ascii)
def test_every_attack_in_every_place(attack: str) -> None:
    check(dict.fromkeys(PLACEHOLDERS, attack))


def test_the_attacks_are_refused_or_names() -> None:
    for attack in ATTACKS:
        for name in PLACEHOLDERS:
            if remedies.valid(name, attack):
                assert re.fullmatch(r"(\*\.)?[A-Za-z0-9._/\[\]-]+", attack), (name, attack)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(
        [
            "a {host} b",
            "a x{pod}y",
            "a 'q {host}'",
            'a "q {namespace}"',
            "a {port}:{subset}",
            "a 'q'{name}",
            "{pod}|{node}",
        ]
    ),
    _facts,
)
def test_words_of_any_command(template: str, facts: dict[str, str]) -> None:
    assert structure(remedies.render.command(template, remedies.names.Names.of(facts))) == structure(
        remedies.render.command(template, remedies.names.Names.of(BENIGN))
    )


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_a_pasted_command_does_no_harm(tmp_path: Path) -> None:
    """Every command is run by a shell, with tools that do nothing, where a file of every placeholder's name lies about.

    With a bare `<namespace>` a shell would read that file, and empty the one called like the next word.
    """
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in (
        "kubectl",
        "istioctl",
        "curl",
        "openssl",
        "grep",
        "wc",
        "helm",
        "sh",
        "jq",
        "base64",
        "xargs",
        "sort",
        "date",
        "ssh",
    ):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    lying_about = {p.replace("_", "-") for p in PLACEHOLDERS} | {"get", "delete", "logs", "exec", "--all", "-o"}

    def files_after(facts: Mapping[str, str], place: str) -> dict[str, str]:
        here = tmp_path / place
        here.mkdir()
        for name in lying_about:
            (here / name).write_text("kept\n")
        commands = {s.command: None for c in causes() for r in remedies.of(c, facts) for s in r.steps if s.command}
        script = "\n".join(f"( {c}\n) </dev/null" for c in commands)
        subprocess.run(
            ["/bin/sh", "-c", script], cwd=here, env={"PATH": str(tools)}, capture_output=True, timeout=60, check=False
        )
        return {p.name: p.read_text() for p in here.iterdir()}

    kept = dict.fromkeys(lying_about, "kept\n")
    harmless = files_after(BENIGN, "known")
    assert kept.items() <= harmless.items()
    # a file that a command writes may be named by a placeholder
    for place, facts in (("unknown", {}), ("forged", dict.fromkeys(PLACEHOLDERS, "x$(echo>owned)"))):
        after = files_after(facts, place)
        assert kept.items() <= after.items()
        assert len(after) == len(harmless) and "owned" not in after
