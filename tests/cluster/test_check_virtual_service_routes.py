"""The check `virtual-service-routes`."""

from __future__ import annotations

from typing import Any

import pytest
from snapshots import obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Result, Snapshot, Verdict, checks

CHECK = checks()["virtual-service-routes"]
HOST = "reviews.shop.svc.cluster.local"
ALL = About()
WEB = About(namespace="shop", source="shop/web", host=HOST, port="80", service="reviews", service_namespace="shop")
CLIENT = pod("web-6c9dbf6b45-s2fnt")
EDGE = About(namespace="istio-system", workload="ingress", pod="ingress-77f5b6c9d8-m6x2v")


def _to(host: str = "reviews", port: int = 0, **more: Any) -> dict[str, Any]:
    to: dict[str, Any] = {"host": host} | ({"port": {"number": port}} if port else {})
    return {"route": [{"destination": to}], **more}


def _vs(*http: dict[str, Any], name: str = "reviews", namespace: str = "", **spec: Any) -> Object:
    created = spec.pop("created", "2026-11-22T10:00:00Z")
    spec = {"hosts": [HOST], "http": list(http), **spec}
    return obj("VirtualService", name, namespace, created=created, spec=spec)


def _edge(*hosts: str, number: int = 80) -> tuple[Object, Object]:
    gateway = pod("ingress-77f5b6c9d8-m6x2v", "istio-system", labels={"istio": "ingress"})
    gateway.raw["spec"]["containers"] = [{"name": "istio-proxy"}]
    servers = [{"port": {"number": number, "protocol": "HTTP"}, "hosts": list(hosts)}]
    return gateway, obj("Gateway", "public", spec={"selector": {"istio": "ingress"}, "servers": servers})


def _confirmed(state: Snapshot, about: About = ALL) -> list[Result]:
    return [r for r in CHECK.ask(state, about) if r.verdict is Verdict.CONFIRMED]


def test_a_destination_that_does_not_exist() -> None:
    state = snapshot(service("reviews"), _vs(_to(), namespace="web"))
    (result,) = _confirmed(state)
    assert result.causes[0] == "cluster-not-found" and "there is a service reviews in shop" in result.text
    assert [(p.field, p.value) for p in result.proofs] == [
        ("spec.http[0].route[0].destination.host", "reviews.web.svc.cluster.local")
    ]
    assert not _confirmed(snapshot(service("reviews"), _vs(_to(HOST), namespace="web")))
    entry = obj("ServiceEntry", "api", spec={"hosts": ["api.example.com"]})
    assert not _confirmed(snapshot(entry, _vs(_to("api.example.com"), hosts=["api.example.com"])))
    assert not _confirmed(snapshot(_vs(_to("api.example.com")), unread={"ServiceEntry": "403"}))
    (result,) = _confirmed(snapshot(_vs(_to("api.example.com")), unread={"ServiceEntry": "not installed"}))
    assert "api.example.com" in result.text


def test_a_mirror_counts_as_a_destination() -> None:
    (result,) = _confirmed(snapshot(service("reviews"), _vs(_to(mirror={"host": "shadow"}))))
    assert result.proofs[0].field == "spec.http[0].mirror.host"


def test_a_port_that_the_service_does_not_have() -> None:
    match = {"uri": {"prefix": "/v1"}}
    (result,) = _confirmed(snapshot(service("reviews"), _vs(_to(port=9080, match=[match], timeout="5s"))))
    assert result.causes[0] == "cluster-not-found" and "port 9080 of service reviews, which has 80 only" in result.text
    (edit,) = result.edits
    assert edit.patch == {"spec": {"http": [_to(port=80, match=[match], timeout="5s")]}}
    assert not _confirmed(snapshot(service("reviews"), _vs(_to(port=80))))
    two = service("reviews", spec={"ports": [{"port": 80}, {"port": 81}]})
    (result,) = _confirmed(snapshot(two, _vs(_to(port=9080))))
    assert not result.edits


def test_a_port_has_to_be_named_where_there_are_several() -> None:
    two = service("reviews", spec={"ports": [{"port": 8080}, {"port": 9090}]})
    bound = _vs(_to(), hosts=["shop.example.com"], gateways=["public"])
    (result,) = _confirmed(snapshot(two, *_edge("*"), bound))
    assert "names no port of service reviews" in result.text
    assert not _confirmed(snapshot(two, *_edge("*", number=8080), bound)), "the listener's port is taken"
    assert not _confirmed(snapshot(two, _vs(_to())))


def test_a_gateway_that_does_not_exist() -> None:
    (result,) = _confirmed(
        snapshot(service("reviews"), *_edge("*"), _vs(_to(HOST), namespace="web", gateways=["public"]))
    )
    assert result.causes[0] == "route-not-found" and "there is one in shop" in result.text
    assert not _confirmed(
        snapshot(service("reviews"), *_edge("*"), _vs(_to(HOST), namespace="web", gateways=["shop/public"]))
    )
    assert not _confirmed(snapshot(service("reviews"), _vs(_to(), gateways=["public"]), unread={"Gateway": "403"}))


@pytest.mark.parametrize(
    ("offered", "fits"),
    [("shop.example.com", True), ("*.example.com", True), ("*", True), ("*/shop.example.com", True), ("./*", True),
     ("web/*", False), ("other.example.com", False), ("*.org", False)],
)  # fmt: skip
def test_hosts_that_the_gateway_does_not_serve(offered: str, fits: bool) -> None:
    bound = _vs(_to(), hosts=["shop.example.com"], gateways=["public"])
    found = _confirmed(snapshot(service("reviews"), *_edge(offered), bound))
    assert [r.causes for r in found] == ([] if fits else [("route-not-found",)])


def test_routes_after_one_that_takes_all() -> None:
    some = _to(match=[{"uri": {"prefix": "/v2"}}])
    (result,) = _confirmed(snapshot(service("reviews"), _vs(_to(), some)))
    assert not result.causes and "1 after it is never reached" in result.text
    assert result.edits[0].patch == {"spec": {"http": [some, _to()]}}
    assert not _confirmed(snapshot(service("reviews"), _vs(some, _to())))
    narrow = _to(match=[{"uri": {"prefix": "/"}, "headers": {"x": {"exact": "1"}}}])
    assert not _confirmed(snapshot(service("reviews"), _vs(narrow, _to())))
    assert _confirmed(snapshot(service("reviews"), _vs(_to(match=[{"uri": {"prefix": "/"}}]), some)))


def test_two_virtual_services_for_one_host() -> None:
    one, two = _vs(_to(), name="one", created="2026-11-22T11:00:00Z"), _vs(_to(), name="two")
    (result,) = _confirmed(snapshot(service("reviews"), one, two))
    assert result.causes == ("config-conflict",) and "shop/two, counts" in result.text
    private = _vs(_to(), name="two", exportTo=["."])
    assert not _confirmed(snapshot(service("reviews"), one, private))
    at = {"hosts": ["a.example.com"], "gateways": ["public"]}
    assert _confirmed(
        snapshot(service("reviews"), *_edge("*"), _vs(_to(), name="one", **at), _vs(_to(), name="two", **at))
    )
    part = _vs(_to(match=[{"uri": {"prefix": "/b"}}]), name="two", **at)
    assert not _confirmed(snapshot(service("reviews"), *_edge("*"), _vs(_to(), name="one", **at), part))


def test_faults_and_who_rules_them_out() -> None:
    fault = {"abort": {"httpStatus": 503, "percentage": {"value": 50}}}
    state = snapshot(service("reviews"), CLIENT, _vs(_to(fault=fault)))
    for about in (WEB, ALL):
        (result,) = _confirmed(state, about)
        assert result.causes == ("fault-injected",) and "abort 503 into 50 % of requests" in result.text
        assert result.edits[0].patch == {"spec": {"http": [_to()]}}
    other = About(namespace="shop", source="shop/web", host="ratings.shop.svc.cluster.local")
    assert not _confirmed(state, other)
    (result,) = CHECK.ask(snapshot(service("reviews"), CLIENT, _vs(_to())), WEB)
    assert result.verdict is Verdict.REFUTED and result.causes == ("fault-injected",)
    lua = obj("EnvoyFilter", "f", spec={"configPatches": [{"patch": {"value": {"name": "envoy.filters.http.fault"}}}]})
    for state in (
        snapshot(service("reviews"), CLIENT, _vs(_to()), lua),
        snapshot(service("reviews"), CLIENT, _vs(_to()), unread={"EnvoyFilter": "403"}),
        snapshot(service("reviews"), _vs(_to())),
    ):
        (result,) = CHECK.ask(state, WEB)
        assert result.verdict is Verdict.REFUTED and not result.causes


def test_timeouts_in_force() -> None:
    (result,) = _confirmed(
        snapshot(service("reviews"), CLIENT, _vs(_to(timeout="2s", retries={"perTryTimeout": "1s"}))), WEB
    )
    assert result.causes == ("upstream-timeout",)
    assert [(p.field, p.value) for p in result.proofs] == [
        ("spec.http[0].timeout", "2s"),
        ("spec.http[0].retries.perTryTimeout", "1s"),
    ]
    assert not _confirmed(snapshot(service("reviews"), CLIENT, _vs(_to(timeout="0s"))), WEB)
    assert not _confirmed(snapshot(service("reviews"), _vs(_to(timeout="2s")))), "not wrong by itself"


def test_a_host_that_nothing_at_the_gateway_is_for() -> None:
    bound = _vs(_to(), hosts=["shop.example.com"], gateways=["public"])
    state = snapshot(service("reviews"), *_edge("*"), bound)
    asked = About(**{**{f: getattr(EDGE, f) for f in ("namespace", "workload", "pod")}, "host": "beta.example.com"})
    (result,) = _confirmed(state, asked)
    assert result.causes == ("route-not-found",) and "it serves shop.example.com" in result.text
    known = About(namespace="istio-system", pod=EDGE.pod, host="shop.example.com")
    assert not _confirmed(state, known)
    ingress = obj("Ingress", "beta", spec={"rules": [{"host": "beta.example.com"}]})
    assert not _confirmed(snapshot(service("reviews"), *_edge("*"), bound, ingress), asked)
    results = CHECK.ask(snapshot(*_edge("*"), unread={"HTTPRoute": "403"}), asked)
    assert Verdict.NOT_CHECKABLE in {r.verdict for r in results} and not [
        r for r in results if r.verdict is Verdict.CONFIRMED
    ]
    assert _confirmed(snapshot(*_edge("*"), unread={"HTTPRoute": "not installed", "GRPCRoute": "not installed"}), asked)


def test_routes_that_istiod_did_not_accept_or_resolve() -> None:
    conditions = [
        {"type": "Accepted", "status": "True"},
        {"type": "ResolvedRefs", "status": "False", "reason": "BackendNotFound", "message": "backend(x) not found"},
    ]
    parent = {"parentRef": {"name": "public"}, "conditions": conditions}
    rules = [{"backendRefs": [{"name": "reviews", "port": 80}]}]
    route = obj("HTTPRoute", "r", spec={"hostnames": ["a.example.com"], "rules": rules}, status={"parents": [parent]})
    for about in (ALL, WEB):
        (result,) = _confirmed(snapshot(service("reviews"), CLIENT, route), about)
        assert result.causes == ("cluster-not-found",) and "BackendNotFound" in result.text
    assert not _confirmed(snapshot(route), About(namespace="shop", host="ratings.shop.svc.cluster.local"))


def test_delegates() -> None:
    root = _vs({"delegate": {"name": "part", "namespace": "web"}})
    (result,) = _confirmed(snapshot(service("reviews"), root))
    assert "web/part, which is not there" in result.text
    part = obj("VirtualService", "part", "web", spec={"http": [_to(HOST)]})
    assert not _confirmed(snapshot(service("reviews"), root, part))


def test_not_checkable_and_all_well() -> None:
    (result,) = CHECK.ask(snapshot(unread={"VirtualService": "403"}), WEB)
    assert result.verdict is Verdict.NOT_CHECKABLE
    (result,) = CHECK.ask(snapshot(service("reviews"), _vs(_to())))
    assert result.verdict is Verdict.REFUTED


def test_a_finding_that_only_names_the_virtual_service() -> None:
    state = snapshot(
        service("reviews"), _vs(_to("gone"), name="a"), _vs(_to("lost"), name="b", hosts=["x.example.com"])
    )
    (result,) = [r for r in _confirmed(state, About(namespace="shop", name="a")) if "cluster-not-found" in r.causes]
    assert "gone.shop.svc.cluster.local" in result.text
    (result,) = CHECK.ask(state, About(namespace="shop", name="c"))
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_the_timeout_of_a_route_to_another_service_is_not_this_ones() -> None:
    fast, slow = _to("ratings", match=[{"uri": {"prefix": "/r"}}], timeout="1s"), _to()
    bound = _vs(fast, slow, hosts=["*"], gateways=["public"])
    objects = service("reviews"), service("ratings"), *_edge("*"), bound
    at = {"namespace": "istio-system", "pod": EDGE.pod, "port": "80"}
    assert not _confirmed(snapshot(*objects), About(**at, host=HOST))
    (result,) = _confirmed(snapshot(*objects), About(**at, host="ratings.shop.svc.cluster.local"))
    assert result.causes == ("upstream-timeout",)
    assert not _confirmed(
        snapshot(*objects), About(**at, host="other.shop.svc.cluster.local", service_namespace="shop")
    )


def test_names_of_a_cluster_set_may_be_elsewhere() -> None:
    assert not _confirmed(snapshot(_vs(_to("reviews.shop.svc.clusterset.local"))))


def test_weights_that_are_all_zero() -> None:
    for weights, bad in (((0, 0), True), ((0, 100), False), ((0,), False)):
        route = {"route": [{"destination": {"host": "reviews"}, "weight": w} for w in weights]}
        assert bool(_confirmed(snapshot(service("reviews"), _vs(route)))) is bad
