"""Do the versions of proxies fit their control plane?

The control plane may be one minor version ahead of the data plane, and the data plane may not be ahead of the control plane
(https://istio.io/latest/docs/releases/supported-releases/#control-planedata-plane-skew). More works often, and nobody tests it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meshdiag.cluster.mesh import (
    ControlPlane,
    by_workload,
    control_planes,
    minor_of,
    names,
    own_proxies,
    proxy,
    revision_of,
    several,
    version_of,
)
from meshdiag.cluster.objects import Object
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result
from meshdiag.model import Severity

SUPPORTED: Final = 1


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the proxies that are asked about, or of all; those of one version are told together."""
    planes = control_planes(snapshot)
    pods = own_proxies(snapshot, about)
    if not pods:
        yield CHECK.unknown("no proxy of it is here" if about else "no pod has a proxy")
        return
    if not any(minor_of(p.version) for p in planes):
        yield CHECK.unknown("the version of istiod is not known" if planes else "no istiod is here")
        return
    groups: dict[tuple[str, ControlPlane | None], list[Object]] = {}
    for pod in pods:
        groups.setdefault((version_of(str((proxy(pod) or {}).get("image", ""))), _plane(planes, pod)), []).append(pod)
    found = [r for (version, plane), some in groups.items() for r in _skew(snapshot, version, plane, some)]
    yield from found
    if not about:
        yield from _planes(planes)
    if any(r.severity is not Severity.INFO for r in found):
        return
    known = [v for v, plane in groups if minor_of(v) and plane and minor_of(plane.version)]
    if known:
        yield CHECK.good(
            f"proxies of {names(sorted(set(known)))} for istiod {names(sorted({p.version for p in planes if p.version}))}"
        )
    elif not found:
        yield CHECK.unknown("the images of the proxies do not tell their versions")


def _plane(planes: tuple[ControlPlane, ...], pod: Object) -> ControlPlane | None:
    """The control plane of a proxy: that of its revision, else the only one."""
    own = [p for p in planes if p.revision == revision_of(pod)]
    return own[0] if own else planes[0] if len(planes) == 1 else None


def _skew(snapshot: Snapshot, version: str, plane: ControlPlane | None, pods: list[Object]) -> Iterator[Result]:
    own, theirs = minor_of(version), minor_of(plane.version) if plane else None
    if plane is None or own is None or theirs is None or own[0] != theirs[0]:
        return
    behind = theirs[1] - own[1]
    if not behind:
        return
    workloads = list(by_workload(snapshot, pods))
    who = f"{several(len(pods), 'proxy', 'proxies')} ({names(workloads)})"
    proofs = (
        *(Proof(p.ref, "istio-proxy: image", str((proxy(p) or {}).get("image", ""))) for p in pods[:2]),
        *(
            Proof(o.ref, "version of istiod", plane.version)
            for o in [plane.deployment or next(iter(plane.pods), None)]
            if o
        ),
    )
    if behind < 0:
        text = f"{who} with {version}: newer than istiod {plane.version}, which Istio does not support"
        advice = "Upgrade istiod first, or restart the workloads, so that they get the proxy of their istiod"
        yield CHECK.bad(text, about=pods[0], severity=Severity.WARNING, proofs=proofs, advice=advice)
    elif behind > SUPPORTED:
        text = f"{who} with {version}: {behind} minor versions behind istiod {plane.version}; Istio supports one"
        yield CHECK.bad(text, about=pods[0], severity=Severity.WARNING, proofs=proofs,
                        advice="Restart the workloads: a proxy gets istiod's version when its pod is created")  # fmt: skip
    else:
        text = f"{who} with {version}: one minor version behind istiod {plane.version}, which is supported"
        yield CHECK.bad(text, about=pods[0], severity=Severity.INFO, proofs=proofs,
                        advice="Restart the workloads before istiod is upgraded again")  # fmt: skip


def _planes(planes: tuple[ControlPlane, ...]) -> Iterator[Result]:
    """Several control planes: an upgrade by revisions, or one that was never finished."""
    if len(planes) > 1:
        said = [f"{p.revision or 'default'} ({p.version or '?'}) in {p.namespace}" for p in planes]
        some = [(p.deployment.ref, p.revision or "default") for p in planes[:3] if p.deployment]
        yield CHECK.bad(
            f"{len(planes)} control planes: {names(said)}",
            about=planes[0].deployment,
            severity=Severity.INFO,
            proofs=tuple(Proof(ref, "metadata.labels", f"istio.io/rev: {revision}") for ref, revision in some),
            advice="When the upgrade is done, remove the old one: istioctl uninstall --revision",
        )


CHECK = Check("proxy-version-skew", "Do the versions of proxies and control plane fit?", ("Pod",), run)
