"""Rows in columns while they are read: in pieces, as they came, so that nothing is copied before all are known.

A piece of a column is, by its type: CATEGORY int32 codes into `Words` (-1 missing), INTEGER a pair (int64 values, bool missing),
TIME int64 microseconds since 1970 (NAT missing), TEXT an Arrow `large_string` array, OFFSET int64, FLAG bool. Or it is `Same`, or
`Looked`. LIST is made of its source when the frame is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from meshdiag.framing.columns import BY_NAME, Type

NAT: Final = np.iinfo(np.int64).min
"""A missing time."""

Array = Any
"""Of numpy; where nothing else is said with an element for each row."""


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


class Vocabulary(dict[str, Words]):
    """The words of every column by its name, and what else is remembered as long as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.memories: list[dict[Any, Any]] = []

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


class Table:
    """Distinct texts, numbered as they come, and what each says: a row of codes, and of integers of which -1 is missing."""

    def __init__(self) -> None:
        self.index: dict[bytes, int] = {}
        self.texts: list[bytes] = []
        self.rows: list[tuple[int, ...]] = []
        self._columns: dict[int, Array] = {}

    def column(self, number: int) -> Array:
        """Column `number` of all rows that there are."""
        known = self._columns.get(number)
        if known is None or len(known) < len(self.rows):
            known = self._columns[number] = np.array([row[number] for row in self.rows], np.int64)
        return known


@dataclass(frozen=True, slots=True)
class Looked:
    """What stands in a column of a table: `index` are the rows there, `used` which of them occur."""

    table: Table
    column: int
    index: Array
    used: Array

    def plain(self, kind: Type) -> Any:
        """The piece as arrays."""
        taken = self.table.column(self.column)[self.index]
        if kind is Type.INTEGER:
            return np.maximum(taken, 0), taken < 0
        return taken.astype(np.int32)


def missing(rows: int) -> Same:
    """A piece without values."""
    return Same(-1, rows)


def plain(piece: Any, kind: Type) -> Any:
    """A piece as arrays."""
    return piece.plain(kind) if isinstance(piece, (Same, Looked)) else piece


def _rows(piece: Any, kind: Type) -> int:
    if isinstance(piece, Same):
        return piece.rows
    return len(piece.index if isinstance(piece, Looked) else piece[0] if kind is Type.INTEGER else piece)


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
                    last = pieces[-1] if pieces else None
                    if isinstance(last, Same) and isinstance(piece, Same) and last.value == piece.value:
                        pieces[-1] = Same(last.value, last.rows + piece.rows)
                    else:
                        pieces.append(piece)
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
        return self._cut(len(index), index, pa.array(index))

    def slice(self, start: int, stop: int) -> Batch:
        """The rows from `start` up to `stop`."""
        if (start, stop) == (0, self.rows):
            return self
        return self._cut(stop - start, slice(start, stop), slice(start, stop))

    def _cut(self, rows: int, which: Any, which_texts: Any) -> Batch:
        cut: dict[str, Any] = {}
        for name in self.columns:
            kind = BY_NAME[name].type
            pieces = self.columns[name]
            if len(pieces) == 1 and isinstance(pieces[0], Same):
                cut[name] = Same(pieces[0].value, rows)
                continue
            whole = self.plain(name)
            match kind:
                case Type.INTEGER:
                    cut[name] = whole[0][which], whole[1][which]
                case Type.TEXT if not isinstance(which_texts, slice):
                    cut[name] = whole.take(which_texts)
                case Type.TEXT:
                    cut[name] = whole.slice(which_texts.start, rows)
                case _:
                    cut[name] = whole[which]
        return Batch.of(rows, cut)


# --- frames -------------------------------------------------------------------------------------------------------


def to_pandas(batch: Batch, vocabulary: Mapping[str, Words], names: Sequence[str], first: int = 0) -> pd.DataFrame:
    """The frame with the columns `names`; its index begins with `first`. Categories are those that occur, sorted."""
    arrays = {name: _array(name, batch, vocabulary) for name in names}
    return pd.DataFrame(arrays, index=pd.RangeIndex(first, first + batch.rows), copy=False)


STR: Final = pd.StringDtype("pyarrow", na_value=np.nan)
"""pandas' own text type, kept by Arrow: what `str` means since pandas 3."""


def _array(name: str, batch: Batch, vocabulary: Mapping[str, Words]) -> Any:
    kind = BY_NAME[name].type
    pieces = batch.columns[BY_NAME[name].source if kind is Type.LIST else name]
    match kind:
        case Type.LIST:
            return _tuples(pieces, batch.rows, list(vocabulary[BY_NAME[name].source].index))
        case Type.CATEGORY:
            codes, words = categories(pieces, batch.rows, vocabulary[name])
            dtype = pd.CategoricalDtype(pd.Index(words, dtype=STR))
            return pd.Categorical.from_codes(codes, dtype=dtype, validate=False)
        case Type.INTEGER:
            return pd.arrays.IntegerArray(*_integers(pieces, batch.rows))
        case Type.TEXT:
            return pd.arrays.ArrowStringArray(
                pa.chunked_array([plain(p, kind) for p in pieces], pa.large_string()), dtype=STR
            )
    whole = batch.plain(name)
    if kind is Type.TIME:
        return pd.array(whole.view("M8[us]"), dtype=pd.DatetimeTZDtype("us", "UTC"))
    return whole


def _stretches(pieces: Sequence[Any], kind: Type) -> Iterator[tuple[Any, slice]]:
    """The pieces, and the rows that each is."""
    at = 0
    for piece in pieces:
        end = at + _rows(piece, kind)
        yield piece, slice(at, end)
        at = end


def _integers(pieces: Sequence[Any], rows: int) -> tuple[Array, Array]:
    values, none = np.empty(rows, np.int64), np.empty(rows, bool)
    for piece, where in _stretches(pieces, Type.INTEGER):
        if isinstance(piece, Looked):
            column = piece.table.column(piece.column)
            np.take(np.maximum(column, 0), piece.index, out=values[where], mode="clip")
            np.take(column < 0, piece.index, out=none[where], mode="clip")
        else:
            values[where], none[where] = plain(piece, Type.INTEGER)
    return values, none


def categories(pieces: Sequence[Any], rows: int, words: Words) -> tuple[Array, list[str]]:
    """Codes into the sorted list of the words that occur (-1 missing), of the smallest type that does; and that list."""
    every = list(words.index)
    occurs = np.zeros(len(every) + 1, bool)  # the last one: missing
    for piece in pieces:
        if isinstance(piece, Looked):
            occurs[piece.table.column(piece.column)[piece.used]] = True
        else:
            occurs[piece.value if isinstance(piece, Same) else piece] = True
    kept = sorted((every[i], i) for i in np.flatnonzero(occurs[:-1]).tolist())
    small = np.int8 if len(kept) < 128 else np.int16 if len(kept) < 32_768 else np.int32
    renumbered = np.full(len(every) + 1, -1, small)
    renumbered[[i for _, i in kept]] = np.arange(len(kept))
    codes = np.empty(rows, small)
    tables: dict[int, Array] = {}
    for piece, where in _stretches(pieces, Type.CATEGORY):
        if isinstance(piece, Same):
            codes[where] = renumbered[piece.value]
        elif isinstance(piece, Looked):
            if (column := tables.get(id(piece.table))) is None:
                column = tables[id(piece.table)] = renumbered[piece.table.column(piece.column)]
            np.take(column, piece.index, out=codes[where], mode="clip")
        else:
            codes[where] = renumbered[piece]
    return codes, [word for word, _ in kept]


def _tuples(pieces: Sequence[Any], rows: int, words: Sequence[str]) -> Array:
    """The comma lists with these codes as tuples, empty for a missing one. Rows share them."""
    options = np.empty(len(words) + 1, object)
    options[:] = [*(tuple(w.split(",")) for w in words), ()]
    whole = np.empty(rows, object)
    for piece, where in _stretches(pieces, Type.CATEGORY):
        whole[where] = options[plain(piece, Type.CATEGORY)]
    return whole
