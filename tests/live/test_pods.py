"""The pods of a cluster as they come and go: nothing is lost when a watch ends, breaks, is too old or is not allowed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshdiag.sources.kubernetes import access as access_module
from meshdiag.sources.kubernetes import pods as module
from meshdiag.sources.kubernetes.access import Access, Login, accesses
from meshdiag.sources.kubernetes.api import Api, ApiError, Unreachable
from meshdiag.sources.kubernetes.pods import Change, Gone, Listed, Seen, ask, backoff, path_of, watch
from meshdiag.sources.kubernetes.select import Pod, Selection
from tests.live.access import User, reader
from tests.live.apiserver import ApiServer
from tests.live.cluster import Cluster
from tests.live.faults import Faults, Request
from tests.live.raw import RawServer, answer
from tests.live.streams import WatchStream

Made = Callable[..., Access]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays of milliseconds."""
    monkeypatch.setattr(module, "FIRST_DELAY", 0.002)
    monkeypatch.setattr(module, "LONGEST_DELAY", 0.02)
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.01)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(access_module, "REFUSED_SECONDS", 0.0)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def access(tmp_path: Any) -> Made:
    """An Access to a server, perhaps with a token."""

    def make(server: ApiServer | str, token: str = "", namespace: str = "default") -> Access:
        config = {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
            "clusters": [{"name": "test", "cluster": {"server": server if isinstance(server, str) else server.url}}],
            "users": [{"name": "test", "user": {"token": token} if token else {}}],
        }
        path = tmp_path / "config"
        path.write_text(json.dumps(config))
        return accesses(path)[0]

    return make


class Watching:
    """What `watch` gives: the changes, which pods there are by them, and what it tells."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.told: list[str] = []
        self.here: dict[str, Pod] = {}
        self._news = asyncio.Event()

    def take(self, change: Change) -> None:
        self.changes.append(change)
        match change:
            case Seen(pod):
                self.here[pod.uid] = pod
            case Gone(uid):
                self.here.pop(uid, None)
        self._news.set()

    def tell(self, what: str) -> None:
        self.told.append(what)
        self._news.set()

    @property
    def names(self) -> list[str]:
        return sorted(pod.name for pod in self.here.values())

    @property
    def listed(self) -> bool:
        return any(isinstance(change, Listed) for change in self.changes)

    async def until(self, condition: Callable[[], Any], timeout: float = 5.0) -> None:
        """Waits for a change, or for something that it tells, with which a condition holds."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._news.clear()
                await self._news.wait()


@contextlib.asynccontextmanager
async def watching(
    access: Access, namespace: str = "shop", selection: Selection | None = None
) -> AsyncIterator[Watching]:
    """Watches as long as the context lasts; the first list has come when it begins."""
    seen = Watching()

    async def follow(api: Api) -> None:
        async with contextlib.aclosing(watch(api, namespace, selection or Selection(), seen.tell)) as changes:
            async for change in changes:
                seen.take(change)

    async with Api(Login(access)) as api:
        task = asyncio.ensure_future(follow(api))
        waiting = asyncio.ensure_future(seen.until(lambda: seen.listed))
        try:
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if task.done():
                await task
            yield seen
            assert not task.done(), "a watch goes on for ever"
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def run(steps: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(steps())


def asked(server: ApiServer, verb: str) -> list[dict[str, str]]:
    """The queries of all requests of a verb."""
    return [dict(request.query) for request in server.requests if request.verb == verb]


@pytest.fixture
def few(cluster: Cluster) -> Cluster:
    """Three pods."""
    for name in ("a", "b", "c"):
        cluster.add_pod("shop", name, ["istio-proxy"], labels={"app": name})
    return cluster


# The first list


def test_all_that_is_there_comes_first(few: Cluster, server: ApiServer, access: Made) -> None:
    """Then that the list is complete; the watch begins where the list stood."""
    few.add_pod("orders", "z", ["istio-proxy"])

    async def steps() -> None:
        async with watching(access(server)) as seen:
            assert [type(change) for change in seen.changes] == [Seen, Seen, Seen, Listed]
            assert seen.changes[-1] == Listed(3)
            assert seen.names == ["a", "b", "c"]
            await server.until(lambda: server.open_watches)
        [query] = asked(server, "watch")
        assert query["resourceVersion"] == str(few.version)
        assert (query["watch"], query["allowWatchBookmarks"]) == ("true", "true")
        assert 0.89 * module.WATCH_SECONDS <= int(query["timeoutSeconds"]) <= 1.1 * module.WATCH_SECONDS
        async with watching(access(server), "") as seen:
            assert seen.names == ["a", "b", "c", "z"]
        async with watching(access(server), "empty") as seen:
            assert seen.changes == [Listed(0)]

    run(steps)
    assert [path_of("shop"), path_of("")] == ["/api/v1/namespaces/shop/pods", "/api/v1/pods"]


def test_selectors_are_the_servers_to_apply(few: Cluster, server: ApiServer, access: Made) -> None:
    """They go with the list and with the watch; a pod that no longer matches is gone."""
    selection = Selection(selector="app in (a,b)", field_selector="metadata.name!=b")

    async def steps() -> None:
        async with watching(access(server), selection=selection) as seen:
            assert seen.names == ["a"]
            await server.until(lambda: server.open_watches)
            few.add_pod("shop", "d", ["app"], labels={"app": "a"})
            await seen.until(lambda: seen.names == ["a", "d"])
            few.label("shop/a", {"app": "other"})
            await seen.until(lambda: seen.names == ["d"])

    run(steps)
    for query in asked(server, "list") + asked(server, "watch"):
        assert (query["labelSelector"], query["fieldSelector"]) == ("app in (a,b)", "metadata.name!=b")


def test_a_long_list_comes_in_pages(cluster: Cluster, server: ApiServer, access: Made) -> None:
    """More pods than a page has, each once."""
    for n in range(1203):
        cluster.add_pod("shop", f"p-{n:04d}", ["app"], start=False)

    async def steps() -> None:
        async with watching(access(server)) as seen:
            assert seen.names == [f"p-{n:04d}" for n in range(1203)]
            assert seen.changes[-1] == Listed(1203)

    run(steps)
    queries = asked(server, "list")
    assert [query.get("limit") for query in queries] == ["500", "500", "500"]
    assert ["continue" in query for query in queries] == [False, True, True]


def test_a_list_that_expires_between_two_pages(
    cluster: Cluster, server: ApiServer, access: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins again, and at once with all, so that it does not expire for ever; no pod is lost or there twice."""
    monkeypatch.setattr(module, "PAGE", 2)
    for n in range(5):
        cluster.add_pod("shop", f"p-{n}", ["app"])

    async def steps() -> None:
        server.hold("list")
        async with asyncio.TaskGroup() as group:

            async def follow() -> None:
                async with watching(access(server)) as seen:
                    assert seen.names == ["p-0", "p-1", "p-2", "p-3", "p-4", "p-9"]
                    assert seen.changes[-1] == Listed(6)

            group.create_task(follow())
            await server.until(lambda: len(asked(server, "list")) == 1)
            server.release("list")
            server.hold("list")
            await server.until(lambda: len(asked(server, "list")) == 2)
            cluster.add_pod("shop", "p-9", ["app"])
            server.expire_continue()
            server.release("list")

    run(steps)
    assert [(query.get("limit"), "continue" in query) for query in asked(server, "list")] == [
        ("2", False),
        ("2", True),
        (None, False),
    ]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_errors_of_the_first_list_are_raised(server: ApiServer, access: Made, code: int) -> None:
    """Whoever began wants to know at once."""
    server.fail_next("list", code)

    async def steps() -> None:
        with pytest.raises(ApiError) as caught:
            async with watching(access(server)):
                pass
        assert caught.value.status == code

    run(steps)


def test_a_first_list_that_is_not_allowed_or_not_answered(cluster: Cluster, access: Made) -> None:
    """403, and no server."""

    async def steps() -> None:
        with ApiServer(cluster, tokens={"t": User("nobody")}) as server:
            with pytest.raises(ApiError, match="403 Forbidden"):
                async with watching(access(server, "t")):
                    pass
            server.down()
            with pytest.raises(Unreachable, match="Connection refused"):
                async with watching(access(server, "t")):
                    pass

    run(steps)


def test_odd_items_of_a_list_and_of_a_watch_are_passed_over(access: Made, few: Cluster) -> None:
    """As of something before the server that changes answers."""
    item = few.pod("shop/a").object.data
    items: list[Any] = [None, 7, "x", {}, {"metadata": []}, item]
    listing = answer("200 OK", json.dumps({"items": items, "metadata": {"resourceVersion": "5"}}).encode())
    events = [
        7,
        {},
        {"type": 7, "object": {}},
        {"type": "ADDED", "object": None},
        {"type": "ADDED", "object": {"metadata": 7}},
        {"type": "BOOKMARK", "object": {"metadata": None}},
        {"type": "MODIFIED", "object": {"metadata": {"resourceVersion": "6"}}},
        {"type": "ADDED", "object": few.pod("shop/b").object.data},
    ]
    body = "".join(json.dumps(event) + "\n" for event in events).encode()
    done = threading.Event()

    def answers(head: str) -> Iterator[bytes]:
        if "watch=true" not in head:
            yield listing
            return
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(body), body)
        done.wait(5)

    async def steps() -> None:
        with RawServer(answers) as server:
            async with watching(access(server.url)) as seen:
                await seen.until(lambda: seen.names == ["a", "b"])
            done.set()
            assert "resourceVersion=5" in server.heads[1]

    run(steps)
    for odd in ({"items": 7}, {"items": {"a": 1}}, {"metadata": [], "items": [item]}, {}):
        body = json.dumps(odd).encode()

        async def once(body: bytes = body) -> None:
            with RawServer(lambda head: answer("200 OK", body) if "watch=true" not in head else None) as server:
                async with watching(access(server.url)) as seen:
                    assert seen.listed

        run(once)


# Changes


def test_changes_as_they_happen(few: Cluster, server: ApiServer, access: Made) -> None:
    """A pod comes, changes, is told to end, and goes."""

    async def steps() -> None:
        async with watching(access(server)) as seen:
            await server.until(lambda: server.open_watches)
            pod = few.add_pod("shop", "d", ["istio-proxy"])
            await seen.until(lambda: "d" in seen.names)
            few.restart(pod, "istio-proxy")
            await seen.until(lambda: seen.here[pod.uid].statuses["istio-proxy"].restarts == 1)
            few.begin_delete(pod)
            await seen.until(lambda: seen.here[pod.uid].leaving)
            few.delete_pod(pod)
            await seen.until(lambda: pod.uid not in seen.here)
            again = few.recreate(pod)
            await seen.until(lambda: again.uid in seen.here)
            assert again.uid != pod.uid
            assert seen.changes.count(Gone(pod.uid)) == 1
            assert seen.told == []

    run(steps)
    assert len(asked(server, "list")) == 1


def test_a_watch_that_ends_goes_on_where_it_was(few: Cluster, server: ApiServer, access: Made) -> None:
    """From the latest version that was seen, without another list, and without a word."""

    async def steps() -> None:
        async with watching(access(server)) as seen:
            await server.until(lambda: server.open_watches)
            few.touch("shop/a")
            version = str(few.version)
            count = len(seen.changes)
            await seen.until(lambda: len(seen.changes) > count)
            for n in range(4):
                server.cut_watches()
                few.add_pod("shop", f"n-{n}", ["app"])
                await seen.until(lambda name=f"n-{n}": name in seen.names)  # type: ignore[misc]
            assert asked(server, "watch")[1]["resourceVersion"] == version
            assert seen.told == []

    run(steps)
    assert len(asked(server, "list")) == 1
    assert len(asked(server, "watch")) == 5


def test_a_watch_that_is_over_goes_on_from_its_last_bookmark(
    few: Cluster, server: ApiServer, access: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a quiet namespace in a busy cluster, where the version at the list would soon be too old."""

    async def steps() -> None:
        async with watching(access(server)) as seen:
            await server.until(lambda: server.open_watches)
            first = str(few.version)
            few.add_pod("orders", "elsewhere", ["app"])
            server.send_bookmarks()
            server.cut_watches()
            few.compact()
            await server.until(lambda: len(asked(server, "watch")) == 2 and server.open_watches)
            assert [query["resourceVersion"] for query in asked(server, "watch")] == [first, str(few.version)]
            few.add_pod("shop", "d", ["app"])
            await seen.until(lambda: "d" in seen.names)

    run(steps)
    assert len(asked(server, "list")) == 1


def test_a_watch_asks_for_its_end(
    few: Cluster, server: ApiServer, access: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before something on the way takes it for dead; the server ends it with a bookmark then."""
    monkeypatch.setattr(module, "WATCH_SECONDS", 1.12)  # 1 as a whole number, whatever the chance

    async def steps() -> None:
        async with watching(access(server)):
            await server.until(lambda: server.open_watches)
            few.add_pod("orders", "elsewhere", ["app"])
            await server.until(lambda: len(asked(server, "watch")) == 2)
            assert asked(server, "watch")[1]["resourceVersion"] == str(few.version)

    run(steps)
    assert {query["timeoutSeconds"] for query in asked(server, "watch")} == {"1"}


@pytest.mark.parametrize("kind", ["end", "reset"])
def test_a_watch_that_is_cut_inside_an_event(few: Cluster, server: ApiServer, access: Made, kind: Any) -> None:
    """The half event does not count: the whole one comes with the next watch."""

    async def steps() -> None:
        async with watching(access(server)) as seen:
            await server.until(lambda: server.open_watches)
            server.cut_watches(kind, in_event=True)
            few.add_pod("shop", "d", ["app"], start=False)
            await seen.until(lambda: "d" in seen.names)
            assert seen.told == []

    run(steps)
    assert len(asked(server, "list")) == 1


def test_a_watch_that_falls_silent(
    few: Cluster, server: ApiServer, access: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other side is gone without a word: when the watch should long be over, another one is opened."""
    monkeypatch.setattr(module, "LATE_SECONDS", 0.2 - module.WATCH_SECONDS)
    monkeypatch.setattr("random.uniform", lambda low, high: 1.0)

    async def steps() -> None:
        async with watching(access(server)) as seen:
            await server.until(lambda: server.open_watches)
            assert server.cut_watches("stall") == 1
            few.add_pod("shop", "d", ["app"])
            await seen.until(lambda: "d" in seen.names)

    run(steps)


# Too old


def test_a_version_that_is_too_old_needs_another_list(few: Cluster, server: ApiServer, access: Made) -> None:
    """As an ERROR event of an open watch; whoever is not in the list has gone meanwhile."""

    async def steps() -> None:
        async with watching(access(server)) as seen:
            await server.until(lambda: server.open_watches)
            gone = few.pod("shop/a")
            server.hold("watch")
            server.hold("list")
            server.expire_watches()
            await server.until(lambda: len(asked(server, "list")) == 2)
            few.delete_pod(gone)
            few.add_pod("shop", "d", ["app"])
            new = few.recreate("shop/b")
            server.release("list")
            server.release("watch")
            await seen.until(lambda: seen.names == ["b", "c", "d"])
            assert Gone(gone.uid) in seen.changes
            assert new.uid in seen.here
            assert sum(isinstance(change, Listed) for change in seen.changes) == 1
            await server.until(lambda: len(asked(server, "watch")) == 2)
            assert asked(server, "watch")[1]["resourceVersion"] == str(few.version)
            few.touch("shop/c")
            assert seen.told == []

    run(steps)


def test_a_watch_that_begins_too_late(few: Cluster, server: ApiServer, access: Made) -> None:
    """As the first event of a watch, after an outage in which the server forgot."""

    async def steps() -> None:
        async with watching(access(server)) as seen:
            await server.until(lambda: server.open_watches)
            gone = few.pod("shop/a")
            server.down()
            few.delete_pod(gone)
            few.compact()
            server.up()
            await seen.until(lambda: seen.names == ["b", "c"])
            assert Gone(gone.uid) in seen.changes

    run(steps)
    assert len(asked(server, "list")) == 2


def test_too_old_as_an_answer(few: Cluster, server: ApiServer, access: Made) -> None:
    """Some servers say so in place of a stream."""

    async def steps() -> None:
        async with watching(access(server)) as seen:
            await server.until(lambda: server.open_watches)
            server.fail_next("watch", 410)
            server.cut_watches()
            few.add_pod("shop", "d", ["app"])
            await seen.until(lambda: "d" in seen.names)
            assert seen.told == []

    run(steps)
    assert len(asked(server, "list")) == 2


# Errors


def test_an_error_as_the_first_event(few: Cluster, server: ApiServer, access: Made) -> None:
    """It passes: the watch is asked for again; when it stays so that is said, once, and lists tell what happens."""
    server.faults = Faults(watch_error=1)

    async def steps() -> None:
        async with watching(access(server)) as seen:
            few.add_pod("shop", "d", ["app"])
            await seen.until(lambda: "d" in seen.names)
            few.delete_pod("shop/a")
            await seen.until(lambda: seen.names == ["b", "c", "d"])
            count = len(asked(server, "watch"))
            await server.until(lambda: len(asked(server, "watch")) > count + 5)
            assert seen.told == [
                "pods are not watched for the moment: 500 InternalError: Internal error occurred: etcdserver: leader changed"
            ]
            server.faults = Faults()
            few.add_pod("shop", "e", ["app"])
            await seen.until(lambda: "e" in seen.names)
            await server.until(lambda: server.open_watches)
            few.add_pod("shop", "f", ["app"])
            await seen.until(lambda: "f" in seen.names)
            server.faults = Faults(watch_error=1)
            server.cut_watches()
            await seen.until(lambda: len(seen.told) == 2)  # it had worked in between

    run(steps)


def test_one_error_is_no_reason_for_a_list(
    few: Cluster, server: ApiServer, access: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of a large cluster is dear."""
    monkeypatch.setattr(module, "LASTING_SECONDS", 0.0)  # the watch before was none that ends at once

    async def steps() -> None:
        async with watching(access(server)) as seen:
            await server.until(lambda: server.open_watches)
            server.fail_next("watch", 503)
            server.fail_next("watch", 429)
            server.cut_watches()
            few.add_pod("shop", "d", ["app"])
            await seen.until(lambda: "d" in seen.names)
            assert seen.told == []

    run(steps)
    assert len(asked(server, "list")) == 1
    assert len(asked(server, "watch")) == 4


def test_watches_that_end_at_once_are_asked_for_less_and_less_often(
    few: Cluster, server: ApiServer, access: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that takes watches and ends them must not be flooded."""
    monkeypatch.setattr(module, "WATCH_SECONDS", 0)
    server.bookmark_interval = 0
    waits: list[float] = []
    original = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await original(0)

    monkeypatch.setattr(WatchStream, "bookmark", lambda self: None)

    async def steps() -> None:
        async with watching(access(server)):
            await server.until(lambda: len(asked(server, "watch")) > 8)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    run(steps)
    assert waits[0] == 0
    assert 0 < waits[1] <= module.FIRST_DELAY < waits[6] <= module.LONGEST_DELAY


def test_an_outage(few: Cluster, server: ApiServer, access: Made) -> None:
    """The server is away for a while; what happened meanwhile is told afterwards."""

    async def steps() -> None:
        async with watching(access(server)) as seen:
            await server.until(lambda: server.open_watches)
            server.down()
            few.delete_pod("shop/a")
            few.add_pod("shop", "d", ["app"])
            await seen.until(lambda: seen.told)
            server.up()
            await seen.until(lambda: seen.names == ["b", "c", "d"])
            await server.until(lambda: server.open_watches)
            few.add_pod("shop", "e", ["app"])
            await seen.until(lambda: "e" in seen.names)
            [told] = seen.told
            assert told.startswith(f"pods are not watched for the moment: test ({server.url}): cannot connect to ")

    run(steps)


def test_pods_that_may_be_listed_and_not_watched(few: Cluster, access: Made) -> None:
    """They are listed every now and then; that is said once, also when a watch is allowed and forbidden again."""
    may = reader("jane")
    lists = User("jane", tuple(rule for rule in may.rules if rule[0] != "watch"))
    with ApiServer(few, tokens={"t": lists}) as server:

        async def steps() -> None:
            async with watching(access(server, "t")) as seen:
                few.add_pod("shop", "d", ["app"])
                await seen.until(lambda: "d" in seen.names)
                few.delete_pod("shop/a")
                await seen.until(lambda: seen.names == ["b", "c", "d"])
                count = len(asked(server, "list"))
                await server.until(lambda: len(asked(server, "list")) > count + 3)
                [told] = seen.told
                assert told.startswith(
                    "not allowed to watch pods, so they are listed every 0 s: 403 Forbidden: pods is"
                )
                server.add_token("t", may)
                await server.until(lambda: server.open_watches)
                few.add_pod("shop", "e", ["app"])
                await seen.until(lambda: "e" in seen.names)
                count = len(asked(server, "list"))
                few.add_pod("shop", "f", ["app"])
                await seen.until(lambda: "f" in seen.names)
                assert len(asked(server, "list")) == count

        run(steps)


def test_rights_that_are_taken_away_later(few: Cluster, access: Made) -> None:
    """The list is forbidden as well then: tried again, and told in its own words."""
    with ApiServer(few, tokens={"t": reader("jane")}) as server:

        async def steps() -> None:
            async with watching(access(server, "t")) as seen:
                await server.until(lambda: server.open_watches)
                server.add_token("t", User("jane"))
                server.cut_watches()
                await seen.until(lambda: len(seen.told) == 2)
                assert seen.told[0].startswith("not allowed to watch pods, so they are listed every")
                assert seen.told[1].startswith("pods are not watched for the moment: 403 Forbidden: pods is forbidden")
                assert 'cannot list resource "pods"' in seen.told[1]
                server.add_token("t", reader("jane"))
                few.add_pod("shop", "d", ["app"])
                await seen.until(lambda: "d" in seen.names)
                assert len(seen.told) == 2

        run(steps)


def test_a_token_that_is_no_longer_taken(few: Cluster, access: Made) -> None:
    """401 later is told and tried again, until somebody logs in."""
    with ApiServer(few, tokens={"t": reader("jane")}) as server:

        async def steps() -> None:
            async with watching(access(server, "t")) as seen:
                await server.until(lambda: server.open_watches)
                server.revoke("t")
                server.cut_watches()
                await seen.until(lambda: seen.told)
                assert seen.told == ["pods are not watched for the moment: 401 Unauthorized: Unauthorized"]
                few.add_pod("shop", "d", ["app"])
                server.add_token("t", reader("jane"))
                await seen.until(lambda: "d" in seen.names)

        run(steps)


def test_a_login_that_fails_later(few: Cluster, access: Made) -> None:
    """As a kubeconfig that is broken while we run: told, and tried again."""
    with ApiServer(few, tokens={"t": reader("jane")}) as server:
        one = access(server, "t")

        async def steps() -> None:
            async with watching(one) as seen:
                await server.until(lambda: server.open_watches)
                server.revoke("t")
                Path(one.paths[0]).write_text("[")
                server.cut_watches()
                await seen.until(lambda: seen.told)
                assert seen.told == [
                    f"pods are not watched for the moment: the kubeconfig {one.paths[0]} is not YAML (line 1)"
                ]
                server.add_token("t-2", reader("jane"))
                access(server, "t-2")
                few.add_pod("shop", "d", ["app"])
                await seen.until(lambda: "d" in seen.names)

        run(steps)


def test_a_server_that_asks_for_too_long_a_wait(few: Cluster, server: ApiServer, access: Made) -> None:
    """Retry-After counts, up to a limit; here it is a second, and the limit shorter."""
    server.faults = Faults(errors={429: 1.0}, only=lambda request: request.verb == "watch")

    async def steps() -> None:
        async with watching(access(server)) as seen:
            await seen.until(lambda: seen.told, 1.0)
            server.faults = Faults()
            few.add_pod("shop", "d", ["app"])
            await seen.until(lambda: "d" in seen.names)

    run(steps)


def test_anything_may_go_wrong(few: Cluster, access: Made) -> None:
    """Errors, late answers, watches that are too old or break: in the end the pods are those of the cluster."""

    def changing(request: Request) -> bool:
        return request.verb in ("list", "watch")

    faults = Faults(
        seed=7,
        errors={429: 0.1, 500: 0.1, 503: 0.1},
        delay=0.2,
        delays=(0.001, 0.005),
        watch_gone=0.15,
        watch_error=0.15,
        watch_cut=0.4,
        only=changing,
    )
    with ApiServer(few) as server:

        async def steps() -> None:
            async with watching(access(server)) as seen:
                server.faults = faults
                server.cut_watches()
                for n in range(60):
                    few.add_pod("shop", f"n-{n}", ["app"], start=n % 3 == 0)
                    if n % 2:
                        few.delete_pod(f"shop/n-{n - 1}")
                    if n % 15 == 14:
                        few.compact()
                    await asyncio.sleep(0.002)
                server.faults = Faults()
                there = {pod.uid for pod in few.pods.values()}
                await seen.until(lambda: set(seen.here) == there)
                few.add_pod("shop", "last", ["app"])
                await seen.until(lambda: "last" in seen.names)
                uids = {pod.uid for pod in few.pods.values()}
                assert set(seen.here) == uids

        run(steps)


# One pod, and pauses


def test_one_pod_is_asked_for(few: Cluster, server: ApiServer, access: Made) -> None:
    """As it is now; one that is not there is none, and other errors are errors."""

    async def steps() -> None:
        async with Api(Login(access(server))) as api:
            found = await ask(api, "shop", "a")
            assert found is not None and (found.name, found.uid) == ("a", few.pod("shop/a").uid)
            assert await ask(api, "shop", "x") is None
            assert await ask(api, "none", "a") is None
            server.fail_next("get", 503)
            with pytest.raises(ApiError, match="503"):
                await ask(api, "shop", "a")
            server.down()
            with pytest.raises(Unreachable):
                await ask(api, "shop", "a")

    run(steps)


@given(st.integers(1, 200))
def test_pauses_grow_up_to_a_limit(failures: int) -> None:
    """Doubled with each failure, and spread out."""
    most = min(module.LONGEST_DELAY, module.FIRST_DELAY * 2 ** (failures - 1))
    drawn = [backoff(failures) for _ in range(20)]
    assert all(0.3 * most <= pause <= most for pause in drawn)
    assert len(set(drawn)) > 1
