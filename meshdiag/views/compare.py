"""Two captures compared, as text for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from meshdiag.diagnosis.compare import Capture, Compared, Comparison, Side, Verdict
from meshdiag.diagnosis.incident import Going
from meshdiag.redact import redact
from meshdiag.views.amounts import duration, number, percent, plural, rate
from meshdiag.views.markdown import cell, code
from meshdiag.views.prose import wrapped
from meshdiag.views.safe import columns, one_line, safe
from meshdiag.views.style import Style
from meshdiag.views.text import when

INDENT = "   "
TITLES = {
    Verdict.NEW: "New",
    Verdict.WORSE: "Worse",
    Verdict.UNPROVEN: "Not in the second capture, which proves nothing",
    Verdict.UNCHANGED: "Unchanged",
    Verdict.BETTER: "Better",
    Verdict.GONE: "Gone",
}
_WORDS = {
    Verdict.NEW: "new",
    Verdict.WORSE: "worse",
    Verdict.UNPROVEN: "not proven",
    Verdict.UNCHANGED: "unchanged",
    Verdict.BETTER: "better",
    Verdict.GONE: "gone",
}
_COLOURS = {
    Verdict.NEW: "red",
    Verdict.WORSE: "red",
    Verdict.UNPROVEN: "yellow",
    Verdict.UNCHANGED: "yellow",
    Verdict.BETTER: "green",
    Verdict.GONE: "green",
}
OVERLAP = 60.0
"""Seconds that may be in both captures before it is said."""


def render(
    c: Comparison,
    *,
    width: int = 100,
    style: Style | None = None,
    redacted: bool = True,
    limit: int = 10,
    in_shell: bool = False,
) -> str:
    """The whole report, `width` columns wide; `limit` bounds the findings of each kind (0: all). `in_shell`: it names its commands."""
    return "\n".join(_text(c, max(40, width), style or Style(False), _cleaner(redacted), limit, in_shell)) + "\n"


def _text(
    c: Comparison, width: int, style: Style, clean: Callable[[str], str], limit: int, in_shell: bool
) -> Iterator[str]:
    for name, capture in (("before", c.before), ("after", c.after)):
        for i, text in enumerate(wrapped(_capture(capture), width - 8)):
            yield style(f"{name if i == 0 else '':<8}{text}", "dim")
    yield style(summary(c), "bold", _colour(c))
    for note in notes(c, in_shell):
        for text in wrapped(f"· {note}", width):
            yield style(text, "yellow")
    for change in Verdict:
        some = c.of(change)
        if not some:
            continue
        yield ""
        yield style(f"{TITLES[change]} ({len(some)})", "bold", _COLOURS[change])
        for one in some[: limit or None]:
            yield from _finding(c, one, width, style, clean)
        if limit and len(some) > limit:
            yield INDENT + style(
                f"… and {len(some) - limit} more: {'set ' if in_shell else '--'}limit 0 shows all", "dim"
            )


def _finding(c: Comparison, one: Compared, width: int, style: Style, clean: Callable[[str], str]) -> Iterator[str]:
    side = one.after if one.after.rank else one.before
    tags = [one.severity.value] + ["symptom"] * side.symptom
    label, told = one.cause, f" ({', '.join(tags)})"
    subject = one_line(clean(str(one.subject)), width - len(INDENT) * 2)
    line = INDENT + style(label, one.severity.value) + style(told, "dim")
    used = len(INDENT) + len(label) + len(told) + 2
    if used + columns(subject) <= width:
        yield f"{line}  {style(subject, 'cyan')}"
    else:
        yield line
        yield INDENT * 2 + style(subject, "cyan")
    yield from wrapped(numbers(c, one), width, INDENT * 2)
    if one.why:
        yield from (style(text, "dim") for text in wrapped(one.why, width, INDENT * 2))


def summary(c: Comparison) -> str:
    """One line: what is new or worse first, or that nothing is."""
    counts = {change: len(c.of(change)) for change in Verdict}
    said = [f"{n:,} {_WORDS[change]}" for change, n in counts.items() if n]
    if not said:
        if not c.before.lines or not c.after.lines:
            return "Nothing was read on one side."
        return "No failure in either capture."
    return ", ".join(said) if c.is_worse else "Nothing new or worse: " + ", ".join(said)


def notes(c: Comparison, in_shell: bool = False) -> Iterator[str]:
    """What weakens the comparison."""
    if c.overlap >= OVERLAP:
        cut = "" if in_shell else " --changed-at TIME cuts them where the change was made."
        yield f"The captures have {duration(c.overlap)} in common: what failed then counts in both.{cut}"
    if c.before.first and c.after.last and c.after.last < c.before.first:
        yield "The second capture is older than the first: they may be the wrong way round."
    for name, capture in (("first", c.before), ("second", c.after)):
        if not capture.lines:
            yield f"Nothing was read of the {name} capture."
        elif capture.problems:
            yield f"Not all of the {name} capture could be read ({plural(capture.problems, 'problem')})."
    if c.after.unrecognised > c.before.unrecognised:
        n, m = c.before.unrecognised, c.after.unrecognised
        yield f"Failing or unusual lines that are not recognised: {n:,} before, {m:,} after."


def numbers(c: Comparison, one: Compared) -> str:
    """`20 of 58 requests (34 %) → none of 34`, `24 lines, 4.3 a minute → 2 lines, 0.1 a minute (a 40th)`."""
    a, b = one.before, one.after
    text = f"{_side(a, one.by, c.before.estimated, 'requests')} → {_side(b, one.by, c.after.estimated)}"
    if one.factor is None or not a.rank or not b.rank or one.change is Verdict.UNCHANGED:
        return text
    return text + _times(one.factor)


def _side(s: Side, by: str, about: bool, word: str = "") -> str:
    if by == "requests" and s.total:
        total = "about " * about + f"{s.total:,}" + f" {word}" * bool(word)
        return f"{s.count:,} of {total} ({percent(s.count, s.total)})" if s.count else f"none of {total}"
    if not s.count:
        return "none" + (f" in {duration(s.minutes * 60)}" if s.minutes and s.minutes >= 1 else "")
    pace = f", {rate(s.count / max(1.0, s.minutes))}" if by == "minutes" and s.minutes is not None else ""
    over = ", over" if s.state is Going.OVER else ""
    return plural(s.count, "line") + pace + over


def _times(factor: float) -> str:
    if factor >= 1.05:
        return f" ({number(factor)} times as often)"
    if factor <= 0.95:
        return f" (1/{number(1 / factor)} as often)"
    return ""


def _capture(c: Capture) -> str:
    facts = [plural(c.lines, "line"), when(c.first, c.last), plural(c.failures, "finding")]
    return " · ".join(f for f in facts if f)


def _colour(c: Comparison) -> str:
    if c.is_worse:
        return "red"
    return "yellow" if c.of(Verdict.UNPROVEN) or c.of(Verdict.UNCHANGED) or not c.after.lines else "green"


def markdown(c: Comparison, *, redacted: bool = True, limit: int = 0) -> str:
    """The report as Markdown; names of a log stand in code only. `limit` bounds the findings of each kind (0: all)."""
    clean = _cleaner(redacted)
    lines = ["# Mesh diagnosis, before and after", "", f"**{cell(summary(c))}**", ""]
    lines += [f"- before: {_capture(c.before)}", f"- after: {_capture(c.after)}"]
    lines += [f"- {cell(note)}" for note in notes(c)] + [""]
    for change in Verdict:
        some = c.of(change)
        if not some:
            continue
        lines += [f"## {TITLES[change]} ({len(some)})", ""]
        lines += ["| cause | subject | before → after |", "| --- | --- | --- |"]
        for one in some[: limit or None]:
            told = cell(numbers(c, one)) + (f"; {cell(one.why)}" if one.why else "")
            lines.append(f"| `{one.cause}` ({one.severity.value}) | {code(clean(str(one.subject)))} | {told} |")
        if limit and len(some) > limit:
            lines += ["", f"and {len(some) - limit} more"]
        lines.append("")
    return "\n".join(lines)


def _cleaner(redacted: bool) -> Callable[[str], str]:
    return (lambda t: safe(redact(t))) if redacted else safe
