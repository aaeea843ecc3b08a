"""The check `certificate-dates`, and how certificates are read."""

from __future__ import annotations

import base64

from certified import certificate, encoded, secret
from hypothesis import given
from hypothesis import strategies as st
from snapshots import istiod, obj, pod, snapshot

from meshdiag.cluster import About, Object, Verdict, checks
from meshdiag.cluster.certificates import MOST, of_base64, of_pem
from meshdiag.model import Severity

CHECK = checks()["certificate-dates"]
ROOT = certificate("root", ca=True)
OLD = certificate("old root", ca=True, days=(-400, -1))


def authority(name: str, root: str, namespace: str = "istio-system") -> Object:
    return obj("Secret", name, namespace, data={"ca-cert.pem": root, "ca-key.pem": "meshdiag:key-matches"})


def test_the_ca() -> None:
    (result,) = CHECK.ask(snapshot(*istiod(), authority("istio-ca-secret", encoded(OLD))))
    assert result.verdict is Verdict.CONFIRMED and "istiod-certificate-expired" in result.causes
    assert result.severity is Severity.CRITICAL and result.proofs[0].value == "O=old root: 2025-10-18 to 2026-11-21"
    (result,) = CHECK.ask(snapshot(*istiod(), authority("istio-ca-secret", encoded(ROOT))))
    assert result.verdict is Verdict.REFUTED and "valid until" in result.text
    both = authority("istio-ca-secret", encoded(OLD)), authority("cacerts", encoded(ROOT))
    (result,) = CHECK.ask(snapshot(*istiod(), *both))
    assert result.verdict is Verdict.REFUTED, "istiod signs with cacerts"
    early = certificate("early", ca=True, days=(1, 100))
    (result,) = CHECK.ask(snapshot(*istiod(), authority("cacerts", encoded(early))))
    assert result.causes[0] == "clock-skew"


def test_roots_and_webhooks() -> None:
    root = obj("ConfigMap", "istio-ca-root-cert", data={"root-cert.pem": OLD.pem})
    same = obj("ConfigMap", "istio-ca-root-cert", "other", data={"root-cert.pem": OLD.pem})
    (result,) = CHECK.ask(snapshot(root, same))
    assert "mtls-certificate-expired" in result.causes, "the same root is told once"
    (result,) = CHECK.ask(snapshot(root), About(namespace="elsewhere", workload="x"))
    assert result.verdict is not Verdict.CONFIRMED
    hook = {"name": "rev.namespace.sidecar-injector.istio.io", "clientConfig": {"caBundle": encoded(OLD)}}
    (result,) = CHECK.ask(snapshot(obj("MutatingWebhookConfiguration", "istio-sidecar-injector", webhooks=[hook])))
    assert "injection-webhook-failed" in result.causes
    hook = {**hook, "name": "other.example.com"}
    assert (
        CHECK.ask(snapshot(obj("MutatingWebhookConfiguration", "other", webhooks=[hook])))[0].verdict is Verdict.REFUTED
    )


def test_former_roots_are_left_in_on_purpose() -> None:
    both = obj("ConfigMap", "istio-ca-root-cert", data={"root-cert.pem": OLD.pem + ROOT.pem})
    assert CHECK.ask(snapshot(both))[0].verdict is Verdict.REFUTED
    chain = obj(
        "Secret", "cacerts", "istio-system", data={"ca-cert.pem": encoded(ROOT), "root-cert.pem": encoded(OLD, ROOT)}
    )
    assert CHECK.ask(snapshot(*istiod(), chain))[0].verdict is Verdict.REFUTED


def test_gateways() -> None:
    server = {"hosts": ["*"], "tls": {"mode": "SIMPLE", "credentialName": "tls"}}
    gate = obj("Gateway", "public", spec={"selector": {"istio": "gw"}, "servers": [server]})
    gw = pod("gw-6c9dbf6b45-s2fnt", labels={"istio": "gw"})
    (result,) = CHECK.ask(snapshot(gate, gw, secret("tls", "shop", days=(-90, 3))))
    assert "expires in 3 days" in result.text and result.severity is Severity.WARNING and not result.causes
    short = secret("tls", "shop", days=(-1, 3))
    assert CHECK.ask(snapshot(gate, gw, short))[0].verdict is Verdict.REFUTED, "made to last some days only"


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(unread={"Secret": "403"}))
    assert result.verdict is Verdict.NOT_CHECKABLE
    (result,) = CHECK.ask(snapshot(authority("cacerts", encoded(OLD)), taken=None))
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_what_is_read_is_bounded() -> None:
    assert len(of_pem(ROOT.pem * (MOST + 5)).certificates) == MOST
    assert of_pem("x" * (1 << 20)) == of_pem("") == of_base64(7) == of_base64("§")
    broken = ROOT.pem.replace("MII", "MIX", 1)
    assert of_pem(broken).broken == 1 and of_pem(broken + ROOT.pem).certificates


@given(st.binary(max_size=200))
def test_junk_is_no_certificate(junk: bytes) -> None:
    body = base64.b64encode(junk).decode()
    found = of_pem(f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    assert not found.certificates
