"""Samples of some series as columns: what data sets give, and what is cut, replayed and scored."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples of some series, as columns; each series in the order of its times.

    Parameters
    ----------
    keys
        Names of the series. Length n_series.
    series
        Which series each sample is of, an index into `keys`, shape (n_samples,).
    times_ms
        Float64, shape (n_samples,), milliseconds since 1970-01-01 UTC. Fractions are kept, for
        a signal of 360 samples a second has a sample each 2.78 ms.
    values
        Float32, C-contiguous, shape (n_samples, n_features), unit: the signal's. NaN is a
        missing value.
    labels
        Int8, shape (n_samples,), 0 normal and 1 anomalous; None where there are none.
    """

    keys: tuple[str, ...]
    series: NDArray[np.intp]
    times_ms: NDArray[np.float64]
    values: FloatArray
    labels: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.series)
