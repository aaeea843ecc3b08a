"""Into a container: a command run there, and an HTTP request to a port that only listens on its localhost.

Both over WebSocket, as the API server speaks it: exec with `v5.channel.k8s.io` (Kubernetes 1.30) or `v4.channel.k8s.io`, port-forward with
`v4.channel.k8s.io`. The first byte of a message is its channel. Sources: `k8s.io/apimachinery/pkg/util/remotecommand/constants.go`,
`k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go`.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from meshdiag.cluster.objects import Ref
from meshdiag.fixing.plan import path
from meshdiag.sources.kubernetes.api import Api, Unreachable

SECONDS = 30.0
OUTPUT_BYTES = 4 << 20
STDOUT, STDERR, ERROR = 1, 2, 3


class CommandFailed(Exception):
    """A command that ended with an error, or could not be started; says what it wrote."""


async def run(api: Api, pod: Ref, container: str, command: tuple[str, ...]) -> str:
    """What a command in a container writes. Raises ApiError, Unreachable and CommandFailed."""
    query = [("container", container), *(("command", c) for c in command), ("stdout", "true"), ("stderr", "true")]
    said: dict[int, bytearray] = {STDOUT: bytearray(), STDERR: bytearray(), ERROR: bytearray()}
    async for channel, data in _messages(api, f"{path(pod)}/exec", query, ("v5.channel.k8s.io", "v4.channel.k8s.io")):
        if channel in said and len(said[channel]) < OUTPUT_BYTES:
            said[channel] += data
    if not said[ERROR]:
        raise Unreachable(f"{api.where}: the connection into {pod} broke")
    try:
        status: Any = json.loads(said[ERROR])
        good, why = status.get("status") == "Success", str(status.get("message") or "")
    except (ValueError, AttributeError):
        good, why = False, said[ERROR].decode("utf-8", "replace")
    if not good:
        words = " ".join((said[STDERR] or said[STDOUT]).decode("utf-8", "replace").split())
        raise CommandFailed(f"{' '.join(command)} in {pod}: {why}" + (f": {words[:500]}" if words else ""))
    return said[STDOUT].decode("utf-8", "replace")


async def request(api: Api, pod: Ref, port: int, method: str, target: str, body: str = "") -> str:
    """The body of the answer to an HTTP request to a port of a pod. Raises ApiError, Unreachable and CommandFailed."""
    content = body.encode()
    head = f"{method} {target} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {len(content)}\r\nContent-Type: application/json\r\n\r\n"
    answer, error, begun = bytearray(), bytearray(), {0: False, 1: False}
    messages = _messages(
        api, f"{path(pod)}/portforward", [("ports", str(port))], ("v4.channel.k8s.io",), head.encode() + content
    )
    async for channel, data in messages:
        if channel in begun and not begun[channel]:
            begun[channel] = True  # the first message of each channel is its port
            continue
        if channel == 0:
            answer += data
            if _is_whole(answer):
                break
        elif channel == 1:
            error += data
    top, blank, rest = bytes(answer).partition(b"\r\n\r\n")
    if error or not blank:
        why = error.decode("utf-8", "replace") or "nothing answers"
        raise CommandFailed(f"port {port} of {pod}: {why}")
    status = top.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    text = rest.decode("utf-8", "replace")
    if len(status) < 2 or not status[1].startswith("2"):
        raise CommandFailed(f"{method} {target} of {pod}: {' '.join(status[1:])}: {text[:300]}")
    return text


def _is_whole(answer: bytearray) -> bool:
    """Whether an HTTP/1.0 answer of known length is complete; without a length its end is that of the connection."""
    top, blank, rest = bytes(answer).partition(b"\r\n\r\n")
    for line in top.lower().split(b"\r\n")[1:] if blank else ():
        name, _, value = line.partition(b":")
        if name == b"content-length" and value.strip().isdigit():
            return len(rest) >= int(value)
    return False


async def _messages(
    api: Api, at: str, query: list[tuple[str, str]], protocols: tuple[str, ...], first: bytes | None = None
) -> Any:
    """Channel and data of each message; `first` is sent on channel 0."""
    import aiohttp

    try:
        async with asyncio.timeout(SECONDS), api.channels(at, query, protocols) as socket:
            if first is not None:
                await socket.send_bytes(b"\0" + first)
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY and message.data:
                    yield message.data[0], message.data[1:]
                elif message.type is aiohttp.WSMsgType.TEXT and message.data:
                    data = message.data.encode()
                    yield data[0], data[1:]
    except TimeoutError:
        raise Unreachable(f"{api.where}: no answer from {at} within {SECONDS:.0f} s") from None
