"""`Finding`: all matches of one cause on one subject, and what is known about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from meshdiag.cluster import Proof, Result, Verdict
from meshdiag.diagnosis.onset import Onset
from meshdiag.drawn import Drawn
from meshdiag.model import Change, Confidence, Evidence, Kind, Remedy, Sample, Severity, State, Subject


def iso(time: datetime | None) -> str | None:
    """UTC, RFC 3339, milliseconds; None stays None."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if time else None


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts over time: (number of the stretch, count), a stretch being `width` seconds and number 0 the one at 1970."""

    width: int = 60
    counts: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Finding(Drawn):
    """All matches of one cause on one subject.

    kind is the cause's, but `benign` for a failure that was over within its routine start (state `transient`).
    explains, explained_by are ranks of other findings; alternatives are causes that share these lines.
    requests is how many requests failed (retries of one are one request), None when the lines have no request id; total how many
    there were on the edge, failed or not, None when not known. reach lists the clients of a service and their lines.
    facts are names out of the first sample, for remedies; minutes is how many lines there were when, pods who told of it and how
    often (at most 50, the most frequent first). checks is what the state of the cluster says, and refuted whether it says that this
    cannot be; without a snapshot there is nothing.
    """

    rank: int
    cause: str
    kind: Kind
    severity: Severity
    confidence: Confidence
    state: State
    title: str
    explanation: str
    subject: Subject
    count: int
    first: datetime | None
    last: datetime | None
    patterns: tuple[str, ...]
    samples: tuple[Sample, ...]
    places: int
    evidence: tuple[Evidence, ...] = ()
    alternatives: tuple[str, ...] = ()
    tell_apart: str = ""
    explains: tuple[int, ...] = ()
    explained_by: tuple[int, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    requests: int | None = None
    total: int | None = None
    reach: tuple[tuple[str, int], ...] = ()
    onset: Onset | None = None
    changes: tuple[Change, ...] = ()
    minutes: Counts = Counts()
    pods: tuple[tuple[str, int], ...] = ()
    checks: tuple[Result, ...] = ()
    refuted: bool = False

    def __repr__(self) -> str:
        said = ", ".join((self.kind.value, self.severity.value, self.confidence.value, self.state.value))
        return f"Finding(#{self.rank} {self.cause}, {str(self.subject)!r}, count={self.count:,}, {said})"

    @property
    def proofs(self) -> tuple[Proof, ...]:
        """Fields of objects in the cluster that prove it; where none does, what is badly wrong with the same subject beside it."""
        bad = [r for r in self.checks if r.verdict is Verdict.CONFIRMED]
        own = [r for r in bad if self.cause in r.causes] or [r for r in bad if r.severity.rank <= Severity.ERROR.rank]
        return tuple(dict.fromkeys(p for r in own for p in r.proofs))

    @property
    def unchecked(self) -> tuple[str, ...]:
        """The checks that could not be made, and why: `endpoints (pods: forbidden)`."""
        blind = (f"{r.check} ({r.text})" for r in self.checks if r.verdict is Verdict.NOT_CHECKABLE)
        return tuple(dict.fromkeys(blind))

    @property
    def advice(self) -> tuple[str, ...]:
        """What the checks that confirm it advise, in sentences."""
        found = (r.advice for r in self.checks if r.verdict is Verdict.CONFIRMED and self.cause in r.causes)
        return tuple(dict.fromkeys(a for a in found if a))

    def to_dict(self, clean: Callable[[str], str] = str) -> dict[str, Any]:
        """The finding in the shape of meshdiag/diagnosis/v1; `clean` is applied to the text of logs."""
        return {
            "rank": self.rank,
            "cause": self.cause,
            "kind": self.kind.value,
            "severity": self.severity.value,
            "confidence": self.confidence.value,
            "state": self.state.value,
            "title": self.title,
            "explanation": self.explanation,
            "subject": self.subject.to_dict(),
            "count": self.count,
            "requests": self.requests,
            "total": self.total,
            "first": iso(self.first),
            "last": iso(self.last),
            "onset": None
            if self.onset is None
            else {
                "start": iso(self.onset.start),
                "before": round(self.onset.before, 3),
                "after": round(self.onset.after, 3),
                "quiet": round(self.onset.quiet, 1),
            },
            "changes": [c.to_dict() for c in self.changes],
            "reach": [{"source": source, "count": n} for source, n in self.reach],
            "places": self.places,
            "patterns": list(self.patterns),
            "samples": [{"origin": f"{s.path}@{s.offset}", "line": clean(s.line)} for s in self.samples],
            "evidence": [e.to_dict() for e in self.evidence],
            "checks": [c.to_dict() for c in self.checks],
            "refuted": self.refuted,
            "alternatives": list(self.alternatives),
            "tell_apart": self.tell_apart,
            "explains": list(self.explains),
            "explained_by": list(self.explained_by),
            "remedies": [r.to_dict() for r in self.remedies],
        }


@dataclass(frozen=True, slots=True)
class Unrecognised:
    """Failing or unusual lines that no pattern knows, of one shape."""

    shape: str
    count: int
    sample: Sample

    def to_dict(self, clean: Callable[[str], str] = str) -> dict[str, Any]:
        """The entry in the shape of meshdiag/diagnosis/v1; `clean` is applied to the text of logs."""
        s = self.sample
        return {
            "shape": clean(self.shape), "count": self.count, "sample": clean(s.line), "origin": f"{s.path}@{s.offset}"
        }  # fmt: skip
