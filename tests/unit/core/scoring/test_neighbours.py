"""Distances to the nearest of some normal windows."""

from dataclasses import replace

import numpy as np
import pytest

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.neighbours import (
    Neighbours,
    fit_neighbours,
    multiply,
)


def random_windows(n_windows: int, n_steps: int = 6, n_features: int = 2) -> FloatArray:
    rng = np.random.default_rng(n_windows)
    return rng.standard_normal((n_windows, n_steps, n_features)).astype(np.float32)


def naive_distances(neighbours: Neighbours, windows: FloatArray) -> list[float]:
    """Return the distances, window by window and in float64."""
    found = []
    for window in windows.astype(np.float64):
        compared = window if neighbours.feature is None else window[:, [neighbours.feature]]
        row = compared[-neighbours.n_last :].ravel() - neighbours.middle
        code = row @ neighbours.axes
        left_out = row - neighbours.axes @ code
        code = code * neighbours.factors
        squares = sorted(float(((code - each) ** 2).sum()) for each in neighbours.prototypes)
        nearest = float(np.mean(squares[: neighbours.n_nearest]))
        found.append(float(np.sqrt((nearest + (left_out**2).sum()) / len(row))))
    return found


@pytest.mark.parametrize("n_last", [6, 3])
@pytest.mark.parametrize("n_axes", [2, 6, 12])
@pytest.mark.parametrize("feature", [None, 0, 1])
@pytest.mark.parametrize("whitening", [0.0, 0.75])
def test_distances_are_those_of_a_naive_search(
    n_last: int, n_axes: int, feature: int | None, whitening: float
) -> None:
    train, test = random_windows(40), random_windows(50)
    rng = np.random.default_rng(0)
    neighbours = fit_neighbours(train, n_last, n_axes, 30, rng, feature).whitened(whitening)
    n_values = n_last * 2 if feature is None else n_last
    assert neighbours.axes.shape == (n_values, min(n_axes, n_values))
    found = neighbours.distances(test)
    assert found.tolist() == pytest.approx(naive_distances(neighbours, test), rel=1e-3, abs=1e-4)


def test_a_window_that_is_there_three_times_has_no_distance() -> None:
    train = np.repeat(random_windows(5), 3, axis=0)
    neighbours = fit_neighbours(train, 6, 24, 100, np.random.default_rng(0))
    assert neighbours.distances(train) == pytest.approx(0, abs=2e-3)


@pytest.mark.parametrize(("power", "ratio"), [(0.0, 1.0), (0.5, 2.0), (1.0, 4.0)])
def test_whitened_coordinates_vary_more_alike(power: float, ratio: float) -> None:
    rng = np.random.default_rng(0)
    spread = np.array([4.0, 1.0])  # two values, of which the second varies a quarter as much
    train = (rng.standard_normal((4_000, 2)) * spread).astype(np.float32)[:, np.newaxis]
    neighbours = fit_neighbours(train, 1, 2, 4_000, np.random.default_rng(0)).whitened(power)
    assert neighbours.factors.tolist() == pytest.approx([1.0, ratio], rel=0.05)
    assert neighbours.prototypes.std(axis=0).tolist() == pytest.approx([4, ratio], rel=0.05)
    one = replace(neighbours, n_nearest=1, prototypes=neighbours.prototypes[:1])
    there = neighbours.middle + neighbours.axes @ (one.prototypes[0] / neighbours.factors)
    beside = there + neighbours.axes.T  # one unit along each component
    found = one.distances(beside[:, np.newaxis].astype(np.float32))
    assert (found[1] / found[0]).item() == pytest.approx(ratio, rel=0.05)


def test_rounding_does_not_count_where_windows_do_not_vary() -> None:
    train = np.ones((20, 3, 1), np.float32)
    constant = fit_neighbours(train, 3, 2, 20, np.random.default_rng(0)).whitened(1.0)
    assert constant.factors.tolist() == [1, 1]
    train[:, 0, 0] = np.arange(20)
    varied = fit_neighbours(train, 3, 3, 20, np.random.default_rng(0)).whitened(1.0)
    assert varied.factors.tolist() == pytest.approx([1, 1_000, 1_000])


def test_fewer_windows_than_neighbours_are_enough() -> None:
    neighbours = fit_neighbours(random_windows(1), 6, 24, 100, np.random.default_rng(0))
    assert neighbours.n_nearest == 1
    assert neighbours.distances(random_windows(1)) == pytest.approx([0], abs=2e-3)


def test_equal_distances_count_as_often_as_they_are_there() -> None:
    neighbours = fit_neighbours(random_windows(9), 6, 12, 9, np.random.default_rng(0))
    twice = replace(
        neighbours, prototypes=np.concatenate([neighbours.prototypes[:2]] * 2), n_nearest=3
    )
    window = random_windows(3)
    found = twice.distances(window).tolist()
    assert found == pytest.approx(naive_distances(twice, window), rel=1e-3)


def test_only_the_newest_steps_count() -> None:
    neighbours = fit_neighbours(random_windows(20), 2, 4, 20, np.random.default_rng(0))
    windows = random_windows(3)
    changed = windows.copy()
    changed[:, :4] += 100
    assert neighbours.distances(windows).tolist() == neighbours.distances(changed).tolist()
    changed[:, 4] += 1
    assert (neighbours.distances(windows) != neighbours.distances(changed)).all()


def test_no_windows_have_no_distances() -> None:
    neighbours = fit_neighbours(random_windows(20), 6, 4, 20, np.random.default_rng(0))
    assert neighbours.distances(random_windows(0)).shape == (0,)


@pytest.mark.parametrize("n_rows", [1, 2, 15, 16, 17, 87])
def test_no_bit_of_a_product_depends_on_the_other_rows_or_on_its_place(n_rows: int) -> None:
    rng = np.random.default_rng(1)
    for n_values, n_columns in ((180, 24), (24, 512), (2280, 24), (5, 3)):
        matrix = rng.standard_normal((n_values, n_columns)).astype(np.float32)
        rows = rng.standard_normal((n_rows, n_values)).astype(np.float32)
        together = multiply(rows, matrix)
        for place in range(n_rows):
            alone = multiply(rows[place : place + 1], matrix)
            assert alone[0].tobytes() == together[place].tobytes()


@pytest.mark.parametrize("whitening", [0.0, 0.75])
def test_no_bit_of_a_distance_depends_on_the_batch(whitening: float) -> None:
    rng = np.random.default_rng(0)
    neighbours = fit_neighbours(random_windows(300, 60, 3), 60, 24, 256, rng).whitened(whitening)
    windows = random_windows(1_100, 60, 3)
    together = neighbours.distances(windows)
    for start, stop in ((0, 1), (15, 17), (1_000, 1_100), (1_023, 1_026)):
        assert neighbours.distances(windows[start:stop]).tolist() == together[start:stop].tolist()
