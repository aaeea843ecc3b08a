"""A snapshot as a folder that `load` reads back: one YAML file for each kind, and `snapshot.yaml`, which says what was read and when."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from meshdiag.cluster.objects import RESOURCES
from meshdiag.cluster.snapshot import API, Snapshot
from meshdiag.model import MeshdiagError

ABOUT: Final = "snapshot.yaml"
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Quoting(_Dumper):  # type: ignore[misc]
    """Quotes, besides what PyYAML takes for something else than a text, what others do: `1e10`, `0o17`; knows no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Quoting.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$"), list("-+.0123456789")
)
_Quoting.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?0[xXoO][0-9a-fA-F]+$"), list("-+0"))


def save(snapshot: Snapshot, folder: str | os.PathLike[str]) -> Path:
    """Writes a snapshot into a folder, which must be new, empty, or hold a snapshot that was saved before; returns its path.

    It is there whole or not at all. Raises MeshdiagError when the folder holds anything else or cannot be written.
    """
    path = Path(folder).expanduser()
    _check(path)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.mkdir()
        try:
            for name, content in _files(snapshot).items():
                (new / name).write_text(_text(content), encoding="utf-8")
            _move(new, path)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    except OSError as e:
        raise MeshdiagError(f"cannot save to {path}: {e.strerror or e}") from None
    return path


def _check(path: Path) -> None:
    ours = {ABOUT, *map(_file, RESOURCES)}
    try:
        if not path.exists() and not path.is_symlink():
            return
        if path.is_symlink() or not path.is_dir():
            raise MeshdiagError(f"{path} is no folder: name a new one to save to")
        there = {p.name for p in path.iterdir()}
    except OSError as e:
        raise MeshdiagError(f"cannot save to {path}: {e.strerror or e}") from None
    if there and (ABOUT not in there or not there <= ours):
        other = min(there - ours, default=min(there))
        raise MeshdiagError(f"{path} holds other files, as {other}: name a new folder to save to")


def _move(new: Path, path: Path) -> None:
    """Puts the new folder in the place of the old one, which comes back if that fails."""
    if not path.exists():
        new.rename(path)
        return
    old = new.with_suffix(".old")
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _file(kind: str) -> str:
    """As kubectl names a resource: `gateways.networking.istio.io.yaml`."""
    resource = RESOURCES[kind]
    return f"{'.'.join(filter(None, (resource.plural, resource.group)))}.yaml"


def _files(snapshot: Snapshot) -> dict[str, Mapping[str, Any]]:
    kinds = sorted({o.ref.kind for o in snapshot.objects})
    found: dict[str, Mapping[str, Any]] = {
        _file(kind): {"apiVersion": "v1", "kind": "List", "items": [o.raw for o in snapshot.all(kind)]}
        for kind in kinds
    }
    spaces = snapshot.namespaces
    found[ABOUT] = {
        "apiVersion": API,
        "kind": "Snapshot",
        "source": snapshot.source,
        "taken": snapshot.taken.isoformat().replace("+00:00", "Z") if snapshot.taken else None,
        "kubernetes": snapshot.kubernetes,
        "istio": snapshot.istio,
        "namespaces": None if spaces is None else sorted(spaces),
        "read": [k for k in RESOURCES if k not in snapshot.unread],
        "unread": dict(snapshot.unread),
        "ignored": dict(snapshot.ignored),
        "problems": [{"where": p.where, "what": p.what, "hint": p.hint} for p in snapshot.problems],
    }
    return found


def _text(content: Mapping[str, Any]) -> str:
    dump: dict[str, Any] = {"Dumper": _Quoting, "sort_keys": False, "allow_unicode": True, "width": 1 << 20}
    try:
        return str(yaml.dump(content, **dump))
    except UnicodeEncodeError:  # half of a character, which JSON can hold and a file cannot
        return str(yaml.dump(_whole(content), **dump))


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {_whole(k): _whole(v) for k, v in value.items()}
    return [_whole(v) for v in value] if isinstance(value, list) else value
