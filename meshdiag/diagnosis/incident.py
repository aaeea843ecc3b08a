"""A diagnosis seen as an incident: how many requests fail, since when, how far it spread, and whether it goes on.

Pure functions of a diagnosis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from meshdiag.diagnosis import correlate
from meshdiag.diagnosis.chains import below
from meshdiag.diagnosis.finding import Finding, iso
from meshdiag.diagnosis.findings import Findings, Key, Tally
from meshdiag.diagnosis.requests import HopKey
from meshdiag.diagnosis.subjects import workload_of
from meshdiag.model import State, Subject

if TYPE_CHECKING:
    from meshdiag.diagnosis.diagnosis import Diagnosis

QUIET = 180.0
"""Seconds without a failure from which it may be over."""

GAPS = 3.0
"""It is over when the quiet time is so many times the mean time between its failures, and at least QUIET."""

# -- from findings back to what they were made of


@dataclass(frozen=True, slots=True)
class Cell:
    """What one tally says of a shown finding."""

    finding: Finding
    key: Key
    tally: Tally


def cells(diagnosis: Diagnosis, findings: Iterable[Finding]) -> list[Cell]:
    """The tallies of these findings, in order: a finding about a service has one for each of its clients.

    A finding that only a sequence tells has no tally of its own and is left out.
    """
    by_key = {(f.cause, f.subject): f for f in findings}
    tallies = diagnosis.seen.tallies
    owner = correlate.grouped(tallies, diagnosis.catalogue).owner
    # what sequences add may give a lump another name
    lumps = {f.cause: f for f in by_key.values() if f.subject.kind in ("mesh", "control-plane") and f.places > 1}
    out = []
    for key in sorted(tallies):
        finding = by_key.get(owner[key]) or (lumps.get(key[0]) if owner[key] != key else None)
        if finding is not None:
            out.append(Cell(finding, key, tallies[key]))
    return out


def of_traffic(diagnosis: Diagnosis, finding: Finding) -> bool:
    """Whether the lines of a finding are requests or connections."""
    return correlate.of_requests(finding.patterns, diagnosis.catalogue)


Spans = Mapping[str, tuple[float, float]]
"""From when to when the log of a pod (or file) goes, as far as is known: seconds since 1970."""


def spans(seen: Findings) -> Spans:
    """Of every pod that is known: what was noted of its log, and the failures that it told of."""
    out = {p: (pod.first, pod.last) for p, pod in seen.pods.items() if pod.first is not None and pod.last is not None}
    for tally in seen.tallies.values():
        for place, known in tally.places.items():
            if known.last[0] >= 0:
                first = known.first[0] if known.first[0] >= 0 else known.last[0]
                a, b = out.get(place, (first, known.last[0]))
                out[place] = min(a, first), max(b, known.last[0])
    return out


def log_span(known: Spans, places: Iterable[str]) -> tuple[float, float] | None:
    """From when to when the logs of these pods go together; None when none is known."""
    some = [known[p] for p in places if p in known]
    return (min(a for a, _ in some), max(b for _, b in some)) if some else None


# -- the incident


class Going(StrEnum):
    """`ongoing`, `over`, `none` without a failure, `unknown` without times."""

    ONGOING = "ongoing"
    OVER = "over"
    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Quiet:
    """Whether a finding is over: `seconds` is the time without a failure to the end of the logs that would show one."""

    state: Going
    last: datetime | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Began:
    """When it began: `before` and `after` are failures a minute.

    quiet  minutes of the logs that would show it before that time; 0 when they begin with it
    """

    at: datetime
    before: float
    after: float
    quiet: float


@dataclass(frozen=True, slots=True)
class Impact:
    """What one root cause does.

    shown_by  rank of the finding whose requests are counted: its own, or that of the symptom with most of them; 0 for none
    failed    requests (retries of one are one) or connections; None when no line of the logs counts any
    total     how many there were, failed or not; None when not known
    about     whether `failed` or `total` is an estimate
    """

    rank: int
    cause: str
    subject: Subject
    shown_by: int
    failed: int | None
    total: int | None
    about: bool
    began: Began | None
    quiet: Quiet

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        b, q = self.began, self.quiet
        return {
            "rank": self.rank,
            "cause": self.cause,
            "shown_by": self.shown_by or None,
            "failed": self.failed,
            "total": self.total,
            "estimated": self.about,
            "state": q.state.value,
            "last": iso(q.last),
            "quiet_seconds": None if q.seconds is None else round(q.seconds, 1),
            "began": None
            if b is None
            else {
                "at": iso(b.at),
                "before": round(b.before, 3),
                "after": round(b.after, 3),
                "quiet_minutes": round(b.quiet, 1),
            },
        }


@dataclass(frozen=True, slots=True)
class Spread:
    """How many edges, services, clients, workloads and pods are in any failure; `files` when their pods are not known."""

    edges: int = 0
    services: int = 0
    clients: int = 0
    workloads: int = 0
    pods: int = 0
    files: int = 0

    def to_dict(self) -> dict[str, int]:
        """Plain values, for JSON."""
        return {n: getattr(self, n) for n in ("edges", "services", "clients", "workloads", "pods", "files")}


@dataclass(frozen=True, slots=True)
class Incident:
    """All of it: `failed` counts requests of any failure once (by x-request-id); None when lines of some have no id.

    last  when anything failed last
    end   when the capture ends
    """

    state: Going
    failed: int | None
    about: bool
    first: datetime | None
    last: datetime | None
    end: datetime | None
    impacts: tuple[Impact, ...]
    spread: Spread

    def to_dict(self) -> dict[str, Any]:
        """The object `incident` of meshdiag/diagnosis/v1."""
        return {
            "state": self.state.value,
            "failed": self.failed,
            "estimated": self.about,
            "first": iso(self.first),
            "last": iso(self.last),
            "end": iso(self.end),
            "spread": self.spread.to_dict(),
            "roots": [i.to_dict() for i in self.impacts],
        }


@dataclass(frozen=True, slots=True)
class _Look:
    """What all parts of an incident look at: the tallies of each finding by rank, requests by subject, spans of logs."""

    diagnosis: Diagnosis
    tallies: Mapping[int, list[Tally]]
    totals: Mapping[Subject, int]
    spans: Spans

    def of(self, f: Finding) -> list[Tally]:
        """The tallies of a finding."""
        return self.tallies.get(f.rank, [])


def incident(diagnosis: Diagnosis) -> Incident:
    """The shown failures of a diagnosis as one incident; roots in the order of their ranks."""
    failures = diagnosis.failures
    some = cells(diagnosis, failures)
    tallies: dict[int, list[Tally]] = {}
    for cell in some:
        tallies.setdefault(cell.finding.rank, []).append(cell.tally)
    look = _Look(diagnosis, tallies, _totals(diagnosis, failures), spans(diagnosis.seen) if failures else {})
    explains = {f.rank: f.explains for f in failures}
    symptoms = {f.rank: below(explains, f.rank) for f in diagnosis.root_causes}
    impacts = tuple(
        _impact(look, f, [g for g in failures if g.rank in symptoms[f.rank]]) for f in diagnosis.root_causes
    )
    states = [i.quiet.state for i in impacts]
    state = next((s for s in (Going.ONGOING, Going.UNKNOWN, Going.OVER) if s in states), Going.NONE)
    known = all(f.requests is not None for f in failures if of_traffic(diagnosis, f))
    shown = {cell.key for cell in some}
    failed = _distinct(diagnosis, lambda hop: hop[:2] in shown) if known else 0
    return Incident(
        state,
        failed or None,
        diagnosis.seen.requests.sampled,
        min((f.first for f in failures if f.first), default=None),
        max((f.last for f in failures if f.last), default=None),
        diagnosis.seen.last,
        impacts,
        _spread(diagnosis, some, failures),
    )


def _distinct(diagnosis: Diagnosis, wanted: Callable[[HopKey], bool]) -> int:
    """Failed requests of some hops, each counted once; an estimate when they are sampled."""
    requests = diagnosis.seen.requests
    ids = {i for hop, seen in requests.by_hop.items() if wanted(hop) for i in seen}
    return requests.estimate(len(ids))


def _failed(diagnosis: Diagnosis, f: Finding) -> int | None:
    """Requests or connections that failed by a finding; None when its lines are neither."""
    return (f.requests or f.count) if of_traffic(diagnosis, f) else None


def _totals(diagnosis: Diagnosis, failures: Iterable[Finding]) -> dict[Subject, int]:
    """Requests of each subject that has failing ones."""
    totals: dict[Subject, int] = {}
    for f in failures:
        if f.total and of_traffic(diagnosis, f):
            totals[f.subject] = max(f.total, totals.get(f.subject, 0))
    return totals


def _impact(look: _Look, root: Finding, symptoms: list[Finding]) -> Impact:
    diagnosis, totals = look.diagnosis, look.totals
    counted = root if _failed(diagnosis, root) is not None else None
    if counted is None:
        counted = max(symptoms, key=lambda f: (_failed(diagnosis, f) or 0, -f.rank), default=None)
    failed = _failed(diagnosis, counted) if counted else None
    total = totals.get(counted.subject) if counted and failed is not None else None
    if total is not None and failed is not None:
        total = max(total, failed)
    about = (counted is not None and counted.requests is not None and diagnosis.seen.requests.sampled) or (
        total is not None and diagnosis.seen.estimated
    )
    return Impact(
        root.rank,
        root.cause,
        root.subject,
        counted.rank if counted and failed is not None else 0,
        failed,
        total,
        about and failed is not None,
        _began(look, root, symptoms),
        _quiet_of(look, root, symptoms),
    )


def _began(look: _Look, root: Finding, symptoms: list[Finding]) -> Began | None:
    onset = root.onset
    shown = root
    if onset is None:  # an event or an analysis without a time: the first of its symptoms
        timed = [f for f in symptoms if f.onset is not None]
        shown = min(timed, key=lambda f: (f.onset.start if f.onset else f.first, f.rank), default=root)
        onset = shown.onset
    if onset is None:
        return None
    # a symptom that began no earlier was silent before, too: its log counts as a witness
    witnesses = [
        shown,
        *(f for f in symptoms if f.onset and not f.onset.before and f.onset.start >= onset.start),
    ]
    at = onset.start
    if not onset.before and shown.first is not None and shown.first > at:
        at = shown.first
    span = log_span(look.spans, {p for f in witnesses for t in look.of(f) for p in t.places})
    known = max(0.0, (at.timestamp() - span[0]) / 60) if span else onset.quiet
    return Began(at, onset.before, onset.after, min(known, onset.quiet + 1))


def _quiet_of(look: _Look, root: Finding, symptoms: list[Finding]) -> Quiet:
    """Of a root: its own state, or that of its symptoms when its own lines have no times."""
    own = quiet(look.diagnosis, root, look.of(root), look.spans)
    if own.state is not Going.UNKNOWN:
        return own
    others = [quiet(look.diagnosis, f, look.of(f), look.spans) for f in symptoms]
    known = [q for q in others if q.state is not Going.UNKNOWN]
    going = [q for q in known if q.state is Going.ONGOING]
    return max(going or known, key=lambda q: q.last.timestamp() if q.last else 0.0, default=own)


def quiet(diagnosis: Diagnosis, f: Finding, tallies: Iterable[Tally], known: Spans) -> Quiet:
    """Whether a finding, or the part of it that these tallies are, goes on.

    A milestone that ends it counts; else silence does, where the log goes on and its lines come again and again. A condition
    that a milestone would end, and did not, is told once and lasts: silence proves nothing.
    """
    some = list(tallies)
    first = min((t.first for t in some if t.first), default=f.first)
    last = max((t.last for t in some if t.last), default=f.last)
    count = sum(t.count for t in some) or f.count
    span = log_span(known, {p for t in some for p in t.places})
    ends = [t for t in (span[1] if span else None, diagnosis.seen.last and diagnosis.seen.last.timestamp()) if t]
    end = min(ends, default=None)
    silent = max(0.0, end - last.timestamp()) if last is not None and end is not None else None
    if f.state is not State.ONGOING:
        return Quiet(Going.OVER, last, silent)
    if first is None or last is None or silent is None:
        return Quiet(Going.UNKNOWN, last, None)
    cause = diagnosis.catalogue.causes.get(f.cause)
    lasting = not of_traffic(diagnosis, f) and (count < 2 or bool(cause and cause.recovered_by))
    gap = (last - first).total_seconds() / max(1, count - 1)
    if count < 2:  # one in all the time before
        gap = last.timestamp() - span[0] if span else silent
    over = silent >= max(QUIET, GAPS * gap) and not lasting
    return Quiet(Going.OVER if over else Going.ONGOING, last, silent)


def _spread(diagnosis: Diagnosis, some: Iterable[Cell], failures: Iterable[Finding]) -> Spread:
    edges: set[tuple[str, str]] = set()
    workloads: set[tuple[str, str]] = set()
    places: set[str] = set()
    subjects = [c.key[1] for c in some] + [f.subject for f in failures if f.subject.kind != "service"]
    for s in subjects:
        if s.kind == "edge":
            edges.add((s.source, s.destination))
            namespace, _, name = s.source.rpartition("/")
            workloads.add((namespace, name))
        elif s.kind in ("workload", "control-plane"):
            workloads.add((s.namespace, s.name))
    for c in some:
        places.update(c.tally.places)
    pods = {p for p in places if _is_pod(diagnosis, p)}
    workloads.discard(("", ""))
    return Spread(
        len(edges),
        len({d for _, d in edges if d}),
        len({s for s, _ in edges if s}),
        len(_merged_names(workloads)),
        len(pods),
        len(places - pods),
    )


def _merged_names(names: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """(namespace, name) without those of an unknown namespace that a full name may stand for."""
    full = {name for namespace, name in names if namespace}
    return {(namespace, name) for namespace, name in names if namespace or name not in full}


def _is_pod(diagnosis: Diagnosis, place: str) -> bool:
    pod = diagnosis.seen.pods.get(place)
    return bool(pod.origin.pod) if pod is not None else workload_of(place) != place
