"""The check `network-policy`."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshots import deployment, istiod, obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Verdict, checks
from meshdiag.cluster.checks.network_policy import OUTSIDE, allowed

CHECK = checks()["network-policy"]
REVIEWS = pod("reviews-6c9dbf6b45-s2fnt")
WEB = pod("web-6c9dbf6b45-s2fnt", "front", ports=(9000,))
DNS = pod("coredns-6c9dbf6b45-s2fnt", "kube-system", proxied=False, labels={"k8s-app": "kube-dns"})
SPACES = tuple(
    obj("Namespace", n, labels={"kubernetes.io/metadata.name": n, "team": n})
    for n in ("shop", "front", "istio-system", "kube-system")
)
FRONT: dict[str, Any] = {"namespaceSelector": {"matchLabels": {"team": "front"}}}
OTHER = {"podSelector": {"matchLabels": {"app": "x"}}}
OWN = About(namespace="shop", workload="reviews", pod=REVIEWS.name)
CALL = About(namespace="front", workload="web", pod=WEB.name, host="reviews.shop.svc.cluster.local", port="80")
EVERY: tuple[Object, ...] = (
    REVIEWS,
    WEB,
    DNS,
    *SPACES,
    *istiod(),
    service("reviews"),
    deployment("web", "front"),
    deployment("reviews"),
)


def policy(name: str = "p", namespace: str = "", **spec: Any) -> Object:
    return obj("NetworkPolicy", name, namespace, spec={"podSelector": {}, **spec})


def ask(*policies: Object, about: About = OWN) -> Any:
    return CHECK.ask(snapshot(*EVERY, *policies), about)


@pytest.mark.parametrize(
    ("spec", "ingress", "egress"),
    [
        ({}, False, True),
        ({"ingress": [{}]}, True, True),
        ({"egress": [{}]}, False, True),
        ({"policyTypes": ["Egress"]}, True, False),
        ({"policyTypes": ["Egress"], "egress": [{"to": [{"podSelector": {}}]}]}, True, False),
        ({"policyTypes": ["Egress"], "egress": [{"to": [{"namespaceSelector": {}}]}]}, True, True),
        ({"policyTypes": ["Egress"], "egress": [{"to": [FRONT]}]}, True, True),
        ({"policyTypes": ["Egress"], "egress": [{"to": [{**FRONT, **OTHER}]}]}, True, False),
        ({"policyTypes": ["Egress"], "egress": [{"to": [FRONT, OTHER]}]}, True, True),
        ({"policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "10.42.0.0/16"}}]}]}, True, None),
        ({"policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "10.42.0.0/16", "except": ["10.42.0.0/24"]}}]}]}, True, False),
        ({"policyTypes": ["Egress"], "egress": [{"to": [{"ipBlock": {"cidr": "nonsense"}}]}]}, True, False),
        ({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": 9000}]}]}, True, True),
        ({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": 9000, "protocol": "UDP"}]}]}, True, False),
        ({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": 8000, "endPort": 9100}]}]}, True, True),
        ({"policyTypes": ["Egress"], "egress": [{"ports": [{"protocol": "TCP"}]}]}, True, True),
        ({"policyTypes": ["Egress"], "egress": [{"ports": [{"port": "http"}]}]}, True, False),
        ({"podSelector": {"matchLabels": {"app": "cart"}}}, True, True),
        ({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}, False, True),
        ({"ingress": [{"from": [FRONT], "ports": [{"port": 9000}]}]}, True, True),
        ({"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "back"}}}]}]}, False, True),
    ],
)  # fmt: skip
def test_the_semantics_are_those_of_kubernetes(spec: dict[str, Any], ingress: bool | None, egress: bool | None) -> None:
    state = snapshot(*EVERY, policy(**spec))
    assert allowed(state, REVIEWS, "Ingress", WEB, 9000) is ingress
    assert allowed(state, REVIEWS, "Egress", WEB, 9000) is egress


def test_rules_of_several_policies_add_up() -> None:
    state = snapshot(*EVERY, policy("deny"), policy("open", ingress=[{"ports": [{"port": 8080}]}]))
    assert (
        allowed(state, REVIEWS, "Ingress", WEB, 8080) is True and allowed(state, REVIEWS, "Ingress", WEB, 81) is False
    )


RULES: list[dict[str, Any]] = [
    {}, {"from": [FRONT]}, {"from": [OTHER]}, {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}, {"ports": [{"port": 9000}]},
    {"ports": [{"port": "http"}]}, {"ports": [{"port": 8000, "endPort": 9999}], "from": [FRONT]},
]  # fmt: skip


@given(
    st.lists(st.sampled_from(RULES), max_size=3),
    st.lists(st.sampled_from(RULES), max_size=3),
    st.sampled_from([WEB, REVIEWS, OUTSIDE, None]),
)
def test_a_further_policy_only_adds(some: list[dict[str, Any]], more: list[dict[str, Any]], peer: Any) -> None:
    order = [False, None, True]
    one, other = policy("a", ingress=some), policy("b", ingress=more)
    before = allowed(snapshot(*SPACES, one), REVIEWS, "Ingress", peer, 9000)
    after = allowed(snapshot(*SPACES, one, other), REVIEWS, "Ingress", peer, 9000)
    assert order.index(after) >= order.index(before)


def test_named_ports_are_those_of_the_target() -> None:
    named = pod("reviews-6c9dbf6b45-s2fnt")
    named.raw["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": 8080}]
    state = snapshot(named, WEB, policy(ingress=[{"ports": [{"port": "http"}]}]))
    assert allowed(state, named, "Ingress", WEB, 8080) is True and allowed(state, named, "Ingress", WEB, 81) is False


def test_who_is_no_pod() -> None:
    some = {"cidr": "203.0.113.0/24"}
    for block, answer in (({"cidr": "0.0.0.0/0"}, True), (some, None)):
        assert (
            allowed(
                snapshot(REVIEWS, policy(ingress=[{"from": [{"ipBlock": block}]}])), REVIEWS, "Ingress", OUTSIDE, 80
            )
            is answer
        )
    state = snapshot(REVIEWS, policy(ingress=[{"from": [{"namespaceSelector": {}}]}]))
    assert allowed(state, REVIEWS, "Ingress", OUTSIDE, 80) is False


def test_a_namespace_whose_labels_are_not_known() -> None:
    state = snapshot(REVIEWS, WEB, policy(ingress=[{"from": [FRONT]}]))
    assert allowed(state, REVIEWS, "Ingress", WEB, 80) is None


def test_egress_that_forgets_istiod_and_dns() -> None:
    results = ask(policy("deny", policyTypes=["Egress"]))
    assert [r.verdict for r in results] == [Verdict.CONFIRMED] * 2
    xds, dns = results
    assert "xds-unreachable" in xds.causes and "15012" in xds.text and "dns-resolution-failed" in dns.causes
    to = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "istio-system"}},
        "podSelector": {"matchLabels": {"app": "istiod"}},
    }
    istiod_rule, dns_rule = xds.edits[0].patch["spec"]["egress"]
    assert istiod_rule == {"to": [to], "ports": [{"protocol": "TCP", "port": 15012}]} and len(dns_rule["ports"]) == 2
    assert xds.edits == dns.edits, "one edit for both, as a second patch would take the first back"
    dns_only = {"ports": [{"port": 53, "protocol": "UDP"}]}
    (only,) = ask(policy("dns", policyTypes=["Egress"], egress=[dns_only]))
    assert "15012" in only.text and only.edits[0].patch["spec"]["egress"][0] == dns_only
    (fine,) = ask(
        policy("dns", policyTypes=["Egress"], egress=[dns_only]),
        policy("x", policyTypes=["Egress"], egress=[{"ports": [{"port": 15012}]}]),
    )
    assert fine.verdict is Verdict.REFUTED and not fine.causes


def test_ingress_to_istiod() -> None:
    closed = policy("lock", "istio-system", ingress=[{"from": [{"podSelector": {}}]}])
    xds = ask(closed)
    assert {c for r in xds for c in r.causes} >= {"xds-unreachable", "injection-webhook-failed"}
    texts = {r.edits[0].title for r in xds}
    assert any("webhook" in t for t in texts)
    open_ = policy("open", "istio-system", ingress=[{"ports": [{"port": 15012}, {"port": 15017}]}])
    (fine,) = ask(closed, open_)
    assert fine.verdict is Verdict.REFUTED
    from_pods = policy("pods", "istio-system", ingress=[{"from": [{"namespaceSelector": {}}]}])
    (hook,) = ask(from_pods)
    assert hook.causes == ("injection-webhook-failed", "validation-webhook-failed"), "the API server is no pod"


def test_the_call() -> None:
    (result,) = ask(policy("lock", ingress=[{"ports": [{"port": 80}]}]), about=CALL)
    assert "upstream-connect-timeout" in result.causes and "port 8080" in result.text, (
        "policies see the port of the pod"
    )
    peer = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "front"}},
        "podSelector": {"matchLabels": {"app": "web"}},
    }
    assert result.edits[0].patch["spec"]["ingress"][1] == {"from": [peer], "ports": [{"protocol": "TCP", "port": 8080}]}
    (fine,) = ask(policy("lock", ingress=[{"ports": [{"port": 8080}]}]), about=CALL)
    assert fine.verdict is Verdict.REFUTED
    other = About(namespace="front", workload="web", pod=WEB.name, host="cart.shop.svc.cluster.local", port="80")
    (fine,) = ask(policy("lock"), about=other)
    assert fine.verdict is Verdict.REFUTED, "a policy about another service confirms nothing"


def test_a_call_out_of_the_cluster() -> None:
    egress: list[dict[str, Any]] = [{"to": [{"namespaceSelector": {}}]}]
    about = About(namespace="front", workload="web", pod=WEB.name, host="api.example.com", port="443")
    (result,) = ask(policy("lock", "front", policyTypes=["Egress"], egress=egress), about=about)
    assert "egress-passthrough-failed" in result.causes and not result.edits
    block = [*egress, {"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}]
    (fine,) = ask(policy("lock", "front", policyTypes=["Egress"], egress=block), about=about)
    assert fine.verdict is Verdict.REFUTED


def test_ambient_sees_another_port() -> None:
    on = {"ambient.istio.io/redirection": "enabled"}
    probe = {"readinessProbe": {"httpGet": {"port": 8080}}}
    server = pod("reviews-6c9dbf6b45-s2fnt", proxied=False, annotations=on)
    server.raw["spec"]["containers"][0].update(probe)
    client = pod("web-6c9dbf6b45-s2fnt", "front", proxied=False, annotations=on)
    lock = policy("lock", ingress=[{"from": [{"namespaceSelector": {}}], "ports": [{"port": 8080}]}])
    state = snapshot(server, client, DNS, *SPACES, *istiod(), service("reviews"), lock)
    results = CHECK.ask(state, CALL)
    assert [r.causes for r in results] == [
        ("ztunnel-upstream-failed", "upstream-connect-timeout", "network-policy-blocked")
    ]
    hbone, probes = CHECK.ask(state, OWN)
    assert hbone.edits == probes.edits
    assert hbone.edits[0].patch["spec"]["ingress"][0]["ports"] == [{"port": 8080}, {"protocol": "TCP", "port": 15008}]
    assert probes.causes[0] == "health-probe-failed"
    assert probes.edits[0].patch["spec"]["ingress"][1] == {"from": [{"ipBlock": {"cidr": "169.254.7.127/32"}}]}


def test_gateways_and_istiod_s_way_to_the_api_server() -> None:
    gateway = pod(
        "gw-6c9dbf6b45-s2fnt", "front", spec={"containers": [{"name": "istio-proxy", "image": "proxyv2:1.28.1"}]}
    )
    state = snapshot(gateway, DNS, *SPACES, *istiod(), policy("web", "front", ingress=[{"ports": [{"port": 8443}]}]))
    (result,) = CHECK.ask(state, About(namespace="front", workload="gw"))
    assert "15021" in result.text
    inside: list[dict[str, Any]] = [{"to": [{"namespaceSelector": {}}]}]
    about = About(namespace="istio-system", workload="istiod")
    results = ask(policy("out", "istio-system", policyTypes=["Egress"], egress=inside), about=about)
    assert "istiod-api-unreachable" in {c for r in results for c in r.causes}


def test_other_resolvers() -> None:
    local = {"to": [{"ipBlock": {"cidr": "169.254.20.10/32"}}], "ports": [{"port": 53, "protocol": "UDP"}]}
    xds = {"ports": [{"port": 15012}]}
    (fine,) = ask(policy("a", policyTypes=["Egress"], egress=[local, xds]))
    assert fine.verdict is Verdict.REFUTED


def test_the_whole_mesh() -> None:
    (fine,) = ask(about=About())
    assert fine.verdict is Verdict.REFUTED and "no NetworkPolicy" in fine.text
    (fine,) = ask(policy("a", ingress=[{}]), about=About())
    assert fine.verdict is Verdict.REFUTED
    more = pod("cart-6c9dbf6b45-s2fnt")
    results = CHECK.ask(snapshot(*EVERY, more, policy("deny", policyTypes=["Egress"])))
    assert len(results) == 2 and all("also reviews" in r.text for r in results)


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(unread={"NetworkPolicy": "403"}), OWN)
    assert result.verdict is Verdict.NOT_CHECKABLE
