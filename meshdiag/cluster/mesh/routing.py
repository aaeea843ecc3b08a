"""Hosts, rules and routes: what Istio's registry has for a host, which rule holds for it, where a VirtualService leads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from meshdiag.cluster.mesh.meant import proxies_of
from meshdiag.cluster.mesh.planes import root_namespace
from meshdiag.cluster.mesh.pods import is_gateway
from meshdiag.cluster.mesh.selectors import selects
from meshdiag.cluster.mesh.services import covers, full_host, host_of, service_at
from meshdiag.cluster.objects import Object, at, mappings
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About

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
