"""Run the examples and near misses of patterns: every example in every encoding its component writes.

`meshdiag patterns test` and the test suite use it. A pattern is worth what its tests are worth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from meshdiag import formats
from meshdiag.catalogue import Catalogue, Pattern
from meshdiag.catalogue.encodings import lines_of
from meshdiag.model import Record


@dataclass(frozen=True, slots=True)
class Failure:
    """An example that a pattern does not match as it should, or a near miss that it matches."""

    pattern: str
    where: str
    what: str
    line: str

    def __str__(self) -> str:
        return f"{self.where}: {self.pattern}: {self.what}\n    {self.line[:300]!r}"


def check(catalogue: Catalogue, patterns: Iterable[Pattern] | None = None) -> Iterator[Failure]:
    """Every failed example of `patterns` (all by default) within the whole catalogue."""
    for p in catalogue.patterns if patterns is None else patterns:
        where = f"{p.file}:{p.line}"
        for example in p.examples:
            wanted = example.get("cause", p.cause)
            component = example.get("component", p.component)
            for encoding, text in lines_of(example, p.formats, component):
                for what in _example_faults(catalogue, p, text, wanted, example.get("captures", {})):
                    yield Failure(p.id, where, f"{encoding}: {what}", text)
        for miss in p.near_misses:
            for encoding, text in lines_of(miss, p.formats, miss.get("component", p.component)):
                if any(r.format in p.formats and catalogue.find(r) is p for r in records_of(text)):
                    yield Failure(p.id, where, f"{encoding}: the near miss matches", text)


def records_of(text: str) -> list[Record]:
    """The records of a text as it stands in a file, and each of its lines on its own when none is structured."""
    return list(formats.records(text.split("\n")))


def _example_faults(
    catalogue: Catalogue, pattern: Pattern, text: str, cause: str, captures: dict[str, str]
) -> Iterator[str]:
    records = records_of(text)
    found = [(r, catalogue.find(r)) for r in records]
    hit = next((r for r, p in found if p is pattern), None)
    if hit is None:
        other = ", ".join(sorted({p.id for _, p in found if p})) or "nothing"
        reasons = "; ".join(pattern.why_not(records[0])[:3]) if records else "no record"
        yield f"matched by {other}" + (f" ({reasons})" if reasons else " (which comes first)")
        return
    if (got := pattern.cause_of(hit)) != cause:
        yield f"cause is {got}, wanted {cause}"
    values = pattern.capture(hit)
    for name, value in captures.items():
        if values.get(name) != value:
            yield f"capture {name} is {values.get(name)!r}, wanted {value!r}"
