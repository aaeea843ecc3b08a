"""Findings (a monoid) and the diagnosis made of them."""

from meshdiag.diagnosis.diagnosis import Diagnosis
from meshdiag.diagnosis.finding import Finding, Unrecognised
from meshdiag.diagnosis.findings import Findings

__all__ = ["Diagnosis", "Finding", "Findings", "Unrecognised"]
