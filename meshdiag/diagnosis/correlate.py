"""What explains what: the catalogue's `explains`, where its scope holds, and what is over.

Pure functions of merged tallies. This is the seam for correlation by request id, time order and deployments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from meshdiag.catalogue import Catalogue, Cause
from meshdiag.diagnosis.findings import Key, Place, Tally
from meshdiag.model import Kind, State, Subject

GRACE = 60.0
"""Seconds a condition may last before its good milestone and still be a routine start (Istio's readiness probe fails from the
first second on; a start takes seconds to a minute)."""

GRACE_COUNT = 60
"""The same bound in lines, for logs without times."""


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


def links(keys: Sequence[Key], tallies: Mapping[Key, Tally], catalogue: Catalogue) -> dict[Key, set[Key]]:
    """For each finding the findings that it explains."""
    by_cause: dict[str, list[Key]] = {}
    for key in keys:
        by_cause.setdefault(key[0], []).append(key)
    out: dict[Key, set[Key]] = {}
    for key in keys:
        cause = catalogue.causes.get(key[0])
        for e in cause.explains if cause else ():
            for other in by_cause.get(e.cause, ()):
                if in_scope(e.scope, key, other, tallies):
                    out.setdefault(key, set()).add(other)
    return out


def in_scope(scope: str, a: Key, b: Key, tallies: Mapping[Key, Tally]) -> bool:
    """Whether two findings are near enough for one to explain the other."""
    if scope == "same-mesh":
        return True
    if scope == "same-pod":
        return not tallies[a].places.keys().isdisjoint(tallies[b].places)
    return _same_destination(a[1], b[1]) or not tallies[a].places.keys().isdisjoint(tallies[b].places)


def _same_destination(a: Subject, b: Subject) -> bool:
    x, y = _destination(a), _destination(b)
    # a workload is mostly named after its service: ratings and ratings-v1
    return not x or not y or x == y or x.startswith(f"{y}-") or y.startswith(f"{x}-")


def _destination(s: Subject) -> str:
    """The service's first label: `reviews` for reviews.prod.svc.cluster.local:9080 and for the workload reviews."""
    name = s.destination or s.name
    return name.rpartition("/")[2].partition(":")[0].partition(".")[0]
