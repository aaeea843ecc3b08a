"""What a user is told when nothing can be followed: what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshdiag.model import MeshdiagError
from meshdiag.sources.kubernetes import refusals
from meshdiag.sources.kubernetes.select import Selection
from tests.live import pods
from tests.live.access import User, reader
from tests.live.calls import PROXY
from tests.live.cluster import Cluster
from tests.live.stage import NAME, Stage, play

pytestmark = pytest.mark.usefixtures("quick")

NOBODY = User("nobody")
RIGHTS = {("get", "pods"), ("list", "pods"), ("watch", "pods"), ("get", "pods/log")}
RBAC = Path(__file__).parents[2] / "deploy" / "rbac.yaml"


@pytest.fixture
def cluster() -> Cluster:
    """A pod of the mesh, pods beside it, and other namespaces."""
    cluster = Cluster()
    pods.sidecar_pod(cluster, "shop", "db-0")
    pods.sidecar_pod(cluster, "shop", "web-7d9c5b8f6-abcde")
    pods.plain_pod(cluster, "plain", "app-0")
    cluster.add_namespace("empty")
    return cluster


async def error(stage: Stage) -> None:
    """Nothing is expected but an error."""
    await stage.until(lambda: False)


def refused(cluster: Cluster, selection: Selection = Selection(), **options: Any) -> str:  # noqa: B008
    """What is said when a selection cannot be followed."""
    with pytest.raises(MeshdiagError) as raised:
        play(error, cluster, selection, **options)
    return str(raised.value)


def rules(role: Any) -> set[tuple[str, str]]:
    """(verb, resource) of a role's rules."""
    assert all(rule["apiGroups"] == [""] and set(rule) == {"apiGroups", "resources", "verbs"} for rule in role["rules"])
    return {(v, r) for rule in role["rules"] for v in rule["verbs"] for r in rule["resources"]}


# -- what stands in the way


def test_unreachable(cluster: Cluster) -> None:
    """A server where nobody listens is named, with its address, and what to look at."""
    said = refused(cluster, begun=lambda stage: stage.server.down())
    assert said.startswith("cannot reach the cluster test (http://127.0.0.1:")
    assert "is it up" in said and "--context" in said


def test_unauthorised(cluster: Cluster) -> None:
    """Credentials that are not accepted."""
    said = refused(cluster, token="old", server={"tokens": {"new": reader()}})
    assert "does not accept the credentials" in said and "log in again" in said
    assert "Unauthorized" in said


def test_a_server_that_stays_broken(cluster: Cluster) -> None:
    """After some tries the server's own words are told."""
    said = refused(cluster, begun=lambda stage: stage.server.fail_next("list", 500, 100))
    assert "cannot list the pods of namespace shop" in said and "kubelet says no" in said


@pytest.mark.parametrize(
    ("selection", "where", "kind"),
    [
        (Selection(), 'in the namespace "shop"', "Role"),
        (Selection(all_namespaces=True), "at the cluster scope", "ClusterRole"),
    ],
)
def test_forbidden(cluster: Cluster, selection: Selection, where: str, kind: str) -> None:
    """The verb and the resource that are missing are named, and the smallest role that has them is printed."""
    said = refused(cluster, selection, token="me", server={"tokens": {"me": NOBODY}})
    assert f'User "nobody" cannot list resource "pods" in API group "" {where}' in said
    assert ("-n" in said.split("\n")[0]) is selection.all_namespaces
    role = yaml.safe_load(said.partition("\n")[2])
    assert (role["kind"], role["metadata"].get("namespace")) == (kind, None if selection.all_namespaces else "shop")
    assert role["apiVersion"] == "rbac.authorization.k8s.io/v1"
    assert rules(role) == RIGHTS


def test_all_of_several_namespaces_are_forbidden(cluster: Cluster) -> None:
    """Then that is an error, of the first of them."""
    selection = Selection(namespaces=("shop", "plain"))
    said = refused(cluster, selection, token="me", server={"tokens": {"me": NOBODY}})
    assert 'namespace "shop"' in said


def test_one_of_several_namespaces_is_forbidden(cluster: Cluster) -> None:
    """Then that is a problem with the same words, and the other is followed."""

    async def scenario(stage: Stage) -> None:
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])

    user = User("me", reader("me", "shop").rules)
    selection = Selection(namespaces=("plain", "shop"))
    stage = play(scenario, cluster, selection, token="me", server={"tokens": {"me": user}})
    [problem] = stage.problems
    assert problem.where == "plain"
    assert 'cannot list resource "pods"' in problem.what
    assert rules(yaml.safe_load(problem.what.partition("\n")[2])) == RIGHTS


@pytest.mark.parametrize(
    ("selection", "words"),
    [(Selection(selector="app in (db"), "unable to parse"), (Selection(field_selector="spec.bad=1"), "spec.bad")],
    ids=["labels", "fields"],
)
def test_a_selector_that_is_wrong(cluster: Cluster, selection: Selection, words: str) -> None:
    """The server's words about it."""
    said = refused(cluster, selection)
    assert "does not understand the selector" in said and words in said


# -- nothing matches


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        pytest.param(
            Selection(namespaces=("shopp",)),
            ["there is no namespace 'shopp'", "there are empty, plain, shop"],
            id="no such namespace",
        ),
        pytest.param(Selection(namespaces=("shop", "nope")), ["there is no namespace 'nope'"], id="one of two"),
        pytest.param(Selection(namespaces=("empty",)), ["no pods in namespace empty", "--wait"], id="an empty one"),
        pytest.param(Selection(selector="app=nope"), ["no pods match app=nope in namespace shop", "--wait"], id="labels"),
        pytest.param(
            Selection(selector="app=db", field_selector="status.phase=Failed", all_namespaces=True),
            ["no pods match app=db and status.phase=Failed in all namespaces"],
            id="both selectors",
        ),
        pytest.param(
            Selection(names=("deploy/reviews", "nope")),
            ["none of the 2 pods in namespace shop is deploy/reviews or nope", "sts/db", "deploy/web", "--wait"],
            id="a name",
        ),
        pytest.param(Selection(exclude=("*",)), ["none of the 2 pods in namespace shop is left"], id="all excluded"),
        pytest.param(Selection(exclude=("istio-*",)), ["--exclude leaves no container of the 2 pods"], id="containers"),
        pytest.param(
            Selection(containers=("envoy",)),
            ["no container is named envoy in 2 pods", "there are db, istio-init, istio-proxy, web"],
            id="a container",
        ),
        pytest.param(
            Selection(namespaces=("plain",)),
            ["1 pods match in namespace plain, and none has a container of the mesh", "injection", "ztunnel", "-c NAME"],
            id="not in the mesh",
        ),
        pytest.param(Selection(revision="canary"), ["none of the 2 pods"], id="a revision"),
    ],
)  # fmt: skip
def test_nothing_matches(cluster: Cluster, selection: Selection, words: Iterable[str]) -> None:
    """It says what does not match, and what there is."""
    if selection.namespaces == ("shop", "nope"):
        cluster.delete_namespace("shop")
        cluster.add_namespace("shop")
    said = refused(cluster, selection)
    assert [w for w in words if w not in said] == [], said
    assert "\n" not in said


def test_one_of_several_namespaces_does_not_exist(cluster: Cluster) -> None:
    """That is a problem, as it is mostly a slip, and the others are followed."""

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME)
        await stage.until(lambda: stage.problems)

    stage = play(scenario, cluster, Selection(namespaces=("shopp", "shop", "empty")))
    [problem] = stage.problems
    assert "there is no namespace 'shopp'" in problem.what and "there are empty, plain, shop" in problem.what


def test_names_of_namespaces_that_may_not_be_read(cluster: Cluster) -> None:
    """Without the right to read namespaces nothing is guessed: there are no pods, and the rest is for kubectl."""
    user = reader()
    said = refused(cluster, Selection(namespaces=("shopp",)), token="me", server={"tokens": {"me": user}})
    assert said.startswith("no pods in namespace shopp")
    getter = User("me", (*user.rules, ("get", "namespaces", "*")))
    said = refused(cluster, Selection(namespaces=("shopp",)), token="me", server={"tokens": {"me": getter}})
    assert "there is no namespace 'shopp'" in said and "kubectl get namespaces" in said


@pytest.mark.parametrize("namespace", ["empty", "nope"])
def test_wait(namespace: str) -> None:
    """With `wait` that is no error: pods are followed when they come, also in a namespace that comes later, which is said."""
    cluster = Cluster()
    cluster.add_namespace("empty")

    async def scenario(stage: Stage) -> None:
        await stage.until(lambda: stage.server.open_watches and len(stage.problems) == (namespace == "nope"))
        pod = pods.sidecar_pod(cluster, namespace, "db-0")
        stage.write(pod, b"1")
        await stage.had(pod, [b"1"])

    stage = play(scenario, cluster, Selection(namespaces=(namespace,)), wait=True)
    assert ["there is no namespace 'nope'" in p.what for p in stage.problems] == [True] * (namespace == "nope")


def test_what_is_named_first_is_what_there_is_most_of() -> None:
    """Of many workloads those with the most pods are named."""
    cluster = Cluster()
    for kind in range(12):
        for n in range(12 - kind):
            pods.plain_pod(
                cluster, "shop", f"w{kind:02}-7d9c5b8f6-{n:05}x", owner=("ReplicaSet", f"w{kind:02}-7d9c5b8f6")
            )
    said = refused(cluster, Selection(names=("nope",)))
    assert "none of the 78 pods" in said
    assert "w00" in said and "w07" in said and "w08" not in said


# -- the role


@pytest.mark.parametrize("namespace", ["", "shop"])
def test_the_smallest_role(namespace: str) -> None:
    """It is YAML that kubectl applies, and holds what following needs, and nothing else."""
    role = yaml.safe_load(refusals.role(namespace))
    assert rules(role) == RIGHTS
    assert role["kind"] == ("Role" if namespace else "ClusterRole")
    assert role["metadata"] == {"name": "meshdiag", **({"namespace": namespace} if namespace else {})}


def documents() -> dict[str, Any]:
    return {d["kind"]: d for d in yaml.safe_load_all(RBAC.read_text())}


def test_deploy_rbac() -> None:
    """deploy/rbac.yaml grants what following needs to one service account, reads only, and marks what is optional."""
    found = documents()
    granted = rules(found["ClusterRole"])
    assert granted == RIGHTS | {("get", "namespaces"), ("list", "namespaces")}
    binding = found["ClusterRoleBinding"]
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == (
        "ClusterRole",
        found["ClusterRole"]["metadata"]["name"],
    )
    account = found["ServiceAccount"]["metadata"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", **account}]
    text = RBAC.read_text()
    assert text.index("Optional") < text.index("resources: [namespaces]")


def user(rights: Iterable[tuple[str, str]]) -> User:
    return User("me", tuple((verb, resource, "*") for verb, resource in rights))


async def everything(stage: Stage) -> None:
    """A container is read, its stream is cut, it is started again, and its pod is created again."""
    await stage.following(NAME)
    stage.write(NAME, b"1")
    await stage.had(NAME, [b"1"])
    stage.server.cut(NAME)
    stage.server.cut_watches()
    stage.write(NAME, b"2")
    await stage.had(NAME, [b"1", b"2"])
    stage.cluster.restart(NAME, PROXY)
    stage.write(NAME, b"3")
    await stage.had(NAME, [b"1", b"2", b"3"])
    stage.cluster.recreate(NAME)
    stage.write(NAME, b"4")
    await stage.had(NAME, [b"1", b"2", b"3", b"4"])


def asked(stage: Stage) -> set[tuple[str, str]]:
    """(verb, resource) of all requests."""
    kinds = {"log": ("get", "pods/log")}
    return {kinds.get(r.verb, (r.verb, "pods")) for r in stage.server.requests if "/pods" in r.path}


def test_with_exactly_these_rights_everything_works(cluster: Cluster) -> None:
    """Nothing else is asked for, and nothing is refused."""
    stage = play(everything, cluster, token="me", server={"tokens": {"me": user(RIGHTS)}})
    assert asked(stage) == RIGHTS
    assert {r.method for r in stage.server.requests} == {"GET"}
    assert all("/pods" in r.path for r in stage.server.requests)
    assert not stage.problems + stage.gaps
    assert not stage.server.stats["status.403"]


def test_the_optional_rights_are_for_better_errors(cluster: Cluster) -> None:
    """With all of deploy/rbac.yaml a namespace that does not exist is told from an empty one, and others are named."""
    rights = rules(documents()["ClusterRole"])
    said = refused(cluster, Selection(namespaces=("shopp",)), token="me", server={"tokens": {"me": user(rights)}})
    assert "there are empty, plain, shop" in said


@pytest.mark.parametrize(("verb", "resource"), sorted(RIGHTS))
def test_without_one_of_them_that_one_is_named(cluster: Cluster, verb: str, resource: str) -> None:
    """As an error when nothing can be followed at all, else as a problem, once."""
    rights = RIGHTS - {(verb, resource)}

    async def scenario(stage: Stage) -> None:
        await stage.following(NAME) if resource == "pods" else await stage.until(lambda: stage.count("log") > 6)
        stage.server.cut(NAME)
        await stage.until(lambda: stage.problems)
        await asyncio.sleep(0.25)  # of further requests that are refused

    options: dict[str, Any] = {"token": "me", "server": {"tokens": {"me": user(rights)}}}
    words: Callable[[str], bool] = lambda said: f'cannot {verb} resource "{resource}"' in said  # noqa: E731
    if verb == "list":
        assert words(refused(cluster, **options))
        return
    stage = play(scenario, cluster, **options)
    assert [p.where for p in stage.problems] == ["shop"]
    assert words(stage.problems[0].what)
