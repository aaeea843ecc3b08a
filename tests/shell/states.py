"""A shell without a terminal: text in, results out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from meshdiag.catalogue import Catalogue
from meshdiag.shell import results as r
from meshdiag.shell.commands import execute
from meshdiag.shell.render import Look, render
from meshdiag.shell.state import State
from meshdiag.shell.work import Work
from meshdiag.views.style import Style
from tests.conftest import SAMPLES, access_line

R = TypeVar("R", bound=r.Result)
SECONDS = 20.0
"""Longer than anything here takes, also on a busy machine."""


class Shell:
    """A state, what it says, and captures that are read before anything else goes on."""

    def __init__(self, catalogue: Catalogue, *inputs: str | Path) -> None:
        self.work = Work(catalogue)
        self.state = State(catalogue, self.work)
        if inputs:
            self.open(*inputs)

    def open(self, *inputs: str | Path) -> None:
        """Opens captures and waits until they are read."""
        self.work.open([str(i) for i in inputs])
        assert self.work.wait(SECONDS)

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        self.work.close()

    def run(self, text: str) -> list[r.Result]:
        """The results of a text."""
        return [result for _, result in execute(text, self.state)]

    def one(self, text: str, kind: type[R]) -> R:
        """The only result of a text, which is of this kind."""
        (result,) = self.run(text)
        assert isinstance(result, kind), result
        return result

    def say(self, text: str) -> str:
        """What a text says, errors or not, in one."""
        return "\n".join(result.text for result in self.run(text) if isinstance(result, r.Said))

    def error(self, text: str) -> str:
        """The error that a text gives, and nothing but that."""
        said = self.one(text, r.Said)
        assert said.kind == "error", said
        return said.text

    def messages(self) -> list[str]:
        """What was said behind the prompt so far."""
        return [m.text for m in self.work.messages]

    def shown(self, text: str, width: int = 100, colour: bool = False, redacted: bool = True) -> str:
        """What a text prints."""
        look = Look(width, Style(colour), redacted, self.state.settings.limit)
        return "".join(render(result, look) for result in self.run(text))


def until(holds: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
    """Waits until something holds; fails when that takes too long."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def sample(number: str) -> Path:
    """A sample by the number that its name begins with."""
    return next(SAMPLES.glob(f"{number}*"))


def no_host(n: int, *, client: str = "", second: int = 0, **fields: str) -> list[str]:
    """Lines of requests for which no host is healthy, a second apart."""
    return [
        access_line(
            "503", "UH", "no_healthy_upstream", host="-", local="-",
            time=f"2026-11-22T10:{(second + i) // 60:02d}:{(second + i) % 60:02d}.000Z", request_id=f"{client}{second + i}", **fields,
        )
        for i in range(n)
    ]  # fmt: skip


def write(path: Path, lines: Iterable[str], end: str = "\n") -> Path:
    """A file of lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())
    return path
