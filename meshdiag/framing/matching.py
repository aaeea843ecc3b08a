"""Which pattern recognises an access log line, decided once for all lines that agree in what decides.

What decides are how the request ended (the stretch `middle`), and the answers to what the patterns that this lets pass ask of anything
else (`asking.py`), which are taken once of each distinct text, not of each line. So a line comes down to a few small numbers, and lines
with the same numbers match alike: one of them goes the whole way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa

from meshdiag.catalogue import NONE, Catalogue
from meshdiag.engine.classify import Classifier
from meshdiag.engine.scan import Scanner, alarming
from meshdiag.formats.access import parse
from meshdiag.framing import native
from meshdiag.framing.access import MATCHED, MIDDLE, TEXTS, AccessLog, Block, Stretch
from meshdiag.framing.asking import Asked, Outcome
from meshdiag.framing.batch import Cut, Vocabulary
from meshdiag.framing.native import Array, Combinations, Part
from meshdiag.framing.plain import PlainCombinations
from meshdiag.framing.slab import Slab
from meshdiag.model import Kind, Record

COLUMNS: Final = ("cause", "pattern", "confidence")


@dataclass(frozen=True, slots=True)
class Decided:
    """What the catalogue says of a record. `failed`: the cause is a failure, or it is alarming and no pattern knows it."""

    cause: str | None = None
    pattern: str | None = None
    confidence: str | None = None
    failed: bool = False


class Matching:
    """Decides about records and about the lines of blocks."""

    def __init__(
        self,
        catalogue: Catalogue,
        vocabulary: Vocabulary,
        log: AccessLog,
        asked: Asked,
        access_log: Any,
        pure: bool,
    ) -> None:
        self._catalogue, self._vocabulary, self._log, self._asked = catalogue, vocabulary, log, asked
        self._access_log, self._pure = access_log, pure
        self._of_lines = Classifier(catalogue)  # of one format: there is nothing that a filter would spare
        self._compiled = native.is_there() and not pure
        self._failures = frozenset(c.id for c in catalogue.causes.values() if c.kind is Kind.FAILURE)
        self._breaks = {n: None if b is None else np.array(b, np.int64) for n, b in asked.breaks.items()}
        vocabulary.memories.append(self)
        self.clear()

    def __len__(self) -> int:
        return len(self._log.matched.rows) + sum(map(len, self._texts.values()))

    def clear(self) -> None:
        """The vocabulary begins anew."""
        self._outcomes = {name: _Outcomes(tests) for name, tests in self._asked.stretches.items()}
        self._texts: dict[str, dict[str, int]] = {name: {} for name in sorted(self._asked.texts)}
        self._slab: Slab | None = None
        self._parts: list[Part] = []  # of this slab
        self._needed = np.zeros(0, np.uint64)  # by the rows of MIDDLE's table
        self._combinations: Combinations | PlainCombinations | None = None

    @cached_property
    def _of_any(self) -> Classifier:
        return Scanner(self._catalogue, access_log=self._access_log, pure=self._pure, block=1).classifier

    def of_record(self, record: Record) -> Decided:
        """What is decided about a record."""
        return self._decided(record, self._of_any)

    def _decided(self, record: Record, classifier: Classifier) -> Decided:
        decision = classifier.decide(record)
        if decision is None:
            return Decided(failed=alarming(record))
        pattern, cause, _ = decision
        if cause == NONE:
            return Decided(pattern=pattern.id)
        return Decided(cause, pattern.id, pattern.confidence.value, cause in self._failures)

    def of_block(self, block: Block) -> None:
        """Decide about the rows of a block; `piece` and `failed` tell what."""
        ends = self._log.stretches[MIDDLE]
        new = range(len(self._needed), len(ends.table.rows))
        if new:
            needed = [self._asked.needed(ends.record(row)) if ends.table.rows[row][0] else 0 for row in new]
            self._needed = np.concatenate((self._needed, np.array(needed, np.uint64)))
        index = block.slab.index
        if self._combinations is None:
            self._combinations = Combinations() if self._compiled else PlainCombinations()
        for row in self._combinations.of(
            index[MIDDLE], self._needed, self._parts_of(block), index[MATCHED], block.rows
        ):
            record = parse(block.line(row - block.start))
            assert record is not None, "only lines of the format are read in columns"
            self._log.matched.rows.append(self._codes(self._decided(record, self._of_lines)))

    def piece(self, block: Block, name: str) -> Any:
        """The column cause, pattern or confidence of the rows of a block."""
        return Cut(block.slab.looked(MATCHED, self._log.matched, COLUMNS.index(name)), block.start, block.stop)

    def failed(self, block: Block) -> Array:
        """Which rows of a block failed."""
        return self._log.matched.column(len(COLUMNS))[block.slab.index[MATCHED][block.rows]] == 1

    def _codes(self, decided: Decided) -> tuple[int, ...]:
        codes = (self._vocabulary[name].code(getattr(decided, name)) for name in COLUMNS)
        return (*codes, int(decided.failed))

    def _parts_of(self, block: Block) -> Sequence[Part]:
        """What decides about each row of the block's slab, in the order of `Asked.parts`; the same object as long as it is the same."""
        tables = [outcomes.of(self._log.stretches[name]) for name, outcomes in self._outcomes.items()]
        if block.slab is not self._slab or any(
            part.table is not t for part, t in zip(self._parts, tables, strict=False)
        ):
            self._slab, self._parts = block.slab, [*self._new_parts(block.slab, tables)]
        for part, (name, known) in zip(
            self._parts[len(tables) + len(self._breaks) :], self._texts.items(), strict=False
        ):
            part.values[block.rows] = _numbered(block.slab.texts[TEXTS[name]].arrow(block.rows), known)
        return self._parts

    def _new_parts(self, slab: Slab, tables: Sequence[Array]) -> Iterator[Part]:
        for name, table in zip(self._outcomes, tables, strict=True):
            yield Part(table=table, index=slab.index[name])
        for name, breaks in self._breaks.items():
            values, missing = slab.numbers[name]
            yield Part(values=values, missing=missing, breaks=breaks)
        for _ in self._texts:
            yield Part(values=native.room(slab.room, np.int64))
        for name in self._asked.present:
            yield Part(bits=slab.texts[TEXTS[name]].valid)
        if self._asked.time:
            yield Part(values=slab.time)


class _Outcomes:
    """The outcomes of tests, numbered, of each distinct text of a stretch."""

    def __init__(self, tests: Sequence[Outcome]) -> None:
        self._tests = tests
        self._known: dict[tuple[object, ...], int] = {}
        self._numbers = np.zeros(0, np.int32)

    def of(self, stretch: Stretch) -> Array:
        """For each row of the stretch's table the number of its outcomes."""
        rows = stretch.table.rows
        new = [self._number(stretch, row) if rows[row][0] else -1 for row in range(len(self._numbers), len(rows))]
        if new:
            self._numbers = np.concatenate((self._numbers, np.array(new, np.int32)))
        return self._numbers

    def _number(self, stretch: Stretch, row: int) -> int:
        record = stretch.record(row)
        return self._known.setdefault(tuple([test(record) for test in self._tests]), len(self._known))


def _numbered(column: pa.Array, known: dict[str, int]) -> Array:
    """The number of each text among the known ones, to which new ones are added; -1 for null."""
    encoded = column.dictionary_encode()
    numbers = np.array([*(known.setdefault(t, len(known)) for t in encoded.dictionary.to_pylist()), -1], np.int64)
    return numbers[np.asarray(encoded.indices.fill_null(len(numbers) - 1))]
