"""The captures in sample_logs/ say what their README says."""

from __future__ import annotations

import gzip
import importlib.util
import json
import re
import tarfile
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest

import meshdiag
from meshdiag.formats import access
from meshdiag.model import Kind

SAMPLES = Path(__file__).parents[1] / "sample_logs"
SCHEMA = Path(meshdiag.__file__).parent / "diagnosis" / "diagnosis.schema.json"

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
    assert sum(p.stat().st_size for p in files) < 1_000_000
    for path in (p for p in files if p.suffix == ".log"):
        assert 30 <= len(path.read_bytes().splitlines()) <= 300, path


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


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("02-connection-refused", "default/ratings-v1"),
        ("03-no-healthy-upstream", "default/productpage-v1 -> reviews.default.svc.cluster.local:9080"),
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
