"""A snapshot of a live cluster, read from a server that answers as a kube-apiserver does."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshdiag.cluster import Snapshot, load, merged
from meshdiag.cluster import live as module
from meshdiag.cluster.objects import RESOURCES
from meshdiag.model import MeshdiagError
from tests.conftest import ROOT
from tests.live import pods
from tests.live.access import User
from tests.live.apiserver import ApiServer
from tests.live.certificates import Authority
from tests.live.cluster import Cluster

Load = Callable[..., Snapshot]
EVERY = tuple(k for k in RESOURCES if k != "Pod")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.05)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster()
    pods.sidecar_pod(cluster, "shop", "db-0")
    pods.sidecar_pod(cluster, "orders", "api-0")
    cluster.add_namespace("istio-system")
    return cluster


@pytest.fixture
def server(cluster: Cluster) -> Iterator[ApiServer]:
    server = ApiServer(cluster)
    server.store.install(*EVERY)
    with server:
        yield server


@pytest.fixture
def read(tmp_path: Path) -> Load:
    def load_(server: ApiServer, *, token: str = "", namespace: str = "default", **more: Any) -> Snapshot:
        cluster = more.pop("cluster", {})
        path = tmp_path / "config"
        path.write_text(json.dumps(server.kubeconfig(token, namespace, **cluster)))
        return load(kubeconfig=path, **more)

    return load_


def service(name: str, namespace: str = "shop", **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {},
        **more,
    }


def custom(
    kind: str, name: str, namespace: str = "shop", api: str = "networking.istio.io/v1", **spec: Any
) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def user(*rules: tuple[str, str, str]) -> User:
    return User("alice", rules)


def only(*resources: str, namespace: str = "*") -> User:
    return user(*((verb, r, namespace) for r in resources for verb in ("get", "list")))


def test_everything(server: ApiServer, read: Load) -> None:
    server.store.add(service("db"))
    server.store.add(custom("VirtualService", "db", hosts=["db"]))
    server.store.add(custom("Gateway", "gw"))
    server.store.add(custom("Gateway", "gw", api="gateway.networking.k8s.io/v1"))
    found = read(server)
    assert found.unread == {} and found.problems == () and found.namespaces is None
    assert (found.source, found.kubernetes) == ("test", "v1.35.0")
    assert found.taken is not None
    assert [p.name for p in found.all("Pod")] == ["api-0", "db-0"]
    assert [n.name for n in found.all("Namespace")] == ["istio-system", "orders", "shop"]
    assert str(found.get("KubernetesGateway", "shop", "gw").ref) == "KubernetesGateway shop/gw"
    assert found.get("Gateway", "shop", "gw").raw["apiVersion"] == "networking.istio.io/v1"
    pod = found.get("Pod", "shop", "db-0").raw
    assert (pod["kind"], pod["apiVersion"]) == ("Pod", "v1")
    assert not any("managedFields" in o.raw["metadata"] for o in found.objects)
    assert "spec.hosts" and found.get("VirtualService", "shop", "db").texts("spec", "hosts") == ("db",)


def test_kinds_that_are_not_installed(cluster: Cluster, read: Load) -> None:
    server = ApiServer(cluster)
    server.store.install("Service", "Deployment")
    with server:
        found = read(server)
    assert found.unread["VirtualService"] == found.unread["KubernetesGateway"] == "not installed"
    assert not {"Pod", "Service", "Deployment", "Namespace"} & set(found.unread)
    asked = [r.path for r in server.requests]
    assert not any("virtualservices" in path for path in asked), "what is not installed is not asked for"


def test_the_best_version_that_is_served(server: ApiServer, read: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    old = RESOURCES["VirtualService"]
    monkeypatch.setitem(
        server.store.kinds,
        (old.group, old.plural),
        (old.kind, type(old)(old.kind, old.group, old.plural, ("v1beta1",))),
    )
    server.store.add(custom("VirtualService", "db", api="networking.istio.io/v1beta1"))
    server.store.kinds[old.group, old.plural] = old.kind, type(old)(old.kind, old.group, old.plural, ("v1beta1",))
    found = read(server)
    assert [o.ref.api for o in found.all("VirtualService")] == ["networking.istio.io/v1beta1"]


def test_forbidden_kinds_are_reasons(cluster: Cluster, read: Load) -> None:
    server = ApiServer(
        cluster, tokens={"t": only("pods", "services", "namespaces", "virtualservices.networking.istio.io")}
    )
    server.store.install(*EVERY)
    with server:
        server.store.add(service("db"))
        found = read(server, token="t")
    assert not {"Pod", "Service", "Namespace", "VirtualService"} & set(found.unread)
    assert found.unread["Node"] == (
        'forbidden: User "alice" cannot list resource "nodes" in API group "" at the cluster scope'
    )
    assert found.unread["Secret"].startswith("forbidden: ") and found.unread["ConfigMap"].startswith("forbidden: ")
    assert set(found.unread) == set(RESOURCES) - {"Pod", "Service", "Namespace", "VirtualService"}
    assert found.namespaces is None and found.problems == ()


def test_nothing_may_be_read(cluster: Cluster, read: Load) -> None:
    server = ApiServer(cluster, tokens={"t": user()})
    server.store.install(*EVERY)
    with server:
        found = read(server, token="t")
    assert found.objects == () and set(found.unread) == set(RESOURCES)


def test_discovery_that_is_forbidden(server: ApiServer, read: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.live.apiserver.discovered", lambda *_: None)
    del server.store.kinds["networking.istio.io", "virtualservices"]
    server.store.add(service("db"))
    found = read(server)
    assert [o.name for o in found.all("Service")] == ["db"]
    assert found.unread == {"VirtualService": "not installed"}


def test_namespaces_that_are_named(server: ApiServer, read: Load) -> None:
    for name, space in (("a", "shop"), ("b", "orders"), ("istiod", "istio-system")):
        server.store.add(service(name, space))
    found = read(server, namespaces=["shop"])
    assert found.namespaces == {"shop", "istio-system"}
    assert [o.name for o in found.all("Service")] == ["istiod", "a"]
    assert [o.name for o in found.all("Pod")] == ["db-0"]
    assert "/api/v1/services" not in [r.path for r in server.requests]


def test_the_shipped_role_bound_in_namespaces(cluster: Cluster, read: Load) -> None:
    rules = granted("meshdiag-check").rules
    spaces = [(verb, r, n) for verb, r, _ in rules for n in ("shop", "istio-system")]
    server = ApiServer(cluster, tokens={"t": User("t", tuple(spaces))})
    server.store.install(*EVERY)
    with server:
        found = read(server, token="t", namespaces=["shop"])
    assert [o.name for o in found.all("Namespace")] == ["istio-system", "shop"]
    whole = {k for k, r in RESOURCES.items() if not r.scoped} - {"Namespace"}
    assert set(found.unread) == whole | {"Secret", "ConfigMap"} and found.namespaces == {"shop", "istio-system"}


def test_an_object_that_is_nested_too_deep(server: ApiServer, read: Load) -> None:
    deep: dict[str, Any] = {}
    for _ in range(150):
        deep = {"a": deep}
    server.store.add(custom("EnvoyFilter", "evil", api="networking.istio.io/v1alpha3", a=deep))
    server.store.add(custom("EnvoyFilter", "good", api="networking.istio.io/v1alpha3"))
    found = read(server)
    assert [o.name for o in found.all("EnvoyFilter")] == ["good"]
    assert [str(p) for p in found.problems] == ["EnvoyFilter shop/evil: nested too deep: at most 100; left out"]


def test_a_namespace_that_is_not_there(server: ApiServer, read: Load) -> None:
    with pytest.raises(MeshdiagError, match=r"there is no namespace 'shpo' in test \(http.*\): there are shop"):
        read(server, namespaces=["shpo"])


def test_rights_in_one_namespace_only(cluster: Cluster, read: Load) -> None:
    """What the context's namespace has is read when the cluster may not be."""
    server = ApiServer(cluster, tokens={"t": only("pods", "services", "namespaces", namespace="shop")})
    server.store.install(*EVERY)
    with server:
        server.store.add(service("a"))
        server.store.add(service("b", "orders"))
        found = read(server, token="t", namespace="shop")
        assert [o.name for o in found.all("Service")] == ["a"] and [o.name for o in found.all("Pod")] == ["db-0"]
        assert found.namespaces == {"shop"}, "istio-system was refused"
        assert not {"Pod", "Service", "Namespace"} & set(found.unread)
        named = read(server, token="t", namespaces=["shop"])
        assert named.unread == found.unread and named.namespaces == {"shop"}
        both = read(server, token="t", namespaces=["shop", "orders"])
        assert both.unread["Pod"].endswith('in the namespace "orders"')


def test_pages(server: ApiServer, read: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 7)
    for n in range(30):
        server.store.add(service(f"s-{n:02d}"))
    found = read(server)
    assert [o.name for o in found.all("Service")] == [f"s-{n:02d}" for n in range(30)]
    assert sum(r.path == "/api/v1/services" for r in server.requests) == 5


def test_a_list_of_which_the_pages_expired_is_begun_again(
    server: ApiServer, read: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 7)
    for n in range(30):
        server.store.add(service(f"s-{n:02d}"))
    page, times = server._pages.page, []

    def expiring(resource: str, namespace: str, query: Any, *more: Any) -> Any:
        if resource == "services" and query.get("continue") and len(times) < 2:
            times.append(1)
            server._pages.expire()
            server.cluster.version += 1
        return page(resource, namespace, query, *more)

    monkeypatch.setattr(server._pages, "page", expiring)
    found = read(server)
    assert [o.name for o in found.all("Service")] == [f"s-{n:02d}" for n in range(30)]
    assert "Service" not in found.unread
    assert server.requests and "limit" not in [r.query for r in server.requests if r.path == "/api/v1/services"][-1]


def test_too_many_of_a_kind(server: ApiServer, read: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 10)
    monkeypatch.setattr(module, "MOST", 20)
    for n in range(45):
        server.store.add(service(f"s-{n:02d}"))
    found = read(server)
    assert len(found.all("Service")) == 20
    assert found.unread["Service"] == "only a part: more than 20"
    assert [p.what for p in found.problems] == ["more than 20 services: the others are not looked at"]


@pytest.mark.parametrize("code", [429, 500, 503])
def test_what_passes_is_tried_again(code: int, server: ApiServer, read: Load) -> None:
    server.store.add(service("db"))
    server.fail_next("list", code, times=2)
    found = read(server)
    assert found.unread == {}
    assert [o.name for o in found.all("Service")] == ["db"]


def test_a_server_that_stays_broken_for_lists(server: ApiServer, read: Load) -> None:
    server.fail_next("list", 503, times=10_000)
    found = read(server)
    assert found.unread["Pod"].startswith("the server answers 503 ServiceUnavailable")


def test_unreachable(server: ApiServer, read: Load) -> None:
    server.down()
    with pytest.raises(MeshdiagError, match=r"cannot reach the cluster test .*Connection refused; is it up"):
        read(server)


def test_credentials_that_are_not_accepted(cluster: Cluster, read: Load) -> None:
    with ApiServer(cluster, tokens={}) as server, pytest.raises(MeshdiagError, match="does not accept the credentials"):
        read(server, token="wrong")


def test_tls(cluster: Cluster, read: Load, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with ApiServer(cluster, ssl=authority.server_context()) as server:
        found = read(server, cluster={"certificate-authority": str(authority.path)})
        assert [o.name for o in found.all("Pod")] == ["api-0", "db-0"]
        other = Authority(tmp_path, "other")
        with pytest.raises(MeshdiagError, match="certificate is not trusted"):
            read(server, cluster={"certificate-authority": str(other.path)})


def test_where_a_loop_runs(server: ApiServer, read: Load) -> None:
    """As in Jupyter."""

    async def cell() -> Snapshot:
        return read(server)

    assert [o.name for o in asyncio.run(cell()).all("Pod")] == ["api-0", "db-0"]

    async def wrong() -> Snapshot:
        return read(server, namespaces=["nope"])

    with pytest.raises(MeshdiagError, match="no namespace 'nope'"):
        asyncio.run(wrong())


def test_config_maps_by_name(server: ApiServer, read: Load) -> None:
    def config(name: str, namespace: str = "istio-system") -> None:
        server.store.add(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name, "namespace": namespace},
                "data": {"mesh": "a: 1"},
            }
        )

    for name in ("istio", "istio-1-28", "istio-sidecar-injector-1-28", "grafana"):
        config(name)
    config("coredns", "kube-system")
    config("istio-ca-root-cert", "shop")
    labels = {"app": "istiod", "istio.io/rev": "1-28"}
    server.cluster.add_pod("istio-system", "istiod-1-28-x", ["discovery"], labels=labels)
    found = read(server)
    names = ["istio", "istio-1-28", "istio-ca-root-cert", "istio-sidecar-injector-1-28", "coredns"]
    assert sorted(o.name for o in found.all("ConfigMap")) == sorted(names)
    lists = [r for r in server.requests if r.path.endswith("/configmaps")]
    assert all(r.query["fieldSelector"].startswith("metadata.name=") for r in lists), "no other is even asked for"


def test_secrets_by_type_and_name(server: ApiServer, read: Load) -> None:
    hidden = base64.b64encode(b"hunter2-hunter2").decode()

    def secret(name: str, namespace: str = "shop", type: str = "Opaque", **labels: str) -> None:
        meta = {"name": name, "namespace": namespace, "labels": labels}
        server.store.add(
            {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": type, "data": {"key": hidden, "x": hidden}}
        )

    secret("tls-one", type="kubernetes.io/tls")
    secret("generic")
    secret("password")
    secret("cacerts", "istio-system")
    secret("remote", "istio-system", **{"istio/multiCluster": "true"})
    server.store.add(custom("Gateway", "gw", servers=[{"tls": {"mode": "MUTUAL", "credentialName": "generic"}}]))
    found = read(server)
    assert sorted(o.name for o in found.all("Secret")) == ["cacerts", "generic", "remote", "tls-one"]
    assert hidden not in repr([o.raw for o in found.objects])
    assert not any(
        r.path.endswith("/secrets") and not (r.query.keys() & {"fieldSelector", "labelSelector"})
        for r in server.requests
    )
    without = read(server, secrets=False)
    assert without.unread == {"Secret": "not asked for"} and without.all("Secret") == ()


def granted(role: str) -> User:
    """A user with a ClusterRole of deploy/rbac-check.yaml."""
    parts = {
        d["metadata"]["name"]: d
        for d in yaml.safe_load_all((ROOT / "deploy/rbac-check.yaml").read_text())
        if "rules" in d
    }
    rules, names = [], []
    for rule in parts[role]["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                full = f"{resource}.{group}" if group else resource
                rules += [(verb, full, "*") for verb in rule["verbs"] if "resourceNames" not in rule]
                names += [(verb, full, name) for verb in rule["verbs"] for name in rule.get("resourceNames", ())]
    return User("meshdiag", tuple(rules), tuple(names))


def test_the_roles_that_are_shipped(cluster: Cluster, read: Load) -> None:
    """They allow all that is asked for, and nothing that is not."""
    role, certificates = granted("meshdiag-check"), granted("meshdiag-check-certificates")
    both = User("both", role.rules, role.names + certificates.names)
    server = ApiServer(cluster, tokens={"check": role, "both": both})
    server.store.install(*EVERY)
    with server:
        server.store.add(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "cacerts", "namespace": "istio-system"},
                "data": {},
            }
        )
        assert set(read(server, token="check").unread) == {"Secret"}
        found = read(server, token="both")
        asked = {r.path.rpartition("/")[2] for r in server.requests}
    assert found.unread == {}, "who may read only some secrets need not be allowed to list all"
    assert [o.name for o in found.all("Secret")] == ["cacerts"]
    every = {r.partition(".")[0] for _, r, _ in (*both.rules, *both.names)}
    assert every == {r.plural for r in RESOURCES.values()} and every <= asked
    assert {(v, r) for v, r, _ in both.rules if v != "list"} == {("get", "namespaces")}
    page = (ROOT / "docs/cluster.md").read_text()
    assert all(f"`{r.plural}`" in page for r in RESOURCES.values())


def test_events_are_warnings_of_the_last_hours(server: ApiServer, read: Load) -> None:
    def event(name: str, type: str, at: str) -> None:
        meta = {"name": name, "namespace": "shop"}
        server.store.add(
            {"apiVersion": "v1", "kind": "Event", "metadata": meta, "type": type, "lastTimestamp": at, "message": "m"}
        )

    from datetime import UTC, datetime, timedelta

    now = datetime.now(UTC)
    event("new", "Warning", f"{now - timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}")
    event("old", "Warning", f"{now - timedelta(hours=9):%Y-%m-%dT%H:%M:%SZ}")
    event("normal", "Normal", f"{now:%Y-%m-%dT%H:%M:%SZ}")
    assert [o.name for o in read(server).all("Event")] == ["new"]


def test_files_and_a_live_cluster_together(server: ApiServer, read: Load, tmp_path: Path) -> None:
    path = tmp_path / "node.yaml"
    path.write_text("apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n")
    del server.store.kinds["", "nodes"]
    config = tmp_path / "config"
    config.write_text(json.dumps(server.kubeconfig()))
    both = load(str(path), "live", kubeconfig=config)
    assert [o.name for o in both.all("Node")] == ["n1"] and "Node" not in both.unread
    assert len(both.all("Pod")) == 2 and both.namespaces is None


def test_no_such_context(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("current-context: a\ncontexts: [{name: a, context: {cluster: a}}]\n")
    with pytest.raises(MeshdiagError, match="no context is named 'b'"):
        load(kubeconfig=path, context="b")
    assert merged([]).lacks("Pod") == "pods: nothing was read"
