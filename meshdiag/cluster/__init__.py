"""Cluster state: a snapshot of it, and checks that confirm or refute what logs say."""

from __future__ import annotations

from meshdiag.cluster.checks import checks
from meshdiag.cluster.loading import load
from meshdiag.cluster.objects import Object, Ref
from meshdiag.cluster.saving import save
from meshdiag.cluster.snapshot import Snapshot, merged
from meshdiag.cluster.verdict import About, Answer, Check, Edit, Proof, Result, Verdict, worst
from meshdiag.cluster.versions import istio_version, mode

__all__ = [
    "About", "Answer", "Check", "Edit", "Object", "Proof", "Ref", "Result", "Snapshot", "Verdict",
    "checks", "istio_version", "load", "merged", "mode", "save", "worst",
]  # fmt: skip
