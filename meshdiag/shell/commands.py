"""The commands: a table of names, arguments and help, and a function for each. They give data back and touch no terminal.

Help, completion and docs/shell.md are made from this table. A new command is one function here.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeVar

from meshdiag.diagnosis import Diagnosis
from meshdiag.diagnosis.chains import chain
from meshdiag.diagnosis.compare import compare
from meshdiag.diagnosis.groups import BY
from meshdiag.diagnosis.readiness import start_of, starts
from meshdiag.explanation import explain as explain_
from meshdiag.model import MeshdiagError, Severity
from meshdiag.shell import lookup
from meshdiag.shell import results as r
from meshdiag.shell.parse import Statement, parse
from meshdiag.shell.state import FILTERS, Settings, State

Run = Callable[[State, tuple[str, ...]], Iterator[r.Result]]
F = TypeVar("F", bound=Run)


@dataclass(frozen=True, slots=True)
class Command:
    """An entry of the table.

    arguments  as help shows them
    takes      what its words complete to: `finding`, `path`, `pod`, `cause`, `word`, `filter`, `by`, `setting`, `command`, `pattern`,
               `tail`, `save`, or "" for nothing
    raw        it takes the rest of the line as it stands
    paged      its output may be long
    """

    name: str
    arguments: str
    help: str
    run: Run
    group: str
    takes: str = ""
    raw: bool = False
    paged: bool = False


COMMANDS: dict[str, Command] = {}
ALIASES = {"exit": "quit", "q": "quit", "?": "help", "ls": "causes", "follow": "tail", "grep": "search", "h": "help"}


def command(
    name: str, arguments: str, help: str, group: str, *, takes: str = "", raw: bool = False, paged: bool = False
) -> Callable[[F], F]:
    """Puts a function into the table."""

    def add(run: F) -> F:
        COMMANDS[name] = Command(name, arguments, help, run, group, takes, raw, paged)
        return run

    return add


def named(word: str) -> Command | None:
    """The command of a name or alias."""
    return COMMANDS.get(ALIASES.get(word, word))


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
    if statement.name == "!":
        if not statement.words[0]:
            raise MeshdiagError("nothing stands behind !: name a program, as in `!kubectl get pods`")
        yield r.Program(statement.words[0])
    elif statement.name == "":
        yield from _explained(state, statement.words[0] if statement.words else "")
    elif (found := named(statement.name)) is not None:
        yield from found.run(state, statement.words)


def _explained(state: State, text: str) -> Iterator[r.Result]:
    """A pasted line, a word of the glossary, or a mistyped command."""
    word = text.split(None, 1)[0] if text.split() else ""
    if len(text.split()) < 4 and not text.lstrip().startswith(("[", "{")):
        near = difflib.get_close_matches(word.lower(), [*COMMANDS, *ALIASES], 2, 0.7)
        try:
            yield r.Explained(explain_(text.strip(), state.catalogue))
        except MeshdiagError as e:
            if near:
                raise MeshdiagError(f"no command is named {word!r}: did you mean {' or '.join(near)}?") from None
            raise MeshdiagError(f"{word!r} is no command, and {e}; help lists the commands") from None
        else:
            if near and word.lower() not in near:
                yield r.Said(f"did you mean the command {' or '.join(near)}?")
        return
    yield r.Explained(explain_(text, state.catalogue))


# --- sources


@command("open", "PATH…", "read captures: files, folders, archives, a bug-report", "sources", takes="path")
def _open(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    if not words:
        raise MeshdiagError("open what? A file, a folder or an archive: open sample_logs/03-no-healthy-upstream")
    state.work.open(words)
    yield r.Said(f"reading {', '.join(words)} …")


@command(
    "tail", "[NAME…] [-n NAMESPACE] [-A] [-l LABELS] …", "follow a live mesh, or local files; tail --help lists the options",
    "sources", takes="tail",
)  # fmt: skip
def _tail(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    parser = _tail_parser()
    if words in (("--help",), ("-h",)):
        yield r.Said(parser.format_help().rstrip())
        return
    o = parser.parse_args(words)
    namespaces = [n for some in o.namespace for n in some.split(",") if n]
    name = " ".join(o.names) or ", ".join(namespaces) or ("all namespaces" if o.all_namespaces else "this namespace")
    tail = None if o.tail is None else int(o.tail) if o.tail.isdigit() else -1
    if tail == -1:
        raise MeshdiagError(f"--tail {o.tail}: give a number of lines")
    state.work.follow(
        name,
        inputs=o.names,
        namespaces=namespaces,
        all_namespaces=o.all_namespaces,
        contexts=o.context,
        kubeconfig=o.kubeconfig,
        selector=o.selector,
        revision=o.revision,
        containers=o.container,
        exclude=o.exclude,
        app=o.app,
        since=_since(o.since, state) if o.since else timedelta(minutes=10) if tail is None else None,
        tail_lines=tail,
        wait=o.wait,
    )
    yield r.Said(f"following {name} …")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the words instead of leaving the program."""

    def error(self, message: str) -> NoReturn:
        raise MeshdiagError(f"tail: {message}; tail --help lists the options")


def _tail_parser() -> argparse.ArgumentParser:
    p = _Parser(prog="tail", add_help=False, description="Follow a live mesh, or local files.")
    p.add_argument(
        "names", nargs="*", metavar="NAME", help="deploy/reviews, a pod, a workload (globs), or a file; none: all"
    )
    p.add_argument("-n", "--namespace", action="append", default=[], metavar="NAME", help="of this namespace (or a,b)")
    p.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    p.add_argument("-l", "--selector", default="", metavar="LABELS", help="of pods with these labels")
    p.add_argument("-c", "--container", action="append", default=[], metavar="GLOB", help="these containers")
    p.add_argument("--app", action="store_true", help="also the application's containers")
    p.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="not these")
    p.add_argument("--revision", default="", metavar="REV", help="of this revision of Istio")
    p.add_argument("--context", action="append", default=[], metavar="NAME", help="context of the kubeconfig")
    p.add_argument("--kubeconfig", metavar="FILE", help="in place of $KUBECONFIG")
    p.add_argument("--since", metavar="TIME", help="from here: 30m, 2h (default 10m)")
    p.add_argument("--tail", metavar="N", help="the last N lines of each log first")
    p.add_argument("--wait", action="store_true", help="wait for pods when nothing matches yet")
    return p


@command("stop", "", "end what is read or followed", "sources")
def _stop(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    yield r.Said("stopping …" if state.work.stop() else "nothing is read or followed")


# --- what is wrong


@command(
    "causes",
    "[all]",
    "what is wrong, the root cause that hurts most first; all: good signs, too",
    "findings",
    paged=True,
)
def _causes(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    diagnosis = state.diagnosis()
    if not diagnosis.findings:
        yield r.Said(state.nothing(), "warning" if state.filters else "info")
        return
    yield r.Causes(diagnosis, state.work.standings(), words[:1] == ("all",), state.filtered)


@command(
    "show",
    "N|CAUSE",
    "what it is, what proves it, how sure, what else it may be, whom it reaches",
    "findings",
    takes="finding",
    paged=True,
)
def _show(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    finding = state.finding(_wanted(words, "show"))
    standing = next(
        (s for s in state.work.standings() if (s.finding.cause, s.finding.subject) == (finding.cause, finding.subject)),
        None,
    )
    yield r.Shown(state.diagnosis(), finding, standing)


@command("why", "N|CAUSE", "the chain from the root cause to it, and what it explains", "findings", takes="finding")
def _why(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    finding = state.finding(_wanted(words, "why"))
    diagnosis = state.diagnosis()
    yield r.Why(diagnosis, chain(diagnosis.failures, finding.rank) if finding in diagnosis.failures else (finding,))


@command(
    "lines",
    "N|CAUSE [COUNT]",
    "its lines, where they stand, with the lines around them (set context 3)",
    "findings",
    takes="finding",
    paged=True,
)
def _lines(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    finding = state.finding(_wanted(words, "lines"))
    limit = _number(words[1], "lines") if len(words) > 1 else state.settings.lines
    seen = state.diagnosis(filtered=False).seen
    looked = lookup.lines_of(
        finding,
        state.work.paths(),
        seen,
        state.catalogue,
        limit,
        lookup.Looked(stop=state.interrupted),
        state.settings.context,
    )
    if not looked.total:  # what only a sequence tells has no line of its own
        looked.lines = [lookup.LogLine(s.path, s.offset, s.line) for s in finding.samples]
        looked.total = len(looked.lines)
    yield r.Lines(f"#{finding.rank} {finding.cause}", tuple(looked.lines), looked.total)


@command(
    "fix",
    "N|CAUSE [OPTION] [copy]",
    "what to do, with the commands filled in; copy: its commands to the clipboard",
    "findings",
    takes="finding",
    paged=True,
)
def _fix(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    finding = state.finding(_wanted(words, "fix"))
    rest = list(words[1:])
    copy = "copy" in rest
    if copy:
        rest.remove("copy")
    remedies = tuple(enumerate(finding.remedies, 1))
    if not remedies:
        yield r.Said(f"{finding.cause} is no failure: there is nothing to mend")
        return
    if rest:
        number = _number(rest[0], "fix")
        if not 1 <= number <= len(remedies):
            raise MeshdiagError(f"there is no option {number}: fix {finding.rank} shows 1 to {len(remedies)}")
        remedies = (remedies[number - 1],)
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
)
def _timeline(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    diagnosis = state.diagnosis(filtered=False)
    if words:
        yield r.Starts(diagnosis, (start_of(diagnosis, diagnosis.timeline(words[0])),), True)
        return
    some = starts(diagnosis)
    yield r.Starts(diagnosis, some, False) if some else r.Said("no log has the start of a proxy")


@command("top", "[edge|workload|pod|cause]", "where it fails most", "findings", takes="by", paged=True)
def _top(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    by = words[0].removesuffix("s") if words else "edge"
    if by not in BY:
        raise MeshdiagError(f"no order by {by!r}: top takes {', '.join(BY)}")
    diagnosis = state.diagnosis()
    yield r.Top(diagnosis, by) if diagnosis.failures else r.Said(state.nothing())


@command("unknown", "", "failing or unusual lines that no pattern knows, by shape", "findings", paged=True)
def _unknown(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    diagnosis = state.diagnosis(filtered=False)
    yield r.Unknown(diagnosis) if diagnosis.unrecognised else r.Said("every failing line was recognised", "good")


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
    yield r.Explained(explain_(words[0] if words else "", state.catalogue))


@command("search", "REGEX [COUNT]", "lines of everything that was read in which it is found", "findings", paged=True)
def _search(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    expression = _wanted(words, "search", "an expression, quoted where it has blanks: search 'UF,URX'")
    limit = _number(words[1], "search") if len(words) > 1 else state.settings.lines
    if not state.work.paths():
        raise MeshdiagError(state.nothing())
    looked = lookup.search(
        expression, state.work.paths(), limit, lookup.Looked(stop=state.interrupted), state.settings.context
    )
    yield r.Lines(f"/{expression}/", tuple(looked.lines), looked.total)


@command(
    "check",
    "[FILE]",
    "read what istioctl analyze says, from its output or by running it, beside the logs",
    "findings",
    takes="path",
)
def _check(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    if words:
        state.work.open(words)
        yield r.Said(f"reading {words[0]} …")
        return
    import shutil
    import subprocess
    import tempfile
    from pathlib import Path

    tool = shutil.which("istioctl")
    if tool is None:
        raise MeshdiagError(
            "istioctl is not installed: run `istioctl analyze -A > analyze.txt` where it is, then check analyze.txt"
        )
    done = subprocess.run([tool, "analyze", "-A"], capture_output=True, text=True, timeout=120, check=False)
    if not done.stdout.strip():
        raise MeshdiagError(f"istioctl analyze gave nothing: {done.stderr.strip()[:300] or 'no output'}")
    path = Path(tempfile.mkdtemp(prefix="meshdiag-")) / "istioctl-analyze.txt"
    path.write_text(done.stdout, encoding="utf-8")
    state.work.open((str(path),))
    yield r.Said("reading what istioctl analyze says …")


# --- what is seen


@command(
    "filter",
    "[FIELD VALUE… | clear [FIELD]]",
    "narrow findings to a namespace, workload, pod, cause, severity, since, until",
    "view",
    takes="filter",
)
def _filter(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    if not words:
        rows = tuple((name, ", ".join(values)) for name, values in state.filters.items())
        yield (
            r.Table("Filters", rows, "filter clear takes them away")
            if rows
            else r.Said("no filters", hint=f"filter {'|'.join(FILTERS)} VALUE")
        )
        return
    name, *values = words
    if name == "clear":
        if values and values[0] not in state.filters:
            raise MeshdiagError(f"there is no filter on {values[0]}: there are {', '.join(state.filters) or 'none'}")
        for one in values or list(state.filters):
            del state.filters[one]
    else:
        state.filters[_one_of(name, FILTERS, "filter")] = _filter_values(name, values, state)
    left = len(state.diagnosis().failures)
    yield r.Said(f"{state.filtered or 'no filters'}: {left} failure{'s' * (left != 1)}")


def _filter_values(name: str, values: list[str], state: State) -> tuple[str, ...]:
    if not values:
        raise MeshdiagError(f"filter {name} takes a value: filter {name} VALUE, or filter clear {name}")
    if name == "cause":
        for value in values:
            _one_of(value, tuple(state.catalogue.causes), "cause")
    elif name == "severity":
        _one_of(values[0], tuple(s.value for s in Severity), "severity")
    elif name in ("since", "until"):
        return (_since(values[0], state).isoformat(),)
    return tuple(values)


@command("set", "[NAME VALUE]", "settings: redact, limit, lines, context, theme, keys", "view", takes="setting")
def _set(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    names = tuple(f.name for f in fields(Settings))
    if not words:
        yield r.Table(
            "Settings", tuple((n, str(getattr(state.settings, n)).lower()) for n in names), "set NAME VALUE changes one"
        )
        return
    name = _one_of(words[0], names, "setting")
    if len(words) < 2:
        raise MeshdiagError(f"set {name} to what? It is {str(getattr(state.settings, name)).lower()}")
    value: bool | int | str = words[1]
    old = getattr(state.settings, name)
    if isinstance(old, bool):
        value = _one_of(words[1].lower(), ("true", "false", "on", "off", "yes", "no"), name) in ("true", "on", "yes")
    elif isinstance(old, int):
        value = _number(words[1], name)
    elif name == "theme":
        value = _one_of(words[1], ("dark", "light", "none"), name)
    elif name == "keys":
        value = _one_of(words[1], ("emacs", "vi"), name)
    changed: Any = {name: value}
    state.settings = replace(state.settings, **changed)
    yield r.Said(f"{name} is {str(value).lower()} now")


# --- before and after a fix


@command("watch", "[N|CAUSE | clear]", "tell me when it is over, or there again", "fix", takes="finding")
def _watch(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    watched = state.work.watched
    if words == ("clear",):
        watched.clear()
        yield r.Said("nothing is watched")
        return
    if words:
        if not state.work.is_live:
            raise MeshdiagError("nothing is followed, so nothing can change: tail -n NAMESPACE follows a mesh")
        finding = state.finding(words[0])
        watched.add((finding.cause, finding.subject))
    rows = []
    for cause, subject in sorted(watched):
        now = next(
            (s for s in state.work.standings() if (s.finding.cause, s.finding.subject) == (cause, subject)), None
        )
        rows.append((cause, str(subject), f"{now.phase}, {now.per_minute:.0f} a minute" if now else "not seen"))
    yield (
        r.Table("Watched", tuple(rows), "you are told when one is over")
        if rows
        else r.Said("nothing is watched", hint="watch 1")
    )


@command("mark", "", "remember how it is now, for diff", "fix")
def _mark(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    state.mark = (datetime.now(UTC), state.diagnosis(filtered=False))
    yield r.Said("marked: diff says what has changed since")


@command("diff", "", "what has changed since the mark: gone, new, worse, better", "fix", paged=True)
def _diff(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    if state.mark is None:
        raise MeshdiagError("no mark is set: mark remembers how it is now, diff compares with it later")
    when, before = state.mark
    after = state.diagnosis(filtered=False)
    changed_at = before.seen.last if state.work.is_live else None
    yield r.Compared(compare(before, after, changed_at), when)


@command("note", "TEXT", "keep a note, with the time; without text: all notes", "fix", raw=True)
def _note(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    if words:
        state.notes.append((datetime.now(UTC), words[0]))
        yield r.Said("noted")
        return
    rows = tuple((f"{when:%H:%M:%S}", text) for when, text in state.notes)
    yield r.Table("Notes", rows) if rows else r.Said("no notes")


@command(
    "save", "html|markdown|json|text|capture PATH", "write a report, or all lines of what is followed", "fix", takes="save"
)
def _save(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    from meshdiag.shell.saving import KINDS, save

    if len(words) != 2:
        raise MeshdiagError(f"save takes a kind and a path: save {'|'.join(KINDS)} PATH")
    kind = _one_of(words[0], KINDS, "save")
    yield r.Said(save(state, kind, words[1]), "good")


# --- the tool itself


@command(
    "patterns", "[ID]", "how many patterns there are; one as it stands in its file", "tool", takes="pattern", paged=True
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
    if found is None:
        near = difflib.get_close_matches(words[0], book.by_id, 3)
        raise MeshdiagError(
            f"no pattern is named {words[0]!r}" + (f": did you mean {' or '.join(near)}?" if near else "")
        )
    yield r.PatternShown(found)


@command("reload", "", "load the patterns anew, and read the captures again with them", "tool")
def _reload(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    from meshdiag.catalogue import Catalogue

    book = Catalogue.load(*state.patterns)
    inputs = list(state.work.inputs)
    state.catalogue = book
    state.work.reload(book)
    if inputs:
        state.work.open(inputs)
    yield r.Said(
        f"{len(book.patterns):,} patterns loaded" + (f", reading {', '.join(inputs)} again …" if inputs else "")
    )


@command("history", "[TEXT]", "what was typed; with TEXT only lines that have it", "tool", paged=True)
def _history(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    wanted = " ".join(words)
    rows = tuple((str(i), line) for i, line in enumerate(state.history, 1) if wanted in line)
    yield r.Table("History", rows) if rows else r.Said("nothing was typed so far")


@command("help", "[COMMAND]", "all commands, or one", "tool", takes="command")
def _help(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    if not words:
        yield r.Table("Commands", tuple((f"{c.name} {c.arguments}".strip(), c.help) for c in COMMANDS.values()), HELP)
        return
    found = named(words[0])
    if found is None:
        near = difflib.get_close_matches(words[0], [*COMMANDS, *ALIASES], 2)
        raise MeshdiagError(
            f"no command is named {words[0]!r}"
            + (f": did you mean {' or '.join(near)}?" if near else ": help lists all")
        )
    also = sorted(a for a, name in ALIASES.items() if name == found.name)
    yield r.Table(
        f"{found.name} {found.arguments}".strip(), ((found.help,),), f"also: {', '.join(also)}" if also else ""
    )


HELP = (
    "Paste a log line to have it explained. COMMAND | PROGRAM and COMMAND > FILE take the output elsewhere, ! runs a program, ; stands "
    "between commands."
)


@command("quit", "", "leave (also Ctrl-D)", "tool")
def _quit(state: State, words: tuple[str, ...]) -> Iterator[r.Result]:
    yield r.Leave()


# --- words


def _wanted(words: tuple[str, ...], name: str, what: str = "a number or a cause of `causes`") -> str:
    if not words:
        raise MeshdiagError(f"{name} takes {what}")
    return words[0]


def _one_of(word: str, known: tuple[str, ...], what: str) -> str:
    if word in known:
        return word
    near = difflib.get_close_matches(word, known, 2)
    shown = ", ".join(known[:12]) + (" …" if len(known) > 12 else "")
    raise MeshdiagError(
        f"no {what} is named {word!r}: " + (f"did you mean {' or '.join(near)}?" if near else f"there are {shown}")
    )


def _number(text: str, what: str) -> int:
    if not text.isdigit():
        raise MeshdiagError(f"{what}: {text!r} is no number")
    return int(text)


_AGO = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
_CLOCK = re.compile(r"\d{1,2}:\d\d(?::\d\d)?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _since(text: str, state: State) -> datetime:
    """`30m` (before the latest line, or now), `10:05`, `10:05:30` (of the day of the latest line, UTC), or a whole time."""
    latest = state.work.diagnosis().seen.last or datetime.now(UTC)
    if parts := _AGO.fullmatch(text):
        return latest - timedelta(seconds=float(parts[1]) * _SECONDS[parts[2]])
    if _CLOCK.fullmatch(text):
        hour, minute, *second = (int(p) for p in text.split(":"))
        if hour < 24 and minute < 60 and (not second or second[0] < 60):
            return latest.astimezone(UTC).replace(
                hour=hour, minute=minute, second=second[0] if second else 0, microsecond=0
            )
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise MeshdiagError(f"{text!r} is no time: give 30m, 2h, 10:05, or 2026-11-22T10:05:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def failing(diagnosis: Diagnosis) -> int:
    """Root causes that go on."""
    return sum(1 for f in diagnosis.failures if not f.explained_by)
