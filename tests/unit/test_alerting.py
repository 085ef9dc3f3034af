"""Alerts and dead letters as bytes: fields, headers and ids that downstream relies on."""

from dataclasses import fields, replace
from typing import Any

import orjson
import pytest

from stream_detector.core.alerting import (
    alert_id,
    encode_alert,
    encode_dead_letter,
    open_alert,
    severity_of,
)
from stream_detector.core.codec import TIMESTAMP_MS_MAX
from stream_detector.core.records import Alert, BundleReference, Origin, Rejected
from stream_detector.errors import RecordDecodeError, RecordShapeError

ORIGIN = Origin("telemetry", 3, 41, 1_700_000_000_000, b"pump-7", [("label", b"1"), ("x", None)])
BUNDLE = BundleReference("pumps", "0123abcd")


def alert_of(origin: Origin = ORIGIN, end_ms: int = 1_700_000_000_139) -> Alert:
    return open_alert(origin, (1_700_000_000_000, end_ms), (0.5, 0.2, "critical"), BUNDLE)


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
    severities = (("warning", 1.0), ("critical", 2.0), ("emergency", 3.0))
    assert severity_of(anomaly_score, severities) == name


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
        "source": {"topic": "telemetry", "partition": 3, "offset": 41},
        "reconstruction_error": 0.5,
        "threshold": 0.2,
        "anomaly_score": 2.5,
        "severity": "critical",
        "bundle": {"name": "pumps", "version": "0123abcd"},
        "explanation": None,
        "detected_at_ms": 1_700_000_000_500,
    }


def test_errors_survive_json_to_the_last_bit() -> None:
    alert = replace(alert_of(), reconstruction_error=0.1 + 0.2, threshold=1 / 3)
    found = orjson.loads(encode_alert(alert, "alerts", None, 0).value or b"")
    assert (found["reconstruction_error"], found["threshold"]) == (0.1 + 0.2, 1 / 3)


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


@pytest.mark.parametrize("value", [None, b"", b"\x00\xff\n", bytes(10_000_000)])
@pytest.mark.parametrize("key", [None, b"\xff"])
def test_a_dead_letter_is_the_record_byte_for_byte(value: bytes | None, key: bytes | None) -> None:
    origin = ORIGIN._replace(key=key)
    record = encode_dead_letter(Rejected(0, RecordDecodeError("why")), value, origin, "dead")
    assert (record.topic, record.key, record.value) == ("dead", key, value)
    assert list(record.headers[:2]) == list(origin.headers)
    assert record.timestamp_ms == origin.timestamp_ms


def test_a_dead_letter_says_why_in_kafka_connect_s_headers() -> None:
    rejected = Rejected(0, RecordShapeError("expected 3 µ"), "check")
    record = encode_dead_letter(rejected, b"v", ORIGIN, "dead")
    assert list(record.headers[2:]) == [
        ("__connect.errors.topic", b"telemetry"),
        ("__connect.errors.partition", b"3"),
        ("__connect.errors.offset", b"41"),
        ("__connect.errors.stage", b"check"),
        ("__connect.errors.exception.class.name", b"RecordShapeError"),
        ("__connect.errors.exception.message", "expected 3 µ".encode()),
    ]


def test_a_dead_letter_of_a_record_without_time_has_none() -> None:
    origin = ORIGIN._replace(timestamp_ms=-1)
    record = encode_dead_letter(Rejected(0, RecordDecodeError("why")), None, origin, "dead")
    assert record.timestamp_ms is None
