"""Whether a start came to its end: what a timeline means for the one who waits for the pod."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from meshdiag.diagnosis.diagnosis import Diagnosis
from meshdiag.diagnosis.finding import Finding, iso
from meshdiag.diagnosis.timeline import NOT_READY, Timeline
from meshdiag.model import Severity

EARLY = 60.0
"""Seconds without a further milestone that are no failure: a start takes seconds to a minute."""

SCHEMA = "meshdiag/timeline/v1"


class Ready(StrEnum):
    """`ready`; `starting`: the log ends soon after the last milestone; `not ready`; `unknown`: the log begins after the start."""

    READY = "ready"
    STARTING = "starting"
    NOT_READY = "not ready"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Start:
    """A timeline, what became of it, and the findings that blocked it.

    since     when the start began; None when the log does not tell
    waited    seconds from there to the end of the log, when it did not become ready
    silent    seconds from the last milestone to the end of the log
    blocking  what failed in this pod before it was ready: causes before the symptoms that they explain
    """

    timeline: Timeline
    state: Ready
    since: datetime | None
    waited: float | None
    silent: float | None
    blocking: tuple[Finding, ...]

    @property
    def roots(self) -> tuple[Finding, ...]:
        """Those that block it and that none of the others explains."""
        ranks = {f.rank for f in self.blocking}
        return tuple(f for f in self.blocking if ranks.isdisjoint(f.explained_by))

    def to_dict(self) -> dict[str, Any]:
        """The timeline with its state and what blocks it, for JSON."""
        return {
            **self.timeline.to_dict(),
            "state": self.state.value,
            "since": iso(self.since),
            "waited": None if self.waited is None else round(self.waited, 3),
            "blocking": [
                {
                    "rank": f.rank, "cause": f.cause, "title": f.title, "state": f.state.value, "subject": f.subject.to_dict(),
                    "count": f.count, "first": iso(f.first), "last": iso(f.last), "explained_by": list(f.explained_by),
                }
                for f in self.blocking
            ],
        }  # fmt: skip


def starts(diagnosis: Diagnosis) -> tuple[Start, ...]:
    """The latest start of every component whose milestones are in the logs: those that are not ready first."""
    worst = [Ready.NOT_READY, Ready.STARTING, Ready.UNKNOWN, Ready.READY]
    some = (start_of(diagnosis, t) for t in diagnosis.timelines)
    return tuple(sorted(some, key=lambda s: (worst.index(s.state), s.timeline.pod, s.timeline.component)))


def start_of(diagnosis: Diagnosis, timeline: Timeline) -> Start:
    """What became of one start."""
    t = timeline
    blocking = tuple(sorted((f for f in diagnosis.findings if f.rank in t.blocked_by), key=lambda f: f.rank))
    times = [m.time for m in t.milestones if m.time is not None]
    first_no, last_no = _said_not_ready(diagnosis, t)
    since = times[0] if times and t.starts else None
    if since is None and not t.is_ready:
        since = first_no
    end = t.log_end
    waited = max(0.0, (end - since).total_seconds()) if end and since and not t.is_ready else None
    silent = max(0.0, (end - times[-1]).total_seconds()) if end and times else None
    if t.is_ready or not t.next:
        state = Ready.READY
    elif t.starts:
        hurt = any(f.severity is Severity.CRITICAL for f in blocking)
        early = silent <= EARLY if silent is not None else not blocking
        state = Ready.STARTING if early and not hurt else Ready.NOT_READY
    elif first_no and last_no and end and (end - last_no).total_seconds() <= EARLY:
        # the log begins later, and says to its end that the proxy is not ready
        state = Ready.NOT_READY if (last_no - first_no).total_seconds() > EARLY else Ready.STARTING
    else:
        state, since, waited = Ready.UNKNOWN, None, None
    return Start(t, state, since, waited, silent, blocking)


def _said_not_ready(diagnosis: Diagnosis, t: Timeline) -> tuple[datetime | None, datetime | None]:
    """When the pod's log said first and last that the proxy is not ready, of those that have times."""
    pod = diagnosis.seen.pods.get(t.pod)
    if pod is None:
        return None, None
    book = diagnosis.catalogue.by_id
    said = [
        s for (p, _, _), s in pod.signals.items() if p in book and book[p].milestone == NOT_READY and s.first[0] >= 0
    ]
    if not said:
        return None, None
    first, last = min(s.first[0] for s in said), max(s.last[0] for s in said)
    return datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC)


def to_dict(some: tuple[Start, ...]) -> dict[str, Any]:
    """Plain values in the shape of meshdiag/timeline/v1."""
    return {"schema": SCHEMA, "timelines": [s.to_dict() for s in some]}
