"""The line at the bottom: where from, how much, how late, how much fails, the filters. Pure."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import PurePath

from meshdiag.diagnosis import Diagnosis
from meshdiag.diagnosis.windows import Phase
from meshdiag.model import Kind
from meshdiag.shell.state import State
from meshdiag.shell.work import Reading
from meshdiag.views.amounts import duration, plural
from meshdiag.views.safe import columns, one_line

BAR = 10
LATE = 2.0
"""Seconds behind that are worth a word."""

SPINNER = "|/-\\"

Part = tuple[str, str]
"""A kind (a key of `themes.COLOURS`) and a text."""


def busy(state: State) -> bool:
    """Whether something goes on behind the prompt."""
    reading = state.work.reading
    return state.work.is_live or (reading is not None and not reading.finished)


@dataclass
class Status:
    """Makes the line. What takes long to count is counted once for each diagnosis."""

    _counted: tuple[Diagnosis, object, str, Part] | None = field(default=None, repr=False)

    def line(self, state: State, width: int, now: float | None = None) -> list[Part]:
        """The parts of the line, together at most `width` columns wide; `now` is a time of the clock, for what moves."""
        parts = [*self._sources(state, time.monotonic() if now is None else now)]
        if state.filters:
            parts.append(("filter", f"only {state.filtered}"))
        if state.work.latest.seen.lines:
            parts.insert(1, self._failing(state))
        return _cut(parts, width)

    def _sources(self, state: State, now: float) -> list[Part]:
        work, out = state.work, list[Part]()
        reading = work.reading
        if work.is_live:
            out.append(("source", f"● {work.live_name}"))
            out.append(("", plural(work.containers, "container")))
            out.append(("", f"{work.lines_per_second:,.0f} lines/s"))
            if work.behind >= LATE:
                out.append(("warn", f"{duration(work.behind)} behind"))
        if reading is not None and not reading.finished:
            out.append(("progress", _progress(reading, now)))
        elif work.inputs and not work.is_live:
            more = f" and {len(work.inputs) - 1} more" if len(work.inputs) > 1 else ""
            out.append(("source", f"{_short(work.inputs[-1])}{more}"))
            out.append(("", plural(work.latest.seen.lines, "line")))
        if not out:
            out.append(("source", "nothing is open"))
            out.append(("", "open PATH, or tail -n NAMESPACE"))
        return out

    def _failing(self, state: State) -> Part:
        latest, standings, filtered = state.work.latest, state.work.standings(), state.filtered
        counted = self._counted
        if counted is not None and counted[0] is latest and counted[1] is standings and counted[2] == filtered:
            return counted[3]
        over = {(s.finding.cause, s.finding.subject) for s in standings if s.phase is Phase.OVER}
        view = state.view if state.filters else None
        roots = [
            f
            for f in latest.findings
            if f.kind is Kind.FAILURE
            and not f.explained_by
            and (view is None or view.shows(f))
            and (f.cause, f.subject) not in over
        ]
        now = " now" if state.work.is_live else ""
        part = ("bad", f"{plural(len(roots), 'root cause')} failing{now}") if roots else ("good", f"nothing fails{now}")
        self._counted = (latest, standings, filtered, part)
        return part


def _progress(reading: Reading, now: float) -> str:
    name = _short(reading.names[0]) + (f" and {len(reading.names) - 1} more" if len(reading.names) > 1 else "")
    if reading.total:
        share = min(1.0, reading.done / reading.total)
        bar = "█" * int(share * BAR) + "░" * (BAR - int(share * BAR))
        return f"reading {name} {bar} {100 * share:.0f} %"
    return f"reading {name} {SPINNER[int(now * 2) % len(SPINNER)]} {reading.done / 1e6:,.0f} MB"


def _short(path: str) -> str:
    """The end of a path."""
    return path if len(path) <= 32 else PurePath(path).name or path[-32:]


def _cut(parts: list[Part], width: int) -> list[Part]:
    """The parts with ` · ` between, each on one line and harmless; the last one that does not fit is cut, those behind it left out."""
    out: list[Part] = []
    used = 0
    for kind, text in parts:
        between = " · " if out else ""
        shown = one_line(text)
        room = width - used - len(between)
        if room < 4:
            break
        shown = shown if columns(shown) <= room else one_line(shown, room)
        out += [*([("", between)] if between else []), (kind, shown)]
        used += len(between) + columns(shown)
    return out
