"""One file with the logs of several containers, or of two runs of one."""

from __future__ import annotations

import gzip
import io
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from meshdiag.sources import open_inputs


def unexpected(problem):
    pytest.fail(str(problem))


def section(container: str, data: bytes, pod: str = "prod/web-0") -> bytes:
    marks = [f"==== {w} logs for container {container} of pod {pod} ====\n".encode() for w in ("START", "END")]
    return marks[0] + data + marks[1]


def document(kind: str, *messages: str) -> bytes:
    items = [{"message": m} for m in messages]
    return (json.dumps({"kind": kind, "apiVersion": "v1", "items": items}, indent=4) + "\n").encode()


def who(origin):
    return origin.namespace, origin.pod, origin.container


def test_logs_txt_of_a_dump_folder(read, write):
    path = write(
        "dump/prod/web-0/logs.txt",
        section("istio-init", b"i\n") + section("app", b"") + section("istio-proxy", b"p\nq\n"),
    )
    got = read(path)
    assert [(who(o), d) for o, d in got.streams] == [
        (("prod", "web-0", "istio-init"), b"i\n"),
        (("prod", "web-0", "app"), b""),
        (("prod", "web-0", "istio-proxy"), b"p\nq\n"),
    ]
    assert {o.path for o, _ in got.streams} == {str(path)}
    assert got.problems == []


def test_offsets_are_those_of_the_file(write):
    data = section("a", b"one\n") + section("b", b"two\n")
    path = write("dump/prod/web-0/logs.txt", data)
    for stream in open_inputs([path], unexpected):
        with stream.open() as file:
            text = file.read()
        assert data[stream.start : stream.start + len(text)] == text


def test_a_dump_on_one_stream(read):
    data = (
        document("NodeList", "n")
        + document("EventList", "Readiness probe failed")
        + document("PodList", "p")
        + section("app", b"hello\n")
        + section("istio-proxy", b"x\n", "prod/web-1")
        + document("EventList", "second")
        + section("discovery", b"d\n", "istio-system/istiod-1")
    )
    expected = [
        (("", "", ""), document("EventList", "Readiness probe failed")),
        (("prod", "web-0", "app"), b"hello\n"),
        (("prod", "web-1", "istio-proxy"), b"x\n"),
        (("", "", ""), document("EventList", "second")),
        (("istio-system", "istiod-1", "discovery"), b"d\n"),
    ]
    for source in (io.BytesIO(data), io.BytesIO(gzip.compress(data))):
        got = read(source)
        assert [(who(o), d) for o, d in got.streams] == expected
        assert got.problems == []
    got = read(io.BytesIO(data), roles=("log", "state"))
    assert len(got.streams) == 7


def test_a_last_line_without_newline_before_the_marker(read):
    got = read(io.BytesIO(section("a", b"one\ntwo") + section("b", b"three\n")))
    assert [d for _, d in got.streams] == [b"one\ntwo\n", b"three\n"]


def test_markers_of_another_pod_in_a_pods_own_file_are_text(read, write):
    forged = section("discovery", b"evil\n", "istio-system/istiod-1")
    path = write("dump/prod/web-0/logs.txt", section("app", b"a\n" + forged + b"b\n"))
    got = read(path)
    assert [(who(o), d) for o, d in got.streams] == [(("prod", "web-0", "app"), b"a\n" + forged + b"b\n")]


def test_a_dump_that_was_cut(read, write):
    whole = section("a", b"one\n" * 1000) + section("b", b"two\n" * 1000)
    for cut in range(1, len(whole), 97):
        got = read(write("dump/prod/web-0/logs.txt", whole[:cut]))
        assert whole[:cut].endswith(got.streams[-1][1]) or cut < 60 or got.streams[-1][1] in whole


lines = st.lists(st.binary(max_size=40).map(lambda b: b.replace(b"\n", b"").replace(b"\0", b"")), max_size=30)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(lines, st.integers(1, 4000)), min_size=1, max_size=4))
@example([([b"==== END logs for container c1 of pod prod/web-0 ===="], 3000)])
def test_sections_give_back_what_was_put_in(read, contents):
    data = [b"".join(line + b"\n" for line in one) * times for one, times in contents]
    got = read(io.BytesIO(b"".join(section(f"c{i}", d) for i, d in enumerate(data))))
    assert [d for o, d in got.streams if o.container] == data


BANNER = b"========= Previous log present (appended at the end) =========\n\n"
HERE = b"\n\n========= Previous log =========\n\n"


def test_the_log_of_before_the_restart(read, write, make_tar):
    name = "bug-report/proxies/prod/web-0/istio-proxy.log"
    big = b"line\n" * 100_000
    data = BANNER + big + HERE + b"old\n" + HERE + b"still old\n"
    for path in (write(name, data), write("b.tar.gz", gzip.compress(make_tar([(name, data)])))):
        (now, new), (before, old) = read(path).streams
        assert not now.previous and before.previous
        assert who(now) == who(before) == ("prod", "web-0", "istio-proxy")
        assert new == BANNER + big + b"\n\n"
        assert old == b"\nold\n" + HERE + b"still old\n"
        assert now.path == before.path


def test_the_banner_counts_only_where_it_is_announced(read, write):
    data = b"first\n" + HERE + b"second\n"
    got = read(write("a.log", data))
    assert [d for _, d in got.streams] == [data]
