"""Formats whose records are read by a mapping: lines of CSV and of InfluxDB's line protocol."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_detector.core.codec import csv_format, influx_format
from stream_detector.core.codec.discovery import find_time_unit
from stream_detector.core.codec.mapping import InputMapping, Place
from stream_detector.core.codec.paths import MISSING, describe_leaves, find, leaves, parse_path
from stream_detector.core.timestamps import SECONDS_MAX, SECONDS_MIN
from stream_detector.errors import DataError, RecordDecodeError

LINES: list[tuple[bytes, Any]] = [
    # From InfluxData's reference: "Line protocol reference", its examples.
    (
        b'myMeasurement,tag1=value1,tag2=value2 fieldKey="fieldValue" 1556813561098000000',
        ("myMeasurement", {"tag1": "value1", "tag2": "value2"}, {"fieldKey": "fieldValue"}),
    ),
    (b"m fieldKey=1.0", ("m", {}, {"fieldKey": 1.0})),
    (b"m a=1,b=-2i,c=3u,d=-1.234456e+78", ("m", {}, {"a": 1, "b": -2, "c": 3, "d": -1.234456e78})),
    (b"m a=true,b=F", ("m", {}, {"a": True, "b": False})),
    (
        rb'my\ Meas\,urement,tag\ Key1=tag\ Value1,t\=2=a\,b fieldKey="string \"v\" =, x" 1',
        (
            "my Meas,urement",
            {"tag Key1": "tag Value1", "t=2": "a,b"},
            {"fieldKey": 'string "v" =, x'},
        ),
    ),
    (rb"m\n f\x=2", ("m\\n", {}, {"f\\x": 2})),  # a backslash before other characters is itself
]


@pytest.mark.parametrize(("line", "expected"), LINES)
def test_lines_of_the_protocol(line: bytes, expected: Any) -> None:
    [metric] = influx_format.read_document(line, InputMapping())["metrics"]
    assert (metric["name"], metric["tags"], metric["fields"]) == expected


def test_a_record_may_have_several_lines() -> None:
    value = b"# comment\nm a=1 5\r\n\n  \nm a=2 6\n"
    metrics = influx_format.read_document(value, InputMapping())["metrics"]
    assert [(each["fields"]["a"], each["timestamp"]) for each in metrics] == [(1, 5), (2, 6)]


NO_LINES = (
    *(b"", b"# only this", b"m", b"m ", b"m a=", b"m a=1 b=2", b"m a=1_0", b"m a=nan"),
    *(b"m,t a=1", b"m, a=1", b"=m a=1,", b'm a="open', b"\xff a=1", b"m a=1 " + b"9" * 21),
    b"m a=1 5 6",
)


@pytest.mark.parametrize("value", NO_LINES)
def test_what_is_no_line_of_the_protocol_is_refused(value: bytes) -> None:
    with pytest.raises(RecordDecodeError, match="line protocol: expected"):
        influx_format.read_document(value, InputMapping())


@given(st.text(alphabet=' ,=\\"a1i\n#-', max_size=60))
def test_any_line_is_read_or_refused(text: str) -> None:
    try:
        influx_format.read_document(text.encode(), InputMapping())
    except DataError:
        return


@pytest.mark.parametrize(
    ("value", "delimiter", "cells"),
    [
        (b"a,1,2.5\r\n", ",", ["a", "1", "2.5"]),
        (b"\xef\xbb\xbfa;1,5;", ";", ["a", "1,5", ""]),
        ('"ä, ""b""",1'.encode(), ",", ['ä, "b"', "1"]),
        (b"a\t1", "\t", ["a", "1"]),
    ],
)
def test_a_line_of_csv(value: bytes, delimiter: str, cells: list[str]) -> None:
    assert csv_format.read_document(value, InputMapping(delimiter=delimiter)) == cells


@pytest.mark.parametrize("value", [b"\xff", b'"open', b'"a"b,c', b"1,2\n3,4", b"\n"])
def test_what_is_no_line_of_csv_is_refused(value: bytes) -> None:
    with pytest.raises(RecordDecodeError, match="CSV: expected one line"):
        csv_format.read_document(value, InputMapping())


@pytest.mark.parametrize(
    "text", ["a.", ".a", "a..b", "a[", "a[b]", 'a"b', "a|", "|a", "[a=b]", '""']
)
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a"):
        parse_path(text)


@pytest.mark.parametrize(
    ("step", "expected"), [("0", 5), ("1", 6), ("2", MISSING), ("9" * 5_000, MISSING)]
)
def test_an_item_of_an_array_is_there_up_to_its_last(step: str, expected: object) -> None:
    assert find([{"a": [5, 6]}], parse_path(f"a.{step}")) == expected


@pytest.mark.parametrize(
    ("number", "unit"),
    [
        *((SECONDS_MIN - 1, None), (SECONDS_MIN, "s"), (SECONDS_MAX - 1, "s"), (SECONDS_MAX, None)),
        *((SECONDS_MIN * 10**3, "ms"), (SECONDS_MAX * 10**9 - 10**6, "ns")),
    ],
)
def test_a_time_of_this_century_tells_its_unit(number: int, unit: str | None) -> None:
    assert find_time_unit([{"ts": number}], InputMapping(time=Place.parse("ts"))) == unit


@given(
    st.recursive(
        st.integers(),
        lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(min_size=1), each),
        max_leaves=8,
    )
)
def test_what_a_record_has_can_be_told(document: Any) -> None:
    assert describe_leaves(document).startswith("the record has ")
    assert all(isinstance(each, str) for each in leaves(document))
