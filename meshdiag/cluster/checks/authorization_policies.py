"""Which AuthorizationPolicies hold for a workload, and can any of them let this caller in?

CUSTOM is asked first, then DENY, then ALLOW; with an ALLOW policy in force what none of its rules matches is denied, and one without
rules matches nothing (https://istio.io/latest/docs/concepts/security/#implicit-enablement). `principals` and `namespaces` come from
the client's certificate: a plaintext caller has none, so that they match nothing and their `not…` forms everything. Rules with HTTP
fields on a TCP port: an ALLOW rule never matches, a DENY rule matches without them
(https://istio.io/latest/docs/reference/config/security/authorization-policy/); in ztunnel an ALLOW rule with them never matches either
(https://istio.io/latest/docs/ambient/usage/l4-policy/). `cluster.local` stands for the mesh's own trust domain
(https://istio.io/latest/docs/tasks/security/authorization/authz-td-migration/).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshdiag.cluster.checks.service_ports import protocol
from meshdiag.cluster.mesh import (
    DOMAIN,
    account_of,
    callers_of,
    has_remotes,
    in_ambient,
    in_mesh,
    names,
    pods_behind,
    policies_on,
    port_called,
    root_namespace,
    servers_of,
    services_of,
    target_port,
    trust_domains,
    unread,
    workload_of,
)
from meshdiag.cluster.objects import Object, mapping, mappings, texts
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.model import Risk, Severity

DENIED: Final = "rbac-denied"
IN_ZTUNNEL: Final = "ztunnel-policy-denied"
EXTERNAL: Final = "ext-authz-denied"
UNAUTHENTICATED: Final = "jwt-missing"

_HTTP_FIELDS: Final = ("hosts", "notHosts", "methods", "notMethods", "paths", "notPaths")
_TOKEN_FIELDS: Final = ("requestPrincipals", "notRequestPrincipals")
_OPEN_FIELDS: Final = ("ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks", *_HTTP_FIELDS, *_TOKEN_FIELDS)
"""What the objects do not tell of a request."""
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_NO_HTTP: Final = frozenset({"tcp", "tls", "https", "mongo", "mysql", "redis"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: namespace and service account, and whether it shows them in a certificate (None: not known)."""

    namespace: str
    account: str
    name: str
    known: bool | None

    def principals(self, domains: tuple[str, ...]) -> tuple[str, ...]:
        """Its identity, in each trust domain that policies may name."""
        own = f"ns/{self.namespace}/sa/{self.account}"
        return tuple(f"{d}/{own}" for d in dict.fromkeys((*domains, DOMAIN)))


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the policy that a line names and of the workload that was called; else of every policy."""
    if not about:
        yield from _everywhere(snapshot)
        return
    if about.policy:
        yield from _named(snapshot, about)
        return
    servers = [p for p in servers_of(snapshot, about) if in_mesh(snapshot, p)]
    if not servers:
        return
    server = servers[0]
    spaces = {server.namespace, root_namespace(snapshot)}
    if snapshot.namespaces is not None and (missing := spaces - snapshot.namespaces):
        yield CHECK.unknown(f"namespace {names(sorted(missing))} was not read, and a policy there may hold")
        return
    policies = policies_at(snapshot, server)
    if not policies:
        if any(
            p.at("spec", "targetRefs") or p.at("spec", "targetRef")
            for s in spaces
            for p in snapshot.all("AuthorizationPolicy", s)
        ):
            yield CHECK.unknown("only policies with targetRefs may hold, at a waypoint")
            return
        name = workload_of(snapshot, server).name
        yield CHECK.good(
            f"no AuthorizationPolicy selects {name}", *(() if may_be_filtered(snapshot, server) else (DENIED, EXTERNAL))
        )
        return
    yield from _custom(policies, server)
    yield from _tokens(policies)
    yield from _allowed(snapshot, about, server, policies)


def policies_at(snapshot: Snapshot, pod: Object) -> tuple[Object, ...]:
    """The policies in force at a pod's proxy: those that select it, of a Gateway API gateway also those that target it; no dry runs."""
    gateway = pod.labels.get("gateway.networking.k8s.io/gateway-name", "")
    targeted = [
        p
        for p in (snapshot.all("AuthorizationPolicy", pod.namespace) if gateway else ())
        if any(
            t.get("kind") == "Gateway" and t.get("name") == gateway
            for t in (*p.mappings("spec", "targetRefs"), p.mapping("spec", "targetRef"))
        )
    ]
    some = (*policies_on(snapshot, "AuthorizationPolicy", pod), *targeted)
    return tuple(p for p in some if p.annotations.get("istio.io/dry-run") not in _TRUE)


def may_be_filtered(snapshot: Snapshot, pod: Object) -> bool:
    """Whether an EnvoyFilter of its namespace or the root namespace may put an authorizer in by hand."""
    spaces = (pod.namespace, root_namespace(snapshot))
    return bool(unread(snapshot, "EnvoyFilter")) or any(snapshot.all("EnvoyFilter", s) for s in spaces)


def action(policy: Object) -> str:
    """ALLOW (also when it is not said), DENY, AUDIT or CUSTOM."""
    return policy.text("spec", "action") or "ALLOW"


def _named(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """The policy that the proxy says it was."""
    spaces = [about.policy_namespace] if about.policy_namespace else [about.namespace, root_namespace(snapshot)]
    policy = next((p for s in spaces if s and (p := snapshot.get("AuthorizationPolicy", s, about.policy))), None)
    if policy is None:
        yield CHECK.unknown(f"AuthorizationPolicy {about.policy} is not here any more")
        return
    rules = policy.mappings("spec", "rules")
    what = action(policy)
    if what == "CUSTOM":
        yield CHECK.bad(
            f"{policy.ref} asks {policy.text('spec', 'provider', 'name') or 'a provider'}, which decides",
            EXTERNAL,
            about=policy,
            proofs=(Proof(policy.ref, "spec.provider.name", policy.text("spec", "provider", "name")),),
        )
        return
    if what != "DENY":
        yield CHECK.unknown(f"{policy.ref} has the action {what} and denies nothing by a rule", policy)
        return
    every = any(not r for r in rules)
    yield CHECK.bad(
        f"{policy.ref} denies {'every request' if every else 'what its rules match'}",
        DENIED,
        IN_ZTUNNEL,
        about=policy,
        proofs=(
            Proof(policy.ref, "spec.action", "DENY"),
            Proof(policy.ref, "spec.rules", _json(policy.at("spec", "rules"))),
        ),
        advice="Narrow the rule if this request is meant to pass; a DENY is not overruled by any ALLOW",
    )


def _custom(policies: Iterable[Object], server: Object) -> Iterator[Result]:
    for p in policies:
        if action(p) == "CUSTOM" and p.at("spec", "rules"):
            provider = p.text("spec", "provider", "name")
            yield CHECK.bad(
                f"{p.ref} has requests to {server.name} decided by the provider {provider}",
                EXTERNAL,
                about=p,
                severity=Severity.INFO,
                proofs=(Proof(p.ref, "spec.provider.name", provider),),
                advice="The decision and its reason stand in the log of the authorizer",
            )
            return


def _tokens(policies: Iterable[Object]) -> Iterator[Result]:
    """A policy that demands a token."""
    for p in policies:
        wanted = "notRequestPrincipals" if action(p) == "DENY" else "requestPrincipals"
        for rule in p.mappings("spec", "rules"):
            sources = [mapping(f.get("source")) for f in mappings(rule.get("from"))]
            if sources and all(s.get(wanted) for s in sources):
                yield CHECK.bad(
                    f"{p.ref} lets requests pass only with a token",
                    UNAUTHENTICATED,
                    about=p,
                    severity=Severity.INFO,
                    proofs=(Proof(p.ref, f"spec.rules.from.source.{wanted}", _json(sources[0].get(wanted))),),
                )
                return


def _allowed(snapshot: Snapshot, about: About, server: Object, policies: tuple[Object, ...]) -> Iterator[Result]:
    """Whether the ALLOW policies can let the caller in, and whether a DENY policy surely keeps it out."""
    callers = callers_of(snapshot, about)
    caller = _caller(snapshot, callers[0]) if callers else _unknown_caller(about)
    port = port_called(snapshot, about, server)
    ambient = in_ambient(snapshot, server)
    denied = IN_ZTUNNEL if ambient else DENIED
    blind = "in ztunnel, which reads no HTTP" if ambient else "on a TCP port" * _is_tcp(snapshot, about, server, port)
    owner = workload_of(snapshot, server).name
    who = caller.name if caller else "the caller"
    domains = trust_domains(snapshot)
    for p in policies:
        if action(p) == "DENY":
            found = [_matches(r, caller, port, blind, domains, deny=True) for r in p.mappings("spec", "rules")]
            if any(f[0] is True for f in found):
                i = next(i for i, f in enumerate(found) if f[0] is True)
                yield CHECK.bad(
                    f"{p.ref} denies {who} at {owner}",
                    denied,
                    about=p,
                    proofs=(Proof(p.ref, f"spec.rules[{i}]", _json([p.at("spec", "rules", i)])),),
                )
                return
    allow = [p for p in policies if action(p) == "ALLOW"]
    if not allow:
        if any(action(p) == "DENY" for p in policies):
            yield CHECK.unknown(
                f"DENY policies select {owner}: {names(policies)}; whether one matches lies in the request"
            )
        else:
            yield CHECK.good(f"no ALLOW or DENY policy selects {owner}", DENIED)
        return
    rules = [(p, i, r) for p in allow for i, r in enumerate(p.mappings("spec", "rules"))]
    answers = [(p, i, *_matches(r, caller, port, blind, domains)) for p, i, r in rules]
    if any(a[2] is True for a in answers):
        p = next(a[0] for a in answers if a[2] is True)
        yield CHECK.good(f"{p.ref} lets {who} in at {owner}", about=p)
        return
    if any(a[2] is None for a in answers):
        p = next(a[0] for a in answers if a[2] is None)
        why = next(a[3] for a in answers if a[2] is None)
        yield CHECK.unknown(f"ALLOW policies select {owner}, and whether {p.name} lets {who} in depends on {why}", p)
        return
    reasons = list(dict.fromkeys(a[3] for a in answers))
    subject = f"the ALLOW {'policies' if len(allow) > 1 else 'policy'} {names(allow)} {'select' if len(allow) > 1 else 'selects'}"
    why = names(reasons, 2) if reasons else "it has no rules, which denies everything"
    yield CHECK.bad(
        f"{subject} {owner} and cannot let {who} in: {why}",
        denied,
        about=allow[0],
        proofs=tuple(Proof(p.ref, "spec.rules", _json(p.at("spec", "rules"))) for p in allow[:3]),
        advice="Allow this caller if it is meant to call"
        + ("" if not caller or caller.known else ", and give it a sidecar first"),
        edits=_let_in(allow, caller, port, domains),
    )


def _let_in(allow: list[Object], caller: Caller | None, port: int | None, domains: tuple[str, ...]) -> tuple[Edit, ...]:
    """A rule for exactly this caller, in the one ALLOW policy that has rules."""
    own = [p for p in allow if p.mappings("spec", "rules")]
    if caller is None or not caller.known or not caller.account or len(own) != 1:
        return ()
    rule: dict[str, Any] = {
        "from": [{"source": {"principals": [f"{domains[0]}/ns/{caller.namespace}/sa/{caller.account}"]}}]
    }
    if port is not None:
        rule["to"] = [{"operation": {"ports": [str(port)]}}]
    rules = [*(own[0].at("spec", "rules") or []), rule]
    return (
        Edit(
            own[0].ref,
            f"Allow {caller.name} in AuthorizationPolicy {own[0].name}",
            {"spec": {"rules": rules}},
            "It is the identity that its certificate shows. Do it only if this client is meant to call.",
            Risk.WEAKENS_SECURITY,
        ),
    )


def _caller(snapshot: Snapshot, pod: Object) -> Caller:
    w = workload_of(snapshot, pod)
    return Caller(pod.namespace, account_of(pod), f"{w.namespace}/{w.name}", in_mesh(snapshot, pod))


def _unknown_caller(about: About) -> Caller | None:
    namespace, _, name = about.source.rpartition("/")
    return Caller(namespace, "", about.source, None) if namespace and name else None


def _is_tcp(snapshot: Snapshot, about: About, server: Object, port: int | None) -> bool:
    """Whether the port is declared as one without HTTP by each service that leads to it."""
    if port is None:
        return False
    services = (
        services_of(snapshot, about)
        if about.host or about.service
        else [s for s in snapshot.all("Service", server.namespace) if server in pods_behind(snapshot, s)]
    )
    some = [
        protocol(p)
        for s in services
        for p in s.mappings("spec", "ports")
        if isinstance(n := p.get("port"), int) and target_port(s, server, n) == port
    ]
    return bool(some) and all(p in _NO_HTTP for p in some)


Answer3 = tuple[bool | None, str]


def _matches(
    rule: Mapping[str, Any],
    caller: Caller | None,
    port: int | None,
    blind: str,
    domains: tuple[str, ...],
    deny: bool = False,
) -> Answer3:
    """Whether a rule matches, None when it depends on what is not known, and on what, or why not."""
    froms = [mapping(f.get("source")) for f in mappings(rule.get("from"))]
    tos = [mapping(t.get("operation")) for t in mappings(rule.get("to"))]
    parts: list[Answer3] = []
    if rule.get("from"):
        parts.append(_any([_source(s, caller, blind, domains, deny) for s in froms]))
    if rule.get("to"):
        parts.append(_any([_operation(o, port, blind, deny) for o in tos]))
    parts += [_when(w, caller, domains) for w in mappings(rule.get("when"))]
    return _all(parts)


def _any(some: list[Answer3]) -> Answer3:
    for wanted in (True, None):
        if found := [s for s in some if s[0] is wanted]:
            return found[0]
    return False, names(list(dict.fromkeys(s[1] for s in some)), 2) or "an empty list"


def _all(some: list[Answer3]) -> Answer3:
    for wanted in (False, None):
        if found := [s for s in some if s[0] is wanted]:
            return found[0]
    return True, ""


def _like(pattern: str, value: str) -> bool:
    """Exact, `prefix*`, `*suffix` or `*` (any that is there)."""
    if pattern == "*":
        return bool(value)
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    return value.startswith(pattern[:-1]) if pattern.endswith("*") else pattern == value


def _source(
    source: Mapping[str, Any], caller: Caller | None, blind: str, domains: tuple[str, ...], deny: bool
) -> Answer3:
    parts: list[Answer3] = []
    for field, values in source.items():
        wanted = texts(values)
        if not wanted:
            continue
        if field in _TOKEN_FIELDS and blind:
            parts += _unread(field, blind, deny)
        elif field in ("principals", "namespaces", "serviceAccounts"):
            parts.append(_identity(field, wanted, caller, domains))
        elif field in ("notPrincipals", "notNamespaces", "notServiceAccounts"):
            holds, why = _identity(field, wanted, caller, domains)
            parts.append((None if holds is None else not holds, why or f"{field} {names(wanted)}"))
        else:
            parts.append((None, f"{field} {names(wanted)}"))
    return _all(parts)


def _unread(field: str, blind: str, deny: bool) -> list[Answer3]:
    """Of a field where no HTTP is read: an ALLOW rule with it never matches, a DENY rule of a sidecar matches without it."""
    if not deny:
        return [(False, f"{field} {blind}")]
    return [(None, field)] if "ztunnel" in blind else []


def _identity(field: str, wanted: tuple[str, ...], caller: Caller | None, domains: tuple[str, ...]) -> Answer3:
    said = f"{field} {names(wanted)}"
    if caller is None:
        return None, said
    if caller.known is False:
        return False, f"{said}, and {caller.name} shows no identity (it has no sidecar)"
    kind = field.removeprefix("not").lower()
    if kind == "namespaces":
        own: tuple[str, ...] = (caller.namespace,)
    elif not caller.account:
        return None, said
    elif kind == "principals":
        own = caller.principals(domains)
    else:
        own = (f"{caller.namespace}/{caller.account}", caller.account)
    if any(_like(w, o) for w in wanted for o in own):
        return (True if caller.known else None), said
    return False, f"{said}, and {caller.name} is {own[0]}"


def _operation(operation: Mapping[str, Any], port: int | None, blind: str, deny: bool) -> Answer3:
    parts: list[Answer3] = []
    for field, values in operation.items():
        wanted = texts(values)
        if not wanted:
            continue
        if field in ("ports", "notPorts"):
            inside = None if port is None else str(port) in wanted
            holds = inside if field == "ports" or inside is None else not inside
            parts.append(
                (holds, f"{field} {names(wanted)}" + (f", and the port is {port}" if port is not None else ""))
            )
        elif field in _HTTP_FIELDS and blind:
            parts += _unread(field, blind, deny)
        else:
            parts.append((None, f"{field} {names(wanted)}"))
    return _all(parts)


def _when(when: Mapping[str, Any], caller: Caller | None, domains: tuple[str, ...]) -> Answer3:
    key, values = str(when.get("key")), texts(when.get("values"))
    field = {"source.namespace": "namespaces", "source.principal": "principals"}.get(key)
    if field and values and not when.get("notValues"):
        return _identity(field, values, caller, domains)
    return None, key


def _everywhere(snapshot: Snapshot) -> Iterator[Result]:
    """Names that lead nowhere, policies that deny all, and HTTP fields on TCP ports."""
    found: list[Result] = []
    every = snapshot.all("AuthorizationPolicy")
    # which ports of which pods carry no HTTP is found once
    services: dict[str, list[Object]] = {}
    for s in snapshot.all("Service"):
        services.setdefault(s.namespace, []).append(s)
    for policy in every:
        found += _names(snapshot, policy)
        if action(policy) == "ALLOW" and not policy.mappings("spec", "rules"):
            found.append(
                CHECK.bad(
                    f"{policy.name} has no rules: it lets nothing in but what another ALLOW policy lets in",
                    DENIED,
                    about=policy,
                    severity=Severity.INFO,
                    proofs=(Proof(policy.ref, "spec.rules", "none"),),
                )
            )
        if action(policy) in ("ALLOW", "DENY"):
            found += _http_on_tcp(snapshot, policy, services.get(policy.namespace, []))
    yield from found
    if not found:
        yield CHECK.good(f"{len(every)} AuthorizationPolicies name what there is")


def _http_on_tcp(snapshot: Snapshot, policy: Object, services: list[Object]) -> Iterator[Result]:
    """A rule with HTTP fields for workloads of which no port carries HTTP."""
    fields = [
        f for r in policy.mappings("spec", "rules") for t in mappings(r.get("to")) for f in mapping(t.get("operation"))
    ]
    used = [f for f in fields if f in _HTTP_FIELDS]
    selector = policy.strings("spec", "selector", "matchLabels")
    if not used or not selector:
        return
    mine = [
        s
        for s in services
        if (own := s.strings("spec", "selector")) and all(own.get(k, v) == v for k, v in selector.items())
    ]
    mine = [
        s for s in mine if any(all(p.labels.get(k) == v for k, v in selector.items()) for p in pods_behind(snapshot, s))
    ]
    ports = [p for s in mine for p in s.mappings("spec", "ports")]
    if ports and all(protocol(p) in _NO_HTTP for p in ports):
        effect = "never matches" if action(policy) == "ALLOW" else "denies every connection to it"
        yield CHECK.bad(
            f"{policy.name} asks for {used[0]}, and {names(mine)} carries no HTTP: the rule {effect}",
            DENIED,
            about=policy,
            severity=Severity.WARNING,
            proofs=(
                Proof(policy.ref, "spec.rules", _json(policy.at("spec", "rules"))),
                Proof(mine[0].ref, "spec.ports", names([str(p.get("name") or p.get("port")) for p in ports])),
            ),
            advice="Name ports instead, or declare the port as http if it is",
        )


def _names(snapshot: Snapshot, policy: Object) -> Iterator[Result]:
    """Principals and namespaces that no one can have."""
    whole = snapshot.namespaces is None and not has_remotes(snapshot) and not snapshot.lacks("Secret")
    domains = {*trust_domains(snapshot), DOMAIN}
    for i, rule in enumerate(policy.mappings("spec", "rules")):
        for source in (mapping(f.get("source")) for f in mappings(rule.get("from"))):
            for field in ("principals", "notPrincipals"):
                for said in texts(source.get(field)):
                    if why := _wrong_principal(snapshot, said, domains, whole):
                        yield _typo(policy, f"spec.rules[{i}].from.source.{field}", said, why)
            for field in ("namespaces", "notNamespaces"):
                for said in texts(source.get(field)):
                    if (
                        whole
                        and "*" not in said
                        and snapshot.all("Namespace")
                        and not snapshot.get("Namespace", "", said)
                    ):
                        yield _typo(
                            policy, f"spec.rules[{i}].from.source.{field}", said, f"there is no namespace {said}"
                        )


def _wrong_principal(snapshot: Snapshot, said: str, domains: set[str], whole: bool) -> str:
    if said.startswith("spiffe://"):
        return "a principal is written without spiffe://"
    if "*" in said:
        return ""
    parts = said.split("/")
    if len(parts) != 5 or parts[1] != "ns" or parts[3] != "sa":
        return "a principal is TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT"
    domain, _, namespace, _, account = parts
    if domain not in domains:
        return (
            f"the trust domain of the mesh is {names(sorted(domains - {DOMAIN}) or [DOMAIN])}"
            if not snapshot.lacks("ConfigMap")
            else ""
        )
    if not whole or snapshot.lacks("ServiceAccount") or not snapshot.all("ServiceAccount", namespace):
        return ""  # each namespace has one, `default`
    if snapshot.get("ServiceAccount", namespace, account):
        return ""
    return f"there is no service account {account} in namespace {namespace}"


def _typo(policy: Object, field: str, said: str, why: str) -> Result:
    return CHECK.bad(
        f"{policy.name} names {said}, which no caller can be: {why}",
        DENIED,
        about=policy,
        severity=Severity.WARNING,
        proofs=(Proof(policy.ref, field, said),),
    )


def _json(value: object) -> str:
    """As a proof, without the values of conditions: a header that is asked for may be a secret."""
    rules = [{**r, "when": [w.get("key") for w in mappings(r["when"])]} if "when" in r else r for r in mappings(value)]
    text = json.dumps(rules or value, sort_keys=True)
    return text if len(text) <= 200 else f"{text[:199]}…"


CHECK = Check(
    "authorization-policies", "Which AuthorizationPolicies deny requests?", ("AuthorizationPolicy", "Pod"), run
)
