"""May this workload call this host outside the registry?

`outboundTrafficPolicy.mode` of the Sidecar that selects the pod, else of the mesh configuration, where ALLOW_ANY is the default
(https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-OutboundTrafficPolicy). Under REGISTRY_ONLY a proxy
only knows the Services and ServiceEntries that are exported to its namespace and that the egress hosts of its Sidecar let in
(https://istio.io/latest/docs/reference/config/networking/sidecar/): the one that selects the pod, else the namespace's without a
selector, else that of the root namespace.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from meshdiag.cluster.mesh import (
    client_namespace,
    covers,
    entries_of,
    exported,
    full_host,
    host_of,
    mesh_config,
    names,
    port_of,
    proxies_of,
    registered,
    root_namespace,
    selects,
    unread,
)
from meshdiag.cluster.objects import Object, Ref, at, mappings, texts
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.remedies.names import valid

BLOCKED = "egress-blocked"
PASSED = "egress-passthrough-failed"
CLOSED = "REGISTRY_ONLY"

_PROTOCOLS: Mapping[int, tuple[str, str]] = {443: ("tls", "TLS"), 80: ("http", "HTTP")}
"""Ports whose protocol needs no guess."""


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the workload and host of a finding, or which mode holds where."""
    if not about:
        yield from _everywhere(snapshot)
        return
    pods = proxies_of(snapshot, about)
    space = pods[0].namespace if pods else client_namespace(about)
    sidecar, sure = _sidecar(snapshot, space, pods[0] if pods else None)
    mode, proof = _mode(snapshot, sidecar, pods[0] if pods else None)
    if not mode or not sure:
        other = "which Sidecar selects the workload" if mode else "the ConfigMap istio with the mesh configuration"
        yield CHECK.unknown(unread(snapshot, "ConfigMap", "Sidecar") or f"{other} is not known")
        return
    host = (
        full_host(about.host or about.service, about.service_namespace or space) if about.host or about.service else ""
    )
    yield from _host(snapshot, about, host, space, sidecar, mode, proof)


def _everywhere(snapshot: Snapshot) -> Iterator[Result]:
    source, config = mesh_config(snapshot)
    own = [s for s in snapshot.all("Sidecar") if s.text("spec", "outboundTrafficPolicy", "mode")]
    if source is None and not own:
        yield CHECK.unknown("the ConfigMap istio with the mesh configuration is not here")
        return
    mode = _said(config) or "ALLOW_ANY"
    more = f"; {len(own)} Sidecars set their own ({names(own)})" if own else ""
    proofs = [Proof(source.ref, "data.mesh: outboundTrafficPolicy.mode", _said(config) or "not set")] if source else []
    proofs += [
        Proof(s.ref, "spec.outboundTrafficPolicy.mode", s.text("spec", "outboundTrafficPolicy", "mode"))
        for s in own[:3]
    ]
    yield CHECK.good(f"calls to hosts outside the registry: {mode}{more}", about=source, proofs=tuple(proofs))


def _said(config: Mapping[str, Any]) -> str:
    """The mode of a mesh configuration, "" when it does not say one; YAML may have the number of the enum."""
    mode = at(config, "outboundTrafficPolicy", "mode")
    return {0: CLOSED, 1: "ALLOW_ANY"}.get(mode, "") if isinstance(mode, int) else mode if isinstance(mode, str) else ""


def _sidecar(snapshot: Snapshot, namespace: str, pod: Object | None) -> tuple[Object | None, bool]:
    """The Sidecar that holds for a pod, and whether that is sure."""
    own = snapshot.all("Sidecar", namespace) if namespace else ()
    selecting = [s for s in own if s.strings("spec", "workloadSelector", "labels")]
    if pod is not None:
        for s in selecting:
            if selects(s.strings("spec", "workloadSelector", "labels"), pod.labels):
                return s, True
    sure = (pod is not None or not selecting) and not unread(snapshot, "Sidecar") and bool(namespace)
    for space in (namespace, root_namespace(snapshot)):
        for s in snapshot.all("Sidecar", space):
            if not s.strings("spec", "workloadSelector", "labels"):
                return s, sure
    return None, sure


def _mode(snapshot: Snapshot, sidecar: Object | None, pod: Object | None) -> tuple[str, Proof | None]:
    """The mode and where it stands; "" when it cannot be told."""
    if sidecar is not None and (mode := sidecar.text("spec", "outboundTrafficPolicy", "mode")):
        return mode, Proof(sidecar.ref, "spec.outboundTrafficPolicy.mode", mode)
    revision = pod.labels.get("istio.io/rev", "") if pod is not None else ""
    source, config = mesh_config(snapshot, "" if revision == "default" else revision)
    if source is None and revision:
        source, config = mesh_config(snapshot)
    if source is None or not config:
        return "", None  # not there, or no YAML
    said = _said(config)
    return said or "ALLOW_ANY", Proof(
        source.ref, "data.mesh: outboundTrafficPolicy.mode", said or "not set (ALLOW_ANY)"
    )


def _host(
    snapshot: Snapshot, about: About, host: str, space: str, sidecar: Object | None, mode: str, proof: Proof | None
) -> Iterator[Result]:
    proofs = (proof,) if proof else ()
    known = registered(snapshot, host, space) if host else ()
    seen = tuple(o for o in known if exported(o, space))
    let_in = tuple(o for o in seen if sidecar is None or _lets_in(sidecar, o, host))
    if known and not let_in:
        yield _hidden(known, seen, host, space, sidecar, mode, proofs)
        return
    if mode != CLOSED:
        yield CHECK.good(f"the mode is {mode}: hosts outside the registry may be called", BLOCKED, proofs=proofs)
        return
    if let_in:
        numbers = (p.get(k) for o in let_in for p in o.mappings("spec", "ports") for k in ("port", "number"))
        ports = sorted({n for n in numbers if isinstance(n, int)})
        port = port_of(about)
        if port is not None and port not in ports:
            yield CHECK.bad(
                f"{host} is in the registry with port {names(map(str, ports)) or 'none'} and not with {about.port}, and the mode is {mode}",
                BLOCKED,
                about=let_in[0],
                proofs=(*proofs, Proof(let_in[0].ref, "spec.ports", json.dumps(ports))),
            )
            return
        causes = (BLOCKED,) if port is not None else ()
        yield CHECK.good(f"{host} is in the registry, by {let_in[0].ref}", *causes, about=let_in[0], proofs=proofs)
        return
    if host and (why := unread(snapshot, "Service", "ServiceEntry")):
        yield CHECK.unknown(f"whether {host} is in the registry: {why}")
        return
    if snapshot.namespaces is not None:
        yield CHECK.unknown(f"{host or 'the host'} may be registered in a namespace that was not read")
        return
    yield CHECK.bad(
        f"the mode is {mode} and "
        + (f"no Service or ServiceEntry has {host}" if host else "what was called is in no Service or ServiceEntry"),
        BLOCKED,
        about=sidecar if sidecar and proof and proof.ref == sidecar.ref else None,
        proofs=proofs,
        advice="Register the host with a ServiceEntry",
        edits=_entry(snapshot, host, port_of(about) or 0, space),
    )


def _hidden(
    known: tuple[Object, ...],
    seen: tuple[Object, ...],
    host: str,
    space: str,
    sidecar: Object | None,
    mode: str,
    proofs: tuple[Proof, ...],
) -> Result:
    """The host is registered and this client does not see it: exportTo, or the egress hosts of its Sidecar."""
    cause = BLOCKED if mode == CLOSED else PASSED
    if not seen:
        to = known[0].at("spec", "exportTo") or known[0].annotations.get("networking.istio.io/exportTo")
        return CHECK.bad(
            f"{known[0].ref} has {host} and is not exported to namespace {space}; the mode is {mode}",
            cause,
            about=known[0],
            proofs=(Proof(known[0].ref, "spec.exportTo", json.dumps(to)), *proofs),
            advice="Export it to the client's namespace, or register the host there",
        )
    assert sidecar is not None
    hosts = [h for e in sidecar.mappings("spec", "egress") for h in texts(e.get("hosts"))]
    return CHECK.bad(
        f"{seen[0].ref} has {host}, and the egress hosts of {sidecar.ref} leave it out; the mode is {mode}",
        cause,
        about=sidecar,
        proofs=(Proof(sidecar.ref, "spec.egress[*].hosts", json.dumps(hosts)), *proofs),
        edits=_let_in(sidecar, seen[0], host),
    )


def _lets_in(sidecar: Object, o: Object, host: str) -> bool:
    """Whether the egress hosts of a Sidecar (`NAMESPACE/HOST`) let a registered host in; without any they let all in."""
    egress = sidecar.mappings("spec", "egress")
    name = host_of(o) if o.ref.kind == "Service" else host
    for said in (h for e in egress for h in texts(e.get("hosts"))):
        space, slash, pattern = said.partition("/")
        if (
            slash
            and (space in ("*", o.namespace) or (space == "." and o.namespace == sidecar.namespace))
            and covers(pattern, name)
        ):
            return True
    return not egress


def _let_in(sidecar: Object, o: Object, host: str) -> tuple[Edit, ...]:
    """The host added to the one listener that takes all ports."""
    egress = sidecar.at("spec", "egress")
    open_ = [i for i, e in enumerate(mappings(egress)) if not e.get("port") and isinstance(e.get("hosts"), list)]
    if len(open_) != 1 or not isinstance(egress, list) or len(mappings(egress)) != len(egress):
        return ()
    space = "." if o.namespace == sidecar.namespace else o.namespace
    name = host_of(o) if o.ref.kind == "Service" else host
    changed = [
        {**e, "hosts": [*e["hosts"], f"{space}/{name}"]} if i == open_[0] else dict(e) for i, e in enumerate(egress)
    ]
    return (Edit(sidecar.ref, f"Let {sidecar.name} see {name}", {"spec": {"egress": changed}}),)


def _entry(snapshot: Snapshot, host: str, number: int, namespace: str) -> tuple[Edit, ...]:
    """A ServiceEntry for a host of the Internet on a port whose protocol needs no guess."""
    if number not in _PROTOCOLS or not _is_name(host) or ".svc." in host or not namespace or entries_of(snapshot, host):
        return ()
    name, protocol = _PROTOCOLS[number]
    ref = Ref("ServiceEntry", namespace, f"external-{host}"[:253].rstrip("-."), "networking.istio.io/v1")
    if snapshot.get(*((ref.kind, ref.namespace, ref.name))):
        return ()
    body = {
        "apiVersion": ref.api, "kind": ref.kind, "metadata": {"name": ref.name, "namespace": namespace},
        "spec": {
            "hosts": [host], "location": "MESH_EXTERNAL", "resolution": "DNS", "exportTo": ["."],
            "ports": [{"number": number, "name": name, "protocol": protocol}],
        },
    }  # fmt: skip
    return (Edit(ref, f"Register {host} for namespace {namespace}", body, "Opens this one host and port", create=True),)


def _is_name(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return "." in host and not host.startswith("*") and valid("host", host)
    return False


CHECK = Check("outbound-traffic-policy", "May hosts outside the registry be called?", (), run)
