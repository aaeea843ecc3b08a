"""Messages of `istioctl analyze`: text of all versions, `-o json` items, and the same text in a status message.

Error [IST0101] (VirtualService default/reviews) Referenced host not found: "x"      1.4 and later
Warn [IST0105](Pod/default/shell-1) The version ...                                  1.4 (Kind/namespace/name)
Info [IST0102] [cluster-east] (Namespace default) ...                                several clusters
Error [IST0101] Referenced host not found: "x"                                       no resource
"""

from __future__ import annotations

from meshdiag.formats._common import LIMIT, is_analysis, json_object, names, to_text
from meshdiag.formats.base import Format
from meshdiag.lazyre import lazy
from meshdiag.model import Record

NAME = "analysis"
FIRST = None  # colour, quotes or a key may stand before the level

_CSI = r"(?:\x1b\[[\d;]{0,16}m)?"
_TEXT = lazy(
    r"[\s>*#-]{0,20}(?:\x1b\[[\d;]{0,16}m)?(?:[\"']?[mM]essage[\"']?: {1,4})?[\"']?"
    rf"{_CSI}(?P<level>Error|Warning|Warn|Info){_CSI}:? {{1,4}}\[(?P<code>IST\d{{4}})\]"
    r"(?: \[cluster-(?P<cluster>[^\]\s]{1,253})\])?"
    r"(?: ?\((?P<origin>[A-Za-z][\w.]*[ /][^()\s]{1,600}(?: [^()]{1,600})?)\))? ?"
)
_LEVELS = {"error": "error", "warning": "warning", "warn": "warning", "info": "info"}
_CLUSTER_SCOPED = names(
    "namespace node customresourcedefinition mutatingwebhookconfiguration validatingwebhookconfiguration gatewayclass "
    "clusterrole clusterrolebinding persistentvolume ingressclass"
)


def parse(text: str) -> Record | None:
    """A message of the analyzers, or None. Fields: `code object_kind object namespace cluster file`, where known."""
    if text.startswith("{"):
        return _parse_json(text[:LIMIT])
    if "IST" not in text[:200]:
        return None
    text = text[:LIMIT]
    head = _TEXT.match(text)
    if head is None:
        return None
    fields = {"code": head.group("code")} | _origin(head.group("origin") or "")
    if cluster := head.group("cluster"):
        fields["cluster"] = cluster
    message = text[head.end() :].strip()
    opener = text[head.start("level") - 1 : head.start("level")]
    if opener in ('"', "'"):
        message = message.removesuffix(opener)
    return Record(NAME, text, message, None, _LEVELS[head.group("level").lower()], "istioctl", "text", fields)


def _origin(origin: str) -> dict[str, str]:
    """The resource: `Kind namespace/name file:line` (1.12 and later), `Kind name.namespace` (up to 1.11),
    `Kind/namespace/name` (1.4)."""
    words = origin.split(None, 2)
    if not words:
        return {}
    if len(words) == 1 or words[0].count("/"):
        kind, _, name = words[0].partition("/")
        rest = words[1:]
    else:
        kind, name, rest = words[0], words[1], words[2:]
    fields = {"object_kind": kind}
    if kind.lower() in _CLUSTER_SCOPED:
        fields["object"] = name
    elif "/" in name:
        fields["namespace"], _, fields["object"] = name.rpartition("/")
    elif "." in name:
        fields["object"], _, fields["namespace"] = name.rpartition(".")
    else:
        fields["object"] = name
    if rest:
        fields["file"] = rest[0]
    return {k: v for k, v in fields.items() if v}


def _parse_json(text: str) -> Record | None:
    if '"IST' not in text or '"level"' not in text:
        return None
    obj = json_object(text)
    if obj is None or not is_analysis(obj):
        return None
    kind = obj.get("type")
    code = obj.get("code") or (kind.get("code") if isinstance(kind, dict) else None)
    fields = {"code": to_text(code) or ""} | _origin((to_text(obj.get("origin")) or "").strip("()"))
    if cluster := to_text(obj.get("cluster")):
        fields["cluster"] = cluster.removeprefix("cluster-")
    if reference := to_text(obj.get("reference")):
        fields["file"] = reference
    message = to_text(obj.get("message")) or (to_text(kind.get("name")) if isinstance(kind, dict) else "") or ""
    level = _LEVELS.get((to_text(obj.get("level")) or "").lower(), "")
    return Record(NAME, text, message, None, level, "istioctl", "json", fields)


FORMAT = Format(NAME, "istioctl analyze 1.4 to 1.31 (pkg/config/analysis/diag/message.go)", parse, ("text", "json"))
