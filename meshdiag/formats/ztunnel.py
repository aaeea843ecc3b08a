"""What ztunnel logs: its own log (`ztunnel-log`) and a line for each connection (`ztunnel-access`).

    <time>TAB<level>TAB<target>[:<span>{..}]TAB<message>TAB[key=value ...]            1.22 and later
    <time>TAB<level>TABaccessTABconnection completeTABsrc.addr=.. error=".."           1.22 and later
    <time>  INFO [<span>{..}:] ztunnel::<module>: <message> key=value ...              1.18 to 1.21
    {"level":..,"time":..,"scope":"ztunnel::<module>","message":..,"key":..}           LOG_FORMAT=json

Values are strings in double quotes with Rust's escapes, or bare. They are never split inside quotes, so what a peer
puts into a name cannot make a field. Blanks for TABs, and lines pasted without their time, are read too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from meshdiag.formats._common import LEVELS, LIMIT, TIME, add_fields, json_object, names, parse_time, to_text
from meshdiag.formats.base import UNPARSED, Format
from meshdiag.lazyre import lazy
from meshdiag.model import Record

NAME = "ztunnel-log"
ACCESS_NAME = "ztunnel-access"
FIRST = "0123456789{tdiweaxbchmnoprstvz"

ACCESS_KEYS = names(
    "src.addr src.workload src.namespace src.identity src.cluster dst.addr dst.hbone_addr dst.service dst.workload "
    "dst.namespace dst.identity dst.cluster direction bytes_sent bytes_recv duration error"
)
"""The fields of an access line (1.22; `cluster` since 1.31), in the order they are written."""

_LOG_KEYS = ACCESS_KEYS | names(
    "err address component transparent uid name namespace type_url nonce type hostname id peer local resources"
)
# Targets without "::". `dns`, `config` and `proxy` are left out: Istio's Go components have such scopes or words.
_TARGETS = names(
    "ztunnel app state xds cert_fetcher readiness hyper_util socket drain signal admin access copy hbone inpod "
    "telemetry identity workload"
)
_CRATES = ("ztunnel", "hyper", "h2", "rustls", "tower", "tonic", "trust_dns", "hickory", "tokio", "boring", "kube")
_ROOTS = names("admin cert_fetcher config dns drain identity inpod proxy rbac readiness state tls xds workload")

_KEY = r"[A-Za-z_][\w.-]*="
_NEW = lazy(
    rf"(?:({TIME})[\t ]+)?(?:(trace|debug|info|warn|error)([\t ]+))?"
    r"([a-z_]\w*+(?:::\w++)*+)((?::(?!:)[\w-]++(?:\{[^{}\n]*\})?)*+)([\t ]+|\Z)"
)
_OLD = lazy(rf"({TIME})[\t ]+(TRACE|DEBUG|INFO|WARN|ERROR) +")
_OLD_SPAN = lazy(r"([\w-]+\{[^{}\n]*\}):[ ]?")
_OLD_TARGET = lazy(r"([a-z_]\w*(?:::\w+)*): ")
_ACCESS = lazy(
    rf"(?:({TIME})[\t ]+)?(?:(trace|debug|info|warn|error)[\t ]+)?access[\t ]+"
    r"(connection (?:complete|failed|opened)|[^\t=]{1,100}?)(?:\t[\t ]*| +(?=[a-z]+\.)|\s*\Z)"
)
_WORD = lazy(r'(?:"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[^\s"])++')
_PAIR = lazy(rf"({_KEY})(.*)", re.DOTALL)
_FIELD = lazy(rf'({_KEY})("(?:[^"\\]|\\.)*+"|[^\s"]++)(?: |\s*\Z)')
_WIDE_FIELDS = lazy(rf"(?<![\t ])(?: {{2,}}|\t)[\t ]*+(?={_KEY})")
_ESCAPE = lazy(r"\\(?:u\{([0-9a-fA-F]{1,6})\}|(.))", re.DOTALL)
_PLAIN = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}


def _unescape(match: re.Match[str]) -> str:
    if match.group(1) is None:
        return _PLAIN.get(match.group(2), match.group(2))
    code = int(match.group(1), 16)
    return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "\ufffd"


def _unquote(value: str) -> str:
    """A string of Rust's Debug form without its quotes; the closing one may be cut off."""
    if not value.startswith('"'):
        return value
    if "\\" not in value and value.find('"', 1) == len(value) - 1 > 0:
        return value[1:-1]
    word = _WORD.match(value)
    if word is None or word.end() != len(value):
        return value
    value = value[1:-1] if len(value) > 1 and value.endswith('"') else value[1:]
    return _ESCAPE.sub(_unescape, value) if "\\" in value else value


def _words(text: str) -> list[str]:
    return _WORD.findall(text)


def _pairs(words: Iterable[str]) -> dict[str, str]:
    """Words to fields; a word without `key=` belongs to the value before it (`error=io error: refused`)."""
    fields: dict[str, list[str]] = {}
    parts: list[str] = []
    for word in words:
        if pair := _PAIR.match(word):
            parts = [pair.group(2)]
            fields.setdefault(pair.group(1)[:-1], parts)
        else:
            parts.append(word)
    return {key: _unquote(" ".join(parts)) for key, parts in fields.items()}


def _read(text: str) -> dict[str, str]:
    """The text of all fields to fields: quickly when it is well-formed, else by its words."""
    fields: dict[str, str] = {}
    at, end, match = 0, len(text), _FIELD.match
    while at < end:
        field = match(text, at)
        if field is None:
            return _pairs(_words(text))
        key, value = field.groups()
        fields.setdefault(key[:-1], _unquote(value) if value[0] == '"' else value)
        at = field.end()
    return fields


def _split(body: str) -> tuple[str, dict[str, str]]:
    """Message and fields of a body: at the TAB or the wide gap before the first `key=`, else by the words."""
    if gap := _WIDE_FIELDS.search(body):
        return body[: gap.start()], _read(body[gap.end() :])
    if "=" not in body:
        return body.rstrip(), {}
    words = _words(body)
    keys = [m.group(1)[:-1] if (m := _PAIR.match(w)) else "" for w in words]
    start = next((i for i, key in enumerate(keys) if key in _LOG_KEYS), len(words))
    if start == len(words):  # no known key: the last words, if all are pairs
        while start > 0 and keys[start - 1]:
            start -= 1
    while start > 0 and keys[start - 1]:
        start -= 1
    if start == len(words):
        return body.rstrip(), {}
    return " ".join(words[:start]), _pairs(words[start:])


def parse(text: str) -> Record | None:
    """A line of ztunnel's own log, or None (also for its access lines).

    Fields: `scope` (the target without `ztunnel::` and without spans), `span` (`xds{id=24}`), and the line's own.
    """
    text = text[:LIMIT]
    if text.startswith("{"):
        return _parse_json(text, access=False)
    if text[:1].isdigit() and not _may_be(text[:200]):
        return None
    if (head := _NEW.match(text)) and _is_target(head, text):
        time, level, _, target, spans, _ = head.groups()
        message, fields = _split(text[head.end() :])
        return _record(text, message, time, level or "", target, spans[1:], fields)
    if head := _OLD.match(text):
        return _parse_old(text, head)
    return None


def _may_be(start: str) -> bool:
    """A cheap look at the words of a line with a time: is the third a target, or the second a level in capitals?"""
    if "::" in start:
        return True
    words = start.split(None, 3)
    if len(words) < 3:
        return False
    return words[2] in _TARGETS or "{" in words[2] or words[1].isupper()


def _is_target(head: re.Match[str], text: str) -> bool:
    """Does a module path stand where it should? A single word must be a known target, and a pasted line without time
    must have a path of a known module."""
    time, level, gap, target, spans, after = head.groups()
    if target == "access" and text.startswith("connection ", head.end()):
        return False
    path = "::" in target
    if level is None:
        wide = "\t" in after or len(after) > 1
        return time is None and path and wide and target.partition("::")[0] in _ROOTS
    if path or "{" in spans:
        return True
    if target not in _TARGETS or spans:
        return False
    return time is not None or "\t" in gap


def _parse_old(text: str, head: re.Match[str]) -> Record | None:
    time, level = head.groups()
    at = head.end()
    spans = []
    while span := _OLD_SPAN.match(text, at):
        spans.append(span.group(1))
        at = span.end()
    target = _OLD_TARGET.match(text, at)
    if target is None or not target.group(1).startswith(_CRATES):
        return None
    message, fields = _split(text[target.end() :])
    return _record(text, message, time, level.lower(), target.group(1), ":".join(spans), fields)


def parse_access(text: str) -> Record | None:
    """A connection line, or None. Fields have ztunnel's names (`src.addr` .. `error`); the message is `connection ...`.

    A word that is no field and no part of a value (a line that somebody edited) makes the record unparsed.
    """
    text = text[:LIMIT]
    if text.startswith("{"):
        return _parse_json(text, access=True)
    if "access" not in text[:80]:
        return None
    head = _ACCESS.match(text)
    if head is None:
        return None
    time, level, message = head.groups()
    if not message.startswith("connection ") and (time is None or level is None):
        return None
    body = text[head.end() :]
    if '=\\"' in body and '="' not in body:
        body = body.replace('\\"', '"')  # cut out of a JSON string
    body = body.strip()
    fields: dict[str, str] = {}
    if body and body.partition("=")[0] not in ACCESS_KEYS:
        fields[UNPARSED] = "no field after the message"
    else:
        add_fields(fields, _read(body))
    return _access_record(text, message, time, level or "", fields, "text")


def _parse_json(text: str, *, access: bool) -> Record | None:
    if '"level"' not in text or '"message"' not in text:
        return None
    obj = json_object(text)
    if obj is None or not isinstance(level := obj.get("level"), str) or level.lower() not in LEVELS:
        return None
    inner = obj.get("fields")
    if isinstance(obj.get("target"), str) and isinstance(inner, dict):  # up to 1.21: tracing_subscriber's own JSON
        scope, time, values = str(obj["target"]), obj.get("timestamp"), dict(inner)
        if not scope.startswith(_CRATES):
            return None
        spans = _json_spans({"spans": obj.get("spans")})
    else:
        scope_value, time = obj.get("scope"), obj.get("time")
        if not isinstance(scope_value, str) or "msg" in obj:
            return None
        scope = scope_value
        values = {k: v for k, v in obj.items() if k not in ("level", "time", "scope")}
        spans = _json_spans(values)
    message = to_text(values.pop("message", None)) or ""
    if access != (scope == "access" and message.startswith("connection ")):
        return None
    fields: dict[str, str] = {}
    add_fields(fields, {k: v for k, v in values.items() if not isinstance(v, dict | list)})
    if access:
        return _access_record(text, message, time, level.lower(), fields, "json")
    return _record(text, message, time, level.lower(), scope, spans, fields, "json")


def _json_spans(values: dict[str, Any]) -> str:
    """Spans as the text form writes them: `inbound{id=7 peer=10.0.0.1:5}`."""
    spans = []
    for name, span in values.items():
        if isinstance(span, dict):
            spans.append((name, span))
        elif isinstance(span, list):
            spans += [(str(s.get("name", "")), s) for s in span if isinstance(s, dict)]
    return ":".join(
        name + "{" + " ".join(f"{k}={to_text(v)}" for k, v in span.items() if k != "name") + "}" for name, span in spans
    )


def _record(
    text: str,
    message: str,
    time: object,
    level: str,
    target: str,
    spans: str,
    values: dict[str, str],
    encoding: str = "text",
) -> Record:
    fields = {"scope": target.removeprefix("ztunnel::")}
    if spans:
        fields["span"] = spans
    add_fields(fields, values)
    return Record(NAME, text, message.strip(), parse_time(time), LEVELS.get(level, ""), "ztunnel", encoding, fields)


def _access_record(text: str, message: str, time: object, level: str, fields: dict[str, str], encoding: str) -> Record:
    return Record(
        ACCESS_NAME, text, message.strip(), parse_time(time), LEVELS.get(level, ""), "ztunnel", encoding, fields
    )


_SOURCE = "istio/ztunnel src/telemetry.rs and src/proxy/metrics.rs, 1.18 to 1.31"
FORMAT = Format(NAME, _SOURCE, parse, ("text", "json"), multiline=True)
ACCESS_FORMAT = Format(ACCESS_NAME, _SOURCE, parse_access, ("text", "json"))
FORMATS = (ACCESS_FORMAT, FORMAT)
