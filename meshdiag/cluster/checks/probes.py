"""Which probe is not answered, on which port, and does the mesh come into its way?

The injector sends HTTP, TCP and gRPC probes of a pod with a sidecar to the agent (port 15020, /app-health/CONTAINER/readyz …), which asks
the application; what it was before stands in ISTIO_KUBE_APP_PROBERS of istio-proxy (istio/istio, pkg/kube/inject/app_probe.go;
https://istio.io/latest/docs/ops/configuration/mesh/app-health-check/). Without the rewrite the kubelet's probe is plaintext.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

import yaml

from meshdiag.cluster.mesh import (
    PROXY,
    RESTARTABLE,
    Container,
    applications,
    condition,
    containers,
    containers_of,
    has_native_sidecar,
    in_ambient,
    is_gateway,
    is_over,
    is_ready,
    logs_command,
    mtls_of,
    own_pods,
    proxy,
    several,
    told_once,
    workload_of,
)
from meshdiag.cluster.objects import Object, Ref, at, mapping, mappings
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result
from meshdiag.cluster.wanted import seen
from meshdiag.model import Severity

AGENT: Final = 15020
SIDECAR_PORTS: Final = frozenset({15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090})
AMBIENT_PORTS: Final = frozenset({15001, 15006, 15008, 15053})
"""Where Istio listens in a pod (https://istio.io/latest/docs/ops/deployment/application-requirements/#ports-used-by-istio)."""

REWRITE: Final = "sidecar.istio.io/rewriteAppHTTPProbers"
CONFIG: Final = "proxy.istio.io/config"
HOLD: Final = "holdApplicationUntilProxyStarts"
KINDS: Final = ("startupProbe", "readinessProbe", "livenessProbe")
PATIENCE: Final = timedelta(minutes=1)
RECENT: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe of a container as the pod has it: `how` is httpGet, tcpSocket or grpc; `port` a number or a name."""

    container: str
    kind: str
    how: str
    port: int | str
    path: str
    field: str

    @property
    def is_rewritten(self) -> bool:
        """Whether the kubelet asks the agent."""
        return self.how == "httpGet" and self.path.startswith("/app-health/")

    def __str__(self) -> str:
        name = self.kind.removesuffix("Probe")
        return f"{name} probe ({self.how.removesuffix('Get').removesuffix('Socket')} {self.port}{self.path})"


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of the pods whose log has the finding; or of every workload."""
    some = own_pods(snapshot, about) if about else applications(snapshot)
    pods = [p for p in some if not is_over(p)]
    if about and not pods:
        yield CHECK.unknown("no pod of it is here")
        return
    said = _events(snapshot)
    found: dict[tuple[Ref, str], list[Result]] = {}
    for pod in pods:
        sidecar = None if about and is_gateway(pod) else proxy(pod)
        for kind, result in (
            *_unanswered(snapshot, pod, sidecar, said),
            *_wrong(snapshot, pod, sidecar),
            *_ports(snapshot, pod, sidecar),
        ):
            found.setdefault((workload_of(snapshot, pod), kind), []).append(result)
    yield from told_once(found)
    if about:
        yield from _order(snapshot, pods)
    if not found:
        ready = sum(map(is_ready, pods))
        yield CHECK.good(f"{ready} of {several(len(pods), 'pod')} ready; no probe and no port is against the mesh")


def probes_of(pod: Object) -> tuple[Probe, ...]:
    """The probes of the application's containers."""
    found = []
    for part in ("initContainers", "containers"):
        every = pod.at("spec", part)
        for i, c in enumerate(every if isinstance(every, list) else []):
            name = at(c, "name")
            if not isinstance(name, str) or name == PROXY:
                continue
            for kind in KINDS:
                probe = mapping(at(c, kind))
                for how in probe and ("httpGet", "tcpSocket", "grpc"):
                    port, path = at(probe, how, "port"), at(probe, how, "path")
                    if isinstance(port, int | str) and not isinstance(port, bool):
                        where = f"spec.{part}[{i}].{kind}.{how}"
                        found.append(Probe(name, kind, how, port, path if isinstance(path, str) else "", where))
    return tuple(found)


def _original(sidecar: Mapping[str, Any] | None, probe: Probe) -> Probe | None:
    """What a rewritten probe asks of the application; None when the agent's list does not have it."""
    asked = _probers(sidecar)
    if asked is None:
        return probe
    one = mapping(asked.get(probe.path))
    for how in ("httpGet", "tcpSocket", "grpc"):
        port, path = at(one, how, "port"), at(one, how, "path")
        if isinstance(port, int | str) and not isinstance(port, bool):
            return Probe(probe.container, probe.kind, how, port, path if isinstance(path, str) else "", probe.field)
    return None if not one else probe


def _probers(sidecar: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """ISTIO_KUBE_APP_PROBERS; None when it cannot be read, {} when it is not set."""
    for env in mappings(mapping(sidecar).get("env")):
        if env.get("name") == "ISTIO_KUBE_APP_PROBERS":
            return _json(str(env.get("value", "")))
    return {}


@lru_cache(512)
def _json(text: str) -> Mapping[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, Mapping) else None


def _declared(pod: Object, container: str) -> Mapping[str, int]:
    """The ports of a container: by name, and by number as a text."""
    ports: dict[str, int] = {}
    for c in containers(pod):
        if c.get("name") == container:
            for p in mappings(c.get("ports")):
                if isinstance(number := p.get("containerPort"), int):
                    ports[str(number)] = number
                    ports[str(p.get("name") or number)] = number
    return ports


def _unanswered(
    snapshot: Snapshot, pod: Object, sidecar: Mapping[str, Any] | None, said: Mapping[tuple[str, str, str], str]
) -> Iterator[tuple[str, Result]]:
    """Containers that run and are not ready: which probe has not said yes."""
    if is_ready(pod) or pod.text("metadata", "deletionTimestamp"):
        return
    for c in containers_of(pod):
        if not c.is_running or c.is_ready or ("initContainer" in c.path and c.name != PROXY):
            continue
        if snapshot.taken and c.started and snapshot.taken - c.started < PATIENCE:
            continue
        kind = "startupProbe" if c.status.get("started") is False else "readinessProbe"
        event = said.get((pod.namespace, pod.name, c.name), "")
        yield f"unanswered {c.name}", _not_ready(pod, sidecar, c, kind, event)


def _not_ready(pod: Object, sidecar: Mapping[str, Any] | None, c: Container, kind: str, event: str) -> Result:
    since = str(condition(pod, "ContainersReady").get("lastTransitionTime") or "")
    probe = next((p for p in probes_of(pod) if p.container == c.name and p.kind == kind), None)
    hint = ""
    proofs = [Proof(pod.ref, f"{c.path}.ready", "false")]
    if probe is not None:
        asked = (_original(sidecar, probe) or probe) if probe.is_rewritten else probe
        hint = f": its {asked}" + (", asked through the agent," if probe.is_rewritten else "") + " does not succeed"
        ports = _declared(pod, c.name)
        if ports and not asked.is_rewritten and str(asked.port) not in ports:
            hint += f"; the container declares only {', '.join(map(str, sorted(set(ports.values()))))}"
        proofs.append(Proof(pod.ref, probe.field, f"port {probe.port} {probe.path}".strip()))
    elif c.name == PROXY:
        hint = ": its readiness (15021/healthz/ready) is not given"
    text = f"{c.name} of pod {pod.name} is not ready" + (f" since {since}" if since else "") + hint
    return CHECK.bad(
        text + (f" ({event[:200]})" if event else ""),
        "proxy-not-ready" if c.name == PROXY else "health-probe-failed",
        about=pod,
        proofs=tuple(proofs),
        advice=logs_command(pod, c.name),
    )


def _wrong(snapshot: Snapshot, pod: Object, sidecar: Mapping[str, Any] | None) -> Iterator[tuple[str, Result]]:
    """Probes that cannot succeed, or that ask somebody else."""
    for probe in probes_of(pod):
        asked = probe
        if probe.is_rewritten:
            original = _original(sidecar, probe)
            if sidecar is None or original is None:
                why = "the pod has no sidecar" if sidecar is None else f"its agent has no prober {probe.path}"
                yield (
                    f"{probe.field} prober",
                    CHECK.bad(
                        f"the {probe.kind.removesuffix('Probe')} probe of {probe.container} in {pod.name} asks the agent, and {why}",
                        "health-probe-failed",
                        about=pod,
                        proofs=(Proof(pod.ref, probe.field, f"port {probe.port} {probe.path}"),),
                        advice="The manifest has a probe that was injected once: write the application's own port and path into it",
                    ),
                )
                continue
            if original.is_rewritten:
                continue  # what it asks cannot be read
            asked = original
        is_number = isinstance(asked.port, int) or (asked.port.isascii() and asked.port.isdecimal())
        ports = {} if is_number else _declared(pod, probe.container)
        if not is_number and asked.port not in ports:
            yield (
                f"{probe.field} name",
                CHECK.bad(
                    f"the {asked} of {probe.container} in {pod.name} names a port that the container does not have",
                    "health-probe-failed",
                    about=pod,
                    proofs=(
                        Proof(pod.ref, probe.field, str(asked.port)),
                        Proof(pod.ref, f"ports of {probe.container}", ", ".join(ports) or "none"),
                    ),
                ),
            )
        number = int(str(asked.port)[:9] or 0) if is_number else ports.get(str(asked.port), 0)
        if sidecar is not None and number in SIDECAR_PORTS:
            yield (
                f"{probe.field} own",
                CHECK.bad(
                    f"the {asked} of {probe.container} in {pod.name} asks Istio's own port: it tells of the proxy, not of the application",
                    about=pod,
                    severity=Severity.WARNING,
                    proofs=(Proof(pod.ref, probe.field, str(number)),),
                ),
            )
        elif sidecar is not None and not probe.is_rewritten and probe.how != "tcpSocket":
            yield from _plaintext(snapshot, pod, workload_of(snapshot, pod), probe, number)


def _plaintext(snapshot: Snapshot, pod: Object, ref: Ref, probe: Probe, number: int) -> Iterator[tuple[str, Result]]:
    """A probe that is not rewritten comes from the kubelet in plaintext, which STRICT refuses; TCP is accepted by the proxy."""
    if snapshot.lacks("PeerAuthentication") or not number:
        return
    excluded = pod.annotations.get("traffic.sidecar.istio.io/excludeInboundPorts", "")
    included = pod.annotations.get("traffic.sidecar.istio.io/includeInboundPorts", "*")
    if str(number) in {e.strip() for e in excluded.split(",")} or included != "*":
        return
    mode = mtls_of(snapshot, pod, number)
    if mode.mode != "STRICT" or mode.policy is None:
        return
    said = pod.annotations.get(REWRITE)
    proofs = [Proof(pod.ref, probe.field, f"port {probe.port} {probe.path}".strip())]
    edits: tuple[Edit, ...] = ()
    if said is not None:
        proofs.append(Proof(pod.ref, "metadata.annotations", f"{REWRITE}: {said}"))
        if _is_here(snapshot, ref):
            edits = (_annotate(ref, f"Have the probes of {ref} rewritten", REWRITE, "true"),)
    yield (
        f"{probe.field} plaintext",
        CHECK.bad(
            f"the {probe} of {probe.container} in {pod.name} is not rewritten, and its port takes only mTLS: the kubelet is refused",
            "health-probe-failed",
            about=pod,
            proofs=(*proofs, Proof(mode.policy.ref, mode.field, "STRICT")),
            advice=""
            if edits
            else "Switch the rewrite on (sidecarInjectorWebhook.rewriteAppHTTPProbe) and restart the pods",
            edits=edits,
        ),
    )


def _is_here(snapshot: Snapshot, ref: Ref) -> bool:
    return ref.kind in RESTARTABLE and snapshot.get(ref.kind, ref.namespace, ref.name) is not None


def _annotate(ref: Ref, title: str, key: str, value: str) -> Edit:
    patch = {"spec": {"template": {"metadata": {"annotations": {key: value}}}}}
    return Edit(
        ref, title, patch, "The injector reads it when the pods are created anew, which this change brings about."
    )


def _ports(snapshot: Snapshot, pod: Object, sidecar: Mapping[str, Any] | None) -> Iterator[tuple[str, Result]]:
    """Ports of the application on which Istio listens, and metrics that ask the agent itself."""
    taken = SIDECAR_PORTS if sidecar is not None else AMBIENT_PORTS if in_ambient(snapshot, pod) else frozenset()
    for c in containers(pod) if taken else ():
        clash = sorted({p["containerPort"] for p in mappings(c.get("ports")) if p.get("containerPort") in list(taken)})
        if c.get("name") != PROXY and clash:
            number = ", ".join(map(str, clash))
            yield (
                f"clash {c.get('name')}",
                CHECK.bad(
                    f"container {c.get('name')} of {pod.name} has port {number}, on which Istio listens in the same pod",
                    "proxy-port-conflict",
                    about=pod,
                    proofs=(Proof(pod.ref, f"spec.containers[{c.get('name')}].ports[*].containerPort", number),),
                    advice="Give the application another port",
                ),
            )
    for env in mappings(mapping(sidecar).get("env")):
        if env.get("name") == "ISTIO_PROMETHEUS_ANNOTATIONS":
            port = str((_json(str(env.get("value", ""))) or {}).get("port", ""))
            if port == str(AGENT):
                yield (
                    "metrics",
                    CHECK.bad(
                        f"the metrics of {pod.name} are to be merged from port {AGENT}, which is the agent's own: it refuses to start",
                        "metrics-scrape-failed",
                        "proxy-bootstrap-failed",
                        about=pod,
                        proofs=(Proof(pod.ref, "ISTIO_PROMETHEUS_ANNOTATIONS of istio-proxy", f"port {AGENT}"),),
                        advice="The manifest was injected once: give prometheus.io/port the application's own port",
                    ),
                )


def _order(snapshot: Snapshot, pods: list[Object]) -> Iterator[Result]:
    """Whether the application may call before its proxy is ready."""
    pod = next((p for p in pods if proxy(p) is not None and not is_gateway(p)), None)
    if pod is None:
        return
    if has_native_sidecar(pod):
        yield CHECK.good(
            f"the proxy of {pod.name} is a native sidecar: it is there before the application and after it",
            "app-started-before-proxy",
            about=pod,
            proofs=(Proof(pod.ref, "spec.initContainers[istio-proxy].restartPolicy", "Always"),),
        )
        return
    first = at(pod.raw, "spec", "containers", 0, "name") == PROXY
    if first and at(mapping(proxy(pod)), "lifecycle", "postStart"):
        yield CHECK.good(f"the application of {pod.name} is held until its proxy is ready ({HOLD})", about=pod)
        return
    ref = workload_of(snapshot, pod)
    value = _held(pod.annotations.get(CONFIG, ""))
    edits: tuple[Edit, ...] = ()
    if value and _is_here(snapshot, ref):
        edits = (_annotate(ref, f"Hold the application of {ref} until its proxy is ready", CONFIG, value),)
    order = ", ".join(str(c.get("name")) for c in pod.mappings("spec", "containers"))
    yield CHECK.bad(
        f"nothing holds the application of {pod.name} until its proxy is ready",
        "app-started-before-proxy",
        about=pod,
        severity=Severity.INFO,
        proofs=(Proof(pod.ref, "spec.containers[*].name", order),),
        edits=edits,
    )  # fmt: skip


def _held(config: str) -> str:
    """The annotation proxy.istio.io/config with the setting added; "" when what it has cannot be read or already says something else."""
    try:
        value = yaml.safe_load(config) if config.strip() else {}
    except (yaml.YAMLError, ValueError, RecursionError):
        return ""
    if not isinstance(value, dict) or HOLD in value:
        return ""
    text: str = yaml.safe_dump({**value, HOLD: True}, sort_keys=False, allow_unicode=False)
    return text.rstrip("\n")


def _events(snapshot: Snapshot) -> Mapping[tuple[str, str, str], str]:
    """What the kubelet last said of the probes of each container."""
    latest: dict[tuple[str, str, str], tuple[float, str]] = {}
    for e in snapshot.all("Event"):
        if e.text("reason") != "Unhealthy" or e.text("involvedObject", "kind") != "Pod":
            continue
        when = seen(e)
        if when is None or (snapshot.taken and snapshot.taken - when > RECENT):
            continue
        container = e.text("involvedObject", "fieldPath").partition("{")[2].rstrip("}")
        key = e.text("involvedObject", "namespace"), e.text("involvedObject", "name"), container
        one = when.timestamp(), e.text("message")
        latest[key] = max(latest.get(key, one), one)
    return {k: text for k, (_, text) in latest.items()}


CHECK = Check("probes", "Are all probes answered, and do none of them miss the application?", ("Pod",), run)
