"""The check `gateway-secret`."""

from __future__ import annotations

from typing import Any

import pytest
from certified import secret
from snapshots import obj, pod, snapshot

from meshdiag.cluster import About, Object, Verdict, checks
from meshdiag.model import Severity

CHECK = checks()["gateway-secret"]
PODS = pod("istio-ingressgateway-6c9dbf6b45-s2fnt", "istio-system", labels={"istio": "ingressgateway"})
NAMED = About(namespace="istio-system", secret="shop-tls")


def gateway(mode: str = "SIMPLE", hosts: tuple[str, ...] = ("shop.example.com",), name: str = "shop-tls") -> Object:
    server = {
        "port": {"number": 443, "protocol": "HTTPS"},
        "hosts": list(hosts),
        "tls": {"mode": mode, "credentialName": name},
    }
    return obj("Gateway", "public", spec={"selector": {"istio": "ingressgateway"}, "servers": [server]})


def ask(*objects: Object, about: About = NAMED, gate: Object | None = None) -> Any:
    return CHECK.ask(snapshot(PODS, gate or gateway(), *objects), about)


def test_a_secret_that_fits() -> None:
    (result,) = ask(secret("shop-tls", "istio-system", hosts=("shop.example.com",)))
    assert result.verdict is Verdict.REFUTED and set(result.causes) == {
        "gateway-secret-missing",
        "gateway-secret-invalid",
    }
    (result,) = ask(secret("shop-tls", "istio-system", hosts=("*.example.com",), keys=("cert", "key")))
    assert result.verdict is Verdict.REFUTED


def test_a_secret_that_is_missing_or_beside_the_wrong_object() -> None:
    (result,) = ask()
    assert result.verdict is Verdict.CONFIRMED and "gateway-secret-missing" in result.causes
    (result,) = ask(secret("shop-tls", "shop"))
    assert "there is one in shop" in result.text and result.proofs[0].field == "spec.servers[0].tls.credentialName"
    (result,) = ask(about=About(namespace="istio-system", workload="istio-ingressgateway"))
    assert result.verdict is Verdict.CONFIRMED
    (result,) = ask(about=About(namespace="shop", workload="reviews"))
    assert result.verdict is Verdict.NOT_CHECKABLE, "no gateway"
    (result,) = ask(about=About(namespace="shop", secret="other"))
    assert result.verdict is Verdict.NOT_CHECKABLE, "only Secrets that something names are read"
    rule = obj(
        "DestinationRule",
        "out",
        spec={"host": "x.org", "trafficPolicy": {"tls": {"mode": "MUTUAL", "credentialName": "other"}}},
    )
    (result,) = ask(rule, about=About(namespace="shop", secret="other"))
    assert result.verdict is Verdict.CONFIRMED and "no Secret other" in result.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tls.key": "meshdiag:key-does-not-match"}, "belongs to another certificate"),
        ({"tls.key": "meshdiag:key-unreadable"}, "no private key that can be read"),
        ({"tls.crt": "meshdiag:removed"}, "no certificate that can be read"),
        ({"tls.crt": "bm8="}, "no certificate that can be read"),
        ({"tls.key": None}, "has tls.crt and not"),
    ],
)
def test_contents_that_do_not_serve(change: dict[str, Any], said: str) -> None:
    one = secret("shop-tls", "istio-system", hosts=("shop.example.com",))
    data = {k: v for k, v in {**one.raw["data"], **change}.items() if v is not None}
    one.raw["data"] = data  # type: ignore[index]
    results = ask(one)
    assert said in results[0].text and "gateway-secret-invalid" in results[0].causes
    assert "LS0t" not in str(results), "no certificate is told"


def test_dates() -> None:
    (result,) = ask(secret("shop-tls", "istio-system", hosts=("shop.example.com",), days=(-90, -1)))
    assert "expired on 2026-11-21" in result.text and result.causes == ("mtls-certificate-expired",)
    (result,) = ask(secret("shop-tls", "istio-system", hosts=("shop.example.com",), days=(2, 90)))
    assert "not valid before" in result.text and "clock-skew" in result.causes
    (result,) = ask(secret("shop-tls", "istio-system", hosts=("shop.example.com",), days=(-80, 5)))
    assert "expires in" in result.text and result.severity is Severity.WARNING and not result.causes
    state = snapshot(PODS, gateway(), secret("shop-tls", "istio-system", hosts=("shop.example.com",), days=(-90, -1)))
    assert CHECK.ask(state)[0].verdict is Verdict.REFUTED, "the dates of all are the matter of certificate-dates"


def test_names() -> None:
    (result,) = ask(secret("shop-tls", "istio-system", hosts=("other.example.com",)))
    assert "does not name shop.example.com" in result.text and result.severity is Severity.WARNING
    (result,) = ask(secret("shop-tls", "istio-system", hosts=("x.org",)), gate=gateway(hosts=("*",)))
    assert result.verdict is Verdict.REFUTED
    (result,) = ask(
        secret("shop-tls", "istio-system", hosts=("*.example.com",)), gate=gateway(hosts=("*.example.com",))
    )
    assert result.verdict is Verdict.REFUTED
    (result,) = ask(secret("shop-tls", "istio-system", hosts=("*.com",)), gate=gateway(hosts=("shop/a.b.com",)))
    assert result.verdict is Verdict.CONFIRMED, "a wildcard is one label"


def test_a_ca_for_clients() -> None:
    one = secret("shop-tls", "istio-system", hosts=("shop.example.com",))
    (result,) = ask(one, gate=gateway("MUTUAL"))
    assert "has a CA" in result.text
    other = obj("Secret", "shop-tls-cacert", "istio-system", data={"cacert": one.raw["data"]["tls.crt"]})
    (result,) = ask(one, other, gate=gateway("MUTUAL"))
    assert result.verdict is Verdict.REFUTED
    (result,) = ask(gate=gateway("PASSTHROUGH"), about=About())
    assert result.verdict is Verdict.REFUTED, "no Secret is used"


def test_the_gateway_api() -> None:
    ref = {"name": "shop-tls", "namespace": "certs"}
    listener = {"name": "https", "port": 443, "hostname": "shop.example.com", "tls": {"certificateRefs": [ref]}}
    gate = obj("KubernetesGateway", "gw", spec={"listeners": [listener]})
    one = secret("shop-tls", "certs", hosts=("shop.example.com",))
    (result,) = CHECK.ask(snapshot(gate, one), About(gateway="gw"))
    assert "no ReferenceGrant" in result.text and result.edits[0].patch["spec"]["to"] == [
        {"group": "", "kind": "Secret", "name": "shop-tls"}
    ]
    grant = obj(
        "ReferenceGrant",
        "g",
        "certs",
        spec={"from": [{"kind": "Gateway", "namespace": "shop"}], "to": [{"kind": "Secret"}]},
    )
    (result,) = CHECK.ask(snapshot(gate, one, grant), About(gateway="gw"))
    assert result.verdict is Verdict.REFUTED


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(unread={"Secret": "403"}), NAMED)
    assert result.verdict is Verdict.NOT_CHECKABLE
    (result,) = CHECK.ask(snapshot(unread={"Gateway": "403", "KubernetesGateway": "404"}), NAMED)
    assert result.verdict is Verdict.NOT_CHECKABLE
    (result,) = CHECK.ask(
        snapshot(PODS, gateway(), namespaces=frozenset({"shop"})), About(namespace="shop", gateway="public")
    )
    assert result.verdict is not Verdict.CONFIRMED
