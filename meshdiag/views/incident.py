"""The incident in a few lines, and findings in groups, as text and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from meshdiag.diagnosis import Diagnosis
from meshdiag.diagnosis.incident import Going, Group, Impact, Incident, Member, groups, incident
from meshdiag.redact import redact
from meshdiag.views.amounts import clock, duration, number, percent, plural, several_days
from meshdiag.views.markdown import cell, code
from meshdiag.views.safe import columns, one_line, safe
from meshdiag.views.style import Style
from meshdiag.views.text import when

LABEL = 9
SHOWN = 3
"""Root causes that a line of the block tells of."""

_NEVER = datetime.min.replace(tzinfo=UTC)

KNOWN_MINUTES = 1.0
"""Minutes before an onset from which it is said that nothing failed then."""


def incident_lines(diagnosis: Diagnosis, width: int, style: Style) -> Iterator[str]:
    """Impact, onset, spread and state in at most four lines of `width` columns; none without a failure."""
    room = max(20, width - LABEL)
    for label, text in _said(incident(diagnosis), room):
        yield style(f"{label:<{LABEL}}", "dim") + one_line(text, room)


def _said(it: Incident, room: int) -> Iterator[tuple[str, str]]:
    if it.state is Going.NONE:
        return
    yield "impact", _impact(it, room)
    if began := _onset(it, room):
        yield "onset", began
    if spread := _spread(it):
        yield "spread", spread
    yield "state", _state(it)


def _fit(parts: Sequence[str], room: int) -> str:
    """The parts in a row, as many as there is room for (at most SHOWN), and how many more there are."""
    for n in range(min(SHOWN, len(parts)), 0, -1):
        said = ", ".join(parts[:n]) + (f", {len(parts) - n} more" if len(parts) > n else "")
        if columns(said) <= room or n == 1:
            return said
    return ""


def _requests(i: Impact, word: str = "") -> str:
    """`20 of 58 requests (34 %)`, `about 1,200 requests`; of a symptom's requests with its rank."""
    failed, about = i.failed or 0, "about " * i.about
    seen_as = [] if i.shown_by == i.rank else [f"in #{i.shown_by}"]
    if i.total is None:
        return f"{about}{failed:,}{word}" + (f" ({seen_as[0]})" if seen_as else "")
    return f"{failed:,} of {about}{i.total:,}{word} ({', '.join([percent(failed, i.total), *seen_as])})"


def _impact(it: Incident, room: int) -> str:
    counted = [i for i in it.impacts if i.failed is not None]
    if not counted:
        return "no failed request is in these logs"
    if len(counted) == 1:
        i = counted[0]
        number_ = f"#{i.rank} " * (len(it.impacts) > 1)
        return f"{number_}{_requests(i, ' requests')} failed"
    whole = (
        "failed requests: " if it.failed is None else f"{'about ' * it.about}{it.failed:,} requests failed: "
    )
    return whole + _fit([f"#{i.rank} {_requests(i)}" for i in counted], room - len(whole))


def _onset(it: Incident, room: int) -> str:
    known = [i for i in it.impacts if i.began is not None]
    dated = several_days(it.first, it.end)
    numbered = len(it.impacts) > 1
    return _fit([f"#{i.rank} " * numbered + _began(i, dated, brief=n > 0) for n, i in enumerate(known)], room)


def _began(i: Impact, dated: bool, brief: bool) -> str:
    b = i.began
    assert b is not None
    at = clock(b.at, dated, seconds=False)
    if b.quiet < KNOWN_MINUTES:
        return f"from the first lines on ({at})"
    if b.before:
        per = [("a minute", 1), ("an hour", 60), ("a day", 1440)]
        unit, n = next(((u, n) for u, n in per if b.before * n >= 0.095), per[-1])
        return f"rose at {at} from {number(b.before * n)} to {number(b.after * n)} {unit}"
    quiet = f"{round(b.quiet)} min" if b.quiet < 120 else duration(b.quiet * 60)
    return f"began {at}" + ("" if brief else f", none in the {quiet} before")


def _spread(it: Incident) -> str:
    s = it.spread
    parts = []
    if s.edges:
        far = [plural(s.clients, "client")] * bool(s.clients) + [plural(s.services, "destination")] * bool(
            s.services
        )
        parts.append(plural(s.edges, "edge") + (f" ({', '.join(far)})" if s.edges > 1 and far else ""))
    for n, one in ((s.workloads, "workload"), (s.pods, "pod")):
        if n:
            parts.append(plural(n, one))
    if s.files and not s.pods:
        parts.append(plural(s.files, "file"))
    return ", ".join(parts)


def _state(it: Incident) -> str:
    dated = several_days(it.first, it.end)
    by = {state: [i for i in it.impacts if i.quiet.state is state] for state in Going}
    ongoing, over = by[Going.ONGOING], by[Going.OVER]
    if ongoing:
        latest = max((i.quiet for i in ongoing if i.quiet.last), key=lambda q: q.last or _NEVER, default=None)
        some = f" ({_ranks(ongoing)})" if len(it.impacts) > len(ongoing) else ""
        said = f"ongoing{some}"
        if latest is not None and latest.last is not None:
            said += f", last at {clock(latest.last, dated)}"
            if latest.seconds is not None:
                said += (
                    ", as the log ends"
                    if latest.seconds < 1
                    else f", {duration(latest.seconds)} before the log ends"
                )
        return said + (f"; over: {_ranks(over)}" if over else "")
    if over and not by[Going.UNKNOWN]:
        last = max((i.quiet.last for i in over if i.quiet.last), default=None)
        silent = min((i.quiet.seconds for i in over if i.quiet.seconds is not None), default=None)
        said = "over"
        if silent is not None and silent >= 1:
            said += f", none in the last {duration(silent)}"
        return said + (f" (last at {clock(last, dated)})" if last else "")
    return "not known: the lines have no times" + (f"; over: {_ranks(over)}" if over else "")


def _ranks(some: Sequence[Impact]) -> str:
    more = f" and {len(some) - 4} more" if len(some) > 4 else ""
    return ", ".join(f"#{i.rank}" for i in some[:4]) + more


# -- groups


def render_groups(
    diagnosis: Diagnosis,
    by: str,
    *,
    width: int = 100,
    style: Style | None = None,
    redacted: bool = True,
    limit: int = 0,
) -> str:
    """The failures in groups, the worst first, a line a finding. `limit` bounds the groups (0: all)."""
    width, style = max(40, width), style or Style(False)
    return "\n".join(_text(diagnosis, by, width, style, _cleaner(redacted), limit)) + "\n"


def _text(
    d: Diagnosis, by: str, width: int, style: Style, clean: Callable[[str], str], limit: int
) -> Iterator[str]:
    some = groups(d, by)
    yield style(
        " · ".join(x for x in (f"{d.seen.lines:,} lines", when(d.seen.first, d.seen.last)) if x), "dim"
    )
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
        yield style(
            f"… and {plural(len(some) - limit, 'more group', 'more groups')}: --limit 0 shows all", "dim"
        )
    yield from _rest(d, width, style)


def _cells(g: Group, m: Member, by: str, clean: Callable[[str], str]) -> tuple[str, str, str, str, str]:
    """Rank, what, lines, how sure and whether it lasts, and the subject where that is not said above."""
    f = m.finding
    subject = one_line(clean(str(f.subject)))
    what, about = (subject, "") if by == "cause" else (f.cause, subject * (subject != g.name))
    state = f"{f.confidence.value}, {f.state.value}" + ", symptom" * bool(f.explained_by)
    return f"#{f.rank}", what, f"{m.count:,}", state, about


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


def markdown_groups(diagnosis: Diagnosis, by: str, *, redacted: bool = True, limit: int = 0) -> str:
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


def incident_markdown(diagnosis: Diagnosis) -> list[str]:
    """The block as a list, for the Markdown report; empty without a failure."""
    return [f"- **{label}**: {cell(text)}" for label, text in _said(incident(diagnosis), 400)]


def _cleaner(redacted: bool) -> Callable[[str], str]:
    return (lambda t: safe(redact(t))) if redacted else safe
