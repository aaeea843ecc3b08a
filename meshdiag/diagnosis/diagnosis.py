"""The diagnosis: findings ranked, root causes first. Values only; `meshdiag.views` draws them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis.finding import Finding, Unrecognised, iso
from meshdiag.diagnosis.findings import Findings
from meshdiag.diagnosis.incident import incident
from meshdiag.diagnosis.ranking import ranked
from meshdiag.diagnosis.timeline import Timeline, timelines
from meshdiag.model import Kind, MeshdiagError, Problem, Severity
from meshdiag.redact import redact

SCHEMA = "meshdiag/diagnosis/v1"


@dataclass(frozen=True, slots=True)
class View:
    """Which findings are shown."""

    causes: frozenset[str] = frozenset()
    min_severity: Severity = Severity.INFO
    suppress: tuple[str, ...] = ()
    namespaces: frozenset[str] = frozenset()
    workloads: frozenset[str] = frozenset()
    pods: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None

    def shows(self, finding: Finding) -> bool:
        """Whether a finding is shown."""
        if self.causes and finding.cause not in self.causes:
            return False
        if finding.severity.rank > self.min_severity.rank:
            return False
        if not self._is_about(finding):
            return False
        for rule in self.suppress:
            cause, _, subject = rule.partition("=")
            if cause == finding.cause and (not subject or fnmatchcase(str(finding.subject), subject)):
                return False
        return True

    def _is_about(self, finding: Finding) -> bool:
        """Whether it concerns the namespaces, workloads (globs), pods (globs) and times that are asked for."""
        s = finding.subject
        named = (s.source, s.destination, str(s))
        if self.namespaces and s.namespace not in self.namespaces:
            spaces = {part for name in named for part in _namespaces(name)}
            if self.namespaces.isdisjoint(spaces):
                return False
        if self.workloads and not any(fnmatchcase(_workload(n), g) for n in (s.name, *named) for g in self.workloads):
            return False
        if self.pods and not any(fnmatchcase(p.rpartition("/")[2], g) for p, _ in finding.pods for g in self.pods):
            return False
        return not (
            (self.since and finding.last and finding.last < self.since)
            or (self.until and finding.first and finding.first > self.until)
        )


def _namespaces(name: str) -> tuple[str, ...]:
    """The namespaces that `shop/cart` and `cart.shop.svc.cluster.local:80` may name."""
    head, slash, _ = name.partition("/")
    parts = name.partition(":")[0].split(".")
    return (*((head,) if slash else ()), *(parts[1:2] if len(parts) > 1 else ()))


def _workload(name: str) -> str:
    """`cart` of `shop/cart` and of `cart.shop.svc.cluster.local:80`."""
    return name.rpartition("/")[2].partition(":")[0].partition(".")[0]


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
        return ranked(self.seen, self.catalogue, self.view.shows)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """Findings of kind failure."""
        return tuple(f for f in self.findings if f.kind is Kind.FAILURE)

    @property
    def root_causes(self) -> tuple[Finding, ...]:
        """Failures that no other failure explains."""
        return tuple(f for f in self.failures if not f.explained_by)

    @cached_property
    def timelines(self) -> tuple[Timeline, ...]:
        """The readiness timeline of every pod whose start is in the logs: those that are not ready first."""
        return timelines(self.seen, self.findings, self.catalogue)

    def timeline(self, pod: str) -> Timeline:
        """The readiness timeline of a pod: its name, `namespace/name`, or the beginning of a name that only one pod has.

        Raises MeshdiagError when no pod, or several, are named so.
        """
        namespace, _, name = pod.rpartition("/")
        those = [t for t in self.timelines if not namespace or t.origin.namespace in ("", namespace)]
        exact = [t for t in those if name in (t.pod, t.origin.pod) or pod == t.pod]
        found = exact or [t for t in those if (t.origin.pod or t.pod).startswith(name)]
        pods = sorted({t.pod for t in found})
        if len(pods) == 1:
            # of istio-init and the proxy in one pod it is the proxy that is asked for
            return min(found, key=lambda t: (t.component == "istio-init", t.component))
        known = pods or sorted({t.pod for t in self.timelines})
        which = f"name one of {', '.join(known[:8])}" if known else "no log has the start of a proxy"
        raise MeshdiagError(
            f"{'several pods are' if pods else 'no pod with a start in the logs is'} named {pod!r}: {which}"
        )

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
            "requests": {"failed": seen.requests.total(), "sampled": seen.requests.sampled},
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
            "incident": incident(self).to_dict(),
            "findings": [f.to_dict(clean) for f in self.findings],
            "unrecognised": [u.to_dict(clean) for u in self.unrecognised],
        }

    def to_json(self, indent: int | None = 2, redacted: bool = True) -> str:
        """`to_dict` as JSON text, ASCII only, so that no control character of a log is written raw."""
        return json.dumps(self.to_dict(redacted), indent=indent)
