"""Findings as a table of pandas: one row each, texts and numbers that can be filtered and counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from meshdiag.diagnosis.finding import Finding
from meshdiag.model import Kind

if TYPE_CHECKING:
    import pandas as pd

_TYPES: Final = {
    "rank": "int64",
    "cause": "str",
    "kind": "category",
    "severity": "category",
    "confidence": "category",
    "state": "category",
    "title": "str",
    "subject": "str",
    "subject_kind": "category",
    "namespace": "str",
    "name": "str",
    "source": "str",
    "destination": "str",
    "count": "int64",
    "requests": "Int64",
    "total": "Int64",
    "places": "int64",
    "first": "datetime64[us, UTC]",
    "last": "datetime64[us, UTC]",
    "onset": "datetime64[us, UTC]",
    "root": "bool",
    "explained_by": "object",
    "explains": "object",
    "patterns": "object",
    "remedy": "str",
    "sample": "str",
}
"""The columns and their types; `object` are tuples."""


def to_frame(findings: Iterable[Finding]) -> pd.DataFrame:
    """One row for each finding, in order. Raises ImportError where pandas is not installed."""
    import pandas as pd

    rows = [_row(f) for f in findings]
    columns: dict[str, Any] = {}
    for name, dtype in _TYPES.items():
        values = [row[name] for row in rows]
        columns[name] = pd.Series(
            pd.to_datetime(values, utc=True) if dtype.startswith("datetime") else values, dtype=dtype
        )
    return pd.DataFrame(columns)


def _row(finding: Finding) -> dict[str, Any]:
    subject = finding.subject
    return {
        "rank": finding.rank,
        "cause": finding.cause,
        "kind": finding.kind.value,
        "severity": finding.severity.value,
        "confidence": finding.confidence.value,
        "state": finding.state.value,
        "title": finding.title,
        "subject": str(subject),
        "subject_kind": subject.kind,
        "namespace": subject.namespace or None,
        "name": subject.name or None,
        "source": subject.source or None,
        "destination": subject.destination or None,
        "count": finding.count,
        "requests": finding.requests,
        "total": finding.total,
        "places": finding.places,
        "first": finding.first,
        "last": finding.last,
        "onset": finding.onset.start if finding.onset else None,
        "root": finding.kind is Kind.FAILURE and not finding.explained_by,
        "explained_by": finding.explained_by,
        "explains": finding.explains,
        "patterns": finding.patterns,
        "remedy": finding.remedies[0].title if finding.remedies else None,
        "sample": finding.samples[0].line if finding.samples else None,
    }
