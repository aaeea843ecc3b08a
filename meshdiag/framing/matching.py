"""Which pattern recognises an access log line, decided once for all lines that agree in what decides.

What decides are the outcomes of the patterns' conditions. They are taken once of each distinct text (not of each line), so a line comes
down to a few small numbers, and lines with the same numbers match alike: one of them goes the whole way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from meshdiag.catalogue import NONE, Catalogue, Pattern
from meshdiag.catalogue.conditions import compile_condition, field_value, normal, search, texts
from meshdiag.engine.classify import Classifier
from meshdiag.engine.scan import alarming
from meshdiag.formats.access import DERIVED, NAME, parse
from meshdiag.framing.access import NUMBERS, STRETCH_OF, TEXTS, AccessLog, Block, Stretch
from meshdiag.framing.batch import Array, Table, Vocabulary
from meshdiag.framing.columns import COLUMNS
from meshdiag.model import Kind, Record

_COLUMN_OF: Final = {c.source: c.name for c in COLUMNS if c.of == NAME and c.name != "flags"}

Outcome = Callable[[Record], object]
Key = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Decided:
    """What the catalogue says of a record. `failed`: the cause is a failure, or it is alarming and no pattern knows it."""

    cause: str | None = None
    pattern: str | None = None
    confidence: str | None = None
    failed: bool = False


class Matching:
    """Decides about records and about the lines of blocks."""

    def __init__(self, catalogue: Catalogue, classifier: Classifier, vocabulary: Vocabulary, log: AccessLog) -> None:
        self._classifier, self._log, self._vocabulary = classifier, log, vocabulary
        self._failures = frozenset(c.id for c in catalogue.causes.values() if c.kind is Kind.FAILURE)
        self._asked = _Asked(catalogue.by_format.get(NAME, ()))
        self._stretches = {name: _Outcomes(tests) for name, tests in self._asked.stretches.items()}
        self._texts: dict[str, dict[str, int]] = {name: {} for name in sorted(self._asked.texts)}
        self._known: dict[Key, tuple[int, int, int, int]] = {}
        vocabulary.memories += [self._known, *self._texts.values()]

    def of_record(self, record: Record) -> Decided:
        """What is decided about a record."""
        decision = self._classifier.decide(record)
        if decision is None:
            return Decided(failed=alarming(record))
        pattern, cause, _ = decision
        if cause == NONE:
            return Decided(pattern=pattern.id)
        return Decided(cause, pattern.id, pattern.confidence.value, cause in self._failures)

    def of_block(self, block: Block) -> Array:
        """What is decided about the fast lines of a block: codes of cause, pattern and confidence, and whether it failed, of
        shape (4, lines).
        """
        index, first, keys = _combined(self._parts(block), len(block.fast))
        decided = np.empty((len(keys), 4), np.int32)
        for i, key in enumerate(map(tuple, keys.tolist())):
            known = self._known.get(key)
            if known is None:
                record = parse(block.line(int(first[i])))
                assert record is not None, "only lines of the format are fast"
                known = self._known[key] = self._codes(self.of_record(record))
            decided[i] = known
        return np.ascontiguousarray(decided.T)[:, index]

    def _codes(self, decided: Decided) -> tuple[int, int, int, int]:
        code = self._vocabulary
        return (
            code["cause"].code(decided.cause),
            code["pattern"].code(decided.pattern),
            code["confidence"].code(decided.confidence),
            int(decided.failed),
        )

    def _parts(self, block: Block) -> Iterator[Array]:
        """What decides about each line, as columns of integers from -1 on."""
        for name, outcomes in self._stretches.items():
            stretch = self._log.look(block, name)
            index, used = block.rows[name]
            yield outcomes.of(stretch, used)[index]
        for name, breaks in self._asked.breaks.items():
            values, missing = block.numbers[name]
            yield np.where(missing, -1, values if breaks is None else np.searchsorted(breaks, values, side="right"))
        for name, known in self._texts.items():
            yield _numbered(block.text(TEXTS[name]), known)
        for name in self._asked.present:
            yield block.missing(TEXTS[name]).astype(np.int64)
        if self._asked.time:
            yield block.time


class _Outcomes:
    """The outcomes of tests, numbered, of each distinct text of a stretch."""

    def __init__(self, tests: Sequence[Outcome]) -> None:
        self._tests = tests
        self._known: dict[tuple[object, ...], int] = {}
        self._table: Table | None = None
        self._numbers = np.zeros(0, np.int64)

    def of(self, stretch: Stretch, used: Array) -> Array:
        """For each row of the stretch's table the number of its outcomes; anything in rows that are not `used`."""
        if self._table is not stretch.table:
            self._table, self._numbers = stretch.table, np.zeros(0, np.int64)
        lacking = len(stretch.table.rows) - len(self._numbers)
        if lacking > 0:
            self._numbers = np.concatenate((self._numbers, np.full(lacking, -1, np.int64)))
        for row in used[self._numbers[used] < 0].tolist():
            record = stretch.record(row)
            outcome = tuple([test(record) for test in self._tests])
            self._numbers[row] = self._known.setdefault(outcome, len(self._known))
        return self._numbers


def _numbered(column: pa.Array, known: dict[str, int]) -> Array:
    """The number of each text among the known ones, to which new ones are added; -1 for null."""
    encoded = column.dictionary_encode()
    numbers = np.array([*(known.setdefault(t, len(known)) for t in encoded.dictionary.to_pylist()), -1], np.int64)
    return numbers[np.asarray(encoded.indices.fill_null(len(numbers) - 1))]


def _combined(parts: Iterable[Array], count: int) -> tuple[Array, Array, Array]:
    """The distinct rows of columns of integers from -1 on: for each line the number of its row; the first line of each, and the rows."""
    columns, index, size = [*parts], np.zeros(count, np.int64), 1
    for part in columns:
        radix = int(part.max(initial=-1)) + 2
        if size * radix >= 1 << 62:
            index, size = _dense(index)
        index = index * radix + (part + 1)
        size *= radix
    index, size = _dense(index)
    first = np.zeros(size, np.int64)
    first[index[::-1]] = np.arange(count)[::-1]
    return index, first, np.stack([part[first] for part in columns], axis=1)


def _dense(values: Array) -> tuple[Array, int]:
    encoded = pa.array(values).dictionary_encode()
    return np.asarray(encoded.indices).astype(np.int64), len(encoded.dictionary)


# --- what is asked ------------------------------------------------------------------------------------------------


class _Asked:
    """What patterns ask of a line of the format.

    stretches  tests on what one stretch says
    breaks     of a number where an outcome may change, ascending; None when any two values may differ
    texts      columns whose texts are asked for
    present    columns of which only matters whether there is a text
    time       whether a pattern asks for the time
    """

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        # when no pattern knows it, how the line failed
        self.stretches: dict[str, list[Outcome]] = {"middle": [alarming]}
        self.texts: set[str] = set()
        self.time = False
        present: set[str] = set()
        breaks: dict[str, set[float]] = {}
        for name, condition, test in _tests(patterns):
            sources = DERIVED.get(name, (name,))
            for source in sources:
                column = _COLUMN_OF.get(source, source)
                if stretch := STRETCH_OF.get(column):
                    # what is made of several values is told by these: each stretch is read without the others
                    self.stretches.setdefault(stretch, []).append(test if len(sources) == 1 else _value(source))
                elif column in NUMBERS:
                    breaks.setdefault(column, set()).update(_breaks(condition))
                elif column in TEXTS:
                    absent = name == "upstream_connected" or (
                        condition is not None and normal(condition).keys() == {"absent"}
                    )
                    (present if absent else self.texts).add(column)
                elif column == "start_time":
                    self.time = True
        self.present = sorted(present - self.texts)
        self.breaks = {n: None if math.inf in b else np.array(sorted(b)) for n, b in breaks.items()}


def _tests(patterns: Sequence[Pattern]) -> Iterator[tuple[str, Any, Outcome]]:
    """Every test on a field that decides about a pattern or its cause: the field, the condition (None: another test), the test."""
    seen: set[str] = set()
    for pattern in patterns:
        for name, condition in pattern.when.items():
            if (key := f"{name} {condition!r}") not in seen:
                seen.add(key)
                yield name, condition, _test(name, condition)
        if pattern.cause_by:
            own = pattern.when.get(pattern.cause_field)
            # where it asks for certain values, these are told apart already
            certain = own is not None and normal(own).keys() <= {"equals", "one_of"}
            yield pattern.cause_field, own if certain else None, _choice(pattern)


def _value(name: str) -> Outcome:
    return lambda record: field_value(record, name)


def _test(name: str, condition: Any) -> Outcome:
    test = compile_condition(condition)
    return lambda record: test(field_value(record, name))


def _choice(pattern: Pattern) -> Outcome:
    """Which of its rules for the cause holds first."""

    def outcome(record: Record) -> object:
        value = field_value(record, pattern.cause_field)
        return next((i for i, (e, _) in enumerate(pattern.cause_by) if value is not None and search(e, value)), -1)

    return outcome


def _breaks(condition: Any) -> set[float]:
    """Where a condition on a number may change its outcome: a value counts to what lies above. Infinite: anywhere."""
    found: set[float] = set()
    parts: dict[str, Any] = {"other": None} if condition is None else normal(condition)
    for operator, argument in parts.items():
        match operator:
            case "absent":
                pass
            case "min":
                found.add(argument)
            case "max":
                found.add(math.floor(argument) + 1)
            case "equals" | "one_of":
                found.update(n for t in texts(argument) if t.isdigit() for n in (int(t), int(t) + 1))
            case "not":
                found |= _breaks(argument)
            case _:
                found.add(math.inf)
    return found
