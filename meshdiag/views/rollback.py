"""The way back, for a person at a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from meshdiag.cluster.rollback import Stage
from meshdiag.views.markdown import cell, fence
from meshdiag.views.prose import command_lines, wrapped
from meshdiag.views.safe import safe
from meshdiag.views.style import Style

NOTHING = "There is nothing of a mesh here to take back."


def render(stages: Sequence[Stage], notes: Sequence[str] = (), *, width: int = 100, style: Style | None = None) -> str:
    """The plan, `width` columns wide."""
    return "\n".join(_lines(stages, notes, max(40, width), style or Style(False))) + "\n"


def _lines(stages: Sequence[Stage], notes: Sequence[str], width: int, style: Style) -> Iterator[str]:
    if not stages:
        yield NOTHING
    for n, stage in enumerate(stages):
        if n:
            yield ""
        yield style(f"{n}. {stage.title}", "bold")
        yield from (style(line, "yellow") for line in wrapped(f"loses: {stage.loses}", width, "   "))
        said = ""
        for step in stage.steps:
            if step.text != said:
                yield from wrapped(step.text, width, "   ")
            said = step.text
            yield from (
                style(f"     {line}", "cyan") for line in command_lines(step.command, width - 5) if step.command
            )
        if stage.verify:
            yield from (style(line, "dim") for line in wrapped(f"then: {stage.verify}", width, "   "))
    for note in notes:
        yield from (style(line, "yellow") for line in wrapped(f"not in the plan: {note}", width))


def markdown(stages: Sequence[Stage], notes: Sequence[str] = ()) -> str:
    """The plan as Markdown."""
    out = ["# Rollback", ""]
    if not stages:
        out.append(NOTHING)
    for n, stage in enumerate(stages):
        out += [f"## {n}. {cell(stage.title)}", "", f"Loses: {cell(stage.loses)}", ""]
        for step in stage.steps:
            out += [f"- [ ] {cell(step.text)}", ""]
            if step.command:
                out += [fence(safe(step.command), "sh"), ""]
        if stage.verify:
            out += [f"Then: {cell(stage.verify)}", ""]
    out += [f"- not in the plan: {cell(note)}" for note in notes]
    return "\n".join(out).rstrip() + "\n"
