"""Do pods have the sidecar that they should, and if not, why?

A sidecar comes only when a pod is created (https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/); what would be decided
now is in `meshdiag.cluster.injection`. A pod that stays outside on purpose (opt-out, a namespace without the label, ambient) is no fault
of the cluster, and the answer to a finding that it has no sidecar.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from meshdiag.cluster.injection import (
    ENABLED,
    INJECT,
    REVISION,
    Decision,
    Reason,
    decide,
    hooks,
    injectors,
    labelled_at,
    labels_of,
    tags,
)
from meshdiag.cluster.mesh import (
    RESTARTABLE,
    applications,
    by_workload,
    clients_of,
    control_planes,
    in_ambient,
    in_mesh,
    is_gateway,
    is_over,
    is_system,
    names,
    own_pods,
    pods_behind,
    proxy,
    revision_of,
    services_of,
    several,
)
from meshdiag.cluster.objects import Object, Ref, moment
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.model import Severity

CAUSE: Final = "sidecar-not-injected"
PLAINTEXT: Final = "mtls-plaintext-to-strict"
MESH_KINDS: Final = ("VirtualService", "DestinationRule", "PeerAuthentication", "AuthorizationPolicy", "Sidecar")
"""Who writes one of these into a namespace means it to be in the mesh."""


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the pods that are asked about, their callers and what they call; or of every workload and namespace."""
    if not about:
        yield from _everything(snapshot)
        return
    seen: set[Ref] = set()
    clients = tuple(p for p in clients_of(snapshot, about) if not is_over(p))
    yield from _asked(snapshot, clients, seen, CAUSE, PLAINTEXT)
    behind = (
        [p for s in services_of(snapshot, about) for p in pods_behind(snapshot, s)]
        if about.host or about.service
        else []
    )
    yield from _asked(snapshot, behind, seen, CAUSE)
    own = own_pods(snapshot, about)
    yield from _asked(snapshot, (p for p in own if not is_over(p)), seen, CAUSE)
    if about.workload and about.namespace and not own:
        for kind in sorted(RESTARTABLE):
            if workload := snapshot.get(kind, about.namespace, about.workload):
                yield from _not_injected(snapshot, workload.ref, workload, 0, decide(snapshot, workload), CAUSE)


def _asked(snapshot: Snapshot, pods: Iterable[Object], seen: set[Ref], *causes: str) -> Iterator[Result]:
    for ref, some in by_workload(snapshot, pods).items():
        if ref in seen:
            continue
        seen.add(ref)
        bare = [p for p in some if not in_mesh(snapshot, p)]
        if bare:
            yield from _not_injected(snapshot, ref, bare[0], len(bare), decide(snapshot, bare[0]), *causes)
            continue
        yield from (removed := list(_removed(snapshot, ref, some)))
        if not removed:
            how = (
                "are in ambient mode, and are right without a sidecar"
                if in_ambient(snapshot, some[0])
                else "have istio-proxy"
            )
            yield CHECK.good(f"the {len(some)} pods of {ref} {how}", CAUSE, about=some[0])


def _not_injected(
    snapshot: Snapshot, ref: Ref, o: Object, count: int, decision: Decision, *causes: str
) -> Iterator[Result]:
    """`o` is one of the pods without, or the workload that has none."""
    what = f"no istio-proxy in {several(count, 'pod')} of {ref}" if count else f"new pods of {ref} get no istio-proxy"
    if is_gateway(o) or decision.reason is Reason.IGNORED:
        yield CHECK.good(f"{what}: {decision.why}", about=o)
        return
    if decision.reason is Reason.UNKNOWN:
        if not count:
            yield CHECK.unknown(f"{what}, and what a new one would get cannot be told: {decision.why}", o)
            return
        yield CHECK.bad(f"{what}; whether a new one would get it cannot be told: {decision.why}", *causes, about=o,
                        proofs=(_containers(o), *decision.proofs))  # fmt: skip
        return
    if decision.reason is Reason.INJECTED:
        if not count:
            yield CHECK.good(f"new pods of {ref} get istio-proxy: {decision.why}", about=o)
            return
        age, proofs = _older(snapshot, o)
        yield CHECK.bad(
            f"{what}, although {decision.why} now: {age}",
            *causes,
            about=o,
            proofs=(*proofs, _containers(o), *decision.proofs),
            advice="" if ref.kind in RESTARTABLE else f"Delete the pods of {ref} and have them created anew",
            edits=_restart(snapshot, ref),
        )
        return
    edits: tuple[Edit, ...] = ()
    if decision.reason is Reason.NOT_ASKED or (decision.reason is Reason.NO_WEBHOOK and _is_enabled(snapshot, o)):
        edits = _label(snapshot, o.namespace)
    elif decision.reason is Reason.ANNOTATION_ONLY:
        edits = _pod_label(snapshot, ref)
    yield CHECK.bad(
        f"{what}: {decision.why}",
        *causes,
        about=o,
        proofs=(*decision.proofs, *([_containers(o)] if count else [])),
        severity=_severity(decision.reason),
        advice=_ADVICE.get(decision.reason, ""),
        edits=edits,
    )


_ADVICE: Final[Mapping[Reason, str]] = {
    Reason.HOST_NETWORK: "It cannot have a sidecar; allow its plaintext where it is needed, or let it use the network of pods",
    Reason.OPTED_OUT: "Take the opt-out away and restart it if it is meant to be in the mesh",
    Reason.REVISION: "Correct the label, or install that revision or set the tag (istioctl tag list)",
    Reason.NO_WEBHOOK: "istiod makes the webhook when it is installed: istioctl install, or helm upgrade istiod",
}


def _severity(reason: Reason) -> Severity:
    """A choice is a hint; what was asked for and does not happen is a fault."""
    if reason in (Reason.OPTED_OUT, Reason.NOT_ASKED, Reason.HOST_NETWORK):
        return Severity.INFO
    return Severity.WARNING if reason is Reason.ANNOTATION_ONLY else Severity.ERROR


def _containers(pod: Object) -> Proof:
    every = [c for kind in ("initContainers", "containers") for c in pod.mappings("spec", kind)]
    return Proof(pod.ref, "spec.containers[*].name", ", ".join(str(c.get("name", "?")) for c in every) or "none")


def _older(snapshot: Snapshot, pod: Object) -> tuple[str, tuple[Proof, ...]]:
    """Why a pod may have missed it."""
    made = pod.text("metadata", "creationTimestamp")
    proof = Proof(pod.ref, "metadata.creationTimestamp", made)
    created = pod.created
    space = snapshot.get("Namespace", "", pod.namespace)
    label = labelled_at(space) if space else ""
    if created and space and label and (at := moment(label)) and created < at:
        return "they are older than its label", (
            proof,
            Proof(space.ref, "metadata.managedFields", f"label set {label}"),
        )
    config = min(injectors(snapshot), key=lambda c: c.text("metadata", "creationTimestamp"), default=None)
    if created and config and config.created and created < config.created:
        since = Proof(config.ref, "metadata.creationTimestamp", config.text("metadata", "creationTimestamp"))
        return "they are older than the injector", (proof, since)
    return "they were created when it did not apply, or when the injector failed; a restart tells", (proof,)


def _restart(snapshot: Snapshot, ref: Ref) -> tuple[Edit, ...]:
    if ref.kind not in RESTARTABLE or snapshot.get(ref.kind, ref.namespace, ref.name) is None:
        return ()
    why = "A sidecar comes only when a pod is created."
    return (Edit(ref, f"Restart {ref}, so that its pods get a sidecar", {}, why, restart=(ref,)),)


def _label(snapshot: Snapshot, namespace: str) -> tuple[Edit, ...]:
    """The label by which a namespace asks, when there is one way only, and a restart of its workloads."""
    space = snapshot.get("Namespace", "", namespace)
    labels = labels_of(snapshot, namespace)
    if space is None or labels is None or space.labels.get("istio.io/dataplane-mode") == "ambient":
        return ()
    revisions = sorted({h.revision for h in hooks(snapshot)} | tags(snapshot))
    wanted: dict[str, str | None] = {ENABLED: "enabled"}
    key, value = ENABLED, "enabled"
    if not any(h.calls({**labels, ENABLED: "enabled"}, {}) for h in hooks(snapshot)):
        if len(revisions) != 1:
            return ()
        key, value = REVISION, revisions[0]
        wanted = {key: value} | ({ENABLED: None} if ENABLED in space.labels else {})
    outside = by_workload(snapshot, (p for p in snapshot.all("Pod", namespace) if not is_over(p) and proxy(p) is None))
    restart = tuple(
        ref
        for ref, some in outside.items()
        if ref.kind in RESTARTABLE and decide(snapshot, some[0]).reason in (Reason.NOT_ASKED, Reason.NO_WEBHOOK)
    )
    return (
        Edit(
            space.ref,
            f"Label namespace {namespace} {key}={value}" + " and restart its workloads" * bool(restart),
            {"metadata": {"labels": wanted}},
            "New pods of the namespace then get a sidecar; those that run get it when they are created anew.",
            restart=restart,
        ),
    )


def _is_enabled(snapshot: Snapshot, o: Object) -> bool:
    """Whether its namespace asks by a label that only the revision `default` serves."""
    space = snapshot.get("Namespace", "", o.namespace)
    return bool(hooks(snapshot)) and space is not None and space.labels.get(ENABLED) == "enabled"


def _pod_label(snapshot: Snapshot, ref: Ref) -> tuple[Edit, ...]:
    if ref.kind not in RESTARTABLE or snapshot.get(ref.kind, ref.namespace, ref.name) is None:
        return ()
    patch = {"spec": {"template": {"metadata": {"labels": {INJECT: "true"}}}}}
    return (Edit(ref, f"Ask for the sidecar in a label of {ref}'s pods", patch, "The webhook selects by labels only."),)


def _removed(snapshot: Snapshot, ref: Ref, pods: tuple[Object, ...]) -> Iterator[Result]:
    """Pods that were injected by a control plane that is gone; where no istiod is seen at all it runs elsewhere."""
    planes = control_planes(snapshot)
    if not planes or snapshot.namespaces is not None or snapshot.lacks("Deployment"):
        return
    known = {c.revision for c in planes} | tags(snapshot)
    for pod in pods:
        if proxy(pod) is not None and REVISION in pod.labels and (revision := revision_of(pod)) not in known:
            yield CHECK.bad(
                f"pods of {ref} were injected by revision {revision or 'default'}, of which no istiod is left",
                "xds-unreachable",
                "ca-unreachable",
                about=pod,
                proofs=(Proof(pod.ref, "metadata.labels", f"{REVISION}: {revision or 'default'}"),),
                advice=f"There are {names(c.revision or 'default' for c in planes)}: label its namespace so, and restart it",
            )
            return


def _everything(snapshot: Snapshot) -> Iterator[Result]:
    if unread := snapshot.lacks("Namespace"):
        yield CHECK.unknown(f"which namespaces ask for a sidecar cannot be told: {unread}")
        return
    if not control_planes(snapshot) and not hooks(snapshot):
        yield CHECK.unknown("neither istiod nor an injection webhook is here")
        return
    found: list[Result] = []
    injected = 0
    outside: dict[str, list[Ref]] = {}
    failing: dict[tuple[str, Decision], list[tuple[Ref, tuple[Object, ...]]]] = {}
    for ref, some in by_workload(snapshot, applications(snapshot)).items():
        bare = tuple(p for p in some if proxy(p) is None)
        if not bare:
            injected += 1
            found += _removed(snapshot, ref, some)
            continue
        if ref.kind == "Job" or in_ambient(snapshot, bare[0]):
            continue
        decision = decide(snapshot, bare[0])
        if decision.reason is Reason.NOT_ASKED:
            outside.setdefault(ref.namespace, []).append(ref)
        elif decision.reason not in (Reason.OPTED_OUT, Reason.HOST_NETWORK, Reason.IGNORED, Reason.UNKNOWN):
            failing.setdefault((ref.namespace, decision), []).append((ref, bare))
    for (namespace, decision), some_refs in failing.items():
        alike = some_refs if decision.reason in (Reason.INJECTED, Reason.ANNOTATION_ONLY) else some_refs[:1]
        for ref, bare in alike:
            found += _not_injected(snapshot, ref, bare[0], len(bare), decision, CAUSE)
        if others := [ref for ref, _ in some_refs[len(alike) :]]:
            found[-1] = replace(found[-1], text=f"{found[-1].text} (nor in {names(others)} of namespace {namespace})")
    for space in snapshot.all("Namespace"):
        if not is_system(snapshot, space.name):
            found += _labels(snapshot, space)
            if refs := outside.get(space.name):
                found.append(_unlabelled(snapshot, space, refs))
    yield from found
    if injected or not found:
        yield CHECK.good(
            f"{several(injected, 'workload')} with a sidecar" if injected else "no workload asks for a sidecar"
        )


def _unlabelled(snapshot: Snapshot, space: Object, refs: list[Ref]) -> Result:
    meant = [o for kind in MESH_KINDS for o in snapshot.all(kind, space.name)]
    return CHECK.bad(
        f"namespace {space.name} does not ask for sidecars: {several(len(refs), 'workload')} outside the mesh ({names(refs)})"
        + (f", although it has {meant[0].ref.kind} {meant[0].name}" if meant else ""),
        CAUSE,
        about=space,
        severity=Severity.WARNING if meant else Severity.INFO,
        proofs=(
            Proof(space.ref, "metadata.labels", f"neither {ENABLED} nor {REVISION}"),
            *(Proof(o.ref, "metadata.namespace", space.name) for o in meant[:1]),
        ),
        edits=_label(snapshot, space.name),
    )


def _labels(snapshot: Snapshot, space: Object) -> Iterator[Result]:
    """Labels that are against each other."""
    enabled, revision = space.labels.get(ENABLED), space.labels.get(REVISION)
    asks = enabled == "enabled" or (enabled is None and revision)
    if enabled and revision and revision != "default":
        yield CHECK.bad(
            f"namespace {space.name} has {ENABLED}={enabled} and {REVISION}={revision}: {ENABLED} wins, revision {revision} is not used",
            about=space,
            severity=Severity.WARNING,
            proofs=(Proof(space.ref, "metadata.labels", f"{ENABLED}: {enabled}, {REVISION}: {revision}"),),
            advice=f"Take the label away that is not meant, {ENABLED} or {REVISION}",
        )
    if asks and space.labels.get("istio.io/dataplane-mode") == "ambient":
        label = f"{ENABLED}: {enabled}" if enabled else f"{REVISION}: {revision}"
        yield CHECK.bad(
            f"namespace {space.name} is in ambient mode and asks for sidecars: new pods get one, and ztunnel leaves them alone",
            about=space,
            severity=Severity.WARNING,
            proofs=(Proof(space.ref, "metadata.labels", f"istio.io/dataplane-mode: ambient, {label}"),),
            advice="Keep the label of the mode that is meant, and restart the workloads that have the other",
        )


CHECK = Check("injection", "Do the pods have their sidecar?", ("Pod",), run)
