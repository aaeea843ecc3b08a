"""The check `service-entries`."""

from __future__ import annotations

from typing import Any

import pytest
from snapshots import mesh_config, obj, pod, snapshot

from meshdiag.cluster import About, Object, Result, Snapshot, Verdict, checks

CHECK = checks()["service-entries"]
ALL = About()
API = About(namespace="shop", source="shop/web", host="api.example.com", port="443")
MESH = mesh_config("accessLogFile: /dev/stdout")


def _entry(
    number: int = 443, protocol: str = "TLS", *hosts: str, name: str = "api", namespace: str = "", **spec: Any
) -> Object:
    ports = [{"number": number, "name": protocol.lower() or "x", "protocol": protocol}]
    return obj(
        "ServiceEntry",
        name,
        namespace,
        spec={"hosts": list(hosts or ("api.example.com",)), "ports": ports, "resolution": "DNS", **spec},
    )


def _confirmed(state: Snapshot, about: About = ALL) -> list[Result]:
    return [r for r in CHECK.ask(state, about) if r.verdict is Verdict.CONFIRMED]


@pytest.mark.parametrize(
    "entry",
    [
        _entry(),
        _entry(443, "TLS", "*.example.com", resolution="NONE"),
        _entry(443, "TLS", "*.example.com", endpoints=[{"address": "proxy.example.com"}]),
        _entry(443, "TLS", "*.example.com", resolution="DYNAMIC_DNS"),
        _entry(5432, "TCP", addresses=["203.0.113.0/24"]),
        _entry(80, "HTTP"),
        _entry(80, "TLS", ports=[{"number": 80, "protocol": "TLS", "targetPort": 443}]),
        _entry(resolution="STATIC", endpoints=[{"address": "203.0.113.5"}]),
    ],
)
def test_what_is_right(entry: Object) -> None:
    (result,) = CHECK.ask(snapshot(MESH, entry))
    assert result.verdict is Verdict.REFUTED


def test_a_wildcard_that_dns_cannot_resolve() -> None:
    for about in (ALL, API):
        (result,) = _confirmed(snapshot(MESH, _entry(443, "TLS", "*.example.com")), about)
        assert result.causes == ("dns-resolution-failed", "no-healthy-upstream")
        assert [p.field for p in result.proofs] == ["spec.hosts", "spec.resolution"]


def test_static_without_endpoints() -> None:
    (result,) = _confirmed(snapshot(MESH, _entry(resolution="STATIC")))
    assert result.causes == ("no-healthy-upstream",)
    selecting = _entry(resolution="STATIC", location="MESH_INTERNAL", workloadSelector={"labels": {"app": "vm"}})
    (result,) = _confirmed(snapshot(MESH, selecting))
    assert "selects nothing" in result.text
    assert not _confirmed(snapshot(MESH, selecting, obj("WorkloadEntry", "vm", spec={"labels": {"app": "vm"}})))
    assert not _confirmed(snapshot(MESH, selecting, unread={"WorkloadEntry": "403"}))


def test_endpoints_that_are_not_used() -> None:
    (result,) = _confirmed(snapshot(MESH, _entry(resolution="NONE", endpoints=[{"address": "203.0.113.5"}])))
    assert not result.causes and "not used" in result.text


def test_https_of_applications_on_an_http_port() -> None:
    (result,) = _confirmed(snapshot(MESH, _entry(443, "HTTP")))
    assert result.causes == ("protocol-mismatch",)
    assert result.edits[0].patch == {"spec": {"ports": [{"number": 443, "name": "http", "protocol": "TLS"}]}}
    rule = obj("DestinationRule", "api", spec={"host": "api.example.com", "trafficPolicy": {"tls": {"mode": "SIMPLE"}}})
    assert not _confirmed(snapshot(MESH, _entry(443, "HTTP"), rule)), "the sidecar does TLS for the application"
    assert not _confirmed(snapshot(MESH, _entry(443, "HTTP"), unread={"DestinationRule": "403"}))
    (result,) = _confirmed(snapshot(MESH, _entry(80, "TLS")))
    assert result.causes == ("protocol-mismatch",)


def test_tcp_without_addresses() -> None:
    (result,) = _confirmed(snapshot(MESH, _entry(5432, "TCP")))
    assert not result.causes and "takes every call to port 5432" in result.text
    auto = mesh_config("defaultConfig: {proxyMetadata: {ISTIO_META_DNS_AUTO_ALLOCATE: 'true'}}")
    assert not _confirmed(snapshot(auto, _entry(5432, "TCP")))
    given = obj(
        "ServiceEntry", "db", spec={"hosts": ["db.example.com"]}, status={"addresses": [{"value": "240.240.0.1"}]}
    )
    assert not _confirmed(snapshot(MESH, given, _entry(5432, "TCP"))), "istiod gives addresses"


def test_workloads_of_the_mesh_that_are_said_to_be_outside() -> None:
    inside = pod("vm-6c9dbf6b45-s2fnt")
    entry = _entry(resolution="STATIC", workloadSelector={"labels": {"app": "vm"}})
    (result,) = _confirmed(snapshot(MESH, inside, entry))
    assert result.causes == ("mtls-plaintext-to-strict",)
    assert result.edits[0].patch == {"spec": {"location": "MESH_INTERNAL"}}
    assert not _confirmed(snapshot(MESH, pod("vm-6c9dbf6b45-s2fnt", proxied=False), entry))


def test_one_host_in_two_entries() -> None:
    (result,) = _confirmed(snapshot(MESH, _entry(name="a"), _entry(name="b")))
    assert result.causes == ("config-conflict",)
    assert not _confirmed(snapshot(MESH, _entry(name="a"), _entry(80, "HTTP", name="b"))), "two ports of one host"
    apart = _entry(name="a", exportTo=["."]), _entry(name="b", namespace="other", exportTo=["."])
    assert not _confirmed(snapshot(MESH, *apart))


def test_an_entry_that_the_client_does_not_see() -> None:
    (result,) = _confirmed(snapshot(MESH, _entry(namespace="other", exportTo=["."])), API)
    assert result.causes == ("egress-blocked", "egress-passthrough-failed")


def test_an_entry_without_the_port_that_was_called() -> None:
    (result,) = _confirmed(snapshot(MESH, _entry(80, "HTTP")), API)
    assert "with port 80 and not with 443" in result.text
    assert result.edits[0].patch["spec"]["ports"][1] == {"number": 443, "name": "tls", "protocol": "TLS"}
    odd = About(namespace="shop", source="shop/web", host="api.example.com", port="8443")
    (result,) = _confirmed(snapshot(MESH, _entry(80, "HTTP")), odd)
    assert not result.edits


def test_other_hosts_are_not_asked_about() -> None:
    (result,) = CHECK.ask(snapshot(MESH, _entry(443, "HTTP", "other.example.com")), API)
    assert result.verdict is Verdict.NOT_CHECKABLE
    (result,) = CHECK.ask(snapshot(MESH, _entry()), API)
    assert result.verdict is Verdict.REFUTED and not result.causes


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(unread={"ServiceEntry": "403"}), API)
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_a_finding_that_only_names_the_entry() -> None:
    state = snapshot(MESH, _entry(443, "HTTP", name="a"), _entry(443, "HTTP", "b.example.com", name="b"))
    (result,) = _confirmed(state, About(namespace="shop", name="b"))
    assert result.causes == ("protocol-mismatch",)
