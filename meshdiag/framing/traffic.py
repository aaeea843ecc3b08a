"""Which rows of a frame are requests, which of them failed, and who called whom.

A request is a row of an access log or a connection of ztunnel. The same request stands in several logs: that of the client's
proxy and that of the server's. `calls` says of each row which side it is, and gives both sides the same names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis.correlate import TRAFFIC
from meshdiag.diagnosis.subjects import clean, subject_of_access, workload_of
from meshdiag.engine.scan import ALARMING_LEVELS
from meshdiag.formats.access import NAME as ACCESS_LOG
from meshdiag.model import Kind, MeshdiagError, Origin, Record

Array = Any
"""Of numpy, with an element for each row where nothing else is said."""

OUTCOME: Final = ("kind", "cause", "pattern", "response_code", "response_flags")
"""Columns that tell whether a request failed."""

_SUBJECT: Final = ("direction", "destination_host", "destination_port", "upstream_cluster", "route_name")
_TARGET: Final = ("requested_server_name", "authority", "upstream_host", "downstream_local_address", "response_flags")
ENDS: Final = (
    *("kind", "namespace", "pod", "request_id", "upstream_local_address", "downstream_remote_address"),
    *_SUBJECT,
    *_TARGET,
)
"""Columns that tell who called whom."""

_ZTUNNEL: Final = (
    "src_namespace",
    "src_workload",
    "src_addr",
    "dst_namespace",
    "dst_workload",
    "dst_service",
    "dst_addr",
)

_SNI: Final = re.compile(r"outbound_\.(\d+)_\.[^_]*_\.([\w.-]+)")
"""What a client's sidecar names as SNI when it speaks mTLS (Istio since 1.0): port, subset and host of its cluster."""


def need(frame: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    """Raises MeshdiagError naming the columns that are missing for `what`."""
    wanted = dict.fromkeys(columns)
    if lost := [n for n in wanted if n not in frame.columns]:
        raise MeshdiagError(f"{what} needs columns that the frame does not have: {', '.join(lost)}")
    if "time" in wanted and not isinstance(frame["time"].dtype, pd.DatetimeTZDtype):
        hint = "make it so with pd.to_datetime(df['time'], utc=True)"
        raise MeshdiagError(f"the column time is {frame['time'].dtype}, not a time with a zone: {hint}")


def narrowed(frame: pd.DataFrame, columns: Iterable[str], what: str) -> pd.DataFrame:
    """The frame with these columns and those that the functions here look at: so that less is copied. Raises as `need`."""
    wanted = (*columns, *OUTCOME, *ENDS)
    need(frame, wanted, what)
    return frame[[n for n in dict.fromkeys((*wanted, *_ZTUNNEL, "level", "unparsed")) if n in frame.columns]]


def requests(frame: pd.DataFrame) -> Array:
    """Which rows are requests or connections. A line that could not be read is none."""
    need(frame, ["kind"], "telling requests apart")
    rows = frame["kind"].isin(TRAFFIC).to_numpy(bool)
    return rows & frame["unparsed"].isna().to_numpy(bool) if "unparsed" in frame.columns else rows


def failing(catalogue: Catalogue) -> Callable[[pd.Series[Any]], Array]:
    """Tells of causes which are failures. One that the catalogue does not know counts as one: its pack is not loaded."""
    good = [c.id for c in catalogue.causes.values() if c.kind is not Kind.FAILURE]
    return lambda causes: (causes.notna() & ~causes.isin(good)).to_numpy(bool)


def failed(frame: pd.DataFrame, catalogue: Catalogue) -> Array:
    """Which rows are requests that failed, by the rule of the engine (`engine.scan`).

    Their cause is a failure, or no pattern knows them and they are alarming. So a 4xx is none, unless the mesh gave that answer:
    a denied, unroutable or limited request has a cause.
    """
    need(frame, OUTCOME, "telling which requests failed")
    rows = requests(frame)
    if (rows & ~frame["kind"].eq(ACCESS_LOG).to_numpy(bool)).any():
        need(frame, ["level"], "telling which connections failed")
    return rows & (failing(catalogue)(frame["cause"]) | unrecognised(frame))


def alarming(
    access: Array,
    event: Array,
    text: Array,
    *,
    flagged: Array,
    code: Array,
    warning: Array,
    level: Array,
    unparsed: Array,
) -> Array:
    """Which records are alarming, as `engine.scan.alarming` tells it of one; `level`: those of ALARMING_LEVELS, `code`: 0 for none."""
    return (access & (flagged | (code >= 500))) | (event & warning) | (~access & ~event & ~text & level) | unparsed


def unrecognised(frame: pd.DataFrame) -> Array:
    """Which rows are alarming and known to no pattern."""
    none = pd.Series(pd.NA, index=frame.index, dtype="str")
    level, kind_of_event, unparsed = (frame.get(n, none) for n in ("level", "type", "unparsed"))
    kind = frame["kind"]
    access, event = kind.eq(ACCESS_LOG).to_numpy(bool), kind.eq("event").to_numpy(bool)
    code = pd.to_numeric(frame["response_code"]).fillna(0).to_numpy(np.int64)
    alarms = alarming(
        access,
        event,
        kind.eq("text").to_numpy(bool),
        flagged=frame["response_flags"].notna().to_numpy(bool),
        code=code,
        warning=kind_of_event.eq("Warning").to_numpy(bool),
        level=level.isin(ALARMING_LEVELS).to_numpy(bool),
        unparsed=unparsed.notna().to_numpy(bool),
    )
    return alarms & frame["pattern"].isna().to_numpy(bool)


# --- who called whom ----------------------------------------------------------------------------------------------


def calls(frame: pd.DataFrame) -> pd.DataFrame:
    """`source`, `destination` (categories, named as findings name them) and `client` (bool) of rows that all are requests.

    A client's proxy names both ends. The server's knows itself; whom it was called as and by whom is told by what it has in common
    with the client's rows, the surest first: the connection, the SNI, the address of the endpoint; for the client, then, the
    request id, and the address of its pod. What several could be is not guessed: the destination is then the workload, and the
    source missing. Raises MeshdiagError naming the columns that are missing.
    """
    ztunnel = ~frame["kind"].eq(ACCESS_LOG).to_numpy(bool)
    need(frame, (*ENDS, *(_ZTUNNEL if ztunnel.any() else ())), "telling who called whom")
    names = _Names()
    source = np.full(len(frame), -1)
    destination = np.full(len(frame), -1)
    client = np.zeros(len(frame), bool)
    own = np.full(len(frame), -1)  # the workload that wrote the row
    access = np.flatnonzero(~ztunnel)
    which, firsts = _distinct(_told_apart(frame.iloc[access]))
    for n, (record, name) in enumerate(_records(frame.iloc[access[firsts]])):
        subject, rows = subject_of_access(record), access[which == n]
        own[rows] = names[name]
        client[rows] = subject.kind == "edge"
        source[rows] = names[subject.source] if subject.kind == "edge" else -1
        destination[rows] = names[subject.destination] if subject.kind == "edge" else -1
    _name_ends(frame, np.flatnonzero(ztunnel), names, source, destination)
    client[ztunnel] = frame["direction"].eq("outbound").to_numpy(bool)[ztunnel]
    servers = ~ztunnel & ~client
    if servers.any():
        _match(frame, ~ztunnel & client, servers, names, source, destination, own)
    return pd.DataFrame(
        {"source": names.categories(source), "destination": names.categories(destination), "client": client},
        index=frame.index,
    )


class _Names(dict[str, int]):
    """Names, numbered as they come; "" is missing."""

    def __missing__(self, name: str) -> int:
        if not name:
            return -1
        self[name] = number = len(self)
        return number

    def categories(self, codes: Array) -> pd.Categorical:
        """What these numbers name, as categories: those that occur, sorted."""
        words = pd.array([*self], dtype="str")
        return pd.Categorical(words.take(codes, allow_fill=True))


def _told_apart(rows: pd.DataFrame) -> list[pd.Series[Any]]:
    """The columns that decide about the subject; those of a target only where no cluster names it."""
    plain = rows["direction"].isin(["inbound", "outbound"]) & ~rows["route_name"].isin(["block_all", "allow_any"])
    columns = [rows[n] for n in ("namespace", "pod", *_SUBJECT)]
    return columns + [rows[n].where(~plain) for n in _TARGET]


def _distinct(columns: Sequence[pd.Series[Any]]) -> tuple[Array, Array]:
    """Of each row the number of its combination of values, and of each combination the first row."""
    ids = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        codes, words = pd.factorize(column)
        ids = pd.factorize(ids * (len(words) + 1) + codes + 1)[0]
    return ids, np.unique(ids, return_index=True)[1]


def _records(rows: pd.DataFrame) -> Iterable[tuple[Record, str]]:
    """The rows as records with what decides about their subject; and the names of the workloads that wrote them."""
    names = ["namespace", "pod", *_SUBJECT, *_TARGET]
    texts = rows[names].astype("str").astype(object)
    for values in texts.where(texts.notna(), None).itertuples(index=False, name=None):
        told = {n: v for n, v in zip(names, values, strict=True) if v is not None}
        namespace, pod = told.pop("namespace", ""), told.pop("pod", "")
        name = workload_of(pod)
        origin = Origin("", namespace=namespace, pod=pod)
        yield Record(ACCESS_LOG, "", fields=told, origin=origin), _full(namespace, name)


def _full(namespace: str, name: str) -> str:
    return clean(f"{namespace}/{name}" if namespace and name else name)


def _name_ends(frame: pd.DataFrame, rows: Array, names: _Names, source: Array, destination: Array) -> None:
    """Both ends of ztunnel's connections: it logs them whichever side it is."""
    if not len(rows):
        return
    some = frame.iloc[rows]
    columns = {n: some[n] for n in ("src_namespace", "src_workload", "dst_namespace", "dst_workload", "dst_service")}
    columns |= {n: by_value(some[f"{n}_addr"], _host) for n in ("src", "dst")}
    which, firsts = _distinct([*columns.values()])
    table = pd.DataFrame({n: c.astype(object).iloc[firsts] for n, c in columns.items()})
    for n, row in enumerate(table.where(table.notna(), "").to_dict("records")):
        ends = [
            _full(row[f"{side}_namespace"], workload_of(row[f"{side}_workload"])) or clean(row[side])
            for side in ("src", "dst")
        ]
        source[rows[which == n]] = names[ends[0]]
        destination[rows[which == n]] = names[clean(row["dst_service"]) or ends[1]]


def by_value(column: pd.Series[Any], of: Callable[[str], str | None]) -> pd.Series[Any]:
    """`of` each value, asked once for each that occurs; a missing one stays missing."""
    codes, words = pd.factorize(column)
    made = pd.array([of(w) for w in words], dtype="str")
    return pd.Series(made.take(codes, allow_fill=True), index=column.index)


def _host(address: str) -> str | None:
    """The host of `address:port`; None of the loopback, which every pod has, and of Istio's own (127.0.0.6)."""
    host = address.rpartition(":")[0].strip("[]")
    return None if not host or host.startswith("127.") or host == "::1" else host


def _peer(address: str) -> str | None:
    """The host of a client; None without a port: that is what a header says, which anybody may send."""
    return None if address.endswith(":0") else _host(address)


def _service(sni: str) -> str | None:
    match = _SNI.fullmatch(sni)
    return clean(f"{match[2]}:{match[1]}") if match else None


def _match(
    frame: pd.DataFrame, clients: Array, servers: Array, names: _Names, source: Array, destination: Array, own: Array
) -> None:
    """Name both ends of the server's rows by what they have in common with the client's."""
    theirs, ours = frame[clients], frame[servers]
    from_, to = source[clients], destination[clients]
    remote = ours["downstream_remote_address"]
    connection = theirs["upstream_local_address"]
    to_found = _looked(_only(connection, to), remote)
    from_found = _looked(_only(connection, from_), remote)
    sni = by_value(ours["requested_server_name"], _service)
    codes, words = pd.factorize(sni)
    named = np.array([*(names[w] for w in words), -1])[codes]
    to_found = np.where(to_found >= 0, to_found, named)
    to_found = _or(to_found, _looked(_only(theirs["upstream_host"], to), ours["downstream_local_address"]))
    to_found = _or(to_found, own[servers])
    from_found = _or(from_found, _of_request(theirs, to, from_, ours, to_found))
    from_found = _or(from_found, _looked(_only(by_value(connection, _host), from_), by_value(remote, _peer)))
    source[servers], destination[servers] = from_found, to_found


def _or(first: Array, second: Array) -> Array:
    return np.where(first >= 0, first, second)


def _only(keys: pd.Series[Any], values: Array) -> pd.Series[Any]:
    """The value of each key that has one only."""
    pairs = pd.DataFrame({"key": keys.astype(object).to_numpy(), "value": values})
    pairs = pairs[(pairs["value"] >= 0) & pairs["key"].notna()].drop_duplicates()
    return pairs.drop_duplicates("key", keep=False).set_index("key")["value"]


def _looked(known: pd.Series[Any], keys: pd.Series[Any]) -> Array:
    """The values of keys; -1 for one that is not known."""
    at = known.index.get_indexer(keys.astype(object).to_numpy())
    return np.append(known.to_numpy(np.int64), -1)[at]


def _of_request(theirs: pd.DataFrame, to: Array, from_: Array, ours: pd.DataFrame, to_found: Array) -> Array:
    """The client that sent a request with the same id to the same destination."""
    ids = pd.factorize(pd.concat([theirs["request_id"], ours["request_id"]], ignore_index=True))[0].astype(np.int64)
    known = ids >= 0
    width = max(to.max(initial=0), to_found.max(initial=0)) + 2
    keys = pd.Series(np.where(known, ids * width + np.concatenate([to, to_found]) + 1, -1))
    keys = keys.where(keys >= 0)
    return _looked(_only(keys.iloc[: len(theirs)], from_), keys.iloc[len(theirs) :])
