"""The numbers of a window that checks look at."""

import numpy as np
import pytest

from stream_detector.core.scoring.relations import Relations, fit_relations
from stream_detector.core.scoring.statistics import (
    LOG_FLOOR,
    STATISTICS,
    WindowView,
    in_scaled_unit,
)


def view_of(*values: float, n_short: int = 2) -> WindowView:
    scaled = np.array(values, np.float32).reshape(1, -1, 1)
    return WindowView(scaled, np.abs(scaled), n_short, scaled.shape[1])


def value(view: WindowView, name: str) -> float:
    (found,) = view.statistics([name])
    assert found.shape == (1, 1)
    return in_scaled_unit(name, float(found[0, 0]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mean", 3.0),
        ("slope", 7 * 24 / 28),  # least squares: 24 / 42 a step over 7 steps of these values
        ("short_slope", 4.0),
        ("sd", np.sqrt(np.var([1, 1, 1, 1, 3, 5, 5, 7]))),
        ("short_sd", np.sqrt(np.var([5, 5, 7]))),
        ("mean_step", (2 + 2 + 2) / 7),
        ("short_mean_step", 2 / 2),
        ("max_step", 2.0),
        ("swing", 4.0),
        ("max_deviation", 4.0),
        ("error", 3.0),
        ("max_error", 7.0),
    ],
)
def test_each_number_is_what_its_name_says(name: str, expected: float) -> None:
    view = view_of(1, 1, 1, 1, 3, 5, 5, 7, n_short=3)
    if name == "slope":
        expected = 7 * float(np.polyfit(np.arange(8), [1, 1, 1, 1, 3, 5, 5, 7], 1)[0])
    if name == "short_slope":
        expected = 2 * float(np.polyfit(np.arange(3), [5, 5, 7], 1)[0])
    assert value(view, name) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("values", "n_unchanged"),
    [((1, 1, 1, 1), 3), ((2, 1, 1, 1), 2), ((1, 1, 1, 2), 0), ((1, 1, 2, 2), 1), ((1, 2, 2, 1), 0)],
)
def test_how_long_a_feature_has_not_changed_is_counted_from_the_newest_step(
    values: tuple[float, ...], n_unchanged: int
) -> None:
    assert value(view_of(*values), "unchanged") == n_unchanged


def test_steps_in_which_no_feature_changes_say_nothing() -> None:
    stuck = [5.0, 1, 1, 1, 1, 1, 1]
    moving = [0.0, 1, 2, 2, 2, 3, 4]  # three samples lost, and filled in
    ended = [0.0, 0, 0, 0, 0, 0, 4]
    scaled = np.array([stuck, moving, ended], np.float32).T[np.newaxis]
    assert WindowView(scaled, scaled, 2, 2).unchanged.tolist() == [[3, 0, 0]]


def test_the_least_change_is_one() -> None:
    assert (
        value(view_of(1.0, 1.0, float(np.nextafter(np.float32(1), np.float32(2)))), "unchanged")
        == 0
    )


@pytest.mark.parametrize(("n_short", "expected"), [(4, 0.3), (7, 0.3), (8, 0.275), (2, 0.3)])
def test_a_relation_is_that_of_blocks_of_four_steps(n_short: int, expected: float) -> None:
    first = np.repeat([0.0, 1.0, 3.0], 4)
    scaled = np.stack([first, 2 * first], axis=1)[np.newaxis].astype(np.float32)
    relations = Relations(
        np.array([[0, 3], [0, 0], [0, 0], [0, 0]], np.float32), np.array([0, 0], np.float32)
    )
    # The second is said to be 3 times the first: residuals of 0, 1 of 1 + 3, and 3 of 1 + 9.
    view = WindowView(scaled, 0 * scaled, n_short, 2, relations)
    (found,) = view.statistics(["short_relation"])
    assert found[0, 1] == pytest.approx(expected, rel=1e-5)
    assert view.relation[0, 1] == pytest.approx(0.55 / 3, rel=1e-5)


def test_without_relations_no_feature_is_far_from_what_others_say() -> None:
    scaled = np.ones((4, 8, 2), np.float32)
    view = WindowView(scaled, 0 * scaled, 4, 2)
    assert view.relation.tolist() == view.short_relation.tolist() == np.zeros((4, 2)).tolist()


def test_some_windows_are_those_and_other_errors_change_nothing_else() -> None:
    scaled = np.random.default_rng(0).standard_normal((5, 8, 2)).astype(np.float32)
    relations = fit_relations(scaled)
    view = WindowView(scaled, np.abs(scaled), 4, 6, relations)
    rows = np.array([3, 1])
    for one, all_of_them in zip(
        view.some(rows).statistics(STATISTICS), view.statistics(STATISTICS), strict=True
    ):
        assert one.tobytes() == np.ascontiguousarray(all_of_them[rows]).tobytes()
    other = view.with_errors(0 * scaled)
    assert other.error.max() == pytest.approx(np.log(LOG_FLOOR))
    for name in set(STATISTICS) - {"error", "max_error"}:
        assert getattr(other, name).tobytes() == getattr(view, name).tobytes()


@pytest.mark.parametrize("name", ["max_step", "max_deviation", "max_error"])
@pytest.mark.parametrize(("place", "is_seen"), [(5, True), (4, True), (3, False)])
def test_a_peak_is_sought_among_the_newest_steps(name: str, place: int, is_seen: bool) -> None:
    values = np.zeros(8, np.float32)
    values[place] = 9
    scaled = values.reshape(1, -1, 1)
    view = WindowView(scaled, scaled, 2, 4)
    threshold = 5 if name != "max_step" or place > 3 else 10
    assert (value(view, name) > threshold) is is_seen


def test_the_error_of_a_window_is_that_of_all_or_of_the_newest_steps() -> None:
    view = view_of(1, 1, 1, 1, 3, 5, 5, 7, n_short=2)
    assert (view.window_error.tolist(), view.short_window_error.tolist()) == ([3.0], [6.0])


def test_a_stuck_feature_varies_by_nothing_and_its_logarithm_is_finite() -> None:
    view = view_of(4, 4, 4, 4)
    for name in ("sd", "mean_step", "swing"):
        (found,) = view.statistics([name])
        assert float(found[0, 0]) == pytest.approx(np.log(LOG_FLOOR))
        assert value(view, name) == pytest.approx(0, abs=1e-9)


def test_an_error_below_zero_counts_as_none() -> None:
    scaled = np.zeros((1, 4, 1), np.float32)
    view = WindowView(scaled, scaled - 1, 2, 4)
    assert float(view.error[0, 0]) == pytest.approx(np.log(LOG_FLOOR))


def test_a_window_too_short_for_two_blocks_swings_as_it_steps() -> None:
    view = view_of(1, 2, 4, 4, 4, 5, 5)
    assert view.swing.tolist() == view.mean_step.tolist()


def test_features_do_not_mix() -> None:
    first, second = np.arange(8.0), np.full(8, 3.0)
    scaled = np.stack([first, second], axis=1)[np.newaxis].astype(np.float32)
    view = WindowView(scaled, np.zeros_like(scaled), 4, 8)
    assert view.mean.tolist() == [[3.5, 3.0]]
    assert view.slope[0].tolist() == pytest.approx([7.0, 0.0])
    assert view.max_step[0, 0] > view.max_step[0, 1]


@pytest.mark.parametrize("n_features", [1, 3, 38])
def test_no_bit_depends_on_the_batch(n_features: int) -> None:
    rng = np.random.default_rng(0)
    scaled = rng.standard_normal((130, 60, n_features)).astype(np.float32)
    errors = np.abs(rng.standard_normal(scaled.shape)).astype(np.float32)
    relations = fit_relations(scaled)
    together = WindowView(scaled, errors, 16, 8, relations).statistics(STATISTICS)
    for row in range(len(scaled)):
        one = slice(row, row + 1)
        alone = WindowView(scaled[one], errors[one], 16, 8, relations).statistics(STATISTICS)
        for name, number, many in zip(STATISTICS, alone, together, strict=True):
            assert number[0].tobytes() == many[row].tobytes(), name


def test_a_shift_is_in_units_of_how_far_earlier_means_are_apart() -> None:
    means = np.array([0, 2, 4, 6, 8, 10, 12, 14, 16, 18]) / 2.0  # two steps at 0 to 18
    view = view_of(*np.repeat(means, 2), n_short=2)
    earlier = np.convolve(np.repeat(means, 2), [0.5, 0.5], "valid")[:17]
    assert value(view, "short_shift") == pytest.approx(
        (9 - earlier.mean()) / earlier.std(), rel=1e-5
    )
    down = view_of(*-np.repeat(means, 2), n_short=2)
    assert value(down, "short_shift") == pytest.approx(value(view, "short_shift"))


def test_a_shift_from_a_quiet_past_is_in_units_of_half_a_spread() -> None:
    assert value(view_of(1, 1, 1, 1, 1, 2, 2, n_short=2), "short_shift") == pytest.approx(2)


def test_the_newest_steps_are_no_part_of_their_past() -> None:
    quiet, loud = view_of(0, 0, 0, 0, 3, 3, n_short=2), view_of(0, 0, 0, 3, 3, 3, n_short=2)
    assert value(quiet, "short_shift") == pytest.approx(6)
    earlier = np.array([0, 0, 1.5])
    assert value(loud, "short_shift") == pytest.approx(
        (3 - earlier.mean()) / earlier.std(), rel=1e-5
    )


@pytest.mark.parametrize(("n_steps", "is_there"), [(4, False), (5, True)])
def test_a_window_without_two_earlier_means_has_no_shift(n_steps: int, is_there: bool) -> None:
    view = view_of(*([0.0] * (n_steps - 2)), 3, 3, n_short=2)
    assert (value(view, "short_shift") > 0) == is_there
