"""Small meshes that tests write: pods and the lines that their proxies, istiod and ztunnel log, in the shapes of Istio 1.9 to 1.31.

Times are seconds after 10:00. A pod is `namespace/name` or `namespace/name:container`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import meshdiag
from meshdiag import Diagnosis, Finding
from meshdiag.catalogue import Catalogue
from meshdiag.formats import detect
from tests.diagnosis.captures import BEGIN, stamp

Mesh = Mapping[str, Iterable[str]]

GATEWAY = "istio-system/istio-ingressgateway-77f5b6c9d8-m6x2v"
WEB, WEB_2 = "shop/web-6f7c9d8b5d-x4mzq", "shop/web-6f7c9d8b5d-q7t2c"
CART, CART_2 = "shop/cart-7d6c5f9b84-z6r4p", "shop/cart-7d6c5f9b84-k2x8w"
PRICING = "shop/pricing-59d7c6b8f4-j2wqk"
ORDERS = "shop/orders-5f67c8b9d4-k9v2t"
STOCK = "shop/stock-84d5b7c6f9-n5xvd"
ISTIOD = "istio-system/istiod-6f8b9d7c54-w4k2m:discovery"
ISTIOD_2 = "istio-system/istiod-6f8b9d7c54-t8vhn:discovery"
ZTUNNEL, ZTUNNEL_2 = "istio-system/ztunnel-4xk7d", "istio-system/ztunnel-9vq2m"

REFUSED = (
    "503",
    "UF",
    "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
    "delayed_connect_error:_Connection_refused",
)
TIMED_OUT = ("503", "UF,URX", "upstream_reset_before_response_started{connection_timeout}", "-")
RELAYED = ("503", "-", "via_upstream", "-")
CLOSED = ("503", "UC", "upstream_reset_before_response_started{connection_termination}", "-")
NO_HOST = ("503", "UH", "no_healthy_upstream", "-")
NO_ROUTE = ("404", "NR", "route_not_found", "-")
SLOW = ("504", "UT", "response_timeout", "-")
LEFT = ("0", "DC", "downstream_remote_disconnect", "-")
WELL = ("200", "-", "via_upstream", "-")
APP_500 = ("500", "-", "via_upstream", "-")
KID = ("401", "-", "jwt_authn_access_denied{Jwks_doesn't_have_key_to_match_kid_or_alg_from_Jwt}", "-")
DENIED = ("403", "-", "rbac_access_denied_matched_policy[none]", "-")
DENIED_BY = ("403", "-", "rbac_access_denied_matched_policy[ns[shop]-policy[deny-guests]-rule[0]]", "-")

Outcome = tuple[str, str, str, str]


def uid(n: int, kind: int = 0) -> str:
    """An x-request-id as Envoy makes it, the same for the same number."""
    return f"{n * 2654435761 % (1 << 32):08x}-{kind:04x}-4{n % 4096:03x}-9f00-{n:012x}"


def call(
    t: float, to: str, outcome: Outcome = WELL, id: str = "-", *, port: int = 9080, path: str = "/v1", host: str = "",
    agent: str = "Go-http-client/1.1", lasted: int = 5,
) -> str:  # fmt: skip
    """What the caller's proxy says of a call to service `to` (`name.namespace`, `name` of shop, or a whole host)."""
    fqdn = to if to.count(".") > 1 else f"{to}.svc.cluster.local" if "." in to else f"{to}.shop.svc.cluster.local"
    code, flags, details, reason = outcome
    up = "-" if outcome == NO_HOST else f"10.244.2.13:{port}"
    local = "10.244.1.7:48822" if "UF" not in flags and up != "-" else "-"
    return (
        f'[{stamp(t)}] "GET {path} HTTP/1.1" {code} {flags} {details} - "{reason}" 0 91 {lasted} - "-" "{agent}" "{id}" '
        f'"{host or fqdn}:{port}" "{up}" outbound|{port}||{fqdn} {local} 10.96.20.9:{port} 10.244.1.7:44120 - default'
    )


def serve(
    t: float, outcome: Outcome = WELL, id: str = "-", *, port: int = 9080, by: str = "", path: str = "/v1"
) -> str:
    """What a server's sidecar says of a request to its own application."""
    code, flags, details, reason = outcome
    local = "-" if "UF" in flags or code in ("401", "403") else "127.0.0.6:51822"
    up = "-" if code in ("401", "403") else f"10.244.2.13:{port}"
    sni = f"outbound_.{port}_._.{by}.shop.svc.cluster.local" if by else "-"
    return (
        f'[{stamp(t)}] "GET {path} HTTP/1.1" {code} {flags} {details} - "{reason}" 0 91 4 - "-" "Go-http-client/1.1" "{id}" '
        f'"{by or "app"}:{port}" "{up}" inbound|{port}|| {local} 10.244.2.13:{port} 10.244.1.7:48822 {sni} default'
    )


def no_route(t: float, host: str, id: str = "-", path: str = "/") -> str:
    """A gateway has no route for a host."""
    return (
        f'[{stamp(t)}] "GET {path} HTTP/1.1" 404 NR route_not_found - "-" 0 0 0 - "203.0.113.77" "curl/8.5.0" "{id}" '
        f'"{host}" "-" - - 10.244.2.6:8080 203.0.113.77:41719 - -'
    )


def no_chain(t: float, sni: str) -> str:
    """A gateway has no filter chain for a name of TLS: the client sees a reset."""
    return (
        f'[{stamp(t)}] "- - -" 0 NR filter_chain_not_found - "-" 0 0 0 - "-" "-" "-" "-" "-" - - '
        f"10.244.2.6:8443 203.0.113.77:41719 {sni} -"
    )


def log_time(t: float) -> str:
    """The time of an Istio or Envoy log line."""
    return (BEGIN + timedelta(seconds=t)).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


def log(t: float, level: str, rest: str) -> str:
    """A line of Istio's or Envoy's log; `rest` has its scope and message."""
    return f"{log_time(t)}\t{level}\t{rest}"


_GRPC = "external/envoy/source/extensions/config_subscription/grpc/grpc_stream.h:189"


def stream_closed(t: float, status: str = "13, ", kind: str = "DeltaAggregatedResources") -> str:
    """Envoy lost its configuration stream."""
    return log(t, "warning", f"envoy config {_GRPC}\t{kind} gRPC config stream to xds-grpc closed: {status}\tthread=20")


def connected(t: float, n: int = 8) -> str:
    """The agent has reached istiod."""
    return log(t, "info", f"xdsproxy\tconnected to delta upstream XDS server: istiod.istio-system.svc:15012\tid={n}")


def not_ready(t: float) -> str:
    """The agent's answer to a readiness probe without configuration."""
    return log(
        t,
        "warn",
        "Envoy proxy is NOT ready: config not received from XDS server (is Istiod running?): "
        "cds updates: 0 successful, 0 rejected; lds updates: 0 successful, 0 rejected",
    )


def ready(t: float) -> str:
    """The proxy is ready."""
    return log(t, "info", "Envoy proxy is ready")


def jwks_failed(t: float, uri: str = "https://login.example.com/oauth2/keys") -> str:
    """istiod could not refresh the keys of an issuer."""
    return log(
        t,
        "error",
        f'model\tFailed to refresh JWT public key from "{uri}": Get "{uri}": dial tcp 198.51.100.20:443: i/o timeout',
    )


def push(t: float, what: str, n: int = 1) -> str:
    """istiod begins a push."""
    return log(
        t, "info", f"ads\tPush debounce stable[{n}] 1 for config {what}: 100.2ms since last change, 7m1.4s since last push, full=true"
    )  # fmt: skip


def ztunnel(t: float, direction: str, client: str, service: str, error: str = "") -> str:
    """ztunnel's line of a connection of a client (workload) to a service, both of namespace finance."""
    end = (
        f'bytes_sent=94 bytes_recv=0 duration="3ms" error="{error}"'
        if error
        else 'bytes_sent=1549 bytes_recv=1588 duration="51ms"'
    )
    to = "dst.addr=10.244.1.45:5432" if error else "dst.addr=10.244.1.45:15008 dst.hbone_addr=10.244.1.45:5432"
    return log(
        t,
        "error" if error else "info",
        f'access\tconnection complete\tsrc.addr=10.244.2.42:50425 src.workload="{client}-7c49d8fb65-gq4wn" src.namespace="finance" '
        f'src.identity="spiffe://cluster.local/ns/finance/sa/{client}" src.cluster="Kubernetes" {to} '
        f'dst.service="{service}.finance.svc.cluster.local" dst.workload="{service}-0" dst.namespace="finance" '
        f'dst.cluster="Kubernetes" direction="{direction}" {end}',
    )


def scaled(t: float, workload: str, replicas: str = "from 1 to 0", namespace: str = "shop") -> str:
    """The event of a rollout, as `kubectl get events -o json` has it, on one line."""
    time = (BEGIN + timedelta(seconds=t)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps(
        {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"name": f"{workload}.18a1", "namespace": namespace},
            "involvedObject": {"kind": "Deployment", "name": workload, "namespace": namespace},
            "type": "Normal",
            "reason": "ScalingReplicaSet",
            "message": f"Scaled down replica set {workload}-7d6c5f9b84 {replicas}",
            "source": {"component": "deployment-controller"},
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        }
    )


def as_json(line: str) -> str:
    """An access line as Istio's JSON encoding writes it."""
    record = detect(line)
    assert record is not None and record.format == "access-log", line
    names = [
        "authority",
        "bytes_received",
        "bytes_sent",
        "connection_termination_details",
        "downstream_local_address",
        "downstream_remote_address",
        "duration",
        "method",
        "path",
        "protocol",
        "request_id",
        "requested_server_name",
        "response_code",
        "response_code_details",
        "response_flags",
        "route_name",
        "start_time",
        "upstream_cluster",
        "upstream_host",
        "upstream_local_address",
        "upstream_service_time",
        "upstream_transport_failure_reason",
        "user_agent",
        "x_forwarded_for",
    ]
    out: dict[str, Any] = {n: record.fields.get(n) for n in names}
    for n in ("response_code", "duration", "bytes_sent", "bytes_received"):
        out[n] = int(out[n]) if out[n] is not None else None
    out["response_flags"] = out["response_flags"] or "-"
    return json.dumps(out)


def docker(line: str) -> str:
    """A line as docker's json-file driver keeps it."""
    return json.dumps({"log": f"{line}\n", "stream": "stdout", "time": "2026-11-22T10:00:00.000000000Z"})


def vip(line: str) -> str:
    """The access line of a waypoint: it names its clusters otherwise than a sidecar (Istio 1.18 and later)."""
    return re.sub(r" outbound\|(\d+)\|\|(\S+) ", r" inbound-vip|\1|http|\2 ", line)


def time_of(line: str) -> str:
    """The time of a line, to sort by."""
    found = re.search(r"2026-11-22T[\d:.]+", line)
    return found[0] if found else ""


# -- diagnosing them


def lines(mesh: Mesh) -> list[str]:
    """As `kubectl logs --prefix` writes them, pod after pod."""
    out = []
    for pod, some in mesh.items():
        name, _, container = pod.rpartition("/")[2].partition(":")
        out += [f"[pod/{name}/{container or 'istio-proxy'}] {line}" for record in some for line in record.split("\n")]
    return out


def write(folder: Path, mesh: Mesh) -> Path:
    """A folder with one file a pod; a pod with a dot in its name is a file's own name."""
    folder.mkdir(parents=True, exist_ok=True)
    for pod, some in mesh.items():
        namespace, _, rest = pod.partition("/")
        name, _, container = rest.partition(":")
        file = pod if not rest else f"{namespace}_{name}_{container or 'istio-proxy'}.log"
        (folder / file).write_text("".join(f"{line}\n" for line in some), encoding="utf-8")
    return folder


def diagnose(mesh: Mesh, catalogue: Catalogue, **options: Any) -> Diagnosis:
    """The diagnosis of a mesh as kubectl shows it."""
    return meshdiag.diagnose(lines(mesh), catalogue=catalogue, **options)


def name(f: Finding) -> str:
    """`cause=subject`."""
    return f"{f.cause}={f.subject}"


def roots(d: Diagnosis) -> list[str]:
    """What the diagnosis says is wrong, in order, without what is over."""
    return [name(f) for f in d.root_causes if f.state == "ongoing"]


def show(d: Diagnosis) -> str:
    """The failures and what explains them: for the message of a failing test."""
    by_rank = {f.rank: f for f in d.findings}
    return "\n".join(
        f"{f.rank} {f.kind} {name(f)} {f.confidence} {f.state} n={f.count} req={f.requests} "
        f"<- {[name(by_rank[r]) for r in f.explained_by]} "
        f"{[c.text for c in f.changes]} {[e.text for e in f.evidence]}"
        for f in d.findings
    )
