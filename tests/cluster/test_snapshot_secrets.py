"""What a snapshot never holds, and what stays so that checks can tell."""

from __future__ import annotations

import base64
import copy
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from meshdiag.cluster.secrets import DIFFERS, MATCHES, REMOVED, UNREADABLE, is_removed, strip
from tests.live.certificates import Authority

PASSWORD = "hunter2-Tr0ub4dor"


def b64(data: bytes | str) -> str:
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bytes, bytes]]:
    """Two certificates and their keys, as PEM."""
    folder = tmp_path_factory.mktemp("ca")
    authority = Authority(folder)
    return [
        (c.read_bytes(), k.read_bytes())
        for c, k in (authority.issue("a", "a.example"), authority.issue("b", "b.example"))
    ]


def secret(**data: Any) -> dict[str, Any]:
    raw = {
        "kind": "Secret",
        "metadata": {"name": "s"},
        "data": {k.replace("__", "-").replace("_", "."): v for k, v in data.items()},
    }
    strip("Secret", raw)
    return raw["data"]


def test_key_pairs(pairs: list[tuple[bytes, bytes]]) -> None:
    (cert, key), (other, _) = pairs
    for names in (("tls_crt", "tls_key"), ("cert", "key"), ("ca__cert_pem", "ca__key_pem")):
        certificate, private = names
        out = secret(**{certificate: b64(cert), private: b64(key)})
        assert list(out.values()) == [b64(cert), MATCHES]
        assert list(secret(**{certificate: b64(other), private: b64(key)}).values())[1] == DIFFERS
    assert secret(tls_key=b64(key)) == {"tls.key": DIFFERS}
    assert secret(tls_key=b64(key), tls_crt="!!") == {"tls.key": DIFFERS, "tls.crt": REMOVED}


@pytest.mark.parametrize("value", ["", "no base64!", b64("no key"), b64(b"\xff\xfe"), 5, None, ["a"]])
def test_keys_that_are_none(value: Any, pairs: list[tuple[bytes, bytes]]) -> None:
    assert secret(tls_key=value, tls_crt=b64(pairs[0][0]))["tls.key"] == UNREADABLE


def test_an_encrypted_key_and_an_rsa_key(pairs: list[tuple[bytes, bytes]]) -> None:
    key = rsa.generate_private_key(65537, 2048)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked = key.private_bytes(*form, serialization.BestAvailableEncryption(b"x"))
    assert secret(tls_key=b64(locked), tls_crt=b64(pairs[0][0]))["tls.key"] == UNREADABLE
    plain = key.private_bytes(*form, serialization.NoEncryption())
    assert secret(tls_key=b64(plain), tls_crt=b64(pairs[0][0]))["tls.key"] == DIFFERS


def test_only_certificates_stay_of_a_file_with_both(pairs: list[tuple[bytes, bytes]]) -> None:
    (cert, key), (other, _) = pairs
    out = secret(tls_crt=b64(b"subject=a\n" + cert + key + other))
    assert base64.b64decode(out["tls.crt"]).strip().split(b"\n") == (cert.strip() + b"\n" + other.strip()).split(b"\n")
    assert secret(tls_crt=b64(key)) == {"tls.crt": REMOVED}, "the two were mixed up"
    assert secret(ca_crt="", root__cert_pem=b64(cert))["ca.crt"] == ""


def test_all_else_is_removed() -> None:
    out = secret(password=b64(PASSWORD), key_pem=b64(PASSWORD), token="", prod=b64(PASSWORD))
    assert set(out.values()) == {REMOVED}


def test_string_data_and_the_applied_object(pairs: list[tuple[bytes, bytes]]) -> None:
    cert, key = pairs[0]
    raw = {
        "metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": PASSWORD, "a": "b"}},
        "stringData": {"tls.crt": cert.decode(), "tls.key": key.decode(), "x": PASSWORD},
    }
    strip("Secret", raw)
    assert raw == {
        "metadata": {"annotations": {"a": "b"}},
        "data": {"tls.crt": b64(cert), "tls.key": MATCHES, "x": REMOVED},
    }


def workload(container: dict[str, Any], kind: str = "Pod") -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [container]}
    raw = {"kind": kind, "metadata": {"name": "x"}, "spec": spec if kind == "Pod" else {"template": {"spec": spec}}}
    strip(kind, raw)
    return container


@pytest.mark.parametrize("kind", ["Pod", "Deployment", "StatefulSet", "DaemonSet", "Job"])
def test_an_application_keeps_no_values(kind: str) -> None:
    reference = {"name": "REF", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    container = {
        "name": "app",
        "env": [
            {"name": "DB_PASSWORD", "value": PASSWORD},
            {"name": "PILOT_X", "value": PASSWORD},
            reference,
            {"name": "E", "value": ""},
        ],
        "command": ["run", PASSWORD],
        "args": ["--password", PASSWORD],
        "livenessProbe": {"exec": {"command": ["sh", "-c", f"ping -p{PASSWORD}"]}},
        "readinessProbe": {
            "httpGet": {"path": "/", "port": 8080, "httpHeaders": [{"name": "Authorization", "value": PASSWORD}]}
        },
        "lifecycle": {"preStop": {"exec": {"command": [PASSWORD]}}},
        "ports": [{"containerPort": 8080}],
    }
    out = workload(container, kind)
    assert PASSWORD not in repr(out)
    assert [e["name"] for e in out["env"]] == ["DB_PASSWORD", "PILOT_X", "REF", "E"] and out["env"][2] == reference
    assert (
        out["env"][0]["value"] == REMOVED
        and out["args"] == [REMOVED]
        and out["readinessProbe"]["httpGet"]["port"] == 8080
    )


def test_istios_own_containers_keep_what_checks_ask_for() -> None:
    wait = {"postStart": {"exec": {"command": ["pilot-agent", "wait"]}}}
    env = [
        {"name": "PILOT_CERT_PROVIDER", "value": "istiod"},
        {"name": "CA_ADDR", "value": "istiod.istio-system.svc:15012"},
        {"name": "ISTIO_META_CLUSTER_ID", "value": "Kubernetes"},
        {
            "name": "PROXY_CONFIG",
            "value": '{"tracing":{"lightstep":{"accessToken":"'
            + PASSWORD
            + '"}},"holdApplicationUntilProxyStarts":true}',
        },
        {"name": "MY_TOKEN", "value": PASSWORD},
    ]
    out = workload({"name": "istio-proxy", "env": env, "args": ["proxy", "sidecar"], "lifecycle": wait})
    assert [e["value"] for e in out["env"][:3]] == ["istiod", "istiod.istio-system.svc:15012", "Kubernetes"]
    assert "holdApplicationUntilProxyStarts" in out["env"][3]["value"] and out["env"][4]["value"] == REMOVED
    assert PASSWORD not in repr(out) and out["args"] == ["proxy", "sidecar"]
    assert out["lifecycle"]["postStart"]["exec"]["command"] == ["pilot-agent", "wait"]


def test_mesh_configuration_without_its_tokens() -> None:
    mesh = (
        "accessLogFile: /dev/stdout\nextensionProviders:\n- name: x\n  lightstep:\n"
        f"    accessToken: {PASSWORD}\n    port: 443\nenableTokens: true\ntokens:\n- a\nsecret: |\n  x\n"
    )
    raw = {"data": {"mesh": mesh, "values": f'{{"global": {{"token": "{PASSWORD}"}}}}'}, "binaryData": {"x": PASSWORD}}
    strip("ConfigMap", raw)
    assert PASSWORD not in repr(raw)
    assert raw["data"]["mesh"] == mesh.replace(PASSWORD, REMOVED)


def test_last_words_of_containers_and_events() -> None:
    raw: dict[str, Any] = {
        "status": {"containerStatuses": [{"lastState": {"terminated": {"message": f"password={PASSWORD} refused"}}}]}
    }
    strip("Pod", raw)
    event = {"message": f"pull https://user:{PASSWORD}@registry.example/x failed"}
    strip("Event", event)
    assert PASSWORD not in repr((raw, event)) and "registry.example" in event["message"]


def test_what_was_removed_is_known() -> None:
    assert (
        is_removed({"a": [{"value": REMOVED}]})
        and is_removed(["x", f"token={REMOVED}"])
        and not is_removed({"a": ["b", 1, None]})
    )


KINDS = ("Secret", "ConfigMap", "Pod", "Deployment", "Event", "Node", "WasmPlugin", "Service")
WORDS = st.sampled_from(
    [
        "token=abcdef",
        "Authorization: Bearer abcdefgh",
        "password: x1y2z3",
        "://u:pw1234@h",
        "",
        "plain",
        "a\nsecret: b\n",
        REMOVED,
    ]
)
LEAF = st.none() | st.integers() | WORDS | st.text(max_size=8)
KEYS = st.sampled_from(
    [
        "data",
        "stringData",
        "tls.crt",
        "tls.key",
        "metadata",
        "annotations",
        "spec",
        "template",
        "containers",
        "env",
        "name",
        "value",
        "args",
        "livenessProbe",
        "exec",
        "command",
        "lifecycle",
        "status",
        "containerStatuses",
        "state",
        "message",
        "httpGet",
        "httpHeaders",
    ]
)
ANY = st.recursive(LEAF, lambda i: st.lists(i, max_size=3) | st.dictionaries(KEYS, i, max_size=4), max_leaves=25)


@given(st.sampled_from(KINDS), st.dictionaries(KEYS, ANY, max_size=6))
def test_twice_is_once_and_nothing_raises(kind: str, raw: dict[str, Any]) -> None:
    strip(kind, raw)
    once = copy.deepcopy(raw)
    strip(kind, raw)
    assert raw == once


def test_certificates_twice(pairs: list[tuple[bytes, bytes]], tmp_path: Path) -> None:
    cert, key = pairs[0]
    raw = {"data": {"tls.crt": b64(b"x\n" + cert), "tls.key": b64(key)}}
    strip("Secret", raw)
    once = copy.deepcopy(raw)
    strip("Secret", raw)
    assert raw == once and raw["data"]["tls.key"] == MATCHES
