"""Measures snapshots of a cluster that is made up: 2,000 pods, 500 Istio objects, and what belongs to them.

    python benchmarks/cluster.py                  load from files and live, and all checks
    python benchmarks/cluster.py --pods 5000

Each part runs in a process of its own; memory is what that process held at most, before and after. The live cluster is a server in another
process (tests/live), which takes a part of the same cores. The output is Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE)]

from live import kubeconfig, server, told  # noqa: E402
from measure import table  # noqa: E402

ISTIO = ("VirtualService", "DestinationRule", "AuthorizationPolicy", "PeerAuthentication", "ServiceEntry")
NAMESPACES = 40
ISTIO_OBJECTS = 500


def named(kind: str, api: str, name: str, namespace: str = "", **more: Any) -> dict[str, Any]:
    """An object; `labels` go to its metadata."""
    meta: dict[str, Any] = {"name": name, "creationTimestamp": "2026-11-22T10:00:00Z", "resourceVersion": "1"}
    if namespace:
        meta["namespace"] = namespace
    if labels := more.pop("labels", None):
        meta["labels"] = labels
    return {"apiVersion": api, "kind": kind, "metadata": meta, **more}


def objects(pods: int) -> Iterator[dict[str, Any]]:
    """The cluster without its pods: apps of four pods each, with service, endpoints and deployment, and Istio's objects."""
    from tests.live.exchanges import POD

    for n in range(NAMESPACES):
        yield named("Namespace", "v1", f"team-{n}", labels={"istio-injection": "enabled"})
        yield named("ServiceAccount", "v1", "default", f"team-{n}")
    yield named("Namespace", "v1", "istio-system")
    for n in range(max(1, pods // 50)):
        size = {"cpu": "8", "memory": "32Gi"}
        yield named("Node", "v1", f"node-{n}", status={"allocatable": size, "capacity": size})
    control = {"app": "istiod", "istio.io/rev": "default"}
    image = {"name": "discovery", "image": "docker.io/istio/pilot:1.28.1"}
    template = {"metadata": {"labels": control}, "spec": {"containers": [image]}}
    yield named(
        "Deployment", "apps/v1", "istiod", "istio-system", labels=control, spec={"replicas": 1, "template": template}
    )
    mesh = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\nrootNamespace: istio-system\n"
    yield named("ConfigMap", "v1", "istio", "istio-system", data={"mesh": mesh})
    for n in range(pods // 4):
        space, app = f"team-{n % NAMESPACES}", f"app-{n}"
        port = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}
        yield named("Service", "v1", app, space, spec={"selector": {"app": app}, "ports": [port]})
        ends = [{"addresses": [f"10.{n // 250}.{n % 250}.{i}"], "conditions": {"ready": True}} for i in range(4)]
        label = {"kubernetes.io/service-name": app}
        ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
        yield named(
            "EndpointSlice",
            "discovery.k8s.io/v1",
            f"{app}-x",
            space,
            labels=label,
            addressType="IPv4",
            endpoints=ends,
            ports=ports,
        )
        template = {
            "metadata": {"labels": {"app": app, "version": "v1"}},
            "spec": {"containers": POD["spec"]["containers"][1:]},
        }
        spec = {"replicas": 4, "selector": {"matchLabels": {"app": app}}, "template": template}
        yield named("Deployment", "apps/v1", app, space, spec=spec, status={"readyReplicas": 4, "replicas": 4})
    for n in range(ISTIO_OBJECTS):
        place = n // len(ISTIO) % (pods // 4)
        kind, app, space = ISTIO[n % len(ISTIO)], f"app-{place}", f"team-{place % NAMESPACES}"
        host = f"{app}.{space}.svc.cluster.local"
        group = "security" if kind in ("AuthorizationPolicy", "PeerAuthentication") else "networking"
        spec = {
            "VirtualService": {"hosts": [host], "http": [{"route": [{"destination": {"host": host, "subset": "v1"}}]}]},
            "DestinationRule": {"host": host, "subsets": [{"name": "v1", "labels": {"version": "v1"}}]},
            "AuthorizationPolicy": {"selector": {"matchLabels": {"app": app}}, "rules": [{"from": [{"source": {"namespaces": [space]}}]}]},
            "PeerAuthentication": {"selector": {"matchLabels": {"app": app}}, "mtls": {"mode": "STRICT"}},
            "ServiceEntry": {"hosts": [f"api-{n}.example.com"], "ports": [{"number": 443, "name": "tls", "protocol": "TLS"}]},
        }[kind]  # fmt: skip
        yield named(kind, f"{group}.istio.io/v1", f"{app}-{n}", space, spec=spec)


def pod_of(cluster: Any, n: int) -> Any:
    """A pod with a sidecar."""
    from tests.live import pods as made

    app = f"app-{n // 4}"
    name = f"{app}-7d9c5b8f6-{n % 4}{n % 7}x2k"
    return made.sidecar_pod(cluster, f"team-{n // 4 % NAMESPACES}", name, app=app, labels={"version": "v1"})


def filled(pods: int) -> Any:
    """A server of the cluster, not started."""
    from meshdiag.cluster.objects import RESOURCES
    from tests.live.apiserver import ApiServer
    from tests.live.cluster import Cluster

    cluster = Cluster(history=10)
    api = ApiServer(cluster)
    api.store.install(*(k for k in RESOURCES if k != "Pod"))
    for n in range(NAMESPACES):
        cluster.add_namespace(f"team-{n}", {"istio-injection": "enabled"})
    for n in range(pods):
        pod_of(cluster, n)
    for one in objects(pods):
        if one["kind"] != "Namespace":
            api.store.add(one)
    return api


async def serve(pods: int) -> None:
    """Serves it."""
    async with filled(pods) as api:
        print(json.dumps({"url": api.url}), flush=True)
        await asyncio.sleep(3600)


def write(pods: int, folder: Path) -> None:
    """The same as `kubectl get -A -o yaml` and `-o json` print it, all kinds in a file."""
    import yaml

    api = filled(pods)
    items = [json.loads(p.object.whole) for p in api.cluster.pods.values()] + list(objects(pods))
    for item in items:
        item["metadata"].pop("managedFields", None)  # as kubectl leaves them out
    whole = {"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}
    (folder / "state.json").write_text(json.dumps(whole, indent=4))
    with (folder / "state.yaml").open("w") as file:
        yaml.dump(whole, file, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper))


def used() -> float:
    """MB that this process held at most. Linux's `ru_maxrss` will not do: it starts from what the parent held."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(
            int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM:")
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)  # macOS counts bytes


def measure(what: str, source: str) -> None:
    """One part, in this process: loads, and for `checks` asks all of them."""
    from meshdiag.cluster import About, checks, load

    if what == "live":
        import meshdiag.sources.kubernetes.api  # noqa: F401

    before, began, cpu = used(), time.perf_counter(), time.process_time()
    snapshot = load(kubeconfig=source) if what == "live" else load(source)
    report: dict[str, Any] = {"objects": len(snapshot.objects), "unread": len(snapshot.unread)}
    if what == "checks":
        before, began, cpu = used(), time.perf_counter(), time.process_time()
        each = {}
        for name, check in checks().items():
            start = time.perf_counter()
            check.ask(snapshot, About())
            each[name] = time.perf_counter() - start
        report["each"] = each
    report |= {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "before": before,
        "after": used(),
    }
    print(json.dumps(report), flush=True)


def run(what: str, source: Path, runs: int) -> dict[str, Any]:
    """The quickest of several runs of a part."""
    command = [sys.executable, str(HERE / "cluster.py"), f"measure-{what}", str(source)]
    done = [
        json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout)
        for _ in range(runs)
    ]
    best: dict[str, Any] = min(done, key=lambda d: d["seconds"])
    return best


def main() -> None:
    """Command line."""
    if len(sys.argv) > 1 and sys.argv[1] == "serve":
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(int(sys.argv[2])))
        return
    if len(sys.argv) > 1 and sys.argv[1].startswith("measure-"):
        measure(sys.argv[1].removeprefix("measure-"), sys.argv[2])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pods", type=int, default=2_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    rows: list[list[object]] = []

    def row(label: str, got: dict[str, Any]) -> None:
        rows.append([label, got["objects"], got["seconds"], got["cpu"], got["before"], got["after"]])

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(options.pods, folder)
        for file in ("state.json", "state.yaml"):
            row(f"{file}, {(folder / file).stat().st_size / 1e6:.0f} MB", run("files", folder / file, options.runs))
        with server(str(HERE / "cluster.py"), "serve", str(options.pods)) as api:
            row("live", run("live", kubeconfig(folder, told(api)["url"]), options.runs))
        asked = run("checks", folder / "state.json", options.runs)
        row(f"all {len(asked['each'])} checks", asked)
    head = ["what", "objects", "seconds", "CPU seconds", "MB before", "MB after"]
    table(f"Snapshot of {options.pods:,} pods and {ISTIO_OBJECTS} Istio objects", head, rows)
    slowest = sorted(asked["each"].items(), key=lambda e: -e[1])[:8]
    table("The slowest checks", ["check", "ms"], [[n, 1000 * s] for n, s in slowest])


if __name__ == "__main__":
    main()
