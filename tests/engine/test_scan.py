"""The scanner: the same result however the bytes are cut, with and without Hyperscan, and by the plain path of `records`."""

import io
from collections import Counter
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshdiag.catalogue import NONE, Catalogue
from meshdiag.diagnosis import Findings
from meshdiag.engine.scan import LINE_LIMIT, Filters, Scanner, classify
from meshdiag.model import Origin
from meshdiag.sources import Stream, open_inputs
from tests.conftest import HEALTHY, NO_HOST, REFUSED, SAMPLES, access_line

SAMPLE_FILES = sorted(p for p in SAMPLES.rglob("*") if p.suffix in (".log", ".txt", ".json"))


def stream_of(data: bytes, name: str = "mem.log") -> Stream:
    def opened() -> BinaryIO:
        return io.BytesIO(data)

    return Stream(Origin(name), opened, len(data))


def scan(book: Catalogue, data: bytes, **options: object) -> Findings:
    return Scanner(book, **options).scan(stream_of(data))  # type: ignore[arg-type]


def causes(found: Findings) -> dict[str, int]:
    out: Counter[str] = Counter()
    for (cause, _), tally in found.tallies.items():
        out[cause] += tally.count
    return dict(out)


def test_counts(catalogue: Catalogue) -> None:
    data = "\n".join([HEALTHY] * 50 + [REFUSED] * 3 + [NO_HOST] * 2).encode()
    found = scan(catalogue, data)
    assert causes(found) == {"upstream-connection-refused": 3, "no-healthy-upstream": 2}
    assert (found.lines, found.bytes, found.matched, found.unrecognised) == (55, len(data), 5, 0)
    assert found.examined == {"access-log": 55}


@pytest.mark.parametrize("path", SAMPLE_FILES, ids=lambda p: str(p.relative_to(SAMPLES)))
def test_any_block_size_gives_the_same(catalogue: Catalogue, path: Path) -> None:
    (stream,) = open_inputs([path], print)
    whole = Scanner(catalogue).scan(stream)
    for block in (1 << 14, 1 << 15):
        again = Scanner(catalogue, block=block).scan(stream)
        assert again == whole


@pytest.mark.parametrize("path", SAMPLE_FILES, ids=lambda p: str(p.relative_to(SAMPLES)))
def test_the_pure_fallback_gives_the_same(catalogue: Catalogue, path: Path) -> None:
    (stream,) = open_inputs([path], print)
    assert Scanner(catalogue, pure=True).scan(stream) == Scanner(catalogue).scan(stream)


@pytest.mark.parametrize("path", SAMPLE_FILES, ids=lambda p: str(p.relative_to(SAMPLES)))
def test_scanning_finds_what_reading_every_line_finds(catalogue: Catalogue, path: Path) -> None:
    """The prefilter and the jumps to candidates lose nothing and invent nothing."""
    (stream,) = open_inputs([path], print)
    matches = []
    Scanner(catalogue, on_match=matches.append).scan(stream)
    with stream.open() as data:
        lines = data.read().split(b"\n")
    read = Counter((m.pattern, m.cause) for m in classify(lines, catalogue))
    scanned = Counter((m.pattern, m.cause) for m in matches)
    assert scanned == read


def test_forged_fields_match_nothing(catalogue: Catalogue) -> None:
    words = [
        "no healthy upstream",
        "503 UH no_healthy_upstream",
        "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
        "RBAC: access denied",
        "Jwt is expired",
        "Envoy proxy is NOT ready",
        "error\tenvoy config\tgRPC config for x rejected: y",
        "panic: runtime error",
    ]
    lines = [access_line(agent=w) for w in words] + [access_line(authority=w.replace(" ", "-")) for w in words]
    lines += [access_line(path="/" + w.replace(" ", "%20")) for w in words] + [access_line(request_id=w) for w in words]
    found = scan(catalogue, "\n".join(lines).encode())
    assert causes(found) == {}
    assert found.unrecognised == 0


def test_a_whole_forged_line_in_the_user_agent(catalogue: Catalogue) -> None:
    """A line that can be read in two ways is counted as not readable; it is no failure of the mesh."""
    forged = access_line(agent='" "x" "y" "1.1.1.1:1" ' + NO_HOST.partition("] ")[2])
    found = scan(catalogue, (forged + "\n").encode())
    assert causes(found) == {}


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"\n" * 1000,
        b"\x00" * 5000,
        b"\xff\xfe\xfd" * 1000,
        bytes(range(256)) * 40,
        b'{"a":' * 20_000,
        b"[" * 100_000,
        b'"' * 100_000,
        b"2026-11-22T10:00:00.000000Z\terror\t" + b"\t" * 50_000,
        b"\x1b[31m" * 10_000,
        b'{"log":"' + b"\\" * 60_000 + b'"}',
    ],
    ids=range(11),
)
def test_junk_between_good_lines_loses_nothing(catalogue: Catalogue, junk: bytes) -> None:
    data = NO_HOST.encode() + b"\n" + junk + b"\n" + REFUSED.encode() + b"\n"
    found = scan(catalogue, data)
    assert causes(found).get("no-healthy-upstream") == 1
    assert causes(found).get("upstream-connection-refused") == 1


def test_a_line_longer_than_the_buffer(catalogue: Catalogue) -> None:
    block = 1 << 17
    long = b"x" * (10 * block)
    data = NO_HOST.encode() + b"\n" + long + b"\n" + REFUSED.encode() + b"\n"
    found = scan(catalogue, data, block=block)
    assert causes(found) == {"no-healthy-upstream": 1, "upstream-connection-refused": 1}
    assert found.lines == 3
    assert [p.what for p in found.problems] == ["a line longer than 128 KiB was cut"]
    found = scan(catalogue, long, block=block)
    assert (found.lines, found.tallies) == (1, {})


def test_continuation_lines_belong_to_their_record(catalogue: Catalogue) -> None:
    head = "2026-11-22T10:00:00.000000Z\twarning\tenvoy config external/envoy/source/x.cc:1\tgRPC config for type.googleapis.com/"
    nack = f"{head}envoy.config.listener.v3.Listener rejected: Error adding/updating listener(s) 0.0.0.0_8443:"
    reason = "Cause: error:0b000074:X.509 certificate routines:OPENSSL_internal:KEY_VALUES_MISMATCH"
    text = f"{nack} Failed to load private key from <inline>, {reason}\n\n\tthread=15\n"
    found = scan(catalogue, (HEALTHY + "\n" + text + HEALTHY + "\n").encode())
    assert causes(found) == {"gateway-secret-invalid": 1}


def test_a_pasted_answer_below_an_info_line(catalogue: Catalogue) -> None:
    text = "2026-11-22T10:00:00.000000Z\tinfo\tads\tPush debounce stable[1] 1 for config x\nno healthy upstream\n"
    assert causes(scan(catalogue, text.encode())) == {"no-healthy-upstream": 1}


def test_partial_lines_of_a_container_runtime_are_joined(catalogue: Catalogue) -> None:
    time = "2026-11-22T10:00:00.000000001Z"
    cut = NO_HOST.index("no_healthy") + 4
    text = f"{time} stdout P {NO_HOST[:cut]}\n{time} stdout F {NO_HOST[cut:]}\n{time} stdout F {REFUSED}\n"
    assert causes(scan(catalogue, text.encode())) == {"no-healthy-upstream": 1, "upstream-connection-refused": 1}


def test_wrappers_name_the_pod(catalogue: Catalogue) -> None:
    text = f"[pod/ratings-v1-7f8b9c6d5-x2x4z/istio-proxy] {NO_HOST}\n[pod/reviews-v2-6c8f9d7b5-abcde/istio-proxy] {NO_HOST}\n"
    subjects = {s.source for _, s in scan(catalogue, text.encode()).tallies}
    assert subjects == {"ratings-v1", "reviews-v2"}


def test_filters(catalogue: Catalogue) -> None:
    from datetime import UTC, datetime

    lines = [access_line("503", "UH", "no_healthy_upstream", time=f"2026-11-22T10:0{m}:00.000Z") for m in range(6)]
    data = "\n".join(lines).encode()
    since, until = datetime(2026, 11, 22, 10, 2, tzinfo=UTC), datetime(2026, 11, 22, 10, 4, tzinfo=UTC)
    found = scan(catalogue, data, filters=Filters(since, until))
    assert causes(found) == {"no-healthy-upstream": 3}
    assert causes(scan(catalogue, data, filters=Filters(namespaces=frozenset({"prod"})))) == {}


def test_what_nobody_knows_is_shown(catalogue: Catalogue) -> None:
    lines = [f"2026-11-22T10:00:00.00000{i}Z\terror\tsomething nobody has ever written {i}" for i in range(9)]
    lines.append(access_line("599", "ZZ", "a_new_detail"))
    found = scan(catalogue, "\n".join(lines).encode())
    assert found.unrecognised == 10
    assert sorted(s.count for s in found.shapes.values()) == [1, 9]


def test_a_custom_access_log_format(catalogue: Catalogue) -> None:
    from meshdiag.api import access_parser

    spec = "%RESPONSE_FLAGS% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %UPSTREAM_CLUSTER% %REQ(:PATH)%"
    data = b"UH 503 no_healthy_upstream outbound|80||a.b.svc.cluster.local /x\n- 200 via_upstream outbound|80||a.b /UH-503\n"
    assert causes(scan(catalogue, data, access_log=access_parser(spec))) == {"no-healthy-upstream": 1}


def test_reading_that_fails_keeps_what_came_before(catalogue: Catalogue) -> None:
    class Broken(io.RawIOBase):
        sent = False

        def readable(self) -> bool:
            return True

        def readinto(self, view: memoryview) -> int:  # type: ignore[override]
            if self.sent:
                raise OSError("the disk is gone")
            self.sent = True
            data = (NO_HOST + "\n").encode()
            view[: len(data)] = data
            return len(data)

    found = Scanner(catalogue).scan(Stream(Origin("x"), Broken))  # type: ignore[arg-type]
    assert causes(found) == {"no-healthy-upstream": 1}
    assert "the disk is gone" in next(iter(found.problems)).what


POOL = [HEALTHY, NO_HOST, REFUSED, "", "no healthy upstream", "\tat java.lang.Thread.run", "x" * 300, "{", "}", "---"] + [
    f"2026-11-22T10:00:00.00000{i}Z\t{level}\t{text}"
    for i, (level, text) in enumerate(
        [
            ("info", "Envoy proxy is ready"),
            ("warn", "Envoy proxy is NOT ready: config not received from XDS server (is Istiod running?): cds updates: 0 "
             "successful, 0 rejected; lds updates: 0 successful, 0 rejected"),
            ("error", "something new"),
            ("warning", "envoy config x.cc:1\tgRPC config for type.googleapis.com/x rejected: a\nb\tthread=3"),
        ]
    )
]  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(POOL), max_size=30), st.integers(1, 25))
def test_parts_add_up(catalogue: Catalogue, lines: list[str], at: int) -> None:
    """Two files read apart and added are the two files read together, in either order."""
    scanner = Scanner(catalogue)
    a = scanner.scan(stream_of("\n".join(lines[:at]).encode(), "a"))
    b = scanner.scan(stream_of("\n".join(lines[at:]).encode(), "b"))
    assert a + b == b + a
    assert Findings() + a == a
    assert (a + b).matched == a.matched + b.matched


def test_line_limit_is_in_characters() -> None:
    assert LINE_LIMIT == 65_536


def test_classify_is_lazy(catalogue: Catalogue) -> None:
    def endless():  # type: ignore[no-untyped-def]
        while True:
            yield NO_HOST

    first = next(classify(endless(), catalogue))
    assert (first.cause, first.record.fields["response_flags"]) == ("no-healthy-upstream", "UH")
    assert first.cause != NONE


DENSE = [
    (code, flags, details, reason, cluster, host, local)
    for code, flags, details, reason, host, local in (
        ("503", "UH", "no_healthy_upstream", "-", "-", "-"),
        ("503", "UF", "upstream_reset_before_response_started{x}", "delayed_connect_error:_111", "10.0.0.1:80", "-"),
        (
            "503",
            "UC",
            "upstream_reset_before_response_started{connection_termination}",
            "-",
            "10.0.0.2:80",
            "10.1.1.1:5",
        ),
        ("403", "-", "rbac_access_denied_matched_policy[ns[shop]-policy[p]-rule[0]]", "-", "-", "-"),
        ("500", "-", "via_upstream", "-", "10.0.0.3:80", "10.1.1.1:6"),
        ("200", "-", "via_upstream", "-", "10.0.0.3:80", "10.1.1.1:6"),
        ("502", "-", "direct_response", "-", "-", "-"),
        ("599", "ZZ", "nobody_knows", "-", "-", "-"),
    )
    for cluster in (
        "outbound|80||a.b.svc.cluster.local",
        "outbound|80|v1|c.d.svc.cluster.local",
        "inbound|80||",
        "BlackHoleCluster",
    )
]


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(DENSE), st.integers(0, 59), st.sampled_from(["-", "a.com", "b.com"])), max_size=25
    )
)
def test_counting_by_the_dozen_is_counting_one_by_one(
    catalogue: Catalogue, rows: list[tuple[tuple[str, ...], int, str]]
) -> None:
    """Lines that agree in what decides are counted without being taken apart; the findings must not show it."""
    lines = [
        access_line(code, flags, details, reason, cluster=cluster, host=host, local=local, authority=who,
                    time=f"2026-11-22T10:00:{second:02}.000Z")
        for (code, flags, details, reason, cluster, host, local), second, who in rows
    ]  # fmt: skip
    data = "\n".join(lines).encode()
    slow = Scanner(catalogue, on_match=lambda _: None).scan(stream_of(data))
    assert Scanner(catalogue).scan(stream_of(data)) == slow
