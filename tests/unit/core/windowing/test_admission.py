"""Records of new keys where a partition has as many keys as it may have: the worked example."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from key_samples import RULES, Record, arrivals  # tests/support

from stream_detector.core.windowing.admission import find_refused
from stream_detector.core.windowing.keyed_state import KeyedState
from stream_detector.core.windowing.window_batch import WindowState
from stream_detector.core.windowing.windows import assign_windows

ONE_TTL = replace(RULES, key_ttl_ms=100.0, gap_ms_max=100.0)
EXAMPLE: Sequence[Record] = [
    (b"a", [0]),
    (b"b", [50]),
    (b"c", [60]),
    (b"b", [101]),
    (b"c", [110]),
]


def refused(
    records: Sequence[Record], keys_max: int, partitions: Sequence[int] | None = None
) -> list[int]:
    state = KeyedState(n_steps=4, n_features=1)
    found = find_refused(state, arrivals(*records, partitions=partitions), keys_max, ONE_TTL)
    return [int(row) for row in found]


def test_the_worked_example() -> None:
    assert refused(EXAMPLE, 2) == [2]


@pytest.mark.parametrize(("keys_max", "expected"), [(1, [1, 2, 3]), (2, [2]), (3, [])])
def test_there_is_room_up_to_the_limit(keys_max: int, expected: list[int]) -> None:
    assert refused(EXAMPLE[:4], keys_max) == expected


@pytest.mark.parametrize(("time_ms", "expected"), [(150.0, [3]), (150.0625, [])])
def test_there_is_room_again_once_a_key_has_expired(time_ms: float, expected: list[int]) -> None:
    records: list[Record] = [(b"a", [50]), (b"b", [60]), (b"b", [time_ms]), (b"c", [151])]
    assert refused(records, 2) == expected


@pytest.mark.parametrize(("time_ms", "expected"), [(250.0, [4]), (250.0625, [])])
def test_a_key_ahead_of_stream_time_expires_as_others(time_ms: float, expected: list[int]) -> None:
    records: list[Record] = [(b"a", [0]), (b"b", [150]), (b"a", [100, 200]), (b"a", [time_ms])]
    assert refused([*records, (b"c", [251])], 2) == expected


def test_a_refused_record_does_not_advance_the_stream_time() -> None:
    records: list[Record] = [(b"a", [0]), (b"b", [50]), (b"c", [10_000]), (b"c", [60])]
    assert refused(records, 2) == [2, 3]


def test_each_partition_has_a_limit_of_its_own() -> None:
    records: list[Record] = [(b"a", [0]), (b"b", [0]), (b"c", [0]), (b"d", [0])]
    assert refused(records, 1, partitions=[0, 1, 1, 0]) == [2, 3]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_keys_with_state_go_on_from_batch_to_batch(size: int) -> None:
    state, found = WindowState.empty(ONE_TTL), []
    for start in range(0, len(EXAMPLE), size):
        some = EXAMPLE[start : start + size]
        rows = find_refused(state.apply_delta(), arrivals(*some), 2, ONE_TTL)
        found += (rows + start).tolist()
        kept = [each for at, each in enumerate(some) if at not in rows]
        state = assign_windows(state, ONE_TTL, arrivals(*kept)).state if kept else state
    assert found == [2]


def test_no_records_are_refused_of_none() -> None:
    assert refused([], 1) == []
    assert find_refused(KeyedState(4, 1), arrivals(), 1, ONE_TTL).dtype == np.intp
