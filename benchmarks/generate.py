"""Writes logs for the benchmarks: `python benchmarks/generate.py --lines 1000000 --failing 1 out.log`.

The same options and seed give the same bytes. The lines are those of a mesh of twelve services in Istio's default access
log format (text of Istio 1.9 and later, or `--json`); `--mixed` puts the logs of istiod, pilot-agent and Envoy between
them. What a failing line says is as Envoy 1.40 wrote it; how often each failure occurs is made up (`FAILURES`).
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

SEED = 20261122
CHUNK = 10_000
"""Lines that are written at a time."""

HEALTHY_TEMPLATES = 4_000
FAILING_TEMPLATES = 2_000

START = datetime(2026, 11, 22, 8, 0, 0, tzinfo=UTC)

# --- the mesh -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Service:
    """A service: where it is reached, and what is asked of it. `#` in a path is a number."""

    namespace: str
    name: str
    port: int
    paths: tuple[str, ...]
    protocol: str = "HTTP/1.1"

    @property
    def host(self) -> str:
        """Its name in the cluster."""
        return f"{self.name}.{self.namespace}.svc.cluster.local"


SERVICES: tuple[Service, ...] = (
    Service("bookinfo", "productpage", 9080, ("/productpage?u=normal", "/api/v1/products/#", "/static/jquery.min.js")),
    Service("bookinfo", "reviews", 9080, ("/reviews/#", "/reviews/#?page=#&sort=newest")),
    Service("bookinfo", "ratings", 9080, ("/ratings/#",)),
    Service("bookinfo", "details", 9080, ("/details/#", "/details/#?expand=publisher,isbn")),
    Service("shop", "cart", 8080, ("/api/v2/carts/#", "/api/v2/carts/#/items?limit=20&offset=#")),
    Service("shop", "checkout", 8080, ("/api/v2/checkout", "/api/v2/checkout/#/confirm?lang=en")),
    Service("shop", "catalog", 8080, ("/api/v2/search?q=lamp&page=#", "/api/v2/items/#", "/api/v2/items/#/images/#")),
    Service("payments", "gateway", 8443, ("/v1/charges", "/v1/charges/#/capture", "/v1/customers/#/sources")),
    Service("payments", "ledger", 50051, ("/ledger.v1.Ledger/Append", "/ledger.v1.Ledger/Balance"), "HTTP/2"),
    Service("payments", "fraud", 50051, ("/fraud.v2.Scoring/Score",), "HTTP/2"),
    Service("identity", "accounts", 8000, ("/oauth2/token", "/users/#", "/users/#/sessions?active=true")),
    Service("identity", "profile", 8000, ("/profiles/#", "/profiles/#/avatar?size=128")),
)

_BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
)
_CLIENTS = ("Go-http-client/1.1", "python-requests/2.32.5", "okhttp/5.2.1", "Java-http-client/21.0.9", "curl/8.9.1")
_GRPC = ("grpc-go/1.76.0", "grpc-java-netty/1.76.0", "grpc-python/1.76.0 grpc-c/51.0.0 (linux; chttp2)")

# --- failures -----------------------------------------------------------------------------------------------------

_RESET = "upstream_reset_before_response_started"
_REFUSED = "delayed_connect_error:_Connection_refused"
_EXPIRED = (
    "TLS_error:|268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_X509_verify_cert:"
    "_certificate_verification_error_at_depth_0:_certificate_has_expired:TLS_error_end"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A way to fail. `reached` says how far the request came:

    `answered` the upstream answered; `open` a connection was there; `chosen` a host was, no connection; `none` no host;
    `inbound` the server's own proxy refused it; `unrouted` no cluster either; `tcp` no request at all.
    """

    weight: int
    reached: str
    code: int
    flags: str
    details: str
    reason: str = ""
    size: int = 0


FAILURES: tuple[Failure, ...] = (
    Failure(14, "chosen", 503, "UF", f"{_RESET}{{remote_connection_failure|{_REFUSED}}}", _REFUSED, 98),
    Failure(8, "chosen", 503, "URX,UF", f"{_RESET}{{remote_connection_failure|{_REFUSED}}}", _REFUSED, 121),
    Failure(6, "chosen", 503, "UF", f"{_RESET}{{connection_timeout}}", "", 91),
    Failure(4, "chosen", 503, "UF", f"{_RESET}{{remote_connection_failure|{_EXPIRED}}}", _EXPIRED, 98),
    Failure(10, "none", 503, "UH", "no_healthy_upstream", "", 19),
    Failure(12, "open", 503, "UC", f"{_RESET}{{connection_termination}}", "", 95),
    Failure(10, "open", 504, "UT", "response_timeout", "", 24),
    Failure(2, "open", 504, "URX,UT", "upstream_per_try_timeout", "", 24),
    Failure(4, "none", 503, "UO", f"{_RESET}{{overflow}}", "", 81),
    Failure(4, "unrouted", 404, "NR", "route_not_found"),
    Failure(2, "tcp", 0, "NR", "filter_chain_not_found"),
    Failure(5, "inbound", 403, "", "rbac_access_denied_matched_policy[none]", "", 19),
    Failure(2, "inbound", 403, "", "rbac_access_denied_matched_policy[ns[shop]-policy[deny-admin]-rule[0]]", "", 19),
    Failure(4, "inbound", 401, "", "jwt_authn_access_denied{Jwt_is_expired}", "", 14),
    Failure(2, "inbound", 401, "", "jwt_authn_access_denied{Jwt_issuer_is_not_configured}", "", 28),
    Failure(2, "inbound", 401, "", "jwt_authn_access_denied{Jwt_is_missing}", "", 14),
    Failure(2, "inbound", 429, "RL", "local_rate_limited", "", 18),
    Failure(10, "answered", 503, "", "via_upstream"),
    Failure(8, "answered", 500, "", "via_upstream"),
    Failure(2, "answered", 502, "", "via_upstream"),
    Failure(3, "open", 0, "DC", "downstream_remote_disconnect"),
    Failure(1, "open", 200, "UPE", "upstream_reset_after_response_started{protocol_error}"),
)

# --- lines --------------------------------------------------------------------------------------------------------

_TEXT = (
    '[{start_time}] "{method} {path} {protocol}" {response_code} {response_flags} {response_code_details} '
    '{connection_termination_details} "{upstream_transport_failure_reason}" {bytes_received} {bytes_sent} {duration} '
    '{upstream_service_time} "{x_forwarded_for}" "{user_agent}" "{request_id}" "{authority}" "{upstream_host}" '
    "{upstream_cluster} {upstream_local_address} {downstream_local_address} {downstream_remote_address} "
    "{requested_server_name} {route_name}"
)
_KEYS = tuple(sorted(part.split("}")[0] for part in _TEXT.split("{")[1:]))
_NUMBERS = frozenset({"response_code", "bytes_received", "bytes_sent", "duration"})

# What differs from line to line stays a placeholder for `%`.
_TIME, _ID, _MS, _APP_MS, _SIZE = "%(time)s", "%(id)s", "%(ms)d", "%(app_ms)d", "%(size)d"
_PORT_UP, _PORT_DOWN = "%(up)d", "%(down)d"


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _template(values: dict[str, str], as_json: bool) -> str:
    """A line with its placeholders; what is missing in `values` is written as Envoy writes it."""
    if not as_json:
        return _TEXT.format_map({key: values.get(key, "-") for key in _KEYS})
    members = []
    for key in _KEYS:
        value = values.get(key, "0" if key in _NUMBERS else "")
        shown = value if key in _NUMBERS else json.dumps(value) if value else "null"
        members.append(f'"{key}":{shown}')
    return "{" + ",".join(members) + "}"


class Mesh:
    """Draws lines; everything that is random comes from `rng`."""

    def __init__(self, rng: random.Random, as_json: bool) -> None:
        self.rng = rng
        self.as_json = as_json
        self.pods = {s: [self._pod_address() for _ in range(rng.randrange(2, 6))] for s in SERVICES}
        self.clients = [self._pod_address() for _ in range(24)]
        self.virtual = {s: f"10.96.{rng.randrange(256)}.{rng.randrange(1, 255)}" for s in SERVICES}

    def _pod_address(self) -> str:
        return f"10.244.{self.rng.randrange(12)}.{self.rng.randrange(2, 254)}"

    def _request(self) -> tuple[Service, dict[str, str]]:
        rng = self.rng
        service = rng.choice(SERVICES)
        grpc = service.protocol == "HTTP/2"
        path = "".join(str(rng.randrange(1, 90_000)) if c == "#" else c for c in rng.choice(service.paths))
        agent = rng.choice(_GRPC) if grpc else rng.choice(_BROWSERS if rng.random() < 0.25 else _CLIENTS)
        method = "POST" if grpc else rng.choice(("GET", "GET", "GET", "GET", "POST", "PUT"))
        return service, {
            "start_time": _TIME,
            "method": method,
            "path": _escaped(path),
            "protocol": service.protocol,
            "bytes_received": "0" if method == "GET" else str(rng.randrange(40, 4_000)),
            "bytes_sent": _SIZE,
            "duration": _MS,
            "x_forwarded_for": f"203.0.113.{rng.randrange(1, 255)}" if rng.random() < 0.15 else "-",
            "user_agent": _escaped(agent),
            "request_id": _ID,
            "authority": f"{service.name}:{service.port}" if rng.random() < 0.8 else f"{service.host}:{service.port}",
        }

    def _route(self, service: Service, values: dict[str, str], reached: str) -> dict[str, str]:
        """Adds the addresses, as far as the request came."""
        client = self.rng.choice(self.clients)
        pod = self.rng.choice(self.pods[service])
        inbound = reached == "inbound" or (reached in ("answered", "open") and self.rng.random() < 0.3)
        values["downstream_remote_address"] = f"{client}:{_PORT_DOWN}"
        if reached == "unrouted":
            values["downstream_local_address"] = f"{self.virtual[service]}:{service.port}"
            return values
        values["route_name"] = "default"
        if inbound:
            values["upstream_cluster"] = f"inbound|{service.port}||"
            values["downstream_local_address"] = f"{pod}:{service.port}"
            values["requested_server_name"] = f"outbound_.{service.port}_.__.{service.host}"
        else:
            values["upstream_cluster"] = f"outbound|{service.port}||{service.host}"
            values["downstream_local_address"] = f"{self.virtual[service]}:{service.port}"
        if reached in ("answered", "open", "chosen"):
            values["upstream_host"] = f"{pod}:{service.port}"
        if reached in ("answered", "open"):
            values["upstream_local_address"] = f"{'127.0.0.6' if inbound else client}:{_PORT_UP}"
        return values

    def healthy(self) -> str:
        """A template of a request that succeeded."""
        service, values = self._request()
        values |= {
            "response_code": "200"
            if service.protocol == "HTTP/2"
            else self.rng.choices(("200", "201", "204", "304", "404"), (88, 4, 3, 3, 2))[0],
            "response_code_details": "via_upstream",
            "upstream_service_time": _APP_MS,
        }
        return _template(self._route(service, values, "answered"), self.as_json)

    def failing(self) -> str:
        """A template of a request that failed."""
        failure = self.rng.choices(FAILURES, [f.weight for f in FAILURES])[0]
        service, values = self._request()
        if failure.reached == "tcp":
            values = {
                "start_time": _TIME,
                "bytes_received": "0",
                "duration": "0",
                "downstream_local_address": f"{self.rng.choice(self.pods[service])}:{service.port}",
                "downstream_remote_address": f"{self.rng.choice(self.clients)}:{_PORT_DOWN}",
            }
        else:
            values = self._route(service, values, failure.reached)
        if failure.flags:
            values["response_flags"] = failure.flags
        if failure.reason:
            values["upstream_transport_failure_reason"] = failure.reason
        if failure.reached == "answered":
            values["upstream_service_time"] = _APP_MS
        else:
            values["bytes_sent"] = str(failure.size)
        values |= {"response_code": str(failure.code), "response_code_details": failure.details}
        return _template(values, self.as_json)


# --- other logs ---------------------------------------------------------------------------------------------------

# Istio writes tabs; `%(time)s` ends in milliseconds there as it does in an access log: no reader minds.
_OTHERS_HEALTHY = (
    "%(time)s\tinfo\tads\tPush debounce stable[%(up)d] 1 for config EndpointSlice/shop/cart-x7k2p: 100.2ms since last change",
    "%(time)s\tinfo\tads\tXDS: Pushing Services:48 ConnectedEndpoints:%(ms)d Version:2026-11-22T08:00:02Z/%(up)d",
    "%(time)s\tinfo\tdelta\tCDS: PUSH request for node:cart-v1-6bcc8d7f5b-q8x7k.shop resources:36 removed:0 size:39.6kB "
    "cached:31/32",
    "%(time)s\tinfo\tdelta\tEDS: PUSH INC request for node:reviews-v2-5b667bcbf8-hd7zq.bookinfo resources:1 size:%(ms)dB "
    "empty:0 cached:1/1",
    "%(time)s\tinfo\tcache\tgenerated new workload certificate\tresourceName=default latency=%(ms)dms ttl=23h59m59.9s",
    "%(time)s\tinfo\tenvoy upstream external/envoy/source/common/upstream/cluster_manager_impl.cc:226\tcm init: all clusters "
    "initialized\tthread=%(ms)d",
    '%(time)s\tinfo\tmodel\treloading network gateways\n{\n    "networks": {},\n    "revision": "%(up)d"\n}',
)
_OTHERS_FAILING = (
    "%(time)s\twarn\tca\tca request failed, starting attempt 1 in %(ms)dms",
    "%(time)s\terror\tcitadelclient\tfailed to sign CSR: rpc error: code = Unavailable desc = connection error: desc = "
    '"transport: Error while dialing: dial tcp 10.96.0.11:15012: connect: connection refused"',
    "%(time)s\twarning\tenvoy config external/envoy/source/extensions/config_subscription/grpc/grpc_stream.h:155\t"
    "DeltaAggregatedResources gRPC config stream to xds-grpc closed: 14, connection error: desc = "
    '"transport: Error while dialing: dial tcp 10.96.0.11:15012: i/o timeout"\tthread=%(ms)d',
    "%(time)s\twarn\tEnvoy proxy is NOT ready: config received from XDS server, but was rejected: cds updates: 1 successful, "
    "%(ms)d rejected; lds updates: 1 successful, 0 rejected",
    "%(time)s\twarn\tads\tADS:LDS: ACK ERROR cart-v1-6bcc8d7f5b-q8x7k.shop-%(ms)d Internal:Error adding/updating listener(s) "
    "0.0.0.0_8080: Proto constraint validation failed",
    "%(time)s\terror\tgateway\tserver %(up)d: gateway shop/shop-gateway refers to a port that no service exposes",
)


# --- the file -----------------------------------------------------------------------------------------------------


def lines(count: int, failing: float, *, seed: int = SEED, as_json: bool = False, mixed: bool = False) -> Iterator[str]:
    """Chunks of text that together hold `count` records, of which `failing` (0 to 1) fail on average.

    With `mixed` a third are of other logs, of which some have several lines.
    """
    rng = random.Random(seed)
    mesh = Mesh(rng, as_json)
    healthy = [mesh.healthy() for _ in range(HEALTHY_TEMPLATES)]
    failed = [mesh.failing() for _ in range(FAILING_TEMPLATES)]
    kinds: list[tuple[float, Sequence[str], Sequence[str]]] = [(1.0, healthy, failed)]
    if mixed:
        kinds = [(2 / 3, healthy, failed), (1.0, _OTHERS_HEALTHY, _OTHERS_FAILING)]
    tails = [f"-{rng.getrandbits(16):04x}-4{rng.getrandbits(12):03x}-9{rng.getrandbits(12):03x}" for _ in range(4_096)]
    clock = _clock(rng)
    for done in range(0, count, CHUNK):
        yield _chunk(min(CHUNK, count - done), failing, rng, kinds, tails, clock)


def _clock(rng: random.Random) -> Callable[[], str]:
    """Times that grow by some milliseconds, with jitter as of several writers."""
    second, ms, stamp = 0, 0, ""

    def tick() -> str:
        nonlocal second, ms, stamp
        ms += int(rng.random() * 8)
        if ms >= 1000 or not stamp:
            second, ms = second + ms // 1000, ms % 1000
            stamp = (START + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{stamp}{ms:03d}Z"

    return tick


def _chunk(
    count: int,
    failing: float,
    rng: random.Random,
    kinds: Sequence[tuple[float, Sequence[str], Sequence[str]]],
    tails: Sequence[str],
    tick: Callable[[], str],
) -> str:
    out = []
    chance, bits, several = rng.random, rng.getrandbits, len(kinds) > 1
    _, healthy, failed = kinds[0]
    for _ in range(count):
        if several:
            where = chance()
            _, healthy, failed = next(kind for kind in kinds if where < kind[0])
        some = failed if chance() < failing else healthy
        ms = int(-60 * chance() * chance() + 61) + (bits(12) if chance() < 0.02 else 0)
        varying = {
            "time": tick(),
            "id": f"{bits(32):08x}{tails[bits(12)]}-{bits(48):012x}",
            "ms": ms,
            "app_ms": max(ms - 1, 0),
            "size": 60 + int(chance() * 2_000),
            "up": 32_768 + int(chance() * 28_000),
            "down": 32_768 + int(chance() * 28_000),
        }
        out.append(some[int(chance() * len(some))] % varying)
    out.append("")
    return "\n".join(out)


def write(
    path: Path, count: int, failing: float, *, seed: int = SEED, as_json: bool = False, mixed: bool = False
) -> int:
    """Writes a log; returns its bytes. A file that is there already stays: its name must say how it was made."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".part")
        with temporary.open("w", encoding="ascii", newline="") as f:
            f.writelines(lines(count, failing, seed=seed, as_json=as_json, mixed=mixed))
        temporary.replace(path)
    return path.stat().st_size


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("output", type=Path, help="file to write")
    parser.add_argument(
        "--lines", type=int, default=1_000_000, metavar="N", help="records (default 1,000,000: about 333 MB)"
    )
    parser.add_argument("--failing", type=float, default=1.0, metavar="PERCENT", help="of them that fail (default 1)")
    parser.add_argument("--json", action="store_true", help="access log lines as JSON")
    parser.add_argument(
        "--mixed", action="store_true", help="with the logs of istiod, pilot-agent and Envoy between them"
    )
    parser.add_argument("--seed", type=int, default=SEED, help=f"another seed gives other lines (default {SEED})")
    options = parser.parse_args()
    options.output.unlink(missing_ok=True)
    begin = time.perf_counter()
    size = write(
        options.output,
        options.lines,
        options.failing / 100,
        seed=options.seed,
        as_json=options.json,
        mixed=options.mixed,
    )
    print(f"{options.output}: {options.lines:,} records, {size / 1e6:.1f} MB, {time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    main()
