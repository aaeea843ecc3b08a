"""What is read in columns is what `formats` reads, whatever stands in the line."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from meshdiag import formats
from meshdiag.catalogue import Catalogue
from meshdiag.engine.scan import Filters
from meshdiag.framing.access import AccessLog
from meshdiag.framing.batch import Batch, Vocabulary
from meshdiag.framing.building import to_pandas
from meshdiag.framing.columns import BY_NAME, MATCH
from meshdiag.framing.native import PAD
from meshdiag.framing.reading import Reading, Wanted
from meshdiag.model import Origin, Problem
from meshdiag.sources import Stream, open_inputs
from tests.conftest import HEALTHY, NO_HOST, REFUSED, SAMPLES, access_line

SAMPLE_FILES = sorted(p for p in SAMPLES.rglob("*") if p.suffix in (".log", ".txt", ".json"))
NAMES = tuple(BY_NAME)
KUBELET = "2026-11-22T10:00:00.123456789Z "
TCP = access_line("0", "NR", "filter_chain_not_found", host="-", local="-").replace('"GET / HTTP/1.1"', '"- - -"')


def read(
    catalogue: Catalogue | None, stream: Stream, *, block: int = 1 << 19, pure: bool = False, **wanted: object
) -> pd.DataFrame:
    """All columns of a stream; without a catalogue all that need none."""
    problems: list[Problem] = []
    vocabulary = Vocabulary()
    names = NAMES if catalogue else tuple(n for n in NAMES if n not in MATCH)
    reading = Reading(Wanted(names, **wanted), catalogue, vocabulary, None, pure, problems.append, block)  # type: ignore[arg-type]
    frame = to_pandas(Batch.joined([*reading.batches(stream)]), vocabulary, names)
    frame.attrs["problems"] = problems
    return frame


def stream_of(data: bytes) -> Stream:
    def opened() -> BinaryIO:
        return io.BytesIO(data)

    return Stream(
        Origin("mem.log", namespace="shop", pod="cart-7d6c5f9b84-z6r4p", container="istio-proxy"), opened, len(data)
    )


def fast(data: bytes) -> list[int]:
    """The numbers of the lines that are read in columns, compiled or not."""
    compiled, plain = (
        AccessLog(Vocabulary(), {*NAMES}, pure=pure).read(bytearray(data) + bytes(PAD), len(data), 0, 0)
        for pure in (False, True)
    )
    offsets = compiled.slab.offset[compiled.rows].tolist()
    assert offsets == plain.slab.offset[plain.rows].tolist()
    return [data[:offset].count(b"\n") for offset in offsets]


def check(catalogue: Catalogue | None, data: bytes, block: int = 1 << 19, **wanted: object) -> pd.DataFrame:
    """All ways give the same, which is returned: compiled, with numpy, line by line."""
    found = read(catalogue, stream_of(data), block=block, **wanted)
    assert_frame_equal(found, read(catalogue, stream_of(data), block=block, pure=True, **wanted))
    assert_frame_equal(found, read(catalogue, stream_of(data), columnar=False, **wanted))
    return found


def test_ordinary_lines_are_read_in_columns() -> None:
    lines = [HEALTHY, REFUSED, NO_HOST, TCP, KUBELET + HEALTHY, access_line(agent="Mozilla/5.0 (X11; Linux!) Gecko")]
    assert fast(("\n".join(lines) + "\n").encode()) == [*range(len(lines))]


@pytest.mark.parametrize(
    "line",
    [
        HEALTHY.replace("[2026", "[pod/a/b] [2026"),
        HEALTHY.replace("curl/8.5.0", ""),
        HEALTHY.replace("curl/8.5.0", 'a" "b'),
        HEALTHY.replace("curl/8.5.0", "a\tb"),
        HEALTHY.replace("curl/8.5.0", "é"),
        HEALTHY.replace("curl/8.5.0", "\x1b[31mred"),
        HEALTHY.replace(" 19 3 - ", " 19 03 - "),
        HEALTHY.replace(" 19 3 - ", " 123456789 3 - "),
        HEALTHY.replace(" 19 3 - ", " 19 3 soon "),
        HEALTHY.replace(" 19 3 - ", " 19  - "),
        HEALTHY.replace(' 19 3 - "-"', ' 19 3 - x"-"'),
        HEALTHY.replace('"-" 0 19 ', '"-"x 0 19 '),
        HEALTHY.replace('9080" outbound', '9080"x outbound'),
        HEALTHY.replace('"GET / ', '"GET /a b '),
        HEALTHY.replace('"GET / ', '"G(T / '),
        HEALTHY.replace("HTTP/1.1", "http/1.1"),
        HEALTHY.replace(" 200 - ", " 2x0 - "),
        HEALTHY.replace(" 200 - ", " 007 - "),
        HEALTHY.replace("|9080|", "|http|"),
        HEALTHY.replace(" - default", " - a b"),
        HEALTHY.replace(" - default", " - "),
        HEALTHY.replace("10:00:00.000Z", "10:00:60.000Z"),
        HEALTHY.replace("10:00:00.000Z", "25:00:00.000Z"),
        HEALTHY.replace("2026-11-22T", "2026-02-30T"),
        HEALTHY.replace("2026-11-22T10:00", 16 * "\0"),
        HEALTHY.replace("00.000Z", "00.000+"),
        HEALTHY.replace('] "', ']  "'),
        HEALTHY + "\r",
        KUBELET.replace("9Z", "Z") + HEALTHY,
        KUBELET.replace("Z", "z") + HEALTHY,
        "x" + HEALTHY,
        HEALTHY[:200],
        access_line(path="/" + "a" * 70_000),
    ],
)
def test_other_lines_are_left_to_the_formats(catalogue: Catalogue, line: str) -> None:
    data = "\n".join([HEALTHY, line, REFUSED, ""]).encode()
    assert fast(data) == [0, 2]
    check(catalogue, data)


@pytest.mark.parametrize("path", SAMPLE_FILES, ids=lambda p: str(p.relative_to(SAMPLES)))
def test_samples(catalogue: Catalogue, path: Path) -> None:
    (stream,) = open_inputs([path], print)
    found = read(catalogue, stream)
    assert_frame_equal(found, read(catalogue, stream, columnar=False))
    assert_frame_equal(found, read(catalogue, stream, block=1 << 15))
    with path.open("rb") as lines:
        records = [*formats.records(lines, origin=stream.origin)]
    assert found["offset"].tolist() == [r.offset for r in records]
    assert found["text"].tolist() == [r.text for r in records]
    assert found["kind"].tolist() == [r.format for r in records]
    assert [None if pd.isna(t) else t.to_pydatetime() for t in found["time"]] == [r.time for r in records]
    for name in ("response_code_details", "authority", "destination_host", "user_agent", "request_id"):
        ours = [None if pd.isna(v) else v for v in found[name]]
        assert ours == [r.fields.get(name) if r.format == "access-log" else None for r in records], name


# --- anything -----------------------------------------------------------------------------------------------------

_MEAN = st.text(
    st.sampled_from([*"aZ09-_/|,.:;\"' \t\r\x0b\x1b\x00\x7f!{}[]()\\", "é", "\u2028", "\ufeff", "😀"]), max_size=12
)
_OWN = [
    "/",
    "/a?b=c",
    "curl/8.5.0",
    "-",
    "reviews:9080",
    "10.0.0.7:9080",
    "BlackHoleCluster",
    "outbound|80|v1|a.b.svc",
    "7f-1",
]
_VALUE = st.sampled_from(_OWN) | _MEAN
_CODE = st.sampled_from(["200", "503", "0", "-", "", "099", "5xx", "1234567890123456789"])
_TIMES = st.sampled_from(
    ["2026-11-22T10:00:00.000Z", "2026-11-22T23:59:59.999Z", "2026-13-01T00:00:00.000Z", "-", "2026-11-22T10:00:00Z"]
)
_LINE = st.builds(
    access_line,
    _CODE,
    st.sampled_from(["-", "UF,URX", "UH", "", "uf", "U F"]),
    st.sampled_from(["via_upstream", "-", "", "a b", "response_timeout", "5x"]),
    st.sampled_from(["-", "TLS error: x", "", "delayed_connect_error:_111"]),
    time=_TIMES,
    path=_VALUE,
    agent=_VALUE,
    request_id=_VALUE,
    authority=_VALUE,
    cluster=_VALUE,
    host=_VALUE,
    local=_VALUE,
)
CUT = '2026-11-22T10:00:00.123456789Z stdout P [2026-11-22T10:00:00.000Z] "GET / HT'
_OTHER = st.sampled_from(
    [
        "",
        "{",
        "}",
        '  "a": 1',
        "2026-11-22T10:00:00.000000Z\twarn\tca\tca request failed, starting attempt 1 in 98ms",
        "2026-11-22T10:00:00.000000Z\tinfo\tmodel\treloading network gateways",
        "  continued",
        "< HTTP/1.1 503 Service Unavailable",
        "< server: envoy",
        "Name:         cart-7d6c5f9b84-z6r4p",
        "Containers:",
        "  istio-proxy:",
        "    State:          Terminated",
        "      Reason:       OOMKilled",
        CUT,
        "2026-11-22T10:00:00.123456789Z stdout F " + HEALTHY,
        "upstream connect error or disconnect/reset before headers",
        "[pod/web-0/istio-proxy] " + REFUSED,
    ]
)


@st.composite
def _bent(draw: st.DrawFn) -> bytes:
    """A line with some bytes put in, taken out or changed."""
    line = bytearray(draw(st.sampled_from([HEALTHY, REFUSED, NO_HOST, TCP, KUBELET + HEALTHY])).encode())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(line)))
        put = draw(st.sampled_from([b"", b" ", b'"', b"-", b"0", b"\t", b"\xff", b'" "', b"  ", b"\x00", b"|"]))
        line[at : at + draw(st.integers(0, 2))] = put
    return bytes(line).replace(b"\n", b"")


_ANY = st.lists((_LINE | _OTHER).map(lambda t: t.encode("utf-8")) | _bent(), max_size=12)


@settings(max_examples=80, deadline=None)
@given(_ANY, st.sampled_from([b"\n", b"\r\n"]), st.booleans())
@example([HEALTHY.encode(), CUT.encode(), HEALTHY.encode(), CUT.encode()], b"\n", False)
@example([HEALTHY.encode(), b"{", HEALTHY.encode(), b"Name: x", HEALTHY.encode()], b"\n", True)
def test_any_lines(lines: list[bytes], end: bytes, ended: bool) -> None:
    check(None, end.join(lines) + (end if ended else b""))


@settings(max_examples=25, deadline=None)
@given(_ANY, st.sampled_from([2048, 4096]))
def test_any_block_size(lines: list[bytes], block: int) -> None:
    check(None, b"\n".join(lines), block)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    _ANY,
    st.integers(0, 59),
    st.sampled_from([("shop", "cart-7d6c5f9b84-z6r4p"), ("x", ""), ("", "web-0")]),
    st.booleans(),
)
def test_filters_are_the_same_both_ways(
    catalogue: Catalogue, lines: list[bytes], second: int, names: tuple[str, str], failures: bool
) -> None:
    namespace, pod = (frozenset({n} if n else ()) for n in names)
    filters = Filters(datetime(2026, 11, 22, 9, 59, second, tzinfo=UTC), None, namespace, pod)
    check(catalogue, b"\n".join(lines), 4096, filters=filters, failures=failures)


def test_a_line_longer_than_the_buffer_is_cut_and_said(catalogue: Catalogue) -> None:
    data = b"\n".join([HEALTHY.encode(), b"x" * 20_000, REFUSED.encode()])
    found = read(catalogue, stream_of(data), block=4096)
    assert found["kind"].tolist() == ["access-log", "text", "access-log"]
    assert found["offset"].tolist() == [0, len(HEALTHY) + 1, len(data) - len(REFUSED)]
    assert [p.what for p in found.attrs["problems"]] == ["a line longer than 4 KiB was cut"]


def test_patterns_that_ask_for_numbers_and_paths(tmp_path: Path) -> None:
    (tmp_path / "slow.yaml").write_text(
        f"""
format: access-log
patterns:
  - id: slow-checkout
    cause: app-error
    priority: 99
    when: {{path: {{starts: /checkout}}, duration: {{min: 1000}}, upstream_service_time: {{min: 900}}}}
    examples: [{{line: '{access_line(path="/checkout").replace(" 19 3 - ", " 19 1000 901 ")}'}}]
    near_misses: [{{line: '{access_line(path="/checkout").replace(" 19 3 - ", " 19 999 901 ")}'}}]
"""
    )
    book = Catalogue.load(tmp_path, user=False)
    rng = np.random.default_rng(7)
    lines = []
    for path, duration in zip(
        rng.choice(["/checkout", "/checkout/1", "/cart"], 300), rng.integers(990, 1010, 300), strict=True
    ):
        lines.append(access_line(path=path).replace(" 19 3 - ", f" 19 {duration} {duration - 95} "))
    data = ("\n".join(lines) + "\n").encode()
    assert len(fast(data)) == 300
    found = check(book, data)
    slow = found["request_path"].str.startswith("/checkout") & (found["duration"] >= 1000)
    assert 0 < slow.sum() < 300
    assert ((found["pattern"] == "slow-checkout") == slow).all()
