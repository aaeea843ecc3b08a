"""Timeline, incident, groups and comparison as a person sees them: right, harmless, within the width."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import meshdiag
from meshdiag.diagnosis.compare import compare
from meshdiag.diagnosis.groups import BY
from meshdiag.diagnosis.readiness import start_of, starts
from meshdiag.views import compare as compared
from meshdiag.views import groups, timeline
from meshdiag.views import incident as view
from meshdiag.views.amounts import duration, percent, rate
from meshdiag.views.safe import columns
from meshdiag.views.style import Style
from tests.conftest import NO_HOST, SAMPLES, access_line
from tests.diagnosis.captures import CART, SHOP, capture, delayed, requests, start_log

PLAIN = Style(False)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")
HOSTILE = "\x1b[2Jevil\x07\u202egpj<script>`|"


def sample(name: str) -> meshdiag.Diagnosis:
    (path,) = SAMPLES.glob(f"{name}-*")
    return meshdiag.diagnose(path)


def block(d: meshdiag.Diagnosis, width: int = 100) -> dict[str, str]:
    lines = list(view.incident_lines(d, width, PLAIN))
    assert len(lines) <= 4
    return {line[:9].strip(): line[9:] for line in lines}


# -- incident


def test_the_block_of_one_root() -> None:
    said = block(sample("02"))
    assert said["impact"] == "20 of 20 requests (100 %) failed"
    assert said["onset"] == "began 09:12, none in the 52 min before"
    assert said["spread"] == "1 edge, 2 workloads, 2 pods"
    assert said["state"] == "ongoing, last at 09:15:38, as the log ends"


def test_the_block_of_several_roots(tmp_path: Path) -> None:
    lines = requests(range(600, 700, 10), range(0, 1200, 10))
    lines = sorted(lines + requests([5, 6], range(0, 1200, 100), to="pay", who="p"))
    said = block(capture(tmp_path, {SHOP: lines}))
    assert said["impact"] == "12 requests failed: #1 10 of 130 (7.7 %), #2 2 of 14 (14 %)"
    assert said["onset"] == "#1 began 10:10, none in the 10 min before, #2 from the first lines on (10:00)"
    assert said["state"] == "over, none in the last 8 min 20 s (last at 10:11:30)"


def test_a_rise(tmp_path: Path) -> None:
    d = capture(tmp_path, {SHOP: requests([*range(30, 3000, 600), *range(3000, 3600, 2)])})
    assert block(d)["onset"] == "rose at 10:50 from 0.1 to 30 a minute"


def test_no_failure_no_block() -> None:
    assert not list(view.incident_lines(sample("01"), 80, PLAIN))
    assert not view.incident_markdown(sample("01"))


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_block_keeps_to_the_width(width: int) -> None:
    for name in ("12", "16", "20"):
        for line in view.incident_lines(sample(name), width, PLAIN):
            assert columns(line) <= width


def test_colour_changes_no_text() -> None:
    d = sample("20")
    for by in BY:
        coloured = groups.render(d, by, style=Style(True))
        assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == groups.render(d, by)


# -- groups


def test_groups_as_text(tmp_path: Path) -> None:
    d = capture(tmp_path, {SHOP: requests([1, 2, 3]), CART: requests([7], to="pay")})
    out = groups.render(d, "workload")
    assert "2 findings by workload: 2 groups" in out
    assert "shop/shopfront · error · 3 requests failed · 3 lines\n   #1 no-healthy-upstream  3 lines" in out
    assert out.index("shop/shopfront") < out.index("shop/cart ·")


def test_groups_are_limited_and_say_so() -> None:
    out = groups.render(sample("16"), "pod", limit=2)
    assert "… and 5 more groups: --limit 0 shows all" in out


def test_groups_as_markdown() -> None:
    out = groups.markdown(sample("20"), "cause")
    assert out.startswith("# Mesh diagnosis by cause\n")
    assert "- **impact**: 17 requests failed" in out
    assert "## `upstream-timeout`" in out and "symptom |" in out


def hostile() -> meshdiag.Diagnosis:
    bad = HOSTILE.replace(" ", "")
    return meshdiag.diagnose(
        [
            access_line("404", "NR", "route_not_found", cluster="-", authority=bad, host="-", local="-"),
            f"[pod/{bad}/istio-proxy] {NO_HOST}",
            *(f"[pod/{bad}/istio-proxy] {line}" for line in start_log()[:40]),
        ]
    )


def test_no_control_character_of_a_log_is_written() -> None:
    d = hostile()
    out = [groups.render(d, by) + groups.markdown(d, by) for by in BY]
    out += ["\n".join(view.incident_lines(d, 80, PLAIN))]
    for c in (compare(d, sample("01")), compare(sample("01"), d)):
        out += [compared.render(c), compared.markdown(c)]
    out += [timeline.render_all(d, starts(d)), *(timeline.render_one(d, s) for s in starts(d))]
    assert not CONTROL.search("".join(out))
    assert any("evil" in text for text in out)


# -- timeline


def test_the_table() -> None:
    d = sample("07")
    out = timeline.render_all(d, starts(d), width=100)
    assert "2 ready, 1 not ready" in out
    assert re.search(
        r"cart-7d6c5f9b84-z6r4p +pilot-agent +not since 10:02:11 +envoy-launch\n +blocked by #1 ca-unreachable",
        out,
    )
    assert re.search(r"orders-5f67c8b9d4-k9v2t +pilot-agent +after 1\.2 s +ready\n", out)


def test_one_that_is_stuck() -> None:
    d = sample("07")
    out = timeline.render_one(d, start_of(d, d.timeline("cart")))
    assert "Not ready since 2026-11-22 10:02:11 UTC, 87 s when the log ends." in out
    assert re.search(r"10:02:11\.067 +\+0\.0 s  envoy-launch +last reached\n +xds-connected +expected next\n", out)
    assert re.search(r"10:03:38\.\d+ +\+87 s  the log ends +█+\n", out)
    assert "#3 proxy-waiting-for-config" in out and "explained by #1, #2" in out


def test_a_slow_start_is_said_to_be_healthy(tmp_path: Path) -> None:
    d = capture(tmp_path, {CART: delayed(start_log(), "Readiness succeeded", 40)})
    out = timeline.render_one(d, start_of(d, d.timeline("cart")))
    assert "Ready after 41 s: slow, and healthy. The longest wait was 41 s before ready." in out
    assert re.search(r"\+41 s  ready +█{24}\n", out)
    assert "blocked" not in out


def test_no_start_in_the_logs() -> None:
    d = meshdiag.diagnose([NO_HOST])
    assert "No start of a proxy" in timeline.render_all(d, starts(d))


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_timeline_keeps_to_the_width(width: int) -> None:
    for name in ("07", "08", "10", "14"):
        d = sample(name)
        out = timeline.render_all(d, starts(d), width=width)
        out += "".join(timeline.render_one(d, s, width=width) for s in starts(d))
        for line in out.splitlines():
            longest = max(map(columns, line.split()), default=0)
            assert columns(line) <= max(width, longest + 12, 60), line


# -- comparison


def test_a_comparison() -> None:
    out = compared.render(compare(sample("02"), sample("01")))
    assert "Nothing new or worse: 2 gone" in out
    assert (
        "upstream-connection-refused (error)  default/ratings-v1\n      20 of 20 requests (100 %) → none of 11\n" in out
    )
    assert "app-error (error, symptom)" in out
    assert "The captures have 43 min in common" in out


def test_a_comparison_says_why_it_proves_nothing(tmp_path: Path) -> None:
    a, b = (
        capture(tmp_path / "a", {SHOP: requests(range(9))}),
        capture(tmp_path / "b", {CART: requests((), range(9))}),
    )
    out = compared.render(compare(a, b))
    assert "Nothing new or worse: 1 not proven" in out
    assert "Not in the second capture, which proves nothing (1)" in out
    assert "9 lines → none\n      no line of shop/shopfront in it" in out


def test_a_comparison_as_markdown() -> None:
    out = compared.markdown(compare(sample("01"), sample("02")))
    assert "**2 new**" in out
    assert (
        "| `upstream-connection-refused` (error) | `default/ratings-v1` | none of 11 requests → 20 of 20 (100 %) |"
        in out
    )


def test_the_wrong_way_round() -> None:
    assert "older than the first" in compared.render(compare(sample("20"), sample("16")))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_comparison_keeps_to_the_width(width: int) -> None:
    for line in compared.render(compare(sample("20"), sample("16")), width=width).splitlines():
        assert columns(line) <= width, line


# -- words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (0.3, "0.3 s"), (41.2, "41 s"), (87, "87 s"), (125, "2 min 5 s"), (180, "3 min"), (840, "14 min"),
     (7200, "2 h"), (7800, "2 h 10 min"), (86400 * 30, "30 d")],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_per_cent_is_all_or_none_only_when_it_is(part: int, whole: int) -> None:
    said = percent(min(part, whole), whole)
    assert (said == "100 %") == (part >= whole)
    assert (said == "0 %") == (part == 0)


def test_rates() -> None:
    assert [rate(x) for x in (34, 0.2, 0.05, 1 / 720)] == [
        "34 a minute",
        "0.2 a minute",
        "3 an hour",
        "2 a day",
    ]
