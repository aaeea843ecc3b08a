"""meshdiag names the cause of what a real Envoy wrote to its access log, in every encoding."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness import CUSTOM, ENCODINGS
from scenarios import SCENARIOS, STRICT_FROM_BOTH_SIDES, Run, Scenario

from meshdiag import Catalogue, Diagnosis, diagnose

by_name = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
in_each_encoding = pytest.mark.parametrize("encoding", ENCODINGS)


def read(path: Path, encoding: str, catalogue: Catalogue) -> Diagnosis:
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
    run: Run, catalogue: Catalogue, encoding: str, tmp_path: Path
) -> None:
    server = next(s for s in SCENARIOS if s.name == "plaintext-to-strict")
    lines = [run.log(s, encoding).read_bytes() for s in (STRICT_FROM_BOTH_SIDES, server)]
    path = tmp_path / "istio-proxy.log"
    path.write_bytes(b"".join(lines))
    # the client's line alone says only that the server closed the connection
    assert read(path, encoding, catalogue).failures[0].cause == STRICT_FROM_BOTH_SIDES.cause, path.read_text()
