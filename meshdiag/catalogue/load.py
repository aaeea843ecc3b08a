"""Pattern and cause files -> validated, resolved plain mappings. Every fault is found, and named by file, line and key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import regex

from meshdiag.catalogue import necessary
from meshdiag.catalogue.conditions import normal
from meshdiag.catalogue.entries import GROUPS, NONE
from meshdiag.catalogue.yamlfile import Path_, YamlFault, YamlFile
from meshdiag.model import MeshdiagError

GENERIC_FIELDS = frozenset(
    {"response_flags", "response_code_details", "connection_termination_details", "upstream_transport_failure_reason"}
)
"""Access-log conditions on these are covered by the engine's generic expressions for failing lines."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One mistake in a catalogue file."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


class CatalogueError(MeshdiagError):
    """The catalogue has faults; `faults` has them all."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = sorted(set(faults))
        super().__init__("\n".join(map(str, self.faults)))


Raw = dict[str, Any]


def load(packs: Iterable[tuple[Path, Mapping[str, str]]], trusted: Path | None = None) -> Raw:
    """Load packs (directory, {relative path: text}); later packs override ids of earlier ones.

    `trusted` names the pack inside an installed wheel: it was validated when the wheel was tested, so only its links are.

    Returns {"patterns": [...], "sequences": [...], "causes": [...], "glossary": [...]}, plain JSON values. Raises
    CatalogueError with every fault.
    """
    faults: list[Fault] = []
    patterns: dict[str, Raw] = {}
    sequences: dict[str, Raw] = {}
    causes: dict[str, Raw] = {}
    lists: dict[str, Any] = {}
    disabled: set[str] = set()
    glossary: list[Raw] = []
    for directory, contents in packs:
        seen: dict[str, str] = {}
        files = []
        for name, text in contents.items():
            shown = str(directory / name)
            try:
                files.append((shown, YamlFile(directory / name, text)))
            except YamlFault as e:
                faults.append(Fault(shown, e.line, str(e)))
        for shown, file in files:
            bad = [] if directory == trusted else list(_schema_faults(shown, file, _kind(file.data)))
            faults += bad
            if bad or not isinstance(file.data, dict):
                continue
            for i, raw in enumerate(file.data.get("causes", ())):
                line = file.line(("causes", i, "id"))
                _once(seen, f"cause {raw['id']}", shown, line, faults)
                causes[raw["id"]] = {**raw, "file": shown}
            for kind, terms in file.data.get("glossary", {}).items():
                glossary += [{**t, "kind": kind, "file": shown} for t in terms]
            for name, rules in file.data.get("lists", {}).items():
                _once(seen, f"list {name}", shown, file.line(("lists", name)), faults)
                lists[name] = rules
            disabled.update(file.data.get("disable", ()))
            defaults = {k: file.data[k] for k in ("component", "format") if k in file.data}
            for i, raw in enumerate(file.data.get("patterns", ())):
                path: Path_ = ("patterns", i)
                line = file.line((*path, "id"))
                _once(seen, f"pattern {raw['id']}", shown, line, faults)
                patterns[raw["id"]] = {**defaults, **raw, "file": shown, "line": line}
                if directory != trusted:
                    faults += _regex_faults(shown, file, path, raw)
            for i, raw in enumerate(file.data.get("sequences", ())):
                line = file.line(("sequences", i, "id"))
                _once(seen, f"pattern {raw['id']}", shown, line, faults)
                sequences[raw["id"]] = {**raw, "file": shown, "line": line}
    for name in disabled:
        patterns.pop(name, None)
        sequences.pop(name, None)
    for raw in patterns.values():
        own = trusted is not None and Path(raw["file"]).is_relative_to(trusted)
        faults += _resolve(raw, lists, causes, checked=own)
    for raw in sequences.values():
        faults += _sequence_faults(raw, patterns, causes)
    faults += _cause_faults(causes)
    for term in glossary:
        for cause in term.get("causes", ()):
            if cause not in causes:
                faults.append(Fault(term["file"], 1, f"glossary: {term['term']}: no cause is named {cause!r}"))
    if faults:
        raise CatalogueError(faults)
    return {
        "patterns": list(patterns.values()),
        "sequences": list(sequences.values()),
        "causes": list(causes.values()),
        "glossary": glossary,
    }


def _kind(data: Any) -> str:
    """Which kind of file: by its first key."""
    kinds = {"causes": "cause-file", "glossary": "glossary-file"}
    return next((kinds[k] for k in data if k in kinds), "pattern-file") if isinstance(data, dict) else "pattern-file"


def _once(seen: dict[str, str], what: str, file: str, line: int, faults: list[Fault]) -> None:
    if what in seen:
        faults.append(Fault(file, line, f"{what} stands already at {seen[what]}"))
    seen[what] = f"{file}:{line}"


def _schema_faults(shown: str, file: YamlFile, schema: str) -> Iterator[Fault]:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    text = resources.files("meshdiag.catalogue").joinpath(f"{schema}.schema.json").read_text()
    for error in Draft202012Validator(json.loads(text)).iter_errors(file.data):
        inner = best_match([error]) or error
        path = tuple(inner.absolute_path)
        key = ".".join(map(str, path)) or "the file"
        said = "has two forms (message or line); give one" if inner.validator == "oneOf" else inner.message[:300]
        yield Fault(shown, file.line(path), f"{key}: {said}")


def _regex_faults(shown: str, file: YamlFile, path: Path_, raw: Raw) -> Iterator[Fault]:
    def check(expression: str, *keys: str | int) -> Iterator[Fault]:
        try:
            regex.compile(expression)
        except regex.error as e:
            key = ".".join(map(str, keys))
            yield Fault(shown, file.line((*path, *keys)), f"{raw['id']}: {key}: bad regular expression: {e}")

    for name, condition in raw["when"].items():
        for op, arg in normal(condition).items():
            if op == "regex":
                yield from check(arg, "when", name, op)
    for name, expression in raw.get("captures", {}).items():
        yield from check(expression, "captures", name)
    if "prefilter" in raw:
        yield from check(raw["prefilter"], "prefilter")


def _resolve(raw: Raw, lists: Mapping[str, Any], causes: Mapping[str, Raw], checked: bool) -> Iterator[Fault]:
    def fault(text: str) -> Fault:
        return Fault(raw["file"], raw["line"], f"{raw['id']}: {text}")

    formats = raw.pop("format", None)
    if formats is None:
        yield fault("no format, here or at the top of the file")
        formats = []
    named = [formats] if isinstance(formats, str) else formats
    raw["formats"] = sorted({f for n in named for f in GROUPS.get(n, (n,))})

    by = raw.pop("cause_by", None)
    if by is not None:
        rules = by
        if isinstance(by, dict):
            raw["cause_field"] = by.get("field", "message")
            rules = by["rules"]
        if isinstance(rules, str):
            if rules not in lists:
                yield fault(f"cause_by: no list is named {rules!r}")
            rules = lists.get(rules, [])
        raw["cause_by"] = rules
        for rule in () if checked else rules:
            try:
                regex.compile(rule["regex"])
            except regex.error as e:
                yield fault(f"cause_by: bad regular expression {rule['regex']!r}: {e}")
    for cause in (raw["cause"], *(r["cause"] for r in raw.get("cause_by", ())), *raw.get("alternatives", ())):
        if cause != NONE and cause not in causes:
            yield fault(f"no cause is named {cause!r}")

    if "prefilter" in raw:
        raw["prefilter"] = necessary.alternatives_of(raw["prefilter"])
        for expression in raw["prefilter"]:
            if re.search(expression, necessary.COMMON):
                yield fault(f"prefilter {expression!r} stands in every healthy access line: make it more specific")
    else:
        raw["prefilter"] = prefilter_of(raw)
        if raw["prefilter"] == ():
            yield fault(
                "no necessary text: give one condition a `contains`, `equals` or `one_of` with "
                f"{necessary.MIN_LITERAL} or more plain characters in a row, or a `prefilter` regular expression"
            )


def _sequence_faults(raw: Raw, patterns: Mapping[str, Raw], causes: Mapping[str, Raw]) -> Iterator[Fault]:
    """Faults of a sequence; its members become the ids of patterns."""

    def fault(text: str) -> Fault:
        return Fault(raw["file"], raw["line"], f"{raw['id']}: {text}")

    if raw["cause"] not in causes:
        yield fault(f"no cause is named {raw['cause']!r}")
    if ("then" in raw) + ("without" in raw) > 1 or not {"then", "without", "at_least"} & raw.keys():
        yield fault("give `then`, `without` or `at_least` (or `at_least` beside `without`)")
    if "then" in raw and "at_least" in raw:
        yield fault("`at_least` does not go with `then`")
    for key in ("first", "then", "without"):
        members: set[str] = set()
        for kind, names in raw.get(key, {}).items():
            for name in names:
                found = {i for i, p in patterns.items() if name in _named(p, i, kind)}
                if not found:
                    yield fault(f"{key}: no pattern has the {kind} {name!r}")
                # a pattern may name several causes: which it did is known only when it matched
                members |= {f"cause:{name}"} if kind == "cause" else found
        if key in raw:
            raw[key] = sorted(members)


def _named(pattern: Raw, id: str, kind: str) -> set[str]:
    """What a member of a sequence may call a pattern by."""
    if kind == "pattern":
        return {id}
    if kind == "milestone":
        return {pattern.get("milestone", "")}
    return {pattern["cause"], *(r["cause"] for r in pattern.get("cause_by", ()))}


def prefilter_of(raw: Raw) -> tuple[str, ...] | None:
    """The pattern's necessary expressions; None when the generic ones cover it; () when there are none."""
    if raw["formats"] == ["access-log"]:
        for name in GENERIC_FIELDS & raw["when"].keys():
            condition = normal(raw["when"][name])
            if not {"not", "absent"} & condition.keys() and "via_upstream" not in str(condition):
                return None
        code = normal(raw["when"].get("response_code", {"absent": True}))
        codes = [str(v) for v in code.get("one_of", [code.get("equals", "")])]
        if code.get("min", 0) >= 500 or all(v.startswith("5") for v in codes):
            return None
    return necessary.expressions(raw["when"])


def _cause_faults(causes: Mapping[str, Raw]) -> Iterator[Fault]:
    graph: dict[str, list[str]] = {}
    for raw in causes.values():
        graph[raw["id"]] = [e["cause"] for e in raw.get("explains", ())]
        named = [*graph[raw["id"]], *raw.get("recovered_by", ()), *raw.get("alternatives", ())]
        for other in named:
            if other not in causes:
                yield Fault(raw["file"], 1, f"{raw['id']}: no cause is named {other!r}")
    done: set[str] = set()

    def cycle(node: str, trail: tuple[str, ...]) -> tuple[str, ...]:
        if node in trail:
            return (*trail[trail.index(node) :], node)
        if node in done:
            return ()
        done.add(node)
        for other in graph.get(node, ()):
            if found := cycle(other, (*trail, node)):
                return found
        return ()

    for start in graph:
        if found := cycle(start, ()):
            yield Fault(causes[start]["file"], 1, f"`explains` runs in a circle: {' -> '.join(found)}")
            return
