"""Where the output of commands goes: the terminal, a pager, a file, a program, the clipboard. No prompt_toolkit.

What comes here was made harmless by `render`: the only escapes in it are our colours.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TextIO

from meshdiag.shell.echo import Echo
from meshdiag.shell.render import Look
from meshdiag.shell.state import Settings
from meshdiag.views.safe import columns
from meshdiag.views.style import CODES, LIGHT, Style, wants_colour

FILE_COLUMNS = 120
"""Columns of what is written to a file or a program, at least."""

MOST_COLUMNS = 200
CLIPBOARD_BYTES = 100_000
"""Terminals take no more at once."""

_SGR = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """Standard output and standard error.

    interactive   a person sits there: errors stand with the rest, long output goes to a pager, work shows that it goes on
    dumb          it can only print lines
    colour        `auto`, `always`, `never`
    echo          of what is typed ahead
    """

    def __init__(
        self, interactive: bool = False, dumb: bool = False, colour: str = "auto", echo: Echo | None = None
    ) -> None:
        self.interactive, self.dumb, self._colour = interactive, dumb, colour
        self.echo = echo or Echo()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:  # a window can change its size, which $COLUMNS does not follow
            size = os.get_terminal_size(sys.stdout.fileno()) if self.interactive else None
        except (OSError, ValueError):
            size = None
        if size is None or not size.columns or not size.lines:
            size = shutil.get_terminal_size((100, 24))
        return min(size.columns, MOST_COLUMNS), size.lines

    @property
    def pages(self) -> bool:
        """Whether long output goes to a pager."""
        return self.interactive and not self.dumb

    def look(self, settings: Settings, plain: bool = False) -> Look:
        """How results are drawn here; `plain`: for a file or a program."""
        width = max(self.size[0], FILE_COLUMNS) if plain else self.size[0]
        coloured = not plain and settings.theme != "none" and wants_colour(sys.stdout, self._colour)
        style = Style(coloured, LIGHT if settings.theme == "light" else CODES)
        return Look(width, style, settings.redact, settings.limit)

    def write(self, text: str) -> None:
        """Prints a text as it is."""
        _print(sys.stdout, text)

    def complain(self, text: str) -> None:
        """Prints an error: for a person beside all else, for a program to standard error."""
        sys.stdout.flush()
        _print(sys.stdout if self.interactive else sys.stderr, text)

    def show(self, text: str) -> None:
        """Prints a text, through a pager when it does not fit."""
        width, height = self.size
        if self.pages and rows(text, width) > height - 2:
            with self.echo.lent():
                page(text, height)
        else:
            self.write(text)

    def run(self, command: str, text: str | None = None) -> int:
        """Runs a program (see `run`) on this terminal."""
        with self.echo.lent():
            return run(command, text)


def _print(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()


def rows(text: str, width: int) -> int:
    """Rows that a text takes on a terminal so wide."""
    return sum(1 + max(0, columns(_SGR.sub("", line)) - 1) // width for line in text.splitlines())


# --- programs


def run(command: str, text: str | None = None) -> int:
    """Runs a command in the user's shell, with a text as its input or with the terminal; its exit code.

    Ctrl-C is the program's: it does not end us. Code 130 says that there was one.
    """
    pressed: list[int] = []
    sys.stdout.flush()
    data = None if text is None else text.encode("utf-8", "replace")
    with interrupts(pressed):
        if sys.platform == "win32":
            done = subprocess.run(command, input=data, shell=True, check=False)  # noqa: S602  a person typed it
        else:
            shell = os.environ.get("SHELL") or "/bin/sh"
            done = subprocess.run([shell, "-c", command], input=data, check=False)
    code = done.returncode
    return 130 if pressed and code else 128 - code if code < 0 else code


@contextlib.contextmanager
def interrupts(pressed: list[int]) -> Iterator[None]:
    """Ctrl-C is only noted. The handler is none that children inherit, as SIG_IGN would be."""

    def note(number: int, frame: FrameType | None) -> None:
        pressed.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def page(text: str, height: int) -> None:
    """Shows a text page by page: in $PAGER, in less, or here."""
    named = os.environ.get("PAGER", "").strip()
    less = shutil.which("less")
    environment = os.environ | {"LESS": os.environ.get("LESS", "FXK"), "LESSCHARSET": "utf-8"}
    data = text.encode("utf-8", "replace")
    command = ["/bin/sh", "-c", named] if named and sys.platform != "win32" else [less, "-R"] if less else []
    if command:
        sys.stdout.flush()
        with interrupts([]):
            code = subprocess.run(command, input=data, env=environment, check=False).returncode
        if code not in (126, 127):
            return
    _page_here(text, height)


def _page_here(text: str, height: int) -> None:
    lines = text.splitlines()
    step = max(1, height - 2)
    for at in range(0, len(lines), step):
        _print(sys.stdout, "\n".join(lines[at : at + step]) + "\n")
        left = len(lines) - at - step
        if left > 0:
            try:
                answer = input(f"-- {left} more lines: Enter goes on, q ends -- ")
            except (EOFError, KeyboardInterrupt):
                _print(sys.stdout, "\n")
                return
            if answer.strip().lower().startswith("q"):
                return


# --- the clipboard


def copy(text: str) -> bool:
    """Puts a text on the clipboard of the person's terminal, also over ssh (OSC 52); whether it was not too long."""
    data = text.encode("utf-8", "replace")
    if len(data) > CLIPBOARD_BYTES:
        return False
    if os.environ.get("TMUX") and (tmux := shutil.which("tmux")):  # by itself tmux passes no OSC 52 on
        try:
            if subprocess.run([tmux, "load-buffer", "-w", "-"], input=data, timeout=2, check=False).returncode == 0:
                return True
        except (OSError, subprocess.TimeoutExpired):
            pass
    _print(sys.stdout, f"\x1b]52;c;{base64.b64encode(data).decode()}\x07")
    return True
