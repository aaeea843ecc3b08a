"""A cluster whose clock stands still, and a server of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live import pods
from tests.live.apiserver import ApiServer
from tests.live.calls import Clock
from tests.live.cluster import Cluster, Pod


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(clock=Clock())


@pytest.fixture
def pod(cluster: Cluster) -> Pod:
    return pods.sidecar_pod(cluster, "shop", "db-0")


@pytest.fixture
def server(cluster: Cluster) -> Iterator[ApiServer]:
    with ApiServer(cluster) as server:
        yield server


@pytest.fixture
def mesh(cluster: Cluster) -> Cluster:
    """Pods with different labels on two nodes, some in another namespace."""
    for n in range(5):
        labels = {"app": "web" if n % 2 else "db", **({"canary": ""} if n == 4 else {})}
        cluster.add_pod("shop", f"p-{n}", ["app"], labels=labels, node=f"node-{n % 2}")
    cluster.add_pod("orders", "p-9", ["app"], labels={"app": "api"}, start=False)
    return cluster
