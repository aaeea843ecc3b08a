"""The diagnosis: findings ranked, root causes first. Values only; `meshdiag.views` draws them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

from meshdiag.catalogue import Catalogue
from meshdiag.cluster import Snapshot, merged
from meshdiag.diagnosis import tabular
from meshdiag.diagnosis.finding import Finding, Unrecognised, iso
from meshdiag.diagnosis.findings import Findings
from meshdiag.diagnosis.incident import cells, incident
from meshdiag.diagnosis.ranking import ranked
from meshdiag.diagnosis.timeline import Timeline, timelines
from meshdiag.drawn import Drawn, Several, view
from meshdiag.model import Kind, MeshdiagError, Problem, Severity
from meshdiag.redact import redact

if TYPE_CHECKING:
    import pandas as pd

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
        # a finding about a service is about its clients, too
        named = [n for n in (s.source, s.destination, s.name, *(client for client, _ in finding.reach)) if n]
        if self.namespaces and self.namespaces.isdisjoint((s.namespace, *map(_namespace, named))):
            return False
        full = f"{s.namespace}/{s.name}" if s.namespace else s.name
        if self.workloads and not _any((n for one in (*named, full) for n in (one, _workload(one))), self.workloads):
            return False
        if self.pods and not _any((n for p, _ in finding.pods for n in (p, p.rpartition("/")[2])), self.pods):
            return False
        return not (
            (self.since and finding.last and finding.last < self.since)
            or (self.until and finding.first and finding.first > self.until)
        )


def _any(names: Iterable[str], globs: Iterable[str]) -> bool:
    some = tuple(globs)
    return any(fnmatchcase(name, glob) for name in names for glob in some)


def _namespace(name: str) -> str:
    """`shop` of `shop/cart`, `cart.shop.svc.cluster.local:80` and `cart.shop:80`; "" of any other host."""
    head, slash, _ = name.partition("/")
    if slash:
        return head
    labels = name.partition(":")[0].split(".")
    return labels[1] if len(labels) == 2 or labels[2:3] == ["svc"] else ""


def _workload(name: str) -> str:
    """`cart` of `shop/cart` and of `cart.shop.svc.cluster.local:80`."""
    return name.rpartition("/")[2].partition(":")[0].partition(".")[0]


@dataclass(frozen=True)
class Diagnosis(Drawn):
    """Ranked findings of some input, checked against the state of the cluster when there is a snapshot of it.

    `a + b` is the diagnosis of both inputs together.
    """

    seen: Findings
    catalogue: Catalogue = field(repr=False)
    view: View = View()
    snapshot: Snapshot | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        roots = dict.fromkeys(f.cause for f in self.root_causes)
        named = ", ".join([*roots][:5]) + (", …" if len(roots) > 5 else "")
        return f"Diagnosis({self.seen.lines:,} lines, {len(self.failures):,} failures" + (
            f": {named})" if named else ")"
        )

    def __add__(self, other: Diagnosis) -> Diagnosis:
        states = [d.snapshot for d in (self, other) if d.snapshot is not None]
        return replace(self, seen=self.seen + other.seen, snapshot=merged(states) if states else None)

    def checked(self, snapshot: Snapshot | None) -> Diagnosis:
        """The same diagnosis, checked against this state of the cluster (None: against none)."""
        return replace(self, snapshot=snapshot)

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
        return Several(ranked(self.seen, self.catalogue, self.view.shows, self.snapshot))

    @property
    def failures(self) -> tuple[Finding, ...]:
        """Findings of kind failure."""
        return Several(f for f in self.findings if f.kind is Kind.FAILURE)

    @property
    def root_causes(self) -> tuple[Finding, ...]:
        """Failures that no other failure explains, and that the state of the cluster does not refute."""
        return Several(f for f in self.failures if not f.explained_by and not f.refuted)

    @cached_property
    def timelines(self) -> tuple[Timeline, ...]:
        """The readiness timeline of every pod whose start is in the logs: those that are not ready first."""
        return Several(timelines(self.seen, self.findings, self.catalogue))

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

    def to_frame(self) -> pd.DataFrame:
        """The findings as a DataFrame, a row each. Log lines in it are not redacted. Needs pandas."""
        return tabular.to_frame(self.findings)

    def requests(self) -> pd.DataFrame:
        """The failed requests, joined across proxies by `x-request-id`: a row for each hop that failed, in order of time.

        The index is `request_id` and `hop` (from 1). A hop is one proxy's view under one finding:

        time, last   of its first and last line (UTC); lines: how many (tries)
        side         `client`, whose proxy names `source` and `destination`, or `server`, which only knows itself
        pod          that logged it, or the file where that is not known
        cause, rank  of its finding: the rank in `findings` and `to_frame`, missing where that is not shown
        root         no other hop of this request explains it: where it began

        `attrs`: `failed` requests; whether these are a sample of them (`sampled`: at most 20,000 hops are kept); `reused_ids` and
        `reused_lines` of ids that clients use again and again, which are left out. Of requests that ids do not tell there is no
        row. `df.mesh.requests()` tells more of each hop, of a frame. Needs pandas.
        """
        whole = replace(self, view=View())
        own = {cell.key: cell.finding for cell in cells(whole, whole.findings)}
        ranks = {(f.cause, f.subject): f.rank for f in self.findings}
        return tabular.requests_to_frame(self.seen.requests, own, ranks, self.view != View())

    def to_html(self, redacted: bool = True, title: str = "Mesh diagnosis", plots: bool = True) -> str:
        """The whole report as one HTML document that needs no network: what `meshdiag report` writes, without latency.

        `redacted=False` keeps tokens, cookies and keys in the log lines. Plots are in it when matplotlib is installed.
        """
        html: str = view("meshdiag.report").render(self, redacted=redacted, title=title, plots=plots)
        return html

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
