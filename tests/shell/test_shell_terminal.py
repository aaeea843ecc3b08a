"""The shell as a person has it: a terminal, keys, a screen; and without a terminal, as a script has it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import HEALTHY, NO_HOST, ROOT, SAMPLES, access_line
from tests.live import pods
from tests.live.apiserver import ApiServer
from tests.live.cluster import Cluster
from tests.shell.terminals import HAS_TMUX, SHELL, Pty, Tmux, tmux

PROMPT = "meshdiag> "
SAMPLE = "sample_logs/02-connection-refused"
PROXY = "istio-proxy"
OURS = re.compile(
    rb"\x1b\[[0-9;?]*[a-zA-Z]"  # colours, the cursor, modes
    rb"|\x1b\][0-9;]*[^\x07\x1b]*\x07"  # the clipboard
    rb"|\x1b[=>78()][AB0]?"
)
"""The escapes that the shell itself may write."""

needs_tmux = pytest.mark.skipif(not HAS_TMUX, reason="tmux is not installed")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a person with a home of their own."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "TMUX", "LESS", "COLORFGBG"))}
    for name in ("NO_COLOR", "FORCE_COLOR", "PAGER", "COLUMNS", "LINES"):
        kept.pop(name, None)
    return {
        **kept,
        "HOME": str(home),
        "TERM": "xterm-256color",
        "PYTHONPATH": str(ROOT),
        "SHELL": "/bin/sh",
        "PYTHONUTF8": "1",
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the person is: a folder with the samples."""
    here = tmp_path / "here"
    here.mkdir()
    (here / "sample_logs").symlink_to(SAMPLES)
    return here


@contextlib.contextmanager
def opened(
    environment: dict[str, str], folder: Path, *arguments: str, size: tuple[int, int] = (100, 60)
) -> Iterator[Tmux]:
    """A shell in tmux, ready to type; behind its end stands `code N`."""
    # a trap, so that Ctrl-C is the shell's alone
    command = f"trap : INT; {shlex.join([*SHELL, *arguments])}; echo code $?; exec cat"
    with tmux(command, environment, size, folder) as window:
        window.until(PROMPT.strip())
        yield window


def shell(
    environment: dict[str, str], folder: Path, *arguments: str, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs it without a terminal, with a text as its input."""
    return subprocess.run(
        [*SHELL, *arguments], env=environment, cwd=folder, input=text, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip


# -- a person


@needs_tmux
def test_the_first_minute(environment: dict[str, str], folder: Path) -> None:
    """Empty, a sample, what is wrong, why, its lines, what to do, a filter, a pasted line, a smaller window, the pager, the end."""
    with opened(environment, folder) as person:
        screen = person.until("help lists the commands")
        assert f"open {SAMPLES.name}/03-no-healthy-upstream" in screen
        assert len(screen.partition(PROMPT.strip())[0].strip().splitlines()) == 5
        person.enter(f"open {SAMPLE}")
        person.until("358 lines, 1 root cause", "1 root cause failing · 358 lines")
        person.enter("causes")
        person.until("1 upstream-connection-refused", "2 └ app-error")
        person.enter("show 1")
        person.until("Nothing listens on the upstream port", "fix 1 · why 1 · lines 1")
        person.keys("C-l")
        person.enter("why 2")
        person.until("root cause", "app-error")
        person.enter("fix 1 1")
        person.until("$ kubectl", "verify:")
        person.keys("C-l")
        person.enter("filter cause app-error")
        person.until("only cause=app-error")
        person.enter("filter clear")
        person.until("no filters")
        person.keys("C-l")
        person.paste(NO_HOST)
        person.until("no_healthy_upstream")
        person.keys("Enter")
        person.until("UH", "no healthy endpoint", gone=PROMPT.strip())  # in the pager
        person.keys("q")
        person.until(PROMPT.strip())
        person.resize(80, 24)
        person.keys("C-l")
        person.until(PROMPT.strip(), "358 lines")
        person.enter("lines 1")
        person.until(":", gone=PROMPT.strip())
        person.keys("C-c")
        person.until(PROMPT.strip(), "358 lines")
        person.keys("C-d")
        person.until("code 0")


@needs_tmux
def test_completion_suggestion_history(environment: dict[str, str], folder: Path) -> None:
    """The menu with descriptions, Enter that takes what is chosen, what was typed before, and a search for it."""
    with opened(environment, folder) as person:
        person.until("nothing is open")
        person.type("open sample_logs/02")
        person.until("02-connection-refused/", "folder")
        person.keys("Tab")
        person.until(f"open {SAMPLE}/")
        person.keys("Enter")
        time.sleep(0.1)
        assert "reading" not in person.screen(), "Enter takes what is chosen, and no more"
        person.keys("Enter")
        person.until("1 root cause failing")
        person.keys("C-l")
        person.type("sho")
        person.until("what it is, what proves it")
        person.type("w ")
        person.until("upstream-connection-refused · ")
        person.keys("C-c")
        person.until(PROMPT.strip(), gone="show ")
        person.type("op")
        person.until(f"{PROMPT}open {SAMPLE}/")  # the suggestion
        person.keys("C-c", "C-r")
        person.type("connection")
        person.until("reverse-i-search")
        person.keys("C-g", "C-c", "C-d")
        person.until("code 0")
    with opened(environment, folder) as person:
        person.until("nothing is open")
        person.keys("Up")
        person.until(f"{PROMPT}open {SAMPLE}/")
    history = Path(environment["HOME"], ".local/state/meshdiag/history")
    assert history.stat().st_mode & 0o077 == 0
    assert history.parent.stat().st_mode & 0o077 == 0


@needs_tmux
def test_work_that_is_stopped(environment: dict[str, str], folder: Path) -> None:
    """Ctrl-C stops a command that takes long; the prompt is there again, and the next command works."""
    with (folder / "long.log").open("w") as file:
        for n in range(40):
            file.write((HEALTHY + "\n") * 2_500 + f"mark {n}\n")
    with opened(environment, folder, "long.log") as person:
        person.until("100,040 lines")
        person.enter(r"search '.*\d+.*[~^]'")
        person.until("Ctrl-C stops", seconds=15)
        person.keys("C-c")
        person.until(PROMPT.strip(), gone="Ctrl-C stops")
        person.enter("search 'mark 7$'")
        person.until("1 line")


@needs_tmux
def test_output_elsewhere(environment: dict[str, str], folder: Path) -> None:
    """Into a file once, behind it, through a program; `!` with the terminal; a fault tells the next step."""
    with opened(environment, folder, SAMPLE) as person:
        person.until("1 root cause failing")
        person.enter("causes > out.txt")
        person.until("written to out.txt")
        person.keys("C-l")
        person.enter("causes > out.txt")
        person.until("out.txt is there already: >> adds to it")
        person.enter("why 1 >> out.txt")
        person.until("written to out.txt")
        text = (folder / "out.txt").read_text()
        assert "upstream-connection-refused" in text
        assert "it explains" in text
        assert "\x1b" not in text
        person.keys("C-l")
        person.enter("causes | grep -c connection")
        person.until("$ grep -c connection", "\n1\n")
        person.enter("!echo $((6 * 7)); exit 3")
        person.until("$ echo $((6 * 7))", "\n42\n", "exit code 3")
        person.enter("cuases")
        person.until("did you mean causes?")
        person.enter("show 77")
        person.until("there is no #77: causes shows 1 to")
        person.enter("fix 1 1 copy")
        person.until("copied ")


@needs_tmux
def test_several_pasted_lines_are_one_text_and_run_nothing(environment: dict[str, str], folder: Path) -> None:
    with opened({**environment, "PAGER": "cat"}, folder) as person:
        person.until("nothing is open")
        person.paste(f"{NO_HOST}\n!touch pasted\n")
        person.until("!touch pasted")
        person.keys("Enter")
        person.until("verify: istioctl analyze", PROMPT.strip())
        person.enter("!touch typed; echo done")
        person.until("\ndone\n")
    assert (folder / "typed").exists()
    assert not (folder / "pasted").exists()


@needs_tmux
def test_vi_keys_from_the_first_prompt_on(environment: dict[str, str], folder: Path) -> None:
    """A file of commands is run at the beginning."""
    config = Path(environment["HOME"], ".config/meshdiag")
    config.mkdir(parents=True)
    (config / "shellrc").write_text("set keys vi\nset nonsense 1\n")
    with opened(environment, folder) as person:
        person.until("set nonsense 1", "no setting is named 'nonsense'")
        person.until("INSERT")
        person.type("xhelp quit")
        person.keys("Escape")
        person.until("NORMAL")
        person.type("0x")
        person.until(f"{PROMPT}help quit")
        person.keys("Enter")
        person.until("leave (also Ctrl-D)")


# -- a live mesh


@pytest.fixture
def mesh(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[Cluster, str]]:
    """A cluster whose web pod fails, and its kubeconfig."""
    cluster = Cluster()
    pods.istiod(cluster)
    pods.sidecar_pod(cluster, "shop", "cart-7d6c5f9b84-z6r4p")
    pods.native_sidecar_pod(cluster, "shop", "web-7d6c5f9b84-abcde")
    with ApiServer(cluster) as server:
        config = tmp_path / "kubeconfig"
        config.write_text(json.dumps(server.kubeconfig(namespace="shop")))
        yield cluster, str(config)


def failing(number: int) -> bytes:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    return access_line(
        "503", "UH", "no_healthy_upstream", host="-", local="-", time=stamp, request_id=f"r-{number}"
    ).encode()


@needs_tmux
def test_a_live_mesh_while_one_types(environment: dict[str, str], folder: Path, mesh: tuple[Cluster, str]) -> None:
    """What is typed stays whole while lines come, messages are printed and the toolbar changes."""
    cluster, config = mesh
    with opened(environment, folder, "-n", "shop", "--kubeconfig", config) as person:
        person.until("● shop", "2 containers", "lines/s")
        cluster.write("shop/web-7d6c5f9b84-abcde", PROXY, *[failing(n) for n in range(20)])
        person.until("1 root cause failing now")
        typed = "note something long that is typed while the mesh writes its lines"
        for at in range(0, len(typed), 5):
            person.type(typed[at : at + 5])
            cluster.write("shop/web-7d6c5f9b84-abcde", PROXY, *[failing(at + n) for n in range(50)])
        screen = person.until(f"{PROMPT}{typed}")
        assert screen.count(PROMPT.strip()) == 1
        person.keys("Enter")
        person.until("noted")
        person.enter("causes")
        person.until("no-healthy-upstream", "shop/web ->")
        person.enter("watch 1")
        person.until("Watched")
        person.type("show ")
        cluster.restart("shop/cart-7d6c5f9b84-z6r4p", PROXY)
        person.until("no-healthy-upstream · shop/web ->")
        person.keys("C-c")
        person.enter("stop")
        screen = person.until("shop is no longer followed", gone="lines/s")
        assert screen.rstrip().splitlines()[-1].strip() != PROMPT.strip(), "the toolbar is there"
        person.keys("C-d")
        person.until("code 0")


@needs_tmux
def test_a_cluster_that_is_not_there(environment: dict[str, str], folder: Path, tmp_path: Path) -> None:
    """It is said above the prompt; the shell stays."""
    with opened(environment, folder, "-n", "shop", "--kubeconfig", str(tmp_path / "nothing")) as person:
        person.until("nothing", "kubeconfig")
        person.enter("help quit")
        person.until("leave (also Ctrl-D)")


# -- terminals of other kinds


def test_ready_and_echoed_soon(environment: dict[str, str], folder: Path) -> None:
    """A person can type before the catalogue is loaded."""
    with Pty(environment=environment, folder=folder) as terminal:
        at = terminal.until(PROMPT)
        terminal.send("Q")
        terminal.until("Q", at)
        assert time.perf_counter() - terminal.began < 2.0, "0.2 s, and what a busy machine adds"
        terminal.send("\x03")
        terminal.send("\x04")
        assert terminal.end() == 0


def test_no_colour(environment: dict[str, str], folder: Path) -> None:
    """NO_COLOR: no colour anywhere; the prompt works as ever."""
    with Pty([*SHELL, SAMPLE], {**environment, "NO_COLOR": "1"}, folder=folder) as terminal:
        terminal.until("1 root cause failing")
        at = len(terminal.output)
        terminal.send("causes\r")
        terminal.until("app-error", at)
        terminal.until("failing", at)
        terminal.send("\x04")
        assert terminal.end() == 0
        coloured = set(re.findall(rb"\x1b\[([0-9;]*)m", terminal.output)) - {b"", b"0", b"0;7", b"0;1", b"7", b"1"}
        assert not coloured


def test_a_dumb_terminal(environment: dict[str, str], folder: Path) -> None:
    """A plain prompt: nothing but text, and what was opened is read before the next command."""
    with Pty(environment={**environment, "TERM": "dumb"}, folder=folder) as terminal:
        terminal.until(PROMPT)
        terminal.send(f"open {SAMPLE}\n")
        at = terminal.until("358 lines, 1 root cause")
        terminal.until(PROMPT, at)
        terminal.send("causes\n")
        at = terminal.until("app-error", at)
        terminal.until(PROMPT, at)
        terminal.send("fix 1 1 copy\n")
        at = terminal.until("this terminal has no clipboard", at)
        terminal.until(PROMPT, at)
        for _ in range(20):  # a Ctrl-C that comes just before it reads takes the next line with it
            at = len(terminal.output)
            terminal.send("\x03")
            with contextlib.suppress(AssertionError):
                at = terminal.until(PROMPT, at, 1)
            terminal.send("help quit\n")
            with contextlib.suppress(AssertionError):
                at = terminal.until("leave (also Ctrl-D)", at, 2)
                break
        terminal.until(PROMPT, at)
        terminal.send("\x04")
        assert terminal.end() == 0
        assert b"\x1b" not in terminal.output


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b5n\u202egnp.exe"


@pytest.fixture
def hostile(folder: Path) -> Path:
    """Logs with escapes in their lines, in names, and in the name of the file."""
    path = folder / "evil\x1b[2J.log"
    lines = [
        access_line("503", "UH", "no_healthy_upstream", host="-", local="-", path=f"/{HOSTILE}", agent=HOSTILE,
                    authority=f"a{HOSTILE}:80", cluster=f"outbound|80||b{HOSTILE}.default.svc.cluster.local"),
        f"2026-11-22T10:00:00.000000Z\terror\tenvoy config\t{HOSTILE} something never seen",
        f"[{HOSTILE}] not a line",
    ]  # fmt: skip
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_nothing_of_a_log_acts_on_the_terminal(environment: dict[str, str], folder: Path, hostile: Path) -> None:
    """Escapes in lines, names, paths and notes are shown, never sent; in the menu, the toolbar and a message, too."""
    typed = "'\x1b]0;typed\x07\x1b[2J\u202e'"
    commands = [
        "causes all", "show 1", "why 1", "lines 1", "unknown", "top", "fix 1", "search never", f"note {typed}", "note",
        f"filter namespace {typed}", "filter", "filter clear", f"explain {typed}", f"open nowhere/{typed}", f"!true {typed}", "history",
        "causes | cat",
    ]  # fmt: skip
    with Pty([*SHELL, str(hostile)], {**environment, "PAGER": "cat"}, (100, 40), folder) as terminal:
        terminal.until("lines, ")
        for command in commands:
            at = len(terminal.output)
            terminal.send(f"\x1b[200~{command}\x1b[201~\r")
            terminal.until("\x1b[?2004h", at)  # the next prompt
        at = len(terminal.output)
        terminal.send("show ")
        terminal.until("no-healthy-upstream · ", at)
        terminal.send("\x03\x04")
        assert terminal.end() == 0
    rest = OURS.sub(b"", terminal.output)
    assert rest.count(b"\\x9b5n\\u202egnp.exe") > 5, "of the log"
    assert rest.count(b"\\x1b]0;typed\\x07\\x1b[2J") > 5, "of the person"
    for bad in ("\x1b", "\x07", "\x9b", "\u202e"):
        assert bad.encode() not in rest, bad
    for bad in ("\x1b]0;", "\x1b[2J", "\x1b[5n"):
        assert bad.encode() not in terminal.output, bad


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(environment: dict[str, str], folder: Path, number: signal.Signals) -> None:
    """The terminal is as it was, and nothing is left behind."""
    with Pty([*SHELL, "--kubeconfig", "nothing"], {**environment, "TMPDIR": str(folder)}, folder=folder) as terminal:
        terminal.until(PROMPT)
        terminal.until("kubeconfig")
        terminal.process.send_signal(number)
        assert terminal.end() == 128 + number
        assert b"Traceback" not in terminal.output
        assert terminal.output.rindex(b"\x1b[?2004l") > terminal.output.rindex(b"\x1b[?2004h")
    assert not list(folder.glob("meshdiag-*"))


# -- without a terminal


def test_commands_of_an_argument(environment: dict[str, str], folder: Path) -> None:
    done = shell(environment, folder, "-c", f"open {SAMPLE}; causes; why 2")
    assert done.returncode == 0
    assert "2 └ app-error" in done.stdout
    assert "root cause" in done.stdout
    assert "358 lines, 1 root cause" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_captures_of_the_command_line_are_read_first(environment: dict[str, str], folder: Path) -> None:
    done = shell(environment, folder, SAMPLE, "-c", "causes > out.txt; !echo and $((1 + 1))")
    assert done.returncode == 0
    assert "app-error" in (folder / "out.txt").read_text()
    assert "and 2" in done.stdout


def test_a_file_of_commands(environment: dict[str, str], folder: Path) -> None:
    """A mistake is told with its place; what is behind it runs; the exit code says it."""
    script = folder / "runbook"
    script.write_text(f"# a runbook\nopen {SAMPLE}\n\nbogus\ncauses\nquit\nwhy 1\n")
    done = shell(environment, folder, "-f", "runbook")
    assert done.returncode == 2
    assert "app-error" in done.stdout
    assert "it explains" not in done.stdout, "quit ends it"
    assert "'bogus' is no command" in done.stderr or "bogus" in done.stderr
    assert "in runbook:4: bogus" in done.stderr
    assert shell(environment, folder, "--script", "nowhere").returncode == 2


def test_piped_commands(environment: dict[str, str], folder: Path) -> None:
    done = shell(environment, folder, text=f"open {SAMPLE}\ncauses\nexplain UH\n")
    assert done.returncode == 0
    assert "app-error" in done.stdout
    assert "NoHealthyUpstream" in done.stdout


def test_what_was_given_wrong(environment: dict[str, str], folder: Path) -> None:
    for arguments, said in (
        (("nowhere/at/all", "-c", "causes"), "no such file"),
        (("-c", "causes", "-f", "x"), "give one of them"),
        (("-", "-c", "causes"), "meshdiag diagnose -"),
        (("-c", "show"), "show takes"),
    ):
        done = shell(environment, folder, *arguments)
        assert done.returncode == 2, arguments
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_script_that_is_interrupted(environment: dict[str, str], folder: Path) -> None:
    program = shlex.join([sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"])
    process = subprocess.Popen(
        [*SHELL, "-c", f"!{program}"], env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    while process.stdout.readline() != "begun\n":
        pass
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(10) == 130
    process.stdout.close()


def test_a_reader_that_goes_away(environment: dict[str, str], folder: Path) -> None:
    command = f"{shlex.join(SHELL)} -c 'help; help; help' | head -1"
    done = subprocess.run(
        ["sh", "-c", command], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert "Commands" in done.stdout
    assert "Traceback" not in done.stderr


def test_scripts_load_no_prompt_toolkit() -> None:
    code = (
        "import sys; from meshdiag.cli import main; main(['shell', '-c', 'explain UH']); "
        "sys.exit('prompt_toolkit' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
