"""Features that count by their logarithm."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.core.features import Counting
from stream_detector.core.scoring.logarithmic import (
    Logarithmic,
    fit_logarithmic,
    usual_level,
    varies_by_factors,
    vary_by_factors,
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


AMOUNTS = RANDOM.normal(size=2_000)
FACTORS = 50 * np.exp(0.5 * AMOUNTS)


def with_ends(low: float, high: float, n: int = 1_001) -> NDArray[np.float64]:
    """Return values whose median is 1 and of which more than a fiftieth are at either end."""
    values = np.ones(n)
    n_ends = n // 40
    values[:n_ends], values[-n_ends:] = low, high
    return values


def test_what_varies_by_factors_is_told_from_amounts() -> None:
    assert varies_by_factors(FACTORS)
    assert varies_by_factors(np.append(FACTORS, [np.nan, np.inf, 0.0]))
    assert not varies_by_factors(50 + AMOUNTS)
    assert not varies_by_factors(np.abs(AMOUNTS))
    assert not varies_by_factors(np.repeat([1.0, 100.0], 500))
    assert not varies_by_factors(np.full(500, 3.0))
    assert not varies_by_factors(np.append(np.zeros(3_000), FACTORS))


def test_what_was_ever_below_zero_has_no_logarithm() -> None:
    assert varies_by_factors(np.append(FACTORS, 0.0))
    assert not varies_by_factors(np.append(FACTORS, -0.001))


@pytest.mark.parametrize(("n_values", "is_found"), [(99, False), (100, True)])
def test_a_hundred_values_are_needed(n_values: int, is_found: bool) -> None:
    assert varies_by_factors(np.exp(np.linspace(-2, 2, n_values))) is is_found


@pytest.mark.parametrize(("factor", "is_found"), [(1.84, False), (1.88, True)])
def test_the_ends_are_a_factor_away(factor: float, is_found: bool) -> None:
    # (factor + 1 / factor - 2) / (factor - 1 / factor) is 0.3 at 1.857.
    assert varies_by_factors(with_ends(1 / factor, factor)) is is_found


@pytest.mark.parametrize(
    ("low", "is_found"), [(0.24, False), (0.25, True), (0.46, True), (0.47, False)]
)
def test_logarithms_are_about_symmetric(low: float, is_found: bool) -> None:
    assert varies_by_factors(with_ends(low, 2.8)) is is_found


def test_more_than_half_of_the_series_decide() -> None:
    both = np.column_stack([FACTORS, 50 + AMOUNTS])
    neither = both[:, [1, 1]]
    names = ["a", "b"]
    assert vary_by_factors(names, [both]).tolist() == [True, False]
    assert vary_by_factors(names, [both, neither]).tolist() == [False, False]
    assert vary_by_factors(names, [both, both, neither]).tolist() == [True, False]


@pytest.mark.parametrize(
    ("name", "is_temperature"),
    [
        *[(each, True) for each in ("temp", "T_Temp_2", "oil temperature", "dew point")],
        *[(each, True) for each in ("panelTemp", "Outside Temperatures", "heat_celsius")],
        *[(each, False) for each in ("attempts", "template", "contemporary", "t", "dewatering")],
    ],
)
def test_a_temperature_does_not_vary_by_factors(name: str, is_temperature: bool) -> None:
    assert vary_by_factors([name], [FACTORS[:, np.newaxis]]).tolist() == [not is_temperature]
