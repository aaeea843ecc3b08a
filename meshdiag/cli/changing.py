"""Commands that change a cluster: they show the difference, ask, and tell what became of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from meshdiag.cli.common import EXIT_USAGE, style_of
from meshdiag.model import MeshdiagError, Risk

if TYPE_CHECKING:
    from meshdiag.fixing import Entry, Journal, Prepared
    from meshdiag.sources.kubernetes.api import Api
    from meshdiag.views.style import Style

T = TypeVar("T")


def add_changing(c: argparse.ArgumentParser) -> None:
    """The options of a command that changes a cluster."""
    g = c.add_argument_group("the change")
    g.add_argument(
        "--yes", action="store_true", help="do not ask, for a change that is marked safe (others are refused)"
    )
    g.add_argument("--dry-run", action="store_true", help="show the difference and leave")
    g.add_argument("--force-conflicts", action="store_true", help="also change fields that somebody else owns")


def asked(options: argparse.Namespace, steps: Callable[[Api], Awaitable[T]], context: str = "") -> T:
    """What comes of asking the cluster that the options (or else a context) name."""
    from meshdiag.sources.kubernetes.access import accesses
    from meshdiag.sources.kubernetes.api import ask

    context = options.context or context
    (access,) = accesses(options.kubeconfig, (context,) if context else (), options.as_user, options.as_group)
    return ask(access, steps)


def show(options: argparse.Namespace, prepared: Prepared) -> None:
    """The change: its title, why, risk, and the exact difference."""
    from meshdiag.views.safe import one_line

    style = style_of(options)
    print(style(one_line(prepared.title), "bold"))
    if prepared.why:
        print(one_line(prepared.why))
    colour = {Risk.SAFE: "green", Risk.CHANGES_TRAFFIC: "yellow", Risk.WEAKENS_SECURITY: "red"}[prepared.risk]
    print(f"Risk: {style(prepared.risk.value, colour)}\n")
    print_diff(prepared.diff, style)
    print()
    for owner in prepared.owners:
        print(f"{style('Conflict:', 'red')} {one_line(str(owner))}")


def print_diff(diff: str, style: Style) -> None:
    """A unified diff, coloured, and inert."""
    from meshdiag.views.safe import safe

    for line in safe(diff).splitlines():
        names = {"+": ("green",), "-": ("red",), "@": ("cyan",)}.get(line[:1], ())
        print(style(line, "bold") if line.startswith(("+++", "---")) else style(line, *names) if names else line)


def agreed(options: argparse.Namespace, prepared: Prepared) -> bool:
    """Whether the user wants what was shown. Raises MeshdiagError where that cannot be asked."""
    if options.yes and prepared.risk is Risk.SAFE:
        return True
    if options.yes:
        raise MeshdiagError(
            f"--yes is only for changes that are safe, and this one {prepared.risk}: leave --yes away to be asked"
        )
    if not sys.stdin.isatty():
        raise MeshdiagError("nothing was changed: there is no terminal to ask on; --yes applies what is marked safe")
    print("Apply this? [y/N] ", end="", flush=True)
    try:
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except KeyboardInterrupt:
        print("\nNothing was changed.", end="")
        raise
    finally:
        print(flush=True)


def carried_out(options: argparse.Namespace, prepared: Prepared, journal: Journal, context: str = "") -> Entry:
    """Does what was agreed to, and tells each step. Raises Refused."""
    from meshdiag.fixing import State, apply
    from meshdiag.views.safe import safe

    begun: list[Entry] = []

    def told(entry: Entry) -> None:
        for step in entry.steps:
            known = next((s.state for s in begun[-1].steps if s.change is step.change), None) if begun else None
            if step.state is State.DONE and known is not State.DONE:
                print(f"{step.change.verb.past} {safe(str(step.ref))}", flush=True)
        begun.append(entry)

    kind = "undo" if prepared.undoes else "fix"
    try:
        return asked(
            options,
            lambda api: apply(api, prepared, journal, force=options.force_conflicts, told=told, kind=kind),
            context,
        )
    except KeyboardInterrupt:
        if begun:
            print(f"\nmeshdiag: {interrupted(journal.get(begun[0].id))}", file=sys.stderr)
        raise


def refusing(options: argparse.Namespace, run: Callable[[argparse.Namespace], int]) -> int:
    """A command's run; where it is refused the difference that stands in the way is shown, and the reason, both inert."""
    from meshdiag.fixing import Refused
    from meshdiag.views.safe import safe

    try:
        return run(options)
    except MeshdiagError as e:  # its words may be those of a webhook, or of whoever named an object
        if isinstance(e, Refused):
            print_diff(e.diff, style_of(options))
            sys.stdout.flush()
        print(f"meshdiag: {safe(str(e))}", file=sys.stderr)
        return EXIT_USAGE


def interrupted(entry: Entry) -> str:
    """What an entry whose run was interrupted has done, and may have done."""
    from meshdiag.fixing import State
    from meshdiag.views.safe import safe

    by = {state: ", ".join(safe(str(s.ref)) for s in entry.steps if s.state is state) for state in State}
    said = [f"changed: {by[State.DONE]}"] if by[State.DONE] else []
    said += [f"perhaps changed, for the answer was not waited for: {by[State.SENT]}"] if by[State.SENT] else []
    if not said:
        return "interrupted before anything was changed"
    left = by[State.PLANNED]
    said += [f"not changed: {left}"] if left else []
    return f"interrupted; {'; '.join(said)}. `meshdiag undo` finds out, `meshdiag undo {entry.id}` takes it back"
