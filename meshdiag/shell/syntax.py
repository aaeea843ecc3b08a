"""What the pieces of a typed text are, for colours. Pure; the pieces together are the text."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from meshdiag.shell.parse import words_of
from meshdiag.views.syntax import Piece, log_line


def typed(text: str, is_command: Callable[[str], bool], is_raw: Callable[[str], bool]) -> Iterator[Piece]:
    """The pieces of one line at the prompt."""
    at = 0
    while at < len(text):
        begin = at + len(text[at:]) - len(text[at:].lstrip("; \t"))
        if begin > at:
            yield "operator", text[at:begin]
        if begin == len(text):
            return
        if text.startswith("!", begin):
            yield "operator", "!"
            yield "program", text[begin + 1 :]
            return
        word, kind = next(words_of(text, begin), (None, ""))
        if word is None:
            yield "comment", text[begin:]
            return
        if kind != "w" or not is_command(word.text):
            yield from log_line(text[begin:])
            return
        yield "command", text[word.start : word.end]
        if is_raw(word.text):
            yield from log_line(text[word.end :])
            return
        at = word.end
        for word, kind in words_of(text, at):
            if word.start > at:
                yield "", text[at : word.start]
            piece, at = text[word.start : word.end], word.end
            if kind == "w":
                yield _kind(piece), piece
                continue
            yield "operator", piece
            if kind == ";":
                break
            if kind == "|":
                yield "program", text[at:]
                return
        else:
            if at < len(text):
                yield "comment" if text[at:].strip() else "", text[at:]
            return


def _kind(word: str) -> str:
    if word[0] in "\"'":
        return "string"
    if word.startswith("-"):
        return "option"
    return "number" if word.lstrip("#").isdigit() else "argument"
