"""All containers of a selection as one live source: watches pods, starts and ends followers, keeps to the limits.

source = Kubernetes(Access("k3d-mesh"), Selection(all_namespaces=True), Start(tail=0))
async with contextlib.aclosing(source.follow()) as events: ...
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from meshdiag.model import MeshdiagError, Origin, Problem
from meshdiag.sources.kubernetes import refusals
from meshdiag.sources.kubernetes.access import Access, Login
from meshdiag.sources.kubernetes.api import Api, ApiError, Unreachable
from meshdiag.sources.kubernetes.follower import GONE, REFUSED_WAIT, Follower, Shared, Start, pause
from meshdiag.sources.kubernetes.pods import Gone, Listed, Seen, backoff, watch
from meshdiag.sources.kubernetes.select import Container, Pod, Role, Selection
from meshdiag.sources.live import QUEUE_BYTES, Ended, Event, Opened, Queue

MAX_STREAMS = 2_000
REQUESTS_PER_SECOND = 200.0
BURST = 100
SWEEP_SECONDS = 5.0
END_SECONDS = 0.5
"""How long tasks may take to end before they are left alone."""

FIRST_TRIES = 4
"""How often the first list is asked for when the server is busy or has failed."""

BURIED_SECONDS = 60.0
"""So much what the watch tells may be older than the answer to a question."""

PARKED = 200
"""Followers of pods that are selected no more that are kept."""

REPORT = "please report this"

Key = tuple[str, str]
"""A container: its pod's uid and its name."""


class Pacer:
    """Spreads requests: so many a second, those of the most important containers first."""

    def __init__(self, rate: float = REQUESTS_PER_SECOND, burst: int = BURST) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._then = float(burst), time.monotonic()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._number = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    async def turn(self, role: Role) -> None:
        """Waits for its turn."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (role, next(self._number), mine))
        self._serve()
        await mine

    def _serve(self) -> None:
        now = time.monotonic()
        self._tokens, self._then = min(self._burst, self._tokens + (now - self._then) * self._rate), now
        while self._waiting and self._tokens >= 1:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                self._tokens -= 1
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1 / self._rate, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._serve()


@dataclass
class Kubernetes:
    """A cluster's containers.

    access       which cluster
    selection    which pods and containers
    start        from where on
    label        whether origins name the cluster: when there are several
    wait         go on when nothing matches at first, for pods that come later
    max_streams  containers that are followed at once; the least important ones beyond it are left out, and that is said
    """

    access: Access
    selection: Selection = field(default_factory=Selection)
    start: Start = field(default_factory=Start)
    label: bool = False
    wait: bool = False
    max_streams: int = MAX_STREAMS
    queue_bytes: int = QUEUE_BYTES

    async def follow(self) -> AsyncGenerator[Event, None]:
        """The events, for ever. Raises MeshdiagError when the cluster cannot be read or nothing matches at the start."""
        async with Api(Login(self.access)) as api:
            run = _Run(self, api)
            try:
                await run.begin()
                while True:
                    for event in await run.queue.take():
                        yield event
            finally:
                await run.end()


class _Run:
    """What one `follow` keeps."""

    def __init__(self, source: Kubernetes, api: Api) -> None:
        self.source, self.api = source, api
        self.queue = Queue(source.queue_bytes)
        self.shared = Shared(
            api, source.start, self.queue.put, self.queue.put_now, Pacer().turn, self._not_allowed, self._asked
        )
        self.pods: dict[str, Pod] = {}
        self.followers: dict[Key, Follower] = {}
        self.tasks: dict[Key, asyncio.Task[None]] = {}
        self.waiting: dict[Key, Follower] = {}
        self._parked: dict[Key, Follower] = {}
        """Of pods that may only be selected no more: they go on from where they stood when they are selected again."""
        self._opened: set[Key] = set()
        self._ending: set[asyncio.Task[None]] = set()
        """Of followers that were put off."""
        self._others: list[asyncio.Task[None]] = []
        self._buried: dict[str, float] = {}
        """Uids of pods that were found to be gone, and when: what the watch tells may be older."""
        self._refused: set[tuple[str, str]] = set()
        self._shed = 0
        self._least: Key | None = None
        """The least important container that is followed, when that is known."""
        self._is_closed = False

    async def begin(self) -> None:
        """Lists and goes on watching; returns when all first lists are complete."""
        selection = self.source.selection
        namespaces: Sequence[str] = selection.namespaces or (self.source.access.namespace,)
        if selection.all_namespaces:
            namespaces = ("",)
        listed: list[asyncio.Future[None]] = []
        for namespace in namespaces:
            first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            listed.append(first)
            self._others.append(asyncio.ensure_future(self._watch(namespace, first)))
        results = await asyncio.gather(*listed, return_exceptions=True)
        errors = [(n, r) for n, r in zip(namespaces, results, strict=True) if isinstance(r, BaseException)]
        for namespace, error in errors:
            told = await refusals.explained(self.api, namespace, error, len(namespaces))
            if len(errors) == len(namespaces):
                raise told
            self.queue.put_now(Problem(namespace or self.source.access.name, str(told)))
        pods = list(self.pods.values())
        if not self.followers and not self.source.wait:
            raise await refusals.nothing_matches(self.api, selection, namespaces, pods)
        for what in await refusals.no_namespaces(self.api, namespaces, pods):
            self.queue.put_now(Problem(self.source.access.name, what))
        self._others.append(asyncio.ensure_future(self._sweep()))

    async def end(self) -> None:
        """Ends all that runs, within END_SECONDS."""
        self._is_closed = True
        tasks = [*self._others, *self.tasks.values(), *self._ending]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=END_SECONDS)

    async def _watch(self, namespace: str, first: asyncio.Future[None]) -> None:
        """Watches the pods of a namespace. When its first list cannot be had, `first` says why, and it is tried again."""
        where = namespace or self.source.access.name
        failures = 0

        def told(what: str) -> None:
            self.queue.put_now(Problem(where, what))

        while True:
            try:
                async with contextlib.aclosing(watch(self.api, namespace, self.source.selection, told)) as changes:
                    async for change in changes:
                        match change:
                            case Seen(pod):
                                self._seen(pod)
                            case Gone(uid):
                                self._buried.pop(uid, None)
                                self._lose(uid, is_gone=False)
                            case Listed() if not first.done():
                                first.set_result(None)
            except Exception as e:
                failures += 1
                if not first.done():
                    if not (isinstance(e, ApiError) and e.passing and failures < FIRST_TRIES):
                        first.set_exception(e)
                elif not isinstance(e, (ApiError, Unreachable, MeshdiagError)):
                    told(f"watching pods failed: {type(e).__name__}: {e} ({REPORT})")
                wait = REFUSED_WAIT if isinstance(e, ApiError) and e.status == 403 else 0.0
                await asyncio.sleep(max(wait, pause(e)) + backoff(failures))

    # -- pods and followers

    def _seen(self, pod: Pod) -> None:
        """A pod is there, or has changed."""
        uid = pod.uid
        if uid in self._buried:
            if time.monotonic() - self._buried[uid] < BURIED_SECONDS:
                return
            del self._buried[uid]
        self.pods[uid] = pod
        for container in self.source.selection.wanted(pod):
            key = (uid, container.name)
            follower = self.followers.get(key) or self._parked.pop(key, None)
            if follower is None:
                follower = Follower(self.shared, pod, container, self._origin(pod, container))
            else:
                follower.update(pod)
            self.followers[key] = follower
            if key not in self.tasks and follower.wants:
                self._admit(key, follower)

    def _lose(self, uid: str, is_gone: bool) -> None:
        """A pod is gone, or (that is not told apart) is selected no more."""
        self.pods.pop(uid, None)
        for key in [k for k in self.followers if k[0] == uid]:
            self.followers[key].lose()
            if key not in self.tasks:
                self._drop(key, is_gone)

    def _asked(self, pod: Pod | None, uid: str) -> None:
        """A follower has asked for its pod."""
        if pod is None:
            if uid in self.pods:
                self._buried[uid] = time.monotonic()
            self._lose(uid, is_gone=True)
        elif uid in self.pods:  # else the watch knew better in the meantime
            self._seen(pod)

    def _origin(self, pod: Pod, container: Container) -> Origin:
        cluster = self.source.access.name if self.source.label else ""
        path = "/".join(p for p in (cluster, pod.namespace, pod.name, container.name) if p)
        return Origin(path, cluster, pod.namespace, pod.name, container.name)

    def _admit(self, key: Key, follower: Follower) -> None:
        """Starts a follower; of too many the least important one has to wait."""
        if len(self.tasks) >= self.source.max_streams:
            least = self._least = self._least or max(self.tasks, key=lambda k: _rank(self.followers[k]))
            if _rank(self.followers[least]) <= _rank(follower):
                self._put_off(key, follower)
                return
            task = self.tasks.pop(least)
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            self._put_off(least, self.followers[least])
        self._least = None
        self.waiting.pop(key, None)
        self._opened.add(key)
        self.queue.put_now(Opened(follower.origin))
        task = self.tasks[key] = asyncio.ensure_future(follower.run())
        task.add_done_callback(lambda t: self._done(key, t))

    def _put_off(self, key: Key, follower: Follower) -> None:
        if key in self.waiting:
            return
        self.waiting[key] = follower
        self._opened.discard(key)
        limit = self.source.max_streams
        if len(self.waiting) > self._shed:  # said again only when it has doubled
            self._shed = 2 * len(self.waiting)
            what = f"more than {limit:,} containers match: {follower.container.role} containers are left out for now"
            hint = "select fewer, or raise --max-streams"
            self.queue.put_now(Problem(self.source.access.name, what, hint))
        self.queue.put_now(Ended(follower.origin, f"put off: more than {limit:,} containers match"))

    def _done(self, key: Key, task: asyncio.Task[None]) -> None:
        if self.tasks.get(key) is not task:
            return  # put off
        del self.tasks[key]
        self._least = None
        if self._is_closed or task.cancelled():
            return
        follower = self.followers[key]
        if error := task.exception():
            what = f"following it failed: {type(error).__name__}: {error}"
            self.queue.put_now(Problem(follower.origin.path, what, REPORT))
        if follower.left:
            self._drop(key, follower.left == GONE)
        elif follower.wants and not error:
            self._admit(key, follower)
        else:
            self._end(key, "the container has ended" if not error else "following it failed")
        while self.waiting and len(self.tasks) < self.source.max_streams:
            best = min(self.waiting, key=lambda k: _rank(self.waiting[k]))
            other = self.waiting.pop(best)
            if other.wants:
                self._admit(best, other)
        if not self.waiting:
            self._shed = 0

    def _drop(self, key: Key, is_gone: bool) -> None:
        follower = self.followers[key]
        self._end(key, follower.left)
        del self.followers[key]
        self.waiting.pop(key, None)
        if not is_gone:
            self._parked[key] = follower
            if len(self._parked) > PARKED:
                del self._parked[next(iter(self._parked))]

    def _end(self, key: Key, why: str) -> None:
        if key in self._opened:
            self._opened.discard(key)
            self.queue.put_now(Ended(self.followers[key].origin, why))

    def _not_allowed(self, namespace: str, resource: str, error: ApiError) -> None:
        if (namespace, resource) not in self._refused:
            self._refused.add((namespace, resource))
            said = refusals.logs_forbidden if resource == "pods/log" else refusals.pods_forbidden
            what, hint = said(namespace, error)
            self.queue.put_now(Problem(namespace, what, hint))

    async def _sweep(self) -> None:
        """Ends streams that have been silent for long."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for key in self.tasks:
                follower = self.followers[key]
                if follower.is_silent:
                    follower.abort()


def _rank(follower: Follower) -> tuple[int, bool, str, str]:
    """The lower, the more important: by role, then those that are not well, then by name."""
    pod, status = follower.pod, follower.status
    well = pod.ready and status.restarts == 0
    return follower.container.role, well, pod.namespace, pod.name
