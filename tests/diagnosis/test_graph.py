"""The service graph, and how it is drawn as text, DOT and Mermaid."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import meshdiag
from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis.graph import Edge, Graph, Node, graph
from meshdiag.views.graph import dot, mermaid, render
from tests.cluster.snapshots import pod, service, snapshot

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def chain(catalogue: Catalogue) -> meshdiag.Diagnosis:
    return meshdiag.diagnose(ROOT / "sample_logs" / "11-via-upstream-chain", catalogue=catalogue)


def test_a_chain(chain: meshdiag.Diagnosis) -> None:
    found = graph(chain)
    edges = {(e.source, e.destination): e for e in found.edges}
    bad = edges["shop/catalog", "shop/pricing"]
    assert (bad.requests, bad.failed, bad.share, bad.ports) == (16, 12, 0.75, (8080,))
    assert bad.causes == ("app-error",) and not bad.root
    assert edges["istio-system/istio-ingressgateway", "shop/assets"].failed == 0
    assert {n.name for n in found.nodes if n.root} == {"shop/pricing"}
    assert found.edges[0].failed == max(e.failed for e in found.edges)
    assert found.seconds and bad.rate == pytest.approx(16 / found.seconds)


def test_versions_of_a_workload_are_one_node(catalogue: Catalogue) -> None:
    found = graph(meshdiag.diagnose(ROOT / "sample_logs" / "bug-report", catalogue=catalogue))
    assert ("default/reviews", "default/ratings") in {(e.source, e.destination) for e in found.edges}


def test_latency_comes_with_the_names_of_subjects(chain: meshdiag.Diagnosis) -> None:
    found = graph(chain, {("shop/catalog", "pricing.shop.svc.cluster.local:8080"): {1: 60, 2: 35, 3: 5}})
    assert next(e for e in found.edges if e.destination == "shop/pricing").latency == (1.0, 2.0, 3.0)


def test_latency_of_the_versions_of_a_workload_is_that_of_all(chain: meshdiag.Diagnosis) -> None:
    host = "pricing.shop.svc.cluster.local"
    found = graph(chain, {("shop/catalog", f"{host}:8080"): {1: 60}, ("shop/catalog-v2", f"{host}:8081"): {9: 40}})
    assert next(e for e in found.edges if e.destination == "shop/pricing").latency == (1.0, 9.0, 9.0)


@pytest.mark.parametrize(
    ("client", "server", "said"), [(True, True, "mutual"), (False, True, "plaintext"), (None, True, "")]
)
def test_mtls_by_the_snapshot(chain: meshdiag.Diagnosis, client: bool | None, server: bool, said: str) -> None:
    objects = [service("pricing", "shop"), pod("pricing-6c9dbf6b45-s2fnt", "shop", proxied=server)]
    if client is not None:
        objects.append(pod("catalog-6c9dbf6b45-s2fnt", "shop", proxied=client))
    found = graph(chain.checked(snapshot(*objects)))
    assert next(e for e in found.edges if e.destination == "shop/pricing").mtls == said


def test_the_selector_decides_what_a_workload_is_called(chain: meshdiag.Diagnosis) -> None:
    state = snapshot(
        service("storefront", "shop"), pod("catalog-6c9dbf6b45-s2fnt", "shop", labels={"app": "storefront"})
    )
    assert ("shop/storefront", "shop/pricing") in {(e.source, e.destination) for e in graph(chain.checked(state)).edges}


def test_nothing_is_a_graph_too(catalogue: Catalogue) -> None:
    found = graph(meshdiag.diagnose([], catalogue=catalogue))
    assert found == Graph((), (), None) and "no calls" in render(found)
    assert dot(found).endswith("}\n") and mermaid(found) == "flowchart LR\n"


EVIL = 'a"]; click n0 "javascript:x"\n\x1b[31m<script>\\" -> b'
HOSTILE = Graph(
    (Node(EVIL, causes=(EVIL,), root=True), Node("b", is_external=True)), (Edge(EVIL, "b", failed=2, causes=(EVIL,)),)
)


def test_hostile_names_are_text() -> None:
    for text in (render(HOSTILE), dot(HOSTILE), mermaid(HOSTILE)):
        assert "\x1b" not in text
    lines = mermaid(HOSTILE).splitlines()
    assert not any(re.search(r"<script|javascript:x\"|click n0 \"", line) for line in lines)
    assert all(line.count('"') in (0, 2) for line in lines)
    for line in dot(HOSTILE).splitlines():
        assert re.fullmatch(r'(?:[^"\\]|"(?:[^"\\]|\\.)*")*', line), line


def test_the_text_is_as_wide_as_it_may_be(chain: meshdiag.Diagnosis) -> None:
    for width in (60, 80, 140):
        assert max(map(len, render(graph(chain), width=width).splitlines())) <= width
    assert "more edges" in render(graph(chain), limit=1)


def test_json(chain: meshdiag.Diagnosis) -> None:
    raw = json.loads(json.dumps(graph(chain).to_dict()))
    assert raw["schema"] == "meshdiag/graph/v1" and raw["edges"][0]["share"] == 0.7143


def test_what_the_cluster_refutes_is_not_drawn(chain: meshdiag.Diagnosis, monkeypatch: pytest.MonkeyPatch) -> None:
    findings = tuple(replace(f, refuted=True) for f in chain.findings)
    monkeypatch.setitem(chain.__dict__, "findings", findings)
    assert not any(e.failed for e in graph(chain).edges)
