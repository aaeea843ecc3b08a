"""What plots of graphs share: links without circles, and the column of each node."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

LAID_OUT: Final = 0.75
"""Of the width of axes is certainly left when a layout has made room for what stands around them."""


def acyclic(n: int, links: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The links without those that close a circle: causes may explain each other on different subjects."""
    after: dict[int, list[int]] = {}
    for a, b in sorted(links):
        after.setdefault(a, []).append(b)
    out: list[tuple[int, int]] = []
    state = [0] * n  # 1: on the way from where the search is, 2: done
    for start in range(n):
        todo = [(start, iter(after.get(start, ())))] if not state[start] else []
        state[start] = state[start] or 1
        while todo:
            at, rest = todo[-1]
            for other in rest:
                if state[other] != 1:
                    out.append((at, other))
                if not state[other]:
                    state[other] = 1
                    todo.append((other, iter(after.get(other, ()))))
                    break
            else:
                state[at] = 2
                todo.pop()
    return sorted(out)


def depths(n: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """The longest way to each node."""
    after: dict[int, list[int]] = {}
    waiting = [0] * n
    for a, b in links:
        after.setdefault(a, []).append(b)
        waiting[b] += 1
    depth = [0] * n
    todo = [i for i in range(n) if not waiting[i]]
    for at in todo:
        for other in after.get(at, ()):
            depth[other] = max(depth[other], depth[at] + 1)
            waiting[other] -= 1
            if not waiting[other]:
                todo.append(other)
    return depth
