"""Remedies: the catalogue's texts, filled in with the names of a finding. Nothing else writes commands.

A value out of a log goes into a command or a manifest only when it is a name that Kubernetes or DNS would accept there
(`names.py`); else a placeholder such as `<namespace>` stays for the reader, and the remedy's notes say why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshdiag.model import Remedy, Risk, Step
from meshdiag.remedies.names import DEFAULTS, GRAMMARS, PLACEHOLDERS, Names, refusal, valid
from meshdiag.remedies.render import command, manifest, prose, slots
from meshdiag.remedies.versions import adapt, parse

if TYPE_CHECKING:
    from meshdiag.catalogue.entries import Cause

__all__ = ["DEFAULTS", "GRAMMARS", "PLACEHOLDERS", "fill", "of", "parse", "refusal", "texts", "valid"]


def fill(text: str, facts: Mapping[str, str]) -> str:
    """Prose with its placeholders filled in, or made `<placeholder>` where no valid value is known."""
    return prose(text, Names.of(facts)) if "{" in text else text.strip()


def of(cause: Cause, facts: Mapping[str, str], istio: str = "") -> tuple[Remedy, ...]:
    """The remedies of a cause for one finding, best first.

    facts   names as the log wrote them, by placeholder; what is not valid there is not used and noted
    istio   the version of Istio, such as `1.20`, for the apiVersions of manifests; "" for the current one

    The order is the catalogue's, but what weakens security comes after all that does not.
    """
    names = Names.of(facts)
    found = [_remedy(raw, names, istio) for raw in cause.remedies]
    found.sort(key=lambda r: r.risk is Risk.WEAKENS_SECURITY)
    return tuple(found)


def texts(raw: Mapping[str, Any]) -> list[str]:
    """Every text of a remedy as the catalogue has it."""
    steps = [s.get(k, "") for s in raw["steps"] for k in ("text", "command", "manifest")]
    return [raw["title"], *(raw.get(k, "") for k in ("why", "verify", "undo", "production")), *steps]


def _remedy(raw: Mapping[str, Any], names: Names, istio: str) -> Remedy:
    def said(key: str) -> str:
        return prose(raw.get(key, ""), names)

    notes: tuple[str, ...] = ()
    if names.refused:
        wanted = frozenset().union(*map(slots, texts(raw)))
        notes = tuple(names.refused[n] for n in PLACEHOLDERS if n in wanted and n in names.refused)
    return Remedy(
        title=said("title"),
        steps=tuple(
            Step(
                prose(s["text"], names),
                command(s.get("command", ""), names),
                manifest(adapt(s.get("manifest", ""), istio), names),
            )
            for s in raw["steps"]
        ),
        verify=said("verify"),
        undo=said("undo"),
        why=said("why"),
        risk=Risk(raw.get("risk", Risk.SAFE)),
        production=said("production"),
        notes=notes,
    )
