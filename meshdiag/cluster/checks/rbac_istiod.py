"""May istiod read and write what it needs?

What it needs is in manifests/charts/istio-control/istio-discovery/templates/clusterrole.yaml of Istio (1.20 to 1.31); here stands what it
cannot work without. It runs as the service account of its Deployment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshdiag.cluster.mesh import ControlPlane, control_planes
from meshdiag.cluster.objects import Object, mappings, texts
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result


@dataclass(frozen=True, slots=True)
class Need:
    """A right, and what comes of its absence."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    causes: tuple[str, ...]


_READ: Final = ("get", "list", "watch")
_CONFIG: Final = ("istiod-api-forbidden", "istiod-not-ready")
NEEDS: Final = (
    Need("", "services", _READ, _CONFIG),
    Need("", "pods", _READ, _CONFIG),
    Need("", "nodes", _READ, _CONFIG),
    Need("", "namespaces", _READ, _CONFIG),
    Need("", "secrets", _READ, ("istiod-api-forbidden", "gateway-secret-missing")),
    Need("discovery.k8s.io", "endpointslices", _READ, _CONFIG),
    Need("networking.istio.io", "virtualservices", _READ, _CONFIG),
    Need("security.istio.io", "authorizationpolicies", _READ, _CONFIG),
    Need("authentication.k8s.io", "tokenreviews", ("create",), ("istiod-api-forbidden", "ca-rejected-identity", "xds-rejected-identity")),
    Need(
        "admissionregistration.k8s.io", "mutatingwebhookconfigurations", (*_READ, "patch"),
        ("istiod-api-forbidden", "istiod-webhook-patch-failed"),
    ),
)  # fmt: skip


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of every istiod."""
    planes = control_planes(snapshot)
    if not planes:
        yield CHECK.unknown("there is no istiod here")
    for plane in planes:
        yield from _of(snapshot, plane)


def _of(snapshot: Snapshot, plane: ControlPlane) -> Iterator[Result]:
    account = _account(plane)
    who = f"service account {account} of istiod in {plane.namespace}"
    bindings = [b for b in snapshot.all("ClusterRoleBinding") if _binds(b, plane.namespace, account)]
    roles = [r for b in bindings if (r := snapshot.get("ClusterRole", "", b.text("roleRef", "name")))]
    gone = [b for b in bindings if snapshot.get("ClusterRole", "", b.text("roleRef", "name")) is None]
    for b in gone:
        yield CHECK.bad(
            f"ClusterRoleBinding {b.name} of the {who} names ClusterRole {b.text('roleRef', 'name')}, which does not exist",
            "istiod-api-forbidden",
            about=b,
            proofs=(Proof(b.ref, "roleRef.name", b.text("roleRef", "name")),),
        )
    rules = [rule for r in roles for rule in r.mappings("rules")]
    lacking = [n for n in NEEDS if _missing(rules, n)]
    if not bindings:
        yield CHECK.bad(
            f"no ClusterRoleBinding gives the {who} anything",
            *dict.fromkeys(c for n in NEEDS for c in n.causes),
            about=plane.deployment,
            advice="install the chart istiod (or istioctl install) again: it has the roles",
        )
    elif lacking:
        for n in lacking:
            verbs = ", ".join(_missing(rules, n))
            name = f"{n.resource}.{n.group}" if n.group else n.resource
            yield CHECK.bad(
                f"the {who} may not {verbs} {name}",
                *n.causes,
                about=roles[0] if roles else bindings[0],
                proofs=tuple(Proof(b.ref, "roleRef.name", b.text("roleRef", "name")) for b in bindings[:3]),
                advice="install the chart istiod (or istioctl install) of the version that runs: its ClusterRole has this right",
            )
    elif not gone:
        yield CHECK.good(f"the {who} may do what istiod needs", about=plane.deployment)


def _account(plane: ControlPlane) -> str:
    for o, path in ((plane.deployment, ("spec", "template", "spec")), *((p, ("spec",)) for p in plane.pods)):
        if o is not None and (name := o.text(*path, "serviceAccountName")):
            return name
    return f"istiod-{plane.revision}" if plane.revision else "istiod"


def _binds(binding: Object, namespace: str, account: str) -> bool:
    groups = {f"system:serviceaccounts:{namespace}", "system:serviceaccounts", "system:authenticated"}
    return any(
        (s.get("kind") == "ServiceAccount" and s.get("name") == account and s.get("namespace") == namespace)
        or (s.get("kind") == "Group" and s.get("name") in groups)
        or (s.get("kind") == "User" and s.get("name") == f"system:serviceaccount:{namespace}:{account}")
        for s in mappings(binding.at("subjects"))
    )


def _missing(rules: list[Mapping[str, Any]], need: Need) -> tuple[str, ...]:
    """The verbs that no rule gives. One that is bound to names of objects gives less than is needed."""
    given: set[str] = set()
    for rule in rules:
        groups, resources = texts(rule.get("apiGroups")), texts(rule.get("resources"))
        if {"*", need.group} & set(groups) and {"*", need.resource} & set(resources) and not rule.get("resourceNames"):
            given |= set(texts(rule.get("verbs")))
    return () if "*" in given else tuple(v for v in need.verbs if v not in given)


CHECK = Check(
    "rbac-istiod",
    "May istiod read and write what it needs?",
    ("ClusterRole", "ClusterRoleBinding", "Deployment", "Pod"),
    run,
)
