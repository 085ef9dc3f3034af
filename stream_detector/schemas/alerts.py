"""Alerts in Avro, in the wire format of a Schema Registry, and back to JSON."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import orjson

from stream_detector.core.alerting.alert_schema import alert_schema
from stream_detector.core.codec.decoding import PREFIX_BYTES
from stream_detector.core.codec.schemas import Schema
from stream_detector.core.records import OutputRecord, SchemaId
from stream_detector.errors import DataError, RecordSchemaError
from stream_detector.schemas.avro import require_fastavro

AVRO_TYPE = b"application/avro"
"""What the `content-type` header of such an alert says."""

_CONTENT_TYPE = "content-type"


class AvroAlerts:
    """Writes alerts as Avro.

    Parameters
    ----------
    schema_id
        Returns the id under which the registry has a schema that is given as text.

    Raises
    ------
    ConfigError
        If fastavro is not installed.
    """

    def __init__(self, schema_id: Callable[[str], int]) -> None:
        fastavro = require_fastavro()
        schema = alert_schema()
        self._text = orjson.dumps(schema).decode()
        self._schema: Any = fastavro.parse_schema(schema)
        self._write = fastavro.schemaless_writer
        self._find_id = schema_id
        self._id: int | None = None

    def register(self) -> int:
        """Return the id of the schema of alerts; the registry is asked once.

        Raises
        ------
        SchemaRegistryUnavailableError
            If the registry does not answer.
        SchemaRegistryError
            If it refuses the schema.
        """
        if self._id is None:
            self._id = self._find_id(self._text)
        return self._id

    def encode(self, record: OutputRecord) -> OutputRecord:
        """Return an alert as Avro.

        Parameters
        ----------
        record
            The alert as JSON; what the schema does not have of it is left out.

        Raises
        ------
        SchemaRegistryError
            As `register`.
        """
        stream = BytesIO()
        stream.write(b"\0" + self.register().to_bytes(PREFIX_BYTES - 1))
        self._write(stream, self._schema, orjson.loads(record.value or b""))
        headers = [
            (name, AVRO_TYPE if name == _CONTENT_TYPE else value) for name, value in record.headers
        ]
        return record._replace(value=stream.getvalue(), headers=headers)


def alert_json(value: bytes, find: Callable[[SchemaId], Schema | DataError]) -> bytes:
    """Return an alert as JSON, whichever format it has.

    Parameters
    ----------
    value
        Of the record.
    find
        Returns the schema with an id, or why there is none.

    Raises
    ------
    DataError
        If it is Avro that cannot be read: bad data.
    """
    if not value.startswith(b"\0"):
        return value
    number = int.from_bytes(value[1:PREFIX_BYTES])
    schema = find(number)
    if isinstance(schema, DataError):
        raise schema
    try:
        return orjson.dumps(schema.read_document(value[PREFIX_BYTES:]))
    except TypeError as error:
        message = f"Avro: expected an alert, received a value of schema {number}: {error}"
        raise RecordSchemaError(message) from None
