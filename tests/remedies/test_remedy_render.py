"""How names get into sentences, commands and manifests, and which apiVersion a manifest has."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from meshdiag import remedies
from meshdiag.catalogue.entries import Cause
from meshdiag.model import Kind, Risk, Severity
from meshdiag.remedies.names import Names
from meshdiag.remedies.render import command, manifest, prose
from meshdiag.remedies.versions import adapt, parse

FACTS = {
    "namespace": "prod",
    "pod": "web-1",
    "host": "*.example.com",
    "port": "8080",
    "service": "reviews",
    "source": "shop/web",
}


@pytest.mark.parametrize(
    ("template", "known", "unknown"),
    [
        ("kubectl -n {namespace} get pods", "kubectl -n prod get pods", "kubectl -n '<namespace>' get pods"),
        ("istioctl pc c {pod}.{namespace}", "istioctl pc c web-1.prod", "istioctl pc c '<pod>.<namespace>'"),
        ("curl https://{host}:{port}/", "curl 'https://*.example.com:8080/'", "curl 'https://<host>:<port>/'"),
        ("curl -H \"Host: {host}\" x", 'curl -H "Host: *.example.com" x', 'curl -H "Host: <host>" x'),
        ("a 'outbound|{port}||{host}'", "a 'outbound|8080||*.example.com'", "a 'outbound|<port>||<host>'"),
        ("a 'outbound|{port}|{subset}|{host}'", "a 'outbound|8080||*.example.com'", "a 'outbound|<port>|<subset>|<host>'"),
        ("a -o jsonpath='{.items[0]}' {pod}", "a -o jsonpath='{.items[0]}' web-1", "a -o jsonpath='{.items[0]}' '<pod>'"),
        ("a 'b c'{pod}|d", "a 'b c'web-1|d", "a 'b c''<pod>'|d"),
        ("a {pod}; b > {pod}.yaml", "a web-1; b > web-1.yaml", "a '<pod>'; b > '<pod>.yaml'"),
        ("a <client-namespace> {pod}", "a '<client-namespace>' web-1", "a '<client-namespace>' '<pod>'"),
        ("a external-{host} ./{host}", "a external-example.com './*.example.com'", "a 'external-<host>' './<host>'"),
        ("a shows outbound|{port}||{host}", "a shows 'outbound|8080||*.example.com'", "a shows 'outbound|<port>||<host>'"),
        ("a {source} {source_namespace}/{source_name}", "a '<source>' shop/web", "a '<source>' '<source-namespace>/<source-name>'"),
    ],
)  # fmt: skip
def test_commands(template: str, known: str, unknown: str) -> None:
    assert command(template, Names.of(FACTS)) == known
    assert command(template, Names.of({})) == unknown


def test_sentences() -> None:
    names = Names.of(FACTS)
    assert prose("The client {source} of {service_namespace} asks {host}.", names) == (
        "The client shop/web of <service-namespace> asks *.example.com."
    )
    assert (
        prose("kubectl -n {service_namespace} delete pod {pod}", names)
        == "kubectl -n '<service-namespace>' delete pod web-1"
    )
    assert prose("kubectl label ns <yours> a=b", names) == "kubectl label ns '<yours>' a=b", "it will be pasted"
    assert prose("outbound|{port}|{subset}|{host}", Names.of({"port": "80", "subset": "v1"})) == "outbound|80|v1|<host>"
    assert remedies.fill(" {namespace} ", {"namespace": "$(id)"}) == "<namespace>"


TEMPLATE = """\
apiVersion: v1
kind: X
metadata:
  name: {service}-tls
  namespace: {namespace}  # of {service}
spec:
  hosts:
    - {host}
    - "{namespace}/*"
    - cluster.local/ns/{namespace}/sa/{source_name}
    - {host}:{port}
  flow: [{host}, {namespace}, a]
  map: {protocol: TCP, port: {port}, name: {service}}
  by:
    {port}:
      mode: STRICT
  labels:
    version: {subset}
  text: The {service} of it
  named: external-{host}
"""


@pytest.mark.parametrize(
    "word", ["true", "no", "y", "null", "1234", "1e3", "0x1f", "0b1", "2024-01-01", "1-2", "on", "nan", "007", "web"]
)
def test_a_name_stays_a_string_and_a_port_a_number(word: str) -> None:
    names = dict.fromkeys(("service", "namespace", "source_name", "subset"), word)
    out = yaml.safe_load(manifest(TEMPLATE, Names.of({**names, "host": "*.example.com", "port": "80"})))
    assert out["metadata"] == {"name": f"{word}-tls", "namespace": word}
    spec = out["spec"]
    assert spec["hosts"] == ["*.example.com", f"{word}/*", f"cluster.local/ns/{word}/sa/{word}", "*.example.com:80"]
    assert spec["flow"] == ["*.example.com", word, "a"]
    assert spec["map"] == {"protocol": "TCP", "port": 80, "name": word}
    assert spec["by"] == {80: {"mode": "STRICT"}}
    assert spec["labels"] == {"version": word}
    assert spec["text"] == f"The {word} of it"
    assert spec["named"] == "external-example.com", "an object's name has no wildcard"


def test_a_manifest_without_names_loads() -> None:
    out = yaml.safe_load(manifest(TEMPLATE, Names.of({})))
    assert out["metadata"] == {"name": "<service>-tls", "namespace": "<namespace>"}
    assert out["spec"]["map"]["port"] == "<port>" and out["spec"]["by"] == {"<port>": {"mode": "STRICT"}}
    assert out["spec"]["labels"] == {"version": "<subset>"}


def test_labels_that_look_like_numbers() -> None:
    out = manifest("version: {subset}", Names.of({"subset": "1.0"}))
    assert out == 'version: "1.0"' and yaml.safe_load(out) == {"version": "1.0"}


# -- versions


def resource(api: str, kind: str) -> str:
    return f"apiVersion: {api}\nkind: {kind}\nmetadata:\n  name: x\n"


@pytest.mark.parametrize(
    ("api", "kind", "istio", "wanted"),
    [
        ("networking.istio.io/v1", "VirtualService", "1.22.0", "networking.istio.io/v1"),
        ("networking.istio.io/v1", "VirtualService", "1.21", "networking.istio.io/v1beta1"),
        ("networking.istio.io/v1", "WorkloadGroup", "v1.13.2", "networking.istio.io/v1beta1"),
        ("networking.istio.io/v1", "WorkloadGroup", "1.12", "networking.istio.io/v1alpha3"),
        ("networking.istio.io/v1alpha3", "EnvoyFilter", "1.10", "networking.istio.io/v1alpha3"),
        ("networking.istio.io/v1beta1", "DestinationRule", "1.28", "networking.istio.io/v1beta1"),
        ("networking.istio.io/v1beta1", "ProxyConfig", "1.20", "networking.istio.io/v1beta1"),
        ("security.istio.io/v1", "AuthorizationPolicy", "1.17-alpha", "security.istio.io/v1"),
        ("security.istio.io/v1", "AuthorizationPolicy", "1.16", "security.istio.io/v1beta1"),
        ("security.istio.io/v1", "PeerAuthentication", "1.20.1-distroless", "security.istio.io/v1beta1"),
        ("telemetry.istio.io/v1", "Telemetry", "release-1.21", "telemetry.istio.io/v1alpha1"),
        ("extensions.istio.io/v1alpha1", "WasmPlugin", "1.13", "extensions.istio.io/v1alpha1"),
        ("gateway.networking.k8s.io/v1", "Gateway", "1.16", "gateway.networking.k8s.io/v1"),
        ("networking.k8s.io/v1", "NetworkPolicy", "1.9", "networking.k8s.io/v1"),
        ("networking.istio.io/v1", "Sidecar", "", "networking.istio.io/v1"),
        ("networking.istio.io/v1", "Sidecar", "unknown", "networking.istio.io/v1"),
    ],
)
def test_api_versions(api: str, kind: str, istio: str, wanted: str) -> None:
    assert adapt(resource(api, kind), istio) == resource(wanted, kind)


def test_each_document_by_its_kind() -> None:
    both = (
        resource("security.istio.io/v1", "AuthorizationPolicy")
        + "---\n"
        + resource("security.istio.io/v1", "PeerAuthentication")
    )
    found = [d["apiVersion"] for d in yaml.safe_load_all(adapt(both, "1.20"))]
    assert found == ["security.istio.io/v1", "security.istio.io/v1beta1"]


@pytest.mark.parametrize("text", ["", "x", "1", "1.x", "20", "1.2024", "١.٢"])
def test_what_is_no_version(text: str) -> None:
    assert parse(text) is None


# -- remedies of a cause


def cause(*raw: dict[str, Any]) -> Cause:
    return Cause("c", Kind.FAILURE, Severity.ERROR, "t", "e", remedies=raw)


def test_what_weakens_security_comes_last() -> None:
    step = [{"text": "x"}]
    c = cause(
        {"title": "open", "risk": "weakens security", "production": "Do not do it.", "steps": step},
        {"title": "shift", "risk": "changes traffic", "steps": step},
        {"title": "look", "steps": step},
    )
    assert [(r.title, r.risk) for r in remedies.of(c, {})] == [
        ("shift", Risk.CHANGES_TRAFFIC), ("look", Risk.SAFE), ("open", Risk.WEAKENS_SECURITY)
    ]  # fmt: skip
    assert remedies.of(c, {})[-1].production == "Do not do it."


def test_notes_say_what_was_refused_and_only_what_was_wanted() -> None:
    c = cause(
        {"title": "a", "steps": [{"text": "x", "command": "kubectl -n {namespace} get pod {pod}"}]},
        {"title": "b", "why": "For {host}.", "steps": [{"text": "x"}]},
    )
    first, second = remedies.of(c, {"namespace": "Prod;id", "service": "A B", "host": "ok.example", "pod": ""})
    assert first.steps[0].command == "kubectl -n '<namespace>' get pod '<pod>'"
    assert len(first.notes) == 1 and first.notes[0].startswith(
        "<namespace>: 'Prod;id' is not used, for it is not a DNS label"
    )
    assert second.why == "For ok.example." and second.notes == ()


def test_the_version_reaches_the_manifest() -> None:
    c = cause({"title": "a", "steps": [{"text": "x", "manifest": resource("networking.istio.io/v1", "Sidecar")}]})
    assert "v1beta1" in remedies.of(c, {}, "1.20")[0].steps[0].manifest
    assert "v1beta1" not in remedies.of(c, {})[0].steps[0].manifest
