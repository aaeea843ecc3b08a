"""The failures that are provoked: how each is configured, what its client does, and the cause that it has."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peers
from harness import (
    ENCODINGS,
    Config,
    Envoy,
    access_logs,
    address,
    bootstrap,
    cluster,
    connection_manager,
    extension,
    http_filter,
    listener,
    poll,
    tcp_proxy,
    typed,
)
from peers import Authority, Client, Server, Target, Tokens, after, get, gives_up, grpc, quiet, raw, tls_hello

SPIFFE = "spiffe://cluster.local/ns/default/sa/reviews"

# --- the surroundings --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Surroundings:
    """Upstream ports by name, the mesh's own authority, and its tokens."""

    ports: Mapping[str, int]
    mesh: Authority
    tokens: Tokens
    logs: Path


class Upstreams(dict[str, int]):
    """Ports by name. `listener:NAME` is a way to that listener of the Envoy itself, made when it is first asked for."""

    def __init__(self, ports: Mapping[str, int], way_to: Callable[[str], int]) -> None:
        super().__init__(ports)
        self._way_to = way_to

    def __missing__(self, name: str) -> int:
        kind, _, listener_name = name.partition(":")
        if kind != "listener":
            raise KeyError(name)
        self[name] = self._way_to(listener_name)
        return self[name]


@contextlib.contextmanager
def surroundings(folder: Path, listeners: Callable[[], Mapping[str, int]]) -> Iterator[Surroundings]:
    """Starts the upstream servers. `listeners` gives the ports of Envoy's listeners once they are known."""
    mesh, foreign = Authority(), Authority("other.example.com")
    good = mesh.issue(SPIFFE)
    with contextlib.ExitStack() as stack:

        def serve(handler: peers.Handler) -> int:
            server = Server(handler)
            stack.callback(server.close)
            return server.port

        def hold(*sockets: socket.socket) -> int:
            for held in sockets:
                stack.enter_context(held)
            return int(sockets[0].getsockname()[1])

        def tls(identity: peers.Identity, client_root: str = "") -> int:
            return serve(peers.over_tls(peers.server_context(identity, folder, client_root), peers.app))

        ports = {
            "app": serve(peers.app),
            "answers-once": serve(peers.answers_once),
            "breaks-off": serve(peers.breaks_off),
            "swallows": serve(peers.swallows),
            "closes": serve(peers.closes),
            "resets": serve(peers.resets),
            "ssh": serve(peers.ssh),
            "bad-request": serve(peers.bad_request),
            "echo": serve(peers.echo),
            "h2-resets": serve(peers.h2_answers(peers.RESET)),
            "h2-unauthenticated": serve(peers.h2_answers(peers.UNAUTHENTICATED)),
            "refuses": hold(peers.refusing()),
            "silent": hold(*peers.unanswering()),
            "tls": tls(good),
            "tls-foreign": tls(foreign.issue(SPIFFE)),
            "tls-expired": tls(mesh.issue(SPIFFE, expired=True)),
            "tls-other-name": tls(mesh.issue("spiffe://cluster.local/ns/default/sa/ratings")),
            "tls-mutual": tls(good, mesh.root),
        }
        upstreams = Upstreams(ports, lambda name: serve(peers.relay(lambda: listeners()[name])))
        yield Surroundings(upstreams, mesh, Tokens(), folder / "logs")


# --- what a scenario is ------------------------------------------------------------------------------------------

Build = Callable[[Surroundings], tuple[Config, list[Config]]]
Piece = Config | Callable[[Surroundings], Config]


@dataclass(frozen=True)
class Scenario:
    """A failure to provoke.

    cause    what meshdiag must give first; "" when nothing is wrong
    build    its listener and clusters
    provoke  its client
    lines    how many lines the access log gets
    older    the cause with older Envoys, which say less: {37: cause before Envoy 1.37}
    """

    name: str
    cause: str
    build: Build
    provoke: Client
    lines: int = 1
    older: Mapping[int, str] = field(default_factory=dict)

    @property
    def authority(self) -> str:
        """Its host, as clients call it."""
        return authority_of(self.name)

    def expected(self, minor: int) -> str:
        """The cause with Envoy 1.MINOR."""
        return next((cause for below, cause in sorted(self.older.items()) if minor < below), self.cause)


def host_of(name: str) -> str:
    return f"{name}.default.svc.cluster.local"


def authority_of(name: str) -> str:
    return f"{host_of(name)}:9080"


def outbound(name: str, port: int = 9080) -> str:
    """Istio's name of the cluster of a service."""
    return f"outbound|{port}||{host_of(name)}"


def made(piece: Piece, around: Surroundings) -> Config:
    """The configuration itself, also where it needs a port, a certificate or a key."""
    return piece(around) if callable(piece) else piece


def http(
    name: str,
    cause: str,
    send: Client | None = None,
    *,
    to: str | None = "app",
    to_cluster: str = "",
    route: Config | None = None,
    action: Config | None = None,
    vhost: str = "",
    cluster_options: Config | None = None,
    transport: Piece | None = None,
    filters: Sequence[Piece] = (),
    helper: str = "",
    more_clusters: Sequence[Config] = (),
    h2: bool = False,
    lines: int = 1,
    older: Mapping[int, str] | None = None,
) -> Scenario:
    """An HTTP listener with one virtual host and one route to one cluster.

    to         the upstream by name; None for a cluster without endpoints, "-" for no cluster
    to_cluster the cluster's name, when it is not that of a service
    route      more for the route's action; `action` replaces the action: its keys go into the route
    vhost      the virtual host's domain, when it is not the scenario's
    helper     an upstream for a second cluster `helper-NAME`, for filters that call out
    more_clusters clusters as they are
    h2         speak HTTP/2 to the upstream
    """

    def build(around: Surroundings) -> tuple[Config, list[Config]]:
        target = to_cluster or outbound(name)
        clusters = [*more_clusters]
        if to != "-":
            options = dict(cluster_options or {})
            if transport:
                options["transport_socket"] = made(transport, around)
            if h2:
                options["typed_extension_protocol_options"] = HTTP2
            clusters.append(cluster(target, *([around.ports[to]] if to else []), **options))
        if helper:
            clusters.append(cluster(f"helper-{name}", around.ports[helper]))
        routes = {
            "name": "default",
            "match": {"prefix": "/"},
            **(action or {"route": {"cluster": target, **(route or {})}}),
        }
        manager = connection_manager(
            access_logs(around.logs, name),
            {
                "virtual_hosts": [
                    {"name": authority_of(name), "domains": [vhost or authority_of(name)], "routes": [routes]}
                ]
            },
            [made(f, around) for f in filters],
        )
        return listener(name, {"filters": [manager]}, access_logs(around.logs, name)), clusters

    return Scenario(name, cause, build, send or get(), lines, older or {})


def tcp(
    name: str,
    cause: str,
    *,
    to: str | None = "echo",
    to_cluster: str = "",
    transport: Piece | None = None,
    filters: Sequence[Config] = (),
    older: Mapping[int, str] | None = None,
) -> Scenario:
    """A TCP proxy; parameters as for `http`."""

    def build(around: Surroundings) -> tuple[Config, list[Config]]:
        target = to_cluster or outbound(name, 3306)
        clusters = []
        if to != "-":
            options = {"transport_socket": made(transport, around)} if transport else {}
            clusters.append(cluster(target, *([around.ports[to]] if to else []), **options))
        proxy = tcp_proxy(access_logs(around.logs, name), target)
        return listener(name, {"filters": [*filters, proxy]}, access_logs(around.logs, name)), clusters

    return Scenario(name, cause, build, raw(b"hello"), 1, older or {})


def strict(name: str, cause: str, send: Client, *, speaks_http: bool = False, lines: int = 1, **match: Any) -> Scenario:
    """A listener that has only a chain for mutual TLS, as Istio's inbound listener with PeerAuthentication STRICT."""

    def build(around: Surroundings) -> tuple[Config, list[Config]]:
        logs = access_logs(around.logs, name)
        chain = {
            "filter_chain_match": {"transport_protocol": "tls", **match},
            "filters": [connection_manager(logs, {}) if speaks_http else tcp_proxy(logs, "inbound|9080||")],
            "transport_socket": downstream_tls(around, around.mesh.issue(SPIFFE)),
        }
        inspector = extension(
            "envoy.filters.listener.tls_inspector", "extensions.filters.listener.tls_inspector.v3.TlsInspector"
        )
        return listener(name, chain, access_logs(around.logs, name), listener_filters=[inspector]), []

    return Scenario(name, cause, build, send, lines)


# --- pieces ------------------------------------------------------------------------------------------------------

RETRIES = {
    "retry_policy": {
        "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        "num_retries": 2,
        "retry_host_predicate": [
            extension(
                "envoy.retry_host_predicates.previous_hosts",
                "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            )
        ],
        "host_selection_retry_max_attempts": "5",
    }
}
"""Istio's default for outbound routes."""

HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
        "extensions.upstreams.http.v3.HttpProtocolOptions", explicit_http_config={"http2_protocol_options": {}}
    )
}
DNS_CACHE = {
    "name": "cache",
    "dns_lookup_family": "V4_ONLY",
    # port 1 of this machine: nothing leaves it, and it refuses at once
    "typed_dns_resolver_config": extension(
        "envoy.network.dns_resolver.cares",
        "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        resolvers=[address(1)],
        dns_resolver_options={"no_default_search_domain": True},
    ),
}
FORWARD_PROXY = {
    "name": "AllowAnyDynamicDNSCluster",
    "lb_policy": "CLUSTER_PROVIDED",
    "cluster_type": extension(
        "envoy.clusters.dynamic_forward_proxy",
        "extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
        dns_cache_config=DNS_CACHE,
    ),
}
EVERYONE = {"permissions": [{"any": True}], "principals": [{"any": True}]}
NO_TIMEOUT = {"timeout": "0s"}
SOON = {"connect_timeout": "0.2s"}
EJECTS = {
    "outlier_detection": {"consecutive_5xx": 2, "max_ejection_percent": 100, "base_ejection_time": "60s"},
    "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
}
"""Outlier detection of a DestinationRule; Istio's default has no panic threshold."""
BUCKET = {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "3600s"}
ALWAYS = {"numerator": 100, "denominator": "HUNDRED"}


def lua(code: str) -> Config:
    """The Lua filter of an EnvoyFilter."""
    return http_filter("lua", "Lua", default_source_code={"inline_string": code})


def upstream_tls(around: Surroundings) -> Config:
    """TLS to the upstream as ISTIO_MUTUAL has it, but without a client certificate."""
    return extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        sni="outbound_.9080_._.reviews.default.svc.cluster.local",
        common_tls_context={
            "validation_context": {
                "trusted_ca": {"inline_string": around.mesh.root},
                "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": SPIFFE}}],
            }
        },
    )


def downstream_tls(around: Surroundings, identity: peers.Identity) -> Config:
    """TLS from the client, mutual."""
    own = {
        "certificate_chain": {"inline_string": identity.certificate},
        "private_key": {"inline_string": identity.key},
    }
    return extension(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context={
            "tls_certificates": [own],
            "validation_context": {"trusted_ca": {"inline_string": around.mesh.root}},
        },
        require_client_certificate=True,
    )


def upstream_tls_13(around: Surroundings) -> Config:
    """As between sidecars since Istio 1.14."""
    socket_ = upstream_tls(around)
    socket_["typed_config"]["common_tls_context"]["tls_params"] = {"tls_maximum_protocol_version": "TLSv1_3"}
    return socket_


def inline(keys: str) -> Config:
    """A JWKS that stands in the configuration."""
    return {"local_jwks": {"inline_string": keys}}


def jwt(keys: Config | None = None, optional: bool = False) -> Callable[[Surroundings], Config]:
    """Requires a token of our issuer; `keys` replaces the inline JWKS, `optional` lets requests without one through, as
    a RequestAuthentication does."""
    one = {"provider_name": "origins-0"}
    requires = {"requires_any": {"requirements": [one, {"allow_missing": {}}]}} if optional else one

    def build(around: Surroundings) -> Config:
        return http_filter(
            "jwt_authn",
            "JwtAuthentication",
            providers={
                "origins-0": {
                    "issuer": peers.ISSUER,
                    "audiences": [peers.AUDIENCE],
                    "payload_in_metadata": "payload",
                    **(keys or inline(around.tokens.jwks)),
                }
            },
            rules=[{"match": {"prefix": "/"}, "requires": requires}],
        )

    return build


def bearer(**claims: Any) -> Client:
    """A GET with such a token (see `Tokens.make`)."""
    return get(headers=lambda tokens: {"Authorization": f"Bearer {tokens.make(**claims)}"})


def rbac(action: str, policy: str, config: Config) -> Config:
    """The rules of an AuthorizationPolicy: one policy."""
    return {"rules": {"action": action, "policies": {policy: config}}}


DENIES = http_filter("rbac", "RBAC", **rbac("DENY", "ns[default]-policy[deny-all]-rule[0]", EVERYONE))
WITH_TOKEN = http_filter(
    "rbac",
    "RBAC",
    **rbac(
        "ALLOW",
        "ns[default]-policy[with-token]-rule[0]",
        {
            "permissions": [{"any": True}],
            "principals": [
                {
                    "metadata": {
                        "filter": "envoy.filters.http.jwt_authn",
                        "path": [{"key": "payload"}, {"key": "iss"}],
                        "value": {"string_match": {"exact": peers.ISSUER}},
                    }
                }
            ],
        },
    ),
)
"""An ALLOW policy that asks for a token of our issuer."""


def ext_authz(name: str) -> Config:
    """Asks an HTTP authorizer on the helper cluster and denies when it cannot."""
    return http_filter(
        "ext_authz",
        "ExtAuthz",
        http_service={"server_uri": {"uri": "http://authz", "cluster": f"helper-{name}", "timeout": "1s"}},
        failure_mode_allow=False,
        transport_api_version="V3",
    )


def remote_jwks(name: str) -> Config:
    """Keys that are fetched from the helper cluster."""
    uri = {"uri": "http://keys.example.com/jwks", "cluster": f"helper-{name}", "timeout": "1s"}
    return {"remote_jwks": {"http_uri": uri}}


# --- the table ---------------------------------------------------------------------------------------------------

SCENARIOS: Sequence[Scenario] = (
    # nothing is wrong
    http("healthy", ""),
    http("healthy-retries", "", route=RETRIES),
    http("healthy-forged-agent", "", get("/?flags=UF", {"User-Agent": '" 503 UF no_healthy_upstream - "-" 0 0 0'})),
    http("healthy-tls", "", to="tls", transport=upstream_tls),
    http("healthy-token", "", bearer(), filters=[jwt()]),
    tcp("healthy-tcp", ""),
    # upstreams
    http("app-404", "", get("/status/404")),
    http("app-403", "", get("/status/403")),
    http("app-503", "app-error", get("/status/503")),
    http(
        "app-503-retried",
        "app-error",
        get("/status/503"),
        route={"retry_policy": {"retry_on": "5xx", "num_retries": 1}},
    ),
    http("refused", "upstream-connection-refused", to="refuses"),
    http("refused-retried", "upstream-connection-refused", to="refuses", route=RETRIES),
    http("connect-timeout", "upstream-connect-timeout", to="silent", cluster_options=SOON),
    http("tls-to-silent", "upstream-connect-timeout", to="swallows", cluster_options=SOON, transport=upstream_tls),
    http("idle-race", "upstream-connection-closed", get(times=2), to="answers-once", lines=2),
    http(
        "breaks-off",
        "upstream-connection-closed",
        raw(b"GET / HTTP/1.1\r\nhost: reviews\r\n\r\n"),
        to="breaks-off",
        vhost="*",
    ),
    http("upstream-closes", "upstream-connection-closed", to="closes"),
    http("upstream-resets", "upstream-connection-closed", to="resets"),
    http("h2-reset", "upstream-reset-by-remote", to="h2-resets", h2=True),
    http("timeout", "upstream-timeout", get("/wait"), route={"timeout": "0.2s"}),
    http(
        "per-try-timeout",
        "upstream-timeout",
        get("/wait"),
        route={"retry_policy": {"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "0.1s"}},
    ),
    http("idle-timeout", "stream-idle-timeout", get("/wait"), route={"timeout": "0s", "idle_timeout": "0.2s"}),
    http(
        "max-duration",
        "stream-idle-timeout",
        get("/wait"),
        route={"max_stream_duration": {"max_stream_duration": "0.2s"}},
    ),
    http("refused-grpc", "upstream-connection-refused", grpc(), to="refuses", route=RETRIES),
    http("no-endpoints", "no-healthy-upstream", to=None),
    http("no-endpoints-grpc", "no-healthy-upstream", grpc(), to=None),
    http(
        "ejected",
        "no-healthy-upstream",
        after(0.3, get("/status/503", times=2), get("/status/503")),
        cluster_options=EJECTS,
        lines=3,
    ),
    http(
        "overflow",
        "circuit-breaker-open",
        cluster_options={"circuit_breakers": {"thresholds": [{"max_connections": 1, "max_pending_requests": 0}]}},
    ),
    http("speaks-ssh", "protocol-mismatch", to="ssh"),
    http(
        "no-source-address",
        "upstream-bind-failed",
        # TEST-NET-1: no machine has it, so that nothing is sent
        cluster_options={"upstream_bind_config": {"source_address": {"address": "192.0.2.1", "port_value": 0}}},
    ),
    # routing
    http("no-route", "route-not-found", vhost="somebody-else.example.com"),
    http("no-cluster", "cluster-not-found", to="-"),
    http(
        "no-such-name",
        "dns-resolution-failed",
        to="-",
        vhost="*",
        action={"route": {"cluster": FORWARD_PROXY["name"]}},
        filters=[http_filter("dynamic_forward_proxy", "FilterConfig", dns_cache_config=DNS_CACHE)],
        more_clusters=[FORWARD_PROXY],
    ),
    http(
        "blocked", "egress-blocked", to="-", vhost="*", action={"name": "block_all", "direct_response": {"status": 502}}
    ),
    http(
        "passthrough",
        "egress-passthrough-failed",
        to="refuses",
        to_cluster="PassthroughCluster",
        action={"name": "allow_any", "route": {"cluster": "PassthroughCluster"}},
        vhost="*",
    ),
    # clients
    http("client-gives-up", "client-disconnected", gives_up()),
    http("upgrade", "upgrade-refused", get(headers={"Connection": "Upgrade", "Upgrade": "websocket"})),
    http("large-headers", "request-too-large", get(headers={"X-Large": "x" * 70_000})),
    http(
        "large-body",
        "request-too-large",
        get(method="POST", body=b"x" * 5000),
        filters=[http_filter("buffer", "Buffer", max_request_bytes=1000)],
    ),
    http("no-http", "protocol-mismatch", raw(b"\x01\x02\x03 no HTTP\r\n\r\n")),
    http("tls-to-http-port", "protocol-mismatch", tls_hello("reviews.example.com")),
    # TLS
    http("tls-to-plaintext", "mtls-tls-to-plaintext", to="bad-request", transport=upstream_tls),
    http(
        "untrusted",
        "mtls-certificate-untrusted",
        to="tls-foreign",
        transport=upstream_tls,
    ),
    http(
        "expired",
        "mtls-certificate-expired",
        to="tls-expired",
        transport=upstream_tls,
        older={37: "mtls-certificate-untrusted"},
    ),
    http(
        "other-identity",
        "mtls-identity-mismatch",
        to="tls-other-name",
        transport=upstream_tls,
        older={37: "mtls-certificate-untrusted"},
    ),
    http("no-client-certificate", "tls-handshake-failed", to="tls-mutual", transport=upstream_tls),
    # with TLS 1.3 the server refuses after the handshake, and its client sees only that the connection is closed
    http("no-client-certificate-13", "upstream-connection-closed", to="listener:mutual-tls", transport=upstream_tls_13),
    strict("mutual-tls", "", quiet, speaks_http=True, lines=0),
    strict("plaintext-to-strict", "mtls-plaintext-to-strict", raw(b"GET / HTTP/1.1\r\nhost: reviews\r\n\r\n")),
    strict("no-chain-for-name", "filter-chain-not-found", tls_hello("b.example.com"), server_names=["a.example.com"]),
    # policies
    http("token-missing", "jwt-missing", filters=[jwt()]),
    http("token-expired", "jwt-expired", bearer(age=7200), filters=[jwt()]),
    http("token-not-yet-valid", "jwt-expired", bearer(nbf=32503680000), filters=[jwt()]),
    http("token-forged", "jwt-signature-invalid", bearer(forged=True), filters=[jwt()]),
    http("token-of-unknown-key", "jwt-signature-invalid", bearer(kid="two"), filters=[jwt()]),
    http("keys-of-nobody", "jwt-signature-invalid", bearer(), filters=[lambda a: jwt(inline(a.tokens.stand_in))(a)]),
    http("token-other-issuer", "jwt-issuer-not-configured", bearer(iss="https://evil.example.com"), filters=[jwt()]),
    http("token-other-audience", "jwt-audience-not-allowed", bearer(aud="ratings"), filters=[jwt()]),
    http("token-malformed", "jwt-malformed", get(headers={"Authorization": "Bearer a.b.c"}), filters=[jwt()]),
    http(
        "keys-unreachable",
        "jwks-fetch-failed",
        bearer(),
        filters=[jwt(remote_jwks("keys-unreachable"))],
        helper="refuses",
    ),
    http(
        "denied",
        "rbac-denied",
        filters=[DENIES],
    ),
    http("denied-grpc", "rbac-denied", grpc(), filters=[http_filter("rbac", "RBAC", rules={"action": "ALLOW"})]),
    http("not-allowed", "rbac-denied", filters=[http_filter("rbac", "RBAC", rules={"action": "ALLOW"})]),
    http("token-missing-not-allowed", "rbac-denied", filters=[jwt(optional=True), WITH_TOKEN]),
    http("denied-inbound", "rbac-denied", to="app", to_cluster="inbound|9090||", vhost="*", filters=[DENIES]),
    http("authorizer-down", "ext-authz-unavailable", filters=[ext_authz("authorizer-down")], helper="refuses"),
    http(
        "authorizer-denies",
        "ext-authz-denied",
        get("/status/403"),
        filters=[ext_authz("authorizer-denies")],
        helper="app",
    ),
    http(
        "processor-down",
        "ext-proc-failed",
        filters=[
            http_filter(
                "ext_proc", "ExternalProcessor", grpc_service={"envoy_grpc": {"cluster_name": "helper-processor-down"}}
            )
        ],
        helper="refuses",
    ),
    http(
        "rate-limit",
        "rate-limited",
        get(times=2),
        filters=[
            http_filter(
                "local_ratelimit",
                "LocalRateLimit",
                stat_prefix="http_local_rate_limiter",
                token_bucket=BUCKET,
                filter_enabled={"default_value": ALWAYS},
                filter_enforced={"default_value": ALWAYS},
            )
        ],
        lines=2,
    ),
    http(
        "fault-abort",
        "fault-injected",
        filters=[http_filter("fault", "HTTPFault", abort={"http_status": 503, "percentage": ALWAYS})],
    ),
    http(
        "fault-delay",
        "fault-injected",
        filters=[http_filter("fault", "HTTPFault", delay={"fixed_delay": "0.1s", "percentage": ALWAYS})],
    ),
    # TCP
    tcp("tcp-refused", "upstream-connection-refused", to="refuses"),
    tcp("tcp-no-endpoints", "no-healthy-upstream", to=None),
    tcp("tcp-no-cluster", "cluster-not-found", to="-"),
    tcp("tcp-blocked", "egress-blocked", to=None, to_cluster="BlackHoleCluster"),
    tcp("tcp-upstream-resets", "upstream-connection-closed", to="resets", older={38: ""}),
    tcp("tcp-untrusted", "mtls-certificate-untrusted", to="tls-foreign", transport=upstream_tls),
    tcp("tcp-tls-to-plaintext", "mtls-tls-to-plaintext", to="bad-request", transport=upstream_tls),
    tcp(
        "tcp-denied",
        "rbac-denied",
        filters=[
            extension(
                "envoy.filters.network.rbac",
                "extensions.filters.network.rbac.v3.RBAC",
                stat_prefix="tcp.",
                **rbac("DENY", "ns[default]-policy[deny-all]-rule[0]", EVERYONE),
            )
        ],
    ),
)

STRICT_FROM_BOTH_SIDES = http("calls-strict", "mtls-plaintext-to-strict", to="listener:plaintext-to-strict")
"""A plaintext call of one Envoy listener to another that is STRICT; its cause shows in the lines of both."""

NAME_FROM_BOTH_SIDES = http(
    "calls-no-chain", "filter-chain-not-found", to="listener:no-chain-for-name", transport=upstream_tls
)
"""A TLS call whose SNI no chain of the other listener has."""


@dataclass(frozen=True)
class Pair:
    """A call through two sidecars. `cause` is what must come first with the lines of both, `client` and `server` what each
    says alone; their names do not agree, so that only the x-request-id joins them."""

    name: str
    cause: str
    client: Scenario
    server: Scenario


def behind_a_sidecar(
    port: int,
    name: str,
    cause: str,
    *,
    to: str | None,
    at_client: str = "app-error",
    at_server: str = "",
    send: Client | None = None,
    route: Config | None = None,
) -> Pair:
    """A client's sidecar calls a server's sidecar, and that its application on `port` (see `http`)."""
    server = http(
        f"server-{name}", at_server or cause, quiet, to=to, to_cluster=f"inbound|{port}||", vhost="*", route=NO_TIMEOUT
    )
    client = http(f"client-{name}", at_client, send, to=f"listener:{server.name}", route=route)
    return Pair(name, cause, client, server)


PAIRS: Sequence[Pair] = (
    behind_a_sidecar(9081, "app-refuses", "upstream-connection-refused", to="refuses"),
    behind_a_sidecar(9082, "app-closes", "upstream-connection-closed", to="closes"),
    behind_a_sidecar(9083, "app-fails", "app-error", to="app", send=get("/status/503")),
    behind_a_sidecar(9084, "app-missing", "no-healthy-upstream", to=None),
    behind_a_sidecar(9085, "app-speaks-ssh", "protocol-mismatch", to="ssh"),
    behind_a_sidecar(
        9086,
        "app-slow",
        "upstream-timeout",
        to="app",
        send=get("/wait"),
        route={"timeout": "0.2s"},
        at_client="upstream-timeout",
        at_server="client-disconnected",
    ),
)
"""What a client's sidecar passes on as 503 via_upstream, and the server's sidecar knows better."""


# --- the run -----------------------------------------------------------------------------------------------------


class Run:
    """One Envoy for all scenarios. Each is provoked once, when its lines are first asked for."""

    def __init__(self, folder: Path, scenarios: Sequence[Scenario]) -> None:
        self._scenarios = scenarios
        self._done: set[str] = set()
        self._stack = contextlib.ExitStack()
        self.around = self._stack.enter_context(surroundings(folder, lambda: self.envoy.ports))
        try:
            built = [s.build(self.around) for s in scenarios]
            self.events = folder / "outliers.log"
            config = bootstrap(
                [one for one, _ in built],
                [c for _, clusters in built for c in clusters],
                cluster_manager={"outlier_detection": {"event_log_path": str(self.events)}},
            )
            self.envoy = self._stack.enter_context(Envoy(config, folder)).ready()
            self.start_log = self.envoy.log.read_text()
            version = self.envoy.ask("/server_info")
            self.minor = int(version.split("/")[1].split(".")[1]) if "/" in version else 0
        except BaseException:
            self._stack.close()
            raise

    def close(self) -> None:
        self._stack.close()

    def log(self, scenario: Scenario, encoding: str) -> Path:
        """The access log of a scenario. Raises AssertionError when Envoy does not write its lines."""
        paths = {e: self.around.logs / e / f"{scenario.name}.log" for e in ENCODINGS}
        if scenario.name not in self._done:
            self._done.add(scenario.name)
            scenario.provoke(Target(self.envoy.ports[scenario.name], scenario.authority, self.around.tokens))
        for path in paths.values():
            poll(
                lambda path=path: path.read_bytes().count(b"\n") >= scenario.lines,  # type: ignore[misc]
                f"Envoy wrote {path.read_text()!r} to {path}, not {scenario.lines} lines",
                5,
            )
        return paths[encoding]
