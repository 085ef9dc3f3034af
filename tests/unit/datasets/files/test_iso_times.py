"""Times of ISO 8601 in bulk are those that `datetime` reads."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_detector.datasets.files.iso_times import iso_at_once

RIGHT = [
    "2026-01-01T00:00:00",
    "1970-01-01 00:00:00",
    "1969-12-31T23:59:59Z",
    "2024-02-29T23:59:59.9",
    "2024-02-29T23:59:59.000",
    "1684-07-28T00:12:25.259009",
    "2026-12-31T23:59:59.123456Z",
    "2026-01-01T00:00:00+00:00",
    "2026-01-01T00:00:00-23:59",
    "2026-01-01T00:00:00.123+05:30",
    "2255-06-05T23:47:34.740991",
]
WRONG = [
    "",
    "2026-01-01",
    "2026-01-01T00:00",
    "2026-02-29T00:00:00",
    "2026-00-01T00:00:00",
    "2026-13-01T00:00:00",
    "2026-01-00T00:00:00",
    "2026-04-31T00:00:00",
    "1684-07-28T00:12:25.259008",
    "0000-01-01T00:00:00",
    "2026-01-01T24:00:00",
    "2026-01-01T00:60:00",
    "2026-01-01T00:00:60",
    "2026-01-01T00:00:00.",
    "2026-01-01T00:00:00.1234567",
    "2026-01-01T00:00:00,5",
    "2026-01-01T00:00:00+24:00",
    "2026-01-01T00:00:00+01:60",
    "2026-01-01T00:00:00+01.00",
    "2026-01-01T00:00:00+0x:00",
    "2026/01/01T00:00:00",
    "2026-01-01X00:00:00",
    "2026-01-01T00.00.00",
    "٢٠٢٦-01-01T00:00:00",
    "2026-01-01T00:00:00\x00",
    " 2026-01-01T00:00:00",
    "2255-06-05T23:47:34.740992",
    "9999-12-31T23:59:59.999999",
]


def milliseconds(text: str) -> float:
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1_000.0


def test_all_forms_are_read_with_the_bits_of_datetime() -> None:
    found = iso_at_once(RIGHT)
    assert found is not None
    assert found.tolist() == [*map(milliseconds, RIGHT)]


@pytest.mark.parametrize("text", WRONG)
def test_any_other_form_is_left_to_datetime(text: str) -> None:
    assert iso_at_once([text]) is None
    assert iso_at_once([RIGHT[0], text]) is None


def test_only_texts_are_read() -> None:
    assert iso_at_once([]) is None
    assert iso_at_once([RIGHT[0], None]) is None
    assert iso_at_once([datetime(2026, 1, 1, tzinfo=UTC)]) is None
    assert iso_at_once(["2026-01-01T00:00:00" + "0" * 1_000_000]) is None
    two_of_one_length = ["2026-01-01T00:00:00.12345", "2026-01-01T00:00:00+01:00"]
    assert iso_at_once(two_of_one_length) is None


DATES = st.datetimes(datetime(1700, 1, 1), datetime(2250, 1, 1))  # noqa: DTZ001
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(DATES, OFFSETS | st.none())
@settings(deadline=None, max_examples=50)
def test_any_time_has_the_bits_of_datetime(time: datetime, offset: timezone | None) -> None:
    text = time.replace(tzinfo=offset).isoformat()
    found = iso_at_once([RIGHT[0], text])
    assert found is not None
    assert found.tolist() == [milliseconds(RIGHT[0]), milliseconds(text)]
