"""Which pixels an alert names, and the picture it carries."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stream_detector.core.codec.image_format import ImageShape
from stream_detector.core.scoring.explanation import ImageExplanation, WindowEvidence
from stream_detector.core.scoring.image_explanation import (
    HEAT_MAP_BYTES_MAX,
    HEAT_MAP_SIDE_MAX,
    explain_image,
)


def explained(errors: Any, n_channels: int = 1, error_kind: Any = "mae") -> ImageExplanation:
    """Explain an image of these values, rows of columns times channels, where 0 is expected."""
    window = np.asarray(errors, np.float32)
    image = ImageShape(len(window), window.shape[1] // n_channels, n_channels)
    scored = WindowEvidence(window * 255, window, np.zeros_like(window), 1_000, 0)
    explanation = explain_image(scored, image, error_kind)
    assert (explanation.features, explanation.shares, explanation.times_ms) == ((), (), ())
    assert (explanation.worst_start_ms, explanation.worst_end_ms) == (1_000, 1_000)
    assert explanation.image
    return explanation.image


def picture(found: ImageExplanation) -> Any:
    with Image.open(io.BytesIO(base64.b64decode(found.heat_map)), formats=["PNG"]) as opened:
        assert opened.mode == "L"
        return np.asarray(opened)


def box(found: ImageExplanation) -> tuple[int, int, int, int]:
    return found.first_row, found.last_row, found.first_column, found.last_column


def test_the_region_is_where_the_error_is() -> None:
    errors = np.full((8, 10), 0.01)
    errors[2:5, 6:9] = 0.8
    found = explained(errors)
    assert box(found) == (2, 4, 6, 8)
    assert found.share == pytest.approx(7.2 / (7.2 + 71 * 0.01))
    assert (found.n_rows, found.n_columns, found.n_channels) == (8, 10, 1)


def test_one_pixel_is_a_region() -> None:
    errors = np.zeros((3, 4))
    errors[2, 0] = 0.5
    found = explained(errors)
    assert (box(found), found.share, found.heat_map_max) == ((2, 2, 0, 0), 1.0, 0.5)
    assert picture(found).tolist() == [[0] * 4, [0] * 4, [255, 0, 0, 0]]


def over_background(shape: tuple[int, int], patch: tuple[slice, slice]) -> Any:
    """Return an image that is wrong everywhere, and most in one part."""
    errors = np.full(shape, 0.6)
    errors[patch] = 0.9
    return errors


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ((slice(7, 10), slice(0, 4)), (7, 9, 0, 3)),  # a corner
        ((slice(0, 3), slice(9, 12)), (0, 2, 9, 11)),
        ((slice(4, 5), slice(6, 7)), (4, 4, 6, 6)),  # one pixel
        ((slice(0, 10), slice(3, 5)), (0, 9, 3, 4)),  # a stripe
    ],
)
def test_of_an_image_that_is_wrong_everywhere_the_brightest_part_is_named(
    patch: tuple[slice, slice], expected: tuple[int, int, int, int]
) -> None:
    errors = over_background((10, 12), patch)
    found = explained(errors)
    assert box(found) == expected
    assert found.share == pytest.approx(errors[patch].sum() / errors.sum())


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (7, 5), (28, 28)])
def test_an_image_that_is_as_wrong_everywhere_is_one_region(shape: tuple[int, int]) -> None:
    for noise in (0.0, 1e-6, 0.04):
        errors = 0.5 + noise * np.random.default_rng(0).random(shape)
        found = explained(errors)
        assert box(found) == (0, shape[0] - 1, 0, shape[1] - 1)
        assert found.share == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(8))
def test_noise_has_a_brightest_part_too(seed: int) -> None:
    errors = np.random.default_rng(seed).random((28, 28))
    found = explained(errors)
    first_row, last_row, first_column, last_column = box(found)
    part = errors[first_row : last_row + 1, first_column : last_column + 1]
    assert part.size < 0.9 * errors.size
    assert part.mean() > errors.mean()
    assert found.share == pytest.approx(part.sum() / errors.sum())


def test_a_box_is_small_enough_below_nine_tenths() -> None:
    errors = np.full((1, 100), 0.6)
    errors[0, 40] = 0.9
    errors[0, :10] = 0.1  # the worst columns are 90 of 100
    assert box(explained(errors)) == (0, 0, 40, 40)
    errors[0, 10] = 0.1  # 89 of 100
    assert box(explained(errors)) == (0, 0, 11, 99)


def test_the_brightest_pixel_must_be_brighter_than_others() -> None:
    errors = np.full((4, 4), 1.0)
    errors[1, 2] = 1.0999
    assert box(explained(errors)) == (0, 3, 0, 3)
    errors[1, 2] = 1.1001
    assert box(explained(errors)) == (1, 1, 2, 2)
    errors = np.full((4, 4), 10.0)
    errors[1, 2] = 11.0
    assert box(explained(errors)) == (1, 1, 2, 2)


def test_the_heat_map_is_the_mean_error_of_each_pixel() -> None:
    found = explained([[0.3, 0.3, 0.3, 0.0, 0.0, 0.9], [0.0] * 6], n_channels=3)
    assert picture(found).tolist() == [[255, 255], [0, 0]]
    assert found.heat_map_max == pytest.approx(0.3)
    found = explained([[0.5, 1.0]], error_kind="mse")
    assert picture(found).tolist() == [[64, 255]]


@pytest.mark.parametrize("error_kind", ["mae", "mse", "bce"])
def test_no_error_is_black(error_kind: Any) -> None:
    found = explained(np.zeros((2, 2)), error_kind=error_kind)
    assert found.share == pytest.approx(1.0)
    assert error_kind == "bce" or picture(found).tolist() == [[0, 0], [0, 0]]


def test_a_large_image_is_made_smaller_by_means_of_squares() -> None:
    errors = np.zeros((130, 70))  # squares of 3 x 3, the last ones cut
    errors[0:3, 0:3] = 0.3
    errors[129, 69] = 0.6
    shown = picture(found := explained(errors))
    assert shown.shape == (44, 24)
    assert found.heat_map_max == pytest.approx(0.6)
    assert (shown[0, 0], shown[43, 23], int(np.count_nonzero(shown))) == (128, 255, 2)


@pytest.mark.parametrize("shape", [(64, 64), (65, 65), (1, 900), (900, 2), (640, 480), (127, 33)])
def test_a_heat_map_is_bounded(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).random(shape)
    found = explained(noise)
    assert max(picture(found).shape) <= HEAT_MAP_SIDE_MAX
    assert len(found.heat_map) <= HEAT_MAP_BYTES_MAX
    assert explained(noise.copy()) == found, "the same image must give the same bytes"


def test_tiny_and_huge_errors_are_shown() -> None:
    for size in (1e-42, 1e12):
        shown = picture(explained(np.array([[size, 0.0]], np.float32)))
        assert shown.tolist() == [[255, 0]]
