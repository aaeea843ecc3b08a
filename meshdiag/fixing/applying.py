"""Making a change: read the object, try it out on the server (dry run), and, when the user has said yes to the difference, do it.

`prepare` changes nothing. `apply` writes the journal before it sends, and goes on only when it knows what became of each step: an answer
that never came is looked for in the cluster. What it cannot know stays in the journal as sent, and `settle` finds it out later.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from meshdiag.cluster.edits import bare, patched
from meshdiag.cluster.objects import Ref, at
from meshdiag.cluster.secrets import is_removed
from meshdiag.cluster.verdict import Edit
from meshdiag.fixing.journal import Entry, Journal, Saved, State
from meshdiag.fixing.plan import (
    MANAGER,
    RESTARTABLE,
    Change,
    Owner,
    Verb,
    collection,
    creation,
    diff,
    difference,
    edition,
    locked,
    owners,
    path,
    restarting,
    stands,
)
from meshdiag.fixing.refusals import Refused, is_certain, known, owned, refused
from meshdiag.model import MeshdiagError, Risk
from meshdiag.sources.kubernetes.api import APPLY_PATCH, MERGE_PATCH, Api, ApiError, Unreachable

RETRIES = 5
"""A status that is written meanwhile makes another version of an object; so often the lock is taken anew, if nothing else has changed."""

IN_FLIGHT = 60.0
"""Seconds for which a request may still be worked on after its connection broke: kube-apiserver's --request-timeout is a minute."""

LOOK_SECONDS = (0.5, 1.0, 2.0)
"""After a broken connection the object is looked at again after these waits."""

Json = Mapping[str, Any]


class Uncertain(MeshdiagError):
    """A change was sent and it is not known whether it was made; the journal has it."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A step as the server would do it: the object as it is (None: there is none), as it would be, and whose fields change."""

    change: Change
    before: Json | None
    after: Json | None
    owners: tuple[Owner, ...] = ()

    @property
    def diff(self) -> str:
        """The exact difference as a unified diff of YAML."""
        return diff(self.change.ref, self.before, self.after)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What would be done, tried out and not yet done."""

    title: str
    risk: Risk
    steps: tuple[Planned, ...]
    undoes: int = 0
    why: str = ""

    @property
    def diff(self) -> str:
        """The differences of all steps."""
        return "\n".join(d for s in self.steps if (d := s.diff))

    @property
    def owners(self) -> tuple[Owner, ...]:
        """Whose fields are changed."""
        return tuple(o for s in self.steps for o in s.owners)


async def prepare(api: Api, edit: Edit, now: datetime | None = None) -> Prepared:
    """Reads the object (and the workloads to restart) and tries the edit out. Raises Refused when that does not work; changes nothing."""
    known(edit.ref)
    if is_removed(edit.patch):
        raise Refused(f"the change of {edit.ref} holds values that meshdiag does not keep: make it by hand")
    now = now or datetime.now(UTC)
    patch = dict(edit.patch)
    restarts = [r for r in edit.restart if r.kind in RESTARTABLE and (r != edit.ref or not patch)]
    live = await get(api, edit.ref)
    wanted = []
    if edit.create:
        if live is not None:
            raise Refused(f"{edit.ref} is there already: look again what is wrong", diff(edit.ref, None, live))
        wanted = [await attempt(api, creation(edit.ref, patch), None)]
    elif live is None:
        raise Refused(f"{edit.ref} is no longer there: look again what is wrong")
    elif patch:
        if stands(live, patch):
            return Prepared(edit.title, edit.risk, (), why=edit.why)
        if edit.ref in edit.restart:  # one request, one rollout
            patch = patched(patch, restarting(now))
        wanted = [await attempt(api, edition(edit.ref, live, patch), live)]
    wanted += [await restart(api, r, now) for r in restarts]
    return Prepared(edit.title, edit.risk, tuple(wanted), why=edit.why)


async def restart(api: Api, ref: Ref, now: datetime) -> Planned:
    """A restart of a workload, tried out."""
    live = await get(api, ref)
    if live is None:
        raise Refused(f"{ref}, which has to be restarted, is not there")
    return await attempt(api, edition(ref, live, restarting(now), restart=True), live)


async def attempt(api: Api, change: Change, live: Json | None) -> Planned:
    """A change as the server would make it: a dry run. Raises Refused."""
    try:
        after = await _send(api, change, live, dry=True)
    except (ApiError, Unreachable) as e:
        raise refused(change.ref, _right(change), e, api.where) from None
    if change.verb is Verb.DELETE:
        return Planned(change, live, None)
    theirs = owners(live, change.body) if live is not None and not change.restart else ()
    return Planned(change, live, after, theirs)


async def apply(
    api: Api,
    prepared: Prepared,
    journal: Journal,
    *,
    force: bool = False,
    told: Callable[[Entry], None] = lambda _: None,
    kind: str = "fix",
) -> Entry:
    """Does what was prepared and shown, and returns the journal's entry of it. `told` hears of it when it
    has begun, and of each step that is done.

    force   also where values are changed that somebody else owns

    Raises Refused when a step is not made: then those before it are, as its text says. Raises Uncertain when it cannot be known.
    """
    if prepared.owners and not force:
        step = next(s for s in prepared.steps if s.owners)
        raise owned(step.change.ref, step.owners, prepared.diff)
    if not prepared.steps:
        raise Refused(f"nothing to do: {prepared.title}: it is so already")
    steps = tuple(Saved(s.change, s.before, s.after) for s in prepared.steps)
    server = api.login.configuration.host
    entry = journal.begin(
        Entry(prepared.title, api.login.access.name, server, steps, kind=kind, undoes=prepared.undoes)
    )
    told(entry)
    for i in range(len(steps)):
        try:
            entry = await _step(api, entry, i, journal)
        except Refused as e:
            raise Refused(f"{e}{_done_so_far(journal.get(entry.id))}", e.diff) from None
        told(entry)
    return entry


def _done_so_far(entry: Entry) -> str:
    done = [str(s.ref) for s in entry.steps if s.state is State.DONE]
    return f". Already changed: {', '.join(done)}; `meshdiag undo {entry.id}` takes that back" if done else ""


async def _step(api: Api, entry: Entry, i: int, journal: Journal) -> Entry:
    """One step, to where it is known what became of it."""
    saved = entry.steps[i]
    change, live = saved.change, saved.before
    for again in range(RETRIES + 1):
        entry = journal.save(entry.with_step(i, state=State.SENT, sent=datetime.now(UTC)))
        try:
            answer = await _send(api, change, live)
        except ApiError as e:
            if not is_certain(e):
                return await _find_out(api, entry, i, journal, str(e))
            entry = journal.save(entry.with_step(i, state=State.NOT_DONE))
            if e.status == 409 and e.reason == "Conflict" and "Apply failed with" not in e.message and again < RETRIES:
                now = await get(api, change.ref)
                if saved.before is not None and now is not None and _same(now, saved.before):
                    live = now  # only its status is another one
                    continue
                changed = diff(change.ref, saved.before, now)
                raise Refused(
                    f"{change.ref} has been changed since it was shown, so it was left alone: look at it again", changed
                ) from None
            raise refused(change.ref, _right(change), e, api.where) from None
        except Unreachable as e:
            if e.sent:
                return await _find_out(api, entry, i, journal, str(e))
            journal.save(entry.with_step(i, state=State.NOT_DONE))
            raise refused(change.ref, _right(change), e, api.where) from None
        after = None if change.verb is Verb.DELETE else answer
        return journal.save(entry.with_step(i, state=State.DONE, after=after))
    raise AssertionError("unreachable")


async def _find_out(api: Api, entry: Entry, i: int, journal: Journal, why: str) -> Entry:
    """What became of a step whose answer did not come."""
    for wait in LOOK_SECONDS:
        await asyncio.sleep(wait)
        with contextlib.suppress(Refused):
            entry, now = await _looked_at(api, entry, i, journal)
            if now is Standing.AFTER:
                return entry
    raise Uncertain(
        f"{why}: whether {entry.steps[i].ref} was changed is not known (it was not a moment ago, or cannot be looked at); "
        f"`meshdiag undo` finds out, and `meshdiag undo {entry.id}` takes it back if it was"
    )


async def _looked_at(api: Api, entry: Entry, i: int, journal: Journal) -> tuple[Entry, Standing]:
    """How the object of a step is; when it is as after the step, that is written down."""
    saved = entry.steps[i]
    live = await get(api, saved.ref)
    now = standing(saved, live)
    if now is Standing.AFTER:
        entry = journal.save(entry.with_step(i, state=State.DONE, after=live if saved.before is None else saved.after))
    return entry, now


class Standing(StrEnum):
    """How an object is, by a step: as `before` it, as `after` it, or as somebody else made it (or of another uid)."""

    BEFORE = "before"
    AFTER = "after"
    OTHER = "other"


def standing(saved: Saved, live: Json | None) -> Standing:
    """How an object is now, as to the fields that a step changes. Pure."""
    before, after = saved.before, saved.after
    if live is None:
        return Standing.BEFORE if before is None else Standing.AFTER if after is None else Standing.OTHER
    if before is None or after is None:
        there = before if after is None else after
        if there is None:
            return Standing.OTHER
        # of one whose answer never came only the content is known: a dry run gives every object another uid
        known = _uid(live) == _uid(there) if before is not None or saved.state is State.DONE else _is_ours(live)
        same = known and not difference(bare(live), bare(there))
        return (Standing.AFTER if before is None else Standing.BEFORE) if same else Standing.OTHER
    if _uid(live) != _uid(before):
        return Standing.OTHER
    forth, back = difference(bare(before), bare(after)), difference(bare(after), bare(before))
    if stands(live, forth):
        return Standing.AFTER
    return Standing.BEFORE if stands(live, back) else Standing.OTHER


async def settle(api: Api, entry: Entry, journal: Journal) -> Entry:
    """Looks at the objects of steps that were sent without an answer, and writes down what became of them. Raises Refused.

    What has not arrived yet may still, for a minute; until then it stays `sent`.
    """
    for i, saved in enumerate(entry.steps):
        if saved.state is not State.SENT:
            continue
        entry, now = await _looked_at(api, entry, i, journal)
        if now is not Standing.AFTER and (
            saved.sent is None or (datetime.now(UTC) - saved.sent).total_seconds() > IN_FLIGHT
        ):
            entry = journal.save(entry.with_step(i, state=State.NOT_DONE if now is Standing.BEFORE else State.UNKNOWN))
    if entry.standing is State.PLANNED:  # it ended before anything was sent
        entry = journal.save(replace(entry, steps=tuple(replace(s, state=State.NOT_DONE) for s in entry.steps)))
    return entry


async def get(api: Api, ref: Ref) -> dict[str, Any] | None:
    """An object, None when there is none. Raises Refused when it cannot be read, or its kind is not installed."""
    try:
        return await api.get(path(ref))
    except ApiError as e:
        if e.status == 404 and e.reason == "NotFound" and f'"{ref.name}"' in e.message:
            return None
        raise refused(ref, "get", e, api.where) from None
    except Unreachable as e:
        raise refused(ref, "get", e, api.where) from None


async def _send(api: Api, change: Change, live: Json | None, *, dry: bool = False) -> dict[str, Any]:
    query: dict[str, str] = {"dryRun": "All"} if dry else {}
    if change.verb is Verb.DELETE:
        return await api.delete(path(change.ref), locked(change, live), **query)
    # a field that the server does not know is an error and not dropped in silence, as with kubectl
    query |= {"fieldManager": MANAGER, "fieldValidation": "Strict"}
    if change.verb is Verb.CREATE:
        return await api.post(collection(change.ref), locked(change, None), **query)
    if change.verb is Verb.APPLY:
        return await api.patch(path(change.ref), locked(change, live), APPLY_PATCH, **query, force="false")
    return await api.patch(path(change.ref), locked(change, live), MERGE_PATCH, **query)


def _right(change: Change) -> str:
    """The verb of RBAC that a change needs."""
    return {Verb.CREATE: "create", Verb.DELETE: "delete"}.get(change.verb, "patch")


def _same(a: Json, b: Json) -> bool:
    """Whether two versions of an object differ at most in what the server writes."""
    return _uid(a) == _uid(b) and not difference(bare(a), bare(b))


def _uid(raw: Json) -> Any:
    return at(raw, "metadata", "uid")


def _is_ours(live: Json) -> bool:
    entries = at(live, "metadata", "managedFields")
    return isinstance(entries, list) and any(at(e, "manager") == MANAGER for e in entries)
