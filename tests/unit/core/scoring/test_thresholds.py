"""Thresholds: exact values, a floor above zero, and refusals that name the mistake."""

import numpy as np
import pytest

from stream_detector.core.scoring.thresholds import (
    THRESHOLD_MIN,
    LogMadThreshold,
    QuantileThreshold,
    SigmaThreshold,
    ThresholdMethod,
)

ERRORS = np.array([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(("n_sigma", "threshold"), [(0, 2.5), (1, 2.5 + 1.25**0.5)])
def test_sigma_is_mean_plus_population_deviations(n_sigma: float, threshold: float) -> None:
    assert SigmaThreshold(n_sigma).fit(ERRORS) == threshold


@pytest.mark.parametrize(("quantile", "threshold"), [(0.01, 2), (0.5, 3), (0.67, 4), (0.99, 4)])
def test_a_quantile_is_an_error_that_was_seen(quantile: float, threshold: float) -> None:
    assert QuantileThreshold(quantile).fit(ERRORS) == threshold


@pytest.mark.parametrize("n_mad", [0.0, 1.0, 5.0])
def test_log_mad_is_in_deviations_of_the_logarithm(n_mad: float) -> None:
    errors = np.exp([1.0, 2.0, 3.0, 4.0, 50.0])
    expected = np.exp(3.0 + n_mad * 1.4826 * 1.0)
    assert LogMadThreshold(n_mad).fit(errors) == pytest.approx(expected)


def test_a_few_odd_windows_do_not_move_log_mad() -> None:
    errors = np.random.default_rng(0).lognormal(0.0, 0.5, 1000)
    threshold = LogMadThreshold(5.0).fit(errors)
    assert threshold == pytest.approx(np.exp(5.0 * 0.5), rel=0.25)
    odd = np.concatenate([errors, np.full(20, 1e6)])
    assert LogMadThreshold(5.0).fit(odd) == pytest.approx(threshold, rel=0.2)


def test_some_errors_of_zero_do_not_break_log_mad() -> None:
    errors = np.array([0.0, 1.0, 2.0, 4.0, 8.0])
    assert LogMadThreshold(0.0).fit(errors) == pytest.approx(2.0)


METHODS = [SigmaThreshold(3.0), QuantileThreshold(0.99), LogMadThreshold(5)]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_errors_of_zero_give_the_floor(method: ThresholdMethod) -> None:
    threshold = method.fit(np.zeros(5))
    assert threshold == pytest.approx(THRESHOLD_MIN)
    assert threshold >= THRESHOLD_MIN > 0


def test_one_error_is_enough() -> None:
    assert SigmaThreshold(4.0).fit(np.array([0.25])) == 0.25


@pytest.mark.parametrize("errors", [[], [1.0, np.nan], [np.inf]])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_errors_that_are_not_numbers_are_refused(
    method: ThresholdMethod, errors: list[float]
) -> None:
    with pytest.raises(ValueError, match="finite scores of at least one window"):
        method.fit(np.array(errors))


def test_each_method_gives_the_bits_of_its_formula() -> None:
    errors = np.random.default_rng(0).lognormal(0.0, 0.5, 1000)
    logs = np.log(errors)
    spread = np.median(np.abs(logs - np.median(logs)))
    assert SigmaThreshold(3.0).fit(errors) == errors.mean() + 3.0 * errors.std()
    assert QuantileThreshold(0.98).fit(errors) == np.sort(errors)[980]
    assert LogMadThreshold(4.25).fit(errors) == np.exp(np.median(logs) + 4.25 * 1.4826 * spread)


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
    ],
)
def test_a_method_says_how_many_windows_it_wants(method: ThresholdMethod, n_windows: int) -> None:
    assert method.n_windows_wanted == n_windows


@pytest.mark.parametrize("quantile", [0.9, 0.95, 0.99, 0.995])
def test_with_as_many_windows_as_wanted_one_is_above_the_quantile(quantile: float) -> None:
    method = QuantileThreshold(quantile)
    scores = np.arange(1.0, method.n_windows_wanted + 2)
    assert method.fit(scores) < scores[-1]
    assert method.fit(scores[: method.n_windows_wanted // 2]) == method.n_windows_wanted // 2
