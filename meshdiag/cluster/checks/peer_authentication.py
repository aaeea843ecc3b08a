"""Which mTLS mode is in force where a call arrives, and who calls without it?

The mode of a port is that of the narrowest PeerAuthentication that sets it (`mesh.mtls_of`). Under STRICT a pod without sidecar that
is not ambient either cannot call (https://istio.io/latest/docs/reference/config/security/peer_authentication/). Whether a
DestinationRule turns mTLS off is asked by `destination-rule-tls`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from meshdiag.cluster.mesh import (
    Mtls,
    age,
    callers_of,
    in_ambient,
    in_mesh,
    mtls_of,
    names,
    port_called,
    root_namespace,
    selector_of,
    servers_of,
    several,
    workload_of,
    workloads,
)
from meshdiag.cluster.objects import Object, Ref
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.model import Risk, Severity

REFUSED: Final = "mtls-plaintext-to-strict"
CLOSED: Final = ("upstream-connection-closed", "egress-passthrough-failed", "filter-chain-not-found")


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the pods that were called, or of the whole mesh."""
    if not about:
        yield from _everywhere(snapshot)
        return
    servers = servers_of(snapshot, about)
    if not servers:
        return
    covered = [p for p in servers if in_mesh(snapshot, p)]
    if not covered:
        yield CHECK.unknown(
            f"{names(_workloads(snapshot, servers))} is not in the mesh: no PeerAuthentication holds for it"
        )
        return
    if partial := _partial(snapshot, covered[0]):
        yield CHECK.unknown(partial)
        return
    ports = {p.ref: port_called(snapshot, about, p) for p in covered}
    modes = {p.ref: mtls_of(snapshot, p, ports[p.ref]) for p in covered}
    strict = [p for p in covered if modes[p.ref].mode == "STRICT"]
    if not strict:
        yield _open(snapshot, covered, [modes[p.ref] for p in covered], any(ports.values()))
        return
    yield from _strict(snapshot, about, strict[0], modes[strict[0].ref], ports[strict[0].ref])


def _partial(snapshot: Snapshot, pod: Object) -> str:
    """A policy of the root namespace that was not read may hold."""
    root = root_namespace(snapshot)
    missing = {pod.namespace, root} - (snapshot.namespaces or {pod.namespace, root})
    return (
        f"namespace {names(sorted(missing))} was not read, and a PeerAuthentication there may hold" if missing else ""
    )


def _open(snapshot: Snapshot, servers: list[Object], modes: list[Mtls], port_known: bool) -> Result:
    """No server demands mTLS: then plaintext was not refused for want of it, unless a port of its own may be STRICT."""
    policies = {m.policy.ref: m.policy for m in modes if m.policy}
    some = any(
        p.text("spec", "portLevelMtls", port, "mode") == "STRICT"
        for p in policies.values()
        for port in p.mapping("spec", "portLevelMtls")
    )
    mode = names(sorted({m.mode for m in modes}))
    return CHECK.good(
        f"{names(_workloads(snapshot, servers))} accepts plaintext: its mTLS mode is {mode}",
        *(() if some and not port_known else (REFUSED,)),
        about=next(iter(policies.values()), None),
        proofs=_proofs(modes[:1]),
    )


def _strict(snapshot: Snapshot, about: About, server: Object, mode: Mtls, port: int | None) -> Iterator[Result]:
    callers = callers_of(snapshot, about)
    outside = [p for p in callers if not in_mesh(snapshot, p)]
    owner = workload_of(snapshot, server)
    refused = (REFUSED, *(("ztunnel-policy-denied",) if in_ambient(snapshot, server) else ()))
    what = f"{owner.name}" + (f" port {port}" if port is not None else "")
    if callers and not outside:
        yield CHECK.unknown(
            f"mTLS of {what} is STRICT, and {names(_workloads(snapshot, callers))} is in the mesh", mode.policy
        )
        return
    if callers:
        yield CHECK.bad(
            f"mTLS of {what} is STRICT, and its client {names(_workloads(snapshot, outside))} has no sidecar and is not ambient",
            *refused,
            *CLOSED,
            about=mode.policy,
            proofs=(*_proofs([mode]), Proof(outside[0].ref, "spec.containers", _containers(outside[0]))),
            advice="Bring the client into the mesh; until then accept plaintext at this workload only",
            edits=_permissive(snapshot, server, mode),
        )
        return
    if (about.host or about.service) and not about.source:
        yield CHECK.unknown(f"mTLS of {what} is STRICT; who called it is not known", mode.policy)
        return
    others = _outsiders(snapshot)
    near = [p for p in others if p.namespace == server.namespace]
    known = f"; without a sidecar are {names(_workloads(snapshot, near or others))}" if others else ""
    yield CHECK.bad(
        f"mTLS of {what} is STRICT: who calls it in plaintext is refused{known}",
        *refused,
        about=mode.policy,
        proofs=(*_proofs([mode]), *(Proof(p.ref, "spec.containers", _containers(p)) for p in (near or others)[:2])),
        advice="Bring the clients into the mesh; until then accept plaintext at this workload only",
        edits=_permissive(snapshot, server, mode),
    )


def _permissive(snapshot: Snapshot, server: Object, mode: Mtls) -> tuple[Edit, ...]:
    """Plaintext for this workload alone: its own policy changed, or one made for it where the namespace's or the mesh's decides."""
    policy = mode.policy
    root = root_namespace(snapshot)
    owner = workload_of(snapshot, server)
    title = f"Let {owner.name} accept plaintext beside mTLS for a while"
    why = "Anyone who reaches the pod can then call it without an identity, until the clients are in the mesh and this is undone."
    if policy is None:
        return ()
    if policy.mapping("spec", "selector", "matchLabels"):
        path = mode.field.split(".")[1:]
        patch: Any = "PERMISSIVE"
        for key in reversed(path):
            patch = {key: patch}
        return (Edit(policy.ref, title, {"spec": patch}, why, Risk.WEAKENS_SECURITY),)
    labels = selector_of(snapshot, server)
    name = f"{owner.name[:50]}-permissive"
    if not labels or server.namespace == root or snapshot.get("PeerAuthentication", server.namespace, name):
        return ()
    raw = {
        "apiVersion": policy.ref.api,
        "kind": "PeerAuthentication",
        "metadata": {"name": name, "namespace": server.namespace},
        "spec": {"selector": {"matchLabels": dict(labels)}, "mtls": {"mode": "PERMISSIVE"}},
    }
    ref = Ref("PeerAuthentication", server.namespace, name, policy.ref.api)
    return (Edit(ref, title, raw, why, Risk.WEAKENS_SECURITY, create=True),)


def _everywhere(snapshot: Snapshot) -> Iterator[Result]:
    found = list(_ignored(snapshot))
    outsiders = _outsiders(snapshot)
    spaces: dict[str, list[Object]] = {}
    for p in outsiders:
        spaces.setdefault(p.namespace, []).append(p)
    strict: dict[Ref, tuple[Mtls, list[Object]]] = {}
    meshed = 0
    for pods in workloads(snapshot).values():
        if in_mesh(snapshot, pods[0]):
            meshed += len(pods)
            mode = mtls_of(snapshot, pods[0])
            if mode.mode == "STRICT" and mode.policy:
                strict.setdefault(mode.policy.ref, (mode, []))[1].extend(pods)
    for mode, servers in strict.values():
        near = [p for space in sorted({s.namespace for s in servers}) for p in spaces.get(space, ())]
        if not outsiders or mode.policy is None:
            continue
        some = near or outsiders
        where = "beside them" if near else "in other namespaces"
        found.append(
            CHECK.bad(
                f"{several(len(servers), 'pod')} accept mTLS only, and {several(len(some), 'pod')} {where} without a sidecar "
                "cannot call them: " + names(_workloads(snapshot, some)),
                REFUSED,
                about=mode.policy,
                severity=Severity.WARNING if near else Severity.INFO,
                proofs=(*_proofs([mode]), *(Proof(p.ref, "spec.containers", _containers(p)) for p in some[:2])),
                advice="Inject them, or keep PERMISSIVE for what they call",
            )
        )
    yield from found
    if not found:
        yield CHECK.good(f"{several(meshed, 'pod')} in the mesh; no pod without a sidecar meets a STRICT one")


def _ignored(snapshot: Snapshot) -> Iterator[Result]:
    """What Istio passes over: a selector in the root namespace, ports without a selector, a second policy of the same scope."""
    root = root_namespace(snapshot)
    first: dict[str, Object] = {}
    for p in sorted(snapshot.all("PeerAuthentication"), key=age):
        selector = p.mapping("spec", "selector", "matchLabels")
        if selector and p.namespace == root:
            text, field = (
                f"{p.name} has a selector in the root namespace {root}, where it counts for nothing",
                "spec.selector",
            )
        elif not selector and p.at("spec", "portLevelMtls"):
            text, field = f"ports of {p.name} count for nothing, as it has no selector", "spec.portLevelMtls"
        elif not selector and p.namespace in first:
            text = f"{p.name} counts for nothing: {first[p.namespace].name} is older and holds for namespace {p.namespace}, too"
            field = "metadata.creationTimestamp"
        else:
            if not selector:
                first[p.namespace] = p
            continue
        yield CHECK.bad(
            text, about=p, severity=Severity.WARNING, proofs=(Proof(p.ref, field, str(p.at(*field.split(".")))[:120]),)
        )


def _outsiders(snapshot: Snapshot) -> list[Object]:
    return [p for pods in workloads(snapshot).values() for p in pods if not in_mesh(snapshot, p)]


def _workloads(snapshot: Snapshot, pods: Iterable[Object]) -> list[str]:
    return list(dict.fromkeys(f"{(w := workload_of(snapshot, p)).namespace}/{w.name}" for p in pods))


def _containers(pod: Object) -> str:
    return names([str(c.get("name")) for c in pod.mappings("spec", "containers")])


def _proofs(modes: list[Mtls]) -> tuple[Proof, ...]:
    return tuple(Proof(m.policy.ref, m.field, m.mode) for m in modes if m.policy)


CHECK = Check(
    "peer-authentication", "Which mTLS mode is in force, and who calls without?", ("PeerAuthentication", "Pod"), run
)
