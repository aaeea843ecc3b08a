"""Python's regular expressions as POSIX extended ones, so that `grep -E` can be asked the same question (and ripgrep).

An extended expression has no `\\d`, `(?:…)`, `(?i:…)` or lazy repeat, and GNU grep warns of escapes it does not need.
Only whether a line matches counts, so groups may capture and lazy repeats may be greedy.
"""

from __future__ import annotations

import re
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_SPECIAL = frozenset(".[\\*^$+?{}()|")
_CLASSES = {c.CATEGORY_DIGIT: "0-9", c.CATEGORY_SPACE: "[:space:]", c.CATEGORY_WORD: "[:alnum:]_"}
_NEGATED = {
    c.CATEGORY_NOT_DIGIT: "0-9",
    c.CATEGORY_NOT_SPACE: "[:space:]",
    c.CATEGORY_NOT_WORD: "[:alnum:]_",
}
_ANCHORS = {c.AT_BEGINNING: "^", c.AT_END: "$", c.AT_BOUNDARY: r"\b", c.AT_NON_BOUNDARY: r"\B"}


class Untranslatable(ValueError):
    """The expression has a part that `grep -E` does not know, such as a look-ahead."""


def translate(expression: str) -> str:
    """The extended regular expression that matches in the same lines. Raises Untranslatable."""
    tree = parser.parse(expression)
    return _sequence(tree, bool(tree.state.flags & re.IGNORECASE))


_RUST_ESCAPES = frozenset("\\.+*?()|[]{}^$#&-~/")


def for_ripgrep(expression: str) -> str:
    """The expression for ripgrep, which refuses escapes that are not needed, such as that of a tab."""
    return re.sub(
        r"\\(.)",
        lambda m: m[0] if m[1] in _RUST_ESCAPES or (m[1].isascii() and m[1].isalnum()) else m[1],
        expression,
        flags=re.DOTALL,
    )


def _sequence(tree: Any, fold: bool) -> str:
    return "".join(_item(op, arg, fold) for op, arg in tree)


def _item(op: Any, arg: Any, fold: bool) -> str:
    if op is c.LITERAL:
        return _literal(chr(arg), fold)
    if op is c.NOT_LITERAL:
        return _bracket([(c.NEGATE, None), (c.LITERAL, arg)], fold)
    if op is c.ANY:
        return "."
    if op is c.IN:
        return _bracket(arg, fold)
    if op is c.AT and arg in _ANCHORS:
        return _ANCHORS[arg]
    if op is c.BRANCH:
        return "(" + "|".join(_sequence(branch, fold) for branch in arg[1]) + ")"
    if op is c.SUBPATTERN:
        _, added, removed, tree = arg
        return "(" + _sequence(tree, (fold or bool(added & re.IGNORECASE)) and not removed & re.IGNORECASE) + ")"
    if op in (c.MAX_REPEAT, c.MIN_REPEAT):
        return _repeat(arg, fold)
    raise Untranslatable(str(op))


def _repeat(arg: Any, fold: bool) -> str:
    low, high, tree = arg
    inner = _sequence(tree, fold)
    if len(tree) != 1 or tree[0][0] not in (c.LITERAL, c.NOT_LITERAL, c.ANY, c.IN, c.SUBPATTERN, c.BRANCH):
        inner = f"({inner})"
    short = {(0, c.MAXREPEAT): "*", (1, c.MAXREPEAT): "+", (0, 1): "?"}
    times = short.get((low, high)) or (
        f"{{{low}}}" if low == high else f"{{{low},{'' if high is c.MAXREPEAT else high}}}"
    )
    return inner + times


def _literal(char: str, fold: bool) -> str:
    if char in "\n\0" or not char.isascii():
        raise Untranslatable(repr(char))
    if fold and char.isalpha():
        return f"[{char.lower()}{char.upper()}]"
    return "\\" + char if char in _SPECIAL - {"}"} else char


def _bracket(items: list[tuple[Any, Any]], fold: bool) -> str:
    negated, parts, chars = False, [], set()
    for op, arg in items:
        if op is c.NEGATE:
            negated = True
        elif op is c.LITERAL:
            chars |= {chr(arg).lower(), chr(arg).upper()} if fold else {chr(arg)}
        elif op is c.RANGE and not fold:
            parts.append(f"{chr(arg[0])}-{chr(arg[1])}")
        elif op is c.CATEGORY and arg in _CLASSES:
            parts.append(_CLASSES[arg])
        elif op is c.CATEGORY and arg in _NEGATED and len(items) == 1:
            negated = True
            parts.append(_NEGATED[arg])
        else:
            raise Untranslatable(str((op, arg)))
    chars.discard("\n")  # no line has one
    # in a bracket a backslash is plain; "]" must stand first, "-" last, "^" not first, and "[" not before a colon or dot
    body = "]" * ("]" in chars) + "".join(sorted(chars - set("[]^-"))) + "".join(parts)
    body += "".join(char for char in "[^-" if char in chars)
    if not body:
        return "."  # all but a line end
    if not negated and body.startswith("^"):
        return r"\^" if body == "^" else "[-^]"
    return ("[^" if negated else "[") + body + "]"
