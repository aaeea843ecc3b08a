"""The confirm step: a record is tested on its fields. Equal records are decided once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from meshdiag.catalogue import NONE, Catalogue, Pattern
from meshdiag.catalogue.conditions import (
    SEARCH_LIMIT,
    Test,
    compile_condition,
    field_value,
    normal,
    search,
    searches,
    texts,
)
from meshdiag.engine.prefilter import Prefilter
from meshdiag.model import Match, Record

MEMO_SIZE = 50_000
"""Decisions that are remembered; beyond it the memory starts anew (it is only a shortcut)."""

_LONG = 4_000  # longer values are not worth keeping as keys

Decision = tuple[Pattern, str, Mapping[str, str]]


_NUMERIC = frozenset({"min", "max", "absent"})


Outcome = Callable[[str | None], object]


def _key_of(patterns: tuple[Pattern, ...]) -> tuple[tuple[str, ...], tuple[tuple[str, Outcome], ...]]:
    """What a decision depends on: fields by value, and by the outcome of their tests where the values vary without end.

    A duration is only compared, an address only asked for: their outcomes are few, their values are not.
    """
    values: set[str] = set()
    outcomes: dict[str, dict[str, Outcome]] = {}
    for p in patterns:
        chooses = {p.cause_field} if p.cause_by else set()
        values |= p.fields - p.when.keys()
        for name, condition in p.when.items():
            if not _countable(condition) or name in p.captures:
                values.add(name)
            elif normal(condition).keys() == {"absent"}:
                outcomes.setdefault(name, {})["absent"] = is_absent
            elif name in chooses:
                outcomes.setdefault(name, {})[p.id] = _choice(p, compile_condition(condition))
            else:
                outcomes.setdefault(name, {})[repr(condition)] = compile_condition(condition)
    by_outcome = [(n, t) for n in sorted(outcomes.keys() - values) for t in outcomes[n].values()]
    return tuple(sorted(values - {"message", "level", "component"})), tuple(by_outcome)


def is_absent(value: str | None) -> object:
    """The outcome of a test that only asks whether there is a value."""
    return value is None


def _choice(pattern: Pattern, test: Test) -> Outcome:
    """Of a value that passes the test: which cause the pattern would choose by it."""

    def outcome(value: str | None) -> object:
        return test(value) and next((i for i, (e, _) in enumerate(pattern.cause_by) if search(e, value or "")), -1)

    return outcome


def _countable(condition: Any) -> bool:
    parts = normal(condition)
    numbers = [a for op, arg in parts.items() if op not in _NUMERIC for a in texts(arg)]
    return parts.keys() <= _NUMERIC | {"equals", "one_of"} and all(n.isdigit() for n in numbers)


_MANY = 8
"""By a field that so many patterns name they are told apart."""


class _Screen:
    """Those of some patterns that a record may meet, by what fields that many of them name have for a value: few values are met often."""

    def __init__(self, patterns: Sequence[Pattern], positions: Sequence[int]) -> None:
        self._positions = positions
        named = Counter(name for i in positions for name in patterns[i].when)
        self._tests: dict[str, list[tuple[int, Test, bool]]] = {n: [] for n, count in named.items() if count >= _MANY}
        for number, i in enumerate(positions):
            for name, condition in patterns[i].when.items():
                if name in self._tests:
                    self._tests[name].append((1 << number, compile_condition(condition), searches(condition)))
        self._memo: dict[tuple[str, str | None], int] = {}

    def possible(self, record: Record) -> list[int]:
        """The positions of the patterns."""
        failed = 0
        for name in self._tests:
            key = name, field_value(record, name)
            known = self._memo.get(key)
            failed |= self._failed(*key) if known is None else known
        return [position for number, position in enumerate(self._positions) if not failed >> number & 1]

    def _failed(self, name: str, value: str | None) -> int:
        tests = self._tests[name]
        # an expression is compiled only when nothing else speaks against the pattern; a missing value needs none
        failed = sum(bit for bit, test, dear in tests if not (dear and value is not None) and not test(value))
        if value is None or len(value) < _LONG:
            if len(self._memo) >= MEMO_SIZE:
                self._memo.clear()
            self._memo[name, value] = failed
        return failed


def _nothing(text: str) -> Iterable[int]:
    return ()


class Classifier:
    """Decides which pattern a record matches; the decision depends only on the fields that patterns of its format name."""

    def __init__(self, catalogue: Catalogue, filter_: Prefilter | None = None, wanted: Sequence[str] = ()) -> None:
        """`filter_` was made of the expressions `wanted`: it also tells which patterns a record may meet at all. Without one, which is
        slower, but made at once, all patterns are asked.
        """
        self.catalogue = catalogue
        self._met = filter_.met if filter_ else _nothing
        number = {e: i for i, e in enumerate(wanted)}
        self._of_expression: dict[int, list[int]] = {}
        self._always: dict[str, list[int]] = {}
        for position, p in enumerate(catalogue.patterns):
            expressions = p.prefilter if filter_ else ()
            for f in () if expressions else p.formats:
                self._always.setdefault(f, []).append(position)
            for e in expressions:
                self._of_expression.setdefault(number[e], []).append(position)
        self._screens: dict[str, _Screen] = {}
        self._keys: dict[str, tuple[tuple[str, ...], tuple[tuple[str, Outcome], ...]]] = {}
        self._memo: dict[tuple[Any, ...], Decision | None] = {}

    def depends_on(self, format: str) -> tuple[tuple[str, ...], tuple[tuple[str, Outcome], ...]]:
        """What decisions about a format depend on: fields by value, and fields by the outcome of a test."""
        try:
            return self._keys[format]
        except KeyError:  # made when the first record of the format comes: most inputs have a few of them
            key = self._keys[format] = _key_of(self.catalogue.by_format.get(format, ()))
            return key

    def decide(self, record: Record) -> Decision | None:
        """(pattern, cause, captures) of the pattern that wins, or None."""
        if len(record.message) > _LONG:
            return self._decide(record)
        names, digests = self.depends_on(record.format)
        get = record.fields.get
        key = (
            record.format,
            record.component,
            record.level,
            record.message,
            *map(get, names),
            *[test(get(name)) for name, test in digests],
        )
        try:
            return self._memo[key]
        except KeyError:
            decision = self._decide(record)
            if len(self._memo) >= MEMO_SIZE:
                self._memo.clear()
            self._memo[key] = decision
            return decision

    def _decide(self, record: Record) -> Decision | None:
        pattern = self._find(record)
        if pattern is None:
            return None
        captures = pattern.capture(record)
        if isinstance(pattern.subject, Mapping):  # its template may name fields
            for name in pattern.fields:
                if name not in captures and name not in ("message", "level") and (v := field_value(record, name)):
                    captures[name] = v
        return pattern, pattern.cause_of(record), captures

    def _find(self, record: Record) -> Pattern | None:
        """As `Catalogue.find`, without asking patterns whose necessary text is not there: there are hundreds."""
        screen = self._screens.get(record.format)
        if screen is None:
            always = self._always.get(record.format, ())
            screen = self._screens[record.format] = _Screen(self.catalogue.patterns, always)
        possible = set(screen.possible(record))
        for i in self._met(record.text[:SEARCH_LIMIT]):
            possible.update(self._of_expression.get(i, ()))
        patterns = self.catalogue.patterns
        for position in sorted(possible):
            if patterns[position].holds(record):
                return patterns[position]
        return None

    def match(self, record: Record) -> Match | None:
        """The match, with cause "" when the pattern says the record is harmless."""
        decision = self.decide(record)
        if decision is None:
            return None
        pattern, cause, captures = decision
        return Match(record, pattern.id, "" if cause == NONE else cause, captures)
