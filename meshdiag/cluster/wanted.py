"""Which objects a snapshot has. Of most kinds all; of Secrets, ConfigMaps and Events those that matter for a mesh."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from meshdiag.cluster.objects import Object, at, mapping, mappings, moment, texts

ISTIO_SECRETS: Final = ("cacerts", "istio-ca-secret")
CONFIG_BY_REVISION: Final = ("istio", "istio-sidecar-injector")
"""ConfigMaps of which each revision of Istio has its own: `istio-1-28`."""

CONFIG: Final = (*CONFIG_BY_REVISION, "istio-ca-root-cert", "coredns")
EVENT_AGE: Final = timedelta(hours=6)
MOST_EVENTS: Final = 5_000


def wanted(o: Object, credentials: Collection[str] = ()) -> bool:
    """Whether a snapshot has an object; `credentials` are names of Secrets that others name."""
    match o.ref.kind:
        case "Secret":
            named = o.name in ISTIO_SECRETS or o.name in credentials
            return named or o.text("type") == "kubernetes.io/tls" or "istio/multiCluster" in o.labels
        case "ConfigMap":
            return o.name in CONFIG or o.name.startswith("istio")
        case "Event":
            return o.text("type") != "Normal"
    return True


def credentials(objects: Iterable[Object]) -> set[str]:
    """The names of Secrets that Gateways of both kinds, DestinationRules and Ingresses name, with Istio's `-cacert` beside them.

    https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings
    """
    found: set[str] = set()
    for o in objects:
        tls: list[Any] = []
        if o.ref.kind == "Gateway":
            tls = [s.get("tls") for s in o.mappings("spec", "servers")]
        elif o.ref.kind == "DestinationRule":
            policies = [o.at("spec", "trafficPolicy"), *(s.get("trafficPolicy") for s in o.mappings("spec", "subsets"))]
            tls = [at(p, "tls") for p in policies]
            tls += [at(s, "tls") for p in policies for s in mappings(at(p, "portLevelSettings"))]
        elif o.ref.kind == "Ingress":
            tls = [{"credentialName": t.get("secretName")} for t in o.mappings("spec", "tls")]
        elif o.ref.kind == "KubernetesGateway":
            refs = [r for s in o.mappings("spec", "listeners") for r in mappings(at(s, "tls", "certificateRefs"))]
            tls = [{"credentialName": r.get("name")} for r in refs]
        for one in tls:
            for name in texts([mapping(one).get("credentialName")]) + texts(at(one, "credentialNames")):
                found |= {name, f"{name.removesuffix('-cacert')}-cacert"} if name else set()
    return found


def recent(events: Iterable[Object], now: datetime | None) -> list[Object]:
    """The events of the last hours before a time (None: before the latest of them), the latest if there are many."""
    dated = [(seen(e), e) for e in events]
    now = now or max((t for t, _ in dated if t), default=None)
    kept = [(t or now, e) for t, e in dated if now is None or t is None or now - t <= EVENT_AGE]
    return [e for _, e in sorted(kept, key=lambda d: (d[0] is not None, d[0] or 0, d[1].ref))][-MOST_EVENTS:]


def seen(event: Object) -> datetime | None:
    """When an event was last seen: as a series (events.k8s.io), or as the core group says it."""
    paths = (("series", "lastObservedTime"), ("lastTimestamp",), ("eventTime",), ("metadata", "creationTimestamp"))
    return next((t for p in paths if (t := moment(event.text(*p)))), None)
