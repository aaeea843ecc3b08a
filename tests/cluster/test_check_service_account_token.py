"""The check `service-account-token`."""

from __future__ import annotations

from typing import Any

from snapshots import obj, pod, snapshot

from meshdiag.cluster import About, Object, Verdict, checks

CHECK = checks()["service-account-token"]
WEB = About(namespace="shop", workload="web")


def web(audience: str | None = "istio-ca", *, mounted: bool = True, projected: bool = True) -> Object:
    token: dict[str, Any] = {"path": "istio-token"} | ({"audience": audience} if audience else {})
    volume = {"name": "istio-token"} | (
        {"projected": {"sources": [{"serviceAccountToken": token}]}} if projected else {"emptyDir": {}}
    )
    p = pod("web-6c9dbf6b45-s2fnt", spec={"volumes": [volume]})
    if mounted:
        p.raw["spec"]["containers"][-1]["volumeMounts"] = [
            {"name": "istio-token", "mountPath": "/var/run/secrets/tokens"}
        ]
    return p


ACCOUNT = obj("ServiceAccount", "default")


def test_all_is_there() -> None:
    (result,) = CHECK.ask(snapshot(web(), ACCOUNT), WEB)
    assert result.verdict is Verdict.REFUTED and result.causes == ("service-account-token-missing",)
    (result,) = CHECK.ask(snapshot(web(), ACCOUNT))
    assert result.verdict is Verdict.REFUTED and not result.causes


def test_no_token() -> None:
    for bad in (web(mounted=False), web(projected=False)):
        (result,) = CHECK.ask(snapshot(bad, ACCOUNT), WEB)
        assert result.verdict is Verdict.CONFIRMED and result.causes == ("service-account-token-missing",)


def test_another_audience() -> None:
    (result,) = CHECK.ask(snapshot(web("kubernetes"), ACCOUNT), WEB)
    assert "for the audience kubernetes" in result.text and "ca-rejected-identity" in result.causes


def test_the_account_is_gone() -> None:
    named = web()
    named.raw["spec"]["serviceAccountName"] = "web"
    (result,) = CHECK.ask(snapshot(named, ACCOUNT), WEB)
    assert "does not exist any more" in result.text and "xds-rejected-identity" in result.causes
    for state in (snapshot(named), snapshot(named, unread={"ServiceAccount": "forbidden"})):
        (result,) = CHECK.ask(state, WEB)
        assert result.verdict is Verdict.REFUTED


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(pod("web-6c9dbf6b45-s2fnt", proxied=False)), WEB)
    assert result.verdict is Verdict.NOT_CHECKABLE
    (result,) = CHECK.ask(snapshot(unread={"Pod": "forbidden"}), WEB)
    assert result.verdict is Verdict.NOT_CHECKABLE
