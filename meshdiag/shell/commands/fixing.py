"""Commands before and after a fix: watch, compare, take notes, save."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from meshdiag.diagnosis.compare import compare
from meshdiag.model import MeshdiagError
from meshdiag.shell import results as r
from meshdiag.shell.commands.table import command, one_of
from meshdiag.shell.state import State


@command("watch", "[N|CAUSE | clear]", "tell me when it is over, or there again", "fix", takes="watch", most=1)
def _watch(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    work = state.work
    if words == ("clear",):
        work.tell_about(None)
        yield r.Said("nothing is watched")
        return
    if words:
        if not work.is_live:
            raise MeshdiagError("nothing is followed, so nothing can change: tail -n NAMESPACE follows a mesh")
        finding = state.finding(words[0])
        work.tell_about((finding.cause, finding.subject))
    standings = {(s.finding.cause, s.finding.subject): s for s in work.standings()}
    rows = []
    for cause, subject in sorted(work.watched):
        now = standings.get((cause, subject))
        how = f"{now.phase}, {now.per_minute:.0f} a minute" if now else "not seen" if work.is_live else "not followed"
        rows.append((cause, str(subject), how))
    yield (
        r.Table("Watched", tuple(rows), "you are told when one is over")
        if rows
        else r.Said("nothing is watched", hint="watch 1")
    )


@command("mark", "", "remember how it is now, for diff", "fix", most=0)
def _mark(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    if any(not reading.finished for reading in state.work.readings):
        raise MeshdiagError("still reading: mark when it is read")
    if not state.is_open:
        raise MeshdiagError(state.nothing())
    state.mark = (datetime.now(UTC), state.work.mark())
    yield r.Said("marked: diff says what has changed since, of what comes or is opened from now on")


@command(
    "diff", "", "what came since the mark against what was before: gone, new, worse, better", "fix", paged=True, most=0
)
def _diff(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    if state.mark is None:
        raise MeshdiagError("no mark is set: mark remembers how it is now, diff compares with it later")
    when, before = state.mark
    after = state.work.since_mark()
    if not after.seen.lines:
        more = "wait for lines" if state.work.is_live else "open a capture of later"
        raise MeshdiagError(f"nothing was read since the mark at {when:%H:%M:%S} UTC: {more}, then diff")
    yield r.Compared(compare(before, after), when)


@command("note", "TEXT", "keep a note, with the time; without text: all notes", "fix", raw=True)
def _note(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    if words:
        state.notes.append((datetime.now(UTC), words[0]))
        yield r.Said("noted")
        return
    rows = tuple((f"{when:%H:%M:%S}", text) for when, text in state.notes)
    yield r.Table("Notes", rows) if rows else r.Said("no notes")


@command(
    "save",
    "html|markdown|json|text|capture PATH",
    "write a report, or all lines of what is followed",
    "fix",
    takes="save",
    most=2,
)
def _save(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    from meshdiag.shell.saving import KINDS, save

    if len(words) != 2:
        raise MeshdiagError(f"save takes a kind and a path: save {'|'.join(KINDS)} PATH")
    yield r.Said(save(state, one_of(words[0], KINDS, "save"), words[1]), "good")
