"""The check `gateway-listeners`."""

from __future__ import annotations

from typing import Any

import pytest
from snapshots import obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Result, Snapshot, Verdict, checks

CHECK = checks()["gateway-listeners"]
ALL = About()
EDGE = About(namespace="istio-system", workload="ingress", pod="ingress-77f5b6c9d8-m6x2v")
TLS = {"mode": "SIMPLE", "credentialName": "shop-tls"}


def _proxy(**labels: str) -> Object:
    gateway = pod("ingress-77f5b6c9d8-m6x2v", "istio-system", labels=labels or {"istio": "ingress"})
    gateway.raw["spec"]["containers"] = [{"name": "istio-proxy"}]
    return gateway


def _server(number: int = 80, protocol: str = "HTTP", *hosts: str, tls: dict[str, Any] | None = None) -> dict[str, Any]:
    port = {"number": number, "name": protocol.lower(), "protocol": protocol}
    return {"port": port, "hosts": list(hosts or ("shop.example.com",)), **({"tls": tls} if tls else {})}


def _gateway(
    *servers: dict[str, Any], name: str = "public", namespace: str = "", created: str = "2026-11-22T10:00:00Z"
) -> Object:
    return obj(
        "Gateway", name, namespace, created=created, spec={"selector": {"istio": "ingress"}, "servers": list(servers)}
    )


def _route(*hosts: str, gateway: str = "public") -> Object:
    return obj("VirtualService", "shop", spec={"hosts": list(hosts or ("shop.example.com",)), "gateways": [gateway]})


def _confirmed(state: Snapshot, about: About = ALL) -> list[Result]:
    return [r for r in CHECK.ask(state, about) if r.verdict is Verdict.CONFIRMED]


def test_a_selector_that_selects_no_pod() -> None:
    (result,) = _confirmed(snapshot(_gateway(_server()), _route()))
    assert result.causes == ("config-reference-missing",) and result.proofs[0].value == '{"istio": "ingress"}'
    assert not _confirmed(snapshot(_gateway(_server()), _route(), unread={"Pod": "403"}))
    assert not _confirmed(snapshot(_gateway(_server()), _route(), namespaces=frozenset({"shop"})))


def test_nothing_is_bound() -> None:
    for about in (ALL, EDGE):
        (result,) = _confirmed(snapshot(_proxy(), _gateway(_server())), about)
        assert result.causes == ("route-not-found",)
    (result,) = _confirmed(snapshot(_proxy(), _gateway(_server()), _route("other.example.com")))
    assert "those that are bound are for other.example.com" in result.text
    (result,) = _confirmed(snapshot(_proxy(), _gateway(_server(443, "TLS", tls={"mode": "PASSTHROUGH"}))))
    assert result.causes == ("filter-chain-not-found",)


@pytest.mark.parametrize(
    "objects",
    [
        (_gateway(_server()), _route()),
        (_gateway(_server(80, "HTTP", "*")), _route()),
        (_gateway(_server(80, "HTTP", "*/*.example.com")), _route(gateway="shop/public")),
        (_gateway(_server(80, "HTTP", tls={"httpsRedirect": True})),),
        (_gateway(_server(15443, "TLS", "*.local", tls={"mode": "AUTO_PASSTHROUGH"})),),
        (_gateway(_server(443, "HTTPS", tls=TLS)), _route()),
        (
            _gateway(_server(443, "HTTPS", tls={"mode": "SIMPLE", "serverCertificate": "/c", "privateKey": "/k"})),
            _route(),
        ),
    ],
)
def test_what_is_right(objects: tuple[Object, ...]) -> None:
    (result,) = CHECK.ask(snapshot(_proxy(), *objects), EDGE)
    assert result.verdict is Verdict.REFUTED and not result.causes


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (_server(443, "HTTPS"), "has no tls settings"),
        (_server(443, "HTTPS", tls={"mode": "SIMPLE"}), "names no certificate"),
        (_server(443, "HTTP", tls=TLS), "it serves plaintext"),
    ],
)
def test_tls_without_a_certificate(server: dict[str, Any], said: str) -> None:
    (result,) = _confirmed(snapshot(_proxy(), _gateway(server), _route()), EDGE)
    assert result.causes == ("tls-handshake-failed", "filter-chain-not-found") and said in result.text


def test_a_port_that_the_service_does_not_have() -> None:
    before = service("ingress", "istio-system", spec={"selector": {"istio": "ingress"}})
    (result,) = _confirmed(snapshot(_proxy(), before, _gateway(_server(8081)), _route()))
    assert not result.causes and "port 8081, which Service ingress does not have" in result.text
    assert not _confirmed(snapshot(_proxy(), before, _gateway(_server(80)), _route()))


def test_one_port_with_two_protocols() -> None:
    late = _gateway(_server(443, "HTTPS", tls=TLS), name="late", created="2026-11-22T11:00:00Z")
    both = obj("VirtualService", "v", spec={"hosts": ["*"], "gateways": ["public", "late"]})
    (result,) = _confirmed(snapshot(_proxy(), _gateway(_server(443, "HTTP")), late, both))
    assert (
        result.causes == ("config-conflict", "route-not-found", "filter-chain-not-found") and result.about == late.ref
    )


def test_one_tls_host_in_two_gateways() -> None:
    one, two = (_gateway(_server(443, "HTTPS", tls=TLS), name=n) for n in ("a", "b"))
    both = obj("VirtualService", "v", spec={"hosts": ["*"], "gateways": ["a", "b"]})
    (result,) = _confirmed(snapshot(_proxy(), one, two, both))
    assert result.causes == ("config-conflict",)
    plain = (_gateway(_server(80), name=n) for n in ("a", "b"))
    assert not _confirmed(snapshot(_proxy(), *plain, both)), "plain servers of one host are merged"


def test_a_host_that_no_server_has() -> None:
    state = snapshot(_proxy(), _gateway(_server(), _server(8080, "HTTP", "other.example.com")), _route())
    asked = About(namespace="istio-system", pod=EDGE.pod, host="beta.example.com")
    (result,) = _confirmed(state, asked)
    assert "no server of public is for beta.example.com" in result.text
    known = About(namespace="istio-system", pod=EDGE.pod, host="shop.example.com")
    assert not _confirmed(state, known), "the server without route is of another host"


def test_another_workload_is_not_asked_about() -> None:
    about = About(namespace="shop", pod="web-6c9dbf6b45-s2fnt", workload="web")
    (result,) = CHECK.ask(snapshot(_proxy(), pod("web-6c9dbf6b45-s2fnt"), _gateway(_server())), about)
    assert result.verdict is Verdict.NOT_CHECKABLE


def _api(name: str = "edge", *, spec: dict[str, Any] | None = None, **status: Any) -> Object:
    return obj("KubernetesGateway", name, spec={"gatewayClassName": "istio", **(spec or {})}, status=status)


CLASS = obj("GatewayClass", "istio")


def test_a_gateway_that_istiod_did_not_program() -> None:
    conditions = [
        {"type": "Accepted", "status": "True"},
        {"type": "Programmed", "status": "False", "reason": "AddressNotAssigned", "message": "m"},
    ]
    (result,) = _confirmed(snapshot(CLASS, _api(conditions=conditions)))
    assert (
        "Programmed is False, AddressNotAssigned: m" in result.text and result.proofs[0].field == "status.conditions[1]"
    )
    listener = {
        "name": "https",
        "attachedRoutes": 1,
        "conditions": [{"type": "ResolvedRefs", "status": "False", "reason": "InvalidCertificateRef"}],
    }
    (result,) = _confirmed(snapshot(CLASS, _api(listeners=[listener])))
    assert result.causes == ("tls-handshake-failed", "filter-chain-not-found")
    (result,) = _confirmed(snapshot(_api()))
    assert "GatewayClass istio, which is not there" in result.text


def test_a_gateway_without_routes() -> None:
    none = {"listeners": [{"name": "http", "attachedRoutes": 0}]}
    (result,) = _confirmed(snapshot(CLASS, _api(**none)))
    assert result.causes == ("route-not-found",)
    route = obj("HTTPRoute", "r", spec={"parentRefs": [{"name": "edge"}]})
    assert not _confirmed(snapshot(CLASS, _api(**none), route))
    waypoint = _api(spec={"listeners": [{"name": "mesh", "protocol": "HBONE", "port": 15008}]}, **none)
    assert not _confirmed(snapshot(CLASS, waypoint))
    about = About(namespace="istio-system", pod=EDGE.pod)
    own = _proxy(**{"gateway.networking.k8s.io/gateway-name": "edge"})
    mine = obj("KubernetesGateway", "edge", "istio-system", spec={"gatewayClassName": "istio"}, status=none)
    (result,) = _confirmed(snapshot(CLASS, own, mine, _api("other", **none)), about)
    assert result.about == mine.ref


def test_a_certificate_of_another_namespace_needs_a_grant() -> None:
    listeners = [{"name": "https", "tls": {"certificateRefs": [{"name": "shop-tls", "namespace": "certs"}]}}]
    gateway = _api(spec={"listeners": listeners})
    (result,) = _confirmed(snapshot(CLASS, gateway))
    (edit,) = result.edits
    assert edit.create and edit.risk.value == "weakens security"
    granted = Object(edit.ref, edit.patch)
    assert not _confirmed(snapshot(CLASS, gateway, granted)), "what the edit makes is what was missing"
    assert not _confirmed(snapshot(CLASS, gateway, unread={"ReferenceGrant": "403"}))
    listeners[0]["tls"] = {"certificateRefs": [{"name": "shop-tls"}]}
    assert not _confirmed(snapshot(CLASS, gateway))


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(_proxy(), unread={"Gateway": "403"}), EDGE)
    assert result.verdict is Verdict.NOT_CHECKABLE and "gateways: 403" in result.text
    (result,) = CHECK.ask(snapshot())
    assert result.verdict is Verdict.REFUTED


def test_a_finding_that_only_names_the_gateway() -> None:
    state = snapshot(_gateway(_server()), _gateway(_server(), name="other"))
    (result,) = _confirmed(state, About(namespace="shop", name="public"))
    assert result.about == _gateway().ref
