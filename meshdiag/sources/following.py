"""Local files that grow, followed as `tail -F` does it: through rotation, truncation, deletion and return."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import glob
import os
import stat
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from pathlib import Path

from meshdiag.model import MeshdiagError, Problem
from meshdiag.sources import layouts, sniff
from meshdiag.sources.base import STATE
from meshdiag.sources.labels import printable
from meshdiag.sources.live import Event, Gap, Opened
from meshdiag.sources.splitting import Splitter, events

BLOCK = 256 << 10
"""Bytes that are read of a file before it is the next one's turn."""

HEAD = 256
"""First bytes of a file by which it is known again."""

LINGER = 60.0
"""Seconds without a byte after which a file that has lost its name is given up: its writer may not know yet."""

LOOKED_THROUGH = 8
"""Polls from one look for new files in folders and patterns to the next."""

REMEMBERED = 10_000
"""Files that are known again under another name after they were read."""

TRUNCATED = "the file was truncated: lines written between our last look and the truncation cannot be had"

_TEXT = ("text", "bom", "dump", "previous")
_PACKED = tuple(s for suffixes in sniff.NAMES.values() for s in suffixes)
_NO_LOGS = frozenset((*sniff.QUIET_SUFFIXES, *sniff.BINARY_SUFFIXES, *_PACKED, ".tar", ".zip"))

Identity = tuple[int, int]


class Files:
    """Local files as a live source: files, folders (every text log in them, at any depth) and patterns.

    `tail` is the number of whole lines to begin with, None for all; a line that has no line feed yet comes when it
    is whole. What appears later is read from its beginning. `poll` is the number of seconds between two looks.

    A file is read once, whatever its names: one that was rotated keeps the origin under which it was first read. A
    copy that `copytruncate` makes in a followed folder is not read. A file that has lost its name is read until its
    successor has content, or for `LINGER` seconds more. `Ended` never comes: a file that is gone may return.
    """

    def __init__(self, paths: Iterable[str | os.PathLike[str]], tail: int | None = None, poll: float = 0.25) -> None:
        self._paths = [os.fspath(p) for p in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
        self._tail = tail
        self._poll = poll

    async def follow(self) -> AsyncGenerator[Event, None]:
        """The events until the iterator is closed. Raises MeshdiagError when none of the paths is there."""
        missing = _missing(self._paths)
        for path in missing:
            yield Problem(printable(path), "no such file", "it is followed from its beginning when it appears")
        watch = _Watch(self._paths, self._tail)
        look_through = 0.0
        try:
            while True:
                began = time.monotonic()
                if began >= look_through:
                    problems = await watch.look_through()
                    now = time.monotonic()
                    # Large folders: no more than a twentieth of the time goes into looking.
                    look_through = now + max(LOOKED_THROUGH * self._poll, 20 * (now - began))
                    for problem in problems:
                        yield problem
                for number, name in enumerate(watch.turns(began + self._poll)):
                    found = await name.turn()
                    for event in found:
                        yield event
                    if found or number % 256 == 255:
                        await asyncio.sleep(0)
                await asyncio.sleep(max(0.0, began + self._poll - time.monotonic()))
        finally:
            watch.close()


def _missing(paths: list[str]) -> list[str]:
    """Those of the paths that are not there, unless that is all of them."""
    if not paths:
        raise MeshdiagError("no input: give a file, a folder or a glob")
    if any("\0" in p for p in paths):
        raise MeshdiagError("a path cannot contain a NUL character")
    missing = [p for p in paths if not _is_there(p) and not any(_matches(p))]
    if len(missing) == len(paths):
        raise MeshdiagError(f"no such file: {', '.join(map(printable, missing))}; check the path or the pattern")
    return missing


def _is_there(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # perhaps
        return True
    return True


def _matches(pattern: str) -> Iterator[str]:
    # Path.glob takes no absolute pattern and follows no links.
    return glob.iglob(pattern, recursive=True) if glob.has_magic(pattern) else iter(())  # noqa: PTH207


class _Watch:
    """The names that are followed, and what they have to know of each other."""

    def __init__(self, paths: list[str], tail: int | None) -> None:
        self._paths = dict.fromkeys(paths)
        self._tail = tail
        self._first = True
        self._passed: dict[str, int] = {}
        self._told: set[Problem] = set()
        self.names: dict[str, _Name] = {}
        self.owners: dict[Identity, _Name] = {}
        """Of each open file the name that reads it."""
        self._read: dict[Identity, _Open] = {}

    def remember(self, file: _Open) -> None:
        """Keeps what was read of a file that is closed, for its next name."""
        self._read.pop(file.identity, None)
        self._read[file.identity] = file
        if len(self._read) > REMEMBERED:
            del self._read[next(iter(self._read))]

    def known(self, info: os.stat_result) -> _Open | None:
        """What was read, perhaps, of a file that is not open now."""
        return self._read.get(_identity(info))

    def is_copy(self, path: str, head: bytes) -> bool:
        """Is it what `copytruncate` makes of a followed file: its name with a suffix, its beginning?"""
        others = (n for p, n in self.names.items() if path.startswith(p) and path[len(p) :][:1] in set(".-_~"))
        return any(head in other.heads() for other in others)

    async def look_through(self) -> list[Problem]:
        """Finds new names and drops those of folders and patterns that are gone; what cannot be listed, told once."""
        problems: list[Problem] = []
        for number, path in enumerate(self._listed(problems)):
            if path not in self.names:
                named = path in self._paths
                name = _Name(path, named, self._first, self._tail, self._passed.get(path), self)
                with contextlib.suppress(OSError):  # told at its turn
                    name.look()  # now: who is whose other name is seen before anything changes
                self.names[path] = name
            if number % 256 == 255:
                await asyncio.sleep(0)
        self._first = False
        for path in [p for p, n in self.names.items() if n.gone]:
            if (passed := self.names.pop(path).passed) is not None:
                self._passed[path] = passed
        new = [p for p in problems if p not in self._told]
        self._told.update(new)
        return new

    def _listed(self, problems: list[Problem]) -> Iterator[str]:
        def lost(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                where = printable(str(error.filename))
                problems.append(Problem(where, f"cannot be read: {error.strerror}", "it is tried again"))

        for path in self._paths:
            for match in _matches(path) if glob.has_magic(path) and not _is_there(path) else [path]:
                if os.path.isdir(match):  # noqa: PTH112 - raises nothing
                    yield from _logs(match, lost)
                elif "**" not in path or _is_log_name(match):
                    yield match

    def turns(self, until: float) -> Iterator[_Name]:
        """Every name once, then those that have more to read in turn, until that time."""
        names = list(self.names.values())
        while names:
            yield from names
            names = [n for n in names if n.more] if time.monotonic() < until else []

    def close(self) -> None:
        """Closes all files."""
        for name in self.names.values():
            name.close()


class _Name:
    """What is read under one name: the file that it stands for now, after those that it stood for before.

    `first` says that it was there when following began, so that `tail` is for it. `passed` is the number of bytes that
    came under this name before, None if it is new.
    """

    def __init__(
        self, path: str, named: bool, first: bool, tail: int | None, passed: int | None, watch: _Watch
    ) -> None:
        self._text = path
        self._path = Path(path)
        place = layouts.place(os.path.abspath(path))  # noqa: PTH100 - links stay
        self._origin = place.origin(printable(path))
        self._is_state = place.role == STATE
        self._named = named
        self._first = first
        self._tail = tail
        self._opened = passed is not None
        self._splitter = Splitter(passed or 0)
        self._watch = watch
        self._files: deque[_Open] = deque()
        self._now: os.stat_result | None = None
        self._missing = False
        self._is_text = False
        self._former = b""
        self._refused: Identity | None = None
        self._twin: _Name | None = None
        self._active = 0.0
        self._told = ""
        self.more = False
        """Whether there may be more to read at once."""

    @property
    def gone(self) -> bool:
        """Whether it can be forgotten: nobody named it, it is not there and all of it was read."""
        return self._missing and not self._named and not self._files

    @property
    def passed(self) -> int | None:
        """Bytes that came under this name, None if it was never opened."""
        return self._splitter.passed if self._opened else None

    def heads(self) -> set[bytes]:
        """How its files begin, and how the last one began that was truncated."""
        return {self._former, *(f.head for f in self._files)} - {b""}

    async def turn(self) -> list[Event]:
        """What is new, at most one block."""
        self.more = False
        found: list[Event] = []
        trouble: OSError | None = None
        try:
            self.look()
        except OSError as error:
            trouble = error
        try:
            if self._files and not self._is_idle():
                found = await self._read(self._files[0])
        except OSError as error:
            trouble = error
            self._drop()  # to be opened again and read on
        return found + self._tell(trouble)

    def look(self) -> None:
        """Sees what the name stands for now, and opens it when that is new. Raises OSError."""
        self._now, self._missing = None, False
        try:
            self._now = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            self._missing, self._first, self._refused = True, False, None
            return
        identity, owners = _identity(self._now), self._watch.owners
        if identity == self._refused:
            return
        twin, self._twin = self._twin, None
        if twin is not None and identity not in owners:
            with contextlib.suppress(OSError):
                twin.look()  # both names of a file may stand for a new one now: it stays the other's
        if identity not in owners:
            self._open(self._now)
        elif owners[identity] is not self:
            self._twin = owners[identity]

    def close(self) -> None:
        """Closes its files."""
        while self._files:
            self._drop()

    def _open(self, info: os.stat_result) -> None:
        if not stat.S_ISREG(info.st_mode):
            if self._named:
                raise OSError(errno.EINVAL, "not a regular file")
            return
        before = self._watch.known(info)
        if before is not None and before.is_unchanged(info):
            return
        try:
            file = _Open(self._path)
        except FileNotFoundError:
            return  # gone since we looked
        if file.identity != _identity(info):
            file.close()  # replaced since we looked: the next look sees what it is
            return
        self._files.append(file)
        self._active = time.monotonic()
        self._watch.owners[file.identity] = self
        if before is not None:
            file.go_on_after(before)

    def _is_idle(self) -> bool:
        if not self._has_name(self._files[0]):
            return False
        self._active = time.monotonic()
        return self._now is not None and self._files[0].is_unchanged(self._now)

    def _has_name(self, file: _Open) -> bool:
        return self._now is not None and _identity(self._now) == file.identity

    async def _read(self, file: _Open) -> list[Event]:
        found: list[Event] = []
        if not file.accepted:
            found = await self._accept(file)
            if found or file.closed:
                self.more = self.more or file.accepted
                return found
        head = file.head
        block = file.read() if file.accepted else b""
        self.more = block != b""
        if block is None:
            self._former = head
            found += events(self._splitter, self._origin, None)
            found.append(Gap(self._origin, None, None, TRUNCATED))
        elif block:
            self._active = time.monotonic()
            found += events(self._splitter, self._origin, block)
        elif self._is_over(file):
            self._drop()
            found += events(self._splitter, self._origin, None)
        elif self._now is not None and self._has_name(file):
            file.looked = _look_of(self._now)
        return found

    async def _accept(self, file: _Open) -> list[Event]:
        """Decides by its first bytes whether a file is read, and where reading begins; it waits while it is empty."""
        head = file.first(sniff.HEAD)
        first, self._first = self._first, False
        if head and not file.known and (why := self._refusal(head, first)):
            self._refused = file.identity
            self._drop()
            hint = "meshdiag diagnose reads what does not grow"
            return [Problem(self._origin.path, f"skipped: {why}", hint)] if self._named else []
        if head:
            file.accepted = self._is_text = True
            if first and self._tail is not None:
                file.position = await file.last_lines(self._tail)
        if self._opened or not (head or self._named):
            return []
        self._opened = True
        self._splitter = Splitter(file.position)
        return [Opened(self._origin)]

    def _refusal(self, head: bytes, first: bool) -> str:
        """Why a file that begins so is not read, "" when it is."""
        kind = "text" if self._is_text else sniff.sniff(head, self._text)
        if kind not in _TEXT and not (self._named and kind == "binary"):
            return f"{kind} cannot be followed"
        if self._is_state and not self._named:
            return "cluster state is no log"
        if not first and self._watch.is_copy(self._text, head[:HEAD]):
            return "a copy of a file that is followed"
        return ""

    def _is_over(self, file: _Open) -> bool:
        """Whether nothing more is to be expected of a file that was read to its end."""
        if any(f.size() for f in list(self._files)[1:]):
            return True
        return not self._has_name(file) and time.monotonic() - self._active > LINGER

    def _drop(self) -> None:
        file = self._files.popleft()
        del self._watch.owners[file.identity]
        file.close()
        if file.head:
            self._watch.remember(file)
        self.more = bool(self._files)

    def _tell(self, trouble: OSError | None) -> list[Event]:
        """The problem, when it is not the one that was there before."""
        what = f"cannot be read: {trouble.strerror or trouble}" if trouble else ""
        told, self._told = self._told, what
        return [Problem(self._origin.path, what, "it is tried again")] if what not in ("", told) else []


class _Open:
    """An open file, how far it is read, and what it is known by. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._raw = path.open("rb", buffering=0)
        self.identity = _identity(os.fstat(self._raw.fileno()))
        self.position = 0
        self.head = b""
        self.looked = (-1, -1)
        """Size and time of the last change when all of it had been read."""
        self.known = False
        """Whether its beginning was read under another name, or before it was gone."""
        self.accepted = False
        """Whether it is read."""

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._raw.closed

    def size(self) -> int:
        """Bytes that it has now."""
        return os.fstat(self._raw.fileno()).st_size

    def is_unchanged(self, info: os.stat_result) -> bool:
        """Whether nothing was written since it was read to its end."""
        return self.looked == _look_of(info)

    def first(self, size: int) -> bytes:
        """Its first bytes."""
        return self._at(0, size)

    def read(self) -> bytes | None:
        """The next block, b"" at the end; None when it was truncated: then it is read from its beginning."""
        block = self._at(self.position, BLOCK)
        if self.position == 0 and block.startswith(b"\0"):
            self.position = self._first_data()
            block = self._at(self.position, BLOCK)
        # Looked at after reading, so that a block of what was written since is not taken for what comes next.
        head = self.first(HEAD)
        if not head.startswith(self.head) or self.size() < self.position:
            self.position, self.head = 0, b""
            return None
        self.head = head
        self.position += len(block)
        return block

    def go_on_after(self, before: _Open) -> None:
        """Goes on where `before` was left, if it is the same file and not one that got its number."""
        if self.size() >= before.position and self.first(HEAD).startswith(before.head):
            self.position, self.head, self.known = before.position, before.head, True

    async def last_lines(self, lines: int) -> int:
        """Where the last `lines` whole lines begin. What follows the last line feed is no line yet."""
        end, left = self.size(), lines + 1
        while end > 0:
            start = max(0, end - BLOCK)
            block = self._at(start, end - start)
            if (count := block.count(b"\n")) >= left:
                at = len(block)
                for _ in range(left):
                    at = block.rfind(b"\n", 0, at)
                return start + at + 1
            end, left = start, left - count
            await asyncio.sleep(0)
        return 0

    def close(self) -> None:
        """Closes it; the rest is kept."""
        with contextlib.suppress(OSError):
            info = os.fstat(self._raw.fileno())
            self.looked = _look_of(info) if info.st_size == self.position else (-1, -1)
        self._raw.close()

    def _first_data(self) -> int:
        """Where the hole ends that a truncated file has when its writer goes on at its old place."""
        with contextlib.suppress(OSError, AttributeError):  # no data yet; no such system
            return os.lseek(self._raw.fileno(), 0, os.SEEK_DATA)
        return 0

    def _at(self, position: int, size: int) -> bytes:
        self._raw.seek(position)
        return self._raw.read(size) or b""


def _identity(info: os.stat_result) -> Identity:
    return info.st_dev, info.st_ino


def _look_of(info: os.stat_result) -> tuple[int, int]:
    return info.st_size, info.st_mtime_ns


def _is_log_name(path: str) -> bool:
    return sniff.suffix(path) not in _NO_LOGS and not sniff.is_core(path)


def _logs(top: str, lost: Callable[[OSError], None]) -> Iterator[str]:
    """The files in a folder, at any depth, that may be logs by their names. Links to folders are not followed."""
    for folder, folders, files in os.walk(top, onerror=lost):
        folders[:] = sorted(f for f in folders if f not in sniff.QUIET_FOLDERS)
        yield from (os.path.join(folder, f) for f in sorted(files) if _is_log_name(f))  # noqa: PTH118
