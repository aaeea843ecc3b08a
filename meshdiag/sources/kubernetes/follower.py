"""One container's log, from now on and whatever happens: nothing lost, nothing twice, and what could not be had is said.

A stream of the API ends for many reasons and says none: the container has ended, the kubelet's connection broke, the log was rotated, a
proxy lost patience. So every end is followed by a question (how is the pod now?) and, unless the container has ended and its log was
read after that, by another stream from where the last one stood (see `cursor`). When the container was started again, the rest of the
instance before is read first (`previous=true`).

A stream may have been opened just when the container was started again, and be the new instance's already: then what is left of the
old one is still to be read. Whether that is so tells the time of the stream's first line, once the new instance's start is known.

Logs are asked for by the pod's name. Where another pod may have it by now, a stream counts only once the pod was found to be ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from meshdiag.model import MeshdiagError, Origin, Problem
from meshdiag.sources.kubernetes.api import Api, ApiError, Query, Unreachable
from meshdiag.sources.kubernetes.cursor import SECOND, Cursor, Taken, moment, stamp
from meshdiag.sources.kubernetes.pods import LONGEST_WAIT, ask, backoff, path_of
from meshdiag.sources.kubernetes.select import Container, Pod, Role, Status
from meshdiag.sources.live import Ended, Event, Gap, Lines
from meshdiag.sources.splitting import Splitter

if TYPE_CHECKING:
    import aiohttp

SILENCE = 300.0
"""Seconds without a byte after which a stream is opened anew, give or take a fifth: it may be dead without a word."""

GRACE = 3.0
"""Seconds that a stream may go on after its container has ended before that is looked into."""

PREVIOUS_SILENCE = 60.0
"""Seconds without a byte after which the log of the instance before, which grows no more, is asked for again."""

TRIES = 8
"""How often a log that has ended is asked for while the answer is an error."""

REREADS = 4
"""How often a log that has ended is read again when what was read before is no longer in it: it was rotated."""

HEAD = 64 << 10
"""Bytes of a stream's first lines that are kept until it is known whose they are."""

UNSETTLED = 8
"""Streams of which that is remembered."""

INSTANCES = 16
"""Instances of a container that are remembered while it is not read: the kubelet has logs of the last two."""

SETTLED = 30 * SECOND
"""After so long (in the log's time) the instance that a stream belongs to is known."""

SAID = 5
"""Different messages of a kubelet that are told of one container."""

REFUSED_WAIT = 30.0
"""Seconds until a request that is forbidden is made again."""

SKEW = 1.0
"""Seconds by which the server's clock may seem to differ from ours when it does not: it is told in whole seconds."""

GONE = "the pod is gone"
UNSELECTED = "the pod is no longer selected"

GENERATED = frozenset({"Deployment", "ReplicaSet", "ReplicationController", "Rollout", "DaemonSet", "Job", "CronJob"})
"""Kinds that give each of their pods a name of its own: no other pod ever has it."""

_FOREVER = 1 << 63

_SINCE = "%Y-%m-%dT%H:%M:%SZ"


class _Again(Exception):
    """This stream is not what we want, and was left."""


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
    refused told of a 403, with the namespace and what was asked for: once for each is enough
    changed gets a pod that a follower has asked for, or its uid when it is gone
    """

    api: Api
    start: Start
    put: Callable[[Event], Awaitable[None]]
    put_now: Callable[[Event], None]
    turn: Callable[[Role], Awaitable[None]]
    refused: Callable[[str, str, ApiError], None]
    changed: Callable[[Pod | None, str], None]
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    streams: int = 0
    """Streams that were opened so far."""

    @cached_property
    def since(self) -> datetime | None:
        """From where on everything is read, whole seconds of the server's clock; None: all there is."""
        since = self.start.since if self.start.tail is None else self.began
        return self.there(since) if since else None

    def there(self, time: datetime) -> datetime:
        """A time of ours by the server's clock."""
        ahead = self.api.ahead if abs(self.api.ahead) > SKEW else 0.0
        return (time + timedelta(seconds=ahead)).astimezone(UTC).replace(microsecond=0)


@dataclass(slots=True)
class _Log:
    """Lines of one origin that were given on: the place of the last one, and how many bytes there were.

    `fresh`: nothing was given yet of the instance that is read now.
    """

    origin: Origin
    cursor: Cursor = field(default_factory=Cursor)
    offset: int = 0
    fresh: bool = True


@dataclass(slots=True)
class _Beginning:
    """How a stream began: where the cursor stood, and the first lines: all there were if `whole`.

    `first` and `last` are the times of its first and its latest line. `is_before`: the log of the instance before has these lines.
    """

    anchor: Cursor
    first: int = -1
    last: int = -1
    head: list[bytes] = field(default_factory=list)
    whole: bool = True
    is_before: bool = False


class Follower:
    """Reads one container of one pod. `run` returns when there is nothing more to read until its status changes."""

    def __init__(self, shared: Shared, pod: Pod, container: Container, origin: Origin) -> None:
        self.pod, self.container, self.origin = pod, container, origin
        self.status = pod.statuses.get(container.name, Status())
        self.left = ""
        """Why nothing more of the pod is wanted, if so."""
        self.heard = time.monotonic()
        """When the last byte was read."""
        self.silence = SILENCE * random.uniform(0.8, 1.2)  # noqa: S311
        self._shared = shared
        self._log = _Log(origin)
        self._before = _Log(replace(origin, path=f"{origin.path} (previous)", previous=True))
        """Of the instance that had ended when the container was seen first."""
        self._instances = [self.status] if self.status.id else []
        """Those that were seen and are not read yet, as they were at first."""
        self._reading: Status | None = None
        """The instance that is read, as it was when we began."""
        self._complete = ""
        """Id of the instance that was read to its end."""
        self._unread = True
        """Whether there may be lines of it that were not read."""
        self._response: aiohttp.ClientResponse | None = None
        self._opening: asyncio.Timeout | None = None
        self._streams = 0
        self._unsettled: list[_Beginning] = []
        """Of streams of which it is not known yet to which instance they belong, the latest last."""
        self._missed: list[tuple[int, int]] = []
        """Between which times lines were missed: of a rotated log or, as will soon be known, of the instance before."""
        self._telling: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._said: set[str] = set()
        self._spoke = False
        self._cut = False
        self._half = b""
        self._rereads = self._vain = 0
        self._returned = False
        """Whether the stream gave a line, new or not."""
        self._news = asyncio.Event()
        self._running, self._turning = asyncio.Lock(), asyncio.Lock()
        if self._is_past(self.status):
            self._reading, self._complete = self.status, self.status.id
            self._instances.clear()

    # -- what the collector tells and asks

    def update(self, pod: Pod) -> None:
        """The pod has changed."""
        self.pod, self.left = pod, ""
        status = pod.statuses.get(self.container.name, self.status)
        if status != self.status and not _is_older(status, self.status):
            if status.id not in ("", self.status.id):
                self._instances.append(status)
                del self._instances[1:-INSTANCES]
            self.status = status
            self._news.set()
        self._suspect()

    def lose(self) -> None:
        """The pod is gone: the stream, if there is one, ends by itself, or after a while by us."""
        self.left = self.left or GONE
        self._news.set()
        self._suspect()

    @property
    def wants(self) -> bool:
        """Whether there is something to read: an instance that was not read to its end."""
        return not self.left and self._is_unfinished

    @property
    def is_silent(self) -> bool:
        """Whether its stream has been without a byte for long."""
        return self._is_open and time.monotonic() - self.heard > self.silence

    def abort(self) -> None:
        """Ends the stream, so that another one is opened."""
        if self._response is not None:
            self._response.close()
        elif self._opening is not None and not self._opening.expired():
            self._opening.reschedule(0)

    @property
    def _is_open(self) -> bool:
        return self._response is not None or self._opening is not None

    @property
    def _is_unfinished(self) -> bool:
        return self.status.id not in ("", self._complete)

    def _is_past(self, status: Status) -> bool:
        """Whether an instance had ended before the time from which on logs are wanted."""
        since = self._shared.since
        return (
            status.over
            and since is not None
            and status.finished is not None
            and status.finished < since
            and not _explains_failure(self.container, self.pod, status)
        )

    # -- the work

    async def run(self) -> None:
        """Reads until the container has ended and its log was read to the end, or the pod is gone."""
        async with self._running:  # one that was put off may still be ending
            try:
                await self._read_on()
                if self.left == GONE and self._unread and self._is_unfinished:
                    why = "the pod was deleted while its log could not be read"
                    self._gap(self._log, self._place(self._log.cursor), _after(self.status.finished), why)
            finally:
                if self._looking is not None:
                    self._looking.cancel()
                    await asyncio.wait([self._looking])
                self._tell_missed()

    async def _read_on(self) -> None:
        failures = refusals = 0
        is_known = True
        while self.wants:
            self._news.clear()
            if not is_known and await self._try_ask() is None:
                failures += 1
                await self._rest(backoff(failures))
                continue
            status, before, wait, has_ended = self.status, self._log.offset, 0.0, False
            self._spoke = False
            try:
                status = await self._current()
                half = await self._follow(status)
            except ApiError as e:
                wait = self._refused(e)
                refusals += e.status not in (401, 403, 429, 503)
                if status.over and refusals >= TRIES:
                    why = f"the log cannot be had: {e.message[:300]}"
                    self._gap(self._log, self._place(self._log.cursor), _after(status.finished), why)
                    self._finish(status)
                    return
            except (_Again, Unreachable, MeshdiagError):
                pass
            else:
                refusals, has_ended = 0, True
                is_over = status.over and self.status.id == status.id
                if is_over and half is not None and await self._is_whole(half, before):
                    self._finish(status)
                    return
            is_known = bool(await self._try_ask())
            is_new = self._log.offset > before
            if has_ended:
                # A clean end says little: the API server gives one when the kubelet's connection breaks. But in a pod that is
                # ending there is nothing more to come when the log was read once more without finding anything.
                ended = self.left or self.status.over or (self.pod.leaving and not is_new)
                self._unread = half != b"" or not ended
            failures = 1 if is_new and not self._spoke else failures + 1
            await self._rest(wait + backoff(failures))

    def _finish(self, status: Status) -> None:
        """The instance was read to its end."""
        self._complete, self._unread = status.id, False
        self._unsettled = []
        self._log.cursor.begin()

    async def _is_whole(self, half: bytes, before: int) -> bool:
        """Whether a log that has ended was read to its end: what was read of it comes once more, and nothing behind it."""
        self._rereads += 1
        if self._log.offset > before or half != self._half or self._rereads < 2:
            self._half, self._vain = half, 0
            return False
        self._vain += 1
        if not self._log.cursor.caught_up and self._vain <= REREADS:
            return False
        if stamp(half) is not None:
            await self._give(self._log, half + b"\n")  # a program may end without a line feed
        if not self._returned and (self._spoke or not self._log.fresh):
            why = "the log was gone before it was read to its end; lines of this time may be lost"
            self._gap(self._log, self._place(self._log.cursor), _after(self.status.finished), why)
        return True

    async def _rest(self, seconds: float) -> None:
        """Waits, or until the pod has changed."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)

    def _refused(self, error: ApiError) -> float:
        """Seconds to wait before the next try, at least."""
        if error.status == 403:
            self._shared.refused(self.pod.namespace, "pods/log", error)
            return REFUSED_WAIT
        return pause(error)

    async def _try_ask(self) -> bool | None:
        """How the pod is now: whether that could be found out, None when nobody answers."""
        try:
            await self._ask()
        except ApiError:
            return False
        except (Unreachable, MeshdiagError):
            return None
        return True

    async def _ask(self) -> Pod | None:
        """The pod that has the name now. How ours is, or that it is gone, is told to all its containers. Raises what stands in the way."""
        await self._shared.turn(self.container.role)
        try:
            pod = await ask(self._shared.api, self.pod.namespace, self.pod.name)
        except ApiError as e:
            if e.status == 403:
                self._shared.refused(self.pod.namespace, "pods", e)
            raise
        if pod is None or pod.uid != self.pod.uid:
            self.lose()
            self._shared.changed(None, self.pod.uid)
        else:
            if self.left:
                self.left = UNSELECTED
            self._shared.changed(pod, pod.uid)
        return pod

    async def _is_ours(self, data: bytes) -> bool:
        """Whether a stream that was opened by the pod's name and begins with this is of our pod, not of one that came after it."""
        if self.pod.owner[0] in GENERATED:
            return True
        for attempt in range(1, TRIES + 1):
            try:
                pod = await self._ask()
                break
            except ApiError as e:
                if e.status == 403:
                    return True  # it cannot be found out, and that was said
                if attempt == TRIES or not e.passing:
                    raise
                # the stream is kept, as what is in it may not be had again
                await asyncio.sleep(pause(e) + backoff(attempt))
        if pod is None or pod.uid == self.pod.uid:
            return True
        other = pod.statuses.get(self.container.name, Status())
        if other.started is None or other.restarts:
            return not other.id
        first = stamp(data)
        return first is not None and first < _nanos(other.started)

    async def _open(self, query: Query, read: float | None = None) -> aiohttp.ClientResponse:
        await self._shared.turn(self.container.role)
        every = {"container": self.container.name, "timestamps": "true", **query}
        path = f"{path_of(self.pod.namespace)}/{self.pod.name}/log"
        return await self._shared.api.open(path, every, read=read)

    async def _follow(self, status: Status) -> bytes | None:
        """One stream to its end: the half line at its end when that was a clean one, else None."""
        query = self._query(status)
        self._streams += 1
        self._shared.streams += 1
        self._returned = False
        known = [b for b in self._unsettled if b.first >= 0 and self._log.cursor.last <= b.first + SETTLED]
        self._unsettled = [*known[1 - UNSETTLED :], _Beginning(self._log.cursor.copy())]
        self.heard = time.monotonic()
        try:
            async with asyncio.timeout(None) as self._opening:
                self._suspect()
                self._response = await self._open({"follow": "true", **query})
        except TimeoutError:
            return None  # by us, as it was silent
        finally:
            self._opening = None
        try:
            return await self._read(self._response, self._take if "tailLines" not in query else self._take_tail)
        finally:
            self._response.close()
            self._response = None

    def _query(self, status: Status) -> dict[str, str | int | bool]:
        resumed = self._log.cursor.resume()
        if resumed is not None:
            # a time of the log itself: the server's clock, not ours; a new instance is read whole, also if that clock was set back
            return {} if self._log.fresh else {"sinceTime": resumed.strftime(_SINCE)}
        if _explains_failure(self.container, self.pod, status):
            return {}
        start, since = self._shared.start, self._shared.since
        if not start.tail or self._streams or (status.started and since and status.started >= since):
            return self._from(since)
        return {"tailLines": start.tail, **self._from(self._shared.there(start.since) if start.since else None)}

    def _from(self, since: datetime | None) -> dict[str, str | int | bool]:
        return {"sinceTime": since.strftime(_SINCE)} if since else {}

    async def _read(self, response: aiohttp.ClientResponse, take: Callable[[bytes], Awaitable[None]]) -> bytes | None:
        """Whole lines of a stream to its end: the half line there when that was a clean one, else None."""
        import aiohttp

        splitter, is_ours = Splitter(), False
        try:
            while data := await response.content.readany():
                if response is self._response:
                    self.heard = math.inf  # who waits for an answer or until there is room is not silent
                if not is_ours:
                    if not await self._is_ours(data):
                        raise _Again
                    is_ours = True
                if lines := splitter.feed(data):
                    await take(lines)
                if response is self._response:
                    self.heard = time.monotonic()
                if splitter.cut and not self._cut:
                    self._cut = True
                    limit = splitter.LIMIT >> 10
                    self._tell(f"a line longer than {limit} KiB was cut", "only its beginning was read")
        except (aiohttp.ClientError, OSError):
            return None
        half = splitter.flush().removesuffix(b"\n")
        if half and not half[:1].isdigit():  # it does not begin with a time, nor with half of one
            self._say(half)
            return b""
        return half

    async def _take(self, lines: bytes) -> None:
        taken = self._log.cursor.take(lines)
        self._returned = self._returned or len(lines) > sum(map(len, taken.said))
        if taken.lines and self._unsettled:
            beginning = self._unsettled[-1]
            if beginning.first < 0:
                beginning.first = stamp(taken.lines) or -1
            beginning.last = self._log.cursor.last
            if beginning.last > beginning.first + SETTLED:
                self._unsettled = []
            elif sum(map(len, beginning.head)) < HEAD:
                beginning.head.append(taken.lines)
            else:
                beginning.whole = False
        if taken.missed:
            self._missed.append(taken.missed)
            if self._telling is None:
                self._telling = asyncio.get_running_loop().call_later(2 * GRACE, self._tell_missed_soon)
        await self._give(self._log, taken.lines, taken.said)

    async def _take_tail(self, lines: bytes) -> None:
        """Of a stream that began with the last lines: if all of them came after we began, there may be more such lines."""
        first, since = stamp(lines), self._shared.since
        if self._log.fresh and first is not None and since is not None and first >= _nanos(since):
            raise _Again
        await self._take(lines)

    async def _give(self, log: _Log, lines: bytes, said: tuple[bytes, ...] = ()) -> None:
        if lines:
            event = Lines(log.origin, log.offset, lines)
            log.offset, log.fresh = log.offset + len(lines), False
            try:
                await self._shared.put(event)
            except asyncio.CancelledError:
                self._shared.put_now(event)  # the cursor stands behind it: one that was put off goes on from there
                raise
        for line in said:
            self._say(line)

    def _say(self, line: bytes) -> None:
        """What a kubelet wrote in the place of a log."""
        text = line.decode("utf-8", "replace").strip()[:300]
        self._spoke = self._spoke or bool(text)
        if text and text not in self._said and len(self._said) < SAID:
            self._said.add(text)
            self._tell(f"the kubelet says: {text}")

    def _tell(self, what: str, hint: str = "") -> None:
        self._shared.put_now(Problem(self.origin.path, what, hint))

    def _tell_missed_soon(self) -> None:
        self._telling = None
        if self._reading is None or self.status.id == self._reading.id:  # else that is decided when it is turned to
            self._tell_missed()

    def _tell_missed(self, until: float = math.inf) -> None:
        """What was missed before a time was missed because of a rotation; the rest was not missed after all."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        for since, end in self._missed:
            if end < until:
                why = "the log was rotated while it could not be read; lines of this time may be lost"
                self._shared.put_now(Gap(self.origin, moment(since), moment(end), why))
        self._missed = []

    def _gap(self, log: _Log, since: datetime | None, until: datetime | None, why: str) -> None:
        self._shared.put_now(Gap(log.origin, since, max(until, since) if until and since else until, why))

    def _place(self, cursor: Cursor) -> datetime | None:
        """The time from which on lines were not read."""
        if cursor.last >= 0:
            return moment(cursor.last)
        since, started = self._shared.since, (self._reading or self.status).started
        return max(since, started) if since and started else since or started

    async def _look_into(self) -> None:
        """While a stream may go on that should end: why does it?"""
        is_sure = False
        while self._ought_to_end:
            await asyncio.sleep(GRACE / 3)
            if not self._is_open or not self._ought_to_end:
                continue
            is_quiet = time.monotonic() - self.heard >= GRACE
            if self.left:
                is_sure = is_sure or bool(await self._try_ask())
                if self.left == UNSELECTED or is_quiet:
                    self.abort()
            elif is_quiet:
                self.abort()
            elif self._is_next(self.status):
                await self._current()

    @property
    def _ought_to_end(self) -> bool:
        """Whether the container that is read has ended, or is no longer wanted."""
        reading = self._reading
        return bool(self.left or (reading and (self.status.over or self.status.id not in ("", reading.id))))

    def _suspect(self) -> None:
        if self._is_open and self._ought_to_end and (self._looking is None or self._looking.done()):
            self._looking = asyncio.ensure_future(self._look_into())

    # -- instances before

    async def _current(self) -> Status:
        """The instance to read now, once what is left of the one before was read."""
        async with self._turning:
            while self._instances:
                status = self._instances[0]
                if self._reading is None:
                    await self._read_before(status)
                    self._reading = status
                elif status.id != self._reading.id:
                    await self._finish_previous(status, self._reading)
                del self._instances[0]
            return self.status

    async def _read_before(self, status: Status) -> None:
        """At first sight: the instance that ended just before this one tells why there is a new one."""
        since, ended, log = self._shared.since, status.last_finished, self._before
        if not status.last_id or ended is None or (since and ended < since):
            return

        async def give(taken: Taken) -> None:
            await self._give(log, taken.lines, taken.said)

        if not await self._previous(log, log.cursor, give, status):
            since = moment(log.cursor.last) if log.cursor.last >= 0 else since
            self._gap(log, since, _after(ended), "the log before the container was started again cannot be had")
        log.cursor.begin()
        if log.offset:
            self._shared.put_now(Ended(log.origin, "the container was started again"))

    async def _finish_previous(self, status: Status, reading: Status) -> None:
        """The container was started again: the rest of the instance that was read comes first.

        The kubelet keeps the log of one instance before the current one; before another start (`over`, without one before) that one is
        the current one itself.
        """
        log, is_complete = self._log, reading.id == self._complete
        between = max(0, status.restarts - reading.restarts - 1)
        other = status.last_id not in ("", reading.id)
        is_kept = bool(status.last_id) or not status.over
        ours = not is_complete and is_kept and not other and not between
        late = self._late(status)
        self._tell_missed(late[0].first if late else math.inf)
        cursor = late[0].anchor if late else log.cursor
        stood = self._place(cursor)
        lost = ""
        if between > other or not (is_complete or ours):
            lost = f"the container was started {between + 1} times in the meantime, and only the log of the last instance is kept"

        async def give(taken: Taken) -> None:
            nonlocal lost, stood
            if taken.lines and lost:
                self._gap(log, stood, moment(stamp(taken.lines) or 0), lost)
                lost = ""
            if taken.missed:
                self._missed.append(taken.missed)
                self._tell_missed()
            await self._give(log, taken.lines, taken.said)
            stood = self._place(cursor)

        if not ours:
            cursor.begin()
            log.fresh = True
        had = True
        if ours or other:
            had = await self._previous(log, cursor, give, status, late)
        if lost or not had:
            until = _after(status.last_finished if ours or other else status.started)
            why = lost or "the rest of the log before the container was started again cannot be had"
            self._gap(log, stood, until or _after(status.started), why)
        late = [b for b in late if b.head and not b.is_before]
        if not late:
            log.cursor.begin()
        elif self._is_open or not all(b.whole for b in late):
            log.cursor.forgive()
        else:
            log.cursor = Cursor()
            log.cursor.take(b"".join(lines for b in late for lines in b.head))
        log.fresh = not late
        self._unsettled = [b for s in self._instances[1:2] for b in self._late(s) if not b.is_before]
        self._reading, self._unread = status, True
        self._half, self._rereads, self._vain = b"", 0, 0

    def _late(self, status: Status) -> list[_Beginning]:
        """Beginnings of the streams that began within the instance of this status, and so left the end of the one before behind.

        One that has only lines of the second of the start may be of either; they are told from those of the instance before by what
        they are, if all of them are remembered.
        """
        if status.started is None:
            return []
        start = _nanos(status.started)
        for number, b in enumerate(self._unsettled):
            if b.first >= start and (b.whole or b.last >= start + SECOND):
                return self._unsettled[number:]
        return []

    def _is_next(self, status: Status) -> bool:
        """Whether the stream that is open is the next instance's: the one before wrote nothing after its end."""
        late = self._late(status)
        return bool(late and status.started and late[-1].last >= _nanos(status.started) + SECOND)

    async def _previous(
        self,
        log: _Log,
        cursor: Cursor,
        give: Callable[[Taken], Awaitable[None]],
        status: Status,
        late: Sequence[_Beginning] = (),
    ) -> bool:
        """Gives what is new in the log of the instance before the one of this status; whether it could be read to its end.

        `late`: streams whose lines were given already, perhaps of another log.
        """
        # what is later than the start of the next instance is of one that came in between, as was not known yet
        end = _nanos(status.started) if status.started else _FOREVER
        is_sure = False
        besides = b"".join(lines for b in late for lines in b.head)

        tries = vain = 0
        half: bytes | None = None
        is_new = is_there = False
        found: list[_Beginning] = []

        async def take(lines: bytes) -> None:
            nonlocal is_new, is_there, is_sure
            found.extend(b for b in late if b.head and b.head[0].partition(b"\n")[0] in lines)
            place = cursor.copy()
            taken = cursor.take(lines)
            if taken.lines and not is_sure:
                first = stamp(taken.lines) or 0
                is_other = first >= (end if taken.missed else end + SECOND)
                if first >= end and not is_other:  # in the second of the start
                    await self._try_ask()
                    is_other = self.status.id != status.id
                if is_other:
                    if cursor is log.cursor:
                        log.cursor = place
                    raise _Again
                is_sure = True
            is_new = is_new or bool(taken.lines)
            is_there = is_there or len(lines) > sum(map(len, taken.said))
            await give(taken)

        while tries < TRIES and vain <= 2 * REREADS and not self.left and self.status.id == status.id:
            wait, is_new, is_sure = backoff(tries + 1), False, False
            self._spoke = False
            found.clear()
            resumed = cursor.resume(besides)
            query = self._from(self._shared.since) if resumed is None else {} if log.fresh else self._from(resumed)
            try:
                response = await self._open({"previous": "true", **query}, PREVIOUS_SILENCE)
                async with response:
                    if self.status.id != status.id:
                        break  # by now it may be another instance's
                    rest = await self._read(response, take)
            except _Again:
                return False
            except ApiError as e:
                if not e.passing and e.status != 401:
                    return False
                tries += e.status not in (401, 429)
                wait += pause(e)
            except (Unreachable, MeshdiagError):
                pass  # nothing else can be read, either
            else:
                for b in found if cursor.caught_up else ():  # else it may be the log of yet another instance
                    b.is_before = True
                if is_new:
                    tries, vain, wait = 0, 0, 0.0
                elif rest is None:
                    tries += 1
                elif self._spoke:
                    return False
                elif rest == half and (cursor.caught_up or vain > REREADS):
                    if not (cursor.caught_up or is_there):
                        return False
                    if stamp(rest) is not None:
                        await self._give(log, rest + b"\n")
                    return True
                else:
                    vain, wait = vain + 1, 0.0
                half = rest
            await asyncio.sleep(wait)
        return False


def pause(error: Exception) -> float:
    """Seconds for which a server asks to be left alone, within reason."""
    return min(error.retry_after or 0.0, LONGEST_WAIT) if isinstance(error, ApiError) else 0.0


def _nanos(time: datetime) -> int:
    return int(time.timestamp()) * SECOND


def _after(time: datetime | None) -> datetime | None:
    """The end of a whole second, within which something happened."""
    return time + timedelta(seconds=1) if time else None


def _is_older(status: Status, known: Status) -> bool:
    """Whether a status is from before the known one: watch and answers overtake each other."""
    if status.started and known.started and status.started > known.started:
        return False
    return (status.restarts, status.over) < (known.restarts, known.over)


def _explains_failure(container: Container, pod: Pod, status: Status) -> bool:
    """Whether a container's log is wanted whole, however old it is: it failed, and the pod still waits for it."""
    return container.init and status.over and status.exit_code not in (None, 0) and not pod.initialized
