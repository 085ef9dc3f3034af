"""Find the offsets of a topic at which some time begins, by the times of Kafka's records."""

import time
from collections.abc import Iterable, Mapping
from math import inf, isfinite

import numpy as np

from stream_detector.core.records import TopicPartition
from stream_detector.core.timestamps import AHEAD_MS_MAX
from stream_detector.errors import BrokerUnavailableError
from stream_detector.ports import Client

ANSWER_S_MAX = 20.0
"""Longest time to wait for a record of each partition."""

CLOSE_ENOUGH = 500
"""A stretch begins up to so many records early in a partition: reading them takes less time than
asking once more."""

_PROBE_RECORDS_MAX = 500
_POLL_MS = 200

Offsets = Mapping[TopicPartition, int]


def newest_time(times_ms: Iterable[float], now_ms: float) -> float:
    """Return the newest of some times, 0 where there is none.

    One that is far ahead of the time now is of a wrong clock, unless all are.

    Examples
    --------
    >>> newest_time([1_000, 2_000, 2_000 + 2 * AHEAD_MS_MAX], 2_500)
    2000
    """
    times_ms = list(times_ms)
    near = [each for each in times_ms if each <= now_ms + AHEAD_MS_MAX]
    return max(near or times_ms, default=0.0)


def find_newest(
    client: Client, first: Offsets, end: Offsets, span_ms: float, now_ms: float
) -> Offsets:
    """Return offsets from which on each partition has the newest records of a topic.

    Parameters
    ----------
    client
        Reads one topic in no group. Read on with another one: its partitions stay paused.
    first, end
        Where its partitions begin and end.
    span_ms
        How far before the newest record reading should begin.
    now_ms
        The time now; see `newest_time`.

    Raises
    ------
    BrokerError
        If no broker answers.
    """
    late = {each: max(first[each], end[each] - CLOSE_ENOUGH) for each in end}
    times_ms = [time_ms for _, time_ms in first_records(client, late, end).values()]
    newest_ms = newest_time(filter(isfinite, times_ms), now_ms)
    return find_offsets(client, first, end, newest_ms - span_ms)


def find_offsets(client: Client, first: Offsets, end: Offsets, time_ms: float) -> Offsets:
    """Return an offset of each partition before its first record at a time, or close to it.

    The times of Kafka's records are compared, which ascend well enough. All partitions are asked at
    once, since an answer takes up to half a second however many there are.
    """
    low, high = dict(first), dict(end)
    left = set(first)
    while True:
        done = {each for each in left if high[each] - low[each] <= CLOSE_ENOUGH}
        client.pause(done)
        left -= done
        if not left:
            return low
        middles = {each: (low[each] + high[each]) // 2 for each in left}
        for each, (offset, record_ms) in first_records(client, middles, end).items():
            if record_ms >= time_ms:
                high[each] = middles[each]
            else:
                low[each] = offset + 1


def first_records(
    client: Client, offsets: Offsets, ends: Offsets
) -> dict[TopicPartition, tuple[int, float]]:
    """Return offset and time of the first record from an offset on; the end where there is none."""
    for partition, offset in offsets.items():
        client.seek(partition, offset)
    found: dict[TopicPartition, tuple[int, float]] = {}
    until_s = time.monotonic() + ANSWER_S_MAX
    while len(found) < len(offsets):
        if time.monotonic() > until_s:
            missing = min(offsets.keys() - found.keys())
            message = (
                f"{missing.topic}[{missing.partition}] gave no record for {ANSWER_S_MAX:.0f} s"
            )
            raise BrokerUnavailableError(message)
        batch = client.poll(_PROBE_RECORDS_MAX, _POLL_MS)
        _, rows = np.unique(batch.series().partitions, return_index=True)
        for row in rows.tolist():
            metadata = batch.metadata(row)
            partition = TopicPartition(metadata.topic, metadata.partition)
            if metadata.offset >= offsets.get(partition, ends[partition]):
                found.setdefault(partition, (metadata.offset, float(metadata.timestamp_ms)))
        for partition, at in client.positions(offsets.keys() - found.keys()).items():
            if at >= ends[partition]:
                found[partition] = ends[partition], inf
    return found
