"""Thresholds: exact values, a floor above zero, and refusals that name the mistake."""

from dataclasses import replace

import numpy as np
import pytest

from stream_detector.core.scoring.tails import DAY_MS, CalibrationScores
from stream_detector.core.scoring.thresholds import (
    THRESHOLD_MIN,
    FalseAlarmShareThreshold,
    FalseAlarmsPerDayThreshold,
    FBetaThreshold,
    LogMadThreshold,
    QuantileThreshold,
    SigmaThreshold,
    ThresholdMethod,
)
from stream_detector.errors import ConfigError

plain = CalibrationScores.without_times

ERRORS = np.array([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(("n_sigma", "threshold"), [(0, 2.5), (1, 2.5 + 1.25**0.5)])
def test_sigma_is_mean_plus_population_deviations(n_sigma: float, threshold: float) -> None:
    assert SigmaThreshold(n_sigma).fit(plain(ERRORS)) == threshold


@pytest.mark.parametrize(("quantile", "threshold"), [(0.01, 2), (0.5, 3), (0.67, 4), (0.99, 4)])
def test_a_quantile_is_an_error_that_was_seen(quantile: float, threshold: float) -> None:
    assert QuantileThreshold(quantile).fit(plain(ERRORS)) == threshold


@pytest.mark.parametrize("n_mad", [0.0, 1.0, 5.0])
def test_log_mad_is_in_deviations_of_the_logarithm(n_mad: float) -> None:
    errors = np.exp([1.0, 2.0, 3.0, 4.0, 50.0])
    expected = np.exp(3.0 + n_mad * 1.4826 * 1.0)
    assert LogMadThreshold(n_mad).fit(plain(errors)) == pytest.approx(expected)


def test_a_few_odd_windows_do_not_move_log_mad() -> None:
    errors = np.random.default_rng(0).lognormal(0.0, 0.5, 1000)
    threshold = LogMadThreshold(5.0).fit(plain(errors))
    assert threshold == pytest.approx(np.exp(5.0 * 0.5), rel=0.25)
    odd = np.concatenate([errors, np.full(20, 1e6)])
    assert LogMadThreshold(5.0).fit(plain(odd)) == pytest.approx(threshold, rel=0.2)


def test_some_errors_of_zero_do_not_break_log_mad() -> None:
    errors = np.array([0.0, 1.0, 2.0, 4.0, 8.0])
    assert LogMadThreshold(0.0).fit(plain(errors)) == pytest.approx(2.0)


METHODS = [
    SigmaThreshold(3.0),
    QuantileThreshold(0.99),
    LogMadThreshold(5),
    FalseAlarmShareThreshold(0.7),
    FBetaThreshold(1.0),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_errors_of_zero_give_the_floor(method: ThresholdMethod) -> None:
    threshold = method.fit(plain(np.zeros(5)))
    assert threshold == pytest.approx(THRESHOLD_MIN)
    assert threshold >= THRESHOLD_MIN > 0


def test_one_error_is_enough() -> None:
    assert SigmaThreshold(4.0).fit(plain(np.array([0.25]))) == 0.25


@pytest.mark.parametrize("errors", [[], [1.0, np.nan], [np.inf]])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_errors_that_are_not_numbers_are_refused(
    method: ThresholdMethod, errors: list[float]
) -> None:
    with pytest.raises(ValueError, match="finite scores of at least one window"):
        method.fit(plain(np.array(errors)))


def test_each_method_gives_the_bits_of_its_formula() -> None:
    errors = np.random.default_rng(0).lognormal(0.0, 0.5, 1000)
    logs = np.log(errors)
    spread = np.median(np.abs(logs - np.median(logs)))
    assert SigmaThreshold(3.0).fit(plain(errors)) == errors.mean() + 3.0 * errors.std()
    assert QuantileThreshold(0.98).fit(plain(errors)) == np.sort(errors)[980]
    assert LogMadThreshold(4.25).fit(plain(errors)) == np.exp(
        np.median(logs) + 4.25 * 1.4826 * spread
    )


@pytest.mark.parametrize(
    ("method", "n_windows"),
    [
        (QuantileThreshold(0.5), 10),
        (QuantileThreshold(0.9), 10),
        (QuantileThreshold(0.91), 12),
        (QuantileThreshold(0.95), 20),
        (QuantileThreshold(0.99), 100),
        (QuantileThreshold(0.995), 200),
        (QuantileThreshold(0.999), 1_000),
        (SigmaThreshold(3.0), 30),
        (LogMadThreshold(5.0), 30),
        (FalseAlarmShareThreshold(0.01), 300),
        (FalseAlarmShareThreshold(0.5), 10),
        (FalseAlarmsPerDayThreshold(0.2), 500),
        (FBetaThreshold(1.0), 30),
    ],
)
def test_a_method_says_how_many_windows_it_wants(method: ThresholdMethod, n_windows: int) -> None:
    assert method.n_windows_wanted == n_windows


@pytest.mark.parametrize("quantile", [0.9, 0.95, 0.99, 0.995])
def test_with_as_many_windows_as_wanted_one_is_above_the_quantile(quantile: float) -> None:
    method = QuantileThreshold(quantile)
    scores = np.arange(1.0, method.n_windows_wanted + 2)
    assert method.fit(plain(scores)) < scores[-1]
    assert method.fit(plain(scores[: method.n_windows_wanted // 2])) == method.n_windows_wanted // 2


def overlapping(scores: list[float], new_share: float = 1.0) -> CalibrationScores:
    """Return scores a minute apart that stand for a day."""
    end_ms = np.arange(len(scores), dtype=np.float64) * 60_000
    series = np.zeros(len(scores), np.intp)
    return CalibrationScores(np.array(scores), series, end_ms, DAY_MS, 60_000.0, new_share)


@pytest.mark.parametrize(
    ("method", "stated", "states_share"),
    [
        (SigmaThreshold(3.0), None, False),
        (LogMadThreshold(5.0), None, False),
        (FBetaThreshold(1.0), None, False),
        (QuantileThreshold(0.75), 0.25, True),
        (FalseAlarmShareThreshold(0.01), 0.01, True),
        (FalseAlarmsPerDayThreshold(0.2), 0.2, False),
    ],
)
def test_a_method_says_what_it_states(
    method: ThresholdMethod, stated: float | None, states_share: bool
) -> None:
    assert (method.stated, method.states_share) == (stated, states_share)
    assert method.wants_anomalous == isinstance(method, FBetaThreshold)


class TestShare:
    # Rank (n + 1)(1 - share), rounded up.
    @pytest.mark.parametrize(
        ("n_windows", "share", "rank"), [(99, 0.1, 90), (100, 0.1, 91), (30, 0.1, 28), (4, 0.75, 2)]
    )
    def test_the_rank_is_corrected_for_the_number_of_windows(
        self, n_windows: int, share: float, rank: int
    ) -> None:
        scores = np.random.default_rng(0).permutation(np.arange(1.0, n_windows + 1))
        assert FalseAlarmShareThreshold(share).fit(plain(scores)) == rank

    def test_a_later_window_exceeds_it_no_more_often_than_stated(self) -> None:
        rng, n_above = np.random.default_rng(0), 0
        for _ in range(4000):
            scores = rng.random(45)
            n_above += scores[-1] > FalseAlarmShareThreshold(0.1).fit(plain(scores[:-1]))
        assert n_above / 4000 == pytest.approx(4 / 45, abs=0.015)

    @pytest.mark.parametrize("new_share", [1.0, 0.1])
    def test_below_three_windows_in_all_it_is_refused(self, new_share: float) -> None:
        n_windows = round(300 / new_share)
        enough = overlapping(list(range(n_windows)), new_share)
        assert FalseAlarmShareThreshold(0.01).fit(enough) > 0
        few = overlapping(list(range(n_windows - 1)), new_share)
        with pytest.raises(ConfigError) as caught:
            FalseAlarmShareThreshold(0.01).fit(few)
        message = str(caught.value)
        assert f"with {n_windows - 1} normal windows to calibrate on" in message
        assert ("which overlap and count as 300" in message) == (new_share < 1)
        assert f"received 0.01; calibrate on {n_windows} windows" in message
        assert "threshold.method = 'false_alarms_per_day'" in message

    def test_whole_windows_are_not_told_to_count_by_the_day(self) -> None:
        with pytest.raises(ConfigError, match=r"expected at least 0\.3 with 10 normal") as caught:
            FalseAlarmShareThreshold(0.01).fit(plain(np.ones(10)))
        assert "a larger share" in str(caught.value)
        assert "overlap" not in str(caught.value)
        assert "per_day" not in str(caught.value)

    def test_windows_that_overlap_give_a_level_no_lower(self) -> None:
        scores = [float(each) for each in range(1, 1001)]
        one, other = (
            FalseAlarmShareThreshold(0.1).fit(overlapping(scores, each)) for each in (1.0, 0.05)
        )
        assert (one, other) == (901, 918)


class TestPerDay:
    def test_the_level_of_a_rate_that_was_seen_is_a_peak(self) -> None:
        scores = [1.0] * 1000
        for at, peak in ((100, 9.0), (300, 8.0), (500, 7.0), (700, 6.0), (900, 5.0)):
            scores[at] = peak
        assert FalseAlarmsPerDayThreshold(3.0).fit(overlapping(scores)) == 7.0
        assert FalseAlarmsPerDayThreshold(4.0).fit(overlapping(scores)) == 6.0
        assert FalseAlarmsPerDayThreshold(1.0).fit(overlapping(scores)) > 7.0

    @pytest.mark.parametrize(
        ("rate", "base"), [(18.9, 980), (19.0, 900), (98.9, 900), (500.0, 500)]
    )
    def test_for_high_rates_clusters_are_counted_over_a_lower_base(
        self, rate: float, base: float
    ) -> None:
        shuffled = np.random.default_rng(0).permutation(np.arange(1000.0))
        day = replace(overlapping(shuffled.tolist()), cluster_gap_ms=0.0)
        assert FalseAlarmsPerDayThreshold(rate).fit_tail(day).base == pytest.approx(base, abs=1.5)

    def test_alerts_that_are_one_count_once(self) -> None:
        scores = [1.0] * 1000
        for at in (100, 101, 102, 300, 500):
            scores[at] = float(at)
        joined = overlapping(scores)
        apart = replace(joined, cluster_gap_ms=59_999.0)
        assert joined.n_clusters_above(1.0) == 3
        assert apart.n_clusters_above(1.0) == 5
        level = FalseAlarmsPerDayThreshold(3.0)
        assert level.fit(joined) == 1.0 < level.fit(apart) == 102.0

    def test_scores_of_zero_give_the_floor(self) -> None:
        found = FalseAlarmsPerDayThreshold(100.0).fit(overlapping([0.0] * 100))
        assert found == THRESHOLD_MIN

    def test_windows_without_times_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="counted of windows with times only"):
            FalseAlarmsPerDayThreshold(0.2).fit(plain(np.ones(100)))

    def test_scores_that_are_not_numbers_are_refused(self) -> None:
        with pytest.raises(ValueError, match="finite scores of at least one window"):
            FalseAlarmsPerDayThreshold(0.2).fit(overlapping([1.0, np.nan]))


class TestFBeta:
    @staticmethod
    def fit(beta: float, normal: list[float], anomalous: list[float]) -> float:
        return FBetaThreshold(beta).fit(plain(np.array(normal), np.array(anomalous)))

    def test_between_two_parts_that_do_not_mix_it_is_in_the_middle(self) -> None:
        assert self.fit(1.0, [1.0, 2.0], [6.0, 7.0]) == 4.0

    def test_beta_weighs_recall(self) -> None:
        normal, anomalous = [1.0, 2.0, 4.0, 5.0], [3.0, 6.0]
        assert self.fit(0.5, normal, anomalous) == 5.5  # precision 1, recall 1/2
        assert self.fit(2.0, normal, anomalous) == 2.5  # precision 1/2, recall 1

    def test_of_equal_values_the_highest_is_taken(self) -> None:
        # With beta 1: above 1.5, 2 hits and 2 false, 4/6; above 3.5, 1 hit and none false, 2/3.
        assert self.fit(1.0, [1.0, 2.5, 3.0], [2.0, 4.0]) == 3.5

    def test_without_anomalous_windows_none_of_the_normal_is_above(self) -> None:
        assert self.fit(1.0, [3.0, 1.0, 2.0], []) == 3.0

    def test_where_nothing_separates_nothing_is_above(self) -> None:
        assert self.fit(1.0, [2.0, 2.0], [2.0]) == 2.0
