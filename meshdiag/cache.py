"""A small cache on disk. It never fails: what cannot be read or written is simply not cached.

Values carry a checksum, so that a broken file is seen and rebuilt.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zlib
from pathlib import Path

ENV = "MESHDIAG_CACHE_DIR"
"""Another folder for the cache; empty switches it off."""

_SUM = 4


def directory() -> Path | None:
    """The cache folder, or None when the cache is switched off."""
    named = os.environ.get(ENV)
    if named is not None:
        return Path(named) if named else None
    import platformdirs

    return Path(platformdirs.user_cache_dir("meshdiag"))


def _sum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_SUM, "little")


def read(name: str) -> bytes | None:
    """The value, or None when it is not there or broken."""
    folder = directory()
    if folder is None:
        return None
    try:
        blob = (folder / name).read_bytes()
    except OSError:
        return None
    checksum, data = blob[:_SUM], blob[_SUM:]
    return data if checksum == _sum(data) else None


def write(name: str, data: bytes, keep: int = 8) -> None:
    """Store a value atomically and drop the oldest of its family (the name up to the first "-")."""
    folder = directory()
    if folder is None:
        return
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(_sum(data) + data)
            Path(temporary).replace(folder / name)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
        family = sorted(folder.glob(name.partition("-")[0] + "-*"), key=lambda p: p.stat().st_mtime)
        for old in family[:-keep]:
            old.unlink(missing_ok=True)
