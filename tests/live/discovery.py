"""Which kinds a server has, as it says it itself: `/api`, `/apis`, `/api/v1`, `/apis/GROUP/VERSION`."""

from __future__ import annotations

from collections.abc import Mapping

from meshdiag.cluster.objects import Resource
from tests.live.objects import Json

_VERBS = ["get", "list", "watch"]
_ALWAYS = [
    {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": _VERBS, "shortNames": ["po"]},
    {"name": "pods/log", "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get"]},
]


def discovered(path: str, kinds: Mapping[tuple[str, str], tuple[str, Resource]]) -> Json | None:
    """The answer to a path of discovery; None for another path, or a group or version of which there is nothing."""
    resources = [r for _, r in kinds.values()]
    match path.strip("/").split("/"):
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        case ["apis"]:
            groups = dict.fromkeys(r.group for r in resources if r.group)
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(g, resources) for g in groups]}
        case ["api", "v1"]:
            found = _ALWAYS + [_resource(r) for r in resources if not r.group]
            return {"kind": "APIResourceList", "groupVersion": "v1", "resources": found}
        case ["apis", group, version]:
            found = [_resource(r) for r in resources if r.group == group and version in r.versions]
            what = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{group}/{version}"}
            return {**what, "resources": found} if found else None
    return None


def _group(group: str, resources: list[Resource]) -> Json:
    versions = dict.fromkeys(v for r in resources if r.group == group for v in r.versions)
    every = [{"groupVersion": f"{group}/{v}", "version": v} for v in versions]
    return {"name": group, "versions": every, "preferredVersion": every[0]}


def _resource(resource: Resource) -> Json:
    kind = resource.kind.removeprefix("Kubernetes")
    return {
        "name": resource.plural,
        "singularName": kind.lower(),
        "namespaced": resource.scoped,
        "kind": kind,
        "verbs": _VERBS,
    }
