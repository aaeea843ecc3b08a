"""The check `ztunnel-health`."""

from __future__ import annotations

from snapshots import istiod, obj, pod, snapshot

from meshdiag.cluster import About, Object, Verdict, checks

CHECK = checks()["ztunnel-health"]
SET = obj("DaemonSet", "ztunnel", "istio-system", labels={"app": "ztunnel"})
AMBIENT = obj("Namespace", "shop", labels={"istio.io/dataplane-mode": "ambient"})
CART = About(namespace="shop", workload="cart")


def cart(node: str = "node-1", **more: str) -> Object:
    return pod("cart-6c9dbf6b45-s2fnt", proxied=False, spec={"nodeName": node}, **more)


def ztunnel(node: str = "node-1", *, ready: bool = True, version: str = "1.28.1") -> Object:
    image = {"name": "istio-proxy", "image": f"docker.io/istio/ztunnel:{version}"}
    return pod(f"ztunnel-{node}", "istio-system", proxied=False, ready=ready, labels={"app": "ztunnel"},
               spec={"nodeName": node, "containers": [image]})  # fmt: skip


def test_a_ready_ztunnel() -> None:
    (result,) = CHECK.ask(snapshot(AMBIENT, SET, cart(), ztunnel()), CART)
    assert result.verdict is Verdict.REFUTED
    assert (
        CHECK.ask(snapshot(AMBIENT, SET, cart(), ztunnel(), ztunnel("node-2", ready=False)), CART)[0].verdict
        is Verdict.REFUTED
    )


def test_none_or_not_ready() -> None:
    (result,) = CHECK.ask(snapshot(AMBIENT, cart()), CART)
    assert result.verdict is Verdict.CONFIRMED and "there is no ztunnel" in result.text
    (result,) = CHECK.ask(snapshot(AMBIENT, SET, cart(), ztunnel(ready=False)), CART)
    assert "is not ready" in result.text and "ztunnel-upstream-failed" in result.causes
    (result,) = CHECK.ask(snapshot(AMBIENT, SET, cart(), ztunnel("node-2")), CART)
    assert "node node-1" in result.text and "has no ztunnel" in result.text


def test_pods_that_wait_for_a_ztunnel() -> None:
    waiting = pod("cart-6c9dbf6b45-s2fnt", proxied=False, status={"phase": "Pending"})
    (result,) = CHECK.ask(snapshot(AMBIENT, SET, waiting, ztunnel(ready=False)), CART)
    assert "cni-plugin-failed" in result.causes
    (result,) = CHECK.ask(snapshot(AMBIENT, SET, cart(), ztunnel(ready=False)), CART)
    assert "cni-plugin-failed" not in result.causes


def test_newer_than_istiod() -> None:
    results = CHECK.ask(snapshot(AMBIENT, SET, cart(), ztunnel(version="1.30.0"), *istiod()))
    assert [r.text for r in results if r.verdict is Verdict.CONFIRMED] == ["ztunnel 1.30.0 is newer than istiod 1.28"]


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(SET, cart(), ztunnel()), CART)
    assert result.verdict is Verdict.NOT_CHECKABLE and "in ambient" in result.text
    (result,) = CHECK.ask(snapshot(unread={"DaemonSet": "forbidden"}), CART)
    assert result.verdict is Verdict.NOT_CHECKABLE
