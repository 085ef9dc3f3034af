"""Windows of samples: where they start, when they are complete, what is kept between batches."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from key_samples import RULES, Record, arrivals  # tests/support

from stream_detector.core.windowing.rules import WindowRules
from stream_detector.core.windowing.window_batch import WindowBatch, WindowState
from stream_detector.core.windowing.windows import assign_windows

NAN = float("nan")


def cut_all(rules: WindowRules, *records: Record) -> WindowBatch:
    return assign_windows(WindowState.empty(rules), rules, arrivals(*records))


def values(some: WindowBatch) -> list[Any]:
    """Return the windows; None where a value is missing."""
    windows = some.gather(slice(None))[:, :, 0]
    return [[None if np.isnan(each) else float(each) for each in window] for window in windows]


def every_10_ms(start_ms: float, n_samples: int) -> list[float]:
    return [start_ms + 10 * number for number in range(n_samples)]


def test_a_window_is_complete_with_its_last_sample() -> None:
    some = cut_all(RULES, (b"a", [0, 10, 20]), (b"b", [0]), (b"a", [30]), (b"a", [40]))
    assert values(some) == [[0, 10, 20, 30]]
    assert (some.records.tolist(), some.start_ms.tolist(), some.end_ms.tolist()) == ([2], [0], [30])
    assert some.is_warm.tolist() == [False, False, True, True]
    assert some.state.keys_of(some.slots) == [b"a"]


@pytest.mark.parametrize(
    ("stride", "starts"),
    [(1, [0, 10, 20, 30, 40, 50, 60]), (2, [0, 20, 40, 60]), (4, [0, 40]), (7, [0])],
)
def test_windows_start_a_stride_apart(stride: int, starts: list[int]) -> None:
    some = cut_all(replace(RULES, stride=stride), (b"a", every_10_ms(0, 10)))
    assert some.start_ms.tolist() == starts


def test_windows_start_at_multiples_of_the_stride_wherever_a_series_begins() -> None:
    some = cut_all(RULES, (b"a", every_10_ms(20, 14)))
    assert some.start_ms.tolist() == [20, 40, 80, 120]  # the first one where the series does


def test_jitter_moves_no_sample_to_another_cell() -> None:
    times = [0, 12, 19, 32, 41, 48, 62, 69, 81]
    assert values(cut_all(RULES, (b"a", times))) == [[0, 12, 19, 32], [41, 48, 62, 69]]


def test_missing_samples_leave_their_cells_empty() -> None:
    some = cut_all(RULES, (b"a", [0, 20, 50]))
    assert values(some) == [[0, None, 20, None]]
    assert (some.start_ms.tolist(), some.end_ms.tolist()) == ([0], [30])


@pytest.mark.parametrize(("pause", "n_gaps"), [(40, 0), (41, 1)])
def test_after_a_gap_a_series_starts_again(pause: float, n_gaps: int) -> None:
    some = cut_all(RULES, (b"a", [0, 10, 20]), (b"a", every_10_ms(20 + pause, 4)))
    assert len(some.gap_slots) == len(some.gap_records) == n_gaps
    assert some.is_warm.tolist() == [False, True]
    if n_gaps:
        assert values(some) == [[61, 71, 81, 91]]
        assert (some.gap_ms.tolist(), some.gap_records.tolist()) == ([61], [1])


@pytest.mark.parametrize(("n_before", "is_cold"), [(3, True), (4, False)])
def test_a_gap_is_cold_where_fewer_samples_than_a_window_came_before(
    n_before: int, is_cold: bool
) -> None:
    records: list[Record] = [(b"a", every_10_ms(0, n_before)), (b"a", [100, 110])]
    assert cut_all(RULES, *records).is_cold_gap.tolist() == [is_cold]
    first = cut_all(RULES, records[0])
    second = assign_windows(first.state, RULES, arrivals(records[1]))
    assert second.is_cold_gap.tolist() == [is_cold]


def test_a_key_is_warm_until_a_sample_after_the_gap_is_released() -> None:
    rules = replace(RULES, allowed_lateness_ms=20.0)
    first = cut_all(rules, (b"a", every_10_ms(0, 8)), (b"a", [200, 210]))
    some = assign_windows(first.state, rules, arrivals((b"a", [215]), (b"a", [230])))
    assert some.is_warm.tolist() == [True, False]


def test_a_key_is_in_warm_up_again_after_a_gap() -> None:
    some = cut_all(RULES, (b"a", every_10_ms(0, 4)), (b"a", [100, 110]))
    assert some.is_warm.tolist() == [True, False]


def test_a_sample_behind_the_newest_is_late() -> None:
    some = cut_all(RULES, (b"a", [0, 10, 30]), (b"a", [20]), (b"a", [40, 50, 60, 70]))
    assert (some.n_late.tolist(), some.n_repeated.tolist()) == ([0, 1, 0], [0, 0, 0])
    assert values(some) == [[0, 10, None, 30], [40, 50, 60, 70]]


def test_a_time_that_was_there_keeps_its_first_value() -> None:
    records = arrivals((b"a", [0, 10, 20]), (b"a", [20]), (b"a", [30]))
    records.values[3] = -1
    some = assign_windows(WindowState.empty(RULES), RULES, records)
    assert some.n_repeated.tolist() == [0, 1, 0]
    assert values(some) == [[0, 10, 20, 30]]


def test_of_two_samples_in_half_an_interval_the_first_to_come_stays() -> None:
    some = cut_all(RULES, (b"a", [0, 10, 14, 20, 30]))
    assert (values(some), some.n_repeated.tolist()) == ([[0, 10, 20, 30]], [1])
    later = replace(RULES, allowed_lateness_ms=20.0)
    some = cut_all(later, (b"a", [0, 14]), (b"a", [10, 20, 30]), (b"a", [60]))
    assert (values(some), some.n_repeated.tolist()) == ([[0, 14, 20, 30]], [0, 1, 0])


def test_with_lateness_samples_wait_for_those_before_them() -> None:
    rules = replace(RULES, allowed_lateness_ms=20.0)
    some = cut_all(rules, (b"a", [0, 10, 30]), (b"a", [20]), (b"a", [50]), (b"a", [51]))
    assert some.n_late.tolist() == [0, 0, 0, 0]
    assert values(some) == [[0, 10, 20, 30]]
    assert some.records.tolist() == [3]  # at 50 another sample of 30 would have been in time
    assert some.state.apply_delta().reorder_buffer.times_ms.tolist() == [50]


def test_however_fast_a_key_sends_few_of_its_samples_wait() -> None:
    rules = replace(RULES, allowed_lateness_ms=100.0)
    some = cut_all(rules, (b"a", [each / 8 for each in range(8_000)]))
    assert len(some.state.apply_delta().reorder_buffer.times_ms) == 2 * 100 / 10
    assert some.n_repeated.tolist() == [8_000 - 2 * 1_000 / 10]


def test_keys_and_partitions_do_not_mix() -> None:
    records = [(b"a", every_10_ms(start, 2)) for start in (0, 0, 20, 20)]
    some = assign_windows(
        WindowState.empty(RULES), RULES, arrivals(*records, partitions=[0, 1, 0, 1])
    )
    assert some.records.tolist() == [2, 3]
    assert values(some) == [[0, 10, 20, 30]] * 2
    assert some.state.n_keys == 2


def test_an_idle_key_expires_at_the_record_that_advances_stream_time() -> None:
    records = [(b"a", [0.0]), (b"b", [1_000.0]), (b"c", [1_000.0]), (b"b", [1_001.0])]
    some = cut_all(RULES, *records)
    assert some.state.keys_of(some.expired.slots) == [b"a"]
    assert (some.expired.records.tolist(), some.expired.at_ms.tolist()) == ([3], [1_000])
    assert some.state.n_keys == 2
    assert some.state.apply_delta().n_keys == 2


def test_a_key_that_sends_again_after_its_expiry_starts_over() -> None:
    records: list[Record] = [(b"a", [0, 10]), (b"b", [1_020]), (b"c", [1_020]), (b"a", [20, 30])]
    some = cut_all(RULES, *records)
    assert len(some) == 0
    assert some.is_warm.tolist() == [False] * 4
    assert len(some.gap_slots) == 0


def test_the_stream_time_of_one_partition_expires_no_key_of_another() -> None:
    records = arrivals((b"a", [0]), (b"b", [1_000_000]), partitions=[0, 1])
    assert assign_windows(WindowState.empty(RULES), RULES, records).state.n_keys == 2


def test_rows_of_expired_keys_are_used_again() -> None:
    state = WindowState.empty(RULES)
    for number in range(15):
        records = [(b"%d-%d" % (number, key), [number * 5_000.0 + key]) for key in range(20)]
        state = assign_windows(state, RULES, arrivals(*records)).state
    assert state.n_keys == 20
    assert state.apply_delta().n_keys == 20
    assert len(state.apply_delta().rows) <= 40 * 1.125 + 1


def test_ten_thousand_keys_in_one_batch() -> None:
    keys = [b"%d" % number for number in range(10_000)]
    some = cut_all(RULES, *[(key, [0.0, 10.0, 20.0, 30.0]) for key in keys])
    assert len(some) == some.state.n_keys == 10_000
    assert some.state.keys_of(some.slots) == keys
    assert (some.gather(slice(None))[:, :, 0] == [0, 10, 20, 30]).all()


def test_a_batch_can_be_processed_again_from_the_same_state() -> None:
    first = cut_all(RULES, (b"a", [0, 10]))
    one, other = (assign_windows(first.state, RULES, arrivals((b"a", [20, 30]))) for _ in range(2))
    assert values(one) == values(other) == [[0, 10, 20, 30]]


def test_a_state_that_was_overtaken_is_refused() -> None:
    first = cut_all(RULES, (b"a", [0, 10]))
    second = assign_windows(first.state, RULES, arrivals((b"a", [20])))
    assign_windows(second.state, RULES, arrivals((b"a", [30])))
    with pytest.raises(ValueError, match="this state was overtaken: step from the newest one"):
        assign_windows(first.state, RULES, arrivals((b"a", [20])))


def test_the_state_of_a_dropped_partition_is_gone() -> None:
    rules = replace(RULES, allowed_lateness_ms=20.0)
    records = arrivals((b"a", [0, 10]), (b"a", [0, 10]), partitions=[0, 1])
    state = assign_windows(WindowState.empty(rules), rules, records).state.drop_partitions([1])
    keyed_state = state.apply_delta()
    assert (state.n_keys, keyed_state.stream_times_ms) == (1, {0: 10.0})
    assert keyed_state.partitions[keyed_state.reorder_buffer.slots].tolist() == [0, 0]


def test_the_worked_example() -> None:
    rules = replace(RULES, stride=2)
    first = cut_all(rules, (b"a", every_10_ms(0, 5)))
    assert values(first) == [[0, 10, 20, 30]]
    keyed_state = first.state.apply_delta()
    np.testing.assert_array_equal(keyed_state.rows[0, :, 0], [20, 30, 40, NAN])
    second = assign_windows(first.state, rules, arrivals((b"a", [50, 60])))
    assert values(second) == [[20, 30, 40, 50]]
    keyed_state = second.state.apply_delta()
    np.testing.assert_array_equal(keyed_state.rows[0, :, 0], [40, 50, 60, NAN])
    assert np.unpackbits(keyed_state.starts[0], count=4).tolist() == [1, 0, 1, 0]
