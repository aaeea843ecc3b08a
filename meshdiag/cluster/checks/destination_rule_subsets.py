"""Are the subsets that routes name defined, and do their labels select pods?

A subset is looked for in the DestinationRule that holds for the client (see `mesh.rules_for`): without it the cluster is missing
(503, flag NC); with labels that fit no pod the cluster is there and empty (503, flag UH). Rules:
https://istio.io/latest/docs/reference/config/networking/destination-rule/ and the analyzers behind IST0101 and IST0173.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from meshdiag.cluster.mesh import (
    Destination,
    all_rules,
    client_namespace,
    concerning,
    destinations,
    full_host,
    has_remotes,
    is_of_object,
    is_ready,
    is_system,
    maybe_elsewhere,
    names,
    pods_behind,
    pods_with,
    proxies_of,
    registered,
    root_namespace,
    rules_for,
    selects,
    service_at,
    virtual_services_at,
)
from meshdiag.cluster.objects import Object, mapping
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.model import Severity

MISSING = "cluster-not-found"
EMPTY = ("no-healthy-upstream", "retry-limit-exceeded")
UNUSED = "config-reference-missing"


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the host and subset that were called; of a proxy's routes when only the proxy is known; else of all rules and routes."""
    if is_of_object(about):
        yield from concerning(run(snapshot, About()), about)
        return
    asked = about.host or about.service
    if asked:
        host = full_host(asked, about.service_namespace or about.namespace)
        service = service_at(snapshot, host, about.service_namespace)
        yield from _asked(snapshot, _host(service, host), about)
        return
    if about:
        routes = virtual_services_at(snapshot, about)
        found = list(_routes(snapshot, routes, _client(snapshot, about)))
        yield from found
        if routes and not found and not snapshot.lacks("VirtualService"):
            yield CHECK.good(f"all subsets that {names(routes)} name are defined")
        return
    found = [
        r
        for rule in snapshot.all("DestinationRule")
        if not is_system(snapshot, rule.namespace)
        for r in _rule(snapshot, rule)
    ]
    found += _routes(snapshot, snapshot.all("VirtualService"), None)
    yield from found
    if not found:
        yield CHECK.good(f"{len(snapshot.all('DestinationRule'))} DestinationRules have a host, and their subsets pods")


def _host(service: Object | None, host: str) -> str:
    return full_host(service.name, service.namespace) if service else host


def _client(snapshot: Snapshot, about: About) -> str:
    pods = proxies_of(snapshot, about)
    return pods[0].namespace if pods else client_namespace(about)


def _asked(snapshot: Snapshot, host: str, about: About) -> Iterator[Result]:
    client = _client(snapshot, about)
    space = _space(snapshot, host)
    rules = rules_for(snapshot, host, space, client)
    if about.subset:
        yield from _named(snapshot, host, about.subset, rules, client)
        return
    routes = [v for v in virtual_services_at(snapshot, about) if any(d.host == host for d in destinations(v))]
    found = list(_routes(snapshot, routes, client, host))
    yield from found
    if not found and (rules or routes):
        yield CHECK.good(f"the subsets of {host} that routes name are defined", about=rules[0] if rules else None)


def _named(snapshot: Snapshot, host: str, name: str, rules: tuple[Object, ...], client: str) -> Iterator[Result]:
    """The subset of the cluster that a line names."""
    for rule in rules:
        for subset in rule.mappings("spec", "subsets"):
            if subset.get("name") == name:
                found = list(_subset(snapshot, rule, subset))
                yield from found
                if not found:
                    causes = (MISSING,) if client else ()
                    yield CHECK.good(f"subset {name} of {host} is defined by {rule.name}", *causes, about=rule)
                return
    yield _undefined(snapshot, host, name, rules, client, (), None)


def _space(snapshot: Snapshot, host: str) -> str:
    found = registered(snapshot, host)
    return found[0].namespace if found else host.split(".")[1] if ".svc." in host else ""


def _routes(snapshot: Snapshot, routes: Iterable[Object], client: str | None, host: str = "") -> Iterator[Result]:
    """Subsets that VirtualServices name and no rule defines; `client` None is any client: then a rule of any namespace will do."""
    if snapshot.lacks("VirtualService"):
        return
    seen = set()
    wild = any(h.startswith("*") for h in all_rules(snapshot)) and client is None
    for route in routes:
        for to in destinations(route):
            if not to.subset or (host and to.host != host) or (route.ref, to.host, to.subset) in seen:
                continue
            seen.add((route.ref, to.host, to.subset))
            if client is None:
                rules = all_rules(snapshot).get(to.host, ()) or rules_for(snapshot, to.host, "", "")
            else:
                rules = rules_for(snapshot, to.host, _space(snapshot, to.host), client)
            defined = [s.get("name") for rule in rules for s in rule.mappings("spec", "subsets")]
            if to.subset not in defined and not (wild and not rules):
                yield _undefined(snapshot, to.host, to.subset, rules, client, (_proof(route, to),), route)


def _proof(route: Object, to: Destination) -> Proof:
    return Proof(route.ref, f"{to.path}.subset", to.subset)


def _undefined(
    snapshot: Snapshot, host: str, name: str, rules: tuple[Object, ...], client: str | None,
    proofs: tuple[Proof, ...], route: Object | None,
) -> Result:  # fmt: skip
    """No rule that holds defines the subset: none at all, another namespace's, or one that comes first and lacks it."""
    if (
        snapshot.namespaces is not None
        and not {_space(snapshot, host), root_namespace(snapshot)} <= snapshot.namespaces
    ):
        return CHECK.unknown(f"no rule here defines subset {name} of {host}; not all namespaces were read", route)
    known = [s.get("name") for rule in rules for s in rule.mappings("spec", "subsets")]
    others = [
        r
        for r in all_rules(snapshot).get(host, ())
        if r not in rules and any(s.get("name") == name for s in r.mappings("spec", "subsets"))
    ]
    said = f"{route.ref} names subset {name} of {host}" if route else f"subset {name} of {host} was called"
    if others and rules:
        why = f"{others[0].ref} defines it, but {rules[0].ref} comes first for clients in {client or 'their namespace'}"
    elif others:
        why = f"{others[0].ref} defines it, and does not hold for clients in {client or 'other namespaces'}"
    elif rules:
        why = f"{names(rules)} defines {names(map(str, known)) or 'none'} only"
    else:
        why = "no DestinationRule of the host defines subsets"
    return CHECK.bad(
        f"{said}, and {why}",
        MISSING,
        about=route or (rules[0] if rules else None),
        proofs=(*proofs, *(Proof(r.ref, "spec.subsets[*].name", names(map(str, known)) or "none") for r in rules[:2])),
        advice="Define the subset in the DestinationRule of the host, or let the route name one that is defined",
        edits=() if others else _define(snapshot, host, name, rules),
    )


def _define(snapshot: Snapshot, host: str, name: str, rules: tuple[Object, ...]) -> tuple[Edit, ...]:
    """The subset added to the one rule of the host, when pods carry the label that its other subsets select by their own name."""
    service = service_at(snapshot, host)
    exact = [r for r in rules if full_host(r.text("spec", "host"), r.namespace) == host]
    if service is None or len(exact) != 1 or len(rules) != 1:
        return ()
    rule = exact[0]
    subsets = rule.mappings("spec", "subsets")
    keys = {k for s in subsets for k in mapping(s.get("labels"))}
    alike = all(mapping(s.get("labels")) == {k: s.get("name") for k in keys} for s in subsets)
    if len(keys) != 1 or not alike:
        return ()
    labels = {next(iter(keys)): name}
    if not any(selects(labels, p.labels) for p in pods_behind(snapshot, service)):
        return ()
    added = [*map(dict, subsets), {"name": name, "labels": labels}]
    why = f"pods of {service.name} have the label {json.dumps(labels)}, as the other subsets select theirs"
    return (Edit(rule.ref, f"Define subset {name} in {rule.name}", {"spec": {"subsets": added}}, why),)


def _rule(snapshot: Snapshot, rule: Object) -> Iterator[Result]:
    """A rule whose host does not exist, or a subset of it that has no pod."""
    host = full_host(rule.text("spec", "host"), rule.namespace)
    if not rule.text("spec", "host"):
        return
    if not registered(snapshot, host):
        if host.startswith("*"):
            return
        if why := maybe_elsewhere(snapshot, host):
            yield CHECK.unknown(f"whether {host} exists: {why}", rule)
            return
        short = rule.text("spec", "host")
        others = [s for s in snapshot.all("Service") if s.name == short.partition(".")[0]] if "." not in short else []
        hint = f"; a service {short} is in {names(o.namespace for o in others)}" if others else ""
        yield CHECK.bad(
            f"{rule.ref} is for {host}, which neither a Service nor a ServiceEntry has{hint}: it has no effect",
            UNUSED,
            about=rule,
            severity=Severity.WARNING,
            proofs=(Proof(rule.ref, "spec.host", short),),
            advice="Write the full host, SERVICE.NAMESPACE.svc.cluster.local; a short one is completed with the rule's namespace",
        )
        return
    for subset in rule.mappings("spec", "subsets"):
        yield from _subset(snapshot, rule, subset)


def _subset(snapshot: Snapshot, rule: Object, subset: Mapping[str, object]) -> Iterator[Result]:
    """A subset of a Service whose labels select none of its pods, or none that is ready."""
    host = full_host(rule.text("spec", "host"), rule.namespace)
    service = service_at(snapshot, host)
    labels = {k: v for k, v in mapping(subset.get("labels")).items() if isinstance(v, str)}
    selector = service.strings("spec", "selector") if service else {}
    if service is None or not selector or not labels or not pods_behind(snapshot, service):
        return  # a service without pods is the finding of `endpoints`
    entries = snapshot.all("WorkloadEntry", service.namespace)
    if any(selects({**selector, **labels}, {**e.labels, **e.strings("spec", "labels")}) for e in entries):
        return
    pods = pods_with(snapshot, {**selector, **labels}, service.namespace)
    if any(selector.get(k, v) != v for k, v in labels.items()):
        pods = ()
    name, index = subset.get("name"), list(rule.mappings("spec", "subsets")).index(subset)
    where = Proof(rule.ref, f"spec.subsets[{index}].labels", json.dumps(labels, sort_keys=True))
    if not pods and has_remotes(snapshot):
        yield CHECK.unknown(f"no pod here is of subset {name} of {host}; a remote cluster may have some", rule)
    elif not pods:
        has = sorted(
            {json.dumps({k: p.labels.get(k) for k in labels}, sort_keys=True) for p in pods_behind(snapshot, service)}
        )
        yield CHECK.bad(
            f"subset {name} of {host} selects {where.value}; the pods of service {service.name} have {names(has)}",
            *EMPTY,
            about=rule,
            proofs=(where, Proof(service.ref, "spec.selector", json.dumps(selector, sort_keys=True))),
            advice="Set labels that running pods carry, start the version that is missing, or route to another subset",
        )
    elif not any(map(is_ready, pods)):
        yield CHECK.bad(
            f"none of the {len(pods)} pods of subset {name} of {host} is ready",
            *EMPTY,
            about=rule,
            proofs=(where, Proof(pods[0].ref, "status.conditions", "Ready is not True")),
        )


CHECK = Check(
    "destination-rule-subsets",
    "Are the subsets that routes name defined, and do they have pods?",
    ("DestinationRule", "Service", "Pod"),
    run,
)
