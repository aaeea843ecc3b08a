"""The head of an HTTP answer as a client printed it (`curl -v`, `-i`, `-I`): a status line and the headers below it.

One header says little; together they tell who answered. An Envoy that answers itself sends `server` and no
`x-envoy-upstream-service-time`, and its 404 and 502 have no body. The parts are put together under a name of their own
and handed on as one `text` record (see `_assembly`), so that a pattern writes `format: text` and conditions on the fields.
"""

from __future__ import annotations

from dataclasses import replace

from meshdiag.formats._common import LIMIT
from meshdiag.formats.base import Format
from meshdiag.lazyre import lazy
from meshdiag.model import Record

NAME = "http-answer"
FIRST = "<H"

# The answers that Envoy gives itself with a status that applications use too; others are known by their status line.
_HEAD = lazy(
    r"(?P<mark>< )?HTTP/(?:1\.[01]|2|3)(?:\.0)? (?P<status>40[134]|429|50[0234])(?: [A-Za-z][A-Za-z' -]{0,40})?\s{0,5}(?:\n|\Z)"
)
_HEADER = lazy(r"(?P<mark>< ?)?(?P<name>[A-Za-z][\w-]{0,60}): ?(?P<value>[^\n]{0,4000})")

# What curl -v says between the headers (lib/http.c, lib/cookie.c).
_REMARK = lazy(
    r"\* (?:Server \S{1,200} is (?:not )?blacklisted|(?:Added|Replaced) cookie |skipped cookie |cookie '|HTTP error before end)"
)

_KEPT = frozenset(
    {
        "server",
        "content-length",
        "content-type",
        "location",
        "grpc-status",
        "grpc-message",
        "x-envoy-upstream-service-time",
    }
)


def parse(text: str) -> Record | None:
    """A status line with the headers below it, or None.

    Fields: `status` and the headers that tell who answered, in lower case with `_` for `-`; `own` is `yes` for what a
    proxy of the mesh (`server: envoy`, `istio-envoy`) answered without an upstream, else `no`.
    """
    text = text[:LIMIT]
    head = _HEAD.match(text)
    if head is None:
        return None
    fields = {"status": head["status"]}
    for line in text[head.end() :].splitlines():
        header = _HEADER.match(line)
        if header is not None and (name := header["name"].lower()) in _KEPT:
            fields.setdefault(name.replace("-", "_"), header["value"].strip())
    own = fields.get("server") in ("envoy", "istio-envoy") and "x_envoy_upstream_service_time" not in fields
    return Record(NAME, text, text, fields=fields | {"own": "yes" if own else "no"})


def goes_on(head: str, line: str) -> bool:
    """Whether an unwrapped line is a header of the answer that begins with the line `head`: both have curl's `<`, or none.

    A remark of curl's between them goes along.
    """
    if head.startswith("<") and _REMARK.match(line):
        return True
    header = _HEADER.match(line)
    return header is not None and bool(header["mark"]) == head.startswith("<")


def as_text(record: Record) -> Record:
    """The record under the name that patterns know; another record as it is."""
    return replace(record, format="text") if record.format == NAME else record


FORMAT = Format(NAME, "curl 7.29 to 8.16; answers of Envoy 1.36 to 1.40 (observed)", parse, multiline=True)
