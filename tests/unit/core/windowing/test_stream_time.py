"""Stream time: the worked example, and what confirms a jump and what does not."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from key_samples import RULES, Record, arrivals  # tests/support

from stream_detector.core.windowing.keyed_state import Jump, KeyedState, name_of
from stream_detector.core.windowing.stream_time import StreamTime, advance_stream_time


def advance(*records: Record, state: KeyedState | None = None) -> StreamTime:
    state = state or KeyedState(n_steps=4, n_features=1)
    some = arrivals(*records)
    samples = (some.times_ms, some.counts)
    return advance_stream_time(state, some.keys, some.partitions, samples, RULES)


def after(*records: Record) -> list[float]:
    """Return the stream time after each record, the same in one batch and in one each."""
    found: list[float] = advance(*records).after_ms.tolist()
    state, singly = KeyedState(n_steps=4, n_features=1), []
    for record in records:
        step = advance(record, state=state)
        singly += step.after_ms.tolist()
        state.stream_times_ms.update(step.ends_ms)
        state.set_jump(0, step.jumps[0])
    assert singly == found
    return found


def test_the_worked_example() -> None:
    keys_and_times = [(b"a", 0), (b"a", 10), (b"b", 5000), (b"b", 5010), (b"a", 20), (b"b", 5020)]
    records: list[Record] = [(key, [time]) for key, time in keys_and_times]
    assert after(*records, (b"c", [5030])) == [0, 10, 10, 10, 20, 20, 5020]


def test_records_that_follow_on_advance_it() -> None:
    assert after((b"a", [0]), (b"a", [40]), (b"b", [80]), (b"a", [70])) == [0, 40, 80, 80]
    assert after((b"a", [0]), (b"a", [40]), (b"b", [81])) == [0, 40, 40]


@pytest.mark.parametrize("share_beyond", [0.0, 0.01, 0.5])
def test_many_records_advance_it_as_each_by_itself(share_beyond: float) -> None:
    rng = np.random.default_rng(11)
    now, records = 0.0, list[Record]()
    for _ in range(400):
        # The record after the next gap of 40 may be exactly as far as follows on, or one further.
        is_beyond = rng.random() < share_beyond
        now += float(rng.choice([41, 3_000] if is_beyond else [-30, 5, 40]))
        records.append(
            (rng.choice([b"a", b"b", b"c"]).item(), [now, now + 50][: rng.integers(1, 3)])
        )
    assert len(set(after(*records))) > 50


def test_a_record_advances_it_as_far_as_its_samples_follow_on() -> None:
    assert after((b"a", [0, 10, 50]), (b"a", [60, 100, 141, 150])) == [50, 100]
    assert after((b"a", [0, 10]), (b"a", [20, 500]), (b"b", [510])) == [10, 20, 500]
    assert after((b"a", [0, 10]), (b"a", [20, 500]), (b"a", [30])) == [10, 20, 30]


def test_a_key_alone_is_followed_once_it_has_spanned_key_ttl_ms() -> None:
    jumps: list[Record] = [(b"a", [5_000.0 + 40 * step]) for step in range(30)]
    found = after((b"a", [0]), *jumps)
    assert found[1:26] == [0] * 25 + [] or found[1:27] == [0] * 26
    first = next(at for at, each in enumerate(found) if each)
    assert (first, found[first]) == (27, 6_040)  # 1,040 ms after 5,000


def test_the_earlier_of_two_jumps_counts() -> None:
    assert after((b"a", [0]), (b"b", [9_000]), (b"c", [500])) == [0, 0, 500]
    assert after((b"a", [0]), (b"b", [500]), (b"c", [9_000])) == [0, 0, 500]
    # What is left of the later one is confirmed by a third key.
    assert after((b"a", [0]), (b"b", [9_000]), (b"c", [500]), (b"d", [8_990]))[-1] == 8_990


def test_a_jump_that_goes_back_begins_again() -> None:
    jumps: list[Record] = [(b"b", [each]) for each in (5_000, 700, 1_650, 1_701)]
    assert after((b"a", [0]), *jumps) == [0, 0, 0, 0, 1_701]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([9_000, 0, 10], [9_000, 9_000, 10]),
        ([9_000, 0, 9_010, 10], [9_000, 9_000, 9_010, 9_010]),
        ([9_000, 8_960, 10, 20], [9_000] * 4),
        ([9_000, 8_959, 10, 20], [9_000, 9_000, 10, 20]),
    ],
)
def test_the_first_time_of_a_partition_may_be_wrong(
    times: Sequence[float], expected: list[float]
) -> None:
    assert after(*((b"a", [time]) for time in times)) == expected


def test_a_key_is_seen_until_its_jump() -> None:
    found = advance((b"a", [0]), (b"b", [5_000]), (b"a", [10, 7_000]))
    assert found.seen_ms.tolist() == [0, 5_000, 10]


def test_what_is_not_confirmed_is_kept_for_the_next_batch() -> None:
    found = advance((b"a", [0]), (b"b", [5_000, 5_010]))
    assert found.jumps == {0: Jump(name_of(b"b"), 5_000, 5_010)}
    assert advance((b"a", [0]), (b"a", [10])).jumps == {0: None}


@pytest.mark.parametrize(
    ("records", "jump"),
    [
        ([(b"a", [70, 110]), (b"b", [80, 150])], None),
        ([(b"a", [70, 110]), (b"b", [80, 151])], (b"b", 151)),
        ([(b"a", [0]), (b"b", [500]), (b"c", [540])], None),
        ([(b"a", [0]), (b"b", [500]), (b"c", [541])], (b"c", 541)),
    ],
)
def test_what_is_within_reach_of_stream_time_is_no_jump(
    records: list[Record], jump: tuple[bytes, float] | None
) -> None:
    expected = None if jump is None else Jump(name_of(jump[0]), jump[1], jump[1])
    assert advance(*records).jumps == {0: expected}


def test_a_jump_that_comes_again_is_as_long_as_it_was() -> None:
    jumps: list[Record] = [(b"b", [5_000, 5_040]), (b"b", [5_000]), (b"c", [5_030])]
    assert after((b"a", [0]), *jumps) == [0, 0, 0, 5_030]


def test_each_partition_has_its_own() -> None:
    some = arrivals((b"a", [500]), (b"a", [0]), (b"b", [9]), partitions=[0, 1, 1])
    state = KeyedState(n_steps=4, n_features=1)
    rules = replace(RULES, gap_ms_max=40.0)
    found = advance_stream_time(
        state, some.keys, some.partitions, (some.times_ms, some.counts), rules
    )
    assert found.ends_ms == {0: 500, 1: 9}
    assert found.before_ms.tolist() == [-np.inf, -np.inf, 0]
