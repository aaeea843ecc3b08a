"""`meshdiag.tail`: live sources in Python, with `async for` and `for`."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import meshdiag
from meshdiag.capture import path_of
from meshdiag.model import MeshdiagError, Origin, Problem
from meshdiag.sources.live import Gap
from meshdiag.testing import Script, lines
from tests.conftest import HEALTHY, NO_HOST, REFUSED, access_line

PROXY = "istio-proxy"


def script(*, ends: bool = True) -> Script:
    """Two pods, one of which has two failures."""
    return Script(
        [
            lines("shop", "cart-0", PROXY, HEALTHY, NO_HOST),
            lines("shop", "web-0", PROXY, HEALTHY, HEALTHY),
            lines("shop", "cart-0", PROXY, REFUSED),
        ],
        ends=ends,
    )


def test_async_for() -> None:
    """`async for` gives every match with its origin, and ends with its source."""

    async def matches() -> list[meshdiag.Match]:
        return [m async for m in meshdiag.tail(script())]

    found = asyncio.run(matches())
    assert [m.cause for m in found] == ["no-healthy-upstream", "upstream-connection-refused"]
    assert {(m.record.origin.namespace, m.record.origin.pod, m.record.origin.container) for m in found} == {
        ("shop", "cart-0", PROXY)
    }


def test_plain_for() -> None:
    """A plain loop gives the same, and leaves no thread behind."""
    tail = meshdiag.tail(script())
    assert [m.cause for m in tail] == ["no-healthy-upstream", "upstream-connection-refused"]
    assert tail.flow.lines == 5
    assert [f.cause for f in tail.diagnosis.failures] == ["upstream-connection-refused", "no-healthy-upstream"]
    assert not [t for t in threading.enumerate() if t.name == "meshdiag-tail"]


def test_leaving_the_loop_ends_the_work() -> None:
    """`break` in either form ends the thread and the source within a second, also when nothing comes any more."""
    begin = time.monotonic()
    for _ in meshdiag.tail(script(ends=False)):
        break
    assert time.monotonic() - begin < 3
    assert not [t for t in threading.enumerate() if t.name == "meshdiag-tail"]

    async def first() -> str:
        async with meshdiag.tail(script(ends=False)) as tail:
            async for match in tail:
                return match.cause
        return ""

    assert asyncio.run(first()) == "no-healthy-upstream"


def test_close_from_another_thread_ends_a_loop_that_waits() -> None:
    """`close` ends a blocking loop to which nothing comes."""
    tail = meshdiag.tail(Script([], ends=False))
    threading.Timer(0.3, tail.close).start()
    assert list(tail) == []


def test_a_duration_ends_it() -> None:
    """After `duration` seconds it ends, with all that came."""
    assert len(list(meshdiag.tail(script(ends=False), duration=0.6))) == 2


def test_once() -> None:
    """A tail cannot be iterated twice: its lines are gone."""
    tail = meshdiag.tail(script())
    assert list(tail)
    with pytest.raises(MeshdiagError, match="make another"):
        list(tail)


def test_matches_in_order_of_time() -> None:
    """With `ordered`, matches of several containers come by their times."""
    late, early = (access_line("503", "UH", "no_healthy_upstream", host="-", local="-", time=t) for t in (
        "2026-11-22T10:00:05.000Z", "2026-11-22T10:00:01.000Z"))  # fmt: skip
    source = Script([lines("shop", "cart-0", PROXY, late), lines("shop", "web-0", PROXY, early)])
    assert [m.record.origin.pod for m in meshdiag.tail(source, ordered=0.5)] == ["web-0", "cart-0"]


def test_grep_counts_only_what_is_found() -> None:
    """`grep` leaves records out of matches and diagnosis; a broken expression is an error at once."""
    source = Script(
        [
            lines(
                "shop",
                "cart-0",
                PROXY,
                NO_HOST,
                access_line("503", "UH", "no_healthy_upstream", path="/other", host="-"),
            )
        ]
    )
    tail = meshdiag.tail(source, grep="GET /other")
    assert len(list(tail)) == 1
    assert tail.diagnosis.failures[0].count == 1
    with pytest.raises(MeshdiagError, match="regular expression"):
        meshdiag.tail(script(), grep="(")


def test_what_could_not_be_had_travels_with_the_result() -> None:
    """Gaps and problems are in `flow` and in the diagnosis, with their length."""
    origin = Origin("shop/cart-0/istio-proxy", "", "shop", "cart-0", PROXY)
    since = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    gap = Gap(origin, since, since + timedelta(seconds=3.2), "the log was rotated")
    tail = meshdiag.tail(Script([gap, Problem("shop", "not allowed to read logs", "ask for the role")]))
    assert list(tail) == []
    assert tail.flow.gaps == [gap]
    assert gap.seconds == pytest.approx(3.2)
    told = [str(p) for p in tail.diagnosis.problems]
    assert any("gap of 3.2 s" in t and "rotated" in t for t in told)
    assert any("not allowed" in t for t in told)


def test_saved_lines_are_a_capture(tmp_path: Path) -> None:
    """`save` writes a file for each container; `diagnose` reads the folder back with the same findings and origins."""
    folder = tmp_path / "capture"
    tail = meshdiag.tail(script(), save=folder)
    list(tail)
    again = meshdiag.diagnose(folder)
    assert [(f.cause, f.subject, f.count) for f in again.failures] == [
        (f.cause, f.subject, f.count) for f in tail.diagnosis.failures
    ]
    assert again.seen.lines == 5
    assert (folder / "clusters/cluster/shop/cart-0/istio-proxy.log").read_text() == f"{HEALTHY}\n{NO_HOST}\n{REFUSED}\n"
    assert json.loads((folder / "capture.json").read_text())["schema"] == "meshdiag/capture/v1"
    assert not again.problems


def test_a_folder_with_something_in_it_is_not_saved_to(tmp_path: Path) -> None:
    """Nothing of the user's is written over."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MeshdiagError, match="not empty"):
        list(meshdiag.tail(script(), save=tmp_path))


@pytest.mark.parametrize("odd", ["../../etc", "..", "/etc/passwd", "a/b", "\x1b[2J", "x" * 500, ""])
def test_no_name_leads_out_of_the_folder(odd: str) -> None:
    """Whatever a source says its names are, files stay in the folder."""
    for origin in (Origin(odd, odd, odd, odd, odd), Origin(odd)):
        path = path_of(origin)
        assert not path.is_absolute()
        assert ".." not in path.parts
        assert all(part.isprintable() and 0 < len(part) < 250 for part in path.parts)


def test_local_files_and_names_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that exists is followed; what looks like one and is not there is an error about it; other names are the cluster's."""
    log = tmp_path / "proxy.log"
    log.write_text(NO_HOST + "\n")
    assert [m.cause for m in meshdiag.tail(log, duration=0.5)] == ["no-healthy-upstream"]
    with pytest.raises(MeshdiagError, match="no such file"):
        list(meshdiag.tail("./nothing.log"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(MeshdiagError, match="no kubeconfig"):
        meshdiag.tail("deploy/reviews")
    with pytest.raises(MeshdiagError, match="cannot follow int"):
        meshdiag.tail(3)


def test_an_open_file_is_read_to_its_end(tmp_path: Path) -> None:
    """A binary file object is a source that ends."""
    log = tmp_path / "proxy.log"
    log.write_text(f"{HEALTHY}\n{NO_HOST}")
    with log.open("rb") as file:
        assert [m.cause for m in meshdiag.tail(file)] == ["no-healthy-upstream"]


def test_a_source_that_fails_is_heard() -> None:
    """What a source raises reaches whoever iterates, in both forms."""

    class Broken:
        async def follow(self):  # type: ignore[no-untyped-def]
            raise MeshdiagError("the cluster is gone")
            yield

    with pytest.raises(MeshdiagError, match="gone"):
        list(meshdiag.tail(Broken()))

    async def run() -> None:
        async for _ in meshdiag.tail(Broken()):
            pass

    with pytest.raises(MeshdiagError, match="gone"):
        asyncio.run(run())
