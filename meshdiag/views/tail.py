"""A live mesh for a person: what has begun and ended as lines that stay, how it stands as a few lines that are drawn anew."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from meshdiag.diagnosis.windows import Phase, Standing
from meshdiag.model import Match, Origin, Severity
from meshdiag.redact import redact
from meshdiag.sources.live import Gap
from meshdiag.views.amounts import clock, duration, plural, rate
from meshdiag.views.safe import columns, one_line, safe
from meshdiag.views.style import Style
from meshdiag.views.text import about

PODS = ("cyan", "green", "magenta", "blue", "yellow")
"""Colours of pods; which one a pod has depends on its name alone."""

SYMPTOMS = 3
"""Symptoms that are shown under one root cause."""

_HEADS = {Phase.NEW: "NEW", Phase.AGAIN: "AGAIN", Phase.OVER: "OVER", Phase.ONGOING: "…"}


@dataclass(frozen=True, slots=True)
class Pace:
    """How much comes, for the head of the table: where from, how many containers, lines a second, seconds behind, what was missed."""

    source: str
    containers: int
    lines_per_second: float
    behind: float | None
    gaps: int
    problems: int


class Look:
    """How lines are drawn: width in columns, colours, and whether secrets are shown."""

    def __init__(self, width: int, style: Style, redacted: bool = True) -> None:
        self.width, self.style = max(40, width), style
        self.text = (lambda t: safe(redact(t))) if redacted else safe

    # -- lines that stay

    def turned(self, standing: Standing, now: datetime) -> Iterator[str]:
        """A finding that is new, over, or there again: a line; with a new one what proves it and what to do first."""
        f, style = standing.finding, self.style
        head = style(f"{_HEADS[standing.phase]:<5}", "bold", "green" if standing.phase is Phase.OVER else "red")
        level = style(f"{f.severity.value:<8}", f.severity.value)
        count = plural(f.count, "line")
        if standing.phase is Phase.OVER:
            tail = f"{count}, last {clock(f.last)}" if f.last else count
        else:
            since = f" since {clock(f.first)}" if f.first else ""
            tail = f"{count}{since}"
        fixed = f"{clock(now)} {_HEADS[standing.phase]:<5} {f.severity.value:<8} {f.cause}  "
        subject = one_line(self.text(about(f)), max(16, self.width - columns(fixed) - len(tail) - 2))
        yield f"{style(clock(now), 'dim')} {head} {level} {style(f.cause, 'bold')}  {style(subject, 'cyan')}  {style(tail, 'dim')}"
        if standing.phase is not Phase.NEW:
            return
        indent = " " * 15
        yield indent + one_line(f.title, self.width - len(indent))
        if f.samples:
            yield indent + style(one_line(self.text(f.samples[0].line), self.width - len(indent)), "dim")
        if f.remedies and not f.explained_by:
            yield indent + style(one_line("→ " + self.text(f.remedies[0].title), self.width - len(indent)), "green")

    def gap(self, gap: Gap, now: datetime) -> str:
        """A line about lines that could not be had."""
        length = f" of {duration(gap.seconds)}" if gap.seconds is not None else ""
        text = one_line(f"{gap.origin}: gap{length}: {gap.why}", self.width - 24)
        return f"{self.style(clock(now), 'dim')} {self.style('GAP  ', 'bold', 'yellow')} {self.style(text, 'yellow')}"

    def problem(self, text: str, now: datetime) -> str:
        """A line about what stands in the way."""
        cut = one_line(self.text(text), max(40, self.width - 15))
        return f"{self.style(clock(now), 'dim')} {self.style('NOTE ', 'bold', 'yellow')} {cut}"

    def raw(self, origin: Origin, text: str, match: Match | None, severity: Severity | None, namespaces: bool) -> str:
        """A line of a log behind its pod and container, as stern shows it, and the cause when it was recognised."""
        colour = PODS[zlib.crc32(f"{origin.namespace}/{origin.pod}".encode()) % len(PODS)]
        names = [origin.cluster, origin.namespace if namespaces else "", origin.pod, origin.container]
        prefix = " ".join(n for n in names if n) or origin.path
        line = self.text(text).replace("\n", "\n    ")
        if match is None:
            return f"{self.style(safe(prefix), colour)} {line}"
        cause = self.style(f"[{match.cause}]", severity.value if severity else "dim")
        return f"{self.style(safe(prefix), colour)} {cause} {line}"

    # -- lines that are drawn anew

    def table(self, standings: tuple[Standing, ...], pace: Pace, now: datetime, height: int) -> list[str]:
        """How everything stands, in at most `height` lines."""
        style, width = self.style, self.width
        parts = [
            pace.source,
            plural(pace.containers, "container"),
            f"{pace.lines_per_second:,.0f} lines/s",
            *([f"{duration(pace.behind)} behind"] if pace.behind is not None and pace.behind >= 2 else []),
            *([plural(pace.gaps, "gap")] if pace.gaps else []),
            *([plural(pace.problems, "note")] if pace.problems else []),
        ]
        head = one_line(" · ".join(p for p in parts if p), width - 10)
        lines = [style(head + " " * max(1, width - 9 - columns(head)) + clock(now), "dim")]
        failing = [s for s in standings if s.phase is not Phase.OVER]
        over = [s for s in standings if s.phase is Phase.OVER]
        if not failing:
            lines.append(style("Nothing fails now." if over else "No failure so far.", "bold", "green"))
        rows = [*self._tree(failing), *(self._row(s, "") for s in over)]
        room = max(1, height - len(lines))
        if len(rows) > room:
            rows = [*rows[: room - 1], style(f"… and {len(rows) - room + 1} more", "dim")]
        return lines + rows

    def _tree(self, failing: list[Standing]) -> Iterator[str]:
        """Root causes, each with the symptoms that it explains and that nothing before it was shown to explain."""
        by_rank = {s.finding.rank: s for s in failing}
        shown: set[int] = set()
        roots = [s for s in failing if not any(r in by_rank for r in s.finding.explained_by)]
        for root in roots:
            yield self._row(root, "")
            symptoms = [by_rank[r] for r in root.finding.explains if r in by_rank and r not in shown]
            shown.update(s.finding.rank for s in symptoms)
            for s in symptoms[:SYMPTOMS]:
                yield self._row(s, "└ ")
            if len(symptoms) > SYMPTOMS:
                yield self.style(f"  └ {len(symptoms) - SYMPTOMS} more symptoms", "dim")

    def _row(self, standing: Standing, indent: str) -> str:
        f, style, width = standing.finding, self.style, self.width
        over = standing.phase is Phase.OVER
        mark = "✓" if over else "●"
        how = f"over {duration(standing.lasts)}" if over else f"for {duration(standing.lasts)}"
        numbers = (
            f"{f.count:>9,}  {'' if over else rate(standing.per_minute):>14}  {how:<16}"
            if width >= 100
            else f"{f.count:>7,} {how:<14}"
        )
        left = f"{indent}{mark} "
        cause_width = 30 if width >= 100 else 24
        cause = one_line(f.cause, cause_width - len(indent))
        space = max(8, width - len(left) - (cause_width - len(indent)) - len(numbers) - 3)
        subject = one_line(self.text(about(f)), space)
        padded = cause + " " * (cause_width - len(indent) - columns(cause))
        body = f"{padded} {subject}{' ' * max(0, space - columns(subject))} {numbers}".rstrip()
        if over:
            return style(left + body, "dim")
        return style(left, f.severity.value) + style(padded, f.severity.value) + body[len(padded) :]
