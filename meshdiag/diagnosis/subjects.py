"""Who a match is about: the workload that wrote the line, the edge it describes, or the object it names.

Names come from logs: they are cut to a sane length and lose control characters here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from meshdiag.catalogue import Pattern
from meshdiag.formats.access import cluster_fields
from meshdiag.lazyre import lazy
from meshdiag.model import Origin, Record, Subject

_LIMIT = 200
_TEMPLATE = lazy(r"\{([\w.-]+)\}")
_REPLICA = lazy(r"^(?P<name>.+?)-(?:[a-f0-9]{5,10}|[bcdfghjklmnpqrstvwxz2456789]{8,10})-[a-z0-9]{5}$")
_DAEMON = lazy(r"^(?P<name>.+?)-[bcdfghjklmnpqrstvwxz2456789]{5}$")
_STATEFUL = lazy(r"^(?P<name>.+?)-\d{1,4}$")
_CONTROL = lazy(r"[\x00-\x1f\x7f-\x9f]")


def workload_of(pod: str) -> str:
    """The workload's name from the pod's: without the ReplicaSet hash, the DaemonSet suffix or the ordinal."""
    for form in (_REPLICA, _DAEMON, _STATEFUL):
        if m := form.match(pod):
            return m["name"]
    return pod


def clean(name: str) -> str:
    """A name fit to be shown and compared: no control characters, bounded."""
    return _CONTROL.sub("", name)[:_LIMIT]


def component_of(origin: Origin) -> str:
    """Which component a container is, from its name and its pod's; "" when that does not tell."""
    container, workload = origin.container, workload_of(origin.pod)
    if container == "discovery" or workload.startswith("istiod"):
        return "istiod"
    if workload == "ztunnel":
        return "ztunnel"
    if container == "install-cni" or workload.startswith("istio-cni"):
        return "istio-cni"
    if container in ("istio-init", "istio-validation"):
        return "istio-init"
    return ""


def subject_of(record: Record, pattern: Pattern, captures: Mapping[str, str]) -> Subject:
    """The subject of a match: what the pattern says, else what its format implies."""
    wanted = pattern.subject
    if isinstance(wanted, Mapping):
        name = _filled(wanted["name"], captures, record)
        if name:
            kind = wanted["kind"]
            own = workload_of(name) if kind == "workload" else name
            return Subject(kind, _filled(wanted.get("namespace", ""), captures, record), own)
        wanted = wanted["kind"] if wanted["kind"] != "resource" else None
    if wanted == "mesh":
        return Subject("mesh")
    if wanted == "control-plane":
        return Subject(
            "control-plane", clean(record.origin.namespace), clean(workload_of(record.origin.pod)) or "istiod"
        )
    if wanted == "workload":
        return _workload(record)
    if wanted == "edge" and (cluster := captures.get("cluster") or record.fields.get("cluster_name")):
        return subject_of_access(replace(record, fields={**record.fields, **cluster_fields(cluster)}))
    if record.format == "access-log":
        return subject_of_access(record)
    if record.format == "ztunnel-access":
        return _of_ztunnel(record)
    if record.format in ("event", "analysis"):
        return _of_object(record)
    return subject_at(record.origin, record.component or component_of(record.origin) or pattern.component)


def subject_at(origin: Origin, component: str) -> Subject:
    """Who wrote a line of a component: istiod, the agent of a node, or a workload's proxy."""
    if component == "istiod":
        return Subject("control-plane", clean(origin.namespace), clean(workload_of(origin.pod)) or "istiod")
    if component in ("ztunnel", "istio-cni"):
        return Subject("node", clean(origin.namespace), clean(origin.pod) or component)
    return Subject("workload", clean(origin.namespace), clean(workload_of(origin.pod)))


def _filled(template: str, captures: Mapping[str, str], record: Record) -> str:
    missing = False

    def value(m: re.Match[str]) -> str:
        nonlocal missing
        found = captures.get(m[1]) or record.fields.get(m[1]) or ""
        missing |= not found
        return found

    text = _TEMPLATE.sub(value, template)
    return "" if missing else clean(text)


def _workload(record: Record) -> Subject:
    origin = record.origin
    return Subject("workload", clean(origin.namespace), clean(workload_of(origin.pod)))


def _source(record: Record) -> str:
    origin = record.origin
    name = workload_of(origin.pod)
    return clean(f"{origin.namespace}/{name}" if origin.namespace and name else name)


def subject_of_access(record: Record) -> Subject:
    """The edge, or the workload whose own inbound it is."""
    get = record.fields.get
    direction = get("direction")
    host, port = get("destination_host"), get("destination_port")
    waypoint = (get("upstream_cluster") or "").startswith("inbound-vip|")  # its own calls to the servers behind it
    if (direction == "outbound" or waypoint) and host:
        return Subject("edge", source=_source(record), destination=clean(f"{host}:{port}" if port else host))
    if direction in ("passthrough", "blackhole") or get("route_name") in ("block_all", "allow_any"):
        # what the application asked for: of a sidecar's own outbound traffic, so the name is its own
        target = (
            get("requested_server_name") or get("authority") or get("upstream_host") or get("downstream_local_address")
        )
        return Subject("edge", source=_source(record), destination=clean(target or ""))
    own = _workload(record)
    if direction is None and get("authority") and "NR" in (get("response_flags") or "").split(","):
        # no route: which host was asked for tells a missing route from a scanner's noise (hosts know no case: RFC 3986)
        return Subject("edge", source=_source(record), destination=clean(get("authority") or "").lower())
    if own.name or direction not in ("inbound", "inbound-passthrough"):
        return own
    return Subject("workload", name=clean(f"port {port}") if port else "")


def _of_ztunnel(record: Record) -> Subject:
    get = record.fields.get

    def side(which: str) -> str:
        ns, name = get(f"{which}.namespace"), get(f"{which}.workload")
        if name:
            name = workload_of(name)
            return f"{ns}/{name}" if ns else name
        return get(f"{which}.service") or get(f"{which}.addr", "").rpartition(":")[0]

    return Subject("edge", source=clean(side("src")), destination=clean(get("dst.service") or side("dst")))


def _of_object(record: Record) -> Subject:
    get = record.fields.get
    name, kind = get("object", ""), get("object_kind", "").lower()
    namespace = get("namespace") or record.origin.namespace
    if "/" in name:
        namespace, _, name = name.rpartition("/")
    if kind in ("pod", "replicaset", "deployment", "statefulset", "daemonset", "job") and record.format == "event":
        bare = re.sub(r"-[bcdfghjklmnpqrstvwxz2456789]{6,10}$", "", name) if kind == "replicaset" else name
        return Subject("workload", clean(namespace), clean(workload_of(bare) if kind == "pod" else bare))
    return Subject("resource", clean(namespace), clean(f"{get('object_kind', '')} {name}".strip()))


def facts_of(record: Record, captures: Mapping[str, str], subject: Subject) -> dict[str, str]:
    """What remedies and views may fill in, from the match and its origin: names only, as the log wrote them.

    `namespace`, `pod`, `workload` are those of the proxy that wrote the line; `service`, `service_namespace`, `host`, `port`,
    `subset` those of the destination; `client_address` the IP address of who called the proxy.
    """
    get = record.fields.get
    origin = record.origin
    # istiod and the agents of a node speak of other pods: their own name would stand for a proxy's
    own = component_of(origin) == "" and record.component not in ("istiod", "ztunnel", "istio-cni")
    facts = {
        "namespace": (origin.namespace if own else "") or subject.namespace,
        "pod": origin.pod if own else "",
        "container": origin.container if own else "",
        "workload": subject.name if subject.kind == "workload" and not subject.name.startswith("port ") else "",
        "source": subject.source,
        "client_address": _client_address(record),
        **_client(record),
        **_destination(record, subject),
    }
    if record.format == "event" and get("object_kind", "").lower() == "pod":
        facts |= {"pod": get("object", ""), "namespace": get("namespace", "") or origin.namespace}
    if subject.kind == "resource":
        facts |= {"name": subject.name.rpartition(" ")[2], "namespace": subject.namespace}
    return {k: clean(v) for k, v in {**facts, **captures}.items() if v}


def _client_address(record: Record) -> str:
    """Of a line of the server's side; on the client's side the caller is the application beside the proxy."""
    address = record.fields.get("downstream_remote_address", "")
    return "" if record.fields.get("direction") == "outbound" else address.rpartition(":")[0].strip("[]")


def _client(record: Record) -> dict[str, str]:
    """Of a ztunnel's access line: the client, who is not the one that logged it."""
    if record.format != "ztunnel-access":
        return {}
    get = record.fields.get
    account = (get("src.identity") or "").rpartition("/sa/")[2]
    return {
        "error": get("error", ""),
        "namespace": get("src.namespace", ""),
        "pod": get("src.workload", ""),
        "source_namespace": get("src.namespace", ""),
        "source_name": account or workload_of(get("src.workload", "")),
    }


_SNI = re.compile(r"^outbound_\.(\d+)_\.([^_]*)_\.([\w.-]+)$")


_OUTSIDE = frozenset({"blackhole", "passthrough", "block_all", "allow_any"})
"""Directions and routes of calls to what the mesh does not know."""


def _destination(record: Record, subject: Subject) -> dict[str, str]:
    get = record.fields.get
    host = get("destination_host") or get("dst.service") or ""
    port, subset = get("destination_port") or "", get("destination_subset") or ""
    if not host and (m := _SNI.match(get("requested_server_name") or "")):
        port, subset, host = m.groups()  # inbound: the service as the client's sidecar named it
    elif not host and subject.kind == "edge":
        host, _, port = subject.destination.partition(":")
        port = port or get("upstream_host", "").rpartition(":")[2]
        if not port and (get("direction") in _OUTSIDE or get("route_name") in _OUTSIDE):
            port = get("downstream_local_address", "").rpartition(":")[2]  # what the application itself dialled
    parts = host.split(".")
    inside = len(parts) in (2, 3) or parts[2:3] == ["svc"]
    return {
        "host": host,
        "port": port,
        "subset": subset,
        "service": parts[0] if inside else "",
        "service_namespace": parts[1]
        if inside
        else subject.namespace
        if subject.kind in ("workload", "resource")
        else "",
    }
