"""Draw samples in time: a lane for each key and each feature, faults and alerts, strange spans."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from stream_detector.core.stream_evaluation import AlertSpan
from stream_detector.evaluation.strangest import StrangeSpan
from stream_detector.report.drawing import COLOURS, INK, WIDTH, mark_threshold, needs_log
from stream_detector.report.stream_findings import StreamFindings
from stream_detector.text import printable, shorten

N_FEATURES_SHOWN = 6
"""Most features drawn of a key; those that labels and alerts name come first."""

N_SPANS_SHOWN = 6
"""Most of the strangest spans that are drawn."""

_N_BINS = 600
"""Parts of time in which a lane has its least and its largest value, so that no peak is lost."""

_N_VECTORS_MAX = 200
"""Most bars of one colour in a lane that are drawn as vectors."""

_NAME_CHARACTERS_MAX = 32
_FAULT, _ALERT = COLOURS[1], COLOURS[0]
_UNITS = (("days", 86_400_000.0), ("hours", 3_600_000.0), ("minutes", 60_000.0))
_SECONDS_MS = 1_000.0


class _Time(NamedTuple):
    """How time is drawn: from when on, and in which unit."""

    start_ms: float
    unit: str
    unit_ms: float

    def of(self, times_ms: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Return times on the axis."""
        return (np.asarray(times_ms, np.float64) - self.start_ms) / self.unit_ms


def key_lanes(findings: StreamFindings, keys: Sequence[str]) -> Figure:
    """Return a figure with a lane for each key: its faults, and its alerts below them.

    Parameters
    ----------
    findings
        What was found.
    keys
        The keys, from top to bottom; at least one.
    """
    figure = Figure(figsize=(WIDTH, 0.9 + 0.26 * len(keys)), layout="constrained")
    axes = figure.subplots()
    time = _time_of(findings, keys)
    for lane, key in enumerate(keys):
        start_ms, end_ms = findings.spans_ms[key]
        axes.hlines(lane, *time.of(np.array([start_ms, end_ms])), color=INK, alpha=0.25, lw=0.8)
        faults = [(event.start_ms, event.end_ms) for event in findings.events_of(key)]
        _bars(axes, time, faults, (lane - 0.36, 0.3), _FAULT)
        for colour, spans in _alert_spans(findings, key, None).items():
            _bars(axes, time, spans, (lane + 0.06, 0.3), colour)
    axes.set_ylim(len(keys) - 0.4, -0.6)
    axes.set_yticks(range(len(keys)), [_name(key) for key in keys])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    axes.grid(visible=False)
    axes.set_xlabel(f"{time.unit} since the first sample")
    _add_legend(figure, axes, findings)
    return figure


def feature_lanes(findings: StreamFindings, key: str) -> Figure:
    """Return a figure with a lane for each feature of one key, and one for its score."""
    rows = findings.rows_of(key)
    times_ms = findings.samples.times_ms[rows]
    chosen = _features_shown(findings, key)
    figure = Figure(figsize=(WIDTH, 0.9 + 1.1 * (len(chosen) + 1)), layout="constrained")
    panels = figure.subplots(len(chosen) + 1, sharex=True, squeeze=False).ravel()
    time, features = _time_of(findings, [key]), findings.bundle.features
    for axes, feature in zip(panels, chosen, strict=False):
        values = findings.samples.values[rows, feature].astype(np.float64)
        _envelope(axes, time.of(times_ms), values)
        axes.set_ylabel(_name(features.names[feature]), parse_math=False)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        _shade(axes, findings, key, time, features.names[feature])
    axes = panels[-1]
    causal = findings.scores.causal[rows] / findings.run.threshold
    _envelope(axes, time.of(times_ms), causal)
    known = causal[np.isfinite(causal) & (causal > 0)]
    if len(known) and needs_log(known):
        axes.set_yscale("log")
    mark_threshold(axes, 1.0, is_upright=False)
    axes.set_ylabel("anomaly score")
    _shade(axes, findings, key, time, None)
    axes.set_xlabel(f"{time.unit} since the first sample")
    _add_legend(figure, panels[0], findings)
    return figure


def strange_spans(findings: StreamFindings, spans: Sequence[StrangeSpan]) -> Figure:
    """Return a figure with the feature that each span names, and as much time before and after."""
    n_columns = 3
    n_lines = -(-len(spans) // n_columns)
    figure = Figure(figsize=(WIDTH, 0.4 + 1.6 * n_lines), layout="constrained")
    panels = figure.subplots(n_lines, n_columns, squeeze=False).ravel()
    for number, axes in enumerate(panels):
        if number >= len(spans):
            axes.axis("off")
            continue
        _draw_span(axes, findings, spans[number], number)
    return figure


def _draw_span(axes: Axes, findings: StreamFindings, span: StrangeSpan, number: int) -> None:
    """Draw one strange span with what is around it."""
    features = findings.bundle.features
    feature = features.names.index(span.feature) if span.feature in features.names else 0
    length_ms = max(span.end_ms - span.start_ms, 1)
    rows = findings.rows_of(span.key)
    times_ms = findings.samples.times_ms[rows]
    near = rows[(times_ms >= span.start_ms - length_ms) & (times_ms <= span.end_ms + length_ms)]
    time = _time(span.start_ms, 3.0 * length_ms)
    values = findings.samples.values[near, feature]
    axes.plot(time.of(findings.samples.times_ms[near]), values, color=INK, linewidth=0.9)
    axes.axvspan(*time.of(np.array([span.start_ms, span.end_ms])), color=_ALERT, alpha=0.2, lw=0)
    names = f"#{number}, {_name(features.names[feature])}, score {span.anomaly_score:.2f}"
    axes.set_title(names, parse_math=False)
    axes.set_xlabel(f"{time.unit} since its start")
    axes.margins(x=0)


def _features_shown(findings: StreamFindings, key: str) -> list[int]:
    """Return the features of a key to draw, in the order of the bundle."""
    names = findings.bundle.features.names
    named = [name for event in findings.events_of(key) for name in event.features]
    named += [alert.feature for alert in findings.alerts_of(key)]
    first = [names.index(name) for name in dict.fromkeys(named) if name in names]
    every = list(dict.fromkeys([*first, *range(len(names))]))
    return sorted(every[:N_FEATURES_SHOWN])


def _shade(
    axes: Axes, findings: StreamFindings, key: str, time: _Time, feature: str | None
) -> None:
    """Shade faults over the whole lane, and mark alerts at its top; of a feature only its own."""
    faults = [
        (event.start_ms, event.end_ms)
        for event in findings.events_of(key)
        if feature is None or not event.features or feature in event.features
    ]
    _bars(axes, time, faults, (0.0, 1.0), _FAULT, in_lane=True)
    for colour, spans in _alert_spans(findings, key, feature).items():
        _bars(axes, time, spans, (0.94, 0.06), colour, in_lane=True)
    axes.margins(x=0)


def _envelope(axes: Axes, times: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Draw a signal by its least and largest value in each part of time."""
    known = np.isfinite(values)
    times, values = times[known], values[known]
    if not len(times):
        return
    if len(times) <= 2 * _N_BINS:
        axes.plot(times, values, color=INK, linewidth=0.6)
        return
    edges = np.linspace(times[0], times[-1], _N_BINS + 1)
    starts = np.unique(np.searchsorted(times, edges[:-1]))  # parts without a sample begin no other
    low, high = (ufunc.reduceat(values, starts) for ufunc in (np.minimum, np.maximum))
    pairs = np.column_stack([low, high]).ravel()  # down and up in each part
    axes.plot(np.repeat(times[starts], 2), pairs, color=INK, linewidth=0.6)


def _bars(
    axes: Axes,
    time: _Time,
    spans_ms: Sequence[tuple[float, float]],
    height: tuple[float, float],
    colour: str,
    *,
    in_lane: bool = False,
) -> None:
    """Draw spans of time as bars of at least a visible width, many of them as pixels.

    Parameters
    ----------
    axes, time
        Where, and how time is drawn.
    spans_ms
        Starts and ends.
    height
        Bottom and height, of the lane's own unit, or as shares of the lane.
    colour
        The text's colour stays a vector, since the page changes it.
    in_lane
        Whether `height` is in shares of the lane; faults are then shaded.
    """
    ends = time.of(np.array(spans_ms).reshape(-1, 2))  # (n_spans, 2)
    bars = [(start, end - start) for start, end in ends.tolist()]
    alpha = 0.3 if in_lane and colour == _FAULT else 1.0
    style: dict[str, Any] = {"transform": axes.get_xaxis_transform()} if in_lane else {}
    is_many = len(bars) > _N_VECTORS_MAX and colour != INK
    axes.broken_barh(
        bars, height, color=colour, alpha=alpha, linewidth=0.8, rasterized=is_many, **style
    )


def _alert_spans(
    findings: StreamFindings, key: str, feature: str | None
) -> dict[str, list[tuple[float, float]]]:
    """Return when alerts of a key were open, by their colour; of a feature only its own."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for alert in findings.alerts_of(key):
        if feature is None or not alert.feature or feature == alert.feature:
            colour = _colour_of(findings, alert)
            spans.setdefault(colour, []).append((alert.opened_ms, alert.closed_ms))
    return spans


def _colour_of(findings: StreamFindings, alert: AlertSpan) -> str:
    """Return the colour of an alert: the text's where it is false."""
    return INK if findings.events is not None and alert in findings.false_alarms else _ALERT


def _add_legend(figure: Figure, axes: Axes, findings: StreamFindings) -> None:
    """Put a legend of faults and alerts above the lanes."""
    kinds = [("alert", _ALERT)]
    if findings.events is not None:
        kinds = [("fault", _FAULT), ("alert", _ALERT), ("false alarm", INK)]
    handles = [axes.plot([], [], color=colour, linewidth=5)[0] for _, colour in kinds]
    names = [name for name, _ in kinds]
    figure.legend(handles, names, loc="outside upper left", ncols=len(handles))


def _time_of(findings: StreamFindings, keys: Sequence[str]) -> _Time:
    """Return how the time of some keys is drawn."""
    spans = [findings.spans_ms[key] for key in keys]
    start_ms = min(start for start, _ in spans)
    return _time(start_ms, max(end for _, end in spans) - start_ms)


def _time(start_ms: float, length_ms: float) -> _Time:
    """Return how a span of time is drawn."""
    for unit, unit_ms in _UNITS:
        if length_ms >= 2 * unit_ms:
            return _Time(start_ms, unit, unit_ms)
    return _Time(start_ms, "seconds", _SECONDS_MS)


def _name(text: str) -> str:
    """Return a name of the data, short and in characters that can be printed."""
    return shorten(printable(text), _NAME_CHARACTERS_MAX)
