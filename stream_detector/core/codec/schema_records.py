"""Read records of a format with schemas by a mapping, those of each schema together.

Pure. A schema that changes is another schema: its records are read by its own names, so fields may
come, go, move and change their types as long as those that the mapping names are there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.decoding import RawSamples
from stream_detector.core.codec.mapped_columns import read_plain_columns
from stream_detector.core.codec.mapping import InputMapping
from stream_detector.core.codec.plain_documents import plain_samples
from stream_detector.core.codec.readings import DocumentSamples, read_documents
from stream_detector.core.codec.schemas import SchemaGroup, group_by_schema
from stream_detector.core.features import Features
from stream_detector.core.records import RecordBatch
from stream_detector.errors import DataError


def read_with_schemas(
    batch: RecordBatch,
    values: Sequence[bytes],
    rows: NDArray[np.intp],
    mapping: InputMapping,
    features: Features,
) -> Iterator[DocumentSamples]:
    """Yield the samples of the records of each schema.

    Parameters
    ----------
    batch
        Has the schemas that records name.
    values
        Of the records to read, none empty. Length n_records.
    rows
        Which record of the batch each one is, shape (n_records,).
    mapping
        Where key, time and features are, and the schema where all records have the same.
    features
        Values of a sample, in order.
    """
    for group in groups_of(batch, values, rows, mapping):
        some = values
        if len(group.places) < len(values):
            some = [values[place] for place in group.places.tolist()]
        yield _read_group(group, some, rows[group.places], mapping, features)


def groups_of(
    batch: RecordBatch, values: Sequence[bytes], rows: NDArray[np.intp], mapping: InputMapping
) -> Iterator[SchemaGroup]:
    """Yield the records of each schema; see `read_with_schemas`."""
    if mapping.schema is not None:
        yield SchemaGroup(mapping.schema, "", np.arange(len(values)))
    else:
        yield from group_by_schema(batch, rows, values)


def _read_group(
    group: SchemaGroup,
    values: Sequence[bytes],
    rows: NDArray[np.intp],
    mapping: InputMapping,
    features: Features,
) -> DocumentSamples:
    """Return the samples of the records of one schema."""
    schema = group.schema
    if isinstance(schema, DataError):
        nothing = np.empty((0, len(features)))
        rejected = [(row, schema) for row in rows.tolist()]
        empty = RawSamples(rows[:0], rows[:0], nothing, np.empty(0), {}, rejected)
        return DocumentSamples(empty, [] if mapping.key is not None else None)
    found = read_plain_columns(group, values, rows, mapping, features)
    if found is not None:
        return found
    bodies = list(map(group.body, values))
    documents = schema.read_documents(bodies)
    if documents is not None:
        found = plain_samples(documents, rows, mapping, features)
    if found is not None:
        return found
    found = read_documents(bodies, rows, schema.read_document, mapping, features)
    if not group.name:
        return found
    named = [(row, type(error)(f"{error}; {group.name}")) for row, error in found.samples.rejected]
    return found._replace(samples=replace(found.samples, rejected=named))
