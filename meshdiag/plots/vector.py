"""Plots as SVG documents."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any, Final

import matplotlib.style
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from meshdiag.plots.canvas import detached

LIGHT: Final = {"text": "#1b1f25", "page": "#fffffe", "line": "#d1d9e1"}
"""The colours of report.css, each a little off, so that no plot has them of its own."""

DARK: Final = {"text": "#e6edf3", "page": "#0d1117", "line": "#3d444d"}


def drawn(plot: Callable[..., Axes], source: Any) -> bytes:
    """The plot as SVG: the same bytes whenever and wherever it is made. Letters are outlines, so that no font is missing."""
    text, page, line = LIGHT["text"], LIGHT["page"], LIGHT["line"]
    look = {
        "svg.hashsalt": "meshdiag", "svg.fonttype": "path", "figure.facecolor": page, "axes.facecolor": page,
        "savefig.facecolor": page, "text.color": text, "axes.labelcolor": text, "axes.edgecolor": line,
        "axes.titlecolor": text, "xtick.color": line, "ytick.color": line, "xtick.labelcolor": text,
        "ytick.labelcolor": text, "grid.color": line,
    }  # fmt: skip
    out = io.BytesIO()
    # rc_context gives the user's own settings back; a letter that the font lacks is drawn as a box
    with rc_context(), detached(), warnings.catch_warnings():
        matplotlib.style.use(["default", look])
        warnings.simplefilter("ignore", UserWarning)
        figure = plot(source).figure
        assert isinstance(figure, Figure)
        figure.savefig(out, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return out.getvalue()
