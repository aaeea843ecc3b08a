"""The check `authorization-policies`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshots import mesh_config, obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Result, Verdict, checks
from meshdiag.model import Risk

CHECK = checks()["authorization-policies"]
REVIEWS = pod("reviews-6c9dbf6b45-s2fnt")
WEB = pod("web-6c9dbf6b45-s2fnt", "front", spec={"serviceAccountName": "web"})
PLAIN = pod("web-6c9dbf6b45-s2fnt", "front", proxied=False, spec={"serviceAccountName": "web"})
CALL = About(namespace="shop", workload="reviews", pod=REVIEWS.name, port="8080", source="front/web")


def policy(name: str, action: str = "", namespace: str = "", **spec: Any) -> Object:
    return obj("AuthorizationPolicy", name, namespace, spec={**({"action": action} if action else {}), **spec})


def source(**fields: Any) -> dict[str, Any]:
    return {"from": [{"source": fields}]}


RULES: list[dict[str, Any]] = [
    {}, source(namespaces=["front"]), source(namespaces=["x"]), source(ipBlocks=["10.0.0.0/8"]),
    {"to": [{"operation": {"ports": ["80"]}}]}, {"to": [{"operation": {"paths": ["/x"]}}]}, {"when": [{"key": "k", "values": ["v"]}]},
]  # fmt: skip


def ask(*objects: Object, about: About = CALL) -> Result:
    (result,) = CHECK.ask(snapshot(*objects, REVIEWS, service("reviews")), about)
    return result


def test_no_policy() -> None:
    result = ask(WEB)
    assert result.verdict is Verdict.REFUTED and result.causes == ("rbac-denied", "ext-authz-denied")
    other = policy("a", rules=[], selector={"matchLabels": {"app": "cart"}})
    assert ask(WEB, other).verdict is Verdict.REFUTED
    (result,) = CHECK.ask(snapshot(REVIEWS, WEB, obj("EnvoyFilter", "rbac", spec={})), CALL)
    assert not result.causes
    dry = obj("AuthorizationPolicy", "a", annotations={"istio.io/dry-run": "true"}, spec={})
    assert ask(WEB, dry).verdict is Verdict.REFUTED


def test_an_allow_policy_without_rules_denies_everything() -> None:
    for nothing in (policy("deny-all"), policy("deny-all", "ALLOW", "istio-system", rules=[])):
        result = ask(WEB, nothing)
        assert result.verdict is Verdict.CONFIRMED and "no rules" in result.text and not result.edits
    assert ask(WEB, policy("all", rules=[{}])).verdict is Verdict.REFUTED


@pytest.mark.parametrize(
    ("rule", "verdict"),
    [
        (source(principals=["cluster.local/ns/front/sa/web"]), Verdict.REFUTED),
        (source(principals=["cluster.local/ns/front/sa/other"]), Verdict.CONFIRMED),
        (source(principals=["*/ns/front/sa/web"]), Verdict.REFUTED),
        (source(principals=["*"]), Verdict.REFUTED),
        (source(principals=["cluster.local/ns/front/*"]), Verdict.REFUTED),
        (source(principals=["spiffe://cluster.local/ns/front/sa/web"]), Verdict.CONFIRMED),
        (source(namespaces=["front"]), Verdict.REFUTED),
        (source(namespaces=["back"]), Verdict.CONFIRMED),
        (source(namespaces=["front"], principals=["x"]), Verdict.CONFIRMED),
        (source(notNamespaces=["front"]), Verdict.CONFIRMED),
        (source(notNamespaces=["back"]), Verdict.REFUTED),
        (source(ipBlocks=["10.0.0.0/8"]), Verdict.NOT_CHECKABLE),
        ({"to": [{"operation": {"ports": ["8080"]}}]}, Verdict.REFUTED),
        ({"to": [{"operation": {"ports": ["80"]}}]}, Verdict.CONFIRMED),
        ({"to": [{"operation": {"notPorts": ["8080"]}}]}, Verdict.CONFIRMED),
        ({"to": [{"operation": {"paths": ["/x"]}}]}, Verdict.NOT_CHECKABLE),
        ({**source(namespaces=["back"]), "to": [{"operation": {"paths": ["/x"]}}]}, Verdict.CONFIRMED),
        ({"when": [{"key": "source.namespace", "values": ["front"]}]}, Verdict.REFUTED),
        ({"when": [{"key": "request.headers[x]", "values": ["y"]}]}, Verdict.NOT_CHECKABLE),
    ],
)
def test_whether_a_rule_can_match(rule: dict[str, Any], verdict: Verdict) -> None:
    assert ask(WEB, policy("allow", rules=[rule])).verdict is verdict


def test_a_plaintext_caller_has_no_identity() -> None:
    result = ask(PLAIN, policy("allow", rules=[source(namespaces=["front"])]))
    assert result.verdict is Verdict.CONFIRMED and "no sidecar" in result.text and not result.edits
    assert ask(PLAIN, policy("allow", rules=[source(notNamespaces=["back"])])).verdict is Verdict.REFUTED


def test_the_edit_lets_exactly_this_caller_in() -> None:
    old = source(namespaces=["back"])
    result = ask(WEB, policy("allow", rules=[old]))
    (edit,) = result.edits
    rule = {
        "from": [{"source": {"principals": ["cluster.local/ns/front/sa/web"]}}],
        "to": [{"operation": {"ports": ["8080"]}}],
    }
    assert edit.patch == {"spec": {"rules": [old, rule]}} and edit.risk is Risk.WEAKENS_SECURITY


def test_deny() -> None:
    result = ask(WEB, policy("no", "DENY", rules=[{}]))
    assert result.verdict is Verdict.CONFIRMED and "denies front/web" in result.text
    assert ask(WEB, policy("no", "DENY")).verdict is Verdict.NOT_CHECKABLE
    result = ask(
        policy("no", "DENY", rules=[source(namespaces=["x"])]), about=About(policy="no", policy_namespace="shop")
    )
    assert result.verdict is Verdict.CONFIRMED and "rbac-denied" in result.causes
    result = ask(policy("no", "ALLOW"), about=About(policy="no", policy_namespace="shop"))
    assert result.verdict is Verdict.NOT_CHECKABLE
    assert ask(about=About(policy="gone", policy_namespace="shop")).verdict is Verdict.NOT_CHECKABLE


def test_http_fields_on_a_tcp_port() -> None:
    db = service("reviews", spec={"ports": [{"name": "tcp-db", "port": 80, "targetPort": 8080}]})
    rule = {"to": [{"operation": {"methods": ["GET"]}}]}
    chosen = {"matchLabels": {"app": "reviews"}}
    state = snapshot(WEB, REVIEWS, db, policy("allow", rules=[rule], selector=chosen))
    (result,) = CHECK.ask(state, CALL)
    assert result.verdict is Verdict.CONFIRMED and "methods on a TCP port" in result.text
    assert "never matches" in CHECK.ask(state)[0].text
    (result,) = CHECK.ask(snapshot(WEB, REVIEWS, db, policy("no", "DENY", rules=[rule])), CALL)
    assert result.verdict is Verdict.CONFIRMED, "a DENY rule matches without its HTTP fields"


def test_ztunnel_reads_no_http() -> None:
    server = pod("reviews-6c9dbf6b45-s2fnt", proxied=False, annotations={"ambient.istio.io/redirection": "enabled"})
    rule = {"to": [{"operation": {"methods": ["GET"]}}]}
    (result,) = CHECK.ask(snapshot(WEB, server, policy("allow", rules=[rule])), CALL)
    assert result.causes == ("ztunnel-policy-denied",) and "ztunnel, which reads no HTTP" in result.text
    (result,) = CHECK.ask(snapshot(WEB, server, policy("no", "DENY", rules=[rule])), CALL)
    assert result.verdict is Verdict.NOT_CHECKABLE
    (result,) = CHECK.ask(snapshot(WEB, server, policy("allow", rules=[source(namespaces=["front"])])), CALL)
    assert result.verdict is Verdict.REFUTED


def test_custom_and_tokens() -> None:
    custom = policy("ext", "CUSTOM", rules=[{}], provider={"name": "opa"})
    results = CHECK.ask(snapshot(WEB, REVIEWS, custom), CALL)
    assert results[0].causes == ("ext-authz-denied",) and results[1].causes == ("rbac-denied",)
    token = policy("jwt", rules=[source(requestPrincipals=["*"])])
    results = CHECK.ask(snapshot(WEB, REVIEWS, token), CALL)
    assert results[0].causes == ("jwt-missing",) and results[1].verdict is Verdict.NOT_CHECKABLE


def test_values_of_conditions_are_not_told() -> None:
    when = [{"key": "request.headers[x-key]", "values": ["s3cr3t"]}]
    results = CHECK.ask(
        snapshot(WEB, REVIEWS, policy("no", "DENY", rules=[{"when": when}])),
        About(policy="no", policy_namespace="shop"),
    )
    results += CHECK.ask(snapshot(WEB, REVIEWS, policy("a", rules=[{"when": when, **source(namespaces=["x"])}])), CALL)
    assert len(results) == 2 and "s3cr3t" not in str([(r.text, r.proofs) for r in results]) and "x-key" in str(results)


@given(st.lists(st.sampled_from(RULES), max_size=4), st.sampled_from(RULES))
def test_a_further_rule_lets_nobody_less_in(rules: list[dict[str, Any]], more: dict[str, Any]) -> None:
    before, after = (ask(WEB, policy("a", rules=some)).verdict for some in (rules, [*rules, more]))
    order = [Verdict.CONFIRMED, Verdict.NOT_CHECKABLE, Verdict.REFUTED]
    assert order.index(after) >= order.index(before)


def test_names_that_lead_nowhere() -> None:
    account = obj("ServiceAccount", "web", "front")
    spaces = obj("Namespace", "front"), obj("Namespace", "shop")

    def wrong(*principals: str, **fields: Any) -> list[str]:
        rule = source(principals=list(principals), **fields)
        return [
            r.text
            for r in CHECK.ask(snapshot(account, *spaces, policy("p", rules=[rule]), mesh_config("trustDomain: corp")))
        ]

    assert "no service account wep" in wrong("cluster.local/ns/front/sa/wep")[0]
    assert "trust domain of the mesh is corp" in wrong("other/ns/front/sa/web")[0]
    assert "without spiffe://" in wrong("spiffe://corp/ns/front/sa/web")[0]
    assert "no namespace frnt" in wrong("*", namespaces=["frnt"])[0]
    assert wrong("corp/ns/front/sa/web", "cluster.local/ns/front/sa/web", "*/sa/x") == [
        "1 AuthorizationPolicies name what there is"
    ]
    state = snapshot(
        policy("p", rules=[source(principals=["cluster.local/ns/x/sa/y"])]), account, namespaces=frozenset({"front"})
    )
    assert CHECK.ask(state)[0].verdict is Verdict.REFUTED, "what may be elsewhere is not absent"


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(REVIEWS, WEB, namespaces=frozenset({"shop"})), CALL)
    assert result.verdict is Verdict.NOT_CHECKABLE
    target = policy("w", targetRefs=[{"kind": "Service", "name": "reviews"}])
    assert ask(WEB, target).verdict is Verdict.NOT_CHECKABLE
    gateway = pod("gw-6c9dbf6b45-s2fnt", labels={"gateway.networking.k8s.io/gateway-name": "gw"})
    at_gateway = policy("w", targetRefs=[{"kind": "Gateway", "name": "gw"}])
    (result,) = CHECK.ask(snapshot(gateway, at_gateway), About(namespace="shop", workload="gw"))
    assert result.verdict is Verdict.CONFIRMED
