"""Draw charts of a run over samples: scores of all windows, false alarms against the threshold."""

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from stream_detector.report.drawing import COLOURS, INK, WIDTH, mark_threshold
from stream_detector.report.stream_findings import StreamFindings

_N_BINS = 80
_MINOR_LABELS_MAX = 30.0
"""Ratio of the largest score to the smallest from which numbers between powers of ten overlap."""

_FEW_A_DAY = 0.01
"""Alarms a day below which the axis does not go."""


def score_histogram(findings: StreamFindings) -> Figure:
    """Return how often which anomaly score occurred, counts on a log scale."""
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    axes = figure.subplots()
    scores = findings.run.scores / findings.run.threshold
    positive = scores[scores > 0]
    low = max(float(positive.min()), 1e-6) if len(positive) else 0.1
    high = max(float(scores.max()), 1.0) * 1.05
    edges = np.geomspace(min(low, 0.5), high, _N_BINS + 1)
    counts = np.histogram(np.maximum(scores, edges[0]), edges)[0]
    axes.stairs(counts, edges, fill=True, color=COLOURS[0], alpha=0.35)
    axes.stairs(counts, edges, color=COLOURS[0])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7)
    axes.xaxis.set_major_formatter("{x:g}")
    is_narrow = edges[-1] / edges[0] < _MINOR_LABELS_MAX
    axes.xaxis.set_minor_formatter("{x:g}" if is_narrow else NullFormatter())
    mark_threshold(axes, 1.0, is_upright=True)
    axes.set_xlabel("anomaly score (score / threshold)")
    axes.set_ylabel("windows")
    figure.legend(loc="outside upper left")
    return figure


def false_alarm_chart(findings: StreamFindings) -> Figure:
    """Return false alarms a day and faults found against the threshold; none is at the bottom."""
    figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    axes = figure.subplots()
    levels = findings.levels
    factors = np.array([level.factor for level in levels])
    rates = np.array([level.false_per_day for level in levels])  # (n_levels, 3)
    least = min([_FEW_A_DAY, *(rates[rates > 0] / 2)])
    shown = np.maximum(rates, least)
    is_labelled = findings.events is not None
    name = "false alarms a day and key" if is_labelled else "alerts a day and key"
    axes.fill_between(
        factors, shown[:, 1], shown[:, 2], color=COLOURS[0], alpha=0.2, linewidth=0,
        label="95 % interval",
    )  # fmt: skip
    axes.plot(factors, shown[:, 0], color=COLOURS[0], marker="o", markersize=3, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
    axes.minorticks_off()
    axes.set_xlabel("threshold, in units of the bundle's")
    axes.set_ylabel(name)
    axes.axvline(1.0, color=INK, linewidth=1, linestyle=(0, (4, 3)), label="the bundle's threshold")
    if is_labelled and findings.events:
        beside = axes.twinx()
        shares = [level.n_found / len(findings.events) for level in levels]
        beside.plot(factors, shares, color=COLOURS[1], label="share of faults found")
        beside.set_ylim(0, 1.02)
        beside.set_ylabel("share of faults found")
        beside.grid(visible=False)
        beside.spines["right"].set_visible(True)
    figure.legend(loc="outside upper left", ncols=2)
    return figure


def is_drawable(findings: StreamFindings) -> bool:
    """Return whether there is a rate to draw: no time without faults has none."""
    return len(findings.levels) > 1 and not any(
        math.isnan(level.false_per_day.high) for level in findings.levels
    )
