"""What profiles ask of applications: their pods and workloads, and which of these are in the mesh."""

from __future__ import annotations

from collections.abc import Mapping

from meshdiag.cluster.mesh import in_mesh, is_gateway, is_over, is_system, workload_of
from meshdiag.cluster.objects import Object, Ref
from meshdiag.cluster.snapshot import Snapshot


def workloads(snapshot: Snapshot) -> Mapping[Ref, tuple[Object, ...]]:
    """The workloads of applications (no gateway, nothing of Kubernetes or Istio, no Job) and their pods."""
    found: dict[Ref, list[Object]] = {}
    for pod in snapshot.all("Pod"):
        if is_over(pod) or is_gateway(pod) or is_system(snapshot, pod.namespace):
            continue
        owner = workload_of(snapshot, pod)
        if owner.kind not in ("Job", "DaemonSet"):
            found.setdefault(owner, []).append(pod)
    return {ref: tuple(pods) for ref, pods in sorted(found.items())}


def meshed(snapshot: Snapshot, some: Mapping[Ref, tuple[Object, ...]]) -> tuple[Ref, ...]:
    """Those whose pods are all in the mesh."""
    return tuple(ref for ref, pods in some.items() if all(in_mesh(snapshot, p) for p in pods))
