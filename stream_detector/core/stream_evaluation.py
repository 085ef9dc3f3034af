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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

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
    kind
        What kind of fault it is; empty where labels do not say.
    features
        The features that it shows in; empty where labels do not say.
    """

    key: str
    start_ms: float
    end_ms: float
    kind: str = ""
    features: tuple[str, ...] = ()


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
    check
        The check that opened it, or why it opened where it is about missing data; may be empty.
    raised_ms
        Time of the sample with which it was raised, later than `opened_ms` where windows wait for
        late samples; None where that is not known.
    sentence
        What the first event says is unusual; may be empty.
    """

    key: str
    opened_ms: float
    closed_ms: float
    feature: str = ""
    check: str = ""
    raised_ms: float | None = None
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class EventFigures:
    """How well some faults were found.

    Parameters
    ----------
    n_events, n_found
        Labelled faults, and how many of them were found.
    recall
        Found / all, with its interval; NaN without faults.
    delay_ms, delay_ms_p95
        Median and 95 % quantile of the time from the start of a found fault until its alert was
        raised; NaN where none was found.
    n_feature_right, n_feature_known
        Found faults whose alert named a right feature, of those whose labels name one.
    n_open_before
        Faults that were not found and began under an alert that was open already.
    """

    n_events: int
    n_found: int
    recall: Interval
    delay_ms: float
    delay_ms_p95: float
    n_feature_right: int
    n_feature_known: int
    n_open_before: int = 0


@dataclass(frozen=True, slots=True)
class AlertFigures:
    """What some alerts were good for.

    Parameters
    ----------
    n_alerts, n_false
        Alerts, and those that overlap no fault.
    n_first
        Faults that one of them found first.
    false_per_day
        False alarms per series and day without faults, with its interval; NaN without such time.
    alert_share
        Share of all time on which an alert was open, [0, 1]. An alert that never closes is one
        alert only, but all of the time.
    """

    n_alerts: int
    n_false: int
    n_first: int
    false_per_day: Interval
    alert_share: float


@dataclass(frozen=True, slots=True)
class KeyFigures:
    """The figures of one series, or of all.

    Parameters
    ----------
    events, alerts
        Of the faults, and of the alerts.
    """

    events: EventFigures
    alerts: AlertFigures


@dataclass(frozen=True, slots=True)
class StreamEvaluation:
    """How well alerts fit the faults of some series.

    Parameters
    ----------
    total
        Of all series together.
    by_key
        Of each series.
    by_kind
        Of each kind of fault, in the order of appearance; empty where labels name none.
    by_check
        Of each check that opened an alert, in the order of their names.
    """

    total: KeyFigures
    by_key: Mapping[str, KeyFigures]
    by_kind: Mapping[str, EventFigures]
    by_check: Mapping[str, AlertFigures]


_Keyed = TypeVar("_Keyed", LabelledEvent, AlertSpan)


class _Found(NamedTuple):
    """A fault, the first alert that opened because of it or None, and whether one was open."""

    event: LabelledEvent
    alert: AlertSpan | None
    was_open: bool


def event_rows(samples: Samples) -> NDArray[np.intp]:
    """Return the rows of the first and the last sample of each fault that labels mark.

    A fault is a run of samples of one series with the label 1.

    Parameters
    ----------
    samples
        With labels; without, there are no faults.

    Returns
    -------
    Shape (n_events, 2), by series and then in their order.
    """
    if samples.labels is None:
        return np.empty((0, 2), np.intp)
    order = np.argsort(samples.series, kind="stable")  # (n_samples,)
    series = samples.series[order]
    is_anomalous = samples.labels[order] == 1  # (n_samples,)
    is_new = np.ones(len(order), dtype=np.bool_)
    is_new[1:] = series[1:] != series[:-1]
    before = np.concatenate([[False], is_anomalous[:-1]])[: len(order)] & ~is_new
    after = np.concatenate([is_anomalous[1:] & ~is_new[1:], [False]])[: len(order)]
    ends = [np.flatnonzero(is_anomalous & ~beside) for beside in (before, after)]
    return order[np.column_stack(ends)]


def labelled_events(samples: Samples, known: Sequence[LabelledEvent] = ()) -> list[LabelledEvent]:
    """Return the faults that labels mark: runs of samples of one series with the label 1.

    Parameters
    ----------
    samples
        With labels; without, there are no faults.
    known
        Faults whose kind or features are known. A run takes both from the first of its series that
        it overlaps.

    Examples
    --------
    >>> values, times = np.zeros((4, 1), np.float32), np.arange(4.0)
    >>> series, labels = np.zeros(4, np.intp), np.array([0, 1, 1, 0], np.int8)
    >>> labelled_events(Samples(("a",), series, times, values, labels))
    [LabelledEvent(key='a', start_ms=1.0, end_ms=2.0, kind='', features=())]
    """
    of_key = _by_key(sorted(known, key=lambda each: each.start_ms))
    events = []
    for first, last in event_rows(samples).tolist():
        key = samples.keys[samples.series[first]]
        start_ms, end_ms = float(samples.times_ms[first]), float(samples.times_ms[last])
        same = (
            fault
            for fault in of_key.get(key, ())
            if fault.start_ms <= end_ms and fault.end_ms >= start_ms
        )
        fault = next(same, LabelledEvent(key, start_ms, end_ms))
        events.append(fault._replace(start_ms=start_ms, end_ms=end_ms))
    return events


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
        The faults; without any, every alert is false.
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
    by_key: dict[str, KeyFigures] = {}
    every: list[_Found] = []
    false: list[AlertSpan] = []
    events_of, alerts_of = _by_key(events), _by_key(alerts)
    for key, span_ms in spans_ms.items():
        own, raised = events_of.get(key, []), alerts_of.get(key, [])
        found = _match(own, raised, grace_ms)
        wrong = false_alarms(raised, own, grace_ms)
        times = _normal_ms(own, {key: span_ms}, grace_ms), span_ms[1] - span_ms[0]
        by_key[key] = KeyFigures(_figures(found), _of_alerts(raised, wrong, found, times))
        every += found
        false += wrong
    times = (
        _normal_ms(events, spans_ms, grace_ms),
        sum(end - start for start, end in spans_ms.values()),
    )
    kinds = dict.fromkeys(event.kind for event in events if event.kind)
    checks = sorted({alert.check for alert in alerts if alert.check})
    return StreamEvaluation(
        total=KeyFigures(_figures(every), _of_alerts(alerts, false, every, times)),
        by_key=by_key,
        by_kind={
            kind: _figures([each for each in every if each.event.kind == kind]) for kind in kinds
        },
        by_check={
            check: _of_alerts(
                [alert for alert in alerts if alert.check == check],
                [alert for alert in false if alert.check == check],
                [each for each in every if each.alert is not None and each.alert.check == check],
                times,
            )
            for check in checks
        },
    )


def false_alarms(
    alerts: Sequence[AlertSpan], events: Sequence[LabelledEvent], grace_ms: float
) -> list[AlertSpan]:
    """Return the alerts that overlap no fault of their series, grace included, in their order."""
    events_of = _by_key(events)
    ends: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for key, own in events_of.items():
        own.sort(key=lambda each: each.start_ms)
        starts_ms = np.array([each.start_ms for each in own])
        # The latest end of the faults up to each one: a long one may outlast those after it.
        ends[key] = starts_ms, np.maximum.accumulate([each.end_ms + grace_ms for each in own])
    false = []
    for alert in alerts:
        starts_ms, ends_ms = ends.get(alert.key, (np.empty(0), np.empty(0)))
        n_before = int(np.searchsorted(starts_ms, alert.closed_ms, side="right"))
        if not n_before or ends_ms[n_before - 1] < alert.opened_ms:
            false.append(alert)
    return false


def count_found(
    events: Sequence[LabelledEvent], alerts: Sequence[AlertSpan], grace_ms: float
) -> int:
    """Return how many faults are found, as `evaluate_stream` counts them."""
    alerts_of = _by_key(alerts)
    return sum(
        each.alert is not None
        for key, own in _by_key(events).items()
        for each in _match(own, alerts_of.get(key, []), grace_ms)
    )


def _by_key(items: Iterable[_Keyed]) -> dict[str, list[_Keyed]]:
    """Return faults or alerts by their series, each in their order."""
    groups: dict[str, list[_Keyed]] = {}
    for each in items:
        groups.setdefault(each.key, []).append(each)
    return groups


def _figures(found: Sequence[_Found]) -> EventFigures:
    """Return how well some faults were found."""
    hits = [(event, alert) for event, alert, _ in found if alert is not None]
    known = [(event, alert) for event, alert in hits if event.features]
    delays = [
        max(0.0, (alert.opened_ms if alert.raised_ms is None else alert.raised_ms) - event.start_ms)
        for event, alert in hits
    ]
    return EventFigures(
        n_events=len(found),
        n_found=len(hits),
        recall=share_interval(len(hits), len(found)),
        delay_ms=float(np.median(delays)) if delays else math.nan,
        delay_ms_p95=float(np.quantile(delays, 0.95)) if delays else math.nan,
        n_feature_right=sum(alert.feature in event.features for event, alert in known),
        n_feature_known=len(known),
        n_open_before=sum(each.was_open for each in found if each.alert is None),
    )


def _of_alerts(
    alerts: Sequence[AlertSpan],
    false: Sequence[AlertSpan],
    found: Sequence[_Found],
    times_ms: tuple[float, float],
) -> AlertFigures:
    """Return what some alerts were good for.

    Parameters
    ----------
    alerts, false
        The alerts, and the false ones among them.
    found
        The faults with the alerts that found them.
    times_ms
        Time without faults, and all time.
    """
    normal_ms, all_ms = times_ms
    open_ms = _union_ms((alert.key, alert.opened_ms, alert.closed_ms) for alert in alerts)
    return AlertFigures(
        n_alerts=len(alerts),
        n_false=len(false),
        n_first=sum(each.alert is not None for each in found),
        false_per_day=rate_interval(len(false), normal_ms / _DAY_MS),
        alert_share=open_ms / all_ms if all_ms else math.nan,
    )


def _normal_ms(
    events: Sequence[LabelledEvent], spans_ms: Mapping[str, tuple[float, float]], grace_ms: float
) -> float:
    """Return the time in which an alert would be false."""
    all_ms = sum(end - start for start, end in spans_ms.values())
    faulty_ms = _union_ms(
        (event.key, event.start_ms, min(event.end_ms + grace_ms, spans_ms[event.key][1]))
        for event in events
    )
    return max(all_ms - faulty_ms, 0.0)


def _union_ms(spans: Iterable[tuple[str, float, float]]) -> float:
    """Return the time that spans (series, start, end) cover, overlaps counted once."""
    total, key, until = 0.0, None, -math.inf
    for name, start, end in sorted(spans):
        if name != key:
            key, until = name, -math.inf
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def _match(
    events: Sequence[LabelledEvent], alerts: Sequence[AlertSpan], grace_ms: float
) -> list[_Found]:
    """Return the faults of one series with the first alert that opened because of each."""
    alerts = sorted(alerts, key=lambda each: each.opened_ms)
    opened_ms = np.array([each.opened_ms for each in alerts])
    closed_ms = np.maximum.accumulate([-np.inf, *(each.closed_ms for each in alerts)])
    found = []
    for event in events:
        first = int(np.searchsorted(opened_ms, event.start_ms))
        is_found = first < len(alerts) and opened_ms[first] <= event.end_ms + grace_ms
        was_open = bool(closed_ms[first] >= event.start_ms)
        found.append(_Found(event, alerts[first] if is_found else None, was_open))
    return found
