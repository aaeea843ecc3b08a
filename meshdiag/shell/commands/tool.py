"""Commands about the tool itself; and what is typed or pasted that is no command."""

from __future__ import annotations

from collections.abc import Iterator

from meshdiag.explanation import explain
from meshdiag.model import MeshdiagError
from meshdiag.shell import results as r
from meshdiag.shell.commands.table import ALIASES, COMMANDS, command, meant, named, number_of
from meshdiag.shell.state import State

MOST_LINES = 200
MOST_CHARS = 1 << 16
"""Of a pasted text so much is looked at."""


def excerpt(text: str) -> str:
    """The part of a pasted text that is looked at."""
    return "\n".join(text[:MOST_CHARS].splitlines()[:MOST_LINES])


def explained(state: State, text: str) -> Iterator[r.Result]:
    """A pasted line, a word of the glossary, or a mistyped command."""
    part = excerpt(text)
    words = part.split(None, 4)
    word = words[0] if words else ""
    short = len(words) < 4 and not part.startswith(("[", "{"))
    near = meant(word.lower(), [*COMMANDS, *ALIASES], 0.7)
    try:
        explanation = explain(part, state.catalogue)
    except MeshdiagError as e:
        raise MeshdiagError(_neither(word, near, str(e))) from None
    known = explanation.kind != "line" or bool(explanation.pattern)
    if "\n" in part and named(word) is not None and not known:
        raise MeshdiagError(
            "several lines at once are run when each is a command, and none begins with !: meshdiag shell -f FILE runs more"
        )
    if near and short and not known:
        raise MeshdiagError(f"no command is named {word[:80]!r}: {near}")
    yield r.Explained(explanation)
    if len(part) < len(text.rstrip()):
        yield r.Said(f"only its first {part.count(chr(10)) + 1:,} lines were looked at", hint="open FILE reads it all")
    if near and (short or not known):
        yield r.Said(near)


def _neither(word: str, near: str, why: str) -> str:
    """What to say of what is no command, and cannot be explained."""
    n = number_of(word)
    if n is not None:
        return f"{word[:80]!r} is no command: show {n}, why {n}, lines {n} and fix {n} are"
    if near:
        return f"no command is named {word[:80]!r}: {near}"
    return f"{word[:80]!r} is no command, and {of_shell(why)[:300]}; help lists the commands"


def of_shell(text: str) -> str:
    """A sentence that names a command of the program, with that of the shell."""
    return text.replace("`meshdiag explain UH`", "explain UH")


@command(
    "patterns",
    "[ID]",
    "how many patterns there are; one as it stands in its file",
    "tool",
    takes="pattern",
    paged=True,
    most=1,
)
def _patterns(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    book = state.catalogue
    if not words:
        by: dict[str, int] = {}
        for p in book.patterns:
            by[p.component or "any"] = by.get(p.component or "any", 0) + 1
        rows = tuple((name, f"{n:,}") for name, n in sorted(by.items()))
        yield r.Table(f"{len(book.patterns):,} patterns of {len(book.causes)} causes", rows, "patterns ID shows one")
        return
    found = book.by_id.get(words[0])
    if found is not None:
        yield r.PatternShown(found)
        return
    of_cause = tuple((p.id, f"{p.component or 'any'}, {p.confidence}") for p in book.patterns if p.cause == words[0])
    if of_cause:
        yield r.Table(f"Patterns of {words[0]}", of_cause, "patterns ID shows one")
        return
    near = meant(words[0], [*book.by_id, *book.causes])
    raise MeshdiagError(f"no pattern is named {words[0][:80]!r}: {near or 'show N names those that matched'}")


@command("reload", "", "load the patterns anew, and read the captures again with them", "tool", most=0)
def _reload(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    from meshdiag.catalogue import Catalogue

    book = Catalogue.load(*state.patterns)
    again = state.work.reload(book)
    state.catalogue, state.numbers = book, {}
    unmarked = state.mark is not None
    state.mark = None
    yield r.Said(
        f"{len(book.patterns):,} patterns loaded"
        + (f", reading {', '.join(again)} again …" if again else "")
        + ("; the mark is gone" if unmarked else "")
    )


@command("history", "[TEXT]", "what was typed; with TEXT only lines that have it", "tool", paged=True)
def _history(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    wanted = " ".join(words)
    rows = tuple((str(i), line) for i, line in enumerate(state.history, 1) if wanted in line)
    none = "nothing was typed that has it" if state.history else "nothing was typed so far"
    yield r.Table("History", rows) if rows else r.Said(none)


@command("help", "[COMMAND]", "all commands, or one", "tool", takes="command", paged=True, most=1)
def _help(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    if not words:
        yield r.Table("Commands", tuple((c.usage, c.help) for c in COMMANDS.values()), HELP)
        return
    found = named(words[0])
    if found is None:
        near = meant(words[0], [*COMMANDS, *ALIASES])
        raise MeshdiagError(f"no command is named {words[0][:80]!r}: {near or 'help lists all'}")
    also = sorted(a for a, name in ALIASES.items() if name == found.name)
    yield r.Table(found.usage, ((found.help,),), f"also: {', '.join(also)}" if also else "")


HELP = (
    "Paste a log line to have it explained. COMMAND | PROGRAM and COMMAND > FILE take the output elsewhere, ! runs a program, ; stands "
    "between commands."
)


@command("quit", "", "leave (also Ctrl-D)", "tool", most=0)
def _quit(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    yield r.Leave()
