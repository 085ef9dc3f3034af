"""The two shapes of data sets: whole windows, or samples that are cut into windows."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import Features, to_float32
from stream_detector.core.key_scales import KeyScales
from stream_detector.core.records import FloatArray, Samples
from stream_detector.core.stream_evaluation import LabelledEvent
from stream_detector.core.windowing.pauses import PeakIntervals
from stream_detector.datasets.window_stream import WindowStream

BASE_MS = 1_767_225_600_000.0
"""2026-01-01T00:00Z: time of the first sample of a recording without dates."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Windows to train on and windows to test on.

    Parameters
    ----------
    name, split
        Names of the data set and of its split; split is "" if there is only one.
    train, test
        Float32, C-contiguous, shape (n_windows, n_steps, n_features), unit: the signal's, or that
        of `key_scales`. `test` may be empty.
    train_labels, test_labels
        Int8, shape (n_windows,), 0 normal and 1 anomalous; None if the data set has no labels.
    train_keys, test_keys
        Series key of each window, None if the data set has none.
    train_timestamps_ms, test_timestamps_ms
        Int64, time of each window's first step, milliseconds since 1970-01-01 UTC; None if the
        data set has none.
    feature_names
        Names of the features; None if the data set has none.
    origin
        What was taken from each feature before values were rounded to float32; empty if nothing
        was. See `stream_detector.core.features`.
    key_scales
        The scale of each key, to which the windows were brought; None where all have the same.
    train_intervals, test_intervals
        How far the peaks are apart that windows are cut round; None where nothing asks. No window
        to train on stands for a pause.
    stream
        All training windows, where `train` and `test` are only some that were drawn; None where
        they are all there are.
    """

    name: str
    split: str
    train: FloatArray
    train_labels: NDArray[np.int8] | None
    test: FloatArray
    test_labels: NDArray[np.int8] | None
    train_keys: tuple[str, ...] | None = None
    test_keys: tuple[str, ...] | None = None
    train_timestamps_ms: NDArray[np.int64] | None = None
    test_timestamps_ms: NDArray[np.int64] | None = None
    feature_names: tuple[str, ...] | None = None
    origin: tuple[float, ...] = ()
    key_scales: KeyScales | None = None
    train_intervals: PeakIntervals | None = None
    test_intervals: PeakIntervals | None = None
    stream: WindowStream | None = None

    def in_float32(self, origin: tuple[float, ...] = ()) -> "Dataset":
        """Return the windows of a file, which are float64, without an origin and as float32."""
        train, test = (to_float32(windows, origin) for windows in (self.train, self.test))
        stream = None if self.stream is None else replace(self.stream, origin=origin)
        return replace(self, train=train, test=test, origin=origin, stream=stream)

    def in_key_units(self, features: Features) -> "Dataset":
        """Return the windows, which have keys, in the units that these have in a bundle."""
        train, test = (
            features.to_key_units(windows, keys or ())
            for windows, keys in ((self.train, self.train_keys), (self.test, self.test_keys))
        )
        return replace(self, train=train, test=test, key_scales=features.key_scales)

    @property
    def fingerprint(self) -> str:
        """Return the sha256 of all windows and labels, by which a bundle identifies its data.

        Those that were not drawn count too.
        """
        if self.stream is not None:
            return self.stream.fingerprint
        digest = hashlib.sha256()
        for array in (self.train, self.train_labels, self.test, self.test_labels):
            if array is None:
                digest.update(b"none;")
                continue
            digest.update(f"{array.dtype.str}{array.shape};".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    @property
    def normal_train(self) -> FloatArray:
        """Return the training windows labelled normal; all of them if there are no labels."""
        return self.train if self.train_labels is None else self.train[self.train_labels == 0]


@dataclass(frozen=True, slots=True, eq=False)
class SampleDataset:
    """Samples to train on and samples to test on, which are cut into windows.

    Parameters
    ----------
    name, split
        Names of the data set and of the series; split is "" if there is only one.
    train, test
        Samples, each series in order of time; both have the same `keys`. The samples of `train`
        precede those of `test`. Either both have labels or neither has. `test` may be empty.
    feature_names
        Name of each column of the values. Length n_features.
    faults
        Faults whose kind or features are known, of both parts; those of others are only labelled.
    """

    name: str
    split: str
    train: Samples
    test: Samples
    feature_names: tuple[str, ...]
    faults: tuple[LabelledEvent, ...] = ()
