"""Bounds that keep to the law of `Findings`: what is cut does not depend on the order in which parts are added.

`bottom_k` keeps the members with the smallest hashes, `Buckets` counts over time and widens its buckets when there are too many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


def hash_of(key: Any) -> bytes:
    """A hash that is the same in every process."""
    return hashlib.blake2b(repr(key).encode("utf-8", "replace"), digest_size=8).digest()


def bottom_k(items: dict[K, V], limit: int) -> dict[K, V]:
    """The `limit` items whose keys have the smallest hashes (all of them when there are no more)."""
    if len(items) <= limit:
        return items
    return {k: items[k] for k in sorted(items, key=hash_of)[:limit]}


def earlier(a: datetime | None, b: datetime | None) -> datetime | None:
    """The earlier of two times, one of which may be unknown."""
    return min(a, b) if a and b else a or b


def later(a: datetime | None, b: datetime | None) -> datetime | None:
    """The later of two times, one of which may be unknown."""
    return max(a, b) if a and b else a or b


def summed(a: Mapping[K, int], b: Mapping[K, int]) -> dict[K, int]:
    """Counts of both."""
    out = dict(a)
    for k, n in b.items():
        out[k] = out.get(k, 0) + n
    return out


@dataclass(slots=True)
class Buckets:
    """Counts by time, in at most `limit` buckets of `width` seconds.

    The width is doubled until the buckets fit. The width of a sum is the least that fits the whole, whatever the order of its
    parts: no part needs a wider one than the whole does.
    """

    width: int
    limit: int
    counts: dict[int, int] = field(default_factory=dict)

    def add(self, seconds: float, n: int = 1) -> None:
        """Count `n` at a time (seconds since 1970)."""
        bucket = int(seconds // self.width)
        counts = self.counts
        if bucket in counts:
            counts[bucket] += n
            return
        counts[bucket] = n
        while len(self.counts) > self.limit:
            self._double()

    def _double(self) -> None:
        self.width *= 2
        wider: dict[int, int] = {}
        for bucket, n in self.counts.items():
            wider[bucket // 2] = wider.get(bucket // 2, 0) + n
        self.counts = wider

    def merged(self, other: Buckets) -> Buckets:
        """Both together; of the same limit, and of widths that began alike."""
        out = Buckets(self.width, self.limit, dict(self.counts))
        while out.width < other.width:
            out._double()
        factor = out.width // other.width
        for bucket, n in other.counts.items():
            out.counts[bucket // factor] = out.counts.get(bucket // factor, 0) + n
        while len(out.counts) > out.limit:
            out._double()
        return out

    def items(self) -> list[tuple[int, int]]:
        """(begin of the bucket in seconds since 1970, count), in order of time."""
        return [(b * self.width, n) for b, n in sorted(self.counts.items())]

    def between(self, start: float, stop: float) -> int:
        """How many were counted in buckets that touch [start, stop]."""
        a, b = int(start // self.width), int(stop // self.width)
        return sum(n for bucket, n in self.counts.items() if a <= bucket <= b)

    def most_within(self, seconds: float) -> int:
        """The highest count in any stretch of this length; 0 when the buckets are too wide to tell."""
        if self.width > seconds:
            return 0
        order = sorted(self.counts.items())
        span = max(1, int(seconds // self.width))
        best = total = start = 0
        for bucket, n in order:
            total += n
            while order[start][0] <= bucket - span:
                total -= order[start][1]
                start += 1
            best = max(best, total)
        return best
