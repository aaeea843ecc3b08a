"""Words that several checks use in their sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from meshdiag.cluster.objects import Object, Ref
from meshdiag.cluster.verdict import Result
from meshdiag.remedies.names import normal


def names(some: Iterable[Object | Ref | str], most: int = 3) -> str:
    """`a, b, c and 4 more`, for a sentence."""
    every = [s if isinstance(s, str) else s.name for s in some]
    more = len(every) - most
    return ", ".join(every[:most]) + (f" and {more} more" if more > 0 else "")


def several(number: int, what: str, many: str = "") -> str:
    """`1 pod`, `2 pods`, `2 proxies` (`many`), for a sentence."""
    return f"{number:,} {what if number == 1 else many or f'{what}s'}"


def told_once(found: Mapping[tuple[Ref, str], list[Result]]) -> Iterator[Result]:
    """Results about pods by workload and kind of fault: the first of each, with how many others are like it."""
    for (ref, _), results in found.items():
        first, more = results[0], len(results) - 1
        yield replace(first, text=f"{first.text} (and {several(more, 'other pod')} of {ref})") if more else first


def logs_command(pod: Object, container: str = "", previous: bool = False) -> str:
    """The command that shows a container's log; "" when a name of it is none that Kubernetes would accept."""
    names_ = {"namespace": pod.namespace, "pod": pod.name, **({"container": container} if container else {})}
    if any(normal(k, v) != v for k, v in names_.items()):
        return ""
    where = f" -c {container}" if container else ""
    return f"kubectl -n {pod.namespace} logs {pod.name}{where}" + " --previous" * previous
