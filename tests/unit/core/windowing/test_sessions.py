"""Sessions of keys: the worked example of the module, and partitions beside each other."""

from dataclasses import replace

import numpy as np
import pytest
from key_samples import RULES as KEY_RULES
from key_samples import arrivals  # tests/support

from stream_detector.core.windowing.keyed_state import KeyedState
from stream_detector.core.windowing.sessions import Arrivals as Records
from stream_detector.core.windowing.sessions import (
    KeySessions,
    find_expired,
    find_sessions,
)
from stream_detector.core.windowing.stream_time import StreamTime, advance_stream_time

TTL_MS = 100.0
RULES = replace(KEY_RULES, gap_ms_max=1_000.0)
"""No time of these records is a jump."""


def sessions_of(records: Records) -> tuple[KeyedState, StreamTime, KeySessions]:
    keyed_state = KeyedState(n_steps=4, n_features=1)
    slots, _ = keyed_state.find(records.keys, records.partitions)
    samples = (records.times_ms, records.counts)
    stream_time = advance_stream_time(keyed_state, records.keys, records.partitions, samples, RULES)
    order = np.argsort(slots, kind="stable")
    return (
        keyed_state,
        stream_time,
        find_sessions(keyed_state, slots, order, stream_time, TTL_MS),
    )


def test_the_worked_example() -> None:
    records = arrivals((b"a", [0]), (b"b", [120]), (b"a", [150]))
    keyed_state, stream_time, sessions = sessions_of(records)
    assert stream_time.before_ms.tolist() == [-np.inf, 0, 120]
    assert stream_time.after_ms.tolist() == [0, 120, 150]
    assert stream_time.ends_ms == {0: 150}
    assert sessions.of_records.tolist() == [0, 2, 1]
    assert sessions.slots.tolist() == [0, 0, 1]
    assert sessions.is_last.tolist() == [False, True, True]
    np.testing.assert_array_equal(sessions.expired_ms, [np.nan, 100, np.nan])
    expired = find_expired(keyed_state, records.partitions, sessions, stream_time, TTL_MS)
    assert (expired.slots.tolist(), expired.records.tolist()) == ([0], [1])
    assert (expired.at_ms.tolist(), expired.idle.tolist()) == ([100], [])


def test_a_key_that_is_silent_to_the_end_is_idle() -> None:
    records = arrivals((b"a", [0]), (b"b", [100]), (b"b", [101]))
    keyed_state, stream_time, sessions = sessions_of(records)
    expired = find_expired(keyed_state, records.partitions, sessions, stream_time, TTL_MS)
    assert (expired.records.tolist(), expired.idle.tolist()) == ([2], [0])


@pytest.mark.parametrize(("time_ms", "is_expired"), [(100.0, False), (100.0625, True)])
def test_a_key_expires_after_more_than_its_time_to_live(time_ms: float, is_expired: bool) -> None:
    _, _, sessions = sessions_of(arrivals((b"a", [0]), (b"b", [time_ms]), (b"a", [150])))
    assert bool((sessions.expired_ms == TTL_MS).any()) is is_expired


def test_a_late_record_does_not_turn_stream_time_back() -> None:
    _, stream_time, _ = sessions_of(arrivals((b"a", [50]), (b"b", [20]), (b"a", [60])))
    assert stream_time.after_ms.tolist() == [50, 50, 60]


def test_each_partition_has_its_own_stream_time() -> None:
    records = arrivals((b"a", [500]), (b"a", [0]), (b"b", [90]), partitions=[0, 1, 1])
    _, stream_time, sessions = sessions_of(records)
    assert stream_time.ends_ms == {0: 500, 1: 90}
    assert sessions.of_records.tolist() == [0, 1, 2]
    assert np.isnan(sessions.expired_ms).all()
