"""meshdiag names the cause of what a real Envoy wrote to its own log when it could not start, or did."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from harness import OWN_LOG_FORMAT, Envoy, address, bootstrap
from peers import HOST
from scenarios import SCENARIOS, Run

from meshdiag import Catalogue, diagnose

LEVELS = ("-l", "warning", "--component-log-level", "misc:error")

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
        listener = {
            "name": "virtualInbound",
            "address": address(taken.getsockname()[1]),
            "filter_chains": [{"filters": []}],
        }
        with Envoy(bootstrap([listener], **more), tmp_path, arguments) as envoy:
            assert envoy.fails() != 0
    assert failures(envoy.log, catalogue)[:1] == ["proxy-port-conflict"], envoy.log.read_text()


@in_each_style
def test_rejected_bootstrap(tmp_path: Path, catalogue: Catalogue, style: str) -> None:
    more, arguments = STYLES[style]
    with Envoy(bootstrap(no_such_field=1, **more), tmp_path, arguments) as envoy:
        assert envoy.fails() != 0
    assert failures(envoy.log, catalogue)[:1] == ["proxy-bootstrap-failed"], envoy.log.read_text()


@in_each_style
def test_ordered_start_and_stop_is_no_failure(tmp_path: Path, catalogue: Catalogue, style: str) -> None:
    more, arguments = STYLES[style]
    with Envoy(bootstrap(**more), tmp_path, (*arguments, "-l", "info")) as envoy:
        envoy.ready()
        assert envoy.stop() == 0
    assert "SIGTERM" in envoy.log.read_text()
    assert failures(envoy.log, catalogue) == [], envoy.log.read_text()


def test_start_at_istios_level_is_no_failure(run: Run, catalogue: Catalogue, tmp_path: Path) -> None:
    path = tmp_path / "istio-proxy.log"
    path.write_text(run.start_log)
    assert len(run.envoy.ports) > len(SCENARIOS)
    assert failures(path, catalogue) == [], run.start_log
