"""Failures over time by cause, with their onset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import matplotlib.dates as mdates
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from meshdiag.diagnosis import Diagnosis
from meshdiag.diagnosis.bounded import Buckets
from meshdiag.diagnosis.onset import onset_of
from meshdiag.plots import canvas
from meshdiag.plots.frames import failing_causes, need
from meshdiag.views.amounts import clock, duration, plural, several_days

if TYPE_CHECKING:
    import pandas as pd

BARS: Final = 90
"""Bars at most; they get wider in a longer time."""

CAUSES: Final = 6
"""Causes with a colour of their own."""

_KEPT: Final = 100_000
"""Buckets while a frame is counted: no bound in practice, two months of minutes."""


@dataclass(frozen=True, slots=True)
class Series:
    """One cause over time.

    counts  failing records by begin of the bar (seconds since 1970)
    onset   when it began or rose, of those where the capture shows it: begin of the minute, UTC
    """

    cause: str
    counts: Mapping[int, int]
    onset: datetime | None = None

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class OverTime:
    """All causes in bars of `width` seconds, the most frequent first; `others` is how many causes stand together in the last one."""

    width: int
    series: tuple[Series, ...]
    others: int = 0


def failures(source: Diagnosis | pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Failing records over time by cause, stacked; a dashed line where a cause began or rose.

    source  a Diagnosis, or a frame of `meshdiag.frame` with the columns `time` and `cause`

    The most frequent causes have a colour and a hatch each, the rest is gathered. Times are UTC.
    """
    is_new = ax is None
    ax = canvas.axes_of(ax, 9, 3.4)
    data = over_time(source)
    if not data.series:
        return canvas.say(ax, "no failure with a time")
    begin = min(min(s.counts) for s in data.series)
    end = max(max(s.counts) for s in data.series) + data.width
    bars = range(begin, end, data.width)
    bottom = [0] * len(bars)
    handles: list[Any] = []
    labels = []
    day = data.width / 86_400
    dated = several_days(*(datetime.fromtimestamp(at, UTC) for at in (begin, end - 1)))
    edge = ax.get_facecolor()
    for i, s in enumerate(data.series):
        is_rest = bool(data.others) and i == len(data.series) - 1
        heights = [s.counts.get(at, 0) for at in bars]
        seen = [j for j, n in enumerate(heights) if n]
        handle = ax.bar(
            [bars[j] / 86_400 for j in seen], [heights[j] for j in seen], day, [bottom[j] for j in seen],
            align="edge", linewidth=0.4, edgecolor=edge,
            color=canvas.GREY if is_rest else canvas.COLOURS[i], hatch="" if is_rest else canvas.HATCHES[i],
        )  # fmt: skip
        bottom = [a + b for a, b in zip(bottom, heights, strict=True)]
        handles.append(handle)
        since = f", from {clock(s.onset, dated, seconds=False)}" if s.onset else ""
        labels.append(f"{canvas.name(s.cause)} ({s.total:,}){since}")
    began = {s.onset for s in data.series if s.onset}
    line: dict[str, Any] = {"color": canvas.foreground(), "linestyle": "--", "linewidth": 1}
    for onset in sorted(began):
        ax.axvline(onset.timestamp() / 86_400, **line)
    if began:
        handles.append(Line2D([], [], **line))
        labels.append("onset")
    pad = max(data.width, (end - begin) * 0.03)
    ax.set_xlim((begin - pad) / 86_400, (end + pad) / 86_400)
    ax.set_ylim(0, max(bottom) * 1.08)
    locator = mdates.AutoDateLocator(tz=UTC, minticks=4, maxticks=8)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator, tz=UTC))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ax.set_xlabel("time (UTC)")
    ax.set_ylabel(f"failing records per {'minute' if data.width == 60 else duration(data.width)}")
    canvas.title(ax, "Failures over time by cause")
    canvas.bare(ax, "left", "bottom")
    canvas.legend(ax, handles, labels, below=canvas.size_of(ax, False)[0] * canvas.is_narrow(ax, is_new))
    return canvas.plain(ax)


def over_time(source: Diagnosis | pd.DataFrame) -> OverTime:
    """What is drawn: of every cause of a failure its counts, in at most BARS bars."""
    some = _of_diagnosis(source) if isinstance(source, Diagnosis) else _of_frame(source)
    some = sorted((s for s in some if s.counts), key=lambda s: (-s.total, s.cause))
    if not some:
        return OverTime(60, ())
    width = _width(min(min(s.counts) for s in some), max(max(s.counts) for s in some))
    kept, rest = (some, []) if len(some) <= CAUSES + 1 else (some[:CAUSES], some[CAUSES:])
    series = [Series(s.cause, _wider([s], width), s.onset) for s in kept]
    if rest:
        series.append(Series(f"others: {plural(len(rest), 'cause')}", _wider(rest, width)))
    return OverTime(width, tuple(series), len(rest))


def _width(first: int, last: int) -> int:
    """Seconds of a bar: the least of those that a clock has with which the bars fit; whole minutes at least, as counts are."""
    needed = (last - first + 60) / BARS
    steps = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200)
    return next((s for s in steps if s >= needed), 86_400 * ceil(needed / 86_400))


def _wider(some: Iterable[Series], width: int) -> Counter[int]:
    out: Counter[int] = Counter()
    for s in some:
        for at, n in s.counts.items():
            out[at // width * width] += n
    return out


def _of_diagnosis(diagnosis: Diagnosis) -> list[Series]:
    counts: dict[str, Counter[int]] = {}
    onsets: dict[str, list[datetime]] = {}
    for f in diagnosis.failures:
        own = counts.setdefault(f.cause, Counter())
        for n, count in f.minutes.counts:
            own[n * f.minutes.width] += count
        if f.onset is not None and f.onset.rises:
            onsets.setdefault(f.cause, []).append(f.onset.start)
    return [Series(cause, own, min(onsets.get(cause, ()), default=None)) for cause, own in counts.items()]


def _of_frame(frame: pd.DataFrame) -> list[Series]:
    need(frame, ("time", "cause"), "the plot of failures")
    timed = frame.loc[frame["cause"].isin(failing_causes(frame)) & frame["time"].notna(), ["time", "cause"]]
    if timed.empty:
        return []
    begin = frame["time"].min().to_pydatetime()
    seconds = timed["time"].dt.floor("min").astype("datetime64[s, UTC]").astype("int64")
    out = []
    for cause, rows in seconds.groupby(timed["cause"], observed=True):
        minutes = Buckets(60, _KEPT)
        for at, n in rows.value_counts().items():
            minutes.add(int(at), int(n))
        onset = onset_of(minutes, begin)
        counts = dict(minutes.items())
        out.append(Series(str(cause), counts, onset.start if onset and onset.rises else None))
    return out
