"""The check `waypoint`."""

from __future__ import annotations

from typing import Any

import pytest
from snapshots import obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Result, Snapshot, Verdict, checks

CHECK = checks()["waypoint"]
ALL = About()
CALL = About(
    namespace="web",
    source="web/front",
    host="reviews.shop.svc.cluster.local",
    service="reviews",
    service_namespace="shop",
)
USE = "istio.io/use-waypoint"


def _space(name: str = "shop", **labels: str) -> Object:
    named = {k.replace("_", "-").replace("USE", USE): v for k, v in labels.items()}
    return obj("Namespace", name, labels={"istio.io/dataplane-mode": "ambient", **named})


def _waypoint(namespace: str = "", *, programmed: bool = True, allowed: Any = None) -> Object:
    listener = {"name": "mesh", "port": 15008, "protocol": "HBONE"} | ({"allowedRoutes": allowed} if allowed else {})
    conditions = [{"type": "Programmed", "status": str(programmed), "reason": "AddressNotAssigned", "message": "m"}]
    spec = {"gatewayClassName": "istio-waypoint", "listeners": [listener]}
    return obj("KubernetesGateway", "waypoint", namespace, spec=spec, status={"conditions": conditions})


def _proxy(namespace: str = "", *, ready: bool = True) -> Object:
    return pod(
        "waypoint-6c9dbf6b45-s2fnt",
        namespace,
        ready=ready,
        labels={"gateway.networking.k8s.io/gateway-name": "waypoint"},
    )


def _confirmed(state: Snapshot, about: About = ALL) -> list[Result]:
    return [r for r in CHECK.ask(state, about) if r.verdict is Verdict.CONFIRMED]


SERVER = service("reviews"), pod("reviews-v1-6c9dbf6b45-s2fnt", proxied=False)


def test_a_waypoint_that_is_not_there() -> None:
    for about in (ALL, CALL):
        (result,) = _confirmed(snapshot(_space(USE="waypoint"), *SERVER, _waypoint("other")), about)
        assert (
            result.causes == ("waypoint-missing", "ztunnel-upstream-failed") and "there is one in other" in result.text
        )
        assert [str(p) for p in result.proofs] == [f"Namespace shop: metadata.labels[{USE}] = waypoint"]


def test_a_waypoint_that_is_there() -> None:
    for about in (ALL, CALL):
        (result,) = CHECK.ask(snapshot(_space(USE="waypoint"), *SERVER, _waypoint(), _proxy()), about)
        assert result.verdict is Verdict.REFUTED and result.causes == (("waypoint-missing",) if about else ())
    (result,) = CHECK.ask(snapshot(_space(), *SERVER), CALL)
    assert result.verdict is Verdict.REFUTED and result.causes == ("waypoint-missing",)


def test_the_nearer_label_counts() -> None:
    own = service("reviews", labels={USE: "none"})
    assert not _confirmed(snapshot(_space(USE="gone"), own), CALL)
    own = service("reviews", labels={USE: "waypoint"})
    assert not _confirmed(snapshot(_space(USE="gone"), own, _waypoint(), _proxy()), CALL)
    (result,) = _confirmed(snapshot(_space(), service("reviews", labels={USE: "gone"})), CALL)
    assert result.proofs[0].ref == own.ref
    assert not _confirmed(snapshot(_space(), service("ratings", labels={USE: "gone"}), *SERVER), CALL), (
        "of another service"
    )


def test_a_waypoint_that_is_not_ready() -> None:
    (result,) = _confirmed(snapshot(_space(USE="waypoint"), *SERVER, _waypoint(programmed=False), _proxy()))
    assert "AddressNotAssigned" in result.text and "waypoint-missing" in result.causes
    (result,) = _confirmed(snapshot(_space(USE="waypoint"), *SERVER, _waypoint(), _proxy(ready=False)))
    assert "has no ready pod of 1" in result.text
    assert not _confirmed(snapshot(_space(USE="waypoint"), _waypoint(), unread={"Pod": "403"}))


@pytest.mark.parametrize(
    ("allowed", "fits"),
    [
        (None, False),
        ({"namespaces": {"from": "Same"}}, False),
        ({"namespaces": {"from": "All"}}, True),
        (
            {"namespaces": {"from": "Selector", "selector": {"matchLabels": {"istio.io/dataplane-mode": "ambient"}}}},
            True,
        ),
        ({"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "x"}}}}, False),
    ],
)
def test_a_waypoint_of_another_namespace(allowed: Any, fits: bool) -> None:
    labels = {USE: "waypoint", "istio.io/use-waypoint-namespace": "infra", "istio.io/dataplane-mode": "ambient"}
    space = obj("Namespace", "shop", labels=labels)
    state = snapshot(space, *SERVER, _waypoint("infra", allowed=allowed), _proxy("infra"))
    assert bool(_confirmed(state, CALL)) is not fits


def test_pods_of_one_workload_are_told_once() -> None:
    some = (pod(f"web-6c9dbf6b45-{i}", proxied=False, labels={USE: "gone"}) for i in ("a", "b", "c"))
    assert len(_confirmed(snapshot(_space(), *some))) == 1


def _policy(action: str = "ALLOW", **more: Any) -> Object:
    rule = {"to": [{"operation": {"methods": ["GET"]}}]}
    return obj("AuthorizationPolicy", "get-only", spec={"action": action, "rules": [rule], **more})


def test_rules_about_requests_without_a_waypoint() -> None:
    for about in (ALL, CALL, About(namespace="shop", policy="get-only", host=CALL.host)):
        (result,) = _confirmed(snapshot(_space(), *SERVER, _policy()), about)
        assert result.causes == ("ztunnel-policy-denied", "ztunnel-upstream-failed")
        assert result.proofs[0].field == "spec.rules[0].to[0].operation"
    assert _confirmed(snapshot(_space(), *SERVER, _policy("DENY"))), "fails safe, too"


@pytest.mark.parametrize(
    "policy",
    [
        _policy(targetRefs=[{"kind": "Service", "name": "reviews"}]),
        _policy(selector={"matchLabels": {"app": "ratings"}}),
        _policy(rules=[{"to": [{"operation": {"ports": ["80"]}}], "from": [{"source": {"principals": ["x"]}}]}]),
        _policy(rules=[{"when": [{"key": "source.namespace", "values": ["x"]}]}]),
    ],
)
def test_policies_that_ztunnel_can_enforce_or_that_are_elsewhere(policy: Object) -> None:
    assert not _confirmed(snapshot(_space(), *SERVER, policy), CALL)


def test_sidecars_know_requests() -> None:
    state = snapshot(_space(), service("reviews"), pod("reviews-v1-6c9dbf6b45-s2fnt"), _policy())
    assert not _confirmed(state) and not _confirmed(state, CALL)


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(_space(USE="waypoint"), unread={"KubernetesGateway": "403"}), CALL)
    assert result.verdict is Verdict.NOT_CHECKABLE
    results = CHECK.ask(snapshot(_space(USE="x"), *SERVER, namespaces=frozenset({"web"})), CALL)
    assert [r.verdict for r in results] == [Verdict.NOT_CHECKABLE]


def test_the_namespace_of_the_client_is_not_asked_about() -> None:
    client = pod("front-6c9dbf6b45-s2fnt", "web", proxied=False)
    objects = _space("web", USE="gone"), client, obj("AuthorizationPolicy", "p", "web", spec=_policy().raw["spec"])
    about = About(namespace="web", pod=client.name, source="web/front")
    (result,) = CHECK.ask(snapshot(*objects), about)
    assert result.verdict is Verdict.REFUTED and not result.causes
    assert len(_confirmed(snapshot(*objects), About(namespace="web", workload="front"))) == 2
