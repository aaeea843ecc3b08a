"""The known traps: captures in which the loudest line is not the fault, or in which two faults look like one.

Each trap is a small mesh, diagnosed as `kubectl logs --prefix` shows it and as files. The rest are laws for hostile, broken and
large input.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

import meshdiag
from meshdiag import Diagnosis, Finding
from meshdiag.catalogue import Catalogue
from meshdiag.diagnosis import requests as requests_module
from meshdiag.diagnosis.requests import ALL, MAX_ENTRIES, Requests
from meshdiag.model import Kind, Subject
from tests.diagnosis import mesh as m
from tests.diagnosis.captures import BEGIN
from tests.diagnosis.mesh import (
    APP_500,
    CART,
    CART_2,
    DENIED,
    DENIED_BY,
    GATEWAY,
    ISTIOD,
    KID,
    LEFT,
    NO_HOST,
    ORDERS,
    PRICING,
    REFUSED,
    RELAYED,
    SLOW,
    STOCK,
    TIMED_OUT,
    WEB,
    WELL,
    Mesh,
    Outcome,
    call,
    connected,
    jwks_failed,
    log,
    no_chain,
    no_route,
    not_ready,
    push,
    ready,
    scaled,
    serve,
    stream_closed,
    uid,
    ztunnel,
)  # fmt: skip

UNREACHABLE = '14, connection error: desc = "transport: Error while dialing: dial tcp 10.96.45.12:15012: connect: connection refused"'
LUA = "script load error: [string \"function f() h:headers():add(...\"]:1: unexpected symbol near 'end'"
REFUSED_RBAC = "connection closed due to policy rejection: allow policies exist, but none allowed"
RESET = "io error: Connection reset by peer (os error 104)"
CURL_RESET = "curl: (35) Recv failure: Connection reset by peer"
WAYPOINT = "shop/waypoint-6f7c9d8b5d-h4mzq"
PREVIOUS = "shop_cart-7d6c5f9b84-z6r4p_istio-proxy.previous.log"
MANY = [f"shop/w{k}-6f7c9d8b5d-x4mzq" for k in range(5)]


@dataclass(frozen=True)
class Trap:
    """A capture and what is to be said of it. A finding is named `cause=part of its subject`.

    roots       what goes on and nothing explains, all of it; benign and healthy findings are not named
    under       symptom -> what explains it, in one step or more
    over        failures that are recovered
    never       causes that must not be there at all
    benign      findings that are there as benign
    confidence, requests, changes, says   of single findings; `says` is a part of some evidence
    """

    name: str
    mesh: Mesh
    roots: tuple[str, ...] = ()
    under: Mapping[str, str] = field(default_factory=dict)
    over: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    benign: tuple[str, ...] = ()
    confidence: Mapping[str, str] = field(default_factory=dict)
    requests: Mapping[str, int | None] = field(default_factory=dict)
    changes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    says: Mapping[str, str] = field(default_factory=dict)


def each(n: int, line: Callable[[int], str]) -> list[str]:
    return [line(i) for i in range(n)]


def both(*some: Iterable[str]) -> list[str]:
    """Lines of one pod in order of time."""
    return sorted((line for lines in some for line in lines), key=m.time_of)


def calls(to: str, outcome: Outcome, n: int = 6, at: float = 10, first: int = 0, every: float = 1) -> list[str]:
    return each(n, lambda i: call(at + i * every, to, outcome, uid(first + i)))


def serves(by: str, outcome: Outcome, n: int = 6, at: float = 10.02, first: int = 0, every: float = 1) -> list[str]:
    return each(n, lambda i: serve(at + i * every, outcome, uid(first + i), by=by))


def good(to: str, start: int = 0, stop: int = 600) -> list[str]:
    return [call(t, to, WELL, uid(t + 5000)) for t in range(start, stop, 20)]


def nack(t: float) -> str:
    """Envoy's own words, once."""
    return log(
        t,
        "warning",
        "envoy config external/envoy/source/extensions/config_subscription/grpc/delta_subscription_state.cc:299\tdelta config for "
        "type.googleapis.com/envoy.config.listener.v3.Listener rejected: Error adding/updating listener(s) virtualInbound: "
        f"{LUA}\tthread=20",
    )


def told_nack(t: float, pod: str = "cart-7d6c5f9b84-z6r4p.shop") -> str:
    """istiod's words."""
    return log(
        t, "warn", f"delta\tADS:LDS: ACK ERROR {pod}-4 Internal:Error adding/updating listener(s) virtualInbound: {LUA}"
    )


def still_rejected(t: float) -> str:
    return log(
        t,
        "warn",
        "Envoy proxy is NOT ready: config received from XDS server, but was rejected: cds updates: 1 successful, 0 rejected; "
        "lds updates: 0 successful, 1 rejected",
    )


def no_secret(t: float) -> str:
    return log(
        t,
        "warn",
        "ads\tfailed to fetch key and certificate for kubernetes://pay-cert: secret istio-system/pay-cert not found",
    )


STREAMS = [
    Trap(
        "stream closed: 13, and at once another",
        {CART: [stream_closed(100), connected(101)], WEB: good("cart", 0, 300)},
        benign=("xds-stream-recycled=cart",),
        never=("xds-unreachable",),
    ),
    Trap(
        "stream closed: 14 by a transport that closes, and another",
        {CART: [stream_closed(100, "14, transport is closing"), connected(101)]},
        benign=("xds-stream-recycled=cart",),
        never=("xds-unreachable",),
    ),
    Trap(
        "stream closed: 14 refused, once, and ten seconds later another",
        {CART: [stream_closed(100, UNREACHABLE), connected(110)]},
        benign=("xds-unreachable=cart",),
    ),
    Trap(
        "every half hour, as istiod wants it",
        {CART: [x for i in range(8) for x in (stream_closed(1800 * i + 5), connected(1800 * i + 6))]},
        benign=("xds-stream-recycled=cart",),
        never=("xds-unreachable",),
    ),
    Trap(
        "of each of five pods a few times: a restart of istiod",
        {pod: [x for i in range(3) for x in (stream_closed(50 * i + 5), connected(50 * i + 6))] for pod in MANY},
        never=("xds-unreachable",),
    ),
    Trap(
        "refused for good on one of many pods",
        {
            CART: each(20, lambda i: stream_closed(100 + 11 * i, UNREACHABLE)),
            **{pod: [stream_closed(100 + k), connected(101 + k)] for k, pod in enumerate(MANY)},
        },
        roots=("xds-unreachable=cart",),
        benign=tuple(f"xds-stream-recycled=w{k}" for k in range(5)),
    ),
    Trap(
        "refused for good, and the pod is not ready for it",
        {
            CART: both(
                each(20, lambda i: stream_closed(100 + 11 * i, UNREACHABLE)), each(90, lambda i: not_ready(120 + 2 * i))
            )
        },
        roots=("xds-unreachable=cart",),
        under={"proxy-waiting-for-config=cart": "xds-unreachable=cart"},
    ),
    Trap(
        "refused for good on all pods, none of them ready",
        {
            pod: both(
                each(20, lambda i: stream_closed(100 + 11 * i, UNREACHABLE)), each(90, lambda i: not_ready(120 + 2 * i))
            )
            for pod in MANY
        },
        roots=tuple(f"xds-unreachable=w{k}" for k in range(5)),
        under={f"proxy-waiting-for-config=w{k}": f"xds-unreachable=w{k}" for k in range(5)},
    ),
    Trap(
        "closed: 13 at a start again and again, and no configuration comes",
        {
            CART: both(
                each(6, lambda i: stream_closed(100 + 25 * i)), each(70, lambda i: not_ready(101 + 2 * i))
            )
        },
        roots=("xds-unreachable=cart",),
        under={"proxy-waiting-for-config=cart": "xds-unreachable=cart"},
    ),
    Trap(
        "twelve times in ten minutes, and it goes on",
        {CART: [x for i in range(12) for x in (stream_closed(50 * i + 5), connected(50 * i + 6))]},
        roots=("xds-unreachable=cart",),
        confidence={"xds-unreachable=cart": "possible"},
        says={"xds-unreachable=cart": "at least ten times in ten minutes"},
    ),
    Trap(
        "twelve times in ten minutes, and then not for an hour",
        {
            CART: [x for i in range(12) for x in (stream_closed(50 * i + 5), connected(50 * i + 6))] + good("stock", 700, 4300)
        },
        over=("xds-unreachable=cart",),
    ),
    Trap(
        "refused an hour before a start that waits for something else",
        {
            CART: [
                *each(10, lambda i: stream_closed(10 + 11 * i, UNREACHABLE)),
                connected(130),
                ready(131),
                *each(90, lambda i: not_ready(20_000 + 2 * i)),
            ]
        },
        roots=("proxy-waiting-for-config=cart",),
        over=("xds-unreachable=cart",),
    ),
]  # fmt: skip

KEYS = [
    Trap(
        "the key of no token fits since istiod could not fetch the keys",
        {ISTIOD: each(3, lambda i: jwks_failed(10 + 80 * i)), ORDERS: serves("orders", KID, 10, 30, every=5)},
        roots=("jwks-fetch-failed=login.example.com",),
        under={"jwt-signature-invalid=orders": "jwks-fetch-failed=login.example.com"},
        requests={"jwt-signature-invalid=orders": 10},
    ),
    Trap(
        "the same line, and istiod has its keys",
        {ISTIOD: [push(10, "VirtualService/shop/web")], ORDERS: serves("orders", KID, 10, 30, every=5)},
        roots=("jwt-signature-invalid=orders",),
        never=("jwks-fetch-failed",),
        confidence={"jwt-signature-invalid=orders": "possible"},
    ),
    Trap(
        "istiod failed to fetch keys an hour later",
        {ISTIOD: [jwks_failed(4000)], ORDERS: serves("orders", KID, 10, 30, every=5)},
        roots=("jwt-signature-invalid=orders", "jwks-fetch-failed=login.example.com"),
    ),
    Trap(
        "istiod failed to fetch keys five hours before, and not again, though it tries every hour at least",
        {
            ISTIOD: [jwks_failed(-18_000), *each(10, lambda i: push(-17_000 + 1700 * i, "VirtualService/shop/web"))],
            ORDERS: serves("orders", KID, 10, 30, every=5),
        },
        roots=("jwt-signature-invalid=orders", "jwks-fetch-failed=login.example.com"),
    ),
]

POLICIES = [
    Trap(
        "denied by no policy in particular",
        {CART: serves("cart", DENIED), WEB: calls("cart", ("403", "-", "via_upstream", "-"))},
        roots=("rbac-denied=cart",),
        confidence={"rbac-denied=cart": "possible"},
        requests={"rbac-denied=cart": 6},
    ),
    Trap(
        "denied by a policy that is named",
        {CART: serves("cart", DENIED_BY), WEB: calls("cart", ("403", "-", "via_upstream", "-"))},
        roots=("rbac-denied=cart",),
        confidence={"rbac-denied=cart": "likely"},
    ),
    Trap(
        "ztunnel: the client's side says reset, the server's side why",
        {
            m.ZTUNNEL_2: each(5, lambda i: ztunnel(10 + 6 * i, "outbound", "batch", "ledger", RESET)),
            m.ZTUNNEL: each(5, lambda i: ztunnel(9.999 + 6 * i, "inbound", "batch", "ledger", REFUSED_RBAC)),
        },
        roots=("ztunnel-policy-denied=finance/batch -> ledger",),
        under={"upstream-connection-closed=batch -> ledger": "ztunnel-policy-denied=ledger"},
    ),
    Trap(
        "ztunnel: only the client's side was captured",
        {m.ZTUNNEL_2: each(5, lambda i: ztunnel(10 + 6 * i, "outbound", "batch", "ledger", RESET))},
        roots=("upstream-connection-closed=batch -> ledger",),
        never=("ztunnel-policy-denied",),
    ),
    Trap(
        "ztunnel: a denial at one service, a reset at another",
        {
            m.ZTUNNEL_2: each(5, lambda i: ztunnel(10 + 6 * i, "outbound", "batch", "queue", RESET)),
            m.ZTUNNEL: each(5, lambda i: ztunnel(9.999 + 6 * i, "inbound", "batch", "ledger", REFUSED_RBAC)),
        },
        roots=("ztunnel-policy-denied=ledger", "upstream-connection-closed=queue"),
    ),
    Trap(
        "ztunnel: a denial of one client, a reset of another",
        {
            m.ZTUNNEL_2: each(5, lambda i: ztunnel(10 + 6 * i, "outbound", "report", "ledger", RESET)),
            m.ZTUNNEL: each(5, lambda i: ztunnel(9.999 + 6 * i, "inbound", "batch", "ledger", REFUSED_RBAC)),
        },
        roots=("ztunnel-policy-denied=batch -> ledger", "upstream-connection-closed=report -> ledger"),
    ),
    Trap(
        "a secret that does not come: the gateway has no chain, the client a reset",
        {
            ISTIOD: [push(5, "Gateway/istio-system/pay"), no_secret(5.1)],
            GATEWAY: each(10, lambda i: no_chain(20 + 4 * i, "pay.example.com")),
            "monitor.log": [line for i in range(4) for line in (f"2026-11-22T10:00:{20 + 4 * i}Z GET /", CURL_RESET)],
        },
        roots=("gateway-secret-missing=pay-cert",),
        under={"filter-chain-not-found=istio-ingressgateway": "gateway-secret-missing=pay-cert"},
        changes={"gateway-secret-missing=pay-cert": ("istiod pushed a change: Gateway/istio-system/pay",)},
    ),
    Trap(
        "a name without a chain since long before a secret was missing",
        {ISTIOD: [no_secret(900)], GATEWAY: each(10, lambda i: no_chain(20 + 4 * i, "old.example.com"))},
        roots=("filter-chain-not-found=istio-ingressgateway", "gateway-secret-missing=pay-cert"),
    ),
]  # fmt: skip

HOPS = [
    Trap(
        "the server's sidecar refused what the client's calls via_upstream",
        {WEB: calls("cart", RELAYED), CART: serves("cart", REFUSED)},
        roots=("upstream-connection-refused=cart",),
        under={"app-error=web -> cart": "upstream-connection-refused=cart"},
        confidence={"upstream-connection-refused=cart": "confirmed", "app-error=web -> cart": "possible"},
        requests={"upstream-connection-refused=cart": 6, "app-error=web -> cart": 6},
    ),
    Trap(
        "only the client's log",
        {WEB: calls("cart", RELAYED)},
        roots=("app-error=web -> cart",),
        confidence={"app-error=web -> cart": "possible"},
    ),
    Trap(
        "only the server's log",
        {CART: serves("cart", REFUSED)},
        roots=("upstream-connection-refused=cart",),
        confidence={"upstream-connection-refused=cart": "likely"},
    ),
    Trap(
        "three hops, one id",
        {
            GATEWAY: calls("web", RELAYED),
            WEB: both(serves("web", RELAYED), calls("cart", RELAYED, at=10.03)),
            CART: both(serves("cart", APP_500, at=10.04), calls("pricing", RELAYED, at=10.05)),
            PRICING: serves("pricing", REFUSED, at=10.06),
        },
        roots=("upstream-connection-refused=pricing",),
        under={
            "app-error=cart -> pricing": "upstream-connection-refused=pricing",
            "app-error=web -> cart": "upstream-connection-refused=pricing",
            "app-error=istio-ingressgateway -> web": "upstream-connection-refused=pricing",
        },
        confidence={"upstream-connection-refused=pricing": "confirmed"},
    ),
    Trap(
        "three hops of applications that pass no id on",
        {
            GATEWAY: calls("web", RELAYED),
            WEB: both(serves("web", RELAYED), calls("cart", RELAYED, at=10.03, first=100)),
            CART: both(serves("cart", APP_500, at=10.04, first=100), calls("pricing", RELAYED, at=10.05, first=200)),
            PRICING: serves("pricing", REFUSED, at=10.06, first=200),
        },
        roots=("upstream-connection-refused=pricing",),
        under={"app-error=istio-ingressgateway -> web": "upstream-connection-refused=pricing"},
    ),
    Trap(
        "without ids the server's own error is still the client's",
        {
            WEB: each(6, lambda i: call(10 + i, "cart", RELAYED)),
            CART: each(6, lambda i: serve(10 + i, APP_500, by="cart")),
        },
        roots=("app-error=cart",),
        under={"app-error=web -> cart": "app-error=cart"},
        requests={"app-error=web -> cart": None},
    ),
    Trap(
        "two roots behind one client",
        {
            WEB: both(calls("cart", RELAYED), calls("pricing", RELAYED, first=50)),
            CART: serves("cart", REFUSED),
            PRICING: serves("pricing", APP_500, first=50),
        },
        roots=("upstream-connection-refused=cart", "app-error=pricing"),
        under={
            "app-error=web -> cart": "upstream-connection-refused=cart",
            "app-error=web -> pricing": "app-error=pricing",
        },
    ),
    Trap(
        "two roots behind one edge: one pod refuses, the other is slow",
        {
            WEB: both(calls("cart", RELAYED), calls("cart", ("504", "-", "via_upstream", "-"), first=50)),
            CART: serves("cart", REFUSED),
            CART_2: serves("cart", SLOW, first=50),
        },
        roots=("upstream-connection-refused=cart", "upstream-timeout=cart"),
        under={"app-error=web -> cart": "upstream-timeout=cart"},
        requests={"app-error=web -> cart": 12, "upstream-timeout=cart": 6},
    ),
    Trap(
        "gateway, waypoint, server",
        {
            GATEWAY: calls("cart", RELAYED),
            WAYPOINT: [m.vip(line) for line in calls("cart", RELAYED, at=10.01)],
            CART: serves("cart", REFUSED),
        },
        roots=("upstream-connection-refused=cart",),
        requests={"upstream-connection-refused=cart": 6},
        confidence={"upstream-connection-refused=cart": "confirmed"},
    ),
    Trap(
        "gateway, and a waypoint without a host",
        {GATEWAY: calls("cart", RELAYED), WAYPOINT: [m.vip(line) for line in calls("cart", NO_HOST, at=10.01)]},
        roots=("no-healthy-upstream=waypoint -> cart.shop",),
        under={"app-error=istio-ingressgateway -> cart": "no-healthy-upstream=waypoint -> cart"},
    ),
    Trap(
        "clocks of two nodes differ by three seconds",
        {WEB: calls("cart", RELAYED), CART: serves("cart", REFUSED, at=7)},
        roots=("upstream-connection-refused=cart",),
        under={"app-error=web -> cart": "upstream-connection-refused=cart"},
        confidence={"upstream-connection-refused=cart": "confirmed"},
    ),
    Trap(
        "as JSON on one side, in docker's and CRI's wrappers on the others",
        {
            GATEWAY: [f"{m.log_time(10 + i)} stdout F {call(10 + i, 'web', RELAYED, uid(i))}" for i in range(6)],
            WEB: [m.as_json(line) for line in both(serves("web", RELAYED), calls("cart", RELAYED, at=10.03))],
            CART: [m.docker(line) for line in serves("cart", REFUSED, at=10.05)],
        },
        roots=("upstream-connection-refused=cart",),
        under={"app-error=istio-ingressgateway -> web": "upstream-connection-refused=cart"},
        requests={"app-error=istio-ingressgateway -> web": 6, "upstream-connection-refused=cart": 6},
    ),
]

RETRIES = [
    Trap(
        "one line of the client, three of the server",
        {
            WEB: calls("cart", ("503", "URX", "via_upstream", "-"), 4, every=10),
            CART: [serve(10 + 10 * i + k * 0.03, REFUSED, uid(i), by="cart") for i in range(4) for k in range(3)],
        },
        roots=("upstream-connection-refused=cart",),
        requests={"upstream-connection-refused=cart": 4, "app-error=web -> cart": 4},
    ),
    Trap(
        "tries that went to two pods",
        {
            WEB: calls("cart", ("503", "URX", "via_upstream", "-"), 4, every=10),
            CART: [serve(10 + 10 * i + k * 0.03, REFUSED, uid(i), by="cart") for i in range(4) for k in range(2)],
            CART_2: [serve(10.1 + 10 * i, REFUSED, uid(i), by="cart") for i in range(4)],
        },
        roots=("upstream-connection-refused=cart",),
        requests={"upstream-connection-refused=cart": 4},
    ),
    Trap(
        "a load tester's one id for all requests, in both logs",
        {
            WEB: each(40, lambda i: call(10 + i, "cart", RELAYED, "load-test")),
            CART: each(40, lambda i: serve(10 + i, REFUSED, "load-test", by="cart")),
        },
        roots=("upstream-connection-refused=cart",),
        under={"app-error=web -> cart": "upstream-connection-refused=cart"},
        requests={"upstream-connection-refused=cart": None, "app-error=web -> cart": None},
        confidence={"upstream-connection-refused=cart": "likely"},
    ),
    Trap(
        "a load tester's one id for all requests, in one log",
        {WEB: each(40, lambda i: call(10 + 4 * i, "cart", NO_HOST, "load-test"))},
        roots=("no-healthy-upstream=web -> cart",),
        requests={"no-healthy-upstream=web -> cart": None},
    ),
    Trap(
        "a load tester's id beside those of others",
        {
            WEB: both(each(40, lambda i: call(10 + i, "cart", RELAYED, "load-test")), calls("cart", RELAYED, 10, 10.5)),
            CART: both(
                each(40, lambda i: serve(10 + i, REFUSED, "load-test", by="cart")), serves("cart", REFUSED, 10, 10.5)
            ),
        },
        roots=("upstream-connection-refused=cart",),
        under={"app-error=web -> cart": "upstream-connection-refused=cart"},
        requests={"upstream-connection-refused=cart": 50, "app-error=web -> cart": 50},
        confidence={"upstream-connection-refused=cart": "confirmed"},
    ),
    Trap(
        "a load tester's one id at two services that fail for reasons of their own",
        {
            WEB: both(
                each(30, lambda i: call(10 + 2 * i, "cart", RELAYED, "load-test")),
                each(30, lambda i: call(11 + 2 * i, "stock", RELAYED, "load-test")),
            ),
            CART: each(30, lambda i: serve(10 + 2 * i, APP_500, "load-test", by="cart")),
            STOCK: each(30, lambda i: serve(11 + 2 * i, REFUSED, "load-test", by="stock")),
        },
        roots=("app-error=cart", "upstream-connection-refused=stock"),
        under={
            "app-error=web -> cart": "app-error=cart",
            "app-error=web -> stock": "upstream-connection-refused=stock",
        },
    ),
    Trap(
        "one page that calls a service twenty times with its id is one request",
        {
            WEB: [call(10 + 20 * i + k * 0.05, "cart", RELAYED, uid(i)) for i in range(3) for k in range(20)],
            CART: [serve(10.01 + 20 * i + k * 0.05, REFUSED, uid(i), by="cart") for i in range(3) for k in range(20)],
        },
        roots=("upstream-connection-refused=cart",),
        under={"app-error=web -> cart": "upstream-connection-refused=cart"},
        requests={"upstream-connection-refused=cart": 3, "app-error=web -> cart": 3},
    ),
    Trap(
        "one request is sent with the id of another",
        {
            WEB: calls("cart", RELAYED, 10),
            CART: serves("cart", REFUSED, 10),
            "shop/evil-6f7c9d8b5d-h4mzq": [call(10.5, "stock", RELAYED, uid(0))],
            STOCK: [serve(10.6, APP_500, uid(0), by="stock")],
        },
        roots=("upstream-connection-refused=cart", "app-error=stock"),
        under={
            "app-error=web -> cart": "upstream-connection-refused=cart",
            "app-error=evil -> stock": "app-error=stock",
        },
    ),
    Trap(
        "every request is sent again, with its id, to a service that fails for a reason of its own",
        {
            WEB: calls("cart", RELAYED, 10),
            CART: serves("cart", APP_500, 10),
            "shop/evil-6f7c9d8b5d-h4mzq": calls("stock", RELAYED, 10, 10.5),
            STOCK: serves("stock", REFUSED, 10, 10.6),
        },
        roots=("app-error=cart", "upstream-connection-refused=stock"),
        under={
            "app-error=web -> cart": "app-error=cart",
            "app-error=evil -> stock": "upstream-connection-refused=stock",
        },
    ),
    Trap(
        "ids of ten kilobytes are not kept",
        {
            WEB: each(5, lambda i: call(10 + i, "cart", RELAYED, uid(i) + "x" * 10_000)),
            CART: each(5, lambda i: serve(10 + i, REFUSED, uid(i) + "x" * 10_000, by="cart")),
        },
        roots=("upstream-connection-refused=cart",),
        requests={"upstream-connection-refused=cart": None},
    ),
    Trap(
        "ids with control characters",
        {
            WEB: each(5, lambda i: call(10 + i, "cart", RELAYED, uid(i) + "\x1b[31m\x08")),
            CART: each(5, lambda i: serve(10 + i, REFUSED, uid(i) + "\x1b[31m\x08", by="cart")),
        },
        roots=("upstream-connection-refused=cart",),
        requests={"upstream-connection-refused=cart": 5},
    ),
]

PUSHED = "istiod pushed a change: VirtualService/shop/cart"
CHANGES = [
    Trap(
        "a push of a named object just before",
        {
            ISTIOD: [push(0, "VirtualService/shop/web"), push(596, "VirtualService/shop/cart", 2)],
            GATEWAY: good("web") + each(10, lambda i: no_route(600 + 3 * i, "cart.example.com", uid(i))),
        },
        roots=("route-not-found=cart.example.com",),
        changes={"route-not-found=cart.example.com": (PUSHED,)},
    ),
    Trap(
        "a push that comes all the time",
        {
            ISTIOD: each(40, lambda i: push(30 * i, "ServiceEntry/shop/churn", i)),
            WEB: good("cart") + calls("cart", NO_HOST, 10, 600, every=2),
        },
        roots=("no-healthy-upstream=web -> cart",),
        changes={"no-healthy-upstream=web -> cart": ()},
    ),
    Trap(
        "a push after the failure began, and one long before",
        {
            ISTIOD: [push(5, "VirtualService/shop/old"), push(640, "VirtualService/shop/cart", 2)],
            WEB: good("cart") + calls("cart", NO_HOST, 30, 600, every=2),
        },
        roots=("no-healthy-upstream=web -> cart",),
        changes={"no-healthy-upstream=web -> cart": ()},
    ),
    Trap(
        "a rollout just before",
        {"events.json": [scaled(580, "cart")], WEB: good("cart") + calls("cart", NO_HOST, 10, 600, every=2)},
        roots=("no-healthy-upstream=web -> cart",),
        changes={
            "no-healthy-upstream=web -> cart": ("Kubernetes rolled out: Scaled down replica set cart-7d6c5f9b84 from 1 to 0",)
        },
    ),
    Trap(
        "a rollout of the failing service among many of others",
        {
            "events.json": [scaled(580, "cart"), *(scaled(585 + k, name) for k, name in enumerate(("blog", "mail", "ads", "faq")))],
            WEB: good("cart") + calls("cart", NO_HOST, 10, 600, every=2),
        },
        roots=("no-healthy-upstream=web -> cart",),
        changes={
            "no-healthy-upstream=web -> cart": ("Kubernetes rolled out: Scaled down replica set cart-7d6c5f9b84 from 1 to 0",)
        },
    ),
]  # fmt: skip

PLACES = [
    Trap(
        "a cause that began after its symptom was over",
        {WEB: calls("cart", RELAYED), CART: serves("cart", REFUSED, at=900, first=900)},
        roots=("app-error=web -> cart", "upstream-connection-refused=cart"),
    ),
    Trap(
        "a cause that was over hours before, by its ids",
        {WEB: calls("cart", RELAYED, at=10_000), CART: serves("cart", REFUSED, first=900)},
        roots=("app-error=web -> cart", "upstream-connection-refused=cart"),
    ),
    Trap(
        "a cause that was over hours before, without ids",
        {
            WEB: each(6, lambda i: call(10_000 + i, "cart", RELAYED)),
            CART: each(6, lambda i: serve(10 + i, REFUSED, by="cart")),
        },
        roots=("app-error=web -> cart", "upstream-connection-refused=cart"),
    ),
    Trap(
        "two services fail in the same minute for reasons of their own",
        {
            WEB: both(calls("cart", RELAYED), calls("stock", SLOW, at=12, first=50)),
            CART: serves("cart", REFUSED),
            STOCK: serves("stock", LEFT, at=12, first=50),
        },
        roots=("upstream-connection-refused=cart", "upstream-timeout=web -> stock"),
        under={
            "app-error=web -> cart": "upstream-connection-refused=cart",
            "client-disconnected=stock": "upstream-timeout=web -> stock",
        },
    ),
    Trap(
        "services of one name in two namespaces, by their ids",
        {CART: serves("cart", REFUSED), "bank/web-6f7c9d8b5d-q7t2c": calls("cart.bank", RELAYED, first=100)},
        roots=("upstream-connection-refused=cart", "app-error=web -> cart.bank"),
    ),
    Trap(
        "packets are dropped in one namespace, a port is closed in another",
        {
            WEB: calls("cart.shop", TIMED_OUT, every=10),
            "bank/teller-6f7c9d8b5d-q7t2c": calls("cart.bank", REFUSED, every=10, first=50),
        },
        roots=("upstream-connect-timeout=web -> cart.shop", "upstream-connection-refused=teller -> cart.bank"),
    ),
    Trap(
        "two services that call each other",
        {
            "shop/alpha-6f7c9d8b5d-x4mzq": both(serves("alpha", RELAYED, at=10), calls("beta", RELAYED, at=10.1)),
            "shop/beta-6f7c9d8b5d-q7t2c": both(serves("beta", RELAYED, at=10.2), calls("alpha", RELAYED, at=10.3)),
        },
        roots=("app-error=beta",),
    ),
]

TRAPS = [*STREAMS, *KEYS, *POLICIES, *HOPS, *RETRIES, *CHANGES, *PLACES]
of_each = pytest.mark.parametrize("trap", TRAPS, ids=[t.name for t in TRAPS])


def of(findings: Iterable[Finding], wanted: str) -> list[Finding]:
    cause, _, part = wanted.partition("=")
    return [f for f in findings if f.cause == cause and part in str(f.subject)]


def above(d: Diagnosis, f: Finding) -> set[int]:
    """Ranks of all that explains a finding, in one step or more."""
    by_rank = {x.rank: x for x in d.findings}
    out: set[int] = set()
    todo = list(f.explained_by)
    while todo:
        rank = todo.pop()
        if rank not in out:
            out.add(rank)
            todo += by_rank[rank].explained_by
    return out


def check(trap: Trap, d: Diagnosis) -> None:
    shown = m.show(d)
    going_on = [f for f in d.root_causes if f.state == "ongoing"]
    for wanted in trap.roots:
        assert of(going_on, wanted), f"{wanted} is no root:\n{shown}"
    others = [m.name(f) for f in going_on if not any(f in of(going_on, w) for w in trap.roots)]
    assert not others, f"{others} are roots:\n{shown}"
    for symptom, root in trap.under.items():
        found, roots = of(d.failures, symptom), {f.rank for f in of(d.failures, root)}
        assert found, f"no {symptom}:\n{shown}"
        assert all(above(d, f) & roots for f in found), f"{root} does not explain {symptom}:\n{shown}"
    for wanted in trap.over:
        assert of([f for f in d.failures if f.state != "ongoing"], wanted), f"{wanted} is not over:\n{shown}"
    for wanted in trap.benign:
        assert of([f for f in d.findings if f.kind is Kind.BENIGN], wanted), f"{wanted} is not benign:\n{shown}"
    assert not set(trap.never) & {f.cause for f in d.failures}, shown
    if not trap.roots and not trap.over:
        assert not d.failures, shown


@of_each
def test_as_kubectl_shows_it(trap: Trap, catalogue: Catalogue) -> None:
    d = m.diagnose(trap.mesh, catalogue)
    check(trap, d)
    assert not d.problems


@of_each
def test_as_files(trap: Trap, catalogue: Catalogue, tmp_path: Path) -> None:
    check(trap, meshdiag.diagnose(m.write(tmp_path / "logs", trap.mesh), catalogue=catalogue))


@of_each
def test_confidence_requests_and_changes(trap: Trap, catalogue: Catalogue) -> None:
    d = m.diagnose(trap.mesh, catalogue)
    shown = m.show(d)
    for wanted, confidence in trap.confidence.items():
        assert {f.confidence.value for f in of(d.failures, wanted)} == {confidence}, f"{wanted}:\n{shown}"
    for wanted, n in trap.requests.items():
        assert [f.requests for f in of(d.failures, wanted)] == [n], f"{wanted}:\n{shown}"
    for wanted, texts in trap.changes.items():
        for f in of(d.failures, wanted):
            told = [c.text for c in f.changes]
            assert set(texts) <= set(told) if texts else not told, f"{wanted}: {told}"
            assert all(c.before is None or 0 <= c.before <= 300 for c in f.changes)
    for wanted, text in trap.says.items():
        assert any(text in e.text for f in of(d.failures, wanted) for e in f.evidence), f"{wanted}:\n{shown}"


@of_each
def test_the_order_of_pods_and_of_captures_makes_no_difference(trap: Trap, catalogue: Catalogue) -> None:
    def told(d: Diagnosis) -> list[object]:
        return [
            (m.name(f), f.kind, f.confidence, f.state, f.count, f.requests, f.explained_by, dict(f.facts), [c.text for c in f.changes])
            for f in d.findings
        ]  # fmt: skip

    whole = told(m.diagnose(trap.mesh, catalogue))
    pods = random.Random(3).sample(list(trap.mesh), len(trap.mesh))
    parts = [m.diagnose({pod: trap.mesh[pod]}, catalogue) for pod in pods]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged + part
    assert told(merged) == whole


# -- the reason stands in another line


SAYS_SO = [
    {CART: [nack(10), *each(50, lambda i: still_rejected(20 + 2 * i))]},
    {ISTIOD: [told_nack(10)], CART: each(50, lambda i: still_rejected(20 + 2 * i))},
    {CART: each(50, lambda i: still_rejected(20 + 2 * i)), ISTIOD: [told_nack(10)]},
    {CART: each(50, lambda i: still_rejected(20 + 2 * i)), PREVIOUS: [nack(10)]},
    {"a.log": each(50, lambda i: still_rejected(20 + 2 * i)), "b.log": [nack(10)]},
]


@pytest.mark.parametrize("mesh", SAYS_SO)
def test_the_reason_of_a_rejection_is_shown_wherever_it_stands(
    mesh: Mesh, catalogue: Catalogue, tmp_path: Path
) -> None:
    d = meshdiag.diagnose(m.write(tmp_path / "logs", mesh), catalogue=catalogue)
    root, *others = d.failures
    assert root.cause == "xds-config-rejected", m.show(d)
    assert not [f for f in others if not f.explained_by], m.show(d)
    assert LUA in root.samples[0].line
    assert any(LUA in value for value in root.facts.values()), dict(root.facts)


def test_a_denial_without_a_policy_says_how_to_find_out(catalogue: Catalogue) -> None:
    (found,) = m.diagnose({CART: serves("cart", DENIED)}, catalogue).failures
    assert found.alternatives
    assert "policy" not in found.facts
    (named,) = m.diagnose({CART: serves("cart", DENIED_BY)}, catalogue).failures
    assert (named.facts["policy"], named.facts["policy_namespace"]) == ("deny-guests", "shop")
    assert any("deny-guests" in s.command for r in named.remedies for s in r.steps)


def test_a_client_that_sees_only_a_reset_leaves_it_open(catalogue: Catalogue) -> None:
    """Nothing is said of a secret when only the client's side is there."""
    d = m.diagnose({"monitor.log": [CURL_RESET] * 4}, catalogue)
    assert not of(d.failures, "gateway-secret-missing")
    assert all(f.confidence == "possible" for f in d.failures), m.show(d)


# -- sequences and filters


def test_a_then_b_across_files(catalogue: Catalogue, tmp_path: Path) -> None:
    ended = [log(1, "info", "Agent draining Proxy for termination")]
    after = [serve(3, REFUSED, uid(1), by="cart")]
    folder = m.write(tmp_path / "logs", {PREVIOUS: ended, CART: after})
    d = meshdiag.diagnose(folder, catalogue=catalogue)
    assert of(d.failures, "proxy-draining=cart"), m.show(d)
    other = m.write(tmp_path / "other", {CART: ended, STOCK: after})
    assert not of(meshdiag.diagnose(other, catalogue=catalogue).failures, "proxy-draining")


def test_since_keeps_what_belongs_together(catalogue: Catalogue) -> None:
    mesh = {WEB: calls("cart", RELAYED, 10, 100, every=10), CART: serves("cart", REFUSED, 10, 98, every=10)}
    d = m.diagnose(mesh, catalogue, since=BEGIN + timedelta(seconds=139))
    (root,) = d.root_causes
    assert (m.name(root), root.requests) == ("upstream-connection-refused=cart", 5)
    (symptom,) = of(d.failures, "app-error=web -> cart")
    assert (symptom.requests, symptom.explained_by) == (6, (1,))


def test_lines_without_times(catalogue: Catalogue) -> None:
    mesh = {
        CART: [
            line.split("\t", 1)[1]
            for line in both(each(5, not_ready), each(5, lambda i: stream_closed(i, UNREACHABLE)))
        ]
    }
    d = m.diagnose(mesh, catalogue)
    assert m.roots(d) == ["xds-unreachable=cart"], m.show(d)
    assert of(d.failures, "proxy-waiting-for-config=cart")[0].explained_by == (1,)
    assert all(f.first is None and f.onset is None and not f.changes for f in d.findings)


# -- hostile, broken and large input


@pytest.mark.parametrize("day", ["1970-01-01", "0001-01-01", "9999-12-31", "2026-13-45"])
def test_a_clock_that_is_wrong_does_not_spoil_the_rest(day: str, catalogue: Catalogue) -> None:
    mesh = {
        ISTIOD: [push(96, "VirtualService/shop/cart")],
        WEB: good("cart", 0, 100) + calls("cart", NO_HOST, 10, 100),
        STOCK: [
            line.replace("2026-11-22", day) for line in (*serves("stock", APP_500, 3), stream_closed(10, UNREACHABLE))
        ],
    }
    d = m.diagnose(mesh, catalogue)
    (found,) = of(d.failures, "no-healthy-upstream=web -> cart")
    assert (found.requests, [c.text for c in found.changes]) == (10, [PUSHED])
    assert found.onset is not None
    assert abs((found.onset.start - BEGIN).total_seconds() - 100) <= 60
    assert not found.explained_by
    assert d.to_json()
    assert d.timelines is not None


@pytest.mark.parametrize("day", ["1970-01-01", "9999-12-31"])
def test_one_line_with_a_wrong_time_does_not_hide_the_onset(day: str, catalogue: Catalogue) -> None:
    """In the finding's own lines: only what that one line says may be wrong."""
    some = good("cart", 0, 600) + calls("cart", NO_HOST, 30, 600, every=2)
    d = m.diagnose({WEB: [*some, call(1, "cart", NO_HOST, uid(99)).replace("2026-11-22", day)]}, catalogue)
    (found,) = d.failures
    assert (found.count, found.requests) == (31, 31)
    assert d.to_json()


def test_hosts_are_one_in_any_case(catalogue: Catalogue) -> None:
    """Host names know no case (RFC 3986, 3.2.2), and Envoy compares them so."""
    mesh = {
        GATEWAY: [
            no_route(i, host) for i, host in enumerate(["Shop.Example.COM", "shop.example.com", "SHOP.EXAMPLE.COM"])
        ]
    }
    (found,) = m.diagnose(mesh, catalogue).failures
    assert (found.count, found.subject.destination) == (3, "shop.example.com")


def test_one_cause_in_300_workloads(catalogue: Catalogue) -> None:
    pods = [f"shop/w{k:03d}-6f7c9d8b5d-x4mzq" for k in range(300)]
    mesh = {
        pod: both(
            each(5, lambda i: stream_closed(100 + 11 * i, UNREACHABLE)), each(10, lambda i: not_ready(101 + 2 * i))
        )
        for pod in pods
    }
    mesh[CART] = serves("cart", REFUSED)
    d = m.diagnose(mesh, catalogue)
    assert {f.cause for f in d.root_causes} == {"xds-unreachable", "upstream-connection-refused"}
    assert sum(f.count for f in d.failures if f.cause == "xds-unreachable") == 1500
    assert sum(f.places for f in d.failures if f.cause == "xds-unreachable") == 300
    assert all(f.explained_by for f in d.failures if f.cause == "proxy-waiting-for-config")
    assert d.failures[0].subject.kind == "workload", "what has a name comes before the rest"


def test_300_clients_of_one_service_are_its_reach(catalogue: Catalogue) -> None:
    mesh = {f"shop/w{k:03d}-6f7c9d8b5d-x4mzq": calls("cart", NO_HOST, 3, first=10 * k) for k in range(300)}
    (found,) = m.diagnose(mesh, catalogue).failures
    assert (found.subject.kind, found.count, found.requests, len(found.reach)) == ("service", 900, 900, 300)


def test_random_hosts_displace_nothing(catalogue: Catalogue) -> None:
    """A scanner asks a gateway for 20,000 hosts: all are counted."""
    mesh = {
        GATEWAY: each(20_000, lambda i: no_route(100 + i / 100, f"h{i * 7919 % 1_000_003}.example.org", uid(i)))
        + each(2_000, lambda i: no_route(100 + i / 10, "shop.example.com", uid(i, 1)))
        + calls("cart", NO_HOST, 10, 200, first=90_000),
        CART: serves("cart", REFUSED, 5, 300, first=95_000),
    }
    start = time.process_time()
    d = m.diagnose(mesh, catalogue)
    assert time.process_time() - start < 60
    assert of(d.failures, "no-healthy-upstream=cart")[0].count == 10
    assert of(d.failures, "upstream-connection-refused=cart")[0].count == 5
    missed = [f for f in d.failures if f.cause == "route-not-found"]
    assert len(missed) <= 300
    assert sum(f.count for f in missed) == 22_000, "lines of hosts that are not shown one by one are counted, too"
    assert d.summary()["requests"]["failed"] <= 23_000


def test_hops_are_bounded() -> None:
    """Whoever asks for ever other hosts makes ever other hops."""
    seen = Requests()
    for i in range(120_000):
        seen.add(("route-not-found", Subject("edge", destination=f"h{i}"), "gateway"), uid(i), float(i))
    assert len(seen.by_hop) <= 3 * MAX_ENTRIES


def test_many_ids_are_joined_on_a_sample(catalogue: Catalogue) -> None:
    n = 25_000
    mesh = {WEB: calls("cart", RELAYED, n, every=0.002), CART: serves("cart", REFUSED, n, every=0.002)}
    d = m.diagnose(mesh, catalogue)
    root, symptom = d.failures
    assert (m.name(root), root.confidence, root.requests) == ("upstream-connection-refused=cart", "confirmed", n)
    assert symptom.explained_by == (1,)
    summary = d.summary()["requests"]
    assert summary["sampled"]
    assert 0.9 * n < summary["failed"] < 1.1 * n


def test_ids_made_to_fill_the_sample_do_not_inflate_the_numbers(catalogue: Catalogue) -> None:
    """The checksum is no secret: who finds ids with small ones, at a price, must not make millions of requests of thousands."""
    forged: list[str] = []
    i = 0
    while len(forged) < 30_000:
        i += 1
        if requests_module._checksum(f"{i:x}") < ALL >> 5:
            forged.append(f"{i:x}")
    mesh = {
        "shop/evil-6f7c9d8b5d-h4mzq": [call(100 + k / 100, "stock", NO_HOST, x) for k, x in enumerate(forged)],
        WEB: calls("cart", RELAYED, 200),
        CART: serves("cart", REFUSED, 200),
    }
    d = m.diagnose(mesh, catalogue)
    (found,) = of(d.failures, "upstream-connection-refused=cart")
    assert (found.requests, found.confidence) == (200, "confirmed"), m.show(d)
    assert of(d.failures, "app-error=web -> cart")[0].explained_by == (found.rank,)
    assert d.summary()["requests"]["failed"] <= 30_500


@pytest.mark.parametrize(
    "broken",
    [
        lambda text: text.replace("\n", "\r\n").encode("latin-1"),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("latin-1") + b"\xff\xfe\x80\n",
        lambda text: text.encode() + bytes(64) + b"\n",
    ],
    ids=["latin-1 and CRLF", "byte-order mark", "UTF-16", "bytes of no text", "NULs of a node that lost its power"],
)
def test_requests_are_joined_in_any_encoding(
    broken: Callable[[str], bytes], catalogue: Catalogue, tmp_path: Path
) -> None:
    client = each(5, lambda i: call(10 + i, "cart", RELAYED, uid(i), agent="Caf\xe9/1.0"))
    folder = m.write(tmp_path / "logs", {CART: serves("cart", REFUSED, 5)})
    (folder / f"{WEB.replace('/', '_')}_istio-proxy.log").write_bytes(broken("".join(f"{line}\n" for line in client)))
    d = meshdiag.diagnose(folder, catalogue=catalogue)
    root, symptom = d.failures
    assert (root.cause, root.requests, root.confidence) == ("upstream-connection-refused", 5, "confirmed"), m.show(d)
    assert (symptom.requests, symptom.explained_by) == (5, (1,))
