"""Commands that change what is seen, and how."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

from meshdiag.model import MeshdiagError, Severity
from meshdiag.shell import results as r
from meshdiag.shell.commands.table import command, moment, number, one_of
from meshdiag.shell.state import FILTERS, Settings, State

BOUNDS = {"limit": (0, 100_000), "lines": (1, 100_000), "context": (0, 1_000)}
CHOICES = {"theme": ("dark", "light", "none"), "keys": ("emacs", "vi")}
YES, NO = ("true", "on", "yes"), ("false", "off", "no")


@command(
    "filter",
    "[FIELD VALUE… | clear [FIELD]]",
    "narrow findings to a namespace, workload, pod, cause, severity, since, until",
    "view",
    takes="filter",
)
def _filter(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    if not words:
        rows = tuple((name, ", ".join(values)) for name, values in state.filters.items())
        yield (
            r.Table("Filters", rows, "filter clear takes them away")
            if rows
            else r.Said("no filters", hint=f"filter {'|'.join(FILTERS)} VALUE")
        )
        return
    name, *values = words
    if name == "clear":
        for one in values:
            if one not in state.filters:
                there = ", ".join(state.filters) or "none"
                raise MeshdiagError(f"there is no filter on {one[:80]}: there are {there}")
        for one in dict.fromkeys(values or list(state.filters)):
            del state.filters[one]
    else:
        state.filters[one_of(name, FILTERS, "filter")] = _values(name, values, state)
    state.numbers = {}
    left = len(state.diagnosis().failures)
    what = state.filtered or "no filters"
    yield r.Said(f"{what}: {left} failure{'s' * (left != 1)}" if state.is_open else what)


def _values(name: str, words: list[str], state: State) -> tuple[str, ...]:
    """The values of a filter. Raises MeshdiagError for wrong ones."""
    if name in ("since", "until", "severity"):
        values = words
        if len(words) > 1:
            raise MeshdiagError(f"filter {name} takes one value: filter {name} {words[0][:80]}")
    else:
        values = [value for word in words for value in word.split(",")]
    if not values or not all(values):
        raise MeshdiagError(f"filter {name} takes a value: filter {name} VALUE, or filter clear {name}")
    if name == "cause":
        for value in values:
            one_of(value, state.catalogue.causes, "cause")
    elif name == "severity":
        one_of(values[0], [s.value for s in Severity], "severity")
    elif name in ("since", "until"):
        seen = state.work.diagnosis().seen
        latest = seen.last or datetime.now(UTC)
        return (moment(values[0], seen.first or latest, latest).isoformat().replace("+00:00", "Z"),)
    return tuple(dict.fromkeys(values))


@command("set", "[NAME VALUE]", "settings: redact, limit, lines, context, theme, keys", "view", takes="setting", most=2)
def _set(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    names = tuple(f.name for f in fields(Settings))
    if not words:
        rows = tuple((n, _said(getattr(state.settings, n))) for n in names)
        yield r.Table("Settings", rows, "set NAME VALUE changes one")
        return
    name = one_of(words[0], names, "setting")
    if len(words) < 2:
        raise MeshdiagError(f"set {name} to what? It is {_said(getattr(state.settings, name))}")
    value: bool | int | str
    if name in BOUNDS:
        value = number(words[1], name, *BOUNDS[name])
    elif name in CHOICES:
        value = one_of(words[1], CHOICES[name], name)
    else:
        value = one_of(words[1].lower(), [*YES, *NO], name) in YES
    changed: Any = {name: value}
    state.settings = replace(state.settings, **changed)
    yield r.Said(f"{name} is {_said(value)} now")


def _said(value: bool | int | str) -> str:
    return str(value).lower()
