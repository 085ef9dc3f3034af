"""What the module of a record format imports: the values its functions return, and shared errors.

Pure. The registry (`stream_detector.core.codec.formats`) imports every format's module, so what
these modules need cannot stand there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.records import Rejected
from stream_detector.errors import DataError, RecordShapeError, RecordValueError

PREFIX_BYTES = 5
"""Bytes that a Schema Registry's clients write before a value: a byte 0 and the schema's id."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The windows found in some records.

    Parameters
    ----------
    indices
        Which record each window came from, shape (n_windows,), ascending.
    windows
        Float32, or float64 as a format returns them, C-contiguous, shape
        (n_windows, n_steps, n_features), unit: the signal's. May hold NaN and infinities; the
        detector checks for them.
    timestamps_ms
        Times given in the values of the records, by record index, milliseconds since 1970-01-01
        UTC. A record whose value gives no time has no entry.
    rejected
        Records that hold no window, each with its reason.
    """

    indices: NDArray[np.intp]
    windows: NDArray[Any]
    timestamps_ms: Mapping[int, int]
    rejected: Sequence[Rejected]

    def shifted(self, first_index: int) -> "Decoded":
        """Return the same for records that begin at another index of the batch."""
        return Decoded(
            self.indices + first_index,
            self.windows,
            {first_index + index: time_ms for index, time_ms in self.timestamps_ms.items()},
            [Rejected(first_index + each.index, each.error, each.stage) for each in self.rejected],
        )

    def without(self, errors: Mapping[int, DataError]) -> "Decoded":
        """Return the windows of the other records, and the given ones as rejected.

        Parameters
        ----------
        errors
            Reason of each record to reject, by its index. Of a record that was rejected before,
            the earlier reason stays; records that are not among these are ignored.
        """
        if not errors:
            return self
        is_rejected = np.isin(self.indices, list(errors))  # (n_windows,)
        more = [Rejected(index, errors[index]) for index in self.indices[is_rejected].tolist()]
        kept = ~is_rejected
        return Decoded(
            self.indices[kept], self.windows[kept], self.timestamps_ms, [*self.rejected, *more]
        )


@dataclass(frozen=True, slots=True)
class RawSamples:
    """The samples found in some records of one format, before each sample has its time.

    Parameters
    ----------
    rows
        Which record of the batch each usable record is, shape (n_records,), ascending.
    counts
        Samples in each record, >= 1, shape (n_records,).
    values
        Float32 or float64, shape (n_samples, n_features), unit: the signal's; NaN is missing.
    first_ms
        Time of each record's first sample, milliseconds since 1970-01-01 UTC, float64, shape
        (n_records,); NaN where the value gives none.
    each_ms
        Times of every sample of the records that give them, by row.
    rejected
        Records that cannot be used: row and reason.
    """

    rows: NDArray[np.intp]
    counts: NDArray[np.intp]
    values: NDArray[np.float32] | NDArray[np.float64]
    first_ms: NDArray[np.float64]
    each_ms: Mapping[int, list[float]]
    rejected: Sequence[tuple[int, DataError]]

    def select(self, is_kept: NDArray[np.bool_]) -> "RawSamples":
        """Return the samples of some records.

        Parameters
        ----------
        is_kept
            Which records, shape (n_records,).
        """
        kept = set(self.rows[is_kept].tolist())
        return RawSamples(
            rows=self.rows[is_kept],
            counts=self.counts[is_kept],
            values=self.values[np.repeat(is_kept, self.counts)],  # (n_kept, n_features)
            first_ms=self.first_ms[is_kept],
            each_ms=dict(filter(lambda each: each[0] in kept, self.each_ms.items())),
            rejected=self.rejected,
        )


def without_prefix(values: Sequence[bytes]) -> Sequence[bytes] | None:
    r"""Return values without the prefix of a Schema Registry, None where none of them has one.

    Parameters
    ----------
    values
        Of a format in which no value begins with a byte 0, such as JSON; none is empty.

    Examples
    --------
    >>> without_prefix([b"[1]", b"\0\0\0\0\7[2]"]), without_prefix([b"[1]"])
    ([b'[1]', b'[2]'], None)
    """
    if not any(map(bytes.startswith, values, repeat(b"\0"))):
        return None
    return [value[PREFIX_BYTES:] if value[0] == 0 else value for value in values]


def lost_in_float32() -> RecordValueError:
    """Return the error for a record in float32 where a bundle subtracts an origin before that."""
    return RecordValueError(
        "float32 value: the bundle subtracts an offset from the values before they are rounded to "
        "float32, and here it is too late for that; send json"
    )


def wrong_shape(received: str, shape: tuple[int, int]) -> RecordShapeError:
    """Return the error for a window of another shape than the bundle's.

    Parameters
    ----------
    received
        What the record holds, in words.
    shape
        (n_steps, n_features) of the bundle.

    Examples
    --------
    >>> print(wrong_shape("3 values", (2, 4)))
    expected 2 steps of 4 features, received 3 values
    """
    n_steps, n_features = shape
    features = f" of {n_features} features" if n_features > 1 else ""
    return RecordShapeError(f"expected {n_steps} steps{features}, received {received}")
