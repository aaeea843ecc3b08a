"""meshdiag names the cause of what a real Envoy wrote to its access log, in every encoding."""

from __future__ import annotations

import pytest
from harness import CUSTOM, ENCODINGS
from scenarios import SCENARIOS, STRICT_FROM_BOTH_SIDES, Run, Scenario

from meshdiag import Catalogue, Diagnosis, diagnose

by_name = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
in_each_encoding = pytest.mark.parametrize("encoding", ENCODINGS)


def read(path: object, encoding: str, catalogue: Catalogue) -> Diagnosis:
    return diagnose(path, access_log_format=CUSTOM.get(encoding), catalogue=catalogue)


@in_each_encoding
@by_name
def test_first_failure_is_the_cause(run: Run, catalogue: Catalogue, scenario: Scenario, encoding: str) -> None:
    path = run.log(scenario, encoding)
    diagnosis = read(path, encoding, catalogue)
    causes = [f.cause for f in diagnosis.failures]
    expected = scenario.expected(run.minor)
    assert causes[:1] == ([expected] if expected else []), path.read_text()
    assert not diagnosis.unrecognised, path.read_text()
    assert not diagnosis.problems


@in_each_encoding
def test_all_scenarios_in_one_folder_give_all_causes(run: Run, catalogue: Catalogue, encoding: str) -> None:
    folder = {run.log(s, encoding).parent for s in SCENARIOS}.pop()
    found = {f.cause for f in read(folder, encoding, catalogue).failures}
    assert found == {s.expected(run.minor) for s in SCENARIOS} - {""}


@in_each_encoding
def test_plaintext_call_of_a_strict_server_seen_from_both_sides(
    run: Run, catalogue: Catalogue, encoding: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = next(s for s in SCENARIOS if s.name == "plaintext-to-strict")
    before = run.log(server, encoding).read_bytes()
    client_lines = run.log(STRICT_FROM_BOTH_SIDES, encoding).read_bytes()
    path = tmp_path_factory.mktemp("both") / "istio-proxy.log"
    path.write_bytes(before + client_lines)
    assert read(path, encoding, catalogue).failures[0].cause == STRICT_FROM_BOTH_SIDES.cause, path.read_text()
