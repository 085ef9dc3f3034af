"""Windows that look like faults are left out of the training data of a fleet."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.core.scoring.checks import looks_of
from stream_detector.training.trimming import FAR, N_KEYS_MIN, describe_faults, find_faults

LOOKS = looks_of(("level",), 1, has_courses=False)
N_EACH = 50


def fleet(n_keys: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return numbers of windows of some keys: each has one that is farthest, by 1, on each side."""
    values = np.zeros((n_keys * N_EACH, len(LOOKS)))
    values[::N_EACH], values[1::N_EACH] = 1.0, -1.0
    return values, np.repeat(np.arange(n_keys), N_EACH)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("distance", "is_found"), [(FAR, False), (FAR + 1e-9, True)])
def test_a_window_is_a_fault_beyond_one_and_a_half_times_the_usual(
    sign: int, distance: float, is_found: bool
) -> None:
    values, series = fleet(N_KEYS_MIN)
    values[120, 2:4] = sign * distance  # looks at the slope, up and down
    assert np.flatnonzero(find_faults(LOOKS, values, series)).tolist() == [120] * is_found


def test_what_most_keys_show_is_normal() -> None:
    values, series = fleet(10)
    values[[row * N_EACH + 20 for row in range(6)]] = 5.0
    assert not find_faults(LOOKS, values, series).any()
    values[5 * N_EACH + 20] = values[4 * N_EACH + 20] = 0.0
    assert np.flatnonzero(find_faults(LOOKS, values, series)).tolist() == [20, 70, 120, 170]


def test_of_few_keys_nothing_is_left_out() -> None:
    values, series = fleet(N_KEYS_MIN - 1)
    values[120] = 100.0
    assert not find_faults(LOOKS, values, series).any()


def test_what_hardly_varies_is_no_fault_by_a_trifle() -> None:
    values, series = fleet(N_KEYS_MIN)
    values *= 0.01
    values[120] = 0.15 * FAR
    assert not find_faults(LOOKS, values, series).any()
    values[120] = 0.15 * FAR + 1e-9
    assert find_faults(LOOKS, values, series).any()


WHY = "look like faults; if they are normal, set scorer.trim = false"


def test_spans_are_named_by_key_and_time() -> None:
    start_ms = np.array([0, 5_000, 500_000, 0, 5_000, 10_000], np.int64)
    keys = ("b", "b", "b", "a", "a", "a")
    is_fault = np.array([True, True, True, False, True, False])
    text = describe_faults(is_fault, keys, start_ms, start_ms.astype(np.float64) + 59_000, WHY)
    assert text.startswith("4 of 6 training windows (66.7%) look like faults")
    assert text.index("a from 1970-01-01T00:00:05") < text.index("b from 1970-01-01T00:00:00")
    assert text.count(" from ") == 3
    assert "set scorer.trim = false" in text


def test_many_spans_are_counted() -> None:
    n_windows = 12
    start_ms = 100_000 * np.arange(n_windows, dtype=np.int64)
    text = describe_faults(
        np.ones(n_windows, np.bool_),
        ("k",) * n_windows,
        start_ms,
        start_ms.astype(np.float64) + 59_000,
        WHY,
    )
    assert text.count(" from ") == 5
    assert "and 7 more spans" in text
