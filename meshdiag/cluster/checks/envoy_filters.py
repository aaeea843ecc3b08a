"""Which EnvoyFilters change the configuration of a proxy, and what do they touch?

An EnvoyFilter holds for the pods of its namespace, or of all when it is in the root namespace, that its workloadSelector selects or
its targetRefs name (https://istio.io/latest/docs/reference/config/networking/envoy-filter/); of its patches those whose context is
that of the proxy. What a patch touches is read from the names of Envoy's filters and fields in its value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from meshdiag.cluster.mesh import (
    GATEWAY_NAME,
    is_gateway,
    names,
    pods_with,
    proxies_of,
    root_namespace,
    selects,
    unread,
)
from meshdiag.cluster.objects import Object, at
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result
from meshdiag.model import Severity

TOUCHES: Final[Mapping[str, tuple[str, ...]]] = {
    "rate-limited": ("local_ratelimit", "local_rate_limit", "http.ratelimit", "network.ratelimit"),
    "ext-proc-failed": ("ext_proc",),
    "ext-authz-denied": ("ext_authz",),
    "ext-authz-unavailable": ("ext_authz",),
    "filter-script-error": ("http.lua", "inline_code", "default_source_code"),
    "fault-injected": ("http.fault",),
    "request-too-large": (
        "max_request_headers_kb", "max_headers_count", "http.buffer", "max_request_bytes", "per_connection_buffer_limit_bytes", ":body(",
    ),
    "response-too-large": ("per_connection_buffer_limit_bytes", "max_response_headers_kb", ":body("),
    "stream-idle-timeout": (
        "idle_timeout", "request_timeout", "request_headers_timeout", "max_stream_duration", "max_connection_duration",
    ),
    "proxy-overloaded": ("overload_manager", "connection_limit"),
    "upgrade-refused": ("upgrade_configs",),
    "upstream-bind-failed": ("bind_config",),
    "circuit-breaker-open": ("circuit_breakers",),
}  # fmt: skip
"""By cause the names in Envoy's configuration (v3, snake case) that bring it about."""

RULED_OUT: Final = ("filter-script-error", "rate-limited")
"""What only such a filter does: Istio itself configures none."""

_CONTEXTS: Final = {True: ("GATEWAY",), False: ("SIDECAR_INBOUND", "SIDECAR_OUTBOUND")}
_hump: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the proxy that wrote a finding's line, or of all filters."""
    if not about:
        yield from _everything(snapshot)
        return
    pods = proxies_of(snapshot, about)
    if not pods:
        yield CHECK.unknown("the pod whose proxy wrote this is not here")
        return
    filters = _on(snapshot, pods[0])
    touched: set[str] = set()
    for f in filters:
        causes = dict.fromkeys(c for i in _patches(f, pods[0]) for c, _ in _touched(f)[i])
        touched.update(causes)
        if causes:
            yield _selects(f, pods[0], tuple(causes))
    whole = snapshot.namespaces is None and not any(_holds(snapshot, w, pods[0]) for w in snapshot.all("WasmPlugin"))
    sure = whole and not unread(snapshot, "WasmPlugin") and snapshot.all("Pod")
    text = f"of {len(filters)} EnvoyFilters on {pods[0].name}" if filters else f"no EnvoyFilter selects {pods[0].name}"
    if not touched:
        yield CHECK.good(f"{text}: none touches limits, timeouts or requests", *(RULED_OUT if sure else ()))


def _on(snapshot: Snapshot, pod: Object) -> tuple[Object, ...]:
    spaces = dict.fromkeys((pod.namespace, root_namespace(snapshot)))
    return tuple(f for s in spaces for f in snapshot.all("EnvoyFilter", s) if _holds(snapshot, f, pod))


def _holds(snapshot: Snapshot, f: Object, pod: Object) -> bool:
    """Whether an EnvoyFilter or WasmPlugin is for a pod."""
    if f.namespace not in (pod.namespace, root_namespace(snapshot)):
        return False
    refs = f.mappings("spec", "targetRefs")
    if refs:
        return any(r.get("name") == pod.labels.get(GATEWAY_NAME) or r.get("kind") != "Gateway" for r in refs)
    wanted = f.strings("spec", "workloadSelector", "labels") or f.strings("spec", "selector", "matchLabels")
    return selects(wanted, pod.labels)


def _patches(f: Object, pod: Object) -> Iterator[int]:
    """The patches of a filter that are for proxies of this kind."""
    for i, p in enumerate(f.mappings("spec", "configPatches")):
        context = at(p, "match", "context")
        if context in (None, "", "ANY") or context in _CONTEXTS[is_gateway(pod)]:
            yield i


def _touched(f: Object) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Of each patch the causes that it may bring about, with the name that says so."""
    return tuple(tuple(_of_patch(p)) for p in f.mappings("spec", "configPatches"))


def _of_patch(patch: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if at(patch, "patch", "operation") == "REMOVE":
        return
    text = _hump.sub("_", json.dumps(at(patch, "patch", "value"), default=str)).lower()
    for cause, needles in TOUCHES.items():
        for needle in needles:
            if needle in text:
                yield cause, needle
                break


def _selects(f: Object, pod: Object, causes: tuple[str, ...]) -> Result:
    said = [(i, needle) for i in _patches(f, pod) for _, needle in _touched(f)[i]]
    return CHECK.bad(
        f"{f.ref} changes the proxy of {pod.name}: {names(dict.fromkeys(n for _, n in said), 5)}",
        *causes,
        about=f,
        severity=Severity.INFO,
        proofs=tuple(
            Proof(f.ref, f"spec.configPatches[{i}].patch.value", f"has {needle}") for i, needle in dict.fromkeys(said)
        )[:5],
        advice="Read what it sets before anything else is changed",
    )


def _everything(snapshot: Snapshot) -> Iterator[Result]:
    filters = snapshot.all("EnvoyFilter")
    found = []
    for f in filters:
        wanted = f.strings("spec", "workloadSelector", "labels")
        root = f.namespace == root_namespace(snapshot)
        read = not snapshot.lacks("Pod") and (not root or snapshot.namespaces is None)
        if wanted and read and not pods_with(snapshot, wanted, None if root else f.namespace):
            found.append(
                CHECK.bad(
                    f"{f.ref} selects no pod: it has no effect",
                    about=f,
                    severity=Severity.WARNING,
                    proofs=(Proof(f.ref, "spec.workloadSelector.labels", json.dumps(wanted, sort_keys=True)),),
                )
            )
        elif not wanted and not f.at("spec", "targetRefs") and root and any(_touched(f)):
            touched = names(dict.fromkeys(n for patch in _touched(f) for _, n in patch), 5)
            found.append(
                CHECK.bad(
                    f"{f.ref} changes every proxy of the mesh: {touched}",
                    about=f,
                    severity=Severity.INFO,
                    proofs=(Proof(f.ref, "spec.workloadSelector", "none"),),
                )
            )
    yield from found
    if not found:
        yield CHECK.good(f"{len(filters)} EnvoyFilters: each selects pods")


CHECK = Check("envoy-filters", "Which EnvoyFilters change this proxy?", ("EnvoyFilter",), run)
