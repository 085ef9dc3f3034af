"""Records as the documentation of each program shows them, read by the program's preset."""

from typing import Any

import numpy as np
import orjson
import pytest
from sparkplug_forms import by_hand, payload_of

from stream_detector.core.codec.mapped_samples import decode_mapped_samples
from stream_detector.core.features import Features
from stream_detector.core.records import RecordBatch, RecordMetadata, series_columns
from stream_detector.errors import RecordDeletionError
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

DEBEZIUM: dict[str, Any] = {
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
        [value if value is None or isinstance(value, bytes) else orjson.dumps(value)],
        None,
        {},
        lambda _: metadata,
        lambda: series_columns([metadata]),
        lambda: np.array([0]),
    )
    return decode_mapped_samples(batch, None, mapping, features=Features(names), interval_ms=1_000)


def test_each_preset_has_a_documented_record() -> None:
    assert {name.partition(",")[0] for name in CASES} == set(PRESETS)


def debezium(**payload: Any) -> Any:
    """Return a change event as documented, with other things in its payload."""
    return {"schema": DEBEZIUM["schema"], "payload": {**DEBEZIUM["payload"], **payload}}


ROW = {"id": 1004, "temperature": 21.5}


@pytest.mark.parametrize(
    "payload",
    [
        {"op": "r", "source": {"snapshot": "true", "ts_ms": 1465491411000}},
        {"op": "u", "before": {"id": 1004, "temperature": 3.0}},
        {"op": "u", "ts_us": 1465491411815000, "ts_ns": 1465491411815000000, "transaction": {}},
    ],
)
@pytest.mark.parametrize("has_schemas", [True, False])
def test_a_change_of_any_kind_has_the_row_after_it(
    payload: dict[str, Any], has_schemas: bool
) -> None:
    event = debezium(**payload)
    _, found = decode(
        {"preset": "debezium"}, ("temperature",), event if has_schemas else event["payload"]
    )
    assert [str(each.error) for each in found.rejected] == []
    assert (found.values.tolist(), found.times_ms.tolist()) == ([[21.5]], [1465491411815])


@pytest.mark.parametrize(
    ("table", "value", "received"),
    [
        ({}, debezium(op="d", before=ROW, after=None), "null at 'payload.after|after'"),
        ({}, debezium(op="d", after=None)["payload"], "null at 'payload.after|after'"),
        ({}, debezium(op="t", after=None), "null at 'payload.after|after'"),  # truncated
        ({}, None, "no value (a tombstone)"),
        (
            {"features": {"temperature": "payload.after.temperature"}},
            debezium(op="d", after=None),
            "null at 'payload.after|after'",
        ),
        (
            {"key": "payload.after.id"},
            debezium(op="d", after=None),
            "null at 'payload.after|after'",
        ),
    ],
)
def test_a_deletion_is_told_from_what_cannot_be_read(
    table: dict[str, Any], value: Any, received: str
) -> None:
    _, found = decode({"preset": "debezium", **table}, ("temperature",), value)
    (rejected,) = found.rejected
    assert type(rejected.error) is RecordDeletionError
    assert str(rejected.error) == f"expected a row, received {received}: it was deleted"


@pytest.mark.parametrize(
    ("table", "value", "message"),
    [
        ({"deletions": "reject"}, debezium(op="d", after=None), "received nothing; the record has"),
        ({"deletions": "reject"}, None, "received no value (a tombstone)"),
        ({}, b"", "received an empty value"),
        ({}, {"payload": {"op": "m", "message": {"prefix": "p"}}}, "received nothing"),
        ({}, debezium(after='{"temperature": 2}'), "received nothing; the record"),  # MongoDB
    ],
)
def test_what_is_no_deletion_is_a_dead_letter(
    table: dict[str, Any], value: Any, message: str
) -> None:
    _, found = decode({"preset": "debezium", **table}, ("temperature", "id"), value)
    (rejected,) = found.rejected
    assert type(rejected.error) is not RecordDeletionError
    assert message in str(rejected.error)


@pytest.mark.parametrize(
    ("time", "time_unit", "written"),
    [
        ("payload.after.at", "ms", SENT_MS),  # io.debezium.time.Timestamp, connect.data.Timestamp
        ("payload.after.at", "us", SENT_MS * 1_000),  # io.debezium.time.MicroTimestamp
        ("payload.after.at", "ns", SENT_MS * 1_000_000),  # io.debezium.time.NanoTimestamp
        ("payload.after.at", "iso8601", "2026-01-01T00:00:00Z"),  # io.debezium.time.ZonedTimestamp
        ("payload.source.ts_ms", "ms", 5),
    ],
)
def test_a_row_may_have_the_time(time: str, time_unit: str, written: Any) -> None:
    event = debezium(after={**ROW, "at": written}, source={"ts_ms": SENT_MS})
    table = {"preset": "debezium", "time": time, "time_unit": time_unit}
    _, found = decode(table, ("temperature",), event)
    assert found.times_ms.tolist() == [SENT_MS]


@pytest.mark.parametrize(
    ("preset", "value"),
    [
        ("debezium", debezium(after={**ROW, "temperature": "D3J5"})),
        ("connect-envelope", {**CONNECT, "payload": {"id": "p1", "temperature": "AMs="}}),
    ],
)
def test_a_decimal_in_base64_says_what_to_set(preset: str, value: Any) -> None:
    _, found = decode({"preset": preset}, ("temperature",), value)
    assert "decimal.format = NUMERIC" in str(found.rejected[0].error)


@pytest.mark.parametrize("word", ["idle", "on", "D3J", "Überlauf"])
def test_a_word_is_no_decimal(word: str) -> None:
    _, found = decode({"preset": "flat"}, ("temperature",), {"temperature": word})
    assert "decimal" not in str(found.rejected[0].error)


def test_the_converter_of_kafka_connect_writes_null_for_what_is_missing() -> None:
    value = {**CONNECT, "payload": {"id": "p1", "temperature": None}}
    _, found = decode({"preset": "connect-envelope"}, ("temperature",), value)
    assert np.isnan(found.values).tolist() == [[True]]


def test_the_converter_without_schemas_writes_the_payload_alone() -> None:
    _, found = decode({"values": ""}, ("temperature",), CONNECT["payload"])
    assert found.values.tolist() == [[21.5]]


BY_ALIAS = {"feature_name": "alias", "features": {"temperature": "3", "pressure": "4"}}
BIRTH: list[dict[str, Any]] = [
    {"name": b"bdSeq", "datatype": 8, "long_value": 0},
    {"name": b"Boiler/T", "alias": 3, "datatype": 9, "float_value": 20.0},
    {"name": b"Boiler/p", "alias": 4, "datatype": 9, "float_value": 2.0},
    {"name": b"Boiler/other", "alias": 5, "datatype": 12, "string_value": b"on"},
]


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (BIRTH, [20.0, 2.0]),
        ([{"alias": 4, "float_value": 3.0}, {"alias": 3, "float_value": 21.5}], [21.5, 3.0]),
        ([{"alias": 3, "float_value": 21.5}, {"alias": 5, "string_value": b"off"}], [21.5, np.nan]),
    ],
)
def test_features_may_go_by_the_aliases_of_sparkplug(
    metrics: list[dict[str, Any]], expected: list[float]
) -> None:
    table = {"preset": "sparkplug-b", **BY_ALIAS}
    _, found = decode(table, ("temperature", "pressure"), payload_of(metrics, SENT_MS))
    assert [str(each.error) for each in found.rejected] == []
    np.testing.assert_array_equal(found.values, [expected])


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ([{"alias": 34, "float_value": 1.0}], "expected one of 3, 4 at 'alias', received 34"),
        ([{"name": b"3", "float_value": 1.0}], "received nothing"),
    ],
)
def test_aliases_that_are_not_known_are_named(metrics: list[dict[str, Any]], message: str) -> None:
    table = {"preset": "sparkplug-b", **BY_ALIAS}
    _, found = decode(table, ("temperature", "pressure"), payload_of(metrics, SENT_MS))
    assert message in str(found.rejected[0].error)


def test_an_alias_without_a_name_says_how_to_go_by_aliases() -> None:
    value = payload_of([{"alias": 3, "float_value": 1.0}], SENT_MS)
    _, found = decode({"preset": "sparkplug-b"}, ("temperature",), value)
    assert 'set input.feature_name = "alias"' in str(found.rejected[0].error)
