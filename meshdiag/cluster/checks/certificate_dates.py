"""Are the certificates of the CA, of the webhooks and of the gateways valid now?

What istiod signs with is `cacerts`, else `istio-ca-secret` (https://istio.io/latest/docs/tasks/security/cert-management/plugin-ca-cert/);
`istio-ca-root-cert` is what the proxies of a namespace trust. Certificates of workloads are in no object, so that nothing is ruled out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from meshdiag.cluster.certificates import Bundle, Certificate, date_fault, dates, of_base64, of_pem
from meshdiag.cluster.checks.gateway_secret import PAIRS, uses
from meshdiag.cluster.mesh import control_planes, system_namespace
from meshdiag.cluster.objects import Object, Ref
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result
from meshdiag.model import Severity

CA: Final = ("istiod-certificate-expired", "mtls-certificate-expired")
ROOT: Final = ("mtls-certificate-expired", "istiod-certificate-expired")
WEBHOOKS: Final = ("injection-webhook-failed", "validation-webhook-failed", "istiod-certificate-expired")
TRUSTED: Final = ("root-cert.pem", "ca.crt", "cacert", "caBundle")
CA_FIELDS: Final = ("ca-cert.pem", "cert-chain.pem", "root-cert.pem", "tls.crt", "ca.crt")


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the CA always, as all of the mesh hangs on it; the roots of the namespace that is asked about; of all when nothing is."""
    if snapshot.taken is None:
        yield CHECK.unknown("when the cluster was read is not known")
        return
    found: list[Result] = []
    seen: set[str] = set()
    for o, field, bundle, causes in _sources(snapshot, about):
        for c in _that_count(field, bundle, snapshot.taken):
            fault = date_fault(c, snapshot.taken)
            key = f"{c.fingerprint} {o.ref.kind} {causes}"
            if not fault or key in seen:
                continue
            seen.add(key)
            soon = fault.startswith("expires in")
            early = "not valid before" in fault
            what = f"the certificate in {o.ref}" if len(bundle.certificates) == 1 else f"a certificate in {o.ref}"
            found.append(
                CHECK.bad(
                    f"{what} ({field}) {fault}",
                    *(() if soon else ("clock-skew", *causes) if early else causes),
                    about=o,
                    severity=Severity.WARNING if soon else Severity.CRITICAL if causes is CA else Severity.ERROR,
                    proofs=(Proof(o.ref, field if field.startswith("webhooks") else f"data[{field}]", dates(c)),),
                    advice="The clock of the issuer or of the machine that read this is wrong" if early else "Renew it",
                )
            )
    yield from found
    if found:
        return
    if why := snapshot.lacks("Secret"):
        yield CHECK.unknown(f"the CA cannot be looked at: {why}")
        return
    some = [b.certificates[0] for _, _, b, causes in _sources(snapshot, about) if causes is CA and b.certificates]
    if some:
        end = min(c.not_after for c in some)
        yield CHECK.good(f"the certificates of the CA are valid until {end:%Y-%m-%d}")
    elif not about:
        yield CHECK.good("no certificate here is out of date")


def _that_count(field: str, bundle: Bundle, now: datetime) -> tuple[Certificate, ...]:
    """Of roots that are trusted side by side the one that lasts longest, as former ones are left in on purpose; of a chain all."""
    some = bundle.certificates
    if not some or not field.endswith(TRUSTED):
        return some
    valid = [c for c in some if c.not_before <= now <= c.not_after]
    return (max(valid or some, key=lambda c: c.not_after),)


def authority(snapshot: Snapshot) -> tuple[Object, ...]:
    """What each istiod signs with: Secret cacerts of its namespace, else istio-ca-secret."""
    spaces = dict.fromkeys(c.namespace for c in control_planes(snapshot)) or {system_namespace(snapshot): None}
    some = (snapshot.get("Secret", s, "cacerts") or snapshot.get("Secret", s, "istio-ca-secret") for s in spaces)
    return tuple(filter(None, some))


def _sources(snapshot: Snapshot, about: About) -> Iterator[tuple[Object, str, Bundle, tuple[str, ...]]]:
    for secret in authority(snapshot):
        for field in CA_FIELDS:
            yield secret, field, of_base64(secret.at("data", field)), CA
    roots: dict[str, list[Object]] = {}
    for c in snapshot.all("ConfigMap", about.namespace or None):
        if c.name == "istio-ca-root-cert":
            roots.setdefault(c.text("data", "root-cert.pem"), []).append(c)
    for text, some in roots.items():
        yield some[0], "root-cert.pem", of_pem(text), ROOT
    for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
        for w in snapshot.all(kind):
            for i, hook in enumerate(w.mappings("webhooks")):
                if str(hook.get("name", "")).endswith("istio.io"):
                    bundle = of_base64(w.at("webhooks", i, "clientConfig", "caBundle"))
                    yield w, f"webhooks[{i}].clientConfig.caBundle", bundle, WEBHOOKS
    if not about:
        yield from _gateways(snapshot)


def _gateways(snapshot: Snapshot) -> Iterator[tuple[Object, str, Bundle, tuple[str, ...]]]:
    done: set[Ref] = set()
    for use in uses(snapshot):
        secret = snapshot.get("Secret", use.namespace, use.name)
        if secret is not None and secret.ref not in done:
            done.add(secret.ref)
            for field in (*(p[0] for p in PAIRS), "ca.crt", "cacert"):
                yield secret, field, of_base64(secret.at("data", field)), ROOT[:1]


CHECK = Check("certificate-dates", "Are the certificates of the mesh valid now?", (), run)
