"""A cluster, a server of it and a collector that reads from it, in one loop: what happens is decided by the test, step by step.

    def scenario(stage: Stage): ...       # async; `stage.cluster` and `stage.server` act, `stage.lines` and others tell what came

    stage = play(scenario)

Every play ends by closing the collector, and fails when that takes long, or leaves a task, a connection or an exception behind.
"""

from __future__ import annotations

import asyncio
import gc
import json
import tempfile
import time
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from meshdiag.model import Problem
from meshdiag.sources.kubernetes.access import Access, accesses
from meshdiag.sources.kubernetes.collector import Kubernetes
from meshdiag.sources.kubernetes.follower import Start
from meshdiag.sources.kubernetes.select import Selection
from meshdiag.sources.live import Ended, Event, Gap, Lines, LiveSource, Opened
from tests.live.apiserver import ApiServer
from tests.live.calls import PROXY
from tests.live.cluster import Cluster, Pod
from tests.live.objects import SECOND

NAME = "shop/db-0"
STAMP = len(b"2026-11-22T23:32:13.455026000Z ")
ONLY = Selection(containers=(PROXY,))
TIMEOUT = 8.0
CLOSE_SECONDS = 0.5


class Time:
    """A cluster's clock, ten minutes behind: it goes on by itself, and is set forward by a test."""

    def __init__(self) -> None:
        self.ahead = -600 * SECOND

    def __call__(self) -> int:
        return time.time_ns() + self.ahead

    def forward(self, seconds: float) -> None:
        self.ahead += int(seconds * SECOND)


def numbered(begin: int, end: int) -> list[bytes]:
    return [b"%d" % n for n in range(begin, end)]


def near(time: datetime | None, nanos: int, seconds: float = 0.0) -> bool:
    """Whether a time is this one (but for what floats lose), or later by at most so many seconds."""
    return time is not None and -1e-5 <= time.timestamp() - nanos / SECOND <= seconds + 1e-5


class Stage:
    """What a source gave, by origin. `read` lets it go on reading (it does from the beginning), or stops it."""

    def __init__(self, cluster: Cluster, server: ApiServer) -> None:
        self.cluster = cluster
        self.server = server
        self.events: list[Event] = []
        self.error: Exception | None = None
        self.read = asyncio.Event()
        self.read.set()
        self._came = asyncio.Event()

    # -- what came

    def stamped(self, pod: Pod | str, container: str = PROXY, *, previous: bool = False, uid: str = "") -> list[bytes]:
        """The lines of a container with the kubelet's times, in the order in which they came."""
        namespace, name = (pod if isinstance(pod, str) else pod.key).split("/")
        pieces = [
            e.data
            for e in self.events
            if isinstance(e, Lines)
            and (e.origin.namespace, e.origin.pod, e.origin.container, e.origin.previous)
            == (namespace, name, container, previous)
        ]
        return b"".join(pieces).split(b"\n")[:-1]

    def lines(self, pod: Pod | str, container: str = PROXY, *, previous: bool = False) -> list[bytes]:
        """The lines of a container as it wrote them."""
        return [line.partition(b" ")[2] for line in self.stamped(pod, container, previous=previous)]

    def _of(self, kind: Any) -> list[Any]:
        return [e for e in self.events if isinstance(e, kind)]

    @property
    def gaps(self) -> list[Gap]:
        return self._of(Gap)

    @property
    def problems(self) -> list[Problem]:
        return self._of(Problem)

    @property
    def opened(self) -> list[str]:
        """Paths of the origins that were opened, in order."""
        return [e.origin.path for e in self._of(Opened)]

    @property
    def ended(self) -> dict[str, str]:
        """Paths of the origins that ended, and why, the latest of each."""
        return {e.origin.path: e.why for e in self._of(Ended)}

    def count(self, verb: str, **query: str) -> int:
        """Requests of a verb so far, with these parameters."""
        return sum(r.verb == verb and query.items() <= r.query.items() for r in self.server.requests)

    # -- waiting

    async def until(self, condition: Callable[[], Any], timeout: float = TIMEOUT) -> None:
        """Waits until a condition holds; it is looked at when an event comes, and every few milliseconds."""
        end = time.monotonic() + timeout
        while not condition():
            if self.error is not None:
                raise self.error
            if time.monotonic() > end:
                raise TimeoutError(f"not so; events: {self.events[-5:]}; requests: {self.server.requests[-5:]}")
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), 0.005)
            except TimeoutError:
                continue

    async def following(self, *pods: Pod | str, container: str = PROXY) -> None:
        """Waits until the containers are followed by streams of their present instances."""

        def open_ones() -> bool:
            return all(
                any(
                    s.run is self.cluster.container(pod, container).current for s in self.server.streams(pod, container)
                )
                for pod in pods
            )

        await self.until(open_ones)

    async def had(self, pod: Pod | str, lines: Iterable[bytes], container: str = PROXY, previous: bool = False) -> None:
        """Waits until so many lines have come, which must be these, in order."""
        expected = list(lines)
        await self.until(lambda: len(self.lines(pod, container, previous=previous)) >= len(expected))
        assert self.lines(pod, container, previous=previous) == expected

    # -- what happens

    def write(self, pod: Pod | str, *lines: bytes, container: str = PROXY) -> list[int]:
        return self.cluster.write(pod, container, *lines)

    async def held(self, verb: str, count: int = 1) -> None:
        """Waits until so many requests of a verb are held back."""
        await self.until(lambda: len(self.server._held[verb]) >= count)

    async def blind(self) -> None:
        """From now on no watch tells anything."""
        for verb in ("watch", "list"):
            self.server.hold(verb)
        self.server.cut_watches()
        await self.held("watch")

    def see(self) -> None:
        """The watch tells again, from where it stood."""
        for verb in ("watch", "list"):
            self.server.release(verb)

    # -- the work

    async def consume(self, events: AsyncGenerator[Event, None]) -> None:
        try:
            async for event in events:
                self.events.append(event)
                self._came.set()
                await self.read.wait()
        except Exception as e:
            self.error = e
            self._came.set()


def access(server: ApiServer, folder: Path, token: str = "", namespace: str = "shop", name: str = "test") -> Access:
    """Access to a server by a kubeconfig in a folder."""
    path = folder / f"{name}.json"
    config = json.dumps(server.kubeconfig(token, namespace)).replace('"test"', f'"{name}"')
    path.write_text(config)
    return accesses(path)[0]


Scenario = Callable[[Stage], Awaitable[None]]


def play(
    scenario: Scenario,
    cluster: Cluster | None = None,
    selection: Selection = Selection(),  # noqa: B008
    start: Start = Start(),  # noqa: B008
    *,
    token: str = "",
    server: dict[str, Any] | None = None,
    source: Callable[[Access], LiveSource] | None = None,
    begun: Callable[[Stage], Any] | None = None,
    **options: Any,
) -> Stage:
    """Plays a scenario once the first list was read; `server` and `options` are for ApiServer and Kubernetes.

    `source` makes another source. `begun`: what to do with the server before the source begins.
    """
    made: list[Stage] = []
    mistakes: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: mistakes.append(str(context)))
        async with ApiServer(cluster or Cluster(), **(server or {})) as api:
            stage = Stage(api.cluster, api)
            made.append(stage)
            if begun is not None:
                begun(stage)
            with tempfile.TemporaryDirectory() as folder:
                reached = access(api, Path(folder), token)
                one = source(reached) if source else Kubernetes(reached, selection, start, **options)
                await act(scenario, stage, one)
            assert not api.errors, api.errors

    gc.collect()
    gc.freeze()  # so that looking for what was left behind is quick
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(main())
        gc.collect()
    said = [str(w.message) for w in caught if "unclosed" in str(w.message).lower() or "never" in str(w.message)]
    assert not said + mistakes, said + mistakes
    return made[0]


async def act(scenario: Scenario, stage: Stage, source: LiveSource) -> None:
    """Plays a scenario with a source; then closes that, and sees that nothing of it is left."""
    others = asyncio.all_tasks()
    events = source.follow()
    consumer = asyncio.ensure_future(stage.consume(events))
    try:
        await scenario(stage)
    finally:
        began = time.monotonic()
        consumer.cancel()
        await asyncio.gather(consumer, return_exceptions=True)
        await events.aclose()
        took = time.monotonic() - began
        left = asyncio.all_tasks() - others
    assert took < CLOSE_SECONDS, f"closing took {took:.2f} s"
    assert not left, left
