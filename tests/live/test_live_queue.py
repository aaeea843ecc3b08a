"""The queue between those who read and whoever takes, and several sources in one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any

import pytest

from meshdiag.model import MeshdiagError, Origin
from meshdiag.sources.live import QUEUE_BYTES, Ended, Event, Gap, Lines, Opened, Queue, collected, weight
from meshdiag.testing import Script, lines

ORIGIN = Origin("shop/db-0/istio-proxy", "", "shop", "db-0", "istio-proxy")
LIMIT = 10


def of(data: bytes) -> Lines:
    return Lines(ORIGIN, 0, data)


def texts(events: Iterable[Event]) -> list[bytes]:
    return [e.data for e in events if isinstance(e, Lines)]


def run(work: Callable[[Queue], Awaitable[Any]], limit: int = LIMIT) -> Any:
    """What is done with a queue, in less than two seconds."""

    async def main() -> Any:
        async with asyncio.timeout(2):
            return await work(Queue(limit))

    return asyncio.run(main())


async def turns(count: int = 5) -> None:
    """Lets all others do what they can."""
    for _ in range(count):
        await asyncio.sleep(0)


def test_events_come_in_order() -> None:
    """What was put first comes first, and `take` gives all that waits."""

    async def work(queue: Queue) -> list[bytes]:
        await queue.put(of(b"1"))
        queue.put_now(of(b"2"))
        await queue.put(of(b"3"))
        return texts(await queue.take())

    assert run(work) == [b"1", b"2", b"3"]


def test_take_waits() -> None:
    """`take` gives at least one event."""

    async def work(queue: Queue) -> list[bytes]:
        taking = asyncio.ensure_future(queue.take())
        await turns()
        assert not taking.done()
        await queue.put(of(b"1"))
        return texts(await taking)

    assert run(work) == [b"1"]


def test_whoever_puts_waits_for_room() -> None:
    """While it is full nobody puts anything, and the first to wait is the first to go on; nothing is lost."""

    async def work(queue: Queue) -> list[list[bytes]]:
        await queue.put(of(b"x" * LIMIT))
        putting = [asyncio.ensure_future(queue.put(of(b"%d" % n * 6))) for n in range(5)]
        await turns()
        assert queue.size == LIMIT
        got = []
        while True:
            got.append(texts(await queue.take()))
            await turns(10)
            assert queue.size < 2 * LIMIT
            if not queue.size:
                break
        assert all(p.done() for p in putting)
        return got

    got = run(work)
    assert [t[:1] for some in got[1:] for t in some] == [b"0", b"1", b"2", b"3", b"4"]
    assert all(len(some) <= 2 for some in got)


def test_an_event_larger_than_the_queue() -> None:
    """It passes when nothing else waits, and small ones after it wait."""

    async def work(queue: Queue) -> list[bytes]:
        await queue.put(of(b"x" * 100))
        later = asyncio.ensure_future(queue.put(of(b"y")))
        await turns()
        assert not later.done()
        first = texts(await queue.take())
        return [*first, *texts(await queue.take())]

    assert run(work) == [b"x" * 100, b"y"]


@pytest.mark.parametrize("when", ["while it waits", "when it is its turn"])
def test_who_gives_up_waiting_leaves_the_others_their_turn(when: str) -> None:
    """A put that is cancelled puts nothing, and the next one goes on."""

    async def work(queue: Queue) -> list[bytes]:
        await queue.put(of(b"x" * LIMIT))
        first, second = (asyncio.ensure_future(queue.put(of(name))) for name in (b"first", b"second"))
        await turns()
        if when == "while it waits":
            first.cancel()
            await turns()
        taken = texts(await queue.take())  # makes it the first one's turn
        first.cancel()
        await turns()
        assert first.cancelled() and second.done()
        return [*taken, *texts(await queue.take())]

    assert run(work) == [b"x" * LIMIT, b"second"]


def test_the_end() -> None:
    """After `close` what waits is still taken, then there is nothing; what is put is lost, and nobody waits."""

    async def work(queue: Queue) -> None:
        await queue.put(of(b"x" * LIMIT))
        putting = [asyncio.ensure_future(queue.put(of(b"late"))) for _ in range(3)]
        await turns()
        queue.close()
        assert not queue.closed
        await turns(10)
        assert all(p.done() for p in putting)
        await queue.put(of(b"later"))
        assert texts(await queue.take()) == [b"x" * LIMIT]
        assert queue.closed
        assert await queue.take() == []
        assert await queue.gather(5, 60) == []

    run(work)


def test_close_wakes_who_takes() -> None:
    """Whoever waits for events learns of the end."""

    async def work(queue: Queue) -> tuple[list[Event], list[Event]]:
        taking = asyncio.ensure_future(queue.take())
        await turns()
        queue.close()
        got = await taking
        return got, await queue.gather(1, 60)

    assert run(work) == ([], [])


def test_an_error_comes_after_what_waits() -> None:
    """The error is raised once all that came before it was taken, also when others go on putting; the first error counts."""

    async def work(queue: Queue) -> None:
        await queue.put(of(b"before"))
        queue.close(MeshdiagError("first"))
        queue.close(MeshdiagError("second"))
        queue.put_now(of(b"after"))
        assert texts(await queue.take()) == [b"before"]
        with pytest.raises(MeshdiagError, match="first"):
            await queue.take()
        with pytest.raises(MeshdiagError, match="first"):
            await queue.gather(1, 60)

    run(work)


def test_gather_waits_for_enough() -> None:
    """It gives what waits as soon as there are so many bytes, not before."""

    async def work(queue: Queue) -> list[bytes]:
        gathering = asyncio.ensure_future(queue.gather(6, 60))
        await turns()
        await queue.put(of(b"12345"))
        await turns()
        assert not gathering.done()
        await queue.put(of(b"6"))
        return texts(await gathering)

    assert run(work) == [b"12345", b"6"]


def test_gather_gives_what_there_is_in_time() -> None:
    """After so many seconds it gives what there is, perhaps nothing; at once, when there is enough."""

    async def work(queue: Queue) -> None:
        began = time.monotonic()
        assert await queue.gather(6, 0.03) == []
        await queue.put(of(b"1"))
        assert texts(await queue.gather(6, 0.03)) == [b"1"]
        assert 0.06 <= time.monotonic() - began < 1
        await queue.put(of(b"123456"))
        assert texts(await queue.gather(6, 60)) == [b"123456"]

    run(work)


def test_gather_gives_what_fills_the_queue() -> None:
    """More than fits cannot come: a full queue is enough."""

    async def work(queue: Queue) -> list[bytes]:
        gathering = asyncio.ensure_future(queue.gather(1000, 60))
        await turns()
        await queue.put(of(b"x" * LIMIT))
        return texts(await gathering)

    assert run(work) == [b"x" * LIMIT]


def test_who_gives_up_gathering_leaves_no_trace() -> None:
    """After a gather that was cancelled a single event is taken as before."""

    async def work(queue: Queue) -> list[bytes]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await queue.gather(LIMIT, 60)
        taking = asyncio.ensure_future(queue.take())
        await turns()
        await queue.put(of(b"1"))
        return texts(await taking)

    assert run(work) == [b"1"]


def test_weights() -> None:
    """Lines count what they are long; others a little, so that many of them count, too."""
    assert weight(of(b"12345")) == 5
    assert weight(Opened(ORIGIN)) == weight(Ended(ORIGIN)) == weight(Gap(ORIGIN, None, None, "")) > 0


# -- several sources


class Source:
    """A live source that does as it is told, and knows whether it was ended."""

    def __init__(self, work: Callable[[], AsyncGenerator[Event, None]]) -> None:
        self.ended = False
        self._work = work

    async def follow(self) -> AsyncGenerator[Event, None]:
        try:
            async for event in self._work():
                yield event
        finally:
            self.ended = True


async def flood() -> AsyncGenerator[Event, None]:
    while True:
        yield of(b"flood")
        await asyncio.sleep(0)


async def failing() -> AsyncGenerator[Event, None]:
    yield of(b"before")
    raise MeshdiagError("cannot read it")


def take_all(*sources: Any, limit: int = QUEUE_BYTES) -> list[Event]:
    async def main() -> list[Event]:
        got: list[Event] = []
        async with asyncio.timeout(2), collected(sources, limit) as queue:
            while not queue.closed:
                got += await queue.gather(100, 0.01)
        return got

    return asyncio.run(main())


def test_all_of_several_sources() -> None:
    """All events of all sources come, those of each in order; then it is closed."""
    first = Script([lines("shop", "a-0", "istio-proxy", str(n)) for n in range(50)])
    second = Script([lines("shop", "b-0", "istio-proxy", str(n)) for n in range(70)])
    for limit in (QUEUE_BYTES, 20):
        got = take_all(first, second, limit=limit)
        for pod, count in (("a-0", 50), ("b-0", 70)):
            assert texts(e for e in got if isinstance(e, Lines) and e.origin.pod == pod) == [
                b"%d\n" % n for n in range(count)
            ]


def test_no_source() -> None:
    """Of no source nothing comes, and that is the end."""
    assert take_all() == []


def test_a_source_that_fails_ends_all() -> None:
    """Its error is raised after what came before it, however much others write, and these are ended."""

    async def main() -> None:
        other = Source(flood)
        got: list[Event] = []
        with pytest.raises(MeshdiagError, match="cannot read it"):
            async with asyncio.timeout(2), collected([other, Source(failing)]) as queue:
                while True:
                    got += await queue.take()
        assert b"before" in texts(got)
        assert other.ended
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_leaving_ends_sources_that_wait_for_room() -> None:
    """Whoever leaves while sources wait to put something ends them."""

    async def main() -> None:
        sources = [Source(flood) for _ in range(3)]
        async with asyncio.timeout(2):
            async with collected(sources, limit=LIMIT) as queue:
                await turns(20)
                assert LIMIT <= queue.size < LIMIT + weight(of(b"flood"))
        assert all(s.ended for s in sources)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
