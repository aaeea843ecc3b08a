"""Saves what a live source yields as a folder that `diagnose` reads back: one file per container.

    DIR/clusters/CLUSTER/NAMESPACE/POD/CONTAINER[-previous].log     (see `capture` in sources/layouts.py)
    DIR/capture.json                                                what could not be had, and when it was saved

Other origins (files, standard input) go to DIR/files/NAME.log. Lines keep the kubelet's times.
"""

from __future__ import annotations

import json
import os
import re
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from meshdiag.model import MeshdiagError, Origin, Problem
from meshdiag.sources.live import Event, Gap, Lines

OPEN_FILES = 256
NOTES = 10_000
"""Gaps and problems that are kept at most."""

_ODD = re.compile(r"[^A-Za-z0-9._-]")


class Capture:
    """Writes events to a folder, which must be empty or not there. `with Capture(path) as capture: capture.write(event)`.

    With a `limit` (bytes) it saves no more lines once it is reached, and `is_full` is set.
    Raises MeshdiagError when the folder cannot be used or a file cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], limit: int | None = None) -> None:
        self.folder = Path(folder)
        self.is_full = False
        self._left = limit
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if any(self.folder.iterdir()):
                raise MeshdiagError(f"{self.folder} is not empty: name a new folder to save to")
        except OSError as e:
            raise MeshdiagError(f"cannot save to {self.folder}: {e.strerror or e}") from None
        self._files: OrderedDict[Path, IO[bytes]] = OrderedDict()
        self._began = datetime.now(UTC)
        self._notes: list[dict[str, Any]] = []

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, event: Event) -> None:
        """Saves lines; notes a gap or a problem."""
        match event:
            case Lines(origin, _, data):
                if self._left is not None:
                    self._left -= len(data)
                    self.is_full = self._left < 0
                    if self.is_full:
                        return
                path = self.folder / path_of(origin)
                try:
                    self._file(path).write(data)
                except OSError as e:
                    raise MeshdiagError(f"cannot save to {path}: {e.strerror or e}") from None
            case Gap() as gap if len(self._notes) < NOTES:
                since, until = (t.isoformat() if t else None for t in (gap.since, gap.until))
                self._notes.append({"gap": gap.origin.path, "since": since, "until": until, "why": gap.why})
            case Problem() as problem if len(self._notes) < NOTES:
                self._notes.append({"problem": problem.where, "what": problem.what, "hint": problem.hint})

    def flush(self) -> None:
        """Hands what was written to the system, for whoever reads along."""
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        """Writes what is left, and `capture.json`."""
        while self._files:
            self._files.popitem()[1].close()
        about = {
            "schema": "meshdiag/capture/v1",
            "from": self._began.isoformat(),
            "to": datetime.now(UTC).isoformat(),
            "not_had": self._notes,
        }
        (self.folder / "capture.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    def _file(self, path: Path) -> IO[bytes]:
        file = self._files.get(path)
        if file is None:
            if len(self._files) >= OPEN_FILES:
                self._files.popitem(last=False)[1].close()
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("ab")
            self._files[path] = file
        self._files.move_to_end(path)
        return file


def path_of(origin: Origin) -> Path:
    """Where the lines of an origin are saved, relative to the folder. No name of a log leads out of it.

    >>> path_of(Origin("", "k3d", "shop", "cart-0", "istio-proxy")).as_posix()
    'clusters/k3d/shop/cart-0/istio-proxy.log'
    """
    if origin.namespace and origin.pod and origin.container:
        name = origin.container + ("-previous" if origin.previous else "")
        parts = (origin.cluster or "cluster", origin.namespace, origin.pod)
        return Path("clusters", *map(_plain, parts), f"{_plain(name)}.log")
    name = "stdin" if origin.path in ("-", "") else origin.path.lstrip("./")
    return Path("files", f"{_plain(name.removesuffix('.log'))}.log")


def _plain(name: str) -> str:
    """A file name: what is no letter, digit, dot, hyphen or underscore is a hyphen."""
    plain = _ODD.sub("-", name)[-200:].lstrip(".")
    return plain or "unnamed"
