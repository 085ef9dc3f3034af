"""Why a series is not scored: each kind of mismatch, and none where all is well."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from detectors import make_sample_detector

from stream_detector.core.alerting.tracking import AlertRules
from stream_detector.core.records import RecordBatch, RecordMetadata, series_columns
from stream_detector.core.sample_detector import SampleDetector
from stream_detector.core.state.detector_state import DetectorState
from stream_detector.core.state.sample_state import SampleState
from stream_detector.core.windowing.diagnosis import REASONS, Diagnosis, Reason
from stream_detector.core.windowing.peaks import PeakRules
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.series_health import SeriesHealth

NOW_MS = 1_767_225_600_000
N_STEPS = 20

Sample = tuple[bytes, int, float, Sequence[float]]
"""Key, partition, time since `NOW_MS` in ms, values."""


def detector_of(n_features: int = 1, **changes: Any) -> SampleDetector:
    """Return a detector of windows of 20 samples, one a second."""
    rules: dict[str, Any] = {
        "n_steps": N_STEPS,
        "n_features": n_features,
        "stride": N_STEPS,
        "sample_interval_ms": 1_000,
        "gap_ms_max": 20_000,
        "allowed_lateness_ms": 0,
        "missing": "interpolate",
        "missing_share_max": 0.25,
        "key_ttl_ms": 3_600_000,
    }
    alerting = AlertRules(1, 1, 60_000, 100, 0, 600_000, 10, 600_000, (("warning", 1.0),))
    return make_sample_detector(WindowRules(**(rules | changes)), alerting)


def batch_of(samples: Sequence[Sample]) -> RecordBatch:
    header = [("content-type", b"application/vnd.stream-detector.float32")]
    found = [
        RecordMetadata("telemetry", partition, row, NOW_MS + int(time_ms), key, header)
        for row, (key, partition, time_ms, _) in enumerate(samples)
    ]
    return RecordBatch.from_columns(
        "telemetry",
        [np.array(values, np.float32).tobytes() for *_, values in samples],
        series_columns(found),
        range(len(samples)),
        [header] * len(samples),
    )


def diagnose(
    samples: Sequence[Sample], batch_size: int = 1_000, **changes: Any
) -> dict[bytes, tuple[Reason, str]]:
    """Return reason and description of each key that is not scored."""
    detector = detector_of(len(samples[0][3]), **changes)
    health = SeriesHealth(len(samples[0][3]))
    state: DetectorState = detector.initial_state()
    for start in range(0, len(samples), batch_size):
        state = add(health, detector, state, samples[start : start + batch_size])
    return read(health, detector, state)


def add(
    health: SeriesHealth, detector: SampleDetector, state: DetectorState, some: Sequence[Sample]
) -> DetectorState:
    """Tell `health` of one batch, and return the state after it."""
    step = detector.step(state, batch_of(some))
    assert step.series is not None
    health.add(step.series)
    return step.state


def read(
    health: SeriesHealth, detector: SampleDetector, state: DetectorState
) -> dict[bytes, tuple[Reason, str]]:
    assert isinstance(state, SampleState)
    keyed_state = state.windows.apply_delta()
    diagnosis = Diagnosis(health, keyed_state, detector.windows, detector.features)
    found = diagnosis.find()
    assert found.slots.tolist() == sorted(set(found.slots.tolist()))
    return {
        keyed_state.keys[slot] or b"": (REASONS[reason], diagnosis.describe(slot, REASONS[reason]))
        for slot, reason in zip(found.slots.tolist(), found.reasons.tolist(), strict=True)
    }


def series(
    times_ms: Iterable[float],
    values: Sequence[float] = (0.0,),
    key: bytes = b"pump",
    partition: int = 0,
) -> list[Sample]:
    return [(key, partition, time_ms, values) for time_ms in times_ms]


def every(interval_ms: float, n_samples: int) -> list[float]:
    return [interval_ms * at for at in range(n_samples)]


def test_a_series_that_is_scored_has_no_reason() -> None:
    assert diagnose(series(every(1_000, 200))) == {}
    assert diagnose(series(every(1_000, 20))) == {}
    assert diagnose(series(every(1_000, 200)), batch_size=1, stride=7) == {}


@pytest.mark.parametrize("batch_size", [1, 3, 1_000])
@pytest.mark.parametrize(
    ("interval_ms", "n_samples"), [(2_000, 10), (2_000, 500), (3_000, 50), (60_000, 3)]
)
def test_samples_too_far_apart(interval_ms: int, n_samples: int, batch_size: int) -> None:
    found = diagnose(series(every(interval_ms, n_samples)), batch_size)
    text = f"received samples about {interval_ms} ms apart, expected 1000"
    assert found == {b"pump": ("interval", text)}


def test_samples_are_too_far_apart_only_where_too_much_of_a_window_is_missing() -> None:
    every_other = series(every(2_000, 50))
    assert diagnose(every_other, missing_share_max=0.5) == {}
    assert diagnose(every_other, missing_share_max=0.49)[b"pump"][0] == "interval"
    assert diagnose(every_other, missing_share_max=0.5, missing="reject")[b"pump"][0] == "interval"


def test_jitter_and_an_outlier_do_not_move_the_interval() -> None:
    times = [2_000 * at + (0, 300, 100)[at % 3] for at in range(30)] + [70_000]
    reason, text = diagnose(series(times))[b"pump"]
    assert (reason, text) == ("interval", "received samples about 1900 ms apart, expected 1000")


def test_one_key_on_two_partitions() -> None:
    samples: list[Sample] = [(b"pump", at % 2 + 3, 1_000.0 * at, (0.0,)) for at in range(60)]
    samples += series(every(1_000, 60), key=b"fan", partition=3)
    found = diagnose(samples)
    assert found == {
        b"pump": ("key_on_several_partitions", "the key comes on partitions 3, 4"),
    }


def test_report_by_exception() -> None:
    changes = np.cumsum([1_000, 1_000, 9_000, 2_000, 14_000, 1_000, 7_000] * 20)
    reason, text = diagnose(series(changes.tolist()))[b"pump"]
    assert (reason, text) == ("interval", "received samples about 4500 ms apart, expected 1000")


def test_bursts_with_gaps_between() -> None:
    times = [60_000.0 * burst + 1_000 * at for burst in range(5) for at in range(19)]
    reason, text = diagnose(series(times))[b"pump"]
    assert reason == "gaps"
    assert text == (
        "the series started again 4 times, after more than 20000 ms without a sample, before 20 "
        "samples had come"
    )
    longer = [60_000.0 * burst + 1_000 * at for burst in range(5) for at in range(20)]
    assert diagnose(series(longer)) == {}


def test_one_gap_is_not_yet_a_reason() -> None:
    once = [*every(1_000, 5), *(50_000 + each for each in every(1_000, 5))]
    assert diagnose(series(once))[b"pump"][0] == "warm_up"
    twice = [*once, 100_000, 101_000]
    assert diagnose(series(twice))[b"pump"][0] == "gaps"


@pytest.mark.parametrize("n_samples", [11, 15, 100])
def test_a_feature_that_never_comes_is_named(n_samples: int) -> None:
    samples = series(every(1_000, n_samples), (0.0, np.nan, 0.0, 0.0, 0.0))
    reason, text = diagnose(samples)[b"pump"]
    assert (reason, text) == (
        "missing_values",
        "20% of the values are missing, expected at most 25%; no value at all of feature feature_1",
    )


def test_a_feature_that_falls_silent_is_named() -> None:
    before = series(every(1_000, 60), (0.0, 0.0))
    after = series([60_000 + each for each in every(1_000, 60)], (0.0, np.nan))
    reason, text = diagnose([*before, *after], batch_size=7)[b"pump"]
    assert reason == "missing_values"
    assert text.endswith("no value at all of feature feature_1")
    assert diagnose(before) == {}


def test_many_missing_values_are_a_share() -> None:
    samples: list[Sample] = [
        (b"pump", 0, time_ms, (0.0, np.nan if at % 3 else 0.0))
        for at, time_ms in enumerate(every(1_000, 100))
    ]
    reason, text = diagnose(samples)[b"pump"]
    assert (reason, text) == (
        "missing_values",
        "33% of the values are missing, expected at most 25%; of feature feature_1 (66%)",
    )


@pytest.mark.parametrize("lateness_ms", [0, 1])
@pytest.mark.parametrize(("apart_ms", "is_told"), [(249, False), (250, True)])
def test_parts_too_far_apart_to_meet_are_said(
    apart_ms: int, is_told: bool, lateness_ms: int
) -> None:
    parts = ((0.0, np.nan), (np.nan, 0.0))
    samples: list[Sample] = [
        (b"pump", 0, 1_000.0 * at + 400 + apart_ms * part, parts[part])
        for at in range(60)
        for part in (0, 1)
    ]
    found = diagnose(samples, batch_size=7, allowed_lateness_ms=lateness_ms)
    assert (b"pump" in found) is is_told
    if is_told:
        assert found[b"pump"] == (
            "missing_values",
            "50% of the values are missing, expected at most 25%; of feature feature_0 (50%), "
            "feature_1 (50%); 2.0 samples come in each 1000 ms, and parts of a sample are sure to "
            "meet only less than 250 ms apart: give all parts of a sample the same time",
        )


def test_a_hint_of_parts_needs_a_quarter_more_samples_than_intervals() -> None:
    for n_parts, is_told in ((11, False), (12, True)):
        parts = series([1_000.0 * at + 650 for at in range(n_parts)], (np.nan, 0.0))
        wholes = series([1_000.0 * at + 400 for at in range(44)], (0.0, np.nan))
        found = diagnose(sorted([*wholes, *parts], key=lambda each: each[2]))
        assert found[b"pump"][0] == "missing_values"
        assert ("samples come in each" in found[b"pump"][1]) is is_told


@pytest.mark.parametrize(
    ("n_missing", "end"), [(5, "feature_3, feature_4"), (6, "feature_3, feature_4 and 1 more")]
)
def test_as_many_features_as_fit_are_named(n_missing: int, end: str) -> None:
    reason, text = diagnose(series(every(1_000, 11), [np.nan] * n_missing + [0.0]))[b"pump"]
    assert reason == "missing_values"
    assert text.endswith(f"no value at all of feature feature_0, feature_1, feature_2, {end}")


def test_only_a_feature_that_misses_more_than_it_may_is_named() -> None:
    samples: list[Sample] = [
        (b"pump", 0, time_ms, (np.nan if at % 3 else 0.0, 0.0 if at % 4 else np.nan))
        for at, time_ms in enumerate(every(1_000, 100))
    ]
    assert diagnose(samples)[b"pump"][1].endswith("; of feature feature_0 (66%)")
    alone: list[Sample] = [(key, at, time_ms, values[:1]) for key, at, time_ms, values in samples]
    assert diagnose(alone)[b"pump"][1].endswith("are missing, expected at most 25%")


@pytest.mark.parametrize(
    ("times_ms", "reason"),
    [
        # Half of the samples are late, or repeat others.
        ([each for at in range(30) for each in (1e7 + 2_000 * at, 30_000.0 - 1_000 * at)], "late"),
        ([2_000.0 * (at // 2) for at in range(60)], "duplicates"),
        ([7_000, 7_100], "warm_up"),
        (every(2_000, 9), "warm_up"),
    ],
)
def test_a_reason_needs_half_of_the_samples_and_ten_of_them(
    times_ms: list[float], reason: str
) -> None:
    assert diagnose(series(times_ms))[b"pump"][0] == reason


def test_samples_just_so_far_apart_are_no_reason() -> None:
    found = diagnose(series(every(2_000, 10)), missing_share_max=0.5)
    assert found[b"pump"][0] == "warm_up"


@pytest.mark.parametrize(("n_repeated", "expected"), [(40, []), (41, ["duplicates"])])
def test_a_series_that_was_scored_is_overdue_after_so_many_repeats(
    n_repeated: int, expected: list[str]
) -> None:
    found = diagnose(series([*every(1_000, 20), *[19_000.0] * n_repeated]))
    assert [reason for reason, _ in found.values()] == expected


@pytest.mark.parametrize(
    ("n_late", "n_repeated", "reason"),
    [
        (21, 20, "late"),
        (20, 20, "late"),
        (20, 21, "duplicates"),
        (10, 9, "late"),
        (9, 9, "warm_up"),
    ],
)
def test_of_samples_that_are_dropped_for_two_reasons_the_one_of_more_is_named(
    n_late: int, n_repeated: int, reason: str
) -> None:
    late = [-1_000.0 * at for at in range(500, 500 + n_late)]
    new, scored = (
        diagnose(series([*every(1_000, n_used), *every(1_000, n_used)[-1:] * n_repeated, *late]))
        for n_used in (N_STEPS - 1, N_STEPS)
    )
    assert [found for found, _ in new.values()] == [reason]
    is_overdue = n_late + n_repeated > 2 * N_STEPS
    assert [found for found, _ in scored.values()] == [reason] * is_overdue


def test_a_series_without_samples_since_then_has_no_reason() -> None:
    detector, health = detector_of(), SeriesHealth(1)
    state = detector.step(detector.initial_state(), batch_of(series([0], key=b"old"))).state
    state = add(health, detector, state, series([0], key=b"new"))
    assert list(read(health, detector, state)) == [b"new"]


def test_a_distance_of_the_longest_gap_is_none() -> None:
    for apart_ms, n_gaps in ((20_000, 0), (20_001, 1)):
        detector, health = detector_of(), SeriesHealth(1)
        times_ms = [0, 1_000, 1_000 + apart_ms, 2_000 + apart_ms]
        add(health, detector, detector.initial_state(), series(times_ms))
        assert health.n_gaps[0] == n_gaps


def test_a_window_that_failed_in_the_record_of_a_scored_one_does_not_count() -> None:
    for n_good, n_unscored in ((N_STEPS, 0), (N_STEPS - 1, 1)):
        detector, health = detector_of(), SeriesHealth(1)
        record = [0.0, *[np.nan] * (N_STEPS - 2), 0.0, *[0.0] * n_good]
        add(health, detector, detector.initial_state(), series([0], record))
        assert health.n_unscored[0] == n_unscored


def test_late_samples() -> None:
    samples = [*series([1e7]), *series(every(1_000, 30)[::-1])]
    reason, text = diagnose(samples)[b"pump"]
    assert reason == "late"
    assert text == "30 of 31 samples came more than 0 ms behind the newest of their key"


def test_samples_that_all_have_one_time() -> None:
    reason, text = diagnose(series([7_000] * 30))[b"pump"]
    assert (reason, text) == ("duplicates", "29 of 30 samples repeat another of the same 500 ms")


def test_a_series_in_warm_up() -> None:
    found = diagnose(series(every(1_000, 19)))
    text = "samples received so far: 19; a window has 20, one each 1000 ms"
    assert found == {b"pump": ("warm_up", text)}


def test_a_series_that_was_scored_is_given_time_for_another_window() -> None:
    # Three of five samples come, most of them a second apart: nothing shows before it is overdue.
    threes = [20_000 + 5_000 * five + 1_000 * at for five in range(8) for at in range(3)]
    times = [*every(1_000, 20), *threes]
    assert diagnose(series(times)) == {}
    assert diagnose(series([*times, 59_999])) == {}
    assert diagnose(series([*times, 60_000]))[b"pump"][0] == "missing_values"


def test_a_series_that_became_slow_is_told_with_the_first_window_that_fails() -> None:
    slow = [*every(1_000, 20), *(20_000 + each for each in every(2_000, 11))]
    assert diagnose(series(slow[:-1])) == {}
    assert diagnose(series(slow))[b"pump"][0] == "interval"


@pytest.mark.parametrize("batch_size", [1, 50, 1_000])
def test_a_scored_window_ends_a_diagnosis_and_the_counts_do_not_depend_on_batches(
    batch_size: int,
) -> None:
    slow = every(2_000, 40)
    right = [80_000 + each for each in every(1_000, 45)]
    detector, samples = detector_of(), series([*slow, *right])
    health = SeriesHealth(1)
    state: DetectorState = detector.initial_state()
    for start in range(0, len(samples), batch_size):
        state = add(health, detector, state, samples[start : start + batch_size])
    assert read(health, detector, state) == {}
    assert health.was_scored[0]
    assert health.n_samples[0] == 5
    assert (health.n_unscored[0], health.n_gaps[0], health.n_intervals[0]) == (0, 0, 5)
    assert health.elapsed_ms[0] == 5_000


def test_each_key_has_its_own_reason() -> None:
    samples = [
        *series(every(1_000, 100), key=b"right"),
        *series(every(2_000, 50), key=b"slow"),
        *series(every(1_000, 100), (np.nan,), key=b"empty"),
        *series(every(1_000, 3), key=b"new"),
    ]
    samples.sort(key=lambda each: each[2])
    found = diagnose(samples, batch_size=17)
    assert {key: reason for key, (reason, _) in found.items()} == {
        b"slow": "interval",
        b"empty": "missing_values",
        b"new": "warm_up",
    }


def test_a_slot_that_another_key_takes_over_begins_at_zero() -> None:
    detector, health = detector_of(key_ttl_ms=100_000), SeriesHealth(1)
    state = add(health, detector, detector.initial_state(), series(every(2_000, 30), key=b"old"))
    others = [*series([500_000], key=b"other"), *series([500_000], key=b"third")]
    state = add(health, detector, state, others)  # "old" expires
    state = add(health, detector, state, series([501_000], key=b"new"))
    assert isinstance(state, SampleState)
    keyed_state = state.windows.apply_delta()
    assert keyed_state.keys.index(b"new") == 0
    assert read(health, detector, state)[b"new"] == (
        "warm_up",
        "samples received so far: 1; a window has 20, one each 1000 ms",
    )


@pytest.mark.parametrize("lateness_ms", [0, 3_000])
@pytest.mark.parametrize("n_s", [9, 12, 19, 70])
def test_a_sample_of_each_feature_is_no_missing_value(n_s: int, lateness_ms: int) -> None:
    samples: list[Sample] = [
        (b"pump", 0, 1_000.0 * at + feature, tuple(np.where(np.arange(15) == feature, 0, np.nan)))
        for at in range(n_s)
        for feature in range(15)
    ]
    found = diagnose(samples, batch_size=50, allowed_lateness_ms=lateness_ms)
    assert {reason for reason, _ in found.values()} <= {"warm_up"}
    assert (found == {}) == (n_s == 70)


PEAKS = PeakRules(
    features=(0,),
    n_features=1,
    n_smooth=1,
    n_trend=5,
    n_apart=6,
    n_block=20,
    n_before=5,
    n_window=N_STEPS,
    n_low=1,
    n_base=0,
    n_search=30,
    n_slack=2,
    n_pause=0,
)
ROUND_PEAKS: dict[str, Any] = {"peaks": PEAKS, "stride": 30, "gap_ms_max": 2_000}
N_ENOUGH = PEAKS.n_frame + 30 + 1


def pulses(n_samples: int, first_s: int = 0) -> list[Sample]:
    """Return samples of a series with a pulse each 14 of them."""
    return [
        (b"pump", 0, 1_000.0 * (first_s + at), (150.0 * (at % 14 == 7),)) for at in range(n_samples)
    ]


def test_a_series_with_peaks_has_no_reason() -> None:
    assert diagnose(pulses(400), **ROUND_PEAKS) == {}
    assert diagnose(pulses(400), batch_size=7, **ROUND_PEAKS) == {}


@pytest.mark.parametrize("batch_size", [1, 1_000])
def test_a_series_without_any_peak_is_told_once_it_was_searched(batch_size: int) -> None:
    flat = series(every(1_000, N_ENOUGH))
    assert diagnose(flat, batch_size, **ROUND_PEAKS) == {}
    found = diagnose([*flat, *series([1_000.0 * N_ENOUGH])], batch_size, **ROUND_PEAKS)
    assert found == {b"pump": ("no_peaks", f"no peak was found in {N_ENOUGH} s of samples")}


def test_a_series_that_is_too_short_for_a_search_is_in_warm_up() -> None:
    n_samples = PEAKS.n_frame - 1
    found = diagnose(series(every(1_000, n_samples)), **ROUND_PEAKS)
    text = f"samples received so far: {n_samples}; a search for peaks takes {PEAKS.n_frame}, one"
    assert found[b"pump"] == ("warm_up", f"{text} each 1000 ms")
    assert diagnose(series(every(1_000, n_samples + 1)), **ROUND_PEAKS) == {}


def test_a_series_whose_peaks_end_is_told() -> None:
    after = [400_000 + each for each in every(1_000, 300)]
    found = diagnose([*pulses(400), *series(after)], **ROUND_PEAKS)
    assert found[b"pump"][0] == "no_peaks"


def test_gaps_and_missing_values_come_before_peaks() -> None:
    bursts = [150_000.0 * burst + 1_000 * at for burst in range(5) for at in range(100)]
    assert diagnose(series(bursts), **ROUND_PEAKS)[b"pump"][0] == "gaps"
    once = [*every(1_000, 50), *(100_000 + each for each in every(1_000, 300))]
    assert diagnose(series(once), **ROUND_PEAKS)[b"pump"][0] == "no_peaks"
    empty = series(every(1_000, 400), (np.nan,))
    assert diagnose(empty, **ROUND_PEAKS)[b"pump"][0] == "missing_values"
