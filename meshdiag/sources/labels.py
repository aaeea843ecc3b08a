"""Names that come from outside, as labels that are safe to show."""

from __future__ import annotations

MAX_LABEL = 1024


def safe_name(name: str) -> str:
    """A member's name as a label: no `..`, no root, no drive, nothing that a terminal obeys, no endless text.

    >>> safe_name("../../etc/passwd")
    'etc/passwd'
    """
    parts = [p for p in name.replace("\\", "/").split("/") if p not in ("", ".", "..")]
    if parts and len(parts[0]) == 2 and parts[0][1] == ":":
        parts = parts[1:]
    text = "/".join(parts) or "unnamed"
    if len(text) > MAX_LABEL:
        text = f"{text[: MAX_LABEL // 2]}…{text[-MAX_LABEL // 2 :]}"
    return printable(text)


def printable(text: str) -> str:
    """The text with control, format, undecodable and unassigned characters as `?`."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
