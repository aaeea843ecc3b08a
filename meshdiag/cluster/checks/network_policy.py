"""Do NetworkPolicies drop what the mesh needs: istiod, DNS, HBONE, webhooks, health checks, the workload's port?

A pod is isolated in a direction once a policy with that direction selects it; then a connection needs a rule of any such policy, on
both sides (https://kubernetes.io/docs/concepts/services-networking/network-policies/). Policies see the pod's port, after the Service;
between sidecars that is the application's, in ambient 15008, and kubelet's probes come from 169.254.7.127 there
(https://istio.io/latest/docs/ambient/usage/networkpolicy/). Policies of a CNI's own kinds are not seen here, so that nothing is ruled
out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final

from meshdiag.cluster.mesh import (
    by_workload,
    callers_of,
    containers,
    control_planes,
    full_host,
    in_ambient,
    in_mesh,
    is_gateway,
    is_over,
    label_selector,
    names,
    pods_of,
    pods_with,
    proxy,
    selector_of,
    servers_of,
    service_at,
    target_port,
    workload_of,
    workloads,
)
from meshdiag.cluster.objects import Object, Ref, at, mappings
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.model import Severity

BLOCKED: Final = "network-policy-blocked"
ISTIOD: Final = ("xds-unreachable", "ca-unreachable", "proxy-waiting-for-config")
DNS: Final = ("dns-resolution-failed", BLOCKED)
WEBHOOK: Final = ("injection-webhook-failed", "validation-webhook-failed")
CALL: Final = (
    "upstream-connect-timeout",
    "upstream-unreachable",
    "egress-passthrough-failed",
    "ext-authz-unavailable",
    BLOCKED,
)
HBONE: Final = ("ztunnel-upstream-failed", "upstream-connect-timeout", BLOCKED)
PROBE: Final = ("health-probe-failed", BLOCKED)

PROBER: Final = "169.254.7.127"
OUTSIDE: Final = "outside"
"""A peer that is no pod: the API server, a load balancer, the internet."""

Peer = Object | str | None
"""A pod, an address or `OUTSIDE`; None is anyone."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A connection that no rule lets through: at which pod, in which direction, and the policies that isolate it."""

    pod: Object
    direction: str
    port: int
    protocol: str
    policies: tuple[Object, ...]


# --- what Kubernetes says ------------------------------------------------------------------------------------------


@lru_cache(4)
def _memo(snapshot: Snapshot) -> dict[tuple[Ref, str], tuple[Object, ...]]:
    return {}


def isolating(snapshot: Snapshot, pod: Object, direction: str) -> tuple[Object, ...]:
    """The policies that select a pod and speak of `Ingress` or `Egress`; without policyTypes Ingress always, Egress with rules."""
    memo, key = _memo(snapshot), (pod.ref, direction)
    if key not in memo:
        found = []
        for p in snapshot.all("NetworkPolicy", pod.namespace):
            types = p.texts("spec", "policyTypes") or ("Ingress", *(("Egress",) if p.at("spec", "egress") else ()))
            if direction in types and label_selector(p.mapping("spec", "podSelector"), pod.labels):
                found.append(p)
        memo[key] = tuple(found)
    return memo[key]


def allowed(
    snapshot: Snapshot, pod: Object, direction: str, peer: Peer, port: int, protocol: str = "TCP"
) -> bool | None:
    """Whether policies let a pod be called (Ingress) or call (Egress); None when that depends on what is not known."""
    policies = isolating(snapshot, pod, direction)
    if not policies or pod.flag("spec", "hostNetwork"):
        return True
    found: bool | None = False
    for p in policies:
        for rule in p.mappings("spec", direction.lower()):
            target = pod if direction == "Ingress" else peer
            holds = _both(
                _peers(snapshot, p, rule.get("from" if direction == "Ingress" else "to"), peer),
                _ports(rule.get("ports"), target, port, protocol),
            )
            if holds:
                return True
            found = None if holds is None else found
    return found


def _both(one: bool | None, other: bool | None) -> bool | None:
    return False if one is False or other is False else None if one is None or other is None else True


def _peers(snapshot: Snapshot, policy: Object, said: Any, peer: Peer) -> bool | None:
    if not said:
        return True
    answers = [_peer(snapshot, policy, p, peer) for p in mappings(said)]
    return True if True in answers else None if None in answers else False


def _peer(snapshot: Snapshot, policy: Object, said: Mapping[str, Any], peer: Peer) -> bool | None:
    block = said.get("ipBlock")
    if peer is None:
        return None
    if isinstance(block, Mapping):
        if peer == OUTSIDE:
            return True if block.get("cidr") in ("0.0.0.0/0", "::/0") and not block.get("except") else None
        inside = _within(block, peer if isinstance(peer, str) else peer.text("status", "podIP"))
        return inside if isinstance(peer, str) or not inside else None  # of pods it is the CNI's to say
    if isinstance(peer, str):
        return False
    if peer.flag("spec", "hostNetwork"):
        return None
    pods, spaces = said.get("podSelector"), said.get("namespaceSelector")
    if isinstance(pods, Mapping) and not label_selector(pods, peer.labels):
        return False
    if not isinstance(spaces, Mapping):
        return peer.namespace == policy.namespace if isinstance(pods, Mapping) else None
    space = snapshot.get("Namespace", "", peer.namespace)
    own = {"kubernetes.io/metadata.name": peer.namespace}
    if label_selector(spaces, {**own, **space.labels} if space else own):
        return True
    return False if space else None


def _within(block: Mapping[str, Any], address: str) -> bool:
    try:
        ip = ip_address(address)
        excepted = block.get("except")
        return ip in ip_network(str(block.get("cidr")), strict=False) and not any(
            ip in ip_network(str(e), strict=False) for e in (excepted if isinstance(excepted, list) else ())
        )
    except ValueError:
        return False


def _ports(said: Any, target: Peer, port: int, protocol: str) -> bool | None:
    if not said:
        return True
    found: bool | None = False
    for entry in mappings(said):
        if (entry.get("protocol") or "TCP") != protocol:
            continue
        first, last = entry.get("port"), entry.get("endPort")
        if first is None:
            return True
        if isinstance(first, str):
            if not isinstance(target, Object):
                found = None
                continue
            own = (p for c in containers(target) for p in mappings(c.get("ports")) if p.get("name") == first)
            if any(p.get("containerPort") == port for p in own):
                return True
        elif isinstance(first, int) and first <= port <= (last if isinstance(last, int) else first):
            return True
    return found


def dropped(snapshot: Snapshot, client: Peer, server: Peer, port: int, protocol: str = "TCP") -> Drop | None:
    """Where a connection is dropped for sure: the client may not call, or the server may not be called."""
    if isinstance(client, Object) and allowed(snapshot, client, "Egress", server, port, protocol) is False:
        return Drop(client, "Egress", port, protocol, isolating(snapshot, client, "Egress"))
    if isinstance(server, Object) and allowed(snapshot, server, "Ingress", client, port, protocol) is False:
        return Drop(server, "Ingress", port, protocol, isolating(snapshot, server, "Ingress"))
    return None


# --- what the mesh needs -------------------------------------------------------------------------------------------


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the workload whose log has the finding and of the call that it made; else of the whole mesh."""
    if not snapshot.all("NetworkPolicy") and snapshot.namespaces is None:
        yield CHECK.good("there is no NetworkPolicy")
        return
    istiods = [p for c in control_planes(snapshot) for p in c.pods]
    if not about:
        found = _joined(snapshot, [*_istiod(snapshot, istiods), *_everywhere(snapshot, istiods)])
        yield from found
        if not found:
            yield CHECK.good(f"none of {len(snapshot.all('NetworkPolicy'))} NetworkPolicies drops what the mesh needs")
        return
    named = bool(about.workload or about.pod)
    own = (
        [p for p in pods_of(snapshot, about) if not is_over(p)] if named or (about.namespace and not about.host) else []
    )
    found = [] if about.host and not named else list(_istiod(snapshot, istiods))
    for pods in list(by_workload(snapshot, own).values())[:50]:
        found += _needs(snapshot, pods[0], istiods)
    found = _joined(snapshot, [*found, *_call(snapshot, about)])
    yield from found
    if not found:
        some = {p.ref: p for pod in own[:50] for d in ("Ingress", "Egress") for p in isolating(snapshot, pod, d)}
        said = f"{names(some.values())} select it and let it" if some else "no NetworkPolicy selects it;"
        if own:
            yield CHECK.good(
                f"{said} reach istiod and DNS" if some else f"{said} it reaches istiod and DNS",
                about=next(iter(some.values()), None),
            )


def _needs(snapshot: Snapshot, pod: Object, istiods: list[Object]) -> Iterator[Result]:
    """Of one pod: istiod, DNS, health checks, HBONE."""
    ztunnel = pod.labels.get("app") == "ztunnel"
    if proxy(pod) is not None or ztunnel:
        drops = [dropped(snapshot, pod, i, 15012) for i in istiods]
        if istiods and all(drops) and (drop := drops[0]):
            causes = ("ztunnel-xds-unreachable", BLOCKED) if ztunnel else (*ISTIOD, BLOCKED)
            yield _bad(snapshot, drop, [pod], "istiod on port 15012", causes, _to_istiod(drop, istiods[0]))
    resolvers = pods_with(snapshot, {"k8s-app": "kube-dns"}, "kube-system")
    peers: list[Peer] = [*resolvers] or [None]
    drops = [dropped(snapshot, pod, d, 53, "UDP") for d in peers]
    if all(drops) and (drop := drops[0]) and not _other_dns(snapshot, pod):
        yield _bad(snapshot, drop, [pod], "DNS on UDP port 53", DNS, _to_dns(drop) if resolvers else ())
    if is_gateway(pod) and (drop := dropped(snapshot, OUTSIDE, pod, 15021)):
        waypoint = (
            "istio.io/gateway-name" in pod.labels
            or pod.labels.get("gateway.istio.io/managed") == "istio.io-mesh-controller"
        )
        if not waypoint:
            edits = _add(drop, {"ports": [{"protocol": "TCP", "port": 15021}]}, "health checks of the load balancer")
            yield _bad(
                snapshot,
                drop,
                [pod],
                "health checks of a load balancer on port 15021",
                (BLOCKED,),
                edits,
                Severity.WARNING,
            )
    if in_ambient(snapshot, pod):
        yield from _ambient(snapshot, pod)


def _ambient(snapshot: Snapshot, pod: Object) -> Iterator[Result]:
    """HBONE from anyone, and the probes of kubelet."""
    if drop := dropped(snapshot, None, pod, 15008):
        yield _bad(snapshot, drop, [pod], "HBONE on port 15008 from anyone", HBONE, _beside(drop, 15008))
    for c in pod.mappings("spec", "containers"):
        for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
            number = next(
                (n for h in ("httpGet", "tcpSocket", "grpc") if (n := at(c, probe, h, "port")) is not None), None
            )
            if isinstance(number, str):
                number = next(
                    (p.get("containerPort") for p in mappings(c.get("ports")) if p.get("name") == number), None
                )
            if isinstance(number, int) and (drop := dropped(snapshot, PROBER, pod, number)):
                rule = {"from": [{"ipBlock": {"cidr": f"{PROBER}/32"}}]}
                edits = _add(drop, rule, "kubelet's probes, which come from this address in ambient")
                yield _bad(
                    snapshot,
                    drop,
                    [pod],
                    f"kubelet's probes, which come from {PROBER} in ambient, on port {number}",
                    PROBE,
                    edits,
                )
                return


def _call(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """The call that a finding speaks of: from its client to the service's pods, or out of the cluster."""
    if not (about.host or about.service):
        return
    callers: tuple[Peer, ...] = callers_of(snapshot, about)[:1] or (None,)
    number = int(about.port) if about.port.isdecimal() else None
    servers = servers_of(snapshot, about)
    host = full_host(about.host or about.service, about.service_namespace or about.namespace)
    service = service_at(snapshot, host)
    if not servers:
        client = callers[0]
        if service is not None or ".svc." in host or not isinstance(client, Object) or not number:
            return
        if drop := dropped(snapshot, client, OUTSIDE, number):
            yield _bad(snapshot, drop, [client], f"{host} on port {number}", CALL, ())
        return
    blocked = []
    for server in servers[:20]:
        port = target_port(service, server, number) if service is not None and number is not None else None
        client = callers[0]
        tunnelled = isinstance(client, Object) and in_ambient(snapshot, client) and in_ambient(snapshot, server)
        if tunnelled or port is not None:
            blocked.append((server, dropped(snapshot, client, server, 15008 if tunnelled else port or 0), tunnelled))
    drops = [(s, d, t) for s, d, t in blocked if d]
    if not drops:
        return
    server, drop, tunnelled = drops[0]
    part = f" ({len(drops)} of {len(blocked)} pods)" if len(drops) < len(blocked) else ""
    what = f"{workload_of(snapshot, server).name} on port {drop.port}{' (HBONE)' if tunnelled else ''}{part}"
    client = callers[0]
    who = [client] if isinstance(client, Object) else []
    yield _bad(snapshot, drop, who, what, HBONE if tunnelled else CALL, _between(snapshot, drop, client, server))


def _istiod(snapshot: Snapshot, istiods: list[Object]) -> Iterator[Result]:
    """The webhooks, which the API server calls, and the API server, which istiod calls."""
    drops = [dropped(snapshot, OUTSIDE, i, 15017) for i in istiods]
    if istiods and all(drops) and (drop := drops[0]):
        edits = _add(
            drop, {"ports": [{"protocol": "TCP", "port": 15017}]}, "webhook calls of the API server, which is no pod"
        )
        yield _bad(snapshot, drop, [], "istiod's webhooks on port 15017, which the API server calls", WEBHOOK, edits)
    ports = (443, 6443)
    outward = [[dropped(snapshot, i, OUTSIDE, p) for p in ports] for i in istiods]
    if istiods and all(d for some in outward for d in some) and (drop := outward[0][0]):
        yield _bad(snapshot, drop, istiods[:1], "the API server on port 443 or 6443", ("istiod-api-unreachable",), ())


def _everywhere(snapshot: Snapshot, istiods: list[Object]) -> Iterator[Result]:
    """Of each workload in the mesh; the same policies and the same need are told once."""
    found: dict[tuple[tuple[str, ...], tuple[Ref, ...]], tuple[Result, list[str]]] = {}
    gateways = by_workload(snapshot, [p for p in snapshot.all("Pod") if is_gateway(p) and not is_over(p)])
    for owner, some in (*workloads(snapshot).items(), *gateways.items()):
        if not in_mesh(snapshot, some[0]):
            continue
        for r in _needs(snapshot, some[0], istiods):
            key = r.causes, tuple(p.ref for p in r.proofs)
            found.setdefault(key, (r, []))[1].append(owner.name)
    for r, owners in found.values():
        more = f" (also {names(owners[1:])})" if len(owners) > 1 else ""
        yield CHECK.bad(
            r.text + more,
            *r.causes,
            proofs=r.proofs,
            edits=r.edits,
            severity=r.severity,
            advice=r.advice,
            about=_object(snapshot, r),
        )


def _object(snapshot: Snapshot, result: Result) -> Object | None:
    ref = result.about
    return snapshot.get(ref.kind, ref.namespace, ref.name) if ref else None


def _bad(
    snapshot: Snapshot,
    drop: Drop,
    who: list[Object],
    what: str,
    causes: tuple[str, ...],
    edits: tuple[Edit, ...],
    severity: Severity = Severity.ERROR,
) -> Result:
    first = drop.policies[0]
    owner = workload_of(snapshot, who[0]).name if who else ""
    side = "out of" if drop.direction == "Egress" else "in to"
    at_ = workload_of(snapshot, drop.pod)
    start = (
        f"{owner} cannot reach {what}"
        if owner and drop.pod.ref == who[0].ref and drop.direction == "Egress"
        else f"{at_.name} is not open for {what}"
    )
    return CHECK.bad(
        f"{start}: NetworkPolicies let {'nothing' if not first.at('spec', drop.direction.lower()) else 'only other traffic'} "
        f"{side} {at_.name} ({names(drop.policies)})",
        *causes,
        about=first,
        severity=severity,
        proofs=tuple(
            Proof(p.ref, f"spec.{drop.direction.lower()}", _json(p.at("spec", drop.direction.lower()) or []))
            for p in drop.policies[:3]
        ),
        advice="Allow it; what other policies allow stays, as they add up",
        edits=edits,
    )


def _joined(snapshot: Snapshot, results: list[Result]) -> list[Result]:
    """The results, with one edit for each policy and direction: a patch replaces the whole list of rules, so that the second of two
    would take the first back."""
    groups: dict[tuple[Ref, str], list[Edit]] = {}
    for e in (e for r in results for e in r.edits):
        groups.setdefault((e.ref, next(iter(e.patch["spec"]))), []).append(e)
    one: dict[tuple[Ref, str], Edit] = {}
    for (ref, key), edits in groups.items():
        policy = snapshot.get(ref.kind, ref.namespace, ref.name)
        there = policy.at("spec", key) if policy else None
        base = there if isinstance(there, list) else []
        lists = [e.patch["spec"][key] for e in edits]
        rules = next((x for x in lists if x[: len(base)] != base), base)  # one that changes the rules that are there
        added = [rule for x in lists if x[: len(base)] == base for rule in x[len(base) :]]
        rules = [*rules, *(a for i, a in enumerate(added) if a not in added[:i])]
        what = dict.fromkeys(e.title.partition(" pass ")[2] for e in edits)
        title = f"Let NetworkPolicy {ref.name} pass {' and '.join(what)}"
        one[ref, key] = replace(edits[0], title=title, patch={"spec": {key: rules}})
    return [replace(r, edits=tuple(one[e.ref, next(iter(e.patch["spec"]))] for e in r.edits)) for r in results]


# --- edits ---------------------------------------------------------------------------------------------------------


def _add(drop: Drop, rule: Mapping[str, Any], what: str) -> tuple[Edit, ...]:
    """A further rule in the first policy that isolates the pod."""
    policy = drop.policies[0]
    key = drop.direction.lower()
    rules = [*(policy.at("spec", key) if isinstance(policy.at("spec", key), list) else ()), dict(rule)]
    types = policy.texts("spec", "policyTypes")
    spec: dict[str, Any] = {key: rules}
    if types and drop.direction not in types:
        return ()
    return (
        Edit(
            policy.ref, f"Let NetworkPolicy {policy.name} pass {what}", {"spec": spec}, "The rules that are there stay."
        ),
    )


def _space(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _to_istiod(drop: Drop, istiod: Object) -> tuple[Edit, ...]:
    ports = [{"protocol": "TCP", "port": 15012}]
    if drop.direction == "Ingress":
        return _add(drop, {"from": [{"namespaceSelector": {}}], "ports": ports}, "proxies to istiod on port 15012")
    to = {**_space(istiod.namespace), "podSelector": {"matchLabels": {"app": "istiod"}}}
    return _add(drop, {"to": [to], "ports": ports}, "istiod on port 15012")


def _to_dns(drop: Drop) -> tuple[Edit, ...]:
    if drop.direction != "Egress":
        return ()
    ports = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    to = {**_space("kube-system"), "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    return _add(drop, {"to": [to], "ports": ports}, "DNS")


def _beside(drop: Drop, port: int) -> tuple[Edit, ...]:
    """The port beside those that the rules let in already, for the same callers."""
    policy = drop.policies[0]
    rules = policy.mappings("spec", "ingress")
    if not any(mappings(r.get("ports")) for r in rules):
        return ()
    more = [
        {**r, "ports": [*r["ports"], {"protocol": "TCP", "port": port}]} if mappings(r.get("ports")) else dict(r)
        for r in rules
    ]
    title = f"Let NetworkPolicy {policy.name} pass HBONE (port {port}) from those it lets in already"
    why = "In ambient traffic arrives at port 15008 whatever port it is for; keep port rules in an AuthorizationPolicy."
    return (Edit(policy.ref, title, {"spec": {"ingress": more}}, why),)


def _between(snapshot: Snapshot, drop: Drop, client: Peer, server: Object) -> tuple[Edit, ...]:
    """A rule for exactly this client and server, where the labels that their workloads select by are known."""
    if not isinstance(client, Object):
        return ()
    other = server if drop.direction == "Egress" else client
    labels = selector_of(snapshot, other)
    if not labels:
        return ()
    peer = {**_space(other.namespace), "podSelector": {"matchLabels": dict(labels)}}
    rule = {
        "to" if drop.direction == "Egress" else "from": [peer],
        "ports": [{"protocol": drop.protocol, "port": drop.port}],
    }
    return _add(drop, rule, f"{workload_of(snapshot, other).name} on port {drop.port}")


def _other_dns(snapshot: Snapshot, pod: Object) -> bool:
    """A node-local cache or a resolver of another port or namespace (OpenShift: 5353) may answer, and a rule lets it."""
    return any(
        allowed(snapshot, pod, "Egress", peer, port, "UDP") is not False
        for peer, port in (("169.254.20.10", 53), (OUTSIDE, 53), (None, 5353))
    )


def _json(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 200 else f"{text[:199]}…"


CHECK = Check("network-policy", "Do NetworkPolicies let through what the mesh needs?", ("NetworkPolicy", "Pod"), run)
