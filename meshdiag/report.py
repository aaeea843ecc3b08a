"""The HTML report with its plots: what `meshdiag report` writes and `Diagnosis.to_html()` gives.

`views/html.py` is the document; here the plots are made for it, once for a light page and once for a dark one.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from meshdiag.diagnosis import Diagnosis
from meshdiag.diagnosis.readiness import Ready, starts
from meshdiag.views import html

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from meshdiag.plots.percentiles import Durations

NO_PICTURES: Final = "No plots: matplotlib is not installed. With pip install 'meshdiag[notebook]' the report has them."

_LIGHT: Final = {"text": "#1b1f25", "page": "#fffffe", "line": "#d1d9e1"}
"""The colours of report.css, each a little off, so that no plot has them of its own."""

_DARK: Final = {"text": "#e6edf3", "page": "#0d1117", "line": "#3d444d"}


def render(
    diagnosis: Diagnosis,
    *,
    redacted: bool = True,
    title: str = "Mesh diagnosis",
    notes: Iterable[tuple[datetime, str]] = (),
    plots: bool = True,
    durations: Durations | None = None,
) -> str:
    """The whole report as an HTML document, a few MB at most.

    notes      a person's, with their times (aware)
    plots      whether there are any; without matplotlib there are none, and the report says so
    durations  how long requests took, which a diagnosis does not keep: for the plot of latency
    """
    some: list[html.Picture] = []
    no_pictures = ""
    if plots:
        try:
            some = pictures(diagnosis, durations)
        except ImportError:
            no_pictures = NO_PICTURES
    return html.render(diagnosis, redacted=redacted, title=title, notes=notes, pictures=some, no_pictures=no_pictures)


def pictures(diagnosis: Diagnosis, durations: Durations | None = None) -> list[html.Picture]:
    """The plots that have something to show. Raises ImportError without matplotlib."""
    from meshdiag.plots import causes, edges, failures, latency, readiness
    from meshdiag.plots.edge_map import edges_of
    from meshdiag.plots.over_time import over_time

    failing = diagnosis.failures
    some: list[html.Picture] = []
    if over_time(diagnosis).series:
        some.append(_picture("Failures over time", "Failing records over time by cause.", failures, diagnosis))
    if any(f.explained_by for f in failing):
        some.append(_picture("Causes", "Root causes, and what they explain.", causes, diagnosis))
    if any(e.failed for e in edges_of(diagnosis)):
        some.append(_picture("Edges", "The failing share of requests, by client and destination.", edges, diagnosis))
    if durations is not None and durations.counts:
        some.append(_picture("Latency", "How long requests took, by destination.", latency, durations))
    if any(s.since and s.state is not Ready.UNKNOWN for s in starts(diagnosis)):
        some.append(_picture("Readiness", "How far each proxy got in its start.", readiness, diagnosis))
    return some


def _picture(title: str, alt: str, plot: Callable[..., Axes], source: Any) -> html.Picture:
    """The plot, drawn once: for a dark page text, page and lines have other colours."""
    light = dark = _svg(plot, source)
    for part, colour in _LIGHT.items():
        dark = dark.replace(colour.encode(), _DARK[part].encode())
    return html.Picture(title, alt, light, dark)


def _svg(plot: Callable[..., Axes], source: Any) -> bytes:
    """The plot as SVG: the same bytes whenever and wherever it is made. Letters are outlines, so that no font is missing."""
    import matplotlib.style
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from meshdiag.plots.canvas import detached

    text, page, line = _LIGHT["text"], _LIGHT["page"], _LIGHT["line"]
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
