"""Which tokens does a workload accept, and can their keys be fetched?

istiod fetches the keys of `jwksUri`, or finds it through the issuer's OpenID discovery when neither it nor `jwks` is set; the proxies
fetch themselves only with PILOT_JWT_ENABLE_REMOTE_JWKS (https://istio.io/latest/docs/reference/config/security/jwt/). A token is
looked at only where a RequestAuthentication selects the workload, so that elsewhere no policy finds a request principal
(https://istio.io/latest/docs/concepts/security/#request-authentication).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from meshdiag.cluster.mesh import (
    control_planes,
    in_mesh,
    maybe_elsewhere,
    mesh_config,
    mtls_of,
    names,
    pods_behind,
    pods_with,
    policies_on,
    proxy,
    registered,
    root_namespace,
    servers_of,
    service_at,
    system_namespace,
    target_port,
    workload_of,
    workloads,
)
from meshdiag.cluster.objects import Object, at, mapping, mappings
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result
from meshdiag.model import Severity

TOKENS: Final = (
    "jwt-expired", "jwt-issuer-not-configured", "jwt-audience-not-allowed", "jwt-signature-invalid", "jwt-malformed",
)  # fmt: skip
FETCH: Final = ("jwks-fetch-failed", "jwt-signature-invalid")
DENIED: Final = "rbac-denied"


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the workload that was called, of istiod's when it fetches, else of all."""
    servers = [p for p in servers_of(snapshot, about) if in_mesh(snapshot, p)]
    istiod = any(p.labels.get("app") == "istiod" for p in servers_of(snapshot, about))
    if not about or istiod or about.name:
        yield from _everywhere(snapshot, about)
        return
    if not servers:
        return
    server = servers[0]
    owner = workload_of(snapshot, server).name
    spaces = {server.namespace, root_namespace(snapshot)}
    if snapshot.namespaces is not None and (missing := spaces - snapshot.namespaces):
        yield CHECK.unknown(
            f"namespace {names(sorted(missing))} was not read, and a RequestAuthentication there may hold"
        )
        return
    policies = policies_on(snapshot, "RequestAuthentication", server)
    targeted = any(
        p.at("spec", "targetRefs") or p.at("spec", "targetRef")
        for s in spaces
        for p in snapshot.all("RequestAuthentication", s)
    )
    found = [r for p in policies for r in _rules(snapshot, p)] + list(_twice(policies))
    if not policies and not targeted:
        found += _demanded(snapshot, server)
        yield from found
        if not found:
            yield CHECK.good(
                f"no RequestAuthentication selects {owner}: it looks at no token", *TOKENS, "jwks-fetch-failed"
            )
        return
    yield from found
    if not found and policies:
        issuers = {p.ref: names([str(r.get("issuer")) for r in p.mappings("spec", "jwtRules")]) for p in policies}
        yield CHECK.good(
            f"{owner} accepts tokens of {names(issuers.values())}",
            about=policies[0],
            proofs=tuple(Proof(ref, "spec.jwtRules.issuer", said) for ref, said in list(issuers.items())[:3]),
        )


def _demanded(snapshot: Snapshot, server: Object) -> Iterator[Result]:
    """A policy that wants a request principal where no token is looked at."""
    for policy in policies_on(snapshot, "AuthorizationPolicy", server):
        field = "notRequestPrincipals" if policy.text("spec", "action") == "DENY" else "requestPrincipals"
        for i, rule in enumerate(policy.mappings("spec", "rules")):
            sources = [mapping(f.get("source")) for f in mappings(rule.get("from"))]
            if any(s.get(field) for s in sources):
                yield CHECK.bad(
                    f"{policy.ref} asks for a token, and no RequestAuthentication selects {workload_of(snapshot, server).name}: "
                    "no request ever has one",
                    DENIED,
                    "jwt-missing",
                    about=policy,
                    proofs=(
                        Proof(
                            policy.ref,
                            f"spec.rules[{i}].from.source.{field}",
                            str([s.get(field) for s in sources])[:120],
                        ),
                    ),
                    advice="Write a RequestAuthentication that selects the workload and names the issuer",
                )
                return


def _twice(policies: tuple[Object, ...]) -> Iterator[Result]:
    """One issuer in two rules with different keys."""
    seen: dict[str, tuple[Object, Any]] = {}
    for p in policies:
        for r in p.mappings("spec", "jwtRules"):
            issuer, keys = str(r.get("issuer")), (r.get("jwksUri"), r.get("jwks"))
            if issuer in seen and seen[issuer][1] != keys:
                yield CHECK.bad(
                    f"issuer {issuer} has different keys in {names([seen[issuer][0], p])}; a token must fit the rule that is tried",
                    "jwt-signature-invalid",
                    about=p,
                    severity=Severity.WARNING,
                    proofs=tuple(Proof(o.ref, "spec.jwtRules.issuer", issuer) for o in (p, seen[issuer][0])),
                )
            seen.setdefault(issuer, (p, keys))


def _everywhere(snapshot: Snapshot, about: About) -> Iterator[Result]:
    every = snapshot.all("RequestAuthentication")
    found: list[Result] = []
    for p in every:
        selector = p.strings("spec", "selector", "matchLabels")
        space = None if p.namespace == root_namespace(snapshot) else p.namespace
        if selector and not snapshot.lacks("Pod") and not pods_with(snapshot, selector, space):
            found.append(
                CHECK.bad(
                    f"{p.name} selects no pod, so that no token is looked at for it",
                    about=p,
                    severity=Severity.WARNING,
                    proofs=(Proof(p.ref, "spec.selector.matchLabels", str(dict(selector))),),
                )
            )
        found += _rules(snapshot, p)
    if not about and snapshot.all("AuthorizationPolicy"):
        for pods in workloads(snapshot).values():
            if proxy(pods[0]) is not None and not policies_on(snapshot, "RequestAuthentication", pods[0]):
                found += _demanded(snapshot, pods[0])
    yield from {(r.text, r.about): r for r in found}.values()
    if not found:
        yield CHECK.good(f"the keys of {len(every)} RequestAuthentications are named so that they can be fetched")


def _rules(snapshot: Snapshot, policy: Object) -> Iterator[Result]:
    for i, rule in enumerate(policy.mappings("spec", "jwtRules")):
        where = f"spec.jwtRules[{i}]"
        if rule.get("jwks"):
            continue
        uri = rule.get("jwksUri") or rule.get("jwks_uri")
        issuer = str(rule.get("issuer") or "")
        if not uri and _split(issuer).scheme not in ("http", "https"):
            yield CHECK.bad(
                f"{policy.name} names no keys for issuer {issuer or '(none)'}, which is no URL where they could be found",
                *FETCH,
                about=policy,
                proofs=(Proof(policy.ref, f"{where}.issuer", issuer),),
                advice="Set jwksUri",
            )
        elif uri:
            yield from _uri(snapshot, policy, f"{where}.jwksUri", str(uri))


def _split(text: str) -> Any:
    """The parts of a URL; of what is none, empty ones."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return urlsplit("")
    return parts


def _uri(snapshot: Snapshot, policy: Object, field: str, uri: str) -> Iterator[Result]:
    parts = _split(uri)
    proof = Proof(policy.ref, field, f"{parts.scheme}://{parts.hostname or ''}{parts.path}"[:200])
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        yield CHECK.bad(f"jwksUri of {policy.name} is no http or https URL", *FETCH, about=policy, proofs=(proof,))
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    local = host.endswith((".svc", ".svc.cluster.local")) or host.count(".") == 1
    service = service_at(snapshot, host, policy.namespace) if not snapshot.lacks("Service") else None
    if service is not None:
        yield from _inside(snapshot, policy, service, port, parts.scheme, proof)
        return
    if local and ".svc" in host and not registered(snapshot, host) and not maybe_elsewhere(snapshot, _full(host)):
        yield CHECK.bad(
            f"jwksUri of {policy.name} leads to {host}, which is no service of this cluster",
            *FETCH,
            about=policy,
            proofs=(proof,),
        )
        return
    if "." not in host and not maybe_elsewhere(snapshot, host, system_namespace(snapshot)):
        yield CHECK.bad(
            f"jwksUri of {policy.name} leads to {host}: istiod looks up a short name in its own namespace, where there is no such service",
            *FETCH,
            about=policy,
            proofs=(proof,),
        )
        return
    if parts.scheme == "http" and not local:
        yield CHECK.bad(
            f"the keys of {policy.name} are fetched from {host} without TLS: who is on the way can replace them",
            about=policy,
            severity=Severity.WARNING,
            proofs=(proof,),
        )
    mode = at(mesh_config(snapshot)[1], "outboundTrafficPolicy", "mode")
    fetching = _proxies_fetch(snapshot)
    if mode == "REGISTRY_ONLY" and fetching and not snapshot.lacks("ServiceEntry") and not registered(snapshot, host):
        yield CHECK.bad(
            f"the proxies fetch the keys of {policy.name} from {host}, which is in no ServiceEntry, "
            "and outboundTrafficPolicy is REGISTRY_ONLY",
            *FETCH,
            about=policy,
            proofs=(proof, fetching),
            advice="Write a ServiceEntry for the host",
        )


def _full(host: str) -> str:
    return host if host.endswith(".cluster.local") else f"{host}.cluster.local"


def _inside(
    snapshot: Snapshot, policy: Object, service: Object, port: int, scheme: str, proof: Proof
) -> Iterator[Result]:
    """Keys of an issuer in the cluster: istiod calls it without a sidecar."""
    ports = [p.get("port") for p in service.mappings("spec", "ports")]
    if ports and port not in ports:
        yield CHECK.bad(
            f"jwksUri of {policy.name} names port {port}, and service {service.name} has {names([str(p) for p in ports])}",
            *FETCH,
            about=policy,
            proofs=(proof, Proof(service.ref, "spec.ports", names([str(p) for p in ports]))),
        )
        return
    planes = [p for c in control_planes(snapshot) for p in c.pods]
    if snapshot.lacks("PeerAuthentication", "Pod") or any(in_mesh(snapshot, p) for p in planes):
        return
    for pod in pods_behind(snapshot, service):
        mode = mtls_of(snapshot, pod, target_port(service, pod, port))
        if mode.mode == "STRICT" and mode.policy and in_mesh(snapshot, pod):
            yield CHECK.bad(
                f"istiod, which has no sidecar, fetches the keys of {policy.name} from {service.name}, whose mTLS is STRICT",
                *FETCH,
                about=policy,
                proofs=(proof, Proof(mode.policy.ref, mode.field, mode.mode)),
                advice=f"Set PERMISSIVE for port {port} of {service.name}, or give the keys inline (jwks)",
            )
            return


def _proxies_fetch(snapshot: Snapshot) -> Proof | None:
    """Whether the proxies fetch the keys, not istiod."""
    for deployment in (p.deployment for p in control_planes(snapshot) if p.deployment):
        for c in deployment.mappings("spec", "template", "spec", "containers"):
            for env in mappings(c.get("env")):
                value = str(env.get("value")).lower()
                if env.get("name") == "PILOT_JWT_ENABLE_REMOTE_JWKS" and value in ("true", "hybrid", "envoy"):
                    return Proof(deployment.ref, "env PILOT_JWT_ENABLE_REMOTE_JWKS", value)
    return None


CHECK = Check(
    "request-authentication",
    "Can the keys of tokens be fetched, and are tokens looked at?",
    ("RequestAuthentication", "Pod"),
    run,
)
