"""A cluster with a service that selects nothing, served over HTTP; and a journal of its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from meshdiag.fixing import Journal, applying
from meshdiag.sources.kubernetes.access import Login, accesses
from meshdiag.sources.kubernetes.api import Api
from tests.fixing.objects import deployment, service
from tests.live.apiserver import ApiServer
from tests.live.cluster import Cluster

T = TypeVar("T")
Run = Callable[[Callable[[Api], Awaitable[Any]]], Any]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def server(cluster: Cluster) -> Iterator[ApiServer]:
    with ApiServer(cluster) as server:
        cluster.add_namespace("shop", {"team": "web"})
        server.store.install("ServiceEntry", "VirtualService", "PeerAuthentication")
        server.store.add(service())
        server.store.add(deployment())
        yield server


@pytest.fixture
def kubeconfig(server: ApiServer, tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(server.kubeconfig(namespace="shop")))
    return path


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state" / "journal")


@pytest.fixture
def run(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a coroutine function of the API, in a loop of its own."""
    monkeypatch.setattr(applying, "LOOK_SECONDS", (0.01, 0.01))

    def inside(steps: Callable[[Api], Awaitable[T]]) -> T:
        async def whole() -> T:
            async with Api(Login(accesses(kubeconfig)[0])) as api:
                return await steps(api)

        return asyncio.run(whole())

    return inside
