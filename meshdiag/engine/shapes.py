"""The shape of a record that no pattern knows: its text with the varying parts blanked, so that equal troubles group."""

from __future__ import annotations

from meshdiag.lazyre import lazy
from meshdiag.model import Record

LIMIT = 240

VARYING = lazy(
    r"(?P<uuid>\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F-]{14,}\b)"
    r"|(?P<time>\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\dZ+:]*)"
    r"|(?P<ip>\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\[[0-9a-fA-F:]{3,}\](?::\d+)?)"
    r"|(?P<pod>\b[a-z0-9](?:[a-z0-9-]{0,60}[a-z0-9])?-[a-f0-9]{8,10}-[a-z0-9]{5}\b)"
    r"|(?P<hex>\b0x[0-9a-fA-F]+\b|\b(?=[0-9a-f]*\d)[0-9a-f]{12,}\b)"
    r"|(?P<string>\"[^\"\n]{0,200}\"|'[^'\n]{0,200}')"
    r"|(?P<num>\d+(?:\.\d+)?)"
)


def shape_of(record: Record) -> str:
    """`format component level text` with numbers, addresses, ids, names of pods and quoted strings as `<…>`; bounded."""
    if "unparsed" in record.fields:
        return f"{record.format}: {record.fields['unparsed']}"
    if record.format == "access-log":
        get = record.fields.get
        parts = [get(f, "-") for f in ("response_code", "response_flags", "response_code_details")]
        text = " ".join(parts[:2]) + " " + _blank(parts[2])
    else:
        text = _blank((record.message or record.text)[: 4 * LIMIT].partition("\n")[0])
    head = " ".join(x for x in (record.format, record.component, record.level) if x)
    return f"{head}: {text}"[:LIMIT]


def _blank(text: str) -> str:
    return VARYING.sub(lambda m: f"<{m.lastgroup}>", text)
