"""Two captures against each other: what is gone, new, worse, better, the same, and what the second one cannot tell.

Pure functions of two diagnoses. Findings are matched by cause and by what they are about; captures of different length are
compared by rate. That something is gone is said only when the second capture would have shown it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import log
from typing import Any

from meshdiag.diagnosis.diagnosis import Diagnosis
from meshdiag.diagnosis.finding import iso
from meshdiag.diagnosis.incident import Going, of_traffic
from meshdiag.diagnosis.matching import LISTS, Item, Logs, Workload, common, pairs
from meshdiag.model import Severity, Subject

SCHEMA = "meshdiag/diff/v1"

FACTOR = 2.0
"""So many times as often is worse (or better); so is half as many successes."""

MIN_COUNT = 5
"""Failures that the larger side must have before its rate counts."""

SURE = 3.0
"""Gain of log-likelihood from which two rates are different ones (chance: about one in a hundred)."""

EXPECTED = 3.0
"""Failures to be expected in the second capture from which their absence is no chance (at 3 it is one in twenty)."""


class Verdict(StrEnum):
    """What became of a finding. `unproven`: it is not in the second capture, and that capture would not have shown it."""

    NEW = "new"
    WORSE = "worse"
    UNPROVEN = "unproven"
    UNCHANGED = "unchanged"
    BETTER = "better"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Side:
    """A finding in one of the captures.

    rank     of the finding; 0 when the capture has none
    count    failing lines
    total    requests of the same edges or workload, failed or not; None when not known
    minutes  of the logs that would show it, from when it began; None when not known
    state    whether it went on at the end
    symptom  whether another failure explains it there
    """

    rank: int = 0
    count: int = 0
    total: int | None = None
    minutes: float | None = None
    state: Going = Going.NONE
    last: datetime | None = None
    symptom: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "rank": self.rank or None,
            "count": self.count,
            "total": self.total,
            "minutes": None if self.minutes is None else round(self.minutes, 2),
            "state": self.state.value,
            "last": iso(self.last),
            "symptom": self.symptom,
        }


@dataclass(frozen=True, slots=True)
class Compared:
    """A finding of one capture or of both, and what became of it.

    by      what the rates are of: `requests`, `minutes`, or "" when they are not known
    factor  how many times as often in the second capture; None when it is in one only, or not known
    why     what decided, where it is not the rate
    """

    change: Verdict
    cause: str
    title: str
    severity: Severity
    subject: Subject
    before: Side
    after: Side
    by: str
    factor: float | None
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "change": self.change.value,
            "cause": self.cause,
            "title": self.title,
            "severity": self.severity.value,
            "subject": self.subject.to_dict(),
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "by": self.by or None,
            "factor": None if self.factor is None else round(self.factor, 3),
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class Capture:
    """What one side is: its size, its time, and what could not be read of it."""

    lines: int
    first: datetime | None
    last: datetime | None
    failures: int
    unrecognised: int
    problems: int
    estimated: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "lines": self.lines,
            "first": iso(self.first),
            "last": iso(self.last),
            "failures": self.failures,
            "unrecognised": self.unrecognised,
            "problems": self.problems,
            "estimated": self.estimated,
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """All findings of both captures, the worst news first.

    overlap  seconds that are in both captures: what failed then counts in both
    """

    before: Capture
    after: Capture
    changes: tuple[Compared, ...]
    overlap: float

    def of(self, change: Verdict) -> tuple[Compared, ...]:
        """Those of one kind."""
        return tuple(c for c in self.changes if c.change is change)

    @property
    def is_worse(self) -> bool:
        """Whether anything is new or worse."""
        return any(c.change in (Verdict.NEW, Verdict.WORSE) for c in self.changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values in the shape of meshdiag/diff/v1."""
        return {
            "schema": SCHEMA,
            "worse": self.is_worse,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "overlap_seconds": round(self.overlap, 1),
            "changes": [c.to_dict() for c in self.changes],
        }


def compare(before: Diagnosis, after: Diagnosis, changed_at: datetime | None = None) -> Comparison:
    """What changed between two captures. Only failures count, and only those that the diagnoses show.

    `changed_at` says that the diagnoses are of records up to that time, and from it on.
    """
    logs = (Logs(before, until=changed_at), Logs(after, since=changed_at))
    known = [c for x, y in pairs(before, after) if (c := _judge(x, y, logs)) is not None]
    order = list(Verdict)
    known.sort(
        key=lambda c: (
            order.index(c.change),
            (c.after if c.after.rank else c.before).symptom,
            c.severity.rank,
            c.after.rank or c.before.rank,
            c.cause,
            c.subject,
        )
    )
    x, y = logs
    overlap = 0.0
    if x.first and x.last and y.first and y.last:
        overlap = max(0.0, (min(x.last, y.last) - max(x.first, y.first)).total_seconds())
    return Comparison(_capture(x), _capture(y), tuple(known), overlap)


def _capture(logs: Logs) -> Capture:
    s, d = logs.seen, logs.diagnosis
    return Capture(s.lines, logs.first, logs.last, len(d.failures), s.unrecognised, len(d.problems), s.estimated)


# -- the verdict

_RANK = {Going.NONE: 0, Going.OVER: 1, Going.UNKNOWN: 2, Going.ONGOING: 2}
_SAID = {
    Going.NONE: "only while starting",
    Going.OVER: "over",
    Going.UNKNOWN: "going on",
    Going.ONGOING: "going on",
}


def _judge(x: Item | None, y: Item | None, logs: tuple[Logs, Logs]) -> Compared | None:
    """What became of one thing; None when it was routine on both sides."""
    one = y or x
    assert one is not None
    goings = [Going.NONE if i is None else i.going(side.spans) for i, side in zip((x, y), logs, strict=True)]
    if goings == [Going.NONE, Going.NONE]:
        return None
    told, unknown = set[Workload](), False
    for item, side in zip((x, y), logs, strict=True):
        if item is not None:
            some, others = side.witnesses(item)
            told |= some
            unknown |= others
    traffic = of_traffic(one.diagnosis, one.finding)
    subjects = {s for i in (x, y) if i is not None for s in i.tallies}
    before, after = (
        _side(i, going, side.total(subjects) if traffic else 0, side.minutes(told, unknown, i))
        for i, going, side in zip((x, y), goings, logs, strict=True)
    )
    exposed, by = _exposure(before, after)
    factor = None
    if exposed is not None and before.count and after.count:
        factor = (after.count / exposed[1]) / (before.count / exposed[0])
    if x is None or y is None:
        # the one that has it, and the one that has not
        own, other = (before, after) if y is None else (after, before)
        mine, theirs = logs if y is None else (logs[1], logs[0])
        t = exposed if y is None or exposed is None else (exposed[1], exposed[0])
        why = _unseen(one, told, traffic, bool(own.total), other.total, mine, theirs)
        few = own.count / t[0] * t[1] if traffic and t is not None else EXPECTED
        if y is None:
            if not why and few < EXPECTED:
                why = f"too little to tell: at the rate before, {_few(few)}"
            change = Verdict.UNPROVEN if why else Verdict.GONE
        else:
            if why:
                why = f"the first capture may not have shown it: {why}"
            elif few < EXPECTED:
                why = "rare: it may have been missed by chance before"
            change = Verdict.NEW
        subject = one.subject
    else:
        subject, why = common(x, y), ""
        ended = _RANK[before.state] != _RANK[after.state]
        # of a few failing requests it is chance when the last one was
        ended &= not traffic or max(before.count, after.count) >= MIN_COUNT
        change = _change(before, after, exposed, by, ended)
        if ended:
            why = f"{_SAID[before.state]} before, {_SAID[after.state]} after"
        elif exposed is None:
            why = "no times to reckon a rate from"
    f = one.finding
    return Compared(change, one.cause, f.title, f.severity, subject, before, after, by, factor, why)


def _side(item: Item | None, going: Going, total: int, minutes: float | None) -> Side:
    if item is None:
        return Side(total=total or None, minutes=minutes)
    count = item.count
    known = total if total >= count else None  # fewer than fail: some were not counted
    return Side(item.finding.rank, count, known, minutes, going, item.last, item.is_symptom)


def _change(before: Side, after: Side, exposed: tuple[float, float] | None, by: str, ended: bool) -> Verdict:
    """Of what is in both captures: whether it ended in one of them decides, then its rate."""
    if ended:
        return Verdict.WORSE if _RANK[after.state] > _RANK[before.state] else Verdict.BETTER
    if exposed is None or not _differs(before.count, exposed[0], after.count, exposed[1], by == "requests"):
        return Verdict.UNCHANGED
    return Verdict.WORSE if after.count / exposed[1] > before.count / exposed[0] else Verdict.BETTER


def _exposure(before: Side, after: Side) -> tuple[tuple[float, float] | None, str]:
    """What failures are set against on both sides: requests, else minutes (one at least)."""
    if before.total and after.total:
        return (before.total, after.total), "requests"
    if before.minutes is not None and after.minutes is not None:
        return (max(1.0, before.minutes), max(1.0, after.minutes)), "minutes"
    return None, ""


def _differs(n: int, t: float, m: int, u: float, shares: bool) -> bool:
    """Whether m of u is another rate than n of t, by FACTOR and not by chance; of requests also by the successes."""
    if max(n, m) < MIN_COUNT:
        return False
    return _apart(n, t, m, u) or (shares and _apart(t - n, t, u - m, u))


def _apart(n: float, t: float, m: float, u: float) -> bool:
    low, high = sorted((n / t, m / u))
    return high >= FACTOR * low and _gain(n, t, m, u) >= SURE


def _gain(n: float, t: float, m: float, u: float) -> float:
    """How much better two Poisson rates explain the counts than one does."""
    both = (n + m) / (t + u)
    return sum(k * log(k / e / both) for k, e in ((n, t), (m, u)) if k)


def _few(n: float) -> str:
    return f"about {n:.1f} to be expected" if n >= 0.1 else "none to be expected"


def _unseen(
    item: Item, told: set[Workload], traffic: bool, counted: bool, total: int | None, mine: Logs, other: Logs
) -> str:
    """Why the other capture would not show what `mine` has; "" when it would.

    `counted` says whether the requests of this kind are counted, `total` how many the other capture has.
    """
    if other.seen.lines == 0:
        return "nothing was read"
    if other.is_full(item.cause):
        return f"it has {other.subjects[item.cause]:,} subjects of this cause, and more than these are not kept"
    if formats := mine.lists(item):
        lacking = [LISTS[f] for f in formats if f not in other.formats]
        return f"no {lacking[0]} in it" if len(lacking) == len(formats) else ""
    if traffic and total:
        return ""
    found = {w: other.of(w) for w in told}
    if told and not any(found.values()):
        return f"no line of {_names(told)} in it"
    if told and all(mine.agents(w) for w in told):
        same = item.places & other.seen.pods.keys()
        if not same and sum(map(len, found.values())) < sum(len(mine.of(w)) for w in told):
            return f"fewer logs of {_names(told)} in it, and of other pods"
    return "no request of this kind in it" if traffic and counted else ""


def _names(workloads: Iterable[Workload]) -> str:
    names = sorted(f"{ns}/{name}" if ns else name for ns, name in workloads)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
