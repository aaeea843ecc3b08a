"""All formats, found by looking: a module of this package that has `FORMAT` (or `FORMATS`) is one.

A module may say `FIRST`: the characters one of which its records begin with, so that other lines do not ask it.
Without it (or None) it is asked about every line.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Final

import meshdiag.formats as package
from meshdiag.formats import text as text_format
from meshdiag.formats._common import LIMIT
from meshdiag.formats.base import Format
from meshdiag.model import Record

# Who is asked first where several could answer; a module that is not named comes after these.
_ORDER: Final = ("envoy_log", "ztunnel", "istio_log", "klog", "access", "analysis", "event")


def _discover() -> list[tuple[Format, str | None]]:
    found = []
    names = [m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")]
    rank = {name: i for i, name in enumerate(_ORDER)}
    for name in sorted(names, key=lambda n: (rank.get(n, len(rank)), n)):
        if name == "text":
            continue
        module = import_module(f"{package.__name__}.{name}")
        formats = getattr(module, "FORMATS", None) or (getattr(module, "FORMAT", None),)
        found += [(f, getattr(module, "FIRST", None)) for f in formats if isinstance(f, Format)]
    return found


_FOUND: Final = _discover()
FORMATS: Final[tuple[Format, ...]] = (*(f for f, _ in _FOUND), text_format.FORMAT)
"""Every format in the order in which it is asked; the last takes any text."""

BY_NAME: Final = {f.name: f for f in FORMATS}
MULTILINE: Final = frozenset(f.name for f in FORMATS if f.multiline)

_ANY: Final = tuple(f.parse for f, first in _FOUND if first is None)
_BY_FIRST: Final = {
    c: tuple(f.parse for f, first in _FOUND if first is None or c in first)
    for c in {c for _, first in _FOUND if first for c in first}
}


def detect(text: str) -> Record:
    """The record that this text is: an unwrapped line, its continuation lines behind it. `text` as the last resort.

    Never raises; of more than 64 KiB only the beginning is read.
    """
    if len(text) > LIMIT:
        text = text[:LIMIT]
    for parse in _BY_FIRST.get(text[:1], _ANY):
        record = parse(text)
        if record is not None:
            return record
    return text_format.parse(text)


def is_head(line: str) -> bool:
    """Does this unwrapped line begin a record of a structured format?"""
    return detect(line).format != text_format.NAME
