"""What a person names to be read: whether it can be, what of it was read before, how much it is."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from meshdiag.model import MeshdiagError
from meshdiag.sources import open_inputs

PACKED = (".gz", ".zst", ".bz2", ".xz", ".zip", ".tgz")
MOST_FILES = 50_000
"""Files of a folder whose sizes are added up."""


@dataclass(frozen=True, slots=True)
class Named:
    """An input by its name, the paths that it means, and the files and folders behind them and all links."""

    name: str
    paths: tuple[str, ...]
    places: frozenset[str]


def named(name: str) -> Named:
    """The input of a name, `~` being the home folder. Raises MeshdiagError for one that is not there, or cannot be read again."""
    if name == "-":
        raise MeshdiagError(
            "standard input cannot be read twice, as lines and search do: save it to a file, and open that"
        )
    path = home(name)
    open_inputs([path], lambda _: None)  # raises for what is not there
    if "://" in path:
        return Named(name, (path,), frozenset((path,)))
    found = [path] if os.path.lexists(path) else glob.glob(path, recursive=True)  # noqa: PTH207  takes any pattern
    found = sorted(one for one in found if _lasts(one))
    if not found:
        raise MeshdiagError(f"{name} cannot be read twice, as lines and search do: save it to a file, and open that")
    # of what ** matches only what looks like a log is read
    paths = (path,) if "**" in path and found != [path] else tuple(found)
    return Named(name, paths, frozenset(map(os.path.realpath, found)))


def home(name: str) -> str:
    """A path with the home folder for its `~`; of an unknown user as it is. Raises MeshdiagError for what can be no path."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        raise MeshdiagError(f"{name[:80]!r} is no path") from None
    return os.path.expanduser(name)  # noqa: PTH111  knows what to do without a home


def _lasts(path: str) -> bool:
    """Whether it is a file or a folder, no pipe or device."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def within(some: Iterable[str], others: Collection[str]) -> bool:
    """Whether each of some places is one of others, or in one of them."""
    return all(any(str(p) in others for p in (Path(one), *Path(one).parents)) or one in others for one in some)


def outermost(some: Iterable[Named]) -> list[Named]:
    """Those of the inputs that are not within the others."""
    kept: list[Named] = []
    for one in some:
        if not within(one.places, {p for other in kept for p in other.places}):
            kept = [*(other for other in kept if not within(other.places, one.places)), one]
    return kept


def size(paths: Iterable[str], stop: Callable[[], bool]) -> int | None:
    """Bytes of plain files; None when something else is among them, when there are very many, or when it is stopped."""
    total = count = 0
    for path in paths:
        files: Iterable[str] = [path]
        if os.path.isdir(path):  # noqa: PTH112
            files = (os.path.join(folder, f) for folder, _, names in os.walk(path) for f in names)  # noqa: PTH118
        for file in files:
            count += 1
            if count > MOST_FILES or stop():
                return None
            try:
                info = Path(file).stat()
            except (OSError, ValueError):
                return None
            if not stat.S_ISREG(info.st_mode) or file.endswith(PACKED):
                return None
            total += info.st_size
    return total
