"""When which pod said something that sequences and the readiness timeline ask for: milestones, changes, members of sequences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from meshdiag.diagnosis.bounded import Buckets, bottom_k
from meshdiag.lazyre import lazy
from meshdiag.model import Origin, Sample

MAX_PODS = 1_500
MAX_NAMES = 200
"""Signals of one pod: there are as many as patterns that ask for them, and as different things that changed."""

MAX_SECONDS = 256
"""Seconds of one signal in one pod that are told apart; beyond it they are counted in stretches of 2, 4, … seconds."""

SAMPLE_CHARS = 400
DETAIL_CHARS = 120

VERSIONS = ("istiod-version", "agent-process-start", "ztunnel-started")
"""Ids of the patterns whose `version` is Istio's."""

_VERSION = lazy(r"(\d{1,2})\.(\d{1,3})(?![\d])")

Position = tuple[float, int]
"""When and where in its origin: (seconds since 1970, or -1 without a time; offset)."""


Name = tuple[str, str, str]
"""Pattern, cause, and a detail: what changed (for a pattern with `change`), or the version of the program."""


@dataclass(slots=True)
class Signal:
    """The matches of one name in one pod; `sample` stands first in its file, `latest` was the last in time."""

    count: int
    first: Position
    last: Position
    sample: Sample
    latest: Sample
    seconds: Buckets = field(default_factory=lambda: Buckets(1, MAX_SECONDS))

    def merged(self, other: Signal) -> Signal:
        """Both together."""
        return Signal(
            self.count + other.count,
            min(self.first, other.first),
            max(self.last, other.last),
            min(self.sample, other.sample),
            max((self.last, self.latest), (other.last, other.latest))[1],
            self.seconds.merged(other.seconds),
        )


@dataclass(slots=True)
class Pod:
    """What one pod (see `place_of`) said, and from when to when its log goes (seconds since 1970; None: no times)."""

    origin: Origin
    first: float | None = None
    last: float | None = None
    signals: dict[Name, Signal] = field(default_factory=dict)

    def saw(self, seconds: float) -> None:
        """Widen the span of the log."""
        if self.first is None or seconds < self.first:
            self.first = seconds
        if self.last is None or seconds > self.last:
            self.last = seconds

    def merged(self, other: Pod) -> Pod:
        """Both together."""
        signals = dict(self.signals)
        for name, signal in other.signals.items():
            signals[name] = signals[name].merged(signal) if name in signals else signal
        times = [t for t in (self.first, other.first) if t is not None]
        ends = [t for t in (self.last, other.last) if t is not None]
        return Pod(
            min(self.origin, other.origin, key=_order),
            min(times, default=None),
            max(ends, default=None),
            bottom_k(signals, MAX_NAMES),
        )


def _order(origin: Origin) -> tuple[str, ...]:
    return origin.path, origin.cluster, origin.namespace, origin.pod, origin.container


Pods = dict[str, Pod]


def saw(pods: Pods, place: str, origin: Origin, seconds: float) -> Pods:
    """Widen the span of a pod's log; returns the pods, cut to their bound when they were too many."""
    pods, pod = _pod(pods, place, origin)
    pod.saw(seconds)
    return pods


def add(pods: Pods, place: str, origin: Origin, name: Name, seconds: float | None, offset: int, text: str) -> Pods:
    """Count a signal of a record at an offset; returns the pods, cut to their bound when they were too many."""
    position = (-1.0 if seconds is None else seconds, offset)
    pods, pod, signal = _signal(pods, place, origin, name, position, offset, text)
    signal.count += 1
    _until(signal, position, origin.path, text)
    if seconds is not None:
        signal.seconds.add(seconds)
        pod.saw(seconds)
    return pods


def add_all(
    pods: Pods,
    place: str,
    origin: Origin,
    name: Name,
    rows: Sequence[tuple[float, int, str]],
    first: tuple[int, str],
    latest: str,
) -> Pods:
    """As `add` for many records: (seconds since 1970, offset, anything).

    `first` are offset and text of the one that stands first, `latest` is the text of the last in time.
    """
    begin, end = min(rows)[:2], max(rows)[:2]
    pods, pod, signal = _signal(pods, place, origin, name, begin, *first)
    signal.count += len(rows)
    _until(signal, end, origin.path, latest)
    for second, n in Counter([row[0] // 1 for row in rows]).items():
        signal.seconds.add(second, n)
    pod.saw(begin[0])
    pod.saw(end[0])
    return pods


def _until(signal: Signal, position: Position, path: str, text: str) -> None:
    if position >= signal.last:
        sample = Sample(path, position[1], text[:SAMPLE_CHARS])
        if (position, sample) > (signal.last, signal.latest):
            signal.last, signal.latest = position, sample


def _signal(
    pods: Pods, place: str, origin: Origin, name: Name, position: Position, offset: int, text: str
) -> tuple[Pods, Pod, Signal]:
    pods, pod = _pod(pods, place, origin)
    signal = pod.signals.get(name)
    if signal is None:
        sample = Sample(origin.path, offset, text[:SAMPLE_CHARS])
        signal = pod.signals[name] = Signal(0, position, position, sample, sample)
        if len(pod.signals) > 2 * MAX_NAMES:
            pod.signals = bottom_k(pod.signals, MAX_NAMES)
    elif (origin.path, offset) < (signal.sample.path, signal.sample.offset):
        signal.sample = Sample(origin.path, offset, text[:SAMPLE_CHARS])
    if position < signal.first:
        signal.first = position
    return pods, pod, signal


def _pod(pods: Pods, place: str, origin: Origin) -> tuple[Pods, Pod]:
    pod = pods.get(place)
    if pod is None:
        pod = Pod(origin)
        pods[place] = pod
        if len(pods) > 2 * MAX_PODS:
            pods = bottom_k(pods, MAX_PODS)
    elif pod.origin is not origin and _order(origin) < _order(pod.origin):
        pod.origin = origin
    return pods, pod


def merged(a: Pods, b: Pods) -> Pods:
    """Both together."""
    out = dict(a)
    for place, pod in b.items():
        out[place] = out[place].merged(pod) if place in out else pod
    return bottom_k(out, MAX_PODS)


def istio_version(pods: Pods) -> str:
    """The oldest Istio that says its version, as `1.27`: of istiod when it is among them; "" when none does."""
    told: dict[str, list[tuple[int, int]]] = {}
    for pod in pods.values():
        for pattern, _, detail in pod.signals:
            if pattern in VERSIONS and (m := _VERSION.match(detail)):
                told.setdefault(pattern, []).append((int(m[1]), int(m[2])))
    versions = told.get("istiod-version") or [v for some in told.values() for v in some]
    return "{}.{}".format(*min(versions)) if versions else ""
