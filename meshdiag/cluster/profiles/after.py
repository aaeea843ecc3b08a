"""After a change: is everything ready, clean and quiet?"""

from __future__ import annotations

from meshdiag.cluster.checks import named
from meshdiag.cluster.survey import Profile

PROFILES = (
Profile(
    "after",
    "After: all pods 2/2, analysis clean, logs quiet, external calls work",
    named(
        "pod-status", "injection", "endpoints", "istiod-health", "proxy-version-skew", "outbound-traffic-policy", "service-entries",
        "webhook-config", "certificate-dates",
    ),
    "Give it logs, too: meshdiag diagnose LOGS --cluster live, or meshdiag tail --for 5m.",
),
)  # fmt: skip
