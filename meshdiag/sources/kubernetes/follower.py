"""One container's log, from now on and whatever happens: nothing lost, nothing twice, and what could not be had is said.

A stream of the API ends for many reasons and says none: the container has ended, the kubelet's connection broke, the log was rotated, a
proxy lost patience. So every end is followed by a question (how is the pod now?) and, unless the container has ended and its log was
read after that, by another stream from where the last one stood (see `cursor`). When the container was started again, the rest of the
instance before is read first (`previous=true`).

A stream may have been opened just when the container was started again, and be the new instance's already: then what is left of the
old one is still to be read. Whether that is so tells the time of the stream's first line, once the new instance's start is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from meshdiag.model import MeshdiagError, Origin, Problem
from meshdiag.sources.kubernetes.api import Api, ApiError, Query, Unreachable
from meshdiag.sources.kubernetes.cursor import SECOND, Cursor, Taken, moment, stamp
from meshdiag.sources.kubernetes.pods import ask, backoff, path_of
from meshdiag.sources.kubernetes.select import Container, Pod, Role, Status
from meshdiag.sources.live import Event, Gap, Lines
from meshdiag.sources.splitting import Splitter

if TYPE_CHECKING:
    import aiohttp

SILENCE = 300.0
"""Seconds without a byte after which a stream is opened anew, give or take a fifth: it may be dead without a word."""

GRACE = 3.0
"""Seconds that a stream may go on after its container has ended before that is looked into."""

PREVIOUS_TRIES = 8
REREADS = 4
"""How often a log that has ended is read again when what was read before is no longer in it: it was rotated."""

HEAD = 64 << 10
"""Bytes of a stream's first lines that are kept until it is known whose they are."""

UNSETTLED = 8
"""Streams of which that is remembered."""

SETTLED = 30 * SECOND
"""After so long (in the log's time) the instance that a stream belongs to is known."""

SAID = 5
"""Messages of a kubelet that are told of one container."""

REFUSED_WAIT = 30.0
"""Seconds until a request that is forbidden is made again."""

_SINCE = "%Y-%m-%dT%H:%M:%SZ"

_Failure = (ApiError, Unreachable, MeshdiagError)


@dataclass(frozen=True, slots=True)
class Start:
    """From where logs are read at first: a time (UTC), or the last `tail` lines, or both."""

    since: datetime | None = None
    tail: int | None = None


@dataclass
class Shared:
    """What the followers of one cluster have in common.

    put     gives an event on, and waits while there is no room; `put_now` does not wait
    turn    waits until another request may be made for a container of a role
    refused told of a 403, with the namespace: once for each is enough
    changed gets a pod that a follower has asked for, or its uid when it is gone
    """

    api: Api
    start: Start
    put: Callable[[Event], Awaitable[None]]
    put_now: Callable[[Event], None]
    turn: Callable[[Role], Awaitable[None]]
    refused: Callable[[str, ApiError], None]
    changed: Callable[[Pod | None, str], None]
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    streams: int = 0
    """Streams that were opened so far."""


@dataclass(slots=True)
class _Beginning:
    """How a stream began: where the cursor stood, the time of the first line, and the first lines."""

    anchor: Cursor
    first: int = -1
    head: list[bytes] = field(default_factory=list)


class Follower:
    """Reads one container of one pod. `run` returns when there is nothing more to read until its status changes."""

    def __init__(self, shared: Shared, pod: Pod, container: Container, origin: Origin) -> None:
        self.pod, self.container, self.origin = pod, container, origin
        self.status = pod.statuses.get(container.name, Status())
        self.gone = False
        self.heard = time.monotonic()
        """When the last byte came."""
        self.silence = SILENCE * random.uniform(0.8, 1.2)  # noqa: S311
        self._shared = shared
        self._cursor = Cursor()
        self._offset = 0
        self._reading: Status | None = None
        """The instance that is read, as it was when we began."""
        self._complete = ""
        """Id of the instance that was read to its end."""
        self._response: aiohttp.ClientResponse | None = None
        self._opening: asyncio.Task[aiohttp.ClientResponse] | None = None
        self._unsettled: list[_Beginning] = []
        """Of streams of which it is not known yet to which instance they belong, the latest last."""
        self._missed: tuple[int, int] | None = None
        self._stream = 0
        self._stitching: asyncio.Task[None] | None = None
        self._said = 0
        self._cut = 0
        self._interrupted = False
        self._rest = b""
        self._rereads = 0
        self._news = asyncio.Event()

    # -- what the collector tells and asks

    def update(self, pod: Pod) -> None:
        """The pod has changed."""
        self.pod = pod
        status = pod.statuses.get(self.container.name, self.status)
        if status != self.status:
            self.status = status
            self._news.set()
        reading = self._reading
        if reading and self._is_open and (self.status.over or self.status.id not in ("", reading.id)):
            asyncio.get_running_loop().call_later(GRACE, self._still_open, self._stream)

    def lost(self) -> None:
        """The pod is gone: the stream, if there is one, ends by itself, or after a while by us."""
        self.gone = True
        self._news.set()
        if self._is_open:
            asyncio.get_running_loop().call_later(GRACE, self._still_open, self._stream)

    @property
    def wants(self) -> bool:
        """Whether there is something to read: an instance that was not read to its end."""
        return not self.gone and bool(self.status.id) and self.status.id != self._complete

    @property
    def is_silent(self) -> bool:
        """Whether its stream has been without a byte for long."""
        return self._is_open and time.monotonic() - self.heard > self.silence

    def abort(self) -> None:
        """Ends the stream, so that another one is opened."""
        if self._response is not None:
            self._response.close()
        elif self._opening is not None:
            self._opening.cancel()

    @property
    def _is_open(self) -> bool:
        return self._response is not None or self._opening is not None

    # -- the work

    async def run(self) -> None:
        """Reads until the container has ended and its log was read to the end, or the pod is gone."""
        failures = 0
        try:
            while self.wants:
                status, before, wait = self.status, self._offset, 0.0
                self._news.clear()
                try:
                    if self._reading is None:
                        await self._read_before(status)
                        self._reading = status
                    elif status.id != self._reading.id:
                        await self._finish_previous(status)
                    ended = await self._follow(status)
                    self._interrupted = ended is None
                    if (
                        status.over
                        and ended is not None
                        and self.status.id == status.id
                        and self._is_whole(ended, before)
                    ):
                        self._complete = status.id
                        return
                except ApiError as e:
                    wait = self._refused(e)
                except (Unreachable, MeshdiagError):
                    self._interrupted = True
                failures = 1 if self._offset > before else failures + 1
                await self._rest_for(max(wait, backoff(failures)))
                if await self._ask() and self._reading is not None and self.status.id == self._reading.id:
                    self._unsettled = []  # the stream was of the instance that we took it for
            if self.gone and self._interrupted and self._cursor.last >= 0:
                self._gap(None, "the pod was deleted while its log could not be read")
        finally:
            if self._stitching is not None:
                self._stitching.cancel()

    def _is_whole(self, rest: bytes, before: int) -> bool:
        """Whether a log that has ended was read to its end.

        A clean end says little: the API server gives one when the kubelet's connection breaks. The log is at its end when what was read
        of it comes once more, and nothing behind it.
        """
        self._rereads += 1
        again = self._offset == before and rest == self._rest and self._rereads > 1
        self._rest = rest
        if again and rest and self._cursor.caught_up:
            offset, self._offset = self._offset, self._offset + len(rest) + 1
            self._shared.put_now(Lines(self.origin, offset, rest + b"\n"))  # a program may end without a line feed
        return again and (self._cursor.caught_up or self._rereads > REREADS)

    async def _rest_for(self, seconds: float) -> None:
        """Waits, or until the pod has changed."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)

    def _refused(self, error: ApiError) -> float:
        """Seconds to wait before the next try."""
        self._interrupted = error.passing
        if error.status == 403:
            self._shared.refused(self.pod.namespace, error)
            return REFUSED_WAIT
        return error.retry_after or 0.0

    async def _ask(self) -> bool:
        """How the pod is now; whether it could be asked. If not it stays as it was."""
        await self._shared.turn(self.container.role)
        try:
            pod = await ask(self._shared.api, self.pod.namespace, self.pod.name)
        except _Failure:
            return False
        if pod is None or pod.uid != self.pod.uid:
            self.gone = True
            self._shared.changed(None, self.pod.uid)
        else:
            self._shared.changed(pod, pod.uid)
        return True

    async def _open(self, **query: str | int | bool) -> aiohttp.ClientResponse:
        await self._shared.turn(self.container.role)
        every: Query = {"container": self.container.name, "timestamps": "true", **query}
        path = f"{path_of(self.pod.namespace)}/{self.pod.name}/log"
        return await self._shared.api.open(path, every)

    def _from(self, since: datetime | None) -> dict[str, str | int | bool]:
        if since is None:
            return {}
        there = since + timedelta(seconds=self._shared.api.ahead if abs(self._shared.api.ahead) > 2 else 0)
        return {"sinceTime": there.astimezone(UTC).strftime(_SINCE)}

    async def _follow(self, status: Status) -> bytes | None:
        """One stream to its end: the half line at its end when that was a clean one, else None."""
        query: dict[str, str | int | bool] = {"follow": "true"}
        resumed = self._cursor.resume()
        if resumed is not None:
            # a time of the log itself: the server's clock, not ours
            query["sinceTime"] = resumed.strftime(_SINCE)
        elif self._stream and self._shared.start.tail is not None:
            query |= self._from(self._shared.began)
        else:
            start = self._shared.start
            if not _explains_failure(self.container, self.pod, status):
                query |= self._from(start.since)
            if start.tail is not None:
                query["tailLines"] = start.tail
        self._stream += 1
        self._shared.streams += 1
        known = [b for b in self._unsettled if b.first >= 0]
        self._unsettled = [*known[1 - UNSETTLED :], _Beginning(self._cursor.copy())]
        self.heard = time.monotonic()
        self._opening = asyncio.ensure_future(self._open(**query))
        try:
            try:
                self._response = response = await self._opening
            except asyncio.CancelledError:
                if self._opening.cancelled() and not _being_cancelled():
                    return None  # by us, as it was silent
                raise
            finally:
                self._opening = None
            if resumed is not None and not await self._is_ours():
                return None
            return await self._read(response)
        finally:
            if self._response is not None:
                self._response.close()
                self._response = None

    async def _is_ours(self) -> bool:
        """Whether a stream that was just opened by the pod's name is of this pod, not of one that came after it."""
        await self._ask()
        return not self.gone

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        import aiohttp

        splitter = Splitter()
        content = response.content
        try:
            while True:
                data: bytes = await content.readany()
                if not data:
                    break
                self.heard = time.monotonic()
                if lines := splitter.feed(data):
                    await self._take(lines)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
        finally:
            if splitter.cut:
                self._cut += splitter.cut
                what = f"{self._cut} lines were longer than 1 MiB and were cut"
                self._tell(what, "only their beginning was read")
        return splitter.flush().removesuffix(b"\n")

    async def _take(self, lines: bytes) -> None:
        taken = self._cursor.take(lines)
        if taken.lines and self._unsettled:
            beginning = self._unsettled[-1]
            if beginning.first < 0:
                beginning.first = stamp(taken.lines) or -1
            if self._cursor.last > beginning.first + SETTLED:
                self._unsettled = []
            elif sum(map(len, beginning.head)) < HEAD:
                beginning.head.append(taken.lines)
        if taken.missed:
            # of a rotated log, or of a new instance: which, is soon known
            self._missed = taken.missed
            asyncio.get_running_loop().call_later(2 * GRACE, self._tell_missed)
        await self._give(taken)

    def _tell_missed(self) -> None:
        if self._reading is not None and self.status.id != self._reading.id:
            asyncio.get_running_loop().call_later(GRACE, self._tell_missed)
        elif self._missed is not None:
            since, until = self._missed
            self._missed = None
            why = "the log was rotated while it could not be read; lines of this time may be lost"
            self._shared.put_now(Gap(self.origin, moment(since), moment(until), why))

    async def _give(self, taken: Taken) -> None:
        if taken.lines:
            offset, self._offset = self._offset, self._offset + len(taken.lines)
            await self._shared.put(Lines(self.origin, offset, taken.lines))
        for line in taken.said:
            if line.strip() and self._said < SAID:
                self._said += 1
                self._tell("the kubelet says: " + line.decode("utf-8", "replace").strip()[:300], "")

    def _tell(self, what: str, hint: str) -> None:
        self._shared.put_now(Problem(self.origin.path, what, hint))

    def _gap(self, until: datetime | None, why: str) -> None:
        since = moment(self._cursor.last) if self._cursor.last >= 0 else None
        self._shared.put_now(Gap(self.origin, since, until, why))

    # -- instances before

    async def _read_before(self, status: Status) -> None:
        """At first sight: the instance that ended just before this one tells why there is a new one."""
        start, ended = self._shared.start, status.last_finished
        if not status.last_id or ended is None or start.tail is not None or (start.since and ended < start.since):
            return
        origin = replace(self.origin, path=f"{self.origin.path} (previous)", previous=True)
        offset = 0

        async def give(taken: Taken) -> None:
            nonlocal offset
            if taken.lines:
                await self._shared.put(Lines(origin, offset, taken.lines))
                offset += len(taken.lines)

        await self._previous(Cursor(), give, start.since)

    async def _finish_previous(self, status: Status) -> None:
        """The container was started again: the rest of the instance that was read comes first."""
        reading = self._reading
        assert reading is not None
        between = status.restarts - reading.restarts
        complete = reading.id == self._complete
        if complete:
            between -= 1
        ours = not complete and between < 2  # the log of the instance before is that of the one that was read
        late = self._late(status) if ours else []
        if late:
            self._missed = None  # it was not rotated, it was another instance's log
        self._unsettled = []
        self._reading, self._rest, self._rereads = status, b"", 0
        if between > 1:
            why = f"the container was started {between} times in the meantime; only the log of the last one is kept"
            self._gap(status.started, why)
        if not ours:
            self._cursor.begin()
        if ours or between > 0:
            cursor = late[0].anchor if late else self._cursor
            had = await self._previous(cursor, self._give, None, b"".join(line for b in late for line in b.head))
            if not had and between < 2:
                self._gap(status.started, "the rest of the log before the container was started again cannot be had")
        if late:
            self._cursor.forgive()
        else:
            self._cursor.begin()

    def _late(self, status: Status) -> list[_Beginning]:
        """Beginnings of the streams that began within the instance of this status, and so left the end of the one before behind."""
        started = status.started
        if started is None:
            return []
        number = next((i for i, b in enumerate(self._unsettled) if b.first >= _nanos(started)), None)
        return [] if number is None else self._unsettled[number:]

    async def _previous(
        self,
        cursor: Cursor,
        give: Callable[[Taken], Awaitable[None]],
        since: datetime | None,
        besides: bytes = b"",
    ) -> bool:
        """Gives what is new in the log of the instance before; whether it could be read to its end."""
        import aiohttp

        for attempt in range(1, PREVIOUS_TRIES + 1):
            resumed = cursor.resume(besides)
            query = self._from(since) if resumed is None else {"sinceTime": resumed.strftime(_SINCE)}
            splitter, new, said = Splitter(), 0, 0
            wait = backoff(attempt)
            try:
                response = await self._open(previous="true", **query)
                async with response:
                    async for data in response.content.iter_any():
                        if lines := splitter.feed(data):
                            taken = cursor.take(lines)
                            new, said = new + len(taken.lines), said + len(taken.said)
                            await give(taken)
                if said and not new:
                    return False  # the kubelet says why
                if not new and cursor.caught_up and attempt > 1:
                    if rest := splitter.flush():
                        await give(cursor.take(rest))
                    return True
                wait = 0.0  # once more, to see that this is its end
            except ApiError as e:
                if not e.passing:
                    return False
                wait = max(e.retry_after or 0.0, wait)
            except (aiohttp.ClientError, OSError, Unreachable, MeshdiagError):
                pass
            await asyncio.sleep(wait)
        return False

    def _still_open(self, stream: int) -> None:
        """A while after the container has ended: why does its stream go on?"""
        if stream != self._stream or not self._is_open:
            return
        reading, status = self._reading, self.status
        if not self.gone and reading and status.id not in ("", reading.id) and self._late(status):
            self._stitching = asyncio.ensure_future(self._finish_previous(status))  # it is the new instance's
        elif time.monotonic() - self.heard < GRACE:  # there is much to read
            asyncio.get_running_loop().call_later(GRACE, self._still_open, stream)
        elif self.gone or status.over or (reading and status.id != reading.id):
            self.abort()


def _nanos(time: datetime) -> int:
    return int(time.timestamp()) * SECOND


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _explains_failure(container: Container, pod: Pod, status: Status) -> bool:
    """Whether a container's log is wanted whole, however old it is: it failed, and the pod still waits for it."""
    return container.init and status.over and status.exit_code not in (None, 0) and not pod.initialized
