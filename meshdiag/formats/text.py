"""Any other line: the body of a curl, an error that kubectl printed, a panic, a table."""

from __future__ import annotations

from meshdiag.formats._common import LIMIT
from meshdiag.formats.base import Format
from meshdiag.lazyre import lazy
from meshdiag.model import Record

NAME = "text"

# Markdown around a pasted line. A lone `*` or `>` stays: curl -v begins its lines so.
_MARKED = lazy(r"\s{0,20}(?P<mark>`{1,3}|\*\*)(?=[^\s`*])")


def parse(text: str) -> Record:
    """Every text is a `text` record whose message is the whole of it, without the Markdown marks that stand around it."""
    text = text[:LIMIT]
    return Record(NAME, text, _unmarked(text))


def _unmarked(text: str) -> str:
    found = _MARKED.match(text)
    if found is None:
        return text
    mark, inner = found["mark"], text[found.end() :]
    return inner.rstrip().removesuffix(mark) if inner.count(mark) <= 1 else text


FORMAT = Format(NAME, "whatever no other format knows", parse)
