"""Whether calls from some pods to a service are mTLS, by all that decides about it.

A client's sidecar does what the DestinationRule says; without one it speaks mTLS to pods that take it (automatic mTLS: they have a
proxy, and no PeerAuthentication says DISABLE). ztunnel speaks HBONE, which is mTLS, to whatever ztunnel handles. Between the two
modes it takes a sidecar that knows HBONE, which its pod's label `networking.istio.io/tunnel: http` says (Istio's injection
templates set it where ambient mode is installed).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshdiag.cluster.checks.destination_rule_tls import settings_of
from meshdiag.cluster.mesh import (
    containers,
    host_of,
    in_ambient,
    in_mesh,
    mesh_config,
    mtls_of,
    proxy,
    revision_of,
    root_namespace,
    rules_for,
    target_port,
    unread,
)
from meshdiag.cluster.objects import Object
from meshdiag.cluster.snapshot import Snapshot

MUTUAL: Final = "mutual"
PLAINTEXT: Final = "plaintext"


def spoken(
    snapshot: Snapshot,
    clients: Iterable[Object],
    servers: Iterable[Object],
    service: Object | None,
    ports: Iterable[int],
) -> str:
    """`mutual` or `plaintext` when all calls are so; "" when they differ, when the state does not tell, and for TLS that is not the mesh's.

    clients  the pods that call; servers: those that are called
    service  by which they are called, None when that is not known
    ports    of the service; none: any of its ports
    """
    callers = {_Caller(snapshot, p) for p in clients}
    called = {_kind(snapshot, p): p for p in servers}  # pods of one workload are alike in most cases
    numbers = {*ports} or {
        n for p in (service.mappings("spec", "ports") if service else ()) if isinstance(n := p.get("port"), int)
    }
    said = {
        _one(snapshot, caller, asked, server, service, port)
        for caller in callers
        for port in numbers or (None,)
        for asked in [_asked(snapshot, caller, service, port)]
        for server in called.values()
    }
    return said.pop() if len(said) == 1 else ""


def _kind(snapshot: Snapshot, pod: Object) -> tuple[object, ...]:
    """What decides about calls to a pod."""
    ports = tuple((c.get("name"), str(c.get("ports"))) for c in containers(pod))
    return pod.namespace, proxy(pod) is not None, in_ambient(snapshot, pod), frozenset(pod.labels.items()), ports


class _Caller(tuple[str, str, str, bool]):
    """What matters of a pod that calls: its mode, namespace and revision, and whether its sidecar knows HBONE."""

    __slots__ = ()

    def __new__(cls, snapshot: Snapshot, pod: Object) -> _Caller:
        mode = "sidecar" if proxy(pod) is not None else "ambient" if in_ambient(snapshot, pod) else ""
        return super().__new__(cls, (mode, pod.namespace, revision_of(pod), _knows_hbone(pod)))


def _knows_hbone(pod: Object) -> bool:
    return pod.labels.get("networking.istio.io/tunnel") == "http"


def _one(
    snapshot: Snapshot, caller: _Caller, asked: str | None, server: Object, service: Object | None, port: int | None
) -> str:
    mode, _, _, hbone = caller
    if not mode:
        return PLAINTEXT
    ambient = in_ambient(snapshot, server)
    if mode == "ambient":
        # to a sidecar without HBONE it depends on the version; to what is outside of the mesh nothing encrypts
        return MUTUAL if ambient or _knows_hbone(server) else "" if in_mesh(snapshot, server) else PLAINTEXT
    if asked is None:
        return ""
    if asked == "DISABLE":
        return "" if ambient else PLAINTEXT
    if ambient:
        return MUTUAL if hbone and asked in ("", "ISTIO_MUTUAL") else ""
    if proxy(server) is None:
        return PLAINTEXT if not asked else ""
    if asked not in ("", "ISTIO_MUTUAL") or not _whole(snapshot, "PeerAuthentication", server.namespace):
        return ""
    own = target_port(service, server, port) if service and port is not None else port
    if mtls_of(snapshot, server, own).mode == "DISABLE":
        return PLAINTEXT if not asked else ""
    return MUTUAL


def _asked(snapshot: Snapshot, caller: _Caller, service: Object | None, port: int | None) -> str | None:
    """The TLS mode that a client's sidecar is told: "" is automatic; None when it is not known, not the same
    for all subsets, or there is no sidecar."""
    mode, namespace, revision, _ = caller
    if mode != "sidecar" or service is None or not _whole(snapshot, "DestinationRule", namespace, service.namespace):
        return None
    rules = rules_for(snapshot, host_of(service), service.namespace, namespace)
    subsets = {str(s.get("name")) for r in rules for s in r.mappings("spec", "subsets")}
    modes = {s.mode if (s := settings_of(rules, port, subset)) else "" for subset in {"", *subsets}}
    if len(modes) != 1:
        return None
    said = modes.pop()
    _, config = mesh_config(snapshot, revision)
    return "DISABLE" if not said and config.get("enableAutoMtls") is False else said


def _whole(snapshot: Snapshot, kind: str, *namespaces: str) -> bool:
    """Whether all objects of a kind that may hold there were read."""
    wanted = {*namespaces, root_namespace(snapshot)}
    return not unread(snapshot, kind) and (snapshot.namespaces is None or wanted <= snapshot.namespaces)
