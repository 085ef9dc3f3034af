"""Moving means and maxima: each is that of its own values."""

import numpy as np
import pytest

from stream_detector.core.windowing.moving import mean_of, running_sums, trailing_max


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 20])
def test_the_trailing_maximum_is_that_of_the_last_values(n: int) -> None:
    values = np.random.default_rng(n).normal(size=(2, 15)).astype(np.float32)
    expected = [
        [row[max(at - n + 1, 0) : at + 1].max() for at in range(len(row))] for row in values
    ]
    assert (trailing_max(values, n) == np.array(expected)).all()


@pytest.mark.parametrize("n", [1, 3, 7])
def test_a_moving_mean_is_that_of_the_values_about_its_middle(n: int) -> None:
    values = np.random.default_rng(n).integers(-99, 99, size=(2, 15)).astype(np.float32)
    sums = running_sums(values)
    assert sums.shape == (2, 16)
    found = mean_of(sums, n, 4, 6)
    expected = [
        [row[at - n // 2 : at + n // 2 + 1].astype(float).mean() for at in range(4, 10)]
        for row in values
    ]
    assert found.dtype == np.float32
    assert (found == np.array(expected, np.float32)).all()
