"""Values of any schema: columns are what fastavro reads, and any bytes are read or refused."""

import math
from io import BytesIO
from typing import Any

import fastavro
import numpy as np
import orjson
import proto_forms
from avro_forms import encode, record_of
from hypothesis import given
from hypothesis import strategies as st

from stream_detector.core.codec.avro_columns import read_columns
from stream_detector.errors import DataError
from stream_detector.schemas.avro import AvroSchema
from stream_detector.schemas.protobuf import ProtobufSchema

SCHEMA = ProtobufSchema(proto_forms.TEXT)
NUMBERS = {
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
}
OTHERS: dict[str, Any] = {"boolean": st.booleans(), "string": st.text(), "bytes": st.binary()}
READING = record_of("Reading", ("n", "string"), ("v", ["null", "float"]))
READINGS = st.fixed_dictionaries({"n": st.text(max_size=3), "v": st.none() | NUMBERS["float"]})
NESTED: tuple[tuple[Any, Any], ...] = (
    ({"type": "array", "items": "string"}, st.lists(st.text(max_size=3), max_size=3)),
    ({"type": "map", "values": "long"}, st.dictionaries(st.text(max_size=3), NUMBERS["long"])),
    ({"type": "array", "items": ["null", "boolean"]}, st.lists(st.none() | st.booleans())),
    ({"type": "array", "items": READING}, st.lists(READINGS, max_size=2)),
)
"""What columns pass over."""


@st.composite
def tables(draw: Any) -> tuple[Any, list[dict[str, Any]]]:
    """A flat schema, and records of it."""
    fields: list[tuple[str, Any]] = []
    values: dict[str, Any] = {}
    for at in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(sorted({**NUMBERS, **OTHERS})))
        value: Any = {**NUMBERS, **OTHERS}[kind]
        null = draw(st.sampled_from([None, 0, 1]))
        if null is not None:
            value |= st.none()
        union = ["null", kind] if null == 0 else [kind, "null"]
        fields.append((f"f{at}", kind if null is None else union))
        values[f"f{at}"] = value
        if at < len(NESTED) and draw(st.booleans()):
            other, nested = NESTED[at]
            fields.append((f"o{at}", other))
            values[f"o{at}"] = nested
    records = draw(st.lists(st.fixed_dictionaries(values), min_size=1, max_size=5))
    return record_of("R", *fields), records


def numbers_of(schema: Any) -> list[str]:
    return [
        each["name"]
        for each in schema["fields"]
        if not isinstance(each["type"], dict)
        and set(each["type"] if isinstance(each["type"], list) else [each["type"]]) & NUMBERS.keys()
    ]


@given(tables(), st.binary(max_size=4))
def test_columns_are_what_fastavro_reads(table: tuple[Any, Any], lead: bytes) -> None:
    schema, records = table
    read = AvroSchema(orjson.dumps(schema).decode())
    values = [lead + encode(schema, each) for each in records]
    names, layout = numbers_of(schema), read.layout
    assert layout is not None
    found = read_columns(values, len(lead), layout, [(name,) for name in names])
    documents = [read.read_document(value[len(lead) :]) for value in values]
    assert documents == read.read_documents([value[len(lead) :] for value in values])
    parsed = fastavro.parse_schema(schema)
    assert documents == [
        fastavro.schemaless_reader(BytesIO(value[len(lead) :]), parsed, None) for value in values
    ]
    assert found is not None
    assert found.keys() == {(name,) for name in names}
    for name in names:
        expected = [math.nan if each[name] is None else float(each[name]) for each in documents]
        column = np.asarray(found[name,], dtype=np.float64)
        assert column.tobytes() == np.array(expected).tobytes(), name


@given(tables(), st.data())
def test_damaged_values_are_refused_or_read_alike(table: tuple[Any, Any], data: Any) -> None:
    schema, records = table
    read = AvroSchema(orjson.dumps(schema).decode())
    value = encode(schema, records[0])
    at = data.draw(st.integers(0, len(value)))
    damaged = value[:at] + data.draw(st.binary(max_size=3)) + value[at + 1 :]
    assert read.layout is not None
    found = read_columns([damaged], 0, read.layout, [(name,) for name in numbers_of(schema)])
    if found is None:
        return
    [document] = read.read_documents([damaged]) or [read.read_document(damaged)]
    for name in numbers_of(schema):
        number = math.nan if document[name] is None else float(document[name])
        assert np.asarray(found[name,], float).tobytes() == np.array([number]).tobytes()


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(value: bytes) -> None:
    try:
        SCHEMA.read_document(value)
    except DataError:
        return
