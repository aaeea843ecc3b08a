"""Findings, and failed requests, as tables of pandas: texts and numbers that can be filtered and counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from meshdiag.diagnosis.finding import Finding
from meshdiag.diagnosis.findings import Key
from meshdiag.diagnosis.requests import (
    FEW_TRIES,
    MAX_HOPS,
    MAX_SECONDS,
    MAX_TRIES,
    TRIES_SECONDS,
    Requests,
)
from meshdiag.model import Kind, Subject

if TYPE_CHECKING:
    import pandas as pd

_TYPES: Final = {
    "rank": "int64",
    "cause": "str",
    "kind": "category",
    "severity": "category",
    "confidence": "category",
    "state": "category",
    "title": "str",
    "subject": "str",
    "subject_kind": "category",
    "namespace": "str",
    "name": "str",
    "source": "str",
    "destination": "str",
    "count": "int64",
    "requests": "Int64",
    "total": "Int64",
    "places": "int64",
    "first": "datetime64[us, UTC]",
    "last": "datetime64[us, UTC]",
    "onset": "datetime64[us, UTC]",
    "root": "bool",
    "explained_by": "object",
    "explains": "object",
    "patterns": "object",
    "remedy": "str",
    "sample": "str",
}
"""The columns and their types; `object` are tuples."""


def to_frame(findings: Iterable[Finding]) -> pd.DataFrame:
    """One row for each finding, in order. Raises ImportError where pandas is not installed."""
    import pandas as pd

    rows = [_row(f) for f in findings]
    columns: dict[str, Any] = {}
    for name, dtype in _TYPES.items():
        values = [row[name] for row in rows]
        columns[name] = pd.Series(
            pd.to_datetime(values, utc=True) if dtype.startswith("datetime") else values, dtype=dtype
        )
    return pd.DataFrame(columns)


def _row(finding: Finding) -> dict[str, Any]:
    subject = finding.subject
    return {
        "rank": finding.rank,
        "cause": finding.cause,
        "kind": finding.kind.value,
        "severity": finding.severity.value,
        "confidence": finding.confidence.value,
        "state": finding.state.value,
        "title": finding.title,
        "subject": str(subject),
        "subject_kind": subject.kind,
        "namespace": subject.namespace or None,
        "name": subject.name or None,
        "source": subject.source or None,
        "destination": subject.destination or None,
        "count": finding.count,
        "requests": finding.requests,
        "total": finding.total,
        "places": finding.places,
        "first": finding.first,
        "last": finding.last,
        "onset": finding.onset.start if finding.onset else None,
        "root": finding.kind is Kind.FAILURE and not finding.explained_by,
        "explained_by": finding.explained_by,
        "explains": finding.explains,
        "patterns": finding.patterns,
        "remedy": finding.remedies[0].title if finding.remedies else None,
        "sample": finding.samples[0].line if finding.samples else None,
    }


# --- failed requests ----------------------------------------------------------------------------------------------

_REQUESTS: Final = {
    "time": "datetime64[us, UTC]",
    "last": "datetime64[us, UTC]",
    "side": "str",
    "source": "str",
    "destination": "str",
    "pod": "str",
    "cause": "str",
    "lines": "int64",
    "rank": "Int64",
    "root": "bool",
}


def requests_to_frame(
    requests: Requests, findings: Mapping[Key, Finding], ranks: Mapping[Key, int], shown_only: bool
) -> pd.DataFrame:
    """A row for each failing hop of each request, in order of time.

    findings    the finding that each tally belongs to, of a diagnosis that shows all
    ranks       of the findings that are shown
    shown_only  only requests that have a hop of these

    Raises ImportError where pandas is not installed.
    """
    import numpy as np
    import pandas as pd

    hops = list(requests.by_hop)
    rows = [(i, n, *seen) for n, hop in enumerate(hops) for i, seen in requests.by_hop[hop].items()]
    table = pd.DataFrame(rows, columns=["request_id", "hop", "lines", "first", "until"])
    table = table.astype({"hop": "int64", "lines": "int64", "first": "float64", "until": "float64"})
    ids = pd.factorize(table["request_id"])[0]
    again = reused(ids, *(table[n].to_numpy() for n in ("lines", "first", "until")))
    attrs = {
        "failed": requests.total(),
        "sampled": requests.sampled,
        "reused_ids": len(np.unique(ids[again])),
        "reused_lines": int(table.loc[again, "lines"].sum()),
    }
    told = pd.DataFrame([_hop(*hop, findings, ranks) for hop in hops], columns=[*_HOP])
    table = table[~again].join(told, on="hop")
    if shown_only:
        table = table[table.groupby("request_id")["rank"].transform("count") > 0]
    for name, seconds in (("time", "first"), ("last", "until")):
        # seconds as floats are microseconds to within one
        table[name] = pd.to_datetime((table[seconds] * 1e6).round().astype("int64"), unit="us", utc=True)
    table["began"] = table.groupby("request_id")["first"].transform("min")
    table = table.sort_values(["began", "request_id", "first", "side", "hop"], kind="stable")
    table["root"] = _decided(table["request_id"], [findings.get(hop[:2]) for hop in hops], table["hop"], findings)
    out = pd.DataFrame({n: table[n].astype(t) for n, t in _REQUESTS.items()})
    number = table.groupby("request_id", sort=False).cumcount() + 1
    out.index = pd.MultiIndex.from_arrays([table["request_id"].astype("str"), number], names=["request_id", "hop"])
    out.attrs.update(attrs)
    return out


_HOP: Final = ("side", "source", "destination", "pod", "cause", "rank")


def _hop(
    cause: str, subject: Subject, place: str, findings: Mapping[Key, Finding], ranks: Mapping[Key, int]
) -> tuple[Any, ...]:
    """One proxy's view: the client's names both ends, the server's itself."""
    finding = findings.get((cause, subject))
    rank = ranks.get((cause, finding.subject)) if finding else None
    if subject.kind == "edge":
        return "client", subject.source or None, subject.destination or None, place, cause, rank
    return "server", None, str(subject), place, cause, rank


def _decided(
    ids: Iterable[str], of_hop: Sequence[Finding | None], hops: Iterable[int], findings: Mapping[Key, Finding]
) -> list[bool]:
    """Of each row whether no other hop of its request explains it: by its finding, or by one that explains that."""
    by_rank = {f.rank: f for f in findings.values()}
    above: dict[int, frozenset[int]] = {}

    def explaining(rank: int) -> frozenset[int]:
        if rank not in above:
            found, new = set[int](), {rank}
            while new:
                new = {r for n in new if n in by_rank for r in by_rank[n].explained_by} - found
                found |= new
            above[rank] = frozenset(found)
        return above[rank]

    ranks: dict[str, set[int]] = {}
    rows = [(i, of_hop[hop]) for i, hop in zip(ids, hops, strict=True)]
    for i, finding in rows:
        if finding is not None:
            ranks.setdefault(i, set()).add(finding.rank)
    return [f is None or explaining(f.rank).isdisjoint(ranks[i]) for i, f in rows]


def reused(ids: Any, lines: Any, first: Any, last: Any) -> Any:
    """Which hops are of an id that is no request's own, by the bounds of `Requests`: numpy arrays, an element for each hop.

    ids are numbers from 0, `lines` how many each hop has, `first` and `last` seconds since 1970.
    """
    import numpy as np

    long = last - first > np.where(lines <= FEW_TRIES, MAX_SECONDS, TRIES_SECONDS)
    count = int(ids.max(initial=-1)) + 1
    begin, end = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(begin, ids, first)
    np.maximum.at(end, ids, last)
    several = (np.bincount(ids, minlength=count) > MAX_HOPS) | (end - begin > MAX_SECONDS)
    several |= np.bincount(ids, (lines > MAX_TRIES) | long, count) > 0
    return several[ids]
