"""Rules over time: A then B, A without B, at least N in a while. Evaluated on merged signals, so in any number of parts alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from meshdiag.catalogue import Catalogue
from meshdiag.catalogue.entries import Sequence
from meshdiag.diagnosis.signals import Name, Pod, Pods, Signal
from meshdiag.model import Sample


@dataclass(frozen=True, slots=True)
class Held:
    """A sequence that holds in a pod: how often, from and to when (seconds since 1970, or -1), and a line of it.

    over  it came often, and then not for as long as it is looked at, while the log went on
    """

    sequence: Sequence
    place: str
    pod: Pod
    count: int
    first: tuple[float, int]
    last: tuple[float, int]
    sample: Sample
    over: bool = False


def held(pods: Pods, catalogue: Catalogue) -> Iterator[Held]:
    """Every sequence of the catalogue that holds, pod by pod; of the mesh once, in the first pod that saw it."""
    for sequence in catalogue.sequences:
        if sequence.on == "mesh":
            some = {k: p for k, p in sorted(pods.items()) if any(_is(n, sequence.members) for n in p.signals)}
            if some:
                place, first = next(iter(some.items()))
                whole = first
                for pod in list(some.values())[1:]:
                    whole = whole.merged(pod)
                yield from _held(sequence, place, whole)
        else:
            for place, pod in sorted(pods.items()):
                yield from _held(sequence, place, pod)


def _held(sequence: Sequence, place: str, pod: Pod) -> Iterator[Held]:
    a = _of(pod.signals, sequence.first)
    if a is None:
        return
    count, over = 0, False
    first, last, sample = a.first, a.last, a.sample
    if sequence.then:
        b = _of(pod.signals, sequence.then)
        count = _followed(a, b, sequence.within) if b else 0
        last = max(a.last, b.last) if b else last
    elif sequence.without:
        b = _of(pod.signals, sequence.without)
        goes_on = pod.last is not None and a.last[0] >= 0 and pod.last - a.last[0] >= sequence.within
        count = int(goes_on and (b is None or b.last < a.last) and a.count >= sequence.at_least)
        if b is not None:  # what began before the last B ended well
            since = [at for at, _ in a.seconds.items() if at > b.last[0]]
            first, sample = (float(since[0]), 0) if since else a.last, a.latest
    elif a.seconds.most_within(sequence.within) >= sequence.at_least:
        count = a.count
        over = pod.last is not None and pod.last - a.last[0] >= sequence.within
    if count:
        yield Held(sequence, place, pod, count, first, last, sample, over)


def _is(name: Name, members: frozenset[str]) -> bool:
    return name[0] in members or f"cause:{name[1]}" in members


def _of(signals: Mapping[Name, Signal], members: frozenset[str]) -> Signal | None:
    """The signals of any of the members, as one."""
    out: Signal | None = None
    for name in sorted(n for n in signals if _is(n, members)):
        out = signals[name] if out is None else out.merged(signals[name])
    return out


def _followed(a: Signal, b: Signal, within: float) -> int:
    """How many stretches of A have a B within the time after them; 0 when the times are too coarse to tell."""
    if max(a.seconds.width, b.seconds.width) > within:
        return 0
    starts = [at for at, _ in a.seconds.items()]
    ends = [at for at, _ in b.seconds.items()]
    found, i = 0, 0
    for at in starts:
        while i < len(ends) and ends[i] < at:
            i += 1
        found += i < len(ends) and ends[i] - at <= within
    return found
