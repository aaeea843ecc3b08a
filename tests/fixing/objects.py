"""Objects of the cluster of these tests, and edits of them."""

from __future__ import annotations

from typing import Any

from meshdiag.cluster import Edit, Ref
from meshdiag.model import Risk

SERVICE = Ref("Service", "shop", "cart")
DEPLOYMENT = Ref("Deployment", "shop", "cart", "apps/v1")
NAMESPACE = Ref("Namespace", "", "shop")
ENTRY = Ref("ServiceEntry", "shop", "external-api", "networking.istio.io/v1")

INJECT = Edit(
    NAMESPACE,
    "Inject sidecars in shop",
    {"metadata": {"labels": {"istio-injection": "enabled"}}},
    restart=(DEPLOYMENT,),
)
SELECT = Edit(SERVICE, "Let service cart select the pods of cart", {"spec": {"selector": {"app": "cart"}}})
NAME = Edit(SERVICE, "Say the protocol", {"metadata": {"annotations": {"note": "x"}}}, risk=Risk.SAFE)
ALLOW = Edit(
    ENTRY,
    "Let the mesh call api.example.com",
    {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "external-api", "namespace": "shop"},
        "spec": {"hosts": ["api.example.com"], "location": "MESH_EXTERNAL", "resolution": "DNS"},
    },
    create=True,
)


def service(app: str = "card") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "cart", "namespace": "shop", "labels": {"app": "cart"}, "annotations": {"by": "hand"}},
        "spec": {"selector": {"app": app}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        "status": {"loadBalancer": {}},
    }


def deployment() -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "cart"}}, "spec": {"containers": [{"name": "cart", "image": "cart:1"}]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "cart", "namespace": "shop"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "cart"}}, "template": template},
        "status": {"replicas": 1},
    }
