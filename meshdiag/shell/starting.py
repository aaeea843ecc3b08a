"""What a shell begins with: its state, made behind the first prompt, and what is opened or followed at once. No prompt_toolkit."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from meshdiag.model import MeshdiagError

if TYPE_CHECKING:
    from meshdiag.shell.state import State


@dataclass(frozen=True, slots=True)
class Beginning:
    """What the command line asks for.

    inputs    captures to open
    follow    the words of a `tail` command; None: nothing is followed
    patterns  folders of further pattern files
    redact    tokens, cookies and keys are pseudonyms
    theme     `dark` or `light`, as the terminal's background is
    """

    inputs: tuple[str, ...] = ()
    follow: tuple[str, ...] | None = None
    patterns: tuple[str, ...] = ()
    redact: bool = True
    theme: str = "dark"

    @property
    def empty(self) -> bool:
        """Whether nothing is opened or followed."""
        return not self.inputs and self.follow is None

    def state(self) -> State:
        """A state with nothing in it. Raises MeshdiagError for patterns with faults."""
        from meshdiag.catalogue import Catalogue
        from meshdiag.shell.state import Settings, State
        from meshdiag.shell.work import Work

        catalogue = Catalogue.load(*self.patterns)
        return State(catalogue, Work(catalogue), Settings(redact=self.redact, theme=self.theme), patterns=self.patterns)

    def begin(self, state: State) -> None:
        """Opens and follows what was asked for. Raises MeshdiagError for what is not there."""
        from meshdiag.shell.commands import COMMANDS

        if self.inputs:
            state.work.open(self.inputs)
        if self.follow is not None:
            for _ in COMMANDS["tail"].run(state, self.follow):
                pass


def background(environment: Mapping[str, str]) -> str:
    """`light` when the terminal says so ($COLORFGBG: the last number is the background's), else `dark`."""
    return "light" if environment.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15") else "dark"


class Start:
    """Makes the state in a thread, so that a person can type meanwhile; `prepare` is called with it before it counts as ready."""

    def __init__(self, beginning: Beginning, prepare: Callable[[State], None] = lambda state: None) -> None:
        self._beginning, self._prepare = beginning, prepare
        self._done = threading.Event()
        self._state: State | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._make, name="meshdiag-start", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def _make(self) -> None:
        try:
            state = self._beginning.state()
            self._prepare(state)
        except Exception as e:  # raised where the state is wanted
            self.error = e
        else:
            self._state = state
            self._done.set()
            run_file(default_commands(), state)
            try:
                self._beginning.begin(state)
            except MeshdiagError as e:
                state.work.say(str(e), "error")
        finally:
            self._done.set()

    @property
    def ready(self) -> State | None:
        """The state, once it is there."""
        return self._state

    def wait(self) -> State:
        """The state; waits for it. Raises what stood in the way."""
        self._done.wait()
        if self._state is None:
            raise self.error or MeshdiagError("the shell could not be started")
        return self._state


def default_commands() -> Path:
    """The user's file of commands with which an interactive shell begins: settings and filters, mostly."""
    import platformdirs

    return Path(platformdirs.user_config_dir("meshdiag")) / "shellrc"


def run_file(path: Path, state: State) -> None:
    """Runs the commands of a file, if it is there. Only what goes wrong is told."""
    from meshdiag.shell.commands import execute
    from meshdiag.shell.results import Said

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        for _, result in execute(line, state, script=True):
            if isinstance(result, Said) and result.kind == "error":
                state.work.say(f"{path}: {line.strip()}: {result.text}", "error")


SAMPLES = "sample_logs"
OFFERED = ("03-no-healthy-upstream", "02-connection-refused", "01-healthy-mesh")


def welcome(exists: Callable[[str], bool] = lambda path: Path(path).exists()) -> tuple[str, ...]:
    """The first minute, in five lines of at most 79 columns."""
    sample = next((f"{SAMPLES}/{name}" for name in OFFERED if exists(f"{SAMPLES}/{name}")), "")
    return (
        "meshdiag says what is wrong in an Istio mesh. Only apply changes anything.",
        f"  open {sample}  a sample: then causes, show 1, fix 1"
        if sample
        else "  open PATH  reads logs, a folder or an archive: then causes, show 1, fix 1",
        "  tail -n NAMESPACE  follows a live mesh behind the prompt; tail -A all of it",
        "  Paste a log line, or type a word such as UH or NR, to have it explained.",
        "  help lists the commands, Tab completes, Ctrl-R searches, Ctrl-D leaves.",
    )
