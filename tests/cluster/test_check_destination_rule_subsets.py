"""The check `destination-rule-subsets`."""

from __future__ import annotations

from typing import Any

from snapshots import obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Result, Snapshot, Verdict, checks

CHECK = checks()["destination-rule-subsets"]
HOST = "reviews.shop.svc.cluster.local"
ALL = About()
V3 = About(host=HOST, port="80", subset="v3", namespace="shop", source="shop/web")


def _rule(*versions: str, namespace: str = "", host: str = "reviews", **spec: Any) -> Object:
    subsets = [{"name": v, "labels": {"version": v}} for v in versions]
    return obj(
        "DestinationRule", f"reviews-{namespace or 'shop'}", namespace, spec={"host": host, "subsets": subsets, **spec}
    )


def _route(*subsets: str, namespace: str = "", **spec: Any) -> Object:
    routes = [{"destination": {"host": HOST, "subset": s}} for s in subsets]
    return obj("VirtualService", "reviews", namespace, spec={"hosts": [HOST], "http": [{"route": routes}], **spec})


def _pod(version: str, *, ready: bool = True) -> Object:
    labels = {"app": "reviews", "version": version}
    return pod(f"reviews-{version}-6c9dbf6b45-s2fnt", labels=labels, ready=ready)


def _confirmed(state: Snapshot, about: About = ALL) -> list[Result]:
    return [r for r in CHECK.ask(state, about) if r.verdict is Verdict.CONFIRMED]


PODS = service("reviews"), _pod("v1"), _pod("v2")


def test_a_subset_whose_labels_fit_no_pod() -> None:
    for about in (V3, About()):
        (result,) = _confirmed(snapshot(*PODS, _rule("v1", "v3")), about)
        assert result.causes == ("no-healthy-upstream", "retry-limit-exceeded")
        assert result.proofs[0].field == "spec.subsets[1].labels" and result.proofs[0].value == '{"version": "v3"}'
        assert '{"version": "v1"}, {"version": "v2"}' in result.text


def test_a_subset_that_contradicts_the_selector() -> None:
    rule = obj(
        "DestinationRule", "r", spec={"host": "reviews", "subsets": [{"name": "v3", "labels": {"app": "other"}}]}
    )
    assert _confirmed(snapshot(*PODS, pod("other-1-2", labels={"app": "other"}), rule), V3)


def test_a_subset_with_no_ready_pod() -> None:
    (result,) = _confirmed(snapshot(*PODS, _pod("v3", ready=False), _rule("v3")), V3)
    assert "none of the 1 pods of subset v3" in result.text


def test_a_subset_that_is_defined_and_has_pods() -> None:
    (result,) = CHECK.ask(snapshot(*PODS, _pod("v3"), _rule("v3")), V3)
    assert result.verdict is Verdict.REFUTED and result.causes == ("cluster-not-found",)
    (result,) = CHECK.ask(snapshot(*PODS, _pod("v3"), _rule("v3")), About(host=HOST, subset="v3"))
    assert result.verdict is Verdict.REFUTED and not result.causes, "which client is not known"
    entry = obj("WorkloadEntry", "vm", spec={"labels": {"app": "reviews", "version": "v3"}})
    assert not _confirmed(snapshot(*PODS, entry, _rule("v3")), V3)


def test_a_subset_that_no_rule_defines() -> None:
    (result,) = _confirmed(snapshot(*PODS, _pod("v3"), _rule("v1", "v2"), _route("v1", "v3")))
    assert result.causes == ("cluster-not-found",)
    assert result.proofs[0].field == "spec.http[0].route[1].destination.subset" and result.proofs[0].value == "v3"
    (edit,) = result.edits
    assert edit.ref == _rule("v1").ref
    assert edit.patch == {"spec": {"subsets": [{"name": v, "labels": {"version": v}} for v in ("v1", "v2", "v3")]}}


def test_nothing_is_added_that_no_pod_has_or_that_the_rule_does_otherwise() -> None:
    (result,) = _confirmed(snapshot(*PODS, _rule("v1", "v2"), _route("v3")))
    assert not result.edits
    odd = {"host": "reviews", "subsets": [{"name": "old", "labels": {"version": "v1"}}]}
    (result,) = _confirmed(snapshot(*PODS, _pod("v3"), obj("DestinationRule", "reviews", spec=odd), _route("v3")))
    assert not result.edits
    (result,) = _confirmed(snapshot(*PODS, _pod("v3"), _route("v3")))
    assert not result.edits and "no DestinationRule of the host defines subsets" in result.text


def test_the_rule_of_the_clients_namespace_comes_first() -> None:
    client = About(host=HOST, subset="v2", namespace="web", source="web/front")
    state = snapshot(*PODS, _rule("v1", "v2"), _rule("v1", namespace="web", host=HOST))
    (result,) = _confirmed(state, client)
    assert "comes first for clients in web" in result.text and not result.edits
    assert not _confirmed(state, About(host=HOST, subset="v2", namespace="shop", source="shop/web"))


def test_a_rule_that_is_not_exported_to_the_client() -> None:
    client = About(host=HOST, subset="v2", namespace="web", source="web/front")
    (result,) = _confirmed(snapshot(*PODS, _rule("v2", exportTo=["."])), client)
    assert "does not hold for clients in web" in result.text
    assert not _confirmed(snapshot(*PODS, _rule("v2", exportTo=["web"])), client)


def test_the_routes_of_a_gateway_whose_line_does_not_say_the_host() -> None:
    gateway = pod("ingress-77f5b6c9d8-m6x2v", "istio-system", labels={"istio": "ingress"})
    gateway.raw["spec"]["containers"] = [{"name": "istio-proxy"}]
    server = obj("Gateway", "public", spec={"selector": {"istio": "ingress"}})
    about = About(namespace="istio-system", workload="ingress", pod=gateway.name)
    objects = *PODS, gateway, server, _rule("v1")
    (result,) = _confirmed(snapshot(*objects, _route("v3", gateways=["public"])), about)
    assert result.causes == ("cluster-not-found",)
    assert not _confirmed(snapshot(*objects, _route("v3")), about), "it is not bound to this gateway"
    (result,) = CHECK.ask(snapshot(*objects, _route("v1", gateways=["shop/public"])), about)
    assert result.verdict is Verdict.REFUTED and not result.causes


def test_a_rule_for_a_host_that_does_not_exist() -> None:
    (result,) = _confirmed(snapshot(*PODS, _rule("v1", namespace="web")))
    assert result.causes == ("config-reference-missing",) and "a service reviews is in shop" in result.text
    assert not _confirmed(snapshot(*PODS, _rule("v1", host="*.local")))
    entry = obj("ServiceEntry", "api", spec={"hosts": ["*.example.com"]})
    assert not _confirmed(snapshot(entry, _rule(host="api.example.com")))
    (result,) = CHECK.ask(snapshot(_rule(host="api.example.com"), unread={"ServiceEntry": "403"}))
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_pods_of_other_clusters() -> None:
    remote = obj("Secret", "west", "istio-system", labels={"istio/multiCluster": "true"})
    (result,) = CHECK.ask(snapshot(*PODS, remote, _rule("v3")), V3)
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_not_checkable_and_malformed() -> None:
    (result,) = CHECK.ask(snapshot(*PODS, unread={"DestinationRule": "not installed"}), V3)
    assert result.verdict is Verdict.NOT_CHECKABLE
    odd = obj("DestinationRule", "odd", spec={"host": 7, "subsets": [1, {"name": [], "labels": "x"}]})
    route = obj("VirtualService", "odd", spec={"http": [{"route": [{"destination": []}, 3], "mirror": 1}], "tcp": {}})
    (result,) = CHECK.ask(snapshot(odd, route))
    assert result.verdict is Verdict.REFUTED


def test_a_finding_that_only_names_the_rule() -> None:
    state = snapshot(*PODS, _rule("v1", namespace="web"), _rule("v1", namespace="other"))
    (result,) = _confirmed(state, About(namespace="web", name="reviews-web"))
    assert result.causes == ("config-reference-missing",) and result.about == _rule(namespace="web").ref
    (result,) = CHECK.ask(state, About(namespace="web", name="ratings"))
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_an_empty_subset_says_nothing_of_a_call_without_subset() -> None:
    about = About(host=HOST, port="80", namespace="shop", source="shop/web")
    assert not _confirmed(snapshot(*PODS, _rule("v1", "v3")), about)
    (result,) = _confirmed(snapshot(*PODS, pod("web-6c9dbf6b45-s2fnt"), _rule("v1"), _route("v3")), about)
    assert result.causes == ("cluster-not-found",)
