"""Define the style of every figure, and turn figures into SVG that a page can contain."""

import io
import re
import warnings
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

CLASSES = ("normal", "anomalous")
COLOURS = ("#2f7fc1", "#d9660a")
"""Name and colour of each class, by label. Colour-blind readers can distinguish blue and orange,
and both are visible on white and on near-black."""

INK = "#123456"
"""Placeholder for the page's text colour, which replaces it in the SVG."""

WIDTH = 7.4
"""Width of a figure that fills the page, in inches."""

DPI, CLOUD_DPI = 160, 110
"""Pixels an inch of what is no vector; fewer in a cloud of lines, where few of them are alike."""

_LOG_FROM = 10
"""Ratio of the largest value to the usual one above which values are drawn on a log scale."""

_STYLE: dict[str, Any] = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color", "grid.color"), INK),
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "figure.dpi": 72,
    "font.size": 9,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    **dict.fromkeys(("figure.facecolor", "figure.edgecolor", "axes.facecolor"), "none"),
    "svg.fonttype": "none",  # keep text as text, to search, copy and read aloud
}


def house_style() -> AbstractContextManager[None]:
    """Return a context in which figures have this style, whatever the machine's settings."""
    return mpl.style.context(_STYLE, after_reset=True)


def to_svg(figure: Figure, name: str, dpi: int = DPI) -> str:
    """Return a figure as an SVG element for a page; the same figure gives the same text.

    Parameters
    ----------
    figure
        The figure. Of its texts only names of features come from the data; they are printable, and
        none is read as a formula.
    name
        A name that is unique on the page; ids inside the figure are derived from it.
    dpi
        Pixels an inch of what is no vector.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        # The text stays text, and the reader's browser has the characters that this font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        canvas = FigureCanvasSVG(figure)
        _lay_out(figure)
        figure.dpi = dpi
        canvas.print_svg(buffer, metadata=nothing)  # type: ignore[no-untyped-call]
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)  # an HTML page needs no namespaces
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)  # counters, the same in all figures
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>\n?", "", text, flags=re.DOTALL)
    return text.replace(INK, "currentColor")


def _lay_out(figure: Figure) -> None:
    """Place what the figure holds. Matplotlib's `savefig` would draw it all, unseen, to do this."""
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
        figure.set_layout_engine("none")


def needs_log(values: NDArray[np.float64], usual: float | None = None) -> bool:
    """Return whether a few values are so large that a linear scale would hide what is usual.

    Parameters
    ----------
    values
        At least one; where any is not above zero, there is no log scale.
    usual
        What the largest is compared with; None takes the median.
    """
    usual = float(np.median(values)) if usual is None else usual
    return bool(values.min() > 0 and values.max() > _LOG_FROM * usual)


def mark_threshold(axes: Axes, threshold: float, *, is_upright: bool) -> None:
    """Draw the threshold as a line across a chart of errors, with its value in the legend."""
    style: dict[str, Any] = {"color": INK, "linewidth": 1, "linestyle": (0, (4, 3))}
    label = f"threshold {threshold:.4g}"
    if is_upright:
        axes.axvline(threshold, label=label, **style)
    else:
        axes.axhline(threshold, label=label, **style)
