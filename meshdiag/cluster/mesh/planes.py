"""The control plane: every istiod, its version and revision, the mesh configuration, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import yaml

from meshdiag.cluster.mesh.pods import is_over
from meshdiag.cluster.mesh.services import DOMAIN
from meshdiag.cluster.objects import Object, at, mapping, mappings, texts
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.lazyre import lazy

SYSTEM: Final = "istio-system"
MANAGED_BY_CLUSTER: Final = frozenset({"kube-system", "kube-public", "kube-node-lease"})
"""Namespaces that injection leaves alone."""
_minor = lazy(r"(\d{1,4})\.(\d{1,4})")
_image_tag = lazy(r":v?(\d+\.\d+(?:\.\d+)?(?:-[a-z][a-z0-9.]*)?)(?:-distroless|-debug)?(?:@|$)")


def is_system(snapshot: Snapshot, namespace: str) -> bool:
    """Whether a namespace is Kubernetes' own or Istio's, in which applications do not live."""
    return namespace in MANAGED_BY_CLUSTER or namespace in {c.namespace for c in control_planes(snapshot)}


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """An istiod: its Deployment (None where only its pods are known), revision ("" is `default`), version ("" when not known)."""

    namespace: str
    revision: str
    version: str
    deployment: Object | None
    pods: tuple[Object, ...]


def version_of(image: str) -> str:
    """`1.28.1` of `docker.io/istio/proxyv2:1.28.1-distroless`; "" of a digest or another tag."""
    found = _image_tag.search(image)
    return found[1] if found else ""


def minor_of(version: str) -> tuple[int, int] | None:
    """(1, 28) of `1.28.1`; None when it is no version."""
    found = _minor.match(version)
    return (int(found[1]), int(found[2])) if found else None


@lru_cache(4)
def control_planes(snapshot: Snapshot) -> tuple[ControlPlane, ...]:
    """Every istiod (Deployments and pods labelled `app: istiod`)."""
    found: dict[tuple[str, str], tuple[list[Object], list[Object]]] = {}
    for o in (*snapshot.all("Deployment"), *snapshot.all("Pod")):
        if o.labels.get("app") != "istiod":
            continue
        if o.ref.kind == "Pod" and is_over(o):
            continue
        deployments, pods = found.setdefault((o.namespace, o.labels.get("istio.io/rev", "default")), ([], []))
        (deployments if o.ref.kind == "Deployment" else pods).append(o)
    planes = []
    for (namespace, revision), (deployments, pods) in sorted(found.items()):
        images = [
            str(c.get("image", ""))
            for o in (*deployments, *pods)
            for c in mappings(at(o.raw, *(("spec", "template") if o in deployments else ()), "spec", "containers"))
        ]
        version = next((v for i in images if (v := version_of(i))), "")
        planes.append(
            ControlPlane(
                namespace,
                "" if revision == "default" else revision,
                version,
                next(iter(deployments), None),
                tuple(pods),
            )
        )
    return tuple(planes)


def system_namespace(snapshot: Snapshot) -> str:
    """Where istiod runs: `istio-system` unless the snapshot says otherwise."""
    return next((c.namespace for c in control_planes(snapshot)), SYSTEM)


def mesh_config(snapshot: Snapshot, revision: str = "") -> tuple[Object | None, Mapping[str, Any]]:
    """The ConfigMap `istio` (or `istio-REVISION`) and the mesh configuration in it (`data.mesh`); (None, {}) when it is not there.

    Values that are not set are Istio's defaults and not in it.
    """
    name = f"istio-{revision}" if revision else "istio"
    source = snapshot.get("ConfigMap", system_namespace(snapshot), name)
    if source is None and not revision:
        source = next((o for o in snapshot.all("ConfigMap") if o.name == "istio" and o.text("data", "mesh")), None)
    if source is None:
        return None, {}
    return source, _yaml(source.text("data", "mesh"))


@lru_cache(64)
def _yaml(text: str) -> Mapping[str, Any]:
    try:
        return mapping(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))  # noqa: S506  safe
    except yaml.YAMLError:
        return {}


@lru_cache(4)
def root_namespace(snapshot: Snapshot) -> str:
    """The namespace whose policies hold for the whole mesh (`rootNamespace` of the mesh configuration, else istiod's)."""
    _, config = mesh_config(snapshot)
    root = config.get("rootNamespace")
    return root if isinstance(root, str) and root else system_namespace(snapshot)


def revision_of(pod: Object) -> str:
    """The revision whose injector made a pod (label `istio.io/rev`); "" is `default`."""
    said = pod.labels.get("istio.io/rev", "")
    return "" if said == "default" else said


def trust_domains(snapshot: Snapshot) -> tuple[str, ...]:
    """The mesh's trust domain and its aliases (`trustDomain`, `trustDomainAliases` of the mesh configuration)."""
    _, config = mesh_config(snapshot)
    own = config.get("trustDomain")
    return (own if isinstance(own, str) and own else DOMAIN, *texts(config.get("trustDomainAliases")))
