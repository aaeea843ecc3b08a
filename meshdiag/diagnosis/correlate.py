"""What explains what: by request id, by pod, by destination, by mesh, and in time. Pure functions of merged findings.

The catalogue says which causes can explain which, where and when (`explains`), and which only repeat what another hop
decided (`relayed`). Links never run in a circle: of a circle the weakest link goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import lru_cache

from meshdiag.catalogue import Catalogue, Cause
from meshdiag.catalogue.entries import Explains
from meshdiag.diagnosis.findings import OTHERS, Key, Place, Tally
from meshdiag.diagnosis.onset import onset_of
from meshdiag.diagnosis.requests import HopKey, Requests, Seen
from meshdiag.model import Kind, State, Subject

GRACE = 60.0
"""Seconds a condition may last before its good milestone and still be a routine start (Istio's readiness probe fails from the
first second on; a start takes seconds to a minute)."""

GRACE_COUNT = 60
"""The same bound in lines, for logs without times."""

SLACK = 600.0
"""Seconds that may lie between a cause and its symptom where the catalogue says nothing else: proxies retry with growing
pauses, and counters such as kubelet's report late."""

LATE = 60.0
"""Seconds by which a pod may report a cause after its symptom: a readiness probe fails from the first second on, a call to istiod
only when it has timed out."""

SKEW = 5.0
"""Seconds that clocks of two nodes may differ."""

MAX_SUBJECTS = 200
"""Subjects of one cause that are shown; the rest is one finding about the mesh."""

SHARE = 0.5
"""A finding is explained by joined requests when at least this share of its requests is."""

ALMOST = 0.9
"""When this share is, nothing weaker has to explain it."""


class Strength(IntEnum):
    """How strong a link is; the greater the weaker."""

    REQUEST = 0
    POD = 1
    DESTINATION = 2
    SETTLED = 3
    MESH = 4


_STRENGTH = {
    "same-pod": Strength.POD,
    "same-edge": Strength.DESTINATION,
    "same-destination": Strength.DESTINATION,
    "same-mesh": Strength.MESH,
}

Links = dict[Key, dict[Key, Strength]]
"""For each finding those that it explains."""


# -- which findings there are


@dataclass(frozen=True, slots=True)
class Grouped:
    """Tallies as findings show them: `owner` says where each tally went, `reach` which clients saw it and how often."""

    tallies: dict[Key, Tally]
    owner: dict[Key, Key]
    reach: dict[Key, tuple[tuple[str, int], ...]] = field(default_factory=dict)


def grouped(tallies: Mapping[Key, Tally], catalogue: Catalogue) -> Grouped:
    """One finding about a service that several clients cannot reach, and about istiod whoever says so.

    At most MAX_SUBJECTS of one cause; the rest is one finding about the mesh.
    """
    out = dict(tallies)
    owner = {key: key for key in tallies}
    reach: dict[Key, tuple[tuple[str, int], ...]] = {}
    for key, known in _with_namespace(tallies).items():
        _merge(out, owner, [key], known)
    clients: dict[tuple[str, str], list[Key]] = {}
    istiod: dict[str, list[Key]] = {}
    for key in out:
        cause = catalogue.causes.get(key[0])
        if cause is not None and cause.about:
            istiod.setdefault(key[0], []).append(key)
        elif key[1].kind == "edge" and key[1].destination:
            clients.setdefault((key[0], key[1].destination), []).append(key)
    for name, keys in istiod.items():
        own = sorted(k[1] for k in keys if k[1].kind == "control-plane")
        new = (name, own[0] if len(set(own)) == 1 else Subject("control-plane", name="istiod"))
        if others := [k for k in keys if k[1].kind != "control-plane"]:
            reach[new] = _most((str(k[1]), out[k].count) for k in others)
        _merge(out, owner, keys, new)
    for (name, destination), keys in clients.items():
        if len(keys) > 1:
            new = (name, Subject("service", name=destination))
            reach[new] = _most((k[1].source or "?", out[k].count) for k in keys)
            _merge(out, owner, keys, new)
    for name, keys in by_cause(out).items():
        if len(keys) > MAX_SUBJECTS:
            named = [k for k in keys if k[1] != OTHERS]
            rest = sorted(named, key=lambda k: (-out[k].count, k))[MAX_SUBJECTS - 1 :]
            if (name, OTHERS) in out:
                _merge(
                    out,
                    owner,
                    [*rest, (name, OTHERS)],
                    (name, replace(OTHERS, name=f"over {len(rest):,} {OTHERS.name}")),
                )
            else:
                _merge(out, owner, rest, (name, replace(OTHERS, name=f"{len(rest):,} {OTHERS.name}")))
    return Grouped(out, owner, {k: v for k, v in reach.items() if k in out})


def _with_namespace(tallies: Iterable[Key]) -> dict[Key, Key]:
    """Where one source tells a workload's namespace and another does not (events, `kubectl logs`), the key with it."""
    some = list(tallies)
    namespaces: dict[str, set[str]] = {}
    for _, subject in some:
        if subject.kind == "workload" and subject.namespace and subject.name:
            namespaces.setdefault(subject.name, set()).add(subject.namespace)
        namespace, _, name = subject.source.rpartition("/")
        if namespace:
            namespaces.setdefault(name, set()).add(namespace)
    only = {name: next(iter(found)) for name, found in namespaces.items() if len(found) == 1}
    out = {}
    for key in some:
        cause, subject = key
        if subject.kind == "workload" and not subject.namespace and subject.name in only:
            out[key] = cause, replace(subject, namespace=only[subject.name])
        elif subject.kind == "edge" and subject.source in only:
            out[key] = cause, replace(subject, source=f"{only[subject.source]}/{subject.source}")
    return out


def _most(counts: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts, key=lambda nc: (-nc[1], nc[0])))


def by_cause(keys: Iterable[Key]) -> dict[str, list[Key]]:
    """The keys of each cause, in their order."""
    out: dict[str, list[Key]] = {}
    for key in keys:
        out.setdefault(key[0], []).append(key)
    return out


def _merge(out: dict[Key, Tally], owner: dict[Key, Key], keys: Iterable[Key], new: Key) -> None:
    gone = set(keys)
    merged = Tally.total(out.pop(key) for key in sorted(gone))
    out[new] = merged.merged(out[new]) if new in out else merged
    for old, now in owner.items():
        if now in gone:
            owner[old] = new


# -- whether it is over


def state_of(cause: Cause, tally: Tally, good: Sequence[Tally]) -> State:
    """`ongoing`, unless in every place that saw it one of the good milestones came later.

    Then `transient` when it was over within GRACE, else `recovered`. A milestone in another place proves nothing.
    """
    if cause.kind is not Kind.FAILURE or not cause.recovered_by:
        return State.ONGOING
    routine = True
    for name, place in tally.places.items():
        later = [p for g in good if (p := g.places.get(name)) and _after(p.last, place.last)]
        if not later:
            return State.ONGOING
        routine &= _short(place)
    return State.TRANSIENT if routine else State.RECOVERED


def _after(a: tuple[float, int], b: tuple[float, int]) -> bool:
    if a[0] >= 0 and b[0] >= 0 and a[0] != b[0]:
        return a[0] > b[0]
    return a[1] > b[1]


def _short(place: Place) -> bool:
    if place.first[0] >= 0:
        return place.last[0] - place.first[0] <= GRACE
    return place.count <= GRACE_COUNT


# -- by pod, destination and mesh, in time


def declared(
    keys: Iterable[Key], tallies: Mapping[Key, Tally], states: Mapping[Key, State], catalogue: Catalogue
) -> Links:
    """The links that the catalogue's `explains` makes, where scope and time hold."""
    of_cause = by_cause(keys)
    out: Links = {}
    for key in keys:
        cause = catalogue.causes.get(key[0])
        for e in cause.explains if cause else ():
            for other in of_cause.get(e.cause, ()):
                if in_scope(e.scope, key, other, tallies) and in_time(e, key, other, tallies, states, catalogue):
                    _link(out, key, other, _STRENGTH[e.scope])
    return out


_PLACED = frozenset({"edge", "service", "workload"})
"""Kinds of subjects that say which service they are about."""

_CALLS = frozenset({"edge", "service"})


def _link(links: Links, a: Key, b: Key, strength: Strength) -> None:
    known = links.setdefault(a, {})
    known[b] = min(strength, known.get(b, strength))


def in_scope(scope: str, a: Key, b: Key, tallies: Mapping[Key, Tally]) -> bool:
    """Whether two findings are near enough for one to explain the other."""
    if scope == "same-mesh":
        return True
    if scope == "same-pod":
        if a[1].kind in _CALLS and b[1].kind in _CALLS and not same_destination(a[1], b[1]):
            return False  # one call of a pod that fails does not make another one fail
        return not tallies[a].places.keys().isdisjoint(tallies[b].places)
    if scope == "same-edge" and a[1].source and b[1].source and a[1].source != b[1].source:
        return False
    if a[1].kind in _PLACED and b[1].kind in _PLACED and label(a[1]) and label(b[1]):
        return same_destination(a[1], b[1])
    # one of them names no service: what one pod saw together may belong together
    return same_destination(a[1], b[1]) or not tallies[a].places.keys().isdisjoint(tallies[b].places)


def in_time(
    e: Explains, a: Key, b: Key, tallies: Mapping[Key, Tally], states: Mapping[Key, State], catalogue: Catalogue
) -> bool:
    """Whether the times of `a` allow it to explain `b`; unknown times do.

    What lasts may have been logged once, long before its symptom; it must only not begin after the symptom was over. What is
    over, and what requests showed, explains only what began before or soon after its end.
    """
    late = SLACK if only_of(_DATED_LATE, tallies[a].patterns, catalogue) else LATE if e.scope == "same-pod" else SKEW
    for x, y in _spans(e.scope, tallies[a], tallies[b]):
        if min(*x, *y) < 0:
            return True
        slack = e.within or SLACK
        if x[0] > y[1] + late:
            continue
        lasts = states[a] is State.ONGOING and not e.within and not of_requests(tallies[a].patterns, catalogue)
        if not lasts and y[0] > x[1] + slack:
            continue
        if e.order == "before" and not _before(e, tallies[a], tallies[b], x, y):
            continue
        return True
    return False


TRAFFIC = frozenset({"access-log", "ztunnel-access"})
"""The formats in which one line is one request or connection."""


def of_requests(patterns: Iterable[str], catalogue: Catalogue) -> bool:
    """Whether requests or connections showed it: each is over when it is logged."""
    return any(not TRAFFIC.isdisjoint(formats) for formats in _formats(patterns, catalogue))


def only_of(formats: frozenset[str], patterns: Iterable[str], catalogue: Catalogue) -> bool:
    """Whether lines of these formats alone tell it."""
    some = _formats(patterns, catalogue)
    return bool(some) and all(formats.issuperset(f) for f in some)


def _formats(patterns: Iterable[str], catalogue: Catalogue) -> list[tuple[str, ...]]:
    """The formats of each of these patterns that is one (a sequence is none)."""
    return [catalogue.by_id[p].formats for p in patterns if p in catalogue.by_id]


_DATED_LATE = frozenset({"event", "analysis", "container", "text"})
"""Kubernetes events and an analysis: they are dated when they were last seen, or asked for."""


Span = tuple[float, float]


def _spans(scope: str, a: Tally, b: Tally) -> list[tuple[Span, Span]]:
    """First and last of both: in each pod that saw both, or over all."""
    if scope == "same-pod":
        common = a.places.keys() & b.places.keys()
        return [
            ((a.places[p].first[0], a.places[p].last[0]), (b.places[p].first[0], b.places[p].last[0])) for p in common
        ]
    if a.first is None or a.last is None or b.first is None or b.last is None:
        return [((-1.0, -1.0), (-1.0, -1.0))]
    return [((a.first.timestamp(), a.last.timestamp()), (b.first.timestamp(), b.last.timestamp()))]


def _before(e: Explains, a: Tally, b: Tally, x: Span, y: Span) -> bool:
    """Whether `a` came before `b` began or rose, and at most `within` before."""
    began = onset_of(b.minutes, None)
    start = max(y[0], began.start.timestamp()) if began else y[0]
    if x[0] > start + max(SKEW, b.minutes.width if began else 0):
        return False
    return not e.within or a.minutes.between(start - e.within, start + SKEW) > 0


def same_destination(a: Subject, b: Subject) -> bool:
    """Whether two subjects are the same service, as far as their names tell; unknown names may be."""
    (x, m), (y, n) = service_of(a), service_of(b)
    if not x or not y:
        return True
    # a workload is mostly named after its service: ratings and ratings-v1
    named = x == y or x.startswith(f"{y}-") or y.startswith(f"{x}-")
    return named and (m == n or not m or not n)


@lru_cache(maxsize=8192)
def service_of(s: Subject) -> tuple[str, str]:
    """Name and namespace: `reviews`, `prod` for reviews.prod.svc.cluster.local:9080, the workload and `DestinationRule reviews`."""
    if s.destination or s.kind == "service":
        parts = (s.destination or s.name).rpartition("/")[2].partition(":")[0].split(".")
        return parts[0], parts[1] if len(parts) > 1 else ""
    return (s.name.rpartition(" ")[2] if s.kind == "resource" else s.name), s.namespace


def label(s: Subject) -> str:
    """The name of a subject's service or workload."""
    return service_of(s)[0]


def relays(
    keys: Iterable[Key], tallies: Mapping[Key, Tally], states: Mapping[Key, State], joins: Joined, catalogue: Catalogue
) -> Links:
    """An error that each hop on its way repeats: the server's own for its client's, the server's call for the server's own.

    By name and time, for requests that no id joins; where ids tell, they decide (`Joined`).
    """
    out: Links = {}
    for name, some in by_cause(k for k in keys if _relayed(catalogue, k[0]) == "upstream").items():
        e = Explains(name, "same-destination")
        for a in some:
            for b in some:
                if a[1].kind == "workload" and b[1].kind in _CALLS:
                    near = bool(label(a[1]) and label(b[1])) and same_destination(a[1], b[1])
                    strength = Strength.DESTINATION
                elif a[1].kind in _CALLS and b[1].kind == "workload":
                    near = not tallies[a].places.keys().isdisjoint(tallies[b].places)
                    strength = Strength.POD
                else:
                    continue
                near = near and in_time(e, a, b, tallies, states, catalogue) and _goes_with(tallies[a], tallies[b])
                if near and not joins.settles(b) and not joins.denies(a, b, tallies, catalogue):
                    _link(out, a, b, strength)
    return out


def _goes_with(a: Tally, b: Tally) -> bool:
    """Whether most of `b` falls in minutes in which there is some of `a`."""
    width = b.minutes.width
    items = b.minutes.items()
    together = sum(n for at, n in items if a.minutes.between(at - SKEW, at + width + SKEW))
    return together >= SHARE * sum(n for _, n in items)


# -- by request id


@dataclass(slots=True)
class Joined:
    """Requests that the logs of several proxies show.

    links    (explaining, explained) -> how many requests of the sample
    requests of each finding: (requests, lines) of the sample
    shared   pairs of findings that have a request in common
    told     of each finding: how many of its requests another hop explains
    agreed   of each finding: how many of its requests another hop repeats
    """

    links: dict[tuple[Key, Key], int] = field(default_factory=dict)
    requests: dict[Key, tuple[int, int]] = field(default_factory=dict)
    shared: set[tuple[Key, Key]] = field(default_factory=set)
    told: dict[Key, int] = field(default_factory=dict)
    agreed: dict[Key, int] = field(default_factory=dict)

    def denies(self, a: Key, b: Key, tallies: Mapping[Key, Tally], catalogue: Catalogue) -> bool:
        """Whether the requests say that `a` did not bring about `b`, which only repeats what other hops decide.

        Of one service both must show the same requests. (A call that a server makes in turn may have an id of its own.)
        """
        if (a, b) in self.shared or _relayed(catalogue, b[0]) != "upstream" or not same_destination(a[1], b[1]):
            return False
        if label(a[1]) == "" or label(b[1]) == "":
            return False
        if {a[1].kind, b[1].kind} <= _CALLS and not tallies[a].places.keys().isdisjoint(tallies[b].places):
            return False  # one proxy writes one line of a call: what it says of others is no contradiction
        return all(self.requests.get(k, (0, 0))[1] >= ALMOST * tallies[k].count for k in (a, b))

    def settles(self, key: Key) -> bool:
        """Whether the requests themselves explain a finding."""
        return self.told.get(key, 0) >= ALMOST * self.requests.get(key, (1, 1))[0]

    def strong(self) -> Links:
        """The links of findings that are explained for the most part."""
        out: Links = {}
        for (a, b), _ in self.links.items():
            if self.told.get(b, 0) >= SHARE * self.requests[b][0]:
                _link(out, a, b, Strength.REQUEST)
        return out


def joined(requests: Requests, owner: Mapping[Key, Key], catalogue: Catalogue) -> Joined:
    """Join the hops of each request; `owner` says to which finding a tally belongs."""
    out = Joined()
    whose = {hop: owner.get((hop[0], hop[1])) for hop in requests.by_hop}
    told: dict[tuple[HopKey, ...], list[tuple[Key, Key]]] = {}  # most requests take one of a few ways
    for hop, some, n in requests.alone():
        if (key := whose[hop]) is not None:
            r, m = out.requests.get(key, (0, 0))
            out.requests[key] = r + some, m + n
    for hops in requests.joined():
        lines: dict[Key, int] = {}
        for hop, (n, _, _) in hops.items():
            if (key := whose[hop]) is not None:
                lines[key] = lines.get(key, 0) + n
        for key, n in lines.items():
            r, m = out.requests.get(key, (0, 0))
            out.requests[key] = r + 1, m + n
        out.shared.update((a, b) for a in lines for b in lines if a != b)
        way = tuple(sorted(hops, key=lambda h: (hops[h][1], h)))
        pairs = told.get(way)
        if pairs is None:
            links = {
                (a, b)
                for x, y in _told(hops, catalogue)
                if (a := owner.get(x)) is not None and (b := owner.get(y)) is not None and a != b
            }
            pairs = told[way] = sorted(links)
        for pair in pairs:
            out.links[pair] = out.links.get(pair, 0) + 1
        for b in {b for _, b in pairs}:
            out.told[b] = out.told.get(b, 0) + 1
        for a in {a for a, _ in pairs}:
            out.agreed[a] = out.agreed.get(a, 0) + 1
    return out


def _told(hops: Mapping[HopKey, Seen], catalogue: Catalogue) -> set[tuple[Key, Key]]:
    """(explaining, explained) of one request: what a hop only relays, the nearest other failing hop decided."""
    below: dict[HopKey, list[HopKey]] = {a: [b for b in hops if b != a and _next(a, b, hops)] for a in hops}
    _pair_unnamed(below, hops)
    above: dict[HopKey, list[HopKey]] = {a: [] for a in hops}
    for a, bs in below.items():
        for b in bs:
            above[b].append(a)
    out = set()
    for y in hops:
        way = _relayed(catalogue, y[0])
        for x in below[y] if way == "upstream" else above[y] if way == "downstream" else ():
            if _relayed(catalogue, x[0]) in ("", way):
                out.add(((x[0], x[1]), (y[0], y[1])))
        for x in below[y]:  # both report one decision: the server took it
            if x[0] == y[0] and way != "downstream":
                out.add(((x[0], x[1]), (y[0], y[1])))
        for x in (*below[y], *above[y]):
            # and what the catalogue says of neighbours: a client's timeout explains the server's lost client
            if any(e.cause == y[0] for e in _explains(catalogue, x[0])):
                out.add(((x[0], x[1]), (y[0], y[1])))
    return {(x, y) for x, y in out if (y, x) not in out or x < y}


def _pair_unnamed(below: dict[HopKey, list[HopKey]], hops: Mapping[HopKey, Seen]) -> None:
    """A call and the one server that logged the same request, when their names do not tell that they belong together."""
    taken = {b for bs in below.values() for b in bs}
    calls = [a for a in hops if a[1].kind == "edge" and not below[a]]
    servers = [b for b in hops if b[1].kind == "workload" and b not in taken]
    for a in calls:
        # what the caller's own proxy received began before its call did
        found = [b for b in servers if b[2] != a[2] and hops[b][1] >= hops[a][1] - SKEW]
        if len(calls) == len(found) == 1:
            below[a].append(found[0])


def _relayed(catalogue: Catalogue, cause: str) -> str:
    known = catalogue.causes.get(cause)
    return known.relayed if known else ""


def _explains(catalogue: Catalogue, cause: str) -> tuple[Explains, ...]:
    known = catalogue.causes.get(cause)
    return known.explains if known else ()


def _next(a: HopKey, b: HopKey, hops: Mapping[HopKey, Seen]) -> bool:
    """Whether `b` is the hop below `a`: the server of a client's call, or a call that the server makes."""
    x, y = a[1], b[1]
    if x.kind == "edge" and y.kind == "workload":
        return bool(label(x)) and bool(label(y)) and same_destination(x, y)
    if x.kind == "workload" and y.kind == "edge":
        source = y.source.rpartition("/")[2]
        return a[2] == b[2] or (bool(source) and source == x.name)
    # through an east-west gateway or a waypoint: two calls of one request to the same service, the second began later
    return x.kind == y.kind == "edge" and a[2] != b[2] and x.destination == y.destination and hops[a][1] < hops[b][1]


# -- all links together


def acyclic(links: Links) -> Links:
    """The links without those that close a circle: of each circle the weakest goes."""
    out = {a: dict(bs) for a, bs in links.items()}
    while circle := _circle(out):
        a, b = max(zip(circle, (*circle[1:], circle[0]), strict=True), key=lambda ab: (out[ab[0]][ab[1]], ab[0], ab[1]))
        del out[a][b]
    return out


def _circle(links: Links) -> list[Key]:
    done: set[Key] = set()
    for start in sorted(links):
        if start in done:
            continue
        path: list[Key] = []
        on_path: set[Key] = set()
        stack: list[tuple[Key, Iterable[Key]]] = [(start, iter(sorted(links.get(start, ()))))]
        path.append(start)
        on_path.add(start)
        while stack:
            node, rest = stack[-1]
            for other in rest:
                if other in on_path:
                    return path[path.index(other) :]
                if other not in done:
                    stack.append((other, iter(sorted(links.get(other, ())))))
                    path.append(other)
                    on_path.add(other)
                    break
            else:
                stack.pop()
                path.pop()
                on_path.discard(node)
                done.add(node)
    return []
