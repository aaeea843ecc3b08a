"""The five problems of docs/guide.md: found in the logs, confirmed by the state of the cluster, answered with the right command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

import meshdiag
from meshdiag.catalogue import Catalogue
from meshdiag.cli import main
from meshdiag.cluster import Snapshot, load
from meshdiag.model import Confidence
from tests.shell.states import Shell, until

SAMPLES = Path(__file__).parents[1] / "sample_logs"


@dataclass(frozen=True)
class Problem:
    """What a sample is about: its cause, the proof, and what to do."""

    sample: str
    cause: str
    proof: str
    command: str

    @property
    def logs(self) -> Path:
        return SAMPLES / self.sample

    @property
    def state(self) -> Path:
        return self.logs / "cluster"


PROBLEMS = [
    Problem(
        "21-no-sidecar", "sidecar-not-injected", "Namespace shop: metadata.labels",
        """kubectl patch namespaces shop --type merge -p '{"metadata": {"labels": {"istio-injection": "enabled"}}}'""",
    ),
    Problem(
        "07-proxy-stuck-not-ready", "ca-unreachable", "NetworkPolicy shop/cart-egress: spec.egress",
        "kubectl -n shop patch networkpolicies.networking.k8s.io cart-egress --type merge",
    ),
    Problem(
        "05-strict-mtls-plaintext", "mtls-plaintext-to-strict", "PeerAuthentication shop/default: spec.mtls.mode = STRICT",
        """kubectl patch namespaces legacy --type merge -p '{"metadata": {"labels": {"istio-injection": "enabled"}}}'""",
    ),
    Problem(
        "06-blocked-egress", "egress-blocked", "ConfigMap istio-system/istio: data.mesh: outboundTrafficPolicy.mode = REGISTRY_ONLY",
        "kind: ServiceEntry",
    ),
    Problem(
        "22-k3d-node-port", "node-port-unreachable", "Node k3d-mesh-server-0: metadata.name",
        "k3d cluster edit mesh --port-add 8080:30080@loadbalancer",
    ),
]  # fmt: skip

each = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.sample)


def flat(text: str) -> str:
    """Without line ends and the backslashes that continue a command."""
    return " ".join(text.replace("\\\n", " ").split())


@each
def test_the_state_confirms_the_logs(problem: Problem, catalogue: Catalogue) -> None:
    diagnosis = meshdiag.diagnose(problem.logs, cluster=problem.state, catalogue=catalogue)
    first = diagnosis.findings[0]
    assert (first.cause, first.confidence) == (problem.cause, Confidence.CONFIRMED)
    assert any(str(p).startswith(problem.proof) for p in first.proofs)
    without = meshdiag.diagnose(problem.logs, catalogue=catalogue).findings[0]
    assert without.cause == problem.cause and not without.proofs, "the logs alone say what, not why"


@each
def test_on_the_command_line(
    problem: Problem, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    assert main(["diagnose", str(problem.logs), "--cluster", str(problem.state), "-v"]) == 1
    said = flat(capsys.readouterr().out)
    assert "confirmed" in said and problem.proof in said and problem.command in said


@each
def test_in_the_shell(problem: Problem, catalogue: Catalogue) -> None:
    with Shell(catalogue, problem.logs) as shell:
        shell.run(f"cluster {problem.state}")
        until(lambda: shell.work.snapshot is not None, "the state of the cluster")
        shown = flat(shell.shown("show 1", width=140))
        assert "confirmed" in shown
        assert problem.command in shown + flat(shell.shown("fix 1", width=140))
        assert problem.proof.partition(":")[0] in shell.shown("check 1", width=200)


@each
def test_the_state_alone_is_enough_to_see_it(problem: Problem, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", str(problem.state), "-v"])
    assert problem.proof.partition(" ")[2].partition(":")[0] in capsys.readouterr().out


def test_the_refuting_state(catalogue: Catalogue) -> None:
    """Where the rule that the logs speak of is not there, the finding is not confirmed."""
    problem = PROBLEMS[3]
    state = load(problem.state)
    config = next(o for o in state.objects if o.ref.kind == "ConfigMap")
    config.raw["data"]["mesh"] = "outboundTrafficPolicy:\n  mode: ALLOW_ANY\n"  # type: ignore[index]
    opened = Snapshot(state.source, state.objects, state.unread, state.namespaces, state.taken)
    first = next(
        f
        for f in meshdiag.diagnose(problem.logs, cluster=opened, catalogue=catalogue).findings
        if f.cause == problem.cause
    )
    assert first.confidence is not Confidence.CONFIRMED
    assert first.refuted and any(not e.supports for e in first.evidence)
