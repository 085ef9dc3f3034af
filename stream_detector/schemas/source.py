"""The schemas of a batch: which it needs, from memory or from the registry."""

import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stream_detector.core.codec.formats import ContentType, group_by_format
from stream_detector.core.codec.schemas import Schema, find_schema_ids
from stream_detector.core.records import OutputRecord, RecordBatch, SchemaId
from stream_detector.errors import (
    DataError,
    RecordSchemaError,
    SchemaRegistryUnavailableError,
)
from stream_detector.schemas.alerts import AvroAlerts, alert_json
from stream_detector.schemas.avro import AvroSchema, require_fastavro
from stream_detector.schemas.json_schema import JsonSchema
from stream_detector.schemas.libraries import load_protobuf
from stream_detector.schemas.registry import RegisteredSchema, SchemaRegistry
from stream_detector.telemetry import log_event

SCHEMAS_MAX = 1_000
"""Most schemas in memory; of more, those that were used longest ago are asked for again."""

UNKNOWN_MAX = 10_000
"""Most ids in memory that the registry does not know."""

UNKNOWN_S = 30.0
"""So long an id counts as unknown: a registry of several servers may be late on one of them."""

Build = Callable[[RegisteredSchema], Schema]


class RegistrySchemas:
    """Gives batches the schemas that their records name, as `stream_detector.ports.SchemaSource`.

    Parameters
    ----------
    registry
        Where schemas come from.
    content_type
        Format of records whose headers name none; None where the records of the topic, by no
        mapping, have no schemas.
    alerts_subject
        Name under which the schema of alerts is registered, which then are Avro; None for JSON.
    monotonic_s
        Seconds that never go backwards.
    """

    def __init__(
        self,
        registry: SchemaRegistry,
        content_type: ContentType | None,
        alerts_subject: str | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._content_type = content_type
        self._alerts: AvroAlerts | None = None
        if alerts_subject is not None:
            self._alerts = AvroAlerts(lambda text: registry.register(alerts_subject, text))
        self._monotonic_s = monotonic_s
        self._schemas: OrderedDict[SchemaId, Schema] = OrderedDict()
        self._unknown: OrderedDict[SchemaId, tuple[float, DataError]] = OrderedDict()

    def attach(self, batch: RecordBatch) -> RecordBatch:
        """Return a batch with the schemas that its records name; see `SchemaSource`."""
        if self._content_type is None:
            return batch
        groups, _ = group_by_format(batch.values, batch.headers, self._content_type, "mapped")
        found: dict[SchemaId, Any] = {}
        for group in groups:
            if group.format.schema_type:
                for schema_id in find_schema_ids(batch, group.rows):
                    found[schema_id] = self.find(schema_id)
        return replace(batch, schemas=found) if found else batch

    def register_alerts(self) -> None:
        """Register the schema of alerts at the start, where a refusal is noticed.

        A registry that does not answer is asked again for the first alert.

        Raises
        ------
        SchemaRegistryError
            If it refuses.
        """
        if self._alerts is not None:
            with contextlib.suppress(SchemaRegistryUnavailableError):
                self._alerts.register()

    def write_alert(self, record: OutputRecord) -> OutputRecord:
        """Return an alert in the format in which alerts are published; see `SchemaSource`."""
        return record if self._alerts is None else self._alerts.encode(record)

    def read_alert(self, value: bytes) -> bytes:
        """Return a published alert as JSON; see `SchemaSource`."""
        return alert_json(value, self.find)

    def find(self, schema_id: SchemaId) -> Schema | DataError:
        """Return a schema, or why records that name it cannot be read.

        Raises
        ------
        SchemaRegistryError
            As `stream_detector.ports.SchemaSource.attach` says.
        """
        schema = self._schemas.get(schema_id)
        if schema is not None:
            self._schemas.move_to_end(schema_id)
            return schema
        now_s = self._monotonic_s()
        asked_s, error = self._unknown.get(schema_id, (now_s - UNKNOWN_S, None))
        if error is not None and now_s - asked_s < UNKNOWN_S:
            return error
        found = self._fetch(schema_id)
        if isinstance(found, DataError):
            self._unknown[schema_id] = (now_s, found)
            self._unknown.move_to_end(schema_id)
            if len(self._unknown) > UNKNOWN_MAX:
                self._unknown.popitem(last=False)
        else:
            self._unknown.pop(schema_id, None)
            self._schemas[schema_id] = found
            if len(self._schemas) > SCHEMAS_MAX:
                self._schemas.popitem(last=False)
        return found

    def _fetch(self, schema_id: SchemaId) -> Schema | DataError:
        """Ask the registry for a schema."""
        registered = self._registry.find(schema_id)
        if isinstance(registered, str):
            return RecordSchemaError(f"expected a schema that the registry has; {registered}")
        build = BUILDERS.get(registered.type)
        if build is None:
            known = ", ".join(BUILDERS)
            return RecordSchemaError(f"expected one of {known}, received {registered.type}")
        try:
            schema = build(registered)
        except ValueError as error:
            return RecordSchemaError(str(error))
        log_event(logging.INFO, "schema", id=schema_id, kind=registered.type)
        return schema


def require_libraries(schema_type: str) -> None:
    """Refuse a type of schemas whose library is not installed.

    Parameters
    ----------
    schema_type
        AVRO, PROTOBUF or JSON.

    Raises
    ------
    ConfigError
        If it is not.
    """
    if schema_type == "AVRO":
        require_fastavro()
    elif schema_type == "PROTOBUF":
        load_protobuf("protobuf")


def _avro(registered: RegisteredSchema) -> Schema:
    """Return an Avro schema."""
    return AvroSchema(registered.text, [text for _, text in registered.references])


def _protobuf(registered: RegisteredSchema) -> Schema:
    """Return a Protobuf schema."""
    build = load_protobuf("protobuf").ProtobufSchema
    schema: Schema = build(registered.text, registered.references)
    return schema


BUILDERS: dict[str, Build] = {
    "AVRO": _avro,
    "PROTOBUF": _protobuf,
    "JSON": lambda _: JsonSchema(),
}
"""What makes a schema of each type that a registry has."""
