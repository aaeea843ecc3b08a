"""The commands: a table of names, arguments and help, and a function for each. They give data back and touch no terminal.

Help, completion and docs/shell.md are made from this table. A new command is one function in the module of its group.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshdiag.model import MeshdiagError
from meshdiag.shell import results as r
from meshdiag.shell.commands import changing, findings, fixing, sources, tool, view
from meshdiag.shell.commands.sources import tail_parser
from meshdiag.shell.commands.table import ALIASES, COMMANDS, GROUPS, Command, named
from meshdiag.shell.parse import Statement, parse
from meshdiag.shell.saving import path_of
from meshdiag.shell.state import State

__all__ = [
    "ALIASES", "COMMANDS", "Command", "changing", "execute", "findings", "fixing", "named", "sources", "tail_parser", "tool",
    "view",
]  # fmt: skip

for _name in sorted(COMMANDS, key=lambda name: GROUPS.index(COMMANDS[name].group)):
    COMMANDS[_name] = COMMANDS.pop(_name)  # in the order of help


def execute(text: str, state: State, *, script: bool = False) -> Iterator[tuple[Statement, r.Result]]:
    """What a text gives, a statement and a result at a time. A person's mistake is a `Said` of kind `error`; nothing is raised.

    A text that begins with no command is explained: a word, or a pasted line.
    """
    try:
        statements = parse(text, lambda w: named(w) is not None, _is_raw, script=script)
    except MeshdiagError as e:
        yield Statement(""), r.Said(str(e), "error")
        return
    for statement in statements:
        try:
            for result in _run(statement, state):
                yield statement, result
        except MeshdiagError as e:
            yield statement, r.Said(str(e), "error")


def _is_raw(word: str) -> bool:
    found = named(word)
    return found is not None and found.raw


def _run(statement: Statement, state: State) -> Iterator[r.Result]:
    if statement.file and path_of(statement.file).exists() and not statement.append:
        raise MeshdiagError(f"{statement.file} is there already: >> adds to it, or name another file")
    if statement.name == "!":
        if not statement.words[0]:
            raise MeshdiagError("nothing stands behind !: name a program, as in `!kubectl get pods`")
        yield r.Program(statement.words[0])
    elif statement.name == "":
        yield from tool.explained(state, statement.words[0] if statement.words else "")
    elif (found := named(statement.name)) is not None:
        if found.most is not None and len(statement.words) > found.most:
            raise MeshdiagError(f"{found.name} takes no {statement.words[found.most][:80]!r}: it is {found.usage}")
        yield from found.run(state, statement.words)
