"""Is there room for the mesh: memory and CPU of the nodes against what the mesh and its sidecars take?

4 GB of memory are the least with which a small mesh works, 8 GB are comfortable, a sidecar takes 50 to 100 MB: rules of thumb of the
adoption guide behind this project. Istio itself requests 500m CPU and 2 GiB for istiod and 100m and 128 MiB for each proxy in the default
profile (manifests/charts, values.yaml, 1.20 to 1.31).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Final

from meshdiag.cluster.mesh import containers, in_ambient, is_over, is_system, proxy, several
from meshdiag.cluster.objects import Object, at
from meshdiag.cluster.quantities import cores, memory, quantity
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result
from meshdiag.model import Severity

MB: Final = 10**6
LEAST: Final = 4 * 10**9
COMFORT: Final = 8 * 10**9
SIDECAR: Final = (50 * MB, 100 * MB)
LEAST_CORES: Final = 2

SLACK: Final = Decimal("0.85")
"""Of 4 GB that a machine has the system keeps some: allocatable is less."""


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of all nodes together; what is asked about does not matter."""
    nodes = [n for n in snapshot.all("Node") if not n.flag("spec", "unschedulable")]
    sizes = [
        (n, quantity(n.at("status", "allocatable", "memory")), quantity(n.at("status", "allocatable", "cpu")))
        for n in nodes
    ]
    known = list(_machines((n, m, c) for n, m, c in sizes if m is not None and c is not None))
    if not known:
        yield CHECK.unknown("no node tells what it has")
        return
    room = sum((m for _, m, _ in known), Decimal(0))
    cpu = sum((c for _, _, c in known), Decimal(0))
    pods = [p for p in snapshot.all("Pod") if not is_over(p)]
    requested = sum((_requested(p) for p in pods), Decimal(0))
    outside = sum(
        proxy(p) is None
        and not in_ambient(snapshot, p)
        and not p.flag("spec", "hostNetwork")
        and not is_system(snapshot, p.namespace)
        for p in pods
    )
    low, high = (n * outside for n in SIDECAR)
    free = room - requested
    proofs = tuple(
        Proof(n.ref, "status.allocatable.memory", str(n.at("status", "allocatable", "memory"))) for n, _, _ in known[:3]
    )
    facts = (
        f"{several(len(known), 'node')}, {memory(room)} of memory and {cores(cpu)} cores allocatable, "
        f"{memory(requested)} requested"
    )
    found = False
    if room < LEAST * SLACK:
        found = True
        yield CHECK.bad(
            f"{facts}: less than the 4 GB that a small mesh needs",
            about=known[0][0],
            proofs=proofs,
            severity=Severity.WARNING,
            advice="give the cluster more memory (k3d and kind: the machine's, or the VM's), or use the minimal profile and ambient",
        )
    elif room < COMFORT * SLACK:
        found = True
        yield CHECK.bad(
            f"{facts}: enough for a small mesh, 8 GB are comfortable",
            about=known[0][0],
            proofs=proofs,
            severity=Severity.INFO,
        )
    if cpu < LEAST_CORES:
        found = True
        yield CHECK.bad(
            f"{cores(cpu)} cores are allocatable: istiod and a gateway alone request 0.6",
            proofs=proofs,
            severity=Severity.WARNING,
        )
    if outside and high > free:
        found = True
        yield CHECK.bad(
            f"sidecars for {several(outside, 'pod')} without one take {memory(Decimal(low))} to "
            f"{memory(Decimal(high))}, and {memory(max(free, Decimal(0)))} are not requested yet",
            proofs=proofs,
            severity=Severity.WARNING,
            advice="inject some namespaces only, set sidecar.istio.io/proxyMemory, or use ambient: one ztunnel a node",
        )
    if not found:
        more = (
            f"; sidecars for {several(outside, 'more pod')} would take {memory(Decimal(low))} to {memory(Decimal(high))}"
            if outside
            else ""
        )
        yield CHECK.good(facts + more, proofs=proofs)


def _machines(nodes: Iterable[tuple[Object, Decimal, Decimal]]) -> Iterator[tuple[Object, Decimal, Decimal]]:
    """Nodes of k3d and kind are containers of one machine (its kernel has one bootID), each of which tells of all of it."""
    seen = set()
    for node, size, cpu in nodes:
        boot = node.text("status", "nodeInfo", "bootID")
        if not boot or boot not in seen:
            yield node, size, cpu
        seen.add(boot)


def _requested(pod: Object) -> Decimal:
    """What its containers request of memory."""
    some = (quantity(at(c, "resources", "requests", "memory")) for c in containers(pod))
    return sum((q for q in some if q is not None and q > 0), Decimal(0))


CHECK = Check("cluster-resources", "Do the nodes have room for the mesh?", ("Node", "Pod"), run)
