"""Plots with matplotlib: what fails since when, between whom, how slow, which proxies start, what causes what, who calls whom.

    from meshdiag import plots
    plots.failures(diagnosis)

Every function but `svg` takes `ax=` (a new figure when None) and returns the Axes. Colours are Okabe and Ito's, which colour-blind people
can tell apart (https://jfly.uni-koeln.de/color/), and every meaning has a marker, a hatch or a text besides. Names of
logs are plain text: never mathtext, and without control characters. See docs/plots.md.
"""

try:
    import matplotlib  # noqa: F401
except ImportError as e:
    raise ImportError(f"{e}; plots need matplotlib: pip install 'meshdiag[notebook]'") from e

from meshdiag.plots.cause_graph import causes
from meshdiag.plots.edge_map import edges
from meshdiag.plots.over_time import failures
from meshdiag.plots.percentiles import latency
from meshdiag.plots.service_graph import graph, svg
from meshdiag.plots.starts import readiness

__all__ = ["causes", "edges", "failures", "graph", "latency", "readiness", "svg"]
