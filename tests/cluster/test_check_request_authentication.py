"""The check `request-authentication`."""

from __future__ import annotations

from typing import Any

from snapshots import istiod, mesh_config, obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Verdict, checks

CHECK = checks()["request-authentication"]
REVIEWS = pod("reviews-6c9dbf6b45-s2fnt")
SERVER = About(namespace="shop", workload="reviews", pod=REVIEWS.name, port="8080")
ISSUER = {"issuer": "https://id.example.com", "jwksUri": "https://id.example.com/keys"}


def authentication(name: str, *rules: dict[str, Any], namespace: str = "", **spec: Any) -> Object:
    return obj("RequestAuthentication", name, namespace, spec={"jwtRules": list(rules), **spec})


def test_none_selects() -> None:
    (result,) = CHECK.ask(snapshot(REVIEWS), SERVER)
    assert result.verdict is Verdict.REFUTED and "jwt-issuer-not-configured" in result.causes
    other = authentication("a", ISSUER, selector={"matchLabels": {"app": "cart"}})
    (result,) = CHECK.ask(snapshot(REVIEWS, other), SERVER)
    assert result.verdict is Verdict.REFUTED
    target = authentication("a", ISSUER, targetRefs=[{"kind": "Gateway", "name": "w"}])
    (result,) = CHECK.ask(snapshot(REVIEWS, target), SERVER)
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_what_is_accepted() -> None:
    (result,) = CHECK.ask(snapshot(REVIEWS, authentication("a", ISSUER)), SERVER)
    assert result.verdict is Verdict.REFUTED and not result.causes and "https://id.example.com" in result.text


def test_a_policy_that_wants_a_token_where_none_is_looked_at() -> None:
    rules = [{"from": [{"source": {"requestPrincipals": ["*"]}}]}]
    policy = obj("AuthorizationPolicy", "jwt", spec={"rules": rules})
    (result,) = CHECK.ask(snapshot(REVIEWS, policy), SERVER)
    assert result.verdict is Verdict.CONFIRMED and "rbac-denied" in result.causes
    assert CHECK.ask(snapshot(REVIEWS, policy))[0].verdict is Verdict.CONFIRMED
    (result,) = CHECK.ask(snapshot(REVIEWS, policy, authentication("a", ISSUER)), SERVER)
    assert result.verdict is Verdict.REFUTED


def test_one_issuer_with_two_keys() -> None:
    other = {"issuer": ISSUER["issuer"], "jwksUri": "https://id.example.com/v2/keys"}
    (result,) = CHECK.ask(snapshot(REVIEWS, authentication("a", ISSUER), authentication("b", other)), SERVER)
    assert result.verdict is Verdict.CONFIRMED and result.causes == ("jwt-signature-invalid",)
    (result,) = CHECK.ask(snapshot(REVIEWS, authentication("a", ISSUER), authentication("b", ISSUER)), SERVER)
    assert result.verdict is Verdict.REFUTED


def uri(text: str, *objects: Object, issuer: str = "https://id.example.com") -> Any:
    rule = {"issuer": issuer, **({"jwksUri": text} if text else {})}
    (result,) = CHECK.ask(snapshot(REVIEWS, authentication("a", rule), *objects), SERVER)
    return result


def test_where_the_keys_are() -> None:
    assert "no URL" in uri("", issuer="me@example.com").text
    assert uri("").verdict is Verdict.REFUTED, "OpenID discovery"
    assert "no http or https URL" in uri("id.example.com/keys").text
    assert "jwks-fetch-failed" in uri("http://id.auth.svc.cluster.local/keys").causes
    assert "without TLS" in uri("http://id.example.com/keys").text
    assert not uri("http://id.example.com/keys").causes
    assert uri("http://[::1/keys").verdict is Verdict.CONFIRMED
    mesh = mesh_config("outboundTrafficPolicy: {mode: REGISTRY_ONLY}")
    assert uri("https://id.example.com/keys", mesh, *istiod()).verdict is Verdict.REFUTED, "istiod has no sidecar"
    deployment, own = istiod()
    env = [{"name": "PILOT_JWT_ENABLE_REMOTE_JWKS", "value": "envoy"}]
    deployment.raw["spec"]["template"]["spec"]["containers"][0]["env"] = env
    assert "REGISTRY_ONLY" in uri("https://id.example.com/keys", mesh, deployment, own).text
    entry = obj("ServiceEntry", "id", spec={"hosts": ["id.example.com"]})
    assert uri("https://id.example.com/keys", mesh, deployment, own, entry).verdict is Verdict.REFUTED


def test_an_issuer_in_the_cluster() -> None:
    id_ = service("id", "auth"), pod("id-6c9dbf6b45-s2fnt", "auth")
    assert uri("http://id.auth.svc.cluster.local/keys", *id_).verdict is Verdict.REFUTED
    strict = obj("PeerAuthentication", "default", "istio-system", spec={"mtls": {"mode": "STRICT"}})
    assert "STRICT" in uri("http://id.auth.svc.cluster.local/keys", *id_, strict).text
    assert "names port 8443" in uri("http://id.auth.svc.cluster.local:8443/keys", *id_).text


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(unread={"RequestAuthentication": "403"}), SERVER)
    assert result.verdict is Verdict.NOT_CHECKABLE
    (result,) = CHECK.ask(snapshot(REVIEWS, namespaces=frozenset({"shop"})), SERVER)
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_the_whole_mesh() -> None:
    (result,) = CHECK.ask(snapshot(REVIEWS, authentication("a", ISSUER, selector={"matchLabels": {"app": "rview"}})))
    assert result.verdict is Verdict.CONFIRMED and "selects no pod" in result.text
    (result,) = CHECK.ask(snapshot(REVIEWS, authentication("a", ISSUER)))
    assert result.verdict is Verdict.REFUTED
