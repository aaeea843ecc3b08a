"""Do gateways listen, on which ports and for which hosts, and is something bound to them?

Istio's Gateway: https://istio.io/latest/docs/reference/config/networking/gateway/; its selector selects pods of every namespace
(unless PILOT_SCOPE_GATEWAY_TO_NAMESPACE), and servers of several Gateways on the same pods are merged port by port, where a server
of another protocol loses (pilot/pkg/model/gateway.go, mergeGateways; the analyzers behind IST0101, IST0145 and IST0162). Gateway
API: what istiod wrote to the status, and https://gateway-api.sigs.k8s.io/api-types/referencegrant/.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshdiag.cluster.mesh import (
    GATEWAY_NAME,
    api_routes,
    concerning,
    full_host,
    gateways_at,
    gateways_named,
    is_gateway,
    is_of_object,
    matches,
    names,
    parents,
    pods_with,
    proxies_of,
    services_before,
    unread,
)
from meshdiag.cluster.objects import Object, Ref, at, mapping, mappings, texts
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.model import Risk, Severity

NO_ROUTE = "route-not-found"
NO_CHAIN = "filter-chain-not-found"
MISSING = "config-reference-missing"
CONFLICT = "config-conflict"
HANDSHAKE = "tls-handshake-failed"

_OWN_TLS: Final = frozenset({"SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"})
"""TLS modes in which the gateway shows a certificate of its own."""
_CERTIFICATE: Final = (
    "credentialName",
    "credentialNames",
    "tlsCertificates",
    "serverCertificate",
    "caCertCredentialName",
)


@dataclass(frozen=True, slots=True)
class _Server:
    """A server of a Gateway: its index, port, protocol, and hosts without their namespaces."""

    gateway: Object
    index: int
    raw: Mapping[str, Any]
    port: int
    protocol: str
    hosts: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"spec.servers[{self.index}]"

    @property
    def is_tls(self) -> bool:
        return self.protocol in ("HTTPS", "TLS")


def _servers(gateway: Object, host: str = "") -> Iterator[_Server]:
    """The servers of a Gateway, or those that may take a host."""
    for i, s in enumerate(gateway.mappings("spec", "servers")):
        number, protocol = at(s, "port", "number"), at(s, "port", "protocol")
        if isinstance(number, int):
            hosts = tuple(h.rpartition("/")[2] for h in texts(s.get("hosts")))
            if not host or any(matches(h, host) for h in hosts):
                yield _Server(gateway, i, s, number, str(protocol or "").upper(), hosts)


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the gateway that a finding names or whose proxy wrote it, else of all."""
    if is_of_object(about):
        yield from concerning(run(snapshot, About()), about)
        return
    gateways, api = snapshot.all("Gateway"), snapshot.all("KubernetesGateway")
    host = about.host if about and "." in about.host and ".svc." not in about.host else ""
    if about:
        pods = proxies_of(snapshot, about)
        if about.gateway:
            gateways = tuple(g for g in gateways if g.name == about.gateway)
            api = tuple(g for g in api if g.name == about.gateway)
        elif pods and is_gateway(pods[0]):
            bound = gateways_at(snapshot, pods[0])
            own = pods[0].namespace, pods[0].labels.get(GATEWAY_NAME, "")
            gateways = tuple(g for g in gateways if f"{g.namespace}/{g.name}" in bound)
            api = tuple(g for g in api if (g.namespace, g.name) == own)
        else:
            yield CHECK.unknown("it is not about a gateway that is here")
            return
    bound_to = _bound(snapshot)
    found = [r for g in gateways for r in _of(snapshot, g, host, bound_to)]
    found += _conflicts(gateways, host)
    found += [r for g in api for r in _of_api(snapshot, g)]
    if host and (gateways or api):
        found += _not_listened(gateways, api, host)
    yield from found
    if not found:
        if gateways or api:
            yield CHECK.good(f"{names((*gateways, *api))} listens, with routes")
        elif why := unread(snapshot, "Gateway", "KubernetesGateway"):
            yield CHECK.unknown(why)
        else:
            yield CHECK.good("there is no Gateway")


def _bound(snapshot: Snapshot) -> Mapping[str, tuple[str, ...]]:
    """Of each Gateway (`namespace/name`) the hosts of the VirtualServices that are bound to it."""
    found: dict[str, list[str]] = {}
    for v in snapshot.all("VirtualService"):
        for name in gateways_named(v):
            found.setdefault(name, []).extend(full_host(h, v.namespace) for h in v.texts("spec", "hosts"))
    for route in snapshot.all("HTTPRoute"):  # parents of Istio's own kind, too, though hardly used
        for space, name in parents(route):
            found.setdefault(f"{space}/{name}", []).extend(route.texts("spec", "hostnames") or ("*",))
    return {k: tuple(v) for k, v in found.items()}


def _of(snapshot: Snapshot, gateway: Object, host: str, bound: Mapping[str, tuple[str, ...]]) -> Iterator[Result]:
    selector = gateway.strings("spec", "selector")
    pods = pods_with(snapshot, selector)
    where = Proof(gateway.ref, "spec.selector", json.dumps(selector, sort_keys=True))
    if selector and not pods and not unread(snapshot, "Pod") and snapshot.namespaces is None:
        yield CHECK.bad(
            f"{gateway.ref} selects no pod: nothing listens for it",
            MISSING,
            about=gateway,
            proofs=(where,),
            advice="Let the selector have labels of the gateway's pods; kubectl get pods -A --show-labels shows them",
        )
        return
    for server in _servers(gateway, host):
        yield from _routes(snapshot, server, bound)
        yield from _tls(server)
    if pods:
        yield from _ports(snapshot, gateway, pods[0])


def _routes(snapshot: Snapshot, server: _Server, bound: Mapping[str, tuple[str, ...]]) -> Iterator[Result]:
    """A server to which no VirtualService of the same hosts is bound; a redirect to https needs none."""
    if unread(snapshot, "VirtualService") or snapshot.namespaces is not None:
        return
    gateway, tls = server.gateway, mapping(server.raw.get("tls"))
    hosts = bound.get(f"{gateway.namespace}/{gateway.name}", ())
    if tls.get("httpsRedirect") is True or tls.get("mode") == "AUTO_PASSTHROUGH":
        return
    if not server.hosts or any(matches(one, other) for one in server.hosts for other in hosts):
        return
    passes = server.is_tls and tls.get("mode", "PASSTHROUGH") == "PASSTHROUGH"
    yield CHECK.bad(
        f"no VirtualService is bound to {gateway.ref} for {names(server.hosts)} on port {server.port}"
        + (f"; those that are bound are for {names(hosts)}" if hosts else ""),
        NO_CHAIN if passes else NO_ROUTE,
        about=gateway,
        severity=Severity.WARNING,
        proofs=(Proof(gateway.ref, f"{server.path}.hosts", json.dumps(server.hosts)),),
        advice=f"Name {gateway.namespace}/{gateway.name} in gateways of the VirtualService, with a host that the server has",
    )


def _tls(server: _Server) -> Iterator[Result]:
    """A TLS server that has no certificate to show, or none of its settings."""
    tls = mapping(server.raw.get("tls"))
    mode = str(tls.get("mode", ""))
    shown = {k: v for k, v in tls.items() if k in ("mode", "credentialName")}
    proof = Proof(server.gateway.ref, f"{server.path}.tls", json.dumps(shown, default=str))
    if server.is_tls and not tls:
        text = f"server {server.index} of {server.gateway.ref} is {server.protocol} on port {server.port} and has no tls settings"
    elif server.is_tls and mode in _OWN_TLS and not any(tls.get(k) for k in _CERTIFICATE):
        text = f"server {server.index} of {server.gateway.ref} has TLS mode {mode} and names no certificate"
    elif (
        server.protocol == "HTTP"
        and mode in _OWN_TLS
        and tls.get("httpsRedirect") is not True
        and tls.get("credentialName")
    ):
        text = f"server {server.index} of {server.gateway.ref} names a certificate and is HTTP on port {server.port}: it serves plaintext"
    else:
        return
    yield CHECK.bad(
        text, HANDSHAKE, NO_CHAIN, about=server.gateway,
        proofs=(Proof(server.gateway.ref, f"{server.path}.port.protocol", server.protocol), proof),
        advice="Set port.protocol HTTPS, tls.mode and tls.credentialName together",
    )  # fmt: skip


def _ports(snapshot: Snapshot, gateway: Object, pod: Object) -> Iterator[Result]:
    """Ports that no Service before the pods has: they are open in the pod, and nobody reaches them."""
    services = services_before(snapshot, pod)
    if not services or unread(snapshot, "Service"):
        return
    numbers = (p.get(k) for s in services for p in s.mappings("spec", "ports") for k in ("port", "targetPort"))
    open_ = {n for n in numbers if isinstance(n, int)}
    for server in _servers(gateway):
        if server.port not in open_:
            yield CHECK.bad(
                f"{gateway.ref} listens on port {server.port}, which Service {names(services)} does not have",
                about=gateway,
                severity=Severity.WARNING,
                proofs=(
                    Proof(gateway.ref, f"{server.path}.port.number", str(server.port)),
                    Proof(services[0].ref, "spec.ports[*].port", names(map(str, sorted(open_)), 8)),
                ),
                advice="Add the port to the gateway's Service, or let the server use one that it has",
            )


def _conflicts(gateways: tuple[Object, ...], host: str) -> Iterator[Result]:
    """Servers of the same pods on one port: with another protocol, or for the same TLS host."""
    groups: dict[tuple[str, int], list[_Server]] = {}
    for gateway in gateways:
        selector = json.dumps(gateway.strings("spec", "selector"), sort_keys=True)
        for server in _servers(gateway, host):
            groups.setdefault((selector, server.port), []).append(server)
    for (_, port), servers in groups.items():
        servers.sort(key=lambda s: (s.gateway.text("metadata", "creationTimestamp"), s.gateway.ref, s.index))
        first = servers[0]
        seen: dict[str, _Server] = {}
        for server in servers:
            if server.is_tls != first.is_tls or (first.protocol == "TCP") != (server.protocol == "TCP"):
                why = f"{first.protocol} for {first.gateway.ref} and {server.protocol} for {server.gateway.ref}"
                yield _conflict(
                    f"port {port} of the same pods is {why}", first, server, "port.protocol", NO_ROUTE, NO_CHAIN
                )
                continue
            for host in server.hosts:
                other = seen.setdefault(host, server)
                if other is not server and server.is_tls:
                    why = f"is in {other.gateway.ref} and in {server.gateway.ref}"
                    yield _conflict(f"TLS host {host} of port {port} {why}: the first counts", other, server, "hosts")


def _conflict(text: str, one: _Server, other: _Server, field: str, *causes: str) -> Result:
    by_port = field.startswith("port")
    values = [
        Proof(s.gateway.ref, f"{s.path}.{field}", s.protocol if by_port else json.dumps(s.hosts)) for s in (one, other)
    ]
    return CHECK.bad(text, CONFLICT, *causes, about=other.gateway, severity=Severity.WARNING, proofs=tuple(values))


def _not_listened(gateways: tuple[Object, ...], api: tuple[Object, ...], host: str) -> Iterator[Result]:
    """No server or listener has the host that was asked for."""
    offered = [h for g in gateways for s in _servers(g) for h in s.hosts]
    offered += [str(x.get("hostname") or "*") for g in api for x in g.mappings("spec", "listeners")]
    if offered and not any(matches(h, host) for h in offered):
        yield CHECK.bad(
            f"no server of {names((*gateways, *api))} is for {host}; they are for {names(sorted(set(offered)))}",
            NO_ROUTE,
            NO_CHAIN,
            proofs=tuple(
                Proof(g.ref, "spec.servers[*].hosts", names(h for s in _servers(g) for h in s.hosts))
                for g in gateways[:3]
            ),
            advice="Add the host to a server if it is yours; scanners and health checks ask for hosts that nobody has",
        )


# --- the Gateway API ---


def _of_api(snapshot: Snapshot, gateway: Object) -> Iterator[Result]:
    """What istiod says of a Gateway and its listeners, and certificates of other namespaces."""
    name = gateway.text("spec", "gatewayClassName")
    if name and snapshot.get("GatewayClass", "", name) is None and not snapshot.lacks("GatewayClass"):
        yield CHECK.bad(
            f"{gateway.ref} is of GatewayClass {name}, which is not there",
            MISSING,
            about=gateway,
            proofs=(Proof(gateway.ref, "spec.gatewayClassName", name),),
            advice="istiod makes the classes istio and istio-waypoint when it finds the CRDs of the Gateway API",
        )
        return
    for i, c in enumerate(gateway.mappings("status", "conditions")):
        if c.get("type") in ("Accepted", "Programmed") and c.get("status") == "False":
            yield _condition(gateway, f"status.conditions[{i}]", "", c)
    for i, listener in enumerate(gateway.mappings("status", "listeners")):
        for j, c in enumerate(mappings(listener.get("conditions"))):
            bad = "True" if c.get("type") == "Conflicted" else "False"
            if c.get("type") in ("Accepted", "ResolvedRefs", "Conflicted") and c.get("status") == bad:
                yield _condition(
                    gateway, f"status.listeners[{i}].conditions[{j}]", f"listener {listener.get('name')} of ", c
                )
    yield from _without_routes(snapshot, gateway)
    for i, listener in enumerate(gateway.mappings("spec", "listeners")):
        for j, ref in enumerate(mappings(at(listener, "tls", "certificateRefs"))):
            yield from _grant(snapshot, gateway, f"spec.listeners[{i}].tls.certificateRefs[{j}]", ref)


def _condition(gateway: Object, path: str, of: str, c: Mapping[str, Any]) -> Result:
    tls = "Cert" in str(c.get("reason")) or c.get("reason") == "RefNotPermitted"
    return CHECK.bad(
        f"{of}{gateway.ref}: {c.get('type')} is {c.get('status')}, {c.get('reason')}: {c.get('message')}",
        *((HANDSHAKE, NO_CHAIN) if tls else (NO_ROUTE,)),
        about=gateway,
        proofs=(Proof(gateway.ref, path, f"{c.get('type')} {c.get('status')}, {c.get('reason')}"),),
    )


def _without_routes(snapshot: Snapshot, gateway: Object) -> Iterator[Result]:
    """A Gateway, not a waypoint, to which nothing attaches."""
    waypoint = gateway.text("spec", "gatewayClassName").endswith("waypoint") or any(
        x.get("protocol") == "HBONE" for x in gateway.mappings("spec", "listeners")
    )
    listeners = gateway.mappings("status", "listeners")
    if waypoint or not listeners or any(x.get("attachedRoutes") != 0 for x in listeners):
        return
    if any((gateway.namespace, gateway.name) in parents(r) for r in api_routes(snapshot)):
        return  # why they do not attach is in their status
    yield CHECK.bad(
        f"no route is attached to {gateway.ref}",
        NO_ROUTE,
        about=gateway,
        severity=Severity.WARNING,
        proofs=(Proof(gateway.ref, "status.listeners[*].attachedRoutes", "0"),),
        advice="Name it in parentRefs of an HTTPRoute; routes of other namespaces need allowedRoutes.namespaces.from: All",
    )


def _grant(snapshot: Snapshot, gateway: Object, path: str, ref: Mapping[str, Any]) -> Iterator[Result]:
    """A certificate of another namespace needs a ReferenceGrant there."""
    space, name = ref.get("namespace"), ref.get("name")
    if (
        not isinstance(space, str)
        or not isinstance(name, str)
        or space == gateway.namespace
        or snapshot.lacks("ReferenceGrant")
    ):
        return
    if snapshot.namespaces is not None and space not in snapshot.namespaces:
        return
    for grant in snapshot.all("ReferenceGrant", space):
        from_ = any(
            f.get("kind") == "Gateway" and f.get("namespace") == gateway.namespace
            for f in grant.mappings("spec", "from")
        )
        if from_ and any(
            t.get("kind") == "Secret" and t.get("name") in (None, "", name) for t in grant.mappings("spec", "to")
        ):
            return
    made = Ref("ReferenceGrant", space, f"{gateway.name}-{name}"[:253], "gateway.networking.k8s.io/v1beta1")
    body = {
        "apiVersion": made.api, "kind": made.kind, "metadata": {"name": made.name, "namespace": space},
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": gateway.namespace}],
            "to": [{"group": "", "kind": "Secret", "name": name}],
        },
    }  # fmt: skip
    yield CHECK.bad(
        f"{gateway.ref} uses Secret {space}/{name}, and no ReferenceGrant in {space} allows it",
        HANDSHAKE,
        NO_CHAIN,
        about=gateway,
        proofs=(Proof(gateway.ref, path, f"{space}/{name}"),),
        edits=(
            Edit(made, f"Let Gateways of {gateway.namespace} use Secret {space}/{name}", body,
                 "The Gateway names this Secret", Risk.WEAKENS_SECURITY, create=True),
        ),
    )  # fmt: skip


CHECK = Check("gateway-listeners", "Do gateways listen, with routes bound to them?", (), run)
