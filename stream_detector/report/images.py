"""Draw images, their reconstructions and the differences between them."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from stream_detector.report.drawing import WIDTH
from stream_detector.report.findings import Findings, Rows

_SMALL_SIDE_MAX = 64
"""Longest side, in pixels, of images drawn as they are. Larger images are scaled down, fewer in a
row, so that a report stays small."""
_N_SMALL, _N_LARGE = 8, 5
_LARGE_SIDE_MAX = 80
_PIXEL_MAX = 255


def n_in_a_row(findings: Findings) -> int:
    """Return how many images are drawn side by side."""
    return _N_SMALL if _side(findings) <= _SMALL_SIDE_MAX else _N_LARGE


def image_rows(findings: Findings, rows: Rows) -> Figure:
    """Return a figure with images, their reconstructions below and the differences below these."""
    redrawn = findings.redraw(rows)
    channels = findings.bundle.manifest.recipe.window.channels
    seen, made = (
        _pixels(values, channels) for values in (redrawn.windows, redrawn.reconstructions)
    )
    difference = np.abs(seen - made)
    if channels > 1:
        difference = difference.mean(axis=3)  # (n_images, n_rows, n_columns)
    n_columns = n_in_a_row(findings)
    side = (WIDTH - 1.0) / n_columns
    height = side * seen.shape[1] / seen.shape[2]
    figure = Figure(figsize=(WIDTH, 3 * height + 0.6), layout="constrained")
    panels = figure.subplots(3, n_columns, squeeze=False)
    named = (("original", seen, "gray"), ("reconstruction", made, "gray"))
    for line, (name, images, colours) in enumerate((*named, ("difference", difference, "magma"))):
        for column, axes in enumerate(panels[line]):
            if column >= len(rows):
                axes.axis("off")
                continue
            _show(axes, images[column], colours)
            if line == 0:
                score = findings.errors[rows[column]] / findings.threshold
                axes.set_title(f"#{rows[column]}\n{score:.2f}", fontsize=8)
        panels[line, 0].set_ylabel(name, fontsize=8)
    return figure


def _pixels(values: NDArray[np.float64], channels: int) -> NDArray[np.float64]:
    """Return windows as images, shape (n_images, n_rows, n_columns), plus (3,) if in colour."""
    clipped = values.clip(0, _PIXEL_MAX)
    if channels == 1:
        return clipped
    return clipped.reshape(*clipped.shape[:2], -1, channels)


def _side(findings: Findings) -> int:
    """Return the longer side of an image, in pixels."""
    window = findings.bundle.manifest.recipe.window
    return max(window.steps, window.features // window.channels)


def _show(axes: Axes, image: NDArray[np.float64], colours: str) -> None:
    """Draw one image without interpolation and ticks."""
    scaled = Image.fromarray(image.astype(np.uint8))
    scaled.thumbnail((_LARGE_SIDE_MAX, _LARGE_SIDE_MAX))  # smaller ones stay as they are
    axes.imshow(np.asarray(scaled), cmap=colours, vmin=0, vmax=_PIXEL_MAX, interpolation="none")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
