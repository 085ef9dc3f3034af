"""Avro schemas: which are refused, and that columns are what fastavro reads."""

import sys
from typing import Any

import numpy as np
import orjson
import pytest
from avro_forms import FLAT, encode, record_of

from stream_detector.core.codec.avro_columns import read_columns
from stream_detector.errors import ConfigError
from stream_detector.recipes.input import InputSection
from stream_detector.schemas import avro_layout
from stream_detector.schemas.avro import AvroSchema
from stream_detector.schemas.mapping import open_mapping


@pytest.mark.parametrize(
    "value",
    [
        b"\x80" * 9 + b"\x02",  # more than 64 bits
        b"\x80" * 10 + b"\x00",
        b"\x80",
        b"",
        b"\x02\x02",
    ],
)
def test_numbers_that_are_none_are_for_the_path_that_explains(value: bytes) -> None:
    layout = AvroSchema(orjson.dumps(record_of("R", ("n", "long"))).decode()).layout
    assert layout is not None
    assert read_columns([value or b"\x80"], 0, layout, [("n",)]) is None
    assert read_columns([b"\x02", value or b"\x80"], 0, layout, [("n",)]) is None


def test_the_largest_number_is_read() -> None:
    layout = AvroSchema(orjson.dumps(record_of("R", ("n", "long"))).decode()).layout
    assert layout is not None
    found = read_columns([b"\xff" * 9 + b"\x01"], 0, layout, [("n",)])
    assert found is not None
    assert list(found["n",]) == [-(2**63)]


def test_arrays_of_one_length_are_columns_and_others_are_not() -> None:
    schema = record_of("R", ("v", {"type": "array", "items": "double"}), ("n", "int"))
    layout = AvroSchema(orjson.dumps(schema).decode()).layout
    assert layout is not None
    two, three = ({"v": [1.0] * n, "n": n} for n in (2, 3))
    found = read_columns([encode(schema, two)] * 3, 0, layout, [("v",)])
    assert found is not None
    assert np.array(found["v",]).tolist() == [[1, 1]] * 3
    for values in ([two, three], [{"v": [], "n": 1}]):
        encoded = [encode(schema, each) for each in values]
        assert read_columns(encoded, 0, layout, [("v",)]) is None
    assert read_columns([b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"], 0, layout, [("v",)]) is None


def test_arrays_and_maps_are_passed_over_as_long_as_they_are_short() -> None:
    schema = record_of("R", ("tags", {"type": "map", "values": "int"}), ("n", "int"))
    layout = AvroSchema(orjson.dumps(schema).decode()).layout
    assert layout is not None
    rows = [{"tags": {str(at): at for at in range(n)}, "n": n} for n in (0, 64, 3, 1)]
    values = [encode(schema, row) for row in rows]
    found = read_columns(values, 0, layout, [("n",)])
    assert found is not None
    assert list(found["n",]) == [0, 64, 3, 1]
    values.append(encode(schema, {"tags": {str(at): at for at in range(65)}, "n": 65}))
    assert read_columns(values, 0, layout, [("n",)]) is None
    # A block of a negative count has its size in bytes, and is for the path that explains.
    assert read_columns([b"\x01\x06\x02a\x02\x00\x08"], 0, layout, [("n",)]) is None


def test_a_record_that_may_be_null_is_read_where_it_is_not() -> None:
    row = record_of("Row", ("t", ["null", "double"]), ("name", "string"))
    schema = record_of("R", ("before", ["null", row]), ("after", ["plant.Row", "null"]))
    read = AvroSchema(orjson.dumps(schema).decode())
    assert read.layout is not None
    one, two = {"t": 1.5, "name": "a"}, {"t": None, "name": "abc"}
    some = [{"before": None, "after": one}, {"before": two, "after": two}]
    values = [encode(schema, each) for each in some]
    found = read_columns(values, 0, read.layout, [("after", "t"), ("after", "name")])
    assert found is not None
    assert np.array_equal(np.array(found["after", "t"]), [1.5, np.nan], equal_nan=True)
    assert found["after", "name"] == [b"a", b"abc"]
    assert read_columns(values, 0, read.layout, [("before", "t")]) is None
    assert read.read_documents(values) == some


def test_decimals_are_numbers_and_dates_are_as_they_are_written() -> None:
    money = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}
    schema = record_of(
        "R",
        ("price", money),
        ("day", {"type": "int", "logicalType": "date"}),
        ("all", {"type": "array", "items": money}),
    )
    plain = record_of(
        "R", ("price", "bytes"), ("day", "int"), ("all", {"type": "array", "items": "bytes"})
    )
    value = encode(plain, {"price": (-12345).to_bytes(3, signed=True), "day": 7, "all": [b"\x05"]})
    read = AvroSchema(orjson.dumps(schema).decode())
    expected = {"price": -123.45, "day": 7, "all": [0.05]}
    assert read.read_document(value) == expected
    assert read.read_documents([value]) == [expected]


BAD: dict[str, tuple[Any, str]] = {
    "no schema": (7, "expected an Avro schema, received '7'"),
    "no such type": ({"type": "float64"}, "the unknown type"),
    "without a type": ({}, "expected an Avro schema, received '{}'"),
    "null": (None, "expected an Avro schema"),
    "items without bytes": (
        record_of("R", ("n", {"type": "array", "items": "null"})),
        "expected no array of items without bytes",
    ),
    "items of a record without fields": (
        record_of("R", ("n", {"type": "array", "items": record_of("E")})),
        "expected no array of items without bytes",
    ),
    "in itself": (
        record_of("R", ("next", ["null", "plant.R"])),
        "expected no type that holds itself, received plant.R",
    ),
    "a negative size": ({"type": "fixed", "name": "F", "size": -1}, "a size of at least 0"),
    "said to be checked": (
        {**record_of("R", ("a", "no")), "__fastavro_parsed": True},
        "the unknown type",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_schema_that_cannot_be_used_is_refused_with_its_reason(case: str) -> None:
    schema, reason = BAD[case]
    with pytest.raises(ValueError, match=reason.replace("{", r"\{").replace("(", r"\(")):
        AvroSchema(orjson.dumps(schema).decode())


def nested(depth: int) -> Any:
    schema: Any = "long"
    for number in range(depth):
        schema = {"type": "record", "name": f"R{number}", "fields": [{"name": "a", "type": schema}]}
    return schema


def test_schemas_have_bounds() -> None:
    AvroSchema(orjson.dumps(nested(avro_layout.DEPTH_MAX)).decode())
    with pytest.raises(ValueError, match="nested at most 64 deep"):
        AvroSchema(orjson.dumps(nested(avro_layout.DEPTH_MAX + 1)).decode())
    with pytest.raises(ValueError, match="expected"):
        AvroSchema("[" * 100_000)
    deep = record_of("R0", ("a", "long"))
    fields: list[tuple[str, Any]] = [("r0", deep)]
    for at in range(1, 20):  # each holds the one before it twice
        pair = record_of(f"R{at}", ("a", f"plant.R{at - 1}"), ("b", f"plant.R{at - 1}"))
        fields.append((f"r{at}", pair))
    with pytest.raises(ValueError, match="at most 10,000 types"):
        AvroSchema(orjson.dumps(record_of("R", *fields)).decode())


def test_a_schema_has_a_largest_number_of_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(avro_layout, "TYPES_MAX", 3)
    AvroSchema(orjson.dumps(record_of("R", ("a", "long"), ("b", "long"))).decode())
    with pytest.raises(ValueError, match="at most 3 types"):
        AvroSchema(
            orjson.dumps(record_of("R", ("a", "long"), ("b", "long"), ("c", "long"))).decode()
        )


def test_a_value_may_have_no_bytes() -> None:
    schema = record_of("R", ("f", {"type": "fixed", "name": "F", "size": 0}), ("a", "long"))
    assert AvroSchema(orjson.dumps(schema).decode()).read_document(b"\2")["a"] == 1


def test_a_schema_may_use_those_of_other_subjects() -> None:
    unit = orjson.dumps({"type": "enum", "name": "Unit", "symbols": ["C", "F"]}).decode()
    text = '{"type":"record","name":"R","fields":[{"name":"u","type":"Unit"}]}'
    assert AvroSchema(text, [unit]).read_document(b"\2") == {"u": "F"}
    with pytest.raises(ValueError, match="the unknown type Unit"):
        AvroSchema(text)


def test_the_error_without_fastavro_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastavro", None)
    table = InputSection(avro_schema=FLAT.text, **FLAT.table)
    with pytest.raises(ConfigError, match=r"pip install 'stream-detector\[registry\]'"):
        open_mapping(table, ["temperature", "pressure"])
    assert open_mapping(InputSection(preset="flat"), ["a"]) is not None
    assert open_mapping(InputSection(), ["a"]) is None


def test_a_file_that_holds_no_schema_is_a_mistake_of_its_key() -> None:
    with pytest.raises(ConfigError, match=r"^input\.avro_schema: expected an Avro schema"):
        open_mapping(InputSection(avro_schema='{"type": "record"}', values=""), ["a"])
