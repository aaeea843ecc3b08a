"""The laws of the monoid, with sets that overflow their bounds."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshdiag.diagnosis import findings as module
from meshdiag.diagnosis import requests as requests_module
from meshdiag.diagnosis import signals as signals_module
from meshdiag.diagnosis.bounded import Buckets
from meshdiag.diagnosis.findings import Findings, bottom_k
from meshdiag.diagnosis.requests import Requests
from meshdiag.model import Match, Origin, Problem, Record, Subject

START = datetime(2026, 11, 22, tzinfo=UTC)

MATCHES = st.builds(
    lambda cause, subject, pod, second, offset, pattern, request_id: (
        Match(
            Record(
                "istio-log",
                f"line {offset}",
                time=START + timedelta(seconds=second) if second else None,
                origin=Origin(f"{pod}.log", pod=pod),
                offset=offset,
                fields={"request_id": request_id} if request_id else {},
            ),
            pattern,
            cause,
        ),
        Subject("workload", "ns", subject),
    ),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([f"w{i}" for i in range(6)]),
    st.sampled_from([f"p{i}" for i in range(6)]),
    st.integers(0, 100),
    st.integers(0, 1000),
    st.sampled_from(["x", "y"]),
    st.sampled_from(["", *(f"id-{i}" for i in range(12))]),
)
SHAPES = st.tuples(st.sampled_from([f"shape {i}" for i in range(8)]), st.integers(0, 50))


REASON = st.sampled_from([{}, {"reason": "because"}])


@st.composite
def all_findings(draw: st.DrawFn) -> Findings:
    found = Findings(
        bytes=draw(st.integers(0, 99)),
        lines=draw(st.integers(0, 99)),
        examined=draw(st.dictionaries(st.sampled_from("xyz"), st.integers(1, 9))),
        problems=frozenset(Problem(f"f{i}", "what") for i in draw(st.sets(st.integers(0, 9), max_size=4))),
    )
    for match, subject in draw(st.lists(MATCHES, max_size=12)):
        found.add_match(match, subject, {"pod": match.record.origin.pod, **draw(REASON)})
        if draw(st.booleans()):
            found.add_signal(match.record, (match.pattern, match.cause, draw(st.sampled_from(["", "this", "that"]))))
        found.saw(match.record, match.record.time)
        found.traffic[subject] = found.traffic.get(subject, 0) + draw(st.integers(1, 9))
    for shape, offset in draw(st.lists(SHAPES, max_size=8)):
        found.add_unrecognised(Record("text", shape, origin=Origin("f"), offset=offset), shape)
    return Findings() + found


@pytest.fixture(params=["roomy", "tight"], autouse=True)
def bounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "tight":
        for name in ("MAX_SUBJECTS", "MAX_SHAPES", "MAX_PLACES", "MAX_PROBLEMS", "MAX_MINUTES", "MAX_EDGES"):
            monkeypatch.setattr(module, name, 3)
        for name in ("MAX_PODS", "MAX_NAMES", "MAX_SECONDS"):
            monkeypatch.setattr(signals_module, name, 3)
        monkeypatch.setattr(requests_module, "MAX_ENTRIES", 5)


@settings(max_examples=150, deadline=None)
@given(all_findings(), all_findings(), all_findings())
def test_laws(a: Findings, b: Findings, c: Findings) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Findings() == Findings() + a == a


@given(all_findings(), all_findings())
def test_adding_changes_neither(a: Findings, b: Findings) -> None:
    before = repr(a), repr(b)
    assert (a + b).matched == a.matched + b.matched
    assert (repr(a), repr(b)) == before


@given(st.dictionaries(st.text(max_size=5), st.integers()), st.integers(0, 10))
def test_bottom_k_of_a_part_never_loses_what_the_whole_keeps(items: dict[str, int], k: int) -> None:
    kept = bottom_k(items, k)
    half = dict(list(items.items())[::2])
    for key in kept:
        if key in half:
            assert key in bottom_k(half, k)


TIMES = st.lists(st.tuples(st.floats(0, 2e9), st.integers(1, 5)), max_size=40)


@given(TIMES, TIMES, TIMES)
def test_buckets_of_parts_are_those_of_the_whole(a: list, b: list, c: list) -> None:
    def buckets(*parts: list) -> Buckets:
        out = Buckets(60, 4)
        for seconds, n in (x for part in parts for x in part):
            out.add(seconds, n)
        return out

    whole = buckets(a, b, c)
    assert buckets(a).merged(buckets(b)).merged(buckets(c)) == whole
    assert buckets(c).merged(buckets(b).merged(buckets(a))) == whole
    assert sum(n for _, n in whole.items()) == sum(n for _, n in a + b + c)
    assert len(whole.items()) <= 4


@given(TIMES, st.integers(1, 10_000))
def test_the_most_within_a_time_is_never_too_many(times: list, seconds: int) -> None:
    buckets = Buckets(1, 256)
    for at, n in times:
        buckets.add(at, n)
    true = max((sum(n for t, n in times if at <= t <= at + seconds) for at, _ in times), default=0)
    assert buckets.most_within(seconds) <= true


IDS = st.lists(st.tuples(st.integers(0, 400), st.sampled_from("ab"), st.floats(0, 100)), max_size=60)


@given(IDS, IDS)
def test_a_sample_of_requests_is_that_of_the_whole(a: list, b: list) -> None:
    def requests(*parts: list) -> Requests:
        out = Requests()
        for number, cause, at in (x for part in parts for x in part):
            out.add((cause, Subject("workload", "ns", cause), "pod"), f"id-{number}", at)
        return Requests().merged(out)

    whole = requests(a, b)
    assert requests(a).merged(requests(b)) == requests(b).merged(requests(a)) == whole
    ids = {i for i, _, _ in a + b}
    if not whole.sampled:
        assert whole.total() == len(ids)
    kept = {i for seen in whole.by_hop.values() for i in seen}
    for i in kept:  # nothing of a request that is kept is lost
        assert {(h[0], seen[i][0]) for h, seen in whole.by_hop.items() if i in seen} == {
            (c, sum(1 for n, d, _ in a + b if (f"id-{n}", d) == (i, c))) for n, c, _ in a + b if f"id-{n}" == i
        }
