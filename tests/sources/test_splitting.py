"""Whole lines out of blocks, however they are divided."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshdiag.model import Origin, Problem
from meshdiag.sources.live import Lines
from meshdiag.sources.splitting import Splitter, events

LIMIT, KEPT = Splitter.LIMIT, Splitter.KEPT


class Small(Splitter):
    LIMIT = 8
    KEPT = 3


def expected(data: bytes, limit: int, kept: int) -> tuple[bytes, int]:
    """The lines, and how many are cut, told in the plainest way."""
    *lines, last = data.split(b"\n")
    lines += [last] if last else []
    return b"".join((x if len(x) <= limit else x[:kept]) + b"\n" for x in lines), sum(len(x) > limit for x in lines)


def divided(data: bytes, cuts: list[int]) -> list[bytes]:
    at = [0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(at)]


@given(
    st.lists(st.sampled_from([b"\n", b"a", b"bc", b"\xff\xfe\0", b"1234567", b"x" * 8, b"y" * 9, b"z" * 30])),
    st.lists(st.integers(0, 10**6)),
)
def test_how_bytes_are_divided_makes_no_difference(words, cuts):
    data = b"".join(words)
    splitter = Small(start=1000)
    out = b""
    for piece in divided(data, cuts):
        cut = splitter.cut
        lines = splitter.feed(piece)
        assert not lines or lines.endswith(b"\n")
        if lines:  # what is given stands at the offset, at least up to a line feed that was added
            at = splitter.offset - 1000
            assert at == 0 or data[at - 1 : at] == b"\n"
            assert cut != splitter.cut or data[at : at + len(lines)] == lines
        out += lines
    assert splitter.passed == 1000 + len(data)
    out += splitter.flush()
    assert (out, splitter.cut) == expected(data, Small.LIMIT, Small.KEPT)
    assert splitter.held == 0 and splitter.flush() == b""


def test_whole_lines_are_given_without_a_copy():
    splitter, data = Splitter(), b"one\ntwo\n" * 1000
    assert splitter.feed(data) is data and splitter.feed(data) is data
    assert splitter.offset == len(data)


def test_a_beginning_is_held():
    splitter = Splitter()
    assert (splitter.feed(b"one\ntw"), splitter.held, splitter.offset) == (b"one\n", 2, 0)
    assert (splitter.feed(b""), splitter.held) == (b"", 2)
    assert (splitter.feed(b"o\r\nthree"), splitter.held, splitter.offset) == (b"two\r\n", 5, 4)
    assert (splitter.flush(), splitter.held, splitter.offset) == (b"three\n", 0, 9)


@pytest.mark.parametrize("size", [1, 1000, LIMIT - 1, LIMIT, 3 * LIMIT])
def test_only_a_line_longer_than_the_limit_is_cut(size):
    for length in (LIMIT, LIMIT + 1):
        splitter = Splitter()
        data = b"a\n" + b"x" * length + b"\nb\n"
        pieces = [data[at : at + size] for at in range(0, len(data), size)] if size > 1 else [data[:1], data[1:]]
        out = b"".join(map(splitter.feed, pieces))
        kept = length if length == LIMIT else KEPT
        assert out == b"a\n" + b"x" * kept + b"\nb\n"
        assert splitter.cut == (length > LIMIT)


def test_the_offset_behind_a_cut_line_counts_what_was_dropped():
    splitter = Small()
    assert (splitter.feed(b"a\n" + b"x" * 20), splitter.offset) == (b"a\nxxx\n", 0)
    assert splitter.feed(b"xxx") == b"" and splitter.held == 0
    assert (splitter.feed(b"xx\nb\n"), splitter.offset) == (b"b\n", 2 + 26)


def test_what_is_dropped_ends_with_a_flush():
    splitter = Small()
    assert splitter.feed(b"x" * 9) == b"xxx\n"
    assert splitter.flush() == b""
    assert (splitter.feed(b"next\n"), splitter.offset) == (b"next\n", 9)


def test_a_line_in_many_pieces_costs_no_more_than_its_length():
    splitter = Splitter()
    piece = b"0123456789abcdef"
    began = time.perf_counter()
    for _ in range(250_000):  # a quadratic one would move some 100 GB
        splitter.feed(piece)
    assert splitter.feed(b"\nnext\n") == b"next\n"
    assert time.perf_counter() - began < 5
    assert splitter.cut == 1


def test_events_tell_the_first_cut_only():
    splitter, origin = Small(), Origin("a.log")
    assert events(splitter, origin, b"hal") == []
    assert events(splitter, origin, b"f\n") == [Lines(origin, 0, b"half\n")]
    assert [type(e) for e in events(splitter, origin, b"x" * 9)] == [Lines, Problem]
    assert events(splitter, origin, b"\n" + b"y" * 9 + b"\nz") == [Lines(origin, 15, b"yyy\n")]
    assert events(splitter, origin, None) == [Lines(origin, 25, b"z\n")]
    assert events(splitter, origin, None) == []


def test_the_problem_of_a_cut_line():
    problem = events(Splitter(), Origin("a.log"), b"x" * (LIMIT + 1))[-1]
    assert problem == Problem("a.log", "a line longer than 1024 KiB was cut", "only its beginning was read")
