"""From what the user named to roots that can be opened: paths, globs, folders, stdin, open files, lines, URLs."""

from __future__ import annotations

import glob
import importlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from meshdiag.lazyre import lazy
from meshdiag.model import MeshdiagError
from meshdiag.sources import sniff
from meshdiag.sources.labels import printable
from meshdiag.sources.opener import FileRoot, HandleRoot, LinesRoot, Root, UrlRoot
from meshdiag.sources.session import Session

Input = Any
"""A path (str or Path: a file, a folder, a glob, `-`, a URL), an open file, or an iterable of lines."""

_URL = lazy(r"[a-zA-Z][a-zA-Z0-9+.-]+(::[a-zA-Z][a-zA-Z0-9+.-]+)*://")
_MAGIC = lazy(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Found:
    """A root, what it is called, and its size when it is a file."""

    root: Root
    label: str
    size: int | None = None


def check(inputs: Iterable[Input]) -> list[Input]:
    """The inputs as a list, each of which is there and can be read; raises MeshdiagError for the first that is not."""
    if isinstance(inputs, str | os.PathLike):
        inputs = [inputs]
    elif isinstance(inputs, bytes | bytearray):
        raise MeshdiagError("bytes are no input: give a path, or io.BytesIO(data) for the data itself")
    found = list(inputs)
    if not found:
        raise MeshdiagError("no input: give a file, a folder, an archive, a glob, or - for standard input")
    for one in found:
        _check(one)
    return found


def _check(one: Input) -> None:
    if isinstance(one, bytes | bytearray):
        raise MeshdiagError("bytes are no input: give a path, or io.BytesIO(data) for the data itself")
    if not isinstance(one, str | os.PathLike):
        if not hasattr(one, "read") and not isinstance(one, Iterable):
            kind = type(one).__name__
            raise MeshdiagError(f"{kind} is no input: give a path, an open file or an iterable of lines")
        if getattr(one, "closed", False) is True:
            raise MeshdiagError(f"{_name(one)}: the file is closed: open it again")
        return
    text = os.fspath(one)
    if not text:
        raise MeshdiagError('"" is no path: give a file, a folder, or - for standard input')
    if text == "-":
        if sys.stdin is None:
            raise MeshdiagError("-: there is no standard input: give a file")
        return
    if "\0" in text:
        raise MeshdiagError("a path cannot contain a NUL character")
    if _url(one):
        _check_url(text)
        return
    path = Path(text)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            with os.scandir(path):
                pass
        elif stat.S_ISREG(mode):
            with path.open("rb"):
                pass
        elif stat.S_ISSOCK(mode) or stat.S_ISBLK(mode):
            raise MeshdiagError(f"{_show(text)}: is no file: give a file, a folder or a pipe")
    except PermissionError:
        raise MeshdiagError(f"{_show(text)}: permission denied: run as a user who may read it") from None
    except (FileNotFoundError, NotADirectoryError):
        if not _MAGIC.search(text):
            hint = "the link points nowhere" if path.is_symlink() else "check the path"
            raise MeshdiagError(f"{_show(text)}: no such file or folder: {hint}") from None
        if not _matches(text):
            raise MeshdiagError(f"{_show(text)}: nothing matches: check the pattern, ** goes into folders") from None
    except OSError as error:
        raise MeshdiagError(f"{_show(text)}: {error.strerror or error}: check the path") from None


def _matches(pattern: str) -> list[str]:
    # Path.glob takes no absolute pattern and follows no links.
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207


def roots(one: Input, session: Session, seen: set[tuple[int, int]]) -> Iterator[Found]:
    """The files of one checked input, in sorted order, each file once in a run."""
    if not isinstance(one, str | os.PathLike):
        yield _object(one)
        return
    text = os.fspath(one)
    if text == "-":
        yield Found(HandleRoot(getattr(sys.stdin, "buffer", sys.stdin)), "-")
    elif scheme := _url(one):
        if scheme == "file":
            yield from _path(unquote(urlsplit(text).path), session, seen)
        else:
            yield from _urls(text, session)
    elif _MAGIC.search(text) and not Path(text).exists():
        for match in _matches(text):
            yield from _path(match, session, seen, chosen="**" not in text)
    else:
        yield from _path(text, session, seen)


def _path(text: str, session: Session, seen: set[tuple[int, int]], chosen: bool = True) -> Iterator[Found]:
    """A file, or what is in a folder. What the user has not `chosen` by name must look like a log."""
    try:
        info = Path(text).stat()
    except OSError as error:
        session.report(_show(text), f"cannot be read: {error.strerror or error}")
        return
    if stat.S_ISDIR(info.st_mode):
        yield from _folder(text, session, seen)
    elif stat.S_ISREG(info.st_mode):
        if chosen or _wanted(text, session):
            yield from _file(text, info, seen)
    elif chosen:
        # A pipe, for example the /dev/fd/63 of <(kubectl logs ...): opened when it is read, for that can wait.
        yield Found(HandleRoot(text), _show(text))
    else:
        session.report(_show(text), "skipped: not a regular file")


def _file(text: str, info: os.stat_result, seen: set[tuple[int, int]]) -> Iterator[Found]:
    same = (info.st_dev, info.st_ino)
    if info.st_ino and same in seen:
        return  # /var/log/containers links to /var/log/pods: lines count once
    seen.add(same)
    yield Found(FileRoot(text), _show(text), info.st_size)


def _folder(top: str, session: Session, seen: set[tuple[int, int]]) -> Iterator[Found]:
    def lost(error: OSError) -> None:
        session.report(_show(str(error.filename)), f"cannot be read: {error.strerror}", "ask for read permission")

    # Links to folders are not followed, so a loop of links ends.
    for folder, folders, files in os.walk(top, onerror=lost):
        folders[:] = sorted(f for f in folders if f not in sniff.QUIET_FOLDERS)
        for name in folders:
            if os.path.islink(inner := os.path.join(folder, name)):  # noqa: PTH114, PTH118 - bytes-safe, cheap
                session.report(_show(inner), "skipped: a link to a folder", "name it as well if it is wanted")
        for name in sorted(files):
            text = os.path.join(folder, name)  # noqa: PTH118
            try:
                info = Path(text).stat()
            except OSError as error:
                session.report(_show(text), f"cannot be read: {error.strerror}")
                continue
            if not stat.S_ISREG(info.st_mode):
                session.report(_show(text), "skipped: not a regular file")
            elif _wanted(text, session):
                yield from _file(text, info, seen)


def _wanted(text: str, session: Session) -> bool:
    suffix = sniff.suffix(text)
    if suffix in sniff.QUIET_SUFFIXES:
        return False
    if suffix in sniff.BINARY_SUFFIXES or sniff.is_core(text):
        session.report(_show(text), "skipped: not text")
        return False
    return True


def _object(one: Any) -> Found:
    if hasattr(one, "read"):
        return Found(HandleRoot(_bytes_of(one)), _name(one))
    return Found(LinesRoot(one, once=iter(one) is one), "<lines>")


def _bytes_of(file: Any) -> Any:
    """The bytes under a text file when that is safe, so that a compressed one is recognised."""
    buffer = getattr(file, "buffer", None)
    if buffer is None:
        return file
    if file is sys.stdin:
        return buffer
    try:
        if (file.encoding or "").lower().replace("_", "-") in ("utf-8", "utf8", "ascii") and file.seekable():
            file.seek(file.tell())  # what the text layer has read ahead goes back
            return buffer
    except (OSError, ValueError, AttributeError):
        pass
    return file


def is_file(one: Input) -> bool:
    """Is it the path of one existing file?"""
    return isinstance(one, str | os.PathLike) and Path(os.fspath(one)).is_file()


def name(one: Input) -> str:
    """What an input is called."""
    if isinstance(one, str | os.PathLike):
        return _show(os.fspath(one))
    return _name(one) if hasattr(one, "read") else "<lines>"


def _name(file: Any) -> str:
    name = getattr(file, "name", None)
    return _show(os.fspath(name)) if isinstance(name, str | os.PathLike) and str(name) else "<stream>"


def _show(text: Any) -> str:
    return printable(os.fsdecode(text))


# --- URLs --------------------------------------------------------------------------------------------------------


def _url(one: Any) -> str:
    """The scheme, "" when it is no URL (a Path is never one)."""
    return one.partition("://")[0].lower() if isinstance(one, str) and _URL.match(one) else ""


def _fsspec(url: str) -> Any:
    try:
        return importlib.import_module("fsspec")
    except ImportError:
        scheme = url.partition("://")[0]
        extra = {"s3": " s3fs", "gs": " gcsfs", "gcs": " gcsfs", "abfs": " adlfs", "az": " adlfs"}.get(scheme, "")
        raise MeshdiagError(f"{_show(url)}: needs fsspec: pip install fsspec{extra}") from None


def _check_url(url: str) -> None:
    if _url(url) == "file":
        _check(unquote(urlsplit(url).path))
        return
    try:
        files, path = _fsspec(url).core.url_to_fs(url)
        there = bool(files.glob(path)) if _MAGIC.search(path) else files.exists(path)
    except MeshdiagError:
        raise
    except ImportError as error:
        raise MeshdiagError(f"{_show(url)}: {error}") from None
    except Exception as error:  # every file system has its own exceptions
        raise MeshdiagError(f"{_show(url)}: cannot be reached: {error or type(error).__name__}") from None
    if not there:
        raise MeshdiagError(f"{_show(url)}: no such file or folder: check the URL")


def _urls(url: str, session: Session) -> Iterator[Found]:
    try:
        files, path = _fsspec(url).core.url_to_fs(url)
        if _MAGIC.search(path):
            paths = sorted(files.glob(path))
        elif files.isdir(path):
            paths = [p for p in sorted(files.find(path)) if _wanted(p, session)]
        else:
            yield Found(UrlRoot(url), _show(url), _remote_size(files, path))
            return
        for inner in paths:
            if not files.isdir(inner):
                full = files.unstrip_protocol(inner)
                yield Found(UrlRoot(full), _show(full), _remote_size(files, inner))
    except Exception as error:
        session.report(_show(url), f"cannot be listed: {error or type(error).__name__}")


def _remote_size(files: Any, path: str) -> int | None:
    size = files.size(path)
    return size if isinstance(size, int) else None
