"""The check `outbound-traffic-policy`."""

from __future__ import annotations

from typing import Any

import pytest
from snapshots import mesh_config, obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Verdict, checks

CHECK = checks()["outbound-traffic-policy"]
CLIENT = pod("checkout-6b5d8c7f94-2mqxd")
API = About(pod="checkout-6b5d8c7f94-2mqxd", source="checkout", host="api.example.com", port="443")
CLOSED = mesh_config("outboundTrafficPolicy:\n  mode: REGISTRY_ONLY\n")


def _entry(name: str = "api", namespace: str = "", *, number: int = 443, **spec: Any) -> Object:
    ports = [{"number": number, "name": "tls", "protocol": "TLS"}]
    return obj("ServiceEntry", name, namespace, spec={"hosts": ["api.example.com"], "ports": ports, **spec})


def _sidecar(*hosts: str, mode: str = "", name: str = "default", **spec: Any) -> Object:
    own = {"outboundTrafficPolicy": {"mode": mode}} if mode else {}
    return obj("Sidecar", name, spec={"egress": [{"hosts": list(hosts)}], **own, **spec} if hosts else {**own, **spec})


def test_a_host_that_is_not_registered() -> None:
    (result,) = CHECK.ask(snapshot(CLIENT, CLOSED), API)
    assert result.verdict is Verdict.CONFIRMED and result.causes == ("egress-blocked",)
    assert [(p.field, p.value) for p in result.proofs] == [("data.mesh: outboundTrafficPolicy.mode", "REGISTRY_ONLY")]
    (edit,) = result.edits
    assert edit.create and edit.patch == {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "external-api.example.com", "namespace": "shop"},
        "spec": {
            "hosts": ["api.example.com"],
            "location": "MESH_EXTERNAL",
            "resolution": "DNS",
            "exportTo": ["."],
            "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}],
        },
    }


@pytest.mark.parametrize(
    ("host", "port"), [("api.example.com", "8443"), ("api.example.com", ""), ("203.0.113.5", "443"), ("", "")]
)
def test_nothing_is_created_where_port_or_host_is_a_guess(host: str, port: str) -> None:
    (result,) = CHECK.ask(snapshot(CLIENT, CLOSED), About(pod=CLIENT.name, namespace="shop", host=host, port=port))
    assert result.verdict is Verdict.CONFIRMED and not result.edits


def test_allow_any_rules_it_out() -> None:
    for text in ("accessLogFile: /dev/stdout\n", "outboundTrafficPolicy: {mode: ALLOW_ANY}"):
        (result,) = CHECK.ask(snapshot(CLIENT, mesh_config(text)), API)
        assert result.verdict is Verdict.REFUTED and result.causes == ("egress-blocked",)


def test_a_sidecar_goes_before_the_mesh() -> None:
    (result,) = CHECK.ask(snapshot(CLIENT, mesh_config("x: y"), _sidecar(mode="REGISTRY_ONLY")), API)
    assert result.verdict is Verdict.CONFIRMED and result.about == _sidecar().ref
    (result,) = CHECK.ask(snapshot(CLIENT, CLOSED, _sidecar(mode="ALLOW_ANY")), API)
    assert result.verdict is Verdict.REFUTED
    other = _sidecar(mode="ALLOW_ANY", name="other", workloadSelector={"labels": {"app": "other"}})
    own = _sidecar(mode="REGISTRY_ONLY", name="own", workloadSelector={"labels": {"app": "checkout"}})
    (result,) = CHECK.ask(snapshot(CLIENT, mesh_config("x: y"), other, own, _sidecar(mode="ALLOW_ANY")), API)
    assert result.verdict is Verdict.CONFIRMED and result.about == own.ref
    (result,) = CHECK.ask(snapshot(CLIENT, CLOSED, other), API)
    assert result.verdict is Verdict.CONFIRMED
    (result,) = CHECK.ask(snapshot(CLOSED, other), About(namespace="shop", host="api.example.com"))
    assert result.verdict is Verdict.NOT_CHECKABLE, "which Sidecar holds is not known without the pod"


def test_a_registered_host() -> None:
    (result,) = CHECK.ask(snapshot(CLIENT, CLOSED, _entry()), API)
    assert result.verdict is Verdict.REFUTED and result.causes == ("egress-blocked",)
    (result,) = CHECK.ask(snapshot(CLIENT, CLOSED, _entry(hosts=["*.example.com"])), API)
    assert result.verdict is Verdict.REFUTED
    (result,) = CHECK.ask(snapshot(CLIENT, CLOSED, _entry()), About(pod=CLIENT.name, host="api.example.com"))
    assert result.verdict is Verdict.REFUTED and not result.causes, "which port was called is not known"
    (result,) = CHECK.ask(snapshot(CLIENT, CLOSED, _entry(number=80)), API)
    assert result.verdict is Verdict.CONFIRMED and "not with 443" in result.text


def test_an_entry_that_is_not_exported_to_the_client() -> None:
    for to, seen in ((["."], False), (["shop"], True), (["*"], True), (["other"], False)):
        (result,) = CHECK.ask(snapshot(CLIENT, CLOSED, _entry("api", "other", exportTo=to)), API)
        assert (result.verdict is Verdict.REFUTED) is seen
        assert seen or (result.causes == ("egress-blocked",) and not result.edits)
    (result,) = CHECK.ask(snapshot(CLIENT, mesh_config("x: y"), _entry("api", "other", exportTo=["."])), API)
    assert result.causes == ("egress-passthrough-failed",), "with ALLOW_ANY the call is passed on"


def test_a_sidecar_that_hides_the_host() -> None:
    (result,) = CHECK.ask(snapshot(CLIENT, CLOSED, _entry(), _sidecar("istio-system/*")), API)
    assert result.verdict is Verdict.CONFIRMED and "leave it out" in result.text
    assert result.edits[0].patch == {"spec": {"egress": [{"hosts": ["istio-system/*", "./api.example.com"]}]}}
    for hosts in (("./*",), ("*/*",), ("shop/*.example.com",), ("shop/api.example.com",)):
        (result,) = CHECK.ask(snapshot(CLIENT, CLOSED, _entry(), _sidecar(*hosts)), API)
        assert result.verdict is Verdict.REFUTED
    about = About(namespace="shop", pod=CLIENT.name, host="reviews.other.svc.cluster.local", port="80")
    (result,) = CHECK.ask(snapshot(CLIENT, CLOSED, service("reviews", "other"), _sidecar("./*")), about)
    assert result.edits[0].patch == {"spec": {"egress": [{"hosts": ["./*", "other/reviews.other.svc.cluster.local"]}]}}


def test_not_checkable() -> None:
    for state in (
        snapshot(CLIENT),
        snapshot(CLIENT, unread={"ConfigMap": "403"}),
        snapshot(CLIENT, CLOSED, unread={"ServiceEntry": "403"}),
        snapshot(CLIENT, CLOSED, unread={"Sidecar": "403"}),
        snapshot(CLIENT, CLOSED, namespaces=frozenset({"shop", "istio-system"})),
        snapshot(CLIENT, mesh_config("[")),
    ):
        (result,) = CHECK.ask(state, API)
        assert result.verdict is Verdict.NOT_CHECKABLE


def test_the_whole_cluster() -> None:
    (result,) = CHECK.ask(snapshot(CLOSED, _sidecar(mode="ALLOW_ANY")))
    assert result.verdict is Verdict.REFUTED and "REGISTRY_ONLY; 1 Sidecars set their own (default)" in result.text
    (result,) = CHECK.ask(snapshot())
    assert result.verdict is Verdict.NOT_CHECKABLE
