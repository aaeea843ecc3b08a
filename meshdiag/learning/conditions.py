"""A mined template as conditions on a field: literal text escaped, what varies as a named capture, linear time.

No quantifier is nested in an unbounded one, and between two that could take the same characters stands one that neither
takes (mining.RUN sees to it): a search tries each beginning once and does not go back over what it has read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from meshdiag.learning.mining import RUN, WORD, Piece

MAX_CAPTURES = 8
MAX_CONTAINS = 3
MIN_CONTAINS = 5

START, WORD_START, ANYWHERE = "^", r"(?<!\S)", ""

# what engine/shapes.py blanks, kind by kind; WORD is a word that differs between samples
_KINDS = {
    "uuid": ("id", r"[0-9a-fA-F-]{24,}"),
    "time": ("time", r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\dZ+:]*"),
    "ip": ("address", r"[\da-fA-F.:\[\]]+"),
    "pod": ("pod", r"[a-z0-9-]{1,62}-[a-f0-9]{8,10}-[a-z0-9]{5}"),
    "hex": ("id", r"(?:0x[0-9a-fA-F]+|[0-9a-f]{12,})"),
    "num": ("number", r"\d+(?:\.\d+)?"),
    RUN: ("value", r"[\dA-Za-z.:\[\]-]+"),
    WORD: ("value", r"\S+"),
}
_QUOTED = {'"': r'"{}[^"\n]*{}"', "'": r"'{}[^'\n]*{}'"}


@dataclass(frozen=True, slots=True)
class Expression:
    """Conditions of one field, and the captures from it: `capture` is "" when nothing varies."""

    condition: dict[str, Any]
    capture: str
    literals: tuple[str, ...]


def expression(pieces: Sequence[Piece], anchor: str) -> Expression:
    """The conditions that a text of this template meets. `anchor` is START, WORD_START or ANYWHERE."""
    literals = tuple(run for p in pieces if not p.kind for run in p.text.split("\t") if run)
    plain = len(pieces) == 1 and not pieces[0].kind and "\t" not in pieces[0].text
    if plain:
        operator = "starts" if anchor == START else "contains"
        return Expression({operator: pieces[0].text}, "", literals)
    named = "".join(_written(pieces, named=True))
    anonymous = "".join(_written(pieces, named=False))
    longest = sorted((t for t in literals if len(t) >= MIN_CONTAINS), key=lambda t: (-len(t), t))[:MAX_CONTAINS]
    contains = [t for t in dict.fromkeys(literals) if t in longest]
    condition: dict[str, Any] = {"contains": contains} if contains else {}
    return Expression(
        {**condition, "regex": anchor + anonymous}, anchor + named if named != anonymous else "", literals
    )


def escaped(text: str) -> str:
    """Literal text in a regular expression; `re.escape` also escapes blanks and hyphens, which nobody can read."""
    return re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text).replace("\t", r"\s+")


def _written(pieces: Sequence[Piece], *, named: bool) -> Iterator[str]:
    used: dict[str, int] = {}

    def group(name: str) -> tuple[str, str]:
        if not named or sum(used.values()) >= MAX_CAPTURES:
            return "", ""
        used[name] = used.get(name, 0) + 1
        return f"(?P<{name}{'' if used[name] == 1 else used[name]}>", ")"

    for p in pieces:
        if not p.kind:
            yield escaped(p.text)
        elif p.kind == "string":
            yield _QUOTED[p.text[0]].format(*group("text"))
        else:
            name, body = _KINDS[p.kind]
            begin, end = group(name)
            yield begin + body + end
