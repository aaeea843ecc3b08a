"""Logs of containers as a kubelet keeps them: lines with times, in files that are rotated, one log for each start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tests.live.objects import SECOND, rfc3339, stamp, stamp_prefix

STEP = 1000
"""Nanoseconds between lines that are written at once."""

MILLI = 1_000_000


class Segment:
    """Lines that were written at once: with their times before them (`stamped`) and without (`plain`)."""

    __slots__ = ("_plain", "count", "lines", "low", "stamped", "times")

    def __init__(self, lines: Sequence[bytes], times: Sequence[int]) -> None:
        self.lines = lines
        self.times = times
        self.count = len(lines)
        self.low = min(times)
        second = self.low // SECOND
        if max(times) < (second + 1) * SECOND:  # nearly always; the common part of the times is made once
            prefix = stamp_prefix(second)
            base = second * SECOND
            self.stamped = b"".join(
                [b"%s%09dZ %s\n" % (prefix, at - base, line) for at, line in zip(times, lines, strict=True)]
            )
        else:
            self.stamped = b"".join([b"%s%s\n" % (stamp(at), line) for at, line in zip(times, lines, strict=True)])
        self._plain: bytes | None = None

    @property
    def plain(self) -> bytes:
        if self._plain is None:
            self._plain = b"".join([b"%s\n" % line for line in self.lines])
        return self._plain

    def tail(self, count: int) -> Segment:
        """The last lines, at least one."""
        return Segment(self.lines[-count:], self.times[-count:])

    def since(self, at: int) -> Segment | None:
        """The lines that are not older than a time."""
        kept = [(line, time) for line, time in zip(self.lines, self.times, strict=True) if time >= at]
        return Segment([line for line, _ in kept], [time for _, time in kept]) if kept else None


_SENTINEL = b"\0" * len(b"2026-11-22T23:32:13.455")


class Block:
    """Lines made ready once and written often: their times are put in by one replacement.

    All lines of a block that is written fall into one millisecond, in order.
    """

    def __init__(self, lines: Sequence[bytes]) -> None:
        if not 0 < len(lines) <= MILLI:
            raise ValueError("a block has between one line and a million")
        self.lines = tuple(lines)
        self.step = MILLI // len(lines)
        self.plain = b"".join([line + b"\n" for line in lines])
        if b"\0" in self.plain:
            raise ValueError("lines of a block have no NUL: times are put in their place")
        self.template = b"".join(
            [b"%s%06dZ %s\n" % (_SENTINEL, place * self.step, line) for place, line in enumerate(lines)]
        )

    def stamped(self, milli: int) -> bytes:
        """The lines with the times of a millisecond of Unix time."""
        second, rest = divmod(milli, 1000)
        return self.template.replace(_SENTINEL, b"%s%03d" % (stamp_prefix(second), rest))


class BlockSegment(Segment):
    """A block that was written."""

    __slots__ = ("block",)

    def __init__(self, block: Block, milli: int) -> None:
        self.block = block
        self.lines = block.lines
        self.count = len(block.lines)
        self.low = milli * MILLI
        self.times = range(self.low, self.low + self.count * block.step, block.step)
        self.stamped = block.stamped(milli)
        self._plain = block.plain


class LogFile:
    """One file of a log: `start` lines of the same log came before it.

    `next` is the file that it was rotated away for; `closes`: who follows it does not go on to that one.
    """

    __slots__ = ("closes", "count", "next", "segments", "size", "start")

    def __init__(self, start: int = 0) -> None:
        self.segments: list[Segment] = []
        self.start = start
        self.count = 0
        self.size = 0
        self.next: LogFile | None = None
        self.closes = False

    def append(self, segment: Segment) -> None:
        self.segments.append(segment)
        self.count += segment.count
        self.size += len(segment.stamped)

    def tail(self, count: int) -> tuple[int, Segment | None]:
        """Where the last `count` lines begin: a place among the segments, and what to read instead of that one."""
        place = len(self.segments)
        while count and place:
            place -= 1
            segment = self.segments[place]
            if segment.count > count:
                return place, segment.tail(count)
            count -= segment.count
        return place, None


class Follower(Protocol):
    """Who is told that a log has grown or ended."""

    def notify(self) -> None: ...


class Instance:
    """One run of a container, with its log. `file` is the file that a new request reads."""

    def __init__(self, container_id: str, started: int) -> None:
        self.id = container_id
        self.started = started
        self.finished: int | None = None
        self.exit_code = 0
        self.reason = ""
        self.ended = False
        self.gone = False
        self.file = LogFile()
        self.last = 0
        self.followers: list[Follower] = []

    def __repr__(self) -> str:
        return (
            f"Instance({self.id[-12:]}, started {rfc3339(self.started // SECOND)}, {'ended' if self.ended else 'up'})"
        )

    def times(self, now: int, count: int) -> range:
        """The next `count` times, later than all before."""
        first = max(now, self.last + 1)
        return range(first, first + count * STEP, STEP)

    def append(self, segment: Segment) -> None:
        self.file.append(segment)
        self.last = max(self.last, segment.times[-1])
        self.notify()

    def rotate(self, closes: bool = False) -> None:
        """New lines go to another file."""
        old = self.file
        old.closes = closes
        self.file = old.next = LogFile(old.start + old.count)
        self.notify()

    def end(self, at: int, exit_code: int, reason: str) -> None:
        """The container stops; who follows its log gets the rest of it and the end."""
        self.finished, self.exit_code, self.reason = at, exit_code, reason
        self.ended = True
        self.notify()

    def notify(self) -> None:
        for follower in tuple(self.followers):
            follower.notify()
