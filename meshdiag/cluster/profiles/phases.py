"""Adopting a mesh in four phases: installed and nothing injected; one test service; the core, stateless first; traffic management.

The order is that of the adoption guide behind this project: each phase can be undone without the next.
"""

from __future__ import annotations

from collections.abc import Iterator

from meshdiag.cluster.checks import named
from meshdiag.cluster.mesh import condition, control_planes, is_ready, is_system, names, proxy
from meshdiag.cluster.profiles._applications import begun, outside, workloads
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.survey import Profile
from meshdiag.cluster.verdict import About, Check, Proof, Result
from meshdiag.model import Severity

# --- 1: installed, nothing injected


def _installed(snapshot: Snapshot, about: About) -> Iterator[Result]:
    planes = control_planes(snapshot)
    if not planes:
        yield INSTALLED.bad(
            "there is no istiod", advice="istioctl install --set profile=default, or the Helm charts base and istiod"
        )
        return
    for p in planes:
        ready = sum(is_ready(pod) for pod in p.pods)
        what = f"istiod {p.version or 'of an unknown version'} in {p.namespace}: {ready} of {len(p.pods)} pods ready"
        yield (
            INSTALLED.good(what, about=p.deployment)
            if ready
            else INSTALLED.bad(what, "istiod-not-ready", about=p.deployment)
        )


INSTALLED = Check("istio-installed", "Is istiod installed and ready?", ("Deployment", "Pod"), _installed)


def _nothing_yet(snapshot: Snapshot, about: About) -> Iterator[Result]:
    marked = [
        n
        for n in snapshot.all("Namespace")
        if not is_system(snapshot, n.name)
        and (
            n.labels.get("istio-injection") == "enabled"
            or "istio.io/rev" in n.labels
            or n.labels.get("istio.io/dataplane-mode") == "ambient"
        )
    ]
    inside = begun(snapshot, workloads(snapshot))
    for n in marked:
        key = next(k for k in ("istio-injection", "istio.io/rev", "istio.io/dataplane-mode") if k in n.labels)
        yield NOTHING_YET.bad(
            f"namespace {n.name} is already in the mesh",
            about=n,
            proofs=(Proof(n.ref, f"metadata.labels[{key}]", n.labels[key]),),
            severity=Severity.WARNING,
            advice="phase 1 leaves applications alone, so that what breaks now is not the mesh",
        )
    if inside and not marked:
        yield NOTHING_YET.bad(f"workloads are already in the mesh: {names(inside)}", severity=Severity.WARNING)
    if not inside and not marked:
        yield NOTHING_YET.good("no application is in the mesh yet")


NOTHING_YET = Check("nothing-injected", "Is every application still outside?", ("Namespace", "Pod"), _nothing_yet)

# --- 2: one test service


def _one_test(snapshot: Snapshot, about: About) -> Iterator[Result]:
    some = workloads(snapshot)
    inside = begun(snapshot, some)
    if not inside:
        yield ONE_TEST.bad(
            "no workload is in the mesh yet",
            advice="label one namespace with a service that nobody would miss, and restart it: kubectl label namespace <namespace> "
            "istio-injection=enabled",
        )
        return
    for ref in inside[:5]:
        pods = some[ref]
        ready = sum(is_ready(p) for p in pods)
        text = f"{ref}: {ready} of {len(pods)} pods ready" + (", with sidecar" if proxy(pods[0]) else ", in ambient")
        if ready == len(pods):
            yield ONE_TEST.good(text)
            continue
        p = next(p for p in pods if not is_ready(p))
        reason = str(condition(p, "Ready").get("reason") or "")
        yield ONE_TEST.bad(
            text, "proxy-not-ready", about=p, proofs=(Proof(p.ref, "status.conditions[Ready].reason", reason),)
        )
    if len(inside) > 5:
        yield ONE_TEST.bad(
            f"{len(inside)} workloads are in the mesh: that is more than a test",
            severity=Severity.INFO,
            advice="meshdiag check --phase 3",
        )


ONE_TEST = Check(
    "test-service", "Does one test service run in the mesh, all its containers ready (2/2)?", ("Pod",), _one_test
)

# --- 3: the core, stateless before stateful


def _core(snapshot: Snapshot, about: About) -> Iterator[Result]:
    some = workloads(snapshot)
    left = outside(snapshot, some)
    if left:
        yield CORE.bad(
            f"{len(some) - len(left)} of {len(some)} workloads are in the mesh; outside: {names(left, 5)}",
            severity=Severity.INFO,
            advice="one namespace at a time: label, restart, watch its errors for a day, then the next",
        )
    else:
        yield CORE.good(f"all {len(some)} workloads are in the mesh")


CORE = Check("core-services", "Are the core services in the mesh?", ("Pod", "Namespace"), _core)


def _order(snapshot: Snapshot, about: About) -> Iterator[Result]:
    some = workloads(snapshot)
    left = outside(snapshot, some)
    early = [r for r in some if r.kind == "StatefulSet" and r not in left]
    late = [r for r in left if r.kind == "Deployment"]
    if early and late:
        yield ORDER.bad(
            f"stateful workloads are in the mesh ({names(early)}) while stateless ones are not ({names(late)})",
            severity=Severity.WARNING,
            advice="databases and queues come last: long connections, protocols where the server speaks first, and no easy restart",
        )
    else:
        yield ORDER.good("stateless workloads came first")


ORDER = Check("stateless-first", "Did stateless workloads come before stateful ones?", ("Pod", "Namespace"), _order)

# --- 4: traffic management


def _managed(snapshot: Snapshot, about: About) -> Iterator[Result]:
    kinds = ("VirtualService", "DestinationRule", "Gateway", "HTTPRoute")
    counts = {k: len(snapshot.all(k)) for k in kinds}
    said = ", ".join(f"{n} {k}{'s' * (n != 1)}" for k, n in counts.items() if n)
    if said:
        yield MANAGED.good(said)
    else:
        yield MANAGED.bad(
            "there is no VirtualService, DestinationRule, Gateway or HTTPRoute yet", severity=Severity.INFO
        )


MANAGED = Check("traffic-rules", "Is traffic managed by rules?", ("VirtualService", "DestinationRule"), _managed)

PROFILES = (
    Profile(
        "phase-1",
        "Phase 1: installed, and nothing injected",
        (INSTALLED, *named("istiod-health", "istiod-resources", "webhook-config", "cluster-resources"), NOTHING_YET),
        "Choose a test service that nobody would miss, label its namespace, restart it; then meshdiag check --phase 2.",
    ),
    Profile(
        "phase-2",
        "Phase 2: one test service",
        (INSTALLED, ONE_TEST, *named("injection", "pod-status", "probes", "network-policy")),
        "Watch it for a day (meshdiag tail); then the core, stateless services first: meshdiag check --phase 3.",
    ),
    Profile(
        "phase-3",
        "Phase 3: the core services, stateless before stateful",
        (
            CORE,
            ORDER,
            *named("injection", "pod-status", "proxy-resources", "service-ports", "peer-authentication", "probes"),
        ),
        "When all is ready and quiet, begin with traffic rules: meshdiag check --phase 4.",
    ),
    Profile(
        "phase-4",
        "Phase 4: traffic management",
        (
            MANAGED,
            *named("virtual-service-routes", "destination-rule-subsets", "destination-rule-tls", "gateway-listeners"),
            *named("gateway-secret", "outlier-and-pools", "service-entries", "endpoints"),
        ),
        "Then harden it: meshdiag check --profile production.",
    ),
)
