"""Keys that fall silent: the worked example of the module, and what happens at the boundaries."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from key_samples import RULES, Record, arrivals  # tests/support
from present import present

from stream_detector.core.windowing.silences import Silences, silent_keys
from stream_detector.core.windowing.window_batch import WindowState
from stream_detector.core.windowing.windows import assign_windows

SILENT = replace(RULES, no_data_after_ms=50.0, key_ttl_ms=100.0, gap_ms_max=1_000.0)
EXAMPLE: Sequence[Record] = [(b"a", [0]), (b"b", [51]), (b"a", [60]), (b"b", [161])]

Found = tuple[bytes, float, int, int, bool]
"""Key, since when, first and last record, whether it expired."""


def silences_of(records: Sequence[Record], size: int = 100) -> list[Found]:
    state, found = WindowState.empty(SILENT), []
    for start in range(0, len(records), size):
        batch = assign_windows(state, SILENT, arrivals(*records[start : start + size]))
        assert batch.silences is not None
        found += rows_of(batch.silences, batch.state.keys_of(batch.silences.slots), start)
        state = batch.state
    return found


def rows_of(silences: Silences, keys: list[bytes], start: int) -> list[Found]:
    columns = (silences.since_ms, silences.begins, silences.ends, silences.is_expired)
    rows = zip(keys, *(each.tolist() for each in columns), strict=True)
    return [
        (key, since, begin if begin < 0 else begin + start, end if end < 0 else end + start, gone)
        for key, since, begin, end, gone in rows
    ]


def test_the_worked_example() -> None:
    assert silences_of(EXAMPLE) == [(b"a", 0, 1, 2, False), (b"a", 60, 3, 3, True)]


def test_the_worked_example_record_by_record() -> None:
    assert silences_of(EXAMPLE, 1) == [
        (b"a", 0, 1, -1, False),
        (b"a", 0, -1, 2, False),
        (b"a", 60, 3, 3, True),
    ]


@pytest.mark.parametrize(("time_ms", "is_silent"), [(50.0, False), (50.0625, True)])
def test_a_key_is_silent_after_more_than_the_limit(time_ms: float, is_silent: bool) -> None:
    assert bool(silences_of([(b"a", [0]), (b"b", [time_ms])])) is is_silent


@pytest.mark.parametrize(("time_ms", "is_silent"), [(50.0, False), (50.0625, True)])
def test_a_key_was_silent_after_more_than_the_limit(time_ms: float, is_silent: bool) -> None:
    # Both records of the key are in one batch, so that the silence is over by its end.
    found = silences_of([(b"a", [0]), (b"b", [time_ms]), (b"a", [time_ms])])
    assert found == [(b"a", 0, 1, 2, False)] * is_silent


@pytest.mark.parametrize(("time_ms", "is_silent"), [(50.0, False), (50.0625, True)])
def test_a_key_is_among_the_silent_ones_after_more_than_the_limit(
    time_ms: float, is_silent: bool
) -> None:
    batch = assign_windows(
        WindowState.empty(SILENT), SILENT, arrivals((b"a", [0]), (b"b", [time_ms]))
    )
    silent = silent_keys(batch.state.apply_delta(), present(SILENT.no_data_after_ms))
    assert batch.state.keys_of(np.flatnonzero(silent)) == [b"a"] * is_silent


@pytest.mark.parametrize(
    ("time_ms", "expected"), [(100.0, (b"a", 0, 1, -1, False)), (100.0625, (b"a", 0, 1, 1, True))]
)
def test_a_silent_key_expires_after_more_than_its_time_to_live(
    time_ms: float, expected: Found
) -> None:
    assert silences_of([(b"a", [0]), (b"b", [time_ms])]) == [expected]


def test_a_silence_begins_in_the_batch_that_passes_the_limit() -> None:
    assert silences_of([(b"a", [0]), (b"b", [50]), (b"b", [51])], 2) == [(b"a", 0, 2, -1, False)]


def test_a_silence_begins_after_a_first_time_that_was_wrong() -> None:
    times = [(b"x", 9_000), (b"a", 0), (b"a", 100), (b"b", 160), (b"b", 161), (b"b", 162)]
    found = silences_of([(key, [time]) for key, time in times])
    assert found == [(b"a", 100, 3, -1, False)]


def test_a_key_alone_in_its_partition_is_never_silent() -> None:
    assert silences_of([(b"a", [0]), (b"a", [99])]) == []
