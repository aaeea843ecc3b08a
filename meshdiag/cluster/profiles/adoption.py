"""Before a mesh is installed: is one needed, is there room for it, and what would break?

The thresholds are rules of thumb of the adoption guide behind this project, not limits of Istio.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshdiag.cluster.checks import named
from meshdiag.cluster.mesh import is_over, is_system, label_selector, names
from meshdiag.cluster.objects import Object, at, mapping, mappings
from meshdiag.cluster.profiles._applications import workloads
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.survey import Profile
from meshdiag.cluster.verdict import About, Check, Proof, Result
from meshdiag.model import Severity

FEW, MANY = 5, 10
"""Services below which a mesh costs more than it gives, and from which it pays."""

XDS = 15012
PROXY_UID = 1337


def _needed(snapshot: Snapshot, about: About) -> Iterator[Result]:
    some = [s for s in snapshot.all("Service") if not is_system(snapshot, s.namespace) and s.name != "kubernetes"]
    n = len(some)
    if n < FEW:
        yield NEEDED.bad(
            f"{n} service{'s' * (n != 1)}: a mesh probably costs more than it gives",
            severity=Severity.INFO,
            advice="retries and timeouts in the clients, an ingress with TLS and NetworkPolicies do for so few; "
            "mTLS that an audit asks for is a reason all the same",
        )
    elif n < MANY:
        yield NEEDED.bad(
            f"{n} services: worth it for mTLS everywhere, canaries or traffic by header; not for metrics alone",
            severity=Severity.INFO,
        )
    else:
        yield NEEDED.good(f"{n} services: enough for a mesh to pay")


NEEDED = Check("mesh-needed", "Are there enough services for a mesh to pay?", ("Service",), _needed)


def _policies(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Once a pod has a sidecar it must reach istiod at 15012: an egress policy that does not allow it stops it."""
    bad = [p for p in snapshot.all("NetworkPolicy") if _stops_xds(snapshot, p)]
    for policy in bad:
        pods = _selected(snapshot, policy)
        yield POLICIES.bad(
            f"NetworkPolicy {policy.namespace}/{policy.name} lets the pods it selects ({names(pods)}) reach nothing at port "
            f"{XDS}: their sidecars will not get configuration or certificates",
            "xds-unreachable",
            about=policy,
            proofs=(Proof(policy.ref, "spec.egress", str(len(policy.mappings("spec", "egress"))) + " rules"),),
            advice=f"allow egress to the namespace of istiod at TCP {XDS} (and 15008 in ambient) before you inject",
        )
    if not bad:
        yield POLICIES.good("no NetworkPolicy of applications keeps sidecars from istiod")


def _selected(snapshot: Snapshot, policy: Object) -> list[Object]:
    selector = policy.mapping("spec", "podSelector")
    return [p for p in snapshot.all("Pod", policy.namespace) if not is_over(p) and label_selector(selector, p.labels)]


def _stops_xds(snapshot: Snapshot, policy: Object) -> bool:
    types = policy.texts("spec", "policyTypes")
    if "Egress" not in types and (types or policy.at("spec", "egress") is None):
        return False
    if is_system(snapshot, policy.namespace) or not _selected(snapshot, policy):
        return False
    others = [
        p
        for p in snapshot.all("NetworkPolicy", policy.namespace)
        if set(map(id, _selected(snapshot, p))) >= set(map(id, _selected(snapshot, policy)))
    ]
    return not any(_allows(rule) for p in others for rule in p.mappings("spec", "egress"))


def _allows(rule: object) -> bool:
    """Whether an egress rule lets anything out at 15012; to whom is not looked at, so that nothing is said without need."""
    ports = mappings(mapping(rule).get("ports"))
    for port in ports:
        first, last = port.get("port"), port.get("endPort")
        if first is None or first == XDS or not isinstance(first, int):
            return True
        if isinstance(last, int) and first <= XDS <= last:
            return True
    return not ports


POLICIES = Check(
    "network-policy-conflicts", "Do NetworkPolicies leave the mesh's ports open?", ("NetworkPolicy", "Pod"), _policies
)


def _requirements(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """https://istio.io/latest/docs/ops/deployment/application-requirements/"""
    found = 0
    for ref, pods in workloads(snapshot).items():
        pod = pods[0]
        if pod.flag("spec", "hostNetwork"):
            found += 1
            yield REQUIREMENTS.bad(
                f"{ref} uses the network of its node: it gets no sidecar and stays outside of the mesh",
                about=pod,
                proofs=(Proof(pod.ref, "spec.hostNetwork", "true"),),
                severity=Severity.WARNING,
            )
        for i, c in enumerate(pod.mappings("spec", "containers")):
            users = (at(c, "securityContext", "runAsUser"), pod.at("spec", "securityContext", "runAsUser"))
            user = next((u for u in users if u is not None), None)
            if user == PROXY_UID and c.get("name") != "istio-proxy":
                found += 1
                yield REQUIREMENTS.bad(
                    f"container {c.get('name')} of {ref} runs as user {PROXY_UID}, which is the sidecar's: its traffic would "
                    "go past the proxy",
                    about=pod,
                    proofs=(Proof(pod.ref, f"spec.containers[{i}].securityContext.runAsUser", str(PROXY_UID)),),
                )
    for space in snapshot.all("Namespace"):
        level = space.labels.get("pod-security.kubernetes.io/enforce", "")
        if level in ("restricted", "baseline") and not is_system(snapshot, space.name):
            found += 1
            yield REQUIREMENTS.bad(
                f"namespace {space.name} enforces Pod Security {level}: istio-init, which needs NET_ADMIN and NET_RAW, is refused",
                about=space,
                proofs=(Proof(space.ref, "metadata.labels[pod-security.kubernetes.io/enforce]", level),),
                severity=Severity.WARNING,
                advice="install istio-cni, or use ambient: then pods need no such right",
            )
    if not found:
        yield REQUIREMENTS.good("every workload can have a sidecar")


REQUIREMENTS = Check(
    "application-requirements", "Can every workload have a sidecar?", ("Pod", "Namespace"), _requirements
)

PROFILES = (
    Profile(
        "adoption",
        "Before: is a mesh worth it here, and what stands against it?",
        (NEEDED, *named("cluster-resources"), POLICIES, REQUIREMENTS, *named("service-ports")),
        "Install Istio with the default profile and inject nothing yet; then meshdiag check --phase 1.",
    ),
)
