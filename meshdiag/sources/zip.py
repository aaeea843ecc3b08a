"""Zip archives, read forward by their local headers.

Not by the central directory as `zipfile` does: so a cut archive gives its members, a zip inside a compressed tar or on
stdin needs no copy, and entries that overlap (the way to petabytes) cannot exist. Facts: PKWARE APPNOTE 6.3.10.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from meshdiag.sources.layers import BOMB_HINT, CODECS, DECODE_ERRORS, Cursor, Member
from meshdiag.sources.limits import CHUNK

LOCAL = b"PK\x03\x04"
ENDS = (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x06\x08")
SPANNED = (b"PK\x07\x08", b"PK00")
DESCRIPTOR = b"PK\x07\x08"
METHODS = {8: "deflate", 12: "bzip2", 93: "zstd", 95: "xz"}
ENCRYPTED, HAS_DESCRIPTOR, UTF8 = 1, 8, 0x800
HINT = "what came before is read; copy the archive again"


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int

    @property
    def streamed(self) -> bool:
        """Sizes and checksum stand behind the data."""
        return bool(self.flags & HAS_DESCRIPTOR)


def _zip64(extra: bytes, packed: int, size: int) -> tuple[int, int]:
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        body = extra[at + 4 : at + 4 + length]
        if tag == 1:
            values = [int.from_bytes(body[i : i + 8], "little") for i in range(0, len(body) - 7, 8)]
            if size == 0xFFFFFFFF and values:
                size = values.pop(0)
            if packed == 0xFFFFFFFF and values:
                packed = values.pop(0)
        at += 4 + length
    return packed, size


class ZipCursor(Cursor):
    """The members of a zip archive."""

    def step(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Every entry, also folders and encrypted ones."""
        while True:
            at = self.source.offset
            mark = self.source.exactly(4)
            if mark in SPANNED and at == 0:
                mark = self.source.exactly(4)
            if mark in ENDS:
                return
            fixed = self.source.exactly(26) if mark == LOCAL else b""
            if len(fixed) < 26:
                if len(mark) < 4 or mark == LOCAL:
                    self._cut(f"truncated zip after {self.source.offset:,} bytes")
                else:
                    self._cut(f"damaged zip header at byte {at:,}")
                return
            _, flags, method, _, _, crc, packed, size, names, extras = struct.unpack("<HHHHHIIIHH", fixed)
            raw, extra = self.source.exactly(names), self.source.exactly(extras)
            if len(extra) < extras or len(raw) < names:
                self._cut(f"truncated zip after {self.source.offset:,} bytes")
                return
            packed, size = _zip64(extra, packed, size)
            name = raw.decode("utf-8", "replace") if flags & UTF8 else raw.decode("cp437")
            entry = _Entry(name, flags, method, crc, packed, size)
            kind = "file"
            if name.endswith("/"):
                kind = "folder"
            elif flags & ENCRYPTED:
                kind = "encrypted"
            elif method and method not in METHODS:
                kind = f"compressed by method {method}"
            start = self.source.offset
            self._lost = False
            data = self._data_of(entry) if kind == "file" else iter(())
            yield Member(name, kind, None if entry.streamed else size), data
            if entry.streamed and not packed:
                if kind != "file":
                    data = self._scan(entry)
                for _ in data:  # only the data itself shows where it ends
                    pass
            else:
                left = start + packed - self.source.offset
                if left > 0 and self.source.skip(left) < left:
                    self._cut(f"truncated zip after {self.source.offset:,} bytes")
                    return
                if entry.streamed:
                    self._descriptor(None, packed)
            if self._lost:
                return

    def _data_of(self, entry: _Entry) -> Iterator[bytes]:
        known = not entry.streamed or bool(entry.packed)
        if not entry.method:
            plain = self._limited(entry) if known else self._scan(entry)
            yield from self._checked(entry, plain) if not entry.streamed else plain
            return
        unpacked = self._unpack(entry, known)
        yield from self._checked(entry, unpacked) if not entry.streamed else unpacked

    def _limited(self, entry: _Entry) -> Iterator[bytes]:
        left = entry.packed
        while left:
            part = bytes(self.source.some(min(left, CHUNK)))
            if not part:
                self._short(entry, entry.packed - left)
                return
            left -= len(part)
            yield part

    def _unpack(self, entry: _Entry, known: bool) -> Iterator[bytes]:
        decoder = CODECS[METHODS[entry.method]].make()
        start, given, crc = self.source.offset, 0, 0
        while not decoder.eof:
            data = b""
            try:
                if decoder.hungry():
                    left = start + entry.packed - self.source.offset if known else CHUNK
                    if left <= 0:
                        self.report(f"damaged after {given:,} bytes: its data end early", HINT, entry.name)
                        return
                    data = bytes(self.source.some(min(left, CHUNK)))
                    if not data:
                        self._short(entry, given)
                        return
                out = decoder.decompress(data)
            except DECODE_ERRORS as error:
                self._lost = not known
                self.report(f"damaged after {given:,} bytes: {error}", HINT, entry.name)
                return
            if out:
                given += len(out)
                crc = zlib.crc32(out, crc)
                yield out
                if self.source.budget.spent(len(out)):
                    self._lost = True
                    what = f"stopped after {given:,} bytes: it expands more than"
                    self.report(f"{what} {self.source.budget.limits.ratio:,} times", BOMB_HINT, entry.name)
                    return
        self.source.unread(decoder.unused_data)
        if not known:
            self._descriptor(entry, self.source.offset - start, given, crc)

    def _checked(self, entry: _Entry, data: Iterator[bytes]) -> Iterator[bytes]:
        crc = given = 0
        for part in data:
            crc = zlib.crc32(part, crc)
            given += len(part)
            yield part
        if given == entry.size and crc != entry.crc:
            self.report("its checksum is wrong", "it is read all the same; copy the archive again", entry.name)

    def _descriptor(self, entry: _Entry | None, packed: int, size: int = 0, crc: int = 0) -> None:
        """Passes over what stands behind streamed data: in four forms, told apart by the sizes in it."""
        found = self.source.exactly(24)
        for mark in (DESCRIPTOR, b""):
            for width in (4, 8):
                length = len(mark) + 4 + 2 * width
                sizes = found[len(mark) + 4 : length]
                if (
                    len(found) >= length
                    and found.startswith(mark)
                    and int.from_bytes(sizes[:width], "little") == packed & ((1 << 8 * width) - 1)
                    and (length == len(found) or found[length : length + 2] == b"PK"[: len(found) - length])
                ):
                    self.source.unread(found[length:])
                    written = int.from_bytes(found[len(mark) : len(mark) + 4], "little")
                    if entry and written != crc:
                        self.report("its checksum is wrong", "it is read all the same", entry.name)
                    return
        self._lost = True
        self._cut(f"damaged or truncated zip after {self.source.offset:,} bytes")

    def _scan(self, entry: _Entry) -> Iterator[bytes]:
        """Stored data of unknown length: up to a descriptor whose size is what was passed."""
        packed, held = 0, b""
        while True:
            part = bytes(self.source.some(CHUNK))
            held += part
            at = held.find(DESCRIPTOR)
            while at >= 0 and len(held) >= at + 12:
                if int.from_bytes(held[at + 8 : at + 12], "little") == (packed + at) & 0xFFFFFFFF:
                    self.source.unread(held[at:])
                    if at:
                        yield held[:at]
                    self._descriptor(None, packed + at)
                    return
                at = held.find(DESCRIPTOR, at + 1)
            if not part:
                self._lost = True
                if held:
                    yield held
                self._short(entry, packed + len(held))
                return
            cut = len(held) - 12 if at < 0 else at
            if cut > 0:
                packed += cut
                yield held[:cut]
                held = held[cut:]

    def _short(self, entry: _Entry, given: int) -> None:
        self._lost = True
        if not self.source.failed:
            self.report(f"truncated after {given:,} bytes", HINT, entry.name)

    def _cut(self, what: str) -> None:
        self._lost = True
        if not self.source.failed:
            self.report(what, HINT)
