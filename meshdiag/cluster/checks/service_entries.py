"""Do ServiceEntries register hosts so that calls to them work?

Rules: https://istio.io/latest/docs/reference/config/networking/service-entry/, the analyzer behind IST0134, and the validation of
istio/istio, pkg/config/validation (resolution DNS takes no wildcard host without endpoints). A service that is MESH_EXTERNAL gets
no automatic mTLS (pilot/pkg/networking/core/cluster_traffic_policy.go).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Final

from meshdiag.cluster.mesh import (
    all_rules,
    client_namespace,
    concerning,
    entries_of,
    exported,
    full_host,
    in_mesh,
    is_of_object,
    matches,
    mesh_config,
    names,
    pods_with,
    port_of,
    proxies_of,
    unread,
)
from meshdiag.cluster.objects import Object, at
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.model import Severity

MISMATCH = "protocol-mismatch"
EGRESS = ("egress-blocked", "egress-passthrough-failed")
UNRESOLVED = ("dns-resolution-failed", "no-healthy-upstream")
CONFLICT = "config-conflict"

_TLS: Final = frozenset({"TLS", "HTTPS"})
_HTTP: Final = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB"})
_DNS: Final = frozenset({"DNS", "DNS_ROUND_ROBIN"})


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the entries for the host that was called, or of all."""
    if not about:
        entries = snapshot.all("ServiceEntry")
        found = [r for e in entries for r in _of(snapshot, e)] + list(_twice(snapshot, entries))
        yield from found
        if not found:
            yield CHECK.good(f"{len(entries)} ServiceEntries fit what they register")
        return
    if is_of_object(about):
        yield from concerning(run(snapshot, About()), about)
        return
    asked = about.host or about.service
    pods = proxies_of(snapshot, about)
    client = pods[0].namespace if pods else client_namespace(about)
    host = full_host(asked, about.service_namespace or client)
    entries = entries_of(snapshot, host) if asked else ()
    if not entries:
        yield CHECK.unknown(f"no ServiceEntry is for {host}" if asked else "which host was called is not known")
        return
    found = [r for e in entries for r in _of(snapshot, e)]
    found += _twice(snapshot, entries)
    found += _asked(entries, host, port_of(about), client)
    yield from found
    if not found:
        yield CHECK.good(f"{names(entries)} registers {host}", about=entries[0])


def _ports(entry: Object) -> Iterator[tuple[int, int, str]]:
    """Index, number and protocol of its ports."""
    for i, p in enumerate(entry.mappings("spec", "ports")):
        number, protocol = p.get("number"), p.get("protocol")
        if isinstance(number, int):
            yield i, number, (protocol if isinstance(protocol, str) else "").upper()


def _asked(entries: tuple[Object, ...], host: str, port: int | None, client: str) -> Iterator[Result]:
    """What keeps a client from an entry that is there: another namespace, another port."""
    seen = [e for e in entries if exported(e, client)]
    if not seen:
        to = entries[0].at("spec", "exportTo")
        yield CHECK.bad(
            f"{entries[0].ref} has {host} and is not exported to namespace {client}",
            *EGRESS,
            about=entries[0],
            proofs=(Proof(entries[0].ref, "spec.exportTo", json.dumps(to)),),
            advice="Export it to the client's namespace, or register the host there",
        )
        return
    numbers = sorted({n for e in seen for _, n, _ in _ports(e)})
    if port is not None and port not in numbers:
        yield CHECK.bad(
            f"{names(seen)} has {host} with port {names(map(str, numbers)) or 'none'} and not with {port}",
            *EGRESS,
            about=seen[0],
            proofs=(Proof(seen[0].ref, "spec.ports[*].number", json.dumps(numbers)),),
            edits=_add_port(seen[0], port) if len(seen) == 1 else (),
        )


def _add_port(entry: Object, number: int) -> tuple[Edit, ...]:
    """A port whose protocol needs no guess."""
    known = {443: ("tls", "TLS"), 80: ("http", "HTTP")}.get(number)
    ports = entry.mappings("spec", "ports")
    if known is None or any(p.get("name") == known[0] for p in ports):
        return ()
    more = [*map(dict, ports), {"number": number, "name": known[0], "protocol": known[1]}]
    return (
        Edit(entry.ref, f"Add port {number} to {entry.name}", {"spec": {"ports": more}}, "Opens this port of the host"),
    )


def _of(snapshot: Snapshot, entry: Object) -> Iterator[Result]:
    yield from _resolution(snapshot, entry)
    for i, number, protocol in _ports(entry):
        yield from _protocol(snapshot, entry, i, number, protocol)
    yield from _location(snapshot, entry)


def _resolution(snapshot: Snapshot, entry: Object) -> Iterator[Result]:
    how = entry.text("spec", "resolution") or "NONE"
    wild = [h for h in entry.texts("spec", "hosts") if h.startswith("*")]
    endpoints, selector = entry.mappings("spec", "endpoints"), entry.strings("spec", "workloadSelector", "labels")
    proof = Proof(entry.ref, "spec.resolution", how)
    if wild and how in _DNS and not endpoints and not selector:
        yield CHECK.bad(
            f"{entry.ref} resolves {wild[0]} by {how}, and a wildcard is no name that DNS knows",
            *UNRESOLVED,
            about=entry,
            proofs=(Proof(entry.ref, "spec.hosts", json.dumps(wild)), proof),
            advice="Use resolution NONE, with TLS or HTTP ports, or name the hosts one by one",
        )
    elif how == "STATIC" and not endpoints and not _selected(snapshot, entry, selector):
        if not selector or not unread(snapshot, "Pod", "WorkloadEntry"):
            yield CHECK.bad(
                f"{entry.ref} has resolution STATIC and "
                + ("its workloadSelector selects nothing" if selector else "no endpoints"),
                UNRESOLVED[1],
                about=entry,
                proofs=(proof, Proof(entry.ref, "spec.workloadSelector", json.dumps(selector)) if selector else proof),
                advice="Give it endpoints, or resolution DNS if its host has a name in DNS",
            )
    elif how == "NONE" and (endpoints or selector):
        yield CHECK.bad(
            f"{entry.ref} has endpoints and resolution NONE, with which they are not used",
            about=entry,
            severity=Severity.WARNING,
            proofs=(proof, Proof(entry.ref, "spec.endpoints", f"{len(endpoints)}")),
            advice="Set resolution STATIC for addresses, DNS for names",
        )


def _selected(snapshot: Snapshot, entry: Object, selector: Mapping[str, str]) -> tuple[Object, ...]:
    """The pods and WorkloadEntries of its namespace that its workloadSelector selects."""
    if not selector:
        return ()
    virtual = (w for w in snapshot.all("WorkloadEntry", entry.namespace))
    fitting = (
        w for w in virtual if all({**w.labels, **w.strings("spec", "labels")}.get(k) == v for k, v in selector.items())
    )
    return (*pods_with(snapshot, selector, entry.namespace), *fitting)


def _protocol(snapshot: Snapshot, entry: Object, index: int, number: int, protocol: str) -> Iterator[Result]:
    """443 that is HTTP without TLS origination, 80 that is TLS, and plain TCP without an address, which takes every call to its port."""
    where = Proof(entry.ref, f"spec.ports[{index}]", f"{number} {protocol or '(none)'}")
    target = at(entry.raw, "spec", "ports", index, "targetPort") or number
    if number == 443 and protocol in _HTTP and not _originates(snapshot, entry):
        yield CHECK.bad(
            f"port 443 of {entry.ref} is {protocol}, so that https of applications is read as plain HTTP",
            MISMATCH,
            about=entry,
            proofs=(where,),
            advice="Set protocol TLS; HTTP on 443 is for a DestinationRule that does TLS for the application",
            edits=_to_tls(entry, index),
        )
    elif number == 80 and protocol in _TLS and target == 80:
        yield CHECK.bad(
            f"port 80 of {entry.ref} is {protocol}, so that plain HTTP is read as TLS",
            MISMATCH,
            about=entry,
            severity=Severity.WARNING,
            proofs=(where,),
            advice="Set protocol HTTP",
        )
    elif protocol in ("TCP", "") and not entry.texts("spec", "addresses") and not _allocates(snapshot):
        yield CHECK.bad(
            f"port {number} of {entry.ref} is {protocol or 'of no protocol'} and the entry has no addresses: it takes every call to "
            f"port {number}, whatever its host",
            about=entry,
            severity=Severity.WARNING,
            proofs=(where, Proof(entry.ref, "spec.addresses", "none")),
            advice="Give it addresses, or protocol TLS where the client says the host in SNI",
        )


def _originates(snapshot: Snapshot, entry: Object) -> bool:
    """Whether a DestinationRule of one of its hosts does TLS, or that is not known."""
    if unread(snapshot, "DestinationRule") or snapshot.namespaces is not None:
        return True
    rules = (
        r
        for h in entry.texts("spec", "hosts")
        for host, some in all_rules(snapshot).items()
        if matches(host, h)
        for r in some
    )
    return any('"tls"' in json.dumps(r.at("spec"), default=str) for r in rules)


def _allocates(snapshot: Snapshot) -> bool:
    """Whether istiod or the proxies give such entries an address: by default since Istio 1.25 (PILOT_ENABLE_IP_AUTOALLOCATE)."""
    _, config = mesh_config(snapshot)
    captured = at(config, "defaultConfig", "proxyMetadata", "ISTIO_META_DNS_AUTO_ALLOCATE")
    told = any(e.mappings("status", "addresses") for e in snapshot.all("ServiceEntry"))
    return captured in ("true", True) or told or not config


def _to_tls(entry: Object, index: int) -> tuple[Edit, ...]:
    ports = [dict(p) for p in entry.mappings("spec", "ports")]
    ports[index]["protocol"] = "TLS"
    return (
        Edit(
            entry.ref,
            f"Declare port 443 of {entry.name} as TLS",
            {"spec": {"ports": ports}},
            "Applications speak https on 443",
        ),
    )


def _location(snapshot: Snapshot, entry: Object) -> Iterator[Result]:
    """Workloads of the mesh behind an entry that says they are outside it get no mTLS."""
    selector = entry.strings("spec", "workloadSelector", "labels")
    if (entry.text("spec", "location") or "MESH_EXTERNAL") != "MESH_EXTERNAL" or not selector:
        return
    inside = [p for p in pods_with(snapshot, selector, entry.namespace) if in_mesh(snapshot, p)]
    if inside:
        yield CHECK.bad(
            f"{entry.ref} is MESH_EXTERNAL and selects pods of the mesh ({names(inside)}): calls to them get no mTLS",
            "mtls-plaintext-to-strict",
            about=entry,
            severity=Severity.WARNING,
            proofs=(Proof(entry.ref, "spec.location", entry.text("spec", "location") or "not set"),),
            edits=(Edit(entry.ref, f"Make {entry.name} MESH_INTERNAL", {"spec": {"location": "MESH_INTERNAL"}}),),
        )


def _twice(snapshot: Snapshot, entries: tuple[Object, ...]) -> Iterator[Result]:
    """One host and port in two entries that the same clients see, or in an entry and a Service."""
    seen: dict[tuple[str, int], Object] = {}
    told = set()
    for entry in entries:
        for host in dict.fromkeys(entry.texts("spec", "hosts")):
            for _, number, _ in _ports(entry):
                other = seen.setdefault((host, number), entry)
                shared = exported(entry, other.namespace) and exported(other, entry.namespace)
                if other is not entry and shared and (host, entry.ref) not in told:
                    told.add((host, entry.ref))
                    yield CHECK.bad(
                        f"{host} with port {number} is in {other.ref} and in {entry.ref}",
                        CONFLICT,
                        about=entry,
                        severity=Severity.WARNING,
                        proofs=tuple(
                            Proof(e.ref, "spec.hosts", json.dumps(e.texts("spec", "hosts"))) for e in (other, entry)
                        ),
                        advice="Leave one of them, or export each to its own namespace",
                    )


CHECK = Check("service-entries", "Do ServiceEntries register their hosts rightly?", ("ServiceEntry",), run)
