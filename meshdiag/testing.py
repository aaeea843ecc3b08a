"""For tests of what uses meshdiag: a live source that plays a script, no cluster needed.

>>> import meshdiag
>>> source = Script([lines("shop", "cart-0", "istio-proxy", "2026-11-22T10:00:00.000000Z\\tinfo\\tEnvoy proxy is ready")])
>>> [match.cause for match in meshdiag.tail(source)]
['proxy-ready']
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field, replace

from meshdiag.model import Origin
from meshdiag.sources.live import Ended, Event, Lines, Opened


@dataclass
class Script:
    """A live source that yields events in order, a number among them being seconds to wait.

    Origins are opened by themselves, and offsets are counted; with `ends=False` it stays open after its last event.
    """

    events: Iterable[Event | float]
    ends: bool = True
    played: list[Event] = field(default_factory=list)

    async def follow(self) -> AsyncGenerator[Event, None]:
        """The events."""
        passed: dict[Origin, int] = {}
        for event in self.events:
            if isinstance(event, (int, float)):
                await asyncio.sleep(event)
                continue
            if isinstance(event, Lines):
                if event.origin not in passed:
                    passed[event.origin] = 0
                    yield Opened(event.origin)
                event = replace(event, offset=passed[event.origin])
                passed[event.origin] += len(event.data)
            self.played.append(event)
            yield event
        if not self.ends:
            await asyncio.Event().wait()
        for origin in passed:
            yield Ended(origin, "the script has ended")


def lines(namespace: str, pod: str, container: str, *text: str | bytes) -> Lines:
    """Lines of a container, given without their ends."""
    data = b"".join((t.encode() if isinstance(t, str) else t) + b"\n" for t in text)
    return Lines(Origin(f"{namespace}/{pod}/{container}", "", namespace, pod, container), 0, data)
