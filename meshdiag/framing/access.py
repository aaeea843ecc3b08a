"""Whole blocks of today's default access log into columns, without a Python object for a line.

Only a line that has provably one reading is taken, and that reading is the one of `formats.access`. `kernel.c` finds where
its values lie (`plain.py` does, where that was not compiled), reads times and numbers, and numbers the distinct texts of values that
repeat together. What the format asks of these is asked once of each text, by putting it into a line that `formats.access` then reads.
All other lines are left to `formats`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from meshdiag.formats.access import newest, parse
from meshdiag.framing import native
from meshdiag.framing.batch import Cut, Vocabulary
from meshdiag.framing.columns import BY_NAME, Type
from meshdiag.framing.native import NUMBERS, Array, Kernel, Spans
from meshdiag.framing.plain import Plain
from meshdiag.framing.records import INTEGER
from meshdiag.framing.slab import Slab, Table, index_for, most_rows, room_for
from meshdiag.model import Record

TEXTS: Final[Mapping[str, str]] = {
    "request_path": "path",
    "x_forwarded_for": "forwarded",
    "request_id": "id",
    "upstream_local_address": "upstream",
    "downstream_remote_address": "remote",
    "text": "line",
}
"""Columns of texts that seldom repeat, and the value that each is."""

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

STRETCH_OF: Final = {column: stretch for stretch, columns in STRETCHES.items() for column in columns}
"""Column to the stretch that it is read from."""

MIDDLE: Final = "middle"
"""The stretch that says how a request ended: of few texts, but one that most patterns ask about."""

MATCHED: Final = "matched"
"""The index of a slab that says what was decided about each row."""

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
        self.texts: list[bytes] = []
        self._name = name
        self._last: list[Record | None] = []  # those of the last texts that were learnt: they are mostly asked for next
        self._columns = STRETCHES[name]
        self._words = [None if BY_NAME[c].type is Type.INTEGER else vocabulary[c] for c in self._columns]

    def learn(self, texts: Sequence[bytes]) -> bool:
        """Take the next texts apart; whether the format allows all."""
        self._last = [self._probe(text) for text in texts]
        self.texts += texts
        rows = [*map(self._read, self._last)]
        self.table.rows += rows
        return all(row[0] for row in rows)

    def record(self, row: int) -> Record:
        """A record with what the text of a row says, and nothing of what else a line of it may say."""
        behind = row - len(self.texts) + len(self._last)
        record = self._last[behind] if behind >= 0 else self._probe(self.texts[row])
        assert record is not None, "only texts that the format allows are used"
        return record

    def _probe(self, text: bytes) -> Record | None:
        line = _PROBE.format_map({**_USUAL, self._name: text.decode("ascii")})
        return parse(line) if newest(line) else None

    def _read(self, record: Record | None) -> tuple[int, ...]:
        if record is None:
            return self._no
        numbers = [1]
        for column, words in zip(self._columns, self._words, strict=True):
            value = record.fields.get(BY_NAME[column].source)
            if words is not None:
                numbers.append(words.code(value))
            elif value is None or INTEGER.fullmatch(value):
                numbers.append(-1 if value is None else int(value))
            else:
                return self._no
        return tuple(numbers)

    @property
    def _no(self) -> tuple[int, ...]:
        return (0,) * (1 + len(self._columns))


@dataclass(slots=True)
class Block:
    """A block of lines, and what was read of it.

    slab, start, stop  the rows that were read
    lines              where these lie in the block, without their wrappers
    others             where all other lines lie, in order
    before             how many of the rows come before each of the others
    """

    buffer: bytearray
    slab: Slab
    start: int
    stop: int
    lines: Spans
    others: Spans
    before: Array

    @property
    def rows(self) -> slice:
        """The rows of the slab."""
        return slice(self.start, self.stop)

    def take_in(self, block: Block) -> bool:
        """Become the rows of both, where those of the other one follow in the same slab; then only the columns are of use."""
        if block.slab is not self.slab or block.start != self.stop:
            return False
        self.stop = block.stop
        return True

    def keep(self, mask: Array) -> None:
        """Forget the other rows: those that are left, the last ones of the slab, close up."""
        if mask.all():
            return
        which = np.flatnonzero(mask)
        self.slab.keep(self.start, which)
        self.stop = self.slab.rows
        self.lines = self.lines[0][which], self.lines[1][which]
        self.before = np.concatenate((np.zeros(1, np.int64), np.cumsum(mask)))[self.before]

    def give_up(self, mask: Array, base: int) -> None:
        """Leave the other rows to the formats."""
        starts, ends = self.slab.offset[self.rows] - base, self.lines[1]
        others = [np.concatenate((a, b[~mask])) for a, b in zip(self.others, (starts, ends), strict=True)]
        order = np.argsort(others[0], kind="stable")
        self.others = others[0][order], others[1][order]
        self.before = np.concatenate((self.before, np.flatnonzero(~mask)))[order]
        self.keep(mask)

    def line(self, number: int) -> str:
        """The text of a row of the block, without its wrapper."""
        begin, end = self.lines
        return self.buffer[begin[number] : end[number]].decode("ascii")


class AccessLog:
    """Reads blocks. The words of all of them go to one vocabulary.

    columns  those that are asked for; `matched` for what is decided
    rows     for how many of them there will be room at once, at least; None for all
    pure     do without compiled code
    """

    def __init__(self, vocabulary: Vocabulary, columns: Set[str], rows: int | None = None, pure: bool = False) -> None:
        self._vocabulary, self._rows, self._pure = vocabulary, rows, pure
        self._numbers = [n for n in NUMBERS if n in columns]
        self._texts = [t for n, t in TEXTS.items() if n in columns]
        self._index = [s for s, cs in STRETCHES.items() if s != "agent" or not columns.isdisjoint(cs)]
        self._index += [MATCHED] if MATCHED in columns else []
        vocabulary.memories.append(self)
        self._begin()

    def _begin(self) -> None:
        self.stretches = {s: Stretch(s, self._vocabulary) for s in STRETCHES}
        self._kernel: Kernel | Plain = Kernel() if native.is_there() and not self._pure else Plain()
        self.matched = Table()
        """What was decided about rows."""
        self._slab: Slab | None = None
        self._read = 0
        self._doubtful: set[str] = set()  # stretches with texts that the format does not allow

    def __len__(self) -> int:
        return sum(len(s.texts) for s in self.stretches.values())

    def clear(self) -> None:
        """The vocabulary begins anew."""
        self._begin()

    def read(self, buffer: bytearray, size: int, base: int, following: int | None) -> Block:
        """Finds the lines of buffer[:size], which ends with a line end, is followed by PAD bytes and lies at `base` in its stream, and
        reads what has one reading. `following`: how many bytes come behind it, if known.
        """
        slab = self._slab
        kinds = {name: index_for(len(self._table(name).rows) + most_rows(size)) for name in self._index}
        if slab is None or not slab.fits(size) or any(slab.index[n].itemsize < k.itemsize for n, k in kinds.items()):
            ahead = max(following or 0, self._read)  # at least as much again, so that many small files share a slab
            room = room_for(size, min(ahead, _MOST), self._rows)
            slab = self._slab = Slab(*room, self._numbers, kinds, self._texts)
        self._read += size
        start = slab.rows
        lines, others, before = self._kernel.read(buffer, size, base, slab, most_rows(size))
        block = Block(buffer, slab, start, slab.rows, lines, others, before)
        for name, stretch in self.stretches.items():
            new = self._kernel.new_texts(name, len(stretch.texts))
            if new and not stretch.learn(new):
                self._doubtful.add(name)
        for name in self._doubtful:
            allowed = self.stretches[name].table.column(0)[block.slab.index[name][block.rows]] == 1
            if not allowed.all():
                block.give_up(allowed, base)
        return block

    def _table(self, name: str) -> Table:
        return self.matched if name == MATCHED else self.stretches[name].table

    def piece(self, block: Block, name: str) -> Any:
        """A column of the rows of a block, as `batch` describes it; None for one that these lines do not have."""
        slab = block.slab
        if name in TEXTS:
            column: Any = slab.texts[TEXTS[name]]
        elif name in slab.numbers:
            column = slab.numbers[name]
        elif (stretch := STRETCH_OF.get(name)) is not None:
            column = slab.looked(stretch, self.stretches[stretch].table, 1 + STRETCHES[stretch].index(name))
        elif name in ("time", "offset"):
            column = slab.time if name == "time" else slab.offset
        else:
            return None
        return Cut(column, block.start, block.stop)


_MOST: Final = 1 << 30
"""Bytes of input for which a slab has room at most."""
