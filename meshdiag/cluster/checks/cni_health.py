"""Does istio-cni run on every node where pods need it, and did traffic get redirected?

The node agent is the DaemonSet `istio-cni-node` (label `k8s-app: istio-cni-node`). A pod whose redirection is not in force fails in
its init container `istio-validation`, with exit code 126 (istio/istio, tools/istio-iptables/pkg/constants, all versions since 1.8).
"""

from __future__ import annotations

from collections.abc import Iterator

from meshdiag.cluster.mesh import is_over, is_ready, names, pods_of, statuses
from meshdiag.cluster.objects import Object, at
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result

FAILED_VALIDATION = 126
STARTING = ("ContainerCreating", "PodInitializing")


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the nodes and pods that are asked about."""
    agents = [p for p in snapshot.all("Pod") if p.labels.get("k8s-app") == "istio-cni-node" and not is_over(p)]
    sets = [
        d
        for d in snapshot.all("DaemonSet")
        if d.labels.get("k8s-app") == "istio-cni-node" or d.name == "istio-cni-node"
    ]
    some = [p for p in pods_of(snapshot, about) if not is_over(p)]
    nodes = {p.text("spec", "nodeName") for p in some} - {""} if about else set()
    if about.node:
        nodes.add(about.node)
    if about and not nodes:
        yield CHECK.unknown("on which node it happened is not known")
        return
    found = [*_unredirected(some), *_nodes(agents, sets, nodes), *_waiting(some, agents, sets)]
    yield from found
    if found:
        return
    if not sets and not agents:
        yield CHECK.unknown("istio-cni is not installed: istio-init redirects the traffic of each pod")
    else:
        yield CHECK.good(
            f"istio-cni is ready on {'the node' if len(nodes) == 1 else 'all nodes'} ({sum(map(is_ready, agents))} agents)"
        )


def _unredirected(pods: list[Object]) -> Iterator[Result]:
    for pod in pods:
        status = statuses(pod).get("istio-validation", {})
        for state in ("state", "lastState"):
            if at(status, state, "terminated", "exitCode") == FAILED_VALIDATION:
                yield CHECK.bad(
                    f"traffic of {pod.name} is not redirected: istio-validation ended with {FAILED_VALIDATION}",
                    "traffic-redirect-failed",
                    about=pod,
                    proofs=(
                        Proof(
                            pod.ref,
                            f"status.initContainerStatuses[istio-validation].{state}.terminated.exitCode",
                            "126",
                        ),
                    ),
                    advice=f"it was created before the agent was there: kubectl -n {pod.namespace} delete pod {pod.name}",
                )
                break


def _nodes(agents: list[Object], sets: list[Object], nodes: set[str]) -> Iterator[Result]:
    """Agents that are not ready on the nodes that matter (all, when none is named)."""
    for agent in agents:
        node = agent.text("spec", "nodeName")
        if not is_ready(agent) and (not nodes or node in nodes):
            yield CHECK.bad(
                f"istio-cni on node {node or '?'} is not ready: pods cannot be created there",
                "cni-plugin-failed",
                about=agent,
                proofs=(Proof(agent.ref, "status.conditions[Ready].status", "False"),),
                advice=f"kubectl -n {agent.namespace} logs {agent.name}",
            )
    for d in sets:
        wanted, ready = d.number("status", "desiredNumberScheduled"), d.number("status", "numberReady") or 0
        if not nodes and wanted is not None and ready < wanted and not any(not is_ready(a) for a in agents):
            yield CHECK.bad(
                f"istio-cni is ready on {ready} of {wanted} nodes",
                "cni-plugin-failed",
                about=d,
                proofs=(Proof(d.ref, "status.numberReady", str(ready)),),
            )


def _waiting(pods: list[Object], agents: list[Object], sets: list[Object]) -> Iterator[Result]:
    """Pods that cannot start on a node without an agent, where the others have one."""
    if not sets or not agents:
        return
    there = {a.text("spec", "nodeName") for a in agents}
    stuck: dict[str, list[Object]] = {}
    for pod in pods:
        node = pod.text("spec", "nodeName")
        if (
            node
            and node not in there
            and any(at(s, "state", "waiting", "reason") in STARTING for s in statuses(pod).values())
        ):
            stuck.setdefault(node, []).append(pod)
    for node, some in sorted(stuck.items()):
        yield CHECK.bad(
            f"node {node} has no istio-cni agent, and {len(some)} pods wait there ({names(some)})",
            "cni-plugin-failed",
            about=some[0],
            proofs=(Proof(some[0].ref, "spec.nodeName", node),),
            advice="a taint that istio-cni does not tolerate, or a node selector, keeps it away",
        )


CHECK = Check("cni-health", "Does istio-cni work on every node where it is needed?", ("Pod", "DaemonSet"), run)
