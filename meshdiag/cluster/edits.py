"""An `Edit` as a remedy: the command that patches this object, the object as it is then, and the command that takes it back."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

import yaml

from meshdiag.cluster.objects import RESOURCES, Object, Ref
from meshdiag.cluster.secrets import is_removed
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import Edit
from meshdiag.model import Remedy, Step

_SERVERS: Final = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink")
"""Of the metadata what the server writes."""

_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def patched(raw: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The object with a JSON merge patch (RFC 7386) applied; neither is changed."""
    out = dict(raw)
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, Mapping):
            old = out.get(key)
            out[key] = patched(old if isinstance(old, Mapping) else {}, value)
        else:
            out[key] = deepcopy(value)
    return out


def inverse(raw: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch that takes `patch` back: what it changes as it stands in the object, null where nothing stands."""
    out: dict[str, Any] = {}
    for key, value in patch.items():
        old = raw.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            out[key] = inverse(old, value)
        elif key in raw or value is not None:
            out[key] = deepcopy(old)
    return out


def bare(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The object as a person would write it: without its status and what the server writes."""
    out = {k: v for k, v in raw.items() if k != "status"}
    metadata = out.get("metadata")
    if isinstance(metadata, Mapping):
        out["metadata"] = {k: v for k, v in metadata.items() if k not in _SERVERS}
    return out


def manifest(raw: Mapping[str, Any]) -> str:
    """The object as YAML."""
    text: str = yaml.dump(bare(raw), Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=120)
    return text.rstrip("\n")


def kubectl(ref: Ref, *words: str) -> str:
    """A kubectl command: `-n NAMESPACE` first when there is one, every word quoted where a shell would act on it."""
    space = ("-n", ref.namespace) if ref.namespace else ()
    return shlex.join(("kubectl", *space, *words))


def plural(ref: Ref) -> str:
    """What kubectl calls the kind without doubt: `virtualservices.networking.istio.io`, `services`."""
    resource = RESOURCES[ref.kind]
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def remedy_of(edit: Edit, snapshot: Snapshot) -> Remedy:
    """What a person does to make the edit, to see that it worked, and to take it back."""
    ref = edit.ref
    known = snapshot.get(ref.kind, ref.namespace, ref.name)
    if is_removed(edit.patch):
        steps = [
            Step(f"Change {ref} by hand: what stands there is not kept in a snapshot, and must not be written back.")
        ]
        undo = ""
    elif not edit.patch:  # only to be restarted
        steps, undo = [], ""
    elif edit.create:
        steps = [Step(f"Create {ref}.", manifest=manifest(edit.patch))]
        undo = kubectl(ref, "delete", plural(ref), ref.name)
    else:
        text = json.dumps(edit.patch, sort_keys=True)
        steps = [Step(f"Change {ref}.", kubectl(ref, "patch", plural(ref), ref.name, "--type", "merge", "-p", text))]
        if known is not None and not is_removed(known.raw):  # else the manifest would write what was taken out
            steps = [Step(steps[0].text, steps[0].command, manifest(patched(known.raw, edit.patch)))]
        undo = _undo(edit, known)
    for workload in edit.restart:
        name = f"{workload.kind.lower()}/{workload.name}"
        steps.append(Step(f"Restart {workload}.", kubectl(workload, "rollout", "restart", name)))
    return Remedy(title=edit.title, steps=tuple(steps), why=edit.why, risk=edit.risk, undo=undo)


def _undo(edit: Edit, known: Object | None) -> str:
    before = inverse(known.raw, edit.patch) if known is not None else None
    if before is None or is_removed(before):
        return ""
    text = json.dumps(before, sort_keys=True)
    return kubectl(edit.ref, "patch", plural(edit.ref), edit.ref.name, "--type", "merge", "-p", text)
