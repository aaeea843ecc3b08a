"""Tar archives, read forward and never unpacked.

Written here instead of using `tarfile` as a whole, because that reads extended headers of any claimed size into memory
and keeps every member. Facts: POSIX.1-2001 (ustar, pax), GNU tar `L` and `K` records.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

from meshdiag.sources.layers import Cursor, Member
from meshdiag.sources.limits import CHUNK

BLOCK = tarfile.BLOCKSIZE
MAX_PADDING = 1 << 20
MAX_EXTENDED = 1 << 20
"""A long name or pax record beyond this is no name."""

KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.LNKTYPE: "link",
    tarfile.SYMTYPE: "link",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "fifo",
    tarfile.DIRTYPE: "folder",
    tarfile.GNUTYPE_SPARSE: "sparse file",
}
WITHOUT_DATA = {"link", "device", "fifo", "folder"}
HINT = "what came before is read; copy the archive again"


def header(block: bytes) -> tarfile.TarInfo | None:
    """The header in a block of 512 bytes, None when it is none (wrong checksum, wrong numbers)."""
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError):
        return None
    return info if 0 <= info.size < 1 << 63 else None


def pax(data: bytes) -> dict[str, str]:
    """The records `LENGTH KEY=VALUE\\n` of an extended header; stops at the first that is damaged."""
    records: dict[str, str] = {}
    at = 0
    while at < len(data):
        blank = data.find(b" ", at, at + 12)
        number = data[at:blank]
        if blank < 0 or not number.isdigit():
            break
        end = at + int(number)
        key, equals, value = data[blank + 1 : end - 1].partition(b"=")
        if not equals or end > len(data) or end <= blank:
            break
        records[key.decode("utf-8", "replace")] = value.decode("utf-8", "surrogateescape")
        at = end
    return records


class TarCursor(Cursor):
    """The members of a tar archive."""

    def step(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Every entry, also the ones that are no files."""
        records: dict[str, str] = {}
        for_all: dict[str, str] = {}
        long_name = ""
        while True:
            at = self.source.offset
            block = self.source.exactly(BLOCK)
            if block and not block.strip(b"\0") and len(block) == BLOCK:
                # The end is two empty blocks (some writers make one) and padding; it is read, so that the
                # checksum of the compression is looked at.
                self.source.skip(MAX_PADDING)
                return
            if len(block) < BLOCK:
                # Without any end mark the archive was cut, even between two members.
                self._cut(f"truncated tar after {self.source.offset:,} bytes")
                return
            info = header(block)
            if info is None:
                self._cut(f"damaged tar header at byte {at:,}")
                return
            size, padding = info.size, -info.size % BLOCK
            if info.type in (
                tarfile.XHDTYPE,
                tarfile.SOLARIS_XHDTYPE,
                tarfile.XGLTYPE,
                tarfile.GNUTYPE_LONGNAME,
                tarfile.GNUTYPE_LONGLINK,
            ):
                data = self.source.exactly(size) if size <= MAX_EXTENDED else b""
                self.source.skip(size - len(data) + padding)
                if info.type == tarfile.GNUTYPE_LONGNAME:
                    long_name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
                elif info.type == tarfile.XGLTYPE:
                    for_all |= pax(data)
                elif info.type != tarfile.GNUTYPE_LONGLINK:
                    records = pax(data)
                continue
            records = for_all | records
            name = long_name or records.get("GNU.sparse.name") or records.get("path") or info.name
            if (claimed := records.get("size", "")).isdigit() and len(claimed) < 19:
                size = int(claimed)
            kind = KINDS.get(info.type, "file")  # POSIX: an unknown type is a regular file
            if kind == "folder" or (kind == "file" and name.endswith("/")):
                kind = "folder"
            if any(r.startswith("GNU.sparse.") for r in records):
                kind = "sparse file"
            if kind == "sparse file":
                # The old form's map goes on in blocks that only a flag announces.
                more = info.type == tarfile.GNUTYPE_SPARSE and block[482:483] == b"\1"
                while more:
                    more = self.source.exactly(BLOCK)[504:505] == b"\1"
            if kind in WITHOUT_DATA:
                size = 0
            records, long_name = {}, ""
            end = self.source.offset + size + -size % BLOCK
            yield Member(name, kind, size), self._data_of(name, size)
            left = end - self.source.offset
            if self.source.skip(left) < left - (-size % BLOCK):
                self._cut(f"truncated tar after {self.source.offset:,} bytes")
                return

    def _data_of(self, name: str, size: int) -> Iterator[bytes]:
        left = size
        while left:
            part = bytes(self.source.some(min(left, CHUNK)))
            if not part:
                self.report(f"truncated after {size - left:,} of {size:,} bytes", HINT, name)
                return
            left -= len(part)
            yield part

    def _cut(self, what: str) -> None:
        if not self.source.failed:
            self.report(what, HINT)
