"""What a format module exports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from meshdiag.model import Record

UNPARSED = "unparsed"
"""The field that says a record begins like its format and could not be read safely; its value says why."""


@dataclass(frozen=True, slots=True)
class Format:
    """One line format.

    `parse` takes a record's text (first line, continuation lines behind it, no trailing newline) and returns a Record,
    or None when this is another format. It never raises. `multiline`: lines without a head continue its records.
    """

    name: str
    source: str
    parse: Callable[[str], Record | None]
    encodings: tuple[str, ...] = ("text",)
    multiline: bool = False
