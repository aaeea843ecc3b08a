"""Requests to the server of tests, read piece by piece."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from tests.live.apiserver import ApiServer
from tests.live.cluster import Pod
from tests.live.objects import SECOND

PROXY = "istio-proxy"
NOW = 1_795_390_333 * SECOND  # 2026-11-22T23:32:13Z


class Call:
    """One request on a connection of its own, read piece by piece."""

    def __init__(
        self,
        server: ApiServer,
        target: str,
        token: str = "",
        method: str = "GET",
        headers: str = "",
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.sock = socket.socket()
        self.sock.settimeout(5)
        try:
            self.sock.connect((server.host, server.port))
        except OSError:
            self.sock.close()
            raise
        if context is not None:
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        auth = f"Authorization: Bearer {token}\r\n" if token else ""
        self.sock.sendall(f"{method} {target} HTTP/1.1\r\nHost: test\r\n{auth}{headers}\r\n".encode())
        self.raw = bytearray()
        self.at = 0
        self._code = 0
        self._headers: dict[str, str] = {}

    def _until(self, mark: bytes, at: int) -> int:
        while (end := self.raw.find(mark, at)) < 0:
            self.more()
        return end + len(mark)

    def more(self) -> None:
        got = self.sock.recv(1 << 16)
        if not got:
            raise EOFError(bytes(self.raw[-200:]))
        self.raw += got

    def nothing(self) -> bool:
        """Whether nothing came that was not read."""
        self.sock.setblocking(False)
        try:
            self.sock.recv(1, socket.MSG_PEEK)
            return False
        except BlockingIOError:
            return len(self.raw) == self.at
        finally:
            self.sock.settimeout(5)

    @property
    def code(self) -> int:
        if not self._code:
            self.at = self._until(b"\r\n\r\n", 0)
            first, *lines = self.raw[: self.at - 4].decode().split("\r\n")
            self._code = int(first.split(" ")[1])
            self._headers = dict(line.split(": ", 1) for line in lines)
        return self._code

    @property
    def headers(self) -> dict[str, str]:
        assert self.code
        return self._headers

    def chunk(self) -> bytes:
        """The next chunk of the body, b"" for its end."""
        assert self.code and "Transfer-Encoding" in self.headers
        end = self._until(b"\r\n", self.at)
        size = int(self.raw[self.at : end], 16)
        while len(self.raw) < end + size + 2:
            self.more()
        self.at = end + size + 2
        return bytes(self.raw[end : end + size])

    def line(self) -> bytes:
        """The next chunk, which is one line, without its line feed."""
        chunk = self.chunk()
        assert chunk.endswith(b"\n") and chunk.count(b"\n") == 1
        return chunk[:-1]

    def rest(self) -> bytes:
        """The rest of the body until its end."""
        assert self.code
        if "Content-Length" in self.headers:
            end = self.at + int(self.headers["Content-Length"])
            while len(self.raw) < end:
                self.more()
            return bytes(self.raw[self.at : end])
        return b"".join(iter(self.chunk, b""))

    def event(self) -> tuple[str, dict[str, Any]]:
        event = json.loads(self.line())
        return event["type"], event["object"]

    def close(self) -> None:
        self.sock.close()


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@contextlib.contextmanager
def call(server: ApiServer, target: str, *args: Any, **options: Any) -> Iterator[Call]:
    made = Call(server, target, *args, **options)
    try:
        yield made
    finally:
        made.close()


def get(server: ApiServer, target: str, *args: Any, **options: Any) -> tuple[int, Any]:
    """Status and body; a body that is JSON is read."""
    with call(server, target, *args, **options) as made:
        body = made.rest()
        return made.code, json.loads(body) if "json" in made.headers.get("Content-Type", "") else body


def log_path(pod: Pod | str = "shop/db-0", container: str = PROXY, **query: Any) -> str:
    namespace, name = (pod if isinstance(pod, str) else pod.key).split("/")
    asked = {
        "container": container,
        **{key: str(value).lower() if value is True else str(value) for key, value in query.items()},
    }
    return f"/api/v1/namespaces/{namespace}/pods/{name}/log?{urlencode(asked)}"


def log(server: ApiServer, pod: Pod | str = "shop/db-0", container: str = PROXY, **query: Any) -> Any:
    return get(server, log_path(pod, container, **query))[1]


def list_path(namespace: str = "shop", **query: Any) -> str:
    where = f"/namespaces/{namespace}" if namespace else ""
    return f"/api/v1{where}/pods?{urlencode({key.rstrip('_'): str(value) for key, value in query.items()})}"


def listed(server: ApiServer, namespace: str = "shop", **query: Any) -> list[str]:
    code, body = get(server, list_path(namespace, **query))
    assert code == 200, body
    return [item["metadata"]["name"] for item in body["items"]]


def watching(server: ApiServer, namespace: str = "shop", **query: Any) -> Any:
    return call(server, list_path(namespace, watch=1, **query))
