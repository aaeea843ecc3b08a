"""API objects as a kube-apiserver writes them: compact JSON in Go's order of fields, `Status` bodies, times."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]

SECOND = 1_000_000_000


@functools.lru_cache(maxsize=4096)
def rfc3339(second: int) -> str:
    """A second of Unix time as the API writes times of objects: `2026-11-22T23:32:13Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second))


@functools.lru_cache(maxsize=256)
def stamp_prefix(second: int) -> bytes:
    """What times of lines in one second begin with: `2026-11-22T23:32:13.`."""
    return rfc3339(second)[:-1].encode() + b"."


def stamp(at: int) -> bytes:
    """Nanoseconds of Unix time as the kubelet puts them before a line, nine digits and a blank."""
    second, rest = divmod(at, SECOND)
    return b"%s%09dZ " % (stamp_prefix(second), rest)


# Go's encoder escapes these in strings, and they occur nowhere else in JSON.
_GO = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_GO_TABLE = str.maketrans(_GO)


def encode(value: Any) -> bytes:
    """JSON as Go writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).translate(_GO_TABLE).encode()


class ApiError(Exception):
    """An answer that is a `Status`: takes what `status` takes."""

    def __init__(
        self, code: int, reason: str, message: str, details: Json | None = None, metadata: Json | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.object = status(code, reason, message, details, metadata)
        retry = (details or {}).get("retryAfterSeconds")
        self.headers: tuple[tuple[str, str], ...] = (("Retry-After", str(retry)),) if retry else ()


def status(code: int, reason: str, message: str, details: Json | None = None, metadata: Json | None = None) -> Json:
    """A failure as the API describes it; without a `reason` it has none, as errors that the server does not know."""
    out: Json = {"kind": "Status", "apiVersion": "v1", "metadata": metadata or {}, "status": "Failure"}
    out["message"] = message
    if reason:
        out["reason"] = reason
    if details is not None:
        out["details"] = details
    out["code"] = code
    return out


def bad_request(message: str) -> ApiError:
    """400 with a message."""
    return ApiError(400, "BadRequest", message)


def not_found(resource: str, name: str) -> ApiError:
    """404 of an object."""
    return ApiError(404, "NotFound", f'{resource} "{name}" not found', {"name": name, "kind": resource})


def internal_error(message: str) -> ApiError:
    """500 with the message of what went wrong behind the server."""
    details = {"causes": [{"message": message}]}
    return ApiError(500, "InternalError", f"Internal error occurred: {message}", details)


class Cause(NamedTuple):
    """A field that is invalid, why (in the API's words for it), and the message."""

    reason: str
    message: str
    field: str


def invalid(kind: str, name: str, causes: Sequence[Cause]) -> ApiError:
    """422 of an object, with one cause or more."""
    texts = [f"{cause.field}: {cause.message}" for cause in causes]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = {"name": name, "kind": kind, "causes": [cause._asdict() for cause in causes]}
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {text}', details)


def expired(message: str, metadata: Json | None = None) -> ApiError:
    """410 of a version that is too old."""
    return ApiError(410, "Expired", message, None, metadata)


class Object:
    """One version of an object: its JSON (not to be changed), and that encoded once."""

    __slots__ = ("_body", "api_version", "data", "kind")

    def __init__(self, kind: str, data: Json, api_version: str = "v1") -> None:
        self.kind = kind
        self.api_version = api_version
        self.data = data
        self._body: bytes | None = None

    @property
    def body(self) -> bytes:
        """The object as an item of a list, without its kind."""
        if self._body is None:
            self._body = encode(self.data)
        return self._body

    @property
    def whole(self) -> bytes:
        """The object with its kind."""
        return b'{"kind":"%s","apiVersion":"%s",' % (self.kind.encode(), self.api_version.encode()) + self.body[1:]

    @property
    def key(self) -> str:
        """Where it stands in lists: the namespace, if it has one, and the name."""
        meta = self.data["metadata"]
        namespace = meta.get("namespace")
        return f"{namespace}/{meta['name']}" if namespace else str(meta["name"])

    def at(self, version: int) -> Object:
        """The same object with another resource version."""
        meta = {**self.data["metadata"], "resourceVersion": str(version)}
        return Object(self.kind, {**self.data, "metadata": meta}, self.api_version)


_KEYS = {"containers": "name", "initContainers": "name", "ownerReferences": "uid", "conditions": "type", "podIPs": "ip"}
"""By which field the items of a list are told apart; lists that are not here belong to one manager as a whole."""


def managed(value: Json) -> Json:
    """The set of the fields of `value` as `fieldsV1` writes it."""
    out: Json = {}
    for name, part in value.items():
        if isinstance(part, Mapping):
            out[f"f:{name}"] = managed(dict(part)) if part else {}
        elif name in _KEYS and isinstance(part, Iterable):
            key = _KEYS[name]
            items = {f"k:{json.dumps({key: item[key]}, separators=(',', ':'))}": managed(item) for item in part}
            out[f"f:{name}"] = {".": {}, **{k: {".": {}, **v} for k, v in items.items()}}
        else:
            out[f"f:{name}"] = {}
    return out
