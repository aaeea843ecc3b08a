"""One container's log: from where on it is read, what becomes of its pod and its file, and what is answered instead of it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from meshdiag.sources.kubernetes import follower as followers
from meshdiag.sources.kubernetes import pods as watching
from meshdiag.sources.kubernetes.access import accesses
from meshdiag.sources.kubernetes.collector import Kubernetes
from meshdiag.sources.kubernetes.follower import Start
from meshdiag.sources.kubernetes.select import Selection
from tests.live import pods
from tests.live.access import User, reader
from tests.live.apiserver import WATCH_FAILED
from tests.live.calls import PROXY
from tests.live.cluster import Cluster
from tests.live.objects import SECOND
from tests.live.stage import NAME, ONLY, Stage, Time, near, numbered, play

pytestmark = pytest.mark.usefixtures("quick")

WHERE = f"{NAME}/{PROXY}"


def ago(cluster: Cluster, seconds: float) -> datetime:
    """A time of ours, so that the cluster's clock must not be behind."""
    return datetime.fromtimestamp(cluster.clock() / SECOND - seconds, UTC)


@pytest.fixture
def now(clock: Time) -> Time:
    """The cluster's clock is ours."""
    clock.ahead = 0
    return clock


# -- from where on


def test_since(shop: Cluster, now: Time) -> None:
    """Of each log what is not older than a time is read, and a stream that was cut goes on from its last line."""
    shop.write(NAME, PROXY, b"old", b"1", b"2", at=[now() - 100 * SECOND, now() - 20 * SECOND, now() - 10 * SECOND])

    async def scenario(stage: Stage) -> None:
        await stage.had(NAME, [b"1", b"2"])
        stage.server.cut(NAME)
        stage.write(NAME, b"3")
        await stage.had(NAME, numbered(1, 4))

    play(scenario, shop, ONLY, Start(since=ago(shop, 60)))


def test_the_last_lines(shop: Cluster, now: Time) -> None:
    """`tail` counts at first only: what a resumed stream gives is not cut to the last lines again."""
    for n in range(10):
        shop.write(NAME, PROXY, b"old %d" % n, at=now() - (60 - n) * SECOND)

    async def scenario(stage: Stage) -> None:
        await stage.had(NAME, [b"old 8", b"old 9"])
        stage.server.hold("log")
        stage.server.cut(NAME)
        stage.write(NAME, *numbered(0, 10))
        stage.server.release("log")
        await stage.had(NAME, [b"old 8", b"old 9", *numbered(0, 10)])

    stage = play(scenario, shop, ONLY, Start(tail=2))
    assert stage.count("log", tailLines="2") == 1


def test_since_and_the_last_lines(shop: Cluster, now: Time) -> None:
    """Both: of the last lines those that are not older than the time."""
    shop.write(NAME, PROXY, *numbered(0, 4), at=[now() - s * SECOND for s in (90, 80, 20, 10)])

    async def scenario(stage: Stage) -> None:
        await stage.had(NAME, [b"2", b"3"])
        stage.write(NAME, b"end")
        await stage.had(NAME, [b"2", b"3", b"end"])

    play(scenario, shop, ONLY, Start(ago(shop, 60), 3))


def test_nothing_but_what_comes(shop: Cluster, now: Time) -> None:
    """With `tail=0` nothing old comes, and a cut before the first line loses nothing."""
    shop.write(NAME, PROXY, b"old", at=now() - 60 * SECOND)

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.server.hold("log")
        stage.server.cut(NAME, kind="reset")
        stage.write(NAME, b"1", b"2")
        stage.server.release("log")
        await stage.had(NAME, [b"1", b"2"])
        stage.server.cut(NAME)
        stage.write(NAME, b"3")
        await stage.had(NAME, numbered(1, 4))

    play(scenario, shop, ONLY, Start(tail=0))


@pytest.mark.parametrize("tail", [0, 2])
def test_what_is_written_before_its_stream_is_opened(shop: Cluster, now: Time, tail: int) -> None:
    """With many containers a stream is opened late: what was written since the start comes, however many lines it is."""
    shop.write(NAME, PROXY, b"old", at=now() - 60 * SECOND)

    async def scenario(stage: Stage) -> None:
        await stage.held("log")
        stage.write(NAME, *numbered(0, 6))
        stage.server.release("log")
        await stage.had(NAME, numbered(0, 6))

    play(scenario, shop, ONLY, Start(tail=tail), begun=lambda stage: stage.server.hold("log"))


@pytest.mark.parametrize("listed", [False, True], ids=["watched", "listed"])
@pytest.mark.parametrize("tail", [0, 1])
def test_pods_that_come_later_are_read_from_their_beginning(shop: Cluster, now: Time, tail: int, listed: bool) -> None:
    """`tail` is for what was there: of a pod that comes later, and of a container that is started again, every line is new."""

    async def scenario(stage: Stage) -> None:
        await stage.until(lambda: stage.opened)
        await stage.blind()
        pod = pods.sidecar_pod(shop, "shop", "web-0")
        stage.write(pod, *numbered(0, 5))
        shop.restart(pod, PROXY)
        stage.write(pod, *numbered(5, 9))
        if listed:
            shop.compact()  # the events cannot be had any more
        stage.see()
        await stage.had(pod, numbered(5 if listed else 0, 9))
        assert stage.lines(pod, previous=True) == (numbered(0, 5) if listed else [])

    play(scenario, shop, ONLY, Start(tail=tail))


def test_a_server_whose_clock_is_elsewhere(shop: Cluster, now: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    """`since` is a time of ours; the server's `Date` tells how far it is off."""
    now.ahead = -7200 * SECOND
    shop.write(NAME, PROXY, b"old", b"1", at=[now() - 100 * SECOND, now() - 10 * SECOND])
    monkeypatch.setattr("tests.live.connection.time.gmtime", lambda: __import__("time").localtime(now() / SECOND))

    async def scenario(stage: Stage) -> None:
        await stage.had(NAME, [b"1"])

    stage = play(scenario, shop, ONLY, Start(since=datetime.now(UTC) - timedelta(seconds=60)))
    assert stage.lines(NAME) == [b"1"]


def test_what_had_ended_before_is_not_asked_for(shop: Cluster, now: Time) -> None:
    """Containers that ended before the time from which on logs are wanted cost no request, and are followed when they start again."""
    now.ahead = -300 * SECOND
    for n in range(5):
        pod = pods.sidecar_pod(shop, "shop", f"job-{n}")
        shop.write(pod, PROXY, b"old")
        shop.terminate(pod, PROXY)
    now.ahead = 0

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        shop.start("shop/job-0", PROXY)
        stage.write("shop/job-0", b"new")
        await stage.had("shop/job-0", [b"new"])
        assert not stage.lines("shop/job-0", previous=True)

    stage = play(scenario, shop, ONLY, Start(since=ago(shop, 60)))
    assert {r.path.split("/")[-2] for r in stage.server.requests if r.verb == "log"} == {"db-0", "job-0"}
    assert sorted(stage.opened) == [WHERE, f"shop/job-0/{PROXY}"]


@pytest.mark.parametrize("start", [Start(tail=0), Start(tail=1), Start(since=datetime.now(UTC))])
def test_an_init_container_that_failed_is_read_whole(now: Time, start: Start) -> None:
    """It is why its pod does not start, however old its log is."""
    now.ahead = -3600 * SECOND
    cluster = Cluster(clock=now)
    pod = pods.sidecar_pod(cluster, "shop", "db-0", start=False)
    cluster.start(pod, "istio-init")
    cluster.write(pod, "istio-init", b"1", b"2")
    init = cluster.container(pod, "istio-init").current
    assert init is not None
    init.exit_code, init.reason = 1, "Error"
    cluster.touch(pod)
    now.ahead = 0

    async def scenario(stage: Stage) -> None:
        await stage.until(lambda: f"{NAME}/istio-init" in stage.ended)

    stage = play(scenario, cluster, Selection(), start)
    assert stage.lines(NAME, "istio-init") == [b"1", b"2"]


# -- at first sight


def test_an_instance_that_ended_just_before(shop: Cluster) -> None:
    """At first sight the instance before is read, too, as another origin; it tells why the container was started again."""
    shop.write(NAME, PROXY, b"crashed", b"because")
    shop.restart(NAME, PROXY)
    shop.write(NAME, PROXY, b"runs")

    async def scenario(stage: Stage) -> None:
        await stage.had(NAME, [b"runs"])
        stage.server.cut(NAME)
        stage.write(NAME, b"on")
        await stage.had(NAME, [b"runs", b"on"])
        shop.restart(NAME, PROXY)
        stage.write(NAME, b"again")
        await stage.had(NAME, [b"runs", b"on", b"again"])

    stage = play(scenario, shop, ONLY)
    assert stage.lines(NAME, previous=True) == [b"crashed", b"because"]
    assert stage.ended == {f"{WHERE} (previous)": "the container was started again"}


@pytest.mark.parametrize(("seconds", "had"), [(30, []), (90, [b"crashed"])])
def test_since_is_for_the_instance_before_too(shop: Cluster, now: Time, seconds: int, had: list[bytes]) -> None:
    """An instance that ended before `since` is not read, nor are older lines of one that did not."""
    now.ahead = -100 * SECOND
    shop.write(NAME, PROXY, b"old")
    now.ahead = -60 * SECOND
    shop.write(NAME, PROXY, b"crashed")
    shop.restart(NAME, PROXY)
    now.ahead = 0

    async def scenario(stage: Stage) -> None:
        stage.write(NAME, b"runs")
        await stage.had(NAME, [b"runs"])

    stage = play(scenario, shop, ONLY, Start(since=ago(shop, seconds)))
    assert stage.lines(NAME, previous=True) == had
    assert bool(stage.count("log", previous="true")) is bool(had)


def test_an_instance_before_that_cannot_be_had(shop: Cluster) -> None:
    """At first sight that is a gap, too, up to that instance's end, and the container is followed."""
    shop.write(NAME, PROXY, b"crashed")
    shop.restart(NAME, PROXY)
    shop.lose_log(NAME, PROXY, previous=True)
    shop.write(NAME, PROXY, b"runs")

    async def scenario(stage: Stage) -> None:
        await stage.had(NAME, [b"runs"])

    stage = play(scenario, shop, ONLY)
    [gap] = stage.gaps
    last = shop.container(NAME, PROXY).last
    assert last is not None and last.finished is not None
    assert (gap.origin.previous, gap.since) == (True, None)
    assert near(gap.until, last.finished, 1)


# -- pods


@pytest.mark.parametrize("name", ["db-0", "web-7d9c5b8f6-abcde"], ids=["a name for many", "a name for one"])
def test_a_pod_that_is_deleted_is_read_to_its_end(shop: Cluster, name: str) -> None:
    """Its last lines come, its end is told, and nothing is said to be missing."""
    pod = shop.pods[NAME] if name == "db-0" else pods.sidecar_pod(shop, "shop", name)

    async def scenario(stage: Stage) -> None:
        await stage.following(pod)
        stage.write(pod, b"1")
        shop.begin_delete(pod)
        stage.write(pod, b"2")
        shop.delete_pod(pod)
        await stage.until(lambda: f"{pod.key}/{PROXY}" in stage.ended)

    stage = play(scenario, shop, Selection(containers=(PROXY,), names=(name,)))
    assert stage.lines(pod) == [b"1", b"2"]
    assert stage.ended[f"{pod.key}/{PROXY}"] == "the pod is gone"
    assert not stage.gaps + stage.problems


def test_a_deleted_pod_whose_status_comes_late(shop: Cluster) -> None:
    """The container of a pod that is ending has ended, and its status does not say so yet: no gap is told."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        shop.begin_delete(NAME)
        await stage.had(NAME, [b"1"])
        run = shop.container(NAME, PROXY).current
        assert run is not None
        run.end(shop.clock(), 0, "Completed")
        requests = stage.count("log")
        await stage.until(lambda: stage.count("log") >= requests + 2)  # it was read once more
        shop.delete_pod(NAME)
        await stage.until(lambda: WHERE in stage.ended)

    assert not play(scenario, shop, ONLY).gaps


def test_a_pod_that_is_deleted_while_it_cannot_be_read(shop: Cluster, clock: Time) -> None:
    """What its container wrote after the stream was cut went with the pod: a gap, from the last line to the end."""
    times: list[int] = []

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        times.extend(stage.write(NAME, b"1"))
        await stage.had(NAME, [b"1"])
        stage.server.fail_next("log", 500, 1000)
        stage.server.cut(NAME)
        await stage.until(lambda: stage.count("log") > 3)
        clock.forward(5)
        stage.write(NAME, b"lost")
        times.append(clock())
        shop.delete_pod(NAME)
        await stage.until(lambda: WHERE in stage.ended)

    stage = play(scenario, shop, ONLY)
    [gap] = stage.gaps
    assert near(gap.since, times[0])
    assert near(gap.until, times[1], 1)
    assert "deleted" in gap.why


@pytest.mark.parametrize("kind", ["end", "reset"])
def test_a_pod_that_is_deleted_right_after_a_cut(shop: Cluster, kind: Any) -> None:
    """Also a clean end counts as a cut when the container ran on after it."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        stage.server.hold("log")
        stage.server.cut(NAME, kind=kind)
        await stage.held("log")
        stage.write(NAME, b"lost")
        shop.delete_pod(NAME)
        stage.server.release("log")
        await stage.until(lambda: WHERE in stage.ended)

    assert len(play(scenario, shop, ONLY).gaps) == 1


def test_a_pod_that_nobody_could_read(shop: Cluster) -> None:
    """A pod that came and went before its log was answered is a gap, from its container's start."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.server.hold("log")
        pod = pods.sidecar_pod(shop, "shop", "job-abcde", owner=("Job", "job"))
        stage.write(pod, b"lost")
        await stage.held("log")
        shop.delete_pod(pod)
        stage.server.release("log")
        await stage.until(lambda: stage.gaps)

    [gap] = play(scenario, shop, ONLY).gaps
    assert gap.since is not None and gap.until is not None
    assert gap.since <= gap.until


@pytest.mark.parametrize("told", [True, False], ids=["told", "missed by the watch"])
@pytest.mark.parametrize("cut", [True, False], ids=["cut", "ended"])
def test_a_pod_that_is_created_again(shop: Cluster, told: bool, cut: bool) -> None:
    """A pod of the same name is another one: both logs come once, one after the other, and neither is taken for the other's."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1", b"2")
        await stage.had(NAME, [b"1", b"2"])
        if not told:
            await stage.blind()
            shop.compact()  # the watch cannot go on, so there is a new list
        if cut:
            stage.server.hold("log")
            stage.server.cut(NAME)
            await stage.held("log")
        new = shop.recreate(NAME)
        stage.write(new, b"3", b"4")
        if cut:
            stage.server.release("log")
        if not told:
            stage.see()
        await stage.had(NAME, numbered(1, 5))
        stage.server.cut(NAME)
        stage.write(new, b"5")
        await stage.had(NAME, numbered(1, 6))
        await stage.until(lambda: WHERE in stage.ended)

    stage = play(scenario, shop, ONLY)
    assert stage.opened == [WHERE, WHERE]
    assert len(stage.gaps) == (1 if cut else 0)


def test_a_pod_that_is_created_again_before_its_first_stream(shop: Cluster) -> None:
    """The first stream of a pod may be of another one already: its lines come once, from that one."""

    async def scenario(stage: Stage) -> None:
        await stage.held("log")
        new = shop.recreate(NAME)
        stage.write(new, b"1", b"2")
        stage.server.release("log")
        await stage.had(NAME, [b"1", b"2"])
        await stage.until(lambda: WHERE in stage.ended)
        stage.write(new, b"3")
        await stage.had(NAME, numbered(1, 4))

    play(scenario, shop, ONLY, begun=lambda stage: stage.server.hold("log"))


def test_a_previous_log_of_another_pod(shop: Cluster) -> None:
    """`previous` by the pod's name may be of a pod that came after it: that is not the rest of the old one's log."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        stage.server.hold("log")
        stage.server.cut(NAME)
        shop.restart(NAME, PROXY)
        await stage.until(lambda: stage.count("log", previous="true"))
        new = shop.recreate(NAME)
        stage.write(new, b"2")
        shop.restart(new, PROXY)
        stage.write(new, b"3")
        stage.server.release("log")
        await stage.until(lambda: len(stage.lines(NAME)) + len(stage.lines(NAME, previous=True)) == 3)
        stage.write(new, b"4")
        await stage.until(lambda: stage.lines(NAME)[-1] == b"4")

    stage = play(scenario, shop, ONLY)
    assert sorted(stage.lines(NAME) + stage.lines(NAME, previous=True)) == numbered(1, 5)


def test_what_the_watch_tells_of_a_pod_that_was_found_gone(shop: Cluster) -> None:
    """An older event of a pod that an answer said is gone does not bring it back."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        await stage.blind()
        shop.touch(NAME)
        shop.recreate(NAME)
        stage.write(NAME, b"2")
        await stage.until(lambda: WHERE in stage.ended)
        stage.see()
        await stage.had(NAME, [b"1", b"2"])

    stage = play(scenario, shop, ONLY)
    assert stage.opened == [WHERE, WHERE]
    assert not stage.gaps


def test_a_pod_that_was_evicted(shop: Cluster) -> None:
    """Its containers have failed and their logs are gone: that is said, and it is not asked for for ever."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        stage.server.hold("log")
        stage.server.cut(NAME)
        await stage.held("log")
        stage.write(NAME, b"lost")
        shop.terminate(NAME, PROXY, "Evicted", 137)
        shop.terminate(NAME, "db", "Evicted", 137)
        shop.lose_log(NAME, PROXY)
        stage.server.release("log")
        await stage.until(lambda: WHERE in stage.ended)

    stage = play(scenario, shop, ONLY)
    assert shop.pod(NAME).phase == "Failed"
    [gap] = stage.gaps
    assert gap.seconds is not None
    assert [p.what[:55] for p in stage.problems] == ["the kubelet says: unable to retrieve container logs for"]
    assert stage.count("log") < 15


def test_a_container_that_has_ended_and_whose_log_is_always_refused(shop: Cluster) -> None:
    """Its node is gone, say: after some tries it is given up, and that is said."""
    shop.terminate(NAME, PROXY)
    shop.nodes_down.add("node-1")

    async def scenario(stage: Stage) -> None:
        await stage.until(lambda: WHERE in stage.ended)

    stage = play(scenario, shop, ONLY)
    [gap] = stage.gaps
    assert "connection refused" in gap.why
    assert stage.count("log") == followers.TRIES


def test_a_pod_that_is_selected_no_more(shop: Cluster) -> None:
    """When its labels do not match any more it is followed no more, also while it writes; when they do again, it goes on."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        shop.label(NAME, {"app": "other"})
        n = 1
        while WHERE not in stage.ended:
            n += 1
            stage.write(NAME, b"%d" % n)
            await asyncio.sleep(0.01)
        shop.label(NAME, {"app": "db"})
        stage.write(NAME, b"end")
        await stage.had(NAME, [*numbered(1, n + 1), b"end"])  # from where it was left

    stage = play(scenario, shop, Selection(containers=(PROXY,), selector="app=db"))
    assert stage.ended[WHERE] == "the pod is no longer selected"
    assert stage.opened == [WHERE, WHERE]
    assert not stage.gaps


def test_a_quiet_pod_that_is_selected_no_more_and_again(shop: Cluster) -> None:
    """Selected again before its stream was ended, it is followed on, and every line comes once."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        shop.label(NAME, {"app": "other"})
        await stage.until(lambda: stage.server.stats["watch.events"] >= 1)
        shop.label(NAME, {"app": "db"})
        await stage.until(lambda: stage.server.stats["watch.events"] >= 2)
        stage.server.cut(NAME)
        stage.write(NAME, b"2")
        await stage.had(NAME, [b"1", b"2"])

    assert not play(scenario, shop, Selection(containers=(PROXY,), selector="app=db")).gaps


def test_a_container_that_has_ended_and_is_selected_again(shop: Cluster) -> None:
    """It was read to its end: it is not read once more."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        shop.terminate(NAME, PROXY)
        await stage.until(lambda: WHERE in stage.ended)
        requests = stage.count("log")
        shop.label(NAME, {"app": "other"})
        shop.label(NAME, {"app": "db"})
        shop.start(NAME, PROXY)
        stage.write(NAME, b"2")
        await stage.had(NAME, [b"1", b"2"])
        assert stage.count("log") == requests + 1

    play(scenario, shop, Selection(containers=(PROXY,), selector="app=db"))


# -- files


def test_a_rotation_while_it_is_followed(shop: Cluster) -> None:
    """Whoever follows goes on in the new file, or is ended and opens it: nothing is missing."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        for n in range(6):
            stage.write(NAME, b"%d" % n)
            await stage.had(NAME, numbered(0, n + 1))
            shop.rotate(NAME, PROXY, end_follows=n % 2 == 1)
        stage.write(NAME, b"6")
        await stage.until(lambda: len(stage.lines(NAME)) == 7)

    stage = play(scenario, shop, ONLY)
    assert stage.lines(NAME) == numbered(0, 7)


def test_a_rotation_while_the_stream_was_cut(shop: Cluster, clock: Time) -> None:
    """The log no longer has the line where we stood: what was written until its first line is a gap; each rotation is one."""
    times: list[int] = []

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        for n in range(0, 4, 2):
            times.extend(stage.write(NAME, b"%d" % n))
            await stage.until(lambda: stage.lines(NAME)[-1:] == [b"%d" % n])  # noqa: B023
            stage.server.hold("log")
            stage.server.cut(NAME)
            await stage.held("log")
            stage.write(NAME, b"lost")
            clock.forward(3)
            shop.rotate(NAME, PROXY)
            times.extend(stage.write(NAME, b"%d" % (n + 1)))
            stage.server.release("log")
            await stage.until(lambda: stage.lines(NAME)[-1:] == [b"%d" % (n + 1)])  # noqa: B023
        await stage.until(lambda: len(stage.gaps) == 2)

    stage = play(scenario, shop, ONLY)
    assert stage.lines(NAME) == numbered(0, 4)
    for gap, (since, until) in zip(stage.gaps, (times[:2], times[2:]), strict=True):
        assert near(gap.since, since) and near(gap.until, until)
        assert gap.seconds == pytest.approx(3, abs=0.5)
        assert "rotated" in gap.why


def test_a_rotation_is_told_when_the_container_ends_right_after(shop: Cluster) -> None:
    """What is told with a delay is told before the end."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        stage.server.hold("log")
        stage.server.cut(NAME)
        shop.rotate(NAME, PROXY)
        stage.write(NAME, b"2")
        shop.terminate(NAME, PROXY)
        stage.server.release("log")
        await stage.until(lambda: WHERE in stage.ended)
        assert len(stage.gaps) == 1

    assert play(scenario, shop, ONLY).lines(NAME) == [b"1", b"2"]


def test_a_rotation_before_the_end_that_left_nothing(shop: Cluster) -> None:
    """The log of a container that has ended is empty, though it was not: that is a gap to its end."""
    times: list[int] = []

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        times.extend(stage.write(NAME, b"1"))
        await stage.had(NAME, [b"1"])
        stage.server.hold("log")
        stage.server.cut(NAME)
        await stage.held("log")
        stage.write(NAME, b"lost")
        shop.rotate(NAME, PROXY)
        shop.terminate(NAME, PROXY)
        times.append(shop.clock())
        stage.server.release("log")
        await stage.until(lambda: WHERE in stage.ended)

    [gap] = play(scenario, shop, ONLY).gaps
    assert near(gap.since, times[0]) and near(gap.until, times[1], 1)


def test_a_rotation_and_a_restart_while_the_stream_was_cut(shop: Cluster, clock: Time) -> None:
    """The rest of the old instance is only in part there: what is missing of it is a gap, the rest comes."""
    times: list[int] = []

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        times.extend(stage.write(NAME, b"1"))
        await stage.had(NAME, [b"1"])
        stage.server.hold("log")
        stage.server.cut(NAME)
        await stage.held("log")
        stage.write(NAME, b"lost")
        shop.rotate(NAME, PROXY)
        times.extend(stage.write(NAME, b"2"))
        clock.forward(5)
        shop.restart(NAME, PROXY)
        stage.write(NAME, b"3")
        stage.server.fail_next("log", 500)
        stage.server.release("log")
        await stage.had(NAME, numbered(1, 4))

    [gap] = play(scenario, shop, ONLY).gaps
    assert near(gap.since, times[0]) and near(gap.until, times[1])


# -- what a kubelet and a server answer instead


def test_a_log_that_a_kubelet_has_lost(shop: Cluster) -> None:
    """Its words are a problem, said once, not a line; it is asked for less and less often."""
    shop.write(NAME, PROXY, b"1")
    shop.lose_log(NAME, PROXY)
    pods.sidecar_pod(shop, "shop", "web-0")

    async def scenario(stage: Stage) -> None:
        stage.write("shop/web-0", b"1")
        await stage.had("shop/web-0", [b"1"])
        await stage.until(lambda: stage.count("log") >= 12)

    stage = play(scenario, shop, ONLY)
    current = shop.container(NAME, PROXY).current
    assert current is not None
    assert [(p.where, p.what) for p in stage.problems] == [
        (WHERE, f"the kubelet says: unable to retrieve container logs for {current.id}")
    ]
    assert not stage.lines(NAME)


def test_a_kubelet_that_cannot_watch_files(shop: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends each stream with its words after the lines that there are: they are no lines, and it is not asked all the time."""
    monkeypatch.setattr(watching, "LONGEST_DELAY", 0.5)
    words = WATCH_FAILED.format(pod="db-0", container=PROXY)

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        end = asyncio.get_running_loop().time() + 1.5
        n = 0
        while asyncio.get_running_loop().time() < end:
            stage.write(NAME, b"%d" % n)  # so there is something new each time
            n += 1
            stage.server.cut(NAME, text=words.encode())
            await asyncio.sleep(0.01)
        assert stage.count("log") < 15
        await stage.had(NAME, numbered(0, n))

    stage = play(scenario, shop, ONLY)
    assert [p.what for p in stage.problems] == [f"the kubelet says: {words}"]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_errors_are_survived(shop: Cluster, code: int) -> None:
    """Whatever is answered for a while, nothing is lost; after 429 nothing is asked before its time."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        stage.server.fail_next("log", code, 1 if code == 429 else 8)
        stage.server.fail_next("get", code, 1)
        stage.server.cut(NAME, kind="reset")
        began = asyncio.get_running_loop().time()
        stage.write(NAME, b"2")
        await stage.had(NAME, [b"1", b"2"])
        assert code != 429 or asyncio.get_running_loop().time() - began >= 1

    stage = play(scenario, shop, ONLY)
    assert not stage.gaps + stage.problems


def test_a_pod_that_is_not_there_yet_for_some(shop: Cluster) -> None:
    """A 404 for the log of a pod that is there does not end anything."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.server.fail_next("log", 404, 3)
        stage.server.cut(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])

    assert not play(scenario, shop, ONLY).gaps


def test_a_server_that_is_started_again(shop: Cluster) -> None:
    """All streams break, nobody answers for a while, and then all goes on; new pods are found."""
    names = [pods.sidecar_pod(shop, "shop", f"web-{n}").key for n in range(5)]

    async def scenario(stage: Stage) -> None:
        await stage.following(*names)
        for name in names:
            stage.write(name, b"1")
        await stage.until(lambda: all(stage.lines(n) == [b"1"] for n in names))
        stage.server.down()
        for name in names:
            stage.write(name, b"2", b"3")
        shop.restart(names[0], PROXY)
        stage.write(names[0], b"4")
        new = pods.sidecar_pod(shop, "shop", "new-0")
        await stage.server.outage(0.2)
        await stage.had(names[0], numbered(1, 5))
        for name in names[1:]:
            await stage.had(name, numbered(1, 4))
        await stage.following(new)

    assert not play(scenario, shop, ONLY).gaps


def test_logs_that_may_not_be_read(shop: Cluster) -> None:
    """A 403 is told once for a namespace, with the right that is missing; others go on, and so does this one when it is given."""
    user = User(
        "me", (*reader("me", "shop").rules, ("get", "pods", "*"), ("list", "pods", "*"), ("watch", "pods", "*"))
    )
    names = [pods.sidecar_pod(shop, "other", f"web-{n}").key for n in range(4)]
    for name in names:
        shop.write(name, PROXY, b"1")

    async def scenario(stage: Stage) -> None:
        await stage.until(lambda: stage.problems)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        await stage.until(lambda: stage.count("log") > 12)
        assert len(stage.problems) == 1
        stage.server.add_token("me", reader("me"))
        await stage.until(lambda: all(stage.lines(n) == [b"1"] for n in names))

    stage = play(
        scenario,
        shop,
        Selection(all_namespaces=True, containers=(PROXY,)),
        token="me",
        server={"tokens": {"me": user}},
    )
    [problem] = stage.problems
    assert problem.where == "other"
    assert 'User "me" cannot get resource "pods/log"' in problem.what
    assert "verb get on resource pods/log in namespace other" in problem.hint
    assert not stage.gaps


def test_pods_that_may_not_be_asked_for(shop: Cluster) -> None:
    """Without the right to get pods it works by what the watch tells, and that is said once."""
    user = User("me", tuple(rule for rule in reader("me").rules if rule[:2] != ("get", "pods")))

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        for n in range(4):
            stage.write(NAME, b"%d" % n)
            await stage.had(NAME, numbered(0, n + 1))
            stage.server.cut(NAME)
        shop.restart(NAME, PROXY)
        stage.write(NAME, b"4")
        await stage.had(NAME, numbered(0, 5))

    stage = play(scenario, shop, ONLY, token="me", server={"tokens": {"me": user}})
    [problem] = stage.problems
    assert "verb get on resource pods in namespace shop" in problem.hint
    assert not stage.gaps


def test_a_token_that_is_replaced(shop: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a token is no longer accepted, the one that stands in its file by then is used; nothing is lost in between."""
    monkeypatch.setattr("meshdiag.sources.kubernetes.access.REFUSED_SECONDS", 0.05)
    file = tmp_path / "token"
    file.write_text("one")

    def source(_: Any) -> Kubernetes:
        config = json.loads(path.read_text())
        config["users"] = [{"name": "test", "user": {"tokenFile": str(file)}}]
        path.write_text(json.dumps(config))
        return Kubernetes(accesses(path)[0], ONLY)

    path = tmp_path / "kubeconfig"

    def begun(stage: Stage) -> None:
        path.write_text(json.dumps(stage.server.kubeconfig(namespace="shop")))

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])
        stage.server.revoke("one")
        stage.server.cut(NAME)
        stage.write(NAME, b"2")
        await stage.until(lambda: stage.server.stats["status.401"] > 2)
        stage.server.add_token("two", reader())
        file.write_text("two")
        await stage.had(NAME, [b"1", b"2"])

    stage = play(scenario, shop, source=source, begun=begun, server={"tokens": {"one": reader()}})
    assert not stage.gaps


def test_retries_are_spread(shop: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many containers that fail at once do not ask again at once: their pauses differ, and become longer."""
    pauses: list[float] = []
    real = watching.backoff

    def backoff(failures: int) -> float:
        pauses.append(real(failures))
        return pauses[-1]

    monkeypatch.setattr(followers, "backoff", backoff)
    names = [pods.sidecar_pod(shop, "shop", f"web-{n}").key for n in range(20)]

    async def scenario(stage: Stage) -> None:
        await stage.following(*names)
        stage.server.fail_next("log", 503, 60)
        stage.server.cut(kind="reset")
        await stage.until(lambda: stage.server.stats["fault.503"] == 60)

    play(scenario, shop, ONLY)
    first = sorted(pauses[:20])
    assert len(set(first)) == 20
    assert first[-1] > 2 * first[0]
    assert max(pauses) > 4 * min(pauses)
