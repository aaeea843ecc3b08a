"""Which containers of which pods are followed, and which matter most. Pure: the API's JSON in, values out.

Facts: containers, labels and arguments are those of Istio's charts and injection templates, 1.6 to 1.29 (`manifests/charts`,
`gateway-injection` and `waypoint` templates of pilot).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from fnmatch import fnmatchcase
from typing import Any

from meshdiag.model import MeshdiagError


class Role(IntEnum):
    """What a container is in the mesh; the lower, the longer it is kept when there are too many."""

    ISTIOD = 0
    GATEWAY = 1
    ZTUNNEL = 2
    CNI = 3
    WAYPOINT = 4
    SIDECAR = 5
    INIT = 6
    APP = 7

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Status:
    """How a container is, by its pod's status; "" and None for what it does not say.

    id          of the instance that runs, or ran last
    over        this instance has ended
    started, finished   of this instance, whole seconds, UTC
    last_id, last_finished   of the instance before
    """

    id: str = ""
    restarts: int = 0
    over: bool = False
    reason: str = ""
    exit_code: int | None = None
    started: datetime | None = None
    finished: datetime | None = None
    last_id: str = ""
    last_finished: datetime | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a pod; `native`: a sidecar that is an init container which goes on."""

    name: str
    role: Role
    init: bool = False
    native: bool = False


@dataclass(frozen=True, slots=True)
class Pod:
    """What counts of a pod. `owner` is (kind, name) of its workload: a Deployment's, not its ReplicaSet's."""

    namespace: str
    name: str
    uid: str
    owner: tuple[str, str]
    revision: str
    containers: tuple[Container, ...]
    statuses: Mapping[str, Status]
    initialized: bool = True
    ready: bool = True
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """What the user wants to see. Empty means: of everything that belongs to the mesh.

    namespaces      with none and not `all_namespaces` the context's own
    selector, field_selector   as kubectl's -l and --field-selector; the API server applies them
    names           `deploy/reviews`, `pod/reviews-v1-…`, or a name (glob) of a pod or of a workload of any kind
    containers      names (globs) of containers, in place of those of the mesh
    exclude         globs on pods, workloads (`deploy/reviews`), containers, or `namespace/pod`
    app             also the application's containers of pods that are in the mesh
    """

    namespaces: tuple[str, ...] = ()
    all_namespaces: bool = False
    selector: str = ""
    field_selector: str = ""
    names: tuple[str, ...] = ()
    revision: str = ""
    containers: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    app: bool = False

    def takes(self, pod: Pod) -> bool:
        """Whether a pod is one of those that the user named."""
        if self.revision and pod.revision != self.revision:
            return False
        if self.names and not any(_named(pod, name) for name in self.names):
            return False
        return not any(_excluded(pod, glob) for glob in self.exclude)

    def wanted(self, pod: Pod) -> tuple[Container, ...]:
        """The containers of a pod that are followed, the most important first."""
        if not self.takes(pod):
            return ()
        chosen = [c for c in pod.containers if not any(fnmatchcase(c.name, g) for g in self.exclude)]
        if self.containers:
            chosen = [c for c in chosen if any(fnmatchcase(c.name, g) for g in self.containers)]
        elif not self.app or not any(c.role < Role.INIT for c in pod.containers):
            chosen = [c for c in chosen if c.role is not Role.APP]
        return tuple(sorted(chosen, key=lambda c: (c.role, c.name)))


KINDS = {
    **dict.fromkeys(("deploy", "deployment", "deployments"), "Deployment"),
    **dict.fromkeys(("sts", "statefulset", "statefulsets"), "StatefulSet"),
    **dict.fromkeys(("ds", "daemonset", "daemonsets"), "DaemonSet"),
    **dict.fromkeys(("rs", "replicaset", "replicasets"), "ReplicaSet"),
    **dict.fromkeys(("job", "jobs"), "Job"),
    **dict.fromkeys(("cj", "cronjob", "cronjobs"), "CronJob"),
    **dict.fromkeys(("rollout", "rollouts"), "Rollout"),
    **dict.fromkeys(("po", "pod", "pods"), "Pod"),
}
"""Kinds of workloads by the names that kubectl takes."""


def check(selection: Selection) -> None:
    """Raises MeshdiagError for a namespace that cannot be one, and for `kind/name` of a kind that owns no pods."""
    for namespace in selection.namespaces:
        if not _LABEL.fullmatch(namespace):
            raise MeshdiagError(f"{namespace!r} is no name of a namespace: small letters, digits and hyphens")
    for text in selection.names:
        kind, slash, name = text.partition("/")
        if slash and (kind.lower() not in KINDS or not name):
            kinds = "deploy, sts, ds, rs, job, cronjob, rollout, pod"
            raise MeshdiagError(f"{text!r} is no workload: write KIND/NAME with one of the kinds {kinds}")


def _named(pod: Pod, text: str) -> bool:
    kind, slash, name = text.partition("/")
    if not slash:
        return fnmatchcase(pod.name, text) or fnmatchcase(pod.owner[1], text)
    wanted = KINDS.get(kind.lower())
    if wanted == "Pod":
        return fnmatchcase(pod.name, name)
    return wanted == pod.owner[0] and fnmatchcase(pod.owner[1], name)


def _excluded(pod: Pod, glob: str) -> bool:
    kind, slash, _ = glob.partition("/")
    if slash and kind.lower() in KINDS:
        return _named(pod, glob)
    return _named(pod, glob) if not slash else fnmatchcase(f"{pod.namespace}/{pod.name}", glob)


# --- the API's JSON


def pod_of(item: Mapping[str, Any]) -> Pod | None:
    """A pod of its JSON (v1 Pod); None when it has no name, namespace or uid. Raises nothing, whatever the JSON holds."""
    meta, spec, status = _part(item, "metadata"), _part(item, "spec"), _part(item, "status")
    namespace, name, uid = _text(meta, "namespace"), _text(meta, "name"), _text(meta, "uid")
    if not (_LABEL.fullmatch(namespace) and _SUBDOMAIN.fullmatch(name) and uid):
        return None
    labels, annotations = _part(meta, "labels"), _part(meta, "annotations")
    containers = []
    for init in (False, True):
        for c in _items(spec, "initContainers" if init else "containers"):
            if _LABEL.fullmatch(_text(c, "name")):
                native = init and _text(c, "restartPolicy") == "Always"
                containers.append(Container(_text(c, "name"), _role(c, labels, init and not native), init, native))
    statuses = {
        _text(s, "name"): _status(s)
        for key in ("containerStatuses", "initContainerStatuses")
        for s in _items(status, key)
    }
    conditions = {_text(c, "type"): _text(c, "status") for c in _items(status, "conditions")}
    return Pod(
        namespace,
        name,
        uid,
        _owner(meta, labels),
        # a label may name a tag; what injected the proxy knows which revision that is
        _text(annotations, "istio.io/rev") or _injected_by(annotations) or _text(labels, "istio.io/rev"),
        tuple(containers),
        statuses,
        conditions.get("Initialized", "True") == "True",
        conditions.get("Ready", "True") == "True",
        bool(_text(meta, "deletionTimestamp")),
    )


_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

_SCHEDULED = re.compile(r"(.+)-(?:2[5-9]\d{6}|[3-9]\d{7}|1[5-9]\d{8})")
"""A CronJob's Job: its name and the minute (before Kubernetes 1.21 the second) of Unix time, from 2017 on, so no date as 20261122."""

_INIT = frozenset({"istio-init", "istio-validation", "enable-core-dump"})
_GATEWAY_CLASS = "gateway.istio.io/managed"


def _role(container: Mapping[str, Any], labels: Mapping[str, Any], init: bool) -> Role:
    name = _text(container, "name")
    if init:
        return Role.INIT if name in _INIT else Role.APP
    args = container.get("args")
    args = args if isinstance(args, list) else []
    if name == "istio-operator" or (name == "discovery" and _is_istiod(labels, args)):
        return Role.ISTIOD
    if _text(labels, "k8s-app") == "istio-cni-node":  # other meshes and networks call theirs install-cni, too
        return Role.CNI
    if name not in ("istio-proxy", "ztunnel"):
        return Role.APP
    if _text(labels, "app") == "ztunnel" or name == "ztunnel":
        return Role.ZTUNNEL
    kind = args[1] if len(args) > 1 and args[0] == "proxy" else ""
    if kind == "waypoint" or _text(labels, _GATEWAY_CLASS) == "istio.io-mesh-controller":
        return Role.WAYPOINT
    gateway = (
        kind == "router"
        or bool(_text(labels, _GATEWAY_CLASS))
        or bool(_text(labels, "gateway.networking.k8s.io/gateway-name") or _text(labels, "istio.io/gateway-name"))
        or _text(labels, "istio") in ("ingressgateway", "egressgateway", "eastwestgateway")
        or _text(labels, "operator.istio.io/component") in ("IngressGateways", "EgressGateways")
    )
    return Role.GATEWAY if gateway else Role.SIDECAR


def _is_istiod(labels: Mapping[str, Any], args: list[Any]) -> bool:
    return (
        _text(labels, "app") == "istiod" or _text(labels, "istio") in ("pilot", "istiod") or args[:1] == ["discovery"]
    )


def _status(status: Mapping[str, Any]) -> Status:
    state, last = _part(status, "state"), _part(status, "lastState")
    before = _part(last, "terminated")
    restarts = status.get("restartCount")
    count = restarts if isinstance(restarts, int) else 0
    here = _text(status, "containerID") or f"#{count}"  # without an id the count tells instances apart
    waiting = _text(_part(state, "waiting"), "reason")
    told = Status("", count, last_id=_text(before, "containerID"), last_finished=_time(before, "finishedAt"))
    if "running" in state:
        return replace(told, id=here, started=_time(_part(state, "running"), "startedAt"))
    if ended := _part(state, "terminated"):
        return _ended(replace(told, id=_text(ended, "containerID") or here, reason=_text(ended, "reason")), ended)
    if before:
        # Between two instances (CrashLoopBackOff) the log is that of the last one (pkg/kubelet/kubelet_pods.go).
        return _ended(Status(told.last_id or here, count, reason=waiting), before)
    return replace(told, reason=waiting)


def _ended(status: Status, ended: Mapping[str, Any]) -> Status:
    code = ended.get("exitCode")
    return replace(
        status,
        over=True,
        exit_code=code if isinstance(code, int) else None,
        started=_time(ended, "startedAt"),
        finished=_time(ended, "finishedAt"),
    )


def _owner(meta: Mapping[str, Any], labels: Mapping[str, Any]) -> tuple[str, str]:
    for owner in _items(meta, "ownerReferences"):
        if owner.get("controller") is not True:
            continue
        kind, name = _text(owner, "kind"), _text(owner, "name")
        template = _text(labels, "pod-template-hash") or _text(labels, "rollouts-pod-template-hash")
        if kind == "ReplicaSet" and template and name.endswith(f"-{template}"):
            rollout = not _text(labels, "pod-template-hash")
            return ("Rollout" if rollout else "Deployment"), name.removesuffix(f"-{template}")
        if kind == "Job" and (scheduled := _SCHEDULED.fullmatch(name)):
            return "CronJob", scheduled[1]
        return kind, name
    return "Pod", _text(meta, "name")


def _injected_by(annotations: Mapping[str, Any]) -> str:
    """The revision that injected a sidecar."""
    try:
        told = json.loads(_text(annotations, "sidecar.istio.io/status") or "{}")
    except (ValueError, RecursionError):
        return ""
    return _text(told, "revision") if isinstance(told, dict) else ""


def _part(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = value.get(key)
    return part if isinstance(part, dict) else {}


def _items(value: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = value.get(key)
    return [i for i in items if isinstance(i, dict)] if isinstance(items, list) else []


def _text(value: Mapping[str, Any], key: str) -> str:
    text = value.get(key)
    return text if isinstance(text, str) else ""


def _time(value: Mapping[str, Any], key: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(_text(value, key))
    except ValueError:
        return None
    return time if time.tzinfo else None
