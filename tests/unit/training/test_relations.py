"""Which features can be judged by what the others say."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.checks import looks_of
from stream_detector.core.scoring.relations import N_FIT_MAX, Relations, fit_relations
from stream_detector.core.scoring.scaling import fit_scaler
from stream_detector.training.relations import judge_relations

N_STEPS = 8
LOOKS = looks_of(("level", "relation"), 2, has_courses=False)
IS_RELATION = LOOKS.is_of("relation")


def alike(n_windows: int, noise: float = 0.0, seed: int = 0) -> FloatArray:
    """Return windows of two features that are alike but for noise in the second."""
    rng = np.random.default_rng(seed)
    first = np.repeat(rng.standard_normal((n_windows, 2)), 4, axis=1)
    own = np.repeat(rng.standard_normal((n_windows, 2)), 4, axis=1)
    return np.stack([first, first + noise * own], axis=2).astype(np.float32)


def judge(
    windows: FloatArray, parts: NDArray[np.intp] | None
) -> tuple[list[float], NDArray[np.float64], Relations | None]:
    """Return the signs of the looks at relations, the numbers of all looks, and what is kept."""
    scaler = fit_scaler("standard", np.array([[[-1.0, -1.0], [1.0, 1.0]]], np.float32))
    values = np.full((len(windows), len(LOOKS)), 7.0)
    looks, found, relations = judge_relations(LOOKS, values, windows, scaler, parts, 4)
    assert (values == 7).all(), "the numbers given are not touched"
    assert (found[:, ~IS_RELATION] == 7).all()
    assert (looks.signs[~IS_RELATION] != 0).all()
    return looks.signs[IS_RELATION].tolist(), found[:, IS_RELATION], relations


@pytest.mark.parametrize(("noise", "is_judged"), [(0.55, True), (0.6, False)])
def test_a_feature_is_judged_where_others_explain_three_quarters(
    noise: float, is_judged: bool
) -> None:
    signs, _, relations = judge(alike(20_000, noise), None)  # 0.232 and 0.265 are left
    assert signs == [float(is_judged)] * 4
    assert (relations is not None) == is_judged


@pytest.mark.parametrize("n_wrong", [0, 1])
def test_what_does_not_hold_in_a_fifth_of_the_time_is_not_judged(n_wrong: int) -> None:
    windows, parts = alike(500), np.repeat(np.arange(5), 100)
    windows[parts < n_wrong, :, 1] *= -1
    signs, _, relations = judge(windows, parts)
    assert signs == [float(not n_wrong)] * 4
    assert (relations is None) == bool(n_wrong)


def test_each_window_is_looked_at_by_what_was_not_fitted_to_its_fifth() -> None:
    windows, parts = alike(500), np.repeat(np.arange(5), 100)
    windows[parts == 2, :, 1] += 0.5
    _, numbers, relations = judge(windows, parts)
    assert relations is not None
    of_second = numbers[:, [1, 3]]
    assert of_second[parts == 2].min() > 0.1
    assert of_second[parts != 2].max() < 0.15
    _, same, _ = judge(windows, None)
    assert same[parts == 2, 1].max() < of_second[parts == 2].max()


def test_numbers_are_the_same_however_many_are_scored_at_once() -> None:
    windows = alike(9_000, 0.1)
    _, numbers, relations = judge(windows, None)
    assert relations is not None
    some = [0, 4_095, 4_096, 8_191, 8_192, 8_999]
    residuals = np.abs(windows[some, :, 1] - windows[some, :, 0]).reshape(-1, 2, 4).mean(axis=2)
    units = 1 + np.abs(windows[some, :, 0]).reshape(-1, 2, 4).mean(axis=2)
    assert numbers[some, 1] == pytest.approx((residuals / units).mean(axis=1), abs=0.01)
    assert numbers[some, 3] == pytest.approx((residuals / units)[:, 1], abs=0.01)


def test_as_many_windows_as_are_enough_are_fitted() -> None:
    windows = alike(2 * N_FIT_MAX)
    windows[1::2, :, 1] *= -1  # every second one is left out
    signs, _, relations = judge(windows, None)
    assert signs == [1.0] * 4
    assert relations is not None
    assert relations.weights.tolist() == fit_relations(windows[::2]).weights.tolist()


def test_without_the_check_nothing_is_fitted() -> None:
    looks = looks_of(("level",), 2, has_courses=False)
    windows, values = alike(20), np.zeros((20, len(looks)))
    scaler = fit_scaler("standard", windows)
    assert judge_relations(looks, values, windows, scaler, None, 4) == (looks, values, None)
