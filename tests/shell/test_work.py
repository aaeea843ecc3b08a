"""What goes on behind the prompt: captures that are read, a mesh that is followed."""

from __future__ import annotations

import asyncio
import gzip
import os
import threading
from collections.abc import AsyncGenerator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import windows
from meshdiag.diagnosis.compare import Verdict
from meshdiag.engine.scan import Scanner
from meshdiag.model import MeshdiagError, Origin, Problem
from meshdiag.shell import results as r
from meshdiag.shell import work as work_
from meshdiag.shell.work import Work
from meshdiag.sources.live import Event, Gap, Lines
from meshdiag.testing import Script, lines
from tests.conftest import HEALTHY, NO_HOST, REFUSED, access_line
from tests.shell.states import SECONDS, Shell, no_host, until, write

PROXY = "istio-proxy"


@pytest.fixture
def shell(catalogue: Catalogue) -> Iterator[Shell]:
    """A shell in which nothing goes on; none of its threads and folders may be left."""
    before = set(threading.enumerate())
    with Shell(catalogue) as shell:
        yield shell
        folders = [path.parent for path in shell.work._folders]
    left = [t.name for t in set(threading.enumerate()) - before if t.name.startswith("meshdiag")]
    assert left == []
    assert not any(folder.exists() for folder in folders)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """About 50 MB of logs, a twentieth of them failing."""
    path = tmp_path_factory.mktemp("big") / "big.log"
    chunk = "".join(f"{line}\n" for line in [HEALTHY] * 19 + [NO_HOST]).encode() * 50
    with path.open("wb") as file:
        for _ in range(50_000_000 // len(chunk)):
            file.write(chunk)
    yield path
    path.unlink()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Captures are read up to their first megabyte, and on when this is set."""
    opened, readinto = threading.Event(), work_._Stoppable.readinto

    def gated(file: work_._Stoppable, view: memoryview) -> int:
        if file._reading.done > 1_000_000:
            assert opened.wait(SECONDS)
        return readinto(file, view)

    monkeypatch.setattr(work_._Stoppable, "readinto", gated)
    return opened


class Slow:
    """A live source that gives events when it is told to."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ended = threading.Event()
        self.closed = threading.Event()
        self.offset = 0

    def give(self, *text: str, pod: str = "cart-0", namespace: str = "shop") -> None:
        """Lines of a pod."""
        data = lines(namespace, pod, PROXY, *text).data
        self.events.append(Lines(Origin(f"{namespace}/{pod}/{PROXY}", "", namespace, pod, PROXY), self.offset, data))
        self.offset += len(data)

    async def follow(self) -> AsyncGenerator[Event, None]:
        """The events, as they are given."""
        try:
            while True:
                while self.events:
                    yield self.events.pop(0)
                if self.ended.is_set():
                    return
                await asyncio.sleep(0.005)
        finally:
            self.closed.set()


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Findings come as soon as they are there."""
    from meshdiag import tailing

    monkeypatch.setattr(tailing, "FINDINGS_SECONDS", 0.02)
    monkeypatch.setattr(tailing, "STEP_SECONDS", 0.02)


# --- captures


def test_several_inputs(shell: Shell, tmp_path: Path) -> None:
    """Several files, folders and archives are read together; a message says what was found, and lines of all are there."""
    a, b = write(tmp_path / "a.log", [NO_HOST] * 2), write(tmp_path / "b" / "b.log", [REFUSED, HEALTHY])
    shell.open(a, b.parent)
    assert {f.cause: f.count for f in shell.work.diagnosis().failures} == {
        "no-healthy-upstream": 2,
        "upstream-connection-refused": 1,
    }
    assert shell.messages() == [f"read {a}, {b.parent}: 4 lines, 1 root cause: causes shows it"]
    assert shell.work.inputs == [str(a), str(b.parent)]
    reading = shell.work.reading
    assert reading is not None
    assert (reading.finished, reading.done, reading.total) == (True, a.stat().st_size + b.stat().st_size, reading.done)


def test_one_that_is_missing(shell: Shell, tmp_path: Path) -> None:
    """When one of several is not there none is read: the error comes at once and names it."""
    a = write(tmp_path / "a.log", [NO_HOST])
    with pytest.raises(MeshdiagError, match=r"missing\.log: no such file"):
        shell.work.open([str(a), str(tmp_path / "missing.log")])
    assert shell.work.inputs == shell.work.readings == []
    with pytest.raises(MeshdiagError, match="no input"):
        shell.work.open([])


def test_two_opens_add_up(shell: Shell, tmp_path: Path) -> None:
    """What is opened later, also while the first is read, is added; both are waited for, and each is told of with its own lines."""
    a, b = write(tmp_path / "a.log", [NO_HOST] * 3000), write(tmp_path / "b.log", [NO_HOST] * 2)
    shell.work.open([str(a)])
    shell.work.open([str(b)])
    assert shell.work.wait(SECONDS)
    assert shell.work.diagnosis().failures[0].count == 3002
    assert sorted(m.split(",")[0] for m in shell.messages()) == [f"read {b}: 2 lines", f"read {a}: 3"][::-1]


def test_a_folder_takes_the_place_of_its_files(shell: Shell, tmp_path: Path) -> None:
    """A folder that is opened after a file of it counts the file once; a pattern whose files are all open is open already."""
    a = write(tmp_path / "a.log", [NO_HOST])
    write(tmp_path / "b.log", [NO_HOST] * 2)
    shell.open(a)
    shell.open(tmp_path)
    assert shell.work.diagnosis().failures[0].count == 3
    assert shell.work.inputs == [str(tmp_path)]
    with pytest.raises(MeshdiagError, match="is open already"):
        shell.work.open([str(tmp_path / "*.log")])
    for order in ([tmp_path, a], [a, tmp_path], [tmp_path / "*.log", a, tmp_path]):
        shell.work.open([str(one) for one in order], again=True)
        assert shell.work.wait(SECONDS)
        assert shell.work.diagnosis().failures[0].count == 3
        assert shell.work.inputs == [str(tmp_path)]
    with pytest.raises(MeshdiagError, match="is open already"):
        shell.work.open([str(a)], again=True)  # a part of what is open is not read anew alone
    c = write(tmp_path.parent / f"{tmp_path.name}-c.log", [NO_HOST])
    shell.open(a, c)
    assert f"{a} is open already" in shell.messages()
    assert shell.work.diagnosis().failures[0].count == 4


def test_patterns_and_pipes(shell: Shell, tmp_path: Path) -> None:
    """A pattern means the files that match, no pipes among them; a pipe cannot be read twice, which is said at once."""
    write(tmp_path / "a.log", [NO_HOST])
    write(tmp_path / "sub" / "b.log", [NO_HOST])
    os.mkfifo(tmp_path / "c.log")
    with pytest.raises(MeshdiagError, match=r"c.log cannot be read twice.*save it to a file"):
        shell.work.open([str(tmp_path / "c.log")])
    with pytest.raises(MeshdiagError, match="cannot be read twice"):
        shell.work.open([str(tmp_path / "c*")])
    shell.open(tmp_path / "*.log")
    assert shell.work.diagnosis().failures[0].count == 1
    shell.open(tmp_path / "**" / "*.log")
    assert shell.work.diagnosis().failures[0].count == 2
    assert shell.one("lines 1", r.Lines).total == 2


def test_what_could_not_be_read_is_told(shell: Shell, tmp_path: Path) -> None:
    """Problems are counted in the message; a file with nothing to read in it is told with its reason."""
    write(tmp_path / "a.log", [HEALTHY])
    (tmp_path / "broken.log.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\0nonsense")
    shell.open(tmp_path)
    assert shell.messages() == [f"read {tmp_path}: 1 line, 1 thing could not be read, no failure found"]
    assert shell.work.messages[0].kind == "warning"
    core = tmp_path.parent / f"{tmp_path.name}.core"
    core.write_bytes(bytes(range(256)) * 40)
    shell.open(core)
    assert shell.messages()[-1] == f"nothing could be read of {core}: skipped: not text"
    shell.open(write(tmp_path.parent / f"{tmp_path.name}.log", []))
    assert shell.messages()[-1].endswith(".log: it is empty")


def test_progress(shell: Shell, big: Path, gate: threading.Event, tmp_path: Path) -> None:
    """While a capture is read its bytes are counted, of as many as there are; what is packed has no end that is known."""
    shell.work.open([str(big)])
    (reading,) = shell.work.readings
    until(lambda: reading.done > 1_000_000, "it has begun")
    assert reading.done < big.stat().st_size == reading.total
    assert not reading.finished
    assert shell.work.reading is reading
    assert "still reading" in shell.error("mark")
    gate.set()
    assert shell.work.wait(60)
    assert (reading.done, reading.finished) == (reading.total, True)
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(f"{NO_HOST}\n".encode()))
    shell.open(tmp_path / "a.log.gz")
    assert shell.work.readings[-1].total is None
    assert shell.work.readings[-1].done == len(NO_HOST) + 1


def test_stop_while_reading(shell: Shell, big: Path, gate: threading.Event) -> None:
    """stop ends a long read soon; what was read until then counts, that is said, and open reads it anew."""
    shell.work.open([str(big)])
    (reading,) = shell.work.readings
    until(lambda: reading.done > 1_000_000, "reading has begun")
    assert shell.say("stop") == "stopping …"
    gate.set()
    assert shell.work.wait(SECONDS)
    read = shell.work.diagnosis().seen.lines
    assert 2000 < read < 6000
    assert shell.messages() == [f"stopped reading {big} after {read:,} lines, which count: open reads it anew"]
    assert not shell.work.stop()
    shell.work.open([str(big)])
    assert shell.work.wait(60)
    assert shell.work.diagnosis().seen.lines == big.read_bytes().count(b"\n")


def test_stop_of_one_is_no_stop_of_the_next(shell: Shell, big: Path, tmp_path: Path, gate: threading.Event) -> None:
    """What is opened after a stop is read to its end, also when the stopped one has not ended yet."""
    shell.work.open([str(big)])
    until(lambda: shell.work.readings[0].done > 1_000_000, "reading has begun")
    shell.work.stop()
    shell.work.open([str(write(tmp_path / "a.log", [REFUSED] * 50))])
    until(lambda: shell.work.readings[-1].finished, "the second is read")
    gate.set()
    assert shell.work.wait(SECONDS)
    assert {f.cause: f.count for f in shell.work.diagnosis().failures}["upstream-connection-refused"] == 50
    assert sum("stopped reading" in m for m in shell.messages()) == 1


def test_a_fault_of_ours_is_a_message(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong while reading is told, and the reading ends."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the flux is low")

    monkeypatch.setattr(Scanner, "scan", broken)
    shell.open(write(tmp_path / "a.log", [NO_HOST]))
    assert "failed: RuntimeError: the flux is low" in shell.messages()[0]
    assert shell.work.messages[0].kind == "error"


def test_diagnosis_is_made_once(shell: Shell, tmp_path: Path) -> None:
    """As long as nothing comes the diagnosis is the same object, filters or not; then it is another one."""
    shell.open(write(tmp_path / "a.log", [NO_HOST]))
    first = shell.work.diagnosis()
    assert shell.work.diagnosis() is first is shell.work.latest
    shell.run("filter namespace shop")
    assert shell.state.diagnosis() is shell.state.diagnosis() is not first
    assert shell.state.diagnosis(filtered=False) is first
    shell.open(write(tmp_path / "b.log", [NO_HOST]))
    assert shell.work.diagnosis() is not first


def test_diagnosis_from_several_threads(shell: Shell, tmp_path: Path) -> None:
    """Threads that ask while captures are read see a whole diagnosis each, with counts that only grow."""
    for i in range(40):
        write(tmp_path / f"{i:02d}.log", [NO_HOST] * 5)
    wrong: list[str] = []
    done = threading.Event()

    def ask() -> None:
        before = 0
        while not done.is_set():
            d = shell.work.diagnosis()
            n = sum(f.count for f in d.failures)
            if n < before or n != d.seen.matched:
                wrong.append(f"{before}, {n}, {d.seen.matched}")
            before = n

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for t in threads:
        t.start()
    shell.open(tmp_path)
    done.set()
    for t in threads:
        t.join()
    assert wrong == []
    assert shell.work.diagnosis().failures[0].count == 200


def test_wait(shell: Shell, big: Path, gate: threading.Event) -> None:
    """wait says whether all was read in time; with nothing to read it is."""
    assert shell.work.wait(0)
    shell.work.open([str(big)])
    assert not shell.work.wait(0.01)
    shell.work.stop()
    gate.set()
    assert shell.work.wait()


def test_close_while_reading(catalogue: Catalogue, big: Path) -> None:
    """close ends what is read, and its thread."""
    work = Work(catalogue)
    work.open([str(big)])
    work.close()
    assert not [t for t in threading.enumerate() if t.name == "meshdiag-open"]


def test_reload_drops_what_is_still_read(shell: Shell, big: Path, catalogue: Catalogue, gate: threading.Event) -> None:
    """reload in the middle of a read counts nothing of it twice."""
    shell.work.open([str(big)])
    until(lambda: shell.work.readings[0].done > 1_000_000, "reading has begun")
    assert shell.work.reload(catalogue) == [str(big)]
    gate.set()
    assert shell.work.wait(60)
    assert shell.work.diagnosis().seen.lines == big.read_bytes().count(b"\n")
    assert not any("stopped" in m for m in shell.messages())


# --- a live mesh


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


def test_follow(shell: Shell) -> None:
    """What is followed grows into the diagnosis, with how each failure stands, how much comes and of how many containers."""
    shell.work.follow("the shop", inputs=[script(ends=False)])
    assert shell.work.is_live
    assert shell.work.live_name == "the shop"
    until(lambda: len(shell.work.diagnosis().failures) == 2, "both failures come")
    until(lambda: len(shell.work.standings()) == 2, "both stand")
    assert shell.work.containers == 2
    until(lambda: shell.work.lines_per_second >= 0, "a rate is known")
    assert shell.one("causes", r.Causes).standings
    assert shell.one("show 1", r.Shown).standing is not None
    with pytest.raises(MeshdiagError, match="the shop is followed already: stop ends that"):
        shell.work.follow("again", inputs=[script()])
    assert shell.work.stop()
    until(lambda: not shell.work.is_live, "it ends")
    assert shell.messages() == ["the shop is no longer followed"]
    assert shell.work.standings() == ()
    assert shell.work.containers == 0
    assert len(shell.work.diagnosis().failures) == 2
    assert shell.one("lines no-healthy-upstream", r.Lines).total == 1
    assert shell.one("search HTTP", r.Lines).total == 5


def test_follow_again(shell: Shell) -> None:
    """After a stop, at once, another mesh can be followed: it takes the place of the first one and its lines."""
    shell.work.follow("one", inputs=[script(ends=False)])
    first = shell.work.live_folder
    until(lambda: len(shell.work.diagnosis().failures) == 2, "failures come")
    shell.work.stop()
    shell.work.follow("two", inputs=[Script([lines("shop", "cart-0", PROXY, REFUSED)], ends=False)])
    until(lambda: shell.work.diagnosis().seen.lines == 1, "the second one is there")
    assert [f.cause for f in shell.work.diagnosis().failures] == ["upstream-connection-refused"]
    assert first is not None
    assert not first.exists()


def test_live_and_captures_add_up(shell: Shell, tmp_path: Path) -> None:
    """What is followed and what was opened are one diagnosis, and lines of both are found."""
    shell.open(write(tmp_path / "a.log", [NO_HOST] * 3))
    shell.work.follow("shop", inputs=[script()])
    until(lambda: not shell.work.is_live, "it ends")
    counts: dict[str, int] = {}
    for f in shell.work.diagnosis().failures:
        counts[f.cause] = counts.get(f.cause, 0) + f.count
    assert counts == {"no-healthy-upstream": 4, "upstream-connection-refused": 1}
    assert sum(shell.one(f"lines {f.rank}", r.Lines).total for f in shell.work.diagnosis().failures) == 5


def test_gaps_problems_and_errors_are_messages(shell: Shell) -> None:
    """Gaps and problems of a source are told as they come, and how it failed."""
    origin = Origin("shop/cart-0/istio-proxy", "", "shop", "cart-0", PROXY)
    since = datetime(2026, 11, 22, 10, tzinfo=UTC)
    events = [
        Gap(origin, since, since + timedelta(seconds=3), "the log was rotated"),
        Problem("shop", "not allowed", "ask for the role"),
    ]
    shell.work.follow("shop", inputs=[Script(events)])
    until(lambda: not shell.work.is_live, "it ends")
    assert shell.messages() == [
        "gap in shop/cart-0/istio-proxy: the log was rotated", "shop: not allowed (ask for the role)", "shop is no longer followed"
    ]  # fmt: skip
    assert [m.kind for m in shell.work.messages] == ["warning", "warning", "info"]

    class Broken:
        def __init__(self, error: Exception) -> None:
            self.error = error

        async def follow(self) -> AsyncGenerator[Event, None]:
            raise self.error
            yield

    for error, told in (
        (MeshdiagError("the cluster cannot be reached"), "the cluster cannot be reached"),
        (OSError("x"), "OSError: x"),
    ):
        shell.work.follow("shop", inputs=[Broken(error)])
        until(lambda: not shell.work.is_live, "it ends")
        assert told in shell.messages()[-1]
        assert shell.work.messages[-1].kind == "error"


def test_wrong_options_are_told_at_once(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with the options is an error, after which nothing is followed; standard input is not ours to follow."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(MeshdiagError):
        shell.work.follow("x", namespaces=["shop"])
    with pytest.raises(MeshdiagError, match="standard input"):
        shell.work.follow("x", inputs=["-"])
    assert not shell.work.is_live
    assert shell.work._folders == {}
    shell.work.follow("shop", inputs=[script()])
    until(lambda: not shell.work.is_live, "it ends")


@pytest.fixture
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is over when it has not come for a fifth of a second; ranking is due at once."""
    monkeypatch.setattr(windows, "QUIET", 0.2)
    monkeypatch.setattr(windows, "LONGEST_QUIET", 0.2)
    monkeypatch.setattr(Work, "_rank_due", property(lambda self: 0.0, lambda self, value: None), raising=False)


@pytest.mark.usefixtures("_quiet")
def test_watched_findings(shell: Shell) -> None:
    """Of a watched finding it is told when it is over and when it is there again; of others nothing."""
    source = Slow()
    shell.work.follow("shop", inputs=[source])
    source.give(NO_HOST, REFUSED)
    until(lambda: len(shell.work.standings()) == 2, "both stand")
    watched = shell.one("watch no-healthy-upstream", r.Table)
    assert [row[0] for row in watched.rows] == ["no-healthy-upstream"]
    until(lambda: any("over: no-healthy-upstream of" in m for m in shell.messages()), "it is over")
    assert "over" in shell.one("watch", r.Table).rows[0][2]
    source.give(NO_HOST.replace("10:00:00.000Z", "10:00:09.000Z"))
    until(lambda: any("there again: no-healthy-upstream of" in m for m in shell.messages()), "it is there again")
    assert not any("refused" in m for m in shell.messages())
    assert shell.say("watch clear") == "nothing is watched"
    assert shell.work.watched == set()
    source.ended.set()


@pytest.mark.usefixtures("_quiet")
def test_a_watched_start(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """What turns out to be part of a routine start is no failure any more: who watched it is told."""
    monkeypatch.setattr(windows, "LONGEST_QUIET", 600.0)
    monkeypatch.setattr(windows, "QUIET", 600.0)
    source = Slow()
    shell.work.follow("shop", inputs=[source])
    refused = "StreamAggregatedResources gRPC config stream to xds-grpc closed: 14, connection refused"
    source.give(f"2026-11-22T10:00:01.000000Z\twarning\tenvoy config\t{refused}")
    until(lambda: shell.work.standings(), "it stands")
    shell.run("watch xds-unreachable")
    source.give(
        "2026-11-22T10:00:03.000000Z\tinfo\txdsproxy\tconnected to delta upstream XDS server: istiod.istio-system.svc:15012\tid=1",
        "2026-11-22T10:00:04.000000Z\tinfo\tEnvoy proxy is ready",
    )
    until(lambda: any("xds-unreachable" in m and "part of a start" in m for m in shell.messages()), "it is told")
    source.ended.set()


@pytest.mark.usefixtures("_quiet")
def test_a_watched_edge_becomes_a_service(shell: Shell) -> None:
    """When a second client joins, what is watched is the finding about the service from then on."""
    source = Slow()
    shell.work.follow("shop", inputs=[source])
    source.give(NO_HOST, pod="a-5f9c8d7b64-k2x8w")
    until(lambda: shell.work.standings(), "it stands")
    shell.run("watch 1")
    (edge,) = shell.work.watched
    assert edge[1].kind == "edge"
    source.give(NO_HOST.replace("10:00:00.000Z", "10:00:05.000Z"), pod="b-5f9c8d7b64-q7t2c")
    until(lambda: {s.kind for _, s in shell.work.watched} == {"service"}, "it is the service's")
    until(lambda: any(m.startswith("over: no-healthy-upstream of reviews") for m in shell.messages()), "it is over")
    source.ended.set()


def test_what_is_kept_of_live_lines(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no more live lines are kept, that is said once, and the diagnosis goes on."""
    monkeypatch.setattr(work_, "SPOOL_BYTES", 3 * len(NO_HOST))
    source = Slow()
    shell.work.follow("shop", inputs=[source])
    for i in range(5):
        source.give(NO_HOST, NO_HOST)
        until(lambda n=2 * (i + 1): shell.work.diagnosis().seen.lines == n, "lines come")  # type: ignore[misc]
    assert sum("lines and search do not see newer ones" in m for m in shell.messages()) == 1
    assert shell.work.diagnosis().failures[0].count == 10
    until(lambda: shell.one("lines 1", r.Lines).total == 2, "two of them are kept")
    source.ended.set()


def test_mark_and_diff_of_a_live_mesh(shell: Shell) -> None:
    """After a mark, diff is of what came since: what has stopped is gone, although the sum still has it, and what is new is new."""
    source = Slow()
    shell.work.follow("shop", inputs=[source])
    good = [
        access_line(time=f"2026-11-22T10:{m:02d}:{s:02d}.000Z", request_id=f"g{m}{s}")
        for m in range(2)
        for s in range(60)
    ]
    source.give(*no_host(30), *good[:60])
    until(lambda: shell.work.diagnosis().seen.lines == 90, "lines come")
    assert "marked" in shell.say("mark")
    assert "wait for lines" in shell.error("diff")
    source.give(
        *good[60:], *[REFUSED.replace("10:00:00", f"10:01:{s:02d}").replace("reviews", "details") for s in range(10)]
    )
    until(lambda: shell.work.diagnosis().seen.lines == 160, "more lines come")
    until(lambda: shell.work.since_mark().seen.lines == 70, "of which the mark knows")
    changes = {c.cause: c.change for c in shell.one("diff", r.Compared).comparison.changes}
    assert changes == {"no-healthy-upstream": Verdict.GONE, "upstream-connection-refused": Verdict.NEW}
    source.ended.set()


def test_reload_of_a_live_mesh(shell: Shell, catalogue: Catalogue) -> None:
    """While a mesh is followed reload says to stop first; after that its lines are read again with the new patterns, once."""
    shell.work.follow("shop", inputs=[script(ends=False)])
    until(lambda: len(shell.work.diagnosis().failures) == 2, "failures come")
    assert "stop, then reload" in shell.error("reload")
    shell.work.stop()
    until(lambda: not shell.work.is_live, "it ends")
    for _ in range(2):
        shell.work.reload(catalogue)
        assert shell.work.wait(SECONDS)
        assert {f.cause: f.count for f in shell.work.diagnosis().failures} == {
            "no-healthy-upstream": 1, "upstream-connection-refused": 1
        }  # fmt: skip
        assert shell.one("search HTTP", r.Lines).total == 5
    shell.work.follow("shop", inputs=[script()])  # its lines take the place of those before
    until(lambda: not shell.work.is_live, "it ends")
    assert {f.count for f in shell.work.diagnosis().failures} == {1}
    assert shell.one("search HTTP", r.Lines).total == 5


def test_close_ends_a_live_mesh(catalogue: Catalogue) -> None:
    """close ends the source, its thread, and deletes the lines that were kept; twice is no error."""
    work, source = Work(catalogue), Slow()
    work.follow("shop", inputs=[source])
    source.give(NO_HOST)
    until(lambda: work.diagnosis().failures, "it comes")
    folder = work.live_folder
    assert folder is not None
    work.close()
    assert source.closed.is_set()
    assert not [t for t in threading.enumerate() if t.name.startswith("meshdiag")]
    assert not folder.exists()
    assert work.live_folder is None
    work.close()


def test_diagnosis_of_a_live_mesh_from_another_thread(shell: Shell) -> None:
    """Who asks while lines come never sees one of them twice, or the window half moved."""
    source = Slow()
    shell.work.follow("shop", inputs=[source], window=timedelta(seconds=3600))
    before = 0
    for i in range(60):
        source.give(NO_HOST, NO_HOST)
        d = shell.work.diagnosis()
        n = sum(f.count for f in d.failures)
        assert before <= n <= 2 * (i + 1)
        before = n
    until(lambda: shell.work.diagnosis().seen.lines == 120, "all come")
    assert shell.work.diagnosis().failures[0].count == 120
    source.ended.set()


def test_a_local_file_is_followed_whole(shell: Shell, tmp_path: Path) -> None:
    """tail of a file begins with all that is in it, however old; what is written later comes, too."""
    path = write(tmp_path / "a.log", [NO_HOST])
    assert shell.say(f"tail {path}").startswith("following")
    until(lambda: shell.work.diagnosis().failures, "the old line comes")
    with path.open("a") as file:
        file.write(f"{REFUSED}\n")
    until(lambda: len(shell.work.diagnosis().failures) == 2, "the new line comes")
    shell.run("stop")
    until(lambda: not shell.work.is_live, "it ends")
