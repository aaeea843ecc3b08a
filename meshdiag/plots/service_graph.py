"""The service graph: who calls whom, from left to right, and where it fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from meshdiag.diagnosis import Diagnosis
from meshdiag.diagnosis.graph import Edge, Graph, Node
from meshdiag.diagnosis.graph import graph as graph_of
from meshdiag.plots import canvas, layers, vector
from meshdiag.views.amounts import percent, plural

SHOWN: Final = 36
"""Edges that are drawn: those with the most failures, then the most requests."""

TALL: Final = 18
"""Boxes of a column."""

ALONE: Final = 6
"""Boxes that nobody calls and that call nobody, but fail."""

FEW: Final = 0.1
"""The failing share below which an edge has the milder colour."""

MILD, BAD, FINE = canvas.COLOURS[4], canvas.COLOURS[1], canvas.GREY

NAME: Final = 28
"""Characters of a name: boxes that are wider push what they call off the page."""

LINE: Final = 1.35
"""Height of a line of text, in sizes of its letters."""

WIDEST: Final = 22.0
"""Inches of a new figure."""

HIGHEST: Final = 14.0

FRAME: Final = 3.0
"""Points around the boxes, for their frames."""

_LOCKED: Final = Path(
    [(-0.8, -1), (0.8, -1), (0.8, 0.1), (-0.8, 0.1), (-0.8, -1),
     (-0.5, 0.1), (-0.5, 1.2), (0.5, 1.2), (0.5, 0.1), (0.25, 0.1), (0.25, 0.8), (-0.25, 0.8), (-0.25, 0.1), (-0.5, 0.1)],
    [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY, Path.MOVETO, *[Path.LINETO] * 7, Path.CLOSEPOLY],
)  # fmt: skip
_OPEN: Final = Path(
    [(-0.8, -1), (0.8, -1), (0.8, 0.1), (-0.8, 0.1), (-0.8, -1),
     (0.3, 0.1), (0.3, 1.2), (1.4, 1.2), (1.4, 0.5), (1.15, 0.5), (1.15, 0.9), (0.55, 0.9), (0.55, 0.1), (0.3, 0.1)],
    [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY, Path.MOVETO, *[Path.LINETO] * 7, Path.CLOSEPOLY],
)  # fmt: skip
LOCKS: Final[Mapping[str, Path]] = {"mutual": _LOCKED, "plaintext": _OPEN}


@dataclass(frozen=True, slots=True)
class Box:
    """A node: its lines, the first of which is its name; the middle of its left side in points from the upper left corner."""

    node: Node
    lines: tuple[str, ...]
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Way:
    """An edge: the points through which it goes, from the caller on; its label (if it fails) and where that stands."""

    edge: Edge
    points: tuple[tuple[float, float], ...]
    label: tuple[str, ...] = ()
    at: tuple[float, float] = (0.0, 0.0)
    room: float = 0.0


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn, in points from the upper left corner."""

    boxes: tuple[Box, ...]
    ways: tuple[Way, ...]
    width: float
    height: float
    left_out: str = ""


def graph(source: Diagnosis | Graph, ax: Axes | None = None) -> Axes:
    """Who calls whom: callers on the left, an arrow for each edge, as wide as its rate.

    source  a Diagnosis, or a Graph of `meshdiag.diagnosis.graph` (which may know latencies)

    An edge that fails has a colour, a label with the failing share and the cause, and is dashed where it is a symptom. A node or
    an edge where it begins has a thick frame. Hosts outside of the cluster have a dashed frame. A padlock says whether calls are mTLS,
    where the state of the cluster is known. Of many edges those that fail most are drawn; the title says how many are not.
    """
    data = picture(source if isinstance(source, Graph) else graph_of(source))
    is_new = ax is None
    margin = 26.0
    ax = canvas.axes_of(
        ax, min(WIDEST, max(6.5, (data.width + margin) / 72)), min(HIGHEST, max(2.2, (data.height + 92) / 72))
    )
    if not data.boxes:
        return canvas.say(ax, "no call between workloads in these logs")
    width, height = canvas.size_of(ax, is_new)
    if is_new:
        width, height = width - margin, height - 90
    elif ax.figure.get_layout_engine() is not None:
        width, height = width * layers.LAID_OUT, height * layers.LAID_OUT
    scale = min(1.0, width / data.width, height / data.height)
    # what is small stands in the middle of axes that are not
    wide, high = max(data.width, width / scale), max(data.height, height / scale)
    ax.set_xlim((data.width - wide) / 2 - FRAME, (data.width + wide) / 2 + FRAME)
    ax.set_ylim((data.height + high) / 2 + FRAME, (data.height - high) / 2 - FRAME)
    most = max((w.edge.rate or 0.0 for w in data.ways), default=0.0)
    for way in data.ways:
        _draw_way(ax, way, most, scale)
    for box in data.boxes:
        _draw_box(ax, box, scale)
    ax.set_axis_off()
    canvas.title(ax, "Service graph: who calls whom", data.left_out)
    handles, labels = _legend(data)
    canvas.legend(ax, handles, labels, below=width)
    return canvas.plain(ax)


def svg(source: Diagnosis | Graph) -> str:
    """The graph as an SVG document, the same for the same graph: letters are outlines, nothing in it runs or is loaded."""
    return vector.drawn(graph, source).decode()


def _size(scale: float) -> float:
    return max(2.5, canvas.SMALL * scale)


def _draw_box(ax: Axes, box: Box, scale: float) -> None:
    size = _size(scale)
    fails = bool(box.node.causes)
    ax.add_patch(
        FancyBboxPatch(
            (box.x, box.y - box.height / 2), box.width, box.height, boxstyle="round,pad=0,rounding_size=4", zorder=3,
            facecolor=ax.get_facecolor(), edgecolor=BAD if fails else canvas.foreground(),
            linewidth=(2.6 if box.node.root else 1.4 if fails else 0.8) * max(scale, 0.5),
            linestyle=(0, (4, 2)) if box.node.is_external else "-",
        )
    )  # fmt: skip
    room = (box.width - 10) * scale
    step = canvas.SMALL * LINE
    first = box.y - step * (len(box.lines) - 1) / 2
    for i, line in enumerate(box.lines):
        is_cause = fails and i == len(box.lines) - 1
        ax.text(
            box.x + box.width / 2, first + i * step, canvas.fitted(line, room, size), ha="center", va="center_baseline",
            fontsize=size, color=canvas.foreground(), alpha=0.75 if i and not is_cause else 1.0, zorder=4, clip_on=True,
        )  # fmt: skip


def _draw_way(ax: Axes, way: Way, most: float, scale: float) -> None:
    e = way.edge
    colour = _colour(e)
    width = (0.8 + 3.2 * (e.rate / most) ** 0.5 if e.rate and most else 1.2) * max(scale, 0.4)
    if e.failed:
        width = max(width, 1.6 * scale)
    style: Any = (0, (4, 1.6)) if e.failed and not e.root else "-"
    ax.add_patch(
        FancyArrowPatch(
            path=_curve(way.points), arrowstyle="-|>", mutation_scale=9 * max(scale, 0.4), linewidth=width, color=colour,
            linestyle=style, alpha=1.0 if e.failed else 0.8, zorder=2 if e.failed else 1, shrinkA=0, shrinkB=0,
            capstyle="butt", joinstyle="miter",
        )
    )  # fmt: skip
    if way.label:
        size = _size(scale)
        lines = [canvas.fitted(line, way.room * scale, size) for line in way.label]
        ax.text(
            *way.at, "\n".join(lines), ha="center", va="center", fontsize=size, color=canvas.foreground(), zorder=6, clip_on=True,
            linespacing=1.35, bbox={"boxstyle": "round,pad=0.3", "facecolor": ax.get_facecolor(), "edgecolor": colour,
                                    "linewidth": (1.8 if e.root else 0.6) * max(scale, 0.5)},
        )  # fmt: skip
    if e.mtls in LOCKS:
        x, y = way.points[0]
        ax.plot(
            [x + _side(way) * 10], [y], marker=LOCKS[e.mtls], markersize=9 * max(scale, 0.5), color=canvas.foreground(),
            markeredgewidth=0.8, markerfacecolor=canvas.foreground() if e.mtls == "mutual" else ax.get_facecolor(), zorder=5,
            linestyle="",
        )  # fmt: skip


def _side(way: Way) -> int:
    """Whether it leaves its box to the right (1) or to the left (-1)."""
    return 1 if len(way.points) < 2 or way.points[1][0] >= way.points[0][0] else -1


def _colour(e: Edge) -> str:
    return FINE if not e.failed else MILD if e.share is not None and e.share < FEW else BAD


def _curve(points: Sequence[tuple[float, float]]) -> Path:
    """A curve through the points, level at its ends and wherever it would turn; three points that come back are a loop."""
    if points[0][0] == points[-1][0]:
        # its middle is a quarter short of where the curve is drawn to
        (x0, y0), (x1, y1), (_, y2) = points
        far = x0 + (x1 - x0) * 4 / 3
        high = [(far, 1.5 * y1 - 0.5 * y2), (far, 1.5 * y1 - 0.5 * y0)]
        return Path([(x0, y0), *high, (x0, y2)], [Path.MOVETO, *[Path.CURVE4] * 3])
    slopes = [0.0]
    for (x0, y0), (x1, y1), (x2, y2) in zip(points, points[1:], points[2:], strict=False):
        before, behind = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
        # the harmonic mean: no overshooting (Fritsch and Butland 1984)
        slopes.append(2 * before * behind / (before + behind) if before * behind > 0 else 0.0)
    slopes.append(0.0)
    vertices, codes = [points[0]], [Path.MOVETO]
    for ((x0, y0), (x1, y1)), (a, b) in zip(pairwise(points), pairwise(slopes), strict=True):
        third = (x1 - x0) * 0.4
        vertices += [(x0 + third, y0 + third * a), (x1 - third, y1 - third * b), (x1, y1)]
        codes += [Path.CURVE4] * 3
    return Path(vertices, codes)


def _legend(data: Picture) -> tuple[list[Any], list[str]]:
    edges = [w.edge for w in data.ways]
    ink = canvas.foreground()
    some: list[tuple[bool, Any, str]] = [
        (any(e.failed and _colour(e) == BAD for e in edges), Line2D([], [], color=BAD, linewidth=2.4),
         "10 % fail, or more" if all(e.share is not None for e in edges if e.failed) else "10 % or more, or how many is not known"),
        (any(e.failed and _colour(e) == MILD for e in edges), Line2D([], [], color=MILD, linewidth=2.4), "less than 10 % fail"),
        (any(e.failed and not e.root for e in edges),
         Line2D([], [], color=ink, linewidth=1.6, linestyle=(0, (4, 1.6))), "dashed: a symptom"),
        (any(not e.failed for e in edges), Line2D([], [], color=FINE, linewidth=1.6), "nothing fails"),
        (any((e.root and e.failed) for e in edges) or any(b.node.root for b in data.boxes),
         Line2D([], [], color=BAD, marker="s", markersize=8, markerfacecolor="none", markeredgewidth=2.2, linestyle=""),
         "root cause"),
        (any(b.node.is_external for b in data.boxes), Line2D([], [], color=ink, linewidth=0.8, linestyle=(0, (2, 2))),
         "outside of the cluster"),
        *((any(e.mtls == mtls for e in edges),
           Line2D([], [], color=ink, marker=LOCKS[mtls], markersize=9, linestyle="", markeredgewidth=0.8,
                  markerfacecolor=ink if mtls == "mutual" else "none"), text)
          for mtls, text in (("mutual", "mTLS"), ("plaintext", "plaintext"))),
    ]  # fmt: skip
    return [h for there, h, _ in some if there], [text for there, _, text in some if there]


# --- layout -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Item:
    """What stands in a column: a box, a label, or a place where an arrow passes."""

    height: float
    at: float = 0.0
    neighbours: tuple[list[_Item], list[_Item]] = field(default_factory=lambda: ([], []))
    """In the column before, and in the one behind."""


GAP: Final = 9.0
"""Points between two boxes."""

PASSES: Final = 8


def picture(graph: Graph) -> Picture:
    """The layout: columns of boxes, and between them columns of labels, so that neither covers the other."""
    nodes, edges, left_out = _chosen(graph)
    if not nodes:
        return Picture((), (), 0.0, 0.0, left_out)
    at = {n.name: i for i, n in enumerate(nodes)}
    links = [(at[e.source], at[e.destination]) for e in edges]
    forward = {*layers.acyclic(len(nodes), links)}
    # an edge that closes a circle counts from its other end, and is drawn from right to left
    lying = [(a, b) if (a, b) in forward else (b, a) for a, b in links]
    depth = _depths(nodes, {(a, b) for a, b in lying if a != b})
    texts = [_lines(n) for n in nodes]
    step = canvas.SMALL * LINE
    boxes = [_Item(step * len(t) + 8) for t in texts]
    columns: list[list[_Item]] = [[] for _ in range(2 * max(depth) + 2)]
    for i in sorted(range(len(nodes)), key=lambda i: (not any(i in link for link in links), i)):
        columns[2 * depth[i]].append(boxes[i])
    labels = [_label(e) for e in edges]
    trails: list[list[_Item]] = []
    for (a, b), label in zip(lying, labels, strict=True):
        trails.append(_trail(columns, boxes[a], boxes[b], depth[a], depth[b], label))
    _order(columns)
    _place(columns)
    widths = _widths(columns, boxes, texts, trails, labels, depth, lying)
    lefts = [sum(widths[:i]) for i in range(len(widths))]
    high = max(item.at + item.height / 2 for column in columns for item in column)
    drawn = tuple(
        Box(n, t, lefts[2 * d], box.at, widths[2 * d], box.height)
        for n, t, d, box in zip(nodes, texts, depth, boxes, strict=True)
    )
    ports = _ports(lying, trails, boxes)
    ways = []
    for k, (a, b) in enumerate(lying):
        inner = []
        for c, item in zip(_between(depth[a], depth[b]), trails[k], strict=True):
            # level past the boxes of a column
            inner += [(lefts[c] + part * widths[c], item.at) for part in ((0.5,) if c % 2 else (0.0, 1.0))]
        begin = lefts[2 * depth[a]] + widths[2 * depth[a]]
        end = lefts[2 * depth[b]] if a != b else begin
        points = [(begin, ports[k][0]), *inner, (end, ports[k][1])]
        if (a, b) != links[k]:
            points.reverse()
        ways.append(Way(edges[k], tuple(points), labels[k], inner[0], widths[2 * depth[a] + 1] - 34))
    return Picture(drawn, tuple(ways), sum(widths), high, left_out)


def _chosen(graph: Graph) -> tuple[list[Node], list[Edge], str]:
    """The nodes and edges that are drawn, and in words what is not."""
    edges = list(graph.edges[:SHOWN])
    while True:
        linked = list(dict.fromkeys(n for e in edges for n in (e.source, e.destination)))
        known = {n.name: n for n in graph.nodes}
        nodes = [known.get(n, Node(n)) for n in linked]
        at = {n: i for i, n in enumerate(linked)}
        depth = _depths(nodes, {*layers.acyclic(len(nodes), [(at[e.source], at[e.destination]) for e in edges])})
        crowded = next((d for d in depth if depth.count(d) > TALL), None)
        if crowded is None:
            break
        # the last that came into the column goes, with its edges
        goes = [n for n, d in zip(linked, depth, strict=True) if d == crowded][-1]
        edges = [e for e in edges if goes not in (e.source, e.destination)]
    alone = sorted((n for n in graph.nodes if n.causes and n.name not in at), key=lambda n: (not n.root, n.name))
    rest = [e for e in graph.edges if e not in {*edges}]
    failed = sum(e.failed for e in rest)
    said = [plural(len(rest), "other edge") + (f" with {plural(failed, 'failure')}" if failed else "")] * bool(rest)
    if len(alone) > ALONE:
        said.append(
            f"{plural(len(alone) - ALONE, 'other workload')} that {'fails' if len(alone) == ALONE + 1 else 'fail'}"
        )
    return [*nodes, *alone[:ALONE]], edges, f"not shown: {', '.join(said)}" if said else ""


def _depths(nodes: Sequence[Node], links: Iterable[tuple[int, int]]) -> list[int]:
    """The column of each node: callers before what they call; whom nobody calls stands near to what it calls, but for gateways."""
    some = sorted(links)
    depth = layers.depths(len(nodes), some)
    called = {b for _, b in some}
    for i, n in enumerate(nodes):
        after = [depth[b] for a, b in some if a == i]
        if i not in called and after and "gateway" not in n.name:
            depth[i] = min(after) - 1
    return depth


def _lines(n: Node) -> tuple[str, ...]:
    """The name, the namespace below it, and the causes of what fails there."""
    namespace, slash, own = n.name.partition("/")
    lines = [own, namespace] if slash and own and not n.is_external else [n.name]
    lines = [canvas.name(line, NAME) for line in lines]
    if n.causes:
        more = f" +{len(n.causes) - 1}" if len(n.causes) > 1 else ""
        lines.append(("root: " if n.root else "") + canvas.name(n.causes[0]) + more)
    return tuple(lines)


def _label(e: Edge) -> tuple[str, ...]:
    """`75 % fail`, `upstream-timeout +1`; nothing for an edge that does not fail."""
    if not e.failed:
        return ()
    share = f"{percent(min(e.failed, e.requests), e.requests)} fail" if e.requests else f"{e.failed:,} failed"
    if not e.causes:
        return (share,)
    more = f" +{len(e.causes) - 1}" if len(e.causes) > 1 else ""
    return ((f"root: {share}" if e.root else share), canvas.name(e.causes[0]) + more)


def _trail(columns: list[list[_Item]], a: _Item, b: _Item, first: int, last: int, label: Sequence[str]) -> list[_Item]:
    """The places of an edge in the columns between its ends; its label stands in the first of them."""
    out: list[_Item] = []
    before = a
    for c in _between(first, last):
        high = canvas.SMALL * LINE * len(label) + 10 if label and c == 2 * first + 1 else 0.0
        item = _Item(high)
        columns[c].append(item)
        before.neighbours[1].append(item)
        item.neighbours[0].append(before)
        out.append(item)
        before = item
    if a is not b:
        before.neighbours[1].append(b)
        b.neighbours[0].append(before)
    return out


def _between(first: int, last: int) -> range:
    """The columns between two boxes; of a call to itself the one behind."""
    return range(2 * first + 1, 2 * last) if last > first else range(2 * first + 1, 2 * first + 2)


def _order(columns: list[list[_Item]]) -> None:
    """Each column near to its neighbours, there and back, so that few arrows cross (the barycentre heuristic)."""
    for column in columns:
        _number(column)
    for turn in range(PASSES):
        for column in columns if turn % 2 == 0 else columns[::-1]:
            side = turn % 2
            column.sort(
                key=lambda item: (not any(item.neighbours), _mean([n.at for n in item.neighbours[side]], item.at))
            )
            _number(column)


def _number(column: Sequence[_Item]) -> None:
    for i, item in enumerate(column):
        item.at = (i + 0.5) / len(column)


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _place(columns: list[list[_Item]]) -> None:
    """Heights in points: as near as may be to the neighbours, with room between."""
    for column in columns:
        _apart(column, [0.0] * len(column))
    for turn in range(PASSES + 1):
        for column in columns if turn % 2 == 0 else columns[::-1]:
            wanted = [_mean([n.at for side in item.neighbours for n in side], item.at) for item in column]
            _apart(column, wanted)
    top = min(item.at - item.height / 2 for column in columns for item in column)
    for column in columns:
        for item in column:
            item.at -= top


def _apart(column: Sequence[_Item], wanted: Sequence[float]) -> None:
    """The places nearest to those wanted (least squares) in which no item covers the next one: pooled adjacent violators."""
    offset, offsets = 0.0, []
    for i, item in enumerate(column):
        if i:
            offset += (column[i - 1].height + item.height) / 2 + GAP
        offsets.append(offset)
    pools: list[tuple[float, int]] = []
    for want, own in zip(wanted, offsets, strict=True):
        value, n = want - own, 1
        while pools and pools[-1][0] > value:
            other, m = pools.pop()
            value, n = (value * n + other * m) / (n + m), n + m
        pools.append((value, n))
    i = 0
    for value, n in pools:
        for _ in range(n):
            column[i].at = value + offsets[i]
            i += 1


def _widths(
    columns: Sequence[Sequence[_Item]],
    boxes: Sequence[_Item],
    texts: Sequence[Sequence[str]],
    trails: Sequence[Sequence[_Item]],
    labels: Sequence[Sequence[str]],
    depth: Sequence[int],
    lying: Sequence[tuple[int, int]],
) -> list[float]:
    """Of each column, in points."""
    widths = [(50.0 if column else 0.0) if c % 2 else 40.0 for c, column in enumerate(columns)]
    for text, d in zip(texts, depth, strict=True):
        widths[2 * d] = max(widths[2 * d], *(canvas.width_of(line, canvas.SMALL) + 18 for line in text))
    for (a, _), trail, label in zip(lying, trails, labels, strict=True):
        if trail and label:
            c = 2 * depth[a] + 1
            widths[c] = max(widths[c], *(canvas.width_of(line, canvas.SMALL) + 58 for line in label))
    return widths


def _ports(
    lying: Sequence[tuple[int, int]], trails: Sequence[Sequence[_Item]], boxes: Sequence[_Item]
) -> list[list[float]]:
    """Where each edge leaves a box and meets the other: spread along its side, in the order of what they join."""
    out = [[0.0, 0.0] for _ in lying]
    sides: dict[tuple[int, bool], list[tuple[float, int, int]]] = {}
    for k, ((a, b), trail) in enumerate(zip(lying, trails, strict=True)):
        sides.setdefault((a, True), []).append((trail[0].at, k, 0))
        sides.setdefault((b, a == b), []).append((trail[-1].at, k, 1))
    for (i, _), some in sides.items():
        room = boxes[i].height - 8
        for n, (_, k, end) in enumerate(sorted(some)):
            out[k][end] = boxes[i].at + room * ((n + 0.5) / len(some) - 0.5)
    return out
