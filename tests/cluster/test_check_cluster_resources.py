"""The check `cluster-resources`."""

from __future__ import annotations

from snapshots import obj, pod, snapshot

from meshdiag.cluster import Object, Verdict, checks
from meshdiag.model import Severity

CHECK = checks()["cluster-resources"]


def node(memory: str, cpu: str = "4", name: str = "node-1") -> Object:
    return obj("Node", name, status={"allocatable": {"memory": memory, "cpu": cpu}})


def test_too_little_and_just_enough() -> None:
    (result,) = CHECK.ask(snapshot(node("2Gi")))
    assert result.verdict is Verdict.CONFIRMED and "less than the 4 GB" in result.text
    (result,) = CHECK.ask(snapshot(node("4Gi")))
    assert result.severity is Severity.INFO and "8 GB are comfortable" in result.text
    results = CHECK.ask(snapshot(node("16Gi", cpu="1500m")))
    assert ["1.5 cores are allocatable" in r.text for r in results] == [True]


def test_enough() -> None:
    (result,) = CHECK.ask(snapshot(node("4Gi"), node("8000000Ki", name="node-2")))
    assert result.verdict is Verdict.REFUTED and "2 nodes" in result.text
    (result,) = CHECK.ask(snapshot(node("8Gi"), node("1Gi", name="node-2")))
    assert result.verdict is Verdict.REFUTED


def test_nodes_that_share_a_machine_count_once() -> None:
    nodes = [node("4Gi", name=f"k3d-agent-{i}") for i in range(3)]
    for n in nodes:
        n.raw["status"]["nodeInfo"] = {"bootID": "5f1c"}  # type: ignore[index]
    (result,) = CHECK.ask(snapshot(*nodes))
    assert result.severity is Severity.INFO and "4Gi of memory and 4 cores" in result.text


def test_the_sum_of_sidecars() -> None:
    big = pod("big-6c9dbf6b45-s2fnt")
    big.raw["spec"]["containers"][0]["resources"] = {"requests": {"memory": "15.5Gi"}}
    outside = [pod(f"web{i}-6c9dbf6b45-s2fnt", proxied=False) for i in range(10)]
    (result,) = CHECK.ask(snapshot(node("16Gi"), big, *outside))
    assert result.verdict is Verdict.CONFIRMED and "sidecars for 10 pods without one take 477Mi to 954Mi" in result.text
    (result,) = CHECK.ask(snapshot(node("16Gi"), *outside))
    assert result.verdict is Verdict.REFUTED and "10 more pods" in result.text


def test_not_checkable() -> None:
    for state in (snapshot(), snapshot(node("lots")), snapshot(unread={"Node": "forbidden"})):
        (result,) = CHECK.ask(state)
        assert result.verdict is Verdict.NOT_CHECKABLE
