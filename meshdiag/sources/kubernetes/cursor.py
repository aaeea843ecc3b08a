"""Where a container's log was read to, so that a broken stream goes on with nothing lost and nothing twice.

`sinceTime` of the API counts whole seconds, so whoever resumes gets lines again that were read before. They are told by what they
are: the time that the kubelet writes before them (nanoseconds) and their text. A count of the lines of the last second would
not do: after a rotation the log no longer has them, and the two output streams of a container may be written out of order.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

MEMORY = 64 << 10
"""Bytes of the latest lines that are remembered; of more in one second the older ones are told by their time alone."""

DISORDER = 100_000_000
"""Nanoseconds by which a line may stand behind a later one: the runtime copies standard output and error side by side."""

SECOND = 1_000_000_000
_FOREVER = 1 << 63
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def stamp(data: bytes, start: int = 0) -> int | None:
    """The time that the kubelet wrote before the line at `start`, in nanoseconds since 1970; None when there is none.

    >>> stamp(b"2026-11-22T23:32:13.455026000Z hello")
    1795390333455026000
    """
    end = data.find(b" ", start, start + 40)
    if end < 0:
        end = data.find(b"\n", start, start + 40)  # of an empty line, when something cut the blank
        if end < 0:
            return None
    text = data[start:end]
    if text[10:11] != b"T" or not text[:4].isdigit():
        return None
    seconds = _second(text[:19])
    if seconds is None:
        return None
    rest = text[19:]
    nanos = 0
    if rest[:1] == b".":
        at = 1
        while rest[at : at + 1].isdigit():
            at += 1
        if at == 1:
            return None
        nanos = int(rest[1:10][: at - 1].ljust(9, b"0"))
        rest = rest[at:]
    if rest != b"Z":
        zone = _zone(rest)
        if zone is None:
            return None
        seconds -= zone
    return seconds * SECOND + nanos


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


def _zone(text: bytes) -> int | None:
    """Seconds east of UTC of `+02:00`."""
    if len(text) != 6 or text[:1] not in b"+-" or text[3:4] != b":" or not (text[1:3] + text[4:]).isdigit():
        return None
    offset = int(text[1:3]) * 3600 + int(text[4:]) * 60
    return -offset if text[:1] == b"-" else offset


def moment(nanos: int) -> datetime:
    """The time of a stamp, UTC."""
    return _EPOCH + timedelta(microseconds=nanos // 1000)


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
    """The latest time of a line, in nanoseconds since 1970; -1 when there was none."""

    _memory: deque[tuple[int, bytes]] = field(default_factory=deque)
    _size: int = 0
    _forgot: bool = False
    """Lines were forgotten that a resumed stream may give again."""

    _seen: Counter[bytes] | None = None
    _besides: Counter[bytes] = field(default_factory=Counter)
    _low: int = 0
    _until: int = 0
    _met: bool = False
    _lenient: bool = False

    def copy(self) -> Cursor:
        """A cursor that stands at the same place."""
        return Cursor(self.last, self._memory.copy(), self._size, self._forgot)

    def resume(self, besides: bytes = b"") -> datetime | None:
        """The time to ask from (a whole second), None when nothing was read yet; then lines are told from those read before.

        `besides`: further lines that were read, but perhaps of another log.
        """
        self._besides = Counter(_lines(besides))
        if self.last < 0:
            self._seen = Counter() if besides else None
            self._low, self._until, self._met = 0, _FOREVER, True
            return None
        since = (self.last - DISORDER) // SECOND * SECOND
        told = [(t, line) for _, data in self._memory for line in _lines(data) if (t := stamp(line)) is not None]
        self._low = since
        if self._forgot and told:
            # of those that were forgotten some may have the time of the first that is remembered
            self._low = max(since, next((t for t, _ in told if t != told[0][0]), told[0][0]))
        lines = [line for t, line in told if t >= self._low]
        self._seen = Counter(lines)
        self._until = self.last + DISORDER + SECOND
        self._met = not told or self._lenient
        return moment(since)

    def begin(self) -> None:
        """From here on another log is read, which does not have the lines before."""
        self._memory.clear()
        self._size, self._forgot, self._seen = 0, False, None

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
        lines = _lines(data)
        times = [stamp(line) for line in lines]
        new = b"".join(line for line, t in zip(lines, times, strict=True) if t is not None)
        known = [t for t in times if t is not None]
        if known:
            self._remember(known[0], known[-1], new)
        return Taken(new, None, tuple(line for line, t in zip(lines, times, strict=True) if t is None))

    def _told_apart(self, data: bytes) -> Taken:
        seen, new, said = self._seen, [], []
        missed: tuple[int, int] | None = None
        at = 0
        assert seen is not None
        for line in _lines(data):
            t = stamp(line)
            if t is None:
                said.append(line)
            elif seen[line] > 0:
                seen[line] -= 1
                self._met = True
            elif self._besides[line] > 0:
                self._besides[line] -= 1
            elif t < self._low:
                self._met = True
            else:
                if not self._met:
                    missed = missed or (self.last, t)
                    self._met = True
                new.append(line)
                if t > self._until:  # whatever comes now was not read before
                    self._seen = None
                    break
            at += len(line)
        if self._seen is not None:
            lines = b"".join(new)
            if lines:
                times = [t for line in new if (t := stamp(line)) is not None]
                self._remember(times[0], max(times), lines)
            return Taken(lines, missed, tuple(said))
        rest = self.take(b"".join(new) + data[at + len(new[-1]) :])
        return Taken(rest.lines, missed, (*said, *rest.said))

    def _remember(self, first: int, last: int, data: bytes) -> None:
        self.last = max(self.last, last)
        self._lenient = False
        memory = self._memory
        if len(data) > MEMORY:
            self._forgot = True
            data = data[data.find(b"\n", len(data) - MEMORY) + 1 :] or data[data.rfind(b"\n", 0, len(data) - 1) + 1 :]
            first = stamp(data) or first
        memory.append((first, data))
        self._size += len(data)
        since = (self.last - DISORDER) // SECOND * SECOND
        while len(memory) > 1 and (memory[1][0] < since or self._size > MEMORY):
            if memory[1][0] >= since:
                self._forgot = True
            elif self._forgot and memory[0][0] < since:
                self._forgot = False
            self._size -= len(memory.popleft()[1])


def _lines(data: bytes) -> list[bytes]:
    """The lines, each with its line feed: they end at line feeds only."""
    lines = data.split(b"\n")
    last = lines.pop()
    out = [line + b"\n" for line in lines]
    return [*out, last] if last else out
