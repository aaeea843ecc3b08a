"""What is right where others depend on it: closed by default, with reserves, and what breaks when you close it."""

from __future__ import annotations

from meshdiag.cluster.checks import named
from meshdiag.cluster.profiles.modes import REGISTRY_ONLY, STRICT
from meshdiag.cluster.survey import Profile

PROFILES = (
    Profile(
        "production",
        "Production: STRICT and REGISTRY_ONLY, with reserves",
        (
            STRICT,
            REGISTRY_ONLY,
            *named(
                "peer-authentication",
                "destination-rule-tls",
                "authorization-policies",
                "istiod-health",
                "istiod-resources",
            ),
            *named(
                "proxy-resources",
                "proxy-version-skew",
                "certificate-dates",
                "ca-secret",
                "gateway-secret",
                "webhook-config",
            ),
            *named("injection", "probes", "network-policy"),
        ),
        "Switch one namespace at a time, and watch it: meshdiag tail -n <namespace>.",
    ),
)
