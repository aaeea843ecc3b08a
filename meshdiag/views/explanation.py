"""An explanation for a person at a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from meshdiag.explanation import Explanation
from meshdiag.redact import redact
from meshdiag.views.remedy import remedy_lines
from meshdiag.views.safe import one_line, safe
from meshdiag.views.style import Style

SHOWN = (
    "response_code", "response_flags", "response_code_details", "connection_termination_details",
    "upstream_transport_failure_reason", "upstream_cluster", "upstream_host", "authority", "requested_server_name",
    "route_name", "direction", "error", "unparsed", "scope", "reason", "code",
)  # fmt: skip


def render(
    e: Explanation, *, width: int = 100, style: Style | None = None, why_not: bool = False, redacted: bool = True
) -> str:
    """What it is, its causes, how the line was read, what to do."""
    return "\n".join(_lines(e, width, style or Style(False), why_not, redacted)) + "\n"


def _lines(e: Explanation, width: int, style: Style, why_not: bool, redacted: bool) -> Iterator[str]:
    clean = (lambda t: safe(redact(t))) if redacted else safe

    def wrap(text: str, indent: str = "") -> Iterator[str]:
        for paragraph in text.split("\n"):
            flat = re.sub(r"\s+", " ", safe(paragraph))
            yield from textwrap.wrap(
                flat, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False
            )

    tag = f"  {style(e.causes[0].id, e.causes[0].severity.value)}" if e.causes and e.kind in ("line", "cause") else ""
    yield style(safe(e.title), "bold") + tag + (style(f"  ({e.kind})", "dim") if e.kind != "line" else "")
    yield from wrap(e.text)
    if e.record is not None:
        r = e.record
        parts = [f"{r.format} ({r.encoding})", r.component, r.level, e.pattern and f"pattern {e.pattern}"]
        yield style("read as " + ", ".join(p for p in parts if p), "dim")
        for name in SHOWN:
            if value := r.fields.get(name):
                yield f"   {name:<34}{one_line(clean(value), max(20, width - 37))}"
        for name, value in e.captures.items():
            yield f"   {name:<34}{one_line(clean(value), max(20, width - 37))}"
    if e.kind not in ("line", "cause") and e.causes:
        yield style("what it can mean", "bold")
        for c in e.causes:
            yield f"   {style(c.id, c.severity.value)}  {one_line(c.title, max(20, width - len(c.id) - 6))}"
    elif len(e.causes) > 1:
        yield style("could also be: ", "bold") + ", ".join(c.id for c in e.causes[1:])
    if e.why_not and (why_not or not e.pattern):
        yield style("the nearest patterns miss", "bold")
        for pattern, fails in e.why_not:
            yield f"   {pattern}"
            for f in fails:
                yield "      " + one_line(clean(f), max(20, width - 6))
    for remedy in e.remedies:
        yield from remedy_lines(remedy, width, style, verbose=True)
    refs = [r for c in e.causes[:1] for r in c.references] if e.kind in ("line", "cause") else []
    for ref in refs:
        yield style(ref, "dim")
