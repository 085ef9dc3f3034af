"""Features that count by their logarithm."""

import numpy as np
import pytest

from stream_detector.core.features import Counting
from stream_detector.core.scoring.logarithmic import (
    Logarithmic,
    fit_logarithmic,
    usual_level,
)
from stream_detector.core.scoring.scaling import (
    fit_scaler,
    fit_scaler_by_parts,
    level_and_spread,
)

RANDOM = np.random.default_rng(4)
LOG = Logarithmic(np.array([0, 5, 0], np.float32))
WINDOWS = RANDOM.normal(size=(40, 12, 3)).astype(np.float32)
WINDOWS[..., 1] = 100 * np.exp(0.6 * WINDOWS[..., 1])
FLOAT32_MAX = float(np.finfo(np.float32).max)


def test_only_features_with_a_unit_become_logarithms() -> None:
    counted = LOG.counted(WINDOWS)
    assert counted.dtype == np.float32
    assert np.array_equal(counted[..., ::2], WINDOWS[..., ::2])
    assert counted[..., 1] == pytest.approx(np.arcsinh(WINDOWS[..., 1] / 5), rel=1e-6)
    assert LOG.is_logarithmic.tolist() == [False, True, False]


def test_a_tenth_is_as_far_as_ten_times_as_much_and_nothing_is_farther() -> None:
    values = np.array([[0, each, 0] for each in (0, 10, 100, 1_000, -100)], np.float32)
    nothing, tenth, usual, tenfold, below = LOG.counted(values)[:, 1].tolist()
    assert usual - tenth == pytest.approx(tenfold - usual, rel=0.05)
    assert nothing == 0
    assert usual == -below == pytest.approx(np.log(40), abs=1e-3)


@pytest.mark.parametrize("n_windows", [1, 2, 7])
def test_a_window_is_counted_alike_in_any_batch(n_windows: int) -> None:
    whole = LOG.counted(WINDOWS)
    parts = [
        LOG.counted(WINDOWS[start : start + n_windows])
        for start in range(0, len(WINDOWS), n_windows)
    ]
    assert np.array_equal(np.concatenate(parts), whole)


def test_values_come_back_and_none_becomes_infinite() -> None:
    values = np.array([[3, 0, 1], [2, 1e-3, 1], [5, -70, 1], [1, 3e38, 1]], np.float32)
    back = LOG.as_values(LOG.counted(values).astype(np.float64))
    assert back == pytest.approx(values.astype(np.float64), rel=1e-4)
    assert LOG.as_values(np.array([1.0, 1e6, 1e6])) == pytest.approx([1.0, FLOAT32_MAX, 1e6])
    assert np.isnan(LOG.counted(np.full((1, 3), np.nan, np.float32))).all()


@pytest.mark.parametrize("kind", ["none", "min-max", "standard", "robust"])
def test_a_scale_is_that_of_logarithms(kind: str) -> None:
    scaler, plain = fit_scaler(kind, WINDOWS, None, LOG), fit_scaler(kind, WINDOWS)
    of_logarithms = fit_scaler(kind, LOG.counted(WINDOWS))
    assert scaler.logarithmic is LOG
    assert np.array_equal(scaler.offset, of_logarithms.offset)
    assert np.array_equal(scaler.scale, of_logarithms.scale)
    assert np.array_equal(scaler.scale[::2], plain.scale[::2])
    scaled = scaler.transform(WINDOWS)
    assert np.array_equal(scaled, of_logarithms.transform(LOG.counted(WINDOWS)))
    assert scaler.inverse(scaled) == pytest.approx(WINDOWS.astype(np.float64), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("kind", ["min-max", "standard"])
def test_a_scale_fitted_by_parts_is_the_same(kind: str) -> None:
    parts = fit_scaler_by_parts(kind, [WINDOWS[:9], WINDOWS[9:]], None, LOG)
    whole = fit_scaler(kind, WINDOWS, None, LOG)
    assert parts.logarithmic is LOG
    assert parts.offset == pytest.approx(whole.offset, abs=1e-6)
    assert parts.scale == pytest.approx(whole.scale, rel=1e-5)


def test_a_unit_is_a_twentieth_of_the_usual_level() -> None:
    samples = np.array([[9, 0], [9, -40], [9, 20], [9, 800]], np.float32)
    log = fit_logarithmic(samples, np.array([False, True]))
    assert log.unit.tolist() == [0, 2]
    nothing = fit_logarithmic(np.zeros((3, 1), np.float32), np.array([True]))
    assert nothing.is_logarithmic.all()
    assert np.isfinite(nothing.counted(np.ones((1, 1), np.float32))).all()


def test_zeros_do_not_make_the_usual_level() -> None:
    assert usual_level(np.array([0.0, 0.0, 0.0, 8.0])) == 8.0
    assert usual_level(np.zeros(3)) == 0.0


def test_of_a_key_a_logarithmic_feature_has_its_unit_and_no_level() -> None:
    values = np.array([10.0, 100.0, 1_000.0])
    assert level_and_spread(values, Counting(is_logarithmic=True)) == (0.0, 5.0)
    assert level_and_spread(np.zeros(3), Counting(is_logarithmic=True)) == (0.0, 0.0)
    tiny = np.full(3, 20 * float(np.finfo(np.float32).smallest_normal))
    assert level_and_spread(tiny, Counting(is_logarithmic=True))[1] > 0
    assert level_and_spread(0.99 * tiny, Counting(is_logarithmic=True))[1] == 0
    assert level_and_spread(values)[0] == 100.0
