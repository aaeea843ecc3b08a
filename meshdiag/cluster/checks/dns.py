"""Can the name that was asked for exist, and is there somebody to resolve it?

Cluster DNS has the names of Services (SERVICE.NAMESPACE.svc.cluster.local, https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/)
and passes on the rest; the agent's DNS capture and ztunnel also answer for ServiceEntries. An ExternalName is an alias for another
name. Whether a name outside the cluster resolves cannot be seen in its objects.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshdiag.cluster.mesh import (
    DOMAIN,
    entries_of,
    is_ready,
    is_system,
    maybe_elsewhere,
    names,
    pods_with,
    service_at,
    unread,
)
from meshdiag.cluster.objects import Object
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result

CAUSE = "dns-resolution-failed"
SYSTEM = "kube-system"
SERVERS = {"k8s-app": "kube-dns"}
"""The label of CoreDNS' pods, and of kube-dns' before it."""


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the servers, and of the host that was asked for or of all aliases."""
    servers = list(_servers(snapshot))
    yield from servers
    if not about:
        found = [
            r for s in snapshot.all("Service") if not is_system(snapshot, s.namespace) for r in _alias(snapshot, s)
        ]
        yield from found
        pods = pods_with(snapshot, SERVERS, SYSTEM)
        if not found and not servers and pods:
            yield CHECK.good(f"{sum(map(is_ready, pods))} of {len(pods)} pods of cluster DNS are ready")
        elif not pods and not found:
            yield CHECK.unknown("the pods of cluster DNS are not here")
        return
    asked = about.host or about.service
    if asked:
        yield from _host(snapshot, asked.rstrip("."), about.service_namespace or about.namespace, about.namespace)


def _servers(snapshot: Snapshot) -> Iterator[Result]:
    """Whether a pod of cluster DNS is ready; nothing is said where they are not here, or are called otherwise."""
    pods = pods_with(snapshot, SERVERS, SYSTEM)
    if pods and not any(map(is_ready, pods)):
        yield CHECK.bad(
            f"none of the {len(pods)} pods of cluster DNS is ready: no name resolves",
            CAUSE,
            about=pods[0],
            proofs=tuple(Proof(p.ref, "status.conditions", "Ready is not True") for p in pods[:3]),
            advice="The events and the log of these pods say why: kubectl -n kube-system describe pods -l k8s-app=kube-dns",
        )


def _host(snapshot: Snapshot, host: str, namespace: str, client: str) -> Iterator[Result]:
    """A name as the resolver of a pod completes it: with the client's namespace, then as NAME.NAMESPACE."""
    service = service_at(snapshot, host, namespace) or (service_at(snapshot, host, client) if "." not in host else None)
    if service is not None:
        found = list(_alias(snapshot, service))
        yield from found
        if not found:
            yield CHECK.good(f"{service.ref} has this name", about=service)
        return
    full = host if "." in host else f"{host}.{namespace}.svc.{DOMAIN}" if namespace else ""
    entries = entries_of(snapshot, host) or (entries_of(snapshot, full) if full else ())
    if entries:
        yield CHECK.good(f"{names(entries)} registers {host}; who resolves it is another question", about=entries[0])
        return
    inside = full.removesuffix(f".{DOMAIN}").removesuffix(".svc") if full.endswith((f".svc.{DOMAIN}", ".svc")) else ""
    parts = inside.split(".")
    if not inside or not full:
        yield CHECK.unknown(f"{host} is a name outside the cluster: its objects do not say whether it resolves")
    elif why := maybe_elsewhere(snapshot, f"{inside}.svc.{DOMAIN}"):
        yield CHECK.unknown(f"no service has the name {host}; {why}")
    elif len(parts) == 3:
        yield from _pod_of(snapshot, host, *parts)
    elif len(parts) == 2:
        yield _missing(snapshot, host, *parts)


def _missing(snapshot: Snapshot, host: str, name: str, namespace: str) -> Result:
    others = [s.namespace for s in snapshot.all("Service") if s.name == name]
    space = snapshot.get("Namespace", "", namespace)
    gone = space is None and snapshot.all("Namespace") and not unread(snapshot, "Namespace")
    why = f"there is no namespace {namespace}" if gone else f"namespace {namespace} has no service {name}"
    hint = f"; there is one in {names(others)}" if others else ""
    return CHECK.bad(
        f"{host} is a name of the cluster, and {why}{hint}",
        CAUSE,
        about=space,
        advice="Correct the name where it is configured, or create the service",
    )


def _pod_of(snapshot: Snapshot, host: str, pod: str, name: str, namespace: str) -> Iterator[Result]:
    """POD.SERVICE.NAMESPACE: a pod of a StatefulSet behind a headless service."""
    service = snapshot.get("Service", namespace, name)
    if service is None:
        yield _missing(snapshot, host, name, namespace)
        return
    found = snapshot.get("Pod", namespace, pod)
    if unread(snapshot, "Pod") or any(p.text("spec", "hostname") == pod for p in snapshot.all("Pod", namespace)):
        yield CHECK.unknown(f"whether a pod has the name {host}", service)
    elif found is None:
        yield CHECK.bad(
            f"{host} is the name of pod {pod}, which is not there",
            CAUSE,
            about=service,
            proofs=(Proof(service.ref, "spec.clusterIP", service.text("spec", "clusterIP") or "not set"),),
            advice="Scale its StatefulSet up, or call the service instead of one pod",
        )
    elif service.text("spec", "clusterIP") not in ("None", ""):
        yield CHECK.bad(
            f"{host} is the name of one pod, and service {name} is not headless: only those of headless services have such names",
            CAUSE,
            about=service,
            proofs=(Proof(service.ref, "spec.clusterIP", service.text("spec", "clusterIP")),),
        )
    elif not is_ready(found) and service.flag("spec", "publishNotReadyAddresses") is not True:
        yield CHECK.bad(
            f"pod {pod} is not ready, and until then {host} has no address",
            CAUSE,
            about=found,
            proofs=(Proof(found.ref, "status.conditions", "Ready is not True"),),
            advice="Set publishNotReadyAddresses on the headless service where members must find each other first",
        )
    else:
        yield CHECK.good(f"pod {pod} has this name", about=found)


def _alias(snapshot: Snapshot, service: Object) -> Iterator[Result]:
    """An ExternalName whose target is a name of the cluster that no service has."""
    target = service.text("spec", "externalName").rstrip(".")
    if service.text("spec", "type") != "ExternalName" or not target.endswith((f".svc.{DOMAIN}", ".svc")):
        return
    full = target if target.endswith(DOMAIN) else f"{target}.{DOMAIN}"
    if service_at(snapshot, full) is None and not entries_of(snapshot, full) and not maybe_elsewhere(snapshot, full):
        yield CHECK.bad(
            f"{service.ref} is an alias for {target}, which no service has",
            CAUSE,
            about=service,
            proofs=(Proof(service.ref, "spec.externalName", target),),
            advice="Let externalName be the name of a service that is there",
        )


CHECK = Check("dns", "Can names be resolved?", ("Service",), run)
