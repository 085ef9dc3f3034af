"""One batch in: scores, alerts and rejected records out, in order and complete."""

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from detectors import with_network
from present import present

from stream_detector.core.codec.keys import KEY_BYTES_MAX
from stream_detector.core.detector import WindowDetector
from stream_detector.core.records import FloatArray, RecordBatch
from stream_detector.core.scoring.scaling import Scaler
from stream_detector.core.scoring.scorer import SCALED_MAX
from stream_detector.core.state.detector_state import IncidentState
from stream_detector.errors import NonFiniteScoreError, RecordValueError

NOW_MS = 1_767_225_600_000
MakeBatch = Callable[..., RecordBatch]
MakeDetector = Callable[..., WindowDetector]


def zeros(windows: FloatArray) -> FloatArray:
    """Reconstruct nothing, so that the error of a window is its mean absolute value."""
    return np.zeros_like(windows)


def flat(value: float, **more: object) -> bytes:
    return orjson.dumps({"values": [value] * 4, **more})


def test_an_empty_batch_leads_to_nothing(
    make_batch: MakeBatch, make_detector: MakeDetector
) -> None:
    def refuse(_: FloatArray) -> FloatArray:
        pytest.fail("the network was called")

    state = IncidentState()
    step = with_network(make_detector(), refuse).step(state, make_batch([]))
    assert step.state is state
    assert (len(step.scores), step.alerts, step.rejected) == (0, [], [])
    assert step.scores.scores.dtype == np.float64


def test_a_batch_of_only_bad_records_never_meets_the_network(
    make_batch: MakeBatch, make_detector: MakeDetector
) -> None:
    def refuse(_: FloatArray) -> FloatArray:
        pytest.fail("the network was called")

    step = with_network(make_detector(), refuse).step(
        IncidentState(), make_batch([None, b"", b"?"])
    )
    assert [each.index for each in step.rejected] == [0, 1, 2]


@pytest.mark.parametrize(
    ("value", "outcome"),
    [(flat(0.0), "normal"), (flat(9.0), "anomalous"), (b"?", "dead_letter")],
)
def test_a_window_whose_key_is_too_long_is_rejected_whatever_it_holds(
    value: bytes, outcome: str, make_batch: MakeBatch, make_detector: MakeDetector
) -> None:
    longest, longer = b"\xff" * KEY_BYTES_MAX, b"\xff" * (KEY_BYTES_MAX + 1)
    step = make_detector().step(IncidentState(), make_batch([value], key=longest))
    assert step.counts.records[outcome] == 1
    step = make_detector().step(IncidentState(), make_batch([value, value], key=longer))
    assert [each.index for each in step.rejected] == [0, 1]
    assert (len(step.scores), step.alerts) == (0, [])
    is_decoded = value != b"?"
    assert ("4,097 bytes" in str(step.rejected[0].error)) == is_decoded


def test_keys_that_are_too_long_cost_their_neighbours_nothing_across_slices(
    make_batch: MakeBatch, make_detector: MakeDetector
) -> None:
    batch = make_batch([flat(9.0)] * 5)
    keys = [b"k", b"k" * 5_000, b"k", b"k", b"k" * 5_000]
    step = make_detector(model_rows_max=2).step(
        IncidentState(), replace(batch, keys_alone=lambda: keys)
    )
    assert [each.index for each in step.rejected] == [1, 4]
    assert [index for index, *_ in step.alerts] == [0, 2, 3]


def test_an_error_equal_to_the_threshold_is_normal(
    make_batch: MakeBatch, make_detector: MakeDetector
) -> None:
    above = float(np.nextafter(np.float32(1), np.float32(2)))
    batch = make_batch([flat(1.0), flat(above), flat(-above)])
    step = make_detector().step(IncidentState(), batch)
    assert step.scores.scores.tolist() == [1.0, above, above]
    assert step.scores.is_anomalous.tolist() == [False, True, True]
    assert step.scores.anomaly_scores.tolist() == [1.0, above, above]
    assert [index for index, *_ in step.alerts] == [1, 2]


def test_an_alert_says_where_when_and_how_much(
    make_batch: MakeBatch, make_detector: MakeDetector
) -> None:
    batch = make_batch([flat(0), flat(3.0), flat(1.5, timestamp_ms=NOW_MS + 50)])
    (_, first, _), (_, second, _) = make_detector().step(IncidentState(), batch).alerts
    assert (first.source.topic, first.source.partition, first.source.offset) == (
        "telemetry",
        3,
        101,
    )
    assert (first.window_start_ms, first.window_end_ms) == (1_001, 1_031)
    assert (second.window_start_ms, second.window_end_ms) == (NOW_MS + 50, NOW_MS + 80)
    assert (first.reconstruction_error, first.threshold, first.anomaly_score) == (3.0, 1.0, 3.0)
    assert (first.score, first.score_kind, first.check) == (3.0, "mae", None)
    assert (first.severity, second.severity) == ("critical", "warning")
    assert (first.key, first.bundle.name, first.detected_at_ms) == ("pump-7", "pumps", 0)


def test_an_alert_explains_itself(make_batch: MakeBatch, make_detector: MakeDetector) -> None:
    scaler = Scaler("min-max", np.array([1], np.float32), np.array([0.5], np.float32))
    values = [b"?", flat(1.0), orjson.dumps({"values": [1, 9, 8, 1], "timestamp_ms": NOW_MS + 50})]
    for model_rows_max in (1, 2, 100):
        detector = make_detector(scaler=scaler, model_rows_max=model_rows_max)
        ((index, alert, _),) = detector.step(IncidentState(), make_batch(values)).alerts
        found = present(alert.explanation)
        assert (index, found.worst_start_ms, found.worst_end_ms) == (2, NOW_MS + 60, NOW_MS + 70)
        assert (found.shares, found.times_ms, found.imputed_share) == (
            (1.0,),
            (NOW_MS + 60, NOW_MS + 70),
            0.0,
        )
        assert found.features[0].observed == (9.0, 8.0)
        assert found.features[0].expected == (1.0, 1.0)
        assert (alert.event_time_ms, alert.reason) == (NOW_MS + 80, "anomalous")


def test_what_explains_an_alert_outlives_buffers_used_again(
    make_batch: MakeBatch, make_detector: MakeDetector
) -> None:
    buffer = np.empty((1, 4, 1), np.float32)

    def reuse(windows: FloatArray) -> FloatArray:
        buffer[:] = 10 - windows
        return buffer

    detector = make_detector(model_rows_max=1)
    step = with_network(detector, reuse).step(IncidentState(), make_batch([flat(2.0), flat(3.0)]))
    expected = [present(alert.explanation).features[0].expected[0] for _, alert, _ in step.alerts]
    assert expected == [8.0, 7.0]


def test_an_alert_carries_the_exact_error(
    make_batch: MakeBatch, make_detector: MakeDetector
) -> None:
    detector = make_detector(threshold=0.3)
    step = detector.step(IncidentState(), make_batch([flat(1 / 3)]))
    ((_, alert, _),) = step.alerts
    assert alert.reconstruction_error == float(np.float32(1 / 3))
    assert alert.anomaly_score == alert.reconstruction_error / 0.3


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1e39, "values[0]: expected a finite number in the range of float32, received inf"),
        (-1e39, "received -inf"),
        (2 * SCALED_MAX, "values[0]: received 2e+12, over 1e+12 times the range trained on"),
    ],
)
def test_an_absurd_value_is_put_aside_and_its_neighbours_are_scored(
    make_batch: MakeBatch, make_detector: MakeDetector, value: float, words: str
) -> None:
    batch = make_batch([flat(0.5), flat(value), flat(2.0)])
    step = make_detector().step(IncidentState(), batch)
    (rejected,) = step.rejected
    assert (rejected.index, rejected.stage, type(rejected.error)) == (1, "check", RecordValueError)
    assert words in str(rejected.error)
    assert step.scores.indices.tolist() == [0, 2]
    assert step.scores.scores.tolist() == [0.5, 2.0]
    assert [index for index, *_ in step.alerts] == [2]


def test_nan_in_float32_is_put_aside_by_step(
    make_batch: MakeBatch, make_detector: MakeDetector
) -> None:
    value = np.array([0, 0, np.nan, 0], np.float32).tobytes()
    step = make_detector().step(IncidentState(), make_batch([value]), "float32")
    (rejected,) = step.rejected
    assert "values[2]: expected a finite number" in str(rejected.error)
    assert len(step.scores) == 0


def test_a_bad_value_of_several_features_is_named_by_step_and_feature(
    make_batch: MakeBatch, make_detector: MakeDetector
) -> None:
    scaler = Scaler("none", np.zeros(2, np.float32), np.ones(2, np.float32))
    detector = make_detector(shape=(2, 2), scaler=scaler)
    step = detector.step(IncidentState(), make_batch([b'{"values":[[0,0],[0,1e39]]}']))
    assert "values[1][1]: expected a finite number" in str(step.rejected[0].error)


def test_the_largest_value_still_scored_is_scored(
    make_batch: MakeBatch, make_detector: MakeDetector
) -> None:
    largest = np.float32(SCALED_MAX)
    batch = make_batch(
        [flat(float(each)) for each in (largest, -largest, np.nextafter(largest, np.inf))]
    )
    step = make_detector().step(IncidentState(), batch)
    assert step.scores.scores.tolist() == [largest, largest]
    assert [each.index for each in step.rejected] == [2]


def test_scaling_that_overflows_is_put_aside_without_a_warning(
    make_batch: MakeBatch, make_detector: MakeDetector
) -> None:
    scaler = Scaler("min-max", np.array([-3e38], np.float32), np.array([1e10], np.float32))
    step = make_detector(scaler=scaler).step(IncidentState(), make_batch([flat(3e38)]))
    assert "values[0]: received 3e+38" in str(step.rejected[0].error)


def test_a_robust_scaler_limits_and_bends_after_the_range_is_checked(
    make_batch: MakeBatch, make_detector: MakeDetector
) -> None:
    one = np.ones(1, np.float32)
    for is_constant, error in ((False, 10 * np.arcsinh(1e11)), (True, 10 * np.arcsinh(1.0))):
        scaler = Scaler("robust", one - 1, one, np.array([is_constant]))
        largest = float(np.nextafter(np.float32(SCALED_MAX), np.float32(0)))
        batch = make_batch([flat(largest), flat(1.1 * SCALED_MAX)])
        step = make_detector(scaler=scaler).step(IncidentState(), batch)
        assert step.scores.scores == pytest.approx([error], rel=1e-5)
        assert [each.index for each in step.rejected] == [1]
        values = np.array([[np.inf], [-np.inf], [np.nan], [0]], np.float32)
        found = make_detector(scaler=scaler).scorer.in_range(values)
        assert found.ravel().tolist() == [False, False, False, True]


def test_rejected_records_keep_the_order_of_the_batch(
    make_batch: MakeBatch, make_detector: MakeDetector
) -> None:
    values = [flat(1e39), None, flat(0), b"?", flat(-1e39), b"", flat(2)]
    for model_rows_max in (1, 2, 3, 100):
        detector = make_detector(model_rows_max=model_rows_max)
        step = detector.step(IncidentState(), make_batch(values))
        assert [each.index for each in step.rejected] == [0, 1, 3, 4, 5]
        assert step.scores.indices.tolist() == [2, 6]
        assert [index for index, *_ in step.alerts] == [6]


def test_the_network_sees_scaled_slices_of_at_most_model_rows_max(
    make_batch: MakeBatch, make_detector: MakeDetector
) -> None:
    seen: list[FloatArray] = []

    def record(windows: FloatArray) -> FloatArray:
        seen.append(windows)
        return np.zeros_like(windows)

    scaler = Scaler("min-max", np.array([1], np.float32), np.array([0.5], np.float32))
    detector = make_detector(scaler=scaler, model_rows_max=2)
    with_network(detector, record).step(IncidentState(), make_batch([flat(3.0)] * 5))
    assert [len(windows) for windows in seen] == [2, 2, 1]
    for windows in seen:
        assert windows.dtype == np.float32
        assert windows.flags.c_contiguous
        assert (windows == 1.0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_network_that_gives_no_number_stops_the_service(
    make_batch: MakeBatch, make_detector: MakeDetector, bad: float
) -> None:
    def break_second(windows: FloatArray) -> FloatArray:
        result = np.zeros_like(windows)
        result[1] = bad
        return result

    detector = make_detector()
    words = "pumps v1 gave a non-finite error for 1 of 2 finite windows"
    with pytest.raises(NonFiniteScoreError, match=words):
        with_network(detector, break_second).step(IncidentState(), make_batch([flat(0), flat(0)]))
    with pytest.raises(NonFiniteScoreError, match=words):
        with_network(detector, break_second).score(np.zeros((2, 4, 1), np.float32))


def test_score_gives_what_step_gives(make_batch: MakeBatch, make_detector: MakeDetector) -> None:
    windows = np.random.default_rng(3).normal(size=(9, 4, 1)).astype(np.float32)
    detector = make_detector(model_rows_max=4)
    batch = make_batch([window.tobytes() for window in windows])
    live = detector.step(IncidentState(), batch, "float32").scores.scores
    assert np.array_equal(detector.score(windows), live)


def test_score_of_nothing_is_nothing(make_detector: MakeDetector) -> None:
    assert make_detector().score(np.empty((0, 4, 1), np.float32)).shape == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf, 2e12])
def test_score_names_the_first_bad_window(make_detector: MakeDetector, value: float) -> None:
    windows = np.zeros((9, 4, 1), np.float32)
    windows[[5, 7], 2] = value
    with pytest.raises(RecordValueError, match=r"^window 5: values\[2\]: "):
        make_detector(model_rows_max=2).score(windows)


def test_score_refuses_another_shape(make_detector: MakeDetector) -> None:
    with pytest.raises(ValueError, match=r"received \(1, 5, 1\)"):
        make_detector().score(np.zeros((1, 5, 1), np.float32))


def test_a_label_header_changes_nothing(make_batch: MakeBatch, make_detector: MakeDetector) -> None:
    values = [flat(0.5), flat(2.0)]
    plain = make_detector().step(IncidentState(), make_batch(values))
    headers: Any = [[("label", b"1")], [("label", b"0")]]
    labelled = make_detector().step(IncidentState(), make_batch(values, headers))
    assert labelled.alerts == plain.alerts


@pytest.mark.parametrize("value", [b"no json", b'{"values":[1]}', b'{"values":[1,2,3,1e39]}'])
def test_a_rejected_record_keeps_no_batch_in_memory(
    make_batch: MakeBatch, make_detector: MakeDetector, value: bytes
) -> None:
    gc.collect()
    gc.disable()  # as the service does while it works
    try:
        batch = make_batch([value, flat(0.5)])
        step = make_detector().step(IncidentState(), batch)
        assert [each.index for each in step.rejected] == [0]
        is_held = weakref.ref(batch.series)
        del batch, step
        assert is_held() is None
    finally:
        gc.enable()
