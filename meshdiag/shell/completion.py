"""What the text before the cursor can go on with: commands, findings, paths, names that were seen, words of the catalogue. Pure.

Listing a folder is the one look at the outside, and it is handed in.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields

from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import Diagnosis, Finding
from meshdiag.diagnosis.groups import BY
from meshdiag.diagnosis.subjects import workload_of
from meshdiag.model import Severity
from meshdiag.redact import redact
from meshdiag.shell.commands import ALIASES, COMMANDS, Command, named, tail_parser
from meshdiag.shell.commands.table import number_of
from meshdiag.shell.commands.view import CHOICES
from meshdiag.shell.parse import Word, words_of
from meshdiag.shell.saving import KINDS
from meshdiag.shell.state import FILTERS, Settings, State
from meshdiag.shell.work import Key
from meshdiag.views.safe import one_line, safe
from meshdiag.views.text import about

LIMIT = 200
"""Candidates that are given, at most."""

LISTED = 2_000
"""Entries of one folder that are looked at."""

META_COLUMNS = 70

Option = tuple[str, str]
"""What can be inserted, and what it is."""

Listing = Callable[[str], Iterable[tuple[str, bool]]]
"""The entries of a folder ("" is the current one): (name, whether it is a folder). Nothing for one that cannot be read."""

TIMES = (("5m", "five minutes before the latest line"), ("30m", "half an hour"), ("1h", "an hour"), ("2h", "two hours"))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to go on: `text` takes the place of all from `start` on; a menu has `display` and, beside it, `meta`."""

    text: str
    start: int
    display: str
    meta: str = ""


def complete(text: str, state: State, listing: Listing | None = None) -> list[Candidate]:
    """What can stand at the end of a text that goes up to the cursor, the best first, at most LIMIT."""
    place = _place(text)
    if place is None:
        return []
    word = place.word
    out = []
    for value, meta in best(word.text, _options(place, state, listing or folder)):
        shown = value.rstrip("/").rpartition("/")[2] + "/" * value.endswith("/") if place.is_path else value
        inserted = value if place.raw else quoted(value)
        out.append(Candidate(inserted, word.start, one_line(shown, META_COLUMNS), one_line(meta, META_COLUMNS)))
    return out


def quoted(value: str) -> str:
    """A word as `parse` reads it back."""
    if value and not re.search(r"[\s;|>#\"'\\]", value) and not value.startswith("!"):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def best(word: str, options: Iterable[Option], limit: int = LIMIT) -> list[Option]:
    """The options that a word may mean: those that begin with it, that have a word that does, that have it, that have its letters in
    order. Within each in the order given; each value once; none with characters that a terminal would act on.
    """
    low = word.lower()
    letters = re.compile("".join(f"[^{re.escape(c)}\n]*{re.escape(c)}" for c in low)) if low else None
    found: tuple[list[Option], ...] = ([], [], [], [], [])
    known: set[str] = set()
    for option in options:
        value = option[0]
        if value in known:
            continue
        known.add(value)
        level = _level(value, word, low, letters)
        if level is not None:
            found[level].append(option)
            if level == 0 and len(found[0]) > 2 * limit:  # enough, also when some are left out below
                break
    out: list[Option] = []
    for some in found:
        for option in some:
            if len(out) == limit:
                return out
            if option[0] == safe(option[0]) and "\n" not in option[0]:
                out.append(option)
    return out


def _level(value: str, word: str, low: str, letters: re.Pattern[str] | None) -> int | None:
    if letters is None or value.startswith(word):
        return 0
    lowered = value.lower()
    at = lowered.find(low)
    if at == 0:
        return 1
    if at < 0:
        return 4 if letters.match(lowered) else None
    while at > 0:
        if not lowered[at - 1].isalnum():
            return 2
        at = lowered.find(low, at + 1)
    return 3


def folder(path: str) -> Iterator[tuple[str, bool]]:
    """The entries of a folder, sorted."""
    try:
        with os.scandir(os.path.expanduser(path) or ".") as entries:  # noqa: PTH111
            some = [(e.name, e.is_dir()) for _, e in zip(range(LISTED), entries, strict=False)]
    except OSError:
        return
    yield from sorted(some)


# --- where the cursor is


@dataclass(frozen=True, slots=True)
class _Place:
    """What is typed: the word at the cursor, the command (None: the word is its name), the arguments before the word."""

    word: Word
    command: Command | None = None
    before: tuple[str, ...] = ()
    file: bool = False
    raw: bool = False

    @property
    def is_path(self) -> bool:
        """Whether the word names a file, of which a menu need not repeat the folder."""
        return self.file or (self.command is not None and self.command.takes == "path")


def _place(text: str) -> _Place | None:
    """Where the cursor is; None where nothing can be completed."""
    start = max(text.rfind("\n"), text.rfind("\r")) + 1
    while True:
        start += len(text[start:]) - len(text[start:].lstrip("; \t\r"))
        if text.startswith("!", start):
            return None
        first, kind = next(words_of(text, start), (Word("", len(text), len(text)), "w"))
        if kind == "w" and first.end < len(text) and named(first.text) is None:
            return None  # a pasted line
        tokens = list(words_of(text, start))
        end = next((i for i, (_, kind) in enumerate(tokens) if kind == ";"), None)
        tokens, rest = (tokens, "") if end is None else (tokens[:end], text[tokens[end][0].end :])
        if not tokens:
            return None if text[start:].strip() else _Place(Word("", len(text), len(text)))
        if kind != "w":
            return None
        if first.end == len(text):
            return _Place(first)
        command = named(first.text)
        assert command is not None
        if command.raw:
            argument = text[first.end :].lstrip(" \t\r")
            if command.takes != "word" or re.search(r"\s", argument):
                return None
            return _Place(Word(argument, len(text) - len(argument), len(text)), command, raw=True)
        if end is None:
            return _argument(text, command, tokens[1:], first.end)
        start = len(text) - len(rest)


def _argument(text: str, command: Command, tokens: Sequence[tuple[Word, str]], after: int) -> _Place | None:
    """The place among what stands behind a command's name, which ends at `after`."""
    end = tokens[-1][0].end if tokens else after
    if text[end:].strip() or any(kind == "|" for _, kind in tokens):
        return None  # a comment, or a program
    word = Word("", len(text), len(text))
    if tokens and tokens[-1][1] == "w" and end == len(text):
        word, tokens = tokens[-1][0], tokens[:-1]
    if (target := next((i for i, (_, kind) in enumerate(tokens) if kind != "w"), None)) is not None:
        return _Place(word, command, file=True) if target == len(tokens) - 1 else None
    return _Place(word, command, tuple(w.text for w, _ in tokens))


# --- what can stand there


def _options(place: _Place, state: State, listing: Listing) -> Iterable[Option]:
    if place.file:
        return _paths(place.word.text, listing)
    if place.command is None:
        return _first(place.word.text, state)
    asked = _Asked(place.word.text, place.before, state, listing)
    give = _GIVES.get(place.command.takes)
    return () if give is None else give(asked)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for: the word, the arguments before it."""

    word: str
    before: tuple[str, ...]
    state: State
    listing: Listing

    @property
    def seen(self) -> Names:
        """Names in what was read."""
        return names(self.state.work.latest, self.state.settings.redact)


def _first(word: str, state: State) -> Iterable[Option]:
    """Commands; where none is meant, what can be explained."""
    commands: list[Option] = [(c.name, c.help) for c in COMMANDS.values()]
    commands += [(alias, f"is {name}") for alias, name in ALIASES.items()]
    if not word or any(_level(c, word, word.lower(), None if not word else _NEVER) is not None for c, _ in commands):
        return commands
    return [*commands, *_vocabulary(state.catalogue)]


_NEVER = re.compile(r"(?!)")


def _findings(asked: _Asked) -> Iterable[Option]:
    if asked.before:
        return ()
    seen = asked.seen
    numbered = [(str(n), seen.about[key]) for n, key in _numbers(asked.state).items() if key in seen.about]
    return [*numbered, *seen.causes]


def _numbers(state: State) -> Mapping[int, Key]:
    """What the numbers of findings mean: as a person saw them last, else as `causes` would show them."""
    if state.numbers:
        return state.numbers
    view = state.view if state.filters else None
    shown = (f for f in state.work.latest.findings if view is None or view.shows(f))
    return {n: (f.cause, f.subject) for n, f in enumerate(shown, 1)}


def _fixes(asked: _Asked) -> Iterable[Option]:
    """A finding; of it a remedy; `copy`."""
    if not asked.before:
        return _findings(asked)
    copy = ("copy", "its commands to the clipboard")
    if len(asked.before) > 1:
        return () if "copy" in asked.before[1:] else (copy,)
    number = number_of(asked.before[0])
    key = _numbers(asked.state).get(number) if number is not None else None
    chosen = next(
        (
            f
            for f in asked.state.work.latest.findings
            if ((f.cause, f.subject) == key if number is not None else f.cause == asked.before[0])
        ),
        None,
    )
    return [*((str(i), r.title) for i, r in enumerate(chosen.remedies if chosen else (), 1)), copy]


def _watch(asked: _Asked) -> Iterable[Option]:
    return () if asked.before else [*_findings(asked), ("clear", "watch nothing")]


def _checks(asked: _Asked) -> Iterable[Option]:
    """Checks; as the first word also profiles, findings and files."""
    from meshdiag.cluster import checks
    from meshdiag.cluster.profiles import profiles

    some = [(name, c.asks) for name, c in checks().items() if name not in asked.before]
    if asked.before:
        return some if any(b in checks() for b in asked.before) else ()
    stages = [(name, p.title) for name, p in profiles().items()]
    return [*some, *stages, *_findings(asked), *_paths(asked.word, asked.listing)]


def _paths(word: str, listing: Listing) -> Iterator[Option]:
    head, slash, name = word.rpartition("/")
    for entry, is_folder in listing(head + slash):
        if not entry.startswith(".") or name.startswith("."):
            yield head + slash + entry + "/" * is_folder, "folder" if is_folder else ""


def _pods(asked: _Asked) -> Iterable[Option]:
    return () if asked.before else asked.seen.pods


def _words(asked: _Asked) -> Iterable[Option]:
    return _vocabulary(asked.state.catalogue)


_vocabulary_kept: tuple[Catalogue, tuple[Option, ...]] | None = None


def _vocabulary(catalogue: Catalogue) -> tuple[Option, ...]:
    """Everything that can be explained."""
    global _vocabulary_kept
    kept = _vocabulary_kept
    if kept is None or kept[0] is not catalogue:
        causes = [(c.id, c.title) for c in catalogue.causes.values()]
        terms = [(t["term"], t.get("name") or t.get("means", "")) for t in catalogue.glossary]
        kept = catalogue, (*causes, *terms, *((p.id, f"pattern of {p.cause}") for p in catalogue.patterns))
        _vocabulary_kept = kept
    return kept[1]


def _filters(asked: _Asked) -> Iterable[Option]:
    state, seen = asked.state, asked.seen
    if not asked.before:
        known = [(name, ", ".join(state.filters.get(name, ())) or _FILTER_HELP[name]) for name in FILTERS]
        return [*known, ("clear", "show all again")]
    name = asked.before[0]
    if name == "clear":
        return [(f, ", ".join(v)) for f, v in state.filters.items()] if len(asked.before) == 1 else ()
    several = name not in ("severity", "since", "until")
    if len(asked.before) > 1 and not several:
        return ()
    values: Mapping[str, Iterable[Option]] = {
        "namespace": seen.namespaces,
        "workload": seen.workloads,
        "pod": seen.pods,
        "cause": [*seen.causes, *((c.id, c.title) for c in state.catalogue.causes.values())],
        "severity": [(s.value, "this bad, or worse") for s in Severity],
        "since": TIMES,
        "until": TIMES,
    }
    return [option for option in values.get(name, ()) if option[0] not in asked.before[1:]]


_FILTER_HELP = {
    "namespace": "findings about these namespaces",
    "workload": "findings about these workloads (globs)",
    "pod": "findings that these pods told (globs)",
    "cause": "findings of these causes",
    "severity": "findings at least this bad",
    "since": "findings that were there after a time",
    "until": "findings that were there before a time",
}


def _settings(asked: _Asked) -> Iterable[Option]:
    settings = asked.state.settings
    now = {f.name: str(getattr(settings, f.name)).lower() for f in fields(Settings)}
    if not asked.before:
        return [(name, f"is {value}") for name, value in now.items()]
    if len(asked.before) > 1:
        return ()
    name = asked.before[0]
    values = _NUMBERS.get(name) or CHOICES.get(name) or (("true", "false") if name in now else ())
    return [(value, "as it is" if now[name] == value else "") for value in values]


_NUMBERS = {"limit": ("20", "50", "0"), "lines": ("50", "200", "1000"), "context": ("0", "3", "10")}


def _patterns(asked: _Asked) -> Iterable[Option]:
    return () if asked.before else [(p.id, p.cause) for p in asked.state.catalogue.patterns]


def _saves(asked: _Asked) -> Iterable[Option]:
    if not asked.before:
        return [(kind, _SAVE_HELP.get(kind, "")) for kind in KINDS]
    return _paths(asked.word, asked.listing) if len(asked.before) == 1 else ()


_SAVE_HELP = {
    "html": "a page to attach to an incident",
    "json": "the diagnosis for programs",
    "markdown": "a report with your notes",
    "text": "a report as the terminal shows it",
    "capture": "all lines of what is followed",
}


def _tail(asked: _Asked) -> Iterable[Option]:
    """Options, their values, workloads and pods, local files."""
    last = asked.before[-1] if asked.before else ""
    action = next((a for a in tail_parser()._actions if last in a.option_strings), None)
    if action is not None and action.nargs != 0:
        match action.dest:
            case "namespace":
                return asked.seen.namespaces
            case "container":
                return asked.seen.containers
            case "exclude":
                return [*asked.seen.workloads, *asked.seen.pods]
            case "kubeconfig":
                return _paths(asked.word, asked.listing)
            case "since":
                return TIMES
        return ()
    if asked.word.startswith("-"):
        return _flags(tail_parser())
    if asked.word.startswith((".", "/", "~")):
        return _paths(asked.word, asked.listing)
    return [*asked.seen.workloads, *asked.seen.pods, *_paths(asked.word, asked.listing)]


def _flags(parser: argparse.ArgumentParser) -> list[Option]:
    return [(max(a.option_strings, key=len), a.help or "") for a in parser._actions if a.option_strings] + [
        (o, a.help or "") for a in parser._actions for o in a.option_strings if not o.startswith("--")
    ]


_GIVES: Mapping[str, Callable[[_Asked], Iterable[Option]]] = {
    "all": lambda a: () if a.before else [("all", "what is no failure, too")],
    "finding": _findings,
    "fix": _fixes,
    "watch": _watch,
    "path": lambda a: _paths(a.word, a.listing),
    "check": _checks,
    "pod": _pods,
    "by": lambda a: () if a.before else [(by, f"failures by {by}") for by in ("edge", *(b for b in BY if b != "edge"))],
    "word": _words,
    "filter": _filters,
    "setting": _settings,
    "command": lambda a: () if a.before else [(c.name, c.help) for c in COMMANDS.values()],
    "pattern": _patterns,
    "save": _saves,
    "tail": _tail,
}
"""What a command's words complete to, by its `takes`."""


# --- what was seen


@dataclass(frozen=True, slots=True)
class Names:
    """Names in a diagnosis, those of findings first, each with what it is; `about` describes the findings."""

    about: dict[Key, str] = field(default_factory=dict)
    causes: list[Option] = field(default_factory=list)
    pods: list[Option] = field(default_factory=list)
    workloads: list[Option] = field(default_factory=list)
    namespaces: list[Option] = field(default_factory=list)
    containers: list[Option] = field(default_factory=list)


_names_kept: tuple[Diagnosis, bool, Names] | None = None


def names(diagnosis: Diagnosis, redacted: bool = True) -> Names:
    """The names in a diagnosis. Those of the last one are kept: they are asked for with every key."""
    global _names_kept
    kept = _names_kept
    if kept is None or kept[0] is not diagnosis or kept[1] is not redacted:
        kept = _names_kept = (diagnosis, redacted, _names(diagnosis, redacted))
    return kept[2]


def _names(diagnosis: Diagnosis, redacted: bool) -> Names:
    pods: dict[str, str] = {}
    workloads: dict[str, str] = {}
    namespaces: dict[str, str] = {}
    containers: dict[str, str] = {}
    for f in diagnosis.findings:
        s = f.subject
        for name in (s.source, s.destination, s.name if s.kind in ("workload", "service", "control-plane") else ""):
            space, slash, rest = name.rpartition("/")
            labels = rest.partition(":")[0].split(".")
            if labels[-1].isdigit():
                continue  # an address
            space = space if slash else labels[1] if len(labels) > 1 else s.namespace
            if labels[0] and labels[0] != "?":
                workloads.setdefault(labels[0], space)
            if space:
                namespaces.setdefault(space, f"of {f.cause}")
        if s.namespace:
            namespaces.setdefault(s.namespace, f"of {f.cause}")
        for place, count in f.pods:
            pods.setdefault(place.rpartition("/")[2], f"{count:,} lines of {f.cause}")
    for pod in diagnosis.seen.pods.values():
        origin = pod.origin
        if origin.pod:
            pods.setdefault(origin.pod, origin.namespace)
            workloads.setdefault(workload_of(origin.pod), origin.namespace)
        if origin.namespace:
            namespaces.setdefault(origin.namespace, "")
        if origin.container:
            containers.setdefault(origin.container, "")
    return Names(
        {(f.cause, f.subject): _described(f, redacted) for f in diagnosis.findings},
        [(c, diagnosis.catalogue.causes[c].title) for c in dict.fromkeys(f.cause for f in diagnosis.findings)],
        [*pods.items()],
        [*workloads.items()],
        [*namespaces.items()],
        [*containers.items()],
    )


def _described(f: Finding, redacted: bool) -> str:
    subject = about(f)
    return f"{f.cause} · {redact(subject) if redacted else subject}"
