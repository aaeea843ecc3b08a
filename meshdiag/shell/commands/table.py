"""The table of commands, and what their functions share: words to numbers, names and times."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from meshdiag.model import MeshdiagError
from meshdiag.shell import results as r
from meshdiag.shell.state import State

Run = Callable[[State, tuple[str, ...]], Iterator[r.Result]]
F = TypeVar("F", bound=Run)

GROUPS = ("sources", "findings", "view", "fix", "tool")


@dataclass(frozen=True, slots=True)
class Command:
    """An entry of the table.

    arguments  as help shows them
    group      one of GROUPS
    takes      what its words complete to (see `completion`): `finding`, `fix`, `watch`, `all`, `path`, `check`, `pod`, `word`,
               `filter`, `by`, `setting`, `command`, `pattern`, `tail`, `save`, or "" for nothing
    raw        it takes the rest of the line as it stands
    paged      its output may be long
    most       so many words it takes; None: any number
    """

    name: str
    arguments: str
    help: str
    run: Run
    group: str
    takes: str = ""
    raw: bool = False
    paged: bool = False
    most: int | None = None

    @property
    def usage(self) -> str:
        """How it is typed."""
        return f"{self.name} {self.arguments}".strip()


COMMANDS: dict[str, Command] = {}
ALIASES = {"exit": "quit", "q": "quit", "?": "help", "ls": "causes", "follow": "tail", "grep": "search", "h": "help"}


def command(
    name: str,
    arguments: str,
    help: str,
    group: str,
    *,
    takes: str = "",
    raw: bool = False,
    paged: bool = False,
    most: int | None = None,
) -> Callable[[F], F]:
    """Puts a function into the table."""

    def add(run: F) -> F:
        COMMANDS[name] = Command(name, arguments, help, run, group, takes, raw, paged, most)
        return run

    return add


def named(word: str) -> Command | None:
    """The command of a name or alias."""
    return COMMANDS.get(ALIASES.get(word, word))


# --- words


def wanted(words: tuple[str, ...], name: str, what: str = "a number or a cause of `causes`") -> str:
    """The first word. Raises MeshdiagError, saying what it should be, when there is none."""
    if not words or not words[0]:
        raise MeshdiagError(f"{name} takes {what}")
    return words[0]


def one_of(word: str, known: Collection[str], what: str) -> str:
    """The word, if it is known. Raises MeshdiagError with the nearest ones if not."""
    if word in known:
        return word
    some = list(known)
    shown = ", ".join(some[:12]) + (" …" if len(some) > 12 else "")
    raise MeshdiagError(f"no {what} is named {word[:80]!r}: {meant(word, some) or f'there are {shown}'}")


def meant(word: str, known: Collection[str], cutoff: float = 0.6) -> str:
    """`did you mean a or b?`, or ""."""
    near = difflib.get_close_matches(word[:80], list(known), 2, cutoff)
    return f"did you mean {' or '.join(near)}?" if near else ""


def number(text: str, what: str, least: int = 0, most: int = 1_000_000) -> int:
    """A number. Raises MeshdiagError for a text that is none, and for one out of range."""
    if not (text.isascii() and text.isdigit()):
        raise MeshdiagError(f"{what}: {text[:80]!r} is no number")
    value = int(text[:18])
    if not least <= value <= most:
        raise MeshdiagError(f"{what}: give a number from {least:,} to {most:,}")
    return value


def number_of(word: str) -> int | None:
    """The number of a finding that a word is: `2` or `#2`."""
    digits = word.removeprefix("#")
    return int(digits[:9]) if digits.isascii() and digits.isdigit() else None


# --- times

_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(s|m|h|d)", re.ASCII)
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DAY = timedelta(days=1)


def moment(text: str, first: datetime, latest: datetime) -> datetime:
    """`30m` (before `latest`), `10:05`, `10:05:30` (UTC, the last one between `first` and `latest`), or a whole time.

    Raises MeshdiagError for what is no time.
    """
    try:
        if parts := _AGO.fullmatch(text):
            return latest - timedelta(seconds=float(parts[1]) * _SECONDS[parts[2]])
        if parts := _CLOCK.fullmatch(text):
            hour, minute, second = (int(p or 0) for p in parts.groups())
            time = latest.astimezone(UTC).replace(hour=hour, minute=minute, second=second, microsecond=0)
            return time - _DAY if time > latest and time - _DAY >= first else time
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise MeshdiagError(f"{text[:80]!r} is no time: give 30m, 2h, 10:05, or 2026-11-22T10:05:00Z") from None
