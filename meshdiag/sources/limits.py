"""How much hostile input may cost."""

from __future__ import annotations

from dataclasses import dataclass

CHUNK = 1 << 16
"""Bytes that one step of a layer produces: the memory of a chain of layers is a few of these."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on archives. The defaults pass every real bundle: text logs compress 10 to 100 times.

    ratio, free  reading stops when an input expanded more than `ratio` times and gave more than `free` bytes
    members      members read of one archive
    depth        archives in archives; a compressed tar counts once
    """

    ratio: int = 1000
    free: int = 1 << 30
    members: int = 100_000
    depth: int = 3


DEFAULT = Limits()


@dataclass(slots=True)
class Budget:
    """What one opened input took from its root (compressed bytes) and gave through all its layers."""

    limits: Limits
    taken: int = 0
    given: int = 0

    def spent(self, given: int) -> bool:
        """Counts decompressed bytes; True when that is a bomb."""
        self.given += given
        return self.given > self.limits.free and self.given > self.limits.ratio * self.taken
