"""Lists, watches and users of the server that stands in for a kube-apiserver."""

from __future__ import annotations

import gzip
import json
import os
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.live import pods
from tests.live.access import ADMIN, reader
from tests.live.apiserver import ApiServer
from tests.live.calls import PROXY, call, get, list_path, listed, log_path, watching
from tests.live.certificates import Authority
from tests.live.cluster import Cluster, ContainerSpec, Pod
from tests.live.objects import encode
from tests.live.pages import TOO_OLD

# Lists and watches


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("app=web", "13"),
        ("app==web", "13"),
        ("app!=web", "0249"),
        ("app in (web, api)", "139"),
        ("app notin (web,api)", "024"),
        ("canary", "4"),
        ("!canary", "01239"),
        ("canary=", "4"),
        ("app=db,!canary", "02"),
        ("app in (db),canary in ()", "4"),
        ("", "012349"),
    ],
)
def test_label_selectors(selector: str, expected: str, mesh: Cluster, server: ApiServer) -> None:
    assert sorted(name[-1] for name in listed(server, "", labelSelector=selector)) == list(expected)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("spec.nodeName=node-1", "139"),
        ("spec.nodeName!=node-1", "024"),
        ("metadata.name=p-3", "3"),
        ("metadata.namespace==orders", "9"),
        ("status.phase=Running,metadata.namespace=shop,metadata.name!=p-0", "1234"),
        ("status.phase=Pending", "9"),
    ],
)
def test_field_selectors(selector: str, expected: str, mesh: Cluster, server: ApiServer) -> None:
    assert sorted(name[-1] for name in listed(server, "", fieldSelector=selector)) == list(expected)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"labelSelector": "a b"}, "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ({"labelSelector": "a in b"}, "unable to parse requirement: found 'b' expected: '('"),
        ({"labelSelector": "a=b c"}, "found 'c', expected: ',' or 'end of string'"),
        ({"labelSelector": "a,"}, "found '', expected: identifier after ','"),
        ({"fieldSelector": "spec.color=red"}, "field label not supported: spec.color"),
        ({"fieldSelector": "name"}, "invalid selector: 'name'; can't understand 'name'"),
        ({"limit": "x"}, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ({"continue_": "e30"}, "continue key is not valid: 'rv'"),
    ],
)
def test_what_cannot_be_parsed(query: dict[str, str], message: str, mesh: Cluster, server: ApiServer) -> None:
    code, body = get(server, list_path(**query))
    assert (code, body["reason"], body["message"]) == (400, "BadRequest", message)


def test_pages_are_of_one_version(mesh: Cluster, server: ApiServer) -> None:
    code, page = get(server, list_path("", limit=2))
    version = page["metadata"]["resourceVersion"]
    assert page["metadata"]["remainingItemCount"] == 4
    names = [item["metadata"]["name"] for item in page["items"]]
    mesh.delete_pod("shop/p-1")
    mesh.add_pod("shop", "p-0-new", ["app"])
    while token := page["metadata"].get("continue"):
        code, page = get(server, list_path("", limit=2, continue_=token))
        assert (code, page["metadata"]["resourceVersion"]) == (200, version)
        names += [item["metadata"]["name"] for item in page["items"]]
    assert names == ["p-9", "p-0", "p-1", "p-2", "p-3", "p-4"]
    assert listed(server, "", limit=2, resourceVersion=0) == ["p-9", "p-0", "p-0-new", "p-2", "p-3", "p-4"]
    assert "remainingItemCount" not in get(server, list_path("", limit=1, labelSelector="app"))[1]["metadata"]


def test_a_continue_token_that_is_too_old(mesh: Cluster, server: ApiServer) -> None:
    token = get(server, list_path(limit=2))[1]["metadata"]["continue"]
    assert token == "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MjE0LCJzdGFydCI6InAtMVx1MDAwMCJ9"
    mesh.delete_pod("shop/p-2")
    server.expire_continue()
    code, body = get(server, list_path(limit=2, continue_=token))
    assert (code, body["reason"], body["message"]) == (410, "Expired", TOO_OLD)
    again = body["metadata"]["continue"]  # the rest, of another version
    assert listed(server, continue_=again) == ["p-3", "p-4"]
    assert get(server, list_path(continue_=again, resourceVersion=5))[0] == 400


def test_versions_that_are_not_there(mesh: Cluster, server: ApiServer) -> None:
    code, body = get(server, list_path(resourceVersion=9999))
    assert (code, body["reason"]) == (504, "Timeout")
    assert body["message"] == f"Timeout: Too large resource version: 9999, current: {mesh.version}"
    mesh.compact()
    with watching(server, resourceVersion=205) as made:
        kind, found = made.event()
        assert (made.code, kind, found["code"], found["reason"]) == (200, "ERROR", 410, "Expired")
        assert found["message"] == f"too old resource version: 205 ({mesh.version})"
        assert made.chunk() == b""


def test_history_is_as_long_as_it_was_told() -> None:
    cluster = Cluster(history=3)
    pod = cluster.add_pod("shop", "p", ["app"])  # a namespace, and two versions of a pod
    with ApiServer(cluster) as server:
        with watching(server, resourceVersion=200) as made:
            assert made.event()[0] == "ADDED"
        cluster.touch(pod)
        with watching(server, resourceVersion=200) as made:
            assert made.event()[1]["code"] == 410
        with watching(server, resourceVersion=201) as made:
            assert [made.event()[0] for _ in range(3)] == ["ADDED", "MODIFIED", "MODIFIED"]


@pytest.mark.parametrize("query", [{}, {"resourceVersion": 0}])
def test_a_watch_without_version_begins_with_what_is_there(
    query: dict[str, Any], mesh: Cluster, server: ApiServer
) -> None:
    with watching(server, **query) as made:
        assert [(kind, found["metadata"]["name"]) for kind, found in (made.event() for _ in range(5))] == [
            ("ADDED", f"p-{n}") for n in range(5)
        ]
        mesh.touch("orders/p-9")
        mesh.touch("shop/p-3")
        kind, found = made.event()
        assert (kind, found["kind"], found["apiVersion"]) == ("MODIFIED", "Pod", "v1")
        assert found["metadata"]["name"] == "p-3"


def test_what_a_watch_selects_comes_and_goes(mesh: Cluster, server: ApiServer) -> None:
    with watching(server, labelSelector="app=web", resourceVersion=mesh.version) as made:
        assert made.code == 200
        mesh.label("shop/p-0", {"app": "web"})
        mesh.label("shop/p-0", {"x": "y"})
        mesh.label("shop/p-0", {"app": None})
        mesh.delete_pod("shop/p-0")
        mesh.delete_pod("shop/p-1")
        events = [made.event() for _ in range(6)]
    assert [(kind, found["metadata"]["name"]) for kind, found in events] == [
        ("ADDED", "p-0"),
        ("MODIFIED", "p-0"),
        ("DELETED", "p-0"),
        ("MODIFIED", "p-1"),
        ("MODIFIED", "p-1"),
        ("DELETED", "p-1"),
    ]
    # What no longer is selected is shown as it last was, with the version of the change.
    assert events[2][1]["metadata"]["labels"]["app"] == "web"
    assert int(events[2][1]["metadata"]["resourceVersion"]) == int(events[1][1]["metadata"]["resourceVersion"]) + 1


def test_bookmarks(mesh: Cluster, server: ApiServer) -> None:
    with (
        watching(server, resourceVersion=mesh.version, allowWatchBookmarks="true") as made,
        watching(server, resourceVersion=mesh.version) as other,
    ):
        assert made.code == other.code == 200
        mesh.touch("orders/p-9")
        server.send_bookmarks()
        kind, found = made.event()
        assert (kind, found["kind"], found["metadata"]) == ("BOOKMARK", "Pod", {"resourceVersion": str(mesh.version)})
        assert other.nothing()
    with (
        ApiServer(mesh, zero_bookmarks=True, bookmark_interval=0.01) as often,
        watching(often, resourceVersion=0, allowWatchBookmarks="true", fieldSelector="metadata.name=p-1") as made,
    ):
        assert [made.event()[0] for _ in range(3)] == ["ADDED", "BOOKMARK", "BOOKMARK"]


def test_namespaces(mesh: Cluster, server: ApiServer) -> None:
    code, body = get(server, "/api/v1/namespaces")
    assert [item["metadata"]["name"] for item in body["items"]] == ["orders", "shop"]
    assert get(server, "/api/v1/namespaces/shop")[1]["status"] == {"phase": "Active"}
    code, body = get(server, "/api/v1/namespaces/nope")
    assert (code, body["message"], body["details"]) == (
        404,
        'namespaces "nope" not found',
        {"name": "nope", "kind": "namespaces"},
    )
    with call(server, f"/api/v1/namespaces?watch=1&resourceVersion={mesh.version}") as made:
        assert made.code
        mesh.delete_namespace("orders")
        assert made.event()[0] == "DELETED"
    assert listed(server, "orders") == []


def test_other_paths(mesh: Cluster, server: ApiServer) -> None:
    assert get(server, "/readyz") == (200, b"ok")
    assert get(server, "/nothing") == (404, b"404 page not found\n")
    code, body = get(server, "/api/v1/services")
    assert (code, body["message"]) == (404, "the server could not find the requested resource")
    assert get(server, "/api/v1/namespaces/shop/pods/p-1", method="DELETE")[0] == 405


def test_large_lists_are_compressed_for_who_takes_that(cluster: Cluster, server: ApiServer) -> None:
    for n in range(40):
        pods.sidecar_pod(cluster, "shop", f"app-{n}")
    with call(server, list_path(), headers="Accept-Encoding: gzip\r\n") as made:
        assert made.headers["Content-Encoding"] == "gzip"
        assert len(json.loads(gzip.decompress(made.rest()))["items"]) == 40
    with call(server, list_path(limit=1), headers="Accept-Encoding: gzip\r\n") as made:
        assert "Content-Encoding" not in made.headers
        made.rest()


def test_json_is_escaped_as_go_escapes_it() -> None:
    assert encode({"a": "<&>é\u2028"}) == '{"a":"\\u003c\\u0026\\u003eé\\u2028"}'.encode()


def test_a_connection_takes_one_request_after_another(cluster: Cluster, pod: Pod, server: ApiServer) -> None:
    cluster.write(pod, PROXY, b"line")
    with call(server, "/version", headers="Content-Length: 3\r\n") as made:
        made.sock.sendall(b"abcGET /readyz HTTP/1.1\r\n\r\nGET " + log_path().encode() + b" HTTP/1.1\r\n\r")
        made.sock.sendall(b"\nGET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n")
        with pytest.raises(EOFError):
            while True:
                made.more()
    assert made.raw.count(b"HTTP/1.1 200 OK") == 4
    assert [request.path for request in server.requests][::3] == ["/version", "/readyz"]
    with call(server, "no path", headers="") as made:
        assert made.code == 400


def test_selector_in_the_path_is_decoded(mesh: Cluster, server: ApiServer) -> None:
    assert get(server, f"/api/v1/namespaces/shop/pods?labelSelector={quote('app in (web)')}")[0] == 200
    assert listed(server, labelSelector="app=web", fieldSelector="spec.nodeName=node-1") == ["p-1", "p-3"]


def test_containers_are_given_as_names_or_in_full(cluster: Cluster) -> None:
    pod = cluster.add_pod("shop", "p", ["a", ContainerSpec("b", "b:1", ("run",), "sidecar", (("http", 80),))])
    assert (pod.names(), cluster.pod("shop/p")) == (["b", "a"], pod)
    b = pod.object.data["spec"]["initContainers"][0]
    assert (b["image"], b["args"], b["restartPolicy"], b["ports"][0]["containerPort"]) == ("b:1", ["run"], "Always", 80)
    with pytest.raises(ValueError, match="there is a pod"):
        cluster.add_pod("shop", "p", ["a"])


def test_kubeconfig(server: ApiServer) -> None:
    made = server.kubeconfig("tok", "shop", **{"insecure-skip-tls-verify": True})
    assert made["clusters"][0]["cluster"] == {"server": server.url, "insecure-skip-tls-verify": True}
    assert made["users"][0]["user"] == {"token": "tok"}


# Who may do what


def test_tokens_come_and_go(cluster: Cluster, pod: Pod) -> None:
    with ApiServer(cluster, tokens={"tok": reader()}) as server:
        assert [get(server, list_path(), token)[0] for token in ("tok", "", "other")] == [200, 401, 401]
        assert [request.user for request in server.requests] == ["log-reader", None, None]
        with call(server, log_path(follow=True), "tok") as made:
            server.wait(lambda: server.open_streams)
            server.revoke("tok")
            server.add_token("new", reader())
            assert [get(server, list_path(), token)[0] for token in ("tok", "new")] == [401, 200]
            cluster.write(pod, PROXY, b"streams that are open go on")
            assert made.line()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "/api/v1/pods",
            'pods is forbidden: User "u" cannot list resource "pods" in API group "" at the cluster scope',
        ),
        (
            list_path("orders", watch=1),
            'pods is forbidden: User "u" cannot watch resource "pods" in API group "" in the namespace "orders"',
        ),
        (
            list_path("orders", fieldSelector="metadata.name=a"),
            'pods "a" is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "orders"',
        ),
        (
            log_path("orders/p-9", "app"),
            'pods "p-9" is forbidden: User "u" cannot get resource "pods/log" in API group "" in the namespace "orders"',
        ),
        (
            "/api/v1/namespaces/shop",
            'namespaces "shop" is forbidden: User "u" cannot get resource "namespaces" in API group "" '
            'in the namespace "shop"',
        ),
        (
            "/apis/networking.istio.io/v1/gateways",
            'gateways.networking.istio.io is forbidden: User "u" cannot list resource "gateways" '
            'in API group "networking.istio.io" at the cluster scope',
        ),
        ("/metrics", 'forbidden: User "u" cannot get path "/metrics"'),
    ],
)
def test_what_is_not_allowed(target: str, message: str, mesh: Cluster) -> None:
    with ApiServer(mesh, tokens={"tok": reader("u", "shop")}) as server:
        assert get(server, list_path("shop"), "tok")[0] == 200
        assert get(server, "/version", "tok")[0] == 200
        code, body = get(server, target, "tok")
        assert (code, body["reason"], body["message"]) == (403, "Forbidden", message)


def test_anonymous(cluster: Cluster) -> None:
    with ApiServer(cluster, tokens={}, anonymous=True) as server:
        assert get(server, "/version")[0] == 200
        assert 'User "system:anonymous" cannot list' in get(server, list_path())[1]["message"]


def test_client_certificates(cluster: Cluster, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    users = {"log-reader": reader()}
    context = authority.server_context(ask=True)
    with ApiServer(cluster, certificates=users, tokens={"tok": ADMIN}, require_client_cert=True, ssl=context) as server:
        assert server.url.startswith("https://")
        none, known, other = (authority.client_context(name) for name in (None, "log-reader", "other"))
        assert get(server, list_path(), context=known)[0] == 200
        assert get(server, "/api/v1/namespaces", context=known)[0] == 403
        assert get(server, list_path(), context=other)[0] == 401
        assert get(server, "/api/v1/namespaces", "tok", context=other)[0] == 200
        assert get(server, list_path(), "tok", context=none)[0] == 401
        with pytest.raises(ssl.SSLCertVerificationError):
            get(server, list_path(), context=ssl.create_default_context())


def test_resets_of_tls(cluster: Cluster, pod: Pod, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cluster.write(pod, PROXY, b"line")
    with (
        ApiServer(cluster, ssl=authority.server_context()) as server,
        call(server, log_path(follow=True), context=authority.client_context()) as made,
    ):
        assert made.line() == b"line"
        server.cut(pod, PROXY, "reset")
        made.sock.setblocking(True)
        with pytest.raises(ConnectionResetError):
            os.read(made.sock.fileno(), 1)  # what the module ssl takes for the end of the stream
