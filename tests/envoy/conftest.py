"""One Envoy for all scenarios of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scenarios import NAME_FROM_BOTH_SIDES, PAIRS, SCENARIOS, STRICT_FROM_BOTH_SIDES, Run

import meshdiag


@pytest.fixture(scope="session")
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
