"""What to do about a cause, for a person at a terminal and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from meshdiag.catalogue.entries import Cause
from meshdiag.model import Remedy, Risk
from meshdiag.redact import redact
from meshdiag.views.prose import command_lines, sentences, wrapped
from meshdiag.views.safe import columns, one_line, safe
from meshdiag.views.style import Style
from meshdiag.views.syntax import painted, yaml_line

STEPS = 4
"""Steps of a remedy in a short report."""

COLOURS = {Risk.SAFE: "green", Risk.CHANGES_TRAFFIC: "yellow", Risk.WEAKENS_SECURITY: "red"}

_FILL_IN = re.compile(r"<([a-z][a-z-]*)>")
_MARKUP = re.compile(r"[\\`*\[\]<>]|(?<!\w)_|_(?!\w)|^#")


def render(cause: Cause, remedies: Sequence[Remedy], *, width: int = 100, style: Style | None = None) -> str:
    """A cause, its explanation in short and all its remedies, `width` columns wide, with a line end."""
    style = style or Style(False)
    lines = list(_page(cause, remedies, max(40, width), style))
    return "\n".join(lines) + "\n"


def _page(cause: Cause, remedies: Sequence[Remedy], width: int, style: Style) -> Iterator[str]:
    yield from _beside(cause.title, cause.id, width, "", "", "", style, "bold", cause.severity.value)
    yield from wrapped(sentences(cause.explanation, 2), width)
    if not remedies:
        yield ""
        yield style("Nothing to do.", "bold", "green")
        return
    for n, r in enumerate(remedies, 1):
        yield ""
        yield from remedy_lines(r, width, style, verbose=True, mark=f"{n}. ")
    if names := fill_in(remedies):
        yield ""
        said = ", ".join(f"<{n}>" for n in names)
        yield from (style(line, "dim") for line in wrapped(f"Yours to fill in: {said}.", width))


def remedy_lines(
    r: Remedy, width: int, style: Style, *, verbose: bool, indent: str = "", mark: str = "→ "
) -> Iterator[str]:
    """A remedy: why, its steps with their commands, how to verify; `verbose` adds manifests, further steps and how to undo.

    What it risks, and what is better in production when it weakens security, is always said.
    """
    own = indent + " " * (len(mark) if mark[0].isdigit() else 2)
    yield from _beside(r.title, f"[{r.risk}]", width, indent, mark, own, style, "green", COLOURS[r.risk])
    if r.why:
        yield from wrapped(r.why, width, own)
    if r.production:
        for line in wrapped(f"In production: {r.production}", width, own):
            yield style(line, "red" if r.risk is Risk.WEAKENS_SECURITY else "yellow")
    for note in r.notes:
        for line in wrapped(f"! {redact(note)}", width, own):
            yield style(line, "yellow")
    shown = r.steps if verbose else r.steps[:STEPS]
    for step in shown:
        yield from wrapped(f"· {step.text}", width, own)
        for i, line in enumerate(command_lines(step.command, width - len(own) - 4)):
            yield f"{own}  {style('  ' + line if i else '$ ' + line, 'bold')}"
        if step.manifest and verbose:
            yield f"{own}  {style('manifest:', 'dim')}"
            for line in safe(step.manifest).splitlines():
                yield f"{own}    {painted(yaml_line(line), style)}"
    if len(shown) < len(r.steps):
        n = len(r.steps) - len(shown)
        yield own + style(f"… {n} more step{'s' * (n != 1)} (-v)", "dim")
    if r.verify:
        yield from _labelled("verify: ", r.verify, width, own, style)
    if r.undo and verbose:
        yield from _labelled("undo:   ", r.undo, width, own, style)


def _labelled(label: str, text: str, width: int, indent: str, style: Style) -> Iterator[str]:
    """`verify: …` with the text in a column of its own."""
    column = indent + " " * len(label)
    for i, line in enumerate(wrapped(text, width, column)):
        yield line if i else indent + style(label, "dim") + line[len(column) :]


def _beside(
    text: str, tag: str, width: int, indent: str, mark: str, hang: str, style: Style, heading: str, colour: str
) -> Iterator[str]:
    """A heading and its tag, on one line where they fit; `hang` stands before all lines but the first."""
    lines = list(wrapped(text, width - len(hang))) or [""]
    fits = columns(lines[-1]) + len(hang) + len(tag) + 2 <= width
    for i, line in enumerate(lines):
        end = f"  {style(tag, colour)}" if fits and i == len(lines) - 1 else ""
        yield (hang + style(line, heading) if i else indent + style(mark + line, heading)) + end
    if not fits:
        yield hang + style(tag, colour)


def fill_in(remedies: Sequence[Remedy]) -> list[str]:
    """The placeholders that are left in commands and manifests, in order."""
    found = (n for r in remedies for s in r.steps for n in _FILL_IN.findall(s.command + "\n" + s.manifest))
    return list(dict.fromkeys(found))


def markdown(cause: Cause, remedies: Sequence[Remedy]) -> str:
    """The same as Markdown, to paste into an incident or a runbook."""
    lines = [f"# {prose(cause.title)}", "", f"`{cause.id}` · {cause.severity.value}", "", prose(cause.explanation), ""]
    if not remedies:
        lines += ["Nothing to do.", ""]
    for n, r in enumerate(remedies, 1):
        lines += [f"## {n}. {prose(r.title)}", "", *markdown_lines(r), ""]
    return "\n".join(line for before, line in pairwise(["", *lines]) if line or before)


def markdown_lines(r: Remedy) -> Iterator[str]:
    """A remedy without its title."""
    if r.why:
        yield prose(r.why)
        yield ""
    yield f"Risk: **{r.risk}**"
    yield ""
    if r.production:
        yield f"> In production: {prose(r.production)}"
        yield ""
    for note in r.notes:
        plain = redact(note).replace("`", "'")  # of a log: no code either
        yield f"> Note: {prose(plain)}"
        yield ""
    for i, step in enumerate(r.steps, 1):
        number = f"{i}. "
        yield number + prose(step.text)
        for body, language in ((step.command, "sh"), (step.manifest, "yaml")):
            if body:
                yield ""
                yield from (" " * len(number) + line for line in fenced(body, language))
                yield ""
    yield ""
    if r.verify:
        yield f"- Verify: {prose(r.verify)}"
    if r.undo:
        yield f"- Undo: {prose(r.undo)}"


def prose(text: str) -> str:
    """A sentence of the catalogue on one line: `code` stays, nothing else is markup."""
    parts = re.split(r"(`[^`]*`)", one_line(text))
    return "".join(p if i % 2 else _MARKUP.sub(r"\\\g<0>", p) for i, p in enumerate(parts))


def fenced(text: str, language: str) -> list[str]:
    """A code block whose fence is longer than any in the text."""
    ticks = "`" * max(3, max((len(m) for m in re.findall(r"`+", text)), default=0) + 1)
    return [ticks + language, *safe(text).splitlines(), ticks]
