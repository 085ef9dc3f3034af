"""Read the newest records of a topic, and those that come meanwhile, for some seconds."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from stream_detector.core.records import RecordBatch, TopicPartition
from stream_detector.ports import Client, Clock

N_RECORDS_MAX = 50_000
"""Most records that are read from before the start, over all partitions: enough for some windows of
hundreds of keys, and read in seconds."""

_POLL_RECORDS_MAX = 2_048
_POLL_MS = 200


@dataclass(slots=True)
class Reading:
    """How a topic was read.

    Parameters
    ----------
    n_partitions
        Partitions of the topic.
    n_kept
        Records that the topic holds, about: offsets without a record are counted too.
    is_complete
        Whether everything was read that was there at the start.
    """

    n_partitions: int = 0
    n_kept: int = 0
    is_complete: bool = False


def read_recent(
    client: Client,
    clock: Clock,
    seconds: float,
    reading: Reading,
    is_stopping: Callable[[], bool] = lambda: False,
) -> Iterator[RecordBatch]:
    """Yield batches of a topic's newest records, oldest first, and of those that come meanwhile.

    Joins no group, and writes and commits nothing.

    Parameters
    ----------
    client
        Reads one topic in no group, and nothing of it was polled.
    clock
        Measures how long is read.
    seconds
        For how long to read.
    reading
        Is filled in on the way.
    is_stopping
        Asked between polls; stops where it returns True.
    """
    deadline_s = clock.monotonic_s() + seconds
    while not client.assignment() and clock.monotonic_s() < deadline_s and not is_stopping():
        client.poll(1, _POLL_MS)  # assigns the partitions; what it returns is read again
    partitions = sorted(client.assignment())
    begins, ends = client.beginning_offsets(partitions), client.end_offsets(partitions)
    reading.n_partitions = len(partitions)
    held = {each: ends[each] - begins[each] for each in partitions}
    reading.n_kept = sum(held.values())
    for each, n_read in shares(held, N_RECORDS_MAX).items():
        client.seek(each, ends[each] - n_read)
    while clock.monotonic_s() < deadline_s and not is_stopping():
        batch = client.poll(_POLL_RECORDS_MAX, _POLL_MS)
        if len(batch):
            yield batch
        positions = client.positions(partitions)
        reading.is_complete = all(positions.get(each, 0) >= ends[each] for each in partitions)


def shares(held: Mapping[TopicPartition, int], n_most: int) -> dict[TopicPartition, int]:
    """Return how many records to read of each partition: alike, where all hold so many.

    What a short partition leaves is for the longer ones.

    Examples
    --------
    >>> a, b, c = (TopicPartition("telemetry", number) for number in range(3))
    >>> shares({a: 10, b: 100, c: 1_000}, 300) == {a: 10, b: 100, c: 190}
    True
    """
    found, left = {}, n_most
    for number, each in enumerate(sorted(held, key=held.__getitem__)):
        found[each] = min(held[each], left // (len(held) - number))
        left -= found[each]
    return found
