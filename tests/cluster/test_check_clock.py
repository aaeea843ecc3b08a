"""The check `clock`."""

from __future__ import annotations

import pytest
from snapshots import obj, pod, snapshot

from meshdiag.cluster import About, Object, Snapshot, Verdict, checks

CHECK = checks()["clock"]


def node(beat: str, name: str = "node-1", ready: str = "True") -> Object:
    return obj("Node", name, status={"conditions": [{"type": "Ready", "status": ready, "lastHeartbeatTime": beat}]})


@pytest.mark.parametrize(
    ("beat", "said"),
    [("2026-11-22T12:10:00Z", "10 min ahead"), ("2026-11-22T09:00:00Z", "3 h behind")],
)
def test_a_clock_that_is_wrong(beat: str, said: str) -> None:
    right = node("2026-11-22T11:59:00Z", "node-2")
    (result,) = CHECK.ask(snapshot(node(beat), right))
    assert result.verdict is Verdict.CONFIRMED and said in result.text and result.causes == ("clock-skew",)


def test_clocks_that_agree() -> None:
    (result,) = CHECK.ask(snapshot(node("2026-11-22T11:56:00Z"), node("2026-11-22T12:00:20Z", "node-2")))
    assert result.verdict is Verdict.REFUTED and "2 nodes" in result.text and not result.causes


def test_clocks_that_are_off_in_both_directions() -> None:
    results = CHECK.ask(snapshot(node("2026-11-22T12:10:00Z"), node("2026-11-22T09:00:00Z", "node-2")))
    assert [r.verdict for r in results] == [Verdict.CONFIRMED, Verdict.CONFIRMED]


def test_a_pod_that_started_before_it_was_created() -> None:
    def started(at: str, **raw: object) -> Object:
        return pod("web-6c9dbf6b45-s2fnt", created="2026-11-22T10:00:00Z", status={"startTime": at}, **raw)  # type: ignore[arg-type]

    beat = node("2026-11-22T11:58:00Z")
    (result,) = CHECK.ask(snapshot(beat, started("2026-11-22T09:30:00Z")))
    assert "at least 30 min behind" in result.text and result.causes == ("clock-skew",)
    (result,) = CHECK.ask(Snapshot("test", (beat, started("2026-11-22T09:59:00Z"))))
    assert "at least 60 s behind" in result.text, "when it was read does not matter"
    mirror = {"annotations": {"kubernetes.io/config.mirror": "x"}}
    for fine in (
        started("2026-11-22T09:59:58Z"),
        started("2026-11-22T10:05:00Z"),
        started("2026-11-22T09:30:00Z", **mirror),
    ):
        (result,) = CHECK.ask(snapshot(beat, fine))
        assert result.verdict is Verdict.REFUTED


@pytest.mark.parametrize(
    ("beat", "said"), [("2026-11-22T12:10:00Z", "10 min ahead of"), ("2026-11-22T09:00:00Z", "3 h behind")]
)
def test_where_all_nodes_say_the_same_it_may_be_the_reader(beat: str, said: str) -> None:
    (result,) = CHECK.ask(snapshot(node(beat), node(beat, "node-2")))
    assert result.verdict is Verdict.NOT_CHECKABLE and said in result.text


def test_only_the_node_of_the_pod() -> None:
    state = snapshot(node("2026-11-22T11:56:00Z"), node("2026-11-22T09:00:00Z", "node-2"), pod("web-6c9dbf6b45-s2fnt"))
    (result,) = CHECK.ask(state, About(namespace="shop", workload="web"))
    assert result.verdict is Verdict.REFUTED


def test_not_checkable() -> None:
    for state in (
        snapshot(node("2026-11-22T09:00:00Z", ready="Unknown")),  # it does not beat any more
        Snapshot("test", (node("2026-11-22T09:00:00Z"),)),  # nobody knows when it was read
        snapshot(unread={"Node": "forbidden"}),
    ):
        (result,) = CHECK.ask(state)
        assert result.verdict is Verdict.NOT_CHECKABLE
