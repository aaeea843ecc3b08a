"""Ranking, states, links, and the JSON contract."""

import json
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

import meshdiag
from meshdiag import Diagnosis, Kind, State
from meshdiag.diagnosis.subjects import workload_of
from tests.conftest import HEALTHY, NO_HOST, REFUSED, access_line

NOT_READY = (
    "warn\tEnvoy proxy is NOT ready: config not received from XDS server (is Istiod running?): cds updates: 0 successful, "
    "0 rejected; lds updates: 0 successful, 0 rejected"
)
READY = "info\tEnvoy proxy is ready"
UNREACHABLE = (
    'error\txdsproxy\tfailed to connect to upstream istiod.istio-system.svc:15012: connection error: desc = "transport: Error '
    'while dialing: dial tcp 10.96.1.1:15012: connect: connection refused"'
)


def diagnose(*lines: str) -> Diagnosis:
    return meshdiag.diagnose(list(lines))


def at(second: int, text: str) -> str:
    return f"2026-11-22T10:{second // 60:02}:{second % 60:02}.000000Z\t{text}"


def schema() -> dict:  # type: ignore[type-arg]
    return json.loads(resources.files("meshdiag.diagnosis").joinpath("diagnosis.schema.json").read_text())  # type: ignore[no-any-return]


def test_the_contract() -> None:
    d = diagnose(HEALTHY, NO_HOST, REFUSED, at(1, "error\tnobody knows this"))
    data = json.loads(d.to_json())
    jsonschema.validate(data, schema())
    assert data["schema"] == "meshdiag/diagnosis/v1"
    assert [f["rank"] for f in data["findings"]] == list(range(1, len(data["findings"]) + 1))
    first = data["findings"][0]
    assert first["subject"] == {"kind": "edge", "destination": "reviews.default.svc.cluster.local:9080"}
    assert first["samples"][0]["line"] in (NO_HOST, REFUSED)
    assert data["unrecognised"][0]["count"] == 1


def test_a_start_is_no_failure() -> None:
    d = diagnose(*(at(s, NOT_READY) for s in range(0, 20, 2)), at(21, READY))
    assert d.failures == ()
    (starting,) = [f for f in d.findings if f.cause == "proxy-waiting-for-config"]
    assert (starting.kind, starting.state) == (Kind.BENIGN, State.TRANSIENT)


def test_never_ready_is_a_failure() -> None:
    d = diagnose(*(at(s, NOT_READY) for s in range(0, 120, 2)))
    assert [f.cause for f in d.failures] == ["proxy-waiting-for-config"]


def test_ready_after_long_is_a_failure_that_is_over() -> None:
    d = diagnose(*(at(s, NOT_READY) for s in range(0, 300, 2)), at(301, READY), NO_HOST)
    assert [(f.cause, f.state) for f in d.failures] == [
        ("no-healthy-upstream", State.ONGOING),
        ("proxy-waiting-for-config", State.RECOVERED),
    ]


def test_ready_elsewhere_proves_nothing() -> None:
    a, b = "[pod/cart-7d6c5f9b84-z6r4p/istio-proxy] ", "[pod/shop-5d6c5f9b84-q6r4p/istio-proxy] "
    d = diagnose(*(a + at(s, NOT_READY) for s in range(0, 20, 2)), b + at(30, READY))
    assert [f.cause for f in d.failures] == ["proxy-waiting-for-config"]


def test_ready_before_proves_nothing() -> None:
    d = diagnose(at(0, READY), *(at(s, NOT_READY) for s in range(10, 30, 2)))
    assert [f.cause for f in d.failures] == ["proxy-waiting-for-config"]


def test_the_root_comes_first_and_names_its_symptom() -> None:
    d = diagnose(*(at(s, NOT_READY) for s in range(0, 120, 2)), *(at(s, UNREACHABLE) for s in range(0, 120, 30)))
    root, symptom = d.failures
    assert (root.cause, root.explains, root.explained_by) == ("xds-unreachable", (symptom.rank,), ())
    assert (symptom.cause, symptom.explained_by) == ("proxy-waiting-for-config", (root.rank,))
    assert d.root_causes == (root,)


def test_benign_and_healthy_never_outrank_a_failure() -> None:
    d = diagnose(*[at(1, READY)] * 500, NO_HOST)
    assert [f.kind for f in d.findings] == sorted((f.kind for f in d.findings), key=list(Kind).index)
    assert d.findings[0].cause == "no-healthy-upstream"


def test_only_and_suppress() -> None:
    d = diagnose(NO_HOST, NO_HOST, REFUSED)
    assert [f.cause for f in d.only(["no-healthy-upstream"]).failures] == ["no-healthy-upstream"]
    assert [f.cause for f in d.only(suppress=["no-healthy-upstream"]).failures] == ["upstream-connection-refused"]
    assert len(d.only(suppress=["no-healthy-upstream=*ratings*"]).failures) == 2
    assert d.only(min_severity=meshdiag.Severity.CRITICAL).failures == ()


def test_adding_diagnoses(tmp_path: Path) -> None:
    a, b = tmp_path / "a.log", tmp_path / "b.log"
    a.write_text(NO_HOST + "\n")
    b.write_text(REFUSED + "\n" + NO_HOST + "\n")
    both = meshdiag.diagnose(a) + meshdiag.diagnose(b)
    assert (
        both.to_dict() == meshdiag.diagnose(a, b).to_dict() == (meshdiag.diagnose(b) + meshdiag.diagnose(a)).to_dict()
    )


def test_secrets_do_not_leave() -> None:
    token = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZG1pbiJ9.c2lnbmF0dXJlLXNpZ25hdHVyZQ"
    line = access_line("503", "UH", "no_healthy_upstream", path=f"/x?access_token={token}", host="-", local="-")
    d = diagnose(line, at(1, f"error\tnobody knows Bearer {token}"))
    assert token not in d.to_json()
    assert token in d.to_json(redacted=False)
    assert "<jwt:" in d.to_json()


def test_names_of_hosts_do_not_become_commands() -> None:
    evil = "outbound|80||x$(reboot);`id`.svc"
    d = diagnose(access_line("503", "UH", "no_healthy_upstream", cluster=evil, host="-", local="-"))
    steps = [s for r in d.failures[0].remedies for s in r.steps]
    assert steps
    for text in [s.command + s.manifest for s in steps] + [r.verify + r.undo for r in d.failures[0].remedies]:
        assert "reboot" not in text and "`id`" not in text


@pytest.mark.parametrize(
    ("pod", "workload"),
    [
        ("reviews-v1-7f8b9c6d5-x2x4z", "reviews-v1"),
        ("istiod-6f8b9d7c54-w4k2m", "istiod"),
        ("ztunnel-4xk7d", "ztunnel"),
        ("kafka-0", "kafka"),
        ("standalone", "standalone"),
        ("", ""),
    ],
)
def test_workload_of(pod: str, workload: str) -> None:
    assert workload_of(pod) == workload
