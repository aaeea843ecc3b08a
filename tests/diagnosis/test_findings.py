"""The laws of the monoid, with sets that overflow their bounds."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshdiag.diagnosis import findings as module
from meshdiag.diagnosis.findings import Findings, bottom_k
from meshdiag.model import Match, Origin, Problem, Record, Subject

START = datetime(2026, 11, 22, tzinfo=UTC)

MATCHES = st.builds(
    lambda cause, subject, pod, second, offset, pattern: (
        Match(
            Record(
                "istio-log",
                f"line {offset}",
                time=START + timedelta(seconds=second) if second else None,
                origin=Origin(f"{pod}.log", pod=pod),
                offset=offset,
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
)
SHAPES = st.tuples(st.sampled_from([f"shape {i}" for i in range(8)]), st.integers(0, 50))


@st.composite
def all_findings(draw: st.DrawFn) -> Findings:
    found = Findings(
        bytes=draw(st.integers(0, 99)),
        lines=draw(st.integers(0, 99)),
        examined=draw(st.dictionaries(st.sampled_from("xyz"), st.integers(1, 9))),
        problems=frozenset(Problem(f"f{i}", "what") for i in draw(st.sets(st.integers(0, 9), max_size=4))),
    )
    for match, subject in draw(st.lists(MATCHES, max_size=12)):
        found.add_match(match, subject, {"pod": match.record.origin.pod})
    for shape, offset in draw(st.lists(SHAPES, max_size=8)):
        found.add_unrecognised(Record("text", shape, origin=Origin("f"), offset=offset), shape)
    return Findings() + found


@pytest.fixture(params=["roomy", "tight"], autouse=True)
def bounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "tight":
        for name in ("MAX_TALLIES", "MAX_SHAPES", "MAX_PLACES", "MAX_PROBLEMS"):
            monkeypatch.setattr(module, name, 3)


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
