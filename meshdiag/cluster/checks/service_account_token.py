"""Does a proxy have the token by which istiod knows its service account?

The agent reads a projected token with the audience `istio-ca` (volume `istio-token`, mounted at /var/run/secrets/tokens): istio/istio,
manifests/charts/istio-control/istio-discovery/files/injection-template.yaml, since 1.5. In ambient ztunnel has it, not the pods.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshdiag.cluster.mesh import is_over, pods_of, proxy, unread, workload_of
from meshdiag.cluster.objects import Object, at, mappings
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result

PATH = "/var/run/secrets/tokens"
VOLUME = "istio-token"
AUDIENCE = "istio-ca"
MISSING, REJECTED = "service-account-token-missing", ("ca-rejected-identity", "xds-rejected-identity")


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the workload's proxies, or of all; one of each workload."""
    seen = set()
    fine = 0
    for pod in pods_of(snapshot, about):
        owner = workload_of(snapshot, pod)
        if owner in seen or proxy(pod) is None or is_over(pod):
            continue
        seen.add(owner)
        found = list(_of(snapshot, pod))
        yield from found
        fine += not found
    if fine and (len(seen) == fine or not about):
        what = f"{fine} workloads have" if fine > 1 else f"{next(iter(seen)).name} has"
        yield CHECK.good(
            f"{what} a token for istiod, of a service account that exists",
            *((MISSING,) if about and fine == len(seen) else ()),
        )
    elif not seen:
        yield CHECK.unknown("no proxy is asked about")


def _of(snapshot: Snapshot, pod: Object) -> Iterator[Result]:
    volumes = {v.get("name"): (i, v) for i, v in enumerate(pod.mappings("spec", "volumes"))}
    mounts = [m for m in mappings(at(proxy(pod), "volumeMounts")) if str(m.get("mountPath", "")).rstrip("/") == PATH]
    name = mounts[0].get("name") if mounts else VOLUME
    index, volume = volumes.get(name, (0, {}))
    tokens = [
        t for s in mappings(at(volume, "projected", "sources")) if isinstance(t := s.get("serviceAccountToken"), dict)
    ]
    if not mounts or not tokens:
        what = f"mounts nothing at {PATH}" if not mounts else f"has no projected token in its volume {name}"
        yield CHECK.bad(
            f"the proxy of {pod.name} {what}: it cannot prove its identity to istiod",
            MISSING,
            about=pod,
            proofs=(Proof(pod.ref, "spec.volumes", ", ".join(sorted(str(v) for v in volumes)) or "none"),),
            advice="inject it anew (kubectl rollout restart): the template of istiod adds the volume",
        )
    elif not any(t.get("audience", AUDIENCE) == AUDIENCE for t in tokens):
        audience = str(tokens[0].get("audience"))
        yield CHECK.bad(
            f"the token of {pod.name} is for the audience {audience}, istiod asks for {AUDIENCE}",
            *REJECTED,
            about=pod,
            proofs=(
                Proof(pod.ref, f"spec.volumes[{index}].projected.sources[].serviceAccountToken.audience", audience),
            ),
        )
    account = pod.text("spec", "serviceAccountName") or "default"
    # every namespace has `default`: where it is missing, not all of them were captured
    is_whole = not unread(snapshot, "ServiceAccount") and snapshot.get("ServiceAccount", pod.namespace, "default")
    if is_whole and snapshot.get("ServiceAccount", pod.namespace, account) is None:
        yield CHECK.bad(
            f"service account {account} of {pod.name} does not exist any more: its token is refused",
            *REJECTED,
            about=pod,
            proofs=(Proof(pod.ref, "spec.serviceAccountName", account),),
            advice=f"create it again, or restart the workload with another: kubectl -n {pod.namespace} get serviceaccounts",
        )


CHECK = Check("service-account-token", "Do proxies have the token by which istiod knows them?", ("Pod",), run)
