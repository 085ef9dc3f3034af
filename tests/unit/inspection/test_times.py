"""Which column holds times, and in which form, by its name and by what is in it."""

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from stream_detector.inspection.table import RawColumn
from stream_detector.inspection.times import find_times

NOW_S = 1_767_225_600


def form(name: str, values: ArrayLike, *, is_said: bool = False) -> str | None:
    """Return the form of a column of numbers, None where it holds no times."""
    column = RawColumn(name, np.array(values, np.float64))
    found = find_times([column], None, is_said=is_said)
    return None if found is None else found.time_format


def with_falls(n_rows: int, n_falls: int) -> NDArray[np.int64]:
    """Return times of which some are before the one above them."""
    values = NOW_S + 10 * np.arange(n_rows)
    values[1 : 1 + 2 * n_falls : 2] -= 15
    return values


@pytest.mark.parametrize(("n_rows", "expected"), [(1, None), (2, "s")])
def test_one_row_has_no_time(n_rows: int, expected: str | None) -> None:
    assert form("time", NOW_S + np.arange(n_rows)) == expected


@pytest.mark.parametrize(("n_missing", "expected"), [(1, "s"), (2, None)])
def test_a_time_is_missing_in_one_of_a_hundred_rows_at_most(
    n_missing: int, expected: str | None
) -> None:
    values = NOW_S + np.arange(100.0)
    values[:n_missing] = np.nan
    assert form("time", values) == expected


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (6e8, 6e8 + 99, "s"),
        (6e8 - 1, 6e8 + 98, None),
        (6e9 - 100, 6e9 - 1, "s"),
        (6e9 - 99, 6e9, None),
    ],
)
def test_seconds_since_1970_are_of_these_years(
    first: float, last: float, expected: str | None
) -> None:
    assert form("x", np.linspace(first, last, 100)) == expected


def test_times_may_repeat() -> None:
    assert form("x", NOW_S + np.arange(100) // 4) == "s"


@pytest.mark.parametrize(("n_rows", "expected"), [(11, None), (12, "s")])
def test_times_without_a_name_rise_in_nine_of_ten_steps(n_rows: int, expected: str | None) -> None:
    assert form("x", with_falls(n_rows, 1)) == expected


@pytest.mark.parametrize(("n_rows", "is_time"), [(11, True), (12, False)])
def test_times_from_another_beginning_rise_in_half_of_the_steps(n_rows: int, is_time: bool) -> None:
    values = with_falls(n_rows, n_rows // 2) - NOW_S + 100
    assert (form("time", values) is not None) is is_time


@pytest.mark.parametrize(("first", "expected"), [(0, "s"), (-1, None)])
def test_times_are_not_below_zero(first: int, expected: str | None) -> None:
    assert form("time", np.arange(first, 100)) == expected


@pytest.mark.parametrize(("n_alike", "expected"), [(100, "s"), (134, None)])
def test_a_time_is_another_one_in_each_hundredth_row(n_alike: int, expected: str | None) -> None:
    values = np.arange(400) // n_alike
    assert form("time", values) == expected
    assert form("time", values, is_said=True) == "s"


@pytest.mark.parametrize(
    ("step", "expected"),
    [(19, "s"), (20, "ms"), (302, "s"), (303, "ms"), (298, "s"), (297, "ms"), (297.5, "s")],
)
def test_steps_that_are_usual_in_seconds_are_seconds(step: float, expected: str) -> None:
    assert form("time", step * np.arange(100)) == expected


def test_the_step_of_repeated_times_is_that_between_different_ones() -> None:
    assert form("time", np.repeat(100 * np.arange(100), 4)) == "ms"


@pytest.mark.parametrize(("n_dates", "is_time"), [(9, True), (8, False)])
def test_dates_are_in_nine_of_ten_rows(n_dates: int, is_time: bool) -> None:
    cells = [f"2026-01-0{row} 12:00" if row <= n_dates else "" for row in range(1, 11)]
    found = find_times([RawColumn("x", None, cells)], None, is_said=False)
    assert (found is not None) is is_time


def day_and_time(days: list[int], clocks: list[str]) -> str:
    """Return the name of the column whose times of day belong to dates, "" for none."""
    dates = [f"2026-01-{day:02d}" for day in days]
    columns = [RawColumn("day", None, dates), RawColumn("at", None, clocks)]
    found = find_times(columns, None, is_said=False)
    return "" if found is None else found.time_of_day


@pytest.mark.parametrize(("n_odd", "expected"), [(1, ""), (0, "at")])
def test_times_of_day_are_in_more_than_99_of_100_rows(n_odd: int, expected: str) -> None:
    clocks = ["?"] * n_odd + [f"12:{row % 60:02d}" for row in range(n_odd, 100)]
    assert day_and_time([1] * 100, clocks) == expected


@pytest.mark.parametrize(("days", "expected"), [([1, 2, 3], ""), ([1, 2, 2], "at")])
def test_times_of_day_belong_to_dates_that_repeat(days: list[int], expected: str) -> None:
    assert day_and_time(days, ["12:00", "12:00", "13:00"]) == expected


@pytest.mark.parametrize(
    ("clock", "expected"), [("23:59", "at"), ("24:00", ""), ("0:60", ""), ("12:59 PM", "at")]
)
def test_a_day_ends_at_midnight(clock: str, expected: str) -> None:
    assert day_and_time([1, 1], [clock, clock]) == expected
