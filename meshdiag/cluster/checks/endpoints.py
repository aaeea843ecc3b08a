"""Does a service have endpoints that can take requests, and if not, why?"""

from __future__ import annotations

import json
from collections.abc import Iterator

from meshdiag.cluster.mesh import (
    endpoints_of,
    is_ready,
    is_system,
    names,
    pods_behind,
    selects,
    service_at,
    services_of,
    workload_of,
)
from meshdiag.cluster.objects import Object, at
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result

CAUSES = ("no-healthy-upstream", "retry-limit-exceeded")


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the service that was called, or of every service of applications."""
    asked = about.host or about.service
    services = services_of(snapshot, about)
    if asked and not services:
        yield from _unknown_service(snapshot, about, asked)
        return
    fine = 0
    for service in services:
        if service.text("spec", "type") == "ExternalName" or not service.strings("spec", "selector"):
            if asked:
                yield CHECK.unknown("it has no selector: its endpoints are not pods", service)
            continue
        if not about and is_system(snapshot, service.namespace):
            continue
        found = list(_of(snapshot, service))
        yield from found
        fine += not found
        if asked and not found:
            ready = [p for p in pods_behind(snapshot, service) if is_ready(p)]
            yield CHECK.good(
                f"{len(ready)} of {len(pods_behind(snapshot, service))} pods of service {service.name} are ready",
                *CAUSES[:1],
                about=service,
                proofs=(Proof(service.ref, "spec.selector", _json(service.at("spec", "selector"))),),
            )
    if not asked and fine:
        yield CHECK.good(f"{fine} services have ready endpoints")


def _of(snapshot: Snapshot, service: Object) -> Iterator[Result]:
    selector = service.strings("spec", "selector")
    pods = pods_behind(snapshot, service)
    proof = Proof(service.ref, "spec.selector", _json(selector))
    if not pods:
        yield from _selects_none(snapshot, service, proof)
        return
    if any(is_ready(p) for p in pods):
        return
    slices = endpoints_of(snapshot, service)
    ready = [e for e in slices if at(e, "conditions", "ready") is not False]
    if ready and "EndpointSlice" not in snapshot.unread:
        return  # publishNotReadyAddresses
    waiting = [_why_not_ready(p) for p in pods]
    yield CHECK.bad(
        f"none of the {len(pods)} pods of service {service.name} is ready: {waiting[0][1]}",
        *CAUSES,
        about=service,
        proofs=(proof, *(Proof(p.ref, *why) for p, why in zip(pods[:3], waiting, strict=False))),
        advice=f"kubectl describe pod of {names(pods)} says which probe fails",
    )


def _selects_none(snapshot: Snapshot, service: Object, proof: Proof) -> Iterator[Result]:
    selector = service.strings("spec", "selector")
    none = [
        d
        for kind in ("Deployment", "StatefulSet")
        for d in snapshot.all(kind, service.namespace)
        if selects(selector, d.strings("spec", "template", "metadata", "labels"))
    ]
    if none:
        replicas = none[0].number("spec", "replicas")
        text = f"{none[0].ref.kind} {none[0].name}, which service {service.name} selects, has no pod"
        if replicas == 0:
            wanted = Edit(none[0].ref, f"Scale {none[0].name} to 1", {"spec": {"replicas": 1}})
            yield CHECK.bad(
                f"{none[0].ref.kind} {none[0].name} behind service {service.name} is scaled to 0",
                *CAUSES,
                about=service,
                proofs=(proof, Proof(none[0].ref, "spec.replicas", "0")),
                edits=(wanted,),
            )
            return
        yield CHECK.bad(text, *CAUSES, about=service, proofs=(proof,), advice="kubectl describe replicaset says why")
        return
    near = _nearest(snapshot, service)
    if near is None:
        yield CHECK.bad(
            f"service {service.name} selects no pod of namespace {service.namespace}",
            *CAUSES,
            about=service,
            proofs=(proof,),
        )
        return
    labels = {k: near.labels.get(k, "") for k in selector}
    yield CHECK.bad(
        f"service {service.name} selects no pod; {workload_of(snapshot, near).name} has other labels: {_json(labels)}",
        *CAUSES,
        about=service,
        proofs=(proof, Proof(near.ref, "metadata.labels", _json(labels))),
        edits=(
            Edit(
                service.ref,
                f"Let service {service.name} select the pods of {workload_of(snapshot, near).name}",
                {"spec": {"selector": {k: v or None for k, v in labels.items()}}},
            ),
        )
        if any(labels.values())
        else (),
    )


def _nearest(snapshot: Snapshot, service: Object) -> Object | None:
    """The pod that a wrong selector probably means: one that fits in part, or whose workload has the service's name."""
    selector = service.strings("spec", "selector")
    best, most = None, 0
    for pod in snapshot.all("Pod", service.namespace):
        fits = sum(pod.labels.get(k) == v for k, v in selector.items())
        fits += 2 * f"{workload_of(snapshot, pod).name}-".startswith(f"{service.name}-")
        if fits > most:
            best, most = pod, fits
    return best


def _why_not_ready(pod: Object) -> tuple[str, str]:
    """Field and value that say why a pod is not ready."""
    for i, status in enumerate(pod.mappings("status", "containerStatuses")):
        if status.get("ready") is False:
            waiting = at(status, "state", "waiting", "reason")
            if isinstance(waiting, str):
                return f"status.containerStatuses[{i}].state.waiting.reason", f"{status.get('name')}: {waiting}"
            return f"status.containerStatuses[{i}].ready", f"{status.get('name')} is not ready"
    return "status.phase", pod.text("status", "phase") or "unknown"


def _unknown_service(snapshot: Snapshot, about: About, asked: str) -> Iterator[Result]:
    space = about.service_namespace or about.namespace
    others = [s for s in snapshot.all("Service") if s.name == asked.partition(".")[0]]
    if "." in asked and service_at(snapshot, asked, space) is None and not asked.endswith(".svc.cluster.local"):
        yield CHECK.unknown(f"{asked} is no service of this cluster")
        return
    hint = f"; there is one in {names(o.namespace for o in others)}" if others else ""
    yield CHECK.bad(f"there is no service {asked} in namespace {space or 'default'}{hint}", *CAUSES)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


CHECK = Check("endpoints", "Does the service have ready endpoints?", ("Service", "Pod"), run)
