"""The check `mesh-roots`."""

from __future__ import annotations

from certified import certificate, encoded
from snapshots import istiod, mesh_config, obj, pod, snapshot

from meshdiag.cluster import About, Object, Verdict, checks

CHECK = checks()["mesh-roots"]
ROOT = certificate("root", ca=True)
OTHER = certificate("other", ca=True)
SECRET = obj(
    "Secret",
    "istio-ca-secret",
    "istio-system",
    data={"ca-cert.pem": encoded(ROOT), "ca-key.pem": "meshdiag:key-matches"},
)
REVIEWS = pod("reviews-6c9dbf6b45-s2fnt")
OWN = About(namespace="shop", workload="reviews", pod=REVIEWS.name)


def root(text: str, namespace: str = "shop") -> Object:
    return obj("ConfigMap", "istio-ca-root-cert", namespace, data={"root-cert.pem": text})


def test_roots() -> None:
    (result,) = CHECK.ask(snapshot(*istiod(), SECRET, REVIEWS, root(OTHER.pem)), OWN)
    assert result.verdict is Verdict.CONFIRMED and set(result.causes) == {"ca-untrusted", "mtls-certificate-untrusted"}
    (result,) = CHECK.ask(snapshot(*istiod(), SECRET, REVIEWS, root(ROOT.pem)), OWN)
    assert result.verdict is Verdict.REFUTED and not result.causes
    (result,) = CHECK.ask(snapshot(*istiod(), SECRET, REVIEWS, root(OTHER.pem + ROOT.pem)), OWN)
    assert result.verdict is Verdict.REFUTED, "both are trusted while the CA changes"
    (result,) = CHECK.ask(snapshot(*istiod(), root(ROOT.pem, "istio-system"), REVIEWS, root(OTHER.pem)), OWN)
    assert result.verdict is Verdict.CONFIRMED, "what istiod gives to its own namespace says it as well"
    cart = About(namespace="cart", workload="cart", pod="cart-6c9dbf6b45-s2fnt")
    state = snapshot(
        *istiod(), SECRET, REVIEWS, root(OTHER.pem), pod("cart-6c9dbf6b45-s2fnt", "cart"), root(ROOT.pem, "cart")
    )
    (result,) = CHECK.ask(state, cart)
    assert result.verdict is Verdict.REFUTED, "another namespace is asked about"
    assert CHECK.ask(state)[0].verdict is Verdict.CONFIRMED


def test_a_root_that_is_missing() -> None:
    chosen = mesh_config("discoverySelectors:\n- matchLabels: {mesh: 'on'}\n")
    (result,) = CHECK.ask(snapshot(*istiod(), SECRET, REVIEWS, root(ROOT.pem, "other"), chosen), OWN)
    assert result.causes == ("ca-untrusted",) and "discoverySelectors" in result.text
    (result,) = CHECK.ask(snapshot(*istiod(), SECRET, REVIEWS), OWN)
    assert result.verdict is Verdict.REFUTED, "a capture without any such ConfigMap proves nothing"


def test_trust_domains() -> None:
    moved = pod("reviews-6c9dbf6b45-s2fnt")
    moved.raw["spec"]["containers"][1]["env"] = [{"name": "TRUST_DOMAIN", "value": "corp"}]
    objects = *istiod(), SECRET, moved, root(ROOT.pem)
    (result,) = CHECK.ask(snapshot(*objects, mesh_config("trustDomain: cluster.local")), OWN)
    assert result.causes == ("mtls-identity-mismatch",)
    (result,) = CHECK.ask(snapshot(*objects, mesh_config("trustDomainAliases: [corp]")), OWN)
    assert result.verdict is Verdict.REFUTED


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(*istiod(), REVIEWS), OWN)
    assert result.verdict is Verdict.NOT_CHECKABLE
    two = *istiod(), *istiod("istio-two", revision="two")
    (result,) = CHECK.ask(snapshot(*two, SECRET, REVIEWS, root(OTHER.pem)), OWN)
    assert result.verdict is Verdict.NOT_CHECKABLE and "several control planes" in result.text
    assert CHECK.ask(snapshot())[0].verdict is Verdict.REFUTED
