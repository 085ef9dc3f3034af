"""Records as the documentation of each program shows them, read by the program's preset."""

from typing import Any

import numpy as np
import orjson
import pytest
from sparkplug_forms import by_hand, payload_of

from stream_detector.core.codec.mapped_samples import decode_mapped_samples
from stream_detector.core.features import Features
from stream_detector.core.records import RecordBatch, RecordMetadata, series_columns
from stream_detector.recipes.input import InputSection
from stream_detector.recipes.presets import PRESETS
from stream_detector.schemas.mapping import open_mapping

SENT_MS = 1_767_225_600_000

TELEGRAF = {
    "fields": {"field_1": 30, "field_2": 4, "field_N": 59, "n_images": 660},
    "name": "docker",
    "tags": {"host": "raynor"},
    "timestamp": 1458229140,
}
"""Telegraf, "JSON output data format", standard format."""

LINE = b'myMeasurement,host=a,tag2=value2 fieldKey=1.5,text="v 1",n=2i,on=true'
"""InfluxDB, "Line protocol", syntax and data types."""

CLOUD_EVENT = {
    "specversion": "1.0",
    "type": "com.example.someevent",
    "source": "/mycontext",
    "subject": "larger-context",
    "id": "C234-1234-1234",
    "time": "2018-04-05T17:31:00Z",
    "comexampleextension1": "value",
    "comexampleothervalue": 5,
    "datacontenttype": "application/json",
    "data": {"appinfoA": 1.5, "appinfoB": 123, "appinfoC": True},
}
"""CloudEvents, "JSON Event Format", the examples of structured mode, with numbers in the data."""

OTLP = {
    "resourceMetrics": [
        {
            "resource": {
                "attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}]
            },
            "scopeMetrics": [
                {
                    "scope": {"name": "my.library", "version": "1.0.0", "attributes": []},
                    "metrics": [
                        {
                            "name": "my.counter",
                            "unit": "1",
                            "sum": {
                                "aggregationTemporality": 1,
                                "isMonotonic": True,
                                "dataPoints": [
                                    {"asDouble": 5, "timeUnixNano": "1544712660300000000"}
                                ],
                            },
                        },
                        {
                            "name": "my.gauge",
                            "unit": "1",
                            "description": "I am a Gauge",
                            "gauge": {
                                "dataPoints": [
                                    {
                                        "asDouble": 10,
                                        "timeUnixNano": "1544712660300000000",
                                        "attributes": [
                                            {
                                                "key": "my.gauge.attr",
                                                "value": {"stringValue": "some value"},
                                            }
                                        ],
                                    }
                                ]
                            },
                        },
                        {
                            "name": "my.level",
                            "gauge": {
                                "dataPoints": [
                                    {"asInt": "7", "timeUnixNano": "1544712660300000000"}
                                ]
                            },
                        },
                        {"name": "my.histogram", "histogram": {"dataPoints": [{"count": "2"}]}},
                    ],
                }
            ],
        }
    ]
}
"""OpenTelemetry, `examples/metrics.json` of its protocol, and a gauge of whole numbers."""

HOME_ASSISTANT = {
    "entity_id": "sensor.office_power",
    "state": "41.25",
    "attributes": {"unit_of_measurement": "W", "friendly_name": "Office"},
    "last_changed": "2024-02-20T15:02:20.000000-05:00",
    "last_reported": "2024-02-20T15:02:21.250000-05:00",
    "last_updated": "2024-02-20T15:02:21.250000-05:00",
    "context": {"id": "01HQ41SDCE9VZ1KVH1E9E6Q5YG", "parent_id": None, "user_id": None},
}
"""Home Assistant, `State.as_dict` of its core, as the integration Apache Kafka writes it."""

CONNECT = {
    "schema": {
        "type": "struct",
        "fields": [
            {"type": "string", "optional": False, "field": "id"},
            {"type": "double", "optional": True, "field": "temperature"},
        ],
        "optional": False,
        "name": "reading",
    },
    "payload": {"id": "p1", "temperature": 21.5},
}
"""Apache Kafka, JsonConverter with `schemas.enable`."""

DEBEZIUM = {
    "schema": {"type": "struct", "name": "dbserver1.inventory.readings.Envelope"},
    "payload": {
        "before": None,
        "after": {"id": 1004, "temperature": 21.5},
        "source": {"version": "3.0.0", "name": "dbserver1", "ts_ms": 1465491411000, "op": "x"},
        "op": "c",
        "ts_ms": 1465491411815,
        "transaction": None,
    },
}
"""Debezium, "Change event values"."""

SPARKPLUG = [
    (b"My Metric", 12, 15, b"Test"),
    (b"Folder 1/Folder 2/level", 2, 10, 2**32 - 87),
    (b"temperature", 9, 12, 21.5),
]
"""Sparkplug 3.0, the example of a payload with values, and two metrics of numbers: name, datatype,
number of the field and what is in it."""

Case = tuple[dict[str, Any], tuple[str, ...], Any, bytes, float, list[float]]
CASES: dict[str, Case] = {
    "telegraf-json": (
        {},
        ("n_images", "field_1"),
        TELEGRAF,
        b"raynor",
        1458229140_000,
        [660, 30],
    ),
    "telegraf-json, a batch": (
        {"readings": "metrics"},
        ("field_1",),
        {"metrics": [TELEGRAF, {**TELEGRAF, "timestamp": 1458229141}]},
        b"raynor",
        1458229140_000,
        [30, 30],
    ),
    "influx-line": (
        {},
        ("fieldKey", "n"),
        LINE + b" 1556813561098000000",
        b"a",
        1556813561098,
        [1.5, 2],
    ),
    "connect-envelope": ({}, ("temperature",), CONNECT, b"own", SENT_MS, [21.5]),
    "debezium": ({}, ("temperature",), DEBEZIUM, b"own", 1465491411815, [21.5]),
    "debezium, without schemas": (
        {},
        ("temperature",),
        DEBEZIUM["payload"],
        b"own",
        1465491411815,
        [21.5],
    ),
    "cloudevents": (
        {},
        ("appinfoA", "appinfoB"),
        CLOUD_EVENT,
        b"larger-context",
        1522949460_000,
        [1.5, 123],
    ),
    "cloudevents, without a subject": (
        {},
        ("appinfoB",),
        {name: each for name, each in CLOUD_EVENT.items() if name != "subject"},
        b"/mycontext",
        1522949460_000,
        [123],
    ),
    "otlp-json": ({}, ("my.level", "my.gauge"), OTLP, b"my.service", 1544712660_300, [7, 10]),
    "home-assistant": (
        {},
        ("power",),
        HOME_ASSISTANT,
        b"sensor.office_power",
        1708459341_250,
        [41.25],
    ),
    "sparkplug-b": (
        {"features": {"level": "Folder 1/Folder 2/level"}},
        ("temperature", "level"),
        by_hand(SPARKPLUG, 1479123452194, 1486144502122),
        b"own",
        1479123452194,
        [21.5, -87],
    ),
    "sparkplug-b, by Google's library": (
        {},
        ("temperature", "level"),
        payload_of(
            [
                {"name": b"My Metric", "alias": 1, "datatype": 12, "string_value": b"Test"},
                {"name": b"level", "datatype": 2, "int_value": 2**16 - 87},
                {"name": b"temperature", "datatype": 9, "float_value": 21.5},
            ],
            1486144502122,
        ),
        b"own",
        1486144502122,
        [21.5, -87],
    ),
    "flat": ({}, ("temperature",), {"ts": 5_000, "temperature": 1.5}, b"own", 5_000, [1.5]),
    "flat, timestamp_ms": (
        {},
        ("temperature",),
        {"timestamp_ms": 5_000, "temperature": 1.5},
        b"own",
        5_000,
        [1.5],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_record_as_documented_is_read(name: str) -> None:
    more, names, value, key, time_ms, expected = CASES[name]
    table = {"preset": name.partition(",")[0], **more}
    batch, found = decode(table, names, value)
    assert [str(each.error) for each in found.rejected] == []
    assert batch.keys()[0] == key
    assert found.times_ms[0] == time_ms
    assert found.values[~np.isnan(found.values)].tolist() == expected


def test_a_line_without_a_time_has_the_time_of_the_record_if_no_path_is_given() -> None:
    names = ("fieldKey", "n")
    _, found = decode({"preset": "influx-line"}, names, LINE)
    assert "time: expected it at 'timestamp', received nothing" in str(found.rejected[0].error)
    table = {name: each for name, each in PRESETS["influx-line"].items() if "time" not in name}
    batch, found = decode(table, names, LINE)
    assert (batch.keys()[0], found.times_ms[0]) == (b"a", SENT_MS)
    assert found.values.tolist() == [[1.5, 2]]


def decode(table: dict[str, Any], names: tuple[str, ...], value: Any) -> Any:
    """Return a batch of one record with its key, and its samples."""
    mapping = open_mapping(InputSection.model_validate(table), names)
    assert mapping is not None
    metadata = RecordMetadata("t", 0, 0, SENT_MS, b"own", ())
    batch = RecordBatch(
        [value if isinstance(value, bytes) else orjson.dumps(value)],
        None,
        {},
        lambda _: metadata,
        lambda: series_columns([metadata]),
        lambda: np.array([0]),
    )
    return decode_mapped_samples(batch, None, mapping, features=Features(names), interval_ms=1_000)


def test_each_preset_has_a_documented_record() -> None:
    assert {name.partition(",")[0] for name in CASES} == set(PRESETS)
