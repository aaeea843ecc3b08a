"""Which containers are followed: the pods of a mesh as Istio's charts and injection make them, 1.6 to 1.29."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshdiag.model import MeshdiagError
from meshdiag.sources.kubernetes.select import Container, Pod, Role, Selection, Status, check, pod_of
from tests.live import pods
from tests.live.cluster import Cluster, ContainerSpec
from tests.live.cluster import Pod as Made

ROUTER = ["proxy", "router", "--domain", "$(POD_NAMESPACE).svc.cluster.local", "--proxyLogLevel=warning"]
SIDECAR = ["proxy", "sidecar", "--domain", "$(POD_NAMESPACE).svc.cluster.local", "--log_output_level=default:info"]


def raw(
    *containers: Any,
    inits: Any = (),
    labels: Any = None,
    annotations: Any = None,
    owners: Any = None,
    status: Any = None,
    **meta: Any,
) -> dict[str, Any]:
    """The JSON of a pod; containers are names, or (name, args), or JSON."""

    def part(container: Any) -> Any:
        match container:
            case str():
                return {"name": container}
            case (name, args):
                return {"name": name, "args": args}
        return container

    metadata = {"namespace": "shop", "name": "web-7d6c5f9b84-abcde", "uid": "u-1", **meta}
    metadata |= {
        k: v
        for k, v in {"labels": labels, "annotations": annotations, "ownerReferences": owners}.items()
        if v is not None
    }
    spec = {"containers": [part(c) for c in containers], "initContainers": [part(c) for c in inits]}
    return {"metadata": metadata, "spec": spec, **({"status": status} if status is not None else {})}


def read(item: dict[str, Any]) -> Pod:
    pod = pod_of(item)
    assert pod is not None
    return pod


def roles(item: dict[str, Any]) -> dict[str, str]:
    return {c.name: str(c.role) for c in read(item).containers}


def owner(kind: str, name: str, controller: Any = True) -> list[dict[str, Any]]:
    return [{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "o-1", "controller": controller}]


# Roles


def made(pod: Made) -> Pod:
    """What is read of a pod of the test cluster, as the API shows it."""
    return read(json.loads(pod.object.whole))


@pytest.mark.parametrize(
    ("build", "wanted"),
    [
        (
            lambda c: pods.sidecar_pod(c, "shop", "db-0"),
            {"istio-init": "init", "istio-proxy": "sidecar", "db": "app"},
        ),
        (
            lambda c: pods.native_sidecar_pod(c, "shop", "db-0"),
            {"istio-init": "init", "istio-proxy": "sidecar", "db": "app"},
        ),
        (lambda c: pods.plain_pod(c, "shop", "db-0"), {"db": "app"}),
        (lambda c: pods.ingress_gateway(c), {"istio-proxy": "gateway"}),
        (lambda c: pods.gateway(c, "shop", "public"), {"istio-proxy": "gateway"}),
        (lambda c: pods.waypoint(c, "shop"), {"istio-proxy": "waypoint"}),
        (lambda c: pods.istiod(c), {"discovery": "istiod"}),
        (lambda c: pods.istiod(c, "istiod-1-23-6b8f7d5c9-pqrst", rev="1-23"), {"discovery": "istiod"}),
        (lambda c: pods.ztunnel(c), {"istio-proxy": "ztunnel"}),
        (lambda c: pods.cni_node(c), {"install-cni": "cni"}),
    ],
)
def test_roles_of_pods_as_the_api_shows_them(build: Any, wanted: dict[str, str]) -> None:
    """Each container of a mesh has its role, of whatever list of the pod it is."""
    pod = made(build(Cluster()))
    assert {c.name: str(c.role) for c in pod.containers} == wanted


@pytest.mark.parametrize(
    ("labels", "args"),
    [
        # what IstioOperator and the old gateway charts install (1.6 to 1.23)
        ({"app": "istio-ingressgateway", "istio": "ingressgateway", "chart": "gateways"}, ROUTER),
        ({"app": "istio-egressgateway", "istio": "egressgateway"}, ROUTER),
        ({"app": "istio-eastwestgateway", "istio": "eastwestgateway", "topology.istio.io/network": "n1"}, ROUTER),
        # the gateway chart: the labels follow the name of the release
        ({"app": "istio-ingress", "istio": "ingress", "sidecar.istio.io/inject": "true"}, ROUTER),
        ({"app": "edge", "istio": "edge", "istio.io/rev": "prod"}, ROUTER),
        # a Deployment that the template `gateway` is injected into
        ({"my": "gateway", "inject.istio.io/templates": "gateway"}, ROUTER),
        # the Gateway API: until 1.20, since 1.21, and ambient's east-west gateways
        ({"istio.io/gateway-name": "public"}, ROUTER),
        ({"gateway.networking.k8s.io/gateway-name": "public"}, ROUTER),
        ({"gateway.istio.io/managed": "istio.io-gateway-controller"}, ROUTER),
        ({"gateway.istio.io/managed": "istio.io-eastwest-controller"}, ROUTER),
        # arguments of another shape: the labels tell
        ({"istio": "ingressgateway"}, None),
        ({"istio": "egressgateway"}, ["--flag"]),
        ({"operator.istio.io/component": "IngressGateways"}, {}),
        ({"operator.istio.io/component": "EgressGateways"}, [1, 2]),
        ({"istio.io/gateway-name": "public"}, None),
        ({"gateway.networking.k8s.io/gateway-name": "public"}, "proxy router"),
        ({"gateway.istio.io/managed": "istio.io-gateway-controller"}, ["proxy"]),
    ],
)
def test_gateways_whatever_they_are_called(labels: dict[str, str], args: Any) -> None:
    """A gateway is told by its arguments, else by its labels; its name and its app say nothing."""
    assert roles(raw({"name": "istio-proxy", "args": args}, labels=labels)) == {"istio-proxy": "gateway"}


@pytest.mark.parametrize(
    ("labels", "args"),
    [
        ({"gateway.istio.io/managed": "istio.io-mesh-controller", "istio.io/gateway-name": "w"}, ["proxy", "waypoint"]),
        ({"istio.io/gateway-name": "namespace"}, ["proxy", "waypoint", "--domain", "x"]),
        ({"gateway.istio.io/managed": "istio.io-mesh-controller"}, None),
    ],
)
def test_waypoints(labels: dict[str, str], args: Any) -> None:
    """A waypoint has the labels of a gateway, too, and is none."""
    assert roles(raw({"name": "istio-proxy", "args": args}, labels=labels)) == {"istio-proxy": "waypoint"}


def test_sidecars_of_every_way_of_injection() -> None:
    """Beside the application, before it, with the init containers of Istio and with others."""
    proxy = {"name": "istio-proxy", "args": SIDECAR, "restartPolicy": "Always"}
    item = raw(
        "web", "metrics", inits=["istio-validation", proxy, "migrate", {"name": "vault", "restartPolicy": "Always"}]
    )
    assert read(item).containers == (
        Container("web", Role.APP),
        Container("metrics", Role.APP),
        Container("istio-validation", Role.INIT, init=True),
        Container("istio-proxy", Role.SIDECAR, init=True, native=True),
        Container("migrate", Role.APP, init=True),
        Container("vault", Role.APP, init=True, native=True),
    )
    old = raw("web", ("istio-proxy", SIDECAR), inits=["istio-init", "enable-core-dump"])
    assert roles(old) == {"web": "app", "istio-proxy": "sidecar", "istio-init": "init", "enable-core-dump": "init"}
    assert roles(raw("web", "istio-proxy")) == {"web": "app", "istio-proxy": "sidecar"}  # arguments may be a wrapper's


@pytest.mark.parametrize(
    ("labels", "args", "role"),
    [
        (
            {"app": "istiod", "istio": "pilot", "istio.io/rev": "default"},
            ["discovery", "--monitoringAddr=:15014"],
            "istiod",
        ),
        ({"app": "istiod", "istio": "istiod", "istio.io/rev": "1-20-3"}, ["discovery"], "istiod"),
        ({"app": "istiod", "maistra-control-plane": "mesh"}, None, "istiod"),
        ({"istio": "pilot"}, None, "istiod"),
        ({}, ["discovery", "--domain", "cluster.local"], "istiod"),
        ({"app": "elasticsearch"}, ["--seed-hosts"], "app"),
        ({"app": "pilot"}, None, "app"),
    ],
)
def test_istiod_of_every_revision_and_what_is_only_called_like_it(labels: Any, args: Any, role: str) -> None:
    """Other software has a container `discovery`, too."""
    assert roles(raw({"name": "discovery", "args": args}, labels=labels)) == {"discovery": role}


def test_the_operator_belongs_to_the_control_plane() -> None:
    """Istio's in-cluster operator (until 1.23) changes the mesh, so its log counts as istiod's."""
    assert roles(raw("istio-operator", labels={"name": "istio-operator"})) == {"istio-operator": "istiod"}


def test_cni_of_istio_and_of_others() -> None:
    """Linkerd and Calico call their installers install-cni; Istio's pods are told by a label, all their containers count."""
    istio = raw("install-cni", "repair-cni", labels={"k8s-app": "istio-cni-node", "sidecar.istio.io/inject": "false"})
    assert roles(istio) == {"install-cni": "cni", "repair-cni": "cni"}
    assert roles(raw("install-cni", labels={"k8s-app": "linkerd-cni"})) == {"install-cni": "app"}
    assert roles(raw("calico-node", inits=["install-cni"], labels={"k8s-app": "calico-node"})) == {
        "calico-node": "app",
        "install-cni": "app",
    }


def test_ztunnel_is_told_by_its_label_or_its_name() -> None:
    """Its container has the name of a sidecar in most releases."""
    assert roles(raw(("istio-proxy", ["proxy", "ztunnel"]), labels={"app": "ztunnel"})) == {"istio-proxy": "ztunnel"}
    assert roles(raw("ztunnel", labels={"app.kubernetes.io/name": "ztunnel"})) == {"ztunnel": "ztunnel"}


# What else is read of a pod


@pytest.mark.parametrize(
    ("labels", "owners", "wanted"),
    [
        ({"pod-template-hash": "7d6c5f9b84"}, owner("ReplicaSet", "web-7d6c5f9b84"), ("Deployment", "web")),
        ({"pod-template-hash": "7d6c5f9b84"}, owner("ReplicaSet", "a-b-7d6c5f9b84"), ("Deployment", "a-b")),
        ({"rollouts-pod-template-hash": "6fbd"}, owner("ReplicaSet", "web-6fbd"), ("Rollout", "web")),
        ({}, owner("ReplicaSet", "web-7d6c5f9b84"), ("ReplicaSet", "web-7d6c5f9b84")),
        ({"pod-template-hash": "other"}, owner("ReplicaSet", "web"), ("ReplicaSet", "web")),
        ({}, owner("StatefulSet", "db"), ("StatefulSet", "db")),
        ({}, owner("DaemonSet", "ztunnel"), ("DaemonSet", "ztunnel")),
        ({}, owner("Job", "migrate"), ("Job", "migrate")),
        ({}, owner("Job", "report-29923172"), ("CronJob", "report")),
        ({}, owner("Job", "report-1617181920"), ("CronJob", "report")),  # before Kubernetes 1.21
        ({}, owner("Job", "nightly-2-29923172"), ("CronJob", "nightly-2")),
        ({}, owner("Job", "migrate-20261122"), ("Job", "migrate-20261122")),
        ({}, owner("Job", "migrate-2026112213"), ("Job", "migrate-2026112213")),
        ({}, owner("Job", "29923172"), ("Job", "29923172")),
        ({}, owner("Node", "node-1"), ("Node", "node-1")),
        ({}, owner("ReplicaSet", "web-1", controller=False), ("Pod", "web-7d6c5f9b84-abcde")),
        ({}, [None, 7, {"controller": "true"}, *owner("StatefulSet", "db")], ("StatefulSet", "db")),
        ({}, {}, ("Pod", "web-7d6c5f9b84-abcde")),
        (None, None, ("Pod", "web-7d6c5f9b84-abcde")),
    ],
)
def test_owners(labels: Any, owners: Any, wanted: tuple[str, str]) -> None:
    """The workload that a user named: not the ReplicaSet or Job that it made of it."""
    assert read(raw("web", labels=labels, owners=owners)).owner == wanted


def test_revisions() -> None:
    """The revision that injected a proxy, whatever tag chose it; of what was not injected the label."""
    told = {"sidecar.istio.io/status": '{"containers":["istio-proxy"],"revision":"1-22"}'}
    assert read(raw("x", labels={"istio.io/rev": "1-23"})).revision == "1-23"
    assert read(raw("x", annotations=told)).revision == "1-22"
    assert read(raw("x", annotations={"istio.io/rev": "1-24", **told})).revision == "1-24"
    assert read(raw("x", labels={"istio.io/rev": "prod"}, annotations=told)).revision == "1-22"
    assert read(raw("x", labels={"istio.io/rev": "prod"}, annotations={"istio.io/rev": "1-24"})).revision == "1-24"
    for text in ("", "{", "[]", "null", '{"revision":7}', "[" * 100_000, "1" * 10_000):
        assert read(raw("x", annotations={"sidecar.istio.io/status": text})).revision == ""


STARTED, FINISHED = "2026-11-22T23:32:13Z", "2026-11-22T23:40:00Z"
AT, END = datetime(2026, 11, 22, 23, 32, 13, tzinfo=UTC), datetime(2026, 11, 22, 23, 40, tzinfo=UTC)
RUNNING = {"running": {"startedAt": STARTED}}
ENDED = {"exitCode": 137, "reason": "OOMKilled", "startedAt": STARTED, "finishedAt": FINISHED, "containerID": "cri://1"}


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({"state": RUNNING, "containerID": "cri://1"}, Status("cri://1", started=AT)),
        (
            {"state": RUNNING, "containerID": "cri://2", "restartCount": 1, "lastState": {"terminated": ENDED}},
            Status("cri://2", 1, started=AT, last_id="cri://1", last_finished=END),
        ),
        # docker's shim and a kubelet that lost track give no id: the count stands for it
        ({"state": RUNNING, "restartCount": 3}, Status("#3", 3, started=AT)),
        ({"state": {"running": {}}, "containerID": "cri://1"}, Status("cri://1")),
        ({"state": {"waiting": {"reason": "PodInitializing"}}, "restartCount": 0}, Status(reason="PodInitializing")),
        ({"state": {"waiting": {}}}, Status()),
        (
            {"state": {"terminated": ENDED}, "containerID": "cri://1", "restartCount": 2},
            Status("cri://1", 2, True, "OOMKilled", 137, AT, END),
        ),
        (
            {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}, "containerID": "cri://7"},
            Status("cri://7", 0, True, "Completed", 0),
        ),
        ({"state": {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}}},
         Status("#0", 0, True, "ContainerStatusUnknown", 137)),
        # between two instances the log is that of the last one
        (
            {
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}},
                "lastState": {"terminated": ENDED},
                "containerID": "cri://1",
                "restartCount": 4,
            },
            Status("cri://1", 4, True, "CrashLoopBackOff", 137, AT, END),
        ),
        (
            {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}}},
            Status("#0", 0, True, "CrashLoopBackOff", 1),
        ),
        # odd values are none
        ({"state": {"terminated": {"exitCode": "1", "finishedAt": "yesterday"}}}, Status("#0", 0, True)),
        ({"state": {"running": {"startedAt": "2026-11-22T23:32:13"}}, "restartCount": "9"}, Status("#0")),
        ({"state": "running", "lastState": 7}, Status()),
        ({}, Status()),
    ],
)  # fmt: skip
def test_statuses(status: Any, wanted: Status) -> None:
    """Running, waiting, ended, and between two instances."""
    assert read(raw("web", status={"containerStatuses": [{"name": "web", **status}]})).statuses == {"web": wanted}


def test_statuses_of_a_pod_as_it_starts_and_is_deleted() -> None:
    """From a pod without any status to one that is told to end, as the API shows it."""
    cluster = Cluster()
    pod = pods.native_sidecar_pod(cluster, "shop", "db-0", start=False, node="")
    seen = made(pod)
    assert (seen.statuses, seen.leaving, seen.owner) == ({}, False, ("StatefulSet", "db"))
    pod = pods.native_sidecar_pod(cluster, "shop", "db-1", start=False)
    seen = made(pod)
    assert {name: status.reason for name, status in seen.statuses.items()} == dict.fromkeys(
        ("istio-init", "istio-proxy", "db"), "PodInitializing"
    )
    assert (seen.initialized, seen.ready) == (False, False)
    cluster.start(pod)
    seen = made(pod)
    assert (seen.initialized, seen.ready) == (True, True)
    assert (seen.statuses["istio-init"].over, seen.statuses["istio-init"].exit_code) == (True, 0)
    assert not seen.statuses["istio-proxy"].over
    first = seen.statuses["db"].id
    cluster.restart(pod, "db", waiting=float("inf"))
    between = made(pod).statuses["db"]
    assert (between.id, between.over, between.reason, between.exit_code) == (first, True, "CrashLoopBackOff", 137)
    cluster.start(pod, "db")
    again = made(pod).statuses["db"]
    assert (again.last_id, again.restarts, again.over) == (first, 1, False)
    assert again.id not in ("", first)
    cluster.begin_delete(pod)
    assert made(pod).leaving


@pytest.mark.parametrize(
    "meta",
    [
        {"name": ""},
        {"name": None},
        {"name": "../../secrets"},
        {"name": "a/b"},
        {"name": "a..b"},
        {"name": ".a"},
        {"name": "a."},
        {"name": "a-.b"},
        {"name": "-a"},
        {"name": "A"},
        {"name": "a\n"},
        {"name": "a?x=1"},
        {"name": "a" * 254},
        {"name": "ä"},
        {"namespace": ""},
        {"namespace": "a.b"},
        {"namespace": "a/../b"},
        {"namespace": "a" * 64},
        {"namespace": "kube-"},
        {"namespace": 7},
        {"uid": ""},
        {"uid": None},
    ],
)
def test_names_that_no_object_can_have_are_refused(meta: dict[str, Any]) -> None:
    """Names become a part of paths, and are shown; the API has none of these."""
    assert pod_of(raw("web", **meta)) is None


@pytest.mark.parametrize("name", ["a", "0", "a" * 253, "a.b.c-d", "web-7d6c5f9b84-abcde", "a" * 63 + "." + "b" * 63])
def test_names_of_pods(name: str) -> None:
    """Whatever the API takes."""
    assert read(raw("web", name=name)).name == name


def test_containers_without_a_proper_name_are_left_out() -> None:
    """As are those that are no objects."""
    assert roles(raw("web", {"name": "a/b"}, {"name": ""}, {}, "Web", "a" * 64)) == {"web": "app"}
    item = raw("web")
    item["spec"]["containers"] += [None, [], "x", 7]
    assert roles(item) == {"web": "app"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def shaped(**parts: Any) -> st.SearchStrategy[Any]:
    """Objects with these keys or without, each with a value of the kind that belongs there or with any."""
    return st.fixed_dictionaries({}, optional={key: one_of | JSON for key, one_of in parts.items()}) | JSON


TEXT = st.sampled_from(["a", "istio-proxy", "proxy", "Always", "True", "2026-11-22T23:32:13Z", "", "{", "web-1"])
ENDS = shaped(terminated=shaped(exitCode=st.integers(), finishedAt=TEXT, startedAt=TEXT, containerID=TEXT))
STATES = st.lists(
    shaped(name=TEXT, state=shaped(running=shaped(startedAt=TEXT), waiting=shaped(reason=TEXT)) | ENDS, lastState=ENDS)
)
PARTS = st.lists(shaped(name=TEXT, args=st.lists(TEXT), restartPolicy=TEXT))
KEYS = ["istio.io/rev", "app", "istio", "k8s-app", "pod-template-hash", "sidecar.istio.io/status"]
NOTES = st.dictionaries(st.sampled_from(KEYS), TEXT | JSON)


@settings(max_examples=300, deadline=None)
@given(
    shaped(
        labels=NOTES,
        annotations=NOTES,
        ownerReferences=st.lists(shaped(kind=TEXT, name=TEXT, controller=st.booleans())),
        deletionTimestamp=TEXT,
    ),
    shaped(containers=PARTS, initContainers=PARTS),
    shaped(containerStatuses=STATES, initContainerStatuses=STATES, conditions=st.lists(shaped(type=TEXT, status=TEXT))),
)
def test_no_json_raises(meta: Any, spec: Any, status: Any) -> None:
    """Whatever a server sends is a pod or none, and a pod can be selected from and shown."""
    named = {**meta, "namespace": "shop", "name": "a", "uid": "u"} if isinstance(meta, dict) else meta
    pod = pod_of({"metadata": named, "spec": spec, "status": status})
    assert (pod is not None) == isinstance(meta, dict)
    if pod is not None:
        assert set(Selection(app=True, exclude=("x",)).wanted(pod)) <= set(pod.containers)
        assert hash(pod.owner) and all(isinstance(s, Status) and repr(s) for s in pod.statuses.values())
    if isinstance(meta, dict):
        pod_of(meta)


# Selection


@pytest.fixture
def web() -> Pod:
    """A Deployment's pod with a sidecar of revision 1-22."""
    return read(
        raw(
            "web",
            ("istio-proxy", SIDECAR),
            inits=["istio-init", "migrate"],
            labels={"pod-template-hash": "7d6c5f9b84", "istio.io/rev": "1-22"},
            owners=owner("ReplicaSet", "web-7d6c5f9b84"),
        )
    )


def names(selection: Selection, pod: Pod) -> list[str]:
    return [c.name for c in selection.wanted(pod)]


def test_of_a_pod_what_belongs_to_the_mesh_the_most_important_first(web: Pod) -> None:
    """The application's own containers only when they are asked for, and only of pods in the mesh."""
    assert names(Selection(), web) == ["istio-proxy", "istio-init"]
    assert names(Selection(app=True), web) == ["istio-proxy", "istio-init", "migrate", "web"]
    plain = read(raw("web", inits=["migrate"]))
    assert names(Selection(), plain) == names(Selection(app=True), plain) == []
    captured = read(raw("web", inits=["istio-init"]))  # injected, and the proxy is gone: not in the mesh
    assert names(Selection(app=True), captured) == ["istio-init"]


def test_containers_in_place_of_those_of_the_mesh(web: Pod) -> None:
    """Names and globs; of several each container once."""
    assert names(Selection(containers=("web",)), web) == ["web"]
    assert names(Selection(containers=("istio-*", "istio-proxy")), web) == ["istio-proxy", "istio-init"]
    assert names(Selection(containers=("*",)), web) == ["istio-proxy", "istio-init", "migrate", "web"]
    assert names(Selection(containers=("none",)), web) == []
    assert names(Selection(containers=("w*",)), read(raw("web"))) == ["web"]


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("deploy/web", True),
        ("deployment/web", True),
        ("deployments/w*", True),
        ("Deploy/web", True),
        ("web", True),
        ("w?b", True),
        ("web-7d6c5f9b84-abcde", True),
        ("web-*", True),
        ("pod/web-7d6c5f9b84-abcde", True),
        ("po/web-*", True),
        ("pods/web", False),
        ("sts/web", False),
        ("rs/web-7d6c5f9b84", False),
        ("deploy/we", False),
        ("we", False),
        ("WEB", False),
        ("nonsense/web", False),
    ],
)
def test_names_of_pods_and_workloads(web: Pod, name: str, taken: bool) -> None:
    """With a kind only of that kind, else of a pod or of a workload of any; as a whole, or as a glob."""
    assert Selection(names=(name,)).takes(web) is taken
    assert Selection(names=("other", name)).takes(web) is taken
    if "/" not in name or taken:
        assert Selection(exclude=(name,)).takes(web) is not taken


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("StatefulSet", ("sts", "statefulset", "statefulsets")),
        ("DaemonSet", ("ds", "daemonset", "daemonsets")),
        ("ReplicaSet", ("rs", "replicaset", "replicasets")),
        ("Job", ("job", "jobs")),
        ("Rollout", ("rollout", "rollouts")),
    ],
)
def test_kinds_of_workloads(kind: str, texts: tuple[str, ...]) -> None:
    """Each by the names that kubectl takes."""
    pod = read(raw("x", owners=owner(kind, "db")))
    assert all(Selection(names=(f"{text}/db",)).takes(pod) for text in texts)
    assert not Selection(names=("deploy/db",)).takes(pod)
    job = read(raw("x", owners=owner("Job", "report-29923172")))
    assert Selection(names=("cj/report",)).takes(job) and Selection(names=("cronjob/report",)).takes(job)


def test_revision(web: Pod) -> None:
    """Only pods of that revision."""
    assert Selection(revision="1-22").takes(web)
    assert not Selection(revision="1-2").takes(web)
    assert not Selection(revision="1-22").takes(read(raw("istio-proxy")))


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (("istio-init",), ["istio-proxy"]),
        (("istio-*",), []),
        (("shop/*",), []),
        (("shop/web-*",), []),
        (("other/*",), ["istio-proxy", "istio-init"]),
        (("*/web-7d6c5f9b84-abcde",), []),
        (("shop/web",), ["istio-proxy", "istio-init"]),  # a workload has a kind before it, a pod its namespace
        (("deploy/web",), []),
        (("sts/web",), ["istio-proxy", "istio-init"]),
        (("pod/web-7*",), []),
        (("web",), []),
        (("nothing", "istio-proxy"), ["istio-init"]),
    ],
)
def test_exclude(web: Pod, exclude: tuple[str, ...], left: list[str]) -> None:
    """Pods, workloads, pods of a namespace, and containers."""
    assert names(Selection(exclude=exclude), web) == left
    assert names(Selection(exclude=exclude, names=("web",)), web) == left


def test_exclude_wins_over_containers(web: Pod) -> None:
    """What is left out is left out, also when its name is asked for."""
    assert names(Selection(containers=("*",), exclude=("migrate", "istio-*")), web) == ["web"]


def test_importance_is_the_order_of_roles() -> None:
    """When there are too many, istiod stays longest and applications go first."""
    assert [str(role) for role in Role] == ["istiod", "gateway", "ztunnel", "cni", "waypoint", "sidecar", "init", "app"]
    cluster = Cluster()
    pod = cluster.add_pod("shop", "x", ["b", "a", "istio-proxy", ContainerSpec("istio-init", kind="init")])
    assert names(Selection(app=True), made(pod)) == ["istio-proxy", "istio-init", "a", "b"]


# What a user may get wrong


def test_what_may_be_selected_is_not_refused() -> None:
    """Every kind, names without a kind, and globs."""
    check(Selection())
    check(
        Selection(
            namespaces=("shop", "a-1"), names=("web", "w*", "deploy/web", "CJ/report", "pod/x*"), exclude=("a/b",)
        )
    )


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(namespaces=("shop", "Shop")), "'Shop' is no name of a namespace: small letters, digits and hyphens"),
        (Selection(namespaces=("a/b",)), "'a/b' is no name of a namespace"),
        (Selection(namespaces=("",)), "'' is no name of a namespace"),
        (Selection(namespaces=("shop,orders",)), "'shop,orders' is no name of a namespace"),
        (
            Selection(names=("svc/web",)),
            "'svc/web' is no workload: write KIND/NAME with one of the kinds deploy, sts, ds",
        ),
        (Selection(names=("web", "deploy/")), "'deploy/' is no workload"),
        (Selection(names=("/web",)), "'/web' is no workload"),
    ],
)
def test_what_cannot_be_is_told(selection: Selection, message: str) -> None:
    """Before anything is asked of a cluster."""
    with pytest.raises(MeshdiagError) as caught:
        check(selection)
    assert message in str(caught.value)
