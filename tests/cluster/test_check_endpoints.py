"""The check `endpoints`."""

from __future__ import annotations

from snapshots import deployment, pod, service, snapshot

from meshdiag.cluster import About, Verdict, checks

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
    assert [r.verdict for r in results] == [Verdict.REFUTED, Verdict.CONFIRMED] or [r.verdict for r in results] == [
        Verdict.CONFIRMED,
        Verdict.REFUTED,
    ]
