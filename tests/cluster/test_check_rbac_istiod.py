"""The check `rbac-istiod`."""

from __future__ import annotations

from typing import Any

import pytest
from snapshots import istiod, obj, snapshot

from meshdiag.cluster import Object, Result, Verdict, checks

CHECK = checks()["rbac-istiod"]
READ = ["get", "watch", "list"]
RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["nodes", "pods", "services", "namespaces", "secrets"], "verbs": READ},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ},
    {"apiGroups": ["networking.istio.io", "security.istio.io"], "resources": ["*"], "verbs": READ},
    {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
    {
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["mutatingwebhookconfigurations"],
        "verbs": [*READ, "patch"],
    },
]


def role(rules: list[dict[str, Any]]) -> Object:
    return obj("ClusterRole", "istiod-clusterrole-istio-system", rules=rules)


def binding(**subject: str) -> Object:
    who = {"kind": "ServiceAccount", "name": "istiod", "namespace": "istio-system", **subject}
    return obj(
        "ClusterRoleBinding",
        "istiod",
        roleRef={"kind": "ClusterRole", "name": "istiod-clusterrole-istio-system"},
        subjects=[who],
    )


def ask(*objects: Object) -> tuple[Result, ...]:
    return CHECK.ask(snapshot(*istiod(), *objects))


def test_all_that_it_needs() -> None:
    (result,) = ask(role(RULES), binding())
    assert result.verdict is Verdict.REFUTED
    (result,) = ask(role([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]), binding())
    assert result.verdict is Verdict.REFUTED


@pytest.mark.parametrize(
    ("rules", "text", "cause"),
    [
        ([{**RULES[0], "resources": ["nodes", "pods", "services", "namespaces"]}, *RULES[1:]],
         "get, list, watch secrets", "gateway-secret-missing"),
        ([*RULES[:3], RULES[4]], "create tokenreviews.authentication.k8s.io", "xds-rejected-identity"),
        ([*RULES[:4], {**RULES[4], "verbs": READ}], "patch mutatingwebhookconfigurations", "istiod-webhook-patch-failed"),
        ([RULES[0], {**RULES[1], "resourceNames": ["a"]}, *RULES[2:]], "endpointslices", "istiod-not-ready"),
    ],
)  # fmt: skip
def test_a_right_that_is_missing(rules: list[dict[str, Any]], text: str, cause: str) -> None:
    (result,) = ask(role(rules), binding())
    assert result.verdict is Verdict.CONFIRMED and text in result.text and cause in result.causes


def test_nothing_is_bound() -> None:
    for subject in ({"name": "other"}, {"namespace": "default"}):
        (result,) = ask(role(RULES), binding(**subject))
        assert "no ClusterRoleBinding gives" in result.text
    (result,) = ask(role(RULES), binding(kind="Group", name="system:serviceaccounts:istio-system"))
    assert result.verdict is Verdict.REFUTED


def test_a_role_that_is_gone() -> None:
    results = ask(binding())
    assert any("which does not exist" in r.text for r in results)


def test_not_checkable() -> None:
    (result,) = CHECK.ask(snapshot(*istiod(), unread={"ClusterRole": "forbidden"}))
    assert result.verdict is Verdict.NOT_CHECKABLE
    (result,) = CHECK.ask(snapshot())
    assert result.verdict is Verdict.NOT_CHECKABLE
