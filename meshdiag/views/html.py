"""The diagnosis as one HTML file to attach to an incident: it needs no network, runs offline, and prints.

Everything of a log is escaped, and secrets are pseudonyms. A content security policy allows only the style and the script that
stand in the file (by their hashes): nothing can be loaded, sent, or run by what a log says.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from html import escape
from importlib import resources

from meshdiag.diagnosis import Diagnosis, Finding
from meshdiag.diagnosis.chains import symptoms
from meshdiag.model import Kind, Remedy, Risk, State
from meshdiag.redact import redact
from meshdiag.views.amounts import plural
from meshdiag.views.incident import incident_facts
from meshdiag.views.safe import safe
from meshdiag.views.text import about, ago, amount, size, when

Clean = Callable[[str], str]

BARS = 60
"""Bars at most in the picture of a finding over time."""


def render(
    diagnosis: Diagnosis,
    *,
    redacted: bool = True,
    title: str = "Mesh diagnosis",
    notes: Iterable[tuple[datetime, str]] = (),
) -> str:
    """The whole report as an HTML document. `notes` are a person's, with their times (aware)."""
    clean: Clean = (lambda t: escape(safe(redact(t)))) if redacted else (lambda t: escape(safe(t)))
    body = "\n".join(_body(diagnosis, clean, title, tuple(notes)))
    style, script = _part("report.css"), _part("report.js")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{clean(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _part(name: str) -> str:
    return resources.files("meshdiag.views").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _body(d: Diagnosis, clean: Clean, title: str, notes: tuple[tuple[datetime, str], ...]) -> Iterator[str]:
    seen, failures = d.seen, d.failures
    roots = [f for f in failures if not f.explained_by]
    yield f"<h1>{clean(title)}</h1>"
    facts = [f"{seen.lines:,} lines", size(seen.bytes), when(seen.first, seen.last)]
    yield f'<p class="dim">{clean(" · ".join(f for f in facts if f))}</p>'
    if failures:
        more = len(failures) - len(roots)
        yield (
            f"<p><b>{plural(len(roots), 'root cause')}</b>" + (f", {plural(more, 'symptom')}" if more else "") + "</p>"
        )
        yield "<dl>" + "".join(f"<dt>{clean(k)}</dt><dd>{clean(v)}</dd>" for k, v in incident_facts(d)) + "</dl>"
    else:
        found = "No failure found" + " in what could be read" * bool(d.problems)
        yield f"<p><b>{found if seen.lines else 'Nothing was read'}.</b></p>"
    yield '<input id="find" type="search" placeholder="Search (press /)" aria-label="Search" autocomplete="off">'
    yield '<p id="none" class="dim" hidden>Nothing matches.</p>'
    below = symptoms(failures)
    for heading, some in (
        ("Root causes", roots),
        ("Symptoms", [f for f in failures if f.explained_by]),
        ("Looks bad and is not", [f for f in d.findings if f.kind is Kind.BENIGN]),
        ("Good signs", [f for f in d.findings if f.kind is Kind.HEALTHY]),
    ):
        if some:
            yield f"<h2>{heading}</h2>"
            for f in some:
                yield from _finding(f, below, clean, is_open=heading == "Root causes" and f.rank <= 3)
    if d.unrecognised:
        yield f"<h2>Not recognised ({seen.unrecognised:,} failing or unusual lines)</h2><table>"
        for u in d.unrecognised[:100]:
            yield f'<tr data-text=""><td class="n">{u.count:,}</td><td><code>{clean(u.sample.line)}</code></td></tr>'
        yield "</table>"
    if d.problems:
        yield "<h2>Not read or left out</h2><ul>"
        yield from (f'<li data-text="">{clean(str(p))}</li>' for p in d.problems)
        yield "</ul>"
    if notes:
        yield "<h2>Notes</h2><table>"
        for at, text in notes:
            yield f'<tr data-text=""><td class="n">{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC</td><td>{clean(text)}</td></tr>'
        yield "</table>"


def _finding(f: Finding, below: dict[int, list[Finding]], clean: Clean, is_open: bool) -> Iterator[str]:
    colour = f.severity.value if f.kind is Kind.FAILURE else "good"
    tags = [f.severity.value, f.confidence.value, *([f.state.value] if f.state is not State.ONGOING else [])]
    marks = " ".join(f'<span class="tag">{t}</span>' for t in tags)
    yield (
        f'<details class="finding {colour}" id="f{f.rank}" data-text="{" ".join(tags)}"{" open" * is_open}>'
        f'<summary><span class="count dim">{clean(amount(f))}</span><b>{f.rank}. {clean(f.title)}</b> '
        f'<code>{clean(f.cause)}</code> {marks}<br><span class="subject dim">{clean(about(f))}</span></summary>'
    )
    if span := when(f.first, f.last):
        where = f" · in {plural(f.places, 'place')}" if f.places > 1 else ""
        yield f'<p class="dim">{span}{where}</p>'
    yield from _over_time(f)
    yield f"<p>{clean(f.explanation)}</p>"
    facts = [("for: " if e.supports else "but: ") + clean(e.text) for e in f.evidence]
    facts += [
        f"{'undated' if c.before is None else ago(c.before) + ' before it began'}: {clean(c.text)}" for c in f.changes
    ]
    if f.reach:
        facts.append("seen by " + clean(", ".join(f"{source} ({n:,})" for source, n in f.reach[:20])))
    if f.pods and f.places > 1:
        facts.append("told by " + clean(", ".join(f"{name} ({n:,})" for name, n in f.pods[:20])))
    if f.explained_by:
        facts.append("explained by " + ", ".join(_link(r) for r in f.explained_by))
    if some := below.get(f.rank):
        facts.append("explains " + ", ".join(f"{_link(s.rank)} {clean(s.cause)}" for s in some))
    if f.alternatives:
        facts.append("could also be: " + clean(", ".join(f.alternatives)))
        if f.tell_apart:
            facts.append("to tell: " + clean(f.tell_apart))
    if facts:
        yield "<ul>" + "".join(f"<li>{fact}</li>" for fact in facts) + "</ul>"
    proof = [f'<div class="dim">{clean(s.path)}@{s.offset}</div><pre>{clean(s.line)}</pre>' for s in f.samples]
    yield from proof[:1]
    if len(proof) > 1:
        yield f'<details><summary class="dim">{plural(len(proof) - 1, "more sample")}</summary>{"".join(proof[1:])}</details>'
    for number, remedy in enumerate(f.remedies, 1):
        yield from _remedy(number, remedy, clean, is_open=number == 1 and not f.explained_by)
    yield "</details>"


def _link(rank: int) -> str:
    return f'<a href="#f{rank}">#{rank}</a>'


def _remedy(number: int, r: Remedy, clean: Clean, is_open: bool) -> Iterator[str]:
    risk = f'<span class="tag {r.risk.value.replace(" ", "-")}">{r.risk}</span>'
    yield f'<details class="remedy"{" open" * is_open}><summary><b>{number}. {clean(r.title)}</b>{risk}</summary>'
    if r.why:
        yield f"<p>{clean(r.why)}</p>"
    if r.production:
        word = "weakens-security" if r.risk is Risk.WEAKENS_SECURITY else "changes-traffic"
        yield f'<p class="{word}">In production: {clean(r.production)}</p>'
    yield from (f"<p>! {clean(note)}</p>" for note in r.notes)
    yield "<ol>"
    for step in r.steps:
        command = f"<pre>{clean(step.command)}</pre>" if step.command else ""
        manifest = f"<pre>{clean(step.manifest)}</pre>" if step.manifest else ""
        yield f"<li>{clean(step.text)}{command}{manifest}</li>"
    yield "</ol>"
    if r.verify:
        yield f"<p><b>Verify:</b> {clean(r.verify)}</p>"
    if r.undo:
        yield f"<p><b>Undo:</b> {clean(r.undo)}</p>"
    yield "</details>"


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
    yield f'<svg viewBox="0 0 {wide} 46" preserveAspectRatio="none" role="img" aria-label="{label}">'
    for i, n in enumerate(bars):
        if n:
            height = max(2.0, 44.0 * n / most)
            at = begin + timedelta(seconds=i * step * width)
            box = f'x="{i * 10 + 1}" y="{46 - height:.1f}" width="8" height="{height:.1f}"'
            yield f"<rect {box}><title>{at:%H:%M} UTC: {n:,}</title></rect>"
    yield f'</svg><div class="dim">{label}</div>'
