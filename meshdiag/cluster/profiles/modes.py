"""Development (PERMISSIVE, ALLOW_ANY) against production (STRICT, REGISTRY_ONLY), and what breaks when one switches."""

from __future__ import annotations

from collections.abc import Iterator

from meshdiag.cluster.mesh import age, mesh_config, names, root_namespace
from meshdiag.cluster.objects import Object, Ref, at
from meshdiag.cluster.profiles._applications import outside, workloads
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.model import Risk, Severity


def mesh_policy(snapshot: Snapshot) -> Object | None:
    """The PeerAuthentication of the whole mesh: in the root namespace, without a selector (the oldest one counts)."""
    some = [
        p for p in snapshot.all("PeerAuthentication", root_namespace(snapshot)) if not p.mapping("spec", "selector")
    ]
    return min(some, key=age, default=None)


def mesh_mode(policy: Object | None) -> str:
    """`STRICT`, `PERMISSIVE` or `DISABLE`; Istio's default is PERMISSIVE."""
    mode = policy.text("spec", "mtls", "mode") if policy else ""
    return mode if mode and mode != "UNSET" else "PERMISSIVE"


def _mode_edit(snapshot: Snapshot, policy: Object | None, mode: str, risk: Risk, why: str) -> Edit:
    if policy is not None:
        return Edit(policy.ref, f"Set mTLS of the mesh to {mode}", {"spec": {"mtls": {"mode": mode}}}, why, risk)
    ref = Ref("PeerAuthentication", root_namespace(snapshot), "default", "security.istio.io/v1")
    new = {
        "apiVersion": ref.api, "kind": ref.kind, "metadata": {"name": ref.name, "namespace": ref.namespace},
        "spec": {"mtls": {"mode": mode}},
    }  # fmt: skip
    return Edit(ref, f"Set mTLS of the mesh to {mode}", new, why, risk, create=True)


def _strict(snapshot: Snapshot, about: About) -> Iterator[Result]:
    policy = mesh_policy(snapshot)
    mode = mesh_mode(policy)
    proofs = (Proof(policy.ref, "spec.mtls.mode", mode),) if policy else ()
    left = outside(snapshot, workloads(snapshot))
    loses = f"{len(left)} workloads outside of the mesh would lose access: {names(left, 5)}" if left else ""
    if mode == "STRICT":
        yield STRICT.good("mTLS is STRICT in the whole mesh", about=policy, proofs=proofs)
        if loses:
            yield STRICT.bad(
                loses.replace("would lose", "have no"), "mtls-plaintext-to-strict", severity=Severity.WARNING
            )
        return
    why = "with PERMISSIVE anybody who reaches a pod may talk to it in plaintext, without an identity"
    yield STRICT.bad(
        f"mTLS of the mesh is {mode}: plaintext is accepted" + (f". If you switch to STRICT, {loses}" if loses else ""),
        about=policy,
        proofs=proofs,
        severity=Severity.WARNING,
        advice="bring these into the mesh first, or exempt their servers by port with a PeerAuthentication of their own"
        if loses
        else "every workload is in the mesh: STRICT should break nothing inside; probes are rewritten, outside clients come by a gateway",
        edits=() if loses else (_mode_edit(snapshot, policy, "STRICT", Risk.CHANGES_TRAFFIC, why),),
    )


STRICT = Check("mtls-strict", "Is mTLS STRICT in the whole mesh?", ("PeerAuthentication", "Pod"), _strict)


def _permissive(snapshot: Snapshot, about: About) -> Iterator[Result]:
    policy = mesh_policy(snapshot)
    mode = mesh_mode(policy)
    left = outside(snapshot, workloads(snapshot))
    if mode != "STRICT" or not left:
        yield PERMISSIVE.good(f"mTLS of the mesh is {mode}: workloads outside of the mesh can call those inside" if left else
                              f"mTLS of the mesh is {mode}, and every workload is in the mesh")  # fmt: skip
        return
    yield PERMISSIVE.bad(
        f"mTLS is STRICT, and {len(left)} workloads are outside of the mesh: {names(left, 5)} cannot call those inside",
        "mtls-plaintext-to-strict",
        about=policy,
        severity=Severity.WARNING,
        proofs=(Proof(policy.ref, "spec.mtls.mode", mode),) if policy else (),
        edits=(_mode_edit(snapshot, policy, "PERMISSIVE", Risk.WEAKENS_SECURITY, "while a mesh is being built"),),
    )


PERMISSIVE = Check(
    "mtls-permissive",
    "Can workloads outside of the mesh call those inside?",
    ("PeerAuthentication", "Pod"),
    _permissive,
)


def egress_mode(snapshot: Snapshot) -> tuple[Object | None, str]:
    """The ConfigMap and `ALLOW_ANY` (Istio's default) or `REGISTRY_ONLY`."""
    source, config = mesh_config(snapshot)
    mode = at(config, "outboundTrafficPolicy", "mode")
    return source, mode if isinstance(mode, str) and mode else "ALLOW_ANY"


def _registry_only(snapshot: Snapshot, about: About) -> Iterator[Result]:
    source, mode = egress_mode(snapshot)
    entries = snapshot.all("ServiceEntry")
    if source is None:
        yield REGISTRY_ONLY.unknown("the ConfigMap istio is not there")
    elif mode == "REGISTRY_ONLY":
        proof = Proof(source.ref, "data.mesh: outboundTrafficPolicy.mode", mode)
        yield REGISTRY_ONLY.good(
            f"only known hosts can be called ({len(entries)} ServiceEntries)", about=source, proofs=(proof,)
        )
    else:
        yield REGISTRY_ONLY.bad(
            f"outboundTrafficPolicy is {mode}: any host outside can be called. If you switch to REGISTRY_ONLY, every external host "
            f"without a ServiceEntry is blocked (502, BlackHoleCluster); there are {len(entries)} ServiceEntries",
            about=source,
            severity=Severity.WARNING,
            advice="first list what is called: meshdiag tail, or frame(...) with direction == 'passthrough'; then a ServiceEntry for each; "
            "then istioctl install --set meshConfig.outboundTrafficPolicy.mode=REGISTRY_ONLY",
        )


REGISTRY_ONLY = Check(
    "egress-registry-only", "Can only known external hosts be called?", ("ConfigMap", "ServiceEntry"), _registry_only
)


def _allow_any(snapshot: Snapshot, about: About) -> Iterator[Result]:
    source, mode = egress_mode(snapshot)
    if source is None:
        yield ALLOW_ANY.unknown("the ConfigMap istio is not there")
    elif mode == "REGISTRY_ONLY":
        yield ALLOW_ANY.bad(
            "outboundTrafficPolicy is REGISTRY_ONLY: external hosts without a ServiceEntry are blocked",
            "egress-blocked",
            about=source,
            proofs=(Proof(source.ref, "data.mesh: outboundTrafficPolicy.mode", mode),),
            severity=Severity.INFO,
            advice="for development: istioctl install --set meshConfig.outboundTrafficPolicy.mode=ALLOW_ANY",
        )
    else:
        yield ALLOW_ANY.good(f"outboundTrafficPolicy is {mode}: external hosts can be called", about=source)


ALLOW_ANY = Check("egress-allow-any", "Can external hosts be called?", ("ConfigMap",), _allow_any)
