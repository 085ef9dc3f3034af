"""Moving means and maxima: each is that of its own values."""

import numpy as np
import pytest

from stream_detector.core.windowing.moving import moving_mean, trailing_max


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 20])
def test_the_trailing_maximum_is_that_of_the_last_values(n: int) -> None:
    values = np.random.default_rng(n).normal(size=(2, 15)).astype(np.float32)
    expected = [
        [row[max(at - n + 1, 0) : at + 1].max() for at in range(len(row))] for row in values
    ]
    assert (trailing_max(values, n) == np.array(expected)).all()


@pytest.mark.parametrize("n", [1, 2, 3, 7, 12, 15])
def test_a_moving_mean_is_that_of_values_in_a_row(n: int) -> None:
    values = np.random.default_rng(n).integers(-99, 99, size=(2, 15)).astype(np.float32)
    found = moving_mean(values, n)
    expected = [[row[at : at + n].astype(float).mean() for at in range(16 - n)] for row in values]
    assert found.dtype == np.float32
    assert (found == np.array(expected, np.float32)).all()


def test_a_moving_mean_has_the_same_bits_wherever_reading_starts() -> None:
    scales = 10.0 ** np.arange(-9, 9)
    values = np.random.default_rng(0).normal(size=(90, 18)).astype(np.float32) * scales
    values = values.astype(np.float32).ravel()
    for start in (1, 2, 7, 100):
        assert (moving_mean(values[start:], 29) == moving_mean(values, 29)[start:]).all()
