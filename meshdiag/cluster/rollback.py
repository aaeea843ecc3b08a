"""The way back: a plan in stages for this cluster, with the commands for the objects that exist. It does nothing itself.

The order is that of https://istio.io/latest/docs/setup/install/istioctl/#uninstall-istio read backwards from the adoption guide: first what
shapes traffic, then the sidecars, then Istio. Each stage can be the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from meshdiag.cluster.edits import kubectl, plural
from meshdiag.cluster.mesh import (
    control_planes,
    has_native_sidecar,
    is_gateway,
    is_over,
    is_system,
    names,
    proxy,
    system_namespace,
    workload_of,
)
from meshdiag.cluster.objects import RESOURCES, Object, Ref
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.model import Step

RULES: Final = (
    "VirtualService",
    "DestinationRule",
    "ServiceEntry",
    "Sidecar",
    "EnvoyFilter",
    "WasmPlugin",
    "Telemetry",
    "ProxyConfig",
)
POLICIES: Final = ("AuthorizationPolicy", "RequestAuthentication", "PeerAuthentication")
INGRESS: Final = ("Gateway", "HTTPRoute", "GRPCRoute", "KubernetesGateway")
LABELS: Final = ("istio-injection", "istio.io/rev", "istio.io/dataplane-mode", "istio.io/use-waypoint")
RESTARTED: Final = ("Deployment", "StatefulSet", "DaemonSet")
FOLDER: Final = "mesh-backup"


@dataclass(frozen=True, slots=True)
class Stage:
    """Some steps that belong together.

    loses   what is gone after it
    verify  how to see that it worked, before the next stage
    """

    title: str
    loses: str
    steps: tuple[Step, ...]
    verify: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "title": self.title,
            "loses": self.loses,
            "steps": [s.to_dict() for s in self.steps],
            "verify": self.verify,
        }


def plan(snapshot: Snapshot) -> tuple[Stage, ...]:
    """Backup, traffic rules, sidecars, uninstall: the stages that have something to do here."""
    stages = (_backup(snapshot), _rules(snapshot), _sidecars(snapshot), _uninstall(snapshot))
    return tuple(s for s in stages if s.steps)


def notes(snapshot: Snapshot) -> tuple[str, ...]:
    """What the plan does not know: the kinds that could not be read and may have objects."""
    kinds = (*RULES, *POLICIES, *INGRESS, "Namespace", "Pod", "Deployment")
    return tuple(f"{RESOURCES[k].plural} were not read ({snapshot.unread[k]})" for k in kinds if k in snapshot.unread)


def _backup(snapshot: Snapshot) -> Stage:
    kinds = [k for k in (*RULES, *POLICIES, *INGRESS) if snapshot.all(k)]
    steps = []
    if kinds:
        some = ",".join(plural(snapshot.all(k)[0].ref) for k in kinds)
        steps.append(
            Step("All rules and policies, to apply again.", f"kubectl get {some} -A -o yaml > {FOLDER}/rules.yaml")
        )
    if snapshot.all("Namespace"):
        steps.append(
            Step("The labels of the namespaces.", f"kubectl get namespaces -o yaml > {FOLDER}/namespaces.yaml")
        )
    if control_planes(snapshot):
        system = system_namespace(snapshot)
        command = kubectl(Ref("ConfigMap", system, "istio"), "get", "configmaps", "istio", "-o", "yaml")
        steps.append(Step("The configuration of the mesh.", f"{command} > {FOLDER}/istio-config.yaml"))
        command = kubectl(
            Ref("Secret", system, ""),
            "get",
            "secrets",
            "cacerts",
            "istio-ca-secret",
            "--ignore-not-found",
            "-o",
            "yaml",
        )
        steps.append(
            Step(
                "The CA, without which certificates of before are not trusted after an installation anew. It is a secret.",
                f"(umask 077; {command} > {FOLDER}/ca.yaml)",
            )
        )
        steps += _helm(
            snapshot, "get values {release} -n {namespace} -o yaml > " + FOLDER + "/{release}.yaml", "The values of"
        )
    if steps:
        steps.insert(0, Step("A folder for it.", f"mkdir -p {FOLDER}"))
    return Stage(
        "Save what there is", "Nothing.", tuple(steps), f"grep -c '^- apiVersion' {FOLDER}/rules.yaml counts the rules."
    )


def _rules(snapshot: Snapshot) -> Stage:
    """Inside the mesh first; what brings traffic into it is left to the last stage."""
    steps: list[Step] = []
    for kind in RULES:
        some = [o for o in snapshot.all(kind) if not _is_ingress(o)]
        steps += _delete(
            some, f"Delete the {kind}s of applications." if kind != "ServiceEntry" else "Delete the ServiceEntries."
        )
    return Stage(
        "Take away the traffic rules",
        "Canaries, retries, timeouts, mirrors, fault injection, subsets, circuit breakers and what EnvoyFilters did. Requests go to all "
        "pods of a service alike. Rules that bind a gateway stay, so that traffic still comes in.",
        tuple(steps),
        "meshdiag check --only virtual-service-routes --only destination-rule-subsets; error rates stay as they were (meshdiag tail).",
    )


def _is_ingress(rule: Object) -> bool:
    """Whether a rule is of a gateway, or of Istio itself."""
    gateways = rule.texts("spec", "gateways")
    return rule.ref.kind == "VirtualService" and bool(gateways) and "mesh" not in gateways


def _sidecars(snapshot: Snapshot) -> Stage:
    steps: list[Step] = []
    for kind in POLICIES:
        steps += _delete(
            snapshot.all(kind),
            {
                "PeerAuthentication": "Delete the PeerAuthentications: a pod without a sidecar could not be called, or not call.",
                "AuthorizationPolicy": "Delete the AuthorizationPolicies: without sidecars clients have no identity that they could allow.",
            }.get(kind, f"Delete the {kind}s."),
        )
    spaces = [
        n for n in snapshot.all("Namespace") if any(k in n.labels for k in LABELS) and not is_system(snapshot, n.name)
    ]
    for space in spaces:
        keys = [f"{k}-" for k in LABELS if k in space.labels]
        steps.append(
            Step(f"Inject no more in {space.name}.", kubectl(space.ref, "label", "namespaces", space.name, *keys))
        )
    for owner in _with_sidecar(snapshot):
        if owner.kind not in RESTARTED:
            steps.append(Step(f"{owner} keeps its sidecar until it is made anew."))
            continue
        name = f"{owner.kind.lower()}/{owner.name}"
        own = snapshot.get(owner.kind, owner.namespace, owner.name)
        if (
            own is not None
            and own.strings("spec", "template", "metadata", "labels").get("sidecar.istio.io/inject") == "true"
        ):
            patch = '{"spec":{"template":{"metadata":{"labels":{"sidecar.istio.io/inject":"false"}}}}}'
            steps.append(
                Step(
                    f"{owner} asks for a sidecar itself: not any more.",
                    kubectl(owner, "patch", plural(owner), owner.name, "-p", patch),
                )
            )
            continue  # the change of the template restarts it
        steps.append(Step(f"Restart {owner} without a sidecar.", kubectl(owner, "rollout", "restart", name)))
    return Stage(
        "Take the sidecars away",
        "mTLS between services, identities and policies by them, metrics and traces of the mesh. Traffic is plaintext again; what "
        "NetworkPolicies allow is all that protects it.",
        tuple(steps),
        "meshdiag check --only injection --only pod-status: no pod has istio-proxy, all are ready.",
    )


def _with_sidecar(snapshot: Snapshot) -> tuple[Ref, ...]:
    """The workloads that have one, stateful ones last."""
    owners = {
        workload_of(snapshot, p)
        for p in snapshot.all("Pod")
        if (proxy(p) is not None or has_native_sidecar(p)) and not is_gateway(p) and not is_over(p)
    }
    return tuple(sorted(owners, key=lambda r: (r.kind == "StatefulSet", r)))


def _uninstall(snapshot: Snapshot) -> Stage:
    planes = control_planes(snapshot)
    steps: list[Step] = []
    ingress = [
        o for k in ("VirtualService", *INGRESS) for o in snapshot.all(k) if k != "VirtualService" or _is_ingress(o)
    ]
    if ingress:
        steps.append(
            Step(
                f"First let traffic come in another way (an Ingress, a Service of type LoadBalancer): {names(ingress, 5)} end here."
            )
        )
    for kind in ("VirtualService", *INGRESS):
        steps += _delete([o for o in ingress if o.ref.kind == kind], f"Delete what binds gateways: {kind}s.")
    if planes:
        helm = _helm(snapshot, "uninstall {release} -n {namespace}", "Remove")
        steps += helm or [Step("Remove Istio: control plane, gateways, webhooks.", "istioctl uninstall --purge")]
        system = Ref("Namespace", "", system_namespace(snapshot))
        steps.append(
            Step("Remove its namespace, and with it the CA.", kubectl(system, "delete", "namespaces", system.name))
        )
    if planes or any(".istio.io/" in o.ref.api for o in snapshot.objects):
        steps.append(
            Step(
                "Last of all the kinds themselves; every object of theirs that is left goes with them.",
                "kubectl get customresourcedefinitions -o name | grep 'istio\\.io$' | xargs -r kubectl delete",
            )
        )
    return Stage(
        "Uninstall Istio",
        "Gateways and their addresses (DNS that points to them leads nowhere), the CA, and every rule that is left.",
        tuple(steps),
        "kubectl get pods -A shows no istiod, and kubectl get mutatingwebhookconfigurations none of Istio's.",
    )


def _delete(objects: Iterable[Object], text: str) -> Iterator[Step]:
    """One command for each namespace."""
    by_space: dict[str, list[Object]] = {}
    for o in objects:
        by_space.setdefault(o.namespace, []).append(o)
    for some in by_space.values():
        ref = some[0].ref
        yield Step(text, kubectl(ref, "delete", plural(ref), *(o.name for o in some)))


def _helm(snapshot: Snapshot, command: str, text: str) -> Sequence[Step]:
    """A helm command for each release that Istio's Deployments and DaemonSets say they belong to; gateways and istiod before the base."""
    releases = dict.fromkeys(
        (o.annotations.get("meta.helm.sh/release-name", ""), o.annotations.get("meta.helm.sh/release-namespace", ""))
        for kind in ("Deployment", "DaemonSet")
        for o in snapshot.all(kind)
        if o.labels.get("app") in ("istiod", "ztunnel", "istio-cni-node") or "istio" in o.labels
    )
    return [
        Step(f"{text} release {release}.", "helm " + command.format(release=release, namespace=namespace))
        for release, namespace in releases
        if _is_name(release) and _is_name(namespace)
    ]


def _is_name(text: str) -> bool:
    """Whether it is a DNS label, and so needs no quotes in a shell."""
    return text.replace("-", "a").isalnum() and text.isascii() and not text.startswith("-")
