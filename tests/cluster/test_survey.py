"""Surveys: profiles, answers, and what `istioctl analyze` and logs add."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from snapshots import istiod, mesh_config, obj, pod, service, snapshot

import meshdiag
from meshdiag.cli import main
from meshdiag.cluster import Answer, Verdict, analysis, checks
from meshdiag.cluster.profiles import profiles
from meshdiag.cluster.survey import Survey, everything, only, survey
from meshdiag.diagnosis.answers import answers
from meshdiag.model import MeshdiagError
from meshdiag.views.survey import markdown, render

ROOT = Path(__file__).resolve().parents[2]
SHOP = obj("Namespace", "shop", labels={"istio-injection": "enabled"})


def asked(found: Survey) -> dict[str, Answer]:
    return {a.name: a for a in found.answers}


def verdicts(found: Survey) -> dict[str, str]:
    return {name: a.verdict.value for name, a in asked(found).items()}


def test_everything_asks_every_check_once() -> None:
    found = survey(snapshot(), everything())
    assert [a.name for a in found.answers] == list(checks())
    assert all(a.results for a in found.answers)


def test_an_unknown_check() -> None:
    with pytest.raises(MeshdiagError, match="name one of endpoints"):
        only(["endpoint"])


def test_every_profile_answers_an_empty_cluster_and_one_that_cannot_be_read() -> None:
    from meshdiag.cluster.objects import RESOURCES

    for profile in profiles().values():
        assert profile.checks and profile.title and profile.after
        assert all(a.results for a in survey(snapshot(), profile).answers)
        blind = survey(snapshot(unread=dict.fromkeys(RESOURCES, "forbidden")), profile)
        assert {a.verdict for a in blind.answers} == {Verdict.NOT_CHECKABLE}
        assert not blind.failing and "not checkable" in render(blind)


@pytest.mark.parametrize(("n", "text"), [(2, "costs more than it gives"), (7, "worth it for"), (12, "enough")])
def test_is_a_mesh_needed(n: int, text: str) -> None:
    found = survey(snapshot(*(service(f"s{i}") for i in range(n))), profiles()["adoption"])
    (result,) = asked(found)["mesh-needed"].results
    assert text in result.text


def test_a_network_policy_that_keeps_sidecars_from_istiod() -> None:
    web = pod("web-6c9dbf6b45-s2fnt", proxied=False)
    rule = {"to": [{"podSelector": {}}], "ports": [{"port": 5432}]}
    spec = {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"], "egress": [rule]}
    state = snapshot(web, obj("NetworkPolicy", "web", spec=spec))
    (bad,) = asked(survey(state, profiles()["adoption"]))["network-policy-conflicts"].results
    assert bad.verdict is Verdict.CONFIRMED and "web-6c9dbf6b45-s2fnt" in bad.text
    opened = {**spec, "egress": [rule, {"ports": [{"port": 15000, "endPort": 15020}]}]}
    for policy in (
        opened,
        {**spec, "egress": [{}]},
        {**spec, "policyTypes": ["Ingress"]},
        {**spec, "podSelector": {"matchLabels": {"app": "x"}}},
    ):
        state = snapshot(web, obj("NetworkPolicy", "web", spec=policy))
        assert verdicts(survey(state, profiles()["adoption"]))["network-policy-conflicts"] == "refuted"


def test_what_keeps_a_workload_out() -> None:
    root = pod("web-6c9dbf6b45-s2fnt", proxied=False, spec={"securityContext": {"runAsUser": 1337}})
    host = pod("net-6c9dbf6b45-s2fnt", proxied=False, spec={"hostNetwork": True})
    strict = obj("Namespace", "shop", labels={"pod-security.kubernetes.io/enforce": "restricted"})
    found = asked(survey(snapshot(root, host, strict), profiles()["adoption"]))["application-requirements"]
    assert len(found.results) == 3


def test_phases() -> None:
    quiet = snapshot(*istiod(), obj("Namespace", "shop"), pod("web-6c9dbf6b45-s2fnt", proxied=False))
    assert verdicts(survey(quiet, profiles()["phase-1"]))["nothing-injected"] == "refuted"
    assert verdicts(survey(quiet, profiles()["phase-1"]))["istio-installed"] == "refuted"
    assert verdicts(survey(quiet, profiles()["phase-2"]))["test-service"] == "confirmed"
    one = snapshot(*istiod(), SHOP, pod("web-6c9dbf6b45-s2fnt"), pod("api-6c9dbf6b45-s2fnt", proxied=False))
    assert verdicts(survey(one, profiles()["phase-1"]))["nothing-injected"] == "confirmed"
    assert verdicts(survey(one, profiles()["phase-2"]))["test-service"] == "refuted"
    assert "1 of 2 workloads" in asked(survey(one, profiles()["phase-3"]))["core-services"].results[0].text
    stateful = pod(
        "db-0", ownerReferences=[{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": True}]
    )
    early = snapshot(*istiod(), SHOP, stateful, pod("api-6c9dbf6b45-s2fnt", proxied=False))
    assert verdicts(survey(early, profiles()["phase-3"]))["stateless-first"] == "confirmed"
    assert verdicts(survey(one, profiles()["phase-3"]))["stateless-first"] == "refuted"
    assert verdicts(survey(one, profiles()["phase-4"]))["traffic-rules"] == "confirmed"


def test_development_and_production() -> None:
    strict = obj("PeerAuthentication", "default", "istio-system", spec={"mtls": {"mode": "STRICT"}})
    outside = pod("api-6c9dbf6b45-s2fnt", "plain", proxied=False)
    closed = snapshot(*istiod(), strict, outside, mesh_config("outboundTrafficPolicy:\n  mode: REGISTRY_ONLY\n"))
    production = asked(survey(closed, profiles()["production"]))
    assert production["egress-registry-only"].verdict is Verdict.REFUTED
    assert "have no access" in production["mtls-strict"].results[0].text
    development = survey(closed, profiles()["development"])
    assert verdicts(development)["mtls-permissive"] == verdicts(development)["egress-allow-any"] == "confirmed"
    (edit,) = asked(development)["mtls-permissive"].results[0].edits
    assert edit.patch == {"spec": {"mtls": {"mode": "PERMISSIVE"}}} and not edit.create

    open_ = snapshot(*istiod(), pod("web-6c9dbf6b45-s2fnt"), mesh_config("{}"))
    production = asked(survey(open_, profiles()["production"]))
    (result,) = production["mtls-strict"].results
    assert "PERMISSIVE" in result.text and result.edits[0].create and result.edits[0].ref.namespace == "istio-system"
    assert "ALLOW_ANY" in production["egress-registry-only"].results[0].text
    assert (
        not asked(survey(snapshot(*istiod(), outside, mesh_config("{}")), profiles()["production"]))["mtls-strict"]
        .results[0]
        .edits
    )


MESSAGES = [
    {
        "code": "IST0101",
        "level": "Error",
        "message": 'Referenced host not found: "x"',
        "origin": "VirtualService shop/web",
    },
    {"code": "IST0102", "level": "Info", "message": "The namespace is not enabled", "origin": "Namespace plain"},
]


def test_istioctl_analyze() -> None:
    said = analysis.read(json.dumps(MESSAGES))
    (result,) = said.results
    assert result.text == 'IST0101 Referenced host not found: "x"' and str(result.about) == "VirtualService shop/web"
    assert analysis.read("[]").verdict is Verdict.REFUTED
    assert analysis.read("✔ No validation issues found when analyzing all namespaces.").verdict is Verdict.REFUTED
    assert (
        analysis.read('Error [IST0101] (VirtualService shop/web) Referenced host not found: "x"').results[0].about
        is not None
    )
    with pytest.raises(MeshdiagError, match="istioctl analyze -A -o json"):
        analysis.read("command not found")


@pytest.mark.parametrize(
    ("script", "verdict"),
    [
        ("echo '[]'", "refuted"),
        ("echo 'no such context' >&2; exit 1", "not checkable"),
        ("cat messages; exit 79", "confirmed"),
    ],
)
def test_running_istioctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, verdict: str) -> None:
    (tmp_path / "messages").write_text(json.dumps(MESSAGES))
    program = tmp_path / "istioctl"
    program.write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert analysis.run("ctx").verdict.value == verdict


def test_istioctl_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "not installed" in analysis.run().results[0].text


def test_logs_answer_too(catalogue: meshdiag.Catalogue) -> None:
    logs, external = answers(meshdiag.diagnose(ROOT / "sample_logs" / "06-blocked-egress", catalogue=catalogue))
    assert logs.verdict is external.verdict is Verdict.CONFIRMED
    logs, external = answers(meshdiag.diagnose(ROOT / "sample_logs" / "01-healthy-mesh", catalogue=catalogue))
    assert logs.verdict is external.verdict is Verdict.REFUTED
    logs, _ = answers(meshdiag.diagnose([], catalogue=catalogue))
    assert logs.verdict is Verdict.NOT_CHECKABLE


def test_views_are_safe_and_say_all() -> None:
    evil = "\x1b[31m<script>`|"
    state = snapshot(service("reviews"), pod("reviews-v1-6c9dbf6b45-s2fnt", labels={"app": evil}))
    found = survey(state, only(["endpoints"]))
    text, page = render(found, verbose=True), markdown(found)
    assert "\x1b" not in text and "\x1b" not in page
    assert "Service shop/reviews: spec.selector" in text and "- [ ] **" in page
    assert json.loads(json.dumps(found.to_dict()))["answers"][0]["verdict"] == "confirmed"


@pytest.mark.parametrize(
    "folder", sorted(p.parents[1].name for p in (ROOT / "sample_logs").glob("*/cluster/snapshot.yaml"))
)
def test_json_is_of_its_schema(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    schema = json.loads((Path(meshdiag.__file__).parent / "cluster" / "check.schema.json").read_text("utf-8"))
    main(["check", str(ROOT / "sample_logs" / folder / "cluster"), "-o", "json"])
    jsonschema.validate(json.loads(capsys.readouterr().out), schema)
