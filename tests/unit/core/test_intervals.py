"""Intervals of rates and shares: published values, ends, and nothing to count."""

import math

import pytest

from stream_detector.core.intervals import rate_interval, share_interval


@pytest.mark.parametrize(
    ("n", "low", "high"),
    [(0, 0.0, 3.689), (1, 0.0253, 5.572), (10, 4.795, 18.390), (100, 81.36, 121.63)],
)
def test_a_rate_has_the_exact_poisson_interval(n: int, low: float, high: float) -> None:
    assert rate_interval(n, 1.0) == pytest.approx((n, low, high), rel=1e-3)
    assert rate_interval(n, 2.0) == pytest.approx((n / 2, low / 2, high / 2), rel=1e-3)


@pytest.mark.parametrize(
    ("n", "n_all", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (9, 10, 0.5958, 0.9821)],
)
def test_a_share_has_wilsons_interval(n: int, n_all: int, low: float, high: float) -> None:
    assert share_interval(n, n_all) == pytest.approx((n / n_all, low, high), abs=1e-3)


def test_a_share_of_all_is_up_to_exactly_1_and_of_none_down_to_0() -> None:
    for n in range(1, 100):
        assert (share_interval(n, n).high, share_interval(0, n).low) == (1, 0)


def test_without_anything_to_count_in_nothing_is_known() -> None:
    assert all(map(math.isnan, rate_interval(0, 0.0)))
    assert all(map(math.isnan, share_interval(0, 0)))
