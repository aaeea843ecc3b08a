"""`explain`: any cause id, response flag, response-code detail, JWT status, TLS error, errno, IST code, pattern id, or a line."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from meshdiag import remedies
from meshdiag.catalogue import NONE, Catalogue, Cause, Pattern
from meshdiag.drawn import Drawn
from meshdiag.model import MeshdiagError, Record, Remedy

_KINDS = {
    "response-flags": "response flag",
    "response-code-details": "response-code detail",
    "reset-reasons": "reset reason",
    "jwt-statuses": "JWT status",
    "tls-errors": "TLS error",
    "analysis-codes": "istioctl analyze code",
    "errno": "errno",
}


@dataclass(frozen=True, slots=True)
class Explanation(Drawn):
    """What a word or a line means.

    kind       `cause`, `response flag`, …, `pattern`, or `line`
    causes     ids of causes, most likely first
    pattern    the pattern that recognised a line, or ""
    record     what the format read out of a line, or None
    why_not    for a line: patterns that nearly hold, each with the conditions that fail
    """

    term: str
    kind: str
    title: str
    text: str
    causes: tuple[Cause, ...] = ()
    pattern: str = ""
    captures: Mapping[str, str] = field(default_factory=dict)
    record: Record | None = None
    why_not: tuple[tuple[str, tuple[str, ...]], ...] = ()
    remedies: tuple[Remedy, ...] = ()

    def __repr__(self) -> str:
        named = ", ".join(c.id for c in self.causes)
        return f"Explanation({self.term[:200]!r}, {self.kind}: {self.title!r}" + (
            f", causes: {named})" if named else ")"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        r = self.record
        return {
            "term": self.term,
            "kind": self.kind,
            "title": self.title,
            "text": self.text,
            "causes": [{"id": c.id, "title": c.title, "kind": c.kind.value} for c in self.causes],
            "pattern": self.pattern,
            "captures": dict(self.captures),
            "record": {"format": r.format, "encoding": r.encoding, "component": r.component, "level": r.level,
                       "message": r.message, "fields": dict(r.fields)} if r else None,
            "why_not": [{"pattern": p, "fails": list(f)} for p, f in self.why_not],
            "remedies": [x.to_dict() for x in self.remedies],
        }  # fmt: skip


def explain(what: str, catalogue: Catalogue | None = None, near: int = 3) -> Explanation:
    """Explain a word or a whole pasted line (or several lines of one record).

    near   how many patterns to name in `why_not` for a line that no pattern knows

    Raises MeshdiagError for an empty text or a word that nothing knows; the error suggests the nearest words.
    """
    book = catalogue or Catalogue.load()
    text = what.strip("\r\n")
    if not text.strip():
        raise MeshdiagError("nothing to explain: give a cause, a response flag, a code, or paste a line")
    word = text.strip()
    return _cause(word, book) or _term(word, book) or _pattern(word, book) or _line(text, book, near)


def _cause(word: str, book: Catalogue) -> Explanation | None:
    cause = book.causes.get(word)
    if cause is None:
        return None
    return Explanation(word, "cause", cause.title, cause.explanation, (cause,), remedies=remedies.of(cause, {}))


def _fold(text: str) -> str:
    return re.sub(r"[\s_]+", " ", text).strip().lower()


def _term(word: str, book: Catalogue) -> Explanation | None:
    if re.fullmatch(
        r"[A-Z]{2,6}(?:,[A-Z]{2,6})+", word
    ):  # flags as a log line has them: URX only says that tries were spent
        flags = sorted(dict.fromkeys(word.split(",")), key=lambda f: f == "URX")
        parts = [e for f in flags if (e := _term(f, book))]
        if parts:
            joined = "\n".join(f"{e.title}: {e.text}" for e in parts)
            return replace(parts[0], term=word, title=word, text=joined)
    wanted = _fold(
        os.strerror(getattr(errno, word)) if re.fullmatch("E[A-Z]{3,}", word) and hasattr(errno, word) else word
    )
    found = [t for t in book.glossary if wanted in (_fold(t["term"]), name := _fold(t.get("name", "")), name[6:])]
    # upstream_reset_before_response_started{connection_termination}: the part in braces says why
    if not found and (m := re.fullmatch(r"([\w.]+)[{\[(](.*)[}\])]", word)):
        stem, inner = _fold(m[1]), _fold(re.split(r"[,|]", m[2])[0])
        found = [t for t in book.glossary if _fold(t["term"]) == inner]
        found += [t for t in book.glossary if re.split(r"[{\[(]", _fold(t["term"]))[0] == stem]
    if not found:
        return None
    term = found[0]
    title = term["term"] + (f" ({term['name']})" if term.get("name") else "")
    causes = tuple(book.causes[c] for c in dict.fromkeys(c for t in found for c in t.get("causes", ())))
    rest = [f"{_KINDS.get(t['kind'], t['kind'])} {t['term']}: {t['means']}" for t in found[1:]]
    fixes = remedies.of(causes[0], {}) if len(causes) == 1 else ()
    return Explanation(
        word, _KINDS.get(term["kind"], term["kind"]), title, "\n".join([term["means"], *rest]), causes, remedies=fixes
    )


def _pattern(word: str, book: Catalogue) -> Explanation | None:
    p = book.by_id.get(word)
    if p is None:
        s = next((s for s in book.sequences if s.id == word), None)
        if s is None:
            return None
        return Explanation(
            word, "sequence", f"sequence {s.id}", f"{s.says}\n{s.file}:{s.line}", (book.causes[s.cause],)
        )
    named = dict.fromkeys(c for c in (p.cause, *(c for _, c in p.cause_by)) if c != NONE)
    causes = tuple(book.causes[c] for c in named)
    return Explanation(word, "pattern", f"pattern {p.id}", f"{p.file}:{p.line}", causes, p.id)


def _line(text: str, book: Catalogue, near: int) -> Explanation:
    from meshdiag import formats
    from meshdiag.diagnosis.subjects import facts_of, subject_of

    records = list(formats.records(text.split("\n")))
    record = next((r for r in records if book.find(r)), records[0] if records else Record("text", text, message=text))
    pattern = book.find(record)
    if pattern is None:
        if record.format == "text" and " " not in text.strip():
            raise MeshdiagError(_unknown(text.strip(), book))
        nearest = _nearest(record, book)[:near] if near else []
        healthy = record.format == "access-log" and "unparsed" not in record.fields
        title = "nothing is wrong in this line" if healthy and not _alarming(record) else "no pattern knows this line"
        return Explanation(text, "line", title, "", record=record, why_not=tuple(nearest))
    cause = pattern.cause_of(record)
    captures = pattern.capture(record)
    if cause == NONE:
        return Explanation(text, "line", "known and harmless", pattern.note, (), pattern.id, captures, record)
    entry = book.causes[cause]
    others = [book.causes[a] for a in pattern.alternatives if a in book.causes and a != cause]
    facts = facts_of(record, captures, subject_of(record, pattern, captures))
    return Explanation(
        text,
        "line",
        entry.title,
        entry.explanation,
        (entry, *others),
        pattern.id,
        captures,
        record,
        (),
        remedies.of(entry, facts),
    )


def _alarming(record: Record) -> bool:
    from meshdiag.engine.scan import alarming

    return alarming(record)


def _nearest(record: Record, book: Catalogue) -> list[tuple[str, tuple[str, ...]]]:
    """The patterns of this format that fail on the fewest conditions and share the most words."""
    words = set(re.findall(r"\w{4,}", record.message or record.text))

    def distance(p: Pattern) -> tuple[int, int]:
        own = set(re.findall(r"\w{4,}", str(p.when)))
        return len(p.why_not(record)), -len(own & words)

    some = [p for p in book.by_format.get(record.format, ()) if p.cause != NONE]
    scored = sorted(some, key=lambda p: (*distance(p), p.id))
    return [(p.id, tuple(p.why_not(record))) for p in scored[:10]]


def _unknown(word: str, book: Catalogue) -> str:
    known = [*book.causes, *(t["term"] for t in book.glossary), *book.by_id]
    nearest = difflib.get_close_matches(word, known, 3, 0.6)
    hint = (
        f"did you mean {' or '.join(nearest)}?"
        if nearest
        else "`meshdiag explain UH` explains a flag, or paste a whole line"
    )
    return f"nothing is known as {word!r}: {hint}"
