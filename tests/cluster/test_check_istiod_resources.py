"""The check `istiod-resources`."""

from __future__ import annotations

from typing import Any

import pytest
from snapshots import istiod, obj, pod, snapshot

from meshdiag.cluster import About, Object, Result, Verdict, checks

CHECK = checks()["istiod-resources"]
WEB = About(namespace="shop", workload="web")
CHART = {"requests": {"cpu": "500m", "memory": "2048Mi"}}


def plane(resources: dict[str, Any] | None = None, **status: Any) -> tuple[Object, Object]:
    d, p = istiod()
    d.raw["spec"]["template"]["spec"]["containers"][0]["resources"] = CHART if resources is None else resources
    p.raw["status"]["containerStatuses"][0].update(status)
    return d, p


def hpa(now: int, cpu: int, **status: Any) -> Object:
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
    }
    measured = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": cpu}}}
    return obj(
        "HorizontalPodAutoscaler", "istiod", "istio-system",
        spec={"maxReplicas": 5, "minReplicas": 1, "metrics": [metric],
              "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "istiod"}},
        status={"currentReplicas": now, "desiredReplicas": now, "currentMetrics": [measured], **status},
    )  # fmt: skip


def one(*objects: Object, **more: Any) -> Result:
    (result,) = CHECK.ask(snapshot(*objects, **more), WEB)
    return result


def many(number: int) -> list[Object]:
    return [pod(f"web-6c9dbf6b45-{i:05}") for i in range(number)]


def test_the_charts_defaults_are_fine() -> None:
    result = one(*plane(), *many(3))
    assert result.verdict is Verdict.REFUTED
    assert result.text == "istiod in istio-system requests 500m and 2Gi, without memory limit, for 3 proxies"
    assert one(*plane(), hpa(1, 20)).verdict is Verdict.REFUTED


def test_out_of_memory() -> None:
    end = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-11-22T11:00:00Z"}}
    resources = {**CHART, "limits": {"memory": "4Gi"}}
    result = one(*plane(resources, lastState=end, restartCount=2))
    assert result.causes == ("istiod-out-of-memory",) and "its limit is 4Gi" in result.text
    end["terminated"]["finishedAt"] = "2026-11-02T11:00:00Z"
    assert one(*plane(lastState=end, restartCount=2)).verdict is Verdict.REFUTED, "weeks ago"
    end["terminated"].update(finishedAt="2026-11-22T11:00:00Z", reason="Error")
    assert one(*plane(lastState=end, restartCount=2)).verdict is Verdict.REFUTED, "SIGKILL has other reasons, too"


@pytest.mark.parametrize(
    ("resources", "proxies", "text"),
    [
        ({"requests": {"memory": "64Mi"}, "limits": {"memory": "128Mi"}}, 1, "memory limit of istiod is 128Mi"),
        ({"requests": {"memory": "256Mi"}, "limits": {"memory": "256Mi"}}, 400, "400 proxies take about 286Mi"),
        ({}, 1, "requests no memory"),
        ({"requests": {"memory": "2Gi"}, "limits": {"cpu": "100m"}}, 1, "CPU limit of istiod is 100m"),
    ],
)
def test_too_little(resources: dict[str, Any], proxies: int, text: str) -> None:
    result = one(*plane(resources), *many(proxies))
    assert result.verdict is Verdict.CONFIRMED and text in result.text and not result.causes


@pytest.mark.parametrize(
    "resources",
    [
        {"limits": {"memory": "2Gi"}},
        {"requests": {"memory": "256Mi"}, "limits": {"memory": "1Gi", "cpu": "1"}},
        {"requests": {"memory": "2147483648"}, "limits": {"memory": "junk"}},
    ],
)
def test_enough(resources: dict[str, Any]) -> None:
    assert one(*plane(resources), *many(10)).verdict is Verdict.REFUTED


def test_the_autoscaler() -> None:
    result = one(*plane(), hpa(5, 140))
    assert result.causes == ("xds-push-slow",) and "maximum of 5 replicas" in result.text
    assert one(*plane(), hpa(5, 60)).verdict is Verdict.REFUTED, "at the maximum and under its target"
    assert one(*plane(), hpa(4, 140)).verdict is Verdict.REFUTED, "it grows"
    broken = [
        {"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric", "message": "no metrics"}
    ]
    assert "does not work: no metrics" in one(*plane(), hpa(1, 20, conditions=broken)).text


def test_not_checkable() -> None:
    assert one(*many(1)).verdict is Verdict.NOT_CHECKABLE
