"""Files that hold the logs of several containers, or of one before and after a restart.

- `kubectl cluster-info dump` (kubectl 1.9 to 1.34, clusterinfo_dump.go) writes every container between
  `==== START logs for container C of pod NS/POD ====` and the same with END; to stdout it writes the cluster's
  objects as JSON documents before each namespace's logs.
- `istioctl bug-report` (Istio 1.9 to 1.27, bugreport.go getLog) appends the log of before the restart under a banner.

The markers stand among the log lines, so a container that prints them can forge its neighbour. In a dump folder the
path says whose file it is, and markers of other pods are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from meshdiag.lazyre import lazy
from meshdiag.sources.base import LOG, STATE
from meshdiag.sources.layers import Cursor, Member
from meshdiag.sources.limits import CHUNK

START = b"==== START logs for container "
_START = lazy(rb"==== START logs for container (\S{1,253}) of pod ([^\s/]{1,253})/(\S{1,253}) ====\r?\n?\Z")
_END = "==== END logs for container {} of pod {}/{} ===="
LONGEST_MARKER = 1024

PREVIOUS_AHEAD = b"========= Previous log present (appended at the end) =========\n"
PREVIOUS_HERE = b"========= Previous log ========="

_DOCUMENT = b"{"
_EVENTS = lazy(rb'\{\s*"kind": "EventList"')


def is_dump(head: bytes) -> bool:
    """Does it begin like `kubectl cluster-info dump`? (The JSON form begins with the nodes.)"""
    return head.startswith(START) or re.match(rb'\{\s*"kind": "NodeList"', head) is not None


def has_previous(head: bytes) -> bool:
    """Does it begin like a bug-report's log of a container that was restarted?"""
    return head.lstrip(b"\r\n").startswith(PREVIOUS_AHEAD.rstrip())


class _Lines(Cursor):
    """Gives a source line by line; a line longer than any marker comes in parts."""

    def _upto(self, marker: bytes, own_line: bool = True) -> Iterator[bytes]:
        """The bytes up to a line that is the marker, or ends with it, which is passed over; without marker, all."""
        fresh = True
        while True:
            found = self._buffer.find(marker, self._at) if marker else -1
            if found < 0:
                keep = min(len(marker) + 2, len(self._buffer) - self._at)
                cut, more = len(self._buffer) - keep, True
            else:
                cut, more = found, len(self._buffer) < found + len(marker) + 2
            if cut > self._at:
                fresh = self._buffer[cut - 1 : cut] == b"\n"
                self._position += cut - self._at
                yield self._buffer[self._at : cut]
                self._at = cut
            if more:
                data = bytes(self.source.some(CHUNK))
                self._buffer, self._at = self._buffer[self._at :] + data, 0
                if data:
                    continue
            if found < 0:
                self._position += len(self._buffer) - self._at
                if self._at < len(self._buffer):
                    yield self._buffer[self._at :]
                self._at = len(self._buffer)
                return
            after = self._at + len(marker)
            line_end = self._buffer[after : after + 2]
            if (fresh or not own_line) and (not line_end or line_end[:1] == b"\n" or line_end == b"\r\n"):
                if not fresh:
                    yield b"\n"  # the last line had none; the marker followed it directly
                after += 2 if line_end == b"\r\n" else len(line_end[:1])
                self._position += after - self._at
                self._at = after
                return
            fresh = False
            self._position += 1
            yield self._buffer[self._at : self._at + 1]
            self._at += 1

    _buffer = b""
    _at = 0
    _held = b""
    _position = 0

    def _line(self) -> bytes:
        if self._held:
            line, self._held = self._held, b""
            return line
        parts = bytearray()
        while len(parts) < LONGEST_MARKER:
            if self._at >= len(self._buffer):
                self._buffer, self._at = bytes(self.source.some(CHUNK)), 0
                if not self._buffer:
                    break
            end = self._buffer.find(b"\n", self._at)
            end = len(self._buffer) if end < 0 else end + 1
            parts += self._buffer[self._at : end]
            self._at = end
            if parts.endswith(b"\n"):
                break
        return bytes(parts)


class DumpCursor(_Lines):
    """The container logs of a cluster dump, and its JSON documents (`state`, but `log` for lists of events).

    `option` is `NAMESPACE/POD` when the path says whose file it is, or "".
    """

    def step(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Every section that has something in it."""
        line, fresh = self._line(), True
        while line:
            marker = self._starts(line) if fresh else None
            if marker:
                container, namespace, pod = marker
                start = self._position + len(line)
                self._position = start
                end = _END.format(container, namespace, pod).encode()
                data = self._upto(end, own_line=False)
                yield (
                    Member(container, start=start, namespace=namespace, pod=pod, container=container),
                    data,
                )
                for _ in data:
                    pass
                line, fresh = self._line(), True
            elif not line.strip():
                self._position += len(line)
                line, fresh = self._line(), line.endswith(b"\n")
            else:
                second = self._line() if line.strip() == _DOCUMENT else b""
                role = LOG if _EVENTS.match(line + second) else STATE
                data = _gathered(self._gap(line, second))
                yield Member("events" if role == LOG else "state", start=self._position, role=role), data
                for _ in data:
                    pass
                line, fresh = self._line(), True

    def _starts(self, line: bytes) -> tuple[str, str, str] | None:
        found = _START.match(line) if line.startswith(START) else None
        if not found:
            return None
        container, namespace, pod = (g.decode("utf-8", "replace") for g in found.groups())
        return (container, namespace, pod) if self.option in ("", f"{namespace}/{pod}") else None

    def _gap(self, line: bytes, second: bytes) -> Iterator[bytes]:
        """A JSON document, or text between the logs, up to the next document or log."""
        self._position += len(line) + len(second)
        yield line + second
        fresh = (second or line).endswith(b"\n")
        while line := self._line():
            if fresh and (self._starts(line) or line.rstrip() == _DOCUMENT):
                self._held = line
                return
            self._position += len(line)
            yield line
            fresh = line.endswith(b"\n")


class PreviousCursor(_Lines):
    """The log since the restart, then the one before it."""

    def step(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Two sections."""
        for previous in (False, True):
            data = self._upto(b"" if previous else PREVIOUS_HERE)
            yield Member("previous" if previous else "current", start=self._position, previous=previous), data
            for _ in data:
                pass


def _gathered(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Lines in chunks, so that what stands above moves fewer pieces."""
    parts: list[bytes] = []
    size = 0
    for line in lines:
        parts.append(line)
        size += len(line)
        if size >= CHUNK:
            yield b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)
