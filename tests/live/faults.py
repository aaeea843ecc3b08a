"""What goes wrong between a client and an API server, by seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Cut = Literal["end", "reset", "stall"]
"""How a stream is cut: a clean end (what a client sees when the connection to the kubelet breaks), a reset of the
connection, or silence on a connection that stays open."""


class Request(NamedTuple):
    """A request as it came; `user` is None for one that was not authenticated."""

    method: str
    path: str
    query: Mapping[str, str]
    user: str | None

    @property
    def verb(self) -> str:
        """ "log", "watch", "list", "get" or "other"; of what writes "create", "patch", "delete", or "dry" for a dry run."""
        if self.method != "GET":
            verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(self.method, "other")
            return "dry" if self.query.get("dryRun") else verb
        parts = self.path.strip("/").split("/")
        if parts[-1] == "log":
            return "log"
        if parts[:2] != ["api", "v1"]:
            return "other"
        if self.path.endswith(("/pods", "/namespaces")):
            return "watch" if self.query.get("watch", "false") not in ("false", "0") else "list"
        return "get"


def _every(_: Request) -> bool:
    return True


@dataclass
class Faults:
    """Faults that come by themselves; none unless asked for. The same seed and the same requests give the same faults.

    `cut_every`: seconds on average between cuts of a log stream, one at random, as one of `cuts` (weights).
    `cut_within`: a stream is cut after at most as many more bytes, at a random one, so mostly inside a line. Streams
    in which nothing comes are cut only if the number drawn is 0, as every third is.
    `cut_after`: each log that is followed is cut, by one of `cuts`, after so many bytes, drawn between two numbers.
    `errors`: share of requests by status (429, 500, 503) that are answered with it.
    `delay`: share of requests that are answered late, by seconds between `delays`.
    `watch_gone`, `watch_error`: share of watches that begin with an `ERROR` event (410, InternalError).
    `watch_cut`: share of watches that are cut inside their next event but `watch_cut_after`.
    `only`: the requests that may be answered with an error, late, or with a log that is cut by `cut_after`.
    """

    seed: int = 0
    cut_every: float | None = None
    cuts: Mapping[Cut, float] = field(default_factory=lambda: {"end": 1.0, "reset": 1.0})
    cut_within: int = 2000
    cut_after: tuple[int, int] | None = None
    errors: Mapping[int, float] = field(default_factory=dict)
    delay: float = 0.0
    delays: tuple[float, float] = (0.05, 0.5)
    watch_gone: float = 0.0
    watch_error: float = 0.0
    watch_cut: float = 0.0
    watch_cut_after: int = 2
    only: Callable[[Request], bool] = _every

    def __post_init__(self) -> None:
        # One source for each kind, so that how many of one kind were drawn does not change the others.
        self._random = {
            name: random.Random(f"{self.seed}/{name}") for name in ("pause", "cut", "plan", "error", "delay", "watch")
        }

    def pause(self) -> float:
        """Seconds until the next cut."""
        return self._random["pause"].expovariate(1 / self.cut_every) if self.cut_every else float("inf")

    def cut(self, streams: int) -> tuple[int, Cut, int]:
        """Which of so many streams is cut, how, and after how many more bytes."""
        draw = self._random["cut"]
        place = draw.randrange(streams)
        kind = draw.choices(list(self.cuts), list(self.cuts.values()))[0]
        after = draw.randrange(1, self.cut_within + 1) if draw.random() < 2 / 3 else 0
        return place, kind, after

    def plan(self, request: Request) -> tuple[Cut, int] | None:
        """How a log that is followed from now on is cut, and after how many bytes."""
        if self.cut_after is None or not self.only(request):
            return None
        draw = self._random["plan"]
        return draw.choices(list(self.cuts), list(self.cuts.values()))[0], draw.randint(*self.cut_after)

    def error(self, request: Request) -> int | None:
        """The status that a request is answered with instead of an answer."""
        if not self.errors or not self.only(request):
            return None
        draw = self._random["error"].random()
        for code, share in self.errors.items():
            draw -= share
            if draw < 0:
                return code
        return None

    def wait(self, request: Request) -> float:
        """Seconds by which an answer is late."""
        if not self.delay or not self.only(request):
            return 0.0
        draw = self._random["delay"]
        late = draw.random() < self.delay
        return draw.uniform(*self.delays) if late else 0.0

    def watch(self) -> Literal["gone", "error", "cut"] | None:
        """What goes wrong with a watch."""
        shares: dict[Any, float] = {"gone": self.watch_gone, "error": self.watch_error, "cut": self.watch_cut}
        if not any(shares.values()):
            return None
        draw = self._random["watch"].random()
        for kind, share in shares.items():
            draw -= share
            if draw < 0:
                return kind  # type: ignore[no-any-return]
        return None
