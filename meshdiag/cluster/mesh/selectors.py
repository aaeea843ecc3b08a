"""Which labels a selector selects (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from meshdiag.cluster.mesh.pods import is_over
from meshdiag.cluster.objects import Object, mapping, mappings, texts
from meshdiag.cluster.snapshot import Snapshot


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether labels have all that a plain selector asks for; an empty one selects all."""
    return all(labels.get(k) == v for k, v in selector.items())


def label_selector(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector (matchLabels, matchExpressions) selects these labels; an empty one selects all."""
    for e in mappings(selector.get("matchExpressions")):
        key, values = str(e.get("key")), texts(e.get("values"))
        holds = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }.get(str(e.get("operator")), False)
        if not holds:
            return False
    return all(labels.get(k) == v for k, v in mapping(selector.get("matchLabels")).items())


@lru_cache(4)
def _labelled(snapshot: Snapshot) -> Mapping[tuple[str, str], tuple[Object, ...]]:
    """The pods that are not over by each of their labels."""
    found: dict[tuple[str, str], list[Object]] = {}
    for p in snapshot.all("Pod"):
        if not is_over(p):
            for pair in p.labels.items():
                found.setdefault(pair, []).append(p)
    return {k: tuple(v) for k, v in found.items()}


def pods_with(snapshot: Snapshot, labels: Mapping[str, str], namespace: str | None = None) -> tuple[Object, ...]:
    """The pods with all these labels that are not over, of one namespace or all; none for no labels."""
    if not labels:
        return ()
    some = min((_labelled(snapshot).get(pair, ()) for pair in labels.items()), key=len)
    return tuple(p for p in some if namespace in (None, p.namespace) and selects(labels, p.labels))
