"""The interactive shell: a prompt of prompt_toolkit, in front of what goes on in threads."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from prompt_toolkit import PromptSession
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory, ThreadedAutoSuggest
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import vi_navigation_mode
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import ThreadedHistory
from prompt_toolkit.input import Input
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.styles import DynamicStyle

from meshdiag.shell import garbage
from meshdiag.shell.adapters import Harmless, ShellCompleter, ShellLexer
from meshdiag.shell.echo import Echo
from meshdiag.shell.history import History, default_path
from meshdiag.shell.keys import bindings
from meshdiag.shell.starting import Beginning, Start, welcome
from meshdiag.shell.themes import style_of

if TYPE_CHECKING:
    from meshdiag.shell.running import Runner
    from meshdiag.shell.state import Settings, State
    from meshdiag.shell.status import Status

TICK = 0.25
"""Seconds between looks at what goes on behind the prompt; the toolbar is drawn anew with every second one."""

SWITCH_SECONDS = 0.001
"""So long a thread may compute before another one gets its turn: a key press is answered in the time of a few turns."""

LOADING = "loading the patterns …"
HINT_SECONDS = 4.0
MENU_LINES = 8
"""Lines below the prompt that are kept free for the menu, where there are so many."""

EXIT_OK = 0


class App:
    """One interactive shell."""

    def __init__(
        self,
        beginning: Beginning,
        colour: str = "auto",
        *,
        history: History | None = None,
        input: Input | None = None,
        output: Output | None = None,
    ) -> None:
        self._beginning, self._colour = beginning, colour
        self._start = Start(beginning, self._prepare)
        self._history = history or History(default_path())
        self._runner: Runner | None = None
        self._status: Status | None = None
        self._garbage = garbage.Garbage()
        self._echo = Echo()
        self._hint = ("", 0.0)
        self._settings: Settings | None = None
        self.session: PromptSession[str] = PromptSession(
            [("class:prompt", "meshdiag> ")],
            history=ThreadedHistory(self._history),
            auto_suggest=ThreadedAutoSuggest(AutoSuggestFromHistory()),
            completer=ShellCompleter(lambda: self._start.ready),
            complete_in_thread=True,
            complete_while_typing=True,
            lexer=ShellLexer(lambda: self._start.ready),
            input_processors=[Harmless()],
            bottom_toolbar=self._toolbar,
            key_bindings=bindings(self._set_hint),
            style=DynamicStyle(lambda: style_of(self._theme)),
            include_default_pygments_style=False,
            prompt_continuation=[("class:prompt", "… ")],
            enable_open_in_editor=True,
            enable_suspend=True,
            color_depth=ColorDepth.DEPTH_1_BIT if colour == "never" else None,
            input=input,
            output=output,
        )
        self.session.app.key_processor.before_key_press += lambda _: self._garbage.typed(time.monotonic())

    def run(self) -> int:
        """Until a person leaves; the exit code. Raises MeshdiagError when the patterns have faults."""
        if self._beginning.empty:
            self._print("\n".join(welcome()) + "\n")
        self._start.start()
        with self._echo.hushed(), self._caring(), garbage.seldom():
            while True:
                try:
                    text = self._ask()
                    if text.strip() and self._run(text):
                        return EXIT_OK
                except KeyboardInterrupt:
                    continue
                except EOFError:
                    return EXIT_OK

    def _ask(self) -> str:
        """What a person typed. Raises EOFError when they leave."""
        self._apply()
        with patch_stdout():
            return self.session.prompt(pre_run=self._before)

    def _run(self, text: str) -> bool:
        """Runs a text; whether the shell ends with it."""
        if self._start.ready is None:
            self._print(LOADING)
            self._start.wait()
            self._print("\r\x1b[K")
        runner = self._runner
        assert runner is not None
        runner.state.history.append(text)
        outcome = runner.run(text)
        runner.tell()
        return outcome.leave

    def _prepare(self, state: State) -> None:
        """Makes what the prompt needs of a state; in another thread, so that the imports do not hold it up."""
        import meshdiag.shell.completion  # noqa: F401
        from meshdiag.shell.output import Terminal
        from meshdiag.shell.running import Runner
        from meshdiag.shell.status import Status

        state.history = [*reversed(list(self._history.load_history_strings()))]
        self._status = Status()
        self._runner = Runner(state, Terminal(interactive=True, colour=self._colour, echo=self._echo))
        gc.freeze()  # the catalogue and the modules stay: no need to look at them again

    # -- behind the prompt

    def _before(self) -> None:
        self.session.app.create_background_task(self._look())

    async def _look(self) -> None:
        """Looks from time to time at what goes on: prints messages above the prompt, draws the toolbar anew."""
        app = self.session.app
        known = self._start.ready
        turn = 0
        while True:
            await asyncio.sleep(TICK)
            turn += 1
            if self._start.error is not None:
                app.exit(exception=self._start.error)
                return
            self._apply()
            state = self._start.ready
            if state is None:
                continue
            if known is None:
                known = state
                app.invalidate()
                if self.session.default_buffer.text:  # what was typed before there was anything to complete
                    self.session.default_buffer.start_completion()
            if state.work.messages and self._runner is not None and not app._running_in_terminal:
                self._print_above(self._runner.messages())
            elif turn % 2 == 0 and self._moves():
                app.invalidate()
            else:
                self._garbage.look(time.monotonic())

    def _moves(self) -> bool:
        from meshdiag.shell.status import busy

        hint, until = self._hint
        if hint and time.monotonic() > until:
            self._hint = ("", 0.0)
            return True
        state = self._start.ready
        return state is not None and busy(state)

    def _apply(self) -> None:
        """Takes over settings, and a size of the terminal, that have changed."""
        self.session.reserve_space_for_menu = max(0, min(MENU_LINES, self.session.app.output.get_size().rows - 4))
        state = self._start.ready
        if state is None or state.settings is self._settings:
            return
        self._settings = state.settings
        self.session.editing_mode = EditingMode.VI if state.settings.keys == "vi" else EditingMode.EMACS

    @property
    def _theme(self) -> str:
        return self._settings.theme if self._settings is not None else self._beginning.theme

    def _set_hint(self, text: str) -> None:
        self._hint = (text, time.monotonic() + HINT_SECONDS)

    def _toolbar(self) -> StyleAndTextTuples:
        width = self.session.app.output.get_size().columns - 1
        hint, until = self._hint
        if hint and time.monotonic() <= until:
            return [("class:bar.hint", hint[:width])]
        state = self._start.ready
        if state is None or self._status is None:
            return [("", LOADING[:width])]
        mode = self._mode()
        parts = self._status.line(state, width - len(mode))
        return [("class:bar.hint", mode), *((f"class:bar.{kind}" if kind else "", text) for kind, text in parts)]

    def _mode(self) -> str:
        """Of vi keys, which are meant."""
        if self.session.editing_mode is not EditingMode.VI:
            return ""
        return "NORMAL  " if vi_navigation_mode() else "INSERT  "

    def _print_above(self, text: str) -> None:
        """Prints above the prompt.

        As `run_in_terminal` does, but the terminal stays raw: it would echo a key that is pressed meanwhile.
        """
        app = self.session.app
        app.renderer.erase()
        self._print(text.replace("\n", "\r\n"))
        app.renderer.reset()
        app.renderer.request_absolute_cursor_position()
        app.invalidate()

    def _print(self, text: str) -> None:
        out = self.session.app.output
        out.write_raw(text)
        out.flush()

    # -- around it

    @contextlib.contextmanager
    def _caring(self) -> Iterator[None]:
        """Faults in threads are told and written down, threads take short turns, a terminal that goes away ends us in order."""
        hook = threading.excepthook

        def told(args: Any) -> None:
            from meshdiag.shell.running import failure

            state = self._start.ready
            if args.exc_value is not None and not isinstance(args.exc_value, SystemExit) and state is not None:
                state.work.say(failure(args.exc_value), "error")

        def end(number: int, frame: FrameType | None) -> None:
            app, leave = self.session.app, SystemExit(128 + number)
            if not app.is_running or app.loop is None:
                raise leave

            def exit_prompt() -> None:
                with contextlib.suppress(Exception):  # it has ended by itself
                    app.exit(exception=leave)

            app.loop.call_soon_threadsafe(exit_prompt)

        numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        main = threading.current_thread() is threading.main_thread()
        before = {number: signal.signal(number, end) for number in numbers} if main else {}
        threading.excepthook = told
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            yield
        finally:
            threading.excepthook = hook
            sys.setswitchinterval(interval)
            for number, handler in before.items():
                signal.signal(number, handler)
            if (state := self._start.ready) is not None:
                state.work.close()
