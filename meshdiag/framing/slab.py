"""Room for the columns of access log lines, filled row by row: what is written there is what the frame has in the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Final

import numpy as np
import pyarrow as pa

from meshdiag.framing import native
from meshdiag.framing.columns import Type
from meshdiag.framing.native import PAD, Array, room

SHORTEST: Final = 64
"""Bytes that a line that is read in columns has at least."""

_USUAL: Final = 160
_USUAL_SHARE: Final = 6
"""Less than a usual line has in bytes, and more than a text's usual share of them: what more is left to the next slab."""


class Table:
    """Distinct things, numbered as they come, and what each says: a row of codes, and of integers of which -1 is missing."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, ...]] = []
        self._columns: dict[int, Array] = {}

    def column(self, number: int) -> Array:
        """Column `number` of all rows that there are."""
        known = self._columns.get(number)
        have = 0 if known is None else len(known)
        if have < len(self.rows) or known is None:
            new = np.array([row[number] for row in self.rows[have:]], np.int64)
            known = self._columns[number] = new if known is None else np.concatenate((known, new))
        return known


class Looked:
    """A column that says in which row of a table its values stand, in column `number` there. `index` are the rows."""

    def __init__(self, table: Table, number: int, index: Array) -> None:
        self.table, self.number, self.index = table, number, index

    def plain(self, where: slice, kind: Type) -> Any:
        """The values of some rows: codes, or integers and which are missing."""
        column, index = self.table.column(self.number), self.index[where]
        if kind is Type.INTEGER:
            return native.take(np.maximum(column, 0), index), native.take(column < 0, index)
        return native.take(column.astype(np.int32), index)


class Texts:
    """A column of texts as Arrow keeps them. `size`: room in bytes."""

    def __init__(self, rows: int, size: int) -> None:
        self.offsets, self.data = room(rows + 1, np.int64), room(size, np.uint8)
        self.valid = room(rows // 8 + 1, np.uint8)
        self.offsets[0] = 0

    @classmethod
    def of(cls, texts: pa.Array) -> Texts:
        """Of a `large_string` array."""
        self = cls(0, 0)
        valid, offsets, data = texts.buffers()
        end = texts.offset + len(texts)
        self.offsets = np.frombuffer(offsets, np.int64)[texts.offset : end + 1]
        self.data = np.frombuffer(data if data is not None else b"", np.uint8)
        known = (
            np.ones(len(texts), np.uint8)
            if valid is None
            else bits_of(np.frombuffer(valid, np.uint8), texts.offset, end)
        )
        self.valid = np.packbits(known, bitorder="little")
        return self

    def arrow(self, where: slice) -> pa.Array:
        """Some rows; nothing is copied."""
        buffers = [pa.py_buffer(b) for b in (self.valid, self.offsets, self.data)]
        return pa.Array.from_buffers(pa.large_string(), where.stop - where.start, buffers, offset=where.start)

    def write(self, row: int, texts: pa.Array, missing: Array) -> None:
        """Write texts from a row on; a missing one must be empty."""
        if not len(texts):
            return
        other, begin = Texts.of(texts), int(self.offsets[row])
        size = int(other.offsets[-1] - other.offsets[0])
        self.offsets[row + 1 : row + 1 + len(texts)] = other.offsets[1:] - other.offsets[0] + begin
        self.data[begin : begin + size] = other.data[other.offsets[0] : other.offsets[-1]]
        bits = np.packbits(np.concatenate((bits_of(self.valid, row // 8 * 8, row), ~missing)), bitorder="little")
        self.valid[row // 8 : row // 8 + len(bits)] = bits


def bits_of(packed: Array, start: int, stop: int) -> Array:
    """Some of the bits that Arrow keeps, as 0 and 1."""
    return np.unpackbits(packed[start // 8 : (stop + 7) // 8], bitorder="little")[start % 8 : start % 8 + stop - start]


class Slab:
    """Columns with room for some rows, of which `rows` are filled.

    offset   where lines begin in their stream
    time     microseconds since 1970
    numbers  integers, and which are missing
    index    of each stretch the row of its table; `matched`, if there, that of what was decided; uint16 or int32, as `index` said
    texts    by their names
    """

    def __init__(
        self, rows: int, size: int, numbers: Iterable[str], index: Mapping[str, Any], texts: Iterable[str]
    ) -> None:
        self.rows, self.room = 0, rows
        self.offset, self.time = room(rows, np.int64), room(rows, np.int64)
        self.numbers = {n: (room(rows, np.int64), room(rows, bool)) for n in numbers}
        self.index = {s: room(rows, kind) for s, kind in index.items()}
        self.texts = {t: Texts(rows, size) for t in texts}
        self._looked: dict[tuple[str, int], Looked] = {}

    def fits(self, size: int) -> bool:
        """Whether there is room for whatever stands in a block of so many bytes."""
        return self.rows + most_rows(size) <= self.room and all(
            int(t.offsets[self.rows]) + size + PAD <= len(t.data) for t in self.texts.values()
        )

    def looked(self, name: str, table: Table, number: int) -> Looked:
        """What a column of a table says of the rows; always the same object, so that cuts of it are known to belong together."""
        key = name, number
        if key not in self._looked:
            self._looked[key] = Looked(table, number, self.index[name])
        return self._looked[key]

    def keep(self, start: int, which: Array) -> None:
        """Of the rows from `start` on keep those with these numbers, which ascend; the others are forgotten, and their room is free."""
        end = start + len(which)
        for column in (self.offset, self.time, *chain(*self.numbers.values()), *self.index.values()):
            column[start:end] = column[start : self.rows][which]
        for texts in self.texts.values():
            kept = texts.arrow(slice(start, self.rows)).take(pa.array(which))
            texts.write(start, kept, np.asarray(kept.is_null()))
        self.rows = end


_TWO_BYTES: Final = np.dtype(np.uint16)
_FOUR_BYTES: Final = np.dtype(np.int32)


def index_for(count: int) -> Any:
    """The type of numbers below `count`: the smaller it is, the less memory has to be had."""
    return _TWO_BYTES if count <= 1 << 16 else _FOUR_BYTES


def most_rows(size: int) -> int:
    """How many rows a block of so many bytes may give."""
    return size // SHORTEST + 1


def room_for(block: int, following: int, rows: int | None) -> tuple[int, int]:
    """Rows and bytes of each text of a slab for a block and so many bytes behind it; not for many more than `rows` (None: any).

    Room that is never written costs no memory.
    """
    usual = following // _USUAL
    if rows is not None and usual > rows:
        following, usual = rows * _USUAL, rows
    return most_rows(block) + usual, block + PAD + following // _USUAL_SHARE
