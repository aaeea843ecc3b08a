"""Text of logs made harmless for a terminal: control characters and escapes are shown, never sent."""

from __future__ import annotations

import re
import unicodedata

# C0, DEL, C1, and the invisible characters that reorder or hide text
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def safe(text: str) -> str:
    """The text with a visible stand-in for every character that a terminal would act on; line ends and tabs stay."""
    return _UNSAFE.sub(lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 256 else f"\\u{ord(m[0]):04x}", text)


def one_line(text: str, width: int | None = None) -> str:
    """`safe`, on one line, blanks folded, cut to `width` columns with an ellipsis."""
    flat = re.sub(r"\s+", " ", safe(text)).strip()
    return flat if width is None or columns(flat) <= width else _cut(flat, max(1, width - 1)) + "…"


def columns(text: str) -> int:
    """Columns the text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _cut(text: str, width: int) -> str:
    used = 0
    for i, char in enumerate(text):
        used += _columns(char)
        if used > width:
            return text[:i]
    return text
