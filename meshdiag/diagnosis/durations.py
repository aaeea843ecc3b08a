"""Durations, counted: bounded, whatever the number of requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EXACT: Final = 1024
"""Milliseconds up to which every duration is counted as it is; a longer one to three parts in a thousand."""


def rounded(ms: int) -> int:
    """The duration as it is counted: exact when it is short, else its ten leading bits."""
    low = max(0, ms.bit_length() - EXACT.bit_length() + 1)
    return ms >> low << low


def percentile(counts: Mapping[int, int], p: int) -> int:
    """The least value that at least `p` per cent of the values do not exceed (nearest rank). Raises ValueError without values."""
    left = -(-sum(counts.values()) * p // 100)
    for value, n in sorted(counts.items()):
        left -= n
        if left <= 0:
            return value
    raise ValueError("no value")
