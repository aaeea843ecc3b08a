"""`df.mesh.requests()`: hops in order, where a request began to fail, ids that are nobody's own."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import meshdiag
from tests.conftest import SAMPLES


def line(
    pod: str,
    side: str,
    *,
    time: str,
    code: str = "503",
    flags: str = "-",
    details: str = "via_upstream",
    duration: int = 5,
    local: str = "-",
    remote: str = "10.9.9.9:0",
    here: str = "10.1.0.1:80",
    to: str = "-",
    sni: str = "-",
    request_id: str = "the-id",
) -> str:
    """A line of Istio's default format by a pod, as `kubectl logs --prefix` gives it."""
    cluster = "inbound|80||" if side == "server" else f"outbound|80||{to}.x.svc.cluster.local"
    return (
        f'[pod/{pod}/istio-proxy] [2026-11-22T10:00:{time}Z] "GET / HTTP/1.1" {code} {flags} {details} - "-" 0 9 {duration} - '
        f'"-" "curl" "{request_id}" "{to}" "10.1.0.9:80" {cluster} {local} {here} {remote} {sni} default'
    )


REFUSED = "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"


def joined(*lines: str, **options: Any) -> pd.DataFrame:
    return meshdiag.frame([*lines]).mesh.requests(**options)


def roots(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    return [*table.loc[table["root"], ["pod", "side", "cause"]].itertuples(index=False, name=None)]


# --- samples ------------------------------------------------------------------------------------------------------


def test_a_chain_is_followed_to_where_it_began() -> None:
    table = meshdiag.frame(SAMPLES / "11-via-upstream-chain").mesh.requests()
    whole = table.loc[table.index[table["cause"] == "upstream-connection-refused"][0][0]]
    assert whole.index.tolist() == [1, 2, 3, 4, 5, 6] and whole["depth"].tolist() == [0, 1, 2, 3, 4, 5]
    assert whole["side"].tolist() == ["client", "server"] * 3
    assert whole["destination"].str.partition(".")[0].tolist() == ["storefront"] * 2 + ["catalog"] * 2 + ["pricing"] * 2
    assert whole["lines"].tolist() == [1, 1, 1, 1, 1, 3]  # three tries
    assert whole["duration"].is_monotonic_decreasing
    began = table[table["root"]].groupby(["destination", "cause"]).size().to_dict()
    assert began == {
        ("pricing.shop.svc.cluster.local:8080", "upstream-connection-refused"): 12,
        ("storefront.shop.svc.cluster.local:8080", "client-disconnected"): 3,
    }


def test_retries_multiply_and_the_timeout_is_the_root() -> None:
    table = meshdiag.frame(SAMPLES / "20-retries-multiply").mesh.requests()
    slow = table.loc[table.index[table["cause"] == "upstream-timeout"][0][0]]
    assert slow["lines"].tolist() == [1, 2, 2, 6]
    assert slow["cause"].tolist()[-1] == "client-disconnected"  # the server lost its client
    assert slow["root"].tolist() == [False, False, True, False]


@pytest.mark.parametrize("folder", sorted(p.name for p in SAMPLES.iterdir() if p.is_dir()))
def test_every_failed_request_began_somewhere(folder: str) -> None:
    frame = meshdiag.frame(SAMPLES / folder)
    table = frame.mesh.requests()
    assert (table.groupby("request_id")["root"].sum() >= 1).all()
    assert (table.loc[table["root"], "failed"] > 0).all()
    bad = frame[frame.mesh.failed() & frame["request_id"].notna()]
    assert set(table.index.get_level_values(0)) == set(bad["request_id"])
    assert table.groupby("request_id")["failed"].sum().to_dict() == bad["request_id"].value_counts().to_dict()
    every = frame.mesh.requests(failures=False)
    assert every.index.is_unique and set(every.index.get_level_values(0)) == set(frame["request_id"].dropna())


@pytest.mark.parametrize("folder", ["11-via-upstream-chain", "02-connection-refused", "20-retries-multiply"])
def test_a_diagnosis_finds_the_same_roots(folder: str) -> None:
    table, told = (x.requests() for x in (meshdiag.frame(SAMPLES / folder).mesh, meshdiag.diagnose(SAMPLES / folder)))
    for one, other in ((table[table["failed"] > 0], told),):
        keys = [
            {
                (i, *row)
                for (i, _), row in zip(t.index, t[["pod", "side", "cause", "root"]].to_numpy().tolist(), strict=True)
            }
            for t in (one, other)
        ]
        assert keys[0] == keys[1]


# --- order --------------------------------------------------------------------------------------------------------

GATEWAY = line("gateway", "client", time="01.000", to="shop", local="10.1.0.2:4000", duration=20)
SHOP = line("shop", "server", time="01.002", remote="10.1.0.2:4000", duration=18)
CALL = line("shop", "client", time="01.004", to="cart", flags="URX", local="10.1.0.3:5000", duration=14)
CART = line("cart", "server", time="01.006", flags="UF", details=REFUSED, remote="10.1.0.3:5000", duration=1, local="-")


def test_the_connection_tells_though_clocks_differ() -> None:
    early = CART.replace("10:00:01.006", "10:00:00.100")  # its node's clock is slow
    table = joined(early, GATEWAY, CALL, SHOP)
    assert table["pod"].tolist() == ["gateway", "shop", "shop", "cart"]
    assert table["depth"].tolist() == [0, 1, 2, 3]
    assert roots(table) == [("cart", "server", "upstream-connection-refused")]


def test_a_proxy_whose_log_is_missing() -> None:
    table = joined(GATEWAY, CART)
    assert table["depth"].tolist() == [0, 0] and table["pod"].tolist() == ["gateway", "cart"]
    assert roots(table) == [("cart", "server", "upstream-connection-refused")]
    assert roots(joined(GATEWAY)) == [("gateway", "client", "app-error")]
    assert roots(joined(GATEWAY, SHOP)) == [("shop", "server", "app-error")]  # its application says so itself
    assert roots(joined(GATEWAY, SHOP, CALL)) == [("shop", "client", "app-error")]


def test_a_try_that_went_well_later() -> None:
    good = line("cart", "server", time="01.050", code="200", remote="10.1.0.3:5000")
    ok = CALL.replace(" 503 URX ", " 200 - ")
    table = joined(ok, CART, good)
    assert table[["lines", "failed"]].to_numpy().tolist() == [[1, 0], [2, 1]]
    assert table["response_code"].tolist() == [200, 200]
    assert table["cause"].tolist()[1] == "upstream-connection-refused"
    assert roots(table) == [("cart", "server", "upstream-connection-refused")]


def test_all_requests_on_demand() -> None:
    fine = GATEWAY.replace(" 503 ", " 200 ")
    assert joined(fine).empty
    table = joined(fine, failures=False)
    assert len(table) == 1 and not table["root"].any()


def test_calls_in_a_circle_end() -> None:
    a = line("a", "server", time="01.000", remote="10.1.0.5:1")
    b = line("a", "client", time="01.000", to="b", local="10.1.0.4:1")
    c = line("b", "server", time="01.000", remote="10.1.0.4:1")
    d = line("b", "client", time="01.000", to="a", local="10.1.0.5:1")
    table = joined(a, b, c, d)
    assert len(table) == 4 and table["root"].any()


# --- ids that are nobody's own ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        [GATEWAY] * 51,
        [GATEWAY.replace("01.000", f"{s:02}.000") for s in range(0, 60, 5)],
        [GATEWAY.replace("pod/gateway", f"pod/gateway{n}") for n in range(25)],
        [GATEWAY, GATEWAY.replace("T10:00", "T10:16")],
        [line("gateway", "client", time="01.000", to="shop", request_id="a" * 129)],
    ],
    ids=["many lines", "for long", "many places", "again", "long"],
)
def test_an_id_that_is_used_again_joins_nothing(lines: list[str]) -> None:
    own = line("gateway", "client", time="02.000", to="shop", request_id="own")
    table = joined(*lines, own)
    assert set(table.index.get_level_values(0)) == {"own"}
    assert table.attrs["reused_lines"] + table.attrs["without_id"] == len(lines)


def test_a_flood_with_one_id_is_cheap() -> None:
    frame = meshdiag.frame([GATEWAY, SHOP, CALL, CART])
    many = pd.concat([frame] * 5000, ignore_index=True)
    assert many.mesh.requests().empty
    assert many.mesh.requests().attrs["reused_lines"] == 20_000


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.builds(
            line,
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from(["client", "server"]),
            time=st.sampled_from(["01.000", "01.001", "02.000", "59.000"]),
            code=st.sampled_from(["200", "503", "0"]),
            flags=st.sampled_from(["-", "UF", "DC", "URX"]),
            to=st.sampled_from(["a", "b", "c"]),
            local=st.sampled_from(["-", "10.1.0.1:1", "10.1.0.2:2"]),
            remote=st.sampled_from(["10.1.0.1:1", "10.1.0.2:2", "10.9.9.9:0"]),
            request_id=st.sampled_from(["one", "two", "-"]),
        ),
        min_size=1,
        max_size=25,
    )
)
def test_laws(lines: list[str]) -> None:
    frame = meshdiag.frame(lines)
    table = frame.mesh.requests()
    assert table.index.is_unique and table["lines"].sum() <= len(lines)
    for _, hops in table.groupby(level=0):
        assert hops.index.get_level_values(1).tolist() == [*range(1, len(hops) + 1)]
        assert hops["root"].any() and (hops["depth"] < len(hops)).all()
        assert (hops.loc[hops["root"], "failed"] > 0).all()
    again = frame.sample(frac=1, random_state=1).mesh.requests()
    assert sorted(again["root"].groupby(level=0).sum().items()) == sorted(table["root"].groupby(level=0).sum().items())
