"""How far each proxy got in its start, and what stopped it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Transform

from meshdiag.diagnosis import Diagnosis
from meshdiag.diagnosis.readiness import Ready, Start
from meshdiag.diagnosis.readiness import starts as starts_of
from meshdiag.diagnosis.timeline import NEEDED
from meshdiag.plots import canvas
from meshdiag.views.amounts import clock, duration, plural, several_days

SHOWN: Final = 30
"""Starts with a row of their own: those that are not ready first."""

BARS: Final = (0.3, 0.75)
"""Of the axis is for the longest bar at least and at most; behind the bars stands what became of them."""

APART: Final = 0.055
"""Of the axis is between two ticks at least."""

LEAST: Final = 0.1
"""Seconds below which the axis is linear."""

_COLOURS: Final = {Ready.READY: canvas.GOOD, Ready.STARTING: canvas.WAITING, Ready.NOT_READY: canvas.BAD}
_HATCHES: Final = {Ready.READY: "", Ready.STARTING: "...", Ready.NOT_READY: "///"}
_TICKS: Final = (0.0, 0.1, 0.3, 1, 3, 10, 30, 60, 300, 900, 3600, 10_800, 43_200, 86_400, 604_800)


@dataclass(frozen=True, slots=True)
class Row:
    """A start.

    milestones  (name, seconds from the start), those that the component needs
    length      seconds until it was ready, or until its log ends
    said        what became of it
    """

    label: str
    state: Ready
    milestones: tuple[tuple[str, float], ...]
    length: float
    said: str


def readiness(diagnosis: Diagnosis, ax: Axes | None = None) -> Axes:
    """The start of every proxy (and istiod, ztunnel, istio-cni) as a bar from its begin, with the milestones on it.

    Seconds since its begin, which stands beside the name (UTC), on an axis that is logarithmic from 0.1 s on: a start takes a second,
    or forever. Behind the bar stands what stopped it. Starts of which the log does not have the begin are only counted.
    """
    is_new = ax is None
    ax = canvas.axes_of(ax, 10, 1.9 + 0.32 * max(len(starts_of(diagnosis)[:SHOWN]), 2))
    some, hidden, unknown = rows(diagnosis, 20 if canvas.is_narrow(ax, is_new) else canvas.NAME)
    if not some:
        return canvas.say(ax, "no log has the begin of a start")
    notes = [f"{plural(hidden, 'other start')} not shown"] if hidden else []
    if unknown:
        notes.append(f"{plural(unknown, 'log')} without the begin of the start")
    wide = _width(ax, some, is_new)
    longest = max(max(r.length for r in some), 1.0)
    ax.set_xscale("symlog", linthresh=LEAST, linscale=0.4)
    scale = ax.xaxis.get_transform()
    text = max(canvas.width_of(r.said, canvas.SMALL) for r in some) + 12
    part = min(max(1 - text / wide, BARS[0]), BARS[1])
    room = scale.inverted().transform([scale.transform([longest])[0] / part])[0]
    names: dict[str, int] = {}
    for y, r in enumerate(some):
        ax.barh(y, max(r.length, LEAST / 10), 0.55, color=_COLOURS[r.state], hatch=_HATCHES[r.state], alpha=0.55,
                edgecolor=ax.get_facecolor(), linewidth=0.4, zorder=1)  # fmt: skip
        for milestone, at in r.milestones:
            look = _marker(names.setdefault(milestone, len(names)))
            ax.plot([at], [y], markeredgewidth=0.6, zorder=3, clip_on=False, **look)
        ax.annotate(r.said, (max([r.length, *(at for _, at in r.milestones)]), y), (7, 0), textcoords="offset points",
                    va="center", fontsize=canvas.SMALL)  # fmt: skip
    ax.set_xlim(0, room)
    ax.xaxis.set_major_locator(FixedLocator(_ticks(longest, room, scale)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda s, _: "0" if s == 0 else duration(s).replace(".0 s", " s")))
    ax.set_ylim(len(some) - 0.5, -0.5)
    ax.set_yticks(range(len(some)), [r.label for r in some], fontsize=canvas.SMALL)
    ax.tick_params(axis="x", labelsize=canvas.SMALL)
    ax.set_xlabel("time since the start began", loc="left")
    ax.set_ylabel("pod (begin of its start, UTC)")
    canvas.bare(ax, "left")
    canvas.title(ax, "Readiness", ", ".join(notes))
    handles = [Line2D([], [], **_marker(i)) for i in names.values()]
    canvas.legend(ax, handles, [canvas.name(n) for n in names], below=wide)
    return canvas.plain(ax)


def _width(ax: Axes, some: Sequence[Row], is_new: bool) -> float:
    """Points of the axes; of new ones what the names will leave of the figure."""
    wide, _ = canvas.size_of(ax, is_new)
    return wide - (max(canvas.width_of(r.label, canvas.SMALL) for r in some) + 50) * is_new


def _marker(i: int) -> dict[str, Any]:
    """How the i-th milestone looks: a marker, and when there are no more the same, hollow."""
    hollow = i >= len(canvas.MARKERS)
    return {
        "marker": canvas.MARKERS[i % len(canvas.MARKERS)], "linestyle": "", "markersize": 6, "color": canvas.foreground(),
        "markerfacecolor": "none" if hollow else canvas.foreground(),
    }  # fmt: skip


def _ticks(longest: float, room: float, scale: Transform) -> list[float]:
    """Times that a clock has, up to the longest, as many as stand apart."""
    out: list[float] = []
    for t in _TICKS:
        if t <= longest * 1.2 and (not out or _between(out[-1], t, scale) >= APART * _between(0, room, scale)):
            out.append(t)
    return out


def _between(a: float, b: float, scale: Transform) -> float:
    low, high = scale.transform([a, b])
    return float(high - low)


def rows(diagnosis: Diagnosis, letters: int = canvas.NAME) -> tuple[list[Row], int, int]:
    """The starts that are shown, with names of so many letters; how many more there are; and of how many the log lacks the begin."""
    known, unknown = [], 0
    for s in starts_of(diagnosis):
        row = _row(s)
        if row is None:
            unknown += 1
        else:
            known.append((s, *row))
    dated = several_days(*(since for _, since, *_ in known))
    out = []
    for s, since, milestones, length in known[:SHOWN]:
        t = s.timeline
        again = f", start {t.starts}" if t.starts > 1 else ""
        other = f" {t.component}" if t.component in ("istio-init", "istio-cni") else ""
        label = f"{canvas.name(t.pod, letters)}{other} ({clock(since, dated)}{again})"
        out.append(Row(label, s.state, milestones, length, _said(s)))
    return out, max(0, len(known) - SHOWN), unknown


def _row(s: Start) -> tuple[datetime, tuple[tuple[str, float], ...], float] | None:
    t = s.timeline
    if s.since is None or s.state is Ready.UNKNOWN:
        return None
    needed = NEEDED[t.component]
    steps = tuple(
        (m.name, max(0.0, (m.time - s.since).total_seconds()))
        for m in t.milestones
        if m.time is not None and (m.name in needed or m is t.last) and not (t.ready and m.time > t.ready)
    )
    last = max((at for _, at in steps), default=0.0)
    length = t.took if s.state is Ready.READY else s.waited
    return s.since, steps, last if length is None else length


def _said(s: Start) -> str:
    t = s.timeline
    if s.state is Ready.READY:
        return "ready" if t.took is None else f"ready after {duration(t.took)}" if t.took >= 0.05 else "ready at once"
    word = "still starting" if s.state is Ready.STARTING else "not ready"
    roots = [f"#{f.rank} {f.cause}" for f in s.roots]
    more = f" and {len(roots) - 1} more" if len(roots) > 1 else ""
    why = f": {canvas.name(roots[0])}{more}" if roots else f", next: {t.next[0]}" if t.next else ""
    return f"{word} after {duration(s.waited)}{why}" if s.waited is not None else f"{word}{why}"
