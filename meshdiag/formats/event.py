"""Kubernetes events: rows of `kubectl get events`, `kubectl events`, `kubectl describe`; Event objects as JSON."""

from __future__ import annotations

import re
from typing import Any

from meshdiag.formats._common import LIMIT, is_event, json_object, parse_time, to_text
from meshdiag.formats.base import Format
from meshdiag.lazyre import lazy
from meshdiag.model import Record

NAME = "event"
FIRST = None  # a row may begin with a namespace, an age, a type or blanks

_AGE = r"(?:(?:\d+[smhdy]){1,4}|<unknown>|<invalid>)"
_TIMES = rf"(?: \(x(?P<count>\d+) over {_AGE}\))?"
_TYPE = r"(?P<type>Normal|Warning)"
_REASON = r"(?P<reason>[A-Z]\w*)"
_NAMESPACE = r"(?:(?P<namespace>[a-z0-9][a-z0-9-]{0,62})\s+)?"
_OBJECT = r"(?P<kind>[A-Za-z][\w.]*)/(?P<name>[\w.:-]+)"

# LAST SEEN  TYPE  REASON  OBJECT  [SUBOBJECT  SOURCE]  MESSAGE
_GET = lazy(rf"\s*{_NAMESPACE}{_AGE}{_TIMES}\s+{_TYPE}\s+{_REASON}\s+{_OBJECT}\s+")
# kubectl up to 1.13: LAST SEEN  FIRST SEEN  COUNT  NAME  KIND  [SUBOBJECT]  TYPE  REASON  SOURCE  MESSAGE
_OLD = lazy(
    rf"\s*{_NAMESPACE}{_AGE}\s+{_AGE}\s+(?P<count>\d+)\s+(?P<name>[\w.:-]+)\.[0-9a-f]{{8,20}}\s+(?P<kind>[A-Z]\w*)\s+"
    rf"(?:(?P<sub>[\w.]+\{{[^}}\s]*\}})\s+)?{_TYPE}\s+{_REASON}\s+(?P<source>[\w.-]+(?:, [\w.-]+)?)\s+"
)
# describe: Type  Reason  Age  From  Message
_DESCRIBE = lazy(rf"\s*{_TYPE}\s+{_REASON}\s+{_AGE}{_TIMES}\s+(?P<source>[\w./-]+(?:, [\w.-]+)?)\s+(?=\S)")
_WIDE_TAIL = lazy(rf"\s+{_AGE}\s+(?P<count>\d+)\s+[\w.:-]+\.[0-9a-f]{{8,20}}\s*\Z")
_WIDE_FRONT = lazy(r"(?:(?P<sub>[\w.]+\{[^}\s]*\})\s+)?(?P<source>[a-z][\w./-]*(?:, [\w.-]+)?)\s{2,}(?=\S)")
_CONTAINER = lazy(r"\w+\{([a-z0-9.-]{1,253})\}")
_SPAN = 600  # the columns before the message stand in the first characters


def parse(text: str) -> Record | None:
    """An event, or None. Fields, where known: `type reason object_kind object namespace source count container`.

    `object_kind` is in lower case (`pod`): a row of kubectl writes it so, a JSON object would say `Pod`.
    """
    if text.startswith("{"):
        return _parse_json(text[:LIMIT])
    if "Warning" not in (start := text[:_SPAN]) and "Normal" not in start:
        return None
    text = text[:LIMIT]
    for pattern in (_DESCRIBE, _GET, _OLD):
        if row := pattern.match(text):
            return _row(text, row)
    return None


def _row(text: str, row: re.Match[str]) -> Record:
    found = {k: v for k, v in row.groupdict().items() if v}
    message = text[row.end() :].strip()
    tail = _WIDE_TAIL.search(message, max(0, len(message) - 400))
    if tail is not None:
        found["count"] = tail.group("count")
        message = message[: tail.start()]
        if front := _WIDE_FRONT.match(message):
            found |= {k: v for k, v in front.groupdict().items() if v}
            message = message[front.end() :]
    fields = {
        "type": found["type"],
        "reason": found["reason"],
        "object_kind": found.get("kind", "").lower(),
        "object": found.get("name", ""),
        "namespace": found.get("namespace", ""),
        "source": found.get("source", ""),
        "count": found.get("count", ""),
        "container": _container(found.get("sub")),
    }
    return _record(text, message, None, fields, "text")


def _parse_json(text: str) -> Record | None:
    if '"reason"' not in text or ('"involvedObject"' not in text and '"regarding"' not in text):
        return None
    obj = json_object(text)
    if obj is None or not is_event(obj):
        return None
    about = _dict(obj, "involvedObject") or _dict(obj, "regarding")
    series = _dict(obj, "series")
    fields = {
        "type": to_text(obj.get("type")),
        "reason": to_text(obj.get("reason")),
        "object_kind": (to_text(about.get("kind")) or "").lower(),
        "object": to_text(about.get("name")),
        "namespace": to_text(about.get("namespace")) or to_text(_dict(obj, "metadata").get("namespace")),
        "source": to_text(_dict(obj, "source").get("component")) or to_text(obj.get("reportingComponent")),
        "count": to_text(obj.get("count") or series.get("count") or obj.get("deprecatedCount")),
        "container": _container(to_text(about.get("fieldPath"))),
    }
    times = (
        series.get("lastObservedTime"),
        obj.get("lastTimestamp"),
        obj.get("eventTime"),
        obj.get("deprecatedLastTimestamp"),
        obj.get("firstTimestamp"),
        _dict(obj, "metadata").get("creationTimestamp"),
    )
    time = next((t for t in times if t), None)
    message = to_text(obj.get("message", obj.get("note"))) or ""
    return _record(text, message.strip(), time, {k: v or "" for k, v in fields.items()}, "json")


def _dict(obj: dict[str, Any], key: str) -> dict[str, Any]:
    value = obj.get(key)
    return value if isinstance(value, dict) else {}


def _container(field_path: str | None) -> str:
    """`spec.containers{istio-proxy}` -> `istio-proxy`."""
    match = _CONTAINER.search(field_path[:600]) if field_path else None
    return match.group(1) if match else ""


def _record(text: str, message: str, time: object, fields: dict[str, str], encoding: str) -> Record:
    level = "warning" if fields["type"] == "Warning" else "info"
    kept = {k: v for k, v in fields.items() if v}
    return Record(NAME, text, message, parse_time(time), level, "kubernetes", encoding, kept)


FORMAT = Format(NAME, "kubectl 1.8 to 1.35, core/v1 and events.k8s.io/v1", parse, ("text", "json"))
