"""What goes on behind the prompt: captures that are read, a mesh that is followed. Threads fill it, the prompt looks at it.

Nothing here writes to a terminal: what a person should know is put into `messages`.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from meshdiag.capture import Capture
from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import Diagnosis, Findings
from meshdiag.diagnosis.windows import LogClock, Phase, Standing, Watch
from meshdiag.engine.scan import Scanner
from meshdiag.model import MeshdiagError, Problem, Subject
from meshdiag.sources import open_inputs
from meshdiag.sources.live import Gap

Key = tuple[str, Subject]

SPOOL_BYTES = 2 << 30
"""Bytes of live lines that are kept on disk for `lines` and `search`."""


@dataclass(frozen=True, slots=True)
class Message:
    """Something that a person should know; `kind` is `info`, `warning`, `error` or `good`."""

    text: str
    kind: str = "info"


@dataclass
class Reading:
    """A capture that is being read: what was read of it, of how much (None: not known)."""

    names: tuple[str, ...]
    done: int = 0
    total: int | None = None
    finished: bool = False


@dataclass
class Work:
    """The sources of one shell. Methods that begin something return at once."""

    catalogue: Catalogue
    changed: Callable[[], None] = lambda: None
    """Called from any thread when there is something new to see."""

    inputs: list[str] = field(default_factory=list)
    """Files and folders that were opened."""

    reading: Reading | None = None
    messages: deque[Message] = field(default_factory=lambda: deque(maxlen=200))
    watched: set[Key] = field(default_factory=set)
    """Findings of which a person wants to hear when they are over, or there again."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._files = Findings()
        self._cached: tuple[int, Diagnosis] | None = None
        self._version = 0
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._spool: tempfile.TemporaryDirectory[str] | None = None
        self._live: Any = None
        self._live_name = ""
        self._speed: deque[tuple[float, int]] = deque()
        self.watch, self.clock = Watch(), LogClock()

    # -- captures

    def open(self, inputs: Sequence[str]) -> None:
        """Reads captures in the background. Raises MeshdiagError for one that is not there."""
        problems: list[Problem] = []
        streams = open_inputs(inputs, problems.append)  # raises for what is not there
        reading = self.reading = Reading(tuple(inputs))
        reading.total = _size(inputs)
        self.inputs += [str(i) for i in inputs]
        self._stop.clear()

        def work() -> None:
            scanner = Scanner(self.catalogue)

            def advance(n: int) -> None:
                reading.done += n
                if self._stop.is_set():
                    raise _Stopped

            try:
                for stream in streams:
                    found = scanner.scan(stream, advance)
                    self._add(found)
                self._add(Findings(problems=frozenset(problems)))
                self._say_read(reading)
            except _Stopped:
                self.say(f"stopped reading {', '.join(reading.names)}: what was read of other files counts", "warning")
            except MeshdiagError as e:
                self.say(str(e), "error")
            finally:
                reading.finished = True
                self.changed()

        self._start(work, "meshdiag-open")

    def _say_read(self, reading: Reading) -> None:
        diagnosis = self.diagnosis()
        failures = [f for f in diagnosis.failures if not f.explained_by]
        what = (
            f"{len(failures)} root cause{'s' * (len(failures) != 1)}: causes shows them"
            if failures
            else "no failure found"
        )
        self.say(
            f"read {', '.join(reading.names)}: {diagnosis.seen.lines:,} lines, {what}",
            "warning" if failures else "good",
        )

    def _add(self, found: Findings) -> None:
        with self._lock:
            self._files = self._files + found
            self._version += 1
        self.changed()

    # -- live

    def follow(self, name: str, **options: Any) -> None:
        """Follows live logs in the background, with the options of `meshdiag.tail`. Raises MeshdiagError for wrong ones."""
        from meshdiag.tailing import tail

        if self.is_live:
            raise MeshdiagError(f"{self._live_name} is followed already: stop ends that")
        spool = tempfile.TemporaryDirectory(prefix="meshdiag-")
        folder = Path(spool.name) / "live"
        live = tail(*options.pop("inputs", ()), save=Capture(folder, SPOOL_BYTES), catalogue=self.catalogue, **options)
        self._spool, self._live, self._live_name = spool, live, name
        self._speed.clear()
        self.watch, self.clock = Watch(), LogClock()

        async def run() -> None:
            async with contextlib.aclosing(live.steps(matches=False)) as steps:
                async for step in steps:
                    now = time.monotonic()
                    for event in step.events:
                        if isinstance(event, Gap):
                            self.say(f"gap in {event.origin}: {event.why}", "warning")
                        elif isinstance(event, Problem):
                            self.say(str(event), "warning")
                    self._speed.append((now, live.flow.lines))
                    while len(self._speed) > 2 and self._speed[0][0] < now - 5:
                        self._speed.popleft()
                    if step.findings is not None:
                        self.clock.saw(step.findings.last, now)
                        with self._lock:
                            self._version += 1
                        self._tell_turns(now)
                        self.changed()

        def work() -> None:
            try:
                asyncio.run(run())
                self.say(f"{name} is no longer followed")
            except MeshdiagError as e:
                self.say(str(e), "error")
            finally:
                self._live_name = ""
                self.changed()

        self._start(work, "meshdiag-live")

    def _tell_turns(self, now: float) -> None:
        for standing in self.watch.changes(self.diagnosis(), self.clock.time(now)):
            finding = standing.finding
            if (finding.cause, finding.subject) not in self.watched:
                continue
            if standing.phase is Phase.OVER:
                self.say(f"over: {finding.cause} of {finding.subject}, {finding.count:,} lines", "good")
            elif standing.phase is Phase.AGAIN:
                self.say(f"there again: {finding.cause} of {finding.subject}", "warning")

    @property
    def is_live(self) -> bool:
        """Whether something is followed."""
        return bool(self._live_name)

    @property
    def live_name(self) -> str:
        """What is followed, in words."""
        return self._live_name

    @property
    def lines_per_second(self) -> float:
        """Of the last seconds."""
        if len(self._speed) < 2:
            return 0.0
        (then, before), (now, lines) = self._speed[0], self._speed[-1]
        return (lines - before) / (now - then) if now > then else 0.0

    @property
    def containers(self) -> int:
        """That are followed."""
        return len(self._live.flow.following) if self._live is not None and self.is_live else 0

    # -- both

    def stop(self) -> bool:
        """Ends what goes on; whether something did."""
        busy = self.is_live or (self.reading is not None and not self.reading.finished)
        self._stop.set()
        if self._live is not None and self.is_live:
            self._live.close()
        return busy

    def close(self) -> None:
        """Ends everything and deletes what was kept for it."""
        self.stop()
        for thread in self._threads:
            thread.join(timeout=1.0)
        if self._spool is not None:
            self._spool.cleanup()

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until captures were read; whether they were. For scripts."""
        end = None if seconds is None else time.monotonic() + seconds
        while self.reading is not None and not self.reading.finished:
            if end is not None and time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def diagnosis(self) -> Diagnosis:
        """What is wrong, of all that was read and of what is followed."""
        with self._lock:
            version, files = self._version, self._files
        cached = self._cached
        if cached is not None and cached[0] == version:
            return cached[1]
        seen = files + self._live.diagnosis.seen if self._live is not None else files
        diagnosis = Diagnosis(seen, self.catalogue)
        self._cached = (version, diagnosis)
        return diagnosis

    def standings(self) -> tuple[Standing, ...]:
        """How the failures of what is followed stand."""
        return self.watch.standings if self._live is not None else ()

    def paths(self) -> list[str]:
        """Everything that was read, as inputs that can be read again: captures, and what was kept of live lines."""
        live = self.live_folder
        return [*self.inputs, *([str(live)] if live is not None else [])]

    @property
    def live_folder(self) -> Path | None:
        """Where the lines of what is or was followed are kept."""
        folder = Path(self._spool.name) / "live" if self._spool is not None else None
        return folder if folder is not None and folder.exists() else None

    def reload(self, catalogue: Catalogue) -> None:
        """From now on with other patterns; what was read of captures is forgotten."""
        with self._lock:
            self.catalogue, self._files, self.inputs = catalogue, Findings(), []
            self._version += 1

    def say(self, text: str, kind: str = "info") -> None:
        """Leaves a message for the person."""
        self.messages.append(Message(text, kind))
        self.changed()

    def _start(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]
        thread.start()


class _Stopped(Exception):
    """A person wants no more of it."""


def _size(inputs: Sequence[str]) -> int | None:
    """Bytes of plain files; None when something else is among them."""
    total = 0
    for one in inputs:
        path = Path(one)
        files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
        for file in files:
            if not file.is_file() or file.suffix in (".gz", ".zst", ".bz2", ".xz", ".zip", ".tgz"):
                return None
            total += file.stat().st_size
    return total
