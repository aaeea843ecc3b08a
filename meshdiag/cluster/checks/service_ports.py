"""Do the ports of a service lead to ports of its pods, and does their declared protocol fit what is behind them?

How Istio reads the protocol of a port (appProtocol, else the name up to the first `-`): ConvertProtocol in istio/istio,
pkg/config/kube/conversion.go, and https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/. A
`containerPort` opens nothing (https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#ports), so that a
numeric targetPort that no container declares is a contradiction of the objects and not yet a proof that nothing listens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from meshdiag.cluster.mesh import (
    PROXY,
    containers,
    is_gateway,
    is_system,
    names,
    pods_behind,
    port_of,
    proxy,
    services_of,
    workload_of,
)
from meshdiag.cluster.objects import Object, at, mapping, mappings
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.model import Severity

REFUSED = "upstream-connection-refused"
UNHEALTHY = "no-healthy-upstream"
MISMATCH = "protocol-mismatch"
UNKNOWN = ("egress-passthrough-failed", "egress-blocked")

HTTP: Final = frozenset({"http", "http2", "grpc", "grpc-web"})
TLS: Final = frozenset({"https", "tls"})
PROTOCOLS: Final = HTTP | TLS | {"tcp", "udp", "mongo", "mysql", "redis", "hbone", "double_hbone"}

_APP: Final = {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http", "kubernetes.io/wss": "https"}
_NO_HTTP: Final = {
    "mysql": 3306, "mariadb": 3306, "postgres": 5432, "postgresql": 5432, "redis": 6379, "valkey": 6379, "memcached": 11211,
    "mongo": 27017, "mongodb": 27017, "kafka": 9092, "rabbitmq": 5672, "zookeeper": 2181, "cassandra": 9042,
}  # fmt: skip
"""Servers that speak no HTTP on this port, by the last part of their image's name."""
_TCP_BY_DEFAULT: Final = frozenset({25, 53, 3306, 27017})
"""Ports without a protocol that Istio takes for TCP instead of looking into the bytes."""


def protocol(port: Mapping[str, Any]) -> str:
    """The protocol of a service's port as Istio takes it, "" when it is found out from the bytes."""
    if port.get("protocol") in ("UDP", "SCTP"):
        return str(port["protocol"]).lower()
    said = port.get("appProtocol") if isinstance(port.get("appProtocol"), str) else port.get("name")
    name = _APP.get(str(said), str(said or "")).lower()
    name = "grpc-web" if name.startswith("grpc-web") else name.partition("-")[0]
    return name if name in PROTOCOLS else "tcp" if port.get("port") in _TCP_BY_DEFAULT else ""


@dataclass(frozen=True, slots=True)
class _Port:
    """A port of a service with its index in spec.ports; `target` is a number or a name."""

    index: int
    raw: Mapping[str, Any]
    number: int
    target: int | str

    @property
    def label(self) -> str:
        name = self.raw.get("name")
        return f"{self.number} ({name})" if isinstance(name, str) and name else str(self.number)


def _ports(service: Object) -> tuple[_Port, ...]:
    out = []
    for i, p in enumerate(service.mappings("spec", "ports")):
        number, target = p.get("port"), p.get("targetPort")
        if isinstance(number, int):
            known = target if isinstance(target, int | str) and target else number
            out.append(_Port(i, p, number, int(known) if isinstance(known, str) and known.isdecimal() else known))
    return tuple(out)


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the service that was called, or of all services of applications."""
    asked = bool(about)
    services = [s for s in services_of(snapshot, about) if asked or not is_system(snapshot, s.namespace)]
    fine, unnamed = 0, []
    for service in services:
        if service.text("spec", "type") == "ExternalName":
            continue
        ports = _ports(service)
        wanted = _wanted(snapshot, service, ports, about)
        if port_of(about) is not None and not wanted:
            if about.host or about.service:
                yield _missing(service, ports, about)
            continue
        found = [r for p in wanted for r in _of(snapshot, service, p)]
        yield from found
        fine += not found
        unnamed += [f"{service.name}:{p.number}" for p in wanted if not protocol(p.raw)]
        if asked and not found and (about.host or about.service or about.workload):
            yield _fits(service, wanted)
    if not asked:
        yield from _shared(services)
    if unnamed and not asked:
        yield CHECK.bad(
            f"{len(unnamed)} ports say no protocol, so that Istio looks into the first bytes: {names(unnamed)}",
            severity=Severity.INFO,
            advice="Name ports PROTOCOL or PROTOCOL-SUFFIX (http-web, grpc, tcp-db), or set appProtocol",
        )
    if not asked and fine:
        yield CHECK.good(f"the ports of {fine} services fit their pods")


def _wanted(snapshot: Snapshot, service: Object, ports: tuple[_Port, ...], about: About) -> tuple[_Port, ...]:
    """The ports that are asked about; an inbound cluster has the port of the pod."""
    number = port_of(about)
    if number is None:
        return ports
    some = tuple(p for p in ports if p.number == number)
    if some:
        return some
    inside = pods_behind(snapshot, service)[:1]
    return tuple(p for p in ports if p.target == number or any(_target(pod, p.target) == number for pod in inside))


def _missing(service: Object, ports: tuple[_Port, ...], about: About) -> Result:
    return CHECK.bad(
        f"service {service.name} has no port {about.port}; it has {names([p.label for p in ports]) or 'none'}",
        *UNKNOWN,
        about=service,
        proofs=(Proof(service.ref, "spec.ports", json.dumps([p.number for p in ports])),),
        advice="Call a port that the service has, or add this one to it",
    )


def _fits(service: Object, ports: Iterable[_Port]) -> Result:
    said = [f"{p.label} to {p.target}" for p in ports]
    return CHECK.good(f"the ports of service {service.name} fit its pods: {names(said)}", about=service)


def _of(snapshot: Snapshot, service: Object, port: _Port) -> Iterator[Result]:
    pods = pods_behind(snapshot, service)
    if not pods or port.raw.get("protocol") in ("UDP", "SCTP"):
        return
    named = {_target(pod, port.target) for pod in pods}
    if isinstance(port.target, str):
        if named == {None}:
            yield _no_such_name(service, port, pods)
            return
    elif not is_gateway(pods[0]) and not any(port.target in _numbers(p) for p in pods):
        declared = sorted({n for p in pods for n in _numbers(p)})
        if declared and all(_numbers(p) for p in pods) and not _probes(pods[0], port.target):
            yield _other_number(snapshot, service, port, pods, declared)
            return
    number = next((n for n in named if n is not None), None)
    if number is not None:
        yield from _protocol(service, port, pods[0], number)


def _declared(pod: Object) -> tuple[Mapping[str, Any], ...]:
    """The ports that the containers of the application declare."""
    return tuple(p for c in containers(pod) if c.get("name") != PROXY for p in mappings(c.get("ports")))


def _numbers(pod: Object) -> frozenset[int]:
    return frozenset(n for p in _declared(pod) if isinstance(n := p.get("containerPort"), int))


def _target(pod: Object, target: int | str) -> int | None:
    """The number of a targetPort in a pod; None for a name that no container has."""
    if isinstance(target, int):
        return target
    ports = (p for c in containers(pod) for p in mappings(c.get("ports")) if p.get("name") == target)
    return next((n for p in ports if isinstance(n := p.get("containerPort"), int)), None)


def _retarget(service: Object, port: _Port, to: int) -> Edit:
    ports = [dict(p) for p in service.mappings("spec", "ports")]
    ports[port.index]["targetPort"] = to
    return Edit(
        service.ref,
        f"Let port {port.number} of service {service.name} lead to port {to}",
        {"spec": {"ports": ports}},
        f"{to} is the only port that its pods declare",
    )


def _mend(service: Object, port: _Port, declared: Iterable[int]) -> tuple[Edit, ...]:
    """Only where one port of the service meets one port of the pods is there nothing to choose."""
    some = sorted(set(declared))
    sure = len(some) == 1 and len(service.mappings("spec", "ports")) == 1 == len(_list(service.at("spec", "ports")))
    return (_retarget(service, port, some[0]),) if sure else ()


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _no_such_name(service: Object, port: _Port, pods: tuple[Object, ...]) -> Result:
    has = [f"{p.get('name') or '(no name)'} {p.get('containerPort')}" for p in _declared(pods[0])]
    return CHECK.bad(
        f"port {port.label} of service {service.name} leads to a port named {port.target}, which no container of its "
        f"{len(pods)} pods has, so that it has no endpoint",
        UNHEALTHY,
        about=service,
        proofs=(
            Proof(service.ref, f"spec.ports[{port.index}].targetPort", str(port.target)),
            Proof(pods[0].ref, "spec.containers[*].ports", names(has) or "none"),
        ),
        advice="Give the container's port this name, or let targetPort have its name or number",
        edits=_mend(service, port, (n for p in pods for n in _numbers(p))),
    )


def _other_number(
    snapshot: Snapshot, service: Object, port: _Port, pods: tuple[Object, ...], declared: list[int]
) -> Result:
    return CHECK.bad(
        f"port {port.label} of service {service.name} leads to port {port.target}, and the containers of "
        f"{workload_of(snapshot, pods[0]).name} declare {names(map(str, declared))} only",
        REFUSED,
        about=service,
        severity=Severity.WARNING,
        proofs=(
            Proof(service.ref, f"spec.ports[{port.index}].targetPort", str(port.target)),
            Proof(pods[0].ref, "spec.containers[*].ports[*].containerPort", names(map(str, declared))),
        ),
        advice="Set targetPort to the port on which the application listens",
        edits=_mend(service, port, declared),
    )


def _protocol(service: Object, port: _Port, pod: Object, number: int) -> Iterator[Result]:
    """What the pod itself says of this port, where it contradicts what the service says."""
    declared = protocol(port.raw)
    field = "appProtocol" if isinstance(port.raw.get("appProtocol"), str) else "name"
    said = Proof(service.ref, f"spec.ports[{port.index}].{field}", str(port.raw.get(field) or "(none)"))
    for behind, proof in _behind(pod, number):
        wrong = (
            (declared in HTTP and behind in TLS | {"tcp", "mysql", "redis", "mongo"})
            or (declared in TLS and behind in HTTP)
            or (declared == "http" and behind == "grpc")
        )
        if wrong:
            yield CHECK.bad(
                f"port {port.label} of service {service.name} is {declared} for Istio, and what listens on {number} speaks "
                f"{behind}",
                MISMATCH,
                about=service,
                proofs=(said, proof),
                advice=f"Set appProtocol of this port to {behind}, or name it {behind} or {behind}-SUFFIX",
                edits=() if proof.field.endswith(".name") else (_declare(service, port, behind),),
            )
            return


def _declare(service: Object, port: _Port, behind: str) -> Edit:
    ports = [dict(p) for p in service.mappings("spec", "ports")]
    ports[port.index]["appProtocol"] = behind
    return Edit(
        service.ref, f"Declare port {port.number} of service {service.name} as {behind}", {"spec": {"ports": ports}},
        "appProtocol goes before the port's name",
    )  # fmt: skip


def _behind(pod: Object, number: int) -> Iterator[tuple[str, Proof]]:
    """What the pod says that listens there: its probes, the server that its image is, the name of the port."""
    yield from _probes(pod, number)
    for kind in ("initContainers", "containers"):
        for i, c in enumerate(mappings(pod.at("spec", kind))):
            image = str(c.get("image") or "")
            name = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
            if _NO_HTTP.get(name) == number:
                speaks = name if name in PROTOCOLS else "tcp"
                yield speaks, Proof(pod.ref, f"spec.{kind}[{i}].image", image)
            for j, p in enumerate(mappings(c.get("ports"))):
                label = p.get("name")
                if p.get("containerPort") == number and isinstance(label, str) and p.get("protocol") != "UDP":
                    by_name = protocol({"name": label})
                    if by_name in TLS | {"mysql", "redis", "mongo", "grpc"}:
                        yield by_name, Proof(pod.ref, f"spec.{kind}[{i}].ports[{j}].name", label)


def _probes(pod: Object, number: int) -> list[tuple[str, Proof]]:
    """The protocols that probes of a port use; a sidecar's injector moves them to the proxy's environment (ISTIO_KUBE_APP_PROBERS)."""
    out = []
    for i, c in enumerate(pod.mappings("spec", "containers")):
        for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
            spoken = _spoken(mapping(c.get(kind)), pod, number)
            if spoken and c.get("name") != PROXY:
                out.append((spoken, Proof(pod.ref, f"spec.containers[{i}].{kind}", f"{spoken} on {number}")))
    if own := proxy(pod):
        for e in mappings(own.get("env")):
            if e.get("name") == "ISTIO_KUBE_APP_PROBERS" and isinstance(e.get("value"), str):
                for path, probe in _moved(str(e["value"])).items():
                    if spoken := _spoken(mapping(probe), pod, number):
                        out.append(
                            (spoken, Proof(pod.ref, f"ISTIO_KUBE_APP_PROBERS of {path}", f"{spoken} on {number}"))
                        )
    return out


@lru_cache(256)
def _moved(text: str) -> Mapping[str, Any]:
    try:
        return mapping(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def _spoken(probe: Mapping[str, Any], pod: Object, number: int) -> str:
    http, grpc = mapping(probe.get("httpGet")), mapping(probe.get("grpc"))
    port = http.get("port")
    if http and isinstance(port, int | str) and _target(pod, port) == number:
        return "https" if http.get("scheme") == "HTTPS" else "http"
    return "grpc" if grpc and at(grpc, "port") == number else ""


def _shared(services: Iterable[Object]) -> Iterator[Result]:
    """One port of a pod with two protocols, through two services (https://istio.io/latest/docs/ops/deployment/application-requirements/)."""
    seen: dict[tuple[str, str, int | str], tuple[Object, _Port]] = {}
    for service in services:
        selector = service.strings("spec", "selector")
        if not selector:
            continue
        for port in _ports(service):
            key = service.namespace, json.dumps(selector, sort_keys=True), port.target
            other = seen.setdefault(key, (service, port))
            one, two = protocol(other[1].raw), protocol(port.raw)
            if one and two and (one in HTTP) != (two in HTTP) and "udp" not in (one, two):
                yield CHECK.bad(
                    f"port {port.target} of the same pods is {one} for service {other[0].name} and {two} for {service.name}",
                    MISMATCH,
                    about=service,
                    severity=Severity.WARNING,
                    proofs=tuple(
                        Proof(s.ref, f"spec.ports[{p.index}]", f"{p.label} to {p.target}")
                        for s, p in (other, (service, port))
                    ),
                    advice="Give both the protocol that the application speaks",
                )


CHECK = Check(
    "service-ports", "Do service ports lead to the pods' ports, with the right protocol?", ("Service", "Pod"), run
)
