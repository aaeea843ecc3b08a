"""Does the mesh configuration have the provider that a CUSTOM policy names, and is its service there?

A CUSTOM policy whose provider is not in `extensionProviders` denies every request (https://istio.io/latest/docs/tasks/security/authorization/authz-custom/,
buildRBAC in istio/istio, pilot/pkg/security/authz/builder/extauthz.go). When the authorizer does not answer, `failOpen` decides. A body
over `maxRequestBytes` is refused with 413 unless `allowPartialMessage` is set
(https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-ExtensionProvider).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from meshdiag.cluster.checks.authorization_policies import action, may_be_filtered, policies_at
from meshdiag.cluster.mesh import (
    full_host,
    is_ready,
    maybe_elsewhere,
    mesh_config,
    names,
    pods_behind,
    registered,
    servers_of,
    service_at,
)
from meshdiag.cluster.objects import Object, mapping, mappings
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result
from meshdiag.model import Severity

UNKNOWN: Final = ("rbac-denied", "config-reference-missing")
UNAVAILABLE: Final = "ext-authz-unavailable"
TOO_LARGE: Final = "request-too-large"


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the CUSTOM policies at the workload that is asked about, else of all."""
    servers = servers_of(snapshot, about)[:1] if about else ()
    if about:
        policies = [p for s in servers for p in policies_at(snapshot, s)]
        if about.policy:
            policies = [
                p for p in snapshot.all("AuthorizationPolicy", about.policy_namespace or None) if p.name == about.policy
            ]
        if not servers and not about.policy:
            return
    else:
        policies = list(snapshot.all("AuthorizationPolicy"))
    custom = [p for p in policies if action(p) == "CUSTOM"]
    if not custom:
        sure = about and servers and not _targeted(snapshot) and not may_be_filtered(snapshot, servers[0])
        where = " there" if about else ""
        yield CHECK.good(f"no CUSTOM policy asks an external authorizer{where}", *((UNAVAILABLE,) if sure else ()))
        return
    if not _sources(snapshot):
        yield CHECK.unknown("the mesh configuration (ConfigMap istio) is not here")
        return
    found: dict[tuple[str, str], Result] = {}
    for policy in custom:
        for r in _of(snapshot, policy):
            found.setdefault((r.text, str(r.about)), r)
    yield from found.values()
    if not any(r.severity is not Severity.INFO for r in found.values()):
        yield CHECK.good(f"the providers of {names(custom)} are there, and their services have ready pods")


def _targeted(snapshot: Snapshot) -> bool:
    return any(p.at("spec", "targetRefs") or p.at("spec", "targetRef") for p in snapshot.all("AuthorizationPolicy"))


@lru_cache(4)
def _sources(snapshot: Snapshot) -> tuple[tuple[Object, Mapping[str, Any]], ...]:
    """The mesh configuration of every revision."""
    default = mesh_config(snapshot)
    others = [
        mesh_config(snapshot, c.name.removeprefix("istio-"))
        for c in snapshot.all("ConfigMap")
        if c.name.startswith("istio-") and c.text("data", "mesh")
    ]
    return tuple((o, c) for o, c in (default, *others) if o is not None)


def _of(snapshot: Snapshot, policy: Object) -> Iterator[Result]:
    name = policy.text("spec", "provider", "name")
    providers = [
        (o, i, p) for o, config in _sources(snapshot) for i, p in enumerate(mappings(config.get("extensionProviders")))
    ]
    found = next(((o, i, p) for o, i, p in providers if p.get("name") == name), None)
    named = Proof(policy.ref, "spec.provider.name", name)
    if found is None:
        known = names([str(p.get("name")) for _, _, p in providers]) or "none"
        yield CHECK.bad(
            f"{policy.name} names the provider {name or '(none)'}, which the mesh configuration does not have: it denies every request",
            *UNKNOWN,
            about=policy,
            proofs=(named, Proof(_sources(snapshot)[0][0].ref, "data[mesh] extensionProviders", known)),
            advice="Add it to meshConfig.extensionProviders, or name one that is there",
        )
        return
    source, i, provider = found
    kind = next((k for k in ("envoyExtAuthzHttp", "envoyExtAuthzGrpc") if k in provider), "")
    where = f"data[mesh] extensionProviders[{i}]"
    if not kind:
        yield CHECK.bad(
            f"the provider {name} that {policy.name} names is no authorizer (envoyExtAuthzHttp or envoyExtAuthzGrpc)",
            *UNKNOWN,
            about=policy,
            proofs=(named, Proof(source.ref, where, names(sorted(str(k) for k in provider)))),
        )
        return
    settings = mapping(provider.get(kind))
    yield from _service(snapshot, policy, settings, name, source, f"{where}.{kind}")
    body = mapping(settings.get("includeRequestBodyInCheck"))
    most = body.get("maxRequestBytes")
    if isinstance(most, int) and body.get("allowPartialMessage") is not True:
        yield CHECK.bad(
            f"requests with a body over {most:,} bytes are refused before {name} is asked",
            TOO_LARGE,
            about=policy,
            severity=Severity.INFO,
            proofs=(Proof(source.ref, f"{where}.{kind}.includeRequestBodyInCheck.maxRequestBytes", str(most)),),
            advice="Raise it, or set allowPartialMessage",
        )


def _service(
    snapshot: Snapshot, policy: Object, settings: Mapping[str, Any], name: str, source: Object, where: str
) -> Iterator[Result]:
    """Whether what the provider calls is there."""
    space, _, host = str(settings.get("service") or "").rpartition("/")
    port = settings.get("port")
    proof = Proof(source.ref, f"{where}.service", f"{host} port {port}")
    fails = "requests pass unchecked (failOpen)" if settings.get("failOpen") is True else "every request is denied"
    if snapshot.lacks("Service"):
        return
    service = service_at(snapshot, host, space)
    if service is None:
        full = full_host(host, space)
        if not registered(snapshot, full, space) and not maybe_elsewhere(snapshot, full, space):
            yield CHECK.bad(
                f"the provider {name} calls {host or '(none)'}, which is no service or ServiceEntry: {fails}",
                UNAVAILABLE,
                about=policy,
                proofs=(Proof(policy.ref, "spec.provider.name", name), proof),
                advice="Write the service as NAMESPACE/HOST, or as its full name",
            )
        return
    ports = [p.get("port") for p in service.mappings("spec", "ports")]
    if isinstance(port, int) and ports and port not in ports:
        yield CHECK.bad(
            f"the provider {name} calls port {port} of {service.name}, which has {names([str(p) for p in ports])}: {fails}",
            UNAVAILABLE,
            about=policy,
            proofs=(proof, Proof(service.ref, "spec.ports", names([str(p) for p in ports]))),
        )
    elif (
        service.strings("spec", "selector")
        and not snapshot.lacks("Pod")
        and not any(map(is_ready, pods_behind(snapshot, service)))
    ):
        yield CHECK.bad(
            f"no pod of {service.name}, which the provider {name} calls, is ready: {fails}",
            UNAVAILABLE,
            about=policy,
            proofs=(proof, Proof(service.ref, "spec.selector", str(dict(service.strings("spec", "selector"))))),
        )


CHECK = Check(
    "ext-authz-providers",
    "Are the external authorizers there that policies name?",
    ("AuthorizationPolicy", "ConfigMap"),
    run,
)
