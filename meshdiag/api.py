"""`diagnose` and `classify`: the library's front door."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from meshdiag import formats
from meshdiag.catalogue import Catalogue
from meshdiag.catalogue.check import Failure
from meshdiag.catalogue.entries import Sequence as Sequence_
from meshdiag.cluster import Snapshot
from meshdiag.diagnosis import Diagnosis, Findings
from meshdiag.engine.scan import Filters, Scanner
from meshdiag.engine.scan import classify as _classify
from meshdiag.formats.access import with_format
from meshdiag.formats.operators import compile_format
from meshdiag.model import Match, MeshdiagError, Problem, Record
from meshdiag.sources import Progress, Stream, open_inputs, split

RANGE = 16 << 20
"""Bytes of a plain file that are worth a process's turn."""

AUTO_JOBS = 4
"""Processes at most when their number is left to us."""

AUTO_BYTES = 128 << 20
"""Bytes of plain files from which several processes are worth their start."""


def diagnose(
    *inputs: Any,
    patterns: Sequence[str | os.PathLike[str]] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    namespaces: Iterable[str] = (),
    pods: Iterable[str] = (),
    access_log_format: str | None = None,
    jobs: int | None = 1,
    catalogue: Catalogue | None = None,
    pure: bool = False,
    progress: bool = False,
    cluster: Snapshot | str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
) -> Diagnosis:
    """Diagnose captured logs.

    inputs             paths, globs, folders, archives, "-", open files, iterables of lines, fsspec URLs
    patterns           folders of further pattern packs
    since, until       only records in this time (a naive time is UTC); records without a time go with their neighbours
    namespaces, pods   only records of these
    access_log_format  an Envoy access log format string or JSON mapping, besides Istio's defaults
    jobs               processes; 0 means one for each CPU; None as many as are worth it; the result is the same
    catalogue          a loaded catalogue, instead of the built-in one with `patterns`
    pure               do without Hyperscan (slower, same result)
    progress           show a progress bar on stderr when it is a terminal and the input is long
    cluster            the state of the cluster, which confirms or refutes findings: a `Snapshot`, "live", or files that
                       `meshdiag.cluster.load` reads

    Returns a Diagnosis. Raises MeshdiagError for input that is not there, a broken pattern pack or format string;
    what else cannot be read is a problem in the result.
    """
    if not inputs:
        raise MeshdiagError("nothing to diagnose: name a file, a folder, an archive, or - for standard input")
    snapshot = _snapshot(cluster)
    book = catalogue or Catalogue.load(*patterns)
    setup = Setup(
        tuple(os.fspath(p) for p in patterns),
        access_log_format,
        Filters(aware(since), aware(until), frozenset(namespaces), frozenset(pods)),
        pure,
    )
    problems: list[Problem] = []
    streams = open_inputs(inputs, problems.append)
    plain = all(isinstance(i, (str, os.PathLike)) and Path(i).is_file() for i in inputs)
    workers = _workers(jobs, inputs if plain else ())
    parts = _scan(streams, setup, book, workers, progress, plain, catalogue is not None)
    found = Findings.sum(parts)
    if found.unplaced:
        what = f"{found.unplaced:,} records do not name their namespace or pod and were left out"
        problems.append(Problem("filter", what, "leave -n and --pod away to see them"))
    return Diagnosis(found + Findings(problems=frozenset(problems)), book, snapshot=snapshot)


def _snapshot(cluster: Snapshot | str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None) -> Snapshot | None:
    if cluster is None or isinstance(cluster, Snapshot):
        return cluster
    from meshdiag.cluster import load

    sources = [cluster] if isinstance(cluster, (str, os.PathLike)) else cluster
    return load(*sources)


def classify(
    lines: Iterable[str | bytes],
    patterns: Sequence[str | os.PathLike[str]] = (),
    access_log_format: str | None = None,
    catalogue: Catalogue | None = None,
) -> Iterator[Match]:
    """Matches of a stream of lines (any iterable of str or bytes), lazily, in order; healthy and benign ones too.

    Raises MeshdiagError for a broken pattern pack or format string.
    """
    return _classify(lines, catalogue or Catalogue.load(*patterns), access_parser(access_log_format))


def check_sequences(catalogue: Catalogue, sequences: Iterable[Sequence_]) -> Iterator[Failure]:
    """Every example in which a sequence does not hold, and every near miss in which it does."""
    for s in sequences:
        for wanted, texts in ((True, s.examples), (False, s.near_misses)):
            for text in texts:
                found = diagnose(text.splitlines(), catalogue=catalogue).findings
                holds = any(f.cause == s.cause and any(e.text == s.says for e in f.evidence) for f in found)
                if holds is not wanted:
                    what = "the example does not hold" if wanted else "the near miss holds"
                    yield Failure(s.id, f"{s.file}:{s.line}", what, text)


def aware(time: datetime | None) -> datetime | None:
    """The time with a zone: a naive one is UTC."""
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time


def access_parser(spec: str | None) -> Callable[[str], Record | None] | None:
    """A parser for an access log format of the user's, or None."""
    return with_format(compile_format(spec)) if spec else None


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker process needs to make its own scanner."""

    patterns: tuple[str, ...]
    access_log_format: str | None
    filters: Filters
    pure: bool

    def scanner(self, catalogue: Catalogue | None = None) -> Scanner:
        """A scanner of this setup."""
        return Scanner(
            catalogue or Catalogue.load(*self.patterns),
            access_log=access_parser(self.access_log_format),
            filters=self.filters,
            pure=self.pure,
        )


def _workers(jobs: int | None, files: Sequence[Any]) -> int:
    """How many processes; left to us, several only for plain files that are long enough to pay for their start."""
    if jobs is not None and jobs > 0:
        return jobs
    cpus = os.cpu_count() or 1
    if jobs == 0:
        return cpus
    long = sum(Path(f).stat().st_size for f in files) >= AUTO_BYTES
    return min(cpus, AUTO_JOBS) if long else 1


def _scan(
    streams: Iterator[Stream],
    setup: Setup,
    catalogue: Catalogue,
    workers: int,
    progress: bool,
    plain: bool,
    given: bool,
) -> Iterator[Findings]:
    if workers <= 1 or given:  # a catalogue made by hand is not sent to other processes
        scanner = setup.scanner(catalogue)
        with Progress(enabled=progress) as bar:
            known: Iterable[Stream] = list(streams) if plain else streams
            for size in [s.size for s in known] if isinstance(known, list) else ():
                bar.expect(size)  # a bar with an end needs all sizes beforehand
            for stream in known:
                yield scanner.scan(stream, bar.advance)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    scanner = setup.scanner(catalogue)
    here = Findings()

    def tasks() -> Iterator[Stream]:
        nonlocal here
        for stream in streams:
            bar.expect(stream.size)
            if _sendable(stream):
                yield from _ranges(stream, workers)
            else:  # standard input, an open file: gone when the next stream is asked for
                here = here + scanner.scan(stream, bar.advance)

    global _worker
    # a forked worker has the scanner already; elsewhere it makes its own
    forks = "fork" in multiprocessing.get_all_start_methods() and sys.platform == "linux"
    context = multiprocessing.get_context("fork" if forks else "spawn")
    _worker = scanner
    start = (None if forks else setup,)
    bar = Progress(enabled=progress)
    try:
        with bar, ProcessPoolExecutor(workers, context, initializer=_start, initargs=start) as pool:
            for part in pool.map(_work, tasks()):
                bar.advance(part.bytes)
                yield part
    finally:
        _worker = None
    yield here


def _sendable(stream: Stream) -> bool:
    import pickle

    try:
        pickle.dumps(stream)
    except Exception:  # whatever an open file or a generator raises when it is pickled
        return False
    return True


def _ranges(stream: Stream, workers: int) -> list[Stream]:
    if not stream.splittable or (stream.size or 0) < 2 * RANGE:
        return [stream]
    return split(stream, min(2 * workers, (stream.size or 0) // RANGE), formats.begins_record)


_worker: Scanner | None = None


def _start(setup: Setup | None) -> None:
    global _worker
    if setup is not None:
        _worker = setup.scanner()


def _work(stream: Stream) -> Findings:
    assert _worker is not None
    return _worker.scan(stream)
