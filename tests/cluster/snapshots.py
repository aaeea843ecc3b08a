"""Objects for the tests of checks, as kubectl prints them: `pod("reviews-v1-6c9dbf6b45-s2fnt", labels={"app": "reviews"})`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from meshdiag.cluster import Object, Ref, Snapshot
from meshdiag.cluster.objects import RESOURCES, resource_of

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PROXY_IMAGE = "docker.io/istio/proxyv2:1.28.1"


def obj(kind: str, name: str, namespace: str = "", *, api: str = "", **raw: Any) -> Object:
    """An object of a kind of `RESOURCES`; `labels`, `annotations`, `created` go to its metadata, the rest is as it is."""
    resource = RESOURCES[kind]
    space = (namespace or "shop") if resource.scoped else ""
    metadata: dict[str, Any] = {"name": name, "creationTimestamp": raw.pop("created", "2026-11-22T10:00:00Z")}
    if space:
        metadata["namespace"] = space
    for key in ("labels", "annotations", "ownerReferences"):
        if (value := raw.pop(key, None)) is not None:
            metadata[key] = value
    api = api or "/".join(filter(None, (resource.group, resource.versions[0])))
    own = "Gateway" if kind == "KubernetesGateway" else kind
    assert resource_of(api, own) is resource
    return Object(Ref(kind, space, name, api), {"apiVersion": api, "kind": own, "metadata": metadata, **raw})


def snapshot(*objects: Object, unread: Mapping[str, str] | None = None, **more: Any) -> Snapshot:
    """A snapshot of these objects, in which all other kinds were read, too, and there are none."""
    return Snapshot("test", objects, unread or {}, taken=more.pop("taken", NOW), **more)


def pod(
    name: str,
    namespace: str = "",
    *,
    proxied: bool = True,
    ready: bool = True,
    ports: tuple[int, ...] = (8080,),
    workload: str = "",
    native: bool = False,
    **raw: Any,
) -> Object:
    """A running pod of a Deployment (the name without its two last parts, or `workload`), with a sidecar."""
    app = {"name": "app", "image": "example.com/app:1", "ports": [{"containerPort": p} for p in ports]}
    sidecar = {
        "name": "istio-proxy",
        "image": PROXY_IMAGE,
        "ports": [{"containerPort": 15090, "name": "http-envoy-prom"}],
    }
    started = {"running": {"startedAt": "2026-11-22T10:00:05Z"}}
    spec: dict[str, Any] = {"containers": [app], "serviceAccountName": "default", "nodeName": "node-1"}
    status: dict[str, Any] = {
        "phase": "Running",
        "podIP": "10.42.0.7",
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        "containerStatuses": [{"name": "app", "ready": ready, "restartCount": 0, "state": started}],
    }
    if proxied and native:
        spec["initContainers"] = [{**sidecar, "restartPolicy": "Always"}]
        status["initContainerStatuses"] = [{"name": "istio-proxy", "ready": True, "restartCount": 0, "state": started}]
    elif proxied:
        spec["containers"].append(sidecar)
        status["containerStatuses"].append({"name": "istio-proxy", "ready": True, "restartCount": 0, "state": started})
    set_ = f"{workload}-{name.split('-')[-2]}" if workload else name.rpartition("-")[0]
    raw.setdefault(
        "ownerReferences", [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set_, "controller": True}]
    )
    raw.setdefault("labels", {"app": name.partition("-")[0]})
    return obj(
        "Pod", name, namespace, spec={**spec, **raw.pop("spec", {})}, status={**status, **raw.pop("status", {})}, **raw
    )


def service(name: str, namespace: str = "", *, port: int = 80, target: int | str = 8080, **raw: Any) -> Object:
    """A service that selects `app: NAME`."""
    spec = {
        "selector": {"app": name},
        "ports": [{"name": "http", "port": port, "targetPort": target, "protocol": "TCP"}],
    }
    return obj("Service", name, namespace, spec={**spec, **raw.pop("spec", {})}, **raw)


def deployment(name: str, namespace: str = "", *, replicas: int = 1, **raw: Any) -> Object:
    """A Deployment whose pods are labelled `app: NAME`."""
    labels = {"app": name}
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "app", "image": "example.com/app:1"}]},
        },
    }
    return obj(
        "Deployment", name, namespace, spec={**spec, **raw.pop("spec", {})}, status={"readyReplicas": replicas}, **raw
    )


def istiod(
    namespace: str = "istio-system", *, version: str = "1.28.1", revision: str = "default"
) -> tuple[Object, Object]:
    """The Deployment of istiod and its pod."""
    labels = {"app": "istiod", "istio.io/rev": revision}
    image = {"name": "discovery", "image": f"docker.io/istio/pilot:{version}"}
    d = obj(
        "Deployment", "istiod", namespace, labels=labels,
        spec={"replicas": 1, "selector": {"matchLabels": labels},
              "template": {"metadata": {"labels": labels}, "spec": {"containers": [image], "serviceAccountName": "istiod"}}},
        status={"readyReplicas": 1},
    )  # fmt: skip
    p = pod("istiod-6f8b9d7c54-w4k2m", namespace, proxied=False, labels=labels,
            spec={"containers": [image], "serviceAccountName": "istiod"},
            status={"containerStatuses": [{"name": "discovery", "ready": True, "restartCount": 0}]})  # fmt: skip
    return d, p


def mesh_config(text: str, namespace: str = "istio-system") -> Object:
    """The ConfigMap `istio` with this mesh configuration (YAML)."""
    return obj("ConfigMap", "istio", namespace, data={"mesh": text})


def namespace(name: str, **raw: Any) -> Object:
    """A namespace."""
    return obj("Namespace", name, **raw)


def injector(revision: str = "default", *, tag: str = "", name: str = "istio-sidecar-injector", **raw: Any) -> Object:
    """The webhooks of an injector as the chart istio-discovery (mutatingwebhook.yaml) makes them, or of a tag."""
    value = tag or revision
    not_out = {"key": "sidecar.istio.io/inject", "operator": "NotIn", "values": ["false"]}
    no_rev = {"key": "istio.io/rev", "operator": "DoesNotExist"}
    no_label = {"key": "istio-injection", "operator": "DoesNotExist"}
    rev = {"key": "istio.io/rev", "operator": "In", "values": [value]}
    selectors: list[tuple[str, list[Any], list[Any]]] = [
        ("rev.namespace", [rev, no_label], [not_out]),
        ("rev.object", [no_rev, no_label], [not_out, rev]),
    ]
    if value == "default":
        enabled = {"key": "istio-injection", "operator": "In", "values": ["enabled"]}
        asks = {"key": "sidecar.istio.io/inject", "operator": "In", "values": ["true"]}
        selectors += [
            ("namespace", [enabled], [not_out]),
            ("object", [no_label, no_rev], [asks, {"key": "istio.io/rev", "operator": "DoesNotExist"}]),
        ]
    host = "istiod" if revision == "default" else f"istiod-{revision}"
    labels = {"app": "sidecar-injector", "istio.io/rev": revision} | ({"istio.io/tag": tag} if tag else {})
    return obj(
        "MutatingWebhookConfiguration",
        name,
        labels=labels,
        webhooks=[
            {
                "name": f"{n}.sidecar-injector.istio.io",
                "clientConfig": {
                    "caBundle": "LS0t",
                    "service": {"name": host, "namespace": "istio-system", "path": "/inject", "port": 443},
                },
                "failurePolicy": "Fail",
                "namespaceSelector": {"matchExpressions": ns},
                "objectSelector": {"matchExpressions": os},
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
            }
            for n, ns, os in selectors
        ],
        **raw,
    )
