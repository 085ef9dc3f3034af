"""Where in time the fault of an alert is, from the scores of its windows."""

import numpy as np
import pytest

from stream_detector.core.alerting.put_back import ADDED_MAX, N_BINS_MAX, PutBackScores

NEVER = (10**9, 10**9)
"""The worst span of no window: only the sums decide."""


def put_back(
    windows: list[tuple[int, int, float]], interval_ms: float = 1.0, start_ms: int = 0
) -> PutBackScores:
    scores = PutBackScores.empty(start_ms, windows[0][1], interval_ms)
    for start, end, score in windows:
        scores = scores.add(start, end, score)
    return scores


def test_the_span_is_where_the_sum_is_at_least_half_of_its_largest() -> None:
    windows = [(0, 3, 2.0), (2, 5, 2.0), (4, 7, 2.0), (6, 9, 2.0), (8, 11, 1.0)]
    scores = put_back(windows)
    assert scores.sums == (2, 2, 4, 4, 4, 4, 4, 4, 3, 3, 1, 1)
    assert scores.span_ms(NEVER) == (0, 9)
    assert put_back([*windows, (2, 7, 0.1)]).span_ms(NEVER) == (2, 9)


def test_a_window_far_from_normal_does_not_outvote_the_others() -> None:
    scores = put_back([(0, 3, 1_000.0), (4, 7, ADDED_MAX / 2), (8, 11, 0.99)])
    assert scores.sums == (2.0,) * 4 + (1.0,) * 4 + (0.99,) * 4
    assert scores.span_ms(NEVER) == (0, 7)


def test_while_the_anomalous_windows_have_a_time_in_common_the_worst_one_says_where() -> None:
    shared = put_back([(0, 9, 2.0), (5, 14, 2.0), (9, 18, 2.0), (30, 39, 1.0)])
    assert (shared.shared_start_ms, shared.shared_end_ms) == (9, 9)
    assert shared.span_ms((9, 9)) == (9, 9)
    assert shared.span_ms((3, 9)) == (3, 9)
    assert shared.span_ms((9, 12)) == (9, 12)
    by_sums = shared.span_ms(NEVER)
    assert shared.span_ms((3, 8)) == shared.span_ms((10, 12)) == by_sums == (5, 14)
    apart = put_back([(0, 9, 2.0), (5, 14, 2.0), (10, 19, 2.0)])
    assert apart.span_ms((9, 9)) == apart.span_ms((10, 10)) == (0, 19)


def test_a_normal_window_does_not_end_what_the_anomalous_ones_have_in_common() -> None:
    scores = put_back([(0, 9, 2.0), (20, 29, 1.0)])
    assert scores.span_ms((4, 5)) == (4, 5)
    scores = put_back([(0, 9, 2.0), (20, 29, np.nextafter(1.0, 2.0))])
    assert scores.span_ms((4, 5)) != (4, 5)


def test_two_bins_become_one_once_there_are_too_many() -> None:
    fits = put_back([(0, 9, 2.0), (N_BINS_MAX - 10, N_BINS_MAX - 1, 1.5)])
    assert (fits.n_halved, len(fits.sums)) == (0, N_BINS_MAX)
    longer = put_back([(0, 9, 2.0), (N_BINS_MAX - 9, N_BINS_MAX, 1.5)])
    assert (longer.n_halved, len(longer.sums)) == (1, N_BINS_MAX // 2 + 1)
    assert longer.sums[:6] == (2.0,) * 5 + (0.0,)
    assert longer.sums[-5:] == (1.5,) * 5
    assert longer.span_ms(NEVER) == (0, 9)


def test_a_missing_last_bin_counts_as_nothing() -> None:
    scores = put_back([(0, 2, 2.0)]).add(2 * N_BINS_MAX - 2, 2 * N_BINS_MAX - 1, 0.5)
    assert scores.n_halved == 1
    assert scores.sums[:3] == (2.0, 1.0, 0.0)
    assert scores.span_ms(NEVER) == (0, 3)


def test_an_alert_of_days_takes_no_more_than_one_of_minutes() -> None:
    scores = put_back([(0, 59_000, 2.0)], 1_000)
    for start_ms in range(5_000, 48 * 3_600_000, 3_600_000):
        scores = scores.add(start_ms, start_ms + 59_000, 2.0)
    assert len(scores.sums) <= N_BINS_MAX
    assert scores.add(10**13, 10**13 + 59_000, 2.0).span_ms(NEVER)[0] > 0


@pytest.mark.parametrize("interval_ms", [0.0625, 1.0, 333.0, 1_000.0])
def test_the_span_lies_within_the_windows(interval_ms: float) -> None:
    scores = PutBackScores.empty(1_700_000_000_123, 1_700_000_000_123, interval_ms)
    end_ms = last = 0
    for number in range(0, 2_000, 5):
        start_ms = 1_700_000_000_123 + round(number * interval_ms)
        end_ms = start_ms + round(59 * interval_ms)
        scores = scores.add(start_ms, end_ms, 1.5)
        first, last = scores.span_ms(NEVER)
        assert 1_700_000_000_123 <= first <= last <= end_ms
    assert end_ms - last <= 59 * interval_ms + 1


def test_the_times_of_the_span_are_those_of_samples() -> None:
    scores = put_back([(1_000, 4_000, 2.0), (9_000, 12_000, 0.5)], 1_000, start_ms=1_000)
    assert scores.span_ms(NEVER) == (1_000, 4_000)
    jittered = put_back([(1_000, 4_000, 0.5), (9_499, 12_499, 2.0)], 1_000, start_ms=1_000)
    assert jittered.span_ms(NEVER) == (9_000, 12_000)
    jittered = put_back([(1_000, 4_000, 0.5), (9_500, 12_500, 2.0)], 1_000, start_ms=1_000)
    assert jittered.span_ms(NEVER) == (10_000, 12_500)
