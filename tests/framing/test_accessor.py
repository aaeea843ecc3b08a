"""`df.mesh.diagnose()` gives what `diagnose` gives; `Diagnosis.to_frame`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import meshdiag
from meshdiag import Diagnosis, MeshdiagError
from meshdiag.catalogue import Catalogue
from tests.conftest import HEALTHY, NO_HOST, REFUSED, SAMPLES, access_line

FOLDERS = sorted(p for p in SAMPLES.iterdir() if p.is_dir())
FILES = sorted(p for p in SAMPLES.rglob("*") if p.suffix in (".log", ".txt", ".json"))
ACCESS = next((SAMPLES / "02-connection-refused").glob("*ratings-v1*.log"))


def findings(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    return [f.to_dict() for f in diagnosis.findings]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_samples(catalogue: Catalogue, folder: Path, tmp_path: Path) -> None:
    whole = meshdiag.diagnose(folder, catalogue=catalogue)
    frame = meshdiag.frame(folder, catalogue=catalogue, text=True)
    again = frame.mesh.diagnose(catalogue=catalogue)
    assert findings(again) == findings(whole)
    assert again.unrecognised == whole.unrecognised
    assert findings(frame.sample(frac=1, random_state=3).mesh.diagnose(catalogue=catalogue)) == findings(whole)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(FILES), min_size=1, max_size=4, unique=True))
def test_any_samples_together(catalogue: Catalogue, files: list[Path]) -> None:
    frame = meshdiag.frame(*files, catalogue=catalogue, columns=_STANDS, text=True)
    assert findings(frame.mesh.diagnose(catalogue=catalogue)) == findings(
        meshdiag.diagnose(*files, catalogue=catalogue)
    )


_STANDS = ["kind", "time", "path", "offset", "cluster", "namespace", "pod", "container", "previous"]


@pytest.mark.parametrize(
    "wrap", ["{}", "2026-11-22T10:00:00.123456789Z {}", "2026-11-22T10:00:00.123456789Z stdout F {}"]
)
def test_what_only_a_wrapper_tells_is_kept(catalogue: Catalogue, wrap: str) -> None:
    inner = [
        REFUSED,
        "upstream request timeout",
        "error: no healthy upstream",
        "E1122 10:11:12.123456       1 reflector.go:138] x",
    ]
    lines = [wrap.format(line) for line in inner]
    found = meshdiag.frame(lines, catalogue=catalogue, text=True)
    assert found["text"].tolist() == inner
    assert findings(found.mesh.diagnose(catalogue=catalogue)) == findings(meshdiag.diagnose(lines, catalogue=catalogue))


def test_filtered_by_hand(catalogue: Catalogue) -> None:
    frame = meshdiag.frame(SAMPLES / "16-service-without-endpoints", catalogue=catalogue, text=True)
    some = frame[(frame["pod"].str.startswith("cart")) & (frame["time"] > pd.Timestamp("2026-11-22T15:04Z"))]
    (found,) = [f for f in some.mesh.diagnose(catalogue=catalogue).failures if f.cause == "no-healthy-upstream"]
    assert found.count == (some["cause"] == "no-healthy-upstream").sum() > 0
    assert found.subject.source.endswith("cart")
    assert not frame[frame["cause"].isna()].mesh.diagnose(catalogue=catalogue).failures
    assert not frame.head(0).mesh.diagnose(catalogue=catalogue).findings


# --- without the lines --------------------------------------------------------------------------------------------


def test_access_lines_are_made_of_their_columns(catalogue: Catalogue) -> None:
    frame = meshdiag.frame(ACCESS, catalogue=catalogue)
    access = frame[frame["kind"] == "access-log"]
    wanted = meshdiag.frame(ACCESS, catalogue=catalogue, text=True).loc[access.index].mesh.diagnose(catalogue=catalogue)
    assert findings(access.mesh.diagnose(catalogue=catalogue)) == findings(wanted)


_TEXT = st.sampled_from(["/", 'a" "b', "a b", "é", "-", "\\", "a\tb", "{x}", "%s", "", "[x]", "\x7f"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.fixed_dictionaries(dict.fromkeys(("path", "user_agent", "authority", "request_id", "route_name"), _TEXT)),
        max_size=5,
    )
)
def test_values_that_no_plain_line_can_hold(catalogue: Catalogue, rows: list[dict[str, str]]) -> None:
    base = {
        "start_time": "2026-11-22T10:00:00.000Z", "method": "GET", "protocol": "HTTP/1.1", "response_code": 503,
        "response_flags": "UH", "response_code_details": "no_healthy_upstream", "upstream_cluster": "outbound|80||a.b.svc.cluster.local",
        "upstream_host": "-", "duration": 3, "bytes_sent": 19, "grpc_status": "14",
    }  # fmt: skip
    lines = [json.dumps(base | row) for row in rows]
    found = meshdiag.frame(lines, catalogue=catalogue).mesh.diagnose(catalogue=catalogue)
    wanted = meshdiag.diagnose(lines, catalogue=catalogue)

    def but_lines(diagnosis: Diagnosis) -> list[dict[str, Any]]:
        return [{k: v for k, v in f.items() if k != "samples"} for f in findings(diagnosis)]

    assert but_lines(found) == but_lines(wanted)


def test_columns_that_are_missing_are_named(catalogue: Catalogue) -> None:
    whole = meshdiag.frame([REFUSED, NO_HOST], catalogue=catalogue)
    with pytest.raises(MeshdiagError, match=r"no column path, offset: without"):
        whole.drop(columns=["path", "offset"]).mesh.diagnose(catalogue=catalogue)
    with pytest.raises(MeshdiagError, match=r"no column text, so it needs response_flags, upstream_cluster to be"):
        whole.drop(columns=["response_flags", "upstream_cluster"]).mesh.diagnose(catalogue=catalogue)
    with pytest.raises(MeshdiagError, match=r"no column text, which rows of istio-log, text need"):
        meshdiag.frame(["2026-11-22T10:00:00Z\tinfo\tx", "", "y", HEALTHY], catalogue=catalogue).mesh.diagnose(
            catalogue=catalogue
        )
    with pytest.raises(MeshdiagError, match="no column kind"):
        pd.DataFrame({"a": [1]}).mesh.diagnose()
    few = whole.drop(columns=["user_agent", "request_path", "x_forwarded_for", "bytes_received", "level", "cause"])
    assert [f.cause for f in few.mesh.diagnose(catalogue=catalogue).failures] == [
        f.cause for f in whole.mesh.diagnose().failures
    ]


def test_problems_travel(catalogue: Catalogue, tmp_path: Path) -> None:
    frame = meshdiag.frame([HEALTHY], catalogue=catalogue, namespaces=["x"])
    assert frame.mesh.diagnose(catalogue=catalogue).problems[0].where == "filter"


def test_patterns_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "format: access-log\npatterns:\n  - id: own\n    cause: app-error\n    priority: 99\n"
        "    when: {user_agent: {equals: bad-client}}\n"
        f"    examples: [{{line: '{access_line(agent='bad-client')}'}}]\n    near_misses: [{{line: '{HEALTHY}'}}]\n"
    )
    frame = meshdiag.frame([access_line(agent="bad-client"), HEALTHY], patterns=[tmp_path])
    assert frame["pattern"].tolist()[0] == "own"
    assert frame.mesh.diagnose(patterns=[tmp_path]).findings[0].patterns == ("own",)


# --- findings as a table ------------------------------------------------------------------------------------------


def test_findings_as_a_frame(catalogue: Catalogue) -> None:
    diagnosis = meshdiag.diagnose(SAMPLES / "11-via-upstream-chain", catalogue=catalogue)
    table = diagnosis.to_frame()
    assert len(table) == len(diagnosis.findings)
    first, row = diagnosis.findings[0], table.iloc[0]
    assert (row["cause"], row["severity"], row["subject"], row["count"]) == (
        first.cause,
        first.severity,
        str(first.subject),
        first.count,
    )
    assert (
        row["first"].to_pydatetime() == first.first
        and row["requests"] == first.requests
        and row["onset"] == first.onset.start
    )
    assert table[table["root"]]["rank"].tolist() == [f.rank for f in diagnosis.root_causes]
    assert table["explained_by"].tolist() == [f.explained_by for f in diagnosis.findings]
    empty = meshdiag.diagnose([HEALTHY], catalogue=catalogue).to_frame()
    assert len(empty) == 0 and empty.dtypes.astype(str).to_dict() == table.dtypes.astype(str).to_dict()
