"""Can istiod reach the other clusters of the mesh, and they this one?

A remote cluster is a Secret with the label `istio/multiCluster: "true"` in istiod's namespace; each key is the name of a cluster, its
value a kubeconfig (https://istio.io/latest/docs/setup/install/multicluster/; istio/istio, pkg/kube/multicluster/secretcontroller.go: of two
secrets with one name the later one is not used).
"""

from __future__ import annotations

from collections.abc import Iterator

from meshdiag.cluster.mesh import containers, control_planes, is_over, names, pods_of, proxy, system_namespace
from meshdiag.cluster.objects import Object, at, mappings
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result
from meshdiag.model import Severity

LABEL = "istio/multiCluster"
NETWORK = "topology.istio.io/network"


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the whole mesh: a finding does not name a remote cluster in a way that could be trusted."""
    system = system_namespace(snapshot)
    secrets = [s for s in snapshot.all("Secret") if s.labels.get(LABEL) == "true"]
    found = [
        *_misplaced(secrets, system),
        *_twice([s for s in secrets if s.namespace == system]),
        *_no_gateway(snapshot, system, secrets),
        *_claims(snapshot, about, secrets),
    ]
    yield from found
    if not secrets and not found:
        yield CHECK.unknown(
            "no Secret names a remote cluster: the mesh has one cluster, or is read by another's istiod"
        )
    elif not found:
        clusters = sorted(k for s in secrets for k in s.mapping("data"))
        yield CHECK.good(
            f"istiod reads {len(clusters)} remote clusters: {names(clusters)}. Whether their kubeconfigs work is not seen here"
        )


def _misplaced(secrets: list[Object], system: str) -> Iterator[Result]:
    for s in secrets:
        if s.namespace != system:
            yield CHECK.bad(
                f"Secret {s.namespace}/{s.name} names a remote cluster, but istiod reads only those of {system}",
                "remote-cluster-failed",
                about=s,
                proofs=(Proof(s.ref, f"metadata.labels[{LABEL}]", "true"),),
                severity=Severity.WARNING,
            )
        elif not s.mapping("data"):
            yield CHECK.bad(
                f"Secret {s.name} is to name a remote cluster and is empty",
                "remote-cluster-failed",
                about=s,
                proofs=(Proof(s.ref, "data", "{}"),),
                advice="istioctl create-remote-secret --name <cluster> in the context of that cluster makes it",
            )


def _twice(secrets: list[Object]) -> Iterator[Result]:
    by_cluster: dict[str, list[Object]] = {}
    for s in secrets:
        for cluster in s.mapping("data"):
            by_cluster.setdefault(str(cluster), []).append(s)
    for cluster, some in sorted(by_cluster.items()):
        if len(some) > 1:
            yield CHECK.bad(
                f"cluster {cluster} is in several Secrets ({names(some)}): istiod uses one of them",
                "remote-cluster-failed",
                about=some[1],
                proofs=tuple(Proof(s.ref, "data", cluster) for s in some[:3]),
                advice="keep the one whose kubeconfig works",
            )


def _claims(snapshot: Snapshot, about: About, secrets: list[Object]) -> Iterator[Result]:
    """Proxies that say another cluster than istiod knows: it refuses their tokens (`client claims to be in cluster`)."""
    own = {
        n
        for c in control_planes(snapshot)
        for o in (c.deployment, *c.pods)
        if o and (n := _variable(o, "discovery", "CLUSTER_ID"))
    }
    if not own:
        return
    known = own | {str(k) for s in secrets for k in s.mapping("data")}
    others: dict[str, list[Object]] = {}
    for pod in pods_of(snapshot, about) if about.workload or about.pod or not about else ():
        if (
            proxy(pod) is not None
            and not is_over(pod)
            and (said := _variable(pod, "istio-proxy", "ISTIO_META_CLUSTER_ID"))
        ):
            others.setdefault(said, []).append(pod)
    for said, pods in others.items():
        if said not in known:
            yield CHECK.bad(
                f"{names(pods)} {'say' if len(pods) > 1 else 'says'} to be in cluster {said}, and istiod knows {names(sorted(known))}: "
                "it refuses the identity",
                "remote-cluster-failed",
                "ca-rejected-identity",
                "xds-rejected-identity",
                about=pods[0],
                proofs=(Proof(pods[0].ref, "env ISTIO_META_CLUSTER_ID of istio-proxy", said),),
                advice="Set clusterName alike for istiod and the injector (global.multiCluster.clusterName), or restart older pods",
            )


def _variable(o: Object, container: str, name: str) -> str:
    """The value of a variable of a container of a pod or a Deployment."""
    some = containers(o) or o.mappings("spec", "template", "spec", "containers")
    values = (
        e.get("value")
        for c in some
        if c.get("name") == container
        for e in mappings(c.get("env"))
        if e.get("name") == name
    )
    return next((v for v in values if isinstance(v, str) and v and not v.startswith("meshdiag:")), "")


def _no_gateway(snapshot: Snapshot, system: str, secrets: list[Object]) -> Iterator[Result]:
    """Where the network of this cluster has a name, other networks reach its pods by a gateway only."""
    space = snapshot.get("Namespace", "", system)
    network = space.labels.get(NETWORK, "") if space else ""
    if not network or not secrets or snapshot.lacks("Service"):
        return
    gateways = [s for s in snapshot.all("Service") if s.labels.get(NETWORK) == network]
    gateways += [g for g in snapshot.all("KubernetesGateway") if g.labels.get(NETWORK) == network]
    if not gateways:
        yield CHECK.bad(
            f"this cluster is network {network}, and no Service has the label {NETWORK}={network}: other networks have no way in",
            "network-gateway-missing",
            about=space,
            proofs=(Proof(space.ref, f"metadata.labels[{NETWORK}]", network),) if space else (),
            severity=Severity.WARNING,
            advice="install an east-west gateway",
        )
        return
    for g in gateways:
        if (
            g.ref.kind == "Service"
            and g.text("spec", "type") == "LoadBalancer"
            and not at(g.raw, "status", "loadBalancer", "ingress", 0)
        ):
            yield CHECK.bad(
                f"the gateway {g.namespace}/{g.name} of network {network} has no external address",
                "network-gateway-missing",
                about=g,
                proofs=(Proof(g.ref, "status.loadBalancer.ingress", "[]"),),
            )


CHECK = Check("remote-secrets", "Are the other clusters of the mesh configured right?", ("Secret",), run)
