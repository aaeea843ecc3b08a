"""The readiness timeline for a person at a terminal: a table of all pods, or the milestones of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from meshdiag.diagnosis import Diagnosis, Finding
from meshdiag.diagnosis.readiness import Ready, Start
from meshdiag.model import State
from meshdiag.redact import redact
from meshdiag.views.amounts import clock, duration, plural, several_days
from meshdiag.views.prose import wrapped
from meshdiag.views.safe import columns, one_line, safe
from meshdiag.views.style import Style
from meshdiag.views.text import ranks, when

INDENT = "   "
LONG_GAP = 3.0
"""Seconds between two milestones from which the gap is shown with a bar."""

SLOW = 10.0
"""Seconds from which a start is said to be slow and healthy all the same."""

BAR = 24
"""Columns of the longest bar."""

_COLOURS = {Ready.READY: "green", Ready.STARTING: "yellow", Ready.NOT_READY: "red", Ready.UNKNOWN: "dim"}


def render_all(
    diagnosis: Diagnosis,
    some: Sequence[Start],
    *,
    width: int = 100,
    style: Style | None = None,
    redacted: bool = True,
    in_shell: bool = False,
) -> str:
    """All pods in a table, those that are not ready first; `width` columns wide. `in_shell`: it names its commands."""
    page = _Page(max(40, width), style or Style(False), redacted, in_shell)
    return "\n".join(page.table(diagnosis, some)) + "\n"


def render_one(
    diagnosis: Diagnosis,
    start: Start,
    *,
    width: int = 100,
    style: Style | None = None,
    redacted: bool = True,
    in_shell: bool = False,
) -> str:
    """The milestones of one start, and what blocked the next."""
    page = _Page(max(40, width), style or Style(False), redacted, in_shell)
    return "\n".join(page.one(diagnosis, start)) + "\n"


class _Page:
    def __init__(self, width: int, style: Style, redacted: bool, in_shell: bool) -> None:
        self.width, self.style, self.in_shell = width, style, in_shell
        self.text: Callable[[str], str] = (lambda t: safe(redact(t))) if redacted else safe

    # -- all pods

    def table(self, d: Diagnosis, some: Sequence[Start]) -> Iterator[str]:
        style = self.style
        facts = [f"{d.seen.lines:,} lines", when(d.seen.first, d.seen.last)]
        yield style(" · ".join(f for f in facts if f), "dim")
        if not some:
            yield style("No start of a proxy, istiod, ztunnel or istio-cni is in these logs.", "bold", "yellow")
            yield from wrapped(
                "A timeline needs the log from the container's start on: kubectl logs with --tail=-1 and without --since.",
                self.width,
            )
            yield from self.unread(d)
            return
        yield style(_summary(some), "bold", _COLOURS[some[0].state])
        yield ""
        dated = several_days(*(s.timeline.ready or s.since for s in some))
        rows = [self.row(s, dated) for s in some]
        head = ("POD", "COMPONENT", "READY", "LAST MILESTONE")
        wide = [max(columns(r[i]) for r in [head, *rows]) for i in range(4)]
        spare = self.width - sum(wide[1:]) - 6
        last = True
        if spare < wide[0]:  # what was reached last stands in the line below, where it matters
            last, spare = False, self.width - wide[1] - wide[2] - 4
        wide[0] = max(8, min(wide[0], spare))
        yield style(_columns([*head[:3], head[3] * last], wide), "dim")
        for s, row in zip(some, rows, strict=True):
            cells = [_middle(row[0], wide[0]), row[1], row[2], row[3] * last]
            line = _columns(cells, wide)
            at = wide[0] + wide[1] + 4
            yield line[:at] + style(line[at : at + len(row[2])], _COLOURS[s.state]) + line[at + len(row[2]) :]
            if not last and s.state is not Ready.READY and s.timeline.last:
                yield INDENT + f"last milestone: {self.text(s.timeline.last.name)}"
            if s.roots and s.state is not Ready.UNKNOWN:
                word = "while it started" if s.state is Ready.READY else "blocked by"
                for text in wrapped(f"{word} {_named(s.roots)}", self.width, INDENT):
                    yield style(text, "magenta")
        yield ""
        example = next((s for s in some if s.state is not Ready.READY), some[0]).timeline
        pod = self.text(example.pod)
        how = f"timeline {pod}" if self.in_shell else f"meshdiag timeline {pod} INPUT…"
        yield from wrapped(f"{how} shows its milestones.", self.width)
        yield from self.unread(d)

    def row(self, s: Start, dated: bool) -> tuple[str, str, str, str]:
        t = s.timeline
        last = self.text(t.last.name) if t.last else "-"
        return one_line(self.text(t.pod)), t.component, _state(s, dated), last

    def unread(self, d: Diagnosis) -> Iterator[str]:
        if d.problems:
            yield ""
            said = f"Not read or left out ({len(d.problems)}), so pods may be missing: "
            yield from wrapped(said + one_line(str(d.problems[0]), 200), self.width)

    # -- one pod

    def one(self, d: Diagnosis, s: Start) -> Iterator[str]:
        t, style = s.timeline, self.style
        who = [
            self.text(t.pod),
            t.component,
            *([f"namespace {self.text(t.origin.namespace)}"] if t.origin.namespace else []),
        ]
        yield style(one_line(" · ".join(who), self.width), "cyan")
        for text in wrapped(_verdict(s), self.width):
            yield style(text, "bold", _COLOURS[s.state])
        yield ""
        yield from self.milestones(s)
        if s.blocking:
            yield ""
            titles = {Ready.READY: "Failed while it started", Ready.UNKNOWN: "Failed in this pod"}
            yield style(titles.get(s.state, "What blocked it"), "bold")
            roots = {f.rank for f in s.roots}
            for f in s.blocking:
                yield from self.blocking(f, f.rank in roots)
            how = "fix N" if self.in_shell else "meshdiag diagnose with the same input"
            yield from wrapped(f"{how} says what to do about them.", self.width, INDENT)
        elif s.state in (Ready.NOT_READY, Ready.STARTING):
            yield ""
            yield from wrapped("No failure in the log of this pod says why: look at the events of the pod.", self.width)
        yield from self.unread(d)

    def milestones(self, s: Start) -> Iterator[str]:
        t, style = s.timeline, self.style
        dated = several_days(*(m.time for m in t.milestones), t.log_end)
        gaps = [m.gap or 0.0 for m in t.milestones]
        if s.state is not Ready.READY and s.silent:
            gaps.append(s.silent)
        longest = max(gaps, default=0.0)
        known = s.state is not Ready.UNKNOWN
        coming = t.next if known else ()
        name = max((len(self.text(n)) for n in (*(m.name for m in t.milestones), *coming)), default=0)
        after = ["" if m.gap is None else f"+{duration(m.gap)}" for m in t.milestones]
        end = "" if s.silent is None else f"+{duration(s.silent)}"
        wide = (19 if dated else 12, max(8, len(end), *map(len, after)))
        used = sum(wide) + 3 + len(INDENT)

        def head(time: datetime | None, gap: str, dim: bool = False) -> str:
            shown = "" if time is None else _milli(time, dated)
            told = f"{gap:>{wide[1]}}"
            return f"{INDENT}{shown:<{wide[0]}} {self.style(told, 'dim') if dim else told}  "

        for m, gap in zip(t.milestones, after, strict=True):
            bar = self.bar(m.gap or 0.0, longest, used + name)
            label = self.text(m.name).ljust(name if bar or m is t.last else 0)
            told = "  ready" if m.name != "ready" and m.time and m.time == t.ready else ""
            if m is t.last and s.state is not Ready.READY:
                told = "  last reached" if known else "  last in the log"
            shown = style(label, "bold") if bar or told else label
            parts = [
                head(m.time, gap, not bar),
                shown,
                f"  {style(bar, 'yellow')}" if bar else "",
                style(told, "bold"),
            ]
            yield "".join(parts).rstrip()
        if s.state is Ready.READY:
            return
        for i, n in enumerate(coming):
            told = "expected next" if i == 0 else "not reached"
            yield (head(None, "") + style(f"{self.text(n):<{name}}", "dim") + style(f"  {told}", _COLOURS[s.state]))
        if t.log_end is not None:
            bar = self.bar(s.silent or 0.0, longest, used + max(name, 12)) if known else ""
            label = "the log ends".ljust(name if bar else 0)
            yield (head(t.log_end, end, not bar) + style(label, "dim") + (f"  {style(bar, 'yellow')}" if bar else ""))

    def bar(self, gap: float, longest: float, used: int) -> str:
        room = min(BAR, self.width - used - 2)
        return "█" * max(1, round(room * gap / longest)) if gap >= LONG_GAP and room >= 1 else ""

    def blocking(self, f: Finding, root: bool) -> Iterator[str]:
        style = self.style
        state = f" ({f.state.value})" if f.state is not State.ONGOING else ""
        label = f"#{f.rank} {f.cause}{state}"
        yield INDENT + style(label, f.severity.value if root else "dim")
        yield from wrapped(f.title, self.width, INDENT * 2)
        facts = [self.text(str(f.subject)), plural(f.count, "line"), when(f.first, f.last)]
        if not root:
            facts.append("explained by " + ranks(f.explained_by))
        yield from (style(line, "dim") for line in wrapped(" · ".join(x for x in facts if x), self.width, INDENT * 2))


def _summary(some: Sequence[Start]) -> str:
    said = []
    words = {
        Ready.READY: "ready",
        Ready.NOT_READY: "not ready",
        Ready.STARTING: "still starting when the log ends",
        Ready.UNKNOWN: "with a start before the log begins",
    }
    for state, word in words.items():
        if n := sum(s.state is state for s in some):
            said.append(f"{n:,} {word}")
    return ", ".join(said)


def _state(s: Start, dated: bool) -> str:
    t = s.timeline
    again = f", start {t.starts}" if t.starts > 1 else ""
    match s.state:
        case Ready.READY if t.took is not None:
            return f"after {duration(t.took)}{again}" if t.took >= 0.05 else f"at once{again}"
        case Ready.READY:
            return f"at {clock(t.ready, dated)}" if t.ready else "yes"
        case Ready.NOT_READY:
            return f"not since {clock(s.since, dated)}{again}" if s.since else f"no{again}"
        case Ready.STARTING:
            return f"starting since {clock(s.since, dated)}{again}" if s.since else f"starting{again}"
        case _:
            return "not in the log"


def _verdict(s: Start) -> str:
    t = s.timeline
    again = f" This is start {t.starts} in this log." if t.starts > 1 else ""
    match s.state:
        case Ready.READY if t.took is not None and t.took >= SLOW:
            slow = max((m for m in t.milestones if m.gap is not None), key=lambda m: m.gap or 0.0, default=None)
            longest = (
                f" The longest wait was {duration(slow.gap)} before {safe(slow.name)}." if slow and slow.gap else ""
            )
            return f"Ready after {duration(t.took)}: slow, and healthy.{longest}{again}"
        case Ready.READY if t.took is not None:
            return f"Ready after {duration(t.took)}.{again}"
        case Ready.READY:
            at = f" at {clock(t.ready, True)} UTC" if t.ready else ""
            return f"Ready{at}. The log begins after its start, so how long it took is not known."
        case Ready.UNKNOWN:
            return "The log begins after the start of this proxy and does not say whether it is ready."
        case _:
            since = f" since {clock(s.since, True)} UTC" if s.since else ""
            for_ = f", {duration(s.waited)} when the log ends" if s.waited is not None else ""
            if s.state is Ready.NOT_READY:
                return f"Not ready{since}{for_}.{again}"
            return f"Starting{since}{for_}: too early to call it a failure.{again}"


def _named(some: Sequence[Finding]) -> str:
    more = f" and {len(some) - 3} more" if len(some) > 3 else ""
    return ", ".join(f"#{f.rank} {f.cause}" for f in some[:3]) + more


def _milli(time: datetime, dated: bool) -> str:
    return clock(time, True) if dated else f"{clock(time)}.{time.microsecond // 1000:03d}"


def _columns(cells: Sequence[str], wide: Sequence[int]) -> str:
    return "  ".join(c + " " * (w - columns(c)) for c, w in zip(cells, wide, strict=True)).rstrip()


def _middle(text: str, width: int) -> str:
    """The text cut in its middle, since the end of a pod's name is what tells it from its twins."""
    if columns(text) <= width:
        return text
    if not text.isascii():
        return one_line(text, width)
    tail = min(width // 2, 17)
    return f"{text[: width - tail - 1]}…{text[-tail:]}"
