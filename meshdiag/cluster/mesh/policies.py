"""Which policies select a pod, and which mTLS mode they come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from meshdiag.cluster.mesh.planes import root_namespace
from meshdiag.cluster.mesh.pods import workload_of
from meshdiag.cluster.mesh.selectors import selects
from meshdiag.cluster.objects import RESOURCES, Object
from meshdiag.cluster.snapshot import Snapshot


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


def selector_of(snapshot: Snapshot, pod: Object) -> Mapping[str, str]:
    """The labels by which its workload selects its pods; empty when it is not here."""
    owner = workload_of(snapshot, pod)
    workload = snapshot.get(owner.kind, owner.namespace, owner.name) if owner.kind in RESOURCES else None
    return workload.strings("spec", "selector", "matchLabels") if workload else {}
