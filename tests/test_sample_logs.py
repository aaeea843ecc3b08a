"""The captures in sample_logs/ say what their README says."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

import meshdiag
from meshdiag.cli import main
from meshdiag.diagnosis import Finding
from meshdiag.formats import access
from meshdiag.model import Kind, State

SAMPLES = Path(__file__).parents[1] / "sample_logs"
SCHEMA = Path(meshdiag.__file__).parent / "diagnosis" / "diagnosis.schema.json"


@dataclass(frozen=True)
class Wanted:
    """A cause, and a part of its subject where only some of its findings are meant."""

    cause: str
    subject: str = ""

    @classmethod
    def read(cls, entry: str | dict[str, str]) -> Wanted:
        return cls(entry) if isinstance(entry, str) else cls(**entry)

    def __str__(self) -> str:
        return f"{self.cause}={self.subject}" if self.subject else self.cause

    def of(self, findings: Iterable[Finding]) -> list[Finding]:
        return [f for f in findings if f.cause == self.cause and self.subject in str(f.subject)]


@dataclass(frozen=True)
class Scenario:
    """An entry of scenarios.yaml: what its fields mean stands there."""

    name: str
    root: Wanted
    symptoms: tuple[Wanted, ...]
    distractors: tuple[Wanted, ...]
    recovered: tuple[str, ...]
    benign: tuple[str, ...]

    @classmethod
    def read(cls, entry: dict[str, Any]) -> Scenario:
        unknown = entry.keys() - {"name", "root", "subject", "symptoms", "distractors", "recovered", "benign"}
        assert not unknown, unknown
        return cls(
            entry["name"],
            Wanted(entry["root"], entry["subject"]),
            tuple(map(Wanted.read, entry["symptoms"])),
            tuple(map(Wanted.read, entry["distractors"])),
            tuple(entry.get("recovered", ())),
            tuple(entry.get("benign", ())),
        )

    @property
    def failing(self) -> set[str]:
        wanted = (self.root, *self.symptoms, *self.distractors)
        return {w.cause for w in wanted} | set(self.recovered)


SCENARIOS = [
    Scenario.read(entry)
    for entry in yaml.safe_load((Path(__file__).parent / "scenarios.yaml").read_text("utf-8"))["scenarios"]
]

# The cause that is to rank first. Several stand where each is a fair first answer.
EXPECTED: dict[str, set[str]] = {
    "01-healthy-mesh": set(),
    "02-connection-refused": {"upstream-connection-refused"},
    "03-no-healthy-upstream": {"no-healthy-upstream"},
    "04-jwt-issuer": {"jwt-issuer-not-configured"},
    "05-strict-mtls-plaintext": {"mtls-plaintext-to-strict"},
    "06-blocked-egress": {"egress-blocked"},
    "07-proxy-stuck-not-ready": {"ca-unreachable", "xds-unreachable", "network-policy-blocked"},
    "08-istiod-certificate-expired": {"istiod-certificate-expired"},
    "09-ambient": {"ztunnel-policy-denied", "network-policy-blocked"},
    "10-rejected-envoyfilter": {"xds-config-rejected"},
    "21-no-sidecar": {"sidecar-not-injected"},
    "22-k3d-node-port": {"node-port-unreachable"},
    **{s.name: {s.root.cause} for s in SCENARIOS},
}

# Causes that are in the lines besides the first.
ALSO: dict[str, set[str]] = {
    "04-jwt-issuer": {"jwt-expired"},
    "07-proxy-stuck-not-ready": {"ca-unreachable", "xds-unreachable", "proxy-waiting-for-config"},
    "08-istiod-certificate-expired": {"proxy-waiting-for-config"},
    "09-ambient": {"ztunnel-policy-denied", "network-policy-blocked"},
    "10-rejected-envoyfilter": {"cluster-not-found"},
}

HEALTHY: dict[str, set[str]] = {
    "01-healthy-mesh": {"istiod-ready", "xds-connected", "sds-certificate-issued", "proxy-ready"},
    "07-proxy-stuck-not-ready": {"traffic-redirect-ready"},
    "09-ambient": {"cni-installed", "ambient-node-ready", "ambient-workload-enrolled", "proxy-ready"},
}

everyone = pytest.mark.parametrize("name", sorted(EXPECTED))
each_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)


def archive_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_bug_report", SAMPLES / "make_bug_report.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def diagnoses() -> dict[str, meshdiag.Diagnosis]:
    return {name: meshdiag.diagnose(SAMPLES / name) for name in EXPECTED}


def test_every_scenario_is_expected_here_and_told_in_the_readme() -> None:
    folders = {p.name for p in SAMPLES.iterdir() if p.name[:2].isdigit()}
    assert folders == EXPECTED.keys()
    rows = dict(re.findall(r"^\| `(\d\d-[\w-]+)` \|(.+)$", (SAMPLES / "README.md").read_text("utf-8"), re.M))
    assert rows.keys() == folders
    for name, first in EXPECTED.items():
        assert not first or any(f"`{cause}`" in rows[name] for cause in first), name


def test_the_samples_are_small() -> None:
    files = [p for p in SAMPLES.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 1_200_000
    logs = [p for p in files if ".log" in p.suffixes]
    assert len(logs) > 60
    for path in logs:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        assert 30 <= len(content.splitlines()) <= 300, path


@everyone
def test_the_cause_that_ranks_first(diagnoses: dict[str, meshdiag.Diagnosis], name: str) -> None:
    failures = diagnoses[name].failures
    assert {f.cause for f in failures[:1]} <= EXPECTED[name]
    assert bool(failures) is bool(EXPECTED[name])
    assert ALSO.get(name, set()) <= {f.cause for f in failures}
    if failures:
        assert not failures[0].explained_by
        assert failures[0].rank == 1


@everyone
def test_good_signs(diagnoses: dict[str, meshdiag.Diagnosis], name: str) -> None:
    found = {f.cause for f in diagnoses[name].findings if f.kind is Kind.HEALTHY}
    assert HEALTHY.get(name, set()) <= found


@everyone
def test_nothing_is_left_over(diagnoses: dict[str, meshdiag.Diagnosis], name: str) -> None:
    assert diagnoses[name].unrecognised == ()
    assert diagnoses[name].problems == ()


def test_the_gateway_is_not_blamed_for_the_symptom(diagnoses: dict[str, meshdiag.Diagnosis]) -> None:
    failures = {f.cause: f for f in diagnoses["10-rejected-envoyfilter"].failures}
    assert failures["xds-config-rejected"].rank in failures["cluster-not-found"].explained_by
    failures = {f.cause: f for f in diagnoses["07-proxy-stuck-not-ready"].failures}
    assert failures["proxy-waiting-for-config"].explained_by


def back(finding: Finding, findings: dict[int, Finding]) -> Iterator[Finding]:
    """What explains a finding, and what explains that, and so on."""
    todo, seen = list(finding.explained_by), set()
    while todo:
        rank = todo.pop()
        if rank not in seen:
            seen.add(rank)
            yield findings[rank]
            todo += findings[rank].explained_by


@each_scenario
def test_the_root_cause_is_on_top(diagnoses: dict[str, meshdiag.Diagnosis], scenario: Scenario) -> None:
    first = diagnoses[scenario.name].failures[0]
    assert first.cause == scenario.root.cause
    assert scenario.root.subject in str(first.subject)
    assert first.rank == 1
    assert not first.explained_by
    assert first.state is State.ONGOING


@each_scenario
def test_the_symptoms_lead_to_the_root_cause(diagnoses: dict[str, meshdiag.Diagnosis], scenario: Scenario) -> None:
    failures = {f.rank: f for f in diagnoses[scenario.name].failures}
    own = {f.rank for d in scenario.distractors for f in d.of(failures.values())}
    for symptom in scenario.symptoms:
        findings = symptom.of(failures.values())
        assert findings, symptom
        for finding in findings:
            chain = list(back(finding, failures))
            assert scenario.root.cause in {f.cause for f in chain}, (str(symptom), str(finding.subject))
            assert not own & {f.rank for f in chain}, (str(symptom), str(finding.subject))


@each_scenario
def test_distractors_stand_for_themselves(diagnoses: dict[str, meshdiag.Diagnosis], scenario: Scenario) -> None:
    failures = {f.rank: f for f in diagnoses[scenario.name].failures}
    for distractor in scenario.distractors:
        findings = distractor.of(failures.values())
        assert findings, distractor
        for finding in findings:
            assert finding.rank > 1
            assert scenario.root.cause not in {f.cause for f in back(finding, failures)}, str(finding.subject)


@each_scenario
def test_nothing_else_is_said_to_fail(diagnoses: dict[str, meshdiag.Diagnosis], scenario: Scenario) -> None:
    findings = diagnoses[scenario.name].findings
    assert {f.cause for f in findings if f.kind is Kind.FAILURE} <= scenario.failing
    for cause in scenario.recovered:
        states = {f.state for f in findings if f.cause == cause}
        assert states
        assert State.ONGOING not in states
    assert set(scenario.benign) <= {f.cause for f in findings if f.kind is Kind.BENIGN}


@each_scenario
def test_text_and_json_say_the_same(
    diagnoses: dict[str, meshdiag.Diagnosis], scenario: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diagnose", str(SAMPLES / scenario.name), "--color", "never"]) == 1
    block = re.search(r"^1\. .+?(?=\n\n)", capsys.readouterr().out, re.M | re.S)
    assert block is not None
    first = json.loads(diagnoses[scenario.name].to_json())["findings"][0]
    assert first["cause"] == scenario.root.cause
    assert f"  {first['cause']} (" in re.sub(r"\s{2,}", "  ", block[0])
    assert scenario.root.subject in block[0]


@each_scenario
def test_the_order_of_files_does_not_matter(scenario: Scenario) -> None:
    files = sorted(p for p in (SAMPLES / scenario.name).rglob("*") if p.is_file())
    assert meshdiag.diagnose(*reversed(files)).to_dict() == meshdiag.diagnose(*files).to_dict()


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("02-connection-refused", "default/ratings-v1"),
        ("03-no-healthy-upstream", "default/DestinationRule reviews"),
        ("05-strict-mtls-plaintext", "shop/orders"),
        ("07-proxy-stuck-not-ready", "shop/cart"),
        ("10-rejected-envoyfilter", "istio-system/istio-ingressgateway"),
    ],
)
def test_the_subject_is_the_one_at_fault(diagnoses: dict[str, meshdiag.Diagnosis], name: str, subject: str) -> None:
    assert str(diagnoses[name].failures[0].subject) == subject


def test_benign_lines_of_the_healthy_mesh_are_named(diagnoses: dict[str, meshdiag.Diagnosis]) -> None:
    benign = {f.cause for f in diagnoses["01-healthy-mesh"].findings if f.kind is Kind.BENIGN}
    assert {"metrics-scrape-failed", "xds-stream-recycled"} <= benign
    assert not [f for f in diagnoses["01-healthy-mesh"].findings if f.kind is Kind.FAILURE]


@everyone
def test_json_validates(diagnoses: dict[str, meshdiag.Diagnosis], name: str) -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(json.loads(diagnoses[name].to_json()))


def test_two_processes_say_the_same(diagnoses: dict[str, meshdiag.Diagnosis]) -> None:
    # One call for all of them: what matters is that streams spread over processes, not to start a pool ten times.
    folders = [SAMPLES / name for name in EXPECTED]
    one, two = meshdiag.diagnose(*folders, jobs=1), meshdiag.diagnose(*folders, jobs=2)
    assert two.to_dict() == one.to_dict()


def test_the_parts_add_up_to_the_whole(diagnoses: dict[str, meshdiag.Diagnosis]) -> None:
    first, *others = diagnoses.values()
    total = first
    for other in others:
        total = total + other
    assert total.to_dict() == meshdiag.diagnose(*(SAMPLES / name for name in EXPECTED)).to_dict()


def test_the_archive_is_the_folder() -> None:
    script = archive_script()
    packed = script.pack()
    assert script.pack() == packed
    # Compressed bytes depend on the zlib that Python was built with; the tar stream does not.
    assert gzip.decompress(script.ARCHIVE.read_bytes()) == gzip.decompress(packed)
    with tarfile.open(script.ARCHIVE) as tar:
        members = tar.getmembers()
    assert {m.mtime for m in members} == {script.TIME}
    assert all(m.isreg() and m.name.startswith("bug-report/") for m in members)
    assert {m.name.split("/")[1] for m in members} == {"analyze", "cluster", "istio", "proxies", "versions"}


def test_the_archive_script_writes_where_it_is_told(tmp_path: Path) -> None:
    script = archive_script()
    script.main([str(tmp_path / "new" / "report.tar.gz")])
    assert (tmp_path / "new" / "report.tar.gz").read_bytes() == script.pack()


def test_unpacked_it_says_the_same(diagnoses: dict[str, meshdiag.Diagnosis]) -> None:
    unpacked = meshdiag.diagnose(SAMPLES / "bug-report")
    packed = diagnoses["10-rejected-envoyfilter"]
    assert [(f.cause, f.subject, f.count) for f in unpacked.findings] == [
        (f.cause, f.subject, f.count) for f in packed.findings
    ]


def test_requests_can_be_followed_from_proxy_to_proxy() -> None:
    """The samples are for correlation, too: a client's connection and request id are found in the server's log."""
    seen: dict[str, list[dict[str, str]]] = defaultdict(list)
    for path in (SAMPLES / "02-connection-refused").glob("*.log"):
        for line in path.read_text("utf-8").splitlines():
            if line.startswith("["):
                record = access.FORMAT.parse(line)
                assert record is not None
                seen[record.fields["request_id"]].append(dict(record.fields))
    refused = 0
    for lines in seen.values():
        by_side = {side: [f for f in lines if f["direction"] == side] for side in ("outbound", "inbound")}
        remote = {f["downstream_remote_address"] for f in by_side["inbound"]}
        for fields in by_side["inbound"]:
            if fields.get("response_flags") == "UF":
                refused += 1
                caller = [f for f in by_side["outbound"] if f["upstream_local_address"] in remote]
                assert "503" in {f["response_code"] for f in caller}
    assert refused == 20


def requests(folder: str) -> dict[str, dict[str, list[dict[str, str]]]]:
    """Access records by request id and side (`inbound`, `outbound`) of one scenario's text logs."""
    seen: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted((SAMPLES / folder).glob("*.log*")):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for line in content.decode().splitlines():
            if line.startswith("["):
                record = access.FORMAT.parse(line)
                assert record is not None
                fields = dict(record.fields)
                if "direction" in fields and "request_id" in fields:
                    seen[fields["request_id"]][fields["direction"]].append(fields)
    return seen


def test_retries_share_their_request_id() -> None:
    """The client logs one line where the server's proxy logs one for each try."""
    tries = 0
    for sides in requests("11-via-upstream-chain").values():
        refused = [f for f in sides["inbound"] if f.get("response_flags") == "UF"]
        if refused:
            caller = [f for f in sides["outbound"] if "pricing" in f["upstream_cluster"]]
            assert [f["response_flags"] for f in caller] == ["URX"]
            assert len(refused) == 3
            assert {f["downstream_remote_address"] for f in refused} == {caller[0]["upstream_local_address"]}
            tries += 3
    assert tries == 36

    multiplied = [s for s in requests("20-retries-multiply").values() if len(s["inbound"]) > 4]
    assert len(multiplied) == 6
    for sides in multiplied:
        at = {port: [f for f in sides["inbound"] if f["destination_port"] == port] for port in ("8080", "9200")}
        assert [len(at["8080"]), len(at["9200"])] == [2, 6]
        client = [f for f in sides["outbound"] if f["destination_port"] == "9200"]
        assert len(client) == 2
        assert {f["upstream_local_address"] for f in client} < {f["downstream_remote_address"] for f in at["9200"]}
