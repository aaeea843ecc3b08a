"""The check `webhook-config`."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from snapshots import injector, istiod, namespace, obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Result, Verdict, checks
from meshdiag.model import Severity

CHECK = checks()["webhook-config"]
ANY = About()
ISTIOD = service("istiod", "istio-system", port=443, target=15017, spec={"selector": {"app": "istiod"}})


def pem(body: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"


def root(body: str = "QUJD") -> Object:
    return obj("ConfigMap", "istio-ca-root-cert", "istio-system", data={"root-cert.pem": pem(body)})


def bundled(config: Object, text: str) -> Object:
    for hook in config.raw["webhooks"]:
        hook["clientConfig"]["caBundle"] = base64.b64encode(text.encode()).decode() if text else ""
    return config


def changed(config: Object, **client: Any) -> Object:
    for hook in config.raw["webhooks"]:
        hook["clientConfig"]["service"].update(client)
    return config


def validator(**more: Any) -> Object:
    where = {"name": "istiod", "namespace": "istio-system", "path": "/validate"}
    hook = {"name": "rev.validation.istio.io", "clientConfig": {"caBundle": "LS0t", "service": where}, **more}
    return obj("ValidatingWebhookConfiguration", "istio-validator-istio-system", webhooks=[hook])


def ask(*objects: Object, about: About = ANY, **more: Any) -> tuple[Result, ...]:
    return CHECK.ask(snapshot(*istiod(), ISTIOD, *objects, **more), about)


def test_webhooks_that_are_right() -> None:
    (result,) = ask(bundled(injector(), pem("QUJD")), validator(failurePolicy="Fail"), root())
    assert result.verdict is Verdict.REFUTED and not result.causes


def test_no_injection_webhook() -> None:
    (result,) = ask()
    assert result.verdict is Verdict.CONFIRMED and result.causes == ("sidecar-not-injected",)


@pytest.mark.parametrize(
    ("client", "text"),
    [
        ({"name": "istiod-1-26"}, "service istiod-1-26 of namespace istio-system, which does not exist"),
        ({"path": "/validate"}, "calls /validate, where istiod serves /inject"),
        ({"port": 8443}, "port 8443 of service istiod, which has 443"),
    ],
)
def test_webhooks_that_lead_nowhere(client: dict[str, Any], text: str) -> None:
    (result,) = ask(changed(injector(), **client))
    assert result.verdict is Verdict.CONFIRMED and text in result.text
    assert result.causes == ("injection-webhook-failed",)


def test_paths_and_ports_that_are_right() -> None:
    for client in ({"path": "/inject/cluster/west/net/a"}, {"port": None}):
        (result,) = ask(changed(injector(), **client))
        assert result.verdict is Verdict.REFUTED


def test_an_istiod_that_is_not_ready() -> None:
    down = pod("istiod-1-2", "istio-system", proxied=False, ready=False, labels={"app": "istiod"})
    (result,) = CHECK.ask(snapshot(down, ISTIOD, injector()))
    assert result.verdict is Verdict.CONFIRMED and "no pod is ready" in result.text
    (result,) = CHECK.ask(snapshot(ISTIOD, injector()))
    assert "there is no pod" in result.text
    remote = obj("Service", "istiod", "istio-system", spec={"ports": [{"port": 443}]})
    (result,) = CHECK.ask(snapshot(remote, injector()))
    assert result.verdict is Verdict.REFUTED, "endpoints of an external control plane are written by hand"


def test_a_bundle_that_is_empty_or_of_another_ca() -> None:
    (result,) = ask(bundled(injector(), ""))
    assert result.causes == ("injection-webhook-failed", "istiod-webhook-patch-failed")
    assert result.proofs[0].value == "empty"
    (result,) = ask(bundled(injector(), pem("WFla")), root())
    assert result.verdict is Verdict.CONFIRMED and "another CA" in result.text
    (result,) = ask(bundled(injector(), pem("WFla") + pem("QUJD")), root())
    assert result.verdict is Verdict.REFUTED, "one of them is the root"
    (result,) = ask(bundled(injector(), pem("WFla")))
    assert result.verdict is Verdict.REFUTED, "the root is not known"
    deployment, _ = istiod()
    deployment.raw["spec"]["template"]["spec"]["containers"][0]["env"] = [
        {"name": "PILOT_CERT_PROVIDER", "value": "k8s.io/clusterissuers.cert-manager.io/istio"}
    ]
    (result,) = CHECK.ask(snapshot(deployment, ISTIOD, istiod()[1], bundled(injector(), pem("WFla")), root()))
    assert result.verdict is Verdict.REFUTED, "istiod's own certificate is of another CA"


def test_validation() -> None:
    right = injector()
    broken = validator(failurePolicy="Fail")
    broken.raw["webhooks"][0]["clientConfig"]["caBundle"] = ""
    (result,) = ask(right, broken)
    assert result.causes == ("validation-webhook-failed", "istiod-webhook-patch-failed")
    broken = validator(failurePolicy="Ignore")
    broken.raw["webhooks"][0]["clientConfig"]["service"]["name"] = "gone"
    (result,) = ask(right, broken)
    assert result.verdict is Verdict.CONFIRMED and not result.causes, "its failure fails no write"


def test_a_failure_policy_that_lets_pods_through() -> None:
    config = injector()
    for hook in config.raw["webhooks"]:
        hook["failurePolicy"] = "Ignore"
    (result,) = ask(config)
    assert result.severity is Severity.WARNING and "failurePolicy Ignore" in result.text


def test_webhooks_that_are_switched_off_do_not_matter() -> None:
    config = changed(injector(), name="gone")
    for hook in config.raw["webhooks"]:
        hook["namespaceSelector"] = {"matchLabels": {"istio.io/deactivated": "never-match"}}
    assert [r.verdict for r in ask(config)] == [Verdict.REFUTED]


def test_two_injectors_for_the_same_label() -> None:
    canary = service("istiod-1-28", "istio-system", port=443, spec={"selector": {"app": "istiod"}})
    tag = injector("1-28", tag="default", name="istio-revision-tag-default")
    (result,) = ask(canary, injector(), tag)
    assert result.severity is Severity.WARNING and "both inject" in result.text
    (result,) = ask(canary, injector(), injector("1-28", name="istio-sidecar-injector-1-28"))
    assert result.verdict is Verdict.REFUTED


def test_of_a_pod_only_the_webhooks_that_are_called_for_it() -> None:
    stale = changed(injector("1-26", name="istio-sidecar-injector-1-26"), name="istiod-1-26")
    objects = injector(), stale, pod("web-1-2", proxied=False)
    about = About(namespace="shop", workload="web")
    (result,) = ask(namespace("shop", labels={"istio-injection": "enabled"}), *objects, about=about)
    assert result.verdict is Verdict.REFUTED
    (result,) = ask(namespace("shop", labels={"istio.io/rev": "1-26"}), *objects, about=about)
    assert result.verdict is Verdict.CONFIRMED and "istiod-1-26" in result.text
    (result,) = ask(namespace("shop"), *objects, about=about)
    assert result.verdict is Verdict.NOT_CHECKABLE


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot())
    assert result.verdict is Verdict.NOT_CHECKABLE
    (result,) = ask(injector(), unread={"ValidatingWebhookConfiguration": "403"})
    assert result.verdict is Verdict.REFUTED, "those of injection were read"
    (result,) = ask(changed(injector(), name="gone"), unread={"Service": "403"})
    assert result.verdict is Verdict.REFUTED, "whether the service exists is not known"
