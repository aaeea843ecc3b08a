"""`df.mesh.diagnose()` gives what `diagnose` gives; `Diagnosis.to_frame`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
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


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(FILES), min_size=1, max_size=4, unique=True))
def test_any_samples_together(catalogue: Catalogue, files: list[Path]) -> None:
    frame = meshdiag.frame(*files, catalogue=catalogue, columns=_STANDS, text=True)
    assert findings(frame.mesh.diagnose(catalogue=catalogue)) == findings(
        meshdiag.diagnose(*files, catalogue=catalogue)
    )


ACCESS_FILES = sorted(p for p in SAMPLES.rglob("*istio-proxy*.log*") if p.is_file())


def read(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def kept(path: Path, offsets: list[int], mask: list[bool]) -> bytes:
    """The file with only some of its records: where the others stood there are blank lines."""
    data = read(path)
    parts = [
        data[a:b] if keep else b"\n" * (b - a)
        for a, b, keep in zip(offsets, [*offsets[1:], len(data)], mask, strict=True)
    ]
    return data[: offsets[0]] + b"".join(parts)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_rows_of_a_file(catalogue: Catalogue, tmp_path: Path, data: Any) -> None:
    """They give the findings of the file with only their lines."""
    path = data.draw(st.sampled_from([*FILES, *(p for p in ACCESS_FILES if p.suffix == ".gz")]))
    frame = meshdiag.frame(path, catalogue=catalogue, columns=_STANDS, text=True)
    mask = data.draw(st.lists(st.booleans(), min_size=len(frame), max_size=len(frame)))
    copy = tmp_path / path.relative_to(SAMPLES)
    copy.parent.mkdir(parents=True, exist_ok=True)
    some = kept(path, frame["offset"].tolist(), mask)
    copy.write_bytes(gzip.compress(some) if path.suffix == ".gz" else some)
    wanted = json.dumps(findings(meshdiag.diagnose(copy, catalogue=catalogue)))
    rows = frame[np.array(mask, bool)].sample(frac=1, random_state=0)
    found = rows.mesh.diagnose(catalogue=catalogue)
    assert json.dumps(findings(found)) == wanted.replace(str(tmp_path), str(SAMPLES))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_requests_without_their_lines(catalogue: Catalogue, data: Any) -> None:
    path = data.draw(st.sampled_from(ACCESS_FILES))
    frame = meshdiag.frame(path, catalogue=catalogue, text=True)
    frame = frame[frame["kind"] == "access-log"]
    some = frame[np.array(data.draw(st.lists(st.booleans(), min_size=len(frame), max_size=len(frame))), bool)]
    found, wanted = (
        some.drop(columns="text").mesh.diagnose(catalogue=catalogue),
        some.mesh.diagnose(catalogue=catalogue),
    )
    assert but_lines(found) == but_lines(wanted)


def but_lines(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    return [{k: v for k, v in f.items() if k != "samples"} for f in findings(diagnosis)]


@pytest.mark.parametrize("name", ["10-rejected-envoyfilter", "14-istiod-oom", "06-blocked-egress", "12-jwks-fake-key"])
def test_what_was_stored_is_diagnosed(catalogue: Catalogue, name: str, tmp_path: Path) -> None:
    meshdiag.to_parquet(tmp_path / "p.parquet", SAMPLES / name, catalogue=catalogue, text=True, rows=100)
    wanted = findings(meshdiag.diagnose(SAMPLES / name, catalogue=catalogue))
    assert findings(meshdiag.frame(tmp_path / "p.parquet").mesh.diagnose(catalogue=catalogue)) == wanted
    assert findings(pd.read_parquet(tmp_path / "p.parquet").mesh.diagnose(catalogue=catalogue)) == wanted
    chunks = pd.concat(meshdiag.frames(tmp_path / "p.parquet", rows=70))
    assert findings(chunks.mesh.diagnose(catalogue=catalogue)) == wanted


def test_records_of_several_lines(catalogue: Catalogue, tmp_path: Path) -> None:
    head = "2026-11-22T10:00:0{n}.000000Z\terror\tsomething\tbroke"
    trace = "goroutine 1 [running]:\n\tmain.main()\n{n}\t\tserver.go:{n}"
    path = tmp_path / "istio-system_istiod-6f8b9d7c54-w4k2m_discovery.log"
    path.write_text("\n".join(f"{head.format(n=n)}\n{trace.format(n=n)}" for n in range(5)) + "\n")
    frame = meshdiag.frame(path, catalogue=catalogue, text=True)
    assert len(frame) == 5 and frame["text"].str.count("\n").eq(3).all()
    found, whole = frame.mesh.diagnose(catalogue=catalogue), meshdiag.diagnose(path, catalogue=catalogue)
    assert found.unrecognised == whole.unrecognised
    assert [u.count for u in frame.iloc[[4, 1]].mesh.diagnose(catalogue=catalogue).unrecognised] == [2]


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


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def test_rows_that_lack_something(catalogue: Catalogue) -> None:
    with_text, without = (meshdiag.frame([REFUSED, NO_HOST], catalogue=catalogue, text=t) for t in (True, False))
    mixed = pd.concat([with_text, without])
    with pytest.raises(MeshdiagError, match="some rows have no text: make all of them"):
        mixed.mesh.diagnose(catalogue=catalogue)
    assert len(mixed.drop(columns="text").mesh.diagnose(catalogue=catalogue).failures) == 2
    with pytest.raises(MeshdiagError, match="some rows have no offset"):
        with_text.assign(offset=[None, 3]).mesh.diagnose(catalogue=catalogue)
    with pytest.raises(MeshdiagError, match="the column time is"):
        with_text.assign(time=with_text["time"].dt.tz_localize(None)).mesh.diagnose(catalogue=catalogue)


def test_times_of_another_zone(catalogue: Catalogue) -> None:
    """Also where only the wrapper told the time."""
    frame = meshdiag.frame(SAMPLES / "06-blocked-egress", catalogue=catalogue, text=True)
    there = frame.assign(time=frame["time"].dt.tz_convert("Asia/Kolkata"))
    assert findings(there.mesh.diagnose(catalogue=catalogue)) == findings(frame.mesh.diagnose(catalogue=catalogue))


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
