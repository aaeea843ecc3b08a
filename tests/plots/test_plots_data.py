"""What the plots draw, before it is drawn."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import meshdiag
from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import durations
from meshdiag.diagnosis.readiness import Ready
from meshdiag.plots import cause_graph, edge_map, over_time, percentiles, starts
from meshdiag.plots.edge_map import Edge
from tests.conftest import SAMPLES
from tests.plots.sources import many_lines


def sample(name: str, catalogue: Catalogue) -> meshdiag.Diagnosis:
    return meshdiag.diagnose(next(SAMPLES.glob(f"{name}*")), catalogue=catalogue)


# -- failures over time


@pytest.mark.parametrize("name", ["02", "07", "11", "13", "17", "20", "bug-report"])
def test_a_frame_and_its_diagnosis_give_the_same_series(name: str, catalogue: Catalogue) -> None:
    """Counts by cause and bar are the same, whichever way they were counted."""
    path = next(SAMPLES.glob(f"{name}*"))
    one = over_time.over_time(meshdiag.diagnose(path, catalogue=catalogue))
    other = over_time.over_time(meshdiag.frame(path, catalogue=catalogue))
    assert one.width == other.width
    # a diagnosis also knows what sequences tell, and what was over within a start
    known = {s.cause: dict(s.counts) for s in other.series}
    assert one.series
    for s in one.series:
        assert known[s.cause] == dict(s.counts)


def test_onset_is_the_first_of_a_cause(catalogue: Catalogue) -> None:
    """The sample's ratings stop listening in the minute 09:12, after 50 minutes without a failure."""
    data = over_time.over_time(sample("02", catalogue))
    assert {s.cause: s.onset for s in data.series} == dict.fromkeys(
        ("app-error", "upstream-connection-refused"), datetime(2026, 11, 22, 9, 12, tzinfo=UTC)
    )
    assert [s.total for s in data.series] == [20, 20]


def test_many_causes_over_a_long_time_are_gathered(catalogue: Catalogue) -> None:
    """No more bars and colours than can be told apart, and nothing is lost."""
    diagnosis = meshdiag.diagnose(SAMPLES, catalogue=catalogue)
    data = over_time.over_time(diagnosis)
    assert len(data.series) == over_time.CAUSES + 1
    assert data.others > 1
    timed = sum(n for f in diagnosis.failures for _, n in f.minutes.counts)
    assert sum(s.total for s in data.series) == timed
    begins = [at for s in data.series for at in s.counts]
    assert (max(begins) - min(begins)) / data.width <= over_time.BARS
    assert all(at % data.width == 0 for at in begins)


# -- edges


def test_edges_of_a_chain(catalogue: Catalogue) -> None:
    """Every hop of the sample's chain, with the requests that failed and that there were; retries count once."""
    some = {
        (e.source, e.destination.partition(".")[0]): (e.failed, e.total)
        for e in edge_map.edges_of(sample("11", catalogue))
    }
    assert some == {
        ("istio-system/istio-ingressgateway", "storefront"): (15, 21),
        ("istio-system/istio-ingressgateway", "assets"): (0, 16),
        ("shop/storefront", "catalog"): (12, 16),
        ("shop/catalog", "pricing"): (12, 16),
    }


@pytest.mark.parametrize("name", ["02", "11", "17"])
def test_a_frame_has_the_edges_of_its_diagnosis(name: str, catalogue: Catalogue) -> None:
    """Where no request is tried again, lines are requests."""
    path = next(SAMPLES.glob(f"{name}*"))
    one = edge_map.edges_of(meshdiag.diagnose(path, catalogue=catalogue))
    other = edge_map.edges_of(meshdiag.frame(path, catalogue=catalogue))
    assert sorted(one, key=str) == sorted(other, key=str)


def test_a_frame_without_the_columns_says_which(catalogue: Catalogue) -> None:
    """A wrong frame is the user's mistake, not a KeyError."""
    frame = meshdiag.frame(SAMPLES / "11-via-upstream-chain", catalogue=catalogue, columns=["time", "cause"])
    with pytest.raises(meshdiag.MeshdiagError, match="no column workload, namespace, direction"):
        edge_map.edges_of(frame)
    with pytest.raises(meshdiag.MeshdiagError, match="no column direction"):
        percentiles.durations(frame)
    with pytest.raises(meshdiag.MeshdiagError, match="no column cause"):
        over_time.over_time(frame.drop(columns="cause"))


edges = st.builds(
    lambda s, d, failed, more: Edge(f"s{s}", f"d{d}", failed, None if more is None else failed + more),
    st.integers(0, 30), st.integers(0, 30), st.integers(0, 50), st.none() | st.integers(0, 50),
)  # fmt: skip


@given(st.lists(edges, max_size=60, unique_by=lambda e: (e.source, e.destination)))
def test_the_map_keeps_what_fails_most(some: list[Edge]) -> None:
    """Rows and columns are bounded, none is empty, and no client that is left out fails more than one that is shown."""
    data = edge_map.edge_map(some)
    assert len(data.sources) <= edge_map.SHOWN
    assert len(data.destinations) <= edge_map.SHOWN
    assert {e.source for e in data.edges} == set(data.sources)
    assert {e.destination for e in data.edges} == set(data.destinations)
    assert bool(data.edges) == bool(some)
    assert all(e.share is None or 0 <= e.share <= 1 for e in data.edges)


# -- latency


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=200), st.integers(1, 100))
def test_percentile_is_the_nearest_rank(values: list[int], p: int) -> None:
    """As many values as asked for are at most that, and fewer are below."""
    counts = {v: values.count(v) for v in values}
    found = durations.percentile(counts, p)
    assert 100 * sum(v <= found for v in values) >= p * len(values) > 100 * sum(v < found for v in values)


@given(st.integers(0, 10**12))
def test_long_durations_are_counted_to_a_part_in_a_thousand(ms: int) -> None:
    """So there are few different ones, whatever the capture."""
    kept = durations.rounded(ms)
    assert kept <= ms
    assert ms - kept <= ms / 512
    assert kept == ms or ms >= durations.EXACT


def test_latency_in_chunks_is_that_of_the_whole(catalogue: Catalogue) -> None:
    """Captures larger than memory are counted chunk by chunk."""
    path = SAMPLES / "11-via-upstream-chain"
    whole = percentiles.percentiles(percentiles.durations(meshdiag.frame(path, catalogue=catalogue)))
    chunks = meshdiag.frames(path, rows=7, catalogue=catalogue, columns=percentiles.COLUMNS)
    assert percentiles.percentiles(percentiles.durations(chunks)) == whole
    assert [(one.destination.partition(".")[0], one.requests) for one in whole] == [
        ("storefront", 21), ("catalog", 16), ("pricing", 16), ("assets", 16)
    ]  # fmt: skip
    assert all(list(one.ms) == sorted(one.ms) for one in whole)


def test_connections_are_no_requests() -> None:
    """How long a TCP connection lasts is no latency; an inbound line is the same request again."""
    frame = pd.DataFrame(
        {
            "direction": ["outbound", "outbound", "inbound", "outbound"],
            "destination_host": ["a", "a", "a", "a"],
            "destination_port": [80, 80, 80, 80],
            "method": ["GET", None, "GET", "GET"],
            "duration": pd.array([5, 60_000, 4, None], dtype="Int64"),
        }
    )
    assert percentiles.durations(frame).counts == {"a:80": {5: 1}}


# -- starts


def test_a_start_that_is_stuck_says_what_stops_it(catalogue: Catalogue) -> None:
    """The sample's cart never gets a certificate; its neighbour is ready after a second."""
    some, hidden, unknown = starts.rows(sample("07", catalogue))
    assert (hidden, unknown) == (0, 0)
    cart = some[0]
    assert cart.state is Ready.NOT_READY
    assert cart.said == "not ready after 87 s: #1 ca-unreachable and 1 more"
    assert [name for name, _ in cart.milestones] == ["process-start", "bootstrap", "envoy-launch"]
    assert cart.label == "cart-7d6c5f9b84-z6r4p (10:02:11)"
    orders = next(r for r in some if r.label.startswith("orders"))
    assert orders.said == "ready after 1.2 s"
    assert orders.milestones[-1][0] == "ready"


def test_a_log_that_begins_later_has_no_bar(catalogue: Catalogue) -> None:
    """What is not known is counted, not drawn."""
    some, hidden, unknown = starts.rows(sample("17", catalogue))
    assert [r.label.partition("-")[0] for r in some] == ["istiod"]
    assert (hidden, unknown) == (0, 4)


# -- causes


def test_a_few_findings_have_a_box_each(catalogue: Catalogue) -> None:
    """The chain of the sample in its order, from the root on the left to the gateway on the right."""
    diagnosis = sample("11", catalogue)
    graph = cause_graph.graph(diagnosis.failures)
    assert [[graph.nodes[i].title.partition(" ")[0] for i in column] for column in graph.columns] == [
        ["#1", "#2"], ["#5", "#8"], ["#3"], ["#6"], ["#4"], ["#7"]
    ]  # fmt: skip
    assert all(n.is_root == (n.title[:2] in ("#1", "#2")) for n in graph.nodes)


def test_many_findings_are_gathered_by_cause(catalogue: Catalogue) -> None:
    """Columns are bounded, links run from left to right, and every line is in a box."""
    diagnosis = meshdiag.diagnose(SAMPLES, catalogue=catalogue)
    graph = cause_graph.graph(diagnosis.failures)
    _sound(graph)
    assert sum(n.count for n in graph.nodes) == sum(f.count for f in diagnosis.failures)
    column = {node: x for x, nodes in enumerate(graph.columns) for node in nodes}
    assert all(column[a] < column[b] for a, b in graph.links)


def test_five_hundred_destinations(catalogue: Catalogue) -> None:
    """Findings of one cause share a box."""
    diagnosis = meshdiag.diagnose(many_lines(125), catalogue=catalogue)
    assert len(diagnosis.failures) > 100
    graph = cause_graph.graph(diagnosis.failures)
    _sound(graph)
    assert len(graph.nodes) == len({f.cause for f in diagnosis.failures})


@given(st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=120), st.integers(13, 40), st.data())
def test_any_links_give_a_sound_graph(links: list[tuple[int, int]], n: int, data: st.DataObject) -> None:
    """Whatever explains whatever, in circles or not: bounded columns, links that go right, no finding lost."""
    template = FINDING
    causes = data.draw(st.lists(st.sampled_from([f"cause-{i}" for i in range(30)]), min_size=n, max_size=n))
    above: dict[int, tuple[int, ...]] = {}
    for a, b in links:
        if a < b < n:  # ranks run in no circle; causes may
            above[b] = (*above.get(b, ()), a + 1)
    some = [
        replace(template, rank=i + 1, cause=causes[i], explained_by=tuple(dict.fromkeys(above.get(i, ()))), count=i + 1)
        for i in range(n)
    ]
    graph = cause_graph.graph(some)
    _sound(graph)
    assert sum(node.count for node in graph.nodes) == sum(f.count for f in some)


def _sound(graph: cause_graph.Graph) -> None:
    assert sorted(i for column in graph.columns for i in column) == list(range(len(graph.nodes)))
    assert all(0 < len(column) <= cause_graph.TALL for column in graph.columns)
    assert len(graph.columns) <= cause_graph.COLUMNS
    column = {node: x for x, nodes in enumerate(graph.columns) for node in nodes}
    assert all(column[a] <= column[b] and a != b for a, b in graph.links)


def _finding() -> meshdiag.Finding:
    return meshdiag.diagnose(many_lines(1), catalogue=Catalogue.load(user=False)).failures[0]


FINDING = _finding()
