"""Payloads of Sparkplug B: what each field means, and which payloads are dead letters."""

import sys
from typing import Any

import pytest
from sparkplug_forms import LENGTH, VARINT, by_hand, field, payload_of

from stream_detector.assembly import schemas_for
from stream_detector.core.codec.discovery import find_features
from stream_detector.core.codec.readings import Read, read_document
from stream_detector.core.features import Features
from stream_detector.errors import ConfigError, DataError, RecordDecodeError, RecordShapeError
from stream_detector.recipes.input import InputSection, input_problems
from stream_detector.schemas.mapping import open_mapping
from stream_detector.schemas.sparkplug import SparkplugSchema
from stream_detector.settings import ConnectionSettings

SCHEMA = SparkplugSchema()
FEATURES = Features(("t", "p"))
TIME_MS = 1_767_225_600_000


def value_of(**metric: Any) -> Any:
    """Return the value of one metric in a document."""
    [found] = SCHEMA.read_document(payload_of([{"name": b"t", **metric}]))["metrics"]
    return found.get("value", "nothing")


def read(content: bytes, **table: Any) -> Read:
    """Return what the preset reads of a payload."""
    section = InputSection.model_validate({"preset": "sparkplug-b", **table})
    mapping = open_mapping(section, FEATURES.names)
    assert mapping is not None
    assert isinstance(mapping.schema, SparkplugSchema)
    return read_document(mapping.schema.read_document(content), mapping, FEATURES)


def reason(*metrics: dict[str, Any], time_ms: Any = TIME_MS, **table: Any) -> str:
    """Return why a payload is a dead letter."""
    with pytest.raises(DataError) as caught:
        read(payload_of(metrics, time_ms), **table)
    return str(caught.value)


INT = "int_value"
LONG = "long_value"


@pytest.mark.parametrize(
    ("datatype", "kind", "sent", "value"),
    [
        (1, INT, 127, 127),
        (1, INT, 128, -128),
        (1, INT, 255, -1),
        (1, INT, 2**32 - 1, -1),
        (1, INT, 2**32 - 128, -128),
        (1, INT, 2**32 - 129, "4294967167 as Int8"),
        (1, INT, 256, "256 as Int8"),
        (2, INT, 2**15 - 1, 32767),
        (2, INT, 2**15, -32768),
        (2, INT, 2**32 - 2**15, -32768),
        (2, INT, 2**16, "65536 as Int16"),
        (3, INT, 2**31 - 1, 2147483647),
        (3, INT, 2**31, -2147483648),
        (3, INT, 2**32 - 1, -1),
        (3, LONG, 2**32 - 1, -1),
        (3, LONG, 2**64 - 1, -1),
        (3, LONG, 2**32, "4294967296 as Int32"),
        (4, LONG, 2**63 - 1, 2**63 - 1),
        (4, LONG, 2**63, -(2**63)),
        (4, LONG, 2**64 - 1, -1),
        (5, INT, 255, 255),
        (6, INT, 2**16 - 1, 65535),
        (7, INT, 2**32 - 1, 4294967295),
        (7, LONG, 2**32 - 1, 4294967295),
        (8, LONG, 2**64 - 1, 2**64 - 1),
        (13, LONG, TIME_MS, TIME_MS),
        (0, INT, 2**31 - 1, 2147483647),
        (0, INT, 2**31, "2147483648 without a datatype"),
        (0, LONG, 2**63 - 1, 2**63 - 1),
        (0, LONG, 2**63, "9223372036854775808 without a datatype"),
    ],
)
def test_whole_numbers_have_the_sign_of_their_type(
    datatype: int, kind: str, sent: int, value: Any
) -> None:
    assert value_of(datatype=datatype, **{kind: sent}) == value
    number = {INT: 10, LONG: 11}[kind]
    content = by_hand([(b"t", datatype, number, sent)], TIME_MS, TIME_MS)
    assert SCHEMA.read_document(content)["metrics"][0]["value"] == value
    if datatype == 0:  # the type may be left out altogether
        assert value_of(**{kind: sent}) == value


def test_other_values_are_numbers_null_or_text() -> None:
    assert value_of(float_value=0.1) == 0.10000000149011612
    assert value_of(double_value=0.1) == 0.1
    assert [value_of(boolean_value=each) for each in (True, False)] == [1, 0]
    assert value_of(string_value=b"caf\xc3\xa9 \xff") == "café \\xff"
    others = ("bytes_value", "dataset_value", "template_value", "extension_value")
    assert [value_of(**{each: b"x"}) for each in others] == [*others]
    assert value_of(is_null=True) is None
    assert value_of(is_null=True, int_value=3) is None
    assert value_of(is_null=False, int_value=3) == 3
    assert value_of() == "nothing"


def test_numbers_of_fields_are_those_of_the_specification() -> None:
    fields = [(13, 1.5), (12, 1.5), (14, 1), (10, 7), (11, 7), (15, b"x"), (16, b"x"), (19, b"x")]
    metrics = [(b"m", 8, number, value) for number, value in fields]
    document = SCHEMA.read_document(by_hand(metrics, 5, 6))
    assert document["payload_timestamp"] == 6
    assert {each["timestamp"] for each in document["metrics"]} == {5}
    values = [each["value"] for each in document["metrics"]]
    assert values == [1.5, 1.5, 1, 7, 7, "x", "bytes_value", "extension_value"]
    null = field(1, LENGTH, b"m") + field(7, VARINT, 1) + field(10, VARINT, 3)
    assert SCHEMA.read_document(field(2, LENGTH, null)) == {
        "metrics": [{"name": "m", "value": None}]
    }
    historical = field(1, LENGTH, b"m") + field(5, VARINT, 1) + field(6, VARINT, 1)
    assert "value" not in SCHEMA.read_document(field(2, LENGTH, historical))["metrics"][0]


def test_metrics_of_one_time_are_one_sample_and_others_are_ignored() -> None:
    metrics: list[dict[str, Any]] = [
        {"name": b"t", "float_value": 21.5},
        {"name": b"other", "string_value": b"\xff"},
        {"name": b"far", "int_value": 2**32 - 1},
        {"name": b"p", "datatype": 3, "int_value": 2**32 - 5},
    ]
    found = read(payload_of(metrics, TIME_MS))
    assert (found.key, found.values.tolist(), found.times_ms) == (None, [[21.5, -5]], TIME_MS)
    metrics[0]["timestamp"] = TIME_MS - 1
    metrics.append({"name": b"t", "timestamp": TIME_MS - 2, "is_null": True})
    found = read(payload_of(metrics, TIME_MS))
    assert found.times_ms == [TIME_MS - 2, TIME_MS - 1, TIME_MS]
    assert str(found.values.tolist()) == "[[nan, nan], [21.5, nan], [nan, -5.0]]"
    together = read(payload_of(metrics[:-1], TIME_MS), time="payload_timestamp")
    assert (together.values.tolist(), together.times_ms) == ([[21.5, -5]], TIME_MS)


def test_a_metric_without_a_name_is_a_dead_letter_that_says_what_to_do() -> None:
    named: dict[str, Any] = {"name": b"t", "alias": 7, "float_value": 1.0}
    assert read(payload_of([named], TIME_MS)).values[0, 0] == 1
    aliased: dict[str, Any] = {"alias": 7, "float_value": 1.0}
    for metrics in ([aliased], [named, aliased], [{**aliased, "name": b""}]):
        said = reason(*metrics)
        assert "received the alias 7 alone, whose name only a birth message tells" in said
        assert "let the edge node send names, or the bridge between MQTT and Kafka" in said
    assert "the alias 0 alone" in reason({"alias": 0})
    assert "received a metric without a name" in reason({"float_value": 1.0})
    with pytest.raises(RecordShapeError):
        SCHEMA.read_document(payload_of([aliased]))


def test_what_is_no_number_is_named_where_it_is_a_feature() -> None:
    start = "input.feature_value: expected a number at 'value', received"
    unsigned = {"name": b"t", "int_value": 2**32 - 1}
    tables: list[dict[str, Any]] = [{}, {"numbers": "text"}]
    for more in tables:
        assert f"{start} '4294967295 without a datatype'" in reason(unsigned, **more)
        long = {"name": b"t", "long_value": 2**64 - 1}
        assert f"{start} '{2**64 - 1} without a datatype'" in reason(long, **more)
        data = {"name": b"t", "dataset_value": b""}
        assert f"{start} 'dataset_value'" in reason(data, **more)
    assert f"{start} nothing; the record has payload_timestamp" in reason({"name": b"t"})
    text = {"name": b"t", "string_value": b"21.5"}
    assert 'set input.numbers = "text"' in reason(text)
    assert read(payload_of([text], TIME_MS), numbers="text").values[0, 0] == 21.5


def test_a_payload_without_features_or_a_time_is_a_dead_letter() -> None:
    assert "expected one of t, p at 'name', received bdSeq" in reason({"name": b"bdSeq"})
    assert "input.readings: expected an array of readings at 'metrics'" in reason()
    metric = {"name": b"t", "float_value": 1.0}
    assert "time: expected it at 'timestamp|payload_timestamp', received nothing" in reason(
        metric, time_ms=None
    )
    assert "time: expected a number in ms" in reason({**metric, "timestamp": 2**64 - 1})


@pytest.mark.parametrize("content", [b"\0\0\0\0\7", b'{"metrics": []}', b"\x12\5\x0a"])
def test_what_is_no_payload_is_bad_data(content: bytes) -> None:
    with pytest.raises(RecordDecodeError, match="Sparkplug B: expected a payload, received b"):
        SCHEMA.read_document(content)


def test_features_of_a_birth_are_its_numbers() -> None:
    metrics: list[dict[str, Any]] = [
        {"name": b"Properties/Make", "string_value": b"x"},
        {"name": b"t", "datatype": 9, "float_value": 1.0},
        {"name": b"p", "datatype": 3, "is_null": True},
        {"name": b"n", "datatype": 3, "int_value": 1},
    ]
    mapping = open_mapping(InputSection(preset="sparkplug-b"), ())
    assert mapping is not None
    document = mapping.schema.read_document(payload_of(metrics, TIME_MS))
    found = find_features([document], mapping)
    assert found is not None
    assert found.names == ("t", "n")


def test_the_schema_is_the_presets_unless_another_format_is_named() -> None:
    other = open_mapping(InputSection(preset="sparkplug-b", format="json"), ("t",))
    assert other is not None
    assert other.schema is None
    table = {"preset": "sparkplug-b", "avro_schema": "a.avsc"}
    [problem] = input_problems(table, "samples")
    assert problem.startswith("input.avro_schema: expected only with input.format = 'avro'")
    assert problem.endswith("received it with 'protobuf'")
    assert list(input_problems(table | {"format": "avro"}, "samples")) == []


def test_no_registry_is_asked_for_records_that_name_no_schema() -> None:
    mapping = open_mapping(InputSection(preset="sparkplug-b"), FEATURES.names)
    without = schemas_for(ConnectionSettings(), mapping)
    batch: Any = object()
    assert without.attach(batch) is batch
    settings = ConnectionSettings(schema_registry_url="http://127.0.0.1:1")
    assert schemas_for(settings, mapping).attach(batch) is batch


def test_the_error_without_protobuf_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stream_detector.schemas.sparkplug", None)
    with pytest.raises(ConfigError, match=r"pip install 'stream-detector\[registry\]'"):
        open_mapping(InputSection(preset="sparkplug-b"), FEATURES.names)
    assert open_mapping(InputSection(preset="flat"), ("t",)) is not None
