"""Lines to Records: wrappers off, partial lines joined, continuation lines put to their record.

A record of a multiline format (a NACK's details, YAML, a stack trace, protobuf text) takes the lines behind it that
have no head of their own. It ends at a blank line, at the next head, at a shell prompt, a panic, the answer of a curl
or another plain beginning, at a line of another pod or container, at Envoy's `thread=N`, and after 200 lines or 64 KiB.

A JSON object and a container's block of `kubectl describe` are held back until they are whole; if they turn out to be
neither, their lines are lines again. Of a container's block they are so in any case, but for the reasons that it explains:
an argument or a message may be a log line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from meshdiag.formats import container
from meshdiag.formats._common import LIMIT
from meshdiag.formats._registry import MULTILINE, detect, is_head
from meshdiag.formats.answer import NAME as ANSWER
from meshdiag.formats.answer import as_text, goes_on
from meshdiag.formats.envoy_log import NAME as ENVOY
from meshdiag.formats.envoy_log import is_complete, is_unfinished
from meshdiag.formats.wrappers import Unwrapped, strip
from meshdiag.lazyre import lazy
from meshdiag.model import Origin, Record

MAX_LINES = 200
MAX_PENDING = 64

# A plain line that certainly is something of its own.
_PLAIN_HEAD = lazy(
    # prompts, separators of grep, headers of kubectl's tables
    r"[$%] |[#>] (?:kubectl|istioctl|curl|docker|helm|oc)\b|[\w.@-]{1,64}:[~/][^ ]{0,200}[$#] |--\Z"
    r"|(?:NAME|NAMESPACE|LAST SEEN) {2,}|Name: {3,}[a-z0-9]|(?:Init |Ephemeral )?Containers:\Z"
    # the end of a Go program, and what commands print
    r"|panic: |fatal error: |Error: |error: |Error from server|command terminated with exit code|PARSE ERROR: "
    # curl, its headers, and the bodies of Envoy's local replies (Envoy 1.36 to 1.40)
    r"|curl: \(\d|HTTP/[12]|[<>] (?:HTTP/|[A-Z]{3,7} /|[\w-]{1,40}: )|\* (?:Connected|Trying|Connection|Host |TLS)"
    r"|upstream connect error or disconnect/reset|upstream request timeout|no healthy upstream|stream timeout"
    r"|RBAC: access denied|Jwt (?:is|issuer|header|verification|payload)|Jwks |Audiences in Jwt|fault filter abort"
    r"|local_rate_limited|envoy overloaded|maintenance mode|Client sent an HTTP request to an HTTPS server"
)

AccessParser = Callable[[str], Record | None]


def continues(line: str) -> bool:
    """Can this unwrapped line belong to the multiline record before it? Not a blank line, head, prompt or answer."""
    if not line.strip() or _PLAIN_HEAD.match(line):
        return False
    if line[0] in " \t":  # indented: only the rows of `kubectl describe` are heads
        inner = line.lstrip()
        return not (inner.startswith(("Warning", "Normal")) and is_head(inner))
    return not is_head(line)


def begins_record(line: str | bytes) -> bool:
    """Does this line, wrapped as it may be, begin a record of a structured format?"""
    return is_head(strip(_decoded(line)).text)


def _decoded(line: str | bytes) -> str:
    return line if isinstance(line, str) else line.decode("utf-8", "replace")


@dataclass(slots=True)
class _Open:
    """A record that may go on."""

    first: Unwrapped
    offset: int
    lines: list[str]
    size: int
    record: Record
    unfinished: bool

    @property
    def place(self) -> tuple[str, str, str]:
        return _place(self.first)


@dataclass(slots=True)
class _Partial:
    """A line of which the runtime wrote the beginning."""

    first: Unwrapped
    offset: int
    parts: list[str]
    size: int


@dataclass(slots=True)
class _Block:
    """A JSON object that stands on several lines, or (`pod` is not None) the block of a container: of that pod, if known."""

    indent: str
    lines: list[tuple[int, Unwrapped]] = field(default_factory=list)
    size: int = 0
    pod: Mapping[str, str] | None = None


class Assembler:
    """Feed it lines of one stream in their order, then flush. Bounded memory; never raises on any text."""

    def __init__(self, origin: Origin = Origin(""), access_log: AccessParser | None = None) -> None:  # noqa: B008 frozen
        self._origin = origin
        self._access_log = access_log
        self._open: _Open | None = None
        self._partial: dict[tuple[str, str, str, str], _Partial] = {}
        self._block: _Block | None = None
        self._pod: Mapping[str, str] = {}
        self._pod_lines = 0

    @property
    def idle(self) -> bool:
        """Whether no line before is held, so that a line that begins a record stands for itself."""
        return not (self._open or self._partial or self._block or self._pod)

    def feed(self, line: str, offset: int = 0) -> list[Record]:
        """Takes a line (with or without its end of line) that stands at `offset`; gives what is complete."""
        found = strip(line, self._access_log)
        out: list[Record] = []
        above = self._described(found.text)
        if found.partial or self._partial:
            joined = self._join(found, offset, out)
            if joined is None:
                return out
            offset, found = joined
        self._line(found, offset, out, above)
        return out

    def _described(self, text: str) -> Mapping[str, str]:
        """The pod in whose description the line stands."""
        if self._pod or text.startswith("Name:"):
            self._pod = container.described(self._pod, text)
            self._pod_lines = 0 if text.startswith("Name:") else self._pod_lines + 1
            if self._pod_lines > container.ABOVE_LINES:
                self._pod = {}
        return self._pod

    def flush(self) -> list[Record]:
        """What is left at the end of the stream; the assembler can be used again."""
        out: list[Record] = []
        for part in self._partial.values():
            self._line(_whole(part), part.offset, out)
        self._partial = {}
        if self._block is not None and self._block.pod is not None:
            self._end_container(self._block, out)
        self._give_up(out)
        self._close(out)
        self._pod = {}
        return out

    def _join(self, found: Unwrapped, offset: int, out: list[Record]) -> tuple[int, Unwrapped] | None:
        """Partial lines: the whole line once its end is there, else None."""
        key = (*_place(found), found.stream)
        part = self._partial.get(key)
        # A runtime cuts at 16 KiB. A short piece before a new head is a line that lost its end, or was never cut.
        if part is not None and part.size < 8192 and is_head(found.text):
            del self._partial[key]
            self._line(_whole(part), part.offset, out)
            part = None
        if part is None:
            if not found.partial:
                return offset, found
            if len(self._partial) >= MAX_PENDING:
                oldest = next(iter(self._partial))
                lost = self._partial.pop(oldest)
                self._line(_whole(lost), lost.offset, out)
            self._partial[key] = _Partial(found, offset, [found.text], len(found.text))
            return None
        if part.size < LIMIT:
            part.parts.append(found.text[: LIMIT - part.size])
            part.size += len(found.text)
        if found.partial:
            return None
        del self._partial[key]
        return part.offset, _whole(part)

    def _line(self, found: Unwrapped, offset: int, out: list[Record], pod: Mapping[str, str] | None = None) -> None:
        block = self._block
        if block is not None and block.pod is not None:
            if self._in_container(block, found, offset):
                return
            self._end_container(block, out)
            block = None
        if block is not None:
            self._in_block(found, offset, out)
        elif container.depth_of_head(found.text) is not None and (
            self._open is None or not self._continues(self._open, found)
        ):
            self._close(out)
            self._block = _Block("", [(offset, found)], len(found.text), pod or {})
        elif found.text.strip() == "{" and (self._open is None or not self._continues(self._open, found)):
            self._close(out)
            self._block = _Block(_indent(found.text), [(offset, found)])
        else:
            self._single(found, offset, out)

    def _single(self, found: Unwrapped, offset: int, out: list[Record]) -> None:
        current = self._open
        if current is not None:
            if self._continues(current, found):
                current.lines.append(found.text)
                current.size += len(found.text) + 1
                if current.record.format == ENVOY and is_complete(found.text):
                    self._close(out)
                return
            self._close(out)
        if not found.text.strip():
            return
        self._begin(found, offset, self._detect(found.text), out)

    def _begin(self, found: Unwrapped, offset: int, record: Record, out: list[Record]) -> None:
        record = self._placed(record, found, offset)
        goes_on = record.format in MULTILINE and record.encoding == "text"
        if not goes_on or (record.format == ENVOY and is_complete(record.text)):
            out.append(record)
        else:
            unfinished = record.format == ENVOY and is_unfinished(record)
            self._open = _Open(found, offset, [found.text], len(found.text), record, unfinished)

    def _detect(self, text: str) -> Record:
        if self._access_log is not None and (record := self._access_log(text)) is not None:
            return record
        return detect(text)

    def _continues(self, current: _Open, found: Unwrapped) -> bool:
        text = found.text
        if len(current.lines) >= MAX_LINES or current.size + len(text) > LIMIT or _place(found) != current.place:
            return False
        if not text.strip() and current.record.format == ANSWER:  # a page that puts a blank line behind every line
            return len(current.lines) == 1 or not current.lines[1].strip()
        if not text.strip():  # inside protobuf text; only where we know that the end is still to come
            return current.unfinished and len(current.lines) > 1
        if self._access_log is not None and self._access_log(text) is not None:
            return False
        if current.record.format == ANSWER:
            return goes_on(current.first.text, text)
        return continues(text)

    def _close(self, out: list[Record]) -> None:
        current, self._open = self._open, None
        if current is None:
            return
        record = current.record
        if len(current.lines) > 1:
            record = self._placed(self._detect("\n".join(current.lines)), current.first, current.offset)
        out.append(as_text(record))

    def _placed(self, record: Record, found: Unwrapped, offset: int) -> Record:
        origin = self._origin
        if found.pod or found.namespace or found.container:
            origin = replace(
                origin,
                namespace=found.namespace or origin.namespace,
                pod=found.pod or origin.pod,
                container=found.container or origin.container,
            )
        time: datetime | None = record.time or found.time
        return replace(record, origin=origin, offset=offset, time=time)

    # The block of a container: what `kubectl describe pod` prints.

    def _in_container(self, block: _Block, found: Unwrapped, offset: int) -> bool:
        """Adds a line to the block; False when it does not belong to it."""
        first, before = block.lines[0][1], block.lines[-1][1]
        below = block.lines[1][1] if len(block.lines) > 1 else found
        if not container.goes_on(first.text, below.text, before.text, found.text) or _place(found) != _place(first):
            return False
        if len(block.lines) == 1 and container.depth_of_head(found.text) is not None:
            return False  # a name below a name: the inner one may be a container's
        if len(block.lines) >= container.BLOCK_LINES or block.size + len(found.text) > LIMIT:
            return False
        block.lines.append((offset, found))
        block.size += len(found.text) + 1
        return True

    def _end_container(self, block: _Block, out: list[Record]) -> None:
        offset, first = block.lines[0]
        record = container.parse("\n".join(f.text for _, f in block.lines)) if len(block.lines) > 1 else None
        if record is not None:
            flat = container.is_flat(first.text, block.lines[1][1].text)
            out.append(container.in_pod(self._placed(record, first, offset), {} if flat else block.pod or {}))
            block.lines = [(o, f) for o, f in block.lines if not container.is_reason(f.text)]
        self._give_up(out)
        self._close(out)

    # A JSON object over several lines: what `-o json` and `jq` print.

    def _in_block(self, found: Unwrapped, offset: int, out: list[Record]) -> None:
        block = self._block
        if block is None:
            return
        text = found.text
        if text.strip() == "{" and block.lines[-1][1].text.rstrip().endswith('"items": ['):
            self._give_up(out, block_only_text=True)  # a List: its items are what we want
            self._block = _Block(_indent(text), [(offset, found)])
            return
        block.lines.append((offset, found))
        block.size += len(text) + 1
        if text.startswith(block.indent + "}") and text.strip() in ("}", "},"):
            first_offset, first = block.lines[0]
            record = self._detect("\n".join(f.text for _, f in block.lines).strip())
            if record.format == "text":  # perhaps a collector's document around a line
                inner = strip(" ".join(f.text.strip() for _, f in block.lines), self._access_log)
                if inner.wrappers:
                    first, record = inner, self._detect(inner.text)
            if record.format == "text":
                self._give_up(out)
            else:
                self._block = None
                out.append(self._placed(record, first, first_offset))
        elif len(block.lines) > MAX_LINES or block.size > LIMIT or is_head(text):
            self._give_up(out)

    def _give_up(self, out: list[Record], *, block_only_text: bool = False) -> None:
        """It was no record: its lines are lines again."""
        block, self._block = self._block, None
        if block is None:
            return
        for offset, found in block.lines:
            self._single(found, offset, out)
        if block_only_text:
            self._close(out)


def _whole(part: _Partial) -> Unwrapped:
    whole = replace(part.first, text="".join(part.parts), partial=False)
    inner = strip(whole.text)
    if not inner.wrappers:
        return whole
    return replace(
        inner,
        time=inner.time or whole.time,
        namespace=whole.namespace or inner.namespace,
        pod=whole.pod or inner.pod,
        container=whole.container or inner.container,
        stream=whole.stream or inner.stream,
        wrappers=whole.wrappers + inner.wrappers,
        partial=False,
    )


def _place(found: Unwrapped) -> tuple[str, str, str]:
    return found.namespace, found.pod, found.container


def _indent(text: str) -> str:
    return text[: len(text) - len(text.lstrip())]


def records(
    lines: Iterable[str | bytes],
    access_log: AccessParser | None = None,
    origin: Origin = Origin(""),  # noqa: B008 frozen
) -> Iterator[Record]:
    """Lines of one stream, wrapped or not, to Records in their order; lazily. Blank lines give none.

    access_log  parser of an access log format of the user's, asked before the built-in formats
    origin      where the lines come from; what a wrapper says about namespace, pod and container replaces its parts

    The offset of a Record is the number of characters (bytes, when the lines are bytes) before it.
    """
    assembler = Assembler(origin, access_log)
    offset = 0
    for line in lines:
        yield from assembler.feed(_decoded(line), offset)
        ended = line.endswith("\n") if isinstance(line, str) else line.endswith(b"\n")
        offset += len(line) + (not ended)
    yield from assembler.flush()
