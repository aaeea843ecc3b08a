"""What a source yields."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import BinaryIO

from meshdiag.model import Origin

LOG = "log"
"""The role of a stream of log lines, events or analysis messages."""

STATE = "state"
"""The role of a stream of cluster state: what a layout says is no log (a config dump, `pods.json`)."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Bytes of one file, archive member or container, and where they come from.

    `open` gives a readable binary object (close it), `size` is the number of bytes it will give when known, and
    `splittable` says that `origin.path` is a plain file of which byte ranges can be read separately.
    `start` is the offset in the (decompressed) file of the first byte that `open` gives: add it to offsets.
    `final` says that the file ends where this stream does (a range of a file need not). `role` is `log` or `state`.

    `open` never raises for what is wrong with the input: the object ends early and the Problem goes to the `problems`
    of `open_inputs`. A stream that travelled to another process has lost that callback: there the
    Problems are in the attribute `problems` of the opened object (a list that empties when it is read).
    """

    origin: Origin
    open: Callable[[], BinaryIO]
    size: int | None = None
    splittable: bool = False
    start: int = 0
    role: str = LOG
    final: bool = True


def total_size(streams: Iterable[Stream]) -> int | None:
    """The sum of the sizes, or None when one of them is not known (compressed input, stdin)."""
    total = 0
    for stream in streams:
        if stream.size is None:
            return None
        total += stream.size
    return total
