"""Does each namespace of the mesh trust istiod's root, and do all proxies have the mesh's trust domain?

istiod writes its root into ConfigMap istio-ca-root-cert of every namespace that it watches (discoverySelectors), from where pods mount it
(https://istio.io/latest/docs/ops/configuration/mesh/configuration-scoping/). An identity of another trust domain is refused unless it is
an alias (https://istio.io/latest/docs/tasks/security/authorization/authz-td-migration/).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from meshdiag.cluster.certificates import of_pem
from meshdiag.cluster.checks.ca_secret import roots_of
from meshdiag.cluster.checks.certificate_dates import authority
from meshdiag.cluster.mesh import (
    callers_of,
    control_planes,
    mesh_config,
    names,
    pods_of,
    proxy,
    servers_of,
    system_namespace,
    trust_domains,
    workloads,
)
from meshdiag.cluster.objects import Object, Ref, mappings
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result

ROOT: Final = "istio-ca-root-cert"
UNTRUSTED: Final = ("ca-untrusted", "mtls-certificate-untrusted")


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the namespaces of client and server that are asked about, else of all with proxies."""
    pods = _asked(snapshot, about) if about else [p for pods in workloads(snapshot).values() for p in pods]
    pods = [p for p in pods if proxy(p) is not None]
    if not pods:
        if not about:
            yield CHECK.good("no pod has a proxy")
        return
    yield from (found := [*_roots(snapshot, pods), *_domains(snapshot, pods)])
    if not found:
        spaces = dict.fromkeys(p.namespace for p in pods)
        if len({c.namespace for c in control_planes(snapshot)}) > 1:
            yield CHECK.unknown(
                "there are several control planes; whose root a namespace has to trust is not told here"
            )
        elif not _reference(snapshot)[1]:
            yield CHECK.unknown("istiod's root is not known")
        else:
            yield CHECK.good(f"{names(spaces)} trust{'s' * (len(spaces) == 1)} istiod's root, in one trust domain")


def _asked(snapshot: Snapshot, about: About) -> list[Object]:
    own = pods_of(snapshot, about) if about.workload or about.pod else ()
    return [*servers_of(snapshot, about), *callers_of(snapshot, about), *own]


def _reference(snapshot: Snapshot) -> tuple[Ref | None, frozenset[str]]:
    """istiod's root: of what it signs with, else of what it gives to its own namespace."""
    for secret in authority(snapshot):
        if roots := roots_of(secret).fingerprints:
            return secret.ref, roots
    own = snapshot.get("ConfigMap", system_namespace(snapshot), ROOT)
    return (own.ref, of_pem(own.text("data", "root-cert.pem")).fingerprints) if own else (None, frozenset())


def _roots(snapshot: Snapshot, pods: list[Object]) -> Iterator[Result]:
    if snapshot.lacks("ConfigMap") or len({c.namespace for c in control_planes(snapshot)}) > 1:
        return
    ref, wanted = _reference(snapshot)
    system = system_namespace(snapshot)
    some = any(
        c.name == ROOT and c.namespace != system for c in snapshot.all("ConfigMap")
    )  # else they were not captured
    for space in dict.fromkeys(p.namespace for p in pods):
        if snapshot.namespaces is not None and space not in snapshot.namespaces:
            continue
        config = snapshot.get("ConfigMap", space, ROOT)
        if config is None:
            if some:
                yield _missing(snapshot, space)
            continue
        known = of_pem(config.text("data", "root-cert.pem")).fingerprints
        if ref and wanted and not wanted & known:
            yield CHECK.bad(
                f"namespace {space} trusts another root than istiod's",
                *UNTRUSTED,
                about=config,
                proofs=(
                    Proof(config.ref, "data[root-cert.pem]", _print(known)),
                    Proof(ref, "its root", _print(wanted)),
                ),
                advice="Delete the ConfigMap: istiod writes it again; then restart the workloads of the namespace",
            )


def _missing(snapshot: Snapshot, space: str) -> Result:
    source, config = mesh_config(snapshot)
    chosen = bool(mappings(config.get("discoverySelectors")))
    why = "; discoverySelectors of the mesh configuration may leave it out" if chosen else ""
    return CHECK.bad(
        f"namespace {space} has no ConfigMap {ROOT}, from which its proxies take the root{why}",
        "ca-untrusted",
        proofs=(Proof(source.ref, "data[mesh] discoverySelectors", str(config.get("discoverySelectors"))[:120]),)
        if source and chosen
        else (),
        advice="istiod writes it into each namespace that it watches; its log says why not",
    )


def _domains(snapshot: Snapshot, pods: list[Object]) -> Iterator[Result]:
    """Pods that were injected with another trust domain than the mesh has now."""
    source, _ = mesh_config(snapshot)
    if source is None or snapshot.lacks("ConfigMap"):
        return
    known = trust_domains(snapshot)
    others: dict[str, list[Object]] = {}
    for p in pods:
        env = next((e for e in mappings((proxy(p) or {}).get("env")) if e.get("name") == "TRUST_DOMAIN"), {})
        value = env.get("value")
        if isinstance(value, str) and value and value not in known:
            others.setdefault(value, []).append(p)
    for value, some in others.items():
        yield CHECK.bad(
            f"{names(some)} {'have' if len(some) > 1 else 'has'} the trust domain {value}; the mesh has {names(known)}",
            "mtls-identity-mismatch",
            about=some[0],
            proofs=(
                Proof(some[0].ref, "env TRUST_DOMAIN of istio-proxy", value),
                Proof(source.ref, "data[mesh] trustDomain", known[0]),
            ),
            advice="Restart them, or name the other one in trustDomainAliases while both are in use",
        )


def _print(fingerprints: frozenset[str]) -> str:
    return names([f"sha256 {f[:16]}" for f in sorted(fingerprints)]) or "no certificate"


CHECK = Check("mesh-roots", "Does the mesh trust one root, in one trust domain?", ("Pod", "ConfigMap"), run)
