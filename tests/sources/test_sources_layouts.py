"""What paths say, layout by layout, and what they do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshdiag.sources import STATE, open_inputs, sniff
from meshdiag.sources.layouts import LAYOUTS, Place, place


def unexpected(problem):
    pytest.fail(str(problem))


POD = "reviews-v2-65c4dc6fdc-xbqhz"
UID = "0b6c0b6e-4c2e-4b8f-9f5e-3c1f7d0a9a11"
ID = "a" * 64

KNOWN = [
    (f"saved/clusters/k3d-mesh/prod/{POD}/istio-proxy.log", ("prod", POD, "istio-proxy", False)),
    (f"saved/clusters/cluster/prod/{POD}/istio-proxy-previous.log", ("prod", POD, "istio-proxy", True)),
    (f"bug-report.tar.gz!bug-report/proxies/prod/{POD}/istio-proxy.log", ("prod", POD, "istio-proxy", False)),
    (
        "x/bug-report/proxies/istio-system/ztunnel-x2k9p/istio-proxy.log",
        ("istio-system", "ztunnel-x2k9p", "istio-proxy", False),
    ),
    (f"proxies/prod/{POD}/istio-proxy.log", ("prod", POD, "istio-proxy", False)),
    ("bug-report/istio/istio-system/istiod-abc/discovery.log", ("istio-system", "istiod-abc", "discovery", False)),
    ("bug-report/operator/istio-operator/op-1/operator.log", ("istio-operator", "op-1", "istio-operator", False)),
    ("bug-report/cni/istio-cni-node-4x8kz/cni.log", ("", "istio-cni-node-4x8kz", "install-cni", False)),
    (
        "bug-report/cni/kube-system/istio-cni-node-4x8kz/cni.log",
        ("kube-system", "istio-cni-node-4x8kz", "install-cni", False),
    ),
    ("bug-report/cluster/events", ("", "", "", False)),
    ("bug-report/analyze/prod/prod", ("prod", "", "", False)),
    ("bug-report/analyze/allNamespaces/allNamespaces", ("", "", "", False)),
    (f"dump/prod/{POD}/logs.txt", ("prod", POD, "", False)),
    ("dump/prod/events.json", ("prod", "", "", False)),
    (f"/var/log/pods/prod_{POD}_{UID}/istio-proxy/3.log", ("prod", POD, "istio-proxy", False)),
    (f"/var/log/pods/prod_{POD}_{UID}/istio-proxy/3.log.20240102-030405.gz", ("prod", POD, "istio-proxy", False)),
    (f"kind-logs/node/pods/kube-system_etcd-n_{'0' * 32}/etcd/0.log", ("kube-system", "etcd-n", "etcd", False)),
    (f"/var/log/containers/{POD}_prod_istio-proxy-{ID}.log", ("prod", POD, "istio-proxy", False)),
    (
        f"must-gather.local.1/quay-io-x/namespaces/prod/pods/{POD}/istio-proxy/istio-proxy/logs/current.log",
        ("prod", POD, "istio-proxy", False),
    ),
    (f"mg/namespaces/prod/pods/{POD}/app/app/logs/previous.log", ("prod", POD, "app", True)),
    (f"mg/namespaces/prod/pods/{POD}/app/app/logs/previous.insecure.log", ("prod", POD, "app", True)),
    ("mg/namespaces/prod/core/events.yaml", ("prod", "", "", False)),
    (f"bundle/cluster-resources/pods/logs/prod/{POD}/app-previous.log", ("prod", POD, "app", True)),
    (f"out/prod_{POD}_istio-proxy.log", ("prod", POD, "istio-proxy", False)),
    (f"out/prod_{POD}_istio-proxy-previous.log.gz", ("prod", POD, "istio-proxy", True)),
    (f"out/prod_{POD}.log", ("prod", POD, "", False)),
    (f"out/{POD}_app.log", ("", POD, "app", False)),
    ("web-0_istio-proxy.log", ("", "web-0", "istio-proxy", False)),
    (f"{POD}.log", ("", POD, "", False)),
    (f"{POD}.previous.log", ("", POD, "", True)),
    ("ztunnel-x2k9p.txt", ("", "ztunnel-x2k9p", "", False)),
    ("istio-proxy.log", ("", "", "istio-proxy", False)),
    ("discovery-previous.log", ("", "", "discovery", True)),
]


@pytest.mark.parametrize(("path", "expected"), KNOWN)
def test_known_paths(path, expected):
    found = place(path)
    assert (found.namespace, found.pod, found.container, found.previous) == expected
    assert found.role == "log" and found.layout


@pytest.mark.parametrize(
    "path",
    [
        "app.log",
        "gateway-https.log",
        "my-app-server.log",
        "logs/2024-01-01.log",
        "prod_web.log",
        "a_b_c_d.log",
        "Prod_Web-0_App.log",
        "-a_b-_c.log",
        "0.log",
        "notes/analyze/x/report.log",
        "x.tar.gz",
        "",
        "!",
        "previous/app.log",
        f"pods/prod_{POD}_nouid/app/0.log",
        f"namespaces/prod/pods/{POD}/one/two/logs/current.log",
    ],
)
def test_unknown_paths_stay_unknown(path):
    assert place(path) == Place()


@pytest.mark.parametrize(
    "path",
    [
        "bug-report/cluster/k8s-resources",
        "bug-report/cluster/secrets",
        "b.tgz!cluster/describe-pods",
        f"bug-report/proxies/prod/{POD}/config_dump?include_eds",
        f"proxies/prod/{POD}/certs",
        f"proxies/prod/{POD}/stats/prometheus",
        f"proxies/prod/{POD}/cores/0.core",
        "istio/istio-system/istiod-x/debug/syncz",
        "bug-report/versions",
        "bug-report/bug-report.log",
        "dump/nodes.json",
        "dump/prod/pods.json",
        "dump/prod/replicasets.yaml",
        "mg/cluster-scoped-resources/core/nodes/n1.yaml",
        f"mg/namespaces/prod/pods/{POD}/{POD}.yaml",
        "mg/namespaces/prod/apps/deployments.yaml",
    ],
)
def test_state_is_no_log(path):
    assert place(path).role == STATE


def test_an_unknown_log_in_a_bug_report_is_still_read():
    assert place("bug-report/new/thing.log").role == "log"


@given(st.text(max_size=200))
def test_any_text_is_a_path(text):
    found = place(text)
    for name in (found.namespace, found.pod, found.container):
        assert all(c in "abcdefghijklmnopqrstuvwxyz0123456789-." for c in name)


def test_every_layout_names_its_source_and_is_used():
    used = {place(path).layout for path, _ in KNOWN}
    for rule in LAYOUTS:
        assert rule.__doc__
        assert rule.__name__ in used


def test_a_bug_report_whole(read, write, make_tar):
    base = "bug-report"
    members = [
        (f"{base}/proxies/prod/{POD}/istio-proxy.log", b"proxy\n"),
        (f"{base}/proxies/prod/{POD}/config_dump?include_eds", b"{}\n"),
        (f"{base}/istio/istio-system/istiod-1/discovery.log", b"istiod\n"),
        (f"{base}/istio/istio-system/istiod-1/debug/syncz", b"[]\n"),
        (f"{base}/cluster/events", b"events\n"),
        (f"{base}/cluster/secrets", b"secrets\n"),
        (f"{base}/analyze/allNamespaces/allNamespaces", b"Warning [IST0101]\n"),
    ]
    path = write("bug-report.tar", make_tar(members))
    got = read(path)
    assert [d for _, d in got.streams] == [b"proxy\n", b"istiod\n", b"events\n", b"Warning [IST0101]\n"]
    assert (got.streams[0][0].namespace, got.streams[0][0].pod) == ("prod", POD)
    assert got.problems == []
    roles = [s.role for s in open_inputs([path], unexpected, roles=("state",))]
    assert roles == [STATE] * 3


def test_only_state_is_not_silence(read, write):
    got = read(write("dump/prod/pods.json", b"{}"))
    assert got.streams == [] and got.whats == ["holds cluster state, no logs"]


def test_the_folder_one_stands_in_counts(read, write, monkeypatch, tmp_path):
    write(f"pods/prod_{POD}_{UID}/app/0.log", b"x\n")
    monkeypatch.chdir(tmp_path / "pods" / f"prod_{POD}_{UID}" / "app")
    ((origin, _),) = read("0.log").streams
    assert (origin.path, origin.namespace, origin.pod, origin.container) == ("0.log", "prod", POD, "app")


@pytest.mark.parametrize(
    ("text", "is_state"),
    [
        ("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n", True),
        ("# saved\n---\nkind: Namespace\napiVersion: v1\n", True),
        ('{\n    "apiVersion": "v1",\n    "items": [\n        {"apiVersion": "v1", "kind": "Pod"}]}\n', True),
        ("apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Event\n", False),
        ('{"kind": "EventList", "apiVersion": "v1", "items": []}\n', False),
        ('{"level":"error","kind":"Pod","apiVersion":"v1"}\n', False),
        ("2026-11-22T10:00:00Z error apiVersion: v1 kind: Pod\n", False),
        ("apiVersion of what? none\n", False),
        ("apiVersion: v1\nkind: Service\nspec:\n  ports:\n- port: 80\n\n$ kubectl logs web-0\n", False),
        ('kind: Service\nmetadata: {}\n[2026-11-22T22:15:10.345Z] "GET / HTTP/1.1" 503 UH\n', False),
        ('{"kind": "Service", "metadata": {\n}\n}\nno healthy upstream\n', False),
        ('{"kind": "Service", "metadata": {\n}\n}\n{"kind": "Pod", "metadata": {}}\n', True),
        ("kind: ConfigMap\ndata:\n  a: |\n    [x] y\n---\nkind: Pod\n...\n# end\nmetad", True),
    ],
)
def test_manifests_are_state(text: str, is_state: bool) -> None:
    """Objects of Kubernetes beside logs are no lines of a log; events are."""
    assert sniff.is_manifest(text.encode()) is is_state
