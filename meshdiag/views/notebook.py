"""How values draw themselves in Jupyter: `draw` gives the HTML of one.

It is made of the pieces of the report, with a style of its own that touches nothing else on the page: no script, no link, nothing that
is loaded. Texts keep the colour of the page, so that they are read in any theme; accents follow JupyterLab's and VS Code's themes, and the
system's elsewhere. Secrets are pseudonyms, and an output is never larger than a few hundred kB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import singledispatch
from typing import Any, Final

from meshdiag.diagnosis import Diagnosis, Finding
from meshdiag.diagnosis.chains import symptoms
from meshdiag.diagnosis.timeline import Timeline
from meshdiag.drawn import Several
from meshdiag.explanation import Explanation
from meshdiag.model import Kind, Remedy
from meshdiag.views import fragments
from meshdiag.views.explanation import SHOWN as FIELDS
from meshdiag.views.fragments import Pen
from meshdiag.views.html import part

DETAILED: Final = 12
"""Root causes with all about them."""

LISTED: Final = 40
"""Findings, and other values, in a line or a fold each."""

SAMPLES: Final = 3
SHAPES: Final = 10
PROBLEMS: Final = 10

_PEN: Final = Pen()


def draw(value: Any) -> str:
    """The value as a piece of HTML. Raises TypeError for one that is not drawn."""
    return f'<div class="meshdiag"><style>{part("notebook.css")}</style>{"".join(_drawn(value))}</div>'


@singledispatch
def _drawn(value: Any) -> Iterator[str]:
    raise TypeError(f"{type(value).__name__} is not drawn")


@_drawn.register
def _diagnosis(d: Diagnosis) -> Iterator[str]:
    yield fragments.facts(d)
    yield from fragments.verdict(d, _PEN)
    failures = d.failures
    roots = [f for f in failures if not f.explained_by]
    below = symptoms(failures)
    for f in roots[:DETAILED]:
        yield from fragments.finding(f, below, _PEN, is_open=False, samples=SAMPLES)
    for heading, some in (
        ("More root causes", roots[DETAILED:]),
        ("Symptoms", [f for f in failures if f.explained_by]),
        ("Looks bad and is not", [f for f in d.findings if f.kind is Kind.BENIGN]),
        ("Good signs", [f for f in d.findings if f.kind is Kind.HEALTHY]),
    ):
        if some:
            listed = [*fragments.findings_table(some[:LISTED], _PEN), fragments.more(len(some) - LISTED, "finding")]
            yield _fold(f"{heading} ({len(some):,})", listed)
    if unknown := d.unrecognised:
        heading = f"Not recognised ({d.seen.unrecognised:,} failing or unusual lines)"
        yield _fold(heading, fragments.unrecognised(unknown, SHAPES, _PEN))
    if d.problems:
        heading = f"Not read or left out ({len(d.problems):,})"
        yield _fold(heading, fragments.problems(d.problems, PROBLEMS, _PEN))


@_drawn.register
def _finding(f: Finding) -> Iterator[str]:
    yield from fragments.finding(f, {}, _PEN, is_open=True, samples=SAMPLES)


@_drawn.register
def _remedy(r: Remedy) -> Iterator[str]:
    yield from fragments.remedy(r, _PEN)


@_drawn.register
def _timeline(t: Timeline) -> Iterator[str]:
    yield from fragments.timeline(t, _PEN, is_open=True)


@_drawn.register(Several)
def _several(some: Several[Any]) -> Iterator[str]:
    if not some:
        yield '<p class="dim">None.</p>'
    for i, value in enumerate(some[:LISTED]):
        match value:
            case Finding() if i < DETAILED:
                yield from fragments.finding(value, {}, _PEN, is_open=False, samples=SAMPLES)
            case Finding():
                yield from fragments.findings_table([value], _PEN)
            case Timeline():
                yield from fragments.timeline(value, _PEN, is_open=False)
            case _:
                yield from _drawn(value)
    yield fragments.more(len(some) - LISTED, "value")


@_drawn.register
def _explanation(e: Explanation) -> Iterator[str]:
    clean = _PEN.clean
    shown = e.kind in ("line", "cause")
    kind = "" if e.kind == "line" else f' <span class="tag">{clean(e.kind)}</span>'
    tag = f" <code>{clean(e.causes[0].id)}</code>" if e.causes and shown else ""
    yield f"<p><b>{clean(e.title)}</b>{tag}{kind}</p>"
    yield from (f"<p>{clean(p)}</p>" for p in e.text.split("\n") if p)
    if e.kind == "line":
        yield f"<pre>{clean(e.term[: fragments.LINE])}</pre>"
    if e.record is not None:
        r = e.record
        parts = [f"{r.format} ({r.encoding})", r.component, r.level, e.pattern and f"pattern {e.pattern}"]
        values = {n: r.fields[n] for n in FIELDS if r.fields.get(n)} | dict(e.captures)
        yield f'<p class="dim">read as {clean(", ".join(p for p in parts if p))}</p><dl>'
        yield from (f"<dt>{clean(n)}</dt><dd><code>{clean(v[: fragments.LINE])}</code></dd>" for n, v in values.items())
        yield "</dl>"
    others = e.causes[1:] if shown else e.causes
    if others:
        yield f"<h4>{'Could also be' if shown else 'What it can mean'}</h4><ul>"
        yield from (f"<li><code>{clean(c.id)}</code> {clean(c.title)}</li>" for c in others)
        yield "</ul>"
    if e.why_not and not e.pattern:
        nearest = (
            f"<li><code>{clean(p)}</code><ul>{''.join(f'<li>{clean(x)}</li>' for x in fails)}</ul></li>"
            for p, fails in e.why_not
        )
        yield _fold("The nearest patterns miss", ["<ul>", *nearest, "</ul>"])
    for i, remedy in enumerate(e.remedies, 1):
        yield from fragments.remedy(remedy, _PEN, number=i, is_open=False)
    for reference in e.causes[0].references if e.causes and shown else ():
        yield f'<p class="dim">{clean(reference)}</p>'


def _fold(heading: str, content: Iterable[str]) -> str:
    return f"<details><summary>{_PEN.clean(heading)}</summary>{''.join(content)}</details>"
