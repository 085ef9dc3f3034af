"""Names and origin of features: matched by name, taken away before float32 and put back."""

import numpy as np
import orjson
import pytest
from detectors import make_window_detector
from present import present

from stream_detector.core.codec.formats import CONTENT_TYPES
from stream_detector.core.codec.samples import decode_samples
from stream_detector.core.codec.windows import decode_windows
from stream_detector.core.features import Features, to_float32
from stream_detector.core.records import RecordBatch, RecordMetadata, SeriesColumns, series_columns
from stream_detector.core.state.detector_state import IncidentState

FLOAT32 = [("content-type", CONTENT_TYPES["float32"])]
ORIGIN = (1.7e9, 0.0)
EXACT = np.array([[1.7e9 + 0.25, 1.0], [1.7e9 - 0.5, np.pi]])
CENTRED = np.array([[0.25, 1.0], [-0.5, np.pi]], np.float32)


def test_features_without_an_origin_lose_nothing_and_copy_nothing() -> None:
    values = np.ones((2, 2), np.float32)
    assert to_float32(values) is values
    assert Features.generated(2).to_unit(EXACT) is EXACT


def test_the_origin_is_taken_away_before_rounding() -> None:
    np.testing.assert_array_equal(to_float32(EXACT, ORIGIN), CENTRED)
    assert (to_float32(EXACT)[:, 0] == np.float32(1.7e9)).all()
    np.testing.assert_allclose(Features(("a", "b"), ORIGIN).to_unit(CENTRED.astype(float)), EXACT)


@pytest.mark.parametrize("value", [{"values": EXACT.tolist()}, {"values": EXACT.tolist(), "x": 1}])
def test_windows_in_json_are_centred_and_in_float32_rejected(value: dict[str, object]) -> None:
    records = [orjson.dumps(value), EXACT.astype("<f4").tobytes(), orjson.dumps(value)]
    decoded = decode_windows(records, [[], FLOAT32, []], (2, 2), "json", 5, ORIGIN)
    assert decoded.indices.tolist() == [5, 7]
    assert decoded.windows.dtype == np.float32
    for window in decoded.windows:
        np.testing.assert_array_equal(window, CENTRED)
    (rejected,) = decoded.rejected
    assert (rejected.index, "send json" in str(rejected.error)) == (6, True)


@pytest.mark.parametrize("more", [{}, {"timestamps_ms": [1e12, 1e12]}])
def test_samples_in_json_are_centred_and_in_float32_rejected(more: dict[str, object]) -> None:
    value = orjson.dumps({"values": EXACT.tolist(), **more})
    series = SeriesColumns([b"k"] * 3, np.zeros(3, np.int64), np.full(3, 10**12, np.int64))
    decoded = decode_samples(
        [value, EXACT.astype("<f4").tobytes(), value],
        [[], FLOAT32, []],
        series,
        "json",
        features=Features(("a", "b"), ORIGIN),
        interval_ms=1,
    )
    assert decoded.indices.tolist() == [0, 2]
    np.testing.assert_array_equal(decoded.values, np.concatenate([CENTRED, CENTRED]))
    (rejected,) = decoded.rejected
    assert (rejected.index, "send json" in str(rejected.error)) == (1, True)


def test_alerts_are_in_the_unit_of_the_signal() -> None:
    values = [1.7e9, 1.7e9 + 9, 1.7e9, 1.7e9]
    metadata = [RecordMetadata("t", 0, 0, 10**12, b"k", ())]
    batch = RecordBatch(
        [orjson.dumps({"values": values})],
        None,
        {},
        metadata.__getitem__,
        lambda: series_columns(metadata),
        lambda: np.zeros(1, np.int64),
        lambda: [b"k"],
    )
    detector = make_window_detector(features=Features(("meter",), (1.7e9,)))
    step = detector.step(IncidentState(), batch)
    assert step.scores.scores.tolist() == [9 / 4]
    (feature,) = present(step.alerts[0].alert.explanation).features
    assert (feature.name, feature.expected, feature.observed) == ("meter", (1.7e9,), (1.7e9 + 9,))
