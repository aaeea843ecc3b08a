"""A cluster in memory: namespaces, pods, their containers and logs, and every change of them with its version.

    cluster = Cluster()
    pod = cluster.add_pod("shop", "db-0", ["istio-proxy", "db"])
    cluster.write(pod, "istio-proxy", b"info Envoy proxy is ready")
    cluster.restart(pod, "istio-proxy")

All methods may be called from any thread. A pod is given as what `add_pod` returned, or as "namespace/name".
`tests.live.apiserver` serves it, `tests.live.pods` has pods of a mesh ready made.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from tests.live.logs import STEP, Block, BlockSegment, Instance, Segment
from tests.live.objects import SECOND, Json, Object, bad_request, managed, rfc3339

Kind = Literal["app", "init", "sidecar"]

PROXY_IMAGE = "docker.io/istio/proxyv2:1.24.2"

_OWNERS = {"Job": "batch/v1", "Node": "v1"}


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What a pod runs: an application, an init container, or a native sidecar (one that restarts always)."""

    name: str
    image: str = ""
    args: tuple[str, ...] = ()
    kind: Kind = "app"
    ports: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to an object: `before` is its version until then, None for one that was added."""

    version: int
    resource: str
    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: Object
    before: Object | None


class Watcher(Protocol):
    """Who is told of changes."""

    def add(self, change: Change) -> None: ...


class Container:
    """A container of a pod: it waits, runs or has terminated.

    `current` is the run of a container that runs or has terminated; `last` the one before, the only one that is kept.
    """

    def __init__(self, spec: ContainerSpec) -> None:
        self.spec = spec
        self.state: Literal["waiting", "running", "terminated"] = "waiting"
        self.reason = "PodInitializing"
        self.message = ""
        self.restarts = 0
        self.current: Instance | None = None
        self.last: Instance | None = None

    def __repr__(self) -> str:
        return f"Container({self.spec.name}, {self.state}, restarts {self.restarts})"

    @property
    def id(self) -> str:
        run = self.current or self.last
        return run.id if run else ""

    @property
    def ready(self) -> bool:
        if self.spec.kind == "init":
            return self.state == "terminated" and self.current is not None and self.current.exit_code == 0
        return self.state == "running"

    def retire(self) -> None:
        """The current run, if there is one, becomes the last; the one before that is gone."""
        if self.current is not None:
            self.last, self.current = self.current, None

    def log(self, pod: str, previous: bool) -> Instance:
        """The run whose log a kubelet returns; raises the ApiError that it answers otherwise."""
        what = f'container "{self.spec.name}" in pod "{pod}"'
        if previous:
            # A kubelet's own words. The stand-in kubelet of the captures answered the log of the current run here.
            if self.last is None:
                raise bad_request(f"previous terminated {what} not found")
            return self.last
        run = self.current or self.last
        if run is None:
            why = {
                "ErrImagePull": "image can't be pulled",
                "ImagePullBackOff": "trying and failing to pull image",
            }.get(self.reason, self.reason)
            raise bad_request(f"{what} is waiting to start: {why}")
        return run

    def status(self) -> Json:
        """The container's status as JSON."""
        state: Json
        if self.state == "waiting":
            state = {"waiting": {"reason": self.reason, **({"message": self.message} if self.message else {})}}
        elif self.state == "running" and self.current is not None:
            state = {"running": {"startedAt": rfc3339(self.current.started // SECOND)}}
        else:
            state = _terminated(self.current)
        image = self.spec.image
        digest = uuid.uuid5(uuid.NAMESPACE_URL, image).hex * 2
        out: Json = {"name": self.spec.name, "state": state, "lastState": _terminated(self.last), "ready": self.ready}
        out |= {"restartCount": self.restarts, "image": image, "imageID": f"{image}@sha256:{digest}" if self.id else ""}
        if self.id:
            out["containerID"] = self.id
        return {**out, "started": self.state == "running"}


def _terminated(run: Instance | None) -> Json:
    if run is None or run.finished is None:
        return {}
    times = {"startedAt": rfc3339(run.started // SECOND), "finishedAt": rfc3339(run.finished // SECOND)}
    return {"terminated": {"exitCode": run.exit_code, "reason": run.reason, **times, "containerID": run.id}}


class Pod:
    """A pod. `object` is its latest version as the API shows it."""

    def __init__(
        self,
        namespace: str,
        name: str,
        containers: Iterable[ContainerSpec | str],
        *,
        uid: str,
        created: int,
        ip: str,
        labels: Mapping[str, str],
        annotations: Mapping[str, str],
        owner: tuple[str, str] | None,
        node: str,
        restart_policy: str,
        service_account: str,
    ) -> None:
        self.namespace = namespace
        self.name = name
        self.specs = tuple(_spec(container) for container in containers)
        self.containers = {spec.name: Container(spec) for spec in self.specs}
        self.uid = uid
        self.created = created
        self.ip = ip
        self.labels = dict(labels)
        self.annotations = dict(annotations)
        self.owner = owner
        self.node = node
        self.restart_policy = restart_policy
        self.service_account = service_account
        self.reported = False  # by its kubelet; until then the status is nearly empty
        self.generation = 1
        self.deletion: tuple[int, int] | None = None  # when it shall be gone at the latest, and seconds until then
        self.deleted = False
        self.object = Object("Pod", {})

    def __repr__(self) -> str:
        return f"Pod({self.namespace}/{self.name}, {self.phase})"

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    def names(self) -> list[str]:
        """Names of all containers in the order in which a kube-apiserver lists them: first those that init the pod."""
        return [spec.name for spec in sorted(self.specs, key=lambda spec: spec.kind == "app")]

    @property
    def phase(self) -> str:
        apps = [c for c in self.containers.values() if c.spec.kind == "app"]
        inits = [c for c in self.containers.values() if c.spec.kind == "init"]
        if not self.reported or not all(c.ready for c in inits) or any(not c.id for c in apps):
            return "Pending"
        if apps and all(c.state == "terminated" for c in apps):
            return "Failed" if any(c.current and c.current.exit_code for c in apps) else "Succeeded"
        return "Running"

    def render(self, version: int, managed_fields: bool) -> Object:
        """The pod as the API shows it, with a resource version."""
        meta: Json = {"name": self.name, "namespace": self.namespace, "uid": self.uid, "resourceVersion": str(version)}
        meta |= {"generation": self.generation, "creationTimestamp": rfc3339(self.created // SECOND)}
        if self.deletion is not None:
            until, grace = self.deletion
            meta |= {"deletionTimestamp": rfc3339(until // SECOND), "deletionGracePeriodSeconds": grace}
        if self.labels:
            meta["labels"] = dict(sorted(self.labels.items()))
        if self.annotations:
            meta["annotations"] = dict(sorted(self.annotations.items()))
        if self.owner:
            kind, name = self.owner
            uid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}/{self.namespace}/{name}"))
            owner = {"apiVersion": _OWNERS.get(kind, "apps/v1"), "kind": kind, "name": name, "uid": uid}
            meta["ownerReferences"] = [{**owner, "controller": True}]
        spec, status = self._spec(), self._status()
        if managed_fields:
            owned = {"metadata": {k: v for k, v in meta.items() if k in ("labels", "annotations", "ownerReferences")}}
            time = rfc3339(self.created // SECOND)
            meta["managedFields"] = [
                _managed("kube-controller-manager", time, {**owned, "spec": spec}),
                {**_managed("kubelet", time, {"status": status}), "subresource": "status"},
            ]
        return Object("Pod", {"metadata": meta, "spec": spec, "status": status})

    def _spec(self) -> Json:
        volume = f"kube-api-access-{self.uid[:5]}"
        sources = [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [
                        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                    ]
                }
            },
        ]
        out: Json = {"volumes": [{"name": volume, "projected": {"sources": sources, "defaultMode": 420}}]}
        inits = [_container(spec, volume) for spec in self.specs if spec.kind != "app"]
        if inits:
            out["initContainers"] = inits
        out["containers"] = [_container(spec, volume) for spec in self.specs if spec.kind == "app"]
        out |= {"restartPolicy": self.restart_policy, "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst"}
        out |= {"serviceAccountName": self.service_account, "serviceAccount": self.service_account}
        if self.node:
            out["nodeName"] = self.node
        out |= {"securityContext": {}, "schedulerName": "default-scheduler"}
        out["tolerations"] = [
            {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            for key in ("not-ready", "unreachable")
        ]
        return out | {"priority": 0, "enableServiceLinks": True, "preemptionPolicy": "PreemptLowerPriority"}

    def _status(self) -> Json:
        out: Json = {"phase": self.phase}
        if self.reported:
            time = rfc3339(self.created // SECOND)
            begun = all(c.ready for c in self.containers.values() if c.spec.kind == "init")
            ready = begun and all(c.ready for c in self.containers.values() if c.spec.kind != "init")
            facts = {"Initialized": begun, "Ready": ready, "ContainersReady": ready, "PodScheduled": bool(self.node)}
            out["conditions"] = [
                {"type": kind, "status": str(fact), "lastProbeTime": None, "lastTransitionTime": time}
                for kind, fact in facts.items()
            ]
            if self.node:
                out |= {"hostIP": "127.0.0.1", "hostIPs": [{"ip": "127.0.0.1"}]}
                out |= {"podIP": self.ip, "podIPs": [{"ip": self.ip}], "startTime": time}
                inits = [c.status() for c in self.containers.values() if c.spec.kind != "app"]
                if inits:
                    out["initContainerStatuses"] = inits
                out["containerStatuses"] = [c.status() for c in self.containers.values() if c.spec.kind == "app"]
        return out | {"qosClass": "BestEffort"}


def _spec(container: ContainerSpec | str) -> ContainerSpec:
    spec = ContainerSpec(container) if isinstance(container, str) else container
    if spec.image:
        return spec
    image = PROXY_IMAGE if spec.name.startswith("istio-") else f"registry.example/{spec.name}:1.0"
    return ContainerSpec(spec.name, image, spec.args, spec.kind, spec.ports)


def _container(spec: ContainerSpec, volume: str) -> Json:
    out: Json = {"name": spec.name, "image": spec.image}
    if spec.args:
        out["args"] = list(spec.args)
    if spec.ports:
        out["ports"] = [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in spec.ports]
    out["resources"] = {}
    if spec.kind == "sidecar":
        out["restartPolicy"] = "Always"
    path = "/var/run/secrets/kubernetes.io/serviceaccount"
    out["volumeMounts"] = [{"name": volume, "readOnly": True, "mountPath": path}]
    out |= {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
    return out | {"imagePullPolicy": "IfNotPresent"}


def _managed(manager: str, time: str, fields: Json) -> Json:
    out: Json = {"manager": manager, "operation": "Update", "apiVersion": "v1", "time": time, "fieldsType": "FieldsV1"}
    return {**out, "fieldsV1": managed(fields)}


class Cluster:
    """Namespaces and pods. `seed` decides uids and ids of containers, `clock` (nanoseconds of Unix time) all times.

    `history` changes are kept for watches. With `rotate_bytes`, a log whose file is as long begins another one.
    `lossy`: who follows a log and is behind by more than one file misses those between, as with a real kubelet.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        clock: Callable[[], int] = time.time_ns,
        history: int = 1000,
        rotate_bytes: int | None = None,
        lossy: bool = True,
        managed_fields: bool = True,
    ) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.rotate_bytes = rotate_bytes
        self.lossy = lossy
        self.version = 200
        self.forgotten = 0
        self.namespaces: dict[str, Object] = {}
        self.pods: dict[str, Pod] = {}
        self.nodes_down: set[str] = set()
        self.changes: deque[Change] = deque()
        self.watchers: list[Watcher] = []
        self._random = random.Random(seed)
        self._history = history
        self._managed_fields = managed_fields
        self._addresses = 0

    # What is there

    def pod(self, pod: Pod | str) -> Pod:
        """A pod by "namespace/name"; raises KeyError."""
        return self.pods[pod] if isinstance(pod, str) else pod

    def container(self, pod: Pod | str, container: str) -> Container:
        """A container of a pod; raises KeyError."""
        return self.pod(pod).containers[container]

    def objects(self, resource: str) -> list[Object]:
        """All objects of "pods" or "namespaces" in the order of lists."""
        with self.lock:
            if resource == "pods":
                return [self.pods[key].object for key in sorted(self.pods)]
            return [self.namespaces[key] for key in sorted(self.namespaces)]

    # Namespaces and pods

    def add_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Makes a namespace; one that is there stays as it is."""
        with self.lock:
            if name in self.namespaces:
                return
            at = rfc3339(self.clock() // SECOND)
            every = dict(sorted({**(labels or {}), "kubernetes.io/metadata.name": name}.items()))
            meta: Json = {"name": name, "uid": self._uid(), "resourceVersion": "", "creationTimestamp": at}
            meta["labels"] = every
            if self._managed_fields:
                meta["managedFields"] = [_managed("kube-apiserver", at, {"metadata": {"labels": every}})]
            data = {"metadata": meta, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
            self.version += 1
            self.namespaces[name] = made = Object("Namespace", data).at(self.version)
            self._record(Change(self.version, "namespaces", "ADDED", made, None))

    def delete_namespace(self, name: str) -> None:
        """Deletes a namespace and its pods."""
        with self.lock:
            for pod in [pod for pod in self.pods.values() if pod.namespace == name]:
                self.delete_pod(pod)
            before = self.namespaces.pop(name)
            self.version += 1
            self._record(Change(self.version, "namespaces", "DELETED", before.at(self.version), before))

    def add_pod(
        self,
        namespace: str,
        name: str,
        containers: Iterable[ContainerSpec | str],
        *,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        owner: tuple[str, str] | None = None,
        node: str = "node-1",
        restart_policy: str = "Always",
        service_account: str = "default",
        start: bool = True,
    ) -> Pod:
        """Makes a pod (and its namespace), and starts it unless told otherwise; then its containers wait.

        `owner` is the kind and the name. With `node=""` it is not scheduled.
        """
        with self.lock:
            self.add_namespace(namespace)
            if f"{namespace}/{name}" in self.pods:
                raise ValueError(f"there is a pod {namespace}/{name}")
            self._addresses += 1
            labels = dict(labels or {})
            if owner is not None and owner[0] == "ReplicaSet":  # a Deployment's, which labels its pods so
                labels.setdefault("pod-template-hash", owner[1].rpartition("-")[2])
            pod = Pod(
                namespace,
                name,
                containers,
                uid=self._uid(),
                created=self.clock(),
                ip=f"10.244.{self._addresses // 250}.{self._addresses % 250 + 1}",
                labels=labels or {},
                annotations=annotations or {},
                owner=owner,
                node=node,
                restart_policy=restart_policy,
                service_account=service_account,
            )
            self.pods[pod.key] = pod
            self._changed(pod, "ADDED")
            if start and node:
                self.start(pod)
            elif node:
                pod.reported = True
                self._changed(pod)
            return pod

    def start(self, pod: Pod | str, container: str | None = None) -> None:
        """Starts a container that waits or has terminated, or all of a pod that wait; init containers end at once."""
        with self.lock:
            pod = self._alive(pod)
            pod.reported = True
            names = [container] if container else [n for n, c in pod.containers.items() if c.state == "waiting"]
            for name in names:
                part = pod.containers[name]
                self._run(part)
                if part.spec.kind == "init" and part.current is not None:
                    part.state = "terminated"
                    part.current.end(self.clock(), 0, "Completed")
            self._changed(pod)

    def set_waiting(self, pod: Pod | str, container: str, reason: str = "PodInitializing", message: str = "") -> None:
        """A container waits, for instance before its first start. One that ran has terminated by that."""
        with self.lock:
            pod = self._alive(pod)
            part = pod.containers[container]
            if part.state == "running":
                self._stop(part, 1, "Error")
            part.retire()
            part.state, part.reason, part.message = "waiting", reason, message
            pod.reported = True
            self._changed(pod)

    def restart(
        self,
        pod: Pod | str,
        container: str,
        reason: str = "OOMKilled",
        exit_code: int = 137,
        waiting: float | None = None,
    ) -> None:
        """A container ends and is started again: at once, or after seconds in which it waits (CrashLoopBackOff).

        `math.inf` waits until `start`.
        """
        with self.lock:
            pod = self._alive(pod)
            part = pod.containers[container]
            self._stop(part, exit_code, reason)
            part.retire()
            if waiting is None:
                self._run(part)
            else:
                part.state, part.reason = "waiting", "CrashLoopBackOff"
                part.message = (
                    f"back-off 10s restarting failed container={container} pod={pod.name}_{pod.namespace}({pod.uid})"
                )
                if waiting <= threading.TIMEOUT_MAX:
                    timer = threading.Timer(waiting, self._start_again, (pod, part, part.last))
                    timer.daemon = True
                    timer.start()
            self._changed(pod)

    def terminate(self, pod: Pod | str, container: str, reason: str = "Completed", exit_code: int = 0) -> None:
        """A container ends for good."""
        with self.lock:
            pod = self._alive(pod)
            self._stop(pod.containers[container], exit_code, reason)
            self._changed(pod)

    def begin_delete(self, pod: Pod | str, grace: int = 30) -> None:
        """A pod is told to end; its containers run on."""
        with self.lock:
            pod = self._alive(pod)
            pod.generation += 1
            pod.deletion = (self.clock() + grace * SECOND, grace)
            self._changed(pod)

    def delete_pod(self, pod: Pod | str, grace: int = 30) -> None:
        """Deletes a pod: its containers end, and then it is gone."""
        with self.lock:
            pod = self._alive(pod)
            if pod.deletion is None:
                self.begin_delete(pod, grace)
            for part in pod.containers.values():
                if part.state == "running":
                    self._stop(part, 0, "Completed")
            pod.deletion = (self.clock(), 0)
            self._changed(pod)
            self._changed(pod, "DELETED")

    def recreate(self, pod: Pod | str, *, start: bool = True) -> Pod:
        """Deletes a pod unless that was done, and makes one of the same name and kind, with another uid."""
        with self.lock:
            old = self.pod(pod)
            if not old.deleted:
                self.delete_pod(old)
            return self.add_pod(
                old.namespace,
                old.name,
                old.specs,
                labels=old.labels,
                annotations=old.annotations,
                owner=old.owner,
                node=old.node,
                restart_policy=old.restart_policy,
                service_account=old.service_account,
                start=start,
            )

    def label(self, pod: Pod | str, labels: Mapping[str, str | None]) -> None:
        """Sets labels of a pod, or removes those that are None."""
        with self.lock:
            pod = self._alive(pod)
            kept = {key: value for key, value in pod.labels.items() if key not in labels}
            pod.labels = kept | {key: value for key, value in labels.items() if value is not None}
            self._changed(pod)

    def touch(self, pod: Pod | str) -> None:
        """A new version of a pod in which nothing else has changed."""
        with self.lock:
            self._changed(self._alive(pod))

    def compact(self) -> None:
        """Forgets all changes until now: a watch from an older version is too old."""
        with self.lock:
            self.changes.clear()
            self.forgotten = self.version

    # Logs

    def write(self, pod: Pod | str, container: str, *lines: bytes, at: int | Sequence[int] | None = None) -> list[int]:
        """Writes lines (without their line feeds) to a log; returns their times in nanoseconds of Unix time.

        Without `at` the times are now, and each is later than all before. A number is the time of the first line,
        the others follow in steps of a microsecond; a sequence has a time for each line, in whatever order.
        """
        with self.lock:
            run = self._log(pod, container)
            if not lines:
                return []
            times: Sequence[int]
            if at is None:
                times = run.times(self.clock(), len(lines))
            elif isinstance(at, int):
                times = range(at, at + len(lines) * STEP, STEP)
            else:
                times = at
            self._append(run, Segment(lines, times))
            return list(times)

    def write_block(self, pod: Pod | str, container: str, block: Block, at: int | None = None) -> int:
        """Writes lines that were made ready; returns the time of the first. Far cheaper than `write` for many lines."""
        with self.lock:
            run = self._log(pod, container)
            milli = max(self.clock() // 1_000_000, run.last // 1_000_000 + 1) if at is None else at // 1_000_000
            self._append(run, BlockSegment(block, milli))
            return milli * 1_000_000

    def rotate(self, pod: Pod | str, container: str, *, end_follows: bool = False) -> None:
        """Begins a new file: a new request does not get the lines before. Who follows goes on, or has it ended."""
        with self.lock:
            self._log(pod, container).rotate(end_follows)

    def lose_log(self, pod: Pod | str, container: str, *, previous: bool = False) -> None:
        """The log of a run is gone from the node; the kubelet says so in the place of lines."""
        with self.lock:
            self.container(pod, container).log("", previous).gone = True

    # Inside

    def _log(self, pod: Pod | str, container: str) -> Instance:
        part = self._alive(pod).containers[container]
        if part.current is None:
            raise ValueError(f"{part} writes no lines")
        return part.current

    def _append(self, run: Instance, segment: Segment) -> None:
        run.append(segment)
        if self.rotate_bytes is not None and run.file.size >= self.rotate_bytes:
            run.rotate()

    def _alive(self, pod: Pod | str) -> Pod:
        found = self.pod(pod)
        if found.deleted:
            raise ValueError(f"{found} was deleted")
        return found

    def _run(self, part: Container) -> None:
        part.retire()
        if part.last is not None:
            part.restarts += 1
        part.current = Instance(f"containerd://{self._random.getrandbits(256):064x}", self.clock())
        part.state, part.reason, part.message = "running", "", ""

    def _stop(self, part: Container, exit_code: int, reason: str) -> None:
        if part.state != "running" or part.current is None:
            raise ValueError(f"{part} does not run")
        part.state = "terminated"
        part.current.end(self.clock(), exit_code, reason)

    def _start_again(self, pod: Pod, part: Container, last: Instance) -> None:
        with self.lock:
            # Unless something else has happened to it meanwhile.
            if not pod.deleted and part.state == "waiting" and part.last is last:
                self._run(part)
                self._changed(pod)

    def _changed(self, pod: Pod, type: Literal["ADDED", "MODIFIED", "DELETED"] = "MODIFIED") -> None:
        self.version += 1
        before = None if type == "ADDED" else pod.object
        if type == "DELETED":
            pod.deleted = True
            del self.pods[pod.key]
        pod.object = pod.render(self.version, self._managed_fields)
        self._record(Change(self.version, "pods", type, pod.object, before))

    def _record(self, change: Change) -> None:
        self.changes.append(change)
        if len(self.changes) > self._history:
            self.forgotten = self.changes.popleft().version
        for watcher in tuple(self.watchers):
            watcher.add(change)

    def _uid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))
