"""When Python looks for garbage in cycles: while nobody types. To look at all objects takes 50 ms and more, and stops every thread."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator

IDLE_SECONDS = 3.0
"""So long nobody typed before it is done."""

PAUSE_SECONDS = 30.0
"""And not again for so long."""

NEVER = 1_000_000


class Garbage:
    """Times are of a monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._typed = self._done = time.monotonic()

    def typed(self, now: float) -> None:
        """A key was pressed."""
        self._typed = now

    def look(self, now: float) -> bool:
        """Collects if it is due; whether it was."""
        if now - self._typed < IDLE_SECONDS or now - self._done < PAUSE_SECONDS:
            return False
        gc.collect()
        self._done = now
        return True


@contextlib.contextmanager
def seldom() -> Iterator[None]:
    """Within the block only young objects are looked at by themselves, which takes a millisecond."""
    before = gc.get_threshold()
    gc.set_threshold(before[0], before[1], NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
