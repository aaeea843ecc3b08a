"""What was changed, on disk: the previous objects are saved before anything is sent, so that every change can be told and taken back.

One file an entry, only readable by its owner, replaced as a whole and flushed to the disk each time a step goes on. After a crash it
says what was sent; whether that arrived is found out by a look at the cluster (`applying.settle`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from meshdiag.cluster.objects import Ref
from meshdiag.fixing.plan import Change, Verb
from meshdiag.model import MeshdiagError

ENV = "MESHDIAG_STATE_DIR"
"""Another folder for the journal."""

_file = re.compile(r"([1-9][0-9]{0,8})\.json")


class State(StrEnum):
    """How far a step is: `sent` is also one whose answer never came; `unknown`: so it was, and somebody has changed the object since;
    `not done`: the server refused it, or it never arrived."""

    PLANNED = "planned"
    SENT = "sent"
    UNKNOWN = "unknown"
    DONE = "done"
    NOT_DONE = "not done"


@dataclass(frozen=True, slots=True)
class Saved:
    """A step: what is sent, the object before and after (None: there is none), how far it is, and when it was sent last."""

    change: Change
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    state: State = State.PLANNED
    sent: datetime | None = None

    @property
    def ref(self) -> Ref:
        """The object."""
        return self.change.ref


@dataclass(frozen=True, slots=True)
class Entry:
    """A change of a cluster, perhaps of several objects.

    id       given by `Journal.begin`, 0 before
    context, server   which cluster, as the kubeconfig names it
    kind     `fix`, `undo` or `log-level`
    undoes   the id of the entry that it takes back, else 0
    more     what only its kind knows
    """

    title: str
    context: str
    server: str
    steps: tuple[Saved, ...] = ()
    id: int = 0
    begun: datetime | None = None
    kind: str = "fix"
    undoes: int = 0
    state: State | None = None
    more: Mapping[str, Any] | None = None

    @property
    def standing(self) -> State:
        """Of all steps the one that matters: what may have been sent, else what was done."""
        if self.state is not None:
            return self.state
        states = {s.state for s in self.steps}
        return next((s for s in (State.SENT, State.UNKNOWN, State.DONE, State.PLANNED) if s in states), State.NOT_DONE)

    @property
    def left(self) -> tuple[Saved, ...]:
        """Of an entry of which something was done the steps that were not."""
        done = self.standing in (State.DONE, State.UNKNOWN)
        return tuple(s for s in self.steps if s.state in (State.PLANNED, State.NOT_DONE)) if done else ()

    def with_step(self, i: int, **changes: Any) -> Entry:
        """The entry with a step changed."""
        return replace(self, steps=(*self.steps[:i], replace(self.steps[i], **changes), *self.steps[i + 1 :]))


class Journal:
    """The entries in a folder; `Journal()` is the user's own. Its methods raise MeshdiagError when the disk does not obey."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or _folder()

    def begin(self, entry: Entry) -> Entry:
        """The entry with its id, on the disk."""
        entry = replace(entry, begun=datetime.now(UTC))
        with self._told("save what is there now, so nothing was changed"):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            while True:
                entry = replace(entry, id=max(self._ids(), default=0) + 1)
                temporary = self._written(entry)
                try:
                    os.link(temporary, self._path(entry.id))  # unlike a rename it does not replace another one's
                except FileExistsError:
                    continue
                finally:
                    temporary.unlink()
                self._flush()
                return entry

    def save(self, entry: Entry) -> Entry:
        """Replaces an entry."""
        with self._told(f"write down how far it is: entry {entry.id}"):
            self._written(entry).replace(self._path(entry.id))
            self._flush()
        return entry

    def get(self, id: int) -> Entry:
        """An entry; raises MeshdiagError when there is none or it cannot be read."""
        try:
            text = self._path(id).read_text(encoding="utf-8")
        except FileNotFoundError:
            last = sorted(self._ids())[-5:]
            there = f"the latest are {', '.join(map(str, last))}" if last else "nothing was changed so far"
            raise MeshdiagError(f"the journal has no entry {id}: {there}") from None
        except (OSError, UnicodeDecodeError) as e:
            raise MeshdiagError(f"cannot read {self._path(id)}: {e}") from None
        try:
            return _read(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise MeshdiagError(
                f"cannot read {self._path(id)}: it is no entry of this version's journal ({e!r})"
            ) from None

    def entries(self) -> tuple[list[Entry], list[str]]:
        """All entries, the oldest first, and why others cannot be read."""
        found, broken = [], []
        for id in sorted(self._ids()):
            try:
                found.append(self.get(id))
            except MeshdiagError as e:
                broken.append(str(e))
        return found, broken

    def _ids(self) -> list[int]:
        try:
            return [int(m[1]) for p in self.folder.iterdir() if (m := _file.fullmatch(p.name))]
        except OSError:
            return []

    def _path(self, id: int) -> Path:
        return self.folder / f"{id}.json"

    def _written(self, entry: Entry) -> Path:
        """A temporary file with the entry, flushed; mkstemp makes it for the owner alone."""
        handle, name = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=self.folder)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(_written(entry), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        return Path(name)

    def _flush(self) -> None:
        """Flushes the folder, where that is possible."""
        with contextlib.suppress(OSError):
            handle = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    @contextlib.contextmanager
    def _told(self, what: str) -> Any:
        try:
            yield
        except OSError as e:
            raise MeshdiagError(f"cannot {what}: {e}; ${ENV} names another folder than {self.folder}") from None


def _folder() -> Path:
    if named := os.environ.get(ENV):
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_state_dir("meshdiag")) / "journal"


def _written(entry: Entry) -> dict[str, Any]:
    return {
        "schema": "meshdiag/journal/v1", "id": entry.id, "begun": entry.begun.isoformat() if entry.begun else None,
        "kind": entry.kind, "title": entry.title,
        "context": entry.context, "server": entry.server, "undoes": entry.undoes, "state": entry.state, "more": entry.more,
        "steps": [
            {
                "verb": s.change.verb, "object": s.ref.to_dict(), "body": s.change.body, "restart": s.change.restart, "state": s.state,
                "sent": s.sent.isoformat() if s.sent else None, "before": s.before, "after": s.after,
            }
            for s in entry.steps
        ],
    }  # fmt: skip


def _read(raw: Any) -> Entry:
    steps = []
    for s in raw["steps"]:
        o = s["object"]
        ref = Ref(o["kind"], o["namespace"], o["name"], o["apiVersion"])
        change = Change(Verb(s["verb"]), ref, s["body"], s["restart"])
        sent = datetime.fromisoformat(s["sent"]) if s["sent"] else None
        steps.append(Saved(change, s["before"], s["after"], State(s["state"]), sent))
    return Entry(
        title=raw["title"], context=raw["context"], server=raw["server"], steps=tuple(steps), id=raw["id"],
        begun=datetime.fromisoformat(raw["begun"]) if raw["begun"] else None, kind=raw["kind"], undoes=raw["undoes"],
        state=State(raw["state"]) if raw["state"] else None, more=raw["more"],
    )  # fmt: skip
