"""What is right while one builds: nothing in the way."""

from __future__ import annotations

from meshdiag.cluster.checks import named
from meshdiag.cluster.profiles.modes import ALLOW_ANY, PERMISSIVE
from meshdiag.cluster.survey import Profile

PROFILES = (
    Profile(
        "development",
        "Development: PERMISSIVE and ALLOW_ANY",
        (PERMISSIVE, ALLOW_ANY, *named("injection", "pod-status", "istiod-health", "cluster-resources", "node-ports")),
        "Before others depend on it: meshdiag check --profile production.",
    ),
)
