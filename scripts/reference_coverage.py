#!/usr/bin/env python3
"""How much of a reference folder the catalogue covers, entry by entry.

    python scripts/reference_coverage.py PATH/TO/reference            the table, and what is missing or wrong
    python scripts/reference_coverage.py PATH/TO/reference --show ztunnel

The folder holds `istio.yaml`, `envoy.yaml` and `causes.yaml`: what the components write and which cause each text has.
Every entry is written as it would stand in a file (placeholders filled in, in the encodings of its component), read by
`meshdiag.formats`, looked for by the prefilter and matched by the catalogue. It is

    covered        each of its lines is matched, with a cause that the reference admits
    informational  the reference gives no cause, and no line is taken for a failure
    explained      something differs, and `coverage_notes.yaml` says why
    missing        a line that nothing matches
    wrong cause    a line that is matched with a cause that the reference does not admit

Exit code 0 when nothing is missing, wrong or stale (a note about an entry that is covered again), else 1; 2 when the
folder cannot be read. See README.md for how an entry becomes lines.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml

from meshdiag import formats
from meshdiag.catalogue import Catalogue
from meshdiag.catalogue.encodings import lines_of
from meshdiag.engine import prefilter
from meshdiag.engine.scan import alarming
from meshdiag.model import Kind, Record

NOTES = Path(__file__).with_name("coverage_notes.yaml")
Raw = Mapping[str, Any]
Causes = frozenset[str]

NONE: Causes = frozenset({"none"})
HARMLESS: Causes = frozenset()
"""Nothing needs to match; a failure must not."""

# -- what is checked ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """Text as it stands in a file (one record, on one or more lines) and who wrote it, when its file tells."""

    how: str
    text: str
    component: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One of `lines` must be matched with one of `causes`, and none with another failure.

    `causes` HARMLESS: a match is not needed. NONE: it must be known as harmless, or be nothing that meshdiag would show.
    """

    lines: tuple[Line, ...]
    causes: Causes
    pattern: bool = False
    """A pattern is needed even for a line that says nothing bad (a step of a start)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the reference; `id` is set when a pattern must name it in `covers`."""

    section: str
    name: str
    checks: tuple[Check, ...]
    id: str = ""
    faults: tuple[str, ...] = ()
    """What is wrong already without any line (for causes)."""


@dataclass(frozen=True, slots=True)
class Result:
    """`status` is covered, informational, explained, missing or wrong cause; `patterns` took its lines."""

    entry: Entry
    status: str
    patterns: tuple[str, ...]
    problems: tuple[str, ...]


STATUSES = ("covered", "informational", "explained", "missing", "wrong cause")


@dataclass(slots=True)
class Checker:
    """Runs the checks of an entry against a catalogue."""

    catalogue: Catalogue
    notes: Mapping[str, Mapping[str, str]]
    hits: prefilter.Prefilter = field(init=False)
    named: Causes = field(init=False)
    used: set[tuple[str, str]] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        self.hits = prefilter.make(prefilter.expressions(self.catalogue))
        self.named = frozenset(c for p in self.catalogue.patterns for c in p.covers)

    def run(self, entry: Entry) -> Result:
        """The result of an entry, with the notes taken into account."""
        problems: list[tuple[str, str]] = [("missing", f) for f in entry.faults]
        patterns: dict[str, None] = {}
        if entry.id and entry.id not in self.named and any(c.causes for c in entry.checks):
            problems.append(("missing", "no pattern names it in `covers`"))
        for check in entry.checks:
            problems += self._check(check, patterns)
        plain = entry.section not in ("causes", "benign_that_look_bad") and (
            not any(c.causes for c in entry.checks) or (not patterns and all(c.causes <= NONE for c in entry.checks))
        )
        status = "informational" if plain else "covered"
        if problems:
            wrong = any(kind == "wrong cause" for kind, _ in problems)
            status = "wrong cause" if wrong else "missing"
            if entry.name in self.notes.get(entry.section, {}):
                self.used.add((entry.section, entry.name))
                status = "explained"
        return Result(entry, status, tuple(patterns), tuple(dict.fromkeys(f"{k}: {t}" for k, t in problems)))

    def _check(self, check: Check, patterns: dict[str, None]) -> Iterator[tuple[str, str]]:
        good = False
        unmatched: list[str] = []
        for line in check.lines:
            found = list(self._matches(line))
            if not found:
                unmatched.append(f"no record in {line.how}: {line.text[:400]!r}")
            for record, pattern, cause, seen in found:
                if not pattern:
                    if "none" in check.causes and not check.pattern and not alarming(record):
                        good = True  # nothing that meshdiag would show
                    else:
                        unmatched.append(f"nothing matches {line.how}: {line.text[:400]!r}")
                    continue
                patterns[f"{pattern} ({cause})"] = None
                if cause in check.causes:
                    good = True
                    if not seen:
                        unmatched.append(f"the prefilter does not see {line.how} of {pattern}: {line.text[:300]!r}")
                        good = False
                elif check.causes == NONE and self._kind(cause) is Kind.HEALTHY:
                    good = True  # a milestone is no harm
                elif self._is_failure(cause) or check.causes:
                    wanted = " or ".join(sorted(check.causes)) or "no failure"
                    yield "wrong cause", f"{pattern} says {cause}, wanted {wanted}, {line.how}: {line.text[:400]!r}"
                    good = True
        if check.causes and not good:
            yield from (("missing", u) for u in unmatched[:2])

    def _kind(self, cause: str) -> Kind | None:
        return self.catalogue.causes[cause].kind if cause in self.catalogue.causes else None

    def _is_failure(self, cause: str) -> bool:
        return self._kind(cause) is Kind.FAILURE

    def _matches(self, line: Line) -> Iterator[tuple[Record, str, str, bool]]:
        """(record, pattern or "", its cause, whether the prefilter would show the line to the catalogue)."""
        records = list(formats.records(line.text.split("\n")))
        placed = [replace(r, component=r.component or line.component) for r in records]
        found = [(r, self.catalogue.find(r)) for r in placed]
        matched = [(r, p) for r, p in found if p is not None]
        if not matched:
            yield from ((r, "", "", False) for r, _ in found[:1])
        seen = bool(matched) and bool(self.hits.ends(memoryview(line.text.encode() + b"\n")))
        for r, p in matched:
            yield r, p.id, p.cause_of(r), seen

    def stale(self, sections: Iterable[str]) -> list[str]:
        """Notes that no entry of these sections needed."""
        return [
            f"{section}: {name}" for section in sections for name in self.notes.get(section, {})
            if (section, name) not in self.used
        ]  # fmt: skip


def causes_of(entry: Raw) -> Causes:
    """Every cause the reference admits for an entry, without those that refer to another table."""
    named = [entry.get("cause", "none"), *_listed(entry.get("also"))]
    for rule in (*entry.get("cause_by", ()), *entry.get("by_error", ())):
        named += [rule["cause"], *_listed(rule.get("also"))]
    return frozenset(n for n in named if re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", n))


def _listed(value: Any) -> list[str]:
    if isinstance(value, list):
        return [str(v) for v in value]
    return re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)+", str(value or ""))


# -- the lines of Istio's own components -------------------------------------------------------------------------------

ADDRESS = "10.96.0.10:15012"
NEUTRAL = "unexpected condition"
"""An inner error that says nothing, so that the line around it decides."""

PLACEHOLDERS: Mapping[str, str] = {
    "<...>": 'failed to call webhook: Post "https://istiod.istio-system.svc:443/inject?timeout=10s":',
    "<action>": "UNKNOWN", "<actual>": "[Spiffe { trust_domain: cluster.local }]", "<address>": ADDRESS,
    "<app path>": "/healthz", "<args>": "-c etc/istio/proxy/envoy-rev.json --drain-time-s 45", "<arguments>": "-t nat -N ISTIO_OUTPUT",
    "<binary>": "iptables-restore", "<body>": NEUTRAL, "<bool>": "true", "<build>": "1.24.0-0a1b2c3d-Clean",
    "<bytes>": "1.2kB", "<cause>": NEUTRAL, "<chain>": "-----BEGIN CERTIFICATE-----", "<class>": "istio-waypoint",
    "<cluster>": "Kubernetes", "<code>": "13", "<component>": "discovery", "<config>": "VirtualService/prod/reviews",
    "<ctx>": "10.42.0.9:51222->10.42.0.17:9080", "<data>": '"max_age"', "<details>": NEUTRAL, "<dir>": "/host/etc/cni/net.d",
    "<dirs>": "/opt/cni/bin", "<dump>": "ENVOY_PORT=\nINBOUND_CAPTURE_PORT=", "<duration>": "10.5s", "<error>": NEUTRAL,
    "<errors>": f"* {NEUTRAL}", "<events>": "3", "<expected>": "[Spiffe { trust_domain: cluster.local }]", "<field>": "hosts",
    "<file>": "k8s.io/client-go@v0.29.0/tools/cache/reflector.go:229", "<flag>": "concurrency",
    "<gateway>": "prod/public", "<host>": "reviews.prod.svc.cluster.local", "<hosts>": "[shop.example.com]",
    "<id>": "reviews-v1-7f8b9c6d5-x2x4z.prod-42", "<identity>": "spiffe://cluster.local/ns/prod/sa/reviews",
    "<ids>": "[spiffe://cluster.local/ns/prod/sa/reviews]", "<ip>": "10.42.0.17", "<issuer>": "O=cluster.local",
    "<json>": "{}", "<key>": "prod/reviews", "<keys>": "ca.crt", "<kind>": "VirtualService", "<list>": "[east west]",
    "<local>": "Kubernetes", "<lock>": "istio-leader", "<m>": "2", "<message>": NEUTRAL, "<method>": "StreamAggregatedResources",
    "<min>": "v1.0.0", "<more>": "See the documentation.", "<n>": "3", "<name>": "reviews", "<names>": "[istiod.istio-system.svc]",
    "<namespace>": "prod", "<namespaces>": "[prod]", "<network>": "network-2", "<node>": "node-1", "<op>": "WRITE",
    "<path>": "/etc/istio/proxy/XDS", "<peer>": "10.42.0.17:41234", "<pem>": "-----BEGIN CERTIFICATE-----",
    "<pod>": "prod/reviews-v1-7f8b9c6d5-x2x4z", "<policy>": "prod/deny-all", "<port>": "8443", "<protocol>": "HTTPS",
    "<provider>": "citadel", "<proxy>": "reviews-v1-7f8b9c6d5-x2x4z.prod", "<reason>": NEUTRAL, "<reasons>": NEUTRAL,
    "<registry>": "Kubernetes", "<repository>": "istio/basic-auth", "<resource>": "default", "<root name>": "shop",
    "<root namespace>": "prod", "<route>": "http.8080", "<rules>": "* nat\n-N ISTIO_INBOUND\nCOMMIT", "<sa>": "ztunnel",
    "<sans>": "[istiod.istio-system.svc]", "<scheme>": "ftp", "<secret>": "istio-ca-secret", "<server>": "https-443",
    "<service>": "istiod", "<set>": "istio-inpod-probes-v4", "<shard>": "Kubernetes/Kubernetes", "<signal>": "SIGTERM",
    "<sn>": "4f3e2d1c", "<state>": "INITIALIZING", "<stats>": "server.state: 2", "<status>": NEUTRAL,
    "<subject>": "", "<t1>": "2026-11-22T10:11:12Z", "<t2>": "2026-11-21T10:11:12Z", "<t>": "2026-11-22T10:11:12Z",
    "<tag>": "1.24.0", "<task>": "state manager", "<text>": NEUTRAL, "<time>": "2026-11-22T10:11:12Z",
    "<trust domain>": "cluster.local", "<type>": "*v1.Deployment", "<uid>": "0f3e2a71-5d0c-4d5b-9a3c-6c1d7e2f9b10",
    "<uri>": "https://idp.example.com/jwks", "<url>": "https://istiod.istio-system.svc:443/inject?timeout=10s",
    "<validation webhook>": "validation.istio.io", "<value>": "abc", "<verb>": "list", "<group>": "apps",
    "<version>": "v0.8.0", "<warning>": "telemetry v1 is deprecated", "<webhook>": "namespace.sidecar-injector.istio.io",
    "<workload>": "prod/reviews-v1-7f8b9c6d5-x2x4z", "<yaml>": "concurrency: 2\n", "<Code>": "Unknown", "<description>": NEUTRAL,
    "<a>": "reviews-a", "<b>": "reviews-b", "<c>": "reviews-c", "<d>": "reviews-d",
}  # fmt: skip
"""A plausible value for each placeholder of istio.yaml."""

TYPE_URL = "type.googleapis.com/envoy.config.cluster.v3.Cluster"

FILLED: Mapping[str, Mapping[str, str]] = {
    "pa-xds-*": {"<url>": TYPE_URL, "<id>": "42"},
    "pa-nr-not-received*": dict.fromkeys(("<a>", "<b>", "<c>", "<d>"), "0"),
    "pa-nr-rejected": {"<a>": "0", "<b>": "1", "<c>": "0", "<d>": "1"},
    "pa-nr-partial": {"<a>": "1", "<b>": "0", "<c>": "0", "<d>": "0"},
    "pa-ads-*": {"<peer>": ""},
    "pa-dns-start*": {"<protocol>": "udp", "<address>": "localhost:15053"},
    "pa-dns-listen-failed": {"<protocol>": "udp", "<address>": "localhost:15053"},
    "pa-cred-fetcher": {"<type>": "JWT"},
    "pa-invalid-proxy-type": {"<type>": "sidekick"},
    "pa-cert-watch-add": {"<path>": "{/etc/certs/tls.crt default}"},
    "pa-cert-file-event": {"<path>": "/etc/certs/tls.crt"},
    "pa-drain-*": {"<path>": "/drain"},
    "pa-quit": {"<path>": "/quitquitquit"},
    "pa-probe-*": {"<path>": "/app-health/reviews/livez"},
    "pa-scrape-error": {"<url>": "http://localhost:9090/metrics"},
    "pa-wasm-*": {"<url>": "oci://registry.example.com/filter:v1"},
    "pa-wasm-link-local": {"<ip>": "169.254.169.254"},
    "pa-ca-*": {"<address>": "istiod.istio-system.svc:15012", "<path>": "/var/run/secrets/istio/root-cert.pem"},
    "pa-csr-nonretry-old": {"<code>": "401"},
    "pe-grpc-closed-14": {"<reason>": "connect: connection refused"},
    "id-ads-*": {"<error>": "rpc error: code = Canceled desc = context canceled"},
    "id-*-provider": {"<provider>": "otel"},
    "id-tracing": {"<provider>": "otel"},
    "id-gw-no-vs": {"<gateway>": "prod/public"},
    "id-klog-throttle*": {"<method>": "GET", "<url>": "https://10.96.0.1:443/apis/apps/v1/deployments"},
    "id-klog-failed-watch*": {"<error>": 'deployments.apps is forbidden: User "system:serviceaccount:istio-system:istiod" '
                              'cannot list resource "deployments" in API group "apps" at the cluster scope'},
    "id-klog-list-warn": {"<error>": 'deployments.apps is forbidden: User "system:serviceaccount:istio-system:istiod" '
                          'cannot list resource "deployments" in API group "apps" at the cluster scope'},
    "id-crd-ready": {"<resource>": "gateways.gateway.networking.k8s.io"},
    "id-crd-version": {"<name>": "gateways.gateway.networking.k8s.io"},
    "id-push*": {"<type>": "CDS", "<proxy>": "reviews-v1-7f8b9c6d5-x2x4z.prod"},
    "id-send-failure": {"<type>": "CDS"},
    "id-ack-error*": {"<type>": "LDS"},
    "id-push-status": {"<json>": '{"pilot_vservice_dup_domain":{"shop.example.com:80":{"proxy":"a.prod","message":"duplicate domain"}}}'},
    "id-sds-*": {"<resource>": "kubernetes://shop-credential", "<name>": "shop-credential", "<names>": "kubernetes://shop-credential"},
    "id-watch-error": {"<cluster>": "east"},
    "id-flags": {"<json>": '{\n   "ServerOptions": {}\n}'},
    "iv-listen": {"<address>": "127.0.0.1:15006"},
    "zt-version": {"<build>": 'version.BuildInfo{Version:"33af17df", RustVersion:"1.71.0", BuildStatus:"Clean", IstioVersion:"1.24.2"}'},
    "id-ap-processed": {"<errors>": "1 error occurred:\n\t* ns[prod]-policy[deny-all]-rule[0]: unsupported value"},
    "id-val-unknown": {"<type>": "networking.istio.io/v1, Kind=Gatewa"},
    "ii-cmd-error*": {"<class>": "xtables other problem"},
    "ii-panic-old": {"<n>": "1"},
    "cn-copied": {"<file>": "istio-cni", "<dir>": "/host/opt/cni/bin"},
    "cn-preempted": {"<a>": "10-calico.conflist", "<b>": "05-cilium.conflist"},
    "cn-ipset*": {"<ip>": "10.42.0.17"},
    "cn-get-pod": {"<error>": 'pods "reviews" not found'},
    "cp-push": {"<code>": "500", "<body>": NEUTRAL},
    "ck-sandbox-notfound": {"<text>": 'rpc error: code = Unknown desc = failed to setup network for sandbox "0f3e2a71":'},
    "ck-sandbox": {"<id>": "0f3e2a71"},
    "ev-poststart": {"<code>": "137"},
    "ze-signing": {"<code>": "The system is not in a state required for the operation's execution"},
    "ze-san-td": {"<expected>": "cluster.local", "<actual>": "other.local"},
    "zt-*": {"<id>": "24"},
    "zt-cni-connect*": {"<path>": '"/var/run/ztunnel/ztunnel.sock"'},
    "cn-ztunnel-gone": {"<n>": "0"},
}  # fmt: skip
"""Values for single entries, where the general one would not be plausible. `*` at an end stands for anything."""

ROUTINE: Mapping[str, Mapping[str, str]] = {
    "id-klog-throttle": {"<duration>": "1.19s"},
    "id-lease-update": {
        "<error>": 'Operation cannot be fulfilled on leases.coordination.k8s.io "istio-leader": the object has been modified; '
        "please apply your changes to the latest version and try again"
    },
    "id-val-not-ready": {"<reason>": "dummy invalid config not rejected"},
    "id-csr-impersonate-failed": {"<error>": 'no instances of "k8s:prod/reviews" found on node "node-1"'},
    "zt-tls-server": {"<error>": "tls handshake eof"},
}
"""Values that make a line of `benign_that_look_bad` the routine one that its `why` speaks of."""

TEXTS: Mapping[str, tuple[str, ...]] = {
    # optional parts and alternatives of a text
    "<Adding|Updating>": ("Adding", "Updating"),
    "<GCP|AWS|Azure>": ("GCP", "AWS", "Azure"),
    "<allow|deny>": ("allow", "deny"),
    "<: >": (": ", " "),
    "<tls: failed to verify certificate: >": ("", "tls: failed to verify certificate: "),
}

LABELS: Mapping[str, str] = {
    "address": "0.0.0.0:15008", "added": "true", "attempt": "3", "client": "10.42.0.17:41234", "cluster": "east",
    "component": "inbound", "config": "istio-system/istio-remote-secret-east", "controller": "ingress", "delay": "1.2s",
    "deleted": "false", "direction": "inbound", "domain": "prod.svc.cluster.local", "dst.addr": "10.42.0.17:9080",
    "err": NEUTRAL, "error": NEUTRAL, "hostname": "example.com", "id": "reviews-v1-7f8b9c6d5-x2x4z.prod", "ips": "[10.42.0.17]",
    "latency": "52.1ms", "local": "10.42.0.17:15001", "name": "reviews-v1-7f8b9c6d5-x2x4z", "namespace": "prod", "netns": "/proc/1/ns/net",
    "nonce": "abc", "ns": "prod", "path": "/inject", "peer": "10.42.0.9:51222", "pod": "prod/reviews-v1-7f8b9c6d5-x2x4z",
    "reason": "client-side throttling, not priority and fairness", "reflector": "k8s.io/client-go@v0.33.0/tools/cache/reflector.go:285",
    "resource": "default", "resourceName": "default", "src.addr": "10.42.0.9:51222", "time": "1.2s", "transparent": "true",
    "ttl": "23h59m59s", "type": "*v1.Deployment", "type_url": "type.googleapis.com/istio.workload.Address",
    "uid": "0f3e2a71-5d0c-4d5b-9a3c-6c1d7e2f9b10", "URL": "https://10.96.0.1:443/api/v1/pods", "verb": "GET", "version": "V1",
}  # fmt: skip
LABELS_OF: Mapping[str, Mapping[str, str]] = {
    "pa-proxy-role": {"type": "sidecar"},
    "pa-xds-*": {"id": "42"},
    "zt-xds-nack": {"type": "Nack"},
    "zt-access-deny": {"error": "connection closed due to policy rejection: explicitly denied by: prod/deny-all"},
}

COMPONENTS = {
    "istiod": "istiod",
    "istio-init": "istio-init",
    "istio-cni": "istio-cni",
    "inject": "istiod",
    "ztunnel": "ztunnel",
}
"""What the name of the file or pod tells about who writes; the agent shares its container with Envoy."""

INNER = ("<error>", "<reasons>", "<reason>", "<message>", "<text>", "<status>", "<cause>", "<details>")
"""Placeholders that hold an inner error."""

WHOLE: Mapping[str, str] = {
    # what a rule of `by_error` names only in part, as the text really goes on
    "lookup x on ": "lookup istiod.istio-system.svc on 10.96.0.10:53: read udp 10.42.0.9:40123->10.96.0.10:53: read: connection refused",
    "context deadline": "context deadline exceeded",
    "Wasm": "Unable to create Wasm plugin prod.auth",
    "wasm": "Unable to create Wasm HTTP filter prod.wasm",
    "expired": "failed to create an istiod CA: x509: certificate has expired or is not yet valid",
    "cannot verify the cert": "failed to create an istiod CA: cannot verify the cert with the provided root chain and cert pool "
    "with error: "
    "x509: certificate signed by unknown authority",
    "x509: certificate": "failed to list *v1.Pod: x509: certificate signed by unknown authority",
    "Unauthorized": "failed to list *v1.Pod: Unauthorized",
    "PermissionDenied": 'status: PermissionDenied, message: "not allowed"',
    "Expired": "invalid peer certificate: Expired",
    "unreachable": "Network is unreachable (os error 101)",
    "trustdomain": "identity verification error: peer did not present the expected trustdomain (cluster.local), got other.local",
}
INNER_OF = {"ze-signing": "<code>"}
"""The placeholder that the rules are about, where it is not the last inner error."""

PREFIXES = ("ze-send", "ze-receive", "ze-shutdown")
"""Fragments that stand before another error, which decides."""

EVENTS: Mapping[str, tuple[str, str]] = {
    "ev-wh": ("FailedCreate", "replicaset/reviews-v1-7f8b9c6d5"),
    "ev-val": ("FailedCreate", "replicaset/reviews-v1-7f8b9c6d5"),
    "ev-mount": ("FailedMount", "pod/reviews-v1-7f8b9c6d5-x2x4z"),
    "ev-ready": ("Unhealthy", "pod/reviews-v1-7f8b9c6d5-x2x4z"),
    "ev-startup": ("Unhealthy", "pod/reviews-v1-7f8b9c6d5-x2x4z"),
    "ev-poststart": ("FailedPostStartHook", "pod/reviews-v1-7f8b9c6d5-x2x4z"),
    "ev-oom": ("OOMKilled", "pod/reviews-v1-7f8b9c6d5-x2x4z"),
    "ev-back-off": ("BackOff", "pod/reviews-v1-7f8b9c6d5-x2x4z"),
    "ck-": ("FailedCreatePodSandBox", "pod/reviews-v1-7f8b9c6d5-x2x4z"),
    "cr-": ("SidecarRepair", "pod/reviews-v1-7f8b9c6d5-x2x4z"),
}
"""Reason and object of the events, by the beginning of the id."""

CARRIERS: Mapping[str, tuple[tuple[str, str], ...]] = {
    # how the error texts of `kind: fragment` occur: (component, message around it) by the beginning of the id
    "pa-nr-": (("pilot-agent", "Envoy proxy is NOT ready: {}"),),
    "pa-dns-not-ready": (("pilot-agent", "Envoy proxy is NOT ready: {}"),),
    "pa-csr-": (("pilot-agent", "failed to warm certificate: failed to generate workload certificate: {}"),),
    "pa-gen-workload": (("pilot-agent", "failed to warm certificate: {}"),),
    "pa-gen-secret": (("envoy", "StreamSecrets gRPC config stream closed: 2, {}"),),
    "pa-cred-failed": (("pilot-agent", "failed to sign CSR: create certificate: rpc error: code = Unauthenticated desc = {}"),),
    "pa-xds-tls": (("pilot-agent", "failed to init xds proxy dial options: {}"),),
    "pa-xds-send": (("pilot-agent", "upstream terminated with unexpected error {}"),),
    "pa-wasm-": (("pilot-agent", "error in converting the wasm config to local: {}. applying deny RBAC filter"),),
    "pa-scrape-": (("pilot-agent", "failed scraping application metrics: {}"),),
    "id-authn-": (("istiod", "Failed to authenticate client from 10.42.0.17:41234: Authenticator KubeJWTAuthenticator: {}; "),),
    "id-csr-reject": (("pilot-agent", "failed to sign CSR: create certificate: rpc error: code = Unauthenticated desc = {}"),),
    "id-csr-impersonate": (("istiod", "impersonation failed for identity spiffe://cluster.local/ns/prod/sa/reviews, error: {}"),),
    "id-not-ready-xds": (("pilot-agent", "upstream terminated with unexpected error rpc error: code = Unavailable desc = {}"),),
    "id-sds-": (("istiod", "failed to fetch key and certificate for kubernetes://shop-credential: {}"),),
    "id-ap-": (("istiod", "Processed authorization policy: 1 error occurred:\n\t* ns[prod]-policy[deny-all]-rule[0]: {}"),),
    "id-tel-svc": (("istiod", 'could not find cluster for tracing provider "otel": {}'),),
    "id-amb-ztunnel-off": (("ztunnel", "XDS client error: gRPC error (Unknown): {}, retrying in 1s"),),
    "id-wle-": (("istiod", "{}"), ("pilot-agent", "upstream terminated with unexpected error rpc error: code = Unknown desc = {}")),
    "iv-": (("istio-init", "Validation failed: {}"),),
    "cn-": (("istio-cni", "{}"), ("istio-cni", "failed to handle add event: {}")),
    "cp-": (("istio-cni", "istio-cni cmdAdd error: {}"),),
    "ij-": (("istiod", "{}"), ("istiod", "Pod injection failed: {}")),
    "ij-nobody": (("istiod", "{}"),),
    "ze-xds": (("ztunnel", "XDS client connection error: {}, retrying in 1s"),),
    "ze-hint": (("ztunnel", "XDS client error: gRPC error (Unauthenticated): authentication failure {}, retrying in 1s"),),
    "ze-hint-dns": (("ztunnel", "XDS client connection error: gRPC connection error connecting to https://istiod.istio-system.svc:15012: "
                     "status: Unknown, dns error: failed to lookup address information {}, retrying in 1s"),),
    "ze-root": (("ztunnel", "XDS client connection error: {}, retrying in 1s"),),
    "ze-bind": (("ztunnel", "failed to start proxy: {}"),),
}  # fmt: skip


REFUSED_CLIENT = (
    "Failed to authenticate client from 10.42.0.17:41234: {}; Authenticator KubeJWTAuthenticator: failed to validate the JWT from cluster "
    '"Kubernetes": the service account authentication returns an error: [invalid bearer token, service account token has expired]; '
)
JUDGED: Mapping[str, tuple[str, str]] = {
    "id-authn-cert": (REFUSED_CLIENT, "ca-rejected-identity"),
    "id-authn-cert-chain": (REFUSED_CLIENT, "ca-rejected-identity"),
}
"""Fragments that decide nothing: the line around them, and the cause that its other part gives."""


def by_name(table: Mapping[str, Any], name: str) -> list[Any]:
    """The values of the keys that name this id, the most general first; `*` at an end stands for anything."""
    found = [k for k in table if re.fullmatch(re.escape(k).replace(r"\*", ".*"), name)]
    return [table[k] for k in sorted(found, key=len)]


def by_beginning(table: Mapping[str, Any], name: str) -> Any:
    """The value of the longest key that begins the id, or None."""
    found = max((k for k in table if name.startswith(k)), key=len, default=None)
    return None if found is None else table[found]


def filled(text: str, name: str = "", **given: str) -> list[str]:
    """The text with its placeholders filled in; several when it has alternatives."""
    values = dict(PLACEHOLDERS)
    for more in by_name(FILLED, name):
        values.update(more)
    values.update({f"<{k.replace('_', ' ')}>": v for k, v in given.items()})
    out = [text]
    for mark, choices in TEXTS.items():
        out = [t.replace(mark, c) for t in out for c in (choices if mark in t else ("",))]
    return [re.sub(r"<[^<>\n]{1,40}>", lambda m: values.get(m[0], m[0].strip("<>")), t) for t in out]


def samples(expression: str) -> list[str]:
    """Short texts in which a simple regular expression is found: one for each of its alternatives."""
    from re import _parser  # type: ignore[attr-defined]

    return list(dict.fromkeys(_written(_parser.parse(expression))))


def _written(nodes: Any) -> list[str]:
    out = [""]
    for op, arg in nodes:
        out = [a + b for a, b in itertools.islice(itertools.product(out, _written_one(str(op), arg)), 64)]
    return out


def _written_one(op: str, arg: Any) -> list[str]:
    match op:
        case "LITERAL":
            return [chr(arg)]
        case "ANY":
            return ["x"]
        case "IN":
            kind, value = arg[0]
            if str(kind) == "CATEGORY":
                return {"CATEGORY_DIGIT": ["7"], "CATEGORY_SPACE": [" "]}.get(str(value), ["x"])
            return [chr(value if str(kind) == "LITERAL" else value[0])] if str(kind) != "NEGATE" else ["x"]
        case "BRANCH":
            return [t for branch in arg[1] for t in _written(branch)]
        case "SUBPATTERN":
            return _written(arg[3])
        case "MAX_REPEAT" | "MIN_REPEAT":
            least, most, inner = arg
            return ["", *_written(inner)] if (least, most) == (0, 1) else _written(list(inner) * max(least, 1))
        case _:
            return [""]


def component_lines(component: str, message: str, entry: Raw, known: bool = True) -> tuple[Line, ...]:
    """A message in every encoding of the component that writes it."""
    name = entry.get("id", "")
    labels = {k: LABELS.get(k, "x") for k in entry.get("labels", ())}
    for more in by_name(LABELS_OF, name):
        labels.update({k: v for k, v in more.items() if k in labels})
    scope, level = entry.get("scope", ""), entry.get("level", "error")
    fmt = "istio-log"
    if component == "envoy" or scope.startswith("envoy"):
        fmt, scope, component = "envoy-log", scope.partition(" ")[2] or entry.get("component", "config"), "envoy"
    elif component == "ztunnel":
        fmt = "ztunnel-log"
        if scope == "access":
            return tuple(access_lines_of_ztunnel(message, level, labels))
    example = {
        "message": message,
        "scope": "" if scope in ("default", "(default)") else re.sub(r"<\w+>", "24", scope),
        "level": level if level in LEVELS else "error",
        "labels": {k: int(v) if v.isdigit() else v for k, v in labels.items()},
        "format": fmt,
    }
    return tuple(Line(how, text, component if known else "") for how, text in _plain(example, component))


LEVELS = frozenset({"trace", "debug", "info", "warn", "warning", "error", "critical", "fatal"})


def _plain(example: Raw, component: str) -> Iterator[tuple[str, str]]:
    """Without the wrappers around a line (CRI, docker, --prefix): those are the business of the formats."""
    for how, text in lines_of(example, (example["format"],), component):
        if not how.endswith(("under CRI", "in docker JSON", "with --prefix")):
            yield how, text


TIME = "2026-11-22T10:11:12.123456Z"


def access_lines_of_ztunnel(message: str, level: str, fields: Raw) -> Iterator[Line]:
    """An access line of ztunnel, text and JSON, with what the entry says in its usual place."""
    known = {
        "src.addr": "10.42.0.9:51222", "src.workload": "shop-7f8b9c6d5-x2x4z", "src.namespace": "prod",
        "src.identity": "spiffe://cluster.local/ns/prod/sa/shop", "dst.addr": "10.42.0.17:15008", "dst.hbone_addr": "10.42.0.17:9080",
        "dst.service": "reviews.prod.svc.cluster.local", "dst.workload": "reviews-v1-7f8b9c6d5-q2q4q", "dst.namespace": "prod",
        "direction": "inbound", "bytes_sent": "0", "bytes_recv": "0", "duration": "3ms",
    }  # fmt: skip
    values = {**({} if message == "connection failed" else known), **fields}
    bare = ("src.addr", "dst.addr", "dst.hbone_addr", "bytes_sent", "bytes_recv")
    text = " ".join(f"{k}={v}" if k in bare else f"{k}={json.dumps(v)}" for k, v in values.items())
    yield Line("ztunnel access text", f"{TIME}\t{level}\taccess\t{message}\t{text}")
    numbers = {k: int(v) if k.startswith("bytes") else v for k, v in values.items()}
    head = {"level": level, "time": TIME, "scope": "access", "message": message}
    yield Line("ztunnel access JSON", json.dumps({**head, **numbers}, separators=(",", ":")))


def event_lines(name: str, message: str) -> tuple[Line, ...]:
    """An event as `kubectl get events` and `kubectl describe` show it, and as the answer of the API server."""
    reason, about = by_beginning(EVENTS, name) or ("Failed", "pod/reviews-v1-7f8b9c6d5-x2x4z")
    out = [
        Line("kubectl get events", f"12s         Warning   {reason}   {about}   {message}"),
        Line("kubectl describe", f"  Warning  {reason}  12s (x3 over 2m)  kubelet  {message}"),
    ]
    if name.startswith("ev-oom"):
        out = [
            Line(
                "kubectl describe",
                "    Last State:     Terminated\n      Reason:       OOMKilled\n      Exit Code:    137",
            ),
            *out,
        ]
    if name.startswith(("ev-wh", "ev-val")):
        out.append(
            Line("answer of the API server", f"Error from server (InternalError): Internal error occurred: {message}")
        )
    return tuple(out)


# -- istio.yaml --------------------------------------------------------------------------------------------------------

SECTIONS = ("pilot-agent", "istiod", "istio-init", "istio-cni", "inject", "ztunnel")


def istio_entries(ref: Raw) -> Iterator[Entry]:
    """Every entry of istio.yaml."""
    for section in SECTIONS:
        for entry in ref[section]["messages"]:
            needed = tuple(replace(c, pattern=bool(c.causes)) for c in _message_checks(ref, section, entry))
            yield Entry(section, entry["id"], needed, id=entry["id"])
    for entry in ref["istiod"]["push_status_keys"]:
        yield Entry("push_status_keys", entry["key"], (_push_status(entry),))
    for entry in ref["ztunnel"]["access_log"]["errors"]:
        yield Entry("ztunnel access errors", entry["error"], tuple(_ztunnel_error(ref, entry)))
    for entry in ref["analysis_messages"]["messages"]:
        yield Entry("analysis_messages", entry["code"], tuple(_analysis(entry)))
    for entry in ref["shared_error_texts"]:
        yield Entry("shared_error_texts", entry["text"], tuple(_shared(entry)))
    messages = {m["id"]: (s, m) for s in SECTIONS for m in ref[s]["messages"]}
    for group in ref["benign_that_look_bad"]:
        for name in group["ids"]:
            section, entry = messages[name]
            routine = entry["text"]
            for mark, value in ROUTINE.get(name, {}).items():
                routine = routine.replace(mark, value)
            checks = _message_checks(ref, section, {**entry, "text": routine, "by_error": ()})
            lines = tuple(line for c in checks for line in c.lines)
            if entry.get("kind") == "fragment" and not name.startswith("pa-nr-"):  # alone, not in the line that fails
                lines = tuple(Line("text alone", t) for t in filled(entry["text"], name))
            yield Entry("benign_that_look_bad", name, (Check(lines, HARMLESS),))


def is_informational(entry: Raw) -> bool:
    """No cause, nothing that alarms, no step of a start: it needs no pattern."""
    return causes_of(entry) == NONE and entry.get("level") in ("info", "debug") and "stage" not in entry


def _message_checks(ref: Raw, section: str, entry: Raw) -> Iterator[Check]:
    causes = HARMLESS if is_informational(entry) else causes_of(entry)
    direct = frozenset({entry["cause"], *_listed(entry.get("also"))}) if causes else HARMLESS
    for text in filled(entry["text"], entry["id"]):
        yield from _written_checks(ref, section, entry, text, causes if entry.get("by_error") else direct)
    for text, cause in _by_error(entry):
        yield from _written_checks(ref, section, entry, text, frozenset({cause, *_listed(entry.get("also"))}))


def _written_checks(ref: Raw, section: str, entry: Raw, text: str, causes: Causes) -> Iterator[Check]:
    """The lines of a message. Every encoding must be matched; of the places of a fragment, one must."""
    kind = entry.get("kind") or ("fragment" if entry.get("level") == "fragment" else "")
    component = COMPONENTS.get(section, section)
    name = entry["id"]
    if kind == "event":
        yield from (Check((line,), causes) for line in event_lines(name, text)[: 1 if name in ("ev-oom",) else None])
        return
    if kind == "plain":
        yield Check((Line("plain text", text, component),), causes)
        return
    if kind == "fragment":
        yield from _fragment_checks(ref, section, name, text, causes)
        return
    lines = component_lines(component, text, entry)
    yield from (Check((line,), causes) for line in lines)
    yield from (
        Check((replace(line, how=f"{line.how}, writer not known", component=""),), causes) for line in lines[:1]
    )
    for change in _histories(entry):
        yield from (Check((line,), causes) for line in component_lines(component, text, {**entry, **change})[:1])


def _histories(entry: Raw) -> Iterator[dict[str, str]]:
    for key in ("scope", "level"):
        for value in re.findall(r": ([\w:-]+)", entry.get(f"{key}_history", "")):
            if value != entry.get(key) and (key == "scope" or value in LEVELS):
                yield {key: value}


def _fragment_checks(ref: Raw, section: str, name: str, text: str, causes: Causes) -> Iterator[Check]:
    component = COMPONENTS.get(section, section)
    carriers = by_beginning(CARRIERS, name)
    if carriers is None and name.startswith("ze-"):
        yield from _in_access_lines(ref, name, text, causes)
        return
    if causes == NONE and name in JUDGED:  # a part that says nothing: the part beside it decides
        around, cause = JUDGED[name]
        yield from (
            Check((line,), one(cause)) for line in component_lines(component, around.format(text), {"id": name})
        )
        return
    places = [(c, around.format(text)) for c, around in carriers or ((component, "{}"),)]
    lines = [line for c, message in places for line in component_lines(c, message, {"id": name})]
    admitted = causes.union(*(_outer_causes(ref, message) for _, message in places if message != text))
    alone = Line("text alone, as a command or the end of a process prints it", f"Error: {text}", component)
    events: tuple[Line, ...] = ()
    if section == "istio-cni":
        events = event_lines("ck-sandbox", SANDBOX + text)
    if section == "inject" and causes != NONE:
        events = event_lines("ev-wh", f"Error creating: {DENIED}{text}")
    yield Check((*lines, alone, *events), admitted)


SANDBOX = (
    'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "0f3e2a71": '
    'plugin type="istio-cni" name="istio-cni" failed (add): '
)
DENIED = 'admission webhook "namespace.sidecar-injector.istio.io" denied the request: '


def _outer_causes(ref: Raw, message: str) -> Causes:
    """What the reference says of the line in which a fragment stands, by the rules of that line."""
    for section in SECTIONS:
        for entry in ref[section]["messages"]:
            head = entry["text"].partition("<")[0]
            if entry.get("by_error") and len(head) > 10 and message.startswith(head):
                decided = next((r["cause"] for r in entry["by_error"] if re.search(r["match"], message)), "")
                # the default of the line counts only where the text inside it says nothing itself
                return one(decided or entry["cause"]) if decided or NEUTRAL in message else frozenset()
    return frozenset()


def _in_access_lines(ref: Raw, name: str, text: str, causes: Causes) -> Iterator[Check]:
    """An error of ztunnel on both sides. The table of access errors is more precise, by direction; and on the client's
    side, where the peer is port 15008, it is the peer's ztunnel that failed (`access_log.reading`)."""
    inner = "io error: Connection reset by peer (os error 104)"
    if name in PREFIXES:
        text, causes = text.replace(NEUTRAL, inner), causes | one("upstream-connection-closed")
    for direction in ("inbound", "outbound"):
        rows = ref["ztunnel"]["access_log"]["errors"]
        more = [
            r["cause"]
            for r in rows
            if r["direction"] in (direction, "either") and text.startswith(filled(r["error"])[0])
        ]
        admitted = causes.union(more, ["ztunnel-upstream-failed"] if direction == "outbound" else [])
        for line in access_lines_of_ztunnel("connection complete", "error", {"direction": direction, "error": text}):
            yield Check((replace(line, how=f"{line.how}, {direction}"),), admitted)


def _by_error(entry: Raw) -> Iterator[tuple[str, str]]:
    """(text, cause) for every alternative of every rule, with the cause that the rules, read in order, give it."""
    rules = entry.get("by_error", ())
    template: str = entry["text"]
    marks = re.findall(r"<[^<>]+>", template)
    head = template.partition("<")[0]
    inner = INNER_OF.get(entry["id"]) or next((m for m in reversed(marks) if m in INNER), "")
    for rule in rules:
        for sample in (WHOLE.get(s, s) for s in samples(rule["match"])):
            if head and sample.startswith(head):
                text = filled(template.replace(marks[0], sample[len(head) :].rstrip(": "), 1), entry["id"])[0]
            else:
                text = filled(template.replace(inner, sample) if inner else f"{template} {sample}", entry["id"])[0]
            cause = next((r["cause"] for r in rules if re.search(r["match"], text)), entry["cause"])
            yield text, cause


def _push_status(entry: Raw) -> Check:
    """The key in the status that istiod prints after a push: indented JSON, and the one-line form of JSON logs."""
    status = {
        entry["key"]: {"reviews.prod.svc.cluster.local": {"proxy": "shop-7f8b9c6d5-x2x4z.prod", "message": NEUTRAL}}
    }
    causes = HARMLESS if causes_of(entry) == NONE else causes_of(entry)
    example = {"id": "", "scope": "ads", "level": "info"}
    lines = [
        *component_lines("istiod", "Push Status: " + json.dumps(status, indent=4), example),
        *component_lines("istiod", "Push Status: " + json.dumps(status), example),
    ]
    return Check(tuple(lines), causes)


def _ztunnel_error(ref: Raw, entry: Raw) -> Iterator[Check]:
    directions = ("inbound", "outbound") if entry["direction"] == "either" else (entry["direction"],)
    causes = causes_of(entry)
    for part in entry["error"].split(" / "):
        (text,) = filled(part)
        if entry["cause"] == "none":  # a prefix: the inner error decides
            yield from _in_access_lines(ref, PREFIXES[0], text, NONE)
            continue
        for direction in directions:
            for line in access_lines_of_ztunnel(
                "connection complete", "error", {"direction": direction, "error": text}
            ):
                yield Check((replace(line, how=f"{line.how}, {direction}"),), causes)


def _analysis(entry: Raw) -> Iterator[Check]:
    """The message, and its earlier wordings, as every version prints it."""
    causes = HARMLESS if causes_of(entry) == NONE and entry["level"] == "Info" else causes_of(entry)
    for wording in ({"template": entry["template"], "level": entry["level"]}, *entry.get("earlier", ())):
        values = {"%d": "8080", "%t": "true", "%q": '"reviews"', "%v": "reviews", "%s": "reviews"}
        message = re.sub(r"%[dtqvs]", lambda m: values[m[0]], wording["template"])  # noqa: B023 used at once
        level, code = wording["level"], entry["code"]
        row = {"code": code, "level": level, "message": message, "origin": "VirtualService prod/reviews",
               "documentationUrl": f"https://istio.io/latest/docs/reference/config/analysis/{code.lower()}/"}  # fmt: skip
        for how, text in (
            ("istioctl", f"{level} [{code}] (VirtualService prod/reviews) {message}"),
            ("istioctl up to 1.11", f"{level} [{code}] (VirtualService reviews.prod) {message}"),
            ("istioctl, several clusters", f"{level} [{code}] [cluster-east] (VirtualService prod/reviews) {message}"),
            ("istioctl -o json", json.dumps([row], indent=4)),
        ):
            yield Check((Line(how, text),), causes)


def _shared(entry: Raw) -> Iterator[Check]:
    """The text inside a line of the agent or of istiod: in a call of xDS, and in one of the CA."""
    text = filled(entry["text"], cluster="Kubernetes", names="istiod.istio-system.svc", name="reviews", code="NO_ERROR",
                  reason="connection timeout" if "reset reason" in entry["text"] else "no such host",
                  resource="deployments.apps", host="istiod.istio-system.svc", ip="10.96.0.10")[0]  # fmt: skip
    causes = causes_of(entry)
    agent = {"id": "", "scope": "xdsproxy", "level": "warn"}
    status = text if text.startswith(("rpc error", "code =")) else f"code = Unavailable desc = {text}"
    status = status if status.startswith("rpc error") else f"rpc error: {status}"
    if "is forbidden" in text or "could not find the requested" in text:
        for around in ("watch error in cluster Kubernetes: failed to list *v1.Deployment: {}",):
            lines = component_lines("istiod", around.format(text), {"id": "", "level": "error"})
            yield from (Check((line,), causes) for line in lines)
        return
    if text.startswith("bind:"):
        lines = component_lines("pilot-agent", f"Error listening on status port: listen tcp :15020: {text}", {"id": ""})
        yield from (Check((line,), causes) for line in lines)
        return
    if "service account authentication" in text:
        around = (
            "Failed to authenticate client from 10.42.0.17:41234: Authenticator KubeJWTAuthenticator: failed to validate the JWT from "
            'cluster "Kubernetes": {}'
        )
        yield from (
            Check((line,), causes)
            for line in component_lines("istiod", around.format(text), {"id": "", "scope": "security"})
        )
        return
    ca_only = "request authenticate" in text or "impersonation" in text or "client connection is closing" in text
    if not ca_only:
        around = f"upstream terminated with unexpected error {status}"
        yield from (
            Check((line,), causes or NONE)
            for line in component_lines("pilot-agent", around, agent)
            if entry["cause"] != "none"
        )
    if "ca_call" in entry or ca_only or "x509" in text:
        causes = frozenset({entry.get("ca_call", entry["cause"])})
        if "impersonation" in text:
            around = (
                f"certificate fetch failed (signing gRPC error (Unauthenticated): {text}) and no valid existing certificate; "
                "will retry in 1s (backoff capped at 150s)"
            )
            lines = component_lines("ztunnel", around, {"id": "", "scope": "identity::manager", "level": "warn"})
        else:
            lines = component_lines(
                "pilot-agent", f"failed to sign CSR: create certificate: {status}", {"id": "", "scope": "citadelclient"}
            )
        yield from (Check((line,), causes) for line in lines if causes != NONE)


# -- Envoy's access log ------------------------------------------------------------------------------------------------

FIELDS = [
    "start_time",
    "method",
    "path",
    "protocol",
    "response_code",
    "response_flags",
    "response_code_details",
    "connection_termination_details",
    "upstream_transport_failure_reason",
    "bytes_received",
    "bytes_sent",
    "duration",
    "upstream_service_time",
    "x_forwarded_for",
    "user_agent",
    "request_id",
    "authority",
    "upstream_host",
    "upstream_cluster",
    "upstream_local_address",
    "downstream_local_address",
    "downstream_remote_address",
    "requested_server_name",
    "route_name",
]
OUTBOUND: Mapping[str, str] = {
    "start_time": "2026-11-22T10:11:12.123Z", "method": "GET", "path": "/reviews/1", "protocol": "HTTP/1.1",
    "response_code": "200", "bytes_received": "0", "bytes_sent": "95", "duration": "12", "user_agent": "curl/8.5.0",
    "request_id": "0f3e2a71-5d0c-9d5b-9a3c-6c1d7e2f9b10", "authority": "reviews.prod:9080", "upstream_host": "10.42.0.17:9080",
    "upstream_cluster": "outbound|9080||reviews.prod.svc.cluster.local", "upstream_local_address": "10.42.0.9:41234",
    "downstream_local_address": "10.43.12.7:9080", "downstream_remote_address": "10.42.0.9:51222", "route_name": "default",
}  # fmt: skip
INBOUND: Mapping[str, str] = {
    **OUTBOUND, "upstream_cluster": "inbound|9080||", "upstream_local_address": "127.0.0.6:41000",
    "downstream_local_address": "10.42.0.17:9080", "requested_server_name": "outbound_.9080_._.reviews.prod.svc.cluster.local",
}  # fmt: skip
GATEWAY: Mapping[str, str] = {
    **OUTBOUND,
    "authority": "shop.example.com",
    "downstream_local_address": "10.42.0.5:8443",
    "downstream_remote_address": "203.0.113.7:51222",
    "requested_server_name": "shop.example.com",
    "route_name": "-",
}
NO_UPSTREAM = {"upstream_host": "-", "upstream_local_address": "-"}
NOT_CONNECTED = {"upstream_local_address": "-"}
NOT_ROUTED = {**NO_UPSTREAM, "upstream_cluster": "-", "route_name": "-"}
TCP = {
    "method": "-",
    "path": "-",
    "protocol": "-",
    "response_code": "0",
    "user_agent": "-",
    "request_id": "-",
    "authority": "-",
    "route_name": "-",
}
REFUSED = "delayed_connect_error:_Connection_refused"


def access(*over: Mapping[str, str], base: Mapping[str, str] = OUTBOUND, old: bool = False) -> tuple[Line, ...]:
    """An access line in Istio's default text and JSON format; `old`: the text of Istio 1.8, which has no details."""
    values: dict[str, str] = {**dict.fromkeys(FIELDS, "-"), **base}
    for more in over:
        values |= more
    if old:
        return (Line("access log text of Istio 1.8", _access_text(values, details=False)),)
    numbers = ("response_code", "bytes_received", "bytes_sent", "duration")
    row = {k: None if v == "-" and k != "response_flags" else int(v) if k in numbers else v for k, v in values.items()}
    return (
        Line("access log text", _access_text(values)),
        Line("access log JSON", json.dumps(row, separators=(",", ":"))),
    )


def _access_text(v: Mapping[str, str], details: bool = True) -> str:
    told = f"{v['response_code_details']} {v['connection_termination_details']} " if details else ""
    first = " ".join(v[k] for k in ("method", "path", "protocol"))
    numbers = " ".join(v[k] for k in ("bytes_received", "bytes_sent", "duration", "upstream_service_time"))
    quoted = " ".join(
        f'"{v[k]}"' for k in ("x_forwarded_for", "user_agent", "request_id", "authority", "upstream_host")
    )
    rest = " ".join(v[k] for k in FIELDS[FIELDS.index("upstream_cluster") :])
    return (
        f'[{v["start_time"]}] "{first}" {v["response_code"]} {v["response_flags"]} {told}'
        f'"{v["upstream_transport_failure_reason"]}" {numbers} {quoted} {rest}'
    )


def failed(details: str, code: str = "503", flag: str = "-", **more: str) -> dict[str, str]:
    """The fields that say what failed."""
    return {"response_code": code, "response_flags": flag, "response_code_details": details, **more}


def transport(reason: str, separator: str = "|", failure: str = "remote_connection_failure") -> dict[str, str]:
    """A connect that failed, with the reason where Envoy writes it: in the details and in its own field."""
    details = f"upstream_reset_before_response_started{{{failure}{separator}{reason}}}"
    return {**failed(details, flag="URX,UF"), "upstream_transport_failure_reason": reason, **NOT_CONNECTED}


NOT_ROUTED_DETAILS = re.compile(
    r"(?:http[123]?|uhv)\.|codec_error|low_version|missing_|invalid_path|absolute_path|path_normal|overload|request_(?:overall|header)_"
    r"|downstream_header_|early_connect|route_|filter_chain_|admin_"
)
UPSTREAM_DETAILS = re.compile(
    r"via_upstream|response_timeout|upstream_(?:response|per_try|max_stream|reset)|downstream_(?:remote|local)|stream_idle|max_duration"
    r"|response_payload|websocket|request_payload_exceeded|duration_timeout|filter_removed_required_response|filter_added_invalid_response"
)
SERVER_SIDE = re.compile(r"rbac_|jwt_|istio_authn|ext_authz|local_rate|http2\.|filter_chain_not_found")


def place_of(details: str, flag: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """(sort of proxy, what is known of the upstream) where such a detail is written."""
    base = INBOUND if SERVER_SIDE.match(details) else OUTBOUND
    if NOT_ROUTED_DETAILS.match(details):
        return base, NOT_ROUTED
    if "UF" in flag:
        return base, NOT_CONNECTED
    return base, {} if UPSTREAM_DETAILS.match(details) else NO_UPSTREAM


def each(lines: Sequence[Line], causes: Causes, how: str = "") -> Iterator[Check]:
    """A check for each line."""
    yield from (Check((replace(line, how=f"{line.how}, {how}" if how else line.how),), causes) for line in lines)


def one(cause: str, also: Any = None) -> Causes:
    """The causes of a rule."""
    return frozenset({cause, *_listed(also)})


TYPICAL: Mapping[str, Mapping[str, str]] = {
    # what stands beside a flag in an ordinary line with it (HTTP)
    "-": failed("via_upstream", "200"),
    "UH": failed("no_healthy_upstream", flag="UH", **NO_UPSTREAM),
    "UF": {**transport(REFUSED), "response_flags": "UF"},
    "UO": failed("upstream_reset_before_response_started{overflow}", flag="UO", **NO_UPSTREAM),
    "NR": failed("route_not_found", "404", "NR", **NOT_ROUTED),
    "URX": failed("via_upstream", flag="URX"),
    "NC": failed("cluster_not_found", flag="NC", **NOT_ROUTED),
    "DC": failed("downstream_remote_disconnect", "0", "DC"),
    "LH": failed("health_check_failed_cluster_empty", flag="LH", **NO_UPSTREAM),
    "UT": failed("response_timeout", "504", "UT"),
    "LR": failed("upstream_reset_before_response_started{local_reset}", flag="LR"),
    "UR": failed("upstream_reset_before_response_started{remote_reset}", flag="UR"),
    "UC": failed("upstream_reset_before_response_started{connection_termination}", flag="UC"),
    "DI": failed("via_upstream", "200", "DI"),
    "FI": failed("fault_filter_abort", "500", "FI", **NO_UPSTREAM),
    "RL": failed("local_rate_limited", "429", "RL", **NO_UPSTREAM),
    "UAEX": failed("ext_authz_denied", "403", "UAEX", **NO_UPSTREAM),
    "RLSE": failed("rate_limiter_error", "500", "RLSE", **NO_UPSTREAM),
    "SI": failed("stream_idle_timeout", "504", "SI"),
    "IH": failed("request_headers_failed_strict_check{x-envoy-retry-on}", "400", "IH", **NO_UPSTREAM),
    "DPE": failed("http1.codec_error", "400", "DPE", **NOT_ROUTED),
    "UPE": failed("upstream_reset_before_response_started{protocol_error}", "502", "UPE"),
    "UMSDR": failed("upstream_max_stream_duration_reached", "504", "UMSDR"),
    "OM": failed("upstream_reset_before_response_started{overload_manager_reset}", flag="OM"),
    "DF": failed("dns_resolution_failure{cares_norecords:Domain_name_not_found}", flag="DF", **NO_UPSTREAM),
    "DO": failed("drop_overload", flag="DO", **NO_UPSTREAM),
    "UDO": failed("unconditional_drop_overload", flag="UDO", **NO_UPSTREAM),
    "DR": failed("http2.remote_reset", "0", "DR"),
    "RFCF": failed("cache.response_from_cache_filter", "200", "RFCF", **NO_UPSTREAM),
    "NFCF": failed("", "500", "NFCF", **NO_UPSTREAM),
}
ON_TCP: Mapping[str, Mapping[str, str]] = {
    "UH": NO_UPSTREAM, "UF": {"response_flags": "UF,URX", "upstream_transport_failure_reason": REFUSED, **NOT_CONNECTED}, "UO": NO_UPSTREAM,
    "NR": {"response_code_details": "filter_chain_not_found", **NOT_ROUTED},
    "NC": NOT_ROUTED, "DT": {}, "UR": {},
}  # fmt: skip

RULES: Mapping[tuple[str, str], tuple[Mapping[str, str], ...]] = {
    # (flag or detail, beginning of `when`) of a cause_by rule -> the fields of a line that meets it
    ("-", "5xx and"): (failed("via_upstream"), failed("via_upstream", "500")),
    ("-", "response_code_details rbac"): (
        {**INBOUND, **failed("rbac_access_denied_matched_policy[ns[prod]-policy[deny]-rule[0]]", "403", **NO_UPSTREAM)},
        {**INBOUND, **TCP, "connection_termination_details": "rbac_access_denied_matched_policy[none]", **NO_UPSTREAM},
    ),
    ("-", "502 direct"): (
        failed("direct_response", "502", route_name="block_all", **{**NO_UPSTREAM, "upstream_cluster": "-"}),
    ),
    ("-", "503 overload"): (failed("overload", **NOT_ROUTED),),
    ("-", "500 response_payload"): (failed("response_payload_too_large", "500"),),
    ("-", "413"): (failed("request_payload_too_large", "413", **NO_UPSTREAM),),
    ("-", "408"): (
        failed("request_overall_timeout", "408", **NOT_ROUTED),
        failed("request_header_timeout", "408", **NOT_ROUTED),
    ),
    ("-", "504 max"): (failed("max_duration_timeout", "504"),),
    ("-", "503 wasm"): (failed("wasm_fail_stream", **NO_UPSTREAM),),
    ("-", "500 ext_proc"): (failed("ext_proc_error_gRPC_error_14{upstream_connect_error}", "500", **NO_UPSTREAM),),
    ("UH", "upstream_cluster Black"): (
        {**TCP, "response_flags": "UH", "upstream_cluster": "BlackHoleCluster", **NO_UPSTREAM},
    ),
    ("UH", "upstream_cluster Pass"): (
        failed("no_healthy_upstream", flag="UH", upstream_cluster="PassthroughCluster", **NO_UPSTREAM),
    ),
    ("UF", "Connection_refused"): (
        transport(REFUSED),
        transport("delayed_connect_error:_111", ",", "connection_failure"),
    ),
    ("UF", "details {connection_timeout} and"): (
        failed("upstream_reset_before_response_started{connection_timeout}", flag="UF", **NOT_CONNECTED),
    ),
    ("UF", "No_route"): tuple(
        transport(f"delayed_connect_error:_{t}") for t in ("No_route_to_host", "113", "Network_is_unreachable", "101")
    ),
    ("UF", "Operation_not"): tuple(
        transport(f"immediate_connect_error:_{t}|remote_address:10.42.0.17:9080")
        for t in ("Operation_not_permitted", "Permission_denied")
    ),
    ("UF", "failed_to_bind"): (
        transport("failed_to_bind_to_10.9.9.9:0:_Cannot_assign_requested_address", failure="local_connection_failure"),
    ),
    ("UF", "socket_creation"): (
        transport("socket_creation_failure", failure="local_connection_failure"),
        *(
            transport(f"immediate_connect_error:_{t}|remote_address:10.42.0.17:9080")
            for t in ("Too_many_open_files", "Cannot_assign_requested_address")
        ),
    ),
    ("UF", "Secret"): (transport("TLS_error:_Secret_is_not_supplied_by_SDS"),),
    ("UF", "upstream_cluster Pass"): ({**transport(REFUSED), "upstream_cluster": "PassthroughCluster"},),
    ("UF", "only {remote"): (
        failed("upstream_reset_before_response_started{remote_connection_failure}", flag="UF", **NOT_CONNECTED),
    ),
    ("UO", "{overflow}"): (TYPICAL["UO"],),
    ("UO", "UO together"): ({**transport(REFUSED), "response_flags": "UO,UF"},),
    ("UO", "maintenance"): (failed("maintenance_mode", flag="UO", **NO_UPSTREAM),),
    ("NR", "HTTP line"): (TYPICAL["NR"],),
    ("NR", '"- - -" 0 NR filter_chain_not_found at a sidecar'): (
        {**INBOUND, **TCP, **failed("filter_chain_not_found", "0", "NR"), **NOT_ROUTED, "requested_server_name": "-"},
    ),
    ("NR", '"- - -" 0 NR filter_chain_not_found at a gateway'): (
        {
            **GATEWAY,
            **TCP,
            **failed("filter_chain_not_found", "0", "NR"),
            **NOT_ROUTED,
            "requested_server_name": "shop.example.com",
        },
    ),
    ("URX", "with UF"): (
        transport(REFUSED),
        {**TYPICAL["UC"], "response_flags": "URX,UC"},
        {**TYPICAL["UT"], "response_flags": "URX,UT"},
    ),
    ("URX", "alone with via_upstream and 5xx"): (failed("via_upstream", flag="URX"),),
    ("URX", "alone with via_upstream and code 200"): (failed("via_upstream", "200", "URX"),),
    ("URX", "alone on a TCP"): ({**TCP, "response_flags": "URX", **NO_UPSTREAM},),
    ("DC", "downstream_remote"): (TYPICAL["DC"],),
    ("DC", "downstream_local"): (
        failed("downstream_local_disconnect(purging_socket_that_have_not_progressed_to_connections)", "0", "DC"),
    ),
    ("UR", "HTTP"): (TYPICAL["UR"],),
    ("UR", "TCP line"): ({**TCP, "response_flags": "UR"},),
    ("UC", "else"): (TYPICAL["UC"],),
    ("UAEX", "ext_authz_denied"): (TYPICAL["UAEX"],),
    ("UAEX", "ext_authz_error"): (failed("ext_authz_error", "403", "UAEX", **NO_UPSTREAM),),
    ("UAEX", "ext_authz_invalid"): (failed("ext_authz_invalid", "500", "UAEX", **NO_UPSTREAM),),
    ("DPE", "http1.headers"): tuple(
        failed(d, "431", "DPE", **NOT_ROUTED) for d in ("http1.headers_too_large", "http1.too_many_headers")
    ),
    ("DPE", "else"): (TYPICAL["DPE"],),
    ("UPE", "502"): (TYPICAL["UPE"],),
    ("UPE", "200"): (failed("upstream_reset_after_response_started{protocol_error}", "200", "UPE"),),
    ("DR", "http2.remote"): (TYPICAL["DR"],),
    ("DR", "http2.too"): tuple(
        failed(d, "0", "DR", **NOT_ROUTED) for d in ("http2.too_many_headers", "http2.header_list_size_too_large")
    ),
    ("via_upstream", "5xx"): (failed("via_upstream"), failed("via_upstream", "500")),
    ("no_healthy_upstream", "upstream_cluster Pass"): (
        failed("no_healthy_upstream", flag="UH", upstream_cluster="PassthroughCluster", **NO_UPSTREAM),
    ),
    ("direct_response", "502"): (
        failed("direct_response", "502", route_name="block_all", **{**NO_UPSTREAM, "upstream_cluster": "-"}),
    ),
    ("direct_response", "301"): tuple(
        {**GATEWAY, **failed("direct_response", c, **NO_UPSTREAM)} for c in ("301", "308")
    ),
    ("filter_chain_not_found", "sidecar"): (
        {**INBOUND, **TCP, **failed("filter_chain_not_found", "0", "NR"), **NOT_ROUTED, "requested_server_name": "-"},
    ),
    ("rbac_access_denied_matched_policy[POLICY]", "[none]"): (
        {**INBOUND, **failed("rbac_access_denied_matched_policy[none]", "403", **NO_UPSTREAM)},
    ),
}
NOT_IN_A_LINE = (
    "although the cluster has a TLS context",
    "STRICT_DNS",
    "a waypoint or HBONE",
    "peer is a STRICT sidecar",
    "plaintext client and",
    "mTLS with TLS 1.3",
    "client is known to use TLS",
    "jwt_authn_access_denied",
    "TLS_error:..",
    'body "Client sent',
)
"""Rules that another line, the configuration or the body decides: the cause is admitted, and no line is made for it."""


def rule_checks(name: str, entry: Raw) -> Iterator[Check]:
    """A check for every cause_by rule of a flag or a detail; a rule without a line here is itself a fault."""
    for rule in entry.get("cause_by", ()):
        when = str(rule["when"])
        if any(n in when for n in NOT_IN_A_LINE):
            continue
        found = [RULES[k] for k in RULES if k[0] == name and when.startswith(k[1])]
        if not found:
            yield Check((Line(f"rule {when!r}: the script has no line for it", ""),), one("unknown"))
        causes = (
            one(rule["cause"], f"{rule.get('also', '')} {rule.get('note', '')}")
            if not rule["cause"].startswith(("see ", "the cause"))
            else causes_of(entry)
        )
        if rule["cause"].startswith("the cause") or "cause of the other flag" in str(rule.get("also")):
            causes = frozenset({"upstream-connection-refused", "upstream-connection-closed", "upstream-timeout"})
        for fields in found[0] if found else ():
            yield from each(access(fields), causes, when[:60])


def flag_entries(ref: Raw) -> Iterator[Entry]:
    """Every response flag: an ordinary HTTP line, one without details (Istio 1.8), a TCP line where it exists, each rule."""
    for entry in ref["response_flags"]:
        flag = entry["flag"]
        checks: list[Check] = []
        causes = causes_of(entry)
        if flag in TYPICAL:
            place = INBOUND if flag in ("RL", "UAEX", "DPE", "DR") else OUTBOUND
            wanted = HARMLESS if flag == "-" else NONE if entry["cause"] == "none" else causes
            checks += each(access(TYPICAL[flag], base=place), wanted)
            checks += each(access(TYPICAL[flag], base=place, old=True), wanted) if flag != "NFCF" else ()
        elif flag not in ON_TCP:
            checks.append(Check((Line("the script has no line for it", ""),), one("unknown")))
        if flag in ON_TCP:
            checks += each(access(TCP, {"response_flags": flag}, ON_TCP[flag]), causes, "TCP")
        yield Entry("response_flags", flag, (*checks, *rule_checks(flag, entry)))


def codes_of(code: Any) -> list[str]:
    """The response codes that the reference names; 0 when it names none."""
    return re.findall(r"\b(?:\d{3}|0)\b", str(code)) or {
        "any": ["200"],
        "any 3xx 4xx 5xx": ["301", "404", "503"],
        "as configured": ["503"],
    }.get(str(code), ["0"])


def flags_of(flags: str) -> list[str]:
    """The first flag named, and the combinations."""
    first = re.match(r"[A-Z,]+|-", flags)
    return [first[0] if first else "-", *re.findall(r"[A-Z]+,[A-Z,]+", flags.partition(" ")[2])]


def detail_entries(ref: Raw) -> Iterator[Entry]:
    """Every response code detail in the text and the JSON format, with its codes and flags."""
    for entry in ref["response_code_details"]:
        value = entry["value"]
        yield Entry(
            "response_code_details", value or "(empty)", (*_detail_checks(ref, entry), *rule_checks(value, entry))
        )


DETAIL_PARTS = {
    "POLICY": ("ns[prod]-policy[deny-all]-rule[0]", "none"),
    "header": ("x-envoy-retry-on",),
    "TEXT": ("invalid_frame",),
    "REASON": ("envoy.overload_actions.stop_accepting_requests",),
    "CODE": ("14",),
    "NAME": ("protocol_error",),
    "..": ("{x}",),
}


def _detail_checks(ref: Raw, entry: Raw) -> Iterator[Check]:
    value, causes = entry["value"], causes_of(entry)
    if value == "-":
        yield from each(access({"response_code_details": "-"}, TCP), HARMLESS)
        return
    if value.startswith("upstream_reset_"):
        for reset in ref["reset_reasons"]:
            if "before" in value or reset["flag"] not in ("UF", "UO"):  # without a connection there is no response
                yield from _reset_checks(ref, reset, value.partition("{")[0])
        return
    if value.startswith("jwt_authn_access_denied"):
        for jwt in (j for j in ref["jwt_status"] if "in_access_log" in j):
            lines = access(failed(jwt["in_access_log"], str(jwt["http_code"]), **NO_UPSTREAM), base=INBOUND)
            yield from each(lines, one(jwt["cause"], jwt.get("also")))
        return
    wanted = frozenset({entry["cause"], *_listed(entry.get("also"))}) if entry["cause"] != "none" else causes
    forms = [value]
    if "texts" in entry:
        forms = [value.replace("TEXT", t.partition(" ")[0]) for t in entry["texts"]]
    elif "reasons" in entry:
        for reason, meaning in entry["reasons"].items():
            named = [
                c
                for c in _listed(str(meaning))
                if c in ("client-disconnected", "protocol-mismatch", "proxy-overloaded")
            ]
            line = failed(value.replace("REASON", reason.replace(":N", ":0")), "0", "DC")
            if "TCP only" not in str(meaning):
                idle = (
                    {"stream-idle-timeout", "tls-handshake-failed"}
                    if "timeout" in reason or "duration" in reason
                    else set()
                )
                yield from each(access(line), frozenset(named or {entry["cause"], *idle}), reason)
        return
    elif entry["match"] == "prefix" or value.endswith(".."):
        forms = [_with_parts(value, i) for i in range(2 if "POLICY" in value else 1)]
    for form, code, flag in itertools.product(forms, codes_of(entry["code"]), flags_of(str(entry["flags"]))):
        base, place = place_of(form, flag)
        lines = access(
            failed(form, code, "-" if flag == "any" else flag),
            place,
            TCP if value == "filter_chain_not_found" else {},
            base=base,
        )
        yield from each(lines, causes if value == "filter_chain_not_found" else wanted)


def _with_parts(value: str, i: int) -> str:
    for part, choices in DETAIL_PARTS.items():
        value = value.replace(part, choices[min(i, len(choices) - 1)])
    return value


def _reset_checks(ref: Raw, entry: Raw, detail: str) -> Iterator[Check]:
    """A reset reason before or after the response began; where the transport decides, with the reasons of the transport."""
    causes, reason, flag = causes_of(entry), entry["reason"], entry["flag"]
    code = str(entry["code"]) if "before" in detail else "200"
    place = NOT_CONNECTED if flag == "UF" else NO_UPSTREAM if flag == "UO" else {}
    if entry["cause"].startswith("see"):
        for separator, text in itertools.product("|,", (REFUSED, "delayed_connect_error:_111")):
            fields = {"upstream_transport_failure_reason": text}
            yield from each(
                access(failed(f"{detail}{{{reason}{separator}{text}}}", code, flag), place, fields),
                one("upstream-connection-refused"),
            )
        return
    flagged = next(f for f in ref["response_flags"] if f["flag"] == flag)
    exact = [r for r in flagged.get("cause_by", ()) if f"{detail}{{{reason}}}" in r["when"]]
    wanted = causes.union(*(one(r["cause"], r.get("also")) for r in exact))
    yield from each(access(failed(f"{detail}{{{reason}}}", code, flag), place), wanted)


def reset_entries(ref: Raw) -> Iterator[Entry]:
    """Every reset reason, before and after the response began (a connect that failed is always before)."""
    for entry in ref["reset_reasons"]:
        kinds = ("before",) if entry["flag"] in ("UF", "UO") else ("before", "after")
        checks = [c for k in kinds for c in _reset_checks(ref, entry, f"upstream_reset_{k}_response_started")]
        for rule in entry.get("cause_by", ()):
            if "socket_creation" in rule["when"]:
                checks += each(
                    access(transport("socket_creation_failure", failure=entry["reason"])), one(rule["cause"])
                )
        yield Entry("reset_reasons", entry["reason"], tuple(checks))


def termination_entries(ref: Raw) -> Iterator[Entry]:
    """Every connection termination detail, on a TCP line of the server."""
    parts = {"NAMESPACE": "prod", "NAME": "deny-all", "INDEX": "0", "..": "denied"}
    for entry in ref["connection_termination_details"]:
        value = entry["value"]
        for mark, text in parts.items():
            value = value.replace(mark, text)
        lines = access(TCP, {"connection_termination_details": value, **NO_UPSTREAM}, base=INBOUND)
        yield Entry(
            "connection_termination_details",
            entry["value"],
            tuple(each(lines, HARMLESS if value == "-" else causes_of(entry))),
        )


# -- tokens, transport, TLS --------------------------------------------------------------------------------------------


def jwt_entries(ref: Raw) -> Iterator[Entry]:
    """Every JWT status: in the details of an HTTP and a gRPC call and as the body, or in the rejection of a listener."""
    for entry in ref["jwt_status"]:
        causes = one(entry["cause"], entry.get("also"))
        checks: list[Check] = []
        for text in (entry["text"], *entry.get("older_texts", ())):
            if "in_access_log" in entry:
                details = f"jwt_authn_access_denied{{{text.replace(' ', '_')}}}"
                for code in (str(entry["http_code"]), "200"):
                    checks += each(
                        access(failed(details, code, **NO_UPSTREAM), base=INBOUND),
                        causes,
                        "gRPC" if code == "200" else "",
                    )
                checks.append(Check(body_lines(text, str(entry["http_code"])), causes))
            else:
                inner = f"Provider 'origins-0' in jwt_authn config has invalid local jwks: {text}"
                checks += rejected_checks(inner, causes)
        yield Entry("jwt_status", entry["text"], tuple(checks))


TLS = "TLS_error:|{code}:SSL_routines:OPENSSL_internal:{name}:TLS_error_end"
VERIFY = "268435581:SSL_routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify_cert_failed:_"


def shape_entries(ref: Raw) -> Iterator[Entry]:
    """Every shape of a transport failure reason; one that refers to a table with a few of its rows (each has its entry)."""
    tables = ref["transport_failure_reasons"]
    errno = {e["in_access_log"]: e for e in tables["errno"]}
    codes = {e["name"]: e for e in tables["tls_codes"]["entries"]}
    for entry in tables["shapes"]:
        shape, causes = entry["shape"], causes_of(entry)
        if shape == "-":
            yield Entry("transport shapes", shape, tuple(each(access(), HARMLESS)))
            continue
        fills: list[tuple[str, Causes]] = [(shape.replace("ADDRESS", "10.9.9.9:0"), causes)]
        if entry["cause"] == "see errno":
            rows = [
                errno[n]
                for n in ("Connection_refused", "No_route_to_host", "Operation_not_permitted", "Too_many_open_files")
            ]
            fills = [
                (shape.replace("TEXT", e["in_access_log"]).replace("ADDRESS", address_of(e)), errno_causes(ref, e))
                for e in rows
            ]
        elif entry["cause"] == "see tls_codes":
            rows = [
                codes[n]
                for n in (
                    "WRONG_VERSION_NUMBER",
                    "TLSV1_ALERT_UNKNOWN_CA",
                    "SSLV3_ALERT_CERTIFICATE_EXPIRED",
                    "NO_SHARED_CIPHER",
                )
            ]
            fills = [(shape.replace("CODE", str(e["code"])).replace("NAME", e["name"]), causes_of(e)) for e in rows]
        elif entry["cause"].startswith("see certificate"):
            rows = tables["certificate_verify_details"]["entries"][:4]
            code = str(codes["CERTIFICATE_VERIFY_FAILED"]["code"])
            fills = [
                (shape.replace("CODE", code).replace("DETAIL", verify_detail(e["detail"])), causes_of(e)) for e in rows
            ]
        failure = (
            "local_connection_failure"
            if shape.startswith(("failed_to_bind", "socket_creation"))
            else "remote_connection_failure"
        )
        old = " " in shape  # versions whose access log had no details
        checks = [c for text, wanted in fills for c in each(access(transport(text, failure=failure), old=old), wanted)]
        yield Entry("transport shapes", shape, tuple(checks))


def address_of(errno: Raw) -> str:
    """A unix socket where there is no file, else an endpoint."""
    return "./etc/istio/proxy/XDS" if errno["number"] == 2 else "10.42.0.17:9080"


def errno_causes(ref: Raw, entry: Raw) -> Causes:
    """The cause of an errno, and those that the shape around it gives."""
    shapes = ref["transport_failure_reasons"]["shapes"]
    rules = [r for s in shapes for r in s.get("cause_by", ()) if entry["in_access_log"] in r["when"]]
    return frozenset({entry["cause"], *(r["cause"] for r in rules)})


def errno_entries(ref: Raw) -> Iterator[Entry]:
    """Every errno: the text of new versions in both shapes, the number of old ones."""
    for entry in ref["transport_failure_reasons"]["errno"]:
        causes = errno_causes(ref, entry)
        place = {"upstream_host": address_of(entry), "upstream_cluster": "xds-grpc"} if entry["number"] == 2 else {}
        checks = [
            *each(access(transport(f"delayed_connect_error:_{entry['in_access_log']}"), place), causes, "text"),
            *each(
                access(
                    transport(f"immediate_connect_error:_{entry['in_access_log']}|remote_address:{address_of(entry)}"),
                    place,
                ),
                causes,
                "immediate",
            ),
            *each(
                access(transport(f"delayed_connect_error:_{entry['number']}", ",", "connection_failure"), place),
                causes,
                "number",
            ),
            *each(
                access(transport(f"immediate_connect_error:_{entry['number']}", ",", "connection_failure"), place),
                causes,
                "number, immediate",
            ),
        ]
        yield Entry("errno", f"{entry['number']} {entry['text']}", tuple(checks))


def verify_detail(detail: str, depth: str = "0") -> str:
    """A certificate verify detail with its parts filled in."""
    detail = detail.replace("depth_N", f"depth_{depth}").replace(
        "[URI,_DNS]", "[spiffe://cluster.local/ns/prod/sa/other,_other.prod]"
    )
    return detail.replace("[..]", "[spiffe://cluster.local/ns/prod/sa/reviews]").replace(
        "_..", "_[spiffe://cluster.local/ns/prod/sa/reviews]"
    )


def verify_entries(ref: Raw) -> Iterator[Entry]:
    """Every certificate verify detail, for the leaf and for an issuer, and the spelling of 1.37 where a note gives it."""
    for entry in ref["transport_failure_reasons"]["certificate_verify_details"]["entries"]:
        detail = entry["detail"]
        checks: list[Check] = []
        forms = [verify_detail(detail, d) for d in (("0", "1") if "depth_N" in detail else ("0",))]
        if older := re.search(r"1\.37: \.\.depth_N:_(\w+)", entry.get("note", "")):
            forms.append(f"X509_verify_cert:_certificate_verification_error_at_depth_0:_{older[1]}")
        for form in forms:
            checks += each(
                access(transport(f"TLS_error:|{VERIFY}{form}:TLS_error_end")), one(entry["cause"], entry.get("also"))
            )
        yield Entry("certificate_verify_details", detail, tuple(checks))


def tls_entries(ref: Raw) -> Iterator[Entry]:
    """Every TLS code in the new spelling, the old one and the oldest (blanks, no details beside it), by every name."""
    for entry in ref["transport_failure_reasons"]["tls_codes"]["entries"]:
        causes, code = causes_of(entry), entry["code"]
        checks: list[Check] = []
        for name in filter(None, (entry["name"], entry.get("older_name"))):
            new = TLS.format(code=code, name=name)
            old = f"TLS_error:_{code}:SSL_routines:OPENSSL_internal:{name}"
            oldest = f"TLS error: {code}:SSL routines:OPENSSL_internal:{name}"
            if causes == one("mtls-plaintext-to-strict"):  # what the server sees of its client
                for how, text in (("new", new), ("old", old), ("oldest", oldest)):
                    checks += _server_side(text, causes, how)
                continue
            checks += each(access(transport(new)), causes, "new")
            checks += each(access(transport(old, ",", "connection_failure")), causes, "old")
            checks += each(access(transport(oldest), old=True), causes, "oldest")
        yield Entry("tls_codes", f"{code} {entry['name']}", tuple(checks))


def _server_side(reason: str, causes: Causes, how: str) -> Iterator[Check]:
    """A TLS error of the side that is called: the field is in JSON formats that name it, and Envoy's debug log has it."""
    (_, line) = access(TCP, NO_UPSTREAM, base=INBOUND)
    row = {**json.loads(line.text), "downstream_transport_failure_reason": reason}
    yield Check((Line(f"access log JSON, downstream, {how}", json.dumps(row, separators=(",", ":"))),), causes)
    told = f"remote address:10.42.0.9:51222,{reason.replace('_routines', ' routines').replace('error:_', 'error: ')}"
    yield from envoy_checks(told, "connection", "debug", causes)


# -- bodies, Envoy's own log -------------------------------------------------------------------------------------------


PHRASES = {"413": "Payload Too Large"}
"""Where Envoy's reason phrase is not that of Python's `http`."""


def body_lines(body: str, code: str) -> tuple[Line, ...]:
    """A body as people paste it: alone, and as `curl -i` shows it."""
    phrase = PHRASES.get(code) or HTTPStatus(int(code)).phrase
    head = f"HTTP/1.1 {code} {phrase}\ncontent-length: {len(body)}\ncontent-type: text/plain\nserver: envoy"
    return (Line("body alone", body), Line("curl -i", f"{head}\n\n{body}"))


def body_entries(ref: Raw) -> Iterator[Entry]:
    """Every local reply body as pasted text; an empty one shows only in the access log, with its details."""
    for entry in ref["local_reply_bodies"]:
        body, details, causes = entry["body"], str(entry["details"]), causes_of(entry)
        code = (re.findall(r"\d{3}", str(entry["http_code"])) or ["503"])[0]
        checks: list[Check] = []
        if body == "(empty)":
            flag = {"route_not_found": "NR", "cluster_not_found": "NC", "ext_authz_error": "UAEX", "rate_limiter_error": "RLSE",
                    "request_rate_limited": "RL", "EMPTY, flag NFCF": "NFCF"}.get(details, "-")  # fmt: skip
            value = (
                "" if details.startswith("EMPTY") else _with_parts(details.partition(",")[0], 0).replace("_N{", "_14{")
            )
            route = {"route_name": "block_all", "upstream_cluster": "-"} if "block_all" in details else {}
            for c in re.findall(r"\d{3}", str(entry["http_code"])):
                checks += each(access(failed(value, c, flag), place_of(value, flag)[1], route), causes)
            yield Entry("local_reply_bodies", f"(empty) {entry['http_code']} {details}", tuple(checks))
            continue
        if body.startswith("Jwt .."):
            checks += [
                Check(body_lines(j["text"], str(j["http_code"])), one(j["cause"], j.get("also")))
                for j in ref["jwt_status"]
                if "http_code" in j
            ]
        elif "REASON" in body:
            for reset in ref["reset_reasons"]:
                reason_causes = causes_of(reset) or one("upstream-connection-refused", "upstream-unreachable")
                text = body.replace("REASON", reset["body_text"])
                if "TEXT" in body:
                    if reset["flag"] != "UF":
                        continue
                    for failure in ("delayed connect error: Connection refused", "delayed connect error: 111"):
                        checks.append(
                            Check(body_lines(text.replace("TEXT", failure), "503"), one("upstream-connection-refused"))
                        )
                    tls = "TLS_error:|268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end"
                    older = "TLS error: 268435703:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER"
                    checks += [
                        Check(body_lines(text.replace("TEXT", t), "503"), one("mtls-tls-to-plaintext"))
                        for t in (tls, older)
                    ]
                    continue
                checks.append(Check(body_lines(text, str(reset["code"])), reason_causes))
        else:
            text = body.replace("'NAME'", "'x-envoy-retry-on'").replace("'VALUE'", "'abc'")
            if entry["cause"].startswith("see"):
                causes = frozenset(c for e in ref["transport_failure_reasons"]["errno"] for c in causes_of(e))
            wanted = NONE if entry["cause"] == "none" else causes
            checks.append(Check(body_lines(text, code), wanted))
        yield Entry("local_reply_bodies", body, tuple(checks))


MARKS: Mapping[str, str] = {
    "HPE_NAME": "HPE_INVALID_METHOD",
    "NAMEValidationError.FIELD": "ClusterValidationError.ConnectTimeout",
    "SECONDSs": "35s",
    "0xNNNN": "0x4",
    'string "CODE"': 'string "function envoy_on_request(handle)..."',
    "L:C": "1:7579",
    "NAME": "outbound-reviews",
    "TYPE": "type.googleapis.com/envoy.config.listener.v3.Listener",
    "TEXT": NEUTRAL,
    "CODE": "14",
    "DETAILS": "via_upstream",
    "ADDRESS": "10.42.0.17",
    "PORT": "8080",
    "FILE": "/etc/istio/proxy/envoy-rev.json",
    "JSON": '{"admin": {}}',
    "PATH": "/reviews/1",
    "URI": "https://idp.example.com/jwks",
    "STATUS": "Jwt is expired",
    "POLICY": "ns[prod]-policy[deny-all]-rule[0]",
    "LIST": "reviews.prod",
    "CONDITION": "false",
    "REASON": "connection termination",
    "FLAGS": "/failed_active_hc",
    "MESSAGE": 'name: "outbound-reviews"',
    "FIELD": "name",
    "PLUGIN": "prod.auth",
    "LINE": "3",
    "N": "3",
}
"""What stands for the words in capitals of a component message, the longer ones first."""

REALISTIC: Mapping[str, tuple[str, ...]] = {
    # messages that the reference shortens with "..", or gives as alternatives: as they are really written
    "StreamAggregatedResources gRPC config stream to xds-grpc closed..": (
        "StreamAggregatedResources gRPC config stream to xds-grpc closed: 14, no healthy upstream{no_healthy_upstream}",
    ),
    "StreamExtensionConfigs gRPC config stream to NAME closed..": (
        "StreamExtensionConfigs gRPC config stream to ecds-grpc closed since 30s ago: 14, upstream connect error or disconnect/reset "
        "before headers. reset reason: remote connection failure{upstream_reset_before_response_started{remote_connection_failure|"
        "delayed_connect_error:_Connection_refused}}",
    ),
    "error initializing config ..: Unable": (
        "error initializing config '/etc/envoy.json': Unable to parse JSON as proto (INVALID_ARGUMENT: unexpected EOF): {\"admin\": ",
    ),
    ".. Protobuf message": (
        "error initializing config '/etc/envoy.json': Protobuf message (type envoy.config.bootstrap.v3.Bootstrap reason INVALID_ARGUMENT: "
        "invalid JSON in envoy.config.bootstrap.v3.Bootstrap @ static_resources.clusters[0]: message envoy.config.cluster.v3.Cluster, "
        "near 1:7577 (offset 7576): no such field: 'hosts') has unknown fields",
    ),
    ".. yaml-cpp": (
        "error initializing config '/etc/envoy.yaml': yaml-cpp: error at line 3, column 9: illegal map value",
    ),
    ".. Invalid path": ("error initializing configuration '/etc/envoy.json': Invalid path: /etc/envoy.json",),
    "PARSE ERROR": (
        "PARSE ERROR: Argument: --bogus\n             Couldn't find match for argument",
        "PARSE ERROR: Argument: --bogus",
    ),
    "Deprecated field": (
        "Deprecated field: type envoy.config.cluster.v3.Cluster Using deprecated option "
        "'envoy.config.cluster.v3.Cluster.http2_protocol_options' "
        "from file cluster.proto. This configuration will be removed from Envoy soon. Please see https://www.envoyproxy.io/docs",
    ),
    "Unknown field": (
        "Unknown field: type envoy.config.bootstrap.v3.Bootstrap reason INVALID_ARGUMENT: invalid JSON in "
        "envoy.config.bootstrap.v3.Bootstrap @ "
        "static_resources.clusters[0]: message envoy.config.cluster.v3.Cluster, near 1:7577 (offset 7576): no such field: 'hosts'",
    ),
    "unable to open file": tuple(
        f"unable to open file '/var/log/access.log': {t}" for t in ("Permission denied", "No such file or directory")
    ),
    "Unable to unpack": (
        "Unable to unpack as envoy.config.listener.v3.Listener: goo.gle/debugstr  \n"
        'type_url: "type.googleapis.com/envoy.config.listener.v3.Listener"',
    ),
    "type URL TYPE": (
        "type URL type.googleapis.com/foo.Bar embedded in an individual Any does not match the message-wide type URL "
        'type.googleapis.com/envoy.config.listener.v3.Listener in DeltaDiscoveryResponse goo.gle/debugstr  \nsystem_version_info: "1"',
    ),
    "[Tags: ..] Jwt": tuple(
        f'[Tags: "ConnectionId":"608","StreamId":"15262786998664846785"] Jwt authentication completed with: {t}'
        for t in ("Jwt is expired", "Jwt is missing")
    ),
    "[Tags: ..] Received": (
        '[Tags: "ConnectionId":"1282","StreamId":"1037925331283912390"] Received gRPC error on stream: 14, '
        "message upstream connect error or "
        "disconnect/reset before headers. reset reason: remote connection failure",
    ),
    "checking request": (
        "checking request: requestedServerName: outbound_.9080_._.reviews.prod.svc.cluster.local, sourceIP: 10.42.0.9:51222, "
        "directRemoteIP: 10.42.0.9:51222, "
        "remoteIP: 10.42.0.9:51222,localAddress: 10.42.0.17:9080, ssl: none, headers: ':authority', 'reviews'",
    ),
    "shutting down": ("shutting down server instance", "main dispatch loop exited", "exiting"),
    ".. tcmalloc": (
        "external/com_github_google_tcmalloc/tcmalloc/internal/system_allocator.h:521] MmapAligned() failed; "
        "FATAL ERROR: Out of memory trying to allocate internal tcmalloc data",
        "tcmalloc/page_allocator.cc:137] FATAL ERROR: Out of memory trying to allocate 1048576 bytes",
    ),
    "Overload action": tuple(
        f"Overload action envoy.overload_actions.stop_accepting_requests became {s}" for s in ("saturated", "scaling")
    ),
    "malformed IP": (
        "malformed IP address: reviews. Consider setting resolver_name or setting cluster type to 'STRICT_DNS' or 'LOGICAL_DNS'",
    ),
    "could not find @type": ("could not find @type 'type.googleapis.com/envoy.extensions.filters.http.nope.v3.Nope'",),
    "tls inspector": (
        "tls inspector: parseClientHello failed: 0, 1: TLS_error|error:1000009c:SSL routines:OPENSSL_internal:HTTP_REQUEST:TLS_error_end",
    ),
}
TYPES = (
    "envoy.config.listener.v3.Listener",
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.route.v3.RouteConfiguration",
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
)


def marked(message: str) -> tuple[str, ...]:
    """The message with its words in capitals filled in."""
    for head, texts in REALISTIC.items():
        if message.startswith(head):
            return texts
    for mark, text in MARKS.items():
        edge = r"(?<![\w-]){}(?![\w-])" if mark.isupper() else "{}"  # in capitals it is a word of its own
        message = text.join(re.split(edge.format(re.escape(mark)), message))
    return (message,)


def envoy_checks(message: str, logger: str, level: str, causes: Causes) -> Iterator[Check]:
    """A message of Envoy in every shape that Envoy's log has."""
    level = level if level in LEVELS else "info"
    lines = component_lines("envoy", message, {"id": "", "component": logger, "level": level})
    yield from each(lines, causes)


def rejected_checks(inner: str, causes: Causes) -> Iterator[Check]:
    """An error inside the rejection of a configuration: as Envoy says it, and as istiod repeats it."""
    url = "type.googleapis.com/envoy.config.listener.v3.Listener"
    message = f"gRPC config for {url} rejected: Error adding/updating listener(s) virtualInbound: {inner}\n"
    lines = component_lines("envoy", message.rstrip("\n"), {"id": "", "component": "config", "level": "warning"})
    yield from each(lines, causes, "Envoy")


def component_entries(ref: Raw) -> Iterator[Entry]:
    """Every message of Envoy's own log; "(inside rejected)" within a rejection, stderr as plain text."""
    for entry in ref["component_messages"]:
        logger, level, message = entry["component"], str(entry["level"]), entry["message"]
        checks: list[Check] = []
        for text, causes in _component_texts(ref, entry):
            if "inside" in level:
                checks += rejected_checks(text, causes)
            elif level == "stderr":
                checks.append(Check((Line("stderr", text),), causes))
            else:
                quiet = causes == NONE and level not in ("warning", "error", "critical")
                checks += envoy_checks(text, logger, level, HARMLESS if quiet else causes)
        yield Entry("component_messages", f"{logger} {level} {message}", tuple(checks))


def _component_texts(ref: Raw, entry: Raw) -> Iterator[tuple[str, Causes]]:
    """(text, causes) of a message; where it refers to a table, one for each row that matters."""
    message, cause = entry["message"], entry["cause"]
    own = one(cause, entry.get("also"))
    if entry.get("cause_by"):
        own = causes_of(entry)
    if cause == "see jwt_status":
        for jwt in (j for j in ref["jwt_status"] if "in_access_log" in j):
            text = marked(message.replace("STATUS", "Jwt is expired"))[0].replace("Jwt is expired", jwt["text"])
            yield text, one(jwt["cause"], jwt.get("also"))
    elif cause == "see xds_close":
        text = marked(message.replace("CODE, TEXT{DETAILS}", "CODE, TEXT"))[0].replace(
            f"14, {NEUTRAL}", "14, no healthy upstream", 1
        )
        yield text, one("xds-unreachable")
    elif cause == "see reset_reasons":
        yield (
            "upstream reset: reset reason: connection termination, transport failure reason: ",
            one("upstream-connection-closed"),
        )
        yield "upstream reset: reset reason: overflow, transport failure reason: ", one("circuit-breaker-open")
        yield (
            "upstream reset: reset reason: remote connection failure, transport failure reason: delayed connect error: Connection refused",
            one("upstream-connection-refused"),
        )
    elif cause == "see response_code_details":
        for details, wanted in (
            ("no_healthy_upstream", "no-healthy-upstream"),
            ("route_not_found", "route-not-found"),
            ("local_rate_limited", "rate-limited"),
        ):
            yield message.replace("DETAILS", details), one(wanted)
    elif cause == "see errno" or message.startswith("client disconnected, failure reason"):
        for errno in ref["transport_failure_reasons"]["errno"]:
            shape = "delayed connect error: {}" if "client disconnected" in message else "{}"
            yield (
                message.replace("TEXT", shape.format(errno["text"])).replace("ADDRESS", "10.42.0.17:9080"),
                errno_causes(ref, errno),
            )
    elif cause == "see transport_failure_reasons":
        for tls in ref["transport_failure_reasons"]["tls_codes"]["entries"][:12]:
            yield (
                message.replace("CODE", str(tls["code"]))
                .replace("NAME", tls["name"])
                .replace("ADDRESS", "10.42.0.17:9080"),
                causes_of(tls),
            )
    elif "for TYPE" in message and "initial fetch" in message:
        for kind in TYPES:
            yield message.replace("TYPE", f"type.googleapis.com/{kind}"), one(cause)
        for rule in entry.get("cause_by", ()):
            kind = rule["when"].replace(
                "..", "envoy.extensions.transport_sockets." if "tls" in rule["when"] else "envoy.config."
            )
            yield message.replace("TYPE", f"type.googleapis.com/{kind}"), one(rule["cause"], rule.get("also"))
    elif message.startswith("envoy bug"):
        yield marked(message)[0], NONE
        yield (
            "envoy bug failure: false. Details: socket(2) failed, got error: Too many open files",
            one("resources-exhausted"),
        )
    else:
        yield from ((text, own) for text in marked(message))


def _reset(reason: str, transport: str = "") -> tuple[str, ...]:
    """The status of a stream that Envoy's own upstream ended."""
    inner = reason.replace(" ", "_") + (f"|{transport}" if transport else "")
    head = f"14, upstream connect error or disconnect/reset before headers. reset reason: {reason}"
    return (f"{head}{{upstream_reset_before_response_started{{{inner}}}}}",)


def _unverified(detail: str) -> tuple[str, ...]:
    shown = f"TLS_error:|{VERIFY}X509_verify_cert:_certificate_verification_error_at_depth_0:_{detail}:TLS_error_end"
    return _reset("remote connection failure", shown)


CLOSES: Mapping[str, tuple[str, ...]] = {
    # beginning of `when` -> the statuses that are really written
    "14, .. reset reason: remote": _reset("remote connection failure", REFUSED),
    "14, .. reset reason: connection timeout": _reset("connection timeout"),
    "14, .. immediate": _reset(
        "remote connection failure",
        "immediate_connect_error:_No_such_file_or_directory|remote_address:./etc/istio/proxy/XDS",
    ),
    "14, .. reset reason: connection termination": _reset("connection termination"),
    "14, .. reset reason: protocol": _reset("protocol error"),
    "14, .. TLS_error": _reset("remote connection failure", TLS.format(code=268435703, name="WRONG_VERSION_NUMBER")),
    "14, .. CERTIFICATE_VERIFY_FAILED:..unable": _unverified("unable_to_get_local_issuer_certificate"),
    "14, .. CERTIFICATE_VERIFY_FAILED:..certificate_has": _unverified("certificate_has_expired"),
    "14, connection error": (
        '14, connection error: desc = "transport: Error while dialing: dial tcp 10.96.0.10:15012: connect: connection refused"',
    ),
    "14, server": (
        "14, server is not ready to serve discovery information",
        "14, server is not ready to serve discovery information{via_upstream}",
    ),
    "16, ": (
        "16, authentication failure{via_upstream}",
        "16, authentication failure",
        "7, not authorized{via_upstream}",
    ),
    "8, ": ("8, request rate limit exceeded{via_upstream}", "8, x"),
    "4, ": ("4, slow{via_upstream}", "4, "),
    "12, ": ("12, unknown service envoy.service.discovery.v3.AggregatedDiscoveryService{via_upstream}",),
    "13,  (empty": ("13, ",),
    "0, ": ("0, ",),
}


def close_entries(ref: Raw) -> Iterator[Entry]:
    """Every way in which the xDS stream closes, in both protocols; the older text says no cluster."""
    for entry in ref["xds_close"]:
        when = entry["when"]
        checks: list[Check] = []
        texts = next((t for k, t in CLOSES.items() if when.startswith(k)), (when.partition(" (")[0],))
        for text, around in itertools.product(texts, ("StreamAggregatedResources gRPC config stream to xds-grpc closed: {}",
                                                      "DeltaAggregatedResources gRPC config stream to xds-grpc closed: {}",
                                                      "StreamAggregatedResources gRPC config stream closed: {}")):  # fmt: skip
            checks += envoy_checks(around.format(text), "config", "warning", one(entry["cause"], entry.get("also")))
        yield Entry("xds_close", when, tuple(checks))


def envoy_entries(ref: Raw) -> Iterator[Entry]:
    """Every entry of envoy.yaml."""
    for builder in (flag_entries, detail_entries, reset_entries, termination_entries, jwt_entries, shape_entries, verify_entries,
                    errno_entries, tls_entries, body_entries, component_entries, close_entries):  # fmt: skip
        yield from builder(ref)


# -- causes.yaml -------------------------------------------------------------------------------------------------------


def cause_entries(ref: Raw, catalogue: Catalogue) -> Iterator[Entry]:
    """Every cause: there, of the same kind, explained, and (a failure) with at least one remedy."""
    wanted = {name: entry for group in ref.values() for name, entry in group.items()}
    for name, entry in wanted.items():
        cause = catalogue.causes.get(name)
        faults = []
        if cause is None:
            faults.append("the catalogue has no such cause")
        else:
            if cause.kind != entry["kind"]:
                faults.append(f"its kind is {cause.kind}, not {entry['kind']}")
            if not cause.explanation:
                faults.append("it has no explanation")
            if cause.kind is Kind.FAILURE and not cause.remedies:
                faults.append("a failure without a remedy")
        yield Entry("causes", name, (), faults=tuple(faults))
    for name in catalogue.causes.keys() - wanted.keys():
        yield Entry("causes", name, (), faults=("the reference has no such cause",))


# -- the report --------------------------------------------------------------------------------------------------------


def load_yaml(path: Path) -> Any:
    """A YAML file; raises OSError or yaml.YAMLError."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 safe


def table(results: Sequence[Result], stale: Mapping[str, int]) -> str:
    """The counts of each section."""
    sections = list(dict.fromkeys(r.entry.section for r in results))
    width = max(map(len, [*sections, "section"]))
    rows = [f"{'section':{width}}  entries" + "".join(f"  {s:>13}" for s in STATUSES) + "  stale notes"]
    for section in [*sections, "total"]:
        counted = Counter(r.status for r in results if section in (r.entry.section, "total"))
        left = stale.get(section, 0) if section != "total" else sum(stale.values())
        rows.append(
            f"{section:{width}}  {counted.total():7}" + "".join(f"  {counted[s]:13}" for s in STATUSES) + f"  {left:11}"
        )
    return "\n".join(rows)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="How much of a reference folder the catalogue covers.")
    parser.add_argument("reference", type=Path, help="folder with istio.yaml, envoy.yaml and causes.yaml")
    parser.add_argument(
        "--show", metavar="SECTION", help="list every entry of a section with the patterns that take it"
    )
    parser.add_argument("--limit", type=int, default=3, metavar="N", help="problems shown for an entry (default 3)")
    args = parser.parse_args(argv)
    try:
        istio, envoy, causes = (load_yaml(args.reference / f"{n}.yaml") for n in ("istio", "envoy", "causes"))
        notes = load_yaml(NOTES) if NOTES.exists() else {}
    except (OSError, yaml.YAMLError) as e:
        print(
            f"cannot read the reference: {e}; give the folder that holds istio.yaml, envoy.yaml and causes.yaml",
            file=sys.stderr,
        )
        return 2
    catalogue = Catalogue.load(full=True, user=False)
    checker = Checker(catalogue, notes or {})
    entries = [*istio_entries(istio), *envoy_entries(envoy), *cause_entries(causes, catalogue)]
    sections = list(dict.fromkeys(e.section for e in entries))
    if args.show is not None and args.show not in sections:
        print(f"no section {args.show!r}: {', '.join(sections)}", file=sys.stderr)
        return 2
    if args.show:
        entries = [e for e in entries if e.section == args.show]
        sections = [args.show]
    results = [checker.run(e) for e in entries]
    stale = checker.stale([*sections, *(() if args.show else [s for s in checker.notes if s not in sections])])
    if args.show:
        for r in results:
            print(f"{r.status:13}  {r.entry.name[:90]:90}  {', '.join(r.patterns) or '-'}")
            if r.status == "explained":  # a note is about the whole entry: see that it hides nothing else
                print("\n".join(f"    {p}" for p in r.problems[: args.limit]))
    bad = [r for r in results if r.status in ("missing", "wrong cause")]
    for r in bad:
        print(f"\n{r.status.upper()}  {r.entry.section}: {r.entry.name}")
        for problem in r.problems[: args.limit]:
            print(f"    {problem}")
        if len(r.problems) > args.limit:
            print(f"    and {len(r.problems) - args.limit} more")
    for note in stale:
        print(f"\nSTALE NOTE  {note}: the entry is covered now (or there is none): take the note away")
    print("\n" + table(results, Counter(s.partition(": ")[0] for s in stale)))
    return 1 if bad or stale else 0


if __name__ == "__main__":
    sys.exit(main())
