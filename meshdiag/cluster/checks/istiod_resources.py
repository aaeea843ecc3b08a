"""Has istiod enough memory and CPU for the proxies that it serves?

Istio's own measure is 1 vCPU and 1.5 GB for 1,000 services and 2,000 sidecars
(https://istio.io/latest/docs/ops/deployment/performance-and-scalability/); the chart requests 500m and 2048Mi and sets no limit
(manifests/charts/istio-control/istio-discovery/values.yaml, 1.20 to 1.31).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from meshdiag.cluster.mesh import (
    Container,
    ControlPlane,
    condition,
    containers_of,
    is_over,
    out_of_memory,
    planes_of,
    proxy,
    several,
)
from meshdiag.cluster.objects import Object, at, mappings, moment
from meshdiag.cluster.quantities import cores, memory, quantity
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result
from meshdiag.model import Severity

PER_PROXY: Final = Decimal(1_500_000_000) / 2000
LEAST: Final = Decimal(200_000_000)
"""What istiod takes with hardly any proxy; a limit beneath is too low for any cluster."""

DAY: Final = timedelta(days=1)


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of every control plane, or of that of the proxy that is asked about."""
    planes = planes_of(snapshot, about)
    if not planes:
        yield CHECK.unknown("no istiod is here")
        return
    proxies = sum(proxy(p) is not None and not is_over(p) for p in snapshot.all("Pod"))
    for plane in planes:
        spec, source, path = _discovery(plane)
        killed = list(_killed(snapshot, plane, spec))
        limits = list(_limits(plane, spec, source, path, proxies)) if source else []
        scaling = list(_scaling(snapshot, plane))
        yield from (*killed, *limits, *scaling)
        if not (killed or limits or scaling):
            yield CHECK.good(f"istiod in {plane.namespace} {_said(spec)}, for {several(proxies, 'proxy', 'proxies')}",
                             about=source)  # fmt: skip


def _discovery(plane: ControlPlane) -> tuple[Mapping[str, Any], Object | None, str]:
    """The container of istiod, the object that has it and where it stands there."""
    for o, path in ((plane.deployment, ("spec", "template", "spec")), *((p, ("spec",)) for p in plane.pods)):
        every = o.mappings(*path, "containers") if o is not None else ()
        if every:
            found = next((c for c in every if c.get("name") == "discovery"), every[0])
            return found, o, ".".join((*path, f"containers[{found.get('name')}]", "resources"))
    return {}, None, ""


def _amount(spec: Mapping[str, Any], part: str, what: str) -> Decimal | None:
    return quantity(at(spec, "resources", part, what))


def _said(spec: Mapping[str, Any]) -> str:
    """`requests 500m and 2Gi, memory limit 4Gi`."""
    cpu, size, limit = (
        _amount(spec, "requests", "cpu"),
        _amount(spec, "requests", "memory"),
        _amount(spec, "limits", "memory"),
    )
    asked = " and ".join((cores(cpu) if cpu else "no CPU", memory(size) if size else "no memory"))
    return f"requests {asked}, " + (f"memory limit {memory(limit)}" if limit else "without memory limit")


def _killed(snapshot: Snapshot, plane: ControlPlane, spec: Mapping[str, Any]) -> Iterator[Result]:
    for pod in plane.pods:
        for c in containers_of(pod):
            if (field := out_of_memory(c)) and _is_recent(snapshot, c):
                limit = _amount(spec, "limits", "memory")
                yield CHECK.bad(
                    f"{c.name} of {pod.name} was killed for want of memory, {several(c.restarts, 'restart')}"
                    + (f"; its limit is {memory(limit)}" if limit else "; it has no limit, so its node ran out"),
                    "istiod-out-of-memory",
                    about=pod,
                    proofs=(Proof(pod.ref, field, "OOMKilled"),),
                    advice="Raise its memory, or shrink what it serves: discoverySelectors, Sidecar objects",
                )


def _is_recent(snapshot: Snapshot, c: Container) -> bool:
    when = moment(str(c.ended[1].get("finishedAt") or ""))
    return c.waiting != "" or when is None or snapshot.taken is None or snapshot.taken - when <= DAY


def _limits(
    plane: ControlPlane, spec: Mapping[str, Any], source: Object | None, path: str, proxies: int
) -> Iterator[Result]:
    assert source is not None
    limit, asked = _amount(spec, "limits", "memory"), _amount(spec, "requests", "memory")
    cpu = _amount(spec, "limits", "cpu")
    share = -(-proxies // max(len(plane.pods), 1))
    need = max(LEAST, PER_PROXY * share)
    if limit is not None and limit < need:
        yield CHECK.bad(
            f"the memory limit of istiod is {memory(limit)}; {share:,} proxies take about {memory(need)}",
            about=source,
            severity=Severity.WARNING,
            proofs=(Proof(source.ref, f"{path}.limits.memory", str(at(spec, "resources", "limits", "memory"))),),
            advice="Raise it well above that, as istiod peaks when it starts and all proxies connect at once",
        )
    if asked is None and limit is None:
        yield CHECK.bad(
            "istiod requests no memory: it is among the first to go when its node runs out",
            about=source,
            severity=Severity.WARNING,
            proofs=(Proof(source.ref, f"{path}.requests.memory", "none"),),
            advice="The chart's default is 500m CPU and 2048Mi",
        )
    if cpu is not None and cpu < max(Decimal("0.2"), Decimal(share) / 2000):
        yield CHECK.bad(
            f"the CPU limit of istiod is {cores(cpu)} for {share:,} proxies: it is throttled when it pushes",
            about=source,
            severity=Severity.WARNING,
            proofs=(Proof(source.ref, f"{path}.limits.cpu", str(at(spec, "resources", "limits", "cpu"))),),
            advice="Take the limit away (the chart sets none), and keep the request",
        )


def _scaling(snapshot: Snapshot, plane: ControlPlane) -> Iterator[Result]:
    """Its HorizontalPodAutoscaler: at the maximum and still over its target, or without metrics."""
    d = plane.deployment
    for hpa in snapshot.all("HorizontalPodAutoscaler", plane.namespace):
        if (
            d is None
            or hpa.text("spec", "scaleTargetRef", "name") != d.name
            or hpa.text("spec", "scaleTargetRef", "kind") != "Deployment"
        ):
            continue
        most, now = hpa.number("spec", "maxReplicas"), hpa.number("status", "currentReplicas")
        over = _over(hpa)
        if most is not None and now is not None and now >= most and over:
            field, has, wanted = over
            yield CHECK.bad(
                f"istiod is at its maximum of {several(most, 'replica')}, with its CPU at {has}% of the request (target {wanted}%)",
                "xds-push-slow",
                about=hpa,
                severity=Severity.WARNING,
                proofs=(Proof(hpa.ref, "spec.maxReplicas", str(most)), Proof(hpa.ref, field, str(has))),
                advice="Raise autoscaleMax of the chart istiod, or its CPU request",
            )
        active = condition(hpa, "ScalingActive")
        if active.get("status") == "False" and active.get("reason") != "ScalingDisabled":
            yield CHECK.bad(
                f"the autoscaler of istiod does not work: {str(active.get('message') or active.get('reason'))[:200]}",
                about=hpa,
                severity=Severity.WARNING,
                proofs=(Proof(hpa.ref, "status.conditions[ScalingActive].status", "False"),),
                advice="It needs metrics-server, and CPU requests of istiod",
            )


def _over(hpa: Object) -> tuple[str, int, int] | None:
    """Where the measured CPU stands, what it is, and its lower target; None when it is not over."""
    wanted = next(
        (t for m in hpa.mappings("spec", "metrics") if at(m, "resource", "name") == "cpu"
         and isinstance(t := at(m, "resource", "target", "averageUtilization"), int)),
        None,
    )  # fmt: skip
    for i, m in enumerate(mappings(hpa.at("status", "currentMetrics"))):
        has = at(m, "resource", "current", "averageUtilization")
        if at(m, "resource", "name") == "cpu" and isinstance(has, int) and wanted is not None and has > wanted:
            return f"status.currentMetrics[{i}].resource.current.averageUtilization", has, wanted
    return None


CHECK = Check("istiod-resources", "Has istiod enough memory and CPU?", ("Pod",), run)
