"""Latency percentiles by destination."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from meshdiag.diagnosis.durations import percentile, rounded
from meshdiag.plots import canvas
from meshdiag.plots.frames import need
from meshdiag.views.amounts import plural

if TYPE_CHECKING:
    import pandas as pd

SHOWN: Final = 20
"""Destinations with a row of their own: the slowest."""

PERCENTILES: Final = (50, 90, 99)

COLUMNS: Final = ("direction", "destination_host", "destination_port", "method", "duration")
"""What is needed of a frame; `method` may be away."""

UNDER: Final = 0.5
"""Where 0 ms stands, which is below 1 ms, on an axis that has no 0."""


@dataclass(slots=True)
class Durations:
    """Durations by destination, counted: bounded, whatever the number of requests.

    counts  destination -> milliseconds -> requests
    """

    counts: dict[str, dict[int, int]] = field(default_factory=dict)

    def add(self, frame: pd.DataFrame) -> None:
        """Count the requests of a frame. Raises MeshdiagError when it lacks a column."""
        need(frame, (n for n in COLUMNS if n != "method"), "latency")
        rows = frame[(frame["direction"] == "outbound") & frame["duration"].notna() & frame["destination_host"].notna()]
        if "method" in rows.columns:  # how long a TCP connection lasts is no latency
            rows = rows[rows["method"].notna()]
        if rows.empty:
            return
        port = rows["destination_port"].astype("string").fillna("")
        destination = (rows["destination_host"].astype("string") + ":" + port).str.rstrip(":")
        for (to, ms), n in rows.groupby([destination, rows["duration"].astype("int64")]).size().items():
            own = self.counts.setdefault(str(to), {})
            kept = rounded(int(ms))
            own[kept] = own.get(kept, 0) + int(n)


@dataclass(frozen=True, slots=True)
class Latency:
    """A destination: its requests and, for each of PERCENTILES, the milliseconds within which so many were answered."""

    destination: str
    requests: int
    ms: tuple[int, ...]


def latency(df: pd.DataFrame | Iterable[pd.DataFrame] | Durations, ax: Axes | None = None) -> Axes:
    """How long requests took, by destination: the median, 90 % and 99 %, in milliseconds on a logarithmic axis.

    df  a frame of `meshdiag.frame`, or chunks of `meshdiag.frames`, with the columns `direction`, `destination_host`,
        `destination_port`, `duration` (and `method`: without it connections of TCP count, too)

    `duration` is what the client's proxy logs: from the request's first byte to the answer's last. 0 ms is drawn as 0.5. The
    slowest destinations are shown; the title says how many are not. Raises MeshdiagError when a column is missing.
    """
    every = percentiles(df if isinstance(df, Durations) else durations(df))
    some = every[:SHOWN]
    is_new = ax is None
    ax = canvas.axes_of(ax, 9, 1.7 + 0.3 * max(len(some), 2))
    if not some:
        return canvas.say(ax, "no request of a client in these logs")
    handles = []
    for y, one in enumerate(some):
        ax.plot(
            [_at(one.ms[0]), _at(one.ms[-1])], [y, y], color=canvas.GREY, linewidth=2, solid_capstyle="round", zorder=1
        )
    for i in range(len(PERCENTILES)):
        look: dict[str, Any] = {"color": canvas.COLOURS[i], "marker": canvas.MARKERS[i], "linestyle": ""}
        # what is equal stays seen: the inner ones are smaller
        ax.plot([_at(one.ms[i]) for one in some], range(len(some)), markersize=5 + 1.5 * i, zorder=5 - i, **look)
        handles.append(Line2D([], [], markersize=6, **look))
    slowest = max(_at(one.ms[-1]) for one in some)
    fastest = min(_at(one.ms[0]) for one in some)
    ax.set_xscale("log")
    ax.set_xlim(min(UNDER, fastest) * 0.8 if fastest < 1 else fastest / 1.6, max(slowest * 1.6, 10))
    ax.xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=14))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:,.0f}" if ms >= 1 else "<1"))
    ax.set_ylim(len(some) - 0.5, -0.5)
    narrow = canvas.is_narrow(ax, is_new)
    letters = 20 if narrow else canvas.NAME
    labels = [f"{canvas.name(one.destination, letters)}  ({one.requests:,})" for one in some]
    ax.set_yticks(range(len(some)), labels, fontsize=canvas.SMALL)
    ax.tick_params(axis="x", labelsize=canvas.SMALL)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", alpha=0.25)
    ax.set_axisbelow(True)
    ax.set_xlabel("duration (ms)")
    ax.set_ylabel("destination (requests)")
    canvas.bare(ax, "bottom")
    hidden = len(every) - len(some)
    canvas.title(ax, "Latency by destination", f"the slowest; {plural(hidden, 'other')} not shown" if hidden else "")
    below = canvas.size_of(ax, False)[0] * narrow
    canvas.legend(ax, handles, ["median", *(f"{p} %" for p in PERCENTILES[1:])], "answered within", below)
    return canvas.plain(ax)


def durations(frames: pd.DataFrame | Iterable[pd.DataFrame]) -> Durations:
    """The durations of a frame, or of many, counted."""
    import pandas as pd

    out = Durations()
    for one in [frames] if isinstance(frames, pd.DataFrame) else frames:
        out.add(one)
    return out


def percentiles(counted: Durations) -> list[Latency]:
    """Of every destination, the slowest first (by the highest percentile)."""
    some = [
        Latency(to, sum(own.values()), tuple(percentile(own, p) for p in PERCENTILES))
        for to, own in counted.counts.items()
    ]
    return sorted(some, key=lambda one: (*(-ms for ms in reversed(one.ms)), one.destination))


def _at(ms: int) -> float:
    return max(float(ms), UNDER)
