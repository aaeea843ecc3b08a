"""`meshdiag check` and `rollback` as a user runs them: on files, and on a live cluster with and without rights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshdiag.cli import main
from meshdiag.cluster import checks
from meshdiag.cluster.objects import RESOURCES
from tests.cluster.snapshots import istiod, obj, pod, service
from tests.live import pods
from tests.live.access import User
from tests.live.apiserver import ApiServer
from tests.live.cluster import Cluster

SAMPLES = Path(__file__).parents[1] / "sample_logs"
STRICT = str(SAMPLES / "05-strict-mtls-plaintext" / "cluster")
NO_SIDECAR = str(SAMPLES / "21-no-sidecar" / "cluster")


def state(folder: Path, *objects: object) -> str:
    """A file with objects, as kubectl prints them."""
    path = folder / "state.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [o.raw for o in objects]}))  # type: ignore[attr-defined]
    return str(path)


def test_list_names_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(checks()) and all(line.endswith("?") for line in lines)


def test_the_exit_code_says_whether_anything_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", STRICT, "--only", "istiod-health"]) == 0
    assert main(["check", NO_SIDECAR, "--phase", "2"]) == 1
    assert main(["check", "missing.yaml"]) == 2
    assert "missing.yaml" in capsys.readouterr().err
    assert main(["check", STRICT, "--only", "injektion"]) == 2
    assert "name one of injection" in capsys.readouterr().err


@pytest.mark.parametrize("profile", ["adoption", "development", "production", "after"])
def test_profiles(profile: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", STRICT, "--profile", profile]) in (0, 1)
    out = capsys.readouterr().out
    assert out.count("✓") + out.count("✗") + out.count("? ") > 3 and "fine" in out


@pytest.mark.parametrize("phase", "1234")
def test_phases(phase: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", STRICT, "--phase", phase]) in (0, 1)
    assert f"Phase {phase}" in capsys.readouterr().out


def test_markdown_is_a_checklist(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", NO_SIDECAR, "--phase", "2", "-o", "markdown"])
    out = capsys.readouterr().out
    assert "- [ ] **" in out and "- [x] **" in out and "```sh" in out


def test_istioctl_analyze_and_logs_answer_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    messages = [
        {
            "code": "IST0101",
            "level": "Error",
            "message": 'Referenced host not found: "x"',
            "origin": "VirtualService shop/web",
        }
    ]
    (tmp_path / "analyze.json").write_text(json.dumps(messages))
    logs = str(SAMPLES / "06-blocked-egress" / "shop-checkout.log")
    assert (
        main(
            [
                "check",
                STRICT,
                "--profile",
                "after",
                "--analyze",
                str(tmp_path / "analyze.json"),
                "--logs",
                logs,
                "-o",
                "json",
            ]
        )
        == 1
    )
    answers = {a["check"]: a for a in json.loads(capsys.readouterr().out)["answers"]}
    assert (
        answers["istioctl-analyze"]["verdict"]
        == answers["logs"]["verdict"]
        == answers["external-calls"]["verdict"]
        == "confirmed"
    )
    assert main(["check", STRICT, "--analyze", "missing.json"]) == 2


def test_hostile_objects_are_shown_safely(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = pod("web-6c9dbf6b45-s2fnt", labels={"app": "\x1b]0;x\x07"}, ready=False)
    main(
        [
            "check",
            state(tmp_path, service("web"), evil, obj("Namespace", "shop", labels={"istio-injection": "\x1b[31m"})),
            "-v",
        ]
    )
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\x07" not in out


def test_rollback_prints_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollback", STRICT]) == 0
    out = capsys.readouterr().out
    assert out.index("Save what there is") < out.index("Take the sidecars away") < out.index("Uninstall Istio")
    assert "kubectl -n shop rollout restart deployment/cart" in out
    assert main(["rollback", STRICT, "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "meshdiag/rollback/v1"
    assert main(["rollback", STRICT, "-o", "markdown"]) == 0
    assert "- [ ] Restart Deployment shop/cart" in capsys.readouterr().out


# --- live


READER = User(
    "reader", (("list", "pods", "*"), ("list", "services", "*"), ("list", "namespaces", "*"), ("get", "pods", "*"))
)


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A cluster in which the service cart selects no pod; the user may read pods, services and namespaces."""
    cluster = Cluster()
    with ApiServer(cluster, tokens={"t": READER}) as server:
        server.store.install(*(k for k in RESOURCES if k != "Pod"))
        cluster.add_namespace("shop", {"istio-injection": "enabled"})
        pods.sidecar_pod(cluster, "shop", "cart-7d6c5f9b84-z6r4p", app="cart")
        server.store.add(service("cart", spec={"selector": {"app": "card"}}).raw)
        for o in istiod():
            if o.ref.kind == "Deployment":
                server.store.add(o.raw)
        path = tmp_path / "config"
        path.write_text(json.dumps(server.kubeconfig("t", "shop")))
        monkeypatch.setenv("KUBECONFIG", str(path))
        monkeypatch.setenv("PATH", str(tmp_path))  # no istioctl
        yield server


def test_what_may_not_be_read_is_not_checkable_and_no_error(
    live: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "-o", "json"]) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    answers = {a["check"]: a for a in found["answers"]}
    assert answers["endpoints"]["verdict"] == "confirmed"
    assert "forbidden" in found["unread"]["PeerAuthentication"]
    for name in ("authorization-policies", "istiod-health", "webhook-config", "rbac-istiod"):
        assert answers[name]["verdict"] == "not checkable", name
    assert not captured.err


def test_a_finding_is_checked_against_the_live_cluster(
    live: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.conftest import access_line

    lines = [
        access_line(
            "503", "UH", "no_healthy_upstream", cluster="outbound|80||cart.shop.svc.cluster.local", host="-", local="-"
        )
    ] * 5
    (tmp_path / "shop_web-5f9c8d7b64-k2x8w_istio-proxy.log").write_text("\n".join(lines) + "\n")
    assert main(["diagnose", str(tmp_path / "shop_web-5f9c8d7b64-k2x8w_istio-proxy.log"), "--cluster", "live"]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "no-healthy-upstream (error, confirmed)" in out and "Service shop/cart: spec.selector" in out


def test_a_cluster_that_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "users": [{"name": "u", "user": {}}],
    }  # fmt: skip
    (tmp_path / "config").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    for command in (["check"], ["rollback"], ["diagnose", STRICT, "--cluster", "live"]):
        assert main(command) == 2
        assert "cannot connect" in capsys.readouterr().err
