"""Taking back what the journal has: the previous values of the fields that were changed, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from meshdiag.cluster.edits import bare, patched
from meshdiag.fixing.applying import Planned, Prepared, Standing, attempt, get, restart, settle, standing
from meshdiag.fixing.journal import Entry, Journal, Saved, State
from meshdiag.fixing.plan import Change, Verb, creation, diff, difference, edition
from meshdiag.fixing.refusals import Refused
from meshdiag.model import Risk
from meshdiag.sources.kubernetes.api import Api


async def prepare_undo(api: Api, entry: Entry, journal: Journal, now: datetime | None = None) -> Prepared:
    """What takes an entry back, the last step first, tried out. A workload that was restarted for it is restarted again.

    Raises Refused when an object has been changed since in the same fields (its `diff` says how), is gone, or is another one.
    """
    now = now or datetime.now(UTC)
    entry = await settle(api, entry, journal)
    if entry.standing is State.SENT:
        raise Refused(f"{entry.title}: it may still be on its way: try again in a minute")
    done = [s for s in reversed(entry.steps) if s.state in (State.DONE, State.UNKNOWN)]
    steps = [p for s in done if not s.change.restart if (p := await _back(api, s))]
    if steps:
        steps += [await restart(api, s.ref, now) for s in reversed(done) if s.change.restart]
    return Prepared(f"Undo {entry.id}: {entry.title}", Risk.CHANGES_TRAFFIC, tuple(steps), undoes=entry.id)


def undone(entry: Entry, entries: Sequence[Entry]) -> int:
    """The id of the entry that has taken this one back, 0 when it stands."""
    by = [e.id for e in entries if e.undoes == entry.id and e.standing is State.DONE]
    return by[-1] if by and not undone_by(by[-1], entries) else 0


def undone_by(id: int, entries: Sequence[Entry]) -> bool:
    """Whether an undo was itself taken back."""
    return any(e.undoes == id and e.standing is State.DONE for e in entries)


async def _back(api: Api, saved: Saved) -> Planned | None:
    """The way back of one step; None when the object is as it was."""
    ref, before, after = saved.ref, saved.before, saved.after
    live = await get(api, ref)
    now = standing(saved, live)
    if now is Standing.BEFORE:
        return None
    if now is Standing.AFTER:
        if before is None:
            return await attempt(api, Change(Verb.DELETE, ref, {}), live)
        if after is None or live is None:
            return await attempt(api, creation(ref, bare(before)), None)
        return await attempt(api, edition(ref, live, difference(bare(after), bare(before))), live)
    if live is None:
        raise Refused(f"{ref} has been deleted since: there is nothing to put back into")
    if saved.after is None or saved.before is None:
        raise Refused(
            f"{ref} has been changed since, so it is left alone", diff(ref, saved.after or saved.before, live)
        )
    if live.get("metadata", {}).get("uid") != saved.before.get("metadata", {}).get("uid"):
        raise Refused(
            f"{ref} is another object than the one that was changed: it has been made anew since, or this is another cluster"
        )
    ours = patched(bare(live), difference(bare(saved.before), bare(saved.after)))
    raise Refused(f"{ref} has been changed since in the same fields, so it is left alone", diff(ref, ours, live))
