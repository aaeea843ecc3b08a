"""One Envoy for all scenarios of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scenarios import SCENARIOS, STRICT_FROM_BOTH_SIDES, Run

import meshdiag


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """The running Envoy."""
    running = Run(tmp_path_factory.mktemp("envoy"), [*SCENARIOS, STRICT_FROM_BOTH_SIDES])
    yield running
    running.close()


@pytest.fixture(scope="session")
def catalogue() -> meshdiag.Catalogue:
    """The built-in catalogue, loaded once."""
    return meshdiag.Catalogue.load()
