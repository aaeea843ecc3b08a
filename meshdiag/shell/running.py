"""One text that a person or a script gave: executed, rendered, and its output taken where it goes. No prompt_toolkit.

Commands work in a thread, so that Ctrl-C reaches them: once asks them to stop, twice leaves them behind.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

from meshdiag.model import MeshdiagError
from meshdiag.shell import output, results
from meshdiag.shell.commands import execute, named
from meshdiag.shell.output import Terminal
from meshdiag.shell.parse import Statement
from meshdiag.shell.render import Look, render
from meshdiag.shell.saving import path_of, write
from meshdiag.shell.state import State
from meshdiag.shell.work import Message
from meshdiag.views.safe import safe

T = TypeVar("T")

SHOWN_AFTER = 0.5
"""Seconds after which work shows that it goes on."""

MESSAGES = 6
"""Messages that are printed at once; more of them are counted."""


@dataclass(slots=True)
class Outcome:
    """How a text ended: whether all of it worked, and whether the shell ends."""

    ok: bool = True
    leave: bool = False


class Left(Exception):
    """A person waits for a command no longer."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A result and its text."""

    statement: Statement
    result: results.Result
    text: str


class Runner:
    """Runs texts, one after the other, on one state and one terminal.

    script  the texts are a script's: nothing is run in a thread, captures are read to their end before the next command
    """

    def __init__(self, state: State, terminal: Terminal, script: bool = False) -> None:
        self.state, self.terminal, self._script = state, terminal, script

    def run(self, text: str) -> Outcome:
        """Runs a text; nothing is raised but KeyboardInterrupt, in a script."""
        outcome = Outcome()
        try:
            self._run(text, outcome)
        except MeshdiagError as e:
            self._wrong(str(e), outcome)
        except Left:
            self.terminal.write("\n")
            self._wrong("left behind: it goes on where nobody sees it", outcome, "warning")
        except KeyboardInterrupt:
            if self._script:
                raise
            self._wrong("stopped", outcome, "warning")
        except BrokenPipeError:
            raise
        except Exception as e:
            self._wrong(failure(e), outcome)
        return outcome

    def _run(self, text: str, outcome: Outcome) -> None:
        stop = threading.Event()
        self.state.interrupted = stop.is_set
        steps = self._steps(text)
        statement: Statement | None = None
        parts: list[str] = []
        while (piece := self._next(steps, stop)) is not None:
            if statement is not None and piece.statement is not statement:
                self._deliver(statement, parts, outcome)
                parts = []
            statement = piece.statement
            match piece.result:
                case results.Said(kind="error"):
                    outcome.ok = False
                    self.terminal.complain(piece.text)
                case results.Program(command):
                    self.terminal.write(piece.text)
                    self._ended(self.terminal.run(command), outcome)
                case results.Copied(copied) if statement.file or statement.pipe:
                    parts.append(safe(copied) + "\n" if copied else "")
                case results.Copied(copied):
                    self.terminal.write(self._copied(copied, piece.text))
                case results.Leave():
                    outcome.leave = True
                    break
                case _ if self._at_once(statement):
                    self.terminal.write(piece.text)
                case _:
                    parts.append(piece.text)
            if self._script:
                self.state.work.wait()
                self.tell()
        if statement is not None:
            self._deliver(statement, parts, outcome)

    def _steps(self, text: str) -> Iterator[_Piece]:
        for statement, result in execute(text, self.state, script=self._script):
            elsewhere = bool(statement.file or statement.pipe) and not _stays(result)
            yield _Piece(statement, result, render(result, self.terminal.look(self.state.settings, elsewhere)))

    def _next(self, steps: Iterator[_Piece], stop: threading.Event) -> _Piece | None:
        if self._script:
            return next(steps, None)
        call = _Call(lambda: next(steps, None))
        with self.terminal.echo.hushed(), self._sign() as sign:
            while not call.done.is_set():
                try:
                    call.done.wait(0.1)
                    sign()
                except KeyboardInterrupt:
                    if stop.is_set():
                        raise Left from None
                    stop.set()
            return call.result()

    @contextlib.contextmanager
    def _sign(self) -> Iterator[Callable[[], None]]:
        """Something that is called again and again while a person waits: it shows that there is work."""
        began, drawn = time.monotonic(), False
        marks = itertools.cycle("|/-\\")

        def sign() -> None:
            nonlocal drawn
            seconds = time.monotonic() - began
            if seconds >= SHOWN_AFTER and self.terminal.pages:
                stopping = "stopping" if self.state.interrupted() else "Ctrl-C stops"
                self.terminal.write(f"\r\x1b[K{next(marks)} {seconds:.0f} s ({stopping})")
                drawn = True

        try:
            yield sign
        finally:
            if drawn:
                self.terminal.write("\r\x1b[K")

    # -- where it goes

    def _at_once(self, statement: Statement) -> bool:
        """Whether each part of the output is printed when it comes."""
        if statement.file or statement.pipe:
            return False
        command = named(statement.name)
        return not self.terminal.pages or (command is not None and not command.paged)

    def _deliver(self, statement: Statement, parts: list[str], outcome: Outcome) -> None:
        text = "".join(parts)
        if not text:
            return
        if statement.file:
            try:
                path = path_of(statement.file)
                write(path, text, statement.append)
            except MeshdiagError as e:
                self._wrong(str(e), outcome)
            else:
                self._say(f"written to {path}", "good")
        elif statement.pipe:
            self.terminal.write(render(results.Program(statement.pipe), self._look()))
            self._ended(self.terminal.run(statement.pipe, text), outcome)
        else:
            self.terminal.show(text)

    def _copied(self, text: str, said: str) -> str:
        """What is printed of a text that was copied: on a terminal without a clipboard all of it."""
        plain = safe(text) + "\n" if text else ""
        if not plain or not self.terminal.interactive:
            return plain or said
        if self.terminal.dumb:
            return f"this terminal has no clipboard:\n{plain}"
        if not output.copy(text):
            return f"that is too long for a terminal's clipboard:\n{plain}"
        style = self._look().style
        return said + "".join(style(f"  {line}", "dim") + "\n" for line in plain.splitlines())

    def _ended(self, code: int, outcome: Outcome) -> None:
        if code == 130 and self._script:
            raise KeyboardInterrupt
        if code:
            outcome.ok = False
            self._say(f"exit code {code}", "warning")

    # -- sentences

    def _look(self) -> Look:
        return self.terminal.look(self.state.settings)

    def _say(self, text: str, kind: str = "info") -> None:
        self.terminal.write(render(results.Said(text, kind), self._look()))

    def _wrong(self, text: str, outcome: Outcome, kind: str = "error") -> None:
        outcome.ok = False
        self.terminal.complain(render(results.Said(text, kind), self._look()))

    def messages(self) -> str:
        """What there is to tell from behind the prompt, as text; it is told once."""
        waiting = self.state.work.messages
        some: list[Message] = []
        while waiting:
            some.append(waiting.popleft())
        if len(some) > MESSAGES + 1:
            some = [*some[:MESSAGES], Message(f"… and {len(some) - MESSAGES} more messages", some[-1].kind)]
        look = self._look()
        return "".join(render(results.Said(look.clean(m.text), m.kind), look) for m in some)

    def tell(self) -> None:
        """Prints what there is to tell."""
        if text := self.messages():
            self.terminal.complain(text)


def _stays(result: results.Result) -> bool:
    """Whether a result is the terminal's, wherever the output goes."""
    return isinstance(result, results.Program) or (isinstance(result, results.Said) and result.kind == "error")


class _Call(Generic[T]):
    """A call in a thread of its own."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.done = threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None
        self._function = function
        threading.Thread(target=self._work, name="meshdiag-command", daemon=True).start()

    def _work(self) -> None:
        try:
            self._value = self._function()
        except BaseException as e:  # raised where it is waited for
            self._error = e
        finally:
            self.done.set()

    def result(self) -> T | None:
        """What it gave, once it is done; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._value


def failure(error: BaseException) -> str:
    """A line for the person about a fault of ours; what leads to it is put into a log file."""
    lines = traceback.format_exception(error)
    what = f"a fault of meshdiag: {type(error).__name__}: {error}"
    try:
        import platformdirs

        path = Path(platformdirs.user_log_dir("meshdiag")) / "shell.log"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat()}\n{''.join(lines)}\n")
    except OSError:
        return what
    return f"{what} ({path} has the traceback)"
