"""Results as text for a terminal of some width: nothing of a log gets to it as it is."""

from __future__ import annotations

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
from meshdiag.views.remedy import remedy_lines
from meshdiag.views.safe import columns, one_line, safe
from meshdiag.views.style import Style
from meshdiag.views.text import about, amount, render_finding, render_unknown, when

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
            lines = [style(line, *COLOURS[kind]) for line in text_lines(text, width)]
            lines += (
                [
                    style(f"→ {line}" if i == 0 else f"  {line}", "dim")
                    for i, line in enumerate(wrapped(hint, width - 2))
                ]
                if hint
                else []
            )
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
        case r.Copied(text):
            n = len(text.splitlines())
            lines = [style(f"copied {plural(n, 'command')}", "green")] if n else ["there is no command to copy"]
        case r.Starts(diagnosis, some, one):
            from meshdiag.views.timeline import render_all, render_one

            lines = (
                render_one(diagnosis, some[0], **page) if one else render_all(diagnosis, some, **page)
            ).splitlines()
        case r.Explained(explanation):
            from meshdiag.views.explanation import render as explained

            lines = explained(explanation, why_not=True, **page).splitlines()
        case r.Top(diagnosis, by):
            from meshdiag.views.groups import render as groups

            lines = groups(diagnosis, by, limit=look.limit, **page).splitlines()
        case r.Unknown(diagnosis):
            lines = render_unknown(diagnosis, **page).splitlines()
        case r.Compared(comparison, since):
            from meshdiag.views.compare import render as compared

            head = style(f"since the mark at {since:%H:%M:%S} UTC", "dim")
            lines = [head, *compared(comparison, limit=look.limit, **page).splitlines()]
        case r.Table():
            lines = list(_table(result, look, width))
        case r.PatternShown(pattern):
            lines = list(_pattern(pattern, look))
        case r.Program(text):
            lines = [style(f"$ {safe(text)}", "bold")]
        case r.Leave():
            lines = []
    return "\n".join(lines) + "\n" if lines else ""


def text_lines(text: str, width: int) -> list[str]:
    """A text that may have lines of its own (a help page, a role), wrapped only where it has one."""
    if "\n" in text:
        return safe(text).splitlines()
    return list(wrapped(safe(text), width)) or [""]


def _causes(result: r.Causes, look: Look, width: int) -> Iterator[str]:
    d, style = result.diagnosis, look.style
    standing = {(s.finding.cause, s.finding.subject): s for s in result.standings}
    failures = d.failures
    roots = [f for f in failures if not f.explained_by]
    below = symptoms(failures)
    seen = d.seen
    facts = [
        plural(len(roots), "root cause"),
        f"{len(failures) - len(roots)} symptoms",
        f"{seen.lines:,} lines",
        when(seen.first, seen.last),
    ]
    yield style(one_line(" · ".join(f for f in facts if f), width), "dim")
    if result.filtered:
        yield style(f"only {one_line(result.filtered, width - 5)}", "yellow")
    if not failures:
        yield style("No failure found.", "bold", "green")
    shown = roots[: look.limit or None]
    for f in shown:
        yield _row(f, standing.get((f.cause, f.subject)), look, width, "")
        some = below.get(f.rank, [])
        for one in some[:3]:
            yield _row(one, standing.get((one.cause, one.subject)), look, width, "└ ")
        if len(some) > 3:
            yield style(f"     └ {len(some) - 3} more symptoms: why {f.rank}", "dim")
    if len(roots) > len(shown):
        yield style(f"… and {len(roots) - len(shown)} more: set limit 0", "dim")
    others = [f for f in d.findings if f.kind is not Kind.FAILURE]
    if result.whole:
        for f in others:
            yield _row(f, None, look, width, "")
    elif others:
        yield style(f"{plural(len(others), 'finding')} that are no failures: causes all", "dim")
    if seen.unrecognised:
        yield style(f"{seen.unrecognised:,} failing or unusual lines were not recognised: unknown", "yellow")
    if d.problems:
        yield style(f"{plural(len(d.problems), 'thing')} could not be read:", "yellow")
        for problem in d.problems[:5]:
            yield style("   " + one_line(look.clean(str(problem)), width - 3), "yellow")
    if shown:
        yield style(f"show {shown[0].rank} · why {shown[0].rank} · lines {shown[0].rank} · fix {shown[0].rank}", "dim")


def _row(f: Finding, standing: Standing | None, look: Look, width: int, indent: str) -> str:
    style = look.style
    colour = f.severity.value if f.kind is Kind.FAILURE else "green"
    over = f.state is not State.ONGOING or (standing is not None and standing.phase is Phase.OVER)
    number = f"{f.rank:>3} "
    if standing is not None:
        how = f"over {duration(standing.lasts)}" if over else f"{rate(standing.per_minute)}"
    else:
        how = f.state.value if over else ""
    tail = f"{f.count:>8,}  {how:<14}" if width >= 90 else f"{f.count:>7,}"
    cause = f"{indent}{f.cause}"
    space = max(10, width - len(number) - 34 - len(tail) - 2)
    about_ = one_line(look.clean(about(f)), space)
    left = one_line(cause, 33)
    pad = " " * (34 - columns(left))
    body = f"{about_}{' ' * max(1, space - columns(about_) + 1)}{tail}".rstrip()
    if over:
        return style(f"{number}{left}{pad}{body}", "dim")
    return f"{style(number, 'bold')}{style(left, colour)}{pad}{body}"


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
                for line in wrapped(
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
        yield style("nothing else explains it, and it explains nothing else", "dim")


def _lines(result: r.Lines, look: Look, width: int) -> Iterator[str]:
    style = look.style
    path = None
    for one in result.lines:
        if one.path != path:
            path = one.path
            yield style(safe(path), "cyan")
        elif one.before or one.after:
            yield style("--", "dim")
        for text in one.before:
            yield style("  " + look.clean(text), "dim")
        for text in one.text.split("\n"):
            yield "> " + look.clean(text)
        for text in one.after:
            yield style("  " + look.clean(text), "dim")
    shown = f", {len(result.lines):,} shown" if len(result.lines) < result.total else ""
    yield style(f"{look.clean(result.title)}: {plural(result.total, 'line')}{shown}", "bold")


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
    yield style(safe(result.title), "bold")
    wide = max((columns(row[0]) for row in result.rows if len(row) > 1), default=0)
    wide = min(wide, max(12, width // 2))
    for row in result.rows:
        if len(row) == 1:
            yield from ("  " + line for line in wrapped(look.clean(row[0]), width - 2))
            continue
        name = look.clean(row[0])
        rest = "  ".join(look.clean(c) for c in row[1:])
        if columns(name) > wide:
            yield "  " + style(name, "cyan")
            name = ""
        for i, line in enumerate(list(wrapped(rest, max(20, width - wide - 4))) or [""]):
            head = name if i == 0 else ""
            yield f"  {style(head, 'cyan')}{' ' * (wide - columns(head))}  {line}"
    if result.note:
        yield from (style(line, "dim") for line in wrapped(result.note, width))


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
    yield from safe(yaml.safe_dump(known, sort_keys=False, width=120)).splitlines()
