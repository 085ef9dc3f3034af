"""Bound what one poll of kafka-python decompresses.

The library bounds what it fetches, which is compressed, and the number of records of a poll. A
producer chooses how much a compressed batch holds: a record of 30 MB of one letter is fetched as
30 KB. Here a poll ends behind the batch with which its records reach the limit. What was fetched
behind it is dropped, and fetched again by the next poll.

With a limit of 64 MB and batches that hold 30 MB each, a poll takes two: the third, as large as
the one before it, would be too much.
"""

from typing import Any


class PollBudget:
    """How many bytes of decompressed batches the current poll may still begin to read.

    Parameters
    ----------
    bytes_max
        Most bytes of a poll; one batch is read whatever it holds.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._n_bytes = self._n_bytes_last = 0

    def begin_poll(self) -> None:
        """Forget what earlier polls have read."""
        self._n_bytes = self._n_bytes_last = 0

    def spend(self, n_bytes: int) -> None:
        """Note a batch that was read."""
        self._n_bytes += n_bytes
        self._n_bytes_last = n_bytes

    def has_room(self) -> bool:
        """Return whether one more batch fits if it is as large as the last; the first always may.

        How much a batch holds is known only once it is decompressed.
        """
        return self._n_bytes == 0 or self._n_bytes + self._n_bytes_last <= self._bytes_max


class BoundedBatches:
    """The batches of a fetch as the library iterates over them, up to the end of a budget.

    Parameters
    ----------
    batches
        `MemoryRecords` of the library.
    budget
        Of the consumer.
    """

    def __init__(self, batches: Any, budget: PollBudget) -> None:
        self._batches = batches
        self._budget = budget
        self._last: Any = None

    def next_batch(self) -> Any:
        """Return the next batch, None at the end and where the poll must end before it."""
        if self._last is not None:
            self._budget.spend(len(self._last._buffer))  # noqa: SLF001  (decompressed by now)
        self._last = self._batches.next_batch() if self._budget.has_room() else None
        return self._last


def bound_polls(consumer: Any, budget: PollBudget) -> None:
    """Let every fetch of a consumer read batches within a budget.

    Parameters
    ----------
    consumer
        Of the library.
    budget
        To be begun before each poll.
    """
    fetcher = consumer._fetcher  # noqa: SLF001
    records_of = fetcher.PartitionRecords

    def bounded(offset: int, where: Any, batches: Any, **options: Any) -> Any:
        return records_of(offset, where, BoundedBatches(batches, budget), **options)

    fetcher.PartitionRecords = bounded
