"""Did it help? How often a symptom came before a change and comes after it, and what that says.

`judge` is pure: two series, a verdict. The rates are those of Poisson counts, by the request where the requests are known, else by the
second; two of them are told apart by the exact test for that (conditional on their sum the one is binomial: Przyborowski and
Wilenski 1940).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from meshdiag.diagnosis import Diagnosis, Findings
from meshdiag.diagnosis.finding import Finding
from meshdiag.diagnosis.matching import Logs, items
from meshdiag.model import Subject
from meshdiag.tailing import Tail, tail

if TYPE_CHECKING:
    from meshdiag.catalogue import Catalogue

SURE = 0.05
"""How likely a difference may come by chance."""

EXPECTED = 3.0
"""When so many failures were to be expected and none came, they are gone: by chance that is e**-3, 5 %."""

ENOUGH = 10.0
"""When so many were to be expected, a fall to the half would mostly have been noticed."""

LESS, MORE = 0.8, 1.25
"""Smaller differences are none, however sure."""

BEFORE = timedelta(minutes=5)
CATCH_UP = 4.0
"""Seconds for reading the logs of the time before."""

SPANS = 12
"""Into so many parts the time after is cut: a change takes effect within it, not at its beginning."""


class Outcome(StrEnum):
    """What became of a symptom."""

    GONE = "gone"
    FALLING = "falling"
    UNCHANGED = "unchanged"
    WORSE = "worse"
    UNKNOWN = "not enough traffic to tell"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time: seconds, failures in it, and requests, failed or not (None: not known)."""

    seconds: float
    failures: int
    requests: int | None = None


def judge(before: Sequence[Span], after: Sequence[Span]) -> Outcome:
    """What became of a symptom.

    gone        the end of the time after is free of it, and long enough for `EXPECTED` failures at the old rate
    falling, worse   the rate is another one, and that is no chance
    unchanged   neither, and there was enough to see it
    """
    weigh = _by_request if _requests_known(before, after) else _by_second
    weight_before, weight_after = sum(map(weigh, before)), sum(map(weigh, after))
    was, now = sum(s.failures for s in before), sum(s.failures for s in after)
    if weight_before <= 0 or weight_after <= 0:
        return Outcome.UNKNOWN
    rate = was / weight_before
    if rate * sum(map(weigh, _quiet_end(after))) >= EXPECTED:
        return Outcome.GONE
    share = weight_after / (weight_before + weight_after)
    expected = rate * weight_after
    if now <= LESS * expected and _at_most(now, was + now, share) < SURE:
        return Outcome.FALLING
    if now >= MORE * expected and now and _at_most(was, was + now, 1 - share) < SURE:
        return Outcome.WORSE
    return Outcome.UNCHANGED if was and (now >= EXPECTED or expected >= ENOUGH) else Outcome.UNKNOWN


def story(before: Sequence[Span], after: Sequence[Span]) -> str:
    """The verdict with its numbers, as a sentence."""
    outcome = judge(before, after)
    if outcome is Outcome.GONE:
        end = _quiet_end(after)
        requests = f" of {sum(s.requests or 0 for s in end)} requests" if _requests_known(before, after) else ""
        return f"{outcome}: {rate(before)} before, none{requests} in the last {_seconds(end):.0f} s"
    return f"{outcome}: {rate(before)} before, {rate(after)} in the {_seconds(after):.0f} s after"


def rate(spans: Sequence[Span]) -> str:
    """Failures and requests per minute, in words."""
    seconds = _seconds(spans)
    if seconds <= 0:
        return "nothing was read"
    failures = sum(s.failures for s in spans)
    text = f"{failures * 60 / seconds:.1f} failures a minute"
    if all(s.requests is not None for s in spans):
        requests = sum(s.requests or 0 for s in spans)
        part = f", {100 * failures / requests:.1f} %" if requests and failures <= requests else ""
        text += f" of {requests * 60 / seconds:.1f} requests a minute{part}"
    return text


def _seconds(spans: Iterable[Span]) -> float:
    return sum(s.seconds for s in spans)


def _by_second(span: Span) -> float:
    return span.seconds


def _by_request(span: Span) -> float:
    return float(span.requests or 0)


def _requests_known(*some: Sequence[Span]) -> bool:
    """Whether every failure is one of the requests that were counted."""
    return all(
        all(s.requests is not None for s in spans)
        and sum(s.failures for s in spans) <= sum(s.requests or 0 for s in spans)
        for spans in some
    )


def _quiet_end(spans: Sequence[Span]) -> Sequence[Span]:
    last = max((i for i, s in enumerate(spans) if s.failures), default=-1)
    return spans[last + 1 :]


def _at_most(k: int, n: int, share: float) -> float:
    """P(X <= k) of a binomial X; 1 for all k from its mean on, where nobody asks."""
    if k >= n * share:
        return 1.0
    if share >= 1.0:
        return 0.0
    log = (
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + k * math.log(share)
        + (n - k) * math.log1p(-share)
    )
    term = total = math.exp(log)
    for i in range(k, 0, -1):
        term *= i / (n - i + 1) * (1 - share) / share
        total += term
        if term < total * 1e-12:
            break
    return min(1.0, total)


# -- what is measured


@dataclass(frozen=True, slots=True)
class Symptom:
    """What is counted: failures of these causes, about these things (none: about anything), in logs of these namespaces."""

    causes: frozenset[str]
    about: frozenset[tuple[str, ...]] = frozenset()
    subjects: frozenset[Subject] = frozenset()
    namespaces: tuple[str, ...] = ()

    @classmethod
    def of(cls, diagnosis: Diagnosis, finding: Finding) -> Symptom:
        """Of a finding: the same cause and subject, whatever pods and clients tell of it."""
        own = [i for i in items(diagnosis).values() if finding.rank in i.findings and i.cause == finding.cause]
        subjects = frozenset(s for i in own for s in i.tallies)
        pods = [diagnosis.seen.pods.get(pod) for pod, _ in finding.pods]
        spaces = {p.origin.namespace for p in pods if p} | {s.namespace or _namespace(s.source) for s in subjects}
        return cls(frozenset({finding.cause}), frozenset(i.about for i in own), subjects, tuple(sorted(spaces - {""})))

    def count(self, found: Findings, catalogue: Catalogue, seconds: float) -> Span:
        """Its failures and the requests in what was found in so many seconds."""
        diagnosis = Diagnosis(found, catalogue)
        mine = [
            i
            for i in items(diagnosis).values()
            if i.cause in self.causes and (not self.about or any(_alike(i.about, a) for a in self.about))
        ]
        subjects = self.subjects | {s for i in mine for s in i.tallies}
        requests = Logs(diagnosis).total(subjects)
        known = any(s.kind in ("edge", "workload") for s in subjects)
        return Span(seconds, sum(i.count for i in mine), requests if known else None)


def _namespace(place: str) -> str:
    namespace, slash, _ = place.partition("/")
    return namespace if slash else ""


def _alike(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    """Whether two things may be one: equal, or one of them without its namespace."""
    return a == b or (len(a) == len(b) == 3 and (a[0], a[2]) == (b[0], b[2]) and "" in (a[1], b[1]))


async def before(symptom: Symptom, **how: Any) -> tuple[Span, ...]:
    """The symptom in the logs of the last `BEFORE`; `how` is for `meshdiag.tail`: contexts, kubeconfig. Raises MeshdiagError."""
    since = datetime.now(UTC) - BEFORE
    logs = _follow(symptom, since=since, duration=CATCH_UP, **how)
    found = Findings()
    async for step in logs.steps(matches=False):
        if step.findings is not None:
            found += step.findings
    first = Diagnosis(found, logs.catalogue).seen.first
    begun = max(since, first) if first else since  # logs may be younger
    return (symptom.count(found, logs.catalogue, (datetime.now(UTC) - begun).total_seconds()),)


async def after(symptom: Symptom, since: datetime, seconds: float, **how: Any) -> tuple[Span, ...]:
    """The symptom from a time on for so many seconds, as it comes."""
    logs = _follow(symptom, since=since, duration=seconds, wait=True, **how)
    spans: list[Span] = []
    found, begun = Findings(), time.monotonic()
    async for step in logs.steps(matches=False):
        if step.findings is not None:
            found += step.findings
        passed = time.monotonic() - begun
        if passed >= seconds / SPANS:
            spans.append(symptom.count(found, logs.catalogue, passed))
            found, begun = Findings(), time.monotonic()
    passed = time.monotonic() - begun
    return (*spans, symptom.count(found, logs.catalogue, passed)) if passed > 0 else tuple(spans)


def _follow(symptom: Symptom, **how: Any) -> Tail:
    return tail(namespaces=symptom.namespaces, window=None, **how)
