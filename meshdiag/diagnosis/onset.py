"""When a failure began, against the minutes before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from math import log

from meshdiag.diagnosis.bounded import Buckets

TIMES = 3.0
"""So many times the rate before is a rise."""

SURE = 6.0
"""Gain of log-likelihood from which two rates explain the counts better than one does (chance: below one in a thousand)."""


@dataclass(frozen=True, slots=True)
class Onset:
    """The first failing minute of what goes on now.

    start   begin of that minute (or of a longer stretch, in a long capture), UTC
    before  failures a minute from the begin of the capture to then
    after   failures a minute from then to the last one
    quiet   minutes of the capture before it
    """

    start: datetime
    before: float
    after: float
    quiet: float

    @property
    def rises(self) -> bool:
        """Whether the capture shows that it began or rose: there is a time before it, and it failed much less then."""
        return self.quiet >= 1 and self.after >= TIMES * self.before


def onset_of(minutes: Buckets, begin: datetime | None) -> Onset | None:
    """Where the rate of failures rises most clearly; None without times. `begin` is the first time of the capture.

    The counts are taken as two Poisson rates with a change between them (maximum likelihood); without a clear change
    it is the first failure.
    """
    items = minutes.items()
    if not items:
        return None
    width = minutes.width
    start = items[0][0] if begin is None else min(items[0][0], int(begin.timestamp()) // width * width)
    stop = items[-1][0] + width
    total, before = sum(n for _, n in items), 0
    best, best_before = items[0][0], 0
    best_gain = max(SURE, _gain(0, (best - start) / 60, total, (stop - best) / 60))
    for at, n in items:
        left, right = (at - start) / 60, (stop - at) / 60
        gain = _gain(before, left, total - before, right)
        if gain > best_gain and (total - before) / right >= TIMES * before / left:
            best, best_gain, best_before = at, gain, before
        before += n
    left, right = (best - start) / 60, (stop - best) / 60
    return Onset(
        datetime.fromtimestamp(best, UTC), best_before / left if left else 0.0, (total - best_before) / right, left
    )


def _gain(n1: int, t1: float, n2: int, t2: float) -> float:
    if t1 <= 0 or t2 <= 0:
        return 0.0
    both = (n1 + n2) / (t1 + t2)
    return sum(n * log(n / t / both) for n, t in ((n1, t1), (n2, t2)) if n)
