"""What a real Envoy writes reaches `tail` through a cluster's API while it is written, whatever happens to the streams."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from scenarios import SCENARIOS, Run

import meshdiag
from meshdiag import Catalogue
from tests.live import pods
from tests.live.apiserver import ApiServer
from tests.live.cluster import Cluster
from tests.live.faults import Faults

PROXY = "istio-proxy"


class Carrier(threading.Thread):
    """As a container runtime: what is appended to a file is a container's log, line by line."""

    def __init__(self, cluster: Cluster, sources: dict[str, Path]) -> None:
        super().__init__(daemon=True)
        self._cluster, self._sources = cluster, sources
        self._read = dict.fromkeys(sources, 0)
        self.done = threading.Event()
        self.written = 0

    def run(self) -> None:
        while not self.done.wait(0.02):
            self.carry()

    def carry(self) -> None:
        """Carries what is new."""
        for pod, path in self._sources.items():
            data = path.read_bytes()[self._read[pod] :] if path.exists() else b""
            whole = data[: data.rfind(b"\n") + 1]
            if whole:
                self._read[pod] += len(whole)
                self._cluster.write(pod, PROXY, *whole.split(b"\n")[:-1])
                self.written += whole.count(b"\n")


def test_live_lines_of_an_envoy(run: Run, catalogue: Catalogue, tmp_path: Path) -> None:
    """Every cause that the scenarios provoke is found live, each failing line once, with streams cut all the time."""
    cluster = Cluster()
    sources = {}
    for number, scenario in enumerate(SCENARIOS):
        name = f"{scenario.name.replace('_', '-')}-7d9c5b8f6-{number:05d}"
        pods.sidecar_pod(cluster, "envoy", name, app=f"app{number}")
        sources[f"envoy/{name}"] = run.around.logs / "text" / f"{scenario.name}.log"
    with ApiServer(cluster) as server:
        config = tmp_path / "kubeconfig"
        config.write_text(json.dumps(server.kubeconfig(namespace="envoy")))
        live = meshdiag.tail(kubeconfig=config, catalogue=catalogue, duration=60)
        carrier = Carrier(cluster, sources)

        def provoke() -> None:
            try:
                server.wait(
                    lambda: len({s.pod.key for s in server.open_streams if s.container == PROXY}) >= len(sources), 30
                )
                server.faults = Faults(7, cut_every=0.05)
                carrier.start()
                for scenario in SCENARIOS:
                    run.log(scenario, "text")
                carrier.done.set()
                carrier.join(5)
                carrier.carry()
                server.faults = Faults()
                threading.Event().wait(3)  # until streams that were cut are back
            finally:
                live.close()

        worker = threading.Thread(target=provoke, daemon=True)
        worker.start()
        matches = [(m.cause, m.record.origin.pod, m.record.offset) for m in live]
        worker.join(10)
    assert live.flow.lines == carrier.written == sum(p.read_bytes().count(b"\n") for p in sources.values())
    assert not live.flow.gaps
    assert len(matches) == len(set(matches))
    expected = {s.expected(run.minor) for s in SCENARIOS} - {""}
    assert expected <= {cause for cause, _, _ in matches}
    assert {f.cause for f in live.diagnosis.failures} == expected
