"""Flat documents without an object a value: the numbers of a parser, or nothing at all."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_detector.core.codec.flat_json import flat_numbers

FLAT = b'{"ts":1767225600000,"a":1.5,"long name 1":-2e3}'
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text(st.characters(codec="utf-8"), max_size=20)


def agrees(values: list[bytes]) -> bool:
    """Return whether the documents were read; see that they were read as a parser does."""
    found = flat_numbers(values)
    if found is None:
        return False
    documents = [orjson.loads(value) for value in values]
    assert {tuple(each) for each in documents} == {found.names}
    assert all(type(each) in (int, float) for one in documents for each in one.values())
    expected = [[float(each) for each in one.values()] for one in documents]
    assert found.numbers.tolist() == expected
    return True


@given(
    st.lists(NAMES, min_size=1, max_size=9, unique=True).flatmap(
        lambda names: st.tuples(
            st.just(names),
            st.lists(st.tuples(*[NUMBERS] * len(names)), min_size=1, max_size=70),
        )
    ),
    st.sampled_from([(",", ":"), (", ", ": ")]),
)
@settings(max_examples=60)
def test_the_numbers_are_those_of_a_parser(drawn: Any, separators: tuple[str, str]) -> None:
    names, rows = drawn
    documents = [dict(zip(names, row, strict=True)) for row in rows]
    values = [
        json.dumps(each, separators=separators, ensure_ascii=False).encode() for each in documents
    ]
    is_plain = not any("\\" in json.dumps(name, ensure_ascii=False) for name in names)
    is_plain = is_plain and not any("[" in name for name in names)
    assert agrees(values) == (is_plain and min(map(len, values)) >= 8)


@given(
    st.lists(
        st.tuples(
            st.integers(0, len(FLAT)),
            st.integers(0, 3),
            st.text('{}[],:"019.eE+- \\a\n', max_size=4).map(str.encode),
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 3),
)
@example([(len(FLAT), 0, b',{"ts":1,"a":2,"long name 1":3}')], 1)
@example([(20, 0, b",5")], 2)
@settings(max_examples=300)
def test_damaged_documents_are_never_read_as_others(damages: Any, at: int) -> None:
    values = [FLAT] * 4
    for place, n_bytes, more in damages:
        values[at] = values[at][:place] + more + values[at][place + n_bytes :]
    if values[at]:
        agrees(values)


@pytest.mark.parametrize(
    "value",
    [
        b'{"ts":1,"a":null,"long name 1":3}',
        b'{"ts":1,"a":true,"long name 1":3}',
        b'{"ts":1,"a":"2","long name 1":3}',
        b'{"ts":1,"a":[2],"long name 1":3}',
        b'{"ts":1,"a":{"b":2},"long name 1":3}',
        b'{"a":1,"ts":2,"long name 1":3}',
        b'{"ts":1,"a":2,"long name 2":3}',
        b'{"ts":1,"b":2,"long name 1":3}',
        b'{"ts":1,"a":2,"long name 1":3,"b":4}',
        b'{"ts":1,"a":2}',
        b'{"ts":1,2,"a":2,"long name 1":3}',
        b'{"ts":1,"a":2,"long name 1":3} ',
        b'\xef\xbb\xbf{"ts":1,"a":2,"long name 1":3}',
        b'{"ts":1,"a":2,"long name 1":NaN}',
        b'{"ts":1,"a":2,"long name 1":1e999}',
        b"[1,2,3]",
        b"5",
    ],
)
def test_whatever_is_not_like_the_first_is_left_to_others(value: bytes) -> None:
    assert agrees([FLAT] * 2)
    for values in ([FLAT, value, FLAT], [value, FLAT]):
        assert flat_numbers(values) is None


def test_many_documents_are_read_in_parts() -> None:
    values = [b'{"number":%d,"x":0.5}' % number for number in range(20_000)]
    found = flat_numbers(values)
    assert found is not None
    assert found.numbers[:, 0].tolist() == list(range(20_000))
    assert flat_numbers([*values, b'{"number":1,"y":0.5}']) is None
