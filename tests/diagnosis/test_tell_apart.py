"""What looks alike is told apart: pairs of captures in tell_apart.yaml, and the laws that hold for all of them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import meshdiag
from meshdiag import Confidence, Diagnosis, Finding
from meshdiag.catalogue import Catalogue
from tests.conftest import access_line

PAIRS = yaml.safe_load(Path(__file__).with_name("tell_apart.yaml").read_text(encoding="utf-8"))
COMMAND = re.compile(r"\b(?:kubectl|istioctl|openssl|curl) [a-z-]")
"""A command that a person can run."""

Case = dict[str, Any]


def each(holds: Callable[[Case], bool] = lambda case: True) -> pytest.MarkDecorator:
    """Runs a test with each case for which this holds."""
    cases = [(f"{pair['pair']} - {case['is']}", case) for pair in PAIRS for case in pair["cases"] if holds(case)]
    return pytest.mark.parametrize("case", [case for _, case in cases], ids=[name for name, _ in cases])


def diagnose(case: Case, catalogue: Catalogue) -> Diagnosis:
    return meshdiag.diagnose(case["log"].splitlines(keepends=True), catalogue=catalogue)


def first(case: Case, catalogue: Catalogue) -> Finding | None:
    return next(iter(diagnose(case, catalogue).failures), None)


@each()
def test_cause(case: Case, catalogue: Catalogue) -> None:
    diagnosis = diagnose(case, catalogue)
    found = [f.cause for f in diagnosis.failures]
    assert found[:1] == ([case["cause"]] if case["cause"] else []), found
    assert not set(case.get("absent", ())) & set(found)
    assert not diagnosis.unrecognised
    assert not diagnosis.problems


@each(lambda case: case["cause"] != "")
def test_confidence_and_alternatives(case: Case, catalogue: Catalogue) -> None:
    finding = first(case, catalogue)
    assert finding
    assert finding.cause == case["cause"]
    if "confidence" in case:
        assert finding.confidence == case["confidence"]
    assert set(case.get("alternatives", ())) <= set(finding.alternatives)
    assert case.get("tell_apart", "") in finding.tell_apart
    assert set(case.get("patterns", ())) <= set(finding.patterns)


@each(lambda case: "under" in case)
def test_symptoms_stand_under_the_cause(case: Case, catalogue: Catalogue) -> None:
    root, *others = diagnose(case, catalogue).failures
    assert root.cause == case["cause"]
    assert not root.explained_by
    assert set(case["under"]) <= {f.cause for f in others}
    assert [f.cause for f in others if f.cause in case["under"] and not f.explained_by] == []


@each(lambda case: case["cause"] != "")
def test_doubt_names_alternatives_and_a_command(case: Case, catalogue: Catalogue) -> None:
    for finding in diagnose(case, catalogue).failures:
        if finding.confidence is not Confidence.POSSIBLE:
            continue
        assert finding.alternatives, finding.cause
        assert finding.cause not in finding.alternatives
        assert set(finding.alternatives) <= set(catalogue.causes)
        if not finding.explained_by:
            assert COMMAND.search(finding.tell_apart), (finding.cause, finding.tell_apart)


@each(lambda case: case["log"].count("\n") > 1)
def test_order_of_lines_and_of_files_changes_nothing(case: Case, catalogue: Catalogue) -> None:
    """Records of several lines stay together: only those that begin one are moved."""
    records = re.split(r"(?m)^(?=[\[{\d])", case["log"])
    shuffled = random.Random(7).sample(records, len(records))
    causes = [(f.cause, f.subject, f.confidence) for f in diagnose(case, catalogue).failures]
    other = meshdiag.diagnose([line for r in shuffled for line in r.splitlines(keepends=True)], catalogue=catalogue)
    assert [(f.cause, f.subject, f.confidence) for f in other.failures] == causes


def test_every_pair_has_two_cases_a_side() -> None:
    for pair in PAIRS:
        assert len(pair["cases"]) >= 4, pair["pair"]
        causes = [c["cause"] for c in pair["cases"]]
        assert len(set(causes)) > 1 or len({tuple(c.get("patterns", ())) for c in pair["cases"]}) > 1, pair["pair"]


def test_no_pattern_has_its_own_cause_as_an_alternative(catalogue: Catalogue) -> None:
    for pattern in catalogue.patterns:
        assert pattern.cause not in pattern.alternatives, pattern.id
        assert len(set(pattern.alternatives)) == len(pattern.alternatives), pattern.id


def test_two_faults_of_one_service_are_two_roots(catalogue: Catalogue) -> None:
    """The ids tell which 503 of the client is the application's own and which a refused connection behind its sidecar."""
    client, server = (
        "[pod/productpage-v1-7d6c5f9b84-z6r4p/istio-proxy] ",
        "[pod/reviews-v1-5d6c5f9b84-q6r4p/istio-proxy] ",
    )
    one, two = "41dbb472-e31e-457f-a70c-adbe2c9e9315", "8f0e0f9b-3d55-4c43-9e35-6f0a0f5c8d11"
    refused = (
        "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"
    )
    reason = "delayed_connect_error:_Connection_refused"
    diagnosis = meshdiag.diagnose(
        [
            client + access_line("503", request_id=one),
            client + access_line("503", request_id=two),
            server + access_line("503", request_id=one, cluster="inbound|9080||", local="127.0.0.6:51822"),
            server + access_line("503", "UF", refused, reason, request_id=two, cluster="inbound|9080||", local="-"),
        ],
        catalogue=catalogue,
    )
    roots = {(f.cause, str(f.subject)) for f in diagnosis.root_causes}
    assert roots == {("app-error", "reviews-v1"), ("upstream-connection-refused", "reviews-v1")}


def test_every_doubt_of_the_catalogue_can_be_resolved(catalogue: Catalogue) -> None:
    """A cause that some line leaves only possible names what else it may be, and a command that tells."""
    doubtful = [p for p in catalogue.patterns if p.confidence is Confidence.POSSIBLE and p.cause in catalogue.causes]
    assert [p.id for p in doubtful if not (p.alternatives or catalogue.causes[p.cause].alternatives)] == []
    assert sorted({p.cause for p in doubtful if not COMMAND.search(catalogue.causes[p.cause].tell_apart)}) == []
