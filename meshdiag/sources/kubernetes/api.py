"""Asking the API server, and telling it: requests on the official asyncio client, with errors that tell what to do next.

Lists and watches stay JSON: of a pod a handful of values count, and the client's models cost a hundred times their reading.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import os
import re
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from meshdiag.sources.kubernetes.access import Access, Login

if TYPE_CHECKING:
    import aiohttp
    from kubernetes.aio.client import ApiClient

T = TypeVar("T")

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
ERROR_BYTES = 64 << 10
GOODBYE_SECONDS = 0.05
"""For TLS streams that were closed just before the end: both sides say that they close."""

READ_BUFFER = 64 << 10
"""Bytes of a stream that wait in the client; twice as many stop the sender."""

Query = Mapping[str, str | int | bool]
Body = Mapping[str, Any]

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
"""Kinds of patches: RFC 7386, and server-side apply (JSON is YAML)."""


@dataclass
class ApiError(Exception):
    """What the server answered instead: its status code and words; `retry_after` in seconds when it names it."""

    status: int
    message: str
    reason: str = ""
    retry_after: float | None = None

    def __str__(self) -> str:
        return f"{self.status} {self.reason or ''}".strip() + f": {self.message}"

    @property
    def passing(self) -> bool:
        """Whether the same request may work later."""
        return self.status in (408, 425, 429) or self.status >= 500


class Unreachable(Exception):
    """No answer: the server cannot be reached, or the connection broke; says why. `sent`: the request may have reached it."""

    def __init__(self, message: str, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class Api:
    """One cluster's API. `async with Api(login) as api`; for one event loop."""

    def __init__(self, login: Login) -> None:
        self.login = login
        self._client: ApiClient | None = None
        self._connector: aiohttp.TCPConnector | None = None
        self._old: list[tuple[ApiClient, aiohttp.TCPConnector]] = []
        self._identity: tuple[Any, ...] = ()
        self.ahead = 0.0
        """Seconds that the server's clock is ahead of ours, as of its latest answer."""

    async def __aenter__(self) -> Api:
        await self._ready()
        return self

    async def __aexit__(self, *_: object) -> None:
        parts = [*self._old, *([(self._client, self._connector)] if self._client and self._connector else [])]
        self._client, self._old = None, []
        for client, connector in parts:
            await client.close()
            await connector.close()
        if parts and self.login.configuration.host.startswith("https:"):
            await asyncio.sleep(GOODBYE_SECONDS)

    async def _ready(self, refused: bool = False) -> ApiClient:
        renewed = await self.login.renew(refused)
        if self._client is not None and not renewed:
            return self._client
        import aiohttp
        from kubernetes.aio.client import ApiClient

        configuration = self.login.configuration
        files = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
        identity = (
            configuration.host, configuration.proxy, configuration.verify_ssl, configuration.tls_server_name,
            *map(_print_of, files),
        )  # fmt: skip
        if self._client is not None and identity == self._identity:
            self._client.configuration.api_key = configuration.api_key  # connections that are open stay
            return self._client
        if self._client is not None and self._connector is not None:
            self._old.append((self._client, self._connector))
        with self.login.told():
            client = ApiClient(configuration)
        # no limit: every stream keeps a connection, and HTTP/1.1 has one answer a connection
        self._connector = aiohttp.TCPConnector(limit=0, ssl=client.rest_client.ssl_context, socket_factory=_socket)
        configuration.client_session_kwargs = {
            "connector": self._connector,
            "read_bufsize": READ_BUFFER,
            "trust_env": False,  # proxies are told already, and of ~/.netrc kubectl knows nothing
        }
        client.user_agent = "meshdiag"
        self._client, self._identity = client, identity
        return client

    async def get(self, path: str, **query: str | int | bool) -> dict[str, Any]:
        """The JSON object at a path. Raises ApiError and Unreachable."""
        return await self._object(await self.open(path, query, total=ANSWER_SECONDS))

    async def post(self, path: str, body: Body, **query: str | int | bool) -> dict[str, Any]:
        """What the server made of an object that is created at a collection's path. Raises ApiError and Unreachable.

        As for all that writes: after Unreachable it is not known whether the server did it.
        """
        return await self._write("POST", path, body, "application/json", query)

    async def patch(self, path: str, body: Body, kind: str, **query: str | int | bool) -> dict[str, Any]:
        """The object at a path as it is after a patch of a kind: `MERGE_PATCH` or `APPLY_PATCH`. Raises ApiError and Unreachable."""
        return await self._write("PATCH", path, body, kind, query)

    async def delete(self, path: str, body: Body, **query: str | int | bool) -> dict[str, Any]:
        """Deletes the object at a path; `body` is DeleteOptions. Raises ApiError and Unreachable."""
        return await self._write("DELETE", path, body, "application/json", query)

    async def _write(self, method: str, path: str, body: Body, kind: str, query: Query) -> dict[str, Any]:
        return await self._object(await self._request(method, path, query, body, kind, total=ANSWER_SECONDS))

    async def _object(self, response: aiohttp.ClientResponse) -> dict[str, Any]:
        with _told(self.where):
            async with response:
                answer = json.loads(await response.read())
        if not isinstance(answer, dict):
            raise Unreachable(f"{self.where} answered something else than Kubernetes does")
        return answer

    async def open(
        self, path: str, query: Query, *, total: float | None = None, read: float | None = None
    ) -> aiohttp.ClientResponse:
        """The response to a GET, its body unread. `total` and `read`: seconds for all, and without any byte.

        Without them it may take any time: a kubelet does not answer at all before a quiet container writes a line.
        Raises ApiError and Unreachable.
        """
        return await self._request("GET", path, query, total=total, read=read)

    async def _request(
        self,
        method: str,
        path: str,
        query: Query,
        content: Body | None = None,
        kind: str = "",
        *,
        total: float | None = None,
        read: float | None = None,
    ) -> aiohttp.ClientResponse:
        import aiohttp
        from multidict import CIMultiDict

        asked = {"Accept": "application/json, */*", **({"Content-Type": kind} if kind else {})}
        timeout = aiohttp.ClientTimeout(total=total, sock_connect=CONNECT_SECONDS, sock_read=read)
        for attempt in (0, 1):
            with _told(self.where):
                client = await self._ready(refused=attempt > 0)
                verb, url, headers, body, post = await client.param_serialize(
                    method,
                    path,
                    query_params=[(k, v if isinstance(v, (str, int)) else str(v)) for k, v in query.items()],
                    header_params=dict(asked),
                    body=content,
                    auth_settings=["BearerToken"],
                )
                all_headers = CIMultiDict([*headers.items(), *self.login.headers])
                answer = await client.call_api(verb, url, all_headers, body, post, _request_timeout=timeout)
                response: aiohttp.ClientResponse = answer.response
                if response.status < 400:
                    self._compare_clocks(response)
                    return response
                error = await _error(response)
            if error.status != 401 or attempt:
                raise error
        raise AssertionError("unreachable")

    @contextlib.asynccontextmanager
    async def channels(
        self, path: str, query: Sequence[tuple[str, str]], protocols: Sequence[str]
    ) -> AsyncGenerator[aiohttp.ClientWebSocketResponse, None]:
        """A WebSocket at a path, as exec and port-forward have it. Raises ApiError and Unreachable, also for what is read within."""
        import aiohttp
        from multidict import CIMultiDict

        with _told(self.where):
            client = await self._ready()
            configuration = client.configuration
            _, url, headers, _, _ = await client.param_serialize(
                "GET", path, query_params=list(query), auth_settings=["BearerToken"]
            )
            if client.rest_client.pool_manager is None:
                client.rest_client.pool_manager = client.rest_client._create_pool_manager()
            more = {"server_hostname": configuration.tls_server_name} if configuration.tls_server_name else {}
            try:
                socket = await client.rest_client.pool_manager.ws_connect(
                    url,
                    protocols=protocols,
                    headers=CIMultiDict([*headers.items(), *self.login.headers]),
                    proxy=configuration.proxy,
                    **more,
                )
            except aiohttp.WSServerHandshakeError as e:
                socket, status = None, e.status
        if socket is None:
            await self._why_no_channels(path, query, status)
        async with socket:
            with _told(self.where):
                yield socket

    async def _why_no_channels(self, path: str, query: Sequence[tuple[str, str]], status: int) -> None:
        """Raises what the server says to the same request without a WebSocket: the refusal of one has no words."""
        try:
            (await self._request("GET", path, dict(query), total=ANSWER_SECONDS)).close()
        except ApiError as e:
            if e.status != 400:  # that is only that it wants a WebSocket
                raise
        raise Unreachable(
            f"{self.where} answered {status} to a WebSocket at {path}: it, its node, or a proxy before it cannot do that"
        )

    @property
    def where(self) -> str:
        """The server as a person knows it."""
        return f"{self.login.access.name} ({self.login.configuration.host})"

    def _compare_clocks(self, response: aiohttp.ClientResponse) -> None:
        with contextlib.suppress(TypeError, ValueError):
            there = parsedate_to_datetime(response.headers.get("Date", ""))
            self.ahead = (there - datetime.now(there.tzinfo)).total_seconds()


def ask(access: Access, steps: Callable[[Api], Awaitable[T]]) -> T:
    """What comes of asking a cluster, for who has no event loop. Raises what `steps` does."""

    async def inside() -> T:
        async with Api(Login(access)) as api:
            return await steps(api)

    return asyncio.run(inside())


async def json_lines(response: aiohttp.ClientResponse) -> AsyncGenerator[dict[str, Any], None]:
    """The JSON objects of a watch, a line each, however they are cut into chunks. Raises Unreachable when it breaks."""
    pieces: list[bytes] = []
    with _told("the watch"):
        async for data in response.content.iter_any():
            *lines, rest = data.split(b"\n")
            for line in lines:
                whole = b"".join([*pieces, line])
                pieces = []
                if whole.strip():
                    event = json.loads(whole)
                    if isinstance(event, dict):
                        yield event
            if rest:
                pieces.append(rest)


async def _error(response: aiohttp.ClientResponse) -> ApiError:
    body = b""
    async with response:
        while len(body) < ERROR_BYTES and (more := await response.content.read(ERROR_BYTES - len(body))):
            body += more
    try:
        status = json.loads(body)
        message, reason = str(status.get("message") or ""), str(status.get("reason") or "")
    except (ValueError, AttributeError, RecursionError):
        message, reason = _plain(body.decode("utf-8", "replace")), response.reason or ""
    wait = response.headers.get("Retry-After", "")
    seconds = float(wait) if re.fullmatch("[0-9]{1,9}", wait) else None
    return ApiError(response.status, message[:2000], reason, seconds)


def _plain(text: str) -> str:
    """The words of a page, as something before the API server answers with."""
    if re.match(r"\s*<(!doctype|html|head|body|\?xml)\b", text, re.IGNORECASE):
        text = re.sub(r"(?is)<!--.*?-->|<(script|style)\b.*?</\1\s*>|<[^>]*>", " ", text)
        return " ".join(html.unescape(text).split())
    return text.strip()


def _print_of(path: str | None) -> tuple[Any, ...]:
    """What changes when a file does."""
    if not path:
        return ()
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return (path,)
    return path, status.st_mtime_ns, status.st_size, status.st_ino


@contextlib.contextmanager
def _told(where: str) -> Any:
    """What the client below raises, as Unreachable."""
    import aiohttp

    try:
        yield
    except TimeoutError:
        raise Unreachable(f"{where} did not answer in time") from None
    except aiohttp.ClientConnectorDNSError as e:
        raise Unreachable(f"{where}: the name {e.host} is not known", sent=False) from None
    except aiohttp.ClientConnectorCertificateError as e:
        raise Unreachable(f"{where}: its certificate is not trusted: {e.certificate_error}", sent=False) from None
    except aiohttp.ClientConnectorError as e:  # perhaps to a proxy
        why = os.strerror(e.os_error.errno) if e.os_error.errno else str(e.os_error)
        raise Unreachable(f"{where}: cannot connect to {e.host}:{e.port}: {why}", sent=False) from None
    except aiohttp.ClientHttpProxyError as e:  # its own words hold the password of the proxy
        raise Unreachable(f"{where}: the proxy answered {e.status} {e.message}") from None
    except aiohttp.ClientResponseError as e:  # nor the whole URL
        raise Unreachable(f"{where}: {' '.join(e.message.split()) or type(e).__name__}") from None
    except (aiohttp.ClientError, OSError) as e:
        raise Unreachable(f"{where}: {str(e) or type(e).__name__}") from None
    except (ValueError, RecursionError) as e:
        raise Unreachable(f"{where} answered something else than Kubernetes does: {e}") from None


def _socket(address: Any) -> socket.socket:
    """A socket that notices when the other side has vanished: an idle stream would wait for ever."""
    family, kind, protocol, _, _ = address
    one = socket.socket(family, kind, protocol)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPALIVE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            one.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return one
