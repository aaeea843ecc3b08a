"""`Findings`: all that was seen, as a monoid.

    Findings() + a == a      a + b == b + a      (a + b) + c == a + (b + c)

so files, windows and processes can be added in any order. Bounds keep to this law: a set that grows too large keeps
the members with the smallest hashes (bottom-k; a member that is kept in the end was never cut, so its numbers are exact),
and what was cut is the difference to the totals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from meshdiag.diagnosis import signals as signals_
from meshdiag.diagnosis.bounded import Buckets, bottom_k, earlier, later, summed
from meshdiag.diagnosis.requests import Requests
from meshdiag.diagnosis.signals import Pods, Position
from meshdiag.diagnosis.subjects import workload_of
from meshdiag.model import Match, Problem, Record, Sample, Subject

MAX_SUBJECTS = 300
"""Subjects of one cause: who sends requests for ever other hosts must not drive out the tallies of other causes."""

MAX_SHAPES = 2_000
MAX_PLACES = 2_000
MAX_PROBLEMS = 500
SAMPLES = 3
SAMPLE_CHARS = 2_000
REASONS = frozenset({"reason", "error"})
"""Facts that say why."""

MAX_MINUTES = 120
"""Minutes of one tally that are told apart; beyond it they are counted in stretches of 2, 4, … minutes."""

MAX_EDGES = 4_000

Key = tuple[str, Subject]


def place_of(record: Record) -> str:
    """The pod a record is about, or the file it stands in when that is not known: where a condition begins and ends.

    A pod of a generated name is known by it alone, since not every source tells its namespace.
    """
    origin, pod, namespace = record.origin, record.origin.pod, record.origin.namespace
    if record.format == "event" and record.fields.get("object_kind", "").lower() == "pod":
        pod, namespace = record.fields.get("object", ""), record.fields.get("namespace", namespace)
    if not pod:
        return origin.path
    return pod if workload_of(pod) != pod else "/".join(p for p in (origin.cluster, namespace, pod) if p)


@dataclass(slots=True)
class Place:
    """How one pod saw a cause: how often, and from when to when."""

    count: int
    first: Position
    last: Position

    def merged(self, other: Place) -> Place:
        """Both together."""
        return Place(self.count + other.count, min(self.first, other.first), max(self.last, other.last))


@dataclass(frozen=True, slots=True, order=True)
class Proof:
    """A sample with the facts that its record gave; what gives a reason comes first: a NACK is told often, why only once."""

    vague: bool
    sample: Sample
    facts: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Tally:
    """All matches of one cause on one subject."""

    count: int = 0
    first: datetime | None = None
    last: datetime | None = None
    patterns: dict[str, int] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    minutes: Buckets = field(default_factory=lambda: Buckets(60, MAX_MINUTES))
    proof: list[Proof] = field(default_factory=list)
    """The samples that give a reason and stand first in their files."""

    def count_one(
        self,
        pattern: str,
        time: datetime | None,
        place: str,
        path: str,
        offset: int,
        text: str,
        facts: Mapping[str, str],
    ) -> None:
        """Count one record that `pattern` recognised, of a place (see `place_of`), at an offset of a file."""
        self.count += 1
        self.patterns[pattern] = self.patterns.get(pattern, 0) + 1
        if time is not None:
            if self.first is None or time < self.first:
                self.first = time
            if self.last is None or time > self.last:
                self.last = time
            seconds = time.timestamp()
            position = (seconds, offset)
            self.minutes.add(seconds)
        else:
            position = (-1.0, offset)
        seen = self.places.get(place)
        if seen is None:
            self.places[place] = Place(1, position, position)
        else:
            seen.count += 1
            if position < seen.first:
                seen.first = position
            if position > seen.last:
                seen.last = position
        self._prove(path, offset, text, facts)

    def count_all(
        self,
        pattern: str,
        rows: Sequence[tuple[float, int, str]],
        place: str,
        path: str,
        texts: Iterable[tuple[int, str]],
        facts: Mapping[str, str],
    ) -> None:
        """As `count_one` for many records of one place and file: (seconds since 1970, offset, anything).

        `texts` are offset and text of those that stand first.
        """
        first, last = min(rows)[:2], max(rows)[:2]
        begin, end = datetime.fromtimestamp(first[0], UTC), datetime.fromtimestamp(last[0], UTC)
        self.count += len(rows)
        self.patterns[pattern] = self.patterns.get(pattern, 0) + len(rows)
        self.first, self.last = earlier(self.first, begin), later(self.last, end)
        new = Place(len(rows), first, last)
        self.places[place] = self.places[place].merged(new) if place in self.places else new
        for minute, n in Counter([row[0] // 60 for row in rows]).items():
            self.minutes.add(minute * 60, n)
        for offset, text in texts:
            self._prove(path, offset, text, facts)

    def _prove(self, path: str, offset: int, text: str, facts: Mapping[str, str]) -> None:
        proof, vague = self.proof, REASONS.isdisjoint(facts)
        if len(proof) < SAMPLES or (vague, path, offset) < (
            proof[-1].vague,
            proof[-1].sample.path,
            proof[-1].sample.offset,
        ):
            self.prove(Sample(path, offset, text[:SAMPLE_CHARS]), facts)

    def prove(self, sample: Sample, facts: Mapping[str, str]) -> None:
        """Keep a sample if it is among the best."""
        known = tuple(sorted((k, v) for k, v in facts.items() if v))
        self.proof.append(Proof(REASONS.isdisjoint(facts), sample, known))
        self.proof.sort()
        del self.proof[SAMPLES:]

    def merged(self, other: Tally) -> Tally:
        """Both together."""
        places = dict(self.places)
        for name, place in other.places.items():
            places[name] = places[name].merged(place) if name in places else place
        return Tally(
            self.count + other.count,
            earlier(self.first, other.first),
            later(self.last, other.last),
            summed(self.patterns, other.patterns),
            bottom_k(places, MAX_PLACES),
            self.minutes.merged(other.minutes),
            sorted({*self.proof, *other.proof})[:SAMPLES],
        )

    @classmethod
    def total(cls, parts: Iterable[Tally]) -> Tally:
        """All together."""
        whole = cls()
        for part in parts:
            whole = whole.merged(part)
        return whole


@dataclass(slots=True)
class Shape:
    """Unrecognised lines that look alike."""

    count: int
    sample: Sample

    def merged(self, other: Shape) -> Shape:
        """Both together."""
        return Shape(self.count + other.count, min(self.sample, other.sample))


OTHERS = Subject("mesh", name="others")
"""Of a cause with too many subjects those that were cut, as one."""


def _bounded(tallies: dict[Key, Tally]) -> dict[Key, Tally]:
    """At most MAX_SUBJECTS of a cause; the others are merged.

    What a part cuts the whole cuts, too, so that the sum over the others does not depend on the order.
    """
    if len(tallies) <= MAX_SUBJECTS:
        return tallies
    by_cause: dict[str, dict[Key, Tally]] = {}
    for key, tally in tallies.items():
        by_cause.setdefault(key[0], {})[key] = tally
    out: dict[Key, Tally] = {}
    for cause, some in by_cause.items():
        others = some.pop((cause, OTHERS), None)
        kept = bottom_k(some, MAX_SUBJECTS)
        if len(kept) < len(some):
            others = Tally.total([*([others] if others else []), *(t for k, t in some.items() if k not in kept)])
        out.update(kept)
        if others is not None:
            out[cause, OTHERS] = others
    return out


@dataclass(slots=True)
class Findings:
    """What was seen in some input. Add with `+`; `Findings()` is neutral.

    bytes, lines     read
    matched          records that a pattern with a cause recognised
    harmless         records that a pattern knows as harmless
    unrecognised     failing or unusual records that no pattern knows
    unplaced         records that a filter left out as they do not name their namespace or pod
    examined         records by format, of those looked at (all candidates and a sample of the others)
    requests         failed requests by x-request-id
    pods             when which pod said what sequences and the readiness timeline ask for
    traffic          requests of each edge or workload, failed or not: exact at the beginning of a file, then `estimated`
    first, last      times seen (of matches, and of a sample of the other lines)
    """

    bytes: int = 0
    lines: int = 0
    matched: int = 0
    harmless: int = 0
    unrecognised: int = 0
    unplaced: int = 0
    first: datetime | None = None
    last: datetime | None = None
    examined: dict[str, int] = field(default_factory=dict)
    tallies: dict[Key, Tally] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)
    problems: frozenset[Problem] = frozenset()
    requests: Requests = field(default_factory=Requests)
    pods: Pods = field(default_factory=dict)
    traffic: dict[Subject, int] = field(default_factory=dict)
    estimated: bool = False
    crowded: int = field(default=2 * MAX_SUBJECTS, compare=False, repr=False)
    """So many tallies are looked through for too many of one cause."""

    def __add__(self, other: Findings) -> Findings:
        """Merge two findings; neither is changed."""
        tallies = dict(self.tallies)
        for key, tally in other.tallies.items():
            tallies[key] = tallies[key].merged(tally) if key in tallies else tally
        shapes = dict(self.shapes)
        for name, shape in other.shapes.items():
            shapes[name] = shapes[name].merged(shape) if name in shapes else shape
        problems = self.problems | other.problems
        return Findings(
            self.bytes + other.bytes,
            self.lines + other.lines,
            self.matched + other.matched,
            self.harmless + other.harmless,
            self.unrecognised + other.unrecognised,
            self.unplaced + other.unplaced,
            earlier(self.first, other.first),
            later(self.last, other.last),
            summed(self.examined, other.examined),
            _bounded(tallies),
            bottom_k(shapes, MAX_SHAPES),
            problems if len(problems) <= MAX_PROBLEMS else frozenset(sorted(problems)[:MAX_PROBLEMS]),
            self.requests.merged(other.requests),
            signals_.merged(self.pods, other.pods),
            bottom_k(summed(self.traffic, other.traffic), MAX_EDGES),
            self.estimated or other.estimated,
        )

    @classmethod
    def sum(cls, parts: Iterable[Findings]) -> Findings:
        """All parts together: in pairs, pairs of pairs and so on, so that many small parts are not copied over and over."""
        sums: list[tuple[int, Findings]] = []
        for part in parts:
            size, total = 1, part
            while sums and sums[-1][0] == size:
                total = sums.pop()[1] + total
                size *= 2
            sums.append((size, total))
        whole = cls()
        for _, total in reversed(sums):
            whole = total + whole
        return whole

    # What follows changes the value in place: for the one who fills it, before it is shared.

    def see(self, time: datetime | None) -> None:
        """Widen the time span."""
        if time is not None:
            if self.first is None or time < self.first:
                self.first = time
            if self.last is None or time > self.last:
                self.last = time

    def tally(self, key: Key) -> Tally:
        """The tally of a cause and subject, to be added to at once: the next one may cut it."""
        tally = self.tallies.get(key)
        if tally is None:
            if len(self.tallies) >= self.crowded:
                self.tallies = _bounded(self.tallies)
                self.crowded = 2 * max(len(self.tallies), MAX_SUBJECTS)
            tally = self.tallies[key] = Tally()
        return tally

    def add_match(self, match: Match, subject: Subject, facts: Mapping[str, str], failing: bool = True) -> None:
        """Count a match under its cause and subject; a failing request under its id, too."""
        self.matched += 1
        record, place = match.record, place_of(match.record)
        self.see(record.time)
        if failing and record.time is not None and (request_id := record.fields.get("request_id")):
            self.requests.add((match.cause, subject, place), request_id, record.time.timestamp())
        tally = self.tally((match.cause, subject))
        tally.count_one(match.pattern, record.time, place, record.origin.path, record.offset, record.text, facts)
        if len(tally.places) > 2 * MAX_PLACES:
            tally.places = bottom_k(tally.places, MAX_PLACES)

    def add_signal(self, record: Record, name: signals_.Name) -> None:
        """Note when a pod said something that sequences or the timeline ask for, or what changed."""
        seconds = None
        if record.time is not None:
            self.see(record.time)
            seconds = record.time.timestamp()
        self.pods = signals_.add(self.pods, place_of(record), record.origin, name, seconds, record.offset, record.text)

    def saw(self, record: Record, time: datetime | None) -> None:
        """Widen the time span, and that of the log of the record's pod."""
        if time is not None:
            self.see(time)
            self.pods = signals_.saw(self.pods, place_of(record), record.origin, time.timestamp())

    def add_unrecognised(self, record: Record, shape: str) -> None:
        """Count a record that no pattern knows under its shape."""
        self.unrecognised += 1
        self.see(record.time)
        sample = Sample(record.origin.path, record.offset, record.text[:SAMPLE_CHARS])
        seen = self.shapes.get(shape)
        if seen is None:
            self.shapes[shape] = Shape(1, sample)
            if len(self.shapes) > 2 * MAX_SHAPES:
                self.shapes = bottom_k(self.shapes, MAX_SHAPES)
        else:
            seen.count += 1
            seen.sample = min(seen.sample, sample)
