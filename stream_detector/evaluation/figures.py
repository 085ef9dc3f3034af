"""Figures of a run over samples: events and alerts, metrics of points, windows and scores.

What is measured is a value, `StreamFigures`; `as_dict` gives it the form of the command's JSON.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.evaluation import Evaluation, PositiveClass, evaluate
from stream_detector.core.intervals import Interval, rate_interval
from stream_detector.core.point_metrics import affiliation, nab_score, point_adjusted_f1, vus_pr
from stream_detector.core.records import Samples
from stream_detector.core.stream_evaluation import (
    AlertFigures,
    AlertSpan,
    LabelledEvent,
    StreamEvaluation,
    evaluate_stream,
    false_alarms,
)
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.evaluation.offline import PointScores, StreamRun, spans_of
from stream_detector.evaluation.strangest import StrangeSpan
from stream_detector.evaluation.sweep import found_at

_DAY_MS = 86_400_000.0
QUANTILES = (0.5, 0.9, 0.99, 0.999)
"""Quantiles of the anomaly scores of all windows that are given, beside the largest."""


class PointFigures(NamedTuple):
    """Metrics of the scores of samples, each the mean over the series that have events.

    Parameters
    ----------
    vus_pr
        Volume under the surface of precision and recall, [0, 1].
    affiliation_precision, affiliation_recall
        Of the samples whose score exceeds the threshold, [0, 1]; the precision is NaN where no
        series has one.
    point_adjusted_f1
        Of the same samples; None where it is not asked for.
    """

    vus_pr: float
    affiliation_precision: float
    affiliation_recall: float
    point_adjusted_f1: float | None = None


class FloorFigures(NamedTuple):
    """Figures of a simple detector beside the bundle.

    Parameters
    ----------
    vus_pr_causal, vus_pr_put_back
        Volume under the surface of precision and recall, means over the series that have events.
    n_found
        Faults that it finds with as many false alarms as the bundle has, at the threshold that is
        best for it.
    """

    vus_pr_causal: float
    vus_pr_put_back: float
    n_found: int


@dataclass(frozen=True, slots=True, eq=False)
class StreamFigures:
    """All figures of a run over samples.

    Parameters
    ----------
    evaluation
        Events and alerts, also by key, kind and check; without labels, every alert counts as false.
    events
        The events; None without labels.
    per_day
        These alerts, per series and day, with the interval.
    n_silences
        Alerts about keys that sent nothing, which are in no other figure: they are neither right
        nor wrong.
    false_alarms
        The alerts that overlap no fault, in the order of time; without labels, all of them.
    points
        Metrics by "causal" and "put_back"; empty without events.
    nab
        Score of the Numenta Anomaly Benchmark, alerts as detections, mean over the series with
        events; NaN without.
    windows
        Metrics of the windows against their labels; None without labels, or without windows.
    quantiles
        Anomaly scores (score / threshold) at `QUANTILES`, and the largest; empty without windows.
    floors
        Figures of simple detectors by their name; empty if not asked for, or without events.
    strangest
        The spans with the highest scores, the highest first.
    """

    evaluation: StreamEvaluation
    events: Sequence[LabelledEvent] | None
    per_day: Interval
    n_silences: int = 0
    false_alarms: Sequence[AlertSpan] = ()
    points: Mapping[str, PointFigures] = field(default_factory=dict)
    nab: float = float("nan")
    windows: Evaluation | None = None
    quantiles: Mapping[str, float] = field(default_factory=dict)
    floors: Mapping[str, FloorFigures] = field(default_factory=dict)
    strangest: Sequence[StrangeSpan] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON; what labels would tell is None without them."""
        is_labelled = self.events is not None
        total = self.evaluation.total
        return {
            "events": _plain(total.events) if is_labelled else None,
            "alerts": {**_alerts(total.alerts, is_labelled), "per_day": _plain(self.per_day)},
            "n_silences": self.n_silences,
            "false_alarms" if is_labelled else "alert_spans": _plain(self.false_alarms),
            "by_key": {
                key: {
                    "events": _plain(each.events) if is_labelled else None,
                    "alerts": _alerts(each.alerts, is_labelled),
                }
                for key, each in self.evaluation.by_key.items()
            },
            "by_kind": _plain(self.evaluation.by_kind),
            "by_check": {
                check: _alerts(each, is_labelled)
                for check, each in self.evaluation.by_check.items()
            },
            "points": _plain(self.points),
            "nab_score": self.nab,
            "windows": None if self.windows is None else self.windows.as_dict(),
            "anomaly_scores": dict(self.quantiles),
            "floors": _plain(self.floors),
            "strangest": [each._asdict() for each in self.strangest],
        }


def grace_ms(rules: WindowRules) -> float:
    """Return how long after a fault its alert may open: the span of a window, and jitter."""
    return rules.span_ms + rules.sample_interval_ms


def measure(
    run: StreamRun, samples: Samples, events: Sequence[LabelledEvent], rules: WindowRules
) -> StreamFigures:
    """Return the figures of events, alerts, windows and scores.

    Parameters
    ----------
    run, samples
        The run, and what it ran over.
    events
        The faults, if the samples have labels.
    rules
        How windows were cut.
    """
    spans = spans_of(samples)
    total_ms = sum(end - start for start, end in spans.values())
    evaluation = evaluate_stream(events, run.judged, spans, grace_ms(rules))
    ranked = np.sort(run.scores) / run.threshold
    quantiles = {
        f"q{100 * each:g}": float(np.quantile(ranked, each)) for each in QUANTILES if len(ranked)
    }
    return StreamFigures(
        evaluation=evaluation,
        events=None if samples.labels is None else events,
        per_day=rate_interval(len(run.judged), total_ms / _DAY_MS),
        n_silences=len(run.alerts) - len(run.judged),
        false_alarms=sorted(
            false_alarms(run.judged, events, grace_ms(rules)), key=lambda each: each.opened_ms
        ),
        nab=_nab(run, samples),
        quantiles=quantiles | ({"max": float(ranked[-1])} if len(ranked) else {}),
    )


def measure_points(
    scores: PointScores, samples: Samples, threshold: float, *, is_adjusted: bool = False
) -> dict[str, PointFigures]:
    """Return the metrics of causal and of put-back scores; empty without events.

    Parameters
    ----------
    scores, samples
        The scores of the samples.
    threshold
        Anomalous iff score > threshold.
    is_adjusted
        Whether to give the point-adjusted F1, too.
    """
    parts = labelled_series(samples)
    if not parts:
        return {}
    found = {}
    for name, every in scores._asdict().items():
        rows = []
        for part, labels in parts:
            above = every[part] > threshold  # NaN compares False
            near = affiliation(above, labels)
            adjusted = point_adjusted_f1(above, labels) if is_adjusted else np.nan
            rows.append((vus_pr(every[part], labels), *near, adjusted))
        volume, precision, recall, adjusted = map(_mean, zip(*rows, strict=True))
        found[name] = PointFigures(volume, precision, recall, adjusted if is_adjusted else None)
    return found


def floor_figures(
    floors: Mapping[str, PointScores],
    samples: Samples,
    figures: StreamFigures,
    close_after_ms: float,
    grace: float,
) -> dict[str, FloorFigures]:
    """Return the figures of simple detectors; empty without events.

    Parameters
    ----------
    floors, samples
        Their scores of the samples, by name.
    figures
        Those of the bundle; floors may have as many false alarms as it has.
    close_after_ms, grace
        As in `sweep.sweep_thresholds`.
    """
    parts = labelled_series(samples)
    if not parts:
        return {}
    events, n_false = figures.events or (), figures.evaluation.total.alerts.n_false
    return {
        name: FloorFigures(
            _mean([vus_pr(scores.causal[part], labels) for part, labels in parts]),
            _mean([vus_pr(scores.put_back[part], labels) for part, labels in parts]),
            found_at(scores.causal, samples, events, close_after_ms, grace, n_false),
        )
        for name, scores in floors.items()
    }


def window_figures(
    run: StreamRun, samples: Samples, positive_class: PositiveClass, interval_ms: float
) -> Evaluation | None:
    """Return metrics of windows; one is anomalous if any of its samples is labelled so.

    Parameters
    ----------
    run, samples
        The run, and what it ran over.
    positive_class
        Class that precision and recall refer to.
    interval_ms
        Time between two samples.

    Returns
    -------
    None without labels, or without windows.
    """
    if samples.labels is None or not len(run.scores):
        return None
    labels = np.zeros(len(run.scores), np.int8)
    window_series = samples.series[run.rows]  # (n_windows,)
    for number in np.unique(window_series).tolist():
        chosen = np.flatnonzero(window_series == number)
        faulty_ms = np.sort(
            samples.times_ms[(samples.series == number) & (samples.labels == 1)]
        )  # (n_labelled,)
        # A window's times are those of a grid, from which its samples may be off by some jitter.
        first = np.searchsorted(faulty_ms, run.start_ms[chosen] - interval_ms / 2)
        last = np.searchsorted(faulty_ms, run.end_ms[chosen] + interval_ms / 2)
        labels[chosen] = last > first
    return evaluate(run.scores, labels, run.threshold, positive_class)


def labelled_series(samples: Samples) -> list[tuple[NDArray[np.intp], NDArray[np.int8]]]:
    """Return rows and labels of each series that has an event, in the order of time."""
    if samples.labels is None:
        return []
    parts = []
    for number in range(len(samples.keys)):
        rows = np.flatnonzero(samples.series == number)
        rows = rows[np.argsort(samples.times_ms[rows], kind="stable")]
        if (samples.labels[rows] == 1).any():
            parts.append((rows, samples.labels[rows]))
    return parts


def _nab(run: StreamRun, samples: Samples) -> float:
    """Return the score of NAB with alerts as detections, mean over the series with events."""
    scores = []
    for rows, labels in labelled_series(samples):
        key, times_ms = samples.keys[samples.series[rows[0]]], samples.times_ms[rows]
        raised = [_raised_ms(alert) for alert in run.judged if alert.key == key]
        is_detected = np.zeros(len(rows), np.bool_)
        is_detected[np.minimum(np.searchsorted(times_ms, raised), len(rows) - 1)] = True
        scores.append(nab_score(is_detected, labels))
    return _mean(scores)


def _raised_ms(alert: AlertSpan) -> float:
    """Return when an alert was raised."""
    return alert.opened_ms if alert.raised_ms is None else alert.raised_ms


def _mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN, NaN if there are none."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _alerts(figures: AlertFigures, is_labelled: bool) -> dict[str, Any]:
    """Return figures of alerts; whether one is false is not known without labels."""
    plain: dict[str, Any] = _plain(figures)
    unknown = () if is_labelled else ("n_false", "n_first", "false_per_day")
    return plain | dict.fromkeys(unknown)


def _plain(value: Any) -> Any:
    """Return a value made of mappings, lists and numbers."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if hasattr(value, "_asdict"):
        return {key: _plain(each) for key, each in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value
