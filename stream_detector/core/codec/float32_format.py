"""The record format `float32`: little-endian values, step by step and feature by feature.

Pure. A value holds numbers and nothing else: how many make a window or a sample follows from the
bundle. NaN is a missing value. All records are read with one join and one view of the result.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.decoding import Decoded, RawSamples, wrong_shape
from stream_detector.core.features import Features
from stream_detector.core.records import FloatArray, Rejected
from stream_detector.errors import DataError, RecordDecodeError, RecordShapeError

MEDIA_TYPES = {"float32": b"application/vnd.stream-detector.float32"}
"""What the `content-type` header says for this format."""

TIME_HEADER = "timestamp-ms"
"""Header with the time of a record's first sample, decimal text of milliseconds: the value has no
place for it, and a Kafka record's own time has no fraction."""

_N_BYTES = 4


def decode_windows(
    values: Sequence[bytes], indices: NDArray[np.intp], shape: tuple[int, int]
) -> Decoded:
    """Decode records that each hold one window.

    Parameters
    ----------
    values
        Record values, none empty. Length n_records.
    indices
        Which record of the batch each one is, shape (n_records,).
    shape
        (n_steps, n_features) of a window.
    """
    n_bytes = _N_BYTES * shape[0] * shape[1]
    rejected: list[Rejected] = []
    if not set(map(len, values)) <= {n_bytes}:
        lengths = np.fromiter(map(len, values), np.int64, len(values))  # (n_records,)
        is_fitting = lengths == n_bytes  # (n_records,)
        for row in np.flatnonzero(~is_fitting).tolist():
            error = _explain_window(len(values[row]), shape)
            rejected.append(Rejected(int(indices[row]), error))
        values = [values[row] for row in np.flatnonzero(is_fitting).tolist()]
        indices = indices[is_fitting]  # (n_windows,)
    joined = np.frombuffer(b"".join(values), dtype="<f4")
    windows = joined.reshape(-1, *shape)  # (n_windows, n_steps, n_features)
    windows = windows.astype(np.float32, copy=False)  # copies on big-endian machines only
    return Decoded(indices, windows, {}, rejected)


def decode_samples(
    values: Sequence[bytes], rows: NDArray[np.intp], features: Features
) -> RawSamples:
    """Decode records that each hold one or more samples.

    Parameters
    ----------
    values
        Record values, none empty. Length n_records.
    rows
        Which record of the batch each one is, shape (n_records,).
    features
        Values of a sample, in order.
    """
    n_features = len(features)
    n_bytes = _N_BYTES * n_features
    lengths = np.fromiter(map(len, values), np.int64, len(values))  # (n_records,)
    is_fitting = lengths % n_bytes == 0  # (n_records,)
    rejected: list[tuple[int, DataError]] = []
    if not is_fitting.all():
        for at in np.flatnonzero(~is_fitting).tolist():
            message = (
                f"float32 value: expected samples of {n_features} features, a multiple of "
                f"{n_bytes} bytes, received {len(values[at])} bytes"
            )
            rejected.append((int(rows[at]), RecordShapeError(message)))
        values = [values[at] for at in np.flatnonzero(is_fitting).tolist()]
    joined = np.frombuffer(b"".join(values), dtype="<f4")
    counts = (lengths[is_fitting] // n_bytes).astype(np.intp)  # (n_fitting,)
    samples = joined.reshape(-1, n_features)  # (n_samples, n_features)
    no_time = np.full(len(counts), np.nan)  # (n_fitting,)
    return RawSamples(rows[is_fitting], counts, samples, no_time, {}, rejected)


def encode_window(window: FloatArray) -> bytes:
    """Return one window, shape (n_steps, n_features), as a record's value."""
    return window.astype("<f4", copy=False).tobytes()


def encode_samples(values: FloatArray, times_ms: float | list[float] | None = None) -> bytes:
    """Return samples, shape (n_samples, n_features), as a record's value, which holds no time."""
    del times_ms
    return values.astype("<f4", copy=False).tobytes()


def _explain_window(n_bytes: int, shape: tuple[int, int]) -> DataError:
    """Return what is wrong with a value of another length than a window's."""
    if n_bytes % _N_BYTES:
        return RecordDecodeError(
            f"float32 value: expected a multiple of {_N_BYTES} bytes, received {n_bytes} bytes"
        )
    return wrong_shape(f"{n_bytes // _N_BYTES} values", shape)
