"""What commands give back: plain values. `render` draws them, the terminal shows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from meshdiag.catalogue import Pattern
from meshdiag.diagnosis import Diagnosis, Finding
from meshdiag.diagnosis.compare import Comparison
from meshdiag.diagnosis.readiness import Start
from meshdiag.diagnosis.windows import Standing
from meshdiag.explanation import Explanation
from meshdiag.model import Remedy, Risk
from meshdiag.shell.lookup import LogLine

if TYPE_CHECKING:
    from meshdiag.cluster.survey import Survey


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence; `kind` is `info`, `good`, `warning` or `error`, `hint` the next step."""

    text: str
    kind: str = "info"
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Causes:
    """What is wrong, ranked; `whole` shows what is benign or healthy, too. `standings`: of what is followed."""

    diagnosis: Diagnosis
    standings: tuple[Standing, ...] = ()
    whole: bool = False
    filtered: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything about one finding."""

    diagnosis: Diagnosis
    finding: Finding
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """The chain from the root cause to a finding, and what the finding explains."""

    diagnosis: Diagnosis
    chain: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of logs, of `total` that there are; `title` says of what."""

    title: str
    lines: tuple[LogLine, ...]
    total: int


@dataclass(frozen=True, slots=True)
class Fixes:
    """What to do about a finding: all remedies, or one (numbered from 1)."""

    finding: Finding
    remedies: tuple[tuple[int, Remedy], ...]


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What the state of the cluster answers to some questions."""

    survey: Survey


@dataclass(frozen=True, slots=True)
class Difference:
    """A change of a cluster, exactly as it would be made. `owned`: fields of it that others manage."""

    title: str
    why: str
    risk: Risk
    diff: str
    owned: tuple[str, ...] = ()
    undoes: bool = False


@dataclass(frozen=True, slots=True)
class Copied:
    """A text for the clipboard."""

    text: str


@dataclass(frozen=True, slots=True)
class Starts:
    """Starts of proxies: all, or one in detail."""

    diagnosis: Diagnosis
    starts: tuple[Start, ...]
    one: bool


@dataclass(frozen=True, slots=True)
class Explained:
    """What a word or a line means."""

    explanation: Explanation


@dataclass(frozen=True, slots=True)
class Top:
    """Failures by edge, workload, pod or cause, the worst first."""

    diagnosis: Diagnosis
    by: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Shapes of lines that no pattern knows."""

    diagnosis: Diagnosis


@dataclass(frozen=True, slots=True)
class Compared:
    """What has changed since the mark."""

    comparison: Comparison
    since: datetime


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a title; the first column is a name. `note` stands below."""

    title: str
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class PatternShown:
    """A pattern as it stands in its file."""

    pattern: Pattern


@dataclass(frozen=True, slots=True)
class Program:
    """A shell command that a person wants to run."""

    command: str


@dataclass(frozen=True, slots=True)
class Leave:
    """The end of the shell."""


Result = (
    Said | Causes | Shown | Why | Lines | Fixes | Surveyed | Difference | Copied | Starts | Explained | Top | Unknown | Compared
    | Table | PatternShown | Program | Leave
)  # fmt: skip
