"""Colours for a terminal that wants them, nothing for one that does not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import IO

CODES = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36",
    "critical": "1;31", "error": "31", "warning": "33", "info": "36",
}  # fmt: skip


LIGHT = {
    **CODES, "red": "38;5;124", "green": "38;5;28", "yellow": "38;5;130", "blue": "38;5;25", "magenta": "38;5;90", "cyan": "38;5;24",
    "critical": "1;38;5;124", "error": "38;5;124", "warning": "38;5;130", "info": "38;5;24",
}  # fmt: skip
"""For a light background, on which a terminal's own yellow and cyan cannot be read."""


class Style:
    """`style(text, "bold", "red")`; with `colour=False` it gives the text back. `codes` are CODES or LIGHT."""

    def __init__(self, colour: bool, codes: Mapping[str, str] = CODES) -> None:
        self.colour, self.codes = colour, codes

    def __call__(self, text: str, *names: str) -> str:
        if not self.colour or not text:
            return text
        return f"\x1b[{';'.join(self.codes[n] for n in names)}m{text}\x1b[0m"


def wants_colour(stream: IO[str], when: str = "auto") -> bool:
    """Whether to colour output on `stream`: `always`, `never`, or `auto` (a terminal, no NO_COLOR, not dumb)."""
    if when != "auto":
        return when == "always"
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty()
