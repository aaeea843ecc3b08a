"""From merged findings to ranked ones: groups, states, links, confidence, evidence, order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from heapq import nlargest
from typing import TYPE_CHECKING, Any

from meshdiag import remedies
from meshdiag.catalogue import Catalogue, Cause, Explains, Pattern
from meshdiag.cluster import Result, Snapshot, Verdict
from meshdiag.diagnosis import correlate
from meshdiag.diagnosis.chains import below
from meshdiag.diagnosis.correlate import Joined, Links, Strength
from meshdiag.diagnosis.finding import Counts, Finding
from meshdiag.diagnosis.findings import OTHERS, Findings, Key, Place, Tally
from meshdiag.diagnosis.onset import Onset, onset_of
from meshdiag.diagnosis.sequences import Held, held
from meshdiag.diagnosis.signals import Pod, Pods, Signal, istio_version
from meshdiag.diagnosis.subjects import component_of, subject_at, workload_of
from meshdiag.model import Change, Confidence, Evidence, Kind, State, Subject

if TYPE_CHECKING:
    from meshdiag.diagnosis.checked import Asking

CHANGE_SECONDS = 300
"""What changed so many seconds before a failure began may have brought it about."""

PODS = 50
CHANGES = 3
"""Changes that are told of one finding."""

_KINDS = list(Kind)
_POSSIBLE = Confidence.POSSIBLE


@dataclass(slots=True)
class _Case:
    """What is known of one finding while it is made."""

    cause: Cause
    subject: Subject
    tally: Tally
    state: State = State.ONGOING
    confidence: Confidence = Confidence.LIKELY
    alternatives: tuple[str, ...] = ()
    onset: Onset | None = None
    evidence: list[Evidence] = field(default_factory=list)
    changes: tuple[Change, ...] = ()
    checks: tuple[Result, ...] = ()
    refuted: bool = False

    @property
    def kind(self) -> Kind:
        """`benign` for a failure that was over within its routine start."""
        return Kind.BENIGN if self.state is State.TRANSIENT and self.cause.kind is Kind.FAILURE else self.cause.kind


def ranked(
    seen: Findings, catalogue: Catalogue, shows: Callable[[Finding], bool], snapshot: Snapshot | None = None
) -> tuple[Finding, ...]:
    """Failures first (roots before symptoms), then benign, then healthy; ranks are those of the findings that are shown.

    With a snapshot of the cluster its checks confirm or refute them; what is refuted explains nothing and comes last.
    """
    tallies, said = _with_sequences(seen, catalogue)
    groups = correlate.grouped(tallies, catalogue)
    cases = _cases(groups.tallies, catalogue)
    for key, some in said.items():
        case = cases[groups.owner[key]]
        case.evidence += [Evidence(h.sequence.says, f"{h.sample.path}@{h.sample.offset}") for h in some]
        case.confidence = min(case.confidence, *(h.sequence.confidence for h in some), key=lambda c: c.rank)
        if {h.sequence.id for h in some}.issuperset(case.tally.patterns):  # its milestones are part of what it tells
            over = all(h.over for h in some)
            case.state = State.RECOVERED if over else State.ONGOING
            case.evidence = [e for e in case.evidence if e.supports]
            if over:
                case.evidence.append(Evidence("it did not come again while the log went on", supports=False))
    asking = _asking(snapshot) if snapshot is not None else None
    confirmed = _check(cases, asking) if asking else ()
    joins = correlate.joined(seen.requests, groups.owner, catalogue)
    explains, explained_by = _links(cases, joins, catalogue)
    _confirm(cases, joins, explains, catalogue)
    for key in confirmed:
        cases[key].confidence = Confidence.CONFIRMED
    for case in cases.values():
        if case.refuted:
            case.confidence = _POSSIBLE
    changes = _all_changes(seen.pods, catalogue)
    for key, case in cases.items():
        if case.kind is Kind.FAILURE:
            case.onset = onset_of(case.tally.minutes, seen.first)
            if key not in explained_by:
                case.changes = _changes(case, changes)
    istio = istio_version(seen.pods)
    requests = {key: _requests(case.tally, joins.requests.get(key)) for key, case in cases.items()}
    retries = {key: cases[key].tally.count - n if (n := requests[key]) else 0 for key in groups.owner.values()}
    traffic = _totals(seen, groups.owner, retries)
    findings = {
        key: _finding(
            key,
            case,
            asking.facts(key[1], _facts(key, cases, explains)) if asking else _facts(key, cases, explains),
            istio,
            requests=requests[key],
            total=traffic.get(key) if correlate.of_requests(case.tally.patterns, catalogue) else None,
            reach=groups.reach.get(key, ()),
            asking=asking,
        )
        for key, case in cases.items()
    }
    weight = _weights(findings, explains)

    def order(key: Key) -> tuple[Any, ...]:
        f = findings[key]
        return (
            _KINDS.index(f.kind),
            f.refuted,
            f.state is not State.ONGOING,
            key in explained_by,
            f.severity.rank,
            f.confidence is _POSSIBLE,
            f.subject.kind == "mesh" and f.subject.name.endswith(OTHERS.name),  # what has a name comes before the rest
            -weight[key],
            f.confidence.rank,
            -(f.last.timestamp() if f.last else 0.0),
            f.cause,
            f.subject,
        )

    ordered = sorted((k for k, f in findings.items() if shows(f)), key=order)
    rank = {key: i for i, key in enumerate(ordered, 1)}

    def ranks(keys: Iterable[Key]) -> tuple[int, ...]:
        return tuple(sorted(rank[k] for k in keys if k in rank))

    return tuple(
        replace(
            findings[key],
            rank=rank[key],
            explains=ranks(explains.get(key, ())),
            explained_by=ranks(explained_by.get(key, ())),
        )
        for key in ordered
    )


# -- what the tallies do not say themselves


def _with_sequences(seen: Findings, catalogue: Catalogue) -> tuple[dict[Key, Tally], dict[Key, list[Held]]]:
    """The tallies, with those that sequences add, and which sequences speak for which."""
    tallies = dict(seen.tallies)
    said: dict[Key, list[Held]] = {}
    for h in held(seen.pods, catalogue):
        known = [catalogue.by_id[p] for p, _, _ in h.pod.signals if p in catalogue.by_id]
        component = component_of(h.pod.origin) or next((p.component for p in known if p.component), "")
        key = (h.sequence.cause, subject_at(h.pod.origin, component))
        if not any(h.place in tallies[k].places for k in tallies if k[0] == key[0]):
            origin = h.pod.origin
            facts = {"namespace": origin.namespace, "pod": origin.pod, "workload": workload_of(origin.pod)}
            first, last = (datetime.fromtimestamp(p[0], UTC) if p[0] >= 0 else None for p in (h.first, h.last))
            new = Tally(h.count, first, last, {h.sequence.id: h.count}, {h.place: Place(h.count, h.first, h.last)})
            if h.first[0] >= 0:
                new.minutes.add(h.first[0], h.count)
            new.prove(h.sample, facts)
            tallies[key] = tallies[key].merged(new) if key in tallies else new
        elif key not in tallies:
            key = next(k for k in sorted(tallies) if k[0] == key[0] and h.place in tallies[k].places)
        said.setdefault(key, []).append(h)
    return tallies, said


def _cases(tallies: Mapping[Key, Tally], catalogue: Catalogue) -> dict[Key, _Case]:
    of_cause = correlate.by_cause(tallies)
    out = {}
    for key, tally in sorted(tallies.items(), key=lambda kt: kt[0]):  # so that evidence comes in the same order always
        cause: Cause = catalogue.causes[key[0]]
        case = out[key] = _Case(cause, key[1], tally)
        if not correlate.of_requests(tally.patterns, catalogue):
            good = [tallies[k] for g in cause.recovered_by for k in of_cause.get(g, ())]
            case.state = correlate.state_of(cause, tally, good)
        if case.state is not State.ONGOING:
            milestones = " or ".join(cause.recovered_by)
            case.evidence.append(Evidence(f"it was followed by {milestones} in the same container", supports=False))
        known = _patterns(tally, catalogue)
        # told by sequences alone, it is as sure as they are
        case.confidence = min((p.confidence for p in known), key=lambda c: c.rank, default=_POSSIBLE)
        others = dict.fromkeys(a for p in known if p.confidence is _POSSIBLE for a in p.alternatives)
        case.alternatives = tuple(a for a in others if a != cause.id) or cause.alternatives
    return out


def _patterns(tally: Tally, catalogue: Catalogue) -> list[Pattern]:
    """The patterns that matched, the most frequent first."""
    ids = sorted(tally.patterns, key=lambda p: (-tally.patterns[p], p))
    return [catalogue.by_id[p] for p in ids if p in catalogue.by_id]


def _asking(snapshot: Snapshot) -> Asking:
    from meshdiag.diagnosis.checked import Asking  # few have a cluster to ask

    return Asking(snapshot)


def _check(cases: Mapping[Key, _Case], asking: Asking) -> tuple[Key, ...]:
    """Ask the cluster about the failures; those that it confirms."""
    from meshdiag.diagnosis import checked

    failing = [k for k, c in cases.items() if c.kind is Kind.FAILURE]
    out = []
    for key in nlargest(checked.FINDINGS, failing, key=lambda k: (cases[k].tally.count, k)):
        case = cases[key]
        case.checks = asking.about(case.cause, case.subject, _facts(key, cases, {}))
        said = checked.verdict(key[0], case.checks, case.tally.last, asking.snapshot.taken)
        case.refuted = said is Verdict.REFUTED
        case.evidence += checked.evidence(key[0], case.checks, asking.snapshot.source, case.refuted)
        if said is Verdict.CONFIRMED:
            out.append(key)
    return tuple(out)


# -- links


def _links(
    cases: Mapping[Key, _Case], joins: Joined, catalogue: Catalogue
) -> tuple[dict[Key, set[Key]], dict[Key, set[Key]]]:
    """(explains, explained by) among failures."""
    failing = sorted(k for k, c in cases.items() if c.kind is Kind.FAILURE and not c.refuted)
    tallies = {k: cases[k].tally for k in failing}
    states = {k: cases[k].state for k in failing}
    links = correlate.declared(failing, tallies, states, catalogue)
    _named(failing, tallies, links)
    settled = _settled(failing, cases, tallies, states, catalogue, joins)
    special = [joins.strong(), settled, correlate.relays(failing, tallies, states, joins, catalogue)]
    links = {
        a: {
            b: strength
            for b, strength in bs.items()
            if a not in settled.get(b, ())  # what is only possible does not explain what settles it
            and not joins.settles(b)
            and not (joins.requests and joins.denies(a, b, tallies, catalogue))
        }
        for a, bs in links.items()
    }
    for some in special:
        for a, bs in some.items():
            for b, strength in bs.items():
                if a in tallies and b in tallies:
                    known = links.setdefault(a, {})
                    known[b] = min(strength, known.get(b, strength))
    if any(special):  # what the catalogue declares runs in no circle by itself
        links = correlate.acyclic(links)
    explains: dict[Key, set[Key]] = {}
    explained_by: dict[Key, set[Key]] = {}
    for a, bs in links.items():
        for b in bs:
            # what is over does not explain what goes on
            if states[a] is State.ONGOING or states[b] is not State.ONGOING:
                explains.setdefault(a, set()).add(b)
                explained_by.setdefault(b, set()).add(a)
    return explains, explained_by


def _named(failing: Iterable[Key], tallies: Mapping[Key, Tally], links: Links) -> None:
    """What istiod says of a configuration object explains what a proxy says of itself, where both name one cause."""
    for keys in correlate.by_cause(failing).values():
        for a in keys:
            for b in keys:
                if a[1].kind != "resource" or not _together(tallies[a], tallies[b]):
                    continue
                if b[1].kind == "workload" or (
                    b[1].kind in ("edge", "service") and correlate.same_destination(a[1], b[1])
                ):
                    links.setdefault(a, {}).setdefault(b, Strength.MESH)


def _settled(
    failing: Iterable[Key],
    cases: Mapping[Key, _Case],
    tallies: Mapping[Key, Tally],
    states: Mapping[Key, State],
    catalogue: Catalogue,
    joins: Joined,
) -> Links:
    """Findings that are only possible, by the surer finding nearby that is one of their alternatives: it settles the doubt."""
    out: Links = {}
    sure = correlate.by_cause(k for k in failing if cases[k].confidence is not _POSSIBLE)
    for key in failing:
        if cases[key].confidence is _POSSIBLE and not joins.settles(key):
            e = Explains(key[0], "same-destination")
            for cause in cases[key].alternatives:
                for other in sure.get(cause, ()):
                    if (
                        correlate.in_scope(e.scope, other, key, tallies)
                        and correlate.in_time(e, other, key, tallies, states, catalogue)
                        and not joins.denies(other, key, tallies, catalogue)
                    ):
                        out.setdefault(other, {})[key] = Strength.SETTLED
    return out


def _weights(findings: Mapping[Key, Finding], explains: Mapping[Key, set[Key]]) -> dict[Key, int]:
    """How much fails by each finding: its own requests or lines, and those of all that it explains."""

    def own(key: Key) -> int:
        f = findings[key]
        return f.requests or f.count

    return {key: own(key) + sum(map(own, below(explains, key))) for key in findings}


# -- confidence and evidence


def _confirm(cases: Mapping[Key, _Case], joins: Joined, explains: Mapping[Key, set[Key]], catalogue: Catalogue) -> None:
    """Raise what a second, independent record says too."""
    for key, case in cases.items():
        n, _ = joins.requests.get(key, (0, 0))
        for other in sorted(explains.get(key, ())):
            if m := joins.links.get((key, other), 0):
                text = f"{m:,} of its {n:,} requests (by x-request-id) are in the log of {_who(other)}, too"
                case.evidence.append(Evidence(text))
                cases[other].evidence.append(
                    Evidence(
                        f"{m:,} of its {joins.requests[other][0]:,} requests (by x-request-id) failed at {_who(key)}: {key[0]}"
                    )
                )
        agreed = joins.agreed.get(key, 0)
        if agreed and agreed >= correlate.SHARE * n and case.confidence is not _POSSIBLE:
            case.confidence = Confidence.CONFIRMED
    sure = (k for k, c in cases.items() if c.kind is Kind.FAILURE and c.confidence is not _POSSIBLE)
    for keys in correlate.by_cause(sure).values():
        said = {key: _witnesses(cases[key].tally, catalogue) for key in keys}
        if len(frozenset().union(*said.values())) < 2:
            continue
        for key in keys:
            near = (k for k in keys if _same(k[1], key[1]) and _together(cases[k].tally, cases[key].tally))
            witnesses = said[key].union(*(said[k] for k in near))
            if len(witnesses) > 1:
                cases[key].evidence.append(Evidence(f"{' and '.join(sorted(witnesses))} say so"))
                cases[key].confidence = Confidence.CONFIRMED


WITNESSES: Mapping[str, str] = {
    "envoy": "the proxy",
    "pilot-agent": "the proxy",
    "istiod": "istiod",
    "ztunnel": "ztunnel",
    "istio-cni": "istio-cni",
    "kubernetes": "Kubernetes",
    "istioctl": "istioctl analyze",
    "access-log": "the proxy",
    "envoy-log": "the proxy",
    "event": "Kubernetes",
    "ztunnel-log": "ztunnel",
    "ztunnel-access": "ztunnel",
    "analysis": "istioctl analyze",
}
"""Who speaks by a component, or by a format: Envoy and its agent are one, they write one log."""


def _witnesses(tally: Tally, catalogue: Catalogue) -> frozenset[str]:
    said = (
        WITNESSES.get(p.component) or next((WITNESSES[f] for f in p.formats if f in WITNESSES), "")
        for p in _patterns(tally, catalogue)
    )
    return frozenset(s for s in said if s)


def _same(a: Subject, b: Subject) -> bool:
    """Whether two subjects may be one: the same service or workload, or a thing of the control plane."""
    if a == b or not {a.kind, b.kind} & {"workload", "edge", "service"}:
        return True
    if {a.kind, b.kind} == {"resource", "workload"}:
        return True
    return correlate.same_destination(a, b)


def _who(key: Key) -> str:
    return str(key[1])


def _together(a: Tally, b: Tally) -> bool:
    """Whether the times of two tallies touch; an analysis or an undated event holds for the time of the capture."""
    if a.first is None or a.last is None or b.first is None or b.last is None:
        return True
    slack = correlate.SLACK
    return (a.first - b.last).total_seconds() <= slack and (b.first - a.last).total_seconds() <= slack


def _all_changes(pods: Pods, catalogue: Catalogue) -> list[tuple[str, str, Pod, Signal]]:
    """(text, place, pod, signal) of everything that changed in the capture."""
    out = []
    for place, pod in pods.items():
        for (name, _, changed), signal in pod.signals.items():
            pattern = catalogue.by_id.get(name)
            if pattern is not None and pattern.change:
                out.append((f"{pattern.change}: {changed}" if changed else pattern.change, place, pod, signal))
    return out


def _changes(case: _Case, changes: Iterable[tuple[str, str, Pod, Signal]]) -> tuple[Change, ...]:
    """What changed just before the failure was there first, or rose: pushes, rollouts, restarts; and undated in its own pods."""
    onset, first = case.onset, case.tally.first
    starts: list[float] = []
    if onset is not None and first is not None:
        begin = onset.start.timestamp()
        starts.append(first.timestamp())
        if first.timestamp() < begin:  # of the rise the minute is known
            starts.append(begin + case.tally.minutes.width)
    own = correlate.label(case.subject)
    latest: dict[str, tuple[float, str, float]] = {}
    for text, place, pod, signal in changes:
        source = f"{signal.sample.path}@{signal.sample.offset}"
        at_hand = (
            place in case.tally.places and place != signal.sample.path
        )  # in the same pod, not merely the same file
        undated = signal.first[0] < 0 and (at_hand or bool(own and own in text))
        for start in (-1.0,) if undated else starts:
            at = -1.0 if undated else _just_before(start, pod, signal)
            if at is not None and (text not in latest or latest[text] < (at, source, start)):
                latest[text] = (at, source, start)
    newest = sorted(latest.items(), key=lambda kv: (not (own and own in kv[0]), -kv[1][0], kv[0]))[:CHANGES]
    return tuple(
        Change(text, None, None, source)
        if at < 0
        else Change(text, datetime.fromtimestamp(at, UTC), max(0.0, start - at), source)
        for text, (at, source, start) in newest
    )


def _just_before(began: float, pod: Pod, signal: Signal) -> float | None:
    """When a change came last in the time before a failure began; None when it did not, or comes all the time."""
    if pod.first is None or signal.seconds.width > 60:
        return None
    before = [t for t, _ in signal.seconds.items() if began - CHANGE_SECONDS <= t <= began]
    if not before:
        return None
    quiet = began - CHANGE_SECONDS - pod.first
    earlier = signal.seconds.between(pod.first, began - CHANGE_SECONDS - 1) if quiet > 0 else 0
    return before[-1] if len(before) >= 3 * earlier * CHANGE_SECONDS / max(quiet, 1.0) else None


# -- counts


def _requests(tally: Tally, sample: tuple[int, int] | None) -> int | None:
    """Failed requests: lines less retries, as far as the sample of request ids shows."""
    if sample is None:
        return None
    requests, lines = sample
    if lines <= tally.count and lines == requests:
        return tally.count
    return max(1, round(tally.count * requests / lines))


def _totals(seen: Findings, owner: Mapping[Key, Key], failed: Mapping[Key, int]) -> dict[Key, int]:
    """Requests on the edges and at the workloads that findings are about: the lines there, less retries."""
    lines: dict[Key, dict[Subject, int]] = {}
    for key, group in owner.items():
        if n := seen.traffic.get(key[1], 0):
            lines.setdefault(group, {})[key[1]] = n
    retries: dict[Subject, int] = {}
    for group, n in failed.items():
        for subject in lines.get(group, ()):
            retries[subject] = retries.get(subject, 0) + n
    return {group: max(1, sum(some.values()) - max(retries[s] for s in some)) for group, some in lines.items() if some}


def _facts(key: Key, cases: Mapping[Key, _Case], explains: Mapping[Key, set[Key]]) -> dict[str, str]:
    """Names for remedies: of its first sample, and what that lacks of those who saw the same (the gateway that istiod speaks of)."""
    others = [k for k in sorted(explains.get(key, ())) if k[0] == key[0]]
    proofs = [cases[k].tally.proof[0] for k in (*reversed(others), key) if cases[k].tally.proof]
    return {name: value for proof in proofs for name, value in proof.facts}


def _finding(
    key: Key,
    case: _Case,
    facts: Mapping[str, str],
    istio: str,
    requests: int | None,
    total: int | None,
    reach: tuple[tuple[str, int], ...],
    asking: Asking | None,
) -> Finding:
    cause, tally = case.cause, case.tally
    said = remedies.of(cause, facts, istio)
    return Finding(
        rank=0,
        cause=cause.id,
        kind=case.kind,
        severity=cause.severity,
        confidence=case.confidence,
        state=case.state,
        title=cause.title,
        explanation=cause.explanation,
        subject=key[1],
        count=tally.count,
        first=tally.first,
        last=tally.last,
        patterns=tuple(sorted(tally.patterns, key=lambda p: (-tally.patterns[p], p))),
        samples=tuple(p.sample for p in tally.proof),
        places=len(tally.places),
        evidence=tuple(case.evidence),
        alternatives=case.alternatives if case.confidence is _POSSIBLE else (),
        tell_apart=remedies.fill(cause.tell_apart, facts) if cause.tell_apart else "",
        remedies=asking.remedies(case.checks, said) if asking else said,
        facts=facts,
        requests=requests,
        total=max(total, requests or 0) if total else None,
        reach=reach,
        onset=case.onset,
        changes=case.changes,
        checks=case.checks,
        refuted=case.refuted,
        minutes=Counts(tally.minutes.width, tuple(sorted(tally.minutes.counts.items()))),
        pods=tuple(
            (name, place.count) for name, place in nlargest(PODS, tally.places.items(), key=lambda p: p[1].count)
        ),
    )
