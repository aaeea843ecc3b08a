"""Log levels are raised in a real Envoy through exec, and in istiod through a port-forward; the previous ones always come back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshdiag.cli import main
from meshdiag.fixing import Journal, State, loggers
from meshdiag.fixing.loggers import chosen, levels_of, parse_levels
from meshdiag.fixing.refusals import Refused
from meshdiag.model import MeshdiagError
from meshdiag.sources.kubernetes.select import pod_of
from tests.conftest import ROOT
from tests.fixing.conftest import Run
from tests.live import apiserver, pods
from tests.live.access import User
from tests.live.apiserver import ApiServer
from tests.live.cluster import Cluster

sys.path.append(str(ROOT / "tests" / "envoy"))  # pytest puts it there only when its tests are run, too
from harness import Envoy, bootstrap

WEB = "shop/web-7d6c5f9b84-abcde"
ISTIOD = "istio-system/istiod-6b8f7d5c9-pqrst"


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    with Envoy(bootstrap(), tmp_path_factory.mktemp("envoy")) as envoy:
        yield envoy.ready()


class ControlZ:
    """istiod's scopes (`pkg/ctrlz/topics/scopes.go`)."""

    def __init__(self) -> None:
        self.scopes = {
            name: {
                "name": name,
                "description": "",
                "output_level": level,
                "stack_trace_level": "none",
                "log_callers": False,
            }
            for name, level in (("ads", "info"), ("default", "info"), ("grpc", "none"))
        }

    def __call__(self, pod: str, port: int, request: bytes) -> bytes | None:
        if port != 9876:
            return None
        head, _, body = request.partition(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
        name = path.removeprefix("/scopej/")
        if name and name not in self.scopes:
            return b"HTTP/1.0 400 Bad Request\r\n\r\nunknown scope name: " + name.encode()
        if method == "PUT":
            self.scopes[name] = json.loads(body)
            return b"HTTP/1.0 202 Accepted\r\nContent-Length: 0\r\n\r\n"
        answer = json.dumps(self.scopes[name] if name else list(self.scopes.values())).encode()
        return b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer)


@pytest.fixture
def controlz() -> ControlZ:
    return ControlZ()


@pytest.fixture
def mesh(server: ApiServer, cluster: Cluster, envoy: Envoy, controlz: ControlZ) -> ApiServer:
    def agent(pod: str, container: str, command: list[str]) -> tuple[bytes, bytes, int]:
        """`pilot-agent request METHOD PATH`, as it is in the proxy's container."""
        assert (container, command[:2]) == ("istio-proxy", ["pilot-agent", "request"])
        asked = urllib.request.Request(f"http://{envoy._admin}/{command[3]}", method=command[2])
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:
                return answer.read(), b"", 0
        except urllib.error.HTTPError as e:
            return b"", f"Error: received {e.code}: {e.read().decode()}".encode(), 255

    server.exec, server.listen = agent, controlz
    pods.sidecar_pod(cluster, "shop", WEB.partition("/")[2], app="web")
    pods.istiod(cluster)
    return server


def levels(envoy: Envoy) -> dict[str, str]:
    asked = urllib.request.Request(f"http://{envoy._admin}/logging", method="POST")
    with urllib.request.urlopen(asked, timeout=5) as answer:
        return levels_of(answer.read().decode())


def named(mesh: ApiServer, name: str) -> Any:
    pod = pod_of(mesh.cluster.pods[name].object.data)
    assert pod is not None
    return [pod]


def test_a_real_envoy_and_back(mesh: ApiServer, envoy: Envoy, run: Run, journal: Journal) -> None:
    before = levels(envoy)
    assert {"http", "router", "upstream"} <= before.keys()

    async def steps(api: Any) -> Any:
        found = await loggers.targets(
            api, named(mesh, WEB), {"http": "debug", "router": "trace", "upstream": before["upstream"]}
        )
        assert found[0].before == {"http": before["http"], "router": before["router"]}
        entry = loggers.begin(api, journal, found, "deeper")
        await loggers.raise_levels(api, found)
        raised = levels(envoy)
        assert raised == {**before, "http": "debug", "router": "trace"}
        return await loggers.restore(api, journal, entry)

    entry, failed = run(steps)
    assert (levels(envoy), failed, journal.get(entry.id).standing) == (before, [], State.DONE)


def test_all_loggers_and_one_that_somebody_else_sets_meanwhile(
    mesh: ApiServer, envoy: Envoy, run: Run, journal: Journal
) -> None:
    before = levels(envoy)

    async def steps(api: Any) -> Any:
        found = await loggers.targets(api, named(mesh, WEB), {"all": "info"})
        entry = loggers.begin(api, journal, found, "deeper")
        await loggers.raise_levels(api, found)
        assert set(levels(envoy).values()) == {"info"}
        urllib.request.urlopen(
            urllib.request.Request(f"http://{envoy._admin}/logging?http=error", method="POST"), timeout=5
        ).close()
        return await loggers.restore(api, journal, entry)

    run(steps)
    assert levels(envoy) == {**before, "http": "error"}
    urllib.request.urlopen(
        urllib.request.Request(f"http://{envoy._admin}/logging?http={before['http']}", method="POST"), timeout=5
    ).close()


def test_istiod_through_a_port_forward(mesh: ApiServer, controlz: ControlZ, run: Run, journal: Journal) -> None:
    async def steps(api: Any) -> None:
        found = await loggers.targets(api, named(mesh, ISTIOD), {"ads": "debug"})
        entry = loggers.begin(api, journal, found, "deeper")
        await loggers.raise_levels(api, found)
        assert controlz.scopes["ads"]["output_level"] == "debug"
        assert controlz.scopes["ads"]["stack_trace_level"] == "none"
        await loggers.restore(api, journal, entry)

    run(steps)
    assert {n: s["output_level"] for n, s in controlz.scopes.items()} == {
        "ads": "info",
        "default": "info",
        "grpc": "none",
    }


def test_a_pod_that_is_gone_needs_nothing(mesh: ApiServer, run: Run, journal: Journal) -> None:
    async def steps(api: Any) -> Any:
        found = await loggers.targets(api, named(mesh, ISTIOD), {"ads": "debug"})
        entry = loggers.begin(api, journal, found, "deeper")
        mesh.cluster.recreate(ISTIOD)
        requests = len(mesh.requests)
        done = await loggers.restore(api, journal, entry)
        assert [r.verb for r in mesh.requests[requests:]] == ["get"]
        return done

    entry, failed = run(steps)
    assert (entry.standing, failed) == (State.DONE, [])


def test_refusals(mesh: ApiServer, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may not, a command that fails, a port where nothing listens: each says so."""
    mesh.exec = lambda *_: (b"", b"Error: connection refused", 1)
    with pytest.raises(Refused, match="exit status 1: Error: connection refused"):
        run(lambda api: loggers.targets(api, named(mesh, WEB), {"http": "debug"}))
    mesh.exec = None
    with pytest.raises(Refused, match="answered 500 to a WebSocket"):
        run(lambda api: loggers.targets(api, named(mesh, WEB), {"http": "debug"}))
    mesh.listen = lambda *_: None
    with pytest.raises(Refused, match="connection refused"):
        run(lambda api: loggers.targets(api, named(mesh, ISTIOD), {"ads": "debug"}))
    monkeypatch.setattr(apiserver, "ADMIN", User("reader", (("get", "pods", "*"), ("list", "pods", "*"))))
    with pytest.raises(
        Refused, match=r'cannot get resource "pods/exec".*verbs get and create on resource pods/exec in namespace shop'
    ):
        run(lambda api: loggers.targets(api, named(mesh, WEB), {"http": "debug"}))


def test_what_is_asked_for() -> None:
    assert parse_levels(["http=debug,router=warn", "all=off"]) == {"http": "debug", "router": "warning", "all": "off"}
    for bad, says in (
        ("http", "give SCOPE=LEVEL"),
        ("http=loud", "is no level"),
        ("a&b=debug", "give SCOPE=LEVEL"),
        ("=debug", "give SCOPE"),
    ):
        with pytest.raises(MeshdiagError, match=says):
            parse_levels([bad])
    have = {"http": "warning", "http2": "info"}
    assert chosen(have, {"all": "debug", "http2": "info"}, False) == {"http": "debug"}
    with pytest.raises(MeshdiagError, match="did you mean http"):
        chosen(have, {"htttp": "debug"}, False)
    assert chosen({"ads": "info"}, {"ads": "warning"}, True) == {"ads": "warn"}


# as a user runs it


@pytest.fixture
def environment(kubeconfig: Path, journal: Journal) -> dict[str, str]:
    return {**os.environ, "KUBECONFIG": str(kubeconfig), "MESHDIAG_STATE_DIR": str(journal.folder), "NO_COLOR": "1"}


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "meshdiag", "log-level", *arguments, "--yes"]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_lines_are_shown_and_the_levels_come_back(mesh: ApiServer, envoy: Envoy, environment: dict[str, str]) -> None:
    before = levels(envoy)
    process = start(environment, "deploy/web", "http=debug", "--for", "3s")
    wait(lambda: mesh.streams(WEB))
    assert levels(envoy)["http"] == "debug"
    mesh.cluster.write(WEB, "istio-proxy", b"debug envoy http\tsays \x1b[2Jmore, authorization: Bearer abcdefghijkl")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert f"Pod {WEB} istio-proxy: http: {before['http']} -> debug" in out
    assert f"{WEB} debug envoy http\tsays \\x1b[2Jmore, authorization: Bearer <credential:" in out
    assert "The previous levels are set again." in err
    assert levels(envoy) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(
    mesh: ApiServer, envoy: Envoy, environment: dict[str, str], journal: Journal, tmp_path: Path, number: int, code: int
) -> None:
    before = levels(envoy)
    process = start(environment, "deploy/web", "http=debug", "--for", "5m", "--save", str(tmp_path / "deep"))
    wait(lambda: mesh.streams(WEB))
    assert levels(envoy)["http"] == "debug"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert levels(envoy) == before
    assert journal.get(1).standing is State.DONE


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("deploy/web", "htttp=debug"), "no logger is named 'htttp': did you mean http"),
        (("deploy/web", "http"), "give SCOPE=LEVEL"),
        (("deploy/nope", "http=debug"), "none of the"),
        (("deploy/web", "http=debug", "--max-pods", "0"), "1 pods match, and debug logs are large"),
        (("-n", "istio-system", "istiod", "ads=debug"), "no\\x1b[2J kubelet"),
    ],
)
def test_mistakes(
    mesh: ApiServer,
    environment: dict[str, str],
    journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: Any,
    says: str,
) -> None:
    for name in ("KUBECONFIG", "MESHDIAG_STATE_DIR"):
        monkeypatch.setenv(name, environment[name])
    mesh.listen = lambda *_: b"HTTP/1.0 500 Oops\r\n\r\nno\x1b[2J kubelet"
    code = main(["log-level", *arguments, "--yes"])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert says in err and "\x1b" not in err
    assert not journal.folder.exists()


def test_killed_and_undone(mesh: ApiServer, envoy: Envoy, environment: dict[str, str], journal: Journal) -> None:
    before = levels(envoy)
    process = start(environment, "deploy/web", "http=debug", "--for", "5m")
    wait(lambda: mesh.streams(WEB))
    process.kill()
    process.communicate(timeout=60)
    assert levels(envoy)["http"] == "debug"
    listed = subprocess.run(
        [sys.executable, "-m", "meshdiag", "undo"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert "perhaps not set back: `meshdiag undo 1` does" in listed.stdout
    command = [sys.executable, "-m", "meshdiag", "undo", "1", "--yes"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, levels(envoy)) == (0, before), done.stderr
    assert f"http: debug -> {before['http']}" in done.stdout
