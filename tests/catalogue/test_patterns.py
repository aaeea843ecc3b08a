"""Every pattern's examples in every encoding, and the prefilter's promise to each of them."""

from typing import Any

import pytest

from meshdiag.catalogue import NONE, Catalogue, Pattern
from meshdiag.catalogue.check import check, records_of
from meshdiag.catalogue.encodings import lines_of
from meshdiag.engine import prefilter
from meshdiag.model import Record


class Remembering(Catalogue):
    """Looks once for the pattern of records that are alike in all that a pattern can ask for: most encodings of a line are."""

    def find(self, record: Record) -> Pattern | None:
        seen: dict[tuple[Any, ...], Pattern | None] = self.__dict__.setdefault("_seen", {})
        asked = (record.format, record.encoding, record.component, record.level, record.message)
        key = (*asked, *sorted(record.fields.items()))
        if key not in seen:
            seen[key] = super().find(record)
        return seen[key]


@pytest.fixture(scope="module")
def book() -> Catalogue:
    book = Catalogue.load(user=False, full=True)
    return Remembering(book.causes, book.patterns, book.glossary, book.sequences, book.digest)


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
        if candidate_lines(text, found) != pure_lines(text, pure):
            differ.append(key)
    assert not missed, missed[:20]
    assert not differ, differ[:20]


def candidate_lines(text: bytes, ends: list[int]) -> set[int]:
    return {text.count(b"\n", 0, end - 1) for end in ends}


def pure_lines(text: bytes, pure: prefilter.RePrefilter) -> set[int]:
    """The same of the pure twin, which is slow: not read on once every line is one."""
    lines = set[int]()
    for match in pure._find(text):
        lines.add(text.count(b"\n", 0, match.end() - 1))
        if len(lines) > text.count(b"\n"):
            break
    return lines


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
