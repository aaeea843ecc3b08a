"""Servers that are no API server: one that answers with given bytes, and a proxy."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

Answer = bytes | Iterable[bytes] | None
"""What is sent, in pieces; None drops the connection."""


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no mistake of the server."""


class _Threaded:
    """Serves on loopback in threads; `port` is where."""

    def __init__(self) -> None:
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                outer.serve(self.request)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self.heads: list[str] = []
        """The requests that came: their first line and their headers."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Any:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self, sock: socket.socket) -> None:
        raise NotImplementedError

    def head(self, sock: socket.socket) -> str:
        """The next request; "" when there is none."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = sock.recv(1 << 16)
            if not more:
                return ""
            data += more
        text = data.decode("latin-1")
        self.heads.append(text)
        return text


class RawServer(_Threaded):
    """Answers each request with what `answer` makes of its head."""

    def __init__(self, answer: Callable[[str], Answer] | bytes) -> None:
        super().__init__()
        self._answer = (lambda _: answer) if isinstance(answer, bytes) else answer

    def serve(self, sock: socket.socket) -> None:
        while head := self.head(sock):
            answer = self._answer(head)
            if answer is None:
                return
            for piece in [answer] if isinstance(answer, bytes) else answer:
                sock.sendall(piece)


class Proxy(_Threaded):
    """An HTTP proxy: forwards requests, and opens tunnels for CONNECT. Every host is the one at `port` of loopback.

    `refuse`: the status line that it answers a CONNECT or request with instead.
    """

    def __init__(self, port: int, refuse: str = "") -> None:
        super().__init__()
        self._to = port
        self._refuse = refuse

    def serve(self, sock: socket.socket) -> None:
        head = self.head(sock)
        if not head:
            return
        if self._refuse:
            sock.sendall(f"HTTP/1.1 {self._refuse}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            return
        with socket.create_connection(("127.0.0.1", self._to)) as there:
            if head.startswith("CONNECT "):
                sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                method, url, rest = head.split(" ", 2)
                path = "/" + url.split("/", 3)[3]
                line, headers = rest.split("\r\n", 1)  # one request on a connection, as the next has a whole URL, too
                there.sendall(f"{method} {path} {line}\r\nConnection: close\r\n{headers}".encode("latin-1"))
            back = threading.Thread(target=_pump, args=(there, sock), daemon=True)
            back.start()
            _pump(sock, there)
            back.join(5)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def answer(status: str, body: bytes, *headers: str, content_type: str = "application/json") -> bytes:
    """A whole answer of HTTP/1.1."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
