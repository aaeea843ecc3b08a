"""What stands on the axes, drawn for real; whatever the names are."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import combinations

import matplotlib as mpl
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.dates import num2date
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text

import meshdiag
from meshdiag import plots
from meshdiag.catalogue import Catalogue
from meshdiag.plots import canvas
from tests.conftest import SAMPLES
from tests.plots.sources import many_lines, nasty, nasty_lines

OF_DIAGNOSIS: tuple[Callable[..., Axes], ...] = (plots.failures, plots.edges, plots.readiness, plots.causes)
OF_FRAME: tuple[Callable[..., Axes], ...] = (plots.failures, plots.edges, plots.latency)


@pytest.fixture(autouse=True)
def _no_window() -> Iterator[None]:
    mpl.use("Agg")
    with pyplot.style.context("default"):
        yield
    pyplot.close("all")


def drawn(ax: Axes) -> list[str]:
    """The axes' texts, after they were really drawn; a missing letter of a font is no fault of the plot."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error")
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        ax.figure.canvas.draw()
    return [t.get_text() for t in ax.findobj(Text) if t.get_text()]


@pytest.mark.parametrize("name", ["02", "07", "11", "13", "17", "20", "bug-report", "01"])
def test_every_plot_draws_every_sample(name: str, catalogue: Catalogue) -> None:
    """On new axes and on given ones, of which they give back the same."""
    path = next(SAMPLES.glob(f"{name}*"))
    diagnosis, frame = meshdiag.diagnose(path, catalogue=catalogue), meshdiag.frame(path, catalogue=catalogue)
    for some, source in ((OF_DIAGNOSIS, diagnosis), (OF_FRAME, frame)):
        for plot in some:
            assert drawn(plot(source))
            _, ax = pyplot.subplots()
            assert plot(source, ax=ax) is ax
            assert drawn(ax)


@pytest.mark.parametrize("style", ["default", "dark_background", "ggplot"])
def test_hostile_names_are_plain_text(style: str, catalogue: Catalogue) -> None:
    """A `$` begins no formula, a control character is shown, and no text runs TeX, whatever the user's settings say."""
    with pyplot.style.context(style), mpl.rc_context({"text.usetex": False, "text.parse_math": True}):
        for some, source in (
            (OF_DIAGNOSIS, nasty(catalogue)),
            (OF_FRAME, meshdiag.frame(nasty_lines(), catalogue=catalogue)),
        ):
            for plot in some:
                ax = plot(source)
                texts = drawn(ax)
                assert not [t for t in texts if any((ord(c) < 32 and c != "\n") or c in "\x1b\u202e" for c in t)]
                assert not [t for t in ax.findobj(Text) if t.get_parse_math() or t.get_usetex()]


def test_a_name_is_written_as_it_is(catalogue: Catalogue) -> None:
    """The dollars are there."""
    ax = plots.edges(meshdiag.frame(nasty_lines(), catalogue=catalogue))
    assert {"$x$.shop:80", "a$b$c.shop:80"} <= {*drawn(ax)}


def test_secrets_are_pseudonyms() -> None:
    """A name that is a token is not drawn."""
    assert "eyJhbGciOi" not in canvas.name("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", 200)


def test_failures_have_axes_units_and_onset(catalogue: Catalogue) -> None:
    """UTC, a unit, a legend beside the data, and a line where it began."""
    ax = plots.failures(meshdiag.diagnose(SAMPLES / "02-connection-refused", catalogue=catalogue))
    texts = drawn(ax)
    assert ax.get_xlabel() == "time (UTC)"
    assert ax.get_ylabel() == "failing records per minute"
    assert "upstream-connection-refused (20), from 09:12" in texts
    assert "onset" in texts
    line = next(artist for artist in ax.lines if len({*artist.get_xdata()}) == 1)
    assert num2date(line.get_xdata()[0]).strftime("%H:%M") == "09:12"
    hatches = {bars.patches[0].get_hatch() for bars in ax.containers}
    assert len(hatches) == len(ax.containers)
    assert _outside(ax)


def test_time_is_utc_whatever_the_settings(catalogue: Catalogue) -> None:
    """The user's time zone for plots does not move the axis."""
    with mpl.rc_context({"timezone": "America/New_York"}):
        texts = drawn(plots.failures(meshdiag.diagnose(SAMPLES / "02-connection-refused", catalogue=catalogue)))
    assert any(t.startswith("09:1") for t in texts)


def test_edges_have_share_and_counts(catalogue: Catalogue) -> None:
    """Each field says how many of how many."""
    texts = drawn(plots.edges(meshdiag.diagnose(SAMPLES / "11-via-upstream-chain", catalogue=catalogue)))
    assert {"75 %\n12/16", "0 %\n0/16", "shop/storefront", "pricing.shop:8080"} <= {*texts}


def test_an_estimate_is_called_one(catalogue: Catalogue) -> None:
    """A diagnosis does not count every request of a large file."""
    diagnosis = meshdiag.diagnose(SAMPLES / "11-via-upstream-chain", catalogue=catalogue)
    diagnosis.seen.estimated = True
    assert "Failing requests by edge\nhow many requests there were is an estimate" in drawn(plots.edges(diagnosis))


def test_latency_is_logarithmic_milliseconds(catalogue: Catalogue) -> None:
    """Three markers that differ in form, ticks that are plain numbers."""
    ax = plots.latency(meshdiag.frame(SAMPLES / "11-via-upstream-chain", catalogue=catalogue))
    texts = drawn(ax)
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "duration (ms)"
    assert {"median", "90 %", "99 %", "100", "1,000"} <= {*texts}
    assert len({line.get_marker() for line in ax.lines} - {"None"}) == 3
    assert _outside(ax)


def test_readiness_says_what_stopped_a_start(catalogue: Catalogue) -> None:
    """Behind the bar, which has a hatch besides its colour."""
    ax = plots.readiness(meshdiag.diagnose(SAMPLES / "07-proxy-stuck-not-ready", catalogue=catalogue))
    texts = drawn(ax)
    assert "not ready after 87 s: #1 ca-unreachable and 1 more" in texts
    assert {"envoy-launch", "certificate-issued"} <= {*texts}
    assert {bar.patches[0].get_hatch() for bar in ax.containers} == {"", "///"}
    assert _outside(ax)


@pytest.mark.parametrize("name", ["07", "11", "13", "20", "*"])
def test_causes_do_not_overlap(name: str, catalogue: Catalogue) -> None:
    """Every text stays in its box, and no box touches another."""
    path = SAMPLES if name == "*" else next(SAMPLES.glob(f"{name}*"))
    _apart(plots.causes(meshdiag.diagnose(path, catalogue=catalogue)))


def test_five_hundred_findings_do_not_overlap(catalogue: Catalogue) -> None:
    """Also not with many subjects, and names that are long."""
    _apart(plots.causes(meshdiag.diagnose(many_lines(125), catalogue=catalogue)))
    _apart(plots.causes(nasty(catalogue)))


def _apart(ax: Axes) -> None:
    drawn(ax)
    boxes = [p.get_window_extent() for p in ax.patches if isinstance(p, FancyBboxPatch)]
    texts = [t.get_window_extent() for t in ax.texts if t.get_text()]
    assert len(texts) == len(boxes) > 1
    for a, b in combinations(boxes, 2):
        assert not a.overlaps(b)
    for box, text in zip(boxes, texts, strict=True):
        assert box.x0 <= text.x0 and text.x1 <= box.x1 and box.y0 <= text.y0 and text.y1 <= box.y1


def _outside(ax: Axes) -> bool:
    """Whether the legend stands beside the data and within the figure."""
    legend = ax.get_legend().get_window_extent()
    return not legend.overlaps(ax.get_window_extent()) and ax.figure.bbox.x1 >= legend.x1


def test_nothing_to_show_is_said(catalogue: Catalogue) -> None:
    """Empty input draws axes that say so."""
    diagnosis, frame = meshdiag.diagnose([], catalogue=catalogue), meshdiag.frame([], catalogue=catalogue)
    assert drawn(plots.failures(diagnosis)) == ["no failure with a time"]
    assert drawn(plots.failures(frame)) == ["no failure with a time"]
    assert drawn(plots.edges(diagnosis)) == ["no request of a client in these logs"]
    assert drawn(plots.latency(frame)) == ["no request of a client in these logs"]
    assert drawn(plots.readiness(diagnosis)) == ["no log has the begin of a start"]
    assert drawn(plots.causes(diagnosis)) == ["no failure"]


def test_names_are_cut_in_their_middle() -> None:
    """Their end tells pods from their like."""
    assert canvas.name("a-very-long-deployment-name-7d6c5f9b84-z6r4p", 20) == "a-very-lon…b84-z6r4p"
    assert canvas.name("reviews.shop.svc.cluster.local:80") == "reviews.shop:80"
    for width in range(1, 50):
        assert len(canvas.name("x" * 49, width)) == width


def test_texts_on_colours_are_read() -> None:
    """At least 4.5 to 1 (WCAG 2 AA) on each colour that has a text."""
    for colour in (*canvas.COLOURS, canvas.GREY):
        light, dark = sorted((_luminance(colour), _luminance(canvas.on(colour))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, colour


def _luminance(colour: str) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_detached_figure_is_not_pyplots(catalogue: Catalogue) -> None:
    """A report that is written in a notebook shows no figure there."""
    with canvas.detached():
        ax = plots.causes(meshdiag.diagnose(SAMPLES / "11-via-upstream-chain", catalogue=catalogue))
    assert isinstance(ax.figure, Figure)
    assert not pyplot.get_fignums()


def test_without_matplotlib_it_says_how_to_get_it() -> None:
    """The error names the extra."""
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "try:\n    import meshdiag.plots\nexcept ImportError as e:\n    print(e)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'meshdiag[notebook]'" in said
