"""The law of the prefilter: a text that meets a condition holds one of its necessary expressions."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshdiag.catalogue.conditions import compile_condition
from meshdiag.catalogue.necessary import alternatives_of, expressions

WORDS = st.sampled_from(
    ["upstream", "refused", "connect error", "x509: certificate", "a", "no host", "[alg]", "TLS_error"]
)


@given(st.lists(WORDS, min_size=1, max_size=3), WORDS, WORDS)
def test_contains(parts: list[str], before: str, after: str) -> None:
    found = expressions({"message": {"contains": parts}})
    text = before + " ".join(parts) + after
    assert compile_condition({"contains": parts})(text)
    if found:
        assert any(re.search(e, text) for e in found)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"failed to (?:sign|renew) certificate", "failed to renew certificate"),
        (r"^error `(?P<what>.+)` initializing", "error `x` initializing"),
        (r"(?i)connection REFUSED", "Connection Refused"),
        (r"code = (Unavailable|Internal) desc", "rpc error: code = Internal desc"),
        (r"listener\s+'(.*?)' rejected", "listener 'x' rejected"),
        (r"(?:alpha beta|gamma delta)?zeta epsilon", "zeta epsilon"),
        (r"a{3,}bcdefgh", "aaaabcdefgh"),
    ],
)
def test_regex(pattern: str, text: str) -> None:
    found = expressions({"message": {"regex": pattern}})
    assert found
    assert re.search(pattern, text)
    assert any(re.search(e, text) for e in found)


def test_nothing_is_promised_where_nothing_is_necessary() -> None:
    assert expressions({"message": {"regex": r"\d+|error here"}}) == ()
    assert expressions({"message": {"not": {"contains": "something long"}}}) == ()
    assert expressions({"response_code": {"min": 500}}) == ()


def test_json_escapes_do_not_break_a_literal() -> None:
    (found,) = expressions({"message": {"contains": 'Failed <to> "fetch public key" now'}})
    assert found == "fetch public key"


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["abcd", "efgh", "ij|kl", "m(no|pq)r", "s?tuvw", "[xy]zzzz"]), min_size=1, max_size=3))
def test_written_alternatives_match_the_same(parts: list[str]) -> None:
    expression = "|".join(parts)
    found = alternatives_of(expression)
    for text in ("abcd", "efgh", "ijkl", "ij", "kl", "mnor", "mpqr", "stuvw", "tuvw", "xzzzz", "zzzz", "none"):
        assert bool(re.search(expression, text)) == any(re.search(e, text) for e in found)
