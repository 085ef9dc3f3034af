"""What decoding records that are whole windows gives, and what its formats share. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import FloatArray, Rejected
from stream_detector.errors import RecordDecodeError


@dataclass(frozen=True, slots=True)
class Decoded:
    """The windows found in some records.

    Parameters
    ----------
    indices
        Which record each window came from, shape (n_windows,), ascending.
    windows
        Float32, C-contiguous, shape (n_windows, n_steps, n_features), unit: the signal's.
        May hold NaN and infinities; whoever scores checks.
    timestamps_ms
        Times the records themselves give, by record; a record without one is not in here.
    rejected
        Records that are no window, each with its reason.
    """

    indices: NDArray[np.intp]
    windows: FloatArray
    timestamps_ms: Mapping[int, int]
    rejected: Sequence[Rejected]


def all_have_length(values: Sequence[bytes | None], n_bytes: int) -> bool:
    """Return whether every value is there and has that length; runs without a Python loop."""
    try:
        return set(map(len, values)) <= {n_bytes}  # type: ignore[arg-type]
    except TypeError:  # a tombstone has no length
        return False


def nothing_there(value: bytes | None, expected: str = "a window") -> RecordDecodeError:
    """Return the error for a tombstone or an empty value."""
    what = "no value (a tombstone)" if value is None else "an empty value"
    return RecordDecodeError(f"expected {expected}, received {what}")
