"""The service graph, laid out and really drawn."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from itertools import combinations
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.text import Text

import meshdiag
from meshdiag import plots
from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis.graph import Edge, Graph, Node
from meshdiag.plots import service_graph
from meshdiag.plots.service_graph import picture
from tests.conftest import SAMPLES
from tests.plots.sources import NASTY


@pytest.fixture(autouse=True)
def _no_window() -> Iterator[None]:
    mpl.use("Agg")
    with pyplot.style.context("default"):
        yield
    pyplot.close("all")


def mesh(*edges: Edge, **nodes: Node) -> Graph:
    names = dict.fromkeys(n for e in edges for n in (e.source, e.destination))
    known = {n.name: n for n in nodes.values()}
    return Graph(tuple(known.get(n, Node(n)) for n in sorted({*names, *known})), edges, 60.0)


def calls(
    source: str, destination: str, requests: int = 100, failed: int = 0, *causes: str, root: bool = False
) -> Edge:
    return Edge(source, destination, (80,), requests, failed, requests / 60, causes=causes, root=root)


def many(services: int = 60, each: int = 5) -> Graph:
    """300 edges, some of them failing, circles among them."""
    pairs = {(i, (i * 7 + k * k + 1) % services) for i in range(services) for k in range(each)}
    edges = [
        calls(
            f"shop/service-{a}",
            f"shop/service-{b}",
            10 + 7 * a,
            (10 + 7 * a) // 2 * (a % 9 == 0),
            *["app-error"] * (a % 9 == 0),
        )
        for a, b in sorted(pairs)
    ]
    return mesh(*sorted(edges, key=lambda e: (-e.failed, -(e.requests or 0))))


def drawn(ax: Axes) -> list[Text]:
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        ax.figure.canvas.draw()
    return [t for t in ax.texts if t.get_text()]


def labels(ax: Axes) -> list[Text]:
    """The labels of edges."""
    return [t for t in drawn(ax) if t.get_bbox_patch() is not None]


@pytest.mark.parametrize("name", ["11", "20", "09", "bug-report", "01"])
@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_samples_are_drawn(name: str, style: str, catalogue: Catalogue) -> None:
    diagnosis = meshdiag.diagnose(next(SAMPLES.glob(f"{name}*")), catalogue=catalogue)
    with pyplot.style.context(style):
        assert drawn(plots.graph(diagnosis))
        _, ax = pyplot.subplots()
        assert plots.graph(diagnosis, ax=ax) is ax
        assert drawn(ax)


def test_only_what_fails_has_a_label(catalogue: Catalogue) -> None:
    ax = plots.graph(meshdiag.diagnose(SAMPLES / "11-via-upstream-chain", catalogue=catalogue))
    texts = [t.get_text() for t in labels(ax)]
    assert len(texts) == 3 and "75 % fail\napp-error" in texts
    assert [t for t in texts if t.startswith("root: ")] == ["root: 71 % fail\nclient-disconnected +1"]
    assert len([p for p in ax.patches if isinstance(p, FancyArrowPatch)]) == 4


def test_how_an_edge_looks() -> None:
    """The colour is its share, the line tells symptoms, the width is its rate."""
    ax = plots.graph(
        mesh(
            calls("a/a", "a/b", 100, 50, "app-error"), calls("a/a", "a/c", 100, 1, "app-error", root=True),
            calls("a/a", "a/d", 10_000), calls("a/a", "a/e", 4),
        )
    )  # fmt: skip
    bad, mild, busy, idle = (p for p in ax.patches if isinstance(p, FancyArrowPatch))
    assert [mpl.colors.to_hex(p.get_edgecolor()).upper() for p in (bad, mild, busy)] == [
        service_graph.BAD, service_graph.MILD, service_graph.FINE,
    ]  # fmt: skip
    assert bad.get_linestyle() != mild.get_linestyle() == busy.get_linestyle() == "-"
    assert busy.get_linewidth() > 2 * idle.get_linewidth()


def test_frames_tell_roots_and_hosts_outside() -> None:
    root = Node("a/db", causes=("upstream-connection-refused",), root=True)
    out = Node("api.example.com", is_external=True)
    ax = plots.graph(mesh(calls("a/web", "a/db"), calls("a/web", "api.example.com"), db=root, out=out))
    boxes = [p for p in ax.patches if isinstance(p, FancyBboxPatch)]
    assert sum(b.get_linewidth() > 2 for b in boxes) == 1
    assert sum(b.get_linestyle() != "-" for b in boxes) == 1
    assert "root: upstream-connection-refused" in {t.get_text() for t in drawn(ax)}


def test_a_padlock_says_whether_it_is_mtls() -> None:
    edges = [Edge("a/a", f"a/{m or 'unknown'}", requests=1, mtls=m) for m in ("mutual", "plaintext", "")]
    ax = plots.graph(mesh(*edges))
    drawn(ax)
    assert len(ax.lines) == 2
    assert {t.get_text() for t in ax.get_legend().get_texts()} >= {"mTLS", "plaintext"}


@pytest.mark.parametrize("failing", [False, True])
def test_circles_are_drawn(failing: bool) -> None:
    """Two that call each other, one that calls itself, and a longer way round."""
    more = (50, "app-error") if failing else ()
    pairs = [("a/a", "a/b"), ("a/b", "a/a"), ("a/b", "a/b"), ("a/b", "a/c"), ("a/c", "a/d"), ("a/d", "a/a")]
    found = mesh(*(calls(a, b, 100, *more) for a, b in pairs))
    ways = picture(found).ways
    assert len(ways) == len(pairs)
    at = {b.node.name: (b.x, b.x + b.width) for b in picture(found).boxes}
    for w in ways:
        assert w.points[0][0] in at[w.edge.source] and w.points[-1][0] in at[w.edge.destination]
    assert len(labels(plots.graph(found))) == len(pairs) * failing


def test_of_many_edges_those_that_fail_are_drawn() -> None:
    found = many()
    ax = plots.graph(found)
    shown = len([p for p in ax.patches if isinstance(p, FancyArrowPatch)])
    assert 0 < shown <= service_graph.SHOWN
    assert f"not shown: {len(found.edges) - shown} other edges" in ax.get_title(loc="left")
    failing = sum(e.failed > 0 for e in found.edges)
    assert len(labels(ax)) == min(failing, shown)


def test_a_column_is_bounded_and_what_is_left_out_is_said() -> None:
    edges = [calls("istio-system/istio-ingressgateway", f"shop/s{i}", 100 - i, 9 if i > 29 else 0) for i in range(34)]
    data = picture(mesh(*sorted(edges, key=lambda e: -e.failed)))
    assert len(data.boxes) == 1 + service_graph.TALL
    assert data.left_out == f"not shown: {34 - service_graph.TALL} other edges"
    assert sum(w.edge.failed > 0 for w in data.ways) == 4
    alone = {f"n{i}": Node(f"shop/n{i}", causes=("proxy-not-ready",)) for i in range(9)}
    assert "3 other workloads that fail" in picture(mesh(**alone)).left_out


@pytest.mark.parametrize("given_axes", [False, True])
@pytest.mark.parametrize("source", ["many", "11"])
def test_nothing_covers_anything(source: str, given_axes: bool, catalogue: Catalogue) -> None:
    """Labels lie in columns of their own: off the boxes and off each other; texts stay in their boxes."""
    found = many() if source == "many" else meshdiag.diagnose(SAMPLES / "11-via-upstream-chain", catalogue=catalogue)
    ax = plots.graph(found, ax=pyplot.subplots(figsize=(12, 7), layout="constrained")[1] if given_axes else None)
    some = labels(ax)
    frames = [t.get_bbox_patch().get_window_extent() for t in some]  # type: ignore[union-attr]
    boxes = [p.get_window_extent() for p in ax.patches if isinstance(p, FancyBboxPatch)]
    assert frames and boxes
    for a, b in combinations([*frames, *boxes], 2):
        assert not a.shrunk(0.98, 0.94).overlaps(b.shrunk(0.98, 0.94))
    view = ax.figure.bbox
    for t in drawn(ax):
        box = t.get_window_extent()
        assert view.x0 <= box.x0 and box.x1 <= view.x1 and view.y0 <= box.y0 and box.y1 <= view.y1
        if t not in some:
            assert any(b.x0 <= box.x0 + 1 and box.x1 - 1 <= b.x1 for b in boxes)


node_names = st.integers(0, 9).map(lambda i: f"shop/s{i}")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(node_names, node_names, st.booleans()), max_size=30, unique_by=lambda e: e[:2]))
def test_the_layout_keeps_boxes_and_labels_apart(some: list[tuple[str, str, bool]]) -> None:
    data = picture(mesh(*(calls(a, b, 10, 5 * bad, *["app-error"] * bad) for a, b, bad in some)))
    assert len(data.ways) == len(some)
    areas = [(b.x, b.x + b.width, b.y - b.height / 2, b.y + b.height / 2) for b in data.boxes]
    areas += [(w.at[0] - w.room / 2, w.at[0] + w.room / 2, w.at[1] - 10, w.at[1] + 10) for w in data.ways if w.label]
    for (a, b, c, d), (e, f, g, h) in combinations(areas, 2):
        assert b <= e or f <= a or d <= g or h <= c
    for x0, x1, y0, y1 in areas:
        assert x0 >= -0.01 and x1 <= data.width + 0.01 and y0 >= -0.01 and y1 <= data.height + 0.01


@pytest.mark.parametrize("name", [*NASTY, 'a"]; click n0 "javascript:x"\n<script>', "a--><!--b", "]]>"])
def test_hostile_names_are_text(name: str) -> None:
    edge = Edge(name, "b", failed=2, causes=(name,), root=True)
    found = mesh(edge, evil=Node(name, causes=(name,), root=True))
    ax = plots.graph(found)
    drawn(ax)
    for t in ax.findobj(Text):
        assert not t.get_parse_math() and not t.get_usetex()
        assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", t.get_text())
    root = ElementTree.fromstring(plots.svg(found))
    tags = {e.tag.rpartition("}")[2] for e in root.iter()}
    assert tags <= {"svg", "metadata", "RDF", "Work", "defs", "style", "g", "path", "use", "clipPath", "rect"}
    for e in root.iter():
        assert not [k for k in e.attrib if k.startswith("on")]
        assert all(v.startswith("#") for k, v in e.attrib.items() if k.endswith("href"))


def test_the_svg_is_always_the_same(catalogue: Catalogue) -> None:
    diagnosis = meshdiag.diagnose(SAMPLES / "20-retries-multiply", catalogue=catalogue)
    with mpl.rc_context({"svg.hashsalt": "mine", "svg.fonttype": "none", "font.size": 30}):
        first = plots.svg(diagnosis)
    assert first == plots.svg(diagnosis)
    assert "<dc:date>" not in first and first.startswith("<?xml")


def test_the_report_has_it(catalogue: Catalogue) -> None:
    diagnosis = meshdiag.diagnose(SAMPLES / "11-via-upstream-chain", catalogue=catalogue)
    assert "Service graph" in diagnosis.to_html()
    assert "Service graph" not in meshdiag.diagnose([], catalogue=catalogue).to_html()


def test_nothing_is_said() -> None:
    assert [t.get_text() for t in drawn(plots.graph(Graph((), (), None)))] == [
        "no call between workloads in these logs"
    ]
