"""What is subtracted before float32, and what even that cannot save."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.core.features import to_float32
from stream_detector.core.key_scales import KeyScales
from stream_detector.errors import DatasetError
from stream_detector.training.origin import (
    choose_origin,
    features_of_few_steps,
    features_of_few_steps_by_key,
)

RANDOM = np.random.default_rng(0)
SIGNAL = RANDOM.normal(size=1_000)


def origin_of(*columns: NDArray[np.float64], groups: NDArray[np.intp] | None = None) -> object:
    values = np.column_stack(columns)
    names = [f"x{number}" for number in range(len(columns))]
    if groups is None:
        groups = np.zeros(len(values), np.intp)
    return choose_origin(values, groups, names, "data mine")


@pytest.mark.parametrize("offset", [0.0, 20.0, -273.15, 101_325.0 / 50, 8_000.0])
def test_values_that_float32_holds_keep_their_bits(offset: float) -> None:
    assert origin_of(SIGNAL + offset) == ()


@pytest.mark.parametrize("offset", [1.7e9, -1.7e9, 1.7e12, 1e6])
def test_an_offset_that_float32_cannot_hold_becomes_the_origin(offset: float) -> None:
    origin = origin_of(SIGNAL, offset + SIGNAL)
    assert isinstance(origin, tuple)
    assert origin[0] == 0.0
    assert abs(origin[1] - offset) < 4
    values = np.column_stack([SIGNAL, offset + SIGNAL])
    left = to_float32(values, origin)[:, 1].astype(np.float64) + origin[1] - offset
    np.testing.assert_allclose(left, SIGNAL, atol=3e-4)


def test_ten_bits_of_the_signal_must_be_left() -> None:
    # At 2**20 float32 has steps of 1/8, and rounding to them an error of 1/8 / sqrt(12).
    error = 1 / 8 / np.sqrt(12)
    for share, has_origin in ((0.9, False), (1.1, True)):
        signal = RANDOM.uniform(-1, 1, 100_000)
        signal *= error / (share * 2.0**-10) / signal.std()
        assert bool(origin_of(2.0**20 + 2.0**19 + signal)) == has_origin


def test_an_offset_between_series_is_no_signal() -> None:
    groups = np.repeat([0, 1], 500)
    near = SIGNAL + np.where(groups, 1.7e9, 1.7e9 + 50)
    assert origin_of(near, groups=groups)
    apart = SIGNAL + np.where(groups, 1.7e9, 3.4e9)
    with pytest.raises(DatasetError) as caught:
        origin_of(SIGNAL, apart, groups=groups)
    message = str(caught.value)
    assert "data mine: the variation of feature x1 within a series or window (" in message
    assert "is smaller than what float32 can hold of values from 1699999" in message
    assert "subtract an offset before sending, for each series its own" in message
    assert origin_of(SIGNAL, apart - np.where(groups, 1.7e9, 3.4e9), groups=groups) == ()


def test_missing_and_constant_values_need_no_origin() -> None:
    missing = np.where(np.arange(1_000) % 2, np.nan, 1.7e9 + SIGNAL)
    assert origin_of(np.full(1_000, np.nan), np.full(1_000, 1.7e9 + 0.1)) == ()
    assert origin_of(missing)


def test_float32_has_nothing_to_lose() -> None:
    values = (1.7e9 + SIGNAL).astype(np.float32)[:, None]
    assert choose_origin(values, np.zeros(1_000, np.intp), ["x"], "data") == ()


@pytest.mark.parametrize(
    ("n_steps", "is_rounded"), [(0, False), (1, True), (15, True), (16, False)]
)
def test_features_that_were_rounded_before_are_found(n_steps: int, is_rounded: bool) -> None:
    step = np.spacing(np.float32(1.7e9))
    feature = np.where(np.arange(20) % 2, 1.7e9 - 16 * 128 + n_steps * step, 1.7e9 - 16 * 128)
    windows = np.stack([SIGNAL[:20], feature], axis=1).astype(np.float32)[np.newaxis]
    assert features_of_few_steps(windows, ["a", "b"]) == (["b"] if is_rounded else [])


def test_a_key_whose_feature_has_few_steps_of_float32_is_found() -> None:
    """Near 1,000 two float32 are 2 ** -14 apart; 16 of them are 6 deviations of 16 / 6 steps."""
    limit = 2.0**-14 * 16 / 6
    for spread, found in ((limit * 1.001, []), (limit * 0.999, ["b"])):
        offset = np.array([[0, 1_000], [1_000, 0]], np.float32)
        scale = np.array([[1, 1 / spread], [1, 1]], np.float32)
        scales = KeyScales([b"k0", b"k1"], offset, scale)
        assert features_of_few_steps_by_key(scales, ["a", "b"]) == found
