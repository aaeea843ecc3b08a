"""The confirm step gives what trying every pattern in order would give."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshdiag.catalogue import Catalogue
from meshdiag.engine import prefilter
from meshdiag.engine.classify import Classifier
from meshdiag.formats.access import parse
from meshdiag.model import Record

BOOK = Catalogue.load(user=False, full=True)
WANTED = prefilter.expressions(BOOK)
FILTER = prefilter.make(WANTED)
LINES = sorted(
    {
        e["line"]
        for p in BOOK.by_format["access-log"]
        for e in (*p.examples, *p.near_misses)
        if isinstance(e.get("line"), str)
    }
)
RECORDS = [r for line in LINES if (r := parse(line))]
"""Access log lines that patterns are proved by."""

FIELDS = (
    "response_flags",
    "response_code",
    "response_code_details",
    "upstream_transport_failure_reason",
    "upstream_cluster",
)


def agree(record: Record, *classifiers: Classifier) -> None:
    expected = BOOK.find(record)
    for classifier in classifiers:
        decision = classifier.decide(record)
        assert (decision and decision[0]) == expected


@pytest.fixture(scope="module")
def classifiers() -> tuple[Classifier, ...]:
    """With a prefilter, and without; what they remember of one record may serve the next."""
    return Classifier(BOOK, FILTER, WANTED), Classifier(BOOK)


def test_examples(classifiers: tuple[Classifier, ...]) -> None:
    assert len(RECORDS) > 300
    for record in RECORDS:
        agree(record, *classifiers)


@settings(max_examples=300)
@given(st.sampled_from(RECORDS), st.lists(st.tuples(st.sampled_from(FIELDS), st.sampled_from(RECORDS))))
def test_what_no_pattern_was_made_for(
    classifiers: tuple[Classifier, ...], record: Record, parts: list[tuple[str, Record]]
) -> None:
    """Fields of one line with those of others. A prefilter would look at the text, in which they do not stand."""
    fields = dict(record.fields)
    for name, other in parts:
        fields.pop(name, None)
        if name in other.fields:
            fields[name] = other.fields[name]
    agree(replace(record, fields=fields), classifiers[1])
