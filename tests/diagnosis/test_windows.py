"""What is new, lasts, is over and comes back, and how often it comes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import Diagnosis, Findings
from meshdiag.diagnosis.windows import LogClock, Phase, Watch, Windows, per_minute
from meshdiag.engine.scan import Scanner
from meshdiag.sources import open_inputs
from tests.conftest import access_line

START = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)


def failing(second: float) -> str:
    """A failing line so many seconds after START."""
    time = (START + timedelta(seconds=second)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return access_line("503", "UH", "no_healthy_upstream", host="-", local="-", time=time)


@pytest.fixture(scope="module")
def scanner(catalogue: Catalogue) -> Scanner:
    return Scanner(catalogue)


def found(scanner: Scanner, *seconds: float) -> Findings:
    """The findings of failing lines at these seconds."""
    (stream,) = open_inputs([[failing(s) for s in seconds]], lambda _: None)
    return scanner.scan(stream)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def test_a_failure_begins_lasts_ends_and_comes_back(scanner: Scanner, catalogue: Catalogue) -> None:
    """Each turn is told once; while it lasts its numbers are told at most every ten seconds."""
    watch, seen = Watch(), Findings()
    seen = seen + found(scanner, *range(30))
    told = list(watch.changes(Diagnosis(seen, catalogue), at(30)))
    assert [(t.phase, t.finding.count) for t in told] == [(Phase.NEW, 30)]
    assert list(watch.changes(Diagnosis(seen, catalogue), at(31))) == []
    seen = seen + found(scanner, 32)
    assert list(watch.changes(Diagnosis(seen, catalogue), at(33))) == []
    told = list(watch.changes(Diagnosis(seen, catalogue), at(41)))
    assert [(t.phase, t.finding.count) for t in told] == [(Phase.ONGOING, 31)]
    assert watch.standings[0].lasts == pytest.approx(41)
    told = list(watch.changes(Diagnosis(seen, catalogue), at(200)))
    assert [t.phase for t in told] == [Phase.OVER]
    assert list(watch.changes(Diagnosis(seen, catalogue), at(201))) == []
    seen = seen + found(scanner, 202)
    told = list(watch.changes(Diagnosis(seen, catalogue), at(203)))
    assert [t.phase for t in told] == [Phase.AGAIN]
    assert list(watch.changes(Diagnosis(seen, catalogue), at(204))) == []


def test_a_failure_that_comes_seldom_is_not_over_at_once(scanner: Scanner, catalogue: Catalogue) -> None:
    """What comes every thirty seconds is over only after a silence that is long for it."""
    watch, seen = Watch(), found(scanner, 0, 30, 60, 90, 120)
    diagnosis = Diagnosis(seen, catalogue)
    assert [t.phase for t in watch.changes(diagnosis, at(121))] == [Phase.NEW]
    assert [t.phase for t in watch.changes(diagnosis, at(300))] == []
    assert [t.phase for t in watch.changes(diagnosis, at(500))] == [Phase.OVER]


def test_what_was_over_before_is_not_told(scanner: Scanner, catalogue: Catalogue) -> None:
    """A failure of the past, seen at the start, is no news."""
    watch = Watch()
    assert list(watch.changes(Diagnosis(found(scanner, *range(10)), catalogue), at(3600))) == []
    assert watch.standings == ()


def test_the_rate_is_of_the_last_minute(scanner: Scanner, catalogue: Catalogue) -> None:
    """Two lines a second are 120 a minute, wherever in the clock's minute we stand; later none."""
    for second in (200, 215, 230, 299):
        diagnosis = Diagnosis(found(scanner, *(s / 2 for s in range(2 * second))), catalogue)
        assert per_minute(diagnosis.failures[0], at(second)) == pytest.approx(120, abs=2)
        assert per_minute(diagnosis.failures[0], at(1000)) == 0


def test_a_window_forgets(scanner: Scanner, catalogue: Catalogue) -> None:
    """The diagnosis is of the window; without a length it is of all."""
    windows, everything = Windows(catalogue, timedelta(minutes=12)), Windows(catalogue, None)
    for minute in range(60):
        part = found(scanner, minute * 60) if minute < 3 else Findings()
        windows.add(part, minute * 60.0)
        everything.add(part, minute * 60.0)
        if minute == 10:
            assert windows.diagnosis().failures[0].count == 3
    assert windows.diagnosis().failures == ()
    assert everything.diagnosis().failures[0].count == 3


def test_windows_are_a_sum(scanner: Scanner, catalogue: Catalogue) -> None:
    """Within its length a window says what one scan of everything says."""
    windows = Windows(catalogue, timedelta(hours=1))
    for i in range(0, 30, 3):
        windows.add(found(scanner, i, i + 1, i + 2), float(i))
    whole = Diagnosis(found(scanner, *range(30)), catalogue)
    assert [(f.cause, f.subject, f.count, f.first, f.last) for f in windows.diagnosis().findings] == [
        (f.cause, f.subject, f.count, f.first, f.last) for f in whole.findings
    ]


def test_the_clock_of_the_logs_goes_on() -> None:
    """It stands at the latest line and goes on while nothing comes; it never goes back."""
    clock = LogClock()
    clock.saw(at(100), 5.0)
    assert clock.time(5.0) == at(100)
    assert clock.time(65.0) == at(160)
    clock.saw(at(50), 66.0)
    assert clock.time(66.0) == at(161)
