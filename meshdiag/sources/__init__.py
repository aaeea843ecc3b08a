"""Inputs to streams of bytes with their origin: files, folders, globs, stdin, archives, bundles, URLs.

    for stream in open_inputs(["bug-report.tar.gz"], problems.append):
        with stream.open() as data:
            ...

Streams of paths, URLs and lists can be opened any number of times, in any order, in another process; those of one
compressed archive are cheapest in order. What can be read only once (stdin, a pipe, an open file, an iterator) must be
read while iterating: when it is an archive or a dump, a stream is gone once the next one has been asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from meshdiag.model import Problem
from meshdiag.sources import expand
from meshdiag.sources.base import LOG, STATE, Stream, total_size
from meshdiag.sources.expand import Input
from meshdiag.sources.limits import Limits
from meshdiag.sources.opener import Opener
from meshdiag.sources.progress import Progress
from meshdiag.sources.ranges import split
from meshdiag.sources.session import Session
from meshdiag.sources.walk import streams

__all__ = ["LOG", "STATE", "Input", "Limits", "Progress", "Stream", "open_inputs", "split", "total_size"]


def open_inputs(
    inputs: Iterable[Input],
    problems: Callable[[Problem], None],
    *,
    roles: Iterable[str] = (LOG,),
    limits: Limits | None = None,
) -> Iterator[Stream]:
    """The streams of the inputs, lazily, in a deterministic order (folders sorted, archives as written).

    An input is a path, folder or glob (str or Path), `-`, an open file (binary or text), an iterable of lines, or a
    URL for fsspec. Each file counts once, however often it is named or linked. `problems` gets everything that
    could not be read, also while streams are read. `roles=("log", "state")` adds the files that a layout knows as
    cluster state.

    Raises MeshdiagError, at once, for no inputs and for one that is not there or that may not be read.
    """
    checked = expand.check(inputs)
    return _streams(checked, Session(problems), frozenset(roles), limits or Limits())


def _streams(inputs: list[Input], session: Session, roles: frozenset[str], limits: Limits) -> Iterator[Stream]:
    seen: set[tuple[int, int]] = set()
    for one in inputs:
        known, given, other = len(seen), 0, 0
        for found in expand.roots(one, session, seen):
            opener = Opener(found.root, found.label, (), limits, session)
            for stream in streams(opener, found.size):
                if stream.role in roles:
                    given += 1
                    yield stream
                else:
                    other += 1
        if not given and (other or len(seen) > known or not expand.is_file(one)):
            # "Nothing found" and "nothing looked at" are different answers.
            what = "holds cluster state, no logs" if other else "nothing to read in it"
            hint = "give logs, or what holds them" + "; --cluster takes state" * bool(other)
            session.report(expand.name(one), what, hint)
