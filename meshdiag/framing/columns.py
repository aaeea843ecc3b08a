"""The columns of a frame: names, types, and what they hold. docs/frames.md has the same table.

Types are those that pandas users expect: times `datetime64[us, UTC]`, repeated texts `category`, other texts pandas' own `str`
(kept by Arrow), integers `Int64`, which can be missing. What a log writes as `-` is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from meshdiag.model import MeshdiagError


class Type(Enum):
    """The type of a column; the value is the dtype as pandas shows it."""

    TIME = "datetime64[us, UTC]"
    CATEGORY = "category"
    TEXT = "str"
    INTEGER = "Int64"
    OFFSET = "int64"
    FLAG = "bool"
    LIST = "object"


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `of` is the kind of record that has it, "" for all; `field` the name of the record's field where it differs."""

    name: str
    type: Type
    doc: str
    of: str = ""
    field: str = ""

    @property
    def source(self) -> str:
        """The name of the field of a Record that it is made of."""
        return self.field or self.name


_C, _T, _I = Type.CATEGORY, Type.TEXT, Type.INTEGER
_ACCESS = "access-log"
_BOTH = "access-log, ztunnel-access"

COLUMNS: Final[tuple[Column, ...]] = (
    Column("kind", _C, "the format of the record: `access-log`, `istio-log`, `envoy-log`, `event`, …"),
    Column("time", Type.TIME, "when it was written"),
    Column("path", _C, "the file or archive member it stands in"),
    Column("offset", Type.OFFSET, "where it begins in that file (decompressed), in bytes"),
    Column("cluster", _C, "the Kubernetes cluster, where the input tells it"),
    Column("namespace", _C, "the namespace of the pod that wrote it"),
    Column("pod", _C, "the pod that wrote it"),
    Column("container", _C, "the container that wrote it"),
    Column("workload", _C, "the pod's name without the parts that Kubernetes generates"),
    Column("previous", Type.FLAG, "whether it was written before the container's last restart"),
    Column("component", _C, "`envoy`, `pilot-agent`, `istiod`, `ztunnel`, …"),
    Column("level", _C, "`trace`, `debug`, `info`, `warning`, `error`, `critical`"),
    Column("cause", _C, "the cause that a pattern names"),
    Column("pattern", _C, "the pattern that matched; one that only says that the record is harmless has no cause"),
    Column("confidence", _C, "of the match on its own: `likely` or `possible`"),
    Column("method", _C, "the request's method", _ACCESS),
    Column("request_path", _T, "the request's path", _ACCESS, "path"),
    Column("protocol", _C, "`HTTP/1.1`, `HTTP/2`, …", _ACCESS),
    Column("response_code", _I, "the status; 0 when there was no answer", _ACCESS),
    Column("response_flags", _C, "Envoy's flags as it writes them: `UF,URX`", _ACCESS),
    Column("flags", Type.LIST, "the same, split: a tuple, empty when there are none", _ACCESS, "response_flags"),
    Column("response_code_details", _C, "who answered and why; blanks are `_`", _ACCESS),
    Column("connection_termination_details", _C, "why the connection was ended; blanks are `_`", _ACCESS),
    Column("upstream_transport_failure_reason", _C, "what went wrong with TLS or TCP; blanks are `_`", _ACCESS),
    Column("bytes_received", _I, "bytes of the request's body, or received on the connection", _BOTH),
    Column("bytes_sent", _I, "bytes of the answer's body, or sent on the connection", _BOTH),
    Column("duration", _I, "milliseconds from the first byte in to the last byte out, or of the connection", _BOTH),
    Column("upstream_service_time", _I, "of these the upstream's", _ACCESS),
    Column("x_forwarded_for", _T, "the header", _ACCESS),
    Column("user_agent", _C, "the header", _ACCESS),
    Column("request_id", _T, "the header `x-request-id`: the same on every hop", _ACCESS),
    Column("authority", _C, "the host that was asked for", _ACCESS),
    Column("upstream_host", _C, "`address:port` of the chosen endpoint; missing when none was", _ACCESS),
    Column("upstream_cluster", _C, "Envoy's cluster: `outbound|9080||reviews.default.svc.cluster.local`", _ACCESS),
    Column("direction", _C, "of the cluster: `outbound`, `inbound`, `passthrough`, `blackhole`, `inbound-passthrough`"),
    Column("destination_port", _I, "of the cluster", _ACCESS),
    Column("destination_subset", _C, "of the cluster", _ACCESS),
    Column("destination_host", _C, "of the cluster", _ACCESS),
    Column("upstream_local_address", _T, "our end of the connection to the upstream; missing when there was none", _ACCESS),
    Column("downstream_local_address", _C, "the address that the client called", _ACCESS),
    Column("downstream_remote_address", _T, "the client's address", _ACCESS),
    Column("requested_server_name", _C, "the SNI", _ACCESS),
    Column("route_name", _C, "the route", _ACCESS),
    Column("message", _T, "the text, with its continuation lines", "logs"),
    Column("scope", _C, "the logger", "logs"),
    Column("error", _T, "why the connection failed", "ztunnel-access"),
    Column("src_addr", _T, "the client", "ztunnel-access", "src.addr"),
    Column("src_workload", _C, "the client's pod", "ztunnel-access", "src.workload"),
    Column("src_namespace", _C, "the client's namespace", "ztunnel-access", "src.namespace"),
    Column("src_identity", _C, "the client's SPIFFE identity", "ztunnel-access", "src.identity"),
    Column("dst_addr", _T, "the server", "ztunnel-access", "dst.addr"),
    Column("dst_service", _C, "the service that was called", "ztunnel-access", "dst.service"),
    Column("dst_workload", _C, "the server's pod", "ztunnel-access", "dst.workload"),
    Column("dst_namespace", _C, "the server's namespace", "ztunnel-access", "dst.namespace"),
    Column("dst_identity", _C, "the server's SPIFFE identity", "ztunnel-access", "dst.identity"),
    Column("type", _C, "`Normal` or `Warning`", "event"),
    Column("reason", _C, "why, in a word: `Unhealthy`", "event"),
    Column("code", _C, "`IST0101`", "analysis"),
    Column("object_kind", _C, "the kind of the object it is about", "event, analysis"),
    Column("object", _C, "the name of the object it is about", "event, analysis"),
    Column("object_namespace", _C, "its namespace", "event, analysis", "namespace"),
    Column("unparsed", _C, "why a line that begins like its format was not read: its other fields are missing"),
    Column("fields", _T, "what no column holds, as a JSON object of texts: labels, other operators, numbers of another form"),
    Column("text", _T, "the line without its wrappers, with its continuation lines; only when asked for"),
)  # fmt: skip
"""Every column, in their order in a frame."""

BY_NAME: Final[Mapping[str, Column]] = {c.name: c for c in COLUMNS}
DEFAULT: Final = tuple(c.name for c in COLUMNS if c.name != "text")
ACCESS_COLUMNS: Final[Mapping[str, str]] = {
    c.source: c.name for c in COLUMNS if _ACCESS in c.of.split(", ") and c.type is not Type.LIST
}
"""The column that a field of an access log goes to."""
MATCH: Final = frozenset({"cause", "pattern", "confidence"})
"""Columns that need the catalogue."""


def chosen(columns: Iterable[str] | None, text: bool) -> tuple[str, ...]:
    """The names of the columns that are wanted, in their order. Raises MeshdiagError for one that does not exist."""
    names = (
        list(DEFAULT) if columns is None else [columns] if isinstance(columns, str) else list(dict.fromkeys(columns))
    )
    unknown = [n for n in names if n not in BY_NAME]
    if unknown:
        raise MeshdiagError(f"no column {', '.join(map(repr, unknown))}: there are {', '.join(BY_NAME)}")
    if text and "text" not in names:
        names.append("text")
    return tuple(names)
