"""Which features vary by factors."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.inspection.logarithmic import choose_logarithmic, varies_by_factors
from stream_detector.inspection.roles import Layout
from stream_detector.recipes.columns import ColumnMap

AMOUNTS = np.random.default_rng(2).normal(size=2_000)
FACTORS = 50 * np.exp(0.5 * AMOUNTS)


def with_ends(low: float, high: float, n: int = 1_001) -> NDArray[np.float64]:
    """Return values whose median is 1 and of which more than a fiftieth are at either end."""
    values = np.ones(n)
    n_ends = n // 40
    values[:n_ends], values[-n_ends:] = low, high
    return values


def chosen(*series: NDArray[np.float64], candidates: tuple[bool, ...] | None = None) -> list[str]:
    """Return what is chosen for the features a, b, ... of series, each (n_samples, n_features)."""
    values = np.concatenate(series)
    numbers = np.repeat(np.arange(len(series)), [len(each) for each in series])
    columns = ColumnMap(features=tuple("abcd"[: values.shape[1]]))
    keys = tuple(f"k{number}" for number in range(len(series)))
    times_ms, is_normal = np.arange(len(values)) * 1_000.0, np.ones(len(values), np.bool_)
    of_rows: Any = (numbers, keys, times_ms, is_normal)
    layout = Layout(columns, {}, *of_rows)
    is_candidate = np.array(candidates or (True,) * values.shape[1])
    found = choose_logarithmic(layout, values, is_candidate)
    return found["logarithmic"].value if found else []


def test_what_varies_by_factors_is_told_from_amounts() -> None:
    assert varies_by_factors(FACTORS)
    assert varies_by_factors(np.append(FACTORS, [np.nan, np.inf, 0.0]))
    assert not varies_by_factors(50 + AMOUNTS)
    assert not varies_by_factors(np.abs(AMOUNTS))
    assert not varies_by_factors(np.repeat([1.0, 100.0], 500))
    assert not varies_by_factors(np.full(500, 3.0))
    assert not varies_by_factors(np.append(np.zeros(3_000), FACTORS))


def test_what_was_ever_below_zero_has_no_logarithm() -> None:
    assert varies_by_factors(np.append(FACTORS, 0.0))
    assert not varies_by_factors(np.append(FACTORS, -0.001))


@pytest.mark.parametrize(("n_values", "is_found"), [(99, False), (100, True)])
def test_a_hundred_values_are_needed(n_values: int, is_found: bool) -> None:
    assert varies_by_factors(np.exp(np.linspace(-2, 2, n_values))) is is_found


@pytest.mark.parametrize(("factor", "is_found"), [(1.84, False), (1.88, True)])
def test_the_ends_are_a_factor_away(factor: float, is_found: bool) -> None:
    # (factor + 1 / factor - 2) / (factor - 1 / factor) is 0.3 at 1.857.
    assert varies_by_factors(with_ends(1 / factor, factor)) is is_found


@pytest.mark.parametrize(
    ("low", "is_found"), [(0.24, False), (0.25, True), (0.46, True), (0.47, False)]
)
def test_logarithms_are_about_symmetric(low: float, is_found: bool) -> None:
    assert varies_by_factors(with_ends(low, 2.8)) is is_found


def test_more_than_half_of_the_series_decide_and_no_feature_that_is_something_else() -> None:
    amounts = 50 + AMOUNTS
    both = np.column_stack([FACTORS, amounts])
    neither = np.column_stack([amounts, amounts])
    assert chosen(both) == ["a"]
    assert chosen(both, neither) == []
    assert chosen(both, both, neither) == ["a"]
    assert chosen(np.column_stack([FACTORS, FACTORS]), candidates=(False, True)) == ["b"]
