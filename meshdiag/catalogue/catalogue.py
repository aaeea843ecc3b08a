"""`Catalogue`: where the packs are found, the cache of the validated catalogue, and look-up."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from meshdiag import cache
from meshdiag.catalogue.entries import Cause, Pattern, Sequence
from meshdiag.model import MeshdiagError, Record

ENV = "MESHDIAG_PATTERNS"
"""Folders of further packs, separated as in PATH."""

ENTRY_POINT = "meshdiag.patterns"
"""Entry points of this group name a package or a callable that gives a folder."""

CODE_VERSION = "8"
"""Raised when load() makes other values of the same files."""


@dataclass(frozen=True)
class Catalogue:
    """Causes by id, and patterns in the order in which they are tried.

    `Catalogue.load(*dirs)` reads the built-in pack, the user's packs and `dirs`; it raises
    MeshdiagError (CatalogueError) that names every fault by file and line.
    """

    causes: Mapping[str, Cause]
    patterns: tuple[Pattern, ...]
    glossary: tuple[Mapping[str, Any], ...] = ()
    sequences: tuple[Sequence, ...] = ()
    digest: str = ""

    @classmethod
    def load(
        cls, *dirs: str | os.PathLike[str], builtin: bool = True, user: bool = True, full: bool = False
    ) -> Catalogue:
        """The built-in pack, then the user's (config folder, $MESHDIAG_PATTERNS, entry points), then `dirs`.

        A later pack overrides an id of an earlier one and may `disable` ids. Validated once; the result is cached by
        content, without the examples: `full` reads the files again and keeps them.
        """
        folders = [builtin_dir()] if builtin else []
        if user:
            folders += user_dirs()
        for d in dirs:
            path = Path(d)
            if not path.is_dir():
                raise MeshdiagError(f"no folder of patterns at {path}: give a folder that holds *.yaml pattern files")
            folders.append(path)
        return _load(tuple((d, _contents(d)) for d in folders), full)

    @classmethod
    def from_raw(cls, raw: Mapping[str, Any], digest: str = "", ordered: bool = False) -> Catalogue:
        """From the plain values that `load` and the cache hold."""
        causes = {r["id"]: Cause.from_raw(r) for r in raw["causes"]}
        patterns = [Pattern.from_raw(r) for r in raw["patterns"]]
        if not ordered:
            patterns.sort(key=lambda p: p.order)
        sequences = tuple(Sequence.from_raw(r) for r in raw.get("sequences", ()))
        return cls(causes, tuple(patterns), tuple(raw.get("glossary", ())), sequences, digest)

    @cached_property
    def by_format(self) -> Mapping[str, tuple[Pattern, ...]]:
        """The patterns of each format, in order."""
        out: dict[str, list[Pattern]] = {}
        for p in self.patterns:
            for f in p.formats:
                out.setdefault(f, []).append(p)
        return {f: tuple(ps) for f, ps in out.items()}

    @cached_property
    def by_id(self) -> Mapping[str, Pattern]:
        """The patterns by id."""
        return {p.id: p for p in self.patterns}

    @cached_property
    def signals(self) -> frozenset[str]:
        """Ids of the patterns whose times sequences, the readiness timeline or "what changed" ask for."""
        members: frozenset[str] = frozenset().union(*(s.members for s in self.sequences))
        causes = {m.removeprefix("cause:") for m in members if m.startswith("cause:")}
        return frozenset(
            p.id for p in self.patterns if p.milestone or p.change or p.id in members or not causes.isdisjoint(p.causes)
        )

    @cached_property
    def explained(self) -> Mapping[str, frozenset[str]]:
        """For each cause all causes that are its symptoms, directly or through others."""

        @lru_cache(None)
        def below(cause: str) -> frozenset[str]:
            direct = {e.cause for e in self.causes[cause].explains} if cause in self.causes else set()
            return frozenset(direct.union(*map(below, direct)))

        return {c: below(c) for c in self.causes}

    def find(self, record: Record) -> Pattern | None:
        """The first pattern that holds for the record."""
        for p in self.by_format.get(record.format, ()):
            if p.holds(record):
                return p
        return None


def builtin_dir() -> Path:
    """The pack of the product: inside the wheel, or at the top of the checkout in an editable install."""
    here = Path(__file__).resolve().parents[1]
    for candidate in (here / "_patterns", here.parent / "patterns"):
        if candidate.is_dir():
            return candidate
    raise MeshdiagError(f"the built-in patterns are missing beside {here}: install meshdiag again")


def user_dirs() -> list[Path]:
    """The user's packs that exist."""
    import platformdirs

    found = [Path(platformdirs.user_config_dir("meshdiag")) / "patterns"]
    for part in os.environ.get(ENV, "").split(os.pathsep):
        if part:
            path = Path(part)
            if not path.is_dir():
                raise MeshdiagError(f"${ENV} names {path}, which is no folder: mend or unset the variable")
            found.append(path)
    return [p for p in found if p.is_dir()] + _entry_point_dirs()


def _entry_point_dirs() -> list[Path]:
    """Folders that installed packages offer. Asking costs a tenth of a cold start, so that "none" is remembered."""
    places = [p for p in sys.path if p.endswith("-packages") and Path(p).is_dir()]
    state = repr([(p, Path(p).stat().st_mtime_ns) for p in places]).encode()
    name = f"entrypoints-{hashlib.blake2b(state, digest_size=16).hexdigest()}"
    if cache.read(name) == b"none":
        return []
    from importlib import metadata

    points = metadata.entry_points(group=ENTRY_POINT)
    if not points:
        cache.write(name, b"none")
    out = []
    for point in points:
        target = point.load()
        place = target() if callable(target) else Path(next(iter(target.__path__)))
        out.append(Path(place))
    return out


def files_of(directory: Path) -> list[Path]:
    """The YAML files of a pack, sorted; hidden ones are left out."""
    found = (p for s in ("*.yaml", "*.yml") for p in directory.rglob(s))
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(directory).parts))


def _contents(directory: Path) -> tuple[tuple[str, bytes], ...]:
    out = []
    for path in files_of(directory):
        try:
            out.append((path.relative_to(directory).as_posix(), path.read_bytes()))
        except OSError as e:
            raise MeshdiagError(f"cannot read {path}: {e}") from None
    return tuple(out)


def _texts(directory: Path, contents: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """By their names; as a file that is opened as text."""
    out = {}
    for name, data in contents:
        try:
            out[name] = io.StringIO(data.decode(), newline=None).read()
        except UnicodeDecodeError as e:
            raise MeshdiagError(f"cannot read {directory / name}: {e}") from None
    return out


@lru_cache(maxsize=8)
def _load(packs: tuple[tuple[Path, tuple[tuple[str, bytes], ...]], ...], full: bool) -> Catalogue:
    digest = hashlib.blake2b(CODE_VERSION.encode(), digest_size=16)
    for directory, contents in packs:
        digest.update(f"\0{directory}\0".encode())
        for name, data in contents:
            digest.update(f"\0{name}\0{len(data)}\0".encode())
            digest.update(data)
    key = digest.hexdigest()
    if not full and (known := _cached(key)):
        return known
    from meshdiag.catalogue.load import load

    installed = Path(__file__).resolve().parents[1] / "_patterns"
    raw = load(((d, _texts(d, c)) for d, c in packs), trusted=None if full else installed)
    book = Catalogue.from_raw(raw, key)
    lean = {
        "causes": raw["causes"],
        "glossary": raw["glossary"],
        "patterns": [{k: v for k, v in p.items() if k not in _ONLY_FULL} for p in raw["patterns"]],
        "sequences": [{k: v for k, v in s.items() if k not in _ONLY_FULL} for s in raw["sequences"]],
    }
    # in the order in which they are tried, so that a cold start need not sort them
    lean["patterns"].sort(key=lambda p: book.by_id[p["id"]].order)
    cache.write(f"catalogue-{key}.json", json.dumps(lean, separators=(",", ":")).encode())
    return book


_ONLY_FULL = frozenset({"examples", "near_misses", "covers"})


def _cached(key: str) -> Catalogue | None:
    data = cache.read(f"catalogue-{key}.json")
    if data is None:
        return None
    try:
        book = Catalogue.from_raw(json.loads(data), key, ordered=True)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # broken or foreign: it is built again
    return book if book.patterns else None
