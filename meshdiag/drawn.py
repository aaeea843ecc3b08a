"""Values that draw themselves in Jupyter.

This is the one place where a value asks a view, which stands to its right in docs/architecture.md: Jupyter asks the value
(`_repr_html_`), and only a view knows how it looks. So the view is looked up by name when it is asked for, and nothing is imported
before.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, TypeVar

T = TypeVar("T")


def view(name: str) -> Any:
    """A module that draws values, by its name."""
    return import_module(name)


class Drawn:
    """A value that `meshdiag.views.notebook` can draw."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        """HTML for a notebook: escaped, redacted, without scripts, and nothing is loaded."""
        html: str = view("meshdiag.views.notebook").draw(self)
        return html


class Several(tuple[T, ...], Drawn):
    """Values that are drawn one below the other."""

    __slots__ = ()
