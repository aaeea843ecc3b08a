"""The check `ca-secret`."""

from __future__ import annotations

from typing import Any

import pytest
from certified import Signed, certificate, encoded
from snapshots import istiod, obj, snapshot

from meshdiag.cluster import Object, Result, Verdict, checks
from meshdiag.model import Severity

CHECK = checks()["ca-secret"]
ROOT = certificate("root", ca=True)
BETWEEN = certificate("between", ca=True, by=ROOT)
SIGNING = certificate("signing", ca=True, by=BETWEEN)
OTHER = certificate("other", ca=True)
LEAF = certificate("leaf", by=ROOT)


def cacerts(
    signing: Signed = SIGNING, chain: tuple[Signed, ...] = (SIGNING, BETWEEN), root: Signed = ROOT, **change: Any
) -> Object:
    data = {
        "ca-cert.pem": encoded(signing),
        "cert-chain.pem": encoded(*chain),
        "root-cert.pem": encoded(root),
        "ca-key.pem": "meshdiag:key-matches",
    }
    data = {
        k: v
        for k, v in {**data, **{k.replace("_", "-") + ".pem": v for k, v in change.items()}}.items()
        if v is not None
    }
    return obj("Secret", "cacerts", "istio-system", data=data)


def ask(*objects: Object) -> Result:
    (result,) = CHECK.ask(snapshot(*istiod(), *objects))
    return result


def test_a_ca_that_is_whole() -> None:
    result = ask(cacerts())
    assert result.verdict is Verdict.REFUTED and result.causes == ("istiod-ca-invalid",)
    assert ask(cacerts(ROOT, (ROOT,))).verdict is Verdict.REFUTED, "a root that signs itself"
    direct = certificate("direct", ca=True, by=ROOT)
    assert ask(cacerts(direct, cert_chain="")).verdict is Verdict.REFUTED, "the root signed it, nothing is between"
    as_tls = obj("Secret", "cacerts", "istio-system", data={
        "tls.crt": encoded(SIGNING, BETWEEN), "tls.key": "meshdiag:key-matches", "ca.crt": encoded(ROOT)})  # fmt: skip
    assert ask(as_tls).verdict is Verdict.REFUTED
    own = obj(
        "Secret",
        "istio-ca-secret",
        "istio-system",
        data={"ca-cert.pem": encoded(ROOT), "ca-key.pem": "meshdiag:key-matches"},
    )
    assert ask(own).verdict is Verdict.REFUTED


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        (cacerts(ca_key=None), "lacks ca-key.pem"),
        (cacerts(cert_chain=None), "lacks cert-chain.pem"),
        (cacerts(cert_chain=""), "does not lead to its root"),
        (cacerts(ca_key=""), "no private key"),
        (cacerts(ca_key="meshdiag:key-does-not-match"), "belongs to another certificate"),
        (cacerts(ca_key="meshdiag:key-unreadable"), "no private key"),
        (cacerts(root_cert="meshdiag:removed"), "no root certificate"),
        (cacerts(chain=(SIGNING,)), "does not lead to its root"),
        (cacerts(root=OTHER), "does not lead to its root"),
        (cacerts(LEAF, (LEAF,)), "no CA's"),
    ],
)
def test_a_ca_that_is_not(secret: Object, said: str) -> None:
    result = ask(secret)
    assert result.verdict is Verdict.CONFIRMED and said in result.text and "istiod-ca-invalid" in result.causes


def test_a_root_that_changed() -> None:
    given = obj("ConfigMap", "istio-ca-root-cert", "istio-system", data={"root-cert.pem": OTHER.pem})
    result = ask(cacerts(), given)
    assert result.causes == ("ca-untrusted",) and result.severity is Severity.WARNING
    both = obj("ConfigMap", "istio-ca-root-cert", "istio-system", data={"root-cert.pem": OTHER.pem + ROOT.pem})
    assert ask(cacerts(), both).verdict is Verdict.REFUTED, "both are trusted"
    former = obj("Secret", "istio-ca-secret", "istio-system", data={"ca-cert.pem": encoded(OTHER)})
    result = ask(cacerts(), former)
    assert result.severity is Severity.INFO and not result.causes


def test_not_checkable() -> None:
    assert ask().verdict is Verdict.NOT_CHECKABLE
    (result,) = CHECK.ask(snapshot(unread={"Secret": "403"}))
    assert result.verdict is Verdict.NOT_CHECKABLE
    (result,) = CHECK.ask(snapshot(namespaces=frozenset({"shop"})))
    assert result.verdict is Verdict.NOT_CHECKABLE
