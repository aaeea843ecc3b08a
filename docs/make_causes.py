"""Writes docs/causes.md from the catalogue: `python docs/make_causes.py`. A test says when that is due."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from meshdiag.catalogue import Catalogue, Cause, Explains

PAGE = Path(__file__).with_name("causes.md")

_SPELLED = {"mtls": "mTLS", "xds": "xDS"}
_SCOPES = {
    "same-pod": "in the same pod",
    "same-destination": "towards the same destination",
    "same-mesh": "anywhere in the mesh",
    "same-edge": "same client and destination",
}


def render(catalogue: Catalogue) -> str:
    """The page, from a catalogue without packs of a user (`Catalogue.load(user=False)`)."""
    groups: dict[str, list[Cause]] = {}
    for cause in catalogue.causes.values():
        groups.setdefault(Path(cause.file).stem, []).append(cause)
    return "\n".join(_page(dict(sorted(groups.items())))) + "\n"


def _page(groups: dict[str, list[Cause]]) -> Iterator[str]:
    yield "<!-- Made by docs/make_causes.py from patterns/causes/: do not edit. -->"
    yield "# Causes"
    yield ""
    yield "All that meshdiag can name, in the groups of `patterns/causes/`. `meshdiag explain ID` says the same at the"
    yield "terminal, with what to do; [diagnose](diagnose.md#reading-the-report) says what kinds and severities are."
    yield ""
    yield "| group | failures | look bad and are not | good signs |"
    yield "| --- | --- | --- | --- |"
    for group, causes in groups.items():
        cells = [
            " ".join(f"[{c.id}](#{c.id})" for c in causes if c.kind == kind)
            for kind in ("failure", "benign", "healthy")
        ]
        yield f"| [{_title(group)}](#{_title(group).lower().replace(' ', '-')}) | {' | '.join(cells)} |"
    for group, causes in groups.items():
        yield ""
        yield f"## {_title(group)}"
        for cause in causes:
            yield ""
            yield from _entry(cause)


def _title(group: str) -> str:
    text = " ".join(_SPELLED.get(word, word) for word in group.split("-"))
    return text[:1].upper() + text[1:] if group not in _SPELLED else text


def _entry(cause: Cause) -> Iterator[str]:
    yield f"### {cause.id}"
    yield ""
    severity = f", {cause.severity.value}" if cause.kind == "failure" else ""
    yield f"**{_text(cause.title)}** ({cause.kind.value}{severity})"
    yield ""
    yield _text(cause.explanation)
    if cause.explains:
        yield ""
        by_scope: dict[str, list[str]] = {}
        for e in cause.explains:
            by_scope.setdefault(_where(e), []).append(f"[{e.cause}](#{e.cause})")
        parts = [f"{', '.join(ids)} ({where})" for where, ids in by_scope.items()]
        yield f"Symptoms: {'; '.join(parts)}."


def _where(e: Explains) -> str:
    """Where and when a symptom holds: `same mesh, before, within 5 min`."""
    minutes = f"{e.within / 60:g} min" if e.within < 3600 else f"{e.within / 3600:g} h"
    return ", ".join(
        [_SCOPES[e.scope], *(["before"] if e.order == "before" else []), *([f"within {minutes}"] if e.within else [])]
    )


def _text(text: str) -> str:
    """One line of Markdown: what would be HTML or a column is escaped outside of code."""
    flat = re.sub(r"\s+", " ", text).strip()
    parts = re.split(r"(`[^`]*`)", flat)
    return "".join(p if p.startswith("`") else re.sub(r"([<>|*_\[\]])", r"\\\1", p) for p in parts)


if __name__ == "__main__":
    PAGE.write_text(render(Catalogue.load(user=False)), encoding="utf-8")
    print(f"wrote {PAGE}")
