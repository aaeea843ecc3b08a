"""Requests to an API server: what went wrong is told in words, and nothing is left open."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import socket
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any, TypeVar

import aiohttp
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from meshdiag.sources.kubernetes import api as module
from meshdiag.sources.kubernetes.access import Access, Login, accesses
from meshdiag.sources.kubernetes.api import Api, ApiError, Unreachable, json_lines
from tests.live.access import User
from tests.live.apiserver import ApiServer
from tests.live.certificates import Authority
from tests.live.cluster import Cluster, Pod
from tests.live.raw import RawServer, answer

PODS = "/api/v1/namespaces/shop/pods"

T = TypeVar("T")
Do = Callable[..., Any]


@pytest.fixture
def do(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Do]:
    """Does something with the API at a URL; nothing may be left open behind it."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def access(url: str, token: str = "", **cluster: Any) -> Access:
        config = {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": url, **cluster}}],
            "users": [{"name": "test", "user": {"token": token} if token else {}}],
        }
        path = tmp_path / "config"
        path.write_text(yaml.safe_dump(config))
        return accesses(path)[0]

    def run(url: str, steps: Callable[[Api], Awaitable[T]], **more: Any) -> T:
        async def inside() -> T:
            async with Api(Login(access(url, **more))) as api:
                return await steps(api)

        gc.collect()
        gc.freeze()  # so that only what comes from now on is looked through
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            result = asyncio.run(inside())
            gc.collect()
        assert [str(w.message) for w in caught if issubclass(w.category, ResourceWarning)] == []
        return result

    yield run


def getting(path: str = PODS, **query: Any) -> Callable[[Api], Awaitable[dict[str, Any]]]:
    return lambda api: api.get(path, **query)


def refused(do: Do, url: str, path: str = PODS, **more: Any) -> ApiError:
    """The error of a request that is answered with one."""

    async def steps(api: Api) -> ApiError:
        with pytest.raises(ApiError) as caught:
            await api.get(path)
        return caught.value

    error: ApiError = do(url, steps, **more)
    return error


def unreachable(do: Do, url: str, path: str = PODS, **more: Any) -> str:
    """What is said of a request that has no proper answer, behind the name of the server."""

    async def steps(api: Api) -> str:
        with pytest.raises(Unreachable) as caught:
            await api.get(path)
        text = str(caught.value)
        assert text.startswith(f"test ({url})")
        return text.removeprefix(f"test ({url})")

    text: str = do(url, steps, **more)
    return text


# Answers


def test_an_object_is_read_and_the_query_is_what_was_asked(do: Do, server: ApiServer, pod: Pod) -> None:
    """Whatever characters a selector has."""
    found = do(server.url, getting(labelSelector="app in (db, a-b)", limit=500, watch=False))
    assert [item["metadata"]["name"] for item in found["items"]] == ["db-0"]
    assert server.requests[-1].query == {"labelSelector": "app in (db, a-b)", "limit": "500", "watch": "false"}
    assert do(server.url, getting(f"{PODS}/db-0"))["metadata"]["name"] == "db-0"


def test_a_server_below_a_path(do: Do) -> None:
    """As Rancher has it."""
    with RawServer(answer("200 OK", b"{}")) as server:
        assert do(f"{server.url}/k8s/clusters/c-1/", getting("/version")) == {}
        assert server.heads[0].startswith("GET /k8s/clusters/c-1/version HTTP/1.1\r\n")


def test_a_large_list_comes_compressed(do: Do, server: ApiServer, cluster: Cluster) -> None:
    """A server packs what is large, and the client has to say that it takes that."""
    for n in range(80):
        cluster.add_pod("shop", f"p-{n}", ["a", "b"])
    assert len(do(server.url, getting())["items"]) == 80


def test_connections_are_used_again(do: Do, server: ApiServer) -> None:
    """One request after another needs one connection only."""

    async def steps(api: Api) -> int:
        for _ in range(5):
            await api.get(PODS)
        return len(server.connections)

    assert do(server.url, steps) == 1


def test_the_clock_of_the_server(do: Do) -> None:
    """By its Date header; without one, or with nonsense there, it is not known."""
    at = datetime.now(UTC) + timedelta(hours=1)

    async def ahead(api: Api) -> float:
        await api.get("/version")
        return api.ahead

    for headers, low, high in (
        ([f"Date: {format_datetime(at, usegmt=True)}"], 3595, 3601),
        ([f"Date: {format_datetime(at - timedelta(hours=2), usegmt=True)}"], -3605, -3599),
        ([f"Date: {format_datetime(at)}"], 3595, 3601),
        ([], 0, 0),
        (["Date: yesterday"], 0, 0),
    ):
        with RawServer(answer("200 OK", b"{}", *headers)) as server:
            assert low <= do(server.url, ahead) <= high


def test_the_clock_is_not_taken_from_errors(do: Do) -> None:
    """They may be of something before the server."""
    with RawServer(answer("503 Service Unavailable", b"", "Date: Sun, 22 Nov 2020 23:32:13 GMT")) as server:

        async def steps(api: Api) -> float:
            with pytest.raises(ApiError):
                await api.get("/version")
            return api.ahead

        assert do(server.url, steps) == 0


# Errors of the server


def test_what_is_not_there(do: Do, server: ApiServer) -> None:
    """A Status has the reason and the words."""
    error = refused(do, server.url, f"{PODS}/x")
    assert (error.status, error.reason, error.message) == (404, "NotFound", 'pods "x" not found')
    assert (error.retry_after, error.passing) == (None, False)
    assert str(error) == '404 NotFound: pods "x" not found'


def test_what_is_not_allowed(do: Do, cluster: Cluster) -> None:
    """The words say what a user lacks."""
    with ApiServer(cluster, tokens={"t": User("jane")}) as server:
        error = refused(do, server.url, token="t")
        assert (error.status, error.reason) == (403, "Forbidden")
        assert error.message == (
            'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "shop"'
        )
        assert refused(do, server.url).status == 401  # no credentials: asked again once, as they might be new
        assert len(server.requests) == 3


def test_what_is_too_old(do: Do, server: ApiServer, cluster: Cluster) -> None:
    """A list that takes too long."""
    for n in range(3):
        cluster.add_pod("shop", f"p-{n}", ["a"])
    more = do(server.url, getting(limit=1))["metadata"]["continue"]
    cluster.touch("shop/p-0")
    server.expire_continue()

    async def steps(api: Api) -> ApiError:
        with pytest.raises(ApiError) as caught:
            await api.get(PODS, limit=1, **{"continue": more})
        return caught.value

    error = do(server.url, steps)
    assert (error.status, error.reason, error.passing) == (410, "Expired", False)
    assert "The provided continue parameter is too old" in error.message


def test_too_many_requests(do: Do, server: ApiServer) -> None:
    """A body of text, and how long to wait."""
    server.fail_next("list", 429)
    error = refused(do, server.url)
    assert (error.status, error.reason, error.retry_after) == (429, "Too Many Requests", 1.0)
    assert (error.message, error.passing) == ("Too many requests, please try again later.", True)


@pytest.mark.parametrize("code", [500, 503])
def test_errors_of_the_server_pass(do: Do, server: ApiServer, code: int) -> None:
    """The same request may work later."""
    server.fail_next("list", code)
    error = refused(do, server.url)
    assert (error.status, error.passing) == (code, True)
    assert error.message in (
        "Internal error occurred: kubelet says no",
        "the server is currently unable to handle the request",
    )


@pytest.mark.parametrize(
    ("status", "passing"),
    [(400, False), (404, False), (408, True), (410, False), (425, True), (429, True), (502, True), (504, True)],
)
def test_which_errors_pass(status: int, passing: bool) -> None:
    """Those that say nothing of the request itself."""
    assert ApiError(status, "").passing is passing
    assert str(ApiError(status, "x")) == f"{status}: x"


HTML = b"""<!DOCTYPE html>
<html><head><title>Bad Gateway</title><style>body { color: red }</style><script>
alert("x < y")</script></head><body><!-- a > b --><h1>502 &mdash; Bad Gateway</h1><p>nginx</p></body></html>
"""


@pytest.mark.parametrize(
    ("body", "headers", "message", "reason", "wait"),
    [
        (b"404 page not found\n", (), "404 page not found", "No Idea", None),
        (HTML, (), "Bad Gateway 502 \u2014 Bad Gateway nginx", "No Idea", None),
        (b"<html>", (), "", "No Idea", None),
        (b"a <b> c", (), "a <b> c", "No Idea", None),
        (b"", (), "", "No Idea", None),
        (b"\xff\xfe", (), "\ufffd\ufffd", "No Idea", None),
        (b"null", (), "null", "No Idea", None),
        (b"[1]", (), "[1]", "No Idea", None),
        (b"{}", (), "", "", None),
        (b'{"message":null,"reason":null}', (), "", "", None),
        (b'{"message":"m","reason":"R"}', ("Retry-After: 30",), "m", "R", 30.0),
        (b'{"message":7,"reason":["R"]}', ("Retry-After: 0",), "7", "['R']", 0.0),
        (b"{}", ("Retry-After: soon",), "", "", None),
        (b"{}", ("Retry-After: Sun, 22 Nov 2026 23:32:13 GMT",), "", "", None),
        (b"{}", ("Retry-After: \u00b2",), "", "", None),
        (b"{}", ("Retry-After: -1",), "", "", None),
        (b'{"message":"' + b"x" * 5000 + b'"}', (), "x" * 2000, "", None),
        (b"x" * 500_000, (), "x" * 2000, "No Idea", None),
        (b"[" * 60_000, (), "[" * 2000, "No Idea", None),
    ],
)  # fmt: skip
def test_bodies_of_errors(
    do: Do, body: bytes, headers: tuple[str, ...], message: str, reason: str, wait: float | None
) -> None:
    """A Status, text, a page of a proxy's, or nonsense: there are words in any case."""
    with RawServer(answer("418 No Idea", body, *headers)) as server:
        error = refused(do, server.url)
    assert (error.status, error.message, error.reason, error.retry_after) == (418, message, reason, wait)


def test_the_body_of_an_error_that_comes_in_pieces(do: Do, monkeypatch: pytest.MonkeyPatch) -> None:
    """The regression: only what came first was read."""
    whole = answer("403 Forbidden", json.dumps({"message": "m" * 1500, "reason": "Forbidden"}).encode())
    taken = threading.Event()
    read = aiohttp.StreamReader.read

    async def told(self: aiohttp.StreamReader, n: int = -1) -> bytes:
        data = await read(self, n)
        taken.set()
        return data

    def pieces(_: str) -> Iterator[bytes]:
        for start, end in ((0, -1000), (-1000, -10), (-10, len(whole))):
            yield whole[start:end]
            taken.wait(1)
            taken.clear()

    monkeypatch.setattr(aiohttp.StreamReader, "read", told)
    with RawServer(pieces) as server:
        error = refused(do, server.url)
    assert (error.message, error.reason) == ("m" * 1500, "Forbidden")


# No answer


def test_nobody_listens(do: Do, server: ApiServer) -> None:
    """The address and why, without the words of a library."""
    server.down()
    assert unreachable(do, server.url) == f": cannot connect to 127.0.0.1:{server.port}: Connection refused"


def test_an_unknown_name(do: Do) -> None:
    """As after a typing error, or without the VPN."""
    assert unreachable(do, "http://no-such-host.invalid:1") == ": the name no-such-host.invalid is not known"


class Odd(RawServer):
    """Sends some bytes for a request and drops the connection, or with `stays` says no more."""

    def __init__(self, data: bytes, stays: bool = False) -> None:
        super().__init__(data)
        self._data, self._stays = data, stays

    def serve(self, sock: socket.socket) -> None:
        sock.recv(1 << 16)
        sock.sendall(self._data)
        if self._stays:
            sock.recv(1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", ": Server disconnected"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", ": Response payload is not completed"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", ": Response payload is not completed"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n{", ": Response payload is not completed"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", ": Bad status line"),
    ],
)
def test_a_connection_that_breaks(do: Do, data: bytes, message: str) -> None:
    """Before the answer, inside it, or as the other side does not speak HTTP."""
    with Odd(data) as server:
        assert unreachable(do, server.url).startswith(message)


@pytest.mark.parametrize("body", [b"<html>login</html>", b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000])
def test_an_answer_that_is_no_object(do: Do, body: bytes) -> None:
    """As of a login page, or of another server at this address."""
    with RawServer(answer("200 OK", body)) as server:
        assert unreachable(do, server.url).startswith(" answered something else than Kubernetes does")


def test_an_https_address_of_a_server_without_tls(do: Do) -> None:
    """As after a typing error."""
    with Odd(answer("400 Bad Request", b"")) as server:
        url = server.url.replace("http:", "https:")
        assert unreachable(do, url).startswith(f": cannot connect to 127.0.0.1:{server.port}: ")


def test_no_answer_in_time(do: Do, server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither headers nor the rest of a body are waited for for ever."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.1)
    server.hold("list")
    assert unreachable(do, server.url) == " did not answer in time"
    server.release("list")

    with Odd(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", stays=True) as stuck:
        assert unreachable(do, stuck.url) == " did not answer in time"


def test_a_stream_may_be_silent(
    do: Do, server: ApiServer, cluster: Cluster, pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is that of answers: a log has none, as a container may have nothing to say."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)

    async def steps(api: Api) -> bytes:
        opening = asyncio.ensure_future(api.open(f"{PODS}/db-0/log", {"container": "istio-proxy", "follow": "true"}))
        await server.until(lambda: server.open_streams)
        await asyncio.sleep(0.1)  # longer than the limit
        assert not opening.done()
        cluster.write(pod, "istio-proxy", b"at last")
        async with await opening as response:
            return await response.content.readline()

    assert do(server.url, steps) == b"at last\n"


def test_a_stream_that_is_silent_for_too_long(do: Do, server: ApiServer, pod: Pod) -> None:
    """If a limit is asked for."""

    async def steps(api: Api) -> None:
        with pytest.raises(Unreachable, match="did not answer in time"):
            await api.open(f"{PODS}/db-0/log", {"container": "istio-proxy", "follow": "true"}, read=0.05)

    do(server.url, steps)
    server.wait(lambda: not server.open_streams)


# Nothing is left open


def test_all_connections_are_closed_at_the_end(do: Do, cluster: Cluster, pod: Pod, tmp_path: Any) -> None:
    """Also those of streams that nobody reads any more, and with TLS."""
    authority = Authority(tmp_path)
    for ssl in (None, authority.server_context()):
        with ApiServer(cluster, ssl=ssl) as server:

            async def steps(api: Api, server: ApiServer = server) -> None:
                query = {"container": "istio-proxy", "follow": "true"}
                cluster.write(pod, "istio-proxy", b"line")
                responses = [await api.open(f"{PODS}/db-0/log", query) for _ in range(3)]
                watching = await api.open(PODS, {"watch": "true"})
                await api.get(PODS)
                assert len(server.connections) == 5
                responses[0].close()
                async with watching:
                    await anext(json_lines(watching))

            do(server.url, steps, **({"certificate-authority": str(authority.path)} if ssl else {}))
            server.wait(lambda server=server: not server.connections)  # type: ignore[misc]


def test_a_request_that_is_cancelled_leaves_nothing(do: Do, server: ApiServer, pod: Pod) -> None:
    """As when the user ends it while a container is silent."""

    async def steps(api: Api) -> None:
        opening = asyncio.ensure_future(api.open(f"{PODS}/db-0/log", {"container": "istio-proxy", "follow": "true"}))
        await server.until(lambda: server.open_streams)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await server.until(lambda: not server.open_streams)

    do(server.url, steps)


# Events


class Response:
    """The part of a response that is read: its content, in chunks."""

    def __init__(self, chunks: list[bytes], error: Exception | None = None) -> None:
        self._chunks, self._error = chunks, error
        self.content = SimpleNamespace(iter_any=self._iterate)

    async def _iterate(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._error:
            raise self._error


def events(chunks: list[bytes], error: Exception | None = None) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        response: Any = Response(chunks, error)
        return [event async for event in json_lines(response)]

    return asyncio.run(read())


OBJECTS = st.lists(
    st.dictionaries(
        st.text(max_size=5), st.text() | st.integers() | st.none() | st.lists(st.text(max_size=3)), max_size=3
    )
)


@settings(max_examples=150, deadline=None)
@given(OBJECTS, st.randoms(use_true_random=False), st.booleans(), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_events_however_they_are_cut(
    objects: list[dict[str, Any]], draw: random.Random, escaped: bool, end: str
) -> None:
    """Inside a character, a word or between lines; a last line that is not whole is left."""
    body = "".join(json.dumps(one, ensure_ascii=escaped) + end for one in objects).encode()
    body += draw.choice([b"", b'{"type":', b"{}"])
    places = sorted(draw.randrange(len(body) + 1) for _ in range(draw.randrange(12)))
    chunks = [body[start:stop] for start, stop in zip([0, *places], [*places, len(body)], strict=True)]
    assert events([chunk for chunk in chunks if chunk]) == objects


def test_lines_that_are_no_objects_are_no_events() -> None:
    """A kubelet or a proxy may put a value in between."""
    assert events([b'[1]\n7\n"x"\nnull\n{"a":1}\n']) == [{"a": 1}]


def test_a_watch_that_breaks() -> None:
    """What came before counts; then it is told."""
    with pytest.raises(Unreachable, match="the watch answered something else than Kubernetes does"):
        events([b"{}\n", b"<html>\n"])
    with pytest.raises(Unreachable, match="the watch: Connection reset by peer"):
        events([b"{}\n"], ConnectionResetError("Connection reset by peer"))
    with pytest.raises(Unreachable, match="the watch did not answer in time"):
        events([], TimeoutError())


def test_events_of_a_server_that_cuts_them_at_random(do: Do, cluster: Cluster) -> None:
    """As they come over a connection, in chunks of any length."""
    pod = cluster.add_pod("shop", "p", ["a"])
    with ApiServer(cluster, chunking=random.Random(5)) as server:
        query = {"watch": "true", "resourceVersion": str(cluster.version)}
        for _ in range(10):
            cluster.touch(pod)

        async def steps(api: Api) -> list[int]:
            async with await api.open(PODS, query) as response:
                found = json_lines(response)
                versions = [int((await anext(found))["object"]["metadata"]["resourceVersion"]) for _ in range(10)]
                await found.aclose()
            return versions

        last = cluster.version
        assert do(server.url, steps) == list(range(last - 9, last + 1))
