"""Scales of keys that training did not know: how they are fitted, kept and written."""

import base64
from typing import TYPE_CHECKING, cast

import numpy as np
import orjson
import pytest
from detectors import make_sample_detector

from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.features import AS_IT_IS, Counting, Features
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import RecordBatch, RecordMetadata, series_columns
from stream_detector.core.results import Step
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.state.new_keys import (
    NO_PLACES,
    SCALES_CHARACTERS_MAX,
    KeyScale,
    Places,
    n_places,
)
from stream_detector.core.state.restore_plan import CommitMetadata, RestorePlan
from stream_detector.core.state.warm_up import N_VALUES_MIN, PERIOD_WARM_UPS, fit_scale
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.errors import StateError

if TYPE_CHECKING:
    from stream_detector.core.state.detector_state import DetectorState
    from stream_detector.core.state.sample_state import SampleState

FLEET = KeyScales(
    [b"a", b"b"], np.array([[1, 2], [3, 4]], np.float32), np.array([[1, 1], [1, 0.5]], np.float32)
)
RULES = WindowRules(4, 1, 2, 10, 1_000, 0, "hold", 0.5, 100_000)
ALERTING = AlertRules(1, 1, 60_000, 100, 0, 600_000, 10, 600_000, (("warning", 1e9),))
N_SAMPLES = 20
PERIOD_MS = PERIOD_WARM_UPS * N_SAMPLES * 10
START_MS = 1_767_225_600_000 // PERIOD_MS * PERIOD_MS


def test_a_scale_is_median_and_robust_deviation() -> None:
    first = np.array([[value, 0.001 * value] for value in range(21)], np.float32)
    offset, scale = fit_scale(first, FLEET)
    assert offset == pytest.approx([10, 0.01])
    assert 1 / scale == pytest.approx([1.4826 * 5, 1.4826 * 0.005])
    assert offset.dtype == scale.dtype == np.dtype(np.float32)


def test_a_relative_feature_has_the_deviation_from_blocks() -> None:
    first = np.column_stack([np.arange(40) // 2 * 50.0 + np.arange(40) % 2 * 2] * 2)
    offset, scale = fit_scale(first.astype(np.float32), FLEET, (AS_IT_IS, Counting(2)))
    assert offset == pytest.approx([476, 476])
    assert 1 / scale[0] > 300
    assert 1 / scale[1] == pytest.approx(1.4826)


def test_a_logarithmic_feature_has_its_unit() -> None:
    first = np.column_stack([np.arange(1, 42)] * 2)
    offset, scale = fit_scale(
        first.astype(np.float32), FLEET, (AS_IT_IS, Counting(is_logarithmic=True))
    )
    assert offset.tolist() == [21, 0]
    assert 1 / scale[1] == pytest.approx(0.05 * 21)


def test_a_feature_that_does_not_move_has_the_fleet_s_deviation() -> None:
    offset, scale = fit_scale(np.full((25, 2), 7, np.float32), FLEET)
    assert (offset.tolist(), scale.tolist()) == ([7, 7], FLEET.scale[2].tolist())


@pytest.mark.parametrize(("n_values", "is_own"), [(N_VALUES_MIN - 1, False), (N_VALUES_MIN, True)])
def test_a_feature_with_few_values_has_the_fleet_s_scale(n_values: int, is_own: bool) -> None:
    first = np.full((40, 2), np.nan, np.float32)
    first[:, 0] = np.arange(40)
    first[:n_values, 1] = np.arange(n_values)
    offset, scale = fit_scale(first, FLEET)
    assert offset[0] == pytest.approx(19.5)
    assert (offset[1] != FLEET.offset[2, 1], scale[1] != FLEET.scale[2, 1]) == (is_own, is_own)


def test_places_read_back_bit_for_bit() -> None:
    scale = KeyScale(np.array([0.1, -1e30], np.float32), np.array([3e38, 1e-38], np.float32))
    places = NO_PLACES.with_scale(2**64 - 1, None, 2).with_scale(0, scale, 2)
    read = Places.decode(places.text, 2)
    assert list(read.scales) == [2**64 - 1, 0]
    assert read.scales[2**64 - 1] is None
    found = read.scales[0]
    assert found is not None
    assert [each.tobytes() for each in found] == [each.tobytes() for each in scale]
    assert read.text == places.text


@pytest.mark.parametrize("n_features", [1, 2, 3, 38, 200, 317])
def test_full_places_leave_room_in_the_metadata(n_features: int) -> None:
    places, ones = NO_PLACES, np.ones(n_features, np.float32)
    for name in range(n_places(n_features)):
        places = places.with_scale(2**63 + name, KeyScale(ones, ones), n_features)
    assert len(places.text) <= SCALES_CHARACTERS_MAX
    assert len(places.with_scale(1, None, n_features).text) > SCALES_CHARACTERS_MAX
    plan = RestorePlan(
        10**15, 1.7e12 + 0.0625, 10**15, has_active_keys=True, digest="0" * 16, scales=places.text
    )
    text = CommitMetadata(plan, "1" * 64, 100_000).encode()
    assert len(text) < 4_000
    assert CommitMetadata.decode(text, "t[0]@7").restore_plan == plan
    assert "scales" not in orjson.loads(CommitMetadata(plan._replace(scales=""), "1", 1).encode())


@pytest.mark.parametrize("text", ["?", "AAAA", base64.b64encode(bytes(23)).decode()])
def test_scales_that_no_one_wrote_are_refused(text: str) -> None:
    with pytest.raises(StateError, match="expected entries of 24 bytes in base64, received"):
        Places.decode(text, 2)


def detector_of() -> SampleDetector:
    one = np.ones((1, 1), np.float32)
    features = Features(("x",), (), KeyScales([b"known"], 0 * one, one), N_SAMPLES)
    return make_sample_detector(RULES, ALERTING, features=features)


def step_by(
    state: "DetectorState", times_ms: list[int], key: bytes = b"new", partition: int = 0
) -> Step:
    """Step through one sample a record."""
    metadata = [
        RecordMetadata("t", partition, row, time_ms, key, ())
        for row, time_ms in enumerate(times_ms)
    ]
    values = [orjson.dumps({"values": [[row % 5]]}) for row in range(len(times_ms))]
    batch = RecordBatch.from_columns("t", values, series_columns(metadata), range(len(values)))
    return detector_of().step(state, batch)


def step_of(*records: tuple[bytes, list[int]]) -> Step:
    """Step through one batch of these samples at once, from the start."""
    metadata = [
        RecordMetadata("t", 0, row, START_MS, key, ()) for row, (key, _) in enumerate(records)
    ]
    values = [orjson.dumps({"values": samples}) for _, samples in records]
    batch = RecordBatch.from_columns("t", values, series_columns(metadata), range(len(values)))
    return detector_of().step(detector_of().initial_state(), batch)


def test_the_window_that_ends_with_the_warm_up_is_the_last_of_it() -> None:
    step = step_of((b"new", [at % 5 for at in range(N_SAMPLES + 10)]))
    assert step.fitted_keys == [b"new"]
    # A window ends with each second sample from the fourth on, so one with the warm-up.
    assert (step.counts.windows["warm_up"], len(step.scores)) == (9, 5)


def test_as_many_keys_have_a_place_as_there_are() -> None:
    names = [b"%d" % at for at in range(n_places(1) + 1)]
    step = step_of(*((name, [1]) for name in names))
    assert step.new_keys == names[:-1]


@pytest.mark.parametrize(("n_before", "is_fitted"), [(0, True), (1, False)])
def test_a_warm_up_begins_anew_with_each_period(n_before: int, is_fitted: bool) -> None:
    times_ms = [START_MS + 10 * at for at in range(-n_before, N_SAMPLES - n_before)]
    step = step_by(detector_of().initial_state(), times_ms)
    assert (step.new_keys, bool(step.fitted_keys)) == ([b"new"], is_fitted)
    state = cast("SampleState", step.state)
    left = [len(each.values) for each in state.new_keys.warm_ups.values()]
    assert left == ([] if is_fitted else [N_SAMPLES - 1])


def test_a_key_that_expires_begins_anew_and_keeps_its_place() -> None:
    times_ms = [START_MS + 10 * at for at in range(15)]
    later_ms = [START_MS + 200_000 // PERIOD_MS * PERIOD_MS + 10 * at for at in range(N_SAMPLES)]
    state = step_by(detector_of().initial_state(), times_ms).state
    state = step_by(state, [later_ms[0] - 20], b"known").state
    step = step_by(state, later_ms[: N_SAMPLES - 1])
    assert (step.new_keys, step.fitted_keys) == ([], [])
    step = step_by(step.state, later_ms[N_SAMPLES - 1 :])
    assert step.fitted_keys == [b"new"]
    # A scale outlives its key.
    state = step_by(step.state, [later_ms[-1] + 200_000], b"known").state
    again_ms = [later_ms[-1] + 200_000 + 10 * at for at in range(6)]
    step = step_by(state, again_ms)
    assert (step.new_keys, step.fitted_keys, step.counts.windows["warm_up"]) == ([], [], 0)
    assert len(step.scores.scores) == 2


def test_what_is_known_of_new_keys_goes_with_their_partition() -> None:
    detector, times_ms = detector_of(), [START_MS + 10 * at for at in range(N_SAMPLES)]
    state: DetectorState = detector.initial_state()
    for partition in (0, 1):
        state = state.open_partition(partition, 0)
        state = step_by(state, times_ms, partition=partition).state
        state = step_by(state, times_ms[:3], b"other", partition).state
        state, _ = state.restore_plans({partition: N_SAMPLES})
    found = cast("SampleState", state.drop_partitions([0])).new_keys
    assert (list(found.places), len(found.warm_ups), list(found.holds)) == ([1], 1, [1])
    assert sum(each is None for each in found.places[1].scales.values()) == 1
