"""Impact, onset, spread and state of what fails; and findings in groups."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import meshdiag
from meshdiag.diagnosis.groups import BY, NO_EDGE, groups
from meshdiag.diagnosis.incident import Going, incident
from meshdiag.model import Severity
from tests.conftest import HEALTHY, NO_HOST, SAMPLES, access_line
from tests.diagnosis.captures import CART, SHOP, SHOP_2, capture, requests, stamp


def test_without_a_failure_there_is_none() -> None:
    it = incident(meshdiag.diagnose([HEALTHY] * 3))
    assert it.state is Going.NONE and not it.impacts and it.failed is None
    assert it.to_dict()["roots"] == []


def test_impact_is_failed_of_all(tmp_path: Path) -> None:
    d = capture(tmp_path, {SHOP: requests(range(600, 660, 3), range(0, 600, 20))})
    (root,) = incident(d).impacts
    assert (root.failed, root.total, root.about) == (20, 50, False)


def test_a_retry_is_no_request_of_its_own(tmp_path: Path) -> None:
    lines = [
        access_line(
            "503",
            "UH",
            "no_healthy_upstream",
            time=stamp(600 + n),
            host="-",
            local="-",
            request_id=f"r{n // 3}",
        )
        for n in range(30)
    ]
    it = incident(
        capture(tmp_path, {SHOP: lines + [access_line(time=stamp(n), request_id=f"g{n}") for n in range(10)]})
    )
    assert (it.impacts[0].failed, it.impacts[0].total, it.failed) == (10, 20, 10)


def test_onset_against_the_time_before(tmp_path: Path) -> None:
    d = capture(tmp_path, {SHOP: requests(range(660, 900, 5), range(0, 900, 10))})
    began = incident(d).impacts[0].began
    assert began is not None and began.before == 0
    assert f"{began.at:%H:%M:%S}" == "10:11:00"
    assert began.quiet == pytest.approx(11, abs=0.1)


def test_a_log_that_begins_with_the_failure_tells_nothing_about_before(tmp_path: Path) -> None:
    other = requests((), range(0, 900, 10), to="other")
    d = capture(tmp_path, {SHOP: requests(range(660, 900, 5)), SHOP_2: other})
    began = incident(d).impacts[0].began
    assert began is not None and began.quiet < 1


def test_a_rise_has_a_rate_before(tmp_path: Path) -> None:
    failing = [*range(30, 3000, 600), *range(3000, 3600, 2)]
    began = incident(capture(tmp_path, {SHOP: requests(failing, range(0, 3600, 30))})).impacts[0].began
    assert began is not None
    assert began.before == pytest.approx(0.1, abs=0.02) and began.after == pytest.approx(30, abs=1)


def test_what_stopped_three_quiet_minutes_ago_is_over(tmp_path: Path) -> None:
    for end, state in ((1100, Going.OVER), (1000, Going.ONGOING)):
        d = capture(tmp_path / str(end), {SHOP: requests(range(600, 900, 5), range(0, end, 10))})
        assert incident(d).state is state
    quiet = incident(capture(tmp_path / "1100", {})).impacts[0].quiet
    assert quiet.seconds == pytest.approx(195, abs=1)


def test_rare_failures_need_a_longer_silence(tmp_path: Path) -> None:
    d = capture(tmp_path, {SHOP: requests(range(0, 1800, 600), range(0, 2200, 10))})
    assert incident(d).state is Going.ONGOING


def test_silence_of_a_log_that_ended_proves_nothing(tmp_path: Path) -> None:
    other = requests((), range(0, 3600, 10), to="other")
    d = capture(tmp_path, {SHOP: requests(range(600, 900, 5), range(0, 900, 10)), SHOP_2: other})
    assert incident(d).state is Going.ONGOING


def test_what_is_told_once_and_lasts_is_not_over_by_silence() -> None:
    it = incident(meshdiag.diagnose(SAMPLES / "10-rejected-envoyfilter"))
    assert it.impacts[0].cause == "xds-config-rejected"
    assert it.state is Going.ONGOING


def test_a_root_without_requests_shows_those_of_its_symptom() -> None:
    d = meshdiag.diagnose(SAMPLES / "16-service-without-endpoints")
    it = incident(d)
    root = it.impacts[0]
    shown = d.findings[root.shown_by - 1]
    assert shown.cause == "no-healthy-upstream" and root.cause != shown.cause
    assert (root.failed, root.total) == (35, 52)
    assert it.spread.edges == 7 and it.spread.clients == 5 and it.spread.pods == 5


def test_lines_without_times_or_requests() -> None:
    it = incident(
        meshdiag.diagnose(
            ["upstream connect error or disconnect/reset before headers. reset reason: connection failure"]
        )
    )
    assert it.state in (Going.UNKNOWN, Going.NONE)
    assert all(i.began is None for i in it.impacts)


def test_the_same_whatever_the_order_of_files() -> None:
    files = sorted((SAMPLES / "20-retries-multiply").glob("*.log"))
    one, other = (incident(meshdiag.diagnose(*some)) for some in (files, files[::-1]))
    assert one == other


# -- groups


def by(folder: Path, how: str) -> dict[str, tuple[int, int | None]]:
    pods = {
        SHOP: requests([1, 2, 3], [4], who="a") + requests([5], to="pay", who="b"),
        SHOP_2: requests([1, 2], who="c"),
        CART: requests([7], to="pay", who="d"),
    }
    return {g.name: (g.lines, g.failed) for g in groups(capture(folder, pods), how)}


def test_groups(tmp_path: Path) -> None:
    cart, pay = "cart.shop.svc.cluster.local:8080", "pay.shop.svc.cluster.local:8080"
    assert by(tmp_path, "cause") == {"no-healthy-upstream": (7, 7)}
    assert by(tmp_path, "workload") == {"shop/shopfront": (6, 6), "shop/cart": (1, 1)}
    assert by(tmp_path, "pod") == {SHOP: (4, 4), SHOP_2: (2, 2), CART: (1, 1)}
    edges = {
        f"shop/shopfront -> {cart}": (5, 5),
        f"shop/shopfront -> {pay}": (1, 1),
        f"shop/cart -> {pay}": (1, 1),
    }
    assert by(tmp_path, "edge") == edges


def test_a_request_that_several_hops_saw_counts_once_in_a_group() -> None:
    d = meshdiag.diagnose(SAMPLES / "02-connection-refused")
    names = {g.name: g.failed for g in groups(d, "edge")}
    assert names[NO_EDGE] == 20
    assert sum(g.failed or 0 for g in groups(d, "cause")) == 40  # 20 in each of two causes
    assert incident(d).failed == 20


def test_the_worst_group_stands_first() -> None:
    d = meshdiag.diagnose(SAMPLES / "07-proxy-stuck-not-ready")
    found = groups(d, "cause")
    assert [g.severity.rank for g in found] == sorted(g.severity.rank for g in found)
    assert found[0].severity is Severity.CRITICAL


@pytest.mark.parametrize("how", BY)
@pytest.mark.parametrize("sample", ["07-proxy-stuck-not-ready", "09-ambient", "16-service-without-endpoints"])
def test_every_finding_is_in_a_group(how: str, sample: str) -> None:
    d = meshdiag.diagnose(SAMPLES / sample)
    assert {f.rank for g in groups(d, how) for f in g.findings} == {f.rank for f in d.failures}


def test_another_grouping_is_an_error() -> None:
    with pytest.raises(ValueError, match="cause, workload, edge, pod"):
        groups(meshdiag.diagnose([NO_HOST]), "moon")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.sampled_from([NO_HOST, HEALTHY, access_line("404", "NR", "route_not_found", cluster="-")]),
        max_size=8,
    )
)
def test_numbers_fit_together(lines: list[str]) -> None:
    d = meshdiag.diagnose(lines)
    it = incident(d)
    for i in it.impacts:
        assert i.total is None or (i.failed or 0) <= i.total
    for how in BY:
        found = groups(d, how)
        assert sum(g.lines for g in found) == sum(f.count for f in d.failures)
