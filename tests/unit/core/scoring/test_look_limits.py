"""How far from normal looks may be, and which of them training does not say enough of."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.core.scoring.checks import CheckKind, Looks, looks_of
from stream_detector.core.scoring.look_limits import (
    calibrate_looks,
    coarse_looks,
    habitual_looks,
    parts_of,
    repeating_looks,
    resolutions,
    wandering_looks,
)
from stream_detector.core.scoring.statistics import LOG_FLOOR

PARTS = np.repeat(np.arange(5), 20)


def greatest(scores: NDArray[np.float64]) -> float:
    return max(float(scores.max()), 1e-9)


def of_one(check: CheckKind, numbers: NDArray[np.float64]) -> tuple[Looks, NDArray[np.float64]]:
    """Return looks at one feature, and the same numbers for each of them."""
    looks = looks_of((check,), 1, has_courses=False)
    return looks, np.tile(numbers[:, np.newaxis], (1, len(looks)))


def test_each_series_has_its_own_fifths() -> None:
    series = np.repeat([1, 0], [20, 40])
    end_ms = np.concatenate([np.arange(20)[::-1], np.arange(40) + 1_000]).astype(float)
    parts = parts_of(series, end_ms, 1.0)
    assert parts is not None
    assert parts[:20].tolist() == np.repeat(np.arange(5), 4)[::-1].tolist()
    assert parts[20:].tolist() == np.repeat(np.arange(5), 8).tolist()


@pytest.mark.parametrize(("n_windows", "new_share"), [(50, 1.0), (500, 0.1)])
def test_a_fifth_of_fewer_than_ten_windows_apart_says_nothing(
    n_windows: int, new_share: float
) -> None:
    times = np.arange(n_windows, dtype=float)
    assert parts_of(np.zeros(n_windows, np.intp), times, new_share) is not None
    assert parts_of(np.zeros(n_windows - 1, np.intp), times[1:], new_share) is None


def test_many_keys_of_a_window_each_have_no_fifths() -> None:
    assert parts_of(np.arange(100), np.zeros(100), 1.0) is None


def test_the_smallest_step_is_that_of_the_values_and_not_of_a_few_between() -> None:
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 4, (200, 20, 1)).astype(np.float32)
    counts[0, 5] = 1.03  # interpolated
    constant = np.ones_like(counts)
    assert resolutions(np.concatenate([counts, constant], axis=2)).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("sd", "is_coarse"), [(0.29, True), (0.31, False)])
def test_what_varies_by_less_than_one_and_a_half_steps_is_not_told_from_stuck(
    sd: float, is_coarse: bool
) -> None:
    looks, values = of_one("flat", np.log(np.full(100, sd) + LOG_FLOOR))
    assert coarse_looks(looks, values, np.array([0.2])).tolist() == [is_coarse] * 3
    others, values = of_one("noise", np.log(np.full(100, sd)))
    assert not coarse_looks(others, values, np.array([0.2])).any()


@pytest.mark.parametrize(("n_same", "is_off"), [(20, False), (21, True)])
def test_how_long_a_feature_stays_is_not_asked_where_it_often_does(
    n_same: int, is_off: bool
) -> None:
    looks = looks_of(("flat", "peak"), 2, has_courses=False)
    scaled = np.arange(202, dtype=np.float32).reshape(2, 101, 1).repeat(2, axis=2)
    scaled[0, : n_same + 1, 1] = 7.0  # of 200 steps
    expected = looks.is_at("unchanged") & (looks.features == 1) & is_off
    assert repeating_looks(looks, scaled).tolist() == expected.tolist()


@pytest.mark.parametrize("kind", ["flat", "relation"])
def test_what_normal_windows_hardly_ever_have_makes_no_other_look_less_sensitive(
    kind: CheckKind,
) -> None:
    looks = looks_of(("level", kind), 1, has_courses=False)
    is_rare = looks.is_at("unchanged") | looks.is_of("relation")
    values = np.tile(np.sin(np.arange(100.0))[:, np.newaxis], (1, len(looks)))
    values[:, is_rare] = 1e-12

    def fit(scores: NDArray[np.float64]) -> float:
        return float(np.quantile(scores, 0.99)) + 1e-15

    without = calibrate_looks(looks, values, fit)
    values[7, is_rare] = 0.2  # beyond all others, and nothing to be woken for
    found = calibrate_looks(looks, values, fit)
    assert found.scales.tolist() == without.scales.tolist()


def test_a_feature_that_never_changes_is_not_coarse() -> None:
    looks, values = of_one("flat", np.log(np.full(100, float(LOG_FLOOR))))
    assert not coarse_looks(looks, values, np.array([0.0])).any()


@pytest.mark.parametrize(("n_new", "is_wandering"), [(2, False), (3, True)])
def test_a_look_wanders_if_more_than_a_tenth_of_a_fifth_is_beyond_all_others(
    n_new: int, is_wandering: bool
) -> None:
    numbers = np.tile(np.linspace(-1, 1, 20), 5)
    numbers[60 : 60 + n_new] = 1.01
    looks, values = of_one("level", numbers)
    assert (
        wandering_looks(looks, values, PARTS).tolist()
        == ((looks.signs > 0) * is_wandering > 0).tolist()
    )
    numbers[60:65] = 1.0  # as far as others were is nothing new
    assert not wandering_looks(looks, of_one("level", numbers)[1], PARTS).any()


def test_what_goes_up_and_down_in_each_fifth_does_not_wander_and_what_rises_does() -> None:
    looks, values = of_one("level", np.tile(np.sin(np.linspace(0, 6.3, 20)), 5))
    assert not wandering_looks(looks, values, PARTS).any()
    looks, values = of_one("level", np.linspace(0, 1, 100))
    assert wandering_looks(looks, values, PARTS).all()


def test_small_changes_do_not_wander() -> None:
    least: tuple[tuple[CheckKind, float], ...] = (("level", -0.14), ("flat", -1.3), ("flat", 9.0))
    for check, change in least:
        looks, values = of_one(check, np.where(np.arange(100) < 20, change, 0.0))
        assert not wandering_looks(looks, values, PARTS).any(), check
        looks, values = of_one(check, np.where(np.arange(100) < 20, 1.2 * change, 0.0))
        assert wandering_looks(looks, values, PARTS).any(), check


def test_the_course_of_all_features_and_a_shift_never_wander() -> None:
    looks = looks_of(("shape", "shift"), 1, has_courses=False)
    values = np.tile(np.linspace(0, 9, 100)[:, np.newaxis], (1, len(looks)))
    is_wandering = wandering_looks(looks, values, PARTS)
    assert [looks.statistics[at] for at in np.flatnonzero(is_wandering)] == ["error"]
    calibrated = calibrate_looks(looks, values, greatest, PARTS)
    without = calibrate_looks(looks, values, greatest)
    is_farther = calibrated.scales > without.scales
    assert [looks.statistics[at] for at in np.flatnonzero(is_farther)] == ["error"]


@pytest.mark.parametrize(("n_wandering", "is_habit"), [(1, False), (2, True)])
def test_two_features_that_wander_turn_the_check_off_for_all(
    n_wandering: int, is_habit: bool
) -> None:
    looks = looks_of(("shape", "level", "shift"), 3, has_courses=False)
    is_wandering = looks.is_of("level") & (looks.features < n_wandering)
    is_wandering |= looks.is_of("shape") & (looks.features == 2)
    found = habitual_looks(looks, is_wandering)
    assert found.tolist() == (looks.is_of("level") * is_habit > 0).tolist()
    both = looks.is_of("shape") & (looks.features >= 1)
    assert {looks.statistics[at] for at in np.flatnonzero(habitual_looks(looks, both))} == {"error"}


def test_a_stuck_feature_varies_by_less_than_a_quarter_of_what_fifths_are_expected_to_show() -> (
    None
):
    numbers = np.zeros(100)
    numbers[[5, 25, 45, 65, 85]] = -np.array([1.0, 2.0, 1.0, 2.0, 1.5])
    looks, values = of_one("flat", numbers)
    calibrated = calibrate_looks(looks, values, lambda scores: 0.5 * greatest(scores), PARTS)
    expected = 1.5 + 2 * 0.5 + np.log(4)
    assert calibrated.scales.tolist() == pytest.approx([expected, expected, 9.0])


def test_a_feature_stays_as_long_as_fifths_are_expected_to_show() -> None:
    numbers = np.zeros(100)
    numbers[[5, 25, 45, 65, 85]] = [20.0, 30.0, 20.0, 30.0, 25.0]
    looks, values = of_one("flat", numbers)
    calibrated = calibrate_looks(looks, values, lambda scores: 0.5 * greatest(scores), PARTS)
    (scale,) = calibrated.scales[looks.is_at("unchanged")].tolist()
    assert scale == pytest.approx(25 + 2 * 5.0)


def test_a_limit_is_two_standard_deviations_beyond_the_mean_of_what_fifths_show() -> None:
    numbers = np.zeros(100)
    numbers[[5, 25, 45, 65, 85]] = farthest = [1.0, 2.0, 1.0, 2.0, 1.5]
    looks, values = of_one("noise", numbers)
    calibrated = calibrate_looks(looks, values, lambda scores: 0.5 * greatest(scores), PARTS)
    expected = np.mean(farthest) + 2 * np.std(farthest, ddof=1)
    assert calibrated.scales.tolist() == pytest.approx([expected] * len(looks))
    wide = calibrate_looks(looks, values, lambda scores: 4 * greatest(scores), PARTS)
    assert (wide.scales > expected).all(), "a level farther out holds"


def test_a_check_of_which_nothing_is_left_finds_nothing_and_disturbs_no_other() -> None:
    looks = looks_of(("flat", "level"), 1, has_courses=False)
    rng = np.random.default_rng(4)
    values = rng.normal(size=(100, len(looks)))
    is_flat = looks.is_of("flat")
    found = calibrate_looks(looks.without(is_flat), values, greatest, PARTS)
    ratios = found.ratios(100 * values)
    assert (ratios[:, is_flat] == 0).all()
    assert (ratios[:, ~is_flat] > 1).any(axis=0).all()
    alone = calibrate_looks(looks.part(slice(2, None)), values[:, 2:], greatest, PARTS)
    assert found.scales[2:].tolist() == alone.scales.tolist()
