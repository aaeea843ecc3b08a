"""A snapshot out of files: what `kubectl get … -o yaml` or `-o json` prints, in files, folders and archives; an `istioctl bug-report`; what
`save` wrote.

What stands in no file is not known to be absent. A kind counts as read when an object of it is there, when a list says its kind
(`kind: PodList`), when a saved snapshot says so, or when it is one of those that a bug-report holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from meshdiag.cluster.documents import Document, documents
from meshdiag.cluster.objects import RESOURCES, Object, at, mapping, mappings, moment, object_of, resource_of, texts
from meshdiag.cluster.secrets import strip
from meshdiag.cluster.snapshot import API, Snapshot
from meshdiag.cluster.wanted import credentials, recent, wanted
from meshdiag.lazyre import lazy
from meshdiag.model import MeshdiagError, Problem
from meshdiag.sources import LOG, STATE, Input, Stream, open_inputs
from meshdiag.sources.expand import name as name_of
from meshdiag.sources.layouts import place

NOT_THERE: Final = "not in the capture"
NOT_INSTALLED: Final = "not installed"

LARGEST: Final = 256 << 20
"""Bytes of a file (decompressed) that are read."""

MOST: Final = 200_000
"""Objects of a capture."""

MOST_PROBLEMS: Final = 200

IN_RESOURCES: Final = (
    "Pod", "Service", "Deployment", "StatefulSet", "DaemonSet", "Job", "HorizontalPodAutoscaler", "Ingress", "ConfigMap", "Event",
)  # fmt: skip
"""What `cluster/k8s-resources` of a bug-report has in every version (Istio 1.8 to 1.31, tools/bug-report/pkg/content); newer ones
have namespaces, webhooks and EndpointSlices, too, of which there is always one."""

AS_TEXT: Final = {
    "nodes": ("Node", "kubectl describe"),
    "describe-pods": ("", "kubectl describe"),
    "secrets": ("Secret", "a table; --full-secrets has them"),
    "events": ("", "a table"),
}
"""Files in `cluster/` of a bug-report that are no objects, and the kind that only they have."""

_begins = lazy(
    r"""\ufeff?(?:\s|\#[^\n]*\n|%YAML[^\n]*\n|---(?=\s))*"""
    r"""(?:(?:-[ ]+)?(?:apiVersion|kind|items|metadata):|\[?\s*\{\s*"(?:apiVersion|kind|items|metadata)"\s*:)"""
)
_table = lazy(r"(?:NAMESPACE|NAME|LAST SEEN)[ ]{2,}\S|Name:[ ]{2,}\S|No resources found")
_istio_version = lazy(r"""Component:\s*"pilot"[^\0]{0,600}?Version:\s*"([\w.+-]{1,40})\"""")
_server_version = lazy(r"""Server Version:[^\n]{0,300}?(v\d+\.\d+\.\d+[\w.+-]{0,40})""")


def read(source: Input) -> Snapshot:
    """The snapshot of one input of `meshdiag.sources`: a path, folder, glob, archive, `-`, an open file, a URL.

    Raises MeshdiagError when it is not there, or holds the snapshots of two clusters.
    """
    reading = _Reading(name_of(source))
    chosen = isinstance(source, str) and any(c in source for c in "*?[")
    for stream in open_inputs([source], reading.report, roles=(LOG, STATE)):
        reading.stream(stream, chosen or stream.origin.path == reading.source)
    return reading.snapshot()


class _Reading:
    """What was found so far."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._read: set[str] = set()
        self._partly: dict[str, str] = {}
        self._as_text: dict[str, str] = {}
        self._crds: set[tuple[str, str]] = set()
        self._ignored = Counter[str]()
        self._problems: list[Problem] = []
        self._saved: tuple[str, Mapping[str, Any]] | None = None
        self._whole = False
        self._custom = False
        self._kubernetes = self._istio = ""

    def report(self, problem: Problem) -> None:
        """Keeps a problem."""
        if len(self._problems) < MOST_PROBLEMS:
            self._problems.append(problem)

    # -- files

    def stream(self, stream: Stream, chosen: bool) -> None:
        """Reads a file if it holds objects. `chosen`: the user named it."""
        path = stream.origin.path
        parts = path.replace("!", "/").split("/")
        layout = place(path)
        if layout.layout == "bug_report":
            if parts[-2:-1] == ["cluster"]:
                self._of_bug_report(stream, parts[-1])
            elif parts[-1] == "versions" and (found := _istio_version.search(self._text(stream)[0])):
                self._istio = found[1]
            return
        if layout.pod or layout.container or layout.layout == "capture":
            return  # a log
        yaml = parts[-1].lower().endswith((".yaml", ".yml"))
        if not (chosen or yaml):
            with stream.open() as data:
                head = data.read(4096)
            if not _begins.match(head.decode("utf-8", "replace")):
                return
        text, cut = self._text(stream)
        if chosen and _table.match(text):
            self.report(Problem(path, "is a table for people", "give the output of kubectl get … -o yaml"))
        elif not self._documents(path, text, cut) and chosen and text.strip():
            self.report(Problem(path, "holds no Kubernetes objects", "give the output of kubectl get … -o yaml"))

    def _of_bug_report(self, stream: Stream, name: str) -> None:
        text, cut = self._text(stream)
        if name == "kubectl-version":
            found = _server_version.search(text)
            self._kubernetes = found[1] if found else self._kubernetes
        elif name == "cluster-context":
            return
        elif name in AS_TEXT and not _begins.match(text):
            kind, what = AS_TEXT[name]
            self.report(Problem(stream.origin.path, f"not read as state: {what}"))
            if kind:
                self._as_text[kind] = f"in the bug-report only as text ({what})"
        else:
            before = len(self._problems)
            self._documents(stream.origin.path, text, cut)
            if len(self._problems) == before and not cut and _begins.match(text):
                self._whole = self._whole or name in ("crs", "k8s-resources")
                self._custom = self._custom or name == "crs"
                if name == "k8s-resources":
                    self._read.update(IN_RESOURCES)

    def _text(self, stream: Stream) -> tuple[str, bool]:
        """Its text, and whether it is only a part: too large, or an archive that broke off."""
        before = len(self._problems)
        with stream.open() as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            data = data[:LARGEST]
            what = f"larger than {LARGEST >> 20} MB: the rest is not read"
            self.report(Problem(stream.origin.path, what, "capture each kind in a file of its own"))
        cut = len(self._problems) > before
        try:
            return data.decode("utf-8-sig"), cut
        except UnicodeDecodeError as e:
            line = data.count(b"\n", 0, e.start) + 1
            self.report(
                Problem(f"{stream.origin.path}:{line}", "not UTF-8: what is none is shown as \N{REPLACEMENT CHARACTER}")
            )
            return data.decode("utf-8-sig", "replace"), cut

    # -- documents

    def _documents(self, path: str, text: str, cut: bool) -> int:
        """Takes the objects of a text; how many there are, of whatever kind."""
        count = 0
        for document in documents(text):
            for fault in document.faults:
                self.report(Problem(f"{path}:{fault.line}", fault.text))
            last = ""
            for raw in self._raws(document):
                if raw.get("apiVersion") == API:
                    self._snapshot(f"{path}:{document.line}", raw)
                    count += 1
                elif isinstance(raw.get("kind"), str) and isinstance(raw.get("apiVersion"), str):
                    last = self._take(f"{path}:{document.line}", raw) or last
                    count += 1
            if last and (cut or document.is_cut):
                self._partly[last] = f"only a part: {path} is broken off"
        return count

    def _raws(self, document: Document) -> Iterator[dict[str, Any]]:
        """The objects of a document: one, or those of a list, of which each may leave out what the list says."""
        value = document.value
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, dict):
                continue
            items, kind, api = one.get("items"), one.get("kind"), one.get("apiVersion")
            if not (isinstance(items, list) and (kind is None or (isinstance(kind, str) and kind.endswith("List")))):
                yield one
                continue
            given = {}
            if isinstance(kind, str) and isinstance(api, str) and kind != "List":
                given = {"apiVersion": api, "kind": kind.removesuffix("List")}
                if resource := resource_of(api, given["kind"]):
                    self._read.add(resource.kind)
            for item in items:
                if isinstance(item, dict):
                    yield {**given, **item}

    def _take(self, where: str, raw: dict[str, Any]) -> str:
        """Keeps an object of a kind that a snapshot has; returns the kind."""
        api, kind = raw["apiVersion"], raw["kind"]
        resource = resource_of(api, kind)
        if resource is None:
            self._ignored[kind[:100]] += 1
            if kind == "CustomResourceDefinition":
                self._crds.add((str(at(raw, "spec", "group")), str(at(raw, "spec", "names", "kind"))))
            return ""
        strip(resource.kind, raw)
        found = object_of(raw)
        if found is None:
            self.report(Problem(where, f"a {resource.kind} without a name: left out"))
            return ""
        key = found.ref.kind, found.namespace, found.name
        if len(self._objects) >= MOST and key not in self._objects:
            what = f"more than {MOST:,} objects: the others are left out"
            if all(p.what != what for p in self._problems):
                self.report(Problem(self.source, what))
            self._partly[found.ref.kind] = f"only a part: {what}"
            return ""
        self._objects[key] = found
        self._read.add(found.ref.kind)
        return found.ref.kind

    def _snapshot(self, where: str, raw: Mapping[str, Any]) -> None:
        if self._saved:
            both = f"{self._saved[0]} and {where}"
            raise MeshdiagError(f"{self.source} holds two snapshots, {both}: name the folder of the one that is meant")
        self._saved = where, raw

    # -- what they make

    def snapshot(self) -> Snapshot:
        """The snapshot of all that was taken."""
        saved = self._saved[1] if self._saved else {}
        taken = moment(str(saved.get("taken", "")))
        every = list(self._objects.values())
        named = credentials(every)
        kept = [o for o in every if o.ref.kind != "Event" and wanted(o, named)]
        kept += recent((o for o in every if o.ref.kind == "Event" and wanted(o)), taken)
        self._ignored.update(o.ref.kind for o in every if o.ref.kind != "Event" and not wanted(o, named))
        if not every and not self._saved and not self._problems:
            self.report(Problem(self.source, "holds no Kubernetes objects", "give the output of kubectl get … -o yaml"))
        return Snapshot(
            source=_string(saved, "source") or self.source,
            objects=tuple(kept),
            unread=self._unread(saved),
            namespaces=self._namespaces(saved, every),
            taken=taken,
            problems=(*_problems(saved), *self._problems),
            kubernetes=_string(saved, "kubernetes") or self._kubernetes,
            istio=_string(saved, "istio") or self._istio,
            ignored={**_counts(saved), **self._ignored},
        )

    def _unread(self, saved: Mapping[str, Any]) -> dict[str, str]:
        told = {k: v for k, v in mapping(saved.get("unread")).items() if isinstance(v, str)}
        read = self._read | set(texts(saved.get("read")))
        found = {k: self._why(k) for k in RESOURCES if k not in read}
        return {k: v for k, v in (found | self._partly | told).items() if v and k in RESOURCES}

    def _why(self, kind: str) -> str:
        """Why there is no object of a kind; "" when that is because there is none."""
        resource = RESOURCES[kind]
        own = "Gateway" if kind == "KubernetesGateway" else kind
        if resource.group.endswith(".istio.io") or resource.group == "gateway.networking.k8s.io":
            if self._crds and (resource.group, own) not in self._crds:
                return NOT_INSTALLED
            if self._custom:
                return ""
        return self._as_text.get(kind, NOT_THERE)

    def _namespaces(self, saved: Mapping[str, Any], objects: list[Object]) -> frozenset[str] | None:
        """Those that the capture is of. One that has kube-system's objects is of all: every cluster has some there."""
        if self._saved:
            return frozenset(texts(saved.get("namespaces"))) if isinstance(saved.get("namespaces"), list) else None
        spaces = {o.namespace for o in objects if o.namespace}
        return None if self._whole or not spaces or "kube-system" in spaces else frozenset(spaces)


def _string(saved: Mapping[str, Any], key: str) -> str:
    value = saved.get(key)
    return value if isinstance(value, str) else ""


def _problems(saved: Mapping[str, Any]) -> tuple[Problem, ...]:
    return tuple(Problem(*(_string(p, k) for k in ("where", "what", "hint"))) for p in mappings(saved.get("problems")))


def _counts(saved: Mapping[str, Any]) -> dict[str, int]:
    return {k: v for k, v in mapping(saved.get("ignored")).items() if isinstance(v, int)}
