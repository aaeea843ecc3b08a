"""What the state of the cluster says about findings: the checks that a cause names, asked about what the finding names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from meshdiag.catalogue import Cause
from meshdiag.cluster import About, Object, Result, Snapshot, Verdict, checks, worst
from meshdiag.cluster.edits import remedy_of
from meshdiag.cluster.mesh import is_over, workload_of
from meshdiag.model import Evidence, Remedy, Risk, Severity, Subject

SAME_TIME = timedelta(hours=1)
"""A snapshot taken so long before or after a failure does not refute it: what was wrong may have been mended, or broken, since."""

FINDINGS = 200
"""So many findings, the most frequent, are checked."""

OTHERS = 3
"""What else is wrong with the same subject is told of so many checks, when nothing confirms the cause itself."""

_BAD = (Severity.CRITICAL, Severity.ERROR)


@dataclass
class Asking:
    """Asks a snapshot; the same question is asked once."""

    snapshot: Snapshot
    _answers: dict[tuple[str, About], tuple[Result, ...]] = field(default_factory=dict)

    def about(self, cause: Cause, subject: Subject, facts: Mapping[str, str]) -> tuple[Result, ...]:
        """The answers of the checks that the cause names, the worst first. Nothing when no name is known to ask about."""
        about = About.of(self.facts(subject, facts))
        known = checks()
        if not about:
            return ()
        return tuple(worst(r for name in cause.checks if name in known for r in self._ask(name, about)))

    def facts(self, subject: Subject, facts: Mapping[str, str]) -> dict[str, str]:
        """The facts of a finding with what its subject and the cluster add: whose pod it is, who called from that address."""
        known = {k: v for k, v in _names(subject).items() if v} | {k: v for k, v in facts.items() if v}
        pod = self._pods.get(known.get("pod", ""))
        if pod is not None and "namespace" not in known:
            known["namespace"] = pod.namespace
        client = self._addresses.get(known.get("client_address", ""))
        if client is not None and "source" not in known:
            known["source"] = f"{client.namespace}/{workload_of(self.snapshot, client).name}"
        return known

    @cached_property
    def _pods(self) -> Mapping[str, Object]:
        """Pods by a name that only one has."""
        return _only((p.name, p) for p in self.snapshot.all("Pod"))

    @cached_property
    def _addresses(self) -> Mapping[str, Object]:
        """Pods by their own addresses; those in a node's network share it."""
        own = (p for p in self.snapshot.all("Pod") if not p.flag("spec", "hostNetwork") and not is_over(p))
        return _only((a, p) for p in own if (a := p.text("status", "podIP")))

    def _ask(self, name: str, about: About) -> tuple[Result, ...]:
        key = name, about
        if key not in self._answers:
            self._answers[key] = checks()[name].ask(self.snapshot, about)
        return self._answers[key]

    def remedies(self, results: tuple[Result, ...], others: tuple[Remedy, ...]) -> tuple[Remedy, ...]:
        """What mends the objects themselves, then the cause's own remedies; what weakens security comes last."""
        edits = {e.title: e for r in results if r.verdict is Verdict.CONFIRMED for e in r.edits}
        own = [remedy_of(e, self.snapshot) for e in edits.values()]
        weak = tuple(r for r in own if r.risk is Risk.WEAKENS_SECURITY)
        return (*(r for r in own if r not in weak), *others, *weak)


def _only(pairs: Iterable[tuple[str, Object]]) -> dict[str, Object]:
    found: dict[str, list[Object]] = {}
    for key, o in pairs:
        found.setdefault(key, []).append(o)
    return {key: some[0] for key, some in found.items() if len(some) == 1}


def _names(subject: Subject) -> dict[str, str]:
    """What a subject says where the lines themselves say nothing."""
    names = {"namespace": subject.namespace}
    match subject.kind:
        case "workload":
            names["workload"] = subject.name
        case "edge" | "service":
            host, _, port = (subject.destination or subject.name).partition(":")
            names |= {"source": subject.source, "host": host, "port": port}
        case "resource":
            kind, _, name = subject.name.partition(" ")
            names |= {"namespace": name} if kind == "Namespace" else {"name": name}
    return names


def verdict(cause: str, results: tuple[Result, ...], last: datetime | None, taken: datetime | None) -> Verdict | None:
    """Whether the state confirms the cause, refutes it (only when it is of the same time), or does neither (None)."""
    if any(r.verdict is Verdict.CONFIRMED and cause in r.causes for r in results):
        return Verdict.CONFIRMED
    timely = last is None or taken is None or abs(taken - last) <= SAME_TIME
    if timely and any(r.verdict is Verdict.REFUTED and cause in r.causes for r in results):
        return Verdict.REFUTED
    return None


def evidence(cause: str, results: tuple[Result, ...], source: str, refuted: bool) -> tuple[Evidence, ...]:
    """The answers that speak for or against the cause, and what else is wrong with the same subject."""
    out = []
    others = 0
    is_confirmed = any(r.verdict is Verdict.CONFIRMED and cause in r.causes for r in results)
    for r in results:
        where = "; ".join(map(str, r.proofs[:3])) or source
        if r.verdict is Verdict.CONFIRMED and cause in r.causes:
            out.append(Evidence(r.text, where))
        elif r.verdict is Verdict.CONFIRMED and r.severity in _BAD and not is_confirmed and others < OTHERS:
            others += 1
            out.append(Evidence(f"beside it: {r.text}", where))
        elif r.verdict is Verdict.REFUTED and cause in r.causes:
            said = r.text if refuted else f"{r.text} (now: the snapshot is of another time)"
            out.append(Evidence(said, where, supports=False))
    return tuple(out)
