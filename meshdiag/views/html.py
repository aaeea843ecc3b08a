"""The diagnosis as one HTML file to attach to an incident: it needs no network, runs offline, and prints.

Everything of a log is escaped, and secrets are pseudonyms. A content security policy allows only the style and the script that
stand in the file (by their hashes) and pictures that are part of it: nothing can be loaded, sent, or run by what a log says.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib import resources

from meshdiag.diagnosis import Diagnosis, Finding
from meshdiag.diagnosis.chains import symptoms
from meshdiag.diagnosis.readiness import starts
from meshdiag.model import Kind
from meshdiag.views import fragments
from meshdiag.views.fragments import Pen

ROOTS, SYMPTOMS, HARMLESS = 100, 50, 20
"""Findings with all about them, so that the file is never larger than a few MB; others have a line each."""

LISTED = 500
"""Findings of a sort in a line each."""

STARTS = 100
SHAPES = 200
PROBLEMS = 200

OPEN = 3
"""Root causes that are open at first."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot as SVG, for a light page and for a dark one; `alt` says in words what is in it."""

    title: str
    alt: str
    light: bytes
    dark: bytes


def render(
    diagnosis: Diagnosis,
    *,
    redacted: bool = True,
    title: str = "Mesh diagnosis",
    notes: Iterable[tuple[datetime, str]] = (),
    pictures: Sequence[Picture] = (),
    no_pictures: str = "",
) -> str:
    """The whole report as an HTML document.

    notes        a person's, with their times (aware)
    pictures     plots, in order
    no_pictures  why there is none, and how to get them
    """
    pen = Pen(redacted, linked=True)
    body = "\n".join(_body(diagnosis, pen, title, tuple(notes), pictures, no_pictures))
    style, script = part("report.css"), part("report.js")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        + "img-src data:; " * bool(pictures)
        + "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{pen.clean(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def part(name: str) -> str:
    """A style or a script of the package."""
    return resources.files("meshdiag.views").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _body(
    d: Diagnosis,
    pen: Pen,
    title: str,
    notes: tuple[tuple[datetime, str], ...],
    pictures: Sequence[Picture],
    no_pictures: str,
) -> Iterator[str]:
    yield f"<header><h1>{pen.clean(title)}</h1>{fragments.facts(d)}"
    yield from fragments.verdict(d, pen)
    # without the script there is nothing to press
    yield (
        '</header><div id="bar" hidden><input id="find" type="search" placeholder="Search (press /)" aria-label="Search" '
        'autocomplete="off"><button id="open" type="button">Open all</button><button id="close" type="button">Close all</button>'
        '<output id="shown" class="dim" for="find"></output></div><p id="none" class="dim" hidden>Nothing matches.</p>'
    )
    failures = d.failures
    below = symptoms(failures)
    roots = [f for f in failures if not f.explained_by]
    others = [f for f in failures if f.explained_by]
    if roots:
        yield from _section("Root causes", _findings(roots, ROOTS, below, pen))
    if others:
        yield from _section("Symptoms", _findings(others, SYMPTOMS, below, pen))
    if pictures or no_pictures:
        yield from _section("Plots", _pictures(pictures, no_pictures, pen))
    if some := starts(d):
        yield from _section(f"Starts of proxies ({len(some):,})", _starts(d, pen))
    if d.unrecognised:
        heading = f"Not recognised ({d.seen.unrecognised:,} failing or unusual lines)"
        yield from _section(heading, fragments.unrecognised(d.unrecognised, SHAPES, pen))
    if harmless := [f for f in d.findings if f.kind is Kind.BENIGN]:
        yield from _section("Looks bad and is not", _findings(harmless, HARMLESS, below, pen))
    if good := [f for f in d.findings if f.kind is Kind.HEALTHY]:
        yield from _section("Good signs", _findings(good, 0, below, pen))
    if d.problems:
        yield from _section("Not read or left out", fragments.problems(d.problems, PROBLEMS, pen))
    if notes:
        yield from _section("Notes", _notes(notes, pen))


def _section(heading: str, content: Iterable[str]) -> Iterator[str]:
    yield f"<section><h2>{escape(heading)}</h2>"
    yield from content
    yield "</section>"


def _findings(some: Sequence[Finding], detailed: int, below: dict[int, list[Finding]], pen: Pen) -> Iterator[str]:
    for f in some[:detailed]:
        is_root = f.kind is Kind.FAILURE and not f.explained_by
        yield from fragments.finding(f, below, pen, is_open=is_root and f.rank <= OPEN)
    if rest := some[detailed : detailed + LISTED]:
        yield from fragments.findings_table(rest, pen)
    yield fragments.more(len(some) - detailed - LISTED, "finding")


def _starts(d: Diagnosis, pen: Pen) -> Iterator[str]:
    causes = {f.rank: f.cause for f in d.failures}
    some = starts(d)
    for s in some[:STARTS]:
        yield from fragments.timeline(s.timeline, pen, is_open=False, causes=causes, state=s.state)
    yield fragments.more(len(some) - STARTS, "start")


def _pictures(some: Sequence[Picture], why_none: str, pen: Pen) -> Iterator[str]:
    for p in some:
        light, dark = (f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}" for svg in (p.light, p.dark))
        alt = pen.clean(p.alt)
        # both are there, and the style shows one: a <picture> keeps the dark one when it is printed
        yield (
            f'<details class="picture" open><summary><b>{pen.clean(p.title)}</b></summary>'
            f'<img class="light" src="{light}" alt="{alt}"><img class="dark" src="{dark}" alt="{alt}"></details>'
        )
    if why_none:
        yield f'<p class="dim">{pen.clean(why_none)}</p>'


def _notes(notes: Iterable[tuple[datetime, str]], pen: Pen) -> Iterator[str]:
    yield "<table>"
    for at, text in notes:
        time = f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        yield f'<tr data-text=""><td class="n">{time}</td><td>{pen.clean(text)}</td></tr>'
    yield "</table>"
