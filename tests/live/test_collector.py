"""All containers of a selection: which are followed, how many at once, how it begins, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import pytest

from meshdiag.model import MeshdiagError
from meshdiag.sources.kubernetes import collector as collectors
from meshdiag.sources.kubernetes import follower as followers
from meshdiag.sources.kubernetes.collector import Kubernetes, Pacer
from meshdiag.sources.kubernetes.follower import Follower, Start
from meshdiag.sources.kubernetes.select import Role, Selection
from meshdiag.sources.live import Ended, Lines, Problem, collected
from tests.live import pods
from tests.live.access import User, reader
from tests.live.apiserver import ApiServer
from tests.live.calls import PROXY
from tests.live.cluster import Cluster
from tests.live.faults import Faults
from tests.live.stage import NAME, ONLY, Stage, access, numbered, play

pytestmark = pytest.mark.usefixtures("quick")

GATEWAY = "shop/gateway-istio-6d4f5b7c8-fghij"


@pytest.fixture
def mesh() -> Cluster:
    """One of everything, in two namespaces, and what is not of the mesh."""
    cluster = Cluster()
    pods.sidecar_pod(cluster, "shop", "web-7d9c5b8f6-abcde", labels={"tier": "front"})
    pods.native_sidecar_pod(cluster, "shop", "cart-0")
    pods.gateway(cluster, "shop", "gateway")
    pods.waypoint(cluster, "shop")
    pods.plain_pod(cluster, "shop", "plain-0")
    pods.istiod(cluster)
    pods.ztunnel(cluster)
    pods.cni_node(cluster)
    return cluster


def followed(stage: Stage) -> set[str]:
    return set(stage.opened)


ALL = {
    "shop/web-7d9c5b8f6-abcde/istio-proxy",
    "shop/web-7d9c5b8f6-abcde/istio-init",
    "shop/cart-0/istio-proxy",
    "shop/cart-0/istio-init",
    "shop/gateway-istio-6d4f5b7c8-fghij/istio-proxy",
    "shop/waypoint-7b9c8d6f5-klmno/istio-proxy",
    "istio-system/istiod-6b8f7d5c9-pqrst/discovery",
    "istio-system/ztunnel-x7k2p/istio-proxy",
    "istio-system/istio-cni-node-q9w4r/install-cni",
}
WEB = {path for path in ALL if path.startswith("shop/web")}
CART = {path for path in ALL if path.startswith("shop/cart")}
SYSTEM = {path for path in ALL if path.startswith("istio-system")}


@pytest.mark.parametrize(
    ("selection", "paths"),
    [
        pytest.param(Selection(all_namespaces=True), ALL, id="all namespaces"),
        pytest.param(Selection(), ALL - SYSTEM, id="the context's namespace"),
        pytest.param(Selection(namespaces=("istio-system", "shop")), ALL, id="two namespaces"),
        pytest.param(
            Selection(app=True), ALL - SYSTEM | {"shop/web-7d9c5b8f6-abcde/web", "shop/cart-0/cart"}, id="applications"
        ),
        pytest.param(Selection(selector="tier=front"), WEB, id="labels"),
        pytest.param(Selection(field_selector="metadata.name=cart-0"), CART, id="fields"),
        pytest.param(Selection(names=("deploy/web",)), WEB, id="a workload"),
        pytest.param(Selection(names=("sts/cart", "web-*")), CART | WEB, id="a workload and a pod"),
        pytest.param(Selection(names=("pod/cart-0",)), CART, id="a pod"),
        pytest.param(Selection(exclude=("deploy/web", "shop/gateway*", "waypoint*")), CART, id="but some"),
        pytest.param(
            Selection(containers=("istio-init",)), {p for p in ALL if p.endswith("istio-init")}, id="containers"
        ),
        pytest.param(Selection(containers=("plain",)), {"shop/plain-0/plain"}, id="any container"),
        pytest.param(
            Selection(all_namespaces=True, revision="default"), WEB | CART | {p for p in SYSTEM if "istiod" in p},
            id="a revision",
        ),
    ],
)  # fmt: skip
def test_which_containers_are_followed(mesh: Cluster, selection: Selection, paths: set[str]) -> None:
    """What belongs to the mesh, or what was named; each says something, and that comes, once."""

    async def scenario(stage: Stage) -> None:
        await stage.until(lambda: followed(stage) >= paths)
        for path in paths:
            namespace, pod, container = path.split("/")
            if container != "istio-init":
                stage.write(f"{namespace}/{pod}", b"line", container=container)
                await stage.had(f"{namespace}/{pod}", [b"line"], container)

    stage = play(scenario, mesh, selection)
    assert followed(stage) == paths
    assert not stage.problems
    assert {e.origin.path for e in stage.events if isinstance(e, Lines)} == {
        p for p in paths if not p.endswith("istio-init")
    }


def test_an_init_container_after_it_has_ended() -> None:
    """What it wrote comes, and its end is told."""
    cluster = Cluster()
    pod = pods.sidecar_pod(cluster, "shop", "db-0")
    cluster.write(pod, "istio-init", b"iptables", b"done")

    async def scenario(stage: Stage) -> None:
        await stage.until(lambda: stage.ended)

    stage = play(scenario, cluster)
    assert stage.lines(pod, "istio-init") == [b"iptables", b"done"]
    assert stage.ended == {f"{NAME}/istio-init": "the container has ended"}


def test_pods_that_come_later(mesh: Cluster) -> None:
    """A new pod, a new replica and a container that waits at first are followed from their first line on."""

    async def scenario(stage: Stage) -> None:
        await stage.following("shop/cart-0")
        late = pods.sidecar_pod(mesh, "shop", "late-0", start=False)
        new = pods.native_sidecar_pod(mesh, "shop", "cart-1")
        stage.write(new, b"1", b"2")
        other = pods.plain_pod(mesh, "shop", "plain-1")
        await stage.had(new, [b"1", b"2"])
        assert f"{late.key}/{PROXY}" not in stage.opened
        mesh.start(late)
        stage.write(late, b"1")
        await stage.had(late, [b"1"])
        assert not [path for path in stage.opened if path.startswith(other.key)]

    stage = play(scenario, mesh)
    assert stage.opened.count(f"shop/late-0/{PROXY}") == 1


def test_waiting_for_pods_to_come() -> None:
    """With `wait` nothing that matches at first is no error."""

    async def scenario(stage: Stage) -> None:
        await stage.until(lambda: stage.server.open_watches)
        pod = pods.sidecar_pod(stage.cluster, "shop", "db-0")
        stage.write(pod, b"1")
        await stage.had(pod, [b"1"])

    play(scenario, Cluster(), wait=True)


def test_offsets(mesh: Cluster) -> None:
    """Lines of an origin follow one another without a hole, whatever happens to the stream."""

    async def scenario(stage: Stage) -> None:
        for n in range(5):
            await stage.following("shop/cart-0")
            stage.write("shop/cart-0", *numbered(10 * n, 10 * n + 3))
            stage.server.cut("shop/cart-0", PROXY)
            if n == 2:
                mesh.restart("shop/cart-0", PROXY)
        await stage.until(lambda: len(stage.lines("shop/cart-0")) == 15)

    stage = play(scenario, mesh)
    at = 0
    for event in stage.events:
        if isinstance(event, Lines) and event.origin.path == f"shop/cart-0/{PROXY}":
            assert event.offset == at
            at += len(event.data)


# -- limits


def test_of_too_many_the_least_important_are_left_out() -> None:
    """That is said; one that is more important takes the place of another, which comes back without loss when there is room."""
    cluster = Cluster()
    names = [pods.sidecar_pod(cluster, "shop", f"web-{n}").key for n in range(10)]
    selection = Selection(all_namespaces=True, containers=(PROXY, "discovery"))
    out = names[2]

    async def scenario(stage: Stage) -> None:
        await stage.following(*names[:3])
        for name in names[:3]:
            stage.write(name, b"1")
            await stage.had(name, [b"1"])
        assert [p.what for p in stage.problems][:1] == [
            "more than 3 containers match: sidecar containers are left out for now"
        ]
        assert "--max-streams" in stage.problems[0].hint
        assert set(stage.ended) == {f"{name}/{PROXY}" for name in names[3:]}
        assert {"put off: more than 3 containers match"} == set(stage.ended.values())

        istiod = pods.istiod(cluster)
        stage.write(istiod, b"1", container="discovery")
        await stage.had(istiod, [b"1"], "discovery")
        await stage.until(lambda: not stage.server.streams(out))
        assert stage.ended[f"{out}/{PROXY}"].startswith("put off")
        stage.write(out, b"2")
        for name in names:
            cluster.touch(name)  # nothing is said again of those that wait
        stage.write(names[0], b"2")
        await stage.had(names[0], [b"1", b"2"])
        said = len(stage.events)

        cluster.delete_pod(istiod)
        await stage.had(out, [b"1", b"2"])
        stage.server.cut(out)
        stage.write(out, b"3")
        await stage.had(out, numbered(1, 4))
        assert not [e for e in stage.events[said:] if isinstance(e, (Problem, Ended)) and "left out" in str(e)]

    stage = play(scenario, cluster, selection, max_streams=3)
    assert stage.opened.count(f"{out}/{PROXY}") == 2
    assert all(f"{name}/{PROXY}" not in stage.opened for name in names[3:])
    put_off = [e.origin.path for e in stage.events if isinstance(e, Ended) and e.why.startswith("put off")]
    assert len(put_off) == len(set(put_off)) == 8
    assert not stage.gaps


def test_those_that_were_left_out_come_when_others_end() -> None:
    """When a container ends, the most important one of those that wait takes its place."""
    cluster = Cluster()
    names = [pods.sidecar_pod(cluster, "shop", f"web-{n}").key for n in range(3)]
    gateway = pods.gateway(cluster, "shop", "zz", start=False)

    async def scenario(stage: Stage) -> None:
        await stage.following(names[0])
        cluster.terminate(names[0], PROXY)
        await stage.following(names[1])
        cluster.start(gateway)  # takes its place at once
        await stage.following(gateway)
        cluster.delete_pod(gateway)
        await stage.following(names[1])
        cluster.delete_pod(names[1])
        await stage.following(names[2])

    assert play(scenario, cluster, ONLY, max_streams=1).opened[-1] == f"{names[2]}/{PROXY}"


def test_a_container_that_is_put_off_while_nobody_reads_loses_nothing() -> None:
    """Lines that wait for room when their container is put off are not forgotten."""
    cluster = Cluster()
    pod = pods.sidecar_pod(cluster, "shop", "web-0")
    lines = [b"%03d" % n + b"x" * 200 for n in range(100)]

    async def scenario(stage: Stage) -> None:
        await stage.following(pod)
        stage.read.clear()
        for n in range(0, 100, 10):
            stage.write(pod, *lines[n : n + 10])
            await asyncio.sleep(0.002)  # so that they come one by one
        istiod = pods.istiod(cluster)
        await stage.until(lambda: stage.server.streams(istiod))
        await stage.until(lambda: not stage.server.streams(pod))
        stage.read.set()
        cluster.delete_pod(istiod)
        await stage.had(pod, lines)

    selection = Selection(all_namespaces=True, containers=(PROXY, "discovery"))
    assert not play(scenario, cluster, selection, max_streams=1, queue_bytes=3000).gaps


# -- back-pressure


def test_a_consumer_that_stops_reading() -> None:
    """The queue keeps to its limit, what does not fit waits on its way, and all comes when it is read again."""
    cluster = Cluster(lossy=False)
    names = [pods.sidecar_pod(cluster, "shop", f"web-{n}").key for n in range(4)]
    lines = [b"%05d" % n + b"x" * 1000 for n in range(4000)]  # 4 MB each
    sizes: list[int] = []

    async def scenario(stage: Stage) -> None:
        await stage.following(*names)
        stage.read.clear()
        for name in names:
            stage.write(name, *lines)
        quiet = 0
        sent = -1
        while quiet < 5:  # until nothing moves any more
            await asyncio.sleep(0.02)
            now = stage.server.stats["log.bytes"]
            quiet, sent = (quiet + 1, sent) if now == sent else (0, now)
            sizes.append(runs[0].queue.size)
        assert sum(len(stage.lines(name)) for name in names) < 4000
        stage.read.set()
        await stage.until(lambda: all(len(stage.lines(name)) == 4000 for name in names))
        assert all(stage.lines(name) == lines for name in names)

    runs: list[Any] = []
    real = collectors._Run.begin

    async def begin(self: Any) -> None:
        runs.append(self)
        await real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collectors._Run, "begin", begin)
        stage = play(scenario, cluster, ONLY, queue_bytes=1 << 20)
    assert max(sizes) < (1 << 20) + (1 << 18)  # one event more
    assert not stage.gaps


# -- requests


def test_requests_are_spread() -> None:
    """So many a second after a first burst; those of the most important containers come first."""

    async def main() -> None:
        pacer = Pacer(100, 5)
        order: list[Role] = []

        async def ask(role: Role) -> None:
            await pacer.turn(role)
            order.append(role)

        began = time.monotonic()
        for _ in range(5):
            await ask(Role.APP)
        assert time.monotonic() - began < 0.05
        asking = [asyncio.ensure_future(ask(r)) for r in (Role.SIDECAR, Role.APP, Role.ISTIOD, Role.GATEWAY) * 5]
        await asyncio.gather(*asking)
        assert 0.18 <= time.monotonic() - began < 1
        assert order[5:] == sorted(order[5:])

    asyncio.run(main())


def test_who_gives_up_its_turn_costs_nothing() -> None:
    """A turn that nobody waits for any more is not used up."""

    async def main() -> None:
        pacer = Pacer(50, 1)
        await pacer.turn(Role.APP)
        asking = [asyncio.ensure_future(pacer.turn(Role.ISTIOD)) for _ in range(50)]
        await asyncio.sleep(0)
        for one in asking:
            one.cancel()
        began = time.monotonic()
        await pacer.turn(Role.APP)
        assert time.monotonic() - began < 0.5

    asyncio.run(main())


def test_the_rate_stays_bounded_when_everything_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many containers whose requests fail at once do not ask more often than a fixed rate."""
    rate, burst = 120.0, 10
    monkeypatch.setattr(collectors, "Pacer", lambda: Pacer(rate, burst))
    cluster = Cluster()
    names = [pods.sidecar_pod(cluster, "shop", f"web-{n}").key for n in range(15)]

    async def scenario(stage: Stage) -> None:
        await stage.following(*names)
        before, began = stage.count("log") + stage.count("get"), time.monotonic()
        stage.server.faults = Faults(errors={500: 0.5, 503: 0.5}, only=lambda r: r.verb in ("log", "get"))
        stage.server.cut(kind="reset")
        await stage.until(lambda: stage.count("log") + stage.count("get") >= before + 60)
        asked, took = stage.count("log") + stage.count("get") - before, time.monotonic() - began
        assert asked <= burst + rate * took + 2
        stage.server.faults = Faults()
        for name in names:
            stage.write(name, b"1")
        await stage.until(lambda: all(stage.lines(name) == [b"1"] for name in names))

    assert not play(scenario, cluster, ONLY, server={"eager_headers": True}).gaps


# -- the beginning


def test_a_server_that_is_busy_at_first() -> None:
    """A first list that is answered with 503 or 500 is asked for again."""
    cluster = Cluster()
    pods.sidecar_pod(cluster, "shop", "db-0")

    async def scenario(stage: Stage) -> None:
        stage.write(NAME, b"1")
        await stage.had(NAME, [b"1"])

    def begun(stage: Stage) -> None:
        stage.server.fail_next("list", 503)
        stage.server.fail_next("list", 500, 2)

    stage = play(scenario, cluster, begun=begun)
    assert stage.count("list") == 4
    assert not stage.problems


def test_a_namespace_that_cannot_be_listed_at_first_is_tried_again(mesh: Cluster) -> None:
    """One of two may be forbidden: that is a problem, the other goes on, and it comes when the right is given."""
    user = User("me", reader("me", "shop").rules)

    async def scenario(stage: Stage) -> None:
        await stage.until(lambda: stage.problems)
        await stage.following("shop/cart-0")
        stage.server.add_token("me", reader("me"))
        await stage.until(lambda: followed(stage) == ALL)

    selection = Selection(namespaces=("shop", "istio-system"))
    stage = play(scenario, mesh, selection, token="me", server={"tokens": {"me": user}})
    [problem] = stage.problems
    assert problem.where == "istio-system"
    assert 'cannot list resource "pods"' in problem.what
    assert "kind: Role" in problem.what


def test_a_user_who_may_not_watch(mesh: Cluster) -> None:
    """Pods are listed instead, now and then, and that is said once; pods that come later are found."""
    user = User("me", tuple(rule for rule in reader("me").rules if rule[0] != "watch"))

    async def scenario(stage: Stage) -> None:
        await stage.following("shop/cart-0")
        await stage.until(lambda: stage.count("list") > 4)
        new = pods.sidecar_pod(mesh, "shop", "new-0")
        stage.write(new, b"1")
        await stage.had(new, [b"1"])

    stage = play(scenario, mesh, token="me", server={"tokens": {"me": user}})
    assert len(stage.problems) == 1
    assert 'cannot watch resource "pods"' in stage.problems[0].what


def test_a_mistake_in_watching_is_said_and_survived(mesh: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody expected ends neither the watch nor anything else."""
    real = collectors.watch
    broken = [True]

    async def watch(*arguments: Any) -> Any:
        async with contextlib.aclosing(real(*arguments)) as changes:
            async for change in changes:
                yield change
                if isinstance(change, collectors.Listed) and broken.pop() is True:
                    broken.append(False)
                    raise ZeroDivisionError("oops")

    monkeypatch.setattr(collectors, "watch", watch)

    async def scenario(stage: Stage) -> None:
        await stage.until(lambda: stage.problems)
        new = pods.sidecar_pod(mesh, "shop", "new-0")
        stage.write(new, b"1")
        await stage.had(new, [b"1"])

    broken[:] = [False, True]
    stage = play(scenario, mesh)
    [problem] = stage.problems
    assert "ZeroDivisionError: oops" in problem.what and "report" in problem.what


def test_a_mistake_in_following_is_said_and_survived(mesh: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A follower that fails is told of, and begins again when its pod changes; others go on."""
    real = Follower._take
    broken = {"shop/cart-0/istio-proxy"}

    async def take(self: Follower, lines: bytes) -> None:
        if self.origin.path in broken:
            raise ZeroDivisionError("oops")
        await real(self, lines)

    monkeypatch.setattr(Follower, "_take", take)

    async def scenario(stage: Stage) -> None:
        await stage.following("shop/cart-0", GATEWAY)
        stage.write("shop/cart-0", b"1")
        await stage.until(lambda: stage.problems)
        stage.write(GATEWAY, b"1")
        await stage.had(GATEWAY, [b"1"])
        broken.clear()
        mesh.touch("shop/cart-0")
        await stage.had("shop/cart-0", [b"1"])

    stage = play(scenario, mesh)
    [problem] = stage.problems
    assert (problem.where, problem.hint) == ("shop/cart-0/istio-proxy", "please report this")
    assert problem.what == "following it failed: ZeroDivisionError: oops"
    assert stage.ended["shop/cart-0/istio-proxy"] == "following it failed"


# -- the end


def fifty() -> tuple[Cluster, list[str]]:
    cluster = Cluster()
    return cluster, [pods.sidecar_pod(cluster, "shop", f"web-{n}").key for n in range(50)]


@pytest.mark.parametrize("how", ["quiet", "busy", "stalled", "failing", "waiting for answers", "not read"])
def test_it_ends_at_once(how: str) -> None:
    """Closing 50 open streams takes less than half a second and leaves nothing behind (`play` sees to that), whatever they do."""
    cluster, names = fifty()

    async def scenario(stage: Stage) -> None:
        await stage.following(*names)
        if how == "busy":
            for name in names:
                stage.write(name, *[b"x" * 100] * 500)
            await stage.until(lambda: len(stage.events) > 60)
        elif how == "stalled":
            stage.server.cut(kind="stall")
        elif how == "failing":
            stage.server.fail_next("log", 500, 10_000)
            stage.server.cut()
            await stage.until(lambda: stage.server.stats["fault.500"] > 60)
        elif how == "waiting for answers":
            for verb in ("log", "get", "list", "watch"):
                stage.server.hold(verb)
            stage.server.cut()
            stage.server.cut_watches()
            await stage.held("get", 20)
        elif how == "not read":
            stage.read.clear()
            for name in names:
                stage.write(name, *[b"x" * 1000] * 100)
            await stage.until(lambda: stage.server.stats["log.bytes"] > 1_000_000)

    stage = play(scenario, cluster, ONLY, queue_bytes=100_000)
    assert len(stage.opened) == 50


def test_it_ends_when_it_has_not_begun() -> None:
    """Closing before the first list was answered leaves nothing behind either."""
    cluster, _ = fifty()

    async def scenario(stage: Stage) -> None:
        await stage.held("list")

    assert play(scenario, cluster, ONLY, begun=lambda stage: stage.server.hold("list")).events == []


def test_nothing_begins_while_it_ends() -> None:
    """Containers that wait for a place do not get it from those that are ended."""
    cluster, names = fifty()

    async def scenario(stage: Stage) -> None:
        await stage.following(*names[:1])

    stage = play(scenario, cluster, ONLY, max_streams=10)
    assert len(stage.opened) == 10


# -- several clusters


def test_two_clusters(tmp_path: Path) -> None:
    """Origins carry their cluster when there are several; pods of the same name are told apart."""

    async def main() -> list[Lines]:
        sources, servers = [], []
        async with contextlib.AsyncExitStack() as stack:
            for name in ("east", "west"):
                cluster = Cluster()
                pod = pods.sidecar_pod(cluster, "shop", "db-0")
                server = await stack.enter_async_context(ApiServer(cluster))
                servers.append((server, pod))
                sources.append(Kubernetes(access(server, tmp_path, name=name), ONLY, label=True))
                cluster.write(pod, PROXY, name.encode())
            got: list[Lines] = []
            async with asyncio.timeout(5), collected(sources) as queue:
                while len(got) < 2:
                    got += [e for e in await queue.take() if isinstance(e, Lines)]
            return got

    got = asyncio.run(main())
    assert {(e.origin.cluster, e.origin.path, e.data.split()[-1]) for e in got} == {
        (name, f"{name}/shop/db-0/istio-proxy", name.encode()) for name in ("east", "west")
    }


def test_one_of_two_clusters_is_down(tmp_path: Path) -> None:
    """At the start that is an error which names it; the other one is ended without a trace."""

    async def main() -> set[Any]:
        cluster = Cluster()
        pods.sidecar_pod(cluster, "shop", "db-0")
        async with ApiServer(cluster) as up, ApiServer(Cluster()) as down:
            reached = [access(up, tmp_path, name="east"), access(down, tmp_path, name="west")]
            down.down()
            with pytest.raises(MeshdiagError, match=r"cannot reach the cluster west .*--context"):
                async with asyncio.timeout(5), collected([Kubernetes(a, label=True) for a in reached]) as queue:
                    while True:
                        await queue.take()
            await down.outage(0)
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(main()) == set()


def test_start_and_limits_are_as_documented() -> None:
    """What `Kubernetes` does unless it is told otherwise."""
    source = Kubernetes(access=None)  # type: ignore[arg-type]
    assert (source.start, source.label, source.wait, source.max_streams) == (Start(), False, False, 2000)
    assert followers.SILENCE >= 60
