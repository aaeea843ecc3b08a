"""The check `envoy-filters`."""

from __future__ import annotations

from typing import Any

import pytest
from snapshots import obj, pod, snapshot

from meshdiag.cluster import About, Object, Result, Snapshot, Verdict, checks

CHECK = checks()["envoy-filters"]
ALL = About()
POD = pod("reviews-v1-6c9dbf6b45-s2fnt")
ME = About(namespace="shop", workload="reviews-v1", pod=POD.name)
LIMIT = {
    "name": "x",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"},
}


def _filter(
    value: Any, namespace: str = "", *, context: str = "", operation: str = "INSERT_BEFORE", **spec: Any
) -> Object:
    patch = {"applyTo": "HTTP_FILTER", "patch": {"operation": operation, "value": value}}
    if context:
        patch["match"] = {"context": context}
    return obj("EnvoyFilter", "f", namespace, spec={"configPatches": [patch], **spec})


def _confirmed(state: Snapshot, about: About = ME) -> list[Result]:
    return [r for r in CHECK.ask(state, about) if r.verdict is Verdict.CONFIRMED]


@pytest.mark.parametrize(
    ("value", "causes"),
    [
        (LIMIT, ("rate-limited",)),
        (
            {"name": "envoy.filters.http.lua", "typed_config": {"inlineCode": "function envoy_on_request(h) end"}},
            ("filter-script-error",),
        ),
        (
            {"name": "a", "typed_config": {"inline_code": "h:body()"}},
            ("filter-script-error", "request-too-large", "response-too-large"),
        ),
        ({"typed_config": {"max_request_headers_kb": 96}}, ("request-too-large",)),
        ({"typed_config": {"maxRequestHeadersKb": 96}}, ("request-too-large",)),
        ({"typed_config": {"streamIdleTimeout": "5s"}}, ("stream-idle-timeout",)),
        ({"circuitBreakers": {}}, ("circuit-breaker-open",)),
        ({"upstreamBindConfig": {"sourceAddress": {}}}, ("upstream-bind-failed",)),
        ({"name": "envoy.filters.http.ext_proc"}, ("ext-proc-failed",)),
    ],
)
def test_what_a_filter_touches(value: Any, causes: tuple[str, ...]) -> None:
    (result,) = _confirmed(snapshot(POD, _filter(value)))
    assert result.causes == causes and result.proofs[0].field == "spec.configPatches[0].patch.value"


@pytest.mark.parametrize(
    "other",
    [
        _filter(LIMIT, "other"),
        _filter(LIMIT, context="GATEWAY"),
        _filter(LIMIT, operation="REMOVE"),
        _filter(LIMIT, workloadSelector={"labels": {"app": "ratings"}}),
        _filter(LIMIT, targetRefs=[{"kind": "Gateway", "name": "edge"}]),
        _filter({"name": "envoy.filters.http.grpc_stats"}),
    ],
)
def test_filters_that_are_not_for_this_proxy(other: Object) -> None:
    (result,) = CHECK.ask(snapshot(POD, other), ME)
    assert result.verdict is Verdict.REFUTED and result.causes == ("filter-script-error", "rate-limited")


def test_filters_that_are() -> None:
    for own in (
        _filter(LIMIT, "istio-system"),
        _filter(LIMIT, context="SIDECAR_INBOUND"),
        _filter(LIMIT, workloadSelector={"labels": {"app": "reviews"}}),
    ):
        assert _confirmed(snapshot(POD, own))
    assert _confirmed(snapshot(POD, _filter(LIMIT)), About(source="shop/reviews-v1", host="x.example.com"))


def test_what_no_filter_is_not_enough_to_rule_out() -> None:
    plugin = obj("WasmPlugin", "w", spec={"selector": {"matchLabels": {"app": "reviews"}}})
    for state in (
        snapshot(POD, plugin),
        snapshot(POD, unread={"WasmPlugin": "403"}),
        snapshot(POD, namespaces=frozenset({"shop"})),
    ):
        (result,) = CHECK.ask(state, ME)
        assert result.verdict is Verdict.REFUTED and not result.causes


def test_the_whole_cluster() -> None:
    (result,) = CHECK.ask(snapshot(POD, _filter(LIMIT, workloadSelector={"labels": {"app": "gone"}})))
    assert result.verdict is Verdict.CONFIRMED and "selects no pod" in result.text and not result.causes
    (result,) = CHECK.ask(
        snapshot(POD, _filter(LIMIT, workloadSelector={"labels": {"app": "gone"}}), unread={"Pod": "403"})
    )
    assert result.verdict is Verdict.REFUTED
    (result,) = CHECK.ask(snapshot(POD, _filter(LIMIT)))
    assert result.verdict is Verdict.REFUTED


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(POD, unread={"EnvoyFilter": "403"}), ME)
    assert result.verdict is Verdict.NOT_CHECKABLE
    (result,) = CHECK.ask(snapshot(_filter(LIMIT)), ME)
    assert result.verdict is Verdict.NOT_CHECKABLE
