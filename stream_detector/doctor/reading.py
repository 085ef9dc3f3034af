"""Read the newest records of a topic, and those that come meanwhile, for some seconds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stream_detector.core.records import RecordBatch
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
    reading.n_kept = sum(ends[each] - begins[each] for each in partitions)
    for each in partitions:
        n_each = max(1, N_RECORDS_MAX // len(partitions))
        client.seek(each, max(begins[each], ends[each] - n_each))
    while clock.monotonic_s() < deadline_s and not is_stopping():
        batch = client.poll(_POLL_RECORDS_MAX, _POLL_MS)
        if len(batch):
            yield batch
        positions = client.positions(partitions)
        reading.is_complete = all(positions.get(each, 0) >= ends[each] for each in partitions)
