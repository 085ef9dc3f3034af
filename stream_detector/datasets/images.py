"""MNIST and Fashion-MNIST: grey images of 28 x 28 pixels in ten classes.

An image is a window: its rows are the steps and the values of a row the features, each 0 to 255.
The recipe chooses which classes are normal; anomalous images may come from the other data set.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray
from stream_detector.datasets.base import Dataset
from stream_detector.datasets.fetch import RemoteFile, fetch
from stream_detector.errors import DatasetError

N_CLASSES = 10

_ROWS = _COLUMNS = 28
_IMAGES_HEADER, _LABELS_HEADER = 16, 8
"""Bytes before the values in an idx file of images, and in one of labels."""

_URLS = {
    "mnist": "https://storage.googleapis.com/cvdf-datasets/mnist",
    "fashion-mnist": "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
}
_FOLDERS = {"mnist": "mnist", "fashion-mnist": "fashion_mnist"}
_SHA256 = {
    ("mnist", "train-images-idx3-ubyte"): (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    ("mnist", "train-labels-idx1-ubyte"): (
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    ("mnist", "t10k-images-idx3-ubyte"): (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    ("mnist", "t10k-labels-idx1-ubyte"): (
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
    ("fashion-mnist", "train-images-idx3-ubyte"): (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    ("fashion-mnist", "train-labels-idx1-ubyte"): (
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    ("fashion-mnist", "t10k-images-idx3-ubyte"): (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    ("fashion-mnist", "t10k-labels-idx1-ubyte"): (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}
"""By data set and file; of the content, uncompressed."""


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """Choice of normal and anomalous images, and of their number.

    Parameters
    ----------
    normal
        Classes that are normal; None for all.
    anomalous
        Classes of the test part that are anomalous; None for all that are not normal, or, with
        `anomalous_from`, for all classes of that data set.
    anomalous_from
        The data set that anomalous images come from; None for the same one.
    n_images
        Most images that are read of each data set, the first ones of training and test part
        together; None for all.
    """

    normal: tuple[int, ...] | None = None
    anomalous: tuple[int, ...] | None = None
    anomalous_from: str | None = None
    n_images: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One part of one data set: `images` uint8, shape (n_images, 28, 28), `classes` (n_images,)."""

    name: str
    images: NDArray[np.uint8]
    classes: NDArray[np.uint8]

    def rows(self, classes: tuple[int, ...]) -> NDArray[np.intp]:
        """Return the rows of the images of some classes."""
        return np.flatnonzero(np.isin(self.classes, classes))

    def keys(self, rows: NDArray[np.intp]) -> tuple[str, ...]:
        """Return a key for each image, which identifies it in the data set."""
        return tuple(f"{self.name}/{row}" for row in rows.tolist())


def load(name: str, choice: ImageChoice) -> Dataset:
    """Load a data set of images.

    Parameters
    ----------
    name
        "mnist" or "fashion-mnist".
    choice
        Choice of normal and anomalous images.

    Returns
    -------
    Windows of shape (n_images, 28, 28), pixel values 0 to 255. The training part holds normal
    images only. The test part holds the normal images first, then the anomalous ones, and its keys
    give the origin of each, such as "mnist/test/17".

    Raises
    ------
    DatasetError
        If a file is missing, its sha256 is not the expected one, or there is no image to train on.
    """
    every = tuple(range(N_CLASSES))
    normal = every if choice.normal is None else choice.normal
    others = every if choice.anomalous_from else tuple(sorted(set(every) - set(normal)))
    anomalous = others if choice.anomalous is None else choice.anomalous
    train, test = (_read(name, part, choice.n_images) for part in ("train", "test"))
    strange = test
    if choice.anomalous_from is not None:
        strange = _read(choice.anomalous_from, "test", choice.n_images)
    fitting, known, odd = train.rows(normal), test.rows(normal), strange.rows(anomalous)
    if not fitting.size:
        message = f"data {name}: expected images of the classes {normal} to train on, received none"
        raise DatasetError(message)
    return Dataset(
        name=name,
        split="",
        train=_windows(train.images[fitting]),
        train_labels=np.zeros(len(fitting), dtype=np.int8),
        test=_windows(np.concatenate([test.images[known], strange.images[odd]])),
        test_labels=np.repeat(np.array([0, 1], dtype=np.int8), [len(known), len(odd)]),
        train_keys=train.keys(fitting),
        test_keys=test.keys(known) + strange.keys(odd),
    )


def _read(name: str, part: str, n_images: int | None) -> _Part:
    """Read the images and labels of one part, or the first `n_images` of both parts together."""
    prefix = "train" if part == "train" else "t10k"
    images, labels = (
        fetch(
            RemoteFile(
                mirror_path=f"{_FOLDERS[name]}/{file}",
                url=f"{_URLS[name]}/{file}.gz",
                sha256=_SHA256[name, file],
            )
        )
        for file in (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
    )
    pixels = np.frombuffer(images, np.uint8, offset=_IMAGES_HEADER).reshape(-1, _ROWS, _COLUMNS)
    classes = np.frombuffer(labels, np.uint8, offset=_LABELS_HEADER)
    n_kept = len(classes)
    if n_images is not None:  # training and test part keep their proportion, six to one
        n_kept = min(n_kept, n_images - n_images // 7 if part == "train" else n_images // 7)
    return _Part(f"{name}/{part}", pixels[:n_kept], classes[:n_kept])


def _windows(images: NDArray[np.uint8]) -> FloatArray:
    """Return pixel values as float32, shape (n_images, 28, 28)."""
    return images.astype(np.float32)
