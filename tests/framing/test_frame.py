"""`frame`, `frames` and Parquet: types, filters, chunks, problems."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import meshdiag
from meshdiag import MeshdiagError
from meshdiag.catalogue import Catalogue
from meshdiag.formats import strip
from meshdiag.framing import COLUMNS
from tests.conftest import HEALTHY, NO_HOST, REFUSED, ROOT, SAMPLES, access_line

CHAIN = SAMPLES / "11-via-upstream-chain"
ISTIOD = "2026-11-22T10:00:07.000000Z\twarn\tca\tca request failed, starting attempt 1 in 98.7ms\tattempt=1"


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """Equal, but for the index and for categories that no row has."""

    def used(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.reset_index(drop=True)
        cats = [c for c in frame if isinstance(frame[c].dtype, pd.CategoricalDtype)]
        return frame.assign(**{c: frame[c].cat.remove_unused_categories() for c in cats})

    assert_frame_equal(used(one), used(other))


@pytest.fixture(scope="module")
def everything() -> pd.DataFrame:
    return meshdiag.frame(SAMPLES, text=True)


def test_types(everything: pd.DataFrame) -> None:
    assert [*everything.columns] == [c.name for c in COLUMNS]
    for column in COLUMNS:
        assert str(everything[column.name].dtype) == column.type.value, column.name
        assert str(meshdiag.frame([""])[column.name if column.name != "text" else "kind"].dtype) in (
            column.type.value,
            "category",
        )


def test_every_column_has_values_somewhere(everything: pd.DataFrame) -> None:
    # no sample was written before a restart, is of several clusters, cannot be read, or tells of an ended connection
    without = {"cluster", "previous", "unparsed", "connection_termination_details"}
    empty = {c for c in everything if c != "flags" and not everything[c].notna().any()}
    assert empty <= without
    assert everything["flags"].map(len).max() == 2


def test_a_row() -> None:
    line = REFUSED.replace("outbound|9080||", "outbound|9080|v2|")
    (row,) = meshdiag.frame([line], text=True).itertuples()
    assert (row.kind, row.time, row.offset) == ("access-log", pd.Timestamp("2026-11-22T10:00:00Z"), 0)
    assert (row.response_code, row.response_flags, row.flags) == (503, "UF,URX", ("UF", "URX"))
    assert (row.direction, row.destination_port, row.destination_subset) == ("outbound", 9080, "v2")
    assert row.destination_host == "reviews.default.svc.cluster.local"
    assert (row.bytes_received, row.bytes_sent, row.duration) == (0, 19, 3)
    assert row.upstream_service_time is pd.NA and pd.isna(row.upstream_local_address) and pd.isna(row.x_forwarded_for)
    assert (row.cause, row.pattern, row.confidence) == (
        "upstream-connection-refused",
        "access-connection-refused",
        "likely",
    )
    assert row.text == line


def test_flags_are_tuples_of_any_length() -> None:
    lines = [access_line("503", flags) for flags in ("UF", "UH", "UF")]  # all of the same length, too
    assert meshdiag.frame(lines)["flags"].tolist() == [("UF",), ("UH",), ("UF",)]
    assert meshdiag.frame([*lines, HEALTHY, REFUSED])["flags"].tolist()[2:] == [("UF",), (), ("UF", "URX")]


def test_columns_without_values_are_written_one_by_one() -> None:
    """They share memory until then."""
    found = meshdiag.frame([HEALTHY, REFUSED])
    empty = [c for c in found if found[c].isna().all()]
    numbers, words = ([c for c in empty if found[c].dtype == d] for d in ("Int64", "category"))
    assert len(words) > 10
    found["level"] = found["level"].cat.add_categories(["info"])
    found.loc[0, "level"] = "info"
    for column in numbers:
        found.loc[1, column] = 7
        assert found[column].tolist() == [pd.NA, 7]
    assert found["level"].tolist()[0] == "info"
    assert all(found[c].isna().all() for c in words if c != "level")
    assert found.iloc[:1].loc[:, words].copy().equals(found.loc[:0, words])


def test_other_logs_have_their_own_columns() -> None:
    (row,) = meshdiag.frame([ISTIOD]).itertuples()
    assert (row.kind, row.level, row.scope, row.cause) == ("istio-log", "warning", "ca", "ca-unreachable")
    assert row.message == "ca request failed, starting attempt 1 in 98.7ms"
    assert row.fields == '{"attempt": "1"}'
    assert row.response_code is pd.NA and row.flags == ()


def test_connections_of_ztunnel_have_numbers() -> None:
    found = meshdiag.frame(
        SAMPLES / "09-ambient", columns=["kind", "bytes_received", "bytes_sent", "duration", "fields"]
    )
    connections = found[found["kind"] == "ztunnel-access"]
    assert connections[["bytes_received", "bytes_sent", "duration"]].notna().all().all()
    assert connections["duration"].max() > 100 and not connections["fields"].str.contains("duration|bytes_").any()
    line = "2026-11-22T10:10:02.945000Z\tinfo\taccess\tconnection complete\tsrc.addr=10.0.0.1:1 dst.addr=10.0.0.2:2 duration="
    odd = meshdiag.frame([f'{line}"{d}"' for d in ("49ms", "1.5s", "007ms")])
    assert odd["duration"].tolist() == [49, pd.NA, pd.NA]
    assert odd["fields"].tolist()[1:] == ['{"duration": "1.5s"}', '{"duration": "007ms"}']


def test_what_no_integer_column_can_hold_is_kept() -> None:
    lines = [access_line().replace(" 19 3 - ", f" 19 3 {n} ") for n in ("soon", "007", "9" * 20, "12")]
    found = meshdiag.frame(lines)
    assert found["upstream_service_time"].tolist() == [pd.NA, pd.NA, pd.NA, 12]
    assert found["fields"].tolist()[:3] == [f'{{"upstream_service_time": "{n}"}}' for n in ("soon", "007", "9" * 20)]


def test_a_row_is_found_again(everything: pd.DataFrame) -> None:
    plain = everything[
        everything["path"].str.endswith(".log")
        & ~everything["path"].str.contains("!", regex=False)
        & (everything["kind"] != "event")
    ].sample(200, random_state=1)
    for path, offset, text in zip(plain["path"], plain["offset"], plain["text"], strict=True):
        with Path(path).open("rb") as file:
            file.seek(offset)
            assert strip(file.readline().decode()).text == text.split("\n")[0]


def test_every_input_that_diagnose_takes(tmp_path: Path) -> None:
    path = next(CHAIN.glob("*catalog*.log"))
    data = path.read_bytes()
    whole = meshdiag.frame(path)
    (tmp_path / "copy.log").write_bytes(data)
    with path.open("rb") as file:
        inputs = [meshdiag.frame(file), meshdiag.frame(data.decode().splitlines()), meshdiag.frame(io.BytesIO(data))]
    for other in [*inputs, meshdiag.frame(str(tmp_path)), meshdiag.frame(tmp_path / "*.log")]:
        assert_frame_equal(other.drop(columns=["path", *_PLACE]), whole.drop(columns=["path", *_PLACE]))
    assert whole["pod"].notna().all()


_PLACE = ["namespace", "pod", "container", "workload", "cause", "pattern", "confidence", "component"]


def test_inputs_keep_their_order() -> None:
    found = meshdiag.frame([REFUSED, HEALTHY], [NO_HOST])
    assert found["cause"].tolist()[0] == "upstream-connection-refused"
    assert found["offset"].tolist() == [0, len(REFUSED) + 1, 0]


# --- filters ------------------------------------------------------------------------------------------------------


def test_columns(everything: pd.DataFrame) -> None:
    some = ["flags", "cause", "duration", "time", "text", "request_id"]
    found = meshdiag.frame(SAMPLES, columns=some)
    assert_frame_equal(found, everything[some])
    assert [*meshdiag.frame([HEALTHY], columns=["kind"], text=True).columns] == ["kind", "text"]
    with pytest.raises(MeshdiagError, match="no column 'nope': there are kind, time"):
        meshdiag.frame([HEALTHY], columns=["nope"])


def test_no_catalogue_is_loaded_when_no_column_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Catalogue, "load", lambda *_: pytest.fail("loaded"))
    assert meshdiag.frame([HEALTHY], columns=["time", "method"])["method"].tolist() == ["GET"]


def test_times(everything: pd.DataFrame) -> None:
    begin, end = datetime(2026, 11, 22, 10, 3, 30), datetime(2026, 11, 22, 10, 5, tzinfo=UTC)
    chain = everything[everything["path"].str.contains("11-via")]
    time = chain.groupby("path", observed=True)["time"].ffill()
    wanted = chain[time.isna() | ((time >= begin.replace(tzinfo=UTC)) & (time <= end))]
    assert 0 < wanted["time"].notna().sum() < chain["time"].notna().sum()
    same(meshdiag.frame(CHAIN, since=begin, until=end, text=True), wanted)


def test_a_record_without_a_time_goes_with_its_neighbour() -> None:
    lines = [access_line(time=f"2026-11-22T10:00:0{i}.000Z") for i in range(4)]
    lines.insert(2, "upstream request timeout")
    found = meshdiag.frame(lines, since=datetime(2026, 11, 22, 10, 0, 2), text=True)
    assert found["text"].tolist() == [lines[3], lines[4]]
    found = meshdiag.frame(lines, since=datetime(2026, 11, 22, 10, 0, 1), text=True)
    assert found["text"].tolist() == lines[1:]


def test_names(everything: pd.DataFrame) -> None:
    pods = everything["pod"].dropna().unique()[:2]
    same(meshdiag.frame(SAMPLES, pods=pods, text=True), everything[everything["pod"].isin(pods)])
    about = everything["object_namespace"].astype("str").fillna(everything["namespace"].astype("str"))
    found = meshdiag.frame(SAMPLES, namespaces=["shop"], text=True)
    same(found, everything[about == "shop"])
    assert found["object_namespace"].notna().any()


def test_records_that_name_no_pod_are_counted() -> None:
    found = meshdiag.frame([HEALTHY, ISTIOD, "", "text"], pods=["web-0"])
    assert len(found) == 0
    (problem,) = found.attrs["problems"]
    assert problem["what"].startswith("3 records do not name their namespace or pod")


def test_failures(everything: pd.DataFrame, catalogue: Catalogue) -> None:
    found = meshdiag.frame(SAMPLES, failures=True, text=True)
    failing = {c.id for c in catalogue.causes.values() if c.kind == "failure"}
    assert set(found["cause"].dropna()) <= failing
    assert len(found[found["cause"].notna()]) == everything["cause"].isin(failing).sum()
    unknown = HEALTHY.replace(" 200 - ", " 599 XX ").replace("via_upstream", "odd")
    assert meshdiag.frame([unknown, HEALTHY], failures=True)["response_code"].tolist() == [599]


def test_filters_of_what_is_stored(everything: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    meshdiag.to_parquet(path, SAMPLES, text=True, rows=700)
    begin, end = datetime(2026, 11, 22, 9, 14), datetime(2026, 11, 22, 12)
    for options in (
        {"failures": True},
        {"since": begin, "until": end},
        {"namespaces": ["shop"]},
        {"columns": ["kind", "flags"]},
    ):
        same(meshdiag.frame(path, **options), meshdiag.frame(SAMPLES, text="columns" not in options, **options))


# --- chunks and Parquet -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 7, 1000, 10**9])
def test_chunks(everything: pd.DataFrame, rows: int) -> None:
    source, whole = (CHAIN, meshdiag.frame(CHAIN)) if rows < 10 else (SAMPLES, everything.drop(columns="text"))
    chunks = [*meshdiag.frames(source, rows=rows)]
    assert all(len(c) == rows for c in chunks[:-1]) and 0 < len(chunks[-1]) <= rows
    assert [c.dtypes.astype(str).to_dict() for c in chunks] == [whole.dtypes.astype(str).to_dict()] * len(chunks)
    joined = pd.concat([c.astype({n: "object" for n in c if c[n].dtype == "category"}) for c in chunks])
    assert_frame_equal(
        joined, whole.astype({n: "object" for n in whole if whole[n].dtype == "category"}), check_dtype=False
    )


def test_chunks_begin_anew_after_many_categories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshdiag.framing.gathering.MANY_WORDS", 40)
    lines = [access_line(agent=f"agent {i}", authority=f"host-{i % 9}") for i in range(100)]
    chunks = [*meshdiag.frames(*([line] for line in lines), rows=13)]
    assert sum(map(len, chunks)) == 100
    assert [a for c in chunks for a in c["user_agent"]] == [f"agent {i}" for i in range(100)]
    assert [a for c in chunks for a in c["authority"]] == [f"host-{i % 9}" for i in range(100)]
    assert {a for c in chunks for a in c["direction"]} == {"outbound"}


def test_nothing() -> None:
    (chunk,) = meshdiag.frames([""])
    assert len(chunk) == 0
    assert_frame_equal(chunk, meshdiag.frame([""]))
    with pytest.raises(MeshdiagError, match="nothing to read"):
        meshdiag.frame()
    with pytest.raises(MeshdiagError, match="not-there"):
        meshdiag.frames("not-there.log")
    with pytest.raises(MeshdiagError, match="rows is 0"):
        meshdiag.frames([HEALTHY], rows=0)


def test_parquet_there_and_back(everything: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    assert meshdiag.to_parquet(path, SAMPLES, text=True, rows=1000) == len(everything)
    assert [p.name for p in tmp_path.iterdir()] == ["all.parquet"]
    again = meshdiag.frame(path)
    assert_frame_equal(again, everything)
    assert again.attrs == everything.attrs
    assert_frame_equal(meshdiag.frame(str(path), columns=["time", "cause"]), everything[["time", "cause"]])


def test_pandas_reads_and_writes_the_same_parquet(everything: pd.DataFrame, tmp_path: Path) -> None:
    meshdiag.to_parquet(tmp_path / "ours.parquet", SAMPLES, text=True)
    theirs = pd.read_parquet(tmp_path / "ours.parquet")
    assert theirs.dtypes.astype(str).to_dict() == everything.dtypes.astype(str).to_dict()
    everything[["kind", "offset", "path", "flags", "response_flags", "duration"]].to_parquet(
        tmp_path / "theirs.parquet"
    )
    again = meshdiag.frame(tmp_path / "theirs.parquet")
    assert [*again.columns] == ["kind", "path", "offset", "response_flags", "flags", "duration"]
    assert_frame_equal(again, everything[[*again.columns]])


def test_parquet_beside_logs(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    meshdiag.to_parquet(path, [REFUSED], columns=["kind", "offset", "time"])
    found = meshdiag.frame(path, [HEALTHY])
    assert found["method"].isna().tolist() == [True, False]
    assert "has no column" in found.attrs["problems"][0]["what"]


def test_parquet_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(MeshdiagError, match="no Parquet file of meshdiag"):
        meshdiag.frame(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(MeshdiagError, match="cannot be read as Parquet"):
        meshdiag.frame(path)
    meshdiag.to_parquet(path, [HEALTHY], columns=["kind", "offset"])
    with pytest.raises(MeshdiagError, match="it has no column time"):
        meshdiag.frame(path, since=datetime(2026, 1, 1))


def test_nothing_is_left_of_a_parquet_file_that_could_not_be_written(tmp_path: Path) -> None:
    def lines():  # type: ignore[no-untyped-def]
        yield HEALTHY
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        meshdiag.to_parquet(tmp_path / "a.parquet", lines())
    assert not [*tmp_path.iterdir()]


def test_problems(tmp_path: Path) -> None:
    import gzip

    broken = tmp_path / "a.log.gz"
    broken.write_bytes(gzip.compress("\n".join([access_line(request_id=str(i)) for i in range(5000)]).encode())[:3000])
    found = meshdiag.frame(broken)
    assert 0 < len(found) < 5000
    (problem,) = found.attrs["problems"]
    assert problem["where"] == str(broken) and problem["what"]
    found.to_parquet(tmp_path / "with-problems.parquet")  # attributes of a frame must be JSON for that


def test_custom_formats_and_pure() -> None:
    spec = "[%START_TIME%] %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_CLUSTER% %UPSTREAM_PROTOCOL%"
    line = "[2026-11-22T10:00:07.114Z] GET /cart 503 UH outbound|8080||cart.shop.svc.cluster.local HTTP/2"
    found = meshdiag.frame([line, HEALTHY], access_log_format=spec, pure=True)
    assert found["cause"].tolist()[0] == "no-healthy-upstream"
    assert found["fields"].tolist()[0] == '{"upstream_protocol": "HTTP/2"}'
    assert found["request_path"].tolist() == ["/cart", "/"]


def test_lone_surrogates_of_json() -> None:
    line = '{"start_time":"2026-11-22T10:00:00.000Z","response_code":200,"response_flags":"-","path":"/\\ud800","user_agent":"\\udc00"}'
    found = meshdiag.frame([line])
    assert found["request_path"].tolist()[0].startswith("/") and found["user_agent"].notna().all()


def test_the_documentation_lists_every_column() -> None:
    text = (ROOT / "docs/frames.md").read_text()
    rows = re.findall(r"(?m)^\| `(\w+)` \| `(.+?)` \| (.*?) \| (.*) \|$", text)
    assert rows == [(c.name, c.type.value, c.of or "all", c.doc) for c in COLUMNS]


def test_no_python_object_for_a_line() -> None:
    lines = [access_line(request_id=f"{i:08x}", time=f"2026-11-22T10:00:00.{i % 1000:03d}Z") for i in range(20_000)]
    found = meshdiag.frame(("\n".join(lines)).splitlines())
    assert np.array_equal(found["time"].dt.microsecond // 1000, np.arange(20_000) % 1000)
