"""Whole blocks of today's default access log into columns, without a Python object for a line.

Only a line that has provably one reading is taken, and that reading is the one of `formats.access`. It is in ASCII without
control characters, begins with a time in Envoy's own form (bare, or behind the kubelet's) and has 14 quotes; between these
stand as many blanks as the format has, and no value is empty. So every value lies between two marks whose place is known.
What the format asks of a value beyond that is asked once of each distinct text where values repeat (by putting the text into a
line that `formats.access` then reads), and of numbers and times by arithmetic on eight bytes at a time.
All other lines are left to `formats`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa

from meshdiag.formats.access import newest, parse
from meshdiag.framing.batch import Array, Looked, Table, Vocabulary
from meshdiag.framing.columns import BY_NAME, Type
from meshdiag.framing.records import INTEGER, microseconds
from meshdiag.model import Record

PAD: Final = 64
"""Bytes that must be readable behind a block."""

LINE_LIMIT: Final = 1 << 16
"""Bytes of a line that `formats` gets to see."""

Span = tuple[Array, Array]
"""Where a value begins and ends in the block."""

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


def _number(words: Array, span: Span) -> tuple[Array, Array, Array]:
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
    return value.astype(np.int64), missing, fits | missing


# --- the line -----------------------------------------------------------------------------------------------------

_MARKS = 15
"""Quotes of a line, and its end."""

_BLANKS = {0: 2, 1: 5, 3: 5, 5: 1, 7: 1, 9: 1, 11: 1, 13: 6}
"""How many blanks stand behind quote number N; in a reason or a header any number may."""

_HEAD = len("[2026-11-22T08:00:00.003Z] ")
_KUBELET = len("2026-11-22T23:32:13.455026000Z ")
_HEAD_ENDS = _word(b'] "')
_MINUTE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}")

TEXTS: Final[Mapping[str, str]] = {
    "request_path": "path",
    "x_forwarded_for": "forwarded",
    "request_id": "id",
    "upstream_local_address": "upstream",
    "downstream_remote_address": "remote",
    "text": "line",
}
"""Columns of texts that seldom repeat, and the value that each is."""

NUMBERS: Final = ("bytes_received", "bytes_sent", "duration", "upstream_service_time")

STRETCHES: Final[Mapping[str, tuple[str, ...]]] = {
    "method": ("method",),
    "middle": (
        "protocol",
        "response_code",
        "response_flags",
        "response_code_details",
        "connection_termination_details",
        "upstream_transport_failure_reason",
    ),
    "agent": ("user_agent",),
    "called": (
        "authority",
        "upstream_host",
        "upstream_cluster",
        "direction",
        "destination_port",
        "destination_subset",
        "destination_host",
    ),
    "local": ("downstream_local_address",),
    "end": ("requested_server_name", "route_name"),
}
"""Values next to each other that repeat together, and the columns that are read from them."""

_PROBE = '[2026-11-22T08:00:00.003Z] "{method} / {middle}" 0 0 0 0 "-" "{agent}" "-" "{called} 10.0.0.1:1 {local} 10.0.0.1:1 {end}'
_USUAL = {
    "method": "GET",
    "middle": 'HTTP/1.1" 200 - - - "-',
    "agent": "-",
    "called": 'a" "b:1" c',
    "local": "b:1",
    "end": "- -",
}


class Stretch:
    """The distinct texts of one stretch, each taken apart once: a table whose column 0 says whether the format allows the text."""

    def __init__(self, name: str, vocabulary: Vocabulary) -> None:
        self.table = Table()
        self._name = name
        self._columns = STRETCHES[name]
        self._words = [None if BY_NAME[c].type is Type.INTEGER else vocabulary[c] for c in self._columns]
        vocabulary.memories.append(self.table.index)
        self._index = self.table.index

    def numbers(self, texts: Sequence[bytes]) -> Array:
        """The rows of the table for these texts."""
        if not self._index and self.table.rows:  # the vocabulary began anew
            self.table = Table()
            self.table.index = self._index
        known = self._index
        return np.array([known[t] if t in known else self._learn(t) for t in texts], np.int64)

    def record(self, row: int) -> Record:
        """A record with what the text of a row says, and nothing of what else a line of it may say."""
        record = self._probe(self.table.texts[row])
        assert record is not None, "only texts that the format allows are used"
        return record

    def _probe(self, text: bytes) -> Record | None:
        line = _PROBE.format_map({**_USUAL, self._name: text.decode("ascii")})
        return parse(line) if newest(line) else None

    def _learn(self, text: bytes) -> int:
        self.table.rows.append(self._read(text))
        self.table.texts.append(text)
        number = self._index[text] = len(self.table.rows) - 1
        return number

    def _read(self, text: bytes) -> tuple[int, ...]:
        no = (0,) * (1 + len(self._columns))
        record = self._probe(text)
        if record is None:
            return no
        values = [record.fields.get(BY_NAME[c].source) for c in self._columns]
        if not all(
            w is not None or v is None or INTEGER.fullmatch(v) for v, w in zip(values, self._words, strict=True)
        ):
            return no
        numbers = (
            w.code(v) if w is not None else -1 if v is None else int(v)
            for v, w in zip(values, self._words, strict=True)
        )
        return (1, *numbers)


@dataclass(slots=True)
class Block:
    """A block of lines, and what was read of it.

    starts, ends  of every line: offsets in the block
    fast          the numbers of the lines that were read, ascending; what follows has an element for each of these
    time          microseconds since 1970
    spans         of texts, of stretches and of the `line` without its wrapper
    numbers       integers and which of them are missing
    rows          of a stretch that was read: the rows of its table, and which of them occur
    """

    data: pa.Buffer
    starts: Array
    ends: Array
    fast: Array
    time: Array
    spans: dict[str, Span]
    numbers: dict[str, tuple[Array, Array]]
    rows: dict[str, tuple[Array, Array]]

    def keep(self, mask: Array) -> None:
        """Forget the other fast lines."""
        if mask.all():
            return
        which = np.flatnonzero(mask)
        self.fast, self.time = self.fast[which], self.time[which]
        self.spans = {n: (a[which], b[which]) for n, (a, b) in self.spans.items()}
        self.numbers = {n: (values[which], missing[which]) for n, (values, missing) in self.numbers.items()}
        self.rows = {n: _occurring(index[which]) for n, (index, _) in self.rows.items()}

    def line(self, number: int) -> str:
        """The text of a fast line, without its wrapper."""
        begin, end = self.spans["line"]
        return bytes(memoryview(self.data)[begin[number] : end[number]]).decode("ascii")

    def missing(self, name: str) -> Array:
        """Of a span's texts those that are `-`."""
        begin, end = self.spans[name]
        return (end - begin == 1) & (np.frombuffer(self.data, np.uint8)[begin] == ord("-"))

    def text(self, name: str) -> pa.Array:
        """The texts of a span; `-` is null."""
        begin, end = self.spans[name]
        whole = _values(self.data, begin, end).drop_null()
        dash = self.missing(name)
        if not dash.any():
            return whole
        _, offsets, data = whole.buffers()
        valid = pa.py_buffer(np.packbits(~dash, bitorder="little"))
        return pa.Array.from_buffers(pa.large_string(), len(begin), [valid, offsets, data])


def _values(data: pa.Buffer, begin: Array, end: Array) -> pa.Array:
    """What lies in the spans, which ascend, as an Arrow array of twice their number: every second one is null, and what lies between.

    So no text is copied until it is asked for.
    """
    count = len(begin)
    offsets = np.empty(2 * count + 1, np.int64)
    offsets[0:-1:2] = begin
    offsets[1::2] = end
    offsets[-1] = end[-1] if count else 0
    valid = pa.py_buffer(np.full((2 * count + 7) // 8, 0b01010101, np.uint8))
    return pa.Array.from_buffers(pa.large_string(), 2 * count, [valid, pa.py_buffer(offsets), data])


def _occurring(index: Array) -> tuple[Array, Array]:
    """The numbers, and the distinct ones of them."""
    there = np.zeros(int(index.max(initial=-1)) + 1, bool)
    there[index] = True
    return index, np.flatnonzero(there)


def _distinct(data: pa.Buffer, span: Span) -> tuple[Array, list[bytes]]:
    """For each text its number among the distinct ones, and these."""
    encoded = _values(data, *span).dictionary_encode()
    numbers = np.frombuffer(encoded.indices.buffers()[1], np.int32)[: 2 * len(span[0]) : 2]
    return numbers, encoded.dictionary.cast(pa.large_binary()).to_pylist()


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


class AccessLog:
    """Reads blocks. The words of all of them go to one vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._stretches = {name: Stretch(name, vocabulary) for name in STRETCHES}
        self._minutes: dict[tuple[int, int], int] = {}

    def read(self, buffer: bytearray, size: int) -> Block:
        """Finds the lines of buffer[:size], which ends with a line end and is followed by PAD bytes, and reads what has one reading."""
        data = np.frombuffer(buffer, np.uint8, size)
        words = np.ndarray((size,), "<u8", buffer, strides=(1,))
        marks, quotes, odd = _marks(data)
        last = np.flatnonzero(data[marks[quotes]] == ord("\n"))
        ends = marks[quotes[last]]
        starts = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))
        lines = np.flatnonzero(np.diff(last, prepend=-1) == _MARKS)
        if len(lines) == len(ends):
            at = np.ascontiguousarray(quotes.reshape(-1, _MARKS).T)
        else:
            at = quotes[last[lines] + np.arange(1 - _MARKS, 1)[:, None]]
        before = np.where(lines > 0, quotes[last[lines - 1]], -1) if len(lines) else lines
        good = ends[lines] - starts[lines] <= LINE_LIMIT
        for quote, blanks in _BLANKS.items():
            good &= at[quote + 1] - at[quote] == blanks + 1
        if len(odd):
            good[np.isin(lines, np.searchsorted(ends, odd))] = False
        if not good.all():
            lines, at, before = lines[good], at[:, good], before[good]
        q = marks[at]
        first, second = marks[at[0] + 1], marks[at[0] + 2]  # blanks of the request
        n = [marks[at[3] + i] for i in range(1, 6)]  # before, between and behind the four numbers
        t = [marks[at[13] + i] for i in range(1, 7)]  # before each value behind the last quote
        begin = q[0] - _HEAD
        time, good = self._time(words, begin)
        bare = begin == starts[lines]
        if not bare.all():
            good &= np.where(bare, at[0] - before == 2, (at[0] - before == 3) & _kubelet(words, starts[lines], begin))
        else:
            good &= at[0] - before == 2
        good &= (n[0] == q[3] + 1) & (n[4] == q[4] - 1)
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
        for a, b in spans.values():
            good &= b > a
        numbers = {}
        for i, name in enumerate(NUMBERS):
            value, missing, fits = _number(words, (n[i] + 1, n[i + 1]))
            numbers[name] = value, missing
            good &= fits
        block = Block(pa.py_buffer(buffer), starts, ends, lines, time, spans, numbers, {})
        block.keep(good)
        for name in ("method", "middle", "called", "local", "end"):
            self.look(block, name)
        allowed = np.ones(len(block.fast), bool)
        for name, (index, used) in block.rows.items():
            column = self._stretches[name].table.column(0)
            if not column[used].all():
                allowed &= column[index] == 1
        block.keep(allowed)
        return block

    def look(self, block: Block, name: str) -> Stretch:
        """Reads a stretch, unless it was read before."""
        stretch = self._stretches[name]
        if name not in block.rows:
            index, texts = _distinct(block.data, block.spans[name])
            numbers = stretch.numbers(texts)
            block.rows[name] = numbers.astype(np.int32)[index], np.sort(numbers)
        return stretch

    def piece(self, block: Block, name: str) -> Any:
        """A column of the fast lines, as `batch` describes it; None for one that these lines do not have."""
        if name in TEXTS:
            return block.text(TEXTS[name])
        if name in NUMBERS:
            return block.numbers[name]
        stretch = STRETCH_OF.get(name)
        if stretch is None:
            return None
        table = self.look(block, stretch).table
        return Looked(table, 1 + STRETCHES[stretch].index(name), *block.rows[stretch])

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


_NO_MINUTE = 1 << 62
STRETCH_OF: Final = {column: stretch for stretch, columns in STRETCHES.items() for column in columns}
"""Column to the stretch that it is read from."""


def _kubelet(words: Array, starts: Array, begin: Array) -> Array:
    """Whether the kubelet's time, with nine digits of a second, stands between a line's start and its record."""
    good = begin - starts == _KUBELET
    for at, form in _KUBELET_FORMS.items():
        good &= form.digits(words[np.where(good, starts, 0) + at])[1]
    return good
