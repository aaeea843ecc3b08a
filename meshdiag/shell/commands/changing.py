"""Commands that change a cluster: the change is shown first, and made when the person says yes to what was shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from meshdiag.cluster import Edit, Verdict
from meshdiag.model import MeshdiagError
from meshdiag.shell import results as r
from meshdiag.shell.commands.table import command, number, wanted
from meshdiag.shell.state import Change, State

if TYPE_CHECKING:
    from meshdiag.fixing import Prepared
    from meshdiag.sources.kubernetes.api import Api

T = TypeVar("T")
YES, FORCE = "yes", "force"
"""What a person says to the change that was shown; `force` also takes over fields that somebody else manages."""


@command(
    "apply",
    "N|CAUSE [K] | yes | force",
    "what mends it (its K-th change): the exact difference; apply yes makes it, apply force also where others manage the fields",
    "fix",
    takes="finding",
    paged=True,
    most=2,
)
def _apply(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    from meshdiag.fixing import prepare

    if words in ((YES,), (FORCE,)):
        yield from _make(state, words[0], undoing=False)
        return
    finding = state.finding(wanted(words, "apply"))
    context = _live(state)
    edits = [e for c in finding.checks if c.verdict is Verdict.CONFIRMED for e in c.edits]
    if not edits:
        raise MeshdiagError(
            f"the state of the cluster proves no change right for {finding.cause}: fix {words[0]} says what a person can do"
        )
    if len(edits) > 1 and len(words) == 1:
        yield _listed(edits, words[0])
        return
    which = number(words[1], "apply", 1, len(edits)) if len(words) > 1 else 1
    edit = edits[which - 1]
    prepared = _asked(context, lambda api: prepare(api, edit))
    if not prepared.steps:
        yield r.Said(f"{edit.title}: it is so already")
        return
    state.change = Change(prepared, context, (finding.cause, finding.subject))
    yield _shown(prepared)


@command("undo", "[ID | yes | force]", "what was changed with apply or fix; undo ID shows how it is taken back, undo yes does it",
         "fix", paged=True, most=1)  # fmt: skip
def _undo(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    from meshdiag.fixing import Journal, prepare_undo

    if words in ((YES,), (FORCE,)):
        yield from _make(state, words[0], undoing=True)
        return
    journal = Journal()
    if not words:
        entries, broken = journal.entries()
        rows = tuple((str(e.id), e.title, f"{e.standing}", ", ".join(str(s.ref) for s in e.steps)) for e in entries)
        yield (
            r.Table("Changes", rows, "undo ID shows how one is taken back")
            if rows
            else r.Said("nothing was changed so far")
        )
        for why in broken:
            yield r.Said(why, "warning")
        return
    entry = journal.get(number(words[0], "undo", 1))
    if entry.kind not in ("fix", "undo"):
        raise MeshdiagError(f"{entry.id} is no change of an object: meshdiag undo {entry.id} takes it back")
    prepared = _asked(entry.context, lambda api: prepare_undo(api, entry, journal))
    if not prepared.steps:
        yield r.Said("nothing to do: all is as it was before (a restart cannot be taken back)")
        return
    state.change = Change(prepared, entry.context, None)
    yield _shown(prepared)


def _make(state: State, word: str, undoing: bool) -> Iterator[r.Result]:
    """Makes the change that was shown last, and no other."""
    from meshdiag.fixing import Journal, apply

    change = state.change
    if change is None or bool(change.prepared.undoes) is not undoing:
        raise MeshdiagError(
            f"nothing was shown that could be done: {'undo ID' if undoing else 'apply N'} shows it first"
        )
    name, force = ("undo" if undoing else "apply"), word == FORCE
    if change.prepared.owners and not force:
        raise MeshdiagError(
            f"others manage these fields: {name} {FORCE} takes them over, as kubectl's --force-conflicts does"
        )
    state.change = None
    kind = "undo" if undoing else "fix"
    entry = _asked(change.context, lambda api: apply(api, change.prepared, Journal(), kind=kind, force=force))
    yield r.Said(f"done: {change.prepared.title}", "good", hint=f"undo {entry.id} takes it back")
    if change.finding is not None and state.work.is_live:
        state.work.tell_about(change.finding)
        yield r.Said("the mesh is followed: you are told when it is over")


def _listed(edits: list[Edit], name: str) -> r.Table:
    rows = tuple((str(i), e.title, e.risk.value, str(e.ref)) for i, e in enumerate(edits, 1))
    return r.Table("Changes that mend it", rows, f"apply {name} 1 shows the first")


def _shown(prepared: Prepared) -> r.Difference:
    owned = tuple(str(o) for o in prepared.owners)
    return r.Difference(prepared.title, prepared.why, prepared.risk, prepared.diff, owned, bool(prepared.undoes))


def _live(state: State) -> str:
    """The context of the live cluster that findings are checked against. Raises MeshdiagError when they are checked against files."""
    if state.work.snapshot is None or state.work.context is None:
        raise MeshdiagError("a change is made in a live cluster: cluster live looks at it first")
    return state.work.context


def _asked(context: str, steps: Callable[[Api], Awaitable[T]]) -> T:
    from meshdiag.sources.kubernetes.access import accesses
    from meshdiag.sources.kubernetes.api import ask

    (access,) = accesses(None, (context,) if context else ())
    return ask(access, steps)
