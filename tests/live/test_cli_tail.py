"""`meshdiag tail` as a user runs it: a process, a cluster's API over HTTP, signals, a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from meshdiag.cli import kubectl, main
from tests.conftest import access_line
from tests.live import pods
from tests.live.access import User
from tests.live.apiserver import ApiServer
from tests.live.cluster import Cluster

PROXY = "istio-proxy"
WEB = "shop/web-7d6c5f9b84-abcde"
CART = "shop/cart-7d6c5f9b84-z6r4p"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def healthy() -> bytes:
    return access_line(time=now()).encode()


def failing(number: int = 0) -> bytes:
    return access_line(
        "503", "UH", "no_healthy_upstream", host="-", local="-", time=now(), request_id=f"r-{number}"
    ).encode()


@pytest.fixture
def cluster() -> Cluster:
    """A mesh with istiod and two pods; the web pod fails."""
    cluster = Cluster()
    pods.istiod(cluster)
    pods.sidecar_pod(cluster, "shop", CART.partition("/")[2])
    pods.native_sidecar_pod(cluster, "shop", WEB.partition("/")[2])
    cluster.write(CART, PROXY, *[healthy() for _ in range(20)])
    cluster.write(WEB, PROXY, *[failing(i) for i in range(5)])
    return cluster


@pytest.fixture
def server(cluster: Cluster) -> Iterator[ApiServer]:
    with ApiServer(cluster) as server:
        yield server


@pytest.fixture
def environment(server: ApiServer, tmp_path: Path) -> dict[str, str]:
    """The environment of a user whose kubeconfig names the server."""
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(server.kubeconfig(namespace="shop")))
    return {**os.environ, "KUBECONFIG": str(path), "NO_COLOR": "1", "COLUMNS": "160"}


def tail(environment: dict[str, str], *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Runs it to its end."""
    command = [sys.executable, "-m", "meshdiag", "tail", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, **more)


class Told(NamedTuple):
    """What a command said, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def command(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Told]:
    """Runs it in this process, in which all is loaded: a second is then enough to read the mesh, on a busy machine too."""
    for name in ("KUBECONFIG", "NO_COLOR", "COLUMNS"):
        monkeypatch.setenv(name, environment[name])

    def command(*arguments: str, run: Callable[[list[str]], int] = main) -> Told:
        code = run([*arguments])
        return Told(code, *capsys.readouterr())

    return command


Command = Callable[..., Told]


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    """Starts it."""
    command = [sys.executable, "-m", "meshdiag", "tail", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def events(output: str, kind: str) -> list[dict[str, Any]]:
    """The events of a kind among lines of JSON."""
    return [e for line in output.splitlines() if (e := json.loads(line))["event"] == kind]


def test_for_a_while_then_a_diagnosis(environment: dict[str, str]) -> None:
    """--for ends with the report and the exit code of diagnose."""
    done = tail(environment, "--for", "2s")
    assert done.returncode == 1, done.stderr
    assert "NEW   error    no-healthy-upstream" in done.stdout
    assert "1. The service has no healthy endpoint" in done.stdout
    assert "5 lines" in done.stdout
    assert done.stderr == ""


def test_nothing_failing(command: Command) -> None:
    """A selection without failures ends with 0."""
    done = command("tail", "deploy/cart", "--for", "1s")
    assert done.returncode == 0, done.stderr
    assert "No failure found." in done.stdout


def test_json_lines(command: Command) -> None:
    """-o jsonl: one object a line and nothing else; a finding when it begins, the whole diagnosis at the end."""
    done = command("tail", "-n", "shop,istio-system", "--for", "1s", "-o", "jsonl")
    (finding,) = events(done.stdout, "finding")
    assert finding["phase"] == "new"
    assert finding["cause"] == "no-healthy-upstream"
    assert finding["count"] == 5
    assert finding["subject"]["source"] == "shop/web"
    (end,) = events(done.stdout, "end")
    assert end["diagnosis"]["schema"] == "meshdiag/diagnosis/v1"
    assert end["diagnosis"]["findings"][0]["count"] == 5
    assert done.returncode == 1


def test_gaps_are_events(environment: dict[str, str], server: ApiServer, cluster: Cluster) -> None:
    """A gap is told with its length, as JSON and in the diagnosis."""
    process = start(environment, "-o", "jsonl")
    server.wait(lambda: len(server.open_streams) >= 2, 20)
    server.fail_next("log", 503, 3)
    server.cut(WEB, PROXY)
    cluster.rotate(WEB, PROXY)
    cluster.write(WEB, PROXY, failing(99))
    assert process.stdout is not None and process.stderr is not None
    output = ""
    while not events(output, "gap"):  # whether a log was rotated, or is another instance's, is known after a while
        line = process.stdout.readline()
        assert line, output
        output += line
    time.sleep(1)  # nothing tells that there is no other one
    process.send_signal(signal.SIGINT)
    output += process.stdout.read()
    process.wait(10)
    process.stdout.close()
    process.stderr.close()
    (gap,) = events(output, "gap")
    assert gap["origin"] == f"{WEB}/{PROXY}"
    assert gap["seconds"] > 0
    (end,) = events(output, "end")
    assert any("gap of" in p["what"] for p in end["diagnosis"]["summary"]["problems"])


def test_raw_lines(command: Command) -> None:
    """--raw prints what was recognised behind its pod and cause, and nothing else."""
    done = command("tail", "--raw", "--for", "1s")
    lines = [line for line in done.stdout.splitlines() if line.startswith("web-")]
    assert len(lines) == 5
    assert all(line.startswith("web-7d6c5f9b84-abcde istio-proxy [no-healthy-upstream] [20") for line in lines)
    assert not any(line.startswith("cart-") for line in done.stdout.splitlines())


def test_all_lines(command: Command) -> None:
    """--all-lines prints every line once, without the kubelet's time, in order of time; recognised ones with their cause."""
    done = command("tail", "--all-lines", "--for", "1s")
    lines = [line for line in done.stdout.splitlines() if line.startswith(("web-", "cart-"))]
    assert len(lines) == 25
    assert sum("[no-healthy-upstream]" in line for line in lines) == 5
    times = [line.partition("[20")[2][:23] for line in lines]
    assert times == sorted(times)


def test_filters(command: Command) -> None:
    """--cause, --min-severity, --suppress and --grep choose what is shown."""
    for options, shown in (
        (["--cause", "no-healthy-upstream"], True),
        (["--cause", "upstream-connection-refused"], False),
        (["--min-severity", "critical"], False),
        (["--suppress", "no-healthy-upstream"], False),
        (["--grep", "r-3"], True),
        (["--grep", "not there"], False),
    ):
        done = command("tail", *options, "--for", "1s", "-o", "jsonl")
        assert bool(events(done.stdout, "finding")) is shown, (options, done.stdout, done.stderr)


def test_save_is_a_capture(command: Command, tmp_path: Path) -> None:
    """--save writes one file per container; diagnose finds the same."""
    folder = tmp_path / "capture"
    done = command("tail", "--for", "1s", "--save", str(folder))
    assert "saved to" in done.stderr
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.log"))
    assert f"clusters/cluster/{WEB}/{PROXY}.log" in files
    again = command("diagnose", str(folder))
    assert again.returncode == 1
    assert "1. The service has no healthy endpoint" in again.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_within_a_second(
    environment: dict[str, str], server: ApiServer, number: signal.Signals, code: int
) -> None:
    """Ctrl-C and SIGTERM end it cleanly and at once, with no traceback."""
    process = start(environment, "-A")
    server.wait(lambda: len(server.open_streams) >= 3, 20)
    begin = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert time.monotonic() - begin < 1.5  # a second, and what a busy machine adds
    assert process.returncode == code
    assert errors == ""


def test_a_reader_that_goes_away(environment: dict[str, str], server: ApiServer, cluster: Cluster) -> None:
    """A broken pipe ends it quietly."""
    process = start(environment, "--all-lines")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    for _ in range(100):
        cluster.write(CART, PROXY, healthy())
        if process.poll() is not None:
            break
        time.sleep(0.1)
    assert process.poll() == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_standard_input(environment: dict[str, str]) -> None:
    """`kubectl logs -f … | meshdiag tail -` diagnoses what comes and ends with it."""
    text = (failing() + b"\n").decode() * 3
    done = tail(environment, "-", input=text)
    assert done.returncode == 1
    assert "no-healthy-upstream" in done.stdout
    assert tail(environment, "-", input=healthy().decode()).returncode == 0


def test_errors_are_one_line_with_a_next_step(command: Command, tmp_path: Path) -> None:
    """What is wrong ends with 2 and says how to mend it."""
    for arguments, words in (
        (["-n", "shopp"], "there are istio-system, shop"),
        (["deploy/nothing"], "there are deploy/"),
        (["thing/web"], "KIND/NAME"),
        (["--context", "prod"], "there are test"),
        (["--raw", "--all-lines"], "give one of them"),
        (["--cause", "no-healthy-upstrem"], "did you mean no-healthy-upstream"),
        (["--kubeconfig", str(tmp_path / "none")], "--kubeconfig"),
    ):
        done = command("tail", *arguments, "--for", "30s")
        assert done.returncode == 2, (arguments, done)
        assert words in done.stderr
        assert done.stderr.startswith("meshdiag: ")
        assert len(done.stderr.splitlines()) == 1
        assert done.stdout == ""


def test_the_missing_role_is_printed(tmp_path: Path, cluster: Cluster) -> None:
    """Who may not list pods gets the role to ask for."""
    with ApiServer(cluster, tokens={"tok": User("shop-reader")}) as server:
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(server.kubeconfig("tok", namespace="shop")))
        done = tail({**os.environ, "KUBECONFIG": str(path)}, "--for", "30s")
    assert done.returncode == 2
    assert 'cannot list resource "pods"' in done.stderr
    assert "kind: Role\n" in done.stderr
    assert "resources: [pods/log]" in done.stderr


def test_escapes_in_logs_are_harmless(command: Command, cluster: Cluster) -> None:
    """A log cannot drive the terminal, in any mode."""
    evil = access_line("503", "UH", "no_healthy_upstream", agent="\x1b]0;owned\x07\x1b[2J", host="-", time=now())
    cluster.write(WEB, PROXY, evil.encode())
    for mode in ([], ["--raw"], ["--all-lines"]):
        done = command("tail", *mode, "--for", "1s")
        assert "\x1b" not in done.stdout
        assert "\x07" not in done.stdout
    assert "owned" in done.stdout


def test_secrets_are_redacted(command: Command, cluster: Cluster) -> None:
    """Tokens are pseudonyms unless asked for."""
    line = access_line("503", "UH", "no_healthy_upstream", path="/login?access_token=s3cr3tvalue", host="-", time=now())
    cluster.write(WEB, PROXY, line.encode())
    for mode in (["--raw"], ["--all-lines"], ["-o", "jsonl"], ["--raw", "-o", "jsonl"]):
        assert "s3cr3tvalue" not in command("tail", *mode, "--for", "1s").stdout
    assert "s3cr3tvalue" in command("tail", "--raw", "--no-redact", "--for", "1s").stdout


def test_as_a_plugin_of_kubectl(environment: dict[str, str], command: Command) -> None:
    """`kubectl meshdiag -n shop -l app=web` takes kubectl's flags and is `tail` without a command."""
    for arguments in (["-n", "shop", "-l", "app=web"], ["tail", "--context", "test"]):
        done = command(*arguments, "--for", "1s", run=kubectl)
        assert done.returncode == 1, done.stderr
        assert "no-healthy-upstream" in done.stdout
    script = "import sys; from meshdiag.cli import kubectl; sys.exit(kubectl(sys.argv[1:]))"
    tool = [sys.executable, "-c", script]
    done = subprocess.run(
        [*tool, "tail", "-n", "shop", "--for", "2s"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1, done.stderr
    assert "no-healthy-upstream" in done.stdout
    done = subprocess.run([*tool, "--help"], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("usage: kubectl meshdiag")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal_the_table_is_drawn_anew(
    environment: dict[str, str], server: ApiServer, cluster: Cluster
) -> None:
    """On a terminal turns scroll and one table below them is redrawn; at the end it is left there."""
    import pty

    lead, follow = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "meshdiag", "tail"],
        env={**environment, "TERM": "xterm"},
        stdout=follow,
        stderr=follow,
        stdin=follow,
    )
    os.close(follow)
    output = b""
    deadline = time.monotonic() + 20
    while output.count(b"containers") < 4 and time.monotonic() < deadline:
        output += os.read(lead, 65536)
    process.send_signal(signal.SIGINT)
    while True:
        try:
            more = os.read(lead, 65536)
        except OSError:  # Linux: the other side was closed
            break
        if not more:
            break
        output += more
    assert process.wait(5) == 130
    text = output.decode()
    assert text.count("NEW   error") == 1
    assert "\x1b[J" in text
    assert "● no-healthy-upstream" in text.rpartition("\x1b[J")[2]
