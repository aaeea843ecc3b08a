"""Files that grow, are rotated, truncated, deleted and come back: every line once, in order, under its name."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshdiag.model import MeshdiagError, Problem
from meshdiag.sources import following
from meshdiag.sources.following import TRUNCATED, Files
from meshdiag.sources.live import Gap, Lines, Opened

POLL = 0.005
MEANWHILE = 15 * POLL  # enough looks, also for new files, to see what should not have come


class Followed:
    """What came so far."""

    def __init__(self) -> None:
        self.events: list = []

    def lines(self, path: Path | str) -> bytes:
        return b"".join(e.data for e in self.events if isinstance(e, Lines) and e.origin.path == str(path))

    def of(self, kind: type) -> list:
        return [e for e in self.events if isinstance(e, kind)]

    @property
    def data(self) -> dict[str, bytes]:
        """The lines by the name of the file."""
        return {Path(path).name: self.lines(path) for path in {e.origin.path for e in self.of(Lines)}}

    async def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 5
        while not done():
            assert time.monotonic() < deadline, self.events[-5:]
            await asyncio.sleep(POLL / 4)

    async def has(self, path: Path | str, data: bytes) -> None:
        """Waits for at least as many bytes of a file, which must be these."""
        await self.until(lambda: len(self.lines(path)) >= len(data))
        assert self.lines(path) == data


def follow(scenario: Callable[[Followed], Awaitable[None]], *paths: Path | str, **options) -> Followed:
    """Follows the paths while the scenario goes on; the events have to fit together."""
    followed = Followed()

    async def read() -> None:
        async with contextlib.aclosing(Files(paths, **{"poll": POLL, **options}).follow()) as events:
            async for event in events:
                followed.events.append(event)

    async def both() -> None:
        reader, actor = asyncio.ensure_future(read()), asyncio.ensure_future(scenario(followed))
        await asyncio.wait({reader, actor}, return_when=asyncio.FIRST_COMPLETED)
        for task in (reader, actor):
            if task.done():
                task.result()
            task.cancel()
        await asyncio.gather(reader, actor, return_exceptions=True)

    asyncio.run(both())
    opened = [e.origin for e in followed.of(Opened)]
    assert len(opened) == len(set(opened)) and {e.origin for e in followed.of(Lines)} <= set(opened)
    return followed


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "a.log"


# --- Beginning and growing -------------------------------------------------------------------------------------------


def test_from_the_beginning_and_what_is_appended(log):
    log.write_bytes(b"one\ntw")

    async def scenario(followed):
        await followed.has(log, b"one\n")
        append(log, b"o\n\xff\xfe\0\r\nha")
        await followed.has(log, b"one\ntwo\n\xff\xfe\0\r\n")
        append(log, b"lf")

    followed = follow(scenario, log)
    assert followed.lines(log) == b"one\ntwo\n\xff\xfe\0\r\n"  # a half line is not given
    assert followed.of(Opened) == [Opened(followed.events[0].origin)]
    assert [e.offset for e in followed.of(Lines)] == [0, 4]
    assert len(followed.events) == 3


def test_the_origin_says_whose_it_is(tmp_path):
    path = tmp_path / "istio-system_istiod-7c5b8c9f4d-x2x4z_discovery.log"
    path.write_bytes(b"one\n")
    followed = follow(lambda followed: followed.has(path, b"one\n"), path)
    origin = followed.of(Lines)[0].origin
    assert (origin.namespace, origin.pod, origin.container) == (
        "istio-system",
        "istiod-7c5b8c9f4d-x2x4z",
        "discovery",
    )


def test_the_origin_is_as_it_was_named_and_the_rest_comes_from_the_whole_path(tmp_path, monkeypatch):
    folder = tmp_path / "shop_web-5d9c7bbf8b-x2x4z_0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f" / "istio-proxy"
    folder.mkdir(parents=True)
    (folder / "0.log").write_bytes(b"one\n")
    monkeypatch.chdir(folder)
    followed = follow(lambda followed: followed.has("0.log", b"one\n"), "0.log")
    assert (followed.of(Lines)[0].origin.namespace, followed.of(Lines)[0].origin.container) == ("shop", "istio-proxy")


WORDS = [b"%d %s\n" % (n, b"x" * (n % 40)) for n in range(40_000)]


@pytest.mark.parametrize("half", [b"", b"ha"])
@pytest.mark.parametrize("count", [0, 1, 2, 30, 40_000])
@pytest.mark.parametrize("tail", [0, 1, 29, 30, 35_000])
def test_tail(log, tail, count, half):
    whole = b"".join(WORDS[:count])
    log.write_bytes(whole + half)
    last = b"".join(WORDS[max(0, count - tail) : count])

    async def scenario(followed):
        await followed.until(lambda: bool(followed.events))
        append(log, b"lf\nnew\n")
        await followed.has(log, last + half + b"lf\nnew\n")

    followed = follow(scenario, log, tail=tail)
    assert followed.of(Lines)[0].offset == len(whole) - len(last)


def test_tail_reads_backwards(log):
    with log.open("wb") as file:
        file.truncate(1 << 40)  # a hole that takes an hour to read
    append(log, b"\none\ntwo\nthree\n")
    began = time.monotonic()
    followed = follow(lambda followed: followed.has(log, b"two\nthree\n"), log, tail=2)
    assert time.monotonic() - began < 1
    assert followed.of(Lines)[0].offset == (1 << 40) + 5


def test_others_go_on_while_the_last_lines_are_looked_for(log, monkeypatch):
    monkeypatch.setattr(following, "BLOCK", 16)
    log.write_bytes(b"x" * 10_000)
    looks = 0

    async def scenario(followed):
        nonlocal looks
        while not followed.events:
            looks += 1
            await asyncio.sleep(0)

    follow(scenario, log, tail=0)
    assert looks > 100


def test_tail_is_not_for_what_appears_later(tmp_path, log):
    log.write_bytes(b"one\ntwo\n")

    async def scenario(followed):
        await followed.has(log, b"two\n")
        (tmp_path / "b.log").write_bytes(b"three\nfour\n")
        log.rename(tmp_path / "c.old")
        log.write_bytes(b"five\nsix\n")
        await followed.has(tmp_path / "b.log", b"three\nfour\n")
        await followed.has(log, b"two\nfive\nsix\n")

    follow(scenario, log, tmp_path / "b.log", tail=1)


def test_tail_is_not_for_what_appears_before_its_first_turn(tmp_path, log):
    log.write_bytes(b"one\n")
    other = tmp_path / "b.log"
    got = Followed()

    async def scenario():
        async with contextlib.aclosing(Files([log, other], tail=0, poll=POLL).follow()) as events:
            async for event in events:
                got.events.append(event)
                if isinstance(event, Opened) and event.origin.path == str(log):
                    other.write_bytes(b"two\n")
                if got.data:
                    return

    asyncio.run(scenario())
    assert got.data == {"b.log": b"two\n"}


def test_a_long_line_is_cut_and_told_once(log):
    long = b"x" * (3 << 20) + b"\n"
    kept = b"x" * (64 << 10) + b"\n"
    log.write_bytes(b"a\n" + long + b"b\n" + long)

    async def scenario(followed):
        await followed.has(log, b"a\n" + kept + b"b\n" + kept)
        append(log, b"c\n")
        await followed.has(log, b"a\n" + kept + b"b\n" + kept + b"c\n")

    followed = follow(scenario, log)
    what = "a line longer than 1024 KiB was cut"
    assert followed.of(Problem) == [Problem(str(log), what, "only its beginning was read")]
    assert followed.of(Lines)[-1].offset == 2 * len(long) + 4


def test_a_large_file_does_not_keep_others_waiting(tmp_path):
    large, small = tmp_path / "a.log", tmp_path / "b.log"
    large.write_bytes(b"0123456789abcde\n" * (20 << 16))
    small.write_bytes(b"one\n")
    followed = follow(lambda followed: followed.has(large, large.read_bytes()), large, small)
    lines = followed.of(Lines)
    assert [e.origin.path for e in lines].index(str(small)) == 1
    assert max(len(e.data) for e in lines) <= 256 << 10


def test_nothing_is_read_before_it_is_wanted(log):
    log.write_bytes(b"0123456789abcde\n" * (1 << 16))

    async def scenario():
        async with contextlib.aclosing(Files([log], poll=POLL).follow()) as events:
            assert isinstance(await anext(events), Opened)
            assert len((await anext(events)).data) == 256 << 10
            log.write_bytes(b"")
            assert isinstance(await anext(events), Gap)

    asyncio.run(scenario())


def test_files_are_closed_when_the_iterator_is(tmp_path):
    paths = [tmp_path / f"{n}.log" for n in range(20)]
    for path in paths:
        path.write_bytes(b"one\n")
    before = open_files()

    async def scenario(followed):
        await followed.until(lambda: len(followed.of(Lines)) == 20)
        assert open_files() >= before + 20

    follow(scenario, *paths)
    assert open_files() == before


# --- Truncation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new", [b"x\n", b"new\nwen\n", b"a larger file than before\nwith more lines\n"])
def test_a_truncated_file_is_read_from_its_beginning(log, new):
    log.write_bytes(b"one\ntwo\n")

    async def scenario(followed):
        await followed.has(log, b"one\ntwo\n")
        await asyncio.sleep(MEANWHILE)  # a same size shows by the time of the change
        os.truncate(log, 0)
        append(log, new)
        await followed.has(log, b"one\ntwo\n" + new)
        append(log, b"last\n")
        await followed.has(log, b"one\ntwo\n" + new + b"last\n")

    followed = follow(scenario, log)
    assert followed.of(Gap) == [Gap(followed.events[0].origin, None, None, TRUNCATED)]
    kinds = [type(e) for e in followed.events]
    assert kinds[:4] == [Opened, Lines, Gap, Lines]
    assert [e.offset for e in followed.of(Lines)][:2] == [0, 8]  # bytes of the origin, not of the file
    assert followed.of(Lines)[-1].offset == 8 + len(new)


def test_a_file_that_is_cut_short_is_read_from_its_beginning(log):
    lines = [b"%d\n" % n for n in range(1000)]
    log.write_bytes(b"".join(lines))

    async def scenario(followed):
        await followed.has(log, b"".join(lines))
        os.truncate(log, len(b"".join(lines[:500])))
        await followed.has(log, b"".join(lines + lines[:500]))

    assert len(follow(scenario, log).of(Gap)) == 1


def test_a_half_line_is_given_when_the_file_is_truncated(log):
    log.write_bytes(b"one\nha")

    async def scenario(followed):
        await followed.has(log, b"one\n")
        await asyncio.sleep(MEANWHILE)
        os.truncate(log, 0)
        append(log, b"n\n")
        await followed.has(log, b"one\nha\nn\n")

    followed = follow(scenario, log)
    assert [type(e) for e in followed.events] == [Opened, Lines, Lines, Gap, Lines]
    assert [e.offset for e in followed.of(Lines)] == [0, 4, 6]


def test_copytruncate_in_a_folder_gives_lines_once(tmp_path, log):
    log.write_bytes(b"one\ntwo\n")

    async def scenario(followed):
        await followed.has(log, b"one\ntwo\n")
        (tmp_path / "a.log.1").write_bytes(log.read_bytes())
        os.truncate(log, 0)
        append(log, b"three\n")
        await followed.has(log, b"one\ntwo\nthree\n")
        await asyncio.sleep(MEANWHILE)
        (tmp_path / "a.log.1").rename(tmp_path / "a.log.2")
        await asyncio.sleep(MEANWHILE)

    assert set(follow(scenario, tmp_path).data) == {"a.log"}


def test_a_writer_that_goes_on_at_its_old_place_in_a_truncated_file(log):
    """As `app > a.log` does, unlike `app >> a.log`: the file begins with a hole."""
    line = b"0123456789abcde\n"

    async def scenario(followed):
        with log.open("wb", buffering=0) as writer:
            writer.write(line * 200_000)
            await followed.has(log, line * 200_000)
            os.truncate(log, 0)
            await followed.until(lambda: bool(followed.of(Gap)))
            writer.write(b"next\nlast\n")
            await followed.until(lambda: followed.lines(log).endswith(b"last\n"))

    log.touch()
    followed = follow(scenario, log)
    after = followed.lines(log).removeprefix(line * 200_000)
    assert after.lstrip(b"\0") == b"next\nlast\n" and len(after) <= 64 << 10
    assert not followed.of(Problem)


# --- Rotation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["file", "folder", "pattern", "all names"])
def test_rotation(tmp_path, log, by):
    log.write_bytes(b"one\n")
    (tmp_path / "a.log.1").write_bytes(b"older\n")
    paths = {"file": [log], "folder": [tmp_path], "pattern": [tmp_path / "a.*"], "all names": [log, f"{log}.1"]}[by]

    async def scenario(followed):
        wanted = b"one\n"
        for n in range(3):
            await followed.has(log, wanted)
            append(log, b"last %d\nhalf" % n)
            for number in (2, 1):
                with contextlib.suppress(FileNotFoundError):
                    (tmp_path / f"a.log.{number}").rename(tmp_path / f"a.log.{number + 1}")
            log.rename(tmp_path / "a.log.1")
            log.write_bytes(b"first %d\n" % n)
            wanted += b"last %d\nhalf\nfirst %d\n" % (n, n)
        await followed.has(log, wanted)
        await asyncio.sleep(MEANWHILE)
        await followed.has(log, wanted)

    followed = follow(scenario, *paths)
    assert followed.data.get("a.log.1", b"older\n") == b"older\n"
    assert {Path(e.origin.path).name for e in followed.of(Opened)} == set(followed.data) <= {"a.log", "a.log.1"}
    assert not followed.of(Gap) and not followed.of(Problem)


def test_a_writer_that_learns_late_of_the_rotation(tmp_path, log):
    """logrotate makes the new file before the process opens it."""

    async def scenario(followed):
        with log.open("ab", buffering=0) as old:
            old.write(b"one\n")
            await followed.has(log, b"one\n")
            log.rename(tmp_path / "a.old")
            log.touch()
            await asyncio.sleep(MEANWHILE)
            old.write(b"two\n")
            await followed.has(log, b"one\ntwo\n")
            old.write(b"three\n")
        append(log, b"four\n")
        await followed.has(log, b"one\ntwo\nthree\nfour\n")

    log.touch()
    followed = follow(scenario, log)
    assert [e.offset for e in followed.of(Lines)] == [0, 4, 8, 14]


def test_late_lines_of_a_file_that_was_given_up_come_under_its_new_name(tmp_path, log):
    log.write_bytes(b"one\n")

    async def scenario(followed):
        await followed.has(log, b"one\n")
        old = log.rename(tmp_path / "a.log.1")
        log.write_bytes(b"two\n")
        await followed.has(log, b"one\ntwo\n")
        await asyncio.sleep(MEANWHILE)
        append(old, b"late\n")
        await followed.has(old, b"late\n")

    followed = follow(scenario, tmp_path)
    assert followed.data == {"a.log": b"one\ntwo\n", "a.log.1": b"late\n"}
    assert [e.offset for e in followed.of(Lines)] == [0, 4, 4]


@pytest.mark.parametrize("linger", [60, 0])
def test_deletion_and_return(log, linger, monkeypatch):
    monkeypatch.setattr(following, "LINGER", linger)
    log.write_bytes(b"one\nha")

    async def scenario(followed):
        await followed.has(log, b"one\n")
        append(log, b"lf\ntwo\n")
        log.unlink()
        await followed.has(log, b"one\nhalf\ntwo\n")
        await asyncio.sleep(MEANWHILE)
        log.write_bytes(b"new\n_______\n___\n")  # as large as before, and perhaps with the same inode number
        await followed.has(log, b"one\nhalf\ntwo\nnew\n_______\n___\n")

    followed = follow(scenario, log)
    assert len(followed.of(Opened)) == 1
    assert followed.of(Lines)[-1].offset == 13


@pytest.mark.parametrize("linger", [60, 0])
def test_a_file_that_is_moved_away_and_back_is_read_on(tmp_path, log, linger, monkeypatch):
    monkeypatch.setattr(following, "LINGER", linger)
    log.write_bytes(b"one\n")

    async def scenario(followed):
        await followed.has(log, b"one\n")
        away = log.rename(tmp_path / "away")
        await asyncio.sleep(MEANWHILE)
        append(away, b"two\n")
        away.rename(log)
        await followed.has(log, b"one\ntwo\n")
        append(log, b"three\n")
        await followed.has(log, b"one\ntwo\nthree\n")

    assert not follow(scenario, log).of(Gap)


def test_two_names_of_a_file_are_read_as_one(tmp_path, log):
    """As in /var/log/containers, which links to /var/log/pods."""
    log.write_bytes(b"one\n")
    link, hard = tmp_path / "link.log", tmp_path / "z.log"
    link.symlink_to(log)
    hard.hardlink_to(log)

    async def scenario(followed):
        await followed.has(log, b"one\n")
        log.rename(tmp_path / "old")
        log.write_bytes(b"two\n")
        await followed.has(log, b"one\ntwo\n")
        await asyncio.sleep(MEANWHILE)

    assert set(follow(scenario, log, link, hard).data) == {"a.log"}


def test_a_link_stays_a_second_name_when_the_file_is_rotated_between_two_looks(tmp_path, log):
    link, busy = tmp_path / "link.log", tmp_path / "busy.log"
    log.write_bytes(b"one\n")
    busy.write_bytes(b"1\n")
    link.symlink_to(log)
    got = Followed()

    async def scenario():
        async with contextlib.aclosing(Files([log, busy, link], poll=POLL).follow()) as events:
            async for event in events:
                got.events.append(event)
                if isinstance(event, Lines) and event.origin.path == str(busy):
                    if event.data == b"1\n":
                        asyncio.get_running_loop().call_later(5 * POLL, append, busy, b"2\n")
                    else:  # log had its turn, link has not
                        log.rename(tmp_path / "old")
                        log.write_bytes(b"two\n")
                if b"two\n" in b"".join(got.data.values()):
                    return

    asyncio.run(scenario())
    assert got.data == {"a.log": b"one\ntwo\n", "busy.log": b"1\n2\n"}


# --- Folders and patterns --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["", "*.log", "**/*.log"])
def test_new_files_are_read_from_their_beginning(tmp_path, log, pattern):
    (tmp_path / "empty.log").touch()
    log.write_bytes(b"one\ntwo\n")

    async def scenario(followed):
        await followed.has(log, b"two\n")
        (tmp_path / "new.log").write_bytes(b"three\nfour\n")
        append(tmp_path / "empty.log", b"five\n")
        await followed.has(tmp_path / "new.log", b"three\nfour\n")
        await followed.has(tmp_path / "empty.log", b"five\n")
        if pattern != "*.log":
            (tmp_path / "deep" / "er").mkdir(parents=True)
            (tmp_path / "deep" / "er" / "b.log").write_bytes(b"six\n")
            await followed.has(tmp_path / "deep" / "er" / "b.log", b"six\n")

    follow(scenario, tmp_path / pattern, tail=1)


@pytest.mark.parametrize("pattern", ["", "**"])
def test_only_text_logs_of_a_folder_are_followed(tmp_path, log, pattern):
    log.write_bytes(b"one\n")
    (tmp_path / "a.log.1.gz").write_bytes(gzip.compress(b"old\n"))
    (tmp_path / "packed").write_bytes(gzip.compress(b"old\n"))
    (tmp_path / "program").write_bytes(b"\x7fELF\0\1\2\n\0\3" * 100)
    (tmp_path / "pods.json").write_bytes(b"{}\n")
    (tmp_path / "README.md").write_bytes(b"no log\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.log").write_bytes(b"no log\n")
    (tmp_path / "nowhere.log").symlink_to(tmp_path / "missing")
    os.mkfifo(tmp_path / "fifo.log")

    async def scenario(followed):
        await followed.has(log, b"one\n")
        await asyncio.sleep(MEANWHILE)

    followed = follow(scenario, tmp_path / pattern)
    assert [type(e) for e in followed.events] == [Opened, Lines]


def test_a_file_of_a_folder_that_comes_back_counts_on(tmp_path, log, monkeypatch):
    monkeypatch.setattr(following, "LINGER", 0)
    log.write_bytes(b"one\n")

    async def scenario(followed):
        await followed.has(log, b"one\n")
        log.unlink()
        await asyncio.sleep(MEANWHILE)
        log.write_bytes(b"new\n")
        await followed.has(log, b"one\nnew\n")

    followed = follow(scenario, tmp_path)
    assert [e.offset for e in followed.of(Lines)] == [0, 4] and len(followed.of(Opened)) == 1


# --- What cannot be read ---------------------------------------------------------------------------------------------


def test_none_of_the_paths_is_there(tmp_path):
    async def scenario(followed):
        await asyncio.sleep(5)

    with pytest.raises(MeshdiagError, match=r"no such file: .*/b\.log, .*/\*\.txt; check the path or the pattern"):
        follow(scenario, tmp_path / "b.log", f"{tmp_path}/*.txt")
    with pytest.raises(MeshdiagError, match="no input"):
        follow(scenario)
    with pytest.raises(MeshdiagError, match="NUL"):
        follow(scenario, "a\0b")


def test_a_missing_file_is_told_and_awaited(tmp_path, log):
    log.write_bytes(b"one\n")
    other = tmp_path / "later" / "b.log"

    async def scenario(followed):
        await followed.has(log, b"one\n")
        other.parent.mkdir()
        other.write_bytes(b"two\n")
        await followed.has(other, b"two\n")

    followed = follow(scenario, log, other)
    assert followed.of(Problem) == [
        Problem(str(other), "no such file", "it is followed from its beginning when it appears")
    ]


def test_what_may_not_be_read_is_told_once_and_tried_again(log, monkeypatch):
    log.write_bytes(b"one\n")
    opened, allowed = Path.open, False

    def refuse(path, *args, **options):
        if path == log and not allowed and args == ("rb",):
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)

    async def scenario(followed):
        nonlocal allowed
        await followed.until(lambda: bool(followed.events))
        await asyncio.sleep(MEANWHILE)
        allowed = True
        await followed.has(log, b"one\n")

    followed = follow(scenario, log)
    assert followed.of(Problem) == [Problem(str(log), "cannot be read: Permission denied", "it is tried again")]


def test_a_loop_of_links_is_told_and_tried_again(log):
    log.symlink_to(log)

    async def scenario(followed):
        await followed.until(lambda: bool(followed.events))
        await asyncio.sleep(MEANWHILE)
        log.unlink()
        log.write_bytes(b"one\n")
        await followed.has(log, b"one\n")

    (problem,) = follow(scenario, log).of(Problem)
    assert problem.what == "cannot be read: Too many levels of symbolic links"


def test_a_name_that_becomes_something_else_is_told_once(tmp_path, log):
    log.write_bytes(b"one\n")

    async def scenario(followed):
        await followed.has(log, b"one\n")
        old = log.rename(tmp_path / "old")
        os.mkfifo(log)
        for line in (b"two\n", b"three\n"):
            append(old, line)
            await asyncio.sleep(MEANWHILE)
        log.unlink()
        log.write_bytes(b"four\n")
        await followed.has(log, b"one\ntwo\nthree\nfour\n")

    followed = follow(scenario, log)
    assert [p.what for p in followed.of(Problem)] == ["cannot be read: not a regular file"]


def test_a_file_whose_first_read_fails_is_opened_all_the_same(log, monkeypatch):
    log.write_bytes(b"one\n")
    read, tries = following._Open.read, 0

    def fail(file):
        nonlocal tries
        tries += 1
        if tries < 3:
            raise OSError(5, "Input/output error")
        return read(file)

    monkeypatch.setattr(following._Open, "read", fail)
    followed = follow(lambda followed: followed.has(log, b"one\n"), log)
    assert [type(e) for e in followed.events] == [Opened, Problem, Lines]


def test_reading_goes_on_where_it_failed(log, monkeypatch):
    log.write_bytes(b"one\ntw")
    read, broken = following._Open.read, False

    def fail(file):
        if broken:
            raise OSError(5, "Input/output error")
        return read(file)

    monkeypatch.setattr(following._Open, "read", fail)

    async def scenario(followed):
        nonlocal broken
        wanted = b"one\ntw"
        for number, new in enumerate([b"o\nthree\nfo", b"ur\n"]):
            await followed.has(log, wanted[: wanted.rindex(b"\n") + 1])
            broken = True
            append(log, new)
            await followed.until(lambda number=number: len(followed.of(Problem)) > number)
            await asyncio.sleep(MEANWHILE)
            broken = False
            wanted += new
        await followed.has(log, wanted)

    followed = follow(scenario, log)
    assert [p.what for p in followed.of(Problem)] == ["cannot be read: Input/output error"] * 2


def test_what_cannot_be_followed_is_told_when_it_was_named(tmp_path, log):
    packed, fifo = tmp_path / "b.log", tmp_path / "fifo"
    packed.write_bytes(gzip.compress(b"old\n"))
    os.mkfifo(fifo)
    log.write_bytes(b"one\n")

    async def scenario(followed):
        await followed.has(log, b"one\n")
        await asyncio.sleep(MEANWHILE)

    followed = follow(scenario, packed, fifo, log)
    assert sorted(p.what for p in followed.of(Problem)) == [
        "cannot be read: not a regular file",
        "skipped: gzip cannot be followed",
    ]


# --- Everything in any order -----------------------------------------------------------------------------------------


class Writer:
    """Writes numbered lines to a file, and does to it what happens to logs."""

    def __init__(self, path: Path, followed: Followed) -> None:
        self.path = path
        self.followed = followed
        self.written = b""
        self.half = b""
        self.count = 0

    def write(self, lines: int, half: bool = False) -> None:
        new = b""
        for _ in range(lines):
            self.count += 1
            new += b"%d of %s%s\n" % (self.count, self.path.name.encode(), b"\xff" * (self.count % 50))
        append(self.path, new.removeprefix(self.half))
        self.written += new
        self.half = b""
        if half:
            self.half = b"%d of" % (self.count + 1)
            append(self.path, self.half)

    async def settle(self) -> None:
        """All lines are read, also one of the file that is there now."""
        self.write(1)
        await self.followed.has(self.path, self.written)

    async def act(self, action: str, size: int) -> None:
        if action == "half":
            self.write(1 + size, half=True)
        elif action != "wait":
            self.write(1 + size)
        if action == "wait":
            await asyncio.sleep(POLL)
        elif action == "truncate":
            await self.settle()
            os.truncate(self.path, 0)
            self.write(1 + size)
        elif action in ("rotate", "delete"):
            await self.settle()
            self.write(size)
            if action == "rotate":
                self.path.rename(self.path.with_name(f"old-{self.count}-{self.path.name}"))
            else:
                self.path.unlink()
            self.write(size)


ACTIONS = st.tuples(
    st.integers(0, 1),
    st.sampled_from(["write", "half", "wait", "truncate", "rotate", "delete"]),
    st.sampled_from([1, 3, 50]),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ACTIONS, min_size=5, max_size=15), st.sampled_from(["files", "folder"]))
def test_every_line_comes_once_and_in_order(tmp_path_factory, actions, by):
    folder = tmp_path_factory.mktemp("logs")
    paths = [folder / "a.log", folder / "b.log"]
    for path in paths:
        path.write_bytes(b"")

    async def scenario(followed):
        writers = [Writer(path, followed) for path in paths]
        for which, action, size in actions:
            await writers[which].act(action, size)
        for writer in writers:
            await writer.settle()
        await asyncio.sleep(5 * POLL)
        for writer in writers:
            assert followed.lines(writer.path) == writer.written

    followed = follow(scenario, *(paths if by == "files" else [folder]), poll=POLL / 2)
    assert set(followed.data) == {"a.log", "b.log"}
    assert len(followed.of(Gap)) == sum(action == "truncate" for _, action, _ in actions)
    for path in paths:
        lines = [e for e in followed.of(Lines) if e.origin.path == str(path)]
        assert [e.offset for e in lines] == [sum(len(e.data) for e in lines[:n]) for n in range(len(lines))]


def test_a_busy_writer_that_rotates(log):
    """A writer in another thread: the follower looks at any moment, and is behind when the file is rotated."""
    files = [[b"%d of %d\n" % (n, number) for n in range(3000)] for number in range(20)]
    written = b"".join(line for file in files for line in file)

    async def scenario(followed):
        def write() -> None:
            for number, lines in enumerate(files):
                for at in range(0, 3000, 50):
                    append(log, b"".join(lines[at : at + 50]))
                    while at == 0 and not followed.lines(log).endswith(b" of %d\n" % number):
                        time.sleep(0.001)  # a file that came and went between two looks cannot be seen
                if number < 19:
                    log.rename(log.with_suffix(f".{number}"))

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        await followed.has(log, written)
        thread.join()

    log.touch()
    assert not follow(scenario, log).of(Gap)
