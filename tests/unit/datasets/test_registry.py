"""The registry of data sets: every entry can be loaded, with keys that recipes have."""

from importlib import import_module
from inspect import signature

import pytest

from stream_detector.recipes.datasets import DATASETS, REQUIRED_KEYS, RecordKind, names_of
from stream_detector.recipes.sections import DataSection, WindowSection


@pytest.mark.parametrize("name", DATASETS)
def test_keys_are_those_of_the_sections(name: str) -> None:
    entry = DATASETS[name]
    assert set(entry.keys) <= set(DataSection.model_fields)
    assert set(entry.required) <= set(entry.keys) & set(REQUIRED_KEYS)
    assert set(entry.window) <= set(WindowSection.model_fields)
    assert entry.loaders


COLUMN_KEYS = {
    *("key", "time", "time_format", "label", "normal_label", "features"),
    *("feature_name", "feature_value"),
}
"""Keys that say which column is what."""


@pytest.mark.parametrize(
    ("name", "record"),
    [(name, record) for name, entry in DATASETS.items() for record in entry.loaders],
)
def test_every_loader_takes_the_keys_of_its_entry(name: str, record: RecordKind) -> None:
    entry = DATASETS[name]
    loaders = dict(entry.loaders)
    module, _, function = loaders[record].partition(":")
    load = getattr(import_module(f"stream_detector.datasets.{module}"), function)
    taken = {"name", "choice"} if record == "image" else set(entry.keys)
    if taken & COLUMN_KEYS:  # they reach the loader as one
        assert taken >= COLUMN_KEYS
        taken = (taken - COLUMN_KEYS) | {"columns"}
    # Windows are left out once they are cut, and left in their file to train on alone.
    taken -= {"leave_out", "n_windows_in_memory"}
    assert taken <= set(signature(load).parameters)


def test_a_file_holds_windows_or_samples() -> None:
    assert set(names_of("window")) & set(names_of("samples")) == {"csv", "parquet", "memory"}
