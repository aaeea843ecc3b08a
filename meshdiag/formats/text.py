"""Any other line: the body of a curl, an error that kubectl printed, a panic, a table."""

from __future__ import annotations

from meshdiag.formats._common import LIMIT
from meshdiag.formats.base import Format
from meshdiag.model import Record

NAME = "text"


def parse(text: str) -> Record:
    """Every text is a `text` record whose message is the whole of it."""
    text = text[:LIMIT]
    return Record(NAME, text, text)


FORMAT = Format(NAME, "whatever no other format knows", parse)
