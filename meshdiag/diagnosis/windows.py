"""A live mesh: what is wrong now, what is new, what is over, and how often it happens.

`Windows` adds findings as they come and forgets those of long ago, which is only a sum: findings are a monoid. `Watch` compares one
diagnosis with the one before and tells what has changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis.diagnosis import Diagnosis
from meshdiag.diagnosis.finding import Finding
from meshdiag.diagnosis.findings import Findings
from meshdiag.model import State, Subject

SLICES = 12
"""A window moves on by a twelfth of its length."""

QUIET = 60.0
"""Seconds without a line after which a failure may be over; longer for one that comes seldom."""

LONGEST_QUIET = 600.0
UPDATE_SECONDS = 10.0
"""The numbers of one finding are told at most so often."""


class Windows:
    """The findings of the last `length`; None for all that came."""

    def __init__(self, catalogue: Catalogue, length: timedelta | None) -> None:
        self._catalogue = catalogue
        self._slice = length.total_seconds() / SLICES if length else float("inf")
        self._closed: deque[tuple[float, Findings]] = deque()
        # of the closed slices, and of the open one: both set at once, since other threads look
        self._held = Findings(), Findings()
        self._began: float | None = None

    def add(self, found: Findings, now: float) -> None:
        """Adds what was found up to a time of the clock (seconds)."""
        if self._began is None:
            self._began = now
        closed, open_ = self._held
        if now - self._began >= self._slice:
            self._closed.append((now, open_))
            while self._closed and self._closed[0][0] <= now - self._slice * SLICES:
                self._closed.popleft()
            closed, open_, self._began = Findings.sum(f for _, f in self._closed), Findings(), now
        self._held = closed, open_ + found

    def diagnosis(self) -> Diagnosis:
        """What is wrong, of what the window holds."""
        closed, open_ = self._held
        return Diagnosis(closed + open_, self._catalogue)


class Phase(StrEnum):
    """`new`: first told now; `ongoing`; `over`: it has stopped; `again`: it was over and has come back."""

    NEW = "new"
    ONGOING = "ongoing"
    OVER = "over"
    AGAIN = "again"


@dataclass(frozen=True, slots=True)
class Standing:
    """A finding as it stands: its phase, how often it came in the last minute, and for how long its phase lasts (seconds)."""

    finding: Finding
    phase: Phase
    per_minute: float
    lasts: float


Key = tuple[str, Subject]


class Watch:
    """Feed it diagnoses of one live mesh; it tells how findings stand, and what has changed since the last time."""

    def __init__(self) -> None:
        self._phase: dict[Key, tuple[Phase, datetime]] = {}
        self._told: dict[Key, tuple[datetime, int]] = {}
        self.standings: tuple[Standing, ...] = ()
        """How the failures stand, in their order."""

    def changes(self, diagnosis: Diagnosis, now: datetime) -> Iterator[Standing]:
        """Failures whose phase or, at most every UPDATE_SECONDS, whose count has changed; `now` is the time of the logs."""
        standings = []
        seen: set[Key] = set()
        for finding in diagnosis.failures:
            key = (finding.cause, finding.subject)
            seen.add(key)
            before = self._phase.get(key)
            over = is_over(finding, now)
            phase = _next(before[0] if before else None, over)
            if phase is None:
                continue  # it was over before we looked
            if before is None or before[0] is not phase:
                begin = now
                if phase is Phase.NEW and finding.first is not None:
                    begin = min(finding.first, now)
                elif before is not None and phase is Phase.ONGOING:
                    begin = before[1]
                self._phase[key] = (phase, begin)
            standing = Standing(finding, phase, per_minute(finding, now), (now - self._phase[key][1]).total_seconds())
            standings.append(standing)
            turned = phase is not Phase.ONGOING and (before is None or before[0] is not phase)
            told = self._told.get(key)
            if turned or (told and told[1] != finding.count and now - told[0] >= timedelta(seconds=UPDATE_SECONDS)):
                self._told[key] = (now, finding.count)
                yield standing
        for key in self._phase.keys() - seen:
            del self._phase[key]
            self._told.pop(key, None)
        self.standings = tuple(standings)


def _next(before: Phase | None, over: bool) -> Phase | None:
    if before is None:
        return None if over else Phase.NEW
    if over:
        return Phase.OVER
    return Phase.AGAIN if before is Phase.OVER else Phase.ONGOING


def is_over(finding: Finding, now: datetime) -> bool:
    """Whether a failure has stopped: its recovery was seen, or it has not come for much longer than it used to."""
    if finding.state is not State.ONGOING:
        return True
    if finding.last is None or finding.first is None:
        return False
    span = (finding.last - finding.first).total_seconds()
    usual = span / (finding.count - 1) if finding.count > 1 else QUIET
    quiet = min(max(QUIET, 10 * usual), LONGEST_QUIET)
    return (now - finding.last).total_seconds() > quiet


def per_minute(finding: Finding, now: datetime) -> float:
    """Lines of a finding in the last minute before `now`; of a longer stretch, by the minute, when its counts are kept so."""
    width = finding.minutes.width
    seconds = now.timestamp()
    begin = seconds // width * width
    counts = dict(finding.minutes.counts)
    this, last = counts.get(int(begin // width), 0), counts.get(int(begin // width) - 1, 0)
    return (this + last * (1 - (seconds - begin) / width)) * 60 / width


class LogClock:
    """The time of the logs: of the latest line, and as much later as nothing has come since."""

    def __init__(self) -> None:
        self._latest: datetime | None = None
        self._came = 0.0

    def saw(self, latest: datetime | None, now: float) -> None:
        """The latest time in the logs so far, at a time of the clock (seconds)."""
        if latest is not None and (self._latest is None or latest > self._latest):
            self._latest, self._came = latest, now

    def time(self, now: float) -> datetime:
        """The time of the logs at a time of the clock; without any line that of this machine."""
        if self._latest is None:
            return datetime.now(UTC)
        return self._latest + timedelta(seconds=now - self._came)
