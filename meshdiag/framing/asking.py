"""What patterns ask of an access log line, so that lines of which all answers are the same are decided once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from meshdiag.catalogue import Pattern
from meshdiag.catalogue.conditions import Test, cheap_first, compile_condition, field_value, normal, search, texts
from meshdiag.formats.access import DERIVED
from meshdiag.framing.access import MIDDLE, STRETCH_OF, STRETCHES, TEXTS
from meshdiag.framing.columns import ACCESS_COLUMNS
from meshdiag.framing.native import NUMBERS
from meshdiag.model import Record

Outcome = Callable[[Record], object]


class Asked:
    """What patterns ask of a line of the format.

    stretches  what is asked of one stretch: outcomes that tell its texts apart (those of MIDDLE are told apart anyway)
    breaks     of a number where an outcome may change, ascending; None when any two values may differ
    texts      columns whose texts are asked for
    present    columns of which only matters whether there is a text
    time       whether a pattern asks for the time
    parts      the names of all these, in this order: stretches and columns
    """

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self.stretches: dict[str, list[Outcome]] = {}
        self.texts: set[str] = set()
        self.time = False
        self._present: set[str] = set()
        self._breaks: dict[str, set[int] | None] = {}
        self._values: set[str] = set()
        self._needs = [self._add(pattern) for pattern in patterns]
        self.present = sorted(self._present - self.texts)
        self.breaks = {n: None if b is None else sorted(b) for n, b in self._breaks.items()}
        named = (*self.stretches, *self.breaks, *sorted(self.texts), *self.present)
        self.parts = (*named, "start_time") if self.time else named

    @property
    def columns(self) -> set[str]:
        """Columns that must be read to answer."""
        return {*self.breaks, *self.texts, *self.present, *(STRETCHES[s][0] for s in self.stretches)}

    def needed(self, record: Record) -> int:
        """Which of the parts may decide about lines with the MIDDLE of a record, as bits: what is asked by patterns that it lets pass."""
        names: set[str] = set()
        for settled, parts in self._needs:
            if not parts <= names and all(test(field_value(record, name)) for name, test in settled):
                names |= parts
        return sum(1 << i for i, part in enumerate(self.parts) if part in names)

    def _add(self, pattern: Pattern) -> tuple[list[tuple[str, Test]], set[str]]:
        """Notes what a pattern asks: what MIDDLE alone answers, and the parts that answer all else."""
        tests: dict[str, dict[str, Test]] = {}
        choices: dict[str, Outcome] = {}
        settled: dict[str, Test] = {}
        parts: set[str] = set()
        for name, condition in pattern.when.items():
            stretch, own = self._place(name, condition)
            if not own:
                settled[name] = compile_condition(condition)
            elif stretch:
                tests.setdefault(stretch, {})[name] = compile_condition(condition)
            parts |= own
        if pattern.cause_by:
            own_condition = pattern.when.get(pattern.cause_field)
            # where the pattern asks for certain values, these are told apart already
            certain = own_condition is not None and normal(own_condition).keys() <= {"equals", "one_of"}
            stretch, own = self._place(pattern.cause_field, own_condition if certain else None)
            if stretch:
                choices[stretch] = _choice(pattern)
            parts |= own
        for stretch in {**tests, **choices}.keys() - {MIDDLE}:
            outcome = _outcome(tests.get(stretch, {}), pattern.when, choices.get(stretch))
            self.stretches.setdefault(stretch, []).append(outcome)
        return _ordered(settled, pattern.when), parts

    def _place(self, name: str, condition: Any) -> tuple[str | None, set[str]]:
        """Notes what a condition on a field (None: any question) asks for; the stretch that answers it alone, if there is one, and the
        parts that answer it (MIDDLE is none). Without either all lines of the format have the same answer.
        """
        sources = DERIVED.get(name, (name,))
        columns = [ACCESS_COLUMNS.get(source, source) for source in sources]
        if len({STRETCH_OF.get(column) for column in columns}) == 1 and columns[0] in STRETCH_OF:
            return STRETCH_OF[columns[0]], {STRETCH_OF[columns[0]]} - {MIDDLE}
        parts: set[str] = set()
        for source, column in zip(sources, columns, strict=True):
            if stretch := STRETCH_OF.get(column):  # one of several: each stretch is read without the others
                parts.add(stretch)
                if source not in self._values and stretch != MIDDLE:
                    self._values.add(source)
                    self.stretches.setdefault(stretch, []).append(_value(source))
            elif column in NUMBERS:
                parts.add(column)
                known, new = self._breaks.setdefault(column, set()), _breaks(condition)
                self._breaks[column] = None if known is None or new is None else known | new
            elif column in TEXTS:
                parts.add(column)
                absent = name == "upstream_connected" or (
                    condition is not None and normal(condition).keys() == {"absent"}
                )
                (self._present if absent else self.texts).add(column)
            elif column == "start_time":
                parts.add(column)
                self.time = True
        return None, parts


def _value(name: str) -> Outcome:
    return lambda record: field_value(record, name)


def _outcome(tests: Mapping[str, Test], when: Mapping[str, Any], choice: Outcome | None) -> Outcome:
    """Whether all tests hold, and then the choice."""
    ordered = _ordered(tests, when)

    def outcome(record: Record) -> object:
        for name, test in ordered:
            if not test(field_value(record, name)):
                return None
        return choice(record) if choice else True

    return outcome


def _ordered(tests: Mapping[str, Test], when: Mapping[str, Any]) -> list[tuple[str, Test]]:
    return [(name, tests[name]) for name in cheap_first(when) if name in tests]


def _choice(pattern: Pattern) -> Outcome:
    """Which of its rules for the cause holds first."""

    def outcome(record: Record) -> object:
        value = field_value(record, pattern.cause_field)
        return next((i for i, (e, _) in enumerate(pattern.cause_by) if value is not None and search(e, value)), -1)

    return outcome


_BEYOND: Final = 10**9
"""More than an integer that is read in columns."""


def _breaks(condition: Any) -> set[int] | None:
    """Where a condition on a number may change its outcome: a value counts to what lies above. None: anywhere."""
    found: set[int] = set()
    parts: dict[str, Any] = {"other": None} if condition is None else normal(condition)
    for operator, argument in parts.items():
        match operator:
            case "absent":
                pass
            case "min" | "max" if math.isnan(argument):
                pass  # never holds
            case "min":
                found.add(math.ceil(max(-1, min(argument, _BEYOND))))
            case "max":
                found.add(math.floor(max(-1, min(argument, _BEYOND))) + 1)
            case "equals" | "one_of":
                numbers = (min(int(t), _BEYOND) for t in texts(argument) if t.isascii() and t.isdigit() and len(t) < 20)
                found.update(n for number in numbers for n in (number, number + 1))
            case "not" if (inner := _breaks(argument)) is not None:
                found |= inner
            case _:
                return None
    return found
