"""Questions asked of a frame again and again: which edges fail, how often in a minute, how slow, what happened when.

Functions of a frame and a catalogue, vectorised; `accessor.Mesh` documents them. What they return has the same columns and
types for every frame, an empty one too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis.subjects import workload_of
from meshdiag.formats.access import NAME as ACCESS_LOG
from meshdiag.framing.traffic import OUTCOME, Array, by_value, calls, failed, narrowed, need, requests, unrecognised
from meshdiag.model import MeshdiagError

MAX_CELLS: Final = 2_000_000
"""Intervals times groups of a rate: one wrong clock must not fill the memory with empty minutes."""

QUIET: Final = "3min"
"""Between two records of one cause: a longer pause begins a new line of the timeline."""

_TEXT_CHARS: Final = 160
_UPGRADED: Final = 101
_TIME: Final = "datetime64[us, UTC]"
_MOST: Final = np.iinfo(np.int64).max


# --- edges --------------------------------------------------------------------------------------------------------

_EDGES: Final = {
    "source": "str",
    "destination": "str",
    "requests": "int64",
    "failed": "int64",
    "share": "float64",
    "rate": "float64",
    "client": "int64",
    "server": "int64",
    "bytes_received": "int64",
    "bytes_sent": "int64",
    "p50": "float64",
    "p90": "float64",
    "p99": "float64",
    "first": _TIME,
    "last": _TIME,
}
_ERRORS: Final = {
    "source": "str",
    "destination": "str",
    "requests": "int64",
    "failed": "int64",
    "share": "float64",
    "cause": "str",
    "flags": "str",
    "first": _TIME,
    "last": _TIME,
}


def edges(frame: pd.DataFrame, catalogue: Catalogue) -> pd.DataFrame:
    """See `Mesh.edges`."""
    rows, side = _sides(narrowed(frame, ("time", "bytes_received", "bytes_sent", *_SLOWNESS), "edges()"), catalogue)
    table, counted = _counted(rows, side)
    some, group = rows[counted], side["edge"].to_numpy()[counted]
    by = some.groupby(group)
    seconds = (rows["time"].max() - rows["time"].min()).total_seconds() if rows["time"].notna().any() else 0.0
    table["rate"] = table["requests"] / seconds if seconds else np.nan
    for name in ("bytes_received", "bytes_sent"):
        table[name] = _summed(some[name], by.ngroup().to_numpy(), len(table))
    table[["p50", "p90", "p99"]] = _quantiles(_milliseconds(some, "duration"), group, len(table), (50, 90, 99))
    table[["first", "last"]] = by["time"].agg(["min", "max"])
    table = table.sort_values(["requests", "source", "destination"], ascending=[False, True, True])
    return _typed(table, _EDGES)


def errors_by_edge(frame: pd.DataFrame, catalogue: Catalogue) -> pd.DataFrame:
    """See `Mesh.errors_by_edge`."""
    rows, side = _sides(narrowed(frame, ("time",), "errors_by_edge()"), catalogue)
    table, counted = _counted(rows, side)
    bad = side["failed"].to_numpy()
    own = side["edge"][bad & counted]
    table[["first", "last"]] = rows["time"][bad & counted].groupby(own).agg(["min", "max"])
    said = pd.DataFrame(
        {"edge": side["edge"], "cause": rows["cause"].astype("str"), "flags": rows["response_flags"].astype("str")}
    )
    causes, others = _top(said[bad & counted], "cause"), _top(said[bad & ~counted], "cause")
    relayed = {c.id: c.relayed for c in catalogue.causes.values()}
    client, server = causes.reindex(table.index), others.reindex(table.index)
    # what the client only relays the server knows better; but of a client that it lost it knows nothing
    better = client.map(relayed).eq("upstream") & server.notna() & server.map(relayed).ne("downstream")
    table["cause"] = client.mask(better, server)
    of_cause = said["cause"].fillna("") == said["edge"].map(table["cause"]).fillna("")
    table["flags"] = _top(said[bad & of_cause & said["flags"].notna()], "flags")
    table = table[table["failed"] > 0].sort_values(
        ["failed", "share", "source", "destination"], ascending=[False, False, True, True]
    )
    return _typed(table, _ERRORS)


def _sides(frame: pd.DataFrame, catalogue: Catalogue) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The requests; and of each its ends, whether it is the client's word, whether it failed, and the number of its edge."""
    rows = frame[requests(frame)].reset_index(drop=True)
    side = calls(rows)
    side["failed"] = failed(rows, catalogue)
    side["edge"] = side.groupby(["source", "destination"], observed=True, dropna=False).ngroup()
    return rows, side


def _counted(rows: pd.DataFrame, side: pd.DataFrame) -> tuple[pd.DataFrame, Array]:
    """A row for each edge with its counts; and which requests they count: the client's, or the server's where there are none."""
    by = side.groupby("edge")
    table = by[["source", "destination"]].first()
    table["client"] = by["client"].sum()
    table["server"] = by.size() - table["client"]
    counted = side["client"].to_numpy(bool) | (side["edge"].map(table["client"]) == 0).to_numpy(bool)
    of = side[counted].groupby("edge")
    table["requests"], table["failed"] = of.size(), of["failed"].sum()
    table["share"] = table["failed"] / table["requests"]
    return table, counted


def _top(said: pd.DataFrame, name: str) -> pd.Series[Any]:
    """Of each edge the most frequent value of a column, the first by name of several."""
    counts = said.groupby(["edge", name], dropna=False).size().rename("n").reset_index()
    counts = counts.sort_values(["edge", "n", name], ascending=[True, False, True])
    return counts.drop_duplicates("edge").set_index("edge")[name]


def _summed(column: pd.Series[Any], group: Array, groups: int) -> Array:
    """Sums of integers; the greatest there is where they would be more (a log may say anything)."""
    values = pd.to_numeric(column).fillna(0).to_numpy(np.int64)
    sums = np.zeros(groups, np.int64)
    np.add.at(sums, group, values)
    about = np.bincount(group, values.astype(float), groups)
    return np.where(about >= float(_MOST), _MOST, sums)


def _typed(table: pd.DataFrame, types: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({n: table[n].astype(t) for n, t in types.items()}).reset_index(drop=True)


# --- rate ---------------------------------------------------------------------------------------------------------


def rate(frame: pd.DataFrame, catalogue: Catalogue, every: str, by: str | Sequence[str] | None) -> pd.DataFrame:
    """See `Mesh.rate`."""
    width, names = _width(every), _listed(by)
    need(frame, ("time", *OUTCOME, *names), "rate()")
    bad = failed(frame, catalogue)
    which = requests(frame) & frame["time"].notna().to_numpy(bool)
    rows, bad = frame[[*dict.fromkeys(("time", *names))]][which], bad[which]
    at = _microseconds(rows["time"]) // width
    first, last = (int(at.min()), int(at.max())) if len(at) else (0, -1)
    groups, keys = _grouped([rows[n] for n in names])
    cells = (last - first + 1) * max(1, len(keys))
    if cells > MAX_CELLS:
        raise MeshdiagError(
            f"rate({every!r}) from {_iso(first * width)} to {_iso(last * width)} would have {cells:,} values: "
            f"filter the frame by time, or take a longer interval{' or fewer groups' if names else ''}"
        )
    index = pd.DatetimeIndex((np.arange(first, last + 1) * width).view("M8[us]"), freq=None, name="time").tz_localize(
        "UTC"
    )
    spot = (at - first) * len(keys) + groups
    shape = len(index), len(keys)
    total = np.bincount(spot, minlength=cells)[:cells].reshape(shape)
    bads = np.bincount(spot[bad], minlength=cells)[:cells].reshape(shape)
    with np.errstate(invalid="ignore"):
        share = bads / total
    parts = {"requests": total, "failed": bads, "share": share}
    if not names:
        out = pd.DataFrame({n: part[:, 0] for n, part in parts.items()}, index=index)
    else:
        made = {n: pd.DataFrame(part, index=index, columns=keys) for n, part in parts.items()}
        out = pd.concat(made, axis=1, names=["value", *names])
    out.attrs["untimed"] = int(np.count_nonzero(requests(frame))) - len(rows)
    return out


def _width(every: str) -> int:
    """Microseconds of an interval."""
    try:
        width = pd.Timedelta(every) // pd.Timedelta(microseconds=1)
    except (ValueError, TypeError) as e:
        raise MeshdiagError(f"{every!r} is no interval: write it as '1min', '10s' or '1h'") from e
    if not width >= 1:  # not a time is NaN here
        raise MeshdiagError(f"{every!r} is no interval: it must be longer than nothing")
    return int(width)


def _listed(by: str | Sequence[str] | None) -> list[str]:
    return [] if by is None else [by] if isinstance(by, str) else list(by)


def _microseconds(times: pd.Series[Any]) -> Array:
    return times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("M8[us]").view(np.int64)


def _iso(microseconds: int) -> str:
    return f"{np.datetime64(microseconds, 'us')}Z".replace(".000000Z", "Z")


def _grouped(columns: Sequence[pd.Series[Any]]) -> tuple[Array, pd.Index[Any]]:
    """Of each row the number of its group, and the groups in order. What is missing is `-`, as Envoy writes it."""
    if not columns:
        return 0, pd.RangeIndex(1)
    plain = pd.DataFrame({str(c.name): _spelt(c) for c in columns})
    by = plain.groupby([*plain.columns], dropna=False)
    keys = by.size().index
    return by.ngroup().to_numpy(), keys


def _spelt(column: pd.Series[Any]) -> pd.Series[Any]:
    """Texts with `-` where there is none; numbers and truths as they are."""
    if isinstance(column.dtype, pd.CategoricalDtype) or not pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype("str").fillna("-")
    return column


# --- latency ------------------------------------------------------------------------------------------------------

_SLOWNESS: Final = ("duration", "response_code", "method")


def latency(frame: pd.DataFrame, by: str | Sequence[str] | None, percentiles: Sequence[float]) -> pd.DataFrame:
    """See `Mesh.latency`."""
    names = _listed(by)
    wanted = [*dict.fromkeys(("kind", *_SLOWNESS, "upstream_service_time", *names))]
    need(frame, wanted, "latency()")
    if wrong := [p for p in percentiles if not 0 <= p <= 100]:
        raise MeshdiagError(f"{wrong[0]} is no percentile: it is a number from 0 to 100")
    rows = frame[wanted][requests(frame)]
    whole = _milliseconds(rows, "duration")
    rows, whole = rows[~np.isnan(whole)], whole[~np.isnan(whole)]
    group, keys = _grouped([rows[n] for n in names])
    group = np.broadcast_to(group, len(rows))
    out = pd.DataFrame(index=keys if names else pd.RangeIndex(1))
    out["count"] = np.bincount(group, minlength=len(out))
    labels = [f"p{p:g}" for p in percentiles]
    out[labels] = _quantiles(whole, group, len(out), percentiles)
    out["max"] = _quantiles(whole, group, len(out), (100,))
    upstream = _milliseconds(rows, "upstream_service_time")
    out[[f"upstream_{n}" for n in labels]] = _quantiles(upstream, group, len(out), percentiles)
    return out.sort_values([*labels[-1:], "count"], ascending=False, kind="stable")


def _milliseconds(rows: pd.DataFrame, name: str) -> Array:
    """Of each request; NaN for what is no answer's time: a TCP connection's, a WebSocket's, an unknown one."""
    code = pd.to_numeric(rows["response_code"]).fillna(0).to_numpy(np.int64)
    connection = ((code == 0) & rows["method"].isna().to_numpy(bool)) | (code == _UPGRADED)
    return np.where(connection, np.nan, pd.to_numeric(rows[name]).astype("Float64").to_numpy(float, na_value=np.nan))


def _quantiles(values: Array, group: Array, groups: int, percentiles: Iterable[float]) -> Array:
    """A row for each group, a column for each percentile (linear between neighbours); NaN without values."""
    levels = [p / 100 for p in percentiles]
    found = pd.Series(values).groupby(np.asarray(group)).quantile(levels)
    out = np.full((groups, len(levels)), np.nan)
    if len(found):
        rows = found.index.get_level_values(0).to_numpy(int)
        out[rows, np.tile(np.arange(len(levels)), len(rows) // len(levels))] = found.to_numpy(float)
    return out


# --- timeline -----------------------------------------------------------------------------------------------------

_TIMELINE: Final = {
    "time": _TIME,
    "last": _TIME,
    "namespace": "str",
    "workload": "str",
    "pod": "str",
    "kind": "str",
    "cause": "str",
    "count": "int64",
    "what": "str",
    "text": "str",
}
_PLACE: Final = ("path", "namespace", "pod", "workload", "object_kind", "object", "object_namespace")
_STARTS: Final = "\0starts"
"""Stands for all milestones of a start that have no cause."""

_SAYS: Final = ("message", "error", "method", "request_path", "response_code_details")


def timeline(frame: pd.DataFrame, catalogue: Catalogue, quiet: str) -> pd.DataFrame:
    """See `Mesh.timeline`."""
    pause = _width(quiet)
    need(frame, ("time", *OUTCOME, *_PLACE, *_SAYS, "level", "type"), "timeline()")
    pattern = frame["pattern"].astype("str")
    steps = {p.id: p.milestone.partition("-")[2] for p in catalogue.by_id.values() if p.milestone}
    changes = {p.id: p.change for p in catalogue.by_id.values() if p.change}
    told = (frame["cause"].notna() | pattern.isin([*steps, *changes])).to_numpy(bool) | unrecognised(frame)
    timed = frame["time"].notna().to_numpy(bool)
    rows = frame[told & timed].reset_index(drop=True)
    cause, pattern = rows["cause"].astype("str"), rows["pattern"].astype("str")
    namespace, pod, workload = _about(rows)
    step = pattern.map(steps).astype("str").mask(cause.notna())
    what = cause.fillna(pattern.map(changes).astype("str")).fillna(step.mask(step.notna(), _STARTS)).fillna("")
    place = pod.fillna(workload).fillna(rows["path"].astype("str"))
    key = pd.DataFrame({"namespace": namespace, "place": place, "what": what}).groupby(
        ["namespace", "place", "what"], dropna=False, sort=False
    )
    group, at = key.ngroup().to_numpy(), _microseconds(rows["time"])
    order = np.lexsort((at, group))
    group, at = group[order], at[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (group[1:] != group[:-1]) | (at[1:] - at[:-1] > pause)
    starts = np.flatnonzero(begins)
    run = np.cumsum(begins) - 1
    ends = np.append(starts, len(order))[1:] - 1
    first = order[starts]
    titles = {c.id: c.title for c in catalogue.causes.values()}
    kinds = {c.id: c.kind.value for c in catalogue.causes.values()}
    cause, pattern, what = cause.iloc[first], pattern.iloc[first], what.iloc[first]
    kind = cause.map(kinds).astype("str").mask(cause.notna() & ~cause.isin([*kinds]), "failure")
    kind = kind.mask(what == _STARTS, "milestone").mask(cause.isna() & pattern.isin([*changes]), "change")
    said = what.map(titles).astype("str").fillna(what).mask(what == "", "known to no pattern").reset_index(drop=True)
    said = said.mask(what.eq(_STARTS).array, _joined(run, step.iloc[order]))
    table = pd.DataFrame(
        {
            "time": rows["time"].iloc[first].array,
            "last": rows["time"].iloc[order[ends]].array,
            **{n: c.iloc[first].array for n, c in (("namespace", namespace), ("workload", workload), ("pod", pod))},
            "kind": kind.fillna("unrecognised").array,
            "cause": cause.array,
            "count": ends - starts + 1,
            "what": said.array,
            "text": _words(rows.iloc[first]).array,
        }
    ).sort_values(["time", "last"], kind="stable")
    out = _typed(table, _TIMELINE)
    out.attrs["untimed"] = int(np.count_nonzero(told & ~timed))
    return out


def _joined(run: Array, steps: pd.Series[Any]) -> pd.Series[Any]:
    """The milestones of each run, in order."""
    some = pd.DataFrame({"run": run, "step": steps.array}).dropna().drop_duplicates()
    return some.groupby("run")["step"].agg(", ".join).astype("str")


def _about(rows: pd.DataFrame) -> tuple[pd.Series[Any], pd.Series[Any], pd.Series[Any]]:
    """Namespace, pod and workload that rows are about: an event and an analysis name the object themselves."""
    named = rows["object"].notna() & rows["kind"].isin(["event", "analysis"])
    of_pod = named & rows["object_kind"].astype("str").str.lower().eq("pod")
    own, thing = {n: rows[n].astype("str") for n in ("namespace", "pod", "workload")}, rows["object"].astype("str")
    pod = own["pod"].mask(named, thing.where(of_pod))
    workload = own["workload"].mask(named, thing.mask(of_pod, by_value(thing, workload_of)))
    return own["namespace"].mask(named, rows["object_namespace"].astype("str").fillna(own["namespace"])), pod, workload


def _words(rows: pd.DataFrame) -> pd.Series[Any]:
    """What each record says, short: the first line of its message, or request and answer."""
    said = rows["error"].astype("str").fillna(rows["message"].astype("str"))
    said = said.str.replace(r"\n.*", "", regex=True, flags=re.DOTALL)
    parts = [
        rows[n].astype("str")
        for n in ("method", "request_path", "response_code", "response_flags", "response_code_details")
    ]
    access = parts[0].fillna("").str.cat([p.fillna("") for p in parts[1:]], sep=" ")
    text = said.mask(rows["kind"].eq(ACCESS_LOG), access).str.replace(r"[\x00-\x1f\x7f-\x9f ]+", " ", regex=True)
    return text.str.strip().str.slice(0, _TEXT_CHARS)
