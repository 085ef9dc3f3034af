"""Features that count from the mean of their own window."""

import numpy as np
import pytest

from stream_detector.core.scoring.relative import Relative
from stream_detector.core.scoring.scaling import fit_scaler, fit_scaler_by_parts, robust_spread

RANDOM = np.random.default_rng(3)
RELATIVE = Relative(np.array([False, True, True]), np.array([False, True, False]))
WINDOWS = RANDOM.normal(size=(40, 12, 3)).astype(np.float32)
WINDOWS[..., 1] = np.abs(WINDOWS[..., 1]).cumsum(axis=1)
WINDOWS[5, 7:, 1] -= WINDOWS[5, 7, 1]  # starts again
LEVELS = np.array([0.0, 4_096.0, 1_024.0], np.float32)


def test_a_level_of_a_relative_feature_is_taken_away() -> None:
    counted = RELATIVE.counted(WINDOWS)
    assert counted.dtype == np.float32
    assert np.array_equal(counted[..., 0], WINDOWS[..., 0])
    assert np.abs(counted[..., 1:].mean(axis=1)).max() < 1e-6
    assert RELATIVE.counted(WINDOWS + LEVELS) == pytest.approx(counted, abs=1e-3)


def test_a_counter_that_starts_again_goes_on_and_others_fall() -> None:
    window = np.array([[[5, 5, 5], [8, 8, 8], [0, 0, 0], [1, 1, 1], [0, 0, 0]]], np.float32)
    assert RELATIVE.without_restarts(window)[0].T.tolist() == [
        [5, 8, 0, 1, 0],
        [5, 8, 8, 9, 9],
        [5, 8, 0, 1, 0],
    ]


@pytest.mark.parametrize("n_windows", [1, 2, 7])
def test_a_window_is_counted_alike_in_any_batch(n_windows: int) -> None:
    whole = RELATIVE.counted(WINDOWS)
    parts = [
        RELATIVE.counted(WINDOWS[start : start + n_windows])
        for start in range(0, len(WINDOWS), n_windows)
    ]
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("kind", ["none", "min-max", "standard", "robust"])
def test_a_scale_is_that_of_moves_and_values_come_back_where_they_were(kind: str) -> None:
    high = WINDOWS + LEVELS * RANDOM.integers(0, 1_000, (40, 1, 1)).astype(np.float32)
    scaler = fit_scaler(kind, WINDOWS, RELATIVE)
    assert scaler.scale == pytest.approx(fit_scaler(kind, high, RELATIVE).scale, rel=0.05)
    if kind != "none":
        assert fit_scaler(kind, high).scale[1] < 1e-3 * scaler.scale[1]
    back = scaler.inverse(scaler.transform(high), high)
    assert back == pytest.approx(high.astype(np.float64), rel=1e-6, abs=1e-4)
    relative = scaler.inverse(scaler.transform(high))
    assert np.abs(relative[..., 1:].mean(axis=1)).max() < 1e-3


@pytest.mark.parametrize("kind", ["min-max", "standard"])
def test_a_scale_fitted_by_parts_is_the_same(kind: str) -> None:
    parts = fit_scaler_by_parts(kind, [WINDOWS[:9], WINDOWS[9:]], RELATIVE)
    whole = fit_scaler(kind, WINDOWS, RELATIVE)
    assert parts.relative is whole.relative is RELATIVE
    assert parts.offset == pytest.approx(whole.offset, abs=1e-6)
    assert parts.scale == pytest.approx(whole.scale, rel=1e-6)


def test_a_spread_from_blocks_does_not_see_a_trend() -> None:
    noise = RANDOM.normal(size=6_000)
    trend = noise + 0.01 * np.arange(6_000)
    assert robust_spread(trend)[1] > 10
    assert robust_spread(trend, 60)[1] == pytest.approx(1.0, abs=0.05)
    assert robust_spread(np.array([1.0, 3.0, 901.0, 903.0, 7e9]), 2) == (901.0, 1.4826)
    assert robust_spread(np.array([1.0, 3.0]), 60) == (2.0, 1.4826)
