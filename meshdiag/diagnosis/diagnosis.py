"""The diagnosis: findings ranked, root causes first. Values only; `meshdiag.views` draws them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from meshdiag import remedies
from meshdiag.catalogue import Catalogue, Cause
from meshdiag.diagnosis.correlate import in_scope, links, state_of
from meshdiag.diagnosis.findings import Findings, Key, Tally
from meshdiag.model import Confidence, Evidence, Kind, Problem, Remedy, Sample, Severity, State, Subject
from meshdiag.redact import redact

SCHEMA = "meshdiag/diagnosis/v1"

_KINDS = list(Kind)


def iso(time: datetime | None) -> str | None:
    """UTC, RFC 3339, milliseconds; None stays None."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if time else None


@dataclass(frozen=True, slots=True)
class Finding:
    """All matches of one cause on one subject.

    kind is the cause's, but `benign` for a failure that was over within its routine start (state `transient`).
    explains, explained_by are ranks of other findings; alternatives are causes that share these lines.
    facts are names out of the first sample, for remedies.
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
            "first": iso(self.first),
            "last": iso(self.last),
            "places": self.places,
            "patterns": list(self.patterns),
            "samples": [{"origin": f"{s.path}@{s.offset}", "line": clean(s.line)} for s in self.samples],
            "evidence": [e.to_dict() for e in self.evidence],
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


@dataclass(frozen=True, slots=True)
class View:
    """Which findings are shown."""

    causes: frozenset[str] = frozenset()
    min_severity: Severity = Severity.INFO
    suppress: tuple[str, ...] = ()

    def shows(self, finding: Finding) -> bool:
        """Whether a finding is shown."""
        if self.causes and finding.cause not in self.causes:
            return False
        if finding.severity.rank > self.min_severity.rank:
            return False
        for rule in self.suppress:
            cause, _, subject = rule.partition("=")
            if cause == finding.cause and (not subject or fnmatchcase(str(finding.subject), subject)):
                return False
        return True


@dataclass(frozen=True)
class Diagnosis:
    """Ranked findings of some input. `a + b` is the diagnosis of both inputs together."""

    seen: Findings
    catalogue: Catalogue = field(repr=False)
    view: View = View()

    def __add__(self, other: Diagnosis) -> Diagnosis:
        return replace(self, seen=self.seen + other.seen)

    def only(
        self, causes: Iterable[str] = (), min_severity: Severity = Severity.INFO, suppress: Iterable[str] = ()
    ) -> Diagnosis:
        """The same diagnosis showing only findings of `causes` (all when empty) that are at least this severe.

        `suppress` leaves findings out: `CAUSE`, or `CAUSE=SUBJECT` where SUBJECT is a glob on the subject as it is shown.
        """
        return replace(self, view=View(frozenset(causes), min_severity, tuple(suppress)))

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Failures first (roots before symptoms), then benign, then healthy."""
        return _ranked(self.seen, self.catalogue, self.view)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """Findings of kind failure."""
        return tuple(f for f in self.findings if f.kind is Kind.FAILURE)

    @property
    def root_causes(self) -> tuple[Finding, ...]:
        """Failures that no other failure explains."""
        return tuple(f for f in self.failures if not f.explained_by)

    @property
    def unrecognised(self) -> tuple[Unrecognised, ...]:
        """Shapes of lines that are failing or unusual and known to no pattern, most frequent first."""
        shapes = sorted(self.seen.shapes.items(), key=lambda kv: (-kv[1].count, kv[0]))
        return tuple(Unrecognised(s, v.count, v.sample) for s, v in shapes)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What could not be read, in order."""
        return tuple(sorted(self.seen.problems))

    def summary(self) -> dict[str, Any]:
        """Counts and times of the whole input."""
        seen = self.seen
        return {
            "bytes": seen.bytes,
            "lines": seen.lines,
            "matched": seen.matched,
            "harmless": seen.harmless,
            "unrecognised": seen.unrecognised,
            "first": iso(seen.first),
            "last": iso(seen.last),
            "formats": dict(sorted(seen.examined.items(), key=lambda kv: (-kv[1], kv[0]))),
            "problems": [{"where": p.where, "what": p.what, "hint": p.hint} for p in self.problems],
        }

    def to_dict(self, redacted: bool = True) -> dict[str, Any]:
        """Plain values in the shape of meshdiag/diagnosis/v1 (`meshdiag/diagnosis/diagnosis.schema.json`).

        `redacted=False` keeps tokens, cookies and keys in the log lines.
        """
        clean = redact if redacted else str
        return {
            "schema": SCHEMA,
            "summary": self.summary(),
            "findings": [f.to_dict(clean) for f in self.findings],
            "unrecognised": [u.to_dict(clean) for u in self.unrecognised],
        }

    def to_json(self, indent: int | None = 2, redacted: bool = True) -> str:
        """`to_dict` as JSON text, ASCII only, so that no control character of a log is written raw."""
        return json.dumps(self.to_dict(redacted), indent=indent)


MAX_SUBJECTS = 200
"""Subjects of one cause that are shown; the rest is one finding about the mesh."""


def folded(tallies: Mapping[Key, Tally]) -> dict[Key, Tally]:
    """The tallies with at most MAX_SUBJECTS of each cause, the most frequent; the others are merged."""
    by_cause: dict[str, list[Key]] = {}
    for key in tallies:
        by_cause.setdefault(key[0], []).append(key)
    out = dict(tallies)
    for cause, keys in by_cause.items():
        if len(keys) <= MAX_SUBJECTS:
            continue
        rest = sorted(keys, key=lambda k: (-tallies[k].count, k))[MAX_SUBJECTS - 1 :]
        merged = Tally()
        for key in rest:
            merged = merged.merged(out.pop(key))
        out[cause, Subject("mesh", name=f"{len(rest):,} others")] = merged
    return out


def _ranked(seen: Findings, catalogue: Catalogue, view: View) -> tuple[Finding, ...]:
    tallies = folded(seen.tallies)
    by_cause: dict[str, list[Tally]] = {}
    for (cause, _), tally in tallies.items():
        by_cause.setdefault(cause, []).append(tally)
    states = {
        key: State.ONGOING
        if _of_traffic(tally, catalogue)
        else state_of(c, tally, [t for g in c.recovered_by for t in by_cause.get(g, ())])
        for key, tally in tallies.items()
        if (c := catalogue.causes[key[0]])
    }
    failing = [k for k in tallies if _kind(catalogue.causes[k[0]], states[k]) is Kind.FAILURE]
    findings = {
        key: _finding(key, tally, states[key], catalogue.causes[key[0]], catalogue) for key, tally in tallies.items()
    }
    explains = links(sorted(failing), tallies, catalogue)
    for key, others in settled(failing, findings, tallies).items():
        explains.setdefault(key, set()).update(others - {k for k in others if key in explains.get(k, ())})
    explained_by: dict[Key, set[Key]] = {}
    for key, others in explains.items():
        for other in others - {key}:
            # what is over does not explain what goes on
            if states[key] is State.ONGOING or states[other] is not State.ONGOING:
                explained_by.setdefault(other, set()).add(key)

    def order(key: Key) -> tuple[Any, ...]:
        f = findings[key]
        return (
            _KINDS.index(f.kind),
            f.state is not State.ONGOING,
            key in explained_by,
            f.severity.rank,
            f.confidence.rank,
            -f.count,
            -(f.last.timestamp() if f.last else 0.0),
            f.cause,
            f.subject,
        )

    ordered = sorted((k for k, f in findings.items() if view.shows(f)), key=order)
    rank = {key: i for i, key in enumerate(ordered, 1)}
    return tuple(
        replace(
            findings[key],
            rank=rank[key],
            explains=tuple(
                sorted(rank[k] for k in explains.get(key, ()) if k in rank and key in explained_by.get(k, ()))
            ),
            explained_by=tuple(sorted(rank[k] for k in explained_by.get(key, ()) if k in rank)),
        )
        for key in ordered
    )


def _of_traffic(tally: Tally, catalogue: Catalogue) -> bool:
    """Whether requests showed it: that a proxy got its configuration later says nothing about them."""
    known = [catalogue.by_id[p] for p in tally.patterns if p in catalogue.by_id]
    return any({"access-log", "ztunnel-access"} & set(p.formats) for p in known)


def settled(
    failing: Iterable[Key], findings: Mapping[Key, Finding], tallies: Mapping[Key, Tally]
) -> dict[Key, set[Key]]:
    """Findings that are only possible, by the surer finding nearby that is one of their alternatives: it settles the doubt."""
    out: dict[Key, set[Key]] = {}
    for key in failing:
        if findings[key].confidence is not Confidence.POSSIBLE:
            continue
        for other in failing:
            if (
                other[0] in findings[key].alternatives
                and findings[other].confidence is not Confidence.POSSIBLE
                and in_scope("same-destination", other, key, tallies)
            ):
                out.setdefault(other, set()).add(key)
    return out


def _kind(cause: Cause, state: State) -> Kind:
    return Kind.BENIGN if state is State.TRANSIENT and cause.kind is Kind.FAILURE else cause.kind


def _finding(key: Key, tally: Tally, state: State, cause: Cause, catalogue: Catalogue) -> Finding:
    patterns = sorted(tally.patterns, key=lambda p: (-tally.patterns[p], p))
    known = [catalogue.by_id[p] for p in patterns if p in catalogue.by_id]
    sure = min((p.confidence for p in known), key=lambda c: c.rank, default=Confidence.LIKELY)
    alternatives = dict.fromkeys(a for p in known if p.confidence is Confidence.POSSIBLE for a in p.alternatives)
    facts = dict(tally.proof[0][1]) if tally.proof else {}
    return Finding(
        rank=0,
        cause=cause.id,
        kind=_kind(cause, state),
        severity=cause.severity,
        confidence=sure,
        state=state,
        title=cause.title,
        explanation=cause.explanation,
        subject=key[1],
        count=tally.count,
        first=tally.first,
        last=tally.last,
        patterns=tuple(patterns),
        samples=tuple(s for s, _ in tally.proof),
        places=len(tally.places),
        evidence=_evidence(tally, state, cause),
        alternatives=tuple(a for a in alternatives if a != cause.id) if sure is Confidence.POSSIBLE else (),
        tell_apart=remedies.fill(cause.tell_apart, facts) if cause.tell_apart else "",
        remedies=remedies.of(cause, facts),
        facts=facts,
    )


def _evidence(tally: Tally, state: State, cause: Cause) -> tuple[Evidence, ...]:
    if state is State.ONGOING:
        return ()
    milestones = " or ".join(cause.recovered_by)
    return (Evidence(f"it was followed by {milestones} in the same container", supports=False),)
