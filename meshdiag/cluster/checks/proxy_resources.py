"""Have the proxies enough memory and CPU, and what do all the sidecars take together?

The chart gives a sidecar requests of 100m and 128Mi and limits of 2 CPUs and 1024Mi (manifests/charts/istio-control/istio-discovery,
values.yaml, global.proxy.resources, 1.20 to 1.31); annotations sidecar.istio.io/proxyMemoryLimit and the like replace them all. 50 to
100 MB each is the rule of thumb of the adoption guide behind this project.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Final

from meshdiag.cluster.mesh import (
    PROXY,
    Container,
    containers_of,
    is_gateway,
    out_of_memory,
    own_proxies,
    proxy,
    several,
    told_once,
    workload_of,
)
from meshdiag.cluster.objects import Object, Ref, at, moment
from meshdiag.cluster.quantities import cores, memory, quantity
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result
from meshdiag.model import Severity

LEAST_MEMORY: Final = Decimal(128 * 1024**2)
LEAST_CPU: Final = Decimal("0.1")
EACH: Final = (50, 100)
"""MB"""
DAY: Final = timedelta(days=1)


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the proxies that are asked about, or of all."""
    pods = own_proxies(snapshot, about)
    if not pods:
        yield CHECK.unknown("no proxy of it is here" if about else "no pod has a proxy")
        return
    found: dict[tuple[Ref, str], list[Result]] = {}
    for pod in pods:
        for kind, result in (*_killed(snapshot, pod), *_limits(pod)):
            found.setdefault((workload_of(snapshot, pod), kind), []).append(result)
    yield from told_once(found)
    if not found:
        yield CHECK.good(_sum(pods), about=pods[0] if len(pods) == 1 else None)


def _amount(pod: Object, part: str, what: str) -> Decimal | None:
    return quantity(at(proxy(pod), "resources", part, what))


def _sum(pods: Sequence[Object]) -> str:
    sizes = [_amount(p, "requests", "memory") for p in pods]
    limits = [_amount(p, "limits", "memory") for p in pods]
    if len(pods) == 1:
        return (
            f"{PROXY} of {pods[0].name} requests {memory(sizes[0]) if sizes[0] else 'no memory'}, "
            + (f"memory limit {memory(limits[0])}" if limits[0] else "without memory limit")
        )  # fmt: skip
    sidecars = sum(not is_gateway(p) for p in pods)
    low, high = (sidecars * e for e in EACH)
    gateways = f" and {several(len(pods) - sidecars, 'gateway')}" if len(pods) > sidecars else ""
    total = sum((s for s in sizes if s), Decimal())
    return (
        f"{several(sidecars, 'sidecar')}{gateways} request {memory(total) if total else 'no memory'}; "
        f"at 50 to 100 MB each sidecars take {low:,} to {high:,} MB"
    )


def _killed(snapshot: Snapshot, pod: Object) -> Iterator[tuple[str, Result]]:
    for c in containers_of(pod):
        if c.name != PROXY or not (field := out_of_memory(c)) or not _is_recent(snapshot, c):
            continue
        limit = _amount(pod, "limits", "memory")
        yield (
            "killed",
            CHECK.bad(
                f"{PROXY} of {pod.name} was killed for want of memory, {several(c.restarts, 'restart')}"
                + (f"; its limit is {memory(limit)}" if limit else "; it has no limit, so its node ran out"),
                "proxy-out-of-memory",
                about=pod,
                proofs=(Proof(pod.ref, field, "OOMKilled"), *_proof(pod, "limits", "memory")),
                advice="Send it less (a Sidecar object with the hosts that it calls), or raise sidecar.istio.io/proxyMemoryLimit",
            ),
        )


def _is_recent(snapshot: Snapshot, c: Container) -> bool:
    when = moment(str(c.ended[1].get("finishedAt") or ""))
    return c.waiting != "" or when is None or snapshot.taken is None or snapshot.taken - when <= DAY


def _proof(pod: Object, part: str, what: str) -> tuple[Proof, ...]:
    value = at(proxy(pod), "resources", part, what)
    return (Proof(pod.ref, f"{PROXY}: resources.{part}.{what}", str(value)),) if value is not None else ()


def _limits(pod: Object) -> Iterator[tuple[str, Result]]:
    limit, cpu = _amount(pod, "limits", "memory"), _amount(pod, "limits", "cpu")
    if limit is not None and limit < LEAST_MEMORY:
        yield (
            "memory",
            CHECK.bad(
                f"the memory limit of {PROXY} in {pod.name} is {memory(limit)}, less than the 128Mi that it requests by default",
                about=pod,
                severity=Severity.WARNING,
                proofs=_proof(pod, "limits", "memory"),
                advice="Raise sidecar.istio.io/proxyMemoryLimit; the default is 1024Mi",
            ),
        )
    if cpu is not None and cpu < LEAST_CPU:
        yield (
            "cpu",
            CHECK.bad(
                f"the CPU limit of {PROXY} in {pod.name} is {cores(cpu)}: it starts slowly and adds latency",
                about=pod,
                severity=Severity.WARNING,
                proofs=_proof(pod, "limits", "cpu"),
                advice="Raise sidecar.istio.io/proxyCPULimit; the default is 2000m",
            ),
        )


CHECK = Check("proxy-resources", "Have the proxies enough memory and CPU?", ("Pod",), run)
