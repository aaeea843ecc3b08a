"""`meshdiag fix` and `undo` as a user runs them: a process, a terminal, a cluster over HTTP."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshdiag.cli import main
from meshdiag.cli.changing import agreed
from meshdiag.fixing import Journal, Prepared, State
from meshdiag.model import MeshdiagError, Risk
from tests.conftest import access_line
from tests.live import pods
from tests.live.apiserver import ApiServer
from tests.live.cluster import Cluster

WEB = "shop/web-7d6c5f9b84-abcde"


def line(number: int, failing: bool) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    to = {"time": now, "cluster": "outbound|80||cart.shop.svc.cluster.local", "request_id": f"r-{number}"}
    return (
        access_line("503", "UH", "no_healthy_upstream", host="-", local="-", **to) if failing else access_line(**to)
    ).encode()


@pytest.fixture
def mesh(server: ApiServer, cluster: Cluster) -> ApiServer:
    """A service that selects nothing, and a client that fails for it."""
    pods.sidecar_pod(cluster, "shop", WEB.partition("/")[2], app="web")
    pods.sidecar_pod(cluster, "shop", "cart-7d6c5f9b84-z6r4p", app="cart")
    cluster.write(WEB, "istio-proxy", *[line(n, True) for n in range(60)])
    return server


@pytest.fixture
def environment(kubeconfig: Path, journal: Journal) -> dict[str, str]:
    return {
        **os.environ, "KUBECONFIG": str(kubeconfig), "MESHDIAG_STATE_DIR": str(journal.folder), "NO_COLOR": "1", "COLUMNS": "140",
    }  # fmt: skip


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "meshdiag", *arguments]


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Without a terminal."""
    return subprocess.run(
        command(*arguments), env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


class Terminal:
    """A process in a terminal; `until` reads until something is there."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command(*arguments), env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.seen = ""

    def until(self, text: str) -> str:
        end = time.monotonic() + 30
        while text not in self.seen:
            assert time.monotonic() < end, self.seen
            self._more()
        return self.seen

    def _more(self) -> bool:
        if select.select([self.master], [], [], 0.2)[0]:
            with contextlib.suppress(OSError):
                data = os.read(self.master, 65536)
                self.seen += data.decode().replace("\r\n", "\n")
                return bool(data)
            return False
        return True

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> int:
        end = time.monotonic() + 30
        while self._more():
            assert time.monotonic() < end, self.seen
        os.close(self.master)
        return self.process.wait(10)


def selector(server: ApiServer) -> object:
    return server.store.get("", "services", "shop/cart")["spec"]["selector"]


FIX = ("fix", "no-healthy-upstream", "--for", "2s")


def test_without_a_terminal_the_difference_is_shown_and_nothing_done(
    mesh: ApiServer, environment: dict[str, str]
) -> None:
    done = run(environment, *FIX, "--watch", "0", "--force-conflicts")
    assert done.returncode == 2
    assert "-    app: card\n+    app: cart" in done.stdout
    assert "nothing was changed: there is no terminal to ask on" in done.stderr
    assert selector(mesh) == {"app": "card"}


def test_conflicts_are_refused(mesh: ApiServer, environment: dict[str, str], journal: Journal) -> None:
    done = run(environment, *FIX)
    assert done.returncode == 2
    assert "Conflict: spec.selector.app (owned by kubectl-client-side-apply)" in done.stdout
    assert "or give --force-conflicts" in done.stderr
    assert not journal.folder.exists()


def test_of_a_check_and_of_a_capture(mesh: ApiServer, environment: dict[str, str], tmp_path: Path) -> None:
    """Without any log, and with logs of a file; the change is the one that the cluster proves right."""
    capture = tmp_path / "web.log"
    capture.write_bytes(b"\n".join(line(n, True) for n in range(9)) + b"\n")
    for arguments in (("endpoints",), ("1", str(capture)), ("no-healthy-upstream", str(capture))):
        done = run(environment, "fix", *arguments, "--dry-run")
        assert done.returncode == 0, done.stderr
        assert "-    app: card\n+    app: cart" in done.stdout
    assert selector(mesh) == {"app": "card"}


def test_only_what_is_safe_needs_no_word() -> None:
    options = Namespace(yes=True)
    assert agreed(options, Prepared("x", Risk.SAFE, ()))
    for risk in (Risk.CHANGES_TRAFFIC, Risk.WEAKENS_SECURITY):
        with pytest.raises(MeshdiagError, match="--yes is only for changes that are safe"):
            agreed(options, Prepared("x", risk, ()))


def test_fix_watch_and_undo(mesh: ApiServer, cluster: Cluster, environment: dict[str, str]) -> None:
    """A person says yes, the symptom goes, and undo brings it back; saying nothing changes nothing."""
    terminal = Terminal(environment, *FIX, "--watch", "3s", "--force-conflicts")
    seen = terminal.until("[y/N] ")
    assert re.search(r"Now: [0-9.]+ failures a minute of [0-9.]+ requests a minute, 100.0 %", seen)
    terminal.type("y\n")
    terminal.until("Watching for 3 s")
    for n in range(100, 140):
        cluster.write(WEB, "istio-proxy", line(n, False))
    assert terminal.end() == 0
    assert "changed Service shop/cart" in terminal.seen
    assert re.search(r"Gone: .* 100.0 % before, none of [0-9]+ requests in the last [0-9]+ s", terminal.seen)
    assert selector(mesh) == {"app": "cart"}

    listed = run(environment, "undo")
    assert "Let service cart select the pods of cart: done\n      changed Service shop/cart" in listed.stdout
    terminal = Terminal(environment, "undo", "1")
    terminal.until("[y/N] ")
    terminal.type("\n")
    assert (terminal.end(), selector(mesh)) == (1, {"app": "cart"})
    terminal = Terminal(environment, "undo", "1")
    assert "-    app: cart\n+    app: card" in terminal.until("[y/N] ")
    terminal.type("y\n")
    assert (terminal.end(), selector(mesh)) == (0, {"app": "card"})
    assert "taken back by 2" in run(environment, "undo").stdout


def test_interrupted_while_the_answer_is_waited_for(
    mesh: ApiServer, environment: dict[str, str], journal: Journal
) -> None:
    """Ctrl-C tells what may have happened; the change arrives after that, and the next look knows."""
    mesh.hold("patch")
    terminal = Terminal(environment, *FIX, "--watch", "0", "--force-conflicts")
    terminal.until("[y/N] ")
    terminal.type("y\n")
    mesh.wait(lambda: any(r.verb == "patch" for r in mesh.requests), 20)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert "perhaps changed, for the answer was not waited for: Service shop/cart" in terminal.seen
    assert "`meshdiag undo 1` takes it back" in terminal.seen
    assert journal.get(1).standing is State.SENT
    assert "sent, and may still arrive" in run(environment, "undo").stdout
    changed = mesh.store.get("", "services", "shop/cart")
    mesh.store.add({**changed, "spec": {**changed["spec"], "selector": {"app": "cart"}}}, "meshdiag")  # it does
    assert ": done\n" in run(environment, "undo").stdout
    assert journal.get(1).standing is State.DONE


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fix", "no-healthy-upstraem", "--for", "1s"), "did you mean no-healthy-upstream"),
        (("fix", "99", "--for", "1s"), "there is no finding 99: there are 1 no-healthy-upstream"),
        (("fix", "route-not-found", "--for", "1s"), "nothing here has the cause route-not-found"),
        (("undo", "7"), "the journal has no entry 7: nothing was changed so far"),
    ],
)
def test_mistakes(
    mesh: ApiServer,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    says: str,
) -> None:
    for name in ("KUBECONFIG", "MESHDIAG_STATE_DIR"):
        monkeypatch.setenv(name, environment[name])
    code = main([*arguments])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert says in err
