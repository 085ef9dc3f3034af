"""Hold-out blocks: no sample in both parts, spread over the whole time, each series apart."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_detector.datasets import Dataset
from stream_detector.errors import DatasetError
from stream_detector.recipes import Recipe, load_recipe
from stream_detector.training.splits import (
    Fold,
    assign_folds,
    cross_fit,
    fold_blocks,
    hold_out_blocks,
    split_normal,
)


def cut(n_samples: int, n_steps: int, stride: int = 1) -> tuple[Any, Any]:
    starts = np.arange(0, n_samples - n_steps + 1, stride, dtype=np.float64)
    return starts, starts + n_steps - 1


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
@pytest.mark.parametrize(("n_samples", "n_steps", "stride"), [(5000, 20, 3), (500, 20, 1)])
def test_no_sample_is_in_both_parts(
    n_samples: int, n_steps: int, stride: int, share: float
) -> None:
    starts, ends = cut(n_samples, n_steps, stride)
    rest, held_out = hold_out_blocks(np.zeros(len(starts), np.intp), starts, ends, share)
    samples = [
        {
            sample
            for row in np.flatnonzero(part)
            for sample in range(int(starts[row]), int(ends[row]) + 1)
        }
        for part in (rest, held_out)
    ]
    assert not samples[0] & samples[1]
    assert samples[0]
    assert len(samples[1]) == pytest.approx(share * n_samples, rel=0.35)


def test_held_out_blocks_are_spread_over_the_whole_time() -> None:
    starts, ends = cut(20_000, 50)
    _, held_out = hold_out_blocks(np.zeros(len(starts), np.intp), starts, ends, 0.2)
    quarters = np.array_split(held_out, 4)
    assert [quarter.mean() for quarter in quarters] == pytest.approx([0.19] * 4, abs=0.1)


def test_each_series_has_blocks_of_its_own() -> None:
    starts, ends = cut(2_000, 20)
    one = hold_out_blocks(np.zeros(len(starts), np.intp), starts, ends, 0.2)
    order = np.random.default_rng(0).permutation(2 * len(starts))
    series = np.repeat([4, 9], len(starts))[order]
    both = hold_out_blocks(
        series,
        np.concatenate([starts, starts + 1e12])[order],
        np.concatenate([ends, ends + 1e12])[order],
        0.2,
    )
    for part, alone in zip(both, one, strict=True):
        np.testing.assert_array_equal(part, np.concatenate([alone, alone])[order])


def test_too_short_a_series_has_nothing_to_hold_out() -> None:
    starts, ends = cut(30, 20)
    rest, held_out = hold_out_blocks(np.zeros(len(starts), np.intp), starts, ends, 0.2)
    assert not held_out.any()
    assert len(rest) == len(held_out) == len(starts)


def recipe_of(*overrides: str) -> Recipe:
    path = Path(__file__).parents[3] / "models" / "synthetic-ecg-dense.toml"
    keys = ["data.name=csv", "data.path=x.csv", "data.seed=", "data.n_windows=", "window.steps=4"]
    return load_recipe(path, [*keys, *overrides])


def dataset_of(n_windows: int) -> Dataset:
    windows = np.random.default_rng(0).normal(size=(n_windows, 4, 1)).astype(np.float32)
    return Dataset("mine", "", windows, None, windows[:0], None)


@pytest.mark.parametrize(
    ("n_windows", "share", "n_held_out"),
    [(50, 0.2, 10), (49, 0.2, 10), (40, 0.25, 10), (20, 0.5, 10)],
)
def test_enough_windows_are_shared_out(n_windows: int, share: float, n_held_out: int) -> None:
    recipe = recipe_of(f"threshold.calibration_share={share}")
    split = split_normal(recipe, dataset_of(n_windows))
    assert (len(split.fit), len(split.calibrate)) == (n_windows - n_held_out, n_held_out)


@pytest.mark.parametrize(
    ("n_windows", "share", "received"),
    [(47, 0.2, "38 and 9 of 47"), (36, 0.25, "27 and 9 of 36"), (20, 0.55, "9 and 11 of 20")],
)
def test_too_few_windows_to_fit_to_or_to_calibrate_on_are_refused(
    n_windows: int, share: float, received: str
) -> None:
    recipe = recipe_of(f"threshold.calibration_share={share}")
    with pytest.raises(DatasetError) as caught:
        split_normal(recipe, dataset_of(n_windows))
    message = str(caught.value)
    assert "at least 10 normal windows to fit to and 10 others to calibrate" in message
    assert f"received {received}" in message
    assert "threshold.calibrate_on = 'cross-fit' or 'train'" in message
    recipe = recipe_of("threshold.calibrate_on=train")  # as the message says
    assert len(split_normal(recipe, dataset_of(n_windows)).calibrate) == n_windows


@pytest.mark.parametrize("n_folds", [2, 3, 5])
@pytest.mark.parametrize(
    ("n_samples", "n_steps", "stride"), [(5000, 20, 3), (300, 20, 1), (300, 60, 7)]
)
def test_no_sample_is_in_a_fold_and_in_what_is_fitted_for_it(
    n_samples: int, n_steps: int, stride: int, n_folds: int
) -> None:
    starts, ends = cut(n_samples, n_steps, stride)
    folds = fold_blocks(np.zeros(len(starts), np.intp), starts, ends, n_folds)
    assert np.sum([score for _, score in folds], axis=0).tolist() == [1] * len(starts)
    for fit, score in folds:
        samples = [
            {
                sample
                for row in np.flatnonzero(part)
                for sample in range(int(starts[row]), int(ends[row]) + 1)
            }
            for part in (fit, score)
        ]
        assert not samples[0] & samples[1]
        # Nothing more is left out than what overlaps: no window that could be fitted to is idle.
        for row in np.flatnonzero(~fit & ~score):
            assert samples[1] & set(range(int(starts[row]), int(ends[row]) + 1))


def test_folds_alternate_over_the_whole_time() -> None:
    starts, ends = cut(20_000, 50)
    for _, score in fold_blocks(np.zeros(len(starts), np.intp), starts, ends, 2):
        quarters = np.array_split(score, 4)
        assert [quarter.mean() for quarter in quarters] == pytest.approx([0.5] * 4, abs=0.1)


def test_short_series_are_shared_out_as_a_whole() -> None:
    # Each series is one window long, so no block of it is free beside it.
    series, starts = np.arange(6), np.zeros(6)
    folds = fold_blocks(series, starts, starts + 19, 2)
    assert [score.tolist() for _, score in folds] == [[True, False] * 3, [False, True] * 3]
    assert [fit.tolist() for fit, _ in folds] == [[False, True] * 3, [True, False] * 3]


def test_whole_windows_are_assigned_at_random_and_once() -> None:
    recipe = recipe_of("threshold.calibrate_on=cross-fit", "threshold.folds=3")
    labels = np.zeros(60, np.int8)
    labels[::10] = 1
    dataset = replace(dataset_of(60), train_labels=labels)
    folds = assign_folds(recipe, dataset)
    assert [len(fold.score_rows) for fold in folds] == [18] * 3
    scored = np.concatenate([fold.score_rows for fold in folds])
    assert sorted(scored) == np.flatnonzero(labels == 0).tolist()
    for fold in folds:
        assert sorted([*fold.fit_rows, *fold.score_rows]) == sorted(scored)
        assert (np.diff(fold.score_rows) > 0).all()
        assert (np.diff(fold.score_rows) > 1).any()
    other = assign_folds(recipe_of("threshold.calibrate_on=cross-fit", "training.seed=1"), dataset)
    assert len(other) == 2
    split = split_normal(recipe, dataset)
    assert split.fit_rows.tolist() == split.calibrate_rows.tolist() == sorted(scored)


def test_a_fold_with_too_few_windows_to_fit_to_is_refused() -> None:
    recipe = recipe_of("threshold.calibrate_on=cross-fit")
    assert len(assign_folds(recipe, dataset_of(20))) == 2
    with pytest.raises(DatasetError, match="to fit to in each of 2 folds, received 9 of 19"):
        assign_folds(recipe, dataset_of(19))


def test_a_cross_fit_puts_scores_in_the_order_of_windows() -> None:
    folds = [
        Fold(np.array([1, 3]), np.array([0, 4])),
        Fold(np.array([0, 4]), np.array([1, 3])),
    ]
    rows, scores = cross_fit(
        folds, lambda fold: np.column_stack([fold.score_rows, fold.score_rows * 10.0])
    )
    assert rows.tolist() == [0, 1, 3, 4]
    assert scores.tolist() == [[0, 0], [1, 10], [3, 30], [4, 40]]


@pytest.mark.parametrize(
    ("kind", "n_folds"), [("noise", 1), ("flat", 1), ("peak", 2), ("shape", 2)]
)
def test_checks_that_are_fitted_to_nothing_are_calibrated_by_all_windows(
    kind: str, n_folds: int
) -> None:
    checks = f"check=[{{kind='level'}},{{kind='{kind}'}}]"
    recipe = recipe_of("threshold.calibrate_on=cross-fit", "scorer.kind=checks", checks)
    folds = assign_folds(recipe, replace(dataset_of(40), train_labels=np.arange(40) % 8 == 7))
    assert len(folds) == n_folds
    if n_folds == 1:
        normal = np.flatnonzero(np.arange(40) % 8 != 7).tolist()
        assert folds[0].fit_rows.tolist() == folds[0].score_rows.tolist() == normal
