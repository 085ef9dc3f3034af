"""Scalers bring training windows to their range, and never divide by nothing."""

import numpy as np
import pytest

from stream_detector.core.scoring.scaling import SCALER_KINDS, Scaler, fit_scaler, robust_spread

WINDOWS = np.array([[[0, 5], [2, 5]], [[4, 5], [10, 5]]], np.float32)


@pytest.mark.parametrize(
    ("kind", "offset", "scale"),
    [("none", [0, 0], [1, 1]), ("min-max", [0, 5], [0.1, 1]), ("standard", [4, 5], [14**-0.5, 1])],
)
def test_each_kind_is_fitted_by_feature(kind: str, offset: list[float], scale: list[float]) -> None:
    scaler = fit_scaler(kind, WINDOWS)
    assert scaler.kind == kind
    assert scaler.offset.dtype == scaler.scale.dtype == np.float32
    assert scaler.offset.tolist() == offset
    assert scaler.scale.tolist() == np.array(scale, np.float32).tolist()


def test_pixels_become_shares_of_the_brightest_whatever_the_windows_hold() -> None:
    scaler = fit_scaler("pixels", WINDOWS)
    assert scaler.transform(np.array([[[0, 255]]], np.float32)).tolist() == [[[0, 1]]]


@pytest.mark.parametrize("kind", ["none", "min-max", "standard"])
def test_a_constant_feature_stays_finite(kind: str) -> None:
    scaled = fit_scaler(kind, WINDOWS).transform(WINDOWS + np.array([0, 3], np.float32))
    assert scaled[..., 1].ravel().tolist() == [8 if kind == "none" else 3] * 4


@pytest.mark.parametrize("kind", ["none", "min-max", "standard"])
@pytest.mark.parametrize("spread", [1e-45, 1e-40, 3e-39, 1.2e-38, 3e-38])
def test_a_feature_that_hardly_changes_stays_finite(kind: str, spread: float) -> None:
    windows = np.array([[[0.0], [spread]]], dtype=np.float32)
    scaler = fit_scaler(kind, windows)
    assert np.isfinite(scaler.scale).all()
    assert np.isfinite(scaler.transform(windows)).all()


def test_the_least_spread_that_float32_can_divide_by_is_one() -> None:
    least = np.finfo(np.float32).smallest_normal
    below = np.nextafter(least, np.float32(0))
    for spread, scale in ((least, 1 / least), (below, 1)):
        windows = np.array([[[0.0], [spread]]], np.float32)
        assert fit_scaler("min-max", windows).scale.tolist() == [scale]
        values = 2 * np.float64(spread) * np.array([1, -1, 0, 0, 0, 0, 0, 0])  # of that deviation
        assert robust_spread(values) == (0, spread if spread == least else 0)


def test_transform_makes_a_new_float32_array() -> None:
    before = WINDOWS.copy()
    scaled = fit_scaler("min-max", WINDOWS).transform(WINDOWS)
    assert scaled.dtype == np.float32
    assert scaled.flags.c_contiguous
    assert np.array_equal(before, WINDOWS)
    assert scaled[..., 0].ravel().tolist() == np.array([0, 0.2, 0.4, 1], np.float32).tolist()


def test_an_empty_batch_stays_empty() -> None:
    scaler = fit_scaler("standard", WINDOWS)
    assert scaler.transform(np.empty((0, 2, 2), np.float32)).shape == (0, 2, 2)


def test_nan_stays_nan() -> None:
    scaled = fit_scaler("min-max", WINDOWS).transform(np.full((1, 2, 2), np.nan, np.float32))
    assert np.isnan(scaled).all()


def test_large_signals_do_not_overflow_while_fitting() -> None:
    windows = np.array([[[-3e38], [3e38]]], np.float32)
    scaler = fit_scaler("min-max", windows)
    assert np.isfinite(scaler.offset).all()
    assert scaler.scale[0] > 0


@pytest.mark.parametrize(
    ("kind", "windows", "words"),
    [
        ("other", WINDOWS, "none, min-max, standard, pixels, robust, received 'other'"),
        ("min-max", WINDOWS[:0], r"received shape \(0, 2, 2\)"),
    ],
)
def test_a_caller_s_mistake_is_named(kind: str, windows: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit_scaler(kind, windows)


@pytest.mark.parametrize("kind", SCALER_KINDS)
def test_inverse_gives_the_signal_back(kind: str) -> None:
    scaler = fit_scaler(kind, WINDOWS)
    found = scaler.inverse(scaler.transform(WINDOWS))
    assert found.dtype == np.float64
    assert found == pytest.approx(WINDOWS, rel=1e-6, abs=1e-6)
    assert scaler.inverse(scaler.transform(WINDOWS)[0]) == pytest.approx(WINDOWS[0], abs=1e-6)


def test_inverse_does_not_change_what_it_is_given() -> None:
    scaled = np.array([[0.5, 0.25]], np.float32)
    before = scaled.copy()
    found = fit_scaler("standard", WINDOWS).inverse(scaled)
    assert not np.shares_memory(found, scaled)
    assert np.array_equal(before, scaled)


def test_inverse_never_overflows() -> None:
    scaler = fit_scaler("min-max", np.array([[[-3e38], [3e38]]], np.float32))
    found = scaler.inverse(np.array([[-1e12], [1e12]], np.float32))
    assert np.isfinite(found).all()


def test_inverse_of_nothing_is_nothing_and_nan_stays_nan() -> None:
    scaler = fit_scaler("standard", WINDOWS)
    assert scaler.inverse(np.empty((0, 2), np.float32)).shape == (0, 2)
    assert np.isnan(scaler.inverse(np.full((1, 2), np.nan, np.float32))).all()


def robust(*columns: list[float]) -> Scaler:
    """Return the robust scaler of some features, each given by its values."""
    samples = np.array(columns, np.float32).T  # (n_samples, n_features)
    return fit_scaler("robust", samples[np.newaxis])


def test_robust_counts_in_deviations_from_the_median() -> None:
    scaler = robust([1, 2, 3, 4, 900])
    assert (scaler.offset.tolist(), scaler.scale.tolist()) == ([3], [np.float32(1 / 1.4826)])
    assert scaler.is_constant is not None
    assert not scaler.is_constant.any()
    values = np.array([[3.0], [3.0 + 1.4826], [3.0 - 14.826]], np.float32)
    expected = [0.0, 10 * np.arcsinh(0.1), -10 * np.arcsinh(1.0)]
    assert scaler.transform(values).ravel() == pytest.approx(expected, abs=1e-6)


def test_robust_takes_the_standard_deviation_where_most_values_are_equal() -> None:
    assert robust_spread(np.array([0.0, 0.0, 0.0, 4.0])) == (0.0, 3**0.5)
    assert robust([0, 0, 0, 4]).scale.tolist() == [np.float32(3**-0.5)]
    assert robust_spread(np.array([0.0, 0.0, 1.0, 4.0]))[1] == pytest.approx(1.4826 * 0.5)


@pytest.mark.parametrize(
    ("value", "spread"), [(0.0, 0.01), (4.0, 0.04), (-2.0, 0.02), (1e-40, 0.01)]
)
def test_a_feature_that_never_moved_is_limited_to_10_deviations(
    value: float, spread: float
) -> None:
    scaler = robust([value] * 4, [0, 1, 2, 3])
    assert scaler.is_constant is not None
    assert scaler.is_constant.tolist() == [True, False]
    assert scaler.scale[0] == np.float32(1 / spread)
    far = np.array(
        [[value + 1_000, 1_000], [value - 1_000, 0], [value + 3 * spread, 0]], np.float32
    )
    scaled = scaler.transform(far)
    assert scaled[:2, 0] == pytest.approx([10 * np.arcsinh(1), -10 * np.arcsinh(1)], abs=1e-5)
    assert scaled[2, 0] == pytest.approx(10 * np.arcsinh(0.3), abs=1e-4)
    assert scaled[0, 1] > 10 * np.arcsinh(1)
    assert np.isnan(scaler.transform(np.full((1, 2), np.nan, np.float32))).all()


def test_with_standard_a_feature_that_never_moved_is_limited_and_counted_as_it_is() -> None:
    scaler = fit_scaler("standard", WINDOWS)
    assert scaler.is_constant is not None
    assert scaler.is_constant.tolist() == [False, True]
    far = np.array([[4, 8], [4 + 11 * 14**0.5, 16], [4, -900]], np.float32)
    assert scaler.transform(far)[:, 1].tolist() == [3, 10, -10]
    assert scaler.transform(far)[1, 0] == pytest.approx(11)
    assert [fit_scaler(kind, WINDOWS).is_constant for kind in ("none", "min-max")] == [None, None]


@pytest.mark.parametrize("spread", [1e-45, 1e-40])
def test_robust_stays_finite_for_a_feature_that_hardly_changes(spread: float) -> None:
    scaler = robust([0, spread], [0, 1])
    assert np.isfinite(scaler.scale).all()
    assert scaler.is_constant is not None
    assert scaler.is_constant.tolist() == [True, False]


def test_robust_keeps_what_is_far_out_bounded_and_invertible() -> None:
    scaler = robust(list(range(9)))
    values = np.array([[-3e38], [-1e6], [4.0], [4.001], [1e9], [3e38]], np.float32)
    scaled = scaler.transform(values)
    assert (np.abs(scaled) < 1_000).all()
    assert (np.diff(scaled.ravel()) > 0).all()
    np.testing.assert_allclose(scaler.inverse(scaled[1:5]), values[1:5], rtol=1e-5)
    assert np.isfinite(scaler.inverse(np.array([[-3e38], [3e38]], np.float32))).all()


def test_linear_neither_bends_nor_limits() -> None:
    scaler = robust([1, 1], [0, 2])
    found = scaler.linear(np.array([[2, 1 + 1.4826e4]], np.float32))
    assert found == pytest.approx(np.array([[100, 1e4]]), rel=1e-5)


def test_robust_scales_a_window_alike_in_any_batch() -> None:
    rng = np.random.default_rng(0)
    windows = rng.normal(scale=30, size=(67, 7, 3)).astype(np.float32)
    windows[:, :, 1] = 5
    scaler = fit_scaler("robust", windows)
    together = scaler.transform(windows * np.float32(3))
    for size in (1, 2, 5, 16, 33):
        parts = [
            scaler.transform(windows[start : start + size] * np.float32(3))
            for start in range(0, len(windows), size)
        ]
        assert np.concatenate(parts).tobytes() == together.tobytes()
