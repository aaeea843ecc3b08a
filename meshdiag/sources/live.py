"""What a live source yields: lines as they are written, and what could not be had of them.

    async with contextlib.aclosing(source.follow()) as events:
        async for event in events: ...

A live source has one method, `follow`. Containers of a cluster, local files that grow and standard input are live
sources, and `meshdiag.testing` has a scripted one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from meshdiag.model import Origin, Problem

QUEUE_BYTES = 8 << 20
"""Bytes of lines that wait to be read; a source that has more stops reading, and so does whoever writes to it."""

_EVENT = 200
"""Bytes that an event without lines counts in a queue."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines of one origin in the order in which they were written, each with its line feed.

    `offset` is the number of bytes of this origin that came before them.
    """

    origin: Origin
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """An origin is followed from now on."""

    origin: Origin


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more comes of an origin; `why` says what happened to it."""

    origin: Origin
    why: str = ""


@dataclass(frozen=True, slots=True)
class Gap:
    """Lines of an origin that could not be had: those between two times (UTC), of which one or both may be unknown."""

    origin: Origin
    since: datetime | None
    until: datetime | None
    why: str

    @property
    def seconds(self) -> float | None:
        """How long it is; None when one end is not known."""
        return (self.until - self.since).total_seconds() if self.since and self.until else None


Event = Lines | Opened | Ended | Gap | Problem


class LiveSource(Protocol):
    """Where lines come from as they are written."""

    def follow(self) -> AsyncGenerator[Event, None]:
        """The events, until there is nothing more to come or the iterator is closed. Raises MeshdiagError at the start."""
        ...


def weight(event: Event) -> int:
    """Bytes that an event counts in a queue."""
    return len(event.data) if isinstance(event, Lines) else _EVENT


class Queue:
    """A queue of events bounded by bytes: `put` waits while it is full, so that whoever writes has to wait, too.

    For one event loop. An event larger than the bound passes when nothing else waits.
    """

    def __init__(self, limit: int = QUEUE_BYTES) -> None:
        self._limit = limit
        self._events: list[Event] = []
        self.size = 0
        """Bytes that wait to be taken."""
        self._room: deque[asyncio.Future[None]] = deque()
        self._filled = asyncio.Event()
        self._least = 0
        self._closed = False
        self._error: BaseException | None = None

    async def put(self, event: Event) -> None:
        """Adds an event when there is room for it; first come, first served. When the queue is closed it is lost."""
        if (self.size >= self._limit or self._room) and not self._closed:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._room.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn in self._room:
                    self._room.remove(turn)
                else:
                    self._wake()  # it was our turn: the next one's now
                raise
        self.put_now(event)
        self._wake()

    def put_now(self, event: Event) -> None:
        """Adds an event, whether there is room or not: for small ones."""
        if self._closed:
            return  # else an error would have to wait until nobody puts anything any more
        self._events.append(event)
        self.size += weight(event)
        if self.size >= self._least:
            self._filled.set()

    def close(self, error: BaseException | None = None) -> None:
        """Nothing more is put. `take` gives what waits, then raises the error, if there is one, or gives nothing."""
        self._closed = True
        self._error = self._error or error
        self._filled.set()
        self._wake()

    async def take(self) -> list[Event]:
        """All events that wait, at least one; empty when the queue is closed."""
        while not self._events and not self._closed:
            self._filled.clear()
            await self._filled.wait()
        return self._taken()

    async def gather(self, least: int, within: float) -> list[Event]:
        """All events that wait, once they have so many bytes or fill the queue, or after so many seconds; perhaps none. See `closed`."""
        least = min(least, self._limit)
        if self.size < least and not self._closed:
            self._least = least
            self._filled.clear()
            try:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._filled.wait(), within)
            finally:
                self._least = 0
        return self._taken()

    @property
    def closed(self) -> bool:
        """Whether it is closed and all was taken."""
        return self._closed and not self._events

    def _taken(self) -> list[Event]:
        if not self._events and self._error is not None:
            raise self._error
        events, self._events, self.size = self._events, [], 0
        self._wake()
        return events

    def _wake(self) -> None:
        while self._room and (self.size < self._limit or self._closed):
            turn = self._room.popleft()
            if not turn.done():
                turn.set_result(None)
                return


@contextlib.asynccontextmanager
async def collected(sources: Sequence[LiveSource], limit: int = QUEUE_BYTES) -> AsyncGenerator[Queue, None]:
    """The events of several sources in one queue, which is closed when all of them have ended or one has failed."""
    queue = Queue(limit)
    left = len(sources)
    if not left:
        queue.close()

    async def pump(source: LiveSource) -> None:
        nonlocal left
        error: Exception | None = None
        try:
            async with contextlib.aclosing(source.follow()) as events:
                async for event in events:
                    await queue.put(event)
        except Exception as e:  # handed on to whoever takes
            error = e
        left -= 1
        if error is not None or not left:
            queue.close(error)

    pumps = [asyncio.ensure_future(pump(s)) for s in sources]
    try:
        yield queue
    finally:
        for p in pumps:
            p.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
