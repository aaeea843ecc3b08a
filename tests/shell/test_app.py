"""The prompt, with keys out of a pipe and a screen that is a text."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.data_structures import Size
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output.vt100 import Vt100_Output

from meshdiag.model import MeshdiagError
from meshdiag.shell import commands
from meshdiag.shell.app import App
from meshdiag.shell.history import History
from meshdiag.shell.starting import Beginning
from meshdiag.shell.state import State
from tests.conftest import NO_HOST, SAMPLES

SECONDS = 15.0
SAMPLE = SAMPLES / "02-connection-refused"


class Screen(io.StringIO):
    """A terminal that keeps what is drawn, and tells where the cursor is when it is asked."""

    def __init__(self, keys: PipeInput) -> None:
        super().__init__()
        self._keys = keys

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if "\x1b[6n" in text:
            self._keys.send_text("\x1b[1;1R")
        return super().write(text)


class Person:
    """Types into an app, and looks at it."""

    def __init__(self, app: App, keys: PipeInput, screen: Screen) -> None:
        self.app, self._keys, self._screen = app, keys, screen

    def type(self, text: str) -> None:
        """Presses keys."""
        self._keys.send_text(text)

    def paste(self, text: str) -> None:
        """Pastes, as a terminal does."""
        self._keys.send_text(f"\x1b[200~{text}\x1b[201~")

    @property
    def screen(self) -> str:
        """All that was drawn so far."""
        return self._screen.getvalue()

    @property
    def text(self) -> str:
        """What stands at the prompt."""
        return self.app.session.default_buffer.text

    @property
    def state(self) -> State:
        return self.app._start.wait()

    def until(self, condition: Callable[[], object]) -> None:
        """Waits for something."""
        end = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < end, self.screen[-3000:]
            time.sleep(0.01)

    def ready(self) -> None:
        """Waits until the prompt is there, empty, and can complete."""
        self.until(lambda: self.app._start.ready is not None and self.app.session.app.is_running and not self.text)


@contextmanager
def app(tmp_path: Path, *inputs: str, size: tuple[int, int] = (100, 30)) -> Iterator[tuple[App, PipeInput, Screen]]:
    with create_pipe_input() as keys:
        screen = Screen(keys)
        output = Vt100_Output(screen, lambda: Size(rows=size[1], columns=size[0]), term="xterm-256color")
        with create_app_session(input=keys, output=output):
            yield (
                App(Beginning(inputs), history=History(tmp_path / "state" / "history"), input=keys, output=output),
                keys,
                screen,
            )


def drive(tmp_path: Path, acts: Callable[[Person], None], *inputs: str, size: tuple[int, int] = (100, 30)) -> int:
    """Runs an app in this thread while a person acts in another; they leave in the end. The exit code."""
    failed: list[BaseException] = []
    with app(tmp_path, *inputs, size=size) as (it, keys, screen):
        person = Person(it, keys, screen)

        def act() -> None:
            try:
                person.until(lambda: it.session.app.is_running)
                acts(person)
            except BaseException as e:
                failed.append(e)
            finally:
                keys.send_text("\x07\x03\x04")

        thread = threading.Thread(target=act)
        thread.start()
        code = it.run()
        thread.join()
    if failed:
        raise failed[0]
    return code


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PAGER", "cat")


def test_typing_and_leaving(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A command's output is printed; Ctrl-D on an empty line leaves with 0."""

    def acts(person: Person) -> None:
        person.ready()
        person.type("help quit\r")
        person.until(lambda: person.state.history == ["help quit"])
        person.ready()

    assert drive(tmp_path, acts) == 0
    assert "leave (also Ctrl-D)" in capfd.readouterr().out


def test_what_is_typed_before_the_state_is_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def acts(person: Person) -> None:
        person.type("help quit\r")
        person.until(lambda: person.state.history)

    drive(tmp_path, acts)
    assert "leave (also Ctrl-D)" in capfd.readouterr().out


def test_quit_ends_it(tmp_path: Path) -> None:
    def acts(person: Person) -> None:
        person.type("quit\r")
        person.until(lambda: not person.app.session.app.is_running)

    assert drive(tmp_path, acts) == 0


def test_the_menu(tmp_path: Path) -> None:
    """Candidates come while one types, with what they are; Enter takes the chosen one and runs nothing."""

    def acts(person: Person) -> None:
        person.ready()
        person.type("why ")
        buffer = person.app.session.default_buffer
        person.until(lambda: buffer.complete_state and len(buffer.complete_state.completions) > 1)
        assert " · " in buffer.complete_state.completions[0].display_meta_text
        person.type("\t")
        person.until(lambda: person.text == "why 1")
        person.type("\r")
        person.until(lambda: person.app.session.default_buffer.complete_state is None)
        assert person.text == "why 1"
        assert person.state.history == []
        person.type("\r")
        person.until(lambda: person.state.history == ["why 1"])

    def loaded(person: Person) -> None:
        person.ready()
        person.until(lambda: person.state.work.latest.findings)
        acts(person)

    drive(tmp_path, loaded, str(SAMPLE))


def test_ctrl_c_clears_the_line(tmp_path: Path) -> None:
    """On an empty line it says what to press."""

    def acts(person: Person) -> None:
        person.ready()
        person.type("something")
        person.until(lambda: person.text == "something")
        person.type("\x03")
        person.until(lambda: person.text == "")
        assert "Ctrl-D leaves; stop ends" not in person.screen
        person.type("\x03")
        person.until(lambda: "Ctrl-D leaves; stop ends" in person.screen)
        assert person.app.session.app.is_running

    drive(tmp_path, acts)


def test_ctrl_d_with_a_text_does_not_leave(tmp_path: Path) -> None:
    def acts(person: Person) -> None:
        person.ready()
        person.type("why\x01\x04")
        person.until(lambda: person.text == "hy")

    drive(tmp_path, acts)


def test_a_message_stands_above_the_prompt(tmp_path: Path) -> None:
    """What is typed is drawn again below it, whole; nothing of it acts on the terminal."""

    def acts(person: Person) -> None:
        person.ready()
        person.type("note half a sen")
        person.until(lambda: person.text == "note half a sen")
        before = len(person.screen)
        person.state.work.say("the mesh \x1b[2J\x07 burns", "warning")
        person.until(lambda: "the mesh \\x1b[2J\\x07 burns\x1b[0m\r\n" in person.screen[before:])
        person.until(lambda: "half a sen" in person.screen.partition("burns\x1b[0m\r\n")[2])
        assert person.text == "note half a sen"
        person.type("tence")
        person.until(lambda: person.text == "note half a sentence")

    drive(tmp_path, acts)


def test_many_messages_are_counted(tmp_path: Path) -> None:
    def acts(person: Person) -> None:
        person.ready()
        person.state.work.messages.extend([type(m)(f"message {n}") for n, m in enumerate([commands_message()] * 50)])
        person.until(lambda: "44 more messages" in person.screen)
        assert "message 5" in person.screen
        assert "message 49" not in person.screen

    drive(tmp_path, acts)


def commands_message() -> object:
    from meshdiag.shell.work import Message

    return Message("")


def test_stray_output_stands_above_the_prompt(tmp_path: Path) -> None:
    """What a library prints does not tear the prompt, and cannot send escapes."""

    def acts(person: Person) -> None:
        person.ready()
        print("a stray \x1b[2Jline")
        person.until(lambda: "a stray ?[2Jline" in person.screen)

    drive(tmp_path, acts)


def test_several_pasted_lines_are_one_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """They run no program; Enter is the person's."""

    def acts(person: Person) -> None:
        person.ready()
        person.paste(f"{NO_HOST}\r\n!touch {tmp_path}/pasted\n")
        person.until(lambda: "pasted" in person.text)
        assert person.text.count("\n") == 2
        person.type("\r")
        person.until(lambda: person.state.history)
        person.ready()

    drive(tmp_path, acts)
    assert not (tmp_path / "pasted").exists()
    assert "UH" in capfd.readouterr().out


def test_a_fault_does_not_end_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for the person, the traceback into a file for its owner alone; also of a thread."""

    def broken(state: State, words: tuple[str, ...]) -> Iterator[object]:
        raise ZeroDivisionError("one \x1b[31mdivided")

    monkeypatch.setitem(commands.COMMANDS, "mark", commands.Command("mark", "", "", broken, "fix"))  # type: ignore[arg-type]

    def acts(person: Person) -> None:
        person.ready()
        person.type("mark\r")
        person.until(lambda: person.state.history == ["mark"])
        person.ready()
        threading.Thread(target=broken, args=(None, ())).start()
        threading.Thread(target=lambda: next(iter([1 / 0]))).start()
        person.until(lambda: "a fault of meshdiag: ZeroDivisionError: division by zero" in person.screen)
        person.type("help quit\r")
        person.until(lambda: len(person.state.history) == 2)
        person.ready()

    assert drive(tmp_path, acts) == 0
    out = capfd.readouterr().out
    assert "a fault of meshdiag: ZeroDivisionError: one \\x1b[31mdivided" in out
    assert "leave (also Ctrl-D)" in out
    assert "Traceback" not in out
    (log,) = tmp_path.rglob("shell.log")
    assert "in broken" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0


def test_faults_of_the_patterns_end_it(tmp_path: Path) -> None:
    """They are found out behind the prompt, and raised."""
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "p.yaml").write_text("patterns: [{id: 1}]\n")
    with create_pipe_input() as keys:
        output = Vt100_Output(io.StringIO(), lambda: Size(rows=24, columns=80), enable_cpr=False)
        it = App(Beginning(patterns=(str(bad),)), history=History(tmp_path / "h"), input=keys, output=output)
        with create_app_session(input=keys, output=output), pytest.raises(MeshdiagError, match=r"p\.yaml"):
            it.run()


def test_settings_take_effect(tmp_path: Path) -> None:
    """`set keys vi` and `set theme` at once; the file of commands at the beginning."""
    from prompt_toolkit.enums import EditingMode

    config = tmp_path / "XDG_CONFIG_HOME" / "meshdiag"
    config.mkdir(parents=True)
    (config / "shellrc").write_text("set theme light\n")

    def acts(person: Person) -> None:
        person.ready()
        person.until(lambda: person.app._theme == "light")
        assert person.app.session.editing_mode is EditingMode.EMACS
        person.type("set keys vi\r")
        person.until(lambda: person.app.session.editing_mode is EditingMode.VI)
        person.until(lambda: person.app.session.app.is_running)
        person.type("set keys emacs\r")
        person.until(lambda: person.app.session.editing_mode is EditingMode.EMACS)
        person.until(lambda: person.app.session.app.is_running)

    drive(tmp_path, acts)


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (20, 5)])
def test_small_terminals(tmp_path: Path, size: tuple[int, int]) -> None:
    def acts(person: Person) -> None:
        person.ready()
        person.type("open ")
        person.until(lambda: person.text == "open ")
        person.until(lambda: "nothing" in person.screen)

    assert drive(tmp_path, acts, size=size) == 0


# -- history


def test_history_keeps_no_secrets(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "history"
    history = History(path)
    history.append_string("explain authorization: Bearer abcdefgh12345678")
    history.append_string(" note not kept")
    history.append_string("x" * 20_000)
    history.append_string("causes\nwhy 1")
    text = path.read_text()
    assert "abcdefgh" not in text
    assert "<credential:" in text
    assert "not kept" not in text
    assert "xxx" not in text
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert next(iter(History(path).load_history_strings())) == "causes\nwhy 1"


def test_history_of_others_is_closed_and_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "history"
    path.write_text("".join(f"\n# then\n+entry {n}\n" for n in range(5_100)))
    path.chmod(0o644)
    monkeypatch.setattr("meshdiag.shell.history.FILE_BYTES", 1_000)
    History(path).append_string("the last")
    assert path.stat().st_mode & 0o777 == 0o600
    entries = list(History(path).load_history_strings())
    assert entries[:2] == ["the last", "entry 5099"]
    assert len(entries) == 2_501


def test_a_history_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    history = History(tmp_path / "file" / "history")
    history.append_string("causes")
    assert list(history.load_history_strings()) == []
