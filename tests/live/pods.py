"""Pods of an Istio mesh as they are in real clusters: labels, owners, containers and their arguments."""

from __future__ import annotations

import json
from typing import Any

from tests.live.cluster import PROXY_IMAGE, Cluster, ContainerSpec, Pod

SYSTEM = "istio-system"

_INIT = ContainerSpec("istio-init", PROXY_IMAGE, ("istio-iptables", "-p", "15001", "-z", "15006"), "init")
_SIDECAR_ARGS = ("proxy", "sidecar", "--domain", "$(POD_NAMESPACE).svc.cluster.local")
_PROM = (("http-envoy-prom", 15090),)


def sidecar_pod(
    cluster: Cluster,
    namespace: str,
    name: str,
    *,
    app: str = "",
    native: bool = False,
    version: str = "v1",
    **rest: Any,
) -> Pod:
    """An application with a proxy: as a container beside it, or as a native sidecar.

    `app` is the name of the application and its container (by default what the pod's name begins with). What else
    `Cluster.add_pod` takes may be given.
    """
    parts = name.split("-")
    app = app or "-".join(parts[: -1 if parts[-1].isdigit() else -2]) or parts[0]
    proxy = ContainerSpec("istio-proxy", PROXY_IMAGE, _SIDECAR_ARGS, "sidecar" if native else "app", _PROM)
    inside = {
        "initContainers": ["istio-init", "istio-proxy"] if native else ["istio-init"],
        "containers": [] if native else ["istio-proxy"],
        "revision": "default",
    }
    labels = {
        "app": app,
        "security.istio.io/tlsMode": "istio",
        "service.istio.io/canonical-name": app,
        "service.istio.io/canonical-revision": version,
        "version": version,
    }
    annotations = {
        "istio.io/rev": "default",
        "kubectl.kubernetes.io/default-container": app,
        "sidecar.istio.io/status": json.dumps(inside),
    }
    rest["labels"] = labels | dict(rest.get("labels") or {})
    rest["annotations"] = annotations | dict(rest.get("annotations") or {})
    rest.setdefault("owner", _owner(name))
    containers = [_INIT, proxy, ContainerSpec(app, ports=(("http", 8080),))]
    return cluster.add_pod(namespace, name, containers, **rest)


def native_sidecar_pod(cluster: Cluster, namespace: str, name: str, **rest: Any) -> Pod:
    """An application whose proxy is an init container that restarts always."""
    return sidecar_pod(cluster, namespace, name, native=True, **rest)


def plain_pod(cluster: Cluster, namespace: str, name: str, **rest: Any) -> Pod:
    """An application without a proxy."""
    app = name.split("-")[0]
    rest.setdefault("labels", {"app": app})
    rest.setdefault("owner", _owner(name))
    return cluster.add_pod(namespace, name, [ContainerSpec(app, ports=(("http", 8080),))], **rest)


def ingress_gateway(
    cluster: Cluster, name: str = "istio-ingressgateway-5c7f6b8d9-abcde", *, namespace: str = SYSTEM, **rest: Any
) -> Pod:
    """Istio's own ingress gateway."""
    labels = {"app": "istio-ingressgateway", "istio": "ingressgateway", "istio.io/rev": "default"}
    return _proxy(cluster, namespace, name, "router", labels, **rest)


def gateway(cluster: Cluster, namespace: str, gateway_name: str, **rest: Any) -> Pod:
    """A gateway of the Gateway API that Istio deploys."""
    labels = {
        "gateway.istio.io/managed": "istio.io-gateway-controller",
        "gateway.networking.k8s.io/gateway-name": gateway_name,
    }
    return _proxy(cluster, namespace, f"{gateway_name}-istio-6d4f5b7c8-fghij", "router", labels, **rest)


def waypoint(cluster: Cluster, namespace: str, gateway_name: str = "waypoint", **rest: Any) -> Pod:
    """A waypoint of an ambient mesh."""
    labels = {
        "gateway.istio.io/managed": "istio.io-mesh-controller",
        "gateway.networking.k8s.io/gateway-name": gateway_name,
    }
    return _proxy(cluster, namespace, f"{gateway_name}-7b9c8d6f5-klmno", "waypoint", labels, **rest)


def istiod(cluster: Cluster, name: str = "istiod-6b8f7d5c9-pqrst", *, rev: str = "default", **rest: Any) -> Pod:
    """Istio's control plane."""
    args = ("discovery", "--monitoringAddr=:15014", "--log_output_level=default:info")
    container = ContainerSpec("discovery", "docker.io/istio/pilot:1.24.2", args, ports=(("grpc-xds", 15010),))
    rest.setdefault("labels", {"app": "istiod", "istio": "pilot", "istio.io/rev": rev})
    return _system(cluster, name, container, _owner(name), "istiod", **rest)


def ztunnel(cluster: Cluster, name: str = "ztunnel-x7k2p", **rest: Any) -> Pod:
    """The proxy of a node in an ambient mesh."""
    container = ContainerSpec("istio-proxy", "docker.io/istio/ztunnel:1.24.2", ("proxy", "ztunnel"))
    rest.setdefault("labels", {"app": "ztunnel", "app.kubernetes.io/name": "ztunnel"})
    return _system(cluster, name, container, ("DaemonSet", "ztunnel"), "ztunnel", **rest)


def cni_node(cluster: Cluster, name: str = "istio-cni-node-q9w4r", **rest: Any) -> Pod:
    """Istio's CNI plugin on a node."""
    container = ContainerSpec("install-cni", "docker.io/istio/install-cni:1.24.2", ("--log_output_level=info",))
    rest.setdefault("labels", {"k8s-app": "istio-cni-node"})
    return _system(cluster, name, container, ("DaemonSet", "istio-cni-node"), "istio-cni", **rest)


def _proxy(cluster: Cluster, namespace: str, name: str, role: str, labels: dict[str, str], **rest: Any) -> Pod:
    args = ("proxy", role, "--domain", "$(POD_NAMESPACE).svc.cluster.local")
    rest["labels"] = labels | dict(rest.get("labels") or {})
    rest.setdefault("owner", _owner(name))
    return cluster.add_pod(namespace, name, [ContainerSpec("istio-proxy", PROXY_IMAGE, args, ports=_PROM)], **rest)


def _system(
    cluster: Cluster, name: str, container: ContainerSpec, owner: tuple[str, str] | None, account: str, **rest: Any
) -> Pod:
    rest.setdefault("owner", owner)
    rest.setdefault("service_account", account)
    return cluster.add_pod(rest.pop("namespace", SYSTEM), name, [container], **rest)


def _owner(name: str) -> tuple[str, str] | None:
    head, _, tail = name.rpartition("-")
    if not head:
        return None
    return ("StatefulSet", head) if tail.isdigit() else ("ReplicaSet", head)
