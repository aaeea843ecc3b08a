"""The check `proxy-resources`."""

from __future__ import annotations

from typing import Any

import pytest
from snapshots import pod, snapshot

from meshdiag.cluster import About, Object, Result, Verdict, checks
from meshdiag.model import Severity

CHECK = checks()["proxy-resources"]
WEB = About(namespace="shop", workload="web")
ALL = About()
CHART = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "1024Mi"}}


def web(resources: dict[str, Any] | None = None, name: str = "web-6c9dbf6b45-s2fnt", **status: Any) -> Object:
    made = pod(name)
    made.raw["spec"]["containers"][1]["resources"] = CHART if resources is None else resources
    made.raw["status"]["containerStatuses"][1].update(status)
    return made


def one(*objects: Object, about: About = WEB, **more: Any) -> Result:
    (result,) = CHECK.ask(snapshot(*objects, **more), about)
    return result


def test_the_charts_defaults_are_fine() -> None:
    result = one(web())
    assert result.verdict is Verdict.REFUTED and not result.causes
    assert result.text == "istio-proxy of web-6c9dbf6b45-s2fnt requests 128Mi, memory limit 1Gi"


def test_what_all_take() -> None:
    pods = [web(name=f"web-6c9dbf6b45-{i:05}") for i in range(20)]
    result = one(*pods, about=ALL)
    assert result.text == "20 sidecars request 2.5Gi; at 50 to 100 MB each sidecars take 1,000 to 2,000 MB"


def test_out_of_memory() -> None:
    end = {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-11-22T11:00:00Z"}}
    result = one(web(lastState=end, restartCount=1))
    assert result.causes == ("proxy-out-of-memory",) and "its limit is 1Gi" in result.text
    assert [p.value for p in result.proofs] == ["OOMKilled", "1024Mi"]
    assert "no limit, so its node" in one(web({}, lastState=end)).text
    end["terminated"]["finishedAt"] = "2026-11-02T11:00:00Z"
    assert one(web(lastState=end)).verdict is Verdict.REFUTED, "weeks ago"
    app = pod("web-6c9dbf6b45-s2fnt")
    app.raw["status"]["containerStatuses"][0]["lastState"] = {"terminated": {"reason": "OOMKilled"}}
    assert one(app).verdict is Verdict.REFUTED, "the application, not the proxy"


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"memory": "64Mi"}, "is 64Mi, less than"),
        ({"memory": "100M"}, "is 95Mi"),
        ({"cpu": "50m"}, "CPU limit of istio-proxy"),
    ],
)
def test_limits_that_are_too_low(limits: dict[str, str], text: str) -> None:
    result = one(web({"limits": limits}))
    assert result.severity is Severity.WARNING and text in result.text and not result.causes


@pytest.mark.parametrize("limits", [{}, {"memory": "128Mi", "cpu": "0.1"}, {"memory": "x", "cpu": []}, {"cpu": 1}])
def test_limits_that_are_fine(limits: dict[str, Any]) -> None:
    assert one(web({"limits": limits})).verdict is Verdict.REFUTED


def test_a_workload_is_told_once() -> None:
    low = {"limits": {"memory": "64Mi"}}
    result = one(*(web(low, f"web-6c9dbf6b45-{i:05}") for i in range(3)), about=ALL)
    assert "(and 2 other pods of Deployment shop/web)" in result.text


def test_another_proxy_says_nothing() -> None:
    other = web({"limits": {"memory": "64Mi"}}, "api-6c9dbf6b45-s2fnt")
    assert one(web(), other).verdict is Verdict.REFUTED


def test_not_checkable() -> None:
    assert one(pod("web-6c9dbf6b45-s2fnt", proxied=False)).verdict is Verdict.NOT_CHECKABLE
    ztunnel = pod("ztunnel-x2lq9", "istio-system", labels={"app": "ztunnel"})
    assert one(ztunnel, about=ALL).verdict is Verdict.NOT_CHECKABLE
