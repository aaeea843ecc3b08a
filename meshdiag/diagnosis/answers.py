"""What logs answer to the questions of a survey of the cluster: are the sidecars quiet, do external calls work?"""

from __future__ import annotations

from meshdiag.cluster import Answer, Result, Verdict, worst
from meshdiag.diagnosis.diagnosis import Diagnosis

EXTERNAL = frozenset({"egress-blocked", "egress-passthrough-failed"})


def answers(diagnosis: Diagnosis) -> tuple[Answer, ...]:
    """Two answers: the failures, root causes only; and those of calls that leave the mesh."""
    failures = diagnosis.root_causes
    out = [
        r
        for f in diagnosis.failures
        if f.cause in EXTERNAL
        for r in [_result("external-calls", f.title, str(f.subject), f.count)]
    ]
    quiet = [_result("logs", f.title, str(f.subject), f.count, f.cause) for f in failures]
    lines = f"{diagnosis.seen.lines:,} lines"
    return (
        Answer("logs", "Are the logs without failures?", _or_good(quiet, "logs", f"no failure in {lines}", diagnosis)),
        Answer(
            "external-calls",
            "Do calls to external hosts work?",
            _or_good(out, "external-calls", f"no external call failed in {lines}", diagnosis),
        ),
    )


def _result(check: str, title: str, subject: str, count: int, *causes: str) -> Result:
    return Result(check, Verdict.CONFIRMED, f"{title}: {subject} ({count:,} lines)", causes)


def _or_good(found: list[Result], check: str, text: str, diagnosis: Diagnosis) -> tuple[Result, ...]:
    if found:
        return tuple(worst(found))
    if not diagnosis.seen.lines:
        return (Result(check, Verdict.NOT_CHECKABLE, "no log line was read"),)
    return (Result(check, Verdict.REFUTED, text),)
