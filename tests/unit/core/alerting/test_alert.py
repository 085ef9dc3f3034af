"""Alerts as bytes: fields and headers that downstream relies on."""

from dataclasses import fields, replace
from typing import Any

import orjson
import pytest
from alerts import make_alert

from stream_detector.core.alerting.alert import Alert, alert_id, encode_alert
from stream_detector.core.records import BundleReference, RecordMetadata
from stream_detector.core.scoring.explanation import Explanation, FeatureExplanation
from stream_detector.core.timestamps import TIMESTAMP_MS_MAX

ORIGIN = RecordMetadata(
    "telemetry", 3, 41, 1_700_000_000_000, b"pump-7", [("label", b"1"), ("x", None)]
)
BUNDLE = BundleReference("pumps", "0123abcd")
EXPLANATION = Explanation(
    1_700_000_000_010,
    1_700_000_000_020,
    (FeatureExplanation(0, 1.0, (0.5, 0.25), (2.0, None), "vibration", 0.25),),
    (1.0,),
    (1_700_000_000_010, 1_700_000_000_020),
    0.125,
    2,
    sentence="vibration is odd",
)


def alert_of(metadata: RecordMetadata = ORIGIN, end_ms: int = 1_700_000_000_139) -> Alert:
    window_ms = (1_700_000_000_000, end_ms)
    return make_alert(metadata, window_ms, (0.5, 0.2, "critical"), BUNDLE, EXPLANATION)


def test_an_alert_is_json_with_the_published_fields() -> None:
    record = encode_alert(alert_of(), "alerts", b"pump-7", 1_700_000_000_500)
    assert (record.topic, record.key, record.partition) == ("alerts", b"pump-7", None)
    assert orjson.loads(record.value or b"") == {
        "schema_version": 1,
        "alert_id": alert_id(ORIGIN, "0123abcd"),
        "event": "open",
        "event_number": 1,
        "key": "pump-7",
        "window_start_ms": 1_700_000_000_000,
        "window_end_ms": 1_700_000_000_139,
        "span_start_ms": 1_700_000_000_010,
        "span_end_ms": 1_700_000_000_020,
        "source": {"topic": "telemetry", "partition": 3, "offset": 41, "reference": None},
        "reconstruction_error": 0.5,
        "score": 0.5,
        "score_kind": "mae",
        "check": None,
        "threshold": 0.2,
        "anomaly_score": 2.5,
        "false_alarms_per_day": None,
        "p_value": None,
        "severity": "critical",
        "bundle": {"name": "pumps", "version": "0123abcd"},
        "sentence": "vibration is odd",
        "explanation": {
            "worst_start_ms": 1_700_000_000_010,
            "worst_end_ms": 1_700_000_000_020,
            "features": [
                {
                    "feature": 0,
                    "share": 1.0,
                    "expected": [0.5, 0.25],
                    "observed": [2.0, None],
                    "name": "vibration",
                    "low": 0.25,
                    "high": None,
                }
            ],
            "shares": [1.0],
            "times_ms": [1_700_000_000_010, 1_700_000_000_020],
            "imputed_share": 0.125,
            "n_gaps": 2,
            "image": None,
            "sentence": "vibration is odd",
            "unreliable": [],
            "rhythm": None,
        },
        "event_time_ms": 1_700_000_000_139,
        "opened_ms": 1_700_000_000_139,
        "last_anomalous_ms": 1_700_000_000_139,
        "n_windows": 1,
        "n_anomalous": 1,
        "reason": "anomalous",
        "continues_alert_id": None,
        "is_summary": False,
        "n_alerts": 1,
        "detected_at_ms": 1_700_000_000_500,
        "feature": None,
        "incident_id": None,
        "rules_digest": None,
    }


def test_errors_survive_json_to_the_last_bit() -> None:
    numbers: dict[str, Any] = {
        "reconstruction_error": 0.1 + 0.2,
        "score": 0.1,
        "threshold": 1 / 3,
        "false_alarms_per_day": 1e-300,
        "p_value": 1 - 2**-53,
    }
    alert = replace(alert_of(), **numbers)
    found = orjson.loads(encode_alert(alert, "alerts", None, 0).value or b"")
    assert {name: found[name] for name in numbers} == numbers


def test_only_the_detection_time_differs_between_two_runs() -> None:
    first, second = (encode_alert(alert_of(), "alerts", b"k", now_ms) for now_ms in (1, 2))
    assert first.value != second.value
    assert first._replace(value=None) == second._replace(value=None)
    documents = [orjson.loads(record.value or b"") for record in (first, second)]
    assert [each.pop("detected_at_ms") for each in documents] == [1, 2]
    assert documents[0] == documents[1]


def test_an_alert_carries_cloud_events_headers() -> None:
    record = encode_alert(alert_of(), "alerts", b"pump-7", 0)
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": alert_id(ORIGIN, "0123abcd").encode() + b"-1",
        "ce_type": b"stream-detector.alert.open",
        "ce_source": b"/stream-detector/pumps/0123abcd",
        "ce_subject": b"pump-7",
        "ce_time": b"2023-11-14T22:13:20.139+00:00",
        "content-type": b"application/json",
    }


def test_headers_say_which_event_and_its_own_time() -> None:
    alert = replace(alert_of(), event="close", event_number=7, event_time_ms=1_000)
    headers = dict(encode_alert(alert, "alerts", None, 0).headers)
    assert headers["ce_id"] == f"{alert.alert_id}-7".encode()
    assert headers["ce_type"] == b"stream-detector.alert.close"
    assert headers["ce_time"] == b"1970-01-01T00:00:01.000+00:00"


@pytest.mark.parametrize(
    ("end_ms", "time"),
    [
        (0, b"1970-01-01T00:00:00.000+00:00"),
        (TIMESTAMP_MS_MAX, b"9999-12-31T23:59:59.999+00:00"),
        (-1, None),
        (TIMESTAMP_MS_MAX + 1, None),
    ],
)
def test_an_unusable_time_is_left_out(end_ms: int, time: bytes | None) -> None:
    record = encode_alert(alert_of(end_ms=end_ms), "alerts", None, 0)
    assert dict(record.headers).get("ce_time") == time


@pytest.mark.parametrize(
    ("key", "text"),
    [(None, ""), (b"", ""), ("µ-7".encode(), "µ-7"), (b"a\xffb", "a\\xffb"), (b"\x00\n", "\x00\n")],
)
def test_any_key_becomes_text_and_stays_bytes(key: bytes | None, text: str) -> None:
    record = encode_alert(alert_of(ORIGIN._replace(key=key)), "alerts", key, 0)
    assert record.key == key
    assert orjson.loads(record.value or b"")["key"] == text
    assert dict(record.headers)["ce_subject"] == text.encode()


def test_an_alert_has_no_field_that_json_lacks() -> None:
    written = orjson.loads(encode_alert(alert_of(), "alerts", None, 0).value or b"")
    assert list(written) == [field.name for field in fields(Alert)]
