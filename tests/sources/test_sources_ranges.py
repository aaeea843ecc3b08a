"""Parts of a file: together they are the file, and each begins at a line."""

from __future__ import annotations

import gzip
import io

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from meshdiag.sources import open_inputs, ranges, split
from meshdiag.sources.sniff import sniff


def unexpected(problem):
    pytest.fail(str(problem))


def parts_of(path, count, begins=None):
    (stream,) = open_inputs([path], unexpected)
    found = split(stream, count, begins)
    out = []
    for part in found:
        with part.open() as file:
            out.append((part.start, file.read()))
        assert part.size == len(out[-1][1])
        assert part.origin == stream.origin
    return stream, out


content = st.lists(
    st.binary(max_size=12).map(lambda b: b.replace(b"\0", b"")) | st.sampled_from([b"\n", b"\r\n", b"\n\n"]),
    max_size=40,
).map(b"".join)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content, st.integers(1, 12))
@example(b"", 4)
@example(b"\n", 4)
@example(b"no newline", 4)
@example(b"\xef\xbb\xbfwith\nmark\n", 3)
@example(b"a\r\nb\r\nc", 3)
def test_the_parts_are_the_file(tmp_path, data, count):
    path = tmp_path / "a.log"
    data = data if sniff(data) in ("text", "bom") else b"text\n" + data
    path.write_bytes(data)
    stream, parts = parts_of(path, count)
    assert b"".join(d for _, d in parts) == data[stream.start :]
    assert 1 <= len(parts) <= count
    for start, text in parts:
        assert data[start : start + len(text)] == text
        assert start == stream.start or data[start - 1 : start] == b"\n"


def test_a_line_longer_than_a_look(tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "_LOOK", 7)
    path = tmp_path / "a.log"
    path.write_bytes(b"x" * 1000 + b"\n" + b"y" * 1000 + b"\nend")
    _, parts = parts_of(path, 9)
    assert [len(d) for _, d in parts] == [1001, 1001, 3]


def test_cuts_go_to_where_a_record_begins(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"> head\n  more\n  and more\n" * 1000)
    _, parts = parts_of(path, 7, lambda line: line.startswith(b">"))
    assert len(parts) == 7 and all(d.startswith(b"> head\n") for _, d in parts)
    _, parts = parts_of(path, 3, lambda line: False)
    assert b"".join(d for _, d in parts) == path.read_bytes()


def test_a_part_can_be_split_again(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"".join(b"%d\n" % i for i in range(5000)))
    (stream,) = open_inputs([path], unexpected)
    again = [q for p in split(stream, 3) for q in split(p, 4)]
    data = []
    for part in again:
        with part.open() as file:
            assert part.start == sum(map(len, data))
            data.append(file.read())
    assert b"".join(data) == path.read_bytes() and len(data) == 12


def test_what_is_not_splittable_comes_back(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"a\nb\n"))
    for source in (path, io.BytesIO(b"a\nb\n"), ["a", "b"]):
        (stream,) = open_inputs([source], unexpected)
        assert split(stream, 4) == [stream]


def test_a_file_that_vanished_comes_back(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"a\nb\n")
    (stream,) = open_inputs([path], unexpected)
    path.unlink()
    assert split(stream, 4) == [stream]
