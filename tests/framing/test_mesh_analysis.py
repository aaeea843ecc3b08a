"""`df.mesh`: edges, errors, rates, latencies, timelines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

import meshdiag
from meshdiag import MeshdiagError
from meshdiag.catalogue import Catalogue
from meshdiag.model import Kind
from tests.conftest import HEALTHY, NO_HOST, SAMPLES, access_line

FOLDERS = sorted(p for p in SAMPLES.iterdir() if p.is_dir())
TABLES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "edges": lambda f: f.mesh.edges(),
    "errors_by_edge": lambda f: f.mesh.errors_by_edge(),
    "rate": lambda f: f.mesh.rate(),
    "rate by": lambda f: f.mesh.rate("1h", by=["cause", "response_code"]),
    "latency": lambda f: f.mesh.latency(),
    "latency by": lambda f: f.mesh.latency(by=["workload", "method"]),
    "timeline": lambda f: f.mesh.timeline(),
    "requests": lambda f: f.mesh.requests(),
    "all requests": lambda f: f.mesh.requests(failures=False),
}
TRAFFIC = ("access-log", "ztunnel-access")


@pytest.fixture(scope="module")
def everything() -> pd.DataFrame:
    return meshdiag.frame(SAMPLES)


@pytest.fixture(scope="module")
def chain() -> pd.DataFrame:
    return meshdiag.frame(SAMPLES / "11-via-upstream-chain")


def lines(*some: str) -> pd.DataFrame:
    return meshdiag.frame([*some])


# --- what a failed request is -------------------------------------------------------------------------------------


def test_failed_is_what_the_engine_calls_so(everything: pd.DataFrame) -> None:
    wanted = meshdiag.frame(SAMPLES, failures=True)
    wanted = wanted[wanted["kind"].isin(TRAFFIC)]
    found = everything[everything.mesh.failed()]
    assert len(found) > 500
    assert [*zip(found["path"], found["offset"], strict=True)] == [*zip(wanted["path"], wanted["offset"], strict=True)]


@pytest.mark.parametrize(
    ("line", "failed"),
    [
        (HEALTHY, False),
        (access_line("404"), False),
        (access_line("429"), False),
        (access_line("404", "NR", "route_not_found", cluster="-", host="-", local="-"), True),
        (access_line("500"), True),
        (NO_HOST, True),
        (access_line("0", "DC", "downstream_remote_disconnect"), True),
        (access_line("200", "XX", "nobody_knows_this"), True),  # no pattern knows the flag
        (access_line("599", "-", "nobody_knows_this"), True),
    ],
)
def test_failed(line: str, failed: bool) -> None:
    assert lines(line).mesh.failed().tolist() == [failed]


def test_a_cause_that_the_catalogue_does_not_know_is_a_failure(chain: pd.DataFrame) -> None:
    own = chain.assign(cause=chain["cause"].astype("str").replace("app-error", "own-pack"))
    assert own.mesh.failed().equals(chain.mesh.failed())


# --- edges --------------------------------------------------------------------------------------------------------


def test_edges_of_a_chain(chain: pd.DataFrame) -> None:
    table = chain.mesh.edges().set_index(["source", "destination"])
    pricing = table.loc[("shop/catalog", "pricing.shop.svc.cluster.local:8080")]
    # 16 requests of the client; 12 of them took three tries
    assert pricing[["requests", "failed", "client", "server"]].tolist() == [16, 12, 16, 40]
    assert pricing["share"] == 0.75 and pricing["p90"] == 85.5
    assert table["client"].sum() == (chain["direction"] == "outbound").sum()
    assert table["server"].sum() == (chain["direction"] == "inbound").sum()
    assert table["requests"].is_monotonic_decreasing
    seconds = (chain["time"][chain["kind"] == "access-log"].agg(["max", "min"]).diff().iloc[1] * -1).total_seconds()
    assert table["rate"].sum() * seconds == pytest.approx(table["requests"].sum())


def test_errors_name_what_the_server_decided(chain: pd.DataFrame) -> None:
    table = chain.mesh.errors_by_edge().set_index("destination")
    assert table.loc["pricing.shop.svc.cluster.local:8080", ["cause", "flags"]].tolist() == [
        "upstream-connection-refused",
        "UF",
    ]
    assert table.loc["catalog.shop.svc.cluster.local:8080", "cause"] == "app-error"
    assert table["failed"].is_monotonic_decreasing and (table["failed"] > 0).all()
    assert table["first"].min() == chain["time"][chain.mesh.failed()].min()


def test_a_few_other_failures_do_not_hide_what_most_are() -> None:
    table = meshdiag.frame(SAMPLES / "20-retries-multiply").mesh.errors_by_edge().set_index("destination")
    assert table.loc["storefront.shop.svc.cluster.local:8080", ["failed", "cause"]].tolist() == [14, "app-error"]
    assert table.loc["search.shop.svc.cluster.local:9200", "cause"] == "upstream-timeout"


def test_what_the_server_says_counts_though_it_may_relay_itself() -> None:
    table = meshdiag.frame(SAMPLES / "17-xds-flap-recovers").mesh.errors_by_edge().set_index("destination")
    assert table.loc["recommender.shop.svc.cluster.local:8000", "cause"] == "upstream-connection-closed"


def test_a_client_without_a_proxy_is_not_guessed() -> None:
    table = meshdiag.frame(SAMPLES / "05-strict-mtls-plaintext").mesh.edges()
    known, unknown = (table[table["source"].notna() == there].iloc[0] for there in (True, False))
    assert known["source"] == "shop/cart" and (known["client"], known["server"]) == (26, 26)
    assert (unknown["client"], unknown["server"], unknown["requests"]) == (0, 21, 21)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_both_sides_agree_with_either(folder: Path) -> None:
    """The server's rows alone give the same edges as both sides, where the client's are there to name them."""
    frame = meshdiag.frame(folder)
    table = frame.mesh.edges()
    inbound = frame["direction"].isin(["inbound", "inbound-passthrough"])
    clients = frame[~inbound].mesh.edges()
    both = table.merge(clients, on=["source", "destination"], suffixes=("", "_alone"))
    assert both["requests"].equals(both["requests_alone"]) and both["failed"].equals(both["failed_alone"])
    # whatever is there is counted on one edge
    assert table["client"].sum() + table["server"].sum() == frame["kind"].isin(TRAFFIC).sum()


def test_edges_are_named_as_findings_name_them() -> None:
    for folder in ("06-blocked-egress", "10-rejected-envoyfilter", "02-connection-refused", "09-ambient"):
        frame = meshdiag.frame(SAMPLES / folder)
        edges = set(frame.mesh.edges()[["source", "destination"]].itertuples(index=False, name=None))
        found = meshdiag.diagnose(SAMPLES / folder).seen.tallies
        named = {(s.source, s.destination) for _, s in found if s.kind == "edge"}
        assert named <= edges


def test_a_header_names_no_client() -> None:
    """The address of an inbound row is what `x-forwarded-for` said when its port is 0; anybody may send that."""
    forged = access_line(cluster="inbound|8080||", host="10.0.0.9:8080", local="127.0.0.6:4000")
    client = access_line(cluster="outbound|80||b.x.svc.cluster.local", host="10.0.0.3:80", local="10.1.1.1:54556")
    frame = meshdiag.frame(
        [f"[pod/a/istio-proxy] {client}", f"[pod/b/istio-proxy] {forged.replace('10.1.1.1:55722', '10.1.1.1:0')}"]
    )
    frame["request_id"] = ["one", "two"]
    assert frame.mesh.edges().set_index("destination")["source"].isna().to_dict() == {
        "b.x.svc.cluster.local:80": False,
        "b": True,
    }
    frame["downstream_remote_address"] = "10.1.1.1:4711"
    assert set(frame.mesh.edges()["source"]) == {"a"}


def test_sums_do_not_overflow() -> None:
    frame = lines(*[HEALTHY] * 12)
    frame["bytes_sent"] = 10**18 - 1
    assert frame.mesh.edges()["bytes_sent"].tolist() == [2**63 - 1]


# --- rate ---------------------------------------------------------------------------------------------------------


def at(clock: str, *, code: str = "200") -> str:
    return access_line(code, time=f"2026-11-22T{clock}Z")


def test_rate() -> None:
    frame = lines(at("10:00:59.999"), at("10:03:00.000"), at("10:03:59.999", code="503"), at("10:04:00.000"))
    table = frame.mesh.rate()
    assert [*table.index.strftime("%H:%M")] == ["10:00", "10:01", "10:02", "10:03", "10:04"]
    assert table["requests"].tolist() == [1, 0, 0, 2, 1] and table["failed"].tolist() == [0, 0, 0, 1, 0]
    assert table["share"].isna().tolist() == [False, True, True, False, False]
    assert table.index.dtype == "datetime64[us, UTC]" and table.index.name == "time"


def test_rate_by(everything: pd.DataFrame) -> None:
    whole = everything.mesh.rate("10min")
    for by in ("cause", "workload", "response_code", ["kind", "direction"], "previous"):
        table = everything.mesh.rate("10min", by=by)
        assert table["requests"].sum(axis=1).tolist() == whole["requests"].tolist() or by == "response_code"
        assert table["failed"].sum().sum() <= whole["failed"].sum()
    causes = everything.mesh.rate("10min", by="cause")["failed"].sum()
    wanted = everything["cause"][everything.mesh.failed()].value_counts()
    assert causes[causes > 0].to_dict() == wanted[wanted > 0].to_dict()
    assert causes["-"] == 0


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4000), st.booleans()), max_size=20),
    st.sampled_from(["7s", "1min", "90s", "1h", "250ms"]),
)
def test_rate_counts_each_request_once(some: list[tuple[int, bool]], every: str) -> None:
    base = lines(HEALTHY, NO_HOST)
    frame = base.iloc[[int(bad) for _, bad in some]].reset_index(drop=True)
    frame["time"] = pd.Series([s * 1000 for s, _ in some], dtype="datetime64[ms, UTC]").dt.as_unit("us")
    table = frame.mesh.rate(every)
    assert table["requests"].sum() == len(some) and table["failed"].sum() == sum(bad for _, bad in some)
    width = pd.Timedelta(every)
    assert all(b - a == width for a, b in zip(table.index, table.index[1:], strict=False))
    for time, row in table.iterrows():
        inside = (frame["time"] >= time) & (frame["time"] < time + width)
        assert row["requests"] == inside.sum()


def test_an_interval_that_is_none(chain: pd.DataFrame) -> None:
    for every in ("often", "", "-1min", "0s", "1M", "NaT", "1ns"):
        with pytest.raises(MeshdiagError, match="is no interval"):
            chain.mesh.rate(every)


def test_a_wrong_clock_does_not_fill_the_memory() -> None:
    frame = lines(access_line(time="1970-01-01T00:00:00.000Z"), HEALTHY)
    with pytest.raises(MeshdiagError, match=r"from 1970-01-01T00:00:00Z to .* filter the frame by time"):
        frame.mesh.rate()
    assert len(frame.mesh.rate("365D")) == 57


def test_requests_without_a_time_are_told(chain: pd.DataFrame) -> None:
    frame = chain.copy()
    frame.loc[frame["direction"] == "inbound", "time"] = pd.NaT
    table = frame.mesh.rate()
    assert table["requests"].sum() == (frame["direction"] == "outbound").sum()
    assert table.attrs["untimed"] == (frame["direction"] == "inbound").sum()


# --- latency ------------------------------------------------------------------------------------------------------


def test_latency(chain: pd.DataFrame) -> None:
    table = chain.mesh.latency(percentiles=(50, 99.9))
    assert [*table.columns] == ["count", "p50", "p99.9", "max", "upstream_p50", "upstream_p99.9"]
    rows = chain[chain["destination_host"] == "pricing.shop.svc.cluster.local"]
    found = table.loc["pricing.shop.svc.cluster.local"]
    assert found["count"] == len(rows) and found["max"] == rows["duration"].max()
    assert found["p50"] == np.percentile(rows["duration"].astype(float), 50)
    assert found["upstream_p50"] == np.percentile(rows["upstream_service_time"].dropna().astype(float), 50)
    assert table["p99.9"].is_monotonic_decreasing
    whole = chain.mesh.latency(by=None)
    assert whole["count"].tolist() == [(chain["kind"] == "access-log").sum()]


def test_connections_have_no_latency() -> None:
    frame = lines(HEALTHY, HEALTHY, HEALTHY, access_line("0", "DC", "downstream_remote_disconnect"))
    frame.loc[0, ["method", "response_code"]] = pd.NA, 0  # TCP
    frame.loc[1, "response_code"] = 101  # a WebSocket
    assert frame.mesh.latency(by=None)["count"].tolist() == [2]
    assert meshdiag.frame(SAMPLES / "09-ambient").mesh.latency().empty


def test_a_percentile_that_is_none(chain: pd.DataFrame) -> None:
    with pytest.raises(MeshdiagError, match="101 is no percentile"):
        chain.mesh.latency(percentiles=(50, 101))
    with pytest.raises(MeshdiagError, match="does not have: colour"):
        chain.mesh.latency(by="colour")


# --- timeline -----------------------------------------------------------------------------------------------------


def test_timeline_of_a_bug_report(catalogue: Catalogue) -> None:
    table = meshdiag.frame(SAMPLES / "bug-report").mesh.timeline()
    assert table["time"].is_monotonic_increasing and len(table) < 45
    after = table[table["time"] >= pd.Timestamp("2026-11-22T09:20Z")]
    # the push, the rejection, the second push, the rejection, the requests that fail, the new pod that does not get ready
    assert after["kind"].tolist()[:7] == ["change", "failure", "failure", "change", "failure", "failure", "failure"]
    assert after["cause"].tolist()[6] == "cluster-not-found" and after["count"].tolist()[6] == 25
    assert after["kind"].tolist()[7] == "milestone" and after["what"].tolist()[7].startswith("process-start, ")


def test_timeline_counts_every_record_once(everything: pd.DataFrame, catalogue: Catalogue) -> None:
    table = everything.mesh.timeline()
    timed = everything[everything["time"].notna()]
    for kind in Kind:
        causes = [c.id for c in catalogue.causes.values() if c.kind is kind]
        assert table["count"][table["kind"] == kind].sum() == timed["cause"].isin(causes).sum()
    assert table.attrs["untimed"] >= (everything["cause"].notna() & everything["time"].isna()).sum() > 0


def test_a_pause_begins_a_new_line() -> None:
    some = [access_line("503", "UH", "no_healthy_upstream", time=f"2026-11-22T10:{m:02}:00.000Z") for m in (0, 3, 7, 7)]
    assert lines(*some).mesh.timeline()["count"].tolist() == [2, 2]
    assert lines(*some).mesh.timeline(quiet="1min")["count"].tolist() == [1, 1, 2]
    assert lines(*reversed(some)).mesh.timeline(quiet="5min")["count"].tolist() == [4]


def test_what_no_pattern_knows_is_not_hidden() -> None:
    odd = access_line("599", "-", "nobody_knows\x1b[31m_this", path="/" + "a" * 500)
    (row,) = lines(odd, HEALTHY).mesh.timeline().to_dict("records")
    assert (row["kind"], row["what"], row["count"]) == ("unrecognised", "known to no pattern", 1)
    assert len(row["text"]) <= 160 and row["text"].isprintable()


# --- any frame ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
def test_types_do_not_depend_on_the_rows(everything: pd.DataFrame, name: str) -> None:
    ask = TABLES[name]
    whole = ask(everything)
    for rows in (
        everything.iloc[:0],
        everything[everything["kind"] == "istio-log"],
        everything[everything["kind"] == "event"],
    ):
        some = ask(rows)
        if "by" not in name or "rate" not in name:
            assert some.dtypes.equals(whole.dtypes)
        assert some.index.names == whole.index.names


@pytest.fixture(scope="module")
def together() -> pd.DataFrame:
    return pd.concat([c.reset_index(drop=True) for c in meshdiag.frames(SAMPLES, rows=500)])


@pytest.mark.parametrize("name", TABLES)
def test_chunks_put_together(everything: pd.DataFrame, together: pd.DataFrame, name: str) -> None:
    """Their categories differ, so pandas makes texts of them; and their index has numbers twice."""
    assert not isinstance(together["workload"].dtype, pd.CategoricalDtype)
    assert_frame_equal(TABLES[name](together), TABLES[name](everything))


@pytest.mark.parametrize("name", TABLES)
def test_any_order_of_the_rows(everything: pd.DataFrame, name: str) -> None:
    one, other = TABLES[name](everything), TABLES[name](everything.sample(frac=1, random_state=7))
    drop = [c for c in ("text", "flags") if c in one]  # of several that came at one moment
    assert_frame_equal(one.drop(columns=drop), other.drop(columns=drop))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_rows_of_any_samples(everything: pd.DataFrame, data: Any) -> None:
    picked = data.draw(st.lists(st.integers(0, len(everything) - 1), max_size=60))
    frame = everything.iloc[picked]
    traffic = frame["kind"].isin(TRAFFIC)
    edges, failed = frame.mesh.edges(), frame.mesh.failed()
    assert edges["client"].sum() + edges["server"].sum() == traffic.sum()
    assert not edges.duplicated(["source", "destination"]).any()
    assert (edges["failed"] <= edges["requests"]).all() and edges["failed"].sum() <= failed.sum() <= traffic.sum()
    assert len(frame.mesh.errors_by_edge()) == (edges["failed"] > 0).sum()
    assert frame.mesh.timeline()["count"].sum() <= len(frame)
    hops = frame.mesh.requests(failures=False)
    assert (
        hops["lines"].sum() + hops.attrs["reused_lines"] + hops.attrs["without_id"]
        == (frame["kind"] == TRAFFIC[0]).sum()
    )


def test_columns_that_are_missing_are_named(chain: pd.DataFrame) -> None:
    bare = chain.drop(columns=["cause", "pattern", "confidence"])
    for name in ("failed", "edges", "errors_by_edge", "rate", "timeline", "requests"):
        with pytest.raises(MeshdiagError, match=r"needs columns that the frame does not have: cause, pattern$"):
            getattr(bare.mesh, name)()
    assert len(bare.mesh.latency()) == 5
    with pytest.raises(MeshdiagError, match=r"^edges\(\) needs .*: upstream_local_address$"):
        chain.drop(columns="upstream_local_address").mesh.edges()
    with pytest.raises(MeshdiagError, match=r"^telling which connections failed needs .*: level$"):
        meshdiag.frame(SAMPLES / "09-ambient").drop(columns="level").mesh.failed()
    with pytest.raises(MeshdiagError, match="does not have: kind, cause"):
        pd.DataFrame().mesh.failed()
    with pytest.raises(MeshdiagError, match=r"the column time is datetime64\[us\], not a time with a zone"):
        chain.assign(time=chain["time"].dt.tz_localize(None)).mesh.rate()


def test_another_zone_is_the_same_time(chain: pd.DataFrame) -> None:
    there = chain.assign(time=chain["time"].dt.tz_convert("Asia/Kolkata").dt.as_unit("ns"))
    for ask in TABLES.values():
        assert_frame_equal(ask(there), ask(chain))
