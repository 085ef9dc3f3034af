"""Avro schemas, and values read by them with fastavro."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from importlib import import_module
from io import BytesIO
from itertools import repeat
from types import ModuleType
from typing import Any

import orjson

from stream_detector.core.codec.avro_columns import AvroLayout
from stream_detector.errors import ConfigError, RecordDecodeError
from stream_detector.schemas.avro_layout import check_schema
from stream_detector.text import brief

_ON_BAD_TEXT = "backslashreplace"
"""Text that is not UTF-8 is no reason to refuse a record, whether it is used or not."""

_NO_SCHEMA = (LookupError, TypeError, ValueError, RecursionError)
"""What fastavro, besides errors of its own, and the checks after it raise for what is no schema."""

_UNREADABLE = (EOFError, LookupError, ValueError, TypeError, ArithmeticError, OSError)
"""What fastavro raises for a value that does not fit its schema."""


class AvroSchema:
    """Reads Avro values of one schema, as `stream_detector.core.codec.schemas.Schema`.

    Numbers, times and dates are the numbers that are written, except decimals, which become
    floating-point numbers.

    Parameters
    ----------
    text
        The schema as JSON.
    references
        Texts of schemas whose names it uses, each after those that it uses itself.

    Attributes
    ----------
    layout
        How values can be read as columns, None where they cannot.

    Raises
    ------
    ConfigError
        If fastavro is not installed.
    ValueError
        If it is no schema, or one that is too large or refers to itself.
    """

    layout: AvroLayout | None

    def __init__(self, text: str, references: Sequence[str] = ()) -> None:
        fastavro = require_fastavro()
        names: dict[str, Any] = {}
        try:
            for each in references:
                fastavro.parse_schema(_numbers_only(orjson.loads(each)), named_schemas=names)
            schema = _numbers_only(orjson.loads(text))
            self._schema: Any = fastavro.parse_schema(schema, named_schemas=names)
            self.layout = check_schema(self._schema, names)
        except fastavro.schema.UnknownType as error:
            message = f"expected an Avro schema, received one with the unknown type {error}"
            raise ValueError(brief(message, 200)) from None
        except (fastavro.schema.SchemaParseException, *_NO_SCHEMA) as error:
            message = f"expected an Avro schema, received {text[:80]!r}: {error}"
            raise ValueError(brief(message, 400)) from None
        self._read = fastavro.schemaless_reader
        self._has_decimals = b'"decimal"' in orjson.dumps([schema, *references])

    def read_document(self, value: bytes) -> Any:
        """Return what a value holds.

        Raises
        ------
        RecordDecodeError
            If it does not fit the schema: bad data.
        """
        stream = BytesIO(value)
        try:
            found = self._read(stream, self._schema, None, handle_unicode_errors=_ON_BAD_TEXT)
        except _UNREADABLE as error:
            # What fastavro says of itself may differ from one run to the next.
            why = "it ends too early" if isinstance(error, EOFError) else "it does not fit"
            message = f"Avro: expected a value of its schema, received {value[:20]!r}: {why}"
            raise RecordDecodeError(message) from None
        if stream.tell() != len(value):
            message = (
                f"Avro: expected a value of its schema, received {value[:20]!r}: "
                f"{len(value) - stream.tell()} of {len(value)} bytes are left over"
            )
            if value.startswith(b"\0"):
                message += "; for values after the id of a schema set schema_registry_url"
            raise RecordDecodeError(message)
        return _without_decimals(found) if self._has_decimals else found

    def read_documents(self, values: Sequence[bytes]) -> list[Any] | None:
        """Return what many values hold, None where one of them does not fit."""
        streams = list(map(BytesIO, values))
        try:
            found = list(map(self._read, streams, repeat(self._schema), repeat(None)))
        except _UNREADABLE:
            return None
        if list(map(BytesIO.tell, streams)) != list(map(len, values)):
            return None
        return list(map(_without_decimals, found)) if self._has_decimals else found


def require_fastavro() -> ModuleType:
    """Return fastavro.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    try:
        fastavro = import_module("fastavro")
        import_module("fastavro.schema")
    except ImportError:
        message = (
            "Avro: the package fastavro is not installed; install it with: "
            "pip install 'stream-detector[registry]'"
        )
        raise ConfigError(message) from None
    return fastavro


def _numbers_only(schema: Any) -> Any:
    """Return a schema without logical types, whose values are then numbers and texts as written."""
    if isinstance(schema, list):
        return [_numbers_only(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    is_decimal = schema.get("logicalType") == "decimal"
    return {
        name: each if name in ("default", "symbols", "aliases") else _numbers_only(each)
        for name, each in schema.items()
        # Keys of fastavro's own say that it has parsed a schema, which then it does not check.
        if (name != "logicalType" or is_decimal) and not name.startswith("__")
    }


def _without_decimals(document: Any) -> Any:
    """Return a document with floating-point numbers for its decimals."""
    if isinstance(document, dict):
        return {name: _without_decimals(each) for name, each in document.items()}
    if isinstance(document, list):
        return [_without_decimals(each) for each in document]
    return float(document) if isinstance(document, Decimal) else document
