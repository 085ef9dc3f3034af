"""The same samples as records of many programs: what each form looks like, and its `[input]`.

Every form says the same samples as records of float32, so a detector must give the same scores of
them, bit for bit.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import proto_forms
from avro_forms import FLAT as AVRO
from halving_bundle import make_bundle
from sparkplug_forms import payload_of

from stream_detector.core.codec.formats import CONTENT_TYPES
from stream_detector.core.features import Features
from stream_detector.core.records import FloatArray, Headers, OutputRecord
from stream_detector.recipes import parse_recipe
from stream_detector.schemas.protobuf import ProtobufSchema

START_MS = 1_767_225_600_000
INTERVAL_MS = 1_000
N_STEPS = 4
N_SAMPLES = 24
KEYS = ("pump-1", "pump-2")
NAMES = ("temperature", "pressure")
PARTITIONS = 2
PROTOBUF = ProtobufSchema(proto_forms.TEXT)


class Sample(NamedTuple):
    """One sample of one series."""

    key: str
    number: int
    time_ms: int
    values: dict[str, float]

    @property
    def iso(self) -> str:
        date = datetime.fromtimestamp(self.time_ms / 1_000, UTC)
        return date.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @property
    def ns(self) -> int:
        return self.time_ms * 1_000_000


class Form(NamedTuple):
    """A form of records.

    Parameters
    ----------
    name
        What it is called in a test.
    table
        The keys of `[input]` that read it.
    n_features
        How many features its bundle has: the first of `NAMES`.
    write
        Makes the values of the records of one sample.
    """

    name: str
    table: dict[str, Any]
    write: Any
    n_features: int = 2
    headers: Any = None
    is_keyed: bool = False
    content_type: str | None = None


def signal(n_features: int) -> FloatArray:
    """Return values of each key and sample, shape (n_keys, n_samples, n_features)."""
    values = np.random.default_rng(7).normal(size=(len(KEYS), N_SAMPLES, n_features))
    values[:, 9] += 4  # an anomaly
    return values.astype(np.float32)


def samples_of(n_features: int) -> Iterator[Sample]:
    """Yield the samples in the order of their times."""
    values = signal(n_features).astype(np.float64)
    for number in range(N_SAMPLES):
        for at, key in enumerate(KEYS):
            named = dict(zip(NAMES, values[at, number].tolist(), strict=False))
            yield Sample(key, number, START_MS + number * INTERVAL_MS, named)


def records_of(form: Form, topic: str) -> list[OutputRecord]:
    """Return the records of a form: those of a key are in one partition."""
    found: list[OutputRecord] = []
    pending: dict[str, list[Sample]] = {}
    for sample in samples_of(form.n_features):
        values = form.write(sample, pending.setdefault(sample.key, []))
        headers: Headers = [] if form.headers is None else form.headers(sample)
        found += [
            OutputRecord(
                topic,
                sample.key.encode() if form.is_keyed else None,
                value if isinstance(value, bytes) else orjson.dumps(value),
                headers,
                timestamp_ms=sample.time_ms,
                partition=KEYS.index(sample.key) % PARTITIONS,
            )
            for value in values
        ]
    return found


def float32_records(n_features: int, topic: str) -> list[OutputRecord]:
    """Return the same samples as float32."""
    return [
        OutputRecord(
            topic,
            sample.key.encode(),
            np.array([*sample.values.values()], dtype="<f4").tobytes(),
            [("content-type", CONTENT_TYPES["float32"])],
            timestamp_ms=sample.time_ms,
            partition=KEYS.index(sample.key) % PARTITIONS,
        )
        for sample in samples_of(n_features)
    ]


def write_bundle(
    path: Path, table: dict[str, Any], n_features: int = 2, record: str = "samples"
) -> Path:
    """Write a bundle that needs no training and reads records by a table."""
    recipe = parse_recipe(
        {
            "name": "pumps",
            "data": {"name": "csv", "path": "pumps.csv"},
            "window": {
                "record": record,
                "steps": N_STEPS,
                "features": n_features,
                "sample_interval_ms": INTERVAL_MS,
                # So that the parts of a sample may wait for each other.
                **(
                    {"stride": 2, "allowed_lateness_ms": INTERVAL_MS} if record == "samples" else {}
                ),
            },
            "input": table,
            "scaling": {"kind": "none"},
            "network": {"kind": "dense", "units": [2], "activation": "relu"},
            "training": {"epochs": 1, "batch_size": 1},
            "threshold": {"method": "quantile", "quantile": 0.99},
        },
        "tests",
    )
    make_bundle(path, recipe, features=Features(NAMES[:n_features]))
    return path


def _flat(sample: Sample, **more: Any) -> list[Any]:
    return [{"device": sample.key, **more, **sample.values}]


def _text(values: dict[str, float]) -> dict[str, str]:
    return {name: repr(value) for name, value in values.items()}


def _csv(sample: Sample, delimiter: str) -> list[bytes]:
    cells = [sample.key, str(sample.time_ms), *_text(sample.values).values()]
    return [delimiter.join(cells).encode()]


def _tags(sample: Sample, _: Any) -> list[Any]:
    return [
        {"device": sample.key, "ts": sample.time_ms, "tag": name, "value": value}
        for name, value in sample.values.items()
    ]


def _readings(sample: Sample, pending: list[Sample]) -> list[Any]:
    """Three samples a record, the newest first."""
    pending.append(sample)
    if len(pending) < 3:
        return []
    readings = [{"at": each.iso, "v": each.values} for each in reversed(pending)]
    pending.clear()
    return [{"device": sample.key, "readings": readings}]


def _columns(sample: Sample, pending: list[Sample]) -> list[Any]:
    pending.append(sample)
    if len(pending) < 3:
        return []
    columns = {name: [each.values[name] for each in pending] for name in sample.values}
    found = {"device": sample.key, "ts": [each.time_ms for each in pending], **columns}
    pending.clear()
    return [found]


def _influx(sample: Sample, _: Any) -> list[bytes]:
    fields = ",".join(f"{name}={value!r}" for name, value in sample.values.items())
    return [f'pumps,host={sample.key},site=A\\ 1 {fields},state="on" {sample.ns}\n'.encode()]


def _debezium(sample: Sample, _: Any) -> list[Any]:
    """As the MySQL connector writes an update."""
    return [
        {
            "schema": {"type": "struct", "fields": [], "optional": False, "name": "s.Envelope"},
            "payload": {
                "before": None,
                "after": {"device": sample.key, **sample.values},
                "source": {"version": "2.7.0", "connector": "mysql", "ts_ms": 1, "table": "t"},
                "op": "c",
                "ts_ms": sample.time_ms,
                "transaction": None,
            },
        }
    ]


def _otlp(sample: Sample, _: Any) -> list[Any]:
    """As the collector's exporters write an ExportMetricsServiceRequest."""
    gauges = [
        {
            "name": name,
            "unit": "1",
            "gauge": {"dataPoints": [{"timeUnixNano": str(sample.ns), "asDouble": value}]},
        }
        for name, value in sample.values.items()
    ]
    other = {"name": "requests", "sum": {"dataPoints": [{"asInt": "7"}], "isMonotonic": True}}
    service = {"key": "service.name", "value": {"stringValue": sample.key}}
    zone = {"key": "zone", "value": {"stringValue": "eu"}}
    return [
        {
            "resourceMetrics": [
                {
                    "resource": {"attributes": [zone, service]},
                    "scopeMetrics": [{"scope": {"name": "meter"}, "metrics": [other, *gauges]}],
                }
            ]
        }
    ]


def _cloudevent(sample: Sample, _: Any) -> list[Any]:
    return [
        {
            "specversion": "1.0",
            "type": "com.example.reading",
            "source": "/plant/1",
            "subject": sample.key,
            "id": f"A{sample.number}",
            "time": sample.iso,
            "datacontenttype": "application/json",
            "data": sample.values,
        }
    ]


def _telegraf(sample: Sample, _: Any) -> list[Any]:
    """As its output plugins write with `data_format = "json"`."""
    return [
        {
            "fields": {**sample.values, "state": "on"},
            "name": "pumps",
            "tags": {"host": sample.key},
            "timestamp": sample.time_ms // 1_000,
        }
    ]


def _home_assistant(sample: Sample, _: Any) -> list[Any]:
    """As the integration Apache Kafka writes the state of an entity."""
    return [
        {
            "entity_id": sample.key,
            "state": repr(sample.values["temperature"]),
            "attributes": {"unit_of_measurement": "°C", "friendly_name": "Pump"},
            "last_changed": sample.iso,
            "last_updated": sample.iso.replace("Z", "+00:00"),
            "context": {"id": "01H", "parent_id": None, "user_id": None},
        }
    ]


def _sparkplug(sample: Sample, _: Any) -> list[bytes]:
    """As an edge node writes data; every second payload is sent later than its metrics are old."""
    is_late = sample.number % 2 == 1
    own = {"timestamp": sample.time_ms} if is_late else {}
    metrics = [
        {"name": name.encode(), "float_value": value, **own}
        for name, value in sample.values.items()
    ]
    state = {"name": b"Properties/State", "datatype": 12, "string_value": b"on"}
    rebirth = {"name": b"Node Control/Rebirth", "datatype": 11, "boolean_value": False}
    return [payload_of([state, *metrics, rebirth], sample.time_ms + 700 * is_late)]


_DEVICE = {"key": "device"}

SHAPES = (
    Form(
        "timestamp_ms",
        {"preset": "flat"},
        lambda each, _: _flat(each, timestamp_ms=each.time_ms),
        is_keyed=True,
    ),
    Form(
        "dict in values",
        {},
        lambda each, _: [{"values": each.values, "timestamp_ms": each.time_ms}],
        is_keyed=True,
    ),
    Form(
        "key in the value",
        {**_DEVICE, "values": ""},
        lambda each, _: _flat(each, timestamp_ms=each.time_ms),
    ),
    Form(
        "iso time",
        {"preset": "flat", **_DEVICE, "time": "when", "time_unit": "iso8601"},
        lambda each, _: _flat(each, when=each.iso),
    ),
    Form(
        "text",
        {"preset": "flat", **_DEVICE, "numbers": "text"},
        lambda each, _: [{"device": each.key, "ts": str(each.time_ms), **_text(each.values)}],
    ),
    Form(
        "csv",
        {
            "format": "csv",
            "key": "0",
            "time": "1",
            "features": {"temperature": "2", "pressure": "3"},
        },
        lambda each, _: _csv(each, ","),
    ),
    Form(
        "csv with semicolons",
        {
            "format": "csv",
            "delimiter": ";",
            "key": "0",
            "time": "1",
            "features": {"temperature": "2", "pressure": "3"},
        },
        lambda each, _: _csv(each, ";"),
    ),
    Form(
        "one tag a record",
        {**_DEVICE, "time": "ts", "feature_name": "tag", "feature_value": "value"},
        _tags,
    ),
    Form(
        "readings",
        {
            **_DEVICE,
            "readings": "readings",
            "time": "at",
            "time_unit": "iso8601",
            "values": "v",
        },
        _readings,
    ),
    Form("columns", {**_DEVICE, "time": "ts", "values": ""}, _columns),
    Form(
        "headers",
        {"key": "header:Device", "time": "header:when", "time_unit": "us", "values": ""},
        lambda each, _: [each.values],
        headers=lambda each: [
            ("device", each.key.encode()),
            ("when", str(each.time_ms * 1_000).encode()),
        ],
    ),
    Form(
        "avro",
        {"avro_schema": AVRO.text, **AVRO.table},
        lambda each, _: [AVRO.encode(each.key, each.time_ms, each.values)],
    ),
    Form(
        "protobuf",
        {
            "protobuf_schema": proto_forms.TEXT,
            "protobuf_message": "Reading",
            **proto_forms.TABLE,
        },
        lambda each, _: [
            proto_forms.encode(PROTOBUF, each.key, each.time_ms, each.values).removeprefix(b"\2\2")
        ],
    ),
    Form(
        "other names",
        {
            **_DEVICE,
            "time": "ts",
            "time_unit": "s",
            "features": {"temperature": 'payload."t.c"', "pressure": "payload.more.0"},
        },
        lambda each, _: [
            {
                "device": each.key,
                "ts": each.time_ms / 1_000,
                "payload": {
                    "t.c": each.values["temperature"],
                    "more": [each.values["pressure"], 3],
                },
            }
        ],
    ),
)
"""The ordinary shapes of live telemetry."""

OF_PRESETS = (
    Form("flat", {"preset": "flat", **_DEVICE}, lambda each, _: _flat(each, ts=each.time_ms)),
    Form("telegraf-json", {"preset": "telegraf-json"}, _telegraf),
    Form("influx-line", {"preset": "influx-line"}, _influx),
    Form(
        "connect-envelope",
        {"preset": "connect-envelope", "key": "payload.device", "time": "payload.ts"},
        lambda each, _: [
            {
                "schema": {"type": "struct", "fields": [], "optional": False},
                "payload": {"device": each.key, "ts": each.time_ms, **each.values},
            }
        ],
    ),
    Form("debezium", {"preset": "debezium", "key": "payload.after.device"}, _debezium),
    Form(
        "cloudevents",
        {"preset": "cloudevents"},
        _cloudevent,
        headers=lambda _: [("content-type", b"application/cloudevents+json; charset=UTF-8")],
    ),
    Form("otlp-json", {"preset": "otlp-json"}, _otlp),
    Form("home-assistant", {"preset": "home-assistant"}, _home_assistant, n_features=1),
    Form("sparkplug-b", {"preset": "sparkplug-b"}, _sparkplug, is_keyed=True),
)
"""Records in the documented form of each preset; `recipes/presets.py` names the sources."""

FORMS = (*SHAPES, *OF_PRESETS)
