"""What a path says about who wrote the lines in it: a table of the layouts that tools make.

A rule is a pure function from the parts of a path (archives count as folders, a compression suffix is gone) to a
`Place` or None. The first rule that knows a path decides. Names must be valid Kubernetes names, so nothing strange
gets in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from meshdiag.lazyre import lazy
from meshdiag.model import Origin
from meshdiag.sources.base import LOG, STATE
from meshdiag.sources.sniff import NAMES


@dataclass(frozen=True, slots=True)
class Place:
    """What a path says. `role` is `log` or `state`; `layout` is the rule that knew it."""

    namespace: str = ""
    pod: str = ""
    container: str = ""
    previous: bool = False
    role: str = LOG
    layout: str = ""
    cluster: str = ""

    def origin(self, path: str) -> Origin:
        """The origin of the lines of `path`."""
        return Origin(path, self.cluster, self.namespace, self.pod, self.container, self.previous)


Parts = tuple[str, ...]
Rule = Callable[[Parts], Place | None]

_LABEL = lazy(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")  # RFC 1123: namespaces, containers
_SUBDOMAIN = lazy(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")  # pods
_UID = lazy(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z|[0-9a-f]{32}\Z")
_ROTATED = lazy(r"\d+\.log(\.\d{8}-\d{6})?\Z")
_CONTAINER_LINK = lazy(r"([^_]+)_([^_]+)_(.+)-([0-9a-f]{64})\.log\Z")
# Kubernetes makes name suffixes from letters and digits that form no words (apimachinery rand.String).
_GENERATED = lazy(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?-(?:[bcdf-hj-np-tv-xz2456789]{4,10}-)[bcdf-hj-np-tv-xz2456789]{5}\Z")
_DAEMON = lazy(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?-(?=[a-z]*\d)[bcdf-hj-np-tv-xz2456789]{5}\Z")
_PREVIOUS = lazy(r"[-_.]previous\Z")
_LOG_SUFFIX = lazy(r"\.(log|txt|json|jsonl|out)\Z")

ISTIO_CONTAINERS = frozenset(
    {"istio-proxy", "discovery", "istio-init", "istio-validation", "install-cni", "istio-operator", "ztunnel"}
)


def _label(text: str) -> bool:
    return _LABEL.match(text) is not None


def _names(namespace: str, pod: str, container: str = "") -> bool:
    return _label(namespace) and _SUBDOMAIN.match(pod) is not None and (not container or _label(container))


def capture(parts: Parts) -> Place | None:
    """`meshdiag tail --save` (capture.py): clusters/CLUSTER/NS/POD/CONTAINER[-previous].log; capture.json tells what is missing."""
    if parts[-1] == "capture.json":
        return Place(role=STATE)
    if len(parts) < 5 or parts[-5] != "clusters" or not parts[-1].endswith(".log"):
        return None
    container = parts[-1].removesuffix(".log")
    previous = container.endswith("-previous")
    container = container.removesuffix("-previous")
    if not _names(parts[-3], parts[-2], container):
        return None
    cluster = "" if parts[-4] == "cluster" else parts[-4]
    return Place(parts[-3], parts[-2], container, previous, cluster=cluster)


def bug_report(parts: Parts) -> Place | None:
    """`istioctl bug-report` (Istio 1.9 to 1.27: tools/bug-report/pkg/archive, bugreport, content, common).

    proxies/NS/POD/istio-proxy.log (also ztunnel's), istio/NS/POD/discovery.log, operator/NS/POD/operator.log,
    cni/POD/cni.log, cluster/events, analyze/NS/FILE. The rest is state: Envoy's and istiod's debug pages, `cluster/`.
    """
    logs = {
        ("proxies", "istio-proxy.log"): "istio-proxy",
        ("istio", "discovery.log"): "discovery",
        ("operator", "operator.log"): "istio-operator",
        ("cni", "cni.log"): "install-cni",
    }
    name = parts[-1]
    if len(parts) >= 4 and (container := logs.get((parts[-4], name))) and _names(parts[-3], parts[-2]):
        return Place(parts[-3], parts[-2], container)
    if len(parts) >= 3 and parts[-3] == "cni" and name == "cni.log" and _SUBDOMAIN.match(parts[-2]):
        return Place(pod=parts[-2], container="install-cni")
    inside = "bug-report" in parts[:-1]
    if len(parts) >= 2 and parts[-2] == "cluster":
        if name == "events":
            return Place()
        if name in _BUG_REPORT_CLUSTER:
            return Place(role=STATE)
    if len(parts) >= 3 and parts[-3] == "analyze" and (inside or name == parts[-2]):
        return Place(namespace=name if _label(name) and name != "allnamespaces" else "")
    for depth in range(4, min(len(parts), 6) + 1):
        area, rest = parts[-depth], "/".join(parts[-depth + 3 :])
        if area in ("proxies", "istio") and _names(parts[-depth + 1], parts[-depth + 2]) and _PAGES.match(rest):
            return Place(parts[-depth + 1], parts[-depth + 2], role=STATE)
    if inside and ("." not in name or name == "bug-report.log"):
        return Place(role=STATE)  # bug-report.log is what istioctl itself did, with the analysis once more
    return None


_BUG_REPORT_CLUSTER = {
    "k8s-resources",
    "k8s-cluster-resources",
    "crs",
    "secrets",
    "nodes",
    "pods",
    "describe-pods",
    "cluster-context",
    "kubectl-version",
}
_PAGES = lazy(
    r"(certs|clusters|config_dump.*|listeners|memory|server_info|stats/prometheus|runtime|netstat"
    r"|workloads|cores/[^/]*|debug/[^/]*|metrics|version)\Z"
)


def must_gather(parts: Parts) -> Place | None:
    """`oc adm must-gather`, `oc adm inspect` (OpenShift 4): namespaces/NS/pods/POD/C/C/logs/{current,previous,
    previous.insecure}.log, rotated logs beside them; YAML is state except core/events.yaml."""
    if len(parts) >= 8 and "namespaces" in parts[:-6]:
        at = len(parts) - 2 - parts[:-1][::-1].index("logs") if "logs" in parts[:-1] else 0
        if at >= 6 and parts[at - 6] == "namespaces" and parts[at - 4] == "pods" and parts[at - 1] == parts[at - 2]:
            namespace, pod, container = parts[at - 5], parts[at - 3], parts[at - 1]
            if _names(namespace, pod, container):
                return Place(namespace, pod, container, parts[-1].startswith("previous"))
    if "cluster-scoped-resources" in parts[:-1]:
        return Place(role=STATE)
    if parts[-1].endswith((".yaml", ".yml")) and "namespaces" in parts[:-2]:
        namespace = parts[parts.index("namespaces") + 1]
        if parts[-2:] == ("core", "events.yaml"):
            return Place(namespace=namespace if _label(namespace) else "")
        return Place(role=STATE)
    return None


def pod_logs(parts: Parts) -> Place | None:
    """/var/log/pods/NS_POD_UID/CONTAINER/N.log[.YYYYMMDD-HHMMSS] (Kubernetes 1.14 and later, kuberuntime/helpers.go);
    `kind export logs` copies it."""
    if len(parts) < 3 or not _ROTATED.match(parts[-1]) or not _label(parts[-2]):
        return None
    names = parts[-3].split("_")
    if len(names) == 3 and _names(names[0], names[1]) and _UID.match(names[2]):
        return Place(names[0], names[1], parts[-2])
    return None


def container_logs(parts: Parts) -> Place | None:
    """/var/log/containers/POD_NS_CONTAINER-ID.log (kubelet, legacy.go legacyLogSymlink; log shippers keep the name)."""
    found = _CONTAINER_LINK.match(parts[-1])
    if found and _names(found[2], found[1], found[3]):
        return Place(found[2], found[1], found[3])
    return None


def cluster_dump(parts: Parts) -> Place | None:
    """`kubectl cluster-info dump --output-directory` (kubectl 1.9 to 1.34, clusterinfo_dump.go): NS/POD/logs.txt with a
    marker before each container; NS/events.json; the other JSON or YAML files are state."""
    if len(parts) >= 3 and parts[-1] == "logs.txt" and _names(parts[-3], parts[-2]):
        return Place(parts[-3], parts[-2])
    stem, _, suffix = parts[-1].rpartition(".")
    if suffix not in ("json", "yaml"):
        return None
    namespace = parts[-2] if len(parts) >= 2 and _label(parts[-2]) else ""
    if stem == "events":
        return Place(namespace=namespace)
    if stem in _DUMPED:
        return Place(role=STATE)
    return None


_DUMPED = {
    "nodes",
    "replication-controllers",
    "services",
    "daemonsets",
    "deployments",
    "replicasets",
    "pods",
}


def support_bundle(parts: Parts) -> Place | None:
    """Troubleshoot.sh support bundle: cluster-resources/pods/logs/NS/POD/CONTAINER[-previous].log."""
    if len(parts) < 5 or parts[-5:-3] != ("pods", "logs") or not parts[-1].endswith(".log"):
        return None
    container = parts[-1].removesuffix(".log")
    previous = container.endswith("-previous")
    container = container.removesuffix("-previous")
    return Place(parts[-3], parts[-2], container, previous) if _names(parts[-3], parts[-2], container) else None


def file_name(parts: Parts) -> Place | None:
    """Names that people give: NS_POD_CONTAINER.log, NS_POD.log, POD_CONTAINER.log, POD.log, istio-proxy.log, each also
    with `-previous`. A name of one part counts as a pod's only when Kubernetes has generated it."""
    if not _LOG_SUFFIX.search(parts[-1]):
        return None
    stem = _LOG_SUFFIX.sub("", parts[-1])
    previous = _PREVIOUS.search(stem) is not None
    names = _PREVIOUS.sub("", stem).split("_")
    if len(names) == 3 and _names(*names):
        return Place(names[0], names[1], names[2], previous)
    if len(names) == 2 and _SUBDOMAIN.match(names[0]):
        if names[1] in ISTIO_CONTAINERS:
            return Place("", names[0], names[1], previous)
        if _names(*names) and _generated(names[1]):
            return Place(names[0], names[1], previous=previous)
        if _label(names[1]) and _generated(names[0]):
            return Place("", names[0], names[1], previous)
    if len(names) == 1:
        if names[0] in ISTIO_CONTAINERS:
            return Place(container=names[0], previous=previous)
        if _generated(names[0]):
            return Place(pod=names[0], previous=previous)
    return Place(previous=True) if previous else None


def _generated(name: str) -> bool:
    return len(name) <= 253 and (_GENERATED.match(name) is not None or _DAEMON.match(name) is not None)


LAYOUTS: tuple[Rule, ...] = (
    capture,
    bug_report,
    must_gather,
    pod_logs,
    container_logs,
    support_bundle,
    cluster_dump,
    file_name,
)
_COMPRESSED = tuple(s for suffixes in NAMES.values() for s in suffixes)


def place(path: str) -> Place:
    """What the path says, an empty Place when no layout knows it.

    >>> place("report.tar.gz!bug-report/proxies/prod/web-5d9c7bbf8b-x2x4z/istio-proxy.log").namespace
    'prod'
    """
    text = path.replace("\\", "/").replace("!", "/")
    for suffix in _COMPRESSED:
        text = text.removesuffix(suffix)
    parts = tuple(p for p in text.split("/") if p)
    if not parts:
        return Place()
    for rule in LAYOUTS:
        found = rule(parts)
        if found is not None:
            return replace(found, layout=rule.__name__)
    return Place()
