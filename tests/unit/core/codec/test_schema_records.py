"""Records that name their schemas: Avro, and what is said of those that cannot be read."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from avro_forms import FLAT, FORMS, NULLABLE, AvroForm, encode, framed, record_of
from input_forms import INTERVAL_MS, NAMES, START_MS

from stream_detector.core.codec.avro_columns import AvroField, AvroLayout, read_columns
from stream_detector.core.codec.mapped_samples import MappedSamples, decode_mapped_samples
from stream_detector.core.codec.mapped_windows import decode_mapped_windows
from stream_detector.core.codec.samples import decode_samples
from stream_detector.core.codec.windows import decode_windows
from stream_detector.core.features import Features
from stream_detector.core.records import Headers, RecordBatch, RecordMetadata, series_columns
from stream_detector.errors import (
    DataError,
    RecordDecodeError,
    RecordSchemaError,
    RecordShapeError,
)
from stream_detector.recipes.input import InputSection
from stream_detector.schemas.avro import AvroSchema
from stream_detector.schemas.mapping import open_mapping

FEATURES = Features(NAMES)
VALUES = {"temperature": 21.5, "pressure": -3.25}
AVRO = {"format": "avro"}
GUID = "12345678-9abc-def0-1234-56789abcdef0"


def batch_of(
    values: list[bytes | None], schemas: Any = None, headers: list[Headers] | None = None
) -> RecordBatch:
    metadata = [RecordMetadata("t", 0, at, START_MS, b"own", ()) for at in range(len(values))]
    return RecordBatch(
        values,
        headers,
        {},
        metadata.__getitem__,
        lambda: series_columns(metadata),
        lambda: np.arange(len(values)),
        schemas={
            number: AvroSchema(each.text) if isinstance(each, AvroForm) else each
            for number, each in (schemas or {}).items()
        },
    )


def decode(table: dict[str, Any], batch: RecordBatch) -> MappedSamples:
    mapping = open_mapping(InputSection.model_validate(table), NAMES)
    assert mapping is not None
    return decode_mapped_samples(batch, None, mapping, features=FEATURES, interval_ms=INTERVAL_MS)


def reasons(found: MappedSamples) -> dict[int, str]:
    return {each.index: str(each.error) for each in found.samples.rejected}


@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_records_of_a_registry_and_of_a_file_have_the_same_samples(form: AvroForm) -> None:
    rows = [(f"pump-{at % 3}", START_MS + 7 * at, {**VALUES, "pressure": at}) for at in range(50)]
    bodies: list[bytes | None] = [form.encode(*row) for row in rows]
    values: list[bytes | None] = [framed(7, body or b"") for body in bodies]
    keys = [key[-1:] if form.name.startswith("in a") else key for key, _, _ in rows]
    headers: list[Headers] = [[("__value_schema_id", b"\0\0\0\0\7")]] * len(rows)
    guids: list[Headers] = [[("__value_schema_id", bytes.fromhex("01" + GUID.replace("-", "")))]]
    for found in (
        decode(AVRO | form.table, batch_of(values, {7: form})),
        decode({"avro_schema": form.text} | form.table, batch_of(bodies)),
        decode(AVRO | form.table, batch_of(bodies, {7: form}, headers)),
        decode(AVRO | form.table, batch_of(bodies, {GUID: form}, guids * len(rows))),
    ):
        assert reasons(found) == {}
        assert found.batch.keys() == [key.encode() for key in keys]
        assert found.samples.times_ms.tolist() == [time_ms for _, time_ms, _ in rows]
        assert found.samples.values.tolist() == [[21.5, at] for at in range(50)]


def test_which_forms_are_read_as_columns() -> None:
    assert {form.name: AvroSchema(form.text).layout is not None for form in FORMS} == {
        "flat": True,
        "any may be null": True,
        "in a record of its own": True,
        "an array": True,
        "change event": True,
        "tags and a map": True,
    }


def test_names_in_headers_and_before_values_may_be_mixed() -> None:
    body = FLAT.encode("a", START_MS, VALUES)
    header: Headers = [("other", b""), ("__value_schema_id", b"\0\0\0\0\7")]
    values: list[bytes | None] = [body, framed(7, body), framed(7, body), body]
    found = decode(AVRO | FLAT.table, batch_of(values, {7: FLAT}, [header, [], (), header]))
    assert reasons(found) == {}
    assert found.samples.values.tolist() == [[21.5, -3.25]] * 4


def test_a_null_is_a_missing_value() -> None:
    schema = record_of("R", ("temperature", NULLABLE), ("pressure", NULLABLE))
    values = [encode(schema, {"temperature": None, "pressure": 1.5})]
    values.append(encode(schema, {"temperature": 2.5, "pressure": None}))
    form = FLAT._replace(schema=schema)
    found = decode(
        {**AVRO, "values": ""}, batch_of([framed(1, each) for each in values], {1: form})
    )
    assert np.array_equal(found.samples.values, [[np.nan, 1.5], [2.5, np.nan]], equal_nan=True)


def test_schemas_of_a_batch_are_told_apart_and_matched_by_name() -> None:
    later = record_of(
        "Reading",
        ("pressure", "float"),
        ("unit", {"type": "array", "items": "string"}),
        ("temperature", "int"),
        ("ts", "long"),
        ("device", "string"),
    )
    lost = record_of("Reading", ("device", "string"), ("ts", "long"), ("temperature", "double"))
    record = {"device": "b", "ts": START_MS, "temperature": 3, "pressure": 4.5, "unit": ["C"]}
    old = framed(1, FLAT.encode("a", START_MS, VALUES))
    values: list[bytes | None] = [old, framed(2, encode(later, record)), None, old]
    values += [framed(3, encode(lost, record)), framed(9, b"?"), b"\0\0\0", b"{}", framed(4, b"")]
    values += [framed(2**31 - 1, b""), framed(2**31, b"")]
    schemas = {
        1: FLAT,
        2: FLAT._replace(schema=later),
        3: FLAT._replace(schema=lost),
        4: RecordSchemaError("the registry says: no such schema"),
    }
    found = decode(AVRO | FLAT.table, batch_of(values, schemas))
    assert found.samples.indices.tolist() == [0, 1, 3]
    assert found.samples.values.tolist() == [[21.5, -3.25], [3, 4.5], [21.5, -3.25]]
    assert [found.batch.keys()[row] for row in (0, 1, 3)] == [b"a", b"b", b"a"]
    said = reasons(found)
    assert sorted(said) == [2, 4, 5, 6, 7, 8, 9, 10]
    assert said[9].startswith("schema 2147483647: expected a Schema Registry")
    assert said[10] == "expected the id of a schema, at most 2147483647, received 2147483648"
    assert said[4] == (
        "input.features.pressure: expected a number at 'pressure', received nothing; the record "
        "has device, ts, temperature; schema 3"
    )
    assert said[5].startswith("schema 9: expected a Schema Registry to ask for it, received none")
    assert "expected a byte 0 and 4 bytes with the id of a schema" in said[6]
    assert "00" in said[6]
    assert "received b'{}'; set input.avro_schema" in said[7]
    assert said[8] == "the registry says: no such schema"
    kinds = {each.index: type(each.error) for each in found.samples.rejected}
    assert kinds[4] is RecordShapeError
    assert kinds[5] is kinds[8] is RecordSchemaError
    assert kinds[6] is kinds[7] is RecordDecodeError


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"\0", "it ends too early"),
        (FLAT.encode("a", START_MS, VALUES)[:-1], "it ends too early"),
        (FLAT.encode("a", START_MS, VALUES) + b"\0", "1 of 25 bytes are left over"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "expected a value of its schema"),
    ],
)
def test_a_value_that_does_not_fit_its_schema_leaves_its_neighbours_alone(
    body: bytes, part: str
) -> None:
    good = FLAT.encode("a", START_MS, VALUES)
    found = decode({"avro_schema": FLAT.text} | FLAT.table, batch_of([good, body, good]))
    assert found.samples.indices.tolist() == [0, 2]
    assert part in reasons(found)[1]
    alone = decode({"avro_schema": FLAT.text} | FLAT.table, batch_of([body]))
    assert reasons(alone)[0] == reasons(found)[1]


@pytest.mark.parametrize(
    "header", [b"", b"\0\0\0\7", b"\2\0\0\0\7", bytes([1, *range(15)]), b"\1", None]
)
def test_a_header_that_names_no_schema_is_the_reason(header: bytes | None) -> None:
    body = FLAT.encode("a", START_MS, VALUES)
    batch = batch_of([body], {7: FLAT}, [[("__value_schema_id", header)]])
    found = decode(AVRO | FLAT.table, batch)
    assert "header __value_schema_id: expected a byte 0 and 4 bytes of an id" in reasons(found)[0]


def test_text_that_is_not_utf_8_is_escaped_in_bulk_and_alone() -> None:
    body = FLAT.encode("abc", START_MS, VALUES).replace(b"abc", b"a\xffc")
    table = {"avro_schema": FLAT.text} | FLAT.table
    one = decode(table, batch_of([body]))
    slow = decode(table, batch_of([body, b"?"]))
    assert one.batch.keys() == [b"a\\xffc"] == slow.batch.keys()[:1]
    assert reasons(one) == {}
    assert list(reasons(slow)) == [1]


def test_windows_are_arrays() -> None:
    schema = record_of(
        "Beat", ("id", "long"), ("at", "long"), ("ecg", {"type": "array", "items": "float"})
    )
    table = {"avro_schema": FLAT._replace(schema=schema).text}
    table |= {"key": "id", "time": "at", "values": "ecg"}
    mapping = open_mapping(InputSection.model_validate(table), ["ecg"])
    assert mapping is not None
    values: list[bytes | None] = [
        encode(schema, {"id": at, "at": START_MS + at, "ecg": [at, 0.1, at * 2]}) for at in (5, 6)
    ]
    values.append(encode(schema, {"id": 7, "at": START_MS, "ecg": [1, 2]}))
    found = decode_mapped_windows(
        batch_of(values), None, mapping, shape=(3, 1), features=Features(("ecg",))
    )
    expected = np.array([[5, 0.1, 10], [6, 0.1, 12]], dtype=np.float32)
    assert np.array_equal(found.windows.windows[:, :, 0], expected)
    assert found.windows.timestamps_ms == {0: START_MS + 5, 1: START_MS + 6}
    assert found.batch.keys() == [b"5", b"6", b"7"]
    [rejected] = found.windows.rejected
    assert rejected.index == 2
    assert "received 2 steps" in str(rejected.error)


def test_json_of_a_registry_is_json() -> None:
    plain = b'{"device":"a","ts":%d,"temperature":1,"pressure":2}' % START_MS
    table = {"preset": "flat", "key": "device"}
    for values in ([plain, framed(7, plain)], [framed(7, plain)] * 2):
        found = decode(table, batch_of(list(values)))
        assert reasons(found) == {}
        assert found.samples.values.tolist() == [[1, 2]] * 2
    found = decode(table, batch_of([framed(7, plain), framed(7, b"{"), b"\0"]))
    assert found.samples.indices.tolist() == [0]
    assert sorted(reasons(found)) == [1, 2]


def test_records_of_our_own_form_may_have_the_prefix_of_a_registry() -> None:
    rows = np.arange(3)
    plain, bad = b'{"values":[1,2],"timestamp_ms":%d}' % START_MS, framed(7, b"{}")
    for values in ([plain] * 3, [framed(7, plain)] * 3, [plain, framed(7, plain), bad]):
        batch = batch_of(list(values))
        samples = decode_samples(
            values, None, batch.series(), None, features=FEATURES, interval_ms=INTERVAL_MS
        )
        windows = decode_windows(values, None, (2, 1), None)
        n_good = 3 - (bad in values)
        assert samples.indices.tolist() == windows.indices.tolist() == rows[:n_good].tolist()
        assert samples.values.tolist() == [[1, 2]] * n_good
        assert windows.windows.ravel().tolist() == [1, 2] * n_good
        assert len(samples.rejected) == len(windows.rejected) == 3 - n_good


def test_a_batch_that_is_cut_keeps_its_schemas() -> None:
    batch = batch_of([framed(7, FLAT.encode("a", START_MS, VALUES))] * 2, {7: FLAT})
    part = batch.select(np.array([1]), {}).with_keys([b"k"])
    assert reasons(decode(AVRO | FLAT.table, part)) == {}
    bare = replace(part, schemas={})
    assert isinstance(decode(AVRO | FLAT.table, bare).samples.rejected[0].error, DataError)


@pytest.mark.parametrize("deletions", ["skip", "reject"])
def test_a_change_event_of_a_deletion_is_told_from_one_without_values(deletions: str) -> None:
    form = next(each for each in FORMS if each.name == "change event")
    event = {"before": None, "source": {"table": "t", "ids": []}, "op": "d", "ts_ms": START_MS}
    row = {"device": "a", **VALUES}
    values: list[bytes | None] = [
        framed(7, encode(form.schema, {**event, "after": after})) for after in (row, None)
    ]
    found = decode(
        {**AVRO, "preset": "debezium", "key": "after.device", "deletions": deletions},
        batch_of([*values, None], {7: form}),
    )
    kinds = {each.index: type(each.error).__name__ for each in found.samples.rejected}
    is_skipped = deletions == "skip"
    assert set(kinds) == {1, 2}
    assert {name == "RecordDeletionError" for name in kinds.values()} == {is_skipped}
    assert found.samples.indices.tolist() == [0]


STATE = AvroField(("state",), "enum", size=2)
COUNT = AvroField(("count",), "whole")
ITEMS = AvroField(("items",), "array", inside=(AvroField((), "float"),))
ONE = np.float32(1.5).tobytes()


@pytest.mark.parametrize(
    ("order", "value", "expected"),
    [
        *(([COUNT], b"\x7f", -64), ([COUNT], b"\x80\x01", 64)),
        *(([COUNT], b"\xff\x7f", -8_192), ([COUNT], b"\x80\x80\x01", 8_192)),
        *(([STATE, COUNT], b"\0\2", 1), ([STATE, COUNT], b"\2\2", 1)),
        *(([STATE, COUNT], b"\4\2", None), ([STATE, COUNT], b"\1\2", None)),
        *(([ITEMS], b"\2" + ONE + b"\0", [1.5]), ([ITEMS], b"\2" + ONE, None)),
        *(([ITEMS], b"\0\0", None), ([ITEMS], b"\2" + ONE + b"\0\0", None)),
    ],
)
def test_what_is_read_as_columns_at_its_limits(
    order: list[AvroField], value: bytes, expected: Any
) -> None:
    wanted = order[-1].path
    found = read_columns([value] * 2, 0, AvroLayout.of(order), [wanted])
    columns = None if found is None else np.asarray(found[wanted]).tolist()
    assert columns == (None if expected is None else [expected] * 2)
