"""Is the CA that istiod signs with whole: the four files there, the key its certificate's, the chain up to the root?

A plugged-in CA is Secret `cacerts` with ca-cert.pem, ca-key.pem, cert-chain.pem and root-cert.pem, or tls.crt, tls.key and ca.crt
(https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/; Verify in istio/istio, security/pkg/pki/util).
Without it istiod keeps one of its own in `istio-ca-secret`. Dates are asked by `certificate-dates`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from meshdiag.cluster.certificates import Bundle, Certificate, of_base64, of_pem
from meshdiag.cluster.mesh import control_planes, names, system_namespace
from meshdiag.cluster.objects import Object
from meshdiag.cluster.secrets import DIFFERS, UNREADABLE
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result
from meshdiag.model import Severity

INVALID: Final = ("istiod-ca-invalid", "istiod-crashed")
UNTRUSTED: Final = "ca-untrusted"
PLUGGED: Final = ("ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem")
AS_TLS: Final = ("tls.crt", "tls.key", "ca.crt")


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of each istiod's; what is asked about does not matter, as all of the mesh hangs on it."""
    spaces = dict.fromkeys(c.namespace for c in control_planes(snapshot)) or {system_namespace(snapshot): None}
    for space in spaces:
        if snapshot.namespaces is not None and space not in snapshot.namespaces:
            yield CHECK.unknown(f"namespace {space} was not read")
            continue
        plugged, own = snapshot.get("Secret", space, "cacerts"), snapshot.get("Secret", space, "istio-ca-secret")
        secret = plugged or own
        if secret is None:
            yield CHECK.unknown(f"there is neither Secret cacerts nor istio-ca-secret in {space}: the CA is elsewhere")
            continue
        found = list(_plugged(secret) if plugged else _key(secret, "ca-cert.pem", "ca-key.pem"))
        found += _changed(snapshot, secret, own if plugged else None)
        yield from found
        if not found:
            what = "the plugged-in CA (cacerts)" if plugged else "istiod's own CA (istio-ca-secret)"
            yield CHECK.good(
                f"{what} is whole: key and certificate fit, the chain leads to the root", INVALID[0], about=secret
            )


def roots_of(secret: Object) -> Bundle:
    """What workloads are to trust: of istiod's own CA its certificate."""
    field = next((k for k in ("root-cert.pem", "ca.crt") if secret.at("data", k)), "ca-cert.pem")
    return of_base64(secret.at("data", field))


def _plugged(secret: Object) -> Iterator[Result]:
    data = secret.mapping("data")
    wanted = AS_TLS if "tls.crt" in data and "ca-cert.pem" not in data else PLUGGED
    missing = [k for k in wanted if k not in data]  # an empty chain is one
    if missing:
        yield CHECK.bad(
            f"Secret {secret.ref.namespace}/{secret.name} lacks {names(missing)}",
            *INVALID,
            about=secret,
            severity=Severity.CRITICAL,
            proofs=(Proof(secret.ref, "data", names(sorted(data), 8) or "nothing"),),
            advice="istiod keeps the CA that it has until it is restarted, and does not start then; complete the Secret before",
        )
        return
    yield from _key(secret, wanted[0], wanted[1])
    signing = of_base64(data[wanted[0]]).certificates
    root, chain = of_base64(data[wanted[-1]]), of_base64(data[wanted[2]] if wanted is PLUGGED else data[wanted[0]])
    if not root.certificates:
        yield _fault(secret, wanted[-1], "has no root certificate that can be read")
    elif signing and not leads_to(signing[0], (*signing[1:], *chain.certificates), root.certificates):
        yield CHECK.bad(
            f"the signing certificate in Secret {secret.name} does not lead to its root: neither the root nor the chain signed it",
            *INVALID,
            about=secret,
            severity=Severity.CRITICAL,
            proofs=(
                Proof(secret.ref, f"data[{wanted[0]}]", f"issuer {signing[0].issuer}"),
                Proof(secret.ref, f"data[{wanted[-1]}]", names([f"subject {c.subject}" for c in root.certificates])),
            ),
            advice="Put the certificates between the two into cert-chain.pem, or the root that signed it into root-cert.pem",
        )


def _key(secret: Object, certificate: str, key: str) -> Iterator[Result]:
    bundle = of_base64(secret.at("data", certificate))
    marker = secret.text("data", key)
    if not bundle.certificates:
        yield _fault(secret, certificate, "has no certificate that can be read")
    elif not bundle.certificates[0].is_ca:
        yield _fault(secret, certificate, "has a certificate that is no CA's (basicConstraints)")
    if marker == DIFFERS:
        yield _fault(secret, key, "has a key that belongs to another certificate")
    elif marker in (UNREADABLE, ""):
        yield _fault(secret, key, "has no private key that can be read")


def _fault(secret: Object, field: str, said: str) -> Result:
    bundle = of_base64(secret.at("data", field))
    value = bundle.certificates[0].subject if bundle.certificates else "nothing that can be read"
    return CHECK.bad(
        f"Secret {secret.ref.namespace}/{secret.name} {said} ({field})",
        *INVALID,
        about=secret,
        severity=Severity.CRITICAL,
        proofs=(Proof(secret.ref, f"data[{field}]", value),),
    )


def leads_to(signing: Certificate, between: Iterable[Certificate], roots: Iterable[Certificate]) -> bool:
    """Whether a chain leads from a certificate over some of those between to a root."""
    tops, rest = tuple(roots), list(between)
    ends = {c.fingerprint for c in tops}
    at = [signing]
    for _ in range(8):
        if any(c.fingerprint in ends or any(c.signed_by(r) for r in tops) for c in at):
            return True
        at = [n for n in rest if any(c.issuer == n.subject and c.signed_by(n) for c in at) and n not in at]
        if not at:
            return False
        rest = [n for n in rest if n not in at]
    return False


def _changed(snapshot: Snapshot, secret: Object, former: Object | None) -> Iterator[Result]:
    """Another root than the proxies have: istiod does not use it yet, or pods still trust the former one only."""
    roots = roots_of(secret).fingerprints
    given = snapshot.get("ConfigMap", secret.namespace, "istio-ca-root-cert")
    known = of_pem(given.text("data", "root-cert.pem")).fingerprints if given else frozenset()
    if given and known and roots and not known & roots:
        yield CHECK.bad(
            f"Secret {secret.name} has another root than istiod gives to the proxies (ConfigMap istio-ca-root-cert of {secret.namespace})",
            UNTRUSTED,
            about=secret,
            severity=Severity.WARNING,
            proofs=(
                Proof(
                    secret.ref,
                    "data[root-cert.pem]" if secret.name == "cacerts" else "data[ca-cert.pem]",
                    _print(roots),
                ),
                Proof(given.ref, "data[root-cert.pem]", _print(known)),
            ),
            advice="Restart istiod, then the workloads; trust both roots meanwhile, or the two halves refuse each other",
        )
    elif former and (old := roots_of(former).fingerprints) and roots and not old & roots:
        yield CHECK.bad(
            "cacerts has another root than istiod's former CA (istio-ca-secret): pods that are older than the change trust only that",
            about=secret,
            severity=Severity.INFO,
            proofs=(
                Proof(former.ref, "data[ca-cert.pem]", _print(old)),
                Proof(secret.ref, "data[root-cert.pem]", _print(roots)),
            ),
            advice="When all workloads were restarted after the change, istio-ca-secret is not needed any more",
        )


def _print(fingerprints: frozenset[str]) -> str:
    return names([f"sha256 {f[:16]}" for f in sorted(fingerprints)])


CHECK = Check("ca-secret", "Is the CA that istiod signs with whole?", ("Secret",), run)
