"""A progress bar for long input on a terminal."""

from __future__ import annotations

import importlib
import sys
from types import TracebackType
from typing import Any, TextIO

WORTH_A_BAR = 64 << 20


class Progress:
    """Counts bytes read and shows a bar on `file` (stderr) when that is a terminal and the input is long.

    The total is what `total_size` says, or what `expect` adds up while the inputs are listed. The bar appears when more
    than `worth` bytes are expected or have been read. tqdm is loaded only then.
    """

    def __init__(
        self,
        total: int | None = None,
        *,
        enabled: bool = True,
        file: TextIO | None = None,
        worth: int = WORTH_A_BAR,
    ) -> None:
        self._total = total
        self._file = sys.stderr if file is None else file
        self._worth = worth
        self._bar: Any = None
        self._off = not enabled or not _terminal(self._file)
        self._unknown = False
        self.read = 0

    def expect(self, size: int | None) -> None:
        """One more stream of `size` bytes is coming; with one of unknown size (None) there is no percentage."""
        self._unknown = self._unknown or size is None
        self._total = None if self._unknown else (self._total or 0) + (size or 0)
        if self._bar is not None:
            self._bar.total = self._total

    def advance(self, count: int) -> None:
        """`count` more bytes have been read."""
        self.read += count
        if self._off:
            return
        if self._bar is None:
            if max(self._total or 0, self.read) <= self._worth:
                return
            tqdm = importlib.import_module("tqdm").tqdm
            self._bar = tqdm(
                total=self._total,
                file=self._file,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                leave=False,
                dynamic_ncols=True,
                mininterval=0.2,
            )
            count = self.read
        self._bar.update(count)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._off = True

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _terminal(file: TextIO | None) -> bool:
    try:
        return file is not None and file.isatty()
    except (AttributeError, ValueError, OSError):  # a closed or half-made stream is no terminal
        return False
