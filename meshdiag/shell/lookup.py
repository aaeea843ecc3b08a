"""Lines of captures: those of a finding, those in which an expression is found, each with the lines around it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import regex

from meshdiag.diagnosis import Diagnosis, Finding
from meshdiag.diagnosis.findings import OTHERS
from meshdiag.diagnosis.incident import cells
from meshdiag.diagnosis.subjects import subject_of
from meshdiag.engine.scan import Scanner
from meshdiag.model import Match, MeshdiagError
from meshdiag.sources import Stream, open_inputs

LINE_BYTES = 1 << 16
"""Bytes of a line that are shown."""

KEPT_CHARS = 64 << 20
"""Characters of lines that are kept, whatever their number."""

BLOCK = 1 << 20
LONGEST = 4 << 20
"""Bytes of a line that are looked at together."""

SEARCH_SECONDS = 5.0
"""How long an expression may work on one block."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line (or record) where it stands, and the lines before and behind it.

    Lines around several stand with the first of them; `joined` says that nothing stands between this one and the one before.
    """

    path: str
    offset: int
    text: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    joined: bool = False


@dataclass
class Looked:
    """What a look has found so far; it ends early when `stop` says so, and is `stopped` then. `gone`: captures that are there no more."""

    lines: list[LogLine] = field(default_factory=list)
    total: int = 0
    stop: Callable[[], bool] = lambda: False
    stopped: bool = False
    gone: list[str] = field(default_factory=list)
    chars: int = 0

    def add(self, line: LogLine, limit: int) -> None:
        """Counts a line, and keeps it if there is room."""
        self.total += 1
        if len(self.lines) < limit and self.chars < KEPT_CHARS:
            self.chars += len(line.text)
            self.lines.append(line)


class _Stopped(Exception):
    """A person wants no more of it."""


def lines_of(
    finding: Finding, diagnosis: Diagnosis, paths: Sequence[str], limit: int, looked: Looked, around: int = 0
) -> Looked:
    """The first `limit` records of a finding among captures, in the order of the files, with `around` lines around each.

    `diagnosis` has the finding, and shows all: it tells which lines were grouped under it. What only a sequence tells has no lines.
    """
    catalogue, tallies = diagnosis.catalogue, diagnosis.seen.tallies
    own = (finding.cause, finding.subject)
    keys = {c.key for c in cells(diagnosis, diagnosis.findings) if (c.finding.cause, c.finding.subject) == own}

    def take(match: Match) -> None:
        if match.cause != finding.cause:
            return
        pattern = catalogue.by_id[match.pattern]
        key = (match.cause, subject_of(match.record, pattern, match.captures))
        if (key if key in tallies else (match.cause, OTHERS)) not in keys:
            return
        looked.add(LogLine(match.record.origin.path, match.record.offset, match.record.text), limit)

    scanner = Scanner(catalogue, on_match=take)

    def look(stream: Stream) -> None:
        scanner.scan(stream, lambda _: _check(looked))

    return _look(paths, look, looked, around)


def search(expression: str, paths: Sequence[str], limit: int, looked: Looked, around: int = 0) -> Looked:
    """The first `limit` lines of captures in which an expression (module `regex`) is found, and how many there are.

    Raises MeshdiagError for an expression that is none, or that takes too long.
    """
    find = _compiled(expression)

    def look(stream: Stream) -> None:
        for offset, line in _found(stream, find, looked):
            looked.add(LogLine(stream.origin.path, offset, _text(line)), limit)

    return _look(paths, look, looked, around)


def _look(paths: Sequence[str], look: Callable[[Stream], None], looked: Looked, around: int) -> Looked:
    """Looks through one stream after the other, and adds the lines around what was found in it."""
    try:
        for stream in _streams(paths, looked):
            _check(looked)
            first = len(looked.lines)
            look(stream)
            if around and len(looked.lines) > first:
                looked.lines[first:] = _with_context(stream, looked.lines[first:], around, looked)
    except _Stopped:
        looked.stopped = True
    return looked


def _streams(paths: Sequence[str], looked: Looked) -> Iterator[Stream]:
    """Those of the captures that are still there."""
    there = []
    for path in paths:
        try:
            open_inputs([path], lambda _: None)
            there.append(path)
        except MeshdiagError:
            looked.gone.append(path)
    return open_inputs(there, lambda _: None) if there else iter(())


def _check(looked: Looked) -> None:
    if looked.stop():
        raise _Stopped


# --- expressions


def _compiled(expression: str) -> Callable[[bytes], bool]:
    """Whether an expression is found in a line. What is plain ASCII needs no characters, only bytes."""
    try:
        if expression.isascii():
            search = regex.compile(expression.encode()).search
            return lambda line: search(line, timeout=SEARCH_SECONDS, concurrent=True) is not None
        find = regex.compile(expression).search
        return lambda line: find(line.decode("utf-8", "replace"), timeout=SEARCH_SECONDS, concurrent=True) is not None
    except (regex.error, RecursionError, OverflowError, ValueError, KeyError, TypeError, IndexError) as e:
        why = str(e) if isinstance(e, regex.error) else "it is too large or too deep"
        raise MeshdiagError(f"{expression[:80]!r} is no regular expression: {why}") from None


def _found(stream: Stream, find: Callable[[bytes], bool], looked: Looked) -> Iterator[tuple[int, bytes]]:
    """(offset, line) of the lines in which it is found."""
    try:
        for offset, lines in _blocks(stream, looked):
            end = time.monotonic() + SEARCH_SECONDS
            for raw in lines:
                if find(raw.removesuffix(b"\r")):
                    yield offset, raw
                offset += len(raw) + 1
                if time.monotonic() > end:
                    raise TimeoutError
    except TimeoutError:
        raise MeshdiagError(f"the expression takes too long on {stream.origin.path}: make it simpler") from None


# --- lines


def _blocks(stream: Stream, looked: Looked) -> Iterator[tuple[int, list[bytes]]]:
    """The lines of a stream without their ends, some at a time, and the offset of the first. A very long one comes in parts."""
    offset, rest = stream.start, b""
    with stream.open() as file:
        while data := file.read(BLOCK):
            _check(looked)
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > LONGEST:
                yield offset, lines
                offset += sum(map(len, lines)) + len(lines)
                yield offset, [rest]
                offset, rest = offset + len(rest), b""
            elif lines:
                yield offset, lines
                offset += sum(map(len, lines)) + len(lines)
    if rest:
        yield offset, [rest]


def _text(raw: bytes) -> str:
    return raw[:LINE_BYTES].removesuffix(b"\r").decode("utf-8", "replace")


def _with_context(stream: Stream, lines: Sequence[LogLine], around: int, looked: Looked) -> list[LogLine]:
    """The lines of one stream with those around them, none of them twice."""
    hits = {line.offset: line for line in lines}
    before: dict[int, tuple[str, ...]] = {}
    after: dict[int, list[str]] = {}
    joined: set[int] = set()
    last: deque[str] = deque(maxlen=around)
    near, inside, wanted, gap = -1, 0, 0, True  # the latest hit; lines of it, and behind it, that are still to come
    left = len(hits)
    for offset, raws in _blocks(stream, looked):
        for raw in raws:
            if (hit := hits.get(offset)) is not None:
                before[offset], after[offset] = tuple(last), []
                if near >= 0 and not gap:
                    joined.add(offset)
                near, inside, wanted, gap = offset, hit.text.count("\n"), around, False
                last.clear()
                left -= 1
            elif inside:  # a further line of the record
                inside -= 1
            elif wanted:
                after[near].append(_text(raw))
                wanted -= 1
            else:
                gap = gap or len(last) == around
                last.append(_text(raw))
            offset += len(raw) + 1
        if not left and not inside and not wanted:
            break
    return [
        replace(
            line,
            before=before.get(line.offset, ()),
            after=tuple(after.get(line.offset, ())),
            joined=line.offset in joined,
        )
        for line in lines
    ]
