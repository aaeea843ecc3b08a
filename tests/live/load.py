"""A server in a process of its own whose containers write all the time, for benchmarks of what reads them.

    python -m tests.live.load --containers 500 --rate 50000 --seconds 60
    python -m tests.live.load --flood 2000000000

Prints its URL as JSON, waits until all containers are followed, writes, ends the containers (so that their streams
end), and prints what it wrote and what that cost it: `cpu` is seconds of processor time while it wrote.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.live import pods
from tests.live.apiserver import ApiServer
from tests.live.cluster import Cluster, Pod
from tests.live.logs import Block

PROXY = "istio-proxy"
FLOOD_LINES = 4000
TICK = 0.01
ROTATE_BYTES = 256 * 1024


def access_lines(count: int) -> list[bytes]:
    """Lines of an access log in Istio's default format, about 330 bytes each, no two alike."""
    out = []
    for n in range(count):
        code, flags, details = ("503", "UF,URX", "upstream_reset") if n % 50 == 49 else ("200", "-", "via_upstream")
        out.append(
            f'[2026-11-22T10:00:{n // 1000 % 60:02d}.{n % 1000:03d}Z] "GET /reviews/{n} HTTP/1.1" {code} {flags} '
            f'{details} - "-" 0 {n % 5000} {n % 300} {n % 299} "-" "Mozilla/5.0 (X11; Linux x86_64) Firefox/142" '
            f'"41dbb472-e31e-457f-a70c-{n:012x}" "reviews:9080" "10.0.{n % 200}.7:9080" '
            f"outbound|9080||reviews.default.svc.cluster.local 10.1.1.1:{40000 + n % 20000} 10.96.0.1:9080 "
            f"10.1.1.1:{30000 + n % 9000} - default".encode()
        )
    return out


def mesh(cluster: Cluster, containers: int) -> list[Pod]:
    """Pods with a proxy each, in namespaces of a hundred."""
    return [
        pods.sidecar_pod(cluster, f"load-{n // 100}", f"app{n}-7d9c5b8f6-{n:05d}", app=f"app{n}")
        for n in range(containers)
    ]


async def steady(
    cluster: Cluster, targets: Sequence[Pod], rate: float, seconds: float, lines: Sequence[bytes], every: float = 0.1
) -> int:
    """Writes `rate` lines a second in all, to each pod's proxy one chunk each `every` seconds; returns how many lines.

    Pods take turns, so that the load is even. What could not be written in time is written late, not left out.
    """
    per_chunk = rate * every / len(targets)
    sizes = {max(1, int(per_chunk)), max(1, int(per_chunk) + 1)}
    blocks = {size: _blocks(lines, size) for size in sizes}
    turns = itertools.cycle(targets)
    began = time.monotonic()
    chunks = written = 0
    while (now := time.monotonic() - began) < seconds:
        due = int(now * len(targets) / every)
        for _ in range(due - chunks):
            chunks += 1
            size = max(1, int(chunks * per_chunk) - int((chunks - 1) * per_chunk))
            cluster.write_block(next(turns), PROXY, next(blocks[size]))
            written += size
        await asyncio.sleep(TICK)
    return written


def _blocks(lines: Sequence[bytes], size: int) -> Iterator[Block]:
    made = [Block(list(itertools.islice(itertools.cycle(lines), n * size, (n + 1) * size))) for n in range(50)]
    return itertools.cycle(made)


async def flood(server: ApiServer, pod: Pod, total: int, lines: Sequence[bytes]) -> int:
    """Writes about `total` bytes to one proxy as fast as who follows it takes them; returns how many lines."""
    block = Block(list(itertools.islice(itertools.cycle(lines), FLOOD_LINES)))
    written = 0
    for _ in range(max(1, total // len(block.template))):
        await server.drained(pod, PROXY)
        server.cluster.write_block(pod, PROXY, block)
        written += FLOOD_LINES
    return written


async def serve(
    containers: int, rate: float, seconds: float, flooded: int, lines: Sequence[bytes], wait: float
) -> None:
    """Runs a server as the module says."""
    # Nobody may miss lines because the server was told to keep few of them: what is behind reads older files.
    cluster = Cluster(rotate_bytes=ROTATE_BYTES, lossy=False)
    targets = mesh(cluster, 1 if flooded else containers)
    async with ApiServer(cluster) as server:
        print(json.dumps({"url": server.url}), flush=True)
        await server.until(lambda: len({stream.pod.key for stream in server.open_streams}) >= len(targets), wait)
        gc.freeze()
        began, used = time.monotonic(), time.process_time()
        if flooded:
            written = await flood(server, targets[0], flooded, lines)
            await server.drained(targets[0], PROXY)
        else:
            written = await steady(cluster, targets, rate, seconds, lines)
        took, cpu = time.monotonic() - began, time.process_time() - used
        for pod in targets:
            cluster.terminate(pod, PROXY)
        with contextlib.suppress(TimeoutError):
            await server.until(lambda: not server.open_streams, min(wait, 5))
        sent = server.stats["log.bytes"]
        result = {"lines": written, "sent_lines": server.stats["log.lines"], "sent_bytes": sent}
        print(json.dumps({**result, "seconds": round(took, 3), "cpu": round(cpu, 3)}), flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--containers", type=int, default=500)
    parser.add_argument("--rate", type=float, default=50_000, help="lines a second, of all containers")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--flood", type=int, default=0, metavar="BYTES", help="one container, as fast as it goes")
    parser.add_argument("--lines", type=Path, help="file with the lines to write (without times)")
    parser.add_argument("--wait", type=float, default=60, help="seconds to wait for who follows, and for its end")
    args = parser.parse_args()
    lines = args.lines.read_bytes().splitlines() if args.lines else access_lines(5000)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(args.containers, args.rate, args.seconds, args.flood, lines, args.wait))


if __name__ == "__main__":
    main()
