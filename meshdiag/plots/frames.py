"""What the plots need of a frame."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from meshdiag.catalogue import Catalogue
from meshdiag.model import Kind, MeshdiagError

if TYPE_CHECKING:
    import pandas as pd


def need(frame: pd.DataFrame, columns: Iterable[str], what: str) -> None:
    """Raises MeshdiagError when the frame lacks one of these columns, of which `what` is made."""
    if lost := [n for n in columns if n not in frame.columns]:
        raise MeshdiagError(f"the frame has no column {', '.join(lost)}: {what} is made of them")


def failing_causes(frame: pd.DataFrame) -> list[str]:
    """The causes in a frame that are failures; one that the built-in catalogue does not know is."""
    book = Catalogue.load().causes
    return [str(c) for c in frame["cause"].dropna().unique() if c not in book or book[c].kind is Kind.FAILURE]
