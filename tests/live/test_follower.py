"""One container's log: every line once and in order, whatever happens to its stream, its instances, its pod and its kubelet."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from meshdiag.sources.kubernetes import follower as followers
from meshdiag.sources.live import Lines
from tests.live.calls import PROXY
from tests.live.cluster import Cluster
from tests.live.objects import SECOND
from tests.live.stage import NAME, ONLY, STAMP, Stage, Time, near, numbered, play

pytestmark = pytest.mark.usefixtures("quick")


# -- cuts


@pytest.mark.parametrize("kind", ["end", "reset"])
@pytest.mark.parametrize(
    "after",
    [0, STAMP // 2, STAMP, STAMP + 3, STAMP + len("zażółć 0".encode()), 2 * STAMP + len("zażółć 0\n".encode()) + 3],
    ids=["at once", "in a time", "before the text", "in a character", "before a line feed", "in the second line"],
)
def test_a_cut_loses_and_repeats_nothing(shop: Cluster, kind: Any, after: int) -> None:
    """Wherever a stream is cut, cleanly or not, every line comes once and in order."""
    texts = [f"zażółć {n}".encode() for n in range(8)]

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"before")
        await stage.had(NAME, [b"before"])
        stage.server.cut(NAME, PROXY, kind, after=after)
        for text in texts:
            stage.write(NAME, text)
        await stage.had(NAME, [b"before", *texts])
        stage.server.cut(NAME, PROXY, kind)
        stage.write(NAME, b"end")
        await stage.had(NAME, [b"before", *texts, b"end"])

    stage = play(scenario, shop, ONLY)
    assert not stage.gaps + stage.problems
    assert stage.opened == [f"{NAME}/{PROXY}"]


@pytest.mark.parametrize("after", [0, STAMP + 2], ids=["between lines", "in a line"])
def test_a_stream_that_is_silent_for_long_is_opened_anew(
    shop: Cluster, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """A connection that died without a word is found out by its silence, and what was written meanwhile is read once."""
    monkeypatch.setattr(followers, "SILENCE", 0.2)

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"one")
        await stage.had(NAME, [b"one"])
        stage.server.cut(NAME, PROXY, "stall", after=after)
        stage.write(NAME, b"two", b"three")
        await stage.had(NAME, [b"one", b"two", b"three"])

    stage = play(scenario, shop, ONLY)
    assert stage.server.stats["cut.stall"] == 1
    assert not stage.gaps + stage.problems


def test_a_stream_that_waits_for_its_reader_is_not_silent(shop: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nobody takes its lines a stream is not given up: a kubelet goes on in a rotated file, but opens only the newest."""
    monkeypatch.setattr(followers, "SILENCE", 0.05)

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.read.clear()
        stage.write(NAME, *[b"x" * 1000] * 50)
        await stage.until(lambda: stage.events[-1:] and isinstance(stage.events[-1], Lines))
        for _ in range(3):  # the first of them fills the queue
            stage.write(NAME, *[b"y" * 1000] * 50)
            await asyncio.sleep(0.01)  # so that they come one by one
        opened = stage.server.stats["log.opened"]
        await asyncio.sleep(0.25)  # nothing tells that something did not happen
        assert stage.server.stats["log.opened"] == opened
        stage.read.set()
        await stage.until(lambda: len(stage.lines(NAME)) == 200)

    play(scenario, shop, ONLY, queue_bytes=1000)


def test_lines_with_one_time_are_told_apart(shop: Cluster) -> None:
    """Lines with the same time, even with the same text, come as often as they were written."""
    texts = [b"a", b"a", b"b", b"a", b"b"]

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        at = shop.clock()
        shop.write(NAME, PROXY, *texts[:2], at=[at, at])
        await stage.had(NAME, texts[:2])
        stage.server.hold("log")
        stage.server.cut(NAME)
        shop.write(NAME, PROXY, *texts[2:], at=[at, at, at])
        stage.server.release("log")
        await stage.had(NAME, texts)
        stage.server.cut(NAME)
        shop.write(NAME, PROXY, b"end")
        await stage.had(NAME, [*texts, b"end"])

    assert not play(scenario, shop, ONLY).gaps


def test_lines_whose_times_are_out_of_order(shop: Cluster) -> None:
    """Standard output and error are copied side by side: a line may be a little older than the one before it."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        at = (shop.clock() // SECOND + 1) * SECOND
        shop.write(NAME, PROXY, b"1", b"2", b"3", at=[at + 50_000_000, at - 20_000_000, at + 10_000_000])
        await stage.had(NAME, [b"1", b"2", b"3"])
        stage.server.hold("log")
        stage.server.cut(NAME)
        shop.write(NAME, PROXY, b"4", b"5", at=[at - 10_000_000, at + 60_000_000])
        stage.server.release("log")
        await stage.had(NAME, numbered(1, 6))
        stage.server.cut(NAME)
        shop.write(NAME, PROXY, b"6", at=at + 70_000_000)
        await stage.had(NAME, numbered(1, 7))

    assert not play(scenario, shop, ONLY).gaps


def test_a_quiet_container(shop: Cluster) -> None:
    """Before its first line a kubelet sends no headers; a cut then costs nothing, and the first line comes once."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        for _ in range(3):
            before = stage.server.stats["log.opened"]
            stage.server.cut(NAME, PROXY, "reset")
            await stage.until(lambda: stage.server.stats["log.opened"] > before)  # noqa: B023
        stage.write(NAME, b"first")
        await stage.had(NAME, [b"first"])
        stage.server.cut(NAME)
        stage.write(NAME, b"second")
        await stage.had(NAME, [b"first", b"second"])

    assert not play(scenario, shop, ONLY).gaps


@pytest.mark.parametrize("chunking", [None, 7])
def test_lines_of_any_bytes(shop: Cluster, chunking: int | None) -> None:
    """Bare numbers, empty lines, carriage returns, what is no UTF-8, what looks like a time: all come as they were written."""
    texts = [
        b"12345", b"", b"\r", b"text\r", b"\xff\xfe\x00 bytes", b" ", b"2026-11-22T23:32:13Z told", b"2026-11-22T23:32:13.455026000Z",
        b"\xe2\x80\xa8 a line of Unicode only", b"", b"0",
    ]  # fmt: skip

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        for n, text in enumerate(texts):
            stage.write(NAME, text)
            await stage.had(NAME, texts[: n + 1])
            stage.server.cut(NAME, kind="end" if n % 2 else "reset")
        stage.write(NAME, b"end")
        await stage.had(NAME, [*texts, b"end"])

    stage = play(scenario, shop, ONLY, server={"chunking": chunking})
    assert not stage.gaps + stage.problems


def test_a_very_long_line_is_cut_and_said_once(shop: Cluster) -> None:
    """Of a line of 3 MiB the beginning is kept; it is not said again when the line is read again, or another one comes."""
    long = b"x" * (3 << 20)

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, long, b"next")
        await stage.until(lambda: len(stage.lines(NAME)) == 2)
        assert [p.what for p in stage.problems] == ["a line longer than 1024 KiB was cut"]  # at once, not at the end
        stage.server.cut(NAME)
        stage.write(NAME, b"more", long)
        await stage.until(lambda: len(stage.lines(NAME)) == 4)

    stage = play(scenario, shop, ONLY)
    kept = b"x" * ((64 << 10) - STAMP)
    assert stage.lines(NAME) == [kept, b"next", b"more", kept]
    assert len(stage.problems) == 1
    assert not stage.gaps


def without_line_feed(cluster: Cluster, *, previous: bool = False) -> None:
    """Takes the line feed of the last line away: a program may end without."""
    container = cluster.container(NAME, PROXY)
    run = container.last if previous else container.current
    assert run is not None
    run.file.segments[-1].stamped = run.file.segments[-1].stamped[:-1]


def test_a_last_line_without_line_feed(shop: Cluster) -> None:
    """When a container ends in the middle of a line, that is its last line, once."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"one")
        await stage.had(NAME, [b"one"])
        stage.server.hold("log")
        stage.server.cut(NAME)
        stage.write(NAME, b"two")
        without_line_feed(shop)
        shop.terminate(NAME, PROXY)
        stage.server.release("log")
        await stage.until(lambda: stage.ended)
        assert stage.lines(NAME) == [b"one", b"two"]

    stage = play(scenario, shop, ONLY)
    assert stage.ended == {f"{NAME}/{PROXY}": "the container has ended"}
    assert not stage.gaps + stage.problems


# -- instances


def test_the_rest_of_an_instance_comes_before_the_next_one(shop: Cluster) -> None:
    """What was written between a cut and a restart is read with `previous`, then the new instance."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        stage.server.hold("log")
        stage.server.cut(NAME, kind="reset")
        stage.write(NAME, b"2", b"3")
        shop.restart(NAME, PROXY)
        stage.write(NAME, b"4")
        stage.server.release("log")
        await stage.had(NAME, numbered(1, 5))
        stage.server.cut(NAME)
        stage.write(NAME, b"5")
        await stage.had(NAME, numbered(1, 6))

    stage = play(scenario, shop, ONLY)
    assert not stage.gaps + stage.problems
    assert not stage.ended


def test_many_restarts_while_it_is_followed(shop: Cluster) -> None:
    """Each instance is read to its end, whether there are lines or not."""

    async def scenario(stage: Stage) -> None:
        expected: list[bytes] = []
        for n in range(12):
            await stage.following(NAME)
            if n % 3:
                lines = numbered(10 * n, 10 * n + n % 4)
                stage.write(NAME, *lines)
                expected += lines
            shop.restart(NAME, PROXY, waiting=0.01 if n % 4 == 3 else None)
        await stage.following(NAME)
        stage.write(NAME, b"end")
        await stage.had(NAME, [*expected, b"end"])

    stage = play(scenario, shop, ONLY)
    assert not stage.gaps + stage.problems


async def opened_too_late(stage: Stage) -> None:
    """A stream is opened for the first instance, but the container is started again before, and nobody has told."""
    await stage.following(NAME)
    stage.write(NAME, b"1")
    await stage.had(NAME, [b"1"])
    await stage.blind()
    stage.server.hold("log")
    stage.server.cut(NAME)
    await stage.held("log")
    stage.write(NAME, b"2", b"3")
    stage.cluster.restart(NAME, PROXY)
    stage.write(NAME, b"new 1")
    stage.server.release("log")
    await stage.had(NAME, [b"1", b"new 1"])


def exactly(stage: Stage, *instances: list[bytes]) -> None:
    """All lines of all instances came, once, and those of each in order."""
    lines = stage.lines(NAME)
    assert sorted(lines) == sorted(line for instance in instances for line in instance)
    for instance in instances:
        assert [line for line in lines if line in instance] == instance


def test_a_stream_of_the_next_instance_that_goes_on(shop: Cluster) -> None:
    """While a stream goes on it is found to be the next instance's: the rest of the one before is read beside it."""

    async def scenario(stage: Stage) -> None:
        await opened_too_late(stage)
        stage.see()
        await stage.until(lambda: len(stage.lines(NAME)) == 4)
        stage.server.cut(NAME)
        stage.write(NAME, b"new 2")
        await stage.until(lambda: len(stage.lines(NAME)) == 5)
        exactly(stage, numbered(1, 4), [b"new 1", b"new 2"])

    assert not play(scenario, shop, ONLY).gaps


def test_streams_of_the_next_instance_that_were_cut(shop: Cluster) -> None:
    """The next instance's streams are cut before anybody has told; then the rest of the one before is read, and no line twice."""

    async def scenario(stage: Stage) -> None:
        await opened_too_late(stage)
        for n in range(2, 5):
            stage.server.fail_next("get", 500, 3)
            stage.server.cut(NAME, kind="reset")
            stage.write(NAME, b"new %d" % n)
            await stage.until(lambda: stage.lines(NAME)[-1] == b"new %d" % n)  # noqa: B023
        stage.see()
        await stage.until(lambda: len(stage.lines(NAME)) == 7)
        stage.server.cut(NAME)
        stage.write(NAME, b"end")
        await stage.until(lambda: len(stage.lines(NAME)) == 8)
        exactly(stage, numbered(1, 4), [b"new 1", b"new 2", b"new 3", b"new 4", b"end"])

    assert not play(scenario, shop, ONLY).gaps


def test_much_of_the_next_instance_in_the_second_of_its_start(shop: Cluster) -> None:
    """The next instance's stream is told by later lines when more than is remembered came in the second of its start."""
    lines = [b"%04d" % n + b"x" * 400 for n in range(400)]

    async def scenario(stage: Stage) -> None:
        await opened_too_late(stage)
        started = shop.container(NAME, PROXY).current
        assert started is not None
        stage.write(NAME, *lines)
        later = (started.started // SECOND + 2) * SECOND
        shop.write(NAME, PROXY, b"later", at=later)
        await stage.until(lambda: stage.lines(NAME)[-1] == b"later")
        stage.see()
        await stage.until(lambda: len(stage.lines(NAME)) == 405)
        stage.server.cut(NAME)
        shop.write(NAME, PROXY, b"end", at=later + 1)
        await stage.until(lambda: len(stage.lines(NAME)) == 406)
        exactly(stage, numbered(1, 4), [b"new 1", *lines, b"later", b"end"])

    assert not play(scenario, shop, ONLY).gaps


def test_a_stream_that_began_in_the_second_of_the_next_start(shop: Cluster) -> None:
    """A stream of the old instance is not taken for the next one's because its first line has the second of that one's start."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        begin = (shop.clock() // SECOND + 1) * SECOND
        shop.clock = lambda: begin
        shop.write(NAME, PROXY, b"1", at=begin - 5 * SECOND)
        await stage.had(NAME, [b"1"])
        stage.server.cut(NAME)
        shop.write(NAME, PROXY, b"2", b"3", at=begin + 1)
        await stage.had(NAME, numbered(1, 4))
        stage.server.hold("log")
        stage.server.cut(NAME, kind="reset")
        shop.write(NAME, PROXY, b"4", at=begin + 5000)
        shop.clock = lambda: begin + 10_000
        shop.restart(NAME, PROXY)
        shop.write(NAME, PROXY, b"5", at=begin + 20_000)
        stage.server.release("log")
        await stage.had(NAME, numbered(1, 6))
        stage.server.cut(NAME)
        shop.restart(NAME, PROXY)
        shop.write(NAME, PROXY, b"6", at=begin + 30_000)
        await stage.had(NAME, numbered(1, 7))

    assert not play(scenario, shop, ONLY).gaps


def test_another_restart_while_the_instance_before_is_read(shop: Cluster, clock: Time) -> None:
    """When `previous` is another instance's log by now, its lines are not taken for the old one's, nor read twice."""
    times: list[int] = []

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        times.extend(stage.write(NAME, b"1"))
        await stage.had(NAME, [b"1"])
        stage.server.hold("log")
        stage.server.cut(NAME)
        stage.write(NAME, b"lost")
        clock.forward(10)
        shop.restart(NAME, PROXY)
        times.append(clock())
        clock.forward(1)
        stage.write(NAME, b"2")
        await stage.until(lambda: stage.count("log", previous="true"))
        await stage.blind()
        clock.forward(10)
        shop.restart(NAME, PROXY)
        clock.forward(1)
        stage.write(NAME, b"3")
        stage.server.fail_next("get", 503, 1000)
        stage.server.release("log")
        await stage.until(lambda: stage.gaps)
        stage.server._fail["get"].clear()
        stage.see()
        await stage.until(lambda: len(stage.lines(NAME)) == 3)
        stage.server.cut(NAME)
        stage.write(NAME, b"4")
        await stage.until(lambda: len(stage.lines(NAME)) == 4)

    stage = play(scenario, shop, ONLY)
    assert sorted(stage.lines(NAME)) == numbered(1, 5)
    [gap] = stage.gaps
    assert near(gap.since, times[0])
    assert near(gap.until, times[1], 1)


def test_what_is_told_late_changes_nothing(shop: Cluster) -> None:
    """The watch still tells of the instance before when an answer has told of the next one: that is not read again."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        await stage.blind()
        shop.touch(NAME)
        shop.restart(NAME, PROXY)
        stage.write(NAME, b"2")
        await stage.had(NAME, [b"1", b"2"])
        stage.see()
        assert stage.server.open_watches
        await stage.until(lambda: not stage.server.open_watches[0]._queue)
        shop.touch(NAME)
        stage.server.cut(NAME)
        stage.write(NAME, b"3")
        await stage.had(NAME, numbered(1, 4))

    assert not play(scenario, shop, ONLY).gaps


@pytest.mark.parametrize("code", [500, 503])
def test_the_instance_before_is_asked_for_again(shop: Cluster, code: int) -> None:
    """That `previous` is answered with errors at first loses nothing."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        stage.server.hold("log")
        stage.server.cut(NAME)
        await stage.held("log")
        stage.write(NAME, b"2")
        shop.restart(NAME, PROXY)
        stage.server.fail_next("log", code, 4)
        stage.write(NAME, b"3")
        stage.server.release("log")
        await stage.had(NAME, numbered(1, 4))

    assert not play(scenario, shop, ONLY).gaps


def test_the_instance_before_is_asked_for_as_long_as_nobody_answers(shop: Cluster) -> None:
    """An outage longer than a log is tried does not cost the rest of the instance before."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        stage.server.hold("log")
        stage.server.cut(NAME)
        stage.write(NAME, b"2")
        shop.restart(NAME, PROXY)
        stage.write(NAME, b"3")
        await stage.until(lambda: stage.count("log", previous="true"))
        stage.server.down()
        await asyncio.sleep(0.6)  # of tries that nobody sees, with pauses of at most 0.1 s
        await stage.server.outage(0)
        stage.server.release("log")
        await stage.had(NAME, numbered(1, 4))

    assert not play(scenario, shop, ONLY).gaps


def test_a_previous_log_that_stalls_is_asked_for_again(shop: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that dies without a word while the instance before is read does not stop everything."""
    monkeypatch.setattr(followers, "PREVIOUS_SILENCE", 0.1)

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        stage.server.hold("log")
        stage.server.cut(NAME)
        stage.write(NAME, b"2")
        shop.restart(NAME, PROXY)
        stage.write(NAME, b"3")
        await stage.until(lambda: stage.count("log", previous="true"))  # and is never answered
        stage.server._held.pop("log")
        await stage.had(NAME, numbered(1, 4))

    assert not play(scenario, shop, ONLY).gaps


def test_a_previous_log_that_the_kubelet_has_lost(shop: Cluster, clock: Time) -> None:
    """The rest of an instance that cannot be had is a gap, from its last line that was read to its end; others go on."""
    times: list[int] = []

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        times.extend(stage.write(NAME, b"1"))
        await stage.had(NAME, [b"1"])
        stage.server.hold("log")
        stage.server.cut(NAME)
        stage.write(NAME, b"lost")
        clock.forward(10)
        shop.restart(NAME, PROXY)
        shop.lose_log(NAME, PROXY, previous=True)
        stage.write(NAME, b"2")
        stage.server.release("log")
        await stage.had(NAME, [b"1", b"2"])

    stage = play(scenario, shop, ONLY)
    [gap] = stage.gaps
    last = shop.container(NAME, PROXY).last
    assert last is not None and last.finished is not None
    assert near(gap.since, times[0])
    assert near(gap.until, last.finished, 1)
    assert gap.seconds is not None and 10 <= gap.seconds <= 12
    assert "before the container was started again" in gap.why
    [problem] = stage.problems
    assert problem.where == f"{NAME}/{PROXY}"
    assert problem.what == f"the kubelet says: unable to retrieve container logs for {last.id}"
    assert stage.count("log", previous="true") <= 2


@pytest.mark.parametrize("listed", [False, True], ids=["watched", "listed"])
def test_two_restarts_in_between(shop: Cluster, clock: Time, listed: bool) -> None:
    """Of three instances the kubelet keeps two: what is left of the first is a gap, the others are read whole."""
    times: list[int] = []

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        times.extend(stage.write(NAME, b"1"))
        await stage.had(NAME, [b"1"])
        await stage.blind()
        stage.server.hold("log")
        stage.server.cut(NAME)
        await stage.held("log")
        stage.write(NAME, b"lost")
        clock.forward(10)
        times.append(clock())
        shop.restart(NAME, PROXY)
        stage.write(NAME, b"2", b"3")
        clock.forward(10)
        shop.restart(NAME, PROXY)
        stage.write(NAME, b"4")
        if listed:
            shop.compact()  # nobody can tell of the second instance
        stage.server.fail_next("log", 500)  # the stream that was asked for in time
        stage.see()
        stage.server.release("log")
        await stage.had(NAME, numbered(1, 5))

    stage = play(scenario, shop, ONLY)
    [gap] = stage.gaps
    assert near(gap.since, times[0])
    assert near(gap.until, times[1], 1)
    assert ("started 2 times" in gap.why) is listed


def test_two_restarts_after_an_instance_that_was_read_whole(shop: Cluster) -> None:
    """Nothing is missing when the first instance was read to its end, and the second is the one that the kubelet keeps."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        shop.restart(NAME, PROXY, waiting=math.inf)
        await stage.until(lambda: stage.ended)
        await stage.blind()
        shop.start(NAME, PROXY)
        stage.write(NAME, b"2")
        shop.restart(NAME, PROXY)
        stage.write(NAME, b"3")
        stage.see()
        await stage.had(NAME, numbered(1, 4))

    assert not play(scenario, shop, ONLY).gaps


def test_three_restarts_after_an_instance_that_was_read_whole(shop: Cluster) -> None:
    """The instance that nobody could read is a gap, also when the one before was read to its end."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        shop.restart(NAME, PROXY, waiting=math.inf)
        await stage.until(lambda: stage.ended)
        await stage.blind()
        shop.start(NAME, PROXY)
        for n in range(2, 5):
            stage.write(NAME, b"%d" % n)
            if n < 4:
                shop.restart(NAME, PROXY)
        stage.see()
        await stage.had(NAME, [b"1", b"3", b"4"])

    assert len(play(scenario, shop, ONLY).gaps) == 1


def test_back_off(shop: Cluster) -> None:
    """Between two starts the log of the last instance is the current one: it is read once, and its end is told."""

    async def scenario(stage: Stage) -> None:
        for n in range(3):
            await stage.following(NAME)
            stage.write(NAME, b"%d" % n)
            ended = len([e for e in stage.events if e == stage.events[-1]])
            assert ended <= n + 1
            before = len(stage.opened)
            shop.restart(NAME, PROXY, "Error", 1, waiting=math.inf)
            await stage.until(lambda: stage.ended)
            requests = stage.count("log")
            shop.touch(NAME)
            await stage.until(lambda: stage.server.stats["watch.events"] > 0)
            assert stage.count("log") == requests  # nothing is asked for as long as it waits
            assert len(stage.opened) == before
            stage.events = [e for e in stage.events if type(e).__name__ != "Ended"]
            shop.start(NAME, PROXY)
        await stage.following(NAME)
        stage.write(NAME, b"3")
        await stage.had(NAME, numbered(0, 4))

    stage = play(scenario, shop, ONLY)
    assert stage.opened == [f"{NAME}/{PROXY}"] * 4
    assert not stage.gaps + stage.problems


def test_back_off_after_an_instance_that_nobody_read(shop: Cluster, clock: Time) -> None:
    """Restarted, and crashed again, while its stream was cut: the kubelet keeps only the crashed one, which is read once."""
    times: list[int] = []

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        times.extend(stage.write(NAME, b"1"))
        await stage.had(NAME, [b"1"])
        stage.server.hold("log")
        stage.server.cut(NAME)
        await stage.held("log")
        stage.write(NAME, b"lost")
        clock.forward(10)
        shop.restart(NAME, PROXY)
        run = shop.container(NAME, PROXY).current
        assert run is not None
        times.append(run.started)
        stage.write(NAME, b"2", b"3")
        shop.restart(NAME, PROXY, "Error", 1, waiting=math.inf)
        stage.server.fail_next("log", 500)
        stage.server.release("log")
        await stage.until(lambda: stage.ended)
        assert stage.lines(NAME) == numbered(1, 4)
        shop.start(NAME, PROXY)
        stage.write(NAME, b"4")
        await stage.had(NAME, numbered(1, 5))

    stage = play(scenario, shop, ONLY)
    [gap] = stage.gaps
    assert near(gap.since, times[0])
    assert near(gap.until, times[1], 1)


def test_ended_for_good(shop: Cluster) -> None:
    """A container that has ended is read to its end, which is told; then it is not asked for any more."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        stage.server.cut(NAME)
        stage.write(NAME, b"2")
        shop.terminate(NAME, PROXY)
        await stage.until(lambda: stage.ended)
        assert stage.lines(NAME) == [b"1", b"2"]
        requests = len(stage.server.requests)
        shop.touch(NAME)
        await asyncio.sleep(0.1)  # nothing tells that something did not happen
        assert len(stage.server.requests) == requests

    stage = play(scenario, shop, ONLY)
    assert stage.ended == {f"{NAME}/{PROXY}": "the container has ended"}
    assert stage.count("log") <= 6


@pytest.mark.parametrize("kind", ["end", "reset"])
def test_an_end_is_believed_only_when_the_log_was_read_again(shop: Cluster, kind: Any) -> None:
    """A log that has ended is long, and each of its streams is cut somewhere: nothing of its end is missing."""
    lines = [b"%05d" % n + b"x" * 100 for n in range(3000)]

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        stage.server.hold("log")
        stage.server.cut(NAME)
        await stage.held("log")
        at = shop.clock()
        shop.write(NAME, PROXY, *lines, at=range(at, at + len(lines) * 10_000_000, 10_000_000))
        shop.terminate(NAME, PROXY)
        stage.server.faults = stage.server.faults.__class__(5, cut_after=(20_000, 90_000), cuts={kind: 1})
        stage.server.release("log")
        await stage.until(lambda: len(stage.lines(NAME)) > 2500)
        stage.server.faults = stage.server.faults.__class__()
        await stage.until(lambda: stage.ended)
        assert stage.lines(NAME) == [b"1", *lines]

    stage = play(scenario, shop, ONLY)
    assert not stage.gaps


def test_two_restarts_while_streams_are_of_the_next_instance(shop: Cluster, clock: Time) -> None:
    """The stream of an instance that nobody had told of is its stream, also when yet another one has begun by then."""

    async def scenario(stage: Stage) -> None:
        await opened_too_late(stage)
        clock.forward(2)
        stage.write(NAME, b"new 2")
        await stage.had(NAME, [b"1", b"new 1", b"new 2"])
        stage.server.hold("log")
        stage.server.cut(NAME, kind="reset")
        stage.write(NAME, b"new 3")
        shop.restart(NAME, PROXY)
        stage.write(NAME, b"newest")
        stage.see()
        stage.server.release("log")
        await stage.until(lambda: b"newest" in stage.lines(NAME))
        stage.server.cut(NAME)
        stage.write(NAME, b"end")
        await stage.until(lambda: stage.lines(NAME)[-1] == b"end")
        assert stage.lines(NAME) == [b"1", b"new 1", b"new 2", b"new 3", b"newest", b"end"]

    assert len(play(scenario, shop, ONLY).gaps) == 1  # the rest of the first instance


def test_a_stream_that_waits_for_an_answer_is_not_taken_for_another_instance(shop: Cluster) -> None:
    """While it is found out whose a stream is, it is not silent: what waits in it comes once."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.server.hold("get")
        stage.write(NAME, b"1", b"2")
        await stage.held("get")
        shop.restart(NAME, PROXY)
        stage.write(NAME, b"3")
        await asyncio.sleep(3 * followers.GRACE)  # for what must not happen
        stage.server.release("get")
        await stage.had(NAME, numbered(1, 4))

    assert not play(scenario, shop, ONLY).gaps


def test_a_pod_that_was_deleted_after_a_cut_in_a_line(shop: Cluster) -> None:
    """Nobody could be asked in time whether the end was a cut, but half a line tells: that is a gap."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        stage.server.hold("get")
        stage.server.cut(NAME, after=STAMP // 2)
        stage.write(NAME, b"2")
        await stage.held("get")
        shop.delete_pod(NAME)
        stage.server.release("get")
        await stage.until(lambda: f"{NAME}/{PROXY}" in stage.ended)

    assert len(play(scenario, shop, ONLY).gaps) == 1


def test_instances_that_came_before_the_first_could_be_read(shop: Cluster, clock: Time) -> None:
    """A container that is started again before anything of it was read: that instance counts, it was seen."""

    async def scenario(stage: Stage) -> None:
        await stage.held("log")
        for n in range(3):
            stage.write(NAME, b"%d" % n)
            clock.forward(2)
            if n < 2:
                shop.restart(NAME, PROXY)
        await stage.until(lambda: stage.server.stats["watch.events"] >= 2)
        stage.server.fail_next("log", 500)
        stage.server.release("log")
        await stage.had(NAME, [b"1", b"2"])

    [gap] = play(scenario, shop, ONLY, begun=lambda stage: stage.server.hold("log")).gaps
    assert gap.since is not None and gap.until is not None


@pytest.mark.parametrize("listed", [False, True], ids=["watched", "listed"])
def test_a_stream_of_an_instance_after_the_next(shop: Cluster, clock: Time, listed: bool) -> None:
    """A stream turns out to be of an instance after one that nobody knew of: each line comes once, and what is lost is a gap."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        await stage.blind()
        stage.server.hold("log")
        stage.server.cut(NAME)
        await stage.held("log")
        stage.write(NAME, b"lost")
        for line in (b"between", b"newest"):
            clock.forward(10)
            shop.restart(NAME, PROXY)
            stage.write(NAME, line)
        stage.server.release("log")
        await stage.had(NAME, [b"1", b"newest"])
        if listed:
            shop.compact()
        stage.see()
        stage.server.cut(NAME)
        stage.write(NAME, b"end")
        await stage.until(lambda: len(stage.lines(NAME)) == 4)
        assert sorted(stage.lines(NAME)) == [b"1", b"between", b"end", b"newest"]

    stage = play(scenario, shop, ONLY)
    assert len(stage.gaps) == 1
