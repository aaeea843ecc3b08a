"""What the pieces of a line are, for colours: of a log, of YAML. Pure; the pieces together are the text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from meshdiag.views.style import Style

Piece = tuple[str, str]
"""A kind ("" for nothing special) and a text."""

_LOG = re.compile(
    r"(?P<time>\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)"
    r"|(?P<bad>(?<![\w-])(?:error|fatal|critical|panic|ERROR|FATAL|CRITICAL)(?![\w-]))"
    r"|(?P<warn>(?<![\w-])(?:warn(?:ing)?|WARN(?:ING)?)(?![\w-]))"
    r"|(?P<level>(?<![\w-])(?:info|debug|trace|INFO|DEBUG|TRACE)(?![\w-]))"
    r'|(?<=" )(?:(?P<badcode>[45]\d\d|0)|(?P<code>[123]\d\d))(?= (?P<flags>[A-Z]{2,6}(?:,[A-Z]{2,6})*|-)(?: |$))'
    r"|(?<=\d )(?P<flag>[A-Z]{2,6}(?:,[A-Z]{2,6})*)(?= )"
    r"|(?P<cluster>\b(?:out|in)bound(?:-vip)?\|[^\s\"]*)"
    r'|(?P<string>"[^"\n]{0,2000}")'
    r"|(?P<id>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)"
    r"|(?P<address>\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b)"
)
_KINDS = {
    "badcode": "bad",
    "flag": "bad",
    "code": "good",
    "cluster": "name",
    "id": "dim",
    "level": "dim",
    "time": "dim",
}


def log_line(text: str) -> Iterator[Piece]:
    """The pieces of a line of a log."""
    at = 0
    for m in _LOG.finditer(text):
        if m.start() > at:
            yield "", text[at : m.start()]
        name = next(n for n in _NAMES if m[n] is not None)
        yield _KINDS.get(name, name), m[0]
        at = m.end()
    if at < len(text):
        yield "", text[at:]


_NAMES = [n for n in _LOG.groupindex if n != "flags"]


_YAML = re.compile(
    r"(?P<comment>(?:^|(?<= ))\#.*)"
    r"|(?P<name>(?:(?<=^)|(?<=- )|(?<= ))[\w./$<>-]+(?=:(?: |$)))"
    r"|(?P<string>\"[^\"]*\"|'[^']*')"
    r"|(?P<number>(?<=[ \[,])-?\d+(?:\.\d+)?(?=[\],]|$)|(?<= )(?:true|false|null)(?=$))"
)


def yaml_line(text: str) -> Iterator[Piece]:
    """The pieces of a line of YAML."""
    at = 0
    for m in _YAML.finditer(text):
        if m.start() > at:
            yield "", text[at : m.start()]
        yield m.lastgroup or "", m[0]
        at = m.end()
    if at < len(text):
        yield "", text[at:]


_PAINTS = {
    "bad": ("red",), "warn": ("yellow",), "good": ("green",), "dim": ("dim",), "comment": ("dim",), "name": ("cyan",),
    "string": ("green",), "number": ("magenta",), "address": ("blue",),
}  # fmt: skip


def painted(pieces: Iterable[Piece], style: Style) -> str:
    """The text of pieces in colours of the terminal. It was made harmless before."""
    return "".join(style(text, *_PAINTS[kind]) if kind in _PAINTS else text for kind, text in pieces)
