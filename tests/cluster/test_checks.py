"""What holds for every check: it is named, it needs kinds that there are, it never raises, whatever the objects say."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from snapshots import deployment, istiod, mesh_config, obj, pod, service, snapshot

from meshdiag.catalogue import Catalogue
from meshdiag.cluster import About, Object, Snapshot, Verdict, checks, worst
from meshdiag.cluster.edits import remedy_of
from meshdiag.cluster.objects import RESOURCES
from meshdiag.cluster.survey import everything, survey
from meshdiag.views.survey import markdown, render

HERE = Path(__file__).resolve().parent
NAMES = sorted(checks())


@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_it_says(name: str) -> None:
    check = checks()[name]
    assert check.asks.endswith("?") and set(check.kinds) <= set(RESOURCES)
    assert (HERE / f"test_check_{name.replace('-', '_')}.py").exists(), "each has tests of its own"


def test_causes_name_checks_that_there_are(catalogue: Catalogue) -> None:
    named = {c for cause in catalogue.causes.values() for c in cause.checks}
    assert named <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_unread_is_not_checkable(name: str) -> None:
    check = checks()[name]
    for kind in check.kinds:
        results = check.ask(snapshot(unread={kind: "forbidden"}))
        assert [(r.verdict, "forbidden" in r.text) for r in results] == [(Verdict.NOT_CHECKABLE, True)]


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_cluster_confirms_nothing_about_applications(name: str) -> None:
    assert checks()[name].ask(snapshot())
    assert checks()[name].ask(snapshot(), ABOUT)


ABOUT = About(
    namespace="shop", workload="reviews", pod="reviews-6c9dbf6b45-s2fnt", container="istio-proxy", service="reviews",
    service_namespace="shop", host="reviews.shop.svc.cluster.local", port="80", subset="v1", source="shop/web", policy="allow",
    policy_namespace="shop", gateway="public", secret="tls", node="node-1", name="reviews",
)  # fmt: skip

RULE = {
    "host": "reviews",
    "trafficPolicy": {"tls": {"mode": "DISABLE"}},
    "subsets": [{"name": "v1", "labels": {"version": "v1"}}],
}
ROUTE = {
    "match": [{"uri": {"prefix": "/"}}],
    "route": [{"destination": {"host": "reviews", "subset": "v1", "port": {"number": 80}}}],
}
SERVER = {
    "port": {"number": 443, "name": "https", "protocol": "HTTPS"},
    "hosts": ["*"],
    "tls": {"mode": "SIMPLE", "credentialName": "tls"},
}
HOOK = {
    "name": "namespace.sidecar-injector.istio.io", "failurePolicy": "Fail",
    "namespaceSelector": {"matchLabels": {"istio-injection": "enabled"}},
    "clientConfig": {"caBundle": "LS0t", "service": {"name": "istiod", "namespace": "istio-system", "path": "/inject", "port": 443}},
}  # fmt: skip

MESH: tuple[Object, ...] = (
    *istiod(),
    service("istiod", "istio-system", port=15012, target=15012),
    obj("Namespace", "shop", labels={"istio-injection": "enabled"}),
    obj("Node", "node-1", status={"allocatable": {"cpu": "2", "memory": "4Gi"}, "conditions": [{"type": "Ready", "status": "True"}]}),
    service("reviews"),
    deployment("reviews"),
    pod("reviews-6c9dbf6b45-s2fnt"),
    pod("web-6c9dbf6b45-s2fnt", native=True),
    pod("istio-ingressgateway-6c9dbf6b45-s2fnt", "istio-system", labels={"istio": "ingressgateway"}),
    obj("EndpointSlice", "reviews-x", labels={"kubernetes.io/service-name": "reviews"},
        endpoints=[{"addresses": ["10.42.0.7"], "conditions": {"ready": True}}], ports=[{"port": 8080}]),
    mesh_config("outboundTrafficPolicy:\n  mode: REGISTRY_ONLY\nextensionProviders:\n- name: p\n"),
    obj("DestinationRule", "reviews", spec=RULE),
    obj("VirtualService", "reviews", spec={"hosts": ["reviews"], "http": [ROUTE, ROUTE]}),
    obj("Gateway", "public", spec={"selector": {"istio": "ingressgateway"}, "servers": [SERVER]}),
    obj("ServiceEntry", "api", spec={"hosts": ["api.example.com"], "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}]}),
    obj("Sidecar", "default", spec={"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}, "egress": [{"hosts": ["./*"]}]}),
    obj("EnvoyFilter", "lua", spec={"configPatches": [{"applyTo": "HTTP_FILTER", "patch": {"value": {"name": "envoy.lua"}}}]}),
    obj("PeerAuthentication", "default", "istio-system", spec={"mtls": {"mode": "STRICT"}, "portLevelMtls": {"8080": {"mode": "DISABLE"}}}),
    obj("RequestAuthentication", "jwt", spec={"jwtRules": [{"issuer": "https://i", "jwksUri": "https://i/jwks"}]}),
    obj("AuthorizationPolicy", "allow", spec={"action": "ALLOW", "rules": [{"from": [{"source": {"principals": ["x"]}}]}]}),
    obj("NetworkPolicy", "deny", spec={"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "egress": [{"ports": [{"port": 53}]}]}),
    obj("MutatingWebhookConfiguration", "istio-sidecar-injector", webhooks=[HOOK]),
    obj("ValidatingWebhookConfiguration", "istio-validator-istio-system", webhooks=[HOOK]),
    obj("Secret", "tls", type="kubernetes.io/tls", data={"tls.crt": "LS0t", "tls.key": "meshdiag:key-matches"}),
    obj("Event", "e", reason="Unhealthy", involvedObject={"kind": "Pod", "namespace": "shop", "name": "reviews-6c9dbf6b45-s2fnt"}),
    obj("KubernetesGateway", "waypoint", spec={"gatewayClassName": "istio-waypoint", "listeners": [{"name": "mesh", "port": 15008}]}),
    obj("HTTPRoute", "r", spec={"parentRefs": [{"name": "waypoint"}], "rules": [{"backendRefs": [{"name": "reviews", "port": 80}]}]}),
    obj("DaemonSet", "ztunnel", "istio-system", labels={"app": "ztunnel"}, status={"desiredNumberScheduled": 1, "numberReady": 0}),
    obj("DaemonSet", "istio-cni-node", "istio-system", labels={"k8s-app": "istio-cni-node"}, status={"desiredNumberScheduled": 1}),
    obj("ServiceAccount", "default"),
    obj("ClusterRole", "istiod-clusterrole-istio-system", rules=[{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]),
)  # fmt: skip


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in JSON."""
    yield at
    if isinstance(value, dict):
        for k, v in value.items():
            yield from paths(v, (*at, k))
    elif isinstance(value, list):
        for i, v in enumerate(value):
            yield from paths(v, (*at, i))


PLACES = [(i, p) for i, o in enumerate(MESH) for p in paths(o.raw) if p and p[0] not in ("apiVersion", "kind")]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 1 << 40) | st.floats(allow_nan=False) | st.text(max_size=4)
    | st.sampled_from(["*", "STRICT", "", "1e3", "2026-11-22T10:00:00Z", "\x1b[31m", "x" * 300, "100m", "[::1]:80"]),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3) | st.sampled_from(["name", "host", "mode"]), v, max_size=3),
    max_leaves=5,
)  # fmt: skip


def broken(changes: list[tuple[int, Any]]) -> Snapshot:
    """The mesh with junk in some places."""
    raws = [copy.deepcopy(dict(o.raw)) for o in MESH]
    for number, junk in changes:
        i, path = PLACES[number % len(PLACES)]
        at: Any = raws[i]
        try:
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = junk
        except (TypeError, KeyError, IndexError):
            continue  # an earlier change took the place away
    return snapshot(*(Object(o.ref, raw) for o, raw in zip(MESH, raws, strict=True)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 1 << 20), JUNK), min_size=1, max_size=12))
def test_junk_raises_nothing_and_is_shown_safely(changes: list[tuple[int, Any]]) -> None:
    state = broken(changes)
    found = survey(state, everything())
    asked = [r for c in checks().values() for r in c.ask(state, ABOUT)]
    text = render(found, verbose=True) + markdown(found)
    assert "\x1b" not in text
    json.dumps(found.to_dict())
    for result in worst(asked):
        json.dumps(result.to_dict())
        for edit in result.edits:
            remedy_of(edit, state)


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries(
        {}, optional={f.name: st.sampled_from(["", "x", "shop", "reviews", "80"]) for f in fields(About)}
    )
)
def test_any_question_is_answered(names: dict[str, str]) -> None:
    state = snapshot(*MESH)
    assert all(c.ask(state, About(**names)) for c in checks().values())


def test_the_same_state_gives_the_same_answers() -> None:
    one = survey(snapshot(*MESH), everything()).to_dict()
    assert one == survey(snapshot(*reversed(MESH)), everything()).to_dict()


def test_no_secret_is_told() -> None:
    state = snapshot(
        *MESH, obj("Secret", "cacerts", "istio-system", data={"ca-key.pem": "c2VjcmV0LWtleQ==", "ca-cert.pem": "LS0t"})
    )
    assert "c2VjcmV0LWtleQ" not in json.dumps(survey(state, everything()).to_dict())
