"""How long requests took on each edge, counted in chunks."""

from __future__ import annotations

from pathlib import Path

import pytest

import meshdiag
from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis.durations import percentile
from meshdiag.framing import durations as module
from meshdiag.framing.durations import COLUMNS, durations
from tests.conftest import SAMPLES, access_line
from tests.diagnosis.captures import write


@pytest.mark.parametrize("name", ["11", "20", "bug-report", "09"])
def test_they_are_those_of_mesh_edges(name: str, catalogue: Catalogue) -> None:
    """The same names; and a percentile that lies between the neighbours of the interpolated one."""
    path = next(SAMPLES.glob(f"{name}*"))
    table = meshdiag.frame(path, catalogue=catalogue).mesh.edges(catalogue=catalogue)
    table = table[(table["client"] > 0) & table["p50"].notna()]
    found = durations(meshdiag.frames(path, columns=COLUMNS))
    assert {*found} == {*zip(table["source"], table["destination"], strict=True)}
    for row in table.itertuples():
        own = found[row.source, row.destination]
        assert sum(own.values()) == row.client
        assert min(own) <= row.p50 <= max(own) * 1.002 + 1
        assert percentile(own, 50) <= row.p50 + 1


def test_chunks_make_no_difference(catalogue: Catalogue) -> None:
    path = SAMPLES / "11-via-upstream-chain"
    assert durations(meshdiag.frames(path, rows=7, columns=COLUMNS)) == durations(
        [meshdiag.frame(path, columns=COLUMNS)]
    )


def test_how_many_edges_are_counted_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts are chosen by whoever sends requests."""
    monkeypatch.setattr(module, "EDGES", 3)
    lines = [access_line(cluster=f"outbound|80||h{i % 9}.shop.svc.cluster.local") for i in range(90)]
    folder = write(tmp_path, {"cart-7d6c5f9b84-z6r4p": lines})
    found = durations(meshdiag.frames(folder, columns=COLUMNS))
    assert len(found) == 3
    assert all(sum(own.values()) == 10 for own in found.values())
