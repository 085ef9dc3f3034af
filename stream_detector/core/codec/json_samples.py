"""What stands under `"values"`, `"timestamp_ms"` and `"timestamps_ms"` in JSON records of samples.

Pure. The functions of many documents are fast and give None where one of them is not plain; those
of one document name exactly what is wrong with it.
"""

from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.features import Features
from stream_detector.core.timestamps import TIMESTAMP_MS_MAX, invalid_time
from stream_detector.errors import RecordDecodeError, RecordOrderError, RecordShapeError
from stream_detector.text import brief, json_kind

VALUES, TIME, TIMES = "values", "timestamp_ms", "timestamps_ms"
"""Keys of a JSON record."""

NUMBERS = {int, float}
"""Types of a value in JSON that is a number."""

NUMBERS_OR_NULL = {int, float, type(None)}
"""Types of a value in JSON that is a number or missing."""

NOT_PLAIN = (ValueError, TypeError, KeyError, OverflowError, AttributeError, RuntimeError)
"""What the fast paths raise for a document that is not plain."""


def plain_times(documents: list[Any]) -> NDArray[np.float64] | None:
    """Return the time of the first sample of many documents, as `sample_times` does.

    Returns
    -------
    Milliseconds since 1970-01-01 UTC, shape (n_records,), NaN where a document gives none. None
    where one gives a time of each sample, or what is none.
    """
    times = [document.get(TIME) for document in documents]
    # With two keys, of which one is the time, no further key can give a list of times.
    has_two_keys = None not in times and max(map(len, documents)) == len((VALUES, TIME))
    if not has_two_keys and any(TIMES in document for document in documents):
        return None
    if not set(map(type, times)) <= NUMBERS_OR_NULL:
        return None
    first_ms = np.array(times, dtype=np.float64)  # (n_records,), NaN where there is none
    is_out_of_range = (first_ms < 0) | (first_ms > TIMESTAMP_MS_MAX)  # (n_records,)
    return None if is_out_of_range.any() else first_ms


def nested(values: list[Any], features: Features) -> list[Any]:
    """Return what stands under `"values"` in many documents, each as an array of samples.

    Parameters
    ----------
    values
        Arrays of samples; or single samples, which need no outer array, as an object or an array.
    features
        Values of a sample, in order.

    Examples
    --------
    >>> nested([[1, 2], [3, 4]], Features(("t", "h")))
    [[[1, 2]], [[3, 4]]]
    >>> nested([[1, 2], [3, 4]], Features(("t",)))
    [[1, 2], [3, 4]]
    """
    kinds = set(map(type, values))
    first = next(iter(values[0]), None) if kinds == {list} else []
    is_single = len(features) > 1 and type(first) in NUMBERS_OR_NULL
    return [[each] for each in values] if is_single or kinds == {dict} else values


def plain_numbers(lists: list[Any], features: Features) -> NDArray[np.float64] | None:
    """Return the samples of many documents, shape (n_samples, n_features), as `sample_values` does.

    Parameters
    ----------
    lists
        What stands under `"values"` in each of them.
    features
        Values of a sample, in order.

    Returns
    -------
    None where one of them is not plain.
    """
    if set(map(type, lists)) != {list} or not all(lists):
        return None
    n_features = len(features)
    samples = list(chain.from_iterable(lists))
    if set(map(type, samples)) == {dict}:
        if set(map(len, samples)) != {n_features}:
            return None
        samples = list(map(itemgetter(*features.names), samples))
        if n_features > 1:
            samples = list(chain.from_iterable(samples))
    elif set(map(type, samples)) == {list}:
        if set(map(len, samples)) != {n_features}:
            return None
        samples = list(chain.from_iterable(samples))
    elif n_features > 1:
        return None
    if not set(map(type, samples)) <= NUMBERS_OR_NULL:
        return None
    return np.array(samples, dtype=np.float64).reshape(-1, n_features)  # (n_samples, n_features)


def sample_times(document: dict[str, Any], n_samples: int) -> float | list[float] | None:
    """Return the time of the first sample of a document, or a list with one of each.

    Returns
    -------
    Milliseconds since 1970-01-01 UTC; None where the document gives no time.

    Raises
    ------
    DataError
        If what it gives is no time, or not one of each sample: bad data.
    """
    if document.get(TIMES) is not None:
        return _sample_times(document[TIMES], n_samples)
    time_ms: float | None = document.get(TIME)
    if time_ms is not None and not _is_time(time_ms):
        raise invalid_time(TIME, time_ms)
    return time_ms


def sample_values(values: Any, features: Features) -> NDArray[np.float64]:
    """Return the samples of `"values"`, shape (n_samples, n_features); null becomes NaN.

    Raises
    ------
    DataError
        If they are no samples of these features: bad data.
    """
    n_features = len(features)
    if isinstance(values, dict):
        values = [values]
    if not isinstance(values, list):
        message = f'"values": expected an array of samples, received {json_kind(values)}'
        raise RecordDecodeError(message)
    if not values:
        message = '"values": expected at least one sample, received none'
        raise RecordShapeError(message)
    values = [_unnamed(at, row, features) for at, row in enumerate(values)]
    if not any(type(row) is list for row in values):
        # One feature needs no inner arrays, and one sample no outer one.
        values = [[value] for value in values] if n_features == 1 else [values]
    for at, row in enumerate(values):
        if type(row) is not list or not set(map(type, row)) <= NUMBERS_OR_NULL:
            message = f"values[{at}]: expected numbers or null, received {brief(row)!r}"
            raise RecordDecodeError(message)
        if len(row) != n_features:
            message = f"values[{at}]: expected {n_features} features, received {len(row)}"
            raise RecordShapeError(message)
    return np.array(values, dtype=np.float64)  # (n_samples, n_features)


def _unnamed(at: int, sample: Any, features: Features) -> Any:
    """Return the values of a sample in the order of the features if it names them."""
    if type(sample) is not dict:
        return sample
    try:
        features.places_in(list(sample))
    except ValueError as error:
        message = f"values[{at}]: {error}; send null for a value that is missing"
        raise RecordShapeError(message) from None
    return [sample[name] for name in features.names]


def _sample_times(times: Any, n_samples: int) -> list[float]:
    """Return the time of each sample of `"timestamps_ms"`."""
    if not isinstance(times, list) or not times:
        raise invalid_time(TIMES, times)
    if len(times) != n_samples:
        message = f"timestamps_ms: expected one for each of {n_samples} samples, got {len(times)}"
        raise RecordShapeError(message)
    for at, time in enumerate(times):
        place = f"{TIMES}[{at}]"
        if not _is_time(time):
            raise invalid_time(place, time)
        if at and time < times[at - 1]:
            message = (
                f"{place}: expected no time before {times[at - 1]}, received {time}; "
                "send the samples of a record in the order of their times"
            )
            raise RecordOrderError(message)
    return times


def _is_time(value: object) -> bool:
    """Return whether a JSON value is a time in milliseconds, with or without a fraction."""
    return type(value) in NUMBERS and 0 <= value <= TIMESTAMP_MS_MAX  # type: ignore[operator]
