"""The check `destination-rule-tls`."""

from __future__ import annotations

from typing import Any

from snapshots import obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Verdict, checks
from meshdiag.cluster.edits import patched
from meshdiag.model import Risk

CHECK = checks()["destination-rule-tls"]
REVIEWS = pod("reviews-6c9dbf6b45-s2fnt")
BARE = pod("reviews-6c9dbf6b45-s2fnt", proxied=False)
WEB = pod("web-6c9dbf6b45-s2fnt")
STRICT = obj("PeerAuthentication", "default", "istio-system", spec={"mtls": {"mode": "STRICT"}})
CALL = About(namespace="shop", workload="web", pod=WEB.name, host="reviews.shop.svc.cluster.local", port="80")


def rule(mode: str, name: str = "reviews", namespace: str = "", host: str = "reviews", **policy: Any) -> Object:
    tls = {"tls": {"mode": mode}} if mode else {}
    return obj("DestinationRule", name, namespace, spec={"host": host, "trafficPolicy": {**tls, **policy}})


def ask(*objects: Object, about: About = CALL) -> Any:
    return CHECK.ask(snapshot(*objects, service("reviews"), WEB), about)


def test_disable_against_strict() -> None:
    (result,) = ask(rule("DISABLE"), STRICT, REVIEWS)
    assert result.verdict is Verdict.CONFIRMED and "mtls-plaintext-to-strict" in result.causes
    assert [(p.field, p.value) for p in result.proofs] == [
        ("spec.trafficPolicy.tls.mode", "DISABLE"),
        ("spec.mtls.mode", "STRICT"),
    ]
    assert [e.patch for e in result.edits] == [{"spec": {"trafficPolicy": {"tls": None}}}]
    (result,) = ask(rule("DISABLE"), REVIEWS)
    assert result.verdict is Verdict.REFUTED, "PERMISSIVE takes plaintext"
    (result,) = ask(rule("DISABLE"), STRICT, BARE)
    assert result.verdict is Verdict.REFUTED, "the server has no proxy that could demand anything"


def test_istio_mutual_to_a_workload_without_proxy() -> None:
    (result,) = ask(rule("ISTIO_MUTUAL"), BARE)
    assert result.verdict is Verdict.CONFIRMED and "mtls-tls-to-plaintext" in result.causes
    assert result.edits[0].risk is Risk.WEAKENS_SECURITY
    (result,) = ask(rule("ISTIO_MUTUAL"), REVIEWS)
    assert result.verdict is Verdict.REFUTED
    off = obj(
        "PeerAuthentication", "a", spec={"selector": {"matchLabels": {"app": "reviews"}}, "mtls": {"mode": "DISABLE"}}
    )
    (result,) = ask(rule("ISTIO_MUTUAL"), REVIEWS, off)
    assert result.verdict is Verdict.CONFIRMED and "switched off" in result.text


def test_simple_to_a_mesh_service() -> None:
    (result,) = ask(rule("SIMPLE"), STRICT, REVIEWS)
    assert "tls-handshake-failed" in result.causes and result.edits
    (result,) = ask(rule("SIMPLE"), REVIEWS)
    assert "mtls-tls-to-plaintext" in result.causes and not result.edits
    own = service("reviews", spec={"ports": [{"name": "https", "port": 80, "targetPort": 8080}]})
    (result,) = CHECK.ask(snapshot(rule("SIMPLE"), own, WEB, REVIEWS), CALL)
    assert result.verdict is Verdict.REFUTED, "the application does TLS itself"


def test_settings_of_a_port_replace_the_rule_s_even_without_tls() -> None:
    bare_port: dict[str, Any] = {"portLevelSettings": [{"port": {"number": 80}, "connectionPool": {}}]}
    (result,) = ask(rule("DISABLE", **bare_port), STRICT, REVIEWS)
    assert result.verdict is Verdict.REFUTED and "automatic" in result.text
    own: dict[str, Any] = {"portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "DISABLE"}}]}
    r = rule("", **own)
    (result,) = ask(r, STRICT, REVIEWS)
    assert result.proofs[0].field == "spec.trafficPolicy.portLevelSettings[0].tls.mode"
    mended = patched(r.raw, result.edits[0].patch)
    assert mended["spec"]["trafficPolicy"] == {"portLevelSettings": [{"port": {"number": 80}}]}


def test_settings_of_a_subset() -> None:
    r = rule("DISABLE")
    r.raw["spec"]["subsets"] = [{"name": "v1", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}, {"name": "v2"}]
    about = About(namespace="shop", workload="web", host=CALL.host, port="80", subset="v1")
    (result,) = ask(r, STRICT, REVIEWS, about=about)
    assert result.verdict is Verdict.REFUTED and "ISTIO_MUTUAL" in result.text
    about = About(namespace="shop", workload="web", host=CALL.host, port="80", subset="v2")
    (result,) = ask(r, STRICT, REVIEWS, about=about)
    assert result.verdict is Verdict.CONFIRMED


def test_which_rule_wins() -> None:
    server, mesh = rule("DISABLE"), rule("ISTIO_MUTUAL", "mesh", "istio-system", "*.local")
    (result,) = ask(server, mesh, STRICT, REVIEWS)
    assert result.about == server.ref
    own = rule("ISTIO_MUTUAL", "own", "lab", "reviews.shop.svc.cluster.local")
    web = pod("web-6c9dbf6b45-s2fnt", "lab")
    about = About(namespace="lab", workload="web", host=CALL.host, port="80")
    (result,) = CHECK.ask(snapshot(server, own, STRICT, REVIEWS, web, service("reviews")), about)
    assert result.verdict is Verdict.REFUTED and result.about == own.ref


def test_identities() -> None:
    wrong = rule("", tls={"mode": "ISTIO_MUTUAL", "subjectAltNames": ["spiffe://cluster.local/ns/shop/sa/review"]})
    (result,) = ask(wrong, REVIEWS)
    assert result.causes == ("mtls-identity-mismatch",)
    right = rule("", tls={"mode": "ISTIO_MUTUAL", "subjectAltNames": ["spiffe://cluster.local/ns/shop/sa/default"]})
    (result,) = ask(right, REVIEWS)
    assert result.verdict is Verdict.REFUTED


def test_a_host_outside() -> None:
    ports = [{"number": 443, "name": "tls", "protocol": "HTTPS"}]
    entry = obj("ServiceEntry", "api", spec={"hosts": ["api.example.com"], "ports": ports, "location": "MESH_EXTERNAL"})
    about = About(namespace="shop", workload="web", host="api.example.com", port="443")
    (result,) = ask(entry, rule("ISTIO_MUTUAL", host="api.example.com"), about=about)
    assert "mtls-certificate-untrusted" in result.causes
    (result,) = ask(entry, rule("SIMPLE", host="api.example.com"), about=about)
    assert result.verdict is Verdict.CONFIRMED and "TLS twice" in result.text
    route = {"route": [{"destination": {"host": "api.example.com", "port": {"number": 443}}}]}
    virtual = obj("VirtualService", "api", spec={"hosts": ["api.example.com"], "http": [route]})
    (result,) = ask(entry, rule("SIMPLE", host="api.example.com"), virtual, about=about)
    assert result.verdict is Verdict.NOT_CHECKABLE, "a VirtualService sends plain HTTP there"
    (result,) = ask(about=about)
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_a_client_without_sidecar_has_no_rules() -> None:
    bare = pod("web-6c9dbf6b45-s2fnt", proxied=False)
    (result,) = CHECK.ask(snapshot(rule("DISABLE"), STRICT, REVIEWS, service("reviews"), bare), CALL)
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_the_whole_mesh() -> None:
    results = CHECK.ask(snapshot(rule("DISABLE"), STRICT, REVIEWS, WEB, service("reviews"), service("web")))
    assert [r.verdict for r in results] == [Verdict.CONFIRMED]
    wild = rule("DISABLE", "all", "istio-system", "*.local")
    assert len(CHECK.ask(snapshot(wild, STRICT, REVIEWS, WEB, service("reviews"), service("web")))) == 2
    (result,) = CHECK.ask(snapshot(rule("ISTIO_MUTUAL"), STRICT, REVIEWS, service("reviews")))
    assert result.verdict is Verdict.REFUTED
    (result,) = CHECK.ask(snapshot(unread={"DestinationRule": "403"}))
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_the_servers_own_line_names_no_host() -> None:
    (result,) = ask(rule("DISABLE"), STRICT, REVIEWS, about=About(namespace="shop", workload="reviews", port="8080"))
    assert result.verdict is Verdict.CONFIRMED and result.causes == ("mtls-plaintext-to-strict",)
    (result,) = ask(rule("DISABLE"), STRICT, REVIEWS, about=About(namespace="shop", workload="web"))
    assert result.verdict is Verdict.NOT_CHECKABLE, "the rule is for another service"


def test_a_credential_that_sidecars_pass_over() -> None:
    ports = [{"number": 443, "name": "http", "protocol": "HTTP"}]
    entry = obj("ServiceEntry", "api", spec={"hosts": ["api.example.com"], "ports": ports})
    named = rule("", host="api.example.com", tls={"mode": "SIMPLE", "credentialName": "ca"})
    about = About(namespace="shop", workload="web", host="api.example.com", port="443")
    (result,) = ask(entry, named, about=about)
    assert "mtls-certificate-untrusted" in result.causes and "sidecars pass over" in result.text
    gateway = pod("web-6c9dbf6b45-s2fnt", spec={"containers": [{"name": "istio-proxy"}]})
    (result,) = CHECK.ask(snapshot(entry, named, gateway), about)
    assert result.verdict is Verdict.NOT_CHECKABLE, "a gateway reads the Secret"


def test_two_edits_of_one_list_are_not_offered_at_once() -> None:
    own: dict[str, Any] = {"portLevelSettings": [{"port": {"number": n}, "tls": {"mode": "DISABLE"}} for n in (80, 81)]}
    two = service("reviews", spec={"ports": [{"name": f"http-{n}", "port": n, "targetPort": 8080} for n in (80, 81)]})
    results = CHECK.ask(snapshot(rule("", **own), STRICT, REVIEWS, two))
    assert [len(r.edits) for r in results] == [1, 0]
