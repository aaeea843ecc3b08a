"""The confirm step: a record is tested on its fields. Equal records are decided once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshdiag.catalogue import NONE, Catalogue, Pattern
from meshdiag.catalogue.conditions import field_value
from meshdiag.model import Match, Record

MEMO_SIZE = 50_000
"""Decisions that are remembered; beyond it the memory starts anew (it is only a shortcut)."""

_LONG = 4_000  # longer values are not worth keeping as keys

Decision = tuple[Pattern, str, Mapping[str, str]]


class Classifier:
    """Decides which pattern a record matches; the decision depends only on the fields that patterns of its format name."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._fields = {
            f: tuple(sorted(frozenset().union(*(p.fields for p in ps)) - {"level", "component", "message"}))
            for f, ps in catalogue.by_format.items()
        }
        self._memo: dict[tuple[Any, ...], Decision | None] = {}

    def decide(self, record: Record) -> Decision | None:
        """(pattern, cause, captures) of the pattern that wins, or None."""
        names = self._fields.get(record.format)
        if names is None or len(record.message) > _LONG:
            return self._decide(record)
        get = record.fields.get
        key = (record.format, record.component, record.level, record.message, *map(get, names))
        try:
            return self._memo[key]
        except KeyError:
            decision = self._decide(record)
            if len(self._memo) >= MEMO_SIZE:
                self._memo.clear()
            self._memo[key] = decision
            return decision

    def _decide(self, record: Record) -> Decision | None:
        pattern = self.catalogue.find(record)
        if pattern is None:
            return None
        captures = pattern.capture(record)
        if isinstance(pattern.subject, Mapping):  # its template may name fields
            for name in pattern.fields:
                if name not in captures and name not in ("message", "level") and (v := field_value(record, name)):
                    captures[name] = v
        return pattern, pattern.cause_of(record), captures

    def match(self, record: Record) -> Match | None:
        """The match, with cause "" when the pattern says the record is harmless."""
        decision = self.decide(record)
        if decision is None:
            return None
        pattern, cause, captures = decision
        return Match(record, pattern.id, "" if cause == NONE else cause, captures)
