"""Can the gateway's Service be reached from outside: has it an address, and on a local cluster a way to the host?

The nodes of k3d and kind are containers: a NodePort opens inside them, and the host has it only through a port that was mapped
(https://k3d.io/stable/usage/exposing_services/, https://kind.sigs.k8s.io/docs/user/configuration/#extra-port-mappings). What is
mapped stands in the container runtime and not in the cluster. k3s gives LoadBalancer Services an address with the pods `svclb-…`
(https://docs.k3s.io/networking/networking-services#service-load-balancer), which stay Pending where another Service, mostly
Traefik, holds their port; kind has no load balancer of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from meshdiag.cluster.mesh import GATEWAY_NAME, condition, is_gateway, is_ready, names, pods_behind
from meshdiag.cluster.objects import Object
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result
from meshdiag.model import Severity
from meshdiag.remedies.names import valid

CAUSE = "node-port-unreachable"

_K3D: Final = re.compile(r"k3d-([a-z0-9][-a-z0-9]{0,62})-(?:server|agent)-\d+")
_KIND: Final = re.compile(r"([a-z0-9][-a-z0-9]{0,62})-(?:control-plane|worker)\d*")
_STATUS: Final = frozenset({15021})


@dataclass(frozen=True, slots=True)
class _Local:
    """A cluster whose nodes are containers: by which tool, its name, and a node that shows it."""

    tool: str
    name: str
    node: Object


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the Services before gateways; a finding that names one asks about that one."""
    local = _local(snapshot)
    gateways = [s for s in _gateways(snapshot) if not about.gateway or s.name.startswith(about.gateway)]
    found = [r for s in gateways for r in _of(snapshot, s, local, bool(about))]
    yield from found
    if not found and gateways:
        yield CHECK.good(
            f"{names(gateways)} can be reached" + ("" if local else "; the nodes are not those of k3d or kind")
        )
    elif not found:
        yield CHECK.unknown("no Service of an Istio gateway is here")


def _local(snapshot: Snapshot) -> _Local | None:
    """k3d by the names of its nodes, kind by their provider ID."""
    for node in snapshot.all("Node"):
        if m := _K3D.fullmatch(node.name):
            return _Local("k3d", m[1], node)
        if node.text("spec", "providerID").startswith("kind://") and (m := _KIND.fullmatch(node.name)):
            return _Local("kind", m[1], node)
    return None


def _gateways(snapshot: Snapshot) -> Iterator[Object]:
    """The Services that lead traffic from outside to a gateway; a waypoint is for inside."""
    for service in snapshot.all("Service"):
        if service.text("spec", "type") in ("LoadBalancer", "NodePort"):
            pods = pods_behind(snapshot, service)
            behind = pods and is_gateway(pods[0]) and "istio.io/waypoint-for" not in pods[0].labels
            labelled = service.labels.get(GATEWAY_NAME) or service.labels.get("istio") == "ingressgateway"
            if behind or (not pods and labelled):
                yield service


def _of(snapshot: Snapshot, service: Object, local: _Local | None, asked: bool) -> Iterator[Result]:
    kind = service.text("spec", "type")
    if (
        kind == "LoadBalancer"
        and not service.mappings("status", "loadBalancer", "ingress")
        and not service.texts("spec", "externalIPs")
    ):
        yield _pending(snapshot, service, local)
        return
    if local is None:
        return
    inside = [p for p in service.mappings("spec", "ports") if p.get("port") not in _STATUS]
    port = next((p for p in inside if p.get("port") == 80), inside[0] if inside else {})
    number, node_port = port.get("port"), port.get("nodePort")
    if not isinstance(number, int) or not isinstance(node_port, int | None):
        return
    yield CHECK.bad(
        f"the nodes are containers of {local.tool} cluster {local.name}: {kind} {service.name} opens port "
        f"{number if kind == 'LoadBalancer' else node_port} inside them, and the host has it only if it was mapped",
        *((CAUSE,) if asked else ()),
        about=service,
        severity=Severity.INFO,
        proofs=(
            Proof(service.ref, "spec.type", kind),
            Proof(service.ref, "spec.ports[*].nodePort", str(node_port)),
            Proof(local.node.ref, "metadata.name", local.node.name),
        ),
        advice=_map(service, local, kind, number, node_port),
    )


def _forward(service: Object, number: int) -> str:
    """The command that needs no mapping; "" when the names are none that may stand in a command."""
    if not valid("service", service.name) or not valid("namespace", service.namespace):
        return ""
    return f"kubectl -n {service.namespace} port-forward service/{service.name} 8080:{number} works at once"


def _map(service: Object, local: _Local, kind: str, number: int, node_port: int | None) -> str:
    """The command that maps the port."""
    if local.tool == "k3d":
        inner = number if kind == "LoadBalancer" else node_port
        how = f"k3d cluster edit {local.name} --port-add 8080:{inner}@loadbalancer maps it"
    else:
        how = f"kind maps only when a cluster is made: extraPortMappings with containerPort {node_port}"
    shown = f"docker ps --filter name={local.name} shows what is mapped"
    return "; ".join(filter(None, (shown, how, _forward(service, number))))


def _pending(snapshot: Snapshot, service: Object, local: _Local | None) -> Result:
    """A LoadBalancer without an address: who should give one, and why it does not."""
    proof = Proof(service.ref, "status.loadBalancer.ingress", "none")
    causes = (CAUSE,) if local else ()
    text = f"LoadBalancer {service.name} has no external address"
    if local and local.tool == "kind":
        return CHECK.bad(
            f"{text}: kind has no load balancer of its own",
            *causes,
            about=service,
            severity=Severity.WARNING,
            proofs=(proof, Proof(local.node.ref, "spec.providerID", local.node.text("spec", "providerID"))),
            advice="; ".join(filter(None, ("Run cloud-provider-kind beside the cluster", _forward(service, 80)))),
        )
    lb = [p for p in snapshot.all("Pod", "kube-system") if p.name.startswith(f"svclb-{service.name}-")]
    waiting = [p for p in lb if not is_ready(p)]
    k3s = any("+k3s" in n.text("status", "nodeInfo", "kubeletVersion") for n in snapshot.all("Node"))
    if waiting:
        why = condition(waiting[0], "PodScheduled").get("message")
        others = _who_holds(snapshot, service)
        return CHECK.bad(
            f"{text}: {len(waiting)} of its {len(lb)} svclb pods are not running"
            + (f", as {names(others)} holds the same port" if others else ""),
            *causes,
            about=service,
            severity=Severity.WARNING,
            proofs=(proof, Proof(waiting[0].ref, "status.conditions", why if isinstance(why, str) else "not Ready")),
            advice="Give the port free (in k3d: a cluster with --k3s-arg '--disable=traefik@server:*'), or use another one",
        )
    if k3s and not lb and "kube-system" in (snapshot.namespaces or {"kube-system"}):
        return CHECK.bad(
            f"{text}, and no svclb pod is there for it: the load balancer of k3s is off",
            *causes,
            about=service,
            severity=Severity.WARNING,
            proofs=(proof,),
            advice="Start k3s without --disable=servicelb, or install another load balancer such as MetalLB",
        )
    return CHECK.bad(
        f"{text}: nothing in this cluster gives one",
        *causes,
        about=service,
        severity=Severity.WARNING,
        proofs=(proof,),
        advice="The events of the Service say why; clusters outside a cloud need MetalLB or a NodePort",
    )


def _who_holds(snapshot: Snapshot, service: Object) -> list[Object]:
    """Other LoadBalancers with a port of this one."""
    ports = {p.get("port") for p in service.mappings("spec", "ports") if isinstance(p.get("port"), int)}
    return [
        s
        for s in snapshot.all("Service")
        if s.ref != service.ref
        and s.text("spec", "type") == "LoadBalancer"
        and any(isinstance(p.get("port"), int) and p["port"] in ports for p in s.mappings("spec", "ports"))
        and s.mappings("status", "loadBalancer", "ingress")
    ]


CHECK = Check("node-ports", "Can the gateway be reached from outside the cluster?", ("Service", "Pod", "Node"), run)
