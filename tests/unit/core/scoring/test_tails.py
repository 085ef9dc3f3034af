"""Tails: clusters and time as counted, levels that were seen, extrapolation, few clusters."""

import math

import numpy as np
import pytest

from stream_detector.core.intervals import rate_interval
from stream_detector.core.scoring.tails import (
    DAY_MS,
    CalibrationScores,
    Tail,
    covered_ms,
    fit_tail,
)

MINUTE_MS = 60_000.0


def calibration(scores: list[float], series: list[int] | None = None) -> CalibrationScores:
    """Return scores a minute apart that stand for a day."""
    return CalibrationScores(
        np.array(scores),
        np.array(series or [0] * len(scores), dtype=np.intp),
        np.arange(len(scores), dtype=np.float64) * MINUTE_MS,
        DAY_MS,
    )


def tail(peaks: list[float], *, scale: float = 1.0, shape: float = 0.0, days: float = 1.0) -> Tail:
    return Tail(0.0, scale, shape, days, np.array(peaks))


class TestCoveredTime:
    def test_each_window_stands_for_the_time_since_the_one_before(self) -> None:
        end_ms = np.array([0.0, 10.0, 25.0, 35.0])
        assert covered_ms(np.zeros(4, np.intp), end_ms, 10.0) == 10 + 10 + 15 + 10

    @pytest.mark.parametrize(("gap_ms", "covered"), [(30.0, 10 + 30.0), (30.1, 10 + 10.0)])
    def test_a_gap_of_more_than_three_strides_does_not_count(
        self, gap_ms: float, covered: float
    ) -> None:
        assert covered_ms(np.zeros(2, np.intp), np.array([0.0, gap_ms]), 10.0) == covered

    def test_series_count_on_their_own_in_any_order(self) -> None:
        series = np.array([1, 0, 1, 0], np.intp)
        end_ms = np.array([0.0, 5.0, 10.0, 17.0])
        assert covered_ms(series, end_ms, 10.0) == (10 + 10) + (10 + 12)

    def test_no_windows_cover_nothing(self) -> None:
        assert covered_ms(np.empty(0, np.intp), np.empty(0), 10.0) == 0.0


class TestClusters:
    # The base is the median, 1: "higher" takes the upper one of two.
    def test_neighbours_are_one_cluster_with_the_highest_peak(self) -> None:
        scores = [1.0, 3.0, 5.0, 2.0, 1.0, 1.0, 4.0, 1.0, 1.0, 1.0]
        found = fit_tail(calibration(scores), MINUTE_MS, base_quantile=0.5)
        assert found.base == 1.0
        assert found.peaks.tolist() == [5.0, 4.0]
        assert found.n_clusters == 2
        assert found.rate_per_day == 2.0

    @pytest.mark.parametrize(("gap_ms", "n_clusters"), [(2 * MINUTE_MS, 1), (119_999.0, 2)])
    def test_a_cluster_ends_after_the_gap(self, gap_ms: float, n_clusters: int) -> None:
        scores = [1.0, 5.0, 1.0, 4.0, 1.0, 1.0]
        assert fit_tail(calibration(scores), gap_ms, base_quantile=0.5).n_clusters == n_clusters

    def test_a_score_at_the_base_is_in_no_cluster(self) -> None:
        assert fit_tail(calibration([1.0, 2.0, 2.0]), 0.0, base_quantile=0.5).n_clusters == 0

    def test_series_have_clusters_of_their_own(self) -> None:
        scores, series = [1.0, 1.0, 5.0, 4.0, 1.0, 1.0], [0, 1, 0, 1, 0, 1]
        found = fit_tail(calibration(scores, series), 1e9, base_quantile=0.5)
        assert found.peaks.tolist() == [5.0, 4.0]


PEAKS = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0]


class TestLevels:
    def test_rates_that_were_seen_have_the_level_of_a_peak(self) -> None:
        found = tail(PEAKS, days=2.0)
        assert found.threshold(1.5) == 7.0
        assert found.threshold(2.0) == 6.0
        assert found.threshold(4.0) == found.threshold(100.0) == found.base

    @pytest.mark.parametrize(("rate", "is_rare"), [(1.5, False), (1.49, True)])
    def test_three_clusters_were_seen(self, rate: float, is_rare: bool) -> None:
        assert tail(PEAKS, days=2.0).is_extrapolated(rate) == is_rare

    def test_the_tail_begins_no_lower_than_what_was_seen(self) -> None:
        found = tail(PEAKS, days=2.0)  # exponential: 8 clusters to 3 are one scale
        assert found.threshold(1.5 / math.e) == pytest.approx(7.0 + 1.0)

    def test_a_tail_above_what_was_seen_stays_there(self) -> None:
        found = tail(PEAKS, scale=10.0, days=2.0)
        assert found.threshold(1.0) == pytest.approx(10.0 * math.log(4))
        assert found.rate_above(7.5) == 1.5  # between the two, the rate that was seen
        assert found.rate_above(10.0 * math.log(4)) == pytest.approx(1.0)

    def test_a_heavier_tail_has_higher_levels(self) -> None:
        found = tail([1.0], shape=0.5)
        assert found.threshold(0.01) == pytest.approx((100**0.5 - 1) / 0.5)
        assert found.rate_above(18.0) == pytest.approx(0.01)

    def test_levels_up_to_the_base_have_its_rate(self) -> None:
        assert tail(PEAKS).rate_above(-1.0) == tail(PEAKS).rate_above(0.0) == 8.0

    @pytest.mark.parametrize("rate", [0.0, -1.0, math.nan])
    def test_a_rate_is_above_zero(self, rate: float) -> None:
        with pytest.raises(ValueError, match="expected a rate above 0"):
            tail(PEAKS).threshold(rate)

    def test_the_interval_counts_peaks_above(self) -> None:
        assert tail(PEAKS, days=2.0).rate_interval(7.0) == rate_interval(2, 2.0)


class TestFit:
    @pytest.mark.parametrize("shape", [0.0, 0.25])
    def test_scale_and_shape_are_found_again(self, shape: float) -> None:
        n_windows = 400_000
        survival = np.random.default_rng(0).random(n_windows)
        excess = -np.log(survival) if not shape else (survival**-shape - 1) / shape
        found = fit_tail(calibration(excess.tolist()), 0.0, base_quantile=0.9)
        assert found.shape == pytest.approx(shape, abs=0.03)
        assert found.scale == pytest.approx(1 + shape * found.base, rel=0.05)

    def test_a_lighter_tail_than_exponential_is_taken_for_exponential(self) -> None:
        scores = np.random.default_rng(0).random(10_000)
        found = fit_tail(calibration(scores.tolist()), 0.0)
        assert found.shape == 0.0
        assert found.scale == pytest.approx((found.peaks - found.base).mean())

    def test_a_very_heavy_tail_has_the_largest_shape(self) -> None:
        scores = np.random.default_rng(0).random(10_000) ** -2.0
        assert fit_tail(calibration(scores.tolist()), 0.0).shape == 0.5

    def test_equal_peaks_have_no_shape(self) -> None:
        scores = [0.0, 1.0, 0.3] * 20
        found = fit_tail(calibration(scores), 0.0, base_quantile=0.5)
        assert found.n_clusters == 20
        assert found.scale == pytest.approx(0.7)
        assert found.shape == 0.0

    @pytest.mark.parametrize(
        ("n_high", "scale"),
        [(0, 2.0), (1, 5.0 + 2.0), (2, (10.0 + 2.0) / 2), (9, (45.0 + 2.0) / 9), (10, 5.0)],
    )
    def test_of_few_clusters_one_more_is_added(self, n_high: int, scale: float) -> None:
        # Median 1, base 3, peaks at 8: ends are far apart, so each is a cluster.
        n_windows = 1000
        scores = [1.0] * 600 + [3.0] * (400 - n_high) + [8.0] * n_high
        found = fit_tail(calibration(scores[:n_windows]), -1.0, base_quantile=0.7)
        assert found.n_clusters == n_high
        assert found.base == 3.0
        assert found.scale == pytest.approx(scale)
        assert found.shape == 0.0

    def test_scores_that_never_vary_have_finite_levels(self) -> None:
        found = fit_tail(calibration([2.0] * 50), 0.0)
        assert found.base == 2.0
        assert 2.0 < found.threshold(0.01) < 2.0 + 1e-6
        assert found.rate_above(3.0) == 0.0

    @pytest.mark.parametrize("scores", [[], [math.nan], [math.inf]])
    def test_scores_are_finite_and_some(self, scores: list[float]) -> None:
        with pytest.raises(ValueError, match="finite scores of at least one window"):
            fit_tail(calibration(scores), 0.0)

    def test_scores_cover_some_time(self) -> None:
        none = CalibrationScores(np.ones(3), np.zeros(3, np.intp), np.zeros(3), 0.0)
        with pytest.raises(ValueError, match=r"cover some time, received .* over 0.0 ms"):
            fit_tail(none, 0.0)
