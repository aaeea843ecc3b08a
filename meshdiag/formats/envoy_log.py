"""What Envoy itself logs (not its access log), in every shape that Istio gave it.

    2025-..Z<TAB>warning<TAB>envoy config <file>:<line><TAB>message<TAB>thread=19   Istio 1.17 and later
    2022-..Z<TAB>warning<TAB>envoy config<TAB>message                               1.6 to 1.16; "[file:line] " in 1.6
    [Envoy (Epoch 0)] [2019-06-18 02:29:08.704][22][warning][config] message        1.4, 1.5
    [2019-06-18 02:29:08.704][22][warning][config] [file:line] message              Envoy's default
    {"level":"warning","time":..,"scope":"envoy config","msg":..,"thread":..}       JSON; scope without "envoy " in 1.9

People paste the TABs as blanks and leave the time out; both are read. "warning" and "critical" are Envoy's words, an
Istio agent on the same stream writes "warn" and "fatal".
"""

from __future__ import annotations

import re
from typing import Any

from meshdiag.formats._common import LEVELS, LIMIT, TIME, json_object, names, parse_time, to_text
from meshdiag.formats.base import UNPARSED, Format
from meshdiag.lazyre import lazy
from meshdiag.model import Record

NAME = "envoy-log"
FIRST = "0123456789[{tdiwec"

LOGGERS = names(
    "admin alternate_protocols_cache assert aws backtrace basic_auth cache_filter client compression config "
    "conn_handler connection connection_handler credential_injector decompression dns dubbo dynamic_modules envoy_bug "
    "ext_authz ext_proc external_processor fancy file filter filters flow forward_proxy geolocation golang grpc "
    "happy_eyeballs hc health_checker http http2 hystrix init io jni json_to_metadata jwt kafka key_value_store lua "
    "main matcher misc mongo multi_connection oauth2 pool quic quic_stream rate_limit_quota rbac rds redis rocketmq "
    "router runtime secret stateful_session stats stats_sink tap testing thrift tracing udp upstream wasm "
    "websocket"
)
"""Envoy's logger names (source/common/common/logger.h, 1.9 to 1.40); needed only where blanks stand for the TABs."""

# Loggers whose name no Istio Go scope has: in Istio 1.9's JSON the scope is the bare logger.
_ONLY_ENVOY = LOGGERS - {"dns", "wasm", "file", "grpc", "init", "config", "rbac", "main", "client", "filter", "http"}

_FILE = r"[^\s:\[\]]+\.\w{1,4}:\d+"
_ISTIO = lazy(
    rf"(?:({TIME})(?:[\t ]+))?(trace|debug|info|warning|warn|error|critical|off)([\t ]+)envoy ([\w.-]+)"
    rf"(?:[\t ]+({_FILE})(?=[\t ]|$))?([\t ]+|$)"
)
_DEFAULT = lazy(
    r"(?:\[Envoy \(Epoch \d+\)\] )?\[(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,9})?)\]\[(\d+)\]"
    rf"\[(trace|debug|info|warning|warn|error|critical|off)\]\[([\w -]+)\] ?(?:\[?({_FILE})\] ?)?"
)
_FILE_FIRST = lazy(rf"\[({_FILE})\] ")
_TAGS = lazy(r'\[Tags: ((?:"[^"]*":"[^"]*",? ?)++)\] ?')
_TAG = lazy(r'"([^"]*)":"([^"]*)"')
_IDS = lazy(r"\[C(\d+)\](?:\[S(\d+)\])? ?")
_THREAD = lazy(r"\s*[\t ]thread=(\d+)\s*\Z")
_TAG_FIELDS = {"ConnectionId": "connection_id", "StreamId": "stream_id"}


def parse(text: str) -> Record | None:
    """A line of Envoy's own log in any of the shapes above, with its continuation lines; else None.

    Fields: `scope` (the logger), `caller` (file:line), `thread`, `connection_id`, `stream_id`.
    """
    first = text[:1]
    if first == "{":
        return _parse_json(text[:LIMIT])
    if first == "[":
        return _parse_default(text[:LIMIT])
    head = _ISTIO.match(text) if "envoy " in text[:100] else None
    if head is None:
        return None
    time, level, gap, logger, caller, end = head.groups()
    if "\t" not in gap and "\t" not in end and not caller:
        # Blanks for TABs: "info envoy exited" of an agent begins alike.
        if logger not in LOGGERS or (time is None and level not in ("warning", "critical", "trace")):
            return None
    elif level == "warn" and not caller and logger not in LOGGERS:
        return None
    text = text[:LIMIT]
    fields = {"scope": logger}
    if caller:
        fields["caller"] = caller
    message = text[head.end() :]
    if thread := _last_thread(message):
        fields["thread"] = thread.group(1)
        message = message[: thread.start()]
    return _record(text, message, time, level, fields)


def is_complete(text: str) -> bool:
    """Does this record end with Envoy's `thread=N`, after which nothing of it can follow?"""
    return _last_thread(text) is not None


def is_unfinished(record: Record) -> bool:
    """Is `thread=N` still to come? True for a head of Istio 1.17 or later (file:line, TABs) without it at its end."""
    fields = record.fields
    return record.encoding == "text" and "caller" in fields and "thread" not in fields and "\t" in record.text


def _last_thread(text: str) -> re.Match[str] | None:
    """Looks at the end only: a search over a long message would be slow."""
    start = max(0, len(text) - 64)
    return _THREAD.search(text, start)


def _parse_default(text: str) -> Record | None:
    head = _DEFAULT.match(text)
    if head is None:
        return None
    time, thread, level, logger, caller = head.groups()
    fields = {"scope": logger, "thread": thread}
    if caller:
        fields["caller"] = caller
    return _record(text, text[head.end() :], time, level, fields)


def _parse_json(text: str) -> Record | None:
    if '"level"' not in text or '"scope"' not in text:
        return None
    obj = json_object(text)
    if obj is None:
        # Envoy of Istio 1.9 did not escape its JSON messages.
        if '"scope":"envoy ' in text[:300]:
            fields = {UNPARSED: "not a JSON object"}
            return Record(NAME, text, "", None, "", "envoy", "json", fields)
        return None
    logger = _json_logger(obj)
    if logger is None:
        return None
    level, message = obj.get("level"), to_text(obj.get("msg"))
    fields = {"scope": logger}
    for key in ("caller", "thread"):
        if value := to_text(obj.get(key)):
            fields[key] = value
    time = obj.get("time")
    if message is None:
        fields[UNPARSED] = "no msg"
    return _record(text, message or "", time, level, fields, "json")


def _json_logger(obj: dict[str, Any]) -> str | None:
    """The logger when the object is Envoy's, else None."""
    scope, level, caller = obj.get("scope"), obj.get("level"), obj.get("caller")
    if not isinstance(scope, str) or not isinstance(level, str) or level.lower() not in LEVELS:
        return None
    if scope.startswith("envoy "):
        return scope[6:]
    if "msg" not in obj or scope.startswith("ztunnel"):
        return None
    if isinstance(caller, str) and re.search(r"\.(?:cc|h):\d+\Z", caller[-200:]):
        return scope
    return scope if level in ("warning", "critical", "trace") or scope in _ONLY_ENVOY else None


def _record(
    text: str, message: str, time: object, level: object, fields: dict[str, str], encoding: str = "text"
) -> Record:
    if message.startswith("["):
        if place := _FILE_FIRST.match(message):
            fields.setdefault("caller", place.group(1))
            message = message[place.end() :]
        if tags := _TAGS.match(message):
            for key, value in _TAG.findall(tags.group(1)):
                if key in _TAG_FIELDS:
                    fields[_TAG_FIELDS[key]] = value
            message = message[tags.end() :]
        elif ids := _IDS.match(message):
            fields["connection_id"] = ids.group(1)
            if ids.group(2):
                fields["stream_id"] = ids.group(2)
            message = message[ids.end() :]
    grade = LEVELS.get(level.lower(), "") if isinstance(level, str) else ""
    return Record(NAME, text, message.rstrip(), parse_time(time), grade, "envoy", encoding, fields)


FORMAT = Format(
    NAME,
    "Envoy --log-format and application_log_config as Istio 1.0 to 1.31 set them; Envoy 1.9 to 1.40",
    parse,
    ("text", "json"),
    multiline=True,
)
