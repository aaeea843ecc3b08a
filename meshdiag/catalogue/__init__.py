"""The catalogue: causes and patterns, loaded from YAML, validated strictly, cached by content."""

from meshdiag.catalogue.catalogue import Catalogue
from meshdiag.catalogue.entries import NONE, Cause, Explains, Pattern

__all__ = ["NONE", "Catalogue", "Cause", "Explains", "Pattern"]
