"""The check `outlier-and-pools`."""

from __future__ import annotations

from typing import Any

import pytest
from snapshots import obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Result, Snapshot, Verdict, checks

CHECK = checks()["outlier-and-pools"]
ALL = About()
HOST = "reviews.shop.svc.cluster.local"
WEB = About(namespace="shop", source="shop/web", host=HOST, port="80", service="reviews", service_namespace="shop")
OBJECTS = service("reviews"), pod("reviews-v1-6c9dbf6b45-s2fnt"), pod("web-6c9dbf6b45-s2fnt")
POOL = {"tcp": {"maxConnections": 100}, "http": {"http1MaxPendingRequests": 10, "http2MaxRequests": 4294967295}}


def _rule(
    namespace: str = "", *, subsets: tuple[dict[str, Any], ...] = (), name: str = "reviews", **policy: Any
) -> Object:
    return obj(
        "DestinationRule", name, namespace, spec={"host": HOST, "trafficPolicy": policy, "subsets": list(subsets)}
    )


def _confirmed(state: Snapshot, about: About = ALL) -> list[Result]:
    return [r for r in CHECK.ask(state, about) if r.verdict is Verdict.CONFIRMED]


def test_limits_in_force_with_their_numbers() -> None:
    (result,) = _confirmed(snapshot(*OBJECTS, _rule(connectionPool=POOL)), WEB)
    assert (
        result.causes == ("circuit-breaker-open",) and "maxConnections 100, http1MaxPendingRequests 10" in result.text
    )
    assert [(p.field, p.value) for p in result.proofs] == [
        ("spec.trafficPolicy.connectionPool.tcp.maxConnections", "100"),
        ("spec.trafficPolicy.connectionPool.http.http1MaxPendingRequests", "10"),
    ]


def test_no_limit_rules_the_circuit_breaker_out() -> None:
    for rules in ((), (_rule(loadBalancer={"simple": "RANDOM"}),)):
        (result,) = CHECK.ask(snapshot(*OBJECTS, *rules), WEB)
        assert result.verdict is Verdict.REFUTED and result.causes == ("circuit-breaker-open",)
    sidecar = obj("Sidecar", "s", spec={"inboundConnectionPool": {"tcp": {"maxConnections": 1}}})
    filter_ = obj("EnvoyFilter", "f", spec={"configPatches": [{"patch": {"value": {"circuit_breakers": {}}}}]})
    for state in (
        snapshot(*OBJECTS, sidecar),
        snapshot(*OBJECTS, filter_),
        snapshot(*OBJECTS, unread={"EnvoyFilter": "403"}),
        snapshot(*OBJECTS, namespaces=frozenset({"shop"})),
    ):
        (result,) = CHECK.ask(state, WEB)
        assert result.verdict is Verdict.REFUTED and not result.causes


def test_settings_of_a_port_replace_those_of_the_host() -> None:
    ports = [{"port": {"number": 80}, "loadBalancer": {"simple": "RANDOM"}}]
    rule = _rule(connectionPool=POOL, portLevelSettings=ports)
    assert not _confirmed(snapshot(*OBJECTS, rule), WEB)
    other = About(namespace="shop", source="shop/web", host=HOST, port="81")
    assert _confirmed(snapshot(*OBJECTS, rule), other)
    ports[0]["connectionPool"] = {"tcp": {"maxConnections": 7}}
    (result,) = _confirmed(snapshot(*OBJECTS, rule), WEB)
    assert result.proofs[0].field == "spec.trafficPolicy.portLevelSettings[0].connectionPool.tcp.maxConnections"


def test_a_subset_goes_before_the_host_field_by_field() -> None:
    own = {"name": "v1", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 3}}}}
    rule = _rule(subsets=(own, {"name": "v2"}), connectionPool=POOL)
    for subset, number in (("v1", "3"), ("v2", "100"), ("", "100")):
        about = About(namespace="shop", source="shop/web", host=HOST, port="80", subset=subset)
        (result,) = _confirmed(snapshot(*OBJECTS, rule), about)
        assert result.proofs[0].value == number


def test_the_rule_of_the_clients_namespace_holds() -> None:
    state = snapshot(*OBJECTS, _rule(connectionPool=POOL), _rule("web"))
    assert not _confirmed(state, About(namespace="web", source="web/front", host=HOST, port="80"))
    assert _confirmed(state, WEB)


def test_an_ejection_of_all_endpoints() -> None:
    detection = {"maxEjectionPercent": 100, "consecutive5xxErrors": 1}
    for about in (WEB, ALL):
        (result,) = _confirmed(snapshot(*OBJECTS, _rule(outlierDetection=detection)), about)
        assert result.causes == ("no-healthy-upstream",) and "each after 1 errors in a row for 30s" in result.text
        assert result.edits[0].patch == {"spec": {"trafficPolicy": {"outlierDetection": {"maxEjectionPercent": None}}}}
    down = service("reviews"), pod("reviews-v1-6c9dbf6b45-s2fnt", ready=False)
    (result,) = _confirmed(snapshot(*down, _rule(outlierDetection=detection)), WEB)
    assert not result.causes, "without ready endpoints it may be that alone"


@pytest.mark.parametrize(
    "detection",
    [{}, {"consecutive5xxErrors": 5}, {"maxEjectionPercent": 50}, {"maxEjectionPercent": 100, "minHealthPercent": 30},
     {"maxEjectionPercent": 100, "consecutive5xxErrors": 0}, {"maxEjectionPercent": "100"}],
)  # fmt: skip
def test_an_ejection_of_some(detection: dict[str, Any]) -> None:
    assert not _confirmed(snapshot(*OBJECTS, _rule(outlierDetection=detection)), WEB)


def test_the_whole_cluster_is_only_told_of_what_cannot_be_meant() -> None:
    (result,) = CHECK.ask(snapshot(*OBJECTS, _rule(connectionPool=POOL)))
    assert result.verdict is Verdict.REFUTED
    tiny = _rule(connectionPool={"tcp": {"maxConnections": 1}})
    (result,) = _confirmed(snapshot(*OBJECTS, tiny))
    assert "maxConnections 1" in result.text


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(unread={"DestinationRule": "403"}), WEB)
    assert result.verdict is Verdict.NOT_CHECKABLE
    (result,) = CHECK.ask(snapshot(*OBJECTS), About(namespace="shop", workload="web"))
    assert result.verdict is Verdict.NOT_CHECKABLE
