"""The one state of a shell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import Diagnosis, Finding
from meshdiag.diagnosis.diagnosis import View
from meshdiag.model import MeshdiagError, Severity
from meshdiag.shell.work import Work

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
        """What is wrong now."""
        diagnosis = self.work.diagnosis()
        return replace(diagnosis, view=self.view) if filtered and self.filters else diagnosis

    def finding(self, name: str) -> Finding:
        """The finding of a number (`2`, `#2`) or a cause's id, as `causes` shows it. Raises MeshdiagError with what there is."""
        diagnosis = self.diagnosis()
        findings = diagnosis.findings
        if not findings:
            raise MeshdiagError(self.nothing())
        number = name.removeprefix("#")
        if number.isdigit():
            found = [f for f in findings if f.rank == int(number)]
            if not found:
                raise MeshdiagError(f"there is no #{number}: causes shows 1 to {len(findings)}")
            return found[0]
        found = [f for f in findings if f.cause == name]
        if found:
            return found[0]
        known = ", ".join(dict.fromkeys(f.cause for f in findings[:8]))
        if name in self.catalogue.causes:
            raise MeshdiagError(f"{name} was not found here: there are {known}; explain {name} says what it is")
        raise MeshdiagError(f"no cause is named {name!r} here: give a number, or one of {known}")

    def nothing(self) -> str:
        """Why there is no finding, and what to do."""
        if self.work.reading is not None and not self.work.reading.finished:
            return "still reading: nothing was found so far"
        if self.filters and self.work.diagnosis().findings:
            return f"nothing is left by the filters ({self.filtered}): filter clear shows all"
        if not self.work.paths() and not self.work.is_live:
            return "nothing is open: open sample_logs/03-no-healthy-upstream, or tail -n NAMESPACE"
        return "nothing was found"


def _time(values: tuple[str, ...] | None) -> datetime | None:
    return datetime.fromisoformat(values[0]).astimezone(UTC) if values else None
