"""The service graph: who calls whom, how much of it fails, how long it takes, whether by mTLS; and where it begins.

Workloads of one service are one node, as callers name the service: `reviews-v1` and `reviews-v2` are `reviews`, where it is called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from meshdiag.cluster import About, Object, Snapshot
from meshdiag.cluster.mesh import clients_of, is_over, pods_behind, workload_of
from meshdiag.cluster.mtls import spoken
from meshdiag.diagnosis.diagnosis import Diagnosis
from meshdiag.diagnosis.durations import percentile
from meshdiag.diagnosis.finding import Finding
from meshdiag.diagnosis.findings import OTHERS
from meshdiag.model import Subject

Latency = tuple[float, float, float]
"""p50, p90 and p99 in milliseconds."""

PERCENTILES: Final = (50, 90, 99)

LOCAL: Final = ".svc.cluster.local"


@dataclass(frozen=True, slots=True)
class Node:
    """Something that calls or is called: `shop/reviews`, or a host outside of the cluster.

    causes  of the failures about it, root causes first
    root    whether one of them explains others or is explained by none
    """

    name: str
    is_external: bool = False
    causes: tuple[str, ...] = ()
    root: bool = False

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "external": self.is_external, "causes": list(self.causes), "root": self.root}


@dataclass(frozen=True, slots=True)
class Edge:
    """Calls from one node to another.

    ports     that were called
    requests  how many there were, None when the logs do not tell; failed: how many of them, or lines where requests are not told
    rate      requests a second over the time of the logs
    latency   as the client saw it (nearest rank), None when not known
    mtls      `mutual`, `plaintext`, or "" when not known (it takes a snapshot of the cluster)
    """

    source: str
    destination: str
    ports: tuple[int, ...] = ()
    requests: int | None = None
    failed: int = 0
    rate: float | None = None
    latency: Latency | None = None
    mtls: str = ""
    causes: tuple[str, ...] = ()
    root: bool = False

    @property
    def share(self) -> float | None:
        """The failing share, 0 to 1."""
        return min(1.0, self.failed / self.requests) if self.requests else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "source": self.source, "destination": self.destination, "ports": list(self.ports), "requests": self.requests,
            "failed": self.failed, "share": None if self.share is None else round(self.share, 4),
            "rate": None if self.rate is None else round(self.rate, 3),
            "latency": None if self.latency is None else dict(zip(("p50", "p90", "p99"), self.latency, strict=True)),
            "mtls": self.mtls, "causes": list(self.causes), "root": self.root,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes by name; edges, those that fail most first. `seconds` is the time of the logs, None when they have none."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    seconds: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values in the shape of meshdiag/graph/v1."""
        return {
            "schema": "meshdiag/graph/v1",
            "seconds": self.seconds,
            "nodes": [n.to_dict() for n in self.nodes],
            "edges": [e.to_dict() for e in self.edges],
        }


@dataclass(slots=True)
class _Sum:
    ports: set[int] = field(default_factory=set)
    requests: int = 0
    failed: int = 0
    durations: Counter[int] = field(default_factory=Counter)
    causes: dict[str, bool] = field(default_factory=dict)
    """Cause -> is it a root?"""


def graph(diagnosis: Diagnosis, durations: Mapping[tuple[str, str], Mapping[int, int]] | None = None) -> Graph:
    """The graph of a diagnosis; with its snapshot, if it has one, edges know whether they are mTLS.

    durations  (source, destination) -> milliseconds -> requests, which a diagnosis does not keep; the ends as `Subject`s of edges
               name them: `shop/cart`, `orders.shop.svc.cluster.local:8080`. Where filters kept requests from being counted
               while they were read, they are counted by these
    """
    seen = diagnosis.seen
    failures = [f for f in diagnosis.failures if not f.refuted]
    subjects = {
        s
        for s in (*seen.traffic, *(f.subject for f in failures))
        if s.kind in ("edge", "service", "workload") and _is_named(s)
    }
    counted = {Subject("edge", source=a, destination=b): own for (a, b), own in (durations or {}).items()}
    if not seen.traffic:  # with filters requests are not counted as they are read
        subjects |= {s for s in counted if _is_named(s)}
    names = _Names(subjects, diagnosis.snapshot)
    edges: dict[tuple[str, str], _Sum] = {}
    nodes: dict[str, _Sum] = {}
    for s in subjects:
        if s.kind == "edge":
            edge = edges.setdefault((names.of_source(s.source), names.of_host(s.destination)), _Sum())
            edge.requests += seen.traffic.get(s, 0)
            edge.ports |= {p for p in (_port(s.destination),) if p}
        nodes.update({n: nodes.get(n, _Sum()) for n in names.of(s)})
    for s, own in counted.items():
        if (to := edges.get((names.of_source(s.source), names.of_host(s.destination)))) is not None:
            to.durations.update(own)
            to.requests += 0 if seen.traffic else sum(own.values())
    for f in failures:
        for where in _places(f, names, edges, nodes):
            where.failed += f.requests if f.requests is not None else f.count
            where.causes[f.cause] = where.causes.get(f.cause, False) or not f.explained_by
    seconds = (seen.last - seen.first).total_seconds() if seen.first and seen.last else None
    made = [_edge(key, total, seconds, names.mtls(*key, total.ports)) for key, total in edges.items()]
    return Graph(
        tuple(Node(n, names.is_external(n), _causes(s), any(s.causes.values())) for n, s in sorted(nodes.items())),
        tuple(sorted(made, key=lambda e: (-e.failed, -(e.requests or 0), e.source, e.destination))),
        seconds,
    )


def _is_named(s: Subject) -> bool:
    return OTHERS.name not in (s.name, s.source, s.destination) and bool(s.name or (s.source and s.destination))


def _places(
    f: Finding, names: _Names, edges: Mapping[tuple[str, str], _Sum], nodes: Mapping[str, _Sum]
) -> Iterable[_Sum]:
    """The edges and nodes that a finding is about."""
    s = f.subject
    if s.kind == "edge":
        key = names.of_source(s.source), names.of_host(s.destination)
        return [edges[key]] if key in edges else []
    if s.kind == "service":
        host = names.of_host(s.name)
        clients = {names.of_source(source) for source, _ in f.reach}
        return [e for (a, b), e in edges.items() if b == host and (a in clients or not clients)] or _known(nodes, host)
    return _known(nodes, *names.of(s)) if s.kind == "workload" else []


def _known(nodes: Mapping[str, _Sum], *some: str) -> list[_Sum]:
    return [nodes[n] for n in some if n in nodes]


def _edge(key: tuple[str, str], s: _Sum, seconds: float | None, mtls: str) -> Edge:
    requests = max(s.requests, s.failed) if s.requests else None
    rate = requests / seconds if requests and seconds else None
    p50, p90, p99 = (float(percentile(s.durations, p)) if s.durations else 0.0 for p in PERCENTILES)
    latency = (p50, p90, p99) if s.durations else None
    return Edge(
        *key, tuple(sorted(s.ports)), requests, s.failed, rate, latency, mtls, _causes(s), any(s.causes.values())
    )


def _causes(s: _Sum) -> tuple[str, ...]:
    return tuple(sorted(s.causes, key=lambda c: (not s.causes[c], c)))


def _port(host: str) -> int:
    port = host.rpartition(":")[2]
    return int(port) if port.isdigit() and len(port) < 6 else 0


class _Names:
    """One name for a workload and the service before it."""

    def __init__(self, subjects: Iterable[Subject], snapshot: Snapshot | None) -> None:
        self._snapshot = snapshot
        self._external: set[str] = set()
        hosts = [s.destination if s.kind == "edge" else s.name for s in subjects if s.kind in ("edge", "service")]
        self._services = {n for n in map(self._host, hosts) if n not in self._external}
        self._of_workload = self._selected() if snapshot else {}

    def _selected(self) -> dict[str, str]:
        """Workload -> the service that selects its pods, by the cluster itself."""
        assert self._snapshot is not None
        found: dict[str, set[str]] = {}
        for service in self._snapshot.all("Service"):
            if (name := f"{service.namespace}/{service.name}") in self._services:
                for pod in pods_behind(self._snapshot, service):
                    owner = f"{pod.namespace}/{workload_of(self._snapshot, pod).name}"
                    found.setdefault(owner, set()).add(name)
        return {w: next(iter(s)) for w, s in found.items() if len(s) == 1}

    def of(self, s: Subject) -> tuple[str, ...]:
        """The nodes of a subject."""
        if s.kind == "edge":
            return self.of_source(s.source), self.of_host(s.destination)
        return (self.of_host(s.name),) if s.kind == "service" else (self.of_source(f"{s.namespace}/{s.name}"),)

    def of_host(self, host: str) -> str:
        """`shop/reviews` of `reviews.shop.svc.cluster.local:9080`."""
        return self._host(host)

    def _host(self, host: str) -> str:
        name = host.rpartition(":")[0] if _port(host) else host
        if name.endswith(LOCAL) and name.count(".") == LOCAL.count(".") + 1:
            service, _, namespace = name.removesuffix(LOCAL).partition(".")
            return f"{namespace}/{service}"
        self._external.add(name)
        return name

    def of_source(self, workload: str) -> str:
        """A workload by the name of the service that it is, where that is called: by the cluster, else by its name and version."""
        if workload in self._of_workload:
            return self._of_workload[workload]
        if workload in self._services:
            return workload
        base, dash, version = workload.rpartition("-")
        return base if dash and base in self._services and version[:1] == "v" and version[1:].isdigit() else workload

    def is_external(self, name: str) -> bool:
        """Whether it is a host that is no service of the cluster."""
        return name in self._external

    def mtls(self, source: str, destination: str, ports: Iterable[int]) -> str:
        """What calls are by the state of the cluster: `mutual`, `plaintext`, or "" when it does not tell."""
        if self._snapshot is None or self.is_external(destination):
            return ""
        service = self._service(destination)
        return spoken(self._snapshot, self._pods(source), self._pods(destination), service, ports)

    def _service(self, name: str) -> Object | None:
        assert self._snapshot is not None
        namespace, _, own = name.partition("/")
        return self._snapshot.get("Service", namespace, own)

    def _pods(self, name: str) -> tuple[Object, ...]:
        assert self._snapshot is not None
        service = self._service(name)
        some = pods_behind(self._snapshot, service) if service else clients_of(self._snapshot, About(source=name))
        return tuple(p for p in some if not is_over(p))
