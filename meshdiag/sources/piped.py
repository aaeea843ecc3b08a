"""Standard input, or any open binary file or pipe, as a live source."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import select
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from typing import BinaryIO

from meshdiag.model import MeshdiagError, Origin, Problem
from meshdiag.sources.live import Ended, Event, Opened
from meshdiag.sources.splitting import Splitter, events

BLOCK = 256 << 10
"""Bytes that one read takes at most."""

AHEAD = 2
"""Blocks that are read before the first of them is wanted."""

Read = Callable[[int], bytes]


class Pipe:
    """The lines of standard input or of an open binary stream as they come, whatever it is: pipe, socket, tty, file.

    Standard input is read past the buffer of `sys.stdin`: what others have read ahead is theirs. The stream stays
    open. When the iterator is closed, a read that waits goes on in its thread, and what it still gets is lost.
    """

    def __init__(self, stream: BinaryIO | None = None, name: str = "-") -> None:
        self._stream = stream
        self._origin = Origin(name)

    async def follow(self) -> AsyncGenerator[Event, None]:
        """The events until the end of input; a last line without a line feed gets one."""
        origin, splitter = self._origin, Splitter()
        thread = _Thread(_reader(self._stream, origin.path))
        why = "end of input"
        try:
            yield Opened(origin)
            while block := await thread.take():
                if isinstance(block, Exception):
                    why = "it could not be read on"
                    yield Problem(origin.path, f"cannot be read on: {_what(block)}", "what came before was read")
                    break
                for event in events(splitter, origin, block):
                    yield event
            for event in events(splitter, origin, None):
                yield event
            yield Ended(origin, why)
        finally:
            thread.leave()


def _what(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _reader(stream: BinaryIO | None, name: str) -> Read:
    """What gives the bytes that are there, waits only when there are none, and gives b"" at the end."""
    standard: BinaryIO | None = getattr(sys.stdin, "buffer", None)
    stream = standard if stream is None else stream
    if stream is None:
        raise MeshdiagError(f"{name}: there is no standard input: give a file")
    if stream is standard:
        # Whoever waits in the buffer of sys.stdin holds its lock, and Python aborts when it ends and cannot get that.
        with contextlib.suppress(OSError):  # one that is no file, such as a test's
            return functools.partial(_read, stream.fileno())
    return getattr(stream, "read1", stream.read)


def _read(descriptor: int, size: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, size)
        except BlockingIOError:  # whoever shares a terminal with us may have made it so
            select.select([descriptor], [], [])


class _Thread:
    """Reads blocks for one event loop. A daemon, for nothing ends a read that waits: it is left, never joined."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._loop = asyncio.get_running_loop()
        self._blocks: asyncio.Queue[bytes | Exception] = asyncio.Queue()
        self._room = threading.Semaphore(AHEAD)
        self._left = False
        threading.Thread(target=self._run, name="meshdiag-pipe", daemon=True).start()

    async def take(self) -> bytes | Exception:
        """The next block, b"" at the end, or what reading it raised."""
        block = await self._blocks.get()
        self._room.release()
        return block

    def leave(self) -> None:
        """Nothing more is taken."""
        self._left = True
        self._room.release()

    def _run(self) -> None:
        block: bytes | Exception = b"-"
        while block and not isinstance(block, Exception):
            self._room.acquire()
            if self._left:
                return
            try:
                block = self._read(BLOCK)
            except Exception as error:  # every kind of stream has its own exceptions
                block = error
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._blocks.put_nowait, block)
