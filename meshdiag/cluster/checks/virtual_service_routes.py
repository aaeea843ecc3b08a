"""Do routes lead somewhere, and what do they do on the way: faults, timeouts, routes that are never reached?

Rules: https://istio.io/latest/docs/reference/config/networking/virtual-service/ (a port must be given where the service has several;
routes are tried in order), the analyzers behind IST0101, IST0109, IST0112, IST0130 and IST0132, and for the Gateway API the status
that istiod writes to routes (https://gateway-api.sigs.k8s.io/reference/spec/#routeparentstatus).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from meshdiag.cluster.mesh import (
    GATEWAY_NAME,
    PREDEFINED,
    Destination,
    api_routes,
    concerning,
    covers,
    destinations,
    full_host,
    gateways_at,
    gateways_named,
    is_gateway,
    is_of_object,
    matches,
    maybe_elsewhere,
    names,
    parents,
    proxies_of,
    registered,
    unread,
    virtual_services_at,
)
from meshdiag.cluster.objects import Object, at, mapping, mappings, texts
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.model import Severity

NO_CLUSTER = "cluster-not-found"
NO_ROUTE = "route-not-found"
FAULT = "fault-injected"
TIMEOUT = "upstream-timeout"
CONFLICT = "config-conflict"


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the routes that the proxy has, of those for the host that was called, or of all."""
    if not about:
        yield from _everything(snapshot)
        return
    if is_of_object(about):
        yield from concerning(run(snapshot, About()), about)
        return
    host = (
        full_host(about.host or about.service, about.service_namespace or about.namespace)
        if about.host or about.service
        else ""
    )
    here = virtual_services_at(snapshot, about)
    routes = tuple(v for v in here if not host or _speaks_of(v, host))
    yield from _no_route(snapshot, about, host)
    found = [r for v in routes for r in _broken(snapshot, v)]
    found += [r for v in routes for r in (*_faults(v, host), *_timeouts(v, host))]
    found += [r for v in routes for r in (*_shadowed(v), *_weights(v))]
    found += [r for route in _routes_of_api(snapshot, about, host) for r in _status(route)]
    yield from found
    if not found and host:
        yield _quiet(snapshot, routes, host, about)


def _everything(snapshot: Snapshot) -> Iterator[Result]:
    routes = snapshot.all("VirtualService")
    found = [r for v in routes for r in (*_broken(snapshot, v), *_shadowed(v), *_weights(v), *_faults(v, ""))]
    found += [*_twice(routes), *(r for route in api_routes(snapshot) for r in _status(route))]
    yield from found
    if not any(r.severity is Severity.ERROR for r in found):
        count = len(routes) + len(api_routes(snapshot))
        yield CHECK.good(f"{count} VirtualServices and routes lead to hosts and ports that there are")


def _speaks_of(route: Object, host: str) -> bool:
    """Whether a VirtualService is for a host or leads to it."""
    return _is_for(route, host) or any(d.host == host for d in destinations(route))


def _is_for(route: Object, host: str) -> bool:
    """Whether a host is one that clients call, and not a destination: then all routes are for it."""
    if any(d.host == host for d in destinations(route)):
        return False
    hosts = (full_host(h, route.namespace) for h in route.texts("spec", "hosts"))
    return any(covers(h, host) and not (h == "*" and ".svc." in host) for h in hosts)


def _quiet(snapshot: Snapshot, routes: tuple[Object, ...], host: str, about: About) -> Result:
    """Nothing is wrong. That no object at all sets a fault is what rules one out: filters and delegates set them, too."""
    set_ = (o for kind in ("EnvoyFilter", "VirtualService") for o in snapshot.all(kind))
    sure = (
        proxies_of(snapshot, about)
        and snapshot.namespaces is None
        and not unread(snapshot, "EnvoyFilter")
        and not any("fault" in json.dumps(o.at("spec"), default=str) for o in set_)
    )
    text = f"{names(routes)} leads to what there is, without faults" if routes else f"no VirtualService is for {host}"
    return CHECK.good(text, *((FAULT,) if sure and "." in host else ()))


# --- where routes lead ---


def _broken(snapshot: Snapshot, route: Object) -> Iterator[Result]:
    """Destinations, delegates and gateways that are not there."""
    seen = set()
    for to in destinations(route):
        if (to.host, to.port) not in seen:
            seen.add((to.host, to.port))
            yield from _destination(snapshot, route, to)
    for i, http in enumerate(route.mappings("spec", "http")):
        name, space = at(http, "delegate", "name"), at(http, "delegate", "namespace") or route.namespace
        if not isinstance(name, str) or not isinstance(space, str) or snapshot.get("VirtualService", space, name):
            continue
        if snapshot.namespaces is None or space in snapshot.namespaces:
            yield CHECK.bad(
                f"{route.ref} delegates to VirtualService {space}/{name}, which is not there",
                NO_ROUTE,
                about=route,
                proofs=(Proof(route.ref, f"spec.http[{i}].delegate", f"{space}/{name}"),),
            )
    yield from _gateways(snapshot, route)


def _destination(snapshot: Snapshot, route: Object, to: Destination) -> Iterator[Result]:
    known = registered(snapshot, to.host)
    if not known:
        if to.host.startswith("*") or maybe_elsewhere(snapshot, to.host):
            return
        short = to.host.partition(".")[0]
        others = [s.namespace for s in snapshot.all("Service") if s.name == short]
        hint = f"; there is a service {short} in {names(others)}" if others else ""
        yield CHECK.bad(
            f"{route.ref} leads to {to.host}, which neither a Service nor a ServiceEntry has{hint}",
            NO_CLUSTER,
            "config-reference-missing",
            about=route,
            proofs=(Proof(route.ref, f"{to.path}.host", to.host),),
            advice="Write the full host, SERVICE.NAMESPACE.svc.cluster.local; a short one is completed with the route's namespace",
        )
        return
    service = next((o for o in known if o.ref.kind == "Service"), None)
    if service is None or len(known) > 1 or service.text("spec", "type") == "ExternalName":
        return
    ports = [n for p in service.mappings("spec", "ports") if isinstance(n := p.get("port"), int)]
    proof = Proof(service.ref, "spec.ports[*].port", names(map(str, ports), 8) or "none")
    if to.port is not None and to.port not in ports:
        yield CHECK.bad(
            f"{route.ref} leads to port {to.port} of service {service.name}, which has {names(map(str, ports))} only",
            NO_CLUSTER,
            "config-reference-missing",
            about=route,
            proofs=(Proof(route.ref, f"{to.path}.port.number", str(to.port)), proof),
            edits=_port(route, to, ports[0]) if len(ports) == 1 else (),
        )
    elif to.port is None and len(ports) > 1 and PREDEFINED not in gateways_named(route):
        opened = _server_ports(snapshot, route)
        if opened and not opened & set(ports):
            yield CHECK.bad(
                f"{route.ref} names no port of service {service.name}, which has several ({names(map(str, ports))}), and none is "
                f"that of its gateway ({names(map(str, sorted(opened)))})",
                NO_CLUSTER,
                about=route,
                proofs=(Proof(route.ref, to.path, "no port"), proof),
                advice="Add port.number to the destination",
            )


def _server_ports(snapshot: Snapshot, route: Object) -> set[int]:
    """The ports of the gateways of a route; without a port in the destination, that of the listener is taken."""
    servers = [
        s
        for name in gateways_named(route)
        if (g := snapshot.get("Gateway", *name.split("/", 1)))
        for s in g.mappings("spec", "servers")
    ]
    return {n for s in servers if isinstance(n := at(s, "port", "number"), int)}


def _port(route: Object, to: Destination, port: int) -> tuple[Edit, ...]:
    """The routes with the port of this destination corrected, everywhere where it is the same."""
    protocol = to.path.split(".")[1].partition("[")[0]
    routes = json.loads(json.dumps(route.at("spec", protocol), default=str))

    def mend(value: Any) -> None:
        if isinstance(value, list):
            for v in value:
                mend(v)
        elif isinstance(value, dict):
            host = value.get("host")
            if (
                isinstance(host, str)
                and full_host(host, route.namespace) == to.host
                and at(value, "port", "number") == to.port
            ):
                value["port"] = {"number": port}
            for v in value.values():
                mend(v)

    mend(routes)
    title = f"Let {route.name} lead to port {port} of {to.host}"
    return (Edit(route.ref, title, {"spec": {protocol: routes}}, "It is the only port that the service has"),)


def _gateways(snapshot: Snapshot, route: Object) -> Iterator[Result]:
    """Gateways that are not there, or whose servers have none of the hosts."""
    if unread(snapshot, "Gateway"):
        return
    for i, name in enumerate(gateways_named(route)):
        space, _, own = name.partition("/")
        if name == PREDEFINED or (snapshot.namespaces is not None and space not in snapshot.namespaces):
            continue
        gateway = snapshot.get("Gateway", space, own)
        where = Proof(route.ref, f"spec.gateways[{i}]", str(route.at("spec", "gateways", i)))
        if gateway is None:
            others = [g.namespace for g in snapshot.all("Gateway") if g.name == own]
            hint = f"; there is one in {names(others)}" if others else ""
            yield CHECK.bad(
                f"{route.ref} is bound to Gateway {name}, which is not there{hint}",
                NO_ROUTE,
                "config-reference-missing",
                about=route,
                proofs=(where,),
                advice="A gateway of another namespace is named NAMESPACE/NAME",
            )
            continue
        hosts = route.texts("spec", "hosts")
        if hosts and not any(_open_to(gateway, route.namespace, full_host(h, route.namespace)) for h in hosts):
            offered = [h for s in gateway.mappings("spec", "servers") for h in texts(s.get("hosts"))]
            yield CHECK.bad(
                f"{route.ref} is for {names(hosts)}, and Gateway {name} serves {names(offered) or 'no host'} only",
                NO_ROUTE,
                about=route,
                proofs=(
                    Proof(route.ref, "spec.hosts", json.dumps(hosts)),
                    Proof(gateway.ref, "spec.servers[*].hosts", json.dumps(offered)),
                ),
                advice="Hosts of the route and of the gateway's servers must have a name in common",
            )


def _open_to(gateway: Object, namespace: str, host: str) -> bool:
    """Whether a server of a gateway takes this host from this namespace (hosts may be `NAMESPACE/HOST`)."""
    for server in gateway.mappings("spec", "servers"):
        for said in texts(server.get("hosts")):
            space, slash, name = said.rpartition("/")
            allowed = not slash or space in ("*", namespace) or (space == "." and gateway.namespace == namespace)
            if allowed and matches(name, host):
                return True
    return False


# --- routes that are not reached, or that are there twice ---


def _catches_all(http: Mapping[str, Any]) -> bool:
    """Whether a route takes every request: no match, or one that is the prefix / and nothing else."""
    conditions = mappings(http.get("match"))
    if not conditions:
        return not http.get("match")
    return any(
        set(c) <= {"uri", "name"} and mapping(c.get("uri")) in ({"prefix": "/"}, {"regex": ".*"}) for c in conditions
    )


def _shadowed(route: Object) -> Iterator[Result]:
    """Routes after one that takes all."""
    https = route.mappings("spec", "http")
    first = next((i for i, h in enumerate(https) if _catches_all(h)), None)
    if first is None or first == len(https) - 1:
        return
    late = len(https) - 1 - first
    yield CHECK.bad(
        f"route {first} of {route.ref} takes every request, so that {late} after it "
        + ("is" if late == 1 else "are")
        + " never reached",
        about=route,
        severity=Severity.WARNING,
        proofs=(
            Proof(route.ref, f"spec.http[{first}].match", json.dumps(https[first].get("match"), default=str)),
            Proof(
                route.ref, f"spec.http[{first + 1}].match", json.dumps(https[first + 1].get("match"), default=str)[:200]
            ),
        ),
        advice="Put the route that takes all last",
        edits=_last(route, first),
    )


def _last(route: Object, first: int) -> tuple[Edit, ...]:
    """The route that takes all behind the others, when it is the only such one."""
    https = list(route.mappings("spec", "http"))
    if sum(map(_catches_all, https)) != 1:
        return ()
    moved = [*https[:first], *https[first + 1 :], https[first]]
    return (Edit(route.ref, f"Move route {first} of {route.name} to the end", {"spec": {"http": moved}}),)


def _weights(route: Object) -> Iterator[Result]:
    """A route with several destinations whose weights are all 0: istiod does not take it (validateWeights in pkg/config/validation)."""
    for i, http in enumerate(route.mappings("spec", "http")):
        weights = [r.get("weight", 0) for r in mappings(http.get("route"))]
        if len(weights) > 1 and not any(weights):
            yield CHECK.bad(
                f"route {i} of {route.ref} has {len(weights)} destinations, and the weight of all is 0",
                about=route,
                proofs=(Proof(route.ref, f"spec.http[{i}].route[*].weight", json.dumps(weights)),),
                advice="Give them weights whose sum is 100",
            )


def _twice(routes: tuple[Object, ...]) -> Iterator[Result]:
    """VirtualServices of one host: of sidecars' only the oldest counts; at a gateway they are merged, in no certain order."""
    seen: dict[tuple[str, str], list[Object]] = {}
    for route in routes:
        for gateway in dict.fromkeys(gateways_named(route)):
            for host in dict.fromkeys(route.texts("spec", "hosts")):
                seen.setdefault((gateway, full_host(host, route.namespace)), []).append(route)
    for (gateway, host), some in seen.items():
        if len(some) < 2:
            continue
        at_mesh = gateway == PREDEFINED
        if at_mesh and any(v.texts("spec", "exportTo") for v in some):
            continue  # each may be for clients of its own
        if not at_mesh and sum(any(map(_catches_all, v.mappings("spec", "http"))) for v in some) < 2:
            continue
        oldest = min(some, key=lambda v: (v.text("metadata", "creationTimestamp"), v.ref))
        yield CHECK.bad(
            f"{len(some)} VirtualServices are for {host} "
            + (
                f"at sidecars: only the oldest, {oldest.ref}, counts"
                if at_mesh
                else f"at gateway {gateway}, and several take all paths"
            ),
            CONFLICT,
            about=oldest,
            severity=Severity.ERROR if at_mesh else Severity.WARNING,
            proofs=tuple(Proof(v.ref, "spec.hosts", json.dumps(v.texts("spec", "hosts"))) for v in some[:4]),
            advice="Make one of them, with the routes in their order",
        )


# --- what is in force ---


def _for_host(route: Object, host: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The http routes that are for a host or lead to it, with their index."""
    for_it = not host or _is_for(route, host)
    for i, http in enumerate(route.mappings("spec", "http")):
        to = (at(r, "destination", "host") for r in mappings(http.get("route")))
        if for_it or any(isinstance(h, str) and full_host(h, route.namespace) == host for h in to):
            yield i, http


def _faults(route: Object, host: str) -> Iterator[Result]:
    for i, http in _for_host(route, host):
        fault = mapping(http.get("fault"))
        if not fault:
            continue
        without = [
            {k: v for k, v in h.items() if k != "fault"} if j == i else h
            for j, h in enumerate(route.mappings("spec", "http"))
        ]
        yield CHECK.bad(
            f"route {i} of {route.ref} injects {' and '.join(_share(k, mapping(v)) for k, v in sorted(fault.items()))}",
            FAULT,
            about=route,
            severity=Severity.WARNING,
            proofs=(Proof(route.ref, f"spec.http[{i}].fault", json.dumps(fault, sort_keys=True, default=str)[:300]),),
            advice="Take the fault out when the test is over, or limit its match to test traffic",
            edits=(Edit(route.ref, f"End the fault of {route.name}", {"spec": {"http": without}}),),
        )


def _share(kind: str, fault: Mapping[str, Any]) -> str:
    share = at(fault, "percentage", "value")
    what = fault.get("httpStatus") or fault.get("grpcStatus") or fault.get("fixedDelay") or ""
    return f"{kind} {what} into {share if isinstance(share, int | float) else 100} % of requests"


def _timeouts(route: Object, host: str) -> Iterator[Result]:
    """Istio sets no timeout of its own, so that one that is set is what ends requests."""
    for i, http in _for_host(route, host):
        total, each = http.get("timeout"), at(http, "retries", "perTryTimeout")
        set_ = {
            k: v
            for k, v in (("timeout", total), ("retries.perTryTimeout", each))
            if isinstance(v, str) and v not in ("0s", "0", "")
        }
        if set_:
            yield CHECK.bad(
                f"route {i} of {route.ref} ends requests: " + ", ".join(f"{k} {v}" for k, v in set_.items()),
                TIMEOUT,
                about=route,
                severity=Severity.INFO,
                proofs=tuple(Proof(route.ref, f"spec.http[{i}].{k}", v) for k, v in set_.items()),
                advice="Find out why the upstream is slower than that before it is raised",
            )


# --- hosts without a route, and the Gateway API ---


def _no_route(snapshot: Snapshot, about: About, host: str) -> Iterator[Result]:
    """At a gateway: nothing that is bound to it is for the host that was asked for."""
    pods = proxies_of(snapshot, about)
    if not host or "." not in host or not pods or not is_gateway(pods[0]) or snapshot.namespaces is not None:
        return
    if about.service_namespace and ".svc." in host:
        return  # a destination, not what the client asked for
    if why := unread(snapshot, "VirtualService", "Gateway", "HTTPRoute", "GRPCRoute", "Ingress"):
        yield CHECK.unknown(f"whether a route is for {host}: {why}")
        return
    bound = gateways_at(snapshot, pods[0])
    own = (pods[0].namespace, pods[0].labels.get(GATEWAY_NAME, ""))
    offered = [
        h for v in snapshot.all("VirtualService") if bound & set(gateways_named(v)) for h in v.texts("spec", "hosts")
    ]
    for route in api_routes(snapshot):
        if own in parents(route):
            offered += route.texts("spec", "hostnames") or ("*",)
    for ingress in snapshot.all("Ingress"):
        offered += [str(r.get("host") or "*") for r in ingress.mappings("spec", "rules")]
    if not any(covers(h, host) for h in offered):
        yield CHECK.bad(
            f"nothing that is bound to gateway {pods[0].namespace}/{about.workload or pods[0].name} is for {host}; it serves "
            f"{names(sorted(set(offered))) or 'no host'}",
            NO_ROUTE,
            proofs=(Proof(pods[0].ref, "metadata.labels", json.dumps(dict(sorted(pods[0].labels.items())))[:200]),),
            advice="Route the host if it is yours; scanners and health checks ask for hosts that nobody has",
        )


def _routes_of_api(snapshot: Snapshot, about: About, host: str) -> Iterator[Object]:
    """Routes of the Gateway API for a host, or that lead to it."""
    for route in api_routes(snapshot):
        to = [
            f"{b.get('name')}.{b.get('namespace') or route.namespace}.svc.cluster.local"
            for rule in route.mappings("spec", "rules")
            for b in mappings(rule.get("backendRefs"))
        ]
        if host and (host in to or any(covers(h, host) for h in route.texts("spec", "hostnames"))):
            yield route


_CAUSE_OF = {"Accepted": NO_ROUTE, "ResolvedRefs": NO_CLUSTER}


def _status(route: Object) -> Iterator[Result]:
    """What istiod wrote of a route: not accepted by a parent, or with a reference that it could not follow (500, flag NC)."""
    for i, parent in enumerate(route.mappings("status", "parents")):
        for j, c in enumerate(mappings(parent.get("conditions"))):
            kind = c.get("type")
            if isinstance(kind, str) and kind in _CAUSE_OF and c.get("status") == "False":
                yield CHECK.bad(
                    f"{route.ref} is not {'accepted by' if kind == 'Accepted' else 'resolved for'} "
                    f"{at(parent, 'parentRef', 'name')}: {c.get('reason')}: {c.get('message')}",
                    _CAUSE_OF[kind],
                    about=route,
                    proofs=(
                        Proof(route.ref, f"status.parents[{i}].conditions[{j}]", f"{kind} False, {c.get('reason')}"),
                    ),
                )


CHECK = Check(
    "virtual-service-routes", "Do routes lead to what is there, without faults?", ("VirtualService", "Service"), run
)
