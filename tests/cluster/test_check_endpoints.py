"""The check `endpoints`."""

from __future__ import annotations

from snapshots import deployment, obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Verdict, checks

CHECK = checks()["endpoints"]
REVIEWS = About(host="reviews.shop.svc.cluster.local", port="80")


def test_a_selector_that_selects_no_pod() -> None:
    cart = pod("reviews-v1-6c9dbf6b45-s2fnt", labels={"app": "review"})
    (result,) = CHECK.ask(snapshot(service("reviews"), cart), REVIEWS)
    assert result.verdict is Verdict.CONFIRMED
    assert "no-healthy-upstream" in result.causes
    assert [(p.field, p.value) for p in result.proofs] == [
        ("spec.selector", '{"app": "reviews"}'),
        ("metadata.labels", '{"app": "review"}'),
    ]
    (edit,) = result.edits
    assert edit.patch == {"spec": {"selector": {"app": "review"}}} and edit.ref.name == "reviews"


def test_pods_that_are_not_ready() -> None:
    (result,) = CHECK.ask(snapshot(service("reviews"), pod("reviews-v1-6c9dbf6b45-s2fnt", ready=False)), REVIEWS)
    assert result.verdict is Verdict.CONFIRMED and "app is not ready" in result.text


def test_a_workload_that_is_scaled_to_zero() -> None:
    (result,) = CHECK.ask(snapshot(service("reviews"), deployment("reviews", replicas=0)), REVIEWS)
    assert result.verdict is Verdict.CONFIRMED and "scaled to 0" in result.text
    assert result.edits[0].patch == {"spec": {"replicas": 1}}


def test_a_service_that_does_not_exist() -> None:
    (result,) = CHECK.ask(snapshot(service("reviews", "other")), REVIEWS)
    assert result.verdict is Verdict.CONFIRMED and "there is one in other" in result.text


def test_ready_endpoints_refute() -> None:
    (result,) = CHECK.ask(snapshot(service("reviews"), pod("reviews-v1-6c9dbf6b45-s2fnt")), REVIEWS)
    assert result.verdict is Verdict.REFUTED and result.causes == ("no-healthy-upstream",)


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(service("reviews"), unread={"Pod": "403 Forbidden"}), REVIEWS)
    assert result.verdict is Verdict.NOT_CHECKABLE and result.text == "pods: 403 Forbidden"
    (result,) = CHECK.ask(snapshot(), About(host="api.example.com"))
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_the_whole_cluster() -> None:
    good = service("ratings"), pod("ratings-v1-6c9dbf6b45-s2fnt")
    results = CHECK.ask(snapshot(service("reviews"), *good))
    assert {r.verdict: r.text for r in results} == {
        Verdict.CONFIRMED: "service reviews selects no pod of namespace shop",
        Verdict.REFUTED: "1 services have ready endpoints",
    }


def _slice(name: str, *ready: bool) -> Object:
    return obj(
        "EndpointSlice",
        f"{name}-abcde",
        labels={"kubernetes.io/service-name": name},
        endpoints=[{"addresses": [f"10.42.0.{i}"], "conditions": {"ready": r}} for i, r in enumerate(ready)],
    )


def test_ready_pods_that_are_in_no_endpoint_slice() -> None:
    objects = service("reviews"), pod("reviews-v1-6c9dbf6b45-s2fnt")
    (result,) = CHECK.ask(snapshot(*objects, _slice("reviews", False)), REVIEWS)
    assert result.verdict is Verdict.CONFIRMED and "no ready endpoint, although pods are ready" in result.text
    (result,) = CHECK.ask(snapshot(*objects, _slice("reviews", False, True)), REVIEWS)
    assert result.verdict is Verdict.REFUTED


def test_pods_that_are_published_before_they_are_ready_are_endpoints() -> None:
    objects = service("reviews"), pod("reviews-v1-6c9dbf6b45-s2fnt", ready=False), _slice("reviews", True)
    assert all(r.verdict is Verdict.REFUTED and not r.causes for r in CHECK.ask(snapshot(*objects), REVIEWS))


def test_pods_that_are_over_or_going_are_no_endpoints() -> None:
    ended = pod("reviews-v1-6c9dbf6b45-s2fnt", status={"phase": "Succeeded"})
    (result,) = CHECK.ask(snapshot(service("reviews"), ended), REVIEWS)
    assert result.verdict is Verdict.CONFIRMED
    going = pod("reviews-v1-6c9dbf6b45-s2fnt")
    going.raw["metadata"]["deletionTimestamp"] = "2026-11-22T11:59:00Z"  # type: ignore[index]
    (result,) = CHECK.ask(snapshot(service("reviews"), going), REVIEWS)
    assert result.verdict is Verdict.CONFIRMED and result.proofs[1].field == "metadata.deletionTimestamp"


def test_other_reasons_for_no_healthy_upstream_are_not_refuted_by_ready_pods() -> None:
    objects = service("reviews"), pod("reviews-v1-6c9dbf6b45-s2fnt")
    rule = obj("DestinationRule", "reviews", spec={"host": "reviews", "trafficPolicy": {"outlierDetection": {}}})
    (result,) = CHECK.ask(snapshot(*objects, rule), REVIEWS)
    assert result.verdict is Verdict.REFUTED and not result.causes
    about = About(host="reviews.shop.svc.cluster.local", subset="v2")
    (result,) = CHECK.ask(snapshot(*objects), about)
    assert result.verdict is Verdict.REFUTED and not result.causes
    (result,) = CHECK.ask(snapshot(*objects, unread={"DestinationRule": "403"}), REVIEWS)
    assert result.verdict is Verdict.REFUTED and not result.causes


def test_a_service_without_selector() -> None:
    bare = obj("Service", "legacy", spec={"ports": [{"port": 80}]})
    about = About(host="legacy.shop.svc.cluster.local")
    (result,) = CHECK.ask(snapshot(bare, _slice("other", True)), about)
    assert result.verdict is Verdict.CONFIRMED and "no EndpointSlice" in result.text
    (result,) = CHECK.ask(snapshot(bare, _slice("legacy", True)), about)
    assert result.verdict is Verdict.NOT_CHECKABLE
    (result,) = CHECK.ask(snapshot(bare), about)
    assert result.verdict is Verdict.NOT_CHECKABLE, "a capture without any slice proves nothing"
    outside = obj("Service", "legacy", spec={"type": "ExternalName", "externalName": "db.example.com"})
    (result,) = CHECK.ask(snapshot(outside, _slice("other", True)), about)
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_what_else_may_stand_behind_a_host() -> None:
    entry = obj("ServiceEntry", "vm", spec={"hosts": ["vm.shop.svc.cluster.local"]})
    (result,) = CHECK.ask(snapshot(entry), About(host="vm.shop.svc.cluster.local"))
    assert result.verdict is Verdict.NOT_CHECKABLE and result.about == entry.ref
    (result,) = CHECK.ask(snapshot(namespaces=frozenset({"other"})), REVIEWS)
    assert result.verdict is Verdict.NOT_CHECKABLE and "namespace shop was not read" in result.text
    remote = obj("Secret", "istio-remote-secret-west", "istio-system", labels={"istio/multiCluster": "true"})
    (result,) = CHECK.ask(snapshot(remote), REVIEWS)
    assert result.verdict is Verdict.NOT_CHECKABLE and "remote cluster" in result.text
    virtual = obj("WorkloadEntry", "vm-1", spec={"address": "10.0.0.1", "labels": {"app": "reviews"}})
    (result,) = CHECK.ask(snapshot(service("reviews"), virtual), REVIEWS)
    assert result.verdict is Verdict.REFUTED and not result.causes
    (result,) = CHECK.ask(snapshot(), About(host="reviews"))
    assert result.verdict is Verdict.NOT_CHECKABLE, "in which namespace is not known"


def test_a_selector_is_only_corrected_when_nothing_is_guessed() -> None:
    one = pod("reviews-v1-6c9dbf6b45-s2fnt", labels={"app": "review"})
    other = pod("reviews-v2-7d4f8b6c9d-x2lq9", labels={"app": "rev"})
    (result,) = CHECK.ask(snapshot(service("reviews"), one, other), REVIEWS)
    assert result.verdict is Verdict.CONFIRMED and not result.edits
    (result,) = CHECK.ask(snapshot(service("reviews"), pod("reviews-v1-6c9dbf6b45-s2fnt", labels={"k": "v"})), REVIEWS)
    assert result.verdict is Verdict.CONFIRMED and not result.edits


def test_a_workload_whose_pods_cannot_be_created() -> None:
    failed = deployment("reviews")
    failed.raw["status"]["conditions"] = [  # type: ignore[index]
        {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: compute"}
    ]
    (result,) = CHECK.ask(snapshot(service("reviews"), failed), REVIEWS)
    assert result.verdict is Verdict.CONFIRMED and "exceeded quota" in result.text and not result.edits


def test_malformed_objects_do_no_harm() -> None:
    broken = obj("Service", "reviews", spec={"selector": ["x"], "ports": "no"})
    odd = obj("Pod", "reviews-1", spec=7, status={"containerStatuses": [1, {"ready": False, "state": 3}]})
    odd.raw["metadata"]["labels"] = {"app": 5}  # type: ignore[index]
    assert CHECK.ask(snapshot(broken, odd), REVIEWS)
    assert CHECK.ask(snapshot(service("reviews"), odd))


def test_pods_that_became_ready_just_now_rule_nothing_out() -> None:
    for since, causes in (("2026-11-22T11:50:00Z", ()), ("2026-11-22T10:00:00Z", ("no-healthy-upstream",))):
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": since}]
        state = snapshot(service("reviews"), pod("reviews-v1-6c9dbf6b45-s2fnt", status={"conditions": conditions}))
        (result,) = CHECK.ask(state, REVIEWS)
        assert result.verdict is Verdict.REFUTED and result.causes == causes
