"""Things in the order of their times, within a bounded delay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from meshdiag.ordering import Reorder

EPOCH = datetime(2026, 11, 22, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def test_what_is_held_comes_in_order() -> None:
    """Lines of two origins that come within the delay are given by their times."""
    order: Reorder[str] = Reorder(1.0)
    order.feed("late", at(5), 0.0)
    order.feed("early", at(4), 0.5)
    assert list(order.release(0.9)) == []
    assert list(order.release(1.0)) == ["early", "late"]


def test_one_clock_behind_holds_nobody_up() -> None:
    """A thing is given after the delay, however many with earlier times come meanwhile."""
    order: Reorder[str] = Reorder(1.0)
    order.feed("now", at(100), 0.0)
    for i in range(20):
        order.feed(f"old {i}", at(i), i * 0.1)
    assert "now" in list(order.release(1.0))


def test_without_a_time_it_goes_with_the_one_before() -> None:
    """Continuation lines stay behind their head."""
    order: Reorder[str] = Reorder(1.0)
    for text, time in (("head", at(3)), ("  more", None), ("earlier", at(1))):
        order.feed(text, time, 0.0)
    assert list(order.flush()) == ["earlier", "head", "  more"]


@given(st.lists(st.tuples(st.integers(0, 10), st.floats(0, 0.5)), max_size=60), st.floats(0, 3))
def test_each_thing_once_and_in_time(things: list[tuple[int, float]], delay: float) -> None:
    """Everything is given exactly once, none later than the delay, and in order when all came within it."""
    order: Reorder[int] = Reorder(delay)
    now, came, given_at = 0.0, {}, {}
    for i, (time, wait) in enumerate(things):
        now += wait
        order.feed(i, at(time), now)
        came[i] = now
        for item in order.release(now):
            assert item not in given_at
            given_at[item] = now
        assert all(i in given_at for i, t in came.items() if t <= now - delay)
    rest = list(order.flush())
    assert sorted([*given_at, *rest]) == list(range(len(things)))
    assert [things[i][0] for i in rest] == sorted(things[i][0] for i in rest)
