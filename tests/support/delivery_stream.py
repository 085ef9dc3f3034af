"""A stream with much to lose, and what is compared of its output: for tests of delivery.

Three keys in two partitions; bursts of anomalies with calm between, bad records, late samples,
missing values and a pause after which every key is idle.
"""

from functools import cache
from typing import Any

import numpy as np
import orjson
from detectors import make_sample_detector, make_window_detector

from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.detector import Detector
from stream_detector.core.records import BundleReference, Headers, OutputRecord
from stream_detector.core.windowing.rules import WindowRules

SHAPES = ("windows", "samples")
DELIVERIES = ("at_least_once", "exactly_once")
N_RECORDS = 180
N_PARTITIONS = 2
SEVERITIES = (("warning", 1.0), ("critical", 3.0))
START_MS = 1_767_225_600_000
WITHIN_MS = 1_000
"""How far apart alerts of one incident open."""


def detector_of(shape: str, version: str = "v1") -> Detector:
    """Return a detector for records of a shape; its network gives zeros."""
    bundle = BundleReference("pumps", version)
    if shape == "windows":
        return make_window_detector(
            severities=SEVERITIES, model_rows_max=8, bundle=bundle, incident_within_ms=WITHIN_MS
        )
    rules = WindowRules(
        n_steps=4,
        n_features=1,
        stride=2,
        sample_interval_ms=10,
        gap_ms_max=40,
        allowed_lateness_ms=20,
        missing="hold",
        missing_share_max=0.5,
        key_ttl_ms=400,
        no_data_after_ms=50,
    )
    alerting = AlertRules(1, 1, 40, 30, 20, 90, 2, 60, SEVERITIES, WITHIN_MS)
    return make_sample_detector(rules, alerting, model_rows_max=8, bundle=bundle)


@cache
def record_of(number: int, shape: str, topic: str = "telemetry") -> OutputRecord:
    """Return one of many: three keys in two partitions, some records bad, late or idle."""
    random = np.random.default_rng(number)
    key, round_ = number % 3, number // 3
    is_odd = round_ % 23 < 4 and random.random() < 0.5  # in bursts, with calm between
    values = random.normal(0, 0.3, 4 if shape == "windows" else 3) + (4 if is_odd else 0)
    at_ms = START_MS + 30 * round_ + (500 if round_ > 44 else 0) - (90 if number % 13 == 5 else 0)
    text: Any = {"values": values.round(3).tolist(), "timestamp_ms": at_ms}
    if shape == "samples" and key == 0 and round_ in range(28, 34):
        text["values"] = [[None]] * 3
    value = b"not a record" if number % 11 == 7 else orjson.dumps(text)
    return OutputRecord(topic, b"key-%d" % key, value, (), at_ms, key % N_PARTITIONS)


def alert_bytes(value: bytes | None, key: bytes | None, headers: Headers) -> bytes:
    """Return what two runs must agree on of an alert: all but the time of detection."""
    alert = orjson.loads(value or b"")
    del alert["detected_at_ms"]
    return orjson.dumps(alert) + repr((key, list(headers))).encode()


def dead_letter_bytes(value: bytes | None, key: bytes | None, headers: Headers) -> bytes:
    """Return what two runs must agree on of a dead letter: everything."""
    return repr((value, key, list(headers))).encode()
