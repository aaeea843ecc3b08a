"""What a snapshot never holds: private keys, passwords, tokens. They are taken out of an object's JSON as soon as it is read.

What is taken out is replaced, so that a check still sees that it was there:

    meshdiag:removed              a value that may be secret
    meshdiag:key-matches          a private key of the certificate beside it
    meshdiag:key-does-not-match   one of another certificate, or of none
    meshdiag:key-unreadable       what should be a private key and is none, or is encrypted
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from meshdiag.cluster.objects import at, mapping, mappings
from meshdiag.lazyre import lazy
from meshdiag.redact import redact

MARK: Final = "meshdiag:"
REMOVED: Final = "meshdiag:removed"
MATCHES: Final = "meshdiag:key-matches"
DIFFERS: Final = "meshdiag:key-does-not-match"
UNREADABLE: Final = "meshdiag:key-unreadable"

CERTIFICATES: Final = ("tls.crt", "ca.crt", "cert", "cacert", "ca-cert.pem", "cert-chain.pem", "root-cert.pem")
KEYS: Final = {"tls.key": "tls.crt", "key": "cert", "ca-key.pem": "ca-cert.pem"}
"""Private keys, and the certificate that each belongs to: of kubernetes.io/tls, of Istio's generic credentials, of Istio's CA."""

ISTIO_CONTAINERS: Final = frozenset(
    ("istio-proxy", "istio-init", "istio-validation", "discovery", "ztunnel", "install-cni", "istio-cni")
)

_dropped_annotations: Final = frozenset(
    (
        "kubectl.kubernetes.io/last-applied-configuration",
        "objectset.rio.cattle.io/applied",
        "kapp.k14s.io/original",
        "banzaicloud.com/last-applied",
        "control-plane.alpha.kubernetes.io/leader",
    )
)
"""The object once more, as it was applied."""

_env_prefixes: Final = ("PILOT_", "ISTIO_", "AMBIENT_", "ENABLE_")
_env_names: Final = frozenset(
    (
        "CA_ADDR", "CA_PROVIDER", "CA_TRUSTED_NODE_ACCOUNTS", "CLUSTER_ID", "EXIT_ON_ZERO_ACTIVE_CONNECTIONS", "EXTERNAL_ISTIOD",
        "INJECTION_WEBHOOK_CONFIG_NAME", "JWT_POLICY", "MINIMUM_DRAIN_DURATION", "PROXY_CONFIG", "REVISION", "SHARED_MESH_CONFIG",
        "TERMINATION_DRAIN_DURATION_SECONDS", "TRUST_DOMAIN", "VALIDATION_WEBHOOK_CONFIG_NAME", "XDS_ADDRESS",
        "CITADEL_SELF_SIGNED_CA_CERT_TTL", "DEFAULT_WORKLOAD_CERT_TTL", "MAX_WORKLOAD_CERT_TTL", "SECRET_TTL",
    )
)  # fmt: skip
_pem = lazy(
    rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[A-Za-z0-9+/=\s]{1,100000}-----END (?:TRUSTED |X509 )?CERTIFICATE-----"
)
_yaml_secret = lazy(
    r"(?im)^(?P<key>[ \t]*(?:-[ \t]+)?[\"']?[a-z0-9_-]*(?:password|passwd|token|secret|api[_-]?key|private[_-]?key|credentials?)"
    r"[\"']?[ \t]*:[ \t]+)(?P<value>[^\s{\[|>#&*][^\n]*)"
)
_pseudonym = lazy(r"<[a-z-]{3,12}:[0-9a-f]{6}>")
_not_secret = lazy(r"""["']?(?:true|false|null|~|[0-9.]{1,6}|)["']?,?\s*\Z""")


def strip(kind: str, raw: dict[str, Any]) -> None:
    """Takes out of an object's JSON, in place, what may be secret, and what is only bulk (managed fields, a node's images).

    Done twice it changes nothing more. `kind` as in `RESOURCES`.
    """
    metadata = raw.get("metadata")
    if isinstance(metadata, dict):
        metadata.pop("managedFields", None)
        _strip_annotations(metadata)
    if kind == "Secret":
        _strip_secret(raw)
    elif kind == "ConfigMap":
        _strip_config(raw)
    elif kind == "Event":
        _redact_key(raw, "message")
    elif kind == "Pod":
        _strip_pod(raw.get("spec"))
        _strip_status(raw.get("status"))
    elif kind in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        template = at(raw, "spec", "template")
        if isinstance(template, dict):
            _strip_annotations(template.get("metadata"))
            _strip_pod(template.get("spec"))
    elif kind == "Node":
        status = raw.get("status")
        if isinstance(status, dict):
            status.pop("images", None)
    elif kind == "WasmPlugin":
        spec = raw.get("spec")
        if isinstance(spec, dict):
            if spec.get("pluginConfig"):
                spec["pluginConfig"] = {}
            for env in mappings(at(spec, "vmConfig", "env")):
                _remove_value(env)


def is_removed(value: Any) -> bool:
    """Whether anything in a JSON value was taken out by `strip`: such a value must never be written to a cluster."""
    if isinstance(value, str):
        return MARK in value
    if isinstance(value, Mapping):
        return any(map(is_removed, value.values()))
    return isinstance(value, list) and any(map(is_removed, value))


# --- Secrets ------------------------------------------------------------------------------------------------------


def _strip_secret(raw: dict[str, Any]) -> None:
    data = dict(mapping(raw.get("data")))
    for key, value in mapping(raw.pop("stringData", None)).items():
        data[key] = base64.b64encode(value.encode("utf-8", "replace")).decode() if isinstance(value, str) else value
    if not data:
        raw.pop("data", None)
        return
    kept = {k: _certificates(data[k]) if k in CERTIFICATES else REMOVED for k in data}
    for key, certificate in KEYS.items():
        if key in data:
            kept[key] = _key(data[key], kept.get(certificate))
    raw["data"] = kept


def _decoded(value: Any) -> bytes:
    if not isinstance(value, str):
        return b""
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _certificates(value: Any) -> Any:
    """Only the certificates of a PEM file, as some hold the key, too."""
    if value == "":
        return ""
    found = _pem.findall(_decoded(value))
    return base64.b64encode(b"\n".join(found) + b"\n").decode() if found else REMOVED


def _key(value: Any, certificate: Any) -> str:
    if isinstance(value, str) and value.startswith(MARK):
        return value
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    try:
        key = load_pem_private_key(_decoded(value), None, unsafe_skip_rsa_key_validation=True)
        mine = key.public_key().public_bytes(*form)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return UNREADABLE
    try:
        theirs = x509.load_pem_x509_certificate(_decoded(certificate)).public_key().public_bytes(*form)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return DIFFERS
    return MATCHES if mine == theirs else DIFFERS


# --- what else may hold secrets -----------------------------------------------------------------------------------


def _strip_annotations(metadata: Any) -> None:
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    if isinstance(annotations, dict):
        for key in _dropped_annotations.intersection(annotations):
            del annotations[key]
        for key in annotations:
            _redact_key(annotations, key)


def _redact_key(into: Any, key: str) -> None:
    value = into.get(key)
    if isinstance(value, str) and len(value) > 8:
        into[key] = _redacted(value)


def _redacted(text: str) -> str:
    """Not with pseudonyms, which would be secrets again when what was saved is read."""
    return _pseudonym.sub(REMOVED, redact(text))


def _strip_config(raw: dict[str, Any]) -> None:
    raw.pop("binaryData", None)
    data = raw.get("data")
    if not isinstance(data, dict):
        return
    for key, value in data.items():
        if isinstance(value, str):
            data[key] = _yaml_secret.sub(_remove_match, _redacted(value))


def _remove_match(m: Any) -> str:
    value = m["value"]
    if _not_secret.match(value) or value.startswith(MARK) or "{{" in value:
        return str(m[0])
    return f"{m['key']}{REMOVED}"


def _strip_pod(spec: Any) -> None:
    """Values of variables, arguments and headers of the containers: passwords stand there. Istio's own stay, redacted."""
    if not isinstance(spec, dict):
        return
    for part in ("initContainers", "containers", "ephemeralContainers"):
        for container in mappings(spec.get(part)):
            if not isinstance(container, dict):
                continue
            own = container.get("name") in ISTIO_CONTAINERS
            for env in mappings(container.get("env")):
                name = env.get("name")
                known = isinstance(name, str) and (name in _env_names or name.startswith(_env_prefixes))
                if known and own:
                    _redact_key(env, "value")
                else:
                    _remove_value(env)
            for words in ("command", "args"):
                _strip_words(container, words, own)
            for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
                _strip_handler(container.get(probe), own)
            for hook in mapping(container.get("lifecycle")).values():
                _strip_handler(hook, own)


def _strip_handler(handler: Any, own: bool) -> None:
    run, get = at(handler, "exec"), at(handler, "httpGet")
    if isinstance(run, dict):
        _strip_words(run, "command", own)
    for header in mappings(at(get, "httpHeaders")):
        _remove_value(header)


def _strip_words(into: dict[str, Any], key: str, own: bool) -> None:
    words = into.get(key)
    if isinstance(words, list) and words:
        into[key] = [_redacted(w) if isinstance(w, str) else w for w in words] if own else [REMOVED]


def _remove_value(pair: Any) -> None:
    if isinstance(pair, dict) and pair.get("value") not in (None, ""):
        pair["value"] = REMOVED


def _strip_status(status: Any) -> None:
    """A container's last words."""
    for part in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for one in mappings(at(status, part)):
            for state in ("state", "lastState"):
                for detail in mapping(one.get(state)).values():
                    if isinstance(detail, dict):
                        _redact_key(detail, "message")
