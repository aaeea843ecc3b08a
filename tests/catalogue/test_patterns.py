"""Every pattern's examples in every encoding, and the prefilter's promise to each of them."""

import pytest

from meshdiag.catalogue import NONE, Catalogue
from meshdiag.catalogue.check import check, records_of
from meshdiag.catalogue.encodings import lines_of
from meshdiag.engine import prefilter


@pytest.fixture(scope="module")
def book() -> Catalogue:
    return Catalogue.load(user=False, full=True)


def test_examples_and_near_misses(book: Catalogue) -> None:
    failed = [str(f) for f in check(book)]
    assert not failed, "\n".join(failed[:20])


def test_every_pattern_has_an_example_and_a_near_miss(book: Catalogue) -> None:
    assert len(book.patterns) > 500
    for p in book.patterns:
        assert p.examples and p.near_misses, p.id


def examples_as_bytes(book: Catalogue) -> dict[tuple[str, str], bytes]:
    return {
        (p.id, f"{encoding}:{i}"): text.encode()
        for p in book.patterns
        for i, example in enumerate(p.examples)
        for encoding, text in lines_of(example, p.formats, example.get("component", p.component))
    }


def test_prefilters_find_every_example_and_agree(book: Catalogue) -> None:
    """What a pattern would match must be a candidate line of both prefilters, or it would never be looked at."""
    wanted = prefilter.expressions(book)
    fast, pure = prefilter.HyperscanPrefilter(wanted), prefilter.RePrefilter(wanted)
    missed, differ = [], []
    for key, text in examples_as_bytes(book).items():
        found = fast.ends(text)
        if not found:
            missed.append(key)
        if candidate_lines(text, found) != candidate_lines(text, pure.ends(text)):
            differ.append(key)
    assert not missed, missed[:20]
    assert not differ, differ[:20]


def candidate_lines(text: bytes, ends: list[int]) -> set[int]:
    return {text.count(b"\n", 0, end - 1) for end in ends}


def test_near_misses_of_healthy_shape_are_not_failures(book: Catalogue) -> None:
    """A healthy access-log line in a near miss must match nothing at all."""
    for p in book.patterns:
        for miss in p.near_misses:
            for r in records_of(miss.get("line", "")):
                fields = r.fields
                if r.format == "access-log" and fields.get("response_code") == "200" and set(fields) & {"user_agent"}:
                    quiet = "response_flags" not in fields and fields.get("response_code_details") == "via_upstream"
                    if quiet and "grpc_status" not in fields:
                        found = book.find(r)
                        assert found is None or found.cause == NONE, (p.id, found and found.id)


def test_causes_are_complete(book: Catalogue) -> None:
    assert len(book.causes) > 100
    named = {c for p in book.patterns for c in p.causes} - {NONE}
    for cause in book.causes.values():
        if cause.kind == "failure":
            assert cause.remedies, cause.id
            assert all(r.get("verify") for r in cause.remedies), cause.id
    assert named <= book.causes.keys()
