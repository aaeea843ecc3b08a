"""The check `proxy-version-skew`."""

from __future__ import annotations

from typing import Any

import pytest
from snapshots import istiod, obj, pod, snapshot

from meshdiag.cluster import About, Object, Result, Verdict, checks
from meshdiag.model import Severity

CHECK = checks()["proxy-version-skew"]
WEB = About(namespace="shop", workload="web")
ALL = About()


def web(image: str, name: str = "web-6c9dbf6b45-s2fnt", **raw: Any) -> Object:
    made = pod(name, **raw)
    made.raw["spec"]["containers"][1]["image"] = image
    return made


def proxy(version: str) -> str:
    return f"docker.io/istio/proxyv2:{version}"


def one(*objects: Object, about: About = WEB) -> Result:
    (result,) = CHECK.ask(snapshot(*objects), about)
    return result


@pytest.mark.parametrize("version", ["1.28.1", "1.28.0", "1.28.4-distroless"])
def test_versions_that_fit(version: str) -> None:
    result = one(*istiod(version="1.28.1"), web(proxy(version)))
    assert result.verdict is Verdict.REFUTED and not result.causes


def test_one_behind_is_supported() -> None:
    hint, good = CHECK.ask(snapshot(*istiod(version="1.28.1"), web(proxy("1.27.3"))), WEB)
    assert hint.severity is Severity.INFO and "one minor version behind istiod 1.28.1, which is supported" in hint.text
    assert good.verdict is Verdict.REFUTED


def test_more_than_one_behind() -> None:
    result = one(*istiod(version="1.28.1"), web(proxy("1.26.0")))
    assert result.severity is Severity.WARNING
    assert result.text == "1 proxy (web) with 1.26.0: 2 minor versions behind istiod 1.28.1; Istio supports one"
    assert [p.value for p in result.proofs] == ["docker.io/istio/proxyv2:1.26.0", "1.28.1"]


def test_newer_than_the_control_plane() -> None:
    result = one(*istiod(version="1.28.1"), web(proxy("1.29.0")))
    assert result.severity is Severity.WARNING and "newer than istiod 1.28.1" in result.text


def test_the_control_plane_of_the_revision() -> None:
    old = obj("Deployment", "istiod-1-26", "istio-system", labels={"app": "istiod", "istio.io/rev": "1-26"},
              spec={"template": {"spec": {"containers": [{"name": "discovery", "image": "istio/pilot:1.26.0"}]}}})  # fmt: skip
    labelled = {"app": "web", "istio.io/rev": "1-26"}
    assert one(*istiod(version="1.28.1"), old, web(proxy("1.26.0"), labels=labelled)).verdict is Verdict.REFUTED
    labelled = {"app": "web", "istio.io/rev": "default"}
    assert one(*istiod(version="1.28.1"), old, web(proxy("1.26.0"), labels=labelled)).severity is Severity.WARNING
    results = CHECK.ask(snapshot(*istiod(version="1.28.1"), old, web(proxy("1.28.1"))), ALL)
    assert "2 control planes" in results[0].text and results[0].severity is Severity.INFO


def test_those_of_one_version_are_told_together() -> None:
    pods = [web(proxy("1.25.0"), f"w{i}-6c9dbf6b45-s2fnt") for i in range(5)]
    assert "5 proxies (w0, w1, w2 and 2 more) with 1.25.0" in one(*istiod(version="1.28.1"), *pods, about=ALL).text


def test_not_checkable() -> None:
    assert one(web(proxy("1.28.1"))).verdict is Verdict.NOT_CHECKABLE
    assert one(*istiod(version="1.28.1")).verdict is Verdict.NOT_CHECKABLE
    digest = web("docker.io/istio/proxyv2@sha256:" + "0" * 64)
    assert one(*istiod(version="1.28.1"), digest).verdict is Verdict.NOT_CHECKABLE
    assert one(*istiod(version="latest"), web(proxy("1.28.1"))).verdict is Verdict.NOT_CHECKABLE
