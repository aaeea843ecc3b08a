"""However a capture is divided, the diagnosis is the same: files in any order, cut at any line, in several processes."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import meshdiag
from meshdiag.catalogue import Catalogue
from tests.conftest import SAMPLES

# Their files are named after their pods, so that a part of a file still tells whose it is.
SCENARIOS = [
    "02-connection-refused",
    "11-via-upstream-chain",
    "12-jwks-fake-key",
    "17-xds-flap-recovers",
    "20-retries-multiply",
]


def told(diagnosis: meshdiag.Diagnosis) -> list[Any]:
    """All that a finding says but where its samples stand."""
    return [
        (
            f.rank, f.cause, f.subject, f.kind, f.confidence, f.state, f.count, f.requests, f.total, f.first, f.last, f.reach,
            f.explains, f.explained_by, f.alternatives, f.onset, sorted(e.text for e in f.evidence),
            [(c.text, c.time, c.before) for c in f.changes],
        )
        for f in diagnosis.findings
    ]  # fmt: skip


def files_of(name: str) -> list[Path]:
    return sorted(p for p in (SAMPLES / name).rglob("*.log*") if p.is_file())


def read(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


@pytest.mark.parametrize("name", SCENARIOS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_division_says_the_same(
    name: str, data: st.DataObject, catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory
) -> None:
    files = files_of(name)
    whole = told(meshdiag.diagnose(*files, catalogue=catalogue))
    folder = tmp_path_factory.mktemp("parts")
    parts = []
    for path in files:
        lines = read(path).splitlines(keepends=True)
        cut = data.draw(st.integers(0, len(lines)), label=path.name)
        if "previous" in path.name or (lines[cut : cut + 1] and lines[cut][:1] in b" \t}"):
            cut = 0  # not within a record
        for side, some in (("a", lines[:cut]), ("b", lines[cut:])):
            if some:
                part = folder / side / path.name.removesuffix(".gz")
                part.parent.mkdir(exist_ok=True)
                part.write_bytes(b"".join(some))
                parts.append(part)
    order = data.draw(st.permutations(parts))
    assert told(meshdiag.diagnose(*order, catalogue=catalogue)) == whole
    middle = data.draw(st.integers(1, max(1, len(order) - 1)))
    first, second = (
        meshdiag.diagnose(*some, catalogue=catalogue) for some in (order[:middle], order[middle:] or order[:1])
    )
    if order[middle:]:
        assert told(second + first) == whole


@pytest.mark.parametrize("name", SCENARIOS)
def test_four_processes_say_the_same(name: str) -> None:
    assert told(meshdiag.diagnose(SAMPLES / name, jobs=4)) == told(meshdiag.diagnose(SAMPLES / name))
