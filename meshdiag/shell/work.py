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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from meshdiag.capture import Capture
from meshdiag.catalogue import Catalogue
from meshdiag.cluster import Snapshot
from meshdiag.diagnosis import Diagnosis, Findings, correlate
from meshdiag.diagnosis.windows import LogClock, Phase, Standing, Watch
from meshdiag.engine.scan import Scanner
from meshdiag.model import Kind, MeshdiagError, Problem, Subject
from meshdiag.shell import inputs as inputs_
from meshdiag.sources import Stream, open_inputs
from meshdiag.sources.kubernetes.cursor import SECOND, stamp
from meshdiag.sources.live import Event, Gap, Lines
from meshdiag.views.amounts import plural

Key = tuple[str, Subject]

BLOCK = 1 << 18
"""Bytes of a capture that are looked at at once: while C code does that, no key is answered."""

RANK_SHARE = 10
"""Ranking what was found so far may take a tenth of the time."""

BEHIND_SECONDS = 5.0
"""For so long what was measured last is true."""

SPOOL_BYTES = 2 << 30
"""Bytes of live lines that are kept on disk for `lines` and `search`."""

END_SECONDS = 5.0
"""How long an end may take: what does not end in time is left behind."""


@dataclass(frozen=True, slots=True)
class Message:
    """Something that a person should know; `kind` is `info`, `warning`, `error` or `good`."""

    text: str
    kind: str = "info"


@dataclass
class Reading:
    """Captures that are being read: what was read of them, of how much (None: not known).

    stopped  a person wants no more of it
    dropped  what it finds counts no more
    """

    names: tuple[str, ...]
    done: int = 0
    total: int | None = None
    finished: bool = False
    stopped: bool = False
    dropped: bool = False


@dataclass
class Work:
    """The sources of one shell. Methods that begin something return at once."""

    catalogue: Catalogue
    changed: Callable[[], None] = lambda: None
    """Called from any thread when there is something new to see."""

    readings: list[Reading] = field(default_factory=list)
    messages: deque[Message] = field(default_factory=lambda: deque(maxlen=200))
    watched: set[Key] = field(default_factory=set)
    """Findings of which a person wants to hear when they are over, or there again."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._adding_up = threading.Lock()
        self._opened: dict[str, inputs_.Named] = {}
        self._parts: dict[str, Findings] = {}  # by the name of the input
        self._unfinished: set[str] = set()
        self._marked: Findings | None = None
        self._cached: tuple[int, Diagnosis] | None = None
        self._ranked = Diagnosis(Findings(), self.catalogue)
        self._rank_due = 0.0
        self._version = 0
        self._threads: list[threading.Thread] = []
        self._folders: dict[Path, tempfile.TemporaryDirectory[str]] = {}
        self._kept: dict[str, Path] = {}
        self._spool: Path | None = None
        self._live: Any = None
        self._live_name = ""
        self._ending = False
        self._behind = 0.0, 0.0
        self._speed: deque[tuple[float, int]] = deque()
        self.snapshot: Snapshot | None = None
        """The state of the cluster that findings are checked against."""

        self.context: str | None = None
        """The context of that cluster, "" for the current one; None when the state is of files."""

        self.watch, self.clock = Watch(), LogClock()

    # -- captures

    @property
    def inputs(self) -> list[str]:
        """Files and folders that were opened, by the names that they were given."""
        return list(self._opened)

    def open(self, inputs: Sequence[str], again: bool = False) -> None:
        """Reads captures in the background; with `again` also those that were opened before, in their place.

        Raises MeshdiagError for one that is not there, and when all of them were read already.
        """
        some = [inputs_.named(str(i)) for i in dict.fromkeys(inputs)]
        if not some:
            open_inputs([], lambda _: None)  # raises
        read = [one for one in some if self._is_read(one) and not (again and self._inside(one))]
        new = inputs_.outermost(one for one in some if one not in read)
        if not new:
            raise MeshdiagError(f"{', '.join(one.name for one in some)} is open already: reload reads everything again")
        for one in read:
            self.say(f"{one.name} is open already")
        reading = Reading(tuple(one.name for one in new))
        with self._lock:
            for one in new:  # what was read of a folder before the whole of it is part of that
                for name in self._inside(one):
                    del self._opened[name]
                    self._parts.pop(name, None)
                self._opened[one.name] = one
                self._unfinished.add(one.name)
            self._version += 1
        self.readings = [*(r for r in self.readings if not r.finished), reading]
        self._start(lambda: self._read(reading, new), "meshdiag-open")

    def _is_read(self, one: inputs_.Named) -> bool:
        """Whether it was read, or is going to be, and was not stopped."""
        going = {name for r in self.readings if not r.finished and not r.stopped for name in r.names}
        whole = {n: k for n, k in self._opened.items() if n not in self._unfinished or n in going}
        return inputs_.within(one.places, {p for known in whole.values() for p in known.places})

    def _inside(self, one: inputs_.Named) -> list[str]:
        """What was opened of it, or all of it."""
        return [name for name, known in self._opened.items() if inputs_.within(known.places, one.places)]

    def _read(self, reading: Reading, some: Sequence[inputs_.Named]) -> None:
        scanner = Scanner(self.catalogue, block=BLOCK)
        lines, lost = 0, set[Problem]()
        try:
            reading.total = inputs_.size([p for one in some for p in one.paths], lambda: reading.stopped)
            for one in some:
                problems: list[Problem] = []
                for stream in open_inputs(one.paths, problems.append):
                    if reading.stopped:
                        break
                    found = scanner.scan(_stoppable(stream, reading))
                    lines += found.lines
                    lost |= found.problems
                    self._add(reading, one, found)
                lost.update(problems)
                self._add(reading, one, Findings(problems=frozenset(problems)))
                if not reading.stopped and self._opened.get(one.name) is one:
                    self._unfinished.discard(one.name)
            if not reading.dropped:
                self._say_read(reading, lines, sorted(lost))
        except MeshdiagError as e:
            self.say(str(e), "error")
        except Exception as e:  # a thread has nobody else to tell
            self.say(f"reading {', '.join(reading.names)} failed: {type(e).__name__}: {e}", "error")
        finally:
            reading.finished = True
            self.changed()

    @property
    def reading(self) -> Reading | None:
        """A capture that is being read; when none is, the last one."""
        some = self.readings
        return next((r for r in some if not r.finished), some[-1] if some else None)

    def _say_read(self, reading: Reading, lines: int, lost: Sequence[Problem]) -> None:
        names = ", ".join(reading.names)
        failures = [f for f in self._rank().failures if not f.explained_by]
        causes = f"{plural(len(failures), 'root cause')}: causes shows {'it' if len(failures) == 1 else 'them'}"
        if reading.stopped:
            self.say(
                f"stopped reading {names} after {plural(lines, 'line')}, which count: open reads it anew",
                "warning",
            )
        elif not lines:
            why = min(lost, key=lambda p: "nothing to read" in p.what, default=None)  # where there is a reason, that
            told = "it is empty" if why is None else why.what if why.where == names else str(why)
            self.say(f"nothing could be read of {names}: {told}", "warning")
        else:
            unread = f", {plural(len(lost), 'thing')} could not be read" if lost else ""
            self.say(
                f"read {names}: {plural(lines, 'line')}{unread}, {causes if failures else 'no failure found'}",
                "warning" if failures or lost else "good",
            )

    def _add(self, reading: Reading, one: inputs_.Named, found: Findings) -> None:
        with self._lock:
            if reading.dropped or self._opened.get(one.name) is not one:
                return
            self._parts[one.name] = self._parts.get(one.name, Findings()) + found
            if self._marked is not None:
                self._marked += found
            self._version += 1
        if time.monotonic() >= self._rank_due:
            self._rank()
        self.changed()

    def _rank(self) -> Diagnosis:
        """Ranks what was found so far, for those who look at `latest`."""
        began = time.monotonic()
        diagnosis = self.diagnosis()
        diagnosis.findings  # noqa: B018  computed once
        self._ranked = diagnosis
        now = time.monotonic()
        self._rank_due = now + max(1.0, RANK_SHARE * (now - began))
        return diagnosis

    # -- live

    def follow(self, name: str, **options: Any) -> None:
        """Follows live logs in the background, with the options of `meshdiag.tail`. Raises MeshdiagError for wrong ones."""
        from meshdiag.tailing import tail

        if self._ending:
            self._join("meshdiag-live")
        if self.is_live:
            raise MeshdiagError(f"{self._live_name} is followed already: stop ends that")
        inputs = options.pop("inputs", ())
        if "-" in inputs:
            raise MeshdiagError("standard input is where commands come from: meshdiag tail - follows it")
        folder = self._folder("live")
        try:
            live = tail(*inputs, save=(capture := Capture(folder, SPOOL_BYTES)), catalogue=self.catalogue, **options)
        except MeshdiagError:
            self._delete(folder)
            raise
        if (old := self._spool) is not None:  # what was followed before counts no more
            self._delete(old)
        with self._lock:
            self._opened.pop(str(old), None)
            self._parts.pop(str(old), None)
            self._spool, self._live, self._live_name, self._ending = folder, live, name, False
            self._version += 1
        self._speed.clear()
        self.watch, self.clock = Watch(), LogClock()
        self._start(lambda: self._follow(name, live, capture), "meshdiag-live")

    def _follow(self, name: str, live: Any, capture: Capture) -> None:
        full = False

        async def run() -> None:
            nonlocal full
            async with contextlib.aclosing(live.steps(matches=False)) as steps:
                async for step in steps:
                    if capture.is_full and not full:
                        full = True
                        kept = f"{SPOOL_BYTES / (1 << 30):.1f} GiB"
                        self.say(
                            f"{kept} of lines are kept, and no more: lines and search do not see newer ones", "warning"
                        )
                    self._step(step, live.flow.lines)

        try:
            asyncio.run(run())
            self.say(f"{name} is no longer followed")
        except MeshdiagError as e:
            self.say(str(e), "error")
        except Exception as e:  # a thread has nobody else to tell
            self.say(f"following {name} failed: {type(e).__name__}: {e}", "error")
        finally:
            self._live_name = ""
            self.changed()

    def _step(self, step: Any, lines: int) -> None:
        """What a moment brought."""
        now = time.monotonic()
        for event in step.events:
            if isinstance(event, Gap):
                self.say(f"gap in {event.origin}: {event.why}", "warning")
            elif isinstance(event, Problem):
                self.say(str(event), "warning")
        if (late := _late(step.events)) is not None:
            self._behind = now, late
        self._speed.append((now, lines))
        while len(self._speed) > 2 and self._speed[0][0] < now - 5:
            self._speed.popleft()
        if step.findings is not None:
            self.clock.saw(step.findings.last, now)
            with self._lock:
                if self._marked is not None:
                    self._marked += step.findings
                self._version += 1
            if now >= self._rank_due:
                self._tell_turns(now)
            self.changed()

    def _tell_turns(self, now: float) -> None:
        diagnosis = self._rank()
        before = {(s.finding.cause, s.finding.subject) for s in self.watch.standings if s.phase is not Phase.OVER}
        if self.watched:  # a second client makes an edge a service
            owner = correlate.grouped(diagnosis.seen.tallies, diagnosis.catalogue).owner
            with self._lock:
                self.watched = {owner.get(key, key) for key in self.watched}
        for standing in self.watch.changes(diagnosis, self.clock.time(now)):
            finding = standing.finding
            if (finding.cause, finding.subject) not in self.watched:
                continue
            if standing.phase is Phase.OVER:
                self.say(f"over: {finding.cause} of {finding.subject}, {plural(finding.count, 'line')}", "good")
            elif standing.phase is Phase.AGAIN:
                self.say(f"there again: {finding.cause} of {finding.subject}", "warning")
        for finding in diagnosis.findings:
            key = finding.cause, finding.subject
            if finding.kind is not Kind.FAILURE and key in self.watched and key in before:
                self.say(f"over: {finding.cause} of {finding.subject}, it was part of a start", "good")

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
    def behind(self) -> float:
        """Seconds between the time at which lines that come now were written, and now."""
        when, late = self._behind
        return late if time.monotonic() - when < BEHIND_SECONDS else 0.0

    @property
    def containers(self) -> int:
        """That are followed."""
        return len(self._live.flow.following) if self._live is not None and self.is_live else 0

    # -- the state of the cluster

    def look(self, name: str, sources: Sequence[str], **options: Any) -> None:
        """Loads a snapshot in the background, with the options of `meshdiag.cluster.load`; findings are then checked against it."""
        self._start(lambda: self._look(name, sources, options), "meshdiag-cluster")

    def _look(self, name: str, sources: Sequence[str], options: dict[str, Any]) -> None:
        from meshdiag.cluster import load

        try:
            snapshot = load(*sources, **options)
        except MeshdiagError as e:
            self.say(str(e), "error")
            return
        except Exception as e:  # a thread has nobody else to tell
            self.say(f"looking at {name} failed: {type(e).__name__}: {e}", "error")
            return
        is_live = not sources or "live" in sources
        self.check_against(snapshot, str(options.get("context", "")) if is_live else None)
        unread = f", {plural(len(snapshot.unread), 'kind')} not read" if snapshot.unread else ""
        self.say(
            f"{snapshot.source or name}: {plural(len(snapshot.objects), 'object')}{unread}; check says what is wrong",
            "good",
        )

    def check_against(self, snapshot: Snapshot | None, context: str | None = None) -> None:
        """From now on findings are checked against this state, of a live cluster when it has a context; None: against none."""
        with self._lock:
            self.snapshot, self.context = snapshot, context
            self._version += 1
        self.changed()

    # -- both

    def stop(self) -> bool:
        """Ends what goes on; whether something did."""
        busy = self.is_live or any(not r.finished for r in self.readings)
        for reading in self.readings:
            reading.stopped = True
        if self._live is not None and self.is_live:
            self._ending = True
            self._live.close()
        return busy

    def close(self) -> None:
        """Ends everything and deletes what was kept for it."""
        self.stop()
        self._join("")
        for path in list(self._folders):
            self._delete(path)

    def _join(self, name: str) -> None:
        """Waits a little for the threads of a name ("": all) to end."""
        end = time.monotonic() + END_SECONDS
        for thread in self._threads:
            if thread.name.startswith(name):
                thread.join(timeout=max(0.0, end - time.monotonic()))

    def wait(self, seconds: float | None = None) -> bool:
        """Waits until captures were read; whether they were. For scripts."""
        end = None if seconds is None else time.monotonic() + seconds
        while any(not r.finished for r in self.readings):
            if end is not None and time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def diagnosis(self) -> Diagnosis:
        """What is wrong, of all that was read and of what is followed."""
        with self._adding_up:
            with self._lock:
                version, parts, live, catalogue = self._version, list(self._parts.values()), self._live, self.catalogue
                snapshot = self.snapshot
            if self._cached is not None and self._cached[0] == version:
                return self._cached[1]
            seen = Findings.sum([*parts, *([live.diagnosis.seen] if live is not None else [])])
            diagnosis = Diagnosis(seen, catalogue, snapshot=snapshot)
            self._cached = (version, diagnosis)
            return diagnosis

    @property
    def latest(self) -> Diagnosis:
        """The last diagnosis that was ranked, perhaps some seconds old: had at once, for what is asked with every key."""
        cached = self._cached
        return cached[1] if cached is not None and "findings" in vars(cached[1]) else self._ranked

    def mark(self) -> Diagnosis:
        """What is wrong now; from now on `since_mark` is about what comes."""
        with self._lock:
            self._marked = Findings()
        return self.diagnosis()

    def since_mark(self) -> Diagnosis:
        """What is wrong, of what was read and came since the mark."""
        with self._lock:
            return Diagnosis(self._marked or Findings(), self.catalogue, snapshot=self.snapshot)

    def tell_about(self, key: Key | None) -> None:
        """From now on it is told when this finding is over, or there again; None: nothing is told any more."""
        with self._lock:
            self.watched = set() if key is None else self.watched | {key}

    def standings(self) -> tuple[Standing, ...]:
        """How the failures of what is followed stand."""
        return self.watch.standings if self.is_live else ()

    def paths(self) -> list[str]:
        """Everything that was read, as inputs that can be read again: captures, and what was kept of live lines."""
        some = [path for one in list(self._opened.values()) for path in one.paths]
        live = self.live_folder
        return some if live is None or str(live) in self._opened else [*some, str(live)]

    @property
    def live_folder(self) -> Path | None:
        """Where the lines of what is or was followed are kept."""
        return self._spool if self._spool is not None and self._spool.exists() else None

    def keep(self, name: str, text: str) -> str:
        """The path of a file with a text, which lasts as long as the shell does; one of a name."""
        path = self._kept[name] = self._kept.get(name) or self._folder(name)
        path.write_text(text, encoding="utf-8")
        return str(path)

    def reload(self, catalogue: Catalogue) -> list[str]:
        """From now on with other patterns: reads everything again; what that is.

        Raises MeshdiagError while a mesh is followed: that was begun with the old patterns.
        """
        if self.is_live:
            raise MeshdiagError(f"{self._live_name} is followed: stop, then reload reads its lines again")
        live = self.live_folder
        names = [*self._opened, *([str(live)] if live is not None and str(live) not in self._opened else [])]
        for reading in self.readings:
            reading.stopped = reading.dropped = True
        with self._lock:
            self.catalogue, self._live, self._marked, self._cached = catalogue, None, None, None
            self._opened.clear()
            self._parts.clear()
            self._version += 1
        self._ranked = Diagnosis(Findings(), catalogue)
        there = []
        for name in names:
            try:
                inputs_.named(name)
                there.append(name)
            except MeshdiagError as e:
                self.say(f"{e}: it counts no more", "warning")
        if there:
            self.open(there)
        return there

    def say(self, text: str, kind: str = "info") -> None:
        """Leaves a message for the person."""
        self.messages.append(Message(text, kind))
        self.changed()

    def _folder(self, name: str) -> Path:
        """A path in a new folder, which is deleted in the end."""
        folder = tempfile.TemporaryDirectory(prefix="meshdiag-", ignore_cleanup_errors=True)
        path = Path(folder.name) / name
        self._folders[path] = folder
        return path

    def _delete(self, path: Path) -> None:
        self._folders.pop(path).cleanup()

    def _start(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]
        thread.start()


def _late(events: Sequence[Event]) -> float | None:
    """How long ago the last lines of some events were written, by the kubelet's clock: of that which came latest."""
    stamps = [stamp(e.data, e.data.rfind(b"\n", 0, -1) + 1) for e in events if isinstance(e, Lines) and e.origin.pod]
    known = [s for s in stamps if s is not None]
    return max(0.0, time.time() - min(known) / SECOND) if known else None


class _Stoppable:
    """A file that ends when its reading is stopped, and counts what was read."""

    def __init__(self, file: BinaryIO, reading: Reading) -> None:
        self._file, self._reading = file, reading

    def readinto(self, view: memoryview) -> int:
        """As of the file."""
        if self._reading.stopped:
            return 0
        n: int = self._file.readinto(view)  # type: ignore[attr-defined]
        self._reading.done += n
        return n

    def __enter__(self) -> _Stoppable:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _stoppable(stream: Stream, reading: Reading) -> Stream:
    return replace(stream, open=lambda: _Stoppable(stream.open(), reading))  # type: ignore[return-value, arg-type]
