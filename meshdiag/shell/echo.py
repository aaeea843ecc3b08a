"""Whether the terminal shows what is typed ahead: not while output comes, but for the programs that we run."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

if sys.platform != "win32":
    import termios


class Echo:
    """The echo of standard input, when that is a terminal; else all this does nothing."""

    def __init__(self) -> None:
        self._found: list[Any] | None = None
        """How the terminal was before we hushed it."""

    @contextlib.contextmanager
    def hushed(self) -> Iterator[None]:
        """Without echo: what is typed is kept for the prompt, and not shown in the middle of output."""
        if self._found is not None or (found := _get()) is None:
            yield
            return
        self._found = found
        self._hush()
        try:
            yield
        finally:
            _set(found)
            self._found = None

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """As it was found: for a program."""
        if self._found is None:
            yield
            return
        _set(self._found)
        try:
            yield
        finally:
            self._hush()

    def _hush(self) -> None:
        if sys.platform != "win32" and self._found is not None:
            quiet = [*self._found]
            quiet[3] &= ~termios.ECHO
            _set(quiet)


def _get() -> list[Any] | None:
    if sys.platform == "win32":
        return None
    try:
        return termios.tcgetattr(sys.stdin.fileno())
    except (OSError, ValueError, termios.error):  # no terminal, or not there
        return None


def _set(attributes: list[Any]) -> None:
    if sys.platform != "win32":
        with contextlib.suppress(OSError, ValueError, termios.error):
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, attributes)
