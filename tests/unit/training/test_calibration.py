"""Calibration: scores with the time that they stand for, and what is said of a threshold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stream_detector.core.intervals import rate_interval, share_interval
from stream_detector.core.scoring.tails import DAY_MS, CalibrationScores
from stream_detector.core.scoring.thresholds import (
    FalseAlarmShareThreshold,
    FalseAlarmsPerDayThreshold,
    QuantileThreshold,
    SigmaThreshold,
)
from stream_detector.datasets import Dataset
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.training.calibration import (
    calibration_scores,
    calibration_warnings,
    describe,
    lacks_test_part,
)
from stream_detector.training.splits import Split

MODELS = Path(__file__).parents[3] / "models"


def recipe_of_samples() -> Recipe:
    keys = ["data.series=1-6", "window.steps=20", "window.stride=5", "window.gap_ms_max="]
    keys += ["window.sample_interval_ms=1000", "alerting.close_after_ms=7000"]
    return load_recipe(MODELS / "smd-dense.toml", keys)


def dataset_of(keys: list[str], starts_ms: list[int]) -> Dataset:
    windows = np.zeros((len(keys), 20, 38), np.float32)
    return Dataset(
        "mine",
        "",
        windows,
        None,
        windows[:0],
        None,
        train_keys=tuple(keys),
        train_timestamps_ms=np.array(starts_ms, np.int64),
    )


def test_windows_of_samples_stand_for_their_strides() -> None:
    dataset = dataset_of(["b", "a", "b", "a", "a"], [0, 0, 5000, 5000, 90_000])
    rows = np.array([0, 1, 2, 4])
    scores = np.array([0.0, 1.0, 2.0, 4.0])
    found = calibration_scores(recipe_of_samples(), dataset, rows, scores)
    assert found.scores.tolist() == [1.0, 4.0, 0.0, 2.0]  # by series and time
    assert found.series.tolist() == [0, 0, 1, 1]
    assert np.diff(found.end_ms[2:]).tolist() == [5000.0]
    assert found.end_ms[2] - 0 == 20_000 - 1000
    assert found.exposure_ms == 4 * 5000
    assert (found.cluster_gap_ms, found.new_share) == (7000.0, 0.25)


def test_whole_windows_have_no_times() -> None:
    recipe = load_recipe(MODELS / "ecg5000-dense.toml")
    scores, others = np.array([1.0, 2.0]), np.array([5.0])
    found = calibration_scores(recipe, dataset_of(["a"] * 2, [0, 0]), np.arange(2), scores, others)
    assert not found.has_times
    assert found.scores.tolist() == [1.0, 2.0]
    assert found.anomalous_scores.tolist() == [5.0]
    assert found.n_effective == 2


def two_days(new_share: float = 0.5) -> CalibrationScores:
    """Return two days of minutes with scores 1, five of 9, two of them neighbours."""
    scores = np.ones(2880)
    scores[[10, 11, 500, 1000, 2000]] = 9.0
    end_ms = np.arange(2880, dtype=np.float64) * 60_000
    series = np.zeros(2880, np.intp)
    return CalibrationScores(scores, series, end_ms, 2 * DAY_MS, 60_000.0, new_share)


def test_alerts_a_day_are_counted_whatever_the_method() -> None:
    found = describe(SigmaThreshold(3.0), two_days(), 8.0)
    assert (found.unit, found.days, found.n_clusters) == ("per day", 2.0, 4)
    assert (found.reached, found.low, found.high) == rate_interval(4, 2.0)
    assert found.stated is None
    assert not found.extrapolated


@pytest.mark.parametrize(("rate", "extrapolated"), [(1.5, False), (1.4, True)])
def test_a_rate_that_was_not_seen_is_extrapolated(rate: float, extrapolated: bool) -> None:
    found = describe(FalseAlarmsPerDayThreshold(rate), two_days(), 9.0)
    assert (found.stated, found.n_clusters, found.reached) == (rate, 0, 0.0)
    assert found.extrapolated == extrapolated


@pytest.mark.parametrize("method", [QuantileThreshold(0.99), FalseAlarmShareThreshold(0.01)])
def test_a_share_is_counted_in_windows_that_do_not_overlap(
    method: QuantileThreshold | FalseAlarmShareThreshold,
) -> None:
    found = describe(method, two_days(), 8.0)
    assert (found.unit, found.days, found.n_clusters) == ("share", 2.0, 4)
    assert found.stated == pytest.approx(0.01)
    assert found.reached == pytest.approx(5 / 2880)
    assert (found.low, found.high) == share_interval(2.5, 1440)[1:]


def test_whole_windows_are_a_share() -> None:
    scores = CalibrationScores.without_times(np.array([1.0, 2.0, 3.0, 4.0]))
    found = describe(SigmaThreshold(1.0), replace(scores), 3.0)
    assert (found.unit, found.days, found.n_clusters) == ("share", None, 1)
    assert (found.reached, found.low, found.high) == share_interval(1, 4)


def warnings_of(method: str, n_windows: int, labels: list[int] | None = None) -> list[str]:
    recipe = load_recipe(MODELS / "smd-dense.toml", [f"threshold.method={method}"])
    dataset, rows = dataset_of(["a"] * n_windows, [0] * n_windows), np.arange(n_windows)
    if labels is not None:
        dataset = replace(dataset, train_labels=np.array(labels, np.int8))
    return list(
        calibration_warnings(recipe, dataset, Split(dataset.train, dataset.train, rows, rows))
    )


def test_a_threshold_of_few_windows_is_warned_of() -> None:
    assert warnings_of("quantile", 200) == []
    (warning,) = warnings_of("quantile", 199)
    assert "fitted to 199 normal windows, and its method wants at least 200, so" in warning
    assert "threshold.calibrate_on = 'cross-fit'" in warning


def test_labels_that_are_missing_are_warned_of() -> None:
    assert warnings_of("f-beta", 30, [1] + [0] * 29) == []
    for labels in (None, [0] * 30):
        (warning,) = warnings_of("f-beta", 30, labels)
        assert (
            "no training window is labelled anomalous, so with threshold.method = 'f-b" in warning
        )


@pytest.mark.parametrize(
    ("label", "share", "is_lacking"),
    [
        ("", None, False),
        ("", 0, False),
        ("", 0.2, True),
        ("fault", None, True),
        ("fault", 0, False),
    ],
)
def test_a_test_part_is_missed_only_where_it_was_meant(
    label: str, share: float | None, is_lacking: bool
) -> None:
    recipe, dataset = recipe_of_samples(), dataset_of(["a", "b"], [0, 1])
    data = recipe.data.model_copy(update={"label": label, "test_share": share})
    recipe = recipe.model_copy(update={"data": data})
    assert not lacks_test_part(recipe, dataset)  # it has no labels at all
    marked = replace(dataset, test_labels=np.empty(0, np.int8))
    assert lacks_test_part(recipe, marked) is is_lacking
    tested = replace(marked, test=dataset.train, test_labels=np.zeros(2, np.int8))
    assert not lacks_test_part(recipe, tested)
