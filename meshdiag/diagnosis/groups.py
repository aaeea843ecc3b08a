"""Findings in groups: by cause, workload, edge or pod."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshdiag.diagnosis.finding import Finding
from meshdiag.diagnosis.findings import Key
from meshdiag.diagnosis.incident import Cell, cells, of_traffic
from meshdiag.model import Severity, State, Subject

if TYPE_CHECKING:
    from meshdiag.diagnosis.diagnosis import Diagnosis

BY = ("cause", "workload", "edge", "pod")
NO_EDGE = "not about an edge"


@dataclass(frozen=True, slots=True)
class Member:
    """A finding as one group sees it: `count` of its lines are the group's."""

    finding: Finding
    count: int


@dataclass(frozen=True, slots=True)
class Group:
    """Findings that have a cause, workload, edge or pod in common.

    failed  requests of the group, each counted once; None when no line of it is a request
    about   whether that is an estimate
    """

    name: str
    members: tuple[Member, ...]
    severity: Severity
    failed: int | None
    about: bool

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings, by rank."""
        return tuple(m.finding for m in self.members)

    @property
    def lines(self) -> int:
        """Lines of all of them."""
        return sum(m.count for m in self.members)


def groups(diagnosis: Diagnosis, by: str) -> tuple[Group, ...]:
    """The failures by `cause`, `workload` (who saw it), `edge` or `pod`, the worst group first. A finding may be in several.

    Raises ValueError for another `by`.
    """
    if by not in BY:
        raise ValueError(f"no grouping by {by!r}: there are {', '.join(BY)}")
    failures = diagnosis.failures
    some = cells(diagnosis, failures)
    full = _full_names(c.key[1] for c in some) if by == "workload" else {}
    counts: dict[str, dict[int, int]] = {}
    ranks = {f.rank: f for f in failures}
    lines: dict[str, int] = {}
    for c in some:
        for place, n in _shares(c, by):
            name = _name(by, c.key, place, full)
            members = counts.setdefault(name, {})
            members[c.finding.rank] = members.get(c.finding.rank, 0) + n
            if of_traffic(diagnosis, c.finding) and c.finding.requests is None:
                lines[name] = lines.get(name, 0) + n
    told = {c.finding.rank for c in some}
    for f in failures:
        if f.rank not in told:  # only a sequence tells it
            name = _name(by, (f.cause, f.subject), f.facts.get("pod") or _path(f), full)
            counts.setdefault(name, {})[f.rank] = f.count
    shown = {c.key for c in some}
    requests = diagnosis.seen.requests
    ids: dict[str, set[str]] = {}
    for hop, seen in requests.by_hop.items():
        if seen and hop[:2] in shown:
            ids.setdefault(_name(by, hop[:2], hop[2], full), set()).update(seen)
    out = []
    for name, members in counts.items():
        with_id = requests.estimate(len(ids.get(name, ())))
        failed = with_id + lines.get(name, 0)
        some_members = tuple(Member(ranks[r], n) for r, n in sorted(members.items()))
        severity = min((m.finding.severity for m in some_members), key=lambda s: s.rank)
        out.append(Group(name, some_members, severity, failed or None, requests.sampled and bool(with_id)))
    return tuple(sorted(out, key=_worst))


def _worst(g: Group) -> tuple[Any, ...]:
    going = any(m.finding.state is State.ONGOING for m in g.members)
    return not going, g.severity.rank, -(g.failed or 0), -g.lines, g.members[0].finding.rank, g.name


def _shares(c: Cell, by: str) -> Iterator[tuple[str, int]]:
    """(place, lines) of a tally; by pod all its places, of which the bound may have left some out."""
    if by == "pod":
        yield from ((place, c.tally.places[place].count) for place in sorted(c.tally.places))
    else:
        yield "", c.tally.count


def _name(by: str, key: Key, place: str, full: Mapping[str, str]) -> str:
    cause, subject = key
    match by:
        case "cause":
            return cause
        case "pod":
            return place or "pod not known"
        case "edge":
            return str(subject) if subject.kind == "edge" else NO_EDGE
        case _:
            name = subject.source or "?" if subject.kind == "edge" else str(subject)
            return full.get(name, name)


def _full_names(subjects: Iterable[Subject]) -> dict[str, str]:
    """`cart` -> `shop/cart`, where the namespace is known elsewhere and there is only one."""
    known: dict[str, set[str]] = {}
    for s in subjects:
        name = s.source if s.kind == "edge" else str(s) if s.kind in ("workload", "control-plane") else ""
        if "/" in name:
            known.setdefault(name.rpartition("/")[2], set()).add(name)
    return {short: min(names) for short, names in known.items() if len(names) == 1}


def _path(f: Finding) -> str:
    return f.samples[0].path if f.samples else ""
