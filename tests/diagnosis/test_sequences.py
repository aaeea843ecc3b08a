"""Sequences: rules over time hold in their examples and not in their near misses, however the capture is divided."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import meshdiag
from meshdiag.api import check_sequences
from meshdiag.catalogue import Catalogue

BOOK = Catalogue.load(full=True)
EXAMPLES = [(s.id, e) for s in BOOK.sequences for e in s.examples]
NEAR_MISSES = [(s.id, e) for s in BOOK.sequences for e in s.near_misses]


def test_the_check_finds_what_does_not_hold() -> None:
    good = BOOK.sequences[0]
    swapped = replace(good, examples=good.near_misses[:1], near_misses=good.examples[:1])
    assert not list(check_sequences(BOOK, [good]))
    assert [f.what for f in check_sequences(BOOK, [swapped])] == ["the example does not hold", "the near miss holds"]


def held(text: str) -> set[str]:
    return {p for f in meshdiag.diagnose(text.splitlines(), catalogue=BOOK).findings for p in f.patterns}


def told(text: str) -> set[str]:
    return {e.text for f in meshdiag.diagnose(text.splitlines(), catalogue=BOOK).findings for e in f.evidence}


@pytest.mark.parametrize(("name", "text"), EXAMPLES, ids=[n for n, _ in EXAMPLES])
def test_examples_hold(name: str, text: str) -> None:
    sequence = next(s for s in BOOK.sequences if s.id == name)
    found = meshdiag.diagnose(text.splitlines(), catalogue=BOOK)
    assert sequence.cause in {f.cause for f in found.failures}
    assert sequence.says in told(text)


@pytest.mark.parametrize(("name", "text"), NEAR_MISSES, ids=[n for n, _ in NEAR_MISSES])
def test_near_misses_do_not(name: str, text: str) -> None:
    sequence = next(s for s in BOOK.sequences if s.id == name)
    assert name not in held(text)
    assert sequence.says not in told(text)


@settings(deadline=None)
@given(st.sampled_from([e for _, e in EXAMPLES]), st.randoms(use_true_random=False), st.integers(0, 200))
def test_the_division_makes_no_difference(text: str, random: object, at: int) -> None:
    lines = text.splitlines(keepends=True)
    cut = at % (len(lines) + 1)
    whole = meshdiag.diagnose(lines, catalogue=BOOK)
    parts = meshdiag.diagnose(lines[cut:], catalogue=BOOK) + meshdiag.diagnose(lines[:cut], catalogue=BOOK)
    assert [(f.cause, f.count, f.confidence) for f in whole.findings] == [
        (f.cause, f.count, f.confidence) for f in parts.findings
    ]
