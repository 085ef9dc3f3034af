"""Named data sets, downloaded once, checked by sha256 and brought to one of two shapes.

`stream_detector.recipes.datasets` registers them. Importing this package loads NumPy and nothing
else: the module of a data set, and the packages that it needs, are imported when it is loaded.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from stream_detector.datasets.base import Dataset, SampleDataset
from stream_detector.datasets.images import ImageChoice
from stream_detector.files import AnyPath
from stream_detector.recipes.datasets import DATASETS, REQUIRED_KEYS, RecordKind, names_of

__all__ = [
    "DATASET_NAMES",
    "IMAGE_DATASET_NAMES",
    "SAMPLE_DATASET_NAMES",
    "Dataset",
    "ImageChoice",
    "SampleDataset",
    "load_dataset",
    "load_images",
    "load_samples",
]

DATASET_NAMES = names_of("window")
"""Data sets of whole windows."""

IMAGE_DATASET_NAMES = names_of("image")
"""Data sets of images."""

SAMPLE_DATASET_NAMES = names_of("samples")
"""Data sets of samples, which are cut into windows."""


def load_dataset(
    name: str,
    *,
    split: str | None = None,
    path: AnyPath | None = None,
    seed: int | None = None,
    n_windows: int | None = None,
    n_features: int = 1,
) -> Dataset:
    """Load a data set of windows by name.

    Each data set takes some of the options and ignores the others.

    Parameters
    ----------
    name
        One of `DATASET_NAMES`.
    split
        For ecg5000: "tutorial" (the default) or "official".
    path
        For csv and parquet: the file. If it has labels, its last fifth is the test part.
    seed, n_windows
        For synthetic-ecg: seed of the windows, 0 by default, and how many both parts have
        together, 5,000 by default.
    n_features
        For csv and parquet: values at each time step.

    Raises
    ------
    DatasetError
        If the data set is missing or damaged, or a file cannot be used.
    ValueError
        If the name or the split is unknown, or the path is not given: the caller's mistake.

    Examples
    --------
    >>> data = load_dataset("synthetic-ecg", n_windows=100)
    >>> data.train.shape, data.test.shape
    ((80, 140, 1), (20, 140, 1))
    """
    load = _loader(name, "window", "data set")
    options = {"split": split, "path": path, "seed": seed, "n_windows": n_windows}
    taken = _taken(name, options)
    if "path" in taken:
        taken["n_features"] = n_features
    dataset: Dataset = load(**taken)
    return dataset


def load_images(name: str, choice: ImageChoice | None = None) -> Dataset:
    """Load a data set of images by name; each image is a window of pixel values 0 to 255.

    Parameters
    ----------
    name
        One of `IMAGE_DATASET_NAMES`.
    choice
        Which images are normal and which are anomalous; all are normal by default.

    Raises
    ------
    DatasetError
        If the data set is missing or damaged, or there is no image to train on.
    ValueError
        If a name is unknown: the caller's mistake.
    """
    choice = choice or ImageChoice()
    load = _loader(name, "image", "data set of images")
    if choice.anomalous_from is not None:
        _loader(choice.anomalous_from, "image", "data set of images")
    dataset: Dataset = load(name, choice)
    return dataset


def load_samples(
    name: str, *, series: str | None = None, path: AnyPath | None = None
) -> SampleDataset:
    """Load a data set of samples by name.

    Parameters
    ----------
    name
        One of `SAMPLE_DATASET_NAMES`.
    series
        For mitdb, smd and nab: the record, machine or series, such as "106", "1-6" or
        "realKnownCause/nyc_taxi".
    path
        For csv and parquet: the file. If it has labels, the last fifth of its time is the test
        part.

    Raises
    ------
    DatasetError
        If the series is unknown, the data set is missing or damaged, or a file cannot be used.
    ValueError
        If the name is unknown, or the series or the path is not given: the caller's mistake.
    """
    load = _loader(name, "samples", "data set of samples")
    dataset: SampleDataset = load(**_taken(name, {"series": series, "path": path}))
    return dataset


def _loader(name: str, record: RecordKind, what: str) -> Callable[..., Any]:
    """Return the function that loads a data set, importing its module."""
    if name not in names_of(record):
        message = f"{what}: expected one of {', '.join(names_of(record))}, received {name!r}"
        raise ValueError(message)
    module, _, function = DATASETS[name].loaders[record].partition(":")
    load: Callable[..., Any] = getattr(import_module(f"{__name__}.{module}"), function)
    return load


def _taken(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return those options that are given and that a data set takes, refusing to miss one."""
    entry = DATASETS[name]
    if options.get("path") is not None:
        options["path"] = Path(options["path"])
    for key in entry.required:
        if options.get(key) is None:
            message = f"data set {name!r}: expected {REQUIRED_KEYS[key]}, received none"
            raise ValueError(message)
    return {key: options[key] for key in entry.keys if options.get(key) is not None}
