"""ECG5000: 5,000 heartbeats of one patient, 140 steps each, in both forms that are published.

Its publishers scaled each beat to mean 0 and standard deviation 1, so amplitude carries no
information. The signal is PhysioNet's BIDMC record chf07, which is one long recording. Its beats
one after the other are samples again (`load_raw`); they were brought to the same length, so the
time between two samples is by agreement.
"""

import io

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray, Samples
from stream_detector.datasets.base import BASE_MS, Dataset, SampleDataset
from stream_detector.datasets.fetch import RemoteFile, fetch
from stream_detector.errors import DatasetError

SPLITS = ("tutorial", "official")

SAMPLE_INTERVAL_MS = 5.0
"""Time between two samples of `load_raw`. `BASE_MS` is a multiple of the 700 ms of a beat, where
windows of a stride of a beat start."""

_TUTORIAL_SEED = 21
_TUTORIAL_TEST_SHARE = 0.2

_TENSORFLOW_CSV = RemoteFile(
    mirror_path="ecg5000/ecg.csv",
    url="https://storage.googleapis.com/download.tensorflow.org/data/ecg.csv",
    sha256="72ce7b040ca0c6ed36c3368e570c6ac4ddf20100476e47373c63b2395e012df1",
)
_UCR_URL = "https://www.timeseriesclassification.com/aeon-toolkit/ECG5000.zip"
_UCR_TRAIN = RemoteFile(
    mirror_path="ecg5000/ECG5000_TRAIN.txt",
    url=_UCR_URL,
    sha256="0d96aff193311a6dc6111bf0dbd2f7d2313987fbf7a1da4a383d92563876057b",
    member="ECG5000_TRAIN.txt",
)
_UCR_TEST = RemoteFile(
    mirror_path="ecg5000/ECG5000_TEST.txt",
    url=_UCR_URL,
    sha256="baf4ad57d28daa5e79050edd4185968181762bc83d45a757753015b4ba8ab295",
    member="ECG5000_TEST.txt",
)


def load(split: str = "tutorial") -> Dataset:
    """Load one form of the set.

    Parameters
    ----------
    split
        "tutorial": the 4,998 beats of TensorFlow's CSV file, split as in its tutorial "Intro to
        Autoencoders". "official": 500 training and 4,500 test beats, as in the UCR archive.

    Raises
    ------
    DatasetError
        If a file is missing, or its sha256 is not the expected one.
    ValueError
        If `split` is unknown: the caller's mistake.
    """
    if split == "official":
        train, train_classes = _read_ucr(fetch(_UCR_TRAIN))
        test, test_classes = _read_ucr(fetch(_UCR_TEST))
        return Dataset("ecg5000", split, train, train_classes, test, test_classes)
    if split != "tutorial":
        message = f"ecg5000 split: expected one of {', '.join(SPLITS)}, received {split!r}"
        raise ValueError(message)
    windows, labels = _read_tensorflow(fetch(_TENSORFLOW_CSV))
    train_rows, test_rows = tutorial_split(len(windows))
    return Dataset(
        "ecg5000",
        split,
        windows[train_rows],
        labels[train_rows],
        windows[test_rows],
        labels[test_rows],
    )


def load_raw(series: str) -> SampleDataset:
    """Load the beats of a split one after the other, as the samples of one series.

    Parameters
    ----------
    series
        One of `SPLITS`. The samples of its test part follow those of its training part.

    Returns
    -------
    Every sample has the label of its beat. Windows of 140 steps without overlap are the beats of
    `load`, in their order and bit for bit.

    Raises
    ------
    DatasetError
        If the split is unknown, a file is missing, or its sha256 is not the expected one.
    """
    if series not in SPLITS:
        message = (
            f"data set ecg5000-raw: expected one of the series {', '.join(SPLITS)}, "
            f"received {series!r}"
        )
        raise DatasetError(message)
    beats = load(series)
    first_ms = BASE_MS + beats.train.shape[0] * beats.train.shape[1] * SAMPLE_INTERVAL_MS
    return SampleDataset(
        name="ecg5000-raw",
        split=series,
        train=_in_a_row(beats.train, beats.train_labels, BASE_MS),
        test=_in_a_row(beats.test, beats.test_labels, first_ms),
        feature_names=("ecg",),
    )


def _in_a_row(beats: FloatArray, labels: NDArray[np.int8] | None, first_ms: float) -> Samples:
    """Return beats, shape (n_windows, n_steps, 1), as samples from a time on."""
    n_samples = beats.shape[0] * beats.shape[1]
    return Samples(
        keys=("chf07",),
        series=np.zeros(n_samples, dtype=np.intp),
        times_ms=first_ms + np.arange(n_samples) * SAMPLE_INTERVAL_MS,
        values=beats.reshape(n_samples, 1),
        labels=None if labels is None else np.repeat(labels, beats.shape[1]),
    )


def tutorial_split(
    n_windows: int, seed: int = _TUTORIAL_SEED
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the rows of the training and of the test part, as in the tutorial.

    The same rows in the same order as scikit-learn's `train_test_split(test_size=0.2,
    random_state=seed)`; a test compares the two.

    Examples
    --------
    >>> [rows.tolist() for rows in tutorial_split(5)]
    [[2, 0, 3, 1], [4]]
    """
    # The tutorial's split comes from NumPy's legacy generator.
    order = np.random.RandomState(seed).permutation(n_windows)
    n_test = int(np.ceil(_TUTORIAL_TEST_SHARE * n_windows))
    return order[n_test:], order[:n_test]


def _read_tensorflow(content: bytes) -> tuple[FloatArray, NDArray[np.int8]]:
    """Read comma-separated rows whose last column is 1 for normal."""
    rows = np.loadtxt(io.BytesIO(content), delimiter=",")
    return _windows(rows[:, :-1]), (rows[:, -1] != 1.0).astype(np.int8)


def _read_ucr(content: bytes) -> tuple[FloatArray, NDArray[np.int8]]:
    """Read space-separated rows whose first column is the class, 1 for normal."""
    rows = np.loadtxt(io.BytesIO(content))
    return _windows(rows[:, 1:]), (rows[:, 0] != 1.0).astype(np.int8)


def _windows(values: NDArray[np.float64]) -> FloatArray:
    """Return rows as float32 windows of one feature, shape (n_windows, n_steps, 1)."""
    return np.ascontiguousarray(values[:, :, np.newaxis], dtype=np.float32)
