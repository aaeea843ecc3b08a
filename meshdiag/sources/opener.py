"""How a stream is opened: a root and the steps from its bytes to the wanted ones.

All of it is plain values, so a Stream of a path or URL can be pickled and opened in another process.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from meshdiag.sources.layers import (
    CODECS,
    Cursor,
    FileLayer,
    InflateLayer,
    Layer,
    LinesLayer,
    Member,
    MemberLayer,
    Reader,
    TextLayer,
)
from meshdiag.sources.limits import DEFAULT, Limits
from meshdiag.sources.sections import DumpCursor, PreviousCursor
from meshdiag.sources.session import PROCESS, Key, Session
from meshdiag.sources.tar import TarCursor
from meshdiag.sources.zip import ZipCursor

ENCODINGS = ("bom", "utf-16-le", "utf-16-be")
ARCHIVES = ("tar", "zip")
CURSORS: dict[str, type[Cursor]] = {
    "tar": TarCursor,
    "zip": ZipCursor,
    "dump": DumpCursor,
    "previous": PreviousCursor,
}
ONCE = "once"


class Root(Protocol):
    """Where bytes begin. `once`: they can be read only one time, from the beginning to the end."""

    @property
    def once(self) -> bool: ...

    def layer(self, session: Session, limits: Limits, where: str) -> Layer: ...


@dataclass(frozen=True)
class FileRoot:
    """A regular file, or the bytes from `start` to `end` of it."""

    path: str
    start: int = 0
    end: int | None = None
    once: ClassVar[bool] = False

    def layer(self, session: Session, limits: Limits, where: str) -> Layer:
        """Opens the file; raises OSError."""
        file = Path(self.path).open("rb", buffering=0)  # noqa: SIM115 - the layer closes it
        size = file.seek(0, io.SEEK_END) if self.end is None else self.end
        file.seek(self.start)
        # A file of /proc says that it is empty; a log that grows is read up to where it was.
        left = max(0, size - self.start) if size or self.end is not None else None
        return FileLayer(file, session, limits, where, left)


@dataclass(frozen=True)
class UrlRoot:
    """A file that fsspec can open."""

    url: str
    once: ClassVar[bool] = False

    def layer(self, session: Session, limits: Limits, where: str) -> Layer:
        """Opens the URL; raises OSError and whatever the file system's package raises."""
        fsspec = importlib.import_module("fsspec")
        return FileLayer(fsspec.open(self.url, "rb").open(), session, limits, where)


@dataclass(frozen=True, eq=False)
class HandleRoot:
    """An open file, or a pipe that is opened when it is read. It stays open, and is read once."""

    file: Any
    once: ClassVar[bool] = True

    def layer(self, session: Session, limits: Limits, where: str) -> Layer:
        """Reads on from where the file stands."""
        if isinstance(self.file, str):
            pipe = Path(self.file).open("rb", buffering=0)  # noqa: SIM115 - the layer closes it
            return FileLayer(pipe, session, limits, where, patient=False)
        return FileLayer(self.file, session, limits, where, borrowed=True, patient=False)


@dataclass(frozen=True, eq=False)
class LinesRoot:
    """Lines of a list, or of an iterator, which can be read once."""

    lines: Iterable[str | bytes]
    once: bool = False

    def layer(self, session: Session, limits: Limits, where: str) -> Layer:
        """From the first line."""
        return LinesLayer(self.lines, session, limits, where)


@dataclass(frozen=True, slots=True)
class Step:
    """One step inwards: decompress, decode, or go to member `index` of a container.

    `name` is what the step adds to the label; `option` is for the cursor.
    """

    kind: str
    index: int = 0
    name: str = ""
    option: str = ""


class _OnceCursor(Cursor):
    """What can be read once, as a container of one member: it remembers its beginning, so one can look at it."""

    def step(self) -> Any:
        """The one."""
        yield Member(""), iter(lambda: bytes(self.source.some(1 << 16)), b"")


class Passed(OSError):
    """Bytes of something that can be read once are already gone."""


@dataclass(frozen=True)
class Opener:
    """Opens one stream. Pickled, it leaves the session (the callback for problems) behind."""

    root: Root
    label: str
    steps: tuple[Step, ...] = ()
    limits: Limits = DEFAULT
    session: Session = field(default=PROCESS, compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return (Opener, (self.root, self.label, self.steps, self.limits))

    def then(self, *steps: Step) -> Opener:
        """The opener of something further inside."""
        return replace(self, steps=self.steps + steps)

    def where(self, count: int | None = None) -> str:
        """The label after `count` steps: `bundle.tar.gz!proxies/a/b/istio-proxy.log`."""
        names = [step.name for step in self.steps[:count] if step.name]
        return "!".join([self.label, *names])

    def __call__(self) -> Reader:
        """A buffered reader; empty, with the reason reported, when it cannot be opened."""
        try:
            return Reader(self.layer(), self.session)
        except Exception as error:  # OSError of files, anything of a remote file system
            self.session.report(self.where(), f"cannot be opened: {_why(error)}")
            return Reader(LinesLayer((), self.session, self.limits, self.where()), self.session)

    def layer(self) -> Layer:
        """The layers down to the root; raises what opening the root raises."""
        return self._layer(len(self.steps))

    def cursor(self, kind: str, index: int, option: str = "") -> tuple[Key, Cursor]:
        """A cursor over the container that this opener gives, able to give member `index`."""
        return self._cursor(len(self.steps), kind, index, option)

    def _layer(self, count: int) -> Layer:
        where = self.where(count)
        if not count:
            if not self.root.once:
                return self.root.layer(self.session, self.limits, where)
            key: Key = (self.root, (), ONCE)
            cursor = self.session.take(key, 0)
            if cursor is None:
                if not self.session.begin(self.root):
                    raise Passed("it can be read only once and in order, while listing")
                cursor = _OnceCursor(self.root.layer(self.session, self.limits, where), where)
            cursor.goto(0)
            return MemberLayer(cursor, key, where)
        step = self.steps[count - 1]
        if step.kind in CODECS:
            return InflateLayer(step.kind, self._layer(count - 1), where)
        if step.kind in ENCODINGS:
            return TextLayer(step.kind, self._layer(count - 1), where)
        key, cursor = self._cursor(count - 1, step.kind, step.index, step.option)
        if cursor.goto(step.index) is None:
            cursor.close()
            raise OSError("the archive has no such member any more")
        return MemberLayer(cursor, key, where)

    def _cursor(self, count: int, kind: str, index: int, option: str) -> tuple[Key, Cursor]:
        key: Key = (self.root, self.steps[:count], kind)
        cursor = self.session.take(key, index)
        if cursor is None:
            cursor = CURSORS[kind](self._layer(count), self.where(count), option)
        return key, cursor


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
