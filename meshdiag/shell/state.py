"""The one state of a shell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import Diagnosis, Finding, correlate
from meshdiag.diagnosis.diagnosis import View
from meshdiag.model import MeshdiagError, Severity
from meshdiag.shell.work import Key, Work
from meshdiag.views.amounts import plural

if TYPE_CHECKING:
    from meshdiag.fixing import Prepared

FILTERS = ("namespace", "workload", "pod", "cause", "severity", "since", "until")
"""What findings can be narrowed to."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What `set` changes.

    redact   tokens, cookies and keys are pseudonyms
    limit    findings that `causes` shows (0: all)
    lines    lines that `lines` and `search` show
    context  lines around each of them
    theme    `dark`, `light` or `none`
    keys     `emacs` or `vi`
    """

    redact: bool = True
    limit: int = 20
    lines: int = 200
    context: int = 0
    theme: str = "dark"
    keys: str = "emacs"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a cluster (its context) that was shown; `finding` is what it is to end."""

    prepared: Prepared
    context: str
    finding: Key | None


@dataclass
class State:
    """Everything that commands see and change."""

    catalogue: Catalogue
    work: Work
    settings: Settings = Settings()
    filters: dict[str, tuple[str, ...]] = field(default_factory=dict)
    mark: tuple[datetime, Diagnosis] | None = None
    notes: list[tuple[datetime, str]] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    patterns: tuple[str, ...] = ()
    interrupted: Callable[[], bool] = lambda: False
    """Whether a person wants the running command to stop."""

    change: Change | None = None
    """What was shown, and is made when the person says yes."""

    numbers: dict[int, Key] = field(default_factory=dict)
    """What the numbers mean that a person saw last: those of a live mesh change."""

    _viewed: tuple[Diagnosis, Diagnosis] | None = field(default=None, repr=False)

    @property
    def view(self) -> View:
        """The filters, as a diagnosis takes them."""
        f = self.filters
        return View(
            causes=frozenset(f.get("cause", ())),
            min_severity=Severity(f.get("severity", ("info",))[0]),
            namespaces=frozenset(f.get("namespace", ())),
            workloads=frozenset(f.get("workload", ())),
            pods=frozenset(f.get("pod", ())),
            since=_time(f.get("since")),
            until=_time(f.get("until")),
        )

    @property
    def filtered(self) -> str:
        """The filters in words."""
        return " ".join(f"{name}={','.join(values)}" for name, values in self.filters.items())

    def diagnosis(self, filtered: bool = True) -> Diagnosis:
        """What is wrong now. The same as long as nothing changes, so that it is ranked once."""
        whole = self.work.diagnosis()
        if not filtered or not self.filters:
            return whole
        view, kept = self.view, self._viewed
        if kept is None or kept[0] is not whole or kept[1].view != view:
            kept = self._viewed = (whole, replace(whole, view=view))
        return kept[1]

    def finding(self, name: str) -> Finding:
        """The finding of a number (`2`, `#2`) or a cause's id, as `causes` showed it. Raises MeshdiagError with what there is."""
        return self.find(name)[1]

    def find(self, name: str) -> tuple[Diagnosis, Finding]:
        """The finding of a number or a cause's id, and the diagnosis that has it; its numbers are those that are seen from now on."""
        diagnosis = self.diagnosis()
        findings = diagnosis.findings
        if not findings:
            raise MeshdiagError(self.nothing())
        number = name.removeprefix("#")
        if number.isascii() and number.isdigit():
            finding = self._numbered(int(number[:9]), diagnosis)
        else:
            found = [f for f in findings if f.cause == name]
            if not found:
                raise MeshdiagError(self._unknown(name, findings))
            finding = found[0]
        self.saw(diagnosis)
        return diagnosis, finding

    def saw(self, diagnosis: Diagnosis) -> None:
        """The numbers of this diagnosis are what a person sees now."""
        self.numbers = {f.rank: (f.cause, f.subject) for f in diagnosis.findings}

    def _numbered(self, number: int, diagnosis: Diagnosis) -> Finding:
        key = self.numbers.get(number)
        if key is None:
            found = next((f for f in diagnosis.findings if f.rank == number), None)
            if found is None:
                raise MeshdiagError(f"there is no #{number}: causes shows 1 to {len(diagnosis.findings)}")
            return found
        by_key = {(f.cause, f.subject): f for f in diagnosis.findings}
        if key not in by_key:  # a second client makes an edge a service
            key = correlate.grouped(diagnosis.seen.tallies, diagnosis.catalogue).owner.get(key, key)
        if key not in by_key:
            raise MeshdiagError(f"#{number}, {key[0]} of {key[1]}, is no longer there: causes shows what is")
        return by_key[key]

    def _unknown(self, name: str, findings: tuple[Finding, ...]) -> str:
        known = ", ".join(list(dict.fromkeys(f.cause for f in findings))[:8])
        if name in self.catalogue.causes:
            return f"{name} was not found here: there are {known}; explain {name} says what it is"
        return f"no cause is named {name[:80]!r} here: give a number, or one of {known}"

    def nothing(self) -> str:
        """Why there is no finding, and what to do."""
        if self.work.reading is not None and not self.work.reading.finished:
            return "still reading: nothing was found so far"
        if self.filters and self.work.diagnosis().findings:
            return f"nothing is left by the filters ({self.filtered}): filter clear shows all"
        if not self.is_open:
            return "nothing is open: open sample_logs/03-no-healthy-upstream, or tail -n NAMESPACE"
        seen = self.work.diagnosis().seen
        failing = plural(seen.unrecognised, "failing line is", "failing lines are")
        more = f", but {failing} known to no pattern: unknown" if seen.unrecognised else ""
        return f"nothing was found in {plural(seen.lines, 'line')}{more}"

    @property
    def is_open(self) -> bool:
        """Whether anything was read or is followed."""
        return bool(self.work.paths()) or self.work.is_live


def _time(values: tuple[str, ...] | None) -> datetime | None:
    return datetime.fromisoformat(values[0]).astimezone(UTC) if values else None
