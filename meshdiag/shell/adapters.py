"""What prompt_toolkit asks for while a person types: completions, colours, and a text that does nothing to the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.lexers import Lexer

from meshdiag.shell import syntax
from meshdiag.views.safe import safe

if TYPE_CHECKING:
    from meshdiag.shell.state import State

COLOURED_CHARS = 20_000
"""A longer text has no colours."""

Ready = Callable[[], "State | None"]


class ShellCompleter(Completer):
    """Completions of `completion.complete`."""

    def __init__(self, ready: Ready) -> None:
        self._ready = ready

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """The candidates for the text before the cursor."""
        from meshdiag.shell.completion import complete

        state, text = self._ready(), document.text_before_cursor
        if state is None:
            return
        for c in complete(text, state):
            yield Completion(c.text, c.start - len(text), display=c.display, display_meta=c.meta)


class ShellLexer(Lexer):
    """Colours of `syntax`."""

    def __init__(self, ready: Ready) -> None:
        self._ready = ready

    def lex_document(self, document: Document) -> Callable[[int], StyleAndTextTuples]:
        """The pieces of a line, by its number."""
        lines = document.lines
        if self._ready() is None or len(document.text) > COLOURED_CHARS:
            return lambda n: [("", lines[n])]
        from meshdiag.shell.commands import named

        def is_command(word: str) -> bool:
            return named(word) is not None

        def is_raw(word: str) -> bool:
            found = named(word)
            return found is not None and found.raw

        def line(n: int) -> StyleAndTextTuples:
            return [(f"class:piece.{k}" if k else "", t) for k, t in syntax.typed(lines[n], is_command, is_raw)]

        return line


class Harmless(Processor):
    """Characters that reorder or hide text are drawn as �; prompt_toolkit itself does that for control characters."""

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        """The line as it is drawn."""
        some = transformation_input.fragments
        if all(safe(f[1]) == f[1] for f in some):
            return Transformation(some)
        return Transformation([(f[0], "".join(map(_drawn, f[1]))) for f in some])


def _drawn(char: str) -> str:
    return char if char < "\xa0" or safe(char) == char else "\ufffd"
