"""One document, such as a JSON object, read by a mapping: its key, its samples and their times.

Pure. This is the path that explains: whatever it cannot find or use is named with its path, beside
what the record has. `stream_detector.core.codec.mapped_samples` takes plain documents in bulk and
must give the same values, bit for bit.
"""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.decoding import RawSamples
from stream_detector.core.codec.json_samples import sample_times, sample_values
from stream_detector.core.codec.mapping import (
    FeaturePath,
    InputMapping,
    Place,
    TagPlaces,
    is_inside,
)
from stream_detector.core.codec.paths import MISSING, describe_leaves, expand, find
from stream_detector.core.codec.scalars import invalid_place, read_number, read_time, shown
from stream_detector.core.features import Features
from stream_detector.errors import (
    DataError,
    RecordDecodeError,
    RecordDeletionError,
    RecordShapeError,
    RecordSkippedError,
    RecordValueError,
)
from stream_detector.text import brief

_BASE64 = re.compile(r"(?=.*[A-Z0-9+/=])(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}[A-Za-z0-9+/=]=)?")
"""Text that may be base64, and no word in small letters."""

Scopes = tuple[Any, ...]
"""A reading and the objects around it, the innermost first."""


class Read(NamedTuple):
    """What a document holds.

    Parameters
    ----------
    key
        Series key; None where the mapping leaves it to the record.
    values
        Float64, shape (n_samples, n_features); NaN is missing.
    times_ms
        Milliseconds since 1970-01-01 UTC: the time of the first sample, or a list with the time of
        each, never decreasing; None where the mapping leaves it to the record.
    """

    key: bytes | None
    values: NDArray[np.float64]
    times_ms: float | list[float] | None


class DocumentSamples(NamedTuple):
    """The samples of some documents.

    Parameters
    ----------
    samples
        Of those that can be used.
    keys
        Series key of each of these, where the mapping finds it in the value; else None.
    """

    samples: RawSamples
    keys: Sequence[bytes] | None = None


def read_documents(
    values: Sequence[bytes],
    rows: NDArray[np.intp],
    parse: Callable[[bytes], Any],
    mapping: InputMapping,
    features: Features,
) -> DocumentSamples:
    """Read records one by one, those that cannot be used with what is wrong with them.

    Parameters
    ----------
    values
        Record values, none empty. Length n_records.
    rows
        Which record of the batch each one is, shape (n_records,).
    parse
        Makes a document of a value, or raises a `DataError`.
    mapping, features
        As in `read_document`.
    """
    kept: list[int] = []
    found: list[Read] = []
    rejected: list[tuple[int, DataError]] = []
    for row, value in zip(rows.tolist(), values, strict=True):
        try:
            found.append(read_document(parse(value), mapping, features))
        except DataError as error:
            rejected.append((row, error))
        else:
            kept.append(row)
    firsts = [each.times_ms if isinstance(each.times_ms, float) else math.nan for each in found]
    samples = RawSamples(
        rows=np.array(kept, dtype=np.intp),
        counts=np.array([len(each.values) for each in found], dtype=np.intp),
        values=np.concatenate([np.empty((0, len(features))), *(each.values for each in found)]),
        first_ms=np.array(firsts, dtype=np.float64),
        each_ms={
            row: each.times_ms
            for row, each in zip(kept, found, strict=True)
            if isinstance(each.times_ms, list)
        },
        rejected=rejected,
    )
    keys = [each.key for each in found if each.key is not None]
    return DocumentSamples(samples, keys if is_inside(mapping.key) else None)


def read_document(document: Any, mapping: InputMapping, features: Features) -> Read:
    """Return what a document holds, or name exactly what is missing or wrong.

    Parameters
    ----------
    document
        As a format reads the value of a record.
    mapping
        Where key, time and features are.
    features
        Values of a sample, in order.

    Raises
    ------
    DataError
        If the document does not have what the mapping says: bad data.

    Examples
    --------
    >>> place = Place.parse("payload")
    >>> mapping = InputMapping(key=Place.parse("device"), values=place)
    >>> read = read_document({"device": 7, "payload": [1, None]}, mapping, Features(("t", "h")))
    >>> read.key, read.values.tolist(), read.times_ms
    (b'7', [[1.0, nan]], None)
    """
    if mapping.deleted is not None and find((document,), mapping.deleted.path) is None:
        deleted = deletion(f"null at {mapping.deleted.text!r}")
        raise deleted
    readings: list[Scopes] = [(document,)]
    if mapping.readings is not None:
        readings = list(expand(document, mapping.readings.path))
        if not readings:
            error = _not_found("readings", "an array of readings", mapping.readings.text, document)
            raise error
    key = _key_of(readings, mapping.key) if is_inside(mapping.key) else None
    if mapping.tags is not None:
        values, times = _tag_samples(readings, mapping, mapping.tags, features)
        return Read(key, values, times)
    parts = [_samples_of(scopes, mapping, features) for scopes in readings]
    values = np.concatenate(parts)  # (n_samples, n_features)
    if mapping.time is None and isinstance(document, dict):
        times_ms = sample_times(document, len(values))
        return Read(key, values, times_ms if isinstance(times_ms, list) else _as_float(times_ms))
    if not is_inside(mapping.time):
        return Read(key, values, None)
    times = [
        time_ms
        for scopes, part in zip(readings, parts, strict=True)
        for time_ms in _times_of(scopes, mapping, len(part))
    ]
    if len(set(times)) == 1:  # they follow each other from there
        return Read(key, values, times[0])
    if len(times) < len(values):
        message = (
            f"time: expected one for each of {len(values)} samples at {shown(mapping.time)}, "
            f"received {len(times)}"
        )
        raise RecordShapeError(message)
    order = sorted(range(len(times)), key=times.__getitem__)
    return Read(key, values[order], [times[at] for at in order])


def deletion(received: str) -> RecordDeletionError:
    """Return what a record is that says that a row was deleted."""
    return RecordDeletionError(f"expected a row, received {received}: it was deleted")


def _as_float(number: float | None) -> float | None:
    """Return a number as a float, which JSON may have without a fraction."""
    return None if number is None else float(number)


def _not_found(key: str, expected: str, text: str, document: Any) -> RecordShapeError:
    """Return the error for a path at which there is nothing."""
    at = repr(text) if text else "the top level"
    return RecordShapeError(
        f"input.{key}: expected {expected} at {at}, received nothing; {describe_leaves(document)}"
    )


def _key_of(readings: Sequence[Scopes], place: Place | None) -> bytes:
    """Return the one key of all readings."""
    assert place is not None  # noqa: S101  (narrows the type)
    found: dict[bytes, None] = {}
    for scopes in readings:
        value = find(scopes, place.path)
        if value is MISSING:
            message = (
                f"key: expected it at {shown(place)}, received nothing; "
                f"{describe_leaves(scopes[-1])}"
            )
            raise RecordValueError(message)
        if type(value) not in (str, int):
            message = (
                f"key: expected text or a whole number at {shown(place)}, received {brief(value)!r}"
            )
            raise RecordValueError(message)
        found[str(value).encode()] = None
    if len(found) > 1:
        some = ", ".join(repr(each.decode()) for each in list(found)[:3])
        message = (
            f"key: expected the readings of one series in a record, received those of "
            f"{len(found)} at {shown(place)}: {some}; send a record for each"
        )
        raise RecordValueError(message)
    return next(iter(found))


def _times_of(scopes: Scopes, mapping: InputMapping, n_samples: int) -> list[float]:
    """Return the times that one reading gives: one, or where it gives an array one of each."""
    assert mapping.time is not None  # noqa: S101  (narrows the type)
    value = find(scopes, mapping.time.path)
    if value is MISSING:
        message = (
            f"time: expected it at {shown(mapping.time)}, received nothing; "
            f"{describe_leaves(scopes[-1])}"
        )
        raise RecordValueError(message)
    times = []
    for each in value if type(value) is list and len(value) == n_samples else [value]:
        time_ms = read_time(each, mapping.time_unit)
        if time_ms is None:
            raise invalid_place(mapping.time, mapping.time_unit, each)
        times.append(time_ms)
    return times


def _samples_of(scopes: Scopes, mapping: InputMapping, features: Features) -> NDArray[np.float64]:
    """Return the samples of one reading, shape (n_samples, n_features)."""
    place = mapping.values
    if place is not None:
        found = find(scopes, place.path)
        if found is MISSING:
            error = _not_found("values", "values", place.text, scopes[-1])
            raise error
        if isinstance(found, list):
            return sample_values(_numbers_in(found) if mapping.is_text else found, features)
        if not isinstance(found, dict) and len(features) == 1:
            number = _number_at(found, "values", place.text, is_text=mapping.is_text)
            return np.array([[number]], dtype=np.float64)
    columns = [_column(scopes, each, mapping) for each in mapping.features]
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        counts = ", ".join(
            f"{each.name} {len(column)}"
            for each, column in zip(mapping.features, columns, strict=True)
        )
        message = f"input.features: expected as many values of each feature, received {counts}"
        raise RecordShapeError(message)
    values = np.array(columns, dtype=np.float64).T  # (n_samples, n_features)
    if not len(values) or (mapping.may_lack and _has_none(scopes, mapping)):
        paths = ", ".join(repr(each.text) for each in mapping.features[:10])
        error = _not_found("features", f"at least one of {paths}", "", scopes[-1])
        raise error
    return values


def _has_none(scopes: Scopes, mapping: InputMapping) -> bool:
    """Return whether a reading has nothing at the path of any feature."""
    return all(find(scopes[:1], each.path) is MISSING for each in mapping.features)


def _column(scopes: Scopes, feature: FeaturePath, mapping: InputMapping) -> list[float]:
    """Return the values of one feature in a reading: one, or those of an array."""
    found, key = find(scopes[:1], feature.path), f"features.{feature.name}"
    if found is MISSING and mapping.may_lack:
        return [math.nan]
    if found is MISSING:
        error = _not_found(key, "a number", feature.text, scopes[0])
        raise error
    values = found if type(found) is list else [found]
    return [_number_at(each, key, feature.text, is_text=mapping.is_text) for each in values]


def _number_at(value: Any, key: str, text: str, *, is_text: bool) -> float:
    """Return the number that was found at a path; raise where it is none."""
    number = read_number(value, is_text=is_text)
    if number is not None:
        return number
    hint = ""
    if type(value) is str and read_number(value, is_text=True) is not None:
        hint = '; set input.numbers = "text" where numbers are text'
    elif type(value) is str and _BASE64.fullmatch(value):
        hint = (
            "; if it is a decimal in base64, as Kafka Connect writes it, let the connector write "
            "numbers: decimal.format = NUMERIC, or decimal.handling.mode = double of Debezium"
        )
    message = f"input.{key}: expected a number at {text!r}, received {brief(value)!r}{hint}"
    raise RecordDecodeError(message)


def _numbers_in(values: Any) -> Any:
    """Return an array, or one of arrays, with the numbers in its texts."""
    if not isinstance(values, list):
        return values
    return [
        [_number_in(each) for each in row] if type(row) is list else _number_in(row)
        for row in values
    ]


def _number_in(value: Any) -> Any:
    """Return the number in a text, None where it says that it is missing, else the value."""
    number = read_number(value, is_text=True)
    return value if number is None else None if math.isnan(number) else number


def _tag_samples(
    readings: Sequence[Scopes], mapping: InputMapping, tags: TagPlaces, features: Features
) -> tuple[NDArray[np.float64], float | list[float] | None]:
    """Return the samples that readings of one feature each make, those of one time together."""
    rows: dict[float | None, list[float]] = {}
    of_name = {each.name: at for at, each in enumerate(mapping.features)}
    aliases = {each.text: at for at, each in enumerate(mapping.features)}
    unknown: dict[str, None] = {}
    for scopes in readings:
        name = find(scopes, tags.name.path)
        if name is MISSING:
            error = _not_found("feature_name", "a name", tags.name.text, scopes[-1])
            raise error
        at = aliases.get(str(name), of_name.get(str(name)))
        if at is None:
            unknown[str(name)] = None
            continue
        number = _tag_value(scopes, mapping, tags)
        time_ms = None
        if is_inside(mapping.time):
            [time_ms] = _times_of(scopes, mapping, n_samples=-1)
        row = rows.setdefault(time_ms, [math.nan] * len(features))
        if not math.isnan(row[at]) and row[at] != number and not math.isnan(number):
            message = (
                f"input.feature_name: expected one value of {name} at a time, received "
                f"{row[at]!r} and {number!r}; name the feature by a path, or send a record for each"
            )
            raise RecordShapeError(message)
        row[at] = row[at] if math.isnan(number) else number
    if not rows:
        expected, found = ", ".join(list(aliases)[:10]), ", ".join(list(unknown)[:10])
        message = (
            f"input.feature_name: expected one of {expected} at {shown(tags.name)}, received "
            f"{found}"
        )
        raise RecordSkippedError(message) if mapping.skips_others else RecordShapeError(message)
    times = sorted(each for each in rows if each is not None)
    ordered = [rows[each] for each in times] or list(rows.values())
    values = np.array(ordered, dtype=np.float64)  # (n_samples, n_features)
    return values, (times if len(times) > 1 else times[0] if times else None)


def _tag_value(scopes: Scopes, mapping: InputMapping, tags: TagPlaces) -> float:
    """Return the value of a reading of one feature."""
    value = find(scopes, tags.value.path)
    if value is MISSING:
        error = _not_found("feature_value", "a number", tags.value.text, scopes[-1])
        raise error
    return _number_at(value, "feature_value", tags.value.text, is_text=mapping.is_text)
