"""The draft: unrecognised shapes -> patterns, each proved by the catalogue's own check -> a pattern file.

A pattern is tried from the strictest form to looser ones, and the first that loads, matches its samples in every encoding
and misses its near miss is taken. What no form fits is said, never guessed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from meshdiag.api import diagnose
from meshdiag.catalogue import NONE, Catalogue, Pattern
from meshdiag.catalogue.check import check
from meshdiag.catalogue.load import CatalogueError, load
from meshdiag.diagnosis import Diagnosis
from meshdiag.learning import mining
from meshdiag.learning.forms import Form, forms_of
from meshdiag.learning.patternfile import PRIORITY, entry_text, file_text
from meshdiag.learning.unknown import COMPONENTS, Group, Skipped, Unknown, count_of, groups_of, read
from meshdiag.model import MeshdiagError
from meshdiag.redact import redact
from meshdiag.views.safe import one_line

TRIES = 5
"""Templates tried for one pattern that may be written: bounds the work on hostile input."""

_STOP = frozenset(
    (
        "the",
        "and",
        "for",
        "with",
        "from",
        "that",
        "this",
        "was",
        "were",
        "has",
        "have",
        "not",
        "but",
        "are",
        "its",
        "into",
        "via",
    )
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft pattern file.

    text      the YAML file: it loads, and `meshdiag patterns test` passes; secrets are redacted
    patterns  its patterns
    skipped   the shapes that became none
    """

    text: str
    patterns: tuple[Pattern, ...]
    skipped: tuple[Skipped, ...]

    def __str__(self) -> str:
        return self.text


def learn(
    *inputs: Any,
    patterns: Sequence[str | os.PathLike[str]] = (),
    component: str = "",
    cause: str = NONE,
    min_count: int = 2,
    limit: int = 20,
    catalogue: Catalogue | None = None,
) -> Draft:
    """Draft patterns for what `diagnose` does not recognise in the inputs.

    inputs, patterns, catalogue  as for `diagnose`
    component                    only lines of this component, or that do not tell theirs; the patterns say it
    cause                        the cause of the patterns: an id, or `none` (known and harmless) to be replaced
    min_count                    leave out templates of fewer lines
    limit                        patterns at most, the most frequent first

    Returns a Draft; the same lines give the same draft. Raises MeshdiagError as `diagnose` does, for a cause or component
    that does not exist, and when the mining library is not installed (`pip install 'meshdiag[learn]'`).
    """
    mining.require()  # before long work
    return draft_of(
        diagnose(*inputs, patterns=patterns, catalogue=catalogue),
        component=component,
        cause=cause,
        min_count=min_count,
        limit=limit,
    )


def draft_of(
    diagnosis: Diagnosis, *, component: str = "", cause: str = NONE, min_count: int = 2, limit: int = 20
) -> Draft:
    """Draft patterns for what a diagnosis does not recognise. See `learn`."""
    mining.require()
    book = diagnosis.catalogue
    if component and component not in COMPONENTS:
        raise MeshdiagError(f"no component is named {component!r}: give one of {', '.join(COMPONENTS)}")
    if cause != NONE and cause not in book.causes:
        raise MeshdiagError(f"no cause is named {cause!r}: `meshdiag explain` knows them, docs/causes.md lists them")
    unknown: list[Unknown] = []
    skipped: list[Skipped] = []
    for shape in diagnosis.unrecognised:
        one = read(shape, component)
        if isinstance(one, Unknown):
            unknown.append(one)
        elif one is not None:
            skipped.append(one)
    writer = Writer(book, cause, min_count, limit)
    for group in sorted(groups_of(unknown), key=lambda g: (-count_of(g), g[0].key)):
        skipped += writer.add(group)
    skipped += writer.settle()
    skipped.sort(key=lambda s: (-s.count, s.shape, s.reason))
    text = file_text(writer.entries, skipped)
    return Draft(text, tuple(writer.load(text)), tuple(skipped))


class Writer:
    """Collects the patterns that pass."""

    def __init__(self, book: Catalogue, cause: str, min_count: int, limit: int) -> None:
        self.book = book
        self.cause = cause
        self.min_count = min_count
        self.limit = limit
        self.tried = 0
        self.patterns: list[Pattern] = []
        self.entries: list[tuple[dict[str, Any], Group]] = []

    def add(self, group: Group) -> list[Skipped]:
        """Draft a pattern for a group; for each sample alone where they have none together. Returns what has none."""
        if reason := self._refusal(group):
            return [u.skipped(reason) for u in group]
        self.tried += 1
        now = self._catalogue([])
        group = [u for u in group if now.find(u.original) not in self.patterns]
        if not group:
            return []  # a pattern of this draft has them already
        reason = self._one(group)
        if not reason:
            return []
        if len(group) == 1:
            return [group[0].skipped(reason)]
        return [s for u in group for s in self.add([u])]

    def _refusal(self, group: Group) -> str:
        if count_of(group) < self.min_count:
            return f"fewer than {self.min_count} lines"
        if len(self.patterns) >= self.limit:
            return f"more than {self.limit} patterns"
        return "too many that cannot be drafted" if self.tried >= TRIES * self.limit else ""

    def _one(self, group: Group) -> str:
        reason = "too little text that stays the same"
        for form in forms_of(group):
            fault = self._try(group, form)
            if not fault:
                return ""
            reason = fault
        return reason

    def _try(self, group: Group, form: Form) -> str:
        first = group[0]
        entry: dict[str, Any] = {
            "id": self._id(first, form.words),
            "cause": self.cause,
            "component": first.component,
            "format": first.original.format,
            "priority": PRIORITY,
            "when": form.when,
            "captures": form.captures,
            "examples": form.examples,
            "near_misses": form.misses[:1],
        }
        entry = {k: v for k, v in entry.items() if v not in ("", {})}
        fault = "no pattern could be made"
        for miss in form.misses:
            entry["near_misses"] = [miss]
            fault = self._prove(group, entry)
            if not fault:
                return ""
            if not fault.endswith("the near miss matches"):
                break
        return fault

    def _prove(self, group: Group, entry: dict[str, Any]) -> str:
        """Take the entry if it loads and passes, and takes no sample of the patterns before it; else say why not."""
        try:
            (pattern,) = self.load("patterns:\n" + entry_text(entry))
        except CatalogueError as e:
            return f"its pattern does not load: {e.faults[0].text}"
        now = self._catalogue([pattern])
        if any(now.find(u.original) is not pattern for u in group):
            return "no condition holds for all its samples"
        if any(now.find(u.original) is pattern for _, taken in self.entries for u in taken):
            return "its pattern would take lines of another"
        if fault := next(check(now, [pattern]), None):
            return f"its pattern fails: {one_line(redact(fault.what), 120)}"
        self.patterns.append(pattern)
        self.entries.append((entry, group))
        return ""

    def settle(self) -> list[Skipped]:
        """Take back what fails beside patterns that came later."""
        out: list[Skipped] = []
        while fault := next(check(self._catalogue([]), self.patterns), None):
            at = next(i for i, p in enumerate(self.patterns) if p.id == fault.pattern)
            del self.patterns[at]
            out += [u.skipped("its pattern fails beside the others") for u in self.entries.pop(at)[1]]
        return out

    def load(self, text: str) -> list[Pattern]:
        """The patterns of a file, validated as in a pack. Raises CatalogueError."""
        files = {"draft.yaml": text}
        if self.cause != NONE:  # only its id matters here
            known = self.book.causes[self.cause]
            cause = {
                "id": known.id,
                "kind": known.kind.value,
                "severity": known.severity.value,
                "title": known.title,
                "explanation": known.explanation,
            }
            files["cause.yaml"] = yaml.safe_dump({"causes": [cause]})
        return [Pattern.from_raw(raw) for raw in load([(Path("draft"), files)])["patterns"]]

    def _catalogue(self, more: list[Pattern]) -> Catalogue:
        every = sorted([*self.book.patterns, *self.patterns, *more], key=lambda p: p.order)
        return Catalogue(self.book.causes, tuple(every))

    def _id(self, first: Unknown, words: Sequence[str]) -> str:
        """Kebab-case, of the first telling words; unlike any that is loaded."""
        telling = [w for w in words if (len(w) > 2 or w.isupper()) and w.lower() not in _STOP] or ["draft"]
        told = [w.lower()[:20] for w in telling[:6]]
        name = "-".join([first.component or first.original.format.removesuffix("-log"), *told])[:60].strip("-")
        taken = {*self.book.by_id, *(p.id for p in self.patterns)}
        number = 2
        found = name
        while found in taken:
            found, number = f"{name}-{number}", number + 1
        return found
