"""Standard input and other streams: lines as they come, whatever kind of file it is."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import pty
import socket
import subprocess
import sys
import threading
import time
import tty

import pytest

from meshdiag.model import MeshdiagError, Origin, Problem
from meshdiag.sources.live import Ended, Lines, Opened
from meshdiag.sources.piped import Pipe

FOLLOW = """
import asyncio, sys
from meshdiag.sources.live import Lines
from meshdiag.sources.piped import Pipe
async def main():
    async for event in Pipe().follow():
        print(event.data if isinstance(event, Lines) else type(event).__name__, flush=True)
asyncio.run(main())
"""
CLOSE = """
import asyncio, contextlib
from meshdiag.sources.piped import Pipe
async def main():
    async with contextlib.aclosing(Pipe().follow()) as events:
        async for event in events:
            break
    await asyncio.sleep(0.1)  # so that the thread waits in its read
asyncio.run(main())
print("closed")
"""


async def everything(pipe: Pipe) -> list:
    return [event async for event in pipe.follow()]


def data(events: list) -> bytes:
    return b"".join(e.data for e in events if isinstance(e, Lines))


@contextlib.contextmanager
def a_pipe():
    out, into = os.pipe()
    with os.fdopen(out, "rb") as reader, os.fdopen(into, "wb", buffering=0) as writer:
        yield reader, writer


def threads_end() -> None:
    deadline = time.monotonic() + 5
    while any(t.name == "meshdiag-pipe" for t in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def python(code: str, **options) -> bytes:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=20, stdout=subprocess.PIPE, **options
    ).stdout


def test_lines_come_as_they_are_written():
    async def scenario():
        with a_pipe() as (reader, writer):
            async with contextlib.aclosing(Pipe(reader, "input").follow()) as events:
                assert await anext(events) == Opened(Origin("input"))
                writer.write(b"one\ntw")
                assert await anext(events) == Lines(Origin("input"), 0, b"one\n")
                writer.write(b"o\n\xff\xfe\0\n")
                assert await anext(events) == Lines(Origin("input"), 4, b"two\n\xff\xfe\0\n")
                writer.write(b"half")
                writer.close()
                assert await anext(events) == Lines(Origin("input"), 12, b"half\n")
                assert await anext(events) == Ended(Origin("input"), "end of input")
                assert [e async for e in events] == []

    asyncio.run(scenario())


@pytest.mark.parametrize("text", [b"", b"one", b"one\n", b"one\n\n", b"x\n" * 1_000_000])
def test_any_binary_file(text, tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(text)
    whole = text if text.endswith(b"\n") or not text else text + b"\n"
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        for stream in (file, raw, io.BytesIO(text)):
            events = asyncio.run(everything(Pipe(stream)))
            assert data(events) == whole
            assert (events[0], events[-1]) == (Opened(Origin("-")), Ended(Origin("-"), "end of input"))
            offsets = [e.offset for e in events if isinstance(e, Lines)]
            assert offsets == sorted(set(offsets)) and all(0 <= o < len(text) for o in offsets)


def test_what_was_read_ahead_is_not_lost():
    with a_pipe() as (reader, writer):
        writer.write(b"header\none\ntwo\n")
        writer.close()
        assert reader.readline() == b"header\n"
        assert data(asyncio.run(everything(Pipe(reader)))) == b"one\ntwo\n"


def test_a_socket():
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as stream:
        theirs.sendall(b"one\nha")
        theirs.close()
        assert data(asyncio.run(everything(Pipe(stream)))) == b"one\nha\n"


def test_a_long_line_is_cut_and_told_once():
    long = b"x" * (2 << 20) + b"\n"
    events = asyncio.run(everything(Pipe(io.BytesIO(b"a\n" + long + b"b\n" + long + b"c"))))
    kept = b"x" * (64 << 10) + b"\n"
    assert data(events) == b"a\n" + kept + b"b\n" + kept + b"c\n"
    (problem,) = [e for e in events if isinstance(e, Problem)]
    assert problem == Problem("-", "a line longer than 1024 KiB was cut", "only its beginning was read")


def test_what_cannot_be_read_on_is_told():
    class Broken(io.RawIOBase):
        answers = iter([b"one\nha"])

        def read(self, size=-1):
            for answer in self.answers:
                return answer
            raise OSError(5, "Input/output error")

    _, lines, problem, rest, ended = asyncio.run(everything(Pipe(Broken())))
    assert (lines.data, rest.data, ended.why) == (b"one\n", b"ha\n", "it could not be read on")
    assert problem == Problem("-", "cannot be read on: Input/output error", "what came before was read")


def test_a_writer_waits_for_a_slow_reader():
    async def scenario():
        with a_pipe() as (reader, writer):
            written = 0

            def write():
                nonlocal written
                with contextlib.suppress(BrokenPipeError):
                    while written < 64 << 20:
                        written += writer.write(b"0123456789abcde\n" * 4096)

            thread = threading.Thread(target=write)
            thread.start()
            async with contextlib.aclosing(Pipe(reader).follow()) as events:
                await anext(events)
                await asyncio.sleep(0.1)
                assert 0 < written < 2 << 20
            reader.close()
            thread.join()

    asyncio.run(scenario())


def test_closing_does_not_wait_for_a_read():
    async def scenario():
        with a_pipe() as (reader, writer):
            events = Pipe(reader.raw).follow()
            await anext(events)
            waiting = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0.05)
            began = time.monotonic()
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await events.aclose()
            assert time.monotonic() - began < 0.5
            writer.write(b"x")  # ends the thread's read

    asyncio.run(scenario())
    threads_end()


def test_nothing_is_read_after_closing(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"0123456789abcde\n" * (1 << 18))

    async def scenario(stream):
        async with contextlib.aclosing(Pipe(stream).follow()) as events:
            await anext(events)
            await asyncio.sleep(0.1)
            read = stream.tell()
        await asyncio.sleep(0.05)
        assert stream.tell() == read > 0

    with path.open("rb", buffering=0) as stream:
        asyncio.run(scenario(stream))
        threads_end()


def test_standard_input_as_a_file_a_pipe_and_a_socket(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntwo")
    wanted = [b"b'one\\n'", b"b'two\\n'"]
    with path.open("rb") as file:
        assert python(FOLLOW, stdin=file).splitlines() == [b"Opened", *wanted, b"Ended"]
    got = python(FOLLOW, input=b"one\ntwo").splitlines()
    assert got == [b"Opened", *wanted, b"Ended"]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        ours.sendall(b"one\ntwo")
        ours.shutdown(socket.SHUT_WR)
        assert python(FOLLOW, stdin=theirs).splitlines() == [b"Opened", *wanted, b"Ended"]


def test_standard_input_as_a_terminal():
    ours, theirs = pty.openpty()
    try:
        tty.setcbreak(theirs)
        os.set_blocking(theirs, False)
        process = subprocess.Popen([sys.executable, "-c", FOLLOW], stdin=theirs, stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"Opened\n"
        time.sleep(0.1)  # so that it waits: there is nothing to read yet
        os.write(ours, b"one\n")
        assert process.stdout.readline() == b"b'one\\n'\n"
        process.kill()
        process.communicate()
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_process_ends_while_its_standard_input_stays_open():
    out, into = os.pipe()
    try:
        assert python(CLOSE, stdin=out) == b"closed\n"
    finally:
        os.close(out)
        os.close(into)


def test_no_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(MeshdiagError, match="there is no standard input: give a file"):
        asyncio.run(everything(Pipe()))
