"""What a kube-apiserver (1.35) answered to what writes, literally, and what its sources say it answers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.live.apiserver import ApiServer
from tests.live.calls import call
from tests.live.cluster import Cluster
from tests.live.objects import Object

MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"

APPLIED = (
    "HTTP/1.1 200 OK\r\n"
    "Audit-Id: (an id)\r\n"
    "Cache-Control: no-cache, private\r\n"
    "Content-Type: application/json\r\n"
    "X-Kubernetes-Pf-Flowschema-Uid: (an id)\r\n"
    "X-Kubernetes-Pf-Prioritylevel-Uid: (an id)\r\n"
    "Date: (a date)\r\n"
    "Content-Length: 707\r\n"
    "\r\n"
    '{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"shop","uid":"65d264b5-bbf3-46db-a43b-58b24'
    'e710f12","resourceVersion":"209","creationTimestamp":"2026-11-22T23:31:10Z","labels":{"istio-injecti'
    'on":"enabled","kubernetes.io/metadata.name":"shop"},"managedFields":[{"manager":"meshdiag","operatio'
    'n":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{"f:istio-'
    'injection":{}}}}},{"manager":"unknown","operation":"Update","apiVersion":"v1","time":"2026-11-22T23:'
    '31:10Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:istio-injection":{},'
    '"f:kubernetes.io/metadata.name":{}}}}}]},"spec":{"finalizers":["kubernetes"]},"status":{"phase":"Act'
    'ive"}}\n'
)

CONFLICT = (
    "HTTP/1.1 409 Conflict\r\n"
    "Audit-Id: (an id)\r\n"
    "Cache-Control: no-cache, private\r\n"
    "Content-Type: application/json\r\n"
    "X-Kubernetes-Pf-Flowschema-Uid: (an id)\r\n"
    "X-Kubernetes-Pf-Prioritylevel-Uid: (an id)\r\n"
    "Date: (a date)\r\n"
    "Content-Length: 304\r\n"
    "\r\n"
    '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Operation cannot be f'
    'ulfilled on namespaces \\"shop\\": the object has been modified; please apply your changes to the late'
    'st version and try again","reason":"Conflict","details":{"name":"shop","kind":"namespaces"},"code":4'
    "09}\n"
)


def answered(server: ApiServer, method: str, target: str, kind: str, body: Any) -> str:
    """The whole answer with ids and the date replaced."""
    data = json.dumps(body).encode()
    with call(server, target, "", method, f"Content-Type: {kind}\r\nContent-Length: {len(data)}\r\n") as made:
        made.sock.sendall(data)
        made.rest()
        raw = bytes(made.raw).decode()
    raw = re.sub(r"(-Id|-Uid): [0-9a-f-]{36}\r", r"\1: (an id)\r", raw)
    return re.sub(r"\r\nDate: [^\r]+", "\r\nDate: (a date)", raw)


def said(server: ApiServer, method: str, target: str, kind: str, body: Any) -> Any:
    return json.loads(answered(server, method, target, kind, body).partition("\r\n\r\n")[2])


@pytest.fixture
def shop(cluster: Cluster) -> Cluster:
    """The namespace of the recordings, as it was."""
    whole = json.loads(APPLIED.partition("\r\n\r\n")[2])
    meta = whole["metadata"]
    meta["managedFields"] = [f for f in meta["managedFields"] if f["manager"] != "meshdiag"]
    cluster.namespaces["shop"] = Object("Namespace", {k: whole[k] for k in ("metadata", "spec", "status")})
    return cluster


def test_a_dry_run_of_an_apply_as_recorded(shop: Cluster, server: ApiServer) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {"istio-injection": "enabled"}},
    }
    before = shop.namespaces["shop"]
    target = "/api/v1/namespaces/shop?dryRun=All&fieldManager=meshdiag&force=false"
    assert answered(server, "PATCH", target, APPLY, config) == APPLIED
    assert shop.namespaces["shop"] is before


def test_the_lock_as_recorded(shop: Cluster, server: ApiServer) -> None:
    patch = {"metadata": {"resourceVersion": "208", "labels": {"x": "y"}}}
    assert answered(server, "PATCH", "/api/v1/namespaces/shop", MERGE, patch) == CONFLICT


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "cart", "namespace": "shop"},
    "spec": {"type": "ClusterIP", "sessionAffinity": "None"},
}
PATH = "/api/v1/namespaces/shop/services"


@pytest.fixture
def cart(server: ApiServer) -> ApiServer:
    server.store.add(SERVICE)
    return server


def test_conflicts_name_owners_and_fields(cart: ApiServer) -> None:
    config = {**SERVICE, "spec": {"type": "NodePort", "sessionAffinity": "ClientIP"}}
    time = cart.store.get("", "services", "shop/cart")["metadata"]["managedFields"][0]["time"]
    answer = said(cart, "PATCH", f"{PATH}/cart?fieldManager=meshdiag&force=false", APPLY, config)
    owner = f'"kubectl-client-side-apply" using v1 at {time}'
    assert (
        answer["message"]
        == f"Apply failed with 2 conflicts: conflicts with {owner}:\n- .spec.sessionAffinity\n- .spec.type"
    )
    assert (answer["code"], answer["reason"]) == (409, "Conflict")
    assert answer["details"]["causes"][1] == {
        "reason": "FieldManagerConflict",
        "message": f"conflict with {owner}",
        "field": ".spec.type",
    }
    forced = said(cart, "PATCH", f"{PATH}/cart?fieldManager=meshdiag&force=true", APPLY, config)
    assert forced["spec"] == config["spec"]
    assert [(f["manager"], f["operation"]) for f in forced["metadata"]["managedFields"]] == [("meshdiag", "Apply")]


def test_an_apply_takes_back_what_the_last_one_set(cart: ApiServer) -> None:
    for labels in ({"a": "1"}, {"b": "2"}):
        config = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "cart", "namespace": "shop", "labels": labels},
        }
        answer = said(cart, "PATCH", f"{PATH}/cart?fieldManager=meshdiag", APPLY, config)
    assert answer["metadata"]["labels"] == {"b": "2"}
    assert answer["spec"] == SERVICE["spec"]


def test_a_merge_patch_takes_over_what_it_changes(cart: ApiServer) -> None:
    answer = said(cart, "PATCH", f"{PATH}/cart?fieldManager=meshdiag", MERGE, {"spec": {"type": "NodePort"}})
    owned = {f["manager"]: f["fieldsV1"] for f in answer["metadata"]["managedFields"]}
    assert owned == {
        "kubectl-client-side-apply": {"f:spec": {"f:sessionAffinity": {}}},
        "meshdiag": {"f:spec": {"f:type": {}}},
    }
    assert cart.cluster.changes[-1].type == "MODIFIED"


def test_create_twice_and_delete_with_preconditions(cart: ApiServer) -> None:
    assert said(cart, "POST", PATH, "application/json", SERVICE)["message"] == 'services "cart" already exists'
    meta = cart.store.get("", "services", "shop/cart")["metadata"]
    wrong = {"preconditions": {"uid": "other", "resourceVersion": meta["resourceVersion"]}}
    answer = said(cart, "DELETE", f"{PATH}/cart", "application/json", wrong)
    assert (answer["code"], "does not match the UID in record" in answer["message"]) == (409, True)
    right = {"preconditions": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}}
    assert said(cart, "DELETE", f"{PATH}/cart?dryRun=All", "application/json", right)["status"] == "Success"
    assert said(cart, "DELETE", f"{PATH}/cart", "application/json", right)["details"]["uid"] == meta["uid"]
    assert said(cart, "GET", f"{PATH}/cart", "application/json", {})["code"] == 404


def test_what_changes_nothing_makes_no_version(cart: ApiServer) -> None:
    before = cart.store.get("", "services", "shop/cart")
    assert said(cart, "PATCH", f"{PATH}/cart", MERGE, {"spec": {"type": "ClusterIP"}}) == before
    assert said(cart, "PATCH", f"{PATH}/cart", "application/strategic-merge-patch+json", {})["code"] == 415
