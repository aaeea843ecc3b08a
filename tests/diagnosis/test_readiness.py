"""What became of a start: ready, still starting, never ready, or not in the log."""

from pathlib import Path

import pytest

import meshdiag
from meshdiag.diagnosis.readiness import Ready, Start, start_of, starts, to_dict
from tests.conftest import HEALTHY, SAMPLES
from tests.diagnosis.captures import CART, SHOP, capture, delayed, later, start_log

NOT_READY = "warn\tEnvoy proxy is NOT ready: config not received from XDS server (is Istiod running?): cds updates: 0 successful, 0 rejected; lds updates: 0 successful, 0 rejected"  # fmt: skip  # noqa: E501


def only(folder: Path, *lines: str) -> Start:
    (one,) = starts(capture(folder, {CART: lines}))
    return one


def until(text: str, lines: list[str]) -> list[str]:
    """The records up to and with the first that has this text."""
    return lines[: next(i for i, line in enumerate(lines) if text in line) + 1]


def launched() -> list[str]:
    return until("Envoy command:", start_log())


def test_a_start_of_forty_seconds_is_healthy(tmp_path: Path) -> None:
    one = only(tmp_path, *delayed(start_log(), "Readiness succeeded", 40))
    assert one.state is Ready.READY and not one.blocking
    assert one.timeline.took == pytest.approx(41.3, abs=0.5)
    assert one.waited is None


def test_a_log_that_merely_ends_early_is_no_failure(tmp_path: Path) -> None:
    last = launched()[-1]
    one = only(tmp_path, *launched(), *(later(f"{last[:27]}\t{NOT_READY}", s) for s in range(2, 40, 2)))
    assert one.state is Ready.STARTING
    assert one.silent == pytest.approx(38, abs=1)
    assert one.timeline.last is not None and one.timeline.last.name == "envoy-launch"


def test_ninety_seconds_without_progress_are_one(tmp_path: Path) -> None:
    last = launched()[-1]
    one = only(tmp_path, *launched(), *(later(f"{last[:27]}\t{NOT_READY}", s) for s in range(2, 92, 2)))
    assert one.state is Ready.NOT_READY
    assert one.timeline.next == ("xds-connected", "certificate-issued", "ready")
    assert [f.cause for f in one.roots] == ["proxy-waiting-for-config"]
    assert one.waited == pytest.approx(90, abs=1)


def test_a_critical_failure_is_told_at_once() -> None:
    d = meshdiag.diagnose(SAMPLES / "08-istiod-certificate-expired")
    one = start_of(d, d.timeline("productpage"))
    assert one.silent is not None and one.silent < 60
    assert one.state is Ready.NOT_READY
    assert one.roots[0].cause == "istiod-certificate-expired"


def test_a_log_that_begins_later_does_not_tell(tmp_path: Path) -> None:
    connected = next(line for line in start_log() if "connected to" in line.lower() and "xds" in line.lower())
    one = only(tmp_path, connected, HEALTHY)
    assert one.state is Ready.UNKNOWN and one.since is None


def test_a_log_that_says_not_ready_from_its_first_line_to_its_last_does(tmp_path: Path) -> None:
    first = f"2026-11-22T10:00:00.000000Z\t{NOT_READY}"
    assert only(tmp_path / "a", *(later(first, s) for s in range(0, 100, 2))).state is Ready.NOT_READY
    assert only(tmp_path / "b", *(later(first, s) for s in range(0, 30, 2))).state is Ready.STARTING


def test_the_second_start_counts(tmp_path: Path) -> None:
    again = [later(r, 600) for r in launched()]
    again += [later(f"{again[-1][:27]}\t{NOT_READY}", s) for s in range(2, 92, 2)]
    one = only(tmp_path, *start_log(), *again)
    assert one.timeline.starts == 2
    assert one.state is Ready.NOT_READY


def test_those_that_are_not_ready_stand_first(tmp_path: Path) -> None:
    stuck = [*launched(), later(f"{launched()[-1][:27]}\t{NOT_READY}", 100)]
    found = starts(capture(tmp_path, {"a-7d6c5f9b84-z6r4p": start_log(), SHOP: stuck, CART: start_log()}))
    assert next(s.timeline.pod for s in found) == SHOP
    assert [s.state for s in found] == [Ready.NOT_READY, Ready.READY, Ready.READY]
    data = to_dict(found)
    assert data["schema"] == "meshdiag/timeline/v1"
    first = data["timelines"][0]
    assert first["state"] == "not ready" and first["next"][0] == "xds-connected"
    assert first["milestones"][0]["name"] == "process-start"


@pytest.mark.parametrize("sample", sorted(p.name for p in SAMPLES.iterdir() if p.is_dir() and p.name[:2].isdigit()))
def test_in_the_samples_only_those_that_say_so_are_stuck(sample: str) -> None:
    stuck = {
        "07-proxy-stuck-not-ready": {"cart"},
        "08-istiod-certificate-expired": {"productpage"},
        "10-rejected-envoyfilter": {"istio-ingressgateway"},
        "14-istiod-oom": {"invoice"},
    }
    found = starts(meshdiag.diagnose(SAMPLES / sample))
    assert {s.timeline.subject.name.removesuffix("-v1") for s in found if s.state is Ready.NOT_READY} == stuck.get(
        sample, set()
    )
