"""The check `istiod-health`."""

from __future__ import annotations

from typing import Any

from snapshots import deployment, injector, istiod, obj, pod, service, snapshot

from meshdiag.cluster import About, Object, Result, Verdict, checks
from meshdiag.model import Severity

CHECK = checks()["istiod-health"]
ALL = About()
NAME = "istiod-6f8b9d7c54-w4k2m"
ISTIOD = service("istiod", "istio-system", port=15012, target=15012, spec={"selector": {"app": "istiod"}})
WEB = About(namespace="shop", workload="web")


def one(*objects: Object, about: About = WEB, **more: Any) -> Result:
    (result,) = CHECK.ask(snapshot(*objects, **more), about)
    return result


def status(**more: Any) -> Object:
    """The pod of istiod with this status of its container."""
    container = {"name": "discovery", "ready": False, "restartCount": 0, **more}
    labels = {"app": "istiod", "istio.io/rev": "default"}
    return pod(
        NAME,
        "istio-system",
        proxied=False,
        ready=container["ready"],
        labels=labels,
        status={"containerStatuses": [container]},
    )


def test_istiod_that_is_ready() -> None:
    result = one(*istiod(), ISTIOD)
    assert result.verdict is Verdict.REFUTED and not result.causes, "the way to it may be blocked"
    own = About(namespace="istio-system", workload="istiod", pod=NAME)
    assert one(*istiod(), ISTIOD, about=own).causes == ("istiod-crashed", "istiod-out-of-memory")
    again = status(
        ready=True, restartCount=1, lastState={"terminated": {"exitCode": 143, "finishedAt": "2026-11-22T11:50:00Z"}}
    )
    assert not one(istiod()[0], again, ISTIOD, about=own).causes


def test_scaled_to_zero() -> None:
    d, _ = istiod()
    d.raw["spec"]["replicas"] = 0
    result = one(d, ISTIOD)
    assert result.severity is Severity.CRITICAL and {"xds-unreachable", "ca-unreachable"} <= set(result.causes)
    assert result.edits[0].patch == {"spec": {"replicas": 1}}


def test_no_pod_of_istiod() -> None:
    d, _ = istiod()
    d.raw["status"]["conditions"] = [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]
    result = one(d, ISTIOD)
    assert "has no pod: exceeded quota" in result.text and "injection-webhook-failed" in result.causes


def test_istiod_that_crashes() -> None:
    loop = {"waiting": {"reason": "CrashLoopBackOff"}}
    result = one(istiod()[0], status(state=loop, restartCount=7), ISTIOD)
    assert result.causes[0] == "istiod-crashed" and "7 restarts; no other is" in result.text
    memory = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    result = one(istiod()[0], status(state=loop, lastState=memory), ISTIOD)
    assert result.causes[0] == "istiod-out-of-memory"


def test_istiod_that_is_not_ready() -> None:
    waits = status(state={"running": {"startedAt": "2026-11-22T10:00:00Z"}})
    result = one(istiod()[0], waits, ISTIOD)
    assert result.causes[0] == "istiod-not-ready" and result.severity is Severity.CRITICAL
    other = pod(
        "istiod-6f8b9d7c54-other", "istio-system", proxied=False, labels={"app": "istiod", "istio.io/rev": "default"}
    )
    results = CHECK.ask(snapshot(istiod()[0], waits, other, ISTIOD), WEB)
    assert [r.severity for r in results if r.verdict is Verdict.CONFIRMED] == [Severity.WARNING]
    assert results[0].causes == ("istiod-not-ready",), "the other answers"


def test_istiod_that_cannot_be_scheduled() -> None:
    d, p = istiod()
    p.raw["status"] = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient memory"}],
    }
    result = one(d, p, ISTIOD)
    assert "is not ready: 0/1 nodes: Insufficient memory; no other is" in result.text
    assert "istiod-not-ready" not in result.causes and "xds-unreachable" in result.causes


def test_ends_within_the_hour() -> None:
    def ended(**end: Any) -> Result | None:
        results = CHECK.ask(
            snapshot(istiod()[0], status(ready=True, restartCount=1, lastState={"terminated": end}), ISTIOD), WEB
        )
        return next((r for r in results if r.verdict is Verdict.CONFIRMED and "ended" in r.text), None)

    crashed = ended(exitCode=2, finishedAt="2026-11-22T11:50:00Z")
    assert crashed and crashed.causes == ("istiod-crashed",)
    memory = ended(exitCode=137, reason="OOMKilled", finishedAt="2026-11-22T11:50:00Z")
    assert memory and memory.causes == ("istiod-out-of-memory",)
    assert ended(exitCode=2, finishedAt="2026-11-20T11:50:00Z") is None
    assert ended(exitCode=0, finishedAt="2026-11-22T11:50:00Z") is None


def test_its_service() -> None:
    assert "its Service istiod does not exist" in one(*istiod()).text
    astray = service("istiod", "istio-system", port=15012)
    astray.raw["spec"]["selector"] = {"app": "pilot"}
    assert "does not select the pods" in one(*istiod(), astray).text
    closed = service("istiod", "istio-system", port=443, spec={"selector": {"app": "istiod"}})
    assert "no port 15012" in one(*istiod(), closed).text
    empty = obj("EndpointSlice", "istiod-x", "istio-system", labels={"kubernetes.io/service-name": "istiod"},
                endpoints=[{"addresses": ["10.42.0.9"], "conditions": {"ready": False}}])  # fmt: skip
    assert "no ready endpoint" in one(*istiod(), ISTIOD, empty).text
    assert one(*istiod(), unread={"Service": "403"}).verdict is Verdict.REFUTED


def test_the_control_plane_of_the_proxy() -> None:
    canary = service("istiod-canary", "istio-system", port=15012, spec={"selector": {"app": "istiod"}})
    d, _ = istiod(revision="canary")
    d = obj("Deployment", "istiod-canary", "istio-system", **{k: v for k, v in d.raw.items() if k in ("spec", "status")},
            labels=d.labels)  # fmt: skip
    d.raw["spec"]["replicas"] = 0
    web = pod("web-6c9dbf6b45-s2fnt", labels={"app": "web", "istio.io/rev": "default"})
    objects = *istiod(), ISTIOD, canary, d, web
    assert one(*objects).verdict is Verdict.REFUTED, "that the other is down does not matter"
    web.raw["metadata"]["labels"]["istio.io/rev"] = "canary"
    assert "scaled to 0" in one(*objects).text


def test_one_replica_is_a_hint_and_a_warning_where_many_depend_on_it() -> None:
    (hint,) = CHECK.ask(snapshot(*istiod(), ISTIOD))
    assert hint.verdict is Verdict.REFUTED and hint.text.endswith("production wants two")
    nodes = [obj("Node", f"node-{i}") for i in range(3)]
    pods = [pod(f"web-6c9dbf6b45-{i:05}") for i in range(50)]
    bad, _ = CHECK.ask(snapshot(*istiod(), ISTIOD, *nodes, *pods))
    assert bad.severity is Severity.WARNING and "one replica" in bad.text
    assert one(*istiod(), ISTIOD, *nodes, *pods).verdict is Verdict.REFUTED, "it explains no finding"
    second = pod(
        "istiod-6f8b9d7c54-other", "istio-system", proxied=False, labels={"app": "istiod", "istio.io/rev": "default"}
    )
    (good,) = CHECK.ask(snapshot(*istiod(), second, ISTIOD, *nodes, *pods))
    assert good.verdict is Verdict.REFUTED and good.text.startswith("2 ready pods") and "wants" not in good.text


def test_no_istiod_at_all() -> None:
    web = pod("web-6c9dbf6b45-s2fnt")
    result = one(web)
    assert result.verdict is Verdict.CONFIRMED and result.severity is Severity.CRITICAL
    assert one(web, ISTIOD).about == ISTIOD.ref
    outside = obj(
        "Service", "istiod", "istio-system", spec={"type": "ExternalName", "externalName": "istiod.example.com"}
    )
    assert one(web, outside).verdict is Verdict.NOT_CHECKABLE
    hooks = injector()
    hooks.raw["webhooks"][0]["clientConfig"] = {"url": "https://istiod.example.com/inject"}
    assert one(web, hooks).verdict is Verdict.NOT_CHECKABLE
    assert one(web, namespaces=frozenset({"shop"})).verdict is Verdict.NOT_CHECKABLE
    assert one(web, unread={"Deployment": "403"}).verdict is Verdict.NOT_CHECKABLE
    assert one(deployment("web")).verdict is Verdict.NOT_CHECKABLE, "no mesh"
