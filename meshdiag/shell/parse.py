"""What a person typed, as statements: commands with words, where their output goes, shell commands, pasted lines. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from meshdiag.model import MeshdiagError


@dataclass(frozen=True, slots=True)
class Statement:
    """One command.

    name    of the command; `!` for a shell command, "" for a pasted line or a word to explain
    words   its arguments, without quotes; of a raw command (and of `!` and "") one: the rest of the text as it stands
    file    where its output is written (`> file`; `append`: `>> file`)
    pipe    a shell command that gets its output (`| less`)
    """

    name: str
    words: tuple[str, ...] = ()
    file: str = ""
    append: bool = False
    pipe: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """A word with where it begins and ends in the text; `open`: its quote is not closed."""

    text: str
    start: int
    end: int
    open: bool = False


def parse(
    text: str, is_command: Callable[[str], bool], is_raw: Callable[[str], bool], *, script: bool = False
) -> list[Statement]:
    """The statements of a text: separated by `;` or line ends, comments behind `#` left out.

    `is_command` says whether a word names a command, `is_raw` whether it takes the rest of the line as it stands. A line that
    begins with no command is one statement with the name "": a pasted line or a word, of which nothing is taken apart.

    Several lines that are no script are mostly pasted, perhaps out of a hostile log. Unless each of them begins with a command
    they are one pasted text; and none of them runs a program. Raises MeshdiagError for that, for a quote that is not closed,
    and for a `>` or `|` with nothing behind it.
    """
    lines = [line for line in text.strip().split("\n") if line.strip()]
    pasted = len(lines) > 1 and not script
    if pasted and not all(is_command(_first(line)) for line in lines):
        return [Statement("", (text.strip(),))]
    found = [s for line in lines for s in _line(line.strip(), is_command, is_raw)]
    if pasted and any(s.file or s.pipe for s in found):
        raise MeshdiagError(
            "several lines at once cannot use | or >: put them into a file and run `meshdiag shell FILE`"
        )
    return found


def _first(text: str) -> str:
    return next((w.text for w, kind in words_of(text) if kind == "w"), "")


def _line(text: str, is_command: Callable[[str], bool], is_raw: Callable[[str], bool]) -> Iterator[Statement]:
    while text and not text.startswith("#"):
        if text.startswith("!"):
            yield Statement("!", (text[1:].strip(),))
            return
        first = _first(text)
        if not is_command(first):
            yield Statement("", (text,))
            return
        if is_raw(first):
            rest = text.partition(first)[2].strip()
            yield Statement(first, (rest,) if rest else ())
            return
        statement, text = _one(text)
        yield statement
        text = text.lstrip("; \t\r")


def _one(text: str) -> tuple[Statement, str]:
    """The first statement, and the text behind it."""
    words: list[str] = []
    file, append, pipe = "", False, ""
    target = False
    for kind, word, end in _tokens(text):
        if kind == ";":
            return _made(words, file, append, pipe, target), text[end:]
        if kind == "|":
            pipe = text[end:].strip()
            if not pipe:
                raise MeshdiagError("nothing stands behind |: name a program, as in `causes | less`")
            return _made(words, file, append, pipe, target), ""
        if kind in (">", ">>"):
            target, append = True, kind == ">>"
        elif target and not file:
            file = word
        else:
            words.append(word)
    return _made(words, file, append, pipe, target), ""


def _made(words: list[str], file: str, append: bool, pipe: str, target: bool) -> Statement:
    if target and not file:
        raise MeshdiagError("nothing stands behind >: name a file, as in `causes > causes.txt`")
    return Statement(words[0], tuple(words[1:]), file, append, pipe)


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """(kind, text, where it ends): words (kind `w`), `;` (also a line end), `|`, `>`, `>>`."""
    for word, kind in words_of(text):
        if word.open:
            raise MeshdiagError(f"a quote is not closed: {text[word.start : word.start + 40]}")
        yield kind, word.text, word.end


def words_of(text: str) -> Iterator[tuple[Word, str]]:
    """The words of a text with their kinds (see `_tokens`); the last one may have an open quote. For completion, too."""
    i, n = 0, len(text)
    while i < n:
        c = text[i]
        if c in " \t\r":
            i += 1
        elif c in ";\n":
            yield Word(c, i, i + 1), ";"
            i += 1
        elif c == "|":
            yield Word(c, i, i + 1), "|"
            i += 1
        elif c == ">":
            length = 2 if text.startswith(">>", i) else 1
            yield Word(c * length, i, i + length), c * length
            i += length
        elif c == "#" and (i == 0 or text[i - 1] in " \t\r\n;"):
            i = text.find("\n", i) if "\n" in text[i:] else n
        else:
            start, parts, quote = i, [], ""
            while i < n:
                c = text[i]
                if quote:
                    if c == quote:
                        quote = ""
                    elif c == "\\" and quote == '"' and text[i + 1 : i + 2] in ('"', "\\"):
                        i += 1
                        parts.append(text[i])
                    else:
                        parts.append(c)
                elif c in "\"'":
                    quote = c
                elif c == "\\" and text[i + 1 : i + 2] in (" ", ";", "|", ">", '"', "'", "\\"):
                    i += 1
                    parts.append(text[i])
                elif c in " \t\r\n;|>":
                    break
                else:
                    parts.append(c)
                i += 1
            yield Word("".join(parts), start, i, bool(quote)), "w"
