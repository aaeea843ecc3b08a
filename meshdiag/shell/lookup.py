"""Lines of captures: those of a finding, those in which an expression is found, each with the lines around it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import regex

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import Finding, Findings, correlate
from meshdiag.diagnosis.subjects import subject_of
from meshdiag.engine.scan import Scanner
from meshdiag.model import Match, MeshdiagError
from meshdiag.sources import Stream, open_inputs

LINE_BYTES = 1 << 16
BLOCK = 1 << 20
SEARCH_SECONDS = 5.0
"""How long one expression may work on one block."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line (or record) where it stands, and the lines before and behind it."""

    path: str
    offset: int
    text: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass
class Looked:
    """What a search has found so far; `stop` ends it."""

    lines: list[LogLine] = field(default_factory=list)
    total: int = 0
    stop: Callable[[], bool] = lambda: False


def lines_of(
    finding: Finding,
    paths: Sequence[str],
    seen: Findings,
    catalogue: Catalogue,
    limit: int,
    looked: Looked,
    around: int = 0,
) -> Looked:
    """The first `limit` records of a finding among captures, in the order of the files, with `around` lines around each.

    `seen` is what the finding was made of: it tells which lines were grouped under it.
    """
    owner = correlate.grouped(seen.tallies, catalogue).owner
    key = (finding.cause, finding.subject)

    def take(match: Match) -> None:
        if match.cause != finding.cause:
            return
        pattern = catalogue.by_id[match.pattern]
        own = (match.cause, subject_of(match.record, pattern, match.captures))
        if owner.get(own, own) != key:
            return
        looked.total += 1
        if len(looked.lines) < limit:
            looked.lines.append(LogLine(match.record.origin.path, match.record.offset, match.record.text))

    scanner = Scanner(catalogue, on_match=take)
    for stream in _streams(paths):
        first = len(looked.lines)
        scanner.scan(stream, lambda _: _check(looked))
        if around:
            looked.lines[first:] = _with_context(stream, looked.lines[first:], around)
    return looked


def search(expression: str, paths: Sequence[str], limit: int, looked: Looked, around: int = 0) -> Looked:
    """The first `limit` lines of captures in which an expression (module `regex`) is found, and how many there are.

    Raises MeshdiagError for an expression that is none, or that takes too long.
    """
    try:
        find = regex.compile(expression.encode(), regex.MULTILINE)
    except (regex.error, UnicodeEncodeError) as e:
        raise MeshdiagError(f"{expression!r} is no regular expression: {e}") from None
    for stream in _streams(paths):
        for offset, line in _found(stream, find, looked):
            looked.total += 1
            if len(looked.lines) < limit:
                text = line[:LINE_BYTES].decode("utf-8", "replace")
                looked.lines.append(LogLine(stream.origin.path, offset, text))
        if around:
            own = [i for i, one in enumerate(looked.lines) if one.path == stream.origin.path]
            if own:
                looked.lines[own[0] :] = _with_context(stream, looked.lines[own[0] :], around)
    return looked


def _streams(paths: Sequence[str]) -> Iterator[Stream]:
    return open_inputs(paths, lambda _: None) if paths else iter(())


def _check(looked: Looked) -> None:
    if looked.stop():
        raise KeyboardInterrupt


def _found(stream: Stream, find: regex.Pattern[bytes], looked: Looked) -> Iterator[tuple[int, bytes]]:
    """(offset, line) of the lines in which it is found."""
    base, rest = stream.start, b""
    with stream.open() as file:
        while True:
            _check(looked)
            data = file.read(BLOCK)
            block = rest + data
            end = len(block) if not data else block.rfind(b"\n") + 1
            if not end and len(block) > 4 * BLOCK:
                end = len(block)
            at = 0
            try:
                for m in find.finditer(block, 0, end, timeout=SEARCH_SECONDS):
                    if m.start() < at:
                        continue
                    start = block.rfind(b"\n", 0, m.start()) + 1
                    stop = block.find(b"\n", m.start(), end)
                    stop = end if stop < 0 else stop
                    yield base + start, block[start:stop].removesuffix(b"\r")
                    at = stop + 1
            except TimeoutError:
                raise MeshdiagError(f"the expression takes too long on {stream.origin.path}: make it simpler") from None
            base, rest = base + end, block[end:]
            if not data:
                return


def _with_context(stream: Stream, lines: Sequence[LogLine], around: int) -> list[LogLine]:
    """The lines of one stream with those around them."""
    wanted = sorted({line.offset for line in lines})
    before: dict[int, tuple[str, ...]] = {}
    after: dict[int, list[str]] = {}
    open_: list[int] = []
    last: deque[str] = deque(maxlen=around)
    offset, at = stream.start, 0
    with stream.open() as file:
        rest = b""
        while at < len(wanted) or open_:
            data = file.read(BLOCK)
            block = rest + data
            *whole, rest = block.split(b"\n") if data else [*block.split(b"\n"), b""]
            for raw in whole:
                text = raw[:LINE_BYTES].decode("utf-8", "replace")
                for o in open_:
                    after[o].append(text)
                open_ = [o for o in open_ if len(after[o]) < around]
                if at < len(wanted) and wanted[at] == offset:
                    before[offset], after[offset] = tuple(last), []
                    open_.append(offset)
                    at += 1
                last.append(text)
                offset += len(raw) + 1
            if not data:
                break
    return [
        replace(line, before=before.get(line.offset, ()), after=tuple(after.get(line.offset, ()))) for line in lines
    ]
