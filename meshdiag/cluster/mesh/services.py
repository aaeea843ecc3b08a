"""Services: by which host they are called, which pods and endpoints stand behind them, which ports they have."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from meshdiag.cluster.mesh.pods import containers, pods_of
from meshdiag.cluster.mesh.selectors import pods_with, selects
from meshdiag.cluster.objects import Object, mappings
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About

DOMAIN: Final = "cluster.local"


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


def port_of(about: About) -> int | None:
    """The port that is asked about."""
    return int(about.port) if about.port.isdecimal() else None


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
