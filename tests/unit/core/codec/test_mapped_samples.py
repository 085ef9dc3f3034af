"""Records read by a mapping: what is said of bad ones, and that reading in bulk changes nothing."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from input_forms import FORMS, INTERVAL_MS, NAMES, START_MS, Form, records_of
from sparkplug_forms import payload_of

from stream_detector.core.codec.json_format import parse_json
from stream_detector.core.codec.keys import KEY_BYTES_MAX
from stream_detector.core.codec.mapped_samples import MappedSamples, decode_mapped_samples
from stream_detector.core.codec.plain_documents import read_plain_documents
from stream_detector.core.codec.readings import read_documents
from stream_detector.core.features import Features
from stream_detector.core.records import Headers, RecordBatch, RecordMetadata, series_columns
from stream_detector.core.timestamps import TIMESTAMP_MS_MAX
from stream_detector.errors import (
    DataError,
    RecordDecodeError,
    RecordShapeError,
    RecordValueError,
)
from stream_detector.recipes.input import InputSection
from stream_detector.schemas.mapping import open_mapping

FEATURES = Features(NAMES)
BULK = (
    "timestamp_ms",
    "key in the value",
    "iso time",
    "telegraf-json",
    "connect-envelope",
    "debezium",
    "cloudevents",
    "flat",
    "headers",
    "home-assistant",
)
"""Forms that take the bulk path."""


def batch_of(values: list[Any], headers: list[Headers] | None = None) -> RecordBatch:
    metadata = [
        RecordMetadata("t", 3, number, START_MS, b"own", () if headers is None else headers[number])
        for number in range(len(values))
    ]
    return RecordBatch.from_columns(
        "t",
        [each if isinstance(each, bytes) else orjson.dumps(each) for each in values],
        series_columns(metadata),
        range(len(values)),
        headers,
    )


def decode(
    table: dict[str, Any],
    values: list[Any],
    headers: list[Headers] | None = None,
    features: Features = FEATURES,
    content_type: str | None = None,
) -> MappedSamples:
    mapping = open_mapping(InputSection.model_validate(table), features.names)
    assert mapping is not None
    batch = batch_of(values, headers)
    return decode_mapped_samples(
        batch, content_type, mapping, features=features, interval_ms=INTERVAL_MS
    )


def reason(table: dict[str, Any], value: Any, headers: Headers | None = None) -> DataError:
    """Return why one record is rejected, and see that its neighbours are not."""
    good = {"device": "d", "ts": START_MS, "temperature": 1, "pressure": 2}
    own = [headers or ()] if headers is not None else None
    found = decode(table, [value], own)
    [rejected] = found.samples.rejected
    if table == FLAT and headers is None:
        among = decode(table, [good, value, good])
        assert among.samples.indices.tolist() == [0, 2]
        assert [each.index for each in among.samples.rejected] == [1]
    return rejected.error


def test_the_key_of_a_payload_may_be_in_a_header_of_the_bridge() -> None:
    values = [payload_of([{"name": b"temperature", "float_value": 1.0}], START_MS)] * 3
    topics = [b"spBv1.0/plant/DDATA/edge/p1", b"spBv1.0/plant/DBIRTH/edge/p1"]
    headers: list[Headers] = [[("mqtt.topic", topic)] for topic in topics]
    table = {"preset": "sparkplug-b", "key": "header:mqtt.topic"}
    found = decode(table, values, [*headers, [("mqtt.qos", b"1")]])
    assert found.batch.keys()[:2] == topics
    [rejected] = found.samples.rejected
    assert "key: expected it in the header mqtt.topic" in str(rejected.error)
    assert decode({"preset": "sparkplug-b"}, values).batch.keys() == [b"own"] * 3


@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_which_forms_are_read_in_bulk(form: Form) -> None:
    names = NAMES[: form.n_features]
    mapping = InputSection.model_validate(form.table).mapping(names)
    if mapping is None or mapping.format != "json":
        return
    values = [each.value or b"" for each in records_of(form, "t")]
    rows = np.arange(len(values))
    plain = read_plain_documents(values, rows, mapping, Features(names))
    assert (plain is not None) == (form.name in BULK)
    if plain is None:
        return
    slow = read_documents(values, rows, parse_json, mapping, Features(names))
    same(plain, slow)


def same(plain: Any, slow: Any) -> None:
    assert plain.keys == slow.keys
    assert slow.samples.rejected == []
    assert plain.samples.values.tobytes() == slow.samples.values.tobytes()
    assert plain.samples.first_ms.tobytes() == slow.samples.first_ms.tobytes()
    assert plain.samples.counts.tolist() == slow.samples.counts.tolist()


NUMBERS = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
TEXTS = st.one_of(
    st.floats().map(repr),
    st.integers().map(str),
    st.sampled_from(["1_0", " 1.5 ", "NaN", "unavailable", "", "inf", "x", "1e400"]),
)


@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, st.one_of(NUMBERS, st.booleans())), min_size=1),
    st.sampled_from(["s", "ms", "us", "ns"]),
)
@example([(0, 0, 1e306)], "s")
@example([(None, 0, 1e306)], "s")
def test_bulk_gives_the_bits_of_the_path_that_explains(rows: list[Any], unit: str) -> None:
    table = {"values": "", "time": "ts", "time_unit": unit}
    agree(table, [dict(zip((*NAMES, "ts"), row, strict=True)) for row in rows])


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1))
def test_text_in_bulk_gives_the_bits_of_the_path_that_explains(rows: list[Any]) -> None:
    agree({"values": "", "numbers": "text"}, [dict(zip(NAMES, row, strict=True)) for row in rows])


def agree(table: dict[str, Any], documents: list[Any]) -> None:
    mapping = InputSection.model_validate(table).mapping(NAMES)
    assert mapping is not None
    values, rows = [orjson.dumps(each) for each in documents], np.arange(len(documents))
    plain = read_plain_documents(values, rows, mapping, FEATURES)
    if plain is not None:
        same(plain, read_documents(values, rows, parse_json, mapping, FEATURES))


def test_each_sample_of_a_record_may_have_a_time() -> None:
    columns = {"ts": [START_MS, START_MS + 5], "temperature": [1, 2], "pressure": [3, 4]}
    found = decode({"time": "ts", "values": ""}, [columns]).samples
    assert found.times_ms.tolist() == columns["ts"]
    assert found.values.tolist() == [[1, 3], [2, 4]]


FLAT = {"preset": "flat"}
TAGS = {"time": "ts", "feature_name": "tag", "feature_value": "value"}
GOOD = {"ts": START_MS, "temperature": 1, "pressure": 2}
BAD: dict[str, tuple[dict[str, Any], Any, type[DataError], str]] = {
    "no such path": (
        {**FLAT, "features": {"pressure": "payload.p"}},
        {"ts": START_MS, "temperature": 1, "payload": {"pressure": 2}},
        RecordShapeError,
        "input.features.pressure: expected a number at 'payload.p', received nothing; the record "
        "has ts, temperature, payload.pressure",
    ),
    "not a number": (
        FLAT,
        {**GOOD, "pressure": "high"},
        RecordDecodeError,
        "input.features.pressure: expected a number at 'pressure', received 'high'",
    ),
    "a number as text": (
        FLAT,
        {**GOOD, "pressure": "2"},
        RecordDecodeError,
        "expected a number at 'pressure', received '2'; set input.numbers = \"text\"",
    ),
    "a truth value": (FLAT, {**GOOD, "pressure": True}, RecordDecodeError, "received 'True'"),
    "no key": (
        {**FLAT, "key": "device|id"},
        GOOD,
        RecordValueError,
        "key: expected it at 'device|id', received nothing; the record has ts, temperature, press",
    ),
    "a key that is none": (
        {**FLAT, "key": "device"},
        {**GOOD, "device": 1.5},
        RecordValueError,
        "key: expected text or a whole number at 'device', received '1.5'",
    ),
    "an empty key": (
        {**FLAT, "key": "device"},
        {**GOOD, "device": ""},
        RecordValueError,
        "key: expected a name of the series, 1 to 4,096 bytes, received no key",
    ),
    "a long key": (
        {**FLAT, "key": "device"},
        {**GOOD, "device": "x" * (KEY_BYTES_MAX + 1)},
        RecordValueError,
        "received 4,097 bytes",
    ),
    "no time": (
        FLAT,
        {"temperature": 1, "pressure": 2},
        RecordValueError,
        "time: expected it at 'ts|timestamp_ms', received nothing; the record has temperature",
    ),
    "no time in that unit": (
        {**FLAT, "time_unit": "iso8601"},
        {**GOOD, "ts": "noon"},
        RecordValueError,
        "time: expected a date as ISO 8601 writes it at 'ts|timestamp_ms', received 'noon'",
    ),
    "a time after the year 9999": (
        {**FLAT, "time_unit": "s"},
        {**GOOD, "ts": TIMESTAMP_MS_MAX},
        RecordValueError,
        f"time: expected a number in s since 1970 at 'ts|timestamp_ms', received "
        f"'{TIMESTAMP_MS_MAX}'; see input.time_unit",
    ),
    "no object": (
        {"values": "payload"},
        {"data": {}},
        RecordShapeError,
        "input.values: expected values at 'payload', received nothing; the record has nothing",
    ),
    "no readings": (
        {"readings": "rows", "values": ""},
        GOOD,
        RecordShapeError,
        "input.readings: expected an array of readings at 'rows', received nothing",
    ),
    "readings of two series": (
        {"readings": "rows", "values": "", "key": "id"},
        {"rows": [{**GOOD, "id": "a"}, {**GOOD, "id": "b"}]},
        RecordValueError,
        "key: expected the readings of one series in a record, received those of 2 at 'id': 'a', "
        "'b'; send a record for each",
    ),
    "an unknown tag": (
        TAGS,
        {"ts": START_MS, "tag": "speed", "value": 1},
        RecordShapeError,
        "input.feature_name: expected one of temperature, pressure at 'tag', received speed",
    ),
    "a tag without a value": (
        TAGS,
        {"ts": START_MS, "tag": "pressure", "val": 1},
        RecordShapeError,
        "input.feature_value: expected a number at 'value', received nothing; the record has ts",
    ),
    "two values of a tag": (
        {**TAGS, "readings": "rows"},
        {"rows": [{"ts": 5, "tag": "pressure", "value": each} for each in (1, 2)]},
        RecordShapeError,
        "input.feature_name: expected one value of pressure at a time, received 1.0 and 2.0",
    ),
    "columns of two lengths": (
        {"values": ""},
        {"temperature": [1, 2], "pressure": [1]},
        RecordShapeError,
        "input.features: expected as many values of each feature, received temperature 2, press",
    ),
    "none of the features": (
        {**FLAT, "absent": "missing"},
        {"ts": START_MS, "speed": 3},
        RecordShapeError,
        "input.features: expected at least one of 'temperature', 'pressure'",
    ),
    "no JSON": (FLAT, b"?", RecordDecodeError, "not JSON"),
    "CSV of two lines": (
        {"format": "csv", "values": ""},
        b"1,2\n3,4",
        RecordDecodeError,
        "CSV: expected one line, received 2",
    ),
    "too few cells": (
        {"format": "csv", "features": {"temperature": "0", "pressure": "1"}},
        b"1",
        RecordShapeError,
        "input.features.pressure: expected a number at '1', received nothing; the record has 0",
    ),
    "no line protocol": (
        {"preset": "influx-line"},
        b"weather temp=",
        RecordDecodeError,
        "line protocol: expected measurement,tag=text field=1.5",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named_beside_what_there_is(name: str) -> None:
    table, value, kind, text = BAD[name]
    error = reason(table, value)
    assert type(error) is kind
    assert text in str(error)


def test_deep_documents_are_dead_letters() -> None:
    for opening, closing in ((b'{"a":', b"}"), (b"[", b"]")):
        deep = opening * 1_000 + b"1" + closing * 1_000
        for table in (FLAT, TAGS, {"readings": "a", "values": ""}, {**FLAT, "numbers": "text"}):
            assert isinstance(reason(table, deep), DataError)


@pytest.mark.parametrize("n_more", [0, 1])
def test_so_many_values_of_a_record_are_named(n_more: int) -> None:
    document = {f"v{number}": 1 for number in range(12 + n_more)}
    text = str(reason(FLAT, document))
    assert text.endswith("v11 and more" if n_more else "v11")


def test_headers_say_key_and_time() -> None:
    table = {"values": "", "key": "header:Device", "time": "header:at", "time_unit": "s"}
    good: Headers = [("DEVICE", b"pump"), ("at", b"1767225600.5")]
    value = {"temperature": 1, "pressure": 2}
    found = decode(table, [value] * 4, [good, good[:1], good[1:], [*good[:1], ("at", b"now")]])
    assert found.batch.keys()[0] == b"pump"
    assert found.samples.times_ms.tolist() == [START_MS + 500]
    assert found.samples.indices.tolist() == [0]
    assert {each.index: str(each.error)[:58] for each in found.samples.rejected} == {
        1: "time: expected a number in s since 1970 at 'header:at', re",
        2: "key: expected it in the header device, received no such he",
        3: "time: expected a number in s since 1970 at 'header:at', re",
    }


def test_float32_needs_no_mapping() -> None:
    values = np.array([1, 2], np.float32).tobytes()
    plain: Headers = [("content-type", b"application/vnd.stream-detector.float32")]
    found = decode({**FLAT, "key": "device"}, [values], [plain])
    assert found.batch.keys() == [b"own"]
    assert found.samples.values.tolist() == [[1, 2]]
    named = decode({"key": "header:device", "values": ""}, [values], [[*plain, ("device", b"d")]])
    assert named.batch.keys() == [b"d"]


@pytest.mark.parametrize(
    ("value", "expected"), [({"pressure": 2}, [None, 2.0]), ({"temperature": None, **GOOD}, [1, 2])]
)
def test_a_feature_may_be_absent(value: Any, expected: list[float | None]) -> None:
    found = decode({**FLAT, "absent": "missing"}, [{"ts": START_MS, **value}])
    values = [None if np.isnan(each) else each for each in found.samples.values[0].tolist()]
    assert values == expected


def test_null_and_words_are_missing_values() -> None:
    words = ["", "NA", "null", "NaN", "unavailable", "unknown", None]
    documents = [{"ts": START_MS, "temperature": each, "pressure": "2"} for each in words]
    found = decode({**FLAT, "numbers": "text"}, documents)
    assert found.samples.rejected == []
    assert np.isnan(found.samples.values[:, 0]).all()
    assert found.samples.values[:, 1].tolist() == [2.0] * len(words)


def test_readings_of_one_time_follow_each_other() -> None:
    table = {"readings": "rows", "values": "", "time": "ts"}
    found = decode(table, [{"ts": START_MS, "rows": [{"temperature": 1, "pressure": 2}] * 3}])
    assert found.samples.times_ms.tolist() == [START_MS + at * INTERVAL_MS for at in range(3)]


def test_the_time_of_a_record_is_the_usual_one_where_the_table_names_none() -> None:
    value = {"temperature": [1, 2], "pressure": [3, 4]}
    for more, first_ms in ({}, START_MS), ({"timestamp_ms": START_MS - 1}, START_MS - 1):
        found = decode({"values": ""}, [value | more])
        assert found.samples.times_ms.tolist() == [first_ms, first_ms + INTERVAL_MS]
    each = decode({"values": ""}, [value | {"timestamps_ms": [START_MS, START_MS + 5]}])
    assert each.samples.times_ms.tolist() == [START_MS, START_MS + 5]


def test_keys_are_those_of_the_mapping_and_partitions_those_of_the_records() -> None:
    documents = [{**GOOD, "device": each} for each in ("a", 7, "é")]
    found = decode({**FLAT, "key": "device"}, documents)
    assert found.batch.keys() == [b"a", b"7", "é".encode()]
    assert found.batch.series().partitions.tolist() == [3, 3, 3]
    assert [found.batch.metadata(row).key for row in range(3)] == found.batch.keys()
    assert found.batch.metadata(1).offset == 1


def test_what_replay_sends_is_read_without_a_mapping() -> None:
    own: Headers = [("content-type", b"application/vnd.stream-detector.values+json")]
    value = {"values": [[1, 2]], "timestamp_ms": START_MS - 7, "device": "d"}
    for table in (
        {**FLAT, "key": "device", "time": "ts"},
        {"key": "header:device", "time": "header:at", "values": ""},
    ):
        found = decode(table, [value], [own])
        assert found.batch.keys() == [b"own"]
        assert found.samples.times_ms.tolist() == [START_MS - 7]


@pytest.mark.parametrize("media_type", [b"application/vnd.x+json", b"Application/JSON; charset=x"])
def test_what_is_json_by_its_name_is_read_as_json(media_type: bytes) -> None:
    found = decode({"values": ""}, [GOOD], [[("content-type", media_type)]])
    assert found.samples.values.tolist() == [[1, 2]]
