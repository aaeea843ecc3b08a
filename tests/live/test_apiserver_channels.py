"""exec and port-forward of the server of tests, as the official client speaks them."""

from __future__ import annotations

import pytest
from kubernetes import client
from kubernetes.stream import portforward, stream

from tests.live import pods
from tests.live.apiserver import ApiServer
from tests.live.cluster import Cluster


@pytest.fixture
def core(server: ApiServer, cluster: Cluster) -> client.CoreV1Api:
    pods.sidecar_pod(cluster, "shop", "db-0")
    configuration = client.Configuration()
    configuration.host = server.url
    configuration.proxy = None
    return client.CoreV1Api(client.ApiClient(configuration))


@pytest.mark.parametrize("code", [0, 3])
def test_exec(core: client.CoreV1Api, server: ApiServer, code: int) -> None:
    server.exec = lambda pod, container, command: (f"{pod} {container} {command}".encode(), b"warned" * 30_000, code)
    socket = stream(
        core.connect_get_namespaced_pod_exec, "db-0", "shop", container="istio-proxy", command=["a", "b c"],
        stdout=True, stderr=True, _preload_content=False,
    )  # fmt: skip
    socket.run_forever(timeout=10)
    assert socket.read_stdout() == "shop/db-0 istio-proxy ['a', 'b c']"
    assert socket.read_stderr() == "warned" * 30_000
    assert socket.returncode == code


def test_port_forward(core: client.CoreV1Api, server: ApiServer) -> None:
    server.listen = lambda pod, port, request: f"{pod} {port} ".encode() + request[::-1] * 1000
    forward = portforward(core.connect_get_namespaced_pod_portforward, "db-0", "shop", ports="9876")
    socket = forward.socket(9876)
    socket.settimeout(10)
    socket.sendall(b"abc")
    got = b""
    while more := socket.recv(4096):
        got += more
    assert got == b"shop/db-0 9876 " + b"cba" * 1000
    assert forward.error(9876) is None
