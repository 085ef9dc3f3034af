"""Interval, gaps and lateness, found in spite of jitter, loss, repeats and disorder."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from present import present

from stream_detector.inspection.roles import Layout
from stream_detector.inspection.timing import Timing, measure
from stream_detector.recipes.columns import ColumnMap


def layout(
    series: NDArray[np.intp],
    times_ms: NDArray[Any],
    is_normal: NDArray[np.bool_] | None = None,
) -> Layout:
    keys = tuple(f"k{number}" for number in range(int(series.max()) + 1))
    normal = np.ones(len(series), np.bool_) if is_normal is None else is_normal
    return Layout(ColumnMap(features=("a",)), {}, series, keys, times_ms, normal)


def timing_of(times_ms: NDArray[Any], values: NDArray[np.float64] | None = None) -> Timing:
    found = np.ones((len(times_ms), 1)) if values is None else values
    return present(measure(layout(np.zeros(len(times_ms), np.intp), times_ms), found))


@pytest.mark.parametrize("interval_ms", [10.0, 1_000 / 360, 250.0, 1_000.0, 60_000.0, 300_000.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_interval_survives_jitter_loss_repeats_and_rounding(
    interval_ms: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    jitter = rng.uniform(-0.3, 0.3, 5_000) if interval_ms >= 20 else 0.0
    times = 1e12 + interval_ms * (np.arange(5_000) + jitter)
    times = np.sort(rng.permutation(times)[:4_500])
    times = np.sort(np.append(times, times[:100]))
    timing = timing_of(np.round(times))
    assert timing.sample_interval_ms == pytest.approx(interval_ms, rel=0.01)
    if interval_ms == int(interval_ms):
        assert timing.sample_interval_ms == interval_ms
    assert timing.missing_share == pytest.approx(0.1, abs=0.02)


def test_every_key_counts_once_and_others_are_named() -> None:
    series = np.repeat([0, 1, 2], [900, 30, 30])
    times = np.concatenate([5_000.0 * np.arange(900), *(1_000.0 * np.arange(30),) * 2])
    timing = present(measure(layout(series, times), np.ones((960, 1))))
    assert timing.sample_interval_ms == 1_000
    assert timing.other_intervals == (("k0", 5_000.0),)
    assert timing.n_cells.tolist() == [4_496, 30, 30]


def test_gaps_and_runs_of_missing_values_are_found() -> None:
    times = 1_000.0 * np.delete(np.arange(100), [10, 20, 21, 22])
    values = np.ones((96, 1))
    values[50:53] = np.nan
    timing = timing_of(times, values)
    assert timing.gaps_ms.tolist() == [2_000, 4_000]
    assert timing.runs_ms.tolist() == [4_000]
    assert timing.n_cells.tolist() == [100]
    assert timing.missing_share == pytest.approx(0.07)
    assert timing.span_ms == 99_000


def test_a_dead_feature_that_labels_mark_is_no_usual_silence() -> None:
    times, values = 1_000.0 * np.arange(100), np.ones((100, 1))
    values[50:53] = np.nan
    normal = np.ones(100, np.bool_)
    normal[51] = False
    found = present(measure(layout(np.zeros(100, np.intp), times, normal), values))
    assert found.runs_ms.tolist() == []


@pytest.mark.parametrize(("n_rows", "n_dead"), [(29, 0), (30, 1)])
def test_a_feature_that_is_missing_for_long_and_rarely_was_dead(n_rows: int, n_dead: int) -> None:
    times, values = 1_000.0 * np.arange(2_000), np.ones((2_000, 1))
    values[50 : 50 + n_rows] = np.nan
    timing = timing_of(times, values)
    assert timing.n_dead == n_dead
    assert len(timing.runs_ms) == 1 - n_dead
    values[::40] = 1.0
    values[(np.arange(2_000) % 40) > 0] = np.nan
    often = timing_of(times, values)
    assert (often.n_dead, len(often.runs_ms)) == (0, 49)


def test_a_long_gap_is_none_of_the_data() -> None:
    times = np.append(1_000.0 * np.arange(50), 1e9 + 1_000.0 * np.arange(50))
    assert timing_of(times).n_cells.tolist() == [100]


@pytest.mark.parametrize(
    ("order", "latest_ms"),
    [([0, 1, 2, 3, 4, 5], 0.0), ([0, 1, 3, 2, 4, 5], 1_000.0), ([0, 3, 4, 5, 1, 2], 4_000.0)],
)
def test_lateness_is_how_far_rows_are_behind_the_newest(order: list[int], latest_ms: float) -> None:
    assert timing_of(1_000.0 * np.array(order)).latest_ms == latest_ms


def test_lateness_is_of_each_key() -> None:
    series = np.array([0, 1, 0, 1, 1, 1])
    times = np.array([9e6, 1e3, 9e6 + 1e3, 3e3, 2e3, 4e3])
    assert present(measure(layout(series, times), np.ones((6, 1)))).latest_ms == 1_000


def test_a_file_in_no_order_says_nothing_about_lateness() -> None:
    assert np.isnan(timing_of(1_000.0 * np.arange(100)[::-1]).latest_ms)


def test_irregular_samples_are_said_to_be_so() -> None:
    rng = np.random.default_rng(0)
    assert timing_of(np.cumsum(rng.exponential(1_000, 2_000))).regular_share < 0.6
    assert timing_of(1_000.0 * np.arange(50)).regular_share == 1


def test_samples_at_one_time_have_no_interval() -> None:
    assert measure(layout(np.zeros(5, np.intp), np.full(5, 7.0)), np.ones((5, 1))) is None
