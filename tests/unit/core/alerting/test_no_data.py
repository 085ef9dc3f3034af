"""Alerts about data that does not come: when they open and close, and what they say."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from detectors import make_sample_detector

from stream_detector.core.alerting.alert import Alert, encode_alert
from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.records import RecordBatch, RecordMetadata, series_columns
from stream_detector.core.results import Step
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.outputs.alerts import parse_alert

NOW_MS = 1_767_225_600_000
RULES = WindowRules(
    n_steps=4,
    n_features=2,
    stride=4,
    sample_interval_ms=10,
    gap_ms_max=40,
    allowed_lateness_ms=0,
    missing="hold",
    missing_share_max=0.5,
    key_ttl_ms=100,
    no_data_after_ms=50,
)
ALERTING = AlertRules(1, 1, 60_000, 100, 0, 600_000, 10, 600_000, (("low", 1.0), ("high", 2.0)))
GOOD = [1.0, 1.0]

Sent = tuple[bytes, int, list[Any]]
"""Key, time since `NOW_MS`, values."""


def batch_of(sent: list[Sent], start: int) -> RecordBatch:
    record_metadata = [
        RecordMetadata("telemetry", 0, start + row, NOW_MS + time_ms, key, ())
        for row, (key, time_ms, _) in enumerate(sent)
    ]
    return RecordBatch.from_columns(
        "telemetry",
        [orjson.dumps({"values": [values]}) for *_, values in sent],
        series_columns(record_metadata),
        [each.offset for each in record_metadata],
    )


def detector_of(**changes: Any) -> SampleDetector:
    return make_sample_detector(replace(RULES, **changes), ALERTING, threshold=100.0)


def steps_of(sent: list[Sent], size: int, **changes: Any) -> list[Step]:
    detector = detector_of(**changes)
    state: Any = detector.initial_state()
    steps = []
    for start in range(0, len(sent), size):
        steps.append(detector.step(state, batch_of(sent[start : start + size], start)))
        state = steps[-1].state
    return steps


def alerts_of(sent: list[Sent], size: int = 100, **changes: Any) -> list[Alert]:
    return [each.alert for step in steps_of(sent, size, **changes) for each in step.alerts]


def facts(alerts: list[Alert]) -> list[tuple[Any, ...]]:
    return [
        (each.source.offset, each.event, each.reason, each.key, each.event_time_ms - NOW_MS)
        for each in alerts
    ]


SILENCE: list[Sent] = [
    (b"a", 0, GOOD),
    (b"b", 0, GOOD),
    *((b"b", 10 * at, GOOD) for at in range(1, 7)),
    (b"a", 65, GOOD),
]


@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_silent_key_opens_an_alert_that_closes_when_it_sends_again(size: int) -> None:
    found = alerts_of(SILENCE, size)
    assert facts(found) == [(7, "open", "no_data", "a", 50), (8, "close", "data_again", "a", 65)]
    opened, closed = found
    assert opened.alert_id == closed.alert_id
    assert (opened.event_number, closed.event_number) == (1, 2)
    assert (opened.opened_ms, closed.opened_ms) == (NOW_MS + 50, NOW_MS + 50)
    assert (opened.window_start_ms, opened.window_end_ms) == (NOW_MS, NOW_MS + 50)
    assert (closed.window_start_ms, closed.window_end_ms) == (NOW_MS, NOW_MS + 65)
    assert (opened.severity, opened.feature, opened.n_windows) == ("low", None, 0)
    assert opened.sentence == "the key has sent nothing for 50 ms"
    assert closed.sentence == "the key sent nothing for 65 ms"


@pytest.mark.parametrize("size", [1, 2, 100])
def test_the_alert_of_a_key_that_expires_closes(size: int) -> None:
    sent = [*SILENCE[:8], *((b"b", 10 * at, GOOD) for at in range(7, 13))]
    found = alerts_of(sent, size)
    assert facts(found)[1:] == [(12, "close", "key_expired", "a", 100)]
    assert found[1].sentence == "the key has sent nothing for 100 ms"
    assert found[0].alert_id == found[1].alert_id


@pytest.mark.parametrize("size", [1, 2, 100])
def test_two_silences_of_a_key_are_two_alerts(size: int) -> None:
    sent = [*SILENCE, *((b"b", 10 * at, GOOD) for at in range(7, 13)), (b"a", 130, GOOD)]
    found = alerts_of(sent, size)
    assert [each.reason for each in found] == ["no_data", "data_again"] * 2
    assert len({each.alert_id for each in found}) == 2


@pytest.mark.parametrize("size", [1, 2, 100])
def test_each_missing_feature_has_an_alert_of_its_own(size: int) -> None:
    sent: list[Sent] = [(b"a", 0, GOOD)]
    sent += [(b"a", 10 * at, [None, None]) for at in range(1, 7)]
    sent += [(b"a", 70, [1.0, None]), (b"a", 80, [1.0, 1.0])]
    found = alerts_of(sent, size)
    assert facts(found) == [
        (6, "open", "feature_missing", "a", 50),
        (6, "open", "feature_missing", "a", 50),
        (7, "close", "data_again", "a", 70),
        (8, "close", "data_again", "a", 80),
    ]
    assert [each.feature for each in found] == ["feature_0", "feature_1"] * 2
    assert [each.sentence for each in found[1:3]] == [
        "feature_1 has had no value for 50 ms",
        "feature_0 had no value for 70 ms",
    ]
    assert found[0].alert_id == found[2].alert_id != found[1].alert_id == found[3].alert_id


def test_a_feature_that_stays_missing_is_given_up_and_expires_with_its_key() -> None:
    sent: list[Sent] = [(b"a", 10 * at, [1.0, None]) for at in range(12)]
    assert facts(alerts_of(sent))[1:] == [(11, "close", "max_duration", "a", 100)]
    assert alerts_of(sent)[1].sentence == "feature_1 has had no value for 100 ms"
    sent = [*sent[:8], *((b"b", 10 * at, GOOD) for at in range(8, 19))]
    reasons = [(each.reason, each.feature) for each in alerts_of(sent)]
    assert reasons == [
        ("feature_missing", "feature_1"),
        ("no_data", None),
        ("key_expired", None),
        ("key_expired", "feature_1"),
    ]


def test_it_is_off_by_default() -> None:
    assert alerts_of(SILENCE, no_data_after_ms=None) == []


def test_what_follows_from_a_score_is_null_and_can_be_read_back() -> None:
    opened = alerts_of(SILENCE)[0]
    value = encode_alert(opened, "alerts", b"a", 7).value or b""
    document = orjson.loads(value)
    nulls = {name for name, each in document.items() if each is None}
    assert nulls == {
        "span_start_ms",
        "span_end_ms",
        "reconstruction_error",
        "score",
        "score_kind",
        "check",
        "threshold",
        "anomaly_score",
        "false_alarms_per_day",
        "p_value",
        "explanation",
        "last_anomalous_ms",
        "continues_alert_id",
        "feature",
        "incident_id",
        "rules_digest",
    }
    assert parse_alert(value) == replace(opened, detected_at_ms=7)
