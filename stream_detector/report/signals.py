"""Draw signals and their reconstructions, with the error between them filled."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from stream_detector.bundle import Bundle
from stream_detector.core.features import Features
from stream_detector.report.drawing import CLASSES, COLOURS, INK, WIDTH
from stream_detector.report.findings import Findings, Redrawn, Rows
from stream_detector.text import printable, shorten

N_FEATURES_SHOWN = 3
"""Most features drawn of a window; those with the largest errors are chosen."""

_N_COLUMNS = 3
_VECTOR_STEPS_MAX = 500
"""Most steps drawn as vector graphics; longer windows are rasterized to keep a report small."""
_SECONDS_FROM_MS = 5_000
_NAME_CHARACTERS_MAX = 40


def typical_windows(findings: Findings) -> Figure:
    """Return a figure with the window of median error of each class, side by side."""
    rows = np.concatenate([findings.typical(0), findings.typical(1)])
    redrawn = findings.redraw(rows)
    n_features = min(N_FEATURES_SHOWN, redrawn.windows.shape[2])
    figure = Figure(figsize=(WIDTH, 1.0 + 1.5 * n_features), layout="constrained")
    panels = figure.subplots(n_features, len(rows), sharex=True, squeeze=False)
    for column, row in enumerate(rows):
        features = _largest(redrawn.feature_errors[column], n_features)
        for line, feature in enumerate(features):
            axes = panels[line, column]
            _draw(axes, findings, redrawn, column, int(feature), int(findings.labels[row]))
            axes.set_ylabel(value_name(findings.bundle.features, int(feature)), parse_math=False)
        label = int(findings.labels[row])
        panels[0, column].set_title(f"{CLASSES[label]}, {_caption(findings, row)}")
        panels[-1, column].set_xlabel(time_unit(findings.bundle)[0])
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(handles))
    return figure


def small_windows(findings: Findings, rows: Rows) -> Figure:
    """Return a figure with many windows, each drawn by its feature with the largest error."""
    redrawn = findings.redraw(rows)
    n_lines = -(-len(rows) // _N_COLUMNS)
    figure = Figure(figsize=(WIDTH, 0.4 + 1.6 * n_lines), layout="constrained")
    panels = figure.subplots(n_lines, _N_COLUMNS, sharex=True, squeeze=False).ravel()
    for index, axes in enumerate(panels):
        if index >= len(rows):
            axes.axis("off")
            continue
        row = rows[index]
        feature = int(_largest(redrawn.feature_errors[index], 1)[0])
        _draw(axes, findings, redrawn, index, feature, int(findings.labels[row]))
        has_more = redrawn.windows.shape[2] > 1
        shown = f", {value_name(findings.bundle.features, feature)}" if has_more else ""
        axes.set_title(f"{_caption(findings, row)}{shown}", parse_math=False)
        if index + _N_COLUMNS >= len(rows):
            axes.set_xlabel(time_unit(findings.bundle)[0])
            axes.tick_params(labelbottom=True)
    return figure


def _draw(
    axes: Axes, findings: Findings, redrawn: Redrawn, index: int, feature: int, label: int
) -> None:
    """Draw one feature of one window, its reconstruction and the error between them."""
    seen = redrawn.windows[index, :, feature]
    made = redrawn.reconstructions[index, :, feature]
    times = np.arange(len(seen)) * time_unit(findings.bundle)[1]
    colour, as_pixels = COLOURS[label], len(seen) > _VECTOR_STEPS_MAX
    axes.fill_between(
        times, seen, made, color=colour, alpha=0.3, linewidth=0, rasterized=as_pixels, label="error"
    )
    axes.plot(times, seen, color=colour, rasterized=as_pixels, label="signal")
    axes.plot(times, made, color=INK, linewidth=0.9, rasterized=as_pixels, label="reconstruction")
    axes.margins(x=0)


def _largest(feature_errors: NDArray[np.float64], n_features: int) -> NDArray[np.intp]:
    """Return the indices of the features with the largest errors, the largest first."""
    return np.argsort(-feature_errors, kind="stable")[:n_features]


def _caption(findings: Findings, row: int) -> str:
    """Return number and score of a window."""
    return f"#{row}, score {findings.errors[row] / findings.threshold:.2f}"


def value_name(features: Features, feature: int) -> str:
    """Return the name of a feature, short and in characters that can be printed."""
    if len(features) == 1 and not features.are_named:
        return "value"
    return shorten(printable(features.names[feature]), _NAME_CHARACTERS_MAX)


def time_unit(bundle: Bundle) -> tuple[str, float]:
    """Return the label of the time axis, and the length of a step in its unit."""
    window = bundle.manifest.recipe.window
    interval_ms = window.sample_interval_ms
    if not interval_ms:
        return "step", 1.0
    if window.steps * interval_ms >= _SECONDS_FROM_MS:
        return "time (s)", interval_ms / 1000
    return "time (ms)", interval_ms
