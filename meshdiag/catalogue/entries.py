"""The entries of the catalogue: `Cause` and `Pattern`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Any

from meshdiag.catalogue.conditions import (
    REGEX_TIMEOUT,
    SEARCH_LIMIT,
    Test,
    cheap_first,
    compile_condition,
    compiled,
    field_value,
    literal_length,
    search,
)
from meshdiag.model import Confidence, Kind, Record, Severity

NONE = "none"
"""The cause of a pattern that only says: known and harmless."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "log": ("istio-log", "envoy-log", "klog", "ztunnel-log", "text"),
    "any": (
        "access-log",
        "envoy-log",
        "istio-log",
        "klog",
        "ztunnel-log",
        "ztunnel-access",
        "event",
        "analysis",
        "text",
    ),
}


@dataclass(frozen=True, slots=True)
class Explains:
    """One symptom of a cause and where and when that holds.

    scope   `same-pod`, `same-edge` (client and server), `same-destination` or `same-mesh`
    order   `before`: the cause must have begun before the symptom did; `any`: they need only go together
    within  seconds that may lie between them; 0 leaves it to the state: what lasts explains until it is over
    """

    cause: str
    scope: str
    order: str = "any"
    within: float = 0.0


_SECONDS = {"s": 1, "m": 60, "h": 3600}


def seconds(duration: str) -> float:
    """The seconds of `30s`, `5m` or `1h`."""
    return float(int(duration[:-1]) * _SECONDS[duration[-1]])


def _explains(raw: Mapping[str, Any]) -> Explains:
    within = seconds(raw.get("within", "0s"))
    return Explains(raw["cause"], raw["scope"], raw.get("order", "any"), within)


@dataclass(frozen=True)
class Cause:
    """What is wrong (or right), what it explains, and what to do. `remedies` are raw: `meshdiag.remedies` fills them in.

    relayed  `upstream`: a line of this cause only repeats what the next hop decided, whose log says why; `downstream`: what the
             hop before it did
    about    `istiod`: whoever wrote the line, it is one fault of the control plane
    """

    id: str
    kind: Kind
    severity: Severity
    title: str
    explanation: str
    explains: tuple[Explains, ...] = ()
    recovered_by: tuple[str, ...] = ()
    relayed: str = ""
    about: str = ""
    checks: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()
    tell_apart: str = ""
    remedies: tuple[Mapping[str, Any], ...] = ()
    references: tuple[str, ...] = ()
    file: str = ""

    @classmethod
    def from_raw(cls, raw: Mapping[str, Any]) -> Cause:
        """From the validated mapping of a cause file."""
        return cls(
            id=raw["id"],
            kind=Kind(raw["kind"]),
            severity=Severity(raw["severity"]),
            title=raw["title"].strip(),
            explanation=raw["explanation"].strip(),
            explains=tuple(_explains(e) for e in raw.get("explains", ())),
            recovered_by=tuple(raw.get("recovered_by", ())),
            relayed=raw.get("relayed", ""),
            about=raw.get("about", ""),
            checks=tuple(raw.get("checks", ())),
            alternatives=tuple(raw.get("alternatives", ())),
            tell_apart=raw.get("tell_apart", "").strip(),
            remedies=tuple(raw.get("remedies", ())),
            references=tuple(raw.get("references", ())),
            file=raw.get("file", ""),
        )


@dataclass(frozen=True)
class Pattern:
    """A rule that recognises a record and names a cause. See docs/architecture.md, "Pattern files"."""

    id: str
    cause: str
    formats: tuple[str, ...]
    when: Mapping[str, Any]
    component: str = ""
    cause_by: tuple[tuple[str, str], ...] = ()
    cause_field: str = "message"
    captures: Mapping[str, str] = field(default_factory=dict)
    level: frozenset[str] = frozenset()
    priority: int = 0
    confidence: Confidence = Confidence.LIKELY
    alternatives: tuple[str, ...] = ()
    subject: Any = None
    milestone: str = ""
    change: str = ""
    since: str = ""
    until: str = ""
    note: str = ""
    covers: tuple[str, ...] = ()
    prefilter: tuple[str, ...] = ()
    examples: tuple[Mapping[str, Any], ...] = ()
    near_misses: tuple[Mapping[str, Any], ...] = ()
    file: str = ""
    line: int = 0

    @classmethod
    def from_raw(cls, raw: Mapping[str, Any]) -> Pattern:
        """From the validated, resolved mapping that `load` makes of a pattern file."""
        pattern = object.__new__(cls)
        # as __init__ would, in a third of its time: that sets every field of a frozen class by a call, and there are a thousand patterns
        values = pattern.__dict__
        values.update(_DEFAULTS, captures={})
        values.update((k, _AS[k](v) if k in _AS else v) for k, v in raw.items() if k in values)
        if lost := [k for k in ("id", "cause", "formats", "when") if values[k] is MISSING]:
            raise KeyError(*lost)
        return pattern

    @cached_property
    def order(self) -> tuple[int, int, str]:
        """Patterns are tried in this order; the first that holds wins."""
        return -self.priority, -literal_length(self.when), self.id

    @cached_property
    def causes(self) -> frozenset[str]:
        """Every cause this pattern can name."""
        return frozenset((self.cause, *(c for _, c in self.cause_by)))

    @cached_property
    def fields(self) -> frozenset[str]:
        """Every field that decides about this pattern, its cause and its captures."""
        names = {*self.when, *self.captures}
        if self.cause_by:
            names.add(self.cause_field)
        if isinstance(self.subject, Mapping):
            names.update(n for t in self.subject.values() for n in compiled(r"\{([\w.-]+)\}").findall(str(t)))
        return frozenset(names)

    @cached_property
    def _tests(self) -> tuple[tuple[str, Test], ...]:
        return tuple((n, compile_condition(self.when[n])) for n in cheap_first(self.when))

    def holds(self, record: Record) -> bool:
        """Whether the record is of this pattern's format and component and meets every condition."""
        if record.format not in self.formats:
            return False
        if self.component and record.component and record.component != self.component:
            return False
        if self.level and record.level not in self.level:
            return False
        for name, test in self._tests:  # noqa: SIM110  a generator would cost as much as the tests
            if not test(field_value(record, name)):
                return False
        return True

    def why_not(self, record: Record) -> list[str]:
        """The conditions that the record fails, in words, for `explain --why-not`."""
        out = []
        if record.format not in self.formats:
            out.append(f"format is {record.format}, not {' or '.join(self.formats)}")
        if self.component and record.component and record.component != self.component:
            out.append(f"component is {record.component}, not {self.component}")
        if self.level and record.level not in self.level:
            out.append(f"level is {record.level or 'not known'}, not {' or '.join(sorted(self.level))}")
        for name, test in self._tests:
            if not test(value := field_value(record, name)):
                shown = "absent" if value is None else repr(value[:120])
                out.append(f"{name} is {shown}, wanted {self.when[name]}")
        return out

    def cause_of(self, record: Record) -> str:
        """The cause for a record that holds."""
        if self.cause_by:
            value = field_value(record, self.cause_field)
            for expression, cause in self.cause_by:
                if value is not None and search(expression, value):
                    return cause
        return self.cause

    def capture(self, record: Record) -> dict[str, str]:
        """The named values of a record that holds."""
        out: dict[str, str] = {}
        for name, expression in self.captures.items():
            value = field_value(record, name)
            if value is None:
                continue
            try:
                m = compiled(expression).search(value, 0, SEARCH_LIMIT, timeout=REGEX_TIMEOUT)
            except TimeoutError:
                continue
            if m:
                out.update((k, v) for k, v in m.groupdict().items() if v is not None)
        return out


_DEFAULTS: Mapping[str, Any] = {f.name: f.default for f in fields(Pattern)}
_AS: Mapping[str, Callable[[Any], Any]] = {
    "formats": tuple,
    "cause_by": lambda rules: tuple([(r["regex"], r["cause"]) for r in rules]),
    "level": frozenset,
    "confidence": Confidence,
    "alternatives": tuple,
    "covers": tuple,
    "prefilter": lambda expressions: tuple(expressions or ()),
    "examples": tuple,
    "near_misses": tuple,
}
"""How a pattern keeps what a file has in another form."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """A rule over the times of other patterns' matches: A then B, A without B, or at least N of A in a time.

    first     A: ids of patterns, and `cause:ID` for whatever named that cause
    then      B: one within `within` seconds after an A
    without   B: none after the last A, although the log goes on for `within` seconds
    at_least  so many A within `within` seconds
    on        `pod`: in one pod; `mesh`: anywhere
    says      what it means, for the evidence
    """

    id: str
    cause: str
    first: frozenset[str]
    then: frozenset[str]
    without: frozenset[str]
    at_least: int
    within: float
    on: str
    confidence: Confidence
    says: str
    examples: tuple[str, ...] = ()
    near_misses: tuple[str, ...] = ()
    file: str = ""
    line: int = 0

    @classmethod
    def from_raw(cls, raw: Mapping[str, Any]) -> Sequence:
        """From the validated, resolved mapping that `load` makes of a pattern file."""
        return cls(
            id=raw["id"],
            cause=raw["cause"],
            first=frozenset(raw["first"]),
            then=frozenset(raw.get("then", ())),
            without=frozenset(raw.get("without", ())),
            at_least=raw.get("at_least", 1),
            within=seconds(raw["within"]),
            on=raw.get("on", "pod"),
            confidence=Confidence(raw.get("confidence", "likely")),
            says=raw["says"].strip(),
            examples=tuple(raw.get("examples", ())),
            near_misses=tuple(raw.get("near_misses", ())),
            file=raw.get("file", ""),
            line=raw.get("line", 0),
        )

    @property
    def members(self) -> frozenset[str]:
        """Every pattern it asks about."""
        return self.first | self.then | self.without
