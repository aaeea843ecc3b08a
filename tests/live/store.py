"""Objects of any kind, and what a kube-apiserver does when they are written: patches, server-side apply, dry runs, admission.

    store = Store(cluster)
    store.add({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "reviews", "namespace": "shop"}, "spec": …})

Messages are those of Kubernetes 1.35: recorded ones, and else those in its sources (`apimachinery`, `structured-merge-diff`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from meshdiag.cluster.objects import RESOURCES, Resource, resource_of
from tests.live.access import Target
from tests.live.cluster import Change, Cluster
from tests.live.connection import Incoming
from tests.live.objects import SECOND, ApiError, Json, Object, bad_request, encode, managed, not_found, rfc3339
from tests.live.pages import Listing

MERGE, APPLY = "application/merge-patch+json", "application/apply-patch+yaml"
WRITES = ("create", "patch", "delete")

Admit = Callable[[str, Json], str]
"""An admission webhook: of a verb and an object why it refuses it, "" when it does not. It may change the object."""


class Denial(NamedTuple):
    """A webhook with its name, and the code with which it refuses: Istio's gives none, which makes 400; Gatekeeper's 403."""

    name: str
    admit: Admit
    code: int = 400


class Store:
    """Objects by resource; namespaces are those of the cluster. A kind is there once it is installed, or an object of it is added."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.kinds: dict[tuple[str, str], tuple[str, Resource]] = {}
        self.objects: dict[tuple[str, str], dict[str, Object]] = {("", "namespaces"): cluster.namespaces}
        self.webhooks: list[Denial] = []
        self.install("Namespace")

    def install(self, *kinds: str) -> None:
        """Serves these kinds (keys of `RESOURCES`)."""
        for kind in kinds:
            resource = RESOURCES[kind]
            self.kinds[resource.group, resource.plural] = kind, resource
            self.objects.setdefault((resource.group, resource.plural), {})

    def add(self, data: Mapping[str, Any], manager: str = "kubectl-client-side-apply") -> Json:
        """Makes an object, or another version of one: what it holds belongs to the manager. Returns what is there now."""
        resource = resource_of(data["apiVersion"], data["kind"])
        assert resource is not None, data
        self.install(resource.kind)
        key = resource.group, resource.plural
        body = copy.deepcopy(dict(data))
        meta = body["metadata"]
        if meta.get("namespace"):
            self.cluster.add_namespace(meta["namespace"])
        before = self.objects[key].get(_key(body))
        if before is None:
            return self._create(key, body, manager, dry=False)
        return self._save(key, before, self._owned(before.data, _merge(before.data, _bare(body)), manager), False)

    def get(self, group: str, plural: str, key: str) -> Json:
        """An object as it is; raises KeyError."""
        found = self.objects[group, plural][key]
        return json.loads(found.whole)

    # -- requests

    def listing(self, request: Incoming, target: Target) -> Listing | None:
        """What a list of this store is of; None when it has no such resource."""
        key = target.group, target.resource
        if key not in self.kinds or key == ("", "namespaces"):
            return None
        kind, resource = self.kinds[key]
        version = request.path.split("/")[3 if target.group else 2]
        if version not in resource.versions:
            return None
        api = f"{target.group}/{version}" if target.group else version
        items = [self.objects[key][name] for name in sorted(self.objects[key])]
        return Listing(f"{kind.removeprefix('Kubernetes')}List", api, items)

    def answer(self, request: Incoming, target: Target) -> tuple[int, bytes] | None:
        """Code and body of what is asked of this store; None when it has no such resource. Raises ApiError."""
        key = target.group, target.resource
        if key not in self.kinds or target.subresource or (key == ("", "namespaces") and target.verb not in WRITES):
            return None
        _, resource = self.kinds[key]
        version = request.path.split("/")[3 if target.group else 2]
        if version not in resource.versions:
            return None
        if target.verb not in ("get", *WRITES):
            raise ApiError(
                405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
            )
        dry = request.query.get("dryRun") == "All"
        manager = (
            request.query.get("fieldManager") or request.headers.get("user-agent", "").partition("/")[0] or "unknown"
        )
        where = f"{target.namespace}/{target.name}" if resource.scoped else target.name
        found = self.objects[key].get(where)
        if target.verb == "create":
            return 201, _body(self._post(key, target, json.loads(request.body), manager, dry))
        if found is None and not (target.verb == "patch" and request.headers.get("content-type") == APPLY):
            raise self._missing(key, target.name)
        if target.verb == "get":
            assert found is not None
            return 200, found.whole + b"\n"
        if target.verb == "delete":
            assert found is not None
            return 200, _body(self._delete(key, found, json.loads(request.body or b"{}"), dry))
        return 200, _body(self._patch(key, target, found, request, manager, dry))

    def _post(self, key: tuple[str, str], target: Target, body: Json, manager: str, dry: bool) -> Json:
        body["metadata"].setdefault("namespace", target.namespace) if target.namespace else None
        if (where := _key(body)) in self.objects[key]:
            details = _details(key, where.rpartition("/")[2])
            raise ApiError(409, "AlreadyExists", f'{_full(key)} "{where.rpartition("/")[2]}" already exists', details)
        return self._create(key, body, manager, dry)

    def _create(self, key: tuple[str, str], body: Json, manager: str, dry: bool, operation: str = "Update") -> Json:
        self._admit("create", body)
        at = rfc3339(self.cluster.clock() // SECOND)
        meta = {k: v for k, v in body["metadata"].items() if k not in ("managedFields", "uid", "resourceVersion")}
        meta |= {"uid": self.cluster._uid(), "resourceVersion": "", "generation": 1, "creationTimestamp": at}
        api, kind = body["apiVersion"], body["kind"]
        own = _bare({k: v for k, v in body.items() if k not in ("kind", "apiVersion")})
        meta["managedFields"] = [_entry(manager, operation, api, at, managed(own))]
        rest = {k: v for k, v in body.items() if k not in ("kind", "apiVersion", "metadata")}
        made = Object(kind, {"metadata": meta, **rest}, api)
        if not dry:
            self.cluster.version += 1
            made = made.at(self.cluster.version)
            self.objects[key][_key(body)] = made
            self._tell(key, "ADDED", made, None)
        return json.loads(made.whole)

    def _delete(self, key: tuple[str, str], found: Object, options: Json, dry: bool) -> Json:
        meta, wanted = found.data["metadata"], options.get("preconditions") or {}
        for name, label, after in (
            ("uid", "UID", "deleted and then recreated"),
            ("resourceVersion", "ResourceVersion", "modified"),
        ):
            if name in wanted and wanted[name] != meta[name]:
                text = (
                    f"the {label} in the precondition ({wanted[name]}) does not match the {label} in record ({meta[name]}). "
                    f"The object might have been {after}"
                )
                raise self._conflict(key, meta["name"], text)
        dry = dry or options.get("dryRun") == ["All"]
        self._admit("delete", json.loads(found.whole))
        if not dry:
            del self.objects[key][found.key]
            self.cluster.version += 1
            self._tell(key, "DELETED", found.at(self.cluster.version), found)
        details = {**_details(key, meta["name"]), "uid": meta["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _patch(
        self, key: tuple[str, str], target: Target, found: Object | None, request: Incoming, manager: str, dry: bool
    ) -> Json:
        body, kind = json.loads(request.body), request.headers.get("content-type", "")
        wanted = (body.get("metadata") or {}).get("resourceVersion")
        if found is not None and wanted and wanted != found.data["metadata"]["resourceVersion"]:
            text = "the object has been modified; please apply your changes to the latest version and try again"
            raise self._conflict(key, target.name, text)
        if kind == APPLY:
            if "fieldManager" not in request.query:
                raise bad_request(
                    "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch"
                )
            if found is None:
                if wanted:
                    raise self._missing(key, target.name)
                return self._create(key, body, manager, dry, "Apply")
            return self._save(key, found, self._apply(found, body, manager, request.query.get("force") == "true"), dry)
        if kind != MERGE:
            text = f"the body of the request was in an unknown format - accepted media types include: {MERGE}, {APPLY}"
            raise ApiError(415, "UnsupportedMediaType", text)
        assert found is not None
        return self._save(key, found, self._owned(found.data, _merge(found.data, _bare(body)), manager), dry)

    # -- what belongs to whom

    def _owned(self, old: Json, new: Json, manager: str) -> Json:
        """The object with what an update has changed taken over by its manager."""
        at = rfc3339(self.cluster.clock() // SECOND)
        changed = {
            path
            for path in _leaves(managed(_bare(new))) | _leaves(managed(_bare(old)))
            if _at(old, path) != _at(new, path)
        }
        if not changed:
            return new
        entries = []
        mine: set[tuple[str, ...]] = set()
        for entry in old["metadata"].get("managedFields", ()):
            kept = _leaves(entry["fieldsV1"]) - changed
            if (entry["manager"], entry["operation"]) == (manager, "Update"):
                mine = kept
            elif kept:
                entries.append(entry if kept == _leaves(entry["fieldsV1"]) else {**entry, "fieldsV1": _tree(kept)})
        mine |= {p for p in changed if p in _leaves(managed(_bare(new)))}
        if mine:
            entries.append(_entry(manager, "Update", "v1", at, _tree(mine)))
        return {**new, "metadata": {**new["metadata"], "managedFields": _sorted(entries)}}

    def _apply(self, found: Object, body: Json, manager: str, force: bool) -> Json:
        """The object after a server-side apply; raises ApiError 409 when others own what it changes."""
        config = _bare({k: v for k, v in body.items() if k not in ("kind", "apiVersion")})
        old = found.data
        mine = _leaves(managed(config))
        entries = old["metadata"].get("managedFields", [])
        before = next((e for e in entries if (e["manager"], e["operation"]) == (manager, "Apply")), None)
        conflicts = []
        for entry in entries:
            if entry is before:
                continue
            for path in sorted(_leaves(entry["fieldsV1"]) & mine):
                if _at(old, path) != _at(config, path):
                    conflicts.append((entry, path))
        if conflicts and not force:
            raise _conflicts(conflicts)
        others = set().union(*(_leaves(e["fieldsV1"]) for e in entries if e is not before))
        gone = (_leaves(before["fieldsV1"]) if before else set()) - mine - others
        new = _merge(old, config)
        for path in gone:
            new = _without(new, path)
        changed = _bare(new) != _bare(old)
        lost = {path for _, path in conflicts}
        kept = []
        for entry in entries:
            if entry is not before:
                rest = _leaves(entry["fieldsV1"]) - lost
                if rest:
                    kept.append(entry if not lost & _leaves(entry["fieldsV1"]) else {**entry, "fieldsV1": _tree(rest)})
        at = rfc3339(self.cluster.clock() // SECOND) if changed else ""
        kept.append(_entry(manager, "Apply", found.api_version, at, managed(config)))
        return {**new, "metadata": {**new["metadata"], "managedFields": _sorted(kept)}}

    def _save(self, key: tuple[str, str], old: Object, new: Json, dry: bool) -> Json:
        whole = {"kind": old.kind, "apiVersion": old.api_version, **new}
        self._admit("update", whole)
        new = {k: v for k, v in whole.items() if k not in ("kind", "apiVersion")}
        made = Object(old.kind, new, old.api_version)
        if not dry and new != old.data:
            self.cluster.version += 1
            made = made.at(self.cluster.version)
            self.objects[key][old.key] = made
            self._tell(key, "MODIFIED", made, old)
        return json.loads(made.whole)

    def _admit(self, verb: str, body: Json) -> None:
        for name, admit, code in self.webhooks:
            if why := admit(verb, body):
                reason = {400: "BadRequest", 403: "Forbidden"}[code]
                raise ApiError(code, reason, f'admission webhook "{name}" denied the request: {why}')

    def _tell(self, key: tuple[str, str], type: Any, made: Object, before: Object | None) -> None:
        self.cluster._record(Change(self.cluster.version, key[1], type, made, before))

    def _conflict(self, key: tuple[str, str], name: str, why: str) -> ApiError:
        text = f'Operation cannot be fulfilled on {_full(key)} "{name}": {why}'
        return ApiError(409, "Conflict", text, _details(key, name))

    def _missing(self, key: tuple[str, str], name: str) -> ApiError:
        return (
            ApiError(404, "NotFound", f'{_full(key)} "{name}" not found', _details(key, name))
            if key[0]
            else not_found(key[1], name)
        )


def _key(body: Json) -> str:
    meta = body["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if meta.get("namespace") else str(meta["name"])


def _full(key: tuple[str, str]) -> str:
    return f"{key[1]}.{key[0]}" if key[0] else key[1]


def _details(key: tuple[str, str], name: str) -> Json:
    return {"name": name, **({"group": key[0]} if key[0] else {}), "kind": key[1]}


def _body(value: Json) -> bytes:
    return encode(value) + b"\n"


def _bare(data: Mapping[str, Any]) -> Json:
    """What a person writes of an object: what can be owned."""
    drop = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "name", "namespace")
    out = {k: v for k, v in data.items() if k not in ("kind", "apiVersion", "status")}
    meta = {k: v for k, v in (out.get("metadata") or {}).items() if k not in drop}
    out.pop("metadata", None)
    return {"metadata": meta, **out} if meta else out


def _merge(old: Any, patch: Json) -> Json:
    """RFC 7386."""
    out = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict):
            out[key] = _merge(out.get(key), value)
        else:
            out[key] = value
    return out


Path = tuple[str, ...]


def _leaves(fields: Json) -> set[Path]:
    """The paths of a set of fields: names and keys of list items, as `fieldsV1` has them."""
    return set(_walk(fields, ()))


def _walk(fields: Json, at: Path) -> Iterator[Path]:
    inside = {k: v for k, v in fields.items() if k != "."}
    if not inside and at:
        yield at
    for name, part in inside.items():
        yield from _walk(part, (*at, name))


def _tree(paths: set[Path]) -> Json:
    out: Json = {}
    for path in sorted(paths):
        at = out
        for name in path:
            at = at.setdefault(name, {})
    return out


def _at(data: Any, path: Path) -> Any:
    for step in path:
        if step.startswith("k:"):
            wanted = json.loads(step[2:])
            items = [i for i in data or () if isinstance(i, dict) and wanted.items() <= i.items()]
            data = items[0] if items else None
        else:
            data = data.get(step[2:]) if isinstance(data, dict) else None
    return data


def _without(data: Json, path: Path) -> Json:
    name = path[0][2:]
    if len(path) == 1 or not isinstance(data.get(name), dict):
        return {k: v for k, v in data.items() if k != name}
    inner = _without(data[name], path[1:])
    return {k: v for k, v in data.items() if k != name} | ({name: inner} if inner else {})


def _entry(manager: str, operation: str, api: str, at: str, fields: Json) -> Json:
    out: Json = {"manager": manager, "operation": operation, "apiVersion": api}
    return {**out, **({"time": at} if at else {}), "fieldsType": "FieldsV1", "fieldsV1": fields}


def _sorted(entries: list[Json]) -> list[Json]:
    return sorted(entries, key=lambda e: (e["operation"], e.get("time", ""), e["manager"]))


def _conflicts(found: list[tuple[Json, Path]]) -> ApiError:
    """As `NewApplyConflict` of apimachinery and `Conflicts.Error` of structured-merge-diff say it."""

    def owner(entry: Json) -> str:
        said = f'"{entry["manager"]}"' + (
            f' with subresource "{entry["subresource"]}"' if entry.get("subresource") else ""
        )
        if entry["operation"] == "Update":
            said += f" using {entry['apiVersion']}" + (f" at {entry['time']}" if entry.get("time") else "")
        return said

    def dotted(path: Path) -> str:
        return "".join(f".{p[2:]}" if p.startswith("f:") else f"[{p[2:]}]" for p in path)

    by: dict[str, list[str]] = {}
    for entry, path in found:
        by.setdefault(owner(entry), []).append(dotted(path))
    lines = [
        f"conflict with {who}: {paths[0]}" if len(paths) == 1 else "\n- ".join([f"conflicts with {who}:", *paths])
        for who, paths in sorted(by.items())
    ]
    text = f"Apply failed with {len(found)} conflict{'s' if len(found) != 1 else ''}: " + "\n".join(lines)
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {owner(e)}", "field": dotted(p)} for e, p in found
    ]
    return ApiError(409, "Conflict", text, {"causes": causes})
