"""What is sent for an `Edit`, and whose fields it changes.

**Create.** A POST, not an apply: an apply would quietly change an object that somebody has made meanwhile.

**Server-side apply**, as field manager `meshdiag` and without force, for what only adds fields to an object. The fields become ours:
whoever applies the same object server-side later is told so instead of overwriting them, and should somebody have set them
meanwhile, the server itself refuses.

**A JSON merge patch** (RFC 7386), with the resourceVersion that was shown as a lock, for everything else. Server-side apply does not
do there:

- it cannot remove a field of somebody else, and merges lists by their keys where an `Edit` gives the whole list;
- a map that counts as one value (`x-kubernetes-map-type: atomic`, such as a Service's selector) would lose all keys that are not named;
- a second apply of one manager takes back what its first one set and the second does not name;
- without force it is refused as soon as a value is changed that another manager owns, which is nearly always (somebody has created the
  object with kubectl, Helm or Argo CD), and with force it does what a patch does.

A patch is never refused for that, so its owners are looked up here, in `metadata.managedFields`, by the rule of server-side apply:
a conflict is a value that another manager owns and that is made another one. Such an edit is shown and refused unless the user forces
it: who owns a field will put it back (a GitOps controller within minutes), so that is the place to change it.

**Restarts** are what `kubectl rollout restart` does: the annotation `kubectl.kubernetes.io/restartedAt` of the pod template. It belongs to
whoever restarts last, so its owner is not asked.

Sources: https://kubernetes.io/docs/reference/using-api/server-side-apply/ and https://datatracker.ietf.org/doc/html/rfc7386; the
annotation is that of kubectl 1.15 and later (`objectrestarter.go`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from meshdiag.cluster.edits import bare, manifest, patched
from meshdiag.cluster.objects import RESOURCES, Ref, at, mapping, mappings
from meshdiag.model import MeshdiagError
from meshdiag.redact import pseudonym

MANAGER: Final = "meshdiag"
RESTARTED: Final = "kubectl.kubernetes.io/restartedAt"
RESTARTABLE: Final = ("Deployment", "StatefulSet", "DaemonSet")

Json = Mapping[str, Any]

_segment = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.:_-]{0,251}[A-Za-z0-9])?")


class Verb(StrEnum):
    """How an object is changed; `patch` is a JSON merge patch, `apply` server-side."""

    CREATE = "create"
    APPLY = "apply"
    PATCH = "patch"
    DELETE = "delete"

    @property
    def past(self) -> str:
        """For telling that it was done."""
        return {"create": "created", "delete": "deleted"}.get(self.value, "changed")


@dataclass(frozen=True, slots=True)
class Change:
    """One request that changes an object; `body` is the object, the apply configuration or the patch, without its lock."""

    verb: Verb
    ref: Ref
    body: Json
    restart: bool = False


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """A field that is somebody else's: `spec.selector` of `kubectl-client-side-apply`."""

    manager: str
    field: str

    def __str__(self) -> str:
        return f"{self.field} (owned by {self.manager})"


def collection(ref: Ref) -> str:
    """The URL path of the objects of its kind and namespace. Raises MeshdiagError for what cannot stand in one."""
    resource = RESOURCES.get(ref.kind)
    if resource is None:
        raise MeshdiagError(f"{ref.kind!r} is no kind that meshdiag changes")
    for part in (*([ref.namespace] if ref.namespace else ()), ref.name, *ref.api.split("/")):
        if not _segment.fullmatch(part):
            raise MeshdiagError(f"{part!a} is no name that Kubernetes knows")
    space = f"/namespaces/{ref.namespace}" if ref.namespace else ""
    return f"{'/apis' if '/' in ref.api else '/api'}/{ref.api}{space}/{resource.plural}"


def path(ref: Ref) -> str:
    """The URL path of an object."""
    return f"{collection(ref)}/{ref.name}"


def creation(ref: Ref, body: Json) -> Change:
    """An object that is to be made, of what a check wrote of it."""
    meta = {**mapping(body.get("metadata")), "name": ref.name}
    if ref.namespace:
        meta["namespace"] = ref.namespace
    return Change(Verb.CREATE, ref, {"apiVersion": ref.api, "kind": _kind(ref), **_others(body), "metadata": meta})


def edition(ref: Ref, live: Json, patch: Json, restart: bool = False) -> Change:
    """A patch of an object as it is now: applied server-side when it only adds, else sent as it is."""
    if restart or not _only_adds(live, patch):
        return Change(Verb.PATCH, ref, patch, restart)
    meta = {**mapping(patch.get("metadata")), "name": ref.name}
    if ref.namespace:
        meta["namespace"] = ref.namespace
    return Change(Verb.APPLY, ref, {"apiVersion": ref.api, "kind": _kind(ref), **_others(patch), "metadata": meta})


def restarting(now: datetime) -> dict[str, Any]:
    """The patch of a workload that starts its pods anew."""
    time = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"spec": {"template": {"metadata": {"annotations": {RESTARTED: time}}}}}


def locked(change: Change, live: Json | None) -> dict[str, Any]:
    """What is sent: the body with the version of the object that was looked at; of a deletion its options."""
    if live is None:
        return dict(change.body)
    version, uid = at(live, "metadata", "resourceVersion"), at(live, "metadata", "uid")
    if change.verb is Verb.DELETE:
        return {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid, "resourceVersion": version}}
    return {**change.body, "metadata": {**mapping(change.body.get("metadata")), "resourceVersion": version}}


def difference(before: Json, after: Json) -> dict[str, Any]:
    """The JSON merge patch that makes one object of another: `patched(before, difference(before, after)) == after`.

    A value that is null counts as one that is not there, as it does to Kubernetes.
    """
    out: dict[str, Any] = {}
    for key in {**before, **after}:
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if inner := difference(old, new):
                out[key] = inner
        elif old != new:
            out[key] = deepcopy(new)
    return out


def stands(live: Json, patch: Json) -> bool:
    """Whether what a patch says is so already."""
    return not difference(bare(live), patched(bare(live), patch))


def owners(live: Json, patch: Json) -> tuple[Owner, ...]:
    """Whose fields a patch changes, by `metadata.managedFields`; not our own ones."""
    found = set()
    for steps, value in _leaves(patch):
        if at(live, *steps) == value or steps == ("spec", "template", "metadata", "annotations", RESTARTED):
            continue
        for entry in mappings(at(live, "metadata", "managedFields")):
            manager = entry.get("manager")
            if manager != MANAGER and isinstance(manager, str) and (name := _owned(entry.get("fieldsV1"), steps)):
                found.add(Owner(manager, name))
    return tuple(sorted(found))


def diff(ref: Ref, before: Json | None, after: Json | None) -> str:
    """A unified diff of two states of an object as YAML, "" when they are alike; of secrets only whether a value changes."""
    old, new = (manifest(_masked(ref, o)).splitlines() if o is not None else [] for o in (before, after))
    lines = difflib.unified_diff(old, new, f"{ref} (now)", f"{ref} (then)", lineterm="")
    return "\n".join(lines)


# -- inside


def _kind(ref: Ref) -> str:
    return ref.kind.removeprefix("Kubernetes")


def _others(body: Json) -> dict[str, Any]:
    return {k: deepcopy(v) for k, v in body.items() if k not in ("apiVersion", "kind", "metadata", "status")}


def _masked(ref: Ref, raw: Json) -> Json:
    if ref.kind != "Secret":
        return raw
    hidden = {
        k: {n: pseudonym("secret", str(v)) for n, v in mapping(raw[k]).items()}
        for k in ("data", "stringData")
        if k in raw
    }
    return {**raw, **hidden}


def _leaves(patch: Json, before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Paths and values of what a patch sets or (None) removes."""
    for key, value in patch.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, (*before, key))
        else:
            yield (*before, key), value


def _owned(fields: Any, steps: tuple[str, ...]) -> str:
    """The part of a path that a set of fields has as its own, "" when it does not: the whole path, or a map that counts as one value."""
    tree = mapping(fields)
    for i, step in enumerate(steps):
        tree = tree.get(f"f:{step}")  # type: ignore[assignment]
        if not isinstance(tree, Mapping):
            return ""
        if not tree:
            return ".".join(steps[: i + 1])
    return ".".join(steps)


def _only_adds(live: Json, patch: Json) -> bool:
    """Whether every value is new, and the maps that get it are known to be owned key by key; and we have not applied before."""
    entries = mappings(at(live, "metadata", "managedFields"))
    if any(e.get("manager") == MANAGER and e.get("operation") == "Apply" for e in entries):
        return False
    for steps, value in _leaves(patch):
        if value is None or at(live, *steps) is not None:
            return False
        there = next(i for i in range(len(steps) - 1, -1, -1) if i == 0 or at(live, *steps[:i]) is not None)
        trees = [at(e.get("fieldsV1"), *(f"f:{s}" for s in steps[:there])) for e in entries]
        if there and (not any(trees) or any(t == {} for t in trees)):
            return False  # an empty set is a map that is owned as one value
    return True
