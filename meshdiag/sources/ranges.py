"""Parts of a plain file that several processes can read at once."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from meshdiag.sources.base import Stream
from meshdiag.sources.opener import FileRoot, Opener

_LOOK = 1 << 16
_RECORD = 1 << 20
"""A record longer than this is cut."""


def split(stream: Stream, parts: int, begins: Callable[[bytes], bool] | None = None) -> list[Stream]:
    """At most `parts` streams that one after the other give what `stream` gives.

    Every line is in exactly one of them: they begin at line starts, at the file offset `Stream.start`. A stream that
    is not splittable, or that has vanished, comes back alone. `begins` says of a line (without its newline) whether
    a record begins with it: a cut then moves on to such a line, when there is one near.
    """
    opener = stream.open
    if not stream.splittable or parts < 2 or not isinstance(opener, Opener):
        return [stream]
    root = opener.root
    if not isinstance(root, FileRoot) or opener.steps:
        return [stream]
    try:
        with Path(root.path).open("rb", buffering=0) as file:
            size = file.seek(0, io.SEEK_END)
            end = size if root.end is None else min(root.end, size)
            length = max(0, end - root.start)
            cuts = {root.start, end}
            for part in range(1, parts):
                cut = _line_start(file, root.start + part * length // parts, root.start, end)
                cuts.add(_record_start(file, cut, end, begins) if begins else cut)
    except OSError:
        return [stream]
    edges = sorted(cuts)
    ranges = list(itertools.pairwise(edges)) or [(root.start, end)]
    return [
        replace(
            stream,
            open=replace(opener, root=FileRoot(root.path, a, b)),
            start=stream.start + a - root.start,
            size=b - a,
            final=stream.final and b == end,
        )
        for a, b in ranges
    ]


def _line_start(file: io.FileIO, at: int, start: int, end: int) -> int:
    """The first line start at or after `at`; `end` when there is none."""
    if at <= start:
        return start
    at -= 1  # a newline just before `at` makes it a line start
    while at < end:
        file.seek(at)
        data = file.read(min(_LOOK, end - at)) or b""
        if not data:
            break
        found = data.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(data)
    return end


def _record_start(file: io.FileIO, at: int, end: int, begins: Callable[[bytes], bool]) -> int:
    """The first line at or after the line start `at` with which a record begins; `at` when none is near."""
    file.seek(at)
    near = file.read(min(_RECORD, end - at)) or b""
    start = 0
    while start < len(near):
        stop = near.find(b"\n", start)
        if stop < 0:
            break
        if begins(near[start:stop]):
            return at + start
        start = stop + 1
    return at
