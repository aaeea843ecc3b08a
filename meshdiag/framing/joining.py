"""Requests followed from proxy to proxy by `x-request-id`: their hops in order, and where they began to fail.

Anybody can send an id, so an id says nothing on its own: one that stands in too many places, on too many lines or over too long a
time is no request's own and joins nothing (the bounds are those of a diagnosis).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis.requests import ID_LIMIT, MAX_HOPS
from meshdiag.diagnosis.tabular import reused
from meshdiag.formats.access import NAME as ACCESS_LOG
from meshdiag.framing.traffic import Array, calls, failed, narrowed
from meshdiag.framing.traffic import requests as are_requests

_TIME: Final = "datetime64[us, UTC]"
_TYPES: Final = {
    "time": _TIME,
    "depth": "int64",
    "side": "str",
    "source": "str",
    "destination": "str",
    "pod": "str",
    "method": "str",
    "request_path": "str",
    "response_code": "Int64",
    "response_flags": "str",
    "cause": "str",
    "lines": "int64",
    "failed": "int64",
    "duration": "Int64",
    "root": "bool",
}
_SAID: Final = ("method", "request_path", "response_code", "response_flags")


def requests(frame: pd.DataFrame, catalogue: Catalogue, failures: bool) -> pd.DataFrame:
    """See `Mesh.requests`."""
    some = narrowed(frame, ("time", "path", "offset", "duration", *_SAID), "requests()")
    rows = some[are_requests(some) & some["kind"].eq(ACCESS_LOG).to_numpy(bool)].reset_index(drop=True)
    rows = rows.assign(bad=failed(rows, catalogue), **calls(rows))
    usable = rows["request_id"].notna() & rows["time"].notna() & (rows["request_id"].str.len() <= ID_LIMIT)
    attrs = {"without_id": int((~usable).sum())}
    rows = rows[usable]
    if failures:
        rows = rows[rows["request_id"].isin(rows["request_id"][rows["bad"]])]
    rows = rows.assign(path=rows["path"].astype("str")).sort_values(["time", "path", "offset"], ignore_index=True)
    rows["id"] = pd.factorize(rows["request_id"])[0]
    # a pod that was deleted and one that is known by its file only are places, too
    place = (
        rows["namespace"].astype("str").fillna("") + "/" + rows["pod"].astype("str").fillna(rows["path"].astype("str"))
    )
    rows["place"] = pd.factorize(place)[0]
    rows["end"] = rows["time"] + pd.to_timedelta(
        pd.to_numeric(rows["duration"]).astype("Float64").fillna(0).clip(0, 1e9), "ms"
    )
    keys = ["id", "place", "client", "destination"]
    rows["hop"] = rows.groupby(keys, observed=True, dropna=False, sort=False).ngroup()
    by = rows.groupby("hop")
    hops = rows.drop_duplicates("hop").set_index("hop")[[*keys, "source", "request_id", "time"]]
    hops["end"], hops["latest"], hops["lines"], hops["failed"] = (
        by["end"].max(),
        by["time"].max(),
        by.size(),
        by["bad"].sum(),
    )
    own = ~reused(hops["id"].to_numpy(), hops["lines"].to_numpy(), _seconds(hops["time"]), _seconds(hops["latest"]))
    attrs |= {
        "reused_ids": int(hops.loc[~own, "id"].nunique()),
        "reused_lines": int(hops.loc[~own, "lines"].sum()),
    }
    hops = hops[own]
    rows = rows[own[rows["hop"].to_numpy()]]
    last, bad = rows.drop_duplicates("hop", keep="last"), rows[rows["bad"]].drop_duplicates("hop", keep="last")
    hops[[*_SAID, "pod"]] = last.set_index("hop")[[*_SAID, "pod"]]
    hops["cause"] = bad.set_index("hop")["cause"].astype("str")
    hops = _ordered(hops, rows, catalogue)
    hops["side"] = np.where(hops["client"], "client", "server")
    hops["duration"] = ((hops["end"] - hops["time"]) // pd.Timedelta("1ms")).astype("Int64")
    out = pd.DataFrame({n: hops[n].astype(t) for n, t in _TYPES.items()})
    out.index = pd.MultiIndex.from_arrays(
        [hops["request_id"].astype("str"), hops.groupby("id").cumcount() + 1], names=["request_id", "hop"]
    )
    out.attrs.update(attrs)
    return out


def _seconds(times: pd.Series[Any]) -> Array:
    return times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("M8[us]").view(np.int64) / 1e6


def _ordered(hops: pd.DataFrame, rows: pd.DataFrame, catalogue: Catalogue) -> pd.DataFrame:
    """The hops of each request from the outermost inwards, with `depth` and `root`; the requests in order of time."""
    number = pd.Series(np.arange(len(hops)), hops.index)
    rows = rows.assign(hop=number.loc[rows["hop"]].to_numpy())
    hops = hops.reset_index(drop=True)
    above, depth, top = _tree(_above(hops, rows))
    hops = hops.assign(above=above, depth=depth, tree=hops["time"].to_numpy()[top], number=np.arange(len(hops)))
    hops["began"] = hops.groupby("id")["time"].transform("min")
    hops = hops.sort_values(["began", "id", "tree", "depth", "time"], kind="stable")
    back = np.empty(len(hops), np.int64)
    back[hops["number"].to_numpy()] = np.arange(len(hops))
    above = hops["above"].to_numpy()
    hops["root"] = _roots(hops, np.where(above >= 0, back[above], -1), catalogue)
    return hops


def _above(hops: pd.DataFrame, rows: pd.DataFrame) -> Array:
    """The hop above each, by its number; -1 where none is known.

    Of what a server received it is the client's call: by the connection, else by the destination. Of a call it is what the same pod
    received before (one clock), else, as through a gateway between clusters, an earlier call to the same destination.
    """
    above = np.full(len(hops), -1)
    client = hops["client"].to_numpy(bool)
    numbered = hops.assign(hop=np.arange(len(hops)))
    sent, received = rows[rows["client"]], rows[~rows["client"]]
    connections = (
        sent[["id", "upstream_local_address", "hop"]].dropna().drop_duplicates(["id", "upstream_local_address"])
    )
    found = received[["id", "downstream_remote_address", "hop"]].merge(
        connections,
        left_on=["id", "downstream_remote_address"],
        right_on=["id", "upstream_local_address"],
        suffixes=("", "_above"),
    )
    _fill(above, found)
    servers, clients = numbered[~client], numbered[client]
    columns = ["id", "place", "destination", "time", "hop"]
    pairs = servers.loc[above[servers["hop"]] < 0, columns].merge(
        clients[columns].dropna(), on=["id", "destination"], suffixes=("", "_above")
    )
    _fill(above, pairs[pairs["place"] != pairs["place_above"]])
    pairs = clients[columns].merge(servers[columns], on=["id", "place"], suffixes=("", "_above"))
    pairs = pairs[pairs["time_above"] <= pairs["time"]].sort_values("time_above", ascending=False, kind="stable")
    _fill(above, pairs)
    pairs = clients.loc[above[clients["hop"]] < 0, columns].merge(
        clients[columns], on=["id", "destination"], suffixes=("", "_above")
    )
    _fill(above, pairs[(pairs["place"] != pairs["place_above"]) & (pairs["time_above"] < pairs["time"])])
    return above


def _fill(above: Array, pairs: pd.DataFrame) -> None:
    """Note the first pair of each hop that has none yet."""
    pairs = pairs.drop_duplicates("hop")
    new = pairs[above[pairs["hop"].to_numpy(np.int64)] < 0]
    above[new["hop"].to_numpy(np.int64)] = new["hop_above"].to_numpy(np.int64)


def _tree(above: Array) -> tuple[Array, Array, Array]:
    """Links without those that run in a circle; how many hops stand above each, and the outermost of them."""
    for _ in range(2):
        depth, top, up = np.zeros(len(above), np.int64), np.arange(len(above)), above
        for _ in range(MAX_HOPS):
            more = up >= 0
            if not more.any():
                return above, depth, top
            depth += more
            top = np.where(more, up, top)
            up = np.where(more, above[up], -1)
        above = np.where(up >= 0, -1, above)
    return above, depth, top


def _roots(hops: pd.DataFrame, above: Array, catalogue: Catalogue) -> Array:
    """Where each request began to fail: the failing hops that decided, and below which none did.

    A hop that only relays decides nothing, but for a server's application that no failing call excuses. Where all only relay, it is
    the innermost that relays what came from within; else the outermost, which lost its client.
    """
    way = (
        hops["cause"]
        .map({c.id: c.relayed for c in catalogue.causes.values()})
        .astype("str")
        .fillna("")
        .to_numpy(object)
    )
    bad, client, depth = hops["failed"].to_numpy() > 0, hops["client"].to_numpy(bool), hops["depth"].to_numpy()
    inner, outer = bad & (way == "upstream"), bad & (way == "downstream")
    decided = bad & ~outer & (~inner | (~client & ~_below(bad & ~outer, above, depth)))
    root = decided & ~_below(decided, above, depth)
    request = hops["id"].to_numpy()
    for others, keep in ((inner, "last"), (outer, "first")):
        settled = np.isin(request, request[root])
        left = pd.Series(request)[others & ~settled]
        root[left.index[~left.duplicated(keep=keep)]] = True
    return root


def _below(which: Array, above: Array, depth: Array) -> Array:
    """The hops that have one of these below them."""
    found = np.zeros(len(which), bool)
    for level in range(int(depth.max(initial=0)), 0, -1):
        some = (depth == level) & (which | found)
        found[above[some]] = True
    return found
