"""Commands that say what is wrong, and show what proves it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from meshdiag.cluster import Answer, Result, checks
from meshdiag.diagnosis import Diagnosis
from meshdiag.diagnosis.chains import chain
from meshdiag.diagnosis.finding import Finding
from meshdiag.diagnosis.groups import BY
from meshdiag.diagnosis.readiness import start_of, starts
from meshdiag.explanation import explain as explain_
from meshdiag.model import Kind, MeshdiagError
from meshdiag.shell import lookup
from meshdiag.shell import results as r
from meshdiag.shell.commands.table import command, number, number_of, wanted
from meshdiag.shell.commands.tool import excerpt, of_shell
from meshdiag.shell.state import State

if TYPE_CHECKING:
    from meshdiag.cluster.survey import Profile

CHECK_SECONDS = 120.0
"""How long istioctl may work."""

CHECKED = "istioctl-analyze.txt"


@command(
    "causes",
    "[all]",
    "what is wrong, the root cause that hurts most first; all: good signs, too",
    "findings",
    takes="all",
    paged=True,
    most=1,
)
def _causes(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    if words and words != ("all",):
        raise MeshdiagError(f"causes takes all, or nothing: show {words[0][:80]} shows one")
    diagnosis = state.diagnosis()
    if not diagnosis.findings and (state.filters or not diagnosis.seen.lines):
        yield r.Said(state.nothing(), "warning" if state.filters else "info")
        return
    state.saw(diagnosis)
    yield r.Causes(diagnosis, state.work.standings(), bool(words), state.filtered)
    if any(not reading.finished for reading in state.work.readings):
        yield r.Said("still reading: there may be more", "warning")


@command(
    "show",
    "N|CAUSE",
    "what it is, what proves it, how sure, what else it may be, whom it reaches",
    "findings",
    takes="finding",
    paged=True,
    most=1,
)
def _show(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    diagnosis, finding = state.find(word := wanted(words, "show"))
    yield from _moved(word, finding)
    standing = next(
        (s for s in state.work.standings() if (s.finding.cause, s.finding.subject) == (finding.cause, finding.subject)),
        None,
    )
    yield r.Shown(diagnosis, finding, standing)


@command(
    "why", "N|CAUSE", "the chain from the root cause to it, and what it explains", "findings", takes="finding", most=1
)
def _why(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    diagnosis, finding = state.find(word := wanted(words, "why"))
    yield from _moved(word, finding)
    failing = finding.kind is Kind.FAILURE
    yield r.Why(diagnosis, chain(diagnosis.failures, finding.rank) if failing else (finding,))


@command(
    "lines",
    "N|CAUSE [COUNT]",
    "its lines, where they stand, with the lines around them (set context 3)",
    "findings",
    takes="finding",
    paged=True,
    most=2,
)
def _lines(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    _, finding = state.find(word := wanted(words, "lines"))
    limit = number(words[1], "lines", 1) if len(words) > 1 else state.settings.lines
    yield from _moved(word, finding)
    looked = lookup.lines_of(
        finding,
        state.diagnosis(filtered=False),
        state.work.paths(),
        limit,
        lookup.Looked(stop=state.interrupted),
        state.settings.context,
    )
    if not looked.total and not looked.stopped:  # what only a sequence tells has no line of its own
        looked.lines = [lookup.LogLine(s.path, s.offset, s.line) for s in finding.samples]
        looked.total = finding.count
    yield r.Lines(f"#{finding.rank} {finding.cause}", tuple(looked.lines), looked.total)
    yield from _left_out(looked)


def _moved(word: str, finding: Finding) -> Iterator[r.Result]:
    """In a live mesh numbers change: the one that was typed is that of the list that was seen."""
    if (typed := number_of(word)) is not None and typed != finding.rank:
        yield r.Said(f"#{typed}, {finding.cause} of {finding.subject}, is #{finding.rank} now")


def _left_out(looked: lookup.Looked) -> Iterator[r.Result]:
    if looked.gone:
        yield r.Said(f"{', '.join(looked.gone)}: no longer there, so not looked through", "warning")
    if looked.stopped:
        yield r.Said("stopped before all was looked through", "warning")


@command(
    "fix",
    "N|CAUSE [OPTION] [copy]",
    "what to do, with the commands filled in; copy: its commands to the clipboard",
    "findings",
    takes="fix",
    paged=True,
    most=3,
)
def _fix(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    _, finding = state.find(word := wanted(words, "fix"))
    rest = list(words[1:])
    copy = "copy" in rest
    if copy:
        rest.remove("copy")
    if len(rest) > 1:
        raise MeshdiagError(f"fix takes one option: fix {finding.rank} {rest[0][:80]}")
    yield from _moved(word, finding)
    remedies = tuple(enumerate(finding.remedies, 1))
    if not remedies:
        why = "no remedy is known" if finding.kind is Kind.FAILURE else "it is no failure, so there is nothing to mend"
        yield r.Said(f"{finding.cause}: {why}", hint=f"show {finding.rank}")
        return
    if rest:
        option = number(rest[0], "fix")
        if not 1 <= option <= len(remedies):
            raise MeshdiagError(f"there is no option {option}: fix {finding.rank} shows 1 to {len(remedies)}")
        remedies = (remedies[option - 1],)
    if copy:
        yield r.Copied("\n".join(step.command for _, one in remedies for step in one.steps if step.command))
    else:
        yield r.Fixes(finding, remedies)


@command(
    "timeline",
    "[POD]",
    "how far proxies got in their start, and what stopped them; of one pod in detail",
    "findings",
    takes="pod",
    paged=True,
    most=1,
)
def _timeline(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    diagnosis = _open_diagnosis(state)
    if words:
        yield r.Starts(diagnosis, (start_of(diagnosis, diagnosis.timeline(words[0][:300])),), True)
        return
    some = starts(diagnosis)
    yield r.Starts(diagnosis, some, False) if some else r.Said("no log has the start of a proxy")


@command("top", "[edge|workload|pod|cause]", "where it fails most", "findings", takes="by", paged=True, most=1)
def _top(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    by = words[0].removesuffix("s") if words else "edge"
    if by not in BY:
        raise MeshdiagError(f"no order by {by[:80]!r}: top takes {', '.join(BY)}")
    diagnosis = state.diagnosis()
    if not diagnosis.failures:
        yield r.Said("no failure was found: causes all shows the rest" if diagnosis.findings else state.nothing())
        return
    state.saw(diagnosis)
    yield r.Top(diagnosis, by)


@command("unknown", "", "failing or unusual lines that no pattern knows, by shape", "findings", paged=True, most=0)
def _unknown(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    diagnosis = _open_diagnosis(state)
    yield r.Unknown(diagnosis) if diagnosis.unrecognised else r.Said("every failing line was recognised", "good")


def _open_diagnosis(state: State) -> Diagnosis:
    """What is wrong, filters or not. Raises MeshdiagError when nothing is open, or nothing was read yet."""
    diagnosis = state.diagnosis(filtered=False)
    reading = state.work.reading
    if not state.is_open or (not diagnosis.seen.lines and reading is not None and not reading.finished):
        raise MeshdiagError(state.nothing())
    return diagnosis


@command(
    "explain",
    "WORD|LINE",
    "a response flag, code, cause or pattern, or a log line; or paste the line at the prompt",
    "findings",
    takes="word",
    raw=True,
    paged=True,
)
def _explain(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    text = wanted(words, "explain", "a word or a line: explain UH")
    try:
        yield r.Explained(explain_(excerpt(text), state.catalogue))
    except MeshdiagError as e:
        raise MeshdiagError(of_shell(str(e))) from None


@command("search", "REGEX [COUNT]", "lines of everything that was read in which it is found", "findings", paged=True)
def _search(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    expression = wanted(words, "search", "an expression, quoted where it has blanks: search 'UF,URX'")
    if len(words) > 2 or (len(words) == 2 and not words[1].isdigit()):
        raise MeshdiagError(f"quote an expression with blanks: search '{' '.join(words)[:80]}'")
    limit = number(words[1], "search", 1) if len(words) > 1 else state.settings.lines
    if not state.work.paths():
        raise MeshdiagError(state.nothing())
    looked = lookup.search(
        expression, state.work.paths(), limit, lookup.Looked(stop=state.interrupted), state.settings.context
    )
    yield r.Lines(f"/{expression}/", tuple(looked.lines), looked.total)
    yield from _left_out(looked)


# --- the state of the cluster


@command(
    "check",
    "[CHECK… | PROFILE | N|CAUSE | FILE]",
    "what is wrong in the state of the cluster (cluster loads it); FILE, or without a state: what istioctl analyze says",
    "findings",
    takes="check",
    paged=True,
)
def _check(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    from meshdiag.cluster.survey import survey

    profile = _profile(state, words)
    if profile is not None:
        if state.work.snapshot is None:
            raise MeshdiagError(
                f"no state of the cluster is loaded: cluster live, or cluster PATH, then check {' '.join(words)}".rstrip()
            )
        yield r.Surveyed(survey(state.work.snapshot, profile))
        return
    if len(words) == 1 and (number_of(words[0]) is not None or words[0] in state.catalogue.causes):
        yield _checked(state, words[0])
        return
    yield from _istioctl(state, words)


def _profile(state: State, words: tuple[str, ...]) -> Profile | None:
    """The questions that words ask; None when they mean something else."""
    from meshdiag.cluster.profiles import profiles
    from meshdiag.cluster.survey import everything, only

    if not words:
        return everything() if state.work.snapshot is not None else None
    if len(words) == 1 and words[0] in profiles():
        return profiles()[words[0]]
    return only(words) if any(w in checks() for w in words) else None


def _checked(state: State, name: str) -> r.Result:
    """What the state says of one finding."""
    from meshdiag.cluster.survey import Profile, Survey

    finding = state.finding(name)
    if state.work.snapshot is None:
        raise MeshdiagError("no state of the cluster is loaded: cluster live, or cluster PATH")
    cause = state.catalogue.causes[finding.cause]
    if not finding.checks:
        why = (
            "no check speaks of this cause" if not cause.checks else "the lines name nothing that could be asked about"
        )
        return r.Said(f"{finding.cause}: {why}")
    asked: dict[str, list[Result]] = {}
    for result in finding.checks:
        asked.setdefault(result.check, []).append(result)
    profile = Profile(finding.cause, f"#{finding.rank} {finding.title}: {finding.subject}", ())
    answers = tuple(Answer(name, checks()[name].asks, tuple(some)) for name, some in asked.items())
    return r.Surveyed(Survey(state.work.snapshot, profile, answers))


# --- istioctl


def _istioctl(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    if len(words) > 1:
        raise MeshdiagError(f"check takes one file, or names of checks: {', '.join(checks())[:200]}")
    if words:
        state.work.open(words, again=True)
        yield r.Said(f"reading {words[0]} …")
        return
    tool = shutil.which("istioctl")
    if tool is None:
        raise MeshdiagError(
            "istioctl is not installed: run `istioctl analyze -A > analyze.txt` where it is, then check analyze.txt"
        )
    yield r.Said("istioctl analyze -A …")
    code, said, complained = _run(tool, state)
    if not said.strip() and code:
        raise MeshdiagError(f"istioctl analyze failed: {' '.join(complained.split())[:300] or f'exit code {code}'}")
    # what it said before counts no more
    state.work.open(
        [state.work.keep(CHECKED, said if said.strip() else complained or "nothing was found\n")], again=True
    )
    if said.strip():
        yield r.Said("reading what istioctl analyze says …")
    else:
        yield r.Said("istioctl analyze found nothing", "good")


def _run(tool: str, state: State) -> tuple[int, str, str]:
    """Exit code, output and complaints of `istioctl analyze -A`. Raises MeshdiagError when it cannot be run, hangs or is stopped."""
    pipe = subprocess.PIPE
    try:
        run = subprocess.Popen(
            [tool, "analyze", "-A"],
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # ours is the only Ctrl-C
        )
    except OSError as e:
        raise MeshdiagError(f"istioctl cannot be run: {e.strerror or e}") from None
    end = time.monotonic() + CHECK_SECONDS
    with run:
        try:
            while True:
                try:
                    said, complained = run.communicate(timeout=0.1)
                    return run.returncode, said, complained
                except subprocess.TimeoutExpired:
                    if state.interrupted():
                        raise MeshdiagError("istioctl was stopped") from None
                    if time.monotonic() > end:
                        raise MeshdiagError(
                            f"istioctl analyze gave no answer in {CHECK_SECONDS:.0f} s: is the cluster reachable?"
                        ) from None
        finally:
            if run.poll() is None:
                _kill(run)


def _kill(run: subprocess.Popen[str]) -> None:
    """Ends a program with all that it has begun."""
    if sys.platform == "win32":
        run.kill()
    else:
        os.killpg(run.pid, signal.SIGKILL)
