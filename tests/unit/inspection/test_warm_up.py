"""How long the warm-up of a new key is: as long as known keys take to show what is normal."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.inspection.plan import Chosen
from stream_detector.inspection.roles import Layout
from stream_detector.inspection.warm_up import SIZES, choose_warm_up
from stream_detector.recipes.columns import ColumnMap

RANDOM = np.random.default_rng(0)


def chosen(values: NDArray[np.float64], n_keys: int = 1, n_faulty: int = 0) -> Chosen:
    """Return what is chosen for keys that send in turn; the last rows are labelled as faults."""
    series = np.arange(len(values)) % n_keys
    is_normal = np.arange(len(values)) < len(values) - n_faulty
    keys = tuple(f"k{number}" for number in range(n_keys))
    columns = ColumnMap(features=tuple("ab"[: values.shape[1]]))
    times_ms = 1_000.0 * np.arange(len(values), dtype=np.float64)
    return choose_warm_up(Layout(columns, {}, series, keys, times_ms, is_normal), values)


def wandering(n_samples: int, cycle: float, n_keys: int = 1) -> NDArray[np.float64]:
    """Return noise on a level that goes up and down, for each of some keys in turn."""
    level = 3 * np.sin(2 * np.pi * np.arange(n_samples) / cycle)
    values: NDArray[np.float64] = level[:, np.newaxis] + RANDOM.normal(size=(n_samples, n_keys))
    return values.reshape(-1, 1)


def test_where_nothing_changes_the_shortest_is_enough() -> None:
    found = chosen(RANDOM.normal(size=(40_000, 2)), n_keys=4)
    assert found.value == SIZES[0]
    assert "100% of stretches of so many are like the rest of their key" in found.why


@pytest.mark.parametrize(("cycle", "expected"), [(300, 600), (2_400, 2_500), (4_900, 5_000)])
def test_a_cycle_needs_a_warm_up_of_its_length(cycle: float, expected: int) -> None:
    assert chosen(wandering(50_000, cycle, 2), 2).value == expected


def test_what_changes_slower_than_that_takes_the_longest() -> None:
    found = chosen(wandering(60_000, 60_000))
    assert found.value == SIZES[-1]
    assert "changes slowly" in found.why


def test_one_feature_that_wanders_is_enough() -> None:
    quiet = RANDOM.normal(size=(50_000, 1))
    assert chosen(np.hstack([quiet, wandering(50_000, 4_900)])).value == 5_000


@pytest.mark.parametrize(("n_unlike", "is_enough"), [(1, True), (2, False)])
def test_nine_of_ten_stretches_alike_are_enough(n_unlike: int, is_enough: bool) -> None:
    values = np.tile(np.linspace(-1.0, 1.0, SIZES[0]), 10)[:, np.newaxis]
    values[: n_unlike * SIZES[0]] += 5.0
    assert (chosen(values).value == SIZES[0]) is is_enough


def test_too_few_samples_tell_nothing() -> None:
    found = chosen(RANDOM.normal(size=(2 * SIZES[0] - 1, 1)))
    assert found.value == SIZES[0]
    assert "too few to tell" in found.why
    assert "too few" not in chosen(RANDOM.normal(size=(2 * SIZES[0], 1))).why


def test_faults_and_missing_values_do_not_count() -> None:
    values = RANDOM.normal(size=(12_000, 2))
    values[-4_000:] += 50
    assert chosen(values).value > SIZES[0]
    assert chosen(values, n_faulty=4_000).value == SIZES[0]
    values[:600, 0] = np.nan  # a whole stretch without a value
    values[5_000, 1] = np.nan
    assert chosen(values, n_faulty=4_000).value == SIZES[0]
