"""Find records whose headers a library did not hand over, by reading them with another one."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from stream_detector.core.records import TopicPartition
from stream_detector.errors import BrokerError
from stream_detector.ports import Client

_LOGGER = logging.getLogger(__name__)

READ_S_MAX = 5.0
"""Longest time for one check; what was not read by then counts as complete."""

_POLL_RECORDS_MAX = 500
_POLL_MS = 100


class HeaderCheck:
    """Reads records a second time to see whether they have headers.

    Parameters
    ----------
    connect
        Returns a client that hands over all headers, and reads a topic in no group.
    """

    def __init__(self, connect: Callable[[str], Client]) -> None:
        self._connect = connect
        self._readers: dict[str, Client] = {}

    def lost_headers(
        self, offsets: Mapping[TopicPartition, Sequence[int]]
    ) -> dict[tuple[TopicPartition, int], int]:
        """Return the bytes of names and values of the headers of records that have some.

        Parameters
        ----------
        offsets
            Of records that were read without headers, ascending.

        Returns
        -------
        By partition and offset. A record that cannot be read again is not among them.
        """
        deadline_s = time.monotonic() + READ_S_MAX
        found: dict[tuple[TopicPartition, int], int] = {}
        try:
            for partition, wanted in offsets.items():
                sizes = self._read(partition, wanted, deadline_s)
                found |= {(partition, offset): n_bytes for offset, n_bytes in sizes.items()}
        except BrokerError as error:
            _LOGGER.debug("headers could not be read again: %s", error)
            self.close()
        return found

    def close(self) -> None:
        """Close every connection; the next check connects again."""
        readers, self._readers = self._readers, {}
        for reader in readers.values():
            reader.close()

    def _read(
        self, partition: TopicPartition, wanted: Sequence[int], deadline_s: float
    ) -> dict[int, int]:
        """Return the bytes of the headers of some records of a partition, by offset."""
        reader = self._reader(partition.topic)
        reader.seek(partition, wanted[0])
        reader.resume([partition])
        remaining, found = set(wanted), {}
        while remaining and time.monotonic() < deadline_s:
            batch = reader.poll(min(wanted[-1] - wanted[0] + 1, _POLL_RECORDS_MAX), _POLL_MS)
            for row, offset in enumerate(batch.offsets().tolist()):
                if offset in remaining and batch.headers is not None and batch.headers[row]:
                    headers = batch.headers[row] or ()
                    found[offset] = sum(
                        len(name.encode(errors="replace")) + len(value or b"")
                        for name, value in headers
                    )
            position = reader.positions([partition]).get(partition, 0)
            remaining = {offset for offset in remaining if offset >= position}
        reader.pause([partition])
        return found

    def _reader(self, topic: str) -> Client:
        """Return the client that reads a topic, with all partitions paused."""
        if topic not in self._readers:
            reader = self._readers[topic] = self._connect(topic)
            reader.poll(1, 0)  # the first poll assigns the partitions
            reader.pause(reader.assignment())
        return self._readers[topic]
