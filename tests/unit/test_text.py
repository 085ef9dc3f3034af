"""Foreign text is made printable and cut to a length."""

import pytest

from stream_detector.errors import RecordValueError
from stream_detector.text import ERROR_CHARACTERS_MAX, printable, shorten


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
