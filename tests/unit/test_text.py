"""Foreign text is made printable and cut to a length."""

import json

import pytest

from stream_detector.errors import RecordValueError
from stream_detector.text import (
    ERROR_CHARACTERS_MAX,
    csv_cell,
    json_line,
    printable,
    quoted,
    read_csv_cell,
    shorten,
)


def test_printable_characters_are_not_escaped() -> None:
    assert printable("µ [0] 漢") == "µ [0] 漢"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31m", r"a\x1b[31m"),
        ("a\nb\r", r"a\nb\r"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u202eb", r"a\u202eb"),
        ("a\u2028b\u200b", r"a\u2028b\u200b"),
        ("a\ud800", r"a\ud800"),
        ("a\U000e0001", r"a\U000e0001"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_only_text_beyond_the_limit_is_cut() -> None:
    assert shorten("a" * 40, 40) == "a" * 40
    assert shorten("a" * 41, 40) == "a" * 21 + "... (41 characters)"


def test_the_message_of_an_error_about_a_record_is_printable_and_short() -> None:
    assert str(RecordValueError("key: received \x1b")) == r"key: received \x1b"
    long = str(RecordValueError("\xff\n" * 300_000))
    assert len(long) == ERROR_CHARACTERS_MAX
    assert long.endswith("... (900,000 characters)")


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("pump-7", "pump-7"),
        ("pump 7", '"pump 7"'),
        ('a" n_alerts=0', '"a\' n_alerts=0"'),
        ("a\nb", r"a\nb"),
        ("", '""'),
        ("a" * 513, '"' + "a" * 492 + '... (513 characters)"'),
    ],
)
def test_a_field_cannot_look_like_those_behind_it(text: str, field: str) -> None:
    assert quoted(text) == field


@pytest.mark.parametrize(
    "text",
    ["plain", "\x7f", "\x9b31m", "a\u202eb", "\u2028", "\U000e0001", "\udcff", "µ漢😀", "\x1b\n"],
)
def test_json_on_one_line_reads_back_equal(text: str) -> None:
    line = json_line(json.dumps({"key": [text, 1.5]}, ensure_ascii=False, indent=2))
    assert json.loads(line) == {"key": [text, 1.5]}
    assert line.isprintable()


def test_json_that_is_on_one_line_and_printable_stays_as_it_is() -> None:
    document = '{"key":"µ漢","score":1e-7}'
    assert json_line(document) == document


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("pump-7", "pump-7"),
        ("=1+1", "'=1+1"),
        ("+1+1", "'+1+1"),
        ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("'=1+1", "''=1+1"),
        ("'quoted'", "'quoted'"),
        ("'-5", "''-5"),
        ("-5", "-5"),
        ("+0.5", "+0.5"),
        ("-1e-05", "-1e-05"),
        ("-inf", "-inf"),
        ("", ""),
        ("a=b", "a=b"),
        ("\t=1+1", r"\t=1+1"),
    ],
)
def test_no_cell_is_a_formula(text: str, cell: str) -> None:
    assert csv_cell(text) == cell
    assert read_csv_cell(cell) == printable(text)


@pytest.mark.parametrize("cell", ["'-5", "'+1.5", "pump", "'", "''", "'x=1"])
def test_a_cell_that_was_not_marked_is_read_as_it_is(cell: str) -> None:
    assert read_csv_cell(cell) == cell
