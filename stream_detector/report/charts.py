"""Draw charts of all windows: errors by class, errors in order, latent codes, training history."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from stream_detector.report.drawing import CLASSES, COLOURS, INK, WIDTH, mark_threshold, needs_log
from stream_detector.report.findings import Findings, principal_components

_N_BINS = 60
_N_FEW = 1_000
_MARKS_FEW, _MARKS_MANY = (14.0, 0.8), (6.0, 0.4)
"""Size (square points) and opacity of a window's marker, for few windows and for many."""
_SMALL_PEAK = 0.05
"""Ratio of the classes' peaks below which counts are drawn on a log scale: the smaller class could
not be seen otherwise."""


def error_unit(findings: Findings) -> str:
    """Return the label of the axis of errors."""
    kind = findings.bundle.manifest.threshold.error
    return f"reconstruction error ({kind.upper()} of scaled values)"


def error_histogram(findings: Findings) -> Figure:
    """Return the histogram of reconstruction errors, one class drawn over the other."""
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    axes = figure.subplots()
    every = np.append(findings.errors, findings.threshold)
    edges = _edges(every)
    peaks = []
    for label, colour in enumerate(COLOURS):
        errors = findings.errors[findings.labels == label]
        if not len(errors):
            continue
        counts = np.histogram(errors, edges)[0]
        peaks.append(counts.max())
        name = f"{CLASSES[label]} ({len(errors)})"
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.35, label=name)
        axes.stairs(counts, edges, color=colour)
    if needs_log(every):
        axes.set_xscale("log")
    if min(peaks) < _SMALL_PEAK * max(peaks):
        axes.set_yscale("log")
    mark_threshold(axes, findings.threshold, is_upright=True)
    axes.set_xlabel(error_unit(findings))
    axes.set_ylabel("images" if findings.is_image else "windows")
    _add_legend(figure, axes)
    return figure


def error_scatter(findings: Findings) -> Figure:
    """Return a scatter plot of the error of each window, in the order of the data."""
    figure = Figure(figsize=(WIDTH, 2.9), layout="constrained")
    axes = figure.subplots()
    _scatter(axes, findings, np.arange(len(findings.errors)), findings.errors)
    if needs_log(findings.errors):
        axes.set_yscale("log")
    mark_threshold(axes, findings.threshold, is_upright=False)
    axes.set_xlabel("number in the test part")
    axes.set_ylabel(f"error ({findings.bundle.manifest.threshold.error.upper()})")
    _add_legend(figure, axes)
    return figure


def latent_space(findings: Findings, latent: NDArray[np.float32]) -> Figure:
    """Return the latent codes of all windows as points of a plane.

    Codes of one value are drawn against the error, codes of two values as they are, and longer ones
    by their first two principal components.

    Parameters
    ----------
    findings
        The windows.
    latent
        Their latent codes, shape (n_windows, n_latent), finite.
    """
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    n_latent = latent.shape[1]
    if n_latent == 1:
        _scatter(axes, findings, latent[:, 0], findings.errors)
        axes.set_xlabel("latent_0")
        axes.set_ylabel(f"error ({findings.bundle.manifest.threshold.error.upper()})")
    elif n_latent == 2:  # noqa: PLR2004  (a plane)
        _scatter(axes, findings, latent[:, 0], latent[:, 1])
        axes.set_xlabel("latent_0")
        axes.set_ylabel("latent_1")
    else:
        points, shares = principal_components(latent)
        _scatter(axes, findings, points[:, 0], points[:, 1])
        axes.set_xlabel(
            f"first principal component of the latent code ({shares[0]:.0%} of its variance)"
        )
        axes.set_ylabel(f"second ({shares[1]:.0%})")
    _add_legend(figure, axes)
    return figure


def training_curves(history: Mapping[str, Sequence[float]]) -> Figure:
    """Return the training loss by epoch.

    Parameters
    ----------
    history
        Name of a curve -> its value after each epoch.
    """
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    axes = figure.subplots()
    for (name, values), line in zip(history.items(), cycle(("-", "--", ":", "-.")), strict=False):
        epochs = np.arange(1, len(values) + 1)
        mark = "o" if len(values) == 1 else ""
        axes.plot(epochs, values, color=INK, linestyle=line, marker=mark, label=name)
    every = np.concatenate([np.asarray(values, dtype=np.float64) for values in history.values()])
    if needs_log(every, usual=float(every.min())):
        axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss")
    _add_legend(figure, axes)
    return figure


def _scatter(
    axes: Axes, findings: Findings, x: NDArray[np.generic], y: NDArray[np.generic]
) -> None:
    """Draw a marker for each window, rasterized so that many markers do not make a large file."""
    n_windows = len(findings.errors)
    size, alpha = _MARKS_FEW if n_windows < _N_FEW else _MARKS_MANY
    style: dict[str, Any] = {"s": size, "alpha": alpha, "linewidths": 0, "rasterized": True}
    for label, colour in enumerate(COLOURS):
        chosen = findings.labels == label
        if chosen.any():
            name = f"{CLASSES[label]} ({chosen.sum()})"
            axes.scatter(x[chosen], y[chosen], color=colour, **style)
            axes.scatter([], [], color=colour, label=name)  # the legend's marker, large and opaque


def _edges(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the edges of a histogram's bins, evenly spaced on a linear or a log scale."""
    low, high = float(errors.min()), float(errors.max())
    if low == high:
        high = low + max(abs(low), 1.0) / _N_BINS
    if needs_log(errors):
        return np.geomspace(low, high, _N_BINS + 1)
    return np.linspace(low, high, _N_BINS + 1)


def _add_legend(figure: Figure, axes: Axes) -> None:
    """Put the legend above the chart, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper left", ncols=len(handles))
