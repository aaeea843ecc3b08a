"""What all plots share: axes, colours, names that are safe to draw, legends beside the data, and axes that say that there is nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

from meshdiag.redact import redact
from meshdiag.views.safe import one_line

COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
"""Okabe and Ito's colours, without black: it is not seen on a dark page."""

GREY: Final = "#999999"
"""For what is gathered as others, or not known."""

GOOD, BAD, WAITING = COLOURS[2], COLOURS[1], COLOURS[4]

HATCHES: Final = ("", "///", "...", "\\\\\\", "xxx", "++", "ooo")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h", "*", "p", "8", "d")

NAME: Final = 38
"""Characters of a name; a longer one is cut in its middle, since its end is what tells it from its like."""

SMALL: Final = 8.0
"""Points of most letters."""

NARROW: Final = 380.0
"""Points."""


_is_detached: ContextVar[bool] = ContextVar("_is_detached", default=False)


@contextmanager
def detached() -> Iterator[None]:
    """New figures are not pyplot's meanwhile: no window, no picture in the notebook that writes a report."""
    before = _is_detached.set(True)
    try:
        yield
    finally:
        _is_detached.reset(before)


def axes_of(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes, or those of a new figure of so many inches."""
    if ax is not None:
        return ax
    if _is_detached.get():
        return Figure(figsize=(width, height), layout="constrained").subplots()
    from matplotlib import pyplot

    _, new = pyplot.subplots(figsize=(width, height), layout="constrained")
    return new


def name(text: str, width: int = NAME) -> str:
    """A name of a log as it is drawn: on one line, no control characters or secrets, cut in its middle, without the common domain."""
    flat = one_line(redact(text)).replace(".svc.cluster.local", "")
    if len(flat) <= width:
        return flat
    tail = (width - 1) // 2
    return f"{flat[: width - 1 - tail]}…{flat[len(flat) - tail :]}"


def fitted(text: str, points: float, size: float) -> str:
    """A name in letters of a size, cut in its middle until it is at most so many points wide."""
    low, high = 1, len(name(text))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if width_of(name(text, middle), size) <= points else (low, middle - 1)
    return name(text, low)


def width_of(text: str, size: float) -> float:
    """Points that a text takes in letters of a size."""
    wide, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath=False)
    return float(wide)


def size_of(ax: Axes, is_new: bool) -> tuple[float, float]:
    """Width and height of the axes in points; of a new figure of the whole, which the layout will give to them."""
    box = ax.figure.bbox if is_new else ax.get_window_extent()
    return box.width * 72 / ax.figure.dpi, box.height * 72 / ax.figure.dpi


def foreground() -> str:
    """The colour of texts in the style that is used."""
    return str(mpl.rcParams["text.color"])


def is_dark() -> bool:
    """Whether the style has light texts on a dark page."""
    return on(foreground()) == "black"


def on(colour: Any) -> str:
    """Black or white, whichever is read better on a colour (the contrast of WCAG 2)."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour))
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else "white"


def is_narrow(ax: Axes, is_new: bool) -> bool:
    """Whether axes that somebody gave have little room beside the data: names are cut shorter, the legend stands below."""
    return not is_new and size_of(ax, False)[0] < NARROW


def legend(ax: Axes, handles: Sequence[Any], labels: Sequence[str], title: str = "", below: float = 0.0) -> None:
    """A legend right of the axes; or below them, in as many columns as fit into so many points."""
    # matplotlib leaves out what begins with an underscore
    shown = [f" {text}" if text.startswith("_") else text for text in labels]
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "alignment": "left"}
    if below:
        columns = int(below // (max(width_of(text, SMALL) for text in shown) + 36))
        _, height = size_of(ax, False)
        under = 40 if ax.axison else 0  # what stands below the axis
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -under / height)}
        place["ncols"] = min(max(columns, 1), len(shown))
    ax.legend(handles, shown, title=title or None, frameon=False, fontsize=SMALL, title_fontsize=SMALL, borderaxespad=0.0,
              handletextpad=0.5, columnspacing=1.4, **place)  # fmt: skip


def say(ax: Axes, text: str) -> Axes:
    """Axes without data that say that there is none."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_alpha(0.3)
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, wrap=True)
    return plain(ax)


def title(ax: Axes, text: str, left_out: str = "") -> None:
    """The title, and below it what is not shown."""
    ax.set_title(f"{text}\n{left_out}" if left_out else text, loc="left", fontsize=10)


def bare(ax: Axes, *sides: str) -> None:
    """Only these sides of the frame stay."""
    for side, spine in ax.spines.items():
        spine.set_visible(side in sides)


def plain(ax: Axes) -> Axes:
    """Makes every text of the axes plain: a `$` in a name begins no formula, and no TeX is run, whatever the user's settings say."""
    for text in ax.findobj(Text):
        text.set_parse_math(False)
        text.set_usetex(False)
    return ax
