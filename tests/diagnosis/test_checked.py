"""Findings and the state of the cluster."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import meshdiag
from meshdiag.catalogue import Catalogue
from meshdiag.cluster import Check, Snapshot, Verdict
from meshdiag.diagnosis import checked
from meshdiag.model import Confidence
from tests.cluster.snapshots import NOW, pod, service, snapshot

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def diagnosis(catalogue: Catalogue) -> meshdiag.Diagnosis:
    return meshdiag.diagnose(ROOT / "sample_logs" / "03-no-healthy-upstream", catalogue=catalogue)


def missing(d: meshdiag.Diagnosis) -> meshdiag.Finding:
    return next(f for f in d.findings if f.cause == "no-healthy-upstream")


def state(d: meshdiag.Diagnosis) -> Snapshot:
    """In which the pods of the service are not ready."""
    name, namespace = missing(d).facts["host"].split(".")[:2]
    return snapshot(service(name, namespace), pod(f"{name}-v1-6c9dbf6b45-s2fnt", namespace, ready=False))


def test_without_a_snapshot(diagnosis: meshdiag.Diagnosis) -> None:
    assert missing(diagnosis).checks == () and not missing(diagnosis).refuted


def test_the_state_confirms(diagnosis: meshdiag.Diagnosis) -> None:
    found = missing(diagnosis.checked(state(diagnosis)))
    assert found.confidence is Confidence.CONFIRMED
    assert any(e.supports and "is ready" in e.text and "Service" in e.source for e in found.evidence)
    assert found.to_dict()["checks"][0]["verdict"] == "confirmed"


def root(d: meshdiag.Diagnosis) -> meshdiag.Finding:
    return next(f for f in d.findings if f.cause == "upstream-connection-refused")


@pytest.fixture
def refused(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> meshdiag.Diagnosis:
    """A diagnosis whose root cause a check refutes."""
    check = Check("endpoints", "?", (), lambda s, a: [check.good("it cannot be", "upstream-connection-refused")])
    monkeypatch.setattr(checked, "checks", lambda: {"endpoints": check})
    return meshdiag.diagnose(ROOT / "sample_logs" / "02-connection-refused", catalogue=catalogue)


def test_the_state_refutes(refused: meshdiag.Diagnosis) -> None:
    assert root(refused).rank == 1 and root(refused).explains
    now = refused.checked(snapshot(taken=root(refused).last))
    found = root(now)
    assert found.refuted and found.confidence is Confidence.POSSIBLE
    assert found.rank == max(f.rank for f in now.failures) and now.root_causes
    assert all(f.cause != found.cause for f in now.root_causes)
    assert not found.explains and not found.explained_by
    assert ("it cannot be", False) in [(e.text, e.supports) for e in found.evidence]


def test_a_later_state_does_not_refute(refused: meshdiag.Diagnosis) -> None:
    last = root(refused).last
    assert last is not None
    found = root(refused.checked(snapshot(taken=last + timedelta(hours=3))))
    assert not found.refuted and found.rank == 1 and found.confidence is root(refused).confidence
    assert any(not e.supports and "of another time" in e.text for e in found.evidence)


def test_what_cannot_be_read_changes_nothing(diagnosis: meshdiag.Diagnosis) -> None:
    blind = Snapshot("test", unread={"Pod": "forbidden", "Service": "forbidden"}, taken=NOW)
    found = missing(diagnosis.checked(blind))
    before = missing(diagnosis)
    assert (found.rank, found.confidence, found.evidence) == (before.rank, before.confidence, before.evidence)
    assert Verdict.NOT_CHECKABLE in {r.verdict for r in found.checks}


def test_remedies_are_of_the_real_object(diagnosis: meshdiag.Diagnosis) -> None:
    host = missing(diagnosis).facts["host"]
    name, namespace = host.split(".")[:2]
    real = service(name, namespace, annotations={"team": "shop"})
    wrong = pod(f"{name}-v1-6c9dbf6b45-s2fnt", namespace, labels={"app": "other"})
    found = missing(diagnosis.checked(snapshot(real, wrong, taken=missing(diagnosis).last)))
    step = found.remedies[0].steps[0]
    assert step.command == (
        f"""kubectl -n {namespace} patch services {name} --type merge -p '{{"spec": {{"selector": {{"app": "other"}}}}}}'"""
    )
    assert "team: shop" in step.manifest and "app: other" in step.manifest
    assert '"app": "' + name in found.remedies[0].undo


def test_sums_keep_the_state(diagnosis: meshdiag.Diagnosis) -> None:
    sure = diagnosis.checked(state(diagnosis))
    both = replace(diagnosis) + sure
    assert missing(both).confidence is Confidence.CONFIRMED
