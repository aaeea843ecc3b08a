"""The check `remote-secrets`."""

from __future__ import annotations

from snapshots import istiod, obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Verdict, checks

CHECK = checks()["remote-secrets"]


def secret(name: str, *clusters: str, namespace: str = "istio-system") -> Object:
    return obj(
        "Secret",
        name,
        namespace,
        labels={"istio/multiCluster": "true"},
        data=dict.fromkeys(clusters, "meshdiag:removed"),
    )


def test_one_of_each() -> None:
    (result,) = CHECK.ask(snapshot(secret("a", "east"), secret("b", "west")))
    assert result.verdict is Verdict.REFUTED and "2 remote clusters: east, west" in result.text


def test_a_cluster_in_two_secrets() -> None:
    (result,) = CHECK.ask(snapshot(secret("a", "east"), secret("b", "east")))
    assert result.verdict is Verdict.CONFIRMED and result.causes == ("remote-cluster-failed",) and "a, b" in result.text


def test_a_secret_that_istiod_does_not_read() -> None:
    (result,) = CHECK.ask(snapshot(secret("a", "east", namespace="shop")))
    assert "only those of istio-system" in result.text
    (result,) = CHECK.ask(snapshot(secret("a")))
    assert "is empty" in result.text


def test_a_network_without_a_way_in() -> None:
    system = obj("Namespace", "istio-system", labels={"topology.istio.io/network": "east"})
    (result,) = CHECK.ask(snapshot(system, secret("a", "west")))
    assert result.causes == ("network-gateway-missing",)
    labels = {"topology.istio.io/network": "east"}
    pending = service("istio-eastwestgateway", "istio-system", labels=labels, spec={"type": "LoadBalancer"})
    (result,) = CHECK.ask(snapshot(system, secret("a", "west"), pending))
    assert "no external address" in result.text
    there = service("istio-eastwestgateway", "istio-system", labels=labels, spec={"type": "LoadBalancer"},
                    status={"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})  # fmt: skip
    (result,) = CHECK.ask(snapshot(system, secret("a", "west"), there))
    assert result.verdict is Verdict.REFUTED


def test_a_proxy_that_says_another_cluster() -> None:
    deployment, own = istiod()
    own.raw["spec"]["containers"][0]["env"] = [{"name": "CLUSTER_ID", "value": "Kubernetes"}]
    reviews = pod("reviews-6c9dbf6b45-s2fnt")
    env = [{"name": "ISTIO_META_CLUSTER_ID", "value": "east"}]
    reviews.raw["spec"]["containers"][1]["env"] = env
    (result,) = CHECK.ask(snapshot(deployment, own, reviews))
    assert "ca-rejected-identity" in result.causes and "cluster east" in result.text
    (result,) = CHECK.ask(snapshot(deployment, own, reviews), About(namespace="shop", workload="cart"))
    assert result.verdict is Verdict.NOT_CHECKABLE, "another workload is asked about"
    (result,) = CHECK.ask(snapshot(deployment, own, reviews, secret("a", "east")))
    assert result.verdict is Verdict.REFUTED
    (result,) = CHECK.ask(snapshot(*istiod(), reviews))
    assert result.verdict is Verdict.NOT_CHECKABLE, "what istiod calls its own cluster is not known"


def test_not_checkable() -> None:
    for state in (snapshot(), snapshot(unread={"Secret": "forbidden"})):
        (result,) = CHECK.ask(state)
        assert result.verdict is Verdict.NOT_CHECKABLE
