"""Remedies: the catalogue's texts, filled in with the names of a finding. Nothing else writes commands.

A value out of a log goes into a command or a manifest only when it is a valid Kubernetes, DNS or SPIFFE-like name, and then
it is shell-quoted; else a placeholder such as `<namespace>` stays for the reader.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from meshdiag.catalogue.entries import Cause
from meshdiag.model import Remedy, Step

PLACEHOLDERS = (
    "namespace", "pod", "workload", "container", "service", "service_namespace", "host", "port", "subset", "source", "policy", "gateway",
    "secret", "node", "name", "istiod_namespace",
)  # fmt: skip
"""What a remedy's text may name."""

DEFAULTS: Mapping[str, str] = {"istiod_namespace": "istio-system"}

_SLOT = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")
_NAME = re.compile(r"^(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$")
_PORT = re.compile(r"^\d{1,5}$")


def valid(name: str, value: str) -> bool:
    """Whether a value may stand in a command: a DNS-like name, or a port number."""
    return bool((_PORT if name == "port" else _NAME).match(value))


def fill(text: str, facts: Mapping[str, str]) -> str:
    """The text with its placeholders filled in, or made `<placeholder>` where no valid value is known."""

    def value(m: re.Match[str]) -> str:
        if m[1] == "subset" and "subset" not in facts and "port" in facts:
            return ""  # the cluster is known and has none: outbound|9080||reviews…
        known = facts.get(m[1]) or DEFAULTS.get(m[1], "")
        return shlex.quote(known) if valid(m[1], known) else f"<{m[1].replace('_', '-')}>"

    return _SLOT.sub(value, text).strip()


def of(cause: Cause, facts: Mapping[str, str]) -> tuple[Remedy, ...]:
    """The remedies of a cause for one finding."""
    return tuple(
        Remedy(
            title=fill(raw["title"], facts),
            steps=tuple(
                Step(fill(s["text"], facts), fill(s.get("command", ""), facts), fill(s.get("manifest", ""), facts))
                for s in raw["steps"]
            ),
            verify=fill(raw.get("verify", ""), facts),
            undo=fill(raw.get("undo", ""), facts),
        )
        for raw in cause.remedies
    )
