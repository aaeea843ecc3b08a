"""The ways to write a pattern for records that belong together, the strictest first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from meshdiag import formats
from meshdiag.learning import mining
from meshdiag.learning.conditions import ANYWHERE, START, WORD_START, expression
from meshdiag.learning.unknown import MIN_LETTERS, Group, Unknown, clean, details_of

EXAMPLES = 3
MISSES = 5
"""Words that are tried for the near miss."""

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,60}")
_WORDS = re.compile(r"[A-Za-z]{2,}")

# a line of Istio's default text format: what decides about it, and nothing else
_ACCESS = '[2026-11-22T10:00:00.000Z] "GET / HTTP/1.1" {} - {} - "-" 0 0 0 - "-" "-" "-" "reviews:9080" "-" - - - - - -'


@dataclass(frozen=True, slots=True)
class Form:
    """One way to write a pattern."""

    words: tuple[str, ...]
    when: dict[str, Any]
    captures: dict[str, str]
    examples: list[dict[str, Any]]
    misses: list[dict[str, Any]]
    """Near misses to choose from."""


def forms_of(group: Group) -> Iterator[Form]:
    """Forms of a pattern that has all of the group; none when too little stays the same."""
    match group[0].original.format:
        case "access-log":
            yield from _access_forms(group)
        case "analysis":
            yield from _analysis_forms(group)
        case _:
            yield from _message_forms(group)


def _message_forms(group: Group) -> Iterator[Form]:
    """Conditions on the text; `^` first, then where a word begins (a scope may stand before it in pasted text)."""
    first = group[0]
    parts = mining.segments(mining.template([u.tokens for u in group]))
    if not parts or mining.letters(parts[0][1]) < MIN_LETTERS:
        return
    begins, pieces = parts[0]
    extra = {}
    if first.original.format == "event":
        extra = {k: v for k in ("type", "reason") if (v := first.original.fields.get(k))}
    ways: list[tuple[str, Callable[[Unknown, Mapping[str, str]], dict[str, Any]]]]
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
        yield Form(words, {**extra, first.field: made.condition}, captures, examples, misses)


def _captured(capture: str, text: str) -> dict[str, str]:
    found = re.search(capture, text) if capture else None
    return {k: v for k, v in found.groupdict().items() if v is not None} if found else {}


def _spoken(u: Unknown, captures: Mapping[str, str]) -> dict[str, Any]:
    """The message with the scope and level it was written with; the check writes it in every encoding."""
    scope = u.original.fields.get("scope", "")
    more = {"scope": scope if _NAME.fullmatch(scope) else "", "level": u.original.level}
    return {
        **_message(u, {}),
        **{k: v for k, v in more.items() if v},
        **({"captures": dict(captures)} if captures else {}),
    }


def _message(u: Unknown, captures: Mapping[str, str]) -> dict[str, Any]:
    return {"message": u.text, **({"captures": dict(captures)} if captures else {})}


def _line(u: Unknown, captures: Mapping[str, str]) -> dict[str, Any]:
    return {"line": u.line, **({"captures": dict(captures)} if captures else {})}


def _near_misses(
    u: Unknown, words: Sequence[str], write: Callable[[Unknown, Mapping[str, str]], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """The first sample with a telling word changed: the longest words first. It is still a line of its format."""
    for word in sorted(dict.fromkeys(words), key=lambda w: (-len(w), w))[:MISSES]:
        other = "something" if word.lower() != "something" else "anything"
        changed = replace(u, text=u.text.replace(word, other), line=u.line.replace(word, other))
        if changed.text != u.text and (write is not _line or formats.detect(changed.line).format == u.original.format):
            yield write(changed, {})


def _access_forms(group: Group) -> Iterator[Form]:
    """Conditions on the code, the flags and the details: the rest of an access line is written by whoever asks."""
    first = group[0]
    get = first.original.fields.get
    flags, details = get("response_flags"), details_of(first)
    codes = sorted({c for u in group if (c := u.original.fields.get("response_code"))})
    when: dict[str, Any] = {"response_flags": flags if flags else {"absent": True}}
    if len(codes) == 1:
        when["response_code"] = codes[0]
    elif codes:
        when["response_code"] = {"one_of": codes}
    if any(c in clean(flags or "") for c in "\ufffd"):
        return
    words = [*codes[:1], *re.findall(r"[A-Za-z0-9]+", flags or ""), *_WORDS.findall(details)]
    code = codes[0] if codes else "0"
    miss = _ACCESS.format(code if flags or details not in ("", "via_upstream") else "200", "via_upstream")
    examples = [{"line": u.line} for u in group[:EXAMPLES]]
    for shown in _details_conditions(details):
        yield Form(tuple(words), {**when, **shown}, {}, examples, [{"line": miss}])


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


def _analysis_forms(group: Group) -> Iterator[Form]:
    """A code of `istioctl analyze` tells all."""
    code = group[0].original.fields.get("code", "")
    if not _NAME.fullmatch(code):
        return
    other = "IST9998" if code != "IST9998" else "IST9997"
    examples = [{"line": u.line} for u in group[:EXAMPLES]]
    yield Form((code,), {"code": code}, {}, examples, [{"line": group[0].line.replace(code, other)}])
