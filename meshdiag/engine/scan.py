"""Scan a stream: blocks of bytes -> candidate lines -> records -> findings. A healthy line never becomes an object.

Memory is bounded by the block; a line longer than a block is cut, counted and said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, BinaryIO

from meshdiag import formats
from meshdiag.catalogue import NONE, Catalogue, Pattern
from meshdiag.catalogue.conditions import number, search
from meshdiag.diagnosis import signals
from meshdiag.diagnosis.bounded import bottom_k
from meshdiag.diagnosis.findings import MAX_EDGES, Findings, place_of
from meshdiag.diagnosis.subjects import component_of, facts_of, subject_of, subject_of_access
from meshdiag.engine import prefilter
from meshdiag.engine.classify import Classifier, Decision
from meshdiag.engine.dense import Dense, Known
from meshdiag.engine.shapes import shape_of
from meshdiag.engine.traffic import EXACT, clusters
from meshdiag.formats import container
from meshdiag.formats.access import NAME as ACCESS_LOG
from meshdiag.formats.access import cluster_fields
from meshdiag.formats.base import UNPARSED
from meshdiag.formats.wrappers import WEB_BLANKS
from meshdiag.model import Kind, Match, Origin, Problem, Record
from meshdiag.sources.base import Stream

BLOCK = 4 << 20
LINE_LIMIT = 1 << 16
"""Characters of a line, and of a record with its continuation lines, that are looked at."""

CONTINUATION_LINES = 200
FIRST_SAMPLE = 16 << 10
"""Bytes at the beginning of a file whose lines are looked at only to tell formats and times."""

GRID = 256 << 10
"""And of the rest the line that holds each multiple of this offset; for the time span also the last line."""

PASTED = 1 << 20
"""Bytes at the beginning of a file in which each line with a blank of a web page is looked at: no expression finds its words. What is
longer was not pasted."""

_WEB_BLANKS = tuple(blank.encode() for blank in WEB_BLANKS)

_KUBELET_TIME = len("2026-11-22T23:32:13.455026000Z ")

ALARMING_LEVELS = frozenset({"warning", "error", "critical"})


@dataclass(frozen=True, slots=True)
class Filters:
    """Which records count. Times are aware; names are compared exactly; `grep` is searched in their text. None and empty mean all."""

    since: datetime | None = None
    until: datetime | None = None
    namespaces: frozenset[str] = frozenset()
    pods: frozenset[str] = frozenset()
    grep: str = ""

    def passes(self, record: Record, time: datetime | None) -> bool:
        """Whether the record counts; `time` stands in for a record without one."""
        if not self.in_time(record.time or time):
            return False
        if self.namespaces and namespace_of(record) not in self.namespaces:
            return False
        return (not self.pods or record.origin.pod in self.pods) and self.finds(record.text)

    def finds(self, text: str) -> bool:
        """Whether `grep` is found in a text; no expression can hang."""
        return not self.grep or search(self.grep, text) is not None

    def in_time(self, when: datetime | None) -> bool:
        """Whether a time is within the limits; an unknown one is."""
        return when is None or not ((self.since and when < self.since) or (self.until and when > self.until))

    def unplaced(self, record: Record) -> bool:
        """Whether a record does not tell what a filter asks for."""
        return bool((self.namespaces and not namespace_of(record)) or (self.pods and not record.origin.pod))


def namespace_of(record: Record) -> str:
    """The namespace a record is about: an event and an analyzer's message name it themselves."""
    own = record.fields.get("namespace", "") if record.format in ("event", "analysis") else ""
    return own or record.origin.namespace


class Scanner:
    """Scans streams with one catalogue. Not to be shared between threads.

    access_log  parser of an access log format of the user's, tried before the built-in ones
    pure        do without Hyperscan
    on_match    called with every match, beside counting it
    """

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        access_log: Callable[[str], Record | None] | None = None,
        filters: Filters = Filters(),
        pure: bool = False,
        on_match: Callable[[Match], None] | None = None,
        block: int = BLOCK,
    ) -> None:
        self.catalogue = catalogue
        wanted = prefilter.expressions(catalogue, custom_access=access_log is not None)
        self.prefilter = prefilter.make(wanted, pure=pure)
        self.classifier = Classifier(catalogue, self.prefilter, wanted)
        self.filters = filters
        self.signals = catalogue.signals
        self.failing = frozenset(c.id for c in catalogue.causes.values() if c.kind is Kind.FAILURE)
        self.access_log = access_log
        self._on_match = on_match
        self._block = block
        self._buffer = bytearray(2 * block)

    def scan(self, stream: Stream, progress: Callable[[int], None] | None = None) -> Findings:
        """All that one stream shows. What cannot be read is a problem in the result."""
        found = Findings()
        try:
            with stream.open() as reader:
                self._scan(stream, reader, found, progress)
                # of a stream that was sent to this process: its own list of what went wrong
                found.problems |= frozenset(getattr(reader, "problems", ()))
        except (OSError, EOFError, ValueError) as e:
            found.problems |= {
                Problem(stream.origin.path, f"cannot be read to its end: {e}", "the part before it was used")
            }
        return Findings() + found

    def _scan(self, stream: Stream, reader: BinaryIO, found: Findings, progress: Callable[[int], None] | None) -> None:
        buffer = self._buffer
        view = memoryview(buffer)
        base, fill, skipping, error = stream.start, 0, False, None
        part = self.part(stream.origin, found)
        while True:
            try:
                got, eof = _fill(reader, view, fill, fill + self._block)
            except _Broken as e:  # what came before it counts
                got, eof, error = e.got, True, e
            found.bytes += got
            if progress:
                progress(got)
            end = fill + got
            if skipping:  # inside a line that was too long: drop it up to its end
                newline = buffer.find(b"\n", 0, end)
                if newline < 0 and not eof:
                    base, fill = base + end, 0
                    continue
                start = newline + 1 if newline >= 0 else end
                buffer[: end - start] = buffer[start:end]
                base, end, skipping = base + start, end - start, False
            keep = end if eof else part.cut(buffer, end)
            if keep == 0 and end + self._block > len(buffer):  # one line fills the buffer
                cut = f"a line longer than {self._block >> 10} KiB was cut"
                found.problems |= {Problem(stream.origin.path, cut, "only its beginning was read")}
                found.lines += 1
                part.process(buffer, min(end, LINE_LIMIT), base)
                base, fill, skipping = base + end, 0, True
                continue
            if keep:
                found.lines += buffer.count(b"\n", 0, keep)
                part.process(buffer, keep, base, last=eof and stream.final)
                buffer[: end - keep] = buffer[keep:end]
            base, fill = base + keep, end - keep
            if eof:
                if keep and buffer[keep - 1] != 0x0A:
                    found.lines += 1
                break
        part.finish()
        if error is not None:
            raise error.cause

    def part(self, origin: Origin, found: Findings) -> Part:
        """Looks at the blocks of one stream in turn, and counts into `found`."""
        return Part(self, origin, found)

    @property
    def listens(self) -> bool:
        """Whether somebody wants to hear of every match."""
        return self._on_match is not None

    # -- one record

    def strip(self, line: str) -> formats.Unwrapped:
        """The line without its wrappers; a format of the user's may begin like one."""
        return formats.strip(line, self.access_log)

    def parse(self, text: str) -> Record:
        """The record of a text, by the user's access log format first."""
        if self.access_log is not None and (record := self.access_log(text)) is not None:
            return record
        return formats.detect(text)

    def take(self, record: Record, found: Findings, time: datetime | None) -> bool:
        """Classify a record and count it; whether a failure was recognised."""
        if not self.filters.passes(record, time):
            if self.filters.unplaced(record) and self.classifier.decide(record) is not None:
                found.unplaced += 1
            return True
        decision = self.classifier.decide(record)
        if decision is None:
            if alarming(record):
                found.add_unrecognised(record, shape_of(record))
            return False
        pattern, cause, captures = decision
        if pattern.id in self.signals:
            found.add_signal(record, signal_name(pattern, cause, captures))
        if cause == NONE:
            found.harmless += 1
            return False
        match = Match(record, pattern.id, cause, captures)
        subject = subject_of(record, pattern, captures)
        failing = cause in self.failing
        found.add_match(match, subject, facts_of(record, captures, subject), failing)
        if self._on_match:
            self._on_match(match)
        return failing


def alarming(record: Record) -> bool:
    """Whether a record that no pattern knows must be shown: warning or worse, a 5xx, or one that could not be read."""
    if UNPARSED in record.fields:
        return True
    if record.format == "access-log":
        code = number(record.fields.get("response_code"))
        return "response_flags" in record.fields or (code is not None and code >= 500)
    if record.format == "event":
        return record.fields.get("type") == "Warning"
    return record.level in ALARMING_LEVELS and record.format != "text"


def signal_name(pattern: Pattern, cause: str, captures: Mapping[str, str]) -> signals.Name:
    """Under which name a match counts for sequences, timelines, "what changed", and which version runs."""
    detail = captures.get("changed") or captures.get("version") or ""
    return pattern.id, cause, detail[: signals.DETAIL_CHARS]


class _Broken(Exception):
    """Reading failed after `got` bytes."""

    def __init__(self, got: int, cause: Exception) -> None:
        super().__init__(str(cause))
        self.got, self.cause = got, cause


def _fill(reader: BinaryIO, view: memoryview, start: int, stop: int) -> tuple[int, bool]:
    """Read into view[start:stop] until it is full; (bytes, end of file). Raises _Broken."""
    at = start
    readinto = getattr(reader, "readinto", None)
    while at < stop:
        try:
            if readinto is not None:
                n = readinto(view[at:stop]) or 0
            else:
                data = reader.read(stop - at)
                n = len(data)
                view[at : at + n] = data
        except (OSError, EOFError, ValueError) as e:
            raise _Broken(at - start, e) from e
        if n == 0:
            return at - start, True
        at += n
    return at - start, False


class Part:
    """The candidate lines of one stream, block by block."""

    def __init__(self, scanner: Scanner, origin: Origin, found: Findings) -> None:
        self.scanner = scanner
        self.origin = origin
        self.found = found
        self._origins: dict[tuple[str, str, str], Origin] = {}
        self._component = component_of(origin)
        plain = scanner.access_log is None and scanner.filters == Filters() and not scanner.listens
        self._dense: Dense | None = None
        if plain:
            place = place_of(Record(ACCESS_LOG, "", origin=origin))
            self._dense = Dense(scanner.classifier, found, origin, place, self._whole)
        self.time: datetime | None = None
        self._counts = scanner.filters == Filters()

    def finish(self) -> None:
        """Count what waits to be counted."""
        if self._dense is not None:
            self._dense.flush()

    def count_in(self, found: Findings) -> None:
        """From now on count into these findings; `finish` comes first."""
        self.found = found
        if self._dense is not None:
            self._dense.count_in(found)

    def cut(self, buffer: bytearray, end: int) -> int:
        """Where the block ends: before its last record, whose continuation lines may still come. 0: no line end."""
        return self.last_record(buffer, end) or buffer.rfind(b"\n", 0, end) + 1

    def last_record(self, buffer: bytearray, end: int) -> int:
        """Where the last record of buffer[:end] begins, which lines that come may continue; the end of its lines for none."""
        stop = buffer.rfind(b"\n", 0, end) + 1
        start = stop
        described = stop  # of a container's block, and of the description that names its pod
        for i in range(container.BLOCK_LINES + container.ABOVE_LINES):
            if start <= 0 or stop - start > LINE_LIMIT:
                break
            start = buffer.rfind(b"\n", 0, start - 1) + 1
            text = self.scanner.strip(_decode(buffer, start, buffer.find(b"\n", start, stop))).text
            if text.startswith("Name:"):
                return start
            if container.depth_of_head(text) is not None:
                described = start if described == stop and i < container.BLOCK_LINES else described
            elif i < CONTINUATION_LINES and formats.is_head(self.scanner.strip(_decode(buffer, start, stop)).text):
                return start
        return described

    def process(self, buffer: bytearray, end: int, base: int, last: bool = False) -> None:
        """Look at the candidates of buffer[:end]; `last` says that the file ends there."""
        self.block, self.end, self.base = buffer, end, base
        self.done = self.floor = self._explained = self._unexplained = 0
        self._ahead: tuple[int, formats.Unwrapped, Record] | None = None
        self._sample()
        if self.base < EXACT and self._counts:
            self._count_requests()
        if last:
            self._see_last()
        hits = self.scanner.prefilter.ends(memoryview(buffer)[:end])
        if self.base < PASTED and (blanks := self._web_blanks(min(end, PASTED - self.base))):
            hits = sorted([*hits, *blanks])
        for hit in hits:
            if hit - 1 > self.done:  # the last byte of the hit, which may be the line's end
                start = buffer.rfind(b"\n", 0, hit - 1) + 1
                self.done = self._candidate(start, self._line_end(start))

    def _web_blanks(self, end: int) -> list[int]:
        """Offsets in the lines before `end` that hold a blank of a web page, one for each line and kind of blank."""
        found: list[int] = []
        for blank in _WEB_BLANKS:
            at = self.block.find(blank, 0, end)
            while at >= 0:
                found.append(at + len(blank))
                at = self.block.find(blank, self._line_end(at), end)
        return found

    def _line_end(self, start: int) -> int:
        found = self.block.find(b"\n", start, self.end)
        return self.end if found < 0 else found

    def _sample(self) -> None:
        """Formats and times of lines that are no candidates, from a few of them.

        Which ones depends on their offsets in the file alone, so that any division into blocks and ranges gives the same.
        """
        start = 0
        while start < self.end and self.base + start < FIRST_SAMPLE:
            start = self._examine(start) + 1
        for grid in range(-(-(self.base + start) // GRID) * GRID, self.base + self.end, GRID):
            at = grid - self.base
            if at >= start:
                start = self._examine(self.block.rfind(b"\n", 0, at) + 1) + 1

    def _see_last(self) -> None:
        start = self.block.rfind(b"\n", 0, max(0, self.end - 1)) + 1
        line = self.scanner.strip(_decode(self.block, start, self.end))
        record = self._placed(self.scanner.parse(line.text), line, start)
        self._saw(record)

    def _count_requests(self) -> None:
        """Requests of each edge, by the clusters of the lines that begin in the first EXACT bytes of the file."""
        stop = self.end
        if self.base + stop > EXACT:
            stop = self._line_end(EXACT - 1 - self.base)
        for head, cluster, n in clusters(self.block, stop):
            origin = self.origin
            if head:
                line = self.scanner.strip(head.decode("utf-8", "replace") + " [")
                origin = self._placed(Record("text", ""), line, 0).origin
            self._requests(origin, cluster_fields(cluster.decode("utf-8", "replace")), n)

    def _requests(self, origin: Origin, fields: Mapping[str, str], n: int) -> None:
        subject = subject_of_access(Record(ACCESS_LOG, "", fields=fields, origin=origin))
        traffic = self.found.traffic
        traffic[subject] = traffic.get(subject, 0) + n
        if len(traffic) > 2 * MAX_EDGES:
            self.found.traffic = bottom_k(traffic, MAX_EDGES)

    def _saw(self, record: Record) -> None:
        if self.scanner.filters.in_time(record.time):
            self.found.saw(record, record.time)

    def _examine(self, start: int) -> int:
        stop = self._line_end(start)
        if stop > start:
            line = self.scanner.strip(_decode(self.block, start, stop))
            record = self.scanner.parse(line.text)
            examined = self.found.examined
            name = record.format if record.encoding == "text" else f"{record.format} ({record.encoding})"
            for part in (name, *line.wrappers):
                examined[part] = examined.get(part, 0) + 1
            record = self._placed(record, line, start)
            self._saw(record)
            if (
                self.base + start >= EXACT
                and self._counts
                and record.fields.get("direction") in ("inbound", "outbound")
            ):
                # it was found by its length, so it stands for as many as would fill the distance
                self.found.estimated = True
                self._requests(record.origin, record.fields, max(1, GRID // (stop - start + 1)))
        return stop

    def _candidate(self, start: int, stop: int) -> int:
        """Take the record at a hit line; returns the offset behind what was taken."""
        if self._dense is not None:
            # "[": mostly an access line, bare or behind the kubelet's time, which says less than its own
            head = start + _KUBELET_TIME if self.block[start + 29 : start + 32] == b"Z [" else start
            if self.block[head] == 0x5B and self._dense.take(_decode(self.block, head, stop), self.base + start):
                return stop
        line, record = self._read(start, stop)
        if record.format == "text" and container.is_reason(line.text):
            if start < self._explained or self._take_container(start, line):
                return stop
            self._unexplained = start
        begin = start
        if line.partial or (line.wrappers and self._is_partial_before(start)):
            while begin and self._is_partial_before(begin):
                begin = self.block.rfind(b"\n", 0, begin - 1) + 1
        elif record.format == "text":
            before = self._begins_before(start)
            if before is None and line.text.strip() != "{":
                self._take(self._placed(record, line, start))
                return stop
            begin = start if before is None else before
        elif record.format not in formats.MULTILINE or record.encoding == "json" or self._head_follows(stop):
            self._take(self._placed(record, line, start))
            return stop
        return self._assembled(begin, start, stop)

    def _take_container(self, reason: int, hit: formats.Unwrapped) -> bool:
        """Take the block of `kubectl describe` that says whose reason this is; whether there is one.

        Its other lines are looked at as they come: only the reasons say less without it.
        """
        head = self._container_head(reason, hit)
        if head is None:
            return False
        begin, first = head
        lines, position = [first.text], self._line_end(begin) + 1
        while position < self.end:
            stop = self._line_end(position)
            line = self.scanner.strip(_decode(self.block, position, stop))
            below = lines[1] if len(lines) > 1 else line.text
            if not container.goes_on(first.text, below, lines[-1], line.text) or not _together(line, first):
                break
            if len(lines) >= container.BLOCK_LINES:
                break
            lines.append(line.text)
            position = stop + 1
        record = container.parse("\n".join(lines))
        if record is None:
            return False
        above = () if container.is_flat(*lines[:2]) else self._lines_above(begin, container.ABOVE_LINES)
        pod = container.pod_above(line.text for _, line in above)
        self._take(container.in_pod(self._placed(record, first, begin), pod))
        self._explained = position
        return True

    def _container_head(self, reason: int, hit: formats.Unwrapped) -> tuple[int, formats.Unwrapped] | None:
        """Offset and line of the name above a reason; everything between is deeper than it. Else the nearest one, where what stands
        below it was pasted without its indentation.
        """
        lowest, below = container.depth(hit.text), hit.text
        nearest: tuple[int, formats.Unwrapped] | None = None
        flat = False
        for start, line in self._lines_above(reason, container.BLOCK_LINES):
            if start < self._unexplained or not line.text.strip() or not _together(line, hit):
                break
            depth, named = container.depth(line.text), container.depth_of_head(line.text) is not None
            if depth < lowest:
                if named:
                    return start, line
                lowest = depth
            if named and nearest is None:
                nearest, flat = (start, line), container.is_flat(line.text, below)
            if not lowest and nearest is not None:
                break
            below = line.text
        return nearest if flat else None

    def _lines_above(self, start: int, most: int) -> Iterator[tuple[int, formats.Unwrapped]]:
        """The lines above an offset, the nearest first, and where they begin."""
        position = start
        for _ in range(most):
            if position <= 0 or start - position > LINE_LIMIT:
                return
            before = self.block.rfind(b"\n", 0, position - 1) + 1
            yield before, self.scanner.strip(_decode(self.block, before, position - 1))
            position = before

    def _whole(self, text: str, offset: int) -> Known | None:
        """Take an access line; where lines that agree with it may be counted, or None when each has to be taken."""
        line = self.scanner.strip(text)
        record = self._placed(self.scanner.parse(line.text), line, offset - self.base)
        self._take(record)
        decision = self.scanner.classifier.decide(record)
        get = record.fields.get
        if record.text != text or (decision is None and alarming(record)):
            return None
        if decision is None or decision[1] == NONE:
            return Known(None, harmless=decision is not None, signal=self._signal(decision))
        ends = get("direction") in ("outbound", "inbound")
        if not ends and (get("direction") or get("route_name") in ("block_all", "allow_any")):
            return None  # the subject is made of more than decides about the line
        pattern, cause, captures = decision
        subject = subject_of(record, pattern, captures)
        return Known(
            (cause, subject),
            pattern.id,
            facts_of(record, captures, subject),
            hop=(cause, subject, place_of(record)) if cause in self.scanner.failing else None,
            signal=self._signal(decision),
        )

    def _read(self, start: int, stop: int) -> tuple[formats.Unwrapped, Record]:
        if self._ahead is not None and self._ahead[0] == start:
            return self._ahead[1:]
        line = self.scanner.strip(_decode(self.block, start, stop))
        return line, self.scanner.parse(line.text)

    def _head_follows(self, stop: int) -> bool:
        """Whether the next line begins a record of its own, so that this one ends here: mostly so, and spares assembling."""
        start = stop + 1
        if start >= self.end:
            return False
        line, record = self._read(start, self._line_end(start))
        self._ahead = (start, line, record)
        return record.format != "text" and line.text[:1] not in (" ", "\t")

    def _assembled(self, begin: int, hit: int, stop: int) -> int:
        """Put the record together that the hit line belongs to, from the line where it may begin."""
        assembler = formats.Assembler(self.origin, self.scanner.access_log)
        fed: list[int] = []
        record, position, after = None, begin, stop
        while record is None and position < self.end and len(fed) < 2 * CONTINUATION_LINES:
            end = self._line_end(position)
            fed.append(position)
            whole = [r for r in assembler.feed(_decode(self.block, position, end), position) if r.offset <= hit]
            if position >= hit and whole:
                record = whole[-1]
                # the line that closed the record may be its last one, or the first of something new
                lines = fed[fed.index(record.offset) :] if record.offset in fed else fed
                inside = (
                    position == hit or record.text.count("\n") + 1 >= len(lines) or self._is_partial_before(position)
                )
                after = end if inside else position - 1
                if record.offset == hit and "\n" not in record.text:
                    after = stop  # its lines were held back for a block that was none: the others are still to come
            position = end + 1
        if record is None:
            record = next((r for r in reversed(assembler.flush()) if r.offset <= hit), None)
            after = min(position, self.end)
        if record is None:
            return stop
        failed = self._take(self._finished(record))
        if not failed and record.offset < hit:
            # a hit line below a record that says nothing failed, such as a pasted answer: on its own
            line = self.scanner.strip(_decode(self.block, hit, stop))
            self._take(self._placed(Record("text", line.text, message=line.text), line, hit))
        self.floor = max(self.floor, stop)
        return max(after, stop)

    def _signal(self, decision: Decision | None) -> signals.Name | None:
        if decision is None or decision[0].id not in self.scanner.signals:
            return None
        return signal_name(*decision)

    def _take(self, record: Record) -> bool:
        if record.time is not None:
            self.time = record.time
        return self.scanner.take(record, self.found, self.time)

    def _begins_before(self, start: int) -> int | None:
        """Where the record begins that a line without a head may continue: its head, or a lone brace."""
        position = start
        brace = None
        for _ in range(CONTINUATION_LINES):
            if position <= self.floor or start - position > LINE_LIMIT:
                break
            before = self.block.rfind(b"\n", 0, position - 1) + 1
            text = self.scanner.strip(_decode(self.block, before, position - 1)).text
            record = self.scanner.parse(text)
            if record.format != "text":
                return before if record.format in formats.MULTILINE else brace
            if text.strip() == "{" and brace is None:
                brace = before
            position = before
        if brace is None:
            self.floor = max(self.floor, start)
        return brace

    def _is_partial_before(self, start: int) -> bool:
        if start == 0:
            return False
        before = self.block.rfind(b"\n", 0, start - 1) + 1
        return bool(self.scanner.strip(_decode(self.block, before, start - 1)).partial)

    def _finished(self, record: Record) -> Record:
        """An assembled record with its offset in the file and the component that only its origin knows."""
        return replace(
            record,
            offset=self.base + record.offset,
            component=record.component or component_of(record.origin),
        )

    def _placed(self, record: Record, line: Any, start: int) -> Record:
        """The record with its origin, offset, and the time and component that only the wrapper knows."""
        origin = self.origin
        if line.pod or line.container or line.namespace:
            key = (line.namespace, line.pod, line.container)
            origin = self._origins.get(key) or replace(
                origin,
                namespace=line.namespace or origin.namespace,
                pod=line.pod or origin.pod,
                container=line.container or origin.container,
            )
            if len(self._origins) < 10_000:
                self._origins[key] = origin
        component = record.component or (self._component if origin is self.origin else component_of(origin))
        return Record(
            record.format,
            record.text,
            record.message,
            record.time or line.time,
            record.level,
            component,
            record.encoding,
            record.fields,
            origin,
            self.base + start,
        )


def _together(a: formats.Unwrapped, b: formats.Unwrapped) -> bool:
    return (a.namespace, a.pod, a.container) == (b.namespace, b.pod, b.container)


def _decode(block: bytearray, start: int, stop: int) -> str:
    if stop > start and block[stop - 1] == 0x0A:
        stop -= 1
    text = block[start : min(stop, start + LINE_LIMIT)].decode("utf-8", "replace")
    return text[:-1] if text.endswith("\r") else text


def classify(
    lines: Iterable[str | bytes],
    catalogue: Catalogue,
    access_log: Callable[[str], Record | None] | None = None,
) -> Iterator[Match]:
    """Matches of a stream of lines, as they come. Lazy: it reads one line ahead to see where a record ends."""
    wanted = prefilter.expressions(catalogue)
    classifier = Classifier(catalogue, prefilter.make(wanted), wanted)
    for record in formats.records(lines, access_log):
        match = classifier.match(record)
        if match is not None and match.cause:
            yield match
