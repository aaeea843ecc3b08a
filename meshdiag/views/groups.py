"""The failures of a diagnosis in groups, a line a finding, as text and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from meshdiag.diagnosis import Diagnosis
from meshdiag.diagnosis.groups import NO_EDGE, Group, Member, groups
from meshdiag.redact import redact
from meshdiag.views.amounts import plural
from meshdiag.views.incident import incident_lines, incident_markdown
from meshdiag.views.markdown import code
from meshdiag.views.safe import columns, one_line, safe
from meshdiag.views.style import Style
from meshdiag.views.text import when


def render(
    diagnosis: Diagnosis,
    by: str,
    *,
    width: int = 100,
    style: Style | None = None,
    redacted: bool = True,
    limit: int = 0,
    in_shell: bool = False,
) -> str:
    """The failures in groups, the worst first, a line a finding. `limit` bounds the groups (0: all); `in_shell`: it names its commands."""
    width, style = max(40, width), style or Style(False)
    return "\n".join(_text(diagnosis, by, width, style, _cleaner(redacted), limit, in_shell)) + "\n"


def _text(
    d: Diagnosis, by: str, width: int, style: Style, clean: Callable[[str], str], limit: int, in_shell: bool
) -> Iterator[str]:
    some = groups(d, by)
    yield style(" · ".join(x for x in (f"{d.seen.lines:,} lines", when(d.seen.first, d.seen.last)) if x), "dim")
    if not some:
        yield _nothing(d, style)
    else:
        told = f"{plural(len(d.failures), 'finding')} by {by}: {plural(len(some), 'group')}"
        yield style(told, "bold", "red")
        yield from incident_lines(d, width, style)
    shown = some[: limit or None]
    rows = [_cells(g, m, by, clean) for g in shown for m in g.members]
    wide = [max((columns(r[i]) for r in rows), default=0) for i in range(5)]
    wide[1] = min(wide[1], max(12, width - sum(wide[:1] + wide[2:4]) - 9))
    for g in shown:
        yield ""
        facts = " · ".join(_facts(g))
        name = one_line(clean(g.name), width)
        same = columns(name) + len(facts) + 3 <= width
        yield style(name, "bold", "cyan") + (f" · {style(facts, g.severity.value)}" if same else "")
        if not same:
            yield "   " + style(facts, g.severity.value)
        for m in g.members:
            yield _row(_cells(g, m, by, clean), wide, width, m.finding.severity.value, style)
    if limit and len(some) > limit:
        yield ""
        more = plural(len(some) - limit, "more group", "more groups")
        yield style(f"… and {more}: {'set ' if in_shell else '--'}limit 0 shows all", "dim")
    yield from _rest(d, width, style)


def _cells(g: Group, m: Member, by: str, clean: Callable[[str], str]) -> tuple[str, str, str, str, str]:
    """Rank, what, lines, how sure and whether it lasts, and the subject where that is not said above."""
    f = m.finding
    subject = one_line(clean(str(f.subject)))
    said = str(f.subject) == g.name or (by == "edge" and g.name != NO_EDGE)
    what, about = (subject, "") if by == "cause" else (f.cause, "" if said else subject)
    state = f"{f.confidence.value}, {f.state.value}" + ", symptom" * bool(f.explained_by)
    return f"#{f.rank}", what, plural(m.count, "line"), state, about


def _row(cells: Sequence[str], wide: Sequence[int], width: int, colour: str, style: Style) -> str:
    rank, what, count, state, about = cells
    what = one_line(what, wide[1])
    what += " " * (wide[1] - columns(what))
    line = f"   {rank:<{wide[0]}} {style(what, colour)}  {count:>{wide[2]}}  {style(state, 'dim')}"
    room = width - sum(wide[:4]) - 10
    if about and room >= 16:
        line += " " * (wide[3] - len(state) + 2) + one_line(about, room)
    return line


def _facts(g: Group) -> list[str]:
    failed = [] if g.failed is None else [f"{'about ' * g.about}{plural(g.failed, 'request')} failed"]
    return [g.severity.value, *failed, plural(g.lines, "line")]


def _nothing(d: Diagnosis, style: Style) -> str:
    if d.seen.lines == 0:
        return style("Nothing was read.", "bold", "yellow")
    return style("No failure found" + (" in what could be read." if d.problems else "."), "bold", "green")


def _rest(d: Diagnosis, width: int, style: Style) -> Iterator[str]:
    if d.seen.unrecognised:
        yield ""
        yield style(f"Not recognised: {d.seen.unrecognised:,} failing or unusual lines", "bold", "yellow")
    if d.problems:
        yield ""
        yield style(f"Not read or left out ({len(d.problems)})", "bold", "yellow")
        for p in d.problems[:5]:
            yield "   " + one_line(str(p), width - 3)


def markdown(diagnosis: Diagnosis, by: str, *, redacted: bool = True, limit: int = 0) -> str:
    """The same as Markdown: names of a log stand in code only."""
    d, clean = diagnosis, _cleaner(redacted)
    lines = [f"# Mesh diagnosis by {by}", ""]
    lines += [" · ".join(x for x in (f"{d.seen.lines:,} lines", when(d.seen.first, d.seen.last)) if x), ""]
    lines += [*incident_markdown(d), ""] if d.failures else [_nothing(d, Style(False)), ""]
    some = groups(d, by)
    for g in some[: limit or None]:
        lines += [f"## {code(clean(g.name))}", "", " · ".join(_facts(g)), ""]
        lines += [
            "| # | cause | subject | lines | confidence | state |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {m.finding.rank} | `{m.finding.cause}` | {code(clean(str(m.finding.subject)))} | {m.count:,} "
            f"| {m.finding.confidence.value} | {m.finding.state.value}{', symptom' * bool(m.finding.explained_by)} |"
            for m in g.members
        ]
        lines.append("")
    if limit and len(some) > limit:
        lines += [f"and {plural(len(some) - limit, 'more group', 'more groups')}", ""]
    if d.seen.unrecognised:
        lines += [f"Not recognised: {d.seen.unrecognised:,} failing or unusual lines.", ""]
    if d.problems:
        lines += ["## Could not be read", "", *(f"- {code(str(p))}" for p in d.problems[:50]), ""]
    return "\n".join(lines)


def _cleaner(redacted: bool) -> Callable[[str], str]:
    return (lambda t: safe(redact(t))) if redacted else safe
