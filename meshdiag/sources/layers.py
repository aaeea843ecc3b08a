"""Bytes in layers: a file, what decompresses it, what walks the archive in it, what decodes the text.

Every layer pulls chunks from the one below, so memory does not depend on the size of anything, and none raises
for bad data: it reports, sets `failed` and ends.
"""

from __future__ import annotations

import bz2
import codecs
import io
import lzma
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import zstandard

from meshdiag.model import Problem
from meshdiag.sources.base import LOG
from meshdiag.sources.labels import safe_name
from meshdiag.sources.limits import CHUNK, Budget, Limits
from meshdiag.sources.session import Key, Session, weak

REPLAY = 1 << 19
"""Bytes of a member that a cursor remembers, so that looking at its beginning does not use it up."""

XZ_MEMORY = 160 << 20
ZSTD_WINDOW = 1 << 27
"""`xz -9` and `zstd --long` fit; a header that asks for more is an attack on memory."""

FIRST_FEED = 4096
"""Bytes given first to a decoder of a new member."""

ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
"""Of the magic number of a skippable frame, all but the first byte, which is 0x50 to 0x5f."""

ZSTD_BLOCK = 1 << 17


class Layer(io.RawIOBase):
    """A readable of which subclasses write `chunk`: some bytes, or none at the end.

    An impatient one gives what is there; the others fill the buffer they are given.
    """

    patient = True

    def __init__(self, session: Session, budget: Budget, where: str) -> None:
        super().__init__()
        self.session = weak(session)
        self.budget = budget
        self.where = where
        self.failed = False
        self.offset = 0
        self._buffer = memoryview(b"")
        self._at = 0

    def chunk(self) -> bytes:
        """The next bytes, at most about CHUNK, b"" at the end."""
        raise NotImplementedError

    def fail(self, what: str, hint: str = "") -> None:
        """Reports what is wrong; the layer gives no more."""
        self.failed = True
        self.session.report(self.where, what, hint)

    def some(self, limit: int) -> memoryview:
        """Between 1 and `limit` bytes, none at the end."""
        if self._at == len(self._buffer):
            self._buffer, self._at = memoryview(self.chunk()), 0
        out = self._buffer[self._at : self._at + limit]
        self._at += len(out)
        self.offset += len(out)
        return out

    def exactly(self, count: int) -> bytes:
        """`count` bytes, fewer at the end."""
        parts = bytearray()
        while len(parts) < count and (part := self.some(count - len(parts))):
            parts += part
        return bytes(parts)

    def unread(self, data: bytes) -> None:
        """Puts back bytes that were just taken; copies only when they came from more than one chunk."""
        self.offset -= len(data)
        if len(data) <= self._at:
            self._at -= len(data)
        else:
            self._buffer, self._at = memoryview(data + bytes(self._buffer[self._at :])), 0

    def skip(self, count: int) -> int:
        """Passes over `count` bytes; says how many there were."""
        left = count
        while left and (part := self.some(min(left, CHUNK))):
            left -= len(part)
        return count - left

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer unless the end comes first."""
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and (part := self.some(len(view) - filled)):
            view[filled : filled + len(part)] = part
            filled += len(part)
            if not self.patient:
                break
        return filled


class FileLayer(Layer):
    """An open file, or a byte range of it; seeks where it can instead of reading what nobody wants.

    A `borrowed` file is somebody else's (stdin, an open file): never positioned, never closed.
    """

    def __init__(
        self,
        file: Any,
        session: Session,
        limits: Limits,
        where: str,
        size: int | None = None,
        borrowed: bool = False,
        patient: bool = True,
    ) -> None:
        super().__init__(session, Budget(limits), where)
        self._file = file
        self._left = size
        self._borrowed = borrowed
        self.patient = patient
        self._read = file.read if patient else getattr(file, "read1", file.read)

    def _want(self, count: int) -> int:
        return count if self._left is None else min(count, self._left)

    def _got(self, count: int) -> None:
        self.budget.taken += count
        if self._left is not None:
            self._left -= count

    def _lost(self, error: Exception) -> None:
        self.fail(f"cannot be read on: {error}", "what came before is read")

    def chunk(self) -> bytes:
        """The next bytes of the range."""
        if self.failed:
            return b""
        try:
            data = self._read(self._want(CHUNK)) or b""
        except Exception as error:  # a file object is anybody's code
            self._lost(error)
            return b""
        if isinstance(data, str):
            data = _encode(data)
        self._got(len(data))
        return bytes(data)

    def readinto(self, buffer: Any) -> int:
        """Straight into the buffer where nothing stands in between."""
        view = memoryview(buffer).cast("B")
        if self._borrowed or self._at < len(self._buffer) or self.failed or not hasattr(self._file, "readinto"):
            return super().readinto(view)
        try:
            count = int(self._file.readinto(view[: self._want(len(view))]) or 0)
        except Exception as error:
            self._lost(error)
            return 0
        self._got(count)
        self.offset += count
        return count

    def skip(self, count: int) -> int:
        """By seeking in a regular file."""
        done = super().skip(min(count, len(self._buffer) - self._at))
        left = count - done
        if left <= CHUNK or self._left is None or self._borrowed:
            return done + super().skip(left)
        step = min(left, self._left)
        try:
            self._file.seek(step, os.SEEK_CUR)
        except (OSError, ValueError):
            return done + super().skip(left)
        self._left -= step
        self.offset += step
        return done + step

    def close(self) -> None:
        """Closes the file, except a borrowed one."""
        if not self.closed and not self._borrowed:
            self._file.close()
        super().close()


LINES_AT_ONCE = 256


class LinesLayer(Layer):
    """An iterable of lines; a line without its newline gets one."""

    def __init__(self, lines: Iterable[str | bytes], session: Session, limits: Limits, where: str) -> None:
        super().__init__(session, Budget(limits), where)
        self._lines = iter(lines)
        self._at_once = LINES_AT_ONCE if isinstance(lines, list | tuple) else 1

    def chunk(self) -> bytes:
        """Some lines of a list, one of an iterator, which may have to wait for the next."""
        parts: list[bytes] = []
        try:
            while not self.failed and len(parts) < self._at_once:
                line: Any = next(self._lines, None)
                if line is None:
                    break
                if not isinstance(line, str | bytes | bytearray | memoryview):
                    self.fail(f"is not a line: {type(line).__name__}", "give an iterable of str or bytes")
                    break
                data = _encode(line) if isinstance(line, str) else bytes(line)
                parts.append(data if data.endswith(b"\n") else data + b"\n")
        except Exception as error:  # an iterator is anybody's code
            self.fail(f"cannot be read on: {error}", "what came before is read")
        data = b"".join(parts)
        self.budget.taken += len(data)
        return data


def _encode(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")  # gives back the bytes that a text file could not decode
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


# --- decompression -----------------------------------------------------------------------------------------------


class _Decoder(Protocol):
    """What `zlib`, `bz2`, `lzma` and `zstandard` have in common, made equal below."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes) -> bytes: ...

    def hungry(self) -> bool: ...


class _Zlib:
    """`zlib.decompressobj` with its output bound."""

    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes) -> bytes:
        out = self._inner.decompress(self._inner.unconsumed_tail + data, CHUNK)
        self._full = len(out) == CHUNK
        return out

    def hungry(self) -> bool:
        # A full chunk can leave output inside zlib even when the input is used up.
        return not self._full and not self._inner.unconsumed_tail


class _Bounded:
    """`bz2` and `lzma` share an interface."""

    def __init__(self, inner: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._inner = inner

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes) -> bytes:
        return self._inner.decompress(data, CHUNK)

    def hungry(self) -> bool:
        return self._inner.needs_input


class _Zstd:
    """`zstandard`, one frame, block by block.

    The binding has no bound on output, and 4 bytes can become 128 KiB; one block never becomes more than that.
    Facts: RFC 8878.
    """

    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj(write_size=CHUNK)
        self._buffer = b""
        self._at = 0
        self._next = self._header
        self._starved = True
        self._checksum = 0
        self._skip = 0
        self.eof = False

    @property
    def unused_data(self) -> bytes:
        return self._buffer[self._at :]

    def decompress(self, data: bytes) -> bytes:
        if data:
            self._buffer, self._at = self._buffer[self._at :] + data, 0
        out: list[bytes] = []
        size = 0
        self._starved = False
        while size < CHUNK and not self.eof and not self._starved:
            out.append(self._next())
            size += len(out[-1])
        return b"".join(out)

    def hungry(self) -> bool:
        return self._starved

    def _feed(self, count: int) -> bytes | None:
        """Decodes `count` bytes, None when they are not there yet."""
        if len(self._buffer) - self._at < count:
            self._starved = True
            return None
        self._at += count
        return self._inner.decompress(self._buffer[self._at - count : self._at])

    def _header(self) -> bytes:
        head = self._buffer[self._at : self._at + 8]
        if len(head) == 8 and head[1:4] == ZSTD_SKIPPABLE:
            self._at += 8
            self._skip, self._next = int.from_bytes(head[4:], "little"), self._pass
            return b""
        if len(head) < 5 or head[1:4] == ZSTD_SKIPPABLE:
            self._starved = True
            return b""
        flags = head[4]
        single = flags >> 5 & 1
        content_size = (single, 2, 4, 8)[flags >> 6]
        out = self._feed(5 + (1 - single) + (0, 1, 2, 4)[flags & 3] + content_size)
        if out is not None:
            self._checksum, self._next = flags & 4, self._block
        return out or b""

    def _block(self) -> bytes:
        head = int.from_bytes(self._buffer[self._at : self._at + 3], "little")
        size = 1 if head >> 1 & 3 == 1 else head >> 3
        if size > ZSTD_BLOCK:
            raise zstandard.ZstdError("a block is larger than any can be")
        out = self._feed(3 + size) if len(self._buffer) - self._at >= 3 else None
        if out is None:
            self._starved = True
        elif head & 1:
            self._next, self.eof = self._end, not self._checksum
        return out or b""

    def _end(self) -> bytes:
        out = self._feed(4)
        self.eof = out is not None
        return out or b""

    def _pass(self) -> bytes:
        step = min(self._skip, len(self._buffer) - self._at)
        self._at += step
        self._skip -= step
        self.eof = not self._skip
        self._starved = not self.eof
        return b""


@dataclass(frozen=True, slots=True)
class Codec:
    """A compression: how it is called, how it begins, how to decode one member (stream, frame) of it."""

    name: str
    magic: bytes
    make: Callable[[], _Decoder]


CODECS = {
    c.name: c
    for c in (
        Codec("gzip", b"\x1f\x8b\x08", lambda: _Zlib(31)),
        Codec("bzip2", b"BZh", lambda: _Bounded(bz2.BZ2Decompressor())),
        Codec("xz", b"\xfd7zXZ\x00", lambda: _Bounded(lzma.LZMADecompressor(memlimit=XZ_MEMORY))),
        Codec("zstd", b"\x28\xb5\x2f\xfd", _Zstd),
        Codec("deflate", b"", lambda: _Zlib(-15)),
    )
}
DECODE_ERRORS = (zlib.error, OSError, lzma.LZMAError, zstandard.ZstdError, EOFError, ValueError, MemoryError)
BOMB_HINT = "unpack it yourself and give the folder, if you trust it"


class InflateLayer(Layer):
    """Decompresses all members of a compressed file (`cat a.gz b.gz` is one)."""

    def __init__(self, codec: str, source: Layer, where: str) -> None:
        super().__init__(source.session, source.budget, where)
        self._codec = CODECS[codec]
        self._source = source
        self._decoder: _Decoder | None = None
        self._members = 0
        self._given = 0
        self._feed = CHUNK
        self._ended = False

    def chunk(self) -> bytes:
        """Output of the next step that gives some."""
        while not self._ended:
            if self._decoder is None and not self._next_member():
                break
            assert self._decoder is not None
            try:
                data = b""
                if self._decoder.hungry():
                    data = bytes(self._source.some(self._feed))
                    self._feed = min(2 * self._feed, CHUNK)
                    if not data:
                        self._stop(f"truncated {self._codec.name} after {self._given:,} bytes")
                        break
                out = self._decoder.decompress(data)
            except DECODE_ERRORS as error:
                self._stop(f"damaged {self._codec.name} after {self._given:,} bytes: {error}")
                break
            if self._decoder.eof:
                self._source.unread(self._decoder.unused_data)
                self._decoder = None
            if out:
                self._given += len(out)
                if self.budget.spent(len(out)):
                    self.failed = self._ended = True
                    self.session.report(
                        self.where,
                        f"stopped after {self._given:,} bytes: it expands more than {self.budget.limits.ratio:,} times",
                        BOMB_HINT,
                    )
                return out
        self._ended = True
        return b""

    def _stop(self, what: str) -> None:
        self._ended = True
        if self._source.failed:
            self.failed = True  # the layer below has said what is wrong
        else:
            self.fail(what, "what came before is read; copy the file again")

    def _next_member(self) -> bool:
        # Small bites first: what a decoder does not use is copied, and a file can be all tiny members.
        self._feed = FIRST_FEED
        if not self._members:
            self._members, self._decoder = 1, self._codec.make()
            return True
        head = self._source.exactly(64)
        while head and not head.strip(b"\0"):  # padding of tapes and block devices
            head = self._source.exactly(CHUNK)
        head = head.lstrip(b"\0")
        if not head:
            return False
        self._source.unread(head)
        skippable = self._codec.name == "zstd" and head[1:4] == ZSTD_SKIPPABLE and head[0] >> 4 == 5
        if not head.startswith(self._codec.magic[: len(head)]) and not skippable:
            self._stop(f"other bytes follow the {self._codec.name} data after {self._given:,} bytes")
            return False
        self._members += 1
        self._decoder = self._codec.make()
        return True

    def close(self) -> None:
        """Closes what is below."""
        if not self.closed:
            self._source.close()
        super().close()


class TextLayer(Layer):
    """UTF-16 to UTF-8, or UTF-8 without its byte order mark; what cannot be decoded becomes U+FFFD."""

    def __init__(self, encoding: str, source: Layer, where: str) -> None:
        super().__init__(source.session, source.budget, where)
        self._source = source
        self.patient = source.patient
        self._decoder = codecs.getincrementaldecoder(encoding)("replace") if encoding != "bom" else None
        self._first = True
        self._ended = False

    def chunk(self) -> bytes:
        """The next text."""
        while not self._ended:
            data = bytes(self._source.some(CHUNK))
            self._ended = not data
            if self._decoder is None:
                if self._first:
                    data += self._source.exactly(max(0, 3 - len(data)))
                    data = data.removeprefix(codecs.BOM_UTF8)
                out = data
            else:
                text = self._decoder.decode(data, final=self._ended)
                out = (text.removeprefix("\ufeff") if self._first and text else text).encode("utf-8", "replace")
            self._first = self._first and not out
            if out:
                return out
        return b""

    def close(self) -> None:
        """Closes what is below."""
        if not self.closed:
            self._source.close()
        super().close()


# --- containers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Member:
    """One entry of a container. `kind` is `file`, or what else it is (`link`, `device`, `folder`, `encrypted`, …).

    The names of the container that wrote it, and `start`, are there when the container is a log with sections.
    """

    name: str
    kind: str = "file"
    size: int | None = None
    start: int = 0
    namespace: str = ""
    pod: str = ""
    container: str = ""
    previous: bool = False
    role: str = LOG


class Cursor:
    """Walks a container forward. Subclasses write `step`: the next member and its data, lazily."""

    def __init__(self, source: Layer, where: str, option: str = "") -> None:
        self.source = source
        self.where = where
        self.option = option
        self.index = -1
        self.member: Member | None = None
        self._data: Iterator[bytes] = iter(())
        self._head: list[bytes] | None = []
        self._head_size = 0
        self._steps = self.step()
        self._ended = False

    def step(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Yields each member with its data; must cope with data that nobody or only half read."""
        raise NotImplementedError

    def can_give(self, index: int) -> bool:
        """Is member `index` still ahead, or here with its beginning remembered?"""
        if self._ended:
            return False
        return index > self.index or (index == self.index and self._head is not None)

    def goto(self, index: int) -> Member | None:
        """Moves to a member for which `can_give` holds; None when the container has no such member."""
        while self.index < index and not self._ended:
            self._head = None  # stepping on reads over the member
            found = next(self._steps, None)
            if found is None:
                self._ended, self.member = True, None
                break
            self.index += 1
            self.member, self._data = found
            self._head, self._head_size = [], 0
        return self.member if self.index == index else None

    def pull(self) -> bytes:
        """The next bytes of the member."""
        data = next(self._data, b"")
        if self._head is not None and data:
            self._head.append(data)
            self._head_size += len(data)
            if self._head_size > REPLAY:
                self._head = None
        return data

    def replay(self) -> list[bytes]:
        """What was already pulled of the member, when it is still remembered."""
        return list(self._head or ())

    def report(self, what: str, hint: str = "", member: str = "") -> None:
        """Reports something wrong with the container or one member."""
        where = f"{self.where}!{safe_name(member)}" if member else self.where
        self.source.session.report(where, what, hint)

    def close(self) -> None:
        """Closes what is below."""
        self._steps, self._data = iter(()), iter(())
        self._ended = True
        self.source.close()


class MemberLayer(Layer):
    """One member of a container; parks its cursor at the member's end or when closed."""

    def __init__(self, cursor: Cursor, key: Key, where: str) -> None:
        super().__init__(cursor.source.session, cursor.source.budget, where)
        self._cursor: Cursor | None = cursor
        self._key = key
        self.patient = cursor.source.patient
        self._replay = iter(cursor.replay())

    def chunk(self) -> bytes:
        """First what a look at the beginning has used up."""
        if data := next(self._replay, b""):
            return data
        if self._cursor is None:
            return b""
        data = self._cursor.pull()
        if not data:
            self._park()
        return data

    def _park(self) -> None:
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            self.failed = cursor.source.failed
            try:
                self.session.park(self._key, cursor)
            except ReferenceError:  # nobody can ask for it any more
                cursor.close()

    def close(self) -> None:
        """Gives the cursor back."""
        self._park()
        super().close()


class Reader(io.BufferedReader):
    """What `Stream.open` gives."""

    def __init__(self, layer: Layer, session: Session) -> None:
        super().__init__(layer, CHUNK)
        self._session = session

    @property
    def problems(self) -> list[Problem]:
        """Problems that no callback got (this process is not the one that listed the inputs); emptied by reading."""
        return self._session.untold()
