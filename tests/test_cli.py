"""The command line as a user meets it: output, exit codes, errors with a next step."""

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from meshdiag.cli import main
from tests.conftest import HEALTHY, NO_HOST, REFUSED, SAMPLES
from tests.diagnosis.test_diagnosis import schema


def run(*args: str, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "meshdiag", *args],
        input=stdin,
        capture_output=True,
        env={**os.environ, **env},
        timeout=120,
    )


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    path = tmp_path / "proxy.log"
    path.write_text("\n".join([HEALTHY, NO_HOST, REFUSED, NO_HOST]) + "\n")
    return path


@pytest.fixture
def healthy(tmp_path: Path) -> Path:
    path = tmp_path / "healthy.log"
    path.write_text(HEALTHY + "\n")
    return path


def test_exit_codes(failing: Path, healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(healthy)]) == 0
    assert main(["diagnose", str(failing)]) == 1
    assert main(["diagnose", str(failing.parent / "absent.log")]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "absent.log" in err
    assert main(["diagnose", str(failing), "--cause", "rbac-denied"]) == 0


def test_json(failing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["diagnose", str(failing), "-o", "json"])
    data = json.loads(capsys.readouterr().out)
    jsonschema.validate(data, schema())
    counts = {f["cause"]: f["count"] for f in data["findings"]}
    assert counts == {"no-healthy-upstream": 2, "upstream-connection-refused": 1}


def test_jsonl(failing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["diagnose", str(failing), "-o", "jsonl"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["type"] for r in rows] == ["summary", "finding", "finding"]


def test_markdown(failing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["diagnose", str(failing), "-o", "markdown"])
    assert capsys.readouterr().out.startswith("# Mesh diagnosis\n")


def test_stdin() -> None:
    done = run("diagnose", "-", "-o", "json", stdin=NO_HOST.encode())
    assert done.returncode == 1
    assert json.loads(done.stdout)["findings"][0]["cause"] == "no-healthy-upstream"


def test_time_filters(failing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(failing), "--since", "2026-11-23T00:00:00Z"]) == 0
    assert main(["diagnose", str(failing), "--until", "2026-11-21"]) == 0
    assert main(["diagnose", str(failing), "--since", "2026-11-22T09:00:00Z", "--until", "2026-11-22T11:00:00Z"]) == 1


def test_a_filter_that_cannot_look_says_so(failing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["diagnose", str(failing), "-n", "prod"])
    out = capsys.readouterr().out
    assert "No failure found in what could be read." in out
    assert "3 records do not name their namespace" in out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["diagnose"], "INPUT"),
        (["diagnose", "x", "-o", "xml"], "invalid choice"),
        (["diagnose", "x", "--since", "yesterday"], "is no time"),
        (["diagnose", "x", "-j", "many"], "is no number"),
        (["nonsense"], "invalid choice"),
    ],
)
def test_wrong_usage(args: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        main(args)
    assert e.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--cause", "no-healthy-upsteam"], "did you mean no-healthy-upstream"),
        (["--suppress", "rbac-denid=x"], "did you mean rbac-denied"),
        (["--patterns", "/nowhere"], "no folder of patterns at /nowhere"),
        (["--access-log-format", "no operators"], "operator"),
        (["--access-log-format", "@/nowhere"], "cannot read /nowhere"),
    ],
)
def test_mistakes_say_how_to_mend(
    args: list[str], says: str, failing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", str(failing), *args]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert "Traceback" not in err


def test_broken_pattern_file_is_named(failing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "bad.yaml").write_text("patterns:\n  - id: x\n    caus: y\n")
    assert main(["diagnose", str(failing), "--patterns", str(tmp_path / "pack")]) == 2
    assert "bad.yaml:2" in capsys.readouterr().err


def test_unreadable_input_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut.log.gz"
    path.write_bytes(gzip.compress(os.urandom(5000))[:10])
    assert main(["diagnose", str(path)]) == 2
    assert "nothing could be read" in capsys.readouterr().err


def test_truncated_gzip_gives_what_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut.log.gz"
    lines = "".join(f"{NO_HOST}{i}\n" for i in range(5000))
    path.write_bytes(gzip.compress(lines.encode())[:-2000])
    assert main(["diagnose", str(path), "-o", "json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["findings"][0]["count"] > 100
    assert "truncated" in data["summary"]["problems"][0]["what"]


def test_jobs_give_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    outputs = []
    for jobs in ("1", "2"):
        main(["diagnose", str(SAMPLES), "-o", "json", "-j", jobs])
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_ranges_of_one_file_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import meshdiag
    from meshdiag import api

    monkeypatch.setattr(api, "RANGE", 40_000)
    nack = "2026-11-22T10:00:00.000000Z\twarning\tenvoy config x.cc:1\tgRPC config for type.googleapis.com/x rejected: a\nb\tthread=3"
    path = tmp_path / "big.log"
    path.write_text("\n".join(f"{HEALTHY}\n{NO_HOST}\n{nack}\n{REFUSED}" for _ in range(700)) + "\n")
    one = meshdiag.diagnose(path).to_dict()
    assert meshdiag.diagnose(path, jobs=2).to_dict() == one
    assert one["summary"]["lines"] == 3500


def test_broken_pipe_and_interrupt_end_quietly(failing: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "meshdiag", "patterns", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout and process.stderr
    process.stdout.readline()
    process.stdout.close()
    assert (process.stderr.read(), process.wait(30)) == (b"", 0)
    process = subprocess.Popen(
        [sys.executable, "-m", "meshdiag", "diagnose", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin
    process.stdin.write(NO_HOST.encode() + b"\n")
    process.stdin.flush()
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_no_colour_in_a_pipe_and_on_demand(failing: Path) -> None:
    assert b"\x1b" not in run("diagnose", str(failing)).stdout
    assert b"\x1b[" in run("diagnose", str(failing), "--color", "always").stdout
    assert b"\x1b" not in run("diagnose", str(failing), NO_COLOR="1").stdout


def test_custom_access_log_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "custom.log"
    path.write_text(
        "flags=UH code=503 to=outbound|80||a.b.svc.cluster.local\nflags=- code=200 to=outbound|80||a.b.svc.cluster.local\n"
    )
    spec = tmp_path / "format.txt"
    spec.write_text("flags=%RESPONSE_FLAGS% code=%RESPONSE_CODE% to=%UPSTREAM_CLUSTER%\n")
    assert main(["diagnose", str(path), "-o", "json", "--access-log-format", f"@{spec}"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert [(f["cause"], f["count"]) for f in data["findings"]] == [("no-healthy-upstream", 1)]


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    for word, says in (
        ("UH", "no-healthy-upstream"),
        ("no-healthy-upstream", "kubectl"),
        ("IST0101", "config-reference-missing"),
        ("Jwt_is_expired", "jwt-expired"),
        ("upstream_reset_before_response_started{connection_termination}", "upstream-connection-closed"),
        ("111", "upstream-connection-refused"),
        (NO_HOST, "pattern access-"),
        (HEALTHY, "nothing is wrong in this line"),
    ):
        assert main(["explain", word]) == 0, word
        assert says in capsys.readouterr().out, word
    assert main(["explain", "no-healthy-upsteam"]) == 2
    assert "did you mean no-healthy-upstream" in capsys.readouterr().err
    assert main(["explain", "2026-11-22T10:00:00.000000Z\terror\tnobody has ever written this"]) == 1
    assert "no pattern knows this line" in capsys.readouterr().out


def test_explain_from_stdin_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(REFUSED.encode())))
    assert main(["explain", "-", "-o", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["causes"][0]["id"] == "upstream-connection-refused"
    assert data["record"]["fields"]["response_flags"] == "UF,URX"


def test_patterns(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["patterns", "list", "--cause", "no-healthy-upstream"]) == 0
    ids = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert len(ids) > 3
    assert main(["patterns", "show", ids[0]]) == 0
    assert f"id: {ids[0]}" in capsys.readouterr().out
    assert main(["patterns", "test", ids[0]]) == 0
    assert "1 patterns" in capsys.readouterr().out
    assert main(["patterns", "test", "no-such"]) == 2
    assert main(["patterns", "list", "--cause", "nope"]) == 2


def test_completion(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in ("bash", "zsh"):
        assert main(["completion", shell]) == 0
        assert "--min-severity" in capsys.readouterr().out


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "diagnose" in capsys.readouterr().out
    with pytest.raises(SystemExit) as e:
        main(["--version"])
    assert e.value.code == 0


def test_nothing_is_written_beside_the_input(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.log").write_text(NO_HOST)
    before = sorted(tmp_path.rglob("*"))
    assert run("diagnose", str(tmp_path / "in")).returncode == 1
    assert sorted(tmp_path.rglob("*")) == before
