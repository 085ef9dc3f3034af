"""Thresholds: exact values, a floor above zero, and refusals that name the mistake."""

from typing import Any

import numpy as np
import pytest

from stream_detector.core.scoring.thresholds import THRESHOLD_MIN, fit_threshold, hold_out_blocks

ERRORS = np.array([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(("n_sigma", "threshold"), [(0, 2.5), (1, 2.5 + 1.25**0.5)])
def test_sigma_is_mean_plus_population_deviations(n_sigma: float, threshold: float) -> None:
    assert fit_threshold(ERRORS, "sigma", n_sigma=n_sigma) == threshold


@pytest.mark.parametrize(("quantile", "threshold"), [(0.01, 2), (0.5, 3), (0.67, 4), (0.99, 4)])
def test_a_quantile_is_an_error_that_was_seen(quantile: float, threshold: float) -> None:
    assert fit_threshold(ERRORS, "quantile", quantile=quantile) == threshold


@pytest.mark.parametrize("n_mad", [0.0, 1.0, 5.0])
def test_log_mad_is_in_deviations_of_the_logarithm(n_mad: float) -> None:
    errors = np.exp([1.0, 2.0, 3.0, 4.0, 50.0])
    expected = np.exp(3.0 + n_mad * 1.4826 * 1.0)
    assert fit_threshold(errors, "log-mad", n_mad=n_mad) == pytest.approx(expected)


def test_a_few_odd_windows_do_not_move_log_mad() -> None:
    errors = np.random.default_rng(0).lognormal(0.0, 0.5, 1000)
    threshold = fit_threshold(errors, "log-mad", n_mad=5.0)
    assert threshold == pytest.approx(np.exp(5.0 * 0.5), rel=0.25)
    odd = np.concatenate([errors, np.full(20, 1e6)])
    assert fit_threshold(odd, "log-mad", n_mad=5.0) == pytest.approx(threshold, rel=0.2)


def test_some_errors_of_zero_do_not_break_log_mad() -> None:
    errors = np.array([0.0, 1.0, 2.0, 4.0, 8.0])
    assert fit_threshold(errors, "log-mad", n_mad=0.0) == pytest.approx(2.0)


METHODS = [("sigma", {"n_sigma": 3.0}), ("quantile", {"quantile": 0.99}), ("log-mad", {"n_mad": 5})]


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_errors_of_zero_give_the_floor(method: Any, options: dict[str, float]) -> None:
    threshold = fit_threshold(np.zeros(5), method, **options)
    assert threshold == pytest.approx(THRESHOLD_MIN)
    assert threshold >= THRESHOLD_MIN > 0


def test_one_error_is_enough() -> None:
    assert fit_threshold(np.array([0.25]), "sigma", n_sigma=4.0) == 0.25


@pytest.mark.parametrize("errors", [[], [1.0, np.nan], [np.inf]])
def test_errors_that_are_not_numbers_are_refused(errors: list[float]) -> None:
    with pytest.raises(ValueError, match="finite errors of at least one window"):
        fit_threshold(np.array(errors), "sigma", n_sigma=1.0)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("sigma", {}),
        ("sigma", {"quantile": 0.5}),
        ("quantile", {"n_sigma": 1.0}),
        ("log-mad", {"n_sigma": 1.0}),
        ("median", {"n_sigma": 1.0, "quantile": 0.5, "n_mad": 1.0}),
    ],
)
def test_a_method_without_its_parameter_is_refused(method: Any, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected method sigma with n_sigma, quantile"):
        fit_threshold(ERRORS, method, **options)


def cut(n_samples: int, n_steps: int, stride: int = 1) -> tuple[Any, Any]:
    starts = np.arange(0, n_samples - n_steps + 1, stride, dtype=np.float64)
    return starts, starts + n_steps - 1


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
@pytest.mark.parametrize(("n_samples", "n_steps", "stride"), [(5000, 20, 3), (500, 20, 1)])
def test_no_sample_is_in_both_parts(
    n_samples: int, n_steps: int, stride: int, share: float
) -> None:
    starts, ends = cut(n_samples, n_steps, stride)
    rest, held_out = hold_out_blocks(np.zeros(len(starts), np.intp), starts, ends, share)
    samples = [
        {
            sample
            for row in np.flatnonzero(part)
            for sample in range(int(starts[row]), int(ends[row]) + 1)
        }
        for part in (rest, held_out)
    ]
    assert not samples[0] & samples[1]
    assert samples[0]
    assert len(samples[1]) == pytest.approx(share * n_samples, rel=0.35)


def test_held_out_blocks_are_spread_over_the_whole_time() -> None:
    starts, ends = cut(20_000, 50)
    _, held_out = hold_out_blocks(np.zeros(len(starts), np.intp), starts, ends, 0.2)
    quarters = np.array_split(held_out, 4)
    assert [quarter.mean() for quarter in quarters] == pytest.approx([0.19] * 4, abs=0.1)


def test_each_series_has_blocks_of_its_own() -> None:
    starts, ends = cut(2_000, 20)
    one = hold_out_blocks(np.zeros(len(starts), np.intp), starts, ends, 0.2)
    order = np.random.default_rng(0).permutation(2 * len(starts))
    series = np.repeat([4, 9], len(starts))[order]
    both = hold_out_blocks(
        series,
        np.concatenate([starts, starts + 1e12])[order],
        np.concatenate([ends, ends + 1e12])[order],
        0.2,
    )
    for part, alone in zip(both, one, strict=True):
        np.testing.assert_array_equal(part, np.concatenate([alone, alone])[order])


def test_too_short_a_series_has_nothing_to_hold_out() -> None:
    starts, ends = cut(30, 20)
    rest, held_out = hold_out_blocks(np.zeros(len(starts), np.intp), starts, ends, 0.2)
    assert not held_out.any()
    assert len(rest) == len(held_out) == len(starts)
