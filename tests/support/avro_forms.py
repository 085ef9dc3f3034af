"""The samples of `input_forms` as Avro: schemas as producers have them, and values of these."""

from datetime import UTC, datetime
from io import BytesIO
from typing import Any, NamedTuple

import fastavro
import orjson


class AvroForm(NamedTuple):
    """A form of Avro records.

    Parameters
    ----------
    name
        What it is called in a test.
    schema
        As its producer writes it.
    table
        The keys of `[input]` that read it, but for what says the format.
    record
        Makes a record of a key, a time in milliseconds and values by name.
    """

    name: str
    schema: dict[str, Any]
    table: dict[str, Any]
    record: Any

    @property
    def text(self) -> str:
        """The schema as text."""
        return orjson.dumps(self.schema).decode()

    def encode(self, key: str, time_ms: int, values: dict[str, float]) -> bytes:
        """Return a record without anything that names its schema."""
        return encode(self.schema, self.record(key, time_ms, values))


def encode(schema: Any, record: Any) -> bytes:
    """Return Avro's binary form of a record."""
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), record)
    return stream.getvalue()


def framed(schema_id: int, body: bytes) -> bytes:
    """Return a value in the wire format of a Schema Registry."""
    return b"\0" + schema_id.to_bytes(4) + body


def record_of(name: str, *fields: tuple[str, Any]) -> dict[str, Any]:
    """Return the schema of a record."""
    listed = [{"name": field, "type": kind} for field, kind in fields]
    return {"type": "record", "name": name, "namespace": "plant", "fields": listed}


def _flat(key: str, time_ms: int, values: dict[str, float]) -> Any:
    return {"device": key, "ts": time_ms, **values}


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1_000, UTC).isoformat(timespec="milliseconds")


STATE = {"type": "enum", "name": "State", "symbols": ["OFF", "ON"]}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
NULLABLE = ["null", "double"]

ROW = record_of(
    "Row", ("device", "string"), ("temperature", ["null", "double"]), ("pressure", "float")
)

FLAT = AvroForm(
    "flat",
    record_of(
        "Reading",
        ("device", "string"),
        ("ts", MILLIS),
        ("temperature", "double"),
        ("pressure", "double"),
    ),
    {"key": "device", "time": "ts", "values": ""},
    _flat,
)

FORMS = (
    FLAT,
    AvroForm(
        "any may be null",
        record_of(
            "Reading",
            ("note", ["null", "string"]),
            ("pressure", ["float", "null"]),
            ("state", ["null", STATE]),
            ("temperature", NULLABLE),
            ("device", ["null", "string"]),
            ("was", ["null", "plant.State"]),
            ("ts", ["null", MICROS]),
        ),
        {"preset": "flat", "key": "device", "time": "ts", "time_unit": "us"},
        lambda key, time_ms, values: {
            "note": None if time_ms % 2_000 else "Größe",
            "state": None if time_ms % 3_000 else "ON",
            "was": "OFF",
            **_flat(key, time_ms * 1_000, values),
        },
    ),
    AvroForm(
        "in a record of its own",
        record_of(
            "Reading",
            ("meta", record_of("Meta", ("device", "int"), ("ok", "boolean"), ("at", "string"))),
            ("crc", {"type": "fixed", "name": "Crc", "size": 2}),
            ("raw", "bytes"),
            ("data", record_of("Data", ("temperature", "float"), ("p", "double"))),
        ),
        {
            "key": "meta.device",
            "time": "meta.at",
            "time_unit": "iso8601",
            "features": {"temperature": "data.temperature", "pressure": "data.p"},
        },
        lambda key, time_ms, values: {
            "meta": {"device": int(key[-1]), "ok": True, "at": _iso(time_ms)},
            "crc": b"ab",
            "raw": bytes(time_ms % 300),
            "data": {"temperature": values["temperature"], "p": values["pressure"]},
        },
    ),
    AvroForm(
        "an array",
        record_of(
            "Reading",
            ("device", "string"),
            ("values", {"type": "array", "items": "float"}),
            ("timestamp_ms", "long"),
        ),
        {"key": "device"},
        lambda key, time_ms, values: {
            "device": key,
            "values": [*values.values()],
            "timestamp_ms": time_ms,
        },
    ),
    AvroForm(
        "change event",
        record_of(
            "Envelope",
            ("before", ["null", ROW]),
            ("after", ["null", "plant.Row"]),
            (
                "source",
                record_of(
                    "Source", ("table", "string"), ("ids", {"type": "array", "items": "long"})
                ),
            ),
            ("op", "string"),
            ("ts_ms", ["null", "long"]),
        ),
        {"preset": "debezium", "key": "after.device"},
        lambda key, time_ms, values: {
            "before": None if time_ms % 2_000 else {"device": key, **values},
            "after": {"device": key, **values},
            "source": {"table": "t", "ids": [1] * (time_ms % 3)},
            "op": "u",
            "ts_ms": time_ms,
        },
    ),
    AvroForm(
        "tags and a map",
        record_of(
            "Reading",
            ("labels", {"type": "map", "values": "string"}),
            ("ts", "long"),
            (
                "readings",
                {"type": "array", "items": record_of("R", ("n", "string"), ("v", "double"))},
            ),
        ),
        {
            "key": "labels.device",
            "time": "ts",
            "readings": "readings",
            "feature_name": "n",
            "feature_value": "v",
        },
        lambda key, time_ms, values: {
            "labels": {"device": key, "site": "A"},
            "ts": time_ms,
            "readings": [{"n": name, "v": value} for name, value in values.items()],
        },
    ),
)
"""Forms of Avro records, with keys that end in a digit."""
