"""The check `service-ports`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from snapshots import istiod, obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Result, Snapshot, Verdict, checks
from meshdiag.cluster.checks.service_ports import protocol

CHECK = checks()["service-ports"]
REVIEWS = About(host="reviews.shop.svc.cluster.local", port="80")
NAME = "reviews-v1-6c9dbf6b45-s2fnt"


def _app(port: int = 8080, *, name: str = "", image: str = "example.com/app:1", **container: Any) -> Object:
    ports = [{"containerPort": port} | ({"name": name} if name else {})]
    return pod(NAME, spec={"containers": [{"name": "app", "image": image, "ports": ports, **container}]})


def _bad(state: Snapshot, about: About = REVIEWS) -> Result:
    (result,) = [r for r in CHECK.ask(state, about) if r.verdict is Verdict.CONFIRMED]
    return result


def test_a_target_port_that_no_container_declares() -> None:
    result = _bad(snapshot(service("reviews", target=9080), _app()))
    assert result.causes == ("upstream-connection-refused",)
    assert [(p.field, p.value) for p in result.proofs] == [
        ("spec.ports[0].targetPort", "9080"),
        ("spec.containers[*].ports[*].containerPort", "8080"),
    ]
    (edit,) = result.edits
    assert edit.patch == {"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]}}


def test_the_refused_port_of_an_inbound_cluster() -> None:
    state = snapshot(service("reviews", target=9080), _app())
    about = About(namespace="shop", workload="reviews-v1", pod=NAME, port="9080")
    assert "leads to port 9080" in _bad(state, about).text
    (result,) = CHECK.ask(state, About(namespace="shop", workload="reviews-v1", pod=NAME, port="7070"))
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_a_declaration_opens_nothing_so_that_its_absence_proves_nothing() -> None:
    silent = pod(NAME, ports=())
    (result,) = CHECK.ask(snapshot(service("reviews", target=9080), silent), REVIEWS)
    assert result.verdict is Verdict.REFUTED and not result.causes
    probed = _app(readinessProbe={"httpGet": {"port": 9080}})
    (result,) = CHECK.ask(snapshot(service("reviews", target=9080), probed), REVIEWS)
    assert result.verdict is Verdict.REFUTED, "something answers probes there"


def test_a_named_target_port_that_no_container_has() -> None:
    result = _bad(snapshot(service("reviews", target="web"), _app(name="http")))
    assert result.causes == ("no-healthy-upstream",)
    assert result.edits[0].patch["spec"]["ports"][0]["targetPort"] == 8080
    assert not [
        r
        for r in CHECK.ask(snapshot(service("reviews", target="http"), _app(name="http")), REVIEWS)
        if r.verdict is Verdict.CONFIRMED
    ]


def test_no_edit_where_there_is_something_to_choose() -> None:
    two = pod(NAME, ports=(8080, 8081))
    assert not _bad(snapshot(service("reviews", target=9080), two)).edits
    ports = [{"name": "http", "port": 80, "targetPort": 9080}, {"name": "http-admin", "port": 81, "targetPort": 8080}]
    assert not _bad(snapshot(service("reviews", spec={"ports": ports}), _app())).edits


def test_a_port_that_the_service_does_not_have() -> None:
    result = _bad(
        snapshot(service("reviews"), _app()), About(namespace="web", host="reviews.shop.svc.cluster.local", port="9999")
    )
    assert result.causes == ("egress-passthrough-failed", "egress-blocked") and "no port 9999" in result.text


@pytest.mark.parametrize(
    ("declared", "app", "speaks"),
    [
        ({"name": "http"}, _app(readinessProbe={"httpGet": {"port": 8080, "scheme": "HTTPS"}}), "https"),
        ({"name": "https"}, _app(livenessProbe={"httpGet": {"port": 8080}}), "http"),
        ({"name": "http"}, _app(readinessProbe={"grpc": {"port": 8080}}), "grpc"),
        (
            {"name": "tls-x", "appProtocol": "http"},
            _app(startupProbe={"httpGet": {"port": 8080, "scheme": "HTTPS"}}),
            "https",
        ),
    ],
)
def test_probes_contradict_the_protocol(declared: dict[str, str], app: Object, speaks: str) -> None:
    ports = [{**declared, "port": 80, "targetPort": 8080}]
    result = _bad(snapshot(service("reviews", spec={"ports": ports}), app))
    assert result.causes == ("protocol-mismatch",) and f"speaks {speaks}" in result.text
    assert result.edits[0].patch == {"spec": {"ports": [{**ports[0], "appProtocol": speaks}]}}


def test_a_database_behind_http() -> None:
    app = _app(5432, image="docker.io/bitnami/postgresql:16@sha256:0")
    result = _bad(snapshot(service("reviews", target=5432), app))
    assert result.causes == ("protocol-mismatch",) and "speaks tcp" in result.text
    other = _app(8080, image="docker.io/bitnami/postgresql:16")
    assert all(r.verdict is Verdict.REFUTED for r in CHECK.ask(snapshot(service("reviews"), other), REVIEWS))


def test_the_name_of_a_container_port_contradicts_without_an_edit() -> None:
    result = _bad(snapshot(service("reviews", target="https"), _app(8443, name="https")))
    assert result.causes == ("protocol-mismatch",) and not result.edits


def test_probes_that_the_injector_moved() -> None:
    moved = {"/app-health/app/readyz": {"httpGet": {"path": "/", "port": 8080, "scheme": "HTTPS"}}}
    own = {"name": "istio-proxy", "env": [{"name": "ISTIO_KUBE_APP_PROBERS", "value": json.dumps(moved)}]}
    app = pod(NAME, spec={"containers": [{"name": "app", "ports": [{"containerPort": 8080}]}, own]})
    assert "speaks https" in _bad(snapshot(service("reviews"), app)).text
    own["env"] = [{"name": "ISTIO_KUBE_APP_PROBERS", "value": "{" + "[" * 5000}]
    assert CHECK.ask(snapshot(service("reviews"), app), REVIEWS)


def test_a_server_of_both_versions_of_http_is_right() -> None:
    ports = [{"name": "grpc", "port": 80, "targetPort": 8080}]
    app = _app(readinessProbe={"httpGet": {"port": 8080}})
    assert all(
        r.verdict is Verdict.REFUTED
        for r in CHECK.ask(snapshot(service("reviews", spec={"ports": ports}), app), REVIEWS)
    )


def test_the_whole_cluster() -> None:
    wrong = service("reviews", target=9080), _app()
    ports = [{"name": "main", "port": 80, "targetPort": 8080}]
    unnamed = service("ratings", spec={"ports": ports}), pod("ratings-v1-6c9dbf6b45-s2fnt")
    results = CHECK.ask(snapshot(*wrong, *unnamed, *istiod(), service("istiod", "istio-system", target=1)))
    assert [(r.verdict, r.causes) for r in results] == [
        (Verdict.CONFIRMED, ("upstream-connection-refused",)),
        (Verdict.CONFIRMED, ()),
        (Verdict.REFUTED, ()),
    ]
    assert "ratings:80" in results[1].text and results[1].severity.value == "info"


def test_two_services_with_two_protocols_for_one_port() -> None:
    other = obj(
        "Service",
        "reviews-raw",
        spec={"selector": {"app": "reviews"}, "ports": [{"name": "tcp", "port": 80, "targetPort": 8080}]},
    )
    results = [r for r in CHECK.ask(snapshot(service("reviews"), other, _app())) if r.verdict is Verdict.CONFIRMED]
    assert len(results) == 1 and "is http for service reviews and tcp for reviews-raw" in results[0].text


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(service("reviews"), unread={"Pod": "403 Forbidden"}), REVIEWS)
    assert result.verdict is Verdict.NOT_CHECKABLE
    (result,) = CHECK.ask(snapshot(), About(host="api.example.com", port="443"))
    assert result.verdict is Verdict.NOT_CHECKABLE


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ({"name": "http"}, "http"),
        ({"name": "HTTP-web"}, "http"),
        ({"name": "grpc-web-x"}, "grpc-web"),
        ({"name": "grpc-api"}, "grpc"),
        ({"name": "web"}, ""),
        ({"name": "httpx"}, ""),
        ({"name": "tcp", "appProtocol": "kubernetes.io/h2c"}, "http2"),
        ({"name": "http", "appProtocol": "postgresql"}, ""),
        ({"name": "x", "port": 3306}, "tcp"),
        ({"name": "http", "protocol": "UDP"}, "udp"),
        ({"name": 7}, ""),
    ],
)
def test_the_protocol_as_istio_takes_it(port: dict[str, Any], expected: str) -> None:
    assert protocol(port) == expected


def test_malformed_objects_do_no_harm() -> None:
    for ports in ("x", [7, {"port": "80"}, {"port": 80, "targetPort": {}}, {"port": 1, "targetPort": []}]):
        odd = obj("Service", "reviews", spec={"selector": {"app": "reviews"}, "ports": ports})
        assert CHECK.ask(snapshot(odd, _app()), REVIEWS)
        assert CHECK.ask(snapshot(odd, _app()))
