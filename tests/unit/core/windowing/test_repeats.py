"""Which samples belong to the same cell: the worked example of the module, and its edges."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from key_samples import RULES, arrivals  # tests/support

from stream_detector.core.windowing.key_columns import KeyColumns
from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.window_batch import WindowState
from stream_detector.core.windowing.windows import assign_windows

AT_ONCE = replace(RULES, n_steps=1, stride=1)
"""Every sample that begins a cell is a window of its own."""
LATE = replace(AT_ONCE, allowed_lateness_ms=20.0)
END = [200.0, 240.0]
"""Samples that release those that wait."""


def cells_of(times: Sequence[float], rules: WindowRules = AT_ONCE, size: int = 1) -> list[float]:
    """Return when cells begin, with so many samples to a batch."""
    state, found = WindowState.empty(rules), []
    for start in range(0, len(times), size):
        records = [(b"a", [each]) for each in times[start : start + size]]
        some = assign_windows(state, rules, arrivals(*records))
        found += some.aligned.times_ms.tolist()
        state = some.state
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("rules", [AT_ONCE, LATE])
def test_the_worked_example(rules: WindowRules, size: int) -> None:
    times = [104, 106, 109, 111, 114, 116, *(150, 180, 201)]
    n_waiting = 0 if rules is AT_ONCE else 1
    cells = cells_of(times, rules, size)
    assert cells == [104, 111, 116, 150, 180, 201][: 6 - n_waiting]


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("rules", [AT_ONCE, LATE])
@pytest.mark.parametrize(
    ("times", "cells"),
    [
        ([100, 104.9375], [100]),
        ([100, 105], [100, 105]),  # another half interval
        ([104, 106.4375], [104]),
        ([104, 106.5], [104, 106.5]),  # a quarter of the interval after its first
        ([102, 104, 105], [102, 105]),  # after its first, not its last
        ([104, 106, 109.9375], [104]),  # the half that belongs to it is its own to the end
        ([104, 106, 110], [104, 110]),
    ],
)
def test_where_a_cell_begins(
    rules: WindowRules, size: int, times: list[float], cells: list[float]
) -> None:
    assert cells_of([*times, *END], rules, size)[: len(cells)] == cells
    assert cells_of([*times, *END], rules, size)[len(cells)] == END[0]


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize(
    ("times", "cells"),
    [
        ([106, 104], [104]),  # the time is that of the half before, though it came later
        ([106.4375, 104, 109], [104]),
        ([106.5, 104, 109], [104, 106.5]),
        ([106, 108, 104, 103], [104]),
        ([111, 106, 104], [104, 111]),
        ([104, 124.0625, 106], [104, 124.0625]),  # it was used before its other half came
        ([104, 124.0625, 106, 109], [104, 124.0625]),
        ([104, 106, 124.0625, 109], [104, 124.0625]),  # its other half was there, more of it is not
        ([104, 106, 109, 126.0625, 107], [104, 126.0625]),
    ],
)
def test_halves_meet_in_any_order_of_arrival(
    size: int, times: list[float], cells: list[float]
) -> None:
    assert cells_of([*times, *END], LATE, size)[: len(cells)] == cells
    assert cells_of([*times, *END], LATE, size)[len(cells)] == END[0]


@pytest.mark.parametrize("skipped", [1, 2, 3, 7, 11])
@pytest.mark.parametrize("step_ms", [0.5, 1.25, 2.5, 3.75, 4.9375])
def test_cells_of_a_fast_key_are_the_same_wherever_reading_starts(
    skipped: int, step_ms: float
) -> None:
    times = [100 + step_ms * at for at in range(100)]
    later = cells_of(times[skipped:], size=9)
    begun = [cell for cell in cells_of(times, size=9) if cell > times[skipped] + 10]
    assert begun == [cell for cell in later if cell > times[skipped] + 10]
    assert len(begun) > 5


def test_whether_the_next_half_belongs_to_a_cell_is_part_of_the_digest() -> None:
    columns, names = KeyColumns.fresh(2), np.ones(2, np.uint64)
    columns.is_joined[1] = True
    columns.span[:] = 2**29
    first, second = columns.digests(names).tolist()
    assert first != second
