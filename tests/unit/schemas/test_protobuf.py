"""Protobuf schemas: what is read of their text, and what values are."""

import builtins
import sys
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, struct_pb2, type_pb2
from proto_forms import TEXT, encode, message_of

from stream_detector.errors import ConfigError, RecordDecodeError
from stream_detector.recipes.input import InputSection
from stream_detector.schemas.mapping import open_mapping
from stream_detector.schemas.proto_text import DEPTH_MAX, parse_proto
from stream_detector.schemas.protobuf import ProtobufSchema
from stream_detector.schemas.source import require_libraries

SCHEMA = ProtobufSchema(TEXT)


def test_a_value_is_read_with_all_that_it_has() -> None:
    reading = message_of(SCHEMA, 1)(
        device="pump-1",
        data={"temperature": 21.5, "pressure": 0.0},
        state=1,
        counts=[1, -2],
        labels={"site": "A"},
        other={"a": 3},
        ts=-5,
    )
    reading.at.FromMilliseconds(1_767_225_600_125)
    reading.level.value = 2.5
    body = b"\2\2" + reading.SerializeToString()
    expected = {
        "device": "pump-1",
        "at": "2026-01-01T00:00:00.125Z",
        "data": {"temperature": 21.5, "pressure": 0.0},
        "state": "ON",
        "counts": [1, -2],
        "labels": {"site": "A"},
        "note": None,
        "other": {"a": 3},
        "level": 2.5,
        "ts": -5,
    }
    assert SCHEMA.read_document(body) == expected
    assert SCHEMA.read_documents([body, body]) == [expected, expected]


def test_what_is_not_sent_is_nought_or_missing() -> None:
    nothing = SCHEMA.read_document(b"\2\2")
    absent = {"at": None, "data": None, "note": None, "other": None, "level": None}
    zero = {"device": "", "state": "OFF", "counts": [], "labels": {}, "ts": 0}
    assert nothing == absent | zero
    data = message_of(SCHEMA, 1)(data={}).SerializeToString()
    assert SCHEMA.read_document(b"\2\2" + data)["data"] == {"temperature": 0.0, "pressure": None}


def test_indexes_name_the_message() -> None:
    assert SCHEMA.read_document(b"\0") == {"a": 0}
    assert SCHEMA.read_document(b"\2\0\x08\7") == {"a": 7}
    assert SCHEMA.read_document(b"\4\2\0") == {"temperature": 0.0, "pressure": None}
    for bad in (b"", b"\2", b"\2\4", b"\2\1", b"\1", b"\4\2\6", b"\x80" * 5 + b"\0", b"\x82\1"):
        with pytest.raises(RecordDecodeError, match="expected the ind"):
            SCHEMA.read_document(bad)
    assert SCHEMA.read_documents([b"\0", b""]) is None


@pytest.mark.parametrize(
    ("count", "said"),
    [(b"\x80\1", "expected the index of"), (b"\x82\1", "expected the indexes of")],
)
def test_a_message_has_up_to_64_indexes(count: bytes, said: str) -> None:
    """None of so many messages within each other is known, but they are read."""
    with pytest.raises(RecordDecodeError, match=said):
        SCHEMA.read_document(count + bytes(65))


@pytest.mark.parametrize("body", [b"\0\xff", b"\0\x08", b"\2\2\x0a\1\xff", b"\2\2\x12\7\x08\xff"])
def test_what_is_no_message_is_refused_with_its_name(body: bytes) -> None:
    with pytest.raises(RecordDecodeError, match=r"Protobuf: expected a plant\.v1\."):
        SCHEMA.read_document(body)


def test_the_older_syntax_has_defaults() -> None:
    schema = ProtobufSchema(
        """
        package a; // without a syntax it is proto2
        message R {
          required double t = 1;
          optional int32 n = 2 [default = -7, deprecated = true];
          optional string s = 3 [default = "x"];
          optional int32 none = 4;
          optional .a.R.E e = 010;
          enum E { option allow_alias = true; A = 0x1; B = 1; reserved 5; }
          extensions 100 to max;
        }
        extend R { optional int32 more = 100; }
        service S { rpc Get(R) returns (stream R) { option x = 1; } };
        """
    )
    expected = {"t": 0.0, "n": -7, "s": "x", "none": None, "e": None}
    message = message_of(schema, 0)(t=1.5, e=1)
    assert schema.read_document(b"\0" + message.SerializeToString()) == expected | {
        "t": 1.5,
        "e": "B",
    }


def test_an_unknown_value_of_an_enumeration_is_its_number() -> None:
    assert SCHEMA.read_document(b"\2\2\x20\x09")["state"] == 9


def test_messages_in_themselves_are_read() -> None:
    schema = ProtobufSchema('syntax = "proto3"; message R { R next = 1; int32 n = 2; }')
    message = message_of(schema, 0)(n=1, next={"n": 2})
    found = schema.read_document(b"\0" + message.SerializeToString())
    assert found == {"n": 1, "next": {"n": 2, "next": None}}
    deep = b""
    for _ in range(300):
        length = len(deep)
        size = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
        deep = b"\x0a" + size + deep
    with pytest.raises(RecordDecodeError):
        schema.read_document(b"\0" + deep)


def test_imports_are_those_of_the_registry_and_of_the_library() -> None:
    unit = 'syntax = "proto3"; package u; message Unit { string name = 1; }'
    text = 'syntax = "proto3"; import public "u.proto"; message R { u.Unit unit = 1; }'
    schema = ProtobufSchema(text, [("u.proto", unit)])
    assert schema.read_document(b"\0\x0a\3\x0a\1C") == {"unit": {"name": "C"}}
    with pytest.raises(ValueError, match=r"couldn't resolve name 'u\.Unit'"):
        ProtobufSchema(text)


VALUES = {
    "Other": (b"\x08\7", {"a": 7}),
    "plant.v1.Other": (b"\x08\7", {"a": 7}),
    "Reading.Data": (b"", {"temperature": 0.0, "pressure": None}),
    "plant.v1.Reading.Data": (b"", {"temperature": 0.0, "pressure": None}),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_of_a_message_need_not_name_it(name: str) -> None:
    content, expected = VALUES[name]
    values = SCHEMA.values_of(name)
    assert values.read_document(content) == expected
    assert values.read_documents([content, content]) == [expected, expected]
    assert values.layout is None


def test_the_only_message_of_a_file_needs_no_name() -> None:
    nested = "message R { message Data { int32 b = 1; } int32 a = 1; map<string, int32> m = 2; }"
    values = ProtobufSchema(f'syntax = "proto3"; {nested}').values_of(None)
    assert values.read_document(b"\x08\7") == {"a": 7, "m": {}}
    known = r"the messages plant\.v1\.Other, plant\.v1\.Reading, plant\.v1\.Reading\.Data, received"
    for name, received in ((None, "none"), ("Data", "Data"), ("v1.Other", "v1.Other")):
        with pytest.raises(ValueError, match=f"{known} {received}$"):
            SCHEMA.values_of(name)
    with pytest.raises(ValueError, match="received none"):
        ProtobufSchema('syntax = "proto3"; enum E { A = 0; }').values_of(None)


def test_values_that_do_not_fit_are_bad_data() -> None:
    values = SCHEMA.values_of("Other")
    with pytest.raises(RecordDecodeError, match=r"expected a plant\.v1\.Other, received b'.x08'"):
        values.read_document(b"\x08")
    with pytest.raises(RecordDecodeError, match=r"id of a schema set schema_registry_url$"):
        values.read_document(b"\0\0\0\0\7\2\x08\7")
    with pytest.raises(RecordDecodeError) as caught:
        values.read_document(b"\1\0\0\0\7")
    assert "schema_registry_url" not in str(caught.value)
    assert values.read_documents([b"\x08\7", b"\x08"]) is None


def test_a_schema_or_a_message_that_cannot_be_used_is_a_mistake_of_its_key() -> None:
    for table, key in (
        ({"protobuf_schema": "message R {"}, "protobuf_schema"),
        ({"protobuf_schema": TEXT}, "protobuf_message"),
        ({"protobuf_schema": TEXT, "protobuf_message": "Nope"}, "protobuf_message"),
    ):
        with pytest.raises(ConfigError, match=rf"^input\.{key}: expected"):
            open_mapping(InputSection.model_validate(table | {"values": ""}), ["a"])
    table = {"preset": "sparkplug-b", "protobuf_schema": TEXT, "protobuf_message": "Other"}
    mapping = open_mapping(InputSection.model_validate(table), ["a"])
    assert mapping is not None
    assert mapping.schema.read_document(b"\x08\7") == {"a": 7}


BAD = {
    "ends too early": "message R {",
    "expected message after": "messages R {}",
    "expected ';' after": "message R { double t = 1 }",
    "expected a whole number": "message R { double t = x; }",
    "expected a field after": "message R { repeated group G = 1 { } }",
    "expected a .proto file, received": "message R { ` }",
    "couldn't resolve name 'Nope'": 'syntax = "proto3"; message R { Nope n = 1; }',
    "nested at most 64": "message R {" * (DEPTH_MAX + 2),
    "options nested at most": "option a = " + "{" * (DEPTH_MAX + 2),
    "cannot be used": 'syntax = "proto3"; message R { double t = 0; }',
    "edition": 'edition = "2023"; message R { double t = 1; }',
}


@pytest.mark.parametrize("reason", BAD)
def test_text_that_cannot_be_used_is_refused_with_its_reason(reason: str) -> None:
    with pytest.raises(ValueError, match="cannot be used") as caught:
        ProtobufSchema(BAD[reason])
    assert reason in str(caught.value)


def test_messages_and_options_may_be_nested_64_deep() -> None:
    """The outermost one is nested in none."""
    n = DEPTH_MAX + 1
    found = parse_proto("option a = " + "{" * n + "}" * n + "message R {" * n + "}" * n, "r.proto")
    messages, n_found = found.message_type, 0
    while messages:
        messages, n_found = messages[0].nested_type, n_found + 1
    assert n_found == n


@pytest.mark.parametrize("module", [descriptor_pb2, struct_pb2, type_pb2])
def test_a_file_is_the_descriptor_that_the_compiler_makes(module: Any) -> None:
    expected = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(expected)
    found = parse_proto(_text_of(expected), expected.name)
    assert _shape(found.message_type) == _shape(expected.message_type)


def _shape(messages: Any) -> Any:
    return [
        (
            message.name,
            [
                (each.name, each.number, each.label, each.type_name.lstrip("."))
                for each in message.field
            ],
            [each.name for each in message.oneof_decl],
            _shape(message.nested_type),
        )
        for message in messages
    ]


def _text_of(file: Any) -> str:
    """Return a file as text, of what `_shape` compares."""
    labels = {1: "optional", 2: "required", 3: "repeated"}
    kinds = descriptor_pb2.FieldDescriptorProto.Type

    def field(each: Any, label: str) -> str:
        kind = each.type_name or kinds.Name(each.type).removeprefix("TYPE_").lower()
        return f"{label} {kind} {each.name} = {each.number} [packed = true];"

    def message(each: Any) -> str:
        in_oneof = [at for at in each.field if at.HasField("oneof_index")]
        parts = [field(at, labels[at.label]) for at in each.field if at not in in_oneof]
        parts += [message(at) for at in each.nested_type]
        for number, oneof in enumerate(each.oneof_decl):
            inside = [field(at, "") for at in in_oneof if at.oneof_index == number]
            parts.append(f"oneof {oneof.name} {{ {' '.join(inside)} }}")
        return f"message {each.name} {{ {' '.join(parts)} }}"

    return "\n".join(message(each) for each in file.message_type)


def test_the_error_without_the_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    require_libraries("PROTOBUF")
    monkeypatch.delitem(sys.modules, "stream_detector.schemas.protobuf")
    load = builtins.__import__

    def refuse(name: str, *arguments: Any, **named: Any) -> Any:
        if name.startswith("google.protobuf"):
            raise ImportError(name)
        return load(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ConfigError, match=r"pip install 'stream-detector\[registry\]'"):
        require_libraries("PROTOBUF")


def test_a_reading_is_what_the_forms_say() -> None:
    body = encode(SCHEMA, "pump-1", 1_767_225_600_000, {"temperature": 1.5, "pressure": 2.5})
    assert SCHEMA.read_document(body)["data"] == {"temperature": 1.5, "pressure": 2.5}
