"""What the streams of one `open_inputs` share: where problems go, and archive cursors that can be continued."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from meshdiag.model import Problem

if TYPE_CHECKING:
    from meshdiag.sources.layers import Cursor

Key = tuple[Any, tuple[Any, ...], str]
"""A container: its root, the steps that lead to its bytes, and its kind."""

KEPT_CURSORS = 8
SEEN_PROBLEMS = 10_000


class Session:
    """Problems (each told once) and the parked cursors of one run, or of one process.

    A cursor walks a container forward. Whoever wants a member takes a parked cursor that stands at or before it, and
    parks it again when done, so reading the members of a compressed archive in order costs one pass, while
    every member can still be opened alone by starting over.
    """

    def __init__(self, tell: Callable[[Problem], None] | None = None) -> None:
        self._tell = tell
        self._untold: list[Problem] = []
        self._seen: set[Problem] = set()
        self._parked: OrderedDict[Key, Cursor] = OrderedDict()
        self._begun: list[Any] = []
        self._lock = threading.RLock()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Closes what is parked; streams that are opened later start over."""
        while self._parked:
            self._parked.popitem()[1].close()

    def report(self, where: str, what: str, hint: str = "") -> None:
        """Tells a problem, once: several passes over an archive meet the same one."""
        problem = Problem(where, what, hint)
        with self._lock:
            if problem in self._seen:
                return
            if len(self._seen) < SEEN_PROBLEMS:
                self._seen.add(problem)
            if self._tell is None:
                self._untold.append(problem)
                return
        self._tell(problem)

    def untold(self) -> list[Problem]:
        """The problems that no callback got, handed over once."""
        with self._lock:
            problems, self._untold = self._untold, []
            self._seen.difference_update(problems)
        return problems

    def begin(self, root: Any) -> bool:
        """True the first time: for what can be read only once."""
        with self._lock:
            if any(root is begun for begun in self._begun):
                return False
            self._begun.append(root)
            return True

    def take(self, key: Key, index: int) -> Cursor | None:
        """A parked cursor of this container that can still give member `index`."""
        with self._lock:
            if key not in self._parked:
                # A cursor of a container inside this one holds our cursor: closing it parks ours.
                root, steps, kind = key
                for other in [k for k in self._parked if k[0] == root and _inside(k[1], steps, kind)]:
                    if inner := self._parked.pop(other, None):
                        inner.close()
            cursor = self._parked.get(key)
            if cursor is None or not cursor.can_give(index):
                return None
            return self._parked.pop(key)

    def park(self, key: Key, cursor: Cursor) -> None:
        """Keeps a cursor for the next one who wants a later member."""
        with self._lock:
            old = self._parked.pop(key, None)
            if old is not None and old.index > cursor.index:
                old, cursor = cursor, old
            self._parked[key] = cursor
            spare = self._parked.popitem(last=False)[1] if len(self._parked) > KEPT_CURSORS else None
        for one in (old, spare):
            if one is not None:
                one.close()

    def drop(self, key: Key) -> None:
        """Closes the parked cursor of a container that is done."""
        with self._lock:
            cursor = self._parked.pop(key, None)
        if cursor is not None:
            cursor.close()


def weak(session: Session) -> Session:
    """A reference that does not keep the session: it owns the cursors, and closes them when the last stream goes."""
    return session if isinstance(session, weakref.ProxyTypes) else cast(Session, weakref.proxy(session))


def _inside(steps: tuple[Any, ...], outer: tuple[Any, ...], kind: str) -> bool:
    return len(steps) > len(outer) and steps[: len(outer)] == outer and steps[len(outer)].kind == kind


PROCESS = Session()
"""For streams that came from another process: their problems wait in the opened object's `problems`."""
