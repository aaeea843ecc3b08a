"""Lines that come in pieces say the same as the file that they make."""

from __future__ import annotations

import functools
import io
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import Diagnosis, Findings
from meshdiag.engine.live import HOLD_SECONDS, LiveScanner
from meshdiag.engine.scan import Scanner
from meshdiag.model import Match
from meshdiag.sources import open_inputs
from meshdiag.sources.base import Stream
from meshdiag.sources.live import Lines
from meshdiag.testing import lines
from tests.conftest import HEALTHY, NO_HOST, REFUSED, SAMPLES

PANIC = "panic: runtime error: invalid memory address or nil pointer dereference\n[signal SIGSEGV]\n\ngoroutine 1 [running]:\n"
KUBELET = b"2026-11-22T10:00:%02d.%09dZ "


class Clock:
    """A clock that stands until it is told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def scanner(catalogue: Catalogue) -> Scanner:
    return Scanner(catalogue, block=1 << 16)


def streams_of(folder: Path) -> list[tuple[Stream, bytes]]:
    """The logs of a sample with their content."""
    out = []
    for stream in open_inputs([str(folder)], lambda _: None):
        with stream.open() as file:
            out.append((stream, file.read()))
    return out


def told(found: Findings) -> object:
    """What must not depend on how lines came."""
    counted = {
        key: (
            t.count,
            t.first,
            t.last,
            t.patterns,
            {p: v.count for p, v in t.places.items()},
            [p.sample for p in t.proof],
        )
        for key, t in found.tallies.items()
    }
    shapes = {name: (s.count, s.sample) for name, s in found.shapes.items()}
    return found.bytes, found.lines, found.matched, found.harmless, found.unrecognised, counted, shapes, found.traffic


@pytest.mark.parametrize("name", sorted(p.name for p in SAMPLES.iterdir() if p.is_dir()))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32))
def test_pieces_say_the_same(name: str, scanner: Scanner, seed: int) -> None:
    """The logs of a sample, cut at any line ends and mixed in any order, give the findings of the whole files."""
    dice = random.Random(seed)
    live = LiveScanner(scanner, Clock())
    whole: list[Findings] = []
    left: list[tuple[Stream, list[bytes], int]] = []
    for stream, content in streams_of(SAMPLES / name):
        if not content.endswith(b"\n"):
            content += b"\n"
        whole.append(scanner.scan(Stream(stream.origin, functools.partial(io.BytesIO, content))))
        left.append((stream, content.splitlines(keepends=True), 0))
    parts = []
    while left:
        at = dice.randrange(len(left))
        stream, rest, offset = left.pop(at)
        some = rest[: dice.randint(1, max(1, len(rest)))]
        piece = b"".join(some)
        live.feed(Lines(stream.origin, offset, piece))
        if len(some) < len(rest):
            left.append((stream, rest[len(some) :], offset + len(piece)))
        if dice.random() < 0.5:
            parts.append(live.take())
    for origin in live.origins():
        live.end(origin)
    parts.append(live.take())
    assert told(Findings.sum(parts)) == told(Findings.sum(whole))


def test_a_record_waits_for_its_continuation(catalogue: Catalogue) -> None:
    """A head that comes alone is held until the next record, and joined with the lines that continue it."""
    matches: list[Match] = []
    clock = Clock()
    live = LiveScanner(Scanner(catalogue, on_match=matches.append, block=1 << 16), clock)
    head = "2026-11-22T10:00:00.000000Z\twarn\tenvoy config\tgRPC config for type.googleapis.com/x rejected: Error adding a:"
    first = lines("shop", "cart-0", "istio-proxy", head)
    live.feed(first)
    live.release()
    assert not matches
    rest = lines("shop", "cart-0", "istio-proxy", "  Didn't find a registered implementation", HEALTHY)
    live.feed(Lines(first.origin, len(first.data), rest.data))
    assert len(matches) == 1
    assert "registered implementation" in matches[0].record.text


def test_a_record_does_not_wait_for_ever(catalogue: Catalogue) -> None:
    """When nothing follows for HOLD_SECONDS, the last record is looked at."""
    matches: list[Match] = []
    clock = Clock()
    live = LiveScanner(Scanner(catalogue, on_match=matches.append, block=1 << 16), clock)
    live.feed(lines("shop", "cart-0", "istio-proxy", "2026-11-22T10:00:00.000000Z\tinfo\tEnvoy proxy is ready"))
    live.release()
    assert not matches
    clock.now += HOLD_SECONDS + 0.1
    live.release()
    assert [m.cause for m in matches] == ["proxy-ready"]


def test_access_lines_do_not_wait(catalogue: Catalogue) -> None:
    """Nothing continues a line of an access log, bare or behind the kubelet's time, so it is told at once."""
    matches: list[Match] = []
    live = LiveScanner(Scanner(catalogue, on_match=matches.append, block=1 << 16), Clock())
    live.feed(lines("shop", "cart-0", "istio-proxy", NO_HOST))
    live.feed(lines("shop", "web-0", "istio-proxy", KUBELET % (1, 5) + REFUSED.encode()))
    assert [m.cause for m in matches] == ["no-healthy-upstream", "upstream-connection-refused"]


def test_the_time_of_the_kubelet_changes_nothing(catalogue: Catalogue, scanner: Scanner) -> None:
    """Access lines behind the kubelet's time are counted together as bare ones are, with the same findings."""
    bare = [NO_HOST if i % 3 else HEALTHY for i in range(300)]
    found = []
    for stamped in (False, True):
        live = LiveScanner(scanner, Clock())
        text = [(KUBELET % (i % 60, i)) + line.encode() if stamped else line for i, line in enumerate(bare)]
        live.feed(lines("shop", "cart-0", "istio-proxy", *text))
        found.append(live.take())
    assert found[0].matched == found[1].matched == 200
    assert found[0].traffic == found[1].traffic
    first, second = (Diagnosis(f, catalogue).findings for f in found)
    assert [(f.cause, f.subject, f.count, f.total) for f in first] == [
        (f.cause, f.subject, f.count, f.total) for f in second
    ]
