"""Measures the live collector against an API server in another process (tests/live), which takes a part of the same two cores.

    python benchmarks/live.py                     all three parts
    python benchmarks/live.py soak [--seconds 60] 500 containers, 50,000 lines/s, a cut every 100 ms, a restart every second
    python benchmarks/live.py idle                2,000 containers that write nothing
    python benchmarks/live.py flood               one container at full speed, beside `kubectl logs -f`

Each line of the soak carries a serial number; the lines that reached the classifier are written down and counted afterwards, so that
counting costs the collector nothing. Of the failing ones (1 %) the matches are counted as well. The output is Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT)]

PROXY = "istio-proxy"
LINE = (
    '[{time}] "GET /reviews/{n} HTTP/1.1" {failing} - "-" 0 {a} {b} - "-" "Mozilla/5.0 (X11; Linux x86_64) Firefox/142" '
    '"41dbb472-e31e-457f-a70c-{n:012d}" "reviews:9080" "10.0.1.7:9080" outbound|9080||reviews.default.svc.cluster.local '
    "10.1.1.1:54556 10.96.0.1:9080 10.1.1.1:55722 - default"
)
SERIAL = re.compile(rb"a70c-(\d{12})")
FAILING = "503 UH no_healthy_upstream"
FINE = "200 - via_upstream"


def kubeconfig(folder: Path, url: str, namespace: str = "default") -> Path:
    """A kubeconfig of a server."""
    path = folder / "kubeconfig.json"
    context = {"cluster": "bench", "user": "bench", "namespace": namespace}
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "contexts": [{"name": "bench", "context": context}],
        "clusters": [{"name": "bench", "cluster": {"server": url}}],
        "users": [{"name": "bench", "user": {}}],
    }  # fmt: skip
    path.write_text(json.dumps(config))
    return path


# --- the server's side: python benchmarks/live.py serve-…


async def serve_soak(containers: int, rate: int, seconds: float, cut_every: float, restart_every: float) -> None:
    """Serves containers that write numbered lines, cuts their streams and starts them again."""
    from tests.live.apiserver import ApiServer
    from tests.live.cluster import Cluster
    from tests.live.faults import Faults
    from tests.live.load import mesh

    cluster = Cluster(lossy=False)
    pods = mesh(cluster, containers)
    dice = random.Random(1)
    async with ApiServer(cluster) as server:
        print(json.dumps({"url": server.url}), flush=True)
        await server.until(lambda: len({s.pod.key for s in server.open_streams}) >= containers, 120)
        server.faults = Faults(1, cut_every=cut_every)
        began, cpu = time.monotonic(), time.process_time()
        number = turn = restarts = 0
        due = restart_every
        per_turn = max(1, rate // (containers * 10))  # each container writes ten times a second
        while (now := time.monotonic() - began) < seconds:
            stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            while number < now * rate:
                lines = []
                for n in range(number, number + per_turn):
                    failing = FAILING if n % 100 == 0 else FINE
                    lines.append(LINE.format(time=stamp, n=n, failing=failing, a=n % 5000, b=n % 300).encode())
                cluster.write(pods[turn % containers], PROXY, *lines)
                number, turn = number + per_turn, turn + 1
            if now >= due:
                cluster.restart(pods[dice.randrange(containers)], PROXY)
                due, restarts = due + restart_every, restarts + 1
            await asyncio.sleep(0.01)
        took = time.monotonic() - began
        server.faults = Faults()
        stats = server.stats
        report = {
            "written": number, "seconds": took, "restarts": restarts, "cuts": stats["cut.end"] + stats["cut.reset"],
            "cpu": time.process_time() - cpu, "ended": time.time(),
        }  # fmt: skip
        print(json.dumps(report), flush=True)
        await asyncio.sleep(3600)


async def serve_idle(containers: int) -> None:
    """Serves containers that have written ten lines each, and write no more."""
    from tests.live.apiserver import ApiServer
    from tests.live.cluster import Cluster
    from tests.live.load import mesh

    cluster = Cluster(lossy=False)
    for pod in mesh(cluster, containers):
        cluster.write(pod, PROXY, *[b"2026-11-22T10:00:00.000000Z\tinfo\tEnvoy proxy is ready"] * 10)
    async with ApiServer(cluster) as server:
        print(json.dumps({"url": server.url}), flush=True)
        await server.until(lambda: len({s.pod.key for s in server.open_streams}) >= containers, 120)
        print(json.dumps({"followed": containers}), flush=True)
        await asyncio.sleep(3600)


@contextlib.contextmanager
def server(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A server in a process of its own; its lines of JSON are read from its output."""
    command = [sys.executable, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next thing that a server says."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit("the server ended")
    value: dict[str, Any] = json.loads(line)
    return value


# --- the collector's side, each in a process of its own: python benchmarks/live.py collect-…


async def collect_soak(config: str, out: str, said: str) -> None:
    """Follows everything, writes down what reached the classifier, ends when `said` appears and all has come."""
    import meshdiag
    from meshdiag.sources.live import Lines

    matches: dict[str, int] = {}
    behind: list[float] = []
    gaps = 0
    cpu = time.process_time()
    live = meshdiag.tail(kubeconfig=config, all_namespaces=True)
    began = time.monotonic()
    with open(out, "wb", buffering=1 << 20) as file:  # noqa: PTH123
        quiet = 0.0
        async with contextlib.aclosing(live.steps()) as steps:
            async for step in steps:
                data = [e.data for e in step.events if isinstance(e, Lines)]
                for piece in data:
                    file.write(piece)
                for match in step.matches:
                    key = match.record.fields.get("request_id", "")
                    matches[key] = matches.get(key, 0) + 1
                now = time.monotonic()
                if data:
                    quiet = now
                    newest = data[-1][data[-1].rfind(b"\n", 0, -1) + 1 :][:19].decode()
                    behind.append(time.time() - datetime.fromisoformat(newest).replace(tzinfo=UTC).timestamp())
                elif os.path.exists(said) and now - quiet > 3:  # noqa: PTH110
                    break
    gaps = len(live.flow.gaps)
    report = {
        "cpu": time.process_time() - cpu, "seconds": quiet - began, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "matches": len(matches), "matched_twice": sum(1 for n in matches.values() if n > 1), "gaps": gaps,
        "problems": len(live.flow.problems), "last": time.time() - (time.monotonic() - quiet), "lines": live.flow.lines,
        "findings": [(f.cause, f.count) for f in live.diagnosis.failures][:3],
    }  # fmt: skip
    print(json.dumps(report), flush=True)


async def collect_idle(config: str, seconds: float) -> None:
    """Follows everything for a while; tells what that costs once all streams are open."""
    import meshdiag

    live = meshdiag.tail(kubeconfig=config, all_namespaces=True)
    began = cpu = None
    report: dict[str, float] = {}
    async with contextlib.aclosing(live.steps(matches=False)) as steps:
        async for _ in steps:
            now = time.monotonic()
            if began is None and live.flow.lines >= 20_000:
                began = now + 3  # until the last ones are open
            elif began is not None and cpu is None and now > began:
                cpu = time.process_time()
            elif cpu is not None and began is not None and now - began > seconds:
                rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                report = {"core": (time.process_time() - cpu) / (now - began), "memory": rss, "seconds": now - began}
                break
    print(json.dumps(report), flush=True)


def soak(seconds: float, containers: int, rate: int) -> None:
    """500 containers, 50,000 lines/s, a cut every 100 ms, a restart every second: missing, doubled, late?"""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines, said = folder / "lines", folder / "said"
        numbers = [str(containers), str(rate), str(seconds)]
        with server(str(HERE / "live.py"), "serve-soak", *numbers) as api:
            config = kubeconfig(folder, told(api)["url"])
            command = [sys.executable, str(HERE / "live.py"), "collect-soak", str(config), str(lines), str(said)]
            collector = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            written = told(api)
            said.touch()
            output, _ = collector.communicate(timeout=300)
        got = json.loads(output)
        seen = bytearray(written["written"])
        with lines.open("rb") as file:
            while block := file.readlines(64 << 20):
                for n in SERIAL.findall(b"".join(block)):
                    seen[int(n)] = min(seen[int(n)] + 1, 255)
        missing, doubled = seen.count(0), len(seen) - seen.count(0) - seen.count(1)
        total = written["written"]
        expected = len(range(0, total, 100))
        print(f"\n### Soak: {containers} containers, {rate:,} lines/s, {seconds:.0f} s\n")
        print("| what | measured |\n| --- | --- |")
        print(
            f"| lines written | {total:,} ({total / written['seconds']:,.0f}/s), {written['cuts']} cuts, {written['restarts']} restarts |"
        )
        print(f"| missing, doubled | {missing}, {doubled} |")
        print(f"| matches of failing lines | {got['matches']:,} of {expected:,}, {got['matched_twice']} twice |")
        print(f"| gaps told, notes | {got['gaps']}, {got['problems']} |")
        print(f"| behind at the end | {got['last'] - written['ended']:.2f} s |")
        print(f"| CPU of the collector | {got['cpu']:.1f} s, {got['cpu'] / total * 1e6:.1f} s for a million lines |")
        print(f"| CPU of the server | {written['cpu']:.1f} s |")
        print(f"| peak memory of the collector | {got['memory']:.0f} MB |")


def idle(containers: int, seconds: float) -> None:
    """Many containers that write nothing: what does following them cost?"""
    with tempfile.TemporaryDirectory() as name:
        with server(str(HERE / "live.py"), "serve-idle", str(containers)) as api:
            config = kubeconfig(Path(name), told(api)["url"])
            command = [sys.executable, str(HERE / "live.py"), "collect-idle", str(config), str(seconds)]
            output = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True, timeout=300
            ).stdout
        got = json.loads(output)
        print(f"\n### {containers:,} idle containers\n")
        print("| what | measured |\n| --- | --- |")
        print(f"| CPU | {100 * got['core']:.1f} % of a core over {got['seconds']:.0f} s |")
        print(f"| peak memory | {got['memory']:.0f} MB |")


def flood(size: int, runs: int) -> None:
    """One container at full speed: `meshdiag tail` beside `kubectl logs -f` into a file, from the same server."""
    print(f"\n### One container at full speed, {size / 1e9:.1f} GB\n")
    print("| reader | MB/s (best of runs) | CPU |\n| --- | --- | --- |")
    pod, namespace = "app0-7d9c5b8f6-00000", "load-0"
    programs = {
        "meshdiag tail": [sys.executable, "-m", "meshdiag", "tail", "-n", namespace, "--since", "1h", "-o", "jsonl"]
    }
    if shutil.which("kubectl"):
        kubectl = ["kubectl", "logs", "-f", "-n", namespace, pod, "-c", PROXY, "--timestamps"]
        programs = {"kubectl logs -f --timestamps": kubectl, "kubectl logs -f": kubectl[:-1], **programs}
    for label, command in programs.items():
        best, cost = 0.0, 0.0
        for _ in range(runs):
            with tempfile.TemporaryDirectory() as name, server("-m", "tests.live.load", "--flood", str(size)) as api:
                config = kubeconfig(Path(name), told(api)["url"])
                environment = os.environ | {"KUBECONFIG": str(config)}
                with (Path(name) / "out").open("wb") as out:
                    before = resource.getrusage(resource.RUSAGE_CHILDREN)
                    reader = subprocess.Popen(command, stdout=out, env=environment, cwd=ROOT)
                    report = told(api)
                    reader.terminate()
                    reader.wait(30)
                    after = resource.getrusage(resource.RUSAGE_CHILDREN)
                speed = report["sent_bytes"] / report["seconds"] / 1e6
                if speed > best:
                    best = speed
                    cost = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"| {label} | {best:,.0f} | {cost:.1f} s |", flush=True)


def main() -> None:
    """Command line."""
    if len(sys.argv) > 1 and sys.argv[1].startswith(("serve-", "collect-")):
        part, rest = sys.argv[1], sys.argv[2:]
        with contextlib.suppress(KeyboardInterrupt):
            match part:
                case "serve-soak":
                    asyncio.run(serve_soak(int(rest[0]), int(rest[1]), float(rest[2]), 0.1, 1.0))
                case "serve-idle":
                    asyncio.run(serve_idle(int(rest[0])))
                case "collect-soak":
                    asyncio.run(collect_soak(*rest))
                case "collect-idle":
                    asyncio.run(collect_idle(rest[0], float(rest[1])))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", nargs="?", choices=("soak", "idle", "flood"))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--containers", type=int, default=500)
    parser.add_argument("--rate", type=int, default=50_000)
    parser.add_argument("--idle", type=int, default=2_000)
    parser.add_argument("--bytes", type=int, default=2_000_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    if options.part in (None, "soak"):
        soak(options.seconds, options.containers, options.rate)
    if options.part in (None, "idle"):
        idle(options.idle, min(options.seconds, 30))
    if options.part in (None, "flood"):
        flood(options.bytes, options.runs)


if __name__ == "__main__":
    main()
