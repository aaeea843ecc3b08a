"""Pods: their containers, their workload, whether a sidecar or ztunnel handles their traffic (Istio 1.20 to 1.31)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from meshdiag.cluster.objects import Object, Ref
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About
from meshdiag.lazyre import lazy

PROXY: Final = "istio-proxy"
_hash = lazy(r"-[a-z0-9]{1,10}$")


def containers(pod: Object) -> tuple[Mapping[str, Any], ...]:
    """The containers of a pod, those that are started first and go on (native sidecars) included."""
    native = [c for c in pod.mappings("spec", "initContainers") if c.get("restartPolicy") == "Always"]
    return (*native, *pod.mappings("spec", "containers"))


def proxy(pod: Object) -> Mapping[str, Any] | None:
    """The container istio-proxy of a pod, a native sidecar included. Asked of each pod by most checks, so it walks by itself."""
    spec = pod.raw.get("spec")
    if isinstance(spec, dict):
        for part in ("initContainers", "containers"):
            some = spec.get(part)
            for c in some if isinstance(some, list) else ():
                if (
                    isinstance(c, dict)
                    and c.get("name") == PROXY
                    and (part == "containers" or c.get("restartPolicy") == "Always")
                ):
                    return c
    return None


def has_native_sidecar(pod: Object) -> bool:
    """Whether the proxy is an init container that goes on (Istio 1.19 with ENABLE_NATIVE_SIDECARS, the default since 1.27)."""
    return any(c.get("name") == PROXY for c in pod.mappings("spec", "initContainers"))


def is_gateway(pod: Object) -> bool:
    """Whether its proxy is a gateway's or a waypoint's, with no application beside it."""
    return proxy(pod) is not None and len(pod.mappings("spec", "containers")) == 1 and not has_native_sidecar(pod)


def in_ambient(snapshot: Snapshot, pod: Object) -> bool:
    """Whether ztunnel handles its traffic: istio-cni says so on the pod (annotation), else its labels and its namespace's do."""
    if pod.annotations.get("ambient.istio.io/redirection") == "enabled":
        return True
    if proxy(pod) is not None or pod.flag("spec", "hostNetwork"):
        return False
    own = pod.labels.get("istio.io/dataplane-mode")
    space = snapshot.get("Namespace", "", pod.namespace)
    return (own or (space.labels.get("istio.io/dataplane-mode") if space else None)) == "ambient"


def in_mesh(snapshot: Snapshot, pod: Object) -> bool:
    """Whether a sidecar or ztunnel handles its traffic."""
    return proxy(pod) is not None or in_ambient(snapshot, pod)


def statuses(pod: Object) -> Mapping[str, Mapping[str, Any]]:
    """What the kubelet says of each container, init containers included, by name."""
    found = (*pod.mappings("status", "initContainerStatuses"), *pod.mappings("status", "containerStatuses"))
    return {s["name"]: s for s in found if isinstance(s.get("name"), str)}


def condition(o: Object, kind: str) -> Mapping[str, Any]:
    """A condition of the status, such as `Ready`; empty when it is not there."""
    return next((c for c in o.mappings("status", "conditions") if c.get("type") == kind), {})


def is_ready(pod: Object) -> bool:
    """Whether it gets traffic."""
    return condition(pod, "Ready").get("status") == "True"


def is_over(pod: Object) -> bool:
    """Whether all its containers have ended for good."""
    return pod.text("status", "phase") in ("Succeeded", "Failed")


def workload_of(snapshot: Snapshot, pod: Object) -> Ref:
    """The Deployment, StatefulSet, DaemonSet, Job or other owner of a pod; the pod itself when it has none."""
    owner = next((o for o in pod.mappings("metadata", "ownerReferences") if o.get("controller") is True), {})
    kind, name = str(owner.get("kind") or ""), str(owner.get("name") or "")
    if kind == "ReplicaSet" and (short := _hash.sub("", name)) != name:
        return Ref("Deployment", pod.namespace, short, "apps/v1")
    return Ref(kind, pod.namespace, name, str(owner.get("apiVersion") or "v1")) if kind and name else pod.ref


@lru_cache(4)
def _by_workload(snapshot: Snapshot) -> Mapping[str, tuple[Object, ...]]:
    """The pods of all namespaces by the name of their workload."""
    found: dict[str, list[Object]] = {}
    for p in snapshot.all("Pod"):
        found.setdefault(workload_of(snapshot, p).name, []).append(p)
    return {k: tuple(v) for k, v in found.items()}


def pods_of(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The pods that are asked about: the one that is named, those of the workload, or of the namespace; of nothing named all."""
    if about.pod and about.namespace:
        pod = snapshot.get("Pod", about.namespace, about.pod)
        if pod is not None:
            return (pod,)
    if about.workload:
        some = _by_workload(snapshot).get(about.workload, ())
        return tuple(p for p in some if about.namespace in ("", p.namespace))
    some = snapshot.all("Pod", about.namespace or None)
    return tuple(p for p in some if p.name == about.pod) if about.pod else some


def clients_of(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The pods of the client that a finding names; empty when it names none."""
    namespace, _, name = about.source.rpartition("/")
    if not name:
        return ()
    return tuple(p for p in _by_workload(snapshot).get(name, ()) if namespace in ("", p.namespace))


RESTARTABLE: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
"""Kinds that `kubectl rollout restart` knows."""


def by_workload(snapshot: Snapshot, pods: Iterable[Object]) -> Mapping[Ref, tuple[Object, ...]]:
    """Pods by the workload they belong to, in order."""
    found: dict[Ref, list[Object]] = {}
    for p in pods:
        found.setdefault(workload_of(snapshot, p), []).append(p)
    return {ref: tuple(some) for ref, some in sorted(found.items())}


def account_of(pod: Object) -> str:
    """The name of its service account."""
    return pod.text("spec", "serviceAccountName") or "default"
