"""ECG5000 as its two publishers have it. Needs the files."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from present import present

from stream_detector.datasets import Dataset, load_dataset, load_samples
from stream_detector.datasets.base import BASE_MS
from stream_detector.datasets.ecg5000 import SAMPLE_INTERVAL_MS, SPLITS, tutorial_split
from stream_detector.errors import DatasetError
from stream_detector.recipes.datasets import DATASETS


@pytest.mark.parametrize("n_windows", [5, 99, 100, 4998])
def test_tutorial_split_is_scikit_learns(n_windows: int) -> None:
    selection = pytest.importorskip("sklearn.model_selection")
    rows = np.arange(n_windows)
    expected = selection.train_test_split(rows, test_size=0.2, random_state=21)
    for ours, theirs in zip(tutorial_split(n_windows), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    other = selection.train_test_split(rows, test_size=0.2, random_state=3)
    for ours, theirs in zip(tutorial_split(n_windows, 3), other, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def check(data: Dataset, n_train: int, n_test: int) -> None:
    assert data.train.shape == (n_train, 140, 1)
    assert data.test.shape == (n_test, 140, 1)
    for windows in (data.train, data.test):
        assert windows.dtype == np.float32
        assert windows.flags.c_contiguous
        np.testing.assert_allclose(windows.mean(axis=1), 0.0, atol=0.01)
    assert data.train_labels is not None
    assert data.test_labels is not None
    assert data.train_labels.dtype == data.test_labels.dtype == np.int8


def n_normal(data: Dataset) -> int:
    parts = (present(data.train_labels), present(data.test_labels))
    return sum(int((labels == 0).sum()) for labels in parts)


@pytest.mark.usefixtures("mirror")
def test_tutorial_form() -> None:
    data = load_dataset("ecg5000")
    check(data, 3998, 1000)
    assert data.split == "tutorial"
    assert n_normal(data) == 2919
    assert int(present(data.test_labels).sum()) == 440


@pytest.mark.usefixtures("mirror")
def test_official_form() -> None:
    data = load_dataset("ecg5000", split="official")
    check(data, 500, 4500)
    assert n_normal(data) == 2919


@pytest.mark.usefixtures("mirror")
def test_tutorial_form_is_the_official_one_in_another_order() -> None:
    tutorial, official = load_dataset("ecg5000"), load_dataset("ecg5000", split="official")
    ours = np.concatenate([tutorial.train, tutorial.test])[:, :, 0].astype(np.float64)
    theirs = np.concatenate([official.train, official.test])[:4998, :, 0].astype(np.float64)
    order, other = np.lexsort(ours.T[:3]), np.lexsort(theirs.T[:3])
    np.testing.assert_allclose(ours[order], theirs[other], rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("mirror")
def test_values_come_by_way_of_float64(data_folder: Path) -> None:
    with gzip.open(data_folder / "ecg5000" / "ecg.csv.gz", "rt") as file:
        first = [np.float32(float(text)) for text in file.readline().split(",")[:-1]]
    data = load_dataset("ecg5000")
    windows = np.concatenate([data.train, data.test])[:, :, 0]
    assert (windows == np.array(first, dtype=np.float32)).all(axis=1).any()


@pytest.mark.usefixtures("mirror")
def test_fingerprint_tells_splits_apart() -> None:
    tutorial = load_dataset("ecg5000")
    assert tutorial.fingerprint == load_dataset("ecg5000").fingerprint
    assert tutorial.fingerprint != load_dataset("ecg5000", split="official").fingerprint


@pytest.mark.parametrize(
    "wrong", [{"name": "ecg5000", "split": "mine"}, {"name": "mnist"}, {"name": "csv"}]
)
def test_unknown_names_are_the_callers_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        load_dataset(**wrong)


@pytest.mark.usefixtures("mirror")
@pytest.mark.parametrize("split", SPLITS)
def test_raw_samples_are_the_beats_one_after_the_other(split: str) -> None:
    beats, raw = load_dataset("ecg5000", split=split), load_samples("ecg5000-raw", series=split)
    assert (raw.name, raw.split, raw.feature_names) == ("ecg5000-raw", split, ("ecg",))
    first_ms = BASE_MS
    pairs = (
        (raw.train, beats.train, beats.train_labels),
        (raw.test, beats.test, beats.test_labels),
    )
    for samples, windows, labels in pairs:
        assert samples.keys == ("chf07",)
        np.testing.assert_array_equal(samples.values, windows.reshape(-1, 1))
        np.testing.assert_array_equal(present(samples.labels), np.repeat(present(labels), 140))
        np.testing.assert_array_equal(samples.times_ms, first_ms + 5 * np.arange(len(samples)))
        first_ms += 700 * len(windows)
    assert DATASETS["ecg5000-raw"].sample_interval_ms == SAMPLE_INTERVAL_MS == 5
    assert BASE_MS % 700 == 0  # else windows would not start where beats do


def test_another_series_of_raw_beats_is_refused_with_the_known_ones() -> None:
    with pytest.raises(DatasetError, match=r"ecg5000-raw.*tutorial, official, received 'mine'"):
        load_samples("ecg5000-raw", series="mine")
