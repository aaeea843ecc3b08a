"""A shell without prompt_toolkit: scripts, standard input that is no terminal, terminals that can only print lines."""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from meshdiag.model import MeshdiagError
from meshdiag.shell.output import Terminal
from meshdiag.shell.running import Runner
from meshdiag.shell.starting import Beginning, default_commands, run_file, welcome

PROMPT = "meshdiag> "
EXIT_OK, EXIT_WRONG = 0, 2
PASTED_SECONDS = 0.05
"""Lines that come so soon behind another one were pasted with it."""


def script(beginning: Beginning, lines: Iterable[tuple[str, str]], colour: str = "auto") -> int:
    """Runs lines, each with the place that an error names ("" for none); 0 when all worked, 2 when one did not.

    Each command waits until what was opened before it is read. Raises MeshdiagError when what the command line names cannot be opened.
    """
    state = beginning.state()
    runner = Runner(state, Terminal(colour=colour), script=True)
    ok = True
    try:
        beginning.begin(state)
        state.work.wait()
        runner.tell()
        for place, line in lines:
            if not line.strip():
                continue
            outcome = runner.run(line)
            if not outcome.ok:
                ok = False
                if place:
                    runner.terminal.complain(f"  in {place}: {line.strip()[:100]}\n")
            if outcome.leave:
                break
    finally:
        state.work.close()
    return EXIT_OK if ok else EXIT_WRONG


def file_lines(path: str) -> Iterator[tuple[str, str]]:
    """The lines of a script with their places. Raises MeshdiagError when it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            text = file.read()
    except (OSError, UnicodeDecodeError) as e:
        raise MeshdiagError(f"cannot read {path}: {getattr(e, 'strerror', None) or e}") from None
    return ((f"{path}:{number}", line) for number, line in enumerate(text.split("\n"), 1))


def piped_lines(file: BinaryIO) -> Iterator[tuple[str, str]]:
    """Lines as they come."""
    return (("", line.decode("utf-8", "replace")) for line in file)


def dumb(beginning: Beginning, colour: str = "auto") -> int:
    """A prompt that only reads and prints lines. What goes on behind it is told before the next one."""
    state = beginning.state()
    terminal = Terminal(interactive=True, dumb=True, colour=colour)
    runner = Runner(state, terminal)
    try:
        if beginning.empty:
            terminal.write("\n".join(welcome()) + "\n")
        run_file(default_commands(), state)
        try:
            beginning.begin(state)
        except MeshdiagError as e:
            state.work.say(str(e), "error")
        while True:
            try:
                if _turn(runner):
                    return EXIT_OK
            except KeyboardInterrupt:
                _forget()
                terminal.write("\n")
            except EOFError:
                terminal.write("\n")
                return EXIT_OK
    finally:
        state.work.close()


def _turn(runner: Runner) -> bool:
    """Asks for one text and runs it; whether the shell ends with it. Raises EOFError for the end of the input."""
    _read(runner)
    runner.tell()
    text, ended = _typed(PROMPT)
    if text.strip():
        runner.state.history.append(text)
        ended |= runner.run(text).leave
    return ended


def _read(runner: Runner) -> None:
    """Waits for what is read: here nothing can be told later. Ctrl-C ends the wait."""
    try:
        runner.state.work.wait()
    except KeyboardInterrupt:
        runner.terminal.write("it goes on; stop ends it\n")


def _typed(prompt: str) -> tuple[str, bool]:
    """A line with those that stand behind it already: they were pasted with it, and are one text. Whether the input has ended."""
    lines = [input(prompt)]
    while _waits():
        line = sys.stdin.readline()
        if not line:
            return "\n".join(lines), True
        lines.append(line.rstrip("\n"))
    return "\n".join(lines), False


def _waits() -> bool:
    try:
        return bool(select.select([sys.stdin], [], [], PASTED_SECONDS)[0])
    except (OSError, ValueError):  # Windows: no terminal can be asked
        return False


def _forget() -> None:
    """Forgets what was typed ahead: it may be the rest of a paste, of which nobody knows any longer that it was one."""
    if sys.platform != "win32":
        import termios

        with contextlib.suppress(OSError, ValueError, termios.error):
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
