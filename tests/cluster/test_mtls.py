"""Whether calls are mTLS: the client, the server, and all rules between them."""

from __future__ import annotations

from typing import Any

import pytest

from meshdiag.cluster import Object, Snapshot
from meshdiag.cluster.mtls import spoken
from tests.cluster.snapshots import mesh_config, obj, pod, service, snapshot

WEB = pod("web-6c9dbf6b45-s2fnt")
REVIEWS = pod("reviews-7d9c5b8f4d-x2v9k")
BARE_WEB = pod("web-6c9dbf6b45-s2fnt", proxied=False)
BARE = pod("reviews-7d9c5b8f4d-x2v9k", proxied=False)
AMBIENT = {"annotations": {"ambient.istio.io/redirection": "enabled"}, "proxied": False}
AMBIENT_WEB = pod("web-6c9dbf6b45-s2fnt", **AMBIENT)
AMBIENT_REVIEWS = pod("reviews-7d9c5b8f4d-x2v9k", **AMBIENT)
HBONE_WEB = pod("web-6c9dbf6b45-s2fnt", labels={"app": "web", "networking.istio.io/tunnel": "http"})
HBONE_REVIEWS = pod("reviews-7d9c5b8f4d-x2v9k", labels={"app": "reviews", "networking.istio.io/tunnel": "http"})
SERVICE = service("reviews")


def peer(mode: str, **spec: Any) -> Object:
    return obj("PeerAuthentication", "default", spec={"mtls": {"mode": mode}, **spec})


def rule(mode: str, **spec: Any) -> Object:
    policy = {"trafficPolicy": {"tls": {"mode": mode}}} if mode else {}
    return obj("DestinationRule", "reviews", spec={"host": "reviews", **policy, **spec})


def said(client: Object, server: Object, *others: Object, state: Snapshot | None = None, **more: Any) -> str:
    of = state or snapshot(client, server, SERVICE, *others, **more)
    return spoken(of, [client], [server], SERVICE, [80])


@pytest.mark.parametrize(
    ("client", "server", "expected"),
    [
        (WEB, REVIEWS, "mutual"),
        (BARE_WEB, REVIEWS, "plaintext"),
        (WEB, BARE, "plaintext"),
        (BARE_WEB, BARE, "plaintext"),
        (AMBIENT_WEB, AMBIENT_REVIEWS, "mutual"),
        (AMBIENT_WEB, BARE, "plaintext"),
        (BARE_WEB, AMBIENT_REVIEWS, "plaintext"),
        (AMBIENT_WEB, REVIEWS, ""),
        (AMBIENT_WEB, HBONE_REVIEWS, "mutual"),
        (WEB, AMBIENT_REVIEWS, ""),
        (HBONE_WEB, AMBIENT_REVIEWS, "mutual"),
    ],
)
def test_without_rules_proxies_and_ztunnel_decide(client: Object, server: Object, expected: str) -> None:
    assert said(client, server) == expected


def test_a_server_that_switched_mtls_off_gets_plaintext() -> None:
    assert said(WEB, REVIEWS, peer("DISABLE")) == "plaintext"
    assert said(WEB, REVIEWS, peer("STRICT")) == said(WEB, REVIEWS, peer("PERMISSIVE")) == "mutual"
    assert said(AMBIENT_WEB, AMBIENT_REVIEWS, peer("DISABLE")) == "mutual", "ztunnel always speaks HBONE"


def test_the_mode_is_that_of_the_pod_s_port() -> None:
    """Port 80 of the service is 8080 of the pod."""
    ports = {"selector": {"matchLabels": {"app": "reviews"}}, "portLevelMtls": {"8080": {"mode": "DISABLE"}}}
    assert said(WEB, REVIEWS, peer("STRICT", **ports)) == "plaintext"
    ports["portLevelMtls"] = {"80": {"mode": "DISABLE"}}
    assert said(WEB, REVIEWS, peer("STRICT", **ports)) == "mutual"


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("DISABLE", "plaintext"), ("ISTIO_MUTUAL", "mutual"), ("SIMPLE", ""), ("MUTUAL", ""), ("", "mutual")],
)
def test_what_a_destination_rule_asks_for(mode: str, expected: str) -> None:
    assert said(WEB, REVIEWS, rule(mode)) == expected
    assert said(BARE_WEB, REVIEWS, rule(mode)) == "plaintext", "who has no sidecar obeys no rule"


def test_mtls_that_the_server_does_not_take_is_none() -> None:
    assert said(WEB, BARE, rule("ISTIO_MUTUAL")) == said(WEB, REVIEWS, rule("ISTIO_MUTUAL"), peer("DISABLE")) == ""


def test_subsets_that_differ_leave_it_open() -> None:
    off = {"name": "v1", "trafficPolicy": {"tls": {"mode": "DISABLE"}}}
    assert said(WEB, REVIEWS, rule("", subsets=[off])) == ""
    assert said(WEB, REVIEWS, rule("DISABLE", subsets=[off, {"name": "v2"}])) == "plaintext"


def test_automatic_mtls_can_be_off() -> None:
    assert said(WEB, REVIEWS, mesh_config("enableAutoMtls: false")) == "plaintext"
    assert said(WEB, REVIEWS, mesh_config("enableAutoMtls: false"), rule("ISTIO_MUTUAL")) == "mutual"


def test_what_was_not_read_is_not_known() -> None:
    for kind in ("PeerAuthentication", "DestinationRule"):
        assert said(WEB, REVIEWS, unread={kind: "403"}) == ""
        assert said(WEB, REVIEWS, unread={kind: "not installed"}) == "mutual"
    assert said(WEB, REVIEWS, namespaces=frozenset({"shop"})) == "", "the root namespace may have a policy"
    assert said(WEB, REVIEWS, namespaces=frozenset({"shop", "istio-system"})) == "mutual"
    assert said(BARE_WEB, REVIEWS, unread={"DestinationRule": "403"}) == "plaintext"


def test_pods_and_ports_that_differ_leave_it_open() -> None:
    state = snapshot(WEB, REVIEWS, BARE, SERVICE)
    assert spoken(state, [WEB], [REVIEWS, BARE], SERVICE, [80]) == ""
    assert spoken(state, [WEB, BARE_WEB], [REVIEWS], SERVICE, [80]) == ""
    assert spoken(state, [], [REVIEWS], SERVICE, [80]) == spoken(state, [WEB], [], SERVICE, [80]) == ""
    assert spoken(state, [WEB], [REVIEWS], None, [80]) == "", "by which service it was called is not known"
    assert spoken(state, [WEB], [REVIEWS], SERVICE, []) == "mutual", "all ports of the service"
