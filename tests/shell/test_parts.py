"""The small parts: the line at the bottom, colours of what is typed, pages, the start, when garbage is looked for, the script runner."""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshdiag.catalogue import Catalogue
from meshdiag.model import MeshdiagError
from meshdiag.shell import garbage, output, plain, running
from meshdiag.shell.commands import named
from meshdiag.shell.output import Terminal
from meshdiag.shell.running import Runner
from meshdiag.shell.starting import Beginning, Start, background, run_file, welcome
from meshdiag.shell.state import State
from meshdiag.shell.status import Status
from meshdiag.shell.syntax import typed
from meshdiag.shell.themes import COLOURS, style_of
from meshdiag.shell.work import Message, Reading, Work
from meshdiag.views.safe import columns
from meshdiag.views.style import Style
from meshdiag.views.syntax import log_line, painted, yaml_line
from tests.conftest import NO_HOST, REFUSED, SAMPLES

SAMPLE = str(SAMPLES / "02-connection-refused")


@pytest.fixture
def empty(catalogue: Catalogue) -> State:
    return State(catalogue, Work(catalogue))


@pytest.fixture(scope="module")
def read(catalogue: Catalogue) -> State:
    """A state in which a sample was read."""
    work = Work(catalogue)
    work.open([SAMPLE])
    work.wait(30)
    return State(catalogue, work)


# -- the line at the bottom


def line(state: State, width: int = 100, now: float = 0.0) -> str:
    return "".join(text for _, text in Status().line(state, width, now))


def test_status_of_nothing(empty: State) -> None:
    assert line(empty) == "nothing is open · open PATH, or tail -n NAMESPACE"


def test_status_of_a_capture(read: State) -> None:
    assert line(read) == "02-connection-refused · 1 root cause failing · 358 lines"
    assert line(replace(read, filters={"namespace": ("x",)})).endswith("nothing fails · 358 lines · only namespace=x")


def test_status_while_it_is_read(empty: State) -> None:
    empty.work.readings = [Reading(("a.log",), 450, 1000)]
    assert line(empty) == "reading a.log ████░░░░░░ 45 %"
    empty.work.readings = [Reading(("a.tar.gz", "b"), 7_000_000)]
    assert line(empty, now=0.5) == "reading a.tar.gz and 1 more / 7 MB"


def test_status_of_a_live_mesh(read: State, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(catalogue)
    work._ranked = read.work.latest
    work._live_name = "shop"
    monkeypatch.setattr(Work, "lines_per_second", 5000.4)
    monkeypatch.setattr(Work, "behind", 12.0)
    monkeypatch.setattr(Work, "containers", 3)
    shown = line(State(catalogue, work))
    assert shown == "● shop · 1 root cause failing now · 3 containers · 5,000 lines/s · 12 s behind"


@given(st.integers(1, 120), st.text(max_size=30))
def test_status_fits_and_is_harmless(read: State, width: int, name: str) -> None:
    shown = line(replace(read, filters={"namespace": (name, "\x1b[2J\n世界")}), width)
    assert columns(shown) <= width
    assert "\x1b" not in shown
    assert "\n" not in shown


# -- colours


def is_command(word: str) -> bool:
    return named(word) is not None


def is_raw(word: str) -> bool:
    found = named(word)
    return found is not None and found.raw


def kinds(text: str) -> list[tuple[str, str]]:
    return [(k, t.strip()) for k, t in typed(text, is_command, is_raw) if t.strip()]


def test_colours_of_a_command() -> None:
    assert kinds("lines 1 'a b' -n; why #2 > f | x") == [
        ("command", "lines"), ("number", "1"), ("string", "'a b'"), ("option", "-n"), ("operator", ";"), ("command", "why"),
        ("number", "#2"), ("operator", ">"), ("argument", "f"), ("operator", "|"), ("program", "x"),
    ]  # fmt: skip
    assert kinds("causes # all") == [("command", "causes"), ("comment", "# all")]
    assert kinds("!ls -l") == [("operator", "!"), ("program", "ls -l")]
    assert kinds("nonsense 1") == [("", "nonsense 1")]


def test_colours_of_a_pasted_line() -> None:
    found = {t: k for k, t in kinds(REFUSED)}
    assert found["503"] == "bad"
    assert found["UF,URX"] == "bad"
    assert found["2026-11-22T10:00:00.000Z"] == "dim"
    assert found['"GET / HTTP/1.1"'] == "string"
    assert {t: k for k, t in kinds(f"explain {NO_HOST}")}["UH"] == "bad"
    assert {"error": "bad", "warn": "warn"}.items() <= {t: k for k, t in log_line("12:00 error x warn y")}.items()


def test_colours_of_yaml() -> None:
    found = [(k, t) for k, t in yaml_line('  - name: "a b" # why') if k]
    assert found == [("name", "name"), ("string", '"a b"'), ("comment", "# why")]
    assert [(k, t) for k, t in yaml_line("port: 9080") if k] == [("name", "port"), ("number", "9080")]
    assert painted(yaml_line("port: 9080"), Style(True)) == "\x1b[36mport\x1b[0m: \x1b[35m9080\x1b[0m"
    assert painted(log_line(NO_HOST), Style(False)) == NO_HOST


@given(st.text(max_size=60).map(lambda t: t.replace("\n", " ")))
def test_the_pieces_of_any_line_are_the_line(text: str) -> None:
    assert "".join(t for _, t in yaml_line(text)) == text
    assert "".join(t for _, t in log_line(text)) == text


@given(st.text(max_size=60) | st.sampled_from([REFUSED, NO_HOST, "causes ; ; why 1 | less", "explain # x", "a;b"]))
def test_the_pieces_are_the_text(text: str) -> None:
    flat = text.replace("\n", " ")
    assert "".join(t for _, t in typed(flat, is_command, is_raw)) == flat
    assert {k for k, _ in typed(flat, is_command, is_raw)} - {""} <= set(COLOURS) | {"string", "address"}


@pytest.mark.parametrize("theme", ["dark", "light", "none"])
def test_themes(theme: str) -> None:
    rules = str(style_of(theme).style_rules)
    assert ("#" in rules or "ansi" in rules) is (theme != "none")


# -- pages and programs


def test_rows() -> None:
    assert output.rows("a\nb\n", 80) == 2
    assert output.rows("\x1b[31m" + "x" * 80 + "\x1b[0m\n", 80) == 1
    assert output.rows("x" * 81, 80) == 2
    assert output.rows("\n\n", 80) == 2


def test_the_built_in_pager(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no less is installed."""
    monkeypatch.delenv("PAGER", raising=False)
    monkeypatch.setattr(output.shutil, "which", lambda name: None)
    monkeypatch.setattr("sys.stdin", io.StringIO("\nq\n"))
    output.page("".join(f"line {n}\n" for n in range(100)), 12)
    shown = capsys.readouterr().out
    assert "line 19\n" in shown
    assert "line 20\n" not in shown
    assert "90 more lines" in shown


def test_a_pager_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PAGER", "no-such-pager")
    output.page("one\ntwo\n", 24)
    assert "one\ntwo\n" in capfd.readouterr().out


def test_the_users_pager(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PAGER", "sed s/^/paged:/")
    terminal = Terminal(interactive=True)
    monkeypatch.setattr(Terminal, "size", (80, 10))
    terminal.show("a\n" * 20)
    terminal.show("b\n" * 3)
    shown = capfd.readouterr().out
    assert shown.count("paged:a") == 20
    assert "paged:b" not in shown


@pytest.mark.parametrize("shell", ["/bin/sh", ""])
def test_programs(shell: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SHELL", shell)
    assert output.run("exit 7") == 7
    assert output.run("cat; exit 0", "some text\n") == 0
    assert output.run("kill -9 $$") == 137
    assert output.run("true", "x" * 1_000_000) == 0, "who reads no input"
    assert "some text\n" in capfd.readouterr().out


def test_the_clipboard(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    assert output.copy("kubectl get pods\n")
    assert capsys.readouterr().out == "\x1b]52;c;a3ViZWN0bCBnZXQgcG9kcwo=\x07"
    assert not output.copy("x" * 200_000)
    assert capsys.readouterr().out == ""


# -- the start


def test_welcome_is_five_short_lines() -> None:
    for exists in (True, False):
        lines = welcome(lambda path, there=exists: there)
        assert len(lines) == 5
        assert all(len(one) <= 79 for one in lines)
    assert "sample_logs/03" in welcome(lambda path: True)[1]
    assert "open PATH" in welcome(lambda path: False)[1]


def test_the_background() -> None:
    assert background({"COLORFGBG": "0;15"}) == "light"
    assert background({"COLORFGBG": "15;default;0"}) == "dark"
    assert background({}) == "dark"


def test_a_start_tells_what_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    start = Start(Beginning(("/nowhere/at/all",)))
    start.start()
    state = start.wait()
    end = time.monotonic() + 10
    while not state.work.messages and time.monotonic() < end:
        time.sleep(0.01)
    assert "no such file" in state.work.messages[0].text
    assert state.work.messages[0].kind == "error"


def test_a_start_that_fails() -> None:
    start = Start(Beginning(patterns=("/nowhere",)))
    start.start()
    with pytest.raises(MeshdiagError, match="no folder of patterns"):
        start.wait()


def test_a_file_of_commands_at_the_start(empty: State, tmp_path: Path) -> None:
    file = tmp_path / "shellrc"
    run_file(file, empty)
    file.write_text("# mine\nset context 3\nset bogus 1\nfilter severity error\n")
    run_file(file, empty)
    assert empty.settings.context == 3
    assert empty.filters == {"severity": ("error",)}
    (message,) = empty.work.messages
    assert "set bogus 1" in message.text


# -- garbage


def test_garbage_is_looked_for_while_nobody_types() -> None:
    some = garbage.Garbage()
    begin = time.monotonic() + 100
    some.typed(begin)
    assert not some.look(begin + 1)
    assert some.look(begin + 4)
    assert not some.look(begin + 20), "not again so soon"
    assert some.look(begin + 40)


def test_garbage_is_looked_for_seldom() -> None:
    before = gc.get_threshold()
    with garbage.seldom():
        assert gc.get_threshold()[2] > 100_000
    assert gc.get_threshold() == before


# -- the runner


def test_what_an_interrupt_does(
    read: State, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One asks the command to stop; two leave it behind; both leave the shell as it was."""
    from meshdiag.shell import commands
    from meshdiag.shell import results as r

    stopped, go = threading.Event(), threading.Event()

    def slow(state: State, words: tuple[str, ...]):  # type: ignore[no-untyped-def]
        end = time.monotonic() + 10
        while time.monotonic() < end and not (words == () and state.interrupted()) and not go.is_set():
            time.sleep(0.005)
        stopped.set()
        yield r.Said("asked to stop" if state.interrupted() else "went on")

    monkeypatch.setitem(commands.COMMANDS, "mark", commands.Command("mark", "", "", slow, "fix"))
    runner = Runner(read, Terminal(interactive=True))

    def press(times: int) -> None:
        for _ in range(times):
            time.sleep(0.25)
            os.kill(os.getpid(), 2)

    thread = threading.Thread(target=press, args=(1,))
    thread.start()
    outcome = runner.run("mark")
    thread.join()
    assert outcome.ok
    assert "asked to stop" in capsys.readouterr().out
    thread = threading.Thread(target=press, args=(2,))
    thread.start()
    stopped.clear()
    outcome = runner.run("mark deaf")
    thread.join()
    assert not outcome.ok
    assert not stopped.is_set()
    go.set()
    assert "left behind" in capsys.readouterr().out
    assert runner.run("help quit").ok


def test_output_to_files(
    read: State, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runner = Runner(read, Terminal(colour="always"), script=True)
    assert runner.run("causes > a; why 1 >> a").ok
    text = (tmp_path / "a").read_text()
    assert "app-error" in text
    assert "it explains" in text
    assert "\x1b" not in text
    assert not runner.run("causes > a").ok
    assert (tmp_path / "a").read_text() == text
    assert "there already" in capsys.readouterr().err
    assert not runner.run("show 99 > b").ok
    assert not (tmp_path / "b").exists()
    assert not runner.run("causes > no/such/folder; why 1 > c").ok
    assert (tmp_path / "c").exists(), "what stands behind a mistake is done"
    assert runner.run("fix 1 1 copy > mend.sh").ok
    assert (tmp_path / "mend.sh").read_text().splitlines()[0].startswith(("kubectl ", "istioctl "))


def test_messages_are_told_once_and_counted(empty: State) -> None:
    runner = Runner(empty, Terminal())
    empty.work.messages.extend(Message(f"m{n}") for n in range(20))
    text = runner.messages()
    assert "m5" in text
    assert "and 14 more messages" in text
    assert runner.messages() == ""
    empty.work.messages.append(Message("token=abcdefgh1234 \x1b[2J"))
    text = runner.messages()
    assert "abcdefgh1234" not in text
    assert "\x1b" not in text


def test_faults_are_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_log_dir", lambda name: str(tmp_path / "log"))
    assert "shell.log has the traceback" in running.failure(ValueError("x"))
    (tmp_path / "file").touch()
    monkeypatch.setattr("platformdirs.user_log_dir", lambda name: str(tmp_path / "file"))
    assert running.failure(ValueError("x")) == "a fault of meshdiag: ValueError: x"


# -- scripts


def test_a_script_goes_on_behind_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [("", "# nothing"), ("f:2", "bogus"), ("", "explain UH"), ("", "quit"), ("", "explain UF")]
    assert plain.script(Beginning(), lines) == 2
    out, err = capsys.readouterr()
    assert "in f:2: bogus" in err
    assert "UH (NoHealthyUpstream)" in out
    assert "UF (" not in out
    assert plain.script(Beginning(), [("", "explain UH")]) == 0


def test_a_script_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MeshdiagError, match="cannot read"):
        plain.file_lines(str(tmp_path))
    (tmp_path / "f").write_text("a\r\n\nb")
    assert list(plain.file_lines(str(tmp_path / "f"))) == [
        (f"{tmp_path}/f:1", "a"),
        (f"{tmp_path}/f:2", ""),
        (f"{tmp_path}/f:3", "b"),
    ]
    assert list(plain.piped_lines(io.BytesIO(b"a\n\xff\n"))) == [("", "a\n"), ("", "\ufffd\n")]


def test_lines_that_come_at_once_are_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal that cannot say what was pasted."""
    waiting = ["!rm -rf x\n", "causes\n"]
    monkeypatch.setattr("builtins.input", lambda prompt: "first")
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(waiting)))
    monkeypatch.setattr(plain, "_waits", lambda: bool(waiting) and bool(waiting.pop()))
    assert plain._typed("> ") == ("first\n!rm -rf x\ncauses", False)
    assert plain._typed("> ") == ("first", False)
    monkeypatch.setattr(plain, "_waits", lambda: True)
    assert plain._typed("> ") == ("first", True), "the end of the input is not lost"


def test_what_needs_no_terminal_loads_no_prompt_toolkit() -> None:
    parts = "commands, completion, echo, garbage, output, plain, render, running, starting, status, syntax"
    code = f"from meshdiag.shell import {parts}\nimport sys\nsys.exit('prompt_toolkit' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
