"""The chain from a symptom to its root cause, and the tree of symptoms under a root."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from meshdiag.diagnosis.finding import Finding

K = TypeVar("K")


def parents(findings: Iterable[Finding]) -> dict[int, int]:
    """For each explained finding (by rank) the one that explains it most directly: the one with the longest chain above it."""
    by_rank = {f.rank: f for f in findings}
    depth: dict[int, int] = {}

    def deep(rank: int) -> int:
        # links run in no circle, and no chain is longer than there are causes
        if rank not in depth:
            above = [r for r in by_rank[rank].explained_by if r in by_rank]
            depth[rank] = 1 + max(map(deep, above), default=-1)
        return depth[rank]

    out = {}
    for rank, f in by_rank.items():
        above = [r for r in f.explained_by if r in by_rank]
        if above:
            out[rank] = min(above, key=lambda r: (-deep(r), r))
    return out


def chain(findings: Iterable[Finding], rank: int) -> tuple[Finding, ...]:
    """From the root cause to the finding of this rank, each explaining the next. Raises KeyError for an unknown rank."""
    some = list(findings)
    by_rank = {f.rank: f for f in some}
    above = parents(some)
    out = [by_rank[rank]]
    while out[0].rank in above:
        out.insert(0, by_rank[above[out[0].rank]])
    return tuple(out)


def symptoms(findings: Iterable[Finding]) -> dict[int, list[Finding]]:
    """For each finding (by rank) those that it explains most directly, in order of rank."""
    out: dict[int, list[Finding]] = {}
    some = sorted(findings, key=lambda f: f.rank)
    above = parents(some)
    for f in some:
        if f.rank in above:
            out.setdefault(above[f.rank], []).append(f)
    return out


def below(explains: Mapping[K, Iterable[K]], start: K) -> set[K]:
    """All that something explains, directly or through others."""
    found: set[K] = set()
    todo = [start]
    while todo:
        for other in explains.get(todo.pop(), ()):
            if other not in found:
                found.add(other)
                todo.append(other)
    return found - {start}
