"""What profiles ask of applications: their workloads that stay, and which of these are in the mesh."""

from __future__ import annotations

from collections.abc import Mapping

from meshdiag.cluster import mesh
from meshdiag.cluster.mesh import in_mesh
from meshdiag.cluster.objects import Object, Ref
from meshdiag.cluster.snapshot import Snapshot


def workloads(snapshot: Snapshot) -> Mapping[Ref, tuple[Object, ...]]:
    """The workloads of applications and their pods, without Jobs, which come and go, and DaemonSets, which are the platform's."""
    some = mesh.workloads(snapshot).items()
    return {ref: pods for ref, pods in sorted(some) if ref.kind not in ("Job", "DaemonSet")}


def outside(snapshot: Snapshot, some: Mapping[Ref, tuple[Object, ...]]) -> tuple[Ref, ...]:
    """Those that have a pod outside of the mesh."""
    return tuple(ref for ref, pods in some.items() if not all(in_mesh(snapshot, p) for p in pods))


def begun(snapshot: Snapshot, some: Mapping[Ref, tuple[Object, ...]]) -> tuple[Ref, ...]:
    """Those that have a pod in the mesh."""
    return tuple(ref for ref, pods in some.items() if any(in_mesh(snapshot, p) for p in pods))
