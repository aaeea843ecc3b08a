"""The check `ext-authz-providers`."""

from __future__ import annotations

from typing import Any

from snapshots import mesh_config, obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Verdict, checks
from meshdiag.model import Severity

CHECK = checks()["ext-authz-providers"]
REVIEWS = pod("reviews-6c9dbf6b45-s2fnt")
OWN = About(namespace="shop", workload="reviews", pod=REVIEWS.name)
OPA = service("opa", "auth", port=9191), pod("opa-6c9dbf6b45-s2fnt", "auth")
POLICY = obj("AuthorizationPolicy", "ext", spec={"action": "CUSTOM", "provider": {"name": "opa"}, "rules": [{}]})


def config(service: str = "opa.auth.svc.cluster.local", port: int = 9191, name: str = "opa", more: str = "") -> Object:
    return mesh_config(
        f"extensionProviders:\n- name: {name}\n  envoyExtAuthzGrpc: {{service: {service}, port: {port}{more}}}\n"
    )


def ask(*objects: Object, about: About = OWN) -> Any:
    return CHECK.ask(snapshot(REVIEWS, POLICY, *objects), about)


def test_a_provider_that_is_there() -> None:
    (result,) = ask(config(), *OPA)
    assert result.verdict is Verdict.REFUTED
    (result,) = ask(config("auth/opa.auth.svc.cluster.local"), *OPA)
    assert result.verdict is Verdict.REFUTED
    entry = obj("ServiceEntry", "ext", spec={"hosts": ["authz.example.com"]})
    (result,) = ask(config("authz.example.com"), entry)
    assert result.verdict is Verdict.REFUTED


def test_a_provider_that_is_missing() -> None:
    (result,) = ask(config(name="other"), *OPA)
    assert result.verdict is Verdict.CONFIRMED and result.causes == ("rbac-denied", "config-reference-missing")
    assert result.proofs[1].value == "other"
    (result,) = ask(mesh_config("extensionProviders:\n- name: opa\n  zipkin: {}\n"), *OPA)
    assert "no authorizer" in result.text


def test_a_provider_whose_service_does_not_answer() -> None:
    (result,) = ask(config())
    assert result.causes == ("ext-authz-unavailable",) and "every request is denied" in result.text
    (result,) = ask(config(more=", failOpen: true"))
    assert "pass unchecked" in result.text
    (result,) = ask(config(port=80), *OPA)
    assert "port 80 of opa, which has 9191" in result.text
    (result,) = ask(config(), OPA[0], pod("opa-6c9dbf6b45-s2fnt", "auth", ready=False))
    assert "no pod of opa" in result.text


def test_bodies() -> None:
    body, fine = ask(config(more=", includeRequestBodyInCheck: {maxRequestBytes: 8192}"), *OPA)
    assert body.causes == ("request-too-large",) and body.severity is Severity.INFO and fine.verdict is Verdict.REFUTED
    (fine,) = ask(config(more=", includeRequestBodyInCheck: {maxRequestBytes: 8192, allowPartialMessage: true}"), *OPA)
    assert fine.verdict is Verdict.REFUTED


def test_no_custom_policy() -> None:
    (result,) = CHECK.ask(snapshot(REVIEWS, config()), OWN)
    assert result.verdict is Verdict.REFUTED and result.causes == ("ext-authz-unavailable",)
    by_hand = obj("EnvoyFilter", "ext", spec={})
    (result,) = CHECK.ask(snapshot(REVIEWS, config(), by_hand), OWN)
    assert result.verdict is Verdict.REFUTED and not result.causes, "an EnvoyFilter may ask one, too"
    (result,) = CHECK.ask(snapshot())
    assert result.verdict is Verdict.REFUTED and not result.causes


def test_not_checkable() -> None:
    (result,) = ask()
    assert result.verdict is Verdict.NOT_CHECKABLE and "ConfigMap istio" in result.text
    (result,) = CHECK.ask(snapshot(unread={"ConfigMap": "403"}), OWN)
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_the_whole_mesh() -> None:
    (result,) = ask(config(name="other"), about=About())
    assert result.verdict is Verdict.CONFIRMED
    (result,) = ask(config(name="other"), about=About(policy="ext", policy_namespace="shop"))
    assert result.verdict is Verdict.CONFIRMED
