"""Who is meant: the workloads, clients and servers that a question is about, and results that are about just these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from meshdiag.cluster.mesh.planes import MANAGED_BY_CLUSTER, ControlPlane, control_planes, revision_of
from meshdiag.cluster.mesh.pods import by_workload, clients_of, is_gateway, is_over, pods_of, proxy
from meshdiag.cluster.mesh.services import pods_behind, services_of
from meshdiag.cluster.objects import Object, Ref
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Result


def proxies_of(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The pods whose proxy wrote the finding's line: the named pod or workload, else the client; empty when none is known."""
    if about.pod or about.workload:
        return pods_of(snapshot, about) or clients_of(snapshot, about)
    return clients_of(snapshot, about)


def is_of_object(about: About) -> bool:
    """Whether a finding names an object and nothing else: a line of istiod or of `istioctl analyze` about it."""
    return bool(about.name) and not (about.host or about.service or about.workload or about.pod or about.source)


def concerning(results: Iterable[Result], about: About) -> Iterator[Result]:
    """The results about the object that a finding names, or that cite it."""
    for r in results:
        refs = (r.about, *(p.ref for p in r.proofs))
        if any(ref and ref.name == about.name and about.namespace in ("", ref.namespace) for ref in refs):
            yield r


def client_namespace(about: About) -> str:
    """The namespace from which a call was made, "" when it is not known."""
    return about.source.rpartition("/")[0] or about.namespace


def pods_meant(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The pods behind the service that was called, else those whose log has the finding (or its client)."""
    if about.host or about.service:
        return tuple(p for s in services_of(snapshot, about) for p in pods_behind(snapshot, s))
    return pods_of(snapshot, about)


def own_pods(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The pods whose log has the finding; all for the whole cluster; none when the finding names only what was called."""
    if about.pod or about.workload or about.namespace or not about:
        return pods_of(snapshot, about)
    return clients_of(snapshot, about)


def own_proxies(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """Those of `own_pods` that have a proxy, sidecar or gateway, and run; ztunnel's container has the same name and is none."""
    return tuple(
        p
        for p in own_pods(snapshot, about)
        if proxy(p) is not None and not is_over(p) and p.labels.get("app") != "ztunnel"
    )


@lru_cache(4)
def applications(snapshot: Snapshot) -> tuple[Object, ...]:
    """The pods of applications: not over, no gateway or waypoint, nothing of Kubernetes or Istio."""
    system = MANAGED_BY_CLUSTER | {c.namespace for c in control_planes(snapshot)}
    return tuple(p for p in snapshot.all("Pod") if p.namespace not in system and not is_over(p) and not is_gateway(p))


def planes_of(snapshot: Snapshot, about: About) -> tuple[ControlPlane, ...]:
    """The control planes that are asked about: the one whose log or name is meant, that of the proxy, else all."""
    planes = control_planes(snapshot)
    pods = own_pods(snapshot, about) if about else ()
    own = {p.ref for p in pods}
    if named := tuple(c for c in planes if own & {p.ref for p in c.pods}):
        return named
    revisions = {revision_of(p) for p in pods if proxy(p) is not None}
    return tuple(c for c in planes if c.revision in revisions) or planes


def servers_of(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The pods that were called: those behind the service that a finding names, else those whose proxy wrote the line."""
    if about.host or about.service:
        services = services_of(snapshot, about)
        if services or not (about.workload or about.pod):
            return tuple(p for s in services for p in pods_behind(snapshot, s))
        return ()
    return tuple(p for p in pods_of(snapshot, about) if not is_over(p)) if about.workload or about.pod else ()


def callers_of(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    """The pods that called, as far as a finding tells: its source, else those whose proxy wrote a line about another host."""
    if about.source:
        return clients_of(snapshot, about)
    return pods_of(snapshot, about) if (about.host or about.service) and (about.workload or about.pod) else ()


@lru_cache(4)
def workloads(snapshot: Snapshot) -> Mapping[Ref, tuple[Object, ...]]:
    """The pods of applications by their workload; those of one have the same labels, service account and containers in most cases."""
    return by_workload(snapshot, applications(snapshot))
