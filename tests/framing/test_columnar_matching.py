"""Whatever patterns ask, a line read in columns has the cause that it has when it is read alone."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from meshdiag import formats
from meshdiag.catalogue import NONE, Catalogue, Pattern
from meshdiag.engine.scan import Scanner
from meshdiag.formats.access import DERIVED, NEWEST_FIELDS
from meshdiag.framing.asking import Asked
from meshdiag.framing.batch import Batch, Vocabulary
from meshdiag.framing.building import to_pandas
from meshdiag.framing.reading import Reading, Wanted
from tests.conftest import HEALTHY, NO_HOST, REFUSED, access_line
from tests.framing.test_columnar import KUBELET, TCP, stream_of

COLUMNS = ("offset", "cause", "pattern", "confidence")

# --- patterns -----------------------------------------------------------------------------------------------------

_FIELDS = [*NEWEST_FIELDS, *DERIVED, "level", "component", "encoding", "message", "grpc_status"]
_DIGITS = [
    "-",
    "0",
    "19",
    "200",
    "503",
    "999",
    "1000",
    "007",
    "²",
    "9080",
    "10.",
    "10:00:01",
    "2026-11-22T10:00:00.000Z",
]
_NAMES = [
    "GET",
    "/",
    "/a",
    "HTTP/1.1",
    "UF",
    "UF,URX",
    "via_upstream",
    "curl",
    "10.0.0.7:9080",
    "reviews:9080",
    "reviews",
]
_ANSWERS = ["v1", "outbound", "inbound", "default", "http", "tcp", "yes", "no", "text", "envoy", "x"]
_WORDS = st.sampled_from([*_DIGITS, *_NAMES, *_ANSWERS])
_NUMBERS = st.sampled_from(
    [0, 1, 19, 20, 200, 500, 503, 999, 1000, 9080, 0.5, 19.0, 999.5, -1, 1e30, -1e30]
) | st.integers(-5, 10**9)
_PLAIN: dict[str, st.SearchStrategy[Any]] = {
    "equals": _WORDS | _NUMBERS,
    "one_of": st.lists(_WORDS | _NUMBERS, min_size=1, max_size=3),
    "contains": _WORDS | st.lists(_WORDS, min_size=1, max_size=2),
    "contains_any": st.lists(_WORDS, min_size=1, max_size=2),
    "starts": _WORDS,
    "ends": _WORDS,
    "regex": st.sampled_from([r"^\d+$", r"^[a-z]", r"(?i)uf|uh", r"^/a?$", r"[02468]$", r"^.{3,9}$", r"\.svc\."]),
    "has": _WORDS,
    "min": _NUMBERS,
    "max": _NUMBERS,
    "absent": st.booleans(),
}
_OPERATOR = st.sampled_from([*_PLAIN]).flatmap(lambda op: st.tuples(st.just(op), _PLAIN[op]))
_CONDITION = st.recursive(
    _WORDS | _NUMBERS | st.lists(_OPERATOR, min_size=1, max_size=2).map(dict),
    lambda inner: inner.map(lambda c: {"not": c}),
    max_leaves=2,
)
_RULES = st.lists(
    st.tuples(_PLAIN["regex"], st.sampled_from(["app-error", "no-healthy-upstream", NONE])).map(
        lambda r: {"regex": r[0], "cause": r[1]}
    ),
    max_size=2,
)
_PATTERN = st.fixed_dictionaries(
    {
        "when": st.dictionaries(st.sampled_from(_FIELDS), _CONDITION, min_size=1, max_size=3),
        "cause_by": _RULES,
        "cause_field": st.sampled_from(_FIELDS),
        "cause": st.sampled_from(["upstream-connection-refused", "client-disconnected", NONE]),
        "priority": st.integers(0, 1),
        "confidence": st.sampled_from(["likely", "possible"]),
        "component": st.sampled_from(["", "", "envoy", "istiod"]),
        "level": st.sampled_from([[], [], [], ["warning"]]),
    }
)


def catalogue_of(catalogue: Catalogue, raw: list[dict[str, Any]]) -> Catalogue:
    """The causes of the catalogue, and these patterns."""
    patterns = [Pattern.from_raw({"id": f"p{i}", "formats": ["access-log"], **p}) for i, p in enumerate(raw)]
    return Catalogue(catalogue.causes, tuple(sorted(patterns, key=lambda p: p.order)))


# --- lines --------------------------------------------------------------------------------------------------------

_SMALL = st.sampled_from(["-", "0", "19", "20", "999", "1000", "1001", "99999999", "123456789", "007"])


@st.composite
def _line(draw: st.DrawFn) -> str:
    """A line of which every value varies a little."""
    line = access_line(
        draw(st.sampled_from(["200", "503", "404", "0", "-"])),
        draw(st.sampled_from(["-", "UF,URX", "UH", "DC"])),
        draw(st.sampled_from(["via_upstream", "-", "no_healthy_upstream"])),
        draw(st.sampled_from(["-", "TLS error: x", "delayed_connect_error:_111"])),
        time=draw(st.sampled_from(["2026-11-22T10:00:00.000Z", "2026-11-22T10:00:01.999Z"])),
        path=draw(st.sampled_from(["/", "/a", "-", "/a?b=²"])),
        agent=draw(st.sampled_from(["curl/8.5.0", "-", "a b", "x!"])),
        request_id=draw(st.sampled_from(["-", "7f-1", "x"])),
        authority=draw(st.sampled_from(["reviews:9080", "-"])),
        cluster=draw(st.sampled_from(["-", "BlackHoleCluster", "outbound|9080|v1|reviews.default.svc.cluster.local"])),
        host=draw(st.sampled_from(["-", "10.0.0.7:9080"])),
        local=draw(st.sampled_from(["-", "10.1.1.1:54556"])),
    )
    numbers = " ".join(draw(_SMALL) for _ in range(4))
    line = line.replace(" 0 19 3 - ", f" {numbers} ").replace(
        '"GET ', draw(st.sampled_from(['"GET ', '"POST ', '"- ']))
    )
    line = line.replace(' "-" "', draw(st.sampled_from([' "-" "', ' "10.0.0.1,10.0.0.2" "'])), 1)
    line = line.replace(" - default", draw(st.sampled_from([" - default", " a.b -", " outbound_.80_._.a.b c"])))
    return draw(st.sampled_from(["", KUBELET])) + line


_LINES = st.lists(_line() | st.sampled_from([HEALTHY, REFUSED, NO_HOST, TCP, "", "x", "  y"]), max_size=20)


def _read(book: Catalogue, data: bytes, block: int, pure: bool) -> pd.DataFrame:
    vocabulary = Vocabulary()
    reading = Reading(Wanted(COLUMNS), book, vocabulary, None, pure, print, block)
    return to_pandas(Batch.joined([*reading.batches(stream_of(data))]), vocabulary, COLUMNS)


def _alone(book: Catalogue, data: bytes) -> list[tuple[Any, ...]]:
    """Offset, cause, pattern and confidence of each record, with nothing that is remembered of others."""
    rows = []
    for record in formats.records(data.splitlines(keepends=True), origin=stream_of(b"").origin):
        pattern = book.find(record)
        cause = pattern.cause_of(record) if pattern else NONE
        known = pattern is not None and cause != NONE
        rows.append(
            (
                record.offset,
                cause if known else None,
                pattern and pattern.id,
                pattern.confidence.value if known else None,
            )
        )
    return rows


def check(book: Catalogue, data: bytes, block: int = 4096) -> pd.DataFrame:
    """Compiled, with numpy, and alone: all give the same, which is returned."""
    found = _read(book, data, block, pure=False)
    assert_frame_equal(found, _read(book, data, block, pure=True))
    rows = found.astype("object").where(found.notna(), None)
    assert [*rows.itertuples(index=False, name=None)] == _alone(book, data)
    return found


@settings(max_examples=150, deadline=None)
@given(
    st.lists(_PATTERN, min_size=1, max_size=4),
    _LINES,
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([2048, 1 << 16]),
)
def test_any_pattern(raw: list[dict[str, Any]], lines: list[str], end: str, block: int) -> None:
    check(catalogue_of(_CATALOGUE, raw), end.join(lines).encode(), block)


@settings(max_examples=25, deadline=None)
@given(_LINES)
def test_the_catalogue(lines: list[str]) -> None:
    check(_CATALOGUE, "\n".join(lines).encode())


_CATALOGUE = Catalogue.load(user=False)


@pytest.mark.parametrize(
    ("condition", "breaks"),
    [
        ({"min": 900}, [900]),
        ({"min": 0.5, "max": 19.5}, [1, 20]),
        ({"min": float("inf")}, [10**9]),
        ({"max": float("nan")}, []),
        ({"not": {"max": -3}}, [0]),
        (19, [19, 20]),
        ({"one_of": ["x", "²", "7", 9]}, [7, 8, 9, 10]),
        ({"absent": True}, []),
        ({"contains": "9"}, None),
        ({"not": {"regex": "9"}}, None),
    ],
)
def test_where_an_outcome_may_change(condition: Any, breaks: list[int] | None) -> None:
    asked = Asked(
        [Pattern.from_raw({"id": "p", "cause": "c", "formats": ["access-log"], "when": {"duration": condition}})]
    )
    assert asked.breaks == {"duration": breaks}


def test_what_is_not_asked_is_not_read() -> None:
    patterns = Scanner(_CATALOGUE).catalogue.by_format["access-log"]
    assert Asked(patterns).columns <= {
        "downstream_remote_address",
        "duration",
        "bytes_sent",
        "upstream_service_time",
    } | {
        "method",
        "authority",
        "downstream_local_address",
        "requested_server_name",
    }
