"""`tail`: a mesh as it is now. Lines of live sources, classified as they come.

async for match in meshdiag.tail(namespaces=["shop"]): ...      # in a coroutine
for match in meshdiag.tail(namespaces=["shop"]): ...            # in a plain script
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import queue
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from meshdiag.api import access_parser, aware
from meshdiag.capture import Capture
from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import Diagnosis, Findings
from meshdiag.diagnosis.windows import Windows
from meshdiag.engine.live import LiveScanner
from meshdiag.engine.scan import Filters, Scanner
from meshdiag.model import Match, MeshdiagError, Origin, Problem
from meshdiag.ordering import Reorder
from meshdiag.sources.following import Files
from meshdiag.sources.kubernetes.access import accesses
from meshdiag.sources.kubernetes.collector import MAX_STREAMS, Kubernetes
from meshdiag.sources.kubernetes.follower import Start
from meshdiag.sources.kubernetes.select import Selection, check
from meshdiag.sources.live import Ended, Event, Gap, Lines, LiveSource, Opened, collected
from meshdiag.sources.piped import Pipe

STEP_SECONDS = 0.2
STEP_BYTES = 1 << 20
"""Lines are looked at after so many seconds, or as soon as there are so many bytes of them."""

FINDINGS_SECONDS = 1.0
WINDOW = timedelta(hours=1)
KEPT = 1_000
"""Gaps and problems that a Tail remembers."""


def tail(
    *inputs: Any,
    namespaces: Iterable[str] = (),
    all_namespaces: bool = False,
    contexts: Iterable[str] = (),
    kubeconfig: str | os.PathLike[str] | None = None,
    selector: str = "",
    field_selector: str = "",
    revision: str = "",
    containers: Iterable[str] = (),
    exclude: Iterable[str] = (),
    app: bool = False,
    since: datetime | timedelta | None = None,
    tail_lines: int | None = None,
    duration: float | None = None,
    wait: bool = False,
    max_streams: int | None = None,
    as_user: str = "",
    as_groups: Iterable[str] = (),
    save: str | os.PathLike[str] | Capture | None = None,
    grep: str = "",
    ordered: float | None = None,
    window: timedelta | None = WINDOW,
    patterns: Sequence[str | os.PathLike[str]] = (),
    access_log_format: str | None = None,
    catalogue: Catalogue | None = None,
    pure: bool = False,
) -> Tail:
    """Follow logs and classify them as they are written.

    inputs              of a cluster: pods and workloads (`deploy/reviews`, `reviews-*`; none: all that the other options select);
                        or local: paths of files or folders to follow, "-" or an open binary file to read to its end; or
                        any live source (an object with `follow`, see `meshdiag.sources.live`)
    namespaces          of these; without them (and not `all_namespaces`) of the context's namespace, as kubectl
    contexts            of the kubeconfig, several for a mesh of several clusters; none: the current one, or the pod's own cluster
    kubeconfig          a path, in place of $KUBECONFIG and ~/.kube/config
    selector, field_selector   as kubectl's -l and --field-selector
    revision            only pods of this revision of Istio
    containers          names (globs), in place of those of the mesh; `app` adds the application's beside a proxy
    exclude             globs on pods, workloads, containers, `namespace/pod`
    since, tail_lines   from where on: a time (a naive one is UTC) or so long ago; so many lines of each log; default: all there is
    duration            seconds, then it ends; None: until it is closed, or its inputs end
    wait                wait for pods when nothing matches at the start
    max_streams         containers that are followed at once (default 2,000); the least important ones beyond it are left out, and said
    as_user, as_groups  impersonation, as kubectl's --as
    save                a new folder, to which all lines are written: a capture that `diagnose` reads
    grep                only records in whose text this regular expression is found (the module `regex`)
    ordered             seconds by which a match may be held so that matches come in the order of their times; None: as they come
    window              `Tail.diagnosis` is of the last hour, or of so long; None: of all
    patterns, access_log_format, catalogue, pure   as for `diagnose`

    Returns a Tail. Raises MeshdiagError for what is wrong with the arguments, the kubeconfig or the patterns; what is found out only
    when the work has begun (the cluster cannot be reached, nothing matches) is raised by the first step of the iteration.
    """
    start = datetime.now(UTC) - since if isinstance(since, timedelta) else aware(since)
    sources, names = _local(inputs, tail_lines)
    filters = Filters(since=start if sources else None, grep=grep)
    _check_expression(grep)
    selection = Selection(
        namespaces=tuple(namespaces),
        all_namespaces=all_namespaces,
        selector=selector,
        field_selector=field_selector,
        names=names,
        revision=revision,
        containers=tuple(containers),
        exclude=tuple(exclude),
        app=app,
    )
    clusters = tuple(contexts)
    if not sources or clusters or selection != Selection():
        check(selection)
        reached = accesses(kubeconfig, clusters, as_user, tuple(as_groups))
        limit = MAX_STREAMS if max_streams is None else max(1, max_streams)
        sources += [
            Kubernetes(a, selection, Start(start, tail_lines), len(reached) > 1, wait, max_streams=limit)
            for a in reached
        ]
    if access_log_format:
        access_parser(access_log_format)  # raises for a broken one
    scanning = _Scanning(catalogue or Catalogue.load(*patterns), access_log_format, filters, pure)
    return Tail(sources, scanning, duration=duration, save=save, ordered=ordered, window=window)


def _local(inputs: Sequence[Any], tail_lines: int | None) -> tuple[list[LiveSource], tuple[str, ...]]:
    """The sources of inputs that are not in a cluster, and the names of those that may be."""
    sources: list[LiveSource] = []
    paths: list[str] = []
    names: list[str] = []
    for one in inputs:
        if one == "-":
            sources.append(Pipe())
        elif isinstance(one, (str, os.PathLike)):
            text = os.fspath(one)
            (paths if not isinstance(one, str) or is_local(text) else names).append(text)
        elif hasattr(one, "follow"):
            sources.append(one)
        elif hasattr(one, "read"):
            name = getattr(one, "name", "")
            sources.append(Pipe(one, name if isinstance(name, str) and name else "-"))
        else:
            what = type(one).__name__
            raise MeshdiagError(f"cannot follow {what}: give a name, a path, -, an open file or a live source")
    if paths:
        sources.append(Files(paths, tail_lines))
    return sources, tuple(names)


def _check_expression(text: str) -> None:
    import regex

    try:
        regex.compile(text)
    except regex.error as e:
        raise MeshdiagError(f"{text!r} is no regular expression: {e}") from None


def is_local(text: str) -> bool:
    """Whether an input is a path or standard input, not something in a cluster; also a path that is not there."""
    looks = (
        text == "-" or text.startswith(("/", "./", "../", "~")) or text.endswith((".log", ".txt", ".json", ".jsonl"))
    )
    return looks or Path(text).exists() or any(Path().glob(text) if "*" in text or "?" in text else ())


@dataclass(frozen=True, slots=True)
class _Scanning:
    """What a scanner is made of."""

    catalogue: Catalogue
    access_log_format: str | None
    filters: Filters
    pure: bool

    def scanner(self, on_match: Callable[[Match], None] | None) -> Scanner:
        parse = access_parser(self.access_log_format)
        return Scanner(
            self.catalogue, access_log=parse, filters=self.filters, pure=self.pure, on_match=on_match, block=1 << 16
        )


@dataclass(frozen=True, slots=True)
class Step:
    """What a moment brought: events as they came, matches (when they were asked for), and now and then new findings."""

    events: tuple[Event, ...] = ()
    matches: tuple[Match, ...] = ()
    findings: Findings | None = None


@dataclass
class Flow:
    """How much comes: origins that are followed, lines and bytes so far, gaps, problems (the latest of each)."""

    following: dict[Origin, None] = field(default_factory=dict)
    lines: int = 0
    bytes: int = 0
    gaps: list[Gap] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def saw(self, event: Event) -> None:
        """Counts an event."""
        match event:
            case Lines(_, _, data):
                self.lines += data.count(b"\n")
                self.bytes += len(data)
            case Opened(origin):
                self.following[origin] = None
            case Ended(origin):
                self.following.pop(origin, None)
            case Gap():
                self.gaps = [*self.gaps[-KEPT:], event]
            case Problem():
                self.problems = [*self.problems[-KEPT:], event]


class Tail:
    """Live logs. Iterate over its matches, with `async for` or `for`; it ends when it is closed, at its time, or with its inputs.

    `diagnosis` is at any time what is wrong now, `flow` how much comes, `flow.gaps` and `flow.problems` what could not be had. It can be
    iterated once. `with` and `async with` close it; so does the end of the iteration.
    """

    def __init__(
        self,
        sources: Sequence[LiveSource],
        scanning: _Scanning,
        *,
        duration: float | None = None,
        save: str | os.PathLike[str] | Capture | None = None,
        ordered: float | None = None,
        window: timedelta | None = WINDOW,
    ) -> None:
        self.catalogue = scanning.catalogue
        self.flow = Flow()
        self._sources, self._scanning = sources, scanning
        self._duration, self._save, self._ordered = duration, save, ordered
        self._windows = Windows(scanning.catalogue, window)
        self._begun = False
        self._stop: Callable[[], object] | None = None
        self._closed = False

    @property
    def diagnosis(self) -> Diagnosis:
        """What is wrong, of what was found so far (of the last `window`)."""
        return self._windows.diagnosis()

    async def steps(self, matches: bool = True) -> AsyncGenerator[Step, None]:
        """All that happens, a moment at a time. Without `matches` failing lines are only counted, which is much faster.

        Raises MeshdiagError when a source cannot be read at all.
        """
        if self._begun:
            raise MeshdiagError("a tail is iterated once: make another one")
        self._begun = True
        stopped = asyncio.Event()
        self._stop = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, stopped.set)
        if self._closed:
            return
        found: list[Match] = []
        lost: set[Problem] = set()
        scanner = self._scanning.scanner(found.append if matches else None)
        live = LiveScanner(scanner, time.monotonic)
        capture: Any = self._save
        if not isinstance(capture, Capture):
            capture = contextlib.nullcontext() if capture is None else Capture(capture)
        end = None if self._duration is None else time.monotonic() + self._duration
        due = 0.0
        with capture as saving:
            async with collected(self._sources) as events:
                while not events.closed and not stopped.is_set() and (end is None or time.monotonic() < end):
                    some = await events.gather(STEP_BYTES, STEP_SECONDS)
                    for event in some:
                        self.flow.saw(event)
                        if isinstance(event, (Gap, Problem)):
                            lost.add(_problem(event))
                        if saving is not None:
                            saving.write(event)
                    _look(live, some)
                    live.release()
                    now = time.monotonic()
                    findings = None
                    if now >= due:
                        findings = self._add(live, lost, now)
                        # a diagnosis of much takes its time; a tenth of it may go into that
                        due = now + max(FINDINGS_SECONDS, 10 * (time.monotonic() - now))
                        if saving is not None:
                            saving.flush()
                    if some or found or findings is not None:
                        step = Step(tuple(some), tuple(found), findings)
                        found.clear()
                        yield step
            for origin in live.origins():
                live.end(origin)
            yield Step((), tuple(found), self._add(live, lost, time.monotonic()))

    def _add(self, live: LiveScanner, lost: set[Problem], now: float) -> Findings:
        found = live.take() + Findings(problems=frozenset(lost))
        lost.clear()
        self._windows.add(found, now)
        return found

    # -- the two ways to iterate

    def __aiter__(self) -> AsyncIterator[Match]:
        return self._matches()

    async def _matches(self) -> AsyncGenerator[Match, None]:
        order: Reorder[Match] | None = None if self._ordered is None else Reorder(self._ordered)
        async with contextlib.aclosing(self.steps()) as steps:
            async for step in steps:
                if order is None:
                    for match in step.matches:
                        yield match
                    continue
                now = time.monotonic()
                for match in step.matches:
                    order.feed(match, match.record.time, now)
                for match in order.release(now):
                    yield match
        if order is not None:
            for match in order.flush():
                yield match

    def __iter__(self) -> Iterator[Match]:
        """The matches in a plain script: the work is done in a thread, which ends with the iteration."""
        box: queue.Queue[list[Match] | BaseException | None] = queue.Queue(maxsize=4)
        gone = threading.Event()

        async def work() -> None:
            loop = asyncio.get_running_loop()
            async with contextlib.aclosing(self._matches_in_steps()) as steps:
                async for some in steps:
                    if gone.is_set():
                        return
                    try:
                        box.put_nowait(some)
                    except queue.Full:
                        await loop.run_in_executor(None, _put, box, some, gone)

        def thread() -> None:
            try:
                asyncio.run(work())
                _put(box, None, gone)
            except BaseException as e:  # handed on to whoever iterates
                _put(box, e, gone)

        worker = threading.Thread(target=thread, name="meshdiag-tail", daemon=True)
        worker.start()
        try:
            while True:
                some = box.get()
                if some is None:
                    return
                if isinstance(some, BaseException):
                    raise some
                yield from some
        finally:
            gone.set()
            self.close()
            worker.join(timeout=2.0)

    async def _matches_in_steps(self) -> AsyncGenerator[list[Match], None]:
        """As `_matches`, by the moment; empty ones, too, so that whoever waits can see that he is no longer wanted."""
        if self._ordered is None:
            async with contextlib.aclosing(self.steps()) as steps:
                async for step in steps:
                    yield list(step.matches)
            return
        async with contextlib.aclosing(self._matches()) as matches:
            async for match in matches:
                yield [match]

    def close(self) -> None:
        """Ends the iteration, from any thread; it gives what it has and stops."""
        self._closed = True
        if self._stop is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended
                self._stop()

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Tail:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


def _put(box: queue.Queue[Any], item: Any, gone: threading.Event) -> None:
    while not gone.is_set():
        with contextlib.suppress(queue.Full):
            box.put(item, timeout=0.2)
            return


def _look(live: LiveScanner, events: Sequence[Event]) -> None:
    """Feeds lines, those of one origin together; what an origin has said comes before its end."""
    pieces: dict[Origin, list[Lines]] = {}

    def feed(some: list[Lines]) -> None:
        data = some[0].data if len(some) == 1 else b"".join(s.data for s in some)
        live.feed(Lines(some[0].origin, some[0].offset, data))

    for event in events:
        match event:
            case Lines(origin):
                pieces.setdefault(origin, []).append(event)
            case Ended(origin):
                if origin in pieces:
                    feed(pieces.pop(origin))
                live.end(origin)
    for some in pieces.values():
        feed(some)


def _problem(event: Gap | Problem) -> Problem:
    if isinstance(event, Problem):
        return event
    length = f" of {event.seconds:.1f} s" if event.seconds is not None else ""
    times = " to ".join(t.strftime("%H:%M:%S.%f")[:-3] + "Z" if t else "?" for t in (event.since, event.until))
    return Problem(event.origin.path, f"gap{length} ({times}): {event.why}")
