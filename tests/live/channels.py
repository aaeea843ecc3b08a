"""WebSocket (RFC 6455) as a kube-apiserver speaks it: exec and port-forward over channels."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

from tests.live.connection import Connection, Incoming

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KNOWN = ("v5.channel.k8s.io", "v4.channel.k8s.io")


class Socket:
    """The server's side of a WebSocket; `take` gets each message of the client."""

    def __init__(self, connection: Connection, request: Incoming, take: Callable[[bytes], None]) -> None:
        self.connection = connection
        self._take = take
        self._buffer = bytearray()
        offered = [p.strip() for p in request.headers.get("sec-websocket-protocol", "").split(",")]
        protocol = next(p for p in KNOWN if p in offered)
        accept = base64.b64encode(hashlib.sha1(request.headers["sec-websocket-key"].encode() + _GUID).digest())
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Accept: {accept.decode()}", f"Sec-WebSocket-Protocol: {protocol}", "", ""]
        connection.upgraded = self.feed
        connection.transport.write("\r\n".join(lines).encode())

    def send(self, channel: int, data: bytes) -> None:
        """A binary message on a channel."""
        self._frame(2, bytes([channel]) + data)

    def close(self) -> None:
        self._frame(8, b"\x03\xe8")

    def _frame(self, opcode: int, data: bytes) -> None:
        size = len(data)
        length = (
            bytes([size])
            if size < 126
            else b"\x7e" + size.to_bytes(2, "big")
            if size < 65536
            else b"\x7f" + size.to_bytes(8, "big")
        )
        self.connection.transport.write(bytes([0x80 | opcode]) + length + data)

    def feed(self, data: bytes) -> None:
        """Bytes of the client, whose frames are masked."""
        self._buffer += data
        while len(self._buffer) >= 2:
            size, at = self._buffer[1] & 127, 2
            if size >= 126:
                width = 2 if size == 126 else 8
                size, at = int.from_bytes(self._buffer[2 : 2 + width], "big"), 2 + width
            if len(self._buffer) < at + 4 + size:
                return
            mask, opcode = self._buffer[at : at + 4], self._buffer[0] & 15
            body = bytes(b ^ mask[i % 4] for i, b in enumerate(self._buffer[at + 4 : at + 4 + size]))
            del self._buffer[: at + 4 + size]
            if opcode == 8:
                self.connection.transport.close()
                return
            if opcode in (1, 2):
                self._take(body)


Exec = Callable[[str, str, list[str]], tuple[bytes, bytes, int]]
"""A command in a container (of "namespace/pod") -> what it writes to stdout and stderr, and its exit code."""

Listen = Callable[[str, int, bytes], bytes | None]
"""A request to a port of a pod -> the answer; None when nothing listens."""


def execute(connection: Connection, request: Incoming, pod: str, run: Exec) -> None:
    """Answers an exec."""
    socket = Socket(connection, request, lambda _: None)
    out, err, code = run(pod, request.query.get("container", ""), request.commands)
    for channel, data in ((1, b""), (2, b""), (1, out), (2, err)):
        if data or channel == 1:
            socket.send(channel, data)
    status: dict[str, Any] = {"metadata": {}, "status": "Success"}
    if code:
        causes = [{"reason": "ExitCode", "message": str(code)}]
        message = f"command terminated with non-zero exit code: exit status {code}"
        status = {
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": "NonZeroExitCode",
            "details": {"causes": causes},
        }
    socket.send(3, json.dumps(status).encode())
    socket.close()


def forward(connection: Connection, request: Incoming, pod: str, listen: Listen) -> None:
    """Answers a port-forward of one port: each request that comes is answered, and then the connection ends."""
    port = int(request.query["ports"])

    def take(message: bytes) -> None:
        assert message[0] == 0
        answer = listen(pod, port, message[1:])
        if answer is None:
            where = f"failed to connect to localhost:{port} inside namespace: dial tcp4 127.0.0.1:{port}: connect: connection refused"
            socket.send(1, f"error forwarding port {port} to pod {pod}: {where}".encode())
        else:
            for i in range(0, len(answer), 1000):
                socket.send(0, answer[i : i + 1000])
        socket.close()

    socket = Socket(connection, request, take)
    for channel in (0, 1):
        socket.send(channel, port.to_bytes(2, "little"))
