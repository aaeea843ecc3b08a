"""The diagnosis as Markdown, to paste into an incident: log text only inside code, so that none of it is interpreted."""

from __future__ import annotations

import re
from collections.abc import Iterator

from meshdiag.diagnosis import Diagnosis, Finding
from meshdiag.model import State
from meshdiag.redact import redact
from meshdiag.views.incident import incident_markdown
from meshdiag.views.remedy import markdown_lines
from meshdiag.views.safe import one_line, safe
from meshdiag.views.text import ago, amount, ranks, size, when


def render(diagnosis: Diagnosis, *, redacted: bool = True, limit: int = 0) -> str:
    """The whole report; `limit` bounds the failures (0: all)."""
    clean = (lambda t: safe(redact(t))) if redacted else safe
    lines: list[str] = []
    seen = diagnosis.seen
    lines += ["# Mesh diagnosis", ""]
    span = when(seen.first, seen.last)
    lines += [" · ".join([f"{seen.lines:,} lines", size(seen.bytes), *([span] if span else [])]), ""]
    failures = diagnosis.failures
    if not failures:
        lines += ["**No failure found.**" if seen.lines else "**Nothing was read.**", ""]
    else:
        lines += [*incident_markdown(diagnosis), ""]
        lines += ["| # | what | subject | lines | confidence |", "| --- | --- | --- | --- | --- |"]
        lines += [
            f"| {f.rank} | {cell(f.title)} (`{f.cause}`) | {code(clean(str(f.subject)))} | {f.count:,} | {f.confidence} |"
            for f in failures[: limit or None]
        ]
        lines.append("")
    for f in failures[: limit or None]:
        lines += [*_finding(f, clean), ""]
    if diagnosis.unrecognised:
        lines += [f"## Not recognised ({seen.unrecognised:,} lines)", ""]
        lines += [f"- {u.count:,} × {code(clean(u.shape))}" for u in diagnosis.unrecognised[:20]] + [""]
    if diagnosis.problems:
        lines += ["## Could not be read", "", *(f"- {code(str(p))}" for p in diagnosis.problems[:50]), ""]
    return "\n".join(lines)


def _finding(f: Finding, clean: object) -> Iterator[str]:
    assert callable(clean)
    yield f"## {f.rank}. {cell(f.title)}"
    yield ""
    span = when(f.first, f.last)
    state = f", {f.state.value}" if f.state is not State.ONGOING else ""
    yield (
        f"`{f.cause}` · {f.severity.value} · {f.confidence.value}{state} · {code(clean(str(f.subject)))} · {amount(f)}"
        + (f" · {span}" if span else "")
    )
    yield ""
    yield f.explanation
    facts = [cell(("for: " if e.supports else "but: ") + clean(e.text)) for e in f.evidence]
    facts += [f"in the cluster: {code(clean(str(p)))}" for p in f.proofs[:5]]
    facts += [cell(clean(a)) for a in f.advice]
    facts += [f"{ago(c.before)} before it began: {code(clean(c.text))}" for c in f.changes if c.before is not None]
    if f.reach:
        facts.append("seen by " + ", ".join(f"{code(clean(source))} ({n:,})" for source, n in f.reach[:10]))
    for text, numbers in (("explained by", f.explained_by), ("explains", f.explains)):
        if numbers:
            facts.append(f"{text} {ranks(numbers)}")
    if facts:
        yield ""
        yield from (f"- {fact}" for fact in facts)
    if f.alternatives:
        yield ""
        yield "Could also be: " + ", ".join(f"`{a}`" for a in f.alternatives) + "."
        if f.tell_apart:
            yield f"To tell: {f.tell_apart}"
    yield ""
    yield fence("\n".join(clean(s.line) for s in f.samples), "text")
    for r in f.remedies:
        yield ""
        yield f"**{r.title}**"
        yield ""
        yield from markdown_lines(r)


def cell(text: str) -> str:
    """Text for a table cell or a heading."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", one_line(text))


def code(text: str) -> str:
    """Inline code with a fence longer than any in the text."""
    flat = one_line(text, 300).replace("|", "¦")
    ticks = "`" * (max((len(m) for m in re.findall(r"`+", flat)), default=0) + 1)
    pad = " " if "`" in flat else ""
    return f"{ticks}{pad}{flat or ' '}{pad}{ticks}"


def fence(text: str, language: str) -> str:
    """A code block whose fence is longer than any in the text."""
    ticks = "`" * max(3, max((len(m) for m in re.findall(r"`+", text)), default=0) + 1)
    return f"{ticks}{language}\n{text}\n{ticks}"
