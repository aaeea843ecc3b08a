"""Streams to batches of rows: blocks in columns where that is safe, all other lines through `formats`; filters on the way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, Final

import numpy as np

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis.subjects import component_of, workload_of
from meshdiag.engine.scan import LINE_LIMIT, Filters
from meshdiag.formats import Assembler
from meshdiag.formats.access import NAME as ACCESS_LOG
from meshdiag.framing.access import MATCHED, AccessLog, Block
from meshdiag.framing.asking import Asked
from meshdiag.framing.batch import NAT, Batch, Same, Vocabulary, missing
from meshdiag.framing.columns import BY_NAME, MATCH, Type
from meshdiag.framing.matching import Matching
from meshdiag.framing.native import PAD, Array
from meshdiag.framing.records import batch, microseconds, values
from meshdiag.model import Origin, Problem, Record
from meshdiag.sources import Stream

BLOCK: Final = 2 << 20
"""Bytes that are read at a time: fewer cost more calls, and more are no faster."""
_PLACES: Final = ("cluster", "namespace", "pod", "container")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of the records is wanted.

    names      the columns
    filters    which records
    failures   only those that failed
    columnar   False reads every line by itself: slow, the same result
    """

    names: tuple[str, ...]
    filters: Filters = field(default_factory=Filters)
    failures: bool = False
    columnar: bool = True

    @property
    def kept(self) -> tuple[str, ...]:
        """The columns that batches have: a column that is made of another one needs that one."""
        made = {n: BY_NAME[n].source if BY_NAME[n].type is Type.LIST else n for n in self.names}
        return tuple(dict.fromkeys((*made.values(), "offset")))  # by their offsets rows are put in order

    @property
    def matches(self) -> bool:
        """Whether the catalogue is asked."""
        return self.failures or not MATCH.isdisjoint(self.names)


class Reading:
    """Reads streams with one catalogue (None when it is not asked) and vocabulary. `problems` gets what cannot be read.

    `block` are the bytes read at a time; `rows` about how many rows are kept together (None: all), so that memory is given back.
    """

    def __init__(
        self,
        wanted: Wanted,
        catalogue: Catalogue | None,
        vocabulary: Vocabulary,
        access_log: Any,
        pure: bool,
        problems: Callable[[Problem], None],
        block: int = BLOCK,
        rows: int | None = None,
    ) -> None:
        self.wanted = wanted
        self.vocabulary = vocabulary
        self.unplaced = 0
        """Records that a filter left out as they do not name their namespace or pod."""
        self.enough = sys.maxsize if rows is None else rows
        """Of how many rows a batch is made at the latest."""
        self._problems, self._access_log, self._size = problems, access_log, block
        self._buffer = bytearray(2 * block + PAD)
        self._matching: Matching | None = None
        if catalogue is None:
            self._log = AccessLog(vocabulary, {*wanted.kept}, rows, pure)
        else:
            asked = Asked(catalogue.by_format.get(ACCESS_LOG, ()))
            self._log = AccessLog(vocabulary, {*wanted.kept, *asked.columns, MATCHED}, rows, pure)
            self._matching = Matching(catalogue, vocabulary, self._log, asked, access_log, pure)
        self._names = replace(wanted.filters, since=None, until=None)
        self._since, self._until = (
            None if t is None else microseconds(t) for t in (wanted.filters.since, wanted.filters.until)
        )

    def batches(self, stream: Stream) -> Iterator[Batch]:
        """The rows of a stream, block by block. What cannot be read is a problem."""
        try:
            with stream.open() as reader:
                yield from self._blocks(stream, reader)
                for problem in getattr(reader, "problems", ()):
                    self._problems(problem)
        except (OSError, EOFError, ValueError) as e:
            what = f"cannot be read to its end: {e}"
            self._problems(Problem(stream.origin.path, what, "the part before it was used"))

    def _blocks(self, stream: Stream, reader: BinaryIO) -> Iterator[Batch]:
        buffer, view = self._buffer, memoryview(self._buffer)
        part = _Part(self, stream)
        base, fill, skipping = stream.start, 0, False
        error: Exception | None = None
        while True:
            got = 0
            try:
                while got < self._size and (n := _read(reader, view[fill + got : fill + self._size])):
                    got += n
            except (OSError, EOFError, ValueError) as e:  # what came before it counts
                error = e
            end, eof = fill + got, got < self._size
            if skipping:  # inside a line that was too long: drop it up to its end
                newline = buffer.find(b"\n", 0, end)
                start = newline + 1 if newline >= 0 else end
                view[: end - start] = bytes(view[start:end])
                base, end, skipping = base + start, end - start, newline < 0
            keep = buffer.rfind(b"\n", 0, end) + 1
            if eof and keep < end:
                buffer[end] = 0x0A
                keep = end = end + 1
            elif not keep and end > self._size:  # one line fills the buffer
                self._problems(
                    Problem(
                        stream.origin.path,
                        f"a line longer than {self._size >> 10} KiB was cut",
                        "only its beginning was read",
                    )
                )
                cut = min(end, LINE_LIMIT)
                buffer[cut] = 0x0A
                yield from part.read(buffer, cut + 1, base)
                base, fill, skipping = base + end, 0, True
                continue
            if keep:
                yield from part.read(buffer, keep, base)
                view[: end - keep] = bytes(view[keep:end])
            base, fill = base + keep, end - keep
            if eof:
                break
        yield from part.finish()
        if error is not None:
            raise error

    # -- what passes

    def passes(self, record: Record) -> bool:
        """Whether the filters let a record through, but for its time."""
        filters = self._names
        if not filters.passes(record, None):
            self.unplaced += filters.unplaced(record)
            return False
        return True

    def names_pass(self, origin: Origin, count: int) -> bool:
        """Whether the filters let `count` access log lines of an origin through, but for their times."""
        record = Record(ACCESS_LOG, "", origin=origin)
        passes = self._names.passes(record, None)
        if not passes and self._names.unplaced(record):
            self.unplaced += count
        return passes

    def in_time(self, times: Array) -> Array:
        """Which times are within the limits; an unknown one is."""
        inside = np.ones(len(times), bool)
        if self._since is not None:
            inside &= times >= self._since
        if self._until is not None:
            inside &= times <= self._until
        return inside | (times == NAT)

    @property
    def limited(self) -> bool:
        """Whether times matter."""
        return self._since is not None or self._until is not None

    def rows(self, records: Sequence[Record]) -> Batch:
        """The rows of records."""
        kept: list[dict[str, Any]] = []
        for record in records:
            row = values(record)
            if self._matching is not None:
                decided = self._matching.of_record(record)
                if self.wanted.failures and not decided.failed:
                    continue
                row |= {"cause": decided.cause, "pattern": decided.pattern, "confidence": decided.confidence}
            kept.append(row)
        return batch(kept, self.wanted.kept, self.vocabulary)

    def decide(self, block: Block) -> None:
        """Match the lines that were read in columns; leave out those that are not wanted."""
        if self._matching is not None:
            self._matching.of_block(block)
            if self.wanted.failures:
                block.keep(self._matching.failed(block))

    def fast(self, block: Block, origin: Origin) -> Batch:
        """The rows of the lines that were read in columns and decided about; all of one origin."""
        count = block.stop - block.start
        constant = {
            "kind": ACCESS_LOG,
            "path": origin.path,
            "component": "envoy",
            "workload": workload_of(origin.pod),
            **{n: getattr(origin, n) for n in _PLACES},
        }
        columns: dict[str, Any] = {}
        for name in self.wanted.kept:
            if name in MATCH:
                assert self._matching is not None, "there is a catalogue when they are wanted"
                columns[name] = self._matching.piece(block, name)
            elif name == "previous":
                columns[name] = Same(origin.previous, count)
            elif name in constant:
                columns[name] = Same(self.vocabulary[name].code(constant[name] or None), count)
            else:
                piece = self._log.piece(block, name)
                columns[name] = missing(count) if piece is None else piece
        return Batch.of(count, columns)

    def look(self, buffer: bytearray, size: int, base: int, following: int | None) -> Block:
        """The lines of a block, and what of them was read in columns."""
        block = self._log.read(buffer, size, base, following)
        if self._access_log is not None or not self.wanted.columnar:
            block.give_up(np.zeros(block.stop - block.start, bool), base)
        return block

    def assembler(self, origin: Origin) -> Assembler:
        """For the lines of one stream that are read one by one."""
        return Assembler(origin, self._access_log)


class _Part:
    """One stream."""

    def __init__(self, reading: Reading, stream: Stream) -> None:
        self._reading, self._origin, self._size = reading, stream.origin, stream.size
        self._start = stream.start
        self._component = component_of(stream.origin)
        self._assembler = reading.assembler(stream.origin)
        self._time = NAT
        """The last one that was seen: a record without one goes with its neighbour."""
        self._waiting: Block | None = None
        """Rows that were not given yet: blocks that follow each other in a slab make one batch."""

    def read(self, buffer: bytearray, size: int, base: int) -> Iterator[Batch]:
        """Reads buffer[:size], whole lines that begin at an offset of the stream; gives all rows up to there, or none yet."""
        reading = self._reading
        following = None if self._size is None else max(0, self._start + self._size - base - size)
        block = reading.look(buffer, size, base, following)
        passing = self._passing(self._slow(block, base), block.slab.time[block.rows], block.slab.offset[block.rows])
        if reading.limited:
            block.keep(reading.in_time(block.slab.time[block.rows]))
        if block.start < block.stop and not reading.names_pass(self._origin, block.stop - block.start):
            block.keep(np.zeros(block.stop - block.start, bool))
        reading.decide(block)
        waiting, self._waiting = self._waiting, None
        if not passing and (waiting is None or waiting.take_in(block)):
            waiting = waiting or block
            if waiting.stop - waiting.start < reading.enough:
                self._waiting = waiting
            else:
                yield reading.fast(waiting, self._origin)
            return
        both = self._joined(block, passing)
        yield both if waiting is None else Batch.joined([reading.fast(waiting, self._origin), both])

    def finish(self) -> Iterator[Batch]:
        """The rows that waited for the end."""
        none = np.zeros(0, np.int64)
        if self._waiting is not None:
            yield self._reading.fast(self._waiting, self._origin)
        yield self._reading.rows(self._passing([self._placed(r) for r in self._assembler.flush()], none, none))

    def _joined(self, block: Block, records: Sequence[Record]) -> Batch:
        """The rows of a block and of records between these."""
        fast = self._reading.fast(block, self._origin)
        if not records:
            return fast
        slow = self._reading.rows(records)
        if not fast.rows or not slow.rows:
            return fast if fast.rows else slow
        both = Batch.joined([fast, slow])
        return both.take(np.argsort(both.plain("offset"), kind="stable"))

    def _slow(self, block: Block, base: int) -> list[Record]:
        """The records of the lines that were not read in columns. A line that may belong to the record before it counts to these."""
        starts, ends, before = block.others[0].tolist(), block.others[1].tolist(), block.before.tolist()
        others, rows = len(before), block.stop - block.start
        records: list[Record] = []
        feed, assembler = self._assembler.feed, self._assembler
        swallowed: list[int] = []
        other = row = 0
        while True:
            if assembler.idle:  # a row is a record: on to what is none
                if other == others:
                    break
                row = before[other]
            if other < others and before[other] == row:
                start, end = starts[other], ends[other]
                other += 1
            elif row < rows:
                start, end = int(block.slab.offset[block.start + row]) - base, int(block.lines[1][row])
                swallowed.append(row)
                row += 1
            else:
                break
            records += feed(_text(block.buffer, start, end), base + start)
        if swallowed:
            mask = np.ones(rows, bool)
            mask[swallowed] = False
            block.keep(mask)
        records.sort(key=lambda r: r.offset)  # a line that the runtime cut comes out when its end was seen
        return [self._placed(r) for r in records]

    def _placed(self, record: Record) -> Record:
        """The record with the component that only its origin knows."""
        if record.component:
            return record
        component = self._component if record.origin is self._origin else component_of(record.origin)
        return replace(record, component=component) if component else record

    def _passing(self, records: Sequence[Record], times: Array, offsets: Array) -> list[Record]:
        """The records that the filters let through; `times` and `offsets` are those of the other lines of the block."""
        reading = self._reading
        if reading.wanted.filters == Filters():
            return [*records]
        passing: list[Record] = []
        last = (-1, self._time)
        for record in records:
            time = microseconds(record.time)
            before = int(np.searchsorted(offsets, record.offset)) - 1
            if before >= 0 and offsets[before] > last[0]:
                last = (int(offsets[before]), int(times[before]))
            if time == NAT:
                time = last[1]
            else:
                last = (record.offset, time)
            if reading.in_time(np.array([time]))[0] and reading.passes(record):
                passing.append(record)
        self._time = last[1] if not len(offsets) or last[0] > offsets[-1] else int(times[-1])
        return passing


def _read(reader: BinaryIO, view: memoryview) -> int:
    readinto = getattr(reader, "readinto", None)
    if readinto is not None:
        return int(readinto(view) or 0)
    data = reader.read(len(view))
    view[: len(data)] = data
    return len(data)


def _text(buffer: bytearray, start: int, end: int) -> str:
    text = buffer[start : min(end, start + LINE_LIMIT)].decode("utf-8", "replace")
    return text[:-1] if text.endswith("\r") else text
