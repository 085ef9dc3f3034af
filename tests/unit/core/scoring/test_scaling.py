"""Scalers bring training windows to their range, and never divide by nothing."""

import numpy as np
import pytest

from stream_detector.core.scoring.scaling import SCALER_KINDS, fit_scaler

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
        ("robust", WINDOWS, "none, min-max, standard, pixels, received 'robust'"),
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
