"""Does every node with ambient pods have a ztunnel that is ready?

ztunnel is a DaemonSet labelled `app: ztunnel` (manifests/charts/ztunnel, all versions); a pod in ambient has no way around that of
its node.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshdiag.cluster.mesh import control_planes, in_ambient, is_over, is_ready, minor_of, names, pods_of, version_of
from meshdiag.cluster.objects import Object
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result
from meshdiag.model import Severity

CAUSES = ("ztunnel-upstream-failed", "ztunnel-workload-unknown")


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the nodes of the pods that are asked about, or of all with pods in ambient."""
    tunnels = [p for p in snapshot.all("Pod") if p.labels.get("app") == "ztunnel" and not is_over(p)]
    some = pods_of(snapshot, about)
    if about.pod and any(p.name == about.pod for p in tunnels):  # the finding is ztunnel's own
        some = tuple(
            p for p in snapshot.all("Pod") if p.at("spec", "nodeName") in {t.at("spec", "nodeName") for t in some}
        )
    captured = [p for p in some if in_ambient(snapshot, p) and not is_over(p) and p.text("spec", "nodeName")]
    sets = [d for d in snapshot.all("DaemonSet") if d.labels.get("app") == "ztunnel" or d.name == "ztunnel"]
    if not captured:
        yield CHECK.unknown("no pod that is asked about is in ambient")
        return
    if not tunnels and not sets:
        yield CHECK.bad(
            f"{len(captured)} pods are in ambient ({names(captured)}), and there is no ztunnel",
            *CAUSES,
            about=captured[0],
            advice="install the chart ztunnel (or istioctl install --set profile=ambient)",
        )
        return
    ready = {t.text("spec", "nodeName") for t in tunnels if is_ready(t)}
    by_node: dict[str, list[Object]] = {}
    for p in captured:
        by_node.setdefault(p.text("spec", "nodeName"), []).append(p)
    bad = {node: pods for node, pods in sorted(by_node.items()) if node not in ready}
    for node, pods in bad.items():
        there = [t for t in tunnels if t.text("spec", "nodeName") == node]
        what = f"its ztunnel {there[0].name} is not ready" if there else "it has no ztunnel"
        yield CHECK.bad(
            f"node {node} has {len(pods)} pods in ambient ({names(pods)}), and {what}: their traffic fails",
            *CAUSES,
            *(("cni-plugin-failed",) if any(p.text("status", "phase") == "Pending" for p in pods) else ()),
            about=there[0] if there else pods[0],
            proofs=(Proof(there[0].ref, "status.conditions[Ready].status", "False"),)
            if there
            else (Proof(pods[0].ref, "spec.nodeName", node),),
            advice="a taint that ztunnel does not tolerate keeps it away"
            if not there
            else f"kubectl -n {there[0].namespace} logs {there[0].name}",
        )
    yield from _skew(snapshot, tunnels)
    if not bad:
        yield CHECK.good(f"all {len(by_node)} nodes with pods in ambient have a ready ztunnel")


def _skew(snapshot: Snapshot, tunnels: list[Object]) -> Iterator[Result]:
    """ztunnel may be as old as the control plane or one minor older, not newer."""
    planes = [v for p in control_planes(snapshot) if (v := minor_of(p.version))]
    for version in sorted(
        {version_of(str(c.get("image", ""))) for t in tunnels for c in t.mappings("spec", "containers")} - {""}
    ):
        own = minor_of(version)
        if own and planes and own > max(planes):
            yield CHECK.bad(
                f"ztunnel {version} is newer than istiod {'.'.join(map(str, max(planes)))}",
                severity=Severity.WARNING,
                advice="upgrade the control plane first",
            )


CHECK = Check(
    "ztunnel-health", "Does every node with ambient pods have a ready ztunnel?", ("Pod", "DaemonSet", "Namespace"), run
)
