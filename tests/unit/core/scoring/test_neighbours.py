"""Distances to the nearest of some normal windows."""

import numpy as np
import pytest

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.neighbours import (
    BLOCK,
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
        squares = sorted(float(((code - each) ** 2).sum()) for each in neighbours.prototypes)
        nearest = float(np.mean(squares[: neighbours.n_nearest]))
        found.append(float(np.sqrt((nearest + (left_out**2).sum()) / len(row))))
    return found


@pytest.mark.parametrize("n_last", [6, 3])
@pytest.mark.parametrize("n_axes", [2, 6, 12])
@pytest.mark.parametrize("feature", [None, 0, 1])
def test_distances_are_those_of_a_naive_search(
    n_last: int, n_axes: int, feature: int | None
) -> None:
    train, test = random_windows(40), random_windows(50)
    rng = np.random.default_rng(0)
    neighbours = fit_neighbours(train, n_last, n_axes, 30, rng, feature)
    n_values = n_last * 2 if feature is None else n_last
    assert neighbours.axes.shape == (n_values, min(n_axes, n_values))
    found = neighbours.distances(test)
    assert found.tolist() == pytest.approx(naive_distances(neighbours, test), rel=1e-3, abs=1e-4)


def test_a_window_that_is_there_three_times_has_no_distance() -> None:
    train = np.repeat(random_windows(5), 3, axis=0)
    neighbours = fit_neighbours(train, 6, 24, 100, np.random.default_rng(0))
    assert neighbours.distances(train) == pytest.approx(0, abs=2e-3)


def test_fewer_windows_than_neighbours_are_enough() -> None:
    neighbours = fit_neighbours(random_windows(1), 6, 24, 100, np.random.default_rng(0))
    assert neighbours.n_nearest == 1
    assert neighbours.distances(random_windows(1)) == pytest.approx([0], abs=2e-3)


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


@pytest.mark.parametrize("n_rows", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 7])
def test_no_bit_of_a_product_depends_on_the_other_rows_or_on_its_place(n_rows: int) -> None:
    rng = np.random.default_rng(1)
    for n_values, n_columns in ((180, 24), (24, 512), (2280, 24), (5, 3)):
        matrix = rng.standard_normal((n_values, n_columns)).astype(np.float32)
        rows = rng.standard_normal((n_rows, n_values)).astype(np.float32)
        together = multiply(rows, matrix)
        places = sorted({*range(min(n_rows, BLOCK)), n_rows - 1})
        for place in places:
            alone = multiply(rows[place : place + 1], matrix)
            assert alone[0].tobytes() == together[place].tobytes()


def test_no_bit_of_a_distance_depends_on_the_batch() -> None:
    neighbours = fit_neighbours(random_windows(300, 60, 3), 60, 24, 256, np.random.default_rng(0))
    windows = random_windows(1_100, 60, 3)
    together = neighbours.distances(windows)
    for start, stop in ((0, 1), (63, 65), (1_000, 1_100), (1_023, 1_026)):
        assert neighbours.distances(windows[start:stop]).tolist() == together[start:stop].tolist()
