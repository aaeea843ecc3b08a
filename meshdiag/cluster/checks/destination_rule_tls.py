"""Does the TLS mode that a DestinationRule asks for fit what the server accepts?

Without a mode Istio chooses by endpoint (automatic mTLS), and that fits always. A subset's `tls` replaces the rule's, and the settings
of a port replace both even where they have no `tls` (MergeTrafficPolicy in istio/istio, pilot/pkg/networking/util/util.go). Of the
rules for one host in one namespace the oldest that has a trafficPolicy counts. Modes:
https://istio.io/latest/docs/reference/config/networking/destination-rule/#ClientTLSSettings
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from meshdiag.cluster.checks.service_ports import HTTP, TLS, protocol
from meshdiag.cluster.mesh import (
    account_of,
    age,
    all_rules,
    callers_of,
    covers,
    destinations,
    entries_of,
    full_host,
    host_of,
    in_ambient,
    in_mesh,
    is_gateway,
    is_system,
    mtls_of,
    names,
    pods_behind,
    proxy,
    root_namespace,
    rules_for,
    service_at,
    services_of,
    target_port,
    trust_domains,
)
from meshdiag.cluster.objects import Object, Ref, at, mapping, mappings, texts
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.model import Risk, Severity

PLAIN_TO_STRICT: Final = ("mtls-plaintext-to-strict", "upstream-connection-closed")
TLS_TO_PLAIN: Final = ("mtls-tls-to-plaintext", "upstream-connect-timeout")
HANDSHAKE: Final = ("tls-handshake-failed", "upstream-connection-closed")
ORIGINATED: Final = frozenset({"SIMPLE", "MUTUAL"})


@dataclass(frozen=True, slots=True)
class Tls:
    """The TLS settings that hold for a port: the rule, where they stand in it, and what they say ({} is automatic)."""

    rule: Object
    path: tuple[str | int, ...]
    said: Mapping[str, Any]

    @property
    def mode(self) -> str:
        """DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL; "" is automatic."""
        mode = self.said.get("mode")
        return mode if isinstance(mode, str) else "DISABLE" if self.said else ""

    def proof(self, field: str = "mode") -> Proof:
        """Where it stands."""
        words = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in self.path)
        value = self.said.get(field)
        return Proof(self.rule.ref, f"{words[1:]}.{field}", self.mode if field == "mode" else str(value)[:120])

    def automatic(self) -> Edit:
        """The rule without these settings."""
        return Edit(
            self.rule.ref,
            f"Let automatic mTLS choose: take tls out of DestinationRule {self.rule.name}",
            _without(self.rule.raw, self.path),
            "Without a mode each endpoint gets mTLS when it has a proxy, and plaintext when it has none.",
            Risk.WEAKENS_SECURITY if self.mode == "ISTIO_MUTUAL" else Risk.CHANGES_TRAFFIC,
        )


def settings_of(rules: tuple[Object, ...], port: int | None, subset: str = "") -> Tls | None:
    """The TLS settings of these rules for a port and a subset; None when there is no rule."""
    found: Tls | None = None
    ordered = sorted(rules, key=age)
    for rule in ordered:
        if rule.mapping("spec", "trafficPolicy"):
            found = _policy(rule, ("spec", "trafficPolicy"), port, None)
            break
    for rule in ordered if subset else ():
        for i, s in enumerate(rule.mappings("spec", "subsets")):
            if s.get("name") == subset and mapping(s.get("trafficPolicy")):
                return _policy(rule, ("spec", "subsets", i, "trafficPolicy"), port, found)
    return found or (Tls(ordered[0], ("spec", "trafficPolicy", "tls"), {}) if ordered else None)


def _policy(rule: Object, path: tuple[str | int, ...], port: int | None, above: Tls | None) -> Tls:
    policy = rule.mapping(*path)
    for i, setting in enumerate(mappings(policy.get("portLevelSettings"))):
        if port is not None and at(setting, "port", "number") == port:
            return Tls(rule, (*path, "portLevelSettings", i, "tls"), mapping(setting.get("tls")))
    own = mapping(policy.get("tls"))
    return Tls(rule, (*path, "tls"), own) if own or above is None else above


def _without(value: Any, path: tuple[str | int, ...]) -> dict[str, Any]:
    """The merge patch that takes a place out; a list on the way is written whole."""
    key, rest = str(path[0]), path[1:]
    inner = mapping(value).get(key)
    if not rest:
        return {key: None}
    if isinstance(rest[0], int):
        return {key: [_cut(v, rest[1:]) if i == rest[0] else v for i, v in enumerate(inner or [])]}
    return {key: _without(inner, rest)}


def _cut(value: Any, path: tuple[str | int, ...]) -> Any:
    """The value itself without that place."""
    if isinstance(value, list):
        return [_cut(v, path[1:]) if i == path[0] else v for i, v in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    if len(path) == 1:
        return {k: v for k, v in value.items() if k != path[0]}
    return {k: _cut(v, path[1:]) if k == path[0] else v for k, v in value.items()}


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the host that was called by this client, or of every rule."""
    asked = about.host or about.service
    if asked:
        yield from _asked(snapshot, about, full_host(asked, about.service_namespace or about.namespace))
        return
    if about:
        yield from _served(snapshot, about)
        return
    found: list[Result] = []
    for service in snapshot.all("Service"):
        found += _everywhere(snapshot, service)
    for entry in snapshot.all("ServiceEntry"):
        for host in entry.texts("spec", "hosts"):
            if not host.startswith("*") and service_at(snapshot, host) is None:
                for rule in all_rules(snapshot).get(host, ()):
                    found += _outside(snapshot, entry, host, (rule,), None)
    yield from _once({(r.text, r.about): r for r in found}.values())
    if not found:
        yield CHECK.good(f"the TLS modes of {len(snapshot.all('DestinationRule'))} DestinationRules fit their servers")


def _once(results: Iterable[Result]) -> Iterator[Result]:
    """The results with one edit for each rule: a second would write its lists as they were, and so take the first back."""
    chosen: dict[Ref, Edit] = {}
    for r in results:
        yield replace(r, edits=tuple(e for e in r.edits if chosen.setdefault(e.ref, e).patch == e.patch))


def _served(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """What rules for the services of the workload make of calls to it: its own line does not say who called by which name."""
    services = services_of(snapshot, about) if about.workload or about.pod else ()
    found = [r for s in services for r in _everywhere(snapshot, s)]
    for r in _once(found):
        yield replace(r, causes=tuple(c for c in r.causes if c in (PLAIN_TO_STRICT[0], TLS_TO_PLAIN[0])))
    if not found:
        yield CHECK.unknown("which host was called is not known")


def _everywhere(snapshot: Snapshot, service: Object) -> Iterator[Result]:
    """For each namespace that has a rule of its own, and for the rest."""
    host = host_of(service)
    rules = all_rules(snapshot)
    some = (
        [r for pattern in rules if covers(pattern, host) for r in rules[pattern]]
        if _wild(snapshot)
        else rules.get(host, ())
    )
    if not some or is_system(snapshot, service.namespace):
        return
    common = {service.namespace, root_namespace(snapshot)}
    for client in dict.fromkeys([r.namespace if r.namespace not in common else service.namespace for r in some]):
        chosen = rules_for(snapshot, host, service.namespace, client)
        for port in service.mappings("spec", "ports"):
            number = port.get("port")
            if isinstance(number, int) and (tls := settings_of(chosen, number)):
                yield from _fits(snapshot, service, port, tls, client)


def _wild(snapshot: Snapshot) -> bool:
    return any(h.startswith("*") for h in all_rules(snapshot))


def _asked(snapshot: Snapshot, about: About, host: str) -> Iterator[Result]:
    callers = callers_of(snapshot, about)
    if callers and not any(proxy(p) is not None for p in callers):
        yield CHECK.unknown("the client has no sidecar: no DestinationRule holds for it")
        return
    client = callers[0].namespace if callers else about.source.rpartition("/")[0] or about.namespace
    number = int(about.port) if about.port.isdecimal() else None
    service = service_at(snapshot, host)
    if service is None:
        entries = entries_of(snapshot, host)
        rules = rules_for(snapshot, host, "", client)
        found = list(_outside(snapshot, entries[0], host, rules, number)) if entries else []
        found += _credential(settings_of(rules, number, about.subset), callers)
        yield from found
        if not found:
            yield CHECK.unknown(f"{host} is no service of this cluster: what its server accepts is not known")
        return
    rules = rules_for(snapshot, host_of(service), service.namespace, client)
    if not rules:
        yield CHECK.good(f"no DestinationRule holds for {host}: mTLS is automatic", about=service)
        return
    ports = [p for p in service.mappings("spec", "ports") if number is None or p.get("port") == number]
    found = []
    for port in ports:
        n = port.get("port")
        tls = settings_of(rules, n if isinstance(n, int) else None, about.subset)
        found += [*_fits(snapshot, service, port, tls, client, about.subset), *_credential(tls, callers)] if tls else []
    yield from _once(found)
    if not found:
        tls = settings_of(rules, number, about.subset)
        mode = tls.mode if tls else ""
        yield CHECK.good(
            f"DestinationRule {rules[0].name} holds for {host}, and its TLS mode is {mode or 'automatic'}",
            about=rules[0],
        )


def _fits(
    snapshot: Snapshot, service: Object, port: Mapping[str, Any], tls: Tls, client: str, subset: str = ""
) -> Iterator[Result]:
    """What is wrong between the settings and the pods behind a port."""
    if not tls.mode:
        return
    number = port["port"]
    pods = pods_behind(snapshot, service)
    if subset:
        labels = next(
            (mapping(s.get("labels")) for s in tls.rule.mappings("spec", "subsets") if s.get("name") == subset), {}
        )
        pods = tuple(p for p in pods if all(p.labels.get(k) == v for k, v in labels.items()))
    bare = [p for p in pods if not in_mesh(snapshot, p)]
    meshed = [p for p in pods if proxy(p) is not None]
    where = f"DestinationRule {tls.rule.namespace}/{tls.rule.name} asks for {tls.mode} to {service.name} port {number}"
    known = not snapshot.lacks("PeerAuthentication")
    modes = [(p, mtls_of(snapshot, p, target_port(service, p, number))) for p in meshed] if known else []
    strict = [m for _, m in modes if m.mode == "STRICT"]
    off = [m for _, m in modes if m.mode == "DISABLE"]
    if tls.mode == "DISABLE" and strict:
        yield CHECK.bad(
            f"{where}, whose pods accept mTLS only",
            *PLAIN_TO_STRICT,
            about=tls.rule,
            proofs=(tls.proof(), *(Proof(m.policy.ref, m.field, m.mode) for m in strict[:1] if m.policy)),
            edits=(tls.automatic(),),
        )
    elif tls.mode == "ISTIO_MUTUAL" and bare:
        yield CHECK.bad(
            f"{where}, and {len(bare)} of its {len(pods)} pods have no proxy: {names(bare)}",
            *TLS_TO_PLAIN,
            about=tls.rule,
            proofs=(tls.proof(), Proof(bare[0].ref, "spec.containers", _containers(bare[0]))),
            advice="Inject the server, or let automatic mTLS choose",
            edits=(tls.automatic(),),
        )
    elif tls.mode == "ISTIO_MUTUAL" and off:
        yield CHECK.bad(
            f"{where}, where mTLS is switched off",
            *TLS_TO_PLAIN,
            about=tls.rule,
            proofs=(tls.proof(), *(Proof(m.policy.ref, m.field, m.mode) for m in off[:1] if m.policy)),
            edits=(tls.automatic(),),
        )
    elif tls.mode in ORIGINATED and strict:
        yield CHECK.bad(
            f"{where}, whose pods accept only the mesh's own mTLS",
            *HANDSHAKE,
            "mtls-certificate-untrusted",
            about=tls.rule,
            proofs=(tls.proof(), *(Proof(m.policy.ref, m.field, m.mode) for m in strict[:1] if m.policy)),
            edits=(tls.automatic(),),
        )
    elif tls.mode in ORIGINATED and pods and protocol(port) in HTTP:
        yield CHECK.bad(
            f"{where}, a port that is declared as {protocol(port)} and takes no TLS",
            TLS_TO_PLAIN[0],
            "protocol-mismatch",
            about=tls.rule,
            severity=Severity.WARNING,
            proofs=(tls.proof(), Proof(service.ref, "spec.ports", f"{port.get('name', '')} {number}")),
            advice="If the application does TLS itself on this port, name the port https; else let automatic mTLS choose",
        )
    elif tls.mode == "ISTIO_MUTUAL":
        yield from _identities(snapshot, service, tls, pods, where)


def _identities(
    snapshot: Snapshot, service: Object, tls: Tls, pods: tuple[Object, ...], where: str
) -> Iterator[Result]:
    """Whether subjectAltNames name an identity that a pod behind the service has."""
    expected = texts(tls.said.get("subjectAltNames"))
    if not expected or not pods or any(in_ambient(snapshot, p) for p in pods):
        return
    domain = trust_domains(snapshot)[0]
    real = {f"spiffe://{domain}/ns/{p.namespace}/sa/{account_of(p)}" for p in pods}
    if not any(w == r or (w.endswith("*") and r.startswith(w[:-1])) for w in expected for r in real):
        yield CHECK.bad(
            f"{where} and expects {names(expected, 2)}; its pods are {names(sorted(real), 2)}",
            "mtls-identity-mismatch",
            about=tls.rule,
            proofs=(tls.proof("subjectAltNames"), Proof(pods[0].ref, "spec.serviceAccountName", account_of(pods[0]))),
            advice="Take subjectAltNames out: Istio expects the service accounts of the pods by itself",
        )


def _outside(
    snapshot: Snapshot, entry: Object, host: str, rules: tuple[Object, ...], number: int | None
) -> Iterator[Result]:
    """A host of a ServiceEntry: mesh mTLS to a server outside, and TLS twice."""
    for port in entry.mappings("spec", "ports"):
        n = port.get("number")
        if not isinstance(n, int) or isinstance(n, bool) or number not in (None, n):
            continue
        tls = settings_of(rules, n)
        if tls is None:
            return
        where = f"DestinationRule {tls.rule.namespace}/{tls.rule.name} asks for {tls.mode} to {host} port {n}"
        external = entry.text("spec", "location") in ("", "MESH_EXTERNAL")
        spoken = port.get("protocol")
        if tls.mode == "ISTIO_MUTUAL" and external and not entry.at("spec", "workloadSelector"):
            yield CHECK.bad(
                f"{where}, a server outside the mesh, which has no certificate of it",
                TLS_TO_PLAIN[0],
                "mtls-certificate-untrusted",
                *HANDSHAKE[:1],
                about=tls.rule,
                proofs=(
                    tls.proof(),
                    Proof(entry.ref, "spec.location", entry.text("spec", "location") or "MESH_EXTERNAL"),
                ),
                advice="Use SIMPLE where Envoy is to begin TLS, and no tls where the application does",
            )
        elif tls.mode in ORIGINATED and str(spoken).lower() in TLS and not _routed(snapshot, host, n):
            yield CHECK.bad(
                f"{where}, where the application speaks TLS already: TLS twice",
                TLS_TO_PLAIN[0],
                about=tls.rule,
                severity=Severity.WARNING,
                proofs=(tls.proof(), Proof(entry.ref, "spec.ports", f"{n} {spoken}")),
                advice="Let the application call plain HTTP on a port with protocol HTTP and targetPort 443, or take tls out",
            )


def _credential(tls: Tls | None, callers: tuple[Object, ...]) -> Iterator[Result]:
    """A Secret that a sidecar does not look at: `credentialName` is for gateways, and for sidecars that a workloadSelector names."""
    name = tls.said.get("credentialName") if tls else None
    if (
        tls is None
        or not isinstance(name, str)
        or not name
        or tls.mode not in ORIGINATED
        or not callers
        or is_gateway(callers[0])
    ):
        return
    missing = "no client certificate is shown, and " if tls.mode == "MUTUAL" else ""
    yield CHECK.bad(
        f"DestinationRule {tls.rule.namespace}/{tls.rule.name} names Secret {name}, which sidecars pass over without a workloadSelector: "
        f"{missing}the server is verified by the CAs of the system",
        "mtls-certificate-untrusted",
        *HANDSHAKE[:1],
        about=tls.rule,
        severity=Severity.WARNING,
        proofs=(tls.proof("credentialName"), Proof(tls.rule.ref, "spec.workloadSelector", "none")),
        advice="Give the rule a workloadSelector for these clients, or mount the CA and name it in caCertificates",
    )


def _routed(snapshot: Snapshot, host: str, port: int) -> bool:
    """Whether a VirtualService sends plain requests to that port, as the older form of TLS origination does."""
    return bool(snapshot.lacks("VirtualService")) or any(
        d.host == host and d.port in (None, port) and ".http[" in d.path
        for v in snapshot.all("VirtualService")
        for d in destinations(v)
    )


def _containers(pod: Object) -> str:
    return names([str(c.get("name")) for c in pod.mappings("spec", "containers")])


CHECK = Check(
    "destination-rule-tls",
    "Does the TLS mode of the DestinationRule fit the server?",
    ("DestinationRule", "Service", "Pod"),
    run,
)
