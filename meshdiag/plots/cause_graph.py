"""The graph of causes: what explains what, from root causes to symptoms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch

from meshdiag.diagnosis import Diagnosis, Finding
from meshdiag.diagnosis.chains import parents
from meshdiag.model import Severity
from meshdiag.plots import canvas, layers
from meshdiag.views.amounts import plural
from meshdiag.views.text import about

MANY: Final = 12
"""Findings that get a node each; of more, those of one cause share one."""

TALL: Final = 12
"""Nodes of a column; what is left over stands in one."""

COLUMNS: Final = 6

WIDE: Final = 0.78
"""Of a box, in columns; the rest is for arrows."""

HIGH: Final = 0.74
"""Of a box, in rows."""

_COLOURS: Final = {
    Severity.CRITICAL: canvas.COLOURS[1],
    Severity.ERROR: canvas.COLOURS[4],
    Severity.WARNING: canvas.COLOURS[6],
    Severity.INFO: canvas.COLOURS[5],
}


@dataclass(frozen=True, slots=True)
class Node:
    """Failures that are drawn as one: `title` and `note` are the lines of its box."""

    title: str
    note: str
    severity: Severity
    is_root: bool
    count: int


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes, the links between them (explaining, explained), and the columns in which they stand: (node, node, …) from roots on."""

    nodes: tuple[Node, ...]
    links: tuple[tuple[int, int], ...]
    columns: tuple[tuple[int, ...], ...]


def causes(diagnosis: Diagnosis, ax: Axes | None = None) -> Axes:
    """Root causes on the left, what they explain to the right, an arrow for every link.

    Up to a dozen failures have a box each; of more, those of one cause share one, and what does not fit into a column stands
    together as others. A root has a thick frame; the colour is the severity.
    """
    data = graph(diagnosis.failures)
    rows = max((len(c) for c in data.columns), default=2)
    wide = max(2, len(data.columns))
    is_new = ax is None
    ax = canvas.axes_of(ax, min(16, 0.6 + 2.7 * wide), min(12, 1.0 + 0.62 * rows))
    if not data.nodes:
        return canvas.say(ax, "no failure")
    ax.set_xlim(-0.03, wide - 0.97 + WIDE)
    ax.set_ylim(rows - 0.5, -0.5)
    places = {
        node: (x, (rows - len(column)) / 2 + y)
        for x, column in enumerate(data.columns)
        for y, node in enumerate(column)
    }
    for a, b in data.links:
        (x0, y0), (x1, y1) = places[a], places[b]
        ax.add_patch(
            FancyArrowPatch((x0 + WIDE, y0), (x1, y1), arrowstyle="-|>", mutation_scale=9, linewidth=0.9, shrinkA=1, shrinkB=1,
                            color=canvas.foreground(), alpha=0.7, zorder=1)
        )  # fmt: skip
    width, height = canvas.size_of(ax, is_new)
    if not is_new and ax.figure.get_layout_engine() is not None:
        width *= layers.LAID_OUT
    box = WIDE * (width - 20 * is_new) / (wide - 1 + WIDE)
    # two lines and the space around them in the height of a box
    size = max(3.0, min(canvas.SMALL, HIGH * (height - 60 * is_new) / rows / 3.0))
    for i, node in enumerate(data.nodes):
        x, y = places[i]
        fill = _COLOURS[node.severity]
        ax.add_patch(
            FancyBboxPatch((x, y - HIGH / 2), WIDE, HIGH, boxstyle="round,pad=0,rounding_size=0.05", facecolor=fill, zorder=2,
                           edgecolor=canvas.foreground(), linewidth=2.2 if node.is_root else 0.6)
        )  # fmt: skip
        lines = [canvas.fitted(text, box - 8, size) for text in (node.title, node.note)]
        ax.text(
            x + WIDE / 2, y, "\n".join(lines), ha="center", va="center", fontsize=size, color=canvas.on(fill), zorder=3
        )
    ax.set_axis_off()
    canvas.title(ax, "Causes: what explains (left) what (right)")
    there = [s for s in Severity if any(n.severity is s for n in data.nodes)]
    handles = [Patch(facecolor=_COLOURS[s], edgecolor=canvas.foreground(), linewidth=0.6) for s in there]
    handles.append(Patch(facecolor="none", edgecolor=canvas.foreground(), linewidth=2.2))
    canvas.legend(ax, handles, [*(s.value for s in there), "root cause"], below=width)
    return canvas.plain(ax)


def graph(failures: Sequence[Finding]) -> Graph:
    """Nodes, links and columns of failures: in each column those with the longest way from a root, near to what explains them."""
    links = [(f.rank, above) for f in failures for above in f.explained_by] if len(failures) <= MANY else []
    if len(failures) <= MANY:
        nodes = [_of_finding(f) for f in failures]
        at = {f.rank: i for i, f in enumerate(failures)}
        direct = {(at[p], at[c]) for c, p in parents(failures).items()}
        direct |= {(at[p], at[c]) for c, p in links if p in at}
    else:
        groups: dict[str, list[Finding]] = {}
        for f in failures:
            groups.setdefault(f.cause, []).append(f)
        nodes = [_of_cause(cause, some) for cause, some in groups.items()]
        order = {cause: i for i, cause in enumerate(groups)}
        at = {f.rank: order[f.cause] for f in failures}
        direct = {(at[p], at[f.rank]) for f in failures for p in f.explained_by if p in at and at[p] != at[f.rank]}
    forward = layers.acyclic(len(nodes), direct)
    depth = layers.depths(len(nodes), forward)
    columns = _columns(nodes, forward, depth)
    return _bounded(nodes, _reduced(forward), columns)


def _of_finding(f: Finding) -> Node:
    return Node(f"#{f.rank} {f.cause}", f"{about(f)} · {f.count:,}", f.severity, not f.explained_by, f.count)


def _of_cause(cause: str, some: Sequence[Finding]) -> Node:
    count = sum(f.count for f in some)
    worst = min((f.severity for f in some), key=lambda s: s.rank)
    about_ = about(some[0]) if len(some) == 1 else plural(len(some), "subject")
    return Node(cause, f"{plural(count, 'line')} · {about_}", worst, not all(f.explained_by for f in some), count)


def _reduced(links: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The links that no way over other nodes stands for (the transitive reduction)."""
    after: dict[int, set[int]] = {}
    for a, b in links:
        after.setdefault(a, set()).add(b)
    reach: dict[int, set[int]] = {}

    def all_after(at: int) -> set[int]:
        if at not in reach:
            reach[at] = set().union(*({b} | all_after(b) for b in after.get(at, ())))
        return reach[at]

    return [(a, b) for a, b in links if not any(b in all_after(c) for c in after[a] if c != b)]


def _columns(nodes: Sequence[Node], links: Iterable[tuple[int, int]], depth: Sequence[int]) -> list[list[int]]:
    """Nodes by depth; within a column near to what explains them (their mean height), so that few arrows cross."""
    above: dict[int, list[int]] = {}
    below: set[int] = set()
    for a, b in links:
        above.setdefault(b, []).append(a)
        below.add(a)
    columns: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for i, d in enumerate(depth):
        columns[min(d, COLUMNS - 1)].append(i)
    columns = columns[:COLUMNS]
    height: dict[int, float] = {}
    for column in columns:
        # of the roots, those that explain something come first
        column.sort(key=lambda i: (_mean([height[a] for a in above.get(i, ()) if a in height]), i not in below, i))
        for y, i in enumerate(column):
            height[i] = (y + 0.5) / len(column)
    return columns


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _bounded(nodes: Sequence[Node], links: Iterable[tuple[int, int]], columns: Sequence[Sequence[int]]) -> Graph:
    """At most TALL nodes in a column: what is left over becomes one node."""
    out: list[Node] = []
    place: dict[int, int] = {}
    shown: list[tuple[int, ...]] = []
    for column in columns:
        kept = list(column)
        if len(kept) > TALL:
            # the most frequent stay, in their order
            best = set(sorted(kept, key=lambda i: (-nodes[i].count, i))[: TALL - 1])
            kept = [i for i in kept if i in best]
        own = []
        for i in kept:
            place[i] = len(out)
            own.append(len(out))
            out.append(nodes[i])
        if rest := [i for i in column if i not in place]:
            count = sum(nodes[i].count for i in rest)
            worst = min((nodes[i].severity for i in rest), key=lambda s: s.rank)
            place.update(dict.fromkeys(rest, len(out)))
            own.append(len(out))
            out.append(
                Node(f"others: {len(rest):,}", plural(count, "line"), worst, any(nodes[i].is_root for i in rest), count)
            )
        shown.append(tuple(own))
    drawn = {(place[a], place[b]) for a, b in links if place[a] != place[b]}
    return Graph(tuple(out), tuple(sorted(drawn)), tuple(shown))
