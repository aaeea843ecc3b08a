"""What several checks ask of a snapshot: which pods stand behind a service, who has a proxy, which policies select a pod, ….

The rules are Istio's (1.20 to 1.31) and Kubernetes'; each says where it is written down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import yaml

from meshdiag.cluster.objects import RESOURCES, Object, Ref, at, mapping, mappings, moment, texts
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Result
from meshdiag.lazyre import lazy
from meshdiag.remedies.names import normal

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
    return pods_with(snapshot, service.strings("spec", "selector"), service.namespace)


@lru_cache(4)
def _labelled(snapshot: Snapshot) -> Mapping[tuple[str, str], tuple[Object, ...]]:
    """The pods that are not over by each of their labels."""
    found: dict[tuple[str, str], list[Object]] = {}
    for p in snapshot.all("Pod"):
        if not is_over(p):
            for pair in p.labels.items():
                found.setdefault(pair, []).append(p)
    return {k: tuple(v) for k, v in found.items()}


def pods_with(snapshot: Snapshot, labels: Mapping[str, str], namespace: str | None = None) -> tuple[Object, ...]:
    """The pods with all these labels that are not over, of one namespace or all; none for no labels."""
    if not labels:
        return ()
    some = min((_labelled(snapshot).get(pair, ()) for pair in labels.items()), key=len)
    return tuple(p for p in some if namespace in (None, p.namespace) and selects(labels, p.labels))


def endpoints_of(snapshot: Snapshot, service: Object) -> tuple[Mapping[str, Any], ...]:
    """The endpoints of its EndpointSlices."""
    return tuple(e for s in slices_of(snapshot, service) for e in s.mappings("endpoints"))


@lru_cache(4)
def _slices(snapshot: Snapshot) -> Mapping[tuple[str, str], tuple[Object, ...]]:
    found: dict[tuple[str, str], list[Object]] = {}
    for s in snapshot.all("EndpointSlice"):
        found.setdefault((s.namespace, s.labels.get("kubernetes.io/service-name", "")), []).append(s)
    return {k: tuple(v) for k, v in found.items()}


def slices_of(snapshot: Snapshot, service: Object) -> tuple[Object, ...]:
    """Its EndpointSlices."""
    return _slices(snapshot).get((service.namespace, service.name), ())


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
    some = _policies_of(snapshot, kind, pod.namespace)
    if not some:
        return ()
    labels = pod.labels
    return tuple(p for p, selector in some if selects(selector, labels))


@lru_cache(4)
def _policy_memo(snapshot: Snapshot) -> dict[tuple[str, str], tuple[tuple[Object, Mapping[str, str]], ...]]:
    return {}


def _policies_of(snapshot: Snapshot, kind: str, namespace: str) -> tuple[tuple[Object, Mapping[str, str]], ...]:
    """The policies that may select a pod of a namespace, each with its selector; found once for each namespace."""
    memo = _policy_memo(snapshot)
    if (kind, namespace) not in memo:
        memo[kind, namespace] = tuple(
            (p, p.strings("spec", "selector", "matchLabels"))
            for space in dict.fromkeys((namespace, root_namespace(snapshot)))
            for p in snapshot.all(kind, space)
            if not p.at("spec", "targetRefs") and not p.at("spec", "targetRef")
        )
    return memo[kind, namespace]


def names(some: Iterable[Object | Ref | str], most: int = 3) -> str:
    """`a, b, c and 4 more`, for a sentence."""
    every = [s if isinstance(s, str) else s.name for s in some]
    more = len(every) - most
    return ", ".join(every[:most]) + (f" and {more} more" if more > 0 else "")


@lru_cache(4)
def _selecting(snapshot: Snapshot) -> Mapping[tuple[str, str, str], tuple[tuple[Mapping[str, str], Object], ...]]:
    """Services with their selectors, by namespace and one label that they ask for."""
    found: dict[tuple[str, str, str], list[tuple[Mapping[str, str], Object]]] = {}
    for s in snapshot.all("Service"):
        selector = s.strings("spec", "selector")
        for pair in sorted(selector.items())[:1]:
            found.setdefault((s.namespace, *pair), []).append((selector, s))
    return {k: tuple(v) for k, v in found.items()}


def services_before(snapshot: Snapshot, pod: Object) -> tuple[Object, ...]:
    """The services whose selector selects a pod."""
    labels = pod.labels
    some = (c for pair in labels.items() for c in _selecting(snapshot).get((pod.namespace, *pair), ()))
    return tuple(service for selector, service in some if selects(selector, labels))


# --- hosts, rules and routes ---------------------------------------------------------------------------------------

PREDEFINED: Final = "mesh"
"""The gateway that stands for all sidecars in `gateways` of a VirtualService."""


def exported(o: Object, namespace: str) -> bool:
    """Whether `exportTo` of a Service (annotation), ServiceEntry, VirtualService or DestinationRule lets a namespace see it.

    Nothing is `*`, unless the mesh configuration says otherwise; of an unknown namespace ("") it is taken to see it.
    (https://istio.io/latest/docs/reference/config/networking/virtual-service/, field export_to)
    """
    said = o.annotations.get("networking.istio.io/exportTo", "") if o.ref.kind == "Service" else ""
    to = [t.strip() for t in said.split(",") if t.strip()] or o.texts("spec", "exportTo")
    return not to or not namespace or "*" in to or namespace in to or ("." in to and o.namespace == namespace)


@lru_cache(4)
def _entries(snapshot: Snapshot) -> tuple[Mapping[str, tuple[Object, ...]], tuple[tuple[str, Object], ...]]:
    """ServiceEntries by their exact hosts, and the wildcard ones."""
    exact: dict[str, list[Object]] = {}
    wild = []
    for e in snapshot.all("ServiceEntry"):
        for host in e.texts("spec", "hosts"):
            if host.startswith("*"):
                wild.append((host, e))
            else:
                exact.setdefault(host, []).append(e)
    return {k: tuple(v) for k, v in exact.items()}, tuple(wild)


def entries_of(snapshot: Snapshot, host: str) -> tuple[Object, ...]:
    """The ServiceEntries that name a host, exactly or with a wildcard."""
    exact, wild = _entries(snapshot)
    return (*exact.get(host, ()), *(e for pattern, e in wild if covers(pattern, host) and host != pattern))


def registered(snapshot: Snapshot, host: str, namespace: str = "") -> tuple[Object, ...]:
    """What Istio's registry has for a host: the Service (of a short name that of `namespace`) and the ServiceEntries.

    A wildcard is what a Service or ServiceEntry that it covers makes of it.
    """
    full = full_host(host, namespace)
    if full.startswith("*"):
        exact, wild = _entries(snapshot)
        services = (s for s in snapshot.all("Service") if covers(full, host_of(s)))
        entries = (e for name, some in exact.items() if covers(full, name) for e in some)
        return (*services, *entries, *(e for name, e in wild if covers(full, name) or covers(name, full)))
    service = service_at(snapshot, full, namespace)
    return ((service,) if service else ()) + entries_of(snapshot, full)


def maybe_elsewhere(snapshot: Snapshot, host: str, namespace: str = "") -> str:
    """Why a host for which nothing is registered here may exist all the same, in words; "" when it is missing for sure."""
    full = full_host(host, namespace)
    if why := unread(snapshot, "Service", "ServiceEntry"):
        return why
    if full.endswith(".clusterset.local"):
        return "other clusters of the set may have it"
    if snapshot.namespaces is not None:
        space = full.split(".")[1] if ".svc." in full else ""
        if space not in snapshot.namespaces:
            return f"namespace {space} was not read" if space else "only some namespaces were read"
    return "a remote cluster of the mesh may have it" if ".svc." in full and has_remotes(snapshot) else ""


def unread(snapshot: Snapshot, *kinds: str) -> str:
    """Why objects of these kinds may be missing here, as `Snapshot.lacks`; of a kind that is not installed there are none."""
    why = (snapshot.lacks(k) for k in kinds if snapshot.unread.get(k) != "not installed")
    return "; ".join(dict.fromkeys(filter(None, why)))


@lru_cache(4)
def has_remotes(snapshot: Snapshot) -> bool:
    """Whether istiod also watches other clusters (their secrets carry `istio/multiCluster: "true"`), where services may have pods."""
    return any(s.labels.get("istio/multiCluster") == "true" for s in snapshot.all("Secret"))


@lru_cache(4)
def _rules(snapshot: Snapshot) -> Mapping[tuple[str, str], tuple[Object, ...]]:
    """DestinationRules by namespace and full host."""
    found: dict[tuple[str, str], list[Object]] = {}
    for rule in snapshot.all("DestinationRule"):
        host = full_host(rule.text("spec", "host"), rule.namespace)
        found.setdefault((rule.namespace, host), []).append(rule)
    return {k: tuple(v) for k, v in found.items()}


def rules_for(snapshot: Snapshot, host: str, service_namespace: str, client_namespace: str) -> tuple[Object, ...]:
    """The DestinationRules that hold for calls of a client's namespace to a (full) host.

    The first namespace that has one counts: the client's, the service's, the root namespace; in it the most specific host. The
    rules of one host in one namespace are merged (istio/istio, pilot/pkg/model/push_context.go, destinationRule). Those with a
    workloadSelector are left out.
    """
    for space in dict.fromkeys(filter(None, (client_namespace, service_namespace, root_namespace(snapshot)))):
        for pattern in _patterns(host):
            some = tuple(
                r
                for r in _rules(snapshot).get((space, pattern), ())
                if (space == client_namespace or exported(r, client_namespace)) and not r.at("spec", "workloadSelector")
            )
            if some:
                return some
    return ()


def _patterns(host: str) -> Iterator[str]:
    """A host and the wildcards that cover it, the most specific first."""
    yield host
    parts = host.split(".")
    yield from (".".join(("*", *parts[i:])) for i in range(1, len(parts)))
    yield "*"


@lru_cache(4)
def all_rules(snapshot: Snapshot) -> Mapping[str, tuple[Object, ...]]:
    """DestinationRules of all namespaces by full host."""
    found: dict[str, list[Object]] = {}
    for (_, host), rules in _rules(snapshot).items():
        found.setdefault(host, []).extend(rules)
    return {k: tuple(v) for k, v in found.items()}


@dataclass(frozen=True, slots=True)
class Destination:
    """A destination that a VirtualService routes to: where it stands (`spec.http[0].route[0].destination`), its full host."""

    path: str
    host: str
    subset: str
    port: int | None


def destinations(service: Object) -> Iterator[Destination]:
    """All that a VirtualService names: of routes and mirrors."""
    for protocol in ("http", "tls", "tcp"):
        for i, route in enumerate(service.mappings("spec", protocol)):
            where = f"spec.{protocol}[{i}]"
            some = [(f"{where}.route[{j}].destination", r) for j, r in enumerate(mappings(route.get("route")))]
            some += [(f"{where}.mirrors[{j}].destination", r) for j, r in enumerate(mappings(route.get("mirrors")))]
            found = [(p, r.get("destination")) for p, r in some]
            for path, to in (*found, (f"{where}.mirror", route.get("mirror"))):
                host, subset, port = at(to, "host"), at(to, "subset"), at(to, "port", "number")
                if isinstance(host, str) and host:
                    yield Destination(
                        path,
                        full_host(host, service.namespace),
                        subset if isinstance(subset, str) else "",
                        port if isinstance(port, int) else None,
                    )


def gateways_named(service: Object) -> tuple[str, ...]:
    """`gateways` of a VirtualService as `mesh` or `namespace/name`; without any it is `mesh`."""
    said = service.texts("spec", "gateways") or (PREDEFINED,)
    return tuple(g if g == PREDEFINED or "/" in g else f"{service.namespace}/{g}" for g in said)


def gateways_at(snapshot: Snapshot, pod: Object) -> frozenset[str]:
    """The Gateways, as `namespace/name`, whose selector selects a pod (of any namespace)."""
    return frozenset(
        f"{g.namespace}/{g.name}" for g in snapshot.all("Gateway") if selects(g.strings("spec", "selector"), pod.labels)
    )


def virtual_services_at(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The VirtualServices of the proxies that are asked about: of a gateway's those bound to it, else those of sidecars."""
    pods = proxies_of(snapshot, about)
    every = snapshot.all("VirtualService")
    if pods and is_gateway(pods[0]):
        bound = gateways_at(snapshot, pods[0])
        return tuple(v for v in every if bound.intersection(gateways_named(v)))
    space = pods[0].namespace if pods else about.namespace
    return tuple(v for v in every if PREDEFINED in gateways_named(v) and exported(v, space))


def proxies_of(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The pods whose proxy wrote the finding's line: the named pod or workload, else the client; empty when none is known."""
    if about.pod or about.workload:
        return pods_of(snapshot, about) or clients_of(snapshot, about)
    return clients_of(snapshot, about)


def matches(one: str, other: str) -> bool:
    """Whether two hosts, each of which may be a wildcard, have a name in common."""
    return covers(one, other) or covers(other, one)


def parents(route: Object, kind: str = "Gateway") -> tuple[tuple[str, str], ...]:
    """Namespace and name of the parents of a kind that an HTTPRoute or GRPCRoute attaches to."""
    return tuple(
        (str(p.get("namespace") or route.namespace), str(p.get("name")))
        for p in route.mappings("spec", "parentRefs")
        if p.get("kind", "Gateway") == kind
    )


def api_routes(snapshot: Snapshot) -> tuple[Object, ...]:
    """The routes of the Gateway API."""
    return (*snapshot.all("HTTPRoute"), *snapshot.all("GRPCRoute"))


GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"
"""The label of the pods and the Service that istiod makes for a Gateway of the Gateway API."""


def is_of_object(about: About) -> bool:
    """Whether a finding names an object and nothing else: a line of istiod or of `istioctl analyze` about it."""
    return bool(about.name) and not (about.host or about.service or about.workload or about.pod or about.source)


def concerning(results: Iterable[Result], about: About) -> Iterator[Result]:
    """The results about the object that a finding names, or that cite it."""
    for r in results:
        refs = (r.about, *(p.ref for p in r.proofs))
        if any(ref and ref.name == about.name and about.namespace in ("", ref.namespace) for ref in refs):
            yield r


def port_of(about: About) -> int | None:
    """The port that is asked about."""
    return int(about.port) if about.port.isdecimal() else None


def client_namespace(about: About) -> str:
    """The namespace from which a call was made, "" when it is not known."""
    return about.source.rpartition("/")[0] or about.namespace


# --- the data plane: who is meant, and how containers fare ---------------------------------------------------------

RESTARTABLE: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
"""Kinds that `kubectl rollout restart` knows."""


def pods_meant(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The pods behind the service that was called, else those whose log has the finding (or its client)."""
    if about.host or about.service:
        return tuple(p for s in services_of(snapshot, about) for p in pods_behind(snapshot, s))
    return pods_of(snapshot, about)


def own_pods(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The pods whose log has the finding; all for the whole cluster; none when the finding names only what was called."""
    if about.pod or about.workload or about.namespace or not about:
        return pods_of(snapshot, about)
    return clients_of(snapshot, about)


@lru_cache(4)
def applications(snapshot: Snapshot) -> tuple[Object, ...]:
    """The pods of applications: not over, no gateway or waypoint, nothing of Kubernetes or Istio."""
    system = MANAGED_BY_CLUSTER | {c.namespace for c in control_planes(snapshot)}
    return tuple(p for p in snapshot.all("Pod") if p.namespace not in system and not is_over(p) and not is_gateway(p))


def by_workload(snapshot: Snapshot, pods: Iterable[Object]) -> Mapping[Ref, tuple[Object, ...]]:
    """Pods by the workload they belong to, in order."""
    found: dict[Ref, list[Object]] = {}
    for p in pods:
        found.setdefault(workload_of(snapshot, p), []).append(p)
    return {ref: tuple(some) for ref, some in sorted(found.items())}


@dataclass(frozen=True, slots=True)
class Container:
    """A container's status: `path` is where it stands (`status.containerStatuses[0]`)."""

    path: str
    name: str
    status: Mapping[str, Any]

    @property
    def waiting(self) -> str:
        """Why it waits: `CrashLoopBackOff`; "" when it does not."""
        reason = at(self.status, "state", "waiting", "reason")
        return reason if isinstance(reason, str) else ""

    @property
    def restarts(self) -> int:
        """How often it was started anew."""
        count = self.status.get("restartCount")
        return count if isinstance(count, int) and not isinstance(count, bool) else 0

    @property
    def ended(self) -> tuple[str, Mapping[str, Any]]:
        """How it ended last, with the field in which that stands; ("", {}) when it has not."""
        for field in ("state", "lastState"):
            if end := mapping(at(self.status, field, "terminated")):
                return f"{self.path}.{field}.terminated", end
        return "", {}

    @property
    def started(self) -> datetime | None:
        """Since when it runs; None when it does not."""
        return moment(str(at(self.status, "state", "running", "startedAt") or ""))

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return isinstance(at(self.status, "state", "running"), Mapping)

    @property
    def is_ready(self) -> bool:
        """Whether the kubelet counts it as ready."""
        return self.status.get("ready") is True


def containers_of(pod: Object) -> tuple[Container, ...]:
    """What the kubelet says of each container, init containers first."""
    return tuple(
        Container(f"status.{kind}[{i}]", name, mapping(s))
        for kind in ("initContainerStatuses", "containerStatuses")
        for i, s in enumerate(pod.at("status", kind) if isinstance(pod.at("status", kind), list) else [])
        if isinstance(name := at(s, "name"), str)
    )


def out_of_memory(container: Container) -> str:
    """The field that says that the kernel killed it for want of memory; "" when it did not."""
    path, end = container.ended
    return f"{path}.reason" if end.get("reason") == "OOMKilled" else ""


def revision_of(pod: Object) -> str:
    """The revision whose injector made a pod (label `istio.io/rev`); "" is `default`."""
    said = pod.labels.get("istio.io/rev", "")
    return "" if said == "default" else said


def planes_of(snapshot: Snapshot, about: About) -> tuple[ControlPlane, ...]:
    """The control planes that are asked about: the one whose log or name is meant, that of the proxy, else all."""
    planes = control_planes(snapshot)
    pods = own_pods(snapshot, about) if about else ()
    own = {p.ref for p in pods}
    if named := tuple(c for c in planes if own & {p.ref for p in c.pods}):
        return named
    revisions = {revision_of(p) for p in pods if proxy(p) is not None}
    return tuple(c for c in planes if c.revision in revisions) or planes


def several(number: int, what: str, many: str = "") -> str:
    """`1 pod`, `2 pods`, `2 proxies` (`many`), for a sentence."""
    return f"{number:,} {what if number == 1 else many or f'{what}s'}"


def told_once(found: Mapping[tuple[Ref, str], list[Result]]) -> Iterator[Result]:
    """Results about pods by workload and kind of fault: the first of each, with how many others are like it."""
    for (ref, _), results in found.items():
        first, more = results[0], len(results) - 1
        yield replace(first, text=f"{first.text} (and {several(more, 'other pod')} of {ref})") if more else first


# --- mTLS and identities -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mtls:
    """What a port of a pod accepts: STRICT, PERMISSIVE or DISABLE, and the policy and field that say so (None: Istio's default)."""

    mode: str
    policy: Object | None = None
    field: str = ""


_MODES: Final = frozenset({"STRICT", "PERMISSIVE", "DISABLE"})


def age(o: Object) -> tuple[str, str, str]:
    """Orders objects as Istio does: the oldest first, then by name and namespace."""
    return (o.text("metadata", "creationTimestamp"), o.name, o.namespace)


def mtls_of(snapshot: Snapshot, pod: Object, port: int | None = None) -> Mtls:
    """The mTLS mode of a pod, or of a port that its container listens on.

    Mesh, namespace, workload, port: the narrowest that is set counts, of one scope the oldest policy; ports only of a policy with a
    selector; a selector in the root namespace counts for nothing (ComposePeerAuthentication in istio/istio,
    pilot/pkg/security/authn/policy_applier.go).
    """
    root = root_namespace(snapshot)
    scopes: dict[str, Object] = {}
    for p in sorted(policies_on(snapshot, "PeerAuthentication", pod), key=age):
        chosen = bool(p.mapping("spec", "selector", "matchLabels"))
        if chosen and p.namespace == root:
            continue
        scopes.setdefault("workload" if chosen else "mesh" if p.namespace == root else "namespace", p)
    found = Mtls("PERMISSIVE")
    for scope in ("mesh", "namespace", "workload"):
        policy = scopes.get(scope)
        if policy is not None and (mode := policy.text("spec", "mtls", "mode")) in _MODES:
            found = Mtls(mode, policy, "spec.mtls.mode")
    own = scopes.get("workload")
    if own is not None and port is not None:
        mode = own.text("spec", "portLevelMtls", str(port), "mode")
        if mode in _MODES:
            return Mtls(mode, own, f"spec.portLevelMtls.{port}.mode")
    return found


def servers_of(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The pods that were called: those behind the service that a finding names, else those whose proxy wrote the line."""
    if about.host or about.service:
        services = services_of(snapshot, about)
        if services or not (about.workload or about.pod):
            return tuple(p for s in services for p in pods_behind(snapshot, s))
        return ()
    return tuple(p for p in pods_of(snapshot, about) if not is_over(p)) if about.workload or about.pod else ()


def callers_of(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The pods that called, as far as a finding tells: its source, else those whose proxy wrote a line about another host."""
    if about.source:
        return clients_of(snapshot, about)
    return pods_of(snapshot, about) if (about.host or about.service) and (about.workload or about.pod) else ()


def target_port(service: Object, pod: Object, port: int) -> int | None:
    """The port of the pod behind a port of the service; None for one that is not there."""
    entry = next((p for p in service.mappings("spec", "ports") if p.get("port") == port), None)
    if entry is None:
        return None
    target = entry.get("targetPort", port)
    if isinstance(target, str):
        ports = (p for c in containers(pod) for p in mappings(c.get("ports")) if p.get("name") == target)
        target = next((p.get("containerPort") for p in ports), None)
    return target if isinstance(target, int) and not isinstance(target, bool) else None


def port_called(snapshot: Snapshot, about: About, pod: Object) -> int | None:
    """The port of a pod that a finding speaks of: behind the service's port when a service was called; None when it is not known."""
    port = int(about.port) if about.port.isdecimal() else None
    if port is None or not (about.host or about.service):
        return port
    return next((t for s in services_of(snapshot, about) if (t := target_port(s, pod, port)) is not None), None)


def account_of(pod: Object) -> str:
    """The name of its service account."""
    return pod.text("spec", "serviceAccountName") or "default"


def trust_domains(snapshot: Snapshot) -> tuple[str, ...]:
    """The mesh's trust domain and its aliases (`trustDomain`, `trustDomainAliases` of the mesh configuration)."""
    _, config = mesh_config(snapshot)
    own = config.get("trustDomain")
    return (own if isinstance(own, str) and own else DOMAIN, *texts(config.get("trustDomainAliases")))


def selector_of(snapshot: Snapshot, pod: Object) -> Mapping[str, str]:
    """The labels by which its workload selects its pods; empty when it is not here."""
    owner = workload_of(snapshot, pod)
    workload = snapshot.get(owner.kind, owner.namespace, owner.name) if owner.kind in RESOURCES else None
    return workload.strings("spec", "selector", "matchLabels") if workload else {}


def logs_command(pod: Object, container: str = "", previous: bool = False) -> str:
    """The command that shows a container's log; "" when a name of it is none that Kubernetes would accept."""
    names_ = {"namespace": pod.namespace, "pod": pod.name, **({"container": container} if container else {})}
    if any(normal(k, v) != v for k, v in names_.items()):
        return ""
    where = f" -c {container}" if container else ""
    return f"kubectl -n {pod.namespace} logs {pod.name}{where}" + " --previous" * previous


@lru_cache(4)
def workloads(snapshot: Snapshot) -> Mapping[Ref, tuple[Object, ...]]:
    """The pods of applications by their workload; those of one have the same labels, service account and containers in most cases."""
    return by_workload(snapshot, applications(snapshot))
