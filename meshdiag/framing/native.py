"""The compiled reader of access log blocks, `kernel.c`, where it was built (`hatch_build.py`). Without it `plain.py` gives the same."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from ctypes import POINTER, byref, c_int, c_int32, c_int64, c_uint8, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from meshdiag.framing.slab import Slab

Array = Any
"""Of numpy; where nothing else is said with an element for each row."""

STRETCHES: Final = ("method", "middle", "agent", "called", "local", "end")
NUMBERS: Final = ("bytes_received", "bytes_sent", "duration", "upstream_service_time")
TEXTS: Final = ("path", "forwarded", "id", "upstream", "remote", "line")
PAD: Final = 64
"""Bytes that must be readable behind a block."""

FOLDER = Path(__file__).parent
"""Where the library is looked for."""

_VERSION = 2
"""Of what is called here: a library that says another one was built of another `kernel.c`."""


class _Column(ctypes.Structure):
    _fields_ = (("offsets", c_void_p), ("data", c_void_p), ("valid", c_void_p), ("room", c_int64))


class _Output(ctypes.Structure):
    _fields_ = (
        ("row", c_int64),
        ("room", c_int64),
        ("offset", c_void_p),
        ("time", c_void_p),
        ("numbers", c_void_p * len(NUMBERS)),
        ("missing", c_void_p * len(NUMBERS)),
        ("rows", c_void_p * len(STRETCHES)),
        ("rows_size", c_int32 * len(STRETCHES)),
        ("columns", _Column * len(TEXTS)),
        ("begin", c_void_p),
        ("end", c_void_p),
        ("lines", c_int64),
        ("others", c_int64),
        ("other_begin", c_void_p),
        ("other_end", c_void_p),
        ("other_row", c_void_p),
    )


class _Index(ctypes.Structure):
    _fields_ = (("numbers", c_void_p), ("size", c_int64))


class _Part(ctypes.Structure):
    _fields_ = (
        ("index", _Index),
        ("table", c_void_p),
        ("values", c_void_p),
        ("breaks", c_void_p),
        ("missing", c_void_p),
        ("bits", c_void_p),
        ("breaks_count", c_int64),
    )


_FUNCTIONS: Final[Mapping[str, tuple[Any, tuple[Any, ...]]]] = {
    "new": (c_void_p, (c_uint64,)),
    "free": (None, (c_void_p,)),
    "count": (c_uint32, (c_void_p, c_int)),
    "text": (POINTER(c_uint8), (c_void_p, c_int, c_uint32, POINTER(c_uint32))),
    "read": (c_int, (c_void_p, c_void_p, c_int64, c_int64, POINTER(_Output))),
    "new_combinations": (c_void_p, (c_uint64,)),
    "free_combinations": (None, (c_void_p,)),
    "combine": (
        c_int64,
        (c_void_p, POINTER(_Index), c_void_p, POINTER(_Part), c_int64, c_int64, c_int32, c_void_p, c_void_p),
    ),
    "mark": (None, (POINTER(_Index), c_int64, c_void_p)),
    "take": (None, (c_int, c_void_p, POINTER(_Index), c_int64, c_void_p)),
}


@cache
def _library() -> Any:
    """The functions by their names; None when there is no library, or one of another platform or version."""
    for path in sorted(FOLDER.glob("_kernel.*")):
        try:
            library = ctypes.CDLL(str(path))
            if library.meshdiag_version() != _VERSION:
                continue
            for name, (result, arguments) in _FUNCTIONS.items():
                function = library[f"meshdiag_{name}"]
                function.restype, function.argtypes = result, arguments
                setattr(library, name, function)
        except (OSError, AttributeError):
            continue
        return library
    return None


def is_there() -> bool:
    """Whether the compiled reader can be used."""
    return _library() is not None


def room(count: int, kind: Any) -> Array:
    """An array that is still to be written. Pages that are not written cost nothing.

    numpy itself would ask for huge pages where an array is large: a virtual machine whose free memory the host takes back pays more for
    them than they save (under Firecracker 0.03 to 1.0 s for 256 MB, and 0.2 s without).
    """
    buffer = pa.allocate_buffer(count * np.dtype(kind).itemsize, pa.system_memory_pool())
    return np.frombuffer(buffer, kind)


def _seed() -> int:
    """So that nobody can choose texts that collide."""
    return int.from_bytes(os.urandom(8), "little")


def _index(array: Array) -> _Index:
    return _Index(_at(array), array.itemsize)


def _at(array: Array) -> int:
    return int(array.__array_interface__["data"][0])  # `array.ctypes.data` takes ten times as long


class Kernel:
    """Reads blocks and numbers the distinct texts of each stretch as they come. Raises MemoryError."""

    def __init__(self) -> None:
        self._library = _library()
        self._handle = self._library.new(_seed())
        if not self._handle:
            raise MemoryError
        self._size = -1
        self._slab: Slab | None = None
        self._output = _Output()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.free(self._handle)

    def new_texts(self, stretch: str, known: int) -> list[bytes]:
        """The distinct texts of a stretch from number `known` on."""
        number, size = STRETCHES.index(stretch), c_uint32()
        found = []
        for i in range(known, self._library.count(self._handle, number)):
            text = self._library.text(self._handle, number, i, byref(size))
            found.append(ctypes.string_at(text, size.value))
        return found

    def read(self, buffer: bytearray, size: int, base: int, slab: Slab, rows: int) -> tuple[Spans, Spans, Array]:
        """Reads buffer[:size], which ends with a line end and is followed by PAD bytes, and lies at `base` in its stream, into a slab.

        Gives where the lines that were read lie (without their wrapper), where the others lie, and how many of the first come before
        each of these: valid until the next call. At most `rows` lines of so many bytes can be read.
        """
        if size > self._size:  # room for what a block of this size may give
            self._size, self._slab = size, None
            self._spans = [room(rows, np.int32) for _ in range(2)]
            self._others = [room(size, np.int32) for _ in range(3)]
        if slab is not self._slab:
            self._slab, self._output = slab, self._output_to(slab)
        output = self._output
        output.row = slab.rows
        block = (c_uint8 * len(buffer)).from_buffer(buffer)
        if not self._library.read(self._handle, block, size, base, byref(output)):
            raise MemoryError
        count, slab.rows = output.row - slab.rows, output.row
        begin, end = (a[:count] for a in self._spans)
        others = [a[: output.others] for a in self._others]
        return (begin, end), (others[0], others[1]), others[2]

    def _output_to(self, slab: Slab) -> _Output:
        output = _Output(0, slab.room, _at(slab.offset), _at(slab.time))
        for i, name in enumerate(NUMBERS):
            if name in slab.numbers:
                values, missing = slab.numbers[name]
                output.numbers[i], output.missing[i] = _at(values), _at(missing)
        for i, name in enumerate(STRETCHES):
            if name in slab.index:
                output.rows[i], output.rows_size[i] = _at(slab.index[name]), slab.index[name].itemsize
        for i, name in enumerate(TEXTS):
            if name in slab.texts:
                text = slab.texts[name]
                output.columns[i] = _Column(_at(text.offsets), _at(text.data), _at(text.valid), len(text.data))
        output.begin, output.end = map(_at, self._spans)
        output.other_begin, output.other_end, output.other_row = map(_at, self._others)
        return output


Spans = tuple[Array, Array]
"""Where texts begin and end in a block."""


MOST_PARTS: Final = 64


@dataclass(frozen=True, slots=True)
class Part:
    """One of the things by which rows are told apart. Which of these are given says how:

    table, index     table[index] (int32, and uint16 or int32); without a table the index
    values, missing  the value (int64), or -1 where it is missing; with `breaks` only how many of these are not above it
    bits             the bits
    """

    table: Array = None
    index: Array = None
    values: Array = None
    missing: Array = None
    breaks: Array = None
    bits: Array = None


class Combinations:
    """Numbers the combinations of a row's index and of the parts that this index needs, as they come."""

    def __init__(self) -> None:
        self._library = _library()
        self._handle = self._library.new_combinations(_seed())
        if not self._handle:
            raise MemoryError
        self._parts: Sequence[Part] | None = None
        self._given: Any = None

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self._library.free_combinations(self._handle)

    def of(self, index: Array, needed: Array, parts: Sequence[Part], numbers: Array, rows: slice) -> list[int]:
        """Writes the numbers of the combinations of some rows; of each new one the first row.

        `index` and `numbers` are uint16 or int32; `needed` (uint64) says by the index which of the parts count, as bits: at most 64.
        """
        assert len(parts) <= MOST_PARTS
        if parts is not self._parts:  # they are the same from block to block
            self._parts, self._given = parts, _given(parts)
        first = np.empty(rows.stop - rows.start, np.int64)
        places = byref(_index(index)), _at(needed), self._given, rows.start, rows.stop
        new = self._library.combine(self._handle, *places, numbers.itemsize, _at(numbers), _at(first))
        if new < 0:
            raise MemoryError
        found: list[int] = first[:new].tolist()
        return found


def _given(parts: Sequence[Part]) -> Any:
    given = (_Part * max(len(parts), 1))()
    for to, part in zip(given, parts, strict=False):
        if part.index is not None:
            to.index = _index(part.index)
        for name in ("table", "values", "breaks", "missing", "bits"):
            if (array := getattr(part, name)) is not None:
                setattr(to, name, _at(array))
        to.breaks_count = 0 if part.breaks is None else len(part.breaks)
    return given


def take(table: Array, index: Array, to: Array = None) -> Array:
    """table[index] of numbers (uint16 or int32) that are all in the table; written to `to`, if given, which has the table's type."""
    library = _library()
    if to is None:
        to = room(len(index), table.dtype)
    if library is None or table.dtype.hasobject or not (index.flags.c_contiguous and to.flags.c_contiguous):
        to[...] = table[index]
    else:
        table = np.ascontiguousarray(table)
        library.take(table.dtype.itemsize, _at(table), byref(_index(index)), len(index), _at(to))
    return to


def used(index: Array, size: int) -> Array:
    """Which of the numbers below `size` occur among numbers (uint16 or int32) that are all below it."""
    there, library = np.zeros(size, bool), _library()
    if library is None or not index.flags.c_contiguous:
        there[index] = True
    else:
        library.mark(byref(_index(index)), len(index), _at(there))
    return np.flatnonzero(there)
