"""Draw many windows over each other: what most look like in grey, the others in colour."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from stream_detector.bundle import Bundle
from stream_detector.core.records import FloatArray
from stream_detector.report.drawing import COLOURS, INK, WIDTH
from stream_detector.report.signals import time_unit, value_name

N_FEATURES_SHOWN = 6
"""Most features drawn, the first ones."""

N_GREY_MAX, N_COLOURED_MAX = 200, 60
"""Most windows of a group that are drawn over each other."""

GREY = "#8b929b"
"""Of what is usual; it is seen on white and on near-black."""

_N_COLUMNS, _N_NAMES_A_LINE = 2, 3
_N_STEPS_MAX, _N_VECTOR_STEPS_MAX = 100_000, 4_000
"""Most steps of a group and feature that are drawn, as pixels and as vectors, so that a report of
long windows is neither slow nor large."""
_SEED = 0
_BEYOND = 1.0
"""How far beyond the range of grey windows the axis goes at most, in units of that range."""


class Group(NamedTuple):
    """Windows drawn in one colour.

    Parameters
    ----------
    name
        For the legend.
    windows
        Float64, shape (n_windows, n_steps, n_features), unit: the signal's.
    colour
        GREY, the text's colour or one of `COLOURS`.
    n_all
        How many there are where `windows` are some of them; 0 where these are all.
    """

    name: str
    windows: NDArray[np.float64]
    colour: str
    n_all: int = 0


def judged_groups(
    windows: NDArray[np.float64],
    is_anomalous: NDArray[np.bool_],
    labels: NDArray[np.int8] | None,
) -> list[Group]:
    """Return windows by what the detector says of them, and whether that is right.

    Parameters
    ----------
    windows
        Shape (n_windows, n_steps, n_features), unit: the signal's.
    is_anomalous
        Shape (n_windows,).
    labels
        0 normal, 1 anomalous, shape (n_windows,); None where that is not known.
    """
    if labels is None:
        chosen = [("normal", ~is_anomalous, GREY), ("anomalous", is_anomalous, COLOURS[1])]
    else:
        is_fault = labels != 0
        chosen = [
            ("normal", ~is_anomalous & ~is_fault, GREY),
            ("anomalous", is_anomalous & is_fault, COLOURS[1]),
            ("missed", ~is_anomalous & is_fault, COLOURS[0]),
            ("false alarms", is_anomalous & ~is_fault, INK),
        ]
    return [Group(name, windows[rows], colour) for name, rows, colour in chosen]


def in_signal_unit(
    bundle: Bundle, windows: FloatArray, keys: Sequence[str] | None
) -> NDArray[np.float64]:
    """Return windows as the scorer takes them in the unit of the signal.

    Parameters
    ----------
    bundle
        Its features have the origin and the scales of keys.
    windows
        Shape (n_windows, n_steps, n_features).
    keys
        Key of each window, None where they have none.
    """
    without_origin = replace(bundle.features, origin=())
    return with_origin(bundle, without_origin.from_key_units(windows.astype(np.float64), keys))


def with_origin(bundle: Bundle, windows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return windows with the origin again; those that hold a band around zero have none."""
    peaks = bundle.manifest.recipe.rules.peaks
    return windows if peaks is not None and peaks.n_base else bundle.features.to_unit(windows)


def caption(bundle: Bundle, *, has_labels: bool) -> str:
    """Return what is seen in a figure of judged windows, for after a colon."""
    text = "windows over each other, normal ones in grey and anomalous ones in colour"
    if has_labels:
        text += (
            "; missed are those that labels call anomalous and the detector does not, false alarms "
            "those that only the detector does"
        )
    text += ", in the signal's unit."
    n_features = len(bundle.features)
    if n_features > N_FEATURES_SHOWN:
        text += f" The first {N_FEATURES_SHOWN} of {n_features} features are shown."
    return text


def overlay(bundle: Bundle, groups: Sequence[Group]) -> Figure:
    """Return a figure with panels for each feature: each group over the first one.

    Parameters
    ----------
    bundle
        Says what a window is.
    groups
        The first is drawn in every panel, the others in one of their own; those without windows
        are left out.
    """
    first, *others = (_some(group) for group in groups if len(group.windows))
    features = bundle.features
    n_shown = min(len(features), N_FEATURES_SHOWN)
    in_panels = [(at, each) for at in range(n_shown) for each in others or [first]]
    n_columns = len(others) if len(others) > 1 else min(n_shown, _N_COLUMNS)
    n_lines = -(-len(in_panels) // n_columns)
    figure = Figure(figsize=(WIDTH, 0.6 + 2.2 * n_lines), layout="constrained")
    panels = figure.subplots(n_lines, n_columns, sharex=True, squeeze=False).ravel()
    times, time_name = _times(bundle)
    for number, axes in enumerate(panels):
        if number >= len(in_panels):
            axes.axis("off")
            continue
        feature, group = in_panels[number]
        for each in (first, group)[: 1 + len(others)]:
            _add_lines(axes, times, each, feature)
        axes.set_xlim(times[0], times[-1])
        axes.set_ylim(*_limits([each.windows[:, :, feature] for each in (first, *others)]))
        of_group = f", {group.name}" if len(others) > 1 else ""
        axes.set_title(f"{value_name(features, feature)}{of_group}", parse_math=False)
        if number + n_columns >= len(in_panels):
            axes.set_xlabel(time_name)
            axes.tick_params(labelbottom=True)
    drawn = (first, *others)
    handles = [Line2D([], [], color=group.colour, linewidth=2) for group in drawn]
    figure.legend(
        handles, list(map(_label, drawn)), loc="outside upper left", ncols=_N_NAMES_A_LINE
    )
    return figure


def _some(group: Group) -> Group:
    """Return a group with the windows that are drawn, and how many there are."""
    n_windows, n_steps = group.windows.shape[:2]
    n_max = N_GREY_MAX if group.colour == GREY else N_COLOURED_MAX
    n_steps_max = _N_VECTOR_STEPS_MAX if group.colour == INK else _N_STEPS_MAX
    n_drawn = min(n_windows, max(min(n_max, n_steps_max // n_steps), 1))
    rows = np.sort(np.random.default_rng(_SEED).choice(n_windows, n_drawn, replace=False))
    return group._replace(windows=group.windows[rows], n_all=max(group.n_all, n_windows))


def _label(group: Group) -> str:
    """Return name and number of windows, as the legend has them."""
    n_drawn = len(group.windows)
    drawn = f"{n_drawn} of " if n_drawn < group.n_all else ""
    return f"{group.name} ({drawn}{group.n_all:,})"


def _add_lines(axes: Axes, times: NDArray[np.float64], group: Group, feature: int) -> None:
    """Draw one feature of the windows of a group.

    They are pixels, but for those in the text's colour, which the page changes.
    """
    values = group.windows[:, :, feature]  # (n_windows, n_steps)
    lines = np.stack([np.broadcast_to(times, values.shape), values], axis=-1)
    alpha = 0.4 if group.colour == GREY else 0.55
    axes.add_collection(
        LineCollection(
            list(lines),
            colors=group.colour,
            linewidths=0.7,
            alpha=alpha,
            rasterized=group.colour != INK,
        )
    )


def _limits(values: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Return what the axis covers: all of the first group, and of others what is not far off."""
    low, high = float(np.nanmin(values[0])), float(np.nanmax(values[0]))
    margin = _BEYOND * (high - low) or 1.0
    lowest = min(float(np.nanmin(each)) for each in values)
    highest = max(float(np.nanmax(each)) for each in values)
    bottom, top = max(lowest, low - margin), min(highest, high + margin)
    room = 0.04 * (top - bottom) or 1.0
    return bottom - room, top + room


def _times(bundle: Bundle) -> tuple[NDArray[np.float64], str]:
    """Return where each step is on the axis, and the name of the axis."""
    name, unit = time_unit(bundle)
    steps: NDArray[np.float64] = np.arange(bundle.manifest.n_steps, dtype=np.float64)
    peaks = bundle.manifest.recipe.rules.peaks
    if peaks is None:
        return steps * unit, name
    return (steps - peaks.n_before) * unit, name.replace("time", "time from the peak")
