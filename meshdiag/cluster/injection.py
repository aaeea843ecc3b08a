"""Would a pod get a sidecar if it were created now? As the API server (webhook selectors) and istiod's injector decide it.

The API server calls a webhook when its namespaceSelector and objectSelector select the namespace and the pod
(https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/). The injector then leaves out pods with
hostNetwork, Kubernetes' own namespaces, and those that label or annotation `sidecar.istio.io/inject` opt out; the label wins
(istio/istio, pkg/kube/inject/inject.go, injectRequired). The selectors are those of the chart istio-discovery, mutatingwebhook.yaml,
since 1.10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import yaml

from meshdiag.cluster.mesh import MANAGED_BY_CLUSTER, control_planes, label_selector, system_namespace
from meshdiag.cluster.objects import Object, mapping, mappings, moment
from meshdiag.cluster.snapshot import Snapshot
from meshdiag.cluster.verdict import Proof

INJECT: Final = "sidecar.istio.io/inject"
ENABLED: Final = "istio-injection"
REVISION: Final = "istio.io/rev"
IGNORED: Final = MANAGED_BY_CLUSTER | {"local-path-storage"}
_YES: Final = frozenset({"true", "y", "yes", "on"})


class Reason(StrEnum):
    """Why a pod gets a sidecar or not."""

    INJECTED = "injected"
    HOST_NETWORK = "hostNetwork"
    IGNORED = "namespace of Kubernetes"
    OPTED_OUT = "opted out"
    ANNOTATION_ONLY = "asked for in an annotation only"
    REVISION = "revision that nobody serves"
    NO_WEBHOOK = "no webhook"
    NOT_ASKED = "not asked for"
    UNKNOWN = "cannot be told"


@dataclass(frozen=True, slots=True)
class Decision:
    """What would be done with a pod, why, and where that stands."""

    reason: Reason
    why: str
    proofs: tuple[Proof, ...] = ()


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook of an injector; `config` is None for one that the chart would make, where none could be read."""

    config: Object | None
    index: int
    raw: Mapping[str, Any]
    revision: str

    def calls(self, namespace: Mapping[str, str], pod: Mapping[str, str]) -> bool:
        """Whether the API server calls it for a pod with these labels in a namespace with those."""
        return label_selector(mapping(self.raw.get("namespaceSelector")), namespace) and label_selector(
            mapping(self.raw.get("objectSelector")), pod
        )

    @property
    def field(self) -> str:
        """Where it stands."""
        return f"webhooks[{self.index}]"


@lru_cache(4)
def hooks(snapshot: Snapshot) -> tuple[Hook, ...]:
    """The webhooks of injectors, tags included; those of the chart for every control plane when they could not be read."""
    if snapshot.lacks("MutatingWebhookConfiguration"):
        return tuple(h for c in control_planes(snapshot) for h in _of_chart(c.revision or "default"))
    return tuple(
        Hook(c, i, w, c.labels.get(REVISION, "default"))
        for c in injectors(snapshot)
        for i, w in enumerate(c.at("webhooks") if isinstance(c.at("webhooks"), list) else [])
        if isinstance(w, Mapping)
    )


@lru_cache(4)
def injectors(snapshot: Snapshot) -> tuple[Object, ...]:
    """The MutatingWebhookConfigurations of injectors and of revision tags."""
    return tuple(
        c
        for c in snapshot.all("MutatingWebhookConfiguration")
        if c.labels.get("app") == "sidecar-injector"
        or any(str(w.get("name", "")).endswith("sidecar-injector.istio.io") for w in c.mappings("webhooks"))
    )


def _of_chart(revision: str) -> list[Hook]:
    absent = {"operator": "DoesNotExist"}
    not_out = {"key": INJECT, "operator": "NotIn", "values": ["false"]}
    named = {"key": REVISION, "operator": "In", "values": [revision]}
    bare = [{"key": REVISION, **absent}, {"key": ENABLED, **absent}]
    some: list[tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]] = [
        ([named, {"key": ENABLED, **absent}], [not_out]),
        ([*bare], [not_out, named]),
    ]
    if revision == "default":
        some += [
            ([{"key": ENABLED, "operator": "In", "values": ["enabled"]}], [not_out]),
            ([*bare], [{"key": INJECT, "operator": "In", "values": ["true"]}, {"key": REVISION, **absent}]),
        ]
    return [
        Hook(
            None, i, {"namespaceSelector": {"matchExpressions": n}, "objectSelector": {"matchExpressions": o}}, revision
        )
        for i, (n, o) in enumerate(some)
    ]


def labels_of(snapshot: Snapshot, namespace: str) -> Mapping[str, str] | None:
    """The labels of a namespace, with the one of its name that the API server sees to; None when it is not here."""
    o = snapshot.get("Namespace", "", namespace)
    return None if o is None else {"kubernetes.io/metadata.name": namespace, **o.labels}


def decide(snapshot: Snapshot, o: Object) -> Decision:
    """Of a pod, or of the pods of a workload's template."""
    template = () if o.ref.kind == "Pod" else ("spec", "template")
    labels = o.strings(*template, "metadata", "labels")
    annotations = o.strings(*template, "metadata", "annotations")
    at = ".".join(template) + "." * bool(template)
    if o.flag(*template, "spec", "hostNetwork"):
        proof = Proof(o.ref, f"{at}spec.hostNetwork", "true")
        return Decision(Reason.HOST_NETWORK, "it uses the network of its node (hostNetwork)", (proof,))
    if o.namespace in IGNORED:
        return Decision(Reason.IGNORED, f"injection leaves namespace {o.namespace} alone")
    space = labels_of(snapshot, o.namespace)
    if space is None:
        return Decision(Reason.UNKNOWN, snapshot.lacks("Namespace") or f"namespace {o.namespace} was not read")
    if (said := labels.get(INJECT, annotations.get(INJECT, ""))) and said.lower() not in _YES:
        where = "labels" if INJECT in labels else "annotations"
        proof = Proof(o.ref, f"{at}metadata.{where}", f"{INJECT}: {said}")
        return Decision(Reason.OPTED_OUT, f"its {where[:-1]} {INJECT} is {said!r}", (proof,))
    called = next((h for h in hooks(snapshot) if h.calls(space, labels)), None)
    if called is not None:
        return _injector(snapshot, o, called, space, labels, bool(said))
    return _not_called(snapshot, o, space, labels, annotations, at)


def _injector(
    snapshot: Snapshot, o: Object, hook: Hook, space: Mapping[str, str], labels: Mapping[str, str], asked: bool
) -> Decision:
    if mappings(hook.raw.get("matchConditions")):
        return Decision(Reason.UNKNOWN, f"matchConditions of webhook {hook.raw.get('name')} decide it")
    config = injector_config(snapshot, hook.revision)
    if not asked:
        if any(mapping(s) and label_selector(mapping(s), labels) for s in mappings(config.get("neverInjectSelector"))):
            return Decision(Reason.OPTED_OUT, "neverInjectSelector of the injector's configuration selects it")
        always = any(label_selector(s, labels) for s in mappings(config.get("alwaysInjectSelector")) if s)
        if config.get("policy") == "disabled" and not always:
            return Decision(Reason.OPTED_OUT, "the injector's policy is disabled: only pods that ask get a sidecar")
    proofs = tuple(
        Proof(n.ref, "metadata.labels", f"{k}: {space[k]}")
        for n in [snapshot.get("Namespace", "", o.namespace)]
        for k in (ENABLED, REVISION)
        if n is not None and k in space
    )
    if hook.config is not None:
        proofs += (Proof(hook.config.ref, hook.field, str(hook.raw.get("name", ""))),)
    return Decision(Reason.INJECTED, f"revision {hook.revision} injects it", proofs)


def _not_called(
    snapshot: Snapshot,
    o: Object,
    space: Mapping[str, str],
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    at: str,
) -> Decision:
    namespace = snapshot.get("Namespace", "", o.namespace)
    ref = namespace.ref if namespace else o.ref
    if (said := space.get(ENABLED)) is not None and said != "enabled":
        proof = Proof(ref, "metadata.labels", f"{ENABLED}: {said}")
        return Decision(Reason.OPTED_OUT, f"label {ENABLED} of namespace {o.namespace} is {said!r}", (proof,))
    wanted, where = (space[REVISION], "namespace") if REVISION in space else (labels.get(REVISION, ""), "pod")
    if not (said or wanted or labels.get(INJECT)):
        if annotations.get(INJECT):
            proof = Proof(o.ref, f"{at}metadata.annotations", f"{INJECT}: {annotations[INJECT]}")
            why = f"only its annotation {INJECT} asks for it, which no webhook's selector sees"
            return Decision(Reason.ANNOTATION_ONLY, why, (proof,))
        proof = Proof(ref, "metadata.labels", f"neither {ENABLED} nor {REVISION}")
        return Decision(
            Reason.NOT_ASKED, f"namespace {o.namespace} has neither label {ENABLED} nor {REVISION}", (proof,)
        )
    unread = snapshot.lacks("MutatingWebhookConfiguration")
    if wanted and not said:
        proof = Proof(ref if where == "namespace" else o.ref, "metadata.labels", f"{REVISION}: {wanted}")
        if unread:
            return Decision(Reason.UNKNOWN, f"whether revision {wanted} is a tag is not known: {unread}", (proof,))
        if revisions := sorted({h.revision for h in hooks(snapshot)} | tags(snapshot)):
            known = ", ".join(revisions[:5])
            return Decision(Reason.REVISION, f"no webhook serves revision {wanted}; there are {known}", (proof,))
    if unread:
        return Decision(Reason.UNKNOWN, unread)
    if not hooks(snapshot):
        return Decision(Reason.NO_WEBHOOK, "there is no injection webhook in the cluster")
    asked = Proof(ref, "metadata.labels", f"{ENABLED}: {said}" if said else f"{REVISION}: {wanted}")
    known = ", ".join(sorted({h.revision for h in hooks(snapshot)} | tags(snapshot))[:5])
    return Decision(
        Reason.NO_WEBHOOK, f"no injection webhook selects {asked.value}; there are those of {known}", (asked,)
    )


@lru_cache(4)
def _tags(snapshot: Snapshot) -> frozenset[str]:
    return frozenset(t for c in injectors(snapshot) if (t := c.labels.get("istio.io/tag")))


def tags(snapshot: Snapshot) -> frozenset[str]:
    """The revision tags (`istioctl tag set`)."""
    return _tags(snapshot)


def injector_config(snapshot: Snapshot, revision: str) -> Mapping[str, Any]:
    """The injector's configuration (`data.config` of ConfigMap istio-sidecar-injector); empty when it is not here."""
    name = "istio-sidecar-injector" + (f"-{revision}" if revision not in ("", "default") else "")
    o = snapshot.get("ConfigMap", system_namespace(snapshot), name)
    return _config(o.text("data", "config")) if o else {}


@lru_cache(8)
def _config(text: str) -> Mapping[str, Any]:
    """Without the templates, which are long and not asked for."""
    head = []
    templates = False
    for line in text.splitlines():
        if line[:1] not in (" ", "", "#", "-"):
            templates = line.startswith(("templates:", "template:"))
        if not templates:
            head.append(line)
    try:
        return mapping(yaml.load("\n".join(head), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))  # noqa: S506  safe
    except (yaml.YAMLError, ValueError):
        return {}


def labelled_at(namespace: Object) -> str:
    """When a label that asks for injection was last set, as the API server's managedFields say it; "" when they do not.

    (https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management)
    """
    times = [
        str(m.get("time", ""))
        for m in namespace.mappings("metadata", "managedFields")
        if any(
            f"f:{k}" in mapping(mapping(mapping(m.get("fieldsV1")).get("f:metadata")).get("f:labels"))
            for k in (ENABLED, REVISION)
        )
    ]
    return max((t for t in times if moment(t)), default="")
