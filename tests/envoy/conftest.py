"""One Envoy for all scenarios, as long as a file's tests need it: it takes a quarter of a CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scenarios import NAME_FROM_BOTH_SIDES, PAIRS, SCENARIOS, STRICT_FROM_BOTH_SIDES, Run

import meshdiag


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The running Envoy."""
    pairs = [side for pair in PAIRS for side in (pair.client, pair.server)]
    running = Run(tmp_path_factory.mktemp("envoy"), [*SCENARIOS, STRICT_FROM_BOTH_SIDES, NAME_FROM_BOTH_SIDES, *pairs])
    yield running
    running.close()


@pytest.fixture(scope="session")
def catalogue() -> meshdiag.Catalogue:
    """The built-in catalogue, loaded once."""
    return meshdiag.Catalogue.load()
