"""The check `peer-authentication`."""

from __future__ import annotations

from typing import Any

import pytest
from snapshots import deployment, obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Verdict, checks
from meshdiag.model import Risk, Severity

CHECK = checks()["peer-authentication"]
REVIEWS = pod("reviews-6c9dbf6b45-s2fnt")
WEB = pod("web-6c9dbf6b45-s2fnt", proxied=False)
OWN = {"matchLabels": {"app": "reviews"}}
SERVER = About(namespace="shop", workload="reviews", pod="reviews-6c9dbf6b45-s2fnt", port="8080")
CALL = About(namespace="shop", host="reviews.shop.svc.cluster.local", port="80", source="shop/web")


def policy(name: str, namespace: str = "", mode: str = "STRICT", **spec: Any) -> Object:
    created = spec.pop("created", "2026-11-22T10:00:00Z")
    return obj("PeerAuthentication", name, namespace, created=created, spec={"mtls": {"mode": mode}, **spec})


def test_a_client_without_sidecar() -> None:
    objects = policy("default", "istio-system"), REVIEWS, WEB, service("reviews"), deployment("reviews")
    (result,) = CHECK.ask(snapshot(*objects), CALL)
    assert result.verdict is Verdict.CONFIRMED and "mtls-plaintext-to-strict" in result.causes
    assert "port 8080" in result.text and "shop/web" in result.text
    assert str(result.proofs[0]) == "PeerAuthentication istio-system/default: spec.mtls.mode = STRICT"
    (edit,) = result.edits
    assert edit.create and edit.risk is Risk.WEAKENS_SECURITY
    assert edit.patch["spec"] == {"selector": {"matchLabels": {"app": "reviews"}}, "mtls": {"mode": "PERMISSIVE"}}
    ambient = pod("web-6c9dbf6b45-s2fnt", proxied=False, annotations={"ambient.istio.io/redirection": "enabled"})
    (result,) = CHECK.ask(snapshot(*objects[:2], ambient, *objects[3:]), CALL)
    assert result.verdict is Verdict.NOT_CHECKABLE, "ztunnel gives the client an identity"


def test_ztunnel_tells_it_as_a_policy() -> None:
    server = pod("reviews-6c9dbf6b45-s2fnt", proxied=False, annotations={"ambient.istio.io/redirection": "enabled"})
    (result,) = CHECK.ask(snapshot(policy("default"), server, WEB, service("reviews")), CALL)
    assert result.verdict is Verdict.CONFIRMED and "ztunnel-policy-denied" in result.causes


def test_the_servers_own_line() -> None:
    own = policy("reviews", selector={"matchLabels": {"app": "reviews"}})
    (result,) = CHECK.ask(snapshot(own, REVIEWS, WEB), SERVER)
    assert result.verdict is Verdict.CONFIRMED and result.causes == ("mtls-plaintext-to-strict",)
    assert [e.patch for e in result.edits] == [{"spec": {"mtls": {"mode": "PERMISSIVE"}}}]
    (result,) = CHECK.ask(
        snapshot(own, REVIEWS, WEB), About(namespace="shop", host="reviews", workload="cart", pod="x")
    )
    assert result.verdict is Verdict.NOT_CHECKABLE, "another workload is asked about"


@pytest.mark.parametrize(
    ("policies", "mode"),
    [
        ((), "PERMISSIVE"),
        ((policy("default", "istio-system"), policy("default", mode="PERMISSIVE")), "PERMISSIVE"),
        ((policy("default", "istio-system"), policy("default", mode="UNSET")), "STRICT"),
        ((policy("a", "istio-system", selector={"matchLabels": {"app": "reviews"}}),), "PERMISSIVE"),
        ((policy("a", selector={"matchLabels": {"app": "cart"}}),), "PERMISSIVE"),
        ((policy("default"), policy("a", mode="DISABLE", selector={"matchLabels": {"app": "reviews"}})), "DISABLE"),
        ((policy("default", portLevelMtls={"8080": {"mode": "DISABLE"}}),), "STRICT"),
        ((policy("a", mode="DISABLE", selector=OWN, portLevelMtls={"8080": {"mode": "STRICT"}}),), "STRICT"),
        ((policy("a", selector={"matchLabels": {"app": "reviews"}}, portLevelMtls={"8080": {"mode": "PERMISSIVE"}}),), "PERMISSIVE"),
        ((policy("a", selector={"matchLabels": {"app": "reviews"}}, portLevelMtls={"80": {"mode": "PERMISSIVE"}}),), "STRICT"),
        ((policy("new", created="2026-11-22T11:00:00Z"), policy("old", mode="PERMISSIVE")), "PERMISSIVE"),
        ((policy("other", "cart"),), "PERMISSIVE"),
    ],
)  # fmt: skip
def test_the_narrowest_that_is_set_counts(policies: tuple[Object, ...], mode: str) -> None:
    (result,) = CHECK.ask(snapshot(*policies, REVIEWS, WEB), SERVER)
    assert (result.verdict is Verdict.CONFIRMED) == (mode == "STRICT")
    if mode != "STRICT":
        assert result.verdict is Verdict.REFUTED and mode in result.text
        assert result.causes == ("mtls-plaintext-to-strict",)


def test_a_port_that_is_not_known_refutes_nothing() -> None:
    some = policy(
        "a", mode="PERMISSIVE", selector={"matchLabels": {"app": "reviews"}}, portLevelMtls={"9": {"mode": "STRICT"}}
    )
    about = About(namespace="shop", workload="reviews", pod="reviews-6c9dbf6b45-s2fnt")
    (result,) = CHECK.ask(snapshot(some, REVIEWS), about)
    assert result.verdict is Verdict.REFUTED and not result.causes


def test_the_edit_of_a_port() -> None:
    own = policy(
        "a", mode="PERMISSIVE", selector={"matchLabels": {"app": "reviews"}}, portLevelMtls={"8080": {"mode": "STRICT"}}
    )
    (result,) = CHECK.ask(snapshot(own, REVIEWS), SERVER)
    assert result.edits[0].patch == {"spec": {"portLevelMtls": {"8080": {"mode": "PERMISSIVE"}}}}


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(REVIEWS, namespaces=frozenset({"shop"})), SERVER)
    assert result.verdict is Verdict.NOT_CHECKABLE and "istio-system was not read" in result.text
    (result,) = CHECK.ask(snapshot(pod("reviews-6c9dbf6b45-s2fnt", proxied=False)), SERVER)
    assert result.verdict is Verdict.NOT_CHECKABLE and "not in the mesh" in result.text
    (result,) = CHECK.ask(snapshot(unread={"PeerAuthentication": "403"}), SERVER)
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_the_whole_mesh() -> None:
    (result,) = CHECK.ask(snapshot(policy("default", "istio-system"), REVIEWS, WEB))
    assert result.verdict is Verdict.CONFIRMED and result.severity is Severity.WARNING and "shop/web" in result.text
    far = pod("web-6c9dbf6b45-s2fnt", "lab", proxied=False)
    (result,) = CHECK.ask(snapshot(policy("default", "istio-system"), REVIEWS, far))
    assert result.severity is Severity.INFO and "in other namespaces" in result.text
    (result,) = CHECK.ask(snapshot(policy("default", "istio-system"), REVIEWS))
    assert result.verdict is Verdict.REFUTED
    texts = [r.text for r in CHECK.ask(snapshot(
        policy("a", "istio-system", selector={"matchLabels": {"app": "x"}}), policy("b", portLevelMtls={"1": {}}), policy("c", "lab"),
        policy("d", "lab", created="2026-11-22T11:00:00Z")))]  # fmt: skip
    assert len(texts) == 3 and "root namespace" in texts[0] and "no selector" in texts[1] and "c is older" in texts[2]
