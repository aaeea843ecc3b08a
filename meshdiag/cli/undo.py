"""`meshdiag undo`: what was changed, and taking it back."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from meshdiag.cli.changing import add_changing, agreed, asked, carried_out, refusing, show
from meshdiag.cli.cluster import add_access
from meshdiag.cli.common import EXIT_FAILURES, EXIT_OK, EXIT_USAGE, Formatter, add_colour, style_of
from meshdiag.model import MeshdiagError
from meshdiag.views.safe import safe

if TYPE_CHECKING:
    from meshdiag.fixing import Entry, Journal

KIND = "log-level"


def add(commands: Any) -> None:
    """Add the command to the parser."""
    c = commands.add_parser(
        "undo",
        help="list what was changed with `fix`, or take it back",
        description="Without ID: what meshdiag has changed, and what became of runs that were interrupted (looked up in the cluster). "
        "With ID: put back the previous values of the fields that were changed, after a look at the exact difference.",
        epilog="Exit code: 0 listed, or taken back; 1 declined; 2 refused, or wrong usage.",
        formatter_class=Formatter,
    )
    c.add_argument("id", nargs="?", type=int, metavar="ID", help="number of the change, as it is listed")
    add_changing(c)
    add_access(c.add_argument_group("live cluster"))
    add_colour(c)
    c.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    return refusing(options, _run)


def _run(options: argparse.Namespace) -> int:
    from meshdiag.fixing import Journal, prepare_undo

    journal = Journal()
    if options.id is None:
        return _list(options, journal)
    entry = journal.get(options.id)
    if entry.kind == KIND:
        return _restore(options, journal, entry)
    prepared = asked(options, lambda api: prepare_undo(api, entry, journal), entry.context)
    if not prepared.steps:
        print("Nothing to do: all is as it was before (a restart cannot be taken back).")
        return EXIT_OK
    show(options, prepared)
    if options.dry_run:
        return EXIT_OK
    if not agreed(options, prepared):
        print("Nothing was changed.")
        return EXIT_FAILURES
    done = carried_out(options, prepared, journal, entry.context)
    print(f"Taken back. `meshdiag undo {done.id}` makes the change again.")
    return EXIT_OK


def _restore(options: argparse.Namespace, journal: Journal, entry: Entry) -> int:
    """Log levels that were raised and not set back, as the run was killed: setting them back is safe."""
    from meshdiag.fixing import Prepared, State, loggers
    from meshdiag.model import Risk
    from meshdiag.views.safe import one_line

    if entry.standing is State.DONE:
        print("Nothing to do: the levels were set back.")
        return EXIT_OK
    for target in loggers.told(entry):
        for scope, level in target.before.items():
            print(one_line(f"{target.pod} {target.container}: {scope}: {target.wanted[scope]} -> {level}"))
    if options.dry_run:
        return EXIT_OK
    if not agreed(options, Prepared(entry.title, Risk.SAFE, ())):
        print("Nothing was changed.")
        return EXIT_FAILURES
    _, failed = asked(options, lambda api: loggers.restore(api, journal, entry), entry.context)
    for why in failed:
        print(f"meshdiag: {safe(why)}", file=sys.stderr)
    if failed:
        return EXIT_USAGE
    print("Set back.")
    return EXIT_OK


def _list(options: argparse.Namespace, journal: Journal) -> int:
    from meshdiag.fixing import State, settle
    from meshdiag.fixing.undo import undone
    from meshdiag.views.safe import one_line

    style = style_of(options)
    entries, broken = journal.entries()
    for i, entry in enumerate(entries):
        if entry.kind != KIND and entry.standing in (State.SENT, State.PLANNED):
            try:
                entries[i] = asked(options, lambda api, e=entry: settle(api, e, journal), entry.context)  # type: ignore[misc]
            except MeshdiagError as e:
                print(f"meshdiag: whether {entry.id} was done cannot be looked up: {safe(str(e))}", file=sys.stderr)
    if not entries:
        print("Nothing was changed so far.")
    for entry in entries:
        when = entry.begun.astimezone().strftime("%Y-%m-%d %H:%M") if entry.begun else ""
        by = undone(entry, entries)
        print(
            f"{style(f'{entry.id:>4}', 'bold')}  {when}  {one_line(entry.context)}  {one_line(entry.title)}: {_state(entry, by)}"
        )
        for step in entry.steps:
            print(
                f"      {step.change.verb.past if step.state is State.DONE else step.state} {one_line(str(step.ref))}"
            )
    for why in broken:
        print(f"meshdiag: {safe(why)}", file=sys.stderr)
    return EXIT_OK


def _state(entry: Entry, by: int) -> str:
    from meshdiag.fixing import State

    if by:
        return f"taken back by {by}"
    if entry.kind == KIND:
        return "set back" if entry.standing is State.DONE else f"perhaps not set back: `meshdiag undo {entry.id}` does"
    match entry.standing:
        case State.SENT:
            return "sent, and may still arrive: look again in a minute"
        case State.UNKNOWN:
            return "perhaps done: somebody has changed it since"
        case State.DONE:
            return "done in part" if entry.left else "done"
    return "not done"
