"""Pieces of HTML: a finding, a remedy, the start of a proxy, lines that nobody knows. The report and notebooks are made of them.

Every text passes through `Pen.clean`, which escapes it; nothing else of a log gets into a piece. No piece has a style, a script, or
a handler of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape

from meshdiag.diagnosis import Diagnosis, Finding, Unrecognised
from meshdiag.diagnosis.readiness import Ready
from meshdiag.diagnosis.timeline import Timeline
from meshdiag.model import Kind, Problem, Remedy, Risk, Severity, State
from meshdiag.redact import redact
from meshdiag.views.amounts import clock, duration, plural, several_days
from meshdiag.views.incident import incident_facts
from meshdiag.views.safe import one_line, safe
from meshdiag.views.text import about, ago, amount, short, size, when

BARS = 60
"""Bars at most in the picture of a finding over time."""

NAMED = 20
"""Clients, pods, symptoms, proofs named in one line."""

LONG = 400
"""Characters of a subject in a table."""

LINE = 2_000
"""Characters of a line of a log; findings keep no more."""


_CODE = re.compile("`([^`<]+)`")


@dataclass(frozen=True, slots=True)
class Pen:
    """How texts and the numbers of findings are written.

    redacted  whether secrets become pseudonyms
    linked    whether the number of a finding leads to it; in a notebook the same number stands in many outputs
    """

    redacted: bool = True
    linked: bool = False

    def clean(self, text: str) -> str:
        """The text without secrets and control characters, escaped."""
        return escape(safe(redact(text) if self.redacted else text))

    def prose(self, text: str) -> str:
        """`clean`, and what stands in backticks is code."""
        return _CODE.sub(r"<code>\1</code>", self.clean(text))

    def rank(self, n: int) -> str:
        """`#3`."""
        return f'<a href="#f{n}">#{n}</a>' if self.linked else f"#{n}"

    def ranks(self, some: Sequence[int]) -> str:
        """`#1, #2 and 40 more`."""
        return _some([self.rank(n) for n in some])


def _some(parts: Sequence[str], limit: int = NAMED) -> str:
    more = f" and {len(parts) - limit:,} more" if len(parts) > limit else ""
    return ", ".join(parts[:limit]) + more


def facts(d: Diagnosis) -> str:
    """How much was read, of which time."""
    seen = d.seen
    some = [f"{seen.lines:,} lines", size(seen.bytes), when(seen.first, seen.last)]
    return f'<p class="dim">{escape(" · ".join(f for f in some if f))}</p>'


def verdict(d: Diagnosis, pen: Pen) -> Iterator[str]:
    """How many root causes and symptoms there are, and the incident in a few lines."""
    failures = d.failures
    if not failures:
        found = "No failure found" + " in what could be read" * bool(d.problems)
        yield f"<p><b>{found if d.seen.lines else 'Nothing was read'}.</b></p>"
        return
    roots = sum(not f.explained_by for f in failures)
    more = len(failures) - roots
    yield f"<p><b>{plural(roots, 'root cause')}</b>" + (f", {plural(more, 'symptom')}" if more else "") + "</p>"
    yield "<dl>" + "".join(f"<dt>{pen.clean(k)}</dt><dd>{pen.clean(v)}</dd>" for k, v in incident_facts(d)) + "</dl>"


def finding(
    f: Finding, below: Mapping[int, Sequence[Finding]], pen: Pen, *, is_open: bool, samples: int = 1_000
) -> Iterator[str]:
    """All about a finding, its first line open to see; `below` has the symptoms by rank."""
    clean = pen.clean
    tags = _tags(f)
    marks = " ".join(f'<span class="tag">{escape(t)}</span>' for t in tags)
    anchor = f' id="f{f.rank}"' if pen.linked else ""
    yield (
        f'<details class="finding {_colour(f)}"{anchor} data-text="{escape(" ".join(tags))}"{" open" * is_open}>'
        f'<summary><span class="count dim">{clean(amount(f))}</span><b>{f.rank}. {clean(f.title)}</b> '
        f'<code>{clean(f.cause)}</code> {marks}<br><span class="subject dim">{clean(about(f))}</span></summary>'
    )
    if span := when(f.first, f.last):
        where = f" · in {plural(f.places, 'place')}" if f.places > 1 else ""
        yield f'<p class="dim">{span}{where}</p>'
    yield from _over_time(f)
    yield f"<p>{pen.prose(f.explanation)}</p>"
    if told := [*_told(f, below.get(f.rank, ()), pen)]:
        yield "<ul>" + "".join(f"<li>{one}</li>" for one in told) + "</ul>"
    proof = [
        f'<div class="dim">{clean(s.path)}@{s.offset}</div><pre>{clean(s.line)}</pre>' for s in f.samples[:samples]
    ]
    yield from proof[:1]
    if len(proof) > 1:
        yield f'<details><summary class="dim">{plural(len(proof) - 1, "more sample")}</summary>{"".join(proof[1:])}</details>'
    for number, r in enumerate(f.remedies, 1):
        yield from remedy(r, pen, number=number, is_open=number == 1 and not f.explained_by)
    yield "</details>"


def _tags(f: Finding) -> list[str]:
    tags = [f.severity.value, f.confidence.value, *([f.state.value] if f.state is not State.ONGOING else [])]
    return [*tags, "refuted by the state of the cluster"] if f.refuted else tags


def _colour(f: Finding) -> str:
    return f.severity.value if f.kind is Kind.FAILURE else "good"


def _told(f: Finding, symptoms: Sequence[Finding], pen: Pen) -> Iterator[str]:
    clean = pen.clean
    yield from (("for: " if e.supports else "but: ") + clean(e.text) for e in f.evidence)
    yield from (f"<code>{clean(str(p))}</code>" for p in f.proofs[:NAMED])
    if f.unchecked:
        yield "not checkable: " + _some([clean(b) for b in f.unchecked])
    for c in f.changes:
        before = "undated" if c.before is None else f"{ago(c.before)} before it began"
        yield f"{before}: {clean(c.text)}"
    if f.reach:
        yield "seen by " + _some([clean(f"{source} ({n:,})") for source, n in f.reach])
    if f.pods and f.places > 1:
        yield "told by " + _some([clean(f"{name} ({n:,})") for name, n in f.pods])
    if f.explained_by:
        yield "explained by " + pen.ranks(f.explained_by)
    if symptoms:
        yield "explains " + _some([f"{pen.rank(s.rank)} {clean(s.cause)}" for s in symptoms])
    if f.alternatives:
        yield "could also be: " + clean(", ".join(f.alternatives))
        if f.tell_apart:
            yield "to tell: " + pen.prose(f.tell_apart)


def findings_table(some: Iterable[Finding], pen: Pen) -> Iterator[str]:
    """Findings in a line each."""
    yield '<table class="findings">'
    for f in some:
        anchor = f' id="f{f.rank}"' if pen.linked else ""
        title = f"{pen.clean(f.title)} <code>{pen.clean(f.cause)}</code>"
        by = f" ← {pen.ranks(f.explained_by[:3])}" if f.explained_by else ""
        yield (
            f'<tr data-text=""{anchor} class="{_colour(f)}"><td class="n">{f.rank}</td><td>{title}</td>'
            f'<td>{pen.clean(short(one_line(about(f), LONG)))}{by}</td><td class="n">{f.count:,}</td></tr>'
        )
    yield "</table>"


def remedy(r: Remedy, pen: Pen, *, number: int = 0, is_open: bool = True) -> Iterator[str]:
    """What to do: why, the steps with their commands, how to verify and to undo, and what it risks."""
    clean = pen.clean
    risk = f'<span class="tag {r.risk.value.replace(" ", "-")}">{r.risk}</span>'
    head = f"{number}. " if number else ""
    yield f'<details class="remedy"{" open" * is_open}><summary><b>{head}{clean(r.title)}</b> {risk}</summary>'
    if r.why:
        yield f"<p>{pen.prose(r.why)}</p>"
    if r.production:
        word = "weakens-security" if r.risk is Risk.WEAKENS_SECURITY else "changes-traffic"
        yield f'<p class="{word}">In production: {pen.prose(r.production)}</p>'
    yield from (f"<p>! {clean(note)}</p>" for note in r.notes)
    yield "<ol>"
    for step in r.steps:
        command = f"<pre>{clean(step.command)}</pre>" if step.command else ""
        manifest = f"<pre>{clean(step.manifest)}</pre>" if step.manifest else ""
        yield f"<li>{pen.prose(step.text)}{command}{manifest}</li>"
    yield "</ol>"
    if r.verify:
        yield f"<p><b>Verify:</b> {pen.prose(r.verify)}</p>"
    if r.undo:
        yield f"<p><b>Undo:</b> {pen.prose(r.undo)}</p>"
    yield "</details>"


def timeline(
    t: Timeline, pen: Pen, *, is_open: bool, causes: Mapping[int, str] | None = None, state: Ready | None = None
) -> Iterator[str]:
    """A start: what became of it, its milestones with their gaps, what comes next and what stands in the way."""
    clean = pen.clean
    colour, said = _outcome(t, state)
    stopped = ""
    if t.blocked_by and not t.is_ready:
        names = [f"{pen.rank(r)} {clean((causes or {}).get(r, ''))}".rstrip() for r in t.blocked_by]
        stopped = f'<br><span class="dim">blocked by {_some(names, 5)}</span>'
    yield (
        f'<details class="finding {colour}" data-text=""{" open" * is_open}><summary><span class="count dim">{clean(said)}</span>'
        f"<b>{clean(t.pod)}</b> <code>{clean(t.component)}</code>{stopped}</summary>"
    )
    if t.starts > 1:
        yield f'<p class="dim">Start {t.starts} in this log.</p>'
    dated = several_days(*(m.time for m in t.milestones))
    yield '<table class="milestones">'
    for m in t.milestones:
        at = "" if m.time is None else f"{clock(m.time, dated)}.{m.time.microsecond // 1000:03d}"
        gap = "" if m.gap is None else f"+{duration(m.gap)}"
        yield f'<tr><td class="n">{at}</td><td class="n dim">{gap}</td><td>{clean(m.name)}</td></tr>'
    if not t.is_ready:
        yield from (f'<tr class="dim"><td></td><td></td><td>{clean(n)} (not reached)</td></tr>' for n in t.next)
        if t.log_end:
            yield f'<tr class="dim"><td class="n">{clock(t.log_end, dated)}</td><td></td><td>the log ends</td></tr>'
    yield '</table><p class="dim">Times are UTC.</p></details>'


def _outcome(t: Timeline, state: Ready | None) -> tuple[str, str]:
    """What became of a start: (class, words). Only a diagnosis knows that it is too early to say."""
    if t.is_ready or not t.next:
        return Severity.INFO.value if t.took is None else "good", (
            "ready" if t.took is None else f"ready after {duration(t.took)}" if t.took >= 0.05 else "ready at once"
        )
    if state is Ready.STARTING:
        return Severity.WARNING.value, "still starting when the log ends"
    if not t.starts and state is not Ready.NOT_READY:
        return Severity.INFO.value, "the log begins after the start"
    return Severity.ERROR.value, "not ready when the log ends"


def unrecognised(some: Sequence[Unrecognised], limit: int, pen: Pen) -> Iterator[str]:
    """Lines that no pattern knows, one of each shape."""
    yield "<table>"
    for u in some[:limit]:
        yield f'<tr data-text=""><td class="n">{u.count:,}</td><td><code>{pen.clean(u.sample.line)}</code></td></tr>'
    yield "</table>" + more(len(some) - limit, "shape")


def problems(some: Sequence[Problem], limit: int, pen: Pen) -> Iterator[str]:
    """What was not read."""
    yield "<ul>"
    yield from (f'<li data-text="">{pen.clean(str(p))}</li>' for p in some[:limit])
    yield "</ul>" + more(len(some) - limit, "problem")


def more(n: int, one: str) -> str:
    """How much is not shown; nothing when that is nothing."""
    return f'<p class="dim">… and {n:,} more {one}{"s" * (n != 1)}</p>' if n > 0 else ""


def _over_time(f: Finding) -> Iterator[str]:
    """Lines over time as bars; nothing for what has no times, or stands in one stretch."""
    counts = dict(f.minutes.counts)
    if len(counts) < 2:
        return
    first, last, width = min(counts), max(counts), f.minutes.width
    step = -(-(last - first + 1) // BARS)
    bars = [sum(counts.get(n + i, 0) for i in range(step)) for n in range(first, last + 1, step)]
    most = max(bars)
    begin = datetime.fromtimestamp(first * width, UTC)
    label = f"lines over time from {begin:%H:%M} UTC, a bar is {step * width // 60} min, {most:,} at most"
    wide = 10 * max(len(bars), BARS // 2)  # a few bars are no wide blocks
    yield f'<svg class="bars" viewBox="0 0 {wide} 46" preserveAspectRatio="none" role="img" aria-label="{label}">'
    for i, n in enumerate(bars):
        if n:
            height = max(2.0, 44.0 * n / most)
            at = begin + timedelta(seconds=i * step * width)
            box = f'x="{i * 10 + 1}" y="{46 - height:.1f}" width="8" height="{height:.1f}"'
            yield f"<rect {box}><title>{at:%H:%M} UTC: {n:,}</title></rect>"
    yield f'</svg><div class="dim">{label}</div>'
