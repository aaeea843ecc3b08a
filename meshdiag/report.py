"""The HTML report with its plots: what `meshdiag report` writes and `Diagnosis.to_html()` gives.

`views/html.py` is the document; here the plots are made for it, once for a light page and once for a dark one.
"""

from __future__ import annotations

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
    from meshdiag.diagnosis.graph import graph as graph_of
    from meshdiag.plots import causes, edges, failures, graph, latency, readiness
    from meshdiag.plots.edge_map import edges_of
    from meshdiag.plots.over_time import over_time

    failing = diagnosis.failures
    some: list[html.Picture] = []
    if (calls := graph_of(diagnosis)).edges:
        some.append(_picture("Service graph", "Who calls whom, and which calls fail.", graph, calls))
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
    from meshdiag.plots.vector import DARK, LIGHT, drawn

    light = dark = drawn(plot, source)
    for part, colour in LIGHT.items():
        dark = dark.replace(colour.encode(), DARK[part].encode())
    return html.Picture(title, alt, light, dark)
