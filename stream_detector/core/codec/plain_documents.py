"""Plain JSON documents read by a mapping in bulk: a column of all documents at a time.

Pure. Flat documents of numbers need no Python object for a value; see
`stream_detector.core.codec.flat_json`. A mapping with readings, tags or selections, and a document
that lacks something or has it in another type, are for `stream_detector.core.codec.readings`, which
explains.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from stream_detector.core.codec.decoding import RawSamples
from stream_detector.core.codec.flat_json import flat_numbers
from stream_detector.core.codec.json_samples import (
    NOT_PLAIN,
    NUMBERS_OR_NULL,
    TIME,
    TIMES,
    nested,
    plain_numbers,
    plain_times,
)
from stream_detector.core.codec.mapping import TO_MS, InputMapping, TimeUnit, is_inside
from stream_detector.core.codec.paths import Path
from stream_detector.core.codec.readings import DocumentSamples
from stream_detector.core.features import Features
from stream_detector.core.timestamps import TIMESTAMP_MS_MAX

_NUMBERS = {int, float}


class _NotPlainError(ValueError):
    """The documents are for the path that explains."""


def read_plain_documents(
    values: Sequence[bytes], rows: NDArray[np.intp], mapping: InputMapping, features: Features
) -> DocumentSamples | None:
    """Return the samples of all documents, None where one of them, or the mapping, is not plain.

    Parameters
    ----------
    values
        Record values, none empty. Length n_records.
    rows
        Which record of the batch each one is, shape (n_records,).
    mapping
        Where key, time and features are.
    features
        Values of a sample, in order.
    """
    if mapping.readings is not None or mapping.tags is not None:
        return None
    flat = _read_flat(values, rows, mapping)
    if flat is not None:
        return flat
    try:
        documents = list(map(orjson.loads, values))
    except ValueError:
        return None
    return plain_samples(documents, rows, mapping, features)


def plain_samples(
    documents: list[Any], rows: NDArray[np.intp], mapping: InputMapping, features: Features
) -> DocumentSamples | None:
    """Return the samples of documents, None where one of them, or the mapping, is not plain.

    Parameters
    ----------
    documents
        Dicts, lists, texts and numbers. Length n_records.
    rows, mapping, features
        As in `read_plain_documents`.
    """
    if mapping.readings is not None or mapping.tags is not None:
        return None
    try:
        keys = None
        if mapping.key is not None and is_inside(mapping.key):
            keys = list(map(str.encode, _column(documents, mapping.key.path)))
        first_ms = _first_times(documents, mapping)  # (n_records,)
        numbers, counts = _numbers(documents, mapping, features)
    except NOT_PLAIN:
        return None
    if mapping.deleted is not None and np.isnan(numbers).all(axis=1).any():
        return None  # it may be the record of a deletion
    return DocumentSamples(RawSamples(rows, counts, numbers, first_ms, {}, []), keys)


def times_in(
    column: Sequence[Any] | NDArray[np.float64] | NDArray[np.int64], unit: TimeUnit
) -> NDArray[np.float64]:
    """Return times in milliseconds since 1970-01-01 UTC, as `scalars.read_time` reads each.

    Parameters
    ----------
    column
        Numbers, or with the unit "iso8601" texts. Length n_records.
    unit
        Of the times.

    Raises
    ------
    ValueError, TypeError, OverflowError, AttributeError
        If one of them is not plain.
    """
    if unit == "iso8601":
        dates = list(map(datetime.fromisoformat, column))
        if None in set(map(attrgetter("tzinfo"), dates)):
            raise _NotPlainError
        times_ms = np.array(list(map(datetime.timestamp, dates))) * 1e3  # (n_records,)
    elif isinstance(column, np.ndarray) or set(map(type, column)) <= _NUMBERS:
        times_ms = _to_ms(np.array(column, dtype=np.float64), unit)  # (n_records,)
    else:
        raise _NotPlainError
    if not ((times_ms >= 0) & (times_ms <= TIMESTAMP_MS_MAX)).all():
        raise _NotPlainError
    return times_ms


def _to_ms(times: NDArray[np.float64], unit: TimeUnit) -> NDArray[np.float64]:
    """Return times in milliseconds; infinite where they are too large for that, so out of range."""
    multiply, divide = TO_MS[unit]
    with np.errstate(over="ignore"):
        return times * multiply / divide


def _read_flat(
    values: Sequence[bytes], rows: NDArray[np.intp], mapping: InputMapping
) -> DocumentSamples | None:
    """Return the samples of flat documents of numbers only, None for any other."""
    is_flat = mapping.values is not None and mapping.values.path == ((),) and not mapping.is_text
    if not is_flat or is_inside(mapping.key) or mapping.time_unit == "iso8601":
        return None
    found = flat_numbers(values)
    if found is None or TIMES in found.names:
        return None
    at = {name: column for column, name in enumerate(found.names)}
    columns = [at.get(str(each.path[0][-1])) for each in mapping.features]
    if None in columns:
        return None
    first_ms = np.full(len(rows), np.nan)  # (n_records,)
    if mapping.time is None or is_inside(mapping.time):
        paths = ((TIME,),) if mapping.time is None else mapping.time.path
        names = [str(steps[0]) for steps in paths if len(steps) == 1 and steps[0] in at]
        if names:
            first_ms = _to_ms(found.numbers[:, at[names[0]]], mapping.time_unit)
            if not ((first_ms >= 0) & (first_ms <= TIMESTAMP_MS_MAX)).all():
                return None
        elif mapping.time is not None:
            return None
    numbers = found.numbers[:, np.array(columns, dtype=np.intp)]  # (n_records, n_features)
    counts = np.ones(len(rows), dtype=np.intp)  # (n_records,)
    return DocumentSamples(RawSamples(rows, counts, numbers, first_ms, {}, []))


def _column(documents: list[Any], path: Path) -> list[Any]:
    """Return what stands at a path in each document; raise where it is not plain in one of them."""
    *others, last = path
    for steps in others:
        if steps[0] in documents[0]:
            last = steps
            break
        if any(steps[0] in each for each in documents):
            raise _NotPlainError
    found: Iterable[Any] = documents
    for step in last:
        found = map(itemgetter(step), found)
    return list(found)


def _first_times(documents: list[Any], mapping: InputMapping) -> NDArray[np.float64]:
    """Return the time of each document in milliseconds, NaN for the record's own."""
    if mapping.time is None:
        usual_ms = plain_times(documents)  # (n_records,)
        if usual_ms is None:
            raise _NotPlainError
        return usual_ms
    if mapping.time.header:
        return np.full(len(documents), np.nan)
    return times_in(_column(documents, mapping.time.path), mapping.time_unit)


def _numbers(
    documents: list[Any], mapping: InputMapping, features: Features
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return all samples, shape (n_samples, n_features), and how many each document has."""
    ones = np.ones(len(documents), dtype=np.intp)  # (n_records,)
    if mapping.values is not None:
        holders = _column(documents, mapping.values.path)
        if set(map(type, holders)) == {list}:
            holders = nested(holders, features)
            numbers = None if mapping.is_text else plain_numbers(holders, features)
            if numbers is None:
                raise _NotPlainError
            return numbers, np.fromiter(map(len, holders), np.intp, len(holders))
        flat = holders
        if set(map(type, holders)) == {dict}:
            flat = _items(holders, [each.path[0][-1] for each in mapping.features])
        elif len(features) > 1:
            raise _NotPlainError
    else:
        columns = [_column(documents, each.path) for each in mapping.features]
        flat = columns[0]
        if len(columns) > 1:
            flat = list(chain.from_iterable(zip(*columns, strict=True)))
    kinds = set(map(type, flat))
    if mapping.is_text and kinds == {str}:
        # Python's own notation, 1_000, is nobody's; other words than numbers raise.
        if "_" in "".join(flat):
            raise _NotPlainError
        flat = list(map(float, flat))
    elif not kinds <= NUMBERS_OR_NULL:
        raise _NotPlainError
    return np.array(flat, dtype=np.float64).reshape(-1, len(features)), ones


def _items(holders: list[Any], names: list[Any]) -> list[Any]:
    """Return what stands under some names in each object, object by object."""
    found = map(itemgetter(*names), holders)
    return list(found) if len(names) == 1 else list(chain.from_iterable(found))
