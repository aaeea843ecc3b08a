"""The values that cross the borders between the stages: plain, frozen, without I/O.

The words are those of docs/architecture.md. Nothing here imports another module of the package, but for how a value draws itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from meshdiag.drawn import Drawn


class Kind(StrEnum):
    """What a cause is: something broke, looks as if and is not, or a good milestone."""

    FAILURE = "failure"
    BENIGN = "benign"
    HEALTHY = "healthy"


class Severity(StrEnum):
    """How much it hurts: `critical` stops a mesh or a proxy, `error` fails requests, `warning` may, `info` does not."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


class Confidence(StrEnum):
    """`confirmed`: a second, independent fact; `likely`: the line is specific; `possible`: several causes share it."""

    CONFIRMED = "confirmed"
    LIKELY = "likely"
    POSSIBLE = "possible"

    @property
    def rank(self) -> int:
        """0 for the surest."""
        return list(Confidence).index(self)


class State(StrEnum):
    """Whether it lasts: `ongoing`, `recovered` (the good milestone came after it), `transient` (routine)."""

    ONGOING = "ongoing"
    RECOVERED = "recovered"
    TRANSIENT = "transient"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where lines come from: a file (or archive member) and, when known, the container that wrote them.

    `path` is what a person can open again: `logs/a.log`, `bundle.tar.gz!proxies/prod/pod/istio-proxy.log`, `-`.
    Unknown parts are "".
    """

    path: str
    cluster: str = ""
    namespace: str = ""
    pod: str = ""
    container: str = ""
    previous: bool = False

    def __str__(self) -> str:
        return self.path


@dataclass(frozen=True, slots=True)
class Record:
    """What a format read out of a line and its continuation lines.

    format    the format's name: `access-log`, `envoy-log`, `istio-log`, `klog`, `ztunnel-log`, `ztunnel-access`,
              `event`, `analysis`, `text`
    encoding  `text` or `json`
    text      the record as written, unwrapped, continuation lines joined by "\\n"
    message   the free text a pattern looks at ("" for an access log)
    time      aware, UTC, or None when the line has none (klog and some events have no year or no time)
    level     `trace debug info warning error critical` or "" (fatal is critical, warn is warning)
    component `envoy pilot-agent istiod ztunnel istio-cni istio-init kubernetes istioctl` or "" when not known
    fields    typed by name, values as written; a value that the log writes as "-" is left out
    """

    format: str
    text: str
    message: str = ""
    time: datetime | None = None
    level: str = ""
    component: str = ""
    encoding: str = "text"
    fields: Mapping[str, str] = field(default_factory=dict)
    origin: Origin = Origin("")
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    """A record that a pattern recognised. `cause` is "" when the pattern only says that the line is harmless."""

    record: Record
    pattern: str
    cause: str
    captures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """What a finding is about.

    kind  `workload` (a proxy and its app), `edge` (source -> destination), `service` (a destination that several clients call; name
          is host:port), `resource` (a configuration object),
          `control-plane`, `node`, or `mesh` when nothing more is known.
    """

    kind: str = "mesh"
    namespace: str = ""
    name: str = ""
    source: str = ""
    destination: str = ""

    def __str__(self) -> str:
        if self.kind == "edge":
            return f"{self.source or '?'} -> {self.destination or '?'}"
        name = f"{self.namespace}/{self.name}" if self.namespace and self.name else self.name or self.namespace
        return name or self.kind

    def to_dict(self) -> dict[str, str]:
        """Only the parts that are known, for JSON."""
        parts = ("kind", "namespace", "name", "source", "destination")
        return {p: v for p in parts if (v := getattr(self, p))}


@dataclass(frozen=True, slots=True, order=True)
class Sample:
    """A line kept as proof: where it stands and what it says (unwrapped, at most 2,000 characters)."""

    path: str
    offset: int
    line: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a remedy; `command` and `manifest` are filled in and safe to paste, or ""."""

    text: str
    command: str = ""
    manifest: str = ""

    def to_dict(self) -> dict[str, str]:
        """Only the parts that are there, for JSON."""
        return {k: v for k in ("text", "command", "manifest") if (v := getattr(self, k))}


class Risk(StrEnum):
    """What applying a remedy may do: nothing, change how requests flow, or open something that was closed."""

    SAFE = "safe"
    CHANGES_TRAFFIC = "changes traffic"
    WEAKENS_SECURITY = "weakens security"


@dataclass(frozen=True, slots=True)
class Remedy(Drawn):
    """What to do, why it helps, what it risks, how to see that it worked, and how to take it back.

    production  for a remedy that weakens security: what to do instead where it matters
    notes       what could not be filled in and why, such as a name from the log that is no Kubernetes name
    """

    title: str
    steps: tuple[Step, ...]
    verify: str = ""
    undo: str = ""
    why: str = ""
    risk: Risk = Risk.SAFE
    production: str = ""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The shape of the JSON output."""
        return {
            "title": self.title,
            "why": self.why,
            "risk": self.risk.value,
            "production": self.production,
            "steps": [s.to_dict() for s in self.steps],
            "verify": self.verify,
            "undo": self.undo,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Evidence:
    """A fact for or against a finding: `supports` says which, `text` says what, `source` where it stands."""

    text: str
    source: str = ""
    supports: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The shape of the JSON output."""
        return {"text": self.text, "source": self.source, "supports": self.supports}


@dataclass(frozen=True, slots=True)
class Change:
    """What changed just before a failure began: a push, a rollout, a restart. It need not be its reason.

    time    UTC; None when the line that tells it has no time
    before  seconds before the failure began; None without a time
    source  where the line stands
    """

    text: str
    time: datetime | None
    before: float | None
    source: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The shape of the JSON output."""
        time = self.time.isoformat(timespec="seconds").replace("+00:00", "Z") if self.time else None
        before = None if self.before is None else round(self.before, 3)
        return {"text": self.text, "time": time, "before": before, "source": self.source}


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something that could not be read, parsed or reached; travels with the result."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.hint})" if self.hint else "")


class MeshdiagError(Exception):
    """A user's mistake or an unusable input: the text says what, where and how to mend. Exit code 2."""
