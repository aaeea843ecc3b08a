"""Where a container's log was read to, so that a broken stream goes on with nothing lost and nothing twice.

`sinceTime` of the API counts whole seconds, so whoever resumes gets lines again that were read before. They are told by what they
are: the time that the kubelet writes before them (nanoseconds) and their text. A count of the lines of the last second would
not do: after a rotation the log no longer has them, and the two output streams of a container may be written out of order.

Only the latest lines are remembered. Those that were read before them in the same second come first when the log is read again, as a log
keeps its order; so until the first remembered line comes, lines that are not later than what was forgotten are not new.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import dropwhile

MEMORY = 32 << 10
"""Bytes of the latest lines that are remembered at least, if there were so many; at most twice as many, or one line."""

DISORDER = 100_000_000
"""Nanoseconds by which a line may stand behind a later one: the runtime copies standard output and error side by side."""

SECOND = 1_000_000_000
_FOREVER = 1 << 63
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_SECOND = int((datetime.max.replace(microsecond=0, tzinfo=UTC) - _EPOCH).total_seconds())

_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d{0,9})?(?:Z|([+-])(\d\d):(\d\d))[ \n]")
"""A time as the kubelet writes it, in its node's time zone; before an empty line there may be no blank behind it."""


def stamp(data: bytes, start: int = 0) -> int | None:
    """The time that the kubelet wrote before the line at `start`, in nanoseconds since 1970; None when there is none.

    >>> stamp(b"2026-11-22T23:32:13.455026000Z hello")
    1795390333455026000
    """
    found = _STAMP.match(data, start)
    if found is None:
        return None
    text, fraction, sign, hours, minutes = found.groups()
    seconds = _second(text)
    if seconds is None:
        return None
    if sign is not None:
        east = int(hours) * 3600 + int(minutes) * 60
        seconds += east if sign == b"-" else -east
    return max(seconds * SECOND + (int(fraction.ljust(9, b"0")) if fraction else 0), 0)


_known: tuple[bytes, int] = (b"", 0)


def _second(text: bytes) -> int | None:
    """Seconds since 1970 of `2026-11-22T23:32:13` (UTC); lines come by the second, so the last one is kept."""
    global _known
    known, seconds = _known
    if text == known:
        return seconds
    try:
        seconds = int((datetime.fromisoformat(text.decode("ascii")).replace(tzinfo=UTC) - _EPOCH).total_seconds())
    except ValueError:
        return None
    _known = (text, seconds)
    return seconds


def moment(nanos: int) -> datetime:
    """The time of a stamp, UTC; of one beyond the year 9999 the end of that year."""
    return _EPOCH + timedelta(seconds=min(nanos // SECOND, _LAST_SECOND), microseconds=nanos % SECOND // 1000)


@dataclass(frozen=True, slots=True)
class Taken:
    """What of some lines was new. `missed`: the log no longer had where we stood, so what stood between two times is lost.

    `said` is what the kubelet wrote instead of a log: lines without a time.
    """

    lines: bytes
    missed: tuple[int, int] | None = None
    said: tuple[bytes, ...] = ()


@dataclass(slots=True)
class Cursor:
    """Feed it the lines of one container (with the kubelet's times) as they come; it gives those that are new.

    After `resume`, the lines of the log from the time that it gives; else what follows the lines before.
    """

    last: int = -1
    """The latest time of a line, in nanoseconds since 1970, or at most DISORDER earlier; -1 when there was none."""

    _now: int = -1
    """The time of the line that came last: earlier than `last` when the node's clock was set back."""

    _memory: deque[tuple[int, int, bytes]] = field(default_factory=deque)
    """The latest lines without a gap, as they came, and the times of the first and the last of each piece."""

    _size: int = 0
    _forgotten: int = -1
    """No line that is not remembered any more is later than this."""

    _seen: Counter[bytes] | None = None
    _besides: Counter[bytes] = field(default_factory=Counter)
    _old: int = -1
    _until: int = 0
    _met: bool = False
    _lenient: bool = False

    def copy(self) -> Cursor:
        """A cursor that stands at the same place."""
        return Cursor(self.last, self._now, self._memory.copy(), self._size, self._forgotten)

    def resume(self, besides: bytes = b"") -> datetime | None:
        """The time to ask from (a whole second), None when nothing was read yet; then lines are told from those read before.

        `besides`: further lines that were read, but perhaps of another log.
        """
        self._besides = Counter(_lines(besides))
        if self.last < 0:
            self._seen = Counter() if besides else None
            self._old, self._until, self._met = -1, _FOREVER, True
            return None
        since = self._since()
        told = [(t, line) for _, _, data in self._memory for line in _lines(data) if (t := stamp(line)) is not None]
        first = told[0][0] if told and self._forgotten >= since else -1
        told = [item for item in told if item[0] >= since]
        # of several lines with one time some may have been forgotten, so these do not show where the remembered ones begin
        told = list(dropwhile(lambda item: item[0] == first, told)) or told
        self._seen = Counter(line for _, line in told)
        self._old = max(self._forgotten, since - 1)
        self._until = self.last + DISORDER + SECOND
        self._met = not told
        return moment(since)

    def begin(self) -> None:
        """From here on another log is read, which does not have the lines before."""
        self._memory.clear()
        self._size, self._forgotten, self._seen = 0, -1, None

    def forgive(self) -> None:
        """The next log need not have the lines before."""
        self._lenient = True

    @property
    def caught_up(self) -> bool:
        """Whether a resumed stream has given all lines again that were read before."""
        return self._seen is None or (self._met and not any(self._seen.values()))

    def take(self, data: bytes) -> Taken:
        """What of these whole lines is new."""
        if self._seen is not None:
            return self._told_apart(data)
        start = data.rfind(b"\n", 0, len(data) - 1) + 1
        last, first = stamp(data, start), stamp(data)
        if last is None or first is None:
            return self._with_notes(data)
        self._remember(first, last, data)
        return Taken(data)

    def _with_notes(self, data: bytes) -> Taken:
        """Lines among which are some that the kubelet wrote itself."""
        lines = [(stamp(line), line) for line in _lines(data)]
        new = b"".join(line for t, line in lines if t is not None)
        known = [t for t, _ in lines if t is not None]
        if known:
            self._remember(known[0], known[-1], new)
        return Taken(new, None, tuple(line for t, line in lines if t is None))

    def _told_apart(self, data: bytes) -> Taken:
        seen = self._seen
        assert seen is not None
        new: list[bytes] = []
        times: list[int] = []
        said: list[bytes] = []
        missed: tuple[int, int] | None = None
        at = 0
        for line in _lines(data):
            at += len(line)
            t = stamp(line)
            if t is None:
                said.append(line)
            elif seen[line] > 0:
                seen[line] -= 1
                self._met = True
            elif self._besides[line] > 0:
                self._besides[line] -= 1
            elif self._met or t > self._old:
                if not self._met and not self._lenient:
                    missed = (self.last, t)
                self._met = True
                new.append(line)
                times.append(t)
                if t > self._until:  # whatever comes now was not read before
                    self._seen = None
                    break
        if self._seen is None:
            rest = self.take(b"".join(new) + data[at:])
            return Taken(rest.lines, missed, (*said, *rest.said))
        lines = b"".join(new)
        if times:
            self._remember(times[0], times[-1], lines)
        return Taken(lines, missed, tuple(said))

    def _remember(self, first: int, last: int, data: bytes) -> None:
        self.last, self._now = max(self.last, last), last
        self._lenient = False
        memory = self._memory
        if len(data) > MEMORY:
            data = data[data.find(b"\n", len(data) - MEMORY) + 1 :] or data[data.rfind(b"\n", 0, len(data) - 1) + 1 :]
            latest = max([first, *(max(begin, end) for begin, end, _ in memory)])
            first = stamp(data) or first
            memory.clear()
            self._size = 0
            self._forget(latest, first)
        memory.append((first, last, data))
        self._size += len(data)
        since = self._since()
        while len(memory) > 1 and (self._size - len(memory[0][2]) >= MEMORY or memory[1][0] < since - DISORDER):
            begin, end, gone = memory.popleft()
            self._size -= len(gone)
            self._forget(max(begin, end), memory[0][0])

    def _forget(self, latest: int, following: int) -> None:
        """Lines are remembered no more: the latest known time of them, and that of the line behind them."""
        # no line is later than one behind it and the disorder, unless the clock was set back between them; nor, as only the first and
        # the last time of a piece are known, later than these and the disorder
        self._forgotten = max(self._forgotten, max(latest, following) + DISORDER)

    def _since(self) -> int:
        """No line that comes is earlier than this, a whole second."""
        now = self._now if self._now < self.last - DISORDER else self.last
        return (now - DISORDER) // SECOND * SECOND


def _lines(data: bytes) -> list[bytes]:
    """The lines, each with its line feed: they end at line feeds only."""
    lines = data.split(b"\n")
    last = lines.pop()
    out = [line + b"\n" for line in lines]
    return [*out, last] if last else out
