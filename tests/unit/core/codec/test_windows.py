"""What each value of a record becomes, format by format."""

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest

from stream_detector.core.codec import json_format
from stream_detector.core.codec.decoding import Decoded
from stream_detector.core.codec.formats import CONTENT_TYPES, formats_of
from stream_detector.core.codec.windows import decode_windows
from stream_detector.core.timestamps import SECONDS_MAX, TIMESTAMP_MS_MAX
from stream_detector.errors import (
    DataError,
    RecordDecodeError,
    RecordShapeError,
    RecordValueError,
)

SHAPE = (3, 1)
NOW_MS = 1_767_225_600_000
JSON = ("content-type", CONTENT_TYPES["json"])
FLOAT32 = ("content-type", CONTENT_TYPES["float32"])


def decode_json(*values: bytes | None, shape: tuple[int, int] = SHAPE) -> Decoded:
    return decode_windows(values, None, shape, "json")


def decode_float32(*values: bytes | None, shape: tuple[int, int] = SHAPE) -> Decoded:
    return decode_windows(values, None, shape, "float32")


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def only_error(decoded: Decoded) -> DataError:
    assert decoded.windows.shape[0] == decoded.indices.shape[0] == 0
    (rejected,) = decoded.rejected
    assert rejected.stage == "decode"
    return rejected.error


@pytest.fixture
def no_slow_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        pytest.fail("the slow JSON path was taken")

    monkeypatch.setattr(json_format, "read_window", refuse)


@pytest.mark.parametrize("content_type", ["json", "float32"])
@pytest.mark.parametrize("shape", [(3, 1), (2, 4)])
def test_no_records_give_no_windows(content_type: Any, shape: tuple[int, int]) -> None:
    decoded = decode_windows([], None, shape, content_type)
    assert decoded.windows.shape == (0, *shape)
    assert decoded.windows.dtype == np.float32
    assert decoded.indices.shape == (0,)
    assert (decoded.rejected, decoded.timestamps_ms) == ([], {})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"values":[1,2.5,-3]}', [1, 2.5, -3]),
        (b' { "values" : [ 1 , 2.5 , -3 ] } ', [1, 2.5, -3]),
        (b'{"values":[[1],[2.5],[-3]]}', [1, 2.5, -3]),
        (b'{"sensor":"a","values":[0,0,0],"unit":null}', [0, 0, 0]),
        (b'{"values":[18446744073709551616,0,1]}', [2.0**64, 0, 1]),
        (b'{"values":[5e-324,-0.0,1e-400]}', [0, -0.0, 0]),
    ],
)
def test_json_values_become_float32(value: bytes, expected: list[float]) -> None:
    decoded = decode_json(value)
    assert decoded.windows.flags.c_contiguous
    assert decoded.windows.tobytes() == np.array(expected, np.float32).tobytes()
    assert list(decoded.indices) == [0]
    assert not decoded.rejected


def test_json_features_lie_side_by_side() -> None:
    decoded = decode_json(b'{"values":[[1,2.5],[3,4],[5,6]]}', shape=(3, 2))
    assert decoded.windows.tolist() == [[[1, 2.5], [3, 4], [5, 6]]]


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (None, RecordDecodeError, "tombstone"),
        (b"", RecordDecodeError, "empty value"),
        (b"{", RecordDecodeError, "not JSON"),
        (b"\xff\xfe\x00", RecordDecodeError, "not JSON"),
        (b"[" * 100_000, RecordDecodeError, "not JSON"),
        ('{"values":[1,2,3]}'.encode("utf-16"), RecordDecodeError, "not JSON"),
        (b'\xef\xbb\xbf{"values":[1,2,3]}', RecordDecodeError, "not JSON"),
        (b'{"values":[1,2,3],"unit":"\\ud800"}', RecordDecodeError, "not JSON"),
        (b"[1,2,3]", RecordDecodeError, 'expected an object with "values", received an array'),
        (b'{"value":[1,2,3]}', RecordDecodeError, "received ['value']"),
        (b'{"values":null}', RecordDecodeError, "expected an array, received null"),
        (b'{"values":{"0":1}}', RecordDecodeError, "expected an array, received an object"),
        (b'{"values":[1,true,3]}', RecordDecodeError, "values[1]: expected numbers"),
        (b'{"values":[1,2,"3"]}', RecordDecodeError, "values[2]: expected numbers"),
        (b'{"values":[null,2,3]}', RecordDecodeError, "values[0]: expected numbers"),
        (b'{"values":[[1],[[2]],[3]]}', RecordDecodeError, "values[1]: expected numbers"),
        (b'{"values":[[1],2,[3]]}', RecordDecodeError, "values[0]: expected numbers"),
        (b'{"values":[[1],[2,2],[3]]}', RecordShapeError, "2 features at values[1]"),
        (b'{"values":[]}', RecordShapeError, "expected 3 steps, received 0 steps"),
        (b'{"values":[1,2]}', RecordShapeError, "expected 3 steps, received 2 steps"),
        (b'{"values":[1,2,3,4]}', RecordShapeError, "expected 3 steps, received 4 steps"),
        (b'{"values":[1,NaN,3]}', RecordValueError, "NaN or an infinity"),
        (b'{"values":[1,-Infinity,3]}', RecordValueError, "NaN or an infinity"),
        (b'{"values":[1,1e999,3]}', RecordValueError, "NaN or an infinity"),
        (b'{"values":[1,2,3],"timestamp_ms":"now"}', RecordValueError, "timestamp_ms"),
        (b'{"values":[1,2,3],"timestamp_ms":1.5}', RecordValueError, "timestamp_ms"),
        (b'{"values":[1,2,3],"timestamp_ms":true}', RecordValueError, "timestamp_ms"),
        (b'{"values":[1,2,3],"timestamp_ms":-1}', RecordValueError, "timestamp_ms"),
    ],
)
def test_bad_json_is_named(value: bytes | None, error: type[DataError], words: str) -> None:
    found = only_error(decode_json(value))
    assert type(found) is error
    assert words in str(found)


def test_a_flat_array_is_no_window_of_two_features() -> None:
    found = only_error(decode_json(b'{"values":[1,2,3,4]}', shape=(2, 2)))
    assert type(found) is RecordShapeError
    assert "expected 2 steps of 2 features, received a flat array of 4" in str(found)


def test_json_overflow_of_float32_becomes_infinite_without_a_warning() -> None:
    assert decode_json(b'{"values":[1e300,0,-1e300]}').windows.ravel().tolist() == [
        np.inf,
        0,
        -np.inf,
    ]


@pytest.mark.parametrize("timestamp_ms", [SECONDS_MAX, 946_684_800_000, NOW_MS, TIMESTAMP_MS_MAX])
def test_a_timestamp_is_kept_by_record(timestamp_ms: int) -> None:
    timed = orjson.dumps({"values": [1, 2, 3], "timestamp_ms": timestamp_ms})
    untimed = orjson.dumps({"values": [1, 2, 3], "timestamp_ms": None})
    assert decode_json(untimed, timed).timestamps_ms == {1: timestamp_ms}


@pytest.mark.parametrize("values", [b"[1,2,3]", b"[[1],[2],[3]]"], ids=["flat", "nested"])
@pytest.mark.parametrize(
    ("timestamp_ms", "words"),
    [
        (0, "which is no time; leave it out where there is none"),
        (1, "which looks like milliseconds since boot; add the time at which the device"),
        (999_999_999, "which looks like milliseconds since boot"),
        (1_000_000_000, "which looks like seconds; multiply it by 1,000"),
        (NOW_MS // 1_000, "which looks like seconds; multiply it by 1,000"),
        (SECONDS_MAX - 1, "which looks like seconds; multiply it by 1,000"),
        (NOW_MS * 1_000, "which looks like microseconds; divide it by 1,000"),
        (NOW_MS * 1_000_000, "which looks like nanoseconds; divide it by 1,000,000"),
    ],
)
def test_a_timestamp_in_another_unit_is_named(values: bytes, timestamp_ms: int, words: str) -> None:
    value = b'{"values":%b,"timestamp_ms":%d}' % (values, timestamp_ms)
    problem = only_error(decode_json(value))
    assert type(problem) is RecordValueError
    assert f"received {timestamp_ms}, {words}" in str(problem)


def test_the_year_10000_is_no_timestamp() -> None:
    value = orjson.dumps({"values": [1, 2, 3], "timestamp_ms": TIMESTAMP_MS_MAX + 1})
    assert type(only_error(decode_json(value))) is RecordValueError


@pytest.mark.usefixtures("no_slow_path")
@pytest.mark.parametrize(
    "value",
    [
        b'{"values":[1,2,3]}',
        b'{"values":[1.5,-2e3,0]}',
        b'{"values":[1,2,3],"timestamp_ms":1767225600000}',
        b'{"timestamp_ms":null,"values":[1,2,3],"unit":"bar"}',
    ],
)
def test_plain_json_takes_the_fast_path(value: bytes) -> None:
    assert len(decode_json(value, value).windows) == 2


def test_both_json_paths_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [0.1, 1 / 3, 16_777_217, 1e-45, -0.0, 123_456.789]
    values = [orjson.dumps({"values": [number, 1, 2]}) for number in numbers]
    fast = decode_json(*values)
    monkeypatch.setattr(json_format, "read_plain_window", lambda *_: None)
    slow = decode_json(*values)
    assert fast.windows.tobytes() == slow.windows.tobytes()


@pytest.mark.parametrize("values", [b"[1,2,3]", b"[[1],[2],[3]]"], ids=["flat", "nested"])
def test_of_a_key_given_twice_the_last_counts(values: bytes) -> None:
    twice = b'{"values":%b,"timestamp_ms":5,"timestamp_ms":1767225600006}' % values
    assert decode_json(twice).timestamps_ms == {0: NOW_MS + 6}
    wrong = b'{"values":%b,"values":1}' % values
    assert isinstance(only_error(decode_json(wrong)), RecordDecodeError)


def test_a_ten_megabyte_value_costs_its_neighbours_nothing() -> None:
    large = orjson.dumps({"values": [1] * 5_000_000})
    decoded = decode_json(b'{"values":[1,2,3]}', large, b'{"values":[4,5,6]}')
    assert len(large) > 10_000_000
    assert list(decoded.indices) == [0, 2]
    (rejected,) = decoded.rejected
    assert (rejected.index, type(rejected.error)) == (1, RecordShapeError)
    assert len(str(rejected.error)) < 200


def test_a_long_wrong_value_makes_a_short_message() -> None:
    for value in (
        orjson.dumps({"values": ["x" * 10_000, 1, 2]}),
        orjson.dumps({"x" * 10_000: 1}),
        orjson.dumps({"values": [1, 2, 3], "timestamp_ms": "x" * 10_000}),
    ):
        assert len(str(only_error(decode_json(value)))) < 200


def test_float32_values_are_read_as_they_are() -> None:
    decoded = decode_float32(floats(1, 2.5, -3), floats(np.nan, np.inf, 0))
    assert decoded.windows.dtype == np.float32
    assert decoded.windows[0].ravel().tolist() == [1, 2.5, -3]
    assert np.isnan(decoded.windows[1, 0, 0])
    assert np.isposinf(decoded.windows[1, 1, 0])
    assert not decoded.rejected


def test_float32_features_lie_side_by_side() -> None:
    decoded = decode_float32(floats(1, 2, 3, 4), shape=(2, 2))
    assert decoded.windows.tolist() == [[[1, 2], [3, 4]]]


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (None, RecordDecodeError, "tombstone"),
        (b"", RecordDecodeError, "empty value"),
        (b"1234567", RecordDecodeError, "multiple of 4 bytes, received 7 bytes"),
        (floats(1, 2), RecordShapeError, "expected 3 steps, received 2 values"),
        (floats(1, 2, 3, 4), RecordShapeError, "expected 3 steps, received 4 values"),
        (bytes(10_000_000), RecordShapeError, "received 2500000 values"),
    ],
)
def test_bad_float32_is_named_and_its_neighbours_are_kept(
    value: bytes | None, error: type[DataError], words: str
) -> None:
    good = floats(1, 2, 3)
    decoded = decode_float32(good, value, good)
    assert list(decoded.indices) == [0, 2]
    assert decoded.windows.reshape(2, 3).tolist() == [[1, 2, 3], [1, 2, 3]]
    (rejected,) = decoded.rejected
    assert (rejected.index, type(rejected.error)) == (1, error)
    assert words in str(rejected.error)


def test_the_content_type_header_wins_over_the_setting() -> None:
    decoded = decode_windows([floats(1, 2, 3)], [[FLOAT32]], SHAPE, "json")
    assert decoded.windows.ravel().tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "header",
    [
        ("Content-Type", b"application/json"),
        ("content-type", b"Application/JSON; charset=utf-8"),
        ("content-type", b"  application/json "),
    ],
)
def test_the_content_type_header_is_read_as_http_does(header: tuple[str, bytes]) -> None:
    decoded = decode_windows([b'{"values":[1,2,3]}'], [[header]], SHAPE, "float32")
    assert decoded.windows.ravel().tolist() == [1, 2, 3]


def test_the_first_of_several_content_types_counts() -> None:
    headers = [[("label", b"1"), JSON, FLOAT32]]
    decoded = decode_windows([b'{"values":[1,2,3]}'], headers, SHAPE, "float32")
    assert decoded.windows.ravel().tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", [b"text/csv", b"", None, b"\xff\xfe"])
def test_an_unknown_content_type_is_named(name: bytes | None) -> None:
    found = only_error(
        decode_windows([b'{"values":[1,2,3]}'], [[("content-type", name)]], SHAPE, "json")
    )
    assert type(found) is RecordDecodeError
    for known in formats_of("window").values():
        assert known.decode() in str(found)
    assert "image" not in str(found)
    str(found).encode()


def test_mixed_formats_keep_the_order_of_the_batch() -> None:
    values = [floats(0, 0, 0), b'{"values":[1,1,1]}', b"?", None, floats(4, 4, 4), b"x", b"?"]
    json_5 = b'{"values":[5,5,5],"timestamp_ms":1767225600009}'
    headers = [[FLOAT32], [JSON], [("content-type", b"?")], None, [FLOAT32], [], [FLOAT32]]
    decoded = decode_windows([*values, json_5], [*headers, ()], SHAPE, "json", first_index=10)
    assert list(decoded.indices) == [10, 11, 14, 17]
    assert decoded.windows[:, 0, 0].tolist() == [0, 1, 4, 5]
    assert decoded.windows.flags.c_contiguous
    assert [each.index for each in decoded.rejected] == [12, 13, 15, 16]
    assert decoded.timestamps_ms == {17: NOW_MS + 9}


@pytest.mark.parametrize("value", [None, b""])
@pytest.mark.parametrize("content_type", ["json", "float32"])
@pytest.mark.parametrize("header", [None, JSON, FLOAT32, ("content-type", b"text/csv")])
def test_a_record_without_a_value_is_rejected_whatever_its_format(
    value: bytes | None, content_type: str, header: tuple[str, bytes] | None
) -> None:
    headers = None if header is None else [[header]]
    problem = only_error(decode_windows([value], headers, SHAPE, content_type))
    assert type(problem) is RecordDecodeError
    assert str(problem).startswith("expected a window, received ")


@pytest.mark.parametrize("content_type", ["image", "png", "avro"])
@pytest.mark.parametrize("values", [[], [b'{"values":[1,2,3]}']])
def test_a_format_that_windows_cannot_have_is_refused(
    values: list[bytes], content_type: str
) -> None:
    expected = f"content_type: expected json or float32 for this bundle, received '{content_type}'"
    with pytest.raises(ValueError, match=expected):
        decode_windows(values, None, SHAPE, content_type)


@pytest.mark.parametrize("decode", [decode_json, decode_float32])
def test_a_batch_of_only_bad_records_gives_no_windows(decode: Callable[..., Decoded]) -> None:
    decoded = decode(b"", None, b"?")
    assert decoded.windows.shape == (0, *SHAPE)
    assert [each.index for each in decoded.rejected] == [0, 1, 2]
