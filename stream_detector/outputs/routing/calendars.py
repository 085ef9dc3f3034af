"""Times at which a route is quiet, by the calendar of a place. Pure.

A window of a week is meant in local time, as clocks there show it: 02:00 to 04:00 lasts one hour on
the night on which clocks go forward, and three where they go back.
"""

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

MINUTES_A_DAY = 24 * 60

_TIME_OF_DAY = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _known_zone(name: str) -> str:
    """Refuse a time zone that this machine does not know."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        kind, message = "time_zone", "Input should be a time zone such as Europe/Berlin or UTC"
        raise PydanticCustomError(kind, message) from None
    return name


def _known_date(text: str) -> str:
    """Refuse what is no date, and other forms of one (20261225), which no day would equal."""
    try:
        is_date = date.fromisoformat(text).isoformat() == text
    except ValueError:
        is_date = False
    if not is_date:
        kind, message = "date", "Input should be a date such as 2026-12-25"
        raise PydanticCustomError(kind, message)
    return text


def _known_time(text: str) -> str:
    """Refuse what is no time of day."""
    if not _TIME_OF_DAY.fullmatch(text):
        kind, message = "time_of_day", "Input should be a time such as 02:00, at most 24:00"
        raise PydanticCustomError(kind, message)
    return text


TimeOfDay = Annotated[str, AfterValidator(_known_time)]


class WeeklyWindow(BaseModel):
    """A time of some days of each week, in local time."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    days: list[Day] = Field(
        default=["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
        min_length=1,
        description="Days on which it begins; all if not given",
    )
    start: TimeOfDay = Field(alias="from", description="When it begins, such as 02:00")
    end: TimeOfDay = Field(
        alias="until", description="When it has ended; before `from`, on the next day"
    )

    def holds(self, local: datetime) -> bool:
        """Return whether it is on at a local time."""
        minute, today = local.hour * 60 + local.minute, DAYS[local.weekday()]
        start, end = _minutes(self.start), _minutes(self.end)
        if start < end:
            return today in self.days and start <= minute < end
        yesterday = DAYS[local.weekday() - 1]
        return (today in self.days and minute >= start) or (yesterday in self.days and minute < end)


class Calendar(BaseModel):
    """Times at which the routes that name this calendar send nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(min_length=1, max_length=100, description="Name, for `quiet` of routes")
    time_zone: Annotated[str, AfterValidator(_known_zone)] = Field(
        default="UTC", description="Time zone of the place, such as Europe/Berlin"
    )
    weekly: list[WeeklyWindow] = Field(
        default=[], max_length=1_000, description="Times of the week: days, from, until"
    )
    dates: list[Annotated[str, AfterValidator(_known_date)]] = Field(
        default=[], max_length=10_000, description="Whole days, such as 2026-12-25"
    )

    @model_validator(mode="after")
    def _require_times(self) -> "Calendar":
        """Refuse a calendar that is never quiet."""
        if not self.weekly and not self.dates:
            kind, message = "calendar", "Input should have times in weekly or dates"
            raise PydanticCustomError(kind, message)
        return self

    def is_quiet(self, time_ms: int) -> bool:
        """Return whether a time, milliseconds since 1970-01-01 UTC, is in this calendar.

        A time that no date can express is not.

        Examples
        --------
        >>> sunday = WeeklyWindow(days=["sun"], start="02:00", end="04:00")
        >>> Calendar(name="service", weekly=[sunday]).is_quiet(1_764_468_000_000)  # 02:00 UTC
        True
        """
        try:
            local = (_EPOCH + timedelta(milliseconds=time_ms)).astimezone(_zone(self.time_zone))
        except OverflowError:
            return False
        return local.date().isoformat() in self.dates or any(
            each.holds(local) for each in self.weekly
        )


@lru_cache
def _zone(name: str) -> ZoneInfo:
    """Return a time zone."""
    return ZoneInfo(name)


def _minutes(text: str) -> int:
    """Return a time of day in minutes since midnight."""
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)
