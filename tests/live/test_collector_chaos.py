"""Everything at once, by seed: what is missing is covered by a gap, and nothing comes twice."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime

import pytest

from meshdiag.sources.kubernetes.cursor import stamp
from meshdiag.sources.kubernetes.select import Selection
from meshdiag.sources.live import Gap, Lines
from tests.live import pods
from tests.live.calls import PROXY
from tests.live.cluster import Cluster
from tests.live.faults import Faults
from tests.live.objects import SECOND
from tests.live.stage import Stage, Time, play

pytestmark = pytest.mark.usefixtures("quick")

SERIAL = re.compile(rb"serial=(\d+) ")
CALM = 1.0
"""Seconds without faults before the end."""


class Chaos:
    """Pods that write numbered lines while everything happens to them; `written` is pod and time of each line."""

    def __init__(self, seed: int, count: int = 12) -> None:
        self.dice = random.Random(seed)
        self.cluster = Cluster(seed=seed)
        self.names = []
        for n in range(count):
            make = pods.native_sidecar_pod if n % 2 else pods.sidecar_pod
            name = f"cart-{n}" if n % 3 else f"web-7d9c5b8f6-a{n:05d}"
            self.names.append(make(self.cluster, "shop", name).key)
        self.written: list[tuple[str, int]] = []
        self._busy: dict[str, float] = {}
        self._leaving: dict[str, float] = {}

    def write(self, least: int = 0) -> None:
        """Some lines of each container that runs."""
        for name in self.names:
            if name in self._leaving or self.cluster.container(name, PROXY).state != "running":
                continue
            lines = [
                f"2026-11-28T10:00:00.000000Z\tinfo\tzażółć serial={len(self.written) + n} €".encode()
                for n in range(self.dice.randrange(least, 8))
            ]
            self.written += [(name, at) for at in self.cluster.write(name, PROXY, *lines)]

    def happen(self, stage: Stage) -> None:
        """Something happens to one pod or to the watch."""
        for name in [name for name, when in self._leaving.items() if when < time.monotonic()]:
            del self._leaving[name]
            self.replace(name)
        name = self.dice.choice(self.names)
        what: Callable[[], object] = self.dice.choices(
            [
                lambda: self.cluster.restart(name, PROXY),
                lambda: self.cluster.restart(name, PROXY, waiting=self.dice.choice([0.05, 0.3])),
                lambda: self.rotate(name, stage),
                lambda: self.delete(name),
                lambda: self.cluster.touch(name),
                lambda: stage.server.cut_watches(self.dice.choice(["end", "reset"])),
                lambda: stage.server.cut_watches(in_event=True),
                stage.server.expire_watches,
            ],
            [5, 3, 2, 3, 2, 1, 1, 0.5],
        )[0]
        now = time.monotonic()
        if now < self._busy.get(name, 0) or self.cluster.pod(name).containers[PROXY].state != "running":
            return
        self._busy[name] = now + 0.8
        what()

    def rotate(self, name: str, stage: Stage) -> None:
        """The log begins another file; but not before a line of this instance has come: nobody could know of those before."""
        run = self.cluster.container(name, PROXY).current
        assert run is not None
        for event in reversed(stage.events):
            if isinstance(event, Lines) and event.origin.path == f"{name}/{PROXY}":
                if (stamp(event.data) or 0) >= run.started:
                    self.cluster.rotate(name, PROXY, end_follows=self.dice.random() < 0.3)
                return

    def delete(self, name: str) -> None:
        """A pod is told to end. Its last lines are a while before its end: there, a clean cut cannot be told from the end."""
        self.cluster.begin_delete(name)
        self._leaving[name] = time.monotonic() + 0.6

    def replace(self, name: str) -> None:
        """Another pod comes: of a StatefulSet one of the same name."""
        if "cart" in name:
            self.cluster.recreate(name)
            return
        self.cluster.delete_pod(name)
        pod = pods.sidecar_pod(self.cluster, "shop", f"web-7d9c5b8f6-b{self.dice.randrange(10**6, 10**7)}")
        self.names[self.names.index(name)] = pod.key

    def finish(self, stage: Stage) -> None:
        """What has begun to happen happens."""
        for name in self._leaving:
            self._leaving[name] = 0.0
        self.happen(stage)

    # -- afterwards

    def not_covered(self, stage: Stage) -> list[str]:
        """Lines that came twice, and lines that did not come and that no gap covers."""
        got: Counter[int] = Counter()
        for event in stage.events:
            if isinstance(event, Lines):
                got.update(map(int, SERIAL.findall(event.data)))
        wrong = [f"{n} of {self.written[n][0]} came {times} times" for n, times in got.items() if times > 1]
        for n, (name, at) in enumerate(self.written):
            if n not in got and not any(covers(gap, name, at) for gap in stage.gaps):
                wrong.append(f"{n} of {name} at {datetime.fromtimestamp(at / SECOND)} is missing")
        return wrong


def covers(gap: Gap, name: str, at: int) -> bool:
    """Whether a gap covers a line of a pod."""
    seconds = at / SECOND
    since, until = (t.timestamp() if t else None for t in (gap.since, gap.until))
    return (
        gap.origin.path == f"{name}/{PROXY}"
        and (since is None or since - 1e-5 <= seconds)
        and (until is None or seconds <= until + 1e-5)
    )


def chaos(seed: int, seconds: float, faults: Faults) -> tuple[Chaos, Stage]:
    """Chaos for so long."""
    made = Chaos(seed)

    async def scenario(stage: Stage) -> None:
        await stage.following(*made.names)
        stage.server.faults = faults
        end = time.monotonic() + seconds
        turn = 0
        while time.monotonic() < end:
            made.write()
            turn += 1
            if turn % 5 == 0:
                made.happen(stage)
            await asyncio.sleep(0.01)
        made.finish(stage)
        stage.server.faults = Faults()
        stage.server.cut(kind="reset")  # those that stall
        await stage.following(*[n for n in made.names if made.cluster.pod(n).containers[PROXY].state == "running"])
        made.write(1)  # a rotation is noticed with the next line
        wanted = len(made.written)
        calm = time.monotonic()
        while time.monotonic() < calm + CALM or (made.not_covered(stage) and time.monotonic() < calm + 8):
            await asyncio.sleep(0.1)
        assert len(made.written) == wanted

    return made, play(scenario, made.cluster, Selection(namespaces=("shop",)))


def test_chaos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts, errors, late answers, watches that break or are too old, restarts, rotations, pods that are deleted and come again."""
    monkeypatch.setattr("meshdiag.sources.kubernetes.follower.SILENCE", 0.5)
    faults = Faults(
        1, cut_every=0.05, cuts={"end": 3, "reset": 3, "stall": 1}, errors={500: 0.06, 503: 0.04, 429: 0.003}, delay=0.2,
        delays=(0.01, 0.15), watch_gone=0.1, watch_error=0.1, watch_cut=0.3,
    )  # fmt: skip
    made, stage = chaos(1, 3.5, faults)
    assert made.not_covered(stage) == []
    assert len(made.written) > 5000
    missing = len(made.written) - len({n for e in stage.events if isinstance(e, Lines) for n in SERIAL.findall(e.data)})
    assert missing < len(made.written) / 10
    stats = stage.server.stats
    assert min(stats[key] for key in ("cut.end", "cut.reset", "cut.stall", "fault.500", "fault.delay")) > 0


@pytest.mark.parametrize("seed", range(12))
def test_scripts(seed: int, clock: Time) -> None:
    """Short scripts of one container, step after step without a pause: each line once, in order within its instance."""
    dice = random.Random(seed)
    cluster = Cluster(seed=seed, clock=clock)
    name = pods.sidecar_pod(cluster, "shop", "db-0").key
    started = [0]
    written: list[tuple[int, bytes]] = []
    instances: list[list[bytes]] = [[]]

    def write(count: int) -> None:
        lines = [b"%d.%d" % (len(instances), len(written) + n) for n in range(count)]
        written.extend(zip(cluster.write(name, PROXY, *lines), lines, strict=True))
        instances[-1].extend(lines)

    async def step(stage: Stage) -> None:
        match dice.randrange(9):
            case 0 | 1:
                write(dice.randrange(1, 6))
            case 2 | 3:
                stage.server.cut(name, PROXY, dice.choice(["end", "reset"]), after=dice.choice([0, 0, 10, 33, 70, 150]))
            case 4:
                if clock() < started[-1] + 2 * SECOND:  # a kubelet takes its time, but for the first time
                    clock.forward(2)
                cluster.restart(name, PROXY)
                started.append(clock())
                instances.append([])
            case 5:
                stage.server.fail_next(dice.choice(["log", "get"]), dice.choice([500, 503]), dice.randrange(1, 4))
            case 6:
                stage.server.cut_watches(dice.choice(["end", "reset"]))
            case 7:
                cluster.touch(name)
            case 8:
                await asyncio.sleep(dice.choice([0, 0.002, 0.02]))

    async def scenario(stage: Stage) -> None:
        await stage.following(name)
        for _ in range(40):
            await step(stage)
        await stage.following(name)
        write(1)
        await stage.until(lambda: written[-1][1] in stage.lines(name))
        try:
            await stage.until(lambda: len(stage.lines(name)) == len(written), 0.5)
        except TimeoutError:
            assert stage.gaps

    stage = play(scenario, cluster, Selection(containers=(PROXY,)))
    lines = stage.lines(name)
    assert len(lines) == len(set(lines))
    for instance in instances:
        had = set(instance) & set(lines)
        assert [line for line in lines if line in had] == [line for line in instance if line in had]
    missing = [(at, line) for at, line in written if line not in set(lines)]
    assert [line for at, line in missing if not any(covers(gap, name, at) for gap in stage.gaps)] == []
