"""One alert: its severity, its id, and each of its events."""

from collections.abc import Callable
from typing import Any

import pytest

from stream_detector.core.alerting.alert import Alert, Source, alert_id, severity_of
from stream_detector.core.alerting.tracking import (
    OpenAlert,
    ScoredWindow,
    add_window,
    next_event,
    open_alert,
    open_from_samples,
)
from stream_detector.core.records import BundleReference, RecordMetadata
from stream_detector.core.scoring.explanation import Explanation
from stream_detector.core.scoring.scorer import Finding

ORIGIN = RecordMetadata(
    "telemetry", 3, 41, 1_700_000_000_000, b"pump-7", [("label", b"1"), ("x", None)]
)
BUNDLE = BundleReference("pumps", "0123abcd")
SEVERITIES = (("warning", 1.0), ("critical", 2.0), ("emergency", 3.0))


def explanation_of(start_ms: int) -> Explanation:
    sentence = f"the window at {start_ms} is odd"
    return Explanation(start_ms, start_ms, (), (1.0,), (start_ms,), 0.0, 0, sentence=sentence)


def finding_of(start_ms: int) -> Finding:
    """Return what a scorer says of a window: every field says which window that is."""
    return Finding(
        explanation_of(start_ms),
        reconstruction_error=start_ms + 0.25,
        check=f"check-{start_ms}",
        false_alarms_per_day=start_ms + 0.5,
        p_value=start_ms / 64,
    )


def never() -> Any:
    pytest.fail("asked for what is not needed")


def window_of(
    error: float, end_ms: int, explain: Callable[[], Finding] | None = None
) -> ScoredWindow:
    start_ms = end_ms - 5
    metadata = ORIGIN._replace(offset=end_ms)
    return ScoredWindow(
        lambda: metadata,
        start_ms,
        end_ms,
        error,
        1.0,
        "checks",
        explain or (lambda: finding_of(start_ms)),
    )


@pytest.mark.parametrize(
    ("anomaly_score", "name"),
    [
        (1.0000001, "warning"),
        (1.9999999, "warning"),
        (2.0, "critical"),
        (2.9, "critical"),
        (3.0, "emergency"),
        (float("inf"), "emergency"),
    ],
)
def test_a_severity_holds_from_its_score_on(anomaly_score: float, name: str) -> None:
    assert severity_of(anomaly_score, SEVERITIES) == name


def test_an_alert_id_never_changes() -> None:
    assert alert_id(ORIGIN, "0123abcd") == "3124aafeefab77a46009075f5b5c876a"


@pytest.mark.parametrize(
    "change", [{"topic": "telemetry2"}, {"partition": 4}, {"offset": 42}], ids=str
)
def test_another_place_is_another_alert(change: dict[str, Any]) -> None:
    assert alert_id(ORIGIN._replace(**change), "v") != alert_id(ORIGIN, "v")


def test_another_bundle_version_is_another_alert() -> None:
    assert alert_id(ORIGIN, "v1") != alert_id(ORIGIN, "v2")


def test_time_key_and_headers_do_not_change_the_id() -> None:
    moved = ORIGIN._replace(timestamp_ms=0, key=None, headers=())
    assert alert_id(moved, "v") == alert_id(ORIGIN, "v")


def test_the_windows_of_one_record_have_ids_of_their_own() -> None:
    names = {alert_id(ORIGIN, "v", start_ms) for start_ms in (None, 0, 1)}
    assert len(names) == 3


def test_the_alert_of_a_whole_window_is_open_and_alone() -> None:
    window = window_of(2.0, 8)
    alert = open_alert(window, SEVERITIES, BUNDLE)
    assert (alert.event, alert.event_number, alert.reason) == ("open", 1, "anomalous")
    assert alert.event_time_ms == alert.opened_ms == alert.last_anomalous_ms == 8
    assert alert.n_windows == alert.n_anomalous == alert.n_alerts == 1
    assert (alert.continues_alert_id, alert.is_summary, alert.anomaly_score) == (None, False, 2.0)
    assert (alert.window_start_ms, alert.window_end_ms, alert.severity) == (3, 8, "critical")
    assert_of_window(alert, window)
    assert alert.alert_id == alert_id(window.metadata(), "0123abcd")


def assert_of_window(alert: Alert, window: ScoredWindow) -> None:
    """Check that all that follows from a score is of this window."""
    finding = window.explain()
    assert (alert.score, alert.score_kind, alert.check) == (window.score, "checks", finding.check)
    assert alert.threshold == window.threshold
    assert alert.reconstruction_error == finding.reconstruction_error
    assert alert.false_alarms_per_day == finding.false_alarms_per_day
    assert alert.p_value == finding.p_value
    assert alert.explanation == finding.explanation
    assert alert.sentence == finding.explanation.sentence


def test_an_error_equal_to_the_threshold_is_normal() -> None:
    assert not window_of(1.0, 10).is_anomalous
    assert window_of(1.0000001, 10).is_anomalous


def opened_at(error: float, end_ms: int) -> OpenAlert:
    return open_from_samples(window_of(error, end_ms), SEVERITIES, BUNDLE)


def test_an_alert_of_samples_is_named_after_its_window_too() -> None:
    opened = opened_at(2.0, 10)
    assert opened.alert.alert_id == alert_id(ORIGIN._replace(offset=10), "0123abcd", 5)
    assert (opened.alert.severity, opened.alert.key) == ("critical", "pump-7")


def test_windows_are_counted_and_the_worst_is_remembered() -> None:
    opened = opened_at(2.0, 10)
    opened = add_window(opened, window_of(0.5, 11, never), SEVERITIES)
    assert (opened.n_windows, opened.n_anomalous, opened.last_anomalous_ms) == (2, 1, 10)
    opened = add_window(opened, window_of(2.0, 12, never), SEVERITIES)
    assert (opened.n_windows, opened.n_anomalous, opened.last_anomalous_ms) == (3, 2, 12)
    assert opened.alert.window_end_ms == 10
    assert_of_window(opened.alert, window_of(2.0, 10))
    worse = window_of(3.5, 13)
    opened = add_window(opened, worse, SEVERITIES)
    alert = opened.alert
    assert (alert.window_start_ms, alert.window_end_ms, alert.anomaly_score) == (8, 13, 3.5)
    assert alert.severity == "emergency"
    assert_of_window(alert, worse)


def test_an_event_is_of_now_and_speaks_of_the_worst_window() -> None:
    opened = opened_at(2.0, 10)
    opened = add_window(opened, window_of(1.5, 11, never), SEVERITIES)
    opened = next_event(opened, "update", "periodic", 12, ORIGIN)
    alert = opened.alert
    assert (alert.event, alert.event_number, alert.reason) == ("update", 2, "periodic")
    assert (alert.event_time_ms, alert.opened_ms, alert.last_anomalous_ms) == (12, 10, 11)
    assert (alert.n_windows, alert.n_anomalous) == (2, 2)
    assert (alert.window_end_ms, alert.score) == (10, 2.0)
    assert_of_window(alert, window_of(2.0, 10))
    assert alert.source == Source("telemetry", 3, 41)
    assert next_event(opened, "close", "recovered", 13, ORIGIN).alert.event_number == 3
