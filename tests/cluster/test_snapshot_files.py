"""A snapshot of files: what kubectl prints, folders, archives, bug-reports; what is missing, broken or hostile is said."""

from __future__ import annotations

import gzip
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from meshdiag.cluster import Snapshot, files, istio_version, load, merged, mode
from meshdiag.cluster.objects import RESOURCES
from meshdiag.model import MeshdiagError
from tests.conftest import SAMPLES

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\n"
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
ROUTE = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: web, namespace: shop}\n"


def written(folder: Path, **files_: str) -> Path:
    for name, text in files_.items():
        path = folder / name.replace("__", "/").replace("_yaml", ".yaml").replace("_json", ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def names(snapshot: Snapshot) -> list[str]:
    return sorted(str(o.ref) for o in snapshot.objects)


def problems(snapshot: Snapshot) -> list[str]:
    return [str(p) for p in snapshot.problems]


def archive(path: Path, members: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def listed(*objects: str) -> str:
    items = "".join("- " + o.strip().replace("\n", "\n  ") + "\n" for o in objects)
    return f"apiVersion: v1\nitems:\n{items}kind: List\nmetadata:\n  resourceVersion: ''\n"


def test_one_object_a_list_and_several_documents(tmp_path: Path) -> None:
    written(
        tmp_path,
        a_yaml=POD,
        b_yaml=listed(SERVICE, ROUTE),
        c_yaml=f"{POD.replace('web', 'api')}---\n{SERVICE.replace('web', 'api')}",
    )
    found = load(tmp_path)
    assert names(found) == [
        "Pod shop/api",
        "Pod shop/web",
        "Service shop/api",
        "Service shop/web",
        "VirtualService shop/web",
    ]
    assert found.problems == () and found.source == str(tmp_path) and found.taken is None
    assert found.unread["DestinationRule"] == "not in the capture" and not {"Pod", "Service", "VirtualService"} & set(
        found.unread
    )


def test_json_typed_lists_and_compressed_files(tmp_path: Path) -> None:
    items: list[dict[str, Any]] = [{"metadata": {"name": "web", "namespace": "shop"}}]
    (tmp_path / "pods.json.gz").write_bytes(
        gzip.compress(json.dumps({"kind": "PodList", "apiVersion": "v1", "items": items}).encode())
    )
    (tmp_path / "none.json").write_text(
        '{"kind":"DestinationRuleList","apiVersion":"networking.istio.io/v1","items":[]}'
    )
    found = load(tmp_path)
    assert names(found) == ["Pod shop/web"] and found.get("Pod", "shop", "web").raw["kind"] == "Pod"
    assert "DestinationRule" not in found.unread, "an empty list of its own kind says that there is none"


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(listed(POD).encode())

    monkeypatch.setattr(sys, "stdin", Input())
    assert names(load("-")) == ["Pod shop/web"]


def test_globs_archives_and_several_sources(tmp_path: Path) -> None:
    written(tmp_path, a__pods_txt=listed(POD), b_yaml=SERVICE)
    packed = archive(tmp_path / "x.tgz", {"state/vs.yaml": ROUTE})
    found = load(str(tmp_path / "a" / "*"), str(tmp_path / "b.yaml"), packed)
    assert names(found) == ["Pod shop/web", "Service shop/web", "VirtualService shop/web"]
    assert not {"Pod", "Service", "VirtualService"} & set(found.unread) and found.unread["Node"] == "not in the capture"


def test_an_archive_that_can_be_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that do not say by their name what they are, longer than what is remembered of them."""
    parts = {f"state/{c}": listed(*(POD.replace("web", f"{c}-{n}-{'x' * 200}") for n in range(3000))) for c in "ab"}
    data = archive(tmp_path / "x.tgz", parts).read_bytes()

    class Input:
        buffer = io.BytesIO(data)

    monkeypatch.setattr(sys, "stdin", Input())
    found = load("-")
    assert len(found.objects) == 6000 and found.problems == () and "Pod" not in found.unread


def test_a_file_without_a_suffix_in_a_folder(tmp_path: Path) -> None:
    written(
        tmp_path, state="# kubectl get\n---\n" + POD, notes="kind of a note", log_json='{"level":"info","kind":"x"}\n'
    )
    found = load(tmp_path)
    assert names(found) == ["Pod shop/web"] and found.problems == ()


def test_what_is_of_other_kinds_is_counted(tmp_path: Path) -> None:
    other = "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: r}\n"
    found = load(written(tmp_path, a_yaml=f"{other}---\n{other}---\n{POD}---\nreplicaCount: 3\n"))
    assert names(found) == ["Pod shop/web"] and dict(found.ignored) == {"ReplicaSet": 2} and found.problems == ()


def test_gateways_of_both_groups(tmp_path: Path) -> None:
    one = "kind: Gateway\nmetadata: {name: g, namespace: a}\n"
    text = f"apiVersion: networking.istio.io/v1beta1\n{one}---\napiVersion: gateway.networking.k8s.io/v1\n{one}"
    assert names(load(written(tmp_path, a_yaml=text))) == ["Gateway a/g", "KubernetesGateway a/g"]


def test_without_a_namespace_it_is_default(tmp_path: Path) -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n, namespace: x}\n"
    assert names(load(written(tmp_path, a_yaml=text))) == ["Node n", "Service default/web"]


def test_of_which_namespaces_it_is(tmp_path: Path) -> None:
    assert load(written(tmp_path / "1", a_yaml=POD)).namespaces == {"shop"}
    every = load(written(tmp_path / "2", a_yaml=listed(POD, POD.replace("shop", "kube-system"))))
    assert every.namespaces is None
    two = load(
        written(tmp_path / "3", a_yaml=listed(POD, POD.replace("shop", "istio-system"), POD.replace("shop", "x"))),
        namespaces=["shop"],
    )
    assert names(two) == ["Pod istio-system/web", "Pod shop/web"] and two.namespaces == {"shop", "istio-system"}


def test_broken_documents_are_told_by_file_and_line(tmp_path: Path) -> None:
    found = load(
        written(tmp_path, a_yaml=f"{POD}---\nkind: [\n---\n{SERVICE}", b_json='{"kind": "Pod", "kind": "Pod"}')
    )
    assert names(found) == ["Pod shop/web", "Service shop/web"]
    assert [p.partition(": ")[0] for p in problems(found)] == [f"{tmp_path}/a.yaml:6", f"{tmp_path}/b.json:1"]


def test_a_list_that_is_cut_leaves_its_kind_unread(tmp_path: Path) -> None:
    text = listed(SERVICE, POD, POD.replace("web", "api"))
    found = load(written(tmp_path, a_yaml=text[: text.index("api,")] + "'"))
    assert names(found) == ["Pod shop/web", "Service shop/web"]
    assert found.unread["Pod"] == f"only a part: {tmp_path}/a.yaml is broken off" and "Service" not in found.unread


def test_an_archive_that_is_cut(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "x.tgz", {"a.yaml": listed(*(POD.replace("web", f"p-{n}-{n * 7919 % 10007}") for n in range(3000)))}
    )
    path.write_bytes(path.read_bytes()[:-9000])
    found = load(path)
    assert 0 < len(found.objects) < 3000 and found.unread["Pod"].startswith("only a part") and found.problems


def test_names_that_are_none(tmp_path: Path) -> None:
    text = "".join(
        f"---\napiVersion: v1\nkind: Pod\nmetadata: {m}\n" for m in ("{}", "{name: 5}", "{name: ''}", "[]", "x")
    )
    text += "---\napiVersion: 1\nkind: [Pod]\n---\n- 1\n- a\n---\nitems: 5\nkind: List\n"
    found = load(written(tmp_path, a_yaml=text + "---\n" + POD))
    assert names(found) == ["Pod shop/web"]
    assert [p.what for p in found.problems] == ["a Pod without a name: left out"] * 5


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(POD.encode() + b"spec: {a: caf\xe9}\n")
    (tmp_path / "b.yaml").write_bytes(SERVICE.encode("utf-16"))
    found = load(tmp_path)
    assert names(found) == ["Pod shop/web", "Service shop/web"]
    assert found.get("Pod", "shop", "web").text("spec", "a") == "caf\ufffd"
    assert problems(found)[0].startswith(f"{tmp_path}/a.yaml:4: not UTF-8")


def test_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST", 3)
    found = load(written(tmp_path, a_yaml=listed(*(POD.replace("web", f"p{n}") for n in range(9)))))
    assert (
        len(found.objects) == 3 and found.unread["Pod"] == "only a part: more than 3 objects: the others are left out"
    )
    monkeypatch.setattr(files, "MOST", 100)
    monkeypatch.setattr(files, "LARGEST", 400)
    found = load(tmp_path)
    assert 0 < len(found.objects) < 9 and found.unread["Pod"].startswith("only a part")
    assert "the rest is not read" in problems(found)[0]


def test_bombs(tmp_path: Path) -> None:
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    deep = '{"apiVersion":"v1","kind":"Pod","metadata":' + '{"a":' * 90_000
    found = load(
        written(
            tmp_path, a_yaml=laughs, b_json=deep, c_yaml=POD, d_yaml="a: !!python/object/apply:os.system ['exit 3']\n"
        )
    )
    assert names(found) == ["Pod shop/web"] and len(found.problems) == 3


@pytest.mark.parametrize(
    "text", ["NAME   READY   STATUS\nweb    2/2     Running\n", "Name:         node-1\nRoles: <none>\n"]
)
def test_a_table(text: str, tmp_path: Path) -> None:
    path = tmp_path / "pods.txt"
    path.write_text(text)
    (problem,) = load(path).problems
    assert str(problem) == f"{path}: is a table for people (give the output of kubectl get … -o yaml)"


def test_nothing_of_kubernetes(tmp_path: Path) -> None:
    path = written(tmp_path, values_yaml="replicas: 3\n") / "values.yaml"
    assert [p.what for p in load(path).problems] == ["holds no Kubernetes objects"]
    assert [p.what for p in load(tmp_path).problems] == ["holds no Kubernetes objects"]
    with pytest.raises(MeshdiagError, match="no such file or folder"):
        load(tmp_path / "nothing.yaml")


def test_secrets_config_maps_and_events_that_matter(tmp_path: Path) -> None:
    def one(kind: str, name: str, **more: Any) -> str:
        return json.dumps({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "a"}, **more})

    gateway = {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "g", "namespace": "a"}}
    gateway["spec"] = {"servers": [{"tls": {"credentialName": "generic"}}]}
    parts = [
        one("Secret", "generic", data={"key": "aHVudGVyMg=="}),
        one("Secret", "other", data={"password": "aHVudGVyMg=="}),
        one("ConfigMap", "istio", data={"mesh": "a: 1"}),
        one("ConfigMap", "app", data={"password": "hunter2"}),
        one("Event", "w", type="Warning", lastTimestamp="2026-11-22T10:00:00Z"),
        one("Event", "old", type="Warning", lastTimestamp="2026-11-22T01:00:00Z"),
        one("Event", "n", type="Normal", lastTimestamp="2026-11-22T10:00:00Z"),
        json.dumps(gateway),
    ]
    found = load(written(tmp_path, a_json="\n".join(parts)))
    assert names(found) == ["ConfigMap a/istio", "Event a/w", "Gateway a/g", "Secret a/generic"]
    assert "unter2" not in repr([o.raw for o in found.objects]) and "aHVudGVyMg" not in repr(
        [o.raw for o in found.objects]
    )
    assert dict(found.ignored) == {"Secret": 1, "ConfigMap": 1}


# --- bug-reports --------------------------------------------------------------------------------------------------

CRD = """apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: x}
spec: {group: GROUP, names: {kind: KIND}}
"""
ISTIOD = """apiVersion: apps/v1
kind: Deployment
metadata: {name: istiod, namespace: istio-system, labels: {app: istiod}}
spec: {template: {spec: {containers: [{name: discovery, image: "docker.io/istio/pilot:1.28.1"}]}}}
"""
VERSIONS = """CLI version: client version: 1.31.2

The following Istio control plane revisions/versions were found in the cluster:
Revision default:
&version.MeshInfo{
    {
        Component: "pilot",
        Info:      version.BuildInfo{Version:"1.30.0", GitRevision:"4c5c"},
    },
}
"""


def crd(group: str, kind: str) -> str:
    return CRD.replace("GROUP", group).replace("KIND", kind)


def bug_report(**more: str) -> dict[str, str]:
    crds = crd("networking.istio.io", "VirtualService"), crd("networking.istio.io", "DestinationRule")
    members = {
        "cluster/cluster-context": "prod\nhttps://10.0.0.1\n",
        "cluster/kubectl-version": "Client Version: v1.36.0\nKustomize Version: v5\nServer Version: v1.35.2\n",
        "cluster/k8s-resources": listed(POD, SERVICE, *crds),
        "cluster/crs": listed(ROUTE),
        "cluster/events": "NAMESPACE   LAST SEEN   TYPE\nshop   5m   Normal\n",
        "cluster/nodes": "Name:               node-1\nRoles:              <none>\n",
        "cluster/secrets": "NAMESPACE   NAME   TYPE   DATA   AGE\nshop   tls   kubernetes.io/tls   2   1d\n",
        "cluster/describe-pods": "Name:             istiod-1\n",
        "versions": VERSIONS,
        "proxies/shop/web-7d9c5b8f6-abcde/istio-proxy.log": "kind: Pod\napiVersion: v1\n",
        "proxies/shop/web-7d9c5b8f6-abcde/config_dump": '{"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "evil"}}',
        "bug-report.log": "info\tdone\n",
        **more,
    }
    return {f"bug-report/{name}": text for name, text in members.items()}


@pytest.mark.parametrize("packed", [True, False])
def test_a_bug_report(packed: bool, tmp_path: Path) -> None:
    if packed:
        path = archive(tmp_path / "bug-report.tar.gz", bug_report())
    else:
        path = tmp_path / "bug-report"
        for name, text in bug_report().items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    found = load(path)
    assert names(found) == ["Pod shop/web", "Service shop/web", "VirtualService shop/web"]
    assert (found.kubernetes, found.istio, found.namespaces) == ("v1.35.2", "1.30.0", None)
    assert not set(files.IN_RESOURCES) & set(found.unread), "Deployments were asked for, and there are none"
    assert "DestinationRule" not in found.unread and found.unread["Gateway"] == "not installed"
    assert found.unread["Node"] == "in the bug-report only as text (kubectl describe)"
    assert found.unread["Secret"] == "in the bug-report only as text (a table; --full-secrets has them)"
    assert found.unread["NetworkPolicy"] == found.unread["EndpointSlice"] == "not in the capture"
    assert sorted(p.where.rpartition("/")[2] for p in found.problems) == ["describe-pods", "events", "nodes", "secrets"]


def test_a_bug_report_with_newer_resources_and_full_secrets(tmp_path: Path) -> None:
    slices = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web-x, namespace: shop}\n"
    secret = "apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: tls, namespace: shop}\ndata: {tls.key: c2VjcmV0}\n"
    more = {"cluster/k8s-resources": listed(POD, ISTIOD, slices), "cluster/secrets": listed(secret)}
    found = load(archive(tmp_path / "bug-report.tar.gz", bug_report(**more)))
    assert not {"EndpointSlice", "Secret"} & set(found.unread)
    assert found.get("Secret", "shop", "tls").at("data", "tls.key") == "meshdiag:key-unreadable"
    assert istio_version(found) == "1.28.1", "the image that runs says more than the file"


def test_a_bug_report_of_which_a_file_is_broken(tmp_path: Path) -> None:
    text = bug_report()["bug-report/cluster/k8s-resources"]
    broken = {
        "cluster/k8s-resources": text[: text.index("VirtualService") - 40] + "'",
        "cluster/crs": "error: forbidden\n",
    }
    found = load(archive(tmp_path / "bug-report.tar.gz", bug_report(**broken)))
    assert {"Deployment", "VirtualService", "DestinationRule"} <= set(found.unread), (
        "it is not known what would have followed"
    )


def test_the_sample() -> None:
    found = load(SAMPLES / "bug-report")
    assert names(found) == ["EnvoyFilter istio-system/gateway-upstream-timeouts"]
    assert istio_version(found) == "1.31.2" and found.unread["Pod"] == "not in the capture"


# --- versions and modes -------------------------------------------------------------------------------------------


def test_modes() -> None:
    from snapshots import pod, snapshot

    sidecar = pod("reviews-v1-6c9dbf6b45-s2fnt")
    native = pod("ratings-v1-6c9dbf6b45-s2fnt", native=True)
    plain = pod("details-v1-6c9dbf6b45-s2fnt", proxied=False)
    ambient = pod("details-v1-6c9dbf6b45-x2fnt", proxied=False, annotations={"ambient.istio.io/redirection": "enabled"})
    gateway = pod("gw-6c9dbf6b45-s2fnt", proxied=False, spec={"containers": [{"name": "istio-proxy"}]})
    assert mode(snapshot(plain, gateway)) == "none"
    assert mode(snapshot(plain, sidecar)) == mode(snapshot(native)) == "sidecar"
    assert mode(snapshot(ambient, gateway)) == "ambient"
    assert mode(snapshot(ambient, sidecar)) == "both"
    assert mode(snapshot(unread={"Pod": "forbidden"})) == ""


def test_the_oldest_of_several_versions() -> None:
    from snapshots import istiod, snapshot

    assert istio_version(snapshot()) == ""
    assert (
        istio_version(snapshot(*istiod(version="1.28.1"), *istiod("istio-2", version="1.9.10", revision="old")))
        == "1.9.10"
    )


def test_a_later_capture_takes_the_place_of_an_earlier_one() -> None:
    from datetime import timedelta

    from snapshots import NOW, service, snapshot

    before = snapshot(service("gone"), service("kept"), taken=NOW - timedelta(hours=1))
    after = snapshot(service("kept"), unread={"Pod": "forbidden"})
    both = merged([after, before])
    assert [o.name for o in both.all("Service")] == ["kept"] and both.unread == {} and both.taken == NOW


def test_kinds_are_all_named() -> None:
    assert set(files.IN_RESOURCES) < set(RESOURCES)
