"""Blocks of access log with numpy: what `kernel.c` does, where it was not compiled.

A line is taken when it is in ASCII without control characters, begins with a time in Envoy's own form (bare, or behind the
kubelet's), and has 14 quotes; between these stand as many blanks as the format has, and no value is empty. So every value lies
between two marks whose place is known.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from meshdiag.engine.scan import LINE_LIMIT
from meshdiag.framing.native import NUMBERS, STRETCHES, Array, Part, Spans
from meshdiag.framing.records import microseconds
from meshdiag.framing.slab import Slab, bits_of

# --- words: eight bytes, the first one lowest ---------------------------------------------------------------------


def _word(text: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(text, "little"))


_HIGH = _word(b"\x80" * 8)
_FIFTEEN, _BYTE = np.uint64(15), np.uint64(8)
_SHIFTS = np.array([56, 56, 48, 40, 32, 24, 16, 8, 0], np.uint64)
"""By the length of a number: how many bits of the word that ends with it stand before it."""

_LEAST = np.array([0, 0, *(10**n for n in range(1, 8))], np.uint64)
"""By the length of a number: what it is at least when it does not begin with a zero."""


@dataclass(frozen=True, slots=True)
class _Form:
    """Eight bytes in which `0` stands for any digit and everything else for itself."""

    zero: np.uint64
    above: np.uint64

    @classmethod
    def of(cls, form: bytes) -> _Form:
        # what, added to the difference to `form`, sets the high bit of a byte that is not allowed
        return cls(_word(form), _word(bytes(0x76 if c == 0x30 else 0x7F for c in form)))

    def digits(self, words: Array) -> tuple[Array, Array]:
        """The digits' values in their bytes (0 elsewhere), and whether the words have this form."""
        rest = words ^ self.zero
        return rest, ((rest + self.above) | rest) & _HIGH == 0


_DIGITS = _Form.of(b"00000000")
_SECOND = _Form.of(b":00.000Z")
_KUBELET_FORMS = {
    0: _Form.of(b"0000-00-"),
    8: _Form.of(b"00T00:00"),
    16: _Form.of(b":00.0000"),
    23: _Form.of(b"000000Z "),
}


def _number(words: Array, span: Spans) -> tuple[Array, Array, Array]:
    """Of texts the values, which are missing (`-`), and which are either; an integer has 1 to 8 digits and no zero before them."""
    begin, end = span
    length = end - begin
    size = np.clip(length, 0, 8)
    word = words[end - 8]
    shift = _SHIFTS[size]
    value, fits = _DIGITS.digits((((word ^ _DIGITS.zero) >> shift) << shift) ^ _DIGITS.zero)
    value = value * np.uint64(10) + (value >> _BYTE)
    pairs = np.uint64(0x000000FF000000FF)
    value = (
        (value & pairs) * np.uint64(0x000F424000000064)
        + ((value >> np.uint64(16)) & pairs) * np.uint64(0x0000271000000001)
    ) >> np.uint64(32)
    fits &= (length > 0) & (length <= 8) & (value >= _LEAST[size])
    missing = (length == 1) & (word >> np.uint64(56) == ord("-"))
    return np.where(missing, 0, value.astype(np.int64)), missing, fits | missing


# --- the line -----------------------------------------------------------------------------------------------------

_MARKS = 15
"""Quotes of a line, and its end."""

_BLANKS = {0: 2, 1: 5, 3: 5, 5: 1, 7: 1, 9: 1, 11: 1, 13: 6}
"""How many blanks stand behind quote number N; in a reason or a header any number may."""

_HEAD = len("[2026-11-22T08:00:00.003Z] ")
_KUBELET = len("2026-11-22T23:32:13.455026000Z ")
_HEAD_ENDS = _word(b'] "')
_MINUTE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}")
_NO_MINUTE = 1 << 62


class Plain:
    """As `native.Kernel`: reads blocks and numbers the distinct texts of each stretch as they come."""

    def __init__(self) -> None:
        self._texts: dict[str, dict[bytes, int]] = {s: {} for s in STRETCHES}
        self._minutes: dict[tuple[int, int], int] = {}

    def new_texts(self, stretch: str, known: int) -> list[bytes]:
        """See Kernel."""
        return list(self._texts[stretch])[known:]

    def read(self, buffer: bytearray, size: int, base: int, slab: Slab, rows: int) -> tuple[Spans, Spans, Array]:
        """See Kernel."""
        data = np.frombuffer(buffer, np.uint8, size)
        words = np.ndarray((size,), "<u8", buffer, strides=(1,))
        marks, quotes, odd = _marks(data)
        last = np.flatnonzero(data[marks[quotes]] == ord("\n"))
        ends = marks[quotes[last]]
        starts = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))
        lines = np.flatnonzero(np.diff(last, prepend=-1) == _MARKS)
        at = quotes[last[lines] + np.arange(1 - _MARKS, 1)[:, None]]
        before = np.where(lines > 0, quotes[last[lines - 1]], -1) if len(lines) else lines
        good = ends[lines] - starts[lines] <= LINE_LIMIT
        for quote, blanks in _BLANKS.items():
            good &= at[quote + 1] - at[quote] == blanks + 1
        good[np.isin(lines, np.searchsorted(ends, odd))] = False
        lines, at, before = lines[good], at[:, good], before[good]
        q = marks[at]
        first, second = marks[at[0] + 1], marks[at[0] + 2]  # blanks of the request
        n = [marks[at[3] + i] for i in range(1, 6)]  # before, between and behind the four numbers
        t = [marks[at[13] + i] for i in range(1, 7)]  # before each value behind the last quote
        begin = q[0] - _HEAD
        time, good = self._time(words, begin)
        bare = begin == starts[lines]
        good &= np.where(bare, at[0] - before == 2, (at[0] - before == 3) & _kubelet(words, starts[lines], begin))
        good &= (n[0] == q[3] + 1) & (n[4] == q[4] - 1)
        good &= (marks[at[1] + 1] == q[1] + 1) & (marks[at[1] + 5] == q[2] - 1) & (marks[at[13] + 1] == q[13] + 1)
        for k in (5, 7, 9, 11):
            good &= q[k + 1] == q[k] + 2
        spans = {
            "line": (begin, q[14]),
            "method": (q[0] + 1, first),
            "path": (first + 1, second),
            "middle": (second + 1, q[3]),
            "forwarded": (q[4] + 1, q[5]),
            "agent": (q[6] + 1, q[7]),
            "id": (q[8] + 1, q[9]),
            "called": (q[10] + 1, t[1]),
            "upstream": (t[1] + 1, t[2]),
            "local": (t[2] + 1, t[3]),
            "remote": (t[3] + 1, t[4]),
            "end": (t[4] + 1, q[14]),
        }
        parts = [(q[2] + 1, q[3]), (q[10] + 1, q[11]), (q[12] + 1, q[13]), (t[0] + 1, t[1])]  # values within stretches
        parts += [(t[4] + 1, t[5]), (t[5] + 1, q[14])]
        for a, b in (*spans.values(), *parts):
            good &= b > a
        numbers = [_number(words, (n[i] + 1, n[i + 1])) for i in range(len(NUMBERS))]
        for _, _, fits in numbers:
            good &= fits

        which, where = np.flatnonzero(good), slice(slab.rows, slab.rows + int(np.count_nonzero(good)))
        slab.offset[where], slab.time[where] = starts[lines[which]] + base, time[which]
        for name, (value, missing, _) in zip(NUMBERS, numbers, strict=True):
            if name in slab.numbers:
                slab.numbers[name][0][where], slab.numbers[name][1][where] = value[which], missing[which]
        spans = {name: (a[which], b[which]) for name, (a, b) in spans.items()}
        for name, index in slab.index.items():
            if name in spans:
                index[where] = self._numbered(name, buffer, spans[name])
        for name, texts in slab.texts.items():
            a, b = spans[name]
            missing = (b - a == 1) & (data[a] == ord("-"))
            texts.write(where.start, _values(buffer, a, np.where(missing, a, b)).drop_null(), missing)
        slab.rows = where.stop
        others = np.delete(np.arange(len(starts)), lines[which])
        return spans["line"], (starts[others], ends[others]), np.searchsorted(lines[which], others)

    def _numbered(self, stretch: str, buffer: bytearray, span: Spans) -> Array:
        encoded, known = _values(buffer, *span).dictionary_encode(), self._texts[stretch]
        texts = encoded.dictionary.cast(pa.large_binary()).to_pylist()
        numbers = np.array([known.setdefault(text, len(known)) for text in texts], np.int32)
        return numbers[np.frombuffer(encoded.indices.buffers()[1], np.int32)[: 2 * len(span[0]) : 2]]

    def _time(self, words: Array, begin: Array) -> tuple[Array, Array]:
        """The times that `[2026-11-22T08:00:00.003Z] "` tells, and which heads are such."""
        day, minute, second = words[begin + 1], words[begin + 9], words[begin + 17]
        digits, good = _SECOND.digits(second)
        d = [(digits >> np.uint64(8 * i)) & _FIFTEEN for i in (1, 2, 4, 5, 6)]
        good &= (
            (d[0] < 6)
            & (words[begin + 20] >> np.uint64(40) == _HEAD_ENDS)
            & (words[begin] & np.uint64(0xFF) == ord("["))
        )
        milliseconds = (
            (d[0] * np.uint64(10) + d[1]) * np.uint64(1000) + d[2] * np.uint64(100) + d[3] * np.uint64(10) + d[4]
        )
        change = np.flatnonzero((day[1:] != day[:-1]) | (minute[1:] != minute[:-1])) + 1
        runs = np.concatenate((np.zeros(min(1, len(day)), np.int64), change))
        known = np.array([self._minute(int(a), int(b)) for a, b in zip(day[runs], minute[runs], strict=True)], np.int64)
        minutes = np.repeat(known, np.diff(runs, append=len(day)))
        good &= minutes != _NO_MINUTE
        return minutes + milliseconds.astype(np.int64) * 1000, good

    def _minute(self, day: int, minute: int) -> int:
        """Microseconds of `2026-11-` and `22T08:00`; _NO_MINUTE when there is no such minute."""
        known = self._minutes.get((day, minute))
        if known is None:
            if len(self._minutes) > 500_000:
                self._minutes.clear()
            text = (day.to_bytes(8, "little") + minute.to_bytes(8, "little")).decode("latin-1")
            known = _NO_MINUTE
            if _MINUTE.fullmatch(text):
                with contextlib.suppress(ValueError):
                    known = microseconds(datetime.fromisoformat(f"{text}:00Z"))
            self._minutes[day, minute] = known
        return known


def _marks(data: Array) -> tuple[Array, Array, Array]:
    """Where blanks, quotes and line ends stand; the numbers of quotes and line ends among these; and where other
    control characters and bytes beyond ASCII stand.
    """
    marks = np.flatnonzero(data.view(np.int8) <= ord('"'))  # what is beyond ASCII is negative
    what = data[marks]
    structure = (what == ord('"')) | (what == ord("\n"))
    known = structure | (what == ord(" "))
    odd = marks[:0]
    if not known.all():
        odd = marks[~known & (what != ord("!"))]
        marks, structure = marks[known], structure[known]
    return marks, np.flatnonzero(structure), odd


def _values(buffer: bytearray, begin: Array, end: Array) -> pa.Array:
    """What lies in the spans, which ascend, as an Arrow array of twice their number: every second one is null, and what lies between.

    So no text is copied until it is asked for.
    """
    count = len(begin)
    offsets = np.empty(2 * count + 1, np.int64)
    offsets[0:-1:2] = begin
    offsets[1::2] = end
    offsets[-1] = end[-1] if count else 0
    valid = pa.py_buffer(np.full((2 * count + 7) // 8, 0b01010101, np.uint8))
    return pa.Array.from_buffers(pa.large_string(), 2 * count, [valid, pa.py_buffer(offsets), pa.py_buffer(buffer)])


def _kubelet(words: Array, starts: Array, begin: Array) -> Array:
    """Whether the kubelet's time, with nine digits of a second, stands between a line's start and its record."""
    good = begin - starts == _KUBELET
    for at, form in _KUBELET_FORMS.items():
        good &= form.digits(words[np.where(good, starts, 0) + at])[1]
    return good


class PlainCombinations:
    """As `native.Combinations`: numbers the combinations of an index and of the parts that it needs, as they come."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], int] = {}

    def of(self, index: Array, needed: Array, parts: Sequence[Part], numbers: Array, rows: slice) -> list[int]:
        """See Combinations."""
        index = index[rows]
        columns = [index.astype(np.int64)]
        for bit, part in enumerate(parts):
            counts = (needed >> np.uint64(bit) & np.uint64(1))[index] == 1
            columns.append(np.where(counts, _values_of(part, rows), 0))
        mixed, size = np.zeros(len(index), np.int64), 1
        for column in columns:
            _, column = np.unique(column, return_inverse=True)
            radix = int(column.max(initial=0)) + 1
            if size * radix >= 1 << 62:
                _, mixed = np.unique(mixed, return_inverse=True)
                size = len(mixed)
            mixed, size = mixed * radix + column, size * radix
        _, first, mixed = np.unique(mixed, return_index=True, return_inverse=True)
        order, new = np.empty(len(first), np.int32), []
        for i in np.argsort(first).tolist():
            key = tuple(int(column[first[i]]) for column in columns)
            if key not in self._known:
                self._known[key] = len(self._known)
                new.append(rows.start + int(first[i]))
            order[i] = self._known[key]
        numbers[rows] = order[mixed]
        return new


def _values_of(part: Part, rows: slice) -> Array:
    if part.index is not None:
        return part.index[rows] if part.table is None else part.table[part.index[rows]]
    if part.bits is not None:
        return bits_of(part.bits, rows.start, rows.stop)
    values = part.values[rows]
    if part.breaks is not None:
        values = np.searchsorted(part.breaks, values, side="right")
    return values if part.missing is None else np.where(part.missing[rows], -1, values)
