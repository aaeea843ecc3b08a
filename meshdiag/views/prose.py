"""Sentences and commands in lines of a terminal's width."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from meshdiag.views.safe import safe

# a word of a shell command: what stands between blanks that no quote holds
_WORD = re.compile(r"""(?:'[^']*'|"(?:[^"\\]|\\.)*"|\\.|\S)+""", re.DOTALL)


def wrapped(text: str, width: int, indent: str = "") -> Iterator[str]:
    """Prose in lines of `width` columns; a leading bullet hangs."""
    yield from textwrap.wrap(
        re.sub(r"\s+", " ", safe(text)),
        width,
        initial_indent=indent,
        subsequent_indent=indent + "  " * text.startswith(("→", "·")),
        break_long_words=False,
        break_on_hyphens=False,
    )


def command_lines(command: str, width: int) -> Iterator[str]:
    """A command in lines of `width` columns that a shell takes for one: broken at blanks, with a backslash.

    An option stays with its value, a pipe with what it feeds. A word that is wider than a line stays whole, and a command
    that has line ends of its own stays as it is.
    """
    if "\n" in command or len(command) <= width:
        yield from safe(command).splitlines()
        return
    line = ""
    for word in _together(_WORD.findall(safe(command))):
        if line and len(line) + len(word) + 3 > width:
            yield line + " \\"
            line = "  " + word
        else:
            line = f"{line} {word}" if line else word
    yield line


def _together(words: list[str]) -> Iterator[str]:
    held = ""
    for word in words:
        if held and not word.startswith("-"):
            yield f"{held} {word}"
            held = ""
            continue
        if held:
            yield held
            held = ""
        if (word.startswith("-") and word != "--" and "=" not in word) or word in ("|", "&&", "||"):
            held = word
        else:
            yield word
    if held:
        yield held


def sentences(text: str, n: int) -> str:
    """The first `n` sentences."""
    return "".join(re.split(r"(?<=[.!?])(?=\s+[A-Z])", text)[:n])
