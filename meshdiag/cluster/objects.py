"""Objects of a cluster as JSON, read without trust: a value of the wrong type counts as one that is not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """Which object: `Service default/reviews`. `api` is its apiVersion."""

    kind: str
    namespace: str
    name: str
    api: str = "v1"

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    def to_dict(self) -> dict[str, str]:
        """For JSON, as Kubernetes names the parts."""
        return {"apiVersion": self.api, "kind": self.kind, "namespace": self.namespace, "name": self.name}


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind that a snapshot has: where the API server serves it and what is worth knowing of it.

    group    "" for the core group
    plural   as in the URL
    versions that meshdiag understands, the best first
    scoped   whether its objects live in namespaces
    """

    kind: str
    group: str
    plural: str
    versions: tuple[str, ...] = ("v1",)
    scoped: bool = True


RESOURCES: Final[Mapping[str, Resource]] = {
    r.kind: r
    for r in (
        Resource("Namespace", "", "namespaces", scoped=False),
        Resource("Node", "", "nodes", scoped=False),
        Resource("Pod", "", "pods"),
        Resource("Service", "", "services"),
        Resource("EndpointSlice", "discovery.k8s.io", "endpointslices"),
        Resource("ServiceAccount", "", "serviceaccounts"),
        Resource("ConfigMap", "", "configmaps"),
        Resource("Secret", "", "secrets"),
        Resource("Event", "", "events"),
        Resource("ResourceQuota", "", "resourcequotas"),
        Resource("Deployment", "apps", "deployments"),
        Resource("StatefulSet", "apps", "statefulsets"),
        Resource("DaemonSet", "apps", "daemonsets"),
        Resource("Job", "batch", "jobs"),
        Resource("HorizontalPodAutoscaler", "autoscaling", "horizontalpodautoscalers", ("v2",)),
        Resource("NetworkPolicy", "networking.k8s.io", "networkpolicies"),
        Resource("Ingress", "networking.k8s.io", "ingresses"),
        Resource(
            "MutatingWebhookConfiguration",
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations",
            scoped=False,
        ),
        Resource(
            "ValidatingWebhookConfiguration",
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations",
            scoped=False,
        ),
        Resource("ClusterRole", "rbac.authorization.k8s.io", "clusterroles", scoped=False),
        Resource("ClusterRoleBinding", "rbac.authorization.k8s.io", "clusterrolebindings", scoped=False),
        Resource("VirtualService", "networking.istio.io", "virtualservices", ("v1", "v1beta1", "v1alpha3")),
        Resource("DestinationRule", "networking.istio.io", "destinationrules", ("v1", "v1beta1", "v1alpha3")),
        Resource("Gateway", "networking.istio.io", "gateways", ("v1", "v1beta1", "v1alpha3")),
        Resource("ServiceEntry", "networking.istio.io", "serviceentries", ("v1", "v1beta1", "v1alpha3")),
        Resource("Sidecar", "networking.istio.io", "sidecars", ("v1", "v1beta1", "v1alpha3")),
        Resource("WorkloadEntry", "networking.istio.io", "workloadentries", ("v1", "v1beta1", "v1alpha3")),
        Resource("WorkloadGroup", "networking.istio.io", "workloadgroups", ("v1", "v1beta1", "v1alpha3")),
        Resource("ProxyConfig", "networking.istio.io", "proxyconfigs", ("v1beta1",)),
        Resource("EnvoyFilter", "networking.istio.io", "envoyfilters", ("v1alpha3",)),
        Resource("PeerAuthentication", "security.istio.io", "peerauthentications", ("v1", "v1beta1")),
        Resource("RequestAuthentication", "security.istio.io", "requestauthentications", ("v1", "v1beta1")),
        Resource("AuthorizationPolicy", "security.istio.io", "authorizationpolicies", ("v1", "v1beta1")),
        Resource("WasmPlugin", "extensions.istio.io", "wasmplugins", ("v1alpha1",)),
        Resource("Telemetry", "telemetry.istio.io", "telemetries", ("v1", "v1alpha1")),
        Resource("GatewayClass", "gateway.networking.k8s.io", "gatewayclasses", ("v1", "v1beta1"), scoped=False),
        Resource("KubernetesGateway", "gateway.networking.k8s.io", "gateways", ("v1", "v1beta1")),
        Resource("HTTPRoute", "gateway.networking.k8s.io", "httproutes", ("v1", "v1beta1")),
        Resource("GRPCRoute", "gateway.networking.k8s.io", "grpcroutes"),
        Resource("ReferenceGrant", "gateway.networking.k8s.io", "referencegrants", ("v1beta1",)),
    )
}
"""By kind. The Gateway of the Gateway API is called KubernetesGateway here, as Istio's own is meant by `Gateway`."""

_BY_API: Final = {(r.group, "Gateway" if k == "KubernetesGateway" else k): k for k, r in RESOURCES.items()}


def resource_of(api: str, kind: str) -> Resource | None:
    """The resource of an object with this apiVersion and kind; None when a snapshot does not have it."""
    group, slash, _ = api.partition("/")
    name = _BY_API.get((group if slash else "", kind))
    return RESOURCES[name] if name else None


@dataclass(frozen=True, slots=True, eq=False)
class Object:
    """One object. `raw` is its JSON; the methods walk a path of keys and list indices into it."""

    ref: Ref
    raw: Mapping[str, Any]

    @property
    def namespace(self) -> str:
        """Its namespace, "" for one of the whole cluster."""
        return self.ref.namespace

    @property
    def name(self) -> str:
        """Its name."""
        return self.ref.name

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return self.strings("metadata", "labels")

    @property
    def annotations(self) -> Mapping[str, str]:
        """Its annotations."""
        return self.strings("metadata", "annotations")

    @property
    def created(self) -> datetime | None:
        """When it was created (UTC)."""
        return moment(self.text("metadata", "creationTimestamp"))

    def at(self, *path: str | int) -> Any:
        """What stands there; None for nothing."""
        return at(self.raw, *path)

    def text(self, *path: str | int) -> str:
        """The string there, "" for none."""
        value = self.at(*path)
        return value if isinstance(value, str) else ""

    def number(self, *path: str | int) -> int | None:
        """The integer there."""
        value = self.at(*path)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    def flag(self, *path: str | int) -> bool | None:
        """The truth there."""
        value = self.at(*path)
        return value if isinstance(value, bool) else None

    def mapping(self, *path: str | int) -> Mapping[str, Any]:
        """The object there, empty for none."""
        return mapping(self.at(*path))

    def strings(self, *path: str | int) -> Mapping[str, str]:
        """The strings of the object there, by key."""
        return {k: v for k, v in self.mapping(*path).items() if isinstance(v, str)}

    def mappings(self, *path: str | int) -> tuple[Mapping[str, Any], ...]:
        """The objects of the list there."""
        return mappings(self.at(*path))

    def texts(self, *path: str | int) -> tuple[str, ...]:
        """The strings of the list there."""
        return texts(self.at(*path))


def object_of(raw: Mapping[str, Any]) -> Object | None:
    """The object of a JSON that has apiVersion, kind and metadata; None when a snapshot has no such kind, or it has no name.

    One that names no namespace is in `default`, where kubectl would put it.
    """
    api, kind = at(raw, "apiVersion"), at(raw, "kind")
    resource = resource_of(api, kind) if isinstance(api, str) and isinstance(kind, str) else None
    name, namespace = at(raw, "metadata", "name"), at(raw, "metadata", "namespace")
    # no name begins with a hyphen: in a command it would be an option
    if resource is None or not isinstance(name, str) or not name or name.startswith("-"):
        return None
    space = (namespace if isinstance(namespace, str) and namespace else "default") if resource.scoped else ""
    return Object(Ref(resource.kind, space, name, api), raw)


def at(value: Any, *path: str | int) -> Any:
    """What stands at a path of keys and indices in JSON; None for nothing."""
    for step in path:
        if isinstance(step, str):
            value = value.get(step) if isinstance(value, dict) else None
        else:
            value = value[step] if isinstance(value, list) and -len(value) <= step < len(value) else None
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object, empty when it is none."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> tuple[Mapping[str, Any], ...]:
    """The objects of a JSON list."""
    return tuple(v for v in value if isinstance(v, dict)) if isinstance(value, list) else ()


def texts(value: Any) -> tuple[str, ...]:
    """The strings of a JSON list."""
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def moment(text: str) -> datetime | None:
    """An RFC 3339 time as Kubernetes writes it, UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo else None
