"""A cluster whose clock stands still, and a server of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from meshdiag.sources.kubernetes import collector, follower
from meshdiag.sources.kubernetes import pods as watching
from tests.live import pods
from tests.live.apiserver import ApiServer
from tests.live.calls import Clock
from tests.live.cluster import Cluster, Pod
from tests.live.stage import Time


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


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def shop(clock: Time) -> Cluster:
    """A cluster with one pod, of a StatefulSet: another one may have its name later."""
    cluster = Cluster(clock=clock)
    pods.sidecar_pod(cluster, "shop", "db-0")
    clock.forward(10)
    return cluster


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector waits a hundredth as long before it tries again or looks into something."""
    for module, name, seconds in (
        (watching, "FIRST_DELAY", 0.005),
        (watching, "LONGEST_DELAY", 0.05),
        (watching, "POLL_SECONDS", 0.1),
        (follower, "GRACE", 0.15),
        (follower, "REFUSED_WAIT", 0.1),
        (collector, "REFUSED_WAIT", 0.1),
        (collector, "SWEEP_SECONDS", 0.02),
    ):
        monkeypatch.setattr(module, name, seconds)
