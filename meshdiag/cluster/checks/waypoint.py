"""Is the waypoint that a label asks for there and ready, and is there one where policies need it?

`istio.io/use-waypoint` on a namespace, Service, ServiceEntry or pod names a Gateway of the Gateway API, of its own namespace unless
`istio.io/use-waypoint-namespace` says another; `none` is no waypoint, and the nearer label counts
(https://istio.io/latest/docs/ambient/usage/waypoint/). Routes of other namespaces may use it when its listener's allowedRoutes let
them. ztunnel knows connections only: rules about requests without a waypoint never fit, so that an ALLOW policy denies
(https://istio.io/latest/docs/ambient/usage/l4-policy/).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from meshdiag.cluster.mesh import (
    GATEWAY_NAME,
    in_ambient,
    is_ready,
    label_selector,
    names,
    pods_of,
    pods_with,
    policies_on,
    service_at,
    unread,
)
from meshdiag.cluster.objects import Object, at, mapping, mappings
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result

MISSING = "waypoint-missing"
FAILED = "ztunnel-upstream-failed"
DENIED = "ztunnel-policy-denied"
LABEL: Final = "istio.io/use-waypoint"
SPACE: Final = "istio.io/use-waypoint-namespace"
KINDS: Final = ("Namespace", "Service", "ServiceEntry", "Pod", "WorkloadEntry")

_REQUEST: Final = frozenset({"methods", "notMethods", "paths", "notPaths", "hosts", "notHosts"})
_SOURCE: Final = frozenset({"requestPrincipals", "notRequestPrincipals", "remoteIpBlocks", "notRemoteIpBlocks"})


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the labels that hold for the destination or workload of a finding, or of all."""
    objects = _about(snapshot, about) if about else tuple(o for kind in KINDS for o in snapshot.all(kind))
    asks = [o for o in objects if o.labels.get(LABEL) not in (None, "", "none")]
    told: set[tuple[str, str, str]] = set()
    found: list[Result] = []
    for o in asks:
        key = o.namespace, o.labels.get(SPACE) or _space(o), o.labels[LABEL]
        if o.ref.kind == "Pod" and key in told:
            continue  # the pods of one workload are told once
        if o.ref.kind == "Pod":
            told.add(key)
        found += _of(snapshot, o)
    found += _policies(snapshot, about)
    yield from found
    if not found:
        if not asks and about:
            yield CHECK.good("no label asks for a waypoint here", *((MISSING,) if _sure(snapshot, objects) else ()))
        else:
            causes = (MISSING,) if about and not unread(snapshot, "Pod") else ()
            yield CHECK.good(f"the waypoints that {len(asks)} labels ask for are ready", *causes)


def _space(o: Object) -> str:
    return o.name if o.ref.kind == "Namespace" else o.namespace


def _sure(snapshot: Snapshot, objects: tuple[Object, ...]) -> bool:
    return any(o.ref.kind == "Namespace" for o in objects) and not unread(snapshot, *KINDS)


def _about(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """What a finding's destination and workload are, and their namespaces; the nearer label hides the namespace's."""
    asked = about.host or about.service
    service = service_at(snapshot, asked, about.service_namespace or about.namespace) if asked else None
    if about.source and service is None:
        return ()  # the pod that is named is the client
    near = [service] if service else []
    if not near and (about.workload or about.pod):
        near = [p for p in pods_of(snapshot, about) if p.labels.get(LABEL)][:1]
    out = [o for o in near if o.labels.get(LABEL)]
    if not out:
        space = near[0].namespace if near else about.service_namespace or about.namespace
        namespace = snapshot.get("Namespace", "", space)
        out = [namespace] if namespace else []
    return tuple(out)


def _of(snapshot: Snapshot, o: Object) -> Iterator[Result]:
    """One label: its Gateway is there, istiod programmed it, lets this namespace use it, and has a ready pod."""
    name, space = o.labels[LABEL], o.labels.get(SPACE) or _space(o)
    where = Proof(o.ref, f"metadata.labels[{LABEL}]", name if space == _space(o) else f"{space}/{name}")
    if snapshot.namespaces is not None and space not in snapshot.namespaces:
        yield CHECK.unknown(f"waypoint {space}/{name}: its namespace was not read", o)
        return
    gateway = snapshot.get("KubernetesGateway", space, name)
    if gateway is None:
        others = [g.namespace for g in snapshot.all("KubernetesGateway") if g.name == name]
        hint = f"; there is one in {names(others)}" if others else ""
        yield CHECK.bad(
            f"{o.ref} asks for waypoint {space}/{name}, which is not there{hint}",
            MISSING,
            FAILED,
            about=o,
            proofs=(where,),
            advice="Create it (istioctl waypoint apply), name the right one, or take the label away",
        )
        return
    for i, c in enumerate(gateway.mappings("status", "conditions")):
        if c.get("type") in ("Accepted", "Programmed") and c.get("status") == "False":
            yield CHECK.bad(
                f"waypoint {gateway.ref} of {o.ref} is not ready: {c.get('reason')}: {c.get('message')}",
                MISSING,
                FAILED,
                about=gateway,
                proofs=(
                    where,
                    Proof(gateway.ref, f"status.conditions[{i}]", f"{c.get('type')} False, {c.get('reason')}"),
                ),
            )
            return
    if not _lets(snapshot, gateway, _space(o)):
        yield CHECK.bad(
            f"{o.ref} asks for waypoint {space}/{name}, whose listener lets its own namespace in only",
            MISSING,
            about=gateway,
            proofs=(where, Proof(gateway.ref, "spec.listeners[*].allowedRoutes", "does not name the namespace")),
            advice="Set allowedRoutes.namespaces.from: All, or Selector, on the listener of the waypoint",
        )
        return
    yield from _pods(snapshot, o, gateway, where)


def _lets(snapshot: Snapshot, gateway: Object, namespace: str) -> bool:
    """Whether a waypoint may be used from a namespace."""
    if namespace == gateway.namespace:
        return True
    listeners = gateway.mappings("spec", "listeners")
    for listener in listeners:
        allowed = mapping(at(listener, "allowedRoutes", "namespaces"))
        if allowed.get("from") == "All":
            return True
        if allowed.get("from") == "Selector":
            space = snapshot.get("Namespace", "", namespace)
            if space is None or label_selector(mapping(allowed.get("selector")), space.labels):
                return True
    return not listeners


def _pods(snapshot: Snapshot, o: Object, gateway: Object, where: Proof) -> Iterator[Result]:
    pods = pods_with(snapshot, {GATEWAY_NAME: gateway.name}, gateway.namespace)
    if (
        unread(snapshot, "Pod")
        or any(map(is_ready, pods))
        or not gateway.text("spec", "gatewayClassName").startswith("istio")
    ):
        return  # a class of others may run its pods elsewhere
    yield CHECK.bad(
        f"waypoint {gateway.ref} of {o.ref} has no ready pod" + (f" of {len(pods)}" if pods else ""),
        MISSING,
        FAILED,
        about=gateway,
        proofs=(where, *(Proof(p.ref, "status.conditions", "Ready is not True") for p in pods[:2])),
        advice="The events of its namespace and the log of its pods say why it does not start",
    )


# --- policies that need one ---


def _policies(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """AuthorizationPolicies with rules about requests on pods whose connections ztunnel decides on."""
    if snapshot.lacks("Pod", "Namespace"):
        return
    wanted = [p for p in snapshot.all("AuthorizationPolicy") if not p.at("spec", "targetRefs") and _of_requests(p)]
    if about.policy:
        wanted = [p for p in wanted if p.name == about.policy]
    if not wanted:
        return
    hit: dict[Object, Object] = {}
    for pod in _servers(snapshot, about):
        if len(hit) < len(wanted) and in_ambient(snapshot, pod):
            for policy in policies_on(snapshot, "AuthorizationPolicy", pod):
                if policy in wanted:
                    hit.setdefault(policy, pod)
    for policy, pod in hit.items():
        yield CHECK.bad(
            f"{policy.ref} has rules about requests and selects pods of the ambient mesh ({pod.name}): ztunnel knows connections "
            "only, and denies what it cannot decide",
            DENIED,
            FAILED,
            about=policy,
            proofs=(
                Proof(policy.ref, _of_requests(policy), "asks for a property of requests"),
                Proof(pod.ref, "metadata.name", pod.name),
            ),
            advice="Bind it to the Service with targetRefs, so that a waypoint enforces it",
        )


def _servers(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The pods that serve what a finding called; those of a client are not asked about."""
    asked = about.host or about.service
    service = service_at(snapshot, asked, about.service_namespace or about.namespace) if asked else None
    if service is not None:
        return pods_with(snapshot, service.strings("spec", "selector"), service.namespace)
    return () if asked or about.source else pods_of(snapshot, about)


def _of_requests(policy: Object) -> str:
    """Where a policy has a rule that only HTTP can answer; "" for none."""
    for i, rule in enumerate(policy.mappings("spec", "rules")):
        for part, inner, keys in (("to", "operation", _REQUEST), ("from", "source", _SOURCE)):
            for j, entry in enumerate(mappings(rule.get(part))):
                if any(k in keys and v for k, v in mapping(entry.get(inner)).items()):
                    return f"spec.rules[{i}].{part}[{j}].{inner}"
        for j, when in enumerate(mappings(rule.get("when"))):
            if _is_of_request(when.get("key")):
                return f"spec.rules[{i}].when[{j}]"
    return ""


def _is_of_request(key: Any) -> bool:
    return isinstance(key, str) and key.startswith("request.")


CHECK = Check("waypoint", "Are the waypoints there that labels and policies need?", ("KubernetesGateway",), run)
