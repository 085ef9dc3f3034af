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


@pytest.mark.parametrize(
    ("usual_ms", "longer_ms", "interval_ms"),
    [
        (100.0, 520.0, 103.08),  # five steps
        (100.0, 620.0, 100.0),  # six
        (100.0, 125.0, 110.0),
        (100.0, 126.0, 100.0),  # doubtful whether it is one step
        (20.0, 28.0, 20.0),
        (19.0, 26.6, 22.04),  # times may be rounded to whole milliseconds
    ],
)
def test_what_short_gaps_say_of_the_interval(
    usual_ms: float, longer_ms: float, interval_ms: float
) -> None:
    apart_ms = np.repeat([usual_ms, longer_ms], [60, 40])
    timing = timing_of(np.append(0.0, np.cumsum(apart_ms)))
    assert timing.sample_interval_ms == pytest.approx(interval_ms, rel=1e-4)


@pytest.mark.parametrize(
    ("longest_ms", "gaps_ms", "regular_share"),
    [(1_500.0, [], 1.0), (1_501.0, [1_501.0], 0.99)],
)
def test_a_gap_is_longer_than_one_and_a_half_intervals(
    longest_ms: float, gaps_ms: list[float], regular_share: float
) -> None:
    timing = timing_of(np.append(1_000.0 * np.arange(100), 99_000.0 + longest_ms))
    assert timing.gaps_ms.tolist() == gaps_ms
    assert timing.regular_share == regular_share


def test_repeated_times_are_a_share_of_the_steps() -> None:
    assert timing_of(1_000.0 * np.array([0, 0, 1, 2])).repeated_share == pytest.approx(1 / 3)


@pytest.mark.parametrize(("apart_ms", "others"), [(1_500.0, ()), (1_501.0, (("k2", 1_501.0),))])
def test_keys_with_another_interval_are_half_as_far_off(
    apart_ms: float, others: tuple[tuple[str, float], ...]
) -> None:
    """The key of one row has no interval at all."""
    series = np.repeat([0, 1, 2, 3], [9, 1, 9, 9])
    usual, other = 1_000.0 * np.arange(9), apart_ms * np.arange(9)
    times_ms = np.concatenate([usual, [0.0], other, usual])
    timing = present(measure(layout(series, times_ms), np.ones((28, 1))))
    assert timing.other_intervals == others


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
    assert timing.n_samples == 96
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


@pytest.mark.parametrize(("n_there", "n_dead"), [(999, 0), (1_000, 1)])
def test_a_feature_was_dead_where_that_is_as_rare_as_one_in_a_thousand(
    n_there: int, n_dead: int
) -> None:
    values = np.ones((n_there + 30, 1))
    values[50:80] = np.nan
    assert timing_of(1_000.0 * np.arange(len(values)), values).n_dead == n_dead


@pytest.mark.parametrize(("n_steps", "n_cells"), [(60, 109), (61, 50)])
def test_a_gap_is_long_after_more_than_sixty_steps(n_steps: int, n_cells: int) -> None:
    times_ms = 1_000.0 * np.append(np.arange(49), 48 + n_steps)
    assert timing_of(times_ms).n_cells.tolist() == [n_cells]


def test_samples_with_the_same_time_are_one_of_their_key() -> None:
    series, times = np.repeat([0, 1], [4, 2]), 1_000.0 * np.array([0, 1, 1, 2, 2, 3])
    assert present(measure(layout(series, times), np.ones((6, 1)))).n_samples == 5


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


def test_rows_of_the_same_time_are_not_late() -> None:
    assert timing_of(1_000.0 * (np.arange(100) // 2)).latest_ms == 0.0


@pytest.mark.parametrize(("n_late", "latest_ms"), [(3, 500.0), (4, np.nan)])
def test_a_file_is_in_no_order_where_more_than_three_of_ten_steps_go_back(
    n_late: int, latest_ms: float
) -> None:
    times_ms = 1_000.0 * np.arange(11)
    times_ms[1 : 2 * n_late : 2] -= 1_500.0
    assert timing_of(times_ms).latest_ms == pytest.approx(latest_ms, nan_ok=True)


def test_a_file_in_no_order_says_nothing_about_lateness() -> None:
    assert np.isnan(timing_of(1_000.0 * np.arange(100)[::-1]).latest_ms)


def test_irregular_samples_are_said_to_be_so() -> None:
    rng = np.random.default_rng(0)
    assert timing_of(np.cumsum(rng.exponential(1_000, 2_000))).regular_share < 0.6
    assert timing_of(1_000.0 * np.arange(50)).regular_share == 1


def test_samples_at_one_time_have_no_interval() -> None:
    assert measure(layout(np.zeros(5, np.intp), np.full(5, 7.0)), np.ones((5, 1))) is None
