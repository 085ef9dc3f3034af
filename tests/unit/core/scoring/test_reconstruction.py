"""Reconstruction errors: exact values, and the same bits in any batch."""

from typing import Any

import numpy as np
import pytest
from detectors import make_scorer

from stream_detector.core.scoring.explanation import WindowContext
from stream_detector.core.scoring.reconstruction_error import (
    feature_errors,
    step_errors,
    window_errors,
)

WINDOWS = np.array([[[0, 0], [1, 1]], [[0.5, 0.5], [0.5, 0.5]]], np.float32)
RECONSTRUCTIONS = np.array([[[0, 2], [1, -1]], [[0.5, 0.5], [0.5, 0.5]]], np.float32)


@pytest.mark.parametrize(("kind", "errors"), [("mae", [1, 0]), ("mse", [2, 0])])
def test_the_error_of_a_window_is_its_mean(kind: Any, errors: list[float]) -> None:
    found = window_errors(WINDOWS, RECONSTRUCTIONS, kind)
    assert found.dtype == np.float64
    assert found.tolist() == errors


@pytest.mark.parametrize(("kind", "errors"), [("mae", [[1, 1], [0, 0]]), ("mse", [[2, 2], [0, 0]])])
def test_the_error_of_a_step_is_its_mean_over_features(kind: Any, errors: list[Any]) -> None:
    found = step_errors(WINDOWS, RECONSTRUCTIONS, kind)
    assert found.dtype == np.float64
    assert found.tolist() == errors


def test_bce_is_the_binary_cross_entropy() -> None:
    half = np.full((1, 3, 1), 0.5, np.float32)
    assert window_errors(half, half, "bce")[0] == pytest.approx(np.log(2), rel=1e-6)


def test_bce_stays_finite_at_the_ends() -> None:
    ends = np.array([[[0], [1]]], np.float32)
    certain_and_wrong = window_errors(ends, 1 - ends, "bce")[0]
    assert certain_and_wrong == pytest.approx(-np.log(1e-7), rel=0.02)
    assert window_errors(ends, ends, "bce")[0] < 1e-6


@pytest.mark.parametrize("kind", ["mae", "mse", "bce"])
def test_an_empty_batch_gives_an_empty_array(kind: Any) -> None:
    empty = np.empty((0, 3, 2), np.float32)
    assert window_errors(empty, empty, kind).shape == (0,)
    assert step_errors(empty, empty, kind).shape == (0, 3)


@pytest.mark.parametrize("kind", ["mae", "mse", "bce"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_non_finite_value_gives_a_non_finite_error(kind: Any, bad: float) -> None:
    windows = WINDOWS.copy()
    windows[0, 1, 0] = bad
    errors = window_errors(windows, RECONSTRUCTIONS, kind)
    assert not np.isfinite(errors[0])
    assert np.isfinite(errors[1])


@pytest.mark.parametrize("kind", ["mae", "mse", "bce"])
@pytest.mark.parametrize("shape", [(140, 1), (7, 3), (1, 1), (9_000, 2)])
def test_an_error_does_not_depend_on_the_batch(kind: Any, shape: tuple[int, int]) -> None:
    random = np.random.default_rng(5)
    windows = random.random((37, *shape), dtype=np.float32)
    reconstructions = random.random((37, *shape), dtype=np.float32)
    together = window_errors(windows, reconstructions, kind)
    for n_windows in (1, 2, 16):
        parts = [
            window_errors(windows[at : at + n_windows], reconstructions[at : at + n_windows], kind)
            for at in range(0, 37, n_windows)
        ]
        assert np.array_equal(np.concatenate(parts), together)


def test_the_error_of_a_feature_is_its_mean_and_not_below_zero() -> None:
    assert feature_errors(WINDOWS, RECONSTRUCTIONS, "mae").tolist() == [[0, 2], [0, 0]]
    assert feature_errors(WINDOWS, RECONSTRUCTIONS, "mse").tolist() == [[0, 4], [0, 0]]
    far, expected = np.array([[[[3.0], [0.5]]], [[[0.9], [0.5]]]], np.float32)
    (error,) = feature_errors(far, expected, "bce")
    assert error == pytest.approx(0.5 * np.log(2))


def test_what_is_normal_of_a_feature_is_no_part_of_its_share() -> None:
    windows = np.array([[[3.0, 1.0], [3.0, 1.0]]], np.float32)
    context = WindowContext(0, 1_000)
    for normal, shares in ((None, (0.75, 0.25)), ([3.0, 0.5], (0.0, 1.0))):
        scorer = make_scorer(2, normal_errors=None if normal is None else np.array(normal))
        found = scorer.score(windows)
        assert found.scores.tolist() == [2.0]
        assert found.explain(0, context).explanation.shares == shares


def test_inputs_are_left_alone() -> None:
    windows, reconstructions = WINDOWS.copy(), RECONSTRUCTIONS.copy()
    window_errors(windows, reconstructions, "mse")
    assert np.array_equal(windows, WINDOWS)
    assert np.array_equal(reconstructions, RECONSTRUCTIONS)


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"windows \(2, 2, 2\) and reconstructions \(1, 2, 2\)"):
        window_errors(WINDOWS, RECONSTRUCTIONS[:1], "mae")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="mae, mse or bce, received 'rmse'"):
        window_errors(WINDOWS, RECONSTRUCTIONS, "rmse")  # type: ignore[arg-type]
