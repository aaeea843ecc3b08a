"""Envoy access logs as Istio's sidecars, gateways and waypoints write them: text and JSON.

Source: Istio 1.0.0 to 1.30.0 (pilot and mesh defaults) for the text formats and the JSON keys; Envoy 1.36 to 1.40
for how values are written. How a line that the sender of a request may have forged is read: `operators.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container
from datetime import UTC, datetime
from functools import lru_cache

from meshdiag.formats._common import parse_time
from meshdiag.formats.base import UNPARSED, Format
from meshdiag.formats.operators import (
    AMBIGUOUS,
    AccessLogParser,
    Reading,
    TextParser,
    as_text,
    compile_text,
    load_object,
    short_flags,
)
from meshdiag.lazyre import lazy
from meshdiag.model import Record

NAME = "access-log"
FIRST = '[{"# \t'
"""What a record can begin with."""

# --- Istio's default text formats ---------------------------------------------------------------------------------

_START = "[%START_TIME%] "
_REQUEST = '"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
_DETAILS = "%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "
_POLICY = '"%DYNAMIC_METADATA(istio.mixer:status)%" '
_REASON = '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" '
_MIDDLE = (
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"'
)
_ADDRESSES = " %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME%"
_END = " %UPSTREAM_CLUSTER%" + _ADDRESSES
_END_RAW = " %UPSTREAM_CLUSTER_RAW%" + _ADDRESSES
_ROUTE = " %ROUTE_NAME%"

TEXT_FORMATS: dict[str, str] = {
    "1.23 and later": _START + _REQUEST + _DETAILS + _REASON + _MIDDLE + _END_RAW + _ROUTE,
    "1.9 to 1.22": _START + _REQUEST + _DETAILS + _REASON + _MIDDLE + _END + _ROUTE,
    "1.8": _START + _REQUEST + _REASON + _MIDDLE + _END + _ROUTE,
    "1.3 to 1.7": _START + _REQUEST + _POLICY + _REASON + _MIDDLE + _END + _ROUTE,
    "1.2": _START + _REQUEST + _POLICY + _REASON + _MIDDLE + _END,
    "1.1": _START + _REQUEST + _POLICY + _MIDDLE + _END,
    "1.0": _START + _REQUEST + _MIDDLE,  # Envoy's own default
}
"""Istio version to its default format, newest first. 1.8 and older go on under newer control planes."""

# 1.9 and 1.23 write the same line, but for the ";" that cluster_fields strips: one parser does for both.
_PARSER = compile_text(TEXT_FORMATS["1.23 and later"])
_NEWEST = _PARSER.pattern.fullmatch
_NAMES = _PARSER.fields

NEWEST_FIELDS = _PARSER.fields
"""The fields of `newest`, in order."""


def newest(line: str) -> re.Match[str] | None:
    """A line of today's default text format, read by the one expression that has a single reading; its groups are NEWEST_FIELDS."""
    return _NEWEST(line)


DERIVED = {
    "traffic": ("method", "protocol"),
    "direction": ("upstream_cluster",),
    "destination_port": ("upstream_cluster",),
    "destination_subset": ("upstream_cluster",),
    "destination_host": ("upstream_cluster",),
    "upstream_chosen": ("upstream_host",),
    "upstream_connected": ("upstream_local_address",),
    "sni": ("requested_server_name",),
}
"""What the derived fields are made of."""
_NAME_SET = frozenset(_NAMES)

_BEGINS = lazy(r'\[[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][^\]"\s]{4,40}\] "')
_BEGINS_WIDE = lazy(r'\[[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][^\]"\s]{4,40}\](?:[ \t]{2,}|\t)"')
_BEGINS_DOUBLED = lazy(r'\[[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][^\]"\s]{4,40}\] ""[^"\r\n]{1,4096}"" [0-9-]')
_WIDE = lazy(r"[ \t]+")
# Without a time it must look like a request and its response, or it is any text that begins with a quote.
_BEGINS_HEADLESS = lazy(
    r'"(?:[A-Z]{1,20} (?:/|\*|https?://)[^"\r\n]* HTTP/[0-9.]+|- - (?:-|HTTP/[0-9.]+))" (?:[0-9]{1,3}|-) '
)


def parse(text: str) -> Record | None:
    """An access log record, or None when the text is none.

    Takes the text and JSON lines of every Istio version, JSON with other spellings of the keys, lines without
    `[START_TIME]`, and lines that are cut off at the end. Never raises; see `operators.py` for forged lines.
    """
    if match := _NEWEST(text):
        # As fields_of, for the common line: about half of its cost.
        fields = {name: value for name, value in zip(_NAMES, match.groups(), strict=True) if value != "-"}
        if " " in fields.get("upstream_transport_failure_reason", ""):
            _underline(fields)
        _derive(fields, _NAME_SET)
        return Record(NAME, text, "", _time(fields.get("start_time", "")), "", "envoy", "text", fields)
    return _parse_other(text)


@lru_cache(maxsize=2)
def _parsers(headless: bool) -> tuple[TextParser, ...]:
    """One for each text format, newest first; made when a line is not of the newest."""
    named = [f for v, f in TEXT_FORMATS.items() if v not in ("1.23 and later", "1.9 to 1.22")]
    if headless:
        return tuple(compile_text(f.removeprefix(_START)) for f in (_PARSER.format, *named))
    return (_PARSER, *map(compile_text, named))


def _parse_other(text: str) -> Record | None:
    line = text.partition("\n")[0].strip(" \t\r#") if text[:1] in FIRST else ""
    if line == "{":  # an object on several lines
        line = text.strip()
    if line.startswith("{"):
        values = _json_values(line)
        return _record(text, values, "json") if values else None
    if line.startswith("["):
        if _BEGINS_WIDE.match(line):  # columns pasted with more than a blank between them
            line = _WIDE.sub(" ", line)
        elif _BEGINS_DOUBLED.match(line):  # out of a cell of a CSV file
            line = line.replace('""', '"')
        if not _BEGINS.match(line):
            return None
        return _record(text, _text_values(line, _parsers(headless=False)), "text")
    if line.startswith('"') and _BEGINS_HEADLESS.match(line):
        return _record(text, _text_values(line, _parsers(headless=True)), "text")
    return None


def _text_values(line: str, parsers: tuple[TextParser, ...]) -> dict[str, str]:
    """The line's values in the one format in which it can be read."""
    for parser in parsers:
        if values := parser.parse_plain(line):
            return values
    readings = [values for parser in parsers if (values := parser.parse_careful(line))]
    if len(readings) == 1:
        return readings[0]
    if readings:  # in one format in several ways, or in several formats
        return {UNPARSED: next((v for r in readings if (v := r.get(UNPARSED))), AMBIGUOUS)}
    return _cut_values(line, parsers)


def _cut_values(line: str, parsers: tuple[TextParser, ...]) -> dict[str, str]:
    cuts = [reading for parser in parsers if (reading := parser.cut(line))]
    if not cuts:
        return {UNPARSED: "no request line and response code that can be read"}
    if any(UNPARSED in reading.values for reading in cuts):
        return {UNPARSED: AMBIGUOUS}

    def worth(reading: Reading) -> tuple[bool, int]:
        return reading.clean, len(reading.values)

    return max(cuts, key=worth).values  # the first of equals: the newest


def with_format(parser: AccessLogParser) -> Callable[[str], Record | None]:
    """A `parse` that tries a custom format first (see `operators.compile_format`), then what `parse` knows."""

    def parse_with(text: str) -> Record | None:
        line = text.partition("\n")[0].strip(" \t\r")
        values = parser.parse(line)
        if values:
            return _record(text, values, "json" if line.startswith("{") else "text")
        record = parse(text)
        if isinstance(parser, TextParser) and (reading := parser.cut(line)) and reading.clean:
            cut = _record(text, reading.values, "text")
            if record is None or len(cut.fields) > len(record.fields):
                return cut
        return record

    return parse_with


def _record(text: str, values: dict[str, str], encoding: str) -> Record:
    if UNPARSED in values:
        return Record(NAME, text, "", None, "", "envoy", encoding, {UNPARSED: values[UNPARSED]})
    fields = fields_of(values)
    return Record(NAME, text, "", _time(fields.get("start_time", "")), "", "envoy", encoding, fields)


def _time(value: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(value)  # the fast way for what Envoy writes by default
        if time.tzinfo is UTC:
            return time
    except ValueError:
        pass
    return parse_time(float(value) if _SECONDS.fullmatch(value) else value)


_SECONDS = lazy(r"[0-9]{9,11}\.[0-9]{1,9}")


# --- fields -------------------------------------------------------------------------------------------------------

_UNDERLINED = (
    "response_code_details",
    "connection_termination_details",
    "upstream_transport_failure_reason",
    "downstream_transport_failure_reason",
)
_BLANKS = lazy(r"\s")


def fields_of(raw: dict[str, str]) -> dict[str, str]:
    """The fields of a record from values by field name as they were written.

    Leaves out `-` and empty values (but an empty `response_code_details`), writes `_` for blanks in the details and
    reasons, short flags for long ones, and adds the derived fields of docs/architecture.md. A derived field needs its
    source in `raw`: a line cut off before the upstream host says nothing about whether one was chosen.
    """
    fields = {n: v for n, v in raw.items() if v != "-" and (v or n == "response_code_details")}
    _underline(fields)
    if flags := fields.get("response_flags"):
        fields["response_flags"] = short_flags(flags)
    _derive(fields, raw)
    return fields


def _underline(fields: dict[str, str]) -> None:
    for name in _UNDERLINED:
        if value := fields.get(name):
            fields[name] = _BLANKS.sub("_", value)


def _derive(fields: dict[str, str], raw: Container[str]) -> None:
    """Adds the derived fields to `fields`; `raw` holds the names of all values that the line had, `-` too."""
    if "method" in fields:
        fields["traffic"] = "http"
    elif "method" in raw and "protocol" in raw:
        fields["traffic"] = "unparsed-request" if "protocol" in fields else "tcp"
    if cluster := fields.get("upstream_cluster"):
        fields.update(cluster_fields(cluster))
    if "upstream_host" in fields:
        fields["upstream_chosen"] = "yes"
    elif "upstream_host" in raw:
        fields["upstream_chosen"] = "no"
    if "upstream_local_address" in fields:
        fields["upstream_connected"] = "yes"
    elif "upstream_local_address" in raw:
        fields["upstream_connected"] = "no"
    if name := fields.get("requested_server_name"):
        fields["sni"] = "istio" if _MESH_NAME.fullmatch(name) else "other"


_MESH_NAME = lazy(r"outbound_\.([0-9]+)_\.([^_]*)_\.(.+)")
_SPECIAL = {
    "PassthroughCluster": "passthrough",
    "BlackHoleCluster": "blackhole",
    "InboundPassthroughCluster": "inbound-passthrough",  # Istio 1.24 and later
    "InboundPassthroughClusterIpv4": "inbound-passthrough",
    "InboundPassthroughClusterIpv6": "inbound-passthrough",
}
_DIRECTIONS = {"outbound": "outbound", "inbound": "inbound", "inbound-vip": "inbound", "inbound-pod": "inbound"}


@lru_cache(maxsize=4096)
def cluster_fields(cluster: str) -> dict[str, str]:
    """What the cluster's name says, as fields; not to be changed, as it is shared."""
    name = cluster.removesuffix(";")  # the stat name of Istio 1.23 and later
    fields = {"upstream_cluster": name}
    if direction := _SPECIAL.get(name):
        fields["direction"] = direction
        return fields
    parts = name.split("|")
    if len(parts) == 4 and parts[0] in _DIRECTIONS:
        kind, port, subset, host = parts
    elif match := _MESH_NAME.fullmatch(name):  # SNI routing at an east-west gateway
        kind, (port, subset, host) = "outbound", match.groups()
    else:
        return fields
    fields["direction"] = _DIRECTIONS[kind]
    for key, value in (("destination_port", port), ("destination_subset", subset), ("destination_host", host)):
        if value:
            fields[key] = value
    if kind == "inbound":  # Istio 1.7 and older had the port's name there
        fields.pop("destination_subset", None)
    return fields


# --- JSON ---------------------------------------------------------------------------------------------------------

# Field to the spellings of its key, without case and separators, the surest first. `!` marks what only an Envoy
# access log has.
_SPELLINGS = {
    "start_time": "starttime requeststarttime timestamp time ts datetime",
    "method": "method requestmethod httpmethod reqmethod httprequestmethod verb",
    "path": "path xenvoyoriginalpath originalpath requestpath reqpath uripath urlpath uri url requesturi requesturl",
    "protocol": "protocol httpprotocol requestprotocol httpversion",
    "response_code": "responsecode httpresponsecode responsestatuscode responsestatus statuscode status httpstatus "
    "httpstatuscode respcode code",
    "response_flags": "!responseflags !responseflag !envoyresponseflags !respflags !responseflagslong flags flag",
    "response_code_details": "!responsecodedetails !responsecodedetail !respcodedetails !codedetails responsedetails",
    "connection_termination_details": "!connectionterminationdetails !connectionterminationdetail terminationdetails",
    "upstream_transport_failure_reason": "!upstreamtransportfailurereason !upstreamtransportfailure "
    "transportfailurereason upstreamfailurereason failurereason",
    "downstream_transport_failure_reason": "!downstreamtransportfailurereason !downstreamtransportfailure",
    "bytes_received": "bytesreceived receivedbytes bytesin requestsize requestbytes",
    "bytes_sent": "bytessent sentbytes bytesout responsesize responsebytes",
    "duration": "duration durationms totalduration requestduration latency latencyms",
    "upstream_service_time": "!upstreamservicetime !xenvoyupstreamservicetime !respxenvoyupstreamservicetime "
    "upstreamtime",
    "x_forwarded_for": "xforwardedfor forwardedfor xff",
    "user_agent": "useragent httpuseragent requestuseragent agent",
    "request_id": "requestid xrequestid reqid",
    "authority": "authority requestauthority host requesthost httphost",
    "upstream_host": "!upstreamhost upstreamaddress upstreamremoteaddress upstreamaddr",
    "upstream_cluster": "!upstreamclusterraw !upstreamcluster !upstreamclustername cluster",
    "upstream_local_address": "!upstreamlocaladdress !upstreamlocaladdr upstreamlocal",
    "downstream_local_address": "!downstreamlocaladdress !downstreamlocaladdr downstreamlocal",
    "downstream_remote_address": "!downstreamremoteaddress !downstreamremoteaddr downstreamremote",
    "requested_server_name": "!requestedservername servername sni",
    "route_name": "!routename route",
    "istio_policy_status": "!istiopolicystatus policystatus",
    "grpc_status": "grpcstatus grpcstatuscode grpcstatusnumber",
}
_FIELD_OF = {
    spelling.lstrip("!"): (field, rank)
    for field, spellings in _SPELLINGS.items()
    for rank, spelling in enumerate(spellings.split())
}
_ENVOY_ONLY = frozenset(
    spelling[1:] for spellings in _SPELLINGS.values() for spelling in spellings.split() if spelling[0] == "!"
)
_SEPARATORS = lazy(r"[^a-z0-9]+")
_MAX_KEYS = 200


@lru_cache(maxsize=1024)
def _plan(keys: tuple[str, ...]) -> tuple[tuple[str, str], ...] | None:
    """Which key gives which field, or None when an object with these keys is no access log.

    It is one when it has a response code or flags, and one more key that only Envoy writes.
    """
    best: dict[str, tuple[int, str]] = {}
    sure: set[str] = set()
    plain: set[str] = set()
    for key in keys:
        spelling = _SEPARATORS.sub("", key.lower())
        plain.add(spelling)
        if spelling not in _FIELD_OF:
            continue
        field, rank = _FIELD_OF[spelling]
        if spelling in _ENVOY_ONLY:
            sure.add(field)
        if field not in best or rank < best[field][0]:
            best[field] = (rank, key)
    known = "response_code" in best or "response_flags" in best
    if not known or not sure - (set() if "response_code" in best else {"response_flags"}):
        return None
    if "level" in plain and plain & {"msg", "message"} and "response_flags" not in sure:
        return None  # a program's log line that tells of a request
    return tuple((key, field) for field, (_, key) in best.items())


def _json_values(line: str) -> dict[str, str] | None:
    top = load_object(line)
    if top is None:
        top = _cut_object(line)
    if not top or len(top) > _MAX_KEYS or (plan := _plan(tuple(top))) is None:
        return None
    values = {field: value for key, field in plan if (value := as_text(top[key])) is not None}
    # Istio 1.1.0 wrote the start time under the key "method".
    if values.get("method", "")[:1].isdigit() and _time(values["method"]):
        del values["method"]
    return values


_DECODER = json.JSONDecoder()
_BLANK = lazy(r"[ \t\r\n]*")


def _cut_object(text: str) -> dict[str, object] | None:
    """The complete members of an object whose end is missing. JSON escapes quotes, so its begin cannot be forged."""
    members: dict[str, object] = {}
    at = 1
    try:
        while len(members) <= _MAX_KEYS:
            at = _skip(text, at)
            if text[at] != '"':
                break
            key, at = _DECODER.raw_decode(text, at)
            at = _skip(text, at)
            if text[at] != ":":
                break
            value, at = _DECODER.raw_decode(text, _skip(text, at + 1))
            at = _skip(text, at)
            if text[at] not in ",}":  # a number may go on where the line was cut
                break
            members[key] = value
            if text[at] == "}":
                return None  # a whole object with something behind it
            at += 1
    except (ValueError, IndexError, RecursionError):
        pass
    return members or None


def _skip(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


FORMAT = Format(
    name=NAME,
    source="Istio 1.0.0 to 1.30.0: default text formats and JSON keys; Envoy 1.7 to 1.40: operators and values",
    parse=parse,
    encodings=("text", "json"),
)
