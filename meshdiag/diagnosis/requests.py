"""Failed requests by `x-request-id`: the same request in the logs of its client and of its server.

Bounded by a sample that every process and every file takes alike: the ids with the smallest checksums. A request of the sample
is whole (all its hops are kept); of the others only that they are not in the sample is known, so shares are estimates then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from meshdiag.model import Subject

MAX_ENTRIES = 20_000
"""Hops of requests that are kept. Beyond it joins are made on a sample of the requests; the summary says so."""

MAX_HOPS = 24
"""Places of one request. An id that shows up in more is no request's own (a client that sends a constant)."""

MAX_TRIES = 50
"""Lines of one hop that may be tries or calls of one request; more means that the id is used again and again."""

FEW_TRIES = 5
"""So many lines may be tries over a longer time (Istio's default is 2 retries)."""

TRIES_SECONDS = 20.0
"""More than FEW_TRIES come in a time as short as this, or the id is used again and again."""

MAX_SECONDS = 900.0
"""A request and its retries are over by then, or the id is used again."""

ID_LIMIT = 128

HopKey = tuple[str, Subject, str]
"""Cause, subject, place: one proxy's view of requests under one finding."""

ALL = 1 << 32
"""The limit of checksums when no request was left out."""

Seen = tuple[int, float, float]
"""How many lines of one request (retries), from and to when (seconds since 1970)."""


@dataclass(slots=True)
class Requests:
    """Which failed requests each hop saw; a part of the monoid `Findings`.

    limit  requests whose checksum is as high were left out; it is halved until the others fit
    lines  all failing lines with an id, whether kept or not
    """

    by_hop: dict[HopKey, dict[str, Seen]] = field(default_factory=dict)
    limit: int = ALL
    lines: int = 0
    added: int = 0
    """Entries since the last cut: only to know when to cut again."""

    def add(self, hop: HopKey, request_id: str, seconds: float) -> None:
        """Count a failing line of a request."""
        self.lines += 1
        if self.limit < ALL and _checksum(request_id) >= self.limit:
            return
        self._keep(hop, request_id, seconds)

    def _keep(self, hop: HopKey, request_id: str, seconds: float) -> None:
        seen = self.by_hop.setdefault(hop, {})
        known = seen.get(request_id)
        if known is not None:
            n, first, last = known
            seen[request_id] = n + 1, min(first, seconds), max(last, seconds)
        elif len(request_id) <= ID_LIMIT:
            seen[request_id] = 1, seconds, seconds
            self.added += 1
            if self.added > 2 * MAX_ENTRIES:
                self._cut()

    def add_all(self, hop: HopKey, rows: Iterable[tuple[float, int, str]]) -> None:
        """Count many lines: (seconds since 1970, offset, request id or "-")."""
        limit = None if self.limit == ALL else self.limit.to_bytes(4, "big")
        seen = self.by_hop.setdefault(hop, {})
        lines = added = 0
        for seconds, _, request_id in rows:
            if request_id == "-":
                continue
            lines += 1
            if limit is not None and _digest(request_id) >= limit:
                continue
            if request_id in seen:
                self._keep(hop, request_id, seconds)
            elif len(request_id) <= ID_LIMIT:
                seen[request_id] = 1, seconds, seconds
                added += 1
        self.lines += lines
        self.added += added
        if not seen:
            del self.by_hop[hop]
        if self.added > 2 * MAX_ENTRIES:
            self._cut()

    def merged(self, other: Requests) -> Requests:
        """Both together."""
        by_hop = {hop: dict(seen) for hop, seen in self.by_hop.items() if seen}
        for hop, seen in other.by_hop.items():
            mine = by_hop.get(hop)
            if mine is None:
                if seen:
                    by_hop[hop] = dict(seen)
                continue
            for i, (n, first, last) in seen.items():
                m, f, e = mine.get(i, (0, first, last))
                mine[i] = m + n, min(f, first), max(e, last)
        out = Requests(by_hop, min(self.limit, other.limit), self.lines + other.lines)
        above = any(part.limit > out.limit and part.by_hop for part in (self, other))
        if above or sum(map(len, by_hop.values())) > MAX_ENTRIES:
            out._cut()
        out.added = 0
        return out

    def _cut(self) -> None:
        """Halve the limit until what is below it fits.

        The limit of a sum is the highest that fits the whole: no part needs a lower one, so the order of adding does not matter.
        """
        entries = sum(map(len, self.by_hop.values()))
        if self.limit < ALL or entries > MAX_ENTRIES:
            sums = {i: _checksum(i) for i in {i for seen in self.by_hop.values() for i in seen}}
            self._drop(sums)
            while (entries := sum(map(len, self.by_hop.values()))) > MAX_ENTRIES:
                self.limit //= 2
                self._drop(sums)
        self.added = entries

    def _drop(self, sums: Mapping[str, int]) -> None:
        limit = self.limit
        for hop, seen in list(self.by_hop.items()):
            for i in [i for i in seen if sums[i] >= limit]:
                del seen[i]
            if not seen:
                del self.by_hop[hop]

    @property
    def sampled(self) -> bool:
        """Whether some requests were left out."""
        return self.limit < ALL

    def total(self) -> int:
        """Failed requests: exact, or estimated from the part of all checksums that the sample has (no more than lines)."""
        kept = len({i for seen in self.by_hop.values() for i in seen})
        return min(self.lines, self.estimate(kept))

    def estimate(self, kept: int) -> int:
        """How many requests so many of the sample stand for."""
        return round(kept * ALL / max(1, self.limit))

    def alone(self) -> Iterator[tuple[HopKey, int, int]]:
        """(hop, requests, lines) of the requests that no other hop saw: most of them, in most captures."""
        shared = self._shared()
        for hop, seen in self.by_hop.items():
            lines = [known[0] for i, known in seen.items() if i not in shared and _own(known)]
            if lines:
                yield hop, len(lines), sum(lines)

    def joined(self) -> Iterator[dict[HopKey, Seen]]:
        """The hops of each request that several saw: not of ids that a client uses again and again."""
        by_id: dict[str, dict[HopKey, Seen]] = {i: {} for i in self._shared()}
        for hop, seen in self.by_hop.items():
            for i in by_id.keys() & seen.keys():
                by_id[i][hop] = seen[i]
        for hops in by_id.values():
            if len(hops) <= MAX_HOPS and all(map(_own, hops.values())):
                first = min(f for _, f, _ in hops.values())
                if max(e for _, _, e in hops.values()) - first <= MAX_SECONDS:
                    yield hops

    def _shared(self) -> set[str]:
        counts: Counter[str] = Counter()
        for seen in self.by_hop.values():
            counts.update(seen.keys())
        return {i for i, n in counts.items() if n > 1}


def _own(seen: Seen) -> bool:
    """Whether lines with one id may be tries of one request."""
    n, first, last = seen
    return n <= MAX_TRIES and last - first <= (MAX_SECONDS if n <= FEW_TRIES else TRIES_SECONDS)


def _digest(request_id: str) -> bytes:
    # a cryptographic one: who could choose ids with small sums would drive all others out of the sample
    return blake2b(request_id.encode("utf-8", "replace"), digest_size=4).digest()


def _checksum(request_id: str) -> int:
    return int.from_bytes(_digest(request_id), "big")
