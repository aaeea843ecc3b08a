"""Which Istio a cluster runs, and in which mode."""

from __future__ import annotations

from meshdiag.cluster.mesh import control_planes, in_ambient, is_gateway, is_over, proxy
from meshdiag.cluster.snapshot import Snapshot


def istio_version(snapshot: Snapshot) -> str:
    """The control plane's version (`1.28.1`), the oldest of several; "" when not known.

    That of istiod's image, else what a bug-report says; an image that is named by its digest tells none.
    """
    return min((p.version for p in control_planes(snapshot) if p.version), key=_numbers, default=snapshot.istio)


def mode(snapshot: Snapshot) -> str:
    """`sidecar`, `ambient`, `both` or `none`, by how traffic of pods that run is handled; "" when pods were not read.

    A gateway or waypoint alone makes no mode, as both have them.
    """
    if "Pod" in snapshot.unread:
        return ""
    pods = [p for p in snapshot.all("Pod") if not is_over(p)]
    sidecar = any(proxy(p) is not None and not is_gateway(p) for p in pods)
    ambient = any(in_ambient(snapshot, p) for p in pods)
    return "both" if sidecar and ambient else "sidecar" if sidecar else "ambient" if ambient else "none"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in version.partition("-")[0].split(".") if n.isdecimal())
