"""Follow a topic from a little before its end, whatever happens to the broker."""

import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

from stream_detector.core.records import RecordBatch, TopicPartition
from stream_detector.doctor.reading import shares
from stream_detector.errors import StreamDetectorError, missing_topics
from stream_detector.ports import Client

RETRY_S = 2.0
"""Wait before the next try where no broker answers."""

_POLL_MS = 200
_POLL_RECORDS_MAX = 2_048
_IDLE_S = 0.02
"""Wait after a poll that gave nothing, for clients whose polls never wait."""


@dataclass(slots=True)
class TopicReader:
    """Reads a topic in a thread, and tells what it gave and whether it still does.

    After an error it connects again and reads on where it was.

    Parameters
    ----------
    topic
        What to read.
    servers
        Where Kafka is, for messages.
    connect
        Returns a client that reads the topic from its oldest record on, in no group.
    take
        Is given each batch that is not empty.
    n_back
        How many records before the end to begin with, of all partitions together.
    is_optional
        Whether the topic need not be there: then nothing about it is a problem.

    Attributes
    ----------
    problem
        Why the topic cannot be read now; None where it can.
    n_records
        Records read so far.
    lag_records
        Records that are written and not read yet.
    is_connected
        Whether a broker has answered since the last problem.
    """

    topic: str
    servers: str
    connect: Callable[[], Client]
    take: Callable[[RecordBatch], None]
    n_back: int
    is_optional: bool = False
    problem: str | None = None
    n_records: int = 0
    lag_records: int = 0
    is_connected: bool = False
    _positions: dict[TopicPartition, int] = field(default_factory=dict)

    def run(self, stop: threading.Event) -> None:
        """Read until asked to stop."""
        try:
            while not stop.is_set():
                try:
                    with closing(self.connect()) as client:
                        self._follow(client, stop)
                except StreamDetectorError as error:
                    self.is_connected = False
                    self.problem = None if self.is_optional else str(error)
                    stop.wait(RETRY_S)
        finally:
            if not stop.is_set():  # an error of ours, which the thread's hook prints
                self.problem = f"the reader of {self.topic} has ended; start the console again"

    def _follow(self, client: Client, stop: threading.Event) -> None:
        """Read from a client until asked to stop."""
        if client.n_partitions(self.topic) == 0:
            raise missing_topics(self.servers, [self.topic])
        client.poll(1, 0)  # the first poll assigns the partitions
        self._seek(client)
        self.is_connected, self.problem = True, None
        while not stop.is_set():
            batch = client.poll(_POLL_RECORDS_MAX, _POLL_MS)
            self.lag_records = sum(client.lag_records().values())
            if not len(batch):
                stop.wait(_IDLE_S)
                continue
            self.take(batch)  # where this fails, the batch is read again
            self._positions.update(batch.next_offsets)
            self.n_records += len(batch)

    def _seek(self, client: Client) -> None:
        """Go to where reading was, or a little before the end."""
        partitions = client.assignment()
        first, end = client.beginning_offsets(partitions), client.end_offsets(partitions)
        n_back = shares({each: end[each] - first[each] for each in partitions}, self.n_back)
        for each in partitions:
            back = end[each] - n_back[each]
            at = self._positions.get(each, back)
            # A topic that was made again, or cut by retention, has no such offset.
            self._positions[each] = at if first[each] <= at <= end[each] else back
            client.seek(each, self._positions[each])
