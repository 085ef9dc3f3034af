"""Scales by key: the same numbers in any batch, back again, and bounds that hold for every key."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_detector.core.features import Features
from stream_detector.core.key_scales import KeyScales

OFFSET = np.array([[40, 0], [0.04, 100], [10, -1]], np.float32)
SCALE = np.array([[0.5, 1], [500, 8], [2, 0.25]], np.float32)
KEYS = [b"a", b"b", "p\u00fcmp".encode()]
SCALES = KeyScales(KEYS, OFFSET, SCALE)


def test_each_key_has_its_row_and_unknown_ones_the_fleet_s() -> None:
    assert SCALES.rows([b"b", b"x", KEYS[2], b"", b"a"]).tolist() == [1, 3, 2, 3, 0]
    assert (len(SCALES), SCALES.fleet_row) == (3, 3)
    assert SCALES.unknown([b"x", b"a", b"y", b"x"]) == [b"x", b"y"]
    assert SCALES.rows([]).dtype == np.intp


def test_the_fleet_has_the_median_of_the_offsets_and_of_the_deviations() -> None:
    even = KeyScales(KEYS[:2], OFFSET[:2], SCALE[:2])
    assert SCALES.offset[-1].tolist() == [10, 0]
    assert SCALES.scale[-1].tolist() == [2, 1]
    assert even.offset[-1] == pytest.approx([20.02, 50])
    assert even.scale[-1] == pytest.approx([1 / 1.001, 1 / 0.5625])


def test_windows_are_brought_to_the_units_of_their_keys() -> None:
    windows = np.array([[[42, 3], [38, 4]], [[0.05, 101], [0.03, 100]]], np.float32)
    scaled = SCALES.transform(windows, np.array([0, 1]))
    assert scaled.dtype == np.float32
    expected = [[[1, 3], [-1, 4]], [[5, 8], [-5, 0]]]
    np.testing.assert_allclose(scaled, expected, rtol=1e-5)
    as_samples = SCALES.transform(windows[:, 0], np.array([0, 1]))
    assert as_samples.tobytes() == np.ascontiguousarray(scaled[:, 0]).tobytes()


def test_nothing_stays_nothing_and_nan_stays_nan() -> None:
    none = np.empty(0, np.intp)
    assert SCALES.transform(np.empty((0, 4, 2), np.float32), none).shape == (0, 4, 2)
    assert SCALES.inverse(np.empty((0, 4, 2)), none).shape == (0, 4, 2)
    assert np.isnan(SCALES.transform(np.full((1, 2, 2), np.nan, np.float32), np.array([1]))).all()


@given(
    rows=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    size=st.integers(1, 12),
    n_steps=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_a_window_is_scaled_alike_in_any_batch(
    rows: list[int], size: int, n_steps: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    windows = rng.normal(scale=50, size=(len(rows), n_steps, 2)).astype(np.float32)
    which = np.array(rows)
    together = SCALES.transform(windows, which)
    naive = (windows - SCALES.offset[which][:, None]) * SCALES.scale[which][:, None]
    assert together.tobytes() == naive.tobytes()
    parts = [
        SCALES.transform(windows[start : start + size], which[start : start + size])
        for start in range(0, len(rows), size)
    ]
    assert np.concatenate(parts).tobytes() == together.tobytes()
    kept = windows.copy()
    assert SCALES.transform(kept, which, in_place=True).tobytes() == together.tobytes()
    assert kept.tobytes() == together.tobytes()
    again = SCALES.inverse(together.astype(np.float64), which)
    np.testing.assert_allclose(again, windows, rtol=1e-6, atol=1e-4)


@given(
    low=st.floats(-(2.0**100), 2.0**100, width=32),
    high=st.floats(-(2.0**100), 2.0**100, width=32),
    share=st.floats(0, 1),
    row=st.integers(0, 3),
)
def test_bounds_hold_for_every_key_and_every_value_between(
    low: float, high: float, share: float, row: int
) -> None:
    low, high = min(low, high), max(low, high)
    bounds = SCALES.bounds(np.array([[low] * 2, [high] * 2], np.float32))
    value = np.clip(np.float32(low + share * (high - low)), np.float32(low), np.float32(high))
    found = SCALES.transform(np.full((1, 2), value, np.float32), np.array([row]))
    assert (bounds[0] <= found).all()
    assert (found <= bounds[1]).all()


def test_more_windows_than_are_scaled_at_once() -> None:
    windows = np.arange(70_000 * 2, dtype=np.float32).reshape(70_000, 1, 2)
    which = np.arange(70_000) % 4
    naive = (windows - SCALES.offset[which][:, None]) * SCALES.scale[which][:, None]
    assert SCALES.transform(windows, which).tobytes() == naive.tobytes()


def test_bounds_of_what_is_not_finite_are_not_finite() -> None:
    ends = np.array([[-np.inf, 0], [1, np.nan]], np.float32)
    is_finite = np.isfinite(SCALES.bounds(ends))
    assert is_finite.tolist() == [[False, False], [True, False]]


def test_features_bring_windows_there_and_back() -> None:
    features = Features(("p", "t"), (1_000.0, 0.0), SCALES)
    windows = np.array([[[42, 3]], [[0.05, 101]], [[12, 4]]], np.float32)
    keys = ["a", "b", "new"]
    scaled = features.to_key_units(windows, keys)
    np.testing.assert_allclose(scaled, [[[1, 3]], [[5, 8]], [[4, 4]]], rtol=1e-5)
    again = features.from_key_units(scaled.astype(np.float64), keys)
    np.testing.assert_allclose(again, windows + np.array([1_000.0, 0.0]), rtol=1e-7)
    of_fleet = features.from_key_units(np.ones((1, 1, 2)))
    assert of_fleet.tolist() == [[[1_010.5, 1]]]
    assert features.unknown_keys(keys) == ["new"]
    (bar, degrees) = features.units_of(b"b")
    assert bar.value(5.0) == pytest.approx(0.05)
    assert bar.difference(5.0) == pytest.approx(0.01)
    assert degrees == (0.125, 100)
    assert features.unit(0, bar).value(5.0) == pytest.approx(1_000.05)


def test_without_scales_windows_stay_as_they_are() -> None:
    features = Features(("p",))
    windows = np.ones((2, 3, 1), np.float32)
    assert features.to_key_units(windows, ["a", "b"]) is windows
    assert features.unknown_keys(["a"]) == []
    assert features.units_of(b"a") == ()
