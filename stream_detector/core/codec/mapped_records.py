"""Read records that other programs write: their documents, and the headers that a mapping names.

Pure. Which records have which format is said by `stream_detector.core.codec.formats`, as without a
mapping. A format whose values are no documents, such as float32, has its own decoder: of the
mapping only headers apply to its records, where they have them. Nothing of it applies to records
whose header says that they are JSON as this project writes it, as `replay` does.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.decoding import RawSamples, lost_in_float32, without_prefix
from stream_detector.core.codec.formats import (
    ContentType,
    FormatGroup,
    RecordShape,
    group_by_format,
    select_records,
    unreadable,
)
from stream_detector.core.codec.json_format import OWN
from stream_detector.core.codec.keys import unusable_keys
from stream_detector.core.codec.mapping import InputMapping
from stream_detector.core.codec.plain_documents import read_plain_documents
from stream_detector.core.codec.readings import DocumentSamples, deletion, read_documents
from stream_detector.core.codec.samples import find_header, join_samples, with_header_times
from stream_detector.core.codec.scalars import invalid_place, read_time
from stream_detector.core.codec.schema_records import groups_of, read_with_schemas
from stream_detector.core.features import Features
from stream_detector.core.records import RecordBatch
from stream_detector.errors import DataError, RecordValueError

_RECORDS_AT_ONCE = 4096
"""Records decoded together, as in `stream_detector.core.codec.samples`."""

OwnReader = Callable[[FormatGroup, Sequence[bytes], NDArray[np.intp]], RawSamples]
"""Reads records of a format that are no documents: the group, their values and rows in."""


class MappedForm(NamedTuple):
    """What the records of a topic are.

    Parameters
    ----------
    mapping
        Where key, time and features are.
    features
        Values of a sample, in order.
    shape
        What a record holds: "mapped" for samples and windows, or "image".
    read_own
        Reads records of formats that are no documents.
    needs_key
        Whether a record must have a key.
    """

    mapping: InputMapping
    features: Features
    shape: RecordShape
    read_own: OwnReader
    needs_key: bool


def documents_in(batch: RecordBatch, mapping: InputMapping) -> list[Any]:
    """Return the documents of some records in their order, without those that cannot be read.

    Only for making a recipe from a topic: what a detector reads is said by `read_mapped`.

    Parameters
    ----------
    batch
        The records.
    mapping
        Says their format.
    """
    groups, _ = group_by_format(batch.values, batch.headers, mapping.format, "mapped")
    found: dict[int, Any] = {}
    for group in groups:
        values, rows = select_records(batch.values, group.rows)
        for row, read in _readers(batch, group, values, rows, mapping):
            with contextlib.suppress(DataError):
                found[row] = read()
    return [found[row] for row in sorted(found)]


def _readers(
    batch: RecordBatch,
    group: FormatGroup,
    values: Sequence[bytes],
    rows: NDArray[np.intp],
    mapping: InputMapping,
) -> Iterator[tuple[int, Callable[[], Any]]]:
    """Yield the row of each record of a group, and what makes a document of it."""
    if group.format.schema_type:
        for some in groups_of(batch, values, rows, mapping):
            for at in some.places.tolist():
                yield int(rows[at]), partial(some.read_document, values[at])
    elif group.format.holds_documents:
        for row, value in zip(rows.tolist(), values, strict=True):
            yield row, partial(group.format.read_document, value, mapping)


class MappedRecords(NamedTuple):
    """What some records hold.

    Parameters
    ----------
    keys
        Series key of each record of the batch; of those that are rejected, the record's own.
    samples
        Of the usable records, in the order of the batch, float32 less the origin.
    rejected
        Reason of each other record, by row.
    """

    keys: Sequence[bytes | None]
    samples: RawSamples
    rejected: dict[int, DataError]


def read_mapped(
    batch: RecordBatch, content_type: ContentType | None, form: MappedForm
) -> MappedRecords:
    """Read records by a mapping.

    Parameters
    ----------
    batch
        The records.
    content_type
        Format of records whose headers do not name one; None takes that of the form.
    form
        What they are.

    Raises
    ------
    ValueError
        If these records cannot have the format `content_type`: the caller's mistake.
    """
    mapping = form.mapping
    if content_type is None and form.shape == "mapped":
        content_type = mapping.format
    groups, unusable = group_by_format(batch.values, batch.headers, content_type, form.shape)
    unusable |= _tombstones(batch, unusable, mapping)
    keys = list(batch.keys())
    rejected: dict[int, DataError] = {}
    parts: list[RawSamples] = []
    for group in groups:
        rows = _take_header_keys(batch, group, mapping, keys, rejected)
        for start in range(0, len(rows), _RECORDS_AT_ONCE):
            some, numbers = select_records(batch.values, rows[start : start + _RECORDS_AT_ONCE])
            for samples, own_keys in _read_group(batch, group, some, numbers, form):
                if own_keys is not None:
                    for row, key in zip(samples.rows.tolist(), own_keys, strict=True):
                        keys[row] = key
                timed = _with_header_times(samples, batch, group, mapping)
                rejected |= dict(timed.rejected)
                if form.features.origin and timed.values.dtype == np.float32:
                    rejected |= {row: lost_in_float32() for row in timed.rows.tolist()}
                else:
                    parts.append(timed)
    bad_keys = unusable_keys(keys, is_required=form.needs_key)
    if mapping.key is not None:  # of a record that could not be read, the key is not known
        known = rejected.keys() | unusable.keys()
        bad_keys = {row: each for row, each in bad_keys.items() if row not in known}
    reasons = {**rejected, **unusable, **bad_keys, **unreadable(batch.headers, unusable)}
    samples = join_samples(parts, form.features)
    if bad_keys:
        samples = samples.select(~np.isin(samples.rows, list(bad_keys)))
    return MappedRecords(keys, samples, reasons)


def _tombstones(
    batch: RecordBatch, unusable: dict[int, DataError], mapping: InputMapping
) -> dict[int, DataError]:
    """Return the records without a value, where those say that a row was deleted."""
    if mapping.deleted is None:
        return {}
    rows = (row for row in unusable if batch.values[row] is None)
    return {row: deletion("no value (a tombstone)") for row in rows}


def _read_group(
    batch: RecordBatch,
    group: FormatGroup,
    values: Sequence[bytes],
    rows: NDArray[np.intp],
    form: MappedForm,
) -> Iterator[DocumentSamples]:
    """Yield what some records of one format hold, those of each schema by themselves."""
    found, mapping = group.format, form.mapping
    if group.name == OWN or not found.holds_documents:
        yield DocumentSamples(form.read_own(group, values, rows))
        return
    if found.schema_type:
        yield from read_with_schemas(batch, values, rows, mapping, form.features)
        return
    plain = None
    if found.name == "json":
        plain = read_plain_documents(values, rows, mapping, form.features)
        if plain is None and (bare := without_prefix(values)) is not None:
            values = bare
            plain = read_plain_documents(values, rows, mapping, form.features)
    yield plain or read_documents(
        values, rows, lambda value: found.read_document(value, mapping), mapping, form.features
    )


def _take_header_keys(
    batch: RecordBatch,
    group: FormatGroup,
    mapping: InputMapping,
    keys: list[bytes | None],
    rejected: dict[int, DataError],
) -> range | list[int]:
    """Set the keys that headers give, in place, and return the rows of a group that have one."""
    place = mapping.key
    if place is None or not place.header or group.name == OWN:
        return group.rows
    rows: list[int] = []
    for row in group.rows:
        key = None if batch.headers is None else find_header(batch.headers[row], place.header)
        if key is not None:
            keys[row] = key
        elif group.format.holds_documents:
            message = f"key: expected it in the header {place.header}, received no such header"
            rejected[row] = RecordValueError(message)
            continue
        rows.append(row)
    return rows


def _with_header_times(
    samples: RawSamples, batch: RecordBatch, group: FormatGroup, mapping: InputMapping
) -> RawSamples:
    """Return the samples with the times that headers give, without records of an invalid one."""
    if group.format.time_header is not None and batch.headers is not None:
        samples = with_header_times(samples, batch.headers, group.format.time_header)
    place = mapping.time
    if place is None or not place.header or group.name == OWN:
        return samples
    first_ms = samples.first_ms.copy()  # (n_records,)
    is_kept = np.ones(len(first_ms), dtype=np.bool_)  # (n_records,)
    invalid: list[tuple[int, DataError]] = []
    for at, row in enumerate(samples.rows.tolist()):
        text = None if batch.headers is None else find_header(batch.headers[row], place.header)
        if text is None and not group.format.holds_documents:
            continue
        shown = "nothing" if text is None else text.decode(errors="backslashreplace")
        time_ms = None if text is None else read_time(shown, mapping.time_unit)
        if time_ms is None:
            is_kept[at] = False
            invalid.append((row, invalid_place(place, mapping.time_unit, shown)))
        else:
            first_ms[at] = time_ms
    samples = replace(samples, first_ms=first_ms, each_ms={})
    return replace(samples.select(is_kept), rejected=[*samples.rejected, *invalid])
