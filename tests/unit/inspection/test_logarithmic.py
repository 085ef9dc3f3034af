"""Which features `init` calls logarithmic."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.inspection.logarithmic import choose_logarithmic
from stream_detector.inspection.roles import Layout
from stream_detector.recipes.columns import ColumnMap

AMOUNTS = np.random.default_rng(2).normal(size=2_000)
FACTORS = 50 * np.exp(0.5 * AMOUNTS)


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


def test_more_than_half_of_the_series_decide_and_no_feature_that_is_something_else() -> None:
    amounts = 50 + AMOUNTS
    both = np.column_stack([FACTORS, amounts])
    neither = np.column_stack([amounts, amounts])
    assert chosen(both) == ["a"]
    assert chosen(both, neither) == []
    assert chosen(both, both, neither) == ["a"]
    assert chosen(np.column_stack([FACTORS, FACTORS]), candidates=(False, True)) == ["b"]
