"""How far a proxy (or istiod, ztunnel, istio-cni) got in its start: milestones with times and gaps, and what stopped the next.

Milestones are the catalogue's (`milestone:` of a pattern, `NN-name`); their numbers give the order in which they are expected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from meshdiag.catalogue import Catalogue, Pattern
from meshdiag.diagnosis.correlate import TRAFFIC, only_of
from meshdiag.diagnosis.finding import Finding, iso
from meshdiag.diagnosis.findings import Findings, Tally
from meshdiag.diagnosis.signals import Pod, Signal
from meshdiag.diagnosis.subjects import component_of, subject_at
from meshdiag.drawn import Drawn
from meshdiag.model import Kind, Origin, Sample, Subject

NEEDED: Mapping[str, tuple[str, ...]] = {
    # Istio 1.9 to 1.31, pilot-agent: certificate and xDS are two calls, either may come first
    "pilot-agent": ("process-start", "bootstrap", "envoy-launch", "xds-connected", "certificate-issued", "ready"),
    "istiod": ("mesh-config", "ca", "crd-sync", "caches-synced", "listening"),
    "ztunnel": ("start", "listeners", "xds", "ready"),
    "istio-cni": ("start", "install", "installed"),
    "istio-init": ("apply", "done"),
}
"""The milestones that each component must reach, in order; others are shown when they are there."""

READY: Mapping[str, frozenset[str]] = {
    "pilot-agent": frozenset({"proxy-ready"}),
    "istiod": frozenset({"istiod-ready"}),
    "ztunnel": frozenset({"proxy-ready"}),
    "istio-cni": frozenset({"cni-installed", "ambient-node-ready"}),
    "istio-init": frozenset({"traffic-redirect-ready"}),
}
"""The causes that say that the component is up."""

APART = 10.0
"""Seconds between lines of two starts."""

NOT_READY = "95-readiness"
"""The stage of lines that say that the proxy is not ready yet: no progress."""


@dataclass(frozen=True, slots=True)
class Milestone:
    """A step of a start.

    name  without its number: `certificate-issued`
    time  UTC; None when the log has no times
    gap   seconds since the milestone before it; None for the first and without times
    """

    name: str
    component: str
    time: datetime | None
    gap: float | None
    pattern: str
    sample: Sample

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "component": self.component,
            "time": iso(self.time),
            "gap": None if self.gap is None else round(self.gap, 3),
            "pattern": self.pattern,
            "origin": f"{self.sample.path}@{self.sample.offset}",
        }


@dataclass(frozen=True, slots=True)
class Timeline(Drawn):
    """The latest start of a component in a pod.

    starts      how often it started in this log; 0 when the log begins later
    ready       when it became ready; None when it did not
    took        seconds from the start to being ready
    log_end     last time of the pod's log
    next        milestones that were not reached, in the order in which they are expected
    blocked_by  ranks of the failures that were seen in this pod before it was ready, or since
    """

    pod: str
    origin: Origin
    component: str
    subject: Subject
    milestones: tuple[Milestone, ...]
    starts: int
    ready: datetime | None
    is_ready: bool
    took: float | None
    log_end: datetime | None
    next: tuple[str, ...]
    blocked_by: tuple[int, ...]

    def __repr__(self) -> str:
        last = f", last: {self.last.name}" if self.last and not self.is_ready else ""
        return f"Timeline({self.pod!r}, {self.component}, {'ready' if self.is_ready else 'not ready'}{last})"

    @property
    def last(self) -> Milestone | None:
        """The last milestone that was reached."""
        return self.milestones[-1] if self.milestones else None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "pod": self.pod,
            "namespace": self.origin.namespace,
            "container": self.origin.container,
            "component": self.component,
            "starts": self.starts,
            "is_ready": self.is_ready,
            "ready": iso(self.ready),
            "took": None if self.took is None else round(self.took, 3),
            "log_end": iso(self.log_end),
            "last": self.last.name if self.last else None,
            "next": list(self.next),
            "blocked_by": list(self.blocked_by),
            "milestones": [m.to_dict() for m in self.milestones],
        }


def timelines(seen: Findings, findings: Iterable[Finding], catalogue: Catalogue) -> tuple[Timeline, ...]:
    """The timeline of every component of every pod that wrote a milestone: those that are not ready first."""
    # requests that fail do not keep a proxy from being ready
    failing = [f for f in findings if f.kind is Kind.FAILURE and not only_of(TRAFFIC, f.patterns, catalogue)]
    out = []
    for place, pod in seen.pods.items():
        steps: dict[str, list[tuple[Pattern, Signal]]] = {}
        for (name, _, _), signal in pod.signals.items():
            pattern = catalogue.by_id.get(name)
            if pattern is not None and pattern.milestone:
                component = pattern.component or component_of(pod.origin) or "pilot-agent"
                steps.setdefault(component, []).append((pattern, signal))
        for component, some in steps.items():
            if component in NEEDED:
                out.append(_timeline(place, pod, component, some, failing, seen.tallies))
    return tuple(sorted(out, key=lambda t: (t.is_ready or not t.next, t.pod, t.component)))


def _timeline(
    place: str,
    pod: Pod,
    component: str,
    steps: list[tuple[Pattern, Signal]],
    failing: list[Finding],
    tallies: Mapping[tuple[str, Subject], Tally],
) -> Timeline:
    starts = _starts(s for p, s in steps if p.milestone.startswith("10-"))
    begin = starts[-1] if starts else None
    reached: list[tuple[tuple[float, int], Pattern, Signal]] = []
    for pattern, signal in steps:
        if pattern.milestone != NOT_READY and (at := _first_since(signal, begin)) is not None:
            reached.append((at, pattern, signal))
    reached.sort(key=lambda r: (r[0], r[1].milestone, r[1].id))
    milestones: list[Milestone] = []
    known: set[str] = set()
    before: float | None = None
    for at, pattern, signal in reached:
        name = pattern.milestone[3:]
        if name in known:  # two wordings of one step
            continue
        known.add(name)
        time = datetime.fromtimestamp(at[0], UTC) if at[0] >= 0 else None
        gap = None if before is None or at[0] < 0 else max(0.0, at[0] - before)
        milestones.append(Milestone(name, component, time, gap, pattern.id, signal.sample))
        before = at[0] if at[0] >= 0 else before
    ready = [at for at, p, _ in reached if p.cause in READY[component]]
    is_ready = bool(ready)
    done = max((NEEDED[component].index(n) for n in known if n in NEEDED[component]), default=-1)
    missing = (
        ()
        if is_ready
        else tuple(n for i, n in enumerate(NEEDED[component]) if n not in known and (i > done or begin is not None))
    )
    first = min((at[0] for at, _, _ in reached), default=-1.0)
    start = begin[0] if begin is not None else -1.0
    ready_at = min(ready)[0] if ready else -1.0
    settled = is_ready and component == "istio-init"
    blocked = (
        ()
        if settled
        else _blocking(place, failing, tallies, max(start, 0.0) or max(first, 0.0), ready_at if is_ready else None)
    )
    return Timeline(
        place,
        pod.origin,
        component,
        subject_at(pod.origin, component),
        tuple(milestones),
        len(starts),
        datetime.fromtimestamp(ready_at, UTC) if ready_at >= 0 else None,
        is_ready,
        ready_at - start if ready_at >= 0 and start >= 0 else None,
        datetime.fromtimestamp(pod.last, UTC) if pod.last is not None else None,
        missing,
        blocked,
    )


def _starts(begins: Iterable[Signal]) -> list[tuple[float, int]]:
    """When it started: a start writes several lines, so those close together are one."""
    some = list(begins)
    firsts = sorted(s.first for s in some)
    if not firsts or firsts[0][0] < 0:
        return firsts[:1]
    times = sorted({float(at) for s in some for at, _ in s.seconds.items()})
    out: list[tuple[float, int]] = []
    before = None
    for at in times:
        if before is None or at - before > APART:
            # of the first and last line of a signal the time is known exactly
            exact = [p for s in some for p in (s.first, s.last) if at <= p[0] < at + s.seconds.width]
            out.append(min(exact, default=(at, 0)))
        before = at
    return out


def _first_since(signal: Signal, begin: tuple[float, int] | None) -> tuple[float, int] | None:
    """When it was first said since the latest start; None when not since then."""
    if begin is None or signal.first >= begin:
        return signal.first
    if signal.last < begin:
        return None
    since = [at for at, _ in signal.seconds.items() if at >= int(begin[0])]
    return (max(float(since[0]), begin[0]), signal.last[1]) if since else signal.last


def _blocking(
    place: str,
    failing: list[Finding],
    tallies: Mapping[tuple[str, Subject], Tally],
    start: float,
    ready: float | None,
) -> tuple[int, ...]:
    """Ranks of the failures that this pod saw from its start until it was ready."""
    seen = {
        cause
        for (cause, _), t in tallies.items()
        if (p := t.places.get(place)) is not None
        and (p.last[0] < 0 or p.last[0] >= start)
        and (ready is None or p.first[0] <= ready)
    }
    of_pod = [f for f in failing if f.cause in seen and _at(f, place, tallies)]
    return tuple(sorted(f.rank for f in of_pod))


def _at(f: Finding, place: str, tallies: Mapping[tuple[str, Subject], Tally]) -> bool:
    """Whether this pod had a part in a finding, which may be about a service that several pods call, or about istiod."""
    tally = tallies.get((f.cause, f.subject))
    if tally is not None:
        return place in tally.places
    return any(
        place in t.places and (f.subject.kind != "service" or subject.destination == f.subject.name)
        for (cause, subject), t in tallies.items()
        if cause == f.cause
    )
