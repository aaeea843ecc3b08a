"""Conditions on fields: compiled once, tested on a record, and read for their literal text.

A condition is a mapping of operators that must all hold (docs/architecture.md, "Pattern files").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import regex

from meshdiag.model import Record

Test = Callable[[str | None], bool]

REGEX_TIMEOUT = 0.2
"""Seconds a single search may take: no pattern can hang the tool (a search normally takes microseconds)."""

SEARCH_LIMIT = 65_536
"""Characters of a value that a regular expression sees."""


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> regex.Pattern[str]:
    """The compiled regular expression; raises `regex.error` for a broken one."""
    return regex.compile(pattern)


def search(pattern: str, value: str) -> regex.Match[str] | None:
    """Search with a time limit; a search that runs out of time is no match."""
    try:
        return compiled(pattern).search(value, 0, SEARCH_LIMIT, timeout=REGEX_TIMEOUT)
    except TimeoutError:
        return None


def normal(condition: Any) -> dict[str, Any]:
    """The mapping form of a condition: a bare text or number means `equals`."""
    return condition if isinstance(condition, dict) else {"equals": condition}


def texts(value: Any) -> list[str]:
    """A text or a list of texts, as a list."""
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]


def searches(condition: Any) -> bool:
    """Whether a condition asks for a regular expression, which costs more than all else and is compiled when it is first asked."""
    parts = normal(condition)
    return "regex" in parts or ("not" in parts and searches(parts["not"]))


def cheap_first(when: Mapping[str, Any]) -> list[str]:
    """The names of conditions in the order in which they are best asked: the cheap ones spare most expressions."""
    return sorted(when, key=lambda name: searches(when[name]))


def compile_condition(condition: Any) -> Test:
    """A test of a field's value (None when the record has no such field)."""
    tests = [_operator(op, arg) for op, arg in normal(condition).items()]
    if len(tests) == 1:
        return tests[0]
    return lambda value: all(t(value) for t in tests)


def _operator(op: str, arg: Any) -> Test:
    match op:
        case "equals":
            wanted = str(arg)
            return lambda v: v == wanted
        case "one_of":
            among = frozenset(texts(arg))
            return lambda v: v in among
        case "contains":
            parts = texts(arg)
            if len(parts) == 1:
                part = parts[0]
                return lambda v: v is not None and part in v
            return lambda v: v is not None and all(p in v for p in parts)
        case "contains_any":
            parts = texts(arg)
            return lambda v: v is not None and any(p in v for p in parts)
        case "starts":
            heads = tuple(texts(arg))
            return lambda v: v is not None and v.startswith(heads)
        case "ends":
            tails = tuple(texts(arg))
            return lambda v: v is not None and v.endswith(tails)
        case "regex":
            return lambda v: v is not None and search(arg, v) is not None
        case "has":
            members = frozenset(texts(arg))
            return lambda v: v is not None and not members.isdisjoint(v.split(","))
        case "min":
            return lambda v: (n := number(v)) is not None and n >= arg
        case "max":
            return lambda v: (n := number(v)) is not None and n <= arg
        case "absent":
            return lambda v: (v is None) is arg
        case "not":
            inner = compile_condition(arg)
            return lambda v: not inner(v)
    raise ValueError(f"unknown operator {op!r}")  # the schema lets none through


def number(value: str | None) -> float | None:
    """The number a field holds, or None."""
    if value is None:
        return None
    try:
        return float(value)
    except ValueError:
        return None


def field_value(record: Record, name: str) -> str | None:
    """A field of the record, or one of its own attributes (`message`, `level`, `component`, `encoding`)."""
    if name == "message":
        return record.message or None
    value = record.fields.get(name)
    if value is None and name in ("level", "component", "encoding", "format"):
        return getattr(record, name) or None
    return value


def literal_length(when: Mapping[str, Any]) -> int:
    """How specific conditions are: the total length of their literal text."""
    total = 0
    for condition in when.values():
        for op, arg in normal(condition).items():
            match op:
                case "equals" | "regex":
                    total += len(str(arg))
                case "contains" if isinstance(arg, list):
                    total += sum(map(len, arg))
                case "contains" | "one_of" | "contains_any" | "starts" | "ends" | "has":
                    total += min(map(len, texts(arg)))
                case _:
                    total += 1
    return total
