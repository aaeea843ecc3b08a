"""What nobody knows: the records behind unrecognised shapes, and which of them belong together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from meshdiag import formats
from meshdiag.diagnosis import Unrecognised
from meshdiag.formats.base import UNPARSED
from meshdiag.learning import mining
from meshdiag.learning.mining import Token
from meshdiag.model import Record
from meshdiag.redact import redact
from meshdiag.views.safe import one_line

COMPONENTS = ("envoy", "pilot-agent", "istiod", "ztunnel", "istio-cni", "istio-init", "kubernetes", "istioctl")

EXAMPLE_CHARS = 1_000
EXAMPLE_LINES = 10
MIN_LETTERS = 8
"""Fewer letters that stay the same would match too much."""

_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A shape that became no pattern, and why."""

    shape: str
    count: int
    reason: str

    def __str__(self) -> str:
        return f"{self.count} x {one_line(redact(self.shape), 160)}: {self.reason}"


@dataclass(frozen=True)
class Unknown:
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
        """It became no pattern, and why."""
        return Skipped(self.shape, self.count, reason)


def read(shape: Unrecognised, component: str) -> Unknown | Skipped | None:
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
    return Unknown(
        shape.shape,
        shape.count,
        place,
        record,
        component or record.component,
        clean(shape.sample.line),
        field,
        _bounded(clean(text)),
    )


def clean(text: str) -> str:
    """Without secrets, and with a stand-in for what a file cannot hold or a terminal would act on."""
    return _UNSAFE.sub("\ufffd", redact(text))


def _bounded(text: str) -> str:
    return "\n".join(text[:EXAMPLE_CHARS].split("\n")[:EXAMPLE_LINES])


Group = list[Unknown]


def count_of(group: Group) -> int:
    return sum(u.count for u in group)


def groups_of(unknown: Sequence[Unknown]) -> Iterator[Group]:
    """What shares a template: access lines by flags and details, others mined among their like."""
    like: dict[tuple[str, ...], Group] = {}
    for u in sorted(unknown, key=lambda u: u.key):
        get = u.original.fields.get
        same: tuple[str, ...] = (u.field,)
        match u.original.format:
            case "access-log":
                details = "".join(t.before + t.key for t in mining.tokens_of(details_of(u)))
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


def details_of(u: Unknown) -> str:
    return clean(u.original.fields.get("response_code_details", ""))
