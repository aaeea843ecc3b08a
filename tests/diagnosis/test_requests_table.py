"""`Diagnosis.requests()`: failed requests by id, a row a hop."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import meshdiag
from meshdiag import Diagnosis
from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import requests as bounds
from meshdiag.diagnosis.requests import Requests
from meshdiag.diagnosis.tabular import reused
from meshdiag.model import Subject
from tests.conftest import HEALTHY, NO_HOST, SAMPLES, access_line

FOLDERS = sorted(p for p in SAMPLES.iterdir() if p.is_dir())


def test_a_chain(catalogue: Catalogue) -> None:
    diagnosis = meshdiag.diagnose(SAMPLES / "11-via-upstream-chain", catalogue=catalogue)
    table = diagnosis.requests()
    assert table.attrs == {"failed": 15, "sampled": False, "reused_ids": 0, "reused_lines": 0}
    hops = table.loc[table.index[table["cause"] == "upstream-connection-refused"][0][0]]
    assert hops.index.tolist() == [1, 2, 3, 4, 5, 6] and hops["time"].is_monotonic_increasing
    assert hops["side"].tolist() == ["client", "server"] * 3
    assert hops["destination"].tolist()[-1] == "shop/pricing" and hops["source"].tolist()[-2] == "shop/catalog"
    assert hops["lines"].tolist() == [1, 1, 1, 1, 1, 3] and (hops["last"] >= hops["time"]).all()
    assert hops["root"].tolist() == [False] * 5 + [True]
    assert hops["rank"].tolist()[-1] == 1
    findings = diagnosis.to_frame().set_index("rank")["cause"]
    assert table["cause"].tolist() == [findings[r] for r in table["rank"]]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_every_request_began_somewhere(catalogue: Catalogue, folder: Path) -> None:
    diagnosis = meshdiag.diagnose(folder, catalogue=catalogue)
    table = diagnosis.requests()
    assert table.index.is_unique and len(table.groupby(level=0)) == table.attrs["failed"]
    assert table.groupby(level=0)["root"].any().all()
    assert table["lines"].sum() + table.attrs["reused_lines"] == diagnosis.seen.requests.lines
    assert table["rank"].notna().all()


def test_types_without_rows(catalogue: Catalogue) -> None:
    table = meshdiag.diagnose([NO_HOST], catalogue=catalogue).requests()
    none = meshdiag.diagnose([HEALTHY], catalogue=catalogue).requests()
    assert len(table) == 1 and none.empty
    assert none.dtypes.equals(table.dtypes) and none.index.names == table.index.names == ["request_id", "hop"]


def test_only_what_is_shown(catalogue: Catalogue) -> None:
    diagnosis = meshdiag.diagnose(SAMPLES / "11-via-upstream-chain", catalogue=catalogue)
    some = diagnosis.only(causes=["upstream-connection-refused"]).requests()
    # its requests with all their hops; those of other causes have no rank there
    assert len(some) == 12 * 6 and some["rank"].notna().sum() == 12
    assert some["root"].equals(diagnosis.requests().loc[some.index, "root"])
    assert diagnosis.only(causes=["jwt-expired"]).requests().empty


def test_ids_that_are_used_again_are_left_out(catalogue: Catalogue) -> None:
    forged = [access_line("503", "UH", "no_healthy_upstream", request_id="constant")] * (bounds.MAX_TRIES + 1)
    own = access_line("503", "UH", "no_healthy_upstream", request_id="own")
    table = meshdiag.diagnose([*forged, own], catalogue=catalogue).requests()
    assert table.index.get_level_values(0).tolist() == ["own"]
    assert (table.attrs["reused_ids"], table.attrs["reused_lines"]) == (1, bounds.MAX_TRIES + 1)


def test_a_sample_says_so(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MAX_ENTRIES", 20)
    some = [access_line("503", "UH", "no_healthy_upstream", request_id=f"id-{n}") for n in range(200)]
    table = meshdiag.diagnose(some, catalogue=catalogue).requests()
    assert len(table) <= 20 and table.attrs["sampled"]
    assert table.attrs["failed"] > len(table)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(1, 60),
            st.floats(0, 2000),
            st.sampled_from([0.0, 1.0, 20.0, 21.0, 899.0, 901.0]),
        ),
        max_size=40,
    )
)
def test_the_bounds_are_those_of_the_diagnosis(some: list[tuple[int, int, float, float]]) -> None:
    """The rule for arrays is that by which a diagnosis joins requests."""
    import numpy as np

    requests = Requests()
    for place, (i, lines, first, took) in enumerate(some):
        requests.by_hop["x", Subject("mesh"), str(place)] = {str(i): (lines, first, first + took)}
    columns = [np.array(column, float) for column in zip(*((n, f, f + t) for _, n, f, t in some), strict=True)]
    found = reused(np.array([i for i, *_ in some], int), *(columns or [np.zeros(0)] * 3))
    left = {i for (i, *_), again in zip(some, found, strict=True) if not again}
    joined = sum(1 for _ in requests.joined())
    alone = sum(n for _, n, _ in requests.alone())
    several = {i for i in left if sum(j == i for j, *_ in some) > 1}
    assert (len(several), len(left - several)) == (joined, alone)


def test_sums_of_diagnoses(catalogue: Catalogue) -> None:
    files = sorted((SAMPLES / "11-via-upstream-chain").iterdir())
    parts = [meshdiag.diagnose(f, catalogue=catalogue) for f in files]
    whole: Diagnosis = parts[0]
    for part in parts[1:]:
        whole += part
    assert whole.requests().equals(meshdiag.diagnose(*files, catalogue=catalogue).requests())
