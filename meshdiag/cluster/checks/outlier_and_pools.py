"""Which connection pool limits and which outlier detection are in force for a host, with the numbers?

The DestinationRule that holds for the client decides (`mesh.rules_for`): a subset's policy goes field by field before that of the
host, and settings of a port replace those of the host as a whole
(https://istio.io/latest/docs/reference/config/networking/destination-rule/#TrafficPolicy-PortTrafficPolicy). Without one Istio
leaves the limits at 2^32-1 and ejects nothing. maxEjectionPercent is 10 by default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from meshdiag.cluster.mesh import (
    client_namespace,
    full_host,
    is_ready,
    is_system,
    pods_behind,
    proxies_of,
    rules_for,
    service_at,
    unread,
)
from meshdiag.cluster.objects import Object, at, mapping
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.model import Severity

OPEN = "circuit-breaker-open"
EJECTED = "no-healthy-upstream"

LIMITS: Final = (
    ("tcp", "maxConnections"),
    ("http", "http1MaxPendingRequests"),
    ("http", "http2MaxRequests"),
    ("http", "maxRetries"),
)
"""Of `connectionPool` those that make a proxy refuse requests (flag UO)."""

TINY: Final = 2
"""A limit up to this is one of a demonstration, and fails any real load."""


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the host that was called: what is in force. Of all: only what cannot be meant so."""
    if not about:
        yield from _everything(snapshot)
        return
    asked = about.host or about.service
    if not asked:
        yield CHECK.unknown("which host was called is not known")
        return
    pods = proxies_of(snapshot, about)
    client = pods[0].namespace if pods else client_namespace(about)
    host = full_host(asked, about.service_namespace or client)
    service = service_at(snapshot, host)
    host = full_host(service.name, service.namespace) if service else host
    space = service.namespace if service else ""
    rules = rules_for(snapshot, host, space, client)
    found: list[Result] = []
    for rule in rules:
        for path, policy in _in_force(rule, about.subset, about.port):
            found += _limits(rule, path, policy, host)
            found += _ejects(snapshot, rule, path, policy, service)
    yield from found
    if not found:
        said = f"{rules[0].ref} sets" if rules else "no DestinationRule for it sets"
        sure = client and not _limited_elsewhere(snapshot)
        text = f"{said} no limit of connections or requests to {host}"
        yield CHECK.good(text, *((OPEN,) if sure else ()), about=rules[0] if rules else None)


def _limited_elsewhere(snapshot: Snapshot) -> bool:
    """Whether something else may set a limit: a Sidecar's connection pool, an EnvoyFilter, or what was not read."""
    if unread(snapshot, "Sidecar", "EnvoyFilter") or snapshot.namespaces is not None:
        return True
    pools = any("onnectionPool" in str(s.at("spec")) for s in snapshot.all("Sidecar"))
    return pools or any("circuit_breakers" in str(f.at("spec")) for f in snapshot.all("EnvoyFilter"))


def _in_force(rule: Object, subset: str, port: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The policies of a rule that hold for a subset and port, with their paths; of an unknown port those of all ports, too."""
    base = "spec.trafficPolicy"
    own: Mapping[str, Any] = {}
    where = base
    for i, s in enumerate(rule.mappings("spec", "subsets")):
        if subset and s.get("name") == subset:
            own, where = mapping(s.get("trafficPolicy")), f"spec.subsets[{i}].trafficPolicy"
    general = rule.mapping("spec", "trafficPolicy")
    for source, path in ((own, where), (general, base)):
        for i, p in enumerate(rule_ports(source)):
            number = at(p, "port", "number")
            if isinstance(number, int) and port in ("", str(number)):
                yield f"{path}.portLevelSettings[{i}]", p
                if port:
                    return
    yield from (
        (p, {k: v}) for k in ("connectionPool", "outlierDetection") for p, v in [_field(own, where, general, base, k)]
    )


def rule_ports(policy: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The settings of ports in a policy."""
    value = policy.get("portLevelSettings")
    return tuple(mapping(p) for p in value) if isinstance(value, list) else ()


def _field(own: Mapping[str, Any], where: str, general: Mapping[str, Any], base: str, key: str) -> tuple[str, Any]:
    return (where, own[key]) if own.get(key) else (base, general.get(key))


def _limits(rule: Object, path: str, policy: Mapping[str, Any], host: str) -> Iterator[Result]:
    pool = mapping(policy.get("connectionPool"))
    some = {f"{a}.{b}": n for a, b in LIMITS if isinstance(n := at(pool, a, b), int) and 0 < n < 1 << 31}
    if some:
        yield CHECK.bad(
            f"{rule.ref} limits each proxy towards {host}: "
            + ", ".join(f"{k.partition('.')[2]} {n:,}" for k, n in some.items()),
            OPEN,
            about=rule,
            severity=Severity.INFO,
            proofs=tuple(Proof(rule.ref, f"{path}.connectionPool.{k}", str(n)) for k, n in some.items()),
            advice="Find out first why so much is open at once: a slow upstream is more frequent than a limit that is too low",
        )


def _ejects(
    snapshot: Snapshot, rule: Object, path: str, policy: Mapping[str, Any], service: Object | None
) -> Iterator[Result]:
    """Outlier detection that may take out every endpoint, of a service that has ready ones."""
    if not _may_eject_all(policy):
        return
    ready = sum(map(is_ready, pods_behind(snapshot, service))) if service and not unread(snapshot, "Pod") else 0
    numbers = mapping(policy.get("outlierDetection"))
    errors = numbers.get("consecutive5xxErrors", numbers.get("consecutiveErrors", 5))
    yield CHECK.bad(
        f"{rule.ref} ejects up to 100 % of the endpoints, each after {errors} errors in a row for "
        f"{numbers.get('baseEjectionTime', '30s')} at first"
        + (f"; {ready} pods are ready, so that none being healthy is an ejection" if ready else ""),
        *((EJECTED,) if ready else ()),
        about=rule,
        severity=Severity.WARNING,
        proofs=tuple(
            Proof(rule.ref, f"{path}.outlierDetection.{k}", str(v))
            for k, v in sorted(numbers.items())
            if isinstance(v, int | str)
        ),
        advice="The errors before the ejection are the fault; let maxEjectionPercent keep some endpoints in use",
        edits=_default(rule, path),
    )


def _may_eject_all(policy: Mapping[str, Any]) -> bool:
    detection = mapping(policy.get("outlierDetection"))
    share, keep = detection.get("maxEjectionPercent"), detection.get("minHealthPercent")
    ejects = detection.get("consecutive5xxErrors", detection.get("consecutiveErrors")) != 0 or detection.get(
        "consecutiveGatewayErrors"
    )
    return isinstance(share, int) and share >= 100 and bool(ejects) and not (isinstance(keep, int) and keep > 0)


def _default(rule: Object, path: str) -> tuple[Edit, ...]:
    """The share taken out, so that Istio's default holds, where a merge patch reaches it without rewriting a list."""
    if path != "spec.trafficPolicy":
        return ()
    patch = {"spec": {"trafficPolicy": {"outlierDetection": {"maxEjectionPercent": None}}}}
    return (Edit(rule.ref, f"Let {rule.name} eject 10 % of the endpoints at most", patch, "10 is Istio's default"),)


def _everything(snapshot: Snapshot) -> Iterator[Result]:
    found: list[Result] = []
    rules = [r for r in snapshot.all("DestinationRule") if not is_system(snapshot, r.namespace)]
    for rule in rules:
        host = full_host(rule.text("spec", "host"), rule.namespace)
        service = service_at(snapshot, host)
        policies = [("spec.trafficPolicy", rule.mapping("spec", "trafficPolicy"))]
        policies += [
            (f"spec.subsets[{i}].trafficPolicy", mapping(s.get("trafficPolicy")))
            for i, s in enumerate(rule.mappings("spec", "subsets"))
        ]
        policies += [
            (f"{p}.portLevelSettings[{i}]", s)
            for p, policy in tuple(policies)
            for i, s in enumerate(rule_ports(policy))
        ]
        for path, policy in policies:
            found += _ejects(snapshot, rule, path, policy, service)
            found += filter(_is_tiny, _limits(rule, path, policy, host))
    yield from found
    if not found:
        yield CHECK.good(
            f"{len(rules)} DestinationRules: none ejects all endpoints, none has a limit of {TINY} or less"
        )


def _is_tiny(limits: Result) -> bool:
    """Whether one of the limits is too low for any load; few retries at once may be wanted."""
    return any(int(p.value) <= TINY for p in limits.proofs if not p.field.endswith("maxRetries"))


CHECK = Check("outlier-and-pools", "Which limits and ejections are in force?", ("DestinationRule", "Service"), run)
