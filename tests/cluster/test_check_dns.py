"""The check `dns`."""

from __future__ import annotations

import pytest
from snapshots import obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Result, Snapshot, Verdict, checks

CHECK = checks()["dns"]


def _about(host: str) -> About:
    return About(namespace="shop", workload="web", host=host)


def _coredns(*, ready: bool = True) -> Object:
    return pod("coredns-6c9dbf6b45-s2fnt", "kube-system", proxied=False, ready=ready, labels={"k8s-app": "kube-dns"})


def _one(state: Snapshot, host: str) -> Result:
    (result,) = CHECK.ask(state, _about(host))
    return result


@pytest.mark.parametrize("host", ["reviews.shop.svc.cluster.local", "reviews.shop.svc", "reviews"])
def test_a_name_that_no_service_has(host: str) -> None:
    result = _one(snapshot(service("ratings"), service("reviews", "other"), _coredns()), host)
    assert result.verdict is Verdict.CONFIRMED and result.causes == ("dns-resolution-failed",)
    assert "namespace shop has no service reviews; there is one in other" in result.text
    assert _one(snapshot(service("reviews")), host).verdict is Verdict.REFUTED
    entry = obj("ServiceEntry", "e", spec={"hosts": ["reviews.shop.svc.cluster.local"]})
    if host != "reviews.shop.svc":
        assert _one(snapshot(entry), host).verdict is Verdict.REFUTED


def test_a_namespace_that_does_not_exist() -> None:
    result = _one(snapshot(obj("Namespace", "shop")), "reviews.shpo.svc.cluster.local")
    assert "there is no namespace shpo" in result.text


def test_a_name_outside_the_cluster_cannot_be_told() -> None:
    assert _one(snapshot(_coredns()), "api.example.com").verdict is Verdict.NOT_CHECKABLE
    assert _one(snapshot(), "203.0.113.5").verdict is Verdict.NOT_CHECKABLE


def test_what_may_be_elsewhere() -> None:
    host = "reviews.other.svc.cluster.local"
    assert _one(snapshot(namespaces=frozenset({"shop"})), host).verdict is Verdict.NOT_CHECKABLE
    remote = obj("Secret", "west", "istio-system", labels={"istio/multiCluster": "true"})
    assert _one(snapshot(remote), host).verdict is Verdict.NOT_CHECKABLE
    assert _one(snapshot(unread={"ServiceEntry": "403"}), host).verdict is Verdict.NOT_CHECKABLE


def test_servers_that_are_not_ready() -> None:
    bad = CHECK.ask(snapshot(service("reviews"), _coredns(ready=False)), _about("reviews.shop.svc.cluster.local"))
    assert [r.verdict for r in bad] == [Verdict.CONFIRMED, Verdict.REFUTED]
    assert "none of the 1 pods of cluster DNS is ready" in bad[0].text
    (result,) = CHECK.ask(snapshot(_coredns(ready=False)))
    assert result.verdict is Verdict.CONFIRMED
    (result,) = CHECK.ask(snapshot(_coredns()))
    assert result.verdict is Verdict.REFUTED
    (result,) = CHECK.ask(snapshot())
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_pods_of_a_stateful_set() -> None:
    host = "db-0.db.shop.svc.cluster.local"
    headless, member = service("db", spec={"clusterIP": "None"}), pod("db-0", ownerReferences=[])
    assert _one(snapshot(headless, member), host).verdict is Verdict.REFUTED
    assert "which is not there" in _one(snapshot(headless), host).text
    assert "is not ready" in _one(snapshot(headless, pod("db-0", ready=False, ownerReferences=[])), host).text
    early = service("db", spec={"clusterIP": "None", "publishNotReadyAddresses": True})
    assert _one(snapshot(early, pod("db-0", ready=False, ownerReferences=[])), host).verdict is Verdict.REFUTED
    assert "is not headless" in _one(snapshot(service("db", spec={"clusterIP": "10.43.0.9"}), member), host).text
    assert "has no service db" in _one(snapshot(member), host).text


def test_aliases() -> None:
    alias = obj("Service", "db", spec={"type": "ExternalName", "externalName": "pg.data.svc.cluster.local"})
    for results in (CHECK.ask(snapshot(alias)), CHECK.ask(snapshot(alias), _about("db.shop.svc.cluster.local"))):
        assert [r.text for r in results if r.verdict is Verdict.CONFIRMED] == [
            "Service shop/db is an alias for pg.data.svc.cluster.local, which no service has"
        ]
    assert _one(snapshot(alias, service("pg", "data")), "db").verdict is Verdict.REFUTED
    outside = obj("Service", "db", spec={"type": "ExternalName", "externalName": "db.example.com"})
    assert _one(snapshot(outside), "db").verdict is Verdict.REFUTED


def test_not_checkable() -> None:
    assert _one(snapshot(unread={"Service": "403"}), "reviews").verdict is Verdict.NOT_CHECKABLE
