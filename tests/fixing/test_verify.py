"""The verdict on two series: what is sure is said, what is not is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from meshdiag.fixing.verify import Outcome, Span, judge, story

RANK = {Outcome.GONE: 0, Outcome.FALLING: 1, Outcome.UNCHANGED: 2, Outcome.WORSE: 3}


def spans(requests: bool) -> Any:
    def span(seconds: float, failures: int, more: int) -> Span:
        return Span(seconds, failures, failures + more if requests else None)

    one = st.builds(span, st.floats(1, 60), st.integers(0, 200), st.integers(0, 1000))
    return st.lists(one, min_size=1, max_size=8).map(tuple)


SERIES = st.booleans().flatmap(lambda known: st.tuples(spans(known), spans(known)))


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        ([Span(300, 100)], [Span(60, 0)], Outcome.GONE),
        ([Span(300, 100)], [Span(5, 12), Span(5, 1), Span(50, 0)], Outcome.GONE),
        ([Span(300, 100)], [Span(60, 5)], Outcome.FALLING),
        ([Span(300, 100)], [Span(60, 20)], Outcome.UNCHANGED),
        ([Span(300, 100)], [Span(60, 60)], Outcome.WORSE),
        ([Span(300, 2)], [Span(60, 0)], Outcome.UNKNOWN),
        ([Span(300, 0)], [Span(60, 0)], Outcome.UNKNOWN),
        ([Span(300, 0)], [Span(60, 20)], Outcome.WORSE),
        ([Span(300, 100, 1000)], [Span(60, 0, 0)], Outcome.UNKNOWN),
        ([Span(300, 100, 1000)], [Span(60, 0, 10)], Outcome.UNKNOWN),
        ([Span(300, 100, 1000)], [Span(60, 0, 40)], Outcome.GONE),
        # twice the traffic, twice the failures: the same share
        ([Span(300, 100, 1000)], [Span(60, 40, 400)], Outcome.UNCHANGED),
        # what is counted as no request is set against the time
        ([Span(300, 100, 10)], [Span(60, 0, 1)], Outcome.GONE),
        ([], [Span(60, 5)], Outcome.UNKNOWN),
        ([Span(300, 100)], [], Outcome.UNKNOWN),
    ],
)  # fmt: skip
def test_verdicts(before: list[Span], after: list[Span], outcome: Outcome) -> None:
    assert judge(before, after) is outcome


@given(SERIES)
def test_more_failures_are_never_better(series: tuple[tuple[Span, ...], tuple[Span, ...]]) -> None:
    before, after = series
    worse = tuple(Span(s.seconds, s.failures + 1, None if s.requests is None else s.requests + 1) for s in after)
    if after[0].requests is not None:  # the share is what counts, so it has to grow
        assume(all(s.failures < (s.requests or 0) for s in after))
    one, other = judge(before, after), judge(before, worse)
    if one in RANK and other in RANK:
        assert RANK[one] <= RANK[other]


@given(SERIES)
@example(((Span(1, 18), Span(1, 0)), (Span(1, 3),)))
def test_what_gets_better_one_way_gets_worse_the_other(series: tuple[tuple[Span, ...], tuple[Span, ...]]) -> None:
    """Or, where the one that comes after ends quiet, it is gone."""
    before, after = series
    if judge(before, after) is Outcome.FALLING:
        outcome = judge(after, before)
        assert outcome in (Outcome.WORSE, Outcome.UNKNOWN) or (outcome is Outcome.GONE and before[-1].failures == 0)


@given(spans(False), st.integers(1, 5))
def test_a_rate_is_itself(series: tuple[Span, ...], times: int) -> None:
    """The same again is never another rate, however long it is looked at; gone only when its own end was quiet."""
    outcome = judge(series * times, series)
    assert outcome in (Outcome.UNCHANGED, Outcome.UNKNOWN) or (outcome is Outcome.GONE and series[-1].failures == 0)


@given(SERIES)
def test_what_is_gone_was_there(series: tuple[tuple[Span, ...], tuple[Span, ...]]) -> None:
    before, after = series
    if judge(before, after) is Outcome.GONE:
        assert sum(s.failures for s in before) > 0 and after[-1].failures == 0


def test_large_numbers_take_no_time() -> None:
    assert judge([Span(300, 10_000_000)], [Span(300, 7_000_000)]) is Outcome.FALLING
    assert judge([Span(300, 7_000_000)], [Span(300, 10_000_000)]) is Outcome.WORSE


def test_the_story_has_numbers() -> None:
    hundred = [Span(300, 100, 1000)]
    was = "20.0 failures a minute of 200.0 requests a minute, 10.0 % before"
    assert story(hundred, [Span(10, 3, 30), Span(30, 0, 90)]) == f"gone: {was}, none of 90 requests in the last 30 s"
    now = "30.0 failures a minute of 300.0 requests a minute, 10.0 %"
    assert story(hundred, [Span(60, 30, 300)]) == f"unchanged: {was}, {now} in the 60 s after"
    assert story([Span(300, 100)], [Span(60, 0)]) == "gone: 20.0 failures a minute before, none in the last 60 s"
    assert story([], [Span(60, 1)]).startswith("not enough traffic to tell: nothing was read before")
