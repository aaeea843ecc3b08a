"""Is istiod there, ready, and reached through its Service?

Proxies get configuration and certificates from the Service `istiod` (`istiod-REVISION`), port 15012; the API server calls its webhooks at
port 443 (https://istio.io/latest/docs/ops/deployment/application-requirements/#ports-used-by-istio). While no istiod is ready, running
proxies keep what they have and nothing new is configured, issued or injected.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from meshdiag.cluster.injection import injectors
from meshdiag.cluster.mesh import (
    Container,
    ControlPlane,
    condition,
    containers_of,
    endpoints_of,
    is_ready,
    logs_command,
    names,
    out_of_memory,
    planes_of,
    pods_behind,
    proxy,
    several,
    slices_of,
)
from meshdiag.cluster.objects import Object, at, moment
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.model import Severity

AWAY: Final = (
    "xds-unreachable", "ca-unreachable", "ztunnel-xds-unreachable", "injection-webhook-failed", "validation-webhook-failed"
)  # fmt: skip
"""What happens while no istiod answers."""

RECENT: Final = timedelta(hours=1)
MANY_NODES: Final = 3
MANY_PROXIES: Final = 50
"""From so many on a cluster is taken for more than a place to try things out."""


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of every control plane, or of that of the proxy that is asked about."""
    planes = planes_of(snapshot, about)
    if not planes:
        yield from _none(snapshot)
        return
    for plane in planes:
        found = [*_pods(snapshot, plane), *_ends(snapshot, plane), *_service(snapshot, plane)]
        yield from found
        down = any(r.severity.rank <= Severity.ERROR.rank for r in found)
        if not down:
            if not about and _alone(plane) and _is_large(snapshot):
                yield _too_few(plane)
            yield _fine(plane, about, not found)


def _name(plane: ControlPlane) -> str:
    return f"istiod{f' of revision {plane.revision}' if plane.revision else ''} in {plane.namespace}"


def _none(snapshot: Snapshot) -> Iterator[Result]:
    """Nowhere an istiod: it is gone, it was never here, or it runs outside the cluster."""
    if why := snapshot.lacks("Deployment", "Service", "MutatingWebhookConfiguration"):
        yield CHECK.unknown(f"no istiod is here; whether it runs elsewhere cannot be told: {why}")
        return
    services = [s for s in snapshot.all("Service") if s.name == "istiod" or s.name.startswith("istiod-")]
    outside = [s for s in services if not s.strings("spec", "selector")]
    remote = any(at(w, "clientConfig", "url") for c in injectors(snapshot) for w in c.mappings("webhooks"))
    if outside or remote or snapshot.namespaces is not None:
        only = snapshot.namespaces is not None
        yield CHECK.unknown("only some namespaces were read" if only else "istiod runs outside this cluster")
        return
    proxies = [p for p in snapshot.all("Pod") if proxy(p) is not None]
    if not proxies and not services:
        yield CHECK.unknown("Istio is not installed here")
        return
    yield CHECK.bad(
        f"there is no istiod, although {several(len(proxies), 'pod')} with a proxy"
        + " and its Service are here" * bool(services)
        if proxies
        else "there is no istiod, although its Service is here",
        *AWAY,
        about=services[0] if services else proxies[0],
        severity=Severity.CRITICAL,
        proofs=tuple(Proof(s.ref, "spec.selector", "selects no pod") for s in services[:1])
        + tuple(Proof(p.ref, "spec.containers[*].name", "istio-proxy") for p in proxies[:1]),
        advice="Install it again: istioctl install, or helm upgrade --install istiod istio/istiod -n istio-system",
    )


def _pods(snapshot: Snapshot, plane: ControlPlane) -> Iterator[Result]:
    ready = [p for p in plane.pods if is_ready(p)]
    d = plane.deployment
    if d is not None and d.number("spec", "replicas") == 0:
        yield CHECK.bad(
            f"{_name(plane)} is scaled to 0",
            *AWAY,
            about=d,
            severity=Severity.CRITICAL,
            proofs=(Proof(d.ref, "spec.replicas", "0"),),
            edits=(Edit(d.ref, "Scale istiod to 1", {"spec": {"replicas": 1}}),),
        )
        return
    if not plane.pods and d is not None:
        failure = condition(d, "ReplicaFailure")
        why = str(failure.get("message") or "") if failure.get("status") == "True" else ""
        yield CHECK.bad(
            f"{_name(plane)} has no pod" + (f": {why[:200]}" if why else ""),
            *AWAY,
            about=d,
            severity=Severity.CRITICAL,
            proofs=(Proof(d.ref, "status.conditions", why or "no pod with its labels"),),
            advice="The events of its ReplicaSets say why",
        )
        return
    waiting = [p for p in plane.pods if not is_ready(p) and not p.text("metadata", "deletionTimestamp")]
    for pod in waiting[:3]:
        what, proof, causes = _why(pod)
        text = f"{pod.name} of {_name(plane)} is not ready: {what}"
        yield CHECK.bad(
            text if ready else f"{text}; no other is",
            *causes,
            *(() if ready else AWAY),
            about=pod,
            severity=Severity.WARNING if ready else Severity.CRITICAL,
            proofs=(proof,),
            advice=logs_command(pod, previous="crash" in what),
        )


def _why(pod: Object) -> tuple[str, Proof, tuple[str, ...]]:
    for c in containers_of(pod):
        if c.is_ready or (c.ended[1].get("exitCode") == 0 and not c.is_running):
            continue
        if memory := out_of_memory(c):
            return (
                f"{c.name} was killed for want of memory",
                Proof(pod.ref, memory, "OOMKilled"),
                ("istiod-out-of-memory",),
            )
        if c.waiting == "CrashLoopBackOff":
            proof = Proof(pod.ref, f"{c.path}.state.waiting.reason", c.waiting)
            return f"{c.name} crashes, {several(c.restarts, 'restart')}", proof, ("istiod-crashed",)
        if c.waiting:
            return f"{c.name} waits: {c.waiting}", Proof(pod.ref, f"{c.path}.state.waiting.reason", c.waiting), ()
        if c.is_running:
            since = c.started
            text = "its readiness probe is not answered" + (f", started {since:%H:%M} UTC" if since else "")
            return text, Proof(pod.ref, f"{c.path}.ready", "false"), ("istiod-not-ready",)
    message = str(condition(pod, "PodScheduled").get("message") or pod.text("status", "phase") or "unknown")
    return message[:200], Proof(pod.ref, "status.conditions", message), ()


def _ends(snapshot: Snapshot, plane: ControlPlane) -> Iterator[Result]:
    """Ready ones that ended badly within the hour."""
    for pod in plane.pods:
        if not is_ready(pod):
            continue
        for c in containers_of(pod):
            path, end = c.ended
            code, when = end.get("exitCode"), moment(str(end.get("finishedAt") or ""))
            if not path.endswith("lastState.terminated") or code in (0, 143) or when is None:
                continue
            if snapshot.taken is not None and snapshot.taken - when > RECENT:
                continue
            memory = out_of_memory(c)
            yield CHECK.bad(
                f"{c.name} of {pod.name} ended at {when:%H:%M} UTC "
                + ("for want of memory" if memory else f"with exit {code}")
                + f", {several(c.restarts, 'restart')}",
                "istiod-out-of-memory" if memory else "istiod-crashed",
                about=pod,
                severity=Severity.WARNING,
                proofs=(Proof(pod.ref, memory or f"{path}.exitCode", "OOMKilled" if memory else str(code)),),
                advice=logs_command(pod, previous=True),
            )


def _service(snapshot: Snapshot, plane: ControlPlane) -> Iterator[Result]:
    if snapshot.lacks("Service") or not any(map(is_ready, plane.pods)):
        return
    name = f"istiod-{plane.revision}" if plane.revision else "istiod"
    service = snapshot.get("Service", plane.namespace, name)
    one = plane.deployment or plane.pods[0]
    if service is None:
        yield CHECK.bad(
            f"{_name(plane)} runs, and its Service {name} does not exist",
            *AWAY,
            about=one,
            severity=Severity.CRITICAL,
            proofs=(Proof(one.ref, "metadata.namespace", plane.namespace),),
            advice="Install istiod again with the values that you have: the Service comes with it",
        )
        return
    behind = {p.ref for p in pods_behind(snapshot, service)}
    if service.strings("spec", "selector") and not behind & {p.ref for p in plane.pods}:
        yield CHECK.bad(
            f"service {name} does not select the pods of {_name(plane)}",
            *AWAY,
            about=service,
            severity=Severity.CRITICAL,
            proofs=(
                Proof(
                    service.ref,
                    "spec.selector",
                    names(f"{k}={v}" for k, v in service.strings("spec", "selector").items()),
                ),
                Proof(plane.pods[0].ref, "metadata.labels", names(f"{k}={v}" for k, v in plane.pods[0].labels.items())),
            ),
        )
    elif slices_of(snapshot, service) and not any(
        at(e, "conditions", "ready") is not False for e in endpoints_of(snapshot, service)
    ):
        yield CHECK.bad(
            f"the EndpointSlices of service {name} have no ready endpoint, although istiod is ready",
            *AWAY,
            about=service,
            severity=Severity.CRITICAL,
            proofs=(Proof(slices_of(snapshot, service)[0].ref, "endpoints", "none ready"),),
        )
    ports = [p.get("port") for p in service.mappings("spec", "ports")]
    if 15012 not in ports:
        yield CHECK.bad(
            f"service {name} has no port 15012, where proxies ask for configuration and certificates",
            *AWAY[:3],
            about=service,
            proofs=(Proof(service.ref, "spec.ports[*].port", ", ".join(map(str, ports)) or "none"),),
        )


def _alone(plane: ControlPlane) -> bool:
    """Whether its Deployment has one replica."""
    d = plane.deployment
    return d is not None and d.number("spec", "replicas") in (None, 1) and len(plane.pods) == 1


def _is_large(snapshot: Snapshot) -> bool:
    """Whether many depend on it."""
    return (
        len(snapshot.all("Node")) >= MANY_NODES
        and sum(proxy(p) is not None for p in snapshot.all("Pod")) >= MANY_PROXIES
    )


def _too_few(plane: ControlPlane) -> Result:
    ref = plane.deployment.ref if plane.deployment else plane.pods[0].ref
    return CHECK.bad(
        f"{_name(plane)} has one replica: while it is away nothing is configured, issued or injected",
        about=plane.deployment,
        severity=Severity.WARNING,
        proofs=(Proof(ref, "spec.replicas", "1"),),
        advice="Set autoscaleMin (or replicaCount) of the chart istiod to 2",
    )


def _fine(plane: ControlPlane, about: About, quiet: bool) -> Result:
    """A pod that never restarted did not crash; whether a proxy could reach it is another question."""
    own = [p for p in plane.pods if p.name == about.pod]
    still = quiet and bool(own) and all(_is_first(c) for p in own for c in containers_of(p))
    return CHECK.good(
        f"{several(sum(map(is_ready, plane.pods)), 'ready pod')} of {_name(plane)}"
        + (f", {plane.version}" if plane.version else "")
        + "; production wants two" * (not about and _alone(plane)),
        *(("istiod-crashed", "istiod-out-of-memory") if still else ()),
        about=plane.deployment or next(iter(plane.pods), None),
        proofs=tuple(Proof(p.ref, "status.containerStatuses[0].restartCount", "0") for p in own) if still else (),
    )


def _is_first(c: Container) -> bool:
    return c.status.get("restartCount") == 0


CHECK = Check("istiod-health", "Is istiod there and ready?", ("Pod",), run)
