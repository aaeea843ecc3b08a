"""The draft: unrecognised shapes -> patterns, each proved by the catalogue's own check -> a pattern file.

A pattern is tried from the strictest form to looser ones, and the first that loads, matches its samples in every encoding
and misses its near miss is taken. What no form fits is said, never guessed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from meshdiag import formats
from meshdiag.api import diagnose
from meshdiag.catalogue import NONE, Catalogue, Pattern
from meshdiag.catalogue.check import check
from meshdiag.catalogue.load import CatalogueError, load
from meshdiag.diagnosis import Diagnosis, Unrecognised
from meshdiag.formats.base import UNPARSED
from meshdiag.learning import mining
from meshdiag.learning.conditions import ANYWHERE, START, WORD_START, expression
from meshdiag.learning.mining import Token
from meshdiag.model import MeshdiagError, Record
from meshdiag.redact import redact
from meshdiag.views.safe import one_line

COMPONENTS = ("envoy", "pilot-agent", "istiod", "ztunnel", "istio-cni", "istio-init", "kubernetes", "istioctl")

PRIORITY = -1000
"""Behind every other pattern: a draft takes no line from one that is known."""

EXAMPLES = 3
EXAMPLE_CHARS = 1_000
EXAMPLE_LINES = 10
MIN_LETTERS = 8
"""Fewer letters that stay the same would match too much."""

TRIES = 5
"""Templates tried for one pattern that may be written: bounds the work on hostile input."""

SHOWN_SKIPPED = 50

_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,60}")
_STOP = frozenset(
    (
        "the",
        "and",
        "for",
        "with",
        "from",
        "that",
        "this",
        "was",
        "were",
        "has",
        "have",
        "not",
        "but",
        "are",
        "its",
        "into",
        "via",
    )
)
_WORDS = re.compile(r"[A-Za-z]{2,}")

# a line of Istio's default text format: what decides about it, and nothing else
_ACCESS = '[2026-11-22T10:00:00.000Z] "GET / HTTP/1.1" {} - {} - "-" 0 0 0 - "-" "-" "-" "reviews:9080" "-" - - - - - -'


@dataclass(frozen=True, slots=True)
class Skipped:
    """A shape that became no pattern, and why."""

    shape: str
    count: int
    reason: str

    def __str__(self) -> str:
        return f"{self.count} x {one_line(redact(self.shape), 160)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft pattern file.

    text      the YAML file: it loads, and `meshdiag patterns test` passes; secrets are redacted
    patterns  its patterns
    skipped   the shapes that became none
    """

    text: str
    patterns: tuple[Pattern, ...]
    skipped: tuple[Skipped, ...]

    def __str__(self) -> str:
        return self.text


def learn(
    *inputs: Any,
    patterns: Sequence[str | os.PathLike[str]] = (),
    component: str = "",
    cause: str = NONE,
    min_count: int = 2,
    limit: int = 20,
    catalogue: Catalogue | None = None,
) -> Draft:
    """Draft patterns for what `diagnose` does not recognise in the inputs.

    inputs, patterns, catalogue  as for `diagnose`
    component                    only lines of this component, or that do not tell theirs; the patterns say it
    cause                        the cause of the patterns: an id, or `none` (known and harmless) to be replaced
    min_count                    leave out templates of fewer lines
    limit                        patterns at most, the most frequent first

    Returns a Draft; the same lines give the same draft. Raises MeshdiagError as `diagnose` does, for a cause or component
    that does not exist, and when the mining library is not installed (`pip install 'meshdiag[learn]'`).
    """
    mining.require()  # before long work
    return draft_of(
        diagnose(*inputs, patterns=patterns, catalogue=catalogue),
        component=component,
        cause=cause,
        min_count=min_count,
        limit=limit,
    )


def draft_of(
    diagnosis: Diagnosis, *, component: str = "", cause: str = NONE, min_count: int = 2, limit: int = 20
) -> Draft:
    """Draft patterns for what a diagnosis does not recognise. See `learn`."""
    mining.require()
    book = diagnosis.catalogue
    if component and component not in COMPONENTS:
        raise MeshdiagError(f"no component is named {component!r}: give one of {', '.join(COMPONENTS)}")
    if cause != NONE and cause not in book.causes:
        raise MeshdiagError(f"no cause is named {cause!r}: `meshdiag explain` knows them, docs/causes.md lists them")
    unknown: list[_Unknown] = []
    skipped: list[Skipped] = []
    for shape in diagnosis.unrecognised:
        one = _read(shape, component)
        if isinstance(one, _Unknown):
            unknown.append(one)
        elif one is not None:
            skipped.append(one)
    writer = _Writer(book, cause, min_count, limit)
    for group in sorted(_groups(unknown), key=lambda g: (-_count(g), g[0].key)):
        skipped += writer.add(group)
    skipped += writer.settle()
    skipped.sort(key=lambda s: (-s.count, s.shape, s.reason))
    text = _text(writer, skipped)
    return Draft(text, tuple(writer.load(text)), tuple(skipped))


# -- what is unknown


@dataclass(frozen=True)
class _Unknown:
    """An unrecognised shape whose sample could be read. `original` is its record; `line` and `text` are redacted."""

    shape: str
    count: int
    place: str
    original: Record
    component: str
    line: str
    field: str
    text: str

    @cached_property
    def key(self) -> tuple[str, ...]:
        return self.original.format, self.component, self.text, self.line, self.shape

    @cached_property
    def tokens(self) -> tuple[Token, ...]:
        """The words of the text; quoted text is literal where nothing else tells."""
        found = mining.tokens_of(self.text)
        best = mining.segments(mining.template([found]))
        if best and mining.letters(best[0][1]) >= MIN_LETTERS:
            return found
        return mining.tokens_of(self.text, literal_string=True)

    def skipped(self, reason: str) -> Skipped:
        return Skipped(self.shape, self.count, reason)


def _read(shape: Unrecognised, component: str) -> _Unknown | Skipped | None:
    """The record behind a shape's sample, read again; None for one of another component."""
    head = shape.shape.partition(":")[0].split(" ")
    known = next((c for c in head[1:] if c in COMPONENTS), "")
    if component and known and known != component:
        return None
    record = formats.detect(shape.sample.line)
    record = replace(record, component=record.component or known)
    if why := record.fields.get(UNPARSED):
        return Skipped(shape.shape, shape.count, f"the line could not be read: {why}")
    if record.format != head[0] or record.format == "text":
        return Skipped(shape.shape, shape.count, "the format cannot be told from the sample alone")
    field = "error" if record.format == "ztunnel-access" and "error" in record.fields else "message"
    text = record.fields["error"] if field == "error" else record.message
    place = f"{shape.sample.path}@{shape.sample.offset}"
    return _Unknown(
        shape.shape,
        shape.count,
        place,
        record,
        component or record.component,
        _clean(shape.sample.line),
        field,
        _bounded(_clean(text)),
    )


def _clean(text: str) -> str:
    """Without secrets, and with a stand-in for what a file cannot hold or a terminal would act on."""
    return _UNSAFE.sub("\ufffd", redact(text))


def _bounded(text: str) -> str:
    return "\n".join(text[:EXAMPLE_CHARS].split("\n")[:EXAMPLE_LINES])


_Group = list[_Unknown]


def _count(group: _Group) -> int:
    return sum(u.count for u in group)


def _groups(unknown: Sequence[_Unknown]) -> Iterator[_Group]:
    """What shares a template: access lines by flags and details, others mined among their like."""
    like: dict[tuple[str, ...], _Group] = {}
    for u in sorted(unknown, key=lambda u: u.key):
        get = u.original.fields.get
        same: tuple[str, ...] = (u.field,)
        match u.original.format:
            case "access-log":
                details = "".join(t.before + t.key for t in mining.tokens_of(_details(u)))
                same = (get("response_flags", "-"), details)
            case "event":
                same = (get("type", ""), get("reason", ""))
            case "analysis":
                same = (get("code", ""),)
        like.setdefault((u.original.format, u.component, *same), []).append(u)
    for group in like.values():
        if group[0].original.format == "access-log":
            yield group
        else:
            yield from ([group[i] for i in part] for part in mining.mine([u.tokens for u in group]))


def _details(u: _Unknown) -> str:
    return _clean(u.original.fields.get("response_code_details", ""))


# -- patterns


@dataclass(frozen=True, slots=True)
class _Form:
    """One way to write a pattern."""

    words: tuple[str, ...]
    when: dict[str, Any]
    captures: dict[str, str]
    examples: list[dict[str, Any]]
    misses: list[dict[str, Any]]
    """Near misses to choose from."""


class _Writer:
    """Collects the patterns that pass."""

    def __init__(self, book: Catalogue, cause: str, min_count: int, limit: int) -> None:
        self.book = book
        self.cause = cause
        self.min_count = min_count
        self.limit = limit
        self.tried = 0
        self.patterns: list[Pattern] = []
        self.entries: list[tuple[dict[str, Any], _Group]] = []

    def add(self, group: _Group) -> list[Skipped]:
        """Draft a pattern for a group; for each sample alone where they have none together. Returns what has none."""
        if reason := self._refusal(group):
            return [u.skipped(reason) for u in group]
        self.tried += 1
        now = self._catalogue([])
        group = [u for u in group if now.find(u.original) not in self.patterns]
        if not group:
            return []  # a pattern of this draft has them already
        reason = self._one(group)
        if not reason:
            return []
        if len(group) == 1:
            return [group[0].skipped(reason)]
        return [s for u in group for s in self.add([u])]

    def _refusal(self, group: _Group) -> str:
        if _count(group) < self.min_count:
            return f"fewer than {self.min_count} lines"
        if len(self.patterns) >= self.limit:
            return f"more than {self.limit} patterns"
        return "too many that cannot be drafted" if self.tried >= TRIES * self.limit else ""

    def _one(self, group: _Group) -> str:
        reason = "too little text that stays the same"
        for form in _forms(group):
            fault = self._try(group, form)
            if not fault:
                return ""
            reason = fault
        return reason

    def _try(self, group: _Group, form: _Form) -> str:
        first = group[0]
        entry: dict[str, Any] = {
            "id": self._id(first, form.words),
            "cause": self.cause,
            "component": first.component,
            "format": first.original.format,
            "priority": PRIORITY,
            "when": form.when,
            "captures": form.captures,
            "examples": form.examples,
            "near_misses": form.misses[:1],
        }
        entry = {k: v for k, v in entry.items() if v not in ("", {})}
        fault = "no pattern could be made"
        for miss in form.misses:
            entry["near_misses"] = [miss]
            fault = self._prove(group, entry)
            if not fault:
                return ""
            if not fault.endswith("the near miss matches"):
                break
        return fault

    def _prove(self, group: _Group, entry: dict[str, Any]) -> str:
        """Take the entry if it loads and passes, and takes no sample of the patterns before it; else say why not."""
        try:
            (pattern,) = self.load("patterns:\n" + _entry(entry, ""))
        except CatalogueError as e:
            return f"its pattern does not load: {e.faults[0].text}"
        now = self._catalogue([pattern])
        if any(now.find(u.original) is not pattern for u in group):
            return "no condition holds for all its samples"
        if any(now.find(u.original) is pattern for _, taken in self.entries for u in taken):
            return "its pattern would take lines of another"
        if fault := next(check(now, [pattern]), None):
            return f"its pattern fails: {one_line(redact(fault.what), 120)}"
        self.patterns.append(pattern)
        self.entries.append((entry, group))
        return ""

    def settle(self) -> list[Skipped]:
        """Take back what fails beside patterns that came later."""
        out: list[Skipped] = []
        while fault := next(check(self._catalogue([]), self.patterns), None):
            at = next(i for i, p in enumerate(self.patterns) if p.id == fault.pattern)
            del self.patterns[at]
            out += [u.skipped("its pattern fails beside the others") for u in self.entries.pop(at)[1]]
        return out

    def load(self, text: str) -> list[Pattern]:
        """The patterns of a file, validated as in a pack. Raises CatalogueError."""
        files = {"draft.yaml": text}
        if self.cause != NONE:  # only its id matters here
            known = self.book.causes[self.cause]
            cause = {
                "id": known.id,
                "kind": known.kind.value,
                "severity": known.severity.value,
                "title": known.title,
                "explanation": known.explanation,
            }
            files["cause.yaml"] = yaml.safe_dump({"causes": [cause]})
        return [Pattern.from_raw(raw) for raw in load([(Path("draft"), files)])["patterns"]]

    def _catalogue(self, more: list[Pattern]) -> Catalogue:
        every = sorted([*self.book.patterns, *self.patterns, *more], key=lambda p: p.order)
        return Catalogue(self.book.causes, tuple(every))

    def _id(self, first: _Unknown, words: Sequence[str]) -> str:
        """Kebab-case, of the first telling words; unlike any that is loaded."""
        telling = [w for w in words if (len(w) > 2 or w.isupper()) and w.lower() not in _STOP] or ["draft"]
        told = [w.lower()[:20] for w in telling[:6]]
        name = "-".join([first.component or first.original.format.removesuffix("-log"), *told])[:60].strip("-")
        taken = {*self.book.by_id, *(p.id for p in self.patterns)}
        number = 2
        found = name
        while found in taken:
            found, number = f"{name}-{number}", number + 1
        return found


def _forms(group: _Group) -> Iterator[_Form]:
    match group[0].original.format:
        case "access-log":
            yield from _access_forms(group)
        case "analysis":
            yield from _analysis_forms(group)
        case _:
            yield from _message_forms(group)


def _message_forms(group: _Group) -> Iterator[_Form]:
    """Conditions on the text; `^` first, then where a word begins (a scope may stand before it in pasted text)."""
    first = group[0]
    parts = mining.segments(mining.template([u.tokens for u in group]))
    if not parts or mining.letters(parts[0][1]) < MIN_LETTERS:
        return
    begins, pieces = parts[0]
    extra = {}
    if first.original.format == "event":
        extra = {k: v for k in ("type", "reason") if (v := first.original.fields.get(k))}
    ways: list[tuple[str, Callable[[_Unknown, Mapping[str, str]], dict[str, Any]]]]
    if first.field != "message" or extra:
        ways = [(START, _line), (WORD_START, _line)]
    else:
        ways = [(START, _spoken), (WORD_START, _spoken), (WORD_START, _message), (START, _line), (WORD_START, _line)]
    if not begins:
        ways = [(ANYWHERE, way) for way in dict.fromkeys(w for _, w in ways)]
    shown = group[:EXAMPLES]
    for anchor, write in ways:
        made = expression(pieces, anchor)
        words = tuple(w for t in made.literals for w in _WORDS.findall(t))
        captures = {first.field: made.capture} if made.capture else {}
        examples = [write(u, _captured(made.capture, u.text)) for u in shown]
        misses = list(_near_misses(first, words, write))
        yield _Form(words, {**extra, first.field: made.condition}, captures, examples, misses)


def _captured(capture: str, text: str) -> dict[str, str]:
    found = re.search(capture, text) if capture else None
    return {k: v for k, v in found.groupdict().items() if v is not None} if found else {}


def _spoken(u: _Unknown, captures: Mapping[str, str]) -> dict[str, Any]:
    """The message with the scope and level it was written with; the check writes it in every encoding."""
    scope = u.original.fields.get("scope", "")
    more = {"scope": scope if _NAME.fullmatch(scope) else "", "level": u.original.level}
    return {
        **_message(u, {}),
        **{k: v for k, v in more.items() if v},
        **({"captures": dict(captures)} if captures else {}),
    }


def _message(u: _Unknown, captures: Mapping[str, str]) -> dict[str, Any]:
    return {"message": u.text, **({"captures": dict(captures)} if captures else {})}


def _line(u: _Unknown, captures: Mapping[str, str]) -> dict[str, Any]:
    return {"line": u.line, **({"captures": dict(captures)} if captures else {})}


def _near_misses(
    u: _Unknown, words: Sequence[str], write: Callable[[_Unknown, Mapping[str, str]], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The first sample with a telling word changed: the longest words first. It is still a line of its format."""
    for word in sorted(dict.fromkeys(words), key=lambda w: (-len(w), w))[:TRIES]:
        other = "something" if word.lower() != "something" else "anything"
        changed = replace(u, text=u.text.replace(word, other), line=u.line.replace(word, other))
        if changed.text != u.text and (write is not _line or formats.detect(changed.line).format == u.original.format):
            yield write(changed, {})


def _access_forms(group: _Group) -> Iterator[_Form]:
    """Conditions on the code, the flags and the details: the rest of an access line is written by whoever asks."""
    first = group[0]
    get = first.original.fields.get
    flags, details = get("response_flags"), _details(first)
    codes = sorted({c for u in group if (c := u.original.fields.get("response_code"))})
    when: dict[str, Any] = {"response_flags": flags if flags else {"absent": True}}
    if len(codes) == 1:
        when["response_code"] = codes[0]
    elif codes:
        when["response_code"] = {"one_of": codes}
    if any(c in _clean(flags or "") for c in "\ufffd"):
        return
    words = [*codes[:1], *re.findall(r"[A-Za-z0-9]+", flags or ""), *_WORDS.findall(details)]
    code = codes[0] if codes else "0"
    miss = _ACCESS.format(code if flags or details not in ("", "via_upstream") else "200", "via_upstream")
    examples = [{"line": u.line} for u in group[:EXAMPLES]]
    for shown in _details_conditions(details):
        yield _Form(tuple(words), {**when, **shown}, {}, examples, [{"line": miss}])


def _details_conditions(details: str) -> Iterator[dict[str, Any]]:
    if not details:
        yield {}
        return
    pieces = mining.template([mining.tokens_of(details)])
    if all(not p.kind for p in pieces) and len(details) < mining.BLANKED_LIMIT:
        yield {"response_code_details": details}
        return
    for begins, part in mining.segments(pieces)[:1]:
        if mining.letters(part) >= MIN_LETTERS:
            yield {"response_code_details": expression(part, START if begins else ANYWHERE).condition}


def _analysis_forms(group: _Group) -> Iterator[_Form]:
    """A code of `istioctl analyze` tells all."""
    code = group[0].original.fields.get("code", "")
    if not _NAME.fullmatch(code):
        return
    other = "IST9998" if code != "IST9998" else "IST9997"
    examples = [{"line": u.line} for u in group[:EXAMPLES]]
    yield _Form((code,), {"code": code}, {}, examples, [{"line": group[0].line.replace(code, other)}])


# -- the file


class _Dumper(yaml.SafeDumper):
    """Block style, one line a text: quoted with escapes where it holds line ends."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _str(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
    style = '"' if "\n" in data else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Dumper.add_representer(str, _str)


def _entry(entry: Mapping[str, Any], note: str) -> str:
    # ASCII only: no character of a log can hide or reorder what stands in the file
    body = yaml.dump([entry], Dumper=_Dumper, sort_keys=False, width=1 << 30, allow_unicode=False)
    lines = ["  " + line for line in body.rstrip("\n").split("\n")]
    for i, line in enumerate(lines):
        if line == f"    cause: {NONE}":
            lines[i] += "  # TODO which cause? `none` hides these lines as harmless"
        elif line == f"    priority: {PRIORITY}":
            lines[i] += "  # behind all that is known; leave it out when the pattern is complete"
    return (f"  # {note}\n" if note else "") + "\n".join(lines) + "\n"


_HEAD = """\
# A draft of `meshdiag learn`. For each pattern: name its cause (docs/causes.md, or one of your own), widen or narrow its
# conditions, write near misses of your own; then run `meshdiag patterns test --patterns FOLDER FILE`.
"""


def _text(writer: _Writer, skipped: Sequence[Skipped]) -> str:
    out = [_HEAD]
    if skipped:
        out.append("#\n# Not drafted:\n")
        out += [f"#   {_ascii(str(s))}\n" for s in skipped[:SHOWN_SKIPPED]]
        if len(skipped) > SHOWN_SKIPPED:
            out.append(f"#   and {len(skipped) - SHOWN_SKIPPED} more\n")
    if not writer.entries:
        return "".join(out) + "patterns: []\n"
    return "".join(out) + "patterns:\n" + "\n".join(_entry(e, _note(g)) for e, g in writer.entries)


def _note(group: _Group) -> str:
    return _ascii(f"{_count(group)} lines, the first at {one_line(group[0].place, 200)}")


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode()
