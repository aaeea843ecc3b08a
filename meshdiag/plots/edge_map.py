"""A heat map of edges: which client fails on which destination."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from meshdiag.diagnosis import Diagnosis
from meshdiag.diagnosis.incident import cells, of_traffic
from meshdiag.plots import canvas
from meshdiag.plots.frames import failing_causes, need
from meshdiag.views.amounts import percent, plural

if TYPE_CHECKING:
    import pandas as pd

SHOWN: Final = 14
"""Clients, and destinations, with a row or a column of their own."""

COLUMNS: Final = ("workload", "namespace", "direction", "destination_host", "destination_port", "response_code")
"""What is needed of a frame."""

SHADES: Final = "YlOrBr"
"""From light to dark in nearly one hue: read the same by everyone, and in grey. Turned round on a dark page."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Requests from a client to a destination; `total` is None when it is not known how many there were."""

    source: str
    destination: str
    failed: int
    total: int | None

    @property
    def share(self) -> float | None:
        """The failing part, 0 to 1."""
        return self.failed / self.total if self.total else None


@dataclass(frozen=True, slots=True)
class EdgeMap:
    """The edges between those that fail most; rows and columns in order, the worst first."""

    sources: tuple[str, ...]
    destinations: tuple[str, ...]
    edges: tuple[Edge, ...]
    left_out: str = ""


def edges(source: Diagnosis | pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The share of requests that fail, client by destination, with the counts in each field.

    source  a Diagnosis, or a frame of `meshdiag.frame` with the access log's columns

    Edges are those that clients log (`outbound`). A grey field has failures, but how many requests there were is not known.
    The clients and destinations that fail most are shown; the title says how many are not.
    """
    data = edge_map(edges_of(source))
    rows, columns = len(data.sources), len(data.destinations)
    is_new = ax is None
    ax = canvas.axes_of(ax, min(14, 3.6 + 0.85 * max(columns, 3)), min(12, 2.2 + 0.42 * max(rows, 2)))
    if not data.edges:
        return canvas.say(ax, "no request of a client in these logs")
    shades = mpl.colormaps[f"{SHADES}_r" if canvas.is_dark() else SHADES]
    size = _font(ax, rows, columns)
    for e in data.edges:
        x, y = data.destinations.index(e.destination), data.sources.index(e.source)
        fill = canvas.GREY if e.share is None else shades(e.share)
        ax.add_patch(
            Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=fill, edgecolor=ax.get_facecolor(), linewidth=1.5,
                      hatch="///" if e.share is None else "")
        )  # fmt: skip
        if size >= 4:
            ax.text(x, y, _said(e), ha="center", va="center", fontsize=size, color=canvas.on(fill))
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(rows - 0.5, -0.5)
    narrow = canvas.is_narrow(ax, is_new)
    few = 14 if narrow else 20 if columns > 6 else 30
    ax.set_xticks(range(columns), [canvas.name(d, few) for d in data.destinations], fontsize=canvas.SMALL)
    for label in ax.get_xticklabels():
        label.set(rotation=35, ha="right", rotation_mode="anchor")
    ax.set_yticks(
        range(rows), [canvas.name(s, 20 if narrow else canvas.NAME) for s in data.sources], fontsize=canvas.SMALL
    )
    ax.tick_params(length=0)
    ax.set_xlabel("destination")
    ax.set_ylabel("client")
    canvas.bare(ax)
    bar = ax.figure.colorbar(ScalarMappable(Normalize(0, 100), shades), ax=ax, pad=0.01, fraction=0.05, aspect=25)
    bar.set_label("failing share (%)", fontsize=canvas.SMALL)
    bar.ax.tick_params(labelsize=canvas.SMALL)
    about = isinstance(source, Diagnosis) and source.seen.estimated
    notes = [data.left_out] * bool(data.left_out) + ["how many requests there were is an estimate"] * about
    canvas.title(ax, "Failing requests by edge", "; ".join(notes))
    return canvas.plain(ax)


def _said(e: Edge) -> str:
    if e.total is None:
        return f"{_short(e.failed)} failed"
    return f"{percent(e.failed, e.total)}\n{_short(e.failed)}/{_short(e.total)}"


def _short(n: int) -> str:
    return f"{n:,}" if n < 10_000 else f"{n / 1000:,.0f}k" if n < 10_000_000 else f"{n / 1e6:,.0f}M"


def _font(ax: Axes, rows: int, columns: int) -> float:
    """The size with which two lines of ten characters fit into a field, in points."""
    box = ax.get_window_extent()
    points = 72 / ax.figure.dpi
    wide, high = box.width * points / columns * 0.75, box.height * points / rows * 0.6
    return min(canvas.SMALL, wide / 6.5, high / 2.5)


def edge_map(some: Iterable[Edge]) -> EdgeMap:
    """The edges between the SHOWN clients and destinations with the most failures (then the most requests)."""
    known = list(some)
    ends = (Counter[str](), Counter[str]()), (Counter[str](), Counter[str]())
    for e in known:
        for (failed, total), end in zip(ends, (e.source, e.destination), strict=True):
            failed[end] += e.failed
            total[end] += e.total or e.failed
    (sources, more_sources), (destinations, more_destinations) = (_first(failed, total) for failed, total in ends)
    kept = tuple(e for e in known if e.source in sources and e.destination in destinations)
    sources = tuple(s for s in sources if any(e.source == s for e in kept))
    destinations = tuple(d for d in destinations if any(e.destination == d for e in kept))
    said = [
        plural(n, one) for n, one in ((more_sources, "other client"), (more_destinations, "other destination")) if n
    ]
    if said:
        rest = sum(e.failed for e in known) - sum(e.failed for e in kept)
        said.append(f"{plural(rest, 'failure')} not shown")
    return EdgeMap(sources, destinations, kept, ", ".join(said))


def _first(failed: Mapping[str, int], total: Mapping[str, int]) -> tuple[tuple[str, ...], int]:
    order = sorted(failed, key=lambda n: (-failed[n], -total[n], n))
    return tuple(order[:SHOWN]), max(0, len(order) - SHOWN)


def edges_of(source: Diagnosis | pd.DataFrame) -> list[Edge]:
    """Every edge that a client logged. Raises MeshdiagError for a frame without the columns that tell them."""
    return _of_diagnosis(source) if isinstance(source, Diagnosis) else _of_frame(source)


def _of_diagnosis(diagnosis: Diagnosis) -> list[Edge]:
    """Requests with an id count once, whatever the retries; others by their lines."""
    requests = diagnosis.seen.requests
    lines: Counter[tuple[str, str]] = Counter()
    shown = set()
    for c in cells(diagnosis, diagnosis.failures):
        subject = c.key[1]
        if subject.kind == "edge" and of_traffic(diagnosis, c.finding):
            shown.add(c.key)
            if c.finding.requests is None:
                lines[subject.source, subject.destination] += c.tally.count
    ids: dict[tuple[str, str], set[str]] = {}
    for (cause, subject, _), seen in requests.by_hop.items():
        if (cause, subject) in shown:
            ids.setdefault((subject.source, subject.destination), set()).update(seen)
    totals = {(s.source, s.destination): n for s, n in diagnosis.seen.traffic.items() if s.kind == "edge"}
    out = []
    for source, destination in sorted({*lines, *ids, *totals}):
        key = source, destination
        failed = lines[key] + requests.estimate(len(ids.get(key, ())))
        total = totals.get(key)
        out.append(Edge(source or "?", destination or "?", failed, None if total is None else max(total, failed)))
    return out


def _of_frame(frame: pd.DataFrame) -> list[Edge]:
    need(frame, COLUMNS, "the map of edges")
    rows = frame[(frame["direction"] == "outbound") & frame["destination_host"].notna()]
    if rows.empty:
        return []
    code = rows["response_code"].fillna(200)
    failing = (code >= 500) | (code == 0)
    if "cause" in rows.columns:
        failing |= rows["cause"].isin(failing_causes(rows))
    client = _joined(rows["namespace"], "/", rows["workload"])
    destination = _joined(rows["destination_host"], ":", rows["destination_port"])
    table = failing.groupby([client, destination]).agg(["sum", "size"])
    return [Edge(s, d, int(f), int(n)) for (s, d), f, n in zip(table.index, table["sum"], table["size"], strict=True)]


def _joined(first: pd.Series, by: str, second: pd.Series) -> pd.Series:
    a, b = first.astype("string").fillna(""), second.astype("string").fillna("")
    return (a + by + b).str.strip(by).replace("", "?")
