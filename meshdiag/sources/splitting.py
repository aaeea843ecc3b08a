"""Whole lines out of blocks of bytes."""

from __future__ import annotations

from typing import ClassVar

from meshdiag.model import Origin, Problem
from meshdiag.sources.live import Lines


class Splitter:
    """Holds the beginning of a line until its line feed comes. Lines end at `\\n` only; bytes stay as they are.

    Of a line longer than `LIMIT` only the first `KEPT` bytes are given, with a line feed. How the bytes were divided
    into blocks makes no difference. `start` is the number of bytes that came before the first block.
    """

    LIMIT: ClassVar[int] = 1 << 20
    KEPT: ClassVar[int] = 64 << 10

    def __init__(self, start: int = 0) -> None:
        self.cut = 0
        """Lines that were cut so far."""
        self.offset = start
        """Bytes that came before the lines that were given last."""
        self.passed = start
        """Bytes that came so far."""
        self._held = bytearray()
        self._dropping = False

    @property
    def held(self) -> int:
        """Bytes that are held."""
        return len(self._held)

    def feed(self, data: bytes) -> bytes:
        """The lines that are whole now, b"" if none.

        It is `data` itself, no copy, when that is whole lines, at most `LIMIT` bytes, and nothing was held.
        """
        if len(data) <= self.LIMIT:
            self.offset, lines = self._feed(data)
            return lines
        # Within a piece no line is too long: only one that began before it can be.
        pieces = (self._feed(data[at : at + self.LIMIT]) for at in range(0, len(data), self.LIMIT))
        given = [piece for piece in pieces if piece[1]]
        self.offset = given[0][0] if given else self.offset
        return b"".join(lines for _, lines in given)

    def flush(self) -> bytes:
        """What is held, with a line feed added; the next line is a new one."""
        self.offset = self.passed - self.held
        line = bytes(self._held) + b"\n" if self._held else b""
        self._held.clear()
        self._dropping = False
        return line

    def _feed(self, data: bytes) -> tuple[int, bytes]:
        """Bytes before the lines that are whole now, and these."""
        start = self.passed - self.held
        self.passed += len(data)
        end = data.rfind(b"\n") + 1
        if not end:
            return start, self._hold(data)
        first = data.find(b"\n") + 1
        if self._dropping:
            self._dropping = False
            start, lines = self.passed - len(data) + first, data[first:end]
        elif self.held + first > self.LIMIT + 1:
            lines = self._shorten(data[:first]) + data[first:end]
        else:
            lines = b"".join((self._held, data[:end])) if self._held else data[:end]
        self._held[:] = data[end:]
        return start, lines

    def _hold(self, data: bytes) -> bytes:
        if self._dropping:
            return b""
        if self.held + len(data) > self.LIMIT:
            self._dropping = True
            return self._shorten(data)
        self._held += data
        return b""

    def _shorten(self, data: bytes) -> bytes:
        """The beginning of the line that is held and goes on with `data`."""
        line = bytes(self._held[: self.KEPT])
        line += data[: self.KEPT - len(line)]
        self._held.clear()
        self.cut += 1
        return line + b"\n"


def events(splitter: Splitter, origin: Origin, block: bytes | None) -> list[Lines | Problem]:
    """The lines that a block of an origin completes (None: what is held, as nothing more comes); a first cut is told."""
    cut = splitter.cut
    lines = splitter.flush() if block is None else splitter.feed(block)
    found: list[Lines | Problem] = [Lines(origin, splitter.offset, lines)] if lines else []
    if splitter.cut and not cut:
        limit = splitter.LIMIT >> 10
        found.append(Problem(origin.path, f"a line longer than {limit} KiB was cut", "only its beginning was read"))
    return found
