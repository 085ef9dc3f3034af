"""JSON values to samples: all together where all are plain, else one by one with what is wrong.

Pure. `{"values": [[f1, f2], ...]}` with `"timestamp_ms"`, the time of the first sample, or
`"timestamps_ms"`, one each, in milliseconds with or without a fraction; null is a missing value.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from stream_detector.core.codec.windows import TIMESTAMP_MS_MAX, parse_json
from stream_detector.errors import (
    DataError,
    RecordDecodeError,
    RecordOrderError,
    RecordShapeError,
    RecordValueError,
)

_VALUES, _TIME, _TIMES = "values", "timestamp_ms", "timestamps_ms"
_NUMBERS = {int, float, type(None)}
_NOT_PLAIN = (ValueError, TypeError, KeyError, OverflowError, AttributeError)


@dataclass(frozen=True, slots=True)
class Read:
    """Records as they say it: rows, counts, values, and times where they give them."""

    rows: NDArray[np.intp]
    counts: NDArray[np.intp]
    values: NDArray[Any]  # (n_samples, n_features)
    first_ms: NDArray[np.float64]
    each_ms: dict[int, list[float]]
    rejected: list[tuple[int, DataError]]


def read_json(values: Sequence[bytes | None], rows: NDArray[np.intp], n_features: int) -> Read:
    """Read JSON records, all together where all are plain, else one by one."""
    plain = _read_plain(values, rows, n_features)
    if plain is not None:
        return plain
    kept: list[int] = []
    samples: list[NDArray[np.float64]] = []
    first_ms: list[float] = []
    each_ms: dict[int, list[float]] = {}
    rejected: list[tuple[int, DataError]] = []
    for row, value in zip(rows.tolist(), values, strict=True):
        try:
            array, times = _read_one(value, n_features)
        except DataError as error:
            rejected.append((row, error))
            continue
        kept.append(row)
        samples.append(array)
        first_ms.append(math.nan if times is None or isinstance(times, list) else times)
        if isinstance(times, list):
            each_ms[row] = times
    counts = np.array([len(array) for array in samples], dtype=np.intp)
    joined = np.concatenate([np.empty((0, n_features)), *samples])
    firsts = np.array(first_ms, dtype=np.float64)
    return Read(np.array(kept, dtype=np.intp), counts, joined, firsts, each_ms, rejected)


def _read_plain(
    values: Sequence[bytes | None], rows: NDArray[np.intp], n_features: int
) -> Read | None:
    """Read records of numbers and a time each; None where any of them is something else."""
    try:
        documents = list(map(orjson.loads, values))  # type: ignore[arg-type]
        lists = [document[_VALUES] for document in documents]
        times = [document.get(_TIME) for document in documents]
        # Two keys of which one is a time each: no further one can be a list of times.
        is_known = None not in times and max(map(len, documents)) == len((_VALUES, _TIME))
        if not is_known and any(_TIMES in document for document in documents):
            return None
        if not set(map(type, times)) <= _NUMBERS:
            return None
        first_ms = np.array(times, dtype=np.float64)  # NaN where there is none
        numbers = _plain_numbers(lists, n_features)
    except _NOT_PLAIN:
        return None
    is_out = (first_ms < 0) | (first_ms > TIMESTAMP_MS_MAX)
    if numbers is None or is_out.any():
        return None
    counts = np.fromiter(map(len, lists), np.intp, len(lists))
    return Read(rows, counts, numbers, first_ms, {}, [])


def _plain_numbers(lists: list[Any], n_features: int) -> NDArray[np.float64] | None:
    """Return all samples, shape (n_samples, n_features); None where any is something else."""
    if set(map(type, lists)) != {list} or not all(lists):
        return None
    samples = list(chain.from_iterable(lists))
    if set(map(type, samples)) == {list}:
        if set(map(len, samples)) != {n_features}:
            return None
        samples = list(chain.from_iterable(samples))
    elif n_features > 1:
        return None
    if not set(map(type, samples)) <= _NUMBERS:
        return None
    return np.array(samples, dtype=np.float64).reshape(-1, n_features)


def _read_one(
    value: bytes | None, n_features: int
) -> tuple[NDArray[np.float64], float | list[float] | None]:
    """Read one record in full, and name exactly what is wrong with it."""
    if not value:
        raise nothing_there(value)
    try:
        document = parse_json(value)
    except RecordValueError as error:
        message = f"{error}, or null for a missing value"
        raise RecordValueError(message) from None
    if not isinstance(document, dict) or "values" not in document:
        found = sorted(document) if isinstance(document, dict) else type(document).__name__
        message = f'JSON value: expected an object with "values", received {str(found)[:80]}'
        raise RecordDecodeError(message)
    samples = _read_samples(document["values"], n_features)
    if document.get(_TIMES) is not None:
        return samples, _read_times(document[_TIMES], len(samples))
    time_ms = document.get(_TIME)
    if time_ms is not None and not _is_time(time_ms):
        raise not_a_time(_TIME, time_ms)
    return samples, time_ms


def _read_samples(values: Any, n_features: int) -> NDArray[np.float64]:
    """Return the samples of `"values"`, shape (n_samples, n_features); null becomes NaN."""
    if not isinstance(values, list):
        message = f'"values": expected an array of samples, received {type(values).__name__}'
        raise RecordDecodeError(message)
    if not values:
        message = '"values": expected at least one sample, received none'
        raise RecordShapeError(message)
    if not any(type(row) is list for row in values):
        # One feature needs no inner arrays, and one sample no outer one.
        values = [[value] for value in values] if n_features == 1 else [values]
    for at, row in enumerate(values):
        if type(row) is not list or not set(map(type, row)) <= _NUMBERS:
            message = f"values[{at}]: expected numbers or null, received {str(row)[:40]!r}"
            raise RecordDecodeError(message)
        if len(row) != n_features:
            message = f"values[{at}]: expected {n_features} features, received {len(row)}"
            raise RecordShapeError(message)
    return np.array(values, dtype=np.float64)


def _read_times(times: Any, n_samples: int) -> list[float]:
    """Return the time of each sample."""
    if not isinstance(times, list) or not times:
        raise not_a_time(_TIMES, times)
    if len(times) != n_samples:
        message = f"timestamps_ms: expected one for each of {n_samples} samples, got {len(times)}"
        raise RecordShapeError(message)
    for at, time in enumerate(times):
        place = f"{_TIMES}[{at}]"
        if not _is_time(time):
            raise not_a_time(place, time)
        if at and time < times[at - 1]:
            message = (
                f"{place}: expected no time before {times[at - 1]}, received {time}; "
                "send the samples of a record in the order of their times"
            )
            raise RecordOrderError(message)
    return times


def _is_time(value: object) -> bool:
    """Return whether a JSON value is a time in milliseconds."""
    return type(value) in (int, float) and 0 <= value <= TIMESTAMP_MS_MAX  # type: ignore[operator]


def not_a_time(name: str, received: object) -> RecordValueError:
    """Return the error for a value that is no time in milliseconds."""
    return RecordValueError(
        f"{name}: expected milliseconds since 1970 up to the year 9999, "
        f"received {str(received)[:80]!r}"
    )


def nothing_there(value: bytes | None) -> RecordDecodeError:
    """Return the error for a tombstone or an empty value."""
    what = "no value (a tombstone)" if value is None else "an empty value"
    return RecordDecodeError(f"expected samples, received {what}")
