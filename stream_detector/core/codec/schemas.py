"""Records that name their schema: which one it is, and where the value itself begins.

Pure. A record in the wire format of a Schema Registry begins with a byte 0 and the 4 bytes of the
schema's id. Newer clients write these, or a byte 1 and the 16 bytes of a GUID, into a header
instead. The schemas come with the batch; `stream_detector.schemas` fetches them.

Sources, as read: Confluent, "Formats, Serializers, and Deserializers for Schema Registry", section
"Wire format"; `SchemaId` of `confluent_kafka.schema_registry.common.serde`, confluent-kafka 2.16.
"""

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stream_detector.core.codec.avro_columns import AvroLayout
from stream_detector.core.codec.decoding import PREFIX_BYTES
from stream_detector.core.codec.samples import find_header
from stream_detector.core.records import Headers, RecordBatch, SchemaId
from stream_detector.errors import DataError, RecordDecodeError, RecordSchemaError

SCHEMA_HEADER = "__value_schema_id"
"""Header in which newer clients name the schema of the value."""

_ID_MAX = 2**31 - 1
"""Largest id that a registry gives."""

_GUID_BYTES = 17
"""Bytes of a GUID in a header: a byte 1 and the GUID."""


@runtime_checkable
class Schema(Protocol):
    """Reads the values of records that name it."""

    @property
    def layout(self) -> AvroLayout | None:
        """How values can be read as columns, None where they cannot."""
        ...

    def read_document(self, value: bytes) -> Any:
        """Return what a value holds as dicts, lists, texts and numbers.

        Raises
        ------
        DataError
            If it does not fit the schema: bad data.
        """
        ...

    def read_documents(self, values: Sequence[bytes]) -> list[Any] | None:
        """Return what many values hold, None where one of them does not fit."""
        ...


class SchemaGroup(NamedTuple):
    """Some records of a batch that have one schema.

    Parameters
    ----------
    schema
        The schema, or why these records cannot be read.
    name
        What it is called in messages; empty where all records have the same.
    places
        Which of the records, ascending, shape (n_group,).
    skip
        So many bytes at the start of each value only name the schema.
    lead
        What a header has that belongs before each value.
    """

    schema: Schema | DataError
    name: str
    places: NDArray[np.intp]
    skip: int = 0
    lead: bytes = b""

    def read_document(self, value: bytes) -> Any:
        """Return what a value holds.

        Raises
        ------
        DataError
            If it cannot be read: bad data.
        """
        if isinstance(self.schema, DataError):
            raise self.schema
        return self.schema.read_document(self.body(value))

    def body(self, value: bytes) -> bytes:
        """Return a value without what names the schema."""
        return self.lead + value[self.skip :]


class _Header(NamedTuple):
    """What names the schema of a record in a header."""

    content: bytes


def find_schema_ids(batch: RecordBatch, rows: Sequence[int]) -> set[SchemaId]:
    r"""Return the schemas that some records name.

    Parameters
    ----------
    batch
        The records.
    rows
        Those whose format has schemas; none is without a value.

    Examples
    --------
    >>> _id_of(b"\0\0\0\1\0")
    256
    """
    values = [batch.values[row] or b"" for row in rows]
    ids = map(_id_of, set(_names(values, _headers(batch, rows))))
    return {each for each in ids if not isinstance(each, DataError)}


def group_by_schema(
    batch: RecordBatch, rows: NDArray[np.intp], values: Sequence[bytes]
) -> Iterator[SchemaGroup]:
    """Yield the records of each schema that some records name.

    Parameters
    ----------
    batch
        Has the headers and the schemas.
    rows
        Which of its records, shape (n_records,).
    values
        Their values.
    """
    names = _names(values, _headers(batch, rows.tolist()))
    distinct = dict.fromkeys(names)
    for each in distinct:
        places = np.arange(len(values))
        if len(distinct) > 1:
            places = np.flatnonzero([name == each for name in names])
        number = _id_of(each)
        found = number if isinstance(number, DataError) else batch.schemas.get(number)
        shown = "" if isinstance(number, DataError) else f"schema {number}"
        if found is None:
            found = RecordSchemaError(
                f"schema {number}: expected a Schema Registry to ask for it, received none; set "
                "schema_registry_url, or input.avro_schema or input.protobuf_schema"
            )
        if isinstance(each, _Header):
            n_bytes = PREFIX_BYTES if each.content[:1] == b"\0" else _GUID_BYTES
            yield SchemaGroup(found, shown, places, 0, each.content[n_bytes:])
        else:
            yield SchemaGroup(found, shown, places, PREFIX_BYTES)


def _headers(batch: RecordBatch, rows: Sequence[int]) -> list[Headers | None] | None:
    """Return the headers of some records, None where none of them has any."""
    headers = None if batch.headers is None else [batch.headers[row] for row in rows]
    return headers if headers is not None and any(headers) else None


def _names(
    values: Sequence[bytes], headers: Sequence[Headers | None] | None
) -> Sequence[bytes | _Header]:
    """Return what names the schema of each record: the start of its value, or a header."""
    starts = list(map(itemgetter(slice(PREFIX_BYTES)), values))
    if headers is None:
        return starts
    named = [find_header(header, SCHEMA_HEADER) for header in headers]
    return [
        start if name is None else _Header(name) for start, name in zip(starts, named, strict=True)
    ]


def _id_of(name: bytes | _Header) -> SchemaId | DataError:
    """Return the schema that a record names."""
    is_header = isinstance(name, _Header)
    content = name.content if isinstance(name, _Header) else name
    if content[:1] == b"\0" and len(content) >= PREFIX_BYTES:
        number = int.from_bytes(content[1:PREFIX_BYTES])
        if number <= _ID_MAX:
            return number
        message = f"expected the id of a schema, at most {_ID_MAX}, received {number}"
        return RecordSchemaError(message)
    if is_header and content[:1] == b"\1" and len(content) >= _GUID_BYTES:
        digits = content[1:_GUID_BYTES].hex()
        parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
        return "-".join(parts)
    if is_header:
        message = (
            f"header {SCHEMA_HEADER}: expected a byte 0 and 4 bytes of an id, or a byte 1 and 16 "
            f"bytes of a GUID, received {content[:20]!r}"
        )
        return RecordDecodeError(message)
    message = (
        "expected a byte 0 and 4 bytes with the id of a schema, as a Schema Registry's clients "
        f"write, received {content!r}; set input.avro_schema or input.protobuf_schema for records "
        "that name none"
    )
    return RecordDecodeError(message)
