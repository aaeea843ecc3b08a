"""`Snapshot`: the state of a cluster at one moment, as one value; what could not be read is part of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Final

from meshdiag.cluster.objects import RESOURCES, Object, Ref
from meshdiag.model import Problem

API: Final = "meshdiag/v1"
"""apiVersion of `kind: Snapshot`, the file that says of a folder what was read, and when."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The objects of a cluster that matter for a mesh.

    source      where it comes from: a context, a file, a folder
    objects     all of them
    unread      kind -> why its objects are not here (no permission, not installed, not in the capture). A kind that is neither here
                nor named there has no objects
    namespaces  those that were asked for; None for all
    taken       when it was read (UTC), None when the capture does not say; what lasts is reckoned from it
    problems    what else could not be read: a broken file, an object without a name
    kubernetes  the server's version as it tells it (`v1.34.1`), "" when not known
    istio       the control plane's version as a bug-report tells it, "" when not known; `versions.istio_version` knows more
    ignored     kind -> how many objects of a kind that a snapshot does not have were left out
    """

    source: str = ""
    objects: tuple[Object, ...] = field(default=(), repr=False)
    unread: Mapping[str, str] = field(default_factory=dict)
    namespaces: frozenset[str] | None = None
    taken: datetime | None = None
    problems: tuple[Problem, ...] = ()
    kubernetes: str = ""
    istio: str = ""
    ignored: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def _by_kind(self) -> Mapping[str, Mapping[tuple[str, str], Object]]:
        found: dict[str, dict[tuple[str, str], Object]] = {}
        for o in sorted(self.objects, key=lambda o: o.ref):
            found.setdefault(o.ref.kind, {})[o.namespace, o.name] = o
        return found

    @cached_property
    def _by_namespace(self) -> Mapping[tuple[str, str], tuple[Object, ...]]:
        found: dict[tuple[str, str], list[Object]] = {}
        for kind, objects in self._by_kind.items():
            for o in objects.values():
                found.setdefault((kind, o.namespace), []).append(o)
        return {k: tuple(v) for k, v in found.items()}

    def all(self, kind: str, namespace: str | None = None) -> tuple[Object, ...]:
        """The objects of a kind (a key of `RESOURCES`), of one namespace or all, in order of their names."""
        if namespace is not None:
            return self._by_namespace.get((kind, namespace), ())
        return tuple(self._by_kind.get(kind, {}).values())

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """One object; None when it is not here."""
        return self._by_kind.get(kind, {}).get((namespace, name))

    def lacks(self, *kinds: str) -> str:
        """Why these kinds cannot be looked at, in a sentence; "" when all can."""
        return "; ".join(f"{RESOURCES[k].plural}: {self.unread[k]}" for k in kinds if k in self.unread)

    def where(self, ref: Ref) -> str:
        """How an object is cited as evidence: `Service default/reviews in prod-eu`."""
        return f"{ref} in {self.source}" if self.source else str(ref)


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Several captures of one cluster as one: an object that is in several is that of the latest; a kind is unread when it is in all.

    Of a kind that a capture has read in the whole cluster, at a time that it knows, what earlier ones had is over.
    """
    some = sorted(snapshots, key=lambda s: (s.taken is not None, s.taken))
    if not some:
        return Snapshot(unread=dict.fromkeys(RESOURCES, "nothing was read"))
    objects: dict[tuple[str, str, str], Object] = {}
    for s in some:
        if s.taken and s.namespaces is None:
            objects = {k: o for k, o in objects.items() if k[0] in s.unread}
        objects.update(((o.ref.kind, o.namespace, o.name), o) for o in s.objects)
    unread = {k: why for k, why in some[-1].unread.items() if all(k in s.unread for s in some)}
    spaces = [s.namespaces for s in some]
    ignored = Counter[str]()
    for s in some:
        ignored.update(s.ignored)
    return Snapshot(
        source=", ".join(dict.fromkeys(s.source for s in some if s.source)),
        objects=tuple(objects.values()),
        unread=unread,
        namespaces=None if None in spaces else frozenset().union(*(n for n in spaces if n)),
        taken=max((s.taken for s in some if s.taken), default=None),
        problems=tuple(p for s in some for p in s.problems),
        kubernetes=next((s.kubernetes for s in reversed(some) if s.kubernetes), ""),
        istio=next((s.istio for s in reversed(some) if s.istio), ""),
        ignored=dict(ignored),
    )
