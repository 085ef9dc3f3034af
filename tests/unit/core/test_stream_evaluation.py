"""Alerts against labelled faults: what counts as found, false, late, and how sure that is."""

import math

import numpy as np
import pytest

from stream_detector.core.records import Samples
from stream_detector.core.stream_evaluation import (
    AlertSpan,
    LabelledEvent,
    evaluate_stream,
    false_alarms,
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


def test_a_run_takes_kind_and_features_from_the_known_fault_that_it_overlaps() -> None:
    samples = labelled([0, 0, 0, 0, 1, 1], [0, 1, 1, 0, 1, 1])
    known = [
        LabelledEvent("b", 1, 2, "other"),
        LabelledEvent("a", 2, 9, "stuck", ("flow", "heat")),
        LabelledEvent("a", 0.5, 0.9, "before"),
        LabelledEvent("a", 3, 9, "after"),
        LabelledEvent("b", 3.5, 3.9, "before"),
    ]
    assert labelled_events(samples, known) == [
        LabelledEvent("a", 1, 2, "stuck", ("flow", "heat")),
        LabelledEvent("b", 4, 5),
    ]
    for touching in (LabelledEvent("b", 3, 4, "until"), LabelledEvent("b", 5, 6, "from")):
        [*_, last] = labelled_events(samples, [*known, touching])
        assert last == LabelledEvent("b", 4, 5, touching.kind)


@pytest.mark.parametrize(
    ("opened_ms", "is_found"), [(99, False), (100, True), (200, True), (250, True), (251, False)]
)
def test_a_fault_is_found_by_an_alert_that_opens_in_time(opened_ms: int, is_found: bool) -> None:
    events = [LabelledEvent("a", 100, 200)]
    alerts = [AlertSpan("a", opened_ms, opened_ms + 500)]
    result = evaluate_stream(events, alerts, SPANS, 50).total.events
    assert result.n_found == is_found
    assert result.delay_ms == opened_ms - 100 if is_found else math.isnan(result.delay_ms)
    assert result.delay_ms_p95 == opened_ms - 100 if is_found else math.isnan(result.delay_ms_p95)


@pytest.mark.parametrize(
    ("span", "n_false"), [((0, 99), 1), ((0, 100), 0), ((250, 300), 0), ((251, 300), 1)]
)
def test_an_alert_is_false_where_it_overlaps_no_fault(span: tuple[int, int], n_false: int) -> None:
    events = [LabelledEvent("a", 100, 200), LabelledEvent("b", 0, 1_000)]
    result = evaluate_stream(events, [AlertSpan("a", *span)], SPANS, 50)
    assert result.total.alerts.n_false == n_false
    assert result.by_key["a"].alerts.n_false == n_false
    assert result.by_key["b"].alerts.n_alerts == 0


def test_the_first_alert_of_a_fault_gives_its_delay_its_feature_and_its_check() -> None:
    events = [
        LabelledEvent("a", 100, 200, "stuck", ("flow", "pressure")),
        LabelledEvent("b", 0, 10, "drift"),
        LabelledEvent("b", 500, 600, "stuck", ("flow",)),
    ]
    alerts = [
        AlertSpan("a", 150, 160, "speed", "peak"),
        AlertSpan("a", 120, 130, "pressure", "flat", raised_ms=125),
        AlertSpan("b", 510, 530, "speed", "peak"),
        AlertSpan("b", 5_000, 5_001, "speed", "peak"),
    ]
    result = evaluate_stream(events, alerts, SPANS, 0)
    found, raised = result.total.events, result.total.alerts
    assert (found.n_events, found.n_found, raised.n_alerts, raised.n_false) == (3, 2, 4, 1)
    assert found.delay_ms == 17.5
    assert found.delay_ms_p95 == pytest.approx(24.25)
    assert (found.n_feature_right, found.n_feature_known) == (1, 2)
    assert found.recall.value == pytest.approx(2 / 3)
    assert list(result.by_kind) == ["stuck", "drift"]
    assert (result.by_kind["stuck"].n_found, result.by_kind["drift"].n_found) == (2, 0)
    assert list(result.by_check) == ["flat", "peak"]
    peak = result.by_check["peak"]
    assert (peak.n_alerts, peak.n_false, peak.n_first) == (3, 1, 1)
    assert result.by_check["flat"].n_first == 1
    of_b = result.by_key["b"]
    assert (of_b.events.n_events, of_b.events.n_found, of_b.alerts.n_false) == (2, 1, 1)


@pytest.mark.parametrize(
    ("span", "n_before"), [((99, 99), 0), ((99, 100), 1), ((100, 150), 0), ((0, 500), 1)]
)
def test_a_fault_under_an_open_alert_is_not_found_and_said(
    span: tuple[int, int], n_before: int
) -> None:
    result = evaluate_stream([LabelledEvent("a", 100, 200)], [AlertSpan("a", *span)], SPANS, 0)
    assert result.total.events.n_open_before == n_before
    assert result.total.events.n_found == (span[0] == 100)
    both = [AlertSpan("a", *span), AlertSpan("a", 120, 130)]
    found = evaluate_stream([LabelledEvent("a", 100, 200)], both, SPANS, 0).total.events
    assert (found.n_found, found.n_open_before) == (1, 0)


def test_what_nothing_names_has_no_group() -> None:
    result = evaluate_stream([LabelledEvent("a", 1, 2)], [AlertSpan("a", 1, 2)], SPANS, 0)
    assert (result.by_kind, result.by_check) == ({}, {})
    assert result.total.events.n_feature_known == 0


def test_false_alarms_are_a_rate_of_the_time_without_faults() -> None:
    events = [LabelledEvent("a", 0, DAY_MS / 2), LabelledEvent("a", DAY_MS / 4, DAY_MS)]
    alerts = [
        AlertSpan("b", 10, DAY_MS / 2 + 10),
        AlertSpan("b", 20, DAY_MS / 4),
        AlertSpan("b", DAY_MS - 1, DAY_MS),
    ]
    result = evaluate_stream(events, alerts, SPANS, 100)
    assert result.total.alerts.false_per_day.value == 3.0
    assert result.by_key["b"].alerts.false_per_day.value == 3.0
    assert math.isnan(result.by_key["a"].alerts.false_per_day.value)
    # Alerts that overlap count once.
    assert result.total.alerts.alert_share == pytest.approx((DAY_MS / 2 + 1) / (2 * DAY_MS))
    assert result.by_key["b"].alerts.alert_share == pytest.approx((DAY_MS / 2 + 1) / DAY_MS)


def test_the_grace_of_a_fault_is_not_normal_time() -> None:
    events = [LabelledEvent("a", 0, DAY_MS / 4)]
    result = evaluate_stream(events, [AlertSpan("b", 1, 2)], SPANS, DAY_MS / 4)
    assert result.total.alerts.false_per_day.value == pytest.approx(1 / 1.5)


def test_faults_and_alerts_may_come_in_any_order_and_overlap() -> None:
    events = [LabelledEvent("a", 500, 510), LabelledEvent("a", 100, 900), LabelledEvent("b", 1, 2)]
    alerts = [AlertSpan("a", 800, 850), AlertSpan("a", 505, 506), AlertSpan("a", 901, 950)]
    assert false_alarms(alerts, events, 0) == [alerts[2]]
    assert false_alarms(alerts, events, 1) == []
    assert false_alarms([AlertSpan("c", 1, 2)], events, 0) == [AlertSpan("c", 1, 2)]
    found = evaluate_stream(events, alerts, SPANS, 0).total.events
    assert (found.n_found, found.delay_ms) == (2, (5 + 405) / 2)


def test_a_series_without_a_span_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"received none for \{'c'\}"):
        evaluate_stream([], [AlertSpan("c", 0, 1)], SPANS, 0)
