"""A shell on a terminal, as a person has it: a pseudo-terminal whose bytes are read, or tmux, which shows the screen."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType

SECONDS = 20.0
"""How long a text is waited for, at most."""

ASKED = b"\x1b[6n"
"""What a program writes to learn where the cursor is."""

SHELL = (sys.executable, "-m", "meshdiag", "shell")


class Pty:
    """A program on a pseudo-terminal; `output` is all that it wrote."""

    def __init__(
        self,
        command: Sequence[str] = SHELL,
        environment: Mapping[str, str] | None = None,
        size: tuple[int, int] = (100, 30),
        folder: str | os.PathLike[str] | None = None,
    ) -> None:
        self.output = b""
        self._answered = 0
        self._master, slave = pty.openpty()
        self.resize(*size)
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=dict(environment or os.environ), cwd=folder,
            start_new_session=True, preexec_fn=_take_terminal,
        )  # fmt: skip
        os.close(slave)

    def resize(self, columns: int, lines: int) -> None:
        """Gives the terminal another size."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def send(self, text: str | bytes) -> float:
        """Types; when that was."""
        os.write(self._master, text.encode() if isinstance(text, str) else text)
        return time.perf_counter()

    def read(self, seconds: float) -> bool:
        """Reads what has come, waiting so long for it; whether something came."""
        if not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other side is closed
            return False
        self.output += data
        while (at := self.output.find(ASKED, self._answered)) >= 0:
            self._answered = at + len(ASKED)
            os.write(self._master, b"\x1b[1;1R")
        return bool(data)

    def until(self, text: str | bytes, start: int = 0, seconds: float = SECONDS) -> int:
        """Reads until a text has come behind an offset of the output; the offset behind it."""
        wanted = text.encode() if isinstance(text, str) else text
        end = time.perf_counter() + seconds
        while (at := self.output.find(wanted, start)) < 0:
            left = end - time.perf_counter()
            if left <= 0 or (not self.read(min(left, 0.2)) and self.process.poll() is not None and not self.read(0)):
                raise AssertionError(f"{text!r} did not come: {self.output[start:][-2000:]!r}")
        return at + len(wanted)

    def end(self, seconds: float = SECONDS) -> int:
        """Waits for its end; the exit code."""
        end = time.perf_counter() + seconds
        while self.process.poll() is None and time.perf_counter() < end:
            self.read(0.05)
        while self.read(0):
            pass
        return self.process.wait(0.1)

    def __enter__(self) -> Pty:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):  # the first lets it delete what it kept
            if self.process.poll() is None:
                with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(self.process.pid, number)
                    self.process.wait(5)
        os.close(self._master)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Tmux:
    """A program in a tmux of its own; `screen()` is what a person sees."""

    def __init__(
        self, command: str, environment: Mapping[str, str], size: tuple[int, int], folder: str | os.PathLike[str]
    ) -> None:
        self._name = f"meshdiag-test-{os.getpid()}-{id(self)}"
        self._environment = {**environment, "TERM": "xterm-256color"}
        self._environment.pop("TMUX", None)
        columns, lines = (str(n) for n in size)
        self._run("new-session", "-d", "-s", "t", "-x", columns, "-y", lines, "-c", str(folder), command)

    def _run(self, *words: str) -> str:
        command = ["tmux", "-u", "-L", self._name, "-f", os.devnull, *words]
        return subprocess.run(command, env=self._environment, capture_output=True, text=True, check=True).stdout

    def keys(self, *names: str) -> None:
        """Presses keys, by the names that tmux has for them."""
        self._run("send-keys", "-t", "t", *names)

    def type(self, text: str) -> None:
        """Types a text."""
        self._run("send-keys", "-t", "t", "-l", "--", text)

    def enter(self, text: str) -> None:
        """Types a line."""
        self.type(text)
        self.until(text[-20:].rstrip())
        self.keys("Enter")

    def paste(self, text: str) -> None:
        """Pastes a text in brackets, as a terminal does."""
        command = ["tmux", "-L", self._name, "load-buffer", "-"]
        subprocess.run(command, env=self._environment, input=text.encode(), check=True)
        self._run("paste-buffer", "-p", "-t", "t")

    def resize(self, columns: int, lines: int) -> None:
        """Gives the window another size."""
        self._run("resize-window", "-t", "t", "-x", str(columns), "-y", str(lines))

    def screen(self, colours: bool = False) -> str:
        """What is on the screen."""
        return self._run("capture-pane", "-p", *(["-e"] if colours else []), "-t", "t")

    def until(self, *texts: str, gone: str = "", seconds: float = SECONDS) -> str:
        """Waits until the screen has all texts (and one no longer); the screen."""
        end = time.monotonic() + seconds
        while True:
            screen = self.screen()
            if all(t in screen for t in texts) and not (gone and gone in screen):
                return screen
            if time.monotonic() > end:
                raise AssertionError(f"{texts} did not come (or {gone!r} did not go):\n{screen}")
            time.sleep(0.05)

    def close(self) -> None:
        """Ends it."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._run("kill-server")


@contextlib.contextmanager
def tmux(
    command: str, environment: Mapping[str, str], size: tuple[int, int], folder: str | os.PathLike[str]
) -> Iterator[Tmux]:
    """A tmux that is ended behind the block."""
    window = Tmux(command, environment, size, folder)
    try:
        yield window
    finally:
        window.close()


HAS_TMUX = shutil.which("tmux") is not None
