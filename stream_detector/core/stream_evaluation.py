"""How well alerts on a stream fit the labelled faults in it: faults found, delay, false alarms.

Pure. Windows overlap and faults last, so neither windows nor samples are what a person counts. A
person counts faults that were found, how long that took, and alerts for nothing::

    pump-1   fault         ......###########......................
             alerts        ..........=======.............====......
                                     ^ found after 4               ^ false

A fault is found if an alert opens while it lasts, or at most `grace_ms` later: a window ends after
what it holds. One that was open before does not find it. An alert that overlaps no fault, grace
included, is false.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stream_detector.core.intervals import Interval, rate_interval, share_interval
from stream_detector.core.records import Samples

_DAY_MS = 86_400_000.0


class LabelledEvent(NamedTuple):
    """A fault, as labels give it.

    Parameters
    ----------
    key
        The series.
    start_ms, end_ms
        Times of its first and last sample, milliseconds since 1970-01-01 UTC.
    kind, feature
        What kind of fault, and the feature that it shows in; empty where labels do not say.
    """

    key: str
    start_ms: float
    end_ms: float
    kind: str = ""
    feature: str = ""


class AlertSpan(NamedTuple):
    """One alert, from its first event to its last.

    Parameters
    ----------
    key
        The series.
    opened_ms, closed_ms
        Event times at which it opened and closed; the end of the stream where it is still open.
    feature
        The feature that the first event names; empty where it names none.
    """

    key: str
    opened_ms: float
    closed_ms: float
    feature: str = ""


@dataclass(frozen=True, slots=True)
class StreamEvaluation:
    """How well alerts fit the faults of some series.

    Parameters
    ----------
    n_events, n_found
        Labelled faults, and how many of them were found.
    recall
        Found / all, with its interval; NaN without faults.
    delay_ms
        Median time from the start of a found fault until its alert opened; NaN where none was
        found.
    n_alerts, n_false
        Alerts, and those that overlap no fault.
    false_per_day
        False alarms per series and day without faults, with its interval.
    alert_share
        Share of all time on which an alert was open, [0, 1]. An alert that never closes is one
        alert only, but all of the time.
    n_feature_right, n_feature_known
        Found faults whose alert named the right feature, of those whose labels name one.
    """

    n_events: int
    n_found: int
    recall: Interval
    delay_ms: float
    n_alerts: int
    n_false: int
    false_per_day: Interval
    alert_share: float
    n_feature_right: int
    n_feature_known: int


def labelled_events(samples: Samples) -> list[LabelledEvent]:
    """Return the faults that labels mark: runs of samples of one series with the label 1.

    Parameters
    ----------
    samples
        With labels; without, there are no faults.

    Examples
    --------
    >>> values, times = np.zeros((4, 1), np.float32), np.arange(4.0)
    >>> series, labels = np.zeros(4, np.intp), np.array([0, 1, 1, 0], np.int8)
    >>> labelled_events(Samples(("a",), series, times, values, labels))
    [LabelledEvent(key='a', start_ms=1.0, end_ms=2.0, kind='', feature='')]
    """
    if samples.labels is None:
        return []
    order = np.argsort(samples.series, kind="stable")  # (n_samples,)
    series, times = samples.series[order], samples.times_ms[order]
    # A row of zeros between two series ends the runs of the first.
    is_anomalous = samples.labels[order] == 1  # (n_samples,)
    is_new = np.ones(len(order), dtype=np.bool_)
    is_new[1:] = series[1:] != series[:-1]
    before = np.concatenate([[False], is_anomalous[:-1]])[: len(order)] & ~is_new
    starts = np.flatnonzero(is_anomalous & ~before)  # (n_events,)
    after = np.concatenate([is_anomalous[1:] & ~is_new[1:], [False]])[: len(order)]
    ends = np.flatnonzero(is_anomalous & ~after)  # (n_events,)
    return [
        LabelledEvent(samples.keys[series[start]], float(times[start]), float(times[end]))
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]


def evaluate_stream(
    events: Sequence[LabelledEvent],
    alerts: Sequence[AlertSpan],
    spans_ms: Mapping[str, tuple[float, float]],
    grace_ms: float,
) -> StreamEvaluation:
    """Compare alerts with labelled faults.

    Parameters
    ----------
    events
        The faults.
    alerts
        The alerts.
    spans_ms
        Times of the first and the last sample of each series, at least one.
    grace_ms
        How long after the end of a fault an alert may still open, >= 0: the span of a window.

    Raises
    ------
    ValueError
        If a fault or an alert is of a series that `spans_ms` lacks: the caller's mistake.
    """
    named = {event.key for event in events} | {alert.key for alert in alerts}
    if unknown := named - set(spans_ms):
        message = f"spans_ms: expected an item for every series, received none for {unknown}"
        raise ValueError(message)
    of_key: dict[str, list[AlertSpan]] = {key: [] for key in spans_ms}
    for alert in alerts:
        of_key[alert.key].append(alert)
    finders = [_finder(event, of_key[event.key], grace_ms) for event in events]
    found = [(event, alert) for event, alert in zip(events, finders, strict=True) if alert]
    known = [(event, alert) for event, alert in found if event.feature]
    delays = [max(0.0, alert.opened_ms - event.start_ms) for event, alert in found]
    n_false = sum(
        not any(
            event.key == alert.key
            and alert.opened_ms <= event.end_ms + grace_ms
            and alert.closed_ms >= event.start_ms
            for event in events
        )
        for alert in alerts
    )
    total_ms = sum(end - start for start, end in spans_ms.values())
    faulty_ms = sum(event.end_ms - event.start_ms + grace_ms for event in events)
    open_ms = sum(alert.closed_ms - alert.opened_ms for alert in alerts)
    return StreamEvaluation(
        n_events=len(events),
        n_found=len(found),
        recall=share_interval(len(found), len(events)),
        delay_ms=float(np.median(delays)) if delays else math.nan,
        n_alerts=len(alerts),
        n_false=n_false,
        false_per_day=rate_interval(n_false, max(total_ms - faulty_ms, 0.0) / _DAY_MS),
        alert_share=open_ms / total_ms if total_ms else math.nan,
        n_feature_right=sum(event.feature == alert.feature for event, alert in known),
        n_feature_known=len(known),
    )


def _finder(event: LabelledEvent, alerts: Sequence[AlertSpan], grace_ms: float) -> AlertSpan | None:
    """Return the first alert that opened because of a fault; None where there is none."""
    opened = [
        each for each in alerts if event.start_ms <= each.opened_ms <= event.end_ms + grace_ms
    ]
    return min(opened, key=lambda each: each.opened_ms, default=None)
