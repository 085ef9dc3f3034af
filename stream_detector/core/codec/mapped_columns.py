"""Records whose schema has a layout read by a mapping in bulk: no Python object for a number.

Pure. Where key, time and features are in the columns follows from the mapping and the schema, once
for all records. Whatever is not plain is for `stream_detector.core.codec.plain_documents` and
`stream_detector.core.codec.readings`, which read the same values, bit for bit.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.avro_columns import (
    AvroLayout,
    Column,
    FieldPath,
    read_columns,
)
from stream_detector.core.codec.decoding import RawSamples
from stream_detector.core.codec.json_samples import NOT_PLAIN, TIME, TIMES
from stream_detector.core.codec.mapping import InputMapping, is_inside
from stream_detector.core.codec.paths import Path
from stream_detector.core.codec.plain_documents import times_in
from stream_detector.core.codec.readings import DocumentSamples
from stream_detector.core.codec.schemas import Schema, SchemaGroup
from stream_detector.core.features import Features


class _Places(NamedTuple):
    """Which fields hold key, time and features.

    Parameters
    ----------
    key, time
        None where they are not in the value.
    features
        One for each feature, None for one that the schema lacks; or the array of all of them.
    """

    key: FieldPath | None
    time: FieldPath | None
    features: tuple[FieldPath | None, ...]

    @property
    def wanted(self) -> set[FieldPath]:
        """The fields to read."""
        return {each for each in (self.key, self.time, *self.features) if each is not None}


class _NotPlainError(ValueError):
    """The schema, or the mapping, is for the path that explains."""


def read_plain_columns(
    group: SchemaGroup,
    values: Sequence[bytes],
    rows: NDArray[np.intp],
    mapping: InputMapping,
    features: Features,
) -> DocumentSamples | None:
    """Return the samples of all records of a schema, None where one of them is not plain.

    Parameters
    ----------
    group
        Says which schema.
    values
        Of its records. Length n_records.
    rows
        Which record of the batch each one is, shape (n_records,).
    mapping
        Where key, time and features are.
    features
        Values of a sample, in order.
    """
    schema = group.schema
    if not isinstance(schema, Schema) or schema.layout is None or group.lead:
        return None
    if mapping.readings is not None or mapping.tags is not None:
        return None
    try:
        places = _find_places(schema.layout, mapping, features)
        found = read_columns(values, group.skip, schema.layout, places.wanted)
        if found is None:
            return None
        keys = None if places.key is None else _keys(found[places.key])
        first_ms = _times(found, places, mapping, len(values))
    except NOT_PLAIN:
        return None
    numbers = _numbers(found, places, len(values))  # (n_records, n_columns)
    may_be_deletion = mapping.deleted is not None and np.isnan(numbers).all(axis=1).any()
    if may_be_deletion or (len(features) > 1 and numbers.shape[1] != len(features)):
        return None
    per_record = numbers.shape[1] // len(features)
    counts = np.full(len(values), per_record, dtype=np.intp)  # (n_records,)
    samples = numbers.reshape(-1, len(features))  # (n_samples, n_features)
    return DocumentSamples(RawSamples(rows, counts, samples, first_ms, {}, []), keys)


def _find_places(layout: AvroLayout, mapping: InputMapping, features: Features) -> _Places:
    """Return which fields of a schema hold what a mapping looks for."""
    key = None
    if mapping.key is not None and is_inside(mapping.key):
        key = _find(layout, mapping.key.path)
        if key is None or layout.fields[key].kind not in ("text", "whole"):
            raise _NotPlainError
    time = _find_time(layout, mapping)
    if mapping.values is not None:
        at = _find(layout, mapping.values.path, may_be_record=True)
        field = None if at is None else layout.fields.get(at)
        if field is not None:
            fits = field.is_numbers or (field.is_number and len(features) == 1)
            return _Places(key, time, (_required(field.path if fits else None),))
        _required(at)
    found = tuple(_find(layout, each.path) for each in mapping.features)
    fields = [layout.fields[each] for each in found if each is not None]
    is_complete = len(fields) == len(found) or (mapping.may_lack and fields)
    if not is_complete or not all(each.is_number for each in fields):
        raise _NotPlainError
    return _Places(key, time, found)


def _find_time(layout: AvroLayout, mapping: InputMapping) -> FieldPath | None:
    """Return which field holds the time, None where the record has it."""
    if mapping.time is not None and not is_inside(mapping.time):
        return None
    if mapping.time is None:
        if (TIMES,) in layout.fields or (TIMES,) in layout.records:
            raise _NotPlainError
        if (TIME,) not in layout.fields:
            return None
    found = _required(_find(layout, ((TIME,),) if mapping.time is None else mapping.time.path))
    field = layout.fields[found]
    if not field.is_number and field.kind != "text":
        raise _NotPlainError
    return found


def _required(path: FieldPath | None) -> FieldPath:
    """Return a path that a schema must have."""
    if path is None:
        raise _NotPlainError
    return path


def _find(layout: AvroLayout, path: Path, *, may_be_record: bool = False) -> FieldPath | None:
    """Return the first alternative of a path that a schema has, None where it has none of them."""
    for steps in path:
        names = tuple(map(str, steps))
        if names in layout.fields or names in layout.records:
            if names in layout.records and not may_be_record:
                raise _NotPlainError
            return names
        around = (layout.fields.get(names[:n]) for n in range(len(names)))
        if any(each is not None and each.inside for each in around):
            raise _NotPlainError
    return None


def _keys(column: Column) -> list[bytes]:
    """Return series keys."""
    if not isinstance(column, list):
        if column.dtype != np.int64:  # a null among them
            raise _NotPlainError
        return list(map(str.encode, map(str, column.tolist())))
    if b"".join(column).isascii():
        return column
    return [each.decode(errors="backslashreplace").encode() for each in column]


def _times(
    found: dict[FieldPath, Column], places: _Places, mapping: InputMapping, n_records: int
) -> NDArray[np.float64]:
    """Return the time of each record in milliseconds, NaN for its own."""
    if places.time is None:
        return np.full(n_records, np.nan)
    column = found[places.time]
    texts = [each.decode() for each in column] if isinstance(column, list) else column
    return times_in(texts, "ms" if mapping.time is None else mapping.time_unit)


def _numbers(
    found: dict[FieldPath, Column], places: _Places, n_records: int
) -> NDArray[np.float64]:
    """Return the features of all records, shape (n_records, n_columns)."""
    columns = [
        np.full(n_records, np.nan) if each is None else np.asarray(found[each], dtype=np.float64)
        for each in places.features
    ]
    return columns[0].reshape(n_records, -1) if len(columns) == 1 else np.stack(columns, axis=1)
