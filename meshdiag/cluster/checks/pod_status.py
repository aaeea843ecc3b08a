"""Do pods run, with all their containers ready, and if not: which container, why, since when?

What the kubelet and the scheduler write into a pod's status (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/). A pod
that shows 1/2 has one container that is not ready; which probe that is tells the check `probes`. istiod, ztunnel and istio-cni have checks
of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from meshdiag.cluster.mesh import (
    MANAGED_BY_CLUSTER,
    PROXY,
    Container,
    condition,
    containers_of,
    has_native_sidecar,
    is_over,
    is_ready,
    logs_command,
    out_of_memory,
    own_pods,
    pods_meant,
    several,
    workload_of,
)
from meshdiag.cluster.objects import Object, Ref, at, moment
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result
from meshdiag.cluster.wanted import seen
from meshdiag.model import Severity

RECENT: Final = timedelta(hours=1)
"""An end so long ago, and a container that has run since, explain nothing of today."""

STUCK: Final = timedelta(minutes=5)
"""So long after its time a pod that is being deleted is not merely slow."""

PATIENCE: Final = timedelta(minutes=1)
"""So long a pod may take to start, or a proxy to become ready."""

NO_IMAGE: Final = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull"})
NO_START: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError"})
REDIRECTION: Final = frozenset({"istio-init", "istio-validation"})
OWN_CHECK: Final = frozenset({"istiod", "ztunnel", "istio-cni-node"})
_GONE: Final = ("upstream-connect-timeout", "upstream-unreachable")
_EXIT: Final[Mapping[int, str]] = {
    126: "cannot be executed", 127: "command not found", 137: "killed (SIGKILL)", 139: "segmentation fault", 143: "ended by SIGTERM"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a pod. `is_down` is whether it takes no traffic for it."""

    kind: str
    container: str
    text: str
    proof: Proof
    causes: tuple[str, ...] = ()
    severity: Severity = Severity.ERROR
    is_down: bool = True
    advice: str = ""


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the pods behind what was called and of those whose log has the finding, or of all but Kubernetes' own."""
    pods = _pods(snapshot, about)
    if about and not pods:
        yield CHECK.unknown("no pod of it is here")
        return
    nodes = {n.name: n for n in snapshot.all("Node")}
    said = _events(snapshot) if any(p.text("status", "phase") == "Pending" for p in pods) else {}
    now = snapshot.taken
    found: dict[tuple[Ref, str, str], list[tuple[Object, Fault]]] = {}
    for pod in pods:
        for fault in _faults(
            pod, nodes.get(pod.text("spec", "nodeName")), said.get((pod.namespace, pod.name), ""), now
        ):
            if about or fault.kind != "going":  # a rollout is no fault of the cluster
                found.setdefault((workload_of(snapshot, pod), fault.kind, fault.container), []).append((pod, fault))
    running = [p for p in pods if not is_over(p)]
    servers = _servers(snapshot, about, pods)
    none_ready = bool(about) and not any(is_ready(p) for p in running if p.ref in servers)
    for (ref, _, _), some in found.items():
        yield _result(ref, some, some[0][0].ref in servers, none_ready)
    if not found:
        ready = sum(map(is_ready, running))
        yield CHECK.good(f"{ready} of {several(len(running), 'pod')} ready, all containers run")
    elif not about:
        bad = {p.ref for some in found.values() for p, _ in some}
        yield CHECK.good(f"{several(sum(p.ref not in bad for p in running), 'other pod')} without such a fault")


def _pods(snapshot: Snapshot, about: About) -> tuple[Object, ...]:
    if about:
        both = (*pods_meant(snapshot, about), *own_pods(snapshot, about))
        return tuple({p.ref: p for p in both}.values())
    return tuple(
        p
        for p in snapshot.all("Pod")
        if p.namespace not in MANAGED_BY_CLUSTER and (p.labels.get("app") or p.labels.get("k8s-app")) not in OWN_CHECK
    )


def _servers(snapshot: Snapshot, about: About, pods: tuple[Object, ...]) -> frozenset[Ref]:
    """Those that were called, not the client that tells of it: only their faults explain a failed call."""
    if about.host or about.service:
        return frozenset(p.ref for p in pods_meant(snapshot, about))
    return frozenset() if about.source else frozenset(p.ref for p in pods)


def _result(ref: Ref, some: list[tuple[Object, Fault]], is_server: bool, none_ready: bool) -> Result:
    pod, fault = some[0]
    down = ("no-healthy-upstream",) if is_server and none_ready and fault.is_down else ()
    causes = fault.causes if is_server else tuple(c for c in fault.causes if not c.startswith("upstream-"))
    return CHECK.bad(
        f"{several(len(some), 'pod')} of {ref}: {fault.text}" if ref != pod.ref else f"{ref}: {fault.text}",
        *causes,
        *down,
        about=pod,
        severity=fault.severity,
        proofs=tuple(f.proof for _, f in some[:3]),
        advice=fault.advice,
    )


def _faults(pod: Object, node: Object | None, said: str, now: datetime | None) -> Iterator[Fault]:
    if pod.text("status", "reason") == "Evicted":
        proof = Proof(pod.ref, "status.message", pod.text("status", "message") or "Evicted")
        yield Fault("evicted", "", f"evicted: {_short(proof.value)}", proof, severity=Severity.WARNING, is_down=False)
        return
    if is_over(pod):
        return
    if pod.text("metadata", "deletionTimestamp"):
        end = pod.text("metadata", "deletionTimestamp")
        proof = Proof(pod.ref, "metadata.deletionTimestamp", end)
        due = moment(end)
        if now is not None and due is not None and now - due > STUCK:
            text = f"should have been gone at {due:%Y-%m-%d %H:%M} UTC: a finalizer, or a node that is away, keeps it"
            yield Fault("stuck", "", text, proof, ("proxy-draining",), Severity.WARNING)
            return
        yield Fault("going", "", f"is being deleted, to be gone by {end}", proof, ("proxy-draining",), Severity.INFO)
        return
    if node is not None and (status := condition(node, "Ready").get("status")) in ("False", "Unknown"):
        proof = Proof(node.ref, "status.conditions[Ready].status", str(status))
        yield Fault("node", node.name, f"runs on node {node.name}, which is not ready", proof, _GONE)
    if is_ready(pod) and not any(c.restarts for c in containers_of(pod)):
        return
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        why = str(scheduled.get("message") or scheduled.get("reason") or "Unschedulable")
        proof = Proof(pod.ref, "status.conditions[PodScheduled].message", why)
        yield Fault("pending", "", f"cannot be scheduled: {_short(why)}", proof)
        return
    some = containers_of(pod)
    found = [f for c in some for f in _container(pod, c, now)]
    yield from found
    if not found and said and pod.text("status", "phase") == "Pending":
        yield Fault("waiting", "", f"does not start: {_short(said)}", Proof(pod.ref, "status.phase", "Pending"))
    if not found and some and all(c.is_ready for c in some if ".container" in c.path) and not is_ready(pod):
        yield from _gates(pod)
    yield from _job(pod, some)


def _container(pod: Object, c: Container, now: datetime | None) -> Iterator[Fault]:
    is_init = "initContainer" in c.path
    path, end = c.ended
    code, reason = _code(end), str(end.get("reason") or "")
    meaning = reason or ("" if code is None else _EXIT.get(code, ""))
    last = "" if code is None else f"last exit {code}" + (f" ({meaning})" if meaning else "")
    restarts = f", {several(c.restarts, 'restart')}" if c.restarts else ""
    if c.waiting in NO_IMAGE | NO_START:
        message = str(at(c.status, "state", "waiting", "message") or "")
        proof = Proof(pod.ref, f"{c.path}.state.waiting.reason", c.waiting)
        text = f"{c.name} does not start: {c.waiting}" + (f", {_short(message)}" if message else "")
        yield Fault("waiting", c.name, text, proof)
    elif c.waiting == "CrashLoopBackOff" or (is_init and path.endswith(".state.terminated") and code not in (0, None)):
        memory = out_of_memory(c)
        proof = Proof(
            pod.ref, memory or f"{c.path}.state.waiting.reason", "OOMKilled" if memory else c.waiting or f"exit {code}"
        )
        text = f"{c.name} crashes again and again" + restarts + (f", {last}" if last else "")
        advice = logs_command(pod, c.name, previous=True)
        yield Fault("crash", c.name, text, proof, _crash(c, is_init, bool(memory)), advice=advice)
    elif (
        (memory := out_of_memory(c))
        and (when := moment(str(end.get("finishedAt", ""))))
        and (now is None or now - when <= RECENT)
    ):
        text = f"{c.name} was killed for want of memory at {when:%H:%M} UTC{restarts}"
        causes = (
            ("proxy-out-of-memory", "upstream-connection-closed")
            if c.name == PROXY
            else ("upstream-connection-closed",)
        )
        advice = f"Raise the memory limit of {c.name}, or find what takes it"
        yield Fault("memory", c.name, text, Proof(pod.ref, memory, "OOMKilled"), causes, is_down=False, advice=advice)
    elif path.endswith(".lastState.terminated") and code not in (0, 143, None) and (
        when := moment(str(end.get("finishedAt", "")))
    ) and now is not None and now - when <= RECENT:  # fmt: skip
        text = f"{c.name} ended at {when:%H:%M} UTC with exit {code}{restarts}"
        causes = ("proxy-crashed", "upstream-connection-closed") if c.name == PROXY else ("upstream-connection-closed",)
        proof = Proof(pod.ref, f"{path}.exitCode", str(code))
        yield Fault("ended", c.name, text, proof, causes, Severity.WARNING, is_down=False)
    if not c.is_ready and c.is_running and not (is_init and c.name != PROXY):
        yield from _not_ready(pod, c, now)


def _code(end: Mapping[str, Any]) -> int | None:
    code = end.get("exitCode")
    return code if isinstance(code, int) and not isinstance(code, bool) else None


def _crash(c: Container, is_init: bool, memory: bool) -> tuple[str, ...]:
    if c.name in REDIRECTION:
        return ("traffic-redirect-failed",)
    if c.name == PROXY:
        return ("proxy-out-of-memory" if memory else "proxy-crashed", "upstream-connection-closed")
    return () if is_init else ("upstream-connection-refused", "upstream-connection-closed")


def _not_ready(pod: Object, c: Container, now: datetime | None) -> Iterator[Fault]:
    """It runs and its readiness or startup probe has not said yes: 1/2."""
    if now and c.started and now - c.started < PATIENCE:
        return
    since = moment(str(condition(pod, "Ready").get("lastTransitionTime", "")))
    every = [s for s in containers_of(pod) if "containerStatuses" in s.path or s.name == PROXY]
    count = f"{sum(s.is_ready for s in every)}/{len(every)}"
    text = f"{count} ready: {c.name} runs and is not ready" + (f", since {since:%Y-%m-%d %H:%M} UTC" if since else "")
    causes = ("proxy-not-ready",) if c.name == PROXY else ("health-probe-failed",)
    advice = logs_command(pod, c.name)
    yield Fault("not ready", c.name, text, Proof(pod.ref, f"{c.path}.ready", "false"), causes, advice=advice)


def _gates(pod: Object) -> Iterator[Fault]:
    """All containers are ready and the pod is not: a readiness gate."""
    for gate in pod.mappings("spec", "readinessGates"):
        kind = str(gate.get("conditionType", ""))
        if condition(pod, kind).get("status") != "True":
            proof = Proof(pod.ref, "spec.readinessGates", kind)
            yield Fault("gate", kind, f"all containers are ready, and the readiness gate {kind} is not", proof)


def _job(pod: Object, some: tuple[Container, ...]) -> Iterator[Fault]:
    """A Job whose work is done and whose sidecar goes on (not with native sidecars)."""
    owners = {str(o.get("kind")) for o in pod.mappings("metadata", "ownerReferences")}
    apps = [c for c in some if c.name != PROXY and ".container" in c.path]
    sidecar = next((c for c in some if c.name == PROXY and c.is_running), None)
    over = bool(apps) and all(c.ended[0].endswith(".state.terminated") for c in apps)
    if "Job" in owners and sidecar and over and not has_native_sidecar(pod):
        yield Fault(
                "job", PROXY, f"{apps[0].name} has ended and {PROXY} goes on, so the Job does not complete",
                Proof(pod.ref, f"{sidecar.path}.state.running", "true"), severity=Severity.WARNING, is_down=False,
                advice="Use native sidecars, or have the app call POST http://localhost:15020/quitquitquit at its end",
            )  # fmt: skip


def _events(snapshot: Snapshot) -> Mapping[tuple[str, str], str]:
    """The latest warning of each pod."""
    latest: dict[tuple[str, str], tuple[bool, float, str]] = {}
    for e in snapshot.all("Event"):
        if e.text("involvedObject", "kind") != "Pod" or e.text("type") == "Normal":
            continue
        key = e.text("involvedObject", "namespace"), e.text("involvedObject", "name")
        when = seen(e)
        one = when is not None, when.timestamp() if when else 0.0, e.text("message") or e.text("reason")
        latest[key] = max(latest.get(key, one), one)
    return {k: text for k, (_, _, text) in latest.items()}


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:199]}…"


CHECK = Check("pod-status", "Do all pods run, with every container ready?", ("Pod",), run)
