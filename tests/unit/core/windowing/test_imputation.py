"""Missing values are filled in from their own window and feature, and never with zero."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from key_samples import RULES  # tests/support

from stream_detector.core.windowing.imputation import impute, impute_windows
from stream_detector.core.windowing.rules import MissingRule

NAN = float("nan")


def imputed(values: list[float], rule: MissingRule) -> list[float]:
    windows = np.array(values, dtype=np.float32).reshape(1, -1, 1)
    return impute(windows, rule).ravel().tolist()


@pytest.mark.parametrize(
    ("values", "held", "drawn"),
    [
        ([1, NAN, NAN, 4], [1, 1, 1, 4], [1, 2, 3, 4]),
        ([NAN, NAN, 3, 5], [3, 3, 3, 5], [3, 3, 3, 5]),
        ([1, 3, NAN, NAN], [1, 3, 3, 3], [1, 3, 3, 3]),
        ([NAN, 2, NAN, 6, NAN], [2, 2, 2, 6, 6], [2, 2, 4, 6, 6]),
        ([NAN, 7, NAN], [7, 7, 7], [7, 7, 7]),
        ([NAN, NAN], [NAN, NAN], [NAN, NAN]),
        ([NAN], [NAN], [NAN]),
        ([5, 6], [5, 6], [5, 6]),
    ],
)
def test_each_rule_fills_in_what_it_says(
    values: list[float], held: list[float], drawn: list[float]
) -> None:
    np.testing.assert_array_equal(imputed(values, "hold"), held)
    np.testing.assert_array_equal(imputed(values, "interpolate"), drawn)
    np.testing.assert_array_equal(imputed(values, "reject"), values)


def test_features_and_windows_are_filled_each_on_its_own() -> None:
    windows = np.array([[[1, NAN], [NAN, 8]], [[NAN, NAN], [3, NAN]]], dtype=np.float32)
    expected = [[[1, 8], [1, 8]], [[3, NAN], [3, NAN]]]
    np.testing.assert_array_equal(impute(windows, "interpolate"), expected)


def test_what_was_received_is_not_changed() -> None:
    windows = np.array([[[1.0], [NAN]]], dtype=np.float32)
    found = impute(windows, "hold")
    assert np.isnan(windows[0, 1, 0])
    assert (found.dtype, found.shape) == (np.dtype(np.float32), windows.shape)


def test_a_line_between_large_values_does_not_overflow() -> None:
    assert imputed([-3e38, NAN, 3e38], "interpolate")[1] == 0.0


def test_nothing_missing_costs_no_copy() -> None:
    windows = np.zeros((0, 3, 1), dtype=np.float32)
    assert impute(windows, "hold") is windows


def filled(window: list[float], **changes: Any) -> list[float]:
    rules = replace(RULES, **changes)
    found, _ = impute_windows(np.array(window, dtype=np.float32).reshape(1, -1, 1), rules)
    values: list[float] = found.ravel().tolist()
    return values


def test_a_window_without_missing_values_stays_as_it_is() -> None:
    windows = np.zeros((2, 4, 1), dtype=np.float32)
    found, shares = impute_windows(windows, RULES)
    assert found is windows
    assert shares.tolist() == [0, 0]


def test_a_window_that_misses_too_much_is_missing_throughout() -> None:
    assert filled([NAN, 1, NAN, 2]) == [1, 1, 1, 2]  # a half is not too much
    assert np.isnan(filled([NAN, 1, NAN, NAN])).all()
    assert np.isnan(filled([NAN, 1, 1, 1], missing_share_max=0.0)).all()


def test_rejecting_fills_nothing_in() -> None:
    np.testing.assert_array_equal(filled([NAN, 1, 2, 3], missing="reject"), [NAN, 1, 2, 3])
