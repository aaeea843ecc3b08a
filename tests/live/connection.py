"""HTTP/1.1 as Go's server speaks it: one connection, its requests one after another, plain and chunked answers."""

from __future__ import annotations

import asyncio
import gzip
import http
import random
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol
from urllib.parse import parse_qsl, unquote

JSON = "application/json"
TEXT = "text/plain"
TEXT_UTF8 = "text/plain; charset=utf-8"

END = b"0\r\n\r\n"

HIGH_WATER = 1 << 20
"""Bytes that wait to be sent from which on a stream reads no more of its log."""

GO_BUFFER = 2048
"""Go's server knows the length of an answer that fits this; others are chunked."""

GZIP_FROM = 128 * 1024

_MAX_HEAD = 64 * 1024

Chunking = int | random.Random | None
"""How bodies are cut into chunks: as they are written, each so long, or of random length."""

_FLOW = (
    ("X-Kubernetes-Pf-Flowschema-Uid", "7f3c1a52-3a3e-4f0c-9d1a-2f1f5b0c6a11"),
    ("X-Kubernetes-Pf-Prioritylevel-Uid", "c1f0a6d4-8f2b-4b57-a8a2-5d8d9f3e7b22"),
)


class Stream(Protocol):
    """What a connection carries for long: it is told when it may go on writing, and when the connection is lost."""

    def pump(self) -> None: ...

    def lost(self) -> None: ...


class Incoming:
    """A request with its headers (names in lower case)."""

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> None:
        self.method = method
        self.body = body
        path, _, query = target.partition("?")
        self.path = unquote(path)
        self.query: dict[str, str] = {}
        for name, value in parse_qsl(query, keep_blank_values=True):
            self.query.setdefault(name, value)  # as Go, of several values the first counts
        self.headers = headers
        # Whether it went through priority and fairness, as all do that are neither long nor refused at the door.
        self.fair = True
        self.seen = ""
        self.commands = [value for name, value in parse_qsl(query) if name == "command"]


class Handler(Protocol):
    """Who answers requests of connections."""

    connections: set[Connection]

    def receive(self, connection: Connection, request: Incoming) -> None: ...

    def moved(self) -> None: ...


class Connection(asyncio.Protocol):
    """A connection of a client. Answers are written with `answer`, or with `begin`, `chunk` and `end`."""

    transport: asyncio.Transport

    def __init__(self, handler: Handler, chunking: Chunking) -> None:
        self.handler = handler
        self.chunking = chunking
        self.stream: Stream | None = None
        self.upgraded: Callable[[bytes], None] | None = None
        self.paused = False
        self.closed = False
        self._buffer = bytearray()
        self._busy = False
        self._last = False

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=HIGH_WATER)
        self.handler.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.handler.connections.discard(self)
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.lost()
        self.handler.moved()

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.stream is not None:
            self.stream.pump()
        self.handler.moved()

    def data_received(self, data: bytes) -> None:
        if self.upgraded is not None:
            self.upgraded(data)
            return
        self._buffer += data
        self._next()

    # Requests

    def _next(self) -> None:
        """Takes the next request, if the last one is answered and there is a whole one."""
        if self._busy or self.closed:
            return
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_HEAD:
                self.transport.close()
            return
        first, *rest = self._buffer[:end].decode("latin-1").split("\r\n")
        try:
            method, target, version = first.split(" ")
            headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in rest)}
            length = int(headers.get("content-length", "0"))
        except ValueError:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n400 Bad Request")
            self.transport.close()
            return
        if len(self._buffer) < end + 4 + length:
            return  # the rest of its body has not come
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        self._busy = True
        self._last = version != "HTTP/1.1" or headers.get("connection", "").lower() == "close"
        self.handler.receive(self, Incoming(method, target, headers, body))

    def done(self) -> None:
        """The request is answered."""
        self.stream = None
        self._busy = False
        if self._last:
            self.transport.close()
        else:
            self._next()

    # Answers

    def head(
        self,
        code: int,
        content_type: str,
        *,
        fair: bool = True,
        length: int | None = None,
        extra: Iterable[tuple[str, str]] = (),
    ) -> bytes:
        """Status line and headers; without a length the body is chunked."""
        lines = [f"HTTP/1.1 {code} {http.HTTPStatus(code).phrase}", f"Audit-Id: {uuid.uuid4()}"]
        lines += ["Cache-Control: no-cache, private"]
        if content_type:
            lines.append(f"Content-Type: {content_type}")
        lines += [f"{name}: {value}" for name, value in (*extra, *(_FLOW if fair else ()))]
        lines.append(time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT", time.gmtime()))
        if self._last:
            lines.append("Connection: close")
        if code != 204:
            lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
        return "\r\n".join((*lines, "\r\n")).encode("latin-1")

    def answer(
        self,
        code: int,
        parts: Sequence[bytes],
        *,
        content_type: str = JSON,
        fair: bool = True,
        extra: Iterable[tuple[str, str]] = (),
        zip: bool = False,
    ) -> None:
        """A whole answer; `parts` is its body as it is written. `zip`: the client takes gzip, which large ones get."""
        if self.closed:
            return
        size = sum(map(len, parts))
        if zip and size > GZIP_FROM:
            parts = [gzip.compress(b"".join(parts), 1)]
            extra = (*extra, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
            size = max(len(parts[0]), GO_BUFFER + 1)
        if size <= GO_BUFFER:
            self.transport.write(self.head(code, content_type, fair=fair, length=size, extra=extra) + b"".join(parts))
        else:
            body = b"".join(map(frame, buffered(parts)))
            self.transport.write(self.head(code, content_type, fair=fair, extra=extra) + body + END)
        self.done()

    def chunk(self, data: bytes, before: bytes = b"") -> None:
        """Writes data of a chunked body, perhaps with headers before it."""
        if self.chunking is None:
            self.transport.write(b"%b%x\r\n%b\r\n" % (before, len(data), data))
        else:
            self.transport.write(before + b"".join(map(frame, split(data, self.chunking))))

    def reset(self) -> None:
        """Drops the connection so that the client sees a reset, and what was not sent is lost."""
        sock: socket.socket | None = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def frame(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def buffered(parts: Iterable[bytes]) -> list[bytes]:
    """The chunks that Go's server makes of writes: it fills a small buffer, and writes past it what is longer."""
    out = []
    held = b""
    for part in parts:
        while len(part) > GO_BUFFER - len(held):
            if held:
                room = GO_BUFFER - len(held)
                out.append(held + part[:room])
                held, part = b"", part[room:]
            else:
                out.append(part)
                part = b""
        held += part
    return [*out, held] if held else out


def split(data: bytes, chunking: int | random.Random) -> list[bytes]:
    """Data in pieces of one size, or of random sizes."""
    size: Callable[[], int] = (lambda: chunking) if isinstance(chunking, int) else (lambda: chunking.randint(1, 500))
    out = []
    at = 0
    while at < len(data):
        step = size()
        out.append(data[at : at + step])
        at += step
    return out
