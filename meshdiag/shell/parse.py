"""What a person typed, as statements: commands with words, where their output goes, shell commands, pasted lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from meshdiag.model import MeshdiagError

_LINE_END = re.compile(r"\r\n|\r|\n")
_BETWEEN = "; \t\r\n"
"""What may stand between statements."""


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
    for a `>` or `|` with nothing behind it, and for more than one of them.
    """
    lines = [line for one in _LINE_END.split(text) if (line := one.strip())]
    pasted = len(lines) > 1 and not script
    if pasted and not all(is_command(_first(line)) for line in lines):
        return [Statement("", (text.strip(),))]
    found = [s for line in lines for s in _line(line, is_command, is_raw)]
    if pasted and any(s.file or s.pipe or s.name == "!" for s in found):
        raise MeshdiagError(
            "several lines at once cannot use !, | or >: put them into a file and run `meshdiag shell -f FILE`"
        )
    return found


def _first(text: str) -> str:
    """The word that a statement begins with; "" when it begins with something else."""
    word, kind = next(words_of(text), (None, ""))
    return word.text if word is not None and kind == "w" else ""


def _line(text: str, is_command: Callable[[str], bool], is_raw: Callable[[str], bool]) -> Iterator[Statement]:
    at = 0
    while True:
        while at < len(text) and text[at] in _BETWEEN:
            at += 1
        word, kind = next(words_of(text, at), (None, ""))
        if word is None:
            return
        if text.startswith("!", at):
            yield Statement("!", (text[at + 1 :].strip(),))
            return
        if kind == "w" and not is_command(word.text):
            yield Statement("", (text[at:],))
            return
        if kind == "w" and is_raw(word.text):
            rest = text[word.end :].strip()
            yield Statement(word.text, (rest,) if rest else ())
            return
        statement, at = _one(text, at)
        yield statement


def _one(text: str, at: int) -> tuple[Statement, int]:
    """The statement that begins at an offset, and where it ends."""
    words: list[str] = []
    file, pipe, arrow = "", "", ""
    for word, kind in words_of(text, at):
        at = word.end
        if word.open:
            raise MeshdiagError(f"a quote is not closed: {text[word.start : word.start + 40]}")
        if kind == ";":
            break
        if kind == "w":
            if arrow and not file:
                file = word.text
            else:
                words.append(word.text)
        elif not words:
            raise MeshdiagError(f"no command stands before {kind}: causes {kind} …")
        elif arrow:
            raise MeshdiagError(f"output goes to one place: leave {arrow} or {kind} away")
        elif kind == "|":
            pipe, at = text[word.end :].strip(), len(text)
            if not pipe:
                raise MeshdiagError("nothing stands behind |: name a program, as in `causes | less`")
            break
        else:
            arrow = kind
    if arrow and not file:
        raise MeshdiagError(f"nothing stands behind {arrow}: name a file, as in `causes {arrow} causes.txt`")
    return Statement(words[0], tuple(words[1:]), file, arrow == ">>", pipe), at


def words_of(text: str, start: int = 0) -> Iterator[tuple[Word, str]]:
    """The words of a text from an offset on, each with its kind: `w` of a word, `;` (also a line end), `|`, `>`, `>>`.

    The last one may have an open quote. For completion, too.
    """
    i, n = start, len(text)
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
        elif c == "#" and (i == 0 or text[i - 1] in _BETWEEN) and not text[i + 1 : i + 2].isdigit():  # #2 is a finding
            end = text.find("\n", i)
            i = n if end < 0 else end
        else:
            begin, parts, quote = i, [], ""
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
            yield Word("".join(parts), begin, i, bool(quote)), "w"
