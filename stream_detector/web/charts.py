"""Draw the lines of a key with Bokeh, whose JavaScript is inside its own wheel.

A figure is made once, as JSON for the browser. Its columns have names, and the page asks for new
columns alone. Names from data stand in the figure as plain text, which Bokeh does not read as TeX.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bokeh.embed import json_item
from bokeh.layouts import column
from bokeh.models import ColumnDataSource, HoverTool, PlainText, Range1d
from bokeh.plotting import figure
from bokeh.settings import settings
from numpy.typing import NDArray

from stream_detector.core.features import Features
from stream_detector.text import printable, shorten
from stream_detector.web.history import Stretch
from stream_detector.web.key_view import Lines

N_FEATURES_MAX = 6
"""Most features drawn: those that were farthest from their reconstruction."""

SCRIPT = "bokeh.min.js"
_NAME_CHARACTERS_MAX = 32
_N_TICKS = 3
"""About how many times stand at the axis: more would overlap on a telephone."""

_HEIGHT, _SCORE_HEIGHT = 200, 170

Columns = dict[str, dict[str, list[float | None]]]


class Colours(NamedTuple):
    """Colours of a figure."""

    ink: str
    grid: str
    signal: str
    made: str
    alert: str


LIGHT = Colours("#3c434a", "#e2e5e9", "#0b62c4", "#c06a00", "#d92d20")
DARK = Colours("#c9ced4", "#33393f", "#6cb0ff", "#f0a030", "#ff6b5e")


def script_path() -> Path:
    """Return where the JavaScript of the charts is in the installed package."""
    return Path(settings.bokehjs_path()) / "js" / SCRIPT


def chosen_features(lines: Lines) -> list[int]:
    """Return which features are drawn, in their own order."""
    n_features = lines.values.shape[1]
    if n_features <= N_FEATURES_MAX or not len(lines.made_ms) or not len(lines.times_ms):
        return list(range(n_features))[:N_FEATURES_MAX]
    at = np.clip(np.searchsorted(lines.made_ms, lines.times_ms), 0, len(lines.made_ms) - 1)
    errors = np.abs(lines.values - lines.made[at])  # (n_samples, n_features)
    farthest = np.nan_to_num(np.fmax.reduce(errors, axis=0), posinf=0.0)
    farthest /= np.where(lines.half_widths > 0, lines.half_widths, 1.0)
    return sorted(np.argsort(-farthest, kind="stable")[:N_FEATURES_MAX].tolist())


def columns_of(lines: Lines, chosen: Sequence[int], alerts: Sequence[Stretch]) -> Columns:
    """Return the columns of a figure by their names, as values that JSON has; null is a gap.

    Parameters
    ----------
    lines
        What is drawn of a key.
    chosen
        Which features.
    alerts
        When there were alerts.
    """
    columns: Columns = {
        "scores": {"x": _values(lines.scores_ms), "y": _values(lines.anomaly_scores)},
        "alerts": {
            "x0": [float(each.start_ms) for each in alerts],
            "x1": [float(each.end_ms) for each in alerts],
        },
    }
    for place, feature in enumerate(chosen):
        made = lines.made[:, feature]
        # Bokeh draws an area across NaN: in a gap the band has no width instead.
        is_gap = np.isnan(made)
        level = made[np.maximum.accumulate(np.where(is_gap, 0, np.arange(len(made))))]
        width = np.where(is_gap, 0.0, lines.half_widths[feature])
        columns[f"signal-{place}"] = {
            "x": _values(lines.times_ms),
            "y": _values(lines.values[:, feature]),
        }
        columns[f"made-{place}"] = {
            "x": _values(lines.made_ms),
            "y": _values(made),
            "low": _values(level - width),
            "high": _values(level + width),
        }
    return columns


def draw(
    columns: Columns, names: Sequence[str], stretch: Stretch, *, is_dark: bool
) -> dict[str, Any]:
    """Return a figure as what `Bokeh.embed.embed_item` takes.

    Parameters
    ----------
    columns
        What `columns_of` gave.
    names
        Names of the features that are drawn, as they are shown.
    stretch
        What the axis of time covers.
    is_dark
        Whether the page is dark.
    """
    colours = DARK if is_dark else LIGHT
    sources = {
        name: ColumnDataSource(data={at: _numbers(each) for at, each in own.items()}, name=name)
        for name, own in columns.items()
    }
    times = Range1d(start=stretch.start_ms, end=stretch.end_ms, name="times")
    panels = []
    for place, name in enumerate(names):
        panel = _panel(times, _HEIGHT, name, colours)
        _shade(panel, sources["alerts"], colours)
        made, signal = sources[f"made-{place}"], sources[f"signal-{place}"]
        panel.varea(
            x="x", y1="low", y2="high", source=made, fill_color=colours.made, fill_alpha=0.22
        )
        panel.line(
            x="x", y="y", source=made, color=colours.made, line_dash="dashed", line_width=1.5
        )
        line = panel.line(x="x", y="y", source=signal, color=colours.signal, line_width=1.5)
        panel.add_tools(_hover([line]))
        panels.append(panel)
    scores = _panel(times, _SCORE_HEIGHT, "anomaly score", colours)
    _shade(scores, sources["alerts"], colours)
    scores.hspan(y=[1.0], line_color=colours.alert, line_dash="dashed")
    line = scores.line(x="x", y="y", source=sources["scores"], color=colours.ink, line_width=1.5)
    scores.scatter(x="x", y="y", source=sources["scores"], color=colours.ink, size=3)
    scores.add_tools(_hover([line]))
    layout = column(*panels, scores, sizing_mode="stretch_width")
    item: dict[str, Any] = dict(json_item(layout))
    return item


def _panel(times: Range1d, height: int, name: str, colours: Colours) -> Any:
    """Return an empty panel over the common axis of time."""
    panel = figure(
        height=height,
        sizing_mode="stretch_width",
        x_range=times,
        x_axis_type="datetime",
        tools="xpan,xwheel_zoom,xbox_zoom,reset",
        toolbar_location=None,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        min_border_left=45,
    )
    title: Any = panel.title
    title.text, title.text_font_style = PlainText(text=name), "normal"
    title.text_color = colours.ink
    ticker: Any = panel.xaxis.ticker
    ticker.desired_num_ticks = _N_TICKS
    panel.axis.major_label_text_color = colours.ink
    for line in ("axis_line_color", "major_tick_line_color", "minor_tick_line_color"):
        setattr(panel.axis, line, colours.grid)
    panel.grid.grid_line_color = colours.grid
    return panel


def _shade(panel: Any, alerts: ColumnDataSource, colours: Colours) -> None:
    """Shade where alerts say that the fault is."""
    panel.vstrip(
        x0="x0", x1="x1", source=alerts, fill_color=colours.alert, fill_alpha=0.16, line_color=None
    )


def _hover(renderers: list[Any]) -> HoverTool:
    """Return what shows time and value under the pointer."""
    return HoverTool(
        renderers=renderers,
        tooltips=[("time", "@x{%F %T}"), ("value", "@y{0.[0000]}")],
        formatters={"@x": "datetime"},
        mode="vline",
    )


def _values(values: NDArray[np.float64]) -> list[float | None]:
    """Return numbers as JSON has them: none that is not finite."""
    return [each if np.isfinite(each) else None for each in values.tolist()]


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    """Return numbers as Bokeh takes them: NaN is a gap."""
    return np.array([np.nan if each is None else each for each in values], np.float64)


def feature_names(features: Features, chosen: Sequence[int]) -> list[str]:
    """Return the names of the features that are drawn, for people, with their units."""
    units = [features.unit_name(each) for each in chosen]
    names = [shorten(printable(features.names[each]), _NAME_CHARACTERS_MAX) for each in chosen]
    return [f"{name} ({unit})" if unit else name for name, unit in zip(names, units, strict=True)]
