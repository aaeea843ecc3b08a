"""meshdiag: diagnoses Istio service meshes from their logs.

    import meshdiag
    diagnosis = meshdiag.diagnose("logs/")
    for finding in diagnosis.root_causes:
        print(finding.title, finding.subject, finding.remedies[0].title)

Everything public is importable from here and loaded when first used: `import meshdiag` loads no pandas, no kubernetes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meshdiag.api import classify, diagnose
    from meshdiag.catalogue import Catalogue, Cause, Pattern
    from meshdiag.cluster import Result, Snapshot, Verdict
    from meshdiag.diagnosis import Diagnosis, Finding, Findings, Unrecognised
    from meshdiag.diagnosis.compare import Comparison, compare
    from meshdiag.diagnosis.graph import Graph, graph
    from meshdiag.diagnosis.incident import Incident, incident
    from meshdiag.diagnosis.onset import Onset
    from meshdiag.diagnosis.timeline import Milestone, Timeline
    from meshdiag.explanation import Explanation, explain
    from meshdiag.framing import frame, frames, to_parquet
    from meshdiag.learning import Draft, learn
    from meshdiag.model import (
        Change,
        Confidence,
        Evidence,
        Kind,
        Match,
        MeshdiagError,
        Origin,
        Problem,
        Record,
        Remedy,
        Risk,
        Sample,
        Severity,
        State,
        Step,
        Subject,
    )
    from meshdiag.sources.live import Gap
    from meshdiag.tailing import Tail, tail

__version__ = "0.1.0"

_HOME = {
    **dict.fromkeys(("classify", "diagnose"), "meshdiag.api"),
    **dict.fromkeys(("Catalogue", "Cause", "Pattern"), "meshdiag.catalogue"),
    **dict.fromkeys(("Diagnosis", "Finding", "Findings", "Unrecognised"), "meshdiag.diagnosis"),
    **dict.fromkeys(("Result", "Snapshot", "Verdict"), "meshdiag.cluster"),
    **dict.fromkeys(("Comparison", "compare"), "meshdiag.diagnosis.compare"),
    **dict.fromkeys(("Graph", "graph"), "meshdiag.diagnosis.graph"),
    **dict.fromkeys(("Incident", "incident"), "meshdiag.diagnosis.incident"),
    **dict.fromkeys(("Milestone", "Timeline"), "meshdiag.diagnosis.timeline"),
    "Onset": "meshdiag.diagnosis.onset",
    **dict.fromkeys(("Tail", "tail"), "meshdiag.tailing"),
    **dict.fromkeys(("Gap",), "meshdiag.sources.live"),
    **dict.fromkeys(("Explanation", "explain"), "meshdiag.explanation"),
    **dict.fromkeys(("frame", "frames", "to_parquet"), "meshdiag.framing"),
    **dict.fromkeys(("Draft", "learn"), "meshdiag.learning"),
    **dict.fromkeys(
        (
            "Change", "Confidence", "Evidence", "Kind", "Match", "MeshdiagError", "Origin", "Problem", "Record", "Remedy",
            "Risk", "Sample", "Severity", "State", "Step", "Subject",
        ),
        "meshdiag.model",
    ),
}  # fmt: skip

__all__ = [
    "Catalogue", "Cause", "Change", "Comparison", "Confidence", "Diagnosis", "Draft", "Evidence", "Explanation", "Finding",
    "Findings", "Gap", "Graph", "Incident", "Kind", "Match", "MeshdiagError", "Milestone", "Onset", "Origin", "Pattern",
    "Problem", "Record", "Remedy", "Result", "Risk", "Sample", "Severity", "Snapshot", "State", "Step", "Subject", "Tail",
    "Timeline", "Unrecognised", "Verdict", "classify", "compare", "diagnose", "explain", "frame", "frames", "graph", "incident",
    "learn", "tail", "to_parquet",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'meshdiag' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
