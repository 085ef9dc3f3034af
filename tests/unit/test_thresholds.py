"""Thresholds: exact values, a floor above zero, and refusals that name the mistake."""

from typing import Any

import numpy as np
import pytest

from stream_detector.core.thresholds import THRESHOLD_MIN, fit_threshold

ERRORS = np.array([1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize(("n_sigma", "threshold"), [(0, 2.5), (1, 2.5 + 1.25**0.5)])
def test_sigma_is_mean_plus_population_deviations(n_sigma: float, threshold: float) -> None:
    assert fit_threshold(ERRORS, "sigma", n_sigma=n_sigma) == threshold


@pytest.mark.parametrize(("quantile", "threshold"), [(0.01, 2), (0.5, 3), (0.67, 4), (0.99, 4)])
def test_a_quantile_is_an_error_that_was_seen(quantile: float, threshold: float) -> None:
    assert fit_threshold(ERRORS, "quantile", quantile=quantile) == threshold


@pytest.mark.parametrize("options", [{"n_sigma": 3.0}, {"quantile": 0.99}])
def test_errors_of_zero_give_the_floor(options: dict[str, float]) -> None:
    method: Any = "sigma" if "n_sigma" in options else "quantile"
    assert fit_threshold(np.zeros(5), method, **options) == THRESHOLD_MIN > 0


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
        ("median", {"n_sigma": 1.0, "quantile": 0.5}),
    ],
)
def test_a_method_without_its_parameter_is_refused(method: Any, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected method sigma with n_sigma or quantile"):
        fit_threshold(ERRORS, method, **options)
