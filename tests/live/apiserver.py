"""An HTTP server that answers as a kube-apiserver (1.35) with kubelets behind it does.

    with ApiServer(cluster) as server:              # in a thread of its own
        requests.get(f"{server.url}/api/v1/pods")

    server = ApiServer(cluster)                     # in the running loop
    await server.start()

Statuses, messages, headers and the way bodies are cut into chunks are those that a real kube-apiserver was seen to
give (`test_apiserver.py` has them). Methods that control the server may be called from any thread.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import dataclasses
import json
import socket
import ssl as tls
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from types import TracebackType
from typing import Any, TypeVar

from tests.live.access import ADMIN, ANONYMOUS, Target, User
from tests.live.channels import Exec, Listen, execute, forward
from tests.live.cluster import Cluster, Pod
from tests.live.connection import TEXT, TEXT_UTF8, Chunking, Connection, Incoming
from tests.live.discovery import discovered
from tests.live.faults import Cut, Faults, Request
from tests.live.objects import ApiError, Json, Object, bad_request, encode, expired, internal_error, not_found
from tests.live.pages import KINDS, Pages
from tests.live.pages import version as number_of
from tests.live.selection import Match, field_selector, label_selector
from tests.live.store import Store
from tests.live.streams import LogOptions, LogStream, WatchStream, flag, number

T = TypeVar("T")

VERSION: Mapping[str, str] = {
    "major": "1",
    "minor": "35",
    "emulationMajor": "1",
    "emulationMinor": "35",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "34",
    "gitVersion": "v1.35.0",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "go1.25.5",
    "compiler": "gc",
    "platform": "linux/amd64",
}

NO_PROGRESS = (
    "a watch stream was requested by the client but the required storage feature RequestWatchProgress is disabled"
)

WATCH_FAILED = 'failed to watch file "/var/log/pods/{pod}/{container}/0.log": no space left on device'
"""What a kubelet without inotify watches left writes into the body of a log that is followed."""

_LOOK = 0.02
_NOSNIFF = ("X-Content-Type-Options", "nosniff")


class ApiServer:
    """Serves a cluster.

    `tokens`, `certificates`: users by bearer token, or by the common name of their client certificate; with neither
    everything is allowed. Without credentials there is 401, or with `anonymous` a user who may do nothing.
    `ssl`: serve TLS; for client certificates the context has to ask for them and to know their issuer.
    `eager_headers`: answer a log that is followed before there is a line. `chunking`: see `Chunking`.
    `zero_bookmarks`: serve watches from version 0 with bookmarks instead of the error that the captured server had.
    `version`: what `/version` answers.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        tokens: Mapping[str, User] | None = None,
        certificates: Mapping[str, User] | None = None,
        require_client_cert: bool = False,
        anonymous: bool = False,
        ssl: tls.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        eager_headers: bool = False,
        chunking: Chunking = None,
        faults: Faults | None = None,
        zero_bookmarks: bool = False,
        bookmark_interval: float = 60.0,
        version: Mapping[str, str] = VERSION,
    ) -> None:
        self.cluster = cluster
        self.store = Store(cluster)
        self.exec: Exec | None = None
        self.listen: Listen | None = None
        self.host, self.port = host, port
        self.eager_headers = eager_headers
        self.zero_bookmarks = zero_bookmarks
        self.bookmark_interval = bookmark_interval
        self.version = dict(version)
        self.connections: set[Connection] = set()
        self.requests: list[Request] = []
        self.stats: collections.Counter[str] = collections.Counter()
        self.errors: list[BaseException] = []
        self._tokens = None if tokens is None and certificates is None else dict(tokens or {})
        self._certificates = dict(certificates or {})
        self._require_cert = require_client_cert
        self._anonymous = anonymous
        self._ssl = ssl
        self._chunking = chunking
        self._faults = faults or Faults()
        self._logs: list[LogStream] = []
        self._watches: list[WatchStream] = []
        self._fail: dict[str, list[int]] = collections.defaultdict(list)
        self._held: dict[str, list[Callable[[], None]]] = {}
        self._lost: list[str] = []
        self._pages = Pages(cluster)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._here = 0
        self._cutter: asyncio.TimerHandle | None = None
        self._news = threading.Condition()
        self._turn = 0
        self._moved: asyncio.Event | None = None

    # Start and stop

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"{'https' if self._ssl else 'http'}://{self.host}:{self.port}"

    async def start(self) -> None:
        """Serves in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._here = threading.get_ident()
        self._moved = asyncio.Event()
        self._reserve()
        await self._listen()
        self._arm()

    async def stop(self) -> None:
        """Drops all connections and stops to serve."""
        if self._cutter is not None:
            self._cutter.cancel()
        if self._server is not None:
            self._server.close()
        if self._reserved is not None:
            self._reserved.close()
        for connection in tuple(self.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # so that the connections learn of it

    async def __aenter__(self) -> ApiServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def __enter__(self) -> ApiServer:
        started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), name="apiserver", daemon=True)
        self._thread.start()
        started.result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        assert self._thread is not None
        self._call(self._ended.set)
        self._thread.join(10)
        if error is None and self.errors:
            raise self.errors[0]

    async def _serve(self, started: concurrent.futures.Future[None]) -> None:
        self._ended = asyncio.Event()
        asyncio.get_running_loop().set_exception_handler(self._mistake)
        try:
            await self.start()
        except BaseException as error:
            started.set_exception(error)
            raise
        started.set_result(None)
        await self._ended.wait()
        await self.stop()

    def _mistake(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception") or RuntimeError(context["message"])
        if not isinstance(error, OSError):  # those are of clients, as one that does not trust this server
            self.errors.append(error)

    def _reserve(self) -> None:
        """Takes the port without listening: who connects is refused, and nobody else can have the port."""
        # asyncio turns Nagle's algorithm off, as Go does, only for sockets that name their protocol
        self._reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind((self.host, self.port))
        self.port = self._reserved.getsockname()[1]

    async def _listen(self) -> None:
        assert self._loop is not None and self._reserved is not None
        sock, self._reserved = self._reserved, None
        self._server = await self._loop.create_server(
            lambda: Connection(self, self._chunking), sock=sock, ssl=self._ssl, backlog=1024
        )

    # What tests and benchmarks ask

    @property
    def open_streams(self) -> list[LogStream]:
        """Logs that are being sent, in the order in which they were asked for."""
        return list(self._logs)

    @property
    def open_watches(self) -> list[WatchStream]:
        """Watches that are open."""
        return list(self._watches)

    def streams(self, pod: Pod | str, container: str | None = None) -> list[LogStream]:
        """The open streams of a pod or of one container of it."""
        key = pod if isinstance(pod, str) else pod.key
        return [s for s in self.open_streams if s.pod.key == key and container in (None, s.container)]

    def wait(self, condition: Callable[[], Any], timeout: float = 5.0) -> None:
        """Waits until a condition holds; looked at when something happens, and every now and then."""
        end = time.monotonic() + timeout
        while True:
            turn = self._turn
            # Without a lock, as a condition may need that of the cluster.
            if condition():
                return
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"not so within {timeout} s; the last requests: {self.requests[-3:]}")
            with self._news:
                if self._turn == turn:
                    # What makes a condition true need not be told to anybody, as lines that are sent are not.
                    self._news.wait(min(left, _LOOK))

    async def until(self, condition: Callable[[], Any], timeout: float = 5.0) -> None:
        """As `wait`, for a loop, whichever it is."""
        if self._loop is not asyncio.get_running_loop():
            await asyncio.to_thread(self.wait, condition, timeout)
            return
        assert self._moved is not None
        async with asyncio.timeout(timeout):
            while not condition():
                self._moved.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._moved.wait(), _LOOK)

    async def drained(self, pod: Pod | str, container: str, timeout: float = 60.0) -> None:
        """Waits, in the loop of the server, until a container is followed and its followers took nearly all lines."""

        def ready() -> bool:
            streams = self.streams(pod, container)
            return bool(streams) and not any(stream.behind for stream in streams)

        if not ready():
            await self.until(ready, timeout)

    # What tests and benchmarks do

    @property
    def faults(self) -> Faults:
        """Faults that come by themselves; may be set at any time."""
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        def take() -> None:
            self._faults = faults
            self._arm()

        self._call(take)

    def add_token(self, token: str, user: User) -> None:
        """From now on a token is that of a user; replaces what it was."""
        self._call(lambda: self._set_token(token, user))

    def revoke(self, token: str) -> None:
        """From now on a token is not valid. Open streams go on, as with a real server."""
        self._call(lambda: self._set_token(token, None))

    def _set_token(self, token: str, user: User | None) -> None:
        self._tokens = self._tokens or {}
        if user is None:
            self._tokens.pop(token, None)
        else:
            self._tokens[token] = user

    def cut(
        self,
        pod: Pod | str | None = None,
        container: str | None = None,
        kind: Cut = "end",
        *,
        after: int = 0,
        text: bytes = b"",
    ) -> int:
        """Cuts the open log streams of a container, of a pod, or all; returns how many.

        `after`: only when so many more bytes of the body were sent. `text`: what the kubelet writes before the end.
        """

        def cut() -> int:
            streams = self.open_streams if pod is None else self.streams(pod, container)
            streams = [stream for stream in streams if not stream.stalled]
            for stream in streams:
                stream.cut(kind, after, text)
            return len(streams)

        return self._call(cut)

    def cut_watches(self, kind: Cut = "end", *, in_event: bool = False) -> int:
        """Cuts all watches, now or in the middle of their next event; returns how many."""

        def cut() -> int:
            watches = self.open_watches
            for watch in watches:
                if in_event:
                    watch.cut_in_event = (0, kind)
                else:
                    watch.cut(kind)
            return len(watches)

        return self._call(cut)

    def expire_watches(self) -> int:
        """Ends all watches with an `ERROR` event: their version is too old. Returns how many."""

        def end() -> int:
            watches = self.open_watches
            for watch in watches:
                watch.fail(expired("The resourceVersion for the provided watch is too old.").object)
            return len(watches)

        return self._call(end)

    def expire_continue(self) -> None:
        """Continue tokens that were given are too old from now on."""
        self._call(self._pages.expire)

    def send_bookmarks(self) -> None:
        """Sends a bookmark to all watches that take them."""

        def send() -> None:
            for watch in self.open_watches:
                watch.bookmark()

        self._call(send)

    def fail_next(self, verb: str, code: int, times: int = 1) -> None:
        """The next requests of a verb ("log", "list", "watch", "get") are answered with 429, 500 or 503."""
        self._call(lambda: self._fail[verb].extend([code] * times))

    def lose_answer(self, verb: str) -> None:
        """The next request of a verb is done, and then its connection is reset instead of an answer."""
        self._call(lambda: self._lost.append(verb))

    def hold(self, verb: str) -> None:
        """Requests of a verb are not answered until `release`."""
        self._call(lambda: self._held.setdefault(verb, []))

    def release(self, verb: str) -> None:
        """Answers the requests that were held back, and those that come."""

        def go() -> None:
            for answer in self._held.pop(verb, []):
                answer()

        self._call(go)

    def down(self) -> None:
        """Stops to listen and drops all connections; who connects is refused."""

        def drop() -> None:
            if self._server is None:
                return
            self._server.close()
            self._server = None
            self._reserve()
            self.stats["fault.outage"] += 1
            for connection in tuple(self.connections):
                connection.reset()

        self._call(drop)

    def up(self) -> None:
        """Listens again on the same port. Only from another thread than the server's; there, await `outage`."""
        assert self._loop is not None
        if self._reserved is not None:
            asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def outage(self, seconds: float) -> Coroutine[Any, Any, None] | None:
        """Is down for so long. In the server's own loop this is to be awaited, elsewhere it blocks."""
        if self.here():
            return self._outage(seconds)
        self.down()
        time.sleep(seconds)
        self.up()
        return None

    async def _outage(self, seconds: float) -> None:
        self.down()
        await asyncio.sleep(seconds)
        await self._listen()

    def kubeconfig(self, token: str = "", namespace: str = "default", **cluster: Any) -> Json:
        """A kubeconfig with one context for this server; `cluster` are more fields of its cluster."""
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
            "clusters": [{"name": "test", "cluster": {"server": self.url, **cluster}}],
            "users": [{"name": "test", "user": {"token": token} if token else {}}],
        }

    # For streams and connections

    def here(self) -> bool:
        """Whether this is the thread of the server's loop."""
        return threading.get_ident() == self._here

    def soon(self, function: Callable[[], None]) -> None:
        """Calls a function in the server's loop."""
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # a loop that is closed serves nobody any more
            self._loop.call_soon_threadsafe(function)

    def later(self, seconds: float, function: Callable[[], None]) -> asyncio.TimerHandle:
        """Calls a function after a while; only in the server's loop."""
        assert self._loop is not None
        return self._loop.call_later(seconds, function)

    def _call(self, function: Callable[[], T]) -> T:
        """Calls a function in the server's loop and returns what it does."""
        if self.here() or self._loop is None:
            return function()
        done: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                done.set_result(function())
            except BaseException as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(10)

    def moved(self) -> None:
        """Something has happened that somebody may wait for."""
        if self._moved is not None:
            self._moved.set()
        with self._news:
            self._turn += 1
            self._news.notify_all()

    def opened(self, stream: LogStream | WatchStream) -> None:
        """A stream began."""
        if isinstance(stream, LogStream):
            self._logs.append(stream)
            self.stats["log.opened"] += 1
        else:
            self._watches.append(stream)
            self.stats["watch.opened"] += 1
        self.moved()

    def closed(self, stream: LogStream | WatchStream) -> None:
        """A stream ended."""
        streams: list[Any] = self._logs if isinstance(stream, LogStream) else self._watches
        if stream in streams:
            streams.remove(stream)
            self.stats["log.closed" if isinstance(stream, LogStream) else "watch.closed"] += 1
        self.moved()

    def _arm(self) -> None:
        """Plans the next cut."""
        if self._cutter is not None:
            self._cutter.cancel()
            self._cutter = None
        if self._faults.cut_every:
            self._cutter = self.later(self._faults.pause(), self._cut_one)

    def _cut_one(self) -> None:
        streams = [stream for stream in self._logs if not stream.stalled]
        if streams:
            place, kind, after = self._faults.cut(len(streams))
            streams[place].cut(kind, after)
        self._arm()

    # Requests

    def receive(self, connection: Connection, request: Incoming) -> None:
        """Answers a request, now or when its time has come."""
        target = Target.of(request)
        request.fair = target.subresource != "log"
        user = self._user(connection, request)
        seen = Request(request.method, request.path, request.query, user.name if user else None)
        request.seen = seen.verb
        self.requests.append(seen)
        self.stats["requests"] += 1

        def answer() -> None:
            if not connection.closed:
                self._answer(connection, request, target, user, seen)

        late = self._faults.wait(seen)
        if seen.verb in self._held:
            self._held[seen.verb].append(answer)
        elif late:
            self.stats["fault.delay"] += 1
            self.later(late, answer)
        else:
            answer()
        self.moved()

    def _user(self, connection: Connection, request: Incoming) -> User | None:
        certificate = connection.transport.get_extra_info("peercert") or {}
        names = dict(pair for group in certificate.get("subject", ()) for pair in group)
        if self._require_cert and not names:
            return None
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if self._tokens is None:
            return ADMIN
        if scheme.lower() == "bearer":
            return self._tokens.get(token.strip())
        return self._certificates.get(names.get("commonName", ""), ANONYMOUS if self._anonymous else None)

    def _answer(
        self, connection: Connection, request: Incoming, target: Target, user: User | None, seen: Request
    ) -> None:
        try:
            if user is None:
                request.fair = False
                raise ApiError(401, "Unauthorized", "Unauthorized")
            if self._refuse(connection, request, seen):
                return
            target.check(user)
            with self.cluster.lock:
                self._route(connection, request, target, seen)
        except ApiError as error:
            forbidden = (_NOSNIFF,) if error.code == 403 else ()
            self._send(connection, request, error.code, [encode(error.object) + b"\n"], (*error.headers, *forbidden))
        except Exception as error:  # a mistake in this server: tests learn of it when they leave it
            self.errors.append(error)
            connection.transport.abort()

    def _send(
        self,
        connection: Connection,
        request: Incoming,
        code: int,
        parts: list[bytes],
        extra: Iterable[tuple[str, str]] = (),
        content_type: str = "application/json",
    ) -> None:
        self.stats[f"status.{code}"] += 1
        if request.seen in self._lost:
            self._lost.remove(request.seen)
            connection.reset()
            return
        takes_gzip = code == 200 and "gzip" in request.headers.get("accept-encoding", "")
        connection.answer(code, parts, content_type=content_type, fair=request.fair, extra=extra, zip=takes_gzip)

    def _refuse(self, connection: Connection, request: Incoming, seen: Request) -> bool:
        """Answers with an error if one is due; returns whether it did."""
        planned = self._fail[seen.verb]
        code = planned.pop(0) if planned else self._faults.error(seen)
        if code is None:
            return False
        self.stats[f"fault.{code}"] += 1
        if code == 429:
            body = b"Too many requests, please try again later.\n"
            self._send(connection, request, 429, [body], (_NOSNIFF, ("Retry-After", "1")), TEXT_UTF8)
            return True
        if code == 500:
            raise internal_error("kubelet says no")
        if code == 503:
            raise ApiError(503, "ServiceUnavailable", "the server is currently unable to handle the request")
        raise ApiError(code, "", f"answered with {code}")

    def _route(self, connection: Connection, request: Incoming, target: Target, seen: Request) -> None:
        if request.path in ("/healthz", "/livez", "/readyz"):
            self._send(connection, request, 200, [b"ok"], (_NOSNIFF,), TEXT_UTF8)
        elif request.path == "/version":
            self._send(connection, request, 200, [json.dumps(self.version, indent=2).encode()])
        elif found := discovered(request.path, self.store.kinds):
            self._send(connection, request, 200, [json.dumps(found).encode()])
        elif target.verb == "list" and (listing := self.store.listing(request, target)):
            page = self._pages.page(
                target.resource, target.namespace, request.query, self._match(request, target), listing
            )
            self._send(connection, request, 200, page)
        elif target.resource == "pods" and target.subresource in ("exec", "portforward"):
            self._inside(connection, request, target)
        elif answer := self.store.answer(request, target):
            self._send(connection, request, answer[0], [answer[1]])
        elif target.group or not target.resource:
            self._send(connection, request, 404, [b"404 page not found\n"], (_NOSNIFF,), TEXT_UTF8)
        elif target.resource not in KINDS or target.subresource not in ("", "log"):
            raise ApiError(404, "NotFound", "the server could not find the requested resource", {})
        elif target.verb not in ("get", "list", "watch"):
            raise ApiError(
                405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
            )
        elif target.subresource:
            self._log(connection, request, target, seen)
        elif target.verb == "get":
            self._send(connection, request, 200, [self._find(target).whole + b"\n"])
        elif target.verb == "list":
            match = self._match(request, target)
            page = self._pages.page(target.resource, target.namespace, request.query, match)
            self._send(connection, request, 200, page)
        else:
            self._watch(connection, request, target, seen)

    def _inside(self, connection: Connection, request: Incoming, target: Target) -> None:
        pod = f"{target.namespace}/{target.name}"
        self._find(target)
        if request.headers.get("upgrade", "").lower() != "websocket":
            raise bad_request("Upgrade request required")
        if target.subresource == "exec" and self.exec is not None:
            execute(connection, request, pod, self.exec)
        elif target.subresource == "portforward" and self.listen is not None:
            forward(connection, request, pod, self.listen)
        else:
            raise internal_error("no kubelet")

    def _find(self, target: Target) -> Object:
        if target.resource == "namespaces":
            found = self.cluster.namespaces.get(target.name or target.namespace)
        else:
            pod = self.cluster.pods.get(f"{target.namespace}/{target.name}")
            found = pod.object if pod else None
        if found is None:
            raise not_found(target.resource, target.name or target.namespace)
        return found

    # Lists and watches

    def _match(self, request: Incoming, target: Target) -> Match:
        labels = label_selector(request.query.get("labelSelector", ""))
        fields = field_selector(request.query.get("fieldSelector", ""), target.resource)
        namespace = target.namespace
        return lambda data: (
            (not namespace or data["metadata"].get("namespace") == namespace) and labels(data) and fields(data)
        )

    def _watch(self, connection: Connection, request: Incoming, target: Target, seen: Request) -> None:
        query = request.query
        bookmarks = flag(query, "allowWatchBookmarks")
        version = query.get("resourceVersion", "")
        stream = WatchStream(self, connection, seen, target.resource, self._match(request, target), bookmarks)
        timeout = number(query, "timeoutSeconds")
        self.stats["status.200"] += 1
        fault = self._faults.watch()
        if fault is not None:
            self.stats[f"fault.watch.{fault}"] += 1
        if fault == "gone":
            stream.refuse(expired("The resourceVersion for the provided watch is too old.").object)
        elif fault == "error":
            stream.refuse(internal_error("etcdserver: leader changed").object)
        elif version == "0" and bookmarks and not self.zero_bookmarks:
            stream.refuse(ApiError(500, "InternalError", NO_PROGRESS).object)
        elif version not in ("", "0") and number_of(version) < self.cluster.forgotten:
            text = f"too old resource version: {version} ({self.cluster.forgotten})"
            stream.refuse(expired(text).object)
        else:
            if fault == "cut":
                stream.cut_in_event = (self._faults.watch_cut_after, "end")
            stream.start(version, timeout)

    # Logs

    def _log(self, connection: Connection, request: Incoming, target: Target, seen: Request) -> None:
        options = LogOptions.parse(target.name, request.query, self.cluster.clock())
        self._find(target)
        pod = self.cluster.pods[f"{target.namespace}/{target.name}"]
        if not pod.node:
            self._send(connection, request, 204, [], content_type="")
            return
        name = _container(pod, options.container)
        if pod.node in self.cluster.nodes_down:
            path = f"https://127.0.0.1:10250/containerLogs/{pod.namespace}/{pod.name}/{name}"
            text = f'Get "{path}": dial tcp 127.0.0.1:10250: connect: connection refused'
            raise ApiError(500, "", text)
        run = pod.containers[name].log(pod.name, options.previous)
        self.stats["status.200"] += 1
        if run.gone:
            text = f"unable to retrieve container logs for {run.id}"
            connection.transport.write(connection.head(200, TEXT, fair=False))
            connection.chunk(text.encode())
            connection.transport.write(b"0\r\n\r\n")
            connection.done()
            return
        LogStream(self, connection, seen, pod, run, dataclasses.replace(options, container=name)).start()


def _container(pod: Pod, name: str) -> str:
    """The container that a request means; raises ApiError 400."""
    if not name:
        apps = [spec.name for spec in pod.specs if spec.kind == "app"]
        if len(apps) == 1:
            return apps[0]
        names = " ".join(pod.names())
        raise bad_request(f"a container name must be specified for pod {pod.name}, choose one of: [{names}]")
    if name not in pod.containers:
        raise bad_request(f"container {name} is not valid for pod {pod.name}")
    return name
