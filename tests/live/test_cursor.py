"""Where a log was read to: whatever happens to a stream, every line comes once, and lines that are lost are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshdiag.sources.kubernetes import cursor as module
from meshdiag.sources.kubernetes.cursor import DISORDER, SECOND, Cursor, Taken, moment, stamp
from tests.live.objects import stamp as written

MS = 1_000_000
START = 1_795_390_333 * SECOND  # 2026-11-22T23:32:13Z


def line(at: int, text: str = "hello") -> bytes:
    return written(at) + text.encode() + b"\n"


@contextmanager
def memory(size: int) -> Iterator[None]:
    """Inside, a cursor remembers so many bytes. As a context, since hypothesis runs a test's body many times."""
    before, module.MEMORY = module.MEMORY, size
    try:
        yield
    finally:
        module.MEMORY = before


# Times


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        (b"2026-11-22T23:32:13.455026000Z ", START + 455_026_000),
        (b"2026-11-22T23:32:13.455026001Z text", START + 455_026_001),
        (b"2026-11-22T23:32:13.5Z text", START + 500 * MS),
        (b"2026-11-22T23:32:13.123456Z text", START + 123_456_000),
        (b"2026-11-22T23:32:13.1234567899Z text", START + 123_456_789),
        (b"2026-11-22T23:32:13Z text", START),
        (b"2026-11-22T23:32:13.000000001Z\n", START + 1),
        (b"2026-11-23T01:32:13.25+02:00 text", START + 250 * MS),
        (b"2026-11-22T18:02:13.25-05:30 text", START + 250 * MS),
        (b"2026-11-22T23:32:13+00:00 text", START),
        (b"1970-01-01T00:00:00.000000000Z text", 0),
        (b"9999-12-31T23:59:59.999999999Z text", 253_402_300_799 * SECOND + 999_999_999),
    ],
)
def test_times_of_a_kubelet_are_read(text: bytes, nanos: int) -> None:
    """Nine digits, fewer or none, UTC or the node's own zone, and an empty line whose blank was cut."""
    assert stamp(text) == nanos


@pytest.mark.parametrize(
    "text", [b"0001-01-01T00:00:00Z x", b"1969-12-31T23:59:59.9Z x", b"0001-01-01T00:00:00+23:00 x"]
)
def test_times_before_1970_count_as_1970(text: bytes) -> None:
    """A line of a node without a clock is a line of the log all the same."""
    assert stamp(text) == 0


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"hello\n",
        b"2026-11-22T23:32:13.455026000Z",  # neither blank nor line feed: not whole
        b"2026-11-22 23:32:13.455026000Z x",
        b"2026-11-22T23:32:13.Z x",
        b"2026-11-22T23:32:13.4x5Z x",
        b"2026-11-22T23:32:13 x",
        b"2026-11-22T23:32:13z x",
        b"2026-13-22T23:32:13Z x",
        b"2026-11-31T23:32:13Z x",
        b"2026-11-22T24:32:13Z x",
        b"2026-11-22T23:32:61Z x",
        b"0000-01-01T00:00:00Z x",
        b"2026-W47-7T23:32:13Z x",
        b"2026-11-22T23:32+02Z x",
        b"2026-11-22T23:32:13+0200 x",
        b"\xd9\xa2026-11-22T23:32:13Z x",
        b"2026-11-22T23:32:13.%sZ x" % (b"1" * 40),
        b'failed to watch file "/var/log/pods/shop_db-0/istio-proxy/0.log": no space left on device\n',
    ],
)
def test_what_is_no_time_is_none(text: bytes) -> None:
    """Messages of a kubelet, other formats of time, and days that do not exist."""
    assert stamp(text) is None


@given(st.binary(max_size=80) | st.from_regex(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.Z+-]{8,30} .*"), st.integers(0, 90))
def test_no_bytes_raise(data: bytes, start: int) -> None:
    """Whatever stands where a time should be, there is a time that can be told, or none."""
    nanos = stamp(data, start)
    assert nanos is None or (nanos >= 0 and moment(nanos).tzinfo is UTC)


@given(st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1)), st.integers(0, 999), st.integers(-14 * 60, 14 * 60))
def test_times_survive_writing_and_reading(time: datetime, nanos: int, zone: int) -> None:
    """What is read is what was written, whatever the zone of the node is."""
    exact = (time - datetime(1970, 1, 1)) // timedelta(microseconds=1) * 1000 + nanos
    there = time.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=zone)))
    text = there.strftime("%Y-%m-%dT%H:%M:%S.%f") + f"{nanos:03d}" + there.isoformat()[-6:]
    assert stamp(b"junk" + text.encode() + b" x", 4) == exact
    assert moment(exact) == time.replace(tzinfo=UTC)


def test_a_time_at_a_place_in_the_data() -> None:
    """Only the line that begins at the place counts."""
    data = line(START) + line(START + 5)
    assert stamp(data, len(line(START))) == START + 5
    assert stamp(data, 1) is None


def test_moments_beyond_what_python_can_say_are_the_last_one() -> None:
    """A damaged line must not end a stream."""
    beyond = stamp(b"9999-12-31T23:59:59-23:00 x")
    assert beyond is not None
    assert moment(beyond) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    cursor = Cursor()
    cursor.take(b"9999-12-31T23:59:59-23:00 x\n")
    assert cursor.resume() == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


# A log and whoever reads it


@dataclass
class Model:
    """A container's log and a client of it: what a kubelet would answer, and what the cursor gave."""

    log: list[bytes]
    cursor: Cursor = field(default_factory=Cursor)
    given: list[bytes] = field(default_factory=list)
    missed: list[tuple[int, int]] = field(default_factory=list)
    held: int = 0

    def __post_init__(self) -> None:
        self.times = [stamp(one) or 0 for one in self.log]

    def stream(self, lost: int, until: int, sizes: list[int]) -> bool:
        """One stream: the log without its first lines, up to a line, in chunks; returns whether lines were missed."""
        since = self.cursor.resume()
        low = 0 if since is None else int(since.timestamp()) * SECOND
        answer = [one for one, time in list(zip(self.log, self.times, strict=True))[lost:until] if time >= low]
        missed = False
        while answer:
            size = sizes.pop(0) if sizes else len(answer)
            taken = self.cursor.take(b"".join(answer[:size]))
            answer = answer[size:]
            assert not taken.said
            self.given += [one + b"\n" for one in taken.lines.split(b"\n")[:-1]]
            if taken.missed:
                self.missed.append(taken.missed)
                missed = True
            self.held = max(self.held, sum(len(data) for *_, data in self.cursor._memory))
            assert self.cursor._size == sum(len(data) for *_, data in self.cursor._memory)
        return missed


@st.composite
def logs(draw: st.DrawFn, alike: bool = True) -> list[bytes]:
    """Lines in the order of a log: bursts and pauses, blocks with one time, and lines that are up to 100 ms late.

    `alike`: lines of a block may have the same text; then no two blocks have the same time, as nothing can tell which
    of equal lines were forgotten when all that is remembered has one time.
    """
    gaps = st.sampled_from([0, 1, 1000, 3 * MS, 40 * MS, 110 * MS, 700 * MS, 3 * SECOND])
    now = START + draw(st.integers(0, 999)) * MS
    log: list[bytes] = []
    used: set[int] = set()
    for number in range(draw(st.integers(1, 25))):
        now += draw(gaps)
        late = draw(st.sampled_from([0, 0, 0, 1, 20 * MS, DISORDER]))
        while alike and now - late in used:
            now += 1
        used.add(now - late)
        text = draw(st.sampled_from(["", " text", " " + "x" * 60]))
        for part in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
            same = alike and draw(st.booleans())
            log.append(line(now - late, f"{number}{'' if same else f'.{part}'}{text}"))
    return log


SIZES = st.lists(st.integers(1, 6), max_size=20)
PLACES = st.lists(st.tuples(st.floats(0, 1), SIZES), max_size=6)
BIG = 1 << 20
MEMORIES = st.sampled_from([400, 700, 2000, BIG])


@settings(max_examples=250, deadline=None)
@given(logs(), PLACES, SIZES, MEMORIES)
def test_every_line_comes_once_in_order(
    log: list[bytes], breaks: list[tuple[float, list[int]]], sizes: list[int], size: int
) -> None:
    """However a log comes in chunks and is interrupted, what is given is the log; and little of it is held."""
    with memory(size):
        model = Model(log)
        for share, chunks in breaks:
            model.stream(0, round(share * len(log)), list(chunks))
        model.stream(0, len(log), list(sizes))
        assert model.given == log
        assert not model.missed
        assert model.held <= 2 * size + max(map(len, log))
        assert 0 <= max(model.times) - model.cursor.last <= DISORDER


@settings(max_examples=100, deadline=None)
@given(logs(), SIZES, MEMORIES)
def test_a_log_that_was_read_whole_gives_nothing_again(log: list[bytes], sizes: list[int], size: int) -> None:
    """When all comes again nothing is new, and that all came is known then, not before."""
    with memory(size):
        model = Model(log)
        model.stream(0, len(log), list(sizes))
        assert model.cursor.caught_up
        given = list(model.given)
        model.cursor.resume()
        assert not model.cursor.caught_up
        model.stream(0, len(log), list(sizes))
        assert model.given == given == log
        assert model.cursor.caught_up


@settings(max_examples=250, deadline=None)
@given(logs(alike=False), PLACES, st.data(), MEMORIES)
def test_what_a_rotation_left_comes_once(
    log: list[bytes], breaks: list[tuple[float, list[int]]], data: st.DataObject, size: int
) -> None:
    """A log that lost its first lines gives the rest once, and says that lines are missed if all that were read are gone."""
    with memory(size):
        model = Model(log)
        lost = read = 0
        for share, chunks in [*breaks, (1.0, [])]:
            lost = data.draw(st.integers(lost, len(log)), "lost")
            until = max(lost, round(share * len(log)))
            fresh = log[max(lost, read) : until]
            gone = lost >= read > 0
            if gone:
                # Nothing shows where lines belong that are no later than what was forgotten: they count as read.
                while fresh and (stamp(fresh[0]) or 0) <= model.cursor._forgotten:
                    assert size < BIG and (stamp(fresh.pop(0)) or 0) <= model.cursor.last + DISORDER
            before, last = len(model.given), model.cursor.last
            missed = model.stream(lost, until, list(chunks))
            assert model.given[before:] == fresh
            assert missed == (gone and bool(fresh))
            if missed:
                assert model.missed[-1] == (last, stamp(fresh[0]))
            if fresh:
                read = until


@settings(max_examples=150, deadline=None)
@given(logs(alike=False), logs(alike=False), st.data(), st.sampled_from([1, 5, 3600]), MEMORIES)
def test_a_clock_that_was_set_back_loses_nothing(
    log: list[bytes], more: list[bytes], data: st.DataObject, seconds: int, size: int
) -> None:
    """Once lines of an earlier time were read behind others, a log is resumed from their time, and all come once."""
    back = (stamp(log[-1]) or 0) - seconds * SECOND - START
    later = [line((stamp(one) or 0) + back, "later " + one.decode().split(" ", 1)[1][:-1]) for one in more]
    with memory(size):
        model = Model(log + later)
        read = data.draw(st.integers(len(log) + 1, len(model.log)), "read")
        model.stream(0, read, [len(log), *data.draw(SIZES)])
        model.stream(0, data.draw(st.integers(0, len(model.log))), data.draw(SIZES))
        model.stream(0, len(model.log), data.draw(SIZES))
        assert model.given == model.log
        assert not model.missed


def test_a_burst_in_one_second_that_is_longer_than_the_memory_comes_once() -> None:
    """Of one long piece, and of one before it, only the end is remembered."""
    log = [line(START + n * 1000, f"{n:04d}") for n in range(3000)]
    with memory(4000):
        for first in (1, 50, 90):
            model = Model(log)
            model.stream(0, 2000, [first])
            model.stream(0, 3000, [7])
            assert model.given == log and not model.missed


def test_lines_with_one_time_that_were_half_forgotten_come_once() -> None:
    """The regression: CRI-O gives all lines that it reads at once the same time, and their text may be the same."""
    log = [line(START, f"{n}") for n in range(20)] + [line(START + 5, "") for _ in range(4)] + [line(START + 9, "z")]
    with memory(len(log[-2]) * 5):
        model = Model(log)
        model.stream(0, 24, [10, 12, 1, 1])
        model.stream(0, 25, [])
        assert model.given == log


def test_a_late_line_at_the_edge_of_a_second_is_not_forgotten_too_early() -> None:
    """The regression: what stands before a late line may be later than it, and comes again."""
    edge = START + SECOND
    log = [line(edge + 50 * MS, "a"), line(edge - 10 * MS, "late"), line(edge + 101 * MS, "b")]
    model = Model(log)
    model.stream(0, 3, [1, 1, 1])
    model.stream(0, 3, [])
    assert model.given == log


def test_a_late_line_before_what_is_remembered_is_new() -> None:
    """The regression: the output that is copied late is not taken for what was forgotten."""
    log = [line(START + 200 * MS + n, f"{n:03d}") for n in range(100)] + [line(START + 150 * MS, "late")]
    with memory(600):
        model = Model(log)
        model.stream(0, 100, [])
        model.stream(0, 101, [])
        assert model.given == log and not model.missed


# What else a cursor is told


def test_nothing_was_read_yet() -> None:
    """Without a line there is no time to resume from, and the whole log is new."""
    cursor = Cursor()
    assert (cursor.last, cursor.resume(), cursor.caught_up) == (-1, None, True)
    assert cursor.take(line(START)) == Taken(line(START))
    assert cursor.take(b"") == Taken(b"")


def test_whole_pieces_are_given_on_without_a_copy() -> None:
    """What follows the lines before is the very object that came."""
    cursor = Cursor()
    data = line(START) + line(START + 1)
    assert cursor.take(data).lines is data
    assert cursor.last == START + 1


@pytest.mark.parametrize(
    ("last", "since"),
    [
        (START + 100 * MS, START),
        (START + 100 * MS - 1, START - SECOND),
        (START + 999 * MS, START),
        (50 * MS, -SECOND),
    ],
)
def test_resumed_from_a_whole_second_before_any_late_line(last: int, since: int) -> None:
    """The API takes whole seconds, and a line may be late by as much as the runtime's disorder."""
    cursor = Cursor()
    cursor.take(line(last))
    assert cursor.resume() == datetime.fromtimestamp(since // SECOND, UTC)


def test_another_log_has_no_lines_of_the_one_before() -> None:
    """After `begin` nothing is told apart: an equal line of the next log is a new one, and nothing was missed."""
    cursor = Cursor()
    cursor.take(line(START) + line(START + 1))
    cursor.resume()
    cursor.begin()
    assert cursor.caught_up
    assert cursor.resume() == moment(START - SECOND)  # so that the old log's times still count
    assert cursor.caught_up
    assert cursor.take(line(START + 1)) == Taken(line(START + 1))
    assert cursor.take(line(START + 2)) == Taken(line(START + 2))
    cursor.resume()
    assert cursor.take(line(START + 1) + line(START + 2) + line(START + 3)) == Taken(line(START + 3))


def test_a_log_that_was_forgiven_may_lack_what_was_read() -> None:
    """Nothing is missed once, and from then on it would be."""
    cursor = Cursor()
    cursor.take(line(START) + line(START + SECOND))
    cursor.forgive()
    cursor.resume()
    assert cursor.take(line(START + 2 * SECOND)) == Taken(line(START + 2 * SECOND))
    cursor.resume()
    taken = cursor.take(line(START + 9 * SECOND))
    assert taken == Taken(line(START + 9 * SECOND), (START + 2 * SECOND, START + 9 * SECOND))


def test_forgiving_does_not_give_lines_again() -> None:
    """A forgiven log that has the lines all the same gives them once, however much was forgotten."""
    log = [line(START + n, f"{n:03d}") for n in range(100)]
    with memory(400):
        model = Model(log)
        model.stream(0, 90, [])
        model.cursor.forgive()
        model.stream(0, 100, [3])
        assert model.given == log and not model.missed


def test_lines_besides_are_not_new() -> None:
    """Lines that were read of a log that may be this one are told by their text, each as often as it was read."""
    cursor = Cursor()
    assert cursor.resume(besides=line(START + 2) * 2 + line(START + 3)) is None
    taken = cursor.take(line(START + 1) + line(START + 2) * 3 + line(START + 3) + line(START + 4))
    assert taken == Taken(line(START + 1) + line(START + 2) + line(START + 4))
    assert cursor.caught_up
    cursor.resume(besides=line(START + 5))
    taken = cursor.take(line(START + 5) + line(START + 6))
    assert taken == Taken(line(START + 6), (START + 4, START + 6))  # none of its own lines came
    cursor.resume()
    again = line(START + 4) + line(START + 5) + line(START + 6)
    assert cursor.take(again) == Taken(line(START + 5))  # besides counts for one log only


def test_a_clock_that_was_set_back_behind_late_lines_gives_nothing_twice() -> None:
    """The latest line of what is forgotten stood before one that was late."""
    before = [line(START + (n == 7), f"{n}.0") for n in range(9)]
    later = [line(START - 800 * MS, f"later {n}.0") for n in range(10)]
    later += [line(START - 100 * MS, f"later {n}.{part}") for n in (10, 11, 12) for part in range(3)]
    with memory(400):
        model = Model(before + later)
        model.stream(0, 10, [9])
        model.stream(0, 28, [])
        model.stream(0, 28, [])
        assert model.given == model.log
        assert not model.missed


def test_a_copy_stands_at_the_same_place_and_goes_its_own_way() -> None:
    """What a copy takes does not change the other one, and both tell new lines from those that were read."""
    log = [line(START + n, f"{n:03d}") for n in range(60)]
    with memory(400):
        model = Model(log)
        model.stream(0, 40, [10] * 4)
        copy = model.cursor.copy()
        model.stream(0, 50, [])
        other = Model(log, copy)
        other.stream(0, 60, [4])
        assert other.given == log[40:]
        model.stream(0, 60, [])
        assert model.given == log


MESSAGE = b"unable to retrieve container logs for containerd://0123"


def test_messages_of_a_kubelet_are_said_and_are_no_lines() -> None:
    """A line without a time is not the container's, wherever a stream has it first or last."""
    cursor = Cursor()
    assert cursor.take(MESSAGE) == Taken(b"", None, (MESSAGE,))
    assert cursor.last == -1
    assert cursor.take(line(START) + MESSAGE + b"\n") == Taken(line(START), None, (MESSAGE + b"\n",))
    assert cursor.take(b"\n" + line(START + 1)) == Taken(line(START + 1), None, (b"\n",))
    cursor.resume()
    taken = cursor.take(MESSAGE + b"\n" + line(START) + line(START + 1) + line(START + 2) + MESSAGE)
    assert taken == Taken(line(START + 2), None, (MESSAGE + b"\n", MESSAGE))
    cursor.resume()
    assert cursor.take(MESSAGE) == Taken(b"", None, (MESSAGE,))
    assert not cursor.caught_up
    later = line(START + 9 * SECOND)
    taken = cursor.take(line(START + 1) + line(START + 2) + later + MESSAGE)
    assert taken == Taken(later, None, (MESSAGE,))
    assert cursor.caught_up


def test_lines_end_at_line_feeds_only() -> None:
    """Other bytes that end lines elsewhere belong to a line."""
    odd = written(START) + b"a\x0cb\x85\r\xe2\x80\xa8\x00\xff\r\n"
    cursor = Cursor()
    cursor.take(odd)
    cursor.resume()
    assert cursor.take(odd + line(START + 1)) == Taken(line(START + 1))


def test_one_line_may_be_longer_than_the_memory() -> None:
    """The last line is always remembered, as without it nothing could be told apart."""
    with memory(100):
        log = [line(START, "a"), line(START + 1, "x" * 500), line(START + 2, "y" * 300), line(START + 3)]
        for chunks in ([1, 1, 1, 1], [3, 1], [2, 2]):
            model = Model(log)
            model.stream(0, 3, list(chunks))
            model.stream(0, 4, list(chunks))
            assert model.given == log and not model.missed
            assert model.held <= 2 * 100 + len(log[1])


def test_what_is_remembered_is_bounded_in_a_long_burst() -> None:
    """Megabytes within one second leave no more than twice the memory."""
    cursor = Cursor()
    at = START
    for size in (10, 1, 400, 3, 1000, 77) * 20:
        block = b"".join(line(at + n, "x" * 50) for n in range(size))
        cursor.take(block)
        at += size
        held = sum(len(data) for *_, data in cursor._memory)
        assert min(module.MEMORY, held) <= held == cursor._size <= 2 * module.MEMORY
    assert cursor._size >= module.MEMORY
