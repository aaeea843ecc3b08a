"""What the user can do when a cluster cannot be read: which right is missing, which name is wrong, what would match."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from meshdiag.model import MeshdiagError
from meshdiag.sources.kubernetes.api import Api, ApiError, Unreachable
from meshdiag.sources.kubernetes.select import Pod, Role, Selection

RULES = """\
rules:
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]"""
"""All that following logs needs."""


def role(namespace: str) -> str:
    """The smallest Role (for "": ClusterRole) with which the logs of a namespace can be followed, as YAML."""
    where = f"\n  namespace: {namespace}" if namespace else ""
    kind = "Role" if namespace else "ClusterRole"
    return f"apiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: meshdiag{where}\n{RULES}"


async def explained(api: Api, namespace: str, error: BaseException, namespaces: int) -> MeshdiagError:
    """The error of a first list as one for the user."""
    if isinstance(error, Unreachable):
        return MeshdiagError(f"cannot reach the cluster {error}; is it up, and is this the right --context?")
    if not isinstance(error, ApiError):
        return error if isinstance(error, MeshdiagError) else MeshdiagError(f"{api.where}: {error}")
    if error.status == 401:
        return MeshdiagError(
            f"{api.where} does not accept the credentials of the kubeconfig ({error.message}): log in again, or name another --context"
        )
    if error.status == 403:
        less = "" if namespace or namespaces > 1 else "; name the namespaces that you may read with -n, or"
        return MeshdiagError(
            f"not allowed to list pods in {_scope(namespace)} of {api.where}: {error.message}{less} ask for this role:\n"
            f"{role(namespace)}"
        )
    if error.status == 400:
        return MeshdiagError(f"{api.where} does not understand the selector: {error.message}")
    return MeshdiagError(f"{api.where} cannot list the pods of {_scope(namespace)}: {error}")


def logs_forbidden(namespace: str, error: ApiError) -> tuple[str, str]:
    """(what, hint) of logs that may not be read."""
    return f"not allowed to read logs: {error.message}", _missing("pods/log", namespace)


def pods_forbidden(namespace: str, error: ApiError) -> tuple[str, str]:
    """(what, hint) of pods that may not be asked for one by one."""
    what = "not allowed to ask how a pod is, so one that came after another under its name may be taken for that one"
    return f"{what}: {error.message}", _missing("pods", namespace)


def _missing(resource: str, namespace: str) -> str:
    return f"missing: verb get on resource {resource} in namespace {namespace}; deploy/rbac.yaml has the role"


async def nothing_matches(
    api: Api, selection: Selection, namespaces: Sequence[str], pods: Sequence[Pod]
) -> MeshdiagError:
    """Why no container matches: a namespace that does not exist, no pod, none of these names, or none in the mesh."""
    where = " and ".join(_scope(n) for n in namespaces)
    for told in await no_namespaces(api, namespaces, pods):
        return MeshdiagError(told)
    later = "; --wait waits for pods to come"
    if not pods:
        chosen = " and ".join(s for s in (selection.selector, selection.field_selector) if s)
        return MeshdiagError(f"no pods{f' match {chosen}' if chosen else ''} in {where}{later}")
    taken = [p for p in pods if selection.takes(p)]
    if not taken:
        known = Counter(f"{_short(p.owner[0])}/{p.owner[1]}" for p in pods)
        shown = ", ".join(n for n, _ in known.most_common(8))
        return MeshdiagError(
            f"none of the {len(pods)} pods in {where} is {' or '.join(selection.names) or 'left'}: there are {shown}{later}"
        )
    if selection.containers:
        names = sorted({c.name for p in taken for c in p.containers})[:10]
        return MeshdiagError(
            f"no container is named {' or '.join(selection.containers)} in {len(taken)} pods of {where}: there are {', '.join(names)}"
        )
    if any(c.role < Role.APP for p in taken for c in p.containers):
        return MeshdiagError(f"--exclude leaves no container of the {len(taken)} pods in {where}")
    return MeshdiagError(
        f"{len(taken)} pods match in {where}, and none has a container of the mesh: is the namespace labelled for injection, and were "
        "the pods started after that? In ambient mode the logs are ztunnel's (-n istio-system). -c NAME follows any container"
    )


async def no_namespaces(api: Api, namespaces: Sequence[str], pods: Sequence[Pod]) -> list[str]:
    """Of the namespaces without a pod those that do not exist, in words, if that may be asked."""
    found = []
    for namespace in namespaces:
        if namespace and not any(p.namespace == namespace for p in pods):
            try:
                await api.get(f"/api/v1/namespaces/{namespace}")
            except ApiError as e:
                if e.status == 404:
                    found.append(f"there is no namespace {namespace!r} in {api.where}: {await _names(api)}")
            except (Unreachable, MeshdiagError):
                break
    return found


async def _names(api: Api) -> str:
    try:
        answer = await api.get("/api/v1/namespaces", limit=200)
        names = sorted(str(i["metadata"]["name"]) for i in answer.get("items") or ())
    except (ApiError, Unreachable, MeshdiagError, KeyError, TypeError):
        return "`kubectl get namespaces` lists them"
    return f"there are {', '.join(names[:12])}" + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _short(kind: str) -> str:
    return {"Deployment": "deploy", "StatefulSet": "sts", "DaemonSet": "ds", "ReplicaSet": "rs"}.get(kind, kind.lower())


def _scope(namespace: str) -> str:
    return f"namespace {namespace}" if namespace else "all namespaces"
