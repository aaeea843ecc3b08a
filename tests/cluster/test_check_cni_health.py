"""The check `cni-health`."""

from __future__ import annotations

from snapshots import obj, pod, snapshot

from meshdiag.cluster import About, Object, Verdict, checks

CHECK = checks()["cni-health"]
LABELS = {"k8s-app": "istio-cni-node"}
SET = obj(
    "DaemonSet", "istio-cni-node", "istio-system", labels=LABELS, status={"desiredNumberScheduled": 1, "numberReady": 1}
)
WEB = About(namespace="shop", workload="web")


def agent(node: str = "node-1", *, ready: bool = True) -> Object:
    return pod(
        f"istio-cni-node-{node}", "istio-system", proxied=False, ready=ready, labels=LABELS, spec={"nodeName": node}
    )


def web(code: int | None = None, waiting: str = "", node: str = "node-1") -> Object:
    status = [{"name": "istio-validation", "state": {"terminated": {"exitCode": code}}}] if code is not None else []
    own = [{"name": "app", "ready": False, "state": {"waiting": {"reason": waiting}}}] if waiting else []
    more = {"initContainerStatuses": status} | ({"containerStatuses": own} if own else {})
    return pod("web-6c9dbf6b45-s2fnt", spec={"nodeName": node}, status=more)


def test_all_is_well() -> None:
    (result,) = CHECK.ask(snapshot(SET, agent(), web(0)), WEB)
    assert result.verdict is Verdict.REFUTED


def test_traffic_that_is_not_redirected() -> None:
    (result,) = CHECK.ask(snapshot(SET, agent(), web(126)), WEB)
    assert result.verdict is Verdict.CONFIRMED and result.causes == ("traffic-redirect-failed",)


def test_agents_that_are_missing() -> None:
    (result,) = CHECK.ask(snapshot(SET, agent(ready=False), web()), WEB)
    assert "istio-cni on node node-1 is not ready" in result.text and result.causes == ("cni-plugin-failed",)
    (result,) = CHECK.ask(snapshot(SET, agent("node-2"), web(waiting="ContainerCreating")), WEB)
    assert "node node-1 has no istio-cni agent" in result.text
    few = obj(
        "DaemonSet",
        "istio-cni-node",
        "istio-system",
        labels=LABELS,
        status={"desiredNumberScheduled": 3, "numberReady": 1},
    )
    (result,) = CHECK.ask(snapshot(few, agent()))
    assert "1 of 3 nodes" in result.text


def test_another_node_says_nothing() -> None:
    (result,) = CHECK.ask(snapshot(SET, agent(), agent("node-2", ready=False), web()), WEB)
    assert result.verdict is Verdict.REFUTED


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(SET, agent("node-2", ready=False)), WEB)
    assert result.verdict is Verdict.NOT_CHECKABLE, "the node of a pod that is gone is not known"
    (result,) = CHECK.ask(snapshot(web()), WEB)
    assert result.verdict is Verdict.NOT_CHECKABLE and "not installed" in result.text
    (result,) = CHECK.ask(snapshot(unread={"DaemonSet": "forbidden"}), WEB)
    assert result.verdict is Verdict.NOT_CHECKABLE
