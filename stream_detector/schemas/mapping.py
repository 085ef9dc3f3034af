"""Mappings with the schema of all records, where these have one and do not name it."""

from collections.abc import Sequence
from dataclasses import replace

from stream_detector.core.codec.mapping import InputMapping
from stream_detector.core.codec.schemas import Schema
from stream_detector.errors import ConfigError
from stream_detector.recipes.input import InputSection
from stream_detector.schemas.avro import AvroSchema
from stream_detector.schemas.libraries import load_protobuf


def open_mapping(table: InputSection, features: Sequence[str]) -> InputMapping | None:
    """Return how records are read, with the schema that the table names; None without a table.

    Parameters
    ----------
    table
        The table `[input]`, with the text of its schema.
    features
        Names of the bundle's features, in order.

    Raises
    ------
    ConfigError
        If the table does not fit the features, its schema is none, or the library that reads it is
        not installed.
    """
    mapping = table.mapping(features)
    if mapping is None:
        return None
    schema = _schema_of(table)
    if schema is None and table.preset == "sparkplug-b" and mapping.format == "protobuf":
        by_alias = table.feature_name == "alias"
        schema = load_protobuf("sparkplug").SparkplugSchema(by_alias=by_alias)
    return replace(mapping, schema=schema)


def _schema_of(table: InputSection) -> Schema | None:
    """Return the schema that a table names, None where it names none."""
    key = "avro_schema"
    try:
        if table.avro_schema is not None:
            return AvroSchema(table.avro_schema)
        if table.protobuf_schema is None:
            return None
        key = "protobuf_schema"
        schema = load_protobuf("protobuf").ProtobufSchema(table.protobuf_schema)
        key = "protobuf_message"
        found: Schema = schema.values_of(table.protobuf_message)
    except ValueError as error:
        message = f"input.{key}: {error}"
        raise ConfigError(message) from None
    return found
