"""Rows in columns while they are read: in pieces, as they came, so that nothing is copied before all are known.

A piece of a column is, by its type: CATEGORY int32 codes into `Words` (-1 missing), INTEGER a pair (int64 values, bool missing),
TIME int64 microseconds since 1970 (NAT missing), TEXT an Arrow `large_string` array, OFFSET int64, FLAG bool. Or it is `Same`, or a
`Cut` of a column of a slab. LIST is made of its source when the frame is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa

from meshdiag.framing.columns import BY_NAME, Type
from meshdiag.framing.native import Array
from meshdiag.framing.slab import Looked, Texts

NAT: Final = np.iinfo(np.int64).min
"""A missing time."""


class Words:
    """The categories of one column, numbered as they come."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}

    def code(self, word: str | None) -> int:
        """The number of a word; -1 for None."""
        if word is None:
            return -1
        known = self.index.get(word)
        if known is None:
            known = self.index.setdefault(clean(word), len(self.index))
        return known


def clean(text: str) -> str:
    """The text without lone surrogates, which Arrow cannot keep (JSON can spell them)."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


class Memory(Protocol):
    """Something that is remembered."""

    def __len__(self) -> int:
        """How much it is."""
        ...

    def clear(self) -> None:
        """Forget it."""
        ...


class Vocabulary(dict[str, Words]):
    """The words of every column by its name, and what else is remembered as long as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.memories: list[Memory] = []

    def __missing__(self, column: str) -> Words:
        words = self[column] = Words()
        self.memories.append(words.index)
        return words

    @property
    def size(self) -> int:
        """How much is remembered."""
        return sum(map(len, self.memories))

    def renew(self) -> None:
        """Forget all: batches that were made before mean nothing any more."""
        for memory in self.memories:
            memory.clear()


# --- pieces -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Same:
    """One code (-1 missing), or one truth, for all rows; of texts, integers and times that all are missing."""

    value: int
    rows: int

    def plain(self, kind: Type) -> Any:
        """The piece as arrays."""
        match kind:
            case Type.CATEGORY:
                return np.full(self.rows, self.value, np.int32)
            case Type.INTEGER:
                return np.zeros(self.rows, np.int64), np.ones(self.rows, bool)
            case Type.TEXT:
                return pa.nulls(self.rows, pa.large_string())
            case Type.TIME:
                return np.full(self.rows, NAT)
            case Type.FLAG:
                return np.full(self.rows, self.value > 0)
            case _:
                return np.full(self.rows, self.value, np.int64)


@dataclass(frozen=True, slots=True)
class Cut:
    """Some rows of a column of a slab: a numpy array, a pair of them, `Texts` or `Looked`."""

    column: Any
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """How many."""
        return self.stop - self.start

    def plain(self, kind: Type) -> Any:
        """The piece as arrays."""
        column, where = self.column, slice(self.start, self.stop)
        if isinstance(column, Texts):
            return column.arrow(where)
        if isinstance(column, Looked):
            return column.plain(where, kind)
        return tuple(part[where] for part in column) if isinstance(column, tuple) else column[where]


def missing(rows: int) -> Same:
    """A piece without values."""
    return Same(-1, rows)


def plain(piece: Any, kind: Type) -> Any:
    """A piece as arrays."""
    return piece.plain(kind) if isinstance(piece, (Same, Cut)) else piece


def _rows(piece: Any, kind: Type) -> int:
    if isinstance(piece, (Same, Cut)):
        return piece.rows
    return len(piece[0] if kind is Type.INTEGER else piece)


def _together(one: Any, other: Any) -> Same | Cut | None:
    """Two pieces as one, where nothing needs to be copied."""
    if isinstance(one, Same) and isinstance(other, Same) and one.value == other.value:
        return Same(one.value, one.rows + other.rows)
    if isinstance(one, Cut) and isinstance(other, Cut) and one.column is other.column and one.stop == other.start:
        return Cut(one.column, one.start, other.stop)
    return None


# --- batches ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Batch:
    """Some rows. `columns` has the pieces of each column by its name."""

    rows: int
    columns: dict[str, list[Any]]

    @classmethod
    def of(cls, rows: int, columns: Mapping[str, Any]) -> Batch:
        """Of one piece for each column."""
        return cls(rows, {n: [c] for n, c in columns.items()})

    @classmethod
    def joined(cls, batches: Sequence[Batch]) -> Batch:
        """All rows, in order, of batches with the same columns (at least one)."""
        columns: dict[str, list[Any]] = {}
        for name in batches[0].columns:
            pieces = columns[name] = []
            for batch in batches:
                for piece in batch.columns[name]:
                    both = _together(pieces[-1], piece) if pieces else None
                    if both is None:
                        pieces.append(piece)
                    else:
                        pieces[-1] = both
        return cls(sum(b.rows for b in batches), columns)

    def plain(self, name: str) -> Any:
        """A column as arrays, whole."""
        kind = BY_NAME[name].type
        parts = [plain(p, kind) for p in self.columns[name]]
        if len(parts) == 1:
            return parts[0]
        if kind is Type.INTEGER:
            return tuple(np.concatenate([p[i] for p in parts]) for i in (0, 1))
        return pa.chunked_array(parts).combine_chunks() if kind is Type.TEXT else np.concatenate(parts)

    def take(self, which: Array) -> Batch:
        """The rows with these numbers, or those that a mask says."""
        index = np.flatnonzero(which) if which.dtype == bool else which
        texts = pa.array(index)
        taken: dict[str, Any] = {}
        for name, pieces in self.columns.items():
            kind = BY_NAME[name].type
            if len(pieces) == 1 and isinstance(pieces[0], Same):
                taken[name] = Same(pieces[0].value, len(index))
                continue
            whole = self.plain(name)
            if kind is Type.INTEGER:
                taken[name] = whole[0][index], whole[1][index]
            else:
                taken[name] = whole.take(texts) if kind is Type.TEXT else whole[index]
        return Batch.of(len(index), taken)

    def slice(self, start: int, stop: int) -> Batch:
        """The rows from `start` up to `stop`; nothing is copied."""
        cut = {n: [*_sliced(pieces, BY_NAME[n].type, start, stop)] for n, pieces in self.columns.items()}
        return Batch(stop - start, cut)


def _sliced(pieces: Sequence[Any], kind: Type, start: int, stop: int) -> Iterator[Any]:
    for piece, where in stretches(pieces, kind):
        a, b = max(start - where.start, 0), min(stop, where.stop) - where.start
        if a >= b:
            continue
        match piece:
            case Same():
                yield Same(piece.value, b - a)
            case Cut():
                yield Cut(piece.column, piece.start + a, piece.start + b)
            case _ if kind is Type.INTEGER:
                yield piece[0][a:b], piece[1][a:b]
            case _:
                yield piece[a:b]
    if start >= stop:
        yield missing(0)


def stretches(pieces: Sequence[Any], kind: Type) -> Iterator[tuple[Any, slice]]:
    """The pieces, and the rows that each is."""
    at = 0
    for piece in pieces:
        end = at + _rows(piece, kind)
        yield piece, slice(at, end)
        at = end
