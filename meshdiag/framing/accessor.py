"""`df.mesh`: a frame that was filtered by hand is diagnosed again, and asked.

To diagnose them the rows are written as lines again, at their offsets, and the engine reads them as it reads a file: so the
findings are those of the lines, whatever was filtered. With the column `text` the lines are as they were. Without it those of an
access log are made of their columns.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from meshdiag.api import Setup
from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import Diagnosis, Findings
from meshdiag.engine.classify import Classifier
from meshdiag.engine.scan import BLOCK, Filters, Scanner
from meshdiag.formats.access import DERIVED, NAME, NEWEST_FIELDS, newest
from meshdiag.framing import analysis, joining, traffic
from meshdiag.framing.columns import ACCESS_COLUMNS
from meshdiag.model import MeshdiagError, Origin, Problem

_ORIGIN: Final = ("path", "cluster", "namespace", "pod", "container", "previous")
_NEEDED: Final = ("kind", "time", "path", "offset", "namespace", "pod", "container")
_SUBJECT: Final = frozenset(
    {"method", "protocol", "response_code", "response_flags", "request_id", "authority", "upstream_host"}
    | {"upstream_cluster", "upstream_local_address", "downstream_local_address", "requested_server_name", "route_name"}
)
"""Fields of an access log that tell what a finding is about, which requests failed, and by which pattern."""

_OWN_FIELDS: Final = tuple(n for n in NEWEST_FIELDS if n != "start_time")
_GAP: Final = 1 << 16
"""Bytes between two rows beyond which a new block begins."""


class Mesh:
    """The accessor `df.mesh`, for whole frames and filtered ones, and for chunks put together with `pd.concat`.

    Tables have the same columns and types for every frame, an empty one too. All methods raise MeshdiagError naming the columns that
    the frame lacks. Where a method takes a `catalogue` it is the one that the frame was made with; without one it is the
    built-in one with the user's own packs, and a cause that it does not know counts as a failure.

    A **request** is a row of an access log, or a connection of ztunnel. It **failed** when its cause is of the kind failure; or when no
    pattern knows it and it has a response flag, a status of 500 or above, or (ztunnel) the level error. A 404 of the application
    did not fail, a 404 that Envoy gave for want of a route did.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def diagnose(
        self,
        *,
        patterns: Sequence[str | os.PathLike[str]] = (),
        access_log_format: str | None = None,
        catalogue: Catalogue | None = None,
        pure: bool = False,
    ) -> Diagnosis:
        """Diagnose the rows: of all rows of a file the findings are those of the file.

        The options are those of `diagnose`. Needs the columns that say what a record is and where it stands, and the column `text`
        (`frame(..., text=True)`) or, of an access log, the columns that patterns look at: MeshdiagError names what is missing.
        """
        book = catalogue or Catalogue.load(*patterns)
        setup = Setup(tuple(os.fspath(p) for p in patterns), access_log_format, Filters(), pure)
        scanner = setup.scanner(book)
        frame = self._frame
        _check(frame, scanner)
        found = Findings()
        for origin, rows in _origins(frame):
            _scan(scanner, origin, rows, found)
        problems = frozenset(Problem(**p) for p in frame.attrs.get("problems", ()))
        return Diagnosis(Findings() + found + Findings(problems=problems), book)

    def failed(self, *, catalogue: Catalogue | None = None) -> pd.Series[bool]:
        """Of each row whether it is a request that failed: `df[df.mesh.failed()]`."""
        return pd.Series(traffic.failed(self._frame, _book(catalogue)), index=self._frame.index, name="failed")

    def edges(self, *, catalogue: Catalogue | None = None) -> pd.DataFrame:
        """Who called whom: a row for each source and destination, the busiest first.

        source, destination   named as findings name them: `shop/cart`, `orders.shop.svc.cluster.local:8080`
        requests, failed      how many, and how many of them failed; share: failed / requests
        rate                  requests per second of the time from the first request of the frame to its last
        client, server        how many rows the client's proxy wrote, and the server's
        bytes_received, bytes_sent   bodies of requests and of answers (of connections: all bytes)
        p50, p90, p99         milliseconds to the last byte, failed ones too; missing for TCP and for ztunnel
        first, last           UTC

        A request stands in two logs, so it is counted in one: where the client's proxy wrote anything about an edge, its rows are
        counted, else the server's. More rows of the server's than of the client's are tries: a client's proxy writes one
        row for a request and its retries.

        The server's proxy does not know who called it as what. That is told, the surest first, by the connection that it has in
        common with a client's row, the SNI, the address of the endpoint, the request id, the address of the client's pod. What
        none tells is not guessed: the destination is then the workload and the source missing. A request that got
        no further than the proxy that logged it has that workload as its destination.
        """
        return analysis.edges(self._frame, _book(catalogue))

    def errors_by_edge(self, *, catalogue: Catalogue | None = None) -> pd.DataFrame:
        """The edges on which requests failed, most failures first. Requests are counted as `edges` does.

        source, destination, requests, failed, share   as `edges` has them
        cause, flags   the most frequent cause of these failures, and the most frequent response flags of it. Where the client only
                       relays what came back (`app-error`), it is the server's own, where its log has one.
        first, last    of the failures (UTC)

        A try that failed and a later one made good is no failed request of the client.
        """
        return analysis.errors_by_edge(self._frame, _book(catalogue))

    def rate(
        self, every: str = "1min", *, by: str | Sequence[str] | None = None, catalogue: Catalogue | None = None
    ) -> pd.DataFrame:
        """Requests, failures and their share in each interval, from the first to the last; those without requests have zeros.

        every   length of an interval: `10s`, `1min`, `1h`; they begin at round times of UTC
        by      a column, or several: then the columns are (value, group), so that `rate(by="cause")["failed"]` has one for each
                cause. Where texts are missing the group is `-`.

        The index is `time`, the begin; the columns `requests`, `failed` (int64) and `share` (float64, missing without requests). Rows
        are counted as the proxies wrote them, so a request counts at every hop that logged it; of one side only:
        `df[df.direction == "outbound"].mesh.rate()`. `attrs["untimed"]` says how many requests have no time and are in none.
        Raises MeshdiagError for what is no interval and for more than 2,000,000 values.
        """
        return analysis.rate(self._frame, _book(catalogue), every, by)

    def latency(
        self, *, by: str | Sequence[str] | None = "destination_host", percentiles: Sequence[float] = (50, 90, 95, 99)
    ) -> pd.DataFrame:
        """How long requests took, in milliseconds: a row for each group, the slowest by the highest percentile first.

        by            a column, or several; None for all together. `-` are those where it is missing: with the default those that
                      servers logged, which have no destination
        count         requests whose time is known
        p50, …, max   `duration`: from the first byte in to the last byte out (float64, interpolated)
        upstream_p50, …   `upstream_service_time`: of that until the upstream's headers came back; only of requests that it answered

        TCP connections, WebSockets and ztunnel's connections are left out: how long they live is no latency. Filter what failed
        with `df[~df.mesh.failed()]`: what is refused is fast.
        """
        return analysis.latency(self._frame, by, percentiles)

    def timeline(self, *, quiet: str = analysis.QUIET, catalogue: Catalogue | None = None) -> pd.DataFrame:
        """What happened when: a row for each time that a pod begins to say something, in order.

        Records of one cause in one pod are one row, until none comes for `quiet` (3 minutes).

        time, last                 of the first and the last of them (UTC); count: how many
        namespace, workload, pod   who says so, or, of events and analysis, what it is about
        kind    `failure`, `benign` or `healthy`, of the cause; `milestone`: steps of a start; `change`: somebody changed something;
                `unrecognised`: alarming, and known to no pattern
        cause   missing for the last three kinds
        what    in plain words; text: what the first record says, in at most 160 characters, not redacted

        `attrs["untimed"]` says how many records have no time and are left out.
        """
        return analysis.timeline(self._frame, _book(catalogue), quiet)

    def requests(self, *, failures: bool = True, catalogue: Catalogue | None = None) -> pd.DataFrame:
        """Requests followed from proxy to proxy by `x-request-id`: a row for each hop, the outermost first.

        failures   only requests of which a hop failed

        The index is `request_id` and `hop` (from 1). A hop is one pod's view: as the `server` (what it received) or the `client`
        (what it called); a hop with several rows tried several times.

        time           of its first row (UTC); lines: how many rows; failed: how many of them failed
        depth          how many hops are known to be above it
        side, source, destination, pod   as `edges` has them
        method, request_path, response_code, response_flags   of its last row
        cause          of its last row that failed
        duration       milliseconds from its first row's begin to the end of the last to end
        root           where it began: the innermost failing hop that did not just relay what came from within (`via_upstream`)
                       or lose its client (`DC`)

        Which hop is above which is told by the connection, the destination, and the order in one pod; what these do not tell stands
        by its time. Ids that are no request's own are left out: in more than 24 places, on more than 50 lines of one hop, on more
        than 5 lines over 20 seconds, over 15 minutes, or longer than 128 characters. `attrs` has `reused_ids` and
        `reused_lines`, and `without_id`: rows without a usable id or without a time.
        """
        return joining.requests(self._frame, _book(catalogue), failures)


def _book(catalogue: Catalogue | None) -> Catalogue:
    return catalogue or Catalogue.load()


def register() -> None:
    """Gives every DataFrame `mesh`."""
    if not hasattr(pd.DataFrame, "mesh"):
        pd.api.extensions.register_dataframe_accessor("mesh")(Mesh)


def _check(frame: pd.DataFrame, scanner: Scanner) -> None:
    if lost := [n for n in _NEEDED if n not in frame.columns]:
        raise MeshdiagError(f"the frame has no column {', '.join(lost)}: without it its rows cannot be diagnosed")
    if lost := [n for n in ("kind", "offset") if frame[n].isna().any()]:
        raise MeshdiagError(f"some rows have no {' and no '.join(lost)}: without it they cannot be diagnosed")
    traffic.need(frame, ["time"], "diagnose()")
    if "text" in frame.columns:
        if frame["text"].isna().any():
            hint = "make all of them with frame(..., text=True), or drop the column"
            raise MeshdiagError(f"some rows have no text: {hint}")
        return
    whole = (frame["kind"] == NAME) & (frame["unparsed"].isna() if "unparsed" in frame.columns else True)
    if not whole.all():
        kinds = sorted({str(k) for k in frame.loc[~whole, "kind"].dropna()})
        raise MeshdiagError(
            f"the frame has no column text, which rows of {', '.join(kinds)} need: make it with frame(..., text=True)"
        )
    asked = {ACCESS_COLUMNS[f] for f in _asked(scanner.classifier) | _SUBJECT if f in ACCESS_COLUMNS}
    if lost := sorted(asked - {*frame.columns}):
        raise MeshdiagError(f"the frame has no column text, so it needs {', '.join(lost)} to be diagnosed")


def _asked(classifier: Classifier) -> set[str]:
    """The fields that patterns of an access log look at, by the names that a line has."""
    names, outcomes = classifier.depends_on(NAME)
    return {source for n in (*names, *(n for n, _ in outcomes)) for source in DERIVED.get(n, (n,))} & {*_OWN_FIELDS}


def _origins(frame: pd.DataFrame) -> Iterator[tuple[Origin, pd.DataFrame]]:
    """The rows of each origin, in the order of the file."""
    names = [n for n in _ORIGIN if n in frame.columns]
    for key, rows in frame.groupby(names, observed=True, dropna=False, sort=False):
        values = {n: v for n, v in zip(names, key, strict=True) if not pd.isna(v)}
        values["path"] = values.get("path", "")
        yield Origin(**values), rows.sort_values("offset", kind="stable")


def _scan(scanner: Scanner, origin: Origin, rows: pd.DataFrame, found: Findings) -> None:
    part = scanner.part(origin, found)
    block, base = bytearray(), 0
    lines = _lines(rows, scanner)
    for offset, line in zip(rows["offset"].tolist(), lines, strict=True):
        gap = offset - base - len(block)
        if block and (gap < 0 or gap > _GAP or len(block) + len(line) > BLOCK):
            part.process(block, len(block), base)
            block, gap = bytearray(), 0
        if not block:
            base, gap = offset, 0
        block += b"\n" * gap
        block += line
        block += b"\n"
        found.bytes += len(line) + 1
        found.lines += line.count(b"\n") + 1
    if block:
        part.process(block, len(block), base, last=True)
    part.finish()


# --- rows to lines ------------------------------------------------------------------------------------------------


def _lines(rows: pd.DataFrame, scanner: Scanner) -> Iterator[bytes]:
    if "text" not in rows.columns:
        yield from _access_lines(rows)
        return
    for kind, text, time in zip(rows["kind"], rows["text"], rows["time"].dt.tz_convert("UTC"), strict=True):
        if kind != NAME or newest(text) is None:
            text = _timed(text, time, scanner)
        yield text.encode("utf-8", "replace")


def _timed(text: str, time: pd.Timestamp, scanner: Scanner) -> str:
    """The text, behind the time that only its wrapper told."""
    if time is pd.NaT or scanner.parse(text).time is not None:
        return text
    head = f"{time.isoformat().replace('+00:00', 'Z')} stdout F "
    return "\n".join(head + line for line in text.split("\n"))


def _access_lines(rows: pd.DataFrame) -> Iterator[bytes]:
    """Lines of today's default format; JSON where a value would not be read again as it is."""
    columns = [ACCESS_COLUMNS[f] for f in _OWN_FIELDS]
    values = [_texts(rows[c]) if c in rows.columns else ["-"] * len(rows) for c in columns]
    others = rows["fields"] if "fields" in rows.columns else [None] * len(rows)
    for time, other, *own in zip(_times(rows["time"]), others, *values, strict=True):
        start, *fields = time, *own
        line = _FORM % (start, *fields)
        match = newest(line) if not isinstance(other, str) else None
        if match is None or match.groups() != (start, *fields):
            members = dict(zip(NEWEST_FIELDS, (start, *fields), strict=True))
            line = json.dumps({**(json.loads(other) if isinstance(other, str) else {}), **members})
        yield line.encode("utf-8", "replace")


_FORM: Final = '[%s] "%s %s %s" %s %s %s %s "%s" %s %s %s %s "%s" "%s" "%s" "%s" "%s" %s %s %s %s %s %s'


def _texts(column: pd.Series[Any]) -> list[str]:
    """As Envoy writes them: `-` for what is missing."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        words = [*column.cat.categories.astype(str), "-"]
        return [words[c] for c in column.cat.codes]
    return ["-" if v is pd.NA or v != v else str(v) for v in column.tolist()]


def _times(column: pd.Series[Any]) -> list[str]:
    utc = column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("M8[us]")
    return ["-" if t == "NaT" else f"{t.removesuffix('000')}Z" for t in np.datetime_as_string(utc, unit="us").tolist()]
