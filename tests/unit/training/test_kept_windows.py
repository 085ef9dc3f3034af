"""Which and how many training windows were left out is kept in the bundle."""

from pathlib import Path

import numpy as np
import pytest

from stream_detector.bundle.manifest import LEFT_OUT_KEYS_MAX, LEFT_OUT_ROWS_MAX
from stream_detector.datasets import Dataset
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.training.kept_windows import N_KEYS_DRAWN, count_left_out


def recipe_of(*changes: str, name: str = "mitdb-dense") -> Recipe:
    return load_recipe(Path(__file__).parents[3] / "models" / f"{name}.toml", changes)


def labelled(labels: list[int], keys: tuple[str, ...] | None) -> Dataset:
    windows = np.zeros((len(labels), 2, 1), np.float32)
    return Dataset("x", "", windows, np.array(labels, np.int8), windows[:0], None, keys)


def test_windows_left_out_are_counted_by_key() -> None:
    labels = [0, 1, 0, 1, 1, 0, 0]
    found = count_left_out(recipe_of(), labelled(labels, ("b", "b", "b", "a", "a", "a", "c")))
    assert (found.n_windows, found.n_left_out, found.n_keys) == (7, 3, 3)
    assert [
        (each.key, each.n_windows, each.n_left_out, each.left_out, each.kept)
        for each in found.by_key
    ] == [("a", 3, 2, (3, 4), (5,)), ("b", 3, 1, (1,), (0, 2)), ("c", 1, 0, (), ())]
    assert found.counts()["by_key"][0] == {"key": "a", "n_windows": 3, "n_left_out": 2}


def test_whole_windows_are_counted_together() -> None:
    recipe = recipe_of(name="ecg5000-dense")
    for keys in (None, ("p", "q", "r")):
        found = count_left_out(recipe, labelled([0, 1, 0], keys))
        assert found.n_keys == 1
        assert [(each.key, each.left_out, each.kept) for each in found.by_key] == [
            ("", (1,), (0, 2))
        ]


def test_where_nothing_is_left_out_no_rows_are_kept() -> None:
    found = count_left_out(recipe_of(), labelled([0, 0], ("a", "b")))
    assert (found.n_left_out, found.n_keys) == (0, 2)
    assert all(each.left_out == each.kept == () for each in found.by_key)


@pytest.mark.parametrize("n_keys", [1, N_KEYS_DRAWN, N_KEYS_DRAWN + 1, LEFT_OUT_KEYS_MAX + 1])
def test_of_many_windows_some_are_drawn_by_the_seed(n_keys: int) -> None:
    n_each = 1_000
    keys = tuple(f"k{number:02d}" for number in range(n_keys) for _ in range(n_each))
    dataset = labelled([0, 1] * (n_each // 2) * n_keys, keys)
    found = count_left_out(recipe_of(), dataset)
    n_drawn = min(n_keys, N_KEYS_DRAWN)
    rows = [(len(each.left_out), len(each.kept)) for each in found.by_key]
    n_shown = min(n_keys, LEFT_OUT_KEYS_MAX)
    n_of_each = LEFT_OUT_ROWS_MAX // n_drawn
    assert rows == [(n_of_each, n_of_each)] * n_drawn + [(0, 0)] * (n_shown - n_drawn)
    assert found.n_keys == n_keys
    first = found.by_key[0]
    assert list(first.left_out) == sorted(first.left_out)
    assert all(row % 2 == 1 and row < n_each for row in first.left_out)
    assert count_left_out(recipe_of(), dataset) == found
    assert count_left_out(recipe_of("training.seed=1"), dataset) != found
