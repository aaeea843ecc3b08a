"""Is the Secret of a gateway's certificate there, in the right namespace, and usable?

`credentialName` of a Gateway names a Secret in the namespace of the gateway's pods, not of the Gateway; `certificateRefs` of the Gateway
API one in the Gateway's namespace, or in another that a ReferenceGrant opens. istiod takes `tls.crt` and `tls.key`, or `cert` and
`key`; for MUTUAL `ca.crt` or `cacert`, there or in NAME-cacert
(https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings). Envoy refuses RSA keys under 2048 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from meshdiag.cluster.certificates import Bundle, date_fault, dates, of_base64
from meshdiag.cluster.mesh import matches, names, pods_of, pods_with
from meshdiag.cluster.objects import Object, Ref, at, mapping, mappings, texts
from meshdiag.cluster.secrets import DIFFERS, UNREADABLE
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.cluster.wanted import credentials
from meshdiag.model import Risk, Severity

MISSING: Final = ("gateway-secret-missing", "config-reference-missing", "tls-handshake-failed")
INVALID: Final = ("gateway-secret-invalid", "tls-handshake-failed")
EXPIRED: Final = ("mtls-certificate-expired",)
PAIRS: Final = (("tls.crt", "tls.key"), ("cert", "key"))
AUTHORITIES: Final = ("ca.crt", "cacert")
_MUTUAL: Final = frozenset({"MUTUAL", "OPTIONAL_MUTUAL"})


@dataclass(frozen=True, slots=True)
class Use:
    """Where a gateway names a Secret: field, name, the namespace where it is looked for, the hosts it serves, the gateway's pods."""

    gateway: Object
    field: str
    name: str
    namespace: str
    hosts: tuple[str, ...]
    mutual: bool
    pods: tuple[Object, ...]
    granted: bool = True


@lru_cache(4)
def uses(snapshot: Snapshot) -> tuple[Use, ...]:
    """Every Secret that a Gateway of either kind names; of an Istio Gateway only where the pods that it selects are known."""
    return (*_istio(snapshot), *_api(snapshot))


def _istio(snapshot: Snapshot) -> Iterator[Use]:
    for g in snapshot.all("Gateway"):
        pods = pods_with(snapshot, g.strings("spec", "selector"))
        for i, server in enumerate(g.mappings("spec", "servers")):
            tls = mapping(server.get("tls"))
            mode = tls.get("mode")
            if mode not in ("SIMPLE", *_MUTUAL):  # without a mode it is PASSTHROUGH, which uses no Secret
                continue
            hosts = tuple(h.rpartition("/")[2] for h in texts(server.get("hosts")))
            for said in texts([tls.get("credentialName")]) + texts(tls.get("credentialNames")):
                name = said.removeprefix("kubernetes://").rpartition("/")[2]
                for space in dict.fromkeys(p.namespace for p in pods):
                    own = tuple(p for p in pods if p.namespace == space)
                    yield Use(g, f"spec.servers[{i}].tls.credentialName", name, space, hosts, mode in _MUTUAL, own)


def _api(snapshot: Snapshot) -> Iterator[Use]:
    for g in snapshot.all("KubernetesGateway"):
        pods = pods_with(snapshot, {"gateway.networking.k8s.io/gateway-name": g.name}, g.namespace)
        for i, listener in enumerate(g.mappings("spec", "listeners")):
            for ref in mappings(at(listener, "tls", "certificateRefs")):
                name, space = ref.get("name"), ref.get("namespace")
                if not isinstance(name, str) or (ref.get("kind") or "Secret") != "Secret" or ref.get("group"):
                    continue
                space = space if isinstance(space, str) and space else g.namespace
                hosts = texts([listener.get("hostname")])
                granted = space == g.namespace or _granted(snapshot, g, space, name)
                yield Use(g, f"spec.listeners[{i}].tls.certificateRefs", name, space, hosts, False, pods, granted)


def _granted(snapshot: Snapshot, gateway: Object, namespace: str, secret: str) -> bool:
    if snapshot.lacks("ReferenceGrant"):
        return True
    for grant in snapshot.all("ReferenceGrant", namespace):
        froms = (
            f.get("kind") == "Gateway" and f.get("namespace") == gateway.namespace
            for f in grant.mappings("spec", "from")
        )
        tos = (t.get("kind") == "Secret" and t.get("name") in (None, "", secret) for t in grant.mappings("spec", "to"))
        if any(froms) and any(tos):
            return True
    return False


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the Secret, the gateway or the gateway's pods that a finding names, else of all."""
    if why := snapshot.lacks("Gateway") and snapshot.lacks("KubernetesGateway"):
        yield CHECK.unknown(why)
        return
    some = _asked(snapshot, about)
    if about and about.secret and not some:
        yield from _alone(snapshot, about)
        return
    found = {(r.text, r.about): r for u in some for r in _of(snapshot, u, bool(about))}
    yield from found.values()
    if not found and (some or not about):
        yield CHECK.good(
            f"the Secrets {names(dict.fromkeys(u.name for u in some))} are there and hold a certificate and its key"
            if about
            else f"{len({(u.namespace, u.name) for u in some})} Secrets of gateways are there and usable",
            *(("gateway-secret-missing", "gateway-secret-invalid") if about.secret else ()),
        )


def _asked(snapshot: Snapshot, about: About) -> list[Use]:
    every = uses(snapshot)
    if not about:
        return list(every)
    if about.secret:
        name = about.secret.removesuffix("-cacert")
        return [
            u
            for u in every
            if u.name in (about.secret, name)
            and (not about.namespace or about.namespace in (u.namespace, u.gateway.namespace))
        ]
    if about.gateway:
        return [u for u in every if u.gateway.name == about.gateway]
    if about.workload or about.pod:
        mine = {p.ref for p in pods_of(snapshot, about)}
        some = [u for u in every if any(p.ref in mine for p in u.pods)]
        host = about.host
        return [u for u in some if any(matches(h, host) for h in u.hosts)] or some if host else some
    return []


def _alone(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """A Secret that no gateway here names: of a DestinationRule, or of a gateway that is gone."""
    if not about.namespace:
        return
    secret = snapshot.get("Secret", about.namespace, about.secret)
    if secret is None:
        read = snapshot.namespaces is None or about.namespace in snapshot.namespaces
        if read and about.secret in credentials(snapshot.objects):
            yield _missing(snapshot, about.namespace, about.secret, None)
        else:
            yield CHECK.unknown(f"nothing here names Secret {about.secret}, and only Secrets that are named are read")
        return
    found = list(_contents(snapshot, secret, None))
    yield from found
    if not found:
        yield CHECK.good(
            f"Secret {secret.name} holds a certificate and its key", *MISSING[:1], INVALID[0], about=secret
        )


def _of(snapshot: Snapshot, use: Use, with_dates: bool) -> Iterator[Result]:
    if snapshot.namespaces is not None and use.namespace not in snapshot.namespaces:
        return
    if not use.granted:
        yield _not_granted(use)
        return
    secret = snapshot.get("Secret", use.namespace, use.name)
    if secret is None:
        yield _missing(snapshot, use.namespace, use.name, use)
        return
    yield from _contents(snapshot, secret, use, with_dates)


def _missing(snapshot: Snapshot, namespace: str, name: str, use: Use | None) -> Result:
    others = [s for s in snapshot.all("Secret") if s.name == name]
    hint = f"; there is one in {names(o.namespace for o in others)}" if others else ""
    beside = " (where the gateway's pods are)" if use and use.gateway.ref.kind == "Gateway" else ""
    return CHECK.bad(
        f"there is no Secret {name} in namespace {namespace}{beside}{hint}",
        *MISSING,
        *(("filter-chain-not-found",) if use else ()),
        about=use.gateway if use else None,
        proofs=(
            *([Proof(use.gateway.ref, use.field, name)] if use else []),
            *(Proof(o.ref, "metadata.namespace", o.namespace) for o in others[:2]),
        ),
        advice=f"Create it in namespace {namespace}"
        + (", beside the pods of the gateway, not beside the Gateway" if beside else ""),
    )


def _not_granted(use: Use) -> Result:
    name = f"{use.gateway.namespace}-gateways"[:63]
    raw: dict[str, Any] = {
        "apiVersion": "gateway.networking.k8s.io/v1beta1",
        "kind": "ReferenceGrant",
        "metadata": {"name": name, "namespace": use.namespace},
        "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": use.gateway.namespace}],
            "to": [{"group": "", "kind": "Secret", "name": use.name}],
        },
    }
    ref = Ref("ReferenceGrant", use.namespace, name, raw["apiVersion"])
    why = "Gateways of that namespace may then use this Secret, and no other."
    return CHECK.bad(
        f"{use.gateway.name} may not use Secret {use.namespace}/{use.name}: no ReferenceGrant there allows it",
        *MISSING,
        about=use.gateway,
        proofs=(Proof(use.gateway.ref, use.field, f"{use.namespace}/{use.name}"),),
        edits=(
            Edit(
                ref,
                f"Let Gateways of {use.gateway.namespace} use Secret {use.name}",
                raw,
                why,
                Risk.WEAKENS_SECURITY,
                create=True,
            ),
        ),
    )


def _contents(snapshot: Snapshot, secret: Object, use: Use | None, with_dates: bool = True) -> Iterator[Result]:
    """What is wrong inside: keys, the pair, names, dates."""
    data = secret.mapping("data")
    have = names(sorted(data), 6) or "nothing"
    pair = next((p for p in PAIRS if all(k in data for k in p)), None)
    only_ca = use is None and pair is None and any(k in data for k in AUTHORITIES)
    if pair is None and not only_ca:
        yield CHECK.bad(
            f"Secret {secret.name} has {have} and not tls.crt and tls.key",
            *INVALID,
            about=secret,
            proofs=(Proof(secret.ref, "data", have), Proof(secret.ref, "type", secret.text("type") or "Opaque")),
            advice="kubectl create secret tls writes it as it must be",
        )
        return
    if pair is not None:
        bundle = of_base64(data[pair[0]])
        yield from _pair(secret, pair, data, bundle)
        if bundle.certificates and use:
            yield from _hosts(secret, pair[0], bundle, use)
        if with_dates:
            yield from _dates(snapshot, secret, pair[0], bundle)
    if use and use.mutual:
        yield from _authority(snapshot, secret, use)


def _pair(secret: Object, pair: tuple[str, str], data: Mapping[str, Any], bundle: Bundle) -> Iterator[Result]:
    key = data[pair[1]]
    fault = field = ""
    if not bundle.certificates:
        fault, field = "has no certificate that can be read", pair[0]
    elif key == DIFFERS:
        fault, field = "holds a key that belongs to another certificate", pair[1]
    elif key == UNREADABLE or key == "":
        fault, field = "holds no private key that can be read without a passphrase", pair[1]
    elif 0 < bundle.certificates[0].bits < 2048:
        fault, field = f"has an RSA key of {bundle.certificates[0].bits} bits; Envoy takes 2048 or more", pair[0]
    elif bundle.broken:
        fault, field = f"has {bundle.broken} certificates that cannot be read", pair[0]
    if fault:
        subject = bundle.certificates[0].subject if bundle.certificates else "no certificate"
        said = str(key) if field == pair[1] and str(key).startswith("meshdiag:") else subject
        yield CHECK.bad(
            f"Secret {secret.name} {fault}", *INVALID, about=secret, proofs=(Proof(secret.ref, f"data[{field}]", said),),
            advice="Write the Secret anew from a certificate and its own key",
        )  # fmt: skip


def _hosts(secret: Object, field: str, bundle: Bundle, use: Use) -> Iterator[Result]:
    leaf = bundle.certificates[0]
    missing = [h for h in use.hosts if h != "*" and not leaf.serves(h)]
    if missing and leaf.names:
        yield CHECK.bad(
            f"the certificate of Secret {secret.name} does not name {names(missing)}, which {use.gateway.name} serves; "
            f"it names {names(leaf.names)}",
            "tls-handshake-failed",
            about=secret,
            severity=Severity.WARNING,
            proofs=(
                Proof(use.gateway.ref, use.field.partition(".tls")[0], names(use.hosts)),
                Proof(secret.ref, f"data[{field}]", names(leaf.names, 6)),
            ),
            advice="Issue it for that host, or clients that verify names refuse it",
        )


def _dates(snapshot: Snapshot, secret: Object, field: str, bundle: Bundle) -> Iterator[Result]:
    if snapshot.taken is None:
        return
    for c in bundle.certificates:
        if fault := date_fault(c, snapshot.taken):
            soon = fault.startswith("expires in")
            yield CHECK.bad(
                f"a certificate of Secret {secret.name} {fault}",
                *(() if soon else (*EXPIRED, "clock-skew") if "before" in fault else EXPIRED),
                about=secret,
                severity=Severity.WARNING if soon else Severity.ERROR,
                proofs=(Proof(secret.ref, f"data[{field}]", dates(c)),),
                advice="Renew it",
            )


def _authority(snapshot: Snapshot, secret: Object, use: Use) -> Iterator[Result]:
    """The CA that verifies clients."""
    other = snapshot.get("Secret", secret.namespace, f"{use.name}-cacert")
    for s in filter(None, (secret, other)):
        for k in AUTHORITIES:
            if of_base64(s.at("data", k)).certificates:
                return
    yield CHECK.bad(
        f"{use.gateway.name} asks clients for a certificate, and neither Secret {use.name} nor {use.name}-cacert has a CA (ca.crt)",
        *INVALID,
        about=secret,
        proofs=(Proof(secret.ref, "data", names(sorted(secret.mapping("data")), 6)),),
    )


CHECK = Check("gateway-secret", "Are the certificates of gateways there and usable?", ("Secret", "Pod"), run)
