"""Alerts against labelled faults: what counts as found, false, late, and how sure that is."""

import math

import numpy as np
import pytest

from stream_detector.core.records import Samples
from stream_detector.core.stream_evaluation import (
    AlertSpan,
    LabelledEvent,
    evaluate_stream,
    labelled_events,
)

DAY_MS = 86_400_000.0
SPANS = {"a": (0.0, DAY_MS), "b": (0.0, DAY_MS)}


def labelled(series: list[int], labels: list[int]) -> Samples:
    n = len(series)
    return Samples(
        keys=("a", "b"),
        series=np.array(series, np.intp),
        times_ms=np.arange(n, dtype=np.float64),
        values=np.zeros((n, 1), np.float32),
        labels=np.array(labels, np.int8),
    )


def spans(samples: Samples) -> list[tuple[str, float, float]]:
    return [event[:3] for event in labelled_events(samples)]


def test_a_run_of_labels_is_a_fault_and_series_do_not_run_into_each_other() -> None:
    assert spans(labelled([0] * 6, [1, 1, 0, 0, 1, 1])) == [("a", 0, 1), ("a", 4, 5)]
    assert spans(labelled([0, 0, 1, 1], [0, 1, 1, 0])) == [("a", 1, 1), ("b", 2, 2)]
    assert spans(labelled([0, 1, 0, 1], [1, 0, 1, 1])) == [("a", 0, 2), ("b", 3, 3)]
    assert spans(labelled([0, 1], [0, 0])) == []


def test_without_labels_there_are_no_faults() -> None:
    samples = labelled([0], [1])
    bare = Samples(samples.keys, samples.series, samples.times_ms, samples.values)
    assert labelled_events(bare) == []


@pytest.mark.parametrize(
    ("opened_ms", "is_found"), [(99, False), (100, True), (200, True), (250, True), (251, False)]
)
def test_a_fault_is_found_by_an_alert_that_opens_in_time(opened_ms: int, is_found: bool) -> None:
    events = [LabelledEvent("a", 100, 200)]
    result = evaluate_stream(events, [AlertSpan("a", opened_ms, opened_ms + 500)], SPANS, 50)
    assert result.n_found == is_found
    assert result.delay_ms == opened_ms - 100 if is_found else math.isnan(result.delay_ms)


@pytest.mark.parametrize(
    ("span", "n_false"), [((0, 99), 1), ((0, 100), 0), ((250, 300), 0), ((251, 300), 1)]
)
def test_an_alert_is_false_where_it_overlaps_no_fault(span: tuple[int, int], n_false: int) -> None:
    events = [LabelledEvent("a", 100, 200), LabelledEvent("b", 0, 1_000)]
    assert evaluate_stream(events, [AlertSpan("a", *span)], SPANS, 50).n_false == n_false


def test_the_first_alert_of_a_fault_gives_its_delay_and_its_feature() -> None:
    events = [LabelledEvent("a", 100, 200, "stuck", "pressure"), LabelledEvent("b", 0, 10)]
    alerts = [AlertSpan("a", 150, 160, "speed"), AlertSpan("a", 120, 130, "pressure")]
    result = evaluate_stream(events, alerts, SPANS, 0)
    assert (result.n_events, result.n_found, result.n_alerts, result.n_false) == (2, 1, 2, 0)
    assert result.delay_ms == 20
    assert (result.n_feature_right, result.n_feature_known) == (1, 1)
    assert result.recall.value == 0.5


def test_false_alarms_are_a_rate_of_the_time_without_faults() -> None:
    events = [LabelledEvent("a", 0, DAY_MS)]
    alerts = [AlertSpan("b", 10, DAY_MS / 2 + 10), AlertSpan("b", DAY_MS - 1, DAY_MS)]
    result = evaluate_stream(events, alerts, SPANS, 0)
    assert result.false_per_day.value == 2.0
    assert result.alert_share == pytest.approx((DAY_MS / 2 + 1) / (2 * DAY_MS))


def test_a_series_without_a_span_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"received none for \{'c'\}"):
        evaluate_stream([], [AlertSpan("c", 0, 1)], SPANS, 0)
