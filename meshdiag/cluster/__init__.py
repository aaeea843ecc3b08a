"""Cluster state: a snapshot of it, and checks that confirm or refute what logs say.

What loads, saves and looks into a snapshot is loaded when first used: every diagnosis imports this, and few have a cluster.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from meshdiag.cluster.checks import checks
from meshdiag.cluster.objects import Object, Ref
from meshdiag.cluster.snapshot import Snapshot, merged
from meshdiag.cluster.verdict import About, Answer, Check, Edit, Proof, Result, Verdict, worst

if TYPE_CHECKING:
    from meshdiag.cluster.loading import load
    from meshdiag.cluster.saving import save
    from meshdiag.cluster.versions import istio_version, mode

_HOME = {"load": "loading", "save": "saving", "istio_version": "versions", "mode": "versions"}

__all__ = [
    "About", "Answer", "Check", "Edit", "Object", "Proof", "Ref", "Result", "Snapshot", "Verdict",
    "checks", "istio_version", "load", "merged", "mode", "save", "worst",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'meshdiag.cluster' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value
