"""What the format modules share: times, levels, safe JSON. A name with an underscore is no format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from meshdiag.formats.base import UNPARSED
from meshdiag.lazyre import lazy

LIMIT = 64 * 1024
"""Characters of a record that a format looks at; the rest of a longer one is cut."""

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)"
"""An RFC 3339 time with its zone, as Istio, ztunnel, the kubelet and kubectl write it."""

LEVELS: Mapping[str, str] = {
    "trace": "trace",
    "debug": "debug",
    "info": "info",
    "notice": "info",
    "warn": "warning",
    "warning": "warning",
    "error": "error",
    "err": "error",
    "critical": "critical",
    "fatal": "critical",
    "panic": "critical",
}
"""A written level (lower case) to the level of a Record."""

_RESERVED = frozenset({UNPARSED})


def parse_time(text: object) -> datetime | None:
    """RFC 3339 text (a blank for the T and a missing zone, read as UTC, are allowed) or seconds since 1970, else None.

    Whole numbers of milli-, micro- and nanoseconds are told from seconds by their size.
    """
    try:
        if isinstance(text, str):
            if len(text) > 40:
                return None
            if text.isdigit():
                return _from_epoch(int(text))
            time = datetime.fromisoformat(text)
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        if isinstance(text, int | float) and not isinstance(text, bool):
            return _from_epoch(text)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def _from_epoch(number: float) -> datetime | None:
    for scale in (1, 1e3, 1e6, 1e9):
        seconds = number / scale
        if seconds < 1e8:  # before 1973: not the time of a log
            return None
        if seconds < 1e10:
            return datetime.fromtimestamp(seconds, UTC)
    return None


_json_memo: tuple[str, dict[str, Any] | None] = ("", None)


def json_object(text: str) -> dict[str, Any] | None:
    """The JSON object that the text is, or None. Never raises; lone surrogates become U+FFFD.

    An object that is cut off gives the members that are complete: a string or number that is cut is left out, so no
    half value is taken for a whole one. A comma after the object (a line of a pretty-printed list) is allowed.
    The last answer is kept, because several formats ask about the same line.
    """
    global _json_memo  # one slot: a lost race costs a second parse and nothing else
    memo = _json_memo
    if memo[0] == text and text:
        return memo[1]
    result = _parse_object(text)
    _json_memo = (text, result)
    return result


def _parse_object(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        try:
            value = json.loads(text, strict=False)  # a pasted one may hold raw TABs and line breaks
        except json.JSONDecodeError as error:
            if error.msg == "Extra data" and text[error.pos :].strip(" \t\r\n,") == "":
                value = json.loads(text[: error.pos], strict=False)
            elif error.msg == "Extra data":
                return None
            else:
                value = _complete_members(text)
        if not isinstance(value, dict):
            return None
        return _clean(value) if "\\ud" in text or "\\uD" in text else value
    except (ValueError, RecursionError):
        return None


_DECODER = json.JSONDecoder(strict=False)
_KEY = lazy(r'[{,]\s*"((?:[^"\\]|\\.)*+)"\s*:\s*')


def _complete_members(text: str) -> dict[str, Any] | None:
    """The leading members of an object that is cut off or broken later; None when there is none."""
    members: dict[str, Any] = {}
    at = 0
    while (key := _KEY.match(text, at)) is not None:
        try:
            value, at = _DECODER.raw_decode(text, key.end())
        except json.JSONDecodeError:
            break
        if at >= len(text) and not isinstance(value, str | dict | list):
            break  # a number at the very end may be cut
        name = key.group(1)
        members[json.loads(f'"{name}"', strict=False) if "\\" in name else name] = value
        while at < len(text) and text[at] in " \t\r\n":
            at += 1
    return members or None


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_clean(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_clean(v) for v in value]
    return value


def names(text: str) -> frozenset[str]:
    """The words of a text as a set: a readable way to write a long one."""
    return frozenset(text.split())


def to_text(value: Any) -> str | None:
    """A JSON value as a field: text as it is, numbers and booleans as JSON writes them, null None."""
    if value is None:
        return None
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError):
        return None


def add_fields(fields: dict[str, str], values: Mapping[str, Any]) -> None:
    """Adds what is not there yet: a label of a line never replaces what the format itself read."""
    for key, value in values.items():
        if key in _RESERVED or key in fields:
            continue
        text = to_text(value)
        if text is not None:
            fields[key] = text


def is_own_json(obj: Mapping[str, Any]) -> bool:
    """Is this object a record of a mesh format (so that its `message` is not what a collector put around a line)?"""
    if "response_code" in obj or "response_flags" in obj or "upstream_cluster" in obj:
        return True  # access log
    if isinstance(obj.get("level"), str):
        if "msg" in obj and ("time" in obj or "scope" in obj or "caller" in obj or "ts" in obj):
            return True  # Istio, Envoy
        if "message" in obj and isinstance(obj.get("scope"), str):
            return True  # ztunnel
        if isinstance(obj.get("target"), str) and isinstance(obj.get("fields"), dict):
            return True  # ztunnel up to 1.21
        if is_analysis(obj):
            return True
    return is_event(obj)


def is_event(obj: Mapping[str, Any]) -> bool:
    """A Kubernetes Event object (core/v1 or events.k8s.io/v1)."""
    return "reason" in obj and (isinstance(obj.get("involvedObject"), dict) or isinstance(obj.get("regarding"), dict))


def is_analysis(obj: Mapping[str, Any]) -> bool:
    """A message of `istioctl analyze -o json` or of the validationMessages of a resource's status."""
    code = obj.get("code")
    if not isinstance(code, str):
        kind = obj.get("type")
        code = kind.get("code") if isinstance(kind, dict) else None
    return isinstance(code, str) and code.startswith("IST") and "level" in obj
