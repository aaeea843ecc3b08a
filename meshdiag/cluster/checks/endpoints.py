"""Does a service have endpoints that can take requests, and if not, why?

Endpoints are the ready pods of a Service's selector (https://kubernetes.io/docs/concepts/services-networking/service/), in Istio
also the WorkloadEntries that it selects (PILOT_ENABLE_K8S_SELECT_WORKLOAD_ENTRIES, on since 1.8), or the EndpointSlices that
somebody wrote for a Service without a selector. The endpoints of a subset are told by `destination-rule-subsets`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from meshdiag.cluster.mesh import (
    client_namespace,
    condition,
    endpoints_of,
    entries_of,
    full_host,
    host_of,
    is_ready,
    is_system,
    maybe_elsewhere,
    names,
    pods_behind,
    rules_for,
    selects,
    service_at,
    services_of,
    slices_of,
    unread,
    workload_of,
)
from meshdiag.cluster.objects import Object, at, mappings, moment
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.model import Severity

CAUSES = ("no-healthy-upstream", "retry-limit-exceeded")
STEADY: Final = timedelta(hours=1)


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the service that was called, or of every service of applications."""
    asked = about.host or about.service
    services = services_of(snapshot, about)
    if asked and not services:
        yield from _unknown_service(snapshot, about, asked)
        return
    fine = 0
    for service in services:
        if not about and is_system(snapshot, service.namespace):
            continue
        found = list(_of(snapshot, service))
        if not found and (service.text("spec", "type") == "ExternalName" or not service.strings("spec", "selector")):
            if asked:
                yield CHECK.unknown("it has no selector: its endpoints are not pods", service)
            continue
        yield from found
        fine += not found
        if asked and not found:
            yield _ready(snapshot, service, about)
    if not asked and fine:
        yield CHECK.good(f"{fine} services have ready endpoints")


def _ready(snapshot: Snapshot, service: Object, about: About) -> Result:
    """That they are there; whether this rules out that a proxy has none is another question: a subset, an ejection, a remote network."""
    pods = pods_behind(snapshot, service)
    ready = sum(map(is_ready, pods))
    rules = rules_for(snapshot, host_of(service), service.namespace, client_namespace(about))
    sure = (
        any(_is_steady(snapshot, p) for p in pods)
        and not about.subset
        and not rules
        and not unread(snapshot, "DestinationRule")
    )
    return CHECK.good(
        f"{ready} of {len(pods)} pods of service {service.name} are ready",
        *(CAUSES[:1] if sure else ()),
        about=service,
        proofs=(Proof(service.ref, "spec.selector", _json(service.at("spec", "selector"))),),
    )


def _is_steady(snapshot: Snapshot, pod: Object) -> bool:
    """Whether a pod has been ready for so long that it was when the finding's lines were written (see `SAME_TIME` of the diagnosis)."""
    since = condition(pod, "Ready").get("lastTransitionTime")
    became = moment(since) if isinstance(since, str) else None
    long_ago = became is None or (snapshot.taken is not None and snapshot.taken - became >= STEADY)
    return is_ready(pod) and long_ago


def _of(snapshot: Snapshot, service: Object) -> Iterator[Result]:
    if service.text("spec", "type") == "ExternalName":
        return
    selector = service.strings("spec", "selector")
    if not selector:
        yield from _without_selector(snapshot, service)
        return
    pods = pods_behind(snapshot, service)
    proof = Proof(service.ref, "spec.selector", _json(selector))
    if not pods:
        entries = snapshot.all("WorkloadEntry", service.namespace)
        if not any(selects(selector, {**e.labels, **e.strings("spec", "labels")}) for e in entries):
            yield from _selects_none(snapshot, service, proof)
        return
    slices = slices_of(snapshot, service)
    usable = any(at(e, "conditions", "ready") is not False for e in endpoints_of(snapshot, service))
    if any(is_ready(p) and not p.at("metadata", "deletionTimestamp") for p in pods):
        if slices and not usable:
            yield CHECK.bad(
                f"the EndpointSlices of service {service.name} have no ready endpoint, although pods are ready",
                *CAUSES,
                about=service,
                proofs=(
                    proof,
                    Proof(slices[0].ref, "endpoints", f"{len(endpoints_of(snapshot, service))}, none ready"),
                ),
                advice="named target ports that no container has, or a kube-controller-manager that is behind, bring this about",
            )
        return
    if slices and usable:
        return  # publishNotReadyAddresses
    waiting = [_why_not_ready(p) for p in pods[:3]]
    yield CHECK.bad(
        f"none of the {len(pods)} pods of service {service.name} is ready: {waiting[0][1]}",
        *CAUSES,
        about=service,
        proofs=(proof, *(Proof(p.ref, *why) for p, why in zip(pods[:3], waiting, strict=False))),
        advice=f"kubectl describe pod of {names(pods)} says which probe fails",
    )


def _without_selector(snapshot: Snapshot, service: Object) -> Iterator[Result]:
    """Its endpoints are written by hand or by a controller; nothing is said when no slices at all were captured."""
    slices = slices_of(snapshot, service)
    found = endpoints_of(snapshot, service)
    if any(at(e, "conditions", "ready") is not False for e in found) or not snapshot.all("EndpointSlice"):
        return
    if entries_of(snapshot, host_of(service)) or unread(snapshot, "EndpointSlice", "ServiceEntry"):
        return
    proof = Proof(slices[0].ref, "endpoints", f"{len(found)}, none ready") if slices else None
    yield CHECK.bad(
        f"service {service.name} has no selector, and "
        + ("none of its endpoints is ready" if found else "no EndpointSlice has an endpoint for it"),
        *CAUSES,
        about=service,
        severity=Severity.WARNING,
        proofs=(Proof(service.ref, "spec.selector", "none"), *([proof] if proof else [])),
        advice="Give it a selector, or write an EndpointSlice with the label kubernetes.io/service-name",
    )


def _selects_none(snapshot: Snapshot, service: Object, proof: Proof) -> Iterator[Result]:
    selector = service.strings("spec", "selector")
    workloads = [
        d
        for kind in ("Deployment", "StatefulSet", "DaemonSet")
        for d in snapshot.all(kind, service.namespace)
        if selects(selector, d.strings("spec", "template", "metadata", "labels"))
    ]
    if workloads:
        yield _without_pods(workloads, service, proof)
        return
    near = _nearest(snapshot, service)
    if near is None:
        yield CHECK.bad(
            f"service {service.name} selects no pod of namespace {service.namespace}",
            *CAUSES,
            about=service,
            proofs=(proof,),
            advice="Start its workload, correct the selector, or delete the service if nothing stands behind it any more",
        )
        return
    pod, sure = near
    labels = {k: pod.labels.get(k, "") for k in selector}
    owner = workload_of(snapshot, pod).name
    edit = Edit(service.ref, f"Let service {service.name} select the pods of {owner}", {"spec": {"selector": labels}})
    yield CHECK.bad(
        f"service {service.name} selects no pod; {owner} has other labels: {_json(labels)}",
        *CAUSES,
        about=service,
        proofs=(proof, Proof(pod.ref, "metadata.labels", _json(labels))),
        edits=(edit,) if sure and all(labels.values()) else (),
    )


def _without_pods(workloads: list[Object], service: Object, proof: Proof) -> Result:
    """A workload is selected and has no pod: it is scaled to 0, or its pods cannot be created."""
    idle = [d for d in workloads if d.number("spec", "replicas") == 0]
    if idle and len(idle) == len(workloads):
        return CHECK.bad(
            f"{idle[0].ref.kind} {idle[0].name} behind service {service.name} is scaled to 0",
            *CAUSES,
            about=service,
            severity=Severity.WARNING,
            proofs=(proof, *(Proof(d.ref, "spec.replicas", "0") for d in idle[:3])),
            edits=tuple(Edit(d.ref, f"Scale {d.name} to 1", {"spec": {"replicas": 1}}) for d in idle[:1]),
        )
    busy = next(d for d in workloads if d not in idle)
    failure = condition(busy, "ReplicaFailure")
    why = failure.get("message") if failure.get("status") == "True" else ""
    text = f"{busy.ref.kind} {busy.name}, which service {service.name} selects, has no pod"
    return CHECK.bad(
        f"{text}: {why}" if isinstance(why, str) and why else text,
        *CAUSES,
        about=service,
        proofs=(proof, *([Proof(busy.ref, "status.conditions", str(why))] if why else [])),
        advice="The events of its ReplicaSets say why",
    )


def _nearest(snapshot: Snapshot, service: Object) -> tuple[Object, bool] | None:
    """The pod that a wrong selector probably means: one that fits in part, or whose workload has the service's name.

    Sure is it when all the pods that fit as well have the same labels in question.
    """
    selector = service.strings("spec", "selector")
    best: list[Object] = []
    most = 0
    for pod in snapshot.all("Pod", service.namespace):
        fits = sum(pod.labels.get(k) == v for k, v in selector.items())
        fits += 2 * f"{workload_of(snapshot, pod).name}-".startswith(f"{service.name}-")
        if fits > most:
            best, most = [pod], fits
        elif fits and fits == most:
            best.append(pod)
    if not best:
        return None
    return best[0], len({tuple(p.labels.get(k) for k in selector) for p in best}) == 1


def _why_not_ready(pod: Object) -> tuple[str, str]:
    """Field and value that say why a pod is not ready."""
    for kind in ("initContainerStatuses", "containerStatuses"):
        for i, status in enumerate(mappings(pod.at("status", kind))):
            done = at(status, "state", "terminated", "exitCode") == 0 and kind == "initContainerStatuses"
            if status.get("ready") is False and not done:
                waiting = at(status, "state", "waiting", "reason")
                name = status.get("name")
                if isinstance(waiting, str):
                    return f"status.{kind}[{i}].state.waiting.reason", f"{name}: {waiting}"
                return f"status.{kind}[{i}].ready", f"{name} is not ready"
    if pod.at("metadata", "deletionTimestamp"):
        return "metadata.deletionTimestamp", pod.text("metadata", "deletionTimestamp")
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and isinstance(scheduled.get("message"), str):
        return "status.conditions", scheduled["message"]
    return "status.phase", pod.text("status", "phase") or "unknown"


def _unknown_service(snapshot: Snapshot, about: About, asked: str) -> Iterator[Result]:
    space = about.service_namespace or about.namespace
    full = full_host(asked, space)
    if ".svc." not in full or not full.split(".")[1]:
        if "." in asked and service_at(snapshot, asked, space) is None and entries_of(snapshot, asked):
            yield CHECK.unknown(f"{asked} is the host of a ServiceEntry: its endpoints are not pods")
            return
        yield CHECK.unknown(f"{asked} is no service of this cluster")
        return
    if entry := next(iter(entries_of(snapshot, full)), None):
        yield CHECK.unknown(f"{asked} is the host of a ServiceEntry: its endpoints are not pods", entry)
        return
    if why := maybe_elsewhere(snapshot, full):
        yield CHECK.unknown(f"no service {asked} is here; {why}")
        return
    name, space = full.split(".")[:2]
    others = [s for s in snapshot.all("Service") if s.name == name]
    hint = f"; there is one in {names(o.namespace for o in others)}" if others else ""
    yield CHECK.bad(f"there is no service {name} in namespace {space}{hint}", *CAUSES)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


CHECK = Check("endpoints", "Does the service have ready endpoints?", ("Service", "Pod"), run)
