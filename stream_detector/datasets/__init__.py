"""Named data sets: fetched once, checked by sha256, brought to one shape.

Importing this loads NumPy and nothing else; each set's own needs are loaded with the set.
"""

from pathlib import Path

from stream_detector.datasets import images
from stream_detector.datasets.base import Dataset, SampleDataset
from stream_detector.datasets.images import ImageChoice

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

DATASET_NAMES = ("ecg5000", "synthetic-ecg", "csv", "parquet")
"""Sets of whole windows."""

IMAGE_DATASET_NAMES = ("mnist", "fashion-mnist")
"""Sets of images."""

SAMPLE_DATASET_NAMES = ("mitdb", "smd", "nab", "csv", "parquet")
"""Sets of samples, to cut windows from."""


def load_dataset(
    name: str,
    *,
    split: str | None = None,
    path: Path | None = None,
    seed: int = 0,
    n_windows: int = 5000,
    n_features: int = 1,
) -> Dataset:
    """Load a data set of windows by name.

    Parameters
    ----------
    name
        One of `DATASET_NAMES`.
    split
        For ecg5000: "tutorial" (the default) or "official".
    path
        For csv and parquet: the file. Where it has labels, its last fifth is the test part.
    seed, n_windows
        For synthetic-ecg: which windows, and how many in both parts together.
    n_features
        For csv and parquet: values at each step.

    Raises
    ------
    DatasetError
        If the set is missing, damaged, or a file cannot be used.
    ValueError
        If the name or the split is unknown, or a file's path is not given: the caller's mistake.

    Examples
    --------
    >>> data = load_dataset("synthetic-ecg", n_windows=100)
    >>> data.train.shape, data.test.shape
    ((80, 140, 1), (20, 140, 1))
    """
    if name == "ecg5000":
        from stream_detector.datasets import ecg5000  # noqa: PLC0415  (only what is asked for)

        return ecg5000.load(split or "tutorial")
    if name == "synthetic-ecg":
        from stream_detector.datasets import synthetic_ecg  # noqa: PLC0415

        return synthetic_ecg.load(seed=seed, n_windows=n_windows)
    if name in ("csv", "parquet"):
        from stream_detector.datasets.files import windows  # noqa: PLC0415

        if path is None:
            message = f"data set {name!r}: expected the path of a file, received none"
            raise ValueError(message)
        return windows.load(Path(path), n_features)
    message = f"data set: expected one of {', '.join(DATASET_NAMES)}, received {name!r}"
    raise ValueError(message)


def load_images(name: str, choice: ImageChoice | None = None) -> Dataset:
    """Load a data set of images by name, each image a window of pixel values 0 to 255.

    Parameters
    ----------
    name
        One of `IMAGE_DATASET_NAMES`.
    choice
        What is normal and what is not; all is normal where it is not given.

    Raises
    ------
    DatasetError
        If the set is missing or damaged, or no image is left to train on.
    ValueError
        If the name is unknown: the caller's mistake.
    """
    for each in (name, choice.anomalous_from if choice else None):
        if each is not None and each not in IMAGE_DATASET_NAMES:
            message = (
                f"data set of images: expected one of {', '.join(IMAGE_DATASET_NAMES)}, "
                f"received {each!r}"
            )
            raise ValueError(message)
    return images.load(name, choice or ImageChoice())


def load_samples(
    name: str, *, series: str | None = None, path: Path | None = None
) -> SampleDataset:
    """Load a data set of samples by name.

    Parameters
    ----------
    name
        One of `SAMPLE_DATASET_NAMES`.
    series
        For mitdb, smd and nab: which record, machine or series, such as "106", "1-6" or
        "realKnownCause/nyc_taxi".
    path
        For csv and parquet: the file. Where it has labels, the last fifth of its time is the
        test part.

    Raises
    ------
    DatasetError
        If the series is unknown, the set is missing or damaged, or a file cannot be used.
    ValueError
        If the name is unknown, or the series or the path is not given: the caller's mistake.
    """
    if name in ("csv", "parquet"):
        from stream_detector.datasets.files import samples  # noqa: PLC0415

        if path is None:
            message = f"data set {name!r}: expected the path of a file, received none"
            raise ValueError(message)
        return samples.load(Path(path))
    if name not in SAMPLE_DATASET_NAMES:
        message = (
            f"data set of samples: expected one of {', '.join(SAMPLE_DATASET_NAMES)}, "
            f"received {name!r}"
        )
        raise ValueError(message)
    if series is None:
        message = f"data set {name!r}: expected a series, received none"
        raise ValueError(message)
    from stream_detector.datasets import mitdb, nab, smd  # noqa: PLC0415

    loaders = {"mitdb": mitdb.load, "smd": smd.load, "nab": nab.load}
    return loaders[name](series)
