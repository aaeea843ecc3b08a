"""The state of a mesh for a person: a checklist, what is wrong first, with the objects that prove it."""

from __future__ import annotations

from collections.abc import Iterator

from meshdiag.cluster import Answer, Proof, Result, Verdict
from meshdiag.cluster.edits import remedy_of
from meshdiag.cluster.survey import EVERYTHING, Survey
from meshdiag.redact import redact
from meshdiag.views.markdown import cell, code
from meshdiag.views.prose import wrapped
from meshdiag.views.remedy import markdown_lines, remedy_lines
from meshdiag.views.safe import one_line, safe
from meshdiag.views.style import Style

MARKS = {Verdict.CONFIRMED: "✗", Verdict.REFUTED: "✓", Verdict.NOT_CHECKABLE: "?"}
COLOURS = {Verdict.CONFIRMED: "red", Verdict.REFUTED: "green", Verdict.NOT_CHECKABLE: "yellow"}
BOXES = {Verdict.CONFIRMED: "[ ]", Verdict.REFUTED: "[x]", Verdict.NOT_CHECKABLE: "[?]"}

SHOWN = 5
"""Results of one answer in a short report."""

PROOFS = 3


def render(
    survey: Survey, *, width: int = 100, style: Style | None = None, verbose: bool = False, redacted: bool = True
) -> str:
    """The checklist, `width` columns wide. `verbose` shows every result and the manifests of remedies."""
    return "\n".join(_Page(survey, max(40, width), style or Style(False), verbose, redacted).lines()) + "\n"


class _Page:
    def __init__(self, survey: Survey, width: int, style: Style, verbose: bool, redacted: bool) -> None:
        self.survey, self.width, self.style, self.verbose = survey, width, style, verbose
        self.text = (lambda t: safe(redact(t))) if redacted else safe

    def lines(self) -> Iterator[str]:
        s, style = self.survey, self.style
        yield style(one_line(self.text(s.profile.title), self.width), "bold")
        facts = s.facts()
        column = max((len(k) for k, _ in facts), default=0)
        for key, value in facts:
            head = f"{key:<{column}}  "
            yield style(head, "dim") + one_line(self.text(value), self.width - len(head))
        yield ""
        if self.verbose or s.profile.name != EVERYTHING:
            for answer in s.answers:
                yield from self.answer(answer)
        else:
            yield from self.at_a_glance()
        for p in s.snapshot.problems[: None if self.verbose else SHOWN]:
            yield style(f"not read: {one_line(self.text(str(p)), self.width - 10)}", "yellow")
        yield ""
        yield self.verdict()
        if s.profile.after and not s.failing:
            yield from wrapped(s.profile.after, self.width)

    def at_a_glance(self) -> Iterator[str]:
        """What is wrong, the worst first; what cannot be told, a line each; the names of the rest."""
        by = {v: [a for a in self.survey.answers if a.verdict is v] for v in Verdict}
        for answer in sorted(by[Verdict.CONFIRMED], key=lambda a: a.results[0].severity.rank):
            yield from self.answer(answer)
        for a in by[Verdict.NOT_CHECKABLE]:
            why = next(r.text for r in a.results if r.verdict is Verdict.NOT_CHECKABLE)
            mark = self.style(MARKS[a.verdict], COLOURS[a.verdict])
            yield f"{mark} {safe(a.name)}: {self.style(one_line(self.text(why), self.width - len(a.name) - 4), 'dim')}"
        if fine := by[Verdict.REFUTED]:
            mark = MARKS[Verdict.REFUTED]
            names = wrapped(f"{mark} {', '.join(a.name for a in fine)}", self.width)
            yield from (line.replace(mark, self.style(mark, COLOURS[Verdict.REFUTED]), 1) for line in names)

    def verdict(self) -> str:
        s = self.survey
        counts = {v: sum(a.verdict is v for a in s.answers) for v in Verdict}
        parts = [f"{counts[Verdict.REFUTED]} fine", f"{counts[Verdict.CONFIRMED]} to look at"]
        if n := counts[Verdict.NOT_CHECKABLE]:
            parts.append(f"{n} not checkable")
        return self.style(", ".join(parts), "bold", "red" if s.failing else "green")

    def answer(self, a: Answer) -> Iterator[str]:
        style = self.style
        mark = style(MARKS[a.verdict], COLOURS[a.verdict])
        yield f"{mark} {style(safe(a.asks), 'bold')} {style(safe(a.name), 'dim')}"
        results = [
            r for r in a.results if self.verbose or r.verdict is not Verdict.REFUTED or a.verdict is Verdict.REFUTED
        ]
        for r in results[: None if self.verbose else SHOWN]:
            yield from self.result(r)
        if len(results) > SHOWN and not self.verbose:
            yield style(f"  … and {len(results) - SHOWN} more (-v)", "dim")

    def result(self, r: Result) -> Iterator[str]:
        style, width = self.style, self.width
        head = r.severity.value if r.verdict is Verdict.CONFIRMED else r.verdict.value
        label = {Verdict.REFUTED: ""}.get(r.verdict, f"{head}: ")
        first = True
        for line in wrapped(label + self.text(r.text), width, "  "):
            yield (
                line.replace(label, style(label, r.severity.value if r.verdict is Verdict.CONFIRMED else "yellow"), 1)
                if (first and label)
                else line
            )
            first = False
        if r.verdict is Verdict.REFUTED and not self.verbose:
            return
        for p in r.proofs[: None if self.verbose else PROOFS]:
            yield "    " + style(one_line(self.text(proof(p)), width - 4), "dim")
        if r.verdict is not Verdict.CONFIRMED:
            return
        if r.advice:
            yield from (style(line, "cyan") for line in wrapped(self.text(r.advice), width, "    "))
        for edit in r.edits:
            yield from remedy_lines(
                remedy_of(edit, self.survey.snapshot), width, style, verbose=self.verbose, indent="    "
            )


def proof(p: Proof) -> str:
    """`Service shop/reviews: spec.selector = {"app": "review"}`, the value cut."""
    return f"{p.ref}: {p.field} = {one_line(p.value, 200)}"


def markdown(survey: Survey, *, redacted: bool = True) -> str:
    """The checklist as Markdown, with boxes to tick."""
    text = redact if redacted else str
    lines = [f"# {cell(survey.profile.title)}", ""]
    lines += [f"- {key}: {code(text(value))}" for key, value in survey.facts()]
    lines.append("")
    for a in survey.answers:
        lines.append(f"- {BOXES[a.verdict]} **{cell(a.asks)}** ({code(a.name)})")
        for r in a.results:
            head = (
                f"{r.severity.value}: "
                if r.verdict is Verdict.CONFIRMED
                else "not checkable: " * (r.verdict is Verdict.NOT_CHECKABLE)
            )
            lines.append(f"    - {head}{cell(text(r.text))}")
            if r.verdict is Verdict.CONFIRMED:
                lines += [f"        - {code(text(proof(p)))}" for p in r.proofs[:PROOFS]]
                if r.advice:
                    lines.append(f"        - {cell(text(r.advice))}")
    edits = [e for r in survey.bad for e in r.edits]
    for edit in edits:
        lines += ["", f"## {cell(edit.title)}", "", *markdown_lines(remedy_of(edit, survey.snapshot))]
    if survey.profile.after:
        lines += ["", cell(survey.profile.after)]
    return "\n".join(lines) + "\n"
