"""Results as text for a terminal of some width: nothing of a log gets to it as it is."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from meshdiag.diagnosis import Finding
from meshdiag.diagnosis.chains import symptoms
from meshdiag.diagnosis.windows import Phase, Standing
from meshdiag.model import Kind, State
from meshdiag.redact import redact
from meshdiag.shell import results as r
from meshdiag.views.amounts import duration, plural, rate
from meshdiag.views.prose import wrapped
from meshdiag.views.remedy import COLOURS as RISKS
from meshdiag.views.remedy import remedy_lines
from meshdiag.views.safe import columns, one_line, safe
from meshdiag.views.style import Style
from meshdiag.views.syntax import log_line, painted, yaml_line
from meshdiag.views.text import about, amount, render_finding, render_unknown, when

WIDE, NARROW = 90, 72
"""Columns from which a list has how a finding stands, and its subject in the same line."""

RESET = "\x1b[0m"
_SGR = re.compile(r"(\x1b\[[0-9;]*m)")

COLOURS = {"info": (), "good": ("green",), "warning": ("yellow",), "error": ("red",)}


@dataclass(frozen=True)
class Look:
    """How results are drawn: columns, colours, whether secrets are shown, how many findings a list has (0: all)."""

    width: int = 100
    style: Style = Style(False)  # noqa: RUF009  without state
    redacted: bool = True
    limit: int = 20

    def clean(self, text: str) -> str:
        """A text of a log, harmless and without secrets."""
        return safe(redact(text)) if self.redacted else safe(text)


def render(result: r.Result, look: Look) -> str:
    """The text of a result, ending in a line feed; "" for what shows nothing."""
    style, width = look.style, max(40, look.width)
    page: Any = {"width": width, "style": style, "redacted": look.redacted}
    match result:
        case r.Said(text, kind, hint):
            lines = [style(line, *COLOURS[kind]) for line in text_lines(look.clean(text), width)]
            for i, line in enumerate(wrapped(look.clean(hint), width - 2)):
                lines.append(style(f"  {line}" if i else f"→ {line}", "dim"))
        case r.Causes():
            lines = list(_causes(result, look, width))
        case r.Shown():
            lines = list(_shown(result, look, width, page))
        case r.Why():
            lines = list(_why(result, look, width))
        case r.Lines():
            lines = list(_lines(result, look, width))
        case r.Fixes():
            lines = list(_fixes(result, look, width))
        case r.Surveyed(survey):
            from meshdiag.views.survey import render as surveyed

            lines = surveyed(survey, **page).splitlines()
        case r.Difference():
            lines = list(_difference(result, look, width))
        case r.Copied(text):
            n = len(text.splitlines())
            lines = [style(f"copied {plural(n, 'command')}", "green")] if n else ["there is no command to copy"]
        case r.Starts(diagnosis, some, one):
            from meshdiag.views.timeline import render_all, render_one

            lines = (
                render_one(diagnosis, some[0], **page, in_shell=True)
                if one
                else render_all(diagnosis, some, **page, in_shell=True)
            ).splitlines()
        case r.Explained(explanation):
            from meshdiag.views.explanation import render as explained

            lines = explained(explanation, why_not=True, **page).splitlines()
        case r.Top(diagnosis, by):
            from meshdiag.views.groups import render as groups

            lines = groups(diagnosis, by, limit=look.limit, in_shell=True, **page).splitlines()
        case r.Unknown(diagnosis):
            lines = render_unknown(diagnosis, **page).splitlines()
        case r.Compared(comparison, since):
            from meshdiag.views.compare import render as compared

            head = style(f"since the mark at {since:%H:%M:%S} UTC", "dim")
            lines = [head, *compared(comparison, limit=look.limit, in_shell=True, **page).splitlines()]
        case r.Table():
            lines = list(_table(result, look, width))
        case r.PatternShown(pattern):
            lines = list(_pattern(pattern, look))
        case r.Program(text):
            lines = [style(f"$ {safe(text)}", "bold")]
        case r.Leave():
            lines = []
    if isinstance(result, LISTS):
        lines = [part for line in lines for part in folded(line, width)]
    return "\n".join(lines) + "\n" if lines else ""


LISTS = (r.Causes, r.Why, r.Starts, r.Top, r.Unknown, r.Compared, r.Table)
"""What fits into the width whatever it is made of; a log line, a command or an explanation may have words that are wider."""


def text_lines(text: str, width: int) -> list[str]:
    """A text that may have lines of its own (a help page, a role), wrapped only where it has one."""
    if "\n" in text:
        return safe(text).splitlines()
    return list(wrapped(safe(text), width)) or [""]


def folded(line: str, width: int) -> Iterator[str]:
    """A line, perhaps with our colours, in lines of so many columns."""
    if len(line) <= width or columns(_SGR.sub("", line)) <= width:
        yield line
        return
    code, chars = "", list[tuple[str, str]]()  # each with its colour
    for i, piece in enumerate(_SGR.split(line)):
        if i % 2:
            code = "" if piece == RESET else piece
        else:
            chars += [(char, code) for char in piece]
    while chars:
        end = used = 0
        while end < len(chars) and (not end or used + columns(chars[end][0]) <= width):
            used += columns(chars[end][0])
            end += 1
        if end < len(chars):
            blank = next((i for i in range(end, end // 2, -1) if chars[i][0] == " "), 0)
            end = blank or end
        groups = itertools.groupby(chars[:end], key=lambda c: c[1])
        yield "".join(c + text + RESET * bool(c) for c, some in groups for text in ["".join(t for t, _ in some)])
        chars = chars[end + (end < len(chars) and chars[end][0] == " ") :]


def fitted(text: str, width: int) -> Iterator[str]:
    """A text in lines of so many columns, broken at blanks, and in a word that is wider than a line."""
    line = ""
    for word in re.sub(r"\s+", " ", safe(text)).strip().split(" "):
        if line and columns(line) + 1 + columns(word) <= width:
            line = f"{line} {word}"
            continue
        if line:
            yield line
        line = ""
        for char in word:
            if line and columns(line) + columns(char) > width:
                yield line
                line = ""
            line += char
    yield line


def _difference(d: r.Difference, look: Look, width: int) -> Iterator[str]:
    style = look.style
    yield style(one_line(look.clean(d.title), width), "bold")
    if d.why:
        yield from wrapped(look.clean(d.why), width)
    yield f"risk: {style(d.risk.value, RISKS[d.risk])}"
    yield ""
    for line in look.clean(d.diff).splitlines():
        colours = {"+": ("green",), "-": ("red",), "@": ("cyan",)}.get(line[:1], ())
        yield style(line, "bold") if line.startswith(("+++", "---")) else style(line, *colours) if colours else line
    yield ""
    for owner in d.owned:
        yield from (style(line, "red") for line in wrapped(look.clean(f"conflict: {owner}"), width))
    word = "force does just this, and takes these fields over" if d.owned else "yes does just this"
    yield style(f"→ {'undo' if d.undoes else 'apply'} {word}", "dim")


def _causes(result: r.Causes, look: Look, width: int) -> Iterator[str]:
    d, style = result.diagnosis, look.style
    standing = {(s.finding.cause, s.finding.subject): s for s in result.standings}
    failures = d.failures
    roots = [f for f in failures if not f.explained_by]
    below = symptoms(failures)
    seen = d.seen

    def say(text: str, *colour: str) -> Iterator[str]:
        yield from (style(line, *colour) for line in fitted(text, width))

    facts = [
        plural(len(roots), "root cause"),
        plural(len(failures) - len(roots), "symptom"),
        plural(seen.lines, "line"),
        when(seen.first, seen.last),
    ]
    yield style(one_line(" · ".join(f for f in facts if f), width), "dim")
    if result.filtered:
        yield style(f"only {one_line(look.clean(result.filtered), width - 5)}", "yellow")
    if not failures:
        yield style("No failure found.", "bold", "green")
    shown = roots[: look.limit or None]
    for f in shown:
        yield from _row(f, standing.get((f.cause, f.subject)), look, width, "")
        some = below.get(f.rank, [])
        for one in some[:3]:
            yield from _row(one, standing.get((one.cause, one.subject)), look, width, "└ ")
        if len(some) > 3:
            yield style(f"     └ {plural(len(some) - 3, 'more symptom', 'more symptoms')}: why {f.rank}", "dim")
    if len(roots) > len(shown):
        yield style(f"… and {len(roots) - len(shown)} more: set limit 0", "dim")
    others = [f for f in d.findings if f.kind is not Kind.FAILURE]
    if result.whole:
        for f in others:
            yield from _row(f, None, look, width, "")
    elif others:
        are = "finding that is no failure" if len(others) == 1 else "findings that are no failures"
        yield from say(f"{len(others):,} {are}: causes all", "dim")
    if seen.unrecognised:
        were = "failing or unusual line was" if seen.unrecognised == 1 else "failing or unusual lines were"
        yield from say(f"{seen.unrecognised:,} {were} not recognised: unknown", "yellow")
    if d.problems:
        yield style(f"{plural(len(d.problems), 'thing')} could not be read:", "yellow")
        for problem in d.problems[:5]:
            yield style("   " + one_line(look.clean(str(problem)), width - 3), "yellow")
    if shown:
        n = shown[0].rank
        yield from say(f"show {n} · why {n} · lines {n} · fix {n}", "dim")


def _row(f: Finding, standing: Standing | None, look: Look, width: int, indent: str) -> Iterator[str]:
    """A finding in a line: number, cause, subject, lines, how it stands; in two where there is no room for that."""
    style = look.style
    colour = f.severity.value if f.kind is Kind.FAILURE else "green"
    over = f.state is not State.ONGOING or (standing is not None and standing.phase is Phase.OVER)
    number = f"{f.rank:>3} "
    if standing is not None:
        how = f"over {duration(standing.lasts)}" if over else f"{rate(standing.per_minute)}"
    else:
        how = f.state.value if over else ""
    tail = f"{f.count:>8,}  {how:<16}" if width >= WIDE else f"{f.count:>7,}"
    wide = 33 if width >= NARROW else width - len(number) - len(tail) - 2
    space = width - len(number) - wide - len(tail) - 3 if width >= NARROW else 0
    left = one_line(f"{indent}{f.cause}", wide)
    pad = " " * (wide + 1 - columns(left))
    subject = look.clean(about(f))
    body = one_line(subject, space) if space else ""
    body = f"{body}{' ' * (space + 1 - columns(body) if space else 0)}{tail}".rstrip()
    if over:
        yield style(f"{number}{left}{pad}{body}", "dim")
    else:
        yield f"{style(number, 'bold')}{style(left, colour)}{pad}{body}"
    if not space:
        yield style(f"    {one_line(subject, width - 4)}", "dim")


def _standing(standing: Standing, look: Look) -> str:
    how = "over for" if standing.phase is Phase.OVER else "goes on for"
    text = (
        f"{how} {duration(standing.lasts)}, {rate(standing.per_minute)}"
        if standing.per_minute
        else f"{how} {duration(standing.lasts)}"
    )
    return look.style(text, "green" if standing.phase is Phase.OVER else "yellow")


def _why(result: r.Why, look: Look, width: int) -> Iterator[str]:
    style = look.style
    last = result.chain[-1]
    for depth, f in enumerate(result.chain):
        head = "  " * depth + ("└ " if depth else "")
        label = "root cause" if depth == 0 and len(result.chain) > 1 else ""
        text = f"#{f.rank} {f.title}"
        yield (
            head
            + style(one_line(text, width - len(head) - 14), "bold" if f is last else "dim")
            + (f"  {style(label, 'magenta')}" if label else "")
        )
        pad = "  " * (depth + 1)
        yield pad + style(
            one_line(f"{f.cause} · {look.clean(about(f))} · {amount(f)}", width - len(pad)), f.severity.value
        )
        for evidence in f.evidence:
            yield from (
                pad + line
                for line in fitted(
                    ("for: " if evidence.supports else "but: ") + look.clean(evidence.text), width - len(pad)
                )
            )
        for change in f.changes:
            yield pad + one_line(look.clean(f"just before: {change.text}"), width - len(pad))
    below = symptoms(result.diagnosis.failures).get(last.rank, [])
    if below:
        yield style(f"it explains {plural(len(below), 'finding')}", "magenta")
        for f in below[:20]:
            yield "   " + one_line(f"#{f.rank} {f.cause} · {look.clean(about(f))} · {amount(f)}", width - 3)
    elif len(result.chain) == 1:
        yield from (
            style(line, "dim") for line in fitted("nothing else explains it, and it explains nothing else", width)
        )


def _lines(result: r.Lines, look: Look, width: int) -> Iterator[str]:
    style = look.style
    path = None
    for one in result.lines:
        if one.path != path:
            path = one.path
            yield style(safe(path), "cyan")
        elif (one.before or one.after) and not one.joined:
            yield style("--", "dim")
        for text in one.before:
            yield style("  " + look.clean(text), "dim")
        for text in one.text.split("\n"):
            yield "> " + painted(log_line(look.clean(text)), style)
        for text in one.after:
            yield style("  " + look.clean(text), "dim")
    shown = f", {len(result.lines):,} shown" if len(result.lines) < result.total else ""
    title = one_line(look.clean(result.title), max(10, width - 40))
    yield style(f"{title}: {plural(result.total, 'line')}{shown}", "bold")


def _shown(result: r.Shown, look: Look, width: int, page: Any) -> Iterator[str]:
    f = result.finding
    if result.standing:
        yield _standing(result.standing, look)
    yield from render_finding(result.diagnosis, replace(f, remedies=()), **page).splitlines()
    if f.pods and f.places > 1:
        some = ", ".join(f"{name} ({n:,})" for name, n in f.pods[:5])
        more = f" and {f.places - 5} more" if f.places > 5 else ""
        yield "   " + one_line(look.clean(f"told by {some}{more}"), width - 3)
    for number, remedy in enumerate(f.remedies, 1):
        yield look.style("   " + one_line(f"→ {number}. {remedy.title} [{remedy.risk}]", width - 3), "green")
    if f.remedies:
        yield look.style(f"   fix {f.rank} · why {f.rank} · lines {f.rank}", "dim")


def _fixes(result: r.Fixes, look: Look, width: int) -> Iterator[str]:
    f = result.finding
    yield look.style(one_line(f"#{f.rank} {f.title} · {look.clean(about(f))}", width), "bold")
    for number, remedy in result.remedies:
        yield ""
        yield from remedy_lines(remedy, width, look.style, verbose=True, mark=f"{number}. ")
    if len(result.remedies) > 1:
        yield ""
        yield look.style(f"fix {f.rank} 1 copy takes the commands of the first to the clipboard", "dim")


def _table(result: r.Table, look: Look, width: int) -> Iterator[str]:
    style = look.style
    yield from (style(line, "bold") for line in fitted(look.clean(result.title), width))
    rows = [tuple(one_line(look.clean(c)) for c in row) for row in result.rows]
    wide = max((columns(row[0]) for row in rows if len(row) > 1), default=0)
    wide = min(wide, max(12, width // 2))
    for row in rows:
        if len(row) == 1:
            yield from ("  " + line for line in fitted(row[0], width - 2))
            continue
        name, rest = row[0], "  ".join(row[1:])
        if columns(name) > wide:
            yield from ("  " + style(line, "cyan") for line in fitted(name, width - 2))
            name = ""
        for i, line in enumerate(fitted(rest, width - wide - 4)):
            head = name if i == 0 else ""
            yield f"  {style(head, 'cyan')}{' ' * (wide - columns(head))}  {line}"
    if result.note:
        yield from (style(line, "dim") for line in fitted(look.clean(result.note), width))


def _pattern(p: object, look: Look) -> Iterator[str]:
    import yaml

    from meshdiag.catalogue import Pattern

    assert isinstance(p, Pattern)
    shown = {
        "id": p.id, "cause": p.cause, "component": p.component, "formats": list(p.formats), "when": dict(p.when),
        "captures": dict(p.captures), "priority": p.priority, "confidence": p.confidence.value, "alternatives": list(p.alternatives),
        "milestone": p.milestone, "change": p.change, "note": p.note,
    }  # fmt: skip
    yield look.style(f"# {p.file}:{p.line}", "dim")
    known = {k: v for k, v in shown.items() if v not in ("", None, [], {}, 0)}
    for line in safe(yaml.safe_dump(known, sort_keys=False, width=120)).splitlines():
        yield painted(yaml_line(line), look.style)
