"""What two captures have in common: their failures by what they are about, and what the logs of each could show.

A finding of one capture and one of another are about the same thing when their cause is the same, and their subject but
for what differs from capture to capture: generated names of pods, who of a service's clients saw it, an unknown namespace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from meshdiag.diagnosis.diagnosis import Diagnosis
from meshdiag.diagnosis.finding import Finding
from meshdiag.diagnosis.findings import MAX_SUBJECTS, Key, Tally
from meshdiag.diagnosis.incident import Going, Spans, cells, log_span, quiet, spans
from meshdiag.diagnosis.onset import onset_of
from meshdiag.diagnosis.subjects import component_of, workload_of
from meshdiag.model import Kind, State, Subject

About = tuple[str, ...]
"""What a finding is about: ("to", destination) of edges, (kind, namespace, name) of most others."""

MIN_ONSET = 5
"""Failures from which it is no chance when the first of them was."""

LISTS = {"event": "Kubernetes events", "analysis": "istioctl analyze"}
"""Formats that a capture has or has not as a whole: without it, that something is not in it says nothing."""

Workload = tuple[str, str]
"""Namespace ("" when not known) and name."""


@dataclass(slots=True)
class Item:
    """The failures of a capture that have one cause and are about one thing; `finding` is the first of them by rank."""

    diagnosis: Diagnosis
    cause: str
    about: About
    subject: Subject
    finding: Finding
    tallies: dict[Subject, Tally] = field(default_factory=dict)
    findings: dict[int, Finding] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, About]:
        """Cause and what it is about."""
        return self.cause, self.about

    @property
    def clients(self) -> set[str]:
        """The sources of its edges."""
        return {s.source for s in self.tallies if s.kind == "edge"}

    @property
    def count(self) -> int:
        """Failing lines."""
        return sum(t.count for t in self.tallies.values()) or self.finding.count

    @property
    def last(self) -> datetime | None:
        """When it was seen last."""
        times = [t.last for t in self.tallies.values()] or [self.finding.last]
        return max((t for t in times if t), default=None)

    @property
    def places(self) -> set[str]:
        """Pods (or files) that told of it."""
        return {p for t in self.tallies.values() for p in t.places}

    @property
    def first(self) -> datetime | None:
        """When it was seen first."""
        return min((t.first for t in self.tallies.values() if t.first), default=self.finding.first)

    @property
    def is_symptom(self) -> bool:
        """Whether other failures explain all of it."""
        return all(f.explained_by for f in self.findings.values())

    def going(self, known: Spans) -> Going:
        """Whether it goes on, by what is known of the logs; `none` when it was only routine."""
        failing = [f for f in self.findings.values() if f.state is not State.TRANSIENT]
        states = {quiet(self.diagnosis, f, self.tallies.values(), known).state for f in failing}
        return next((s for s in (Going.ONGOING, Going.UNKNOWN, Going.OVER) if s in states), Going.NONE)


def items(d: Diagnosis) -> dict[tuple[str, About], Item]:
    """The shown failures of a capture, the routine ones, too.

    They are made of tallies, not of findings: what a finding folds ("201 others", the clients of a service) is told apart.
    """
    book = d.catalogue.causes
    shown = [f for f in d.findings if f.cause in book and book[f.cause].kind is Kind.FAILURE]
    out: dict[tuple[str, About], Item] = {}

    def item(f: Finding, key: Key) -> Item:
        about = ("istiod",) if book[key[0]].about else _about(key[1])
        one = out.get((key[0], about))
        if one is None:
            one = out[key[0], about] = Item(d, key[0], about, plain(key[1]), f)
        if f.rank < one.finding.rank:
            one.finding = f
        one.findings[f.rank] = f
        return one

    told = set()
    for cell in cells(d, shown):
        one = item(cell.finding, cell.key)
        subject = cell.key[1]
        one.tallies[subject] = one.tallies[subject].merged(cell.tally) if subject in one.tallies else cell.tally
        told.add(cell.finding.rank)
    for f in shown:
        if f.rank not in told:  # only a sequence tells it
            item(f, (f.cause, f.subject))
    for (cause, about), one in out.items():
        if book[cause].about:
            one.subject = one.finding.subject
        elif len(one.clients) > 1:
            one.subject = Subject("service", name=about[1])
    return out


def _about(s: Subject) -> About:
    if s.kind == "edge":
        return ("to", s.destination) if s.destination else ("from", s.source)
    if s.kind == "service":
        return ("to", s.name)
    p = plain(s)
    return (p.kind, p.namespace, p.name)


def plain(s: Subject) -> Subject:
    """The subject without the generated part of a pod's name."""
    if s.kind in ("workload", "node", "control-plane"):
        return Subject(s.kind, s.namespace, workload_of(s.name))
    if s.kind == "resource":
        kind, blank, name = s.name.rpartition(" ")
        if kind.lower() in ("pod", "replicaset"):
            return Subject(s.kind, s.namespace, f"{kind}{blank}{workload_of(name)}")
    return s


Pair = tuple[Item | None, Item | None]


def pairs(before: Diagnosis, after: Diagnosis) -> Iterator[Pair]:
    """All things of both captures, those that are the same together."""
    left, right = items(before), items(after)
    for key in sorted(left.keys() & right.keys()):
        x, y = left[key], right[key]
        if not x.clients or not y.clients or any(alike(a, b) for a in x.clients for b in y.clients):
            yield left.pop(key), right.pop(key)
        # else another client has trouble with the same service
    loose = [_by_name(some.values()) for some in (left, right)]
    for name in sorted(loose[0].keys() & loose[1].keys()):
        xs, ys = loose[0][name], loose[1][name]
        if len(xs) == len(ys) == 1 and "" in (xs[0].about[1], ys[0].about[1]):
            yield left.pop(xs[0].key), right.pop(ys[0].key)
    yield from ((left[k], None) for k in sorted(left))
    yield from ((None, right[k]) for k in sorted(right))


def _by_name(some: Iterable[Item]) -> dict[tuple[str, str, str], list[Item]]:
    """Workloads and objects by all but their namespace, which one capture may not tell."""
    out: dict[tuple[str, str, str], list[Item]] = {}
    for item in some:
        if len(item.about) == 3:
            out.setdefault((item.cause, item.about[0], item.about[2]), []).append(item)
    return out


def common(x: Item, y: Item) -> Subject:
    """The subject that tells more: the service of several clients, the name with its namespace."""
    clients = x.clients | y.clients
    if clients and x.about[0] == "to":
        some = sorted(clients, key=len)
        if not all(alike(a, b) for a in some for b in some):
            return Subject("service", name=x.about[1])
    return max((y.subject, x.subject), key=lambda s: (bool(s.namespace), "/" in s.source, bool(s.source), s))


def alike(a: str, b: str) -> bool:
    """Whether two workloads may be one: the same name, and no two namespaces. A name that is not known may be any."""
    if not a or not b or a == b:
        return True
    (n, _, x), (m, _, y) = a.rpartition("/"), b.rpartition("/")
    return x == y and (not n or not m or n == m)


# -- what a capture can tell


class Logs:
    """What the logs of a capture could show: which pods, which requests, how long."""

    def __init__(self, diagnosis: Diagnosis, since: datetime | None = None, until: datetime | None = None) -> None:
        """`since` and `until`: only this time counts; the diagnosis was made of no other records."""
        self.diagnosis = diagnosis
        self.seen = diagnosis.seen
        self.first, self.last = _clipped(diagnosis.seen.first, diagnosis.seen.last, since, until)
        low = since.timestamp() if since else float("-inf")
        high = until.timestamp() if until else float("inf")
        self.spans = {
            place: (max(a, low), min(b, high))
            for place, (a, b) in spans(diagnosis.seen).items()
            if a <= high and b >= low
        }
        self.subjects = Counter(cause for cause, _ in self.seen.tallies)
        self.formats = {name.partition(" ")[0] for name in self.seen.examined}
        self.pods: dict[str, list[tuple[str, str]]] = {}
        for place in self.seen.pods:
            if (workload := self.workload(place)) is not None:
                self.pods.setdefault(workload[1], []).append((workload[0], place))
        self.edges: dict[str, list[tuple[str, int]]] = {}
        self.own: dict[str, list[tuple[str, int]]] = {}
        for subject, n in self.seen.traffic.items():
            if subject.kind == "edge":
                self.edges.setdefault(subject.destination, []).append((subject.source, n))
            elif subject.kind == "workload":
                p = plain(subject)
                self.own.setdefault(p.name, []).append((p.namespace, n))

    def total(self, subjects: Iterable[Subject]) -> int:
        """Requests of these edges and workloads."""
        found: dict[tuple[str, str, str], int] = {}
        for s in subjects:
            if s.kind == "edge":
                for source, n in self.edges.get(s.destination, ()):
                    if alike(source, s.source):
                        found["edge", source, s.destination] = n
            elif s.kind == "workload":
                p = plain(s)
                for namespace, n in self.own.get(p.name, ()):
                    if not namespace or not p.namespace or namespace == p.namespace:
                        key = ("own", namespace, p.name)
                        found[key] = max(n, found.get(key, 0))
        return sum(found.values())

    def of(self, workload: Workload) -> list[str]:
        """The pods of a workload (namespace, name) whose logs are in the capture."""
        namespace, name = workload
        return [place for ns, place in self.pods.get(name, ()) if not ns or not namespace or ns == namespace]

    def is_full(self, cause: str) -> bool:
        """Whether a cause has so many subjects that some may have been cut."""
        return self.subjects[cause] >= MAX_SUBJECTS

    def workload(self, place: str) -> Workload | None:
        """Whose pod a place is; None for a file whose pod is not known."""
        pod = self.seen.pods.get(place)
        if pod is not None and pod.origin.pod:
            return pod.origin.namespace, workload_of(pod.origin.pod)
        namespace, _, name = place.rpartition("/")
        own = workload_of(name)
        return None if own == name or "." in name else (namespace, own)

    def lists(self, item: Item) -> list[str]:
        """The formats of its lines, when a capture has them as lists of their own, about pods whose logs it may not have."""
        book = self.diagnosis.catalogue.by_id
        formats = {f for t in item.tallies.values() for p in t.patterns if p in book for f in book[p].formats}
        return sorted(LISTS.keys() & formats & self.formats) if formats <= {*LISTS, "text"} else []

    def witnesses(self, item: Item) -> tuple[set[Workload], bool]:
        """The workloads whose pods told of it, and whether there were others that are not known by name."""
        known = {self.workload(place) for place in item.places}
        named = {w for w in known if w is not None}
        return named, None in known or not named or bool(self.lists(item))

    def minutes(self, workloads: Iterable[Workload], unknown: bool, item: Item | None) -> float | None:
        """Minutes of the logs of these workloads; of the capture when some are not known; None without any.

        Of what began (or came back) clearly after the log did, the minutes since then: how long it was well before is chance.
        """
        whole = self._minutes(workloads, unknown)
        if item is None or whole is None or item.first is None:
            return whole
        merged = Tally.total(item.tallies.values())
        span = log_span(self.spans, item.places)
        onset = onset_of(merged.minutes, utc(span[0]) if span else self.first)
        if onset is None or onset.before or not onset.rises or item.count < MIN_ONSET:
            return whole
        known = log_span(self.spans, [p for w in workloads for p in self.of(w)])
        end = utc(known[1]) if known and not unknown else self.last
        return min(whole, (end - item.first).total_seconds() / 60) if end is not None else whole

    def _minutes(self, workloads: Iterable[Workload], unknown: bool) -> float | None:
        span = log_span(self.spans, [p for w in workloads for p in self.of(w)])
        if unknown:
            return (self.last - self.first).total_seconds() / 60 if self.first and self.last else None
        return (span[1] - span[0]) / 60 if span is not None else None

    def agents(self, workload: Workload) -> bool:
        """Whether its pods are agents of nodes, each of which tells of its own node alone."""
        origins = [self.seen.pods[p].origin for p in self.of(workload)]
        return bool(origins) and all(component_of(o) in ("ztunnel", "istio-cni") for o in origins)


def utc(seconds: float) -> datetime:
    """The time of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)


def _clipped(
    first: datetime | None, last: datetime | None, since: datetime | None, until: datetime | None
) -> tuple[datetime | None, datetime | None]:
    """The part of a time that is in another; (None, None) when there is none."""
    if first is None or last is None:
        return None, None
    a, b = max(first, since or first), min(last, until or last)
    return (a, b) if a <= b else (None, None)
