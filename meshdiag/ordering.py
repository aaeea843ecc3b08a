"""Things of several origins in the order of their times, as far as a bounded delay allows."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Generic, TypeVar

T = TypeVar("T")
_NEVER = datetime.min.replace(tzinfo=UTC)


class Reorder(Generic[T]):
    """Holds each thing for at most `delay` seconds, and gives what is due after all that has an earlier time.

    Equal times stay as they came. What comes later than the delay allows is given as soon as it is due. A thing without a time goes
    with the one before it.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._heap: list[tuple[datetime, int, T]] = []
        self._came: deque[tuple[float, int]] = deque()
        self._given: set[int] = set()
        self._count = 0
        self._last = _NEVER

    def feed(self, item: T, time: datetime | None, now: float) -> None:
        """Takes a thing with its own time (aware), at a time of the clock (seconds)."""
        self._last = time or self._last
        heapq.heappush(self._heap, (self._last, self._count, item))
        self._came.append((now, self._count))
        self._count += 1

    def release(self, now: float) -> Iterator[T]:
        """What is to be given at a time of the clock."""
        due = now - self._delay
        while self._came and self._came[0][0] <= due:
            first = self._came.popleft()[1]
            if first in self._given:
                self._given.remove(first)
                continue
            while True:
                _, number, item = heapq.heappop(self._heap)
                yield item
                if number == first:
                    break
                self._given.add(number)

    def flush(self) -> Iterator[T]:
        """What is left."""
        self._came.clear()
        self._given.clear()
        while self._heap:
            yield heapq.heappop(self._heap)[2]
