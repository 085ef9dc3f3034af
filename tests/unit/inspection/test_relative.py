"""Which features are counters, and which go one way all the time."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.inspection.relative import choose_relative
from stream_detector.inspection.roles import Layout
from stream_detector.recipes.columns import ColumnMap

N_STEPS, DAY_MS = 10, 86_400_000
RANDOM = np.random.default_rng(1)


def chosen(
    *series: NDArray[np.float64], days: float = 2.0, n_faulty: int = 0
) -> dict[str, list[str]]:
    """Return what is chosen for the features a, b, ... of series, each (n_samples, n_features)."""
    values = np.concatenate(series)
    numbers = np.repeat(np.arange(len(series)), [len(each) for each in series])
    times = [np.linspace(0, days * DAY_MS, len(each)) for each in series]
    is_normal = np.arange(len(values)) < len(values) - n_faulty
    order = RANDOM.permutation(len(values))  # rows may come in any order
    keys = tuple(f"k{number}" for number in range(len(series)))
    columns = ColumnMap(features=tuple("abcd"[: values.shape[1]]))
    of_rows: Any = (numbers[order], keys, np.concatenate(times)[order], is_normal[order])
    found = choose_relative(Layout(columns, {}, *of_rows), values[order], N_STEPS)
    assert all(each.why for each in found.values())
    return {key: each.value for key, each in found.items()}


def noise(n_samples: int = 500) -> NDArray[np.float64]:
    """Return noise within 1 of 0."""
    return RANDOM.uniform(-1, 1, n_samples)


def test_what_goes_up_and_down_is_neither() -> None:
    daily = 20 * np.sin(np.arange(500) / 40)
    assert chosen(np.column_stack([noise(), daily, np.zeros(500)])) == {}


def test_a_counter_may_start_again_and_lack_values() -> None:
    counter = np.arange(3_000.0)
    counter[1_000:] -= 1_000
    counter[1_500:1_600] = np.nan
    assert chosen(np.column_stack([counter, noise(3_000)]), days=0.1) == {"counters": ["a"]}


@pytest.mark.parametrize(("n_falls", "is_counter"), [(2, True), (3, False)])
def test_a_counter_falls_in_few_steps(n_falls: int, is_counter: bool) -> None:
    steps = np.ones(1_000)
    steps[100 : 100 + n_falls] = -5
    values = np.concatenate([[0], steps.cumsum()])[:, np.newaxis]
    assert chosen(values, days=0.1) == ({"counters": ["a"]} if is_counter else {})


@pytest.mark.parametrize(("n_rises", "is_counter"), [(19, False), (20, True)])
def test_a_counter_rises_now_and_then(n_rises: int, is_counter: bool) -> None:
    steps = np.zeros(1_000)
    steps[::50][:n_rises] = 1
    values = np.concatenate([[0], steps.cumsum()])[:, np.newaxis]
    assert chosen(values, days=0.1) == ({"counters": ["a"]} if is_counter else {})


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("days", "is_trend"), [(2.0, True), (1.99, False)])
def test_a_trend_takes_two_days(sign: int, days: float, is_trend: bool) -> None:
    values = np.column_stack([noise(), sign * np.linspace(0, 10, 500) + noise()])
    assert chosen(values, days=days) == ({"relative": ["b"]} if is_trend else {})


@pytest.mark.parametrize(("n_samples", "is_trend"), [(500, True), (499, False)])
def test_a_trend_takes_ten_windows_a_fifth(n_samples: int, is_trend: bool) -> None:
    values = np.linspace(0, 10, n_samples)[:, np.newaxis] + noise(n_samples)[:, np.newaxis]
    assert bool(chosen(values)) == is_trend


def test_a_trend_shares_no_level_with_its_beginning_and_never_turns() -> None:
    slow = np.linspace(0, 0.5, 500) + noise()
    dip = (np.arange(500) > 300) & (np.arange(500) < 400)
    turns = np.linspace(0, 10, 500) + noise() - 6 * dip
    assert chosen(np.column_stack([slow, turns])) == {}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("levels", "n_back", "is_trend"),
    [((0, 1, 2, 3, 4), 0, True), ((0, 1, 1, 2, 3), 0, False), ((0, 1, 2, 3, 4), 10, False)],
)
def test_a_trend_stays_nowhere_and_does_not_come_back(
    sign: int, levels: tuple[int, ...], n_back: int, is_trend: bool
) -> None:
    values = np.repeat(np.array(levels, np.float64), 100)
    values[len(values) - n_back :] = 0
    assert bool(chosen(sign * values[:, np.newaxis])) == is_trend


def test_one_sample_a_key_tells_nothing() -> None:
    assert chosen(np.zeros((1, 2)), np.ones((1, 2))) == {}


def test_most_keys_must_have_the_trend() -> None:
    trend, level = (
        np.linspace(0, end, 500)[:, np.newaxis] + noise()[:, np.newaxis] for end in (10, 0)
    )
    assert chosen(trend, level) == {}
    assert chosen(trend, trend, level) == {"relative": ["a"]}


def test_a_feature_that_is_away_for_long_is_judged_by_what_there_is() -> None:
    values = np.column_stack([np.linspace(0, 10, 800) + noise(800), noise(800)])
    values[200:400, 0] = np.nan
    assert chosen(values) == {"relative": ["a"]}
    values[200:520, 0] = np.nan  # then 48 windows are left
    assert chosen(values) == {}


def test_what_a_label_marks_does_not_count() -> None:
    values = np.concatenate([noise(), np.linspace(20, 30, 100)])[:, np.newaxis]
    assert chosen(values, n_faulty=100) == {}
