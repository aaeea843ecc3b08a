"""Do Istio's webhooks lead to an istiod that the API server can reach and trusts?

The API server calls the Service of `clientConfig` (port 443 unless it says otherwise) and trusts what signed `caBundle`
(https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/); istiod writes its own root there, and serves
/inject and /validate (istio/istio, pkg/webhooks and pilot/pkg/bootstrap).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, Final

from meshdiag.cluster.injection import ENABLED, REVISION, Hook, hooks, injectors, labels_of
from meshdiag.cluster.mesh import (
    control_planes,
    is_over,
    is_ready,
    is_system,
    names,
    own_pods,
    pods_behind,
    system_namespace,
)
from meshdiag.cluster.objects import Object, at, mapping, mappings
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import About, Check, Proof, Result
from meshdiag.lazyre import lazy
from meshdiag.model import Severity

INJECTION: Final = "injection-webhook-failed"
VALIDATION: Final = "validation-webhook-failed"
_pem = lazy(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


def run(snapshot: Snapshot, about: About) -> Iterator[Result]:
    """Of all webhooks; of a pod that is asked about only of the injectors that are called for it."""
    planes = control_planes(snapshot)
    validators = tuple(v for v in snapshot.all("ValidatingWebhookConfiguration") if _validates(v))
    mutators = injectors(snapshot)
    if not planes and not mutators and not validators:
        yield CHECK.unknown(snapshot.lacks("Deployment", "Pod") or "neither istiod nor one of its webhooks is here")
        return
    pods = tuple(p for p in own_pods(snapshot, about) if not is_over(p)) if about else ()
    asked = bool(pods) and not is_system(snapshot, pods[0].namespace)
    if asked:
        labels = labels_of(snapshot, pods[0].namespace) or {}
        called = {h.config.ref for h in hooks(snapshot) if h.config and h.calls(labels, pods[0].labels)}
        mutators = tuple(m for m in mutators if m.ref in called)
        validators = ()
        if not mutators:
            yield CHECK.unknown(
                f"no injection webhook is called for {pods[0].name}; the check injection says why", pods[0]
            )
            return
    found = list(_missing(snapshot, mutators)) if not asked else []
    for config in mutators:
        found += _config(snapshot, config, "/inject", INJECTION)
    for config in validators:
        found += _config(snapshot, config, "/validate", VALIDATION)
    if not asked:
        found += _twice(snapshot)
    yield from found
    every = (*mutators, *validators)
    if every and not found:
        yield CHECK.good(f"{names(every)} lead to istiod, with a CA bundle")


def _validates(config: Object) -> bool:
    return any(str(w.get("name", "")).endswith("validation.istio.io") for w in config.mappings("webhooks"))


def _missing(snapshot: Snapshot, mutators: tuple[Object, ...]) -> Iterator[Result]:
    """Where istiod runs, no webhook means that nothing is injected; where it runs elsewhere nothing is said."""
    if mutators or not (planes := control_planes(snapshot)):
        return
    istiod = planes[0].deployment or next(iter(planes[0].pods), None)
    yield CHECK.bad(
        "istiod runs, and there is no injection webhook: no new pod gets a sidecar",
        "sidecar-not-injected",
        about=istiod,
        proofs=(Proof(istiod.ref, "metadata.name", istiod.name),) if istiod else (),
        advice="Install it again: istioctl install, or helm upgrade istiod, with the values that you have",
    )


def _config(snapshot: Snapshot, config: Object, path: str, cause: str) -> Iterator[Result]:
    """One result for each kind of fault of the configuration, about the first webhook that has it."""
    seen = set()
    for i, hook in enumerate(config.at("webhooks") if isinstance(config.at("webhooks"), list) else []):
        if not isinstance(hook, Mapping) or _is_off(hook):
            continue
        for kind, result in _faults(snapshot, config, i, hook, path, cause):
            if kind not in seen:
                seen.add(kind)
                yield result


def _is_off(hook: Mapping[str, Any]) -> bool:
    """Whether istioctl has switched it off, in favour of the tag `default` (label istio.io/deactivated: never-match)."""
    return any(
        "istio.io/deactivated" in mapping(at(hook, k, "matchLabels")) for k in ("namespaceSelector", "objectSelector")
    )


def _faults(
    snapshot: Snapshot, config: Object, i: int, hook: Mapping[str, Any], path: str, cause: str
) -> Iterator[tuple[str, Result]]:
    where = f"webhooks[{i}]"
    what = f"{config.name}, webhook {hook.get('name')}"
    causes = (cause,) if hook.get("failurePolicy") != "Ignore" else ()
    client = mapping(hook.get("clientConfig"))
    service = mapping(client.get("service"))
    name, space = service.get("name"), service.get("namespace")
    if isinstance(name, str) and isinstance(space, str):
        said = service.get("path")
        if isinstance(said, str) and not said.startswith(path):
            proof = Proof(config.ref, f"{where}.clientConfig.service.path", said)
            yield (
                "path",
                CHECK.bad(f"{what} calls {said}, where istiod serves {path}", *causes, about=config, proofs=(proof,)),
            )
        yield from _service(snapshot, config, where, what, service, causes)
    yield from _bundle(snapshot, config, where, what, client, causes)
    if hook.get("failurePolicy") == "Ignore" and path == "/inject":
        yield (
            "policy",
            CHECK.bad(
                f"{what} has failurePolicy Ignore: while istiod is away pods start without a sidecar",
                "sidecar-not-injected",
                about=config,
                severity=Severity.WARNING,
                proofs=(Proof(config.ref, f"{where}.failurePolicy", "Ignore"),),
            ),
        )


def _service(
    snapshot: Snapshot, config: Object, where: str, what: str, said: Mapping[str, Any], causes: tuple[str, ...]
) -> Iterator[tuple[str, Result]]:
    name, space = str(said["name"]), str(said["namespace"])
    if snapshot.lacks("Service") or (snapshot.namespaces is not None and space not in snapshot.namespaces):
        return
    proof = Proof(config.ref, f"{where}.clientConfig.service", f"{space}/{name}")
    service = snapshot.get("Service", space, name)
    if service is None:
        yield (
            "service",
            CHECK.bad(
                f"{what} calls service {name} of namespace {space}, which does not exist",
                *causes,
                about=config,
                proofs=(proof,),
                advice="It was left by a revision that is gone: delete it, once nothing is labelled with that revision",
            ),
        )
        return
    given = said.get("port")
    port = given if isinstance(given, int) else 443
    ports = [p.get("port") for p in service.mappings("spec", "ports")]
    if port not in ports:
        yield (
            "port",
            CHECK.bad(
                f"{what} calls port {port} of service {name}, which has {', '.join(map(str, ports)) or 'none'}",
                *causes,
                about=config,
                proofs=(
                    Proof(config.ref, f"{where}.clientConfig.service.port", str(port)),
                    Proof(service.ref, "spec.ports[*].port", ", ".join(map(str, ports)) or "none"),
                ),
            ),
        )
    if service.strings("spec", "selector") and not snapshot.lacks("Pod"):
        pods = pods_behind(snapshot, service)
        if not any(map(is_ready, pods)):
            yield (
                "ready",
                CHECK.bad(
                    f"{what} calls service {name}, of which " + ("no pod is ready" if pods else "there is no pod"),
                    *causes,
                    about=config,
                    proofs=(proof, *(Proof(p.ref, "status.conditions[Ready]", "not True") for p in pods[:2])),
                    advice="Bring istiod back: the check istiod-health says what it lacks",
                ),
            )


def _bundle(
    snapshot: Snapshot, config: Object, where: str, what: str, client: Mapping[str, Any], causes: tuple[str, ...]
) -> Iterator[tuple[str, Result]]:
    field = f"{where}.clientConfig.caBundle"
    if not client.get("caBundle"):
        yield (
            "bundle",
            CHECK.bad(
                f"{what} has no caBundle: the API server does not trust istiod",
                *causes,
                *(("istiod-webhook-patch-failed",) if causes else ()),
                about=config,
                proofs=(Proof(config.ref, field, "empty"),),
                advice="istiod writes it: look for webhook errors in its log, and for a tool that resets it, then restart istiod",
            ),
        )
        return
    bundle, root = _bodies(_decoded(client["caBundle"])), _root(snapshot)
    if bundle and root is not None and not bundle & _bodies(root.text("data", "root-cert.pem")):
        yield (
            "bundle",
            CHECK.bad(
                f"{what} trusts another CA than the root that istiod gives out",
                *causes,
                *(("istiod-webhook-patch-failed",) if causes else ()),
                about=config,
                proofs=(
                    Proof(config.ref, field, f"{len(bundle)} certificates, none of them the root"),
                    Proof(root.ref, "data[root-cert.pem]", "another certificate"),
                ),
                advice="Restart istiod, so that it writes its caBundle anew; if it comes back, another writer resets it",
            ),
        )


def _root(snapshot: Snapshot) -> Object | None:
    """The ConfigMap with istiod's root; None where it is not known, or where istiod's own certificate is of another CA.

    (PILOT_CERT_PROVIDER; https://istio.io/latest/docs/reference/commands/pilot-discovery/#envvars)
    """
    root = snapshot.get("ConfigMap", system_namespace(snapshot), "istio-ca-root-cert")
    for plane in control_planes(snapshot):
        specs = [plane.deployment.at("spec", "template", "spec")] if plane.deployment else []
        specs += [p.at("spec") for p in plane.pods]
        for container in (c for s in specs for c in mappings(at(s, "containers"))):
            env = {e.get("name"): e.get("value") for e in mappings(container.get("env"))}
            if env.get("PILOT_CERT_PROVIDER", "istiod") != "istiod" or container.get("name") != "discovery":
                return None
            if any(str(a).startswith(("--caCertFile", "--tlsCertFile")) for a in container.get("args") or ()):
                return None
    return root if root is not None and _bodies(root.text("data", "root-cert.pem")) else None


def _decoded(text: Any) -> str:
    try:
        return base64.b64decode(text, validate=True).decode("ascii") if isinstance(text, str) else ""
    except (binascii.Error, ValueError):
        return ""


def _bodies(pem: str) -> frozenset[str]:
    """The certificates of a PEM text, comparable."""
    return frozenset("".join(m[1].split()) for m in _pem.finditer(pem))


def _twice(snapshot: Snapshot) -> Iterator[Result]:
    """Two injectors that are called for the same pods (two revisions that both claim a label or a tag)."""
    named = {
        str(v)
        for h in hooks(snapshot)
        for e in _expressions(h)
        if e.get("key") == REVISION
        for v in e.get("values") or ()
    }
    for label, value in ((ENABLED, "enabled"), *((REVISION, v) for v in sorted(named)[:50])):
        called = [h for h in hooks(snapshot) if h.config and h.calls({label: value}, {})]
        for one, other in combinations(called, 2):
            services = [mapping(at(h.raw, "clientConfig", "service")) for h in (one, other)]
            if one.config and other.config and one.config is not other.config and services[0] != services[1]:
                yield CHECK.bad(
                    f"{one.config.name} and {other.config.name} both inject pods of namespaces labelled {label}={value}",
                    about=one.config,
                    severity=Severity.WARNING,
                    proofs=(
                        Proof(one.config.ref, f"{one.field}.namespaceSelector", f"{label}={value}"),
                        Proof(other.config.ref, f"{other.field}.namespaceSelector", f"{label}={value}"),
                    ),
                    advice="Let one revision have the label or tag: istioctl tag list",
                )
                break
        else:
            continue
        return


def _expressions(hook: Hook) -> Iterator[Mapping[str, Any]]:
    for e in mappings(at(hook.raw, "namespaceSelector", "matchExpressions")):
        if isinstance(e.get("values"), list):
            yield e


CHECK = Check(
    "webhook-config",
    "Can the API server call Istio's webhooks?",
    ("MutatingWebhookConfiguration",),
    run,
)
