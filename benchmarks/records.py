"""Decode records of named features beside today's arrays of values, at 3 and at 38 features.

    python benchmarks/records.py

Also Avro, Protobuf and JSON Schema, whose records name a schema as a Schema Registry's clients
write it. Prints, for each
form, records a second of decoding alone, and the ratio to `{"values": [..]}` in the same round:
median and range over the rounds. Nothing of Kafka is measured, so a ratio of all that `detect` does
is nearer to 1.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import fastavro
import numpy as np
import orjson
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from stream_detector.core.codec.mapped_samples import decode_mapped_samples
from stream_detector.core.codec.samples import decode_samples
from stream_detector.core.features import Features
from stream_detector.core.records import RecordBatch, SeriesColumns
from stream_detector.recipes.input import InputSection
from stream_detector.schemas.avro import AvroSchema
from stream_detector.schemas.proto_text import parse_proto
from stream_detector.schemas.protobuf import ProtobufSchema

N_RECORDS = 32_768
"""Records of a batch: the default of `poll_records_max`."""

START_MS = 1_767_225_600_000

FORMS = {
    "flat": {"preset": "flat"},
    "flat, key inside": {"preset": "flat", "key": "device"},
    "flat, ISO 8601": {"preset": "flat", "time_unit": "iso8601"},
    "in an object": {"values": "data", "time": "ts"},
    "numbers as text": {"preset": "flat", "numbers": "text"},
    "avro": {"preset": "flat", "format": "avro"},
    "avro, key inside": {"preset": "flat", "format": "avro", "key": "device"},
    "avro, any may be null": {"preset": "flat", "format": "avro"},
    "avro, with an array": {"preset": "flat", "format": "avro"},
    "protobuf": {"preset": "flat", "format": "protobuf"},
    "json schema": {"preset": "flat"},
}

SCHEMA_ID = 7
HEAD = b"\0" + SCHEMA_ID.to_bytes(4)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    for n_features in (3, 38):
        measured = measure(n_features, rounds)
        base = measured.pop("values")
        sys.stdout.write(
            f"{n_features} features, values: {statistics.median(base):,.0f} records/s\n"
        )
        for name, rates in measured.items():
            ratios = sorted(rate / each for rate, each in zip(rates, base, strict=True))
            sys.stdout.write(
                f"  {name:20} {statistics.median(rates):9,.0f} records/s, ratio "
                f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})\n"
            )
    return 0


def measure(n_features: int, rounds: int) -> dict[str, list[float]]:
    """Return records a second of each form, by round."""
    features = Features(tuple(f"sensor_{number}" for number in range(n_features)))
    numbers = np.random.default_rng(0).normal(20, 5, (N_RECORDS, n_features)).astype(np.float32)
    runs = {"values": values_run(numbers, features)}
    for name, table in FORMS.items():
        runs[name] = mapped_run(name, table, numbers, features)
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began_s = time.process_time()
            n_samples = run()
            rates[name].append(N_RECORDS / (time.process_time() - began_s))
            assert n_samples == N_RECORDS
    return rates


def values_run(numbers: np.ndarray, features: Features) -> Callable[[], int]:
    """Return what decodes `{"values": [..], "timestamp_ms": ..}`."""
    values = [
        orjson.dumps({"values": row, "timestamp_ms": START_MS + at})
        for at, row in enumerate(numbers.astype(float).tolist())
    ]
    series = SeriesColumns(
        [b"d"] * N_RECORDS, np.zeros(N_RECORDS, np.int64), np.full(N_RECORDS, START_MS)
    )

    def run() -> int:
        found = decode_samples(values, None, series, None, features=features, interval_ms=1_000)
        return len(found.values)

    return run


def mapped_run(
    name: str, table: dict[str, str], numbers: np.ndarray, features: Features
) -> Callable[[], int]:
    """Return what decodes records of a form."""
    values = []
    schema = avro_schema(name, features)
    schemas: dict[int | str, Any] = {SCHEMA_ID: AvroSchema(orjson.dumps(schema).decode())}
    reading: Any = None
    if name == "protobuf":
        schemas[SCHEMA_ID] = ProtobufSchema(protobuf_text(features))
        reading = protobuf_class(features)
    for at, row in enumerate(numbers.astype(float).tolist()):
        named = dict(zip(features.names, row, strict=True))
        ts: object = START_MS + at
        if "ISO" in name:
            ts = str(np.datetime64(START_MS + at, "ms")) + "Z"
        if "text" in name:
            named = {key: repr(value) for key, value in named.items()}
        inner = {"data": named} if "object" in name else named
        device = {"device": f"pump-{at % 100}"} if "key" in name else {}
        record = {"ts": ts, **device, **inner}
        if "avro" in name:
            values.append(avro_value(schema, record))
        elif name == "protobuf":
            values.append(HEAD + b"\0" + reading(**record).SerializeToString())
        elif name == "json schema":
            values.append(HEAD + orjson.dumps(record))
        else:
            values.append(orjson.dumps(record))
    mapping = InputSection.model_validate(table).mapping(features.names)
    assert mapping is not None
    series = SeriesColumns(
        [b"d"] * N_RECORDS, np.zeros(N_RECORDS, np.int64), np.full(N_RECORDS, START_MS)
    )
    batch = RecordBatch.from_columns("t", values, series, range(N_RECORDS))
    batch = replace(batch, schemas=schemas)

    def run() -> int:
        found = decode_mapped_samples(batch, None, mapping, features=features, interval_ms=1_000)
        assert not found.samples.rejected
        return len(found.samples.values)

    return run


def avro_schema(name: str, features: Features) -> Any:
    """Return the schema of records of a form."""
    number: Any = ["null", "double"] if "null" in name else "double"
    fields: list[Any] = [{"name": each, "type": number} for each in features.names]
    fields = [{"name": "ts", "type": "long"}, {"name": "device", "type": "string"}, *fields]
    if "array" in name:
        tags = {"type": "array", "items": "string"}
        fields.append({"name": "tags", "type": tags})
    return fastavro.parse_schema({"type": "record", "name": "Reading", "fields": fields})


def avro_value(schema: Any, record: dict[str, Any]) -> bytes:
    """Return a record as a Schema Registry's clients write it."""
    stream = BytesIO()
    stream.write(HEAD)
    fastavro.schemaless_writer(stream, schema, {"device": "pump-1", "tags": ["a"], **record})
    return stream.getvalue()


def protobuf_text(features: Features) -> str:
    """Return the schema of records as Protobuf."""
    fields = [f"double {name} = {at};" for at, name in enumerate(features.names, start=2)]
    return f'syntax = "proto3"; message Reading {{ int64 ts = 1; {" ".join(fields)} }}'


def protobuf_class(features: Features) -> Any:
    """Return the class of the message that writes records."""
    pool = DescriptorPool()
    pool.AddSerializedFile(
        parse_proto(protobuf_text(features), "reading.proto").SerializeToString()
    )
    return GetMessageClass(pool.FindMessageTypeByName("Reading"))


if __name__ == "__main__":
    sys.exit(main())
