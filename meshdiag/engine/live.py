"""Classify lines as they come, of many origins at once: what `scan` does for a file, a piece at a time.

A record may go on with the next line, so the last one of each origin is held until something follows it, or nothing has for a while.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from meshdiag.diagnosis.findings import Findings
from meshdiag.engine.scan import LINE_LIMIT, Part, Scanner
from meshdiag.model import Origin
from meshdiag.sources.live import Lines

HOLD_SECONDS = 0.5
"""How long the last record of an origin waits for lines that continue it."""

PIECE = 1 << 20
"""Bytes of one origin that are looked at together, at most."""


@dataclass(slots=True)
class _Open:
    """An origin that is read: its part of the scan, and the bytes that are still to be looked at, from an offset on."""

    part: Part
    held: bytes
    base: int
    since: float


class LiveScanner:
    """Feed it lines, call `release` from time to time, and take what was found. Not to be shared between threads.

    scanner   of the catalogue; with its `on_match` it tells every match as it is found
    clock     seconds, monotonic
    """

    def __init__(self, scanner: Scanner, clock: Callable[[], float]) -> None:
        self._scanner = scanner
        self._clock = clock
        self._found = Findings()
        self._open: dict[Origin, _Open] = {}
        self._held: dict[Origin, None] = {}
        """Origins with a record that waits, the longest waiting first."""

    def feed(self, lines: Lines) -> None:
        """Looks at lines of one origin, which follow those that were fed before."""
        one = self._open.get(lines.origin)
        if one is None:
            part = self._scanner.part(lines.origin, self._found)
            one = self._open[lines.origin] = _Open(part, b"", lines.offset, 0.0)
        if not one.held:
            one.base = lines.offset  # what was put between is not ours
        self._found.bytes += len(lines.data)
        self._found.lines += lines.data.count(b"\n")
        data = one.held + lines.data if one.held else lines.data
        start = 0
        while len(data) - start > PIECE:
            stop = data.rfind(b"\n", start, start + PIECE) + 1 or len(data)
            start += self._look(one, data[start:stop], start, keep=True)
        used = self._look(one, data[start:] if start else data, start, keep=True) + start
        one.held, one.base = data[used:], one.base + used
        if one.held:
            one.since = self._clock()
            self._held.pop(lines.origin, None)
            self._held[lines.origin] = None
        else:
            self._held.pop(lines.origin, None)

    def release(self) -> None:
        """Looks at records for whose continuation was waited long enough."""
        due = self._clock() - HOLD_SECONDS
        for origin in [*self._held]:
            if self._open[origin].since > due:
                break
            self._let_go(origin)

    def end(self, origin: Origin) -> None:
        """Nothing more comes of an origin."""
        self._let_go(origin)
        one = self._open.pop(origin, None)
        if one is not None:
            one.part.finish()

    def origins(self) -> list[Origin]:
        """Those that have not ended."""
        return [*self._open]

    def take(self) -> Findings:
        """What was found since the last time; the sum of all is what a scan of everything gives."""
        for one in self._open.values():
            one.part.finish()
        found, self._found = self._found, Findings()
        for one in self._open.values():
            one.part.count_in(self._found)
        return Findings() + found

    def _let_go(self, origin: Origin) -> None:
        self._held.pop(origin, None)
        one = self._open.get(origin)
        if one is not None and one.held:
            self._look(one, one.held, 0, keep=False)
            one.base, one.held = one.base + len(one.held), b""

    def _look(self, one: _Open, data: bytes, at: int, *, keep: bool) -> int:
        """Looks at whole lines that stand `at` bytes behind the base; how many bytes are done with."""
        block = bytearray(data)
        stop = len(block)
        if keep and not _stands_alone(data):
            stop = one.part.last_record(block, stop)
            if len(block) - stop > LINE_LIMIT:
                stop = len(block)
        if stop:
            one.part.process(block, stop, one.base + at)
        return stop


_KUBELET = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d) ")
_ACCESS = re.compile(rb'\[\d{4}-\d\d-\d\dT[\d:.]{8,20}Z?\] "')


def _stands_alone(data: bytes) -> bool:
    """Whether the last line is a record that no line continues: one of an access log, or JSON."""
    start = data.rfind(b"\n", 0, len(data) - 1) + 1
    if time := _KUBELET.match(data, start):
        start = time.end()
    return _ACCESS.match(data, start) is not None or (data.startswith(b'{"', start) and data.endswith(b"}\n"))
