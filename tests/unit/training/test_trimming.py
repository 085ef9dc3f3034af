"""Windows that look like faults are left out of the training data of a fleet."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.core.scoring.checks import looks_of
from stream_detector.datasets import Dataset
from stream_detector.recipes import load_recipe
from stream_detector.training import trimming
from stream_detector.training.trimming import (
    FAR,
    N_KEYS_MIN,
    describe_faults,
    describe_too_many,
    find_faults,
    find_strange,
    trim_strange,
)

LOOKS = looks_of(("level",), 1, has_courses=False)
N_EACH = 50
BEATS = load_recipe(Path(__file__).parents[3] / "models" / "mitdb-beats.toml")


def fleet(n_keys: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return numbers of windows of some keys: each has one that is farthest, by 1, on each side."""
    values = np.zeros((n_keys * N_EACH, len(LOOKS)))
    values[::N_EACH], values[1::N_EACH] = 1.0, -1.0
    return values, np.repeat(np.arange(n_keys), N_EACH)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("distance", "is_found"), [(FAR, False), (FAR + 1e-9, True)])
def test_a_window_is_a_fault_beyond_one_and_a_half_times_the_usual(
    sign: int, distance: float, is_found: bool
) -> None:
    values, series = fleet(N_KEYS_MIN)
    values[120, 2:4] = sign * distance  # looks at the slope, up and down
    assert np.flatnonzero(find_faults(LOOKS, values, series)).tolist() == [120] * is_found


def test_what_most_keys_show_is_normal() -> None:
    values, series = fleet(10)
    values[[row * N_EACH + 20 for row in range(6)]] = 5.0
    assert not find_faults(LOOKS, values, series).any()
    values[5 * N_EACH + 20] = values[4 * N_EACH + 20] = 0.0
    assert np.flatnonzero(find_faults(LOOKS, values, series)).tolist() == [20, 70, 120, 170]


def test_of_few_keys_nothing_is_left_out() -> None:
    values, series = fleet(N_KEYS_MIN - 1)
    values[120] = 100.0
    assert not find_faults(LOOKS, values, series).any()


def test_what_hardly_varies_is_no_fault_by_a_trifle() -> None:
    values, series = fleet(N_KEYS_MIN)
    values *= 0.01
    values[120] = 0.15 * FAR
    assert not find_faults(LOOKS, values, series).any()
    values[120] = 0.15 * FAR + 1e-9
    assert find_faults(LOOKS, values, series).any()


WHY = "look like faults; if they are normal, set scorer.trim = false"


def test_spans_are_named_by_key_and_time() -> None:
    start_ms = np.array([0, 5_000, 500_000, 0, 5_000, 10_000], np.int64)
    keys = ("b", "b", "b", "a", "a", "a")
    is_fault = np.array([True, True, True, False, True, False])
    text = describe_faults(is_fault, keys, start_ms, start_ms.astype(np.float64) + 59_000, WHY)
    assert text.startswith("4 of 6 training windows (66.7%) look like faults")
    assert text.index("a from 1970-01-01T00:00:05") < text.index("b from 1970-01-01T00:00:00")
    assert text.count(" from ") == 3
    assert "set scorer.trim = false" in text


@pytest.mark.parametrize(("start_ms", "n_spans"), [(59_000, 1), (59_001, 2)])
def test_windows_that_meet_are_one_span(start_ms: int, n_spans: int) -> None:
    starts = np.array([0, start_ms], np.int64)
    ends = starts.astype(np.float64) + 59_000
    text = describe_faults(np.ones(2, np.bool_), ("a", "a"), starts, ends, WHY)
    assert text.count(" from ") == n_spans


@pytest.mark.parametrize(("n_faults", "is_too_many"), [(0, False), (2, False), (3, True)])
def test_more_than_a_tenth_of_the_windows_are_no_faults(n_faults: int, is_too_many: bool) -> None:
    text = describe_too_many(np.arange(20) < n_faults)
    assert (text is not None) == is_too_many
    assert text is None or text.startswith("3 of 20 training windows (15.0%) are unlike those")


@pytest.mark.parametrize(("n_windows", "more"), [(5, ""), (12, ", and 7 more spans")])
def test_many_spans_are_counted(n_windows: int, more: str) -> None:
    start_ms = 100_000 * np.arange(n_windows, dtype=np.int64)
    text = describe_faults(
        np.ones(n_windows, np.bool_),
        ("k",) * n_windows,
        start_ms,
        start_ms.astype(np.float64) + 59_000,
        WHY,
    )
    assert text.count(" from ") == 5
    assert f"Z{more}; if they are normal" in text


def beats(n_windows: int, seed: int = 0) -> FloatArray:
    """Return windows of two features that are alike but for noise and a slow drift."""
    rng = np.random.default_rng(seed)
    course = np.sin(np.linspace(0, 6, 12))[:, np.newaxis] * [1, 5]
    drift = np.linspace(0, 1, n_windows)[:, np.newaxis, np.newaxis] * course[::-1]
    windows = course + drift + rng.normal(0, 0.1, (n_windows, 12, 2)) * [1, 5]
    found: FloatArray = windows.astype(np.float32)
    return found


STRANGE = [5, 40, 41, 99]


def test_windows_unlike_most_of_their_key_are_strange() -> None:
    windows = beats(120)
    windows[STRANGE, 3:9, 0] += 3  # a third of the course of the smaller feature
    found = find_strange(windows, np.zeros(120, np.intp))
    assert np.flatnonzero(found).tolist() == STRANGE
    assert not find_strange(beats(120), np.zeros(120, np.intp)).any()


@pytest.mark.parametrize("n_compared_max", [40, 4_096])
def test_the_first_and_the_last_window_are_compared_with_others_alone(
    monkeypatch: pytest.MonkeyPatch, n_compared_max: int
) -> None:
    monkeypatch.setattr(trimming, "_N_COMPARED_MAX", n_compared_max)
    windows = beats(120)
    windows[[0, 119], 3:9, 0] += 6
    found = np.flatnonzero(find_strange(windows, np.zeros(120, np.intp)))
    assert {0, 119} <= {*found.tolist()}


def test_a_signal_far_from_zero_is_judged_as_one_at_zero() -> None:
    windows = (np.round(beats(120) * 64) / 64).astype(np.float32)
    windows[STRANGE, 3:9, 0] += 3
    found = find_strange(windows + np.float32(50_000), np.zeros(120, np.intp))
    assert np.flatnonzero(found).tolist() == STRANGE


def test_what_is_normal_in_one_key_may_be_strange_in_another() -> None:
    some, other = beats(60), -beats(60, seed=1)
    some[7] = other[7]
    series = np.tile([1, 0], 60)
    windows = np.stack([other, some], axis=1).reshape(120, 12, 2)
    assert np.flatnonzero(find_strange(windows, series)).tolist() == [15]


@pytest.mark.parametrize(("n_windows", "is_told"), [(19, False), (20, True)])
def test_of_a_key_with_few_windows_none_is_strange(n_windows: int, is_told: bool) -> None:
    windows = beats(n_windows)
    windows[3] += 50
    found = find_strange(windows, np.zeros(n_windows, np.intp))
    assert np.flatnonzero(found).tolist() == [3] * is_told


def test_windows_that_are_all_alike_and_none_at_all_are_normal() -> None:
    flat = np.full((30, 12, 2), 7.3, np.float32)
    assert not find_strange(flat, np.zeros(30, np.intp)).any()
    flat[:, :, 0] = beats(30)[:, :, 0]
    assert not find_strange(flat, np.zeros(30, np.intp)).any()
    assert find_strange(flat[:0], np.zeros(0, np.intp)).tolist() == []


def of_beats(n_windows: int = 120) -> Dataset:
    """Return a data set whose strange windows have no label, and a normal one has."""
    windows = beats(n_windows)
    windows[STRANGE, 3:9, 0] += 3
    labels = np.zeros(n_windows, np.int8)
    labels[11] = 1
    starts = 10_000 * np.arange(n_windows, dtype=np.int64)
    return Dataset(
        name="beats",
        split="random",
        train=windows,
        train_labels=labels,
        test=windows[:0],
        test_labels=None,
        train_keys=("heart",) * n_windows,
        test_keys=(),
        train_timestamps_ms=starts,
        test_timestamps_ms=starts[:0],
    )


def test_a_recipe_that_trims_labels_what_is_strange_and_no_other() -> None:
    dataset, text = trim_strange(BEATS, of_beats())
    assert dataset.train_labels is not None
    assert np.flatnonzero(dataset.train_labels).tolist() == STRANGE
    assert text is not None
    assert text.startswith("4 of 120 training windows (3.3%) are unlike most of their key")
    assert "heart from 1970-01-01T00:00:50" in text
    assert "training.trim = false" in text


def test_windows_without_keys_or_times_are_counted() -> None:
    dataset = replace(of_beats(), train_keys=None, train_timestamps_ms=None)
    dataset, text = trim_strange(BEATS, dataset)
    assert dataset.train_labels is not None
    assert np.flatnonzero(dataset.train_labels).tolist() == STRANGE
    assert text is not None
    assert text.startswith("4 of 120 training windows (3.3%) are unlike most, and were left out")


def test_without_anything_strange_there_is_nothing_to_say() -> None:
    dataset, text = trim_strange(BEATS, replace(of_beats(), train=beats(120)))
    assert text is None
    assert dataset.train_labels is not None
    assert not dataset.train_labels.any()


def test_a_recipe_that_does_not_trim_leaves_labels_as_they_are() -> None:
    training = BEATS.training.model_copy(update={"trim": False})
    recipe, given = BEATS.model_copy(update={"training": training}), of_beats()
    assert trim_strange(recipe, given) == (given, None)
