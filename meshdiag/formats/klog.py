"""Bare klog lines: `E0712 18:20:34.334620       1 reflector.go:138] message`.

They come from other Kubernetes programs, and from istiod before its own logger is set up (Istio 1.6 to 1.31).
"""

from __future__ import annotations

from meshdiag.formats._common import LIMIT, add_fields
from meshdiag.formats.base import Format
from meshdiag.lazyre import lazy
from meshdiag.model import Record

NAME = "klog"
FIRST = "IWEF"

_LEVELS = {"I": "info", "W": "warning", "E": "error", "F": "critical"}
_HEAD = lazy(r"([IWEF])\d{4} \d\d:\d\d:\d\d\.\d{6}\s+(\d+) ([^\s:\]]+:\d+)\] ?")
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_STRUCTURED = lazy(rf"{_QUOTED}(?= )")
_PAIR = lazy(rf" ([A-Za-z_][\w.-]*)=({_QUOTED}|[^\s\"]\S*)")


def parse(text: str) -> Record | None:
    """A klog line, or None. The line has no year, so the record has no time.

    The message stays whole; the `key="value"` pairs of structured klog (`"Failed to watch" err="..."`) are fields too.
    """
    head = _HEAD.match(text)
    if head is None:
        return None
    text = text[:LIMIT]
    message = text[head.end() :].rstrip()
    fields = {"caller": head.group(3), "thread": head.group(2)}
    if start := _STRUCTURED.match(message):
        at = start.end()
        while pair := _PAIR.match(message, at):
            value = pair.group(2)
            if value.startswith('"'):
                value = value[1:-1].replace('\\"', '"').replace("\\\\", "\\")
            add_fields(fields, {pair.group(1): value})
            at = pair.end()
    return Record(NAME, text, message, None, _LEVELS[head.group(1)], "", "text", fields)


FORMAT = Format(NAME, "k8s.io/klog v2 header; client-go as linked into Istio 1.6 to 1.31", parse, multiline=True)
