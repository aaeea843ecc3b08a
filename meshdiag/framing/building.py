"""Batches to pandas: each column is written once, where it was not written in its place already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from meshdiag.framing.batch import Batch, Cut, Same, Words, plain, stretches
from meshdiag.framing.columns import BY_NAME, Type
from meshdiag.framing.native import Array, take, used
from meshdiag.framing.slab import Looked

TIME: Final = pd.DatetimeTZDtype("us", "UTC")

STR: Final = pd.StringDtype("pyarrow", na_value=np.nan)
"""pandas' own text type, kept by Arrow: what `str` means since pandas 3."""


def to_pandas(batch: Batch, vocabulary: Mapping[str, Words], names: Sequence[str], first: int = 0) -> pd.DataFrame:
    """The frame with the columns `names`; its index begins with `first`. Categories are those that occur, sorted."""
    index = pd.RangeIndex(first, first + batch.rows)
    building = _Building(batch, vocabulary, index)
    return pd.DataFrame({name: building.array(name) for name in names}, index=index, copy=False)


def _categorical(codes: Array, words: Sequence[str]) -> pd.Categorical:
    return pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(pd.Index(words, dtype=STR)), validate=False)


class _Building:
    """What columns of one batch have in common is made once."""

    def __init__(self, batch: Batch, vocabulary: Mapping[str, Words], index: pd.Index) -> None:
        self._batch, self._vocabulary, self._index = batch, vocabulary, index
        self._used: dict[tuple[int, int, int], Array] = {}
        self._no_texts: dict[int, pa.Array] = {}
        self._nothing: dict[Type, pd.Series] = {}

    def array(self, name: str) -> Any:
        """A column as pandas keeps it."""
        column = BY_NAME[name]
        pieces = self._batch.columns[column.source if column.type is Type.LIST else name]
        match column.type:
            case Type.LIST:
                return self._tuples(pieces, list(self._vocabulary[column.source].index))
            case Type.CATEGORY:
                codes, words = self._categories(pieces, self._vocabulary[name])
                return self._missing(Type.CATEGORY) if codes is None else _categorical(codes, words)
            case Type.INTEGER:
                if all(isinstance(p, Same) for p in pieces):
                    return self._missing(Type.INTEGER)
                return pd.arrays.IntegerArray(*self._integers(name, pieces))
            case Type.TEXT:
                texts = pa.chunked_array([self._texts(p) for p in pieces], pa.large_string())
                return pd.arrays.ArrowStringArray(texts, dtype=STR)
            case Type.TIME:
                return pd.DatetimeIndex(self._batch.plain(name), dtype=TIME, copy=False).array
            case _:
                return self._batch.plain(name)

    def _missing(self, kind: Type) -> pd.Series:
        """A column without values. Many columns are: as they are Series they share it, until one of them is written to."""
        if kind not in self._nothing:
            rows = self._batch.rows
            none = (
                _categorical(np.full(rows, -1, np.int8), [])
                if kind is Type.CATEGORY
                else pd.arrays.IntegerArray(np.zeros(rows, np.int64), np.ones(rows, bool))
            )
            self._nothing[kind] = pd.Series(none, self._index, copy=False)
        return self._nothing[kind]

    def _categories(self, pieces: Sequence[Any], words: Words) -> tuple[Array | None, list[str]]:
        """Codes into the sorted list of the words that occur (-1 missing), of the smallest type that does; and that list. None for
        codes that all are missing.
        """
        every = list(words.index)
        occurs = np.zeros(len(every) + 1, bool)  # the last one: missing
        for piece in pieces:
            if isinstance(piece, Cut) and isinstance(piece.column, Looked):
                occurs[piece.column.table.column(piece.column.number)[self._used_rows(piece)]] = True
            else:
                occurs[piece.value if isinstance(piece, Same) else plain(piece, Type.CATEGORY)] = True
        kept = sorted((every[i], i) for i in np.flatnonzero(occurs[:-1]).tolist())
        if not kept:
            return None, []
        if len(kept) == 1 and not occurs[-1]:
            return np.zeros(self._batch.rows, np.int8), [kept[0][0]]  # zeros take no memory before they are written to
        small = np.int8 if len(kept) < 128 else np.int16 if len(kept) < 32_768 else np.int32
        renumbered = np.full(len(every) + 1, -1, small)
        renumbered[[i for _, i in kept]] = np.arange(len(kept))
        codes = np.empty(self._batch.rows, small)
        for piece, where in stretches(pieces, Type.CATEGORY):
            self._look(piece, renumbered, codes[where])
        return codes, [word for word, _ in kept]

    def _look(self, piece: Any, values: Array, to: Array) -> None:
        """Writes what `values` has for the codes of a piece."""
        if isinstance(piece, Same):
            to.fill(values[piece.value])
        elif isinstance(piece, Cut) and isinstance(piece.column, Looked):
            looked = piece.column
            take(values[looked.table.column(looked.number)], looked.index[piece.start : piece.stop], to)
        else:
            to[...] = values[plain(piece, Type.CATEGORY)]

    def _used_rows(self, piece: Cut) -> Array:
        """Which rows of the table of a `Looked` occur."""
        looked, key = piece.column, (id(piece.column.index), piece.start, piece.stop)
        if key not in self._used:
            self._used[key] = used(looked.index[piece.start : piece.stop], len(looked.table.rows))
        return self._used[key]

    def _integers(self, name: str, pieces: Sequence[Any]) -> tuple[Array, Array]:
        if len(pieces) == 1:
            values, none = plain(pieces[0], Type.INTEGER)
            return values, none
        rows = self._batch.rows
        values, none = np.empty(rows, np.int64), np.empty(rows, bool)
        for piece, where in stretches(pieces, Type.INTEGER):
            values[where], none[where] = plain(piece, Type.INTEGER)
        return values, none

    def _texts(self, piece: Any) -> pa.Array:
        if not isinstance(piece, Same):
            return plain(piece, Type.TEXT)
        if piece.rows not in self._no_texts:  # many columns have none: they share it
            nothing = pa.py_buffer(np.zeros(piece.rows + 1, np.int64))
            self._no_texts[piece.rows] = pa.Array.from_buffers(
                pa.large_string(), piece.rows, [nothing, nothing, pa.py_buffer(b"")], null_count=piece.rows
            )
        return self._no_texts[piece.rows]

    def _tuples(self, pieces: Sequence[Any], words: Sequence[str]) -> Array:
        """The comma lists with these codes as tuples, empty for a missing one. Rows share them."""
        options = np.empty(len(words), object)
        for i, word in enumerate(words):
            options[i] = tuple(word.split(","))
        whole = np.empty(self._batch.rows, object)
        whole.fill(())
        codes = np.arange(len(words) + 1, dtype=np.min_scalar_type(len(words)))  # the last one: missing
        for piece, where in stretches(pieces, Type.CATEGORY):
            numbers = np.empty(where.stop - where.start, codes.dtype)
            self._look(piece, codes, numbers)
            there = np.flatnonzero(numbers < len(words))  # most requests have none
            whole[where][there] = options[numbers[there]]
        return whole
