"""When a calendar is quiet: weeks in local time, over changes of the clocks."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from stream_detector.outputs.routing.calendars import Calendar, WeeklyWindow

BERLIN = "Europe/Berlin"


def ms_of(text: str, zone: str = "UTC", fold: int = 0) -> int:
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return round(local.timestamp() * 1_000)


def weekly(days: list[str], start: str, end: str, zone: str = "UTC") -> Calendar:
    window = WeeklyWindow.model_validate({"days": days, "from": start, "until": end})
    return Calendar(name="service", time_zone=zone, weekly=[window])


@pytest.mark.parametrize(
    ("time", "is_quiet"),
    [
        ("2026-11-29T01:59:59.999", False),
        ("2026-11-29T02:00", True),
        ("2026-11-29T03:59:59.999", True),
        ("2026-11-29T04:00", False),
        ("2026-11-28T03:00", False),
        ("2026-11-30T03:00", False),
    ],
)
def test_a_window_begins_with_its_first_minute_and_ends_before_its_last(
    time: str, is_quiet: bool
) -> None:
    assert weekly(["sun"], "02:00", "04:00").is_quiet(ms_of(time)) is is_quiet


@pytest.mark.parametrize(
    ("time", "is_quiet"),
    [
        ("2026-11-27T21:59", False),
        ("2026-11-27T22:00", True),
        ("2026-11-28T00:00", True),
        ("2026-11-28T05:59", True),
        ("2026-11-28T06:00", False),
        ("2026-11-28T22:00", False),
        ("2026-11-27T05:00", False),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(
    time: str, is_quiet: bool
) -> None:
    assert weekly(["fri"], "22:00", "06:00").is_quiet(ms_of(time)) is is_quiet


@pytest.mark.parametrize(
    ("time", "is_quiet"), [("2026-11-27T23:59", True), ("2026-11-28T00:00", False)]
)
def test_a_window_may_last_to_the_end_of_the_day(time: str, is_quiet: bool) -> None:
    assert weekly(["fri"], "22:00", "24:00").is_quiet(ms_of(time)) is is_quiet


def test_the_same_start_and_end_are_a_whole_day() -> None:
    calendar = weekly(["fri"], "08:00", "08:00")
    assert calendar.is_quiet(ms_of("2026-11-27T08:00"))
    assert calendar.is_quiet(ms_of("2026-11-28T07:59"))
    assert not calendar.is_quiet(ms_of("2026-11-28T08:00"))


def test_a_window_is_meant_in_local_time_in_winter_and_in_summer() -> None:
    calendar = weekly(["wed"], "02:00", "03:00", BERLIN)
    assert calendar.is_quiet(ms_of("2026-01-07T01:30"))
    assert calendar.is_quiet(ms_of("2026-07-08T00:30"))
    assert not calendar.is_quiet(ms_of("2026-07-08T01:30"))


def quiet_minutes(calendar: Calendar, first: str, n_hours: int) -> int:
    start_ms = ms_of(first)
    return sum(calendar.is_quiet(start_ms + 60_000 * at) for at in range(60 * n_hours))


def test_a_window_is_shorter_where_clocks_go_forward_and_longer_where_they_go_back() -> None:
    calendar = weekly(["sun"], "02:00", "04:00", BERLIN)
    assert quiet_minutes(calendar, "2026-03-21T12:00", 24) == 120
    assert quiet_minutes(calendar, "2026-03-28T12:00", 24) == 60  # 02:00 to 03:00 does not exist
    assert quiet_minutes(calendar, "2026-10-24T12:00", 24) == 180  # 02:00 to 03:00 comes twice


def test_the_hour_that_comes_twice_is_quiet_both_times() -> None:
    calendar = weekly(["sun"], "02:15", "02:45", BERLIN)
    for fold in (0, 1):
        assert calendar.is_quiet(ms_of("2026-10-25T02:30", BERLIN, fold))
        assert not calendar.is_quiet(ms_of("2026-10-25T02:45", BERLIN, fold))


def test_a_date_is_a_whole_day_of_the_place() -> None:
    calendar = Calendar(name="holidays", time_zone="Asia/Tokyo", dates=["2026-12-25"])
    assert not calendar.is_quiet(ms_of("2026-12-24T14:59:59.999"))
    assert calendar.is_quiet(ms_of("2026-12-24T15:00"))
    assert calendar.is_quiet(ms_of("2026-12-25T14:59:59.999"))
    assert not calendar.is_quiet(ms_of("2026-12-25T15:00"))


@pytest.mark.parametrize("time_ms", [-(10**17), 10**17])
def test_a_time_that_is_no_date_is_not_quiet(time_ms: int) -> None:
    assert not weekly(["sun"], "00:00", "24:00").is_quiet(time_ms)
    assert datetime.now(UTC).year > 1970


@pytest.mark.parametrize(
    "wrong",
    [
        {"time_zone": "Mars/Crater", "dates": ["2026-12-25"]},
        {"time_zone": "../../etc/passwd", "dates": ["2026-12-25"]},
        {"dates": ["2026-02-30"]},
        {"dates": ["tomorrow"]},
        {"dates": ["20261225"]},  # a date to Python, and equal to no day as it is compared
        {"dates": ["2026-W52-5"]},
        {},
        {"weekly": [{"days": ["sun"], "from": "2:00", "until": "04:00"}]},
        {"weekly": [{"days": ["sun"], "from": "02:00", "until": "24:01"}]},
        {"weekly": [{"days": ["sunday"], "from": "02:00", "until": "04:00"}]},
        {"weekly": [{"days": [], "from": "02:00", "until": "04:00"}]},
        {"weekly": [{"days": ["sun"], "from": "02:00"}]},
    ],
)
def test_a_calendar_that_means_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Calendar.model_validate({"name": "x", **wrong})
