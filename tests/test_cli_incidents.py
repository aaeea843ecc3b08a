"""`timeline`, `diff` and `diagnose --group-by` on the command line: output, exit codes, mistakes."""

import json
import os
from pathlib import Path

import pytest

from meshdiag.cli import main
from tests.conftest import HEALTHY, NO_HOST, SAMPLES
from tests.diagnosis.captures import CART, SHOP, requests, write

STUCK = str(SAMPLES / "07-proxy-stuck-not-ready")
GOOD = str(SAMPLES / "01-healthy-mesh")
BROKEN = str(SAMPLES / "02-connection-refused")


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def out(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> str:
    assert main(args) == code
    return capsys.readouterr().out


def mistake(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    assert main(args) == 2
    err = capsys.readouterr().err
    assert err.startswith("meshdiag: ") and err.count("\n") == 1
    return err


# -- timeline


def test_timeline_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert "5 ready" in out(capsys, "timeline", GOOD)
    assert "1 not ready" in out(capsys, "timeline", STUCK, code=1)
    assert "Not ready since" in out(capsys, "timeline", "cart", STUCK, code=1)
    assert "Ready after" in out(capsys, "timeline", "shop/orders", STUCK)
    assert "absent.LOG" in mistake(capsys, "timeline", STUCK, "logs/absent.LOG")


def test_timeline_takes_the_pod_before_or_behind_the_input(capsys: pytest.CaptureFixture[str]) -> None:
    first = out(capsys, "timeline", "cart", STUCK, code=1)
    assert first == out(capsys, "timeline", STUCK, "cart", code=1)


def test_a_pod_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    said = mistake(capsys, "timeline", "carrot", STUCK)
    assert "'carrot' is no file or folder here" in said and "cart-7d6c5f9b84-z6r4p" in said
    assert "name its logs" in mistake(capsys, "timeline", "carrot")
    assert "one pod at most" in mistake(capsys, "timeline", "cart", "orders", STUCK)


def test_what_is_there_is_no_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cart").write_text(HEALTHY + "\n")
    monkeypatch.chdir(tmp_path)
    assert "Not ready" not in out(capsys, "timeline", "cart", STUCK, code=1)


def test_timeline_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(out(capsys, "timeline", "cart", STUCK, "-o", "json", code=1))
    (one,) = data["timelines"]
    assert data["schema"] == "meshdiag/timeline/v1"
    assert one["state"] == "not ready" and one["last"] == "envoy-launch"
    assert one["next"] == ["xds-connected", "certificate-issued", "ready"]
    assert [b["cause"] for b in one["blocking"]][:2] == ["ca-unreachable", "xds-unreachable"]
    assert len(json.loads(out(capsys, "timeline", STUCK, "-o", "json", code=1))["timelines"]) == 3


# -- diff


def test_diff_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Nothing new or worse: 2 gone" in out(capsys, "diff", BROKEN, GOOD)
    assert "2 new" in out(capsys, "diff", GOOD, BROKEN, code=1)
    assert "unchanged" in out(capsys, "diff", BROKEN, BROKEN)
    assert "absent" in mistake(capsys, "diff", BROKEN, "absent")


def test_diff_of_several_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = (
        write(tmp_path / "a", {SHOP: requests(range(9))}),
        write(tmp_path / "b", {CART: requests(range(9))}),
    )
    good = write(tmp_path / "c", {SHOP: requests((), range(90)), CART: requests((), range(90))})
    args = ("diff", "--before", str(a), str(b), "--after", str(good))
    assert "Nothing new or worse: 1 gone" in out(capsys, *args)
    data = json.loads(out(capsys, *args, "-o", "json"))
    assert data["schema"] == "meshdiag/diff/v1" and data["worse"] is False
    (one,) = data["changes"]
    assert one["change"] == "gone" and one["before"]["count"] == 18 and one["after"]["total"] == 180


def test_diff_of_one_capture_cut_where_the_change_was_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = str(write(tmp_path, {SHOP: requests(range(0, 600, 5), range(600, 1800, 5))}))
    assert "Nothing new or worse: 1 gone" in out(capsys, "diff", logs, logs, "--changed-at", "2026-11-22T10:10:00Z")
    assert "common" not in out(capsys, "diff", logs, logs, "--changed-at", "2026-11-22T10:10:00Z")


@pytest.mark.parametrize(
    "args", [(), (GOOD,), (GOOD, GOOD, GOOD), ("--before", GOOD), (GOOD, GOOD, "--after", GOOD), ("-", "-")]
)
def test_diff_mistakes(args: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert "captur" in (said := mistake(capsys, "diff", *args)) or "BEFORE and AFTER" in said


def test_diff_shows_only_what_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    said = out(capsys, "diff", GOOD, BROKEN, "--suppress", "app-error", code=1)
    assert "1 new" in said and "app-error" not in said
    assert "no cause is named 'app-eror'" in mistake(capsys, "diff", GOOD, BROKEN, "--cause", "app-eror")


def test_diff_as_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert "## Gone (2)" in out(capsys, "diff", BROKEN, GOOD, "-o", "markdown")


# -- diagnose --group-by


@pytest.mark.parametrize("by", ["cause", "workload", "edge", "pod"])
def test_group_by(by: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = out(capsys, "diagnose", BROKEN, "--group-by", by, code=1)
    assert f"2 findings by {by}" in said and "impact   20 of 20 requests" in said
    assert f"# Mesh diagnosis by {by}" in out(capsys, "diagnose", BROKEN, "--group-by", by, "-o", "markdown", code=1)


def test_group_by_is_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert "text and markdown" in mistake(capsys, "diagnose", BROKEN, "--group-by", "pod", "-o", "json")


def test_group_by_without_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No failure found." in out(capsys, "diagnose", GOOD, "--group-by", "cause")
    (tmp_path / "x.log").write_text(NO_HOST + os.linesep)
    assert "1 group\n" in out(capsys, "diagnose", str(tmp_path / "x.log"), "--group-by", "edge", code=1)
