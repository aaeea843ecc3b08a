"""What several checks ask of a snapshot: which pods stand behind a service, who has a proxy, which policies select a pod, ….

The rules are Istio's (1.20 to 1.31) and Kubernetes'; each says where it is written down.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import yaml

from meshdiag.cluster.objects import Object, Ref, at, mapping, mappings, texts
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About
from meshdiag.lazyre import lazy

PROXY: Final = "istio-proxy"
SYSTEM: Final = "istio-system"
DOMAIN: Final = "cluster.local"
MANAGED_BY_CLUSTER: Final = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""Namespaces that injection leaves alone."""

_image_tag = lazy(r":v?(\d+\.\d+(?:\.\d+)?(?:-[a-z][a-z0-9.]*)?)(?:-distroless|-debug)?(?:@|$)")
_hash = lazy(r"-[a-z0-9]{1,10}$")

# --- pods ---------------------------------------------------------------------------------------------------------


def containers(pod: Object) -> tuple[Mapping[str, Any], ...]:
    """The containers of a pod, those that are started first and go on (native sidecars) included."""
    native = [c for c in pod.mappings("spec", "initContainers") if c.get("restartPolicy") == "Always"]
    return (*native, *pod.mappings("spec", "containers"))


def proxy(pod: Object) -> Mapping[str, Any] | None:
    """The container istio-proxy of a pod."""
    return next((c for c in containers(pod) if c.get("name") == PROXY), None)


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


def pods_of(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The pods that are asked about: the one that is named, those of the workload, or of the namespace; of nothing named all."""
    if about.pod and about.namespace:
        pod = snapshot.get("Pod", about.namespace, about.pod)
        if pod is not None:
            return (pod,)
    some = snapshot.all("Pod", about.namespace or None)
    if about.workload:
        return tuple(p for p in some if workload_of(snapshot, p).name == about.workload)
    return tuple(p for p in some if p.name == about.pod) if about.pod else some


def clients_of(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The pods of the client that a finding names; empty when it names none."""
    namespace, _, name = about.source.rpartition("/")
    if not name:
        return ()
    some = snapshot.all("Pod", namespace or None)
    return tuple(p for p in some if workload_of(snapshot, p).name == name)


# --- services -----------------------------------------------------------------------------------------------------


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether labels have all that a plain selector asks for; an empty one selects all."""
    return all(labels.get(k) == v for k, v in selector.items())


def label_selector(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector (matchLabels, matchExpressions) selects these labels; an empty one selects all."""
    for e in mappings(selector.get("matchExpressions")):
        key, values = str(e.get("key")), texts(e.get("values"))
        holds = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }.get(str(e.get("operator")), False)
        if not holds:
            return False
    return all(labels.get(k) == v for k, v in mapping(selector.get("matchLabels")).items())


def service_at(snapshot: Snapshot, host: str, namespace: str = "") -> Object | None:
    """The service of a host as Istio reads it; of `reviews` the one in `namespace`."""
    name, _, rest = host.partition(".")
    space, _, domain = rest.partition(".")
    if domain and domain != "svc" and not domain.startswith("svc."):
        return None
    return snapshot.get("Service", space or namespace, name)


def full_host(host: str, namespace: str) -> str:
    """A short name as Istio expands it: with the namespace of the object that says it."""
    return host if "." in host or host.startswith("*") else f"{host}.{namespace}.svc.{DOMAIN}"


def host_of(service: Object) -> str:
    """Its full name."""
    return f"{service.name}.{service.namespace}.svc.{DOMAIN}"


def covers(pattern: str, host: str) -> bool:
    """Whether a host or wildcard (`*`, `*.example.com`) of Istio's configuration covers a host."""
    return pattern == host or pattern == "*" or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def services_of(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The services that are asked about: the one that was called, else those before the workload's pods, else all of the namespace(s)."""
    host = about.host or about.service
    if host:
        space = about.service_namespace or about.namespace
        service = service_at(snapshot, host, space)
        return (service,) if service else ()
    if about.workload or about.pod:
        pods = pods_of(snapshot, about)
        return tuple(
            s
            for s in snapshot.all("Service", about.namespace or None)
            if (wanted := s.strings("spec", "selector"))
            and any(p.namespace == s.namespace and selects(wanted, p.labels) for p in pods)
        )
    return snapshot.all("Service", about.namespace or None)


def pods_behind(snapshot: Snapshot, service: Object) -> tuple[Object, ...]:
    """The pods that its selector selects and that are not over; none for a service without a selector."""
    selector = service.strings("spec", "selector")
    if not selector:
        return ()
    return tuple(p for p in snapshot.all("Pod", service.namespace) if selects(selector, p.labels) and not is_over(p))


def endpoints_of(snapshot: Snapshot, service: Object) -> tuple[Mapping[str, Any], ...]:
    """The endpoints of its EndpointSlices."""
    return tuple(
        e
        for s in snapshot.all("EndpointSlice", service.namespace)
        if s.labels.get("kubernetes.io/service-name") == service.name
        for e in s.mappings("endpoints")
    )


def is_system(snapshot: Snapshot, namespace: str) -> bool:
    """Whether a namespace is Kubernetes' own or Istio's, in which applications do not live."""
    return namespace in MANAGED_BY_CLUSTER or namespace in {c.namespace for c in control_planes(snapshot)}


# --- the control plane --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """An istiod: its Deployment (None where only its pods are known), revision ("" is `default`), version ("" when not known)."""

    namespace: str
    revision: str
    version: str
    deployment: Object | None
    pods: tuple[Object, ...]


def version_of(image: str) -> str:
    """`1.28.1` of `docker.io/istio/proxyv2:1.28.1-distroless`; "" of a digest or another tag."""
    found = _image_tag.search(image)
    return found[1] if found else ""


@lru_cache(4)
def control_planes(snapshot: Snapshot) -> tuple[ControlPlane, ...]:
    """Every istiod (Deployments and pods labelled `app: istiod`)."""
    found: dict[tuple[str, str], tuple[list[Object], list[Object]]] = {}
    for o in (*snapshot.all("Deployment"), *snapshot.all("Pod")):
        if o.labels.get("app") != "istiod":
            continue
        if o.ref.kind == "Pod" and is_over(o):
            continue
        deployments, pods = found.setdefault((o.namespace, o.labels.get("istio.io/rev", "default")), ([], []))
        (deployments if o.ref.kind == "Deployment" else pods).append(o)
    planes = []
    for (namespace, revision), (deployments, pods) in sorted(found.items()):
        images = [
            str(c.get("image", ""))
            for o in (*deployments, *pods)
            for c in mappings(at(o.raw, *(("spec", "template") if o in deployments else ()), "spec", "containers"))
        ]
        version = next((v for i in images if (v := version_of(i))), "")
        planes.append(
            ControlPlane(
                namespace,
                "" if revision == "default" else revision,
                version,
                next(iter(deployments), None),
                tuple(pods),
            )
        )
    return tuple(planes)


def system_namespace(snapshot: Snapshot) -> str:
    """Where istiod runs: `istio-system` unless the snapshot says otherwise."""
    return next((c.namespace for c in control_planes(snapshot)), SYSTEM)


def mesh_config(snapshot: Snapshot, revision: str = "") -> tuple[Object | None, Mapping[str, Any]]:
    """The ConfigMap `istio` (or `istio-REVISION`) and the mesh configuration in it (`data.mesh`); (None, {}) when it is not there.

    Values that are not set are Istio's defaults and not in it.
    """
    name = f"istio-{revision}" if revision else "istio"
    source = snapshot.get("ConfigMap", system_namespace(snapshot), name)
    if source is None and not revision:
        source = next((o for o in snapshot.all("ConfigMap") if o.name == "istio" and o.text("data", "mesh")), None)
    if source is None:
        return None, {}
    return source, _yaml(source.text("data", "mesh"))


@lru_cache(64)
def _yaml(text: str) -> Mapping[str, Any]:
    try:
        return mapping(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))  # noqa: S506  safe
    except yaml.YAMLError:
        return {}


@lru_cache(4)
def root_namespace(snapshot: Snapshot) -> str:
    """The namespace whose policies hold for the whole mesh (`rootNamespace` of the mesh configuration, else istiod's)."""
    _, config = mesh_config(snapshot)
    root = config.get("rootNamespace")
    return root if isinstance(root, str) and root else system_namespace(snapshot)


# --- policies -----------------------------------------------------------------------------------------------------


def policies_on(snapshot: Snapshot, kind: str, pod: Object) -> tuple[Object, ...]:
    """The PeerAuthentications, RequestAuthentications or AuthorizationPolicies (by kind) that select a pod.

    Those of its namespace and of the root namespace, without a selector or with one that selects it; one with targetRefs is for
    gateways, waypoints and services, and is not told here (https://istio.io/latest/docs/reference/config/security/).
    """
    spaces = dict.fromkeys((pod.namespace, root_namespace(snapshot)))
    return tuple(
        p
        for space in spaces
        for p in snapshot.all(kind, space)
        if not p.at("spec", "targetRefs")
        and not p.at("spec", "targetRef")
        and selects(p.strings("spec", "selector", "matchLabels"), pod.labels)
    )


def names(some: Iterable[Object | Ref | str], most: int = 3) -> str:
    """`a, b, c and 4 more`, for a sentence."""
    every = [s if isinstance(s, str) else s.name for s in some]
    more = len(every) - most
    return ", ".join(every[:most]) + (f" and {more} more" if more > 0 else "")
