"""The check `probes`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from snapshots import deployment, namespace, obj, pod, snapshot

from meshdiag.cluster import About, Object, Result, Verdict, checks
from meshdiag.model import Severity

CHECK = checks()["probes"]
NAME = "web-6c9dbf6b45-s2fnt"
WEB = About(namespace="shop", workload="web")
ALL = About()
STRICT = obj("PeerAuthentication", "default", spec={"mtls": {"mode": "STRICT"}})
HTTP = {"httpGet": {"port": 8080, "path": "/healthz"}}
ASKED = {"httpGet": {"port": 15020, "path": "/app-health/app/readyz"}}


def web(
    *, probe: dict[str, Any] | None = None, probers: object = None, kind: str = "readinessProbe", **raw: Any
) -> Object:
    """A pod whose container `app` has this probe, and whose istio-proxy has these probers."""
    made = pod(NAME, **raw)
    if probe:
        made.raw["spec"]["containers"][0][kind] = probe
    if probers is not None:
        value = probers if isinstance(probers, str) else json.dumps(probers)
        made.raw["spec"]["containers"][1]["env"] = [{"name": "ISTIO_KUBE_APP_PROBERS", "value": value}]
    return made  # fmt: skip


def ask(*objects: Object, about: About = ALL, **more: Any) -> tuple[Result, ...]:
    return CHECK.ask(snapshot(*objects, **more), about)


def bad(*objects: Object, about: About = ALL, **more: Any) -> Result:
    (result,) = (r for r in ask(*objects, about=about, **more) if r.verdict is Verdict.CONFIRMED)
    return result


def fine(*objects: Object, **more: Any) -> bool:
    return all(r.verdict is Verdict.REFUTED for r in ask(*objects, **more))


def test_which_probe_is_not_answered() -> None:
    result = bad(web(probe=HTTP, ready=False))
    assert (
        "app of pod web-6c9dbf6b45-s2fnt is not ready: its readiness probe (http 8080/healthz) does not" in result.text
    )
    assert result.causes == ("health-probe-failed",)
    assert [p.field for p in result.proofs] == [
        "status.containerStatuses[0].ready",
        "spec.containers[0].readinessProbe.httpGet",
    ]
    other = {"httpGet": {"port": 9090, "path": "/healthz"}}
    assert "the container declares only 8080" in bad(web(probe=other, ready=False)).text


def test_a_rewritten_probe_is_told_as_the_application_has_it() -> None:
    made = web(probe=ASKED, probers={"/app-health/app/readyz": HTTP}, ready=False)
    assert "its readiness probe (http 8080/healthz), asked through the agent, does not succeed" in bad(made).text
    made = web(probe=ASKED, probers="meshdiag:removed", ready=False)
    assert "(http 15020/app-health/app/readyz)" in bad(made).text, "what it asks cannot be read"
    for how in ({"tcpSocket": {"port": 8080}}, {"grpc": {"port": 8080}}):
        assert fine(web(probe=ASKED, probers={"/app-health/app/readyz": how}))


def test_the_kubelets_words() -> None:
    event = obj("Event", "e", reason="Unhealthy", message="Readiness probe failed: HTTP probe failed with statuscode: 503",
                lastTimestamp="2026-11-22T11:59:00Z", involvedObject={
                    "kind": "Pod", "namespace": "shop", "name": NAME, "fieldPath": "spec.containers{app}"})  # fmt: skip
    assert "statuscode: 503" in bad(web(probe=HTTP, ready=False), event).text
    event.raw["lastTimestamp"] = "2026-11-22T09:00:00Z"
    assert "statuscode" not in bad(web(probe=HTTP, ready=False), event).text, "that was hours ago"


def test_a_startup_probe() -> None:
    made = web(probe=HTTP, kind="startupProbe", ready=False)
    made.raw["status"]["containerStatuses"][0]["started"] = False
    assert "its startup probe (http 8080/healthz)" in bad(made).text


def test_another_probe_of_the_container_is_not_told() -> None:
    made = web(probe=HTTP, ready=False)
    made.raw["spec"]["containers"][0]["livenessProbe"] = {"tcpSocket": {"port": 9000}}
    made.raw["spec"]["containers"].append({"name": "log", "readinessProbe": {"tcpSocket": {"port": 9001}}})
    assert "its readiness probe (http 8080/healthz)" in bad(made).text
    only = web(probe={"tcpSocket": {"port": 9000}}, kind="livenessProbe", ready=False)
    assert "probe (" not in bad(only).text, "a liveness probe does not make it ready"


def test_the_proxy_itself() -> None:
    made = pod(NAME, ready=False)
    made.raw["status"]["containerStatuses"][0]["ready"] = True
    made.raw["status"]["containerStatuses"][1]["ready"] = False
    result = bad(made)
    assert result.causes == ("proxy-not-ready",) and "15021" in result.text
    made.raw["status"]["containerStatuses"][1]["state"] = {"running": {"startedAt": "2026-11-22T11:59:30Z"}}
    assert fine(made), "it starts"


def test_a_prober_that_the_agent_does_not_have() -> None:
    result = bad(web(probe=ASKED, probers={}))
    assert "its agent has no prober /app-health/app/readyz" in result.text and result.causes == ("health-probe-failed",)
    result = bad(web(probe=ASKED, proxied=False))
    assert "the pod has no sidecar" in result.text
    assert fine(web(probe=ASKED, probers={"/app-health/app/readyz": HTTP}))
    assert fine(web(probe=ASKED, probers="{"))


def test_a_named_port() -> None:
    result = bad(web(probe={"httpGet": {"port": "web", "path": "/"}}))
    assert "names a port that the container does not have" in result.text
    made = web(probe={"httpGet": {"port": "web", "path": "/"}})
    made.raw["spec"]["containers"][0]["ports"][0]["name"] = "web"
    assert fine(made)
    assert fine(web(probe={"httpGet": {"port": 9999, "path": "/"}})), "a number need not be declared"


def test_plaintext_probes_under_strict() -> None:
    off: dict[str, Any] = {"annotations": {"sidecar.istio.io/rewriteAppHTTPProbers": "false"}}
    result = bad(web(probe=HTTP, **off), STRICT, deployment("web"))
    assert result.causes == ("health-probe-failed",) and result.proofs[-1].value == "STRICT"
    (edit,) = result.edits
    annotations = {"sidecar.istio.io/rewriteAppHTTPProbers": "true"}
    assert edit.patch == {"spec": {"template": {"metadata": {"annotations": annotations}}}}
    assert not bad(web(probe=HTTP), STRICT, deployment("web")).edits, "it is switched off for the mesh"


@pytest.mark.parametrize(
    ("probe", "raw", "mode"),
    [
        (HTTP, {}, "PERMISSIVE"),
        ({"tcpSocket": {"port": 8080}}, {}, "STRICT"),
        (HTTP, {"annotations": {"traffic.sidecar.istio.io/excludeInboundPorts": "9000, 8080"}}, "STRICT"),
        (HTTP, {"proxied": False}, "STRICT"),
        ({"exec": {"command": ["true"]}}, {}, "STRICT"),
    ],
)
def test_probes_that_get_through(probe: dict[str, Any], raw: dict[str, Any], mode: str) -> None:
    policy = obj("PeerAuthentication", "default", spec={"mtls": {"mode": mode}})
    assert fine(web(probe=probe, **raw), policy)


def test_without_policies_nothing_is_said_of_plaintext() -> None:
    assert fine(web(probe=HTTP), STRICT, unread={"PeerAuthentication": "403"})


def test_probes_of_istios_own_ports() -> None:
    result = bad(web(probe={"httpGet": {"port": 15021, "path": "/healthz/ready"}}))
    assert result.severity is Severity.WARNING and "Istio's own port" in result.text and not result.causes


def test_ports_that_istio_has() -> None:
    result = bad(pod(NAME, ports=(8080, 15008)))
    assert result.causes == ("proxy-port-conflict",) and result.proofs[0].value == "15008"
    assert fine(pod(NAME, ports=(15010,)), about=ALL), "istiod's, not the proxy's"
    assert fine(pod(NAME, ports=(15021,), proxied=False))
    ambient = namespace("shop", labels={"istio.io/dataplane-mode": "ambient"})
    assert bad(pod(NAME, ports=(15008,), proxied=False), ambient).causes == ("proxy-port-conflict",)
    assert fine(pod(NAME, ports=(15021,), proxied=False), ambient)


def test_metrics_of_the_agent_itself() -> None:
    made = pod(NAME)
    env = {"name": "ISTIO_PROMETHEUS_ANNOTATIONS", "value": '{"scrape":"true","path":"","port":"15020"}'}
    made.raw["spec"]["containers"][1]["env"] = [env]
    assert "metrics-scrape-failed" in bad(made).causes
    env["value"] = '{"scrape":"true","path":"","port":"8080"}'
    assert fine(made)


def test_the_order_of_start() -> None:
    result = bad(pod(NAME), deployment("web"), about=WEB)
    assert result.causes == ("app-started-before-proxy",) and result.severity is Severity.INFO
    annotations = {"proxy.istio.io/config": "holdApplicationUntilProxyStarts: true"}
    assert result.edits[0].patch == {"spec": {"template": {"metadata": {"annotations": annotations}}}}
    kept = pod(NAME, annotations={"proxy.istio.io/config": "concurrency: 2\n"})
    value = {"proxy.istio.io/config": "concurrency: 2\nholdApplicationUntilProxyStarts: true"}
    assert (
        bad(kept, deployment("web"), about=WEB).edits[0].patch["spec"]["template"]["metadata"]["annotations"] == value
    )
    for config in ("holdApplicationUntilProxyStarts: false", "[", "5"):
        odd = pod(NAME, annotations={"proxy.istio.io/config": config})
        assert not bad(odd, deployment("web"), about=WEB).edits
    results = ask(pod(NAME, native=True), about=WEB)
    assert ("app-started-before-proxy",) in [r.causes for r in results if r.verdict is Verdict.REFUTED]
    held = pod(NAME)
    held.raw["spec"]["containers"].reverse()
    held.raw["spec"]["containers"][0]["lifecycle"] = {"postStart": {"exec": {"command": ["pilot-agent", "wait"]}}}
    assert fine(held, about=WEB)
    assert fine(pod(NAME, proxied=False), about=WEB)
    assert fine(pod(NAME)), "no fault of the whole cluster"


def test_pods_of_a_workload_are_told_once() -> None:
    pods = [pod(f"web-6c9dbf6b45-{i}xxxx", ready=False) for i in range(4)]
    assert "(and 3 other pods of Deployment shop/web)" in bad(*pods).text


def test_not_checkable() -> None:
    (result,) = ask(about=WEB)
    assert result.verdict is Verdict.NOT_CHECKABLE
