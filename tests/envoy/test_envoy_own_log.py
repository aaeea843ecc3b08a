"""meshdiag names the cause of what a real Envoy wrote to its own log when it could not start, or did."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from harness import (
    OWN_LOG_FORMAT,
    Envoy,
    access_logs,
    address,
    bootstrap,
    cluster,
    http_filter,
    listener,
    poll,
    tcp_proxy,
)
from peers import HOST, Identity
from scenarios import HTTP2, SCENARIOS, SPIFFE, Run, Scenario, downstream_tls, http, jwt, lua

from meshdiag import Catalogue, diagnose

LEVELS = ("--component-log-level", "misc:error", "--log-level")

# Istio 1.17 to 1.21 give the format as a flag, 1.22 and later in the bootstrap: there Envoy uses its default format
# until it has read the bootstrap.
STYLES = {
    "flag": ({}, ("--log-format", OWN_LOG_FORMAT, *LEVELS)),
    "bootstrap": ({"application_log_config": {"log_format": {"text_format": OWN_LOG_FORMAT}}}, LEVELS),
}
in_each_style = pytest.mark.parametrize("style", STYLES)


def failures(path: Path, catalogue: Catalogue) -> list[str]:
    return [f.cause for f in diagnose(path, catalogue=catalogue).failures]


@in_each_style
def test_listener_port_in_use(tmp_path: Path, catalogue: Catalogue, style: str) -> None:
    more, arguments = STYLES[style]
    with socket.create_server((HOST, 0)) as taken:
        inbound = {"name": "virtualInbound", "address": address(taken.getsockname()[1]), "filter_chains": [{}]}
        with Envoy(bootstrap([inbound], **more), tmp_path, (*arguments, "warning")) as envoy:
            assert envoy.fails() != 0
    assert failures(envoy.log, catalogue)[:1] == ["proxy-port-conflict"], envoy.log.read_text()


@in_each_style
def test_rejected_bootstrap(tmp_path: Path, catalogue: Catalogue, style: str) -> None:
    more, arguments = STYLES[style]
    with Envoy(bootstrap(no_such_field=1, **more), tmp_path, (*arguments, "warning")) as envoy:
        assert envoy.fails() != 0
    assert failures(envoy.log, catalogue)[:1] == ["proxy-bootstrap-failed"], envoy.log.read_text()


@pytest.mark.parametrize(
    "scenario",
    [
        http("lua-syntax", "xds-config-rejected", filters=[lua("function envoy_on_request(")]),
        http("constraint", "xds-config-rejected", filters=[http_filter("local_ratelimit", "LocalRateLimit")]),
        http("no-keys", "jwks-fetch-failed", filters=[jwt({"local_jwks": {"inline_string": '{"keys": []}'}})]),
    ],
    ids=lambda s: s.name,
)
def test_rejected_configuration(run: Run, catalogue: Catalogue, tmp_path: Path, scenario: Scenario) -> None:
    one, clusters = scenario.build(replace(run.around, logs=tmp_path))
    with Envoy(bootstrap([one], clusters), tmp_path) as envoy:
        assert envoy.fails() != 0
    assert failures(envoy.log, catalogue)[:1] == [scenario.cause], envoy.log.read_text()


def test_key_of_another_certificate(run: Run, catalogue: Catalogue, tmp_path: Path) -> None:
    mesh = run.around.mesh
    mixed = Identity(mesh.issue(SPIFFE).certificate, mesh.issue(SPIFFE).key)
    chain = {
        "filters": [tcp_proxy(access_logs(tmp_path, "gateway"), "inbound|9080||")],
        "transport_socket": downstream_tls(run.around, mixed),
    }
    with Envoy(bootstrap([listener("0.0.0.0_8443", chain, [])]), tmp_path) as envoy:
        assert envoy.fails() != 0
    assert failures(envoy.log, catalogue)[:1] == ["gateway-secret-invalid"], envoy.log.read_text()


def test_istiod_refuses_the_token(run: Run, catalogue: Catalogue, tmp_path: Path) -> None:
    istiod = cluster("xds-grpc", run.around.ports["h2-unauthenticated"], typed_extension_protocol_options=HTTP2)
    ads = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds-grpc"}}],
    }
    source = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    resources = {"ads_config": ads, "lds_config": source, "cds_config": source}
    with Envoy(bootstrap(clusters=[istiod], dynamic_resources=resources), tmp_path) as envoy:
        poll(lambda: "closed: 16" in envoy.log.read_text(), "Envoy did not log the end of its xDS stream")
    assert failures(envoy.log, catalogue)[:1] == ["xds-rejected-identity"], envoy.log.read_text()


def test_script_that_fails_at_run_time(catalogue: Catalogue, tmp_path: Path) -> None:
    scenario = http("script", "filter-script-error", filters=[lua("function envoy_on_request(h) h:nothing() end")])
    run = Run(tmp_path, [scenario])
    try:
        run.log(scenario, "text")
        poll(lambda: "script log" in run.envoy.log.read_text(), "Envoy did not log the error of the script")
    finally:
        run.close()
    assert failures(run.envoy.log, catalogue)[:1] == [scenario.cause], run.envoy.log.read_text()


@in_each_style
def test_ordered_start_and_stop_is_no_failure(tmp_path: Path, catalogue: Catalogue, style: str) -> None:
    more, arguments = STYLES[style]
    with Envoy(bootstrap(**more), tmp_path, (*arguments, "info")) as envoy:
        envoy.ready()
        assert envoy.stop() == 0
    assert "SIGTERM" in envoy.log.read_text()
    assert failures(envoy.log, catalogue) == [], envoy.log.read_text()


def test_start_at_istios_level_is_no_failure(run: Run, catalogue: Catalogue, tmp_path: Path) -> None:
    path = tmp_path / "istio-proxy.log"
    path.write_text(run.start_log)
    assert len(run.envoy.ports) > len(SCENARIOS)
    assert failures(path, catalogue) == [], run.start_log
