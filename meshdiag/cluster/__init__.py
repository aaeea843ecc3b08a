"""Cluster state: a snapshot of it, and checks that confirm or refute what logs say."""

from __future__ import annotations

from meshdiag.cluster.checks import checks
from meshdiag.cluster.objects import Object, Ref
from meshdiag.cluster.snapshot import Snapshot, merged
from meshdiag.cluster.verdict import About, Check, Edit, Proof, Result, Verdict, worst

__all__ = [
    "About", "Check", "Edit", "Object", "Proof", "Ref", "Result", "Snapshot", "Verdict", "checks", "merged", "worst",
]  # fmt: skip
